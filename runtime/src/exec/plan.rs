//! From what shall run in a container to the plan that runs it: a pure
//! function.
//!
//! Stage B joins the container's namespaces, and becomes what the payload is
//! *before* it brings a process into the container: inside, nobody ever sees a
//! process with more rights than the payload's.

use std::collections::BTreeMap;
use std::ffi::OsString;

use skep_sys::abi::{CapabilitySet, Namespaces, OpenFlags, Resolve, SecureBits, cap, fs_magic, signal};
use skep_sys::wire::{Numbers, Reader};
use skep_sys::{At, Op, OpKind, Proof};

use super::confinement::{Confinement, unsupported};
use crate::compile;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Ending, Phase, Plan, role};
use crate::report::Report;
use crate::spec::{ExecSpec, Origin, Readiness, Spec, Stream};

const CALL: Origin = Origin::Call("Container::exec");

/// Makes the plan for `spec` in the container that `container` starts.
///
/// Equal inputs give equal plans; nothing is read or changed.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] where `spec` contradicts itself or the container,
/// [`ErrorKind::Unsupported`] where the container's confinement cannot be
/// repeated, or it has no process-id namespace.
pub fn compile_exec(container: &Plan, spec: &ExecSpec) -> Result<Plan> {
    compile_in(&Confinement::of(container)?, spec)
}

pub(crate) fn compile_in(container: &Confinement, spec: &ExecSpec) -> Result<Plan> {
    check(container, spec)?;
    let confined = Confined::new(container, spec)?;
    let mut plan = Builder::new();
    let mut report = Report::default();
    prepare(container, spec, &mut plan)?;
    compile::pass(&spec.descriptors, CALL, &mut plan, &mut report);
    join(container, &mut plan);
    confined.outside(spec, &mut plan, &mut report);
    confined.inside(container, spec, &mut plan)?;
    spawn(container, &mut plan);
    let mut plan = plan.finish(Ending {
        machine: container.machine.clone(),
        readiness: Readiness::Exec,
        kill_signal: signal::TERM,
        stub: false,
        hold: false,
        groups: Vec::new(),
        give: None,
        tree: None,
        registration: None,
        forwards: Vec::new(),
        interface: None,
        published: None,
        report,
    });
    let sum = sum_of_confinement(&plan);
    plan.report.applied("confinement", sum);
    Ok(plan)
}

