//! Mutants for the rules in `rules/files.rs`.

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, OpKind, Proof};

use super::{Mutant, cut, drop, each, insert, last, mutant, opened, place, places, put, run};
use crate::plan::Phase::{Attend, Enter, Prepare};
use crate::plan::role;

pub(super) const ALL: &[Mutant] = &[
    mutant(11, "default", "two components at once", |plan| {
        let at = last(plan, Enter, OpKind::Mkdir);
        put(plan, Enter, at, Op::Mkdir { dir: At::Slot(role::ROOT), name: c"var/tmp", mode: 0o755, exist_ok: true })
    }),
    mutant(11, "default", "a step upwards", |plan| {
        let at = last(plan, Enter, OpKind::Mkdir);
        put(plan, Enter, at, Op::Mkdir { dir: At::Slot(role::ROOT), name: c"..", mode: 0o755, exist_ok: true })
    }),
    mutant(11, "default", "a path of the host", |plan| {
        let at = last(plan, Enter, OpKind::Mkdir);
        put(plan, Enter, at, Op::Mkdir { dir: At::Cwd, name: c"/tmp", mode: 0o755, exist_ok: true })
    }),
    mutant(11, "root", "a link in the caller's tree", |plan| {
        let at = last(plan, Enter, OpKind::Mkdir);
        insert(plan, Enter, at, Op::Symlink { target: c"/etc", dir: At::Slot(role::ROOT), name: c"tmp" })
    }),
    mutant(11, "nspawn, a bare tree/root", "a link of the machine's tree leads elsewhere", |plan| {
        each(plan, Enter, OpKind::Symlink, |op| match op {
            Op::Symlink { dir, name, .. } if name == c"bin" => Op::Symlink { target: c"etc", dir, name },
            other => other,
        })
    }),
    mutant(11, "nspawn, a bare tree/root", "a link that the report does not name", |plan| {
        each(plan, Enter, OpKind::Symlink, |op| match op {
            Op::Symlink { dir, name, .. } if name == c"bin" => Op::Symlink { target: c"usr/lib", dir, name: c"lib" },
            other => other,
        })
    }),
    mutant(57, "root", "a mount point that may be a link", |plan| {
        let at = run(plan, Enter, &[OpKind::Mkdir, OpKind::OpenAt2, OpKind::MoveMount]);
        let open = plan.section(Enter).iter().nth(at + 1).unwrap().1.unwrap();
        cut(&insert(plan, Enter, at, open), Enter, at + 2)
    }),
    mutant(12, "default", "a source through magic links", |plan| opened(plan, Enter, c"/usr", |_| Resolve::NONE)),
    mutant(12, "root", "a target that leaves the root", |plan| opened(plan, Enter, c"tmp", |_| Resolve::NO_MAGICLINKS)),
    mutant(12, "root/root", "a namespace of another process", |plan| {
        let at = place(plan, Attend, OpKind::OpenAt2);
        let (dir, into) = (At::Slot(role::PROCESS), role::USERNS);
        put(
            plan,
            Attend,
            at,
            Op::OpenAt2 { dir, path: c"root", flags: OpenFlags::NONE, mode: 0, resolve: Resolve::NONE, into },
        )
    }),
    mutant(12, "root", "a file of the tree is opened to be read", |plan| {
        let at = places(plan, Enter, |op| matches!(op, Op::OpenAt2 { path, .. } if *path == c"tmp"))[0];
        let (dir, resolve) = (At::Slot(role::ROOT), Resolve::BENEATH.with(Resolve::NO_SYMLINKS));
        put(
            plan,
            Enter,
            at,
            Op::OpenAt2 { dir, path: c"tmp", flags: OpenFlags::NONE, mode: 0, resolve, into: role::THREE },
        )
    }),
    mutant(13, "default", "a source that is not proved", |plan| drop(plan, Enter, OpKind::Prove)),
    mutant(13, "root/root", "a source of the embedder that is not proved", |plan| {
        cut(plan, Prepare, run(plan, Prepare, &[OpKind::Prove, OpKind::OpenTree]))
    }),
    mutant(13, "default", "/dev/null is not proved", |plan| drop(plan, Prepare, OpKind::Prove)),
    mutant(13, "default", "a source proved to be any tmpfs", |plan| {
        let at = place(plan, Enter, OpKind::Prove);
        put(
            plan,
            Enter,
            at,
            Op::Prove { file: role::ONE, proof: Proof::FileSystem { magic: skep_sys::abi::fs_magic::TMPFS } },
        )
    }),
    mutant(13, "default", "a proof of nothing", |plan| {
        insert(plan, Prepare, 2, Op::Prove { file: role::STDIO[0], proof: Proof::CharDevice { major: 1, minor: 3 } })
    }),
    mutant(12, "default/root", "the lock of ids is another file", |plan| {
        each(plan, Prepare, OpKind::LockIds, |op| match op {
            Op::LockIds { first, count, into, .. } => Op::LockIds { path: c"/etc/subuid", first, count, into },
            other => other,
        })
    }),
    mutant(31, "limits v2", "a directory that may be no cgroup", |plan| drop(plan, Prepare, OpKind::Prove)),
    mutant(31, "limits v2", "a limit in a group that is not proved", |plan| {
        let at = run(plan, Prepare, &[OpKind::OpenAt2, OpKind::Prove, OpKind::Write]);
        cut(plan, Prepare, at + 1)
    }),
    mutant(31, "limits v2", "a file of another group", |plan| {
        let at = place(plan, Prepare, OpKind::Write);
        put(plan, Prepare, at, Op::Write { dir: At::Slot(role::CGROUP), path: c"../memory.max", content: Blob(b"1") })
    }),
    mutant(31, "default", "a map by path", |plan| {
        let at = place(plan, Attend, OpKind::Write);
        put(plan, Attend, at, Op::Write { dir: At::Cwd, path: c"/proc/1/setgroups", content: Blob(b"deny") })
    }),
    mutant(31, "default", "a sysctl by path", |plan| {
        let at = place(plan, Enter, OpKind::Write);
        put(
            plan,
            Enter,
            at,
            Op::Write { dir: At::Cwd, path: c"/proc/sys/user/max_user_namespaces", content: Blob(b"0") },
        )
    }),
    mutant(31, "root", "a file of the caller's tree is written", |plan| {
        insert(
            plan,
            Enter,
            place(plan, Enter, OpKind::Fchdir),
            Op::Write { dir: At::Slot(role::ROOT), path: c"etc/hosts", content: Blob(b"x") },
        )
    }),
    mutant(92, "nspawn, files removed/root", "another file is removed", |plan| {
        each(plan, Enter, OpKind::Unlink, |op| match op {
            Op::Unlink { dir, directory, .. } => Op::Unlink { dir, path: c"passwd", directory },
            other => other,
        })
    }),
    mutant(92, "nspawn, files removed/root", "one of them stays", |plan| drop(plan, Enter, OpKind::Unlink)),
    mutant(92, "nspawn, files removed/root", "a file of another directory is removed", |plan| {
        let at = place(plan, Enter, OpKind::Unlink);
        put(plan, Enter, at, Op::Unlink { dir: At::Slot(role::ROOT), path: c"resolv.conf", directory: false })
    }),
    mutant(92, "nspawn/root", "a file is removed, and nothing is said", |plan| {
        let at = place(plan, Enter, OpKind::Fchdir);
        insert(plan, Enter, at, Op::Unlink { dir: At::Slot(role::ROOT), path: c"init", directory: false })
    }),
    mutant(31, "limits v1", "another process is moved", |plan| {
        each(plan, Attend, OpKind::WritePid, |op| match op {
            Op::WritePid { dir, path, .. } => Op::WritePid { dir, path, pid: role::RESULT },
            other => other,
        })
    }),
];
