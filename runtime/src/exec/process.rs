//! The handle on a process that was brought into a container.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use skep_sys::abi::signal;
use skep_sys::{Errno, Op, OwnedSlots, Slot, WaitStatus};

use crate::container::{KILLED, Output, call, has_ended, read_both};
use crate::error::{Error, Result};
use crate::plan::role;
use crate::status::ExitStatus;
use crate::terminal::Terminal;

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
    ended: Mutex<Option<ExitStatus>>,
}

/// The processes that were run in a container beside its payload. The end of a
/// pid namespace waits until all in it are reaped, and these are the embedder's
/// children: who waits for the container takes their statuses, for them.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<Vec<Weak<Inner>>>);

impl Members {
    pub(crate) fn add(&self, process: &Process) {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&process.inner));
    }

    /// Takes the status of each that has ended; whether there are any left.
    pub(crate) fn reap(&self) -> bool {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| {
            member.upgrade().is_some_and(|member| matches!(member.wait(Some(Duration::ZERO)), Ok(None)))
        });
        !members.is_empty()
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
        Ok(Self { stdin, stdout, stderr, terminal, inner: Arc::new(Inner { pidfd, pid, ended: Mutex::new(None) }) })
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
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        read_both((self.stdout.take(), &mut stdout), (self.stderr.take(), &mut stderr))
            .map_err(|error| Error::system("read the process's output", crate::watcher::errno_of(&error)))?;
        let status = self.wait()?;
        Ok(Output { status, stdout, stderr })
    }
}

impl Inner {
    fn signal(&self, number: u8) -> Result<()> {
        call(&[self.pidfd.as_fd()], &Op::PidfdSignal { process: Slot(0), signal: number })
            .map(drop)
            .map_err(|errno| Error::system(format!("send signal {number} to the process"), errno))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>> {
        let kept = || self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = *kept() {
            return Ok(Some(status));
        }
        // Others may look meanwhile; who takes the status, says what it was.
        if !has_ended(self.pidfd.as_fd(), timeout)? {
            return Ok(None);
        }
        let mut kept = kept();
        if kept.is_none() {
            let op = Op::PidfdWait { process: Slot(0), timeout_ms: 0, into: Slot(3) };
            let ended =
                call(&[self.pidfd.as_fd()], &op).map_err(|errno| Error::system("wait for the process", errno))?;
            *kept = Some(ExitStatus::new(WaitStatus::from_value(ended), false));
        }
        Ok(*kept)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
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