/// What confines the process and is not read back from the kernel: how many ops,
/// and their FNV-1a sum, by which rule 71 knows each of their bytes.
pub(crate) fn sum_of_confinement(plan: &Plan) -> String {
    use OpKind::{
        DenyWriteExecute, LandlockPath, LandlockPort, LandlockRuleset, OpenAt2, Personality, Seccomp, SetGroups,
        SetLimit, Umask, Write,
    };
    let (mut count, mut bytes) = (0_u32, Vec::new());
    for (_, phase, op) in plan.ops() {
        let confines = match op.kind() {
            LandlockRuleset | LandlockPath | LandlockPort | SetLimit | Seccomp | Personality | SetGroups | Umask
            | DenyWriteExecute => true,
            OpenAt2 => phase == Phase::Enter,
            Write => phase == Phase::Attend,
            _ => false,
        };
        if confines {
            count += 1;
            op.write(&mut bytes);
        }
    }
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{count} calls, sum {:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

fn check(container: &Confinement, spec: &ExecSpec) -> Result<()> {
    // The same words of the caller's, under the same rules.
    let same = Spec {
        command: spec.command.clone(),
        environment: spec.environment.clone(),
        working_directory: spec.working_directory.clone(),
        groups: spec.groups.clone().unwrap_or_default(),
        stdio: spec.stdio,
        terminal: spec.terminal,
        descriptors: spec.descriptors.clone(),
        ..Spec::default()
    };
    if spec.descriptors.iter().any(|passed| passed.listen) {
        return Err(Error::new(ErrorKind::InvalidSpec, "an exec announces no sockets ($LISTEN_FDS)")
            .remedy("Pass them by number, and set the variables yourself."));
    }
    compile::bounds(&same)?;
    compile::check(&same)?;
    if spec.groups.is_some() && !container.has_groups {
        return Err(Error::new(ErrorKind::InvalidSpec, "this container has no supplementary groups")
            .remedy("They need a mapped range: subordinate ids, or root."));
    }
    Ok(())
}

/// What the embedder does before the child exists.
fn prepare(container: &Confinement, spec: &ExecSpec, plan: &mut Builder) -> Result<()> {
    for (index, stream) in spec.stdio.into_iter().enumerate() {
        compile::stream(index, stream, CALL, plan);
    }
    plan.step(Phase::Prepare, "make the sockets of the start", Origin::Always)
        .op(Op::SocketPair { one: role::CONTROL_HOST, other: role::CONTROL })
        .keep(role::CONTROL)
        .keep(role::TARGET);
    if container.namespaces.has(Namespaces::TIME) {
        // Process 1 may have joined it late: what its children are born in is it at any time.
        plan.step(Phase::Prepare, "find the time namespace of the container's processes", CALL)
            .op(Op::OpenProcess { pid: role::TARGET_PID, pidfd: role::TARGET, into: role::PROCESS })
            .op(Op::OpenAt2 {
                dir: At::Slot(role::PROCESS),
                path: c"ns/time_for_children",
                flags: OpenFlags::NONE,
                mode: 0,
                resolve: Resolve::NONE,
                into: role::TIME,
            })
            .op(Op::Close { file: role::PROCESS })
            .keep(role::TIME);
    }
    let legacy = container.groups.iter().filter(|group| !group.unified).zip(role::LEGACY);
    let unified = container.groups.iter().filter(|group| group.unified).zip([role::CGROUP]);
    if container.groups.len() > legacy.clone().count() + unified.clone().count() {
        return Err(unsupported("it is in more cgroups than a plan has room for"));
    }
    for (group, slot) in unified.chain(legacy) {
        let magic = if group.unified { fs_magic::CGROUP2 } else { fs_magic::CGROUP };
        let shown = group.path.to_string_lossy();
        plan.step(Phase::Prepare, format!("open the cgroup {shown}"), CALL)
            .op(Op::OpenAt2 {
                dir: At::Cwd,
                path: &group.path,
                flags: OpenFlags::DIRECTORY,
                mode: 0,
                resolve: Resolve::NO_MAGICLINKS.with(Resolve::NO_SYMLINKS),
                into: slot,
            })
            .op(Op::Prove { file: slot, proof: Proof::FileSystem { magic } });
        if !group.unified {
            plan.step(Phase::Attend, format!("move the child into {shown}"), CALL).op(Op::WritePid {
                dir: At::Slot(slot),
                path: c"cgroup.procs",
                pid: role::PID,
            });
        }
    }
    for op in read(&container.attended)? {
        if op.kind() == OpKind::Write {
            plan.step(Phase::Attend, "the payload's out-of-memory score", CALL)
                .op(Op::OpenProcess { pid: role::PID, pidfd: role::PIDFD, into: role::PROCESS })
                .op(op)
                .op(Op::Close { file: role::PROCESS });
        } else {
            plan.step(Phase::Attend, "schedule it as the payload is", CALL).op(op);
        }
    }
    plan.step(Phase::Attend, "let the child go on", Origin::Always).op(Op::Release { to: role::CONTROL_HOST });
    Ok(())
}

/// Ops in flat form.
fn read(flat: &[u8]) -> Result<Vec<Op<'_>>> {
    let mut reader = Reader::new(flat);
    let mut ops = Vec::new();
    while !reader.is_empty() {
        ops.push(Op::read(&mut reader).ok_or_else(|| unsupported("what is known of it is not readable"))?);
    }
    Ok(ops)
}

/// Stage B leaves the host for the container's namespaces, and is not in its
/// process-id namespace yet: that is for children only (`setns(2)`).
fn join(container: &Confinement, plan: &mut Builder) {
    compile::begin(CALL, plan);
    let by_process = container.namespaces.without(Namespaces::TIME);
    plan.step(Phase::Enter, format!("join the container's namespaces: {by_process}"), CALL)
        .remedy("ESRCH: the container has ended. EPERM: only who started it, or root, can join it.")
        .op(Op::SetNs { namespace: role::TARGET, kind: by_process });
    if container.namespaces.has(Namespaces::TIME) {
        plan.op(Op::SetNs { namespace: role::TIME, kind: Namespaces::TIME }).op(Op::Close { file: role::TIME });
    }
    plan.op(Op::Close { file: role::TARGET }).op(Op::ProveRoot {});
}

/// The payload's own ops, with the ids that were asked for.
struct Confined<'a> {
    ops: Vec<Op<'a>>,
    uid: u32,
    gid: u32,
    groups: Option<Vec<u8>>,
    container: &'a Confinement,
    /// Until the exec.
    securebits: SecureBits,
    /// The filter goes before CAP_SYS_ADMIN does, for want of no_new_privs.
    early: bool,
}

