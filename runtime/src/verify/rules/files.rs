//! Files that are opened, made and written.

use std::ffi::CStr;

use skep_sys::abi::{Namespaces, OpenFlags, Resolve, fs_magic};
use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use super::contents::place_of;
use super::mounts::is_name;
use super::reported::applied;
use crate::compile::filesystem::root::BASE_ITEM;
use crate::plan::{OWN_TIME, Phase, RANGE_LOCK};
use crate::profile::{BASE, BASE_LINKS};
use crate::spec::Profile;
use crate::verify::view::{Id, Seen, View, What};

pub(super) fn one_component_creation(view: &View<'_>, found: &mut Findings) {
    let switch = view.switch();
    for kind in [OpKind::Mkdir, OpKind::Create, OpKind::CreateSecret, OpKind::Symlink, OpKind::Mknod] {
        for seen in view.of(kind).filter(|seen| seen.at < switch) {
            let (Op::Mkdir { dir, name, .. }
            | Op::Create { dir, name, .. }
            | Op::CreateSecret { dir, name, .. }
            | Op::Symlink { dir, name, .. }
            | Op::Mknod { dir, name, .. }) = seen.op
            else {
                continue;
            };
            let below = match view.thing(seen.on).what {
                What::Host(_) => {
                    seen.phase == Phase::Prepare && (kind == OpKind::Mkdir || super::registry::takes_name(view, seen))
                }
                What::Inside { .. } | What::Mount(_) => seen.phase == Phase::Enter,
                _ => false,
            };
            if dir == At::Cwd || !is_name(name) || !below {
                found.at(seen, "makes an entry that is not one component below a descriptor");
            }
            // A link in the caller's tree would decide where later ops go.
            let own = match view.thing(seen.on).what {
                // A directory that the plan made in a tmpfs of its own.
                What::Inside { below, path } => {
                    let covers = |moved: &Seen<'_>| {
                        moved.onto == below && matches!(moved.op, Op::MoveMount { path: name, .. } if name == path)
                    };
                    let covered = view.of(OpKind::MoveMount).any(covers);
                    let made = view.thing(below).is_mount(c"tmpfs") || view.thing(below).is_mount(c"ramfs");
                    made && is_name(path) && !covered
                }
                _ => view.thing(seen.on).is_mount(c"tmpfs"),
            };
            if matches!(seen.op, Op::Symlink { .. }) && !own && !of_base(view, seen) {
                found.at(seen, "makes a link in a tree that is not the plan's own");
            }
        }
    }
    base_is_made(view, found);
}

/// What the report says that a machine's tree was given is made in its top, with its mode:
/// what is made for a mount later has another.
fn base_is_made(view: &View<'_>, found: &mut Findings) {
    let Some(said) = applied(view, BASE_ITEM) else { return };
    for one in said.split(", ").filter(|one| !one.contains(" -> ")) {
        let made = view.of_in(OpKind::Mkdir, Phase::Enter).any(|seen| {
            let Op::Mkdir { name, mode, exist_ok: false, .. } = seen.op else { return false };
            let known = name.to_str().is_ok_and(|name| name == one && BASE.contains(&(name, mode)));
            known && place_of(view, seen.on).is_some_and(|place| place.is_empty())
        });
        found.unless(made, &format!("the report says that the tree was given {one}, and it is not made"));
    }
}

/// Whether it is a link that a machine's tree lacked, as the report says. Every later op
/// resolves beneath the root, where it leads to a directory of the tree's own /usr.
fn of_base(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::Symlink { target, name, .. } = seen.op else { return false };
    let (Ok(target), Ok(name)) = (target.to_str(), name.to_str()) else { return false };
    let known = BASE_LINKS.iter().any(|(link, places, _)| *link == name && places.contains(&target));
    let said =
        applied(view, BASE_ITEM).is_some_and(|said| said.split(", ").any(|one| one == format!("{name} -> {target}")));
    view.profile() == Profile::Nspawn && known && said && place_of(view, seen.on).is_some_and(|place| place.is_empty())
}

