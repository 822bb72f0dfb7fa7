//! The plan as a whole, and the embedder's half of it.

use skep_sys::OpKind;

use super::Findings;
use crate::verify::view::View;

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

/// Kinds of ops, each a bit.
type Kinds = [u64; 4];

const _: () = assert!(OpKind::ALL.len() <= 256);

/// The ops of each phase, by their bit. A kind that is in no list is in no plan.
const OWN: [Kinds; 5] = {
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
        bits(&[
            BUILD,
            &[
                Create,
                LockIds,
                SocketPair,
                SocketOption,
                Pipe,
                Entrust,
                Spawn,
                BpfDevice,
                BpfAttach,
                Chown,
                NetlinkSocket,
            ],
            // Of one file system, as its rule says.
            &[FsOpen, FsString, FsCreate, FsMount, MoveMount, Unmount],
        ]),
        bits(&[&[
            OpenProcess,
            Write,
            WritePid,
            IdMapHelper,
            MapNamespace,
            OpenAt2,
            MountSetAttr,
            EntrustFile,
            Affinity,
            Schedule,
            IoPriority,
            Release,
            Prove,
            Close,
            NetlinkSocket,
            LinkAdd,
            LinkAltName,
            LinkMaster,
            LinkMove,
            LinkOption,
            LinkUp,
            ZoneJoin,
            AddressAdd,
            RouteAdd,
            NfTables,
        ]]),
        bits(&[
            BUILD,
            CONFINE,
            &[Adopt, Vacate, Dup, Await, SetNs, Dumpable, SetSid, ResetSignals, Umask, Unshare],
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
                Mknod,
                Unlink,
                Fchdir,
                PivotRoot,
                UmountOld,
                Chdir,
                ProveRoot,
            ],
            &[
                HostName,
                DomainName,
                LinkUp,
                NetlinkSocket,
                LinkAltName,
                AddressAdd,
                RouteAdd,
                Bind,
                SessionKeyring,
                Personality,
                DenyWriteExecute,
                SetLimit,
                BlockSignals,
                Fork,
            ],
            &[SendFile, OpenTerminal, Arrive, SocketPair],
            &[LandlockRuleset, LandlockPath, LandlockPort, LandlockRestrict],
        ]),
        bits(&[
            CONFINE,
            &[Seccomp, SetSid, ResetSignals, ControllingTerminal, Dup, Chdir, Close, SendFile, Announce, Exec],
            &[LandlockRestrict, Await],
        ]),
        bits(&[CONFINE, &[Seccomp, SignalFd, Close, Adopt, Dumpable, Release, Reap]]),
    ]
};

/// The same of a plan that enters a container: nothing about trees, cgroups and
/// namespaces that are made.
const OWN_ENTERING: [Kinds; 5] = {
    use OpKind::*;
    const CONFINE: &[OpKind] =
        &[DropBounding, SetSecureBits, SetGroups, SetResGid, SetResUid, CapSet, AmbientSet, NoNewPrivs];
    [
        bits(&[&[OpenAt2, Prove, Pipe, SocketPair, OpenProcess, Close, Spawn]]),
        bits(&[&[WritePid, OpenProcess, Write, Affinity, Schedule, IoPriority, Close, Release]]),
        bits(&[
            CONFINE,
            &[Adopt, Vacate, Dup, Await, Dumpable, SetSid, ResetSignals, Umask, SetNs, Close, ProveRoot],
            &[DenyWriteExecute, Personality, SetLimit, SessionKeyring, OpenAt2, Prove, OpenTerminal, SendFile],
            &[ProveCredentials, Sibling],
            &[LandlockRuleset, LandlockPath, LandlockPort, LandlockRestrict],
        ]),
        bits(&[
            &[Await, SetSid, ResetSignals, ControllingTerminal, Dup, Seccomp, CapSet, AmbientSet],
            &[ProveCredentials, Chdir, Announce, Exec],
        ]),
        bits(&[&[SendFile, Exit]]),
    ]
};

/// What takes a container back.
const CLEARS_UP: [OpKind; 10] = [
    OpKind::Unmount,
    OpKind::Unlink,
    OpKind::UnlinkSame,
    OpKind::RemoveGroup,
    OpKind::KillGroup,
    OpKind::PidfdSignal,
    OpKind::PidfdWait,
    OpKind::LinkMove,
    OpKind::LinkRemove,
    OpKind::ZoneLeave,
];

const fn bits(lists: &[&[OpKind]]) -> Kinds {
    let (mut set, mut list) = ([0; 4], 0);
    while list < lists.len() {
        let mut place = 0;
        while place < lists[list].len() {
            let kind = lists[list][place] as usize;
            set[kind / 64] |= 1 << (kind % 64);
            place += 1;
        }
        list += 1;
    }
    set
}

pub(super) fn phases_own_ops(view: &View<'_>, found: &mut Findings) {
    let own = if view.enters() { &OWN_ENTERING } else { &OWN };
    for seen in view.ops() {
        let kind = seen.kind() as usize;
        if own[seen.phase as usize][kind / 64] >> (kind % 64) & 1 == 0 {
            found.at(seen, format!("is no op of {}", seen.phase.name()));
        }
    }
    for (of, op) in view.undo.iter().filter_map(|(of, op)| Some((of, (*op)?))) {
        let ends = op.kind() == OpKind::EndGroup && view.enters();
        let own = matches!(op.kind(), OpKind::Dismiss | OpKind::ReleaseIds | OpKind::NfTables);
        if !ends && !CLEARS_UP.contains(&op.kind()) && !own {
            found.plan(format!("{} takes back op {of} in the embedder", op.kind().name()));
        }
    }
    for op in view.watch.iter().flatten() {
        if !CLEARS_UP.contains(&op.kind()) {
            found.plan(format!("{} is no op for the watcher", op.kind().name()));
        }
    }
}

pub(super) fn no_stand_in(view: &View<'_>, found: &mut Findings) {
    let stands_in = |kind| matches!(kind, OpKind::Fail | OpKind::Watch | OpKind::Serve | OpKind::Exit);
    for kind in [OpKind::Fail, OpKind::Watch, OpKind::Serve, OpKind::Exit] {
        // A rule of its own says what ends who brought a process in.
        let ends = kind == OpKind::Exit && view.enters();
        for seen in view.of(kind).filter(|seen| !ends || seen.phase != crate::plan::Phase::Init) {
            found.at(seen, "stands in for another op");
        }
    }
    let others = view.undo.iter().filter_map(|(_, op)| *op).chain(view.watch.iter().filter_map(|op| *op));
    for op in others.filter(|op| stands_in(op.kind())) {
        found.plan(format!("{} stands in for another op", op.kind().name()));
    }
}
