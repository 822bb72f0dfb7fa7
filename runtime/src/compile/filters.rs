//! The filters: the built-in ones, and those with changes of the caller's.

use std::borrow::Cow;
use std::sync::OnceLock;

use skep_sys::abi::CapabilitySet;

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Report;
use crate::seccomp::{
    Action, AdjustError, Arch, NSPAWN_USUAL, Policy, Program, built, compile, family_names, floor, nspawn_abis,
    nspawn_asks, nspawn_default, strict_default,
};
use crate::spec::{Architecture, Denial, Profile, Spec, Want};

/// The payload's filter, if it has one, and what the report says of it.
pub(super) fn payload(context: &Context<'_>, report: &mut Report) -> Result<Option<Cow<'static, [u8]>>> {
    let spec = context.spec;
    if spec.seccomp == Want::Off {
        report.off("system-call filter", "switched off by the caller");
        report.off("system-call ABIs", "there is no filter");
        report.off("system-call floor", "there is no filter");
        return Ok(None);
    }
    let others = others(spec)?;
    let (program, opened) = match (spec.profile, spec.system_calls.changes_rules()) {
        (Profile::Strict, false) if others.is_empty() => {
            static STRICT: OnceLock<Vec<u8>> = OnceLock::new();
            (Cow::from(STRICT.get_or_init(built::strict)), None)
        }
        (Profile::Nspawn, false) if spec.system_calls.architectures.is_none() => nspawn(context.bounding)?,
        _ => adjusted(spec, context.bounding, &others, report)?,
    };
    let kind = match spec.profile {
        Profile::Strict => "strict allow list",
        Profile::Nspawn => "allow list of systemd-nspawn",
    };
    report.applied("system-call filter", format!("{kind}, {} instructions", program.len() / 8));
    if spec.system_calls.suppress_sync {
        report.applied(PRETENDED, pretended(&program));
    }
    if let Some(asked) = listened(spec, &program) {
        report.applied("system-call listener", format!("asked about {asked}"));
    }
    let architectures = [Arch::NATIVE].into_iter().chain(others).map(Arch::label).collect::<Vec<_>>().join(" ");
    report.applied("system-call ABIs", architectures);
    match opened {
        None => report.applied("system-call floor", "nothing of it is open"),
        Some(calls) if has_listener(spec) => {
            report.off("system-call floor", format!("open, or the listener's to open: {calls}"));
        }
        Some(calls) => report.off("system-call floor", format!("open: {calls}")),
    }
    Ok(Some(program))
}

/// The ABIs beside the machine's own.
fn others(spec: &Spec) -> Result<Vec<Arch>> {
    let Some(named) = &spec.system_calls.architectures else {
        return Ok(match spec.profile {
            Profile::Strict => Vec::new(),
            Profile::Nspawn => nspawn_abis(Arch::NATIVE).to_vec(),
        });
    };
    let mut others = Vec::new();
    for architecture in named {
        match architecture.table() {
            Ok(Arch::NATIVE) => {}
            Ok(other) => others.push(other),
            Err(reason) => {
                let can = Architecture::NAMES.iter().filter(|(_, one)| one.table().is_ok()).map(|(name, _)| *name);
                let what = format!("system-call filter: no calls of {architecture} can be let through: {reason}");
                return Err(Error::new(ErrorKind::Unsupported, what)
                    .from(spec.origins.of("system_calls.architectures"))
                    .remedy(format!("Here there are {}.", can.collect::<Vec<_>>().join(", "))));
            }
        }
    }
    Ok(others)
}

/// The profile's policy for the machine's own ABI and `others`.
fn policy(profile: Profile, retained: CapabilitySet, others: &[Arch]) -> Policy {
    let of = |arch| match profile {
        Profile::Strict => strict_default(arch),
        Profile::Nspawn => nspawn_default(arch, retained.0),
    };
    let mut policy = of(Arch::NATIVE);
    policy.also.extend(others.iter().map(|arch| of(*arch)));
    policy
}

/// What the payload's process still calls once the filter is there: it tells of
/// the exec, or of what fails, and sends the listener. No answer could come in
/// time, as the embedder is not told of the calls before it has the listener.
pub(super) const AFTER: &[&str] = &["close", "execve", "exit_group", "ppoll", "sendmsg", "write"];
/// Of these, what it cannot do without where there is no listener.
const NEEDED: &[&str] = &["execve", "write"];
/// And where it has to give up privileges only then.
const AFTER_PRIVILEGED: &[&str] =
    &["capget", "capset", "chdir", "close", "fchdir", "getcwd", "getresgid", "getresuid", "openat2", "prctl"];

/// Whether the payload's filter has a listener.
pub(super) fn has_listener(spec: &Spec) -> bool {
    !spec.system_calls.notify.is_empty()
}

/// What the listener is asked about, by name.
fn listened(spec: &Spec, program: &[u8]) -> Option<String> {
    if !has_listener(spec) {
        return None;
    }
    let program = Program::from_bytes(program).ok()?;
    Some(program.notified().join(" "))
}

/// What the report calls the calls that say they are done and do nothing.
pub(crate) const PRETENDED: &str = "suppressed system calls";

/// Those, by name.
pub(crate) fn pretended(program: &[u8]) -> String {
    Program::from_bytes(program).map_or_else(|_| String::new(), |program| program.pretended().join(" "))
}

/// What a denied call answers is an error: 0 would be a success that did nothing.
pub(super) fn check(spec: &Spec) -> Result<()> {
    for (item, denial) in &spec.system_calls.deny {
        if let Denial::Errno(errno) = denial
            && !(1..=Action::MAX_ERRNO).contains(&errno.raw())
        {
            let what = format!("system-call filter: {} is not the number of an error", errno.raw());
            return Err(Error::new(ErrorKind::InvalidSpec, what)
                .from(spec.origins.of(&format!("system_calls.deny.{item}")))
                .remedy(format!("Write 1 to {}, such as EPERM.", Action::MAX_ERRNO)));
        }
    }
    Ok(())
}

/// What of the floor is open, beside the program.
type Made<B> = (B, Option<String>);

/// systemd-nspawn's: the built one, or, for other capabilities than are usual, one that is
/// compiled once for those which this process asks for first: most programs ask for no others.
fn nspawn(retained: CapabilitySet) -> Result<Made<Cow<'static, [u8]>>> {
    static USUAL: OnceLock<(Vec<u8>, Option<&'static str>)> = OnceLock::new();
    static FIRST: OnceLock<(u64, Made<Vec<u8>>)> = OnceLock::new();
    let asks = nspawn_asks(retained.0);
    if asks == NSPAWN_USUAL {
        let (program, open) = USUAL.get_or_init(built::nspawn);
        return Ok((program.into(), open.map(str::to_owned)));
    }
    if let Some((_, (program, opened))) = FIRST.get().filter(|(first, _)| *first == asks) {
        return Ok((program.into(), opened.clone()));
    }
    let program = made(&policy(Profile::Nspawn, retained, nspawn_abis(Arch::NATIVE)))?;
    let opened = floor::summary(&program);
    let _ = FIRST.set((asks, (program.bytes(), opened.clone())));
    Ok((program.bytes().into(), opened))
}

fn made(policy: &Policy) -> Result<Program> {
    compile(policy)
        .map_err(|error| Error::new(ErrorKind::InvalidSpec, format!("compile the system-call filter: {error}")))
}

/// The profile's with the changes that the Spec asks for.
fn adjusted(
    spec: &Spec,
    retained: CapabilitySet,
    others: &[Arch],
    report: &mut Report,
) -> Result<Made<Cow<'static, [u8]>>> {
    let mut policy = policy(spec.profile, retained, others);
    let calls = &spec.system_calls;
    let mut own = AFTER.to_vec();
    let mut needed = if has_listener(spec) { AFTER.to_vec() } else { NEEDED.to_vec() };
    if !spec.no_new_privileges {
        own.extend(AFTER_PRIVILEGED);
        needed.extend(AFTER_PRIVILEGED);
    }
    let adjusted = policy.spares(calls, &needed).and_then(|()| policy.adjust(calls, spec.profile == Profile::Strict));
    let left = adjusted.and_then(|left| Ok([left, policy.notify(calls, &own)?].concat())).map_err(|error| {
        let origin = ["notify", "danger_allow", "allow", "deny"]
            .iter()
            .find_map(|list| spec.origins.exactly(&format!("system_calls.{list}.{}", error.item())));
        let remedy = match error {
            AdjustError::Twice(_) => "Leave it in one of the lists.",
            AdjustError::Needed(..) => "Leave it out of `deny`. What the start calls to give up privileges can be denied where there are no new privileges (no_new_privileges), for these are given up before the filter then.",
            AdjustError::Start(_) => "Leave it out of `notify` (Command::notify_system_calls).",
            _ => "Names are those of syscalls(2), groups those of systemd.exec(5). What is dangerous goes by name into `danger_allow` (Command::danger_allow_system_call, --system-call-filter=NAME).",
        };
        Error::new(ErrorKind::InvalidSpec, format!("system-call filter: {error}"))
            .from(origin.or_else(|| spec.origins.of("system_calls")))
            .remedy(remedy)
    })?;
    let program = made(&policy)?;
    let mut words = Vec::new();
    for (what, count) in [
        ("allowed", calls.allow.len() + calls.danger_allow.len()),
        ("denied", calls.deny.len()),
        ("notified", calls.notify.len()),
    ] {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    }
    if let Some(names) = family_names(&calls.sockets) {
        words.push(format!("socket families: {names}"));
    } else if calls.sockets != Default::default() {
        words.push("socket families changed".to_owned());
    }
    if !left.is_empty() {
        words.push(format!("groups leave out {}", left.join(" ")));
    }
    if !words.is_empty() {
        report.applied("system-call changes", words.join("; "));
    }
    let opened = floor::summary(&program);
    Ok((program.bytes().into(), opened))
}

/// The stub init's.
pub(super) fn stub() -> &'static [u8] {
    static STUB: OnceLock<Vec<u8>> = OnceLock::new();
    STUB.get_or_init(built::stub)
}
