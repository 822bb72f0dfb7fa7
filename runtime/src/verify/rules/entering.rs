//! Plans that bring a process into a container that runs.

use skep_sys::abi::{CapabilitySet, Namespaces, cap};
use skep_sys::{Op, OpKind, Slot};

use super::files::is_cgroup;
use super::report::securebits;
use super::{Findings, the_one};
use crate::plan::{Phase, role};
use crate::report::Outcome;
use crate::verify::view::{View, What};

/// The rules that such a plan keeps. The others are about what it cannot do at
/// all, for want of the ops (rule 28): make a tree, a cgroup, a namespace.
pub(in crate::verify) const HOLDS: &[u16] = &[
    1, 2, 4, 6, 12, 13, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 31, 32, 36, 37, 38, 46, 48, 49, 54, 63, 65, 69,
    70, 71, 73, 74, 84,
];

pub(super) fn enters_whole(view: &View<'_>, found: &mut Findings) {
    if !view.enters() {
        // Only a process that joins has anything to join by.
        return;
    }
    if !view.namespaces().is_empty() || !view.joins.is_empty() {
        found.plan("the clone makes namespaces of its own, or joins others");
    }
    let first = view.of(OpKind::SetNs).next().map_or(usize::MAX, |seen| seen.at);
    let mut joined = Namespaces::NONE;
    for (place, seen) in view.of(OpKind::SetNs).enumerate() {
        let Op::SetNs { namespace, kind } = seen.op else { continue };
        let fits = match namespace {
            // All at once, so that the kernel sees them of one process.
            role::TARGET => {
                place == 0 && kind.has(Namespaces::MOUNT.with(Namespaces::PID)) && !kind.has(Namespaces::TIME)
            }
            role::TIME => kind == Namespaces::TIME && matches!(view.thing(seen.on).what, What::TimeOfChildren),
            _ => false,
        };
        if !fits || seen.phase != Phase::Enter || seen.at != first + place {
            found.at(seen, "joins something else than the container, whole");
        }
        joined = joined.with(kind);
    }
    found.unless(!joined.is_empty(), "it joins nothing");
    for (slot, _) in view.kept.iter().filter(|(slot, _)| *slot == role::TIME) {
        found.unless(joined.has(Namespaces::TIME), &format!("slot {slot} is a time namespace that nobody joins"));
    }
    for seen in view.phase(Phase::Enter).iter().filter(|seen| seen.at < first) {
        use OpKind::{Adopt, Await, Close, Dumpable, Dup, ResetSignals, SetSid, Umask, Vacate};
        if !matches!(seen.kind(), Adopt | Vacate | Dup | Close | Await | Dumpable | SetSid | ResetSignals | Umask) {
            found.at(seen, "comes before the container is joined");
        }
    }
    // The way back goes at once.
    let mut after = view.phase(Phase::Enter).iter().filter(|seen| seen.at > view.switch());
    let mut closed: Vec<Slot> = Vec::new();
    let proved = loop {
        match after.next().map(|seen| seen.op) {
            Some(Op::Close { file }) => closed.push(file),
            other => break matches!(other, Some(Op::ProveRoot {})),
        }
    };
    let ways = view.kept.iter().map(|(slot, _)| *slot).filter(|slot| [role::TARGET, role::TIME].contains(slot));
    found.unless(
        proved && ways.clone().count() == closed.len() && ways.clone().all(|slot| closed.contains(&slot)),
        "the root that was joined is not proved, or the way back stays",
    );
    for (id, _) in view.things().filter(|(id, _)| is_cgroup(view, *id, usize::MAX)) {
        let moved = view.of_in(OpKind::WritePid, Phase::Attend).any(|seen| seen.on == id);
        if !moved && view.spawn.is_none_or(|spawn| spawn.cgroup != id) {
            found.plan("it stays out of a cgroup that was opened for it");
        }
    }
    let said = format!("the container's: {joined}");
    let report = view.plan.report().of("namespaces");
    found.unless(report == Some(&Outcome::Applied(said)), "the report says of the namespaces what is not");
}

