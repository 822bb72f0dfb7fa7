//! Mutants for the rules in `rules/credentials.rs`.

use skep_sys::abi::{CapabilitySet, SeccompFlags, SecureBits};
use skep_sys::wire::Blob;
use skep_sys::{Op, OpKind};

use super::{Mutant, cut, drop, each, earlier, insert, last, mutant, place, put};
use crate::plan::Phase::{Enter, Init, Payload};
use crate::plan::{Plan, role};

pub(super) const ALL: &[Mutant] = &[
    mutant(17, "payload is process 1/root", "user before groups", |plan| {
        earlier(plan, Payload, OpKind::SetResUid, OpKind::SetGroups)
    }),
    mutant(17, "payload is process 1", "user before group", |plan| {
        earlier(plan, Payload, OpKind::SetResUid, OpKind::SetResGid)
    }),
    mutant(17, "subordinate", "user before group while building", |plan| {
        earlier(plan, Enter, OpKind::SetResUid, OpKind::SetResGid)
    }),
    mutant(17, "payload is process 1", "no group", |plan| drop(plan, Payload, OpKind::SetResGid)),
    mutant(17, "default/root", "user before groups, for both", |plan| {
        let at = last(plan, Enter, OpKind::SetGroups);
        insert(plan, Enter, at, Op::SetResUid { uid: 0 })
    }),
    mutant(18, "default", "both bounding sets stay full", |plan| drop(plan, Enter, OpKind::DropBounding)),
    mutant(18, "default", "the payload's ids change again", |plan| insert(plan, Payload, 0, Op::SetResUid { uid: 5 })),
    mutant(18, "default", "one capset more", |plan| {
        let none = CapabilitySet::EMPTY;
        let again = Op::CapSet { effective: none, permitted: none, inheritable: none };
        insert(plan, Enter, last(plan, Enter, OpKind::CapSet), again)
    }),
    mutant(18, "payload is process 1", "bounding set stays full", |plan| drop(plan, Payload, OpKind::DropBounding)),
    mutant(18, "new privileges", "the stub init's bounding set stays full", |plan| {
        drop(plan, Init, OpKind::DropBounding)
    }),
    mutant(18, "payload is process 1", "capset before ids", |plan| {
        earlier(plan, Payload, OpKind::CapSet, OpKind::SetResGid)
    }),
    mutant(18, "capabilities of root", "capset before securebits", |plan| {
        earlier(plan, Enter, OpKind::CapSet, OpKind::SetSecureBits)
    }),
    mutant(18, "payload is process 1", "ambient stays", |plan| drop(plan, Payload, OpKind::AmbientSet)),
    mutant(18, "payload is process 1", "proof before no_new_privs", |plan| {
        earlier(plan, Payload, OpKind::ProveCredentials, OpKind::NoNewPrivs)
    }),
    mutant(18, "payload is process 1", "ids set again", |plan| {
        insert(plan, Payload, place(plan, Payload, OpKind::ProveCredentials), Op::SetResUid { uid: 5 })
    }),
    mutant(19, "payload is process 1", "no proof", |plan| drop(plan, Payload, OpKind::ProveCredentials)),
    mutant(19, "new privileges", "no proof of the stub init", |plan| drop(plan, Init, OpKind::ProveCredentials)),
    mutant(19, "payload is process 1", "no_new_privs is not set", |plan| drop(plan, Payload, OpKind::NoNewPrivs)),
    mutant(19, "new privileges of a user", "another user is proved", |plan| {
        each(plan, Payload, OpKind::SetResUid, |_| Op::SetResUid { uid: 0 })
    }),
    mutant(19, "payload is process 1", "more stays than is proved", |plan| {
        each(plan, Payload, OpKind::DropBounding, |_| Op::DropBounding { keep: CapabilitySet(1) })
    }),
    mutant(19, "default", "capabilities after the proof", |plan| {
        insert(plan, Payload, place(plan, Payload, OpKind::Chdir), Op::AmbientSet { capabilities: CapabilitySet(1) })
    }),
    mutant(20, "payload is process 1", "filter before no_new_privs", |plan| {
        earlier(plan, Payload, OpKind::Seccomp, OpKind::NoNewPrivs)
    }),
    mutant(20, "payload is process 1", "something after the filter", |plan| {
        insert(plan, Payload, place(plan, Payload, OpKind::Announce), Op::Chdir { path: c"/" })
    }),
    mutant(20, "new privileges", "ids after the filter", |plan| {
        earlier(plan, Payload, OpKind::Seccomp, OpKind::SetResUid)
    }),
    mutant(20, "payload is process 1", "an empty filter", |plan| filter(plan, Blob(b""), SeccompFlags::NONE)),
    mutant(20, "payload is process 1", "half an instruction", |plan| filter(plan, Blob(b"12345"), SeccompFlags::NONE)),
    mutant(20, "payload is process 1", "a supervised filter", |plan| {
        filter(plan, Blob(b"12345678"), SeccompFlags::NEW_LISTENER)
    }),
    mutant(20, "listener", "no flag for the listener", |plan| {
        each(plan, Payload, OpKind::Seccomp, |op| match op {
            Op::Seccomp { program, listener, .. } => Op::Seccomp { program, flags: SeccompFlags::NONE, listener },
            other => other,
        })
    }),
    mutant(20, "listener", "another file is sent after the filter", |plan| {
        each(plan, Payload, OpKind::SendFile, |_| Op::SendFile {
            to: role::CONTROL,
            file: role::STDIO[0],
            place: role::LISTENER,
        })
    }),
    mutant(20, "listener", "another file is closed after the filter", |plan| {
        let at = place(plan, Payload, OpKind::Announce) - 1;
        put(plan, Payload, at, Op::Close { file: role::STDIO[0] })
    }),
    mutant(20, "listener", "sent and closed late", |plan| {
        let late = cut(plan, Payload, place(plan, Payload, OpKind::SendFile));
        let sent = Op::SendFile { to: role::CONTROL, file: role::ONE, place: role::LISTENER };
        insert(&late, Payload, place(&late, Payload, OpKind::Exec), sent)
    }),
    mutant(19, "listener", "a file is sent after the proof", |plan| {
        let sent = Op::SendFile { to: role::CONTROL, file: role::STDIO[0], place: role::LISTENER };
        insert(plan, Payload, place(plan, Payload, OpKind::Seccomp), sent)
    }),
    mutant(20, "payload is process 1", "two filters", |plan| {
        insert(
            plan,
            Payload,
            place(plan, Payload, OpKind::Seccomp),
            Op::Seccomp { program: Blob(b"12345678"), flags: SeccompFlags::NONE, listener: None },
        )
    }),
    mutant(21, "new privileges", "filter after the rights are gone", |plan| {
        let filter =
            plan.section(Payload).iter().find_map(|(_, op)| op.filter(|op| op.kind() == OpKind::Seccomp)).unwrap();
        let without = drop(plan, Payload, OpKind::Seccomp);
        insert(&without, Payload, place(&without, Payload, OpKind::Announce), filter)
    }),
    mutant(21, "new privileges of a user", "filter before the right to it", |plan| {
        cut(plan, Payload, place(plan, Payload, OpKind::CapSet))
    }),
    mutant(23, "all capabilities", "inheritable as permitted", |plan| {
        each(plan, Enter, OpKind::CapSet, |op| match op {
            Op::CapSet { effective, permitted, .. } => Op::CapSet { effective, permitted, inheritable: permitted },
            other => other,
        })
    }),
    mutant(23, "capabilities of a user", "more permitted than asked for", |plan| {
        each(plan, Payload, OpKind::CapSet, |op| match op {
            Op::CapSet { effective, inheritable, .. } => {
                Op::CapSet { effective, permitted: CapabilitySet::up_to(40), inheritable }
            }
            other => other,
        })
    }),
    mutant(23, "capabilities of a user", "the stub init passes capabilities on", |plan| {
        let bind = CapabilitySet::EMPTY.with(10);
        let ambient = each(plan, Init, OpKind::AmbientSet, |_| Op::AmbientSet { capabilities: bind });
        each(&ambient, Init, OpKind::CapSet, |_| Op::CapSet { effective: bind, permitted: bind, inheritable: bind })
    }),
    mutant(23, "capabilities of root", "permitted beyond the bounding set", |plan| {
        each(plan, Enter, OpKind::DropBounding, |_| Op::DropBounding { keep: CapabilitySet::EMPTY.with(1) })
    }),
    mutant(23, "securebits with a grant", "root without its rights keeps some", |plan| {
        each(plan, Enter, OpKind::CapSet, |op| match op {
            Op::CapSet { inheritable, .. } => {
                let bounding = CapabilitySet::EMPTY.with(10);
                Op::CapSet { effective: bounding, permitted: bounding, inheritable }
            }
            other => other,
        })
    }),
    mutant(49, "securebits with a grant", "keep-caps for good", |plan| {
        each(plan, Enter, OpKind::SetSecureBits, |_| Op::SetSecureBits { bits: SecureBits(0b1111_0011) })
    }),
    mutant(49, "securebits of a user", "what is permitted goes with the ids", |plan| {
        bits(plan, SecureBits(0b0000_1111))
    }),
    mutant(51, "securebits with a grant", "others than are reported", |plan| {
        each(plan, Enter, OpKind::SetSecureBits, |_| Op::SetSecureBits { bits: SecureBits(0b1110_1111) })
    }),
    mutant(49, "payload is process 1", "securebits stay open", |plan| bits(plan, SecureBits::NONE)),
    mutant(49, "payload is process 1", "securebits are not locked", |plan| bits(plan, SecureBits(0b0100_0101))),
    mutant(49, "payload is process 1", "ambient capabilities can be raised", |plan| {
        bits(plan, SecureBits(0b0010_1111))
    }),
];

fn filter(plan: &Plan, program: Blob<'static>, flags: SeccompFlags) -> Plan {
    each(plan, Payload, OpKind::Seccomp, |_| Op::Seccomp { program, flags, listener: None })
}

fn bits(plan: &Plan, bits: SecureBits) -> Plan {
    each(plan, Payload, OpKind::SetSecureBits, |_| Op::SetSecureBits { bits })
}
