//! The one directory by which mounts of the host come into a machine that runs.

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use super::mounts::is_spread;
use super::reported::{applied, place};
use crate::compile::incoming::{ATTRS, BELOW, INCOMING, ITEM, MODE, TOP, directory_of};
use crate::plan::Phase;
use crate::verify::view::{Id, Seen, View, What};

/// Whether the report says that there is one.
fn said(view: &View<'_>) -> bool {
    applied(view, ITEM).is_some()
}

/// The path of a directory that is proved to be root's, and nobody else's to write.
fn of_root<'a>(view: &View<'a>, id: Id, before: usize) -> Option<&'a [u8]> {
    let thing = view.thing(id);
    match (thing.what, thing.proved(before)) {
        (What::Host(path), Some(Proof::OwnDirectory { uid: 0, .. })) => Some(path.to_bytes()),
        _ => None,
    }
}

/// Whether an op makes the directory, or one on the way there.
pub(super) fn makes(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::Mkdir { name, mode, exist_ok: true, .. } = seen.op else { return false };
    let Some(above) = of_root(view, seen.on, seen.at).filter(|_| seen.phase == Phase::Prepare && said(view)) else {
        return false;
    };
    let (mut path, machine) = (TOP.to_owned(), view.plan.machine.as_str());
    BELOW.into_iter().chain([(machine, MODE)]).any(|(next, wanted)| {
        let fits = (above, name.to_bytes(), mode) == (path.as_bytes(), next.as_bytes(), wanted);
        path = format!("{path}/{next}");
        fits
    })
}

/// Whether an op makes the machine's own.
fn is_own(view: &View<'_>, seen: &Seen<'_>) -> bool {
    makes(view, seen)
        && matches!(seen.op, Op::Mkdir { name, .. } if name.to_bytes() == view.plan.machine.as_str().as_bytes())
}

/// Whether an op copies the machine's own, to receive and no more: so the next op says.
pub(super) fn copies(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::OpenTree { path, flags, .. } = seen.op else { return false };
    let own = directory_of(view.plan.machine.as_str());
    said(view)
        && seen.phase == Phase::Prepare
        && path.is_empty()
        && flags == TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH)
        && of_root(view, seen.on, seen.at) == Some(own.as_bytes())
        && view.after(seen).is_some_and(|next| {
            next.on == seen.made
                && matches!(
                    next.op,
                    Op::MountSetAttr { path, flags: TreeFlags::EMPTY_PATH, set: ATTRS, clear, propagation: Propagation::SLAVE, userns: None, .. }
                        if path.is_empty() && clear.is_empty()
                )
        })
}

/// Whether an op lets a mount receive: the copy, or what has come of it inside once mounts
/// spread there.
pub(super) fn receives(view: &View<'_>, seen: &Seen<'_>) -> bool {
    view.before(seen).is_some_and(|copy| seen.on == copy.made && copies(view, copy)) || is_last(view, seen)
}

/// Of these the second.
pub(super) fn is_last(view: &View<'_>, seen: &Seen<'_>) -> bool {
    said(view)
        && view.before(seen).is_some_and(|before| is_spread(view, before))
        && matches!(
            seen.op,
            Op::MountSetAttr { dir: At::Cwd, path, flags: TreeFlags::NONE, set, clear, propagation: Propagation::SLAVE, userns: None }
                if path == INCOMING && set == MountAttrs::NONE && clear.is_empty()
        )
}

/// Whether an op removes the machine's own.
pub(super) fn removes(view: &View<'_>, op: &Op<'_>) -> bool {
    let own = directory_of(view.plan.machine.as_str());
    matches!(*op, Op::Unlink { dir: At::Cwd, path, directory: true } if path.to_bytes() == own.as_bytes())
}

pub(super) fn incoming_one_way(view: &View<'_>, found: &mut Findings) {
    let wanted = usize::from(said(view));
    let made: Vec<&Seen<'_>> = view.of_in(OpKind::Mkdir, Phase::Prepare).filter(|seen| makes(view, seen)).collect();
    let own: Vec<&&Seen<'_>> = made.iter().filter(|seen| is_own(view, seen)).collect();
    let whole = made.len() == wanted * (BELOW.len() + 1) && own.len() == wanted;
    found.unless(whole, "the directory by which mounts come in is not the one that the report says");
    let copies: Vec<&Seen<'_>> = view.of(OpKind::OpenTree).filter(|seen| copies(view, seen)).collect();
    found.unless(copies.len() == wanted, "mounts come in otherwise than the report says");
    for copy in copies {
        let inside = |seen: &&Seen<'_>| seen.on == copy.made && place(view, seen) == INCOMING.to_str().ok();
        if view.of(OpKind::MoveMount).find(inside).is_none() {
            found.at(copy, "receives mounts elsewhere than in /run/host/incoming");
        }
    }
    let last = view.of_in(OpKind::MountSetAttr, Phase::Enter).filter(|seen| is_last(view, seen)).count();
    found.unless(last == wanted, "what comes in spreads within the machine, or the report says otherwise");
    let unlinks = |op: &Op<'_>| op.kind() == OpKind::Unlink;
    let undone = |(of, op): &(u32, Option<Op<'_>>)| {
        op.as_ref().is_some_and(|op| removes(view, op)) && own.iter().any(|seen| seen.index == *of)
    };
    let all = view.undo.iter().filter(|(_, op)| op.as_ref().is_some_and(unlinks)).count();
    let fitting = view.undo.iter().filter(|undo| undone(undo)).count();
    found.unless(all == wanted && fitting == wanted, "the undo leaves that directory, or removes another");
    let all = view.watch.iter().flatten().filter(|op| unlinks(op)).count();
    let first = view.watch.first().is_some_and(|op| op.as_ref().is_some_and(|op| removes(view, op)));
    found.unless(
        all == wanted && first == (wanted == 1),
        "the watcher does not remove that directory while its name is the machine's, or removes another",
    );
}
