//! The last steps of a process of the container, in the one order that works.

use skep_sys::abi::{CapabilitySet, SeccompFlags, SecureBits, cap};
use skep_sys::{Op, OpKind};

use super::{Findings, filter, once};
use crate::plan::Phase;
use crate::verify::view::{Line, Seen, View};

/// NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE on, KEEP_CAPS off, all locked.
const LOCKED: SecureBits = SecureBits(0b1110_1111);

pub(super) fn ids_order(view: &View<'_>, found: &mut Findings) {
    let building = |kind| view.building(kind).collect();
    ordered(building, found);
    for line in view.lines() {
        ordered(|kind| line.of(kind).collect(), found);
    }
}

fn ordered<'v, 'a: 'v>(of: impl Fn(OpKind) -> Vec<&'v Seen<'a>>, found: &mut Findings) {
    let [groups, gids, uids] = [OpKind::SetGroups, OpKind::SetResGid, OpKind::SetResUid].map(of);
    for (early, late) in [(&groups, &gids), (&groups, &uids), (&gids, &uids)] {
        let Some(last) = early.last() else { continue };
        for seen in late.iter().filter(|seen| seen.at < last.at) {
            found.at(seen, format!("comes before {}", last.kind().name()));
        }
    }
    match (gids.first(), uids.first()) {
        (Some(gid), None) => found.at(gid, "changes the group id and not the user id"),
        (None, Some(uid)) => found.at(uid, "changes the user id and not the group id"),
        _ => {}
    }
}

pub(super) fn caps_order(view: &View<'_>, found: &mut Findings) {
    const ORDER: [(OpKind, bool); 8] = [
        (OpKind::DropBounding, true),
        (OpKind::SetSecureBits, true),
        (OpKind::SetResGid, true),
        (OpKind::SetResUid, true),
        (OpKind::CapSet, true),
        (OpKind::AmbientSet, true),
        (OpKind::NoNewPrivs, false),
        (OpKind::ProveCredentials, true),
    ];
    for line in view.lines() {
        let mut last: Option<&Seen<'_>> = None;
        for (kind, needed) in ORDER {
            let seen = match kind {
                OpKind::CapSet => last_capset(view, line, found),
                _ if needed => once(line, kind, found),
                _ => line.first(kind),
            };
            let Some(seen) = seen else { continue };
            if let Some(last) = last.filter(|last| last.at > seen.at) {
                found.at(seen, format!("comes before {}", last.kind().name()));
            }
            last = Some(seen);
        }
    }
}

/// The capset that counts. One more may be there, directly before a filter
/// that needs CAP_SYS_ADMIN, which a change of ids takes out of the effective
/// set (`capabilities(7)`).
fn last_capset<'v, 'a>(view: &'v View<'a>, line: Line<'v, 'a>, found: &mut Findings) -> Option<&'v Seen<'a>> {
    let mut sets = line.of(OpKind::CapSet);
    let last = sets.next_back();
    if last.is_none() {
        found.plan(format!("{} has no {}", line.process.name(), OpKind::CapSet.name()));
    }
    for seen in sets {
        let filter = next_step(view, line, seen).is_some_and(|after| after.kind() == OpKind::Seccomp);
        if !filter || line.has(OpKind::NoNewPrivs) || line.first(OpKind::SetResUid).is_none_or(|ids| ids.at > seen.at) {
            found.at(seen, "is a capset that no filter needs");
        }
    }
    last
}

/// The op after, which in a plan that enters a container may be on the other
/// side of the clone: what only begins the process is passed over.
fn next_step<'v, 'a>(view: &'v View<'a>, line: Line<'v, 'a>, seen: &Seen<'_>) -> Option<&'v Seen<'a>> {
    use OpKind::{Await, ControllingTerminal, Dup, ResetSignals, SetSid, Sibling};
    let begins = |kind| matches!(kind, Sibling | Await | SetSid | ResetSignals | ControllingTerminal | Dup);
    if !view.enters() {
        return view.after(seen);
    }
    line.ops().find(|after| after.at > seen.at && !begins(after.kind()))
}

/// What a process sets.
#[derive(Default)]
struct Set {
    uid: Option<u32>,
    gid: Option<u32>,
    caps: Option<[CapabilitySet; 3]>,
    bounding: Option<CapabilitySet>,
    ambient: Option<CapabilitySet>,
    bits: Option<SecureBits>,
    no_new_privs: bool,
}

fn set_by(line: Line<'_, '_>) -> Set {
    let mut set = Set { no_new_privs: line.has(OpKind::NoNewPrivs), ..Set::default() };
    for seen in line.ops() {
        match seen.op {
            Op::SetResUid { uid } => set.uid = Some(uid),
            Op::SetResGid { gid } => set.gid = Some(gid),
            Op::CapSet { effective, permitted, inheritable } => set.caps = Some([effective, permitted, inheritable]),
            Op::DropBounding { keep } => set.bounding = Some(keep),
            Op::AmbientSet { capabilities } => set.ambient = Some(capabilities),
            Op::SetSecureBits { bits } => set.bits = Some(bits),
            _ => {}
        }
    }
    set
}

