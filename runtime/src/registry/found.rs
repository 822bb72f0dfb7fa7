//! The handle on a container that somebody else has started.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use skep_sys::abi::signal;
use skep_sys::{Errno, Op, Slot, WaitStatus};

use super::entry::{self, Record};
use super::{Directory, Entry};
use crate::container::call;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Confinement, Exec, Members, Target, unsupported};
use crate::groups::Groups;
use crate::inside::{Copied, CopyOptions};
use crate::processes::{self, Member};
use crate::spec::MachineName;
use crate::stat::Stat;
use crate::stats::Stats;
use crate::status::ExitStatus;
use crate::waiting::{self, End, First, has_ended};

/// A container that was found by [`crate::find`].
///
/// It is not this process's child: its status is its starter's to take, and
/// dropping this changes nothing. It is pollable: [`AsFd`] gives the pidfd of the
/// container's first process, which becomes readable when it has ended.
#[derive(Debug)]
pub struct Found {
    name: MachineName,
    pid: u32,
    pidfd: OwnedFd,
    start: u64,
    kill_signal: u8,
    root: String,
    stub: bool,
    confinement: Result<Box<Confinement>>,
    groups: Groups,
    members: Members,
}

impl Found {
    /// `None` where it has ended or is not started yet.
    pub(super) fn of(record: Record) -> Result<Option<Self>> {
        let Some(running) = &record.running else { return Ok(None) };
        match entry::pidfd_of(running.pid) {
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
        Ok(Some(Self {
            name: record.name,
            pid,
            pidfd,
            start: running.start_time,
            kill_signal: record.kill_signal,
            root: record.root,
            stub: record.stub,
            confinement,
            groups,
            members: Members::default(),
        }))
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

    /// When its first process started.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        entry::since(self.start)
    }

    /// The path of its root on the host, as its start had it; for people to read.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The user id, inside, that its command has.
    ///
    /// # Errors
    ///
    /// Where nobody can join it, as [`Exec::spawn`].
    pub fn uid(&self) -> Result<u32> {
        self.confinement.as_ref().map(|confinement| confinement.uid).map_err(Clone::clone)
    }

    /// The signal that stops it in order.
    #[must_use]
    pub fn kill_signal(&self) -> u8 {
        self.kill_signal
    }

    /// Whether its command is process 1, as an init is; it runs below a stub init
    /// otherwise.
    #[must_use]
    pub fn is_init(&self) -> bool {
        !self.stub
    }

    /// Its processes, by id: as [`crate::Container::processes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn processes(&self) -> Result<Vec<Member>> {
        let all = processes::of(self.pid);
        self.alive("look at the processes of the container").map(|()| all)
    }

    /// Sends a signal to each of its processes.
    ///
    /// # Errors
    ///
    /// ESRCH once it has ended, or what the kernel answered.
    pub fn kill_all(&self, number: u8) -> Result<()> {
        if number == signal::KILL {
            return self.kill(number);
        }
        self.alive("send all a signal")?;
        processes::signal(self.pid, number)
    }

    fn alive(&self, what: &str) -> Result<()> {
        match has_ended(self.pidfd.as_fd(), Some(Duration::ZERO))? {
            true => Err(Error::system(what, Errno::ESRCH)),
            false => Ok(()),
        }
    }

    /// As [`crate::Container::exec`]: confined by the same ops. The documented
    /// variables are those of every payload; others were not kept.
    ///
    /// The process is this program's child. When the container ends the kernel
    /// kills it with all others, and keeps the container's first process until
    /// this program has taken its status ([`crate::Process::wait`], its drop, or
    /// a wait here): a program that does not keeps the container's owner waiting
    /// for five seconds (see [`crate::Container::wait`]).
    pub fn exec(&self, program: impl AsRef<std::ffi::OsStr>) -> Exec<'_> {
        let target = Target {
            pidfd: self.pidfd.as_fd(),
            pid: self.pid,
            confinement: &self.confinement,
            members: Some(&self.members),
        };
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

    /// Waits until it has ended.
    ///
    /// The status is its owner's to take, and is left to it. The kernel
    /// remembers it for whoever holds a pidfd once the owner has taken it
    /// (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15): that is waited for as
    /// well, for up to a second. Where it has not, or the kernel is older,
    /// [`ExitStatus::is_lost`] says that it has ended and no more is known. It is
    /// the status of its first process: of the stub init, so a payload that a
    /// signal has killed is the code 128 and the signal's number.
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn wait(&self) -> Result<ExitStatus> {
        self.ended(None)?.ok_or_else(|| Error::system(format!("wait for {}", self.name), Errno::ETIMEDOUT))
    }

    /// The status, if it has ended; a lost one where its owner has not taken it
    /// yet.
    ///
    /// # Errors
    ///
    /// As [`Found::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.ended(Some(Duration::ZERO))
    }

    /// Waits for at most `timeout`, and the second more that its owner may take;
    /// `None` when it still runs.
    ///
    /// # Errors
    ///
    /// As [`Found::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.ended(Some(timeout))
    }

    fn ended(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>> {
        let first = First { pidfd: self.pidfd.as_fd(), lifeline: None, members: &self.members };
        if waiting::end_of(&first, timeout)? == End::Runs {
            return Ok(None);
        }
        let timeout_ms = if timeout.is_some_and(|timeout| timeout.is_zero()) { 0 } else { 1000 };
        let ask = Op::PidfdStatus { process: Slot(0), timeout_ms, into: Slot(3) };
        let status = match call(&[self.pidfd.as_fd()], &ask) {
            Ok(value) => WaitStatus::from_value(value),
            Err(Errno::ETIMEDOUT) => WaitStatus::Lost,
            Err(errno) => return Err(Error::system(format!("ask how {} ended", self.name), errno)),
        };
        Ok(Some(ExitStatus::new(status, self.groups.memory_kills().unwrap_or(0) > 0)))
    }

    /// Stops in order: its kill signal, `grace` to end by itself, then SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Found::kill`]; [`ErrorKind::TimedOut`] where it is still there ten
    /// seconds after SIGKILL.
    pub fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        self.kill(self.kill_signal)?;
        if let Some(status) = self.wait_timeout(grace)? {
            return Ok(status);
        }
        self.kill(signal::KILL)?;
        if let Some(status) = self.wait_timeout(waiting::KILLED)? {
            return Ok(status);
        }
        Err(Error::system(format!("stop the container {}", self.name), Errno::ETIMEDOUT)
            .remedy("It is killed, and ends once the kernel lets go of it: a hanging file system can be the cause, or a program that has run something in it and does not wait for that."))
    }

    /// As [`crate::Container::stats`].
    ///
    /// # Errors
    ///
    /// ESRCH once it has ended.
    pub fn stats(&self) -> Result<Stats> {
        let process = Stat::read(self.pid).ok();
        let stats = Stats::read(&self.groups, process.as_ref());
        self.alive("look at what the container uses").map(|()| stats)
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

    /// As [`crate::Container::copy_in`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn copy_in(&self, host: impl AsRef<Path>, inside: impl AsRef<Path>, options: &CopyOptions) -> Result<Copied> {
        crate::inside::copy_in(host.as_ref(), (self.pidfd.as_fd(), self.pid, inside.as_ref()), options)
    }

    /// As [`crate::Container::copy_out`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn copy_out(&self, inside: impl AsRef<Path>, host: impl AsRef<Path>, options: &CopyOptions) -> Result<Copied> {
        crate::inside::copy_out((self.pidfd.as_fd(), self.pid, inside.as_ref()), host.as_ref(), options)
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
