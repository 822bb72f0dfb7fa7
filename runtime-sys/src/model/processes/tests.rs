use super::super::stand::{ALL, CHILD_END, HOST_END, IMAGE, PID, PIDFD, PLAN, Stand};
use super::*;
use crate::abi::{CapabilitySet, MountAttrs, Namespaces, Seals};
use crate::kernel::Cell;
use crate::op::{At, Op};
use crate::wire::{Blob, Secret, Strings};

fn exec(programs: &'static [u8]) -> Op<'static> {
    let programs = Strings::new(programs).unwrap();
    let environment = Secret(Strings::new(b"A=1\0").unwrap());
    Op::Exec { programs, arguments: Strings::new(b"true\0").unwrap(), environment }
}

#[test]
fn exec_takes_the_first_program_that_exists() {
    let mut stand = Stand::on(Model::new().owned("/etc/hostname", 0, 0, 0o644));
    stand.no(exec(b"/no/such\0/usr\0"), Errno::EACCES);
    stand.no(exec(b"/no/such\0/etc/hostname/x\0"), Errno::ENOENT);
    stand.no(exec(b"/etc/hostname\0"), Errno::EACCES);
    stand.no(exec(b""), Errno::ENOENT);
    stand.ok(exec(b"/no/such\0/etc/hostname\0/bin/true\0"));
    let executed = stand.model.process(Actor::Host).unwrap().exec().unwrap();
    assert_eq!((executed.program.as_str(), executed.arguments.as_slice()), ("/bin/true", &["true".to_owned()][..]));
    assert_eq!(executed.environment, ["A=1"]);
    assert!(!format!("{executed:?}").contains("A=1"));
    stand.no(Op::Umask { mode: 0 }, Errno::ESRCH);
}

#[test]
fn nothing_executes_on_noexec() {
    let mut stand = Stand::root();
    let noexec = MountAttrs::NOEXEC;
    stand.ok(Op::MountSetAttr {
        dir: At::Cwd,
        path: c"/",
        flags: Default::default(),
        set: noexec,
        clear: MountAttrs::NONE,
        propagation: Default::default(),
        userns: None,
    });
    stand.no(exec(b"/usr/bin/true\0"), Errno::EACCES);
}

#[test]
fn exec_closes_and_resets_what_it_must() {
    let mut stand = Stand::root();
    stand.open(c"/etc", Slot(10));
    stand.open(c"/usr/bin/true", Slot(11));
    stand.ok(Op::ExecAt {
        program: Slot(11),
        arguments: Strings::new(b"").unwrap(),
        environment: Secret(Strings::new(b"").unwrap()),
    });
    let host = stand.model.process(Actor::Host).unwrap();
    assert_eq!(host.descriptors().len(), 4, "0 to 3 were not close-on-exec");
    assert_eq!(host.exec().unwrap().program, "/usr/bin/true");
    assert_eq!(host.signals(), (0, bit(13)), "ignored stays ignored");
    assert_eq!(stand.model[stand.model.current].signals.caught, 0);
}

#[test]
fn ignored_signals_reach_the_child_until_they_are_reset() {
    let mut stand = Stand::root();
    stand.spawn(ALL, true, None).unwrap();
    stand.play(Actor::Child);
    assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (0, bit(13)));
    stand.ok(Op::ResetSignals {});
    assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (0, 0));
    stand.ok(Op::BlockSignals {});
    assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (0xffff_ffff_fffb_feff, 0));
}

#[test]
fn stage_b_must_be_executable_and_its_plan_writable() {
    let mut stand = Stand::root();
    let seals = Seals::NONE;
    let memfd =
        |content, executable, seals, into| Op::MemFd { name: c"", content: Blob(content), seals, executable, into };
    let keeping = |keep| Op::Spawn {
        namespaces: Namespaces::NONE,
        joins: Numbers::NONE,
        cgroup: None,
        image: IMAGE,
        plan: PLAN,
        keep: Numbers::new(keep).unwrap(),
        ambient: CapabilitySet::EMPTY,
        pidfd: PIDFD,
        pid: PID,
    };
    let spawn = keeping(b"");
    stand.no(spawn, Errno::EBADF);
    stand.ok(memfd(b"plan", false, seals, PLAN));
    stand.ok(memfd(b"B", false, seals, IMAGE));
    stand.no(spawn, Errno::EACCES);
    stand.ok(memfd(b"", true, seals, IMAGE));
    stand.no(spawn, Errno::ENOEXEC);
    stand.ok(memfd(b"B", true, seals, IMAGE));
    stand.ok(spawn);
    stand.ok(memfd(b"plan", false, Seals::WRITE, PLAN));
    stand.no(spawn, Errno::EPERM);
    stand.ok(memfd(b"plan", false, seals, PLAN));
    stand.no(keeping(&20_u32.to_le_bytes()), Errno::EBADF);
}

