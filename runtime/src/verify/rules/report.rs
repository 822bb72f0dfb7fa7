//! What the report says, held against what the ops do.

use std::ffi::CStr;

use skep_sys::abi::{Namespaces, Resource, SecureBits};
use skep_sys::{Op, OpKind};

use super::{Findings, groups};
use crate::compile::kernel_files::OF_HOST;
use crate::compile::process::shown_groups;
use crate::plan::Phase;
use crate::report::Outcome;
use crate::verify::view::{Seen, View, What};

pub(super) fn report_is_true(view: &View<'_>, found: &mut Findings) {
    use Phase::{Enter, Payload, Prepare};
    let writes = |name: &CStr| {
        view.of_in(OpKind::Write, Enter).any(|seen| matches!(seen.op, Op::Write { path, .. } if path == name))
    };
    let payload = view.line(Payload);
    // In the plan, and whether the report must speak of it in any case.
    let items = [
        ("system-call filter", payload.has(OpKind::Seccomp), true),
        ("no new privileges", payload.has(OpKind::NoNewPrivs), true),
        ("keyring", view.has(OpKind::SessionKeyring, Enter), true),
        ("supplementary groups", payload.has(OpKind::SetGroups), true),
        ("nested user namespaces", writes(c"sys/user/max_user_namespaces"), true),
        ("securebits", securebits(view).is_some_and(|bits| !bits.is_empty()), true),
        ("init", !view.phase(Phase::Init).is_empty(), true),
        ("network", view.has(OpKind::LinkUp, Enter), true),
        ("clock offsets", writes(c"1/timens_offsets"), false),
        ("notification socket", view.has(OpKind::Bind, Enter), false),
        ("terminal", view.has(OpKind::OpenTerminal, Enter), true),
        ("memory deny write-execute", view.has(OpKind::DenyWriteExecute, Enter), true),
        ("personality", view.of(OpKind::Personality).any(|seen| seen.op != Op::Personality { persona: 0 }), false),
        ("out-of-memory score", score(view).is_some(), false),
        ("id range", view.has(OpKind::LockIds, Prepare), true),
    ];
    let report = view.plan.report();
    for (name, done, needed) in items {
        match report.of(name) {
            Some(Outcome::Applied(_)) if !done => found.plan(format!("{name:?} is reported and not in the plan")),
            Some(Outcome::Off(_) | Outcome::Unsupported(_)) if done => {
                found.plan(format!("{name:?} is in the plan and reported as absent"))
            }
            None if done || needed => found.plan(format!("the report does not speak of {name:?}")),
            _ => {}
        }
    }
    let own = view.namespaces();
    for item in report.items() {
        let applied = matches!(item.outcome, Outcome::Applied(_));
        if let Some(name) = item.name.strip_prefix("namespace ") {
            let kind =
                Namespaces::NAMES.iter().find(|(_, known)| *known == name).map_or(Namespaces::NONE, |(kind, _)| *kind);
            found.unless(own.has(kind) == applied, "a namespace is reported as it is not");
        }
        if let (Some(limit), Outcome::Applied(how)) = (item.name.strip_prefix("limit "), &item.outcome)
            && how.contains("(cgroup")
        {
            let written = |name: &CStr| {
                view.of_in(OpKind::Write, Prepare).any(|seen| matches!(seen.op, Op::Write { path, .. } if path == name))
            };
            let set = groups::limit_files(limit).iter().any(|files| files.iter().all(|file| written(file)));
            found.unless(set, "a limit is reported and not set");
        }
    }
    for (name, holds) in [
        ("masks", masks as Holds),
        ("capabilities", capabilities),
        ("securebits", |view, detail| securebits(view).is_some_and(|bits| detail == bits.to_string())),
        ("umask", umask),
        ("id map", id_map),
        ("supplementary groups", supplementary_groups),
        ("clock offsets", clock_offsets),
        ("limit pids", processes),
        ("process view", process_view),
        ("sysfs", sysfs),
        ("out-of-memory score", |view, detail| score(view) == Some(detail.as_bytes())),
    ] {
        match report.of(name) {
            Some(Outcome::Applied(detail)) if !holds(view, detail) => {
                found.plan(format!("{name:?} is reported as {detail:?}, and the plan does something else"));
            }
            None if !["out-of-memory score", "clock offsets"].contains(&name) => {
                found.plan(format!("the report does not speak of {name:?}"));
            }
            _ => {}
        }
    }
}

/// The score that is written for the child.
fn score<'a>(view: &View<'a>) -> Option<&'a [u8]> {
    view.of_in(OpKind::Write, Phase::Attend).find_map(|seen| match seen.op {
        Op::Write { path, content, .. } if path == c"oom_score_adj" => Some(content.0),
        _ => None,
    })
}