pub(super) fn made_then_opened(view: &View<'_>, found: &mut Findings) {
    for kind in [OpKind::Mkdir, OpKind::Create] {
        for seen in view.of_in(kind, Phase::Enter) {
            let (Op::Mkdir { name, exist_ok: true, .. } | Op::Create { name, exist_ok: true, .. }) = seen.op else {
                continue;
            };
            if !matches!(view.thing(seen.on).what, What::Inside { .. }) {
                continue;
            }
            let opened = view.after(seen).is_some_and(|next| {
                next.on == seen.on
                    && matches!(next.op, Op::OpenAt2 { path, resolve, .. } if path == name && resolve.has(Resolve::NO_SYMLINKS))
            });
            if !opened {
                found.at(seen, "is not opened by the next op");
            }
        }
    }
}

pub(super) fn paths_confined(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::OpenAt2) {
        let Op::OpenAt2 { dir, path, flags, mode, resolve, .. } = seen.op else { continue };
        let no_magic = resolve.has(Resolve::NO_MAGICLINKS) || resolve.has(Resolve::NO_SYMLINKS);
        let confined = resolve.has(Resolve::BENEATH) || resolve.has(Resolve::IN_ROOT);
        let fits = match (dir, view.thing(seen.on).what) {
            // A namespace of somebody else's, whatever leads there: the proof says what it is.
            (At::Cwd, _) if proved_namespace(view, seen) => {
                seen.phase == Phase::Prepare && flags == OpenFlags::NON_BLOCK && path.to_bytes().first() == Some(&b'/')
            }
            (At::Cwd, _) => no_magic && path.to_bytes().first() == Some(&b'/'),
            // The only magic link: of a directory proved to be the child's.
            (At::Slot(_), What::Process) if path == c"ns/net" && !view.enters() => {
                seen.phase == Phase::Attend && flags == OpenFlags::NONE
            }
            (At::Slot(_), What::Process) => {
                let (wanted, phase) =
                    if view.enters() { (c"ns/time_for_children", Phase::Prepare) } else { (c"ns/user", Phase::Attend) };
                path == wanted && seen.phase == phase && flags == OpenFlags::NONE
            }
            // And of the child's own, in a procfs that is proved.
            (At::Slot(_), _) if path == OWN_TIME && seen.phase == Phase::Enter => {
                is_procfs(view, seen.on, seen.at) && flags == OpenFlags::NONE && proved_namespace(view, seen)
            }
            // The files of a group that is handed over.
            (At::Slot(_), What::Host(_)) if seen.phase == Phase::Prepare => {
                let of_group = is_cgroup(view, seen.on, seen.at) && is_name(path) && flags == OpenFlags::PATH;
                let own = super::registry::holds_entry(view, seen) || super::export::finds(view, seen);
                confined && no_magic && (of_group || own)
            }
            (At::Slot(_), _) => {
                let path_only = flags.has(OpenFlags::PATH) || super::interface::opens_log(view, seen);
                no_magic && confined && seen.phase == Phase::Enter && path_only
            }
        };
        if !fits {
            found.at(seen, "may lead elsewhere");
        }
        if flags.has(OpenFlags::CREATE) || mode != 0 {
            found.at(seen, "may make what it opens");
        }
        let content = !flags.has(OpenFlags::PATH) && path != OWN_TIME && !super::interface::opens_log(view, seen);
        if seen.phase == Phase::Enter && content {
            found.at(seen, "opens the content of a file of the tree");
        }
    }
    // Opened and proved in one, but by this path only.
    for seen in view.of(OpKind::LockIds) {
        if !matches!(seen.op, Op::LockIds { path, .. } if path == RANGE_LOCK) {
            found.at(seen, "may lead elsewhere");
        }
    }
}

/// Whether what an op opens is proved to be a namespace by the next op.
fn proved_namespace(view: &View<'_>, seen: &Seen<'_>) -> bool {
    view.after(seen)
        .is_some_and(|next| next.on == seen.made && matches!(next.op, Op::Prove { proof: Proof::Namespace { .. }, .. }))
}

