//! What the payload's process is when it executes, and what the stub init is.
//!
//! The order of the last steps is the only one that works and weakens nothing
//! (`capabilities(7)`, `seccomp(2)`): bounding set, securebits, groups, gid,
//! uid, the three sets in one call, ambient, no_new_privs, proof, filter,
//! exec. Without no_new_privs the filter has to go before CAP_SYS_ADMIN does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use skep_sys::abi::{CapabilitySet, Resource, SeccompFlags, SecureBits, cap};
use skep_sys::wire::{Blob, Numbers, Secret, Strings};
use skep_sys::{Op, Slot};

use super::cgroups::Resources;
use super::{Context, Mapping, c_path, filters, landlock};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{Facts, SHELLS};
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Init, Namespace, Network, Origin, Profile, Spec, Stream, Want};

/// All locked: with uid 0 or without, an exec brings no capability back.
const NO_GRANT: SecureBits = SecureBits(0b1110_1111);

/// Bounding and ambient set, after checking that they can be had.
pub(super) fn capabilities(spec: &Spec, facts: &Facts, mapping: &Mapping) -> Result<(CapabilitySet, CapabilitySet)> {
    let all = CapabilitySet::up_to(facts.last_capability);
    // In a user namespace of its own the container can have any; without, what
    // the caller has.
    let possible = if mapping.is_new() { all } else { CapabilitySet(facts.bounding.0 & facts.capabilities.0) };
    let asked = spec.capabilities.bounding.0;
    let bounding = if asked.0 == u64::MAX { possible } else { asked };
    let ambient = spec.capabilities.ambient.0;
    let refuse = |kind, what: String, remedy: &str| {
        Err(Error::new(kind, what).from(spec.origins.of("capabilities")).remedy(remedy))
    };
    let beyond = CapabilitySet(bounding.0 & !all.0);
    if beyond.0 != 0 {
        return refuse(ErrorKind::Unsupported, format!("this kernel does not have {beyond}"), "Leave it out.");
    }
    // nspawn's list is a list of what may stay; what the caller lacks is dropped.
    let bounding = if spec.profile == Profile::Nspawn { CapabilitySet(bounding.0 & possible.0) } else { bounding };
    let missing = CapabilitySet(bounding.0 & !possible.0);
    if missing.0 != 0 {
        return refuse(
            ErrorKind::NotPermitted,
            format!("the caller does not have {missing} itself"),
            "Leave it out, or use a user namespace.",
        );
    }
    if !bounding.contains(ambient) {
        let beyond = CapabilitySet(ambient.0 & !bounding.0);
        return refuse(
            ErrorKind::InvalidSpec,
            format!("the ambient set holds {beyond}, which the bounding set does not"),
            "Add it to both.",
        );
    }
    if spec.network == Network::Host
        && !mapping.is_new()
        && spec.profile == Profile::Strict
        && bounding.has(cap::NET_ADMIN)
    {
        return refuse(
            ErrorKind::InvalidSpec,
            "CAP_NET_ADMIN with the host's network could edit the host's firewall".to_owned(),
            "Give the container a network of its own.",
        );
    }
    Ok((bounding, ambient))
}

/// The securebits that the payload has, after checking that they can be had.
pub(super) fn securebits(spec: &Spec, bounding: CapabilitySet, ambient: CapabilitySet, uid: u32) -> Result<SecureBits> {
    let Some(asked) = spec.securebits.map(|list| list.0) else {
        return Ok(if bounding.0 == 0 { NO_GRANT } else { SecureBits::NONE });
    };
    let refuse = |what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of("securebits")).remedy(remedy))
    };
    if asked.has(SecureBits::KEEP_CAPS) {
        let what = "the securebit keep-caps cannot last: every exec clears it (capabilities(7))".to_owned();
        return refuse(what, "Leave it out; what a user that is not root shall hold is the ambient set.");
    }
    if bounding.0 == 0 && asked != NO_GRANT {
        let missing = NO_GRANT.without(asked);
        let what = format!("without a capability all securebits are locked, and these were left out: {missing}");
        return refuse(what, "Leave the securebits out, or grant a capability.");
    }
    if asked.has(SecureBits::NO_CAP_AMBIENT_RAISE) && ambient.0 != 0 {
        let what = format!("the securebit no-cap-ambient-raise contradicts the ambient set {ambient}");
        return refuse(what, "Leave one of them out.");
    }
    let taken = takes_rights(asked, uid);
    if taken && ambient.0 != 0 {
        let what = format!("with the securebit keep-caps-locked, user {uid} cannot keep the ambient set {ambient}");
        return refuse(what, "Add no-setuid-fixup, or leave one of them out.");
    }
    if taken && !spec.no_new_privileges && spec.seccomp != Want::Off {
        let what = format!("with the securebit keep-caps-locked, user {uid} cannot keep the right to install a filter");
        return refuse(what, "Add no-setuid-fixup, or let no exec raise privileges (`no_new_privileges`).");
    }
    Ok(asked)
}

