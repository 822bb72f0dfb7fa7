//! For each rule, plans as a defect of the compiler would make them: one file
//! beside each file of rules.

mod attributes;
mod credentials;
mod entering;
mod files;
mod filter;
mod frame;
mod host;
mod ids;
mod incoming;
mod interface;
mod landlock;
mod links;
mod mounts;
mod named;
mod process;
mod registry;
mod reported;
mod switch;
mod terminal;

use skep_sys::abi::{MountAttrs, Namespaces, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Numbers;
use skep_sys::{Op, OpKind, Slot};

use super::goldens::{Caller, compiled};
use crate::plan::{Phase, Plan};
use Phase::{Attend, Enter, Prepare};

/// A plan and what a defect does to it.
pub(super) struct Mutant {
    pub(super) rule: u16,
    pub(super) what: &'static str,
    /// The golden plan; `/root` at the end means root's.
    pub(super) of: &'static str,
    make: fn(&Plan) -> Plan,
}

const fn mutant(rule: u16, of: &'static str, what: &'static str, make: fn(&Plan) -> Plan) -> Mutant {
    Mutant { rule, what, of, make }
}

pub(super) fn all() -> impl Iterator<Item = &'static Mutant> {
    [
        frame::ALL,
        ids::ALL,
        credentials::ALL,
        mounts::ALL,
        files::ALL,
        switch::ALL,
        process::ALL,
        registry::ALL,
        host::ALL,
        filter::ALL,
        terminal::ALL,
        attributes::ALL,
        entering::ALL,
        landlock::ALL,
        links::ALL,
        incoming::ALL,
        named::ALL,
        interface::ALL,
        reported::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The golden plan, and what the defect makes of it.
pub(super) fn apply(mutant: &Mutant) -> [Plan; 2] {
    let (name, caller) = match mutant.of.strip_suffix("/root") {
        Some(name) => (name, Caller::Root),
        None => (mutant.of, Caller::User),
    };
    let golden = compiled(name, caller);
    let made = (mutant.make)(&golden);
    assert!(made != golden, "{}: {} changes nothing", mutant.rule, mutant.what);
    [golden, made]
}

/// Rewrites a phase: each op becomes what `change` says, in order.
fn rewrite<'a>(plan: &'a Plan, phase: Phase, mut change: impl FnMut(usize, Op<'a>) -> Vec<Op<'a>>) -> Plan {
    let mut changed = plan.clone();
    let (mut bytes, mut count) = (Vec::new(), 0_u32);
    for (place, (index, op)) in plan.section(phase).iter().enumerate() {
        for op in change(place, op.unwrap()) {
            op.write(&mut bytes);
            count += 1;
        }
        // An undo goes where its op goes.
        let now = plan.section(phase).first + count.saturating_sub(1);
        let of = plan.undo.iter().zip(&mut changed.undo).filter(|(old, _)| old.of == index);
        of.for_each(|(_, undo)| undo.of = now);
    }
    changed.sections[phase as usize] = bytes;
    changed.counts[phase as usize] = count;
    changed
}

fn places(plan: &Plan, phase: Phase, is: impl Fn(&Op<'_>) -> bool) -> Vec<usize> {
    plan.section(phase)
        .iter()
        .enumerate()
        .filter(|(_, (_, op))| op.as_ref().is_some_and(&is))
        .map(|(place, _)| place)
        .collect()
}

fn place(plan: &Plan, phase: Phase, kind: OpKind) -> usize {
    places(plan, phase, |op| op.kind() == kind)[0]
}

fn last(plan: &Plan, phase: Phase, kind: OpKind) -> usize {
    *places(plan, phase, |op| op.kind() == kind).last().unwrap()
}

/// Without the op at `at`.
pub(super) fn cut(plan: &Plan, phase: Phase, at: usize) -> Plan {
    rewrite(plan, phase, |place, op| if place == at { vec![] } else { vec![op] })
}

/// Without the first op of a kind.
fn drop(plan: &Plan, phase: Phase, kind: OpKind) -> Plan {
    cut(plan, phase, place(plan, phase, kind))
}

/// With `op` before the op at `at`.
fn insert<'a>(plan: &'a Plan, phase: Phase, at: usize, op: Op<'a>) -> Plan {
    rewrite(plan, phase, |place, old| if place == at { vec![op, old] } else { vec![old] })
}

/// With `op` after all others.
fn append(plan: &Plan, phase: Phase, op: Op<'_>) -> Plan {
    let mut changed = plan.clone();
    op.write(&mut changed.sections[phase as usize]);
    changed.counts[phase as usize] += 1;
    changed
}

/// With the op at `at` replaced.
fn put<'a>(plan: &'a Plan, phase: Phase, at: usize, op: Op<'a>) -> Plan {
    rewrite(plan, phase, |place, old| vec![if place == at { op } else { old }])
}

/// With every op of a kind changed.
fn each<'a>(plan: &'a Plan, phase: Phase, kind: OpKind, change: impl Fn(Op<'a>) -> Op<'a>) -> Plan {
    rewrite(plan, phase, |_, op| vec![if op.kind() == kind { change(op) } else { op }])
}

/// With the first op of `kind` at the place of the first op of `before`.
fn earlier(plan: &Plan, phase: Phase, kind: OpKind, before: OpKind) -> Plan {
    let (from, to) = (place(plan, phase, kind), place(plan, phase, before));
    let moved = plan.section(phase).iter().nth(from).unwrap().1.unwrap();
    rewrite(plan, phase, |place, op| match place {
        _ if place == to => vec![moved, op],
        _ if place == from => vec![],
        _ => vec![op],
    })
}

/// The places of ops for which `is` holds in the first row of ops with these kinds.
fn run(plan: &Plan, phase: Phase, kinds: &[OpKind]) -> usize {
    let all: Vec<OpKind> = plan.section(phase).iter().map(|(_, op)| op.unwrap().kind()).collect();
    all.windows(kinds.len()).position(|window| window == kinds).unwrap()
}

fn spawn_into(plan: &Plan, change: fn(Namespaces) -> Namespaces) -> Plan {
    each(plan, Prepare, OpKind::Spawn, |op| match op {
        Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid } => {
            Op::Spawn { namespaces: change(namespaces), joins, cgroup, image, plan, keep, ambient, pidfd, pid }
        }
        other => other,
    })
}

