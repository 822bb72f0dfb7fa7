use super::super::stand::Stand;
use super::*;
use crate::op::{At, Op, Slot};
use crate::program::Actor;
use crate::wire::Blob;

const DIR: Slot = Slot(10);
const FILE: Slot = Slot(11);

fn mkdir(dir: At, name: &core::ffi::CStr) -> Op<'_> {
    Op::Mkdir { dir, name, mode: 0o755, exist_ok: false }
}

fn create(dir: At, name: &core::ffi::CStr, exist_ok: bool) -> Op<'_> {
    Op::Create { dir, name, mode: 0o666, content: Blob(b"new"), exist_ok }
}

fn mknod(dir: At, name: &core::ffi::CStr, mode: u32, minor: u32) -> Op<'_> {
    Op::Mknod { dir, name, mode, major: 1, minor }
}

#[test]
fn what_exists_is_refused_or_kept() {
    let mut stand = Stand::root();
    let tmp = At::Slot(DIR);
    stand.open(c"/tmp", DIR);
    for op in [mkdir(tmp, c"a"), create(tmp, c"b", false), Op::Symlink { target: c"b", dir: tmp, name: c"c" }] {
        stand.ok(op);
        stand.no(op, Errno::EEXIST);
    }
    stand.ok(Op::Mkdir { dir: tmp, name: c"a", mode: 0, exist_ok: true });
    stand.ok(Op::Write { dir: tmp, path: c"b", content: Blob(b"old") });
    stand.ok(create(tmp, c"b", true));
    assert_eq!(stand.model.process(Actor::Host).unwrap().read("/tmp/c").as_deref(), Some(b"old".as_slice()));
    stand.no(create(tmp, c"c", false), Errno::EEXIST);
    stand.no(create(tmp, c"none/c", false), Errno::ENOENT);
    stand.no(create(At::Cwd, c"/tmp/x", false), Errno::EXDEV);
    stand.open(c"/", DIR);
    stand.no(create(tmp, c"run", true), Errno::EXDEV);
}

#[test]
fn the_umask_applies() {
    let mut stand = Stand::root();
    stand.open(c"/tmp", DIR);
    stand.ok(Op::Umask { mode: 0o77 });
    stand.ok(create(At::Slot(DIR), c"b", false));
    assert!(stand.model.host_changes().contains(&"+ file /tmp/b: 0:0 600 new".to_owned()));
}

#[test]
fn a_read_only_mount_takes_nothing() {
    let mut stand = Stand::on(Model::new().tmpfs("/srv"));
    stand.open(c"/srv", DIR);
    stand.ok(create(At::Slot(DIR), c"there", false));
    stand.ok(Op::MountSetAttr {
        dir: At::Cwd,
        path: c"/srv",
        flags: Default::default(),
        set: MountAttrs::RDONLY,
        clear: MountAttrs::NONE,
        propagation: Default::default(),
        userns: None,
    });
    let dir = At::Slot(DIR);
    stand.no(mkdir(dir, c"there"), Errno::EEXIST);
    for op in [
        mkdir(dir, c"a"),
        create(dir, c"a", false),
        mknod(dir, c"a", 0o020_666, 3),
        Op::Unlink { dir, path: c"there", directory: false },
        Op::Write { dir, path: c"there", content: Blob(b"") },
    ] {
        stand.no(op, Errno::EROFS);
    }
}

#[test]
fn devices_are_made_in_the_initial_user_namespace_only() {
    let mut stand = Stand::root();
    stand.ok(mknod(At::Cwd, c"/tmp/null", 0o020_666, 3));
    let mut stand = Stand::root().contained();
    stand.fresh(c"tmpfs", DIR).unwrap();
    stand.no(mknod(At::Slot(DIR), c"null", 0o020_666, 3), Errno::EPERM);
    stand.ok(mknod(At::Slot(DIR), c"fifo", 0o010_666, 0));
    stand.no(mknod(At::Slot(DIR), c"dir", 0o040_666, 0), Errno::EPERM);
    // Nor opened, where one was brought in.
    let mut stand = Stand::user();
    stand.no(mknod(At::Cwd, c"/tmp/null", 0o020_666, 3), Errno::EPERM);
}

#[test]
fn ordinary_users_write_what_is_theirs() {
    let mut stand = Stand::on(Model::as_user(1000).owned("/home/me", 1000, 1000, 0o700));
    stand.no(mkdir(At::Cwd, c"/etc/x"), Errno::EACCES);
    stand.ok(mkdir(At::Cwd, c"/tmp/x"));
    stand.ok(mkdir(At::Cwd, c"/home/me/x"));
    stand.open(c"/etc", DIR);
    stand.no(Op::Write { dir: At::Slot(DIR), path: c"hostname", content: Blob(b"") }, Errno::EACCES);
}