impl<'a> Confined<'a> {
    fn new(container: &'a Confinement, spec: &ExecSpec) -> Result<Self> {
        let ops = read(&container.ops)?;
        let place = |kind| ops.iter().rposition(|op| op.kind() == kind);
        let early = place(OpKind::Seccomp) < place(OpKind::CapSet) && place(OpKind::Seccomp).is_some();
        let (uid, gid) = spec.user.unwrap_or((container.uid, container.gid));
        let bits = |op: &Op<'_>| if let Op::SetSecureBits { bits } = *op { Some(bits) } else { None };
        let securebits = ops.iter().find_map(bits).unwrap_or(SecureBits::NONE);
        if compile::takes_rights(securebits, uid) && (early || container.ambient != CapabilitySet::EMPTY) {
            let what = format!("with the container's securebits, user {uid} cannot keep the rights that it needs");
            return Err(Error::new(ErrorKind::InvalidSpec, what)
                .remedy("Run as the container's root, or add no-setuid-fixup to its securebits."));
        }
        let groups = spec.groups.clone().map(|mut groups| {
            groups.sort_unstable();
            groups.dedup();
            groups.iter().flat_map(|group| group.to_le_bytes()).collect()
        });
        Ok(Self { ops, uid, gid, groups, container, securebits, early })
    }

    /// What the process is to hold.
    const fn permitted(&self) -> CapabilitySet {
        let root = self.uid == 0 && !self.securebits.has(SecureBits::NOROOT);
        if root { self.container.bounding } else { self.container.ambient }
    }

    fn adapted<'b>(&'b self, op: &Op<'b>) -> Op<'b> {
        match (*op, self.groups.as_deref().and_then(Numbers::new)) {
            (Op::SetResUid { .. }, _) => Op::SetResUid { uid: self.uid },
            (Op::SetResGid { .. }, _) => Op::SetResGid { gid: self.gid },
            (Op::SetGroups { .. }, Some(groups)) => Op::SetGroups { groups },
            (Op::CapSet { inheritable, .. }, _) => {
                Op::CapSet { effective: self.permitted(), permitted: self.permitted(), inheritable }
            }
            (Op::ProveCredentials { bounding, ambient, securebits, no_new_privs, .. }, _) => Op::ProveCredentials {
                uid: self.uid,
                gid: self.gid,
                effective: self.permitted(),
                permitted: self.permitted(),
                bounding,
                ambient,
                securebits,
                no_new_privs,
            },
            (other, _) => other,
        }
    }

    fn write(&self, plan: &mut Builder, kinds: &[OpKind]) {
        for kind in kinds {
            let of_kind = self.ops.iter().filter(|op| op.kind() == *kind);
            // Of two capsets the first was for the filter.
            let skipped = if *kind == OpKind::CapSet { of_kind.clone().count().saturating_sub(1) } else { 0 };
            for op in of_kind.skip(skipped) {
                plan.op(self.adapted(op));
            }
        }
    }

    /// The last rights go, and that is read back.
    fn settle(&self, phase: Phase, plan: &mut Builder) {
        plan.step(phase, format!("capabilities: {}", self.permitted()), CALL);
        self.write(plan, &[OpKind::CapSet, OpKind::AmbientSet, OpKind::NoNewPrivs]);
        plan.step(phase, "read all of this back from the kernel", Origin::Always);
        self.write(plan, &[OpKind::ProveCredentials]);
        if self.ops.iter().any(|op| op.kind() == OpKind::LandlockRestrict) {
            plan.step(phase, "be restricted to the payload's Landlock rules", CALL);
            self.write(plan, &[OpKind::LandlockRestrict]);
            plan.op(Op::Close { file: role::RULESET });
        }
    }

