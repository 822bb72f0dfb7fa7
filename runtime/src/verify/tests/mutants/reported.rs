//! Mutants for the rules in `rules/reported.rs`.

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve, Resource};
use skep_sys::wire::{Blob, Numbers, SecretBlob};
use skep_sys::{At, Op, OpKind};

use super::{Mutant, attrs, cut, each, insert, mutant, places, put, rewrite};
use crate::plan::Phase::{Attend, Enter, Prepare};
use crate::plan::{Give, Plan, role};

pub(super) const ALL: &[Mutant] = &[
    mutant(79, "default", "a mask is missing", |plan| cut(plan, Enter, mask(plan, c"kcore"))),
    mutant(79, "default", "a mask is somewhere else", |plan| {
        let at = mask(plan, c"kcore");
        put(plan, Enter, at, Op::MoveMount { from: role::TWO, dir: skep_sys::At::Slot(role::PROC), path: c"version" })
    }),
    mutant(79, "covers", "the caller's mask is somewhere else", |plan| opened(plan, c"etc/ssh", c"tmp")),
    mutant(79, "covers", "the caller's cover is somewhere else", |plan| opened(plan, c"data", c"tmp")),
    mutant(79, "default", "a cover is somewhere else", |plan| opened(plan, c"proc/bus", c"tmp")),
    mutant(79, "covers", "a report without the caller's masks", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
    mutant(80, "default", "/usr can be written", |plan| attrs(plan, nth_attrs(plan, 1), |new| new.set = closed())),
    mutant(80, "root read-only", "the root can be written", |plan| {
        attrs(plan, nth_attrs(plan, 1), |new| new.set = closed())
    }),
    mutant(80, "binds", "a tree on a place of which nothing is said", |plan| opened(plan, c"data", c"tmp")),
    mutant(80, "root/root", "the root shows ids as they are", |plan| {
        cut(plan, Attend, places(plan, Attend, |op| op.kind() == OpKind::MountSetAttr)[0])
    }),
    mutant(81, "default", "/dev is executable", |plan| {
        each(plan, Enter, OpKind::FsMount, |op| match op {
            Op::FsMount { fs, into: role::DEV, .. } => Op::FsMount { fs, attrs: closed(), into: role::DEV },
            other => other,
        })
    }),
    mutant(81, "default", "a node is executable", |plan| {
        let nodes = places(plan, Enter, |op| matches!(op, Op::MountSetAttr { set, .. } if *set == node()));
        attrs(plan, nodes[0], |new| new.set = MountAttrs::NOSUID.with(MountAttrs::RDONLY))
    }),
    mutant(82, "default", "a directory that all can write", |plan| {
        each(plan, Enter, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, name, exist_ok, mode: 0o755 } => Op::Mkdir { dir, name, exist_ok, mode: 0o777 },
            other => other,
        })
    }),
    mutant(82, "default", "a file that all can write", |plan| {
        each(plan, Enter, OpKind::Create, |op| match op {
            Op::Create { dir, name, content, exist_ok, mode: 0o644 } => {
                Op::Create { dir, name, content, exist_ok, mode: 0o664 }
            }
            other => other,
        })
    }),
    mutant(83, "default", "a root that all can write", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, value } if value == c"755" => Op::FsString { fs, key, value: c"777" },
            other => other,
        })
    }),
    mutant(82, "files", "a secret that all can read", readable),
    mutant(82, "credentials", "a credential that all can read", readable),
    mutant(82, "credentials", "a directory of credentials that all can enter", |plan| {
        each(plan, Enter, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, name, exist_ok, mode: 0o500 } => Op::Mkdir { dir, name, exist_ok, mode: 0o555 },
            other => other,
        })
    }),
    mutant(82, "credentials/root", "a credential of somebody else", |plan| {
        each(plan, Enter, OpKind::Chown, |op| match op {
            Op::Chown { file, uid, .. } => Op::Chown { file, uid, gid: 34 },
            other => other,
        })
    }),
    mutant(82, "files/root", "a secret that stays root's", |plan| {
        cut(plan, Enter, places(plan, Enter, |op| matches!(op, Op::Chown { .. }))[0])
    }),
    mutant(82, "users of the host/root", "hashes of passwords that all can read", |plan| {
        each(plan, Enter, OpKind::CreateSecret, |op| match op {
            Op::CreateSecret { dir, name, mode: 0o400, content } => {
                Op::CreateSecret { dir, name, content, mode: 0o444 }
            }
            other => other,
        })
    }),
    mutant(82, "users of the host/root", "a hash of a password that is the payload's", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::CreateSecret { .. }));
        rewrite(plan, Enter, |place, op| match op {
            Op::CreateSecret { dir: At::Slot(dir), name, .. } if at.contains(&place) => vec![
                op,
                Op::OpenAt2 {
                    dir: At::Slot(dir),
                    path: name,
                    flags: OpenFlags::PATH,
                    mode: 0,
                    resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
                    into: role::ONE,
                },
                Op::Chown { file: role::ONE, uid: 0, gid: 0 },
            ],
            other => vec![other],
        })
    }),
    mutant(80, "rootidmap/root", "a map that shows all ids", |plan| {
        each(plan, Attend, OpKind::MapNamespace, |op| match op {
            Op::MapNamespace { image, gid, into, .. } => {
                let uid = skep_sys::wire::Numbers::new(&[0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0]).unwrap();
                Op::MapNamespace { image, uid, gid, into }
            }
            other => other,
        })
    }),
    mutant(83, "tmpfs", "a larger tmpfs", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, value } if value == c"268435456" => Op::FsString { fs, key, value: c"90%" },
            other => other,
        })
    }),
    mutant(83, "tmpfs options", "huge pages at other times", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"huge" => Op::FsString { fs, key, value: c"always" },
            other => other,
        })
    }),
    mutant(83, "tmpfs options", "a second bound, which counts", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::FsFlag { key, .. } if *key == c"inode64"))[0];
        insert(plan, Enter, at, Op::FsString { fs: role::ONE, key: c"size", value: c"99999999999" })
    }),
    mutant(83, "tmpfs options", "an option that is not said", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::FsFlag { key, .. } if *key == c"inode64"))[0];
        insert(plan, Enter, at, Op::FsFlag { fs: role::ONE, key: c"noswap" })
    }),
    mutant(83, "default", "a tmpfs of the profile that is never swapped out", |plan| {
        let at = *places(plan, Enter, |op| matches!(op, Op::FsCreate { .. })).first().unwrap();
        insert(plan, Enter, at, Op::FsFlag { fs: role::ONE, key: c"noswap" })
    }),
    mutant(84, "device policy v2/root", "a program that stays open", |plan| {
        cut(plan, Prepare, places(plan, Prepare, |op| *op == Op::Close { file: role::ONE })[0])
    }),
    mutant(84, "enter, score", "a process that stays open", |plan| {
        cut(plan, Attend, places(plan, Attend, |op| *op == Op::Close { file: role::PROCESS })[0])
    }),
    mutant(83, "overlay of the tree/root", "a larger part of the memory", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, value } if value == c"50%" => Op::FsString { fs, key, value: c"90%" },
            other => other,
        })
    }),
    mutant(83, "overlay of the tree/root", "a tmpfs of somebody else", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, value } if value == c"33" => Op::FsString { fs, key, value: c"34" },
            other => other,
        })
    }),
    mutant(80, "layers", "layers in another order", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"lowerdir" => Op::FsString { fs, key, value: c"0l0:0l1:0l2" },
            other => other,
        })
    }),
    mutant(80, "layers", "a layer less", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"lowerdir" => Op::FsString { fs, key, value: c"0l2:0l0" },
            other => other,
        })
    }),
    mutant(80, "layers/root", "another layer", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"/srv/base" => {
                Op::OpenAt2 { dir, path: c"/srv/other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(80, "layers", "a root that could be remounted writable", |plan| {
        each(plan, Enter, OpKind::FsMount, |op| match op {
            Op::FsMount { fs, into: role::ROOT, .. } => Op::FsMount { fs, attrs: closed(), into: role::ROOT },
            other => other,
        })
    }),
    mutant(80, "layers, changes kept", "changes are kept, of which nothing is said", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed.report.applied("root", "/srv/web over /srv/a:b, /srv/base, changes thrown away");
        changed
    }),
    mutant(80, "nspawn, layers of several owners/root", "a layer that shows ids as they are", |plan| {
        cut(plan, Attend, places(plan, Attend, |op| op.kind() == OpKind::MountSetAttr)[1])
    }),
    mutant(80, "overlay of the tree/root", "a layer of the tree that shows ids as they are", |plan| {
        cut(plan, Attend, places(plan, Attend, |op| op.kind() == OpKind::MountSetAttr)[1])
    }),
    mutant(83, "default", "a higher limit", |plan| {
        each(plan, Enter, OpKind::SetLimit, |op| match op {
            Op::SetLimit { resource: Resource::MEMLOCK, .. } => {
                Op::SetLimit { resource: Resource::MEMLOCK, soft: 9 << 20, hard: 9 << 20 }
            }
            other => other,
        })
    }),
    mutant(83, "limits v2", "more memory", |plan| written(plan, c"memory.max", b"99999999999")),
    mutant(83, "limits v2", "memory without a limit", |plan| written(plan, c"memory.max", b"max")),
    mutant(83, "limits v2", "swap, of which nothing is said", |plan| written(plan, c"memory.swap.max", b"4096")),
    mutant(83, "limits v1", "more processor time", |plan| written(plan, c"cpu.cfs_quota_us", b"90000")),
    mutant(83, "every limit v1", "more input and output", |plan| {
        written(plan, c"blkio.throttle.read_bps_device", b"254:0 99999999")
    }),
    mutant(85, "nspawn, tree given away/root", "another tree is given away", |plan| {
        given(plan, |give| give.inode += 1)
    }),
    mutant(85, "nspawn, tree given away/root", "the tree is given to other ids", |plan| {
        given(plan, |give| give.base += 65_536)
    }),
    mutant(85, "nspawn, tree given away/root", "nobody says that it is given", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed
    }),
    mutant(85, "nspawn, tree of another range/root", "a tree is said to be given", |plan| {
        let mut changed = plan.clone();
        changed.report.applied("ownership", "given to the ids from 1048576 on, before the start");
        changed
    }),
    mutant(80, "nspawn, tree of another range/root", "the host's own ids are shown", |plan| {
        each(plan, Attend, OpKind::MapNamespace, |op| match op {
            Op::MapNamespace { image, into, .. } => {
                let map = [0_u32, 0x0010_0000, 65_536].map(u32::to_le_bytes).concat();
                let map = Numbers::new(map.leak()).unwrap();
                Op::MapNamespace { image, uid: map, gid: map, into }
            }
            other => other,
        })
    }),
];

