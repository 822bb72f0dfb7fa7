//! What a defect can make of a plan: one op less, twice, at another place, with
//! weaker arguments.

use std::hash::{Hash as _, Hasher as _};

use skep_sys::{Op, Slot};

use super::weaker::weaker;
use crate::plan::{Phase, Plan};

/// A plan, and what was done to it.
pub(super) struct Mutant {
    pub(super) what: String,
    pub(super) plan: Plan,
}

/// Whether a mutant is wanted, by what it does to which ops.
type Wanted<'w> = &'w dyn Fn(u64) -> bool;

fn key(what: &str, parts: &[&[u8]]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (what, parts).hash(&mut hasher);
    hasher.finish()
}

/// A section, op by op.
struct Ops<'a> {
    phase: Phase,
    first: u32,
    all: Vec<Op<'a>>,
    bytes: Vec<Vec<u8>>,
}

fn written(op: &Op<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    op.write(&mut bytes);
    bytes
}

/// `plan` with the ops of a section in this order; an undo goes where its op goes.
fn made(plan: &Plan, ops: &Ops<'_>, order: &[Result<usize, &[u8]>]) -> Plan {
    let mut plan = plan.clone();
    let mut bytes = Vec::new();
    for one in order {
        bytes.extend_from_slice(one.map_or_else(|bytes| bytes, |at| ops.bytes[at].as_slice()));
    }
    let count = ops.all.len() as u32;
    let moved = order.len() as i64 - i64::from(count);
    for undo in &mut plan.undo {
        let at = undo.of.wrapping_sub(ops.first);
        if at < count {
            // Of an op that is gone: with the one before.
            let now =
                order.iter().rposition(|one| *one == Ok(at as usize)).unwrap_or_else(|| at.saturating_sub(1) as usize);
            undo.of = ops.first + now as u32;
        } else if undo.of >= ops.first + count {
            undo.of = (i64::from(undo.of) + moved) as u32;
        }
    }
    plan.sections[ops.phase as usize] = bytes;
    plan.counts[ops.phase as usize] = order.len() as u32;
    plan
}

/// Every mutant of a plan.
pub(super) fn each(golden: &Plan, wanted: impl Fn(u64) -> bool, mut take: impl FnMut(Mutant)) {
    // Nothing that is looked at here, and most of what is copied.
    let plan = &Plan { steps: Vec::new(), ..golden.clone() };
    let mut slots: Vec<Slot> = Vec::new();
    for (_, _, op) in plan.ops() {
        op.arguments(&mut |_, value| {
            let slot = value.to_string().strip_prefix('$').and_then(|number| number.parse().ok()).map(Slot);
            slots.extend(slot);
        });
    }
    slots.sort_unstable();
    slots.dedup();
    for phase in Phase::ALL {
        let section = plan.section(phase);
        let all: Vec<Op<'_>> = section.iter().filter_map(|(_, op)| op).collect();
        let bytes = all.iter().map(written).collect();
        in_section(plan, &Ops { phase, first: section.first, all, bytes }, &slots, &wanted, &mut take);
    }
    let undone: Vec<&[u8]> = plan.undo.iter().map(|undo| undo.op.as_slice()).collect();
    for at in (0..undone.len()).filter(|at| wanted(key("undo", &undone[*at..=*at]))) {
        let mut less = plan.clone();
        less.undo.remove(at);
        take(Mutant { what: format!("undo {at} is missing"), plan: less });
    }
    for at in (1..undone.len()).filter(|at| wanted(key("order", &undone[at - 1..=*at]))) {
        let mut other = plan.clone();
        other.undo.swap(at - 1, at);
        take(Mutant { what: format!("undo {at} before {}", at - 1), plan: other });
    }
}

fn in_section(plan: &Plan, ops: &Ops<'_>, slots: &[Slot], wanted: Wanted<'_>, take: &mut impl FnMut(Mutant)) {
    let count = ops.all.len();
    let order: Vec<Result<usize, &[u8]>> = (0..count).map(Ok).collect();
    let mut yields = |what: &str, at: usize, order: &[Result<usize, &[u8]>]| {
        let around = at.saturating_sub(1)..(at + 2).min(count);
        if !wanted(key(what, &[&[ops.phase as u8], &ops.bytes[around].concat()])) {
            return;
        }
        let what = format!("{} {at} {}: {what}", ops.phase.name(), ops.all[at]);
        take(Mutant { what, plan: made(plan, ops, order) });
    };
    for at in 0..count {
        let without: Vec<_> = order.iter().copied().filter(|one| *one != Ok(at)).collect();
        yields("dropped", at, &without);
        let mut twice = order.clone();
        twice.insert(at, Ok(at));
        yields("twice", at, &twice);
        if at + 1 < count {
            let mut swapped = order.clone();
            swapped.swap(at, at + 1);
            yields("after the next", at, &swapped);
        }
        if at > 1 {
            let first: Vec<_> = [Ok(at)].into_iter().chain(without.iter().copied()).collect();
            yields("first", at, &first);
        }
        if at + 2 < count {
            let last: Vec<_> = without.iter().copied().chain([Ok(at)]).collect();
            yields("last", at, &last);
        }
        let mut others: Vec<(String, Vec<u8>)> = Vec::new();
        weaker(ops.all[at], slots, &mut |what, op| {
            let bytes = written(&op);
            if bytes != ops.bytes[at] && others.iter().all(|(_, known)| *known != bytes) {
                others.push((format!("{what}: {op}"), bytes));
            }
        });
        for (what, bytes) in &others {
            let mut other = order.clone();
            other[at] = Err(bytes);
            yields(what, at, &other);
        }
    }
}
