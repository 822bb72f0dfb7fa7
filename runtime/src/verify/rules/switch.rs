//! Masks and covers, the kernel's own file systems, the switch of the root,
//! and what may no longer happen after it.

use skep_sys::abi::{MountAttrs, Namespaces, OpenFlags, Resolve, TreeFlags, fs_magic};
use skep_sys::{At, Op, OpKind, Proof};

use super::incoming::is_last;
use super::interface::is_close;
use super::mounts::{is_mount, is_spread};
use super::reported::place;
use super::{Findings, the_one};
use crate::compile::kernel_files::{OPEN, OPEN_ALL, OPEN_NETWORK};
use crate::plan::Phase;
use crate::profile::SYS_PARTS;
use crate::report::Outcome;
use crate::spec::Profile;
use crate::verify::view::{Id, Seen, View, What};

/// Whether a thing is the top of the finished tree.
fn is_root(view: &View<'_>, id: Id) -> bool {
    let Some(rooted) = view.rooted else { return false };
    let thing = view.thing(id);
    match thing.what {
        // Opened anew, across the mount; before, it is an empty directory.
        What::Inside { below, path } => below == view.building && path == c"root" && rooted < thing.made,
        // A root of our own making is its own descriptor.
        What::Mount(_) => thing.attached == Some(rooted),
        _ => false,
    }
}

pub(super) fn pivot_then_detach(view: &View<'_>, found: &mut Findings) {
    const AROUND: [OpKind; 6] =
        [OpKind::MoveMount, OpKind::Fchdir, OpKind::PivotRoot, OpKind::UmountOld, OpKind::Chdir, OpKind::ProveRoot];
    for seen in view.of(OpKind::PivotRoot).filter(|seen| seen.phase != Phase::Enter) {
        found.at(seen, "switches the root of another phase");
    }
    let Some(pivot) = the_one(view, OpKind::PivotRoot, Phase::Enter, found) else { return };
    let block: Vec<&Seen<'_>> = view.ops().iter().skip(pivot.at.saturating_sub(2)).take(AROUND.len()).collect();
    if !block.iter().map(|seen| seen.kind()).eq(AROUND) || block.iter().any(|seen| seen.phase != Phase::Enter) {
        return found.at(pivot, "is not one step with move, fchdir, umount, chdir and proof");
    }
    if view.aside != Some(block[0].at) {
        found.at(block[0], "does not put what covers the old root below it");
    }
    if !is_root(view, block[1].on) {
        found.at(block[1], "does not go to the finished root");
    }
    if !matches!(block[4].op, Op::Chdir { path } if path == c"/") {
        found.at(block[4], "does not go to the new root");
    }
    for seen in view.of(OpKind::UmountOld).filter(|seen| seen.at != block[3].at) {
        found.at(seen, "detaches something else");
    }
}

pub(super) fn no_mount_after_switch(view: &View<'_>, found: &mut Findings) {
    let switch = view.switch();
    found.unless(switch != usize::MAX, "the root is never switched");
    // The umount belongs to the switch, and rule 7 counts it.
    for seen in view.ops().iter().skip(switch.saturating_add(1)) {
        let known = is_spread(view, seen) || is_close(view, seen) || is_last(view, seen);
        if is_mount(seen.kind()) && seen.kind() != OpKind::UmountOld && !known {
            found.at(seen, "comes after the switch");
        }
    }
}

/// The first op that clones a blank.
fn first_mask(view: &View<'_>) -> Option<usize> {
    view.of(OpKind::OpenTree).find(|seen| matches!(view.thing(seen.made).what, What::Blank)).map(|seen| seen.at)
}

pub(super) fn mask_after_caller_mounts(view: &View<'_>, found: &mut Findings) {
    let Some(first) = first_mask(view) else { return };
    for seen in view.of(OpKind::MoveMount).filter(|seen| seen.at > first && view.aside != Some(seen.at)) {
        let thing = view.thing(seen.on);
        match thing.what {
            What::Blank => {}
            // Without what lies below, a cover would take masks away.
            What::TreeClone { of, recursive } => {
                if !recursive || of != seen.onto || !thing.attrs.has(MountAttrs::RDONLY) {
                    found.at(seen, "covers a tree by something else than itself, whole and read-only");
                }
            }
            _ => found.at(seen, "attaches something after the first mask"),
        }
    }
    for seen in view.of(OpKind::FsMount).filter(|seen| seen.at > first) {
        found.at(seen, "makes a file system after the first mask");
    }
    for seen in view.of(OpKind::MountSetAttr).filter(|seen| seen.at > first && !is_spread(view, seen)) {
        if !is_close(view, seen) && !is_last(view, seen) && !matches!(view.thing(seen.on).what, What::TreeClone { .. })
        {
            found.at(seen, "changes a mount after the first mask");
        }
    }
}

