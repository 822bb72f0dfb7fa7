//! The frame of a start: who is made when, what it holds, who waits for whom.

use std::ffi::CStr;

use skep_sys::abi::{CapabilitySet, Namespaces};
use skep_sys::{At, Op, OpKind, Proof, Slot};

use super::{Findings, the_one};
use crate::compile::filesystem::interface::LOG_FILE;
use crate::compile::kernel_files::OPEN_NETWORK;
use crate::plan::{OWN_NETWORK, Phase, role};
use crate::report::Outcome;
use crate::verify::view::{Seen, View, What};

pub(super) fn adopt_first(view: &View<'_>, found: &mut Findings) {
    match view.phase(Phase::Enter).first() {
        Some(first) if first.kind() == OpKind::Adopt => {}
        Some(first) => found.at(first, "comes before the foreign descriptors are closed"),
        None => found.plan("the child does nothing"),
    }
}

pub(super) fn await_before_work(view: &View<'_>, found: &mut Findings) {
    let mut waits = view.of_in(OpKind::Await, Phase::Enter);
    let Some(wait) = waits.next() else { return found.plan("the child does not wait") };
    for seen in view.phase(Phase::Enter).iter().take_while(|seen| seen.at < wait.at) {
        let passed = seen.kind() == OpKind::Close && matches!(view.thing(seen.on).what, What::Passed(_));
        if !passed && !matches!(seen.kind(), OpKind::Adopt | OpKind::Vacate | OpKind::Dup) {
            found.at(seen, "comes before the wait");
        }
    }
}

pub(super) fn held_when_made(view: &View<'_>, found: &mut Findings) {
    let waits: Vec<_> = view.of_in(OpKind::Await, Phase::Enter).skip(1).collect();
    found.unless(waits.len() == usize::from(view.plan.hold), "the plan says otherwise whether the child is held");
    for seen in &waits {
        if seen.at < view.switch() {
            found.at(seen, "waits before all is made");
        }
        if view.before(seen).is_none_or(|before| before.kind() != OpKind::Arrive) {
            found.at(seen, "waits, and nobody is told");
        }
        let rest = view.phase(Phase::Enter).iter().filter(|later| later.at > seen.at);
        for later in rest.filter(|later| !matches!(later.kind(), OpKind::BlockSignals | OpKind::Fork)) {
            found.at(later, "comes after the embedder has looked");
        }
    }
    found.unless(view.of(OpKind::Arrive).count() == waits.len(), "the embedder is told of a wait that is none");
}

pub(super) fn release_last(view: &View<'_>, found: &mut Findings) {
    let Some(release) = the_one(view, OpKind::Release, Phase::Attend, found) else { return };
    if let Some(after) = view.after(release) {
        found.at(after, "comes after the child was let go");
    }
}

pub(super) fn exec_last(view: &View<'_>, found: &mut Findings) {
    let exec = the_one(view, OpKind::Exec, Phase::Payload, found);
    for seen in view.of(OpKind::Exec).chain(view.of(OpKind::ExecAt)) {
        if exec.is_none_or(|exec| exec.at != seen.at) {
            found.at(seen, "is an exec that is not the payload's");
        }
    }
    let Some(exec) = exec else { return };
    if let Some(after) = view.after(exec) {
        found.at(after, "comes after the exec");
    }
    let announce = the_one(view, OpKind::Announce, Phase::Payload, found);
    if announce.is_none_or(|announce| announce.at + 1 != exec.at) {
        found.at(exec, "is not announced directly before");
    }
    if let Op::Exec { programs, arguments, .. } = exec.op
        && (arguments.is_empty() || programs.iter().any(CStr::is_empty) || programs.is_empty())
    {
        found.at(exec, "has no program or no arguments");
    }
}

