//! Mutants for the rules in `rules/attributes.rs`.

use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Op, OpKind};

use super::{Mutant, drop, each, insert, last, mutant, spawn_into};
use crate::plan::Phase::{Attend, Enter};
use crate::plan::{Plan, role};
use skep_sys::abi::Namespaces;

pub(super) const ALL: &[Mutant] = &[
    mutant(74, "scheduling", "other processors than the report says", |plan| {
        each(plan, Attend, OpKind::Affinity, |op| match (op, Numbers::new(&[9, 0, 0, 0])) {
            (Op::Affinity { pid, pidfd, .. }, Some(cpus)) => Op::Affinity { pid, pidfd, cpus },
            (other, _) => other,
        })
    }),
    mutant(74, "scheduling", "nobody is scheduled", |plan| drop(plan, Attend, OpKind::Schedule)),
    mutant(74, "scheduling", "a lower nice value", |plan| {
        each(plan, Attend, OpKind::Schedule, |op| match op {
            Op::Schedule { pid, pidfd, policy, priority, .. } => {
                Op::Schedule { pid, pidfd, policy, nice: 40, priority }
            }
            other => other,
        })
    }),
    mutant(74, "scheduling", "real time", |plan| {
        each(plan, Attend, OpKind::Schedule, |op| match op {
            Op::Schedule { pid, pidfd, nice, .. } => Op::Schedule { pid, pidfd, policy: 1, nice, priority: 99 },
            other => other,
        })
    }),
    mutant(74, "scheduling", "another process", |plan| {
        each(plan, Attend, OpKind::IoPriority, |op| match op {
            Op::IoPriority { pid, class, level, .. } => Op::IoPriority { pid, pidfd: role::PROCESS, class, level },
            other => other,
        })
    }),
    mutant(74, "enter, scheduling", "a further process that nobody schedules", |plan| {
        drop(plan, Attend, OpKind::Schedule)
    }),
    mutant(74, "enter, scheduling", "a further process on other processors", |plan| {
        drop(plan, Attend, OpKind::Affinity)
    }),
    mutant(74, "default", "a priority that the report does not name", |plan| {
        let op = Op::IoPriority { pid: role::PID, pidfd: role::PIDFD, class: 1, level: 0 };
        insert(plan, Attend, 0, op)
    }),
    mutant(75, "sysctls", "a sysctl of the host", |plan| write(plan, c"sys/kernel/core_pattern")),
    mutant(75, "sysctls", "a sysctl that the report does not name", |plan| write(plan, c"sys/net/core/somaxconn")),
    mutant(75, "sysctls", "another value", |plan| {
        each(plan, Enter, OpKind::Write, |op| match op {
            Op::Write { dir, path, .. } if path == c"sys/kernel/sem" => Op::Write { dir, path, content: Blob(b"1\n") },
            other => other,
        })
    }),
    mutant(75, "sysctls", "the host's network", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::NETWORK))),
    mutant(75, "sysctls", "the host's ipc namespace", |plan| spawn_into(plan, |kinds| kinds.without(Namespaces::IPC))),
    mutant(75, "sysctls", "nothing is set", |plan| {
        each(plan, Enter, OpKind::Write, |op| match op {
            Op::Write { dir, path, content } if path == c"sys/kernel/sem" => {
                Op::Write { dir, path: c"sys/user/max_user_namespaces", content }
            }
            other => other,
        })
    }),
];

/// With one file of our own procfs more that is written.
fn write(plan: &Plan, path: &'static std::ffi::CStr) -> Plan {
    let at = last(plan, Enter, OpKind::Write);
    insert(plan, Enter, at, Op::Write { dir: At::Slot(role::PROC), path, content: Blob(b"7\n") })
}