pub(super) fn credentials_proved(view: &View<'_>, found: &mut Findings) {
    for line in view.lines() {
        let Some(proof) = once(line, OpKind::ProveCredentials, found) else { continue };
        let set = set_by(line);
        if let Op::ProveCredentials { uid, gid, effective, permitted, bounding, ambient, securebits, no_new_privs } =
            proof.op
        {
            let equal = set.uid == Some(uid)
                && set.gid == Some(gid)
                // The proof takes the inheritable set for the ambient one.
                && set.caps == Some([effective, permitted, ambient])
                && set.bounding == Some(bounding)
                && set.ambient == Some(ambient)
                && set.bits == Some(securebits)
                && set.no_new_privs == no_new_privs;
            if !equal {
                found.at(proof, "proves other credentials than were set");
            }
        }
        for seen in line.ops().filter(|seen| seen.at > proof.at) {
            if !matches!(
                seen.kind(),
                OpKind::Adopt
                    | OpKind::Announce
                    | OpKind::Arrive
                    | OpKind::Await
                    | OpKind::BlockSignals
                    | OpKind::Chdir
                    | OpKind::Close
                    | OpKind::ControllingTerminal
                    | OpKind::Dumpable
                    | OpKind::Dup
                    | OpKind::Exec
                    | OpKind::Fork
                    | OpKind::LandlockRestrict
                    | OpKind::Reap
                    | OpKind::Release
                    | OpKind::ResetSignals
                    | OpKind::Seccomp
                    | OpKind::SetSid
                    | OpKind::Sibling
                    | OpKind::SignalFd
            ) && !filter::is_handing_over(view, seen)
            {
                found.at(seen, "comes after the proof");
            }
        }
    }
}

pub(super) fn no_op_after_filter(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::Seccomp) {
        let Op::Seccomp { program, flags, listener } = seen.op else { continue };
        let length = program.0.len();
        if length == 0 || length % 8 != 0 || length / 8 > 4096 {
            found.at(seen, "is no filter that the kernel takes");
        }
        // The one flag that changes who answers; rule 72 is about the listener.
        let asks = if listener.is_some() { SeccompFlags::NEW_LISTENER } else { SeccompFlags::NONE };
        if flags.without(SeccompFlags::LOG) != asks {
            found.at(seen, "is weakened by its flags");
        }
    }
    for line in view.lines() {
        let mut filters = line.of(OpKind::Seccomp);
        let Some(filter) = filters.next() else { continue };
        for more in filters {
            found.at(more, "is a second filter");
        }
        let privileged = !line.has(OpKind::NoNewPrivs);
        for seen in line.ops().filter(|seen| seen.at > filter.at) {
            let fits = match seen.kind() {
                OpKind::Announce | OpKind::Exec => line.process == Phase::Payload,
                OpKind::Close | OpKind::Reap | OpKind::Release => line.process == Phase::Init,
                OpKind::CapSet | OpKind::AmbientSet | OpKind::ProveCredentials | OpKind::Chdir => privileged,
                _ => false,
            };
            if !fits && !filter::is_handing_over(view, seen) {
                found.at(seen, "comes after the filter");
            }
        }
    }
}

pub(super) fn filter_before_admin_goes(view: &View<'_>, found: &mut Findings) {
    const ADMIN: CapabilitySet = CapabilitySet::EMPTY.with(cap::SYS_ADMIN);
    for line in view.lines().filter(|line| !line.has(OpKind::NoNewPrivs)) {
        let Some(filter) = line.first(OpKind::Seccomp) else { continue };
        let becomes_root = line.of(OpKind::SetResUid).all(|seen| matches!(seen.op, Op::SetResUid { uid: 0 }));
        let before = match view.enters() {
            false => view.before(filter),
            true => line.of(OpKind::CapSet).rfind(|seen| seen.at < filter.at),
        };
        let raised =
            before.is_some_and(|seen| matches!(seen.op, Op::CapSet { effective, .. } if effective.contains(ADMIN)));
        let late = line.of(OpKind::CapSet).next_back().is_none_or(|caps| caps.at < filter.at);
        if late || !(becomes_root || raised) {
            found.at(filter, "is installed without the right to");
        }
    }
}

pub(super) fn inheritable_is_ambient(view: &View<'_>, found: &mut Findings) {
    for line in view.lines() {
        let set = set_by(line);
        let (Some([effective, permitted, inheritable]), Some(ambient), Some(bounding)) =
            (set.caps, set.ambient, set.bounding)
        else {
            found.plan("a capability set is never set");
            continue;
        };
        found.unless(inheritable == ambient, "the inheritable set is not the ambient one");
        found.unless(permitted.contains(ambient), "the ambient set is not within the permitted one");
        found.unless(permitted.contains(effective), "the effective set is not within the permitted one");
        found.unless(bounding.contains(permitted), "the permitted set is not within the bounding set");
        let rooted = set.uid == Some(0) && !set.bits.is_some_and(|bits| bits.has(SecureBits::NOROOT));
        let own = rooted || line.process == Phase::Init || permitted == ambient;
        found.unless(own, "a user that is not root, or root without its rights, keeps more than was asked for");
        found.unless(
            line.process != Phase::Init || ambient == CapabilitySet::EMPTY,
            "the stub init passes capabilities on",
        );
    }
}

pub(super) fn no_grant_locked(view: &View<'_>, found: &mut Findings) {
    for line in view.lines() {
        let set = set_by(line);
        let Some(bits) = set.bits else { continue };
        let fits = match set.bounding {
            Some(CapabilitySet::EMPTY) => bits == LOCKED,
            // Until the exec, one of the two: both would leave it on for good.
            _ => {
                bits.has(SecureBits::KEEP_CAPS) != bits.has(SecureBits::KEEP_CAPS_LOCKED)
                    && bits.without(SecureBits(0xff)).is_empty()
            }
        };
        found.unless(fits, "the securebits do not fit the bounding set");
    }
}