/// Found with the real kernel: whoever is not mapped makes no file.
#[test]
fn an_unmapped_process_makes_no_file() {
    let mut stand = Stand::root();
    stand.spawn(super::super::stand::ALL, true, None).unwrap();
    stand.write_maps(b"0 100000 65536", b"0 100000 65536");
    stand.play(Actor::Child);
    stand.fresh(c"tmpfs", DIR).unwrap();
    stand.no(mkdir(At::Slot(DIR), c"x"), Errno::EOVERFLOW);
    stand.ok(Op::SetResGid { gid: 0 });
    stand.ok(Op::SetResUid { uid: 0 });
    stand.fresh(c"tmpfs", DIR).unwrap();
    stand.ok(mkdir(At::Slot(DIR), c"x"));
}

#[test]
fn chown_needs_the_capability_over_mapped_ids() {
    let mut stand = Stand::root();
    stand.open(c"/tmp", FILE);
    stand.ok(Op::Chown { file: FILE, uid: 5, gid: u32::MAX });
    let mut stand = Stand::user().contained();
    stand.open(c"/etc", FILE);
    stand.no(Op::Chown { file: FILE, uid: 0, gid: 0 }, Errno::EPERM);
    stand.no(Op::Chown { file: FILE, uid: 1, gid: 0 }, Errno::EINVAL);
}

#[test]
fn unlinking_what_is_gone_is_no_error_and_what_is_used_is() {
    let mut stand = Stand::on(Model::new().file("/srv/d/f", ""));
    let unlink = |path, directory| Op::Unlink { dir: At::Cwd, path, directory };
    stand.ok(unlink(c"/srv/nothing/f", false));
    stand.no(unlink(c"/srv/d", false), Errno::EISDIR);
    stand.no(unlink(c"/srv/d/f", true), Errno::ENOTDIR);
    stand.no(unlink(c"/srv/d", true), Errno::ENOTEMPTY);
    stand.no(unlink(c"/run", true), Errno::EBUSY);
    stand.ok(unlink(c"/srv/d/f", false));
    stand.ok(unlink(c"/srv/d", true));
    assert_eq!(stand.model.host_changes(), ["- directory /srv/d", "- file /srv/d/f"]);
}

#[test]
fn a_copy_takes_a_name_whole() {
    let mut stand = Stand::on(Model::new().file("/srv/one", "content").symlink("/srv/link", "/etc/hostname"));
    let (source, copy) = (Slot(20), Slot(21));
    stand.open(c"/srv", DIR);
    stand.open(c"/srv/one", FILE);
    stand.no(Op::Chmod { file: FILE, mode: 0o600 }, Errno::EBADF);
    stand.no(Op::CopyRest { from: FILE, to: FILE, limit: 9, into: Slot(12) }, Errno::EBADF);
    stand.no(Op::Reopen { file: DIR, flags: OpenFlags::WRITE, into: source }, Errno::EISDIR);
    stand.ok(Op::Reopen { file: FILE, flags: OpenFlags::NONE, into: source });
    let flags = OpenFlags::WRITE.with(OpenFlags::CREATE).with(OpenFlags::EXCLUSIVE);
    let at = At::Slot(DIR);
    stand.ok(Op::OpenAt2 { dir: at, path: c"new", flags, mode: 0o600, resolve: Resolve::BENEATH, into: copy });
    stand.no(Op::CopyRest { from: source, to: copy, limit: 6, into: Slot(12) }, Errno::EFBIG);
    stand.ok(Op::CopyRest { from: source, to: copy, limit: 7, into: Slot(12) });
    assert_eq!(stand.cells[12], crate::kernel::Cell::Value(7));
    stand.ok(Op::Chmod { file: copy, mode: 0o644 });
    let rename = |from, to, replace| Op::Rename { dir: at, from, to, replace };
    stand.no(rename(c"new", c"link", false), Errno::EEXIST);
    stand.ok(rename(c"new", c"link", true));
    stand.no(rename(c"new", c"link", true), Errno::ENOENT);
    stand.ok(Op::Mkdir { dir: at, name: c"d", mode: 0o700, exist_ok: false });
    stand.no(rename(c"link", c"d", true), Errno::EISDIR);
    stand.no(rename(c"d", c"link", true), Errno::ENOTDIR);
    let mut user = Stand::user();
    user.open(c"/etc", DIR);
    user.no(Op::Rename { dir: At::Slot(DIR), from: c"hostname", to: c"x", replace: true }, Errno::EACCES);
}