pub(super) fn born_confined(view: &View<'_>, found: &mut Findings) {
    let mut siblings = view.of(OpKind::Sibling);
    let Some(sibling) = siblings.next() else { return };
    for more in siblings {
        found.at(more, "brings in a second process");
    }
    let Op::Sibling { pid, pidfd } = sibling.op else { return };
    if view.phase(Phase::Enter).last().is_none_or(|last| last.at != sibling.at) {
        found.at(sibling, "is not the last op of enter, so both sides would go on as the process");
    }
    let last = |kind| view.of_in(kind, Phase::Enter).rfind(|seen| seen.at > view.switch());
    let ids = last(OpKind::SetResUid);
    found.unless(
        last(OpKind::DropBounding).is_some() && ids.is_some(),
        "it is born with more than the payload's rights",
    );
    let hidden = last(OpKind::Dumpable).zip(ids).is_some_and(|(hidden, ids)| hidden.at > ids.at);
    found.unless(hidden, "its memory is open once its ids have changed");
    found.unless(last(OpKind::Umask).is_some(), "its umask is not the payload's");
    let line = view.line(Phase::Payload);
    let permitted = |op: &Op<'_>| match *op {
        Op::CapSet { permitted, .. } => permitted,
        _ => CapabilitySet::EMPTY,
    };
    let end = line.of(OpKind::CapSet).next_back().map_or(CapabilitySet::EMPTY, |seen| permitted(&seen.op));
    // The right to install a filter, where that needs one.
    let early = line
        .first(OpKind::Seccomp)
        .is_some_and(|filter| line.of(OpKind::CapSet).next_back().is_some_and(|caps| caps.at > filter.at));
    let most = if early { end.with(cap::SYS_ADMIN) } else { end };
    let born = last(OpKind::CapSet).zip(ids).filter(|(caps, ids)| caps.at > ids.at);
    found.unless(
        born.is_some_and(|(caps, _)| most.contains(permitted(&caps.op))),
        "it is born with capabilities that the payload has not",
    );
    match view.phase(Phase::Payload).first() {
        Some(first) if first.kind() == OpKind::Await => {}
        _ => found.plan("it does not wait until the embedder holds it"),
    }
    let init: Vec<Op<'_>> = view.phase(Phase::Init).iter().map(|seen| seen.op).collect();
    let sends = matches!(init.first(), Some(Op::SendFile { file, place: role::MEMBER, .. }) if *file == pidfd);
    found.unless(
        sends && matches!(init.get(1), Some(Op::Exit { status: 0 })) && init.len() == 2,
        "who brought it in does more than send its descriptor and end",
    );
    let undone = |is: &dyn Fn(&Op<'_>) -> bool| view.undo.iter().any(|(_, op)| op.as_ref().is_some_and(is));
    let killed =
        undone(&|op| matches!(op, Op::PidfdSignal { process: role::MEMBER, signal: skep_sys::abi::signal::KILL }));
    let waited = undone(&|op| matches!(op, Op::PidfdWait { process: role::MEMBER, .. }));
    let group = undone(&|op| matches!(op, Op::EndGroup { pidfd: role::PIDFD, pid: role::PID }));
    let own = view.has(OpKind::SetSid, Phase::Enter);
    found.unless(killed && waited && group && own, "an exec that fails leaves it");
    found.unless(pid == role::PAYLOAD, "the two sides are told apart by another slot than the runner's");
}

pub(super) fn entered_as_reported(view: &View<'_>, found: &mut Findings) {
    if !view.enters() {
        return;
    }
    let line = view.line(Phase::Payload);
    for (name, kind) in [
        ("system-call filter", OpKind::Seccomp),
        ("no new privileges", OpKind::NoNewPrivs),
        ("keyring", OpKind::SessionKeyring),
        ("supplementary groups", OpKind::SetGroups),
        ("landlock", OpKind::LandlockRestrict),
        ("memory deny write-execute", OpKind::DenyWriteExecute),
    ] {
        let applied = matches!(view.plan.report().of(name), Some(Outcome::Applied(_)));
        found.unless(applied == line.has(kind), &format!("{name:?} is reported as it is not"));
    }
    let sum = crate::exec::sum_of_confinement(view.plan);
    found.unless(
        view.plan.report().of("confinement") == Some(&Outcome::Applied(sum)),
        "what confines it is not what the report says",
    );
    let bits = view.plan.report().of("securebits").and_then(|outcome| match outcome {
        Outcome::Applied(detail) => Some(detail.as_str()),
        _ => None,
    });
    let left = securebits(view).filter(|bits| !bits.is_empty()).map(|bits| bits.to_string());
    found.unless(bits == left.as_deref(), "\"securebits\" is reported as it is not");
    let chain = [OpKind::Await, OpKind::SetSid, OpKind::ResetSignals];
    let begun = view.phase(Phase::Payload).iter().map(|seen| seen.kind()).take(chain.len()).eq(chain);
    found.unless(begun, "it works in another session than its own");
    let _ = the_one(view, OpKind::ProveRoot, Phase::Enter, found);
}