/// Whether the plan does what the report says of an item.
type Holds = fn(&View<'_>, &str) -> bool;

pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// As many masks and read-only covers as it says.
fn masks(view: &View<'_>, detail: &str) -> bool {
    let attached = |is: fn(&What<'_>) -> bool| {
        let covers = |seen: &&Seen<'_>| is(&view.thing(seen.on).what) && !super::interface::is_copy(view, seen);
        view.of(OpKind::MoveMount).filter(covers).count() as u64
    };
    let masked = attached(|what| matches!(what, What::Blank));
    let covered = attached(|what| matches!(what, What::TreeClone { .. }));
    numbers(detail).starts_with(&[masked, covered])
}

fn capabilities(view: &View<'_>, detail: &str) -> bool {
    let line = view.line(Phase::Payload);
    let kept = line.first(OpKind::DropBounding).zip(line.first(OpKind::AmbientSet));
    kept.is_some_and(|(bounding, ambient)| match (bounding.op, ambient.op) {
        (Op::DropBounding { keep }, Op::AmbientSet { capabilities }) => {
            detail == format!("bounding {keep}, ambient {capabilities}")
        }
        _ => false,
    })
}

/// What the exec leaves of them: it clears keep-caps (`capabilities(7)`).
pub(super) fn securebits(view: &View<'_>) -> Option<SecureBits> {
    view.line(Phase::Payload).first(OpKind::SetSecureBits).and_then(|seen| match seen.op {
        Op::SetSecureBits { bits } => Some(bits.without(SecureBits::KEEP_CAPS)),
        _ => None,
    })
}

fn umask(view: &View<'_>, detail: &str) -> bool {
    let last = view.of_in(OpKind::Umask, Phase::Enter).next_back();
    last.is_some_and(|seen| matches!(seen.op, Op::Umask { mode } if detail == format!("{mode:03o}")))
}

/// Those of the payload, the very ones.
pub(super) fn supplementary_groups(view: &View<'_>, detail: &str) -> bool {
    view.line(Phase::Payload).of(OpKind::SetGroups).next_back().is_some_and(|seen| match seen.op {
        Op::SetGroups { groups } => detail == shown_groups(groups.iter()),
        _ => false,
    })
}

fn clock_offsets(view: &View<'_>, detail: &str) -> bool {
    view.of_in(OpKind::Write, Phase::Enter).any(|seen| {
        matches!(seen.op, Op::Write { path, content, .. } if path == c"1/timens_offsets"
            && content.0 == detail.replace(" s, ", " 0\n").replace(" s", " 0\n").as_bytes())
    })
}

/// What this process writes itself: a range, or one id of each kind.
fn id_map(view: &View<'_>, detail: &str) -> bool {
    if let Some(ids) = detail.strip_prefix("uid ").and_then(|ids| ids.strip_suffix("; setgroups denied")) {
        let maps = ids.split_once(", gid ").map(|ids| [ids.0, ids.1].map(|map| map.replace(" is ", " ") + " 1\n"));
        let written = |name: &CStr, map: &str| {
            view.of_in(OpKind::Write, Phase::Attend)
                .any(|seen| matches!(seen.op, Op::Write { path, content, .. } if path == name && content.0 == map.as_bytes()))
        };
        return maps.is_some_and(|[uid, gid]| written(c"uid_map", &uid) && written(c"gid_map", &gid));
    }
    let Some((count, base)) = detail.strip_suffix(" on").and_then(|range| range.split_once(" ids from ")) else {
        return true;
    };
    let extent = format!(" {base} {count}");
    ["uid_map", "gid_map"].iter().all(|name| {
        view.of_in(OpKind::Write, Phase::Attend).any(|seen| {
            matches!(seen.op, Op::Write { path, content, .. } if path.to_bytes() == name.as_bytes()
                && content.0.strip_suffix(b"\n").is_some_and(|line| line.ends_with(extent.as_bytes())))
        })
    })
}

/// Where no cgroup counts them, the rlimit does, in a user namespace.
fn processes(view: &View<'_>, detail: &str) -> bool {
    let count = numbers(detail).first().copied();
    let limited = |seen: &Seen<'_>| matches!(seen.op, Op::SetLimit { resource: Resource::NPROC, hard, .. } if Some(hard) <= count);
    detail.contains("(cgroup")
        || (view.namespaces().has(Namespaces::USER) && view.of_in(OpKind::SetLimit, Phase::Enter).any(limited))
}

fn attached(view: &View<'_>, kind: &CStr) -> bool {
    view.things().any(|(_, thing)| thing.is_mount(kind) && thing.attached.is_some())
}

fn process_view(view: &View<'_>, _: &str) -> bool {
    attached(view, c"proc") && view.namespaces().has(Namespaces::PID)
}

fn sysfs(view: &View<'_>, detail: &str) -> bool {
    attached(view, c"sysfs") == (detail != OF_HOST && !detail.starts_with("absent"))
}
