//! The place of a machine's journal on the host, made before a start: a directory, or a
//! link to the tree's. What was made goes again where the start fails.

use std::path::{Path, PathBuf};

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot};

use crate::compile::{c_path, c_text};
use crate::error::{Error, Result};

const DIR: Slot = Slot(0);

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
    id: std::ffi::CString,
    directory: bool,
    kept: bool,
}

impl<K: Kernel> Journal<K> {
    /// Makes it in the directory `above`, in place of a link, and, where a link is wanted,
    /// of an empty directory.
    pub(crate) fn make(mut kernel: K, above: &Path, id: &str, wanted: &Wanted) -> Result<Self> {
        let (mut slots, name) = (OwnedSlots::new(1), c_text(id.as_bytes())?);
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
        let mut call = |op: &Op<'_>| kernel.call(op, &mut slots.slots());
        let mut made = call(&make);
        if made == Err(Errno::EEXIST) {
            // A link is nothing but a link; a directory goes only if nothing is in it.
            made = match call(&Op::Unlink { dir, path: &name, directory: false }) {
                Err(Errno::EISDIR | Errno::EPERM) if target.is_some() => {
                    call(&Op::Unlink { dir, path: &name, directory: true })
                }
                other => other,
            }
            .and_then(|()| call(&make));
        }
        made.map_err(|errno| {
            let what = if target.is_some() { "link" } else { "directory" };
            let error = Error::system(format!("make the {what} {}", path.display()), errno);
            error.remedy("Move what is there away, or say --link-journal=no.")
        })?;
        Ok(Self { kernel, slots, id: name, directory: target.is_none(), kept: false })
    }

    /// The start has not failed.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl<K: Kernel> Drop for Journal<K> {
    fn drop(&mut self) {
        if !self.kept {
            // Others may have put something there.
            let op = Op::Unlink { dir: At::Slot(DIR), path: &self.id, directory: self.directory };
            let _ = self.kernel.call(&op, &mut self.slots.slots());
        }
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
        drop(make(&link("/other")).unwrap());
        assert!(path.symlink_metadata().is_err());
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        make(&Wanted::Directory).unwrap().keep();
        assert!(path.is_dir());
        fs::remove_dir_all(&above).unwrap();
        assert!(make(&Wanted::Directory).is_err(), "nothing above it is made");
        assert!(!above.exists());
    }
}