pub(super) fn masks_are_ours(view: &View<'_>, found: &mut Findings) {
    let Some(first) = first_mask(view) else { return };
    let closed = MountAttrs::RDONLY.with(MountAttrs::NOSUID).with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);
    let made_closed = view.of(OpKind::MountSetAttr).any(|seen| {
        seen.at < first
            && seen.on == view.building
            && matches!(seen.op, Op::MountSetAttr { path, set, .. } if path.is_empty() && set.has(closed))
    });
    found.unless(made_closed, "the masks can be written");
    // The few blanks, each looked for once.
    let mut blanks = Vec::new();
    for kind in [OpKind::Mkdir, OpKind::Create] {
        for seen in view.of_in(kind, Phase::Enter).filter(|seen| seen.on == view.building && seen.at < first) {
            match seen.op {
                Op::Mkdir { name, mode: 0, .. } => blanks.push(name),
                Op::Create { name, mode: 0, content, exist_ok: false, .. } if content.0.is_empty() => blanks.push(name),
                _ => {}
            }
        }
    }
    for seen in view.of(OpKind::OpenTree) {
        let Op::OpenTree { path, flags, .. } = seen.op else { continue };
        if matches!(view.thing(seen.made).what, What::Blank) && (!blanks.contains(&path) || flags != TreeFlags::CLONE) {
            found.at(seen, "is no empty entry without permissions");
        }
    }
    for seen in view.of(OpKind::MoveMount) {
        if !matches!(view.thing(seen.on).what, What::Blank | What::TreeClone { .. }) {
            continue;
        }
        let plain = view.maker(seen.onto).is_some_and(|maker| {
            matches!(maker.op, Op::OpenAt2 { resolve, .. } if resolve.has(Resolve::NO_SYMLINKS) && resolve.has(Resolve::BENEATH))
                && is_root(view, maker.on)
        });
        let place = view.thing(seen.onto);
        if !plain && !place.is_mount(c"proc") && !place.is_mount(c"sysfs") {
            found.at(seen, "covers what a link may have led to");
        }
    }
}

pub(super) fn kernel_fs_proved(view: &View<'_>, found: &mut Findings) {
    parts_of_sysfs(view, found);
    for seen in view.of(OpKind::FsMount) {
        let (wanted, place) = match view.thing(seen.on).what {
            What::Context(kind) if kind == c"proc" => (fs_magic::PROC, c"proc"),
            What::Context(kind) if kind == c"sysfs" => (fs_magic::SYSFS, c"sys"),
            _ => continue,
        };
        let proved = view.after(seen).is_some_and(|next| {
            next.on == seen.made
                && matches!(next.op, Op::Prove { proof: Proof::FileSystem { magic }, .. } if magic == wanted)
        });
        if !proved {
            found.at(seen, "is not proved by the next op");
        }
        let Some(attach) = view.thing(seen.made).attached.and_then(|at| view.ops().get(at)) else { continue };
        // The whole of what a machine sees parts of goes with the old root.
        if place == c"sys" && view.profile() == Profile::Nspawn {
            if attach.onto != view.building || !matches!(attach.op, Op::MoveMount { path, .. } if path == c"sysfs") {
                found.at(attach, "shows a machine all of sysfs");
            }
            continue;
        }
        let real = view.maker(attach.onto).is_some_and(|maker| {
            is_root(view, maker.on)
                && matches!(
                    maker.op,
                    Op::OpenAt2 { path, flags, resolve, .. }
                        if path == place
                            && flags.has(OpenFlags::DIRECTORY)
                            && resolve.has(Resolve::NO_SYMLINKS)
                            && resolve.has(Resolve::BENEATH)
                )
        });
        if !real {
            found.at(attach, "goes elsewhere than onto a real directory directly below the root");
        }
    }
}

/// The `/sys` of a machine with a network of its own: a few directories of a sysfs, on a
/// tmpfs that is read-only before the masks.
fn parts_of_sysfs(view: &View<'_>, found: &mut Findings) {
    let on_sys = |seen: &Seen<'_>| view.thing(seen.on).is_mount(c"tmpfs") && place(view, seen) == Some("/sys");
    for seen in view.of(OpKind::MoveMount).filter(|seen| on_sys(seen)) {
        let masks = first_mask(view).unwrap_or_else(|| view.switch());
        let closed = |set: &Seen<'_>| {
            set.on == seen.on
                && set.at < masks
                && matches!(set.op, Op::MountSetAttr { path, set, .. } if path.is_empty() && set.has(MountAttrs::RDONLY))
        };
        if !view.of_in(OpKind::MountSetAttr, Phase::Enter).any(closed) {
            found.at(seen, "stays a /sys that can be written");
        }
        if !view.thing(seen.on).attrs.has(MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC)) {
            found.at(seen, "is a /sys that lets programs be executed");
        }
    }
    for seen in view.of(OpKind::MoveMount) {
        let What::SysPart { of, name } = view.thing(seen.on).what else { continue };
        let at = place(view, seen).and_then(|place| place.strip_prefix("/sys/"));
        let listed = SYS_PARTS.contains(&name) && at.is_some_and(|at| at.as_bytes() == name.to_bytes());
        if !listed || view.profile() != Profile::Nspawn || view.thing(of).attached.is_none() {
            found.at(seen, "shows a part of sysfs that no machine sees");
        }
    }
}

