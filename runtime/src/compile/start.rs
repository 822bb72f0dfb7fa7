//! The frame of a start: streams, sockets, the clone, the first and the last
//! words between the two sides.

use std::path::Path;

use skep_sys::abi::{CapabilitySet, Namespaces, OpenFlags, Resolve, cap};
use skep_sys::program::watched;
use skep_sys::wire::Numbers;
use skep_sys::{At, Op, Proof, Slot};

use super::Context;
use super::cgroups::Resources;
use super::network::Decided;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Namespace, Network, Origin, Stream};

const SOCK_DGRAM: u32 = 2;
const AF_UNIX: u32 = 1;

/// The level and the name of `SO_PASSCRED` (`unix(7)`).
pub(crate) const PASS_CREDENTIALS: (u32, u32) = (1, 16);

/// Every kind of namespace that this container has of its own.
fn namespaces(context: &Context<'_>) -> Namespaces {
    let choice = &context.spec.namespaces;
    let mut kinds = Namespaces::MOUNT;
    for (kind, wanted) in [
        (Namespaces::PID, choice.pid == Namespace::New),
        (Namespaces::IPC, choice.ipc == Namespace::New),
        (Namespaces::UTS, choice.uts == Namespace::New),
        (Namespaces::CGROUP, choice.cgroup == Namespace::New),
        (Namespaces::TIME, choice.time == Namespace::New),
        (Namespaces::NETWORK, context.new_network()),
        (Namespaces::USER, context.mapping.is_new()),
    ] {
        if wanted {
            kinds = kinds.with(kind);
        }
    }
    kinds
}

/// A namespace of somebody else.
struct Join<'a> {
    kind: Namespaces,
    slot: Slot,
    field: &'static str,
    /// None: the embedder gives a descriptor.
    path: Option<&'a Path>,
}

impl Join<'_> {
    /// What a report calls it.
    fn shown(&self) -> String {
        self.path.map_or_else(|| "a given descriptor".to_owned(), |path| path.display().to_string())
    }
}

/// Every namespace that the container enters.
fn joins<'a>(context: &Context<'a>) -> impl Iterator<Item = Join<'a>> {
    let choice = &context.spec.namespaces;
    let of = |namespace: &'a Namespace| match namespace {
        Namespace::Path(path) => Some(Some(path.as_path())),
        Namespace::Given => Some(None),
        Namespace::New | Namespace::Host => None,
    };
    let network = match &context.spec.network {
        Network::Path(path) | Network::Own(path) => Some(Some(path.as_path())),
        Network::Given => Some(None),
        Network::None | Network::Host => None,
    };
    let all = [
        (Namespaces::NETWORK, "network", network),
        (Namespaces::IPC, "namespaces.ipc", of(&choice.ipc)),
        (Namespaces::UTS, "namespaces.uts", of(&choice.uts)),
        (Namespaces::CGROUP, "namespaces.cgroup", of(&choice.cgroup)),
        (Namespaces::PID, "namespaces.pid", of(&choice.pid)),
        (Namespaces::TIME, "namespaces.time", of(&choice.time)),
    ];
    all.into_iter()
        .zip(role::JOINS)
        .filter_map(|((kind, field, path), slot)| path.map(|path| Join { kind, slot, field, path }))
}

/// Opens what is joined, once, and proves each to be a namespace of its kind.
pub(super) fn open_joined(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    for join in joins(context) {
        let refuse = |kind, what: String, remedy: &str| {
            Err(Error::new(kind, what).from(context.spec.origins.of(join.field)).remedy(remedy))
        };
        if !context.facts.privileged() {
            return refuse(
                ErrorKind::NotPermitted,
                format!("only root can join a {} namespace that it does not own", join.kind),
                "Run as root, or let the namespace be new.",
            );
        }
        if context.mapping.is_new() && [Namespaces::PID, Namespaces::TIME].contains(&join.kind) {
            return refuse(
                ErrorKind::InvalidSpec,
                format!("a {} namespace cannot be joined from a user namespace of one's own", join.kind),
                "Leave the user namespace out (`host`), or let this one be new.",
            );
        }
        let text = format!("open and prove the {} namespace of {}", join.kind, join.shown());
        plan.step(Phase::Prepare, text, context.origin(join.field)).remedy(
            "ESTALE: this is no namespace of that kind. Name a file such as /run/netns/NAME or /proc/PID/ns/net.",
        );
        if let Some(path) = join.path {
            super::absolute(context.spec, join.field, path)?;
            let path = super::c_path(path)?;
            plan.op(Op::OpenAt2 {
                dir: At::Cwd,
                path: &path,
                flags: OpenFlags::NON_BLOCK,
                mode: 0,
                // /proc/PID/ns holds magic links; the proof says what was found.
                resolve: Resolve::NONE,
                into: join.slot,
            });
        }
        plan.op(Op::Prove { file: join.slot, proof: Proof::Namespace { kind: join.kind } });
        if join.kind == Namespaces::TIME {
            plan.keep(join.slot);
        }
    }
    Ok(())
}

