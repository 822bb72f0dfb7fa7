//! The last steps of a process of the container, in the one order that works.

use skep_sys::abi::{CapabilitySet, SeccompFlags, SecureBits};
use skep_sys::{Op, OpKind};

use super::{Findings, the_one};
use crate::plan::Phase;
use crate::verify::view::{Seen, View};

/// NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE on, KEEP_CAPS off, all locked.
const LOCKED: SecureBits = SecureBits(0b1110_1111);

pub(super) fn ids_order(view: &View<'_>, found: &mut Findings) {
    for phase in [Phase::Enter, Phase::Payload, Phase::Init] {
        let order = [OpKind::SetGroups, OpKind::SetResGid, OpKind::SetResUid];
        for (before, after) in [(0, 1), (0, 2), (1, 2)] {
            let Some(late) = view.of_in(order[before], phase).next_back() else { continue };
            for seen in view.of_in(order[after], phase).filter(|seen| seen.at < late.at) {
                found.at(seen, format!("comes before {}", order[before].name()));
            }
        }
        if let (Some(gid), None) = (view.first(OpKind::SetResGid, phase), view.first(OpKind::SetResUid, phase)) {
            found.at(gid, "changes the group id and not the user id");
        }
        if let (None, Some(uid)) = (view.first(OpKind::SetResGid, phase), view.first(OpKind::SetResUid, phase)) {
            found.at(uid, "changes the user id and not the group id");
        }
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
    for phase in view.confining() {
        let mut last: Option<&Seen<'_>> = None;
        for (kind, needed) in ORDER {
            let seen = match needed {
                true => the_one(view, kind, phase, found),
                false => view.first(kind, phase),
            };
            let Some(seen) = seen else { continue };
            if let Some(last) = last.filter(|last| last.at > seen.at) {
                found.at(seen, format!("comes before {}", last.kind().name()));
            }
            last = Some(seen);
        }
    }
}

/// What a phase sets.
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

fn set_by(view: &View<'_>, phase: Phase) -> Set {
    let mut set = Set { no_new_privs: view.has(OpKind::NoNewPrivs, phase), ..Set::default() };
    for seen in view.phase(phase) {
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
    for phase in view.confining() {
        let Some(proof) = the_one(view, OpKind::ProveCredentials, phase, found) else { continue };
        let set = set_by(view, phase);
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
        for seen in view.phase(phase).iter().filter(|seen| seen.at > proof.at) {
            if !matches!(
                seen.kind(),
                OpKind::Close
                    | OpKind::Chdir
                    | OpKind::Dumpable
                    | OpKind::Seccomp
                    | OpKind::Announce
                    | OpKind::Exec
                    | OpKind::Reap
            ) {
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
        if flags.without(SeccompFlags::LOG) != SeccompFlags::NONE || listener.is_some() {
            found.at(seen, "is weakened by its flags");
        }
    }
    for phase in view.confining() {
        let mut filters = view.of_in(OpKind::Seccomp, phase);
        let Some(filter) = filters.next() else { continue };
        for more in filters {
            found.at(more, "is a second filter");
        }
        let privileged = !view.has(OpKind::NoNewPrivs, phase);
        for seen in view.phase(phase).iter().filter(|seen| seen.at > filter.at) {
            let fits = match seen.kind() {
                OpKind::Announce | OpKind::Exec => phase == Phase::Payload,
                OpKind::Close | OpKind::Reap => phase == Phase::Init,
                OpKind::CapSet | OpKind::AmbientSet | OpKind::ProveCredentials | OpKind::Chdir => privileged,
                _ => false,
            };
            if !fits {
                found.at(seen, "comes after the filter");
            }
        }
    }
}

pub(super) fn filter_before_admin_goes(view: &View<'_>, found: &mut Findings) {
    for phase in view.confining().filter(|phase| !view.has(OpKind::NoNewPrivs, *phase)) {
        let Some(filter) = view.first(OpKind::Seccomp, phase) else { continue };
        if view.first(OpKind::CapSet, phase).is_none_or(|caps| caps.at < filter.at) {
            found.at(filter, "is installed without the right to");
        }
    }
}

pub(super) fn inheritable_is_ambient(view: &View<'_>, found: &mut Findings) {
    for phase in view.confining() {
        let set = set_by(view, phase);
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
        let own = set.uid == Some(0) || phase == Phase::Init || permitted == ambient;
        found.unless(own, "a user that is not root keeps more than was asked for");
        found.unless(phase != Phase::Init || ambient == CapabilitySet::EMPTY, "the stub init passes capabilities on");
    }
}

pub(super) fn no_grant_locked(view: &View<'_>, found: &mut Findings) {
    for phase in view.confining() {
        let set = set_by(view, phase);
        let expected = match set.bounding {
            Some(CapabilitySet::EMPTY) => LOCKED,
            _ => SecureBits::KEEP_CAPS,
        };
        found.unless(set.bits == Some(expected), "the securebits do not fit the bounding set");
    }
}