const fn closed() -> MountAttrs {
    MountAttrs::NOSUID.with(MountAttrs::NODEV)
}

/// Another word about the tree that is given away.
fn given(plan: &Plan, change: impl Fn(&mut Give)) -> Plan {
    let mut changed = plan.clone();
    changed.give.as_mut().map(change).unwrap();
    changed
}

const fn node() -> MountAttrs {
    MountAttrs::NOSUID.with(MountAttrs::NOEXEC).with(MountAttrs::RDONLY)
}

fn mask(plan: &Plan, name: &std::ffi::CStr) -> usize {
    places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == name))[0]
}

fn nth_attrs(plan: &Plan, nth: usize) -> usize {
    places(plan, Enter, |op| op.kind() == OpKind::MountSetAttr)[nth]
}

/// The last opening of a path is of another.
fn opened(plan: &Plan, wanted: &'static std::ffi::CStr, other: &'static std::ffi::CStr) -> Plan {
    let all = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == wanted));
    let last = *all.last().unwrap();
    rewrite(plan, Enter, |place, op| match op {
        Op::OpenAt2 { dir, flags, mode, resolve, into, .. } if place == last => {
            vec![Op::OpenAt2 { dir, path: other, flags, mode, resolve, into }]
        }
        op => vec![op],
    })
}

fn readable(plan: &Plan) -> Plan {
    each(plan, Enter, OpKind::CreateSecret, |op| match op {
        Op::CreateSecret { dir, name, mode: 0o400, content } => {
            Op::CreateSecret { dir, name, mode: 0o444, content: SecretBlob(content.0) }
        }
        other => other,
    })
}

fn written(plan: &Plan, file: &'static std::ffi::CStr, text: &'static [u8]) -> Plan {
    each(plan, Prepare, OpKind::Write, |op| match op {
        Op::Write { dir, path, .. } if path == file => Op::Write { dir, path, content: Blob(text) },
        other => other,
    })
}
