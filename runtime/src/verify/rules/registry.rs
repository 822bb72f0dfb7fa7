//! The name in the registry.

use skep_sys::abi::OpenFlags;
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

/// Whether an op gets hold of the entry, and of nothing that a link leads to.
pub(super) fn holds_entry(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::OpenAt2 { path, flags, into: role::ENTRY, .. } = seen.op else { return false };
    flags == OpenFlags::PATH.with(OpenFlags::NO_FOLLOW)
        && in_own(view, seen, true)
        && view.plan.registration.as_ref().is_some_and(|said| said.name.as_c_str() == path)
}

pub(super) fn registered_and_removed(view: &View<'_>, found: &mut Findings) {
    let said = view.plan.registration.as_ref();
    for seen in view.of_in(OpKind::Mkdir, Phase::Prepare) {
        let ours = makes_registry(view, seen) || super::named::makes(view, seen);
        if matches!(seen.op, Op::Mkdir { exist_ok: true, .. }) && !ours {
            found.at(seen, "keeps a directory that is not the registry's");
        }
    }
    let mut taken = view.of_in(OpKind::Create, Phase::Prepare);
    let first = taken.next();
    for more in taken {
        found.at(more, "makes a second file");
    }
    found.unless(first.is_some() == said.is_some(), "the plan says otherwise whether the container is registered");
    let removes = |op: &Op<'_>, from, held| {
        let of = |name| said.is_some_and(|said| said.name.as_c_str() == name);
        matches!(*op, Op::UnlinkSame { dir, name, file } if dir == from && file == held && of(name))
    };
    let unlinks = |op: &Op<'_>| op.kind() == OpKind::UnlinkSame;
    let undone = view.undo.iter().filter(|(_, op)| op.as_ref().is_some_and(unlinks)).count();
    let watched = view.watch.iter().flatten().filter(|op| unlinks(op)).count();
    let wanted = usize::from(said.is_some());
    found.unless(undone == wanted && watched == wanted, "the undo or the watcher removes a file that is not the entry");
    let (Some(seen), Some(said)) = (first, said) else { return };
    if !takes_name(view, seen) {
        found.at(seen, "does not take a name in a directory that is the user's alone");
    }
    let base = view.of_in(OpKind::Mkdir, Phase::Prepare).find(|made| makes_registry(view, made));
    if base.is_none_or(|made| !matches!(view.thing(made.on).what, What::Host(path) if path == said.base.as_c_str())) {
        found.at(seen, "lies in another directory than the user's");
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
    let own = |op: &Op<'_>| removes(op, role::REGISTRY, role::ENTRY);
    let undo = view.undo.iter().any(|(of, op)| *of == seen.index && op.as_ref().is_some_and(own));
    found.unless(undo, "the entry has no undo");
    let watched = |op: &Op<'_>| removes(op, role::WATCHED_REGISTRY, role::WATCHED_ENTRY);
    // What comes in by the name ends before that is given back.
    let before = |op: &&Option<Op<'_>>| op.as_ref().is_some_and(|op| super::named::removes(view, op));
    found.unless(
        view.watch.iter().find(|op| !before(op)).is_some_and(|op| op.as_ref().is_some_and(watched)),
        "the watcher does not remove the entry first of all",
    );
    let held = view.after(seen).is_some_and(|next| holds_entry(view, next));
    let handed = |file, place| {
        let gives = |seen: &Seen<'_>| matches!(seen.op, Op::EntrustFile { watcher: role::WATCHER, place: to, file: of, .. } if to == place && of == file);
        view.of_in(OpKind::EntrustFile, Phase::Attend).any(gives)
    };
    let both = handed(role::REGISTRY, role::WATCHED_REGISTRY) && handed(role::ENTRY, role::WATCHED_ENTRY);
    found.unless(held && both, "whose entry it is, is not proved when it is removed");
    let spawned = view.first(OpKind::Spawn, Phase::Prepare).is_some_and(|spawn| spawn.at > seen.at);
    found.unless(spawned, "the name is taken after the child exists");
}
