//! What the bytes of a filter let through.

use std::borrow::Cow;

use skep_sys::{Op, OpKind, Slot};

use super::Findings;
use crate::compile::filters::{PRETENDED, pretended};
use crate::plan::{Phase, role};
use crate::report::Outcome;
use crate::seccomp::{ABIS, Action, Arch, Program, SYNC, built, floor};
use crate::verify::view::{Seen, View};

/// The slot of a filter's listener.
fn listener(seen: &Seen<'_>) -> Option<Slot> {
    match seen.op {
        Op::Seccomp { listener, .. } => listener,
        _ => None,
    }
}

/// Whether an op is one of the two that may follow a filter with a listener: it
/// is sent, and then closed.
pub(super) fn is_handing_over(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let filter = |before: Option<&Seen<'_>>| before.and_then(listener);
    match seen.op {
        Op::SendFile { to: role::CONTROL, file, place: role::LISTENER } => filter(view.before(seen)) == Some(file),
        Op::Close { file } => {
            let sent = view.before(seen).filter(|sent| sent.kind() == OpKind::SendFile && is_handing_over(view, sent));
            sent.is_some_and(|sent| filter(view.before(sent)) == Some(file))
        }
        _ => false,
    }
}

/// What a process calls for an op that may follow its filter.
const fn called(kind: OpKind) -> &'static [&'static str] {
    match kind {
        OpKind::SendFile => &["sendmsg", "ppoll"],
        OpKind::Close => &["close"],
        OpKind::Announce => &["write"],
        // And where it fails.
        OpKind::Exec => &["execve", "write", "exit_group"],
        OpKind::CapSet => &["capset"],
        OpKind::AmbientSet => &["prctl"],
        OpKind::ProveCredentials => &["getresuid", "getresgid", "capget", "prctl"],
        OpKind::Chdir => &["chdir", "close", "fchdir", "getcwd", "openat2"],
        _ => &[],
    }
}

pub(super) fn listener_handed_over(view: &View<'_>, found: &mut Findings) {
    for seen in view.of_in(OpKind::Seccomp, Phase::Init).filter(|seen| listener(seen).is_some()) {
        found.at(seen, "makes the stub init wait for an answer");
    }
    let mut has = false;
    for seen in view.of_in(OpKind::Seccomp, Phase::Payload) {
        let Op::Seccomp { program, .. } = seen.op else { continue };
        if listener(seen).is_none() {
            found.unless(!Program::asks(program.0), "calls wait for a listener, and there is none");
            continue;
        }
        let asked = Program::from_bytes(program.0).map(|program| program.notified()).unwrap_or_default();
        has = true;
        let closed = view.after(seen).and_then(|sent| view.after(sent));
        if !closed.is_some_and(|closed| closed.kind() == OpKind::Close && is_handing_over(view, closed)) {
            found.at(seen, "does not send the embedder its listener and let go of it");
        }
        for later in view.phase(Phase::Payload).iter().filter(|later| later.at > seen.at) {
            for call in called(later.kind()).iter().filter(|call| asked.contains(call)) {
                found.at(later, format!("would wait for an answer to {call}"));
            }
        }
        let text = format!("asked about {}", asked.join(" "));
        let said = matches!(view.plan.report().of("system-call listener"), Some(Outcome::Applied(how)) if *how == text);
        found.unless(said, "the report does not say what the listener is asked about");
    }
    found.unless(
        has || view.plan.report().of("system-call listener").is_none(),
        "the report speaks of a listener that there is not",
    );
}

pub(super) fn floor_as_reported(view: &View<'_>, found: &mut Findings) {
    let item = view.plan.report().of("system-call floor");
    let Some(seen) = view.line(Phase::Payload).first(OpKind::Seccomp) else {
        return found.unless(
            matches!(item, Some(Outcome::Off(_))),
            "there is no filter, and the report says that its floor holds",
        );
    };
    let Op::Seccomp { program, .. } = seen.op else { return };
    let open = match built::known(program.0) {
        Some(built) => built.open.map(Cow::Borrowed),
        None => match Program::from_bytes(program.0) {
            Ok(program) => floor::summary(&program).map(Cow::Owned),
            Err(_) => return found.at(seen, "is no filter that the kernel takes"),
        },
    };
    let said = match (open, item) {
        (None, Some(Outcome::Applied(_))) => true,
        (Some(open), Some(Outcome::Off(text))) => text.split_once("open: ").is_some_and(|(_, named)| named == open),
        (Some(open), _) => {
            return found.at(seen, format!("opens of its floor, which the report does not say: {open}"));
        }
        _ => false,
    };
    found.unless(said, "the report says of the filter's floor what is not");
}

pub(super) fn success_as_reported(view: &View<'_>, found: &mut Findings) {
    let item = match view.plan.report().of(PRETENDED) {
        Some(Outcome::Applied(names)) => Some(names.as_str()),
        _ => None,
    };
    let mut said = false;
    for phase in [Phase::Enter, Phase::Payload, Phase::Init] {
        for seen in view.of_in(OpKind::Seccomp, phase) {
            let Op::Seccomp { program, .. } = seen.op else { continue };
            if !Program::has(program.0, Action::Errno(0)) {
                continue;
            }
            let names = pretended(program.0);
            let sync = names.split(' ').all(|name| SYNC.iter().any(|(call, _)| *call == name));
            if phase != Phase::Payload || !sync || item != Some(names.as_str()) {
                found.at(seen, "says that calls are done which do not run, of which the report says nothing");
            }
            said = true;
        }
    }
    found.unless(said == item.is_some() || view.enters(), "the report says that calls are suppressed which are not");
}

pub(super) fn architectures_as_reported(view: &View<'_>, found: &mut Findings) {
    let native = Arch::NATIVE.label();
    let item = view.plan.report().of("system-call ABIs");
    let named: Vec<&str> = match item {
        Some(Outcome::Applied(text)) => text.split(' ').collect(),
        _ => Vec::new(),
    };
    for phase in [Phase::Enter, Phase::Payload, Phase::Init] {
        for seen in view.of_in(OpKind::Seccomp, phase) {
            let Op::Seccomp { program, .. } = seen.op else { continue };
            let abis = match built::known(program.0) {
                Some(built) => Cow::Borrowed(built.abis),
                None => match Program::from_bytes(program.0) {
                    Ok(program) => Cow::Owned(program.abis()),
                    Err(_) => {
                        found.at(seen, "is no filter that the kernel takes");
                        continue;
                    }
                },
            };
            for abi in abis.iter().filter(|abi| **abi != native && (phase == Phase::Init || !named.contains(abi))) {
                found.at(seen, format!("lets calls of {abi} through, which nobody asked for"));
            }
            if ABIS.iter().any(|(abi, .., table)| table.is_none() && abis.contains(abi)) {
                found.at(seen, "lets calls through whose numbers nobody here knows");
            }
            let closed = named.iter().any(|abi| !abis.contains(abi));
            if phase != Phase::Init && closed && abis.contains(&native) {
                found.at(seen, "lets no call through of an ABI that the report names");
            }
        }
    }
    let filter = view.line(Phase::Payload).has(OpKind::Seccomp);
    found.unless(filter == matches!(item, Some(Outcome::Applied(_))), "the report speaks of ABIs as they are not");
}
