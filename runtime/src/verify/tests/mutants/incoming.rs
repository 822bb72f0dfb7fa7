//! Mutants for the rule in `rules/incoming.rs`.

use skep_sys::abi::{MountAttrs, Propagation};
use skep_sys::{Op, OpKind};

use super::{Mutant, cut, each, mutant, places, put};
use crate::plan::Phase::{Enter, Prepare};
use crate::plan::Plan;

const OF: &str = "nspawn, registered/root";

/// The directory of the machine, on the host.
fn own(plan: &Plan) -> std::ffi::CString {
    std::ffi::CString::new(crate::compile::incoming::way(plan.machine.as_str()).path()).unwrap()
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
        let of = |op: &Op<'_>| matches!(op, Op::OpenAt2 { path, .. } if path.to_bytes() == own(plan).to_bytes());
        cut(plan, Prepare, places(plan, Prepare, of)[0] + 1)
    }),
    mutant(91, OF, "inside it is elsewhere", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"incoming" => {
                Op::OpenAt2 { dir, path: c"other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
];