/// One line for each kind that the kernel knows.
pub(super) fn report_namespaces(context: &Context<'_>, report: &mut Report) {
    let own = namespaces(context);
    for (kind, name) in Namespaces::NAMES {
        let joined = joins(context).find(|join| join.kind == *kind);
        if own.has(*kind) {
            report.applied(format!("namespace {name}"), "new");
        } else if let Some(join) = joined {
            report.off(format!("namespace {name}"), format!("joined: {}", join.shown()));
        } else {
            report.off(format!("namespace {name}"), "shared with the caller");
        }
    }
}

/// What the watcher does if this process dies. Said before the first thing is
/// made, so that nothing is ever made that nobody clears up.
///
/// Not needed where the container dies by itself (a stub init on its lifeline)
/// and leaves nothing (no cgroup): such a start costs no watcher.
pub(super) fn entrust(
    context: &Context<'_>,
    resources: &Resources,
    links: Option<&Decided>,
    plan: &mut Builder,
) -> Result<()> {
    if context.stub() && resources.groups.is_empty() && links.is_none() && !plan.has_watch() {
        return Ok(());
    }
    // Slot 0 of the watcher's ops is the container's pidfd.
    let process = Slot(0);
    plan.watch(Op::PidfdSignal { process, signal: skep_sys::abi::signal::KILL });
    for group in resources.groups.iter().filter(|group| group.kills) {
        plan.watch(Op::KillGroup { dir: At::Cwd, path: &super::c_path(&group.path)? });
    }
    plan.watch(Op::PidfdWait { process, timeout_ms: 10_000, into: Slot(1) });
    super::network::entrust(links, plan);
    for group in &resources.groups {
        let path = super::c_path(&group.path)?;
        plan.watch(Op::RemoveGroup { dir: At::Cwd, path: &path });
    }
    let ops = plan.watch_ops();
    if ops.len() > watched::OPS {
        let what = format!(
            "to clear up after this container takes {} bytes of the watcher's, which has {} for each",
            ops.len(),
            watched::OPS
        );
        let error = Error::new(ErrorKind::InvalidSpec, what).from(context.spec.origins.of("links"));
        return Err(error.remedy("Ask for fewer interfaces: some hundred are possible."));
    }
    plan.step(Phase::Prepare, "entrust the watcher with clearing up", Origin::Always)
        .remedy(WATCHER)
        .op(Op::Entrust { watcher: role::WATCHER, id: 0, ops: skep_sys::wire::Blob(&ops) })
        .undo(Op::Dismiss { watcher: role::WATCHER, id: 0 });
    Ok(())
}

const WATCHER: &str =
    "EPIPE, ECONNRESET: the watcher has ended. It reserves 256 MiB of address space (ulimit -v), and uses a few pages.";

/// The watcher gets the child's pidfd before the child may go on.
pub(super) fn entrust_child(plan: &mut Builder) {
    if plan.has_watch() {
        plan.step(Phase::Attend, "entrust the watcher with the child", Origin::Always)
            .remedy(WATCHER)
            .op(Op::EntrustFile { watcher: role::WATCHER, id: 0, place: Slot(0), file: role::PIDFD });
    }
}

