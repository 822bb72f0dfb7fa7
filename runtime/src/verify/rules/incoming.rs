//! The one directory by which mounts of the host come into a machine that runs.

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind};

use super::Findings;
use super::mounts::is_spread;
use super::named::of_root;
use super::reported::{applied, place};
use crate::compile::incoming::{ATTRS, INCOMING, ITEM, way};
use crate::plan::Phase;
use crate::verify::view::{Seen, View};

/// Whether the report says that there is one.
fn said(view: &View<'_>) -> bool {
    applied(view, ITEM).is_some()
}

/// Whether an op copies the machine's own, to receive and no more: so the next op says.
pub(super) fn copies(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::OpenTree { path, flags, .. } = seen.op else { return false };
    let own = way(view.plan.machine.as_str()).path();
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

pub(super) fn incoming_one_way(view: &View<'_>, found: &mut Findings) {
    let wanted = usize::from(said(view));
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
}
