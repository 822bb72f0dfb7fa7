//! The container's cgroups: what is in them, what they limit, and that they
//! go.

use std::ffi::CStr;

use skep_sys::abi::{Namespaces, signal};
use skep_sys::program::watched;
use skep_sys::{At, Op, OpKind, Slot};

use super::files::is_cgroup;
use super::{Findings, the_one};
use crate::compile::cgroups::{DELEGATED, DELEGATION, FREEZING, KILL_ALL};
use crate::plan::{Phase, role};
use crate::report::Outcome;
use crate::verify::view::{Id, Seen, View, What};

/// The files that hold a limit of the report, on v2 and on v1. What has none
/// of its own on v1 goes with the memory limit.
pub(super) fn limit_files(limit: &str) -> &'static [&'static [&'static CStr]] {
    match limit {
        "memory" => &[&[c"memory.max", c"memory.swap.max"], &[c"memory.limit_in_bytes"]],
        "memory high" => &[&[c"memory.high"]],
        "memory low" => &[&[c"memory.low"], &[c"memory.soft_limit_in_bytes"]],
        "memory min" => &[&[c"memory.min"]],
        "swap" => &[&[c"memory.swap.max"], &[c"memory.memsw.limit_in_bytes"]],
        "oom group" => &[&[c"memory.oom.group"], &[c"memory.limit_in_bytes"]],
        "cpu" => &[&[c"cpu.max"], &[c"cpu.cfs_quota_us", c"cpu.cfs_period_us"]],
        "cpu weight" => &[&[c"cpu.weight"], &[c"cpu.shares"]],
        "cpuset cpus" => &[&[c"cpuset.cpus"]],
        "cpuset mems" => &[&[c"cpuset.mems"]],
        "io weight" => &[&[c"io.weight"], &[c"blkio.bfq.weight"]],
        "pids" => &[&[c"pids.max"]],
        device if device.starts_with("io ") => &[
            &[c"io.max"],
            &[c"blkio.throttle.read_bps_device"],
            &[c"blkio.throttle.write_bps_device"],
            &[c"blkio.throttle.read_iops_device"],
            &[c"blkio.throttle.write_iops_device"],
        ],
        _ => &[],
    }
}

fn applied<'v>(view: &View<'v>, item: &str) -> Option<&'v str> {
    match view.plan.report().of(item) {
        Some(Outcome::Applied(detail)) => Some(detail),
        _ => None,
    }
}

/// A group that limits nothing can still kill or freeze.
fn has_other_use(view: &View<'_>) -> bool {
    [KILL_ALL, FREEZING, DELEGATION].iter().any(|item| applied(view, item).is_some())
}

/// Without a pid namespace the end of the first process leaves the others: a
/// group must kill them.
fn everybody_ends(view: &View<'_>, found: &mut Findings) {
    let own = view.namespaces().has(Namespaces::PID);
    let kills = view.undo.iter().any(|(_, op)| matches!(op, Some(Op::KillGroup { .. })));
    found.unless(own || kills, "processes of the container outlive it: no pid namespace, and no group is killed");
    found.unless(applied(view, KILL_ALL).is_none() || (kills && !own), "a group is reported to be killed and is not");
}

/// The files and the ids of a group that is handed over.
pub(super) fn delegated_as_said(view: &View<'_>, found: &mut Findings) {
    let said = applied(view, DELEGATION);
    let given: Vec<&Seen<'_>> = view.of_in(OpKind::Chown, Phase::Prepare).collect();
    for seen in &given {
        let Op::Chown { uid, gid, .. } = seen.op else { continue };
        let named = said.is_some_and(|said| said.contains(&format!("({uid}:{gid})")));
        let fits = match view.thing(seen.on).what {
            What::Inside { below, path } => is_cgroup(view, below, seen.at) && DELEGATED.contains(&path),
            _ => is_cgroup(view, seen.on, seen.at),
        };
        if !named || !fits || uid == 0 || gid == 0 || uid == u32::MAX || gid == u32::MAX {
            found.at(seen, "gives away what is not said, or to somebody else");
        }
    }
    let whole = given.is_empty() || given.len() == DELEGATED.len() + 1;
    found.unless(whole, "a group is handed over in part");
}

/// The path of the group that an op makes.
fn made_path(view: &View<'_>, mkdir: &Seen<'_>) -> Option<Vec<u8>> {
    match (mkdir.op, view.thing(mkdir.on).what) {
        _ if super::registry::makes_registry(view, mkdir) || super::named::makes(view, mkdir) => None,
        (Op::Mkdir { name, .. }, What::Host(parent)) => {
            let parent = parent.to_bytes();
            Some([parent.strip_suffix(b"/").unwrap_or(parent), name.to_bytes()].join(&b'/'))
        }
        _ => None,
    }
}

