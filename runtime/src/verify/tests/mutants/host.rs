//! Mutants for the rules in `rules/host.rs`.

use skep_sys::abi::{Namespaces, SeccompFlags, signal};
use skep_sys::wire::{Blob, Reader};
use skep_sys::{At, Errno, Op, OpKind, Slot};

use super::{
    Mutant, append, append_before_fork, cut, drop, each, insert, keeping, last, mutant, place, places, rewrite, run,
    spawn_into,
};
use crate::plan::Phase::{Attend, Enter, Init, Payload, Prepare};
use crate::plan::{Plan, Undo, role};
use crate::spec::Profile;

pub(super) const ALL: &[Mutant] = &[
    mutant(62, "device policy v1/root", "nothing is denied first", |plan| {
        cut(
            plan,
            Prepare,
            places(plan, Prepare, |op| matches!(op, Op::Write { path, .. } if *path == c"devices.deny"))[0],
        )
    }),
    mutant(62, "device policy v1/root", "a disk is allowed", |plan| {
        each(plan, Prepare, OpKind::Write, |op| match op {
            Op::Write { dir, path, .. } if path == c"devices.allow" => {
                Op::Write { dir, path, content: Blob(b"b 8:0 rw") }
            }
            other => other,
        })
    }),
    mutant(62, "device policy v2/root", "a program that allows everything", |plan| {
        each(plan, Prepare, OpKind::BpfDevice, |op| match op {
            Op::BpfDevice { into, .. } => {
                let program = Blob(&[0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
                Op::BpfDevice { program, into }
            }
            other => other,
        })
    }),
    mutant(62, "device policy v2/root", "a program that allows a disk", |plan| {
        use crate::compile::device_policy::{Allowed, program, usual};
        let access = usual(Profile::Strict).map(|allowed| allowed.access).next().unwrap();
        let disk = Allowed { block: true, major: 259, minor: Some(1 << 19), access };
        let program: &[u8] = program(&usual(Profile::Strict).chain([disk]).collect::<Vec<_>>()).leak();
        each(plan, Prepare, OpKind::BpfDevice, |op| match op {
            Op::BpfDevice { into, .. } => Op::BpfDevice { program: Blob(program), into },
            other => other,
        })
    }),
    mutant(62, "device policy v2/root", "a program on no group", |plan| drop(plan, Prepare, OpKind::BpfAttach)),
    mutant(27, "default", "a stream that nobody opened", |plan| {
        each(plan, Enter, OpKind::Await, |_| Op::Await { from: role::CONTROL_HOST })
    }),
    mutant(27, "default", "a slot beyond the table", |plan| {
        each(plan, Init, OpKind::SignalFd, |_| Op::SignalFd { into: Slot(9999) })
    }),
    mutant(27, "default", "a slot that was closed", |plan| insert(plan, Enter, 4, Op::Close { file: role::CONTROL })),
    mutant(27, "default", "a process id for a descriptor", |plan| {
        append(plan, Init, Op::Close { file: role::PAYLOAD })
    }),
    mutant(27, "default", "the clone is given what is not there", |plan| keeping(plan, role::NOTIFY)),
    mutant(27, "default", "no root", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::FsMount { into: role::ROOT, .. }))[0];
        cut(plan, Enter, at)
    }),
    mutant(28, "default", "the embedder changes its umask", |plan| insert(plan, Prepare, 0, Op::Umask { mode: 0 })),
    mutant(28, "default", "the embedder changes its ids", |plan| insert(plan, Attend, 0, Op::SetResUid { uid: 0 })),
    mutant(28, "default", "the embedder enters a namespace", |plan| {
        insert(plan, Attend, 0, Op::SetNs { namespace: role::PIDFD, kind: Namespaces::MOUNT })
    }),
    mutant(28, "default", "the child speaks to the watcher", |plan| {
        append_before_fork(plan, Op::Dismiss { watcher: role::CONTROL, id: 0 })
    }),
    mutant(89, "default", "the child makes a device node", |plan| {
        insert(
            plan,
            Enter,
            place(plan, Enter, OpKind::Fchdir),
            Op::Mknod { dir: At::Slot(role::DEV), name: c"mem", mode: 0o20666, major: 1, minor: 1 },
        )
    }),
    mutant(28, "limits v2", "the undo kills another way", |plan| {
        undo(plan, |all| all.iter_mut().for_each(|undo| undo.op = flat(Op::CloseFrom { first: 0 })))
    }),
    mutant(29, "default", "a stand-in", |plan| plan.with_fault(plan.section(Enter).first + 3, Errno::EPERM)),
    mutant(29, "default", "the child becomes a watcher", |plan| {
        append_before_fork(plan, Op::Watch { socket: role::CONTROL })
    }),
    mutant(29, "default", "the child serves whoever asks", |plan| {
        append_before_fork(plan, Op::Serve { socket: role::CONTROL })
    }),
    mutant(29, "default", "an undo that does nothing", |plan| {
        undo(plan, |all| all.iter_mut().for_each(|undo| undo.op = flat(Op::Exit { status: 0 })))
    }),
    mutant(32, "limits v2", "a cgroup stays", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::RemoveGroup as u8))
    }),
    mutant(32, "default/root", "the ids stay locked", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::ReleaseIds as u8))
    }),
    mutant(32, "default/root", "the ids are given back while the child lives", |plan| {
        undo(plan, |all| {
            let release = all.iter().position(|undo| undo.op[0] == OpKind::ReleaseIds as u8).unwrap();
            let release = all.remove(release);
            all.push(release);
        })
    }),
    mutant(32, "default/root", "other ids are given back than are locked", |plan| {
        undo(plan, |all| {
            for undo in all.iter_mut().filter(|undo| undo.op[0] == OpKind::ReleaseIds as u8) {
                undo.op = flat(Op::ReleaseIds { file: role::RANGE, path: c"/run/skep-ids", first: 1, count: 1 });
            }
        })
    }),
    mutant(32, "default/root", "a lock that the handle does not keep", |plan| {
        each(plan, Prepare, OpKind::LockIds, |op| match op {
            Op::LockIds { path, first, count, .. } => Op::LockIds { path, first, count, into: role::THREE },
            other => other,
        })
    }),
    mutant(32, "default", "the child lives on", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::PidfdSignal as u8))
    }),
    mutant(32, "default", "waits before it kills", |plan| undo(plan, |all| all.reverse())),
    mutant(32, "default", "another signal", |plan| {
        undo(plan, |all| {
            for undo in all.iter_mut().filter(|undo| undo.op[0] == OpKind::PidfdSignal as u8) {
                undo.op = flat(Op::PidfdSignal { process: role::PIDFD, signal: signal::TERM });
            }
        })
    }),
    mutant(32, "limits v2", "removes what is not its own", |plan| {
        undo(plan, |all| {
            for undo in all.iter_mut().filter(|undo| undo.op[0] == OpKind::RemoveGroup as u8) {
                undo.op = flat(Op::RemoveGroup { dir: At::Cwd, path: c"/sys/fs/cgroup/user.slice" });
            }
        })
    }),
    mutant(32, "limits v2", "nobody clears up after the embedder", |plan| drop(plan, Prepare, OpKind::Entrust)),
    mutant(32, "payload is process 1", "nobody kills after the embedder", |plan| {
        let mut changed = drop(plan, Prepare, OpKind::Entrust);
        changed.watch.clear();
        changed
    }),
    mutant(32, "limits v2", "entrusted after the fact", |plan| {
        let entrust = plan.section(Prepare).iter().next().unwrap().1.unwrap();
        insert(&cut(plan, Prepare, 0), Prepare, last(plan, Prepare, OpKind::Spawn) - 1, entrust)
    }),
    mutant(32, "limits v2", "the watcher has no pidfd", |plan| drop(plan, Attend, OpKind::EntrustFile)),
    mutant(32, "limits v2", "the watcher runs something else", |plan| {
        let mut changed = plan.clone();
        changed.watch = flat(Op::PidfdSignal { process: Slot(0), signal: signal::KILL });
        changed
    }),
    mutant(32, "host namespaces", "nothing kills the others", |plan| {
        let mut changed = undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::KillGroup as u8));
        changed.watch = without_kill(&changed.watch);
        changed
    }),
    mutant(32, "freezing v1", "the watcher leaves it frozen", |plan| {
        let mut changed = plan.clone();
        changed.watch = without_kill(&changed.watch);
        changed
    }),
    mutant(32, "host namespaces", "kills a group of others", |plan| {
        undo(plan, |all| {
            for undo in all.iter_mut().filter(|undo| undo.op[0] == OpKind::KillGroup as u8) {
                undo.op = flat(Op::KillGroup { dir: At::Cwd, path: c"/sys/fs/cgroup/user.slice" });
            }
        })
    }),
    mutant(45, "freezing v2", "a group that nobody asked for", |plan| {
        let mut changed = drop(plan, Prepare, OpKind::Write);
        changed.report = crate::Report::default();
        changed
    }),
    mutant(51, "every limit v2", "no weight, and the report says there is", |plan| {
        cut(
            plan,
            Prepare,
            places(plan, Prepare, |op| matches!(op, Op::Write { path, .. } if *path == c"cpu.weight"))[0],
        )
    }),
    mutant(51, "every limit v1", "no limit on a device, and the report says there is", |plan| {
        let throttles =
            |op: &Op<'_>| matches!(op, Op::Write { path, .. } if path.to_bytes().starts_with(b"blkio.throttle"));
        let first = cut(plan, Prepare, places(plan, Prepare, throttles)[0]);
        cut(&first, Prepare, places(&first, Prepare, throttles)[0])
    }),
    mutant(66, "delegated/root", "given to the host's root", |plan| {
        each(plan, Prepare, OpKind::Chown, |op| match op {
            Op::Chown { file, .. } => Op::Chown { file, uid: 0, gid: 0 },
            other => other,
        })
    }),
    mutant(66, "delegated/root", "its limits are given as well", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"cgroup.threads" => {
                Op::OpenAt2 { dir, path: c"pids.max", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(66, "delegated/root", "given in part", |plan| {
        cut(plan, Prepare, places(plan, Prepare, |op| matches!(op, Op::Chown { .. }))[3])
    }),
    mutant(36, "default", "bytes that are no op", |plan| {
        let mut changed = plan.clone();
        changed.sections[Init as usize].push(255);
        changed
    }),
    mutant(36, "default", "another number of ops", |plan| {
        let mut changed = plan.clone();
        changed.counts[Payload as usize] += 1;
        changed
    }),
    mutant(36, "default", "an undo that is no op", |plan| {
        undo(plan, |all| all.iter_mut().for_each(|undo| undo.op.truncate(1)))
    }),
    mutant(36, "limits v2", "watcher's ops that are none", |plan| {
        let mut changed = plan.clone();
        changed.watch.push(255);
        changed
    }),
    mutant(45, "limits v2", "the child is born elsewhere", |plan| {
        each(plan, Prepare, OpKind::Spawn, |op| match op {
            Op::Spawn { namespaces, joins, image, plan, keep, ambient, pidfd, pid, .. } => {
                Op::Spawn { namespaces, joins, cgroup: None, image, plan, keep, ambient, pidfd, pid }
            }
            other => other,
        })
    }),
    mutant(45, "limits v2", "the child is born in what may be no cgroup", |plan| {
        cut(plan, Prepare, run(plan, Prepare, &[OpKind::OpenAt2, OpKind::Prove, OpKind::Write]) + 1)
    }),
    mutant(45, "limits v1", "the child is not moved", |plan| drop(plan, Attend, OpKind::WritePid)),
    mutant(45, "pids by default", "a group without a limit", |plan| drop(plan, Prepare, OpKind::Write)),
    mutant(45, "limits v2", "the parent is limited", |plan| {
        cut(plan, Prepare, run(plan, Prepare, &[OpKind::Mkdir, OpKind::OpenAt2]) + 1)
    }),
    mutant(51, "default", "no filter, and the report says there is", |plan| drop(plan, Payload, OpKind::Seccomp)),
    mutant(51, "default", "no keyring, and the report says there is", |plan| drop(plan, Enter, OpKind::SessionKeyring)),
    mutant(51, "limits v2", "no limit of swap, and the report says there is", |plan| {
        cut(
            plan,
            Prepare,
            places(plan, Prepare, |op| matches!(op, Op::Write { path, .. } if *path == c"memory.swap.max"))[0],
        )
    }),
    mutant(51, "default", "the namespace that the report says", |plan| {
        spawn_into(plan, |kinds| kinds.without(Namespaces::IPC))
    }),
    mutant(51, "no filter", "a filter that the report denies", |plan| {
        let filter = Op::Seccomp { program: Blob(b"12345678"), flags: SeccompFlags::NONE, listener: None };
        insert(plan, Payload, place(plan, Payload, OpKind::CapSet), filter)
    }),
    mutant(51, "default", "a mask less than the report says", |plan| {
        let masks = places(plan, Enter, |op| matches!(op, Op::OpenTree { path, .. } if *path == c"void"));
        rewrite(plan, Enter, |place, op| if place == masks[0] || place == masks[0] + 1 { vec![] } else { vec![op] })
    }),
    mutant(51, "capabilities of root", "another bounding set than the report says", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        for item in plan.report.items() {
            match &item.outcome {
                crate::Outcome::Applied(_) if item.name == "capabilities" => {
                    changed.report.applied("capabilities", "bounding none, ambient none");
                }
                crate::Outcome::Applied(detail) => changed.report.applied(&item.name, detail),
                crate::Outcome::Unsupported(why) => changed.report.unsupported(&item.name, why),
                crate::Outcome::Off(why) => changed.report.off(&item.name, why),
            }
        }
        changed
    }),
    mutant(51, "default", "another umask than the report says", |plan| {
        each(plan, Enter, OpKind::Umask, |_| Op::Umask { mode: 0 })
    }),
    mutant(51, "default", "more processes than the report says", |plan| {
        each(plan, Enter, OpKind::SetLimit, |op| match op {
            Op::SetLimit { resource, .. } if resource == skep_sys::abi::Resource::NPROC => {
                Op::SetLimit { resource, soft: 5000, hard: 5000 }
            }
            other => other,
        })
    }),
    mutant(51, "root/root", "another range than the report says", |plan| {
        each(plan, Attend, OpKind::Write, |op| match op {
            Op::Write { dir, path, .. } => Op::Write { dir, path, content: Blob(b"0 100000 65536\n") },
            other => other,
        })
    }),
    mutant(51, "personality and score", "another score than the report says", |plan| {
        each(plan, Attend, OpKind::Write, |op| match op {
            Op::Write { dir, path, .. } if path == c"oom_score_adj" => Op::Write { dir, path, content: Blob(b"5") },
            other => other,
        })
    }),
    mutant(51, "no written code", "written code, and the report says there is none", |plan| {
        drop(plan, Enter, OpKind::DenyWriteExecute)
    }),
    mutant(51, "default", "a score that the report does not name", |plan| {
        let (dir, at) = (At::Slot(role::PROCESS), last(plan, Attend, OpKind::Write));
        insert(plan, Attend, at, Op::Write { dir, path: c"oom_score_adj", content: Blob(b"5") })
    }),
    mutant(51, "default", "another machine, and the report says nothing", |plan| {
        each(plan, Enter, OpKind::Personality, |_| Op::Personality { persona: 8 })
    }),
    mutant(51, "default", "a report that says nothing", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
];

pub(super) fn undo(plan: &Plan, change: fn(&mut Vec<Undo>)) -> Plan {
    let mut changed = plan.clone();
    change(&mut changed.undo);
    changed
}

/// The watcher's ops without those that kill a group.
fn without_kill(watch: &[u8]) -> Vec<u8> {
    let (mut reader, mut kept) = (Reader::new(watch), Vec::new());
    while let Some(op) = Op::read(&mut reader) {
        if op.kind() != OpKind::KillGroup {
            op.write(&mut kept);
        }
    }
    kept
}

fn flat(op: Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    op.write(&mut bytes);
    bytes
}
