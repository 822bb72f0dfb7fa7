//! What is mounted, with which attributes, and what it is attached to.

use std::ffi::CStr;

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use crate::plan::Phase;
use crate::profile::nodes;
use crate::report::Outcome;
use crate::verify::view::{Id, Seen, View, What};

/// Whether the op is one of the mount calls.
pub(super) const fn is_mount(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::OpenTree
            | OpKind::FsOpen
            | OpKind::FsString
            | OpKind::FsFlag
            | OpKind::FsCreate
            | OpKind::FsMount
            | OpKind::MoveMount
            | OpKind::MountSetAttr
            | OpKind::PivotRoot
            | OpKind::UmountOld
    )
}

pub(super) fn private_first(view: &View<'_>, found: &mut Findings) {
    match view.phase(Phase::Enter).iter().find(|seen| is_mount(seen.kind())) {
        Some(seen) => {
            let private = matches!(
                seen.op,
                Op::MountSetAttr { dir: At::Cwd, path, flags, propagation: Propagation::PRIVATE, .. }
                    if path == c"/" && flags == TreeFlags::RECURSIVE
            );
            if !private {
                found.at(seen, "comes before the tree is private");
            }
        }
        None => found.plan("the child mounts nothing"),
    }
}

/// One component that is no step upwards.
pub(super) fn is_name(path: &CStr) -> bool {
    let bytes = path.to_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/')
}

/// Whether the plan itself made an entry `name` in `dir`, and no link.
fn made_by_plan(view: &View<'_>, dir: Id, name: &CStr, before: &Seen<'_>) -> bool {
    let made = |seen: &Seen<'_>| {
        seen.on == dir
            && matches!(seen.op, Op::Mkdir { name: entry, .. } | Op::Create { name: entry, exist_ok: false, .. } if entry == name)
    };
    // Nearly always by the op directly before.
    view.before(before).is_some_and(made)
        || [OpKind::Mkdir, OpKind::Create]
            .into_iter()
            .any(|kind| view.of_in(kind, Phase::Enter).any(|seen| seen.at < before.at && made(seen)))
}

pub(super) fn attach_to_descriptors(view: &View<'_>, found: &mut Findings) {
    let mut first = true;
    for seen in view.of(OpKind::MoveMount) {
        let Op::MoveMount { dir, path, .. } = seen.op else { continue };
        if !view.thing(seen.on).is_detached_tree() {
            found.at(seen, "attaches what is no detached tree");
        }
        let target = view.thing(seen.onto);
        let fits = match dir {
            // What the tree grows on, before anything else; rule 7 says when it goes.
            At::Cwd if view.aside == Some(seen.at) => true,
            At::Cwd => first && path == c"/" && view.thing(seen.on).is_mount(c"tmpfs"),
            At::Slot(_) if path.is_empty() => matches!(target.what, What::Inside { .. }),
            At::Slot(_) if target.is_mount(c"proc") || target.is_mount(c"sysfs") => {
                is_name(path) && matches!(view.thing(seen.on).what, What::Blank)
            }
            At::Slot(_) => target.is_mount(c"tmpfs") && is_name(path) && made_by_plan(view, seen.onto, path, seen),
        };
        if !fits {
            found.at(seen, "attaches to a path that the plan does not hold");
        }
        first &= seen.phase != Phase::Enter;
    }
    for at in &view.moved_twice {
        found.at(&view.ops()[*at], "attaches a tree again");
    }
}

/// The file system of a disk image, which the runner brings.
fn tree_confined(view: &View<'_>, found: &mut Findings) {
    let mut on = view.ops().iter().filter(|seen| seen.on == view.tree && seen.phase == Phase::Prepare);
    let proved = on.next().is_some_and(|seen| matches!(seen.op, Op::Prove { proof: Proof::Inode { .. }, .. }));
    let confined = on.next().is_some_and(|seen| {
        matches!(
            seen.op,
            Op::MountSetAttr { path, flags, set, propagation: Propagation::PRIVATE, .. }
                if path.is_empty() && set.has(MountAttrs::NOSUID) && flags.has(TreeFlags::EMPTY_PATH)
        )
    });
    found.unless(proved && confined, "the file system of the image is not proved and confined first of all");
    found.unless(view.thing(view.tree).attached.is_some(), "the file system of the image is attached nowhere");
}