#[test]
fn what_has_anothers_name_by_now_stays() {
    let mut stand = Stand::on(Model::new().file("/srv/d/f", "").file("/srv/d/g", ""));
    stand.open(c"/srv/d", DIR);
    stand.open(c"/srv/d/f", FILE);
    let remove = |name, file| Op::UnlinkSame { dir: DIR, name, file };
    stand.ok(remove(c"g", FILE));
    assert!(stand.model.host_changes().is_empty());
    stand.ok(remove(c"f", FILE));
    stand.ok(remove(c"f", FILE));
    stand.ok(remove(c"g", Slot(30)));
    assert_eq!(stand.model.host_changes(), ["- file /srv/d/f", "- file /srv/d/g"]);
    stand.no(Op::UnlinkSame { dir: Slot(30), name: c"g", file: FILE }, Errno::EBADF);
}

#[test]
fn nothing_is_made_in_a_directory_that_is_gone() {
    let mut stand = Stand::root();
    stand.ok(mkdir(At::Cwd, c"/tmp/d"));
    stand.open(c"/tmp/d", DIR);
    stand.ok(Op::Unlink { dir: At::Cwd, path: c"/tmp/d", directory: true });
    stand.no(mkdir(At::Slot(DIR), c"x"), Errno::ENOENT);
}

#[test]
fn writing_follows_no_link_and_crosses_no_mount() {
    let mut stand = Stand::on(Model::new().symlink("/etc/link", "hostname"));
    stand.open(c"/", DIR);
    let write = |path| Op::Write { dir: At::Slot(DIR), path, content: Blob(b"x") };
    stand.ok(write(c"etc/hostname"));
    stand.no(write(c"etc/link"), Errno::ELOOP);
    stand.no(write(c"dev/null"), Errno::EXDEV);
    stand.no(write(c"/etc/hostname"), Errno::EXDEV);
    stand.no(write(c"etc"), Errno::EISDIR);
}

#[test]
fn proofs_look_at_the_descriptor() {
    let mut stand = Stand::on(Model::new().file("/srv/loose", "").owned("/srv/loose", 0, 0, 0o777));
    let (device, inode) = stand.model.inode("/etc/hostname").unwrap();
    let magic = |magic| Proof::FileSystem { magic };
    for (path, proof, holds) in [
        (c"/proc", magic(fs_magic::PROC), true),
        (c"/proc/self", magic(fs_magic::PROC), true),
        (c"/sys/fs/cgroup", magic(fs_magic::CGROUP2), true),
        (c"/etc", magic(fs_magic::PROC), false),
        (c"/etc/hostname", Proof::Inode { device, inode }, true),
        (c"/etc/os-release", Proof::Inode { device, inode }, false),
        (c"/dev/null", Proof::CharDevice { major: 1, minor: 3 }, true),
        (c"/dev/zero", Proof::CharDevice { major: 1, minor: 3 }, false),
        (c"/etc/hostname", Proof::CharDevice { major: 1, minor: 3 }, false),
        (c"/usr/bin/newuidmap", Proof::OwnedByRoot, true),
        (c"/srv/loose", Proof::OwnedByRoot, false),
        (c"/srv", Proof::OwnedByRoot, false),
    ] {
        stand.open(path, FILE);
        let result = if holds { Ok(()) } else { Err(Errno::ESTALE) };
        assert_eq!(stand.ask(Op::Prove { file: FILE, proof }), result, "{path:?} {proof:?}");
    }
}

#[test]
fn opening_is_checked() {
    let mut stand = Stand::user();
    let open = |path, flags, mode| Op::OpenAt2 { dir: At::Cwd, path, flags, mode, resolve: Resolve::NONE, into: FILE };
    stand.no(open(c"/etc", OpenFlags::WRITE, 0), Errno::EISDIR);
    stand.no(open(c"/etc/hostname", OpenFlags::DIRECTORY, 0), Errno::ENOTDIR);
    stand.no(open(c"/etc/hostname", OpenFlags::WRITE, 0), Errno::EACCES);
    stand.no(open(c"/etc/hostname", OpenFlags::NONE, 0o600), Errno::EINVAL);
    stand.ok(open(c"/etc/hostname", OpenFlags::NONE, 0));
    stand.ok(open(c"/dev/null", OpenFlags::READ_WRITE, 0));
    let new = OpenFlags::CREATE.with(OpenFlags::READ_WRITE);
    stand.ok(open(c"/tmp/lock", new, 0o600));
    stand.ok(open(c"/tmp/lock", new, 0o600));
    stand.no(open(c"/tmp/lock", new.with(OpenFlags::EXCLUSIVE), 0o600), Errno::EEXIST);
    stand.no(open(c"/etc/lock", new, 0o600), Errno::EACCES);
}

