//! The payload's terminal.

use skep_sys::{Op, OpKind};

use super::{Mutant, cut, drop, each, earlier, insert, mutant, place};
use crate::plan::Phase::{Enter, Payload};
use crate::plan::role;

pub(super) const ALL: &[Mutant] = &[
    mutant(37, "terminal for some streams, and payload is process 1", "the terminal for a pipe", |plan| {
        let terminal = Op::Dup { file: role::TERMINAL_PEER, number: 1 };
        insert(plan, Payload, place(plan, Payload, OpKind::Dup), terminal)
    }),
    mutant(37, "terminal", "the terminal as a fourth descriptor", |plan| {
        let terminal = Op::Dup { file: role::TERMINAL_PEER, number: 3 };
        insert(plan, Payload, place(plan, Payload, OpKind::Dup), terminal)
    }),
    mutant(63, "terminal", "the payload's end is sent", |plan| {
        each(plan, Enter, OpKind::SendFile, |op| match op {
            Op::SendFile { to, place, .. } => Op::SendFile { to, file: role::TERMINAL_PEER, place },
            other => other,
        })
    }),
    mutant(63, "terminal", "sent twice", |plan| {
        let again = Op::SendFile { to: role::CONTROL, file: role::ONE, place: role::TERMINAL };
        insert(plan, Enter, place(plan, Enter, OpKind::SendFile), again)
    }),
    mutant(65, "terminal", "of a devpts that is not mounted yet", |plan| {
        let at = place(plan, Enter, OpKind::OpenTerminal) - 1;
        let plan = insert(
            plan,
            Enter,
            at,
            Op::OpenTerminal { devpts: role::TWO, rows: 1, columns: 1, master: role::ONE, peer: role::TERMINAL_PEER },
        );
        let again = place(&plan, Enter, OpKind::OpenTerminal) + 2;
        cut(&plan, Enter, again)
    }),
    mutant(65, "terminal", "of another file system", |plan| {
        each(plan, Enter, OpKind::OpenTerminal, |op| match op {
            Op::OpenTerminal { rows, columns, master, peer, .. } => {
                Op::OpenTerminal { devpts: role::DEV, rows, columns, master, peer }
            }
            other => other,
        })
    }),
    mutant(65, "terminal", "the child keeps the embedder's end", |plan| {
        cut(plan, Enter, place(plan, Enter, OpKind::SendFile) + 1)
    }),
    mutant(65, "terminal", "somebody else's", |plan| {
        each(plan, Enter, OpKind::Chown, |op| match op {
            Op::Chown { file: role::TERMINAL_PEER, gid, .. } => Op::Chown { file: role::TERMINAL_PEER, uid: 0, gid },
            other => other,
        })
    }),
    mutant(65, "terminal", "in the stub init's session", |plan| {
        earlier(plan, Payload, OpKind::ControllingTerminal, OpKind::SetSid)
    }),
    mutant(65, "terminal", "no controlling terminal", |plan| drop(plan, Payload, OpKind::ControllingTerminal)),
];