/// One standard stream.
pub(crate) fn stream(index: usize, kind: Stream, origin: Origin, plan: &mut Builder) {
    const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];
    let (Some(name), Some(slot), Some(host)) = (NAMES.get(index), role::STDIO.get(index), role::STDIO_HOST.get(index))
    else {
        return;
    };
    let (slot, host) = (*slot, *host);
    match kind {
        // A terminal takes its place later: until then no other descriptor may
        // get its number.
        Stream::Null | Stream::Terminal => {
            plan.step(Phase::Prepare, format!("open /dev/null for {name}"), origin).op(Op::OpenAt2 {
                dir: At::Cwd,
                path: c"/dev/null",
                flags: OpenFlags::READ_WRITE,
                mode: 0,
                resolve: Resolve::NO_MAGICLINKS,
                into: slot,
            });
            plan.op(Op::Prove { file: slot, proof: skep_sys::Proof::CharDevice { major: 1, minor: 3 } });
        }
        Stream::Piped => {
            let (read, write) = if index == 0 { (slot, host) } else { (host, slot) };
            plan.step(Phase::Prepare, format!("make a pipe for {name}"), origin).op(Op::Pipe { read, write });
        }
        // The runner puts it into the slot.
        Stream::Given => {}
    }
    plan.keep(slot);
}

/// Standard streams, the sockets of the start, the notification socket.
pub(super) fn streams(context: &Context<'_>, plan: &mut Builder) {
    for (index, kind) in context.spec.stdio.into_iter().enumerate() {
        stream(index, kind, context.origin("stdio"), plan);
    }
    plan.step(Phase::Prepare, "make the sockets of the start", Origin::Always)
        .op(Op::SocketPair { one: role::CONTROL_HOST, other: role::CONTROL })
        .keep(role::CONTROL);
    if context.stub() {
        plan.op(Op::SocketPair { one: role::LIFELINE_HOST, other: role::LIFELINE }).keep(role::LIFELINE);
    }
    if context.listens() {
        // Bound inside later; this side keeps the same socket and reads it. Everybody
        // inside can write to it, so that the kernel has to say who did.
        let (level, name) = PASS_CREDENTIALS;
        plan.step(Phase::Prepare, "make the notification socket", context.origin("readiness"))
            .op(Op::Socket { family: AF_UNIX, kind: SOCK_DGRAM, into: role::NOTIFY })
            .op(Op::SocketOption { socket: role::NOTIFY, level, name, value: 1 })
            .keep(role::NOTIFY);
    }
}

/// What the child does first: it holds its own descriptors only, is in its own
/// session, and waits for the word.
pub(super) fn enter(context: &Context<'_>, plan: &mut Builder) {
    begin(context.origin("descriptors"), plan);
    let late = namespaces(context);
    let late = late.without(late.without(Namespaces::CGROUP).without(Namespaces::TIME));
    if !late.is_empty() {
        plan.step(Phase::Enter, format!("make the namespaces {late}"), context.origin("namespaces"))
            .op(Op::Unshare { namespaces: late });
    }
    // Not by the process in between: a time namespace is entered by whoever
    // shares its memory with nobody.
    for join in joins(context).filter(|join| join.kind == Namespaces::TIME) {
        plan.step(Phase::Enter, "enter the time namespace", context.origin(join.field))
            .op(Op::SetNs { namespace: join.slot, kind: join.kind })
            .op(Op::Close { file: join.slot });
    }
}

/// The part of it that is the same for a process that joins.
pub(crate) fn begin(passed: Origin, plan: &mut Builder) {
    plan.step(Phase::Enter, "keep no descriptor but those of the plan", Origin::Always).op(Op::Adopt {});
    for (number, slot) in role::STDIO.into_iter().enumerate() {
        plan.op(Op::Dup { file: slot, number: number as u32 });
    }
    super::descriptors::enter(passed, plan);
    plan.step(Phase::Enter, "wait until the other side is done", Origin::Always).op(Op::Await { from: role::CONTROL });
    plan.step(Phase::Enter, "hide memory from processes of the same user", Origin::Always)
        .op(Op::Dumpable { on: false });
    plan.step(Phase::Enter, "leave the caller's session and terminal", Origin::Always)
        .op(Op::SetSid {})
        .op(Op::ResetSignals {})
        // What is made from here on has the modes that the plan says.
        .op(Op::Umask { mode: 0 });
}