#[test]
fn a_failed_start_leaves_no_process() {
    let mut stand = Stand::user();
    assert_eq!(stand.spawn(Namespaces::MOUNT, false, None), Err(Errno::EPERM));
    assert!(stand.model.process(Actor::Child).is_none());
    assert!(stand.model.host_changes().is_empty());
}

#[test]
fn the_first_process_of_a_pid_namespace_has_number_1() {
    let mut stand = Stand::root();
    stand.spawn(ALL, true, None).unwrap();
    assert_eq!(stand.cells[usize::from(PID.0)], Cell::Value(1001));
    stand.play(Actor::Child);
    stand.ok(Op::Fork { pid: Slot(12) });
    assert_eq!(stand.cells[12], Cell::Value(2));
    assert_eq!(stand.model.process(Actor::Child).unwrap().pid(), 1);
    stand.play(Actor::Payload);
    stand.ok(Op::SetSid {});
    assert_eq!(stand.cells[12], Cell::Value(0), "the payload's side");
    assert_eq!(stand.model.process(Actor::Payload).unwrap().pid(), 2);
    stand.no(Op::SetSid {}, Errno::EPERM);
    // SIGTERM does nothing to an init without a handler; SIGKILL ends all.
    stand.play(Actor::Host);
    stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::TERM });
    assert_eq!(stand.model.host_changes().len(), 2);
    stand.no(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) }, Errno::ETIMEDOUT);
    stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::KILL });
    stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
    assert_eq!(stand.cells[13], Cell::Value(WaitStatus::Signaled(9).to_value()));
    assert!(stand.model.host_changes().is_empty());
    stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
    assert_eq!(stand.cells[13], Cell::Value(WaitStatus::Lost.to_value()));
}

#[test]
fn without_a_pid_namespace_a_payload_outlives_stage_b() {
    let mut stand = Stand::root();
    stand.spawn(Namespaces::MOUNT, false, None).unwrap();
    stand.play(Actor::Child);
    stand.ok(Op::Fork { pid: Slot(12) });
    stand.play(Actor::Host);
    stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::TERM });
    stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
    assert_eq!(stand.model.host_changes(), ["+ process 1002: running"]);
}

#[test]
fn signals_need_the_same_user_or_cap_kill() {
    let mut stand = Stand::root();
    stand.spawn(Namespaces::PID, false, None).unwrap();
    let none = crate::abi::CapabilitySet::EMPTY;
    stand.ok(Op::SetResUid { uid: 1000 });
    stand.ok(Op::CapSet { effective: none, permitted: none, inheritable: none });
    stand.no(Op::PidfdSignal { process: PIDFD, signal: signal::KILL }, Errno::EPERM);
    stand.no(Op::PidfdSignal { process: PIDFD, signal: 65 }, Errno::EINVAL);
}

#[test]
fn hard_limits_rise_with_sys_resource_of_the_host_only() {
    let limit = |soft, hard| Op::SetLimit { resource: Resource::NOFILE, soft, hard };
    let mut stand = Stand::root();
    stand.no(limit(2, 1), Errno::EINVAL);
    stand.no(limit(1, 1 << 21), Errno::EPERM);
    stand.ok(limit(1, 1));
    stand.ok(limit(1, 2));
    stand.no(Op::SetLimit { resource: Resource(16), soft: 1, hard: 1 }, Errno::EINVAL);
    let mut stand = Stand::user().contained();
    stand.ok(limit(64, 64));
    stand.no(limit(64, 65), Errno::EPERM);
    assert_eq!(stand.model.process(Actor::Child).unwrap().limit(Resource::NOFILE), Some((64, 64)));
}

#[test]
fn names_belong_to_the_uts_namespace() {
    let mut stand = Stand::user();
    stand.no(Op::HostName { name: c"x" }, Errno::EPERM);
    let mut stand = stand.contained();
    stand.ok(Op::HostName { name: c"box" });
    stand.ok(Op::DomainName { name: c"lan" });
    stand
        .no(Op::HostName { name: c"11111111112222222222333333333344444444445555555555666666666677777" }, Errno::EINVAL);
    assert_eq!(stand.model.process(Actor::Child).unwrap().hostname(), "box");
    assert_eq!(stand.model.process(Actor::Host).unwrap().hostname(), "host");
    let mut stand = Stand::user();
    stand.spawn(ALL.without(Namespaces::UTS), true, None).unwrap();
    stand.play(Actor::Child);
    stand.no(Op::HostName { name: c"x" }, Errno::EPERM);
}