pub(super) fn clones_confined(view: &View<'_>, found: &mut Findings) {
    if view.tree != Id::NONE {
        tree_confined(view, found);
    }
    for seen in view.of(OpKind::OpenTree) {
        let Op::OpenTree { dir, path, .. } = seen.op else { continue };
        let thing = view.thing(seen.made);
        let What::HostClone { recursive } = thing.what else { continue };
        let proved = view.thing(seen.on).proved(seen.at);
        if super::incoming::copies(view, seen) || super::export::copies(view, seen) {
            continue;
        }
        if dir != At::Cwd && (!path.is_empty() || !matches!(proved, Some(Proof::Inode { .. }))) {
            found.at(seen, "copies what is not proved to be the inode that was seen");
        }
        let next = view.after(seen).and_then(|next| match next.op {
            Op::Prove { .. } if next.on == seen.made => view.after(next),
            _ => Some(next),
        });
        let confined = next.is_some_and(|next| {
            next.on == seen.made
                && matches!(
                    next.op,
                    Op::MountSetAttr { path, flags, set, propagation: Propagation::PRIVATE, .. }
                        if path.is_empty()
                            && (set.has(MountAttrs::NOSUID) || view.honours(thing))
                            && flags.has(TreeFlags::EMPTY_PATH)
                            && (!recursive || flags.has(TreeFlags::RECURSIVE))
                )
        });
        if !confined {
            found.at(seen, "is not confined by the next op");
        }
    }
}

pub(super) fn clones_before_building(view: &View<'_>, found: &mut Findings) {
    let first = view.first(OpKind::MoveMount, Phase::Enter).map_or(usize::MAX, |seen| seen.at);
    for seen in view.of(OpKind::OpenTree).filter(|seen| seen.at > first) {
        // A single device node is what it is proved to be.
        let device = matches!(seen.op, Op::OpenTree { dir: At::Cwd, flags: TreeFlags::CLONE, .. });
        if matches!(view.thing(seen.made).what, What::HostClone { .. }) && !device {
            found.at(seen, "clones a tree of the host after something lies over it");
        }
    }
}

/// A number other than 0, which means "no limit", perhaps with a unit.
fn is_limit(value: &CStr) -> bool {
    let bytes = value.to_bytes();
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = bytes.split_at(digits);
    number.iter().any(|byte| *byte != b'0') && matches!(unit, b"" | b"%" | b"k" | b"m" | b"g")
}

pub(super) fn tmpfs_bounded(view: &View<'_>, found: &mut Findings) {
    // By context: a limit of bytes, a limit of files, a mode.
    let mut set = view.table([false; 3]);
    for seen in view.ops() {
        match seen.op {
            // The last value counts for the kernel.
            Op::FsString { key, value, .. } => match key.to_bytes() {
                b"size" | b"nr_blocks" => set[seen.on.place()][0] = is_limit(value),
                b"nr_inodes" => set[seen.on.place()][1] = is_limit(value),
                b"mode" => set[seen.on.place()][2] = true,
                _ => {}
            },
            Op::FsCreate { .. } if matches!(view.thing(seen.on).what, What::Context(kind) if kind == c"tmpfs") => {
                let [size, files, mode] = set[seen.on.place()];
                if !size || !files {
                    found.at(seen, "makes a tmpfs without a limit");
                }
                // The kernel's default lets everybody write.
                if !mode {
                    found.at(seen, "makes a tmpfs that everybody may write");
                }
            }
            _ => {}
        }
    }
}

pub(super) fn mounts_nosuid(view: &View<'_>, found: &mut Findings) {
    const NOTHING: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);
    for seen in view.of(OpKind::FsMount) {
        let Op::FsMount { attrs, .. } = seen.op else { continue };
        if view.honours(view.thing(seen.made)) {
            continue;
        }
        let needed = match view.thing(seen.on).what {
            What::Context(kind) if kind == c"sysfs" => NOTHING.with(MountAttrs::RDONLY),
            What::Context(kind) if kind == c"proc" || kind == c"mqueue" || kind == c"cgroup2" => NOTHING,
            What::Context(kind) if kind == c"devpts" => MountAttrs::NOSUID.with(MountAttrs::NOEXEC),
            _ => MountAttrs::NOSUID,
        };
        if !attrs.has(needed) {
            found.at(seen, format!("lacks {}", needed.without(attrs)));
        }
    }
}

/// Whether mounts shall spread within the container.
fn spreads(view: &View<'_>) -> bool {
    matches!(view.plan.report().of("mount propagation"), Some(Outcome::Applied(how)) if how != "private")
}