#[test]
fn devices_do_not_open_on_nodev() {
    let mut stand = Stand::on(Model::new().device("/run/null", 1, 3));
    let open =
        |flags| Op::OpenAt2 { dir: At::Cwd, path: c"/run/null", flags, mode: 0, resolve: Resolve::NONE, into: FILE };
    stand.no(open(OpenFlags::NONE), Errno::EACCES);
    stand.ok(open(OpenFlags::PATH));
}

#[test]
fn memfds_are_read_back_and_sockets_bound_once() {
    let mut stand = Stand::root();
    let content = Blob(&[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    let seals = Seals::WRITE;
    stand.ok(Op::MemFd { name: c"m", content, seals, executable: false, into: FILE });
    stand.ok(Op::Peek { file: FILE, offset: 8, into: Slot(12) });
    assert_eq!(stand.cells[12], crate::kernel::Cell::Value(7));
    stand.no(Op::Peek { file: FILE, offset: 9, into: Slot(12) }, Errno::EIO);
    stand.no(Op::MemFd { name: c"m", content, seals: Seals(0x100), executable: false, into: FILE }, Errno::EINVAL);
    stand.ok(Op::Socket { family: 1, kind: 1, into: FILE });
    stand.ok(Op::Bind { socket: FILE, path: c"/run/socket" });
    stand.no(Op::Bind { socket: FILE, path: c"/run/socket" }, Errno::EADDRINUSE);
}

/// path_resolution(7): every directory on the way must let one search it, also of
/// a name that is to be made, and of `..`.
#[test]
fn a_closed_directory_lets_nobody_through() {
    let host = || Model::as_user(1000).file("/srv/closed/file", "x").owned("/srv/closed", 0, 0, 0o600);
    let open = |path, flags| Op::OpenAt2 { dir: At::Cwd, path, flags, mode: 0, resolve: Resolve::NONE, into: FILE };
    let mut stand = Stand::on(host());
    stand.ok(open(c"/srv/closed", OpenFlags::PATH));
    for path in [c"/srv/closed/file", c"/srv/closed/none", c"/srv/closed/..", c"/srv/closed/."] {
        stand.no(open(path, OpenFlags::PATH), Errno::EACCES);
    }
    stand.no(mkdir(At::Slot(FILE), c"new"), Errno::EACCES);
    stand.no(Op::Fchdir { dir: FILE }, Errno::EACCES);
    stand.no(Op::Chdir { path: c"/srv/closed" }, Errno::EACCES);
    // Who looks at the host is nobody of it.
    assert!(stand.model.inode("/srv/closed/file").is_some());
    // By the bits of the owner, not by those for others.
    let mut stand = Stand::on(host().owned("/srv/closed", 1000, 1000, 0o077));
    stand.no(open(c"/srv/closed/file", OpenFlags::PATH), Errno::EACCES);
    let mut stand = Stand::on(host().owned("/srv/closed", 0, 1000, 0o710));
    stand.ok(open(c"/srv/closed/file", OpenFlags::PATH));
    // Root searches by CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH.
    for (capability, result) in [(1, Ok(())), (2, Ok(())), (3, Err(Errno::EACCES))] {
        let mut stand = Stand::on(Model::new().file("/srv/closed/file", "x").owned("/srv/closed", 7, 7, 0o600));
        let only = crate::abi::CapabilitySet::EMPTY.with(capability);
        stand.ok(Op::CapSet { effective: only, permitted: only, inheritable: only });
        assert_eq!(stand.ask(open(c"/srv/closed/file", OpenFlags::PATH)), result, "capability {capability}");
    }
}

#[test]
fn a_file_goes_with_the_last_of_its_names() {
    let model = Model::new().file("/srv/one", "x").hard_link("/srv/one", "/srv/two");
    let mut stand = Stand::on(model);
    assert_eq!(stand.model.inode("/srv/one"), stand.model.inode("/srv/two"));
    stand.open(c"/srv", DIR);
    let dir = At::Slot(DIR);
    stand.ok(Op::Write { dir, path: c"one", content: Blob(b"new") });
    let unlink = |path| Op::Unlink { dir, path, directory: false };
    stand.ok(unlink(c"one"));
    let read = |stand: &Stand, path| stand.model.process(Actor::Host).unwrap().read(path);
    assert_eq!(read(&stand, "/srv/two").as_deref(), Some(b"new".as_slice()));
    stand.ok(unlink(c"two"));
    assert_eq!(read(&stand, "/srv/two"), None);
}