/// Whether to become `uid` takes away what is permitted: the kernel does so where
/// neither of two bits is on (`capabilities(7)`).
pub(crate) const fn takes_rights(bits: SecureBits, uid: u32) -> bool {
    uid != 0 && bits.has(SecureBits::KEEP_CAPS_LOCKED) && !bits.has(SecureBits::NO_SETUID_FIXUP)
}

/// What they are until the exec, which clears keep-caps: with a grant, what is
/// permitted must outlive the change of ids.
const fn until_exec(bits: SecureBits) -> SecureBits {
    if bits.has(SecureBits::KEEP_CAPS_LOCKED) { bits } else { bits.with(SecureBits::KEEP_CAPS) }
}

/// Attributes that every process of the container inherits: set before the
/// payload's process and the stub init part.
pub(super) fn inherited(
    context: &Context<'_>,
    resources: &Resources,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<()> {
    let spec = context.spec;
    if spec.namespaces.uts == Namespace::New {
        let name = context.hostname();
        let text = super::c_text(name.as_bytes())?;
        plan.step(Phase::Enter, format!("set the hostname to {name}"), context.origin("hostname"))
            .op(Op::HostName { name: &text });
    }
    if context.administers_network() {
        // AF_INET, SOCK_DGRAM
        plan.step(Phase::Enter, "bring up lo", context.origin("network"))
            .op(Op::Socket { family: 2, kind: 2, into: role::ONE })
            .op(Op::LinkUp { socket: role::ONE, name: c"lo" })
            .op(Op::Close { file: role::ONE });
        let more = match spec.network {
            Network::None if spec.links.has_any() => "its own, with lo and the links below",
            Network::None => "its own, with lo only",
            _ => "another's, with its abstract sockets, as the container's own: lo is up",
        };
        report.applied("network", more);
    } else {
        report.off(
            "network",
            match spec.network {
                Network::Host => "the caller's, with its abstract sockets",
                _ => "another's, with its abstract sockets",
            },
        );
        if matches!(spec.network, Network::Own(_)) {
            report.unsupported("lo", "as it was found: that network belongs to another user namespace");
        }
    }
    if context.listens() {
        plan.step(Phase::Enter, "bind the notification socket to /run/host/notify", context.origin("readiness"))
            .op(Op::Mkdir { dir: skep_sys::At::Cwd, name: c"/run/host", mode: 0o755, exist_ok: true })
            .op(Op::Bind { socket: role::NOTIFY, path: c"/run/host/notify" })
            .op(Op::Close { file: role::NOTIFY });
        report.applied("notification socket", "/run/host/notify");
    }
    if context.nspawn() {
        super::filesystem::interface::close(context, plan);
    }
    match (spec.keyring, context.facts.keyrings) {
        (Want::Off, _) => report.off("keyring", "the caller's session keyring"),
        (Want::Require, false) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this kernel has no keyrings, or a filter keeps them from this program",
            )
            .from(spec.origins.of("keyring"))
            .remedy("Ask for one only if supported, or run where keyctl(2) is allowed."));
        }
        (Want::IfSupported, false) => {
            report.unsupported("keyring", "this kernel has none, or a filter keeps them from this program")
        }
        (_, true) => {
            plan.step(Phase::Enter, "join a new session keyring", context.origin("keyring"))
                .remedy(
                    "EDQUOT: this user has too many keyrings; raise kernel.keys.maxkeys, or switch the keyring off.",
                )
                .op(Op::SessionKeyring {});
            report.applied("keyring", "a new anonymous one");
        }
    }
    super::attributes::deny_write_execute(context, plan, report)?;
    let persona = super::attributes::personality(context, report)?;
    plan.step(Phase::Enter, "set personality and umask", context.origin("umask"))
        .op(Op::Personality { persona })
        .op(Op::Umask { mode: spec.umask });
    report.applied("umask", format!("{:03o}", spec.umask));
    let terminal =
        if spec.terminal.is_some() { "its own, with a terminal of its own" } else { "its own, without a terminal" };
    report.applied("session", terminal);
    limits(context, resources, plan, report)
}