pub(super) fn spawn_last(view: &View<'_>, found: &mut Findings) {
    let Some(spawn) = the_one(view, OpKind::Spawn, Phase::Prepare, found) else { return };
    if let Some(after) = view.after(spawn) {
        found.at(after, "comes after the clone, while the child runs");
    }
    if let Op::Spawn { image, plan, pidfd, pid, namespaces, ambient, .. } = spawn.op {
        // The runner fills and reads these.
        if [image, plan, pidfd, pid] != [role::IMAGE, role::PLAN, role::PIDFD, role::PID] {
            found.at(spawn, "uses other slots than the runner");
        }
        if ambient != CapabilitySet::EMPTY && !namespaces.has(Namespaces::USER) {
            found.at(spawn, "raises ambient capabilities without a user namespace of their own");
        }
    }
}

pub(super) fn namespaces_complete(view: &View<'_>, found: &mut Findings) {
    let asked = view.namespaces();
    let late = Namespaces::CGROUP.with(Namespaces::TIME);
    found.unless(asked.has(Namespaces::MOUNT), "the clone makes no mount namespace");
    let mut entered = Namespaces::NONE;
    for seen in view.of(OpKind::Unshare) {
        if let Op::Unshare { namespaces } = seen.op {
            if !late.has(namespaces) {
                found.at(seen, "unshares what the clone makes");
            }
            entered = entered.with(namespaces);
        }
    }
    let missing = Namespaces(asked.0 & late.0).without(entered);
    found.unless(missing.is_empty(), "a namespace was asked for and is not entered");
    found.unless(entered.without(asked).is_empty(), "a namespace is entered that nobody asked for");
    // It is for children until setns(2), or an exec of a later kernel: time_namespaces(7).
    let own_time = |seen: &&Seen<'_>| matches!(view.thing(seen.on).what, What::TimeOfChildren);
    let mut in_time = view.of_in(OpKind::SetNs, Phase::Enter).filter(own_time);
    if entered.has(Namespaces::TIME) {
        let made = view.of(OpKind::Unshare).next_back().map_or(usize::MAX, |seen| seen.at);
        let Some(seen) = in_time.next() else { return found.plan("the time namespace is left to children") };
        if seen.at < made {
            found.at(seen, "enters a time namespace before it is made");
        }
        for write in view.of_in(OpKind::Write, Phase::Enter).filter(|write| write.at > seen.at) {
            if matches!(write.op, Op::Write { path, .. } if path == c"1/timens_offsets") {
                found.at(write, "sets clocks that stand by then");
            }
        }
    }
    for more in in_time.filter(|_| !view.enters()) {
        found.at(more, "enters a time namespace that nobody made");
    }
}

pub(super) fn joined_proved(view: &View<'_>, found: &mut Findings) {
    let own = view.namespaces();
    let born =
        Namespaces::NETWORK.with(Namespaces::IPC).with(Namespaces::UTS).with(Namespaces::CGROUP).with(Namespaces::PID);
    let entered = view.of(OpKind::SetNs).filter_map(|seen| match seen.op {
        Op::SetNs { kind, .. } => Some((seen.on, kind, Namespaces::TIME, seen.at)),
        _ => None,
    });
    let spawn = view.first(OpKind::Spawn, Phase::Prepare).map_or(usize::MAX, |seen| seen.at);
    let mut kinds = own;
    for (id, kind, allowed, at) in view.joins.iter().map(|(id, kind)| (*id, *kind, born, spawn)).chain(entered) {
        if !matches!(view.thing(id).proved(at), Some(Proof::Namespace { kind: proved }) if proved == kind) {
            found.plan(format!("a {kind} namespace is joined that is not proved to be one"));
        }
        if !allowed.has(kind) || !Namespaces::NAMES.iter().any(|(one, _)| *one == kind) {
            found.plan(format!("a namespace of kind {kind} is not joined there"));
        }
        // What is new is entered by rule 34.
        let own_time = matches!(view.thing(id).what, What::TimeOfChildren) && own.has(Namespaces::TIME);
        if kinds.has(kind) && !own_time {
            found.plan(format!("a {kind} namespace is new and joined, or joined twice"));
        }
        kinds = kinds.with(kind);
    }
    for (_, thing) in view.things() {
        // A rule of its own says what the way back is for.
        let way_back = matches!(thing.what, What::Host(path) if path == OWN_NETWORK);
        if let Some((_, Proof::Namespace { kind })) = thing.proof
            && !kinds.has(kind)
            && !way_back
        {
            found.plan(format!("a {kind} namespace is proved and not joined"));
        }
    }
    // A process of a new user namespace has no rights over what it joins.
    let late = Namespaces::PID.with(Namespaces::TIME);
    let joined = kinds.without(own);
    found.unless(
        !own.has(Namespaces::USER) || Namespaces(joined.0 & late.0).is_empty(),
        "a pid or time namespace is joined from a user namespace of its own",
    );
}

