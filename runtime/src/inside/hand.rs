//! Who opens and makes the files of a container.
//!
//! A process makes no file that its own ids are not mapped in: not the host's
//! root in the tmpfs of a container that has a user namespace, nor through an
//! id-mapped mount (EOVERFLOW, `user_namespaces(7)`). A thread that changed its
//! ids for that would make the whole embedder undumpable. So a process of its own
//! does: stage B, outside of the container but for the user namespace, as the
//! container's root, over descriptors that it is given. It sees no path but
//! beneath them, and is seen by nobody inside.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use skep_sys::abi::{CapabilitySet, Namespaces, signal};
use skep_sys::wire::Blob;
use skep_sys::{Errno, Kernel as _, Linux, Op, OwnedSlots, Report};

use super::{FILE, MADE};
use crate::aside::{self, CHILD, GIVEN, HOST, PIDFD, RESULT, SOCKET};
use crate::error::{Error, ErrorKind, Result};

/// One side of a copy.
pub(super) enum Hand {
    /// This process, with its own rights.
    Own,
    /// A process in the container's user namespace.
    Sent(Helper),
}

/// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID: of
/// files, and no more.
const FILES: CapabilitySet = CapabilitySet(0b1_1111);

impl Hand {
    /// That for the container with this process 1, whose `/proc` directory it is.
    pub(super) fn of(pidfd: BorrowedFd<'_>, process: &OwnedFd) -> Result<Self> {
        let failed =
            |errno: nix::Error| Error::system("look at the container's user namespace", Errno::from_raw(errno as u16));
        let own = std::fs::read_link("/proc/self/ns/user")
            .map_err(|error| Error::system("look at the caller's user namespace", crate::watcher::errno_of(&error)))?;
        if readlinkat(process, "ns/user").map_err(failed)? == own.as_os_str() {
            return Ok(Self::Own);
        }
        let first = |name: &str| {
            let mut text = String::new();
            let file = openat(process, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
            File::from(file)
                .read_to_string(&mut text)
                .map_err(|error| Error::system(format!("read {name}"), crate::watcher::errno_of(&error)))?;
            first_id(&text).ok_or_else(|| Error::new(ErrorKind::Unsupported, format!("{name} maps nothing")))
        };
        Ok(Self::Sent(Helper::start(pidfd, first("uid_map")?, first("gid_map")?)?))
    }

    /// One op, with `file` in the slot [`FILE`]; what it leaves in [`MADE`].
    pub(super) fn call(&mut self, file: BorrowedFd<'_>, op: &Op<'_>) -> std::result::Result<Option<OwnedFd>, Errno> {
        let own = file.try_clone_to_owned().map_err(|error| crate::watcher::errno_of(&error))?;
        match self {
            Self::Own => {
                let mut slots = OwnedSlots::new(2);
                slots.give(FILE, own);
                Linux::new().call(op, &mut slots.slots())?;
                Ok(slots.take(MADE))
            }
            Self::Sent(Helper(slots)) => {
                let mut request = Vec::new();
                op.write(&mut request);
                slots.give(GIVEN, own);
                let ask = Op::Ask { server: HOST, file: Some(GIVEN), request: Blob(&request), into: CHILD };
                Linux::new().call(&ask, &mut slots.slots())?;
                Ok(slots.take(CHILD))
            }
        }
    }

    /// As [`Hand::call`] of an op that makes a descriptor.
    pub(super) fn open(&mut self, file: BorrowedFd<'_>, op: &Op<'_>) -> std::result::Result<OwnedFd, Errno> {
        self.call(file, op)?.ok_or(Errno::EBADF)
    }
}

/// The id that root has, or else the first that there is.
fn first_id(map: &str) -> Option<u32> {
    let starts = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, count) = (numbers.next()?.ok()?, numbers.nth(1)?.ok()?);
        (count > 0).then_some(inside)
    });
    starts.min()
}

/// It ends with its socket, so with this, or with the embedder.
pub(super) struct Helper(OwnedSlots);

impl Helper {
    fn start(pidfd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<Self> {
        let what = "a process in the container's user namespace";
        let failed = |errno| Error::system(format!("start {what}"), errno);
        let target = pidfd.try_clone_to_owned().map_err(|error| failed(crate::watcher::errno_of(&error)))?;
        let parts = aside::Parts {
            enter: &[
                Op::SetNs { namespace: GIVEN, kind: Namespaces::USER },
                Op::Close { file: GIVEN },
                Op::SetResGid { gid },
                Op::SetResUid { uid },
                Op::CapSet { effective: FILES, permitted: FILES, inheritable: CapabilitySet::EMPTY },
                Op::NoNewPrivs {},
                Op::Umask { mode: 0o077 },
                // A change of ids sets this as fs.suid_dumpable says.
                Op::Dumpable { on: false },
                Op::Arrive { to: SOCKET },
            ],
            payload: &[Op::Serve { socket: SOCKET }],
            init: &[],
        };
        let mut helper = Self(aside::start(&mut Linux::new(), what, &parts, Some(target), None)?);
        let slots = &mut helper.0;
        let hear = Op::Receive { from: HOST, timeout_ms: 10_000, early: true, cancel: None, file: CHILD, into: RESULT };
        Linux::new().call(&hear, &mut slots.slots()).map_err(failed)?;
        match slots.value(RESULT).map(Report::from_value) {
            Some(Report::Waiting) => Ok(helper),
            Some(Report::Failed { errno: Errno::ESRCH, .. }) => {
                Err(Error::new(ErrorKind::Ended, "the container has ended"))
            }
            Some(Report::Failed { errno, .. }) => {
                Err(failed(errno).remedy("EPERM: only who started the container, or root, can join it."))
            }
            _ => Err(failed(Errno::ECANCELED)),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let kill = Op::PidfdSignal { process: PIDFD, signal: signal::KILL };
        let wait = Op::PidfdWait { process: PIDFD, timeout_ms: 5000, into: RESULT };
        for op in [kill, wait] {
            let _ = Linux::new().call(&op, &mut self.0.slots());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_map() {
        assert_eq!(first_id("         0     100000      65536\n"), Some(0));
        assert_eq!(first_id("1000 1000 1\n5 100005 10\n"), Some(5));
        for bad in ["", "0", "0 0", "x y z", "0 0 0", "-1 0 1", "0 0 99999999999"] {
            assert_eq!(first_id(bad), None, "{bad}");
        }
        proptest::proptest!(|(text: String)| { let _ = first_id(&text); });
    }
}
