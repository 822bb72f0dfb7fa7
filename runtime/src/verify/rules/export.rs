//! The small file system by which sockets of a machine are reached from its host.

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use super::named::{of_root, unmounts};
use super::reported::{applied, place};
use crate::compile::export::{ATTRS, EXPORT, FOUND, HOLDS, ITEM, NAME, way};
use crate::plan::Phase;
use crate::verify::view::{Seen, View};

/// What makes a file system, and mounts one.
const MOUNTS: [OpKind; 6] =
    [OpKind::FsOpen, OpKind::FsString, OpKind::FsFlag, OpKind::FsCreate, OpKind::FsMount, OpKind::MoveMount];

/// Whether an op copies what has just been mounted on the machine's own directory, to be
/// written by the machine: so the next op says.
pub(super) fn copies(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::OpenTree { path, flags, .. } = seen.op else { return false };
    applied(view, ITEM).is_some()
        && seen.phase == Phase::Prepare
        && path.is_empty()
        && flags == TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH)
        && view.before(seen).is_some_and(|moved| moved.on == seen.on && mounts(view, moved))
        && view.after(seen).is_some_and(|next| {
            next.on == seen.made
                && matches!(
                    next.op,
                    Op::MountSetAttr { path, flags: TreeFlags::EMPTY_PATH, set: ATTRS, clear: MountAttrs::RDONLY, propagation: Propagation::PRIVATE, userns: None, .. }
                        if path.is_empty()
                )
        })
}

/// Whether an op is that next one.
pub(super) fn opens(view: &View<'_>, seen: &Seen<'_>) -> bool {
    view.before(seen).is_some_and(|copy| seen.on == copy.made && copies(view, copy))
}

/// Whether an op opens the machine's own directory, and not what is mounted on it.
pub(super) fn finds(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let own = way(view.plan.machine.as_str());
    let above = own.steps().pop().map_or_else(String::new, |step| step.above);
    applied(view, ITEM).is_some()
        && matches!(seen.op, Op::OpenAt2 { path, flags: OpenFlags::DIRECTORY, resolve: FOUND, .. } if path == NAME)
        && of_root(view, seen.on, seen.at) == Some(above.as_bytes())
}

/// Whether an op mounts it, read-only, on the machine's own directory and not on what is
/// mounted there.
fn mounts(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::MoveMount { dir: At::Slot(_), path, .. } = seen.op else { return false };
    let found = view.maker(seen.onto).is_some_and(|open| finds(view, open));
    let proved = view.thing(seen.onto).proved(seen.at);
    path.is_empty()
        && seen.phase == Phase::Prepare
        && found
        && matches!(proved, Some(Proof::OwnDirectory { uid: 0, .. }))
        && view.thing(seen.on).is_mount(c"tmpfs")
        && view.thing(seen.on).attrs == ATTRS.with(MountAttrs::RDONLY)
}

pub(super) fn export_as_reported(view: &View<'_>, found: &mut Findings) {
    let said = applied(view, ITEM);
    let wanted = usize::from(said.is_some());
    let of = |kind| view.of_in(kind, Phase::Prepare);
    let owner = super::ids::root(view);
    // Its options: size, files and mode, and whose it is unless that is the host's root.
    let each = |kind| match kind {
        OpKind::FsString if owner == Some([0, 0]) => 3,
        OpKind::FsString => 5,
        OpKind::FsFlag => 0,
        _ => 1,
    };
    for kind in MOUNTS {
        for seen in of(kind).skip(wanted * each(kind)) {
            found.at(seen, "mounts something on the host");
        }
    }
    let moved: Vec<&Seen<'_>> = of(OpKind::MoveMount).filter(|seen| mounts(view, seen)).collect();
    let name = view.first(OpKind::Create, Phase::Prepare);
    for seen in of(OpKind::Unmount) {
        // What a killed one has left, once the name is ours.
        let left = name.is_some_and(|name| name.at < seen.at) && moved.iter().any(|moved| seen.at < moved.at);
        if !left || !unmounts(view, &seen.op) || of(OpKind::Unmount).count() > 1 {
            found.at(seen, "takes away what is mounted on the host");
        }
    }
    let Some(said) = said else { return };
    let [moved] = moved[..] else { return found.plan("what the report says of exported sockets is not mounted") };
    let undone =
        |(of, op): &&(u32, Option<Op<'_>>)| *of == moved.index && op.as_ref().is_some_and(|op| unmounts(view, op));
    let all = view.undo.iter().filter(|(_, op)| op.as_ref().is_some_and(|op| op.kind() == OpKind::Unmount)).count();
    found.unless(view.undo.iter().filter(undone).count() == 1 && all == 1, "what is mounted on the host stays there");
    let copied = view.of(OpKind::OpenTree).filter(|seen| copies(view, seen)).count();
    found.unless(copied == 1, "what is mounted on the host is not what the machine has");
    for copy in view.of(OpKind::OpenTree).filter(|seen| copies(view, seen)) {
        let inside = |seen: &&Seen<'_>| seen.on == copy.made && place(view, seen) == EXPORT.to_str().ok();
        if view.of(OpKind::MoveMount).find(inside).is_none() {
            found.at(copy, "shows what is exported elsewhere than in /run/host/unix-export");
        }
    }
    // Of what size and whose it is.
    let option = |key: &std::ffi::CStr| {
        let set = of(OpKind::FsString).rfind(|seen| matches!(seen.op, Op::FsString { key: of, .. } if of == key));
        set.map(|seen| match seen.op {
            Op::FsString { value, .. } => value.to_string_lossy().into_owned(),
            _ => String::new(),
        })
    };
    let holds = [c"size", c"nr_inodes", c"mode"].map(|key| option(key).unwrap_or_default()) == HOLDS.options();
    let whose = [c"uid", c"gid"].map(|key| option(key).map_or(Some(0), |id| id.parse::<u64>().ok()));
    let ours = owner
        .is_some_and(|owner| whose == owner.map(Some) && said.ends_with(&format!(", of {}:{}", owner[0], owner[1])));
    found.unless(holds && ours, "what is mounted on the host is larger than the report says, or another's");
    let what = of(OpKind::FsOpen).all(|seen| matches!(seen.op, Op::FsOpen { kind, .. } if kind == c"tmpfs"));
    found.unless(what, "what is mounted on the host is no tmpfs");
}
