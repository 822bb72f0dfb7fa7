//! The plan as a whole, and the embedder's half of it.

use skep_sys::abi::signal;
use skep_sys::program::watched;
use skep_sys::{At, Op, OpKind, Slot};

use super::files::is_cgroup;
use super::{Findings, the_one};
use crate::plan::{Phase, role};
use crate::verify::view::{Id, Seen, View, What};

pub(super) fn plan_is_readable(view: &View<'_>, found: &mut Findings) {
    found.unless(view.readable, "the plan holds bytes that are no op, or another number of ops than it says");
    found.unless(view.undo.iter().all(|(_, op)| op.is_some()), "the undo holds bytes that are no op");
    found.unless(view.watch.iter().all(Option::is_some), "the watcher's ops hold bytes that are no op");
}

pub(super) fn slots_filled(view: &View<'_>, found: &mut Findings) {
    for (at, slot) in &view.unfilled {
        let why = format!("slot {slot} holds nothing of that sort");
        match view.ops().get(*at) {
            Some(seen) => found.at(seen, why),
            None => found.plan(why),
        }
    }
}

/// The ops of each phase, by their bit. A kind that is in no list is in no plan.
const OWN: [u128; 5] = {
    use OpKind::*;
    const BUILD: &[OpKind] = &[OpenAt2, OpenTree, MountSetAttr, Prove, Close, Socket, Mkdir, Write];
    const CONFINE: &[OpKind] = &[
        DropBounding,
        SetSecureBits,
        SetGroups,
        SetResGid,
        SetResUid,
        CapSet,
        AmbientSet,
        NoNewPrivs,
        ProveCredentials,
    ];
    [
        bits(&[BUILD, &[Lock, SocketPair, Pipe, Entrust, Spawn, BpfDevice, BpfAttach]]),
        bits(&[&[
            OpenProcess,
            Write,
            WritePid,
            IdMapHelper,
            MapNamespace,
            OpenAt2,
            MountSetAttr,
            EntrustFile,
            Release,
            Prove,
            Close,
        ]]),
        bits(&[
            BUILD,
            CONFINE,
            &[Adopt, Dup, Await, Dumpable, SetSid, ResetSignals, Umask, Unshare],
            &[
                FsOpen,
                FsString,
                FsFlag,
                FsCreate,
                FsMount,
                MoveMount,
                Create,
                CreateSecret,
                Chown,
                Symlink,
                Fchdir,
                PivotRoot,
                UmountOld,
                Chdir,
                ProveRoot,
            ],
            &[HostName, DomainName, LinkUp, Bind, SessionKeyring, Personality, SetLimit, BlockSignals, Fork],
            &[SendFile, OpenTerminal],
        ]),
        bits(&[
            CONFINE,
            &[Seccomp, SetSid, ResetSignals, ControllingTerminal, Dup, Chdir, Close, SendFile, Announce, Exec],
        ]),
        bits(&[CONFINE, &[Seccomp, SignalFd, Close, Adopt, Dumpable, Reap]]),
    ]
};

const _: () = assert!(OpKind::ALL.len() <= 128);

const fn bits(lists: &[&[OpKind]]) -> u128 {
    let (mut set, mut list) = (0, 0);
    while list < lists.len() {
        let mut place = 0;
        while place < lists[list].len() {
            set |= 1 << lists[list][place] as u8;
            place += 1;
        }
        list += 1;
    }
    set
}

pub(super) fn phases_own_ops(view: &View<'_>, found: &mut Findings) {
    for seen in view.ops() {
        if OWN[seen.phase as usize] >> seen.kind() as u8 & 1 == 0 {
            found.at(seen, format!("is no op of {}", seen.phase.name()));
        }
    }
    for (of, op) in view.undo.iter().filter_map(|(of, op)| Some((of, (*op)?))) {
        if !matches!(op.kind(), OpKind::Unlink | OpKind::PidfdSignal | OpKind::PidfdWait | OpKind::Dismiss) {
            found.plan(format!("{} takes back op {of} in the embedder", op.kind().name()));
        }
    }
    for op in view.watch.iter().flatten() {
        if !matches!(op.kind(), OpKind::Unlink | OpKind::PidfdSignal | OpKind::PidfdWait) {
            found.plan(format!("{} is no op for the watcher", op.kind().name()));
        }
    }
}

