//! Golden plans keep every rule, for an ordinary user and for root; and every
//! rule has a mutant that it refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed")]

mod complete;
mod goldens;
mod mutants;

use std::collections::BTreeSet;

use super::*;
use crate::exec::Confinement;
use crate::plan::{Phase, role};
use goldens::{Caller, compiled, goldens};
use proptest::prelude::*;
use skep_sys::Op;
use skep_sys::abi::MountAttrs;

fn shown(plan: &Plan) -> String {
    violations(plan).iter().map(|violation| format!("\n    {violation}")).collect()
}

#[test]
fn row_148_golden_plans_break_no_rule() {
    let mut broken = String::new();
    let mut plans = 0;
    for (name, caller, plan) in goldens() {
        plans += 1;
        let text = shown(&plan);
        if verify(plan).is_err() {
            broken += &format!("\n{name} ({caller:?}):{text}");
        }
    }
    assert!(plans >= 24, "{plans} golden plans");
    assert!(broken.is_empty(), "{broken}");
}

/// A host that refuses what its user asks for.
const REFUSED: &[(&str, Caller)] = &[("real time", Caller::User)];

#[test]
fn golden_plans_end_with_what_was_asked_for() {
    for golden in goldens::staged() {
        let (name, caller, mut model) = (golden.name, golden.caller, golden.model);
        let ended = match &golden.container {
            None => crate::run::rehearsed(&mut model, &golden.plan).map(drop),
            Some(container) => crate::exec::rehearsed(&mut model, container, &golden.plan),
        };
        assert_eq!(ended.is_err(), REFUSED.contains(&(name, caller)), "{name} ({caller:?}): {ended:?}");
        if ended.is_ok() && golden.container.is_none() {
            let more = crate::excess(&golden.spec, &golden.plan, &model);
            assert!(more.is_empty(), "{name} ({caller:?}): {more:#?}");
        }
    }
}

#[test]
fn every_rule_has_a_mutant_that_it_refuses() {
    let mut tested = BTreeSet::new();
    let mut missed = String::new();
    for mutant in mutants::all() {
        let [golden, made] = mutants::apply(mutant);
        tested.insert(mutant.rule);
        let broken = |plan| violations(plan).iter().filter(|violation| violation.rule == mutant.rule).count();
        if broken(&made) <= broken(&golden) {
            missed += &format!("\n{}: {} ({}); broken are{}", mutant.rule, mutant.what, mutant.of, shown(&made));
        }
    }
    assert!(missed.is_empty(), "{missed}");
    let numbers: BTreeSet<u16> = rules().iter().map(|rule| rule.number).collect();
    assert_eq!(tested, numbers);
}

#[test]
fn rules_are_numbered_named_and_documented() {
    let names: BTreeSet<&str> = rules().iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), rules().len());
    for (place, rule) in rules().iter().enumerate() {
        assert_eq!(usize::from(rule.number), place + 1);
        assert!(!rule.rows.is_empty() && rule.rows.iter().all(|row| (1..=148).contains(row)), "{rule:?}");
        assert!(rule.says.ends_with('.'));
        let line = format!("//! | {} | `{}` | {} |\n", rule.number, rule.name, rule.says);
        assert!(include_str!("../mod.rs").contains(&line), "not in the table: {line}");
    }
}

#[test]
fn an_error_names_every_broken_rule() {
    let plan = compiled("default", Caller::User).without(0);
    let numbers: BTreeSet<u16> = violations(&plan).iter().map(|violation| violation.rule).collect();
    let error = verify(plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unverified);
    for number in numbers {
        let name = rules()[usize::from(number) - 1].name;
        assert!(error.to_string().contains(&format!("{number} {name}: ")), "{error}");
    }
}

