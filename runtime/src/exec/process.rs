//! The handle on a process that was brought into a container.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use skep_sys::abi::signal;
use skep_sys::{Errno, Op, OwnedSlots, Slot};

use crate::container::call;
use crate::error::{Error, Result};
use crate::plan::role;
use crate::status::ExitStatus;
use crate::terminal::Terminal;
use crate::waiting::{KILLED, Output, Taken, has_ended, status_of};

/// A process that [`crate::Exec`] has started in a container.
///
/// Dropping it **kills** it, and waits for it; what it has started itself goes
/// on until the container ends. It ends with the container in any case.
///
/// It is pollable: [`AsFd`] gives its pidfd, which becomes readable when it has
/// ended.
#[derive(Debug)]
pub struct Process {
    /// The pipe to its standard input, when it is piped.
    pub stdin: Option<File>,
    /// The pipe from its standard output, when it is piped.
    pub stdout: Option<File>,
    /// The pipe from its standard error, when it is piped.
    pub stderr: Option<File>,
    /// The other end of its terminal, when it has one.
    pub terminal: Option<Terminal>,
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pidfd: OwnedFd,
    pid: u32,
    ended: Taken,
}

/// The processes that were run in a container beside its payload. The end of a
/// pid namespace waits until all in it are reaped, and these are this process's
/// children: who waits for the container takes their statuses, for them.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Mutex<Vec<Weak<Inner>>>,
    /// While somebody waits: that there is one more.
    wake: Mutex<Weak<EventFd>>,
}

impl Members {
    pub(crate) fn add(&self, process: &Process) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|member| member.strong_count() > 0);
        list.push(Arc::downgrade(&process.inner));
        drop(list);
        let wake = std::mem::take(&mut *self.wake.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(wake) = wake.upgrade() {
            let _ = wake.write(1);
        }
    }

    /// Takes the status of each that has ended, and gives the others.
    pub(crate) fn living(&self) -> Vec<Arc<Inner>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let mut living = Vec::new();
        list.retain(|member| {
            let lives = member.upgrade().filter(|member| matches!(member.wait(Some(Duration::ZERO)), Ok(None)));
            let keep = lives.is_some();
            living.extend(lives);
            keep
        });
        living
    }

    /// What can be read once there is one more; for that one time.
    pub(crate) fn wake(&self) -> Option<Arc<EventFd>> {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = wake.upgrade() {
            return Some(wake);
        }
        let made = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?);
        *wake = Arc::downgrade(&made);
        Some(made)
    }
}

impl AsFd for Inner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Process {
    pub(super) fn new(mut slots: OwnedSlots) -> Result<Self> {
        let [stdin, stdout, stderr] = role::STDIO_HOST.map(|slot| slots.take(slot).map(File::from));
        let terminal = slots.take(role::TERMINAL).map(Terminal::new);
        let Some(pidfd) = slots.take(role::MEMBER) else {
            return Err(Error::system("take the process's pidfd", Errno::EBADF));
        };
        let pid = number(pidfd.as_fd());
        Ok(Self { stdin, stdout, stderr, terminal, inner: Arc::new(Inner { pidfd, pid, ended: Taken::default() }) })
    }

    /// Its process id, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.pid
    }

    /// Waits until it has ended. Closes its standard input first, as
    /// [`std::process::Child::wait`] does.
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        self.inner.wait(None)?.ok_or_else(|| Error::system("wait for the process", Errno::ETIMEDOUT))
    }

    /// The status, if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.inner.wait(Some(Duration::ZERO))
    }

    /// Waits for at most `timeout`; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.inner.wait(Some(timeout))
    }

    /// For at most as long as a drop waits.
    #[cfg(feature = "tokio")]
    pub(crate) fn wait_killed(&self) {
        let _ = self.inner.wait(Some(KILLED));
    }

    /// Sends it `signal`. One that has ended is no error.
    ///
    /// # Errors
    ///
    /// What the kernel answered; EINVAL for what is not a signal.
    pub fn kill(&self, signal: u8) -> Result<()> {
        self.inner.signal(signal)
    }

    /// Waits for all output and for the end, like
    /// [`std::process::Child::wait_with_output`].
    ///
    /// # Errors
    ///
    /// As [`Process::wait`], or a failed read.
    pub fn wait_with_output(mut self) -> Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        Output::of("the process", stdout, stderr, || self.wait())
    }
}

impl Inner {
    fn signal(&self, number: u8) -> Result<()> {
        call(&[self.pidfd.as_fd()], &Op::PidfdSignal { process: Slot(0), signal: number })
            .map(drop)
            .map_err(|errno| Error::system(format!("send signal {number} to the process"), errno))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended.get() {
            return Ok(Some(status));
        }
        // Others may look meanwhile; who takes the status, says what it was.
        if !has_ended(self.pidfd.as_fd(), timeout)? {
            return Ok(None);
        }
        let take = || Ok(ExitStatus::new(status_of(self.pidfd.as_fd(), "the process")?, false));
        self.ended.or_take(take).map(|(status, _)| Some(status))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended.get().is_none() {
            let _ = self.signal(signal::KILL);
            let _ = self.wait(Some(KILLED));
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.pidfd.as_fd()
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.pidfd.as_raw_fd()
    }
}

/// The number of the process behind a pidfd; 0 where procfs does not say, or
/// once it has been waited for.
pub(crate) fn number(pidfd: BorrowedFd<'_>) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()).unwrap_or(0)
}