fn limits(context: &Context<'_>, resources: &Resources, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let facts = context.facts;
    let mut set = Vec::new();
    plan.step(Phase::Enter, "set every resource limit", context.origin("limits"));
    for (resource, default) in profile::limits(context.spec.profile, &facts.first_limits) {
        let cap = facts.hard_limits.get(&resource).copied().unwrap_or(u64::MAX);
        let asked = context.spec.limits.get(resource);
        let (soft, hard) = match (asked, resources.processes) {
            (Some(limit), _) => limit.raw(),
            (None, Some(processes)) if resource == Resource::NPROC => (processes, processes),
            (None, _) => default.raw(),
        };
        if asked.is_some() && hard > cap {
            let field = format!("limits.{resource}");
            return Err(Error::new(
                ErrorKind::NotPermitted,
                format!("the limit {resource}={hard} is above the caller's own hard limit {cap}"),
            )
            .from(context.spec.origins.of(&field))
            .remedy("Lower it, or raise the caller's."));
        }
        let limit = (resource, soft.min(cap), hard.min(cap));
        set.push(limit);
        plan.op(Op::SetLimit { resource, soft: limit.1, hard: limit.2 });
    }
    report.applied("resource limits", format!("all 16 set, none above the caller's: {}", shown_limits(set)));
    Ok(())
}

/// Those that limit something, as the report has them.
pub(crate) fn shown_limits(limits: impl IntoIterator<Item = (Resource, u64, u64)>) -> String {
    let mut limits: Vec<_> = limits.into_iter().filter(|(_, soft, hard)| soft.min(hard) != &u64::MAX).collect();
    limits.sort_unstable_by_key(|(resource, ..)| resource.0);
    let one = |(resource, soft, hard)| match (soft, hard) {
        (soft, u64::MAX) => format!("{resource} {soft} of infinity"),
        (soft, hard) if soft == hard => format!("{resource} {hard}"),
        (soft, hard) => format!("{resource} {soft} of {hard}"),
    };
    limits.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Group ids, as the report has them.
pub(crate) fn shown_groups(groups: impl IntoIterator<Item = u32>) -> String {
    let all: Vec<String> = groups.into_iter().map(|group| group.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" ") }
}

/// What payload and stub init end with.
fn permitted(context: &Context<'_>) -> CapabilitySet {
    let root = context.uid == 0 && !context.securebits.has(SecureBits::NOROOT);
    if root { context.bounding } else { context.ambient }
}

/// Whether payload and stub init become what they shall be together, before
/// they part: what is done once costs half. Not where they differ: the stub
/// init never passes capabilities on, and can never gain privileges.
fn confined_together(context: &Context<'_>) -> bool {
    context.stub() && context.spec.no_new_privileges && context.ambient == CapabilitySet::EMPTY
}

