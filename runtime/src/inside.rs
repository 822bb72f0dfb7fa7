//! Files of a container that runs, from outside.
//!
//! Every path is walked by the kernel beneath the container's root, which is
//! opened through its process 1 and proved by the pidfd to be that process's.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use skep_sys::{Cell, Errno, Kernel, Linux, Op, OwnedSlots, Slot};

use crate::error::{Error, ErrorKind, Result};

/// The root of the container with this process 1.
fn root(pidfd: BorrowedFd<'_>, pid: u32) -> Result<OwnedFd> {
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
    openat2(&process, "root", how).map_err(|errno| failed(Errno::from_raw(errno as u16)))
}

/// Opens a regular file beneath the container's root for reading.
pub(crate) fn open_file(pidfd: BorrowedFd<'_>, pid: u32, path: &Path) -> Result<File> {
    let shown = || path.display();
    let failed = |errno: nix::Error| {
        let error = Error::system(format!("open {} in the container", shown()), Errno::from_raw(errno as u16));
        match errno {
            nix::Error::ELOOP | nix::Error::EXDEV => error
                .kind_is(ErrorKind::SafetyViolation)
                .remedy("A link that leads out of the directory it is in, or an absolute one, is not followed: name the file itself."),
            _ => error,
        }
    };
    let beneath: PathBuf = path.components().filter(|part| !matches!(part, Component::RootDir)).collect();
    if !path.is_absolute() || beneath.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("{} is no absolute path of a file", shown())));
    }
    let root = root(pidfd, pid)?;
    // Found first and looked at, for a device or a pipe must not be opened.
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    let found = openat2(&root, &beneath, how).map_err(failed)?;
    let stat = nix::sys::stat::fstat(&found).map_err(failed)?;
    if stat.st_mode & 0o170_000 != 0o100_000 {
        return Err(Error::new(ErrorKind::SafetyViolation, format!("{} is no regular file in the container", shown())));
    }
    // The very file that was looked at, whatever has its name by now.
    let own = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(own.as_str(), flags, Mode::empty()).map(File::from).map_err(failed)
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