    /// Made anew, of the same paths: a ruleset cannot be had from a process that
    /// is restricted to it. A link is not followed: the payload may have put it
    /// there since, and this process would have more than the payload has.
    fn landlock_rules(&self, plan: &mut Builder) {
        use OpKind::{LandlockPath, LandlockPort, LandlockRuleset, OpenAt2};
        plan.step(Phase::Enter, "make the payload's Landlock rules", CALL)
            .remedy("ENOENT: a path of a Landlock rule is not there any more. ELOOP: it has a link in it; name what that leads to.");
        for op in
            self.ops.iter().filter(|op| matches!(op.kind(), OpenAt2 | LandlockRuleset | LandlockPath | LandlockPort))
        {
            plan.op(match *op {
                Op::OpenAt2 { dir, path, flags, mode, resolve, into } => {
                    Op::OpenAt2 { dir, path, flags, mode, resolve: resolve.with(Resolve::NO_SYMLINKS), into }
                }
                other => other,
            });
            if let Op::LandlockPath { parent, .. } = *op {
                plan.op(Op::Close { file: parent });
            }
        }
    }

    /// What stage B does while no process of the container can see it.
    fn outside(&self, spec: &ExecSpec, plan: &mut Builder, report: &mut Report) {
        let phase = Phase::Enter;
        plan.step(phase, "the payload's personality, umask and limits", CALL);
        self.write(plan, &[OpKind::DenyWriteExecute, OpKind::Personality, OpKind::Umask, OpKind::SetLimit]);
        self.landlock_rules(plan);
        plan.step(phase, format!("bounding set: {}", self.container.bounding), CALL);
        self.write(plan, &[OpKind::DropBounding, OpKind::SetSecureBits]);
        plan.step(phase, format!("become user {} and group {}", self.uid, self.gid), CALL)
            .remedy("EINVAL: such an id is not mapped in this container.");
        self.write(plan, &[OpKind::SetGroups, OpKind::SetResGid, OpKind::SetResUid]);
        // A change of ids sets this as fs.suid_dumpable says.
        plan.op(Op::Dumpable { on: false });
        plan.step(phase, "join a new session keyring", CALL);
        self.write(plan, &[OpKind::SessionKeyring]);
        self.terminal(spec, plan);
        if self.early {
            let admin = CapabilitySet::EMPTY.with(cap::SYS_ADMIN);
            let permitted = CapabilitySet(self.permitted().0 | admin.0);
            plan.step(phase, "the right to install a filter, and no other", CALL).op(Op::CapSet {
                effective: admin,
                permitted,
                inheritable: CapabilitySet::EMPTY,
            });
        } else {
            self.settle(phase, plan);
        }
        plan.step(phase, "bring a process into the container, a child of the caller's own", Origin::Always)
            .remedy("ENOMEM: the container has ended. EAGAIN: its limit on processes is reached.")
            .op(Op::Sibling { pid: role::PAYLOAD, pidfd: role::MEMBER });
        plan.step(Phase::Init, "send the process's descriptor and end", Origin::Always)
            .op(Op::SendFile { to: role::CONTROL, file: role::MEMBER, place: role::MEMBER })
            .op(Op::Exit { status: 0 });
        self.report(report);
    }

    /// Opened as the payload's user, in the container's own devpts.
    fn terminal(&self, spec: &ExecSpec, plan: &mut Builder) {
        let Some(size) = spec.terminal else { return };
        plan.step(Phase::Enter, "open a terminal of its own and send the other end", CALL)
            .remedy("EIO, ENOSPC: there are too many terminals; see sysctl kernel.pty.max.")
            .op(Op::OpenAt2 {
                dir: At::Cwd,
                path: c"/dev/pts",
                flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
                mode: 0,
                resolve: Resolve::NO_SYMLINKS.with(Resolve::NO_MAGICLINKS),
                into: role::TWO,
            })
            .op(Op::Prove { file: role::TWO, proof: Proof::FileSystem { magic: fs_magic::DEVPTS } })
            .op(Op::OpenTerminal {
                devpts: role::TWO,
                rows: size.rows,
                columns: size.columns,
                master: role::ONE,
                peer: role::TERMINAL_PEER,
            })
            .op(Op::SendFile { to: role::CONTROL, file: role::ONE, place: role::TERMINAL })
            .op(Op::Close { file: role::ONE })
            .op(Op::Close { file: role::TWO });
    }