fn removes(op: Option<&Op<'_>>, path: &[u8]) -> bool {
    matches!(op, Some(Op::RemoveGroup { dir: At::Cwd, path: other }) if other.to_bytes() == path)
}

/// Groups whose processes are killed, of those that the plan makes: `None`
/// where others are.
fn killed_groups<'v>(ops: impl Iterator<Item = &'v Op<'v>>, groups: &[(&Seen<'_>, Vec<u8>)]) -> Option<Vec<Vec<u8>>> {
    let paths = ops.filter_map(|op| match op {
        Op::KillGroup { dir, path } => Some((*dir, path.to_bytes().to_vec())),
        _ => None,
    });
    paths.map(|(dir, path)| (dir == At::Cwd && groups.iter().any(|(_, made)| *made == path)).then_some(path)).collect()
}

pub(super) fn undo_of_everything_made(view: &View<'_>, found: &mut Findings) {
    let groups: Vec<(&Seen<'_>, Vec<u8>)> =
        view.of_in(OpKind::Mkdir, Phase::Prepare).filter_map(|seen| Some((seen, made_path(view, seen)?))).collect();
    let undo = |of: &Seen<'_>, is: &dyn Fn(&Op<'_>) -> bool| {
        view.undo.iter().rposition(|(index, op)| *index == of.index && op.as_ref().is_some_and(is))
    };
    let spawn = view.first(OpKind::Spawn, Phase::Prepare);
    let child = view.spawn.map(|spawn| spawn.pidfd);
    // The last of the list is taken back first.
    let killed = spawn.and_then(|spawn| {
        undo(spawn, &|op| matches!(op, Op::PidfdSignal { process, signal: signal::KILL } if Some(*process) == child))
    });
    let waited = spawn
        .and_then(|spawn| undo(spawn, &|op| matches!(op, Op::PidfdWait { process, .. } if Some(*process) == child)));
    found.unless(waited.is_some() && killed > waited, "the child is not killed and then waited for");
    for (mkdir, path) in &groups {
        match undo(mkdir, &|op| removes(Some(op), path)) {
            None => found.at(mkdir, "has no undo"),
            Some(removed) if Some(removed) > waited => found.at(mkdir, "is taken back while the child is in it"),
            Some(_) => {}
        }
    }
    let removals = view.undo.iter().filter(|(_, op)| matches!(op, Some(Op::RemoveGroup { .. }))).count();
    found.unless(removals == groups.len(), "the undo removes what the plan did not make");
    let locks: Vec<&Seen<'_>> = view.of_in(OpKind::LockIds, Phase::Prepare).collect();
    for lock in &locks {
        let Op::LockIds { path, first, count, into } = lock.op else { continue };
        // The handle keeps what is in that slot, and gives it back at the end.
        let given = |op: &Op<'_>| *op == Op::ReleaseIds { file: into, path, first, count };
        match undo(lock, &given) {
            Some(released) if Some(released) < waited && into == role::RANGE => {}
            _ => found.at(lock, "is not given back once the child has ended"),
        }
    }
    let releases = view.undo.iter().filter(|(_, op)| matches!(op, Some(Op::ReleaseIds { .. }))).count();
    found.unless(releases == locks.len() && releases <= 1, "the undo gives back what the plan did not lock");
    // The same groups on either way, before the child is waited for: one that
    // is frozen, or has left others behind, does not end by its own signal.
    let undone = killed_groups(view.undo.iter().filter_map(|(_, op)| op.as_ref()), &groups);
    let last = view.undo.iter().position(|(_, op)| matches!(op, Some(Op::KillGroup { .. })));
    found.unless(undone.is_some() && (last.is_none() || last > waited), "the undo kills what the plan did not make");
    if !view.watch.is_empty() {
        let watched = killed_groups(view.watch.iter().flatten(), &groups);
        let sorted = |list: Option<Vec<Vec<u8>>>| list.map(|mut list| (list.sort(), list).1);
        found.unless(sorted(watched) == sorted(undone), "the watcher and the undo kill different groups");
    }
    // Who enters is in the container's process-id namespace (rule 69).
    if !view.enters() {
        everybody_ends(view, found);
    }

    // A container with a stub init on a lifeline that leaves nothing dies by itself.
    let links = view.has(OpKind::LinkAdd, Phase::Attend) || view.has(OpKind::LinkMove, Phase::Attend);
    let needed = !groups.is_empty() || links || view.phase(Phase::Init).is_empty();
    if !needed && view.watch.is_empty() && !view.has(OpKind::Entrust, Phase::Prepare) {
        return;
    }
    entrusted(view, &groups, found);
}

