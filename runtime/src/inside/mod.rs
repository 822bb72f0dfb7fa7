//! Files of a container that runs, from outside.
//!
//! Every path is walked by the kernel beneath the container's root, which is
//! opened through its process 1 and proved by the pidfd to be that process's.

mod copy;
mod hand;

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, openat2};
use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::{At, Cell, Errno, Kernel, Linux, Op, OwnedSlots, Slot};

use crate::error::{Error, ErrorKind, Result};
pub use copy::{Copied, CopyOptions};
pub(crate) use copy::{copy_in, copy_out};
use hand::Hand;

/// Where an op finds the descriptor that it is about, and puts one that it makes.
const FILE: Slot = Slot(0);
const MADE: Slot = Slot(1);

/// The `/proc` directory of the container's process 1, and the container's root.
fn root(pidfd: BorrowedFd<'_>, pid: u32) -> Result<(OwnedFd, OwnedFd)> {
    let failed = |errno| Error::system("open the container's root", errno);
    let mut slots = OwnedSlots::new(3);
    let copy = pidfd.try_clone_to_owned().map_err(|error| failed(crate::watcher::errno_of(&error)))?;
    slots.give(Slot(0), copy);
    slots.slots().put(Slot(1), Cell::Value(u64::from(pid))).map_err(failed)?;
    let process = Op::OpenProcess { pid: Slot(1), pidfd: Slot(0), into: Slot(2) };
    Linux::new().call(&process, &mut slots.slots()).map_err(|errno| match errno {
        Errno::ESRCH | Errno::ENOENT => Error::new(ErrorKind::Ended, "the container has ended"),
        other => failed(other),
    })?;
    let process = slots.take(Slot(2)).ok_or_else(|| failed(Errno::EBADF))?;
    // The one magic link, of a directory that is proved.
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let root = openat2(&process, "root", how).map_err(|errno| failed(Errno::from_raw(errno as u16)))?;
    Ok((process, root))
}

fn error(what: &str, path: &Path, errno: Errno) -> Error {
    let error = Error::system(format!("{what} {} in the container", path.display()), errno);
    match errno {
        Errno::ELOOP | Errno::EXDEV => error.kind_is(ErrorKind::SafetyViolation).remedy(
            "A link that leads out of the directory it is in, or an absolute one, is not followed: name the file itself.",
        ),
        _ => error,
    }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::InvalidSpec, format!("{} has a NUL in it", path.display())))
}

/// An absolute path of the container, as one beneath its root; `.` for the root.
fn beneath(path: &Path) -> Result<CString> {
    if !path.is_absolute() {
        let what = format!("{} is no absolute path in the container", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, what));
    }
    let parts: PathBuf = path.components().filter(|part| !matches!(part, Component::RootDir)).collect();
    c_path(if parts.as_os_str().is_empty() { Path::new(".") } else { &parts })
}

/// A handle on what `path` leads to beneath `root`: a device or a pipe must not
/// be opened before it is looked at.
fn find(hand: &mut Hand, root: BorrowedFd<'_>, path: &Path, directory: bool) -> Result<OwnedFd> {
    let flags = if directory { OpenFlags::PATH.with(OpenFlags::DIRECTORY) } else { OpenFlags::PATH };
    let resolve = Resolve::BENEATH.with(Resolve::NO_MAGICLINKS);
    let open = Op::OpenAt2 { dir: At::Slot(FILE), path: &beneath(path)?, flags, mode: 0, resolve, into: MADE };
    hand.open(root, &open).map_err(|errno| error("open", path, errno))
}

/// Opens a regular file beneath the container's root for reading.
pub(crate) fn open_file(pidfd: BorrowedFd<'_>, pid: u32, path: &Path) -> Result<File> {
    let failed = |errno| error("open", path, errno);
    if path.components().all(|part| part == Component::RootDir) {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("{} is no absolute path of a file", path.display())));
    }
    let (_, root) = root(pidfd, pid)?;
    let mut hand = Hand::Own;
    let found = find(&mut hand, root.as_fd(), path, false)?;
    let stat = nix::sys::stat::fstat(&found).map_err(|errno| failed(Errno::from_raw(errno as u16)))?;
    if stat.st_mode & 0o170_000 != 0o100_000 {
        let what = format!("{} is no regular file in the container", path.display());
        return Err(Error::new(ErrorKind::SafetyViolation, what));
    }
    let reopen = Op::Reopen { file: FILE, flags: OpenFlags::NON_BLOCK, into: MADE };
    hand.open(found.as_fd(), &reopen).map(File::from).map_err(failed)
}

/// What a regular file holds, if that is at most `limit` bytes.
pub(crate) fn read_file(pidfd: BorrowedFd<'_>, pid: u32, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open_file(pidfd, pid, path)?;
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(|error| {
        Error::system(format!("read {} of the container", path.display()), crate::watcher::errno_of(&error))
    })?;
    if content.len() as u64 > limit {
        let what = format!("{} of the container holds more than the {limit} bytes asked for", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, what).remedy("Ask for more, or open it and read in parts."));
    }
    Ok(content)
}