/// What the child's exec leaves it: what its ops ask for (each further one is a call
/// of a microsecond), and what the payload may have.
fn kept_by_the_child(context: &Context<'_>) -> CapabilitySet {
    const OWN: CapabilitySet = CapabilitySet::EMPTY
        .with(cap::CHOWN)
        .with(cap::DAC_OVERRIDE)
        .with(cap::FOWNER)
        .with(cap::FSETID)
        .with(cap::SETGID)
        .with(cap::SETUID)
        .with(cap::SETPCAP)
        .with(cap::NET_ADMIN)
        .with(cap::SYS_CHROOT)
        .with(cap::SYS_ADMIN)
        // sysctl user.max_*_namespaces
        .with(cap::SYS_RESOURCE);
    // An overlay works with the rights of whoever has mounted it, for as long as it is
    // there; and the offsets of a time namespace are CAP_SYS_TIME's.
    if super::filesystem::has_overlay(context) || namespaces(context).has(Namespaces::TIME) {
        return CapabilitySet::up_to(context.facts.last_capability);
    }
    CapabilitySet(OWN.0 | context.bounding.0 | context.ambient.0)
}

/// The clone, which is the last op of `prepare`.
pub(super) fn spawn(context: &Context<'_>, resources: &Resources, plan: &mut Builder) -> crate::error::Result<()> {
    let kept = plan.kept();
    let namespaces = namespaces(context);
    let now = namespaces.without(Namespaces::CGROUP).without(Namespaces::TIME);
    plan.step(Phase::Prepare, format!("start the child in new namespaces: {now}"), context.origin("namespaces"));
    if context.mapping.is_new() {
        plan.remedy("EPERM and EACCES say that user namespaces are restricted here: `skep doctor` names the setting. ENOSPC is a sysctl user.max_*_namespaces that is used up: raise it.");
    }
    let joins: Vec<u8> = joins(context)
        .filter(|join| join.kind != Namespaces::TIME)
        .flat_map(|join| [u32::from(join.slot.0), join.kind.0 as u32])
        .flat_map(u32::to_le_bytes)
        .collect();
    if let (Some(numbers), Some(joins)) = (Numbers::new(&kept), Numbers::new(&joins)) {
        plan.op(Op::Spawn {
            namespaces,
            joins,
            cgroup: resources.clone_into,
            image: role::IMAGE,
            plan: role::PLAN,
            keep: numbers,
            ambient: if context.mapping.is_new() { kept_by_the_child(context) } else { CapabilitySet::EMPTY },
            pidfd: role::PIDFD,
            pid: role::PID,
        });
        // The last is taken back first.
        plan.undo(Op::PidfdWait { process: role::PIDFD, timeout_ms: 5000, into: role::RESULT });
        for group in resources.groups.iter().filter(|group| group.kills) {
            plan.undo(Op::KillGroup { dir: At::Cwd, path: &super::c_path(&group.path)? });
        }
        plan.undo(Op::PidfdSignal { process: role::PIDFD, signal: skep_sys::abi::signal::KILL });
    }
    Ok(())
}

/// The last of `attend`.
pub(super) fn release(plan: &mut Builder) {
    plan.step(Phase::Attend, "let the child go on", Origin::Always).op(Op::Release { to: role::CONTROL_HOST });
}

#[cfg(test)]
mod tests {
    use skep_sys::OpKind;

    use super::*;
    use crate::spec::{CapabilityList, Spec};

    fn kept(change: impl FnOnce(&mut Spec)) -> CapabilitySet {
        let mut spec = crate::Command::new("true").spec();
        change(&mut spec);
        let plan = crate::compile(&spec, &crate::Facts::example(&spec)).unwrap();
        let spawn = plan.ops().find(|(.., op)| op.kind() == OpKind::Spawn);
        match spawn {
            Some((.., Op::Spawn { ambient, .. })) => ambient,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_child_keeps_what_its_ops_need_and_what_the_payload_gets() {
        let usual = kept(|_| {});
        assert!(usual.has(cap::SYS_ADMIN) && !usual.has(cap::MKNOD) && !usual.has(cap::SYS_NICE), "{usual}");
        let granted = kept(|spec| {
            spec.capabilities.bounding = CapabilityList(CapabilitySet::EMPTY.with(cap::SYS_NICE));
        });
        assert_eq!(granted, usual.with(cap::SYS_NICE));
        let time = kept(|spec| spec.namespaces.time = Namespace::New);
        assert_eq!(time, CapabilitySet::up_to(40), "of all that a time namespace may ask for");
    }
}
