//! Mutants for the rule in `rules/interface.rs`.

use skep_sys::abi::MountAttrs;
use skep_sys::{At, Op, OpKind};

use super::{Mutant, attrs, cut, each, insert, last, mutant, places, put, rewrite};
use crate::compile::filesystem::interface::{CLOSED, LOG_FILE};
use crate::plan::Phase::Enter;
use crate::plan::{Plan, role};

fn close(plan: &Plan) -> usize {
    places(plan, Enter, |op| matches!(op, Op::MountSetAttr { dir: At::Cwd, set: CLOSED, .. }))[0]
}

fn close_op(plan: &Plan) -> Op<'_> {
    plan.section(Enter).iter().nth(close(plan)).unwrap().1.unwrap()
}

/// Where the FIFO of the log is opened.
fn log(plan: &Plan) -> usize {
    places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == LOG_FILE))[0]
}

pub(super) const ALL: &[Mutant] = &[
    mutant(89, "nspawn/root", "/run/host stays writable", |plan| cut(plan, Enter, close(plan))),
    mutant(89, "nspawn/root", "/run/host is closed before the socket is there", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::Bind { .. }))[0];
        insert(&cut(plan, Enter, close(plan)), Enter, at, close_op(plan))
    }),
    mutant(89, "nspawn/root", "the id of the boot can be written", |plan| {
        let at =
            places(plan, Enter, |op| matches!(op, Op::MountSetAttr { dir: At::Slot(role::TWO), set: CLOSED, .. }))[0];
        attrs(plan, at, |op| op.set = CLOSED.without(MountAttrs::RDONLY))
    }),
    mutant(89, "nspawn/root", "the kernel's log is open", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"proc/kmsg"))[0];
        rewrite(plan, Enter, |place, op| if (at - 3..at + 2).contains(&place) { vec![] } else { vec![op] })
    }),
    mutant(89, "nspawn/root", "the log is a file for everybody", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::Mknod { name, .. } if *name == LOG_FILE))[0];
        let dir = At::Slot(role::THREE);
        put(plan, Enter, at, Op::Mknod { dir, name: LOG_FILE, mode: 0o010_666, major: 0, minor: 0 })
    }),
    mutant(89, "nspawn/root", "nobody holds the log", |plan| {
        let at = log(plan);
        cut(&cut(&cut(plan, Enter, at + 2), Enter, at + 1), Enter, at)
    }),
    mutant(89, "nspawn/root", "the machine's processes hold the log", |plan| cut(plan, Enter, log(plan) + 2)),
    mutant(89, "nspawn/root", "a node that everybody may use", |plan| {
        each(plan, Enter, OpKind::Mknod, |op| match op {
            Op::Mknod { dir, name, mode, major, minor } => Op::Mknod { dir, name, mode: mode | 0o666, major, minor },
            other => other,
        })
    }),
    mutant(89, "nspawn/root", "a node of a device", |plan| {
        each(plan, Enter, OpKind::Mknod, |op| match op {
            Op::Mknod { dir, name, mode, .. } => Op::Mknod { dir, name, mode, major: 1, minor: 1 },
            other => other,
        })
    }),
    mutant(89, "nspawn/root", "a node elsewhere", |plan| {
        let at = last(plan, Enter, OpKind::Fchdir);
        let dir = At::Slot(role::DEV);
        insert(plan, Enter, at, Op::Mknod { dir, name: c"fifo", mode: 0o010_000, major: 0, minor: 0 })
    }),
];
