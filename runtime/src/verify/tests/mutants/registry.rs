//! Mutants for the rule in `rules/registry.rs`.

use skep_sys::abi::OpenFlags;
use skep_sys::wire::{Blob, Reader};
use skep_sys::{At, Op, OpKind, Proof};

use super::{Mutant, cut, each, insert, mutant, place, places};
use crate::plan::Phase::{Attend, Prepare};
use crate::plan::{Plan, role};

const OF: &str = "registered";

pub(super) const ALL: &[Mutant] = &[
    mutant(76, OF, "the name stays", |plan| {
        let mut changed = plan.clone();
        changed.undo.retain(|undo| undo.op[0] != OpKind::UnlinkSame as u8);
        changed
    }),
    mutant(76, OF, "the watcher leaves the name", |plan| {
        watched(plan, |all| all.retain(|op| op[0] != OpKind::UnlinkSame as u8))
    }),
    mutant(76, OF, "the watcher removes it last", |plan| watched(plan, |all| all.rotate_left(1))),
    mutant(76, OF, "another file is removed", |plan| {
        let mut changed = plan.clone();
        for undo in changed.undo.iter_mut().filter(|undo| undo.op[0] == OpKind::UnlinkSame as u8) {
            undo.op = flat(&Op::UnlinkSame { dir: role::REGISTRY, name: c"other", file: role::ENTRY });
        }
        changed
    }),
    mutant(76, OF, "another's entry is removed", |plan| {
        let mut changed = plan.clone();
        for undo in changed.undo.iter_mut().filter(|undo| undo.op[0] == OpKind::UnlinkSame as u8) {
            let name = &plan.registration.as_ref().unwrap().name;
            undo.op = flat(&Op::UnlinkSame { dir: role::REGISTRY, name, file: role::TWO });
        }
        changed
    }),
    mutant(76, OF, "nobody knows which file it is", |plan| {
        cut(plan, Prepare, place(plan, Prepare, OpKind::Create) + 1)
    }),
    mutant(12, OF, "what a link leads to is taken for the entry", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, mode, resolve, into: role::ENTRY, .. } => {
                Op::OpenAt2 { dir, path, flags: OpenFlags::PATH, mode, resolve, into: role::ENTRY }
            }
            other => other,
        })
    }),
    mutant(76, OF, "the watcher does not know which file it is", |plan| {
        each(plan, Attend, OpKind::EntrustFile, |op| match op {
            Op::EntrustFile { watcher, id, file: role::ENTRY, .. } => {
                Op::EntrustFile { watcher, id, place: role::WATCHED_ENTRY, file: role::REGISTRY }
            }
            other => other,
        })
    }),
    mutant(76, OF, "another name is taken", |plan| {
        each(plan, Prepare, OpKind::Create, |op| match op {
            Op::Create { dir, mode, content, exist_ok, .. } => {
                Op::Create { dir, name: c"other", mode, content, exist_ok }
            }
            other => other,
        })
    }),
    mutant(76, OF, "a name that is taken is kept", |plan| {
        each(plan, Prepare, OpKind::Create, |op| match op {
            Op::Create { dir, name, mode, content, .. } => Op::Create { dir, name, mode, content, exist_ok: true },
            other => other,
        })
    }),
    mutant(76, OF, "others can read it", |plan| {
        each(plan, Prepare, OpKind::Create, |op| match op {
            Op::Create { dir, name, content, exist_ok, .. } => Op::Create { dir, name, mode: 0o644, content, exist_ok },
            other => other,
        })
    }),
    mutant(76, OF, "others can read the directory", |plan| {
        each(plan, Prepare, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::OwnDirectory { uid, .. } } => {
                Op::Prove { file, proof: Proof::OwnDirectory { uid, private: false } }
            }
            other => other,
        })
    }),
    mutant(76, OF, "the directory is anybody's", |plan| {
        let proofs = places(plan, Prepare, |op| matches!(op, Op::Prove { proof: Proof::OwnDirectory { .. }, .. }));
        cut(plan, Prepare, *proofs.last().unwrap())
    }),
    mutant(76, OF, "no name is taken", |plan| cut(plan, Prepare, place(plan, Prepare, OpKind::Create))),
    mutant(76, OF, "a second file", |plan| {
        let (dir, content) = (At::Slot(role::REGISTRY), Blob(b""));
        let more = Op::Create { dir, name: c"more", mode: 0o600, content, exist_ok: false };
        insert(plan, Prepare, place(plan, Prepare, OpKind::Create) + 1, more)
    }),
];

pub(super) fn flat(op: &Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    op.write(&mut bytes);
    bytes
}

pub(super) fn watched(plan: &Plan, change: impl Fn(&mut Vec<Vec<u8>>)) -> Plan {
    let (mut all, mut reader) = (Vec::new(), Reader::new(&plan.watch));
    while let Some(op) = (!reader.is_empty()).then(|| Op::read(&mut reader)).flatten() {
        all.push(flat(&op));
    }
    change(&mut all);
    Plan { watch: all.concat(), ..plan.clone() }
}
