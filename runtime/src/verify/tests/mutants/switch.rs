//! Mutants for the rules in `rules/switch.rs`.

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve, TreeFlags};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, OpKind, Proof};

use super::{
    Mutant, append_before_fork, attrs, cut, drop, each, first_of, insert, last, mutant, opened, place, places, put,
    rewrite, run,
};
use crate::plan::Phase::{Enter, Payload, Prepare};
use crate::plan::{Plan, role};

/// Where the last cover of a kernel file gets its attributes.
fn cover(plan: &Plan) -> usize {
    places(plan, Enter, |op| matches!(op, Op::MountSetAttr { set: MountAttrs::RDONLY, .. })).pop().unwrap()
}

pub(super) const ALL: &[Mutant] = &[
    mutant(7, "default", "the root is never switched", |plan| drop(plan, Enter, OpKind::PivotRoot)),
    mutant(7, "default", "the old root stays", |plan| drop(plan, Enter, OpKind::UmountOld)),
    mutant(7, "default", "the new root goes too", |plan| {
        insert(plan, Enter, place(plan, Enter, OpKind::UmountOld), Op::UmountOld {})
    }),
    mutant(7, "default", "what was built on stays over the old root", |plan| {
        cut(plan, Enter, last(plan, Enter, OpKind::MoveMount))
    }),
    mutant(7, "default", "something else is put below the old root", |plan| {
        put(
            plan,
            Enter,
            last(plan, Enter, OpKind::MoveMount),
            Op::MoveMount { from: role::DEV, dir: At::Cwd, path: c"/proc" },
        )
    }),
    mutant(7, "default", "what was built on is put into the new root", |plan| {
        put(
            plan,
            Enter,
            last(plan, Enter, OpKind::MoveMount),
            Op::MoveMount { from: role::SCRATCH, dir: At::Slot(role::ROOT), path: c"proc" },
        )
    }),
    mutant(7, "default", "what was built on leaves the old root early", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MoveMount { path, .. } if *path == c"usr"))[0];
        let moved = Op::MoveMount { from: role::SCRATCH, dir: At::Cwd, path: c"/proc" };
        insert(&cut(plan, Enter, last(plan, Enter, OpKind::MoveMount)), Enter, at, moved)
    }),
    mutant(7, "default", "the switch is not proved", |plan| drop(plan, Enter, OpKind::ProveRoot)),
    mutant(7, "default", "something between switch and umount", |plan| {
        insert(plan, Enter, place(plan, Enter, OpKind::UmountOld), Op::HostName { name: c"x" })
    }),
    mutant(7, "default", "the working directory stays", |plan| drop(plan, Enter, OpKind::Chdir)),
    mutant(7, "default", "another directory becomes the root", |plan| {
        put(plan, Enter, last(plan, Enter, OpKind::Fchdir), Op::Fchdir { dir: role::SCRATCH })
    }),
    mutant(7, "root", "the place of the root, opened before the root was there", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"root"))[0] as u32;
        plan.swapped(first_of(plan, Enter) + at - 1, first_of(plan, Enter) + at)
    }),
    mutant(7, "root", "the host's own directory becomes the root", |plan| {
        put(plan, Enter, last(plan, Enter, OpKind::Fchdir), Op::Fchdir { dir: role::DEV })
    }),
    mutant(8, "default", "a mount after the switch", |plan| {
        append_before_fork(plan, Op::MoveMount { from: role::TWO, dir: At::Slot(role::THREE), path: c"" })
    }),
    mutant(8, "default", "a clone by the payload", |plan| {
        insert(plan, Payload, 0, Op::OpenTree { dir: At::Cwd, path: c"/", flags: TreeFlags::CLONE, into: role::TWO })
    }),
    mutant(9, "covers", "a caller's mount after the masks", |plan| {
        let open = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"data"))[0];
        let moved: Vec<Op<'_>> = plan.section(Enter).iter().skip(open).take(2).map(|(_, op)| op.unwrap()).collect();
        let to = last(plan, Enter, OpKind::Fchdir);
        rewrite(plan, Enter, |place, op| match place {
            _ if place == open || place == open + 1 => vec![],
            _ if place == to => moved.iter().copied().chain([op]).collect(),
            _ => vec![op],
        })
    }),
    mutant(9, "default", "a cover without what lies below", |plan| {
        each(plan, Enter, OpKind::OpenTree, |op| match op {
            Op::OpenTree { dir: At::Slot(role::THREE), path, flags, into } => {
                Op::OpenTree { dir: At::Slot(role::THREE), path, flags: flags.without(TreeFlags::RECURSIVE), into }
            }
            other => other,
        })
    }),
    mutant(9, "default", "a cover that can be written", |plan| {
        attrs(plan, cover(plan), |op| op.set = MountAttrs::NOSUID)
    }),
    mutant(9, "default", "a file system after the masks", |plan| {
        insert(
            plan,
            Enter,
            last(plan, Enter, OpKind::Fchdir),
            Op::FsMount { fs: role::ONE, attrs: MountAttrs::NOSUID, into: role::TWO },
        )
    }),
    mutant(44, "default", "masks can be written", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::MountSetAttr { dir: At::Slot(role::SCRATCH), .. }))[0];
        cut(plan, Enter, at)
    }),
    mutant(44, "default", "a mask that everybody may enter", |plan| {
        each(plan, Enter, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, name, exist_ok, .. } if name == c"blank" => Op::Mkdir { dir, name, mode: 0o755, exist_ok },
            other => other,
        })
    }),
    mutant(44, "default", "a mask with content", |plan| {
        each(plan, Enter, OpKind::Create, |op| match op {
            Op::Create { dir, name, mode, exist_ok, .. } if name == c"void" => {
                Op::Create { dir, name, mode, content: Blob(b"x"), exist_ok }
            }
            other => other,
        })
    }),
    mutant(44, "default", "another directory for a mask", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenTree { path, .. } if *path == c"void"))[0];
        put(
            plan,
            Enter,
            at,
            Op::OpenTree { dir: At::Slot(role::SCRATCH), path: c"root", flags: TreeFlags::CLONE, into: role::TWO },
        )
    }),
    mutant(44, "covers", "a mask through a link", |plan| {
        opened(plan, Enter, c"etc/ssh", |_| Resolve::IN_ROOT.with(Resolve::NO_MAGICLINKS))
    }),
    mutant(30, "default", "a procfs that is not proved", |plan| {
        cut(plan, Enter, run(plan, Enter, &[OpKind::FsMount, OpKind::Prove]) + 1)
    }),
    mutant(30, "default", "a procfs proved to be a tmpfs", |plan| {
        let at = run(plan, Enter, &[OpKind::FsMount, OpKind::Prove]) + 1;
        put(
            plan,
            Enter,
            at,
            Op::Prove { file: role::PROC, proof: Proof::FileSystem { magic: skep_sys::abi::fs_magic::TMPFS } },
        )
    }),
    mutant(52, "nspawn, open network/root", "all can be written", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"proc/sys"))[0];
        let cuts: Vec<usize> = (at..at + 4).collect();
        rewrite(plan, Enter, |place, op| if cuts.contains(&place) { vec![] } else { vec![op] })
    }),
    mutant(79, "nspawn, open files/root", "open, and the report does not say it", |plan| {
        let mut changed = plan.clone();
        changed.report = crate::Report::default();
        changed.report.applied("profile", "nspawn");
        changed
    }),
    mutant(30, "nspawn in a user namespace/root", "a /sys that can be written", |plan| {
        cut(plan, Enter, places(plan, Enter, |op| matches!(op, Op::MountSetAttr { dir: At::Slot(role::SYS), .. }))[0])
    }),
    mutant(30, "nspawn in a user namespace/root", "another part of sysfs", |plan| {
        each(plan, Enter, OpKind::OpenTree, |op| match op {
            Op::OpenTree { dir, path, flags, into } if path == c"kernel" => {
                Op::OpenTree { dir, path: c"firmware", flags, into }
            }
            other => other,
        })
    }),
    mutant(30, "nspawn in a user namespace/root", "all of sysfs", |plan| {
        let at =
            places(plan, Enter, |op| matches!(op, Op::MoveMount { from: role::FOUR, path, .. } if *path == c"sysfs"))
                [0];
        put(plan, Enter, at, Op::MoveMount { from: role::FOUR, dir: At::Slot(role::ROOT), path: c"sysfs" })
    }),
    mutant(30, "root", "proc may be a link", |plan| {
        opened(plan, Enter, c"proc", |_| Resolve::IN_ROOT.with(Resolve::NO_MAGICLINKS))
    }),
    mutant(30, "root", "procfs elsewhere", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == c"proc" => {
                Op::OpenAt2 { dir, path: c"tmp", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(33, "default", "user namespaces inside", |plan| drop(plan, Enter, OpKind::Write)),
    mutant(33, "default/root", "some user namespaces inside", |plan| {
        each(plan, Enter, OpKind::Write, |op| match op {
            Op::Write { dir, path, .. } => Op::Write { dir, path, content: Blob(b"9") },
            other => other,
        })
    }),
    mutant(52, "default", "sysctls can be written", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"proc/sys"))[0];
        rewrite(plan, Enter, |place, op| if (at..at + 4).contains(&place) { vec![] } else { vec![op] })
    }),
    mutant(52, "nspawn/root", "sysctls of the host can be written", |plan| {
        attrs(plan, cover(plan), |op| op.set = MountAttrs::NOSUID)
    }),
    mutant(39, "default", "the image is read after the switch", |plan| {
        let resolve = Resolve::NO_SYMLINKS;
        append_before_fork(
            plan,
            Op::OpenAt2 {
                dir: At::Cwd,
                path: c"/etc/passwd",
                flags: OpenFlags::NONE,
                mode: 0,
                resolve,
                into: role::ONE,
            },
        )
    }),
    mutant(39, "default", "a tree descriptor after the switch", |plan| {
        append_before_fork(plan, Op::Mkdir { dir: At::Slot(role::SCRATCH), name: c"x", mode: 0, exist_ok: true })
    }),
    mutant(39, "default", "back to the old tree", |plan| append_before_fork(plan, Op::Fchdir { dir: role::SCRATCH })),
    mutant(39, "notify", "a socket elsewhere", |plan| {
        each(plan, Enter, OpKind::Bind, |_| Op::Bind { socket: role::NOTIFY, path: c"/etc/notify" })
    }),
    mutant(59, "notify", "a message may be anybody's", |plan| {
        let at = places(plan, Prepare, |op| op.kind() == OpKind::SocketOption)[0];
        cut(plan, Prepare, at)
    }),
    mutant(59, "notify", "another option of the socket", |plan| {
        each(plan, Prepare, OpKind::SocketOption, |op| match op {
            Op::SocketOption { socket, level, value, .. } => Op::SocketOption { socket, level, name: 6, value },
            other => other,
        })
    }),
    mutant(59, "notify", "the socket is made in a directory of the host", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } => {
                let path = if path == c"etc" {
                    c"run"
                } else if path == c"alternatives" {
                    c"host"
                } else {
                    path
                };
                Op::OpenAt2 { dir, path, flags, mode, resolve, into }
            }
            other => other,
        })
    }),
];
