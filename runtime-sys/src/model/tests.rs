//! Whole starts on the model, and every single fault of one.

use super::*;
use crate::abi::{CapabilitySet, MountAttrs, OpenFlags, Propagation, Seals, SeccompFlags, SecureBits};
use crate::faulty::{Faulty, plausible};
use crate::program::{Child, Section, rehearse};
use crate::recorder::Recorder;
use crate::wire::{Blob, Numbers, Secret, Strings};

const NONE: CapabilitySet = CapabilitySet::EMPTY;
const IMAGE: Slot = Slot(0);
const PLAN: Slot = Slot(1);
const PIDFD: Slot = Slot(2);
const PID: Slot = Slot(3);
const HOST_END: Slot = Slot(4);
const CHILD_END: Slot = Slot(5);
const PROCESS: Slot = Slot(6);
const GROUPS: Slot = Slot(7);
const USR: Slot = Slot(8);
const ROOT: Slot = Slot(9);
const TREE: Slot = Slot(10);
const FORKED: Slot = Slot(11);
const GATE: Slot = Slot(22);
const GATE_PAYLOAD: Slot = Slot(23);
const SIGNALS: Slot = Slot(12);

struct Start {
    prepare: Vec<u8>,
    attend: Vec<u8>,
    enter: Vec<u8>,
    payload: Vec<u8>,
    init: Vec<u8>,
    undo: Vec<Vec<u8>>,
}

fn flat(ops: &[Op<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.iter().for_each(|op| op.write(&mut bytes));
    bytes
}

fn fresh<'a>(kind: &'a core::ffi::CStr, into: Slot) -> [Op<'a>; 3] {
    [
        Op::FsOpen { kind, into: Slot(20) },
        Op::FsCreate { fs: Slot(20) },
        Op::FsMount { fs: Slot(20), attrs: MountAttrs::NOSUID, into },
    ]
}