/// What a Spec can say, and an exec does not know, stops it: here, not unseen.
#[test]
fn every_golden_container_can_be_joined_or_has_no_process_ids() {
    let spec = crate::spec::ExecSpec { command: vec!["true".into()], ..Default::default() };
    let mut refused = BTreeSet::new();
    for (name, caller, plan) in goldens().filter(|(name, ..)| !name.starts_with("enter")) {
        match crate::compile_exec(&plan, &spec) {
            Ok(entering) => {
                assert!(verify(entering.clone()).is_ok(), "{name} ({caller:?}): {}", shown(&entering));
                let again: BTreeSet<_> = entering.ops().map(|(_, _, op)| op.kind()).collect();
                let kinds = Confinement::of(&plan).unwrap().kinds();
                let missing: Vec<_> = kinds.iter().filter(|kind| !again.contains(kind)).collect();
                assert!(missing.is_empty(), "{name} ({caller:?}) confines its payload by {missing:?}, and an exec not");
            }
            Err(error) => _ = refused.insert(format!("{name}: {error}")),
        }
    }
    let known = ["process-id namespace", "asks a listener"];
    let unknown: Vec<_> = refused.iter().filter(|line| !known.iter().any(|one| line.contains(one))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Whether a plan without this op is refused by the kernel or harmless: it
/// makes less in the container's own tree, or what is made needs it.
fn is_expendable(phase: Phase, op: &Op<'_>) -> bool {
    match (phase, op) {
        // What is missing fails the start: the runner's slot is empty, a place
        // does not exist, a file system lacks an option.
        (Phase::Prepare, Op::Pipe { .. } | Op::Close { .. })
        | (Phase::Enter, Op::Mkdir { .. } | Op::FsString { .. } | Op::FsFlag { .. }) => true,
        // The tree's files then belong to nobody.
        (Phase::Attend, Op::MountSetAttr { set, .. }) => *set == MountAttrs::IDMAP,
        // Files of the container's own, and its name.
        (
            Phase::Enter,
            Op::Symlink { .. } | Op::Create { .. } | Op::CreateSecret { .. } | Op::Mknod { .. } | Op::HostName { .. },
        ) => true,
        // The exec closes it: only a stub init has to let go itself.
        (Phase::Enter, Op::Close { file }) => *file == role::NOTIFY,
        // Then that stream stays /dev/null.
        (Phase::Payload, Op::Dup { .. }) => true,
        // A slot that holds the same place already.
        (Phase::Enter, Op::OpenAt2 { path, .. }) => *path == c"etc" || *path == c"root",
        (Phase::Prepare, Op::Write { path, .. }) => *path == c"memory.oom.group",
        _ => false,
    }
}

#[test]
fn no_op_can_be_left_out() {
    let mut missed = BTreeSet::new();
    for (name, caller) in [
        ("default", Caller::User),
        ("root", Caller::Root),
        ("ephemeral", Caller::User),
        ("layers", Caller::User),
        ("layers, changes kept", Caller::Root),
        ("covers", Caller::User),
        ("subordinate", Caller::User),
        ("nspawn", Caller::Root),
        ("nspawn, registered", Caller::Root),
        ("notify", Caller::User),
        ("limits v1", Caller::Root),
        ("limits v2", Caller::User),
        ("bind options", Caller::User),
        ("rootidmap", Caller::Root),
        ("overlay", Caller::User),
        ("overlay kept", Caller::Root),
        ("overlay with a work directory", Caller::User),
        ("device", Caller::User),
        ("device policy v2", Caller::Root),
        ("files", Caller::User),
        ("credentials", Caller::User),
        ("users of the host", Caller::Root),
        ("terminal", Caller::User),
        ("listener", Caller::User),
        ("descriptors", Caller::User),
        ("held", Caller::Root),
        ("personality and score", Caller::User),
        ("scheduling", Caller::User),
        ("no written code", Caller::User),
        ("sysctls", Caller::User),
        ("files of the host over links", Caller::Root),
        ("nspawn, files removed", Caller::Root),
        ("nspawn, a bare tree", Caller::Root),
        ("enter", Caller::Root),
        ("enter, terminal", Caller::User),
        ("enter, time namespace", Caller::User),
        ("enter, limits v1", Caller::Root),
        ("enter, limits v2", Caller::User),
        ("enter, new privileges", Caller::User),
    ] {
        let plan = compiled(name, caller);
        for phase in Phase::ALL {
            for (place, (_, op)) in plan.section(phase).iter().enumerate() {
                let op = op.unwrap();
                if !is_expendable(phase, &op) && verify(mutants::cut(&plan, phase, place)).is_ok() {
                    missed.insert(format!("{name} ({caller:?}) without {} {op}\n", phase.name()));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.into_iter().collect::<String>());
}

proptest! {
    #[test]
    fn whatever_compiles_verifies(rows in prop::collection::vec(0_usize..64, 2..5), root: bool) {
        let caller = if root { Caller::Root } else { Caller::User };
        if let Some(plan) = goldens::combined(&rows, caller) {
            let text = shown(&plan);
            prop_assert!(verify(plan).is_ok(), "{text}");
        }
    }

    #[test]
    fn no_bytes_make_the_checker_panic(place: prop::sample::Index, byte: u8, section in 0_usize..5) {
        let mut plan = compiled("limits v2", Caller::User);
        let bytes = &mut plan.sections[section];
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = violations(&plan);
    }
}
