//! Plans that bring a process into a container.

use skep_sys::abi::{Namespaces, SecureBits, cap};
use skep_sys::{Op, OpKind};

use super::{Mutant, append, cut, drop, each, earlier, insert, last, mutant, place, spawn_into};
use crate::plan::Phase::{Enter, Init, Payload, Prepare};
use crate::plan::{Plan, role};

fn joining(plan: &Plan, change: fn(Namespaces) -> Namespaces) -> Plan {
    each(plan, Enter, OpKind::SetNs, |op| match op {
        Op::SetNs { namespace: role::TARGET, kind } => Op::SetNs { namespace: role::TARGET, kind: change(kind) },
        other => other,
    })
}

pub(super) const ALL: &[Mutant] = &[
    mutant(69, "enter", "a namespace of its own", |plan| spawn_into(plan, |kinds| kinds.with(Namespaces::UTS))),
    mutant(69, "enter", "the host's mounts", |plan| joining(plan, |kinds| kinds.without(Namespaces::MOUNT))),
    mutant(69, "enter", "the host's process ids", |plan| joining(plan, |kinds| kinds.without(Namespaces::PID))),
    mutant(69, "enter", "not all that the report says", |plan| joining(plan, |kinds| kinds.without(Namespaces::IPC))),
    mutant(69, "enter", "twice", |plan| {
        let again = Op::SetNs { namespace: role::TARGET, kind: Namespaces::UTS };
        insert(plan, Enter, place(plan, Enter, OpKind::ProveRoot) - 1, again)
    }),
    mutant(69, "enter, time namespace", "the host's time", |plan| cut(plan, Enter, last(plan, Enter, OpKind::SetNs))),
    mutant(69, "enter", "the way back stays open", |plan| drop(plan, Enter, OpKind::Close)),
    mutant(69, "enter", "the root is not proved", |plan| drop(plan, Enter, OpKind::ProveRoot)),
    mutant(69, "enter", "limits before the container", |plan| earlier(plan, Enter, OpKind::SetLimit, OpKind::SetNs)),
    mutant(70, "enter", "before its rights go", |plan| earlier(plan, Enter, OpKind::Sibling, OpKind::DropBounding)),
    mutant(70, "enter", "with open memory", |plan| cut(plan, Enter, last(plan, Enter, OpKind::Dumpable))),
    mutant(70, "enter, new privileges", "with every capability until the filter", |plan| {
        drop(plan, Enter, OpKind::CapSet)
    }),
    mutant(70, "enter, new privileges", "with another capability until the filter", |plan| {
        each(plan, Enter, OpKind::CapSet, |op| match op {
            Op::CapSet { effective, permitted, inheritable } => {
                let permitted = permitted.with(cap::NET_ADMIN);
                Op::CapSet { effective, permitted, inheritable }
            }
            other => other,
        })
    }),
    mutant(70, "enter", "goes on by itself", |plan| drop(plan, Payload, OpKind::Await)),
    mutant(70, "enter", "whoever brought it in stays", |plan| drop(plan, Init, OpKind::Exit)),
    mutant(70, "enter", "whoever brought it in does more", |plan| {
        insert(plan, Init, 0, Op::SendFile { to: role::CONTROL, file: role::MEMBER, place: role::MEMBER })
    }),
    mutant(70, "enter", "nobody holds it", |plan| drop(plan, Init, OpKind::SendFile)),
    mutant(70, "enter", "an exec that fails leaves it", |plan| {
        let mut changed = plan.clone();
        changed.undo.pop();
        changed
    }),
    mutant(70, "enter", "an exec that fails leaves it before it is known", |plan| {
        let mut changed = plan.clone();
        changed.undo.remove(2);
        changed
    }),
    mutant(71, "enter", "no session of its own", |plan| drop(plan, Payload, OpKind::SetSid)),
    mutant(71, "enter", "the filter that is reported", |plan| drop(plan, Payload, OpKind::Seccomp)),
    mutant(71, "enter, no written code", "the memory that is reported", |plan| {
        drop(plan, Enter, OpKind::DenyWriteExecute)
    }),
    mutant(71, "enter, securebits", "the securebits that are reported", |plan| {
        each(plan, Enter, OpKind::SetSecureBits, |_| Op::SetSecureBits { bits: SecureBits(0b1110_1111) })
    }),
    mutant(71, "enter/root", "the groups that are reported", |plan| drop(plan, Enter, OpKind::SetGroups)),
    // What holds for every plan.
    mutant(28, "enter", "makes a mount", |plan| append(plan, Prepare, Op::FsOpen { kind: c"tmpfs", into: role::ONE })),
    mutant(29, "enter", "exits in the middle", |plan| insert(plan, Payload, 0, Op::Exit { status: 0 })),
    mutant(38, "enter", "the embedder's end is kept", |plan| super::keeping(plan, role::CONTROL_HOST)),
    mutant(48, "enter/root", "the caller's groups", |plan| drop(plan, Enter, OpKind::SetGroups)),
    mutant(65, "enter, terminal", "opened with the rights of root", |plan| {
        let at = place(plan, Enter, OpKind::OpenTerminal);
        let open = plan.section(Enter).iter().nth(at).and_then(|(_, op)| op);
        let before = place(plan, Enter, OpKind::SetResUid);
        let Some(open) = open else { return plan.clone() };
        insert(&cut(plan, Enter, at), Enter, before, open)
    }),
];