    /// The process itself, inside.
    fn inside(&self, container: &Confinement, spec: &ExecSpec, plan: &mut Builder) -> Result<()> {
        let phase = Phase::Payload;
        plan.step(phase, "wait until the other side holds this process", Origin::Always)
            .op(Op::Await { from: role::CONTROL });
        plan.step(phase, "start a session of its own", Origin::Always).op(Op::SetSid {}).op(Op::ResetSignals {});
        if spec.terminal.is_some() {
            let terminal = role::TERMINAL_PEER;
            plan.step(phase, "take the terminal", CALL).op(Op::ControllingTerminal { terminal });
            for (number, _) in (0..).zip(spec.stdio).filter(|(_, stream)| *stream == Stream::Terminal) {
                plan.op(Op::Dup { file: terminal, number });
            }
        }
        if self.early {
            plan.step(phase, "filter system calls as the payload's are", CALL);
            self.write(plan, &[OpKind::Seccomp]);
            self.settle(phase, plan);
        }
        let directory = compile::c_path(&spec.working_directory)?;
        plan.step(phase, format!("go to {}", spec.working_directory.display()), CALL)
            .remedy("The working directory must exist inside, and the user must be allowed to enter it. ELOOP: a link of /proc to what a process has open is none.")
            .op(Op::Chdir { path: &directory });
        if !self.early {
            plan.step(phase, "filter system calls as the payload's are", CALL);
            self.write(plan, &[OpKind::Seccomp]);
        }
        compile::execute(&spec.command, self.environment(container, spec), CALL, plan)
    }

    /// The payload's documented variables, and those that were asked for.
    fn environment(&self, container: &Confinement, spec: &ExecSpec) -> BTreeMap<String, OsString> {
        let mut variables = container.variables.clone();
        if self.uid != container.uid {
            let name = if self.uid == 0 { "root".to_owned() } else { self.uid.to_string() };
            let home = if self.uid == 0 { "/root" } else { "/" };
            for (variable, value) in [("USER", name.as_str()), ("LOGNAME", &name), ("HOME", home)] {
                variables.insert(variable.to_owned(), value.into());
            }
        }
        let asked = spec.environment.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        variables.extend(asked);
        variables
    }

    fn report(&self, report: &mut Report) {
        let has = |kind| self.ops.iter().any(|op| op.kind() == kind);
        let mut line = |name: &str, kind: OpKind, value: String, why: &str| {
            if has(kind) { report.applied(name, value) } else { report.off(name, why) }
        };
        let as_payload = || "as the payload's".to_owned();
        line("system-call filter", OpKind::Seccomp, as_payload(), "the container has none");
        line("landlock", OpKind::LandlockRestrict, as_payload(), "the container has no rules");
        line("no new privileges", OpKind::NoNewPrivs, "on".to_owned(), "the container has them");
        line("keyring", OpKind::SessionKeyring, "a new anonymous one".to_owned(), "the caller's session keyring");
        line("memory deny write-execute", OpKind::DenyWriteExecute, as_payload(), "the container has no such rule");
        match self.securebits.without(SecureBits::KEEP_CAPS) {
            SecureBits::NONE => report.off("securebits", "the container has none"),
            bits => report.applied("securebits", bits),
        }
        report.applied(
            "capabilities",
            format!("bounding {}, ambient {}", self.container.bounding, self.container.ambient),
        );
        if self.container.has_groups {
            report.applied("supplementary groups", "replaced");
        } else {
            report.unsupported("supplementary groups", "they cannot be changed in this container");
        }
        for (item, how) in &self.container.scheduled {
            report.applied(*item, how);
        }
        report.applied("namespaces", format!("the container's: {}", self.container.namespaces));
    }
}

/// The clone, which is the last op of `prepare`.
fn spawn(container: &Confinement, plan: &mut Builder) {
    let kept = plan.kept();
    let (Some(keep), Some(none)) = (Numbers::new(&kept), Numbers::new(&[])) else { return };
    let born = container.groups.iter().any(|group| group.unified);
    plan.step(Phase::Prepare, "start a process outside of the container", Origin::Always).op(Op::Spawn {
        namespaces: Namespaces::NONE,
        joins: none,
        cgroup: born.then_some(role::CGROUP),
        image: role::IMAGE,
        plan: role::PLAN,
        keep,
        ambient: CapabilitySet::EMPTY,
        pidfd: role::PIDFD,
        pid: role::PID,
    });
    // The last is taken back first.
    for process in [role::PIDFD, role::MEMBER] {
        plan.undo(Op::PidfdWait { process, timeout_ms: 5000, into: role::RESULT });
    }
    // A process of which this side has no descriptor yet is in the other's group.
    plan.undo(Op::EndGroup { pidfd: role::PIDFD, pid: role::PID });
    for process in [role::PIDFD, role::MEMBER] {
        plan.undo(Op::PidfdSignal { process, signal: signal::KILL });
    }
}
