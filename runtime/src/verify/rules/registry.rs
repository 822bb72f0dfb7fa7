//! The name in the registry.

use skep_sys::{At, Op, OpKind, Proof};

use super::Findings;
use crate::plan::{Phase, role};
use crate::registry::DIRECTORY;
use crate::verify::view::{Seen, View, What};

/// Whether an op works in a directory that was proved to be the user's own.
fn in_own(view: &View<'_>, seen: &Seen<'_>, wanted: bool) -> bool {
    let thing = view.thing(seen.on);
    matches!(thing.what, What::Host(_))
        && matches!(thing.proved(seen.at), Some(Proof::OwnDirectory { private, .. }) if private == wanted)
}

/// Whether an op makes the registry's directory.
pub(super) fn makes_registry(view: &View<'_>, seen: &Seen<'_>) -> bool {
    matches!(seen.op, Op::Mkdir { name, mode: 0o700, exist_ok: true, .. } if name.to_bytes() == DIRECTORY.as_bytes())
        && in_own(view, seen, false)
        && view.plan.registration.is_some()
}

/// Whether an op takes a name in the registry.
pub(super) fn takes_name(view: &View<'_>, seen: &Seen<'_>) -> bool {
    matches!(seen.op, Op::Create { mode: 0o600, exist_ok: false, .. }) && in_own(view, seen, true)
}

pub(super) fn registered_and_removed(view: &View<'_>, found: &mut Findings) {
    let said = view.plan.registration.as_ref();
    for seen in view.of_in(OpKind::Mkdir, Phase::Prepare) {
        if matches!(seen.op, Op::Mkdir { exist_ok: true, .. }) && !makes_registry(view, seen) {
            found.at(seen, "keeps a directory that is not the registry's");
        }
    }
    let mut taken = view.of_in(OpKind::Create, Phase::Prepare);
    let first = taken.next();
    for more in taken {
        found.at(more, "makes a second file");
    }
    found.unless(first.is_some() == said.is_some(), "the plan says otherwise whether the container is registered");
    let removes = |op: &Op<'_>| matches!(op, Op::Unlink { dir: At::Cwd, path, directory: false } if said.is_some_and(|said| *path == said.path.as_c_str()));
    let unlinks = |op: &Op<'_>| op.kind() == OpKind::Unlink;
    let undone = view.undo.iter().filter(|(_, op)| op.as_ref().is_some_and(unlinks)).count();
    let watched = view.watch.iter().flatten().filter(|op| unlinks(op)).count();
    let wanted = usize::from(said.is_some());
    found.unless(undone == wanted && watched == wanted, "the undo or the watcher removes a file that is not the entry");
    let (Some(seen), Some(said)) = (first, said) else { return };
    if !takes_name(view, seen) {
        found.at(seen, "does not take a name in a directory that is the user's alone");
    }
    let place = match (seen.op, view.thing(seen.on).what) {
        (Op::Create { dir: At::Slot(role::REGISTRY), name, .. }, What::Host(path)) => {
            Some([path.to_bytes(), name.to_bytes()].join(&b'/'))
        }
        _ => None,
    };
    if place.as_deref() != Some(said.path.to_bytes()) {
        found.at(seen, "takes another name than is given back");
    }
    let undo = view.undo.iter().any(|(of, op)| *of == seen.index && op.as_ref().is_some_and(removes));
    found.unless(undo, "the entry has no undo");
    found.unless(
        view.watch.first().is_some_and(|op| op.as_ref().is_some_and(removes)),
        "the watcher does not remove the entry first of all",
    );
    let spawned = view.first(OpKind::Spawn, Phase::Prepare).is_some_and(|spawn| spawn.at > seen.at);
    found.unless(spawned, "the name is taken after the child exists");
}
