//! What a process of the container inherits, and the stub init.

use skep_sys::abi::{CapabilitySet, Namespaces};
use skep_sys::{Op, OpKind};

use super::{Findings, once, the_one};
use crate::plan::{Phase, role};
use crate::verify::view::{Seen, View};

/// Positions of the ops that make entries with the plan's own modes.
fn last_creation(view: &View<'_>) -> usize {
    [OpKind::Mkdir, OpKind::Create, OpKind::Symlink, OpKind::Bind]
        .into_iter()
        .filter_map(|kind| view.of_in(kind, Phase::Enter).next_back())
        .map(|seen| seen.at)
        .max()
        .unwrap_or(0)
}

pub(super) fn attributes_reset(view: &View<'_>, found: &mut Findings) {
    found.unless(view.has(OpKind::SetSid, Phase::Enter), "the child stays in the caller's session");
    found.unless(view.has(OpKind::ResetSignals, Phase::Enter), "the child inherits signal dispositions");
    if view.has(OpKind::Fork, Phase::Enter) || view.enters() {
        found.unless(view.has(OpKind::SetSid, Phase::Payload), "the payload is in the stub init's session");
        found.unless(view.has(OpKind::ResetSignals, Phase::Payload), "the payload starts with signals blocked");
    }
    for seen in view
        .of(OpKind::BlockSignals)
        .filter(|seen| seen.phase == Phase::Payload || !view.has(OpKind::Fork, Phase::Enter))
    {
        found.at(seen, "blocks the payload's signals");
    }
    match view.of_in(OpKind::Umask, Phase::Enter).next_back() {
        None => found.plan("the umask is the caller's"),
        Some(last) => {
            if last.at < last_creation(view) {
                found.at(last, "is set before the last entry is made, which it would change");
            }
            if !matches!(last.op, Op::Umask { mode } if mode <= 0o777) {
                found.at(last, "is no file mode creation mask");
            }
        }
    }
    let persona = view.of_in(OpKind::Personality, Phase::Enter).next_back();
    // PER_LINUX, or PER_LINUX32 where the report says so; no flag of either.
    found.unless(
        persona.is_some_and(|seen| matches!(seen.op, Op::Personality { persona: 0 | 8 })),
        "the personality is the caller's",
    );
    let mut set = 0_u32;
    for seen in view.of_in(OpKind::SetLimit, Phase::Enter) {
        let Op::SetLimit { resource, soft, hard } = seen.op else { continue };
        let bit = 1_u32.checked_shl(u32::from(resource.0)).unwrap_or(0);
        if bit == 0 || bit > 1 << 15 || set & bit != 0 || soft > hard {
            found.at(seen, "is no limit, or one set twice");
        }
        set |= bit;
    }
    found.unless(set == 0xffff, "a resource limit is inherited");
}

pub(super) fn working_directory(view: &View<'_>, found: &mut Findings) {
    if let Some(chdir) = the_one(view, OpKind::Chdir, Phase::Payload, found) {
        if !matches!(chdir.op, Op::Chdir { path } if path.to_bytes().first() == Some(&b'/')) {
            found.at(chdir, "is a relative path");
        }
        if view.line(Phase::Payload).first(OpKind::SetResUid).is_none_or(|uid| uid.at > chdir.at) {
            found.at(chdir, "is entered with more rights than the payload's");
        }
    }
    for seen in view.of(OpKind::Chdir).filter(|seen| seen.phase == Phase::Init || seen.at < view.switch()) {
        found.at(seen, "goes to a path of another root");
    }
}

pub(super) fn stub_init_confined(view: &View<'_>, found: &mut Findings) {
    let init = view.phase(Phase::Init);
    let forks: Vec<&Seen<'_>> = view.of(OpKind::Fork).collect();
    let last = view.phase(Phase::Enter).last();
    for fork in &forks {
        if last.is_none_or(|last| last.at != fork.at) {
            found.at(fork, "is not the last op of enter, so both sides would go on as the payload");
        }
    }
    found.unless(forks.is_empty() == init.is_empty(), "a stub init without a fork, or a fork without a stub init");
    found.unless(view.plan.stub != init.is_empty(), "the plan says otherwise who is process 1");
    let (Some(fork), false) = (forks.first(), init.is_empty()) else { return };
    if view.before(fork).is_none_or(|before| before.kind() != OpKind::BlockSignals) {
        found.at(fork, "loses signals that come before the stub init waits for them");
    }
    found.unless(
        view.namespaces().has(Namespaces::PID),
        "a stub init in the caller's process-id namespace is not process 1",
    );

    let line = view.line(Phase::Init);
    let filter = once(line, OpKind::Seccomp, found);
    if let (Some(adopt), Some(filter)) = (the_one(view, OpKind::Adopt, Phase::Init, found), filter)
        && filter.at < adopt.at
    {
        found.at(adopt, "comes after the filter");
    }
    // It reports failures and holds the payload until it is confined, and has two
    // descriptors then.
    let needed = [role::LIFELINE, role::SIGNALS, role::CONTROL, role::GATE];
    for (held, needed) in view.init_holds.iter().zip([needed.as_slice(), &needed[..2]]) {
        for slot in held.iter().filter(|slot| !needed.contains(slot)) {
            found.plan(format!("slot {slot} stays open in the stub init"));
        }
    }
    once(line, OpKind::NoNewPrivs, found);
    let ids = line.of(OpKind::SetResUid).next_back().map_or(usize::MAX, |seen| seen.at);
    let hidden = line.of(OpKind::Dumpable).any(|seen| {
        seen.at > ids
            && filter.is_none_or(|filter| seen.at < filter.at)
            && matches!(seen.op, Op::Dumpable { on: false })
    });
    found.unless(hidden, "the stub init's memory is open once its ids have changed");
    match init.last() {
        Some(Seen { op: Op::Reap { payload, .. }, .. }) => {
            let own = matches!(fork.op, Op::Fork { pid } if pid == *payload);
            found.unless(own, "the stub init waits for another process than the payload");
        }
        _ => found.plan("the stub init does not end in reaping"),
    }
    for seen in view.of(OpKind::Reap).filter(|seen| init.last().is_none_or(|last| last.at != seen.at)) {
        found.at(seen, "reaps somewhere else");
    }
    no_more_than_payload(view, found);
}

fn no_more_than_payload(view: &View<'_>, found: &mut Findings) {
    let groups = |process| {
        let set = view.line(process).of(OpKind::SetGroups).next_back();
        set.map(|seen| match seen.op {
            Op::SetGroups { groups } => groups.iter().collect::<Vec<u32>>(),
            _ => Vec::new(),
        })
    };
    if let (Some(payload), Some(init)) = (groups(Phase::Payload), groups(Phase::Init)) {
        found
            .unless(init.iter().all(|group| payload.contains(group)), "the stub init has more groups than the payload");
    }
    let proved = |process| {
        view.line(process).first(OpKind::ProveCredentials).map(|seen| match seen.op {
            Op::ProveCredentials { uid, gid, permitted, bounding, .. } => (uid, gid, permitted, bounding),
            _ => (0, 0, CapabilitySet::EMPTY, CapabilitySet::EMPTY),
        })
    };
    if let (Some(payload), Some(init)) = (proved(Phase::Payload), proved(Phase::Init)) {
        let less =
            payload.0 == init.0 && payload.1 == init.1 && payload.2.contains(init.2) && payload.3.contains(init.3);
        found.unless(less, "the stub init is somebody else, or has more rights, than the payload");
    }
}
