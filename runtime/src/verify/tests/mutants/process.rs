//! Mutants for the rules in `rules/process.rs`.

use skep_sys::abi::Namespaces;
use skep_sys::{Op, OpKind};

use super::{Mutant, append, cut, drop, each, earlier, insert, last, mutant, place, places, spawn_into};
use crate::plan::Phase::{Enter, Init, Payload};
use crate::plan::role;

pub(super) const ALL: &[Mutant] = &[
    mutant(24, "default", "the caller's session", |plan| drop(plan, Enter, OpKind::SetSid)),
    mutant(24, "default", "the stub init's session", |plan| drop(plan, Payload, OpKind::SetSid)),
    mutant(24, "payload is process 1", "the caller's signal handling", |plan| drop(plan, Enter, OpKind::ResetSignals)),
    mutant(24, "default", "signals stay blocked", |plan| drop(plan, Payload, OpKind::ResetSignals)),
    mutant(24, "payload is process 1", "signals are blocked", |plan| append(plan, Enter, Op::BlockSignals {})),
    mutant(24, "default", "the building umask stays", |plan| cut(plan, Enter, last(plan, Enter, OpKind::Umask))),
    mutant(24, "default", "the caller's personality", |plan| drop(plan, Enter, OpKind::Personality)),
    mutant(24, "default", "another personality", |plan| {
        each(plan, Enter, OpKind::Personality, |_| Op::Personality { persona: 0x0040_0000 })
    }),
    mutant(24, "default", "a limit is inherited", |plan| cut(plan, Enter, last(plan, Enter, OpKind::SetLimit))),
    mutant(24, "default", "a soft limit above the hard one", |plan| {
        each(plan, Enter, OpKind::SetLimit, |op| match op {
            Op::SetLimit { resource, .. } => Op::SetLimit { resource, soft: 2, hard: 1 },
            other => other,
        })
    }),
    mutant(26, "default", "no fork", |plan| drop(plan, Enter, OpKind::Fork)),
    mutant(26, "default", "something after the fork", |plan| append(plan, Enter, Op::SetSid {})),
    mutant(26, "default", "signals get lost", |plan| drop(plan, Enter, OpKind::BlockSignals)),
    mutant(26, "default", "the stub init keeps the root", |plan| {
        let at = places(plan, Init, |op| matches!(op, Op::Close { file: role::ROOT }))[0];
        cut(plan, Init, at)
    }),
    mutant(26, "default", "the stub init keeps the streams", |plan| drop(plan, Init, OpKind::Close)),
    mutant(26, "default", "the stub init keeps everything", |plan| drop(plan, Init, OpKind::Adopt)),
    mutant(26, "default", "the stub init has no filter", |plan| drop(plan, Init, OpKind::Seccomp)),
    mutant(26, "new privileges", "the stub init may gain privileges", |plan| drop(plan, Init, OpKind::NoNewPrivs)),
    mutant(26, "user ids", "the stub init's memory is open", |plan| {
        cut(plan, Enter, last(plan, Enter, OpKind::Dumpable))
    }),
    mutant(26, "new privileges of a user", "the stub init's memory is open", |plan| drop(plan, Init, OpKind::Dumpable)),
    mutant(26, "new privileges of a user", "the stub init's memory is hidden too early", |plan| {
        earlier(plan, Init, OpKind::Dumpable, OpKind::SetResUid)
    }),
    mutant(26, "default", "the stub init closes too late", |plan| earlier(plan, Init, OpKind::Seccomp, OpKind::Adopt)),
    mutant(26, "default", "nobody reaps", |plan| drop(plan, Init, OpKind::Reap)),
    mutant(26, "new privileges of a user", "the stub init is root", |plan| {
        let changed = each(plan, Init, OpKind::SetResUid, |_| Op::SetResUid { uid: 0 });
        each(&changed, Init, OpKind::ProveCredentials, |op| match op {
            Op::ProveCredentials { gid, effective, permitted, bounding, ambient, securebits, no_new_privs, .. } => {
                Op::ProveCredentials { uid: 0, gid, effective, permitted, bounding, ambient, securebits, no_new_privs }
            }
            other => other,
        })
    }),
    mutant(26, "default", "a stub init that is not process 1", |plan| {
        spawn_into(plan, |kinds| kinds.without(Namespaces::PID))
    }),
    mutant(54, "default", "a relative path", |plan| each(plan, Payload, OpKind::Chdir, |_| Op::Chdir { path: c"var" })),
    mutant(54, "new privileges of a user", "with more rights", |plan| {
        earlier(plan, Payload, OpKind::Chdir, OpKind::SetResUid)
    }),
    mutant(54, "user ids", "before the payload is itself", |plan| {
        let go = Op::Chdir { path: c"/" };
        insert(&drop(plan, Payload, OpKind::Chdir), Enter, place(plan, Enter, OpKind::HostName), go)
    }),
    mutant(54, "default", "a path of the old root", |plan| {
        insert(plan, Enter, place(plan, Enter, OpKind::FsOpen), Op::Chdir { path: c"/" })
    }),
];
