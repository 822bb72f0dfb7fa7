//! Landlock: rules that are made are in force, and the report says how far.

use skep_sys::abi::{OpenFlags, Resolve, landlock};
use skep_sys::{At, Op, OpKind};

use super::{Findings, once};
use crate::compile::landlock::{shown_path, shown_port};
use crate::plan::Phase;
use crate::report::Outcome;
use crate::verify::view::{Seen, View};

pub(super) fn landlock_in_force(view: &View<'_>, found: &mut Findings) {
    let mut rulesets = view.of(OpKind::LandlockRuleset);
    let Some(ruleset) = rulesets.next() else {
        return as_reported(view, [0; 3], found);
    };
    for more in rulesets {
        found.at(more, "is a second set of rules");
    }
    let Op::LandlockRuleset { file_access, net_access, scoped, .. } = ruleset.op else { return };
    as_reported(view, [file_access, net_access, scoped], found);
    let rules = view.ops().iter().filter_map(|seen| match seen.op {
        Op::LandlockPath { access, .. } => match view.maker(seen.onto)?.op {
            Op::OpenAt2 { path, .. } => Some(shown_path(path.to_bytes(), access)),
            _ => None,
        },
        Op::LandlockPort { port, access, .. } => Some(shown_port(port, access)),
        _ => None,
    });
    let rules = Outcome::Applied(rules.collect::<Vec<_>>().join("; "));
    // An exec's are known by their sum (rule 71).
    if !view.enters() && view.plan.report().of("landlock rules") != Some(&rules) {
        found.plan("the report says other Landlock rules");
    }
    let line = view.line(Phase::Payload);
    let Some(restrict) = once(line, OpKind::LandlockRestrict, found) else { return };
    if restrict.on != ruleset.made {
        found.at(restrict, "restricts to something else than the rules");
    }
    if view.after(restrict).is_none_or(|next| next.kind() != OpKind::Close || next.on != ruleset.made) {
        found.at(restrict, "leaves the rules open");
    }
    for (kind, before) in [
        (OpKind::NoNewPrivs, true),
        (OpKind::ProveCredentials, true),
        (OpKind::Seccomp, false),
        (OpKind::Announce, false),
        (OpKind::Exec, false),
    ] {
        let first = line.first(kind);
        if first.is_none() && before {
            found.at(restrict, format!("comes without {}", kind.name()));
        }
        if first.is_some_and(|first| (first.at < restrict.at) != before) {
            let side = if before { "before" } else { "after" };
            found.at(restrict, format!("comes {side} {}", kind.name()));
        }
    }
    for seen in [OpKind::LandlockPath, OpKind::LandlockPort].into_iter().flat_map(|kind| view.of(kind)) {
        let (access, handled) = match seen.op {
            Op::LandlockPath { access, .. } => (access, file_access),
            Op::LandlockPort { access, .. } => (access, net_access),
            _ => continue,
        };
        if seen.at > restrict.at || seen.on != ruleset.made {
            found.at(seen, "is a rule that is not in force");
        }
        if access == 0 || access & !handled != 0 {
            found.at(seen, "gives a right that the rules do not restrict");
        }
        let named = || view.maker(seen.onto).is_some_and(|maker| names_for_a_rule(view, maker));
        if seen.kind() == OpKind::LandlockPath && !named() {
            found.at(seen, "is a rule for something else than a path inside");
        }
    }
}

/// A path inside that is opened for a rule, and closed directly after it.
pub(super) fn names_for_a_rule(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let rule = view.after(seen);
    let closed = rule.and_then(|rule| view.after(rule));
    // A process that joins meets what the payload has made of the tree.
    let follows = |resolve: Resolve| !view.enters() || resolve.has(Resolve::NO_SYMLINKS);
    matches!(seen.op, Op::OpenAt2 { dir: At::Cwd, flags: OpenFlags::PATH, resolve, .. } if follows(resolve))
        && seen.phase == Phase::Enter
        && seen.at > view.switch()
        && rule.is_some_and(|rule| rule.kind() == OpKind::LandlockPath && rule.onto == seen.made)
        && closed.is_some_and(|close| close.kind() == OpKind::Close && close.on == seen.made)
}

fn as_reported(view: &View<'_>, [files, tcp, scoped]: [u64; 3], found: &mut Findings) {
    if view.enters() {
        // Its report has one line, of which rule 71 knows.
        return;
    }
    const ALL: u64 = (1 << landlock::FILES.len()) - 1;
    let scope = |bit| (scoped & bit, bit);
    for (item, (handled, all)) in [
        ("landlock files", (files, ALL)),
        ("landlock tcp", (tcp, landlock::TCP.0)),
        ("landlock sockets", scope(landlock::ABSTRACT_UNIX_SOCKET)),
        ("landlock signals", scope(landlock::SIGNAL)),
    ] {
        let holds = match view.plan.report().of(item) {
            Some(Outcome::Applied(detail)) => handled != 0 && (handled == all) == detail.starts_with("fully"),
            Some(Outcome::Off(_) | Outcome::Unsupported(_)) => handled == 0,
            None => false,
        };
        if !holds {
            found.plan(format!("the report says of {item:?} what is not"));
        }
    }
}