/// A whole container, as small as one can be: what an embedder's plan
/// does, with a stub init, for root with a range of ids.
fn start() -> Start {
    let keep: Vec<u8> = [CHILD_END, USR].iter().flat_map(|slot| u32::from(slot.0).to_le_bytes()).collect();
    let path = OpenFlags::PATH.with(OpenFlags::DIRECTORY);
    let open =
        |name, into| Op::OpenAt2 { dir: At::Cwd, path: name, flags: path, mode: 0, resolve: Resolve::NONE, into };
    let mkdir = |name| Op::Mkdir { dir: At::Slot(ROOT), name, mode: 0o755, exist_ok: false };
    let recursive = TreeFlags::CLONE.with(TreeFlags::RECURSIVE);
    let none = MountAttrs::NONE;
    let prepare = [
        open(c"/sys/fs/cgroup", GROUPS),
        Op::Mkdir { dir: At::Slot(GROUPS), name: c"box", mode: 0o755, exist_ok: false },
        Op::Write { dir: At::Slot(GROUPS), path: c"box/pids.max", content: Blob(b"64") },
        open(c"/sys/fs/cgroup/box", GROUPS),
        Op::OpenTree { dir: At::Cwd, path: c"/usr", flags: recursive, into: USR },
        Op::MemFd { name: c"B", content: Blob(b"B"), seals: Seals::WRITE, executable: true, into: IMAGE },
        Op::MemFd { name: c"plan", content: Blob(b"plan"), seals: Seals::NONE, executable: false, into: PLAN },
        Op::SocketPair { one: HOST_END, other: CHILD_END },
        Op::Spawn {
            namespaces: Namespaces::ALL,
            joins: crate::wire::Numbers::NONE,
            cgroup: Some(GROUPS),
            image: IMAGE,
            plan: PLAN,
            keep: Numbers::new(&keep).unwrap(),
            ambient: CapabilitySet::up_to(40),
            pidfd: PIDFD,
            pid: PID,
        },
        Op::Close { file: CHILD_END },
    ];
    let map = |path| Op::Write { dir: At::Slot(PROCESS), path, content: Blob(b"0 100000 65536") };
    let attend = [
        Op::OpenProcess { pid: PID, pidfd: PIDFD, into: PROCESS },
        map(c"uid_map"),
        map(c"gid_map"),
        Op::Release { to: HOST_END },
    ];
    let mut enter = vec![
        Op::Adopt {},
        Op::Await { from: CHILD_END },
        Op::Unshare { namespaces: Namespaces::CGROUP },
        Op::SetGroups { groups: Numbers::new(b"").unwrap() },
        Op::SetResGid { gid: 0 },
        Op::SetResUid { uid: 0 },
        Op::MountSetAttr {
            dir: At::Cwd,
            path: c"/",
            flags: TreeFlags::RECURSIVE,
            set: none,
            clear: none,
            propagation: Propagation::PRIVATE,
            userns: None,
        },
    ];
    enter.extend(fresh(c"tmpfs", ROOT));
    enter.extend([
        Op::MoveMount { from: ROOT, dir: At::Cwd, path: c"/tmp" },
        mkdir(c"usr"),
        mkdir(c"proc"),
        Op::MoveMount { from: USR, dir: At::Slot(ROOT), path: c"usr" },
    ]);
    enter.extend(fresh(c"proc", TREE));
    enter.extend([
        Op::MoveMount { from: TREE, dir: At::Slot(ROOT), path: c"proc" },
        Op::Fchdir { dir: ROOT },
        Op::PivotRoot {},
        Op::UmountOld {},
        Op::ProveRoot {},
        Op::Chdir { path: c"/" },
        Op::HostName { name: c"box" },
        Op::SetSid {},
        Op::ResetSignals {},
        Op::SessionKeyring {},
        Op::SignalFd { into: SIGNALS },
        Op::SocketPair { one: GATE, other: GATE_PAYLOAD },
        Op::Fork { pid: FORKED },
    ]);
    let programs = Strings::new(b"/usr/local/bin/true\0/usr/bin/true\0").unwrap();
    let last = [
        Op::DropBounding { keep: NONE },
        Op::SetSecureBits { bits: SecureBits::NOROOT.with(SecureBits::NOROOT_LOCKED) },
        Op::CapSet { effective: NONE, permitted: NONE, inheritable: NONE },
        Op::AmbientSet { capabilities: NONE },
        Op::NoNewPrivs {},
        Op::Seccomp { program: Blob(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f]), flags: SeccompFlags::NONE, listener: None },
    ];
    let mut payload = vec![Op::SetSid {}, Op::Await { from: GATE_PAYLOAD }];
    payload.extend(last);
    payload.extend([
        Op::ProveCredentials {
            uid: 0,
            gid: 0,
            effective: NONE,
            permitted: NONE,
            bounding: NONE,
            ambient: NONE,
            securebits: SecureBits::NOROOT.with(SecureBits::NOROOT_LOCKED),
            no_new_privs: true,
        },
        Op::Announce { to: CHILD_END },
        Op::Exec { programs, arguments: programs, environment: Secret(Strings::new(b"").unwrap()) },
    ]);
    let mut init = vec![Op::Dumpable { on: false }];
    init.extend(last);
    init.push(Op::Release { to: GATE });
    // One socket serves as both here.
    init.push(Op::Reap { payload: FORKED, signals: SIGNALS, lifeline: CHILD_END, control: GATE_PAYLOAD, gate: GATE });
    let undo = [
        Op::PidfdSignal { process: PIDFD, signal: 9 },
        Op::PidfdWait { process: PIDFD, timeout_ms: 1000, into: Slot(21) },
        Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/sys/fs/cgroup",
            flags: path,
            mode: 0,
            resolve: Resolve::NONE,
            into: GROUPS,
        },
        Op::Write { dir: At::Slot(GROUPS), path: c"box/cgroup.kill", content: Blob(b"1") },
        Op::Unlink { dir: At::Slot(GROUPS), path: c"box", directory: true },
    ];
    Start {
        prepare: flat(&prepare),
        attend: flat(&attend),
        enter: flat(&enter),
        payload: flat(&payload),
        init: flat(&init),
        undo: undo.iter().map(|op| flat(&[*op])).collect(),
    }
}

fn rehearse_start<K: Stage>(start: &Start, kernel: &mut K, slots: &mut Slots<'_>) -> Result<(), Errno> {
    let section = |ops| Section { first: 0, ops };
    let child = Child { enter: section(&start.enter), payload: section(&start.payload), init: section(&start.init) };
    let done = rehearse(kernel, section(&start.prepare), section(&start.attend), &child, slots);
    done.map_err(|failure| failure.errno)
}

