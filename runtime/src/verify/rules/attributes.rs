//! How the payload is scheduled, and settings of the kernel.

use skep_sys::abi::Namespaces;
use skep_sys::{Op, OpKind};

use super::Findings;
use super::files::is_procfs;
use crate::compile::sysctls::{Owner, owner};
use crate::plan::Phase;
use crate::report::Outcome;
use crate::spec::{IoPriority, NumberList, SchedulingPolicy};
use crate::verify::view::{Seen, View};

pub(super) fn scheduled_as_reported(view: &View<'_>, found: &mut Findings) {
    for (kind, item) in
        [(OpKind::Affinity, "processors"), (OpKind::Schedule, "scheduling"), (OpKind::IoPriority, "io priority")]
    {
        let reported = match view.plan.report().of(item) {
            Some(Outcome::Applied(detail)) => Some(detail.as_str()),
            _ => None,
        };
        let mut ops = view.of(kind);
        let first = ops.next();
        found.unless(first.is_some() == reported.is_some(), "the report says otherwise how it is scheduled");
        for more in ops {
            found.at(more, "comes a second time");
        }
        let (Some(seen), Some(detail)) = (first, reported) else { continue };
        if !says(seen.op, detail) {
            found.at(seen, format!("is not what the report says: {detail}"));
        }
        let (Op::Affinity { pid, pidfd, .. } | Op::Schedule { pid, pidfd, .. } | Op::IoPriority { pid, pidfd, .. }) =
            seen.op
        else {
            continue;
        };
        if view.spawn.is_none_or(|spawn| (spawn.pid, spawn.pidfd) != (pid, pidfd)) {
            found.at(seen, "is of another process than the child");
        }
    }
}

fn says(op: Op<'_>, detail: &str) -> bool {
    match op {
        Op::Affinity { cpus, .. } => {
            NumberList::parse(detail).is_ok_and(|list| !cpus.is_empty() && list.numbers().eq(cpus.iter()))
        }
        Op::Schedule { policy, nice, priority, .. } => {
            let nice = 20 - i64::from(nice);
            SchedulingPolicy::of_raw(policy, priority).is_some_and(|policy| match policy.has_nice() {
                true => (-20..=19).contains(&nice) && detail == format!("{policy}, nice {nice}"),
                false => {
                    policy.is_real_time() == (1..=99).contains(&priority) && nice == 0 && detail == policy.to_string()
                }
            })
        }
        Op::IoPriority { class, level, .. } => {
            IoPriority::of_raw(class, level).is_some_and(|priority| level <= 7 && detail == priority.to_string())
        }
        _ => false,
    }
}

/// The file of `/proc/sys` that an op writes, and what.
fn sysctl<'a>(view: &View<'a>, seen: &Seen<'a>) -> Option<(&'a str, &'a [u8])> {
    match seen.op {
        Op::Write { path, content, .. } if is_procfs(view, seen.on, seen.at) => {
            Some((path.to_str().ok()?.strip_prefix("sys/")?, content.0))
        }
        _ => None,
    }
}

pub(super) fn sysctls_own(view: &View<'_>, found: &mut Findings) {
    let own = view.namespaces();
    let written = || {
        view.of_in(OpKind::Write, Phase::Enter)
            .filter_map(|seen| Some((seen, sysctl(view, seen)?)))
            .filter(|(_, (path, _))| *path != "user/max_user_namespaces")
    };
    for (seen, (path, content)) in written() {
        let fits = match owner(path) {
            Some(Owner::Network) => own.has(Namespaces::NETWORK),
            Some(Owner::Ipc) => own.has(Namespaces::IPC),
            None => false,
        };
        if !fits {
            found.at(seen, "sets what is not the container's own");
        }
        let said = matches!(
            view.plan.report().of(&format!("sysctl {path}")),
            Some(Outcome::Applied(value)) if content.strip_suffix(b"\n") == Some(value.as_bytes())
        );
        if !said {
            found.at(seen, "is not what the report says");
        }
    }
    for item in view.plan.report().items() {
        if let Some(path) = item.name.strip_prefix("sysctl ") {
            found.unless(
                written().filter(|(_, (file, _))| *file == path).count() == 1,
                "a sysctl is reported and not set",
            );
        }
    }
}
