//! A container that is made and not started yet.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use skep_sys::abi::{Namespaces, OpenFlags, Resolve};
use skep_sys::{At, Cell, Errno, Kernel, Linux, Op, OwnedSlots, Slot};

use crate::container::Container;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::run::Held;
use crate::spec::MachineName;
use crate::trees::Journal;

/// A container that exists, with namespaces, mounts, ids and limits, and
/// whose payload has not been started: [`crate::Command::create`].
///
/// Its one process waits, in the new root, and has given up what it could;
/// left are the split into stub init and payload, the terminal, the working
/// directory, the filter and the exec (where capabilities are passed on, or
/// new privileges allowed, also the change of ids and capabilities).
///
/// Dropped, it is taken back, and nothing of it is left. It is too when this
/// process ends.
#[derive(Debug)]
pub struct Created {
    held: Held<Linux<'static>>,
    pidfd: OwnedFd,
    /// After the container, whose mount may be of it.
    journal: Option<Journal<Linux<'static>>>,
}

impl Created {
    pub(crate) fn new(held: Held<Linux<'static>>, journal: Option<Journal<Linux<'static>>>) -> Result<Self> {
        let pidfd = held.pidfd().map_or(Err(Errno::EBADF), |file| {
            file.try_clone_to_owned().map_err(|error| crate::watcher::errno_of(&error))
        });
        let pidfd = pidfd.map_err(|errno| Error::system("duplicate the container's pidfd", errno))?;
        Ok(Self { held, pidfd, journal })
    }

    /// Takes it back, and says what stays.
    pub(crate) fn abandon(self) -> Vec<Error> {
        self.held.abandon()
    }

    /// The process id of the container's first process, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.held.pid()
    }

    /// The container's name.
    #[must_use]
    pub fn machine(&self) -> &MachineName {
        self.held.plan().machine()
    }

    /// What is applied, item by item; what comes last is in it already.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.held.plan().report()
    }

    /// The directory `/proc/PID` of the container's first process, proved by
    /// its pidfd: it is not the directory of a later process with this number.
    ///
    /// # Errors
    ///
    /// What the kernel answered: ESRCH where the container has ended.
    pub fn process(&self) -> Result<OwnedFd> {
        self.look(None)
    }

    /// One of its namespaces, for `setns(2)` or to move a network interface
    /// into. `kind` is one kind.
    ///
    /// # Errors
    ///
    /// EINVAL where `kind` is not one kind, else what the kernel answered.
    pub fn namespace(&self, kind: Namespaces) -> Result<OwnedFd> {
        let name = match kind {
            Namespaces::MOUNT => c"ns/mnt",
            Namespaces::PID => c"ns/pid",
            Namespaces::IPC => c"ns/ipc",
            Namespaces::UTS => c"ns/uts",
            Namespaces::CGROUP => c"ns/cgroup",
            Namespaces::TIME => c"ns/time",
            Namespaces::NETWORK => c"ns/net",
            Namespaces::USER => c"ns/user",
            _ => return Err(Error::system(format!("look at the namespaces {kind}"), Errno::EINVAL)),
        };
        self.look(Some(name))
    }

    fn look(&self, name: Option<&std::ffi::CStr>) -> Result<OwnedFd> {
        const PIDFD: Slot = Slot(0);
        const PID: Slot = Slot(1);
        const PROCESS: Slot = Slot(2);
        const FOUND: Slot = Slot(3);
        let what = |errno| Error::system("look at the container's process", errno);
        let pidfd = self.as_fd().try_clone_to_owned().map_err(|error| what(crate::watcher::errno_of(&error)))?;
        let mut slots = OwnedSlots::new(4);
        slots.give(PIDFD, pidfd);
        slots.slots().put(PID, Cell::Value(u64::from(self.id()))).map_err(what)?;
        let mut kernel = Linux::new();
        let process = Op::OpenProcess { pid: PID, pidfd: PIDFD, into: PROCESS };
        kernel.call(&process, &mut slots.slots()).map_err(what)?;
        let found = match name {
            None => PROCESS,
            Some(path) => {
                let (dir, flags, resolve) = (At::Slot(PROCESS), OpenFlags::NONE, Resolve::NONE);
                let open = Op::OpenAt2 { dir, path, flags, mode: 0, resolve, into: FOUND };
                kernel.call(&open, &mut slots.slots()).map_err(what)?;
                FOUND
            }
        };
        slots.take(found).ok_or_else(|| what(Errno::EBADF))
    }

    /// Starts the payload, and returns once it has been executed.
    ///
    /// # Errors
    ///
    /// As [`crate::Command::spawn`]; what was made is taken back.
    pub fn start(self) -> Result<Container> {
        let container = Container::new(self.held.start()?)?;
        if let Some(journal) = self.journal {
            journal.keep();
        }
        Ok(container)
    }
}

/// Its pidfd, which becomes readable when the container has ended.
impl AsFd for Created {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsRawFd for Created {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}