fn entrusted(view: &View<'_>, groups: &[(&Seen<'_>, Vec<u8>)], found: &mut Findings) {
    let Some(entrust) = the_one(view, OpKind::Entrust, Phase::Prepare, found) else { return };
    if let Op::Entrust { ops, watcher, .. } = entrust.op
        && (ops.0 != view.plan.watch.as_slice() || watcher != role::WATCHER || ops.0.len() > watched::OPS)
    {
        found.at(entrust, "entrusts other ops than the plan's, or more than the watcher takes");
    }
    let named = view.of_in(OpKind::Mkdir, Phase::Prepare).filter(|seen| super::named::makes(view, seen));
    for seen in groups.iter().map(|(seen, _)| *seen).chain(named).chain(view.of(OpKind::Spawn)) {
        if seen.at < entrust.at {
            found.at(seen, "makes something that the watcher does not know of");
        }
    }
    let dismissed =
        view.undo.iter().position(|(of, op)| *of == entrust.index && matches!(op, Some(Op::Dismiss { .. })));
    found.unless(dismissed == Some(0), "the watcher is not dismissed last");

    let mut ops = view.watch.iter().flatten().peekable();
    // What rules of their own say of the registry, and of what bears the machine's name.
    while ops.next_if(|op| super::named::removes(view, op)).is_some() {}
    let _ = ops.next_if(|op| matches!(op, Op::UnlinkSame { .. }));
    let killed = matches!(ops.next(), Some(Op::PidfdSignal { process: Slot(0), signal: signal::KILL }));
    while ops.next_if(|op| matches!(op, Op::KillGroup { .. })).is_some() {}
    let waited = matches!(ops.next(), Some(Op::PidfdWait { process: Slot(0), into: Slot(into), .. }) if usize::from(*into) < watched::PLACES);
    found.unless(killed && waited, "the watcher does not kill the child first");
    let mut rest = ops;
    // Likewise of interfaces.
    while rest.next_if(|op| matches!(op, Op::LinkMove { .. } | Op::ZoneLeave { .. } | Op::LinkRemove { .. })).is_some()
    {
    }
    let removed = groups.iter().all(|(_, path)| removes(rest.next(), path)) && rest.next().is_none();
    found.unless(removed, "the watcher does not remove exactly what the plan makes");

    let child = view.spawn.map(|spawn| spawn.pidfd);
    let handed = |seen: &Seen<'_>| matches!(seen.op, Op::EntrustFile { place: Slot(0), file, watcher, .. } if Some(file) == child && watcher == role::WATCHER);
    let handed = view.of_in(OpKind::EntrustFile, Phase::Attend).any(handed);
    found.unless(handed, "the watcher does not get the child's pidfd");
}

pub(super) fn born_limited(view: &View<'_>, found: &mut Findings) {
    let mut moved: Vec<Id> = view
        .of_in(OpKind::WritePid, Phase::Attend)
        .filter(|seen| matches!(seen.op, Op::WritePid { path, .. } if path == c"cgroup.procs"))
        .map(|seen| seen.on)
        .collect();
    moved.extend(view.spawn.map(|spawn| spawn.cgroup).filter(|id| *id != Id::NONE));
    let proved = moved.iter().all(|group| is_cgroup(view, *group, usize::MAX));
    found.unless(proved, "the child is put into what is not proved to be a cgroup");
    let made = view.of_in(OpKind::Mkdir, Phase::Prepare);
    let other = |mkdir: &&Seen<'_>| super::registry::makes_registry(view, mkdir) || super::named::makes(view, mkdir);
    for mkdir in made.filter(|mkdir| !other(mkdir)) {
        let path = made_path(view, mkdir);
        let opened = view.after(mkdir).filter(|next| match next.op {
            Op::OpenAt2 { dir: At::Cwd, path: opened, .. } => path.as_deref() == Some(opened.to_bytes()),
            _ => false,
        });
        match opened {
            None => found.at(mkdir, "makes a group that is not opened by the next op"),
            Some(opened) if !moved.contains(&opened.made) => found.at(mkdir, "makes a group that the child is not in"),
            Some(opened) => {
                let limits = [OpKind::Write, OpKind::BpfAttach, OpKind::Chown].into_iter();
                let limited =
                    limits.flat_map(|kind| view.of_in(kind, Phase::Prepare)).any(|seen| seen.on == opened.made);
                if !limited && !has_other_use(view) {
                    found.at(mkdir, "makes a group that is of no use");
                }
            }
        }
    }
    for seen in view.of_in(OpKind::Write, Phase::Prepare).chain(view.of(OpKind::BpfAttach)) {
        if !moved.contains(&seen.on) {
            found.at(seen, "limits a group that the child is not in");
        }
    }
}
