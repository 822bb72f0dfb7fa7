//! The handle on a container that somebody else has started.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use skep_sys::abi::signal;
use skep_sys::{Cell, Errno, Kernel, Linux, Op, OwnedSlots, Slot};

use super::entry::{self, Record};
use super::{Directory, Entry};
use crate::container::{call, has_ended};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Confinement, Exec, Target, unsupported};
use crate::groups::Groups;
use crate::spec::MachineName;
use crate::stats::Stats;

/// A container that was found by [`crate::find`].
///
/// It is not this process's child: its status is its starter's to know, and
/// dropping this changes nothing. It is pollable: [`AsFd`] gives the pidfd of the
/// container's first process, which becomes readable when it has ended.
#[derive(Debug)]
pub struct Found {
    name: MachineName,
    pid: u32,
    pidfd: OwnedFd,
    kill_signal: u8,
    confinement: Result<Box<Confinement>>,
    groups: Groups,
}

fn pidfd_of(pid: u32) -> std::result::Result<OwnedFd, Errno> {
    let mut slots = OwnedSlots::new(2);
    slots.slots().put(Slot(0), Cell::Value(u64::from(pid)))?;
    Linux::new().call(&Op::PidfdOpen { pid: Slot(0), into: Slot(1) }, &mut slots.slots())?;
    slots.take(Slot(1)).ok_or(Errno::EBADF)
}

impl Found {
    /// `None` where it has ended or is not started yet.
    pub(super) fn of(record: Record) -> Result<Option<Self>> {
        let Some(running) = &record.running else { return Ok(None) };
        match pidfd_of(running.pid) {
            Ok(pidfd) => Self::with(record, pidfd),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(Error::system(format!("open the process of {}: pidfd_open", record.name), errno)),
        }
    }

    fn with(record: Record, pidfd: OwnedFd) -> Result<Option<Self>> {
        let Some(running) = record.running else { return Ok(None) };
        let pid = running.pid;
        let same = entry::start_time(pid) == Some(running.start_time);
        let now = entry::namespaces(pid);
        let moved = running.namespaces.iter().any(|(kind, inode)| now.get(kind).is_some_and(|now| now != inode));
        // What was looked at by number was this process if it lives now.
        if !same || moved || has_ended(pidfd.as_fd(), Some(Duration::ZERO))? {
            return Ok(None);
        }
        let confinement = match &running.confinement {
            Ok(stored) => stored
                .confinement(&record.name)
                .map(Box::new)
                .ok_or_else(|| Error::new(ErrorKind::System, format!("the entry of {} is not readable", record.name))),
            Err(why) => Err(unsupported(why)),
        };
        let groups = Groups::new(running.groups.iter().filter_map(entry::StoredGroup::open).collect());
        Ok(Some(Self { name: record.name, pid, pidfd, kill_signal: record.kill_signal, confinement, groups }))
    }

    /// The registered container whose first process this is.
    ///
    /// # Errors
    ///
    /// As [`crate::find`].
    pub fn from_pidfd(pidfd: OwnedFd) -> Result<Self> {
        let pid = crate::exec::number(pidfd.as_fd());
        let missing = || Error::new(ErrorKind::NotFound, format!("process {pid} is of no registered container"));
        let directory = Directory::of_user()?.ok_or_else(missing)?;
        let is = |record: &Record| Entry::of(record.clone()).id == Some(pid);
        let record = directory.records()?.into_iter().find(is).ok_or_else(missing)?;
        Self::with(record, pidfd)?.ok_or_else(missing)
    }

    /// Its name.
    #[must_use]
    pub fn machine(&self) -> &MachineName {
        &self.name
    }

    /// The process id of its first process, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// As [`crate::Container::exec`]: confined by the same ops. The documented
    /// variables are those of every payload; others were not kept.
    pub fn exec(&self, program: impl AsRef<std::ffi::OsStr>) -> Exec<'_> {
        let target = Target { pidfd: self.pidfd.as_fd(), pid: self.pid, confinement: &self.confinement, members: None };
        Exec::new(target, program.as_ref())
    }

    /// As [`crate::Container::kill`].
    ///
    /// # Errors
    ///
    /// What the kernel answered; EINVAL for what is not a signal.
    pub fn kill(&self, number: u8) -> Result<()> {
        let sent = call(&[self.pidfd.as_fd()], &Op::PidfdSignal { process: Slot(0), signal: number });
        let all = if number == signal::KILL { self.groups.kill() } else { Ok(()) };
        sent.map(drop)
            .and(all)
            .map_err(|errno| Error::system(format!("send signal {number} to the container {}", self.name), errno))
    }

    /// Waits for at most `timeout` until it has ended, for ever without one;
    /// whether it has.
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        has_ended(self.pidfd.as_fd(), timeout)
    }

    /// Stops in order: its kill signal, `grace` to end by itself, then SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Found::kill`]; [`ErrorKind::TimedOut`] where it is still there ten
    /// seconds after SIGKILL.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        self.kill(self.kill_signal)?;
        if self.wait(Some(grace))? {
            return Ok(());
        }
        self.kill(signal::KILL)?;
        if self.wait(Some(Duration::from_secs(10)))? {
            return Ok(());
        }
        Err(Error::system(format!("stop the container {}", self.name), Errno::ETIMEDOUT)
            .remedy("It is killed, and ends once the kernel lets go of it: a hanging file system can be the cause."))
    }

    /// As [`crate::Container::stats`].
    ///
    /// # Errors
    ///
    /// ESRCH once it has ended.
    pub fn stats(&self) -> Result<Stats> {
        let process = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok();
        let stats = Stats::read(&self.groups, process.as_deref());
        match self.wait(Some(Duration::ZERO))? {
            true => Err(Error::system("look at what the container uses", Errno::ESRCH)),
            false => Ok(stats),
        }
    }

    /// As [`crate::Container::pause`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn pause(&self) -> Result<()> {
        self.groups.freeze(true)
    }

    /// As [`crate::Container::resume`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn resume(&self) -> Result<()> {
        self.groups.freeze(false)
    }

    /// As [`crate::Container::is_paused`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn is_paused(&self) -> Result<bool> {
        self.groups.is_frozen()
    }

    /// As [`crate::Container::open_file`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        crate::inside::open_file(self.pidfd.as_fd(), self.pid, path.as_ref())
    }

    /// As [`crate::Container::read_file`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_file(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        crate::inside::read_file(self.pidfd.as_fd(), self.pid, path.as_ref(), limit)
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsRawFd for Found {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}