#[test]
fn inherited_attributes_change_in_one_process_only() {
    let mut stand = Stand::root();
    stand.spawn(ALL, true, None).unwrap();
    stand.play(Actor::Child);
    stand.ok(Op::Umask { mode: 0o77 });
    stand.ok(Op::SessionKeyring {});
    stand.ok(Op::Personality { persona: 8 });
    stand.ok(Op::SetSid {});
    assert_eq!(stand.model.host_changes(), ["+ process 1001: running"]);
    let child = stand.model.process(Actor::Child).unwrap();
    assert_eq!((child.umask(), child.personality(), child.keyring()), (0o77, 8, 2));
    assert!(child.leads_session());
    // In the embedder each of them shows.
    stand.play(Actor::Host);
    for (op, name) in [
        (Op::Umask { mode: 0o77 }, "umask"),
        (Op::SessionKeyring {}, "keyring"),
        (Op::Personality { persona: 8 }, "personality"),
        (Op::BlockSignals {}, "signals"),
        (Op::Chdir { path: c"/tmp" }, "working directory"),
        (Op::Dumpable { on: false }, "dumpable"),
        (Op::NoNewPrivs {}, "credentials"),
    ] {
        let before = stand.model.host_changes().len();
        stand.ok(op);
        let after = stand.model.host_changes();
        assert_eq!(after.len(), before + 1, "{op}");
        assert!(after.iter().any(|change| change.contains(name)), "{op}: {after:?}");
    }
}

/// A stub init ends with its payload, and without its lifeline.
#[test]
fn a_stub_init_ends_with_its_payload_or_its_owner() {
    let start = || {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(Op::Close { file: CHILD_END });
        stand.play(Actor::Child);
        stand.ok(Op::Adopt {});
        stand.ok(Op::SignalFd { into: Slot(13) });
        stand.ok(Op::SocketPair { one: Slot(14), other: Slot(15) });
        stand.ok(Op::Fork { pid: Slot(12) });
        stand.play(Actor::Payload);
        stand.ok(exec(b"/usr/bin/true\0"));
        stand.play(Actor::Child);
        let reap =
            |signals, gate| Op::Reap { payload: Slot(12), signals, lifeline: CHILD_END, control: Slot(14), gate };
        stand.no(reap(Slot(12), Slot(15)), Errno::EBADF);
        stand.no(reap(Slot(13), Slot(16)), Errno::EBADF);
        stand.ok(reap(Slot(13), Slot(15)));
        stand
    };
    let mut stand = start();
    stand.model.finish(Actor::Payload, WaitStatus::Exited(7));
    assert_eq!(stand.model.process(Actor::Child).unwrap().ended(), Some(WaitStatus::Exited(7)));
    let mut stand = start();
    stand.play(Actor::Host);
    stand.ok(Op::Close { file: HOST_END });
    assert_eq!(stand.model.process(Actor::Child).unwrap().ended(), Some(WaitStatus::Exited(137)));
    assert!(stand.model.process(Actor::Payload).unwrap().ended().is_some());
}

/// What a killed embedder leaves, its watcher clears up.
#[test]
fn the_watcher_runs_what_it_was_entrusted_with() {
    for dismissed in [false, true] {
        let mut stand = Stand::root();
        stand.open(c"/sys/fs/cgroup", Slot(30));
        stand.ok(Op::Mkdir { dir: At::Slot(Slot(30)), name: c"box", mode: 0o755, exist_ok: false });
        stand.ok(Op::SocketPair { one: Slot(14), other: Slot(15) });
        let mut ops = Vec::new();
        for op in [
            Op::Fail { errno: Errno::EIO },
            Op::Write { dir: At::Slot(Slot(1)), path: c"box/cgroup.kill", content: Blob(b"1") },
            Op::Unlink { dir: At::Slot(Slot(1)), path: c"box", directory: true },
        ] {
            op.write(&mut ops);
        }
        let watcher = Slot(14);
        stand.no(Op::Entrust { watcher: Slot(30), id: 1, ops: Blob(&ops) }, Errno::ENOTSOCK);
        stand.ok(Op::Entrust { watcher, id: 1, ops: Blob(&ops) });
        stand.ok(Op::EntrustFile { watcher, id: 1, place: Slot(1), file: Slot(30) });
        assert!(stand.model.host_changes().contains(&"+ entrusted 1".to_owned()));
        if dismissed {
            stand.ok(Op::Dismiss { watcher, id: 1 });
        }
        stand.model.kill_embedder();
        let left: Vec<_> = stand.model.host_changes().into_iter().filter(|line| !line.contains("embedder")).collect();
        assert_eq!(left.is_empty(), !dismissed, "{left:?}");
    }
}
