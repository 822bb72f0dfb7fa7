//! Mutants for the rules in `rules/filter.rs`.

use skep_sys::abi::SeccompFlags;
use skep_sys::wire::Blob;
use skep_sys::{Op, OpKind};

use super::{Mutant, cut, drop, each, mutant, place};
use crate::plan::Phase::{Init, Payload};
use crate::plan::{Plan, role};

pub(super) const ALL: &[Mutant] = &[
    mutant(64, "default", "everything is allowed", |plan| program(plan, &[0x7fff_0000_0000_0006])),
    mutant(64, "default", "everything is allowed and logged", |plan| program(plan, &[0x7ffc_0000_0000_0006])),
    mutant(64, "default", "no filter of the kernel's", |plan| program(plan, &[0x7fff_0000_0000_00ff])),
    mutant(64, "default", "no filter", |plan| drop(plan, Payload, OpKind::Seccomp)),
    mutant(64, "calls opened", "a report of nothing that is open", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed.report.applied("system-call floor", "nothing of it is open");
        changed
    }),
    mutant(72, "default", "questions, and nobody to ask", |plan| program(plan, &[0x7fc0_0000_0000_0006])),
    mutant(72, "listener", "asked about everything", |plan| program(plan, &[0x7fc0_0000_0000_0006])),
    mutant(72, "listener", "asked about nothing", |plan| program(plan, &[0x7fff_0000_0000_0006])),
    mutant(72, "listener", "the payload keeps it", |plan| {
        cut(plan, Payload, place(plan, Payload, OpKind::SendFile) + 1)
    }),
    mutant(72, "listener", "nobody gets it", |plan| drop(plan, Payload, OpKind::SendFile)),
    mutant(72, "listener", "not in the report", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
    mutant(72, "default", "in the report only", |plan| {
        let mut changed = plan.clone();
        changed.report.applied("system-call listener", "asked about mkdir");
        changed
    }),
    mutant(72, "listener", "of the stub init", |plan| {
        each(plan, Init, OpKind::Seccomp, |op| match op {
            Op::Seccomp { program, .. } => {
                Op::Seccomp { program, flags: SeccompFlags::NEW_LISTENER, listener: Some(role::ONE) }
            }
            other => other,
        })
    }),
    mutant(64, "calls opened", "a filter without what is reported", |plan| program(plan, &[0x0005_0001_0000_0006])),
];

/// With a filter of these instructions, as a little-endian machine has them.
fn program(plan: &Plan, words: &[u64]) -> Plan {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    each(plan, Payload, OpKind::Seccomp, |op| match op {
        Op::Seccomp { flags, listener, .. } => {
            Op::Seccomp { program: Blob(Box::leak(bytes.clone().into())), flags, listener }
        }
        other => other,
    })
}