pub(super) fn attributes_only_added(view: &View<'_>, found: &mut Findings) {
    let spread = view.of(OpKind::MountSetAttr).filter(|seen| is_spread(view, seen)).count();
    found.unless(spread == usize::from(spreads(view)) || view.enters(), "the report says otherwise how mounts spread");
    for seen in view.of(OpKind::MountSetAttr) {
        let Op::MountSetAttr { clear, set, propagation, userns, .. } = seen.op else { continue };
        if !clear.is_empty() && !super::export::opens(view, seen) {
            found.at(seen, format!("clears {clear}"));
        }
        let within = is_spread(view, seen) || super::incoming::receives(view, seen);
        if propagation != Propagation::PRIVATE && propagation != Propagation::NONE && !within {
            found.at(seen, "lets mounts spread");
        }
        let of_child = view.maker(seen.onto).is_some_and(|maker| matches!(view.thing(maker.on).what, What::Process))
            || matches!(view.thing(seen.onto).what, What::MappedNamespace);
        if set.has(MountAttrs::IDMAP) != userns.is_some() || userns.is_some() != of_child {
            found.at(seen, "maps ids by another namespace than the child's");
        }
    }
}

/// Whether the op only lets mounts spread within the container, as the report says:
/// after the switch of the root nothing in it is the peer of anything outside.
pub(super) fn is_spread(view: &View<'_>, seen: &Seen<'_>) -> bool {
    view.switch() < seen.at
        && spreads(view)
        && matches!(
            seen.op,
            Op::MountSetAttr { dir: At::Cwd, path, flags: TreeFlags::RECURSIVE, set, clear, propagation: Propagation::SHARED, userns: None }
                if path == c"/" && set.is_empty() && clear.is_empty()
        )
}

pub(super) fn one_tree_per_place(view: &View<'_>, found: &mut Findings) {
    // By place, where a tree was attached to its descriptor.
    let mut covered = view.table(usize::MAX);
    let mut names = Vec::new();
    for seen in view.of(OpKind::MoveMount) {
        let Op::MoveMount { dir: At::Slot(_), path, .. } = seen.op else { continue };
        if !path.is_empty() {
            names.push((seen.onto, path, seen.at));
        } else if covered[seen.onto.place()] != usize::MAX {
            found.at(seen, "lies over another tree of the plan");
        } else {
            covered[seen.onto.place()] = seen.at;
        }
    }
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        found.at(&view.ops()[pair[1].2], "lies over another tree of the plan");
    }
    // The descriptor of a place shows what lies under the tree.
    for kind in [OpKind::OpenAt2, OpKind::OpenTree, OpKind::Mkdir, OpKind::Create, OpKind::Symlink, OpKind::Unlink] {
        for seen in view.of(kind).filter(|seen| covered[seen.on.place()] < seen.at) {
            found.at(seen, "uses a place that a tree lies over");
        }
    }
}

pub(super) fn everything_attached(view: &View<'_>, found: &mut Findings) {
    for (id, thing) in view.things() {
        if let (true, None, Some(maker)) = (thing.is_detached_tree(), thing.attached, view.maker(id)) {
            found.at(maker, "makes a tree that is never attached");
        }
    }
}

/// A node of every `/dev`, or one that the report names.
fn is_listed(view: &View<'_>, proof: Option<Proof>) -> bool {
    let number = match proof {
        Some(Proof::CharDevice { major, minor })
            if nodes(view.profile()).any(|node| (node.major, node.minor) == (major, minor)) =>
        {
            return true;
        }
        Some(Proof::CharDevice { major, minor }) => format!("c {major}:{minor} "),
        Some(Proof::BlockDevice { major, minor }) => format!("b {major}:{minor} "),
        _ => return false,
    };
    view.plan.report().items().iter().any(|item| {
        item.name.starts_with("device /")
            && matches!(&item.outcome, Outcome::Applied(detail) if detail.starts_with(&number))
    })
}

pub(super) fn devices_listed(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::OpenTree) {
        let Op::OpenTree { dir: At::Cwd, flags, path, .. } = seen.op else { continue };
        let proof = view.after(seen).and_then(|next| match next.op {
            Op::Prove { proof, .. } if next.on == seen.made => Some(proof),
            _ => None,
        });
        if flags != TreeFlags::CLONE || !is_listed(view, proof) || !path.to_bytes().starts_with(b"/dev/") {
            found.at(seen, "clones a path that is not proved to be a listed device");
        }
        // Of the node; the device is written all the same.
        if !view.thing(seen.made).attrs.has(MountAttrs::RDONLY) {
            found.at(seen, "lets mode and owner of a node of the host be changed");
        }
    }
}

pub(super) fn nodev_everywhere(view: &View<'_>, found: &mut Findings) {
    for (_, thing) in view.things() {
        let Some(attached) = thing.attached else { continue };
        let needed = match thing.what {
            What::Mount(kind) => kind != c"devpts",
            What::HostClone { .. } => !is_listed(view, thing.proved(attached)),
            // Copies of our own mounts have the attributes of those.
            _ => false,
        };
        if needed && !thing.attrs.has(MountAttrs::NODEV) && !view.honours(thing) {
            found.at(&view.ops()[attached], "attaches a mount on which device nodes work");
        }
    }
}