/// From the root of the namespace to the payload's user: the same for the
/// payload, the stub init, and later for every exec into the container.
fn confine(context: &Context<'_>, phase: Phase, filter: Option<&[u8]>, plan: &mut Builder) {
    let (permitted, securebits) = (permitted(context), until_exec(context.securebits));
    let origin = || context.origin("capabilities");
    plan.step(phase, format!("bounding set: {}", context.bounding), origin())
        .op(Op::DropBounding { keep: context.bounding });
    plan.step(phase, format!("securebits: {}", securebits.to_string().replace(',', " ")), context.origin("securebits"))
        .remedy("EPERM: the caller's own securebits are locked otherwise; a user namespace has its own.")
        .op(Op::SetSecureBits { bits: securebits });
    let groups: Vec<u8> = context.groups.iter().flat_map(|group| group.to_le_bytes()).collect();
    plan.step(phase, format!("become user {} and group {}", context.uid, context.gid), context.origin("user"));
    if let (true, Some(groups)) = (context.mapping.has_groups(), Numbers::new(&groups)) {
        plan.op(Op::SetGroups { groups });
    }
    plan.op(Op::SetResGid { gid: context.gid }).op(Op::SetResUid { uid: context.uid });
    if phase != Phase::Payload {
        // A change of ids sets this as fs.suid_dumpable says, and the stub init
        // executes nothing that would hide it anew.
        plan.op(Op::Dumpable { on: false });
    }
    let no_new_privs = context.spec.no_new_privileges || phase == Phase::Init;
    let early = filter.filter(|_| !no_new_privs);
    if let Some(program) = early {
        if context.uid != 0 {
            // The change of ids has cleared the effective set.
            let admin = CapabilitySet::EMPTY.with(cap::SYS_ADMIN);
            let permitted = CapabilitySet(permitted.0 | admin.0);
            plan.step(phase, "the right to install a filter", context.origin("seccomp")).op(Op::CapSet {
                effective: admin,
                permitted,
                inheritable: CapabilitySet::EMPTY,
            });
        }
        install(context, phase, program, plan);
    }
    // Inheritable holds the ambient ones and nothing else.
    let ambient = if phase == Phase::Init { CapabilitySet::EMPTY } else { context.ambient };
    plan.step(phase, format!("capabilities: {permitted}"), origin())
        .op(Op::CapSet { effective: permitted, permitted, inheritable: ambient })
        .op(Op::AmbientSet { capabilities: ambient });
    if no_new_privs {
        plan.step(phase, "no new privileges by any exec", context.origin("no_new_privileges")).op(Op::NoNewPrivs {});
    }
    plan.step(phase, "read all of this back from the kernel", Origin::Always).op(Op::ProveCredentials {
        uid: context.uid,
        gid: context.gid,
        effective: permitted,
        permitted,
        bounding: context.bounding,
        ambient,
        securebits,
        no_new_privs,
    });
}

fn install(context: &Context<'_>, phase: Phase, program: &[u8], plan: &mut Builder) {
    let what = format!("filter system calls ({} instructions)", program.len() / 8);
    let program = Blob(program);
    if phase == Phase::Init || !filters::has_listener(context.spec) {
        let filter = Op::Seccomp { program, flags: SeccompFlags::NONE, listener: None };
        // Whoever changed something of it is who asked for what it is.
        let changed = context.spec.origins.of("system_calls").filter(|_| phase != Phase::Init);
        let origin = changed.cloned().unwrap_or_else(|| context.origin("seccomp"));
        plan.step(phase, what, origin).op(filter);
        return;
    }
    let file = role::ONE;
    plan.step(phase, format!("{what}, and send their listener"), context.origin("system_calls.notify"))
        .remedy("EBUSY: this program itself is under a filter with a listener, and Linux allows one.")
        .op(Op::Seccomp { program, flags: SeccompFlags::NEW_LISTENER, listener: Some(file) })
        .op(Op::SendFile { to: role::CONTROL, file, place: role::LISTENER })
        .op(Op::Close { file });
}

/// By the payload's process alone: the stub init never holds the terminal.
fn take_terminal(context: &Context<'_>, plan: &mut Builder) {
    if context.spec.terminal.is_none() {
        return;
    }
    let terminal = role::TERMINAL_PEER;
    plan.step(Phase::Payload, "take the terminal", context.origin("terminal")).op(Op::ControllingTerminal { terminal });
    for (number, _) in (0..).zip(context.spec.stdio).filter(|(_, stream)| *stream == Stream::Terminal) {
        plan.op(Op::Dup { file: terminal, number });
    }
}

