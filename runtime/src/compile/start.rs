//! The frame of a start: streams, sockets, the clone, the first and the last
//! words between the two sides.

use skep_sys::abi::{Namespaces, OpenFlags, Resolve};
use skep_sys::{At, Op, Slot};

use super::Context;
use super::cgroups::Resources;
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Namespace, Origin, Readiness, Stream};

const SOCK_DGRAM: u32 = 2;
const AF_UNIX: u32 = 1;

/// Every kind of namespace that this container has of its own.
fn namespaces(context: &Context<'_>) -> Namespaces {
    let choice = context.spec.namespaces;
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

/// One line for each kind that the kernel knows.
pub(super) fn report_namespaces(context: &Context<'_>, report: &mut Report) {
    let own = namespaces(context);
    for (kind, name) in Namespaces::NAMES {
        if own.has(*kind) {
            report.applied(format!("namespace {name}"), "new");
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
pub(super) fn entrust(context: &Context<'_>, resources: &Resources, plan: &mut Builder) -> crate::error::Result<()> {
    if context.stub() && resources.groups.is_empty() {
        return Ok(());
    }
    // Slot 0 of the watcher's ops is the container's pidfd.
    let process = Slot(0);
    plan.watch(Op::PidfdSignal { process, signal: skep_sys::abi::signal::KILL });
    for group in resources.groups.iter().filter(|group| group.kills) {
        plan.watch(Op::KillGroup { dir: At::Cwd, path: &super::c_path(&group.path)? });
    }
    plan.watch(Op::PidfdWait { process, timeout_ms: 10_000, into: Slot(1) });
    for group in &resources.groups {
        let path = super::c_path(&group.path)?;
        plan.watch(Op::RemoveGroup { dir: At::Cwd, path: &path });
    }
    let ops = plan.watch_ops();
    plan.step(Phase::Prepare, "entrust the watcher with clearing up", Origin::Always)
        .op(Op::Entrust { watcher: role::WATCHER, id: 0, ops: skep_sys::wire::Blob(&ops) })
        .undo(Op::Dismiss { watcher: role::WATCHER, id: 0 });
    Ok(())
}

/// The watcher gets the child's pidfd before the child may go on.
pub(super) fn entrust_child(plan: &mut Builder) {
    if plan.has_watch() {
        plan.step(Phase::Attend, "entrust the watcher with the child", Origin::Always).op(Op::EntrustFile {
            watcher: role::WATCHER,
            id: 0,
            place: Slot(0),
            file: role::PIDFD,
        });
    }
}

/// Standard streams, the sockets of the start, the notification socket.
pub(super) fn streams(context: &Context<'_>, plan: &mut Builder) {
    const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];
    for (index, stream) in context.spec.stdio.into_iter().enumerate() {
        let (slot, host) = (role::STDIO[index], role::STDIO_HOST[index]);
        let origin = context.origin("stdio");
        match stream {
            // A terminal takes its place later: until then no other descriptor may
            // get its number.
            Stream::Null | Stream::Terminal => {
                plan.step(Phase::Prepare, format!("open /dev/null for {}", NAMES[index]), origin).op(Op::OpenAt2 {
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
                plan.step(Phase::Prepare, format!("make a pipe for {}", NAMES[index]), origin)
                    .op(Op::Pipe { read, write });
            }
            // The runner puts it into the slot.
            Stream::Given => {}
        }
        plan.keep(slot);
    }
    plan.step(Phase::Prepare, "make the sockets of the start", Origin::Always)
        .op(Op::SocketPair { one: role::CONTROL_HOST, other: role::CONTROL })
        .keep(role::CONTROL);
    if context.stub() {
        plan.op(Op::SocketPair { one: role::LIFELINE_HOST, other: role::LIFELINE }).keep(role::LIFELINE);
    }
    if context.spec.readiness == Readiness::Notify {
        // Bound inside later; this side keeps the same socket and reads it.
        plan.step(Phase::Prepare, "make the notification socket", context.origin("readiness"))
            .op(Op::Socket { family: AF_UNIX, kind: SOCK_DGRAM, into: role::NOTIFY })
            .keep(role::NOTIFY);
    }
}

/// What the child does first: it holds its own descriptors only, is in its own
/// session, and waits for the word.
pub(super) fn enter(context: &Context<'_>, plan: &mut Builder) {
    plan.step(Phase::Enter, "keep no descriptor but those of the plan", Origin::Always).op(Op::Adopt {});
    for (number, slot) in role::STDIO.into_iter().enumerate() {
        plan.op(Op::Dup { file: slot, number: number as u32 });
    }
    super::descriptors::enter(context, plan);
    plan.step(Phase::Enter, "wait until the other side is done", Origin::Always).op(Op::Await { from: role::CONTROL });
    plan.step(Phase::Enter, "hide memory from processes of the same user", Origin::Always)
        .op(Op::Dumpable { on: false });
    plan.step(Phase::Enter, "leave the caller's session and terminal", Origin::Always)
        .op(Op::SetSid {})
        .op(Op::ResetSignals {})
        // What is made from here on has the modes that the plan says.
        .op(Op::Umask { mode: 0 });
    let late = namespaces(context);
    let late = late.without(late.without(Namespaces::CGROUP).without(Namespaces::TIME));
    if !late.is_empty() {
        plan.step(Phase::Enter, format!("make the namespaces {late}"), context.origin("namespaces"))
            .op(Op::Unshare { namespaces: late });
    }
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
    if let Some(numbers) = skep_sys::wire::Numbers::new(&kept) {
        plan.op(Op::Spawn {
            namespaces,
            cgroup: resources.clone_into,
            image: role::IMAGE,
            plan: role::PLAN,
            keep: numbers,
            ambient: context.mapping.is_new(),
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