/// What the embedder opens for a moment is closed by the plan itself.
pub(super) fn nothing_left_open(view: &View<'_>, found: &mut Findings) {
    const SHORT: [Slot; 4] = [role::ONE, role::TWO, role::THREE, role::FOUR];
    let entering = view.enters();
    let short = |slot: Slot| SHORT.contains(&slot) || (entering && slot == role::PROCESS);
    let mut open: Vec<(Slot, &Seen<'_>)> = Vec::new();
    let kept: Vec<Slot> = view.kept.iter().map(|(slot, _)| *slot).collect();
    for seen in view.phase(Phase::Prepare).iter().chain(view.phase(Phase::Attend)) {
        match seen.op {
            Op::OpenAt2 { into, .. }
            | Op::BpfDevice { into, .. }
            | Op::OpenProcess { into, .. }
            | Op::MapNamespace { into, .. }
            | Op::FsOpen { into, .. }
            | Op::OpenTree { into, .. } => {
                let itself = matches!(seen.op, Op::OpenTree { dir: At::Slot(dir), .. } if dir == into);
                if short(into) && !itself && open.iter().any(|(slot, _)| *slot == into) {
                    found.at(seen, "opens what is still open");
                }
                open.retain(|(slot, _)| *slot != into);
                open.push((into, seen));
            }
            Op::Close { file } => open.retain(|(slot, _)| *slot != file),
            _ => {}
        }
    }
    for (slot, seen) in open.iter().filter(|(slot, _)| short(*slot) && !kept.contains(slot)) {
        found.at(seen, format!("leaves slot {slot} open in the embedder"));
    }
}

pub(super) fn own_namespace_only(view: &View<'_>, found: &mut Findings) {
    let mut own = view.namespaces();
    if view.joins_network() {
        // Somebody's, and not the caller's; that its lo is brought up, the report says.
        own = own.with(Namespaces::NETWORK);
    }
    for (kind, needed) in [
        (OpKind::LinkUp, Namespaces::NETWORK),
        (OpKind::HostName, Namespaces::UTS),
        (OpKind::DomainName, Namespaces::UTS),
    ] {
        for seen in view.of(kind).filter(|_| !own.has(needed)) {
            found.at(seen, format!("changes the caller's {needed} namespace"));
        }
    }
    for seen in view.of(OpKind::FsOpen) {
        let needed = match seen.op {
            Op::FsOpen { kind, .. } if kind == c"sysfs" => Namespaces::NETWORK,
            Op::FsOpen { kind, .. } if kind == c"mqueue" => Namespaces::IPC,
            _ => continue,
        };
        let open = needed == Namespaces::NETWORK && super::switch::opens(view, OPEN_NETWORK);
        if !own.has(needed) && !open {
            found.at(seen, format!("shows the caller's {needed} namespace"));
        }
    }
}

pub(super) fn descriptors_passed(view: &View<'_>, found: &mut Findings) {
    let (mut passed, mut replaced) = ([false; 3], [false; 3]);
    let mut given = Vec::new();
    for seen in view.of(OpKind::Dup) {
        let Op::Dup { file, number } = seen.op else { continue };
        let stream = role::STDIO.iter().position(|slot| *slot == file);
        if matches!(view.thing(seen.on).what, What::Terminal) && seen.phase == Phase::Payload {
            // In the place of /dev/null, and of nothing that was passed.
            let null = |(slot, id): &(Slot, _)| {
                let proof = view.thing(*id).proof.map(|(_, proof)| proof);
                role::STDIO.get(number as usize) == Some(slot)
                    && proof == Some(Proof::CharDevice { major: 1, minor: 3 })
            };
            match replaced.get_mut(number as usize) {
                Some(done) if view.kept.iter().any(null) && !*done => *done = true,
                _ => found.at(seen, "puts the terminal in the place of another stream"),
            }
            continue;
        }
        if let What::Passed(wanted) = view.thing(seen.on).what {
            if wanted != number || number < 3 || seen.phase != Phase::Enter || given.contains(&number) {
                found.at(seen, "passes a descriptor under another number");
            }
            let vacated = view.of_in(OpKind::Vacate, Phase::Enter).any(|vacate| {
                vacate.at < seen.at
                    && matches!(vacate.op, Op::Vacate { numbers } if numbers.iter().any(|other| other == number))
            });
            if !vacated {
                found.at(seen, "may take the number of a descriptor that is still needed");
            }
            given.push(number);
            continue;
        }
        match passed.get_mut(number as usize) {
            Some(done) if stream == Some(number as usize) && seen.phase == Phase::Enter && !*done => *done = true,
            _ => found.at(seen, "passes a descriptor that is not that stream"),
        }
    }
    found.unless(passed == [true; 3], "a standard stream is missing");
    found.unless(view.plan.passed.iter().all(|passed| given.contains(&passed.number)), "a descriptor is missing");
    for seen in view.of(OpKind::Vacate) {
        if view.before(seen).is_none_or(|before| !matches!(before.kind(), OpKind::Adopt | OpKind::Dup)) {
            found.at(seen, "does not come before everything that opens descriptors");
        }
    }
    let adopt = view.first(OpKind::Adopt, Phase::Enter).map_or(usize::MAX, |seen| seen.at);
    for seen in view.of(OpKind::Dup).filter(|seen| seen.at < adopt) {
        found.at(seen, "is closed again by what follows");
    }
    for seen in view.of(OpKind::Adopt).skip_while(|seen| seen.at <= adopt).filter(|seen| seen.phase != Phase::Init) {
        found.at(seen, "closes the payload's streams");
    }
}

pub(super) fn keep_is_the_childs(view: &View<'_>, found: &mut Findings) {
    for (slot, id) in &view.kept {
        let thing = view.thing(*id);
        let stream = role::STDIO.contains(slot);
        let fits = match thing.what {
            // The one namespace that the child itself enters.
            What::Given | What::Host(_)
                if matches!(thing.proof, Some((_, Proof::Namespace { kind: Namespaces::TIME }))) =>
            {
                !stream
            }
            What::Given if *slot == role::TARGET => view.enters(),
            What::TimeOfChildren => view.enters() && *slot == role::TIME,
            What::Given | What::Pipe => stream,
            What::Host(_) => stream && matches!(thing.proof, Some((_, Proof::CharDevice { major: 1, minor: 3 }))),
            What::Passed(number) => {
                let proved = matches!(thing.proof, Some((_, Proof::Passable)));
                let named = matches!(view.plan.report().of(&format!("descriptor {number}")), Some(Outcome::Applied(how)) if how == "passed, whatever it is");
                proved || named
            }
            What::HostClone { .. } | What::ChildEnd(_) | What::Socket => !stream,
            // Rule 27 names it.
            What::Nothing => true,
            _ => false,
        };
        if !fits {
            found.plan(format!("the child is given slot {slot}, which is not its own"));
        }
    }
    let mut slots: Vec<Slot> = view.kept.iter().map(|(slot, _)| *slot).collect();
    slots.sort_unstable();
    found.unless(slots.windows(2).all(|pair| pair[0] != pair[1]), "the child is given a slot twice");
}

/// What the child may send, by the slot that the runner keeps it in.
const SENT: &[(Slot, Is)] = &[
    (role::TERMINAL, |what| matches!(what, What::TerminalMaster)),
    (role::MEMBER, |what| matches!(what, What::Member)),
    (role::LISTENER, |what| matches!(what, What::Listener)),
    // Rule 89 says which one it is.
    (role::LOG, |what| matches!(what, What::Inside { path, .. } if path == LOG_FILE)),
];
type Is = fn(What<'_>) -> bool;

pub(super) fn descriptors_sent(view: &View<'_>, found: &mut Findings) {
    let mut sent = Vec::new();
    for seen in view.of(OpKind::SendFile) {
        let Op::SendFile { place, .. } = seen.op else { continue };
        let what = view.thing(seen.onto).what;
        if !SENT.iter().any(|(slot, is)| *slot == place && is(what)) {
            found.at(seen, "sends what the embedder does not expect");
        }
        if sent.contains(&place) {
            found.at(seen, "sends a second one");
        }
        sent.push(place);
    }
}

/// The two ends of what the payload's process waits on, under a stub init.
const GATE: [Slot; 2] = [role::GATE, role::GATE_PAYLOAD];

fn gate<'v, 'a>(view: &'v View<'a>) -> Option<&'v Seen<'a>> {
    view.of_in(OpKind::SocketPair, Phase::Enter)
        .find(|seen| matches!(seen.op, Op::SocketPair { one, other } if [one, other] == GATE))
}

pub(super) fn init_confined_first(view: &View<'_>, found: &mut Findings) {
    let waits: Vec<_> = view.of_in(OpKind::Await, Phase::Payload).collect();
    let words: Vec<_> = view.of_in(OpKind::Release, Phase::Init).collect();
    let gates = view.of_in(OpKind::SocketPair, Phase::Enter).count();
    if view.of(OpKind::Fork).next().is_none() {
        found.unless(waits.is_empty() && words.is_empty() && gates == 0, "there is no stub init to wait for");
        return;
    }
    let ([wait], [word], 1) = (waits.as_slice(), words.as_slice(), gates) else {
        return found.plan("the payload does not wait for one word of the stub init");
    };
    for seen in view.phase(Phase::Payload).iter().filter(|seen| seen.at < wait.at) {
        if !matches!(seen.kind(), OpKind::SetSid | OpKind::ResetSignals) {
            found.at(seen, "comes before the stub init is confined");
        }
    }
    for seen in view.phase(Phase::Init).iter().filter(|seen| seen.at > word.at) {
        if seen.kind() != OpKind::Reap {
            found.at(seen, "comes after the stub init let the payload go on");
        }
    }
}

pub(super) fn one_conversation(view: &View<'_>, found: &mut Findings) {
    let mut control = None;
    for seen in view.of(OpKind::SocketPair) {
        if let Op::SocketPair { one, other } = seen.op {
            // Rule 78 is about it.
            if [one, other] == GATE && seen.phase == Phase::Enter {
                continue;
            }
            if [one, other] == [role::CONTROL_HOST, role::CONTROL] && control.is_none() {
                control = Some(seen.at);
            } else if [one, other] != [role::LIFELINE_HOST, role::LIFELINE] {
                found.at(seen, "is a conversation that nobody listens to");
            }
        }
    }
    let Some(control) = control else { return found.plan("the two sides have no socket pair") };
    let gate = gate(view).map(|seen| seen.at);
    for kind in [OpKind::Release, OpKind::Await, OpKind::Announce, OpKind::Arrive, OpKind::SendFile] {
        for seen in view.of(kind) {
            let fits = match view.thing(seen.on).what {
                What::HostEnd(pair) if seen.phase == Phase::Init => Some(pair) == gate && kind == OpKind::Release,
                What::ChildEnd(pair) if Some(pair) == gate => seen.phase == Phase::Payload && kind == OpKind::Await,
                What::HostEnd(pair) => pair == control && kind == OpKind::Release,
                What::ChildEnd(pair) => pair == control && kind != OpKind::Release,
                _ => false,
            };
            if !fits {
                found.at(seen, "speaks to nobody");
            }
        }
    }
    for seen in view.of(OpKind::Reap) {
        if !matches!(view.thing(seen.on).what, What::ChildEnd(pair) if pair != control && Some(pair) != gate) {
            found.at(seen, "has no lifeline of its own");
        }
        if !matches!(seen.op, Op::Reap { control: role::CONTROL, gate: role::GATE, .. }) {
            found.at(seen, "keeps a part of the start");
        }
    }
    // An abstract name would be seen by everybody in the network namespace.
    for seen in view.of(OpKind::Bind) {
        if !matches!(seen.op, Op::Bind { path, .. } if path.to_bytes().first() == Some(&b'/')) {
            found.at(seen, "binds an abstract name");
        }
    }
}