#[test]
fn a_whole_start_ends_as_asked() {
    let start = start();
    let mut recorder = Recorder::around(Model::new());
    let mut cells = [Cell::Empty; 24];
    let result = rehearse_start(&start, &mut recorder, &mut Slots::new(&mut cells));
    assert_eq!(result, Ok(()), "{recorder}");
    let (model, records) = recorder.into_parts();
    assert!(records.len() > 50);
    let payload = model.process(Actor::Payload).unwrap();
    let seen = payload.credentials();
    assert_eq!([seen.effective, seen.permitted, seen.inheritable, seen.bounding, seen.ambient], [NONE; 5]);
    assert_eq!((seen.uid.real, seen.filters, seen.no_new_privs), (0, 1, true));
    assert_eq!(payload.exec().map(|exec| exec.program.as_str()), Some("/usr/bin/true"));
    assert_eq!(payload.descriptors(), []);
    assert_eq!(payload.hostname(), "box");
    let points: Vec<_> =
        payload.mountinfo().iter().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect();
    assert_eq!(points, ["/usr", "/", "/proc"]);
    let host = model.process(Actor::Host).unwrap();
    for (kind, name) in Namespaces::NAMES.iter().filter(|row| row.0 != Namespaces::TIME) {
        assert_ne!(host.namespace(*kind), payload.namespace(*kind), "{name}");
    }
    assert!(!model.process(Actor::Child).unwrap().credentials().dumpable);
}

/// Every single fault: each op fails with each errno that it can, and the
/// host is as before once the undo has run.
#[test]
fn row_121_after_any_fault_and_the_undo_the_host_is_as_before() {
    let start = start();
    let mut base = Model::new();
    base.settle();
    let mut recorder = Recorder::around(base.clone());
    let mut cells = [Cell::Empty; 24];
    rehearse_start(&start, &mut recorder, &mut Slots::new(&mut cells)).unwrap();
    for (k, record) in recorder.records().iter().enumerate() {
        for errno in plausible(record.kind) {
            let mut kernel = Faulty::new(base.clone(), k, *errno);
            let mut cells = [Cell::Empty; 24];
            let mut slots = Slots::new(&mut cells);
            assert_eq!(rehearse_start(&start, &mut kernel, &mut slots), Err(*errno), "{record}");
            assert!(kernel.fired());
            let model = kernel.inner_mut();
            model.act_as(Actor::Host);
            for op in &start.undo {
                let op = Op::read(&mut crate::wire::Reader::new(op)).unwrap();
                let _ = model.call(&op, &mut slots);
            }
            assert!(model.host_changes().is_empty(), "{record} {errno}: {:?}", model.host_changes());
        }
    }
}

#[test]
fn an_embedder_that_dies_takes_its_container_along() {
    let mut model = Model::new();
    let mut cells = [Cell::Empty; 24];
    rehearse_start(&start(), &mut model, &mut Slots::new(&mut cells)).unwrap();
    model.kill_embedder();
    assert!(model.process(Actor::Payload).unwrap().ended().is_some());
    let left = model.host_changes();
    assert!(left.iter().all(|line| line.contains("cgroup") || line.contains("embedder")), "{left:?}");
}

#[test]
fn whoever_has_not_started_or_has_ended_performs_nothing() {
    let mut model = Model::new();
    let mut slots = Slots::new(&mut []);
    for actor in [Actor::Child, Actor::Payload] {
        model.act_as(actor);
        assert_eq!(model.call(&Op::Umask { mode: 0 }, &mut slots), Err(Errno::ESRCH));
    }
    model.act_as(Actor::Host);
    assert_eq!(model.call(&Op::Fail { errno: Errno::ENOSPC }, &mut slots), Err(Errno::ENOSPC));
    model.finish(Actor::Host, WaitStatus::Exited(0));
    assert_eq!(model.call(&Op::Umask { mode: 0 }, &mut slots), Err(Errno::ESRCH));
}

#[test]
fn the_builder_makes_what_it_says() {
    let model = Model::as_user(7)
        .directory("/a/b")
        .file("/a/c", "text")
        .symlink("/a/link", "c")
        .device("/a/null", 1, 3)
        .owned("/a/c", 7, 8, 0o600)
        .tmpfs("/a/b");
    let host = model.process(Actor::Host).unwrap();
    let kinds = ["/a/b", "/a/c", "/a/link", "/a/null", "/a/none"].map(|path| host.kind(path));
    assert_eq!(kinds, [Some("directory"), Some("file"), Some("file"), Some("device"), None]);
    assert_eq!(host.read("/a/link").as_deref(), Some(b"text".as_slice()));
    assert!(host.mountinfo().iter().any(|line| line.contains(" /a/b ") && line.contains("- tmpfs")));
    assert_eq!(host.credentials().uid.real, 7);
    assert!(model.host_changes().is_empty(), "what the author adds is the beginning");
}