pub(super) fn payload(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let spec = context.spec;
    if context.stub() {
        plan.step(Phase::Enter, "tie the payload's start to that of the stub init", context.origin("init"))
            .op(Op::SocketPair { one: role::GATE, other: role::GATE_PAYLOAD });
    }
    let together = confined_together(context);
    let handled = landlock::handled(context, report)?;
    landlock::rules(context, handled, plan, report)?;
    if together {
        confine(context, Phase::Enter, None, plan);
        landlock::restrict(context, handled, Phase::Enter, plan);
    }
    if spec.hold {
        plan.step(Phase::Enter, "wait until the payload may be started", context.origin("hold"))
            .op(Op::Arrive { to: role::CONTROL })
            .op(Op::Await { from: role::CONTROL });
    }
    if context.stub() {
        plan.step(Phase::Enter, "split into the stub init and the payload's process", context.origin("init"))
            .op(Op::BlockSignals {})
            .op(Op::Fork { pid: role::PAYLOAD });
        plan.step(Phase::Payload, "start the payload's own session", context.origin("init"))
            .op(Op::SetSid {})
            .op(Op::ResetSignals {});
        // A start that fails in the stub init executes nothing.
        plan.step(Phase::Payload, "wait until the stub init is confined", context.origin("init"))
            .op(Op::Await { from: role::GATE_PAYLOAD });
    }
    take_terminal(context, plan);
    let filter = filters::payload(context, report)?;
    if !together {
        confine(context, Phase::Payload, filter.as_deref(), plan);
        landlock::restrict(context, handled, Phase::Payload, plan);
    }
    let directory = working_directory(context);
    let shown = directory.display();
    let directory = c_path(directory)?;
    plan.step(
        Phase::Payload,
        format!("go to {shown}"),
        context.origin("working_directory"),
    )
    .remedy("The working directory must exist inside, and the payload's user must be allowed to enter it. ELOOP: a link of /proc to what a process has open is none.")
    .op(Op::Chdir { path: &directory });
    if let (Some(program), true) = (&filter, spec.no_new_privileges) {
        install(context, Phase::Payload, program, plan);
    }
    report.applied("capabilities", format!("bounding {}, ambient {}", context.bounding, context.ambient));
    match (context.securebits, spec.securebits) {
        (SecureBits::NONE, Some(_)) => report.off("securebits", "switched off by the caller"),
        (SecureBits::NONE, None) => report.off("securebits", "capabilities are granted"),
        (bits, _) => report.applied("securebits", bits),
    }
    if spec.no_new_privileges {
        report.applied("no new privileges", "on");
    } else {
        report.off("no new privileges", "switched off by the caller");
    }
    if context.mapping.has_groups() {
        report.applied("supplementary groups", shown_groups(context.groups.iter().copied()));
    } else {
        report.unsupported(
            "supplementary groups",
            "an ordinary user with one id cannot drop its groups; inside they are nobody's",
        );
    }
    exec(context, plan)
}

/// The payload's variables: the documented ones, then the Spec's.
fn environment(context: &Context<'_>) -> BTreeMap<String, OsString> {
    let spec = context.spec;
    let user = match (&spec.user, context.uid) {
        (crate::spec::User::Name(name), _) => name.clone(),
        (_, 0) => "root".to_owned(),
        (_, uid) => uid.to_string(),
    };
    let mut variables: BTreeMap<String, OsString> = [
        ("PATH", OsString::from(profile::PATH)),
        ("HOME", context.home.clone().into_os_string()),
        ("USER", user.clone().into()),
        ("LOGNAME", user.into()),
        ("container", profile::container_variable(spec.profile).into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if spec.init != Init::Boot {
        variables.insert("LANG".to_owned(), "C.UTF-8".into());
    }
    if let Some(id) = &context.machine_id {
        variables.insert("container_uuid".to_owned(), dashed(id).into());
        for (field, value) in &context.facts.os_release {
            variables.insert(format!("container_host_{}", field.to_ascii_lowercase()), value.into());
        }
    }
    if context.listens() {
        variables.insert("NOTIFY_SOCKET".to_owned(), "/run/host/notify".into());
    }
    if !spec.credentials.is_empty() {
        variables.insert("CREDENTIALS_DIRECTORY".to_owned(), super::filesystem::CREDENTIALS.into());
    }
    if let Some((count, pid)) = super::descriptors::listen(spec) {
        variables.insert("LISTEN_FDS".to_owned(), count.to_string().into());
        variables.insert("LISTEN_PID".to_owned(), pid.to_string().into());
    }
    // The machine's id was one of them, and is `context.machine_id` now.
    let own = |name: &&String| context.machine_id.is_none() || *name != "container_uuid";
    for (name, value) in spec.environment.iter().filter(|(name, _)| own(name)) {
        variables.insert(name.clone(), value.reveal().to_owned());
    }
    variables
}

/// Where the payload begins.
fn working_directory<'a>(context: &'a Context<'_>) -> &'a Path {
    let home = context.facts.login.as_ref().is_some_and(|login| login.home);
    match context.spec.working_directory.as_path() {
        said if said == Path::new("/") && home && context.spec.login_shell => &context.home,
        said => said,
    }
}

/// An id as a UUID is written.
pub(super) fn dashed(id: &str) -> String {
    let mut text = id.to_owned();
    [8, 13, 18, 23]
        .into_iter()
        .filter(|at| *at < text.len())
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|at| text.insert(at, '-'));
    text
}

/// The inits of a tree, in the order in which they are tried.
const INITS: [&str; 3] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init"];

/// Where a program is looked for, inside.
fn candidates(program: &OsString, path: &OsString) -> Vec<Vec<u8>> {
    let name = program.as_bytes();
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    path.as_bytes()
        .split(|byte| *byte == b':')
        // An empty entry would mean the working directory.
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| [directory, name].join(&b'/'))
        .collect()
}

