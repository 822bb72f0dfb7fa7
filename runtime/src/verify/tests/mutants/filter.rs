//! Mutants for the rules in `rules/filter.rs`.

use skep_sys::abi::SeccompFlags;
use skep_sys::wire::Blob;
use skep_sys::{Op, OpKind};

use super::{Mutant, cut, drop, each, mutant, place};
use crate::plan::Phase::{Init, Payload};
use crate::plan::{Phase, Plan, role};
use crate::report::Outcome;
use crate::seccomp::{self, Arch, Policy};

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
    mutant(90, "default", "calls that say they are done", |plan| program(plan, &[0x0005_0000_0000_0006])),
    mutant(90, "suppressed sync", "more of them", |plan| program(plan, &[0x0005_0000_0000_0006])),
    mutant(90, "suppressed sync", "none of them", |plan| program(plan, &[0x0005_0001_0000_0006])),
    mutant(90, "suppressed sync", "not in the report", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
    mutant(77, "default", "every ABI is allowed", |plan| program(plan, &[0x7fff_0000_0000_0006])),
    mutant(77, "default", "another ABI's calls as well", |plan| foreign(plan, Payload)),
    mutant(77, "default", "another ABI's calls for the stub init", |plan| foreign(plan, Init)),
    mutant(77, "default", "an ABI that the filter does not know", |plan| {
        reported(plan, &format!("{} mips", Arch::NATIVE.label()))
    }),
    mutant(77, "default", "an ABI that nobody here knows", |plan| {
        let reported = reported(plan, "x86-64 x86 x32 arm64 arm");
        program(&reported, &[0x7fff_0000_0000_0006])
    }),
    mutant(77, "default", "not in the report", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
    mutant(77, "default", "no filter", |plan| drop(plan, Payload, OpKind::Seccomp)),
    #[cfg(target_arch = "x86_64")]
    mutant(77, "32-bit programs", "not by the report", |plan| reported(plan, "x86-64")),
    #[cfg(target_arch = "x86_64")]
    mutant(64, "32-bit programs", "a floor that holds natively only", |plan| {
        let mut policy = seccomp::strict_default(Arch::X86_64);
        let mut other = seccomp::strict_default(Arch::X86);
        other.set("socketcall", seccomp::Action::Allow);
        policy.also.push(other);
        with(plan, Payload, &policy)
    }),
];

/// With an item of the report changed.
fn reported(plan: &Plan, architectures: &str) -> Plan {
    let mut changed = plan.clone();
    changed.report = crate::Report::default();
    for item in plan.report().items().iter().filter(|item| item.name != "system-call ABIs") {
        match &item.outcome {
            Outcome::Applied(how) => changed.report.applied(item.name.clone(), how),
            Outcome::Off(why) => changed.report.off(item.name.clone(), why),
            Outcome::Unsupported(why) => changed.report.unsupported(item.name.clone(), why),
        }
    }
    changed.report.applied("system-call ABIs", architectures);
    changed
}

/// With the native policy, and the same for another ABI.
fn foreign(plan: &Plan, phase: Phase) -> Plan {
    let of = if phase == Payload { seccomp::strict_default } else { seccomp::stub_init };
    let mut policy = of(Arch::NATIVE);
    policy.also.push(of(if Arch::NATIVE == Arch::X86_64 { Arch::X32 } else { Arch::X86 }));
    with(plan, phase, &policy)
}

fn with(plan: &Plan, phase: Phase, policy: &Policy) -> Plan {
    let bytes = seccomp::compile(policy).unwrap().bytes();
    replaced(plan, phase, &bytes)
}

/// With a filter of these instructions, as a little-endian machine has them.
fn program(plan: &Plan, words: &[u64]) -> Plan {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    replaced(plan, Payload, &bytes)
}

fn replaced(plan: &Plan, phase: Phase, bytes: &[u8]) -> Plan {
    each(plan, phase, OpKind::Seccomp, |op| match op {
        Op::Seccomp { flags, listener, .. } => Op::Seccomp { program: Blob(Box::leak(bytes.into())), flags, listener },
        other => other,
    })
}
