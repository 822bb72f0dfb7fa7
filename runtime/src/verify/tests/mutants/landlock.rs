//! Mutants for the rule in `rules/landlock.rs`.

use skep_sys::abi::Resolve;
use skep_sys::{Op, OpKind};

use super::{Mutant, append, cut, drop, each, earlier, insert, last, mutant, place};
use crate::plan::Phase::{Enter, Payload};
use crate::plan::{Plan, role};

const RESTRICT: Op<'static> = Op::LandlockRestrict { ruleset: role::RULESET };

pub(super) const ALL: &[Mutant] = &[
    mutant(73, "landlock", "rules without a restriction", |plan| drop(plan, Enter, OpKind::LandlockRestrict)),
    mutant(73, "landlock and payload is process 1", "no restriction of process 1", |plan| {
        drop(plan, Payload, OpKind::LandlockRestrict)
    }),
    mutant(73, "landlock", "restricted before no_new_privs", |plan| {
        earlier(plan, Enter, OpKind::LandlockRestrict, OpKind::NoNewPrivs)
    }),
    mutant(73, "landlock", "restricted before the last rule", |plan| {
        earlier(plan, Enter, OpKind::LandlockRestrict, OpKind::LandlockPort)
    }),
    mutant(73, "landlock and payload is process 1", "restricted after the filter", |plan| {
        let at = place(plan, Payload, OpKind::LandlockRestrict);
        let late = place(plan, Payload, OpKind::Announce);
        let plan = insert(plan, Payload, late, RESTRICT);
        cut(&plan, Payload, at)
    }),
    mutant(73, "landlock", "restricted twice", |plan| append(plan, Payload, RESTRICT)),
    mutant(73, "landlock", "the rules stay open", |plan| {
        cut(plan, Enter, place(plan, Enter, OpKind::LandlockRestrict) + 1)
    }),
    mutant(73, "enter, landlock", "a further process without", |plan| drop(plan, Enter, OpKind::LandlockRestrict)),
    mutant(73, "enter, landlock", "a path with a link of the payload's", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, into, .. } => {
                Op::OpenAt2 { dir, path, flags, mode, resolve: Resolve::NO_MAGICLINKS, into }
            }
            other => other,
        })
    }),
    mutant(71, "enter, landlock", "a further process without rules", |plan| {
        let plan = drop(plan, Enter, OpKind::LandlockRestrict);
        drop(&plan, Enter, OpKind::LandlockRuleset)
    }),
    mutant(39, "landlock", "a path that stays open", |plan| {
        cut(plan, Enter, last(plan, Enter, OpKind::LandlockPath) + 1)
    }),
    mutant(73, "landlock", "a second set of rules", |plan| {
        let more = Op::LandlockRuleset { file_access: 1, net_access: 0, scoped: 0, into: role::TWO };
        insert(plan, Enter, place(plan, Enter, OpKind::LandlockRestrict), more)
    }),
    mutant(73, "landlock", "a rule for no path", |plan| {
        each(plan, Enter, OpKind::LandlockPath, |op| match op {
            Op::LandlockPath { ruleset, access, .. } => Op::LandlockPath { ruleset, parent: role::CONTROL, access },
            other => other,
        })
    }),
    mutant(73, "landlock", "fewer rights are restricted than reported", |plan| ruleset(plan, 0xfff, 3, 3)),
    mutant(73, "landlock", "signals are not, and are reported", |plan| ruleset(plan, 0xffff, 3, 1)),
    mutant(73, "landlock on an older kernel", "more is restricted than reported", |plan| ruleset(plan, 0xffff, 3, 0)),
    mutant(73, "landlock", "TCP is not, and has rules", |plan| ruleset(plan, 0xffff, 0, 3)),
    mutant(73, "default", "a report of what is not there", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed.report.applied("landlock files", "fully: 1 paths");
        changed
    }),
    mutant(39, "landlock", "a path is opened for nothing", |plan| {
        cut(plan, Enter, place(plan, Enter, OpKind::LandlockPath))
    }),
];

/// With these rights restricted.
fn ruleset(plan: &Plan, file_access: u64, net_access: u64, scoped: u64) -> Plan {
    let into = role::RULESET;
    each(plan, Enter, OpKind::LandlockRuleset, |_| Op::LandlockRuleset { file_access, net_access, scoped, into })
}
