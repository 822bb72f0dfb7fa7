//! The user namespace: maps, groups, helpers, and memory that stays hidden.

use skep_sys::abi::Namespaces;
use skep_sys::{Op, OpKind, Proof};

use super::Findings;
use crate::plan::Phase;
use crate::verify::view::{Seen, View, What};

pub(super) fn dumpable_before_ids(view: &View<'_>, found: &mut Findings) {
    let hidden = view.of_in(OpKind::Dumpable, Phase::Enter).find(|seen| matches!(seen.op, Op::Dumpable { on: false }));
    match hidden {
        None => found.plan("the child never hides its memory"),
        Some(seen) if view.before(seen).is_none_or(|before| before.kind() != OpKind::Await) => {
            found.at(seen, "does not follow the wait directly");
        }
        Some(_) => {}
    }
    for kind in [OpKind::SetGroups, OpKind::SetResGid, OpKind::SetResUid] {
        for seen in view.of(kind).filter(|seen| hidden.is_none_or(|hidden| seen.at < hidden.at)) {
            found.at(seen, "changes an id while memory is open");
        }
    }
    for seen in view.of(OpKind::Dumpable).filter(|seen| matches!(seen.op, Op::Dumpable { on: true })) {
        found.at(seen, "opens memory to others");
    }
}

/// What is written into the child's `/proc` directory.
fn process_write<'v, 'a>(view: &'v View<'a>, name: &'static [u8]) -> impl Iterator<Item = (&'v Seen<'a>, &'a [u8])> {
    view.of_in(OpKind::Write, Phase::Attend).filter_map(move |seen| match seen.op {
        Op::Write { path, content, .. }
            if path.to_bytes() == name && matches!(view.thing(seen.on).what, What::Process) =>
        {
            Some((seen, content.0))
        }
        _ => None,
    })
}

fn setgroups_denied<'v, 'a>(view: &'v View<'a>) -> Option<&'v Seen<'a>> {
    process_write(view, b"setgroups").find(|(_, content)| *content == b"deny").map(|(seen, _)| seen)
}

pub(super) fn setgroups_before_maps(view: &View<'_>, found: &mut Findings) {
    let (mut groups, mut users) = (process_write(view, b"gid_map"), process_write(view, b"uid_map"));
    let (group, user) = (groups.next(), users.next());
    let helpers = view.of(OpKind::IdMapHelper).count();
    let expected = match (view.namespaces().has(Namespaces::USER), helpers) {
        (false, 0) => (false, false),
        (true, 2) => (false, false),
        (true, 0) => (true, true),
        _ => return found.plan("maps are written for another user namespace than there is"),
    };
    found.unless((group.is_some(), user.is_some()) == expected, "a map is missing, or is written where there is none");
    for (seen, _) in groups.chain(users) {
        found.at(seen, "writes a map twice");
    }
    let denied = setgroups_denied(view);
    if let (Some((group, content)), Some((user, _))) = (group, user) {
        if user.at < group.at {
            found.at(user, "maps users before groups");
        }
        match denied {
            Some(denied) if denied.at > group.at => found.at(denied, "comes after the group map"),
            None if mapped(content) == Some(1) && !view.has(OpKind::SetGroups, Phase::Enter) => {
                found.at(group, "maps one group while setgroups is allowed and the caller's groups stay");
            }
            _ => {}
        }
    }
    for (seen, content) in process_write(view, b"setgroups") {
        if content != b"deny" {
            found.at(seen, "allows setgroups");
        }
    }
}

/// The extents of a map as text; `None` where it is not one.
fn extents(text: &[u8]) -> Option<Vec<[u64; 3]>> {
    std::str::from_utf8(text)
        .ok()?
        .lines()
        .map(|line| {
            let mut numbers = line.split(' ').map(|word| word.parse::<u64>().ok());
            let extent = [numbers.next()??, numbers.next()??, numbers.next()??];
            numbers.next().is_none().then_some(extent)
        })
        .collect()
}

/// The user and the group of the host that are root inside.
pub(super) fn root(view: &View<'_>) -> Option<[u64; 2]> {
    if !view.namespaces().has(Namespaces::USER) {
        return Some([0, 0]);
    }
    let of = |name| {
        let all = process_write(view, name).next().and_then(|(_, text)| extents(text))?;
        all.iter().find(|extent| extent[0] == 0).map(|extent| extent[1])
    };
    Some([of(b"uid_map")?, of(b"gid_map")?])
}

fn mapped(text: &[u8]) -> Option<u64> {
    extents(text).map(|extents| extents.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent[2])))
}

