//! The same op with weaker arguments: one at a time.

use skep_sys::abi::{
    CapabilitySet, MountAttrs, Namespaces, OpenFlags, Propagation, Resolve, SeccompFlags, SecureBits, TreeFlags,
};
use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Op, Slot};

/// `ld arch; ret allow` would do; this asks nothing.
const ALLOW_ALL: [u8; 8] = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];

const EVERY: CapabilitySet = CapabilitySet::up_to(40);

fn bits(set: u64) -> impl Iterator<Item = u64> {
    (0..64).map(|bit| 1 << bit).filter(move |bit| set & bit != 0)
}

fn numbers(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Calls `say` with each, and with how it differs. `slots` are those that hold
/// something, of the plan as a whole.
pub(super) fn weaker<'a>(op: Op<'a>, slots: &[Slot], say: &mut dyn FnMut(&str, Op<'_>)) {
    match op {
        Op::OpenAt2 { dir, path, flags, mode, resolve, into } => {
            for bit in bits(resolve.0) {
                say("looser resolve", Op::OpenAt2 { dir, path, flags, mode, resolve: Resolve(resolve.0 & !bit), into });
            }
            for bit in bits(flags.0.into()) {
                say(
                    "fewer flags",
                    Op::OpenAt2 { dir, path, flags: OpenFlags(flags.0 & !(bit as u32)), mode, resolve, into },
                );
            }
            say("to be written", Op::OpenAt2 { dir, path, flags: OpenFlags::READ_WRITE, mode, resolve, into });
            if dir != At::Cwd {
                say("from the working directory", Op::OpenAt2 { dir: At::Cwd, path, flags, mode, resolve, into });
            }
            say("another path", Op::OpenAt2 { dir, path: c"/", flags, mode, resolve, into });
            say("another path", Op::OpenAt2 { dir, path: c"..", flags, mode, resolve, into });
            say("another path", Op::OpenAt2 { dir, path: c"tmp", flags, mode, resolve, into });
        }
        Op::Mkdir { dir, name, mode, exist_ok } => {
            say("open to all", Op::Mkdir { dir, name, mode: 0o777, exist_ok });
            say("an existing one, or not", Op::Mkdir { dir, name, mode, exist_ok: !exist_ok });
            say("another name", Op::Mkdir { dir, name: c"other", mode, exist_ok });
        }
        Op::Create { dir, name, mode, content, exist_ok } => {
            say("open to all", Op::Create { dir, name, mode: 0o777, content, exist_ok });
            say("an existing one, or not", Op::Create { dir, name, mode, content, exist_ok: !exist_ok });
            say("other content", Op::Create { dir, name, mode, content: Blob(b"x"), exist_ok });
            say("another name", Op::Create { dir, name: c"other", mode, content, exist_ok });
        }
        Op::CreateSecret { dir, name, mode, content } => {
            say("open to all", Op::CreateSecret { dir, name, mode: 0o666, content });
            say("no secret", Op::Create { dir, name, mode, content: Blob(content.0), exist_ok: false });
            let _ = mode;
        }
        Op::Unlink { dir, path, directory } => {
            say("another name", Op::Unlink { dir, path: c"passwd", directory });
            say("a directory", Op::Unlink { dir, path, directory: true });
            say("from the working directory", Op::Unlink { dir: At::Cwd, path, directory });
        }
        Op::Symlink { dir, name, .. } => say("elsewhere", Op::Symlink { target: c"/proc/1/root", dir, name }),
        Op::Write { dir, path, content } => {
            for other in [&b"0 0 4294967295\n"[..], b"allow", b"max", b"1", b"0", b"1000", b"100000"] {
                if other != content.0 {
                    say("other content", Op::Write { dir, path, content: Blob(other) });
                }
            }
            let more: Vec<u8> = [content.0, b"\n7 7 1\n"].concat();
            say("more content", Op::Write { dir, path, content: Blob(&more) });
        }
        Op::WritePid { dir, path, .. } => {
            slots.iter().for_each(|pid| say("another process", Op::WritePid { dir, path, pid: *pid }));
        }
        Op::Chown { file, uid, gid } => {
            say("another owner", Op::Chown { file, uid: 0, gid });
            say("another owner", Op::Chown { file, uid: uid + 1, gid });
            say("another group", Op::Chown { file, uid, gid: gid + 1 });
        }
        Op::Chmod { file, .. } => say("open to all", Op::Chmod { file, mode: 0o777 }),
        Op::OpenTree { dir, path, flags, into } => {
            for bit in bits(flags.0.into()) {
                let flags = TreeFlags(flags.0 & !(bit as u32));
                say("fewer flags", Op::OpenTree { dir, path, flags, into });
            }
            let flags = flags.with(TreeFlags::RECURSIVE);
            say("with all below", Op::OpenTree { dir, path, flags, into });
            say("another path", Op::OpenTree { dir, path: c"/", flags, into });
            if dir != At::Cwd {
                say("from the working directory", Op::OpenTree { dir: At::Cwd, path, flags, into });
            }
        }
        Op::FsOpen { into, .. } => say("another file system", Op::FsOpen { kind: c"tmpfs", into }),
        Op::FsString { fs, key, value } => {
            for other in [c"0", c"777", c"1777", c"1000", c"99999999999", c"90%"] {
                if other != value {
                    say("another value", Op::FsString { fs, key, value: other });
                }
            }
        }
        Op::FsMount { fs, attrs, into } => {
            for bit in bits(attrs.0) {
                say("fewer attributes", Op::FsMount { fs, attrs: MountAttrs(attrs.0 & !bit), into });
            }
        }
        Op::MoveMount { from, dir, path } => {
            for other in [c"", c"version", c"tmp", c"/", c"/tmp"] {
                if other != path {
                    say("another place", Op::MoveMount { from, dir, path: other });
                }
            }
            for slot in slots {
                say("another place", Op::MoveMount { from, dir: At::Slot(*slot), path });
                say("another tree", Op::MoveMount { from: *slot, dir, path });
            }
        }
        Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns } => {
            let with =
                |flags, set, clear, propagation| Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns };
            for bit in bits(set.0) {
                say("fewer attributes", with(flags, MountAttrs(set.0 & !bit), clear, propagation));
                say("attributes cleared", with(flags, MountAttrs(set.0 & !bit), MountAttrs(bit), propagation));
            }
            for bit in bits(flags.0.into()) {
                say("fewer flags", with(TreeFlags(flags.0 & !(bit as u32)), set, clear, propagation));
            }
            for other in [Propagation::NONE, Propagation::SHARED, Propagation::SLAVE] {
                if other != propagation {
                    say("other propagation", with(flags, set, clear, other));
                }
            }
            for (_, path) in [("", c"/tmp"), ("", c"tmp")] {
                say("another place", Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns });
            }
            for slot in slots {
                let dir = At::Slot(*slot);
                say("another place", Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns });
                if userns.is_some() {
                    let userns = Some(*slot);
                    say("another map", Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns });
                }
            }
        }
        Op::Chdir { .. } => say("elsewhere", Op::Chdir { path: c"/tmp" }),
        Op::Fchdir { .. } => slots.iter().for_each(|dir| say("elsewhere", Op::Fchdir { dir: *dir })),
        Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid } => {
            for bit in bits(namespaces.0) {
                let namespaces = Namespaces(namespaces.0 & !bit);
                say(
                    "fewer namespaces",
                    Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid },
                );
            }
            if !joins.is_empty() {
                let joins = Numbers::NONE;
                say("joins nothing", Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid });
            }
            if cgroup.is_some() {
                let cgroup = None;
                say("another cgroup", Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid });
            }
            for slot in slots.iter().filter(|slot| keep.iter().all(|kept| kept != u32::from(slot.0))) {
                let list = numbers(&keep.iter().chain([u32::from(slot.0)]).collect::<Vec<_>>());
                let Some(keep) = Numbers::new(&list) else { continue };
                say("keeps more", Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid });
            }
            let ambient = if ambient == CapabilitySet::EMPTY { CapabilitySet::up_to(40) } else { CapabilitySet::EMPTY };
            say("ambient, or not", Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid });
        }
        Op::Unshare { namespaces } => {
            for bit in bits(namespaces.0) {
                say("fewer namespaces", Op::Unshare { namespaces: Namespaces(namespaces.0 & !bit) });
            }
        }
        Op::SetNs { namespace, kind } => {
            for slot in slots {
                say("another namespace", Op::SetNs { namespace: *slot, kind });
            }
            for bit in bits(kind.0) {
                say("fewer namespaces", Op::SetNs { namespace, kind: Namespaces(kind.0 & !bit) });
            }
        }
        Op::IdMapHelper { program, pid, map } => {
            let mut list: Vec<u32> = map.iter().collect();
            list.extend([list.len() as u32 * 50_000, 0, 1]);
            let list = numbers(&list);
            Numbers::new(&list).into_iter().for_each(|map| say("another map", Op::IdMapHelper { program, pid, map }));
        }
        Op::MapNamespace { image, uid, gid, into } => {
            let base = uid.iter().nth(1).unwrap_or(0);
            let list = numbers(&[0, base, 65536]);
            let Some(other) = Numbers::new(&list) else { return };
            say("another map", Op::MapNamespace { image, uid: other, gid, into });
            say("another map", Op::MapNamespace { image, uid, gid: other, into });
        }
        Op::SetGroups { groups } => {
            for more in [0, 5, 1000] {
                let list = numbers(&groups.iter().chain([more]).collect::<Vec<_>>());
                Numbers::new(&list).into_iter().for_each(|groups| say("more groups", Op::SetGroups { groups }));
            }
        }
        Op::SetResGid { gid } => {
            for other in [0, gid + 1, 1000] {
                say("another group", Op::SetResGid { gid: other });
            }
        }
        Op::SetResUid { uid } => {
            for other in [0, uid + 1, 1000] {
                say("another user", Op::SetResUid { uid: other });
            }
        }
        Op::DropBounding { keep } => {
            say("all kept", Op::DropBounding { keep: EVERY });
            say("one kept", Op::DropBounding { keep: CapabilitySet(keep.0 | 1 << 21) });
        }
        Op::CapSet { effective, permitted, inheritable } => {
            let one = |set: CapabilitySet| CapabilitySet(set.0 | 1 << 21);
            for (effective, permitted, inheritable) in [
                (EVERY, EVERY, inheritable),
                (EVERY, EVERY, EVERY),
                (effective, EVERY, inheritable),
                (effective, permitted, EVERY),
                (one(effective), one(permitted), inheritable),
                (effective, one(permitted), inheritable),
                (effective, permitted, one(inheritable)),
            ] {
                say("more capabilities", Op::CapSet { effective, permitted, inheritable });
            }
        }
        Op::AmbientSet { capabilities } => {
            say("all ambient", Op::AmbientSet { capabilities: EVERY });
            say("one ambient", Op::AmbientSet { capabilities: CapabilitySet(capabilities.0 | 1 << 10) });
        }
        Op::SetSecureBits { bits: set } => {
            for bit in bits(set.0.into()) {
                say("fewer securebits", Op::SetSecureBits { bits: SecureBits(set.0 & !(bit as u32)) });
            }
            say("keep-caps", Op::SetSecureBits { bits: set.with(SecureBits::KEEP_CAPS) });
        }
        Op::Dumpable { on } => say("the other way", Op::Dumpable { on: !on }),
        Op::Seccomp { program, flags, listener } => {
            say("allows all", Op::Seccomp { program: Blob(&ALLOW_ALL), flags, listener });
            let half = &program.0[..program.0.len() / 16 * 8];
            let short: Vec<u8> = [half, &ALLOW_ALL].concat();
            say("half of it", Op::Seccomp { program: Blob(&short), flags, listener });
            for bit in bits(flags.0.into()) {
                let flags = SeccompFlags(flags.0 & !(bit as u32));
                say("fewer flags", Op::Seccomp { program, flags, listener });
            }
            if flags.has(SeccompFlags::NEW_LISTENER) {
                let flags = flags.without(SeccompFlags::NEW_LISTENER);
                say("without a listener", Op::Seccomp { program, flags, listener: None });
            }
        }
        Op::LandlockRuleset { file_access, net_access, scoped, into } => {
            for bit in bits(file_access) {
                let file_access = file_access & !bit;
                say("handles less", Op::LandlockRuleset { file_access, net_access, scoped, into });
            }
            for bit in bits(net_access) {
                let net_access = net_access & !bit;
                say("handles less", Op::LandlockRuleset { file_access, net_access, scoped, into });
            }
            for bit in bits(scoped) {
                let scoped = scoped & !bit;
                say("handles less", Op::LandlockRuleset { file_access, net_access, scoped, into });
            }
        }
        Op::LandlockPath { ruleset, parent, access } => {
            for bit in (0..16).map(|bit| 1 << bit).filter(|bit| access & bit == 0) {
                say("allows more", Op::LandlockPath { ruleset, parent, access: access | bit });
            }
            slots.iter().for_each(|slot| say("elsewhere", Op::LandlockPath { ruleset, parent: *slot, access }));
        }
        Op::LandlockPort { ruleset, port, access } => {
            say("another port", Op::LandlockPort { ruleset, port: port + 1, access });
            say("allows more", Op::LandlockPort { ruleset, port, access: access | 3 });
        }
        Op::SetLimit { resource, soft, hard } => {
            say("no hard limit", Op::SetLimit { resource, soft, hard: u64::MAX });
            say("no limit", Op::SetLimit { resource, soft: u64::MAX, hard: u64::MAX });
            say(
                "a higher limit",
                Op::SetLimit { resource, soft: soft.saturating_add(1), hard: hard.saturating_add(1) },
            );
            say("a higher limit", Op::SetLimit { resource, soft: hard, hard });
        }
        Op::HostName { .. } => say("another name", Op::HostName { name: c"other" }),
        Op::Umask { .. } => say("none", Op::Umask { mode: 0 }),
        Op::Personality { .. } => say("no randomization", Op::Personality { persona: 0x0004_0000 }),
        Op::Dup { file, number } => {
            slots.iter().for_each(|file| say("another file", Op::Dup { file: *file, number }));
            for other in [0, 1, 2, 3, 7] {
                if other != number {
                    say("another number", Op::Dup { file, number: other });
                }
            }
        }
        Op::CloseFrom { first } => {
            for other in [first + 1, first + 2, 64, u32::MAX] {
                say("closes less", Op::CloseFrom { first: other });
            }
        }
        Op::Close { .. } => slots.iter().for_each(|file| say("another file", Op::Close { file: *file })),
        Op::LinkUp { socket, .. } => say("another link", Op::LinkUp { socket, name: c"eth0" }),
        Op::NetlinkSocket { protocol, into, .. } => {
            say("of the caller", Op::NetlinkSocket { protocol, namespace: None, into });
            for slot in slots {
                say("of another", Op::NetlinkSocket { protocol, namespace: Some(*slot), into });
            }
        }
        Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace, alias } => {
            let with = |kind, name, address, lower, peer, namespace, alias| Op::LinkAdd {
                socket,
                kind,
                name,
                address,
                lower,
                peer,
                peer_address,
                namespace,
                alias,
            };
            say("another kind", with(c"bridge", name, address, lower, peer, namespace, alias));
            say("another name", with(kind, c"eth7", address, lower, peer, namespace, alias));
            say("another address", with(kind, name, Blob(b"\x02\0\0\0\0\x01"), lower, peer, namespace, alias));
            say("over another", with(kind, name, address, c"lo", peer, namespace, alias));
            say("another name inside", with(kind, name, address, lower, c"eth7", namespace, alias));
            say("outside", with(kind, name, address, lower, peer, None, alias));
            say("nobody's", with(kind, name, address, lower, peer, namespace, c""));
        }
        Op::LinkMove { socket, name, index, namespace, new_name, new_index } => {
            let with = |name, index, namespace, new_name, new_index| Op::LinkMove {
                socket,
                name,
                index,
                namespace,
                new_name,
                new_index,
            };
            say("another", with(c"br0", index, namespace, new_name, new_index));
            say("another name inside", with(name, index, namespace, c"eth7", new_index));
            say("another number", with(name, index, namespace, new_name, 7));
            slots.iter().for_each(|slot| say("elsewhere", with(name, index, *slot, new_name, new_index)));
        }
        Op::LinkMaster { socket, name, .. } => say("another", Op::LinkMaster { socket, name, master: c"br1" }),
        Op::ZoneJoin { socket, port, lock, alias, .. } => {
            say("another zone", Op::ZoneJoin { socket, bridge: c"vz-dmz", port, lock, alias });
        }
        Op::LinkOption { socket, name, option, .. } => {
            say("another interface", Op::LinkOption { socket, name: c"lo", option, value: 1 });
            say("another option", Op::LinkOption { socket, name, option: 1, value: 1 });
        }
        Op::AddressAdd { socket, name, address, prefix, shared } => {
            let other = Blob(&[192, 0, 2, 99]);
            say("another address", Op::AddressAdd { socket, name, address: other, prefix, shared });
            say("another prefix", Op::AddressAdd { socket, name, address, prefix: 1, shared });
            say("another interface", Op::AddressAdd { socket, name: c"lo", address, prefix, shared });
        }
        Op::RouteAdd { socket, name, to, prefix, gateway } => {
            say("to all", Op::RouteAdd { socket, name, to, prefix: 0, gateway });
            say("another interface", Op::RouteAdd { socket, name: c"lo", to, prefix, gateway });
        }
        Op::NfTables { socket, batch } => {
            for at in (0..batch.0.len()).step_by(97) {
                let mut bytes = batch.0.to_vec();
                bytes[at] ^= 1;
                say("another byte", Op::NfTables { socket, batch: Blob(&bytes) });
            }
        }
        Op::SocketOption { socket, level, name, .. } => {
            say("off", Op::SocketOption { socket, level, name, value: 0 });
            say("another", Op::SocketOption { socket, level, name: 2, value: 1 });
        }
        Op::Bind { socket, .. } => say("elsewhere", Op::Bind { socket, path: c"/tmp/notify" }),
        Op::BpfDevice { into, .. } => {
            // `r0 = 1; exit`.
            let all = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
            say("allows all", Op::BpfDevice { program: Blob(&all), into });
        }
        Op::LockIds { path, first, count, into } => {
            say("fewer ids", Op::LockIds { path, first, count: 1, into });
            say("other ids", Op::LockIds { path, first: first + count, count, into });
            say("another file", Op::LockIds { path: c"/run/other-ids", first, count, into });
        }
        Op::SendFile { to, file, place } => {
            slots.iter().for_each(|file| say("another file", Op::SendFile { to, file: *file, place }));
            slots.iter().for_each(|place| say("another slot", Op::SendFile { to, file, place: *place }));
        }
        Op::OpenTerminal { devpts, master, peer, .. } => {
            let (rows, columns) = (1, 1);
            say("another size", Op::OpenTerminal { devpts, rows, columns, master: peer, peer: master });
            say("another size", Op::OpenTerminal { devpts, rows, columns, master, peer });
        }
        Op::Reap { payload, signals, control, gate, .. } => {
            for lifeline in slots.iter().copied() {
                say("another lifeline", Op::Reap { payload, signals, lifeline, control, gate });
            }
        }
        Op::Affinity { pid, pidfd, cpus } => {
            let list = numbers(&cpus.iter().chain([40]).collect::<Vec<_>>());
            Numbers::new(&list).into_iter().for_each(|cpus| say("more processors", Op::Affinity { pid, pidfd, cpus }));
        }
        Op::Schedule { pid, pidfd, policy, nice, priority } => {
            say("nicer to itself", Op::Schedule { pid, pidfd, policy, nice: nice + 1, priority });
            say("another policy", Op::Schedule { pid, pidfd, policy: 0, nice: 20, priority: 0 });
        }
        Op::IoPriority { pid, pidfd, .. } => say("higher", Op::IoPriority { pid, pidfd, class: 2, level: 0 }),
        Op::Entrust { watcher, id, ops } => {
            let all: Vec<Op<'_>> = skep_sys::Section { first: 0, ops: ops.0 }.iter().filter_map(|(_, op)| op).collect();
            for cut in 0..all.len() {
                let mut bytes = Vec::new();
                all.iter().enumerate().filter(|(at, _)| *at != cut).for_each(|(_, op)| op.write(&mut bytes));
                say("entrusts less", Op::Entrust { watcher, id, ops: Blob(&bytes) });
            }
        }
        Op::EntrustFile { watcher, id, place, .. } => {
            slots.iter().for_each(|file| say("another file", Op::EntrustFile { watcher, id, place, file: *file }));
        }
        Op::Vacate { numbers: list } => {
            let fewer = numbers(&list.iter().skip(1).collect::<Vec<_>>());
            Numbers::new(&fewer).into_iter().for_each(|numbers| say("fewer numbers", Op::Vacate { numbers }));
        }
        Op::Await { .. } => slots.iter().for_each(|from| say("another end", Op::Await { from: *from })),
        Op::Release { .. } => slots.iter().for_each(|to| say("another end", Op::Release { to: *to })),
        Op::Announce { .. } => slots.iter().for_each(|to| say("another end", Op::Announce { to: *to })),
        _ => {}
    }
}
