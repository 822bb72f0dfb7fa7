//! Mutants for the rules in `rules/mounts.rs`.

use skep_sys::abi::{MountAttrs, Propagation, Resolve, TreeFlags};
use skep_sys::{At, Op, OpKind, Proof};

use super::{
    Mutant, attrs, cut, drop, each, earlier, first_of, insert, last, mutant, place, places, put, rewrite, run,
};
use crate::plan::Phase::{Attend, Enter, Prepare};
use crate::plan::{Plan, role};

/// The last tree that is attached; what comes after it moves what was built on.
fn before_aside(plan: &Plan) -> usize {
    places(plan, Enter, |op| matches!(op, Op::MoveMount { dir: At::Slot(_), .. })).pop().unwrap()
}

pub(super) const ALL: &[Mutant] = &[
    mutant(3, "default", "propagation stays", |plan| drop(plan, Enter, OpKind::MountSetAttr)),
    mutant(3, "default", "only the top is private", |plan| {
        attrs(plan, place(plan, Enter, OpKind::MountSetAttr), |op| op.flags = TreeFlags::NONE)
    }),
    mutant(3, "default", "slave is not private", |plan| {
        attrs(plan, place(plan, Enter, OpKind::MountSetAttr), |op| op.propagation = Propagation::SLAVE)
    }),
    mutant(3, "default", "something is mounted before", |plan| {
        earlier(plan, Enter, OpKind::FsOpen, OpKind::MountSetAttr)
    }),
    mutant(10, "default", "a tmpfs onto a path", |plan| {
        put(plan, Enter, before_aside(plan), Op::MoveMount { from: role::TWO, dir: At::Cwd, path: c"/tmp" })
    }),
    mutant(10, "root", "a tree onto a name in the caller's tree", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::PROC, .. }))[0];
        put(plan, Enter, at, Op::MoveMount { from: role::PROC, dir: At::Slot(role::ROOT), path: c"proc" })
    }),
    mutant(10, "default", "two components", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"shm"))[0];
        put(plan, Enter, at, Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"../shm" })
    }),
    mutant(10, "default", "two components of procfs", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"kmsg"))[0];
        put(plan, Enter, at, Op::MoveMount { from: role::TWO, dir: At::Slot(role::PROC), path: c"1/root" })
    }),
    mutant(10, "default", "a tree of the host onto procfs", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"usr"))[0];
        let usr = plan.section(Enter).iter().nth(at).unwrap().1.unwrap();
        let Op::MoveMount { from, .. } = usr else { panic!() };
        let late = places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::PROC, .. }))[0] + 1;
        insert(&cut(plan, Enter, at), Enter, late, Op::MoveMount { from, dir: At::Slot(role::PROC), path: c"fs" })
    }),
    mutant(10, "default", "onto a link", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"usr"))[0];
        put(plan, Enter, at, Op::MoveMount { from: role::TWO, dir: At::Slot(role::ROOT), path: c"bin" })
    }),
    mutant(10, "default", "a tree twice", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::PROC, .. }))[0];
        insert(plan, Enter, at, Op::MoveMount { from: role::PROC, dir: At::Slot(role::THREE), path: c"" })
    }),
    mutant(10, "default", "the old root itself is moved", |plan| {
        let at = place(plan, Enter, OpKind::MoveMount);
        put(plan, Enter, at, Op::MoveMount { from: role::SCRATCH, dir: At::Cwd, path: c"/mnt" })
    }),
    mutant(14, "root", "set-user-id works in the root", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]);
        attrs(plan, at + 1, |op| op.set = MountAttrs::NODEV)
    }),
    mutant(14, "root", "the root is not confined", |plan| {
        cut(plan, Enter, run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]) + 1)
    }),
    mutant(14, "root/root", "the embedder's clone is not confined", |plan| drop(plan, Prepare, OpKind::MountSetAttr)),
    mutant(14, "binds", "only the top of a bind is confined", |plan| {
        let at = last(plan, Enter, OpKind::Prove);
        let at =
            places(plan, Enter, |op| matches!(op, Op::MountSetAttr { flags, .. } if flags.has(TreeFlags::RECURSIVE)))
                .into_iter()
                .find(|place| *place > 10 && *place < at)
                .unwrap();
        attrs(plan, at, |op| op.flags = TreeFlags::EMPTY_PATH)
    }),
    mutant(14, "binds", "a bind shares mounts with the host", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]);
        attrs(plan, at + 1, |op| op.propagation = Propagation::NONE)
    }),
    mutant(14, "binds", "attached before it is confined", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]);
        let confine = plan.section(Enter).iter().nth(at + 1).unwrap().1.unwrap();
        let Op::OpenTree { into, .. } = plan.section(Enter).iter().nth(at).unwrap().1.unwrap() else { panic!() };
        let attach = places(plan, Enter, |op| matches!(op, Op::MoveMount { from, .. } if *from == into))[0];
        cut(&insert(plan, Enter, attach + 1, confine), Enter, at + 1)
    }),
    mutant(14, "binds", "a device is confined too late", |plan| {
        let at = run(plan, Enter, &[OpKind::Prove, OpKind::MountSetAttr]) as u32 + first_of(plan, Enter);
        plan.swapped(at + 1, at + 2)
    }),
    mutant(15, "default", "no size", |plan| drop_option(plan, b"size")),
    mutant(15, "default", "no number of files", |plan| drop_option(plan, b"nr_inodes")),
    mutant(15, "default", "everybody may write the root", |plan| drop_option(plan, b"mode")),
    mutant(15, "default", "0 means no limit", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"size" => Op::FsString { fs, key, value: c"0" },
            other => other,
        })
    }),
    mutant(15, "default", "a limit after the fact", |plan| {
        let at = run(plan, Enter, &[OpKind::FsString, OpKind::FsString, OpKind::FsString, OpKind::FsCreate]);
        let first = plan.section(Enter).iter().nth(at).unwrap().1.unwrap();
        cut(&insert(plan, Enter, at + 4, first), Enter, at)
    }),
    mutant(16, "default", "set-user-id works on a tmpfs", |plan| fs_attrs(plan, c"tmpfs", MountAttrs::NODEV)),
    mutant(16, "default", "programs run in proc", |plan| {
        fs_attrs(plan, c"proc", MountAttrs::NOSUID.with(MountAttrs::NODEV))
    }),
    mutant(16, "default", "sysfs can be written", |plan| {
        fs_attrs(plan, c"sysfs", MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC))
    }),
    mutant(40, "default", "an attribute is cleared", |plan| {
        attrs(plan, last(plan, Enter, OpKind::MountSetAttr), |op| op.clear = MountAttrs::NOSUID)
    }),
    mutant(40, "default", "mounts are shared", |plan| {
        attrs(plan, last(plan, Enter, OpKind::MountSetAttr), |op| op.propagation = Propagation::SHARED)
    }),
    mutant(40, "root/root", "ids are mapped by nothing", |plan| {
        attrs(plan, place(plan, Attend, OpKind::MountSetAttr), |op| op.userns = None)
    }),
    mutant(40, "root/root", "ids are mapped by another namespace", |plan| {
        attrs(plan, place(plan, Attend, OpKind::MountSetAttr), |op| op.userns = Some(role::PROCESS))
    }),
    mutant(41, "default", "an unknown file system", |plan| {
        each(plan, Enter, OpKind::FsOpen, |op| match op {
            Op::FsOpen { kind, into } if kind == c"mqueue" => Op::FsOpen { kind: c"debugfs", into },
            other => other,
        })
    }),
    mutant(41, "default", "an unknown option", |plan| {
        insert(plan, Enter, place(plan, Enter, OpKind::FsCreate), Op::FsFlag { fs: role::ONE, key: c"usrquota" })
    }),
    mutant(41, "ephemeral", "a path of the caller in an overlay's options", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"lowerdir" => Op::FsString { fs, key, value: c"/srv/a:/etc" },
            other => other,
        })
    }),
    mutant(41, "ephemeral", "an overlay that writes into the host's tree", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, value } if value == c"0l0" => Op::FsString { fs, key, value: c"0u" },
            Op::FsString { fs, key, value } if value == c"0u" => Op::FsString { fs, key, value: c"0l0" },
            other => other,
        })
    }),
    mutant(41, "ephemeral", "an overlay over a tree that can be written", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]);
        attrs(plan, at + 1, |op| op.set = MountAttrs::NOSUID.with(MountAttrs::NODEV))
    }),
    mutant(41, "default", "a file system that is not made", |plan| {
        cut(plan, Enter, last(plan, Enter, OpKind::FsCreate))
    }),
    mutant(41, "default", "a file system mounted for another", |plan| {
        cut(plan, Enter, last(plan, Enter, OpKind::FsOpen))
    }),
    mutant(58, "root", "the root is cloned when something lies over the old one", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenAt2, OpKind::Prove, OpKind::OpenTree, OpKind::MountSetAttr]);
        let moved: Vec<Op<'_>> = plan.section(Enter).iter().skip(at).take(4).map(|(_, op)| op.unwrap()).collect();
        let to = place(plan, Enter, OpKind::MoveMount);
        rewrite(plan, Enter, |place, op| match place {
            _ if (at..at + 4).contains(&place) => vec![],
            _ if place == to => [op].into_iter().chain(moved.iter().copied()).collect(),
            _ => vec![op],
        })
    }),
    mutant(55, "default", "a mask lies over another", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"kmsg"))[0];
        put(plan, Enter, at, Op::MoveMount { from: role::TWO, dir: At::Slot(role::PROC), path: c"keys" })
    }),
    mutant(55, "binds over tmpfs", "a mount point below what a tmpfs covers", |plan| {
        cut(
            plan,
            Enter,
            *places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"tmp")).last().unwrap(),
        )
    }),
    mutant(55, "default", "/tmp lies over /run", |plan| {
        cut(plan, Enter, places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"tmp"))[0])
    }),
    mutant(56, "default", "a mask is made and not attached", |plan| cut(plan, Enter, before_aside(plan))),
    mutant(56, "default", "procfs is made and not attached", |plan| {
        cut(plan, Enter, places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::PROC, .. }))[0])
    }),
    mutant(41, "ephemeral", "an overlay from the old working directory", |plan| drop(plan, Enter, OpKind::Fchdir)),
    mutant(42, "default", "the host's terminals", |plan| drop(plan, Enter, OpKind::FsFlag)),
    mutant(43, "default", "a device that is not proved", |plan| {
        cut(plan, Enter, run(plan, Enter, &[OpKind::OpenTree, OpKind::Prove]) + 1)
    }),
    mutant(43, "default", "kernel memory", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::Prove]);
        let clone = Op::OpenTree { dir: At::Cwd, path: c"/dev/mem", flags: TreeFlags::CLONE, into: role::TWO };
        let proof = Op::Prove { file: role::TWO, proof: Proof::CharDevice { major: 1, minor: 1 } };
        let changed = put(plan, Enter, at, clone);
        put(&changed, Enter, at + 1, proof)
    }),
    mutant(43, "default", "a directory of the host by path", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::Prove]);
        let flags = TreeFlags::CLONE.with(TreeFlags::RECURSIVE);
        put(plan, Enter, at, Op::OpenTree { dir: At::Cwd, path: c"/dev", flags, into: role::TWO })
    }),
    mutant(41, "overlay kept", "an upper directory that leaves its clone", |plan| {
        each(plan, Enter, OpKind::Symlink, |op| match op {
            Op::Symlink { dir, name, .. } if name == c"1u" => Op::Symlink { target: c"1t/../../etc", dir, name },
            other => other,
        })
    }),
    mutant(41, "overlay kept", "an upper directory of the host by path", |plan| {
        each(plan, Enter, OpKind::Symlink, |op| match op {
            Op::Symlink { dir, name, .. } if name == c"1w" => Op::Symlink { target: c"/etc", dir, name },
            other => other,
        })
    }),
    mutant(41, "overlay kept", "an upper directory that was not proved", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"up:per"));
        cut(plan, Enter, at[0] + 1)
    }),
    mutant(41, "overlay", "a lower directory for the upper one", |plan| {
        each(plan, Enter, OpKind::FsString, |op| match op {
            Op::FsString { fs, key, .. } if key == c"upperdir" => Op::FsString { fs, key, value: c"1l0" },
            other => other,
        })
    }),
    mutant(40, "idmap/root", "a bind mapped by what is no namespace", |plan| {
        attrs(plan, place(plan, Attend, OpKind::MountSetAttr), |op| op.userns = Some(role::PIDFD))
    }),
    mutant(43, "device", "another device than the report says", |plan| {
        each(plan, Enter, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::CharDevice { major: 10, .. } } => {
                Op::Prove { file, proof: Proof::CharDevice { major: 8, minor: 0 } }
            }
            other => other,
        })
    }),
    mutant(43, "device", "a block device of that number", |plan| {
        each(plan, Enter, OpKind::Prove, |op| match op {
            Op::Prove { file, proof: Proof::CharDevice { major: 10, minor } } => {
                Op::Prove { file, proof: Proof::BlockDevice { major: 10, minor } }
            }
            other => other,
        })
    }),
    mutant(60, "files", "a secret in the tree", |plan| {
        each(plan, Enter, OpKind::CreateSecret, |op| match op {
            Op::CreateSecret { name, mode, content, .. } => {
                Op::CreateSecret { dir: At::Slot(role::SCRATCH), name, mode, content }
            }
            other => other,
        })
    }),
    mutant(60, "files", "files that can still be written", |plan| {
        let at = places(
            plan,
            Enter,
            |op| matches!(op, Op::MountSetAttr { set, propagation: Propagation::NONE, .. } if *set == MountAttrs::RDONLY),
        );
        cut(plan, Enter, at[0])
    }),
    mutant(60, "credentials", "a directory of the tree given away", |plan| {
        each(plan, Enter, OpKind::Chown, |op| match op {
            Op::Chown { uid, gid, .. } => Op::Chown { file: role::SCRATCH, uid, gid },
            other => other,
        })
    }),
    mutant(60, "files", "programs among the files", |plan| {
        fs_attrs(plan, c"ramfs", MountAttrs::NOSUID.with(MountAttrs::NODEV))
    }),
    mutant(61, "bind options", "a bind without noexec", |plan| {
        let at =
            places(plan, Enter, |op| matches!(op, Op::MountSetAttr { set, .. } if set.has(MountAttrs::NOSYMFOLLOW)));
        attrs(plan, at[0], |op| op.set = op.set.without(MountAttrs::NOEXEC))
    }),
    mutant(61, "bind options", "a source found through links", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir: At::Cwd, path, flags, mode, resolve, into } => {
                Op::OpenAt2 { dir: At::Cwd, path, flags, mode, resolve: resolve.without(Resolve::NO_SYMLINKS), into }
            }
            other => other,
        })
    }),
    mutant(61, "bind options", "a tmpfs without noexec", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::FsMount { attrs, .. } if attrs.has(MountAttrs::NOEXEC)));
        let fits: Vec<usize> = at;
        rewrite(plan, Enter, |place, op| {
            vec![match op {
                Op::FsMount { fs, attrs, into } if fits.contains(&place) && into == role::TWO => {
                    Op::FsMount { fs, attrs: attrs.without(MountAttrs::NOEXEC), into }
                }
                other => other,
            }]
        })
    }),
    mutant(61, "idmap/root", "a bind whose ids are not mapped", |plan| drop(plan, Attend, OpKind::MountSetAttr)),
    mutant(61, "binds", "a read-only bind that can be written", |plan| {
        let at = places(
            plan,
            Enter,
            |op| matches!(op, Op::MountSetAttr { set, propagation: Propagation::PRIVATE, .. } if set.has(MountAttrs::RDONLY)),
        );
        attrs(plan, at[0], |op| op.set = op.set.without(MountAttrs::RDONLY))
    }),
    mutant(61, "tmpfs", "a mount at another place", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"cache" => {
                Op::OpenAt2 { dir, path: c"other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(53, "root", "devices work in the root", |plan| {
        let at = run(plan, Enter, &[OpKind::OpenTree, OpKind::MountSetAttr]);
        attrs(plan, at + 1, |op| op.set = MountAttrs::NOSUID)
    }),
    mutant(53, "default", "devices work in /tmp", |plan| fs_attrs(plan, c"tmpfs", MountAttrs::NOSUID)),
    mutant(14, "image/root", "an image that is not confined", |plan| {
        cut(
            plan,
            Prepare,
            places(plan, Prepare, |op| matches!(op, Op::MountSetAttr { dir: At::Slot(role::TREE), .. }))[0],
        )
    }),
    mutant(14, "image/root", "an image that is another", |plan| {
        cut(plan, Prepare, places(plan, Prepare, |op| matches!(op, Op::Prove { file: role::TREE, .. }))[0])
    }),
    mutant(14, "image/root", "an image that nobody shows", |plan| {
        cut(plan, Enter, places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::TREE, .. }))[0])
    }),
];

fn drop_option(plan: &Plan, wanted: &'static [u8]) -> Plan {
    let at = places(plan, Enter, |op| matches!(op, Op::FsString { key, .. } if key.to_bytes() == wanted))[1];
    cut(plan, Enter, at)
}

/// The last file system of a kind gets other attributes.
fn fs_attrs(plan: &Plan, wanted: &'static std::ffi::CStr, attrs: MountAttrs) -> Plan {
    let open = *places(plan, Enter, |op| matches!(op, Op::FsOpen { kind, .. } if *kind == wanted)).last().unwrap();
    rewrite(plan, Enter, |place, op| {
        vec![match op {
            Op::FsMount { fs, into, .. } if (open..open + 7).contains(&place) => Op::FsMount { fs, attrs, into },
            other => other,
        }]
    })
}