pub(super) fn nested_userns_forbidden(view: &View<'_>, found: &mut Findings) {
    let machine = view.profile() == Profile::Nspawn
        && matches!(view.plan.report().of("nested user namespaces"), Some(Outcome::Off(_)));
    if !view.namespaces().has(Namespaces::USER) || machine {
        return;
    }
    let forbids = |seen: &Seen<'_>| {
        super::files::is_procfs(view, seen.on, seen.at)
            && matches!(seen.op, Op::Write { path, content, .. } if path == c"sys/user/max_user_namespaces" && content.0 == b"0")
    };
    found.unless(view.of_in(OpKind::Write, Phase::Enter).any(forbids), "the container may make user namespaces");
    for seen in view.of_in(OpKind::Write, Phase::Enter) {
        if matches!(seen.op, Op::Write { path, content, .. } if path == c"sys/user/max_user_namespaces" && content.0 != b"0")
        {
            found.at(seen, "allows user namespaces");
        }
    }
}

/// Whether files of the kernel are open to a machine of root's own ids, as the report says.
pub(super) fn opens(view: &View<'_>, how: &str) -> bool {
    view.profile() == Profile::Nspawn
        && (!view.namespaces().has(Namespaces::USER)
            || view.namespaces().has(Namespaces::NETWORK) && how == OPEN_NETWORK)
        && matches!(view.plan.report().of(OPEN), Some(Outcome::Off(said)) if said == how)
}

pub(super) fn proc_sys_read_only(view: &View<'_>, found: &mut Findings) {
    if !view.things().any(|(_, thing)| thing.is_mount(c"proc") && thing.attached.is_some()) || opens(view, OPEN_ALL) {
        return;
    }
    let covered = view.of(OpKind::MoveMount).any(|seen| {
        let thing = view.thing(seen.on);
        matches!(thing.what, What::TreeClone { of, recursive: true } if of == seen.onto)
            && thing.attrs.has(MountAttrs::RDONLY)
            && matches!(view.thing(seen.onto).what, What::Inside { below, path } if path == c"proc/sys" && is_root(view, below))
    });
    found.unless(covered, "/proc/sys can be written");
}

pub(super) fn nothing_of_the_tree_after_switch(view: &View<'_>, found: &mut Findings) {
    let switch = view.switch();
    for seen in view.ops().iter().skip(switch.saturating_add(1)) {
        let proc_handle = seen.kind() == OpKind::Write && view.thing(seen.on).is_mount(c"proc");
        let fits = match seen.op {
            Op::OpenAt2 { .. } => super::landlock::names_for_a_rule(view, seen),
            Op::OpenTree { .. }
            | Op::Create { .. }
            | Op::Symlink { .. }
            | Op::Mknod { .. }
            | Op::Unlink { .. }
            | Op::Fchdir { .. } => false,
            Op::Write { .. } => proc_handle,
            Op::Mkdir { dir, name, .. } => dir == At::Cwd && name == c"/run/host",
            Op::Bind { path, .. } => path == c"/run/host/notify",
            Op::Chdir { path } if seen.phase == Phase::Enter => path == c"/",
            _ => true,
        };
        let uses_tree = !matches!(seen.kind(), OpKind::Close | OpKind::LandlockPath)
            && !proc_handle
            && [seen.on, seen.onto].iter().any(|id| view.thing(*id).is_tree());
        if !fits || uses_tree {
            found.at(seen, "touches the tree after the switch");
        }
    }
}

pub(super) fn notify_in_own_tmpfs(view: &View<'_>, found: &mut Findings) {
    let (level, name) = crate::compile::PASS_CREDENTIALS;
    let mut named = Vec::new();
    for seen in view.of(OpKind::SocketOption) {
        match seen.op {
            Op::SocketOption { level: l, name: n, value: 1, .. } if (l, n) == (level, name) => named.push(seen.on),
            _ => found.at(seen, "sets another option of a socket than that it names the sender"),
        }
    }
    for seen in view.of(OpKind::Bind).filter(|seen| !named.contains(&seen.on)) {
        found.at(seen, "binds a socket that does not say who has sent what it receives");
    }
    if !view.has(OpKind::Bind, Phase::Enter) {
        return;
    }
    // A place at /run or at /run/host.
    let on_the_way = |id: Id| match view.thing(id).what {
        What::Inside { below, path } if path == c"host" => {
            matches!(view.thing(below).what, What::Inside { below, path } if path == c"run" && is_root(view, below))
        }
        What::Inside { below, path } => (path == c"run" || path == c"run/host") && is_root(view, below),
        _ => false,
    };
    for seen in view.of(OpKind::MoveMount) {
        if matches!(view.thing(seen.on).what, What::HostClone { .. }) && on_the_way(seen.onto) {
            found.at(seen, "puts a tree of the host where the socket will be");
        }
    }
}
