//! Directories of the host that bear the machine's name, by which the two meet.

use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use super::reported::applied;
use crate::compile::named::{Step, Way};
use crate::compile::{export, incoming};
use crate::plan::Phase;
use crate::verify::view::{Id, Seen, View, What};

/// The ways to those that the report says there are, in the order in which they go.
fn ways(view: &View<'_>) -> Vec<Way> {
    let machine = view.plan.machine.as_str();
    let said = |item, way: fn(&str) -> Way| applied(view, item).map(|_| way(machine));
    [said(export::ITEM, export::way), said(incoming::ITEM, incoming::way)].into_iter().flatten().collect()
}

/// The path of a directory that is proved to be root's, and nobody else's to write.
pub(super) fn of_root<'a>(view: &View<'a>, id: Id, before: usize) -> Option<&'a [u8]> {
    let thing = view.thing(id);
    match (thing.what, thing.proved(before)) {
        (What::Host(path), Some(Proof::OwnDirectory { uid: 0, .. })) => Some(path.to_bytes()),
        _ => None,
    }
}

/// Whether an op makes what a step is.
fn is(view: &View<'_>, seen: &Seen<'_>, step: &Step) -> bool {
    seen.phase == Phase::Prepare
        && matches!(
            seen.op,
            Op::Mkdir { name, mode, exist_ok: true, .. } if name.to_bytes() == step.name.as_bytes() && mode == step.mode
        )
        && of_root(view, seen.on, seen.at) == Some(step.above.as_bytes())
}

/// Whether an op makes one of the directories, or one on the way there.
pub(super) fn makes(view: &View<'_>, seen: &Seen<'_>) -> bool {
    matches!(seen.op, Op::Mkdir { exist_ok: true, .. })
        && ways(view).iter().any(|way| way.steps().iter().any(|step| is(view, seen, step)))
}

fn unlinks(op: &Op<'_>, path: &str) -> bool {
    matches!(*op, Op::Unlink { dir: At::Cwd, path: of, directory: true } if of.to_bytes() == path.as_bytes())
}

/// Where something is mounted.
fn mounted(view: &View<'_>) -> String {
    export::way(view.plan.machine.as_str()).path()
}

fn is_mounted(view: &View<'_>, way: &Way) -> bool {
    way.path() == mounted(view)
}

/// Whether an op takes away what is mounted on such a directory.
pub(super) fn unmounts(view: &View<'_>, op: &Op<'_>) -> bool {
    let path = mounted(view);
    matches!(*op, Op::Unmount { dir: At::Cwd, path: of } if of.to_bytes() == path.as_bytes())
}

/// Whether an op takes one of the machine's own away.
pub(super) fn removes(view: &View<'_>, op: &Op<'_>) -> bool {
    match op {
        Op::Unmount { .. } => applied(view, export::ITEM).is_some() && unmounts(view, op),
        _ => ways(view).iter().any(|way| way.own().iter().any(|path| unlinks(op, path))),
    }
}

pub(super) fn named_and_removed(view: &View<'_>, found: &mut Findings) {
    let ways = ways(view);
    let steps: Vec<Step> = ways.iter().flat_map(Way::steps).collect();
    // Each is made where the one above it is; those of several ways by each of them.
    let made: Vec<&Seen<'_>> = view.of_in(OpKind::Mkdir, Phase::Prepare).filter(|seen| makes(view, seen)).collect();
    let times = |path: &str| steps.iter().filter(|step| step.path() == path).count();
    for step in &steps {
        let of: Vec<&&Seen<'_>> = made.iter().filter(|seen| is(view, seen, step)).collect();
        found.unless(of.len() == times(&step.path()), "a directory that bears the machine's name is not made");
        let undone = |seen: &&Seen<'_>| {
            let one = |(of, op): &&(u32, Option<Op<'_>>)| {
                *of == seen.index && op.as_ref().is_some_and(|op| unlinks(op, &step.path()))
            };
            view.undo.iter().filter(one).count() == 1
        };
        found.unless(!step.own || of.iter().all(|seen| undone(seen)), "the undo leaves a directory of the machine");
    }
    found.unless(made.len() == steps.len(), "the embedder makes other directories than those of the report");
    let own: Vec<String> = ways.iter().flat_map(Way::own).collect();
    let unlink = |op: &&Op<'_>| op.kind() == OpKind::Unlink;
    let undone = view.undo.iter().filter_map(|(_, op)| op.as_ref()).filter(unlink).count();
    found.unless(undone == own.len(), "the undo removes another directory, or one too often");
    // What is in a directory goes before it.
    let undone = |path: &str| view.undo.iter().position(|(_, op)| op.as_ref().is_some_and(|op| unlinks(op, path)));
    let unmounted = view.undo.iter().position(|(_, op)| op.as_ref().is_some_and(|op| unmounts(view, op)));
    for way in &ways {
        let over = Some(unmounted).filter(|_| is_mounted(view, way));
        let order: Vec<Option<usize>> = over.into_iter().chain(way.own().iter().map(|path| undone(path))).collect();
        found.unless(order.is_sorted_by(|deeper, above| deeper > above), "the undo begins with what holds the rest");
    }
    // The watcher before the name is given back: afterwards they may be another's.
    let mut watched = view.watch.iter().flatten();
    let wanted = ways.iter().all(|way| {
        (!is_mounted(view, way) || watched.next().is_some_and(|op| unmounts(view, op)))
            && way.own().iter().all(|path| watched.next().is_some_and(|op| unlinks(op, path)))
    });
    let rest = watched.any(|op| matches!(op.kind(), OpKind::Unlink | OpKind::Unmount));
    found.unless(
        wanted && !rest,
        "the watcher does not remove what bears the machine's name while it is the machine's, or removes more",
    );
}