fn first_of(plan: &Plan, phase: Phase) -> u32 {
    plan.section(phase).first
}

fn opened(plan: &Plan, phase: Phase, wanted: &'static std::ffi::CStr, change: fn(Resolve) -> Resolve) -> Plan {
    each(plan, phase, OpKind::OpenAt2, |op| match op {
        Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == wanted => {
            Op::OpenAt2 { dir, path, flags, mode, resolve: change(resolve), into }
        }
        other => other,
    })
}

fn append_before_fork<'a>(plan: &'a Plan, op: Op<'a>) -> Plan {
    insert(plan, Enter, place(plan, Enter, OpKind::BlockSignals), op)
}

/// The arguments of `mount_setattr` that mutants change.
struct Attrs {
    flags: TreeFlags,
    set: MountAttrs,
    clear: MountAttrs,
    propagation: Propagation,
    userns: Option<Slot>,
}

fn attrs(plan: &Plan, at: usize, change: fn(&mut Attrs)) -> Plan {
    let in_phase = |phase| {
        plan.section(phase).iter().nth(at).and_then(|(_, op)| op).filter(|op| op.kind() == OpKind::MountSetAttr)
    };
    let phase = if in_phase(Enter).is_some() { Enter } else { Attend };
    let Some(Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns }) = in_phase(phase) else {
        panic!("no mount_setattr")
    };
    let mut new = Attrs { flags, set, clear, propagation, userns };
    change(&mut new);
    let Attrs { flags, set, clear, propagation, userns } = new;
    put(plan, phase, at, Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns })
}

/// The child is given one slot more.
fn keeping(plan: &Plan, slot: Slot) -> Plan {
    let Some((_, Some(Op::Spawn { keep, .. }))) = plan.section(Prepare).iter().last() else { panic!() };
    let more: Vec<u8> = [keep.bytes(), &u32::from(slot.0).to_le_bytes()].concat();
    let keep = Numbers::new(&more).unwrap();
    let Some((_, Some(Op::Spawn { namespaces, joins, cgroup, image, plan: file, ambient, pidfd, pid, .. }))) =
        plan.section(Prepare).iter().last()
    else {
        panic!()
    };
    let spawn = Op::Spawn { namespaces, joins, cgroup, image, plan: file, keep, ambient, pidfd, pid };
    append(&drop(plan, Prepare, OpKind::Spawn), Prepare, spawn)
}
