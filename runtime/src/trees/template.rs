//! A root that is made as a copy of another tree, whole or not at all.
//!
//! It grows under a hidden name that says who makes it, and gets its own name at the
//! end. What somebody who was killed has left under such a name goes with the next
//! copy to the same place.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, major, minor};
use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot, xattr, xattr_names};

use crate::compile::{c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Registrar;
use crate::registry::left::{is_left_by, words};
use crate::trees::{BENEATH, DIRECTORY, KIND, LINK, REGULAR, names_in, status};

/// The directory in which the copy is made, the entry that is copied and its copy,
/// both opened to read and to write, a file that has a second name.
const PARENT: Slot = Slot(0);
const ENTRY: Slot = Slot(1);
const MADE: Slot = Slot(2);
const SOURCE: Slot = Slot(3);
const TWIN: Slot = Slot(4);

/// How many directories may lie in each other: two descriptors each.
const DEPTH: u16 = 200;

const fn from(depth: u16) -> Slot {
    Slot(5 + 2 * depth)
}

const fn to(depth: u16) -> Slot {
    Slot(6 + 2 * depth)
}

const HANDLE: OpenFlags = OpenFlags(OpenFlags::PATH.0 | OpenFlags::NO_FOLLOW.0);

const SOCKET: u32 = 0o140_000;

/// Makes `root` as a copy of `template`, if nothing is there; whether it did.
pub(crate) fn make<K: Kernel>(kernel: &mut K, template: &Path, root: &Path) -> Result<bool> {
    if root.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let slots = OwnedSlots::new(usize::from(to(DEPTH).0) + 1);
    Copy { kernel, slots, path: template.to_path_buf(), inside: PathBuf::new(), names: HashMap::new() }
        .whole(template, root)
}

struct Copy<'k, K> {
    kernel: &'k mut K,
    slots: OwnedSlots,
    /// What is being copied, for errors; and the same as a path below the top.
    path: PathBuf,
    inside: PathBuf,
    /// Of files with several names the one that was copied.
    names: HashMap<(u64, u64), CString>,
}

