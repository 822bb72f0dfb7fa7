//! Mutants for the rules in `rules/ids.rs`.

use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Op, OpKind, Proof};

use super::{Mutant, cut, drop, each, earlier, first_of, insert, last, mutant, place, places};
use crate::plan::Phase::{Attend, Enter, Init, Payload, Prepare};
use crate::plan::{Plan, role};

pub(super) const ALL: &[Mutant] = &[
    mutant(47, "rootidmap/root", "a namespace for a bind that maps nothing", |plan| {
        each(plan, Attend, OpKind::MapNamespace, |op| match op {
            Op::MapNamespace { image, gid, into, .. } => {
                Op::MapNamespace { image, uid: Numbers::new(&[0; 12]).unwrap(), gid, into }
            }
            other => other,
        })
    }),
    mutant(4, "default", "memory stays open", |plan| drop(plan, Enter, OpKind::Dumpable)),
    mutant(4, "subordinate", "ids before memory is hidden", |plan| {
        earlier(plan, Enter, OpKind::SetResUid, OpKind::Dumpable)
    }),
    mutant(4, "default", "memory is opened again", |plan| insert(plan, Payload, 0, Op::Dumpable { on: true })),
    mutant(5, "default", "setgroups stays allowed", |plan| drop(plan, Attend, OpKind::Write)),
    mutant(5, "default", "setgroups denied too late", |plan| {
        let deny = place(plan, Attend, OpKind::Write) as u32 + first_of(plan, Attend);
        plan.swapped(deny, deny + 1)
    }),
    mutant(5, "default", "users before groups", |plan| {
        let deny = place(plan, Attend, OpKind::Write) as u32 + first_of(plan, Attend);
        plan.swapped(deny + 1, deny + 2)
    }),
    mutant(5, "default", "no user map", |plan| cut(plan, Attend, last(plan, Attend, OpKind::Write))),
    mutant(5, "subordinate", "one helper", |plan| drop(plan, Attend, OpKind::IdMapHelper)),
    mutant(5, "no user namespace/root", "a map without a namespace", |plan| {
        let opened =
            insert(plan, Attend, 0, Op::OpenProcess { pid: role::PID, pidfd: role::PIDFD, into: role::PROCESS });
        insert(
            &opened,
            Attend,
            1,
            Op::Write { dir: At::Slot(role::PROCESS), path: c"gid_map", content: Blob(b"0 0 1\n") },
        )
    }),
    mutant(47, "range/root", "other ids are locked than are mapped", |plan| {
        each(plan, Prepare, OpKind::LockIds, |op| match op {
            Op::LockIds { path, first, count, into } => Op::LockIds { path, first: first + count, count, into },
            other => other,
        })
    }),
    mutant(47, "default", "an empty extent", |plan| map(plan, b"0 1000 0\n")),
    mutant(47, "default", "overlapping extents", |plan| map(plan, b"0 1000 5\n4 2000 1\n")),
    mutant(47, "default", "overlapping extents outside", |plan| map(plan, b"0 1000 5\n9 1004 1\n")),
    mutant(47, "default", "the id that is none", |plan| map(plan, b"0 4294967295 1\n")),
    mutant(47, "default", "another line format", |plan| map(plan, b"0:1000:1\n")),
    mutant(47, "default", "no extent", |plan| map(plan, b"")),
    mutant(47, "subordinate", "a helper's map that wraps", |plan| {
        each(plan, Attend, OpKind::IdMapHelper, |op| match op {
            Op::IdMapHelper { program, pid, .. } => Op::IdMapHelper {
                program,
                pid,
                map: Numbers::new(&[0, 0, 0, 0, 255, 255, 255, 255, 9, 0, 0, 0]).unwrap(),
            },
            other => other,
        })
    }),
    mutant(48, "default/root", "both keep groups", |plan| cut(plan, Enter, last(plan, Enter, OpKind::SetGroups))),
    mutant(48, "default/root", "the child builds with groups", |plan| drop(plan, Enter, OpKind::SetGroups)),
    mutant(48, "new privileges/root", "the payload keeps groups", |plan| drop(plan, Payload, OpKind::SetGroups)),
    mutant(48, "new privileges/root", "the stub init keeps groups", |plan| drop(plan, Init, OpKind::SetGroups)),
    mutant(48, "subordinate", "the child builds with the caller's groups", |plan| drop(plan, Enter, OpKind::SetGroups)),
    mutant(48, "subordinate", "the child builds as nobody", |plan| drop(plan, Enter, OpKind::SetResUid)),
    mutant(48, "nspawn/root", "nspawn keeps groups", |plan| drop(plan, Payload, OpKind::SetGroups)),
    mutant(48, "default", "groups after they were denied", |plan| {
        insert(plan, Payload, 0, Op::SetGroups { groups: Numbers::new(&[]).unwrap() })
    }),
    mutant(50, "subordinate", "a helper that is not proved", |plan| {
        cut(plan, Prepare, places(plan, Prepare, |op| matches!(op, Op::Prove { proof: Proof::OwnedByRoot, .. }))[0])
    }),
    mutant(50, "subordinate", "a helper of anybody", |plan| {
        each(plan, Prepare, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::OwnedByRoot } => {
                Op::Prove { file, proof: Proof::Inode { device: 1, inode: 1 } }
            }
            other => other,
        })
    }),
    mutant(50, "subordinate", "the same helper twice", |plan| {
        each(plan, Attend, OpKind::IdMapHelper, |op| match op {
            Op::IdMapHelper { pid, map, .. } => Op::IdMapHelper { program: role::ONE, pid, map },
            other => other,
        })
    }),
    mutant(50, "subordinate", "a child that is not pinned", |plan| drop(plan, Attend, OpKind::OpenProcess)),
];

fn map(plan: &Plan, text: &'static [u8]) -> Plan {
    each(plan, Attend, OpKind::Write, |op| match op {
        Op::Write { dir, path, .. } if path == c"uid_map" => Op::Write { dir, path, content: Blob(text) },
        other => other,
    })
}
