//! Mutants for the rule in `rules/incoming.rs`.

use skep_sys::abi::{MountAttrs, Propagation};
use skep_sys::{At, Op, OpKind, Proof, Slot};

use super::registry::{flat, watched};
use super::{Mutant, cut, each, insert, mutant, places, put};
use crate::plan::Phase::{Enter, Prepare};
use crate::plan::{Plan, role};

const OF: &str = "nspawn, registered/root";

/// The directory of the machine, on the host.
fn own(plan: &Plan) -> std::ffi::CString {
    std::ffi::CString::new(crate::compile::incoming::directory_of(plan.machine.as_str())).unwrap()
}

fn slave(plan: &Plan, phase: crate::plan::Phase) -> usize {
    places(plan, phase, |op| matches!(op, Op::MountSetAttr { propagation: Propagation::SLAVE, .. }))[0]
}

/// The op that lets the copy receive, with other attributes or propagation.
fn otherwise(plan: &Plan, phase: crate::plan::Phase, attrs: Option<MountAttrs>, propagation: Propagation) -> Plan {
    let at = slave(plan, phase);
    let Some((_, Some(Op::MountSetAttr { dir, path, flags, set, clear, userns, .. }))) =
        plan.section(phase).iter().nth(at)
    else {
        panic!("no mount_setattr")
    };
    let set = attrs.unwrap_or(set);
    put(plan, phase, at, Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns })
}

fn undone(plan: &Plan, change: impl Fn(&Op<'_>) -> Option<Vec<u8>>) -> Plan {
    let mut changed = plan.clone();
    changed.undo.retain_mut(|undo| {
        let op = Op::read(&mut skep_sys::wire::Reader::new(&undo.op)).unwrap();
        if op.kind() != OpKind::Unlink {
            return true;
        }
        match change(&op) {
            Some(new) => (undo.op = new, true).1,
            None => false,
        }
    });
    changed
}

pub(super) const ALL: &[Mutant] = &[
    mutant(91, OF, "mounts of the machine go to the host", |plan| otherwise(plan, Prepare, None, Propagation::SHARED)),
    mutant(91, OF, "nothing comes in", |plan| otherwise(plan, Prepare, None, Propagation::PRIVATE)),
    mutant(91, OF, "the directory can be written from inside", |plan| {
        let attrs = crate::compile::incoming::ATTRS.without(MountAttrs::RDONLY);
        otherwise(plan, Prepare, Some(attrs), Propagation::SLAVE)
    }),
    mutant(91, OF, "what comes in spreads within the machine", |plan| cut(plan, Enter, slave(plan, Enter))),
    mutant(40, OF, "something else receives", |plan| {
        let at = slave(plan, Enter);
        let Some((_, Some(Op::MountSetAttr { dir, flags, set, clear, propagation, userns, .. }))) =
            plan.section(Enter).iter().nth(at)
        else {
            panic!("no mount_setattr")
        };
        put(plan, Enter, at, Op::MountSetAttr { dir, path: c"/srv", flags, set, clear, propagation, userns })
    }),
    mutant(91, OF, "by another's directory", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path.to_bytes() == own(plan).to_bytes() => {
                Op::OpenAt2 { dir, path: c"/run/systemd/nspawn/propagate/other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(91, OF, "by whatever is there", |plan| {
        let proofs = places(plan, Prepare, |op| matches!(op, Op::Prove { proof: Proof::OwnDirectory { .. }, .. }));
        cut(plan, Prepare, *proofs.last().unwrap())
    }),
    mutant(91, OF, "everybody may mount there", |plan| {
        each(plan, Prepare, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, name, mode: 0o600, exist_ok } => Op::Mkdir { dir, name, mode: 0o777, exist_ok },
            other => other,
        })
    }),
    mutant(31, OF, "another directory of the host", |plan| {
        each(plan, Prepare, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, mode, exist_ok, name } if name == c"propagate" => {
                Op::Mkdir { dir, name: c"other", mode, exist_ok }
            }
            other => other,
        })
    }),
    mutant(91, OF, "inside it is elsewhere", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"incoming" => {
                Op::OpenAt2 { dir, path: c"other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(91, OF, "the directory stays", |plan| undone(plan, |_| None)),
    mutant(91, OF, "another directory is removed", |plan| {
        undone(plan, |_| Some(flat(&Op::Unlink { dir: At::Cwd, path: c"/run/systemd", directory: true })))
    }),
    mutant(91, OF, "the watcher leaves the directory", |plan| {
        watched(plan, |all| all.retain(|op| op[0] != OpKind::Unlink as u8))
    }),
    mutant(91, OF, "the watcher removes it when the name may be another's", |plan| watched(plan, |all| all.swap(0, 1))),
    mutant(76, OF, "the watcher removes the entry last", |plan| watched(plan, |all| all[1..].rotate_left(1))),
    mutant(32, OF, "the watcher does not know of the directory", |plan| {
        let at = places(plan, Prepare, |op| matches!(op, Op::Entrust { .. }))[0];
        let op = plan.section(Prepare).iter().nth(at).unwrap().1.unwrap();
        let last = plan.section(Prepare).iter().count() - 1;
        cut(&insert(plan, Prepare, last, op), Prepare, at)
    }),
    mutant(91, "root/root", "a directory of the host is removed", |plan| {
        let mut changed = plan.clone();
        let op = flat(&Op::Unlink { dir: At::Slot(Slot(role::ONE.0)), path: c"srv", directory: true });
        changed.undo.push(crate::plan::Undo { of: 0, op });
        changed
    }),
];