/// Strings, each ending in NUL. What was checked holds no NUL.
fn joined(words: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    words.into_iter().fold(Vec::new(), |mut all, word| {
        all.extend(word);
        all.push(0);
        all
    })
}

fn exec(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    let (command, variables) = (&context.spec.command, environment(context));
    if context.spec.init != Init::Boot && !context.spec.login_shell {
        return execute(command, variables, context.origin("command"), plan);
    }
    if context.spec.login_shell {
        return login(context, variables, plan);
    }
    let programs = INITS.iter().map(|path| path.as_bytes().to_vec()).collect();
    // The name that it is called by is the first, as most trees have that.
    let words: Vec<OsString> = std::iter::once(INITS[0].into()).chain(command.iter().cloned()).collect();
    execute_first(programs, &words, variables, context.origin("init"), plan);
    Ok(())
}

/// A shell, by a name with a dash (`login(1)`).
fn login(context: &Context<'_>, variables: BTreeMap<String, OsString>, plan: &mut Builder) -> Result<()> {
    let mut words = context.spec.command.clone();
    let (origin, programs) = match words.first() {
        Some(program) => {
            let path = variables.get("PATH").cloned().unwrap_or_default();
            (context.origin("command"), candidates(program, &path))
        }
        None => {
            let shell = context.facts.login.as_ref().map_or(SHELLS[1], |login| login.shell);
            words.push(shell.into());
            let tried = SHELLS.iter().skip_while(|tried| **tried != shell);
            (context.origin("login_shell"), tried.map(|tried| tried.as_bytes().to_vec()).collect())
        }
    };
    if let Some(program) = words.first_mut() {
        let name = program.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        *program = OsString::from_vec([b"-", name].concat());
    }
    first_of(programs, &words, variables, origin, plan)
}

/// The last two ops of whoever executes.
pub(crate) fn execute(
    command: &[OsString],
    variables: BTreeMap<String, OsString>,
    origin: Origin,
    plan: &mut Builder,
) -> Result<()> {
    let program = command.first().cloned().unwrap_or_default();
    let path = variables.get("PATH").cloned().unwrap_or_default();
    first_of(candidates(&program, &path), command, variables, origin, plan)
}

fn first_of(
    candidates: Vec<Vec<u8>>,
    command: &[OsString],
    variables: BTreeMap<String, OsString>,
    origin: Origin,
    plan: &mut Builder,
) -> Result<()> {
    if candidates.is_empty() {
        let what = format!("{:?} cannot be looked for: PATH names no absolute directory", command.first());
        return Err(Error::new(ErrorKind::InvalidSpec, what)
            .from(Some(&origin))
            .remedy("Write the program with its path, or set PATH otherwise."));
    }
    execute_first(candidates, command, variables, origin, plan);
    Ok(())
}

/// The first of `programs` that can be executed.
fn execute_first(
    programs: Vec<Vec<u8>>,
    command: &[OsString],
    variables: BTreeMap<String, OsString>,
    origin: Origin,
    plan: &mut Builder,
) {
    let program = command.first().cloned().unwrap_or_default();
    let programs = joined(programs);
    let arguments = joined(command.iter().map(|word| word.as_bytes().to_vec()));
    let environment = joined(variables.into_iter().map(|(name, value)| {
        let mut entry = name.into_bytes();
        entry.push(b'=');
        entry.extend(value.into_vec());
        entry
    }));
    let shown = Path::new(&program).display().to_string();
    plan.step(Phase::Payload, format!("execute {shown}"), origin)
        .remedy("The program is looked for inside the container, where its interpreter and libraries must be too.")
        .op(Op::Announce { to: role::CONTROL });
    if let (Some(programs), Some(arguments), Some(environment)) =
        (Strings::new(&programs), Strings::new(&arguments), Strings::new(&environment))
    {
        plan.op(Op::Exec { programs, arguments, environment: Secret(environment) });
    }
}

