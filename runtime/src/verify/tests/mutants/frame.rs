//! Mutants for the rules in `rules/frame.rs`.

use skep_sys::abi::{Namespaces, OpenFlags};
use skep_sys::wire::{Numbers, Strings};
use skep_sys::{Op, OpKind, Proof, Slot};

use super::{
    Mutant, append, append_before_fork, cut, drop, each, earlier, insert, keeping, last, mutant, place, places,
    spawn_into,
};
use crate::plan::Phase::{Attend, Enter, Init, Payload, Prepare};
use crate::plan::{Plan, role};

/// With other slots for the lifeline, the conversation and the gate.
fn reaping(plan: &Plan, change: impl Fn([Slot; 3]) -> [Slot; 3]) -> Plan {
    each(plan, Init, OpKind::Reap, |op| match op {
        Op::Reap { payload, signals, lifeline, control, gate } => {
            let [lifeline, control, gate] = change([lifeline, control, gate]);
            Op::Reap { payload, signals, lifeline, control, gate }
        }
        other => other,
    })
}

pub(super) const ALL: &[Mutant] = &[
    mutant(1, "default", "no adopt", |plan| drop(plan, Enter, OpKind::Adopt)),
    mutant(1, "default", "adopt after the wait", |plan| earlier(plan, Enter, OpKind::Await, OpKind::Adopt)),
    mutant(2, "default", "no wait", |plan| drop(plan, Enter, OpKind::Await)),
    mutant(2, "default", "work before the wait", |plan| earlier(plan, Enter, OpKind::SetSid, OpKind::Await)),
    mutant(2, "time namespace", "namespaces before the wait", |plan| {
        earlier(plan, Enter, OpKind::Unshare, OpKind::Await)
    }),
    mutant(6, "default", "no release", |plan| drop(plan, Attend, OpKind::Release)),
    mutant(6, "default", "release before the maps", |plan| earlier(plan, Attend, OpKind::Release, OpKind::Write)),
    mutant(6, "default", "two releases", |plan| append(plan, Attend, Op::Release { to: role::CONTROL_HOST })),
    mutant(22, "default", "no exec", |plan| drop(plan, Payload, OpKind::Exec)),
    mutant(22, "default", "no announcement", |plan| drop(plan, Payload, OpKind::Announce)),
    mutant(22, "default", "announced too early", |plan| earlier(plan, Payload, OpKind::Announce, OpKind::Seccomp)),
    mutant(22, "default", "something after the exec", |plan| append(plan, Payload, Op::SetSid {})),
    mutant(22, "default", "no program", |plan| {
        each(plan, Payload, OpKind::Exec, |op| match op {
            Op::Exec { arguments, environment, .. } => {
                Op::Exec { programs: Strings::new(b"").unwrap(), arguments, environment }
            }
            other => other,
        })
    }),
    mutant(25, "default", "no clone", |plan| drop(plan, Prepare, OpKind::Spawn)),
    mutant(25, "default", "something after the clone", |plan| {
        append(plan, Prepare, Op::Close { file: role::STDIO_HOST[0] })
    }),
    mutant(25, "default/root", "ambient without a user namespace", |plan| {
        spawn_into(plan, |kinds| kinds.without(Namespaces::USER))
    }),
    mutant(34, "default", "no mount namespace", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::MOUNT))),
    mutant(34, "default", "cgroup namespace forgotten", |plan| drop(plan, Enter, OpKind::Unshare)),
    mutant(34, "default", "cgroup namespace nobody asked for", |plan| {
        spawn_into(plan, |kinds| kinds.without(Namespaces::CGROUP))
    }),
    mutant(34, "default", "a second mount namespace", |plan| {
        each(plan, Enter, OpKind::Unshare, |_| Op::Unshare { namespaces: Namespaces::CGROUP.with(Namespaces::MOUNT) })
    }),
    mutant(34, "time namespace", "clocks for children only", |plan| drop(plan, Enter, OpKind::SetNs)),
    mutant(34, "default", "clocks that nobody made", |plan| {
        let plan = append_before_fork(plan, Op::SetNs { namespace: role::ONE, kind: Namespaces::TIME });
        let at = last(&plan, Enter, OpKind::SetNs);
        let open = Op::OpenAt2 {
            dir: skep_sys::At::Slot(role::PROC),
            path: crate::plan::OWN_TIME,
            flags: OpenFlags::NONE,
            mode: 0,
            resolve: skep_sys::abi::Resolve::NONE,
            into: role::ONE,
        };
        insert(&plan, Enter, at, open)
    }),
    mutant(12, "time namespace", "clocks of somebody else", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == crate::plan::OWN_TIME => {
                Op::OpenAt2 { dir, path: c"2/ns/time", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(35, "default", "the host's name", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::UTS))),
    mutant(35, "default", "the host's interfaces", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::NETWORK))),
    mutant(35, "default", "the host's queues", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::IPC))),
    mutant(35, "joined, as its own/root", "shows and changes the caller's network", |plan| {
        each(plan, Prepare, OpKind::Spawn, |op| match op {
            Op::Spawn { namespaces, cgroup, image, plan, keep, ambient, pidfd, pid, .. } => {
                let joins = Numbers::new(&[]).unwrap();
                Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid }
            }
            other => other,
        })
    }),
    mutant(37, "default", "a stream is missing", |plan| drop(plan, Enter, OpKind::Dup)),
    mutant(37, "default", "a fourth descriptor", |plan| {
        insert(plan, Enter, place(plan, Enter, OpKind::Await), Op::Dup { file: role::CONTROL, number: 3 })
    }),
    mutant(37, "default", "the control socket for standard input", |plan| {
        each(plan, Enter, OpKind::Dup, |op| match op {
            Op::Dup { number: 0, .. } => Op::Dup { file: role::CONTROL, number: 0 },
            other => other,
        })
    }),
    mutant(37, "default", "a root descriptor for the payload", |plan| {
        insert(plan, Payload, 0, Op::Dup { file: role::ROOT, number: 0 })
    }),
    mutant(38, "default", "the embedder's end", |plan| keeping(plan, role::CONTROL_HOST)),
    mutant(38, "default", "stage B", |plan| keeping(plan, role::IMAGE)),
    mutant(38, "limits v2", "an open cgroup", |plan| keeping(plan, role::CGROUP)),
    mutant(38, "subordinate", "an open program of the host", |plan| keeping(plan, role::ONE)),
    mutant(38, "default/root", "the lock on ids", |plan| keeping(plan, role::RANGE)),
    mutant(38, "default", "a slot twice", |plan| keeping(plan, role::CONTROL)),
    mutant(46, "default", "release into the lifeline", |plan| {
        each(plan, Attend, OpKind::Release, |_| Op::Release { to: role::LIFELINE_HOST })
    }),
    mutant(46, "default", "wait on a stream", |plan| {
        each(plan, Enter, OpKind::Await, |_| Op::Await { from: role::STDIO[0] })
    }),
    mutant(46, "default", "the control socket for a lifeline", |plan| {
        reaping(plan, |[_, control, gate]| [role::CONTROL, control, gate])
    }),
    mutant(46, "default", "a descriptor into the lifeline", |plan| {
        append_before_fork(plan, Op::SendFile { to: role::LIFELINE, file: role::STDIO[0], place: role::RECEIVED })
    }),
    mutant(37, "descriptors", "a descriptor under the number of another", |plan| {
        each(plan, Enter, OpKind::Dup, |op| match op {
            Op::Dup { file, number: 9 } => Op::Dup { file, number: 4 },
            other => other,
        })
    }),
    mutant(37, "descriptors", "numbers that may be needed", |plan| drop(plan, Enter, OpKind::Vacate)),
    mutant(37, "descriptors", "a descriptor for a stream", |plan| {
        each(plan, Enter, OpKind::Dup, |op| match op {
            Op::Dup { file, number: 9 } => Op::Dup { file, number: 1 },
            other => other,
        })
    }),
    mutant(38, "descriptors", "a descriptor that nobody looked at", |plan| {
        let looks = places(plan, Prepare, |op| matches!(op, Op::Prove { proof: Proof::Passable, .. }));
        cut(plan, Prepare, looks[0])
    }),
    mutant(67, "held", "nobody is told", |plan| drop(plan, Enter, OpKind::Arrive)),
    mutant(67, "held", "not held", |plan| cut(plan, Enter, last(plan, Enter, OpKind::Await))),
    mutant(67, "default", "held unasked", |plan| append_before_fork(plan, Op::Await { from: role::CONTROL })),
    mutant(67, "held", "held before all is made", |plan| {
        let (arrive, wait) = (Op::Arrive { to: role::CONTROL }, Op::Await { from: role::CONTROL });
        let plan = cut(plan, Enter, last(plan, Enter, OpKind::Await));
        let plan = drop(&plan, Enter, OpKind::Arrive);
        let plan = insert(&plan, Enter, place(&plan, Enter, OpKind::PivotRoot) - 1, wait);
        insert(&plan, Enter, place(&plan, Enter, OpKind::PivotRoot) - 2, arrive)
    }),
    mutant(78, "default", "nobody waits", |plan| drop(plan, Payload, OpKind::Await)),
    mutant(78, "default", "no word", |plan| drop(plan, Init, OpKind::Release)),
    mutant(78, "default", "the word before the filter", |plan| earlier(plan, Init, OpKind::Release, OpKind::Seccomp)),
    mutant(78, "default", "work before the word", |plan| earlier(plan, Payload, OpKind::Chdir, OpKind::Await)),
    mutant(78, "payload is process 1", "a wait for nobody", |plan| {
        insert(plan, Payload, 0, Op::Await { from: role::CONTROL })
    }),
    mutant(46, "default", "a word to oneself", |plan| {
        each(plan, Init, OpKind::Release, |_| Op::Release { to: role::LIFELINE })
    }),
    mutant(46, "default", "the gate for a lifeline", |plan| {
        reaping(plan, |[_, control, gate]| [role::GATE_PAYLOAD, control, gate])
    }),
    mutant(46, "default", "the conversation is kept", |plan| {
        reaping(plan, |[lifeline, _, gate]| [lifeline, gate, gate])
    }),
    mutant(78, "default", "something after the word", |plan| {
        let at = place(plan, Init, OpKind::Reap);
        insert(plan, Init, at, Op::Close { file: role::LIFELINE })
    }),
    mutant(63, "default", "a stream goes back", |plan| {
        append_before_fork(plan, Op::SendFile { to: role::CONTROL, file: role::STDIO[0], place: role::STDIO_HOST[0] })
    }),
    mutant(46, "notify", "an abstract name", |plan| {
        each(plan, Enter, OpKind::Bind, |_| Op::Bind { socket: role::NOTIFY, path: c"notify" })
    }),
    mutant(68, "joined/root", "a namespace that is not proved", |plan| {
        let at = places(plan, Prepare, |op| matches!(op, Op::Prove { proof: Proof::Namespace { .. }, .. }))[0];
        cut(plan, Prepare, at)
    }),
    mutant(68, "joined/root", "proved to be of another kind", |plan| {
        each(plan, Prepare, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::NETWORK } } => {
                Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::USER } }
            }
            other => other,
        })
    }),
    mutant(68, "joined/root", "new and joined", |plan| spawn_into(plan, |kinds| kinds.with(Namespaces::NETWORK))),
    mutant(68, "joined without a user namespace/root", "a new user namespace", |plan| {
        spawn_into(plan, |kinds| kinds.with(Namespaces::USER))
    }),
    mutant(68, "joined without a user namespace/root", "another kind by the child", |plan| {
        each(plan, Enter, OpKind::SetNs, |op| match op {
            Op::SetNs { namespace, .. } => Op::SetNs { namespace, kind: Namespaces::MOUNT },
            other => other,
        })
    }),
    mutant(38, "joined without a user namespace/root", "the child is given a namespace it does not enter", |plan| {
        each(plan, Prepare, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::TIME } } => {
                Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::IPC } }
            }
            other => other,
        })
    }),
    mutant(12, "joined/root", "a path that waits", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags: OpenFlags::NON_BLOCK, mode, resolve, into } => {
                Op::OpenAt2 { dir, path, flags: OpenFlags::NONE, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(31, "clock offsets", "a file of another process", |plan| {
        each(plan, Enter, OpKind::Write, |op| match op {
            Op::Write { dir, path, content } if path == c"1/timens_offsets" => {
                Op::Write { dir, path: c"1/oom_score_adj", content }
            }
            other => other,
        })
    }),
];