/// Whether the kernel and the reader of `/etc/subuid` would both agree.
fn valid(extents: &[[u64; 3]]) -> bool {
    // The last id is the one that means "no id".
    const END: u64 = u32::MAX as u64;
    let fits = |extent: &[u64; 3], side: usize| extent[side].checked_add(extent[2]).is_some_and(|end| end <= END);
    let apart = |side: usize| {
        let mut ranges: Vec<(u64, u64)> = extents.iter().map(|extent| (extent[side], extent[2])).collect();
        ranges.sort_unstable();
        ranges.windows(2).all(|pair| pair[0].0.saturating_add(pair[0].1) <= pair[1].0)
    };
    !extents.is_empty()
        && extents.len() <= 340
        && extents.iter().all(|extent| extent[2] > 0 && fits(extent, 0) && fits(extent, 1))
        && apart(0)
        && apart(1)
}

pub(super) fn maps_valid(view: &View<'_>, found: &mut Findings) {
    for (seen, content) in process_write(view, b"gid_map").chain(process_write(view, b"uid_map")) {
        if !extents(content).is_some_and(|extents| valid(&extents)) {
            found.at(seen, "is no map that the kernel takes");
        }
    }
    for seen in view.of(OpKind::LockIds) {
        let Op::LockIds { first, count, .. } = seen.op else { continue };
        let held = |extent: &[u64; 3]| extent[1..] == [u64::from(first), u64::from(count)];
        for (_, content) in process_write(view, b"gid_map").chain(process_write(view, b"uid_map")) {
            if !extents(content).is_some_and(|extents| extents.iter().all(held)) {
                found.at(seen, "holds other ids than are mapped");
            }
        }
    }
    for seen in view.of(OpKind::IdMapHelper).chain(view.of(OpKind::MapNamespace)) {
        let maps = match seen.op {
            Op::IdMapHelper { map, .. } => [map, map],
            Op::MapNamespace { uid, gid, .. } => [uid, gid],
            _ => continue,
        };
        let good = maps.iter().all(|map| {
            let numbers: Vec<u64> = map.iter().map(u64::from).collect();
            let (triples, rest) = numbers.as_chunks::<3>();
            rest.is_empty() && valid(triples)
        });
        if !good {
            found.at(seen, "is no map that the kernel takes");
        }
    }
}

pub(super) fn groups_dropped(view: &View<'_>, found: &mut Findings) {
    if setgroups_denied(view).is_some() {
        for seen in view.of(OpKind::SetGroups) {
            found.at(seen, "sets groups after that was denied");
        }
        return;
    }
    // Where one id is mapped, they were denied to the container for good.
    let denied = matches!(view.plan.report().of("supplementary groups"), Some(crate::report::Outcome::Unsupported(_)));
    let user =
        view.of(OpKind::SetNs).any(|seen| matches!(seen.op, Op::SetNs { kind, .. } if kind.has(Namespaces::USER)));
    if view.enters() && denied && user {
        return;
    }
    for line in view.lines() {
        found.unless(line.has(OpKind::SetGroups), "the caller's groups reach a process of the container");
    }
    if view.namespaces().has(Namespaces::USER) {
        let empty = |seen: &Seen<'_>| matches!(seen.op, Op::SetGroups { groups } if groups.is_empty());
        let first = view.building(OpKind::SetGroups).next();
        found.unless(first.is_some_and(empty), "the child keeps the caller's groups while it builds");
        for kind in [OpKind::SetResGid, OpKind::SetResUid] {
            let root = |seen: &&Seen<'_>| matches!(seen.op, Op::SetResGid { gid: 0 } | Op::SetResUid { uid: 0 });
            found.unless(view.building(kind).any(|seen| root(&seen)), "the child builds with an id that is not mapped");
        }
    }
}

pub(super) fn helpers_proved(view: &View<'_>, found: &mut Findings) {
    let mut programs = Vec::new();
    for seen in view.of(OpKind::IdMapHelper) {
        let thing = view.thing(seen.on);
        let path = match (thing.what, thing.proved(seen.at)) {
            (What::Host(path), Some(Proof::OwnedByRoot)) if path.to_bytes().first() == Some(&b'/') => path,
            _ => {
                found.at(seen, "runs a program that is not proved to be root's");
                continue;
            }
        };
        if programs.contains(&path) {
            found.at(seen, "runs the same helper twice");
        }
        programs.push(path);
        let Op::IdMapHelper { pid, .. } = seen.op else { continue };
        if view.spawn.is_none_or(|spawn| spawn.pid != pid) {
            found.at(seen, "maps ids of another process");
        }
        if !view.of_in(OpKind::OpenProcess, Phase::Attend).any(|open| open.at < seen.at) {
            found.at(seen, "maps ids of a process that is not pinned");
        }
    }
    for seen in view.of(OpKind::OpenProcess) {
        if let (Op::OpenProcess { pid, pidfd, .. }, Some(spawn)) = (seen.op, view.spawn)
            && (pid != spawn.pid || pidfd != spawn.pidfd)
        {
            found.at(seen, "opens another process than the child");
        }
    }
}