impl<K: Kernel> Copy<'_, K> {
    fn failed(&self, what: &str, errno: Errno) -> Error {
        Error::system(format!("copy the template: {what} {}", self.path.display()), errno)
    }

    fn call(&mut self, what: &str, op: &Op<'_>) -> Result<()> {
        self.kernel.call(op, &mut self.slots.slots()).map_err(|errno| self.failed(what, errno))
    }

    fn open(&mut self, dir: At, path: &CStr, flags: OpenFlags, into: Slot) -> std::result::Result<(), Errno> {
        let resolve = if dir == At::Cwd { Resolve::NO_MAGICLINKS } else { BENEATH };
        self.kernel.call(&Op::OpenAt2 { dir, path, flags, mode: 0, resolve, into }, &mut self.slots.slots())
    }

    fn whole(mut self, template: &Path, root: &Path) -> Result<bool> {
        let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else {
            return Err(
                Error::new(ErrorKind::InvalidSpec, "the root's own name is missing").remedy("Name a new directory.")
            );
        };
        let folder = OpenFlags::PATH.with(OpenFlags::DIRECTORY);
        self.open(At::Cwd, &c_path(template)?, folder, ENTRY).map_err(|errno| self.failed("open", errno))?;
        let top = self.look(ENTRY)?;
        self.call("read", &Op::Reopen { file: ENTRY, flags: OpenFlags::DIRECTORY, into: from(0) })?;
        let failed = |errno| Error::system(format!("make a tree in {}", parent.display()), errno);
        self.open(At::Cwd, &c_path(parent)?, OpenFlags::DIRECTORY, PARENT).map_err(failed)?;
        let prefix = [b".#", name.as_bytes(), b".skep-"].concat();
        self.remove_stale(&prefix)?;
        let hidden = c_text(&[&prefix[..], words(&Registrar::look()).as_bytes()].concat())?;
        let mkdir = Op::Mkdir { dir: At::Slot(PARENT), name: &hidden, mode: 0o700, exist_ok: false };
        self.kernel.call(&mkdir, &mut self.slots.slots()).map_err(failed)?;
        let name = c_text(name.as_bytes())?;
        let made = self.tree(&hidden, &top).and_then(|()| {
            let rename = Op::Rename { dir: At::Slot(PARENT), from: &hidden, to: &name, replace: false };
            match self.kernel.call(&rename, &mut self.slots.slots()) {
                Ok(()) => Ok(true),
                // Somebody else was faster.
                Err(Errno::EEXIST) => Ok(false),
                Err(errno) => Err(failed(errno)),
            }
        });
        match made {
            Ok(true) => Ok(true),
            other => {
                let left = self.remove(PARENT, &hidden, 0).err().map(|errno| {
                    Error::system(
                        format!("remove {}", parent.join(OsStr::from_bytes(hidden.to_bytes())).display()),
                        errno,
                    )
                    .remedy("The next copy to the same place removes it.")
                });
                other.map_err(|error| error.leaving(left.into_iter().collect()))
            }
        }
    }

    fn tree(&mut self, hidden: &CStr, top: &FileStat) -> Result<()> {
        let opened = self.open(At::Slot(PARENT), hidden, OpenFlags::DIRECTORY.with(OpenFlags::NO_FOLLOW), to(0));
        opened.map_err(|errno| self.failed("open the copy of", errno))?;
        self.below(0)?;
        self.finish(from(0), to(0), top)
    }

    fn look(&self, file: Slot) -> Result<FileStat> {
        status(&self.slots, file).map_err(|errno| self.failed("look at", errno))
    }

    fn below(&mut self, depth: u16) -> Result<()> {
        for name in names_in(&self.slots, from(depth)).map_err(|errno| self.failed("read", errno))? {
            let part = OsStr::from_bytes(name.to_bytes()).to_owned();
            self.path.push(&part);
            self.inside.push(&part);
            self.entry(depth, &name)?;
            for slot in [ENTRY, MADE, SOURCE, TWIN] {
                drop(self.slots.take(slot));
            }
            self.path.pop();
            self.inside.pop();
        }
        Ok(())
    }

    fn entry(&mut self, depth: u16, name: &CStr) -> Result<()> {
        match self.open(At::Slot(from(depth)), name, HANDLE, ENTRY) {
            Ok(()) => {}
            // Gone since; or another file system, which is no part of the tree.
            Err(Errno::ENOENT | Errno::EXDEV) => return Ok(()),
            Err(errno) => return Err(self.failed("open", errno)),
        }
        let found = self.look(ENTRY)?;
        let kind = found.st_mode & KIND;
        let dir = At::Slot(to(depth));
        if kind != DIRECTORY && found.st_nlink > 1 {
            let inode = (found.st_dev, found.st_ino);
            if let Some(first) = self.names.get(&inode).cloned() {
                self.open(At::Slot(to(0)), &first, HANDLE, TWIN)
                    .map_err(|errno| self.failed("find the copy of", errno))?;
                return self.call("link the copy of", &Op::Link { file: TWIN, dir, name });
            }
            let inside = c_path(&self.inside)?;
            self.names.insert(inode, inside);
        }
        match kind {
            DIRECTORY => return self.directory(depth, name, &found),
            REGULAR => {
                let flags =
                    OpenFlags::WRITE.with(OpenFlags::CREATE).with(OpenFlags::EXCLUSIVE).with(OpenFlags::NO_FOLLOW);
                self.call(
                    "make a copy of",
                    &Op::OpenAt2 { dir, path: name, flags, mode: 0o600, resolve: BENEATH, into: MADE },
                )?;
                self.call("read", &Op::Reopen { file: ENTRY, flags: OpenFlags::NON_BLOCK, into: SOURCE })?;
                self.call("copy", &Op::CopyWhole { from: SOURCE, to: MADE })?;
            }
            LINK => {
                let file = self.slots.borrow(ENTRY).ok_or_else(|| self.failed("read", Errno::EBADF))?;
                let target =
                    readlinkat(file, "").map_err(|errno| self.failed("read", Errno::from_raw(errno as u16)))?;
                let target = c_text(target.as_bytes())?;
                self.call("make a copy of", &Op::Symlink { target: &target, dir, name })?;
                self.open(dir, name, HANDLE, MADE).map_err(|errno| self.failed("open the copy of", errno))?;
            }
            // Whoever listened made it, and makes it again.
            SOCKET => return Ok(()),
            _ => {
                let (major, minor) = (major(found.st_rdev) as u32, minor(found.st_rdev) as u32);
                self.call("make a copy of", &Op::Mknod { dir, name, mode: kind | 0o600, major, minor })?;
                self.open(dir, name, HANDLE, MADE).map_err(|errno| self.failed("open the copy of", errno))?;
            }
        }
        self.finish(ENTRY, MADE, &found)
    }

    fn directory(&mut self, depth: u16, name: &CStr, found: &FileStat) -> Result<()> {
        let inner = depth + 1;
        if inner > DEPTH {
            let what = format!("{} lies deeper than {DEPTH} directories", self.path.display());
            return Err(Error::new(ErrorKind::TooMuch, what).remedy("Copy the tree by other means."));
        }
        let dir = At::Slot(to(depth));
        self.call("make a copy of", &Op::Mkdir { dir, name, mode: 0o700, exist_ok: false })?;
        let opened = self.open(dir, name, OpenFlags::DIRECTORY.with(OpenFlags::NO_FOLLOW), to(inner));
        opened.map_err(|errno| self.failed("open the copy of", errno))?;
        self.call("read", &Op::Reopen { file: ENTRY, flags: OpenFlags::DIRECTORY, into: from(inner) })?;
        self.below(inner)?;
        self.finish(from(inner), to(inner), found)?;
        for slot in [from(inner), to(inner)] {
            drop(self.slots.take(slot));
        }
        Ok(())
    }

    /// Owner, attributes, mode and times, in the order in which none undoes another.
    fn finish(&mut self, source: Slot, file: Slot, found: &FileStat) -> Result<()> {
        self.call("chown the copy of", &Op::Chown { file, uid: found.st_uid, gid: found.st_gid })?;
        let link = found.st_mode & KIND == LINK;
        if !link {
            let borrowed = self.slots.borrow(source).ok_or_else(|| self.failed("look at", Errno::EBADF))?;
            let mut all = Vec::new();
            for name in xattr_names(borrowed).map_err(|errno| self.failed("read the attributes of", errno))? {
                let value = xattr(borrowed, &name).map_err(|errno| self.failed("read the attributes of", errno))?;
                all.extend(value.map(|value| (name, value)));
            }
            for (name, value) in all {
                self.call(
                    "set the attributes of the copy of",
                    &Op::SetXattr { file, name: &name, value: Blob(&value) },
                )?;
            }
        }
        let mode = if link { u32::MAX } else { found.st_mode & 0o7777 };
        let access = [found.st_atime, found.st_atime_nsec].map(|part| part as u64);
        let modified = [found.st_mtime, found.st_mtime_nsec].map(|part| part as u64);
        let [access, access_ns] = access;
        let [modified, modified_ns] = modified;
        self.call("set the mode of the copy of", &Op::Stamp { file, mode, access, access_ns, modified, modified_ns })
    }

    /// What others have begun, and cannot finish.
    fn remove_stale(&mut self, prefix: &[u8]) -> Result<()> {
        let here = Registrar::look();
        for name in names_in(&self.slots, PARENT).map_err(|errno| self.failed("look beside the copy of", errno))? {
            let maker = name.to_bytes().strip_prefix(prefix).and_then(|maker| std::str::from_utf8(maker).ok());
            if maker.is_some_and(|maker| is_left_by(maker, &here)) {
                let removed = self.remove(PARENT, &name, 0);
                removed.map_err(|errno| self.failed("remove what is left of a copy of", errno))?;
            }
        }
        Ok(())
    }

    /// A tree with all below it. One that is there no more is no error.
    fn remove(&mut self, dir: Slot, name: &CStr, depth: u16) -> std::result::Result<(), Errno> {
        let place = to(depth);
        match self.open(At::Slot(dir), name, OpenFlags::DIRECTORY.with(OpenFlags::NO_FOLLOW), place) {
            Ok(()) => {
                for inner in names_in(&self.slots, place)? {
                    if depth >= DEPTH {
                        return Err(Errno::ELOOP);
                    }
                    self.remove(place, &inner, depth + 1)?;
                }
                drop(self.slots.take(place));
                self.kernel
                    .call(&Op::Unlink { dir: At::Slot(dir), path: name, directory: true }, &mut self.slots.slots())
            }
            Err(Errno::ENOTDIR | Errno::ELOOP) => self
                .kernel
                .call(&Op::Unlink { dir: At::Slot(dir), path: name, directory: false }, &mut self.slots.slots()),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _, chown, symlink};

    use nix::sys::stat::Mode;
    use skep_sys::{Faulty, Linux};

    use super::*;

    fn tree(top: &Path) {
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/one"), "one").unwrap();
        std::fs::hard_link(top.join("a/b/one"), top.join("two")).unwrap();
        symlink("/etc/passwd", top.join("link")).unwrap();
        std::fs::set_permissions(top.join("a/b/one"), PermissionsOf(0o640).into()).unwrap();
        std::fs::set_permissions(top.join("a"), PermissionsOf(0o1777).into()).unwrap();
        let sparse = std::fs::File::create(top.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 4 << 20).unwrap();
        nix::unistd::mkfifo(&top.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(top.join("a/b/one"), Some(7), Some(8)).unwrap();
            let kind = nix::sys::stat::SFlag::S_IFCHR;
            let mode = Mode::from_bits_truncate(0o666);
            nix::sys::stat::mknod(&top.join("null"), kind, mode, nix::sys::stat::makedev(1, 3)).unwrap();
        }
    }

    struct PermissionsOf(u32);

    impl From<PermissionsOf> for std::fs::Permissions {
        fn from(mode: PermissionsOf) -> Self {
            std::os::unix::fs::PermissionsExt::from_mode(mode.0)
        }
    }

    type State = Vec<(PathBuf, u32, u32, u64, i64, u64, u64)>;

    fn state(top: &Path) -> State {
        let mut all = State::new();
        let mut left = vec![top.to_path_buf()];
        while let Some(path) = left.pop() {
            let found = path.symlink_metadata().unwrap();
            let inside = path.strip_prefix(top).unwrap().to_path_buf();
            let size = if found.is_dir() { 0 } else { found.size() };
            let links = if found.is_dir() { 0 } else { found.nlink() };
            all.push((inside, found.mode(), found.uid(), size, found.mtime(), links, found.rdev()));
            if found.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let scratch = std::env::temp_dir().join(format!("skep-template-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        let (template, root) = (scratch.join("template"), scratch.join("root"));
        tree(&template);
        let listed = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = listed();
        // Left by a process that is no more: nobody has this start time.
        let stale = scratch.join(format!(".#root.skep-1-1-{}", Registrar::look().pid_namespace));
        std::fs::create_dir_all(stale.join("a/b")).unwrap();
        std::fs::write(stale.join("a/b/c"), "x").unwrap();
        assert_eq!(make(&mut Linux::new(), &template, &root), Ok(true));
        assert!(!stale.exists());
        assert_eq!(state(&root), state(&template));
        let inode = |name: &str| root.join(name).metadata().unwrap().ino();
        assert_eq!(inode("a/b/one"), inode("two"));
        let blocks = root.join("sparse").metadata().unwrap().blocks();
        assert!(blocks < 1000, "{blocks} blocks of a file that is a hole");
        assert_eq!(std::fs::read(root.join("sparse")).unwrap(), std::fs::read(template.join("sparse")).unwrap());
        // What is there stays as it is.
        std::fs::write(root.join("mine"), "").unwrap();
        assert_eq!(make(&mut Linux::new(), &template, &root), Ok(false));
        assert!(root.join("mine").exists());
        std::fs::remove_dir_all(&root).unwrap();

        let mut counted = Faulty::new(Linux::new(), usize::MAX, Errno::EIO);
        make(&mut counted, &template, &root).unwrap();
        let calls = counted.calls();
        std::fs::remove_dir_all(&root).unwrap();
        for call in 0..calls {
            let failed = make(&mut Faulty::new(Linux::new(), call, Errno::EIO), &template, &root);
            assert!(failed.is_err(), "call {call}");
            assert_eq!(listed(), before, "call {call}: {failed:?}");
        }
        let missing = make(&mut Linux::new(), &scratch.join("none"), &root).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(listed(), before);
        std::fs::remove_dir_all(&scratch).unwrap();
        let _ = std::io::stderr().flush();
    }
}