/// The stub init: the payload's own capability sets, a tighter filter, no
/// descriptor but two, and memory that a payload of the same user cannot open.
pub(super) fn stub(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    if !context.stub() {
        report.off("init", "the command is process 1");
        return Ok(());
    }
    plan.step(Phase::Init, "keep the lifeline and a signal descriptor only", Origin::Always)
        .op(Op::SignalFd { into: role::SIGNALS });
    for slot in unneeded(plan) {
        plan.op(Op::Close { file: slot });
    }
    plan.op(Op::Adopt {});
    let program = filters::stub();
    if !confined_together(context) {
        confine(context, Phase::Init, None, plan);
    }
    install(context, Phase::Init, program, plan);
    // The last op of a start that can fail here.
    plan.step(Phase::Init, "let the payload go on", context.origin("init")).op(Op::Release { to: role::GATE });
    plan.step(Phase::Init, "reap, forward signals, end with the payload", context.origin("init")).op(Op::Reap {
        payload: role::PAYLOAD,
        signals: role::SIGNALS,
        lifeline: role::LIFELINE,
        control: role::CONTROL,
        gate: role::GATE,
    });
    report.applied("init", "stub, with the payload's capabilities and a filter of its own");
    Ok(())
}

/// Slots that hold a descriptor at the fork and that the stub init gives up.
fn unneeded(plan: &Builder) -> Vec<Slot> {
    let needed = [role::LIFELINE, role::CONTROL, role::GATE];
    plan.held_after_enter().into_iter().filter(|slot| !needed.contains(slot)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Capabilities, CapabilityList, SecureBitList, User};

    #[test]
    fn securebits_that_contradict_are_refused_by_name() {
        const BIND: CapabilitySet = CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE);
        let none = CapabilitySet::EMPTY;
        for (bits, bounding, ambient, uid, words) in [
            (SecureBits::KEEP_CAPS, BIND, none, 0, Some("every exec clears it")),
            (SecureBits::NONE, none, none, 0, Some("left out: noroot,noroot-locked")),
            (NO_GRANT.without(SecureBits::NOROOT_LOCKED), none, none, 0, Some("left out: noroot-locked")),
            (NO_GRANT, none, none, 0, None),
            (NO_GRANT, BIND, none, 0, None),
            (NO_GRANT, BIND, BIND, 0, Some("no-cap-ambient-raise contradicts the ambient set CAP_NET_BIND_SERVICE")),
            (SecureBits::KEEP_CAPS_LOCKED, BIND, BIND, 33, Some("user 33 cannot keep the ambient set")),
            (SecureBits::KEEP_CAPS_LOCKED, BIND, BIND, 0, None),
            (SecureBits::KEEP_CAPS_LOCKED, BIND, none, 33, None),
            (SecureBits::KEEP_CAPS_LOCKED.with(SecureBits::NO_SETUID_FIXUP), BIND, BIND, 33, None),
        ] {
            let mut spec = Spec { securebits: Some(SecureBitList(bits)), ..Spec::default() };
            spec.command = vec!["true".into()];
            spec.user = User::Ids { uid, gid: 0 };
            spec.capabilities = Capabilities { bounding: CapabilityList(bounding), ambient: CapabilityList(ambient) };
            match (crate::compile(&spec, &Facts::example(&spec)), words) {
                (Ok(plan), None) => {
                    let bits = crate::report::Outcome::Applied(bits.to_string());
                    assert_eq!(plan.report().of("securebits"), Some(&bits));
                }
                (Err(error), Some(words)) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
                    assert!(error.to_string().contains(words) && error.advice().is_some(), "{error}");
                }
                (result, _) => panic!("{bits} with {bounding} and {ambient}: {result:?}"),
            }
        }
        let mut spec = Spec { no_new_privileges: false, ..Spec::default() };
        (spec.command, spec.user) = (vec!["true".into()], User::Ids { uid: 33, gid: 33 });
        spec.capabilities.bounding = CapabilityList(BIND);
        spec.securebits = Some(SecureBitList(SecureBits::KEEP_CAPS_LOCKED));
        let error = crate::compile(&spec, &Facts::example(&spec)).unwrap_err();
        assert!(error.to_string().contains("the right to install a filter"), "{error}");
    }
}