pub(super) fn no_stand_in(view: &View<'_>, found: &mut Findings) {
    let stands_in = |kind| matches!(kind, OpKind::Fail | OpKind::Watch | OpKind::Exit);
    for kind in [OpKind::Fail, OpKind::Watch, OpKind::Exit] {
        for seen in view.of(kind) {
            found.at(seen, "stands in for another op");
        }
    }
    let others = view.undo.iter().filter_map(|(_, op)| *op).chain(view.watch.iter().filter_map(|op| *op));
    for op in others.filter(|op| stands_in(op.kind())) {
        found.plan(format!("{} stands in for another op", op.kind().name()));
    }
}

/// The path of the group that an op makes.
fn made_path(view: &View<'_>, mkdir: &Seen<'_>) -> Option<Vec<u8>> {
    match (mkdir.op, view.thing(mkdir.on).what) {
        (Op::Mkdir { name, .. }, What::Host(parent)) => {
            let parent = parent.to_bytes();
            Some([parent.strip_suffix(b"/").unwrap_or(parent), name.to_bytes()].join(&b'/'))
        }
        _ => None,
    }
}

fn unlinks(op: Option<&Op<'_>>, path: &[u8]) -> bool {
    matches!(op, Some(Op::Unlink { dir: At::Cwd, path: other, directory: true }) if other.to_bytes() == path)
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
        match undo(mkdir, &|op| unlinks(Some(op), path)) {
            None => found.at(mkdir, "has no undo"),
            Some(removed) if Some(removed) > waited => found.at(mkdir, "is taken back while the child is in it"),
            Some(_) => {}
        }
    }
    let removals = view.undo.iter().filter(|(_, op)| matches!(op, Some(Op::Unlink { .. }))).count();
    found.unless(removals == groups.len(), "the undo removes what the plan did not make");

    // A container with a stub init on a lifeline that leaves nothing dies by itself.
    let needed = !groups.is_empty() || view.phase(Phase::Init).is_empty();
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
    for seen in groups.iter().map(|(seen, _)| *seen).chain(view.of(OpKind::Spawn)) {
        if seen.at < entrust.at {
            found.at(seen, "makes something that the watcher does not know of");
        }
    }
    let dismissed =
        view.undo.iter().position(|(of, op)| *of == entrust.index && matches!(op, Some(Op::Dismiss { .. })));
    found.unless(dismissed == Some(0), "the watcher is not dismissed last");

    let mut ops = view.watch.iter().flatten();
    let killed = matches!(ops.next(), Some(Op::PidfdSignal { process: Slot(0), signal: signal::KILL }));
    let waited = matches!(ops.next(), Some(Op::PidfdWait { process: Slot(0), into: Slot(into), .. }) if usize::from(*into) < watched::PLACES);
    found.unless(killed && waited, "the watcher does not kill the child first");
    let mut rest = ops;
    let removed = groups.iter().all(|(_, path)| unlinks(rest.next(), path)) && rest.next().is_none();
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
    for mkdir in view.of_in(OpKind::Mkdir, Phase::Prepare) {
        let path = made_path(view, mkdir);
        let opened = view.after(mkdir).filter(|next| match next.op {
            Op::OpenAt2 { dir: At::Cwd, path: opened, .. } => path.as_deref() == Some(opened.to_bytes()),
            _ => false,
        });
        match opened {
            None => found.at(mkdir, "makes a group that is not opened by the next op"),
            Some(opened) if !moved.contains(&opened.made) => found.at(mkdir, "makes a group that the child is not in"),
            Some(opened) => {
                let limits = [OpKind::Write, OpKind::BpfAttach].into_iter();
                if !limits.flat_map(|kind| view.of_in(kind, Phase::Prepare)).any(|seen| seen.on == opened.made) {
                    found.at(mkdir, "makes a group without a limit");
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
