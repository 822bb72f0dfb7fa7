//! The place of a machine's journal on the host, made before a start: a directory, or a
//! link to the tree's. What was made goes again where the start fails, and what it took the
//! place of is back.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::fstatat;

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot};

use super::{DIRECTORY, KIND};
use crate::compile::{c_path, c_text};
use crate::error::{Error, Result};

const DIR: Slot = Slot(0);
const PLACE: Slot = Slot(1);

/// What is to be at the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    Directory,
    Link(PathBuf),
}

/// What a start has made there, and takes back unless it is kept.
pub(crate) struct Journal<K: Kernel> {
    kernel: K,
    slots: OwnedSlots,
    id: CString,
    made: Option<Made>,
    before: Option<Before>,
}

/// What there is of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    Directory,
    Link,
}

/// What it took the place of, which holds nothing.
enum Before {
    Link(CString),
    Directory { mode: u32, uid: u32, gid: u32 },
}

impl<K: Kernel> Journal<K> {
    /// Makes it in the directory `above`, in place of a link, and, where a link is wanted,
    /// of an empty directory.
    pub(crate) fn make(mut kernel: K, above: &Path, id: &str, wanted: &Wanted) -> Result<Self> {
        let (mut slots, name) = (OwnedSlots::new(2), c_text(id.as_bytes())?);
        let path = above.join(id);
        let open = Op::OpenAt2 {
            dir: At::Cwd,
            path: &c_path(above)?,
            flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
            mode: 0,
            resolve: Resolve::NO_MAGICLINKS,
            into: DIR,
        };
        kernel.call(&open, &mut slots.slots()).map_err(|errno| {
            let error = Error::system(format!("open {} for the machine's journal", above.display()), errno);
            error.remedy(
                "The host keeps journals there if it is made (journald.conf(5), Storage=); or say --link-journal=no.",
            )
        })?;
        let target = match wanted {
            Wanted::Directory => None,
            Wanted::Link(target) => Some(c_path(target)?),
        };
        let dir = At::Slot(DIR);
        let make = match &target {
            // Closed to others: with mapped ids, root of the machine makes files here that
            // are the host's root's, also such that run as their owner.
            None => Op::Mkdir { dir, name: &name, mode: 0o750, exist_ok: false },
            Some(target) => Op::Symlink { target, dir, name: &name },
        };
        let mut this = Self { kernel, slots, id: name.clone(), made: None, before: None };
        let mut made = this.call(&make);
        if made == Err(Errno::EEXIST) {
            let before = this.look();
            // A link is nothing but a link; a directory goes only if nothing is in it.
            made = match this.call(&Op::Unlink { dir, path: &name, directory: false }) {
                Err(Errno::EISDIR | Errno::EPERM) if target.is_some() => {
                    this.call(&Op::Unlink { dir, path: &name, directory: true })
                }
                other => other,
            };
            if made.is_ok() {
                this.before = before;
                made = this.call(&make);
            }
        }
        made.map_err(|errno| {
            let what = if target.is_some() { "link" } else { "directory" };
            let error = Error::system(format!("make the {what} {}", path.display()), errno);
            error.remedy("Move what is there away, or say --link-journal=no.")
        })?;
        this.made = Some(if target.is_some() { Made::Link } else { Made::Directory });
        Ok(this)
    }

    fn call(&mut self, op: &Op<'_>) -> std::result::Result<(), Errno> {
        self.kernel.call(op, &mut self.slots.slots())
    }

    /// What has the name, if it is one of the two.
    fn look(&self) -> Option<Before> {
        let dir = self.slots.borrow(DIR)?;
        let id = self.id.as_c_str();
        if let Ok(target) = readlinkat(dir, id) {
            return CString::new(std::os::unix::ffi::OsStringExt::into_vec(target)).ok().map(Before::Link);
        }
        let found = fstatat(dir, id, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let directory = Before::Directory { mode: found.st_mode & 0o7777, uid: found.st_uid, gid: found.st_gid };
        (found.st_mode & KIND == DIRECTORY).then_some(directory)
    }

    /// The start has not failed.
    pub(crate) fn keep(mut self) {
        (self.made, self.before) = (None, None);
    }

    /// As it was before.
    fn restore(&mut self) -> std::result::Result<(), Errno> {
        let (id, dir) = (self.id.clone(), At::Slot(DIR));
        if let Some(made) = self.made.take() {
            // Others may have put something there.
            self.call(&Op::Unlink { dir, path: &id, directory: made == Made::Directory })?;
        }
        match self.before.take() {
            Some(Before::Link(target)) => self.call(&Op::Symlink { target: &target, dir, name: &id }),
            Some(Before::Directory { mode, uid, gid }) => {
                self.call(&Op::Mkdir { dir, name: &id, mode: 0o700, exist_ok: false })?;
                let flags = OpenFlags::DIRECTORY;
                let resolve = Resolve::BENEATH.with(Resolve::NO_SYMLINKS);
                self.call(&Op::OpenAt2 { dir, path: &id, flags, mode: 0, resolve, into: PLACE })?;
                self.call(&Op::Chown { file: PLACE, uid, gid })?;
                self.call(&Op::Chmod { file: PLACE, mode })
            }
            None => Ok(()),
        }
    }
}

impl<K: Kernel> std::fmt::Debug for Journal<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("id", &self.id).field("made", &self.made).finish_non_exhaustive()
    }
}

impl<K: Kernel> Drop for Journal<K> {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_sys::Linux;
    use std::fs;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn it_is_made_once_in_place_of_what_holds_nothing() {
        let above = std::env::temp_dir().join(format!("skep-journal-{}", std::process::id()));
        fs::create_dir_all(&above).unwrap();
        let path = above.join(ID);
        let make = |wanted: &Wanted| Journal::make(Linux::new(), &above, ID, wanted);
        let link = |to: &str| Wanted::Link(to.into());

        drop(make(&Wanted::Directory).unwrap());
        assert!(!path.exists(), "a start that failed leaves nothing");
        make(&Wanted::Directory).unwrap().keep();
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o027, 0, "{mode:o}: closed to others");
        fs::write(path.join("system.journal"), "x").unwrap();
        let error = make(&link("/tree")).map(Journal::keep).unwrap_err().to_string();
        assert!(error.contains("ENOTEMPTY") && error.contains(ID), "{error}");
        fs::remove_file(path.join("system.journal")).unwrap();
        make(&link("/tree")).unwrap().keep();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/tree"));
        for wanted in [link("/other"), Wanted::Directory] {
            drop(make(&wanted).unwrap());
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("/tree"), "as it was");
        }
        make(&Wanted::Directory).unwrap().keep();
        assert!(path.is_dir());
        let own = |path: &Path| {
            use std::os::unix::fs::MetadataExt as _;
            path.symlink_metadata().map(|found| (found.mode(), found.uid(), found.gid())).unwrap()
        };
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o2751)).unwrap();
        let before = own(&path);
        drop(make(&link("/other")).unwrap());
        assert_eq!(own(&path), before, "as it was");
        fs::remove_dir_all(&above).unwrap();
        assert!(make(&Wanted::Directory).is_err(), "nothing above it is made");
        assert!(!above.exists());
    }
}