pub(super) fn source_proved(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::OpenAt2) {
        let Op::OpenAt2 { dir: At::Cwd, path, flags, .. } = seen.op else { continue };
        // Inside: nothing is done with it that a proof could be for.
        if super::landlock::names_for_a_rule(view, seen) {
            continue;
        }
        let next = view.after(seen).filter(|next| next.on == seen.made);
        let proved = match next.map(|next| next.op) {
            Some(Op::Prove { proof: Proof::Inode { inode, .. }, .. }) => inode != 0,
            Some(Op::Prove { proof: Proof::OwnedByRoot, .. }) => seen.phase == Phase::Prepare,
            // A directory of the host must be the inode that was seen, unless
            // it belongs to a file system of the kernel.
            // The container's own terminals, where the plan enters one.
            Some(Op::Prove { proof: Proof::FileSystem { magic: fs_magic::DEVPTS }, .. }) if view.enters() => {
                path == c"/dev/pts" && seen.phase == Phase::Enter
            }
            Some(Op::Prove { .. }) => !flags.has(OpenFlags::PATH) || path == c"/proc",
            _ => false,
        };
        if !proved {
            found.at(seen, "is not proved by the next op");
        }
    }
    for seen in view.of(OpKind::Prove) {
        // What is given has never been opened here.
        let given = matches!(
            (seen.op, view.thing(seen.on).what),
            (Op::Prove { proof: Proof::Namespace { .. }, .. }, What::Given)
        );
        if given || seen.on == view.tree || matches!(view.thing(seen.on).what, What::Passed(_)) {
            continue;
        }
        if view.before(seen).is_none_or(|before| before.made != seen.on || before.made == Id::NONE) {
            found.at(seen, "proves what was made some time before");
        }
    }
}

/// A directory of the host proved to be a cgroup.
pub(super) fn is_cgroup(view: &View<'_>, id: Id, before: usize) -> bool {
    let thing = view.thing(id);
    matches!(thing.what, What::Host(_))
        && matches!(thing.proved(before), Some(Proof::FileSystem { magic: fs_magic::CGROUP | fs_magic::CGROUP2 }))
}

/// A new procfs, or the host's own where its process ids are shared; proved.
pub(super) fn is_procfs(view: &View<'_>, id: Id, before: usize) -> bool {
    let thing = view.thing(id);
    let source = thing.is_mount(c"proc") || matches!(thing.what, What::Host(path) if path == c"/proc");
    source && matches!(thing.proved(before), Some(Proof::FileSystem { magic: fs_magic::PROC }))
}

pub(super) fn writes_through_proved_handles(view: &View<'_>, found: &mut Findings) {
    let plain = |path: &CStr| {
        let bytes = path.to_bytes();
        !bytes.is_empty() && bytes.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"..")
    };
    for kind in [OpKind::Write, OpKind::WritePid] {
        for seen in view.of(kind) {
            let (path, filled) = match seen.op {
                Op::Write { path, content, .. } => (path, !content.0.is_empty()),
                Op::WritePid { path, pid, .. } => (path, view.spawn.is_some_and(|spawn| spawn.pid == pid)),
                _ => continue,
            };
            let thing = view.thing(seen.on);
            let fits = match (seen.phase, seen.kind()) {
                (Phase::Prepare, OpKind::Write) => is_cgroup(view, seen.on, seen.at) && is_name(path),
                (Phase::Attend, OpKind::WritePid) => is_cgroup(view, seen.on, seen.at) && path == c"cgroup.procs",
                (Phase::Attend, OpKind::Write) => {
                    matches!(thing.what, What::Process)
                        && [c"setgroups", c"gid_map", c"uid_map", c"oom_score_adj"].contains(&path)
                }
                (Phase::Enter, OpKind::Write) => {
                    let own = view.thing(seen.on).is_mount(c"proc");
                    let offsets = own && path == c"1/timens_offsets" && view.namespaces().has(Namespaces::TIME);
                    is_procfs(view, seen.on, seen.at) && (path.to_bytes().starts_with(b"sys/") || offsets)
                }
                _ => false,
            };
            if !fits || !plain(path) || !filled {
                found.at(seen, "writes through a handle that is not proved");
            }
        }
    }
    for seen in view.of_in(OpKind::Mkdir, Phase::Prepare) {
        let ours = super::registry::makes_registry(view, seen) || super::named::makes(view, seen);
        if !is_cgroup(view, seen.on, seen.at) && !ours {
            found.at(seen, "makes a directory of the host that is no cgroup");
        }
    }
}
