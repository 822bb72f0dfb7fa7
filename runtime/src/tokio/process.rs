//! A further process in a container, whose waits suspend the task.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use ::tokio::io::unix::AsyncFd;
use ::tokio::net::unix::pipe::{Receiver, Sender};
use skep_sys::abi::signal;

use super::{piped, read, watch};
use crate::container::Output;
use crate::error::{Error, Result};
use crate::status::ExitStatus;
use crate::terminal::Terminal;
use crate::watcher::errno_of;

/// A process that [`super::Container::exec`] has started: [`crate::Process`]
/// whose waits suspend the task.
///
/// Dropping it **kills** it: at once; a thread for blocking work waits for it,
/// where the runtime still has one.
#[derive(Debug)]
pub struct Process {
    /// The pipe to its standard input, when it is piped.
    pub stdin: Option<Sender>,
    /// The pipe from its standard output, when it is piped.
    pub stdout: Option<Receiver>,
    /// The pipe from its standard error, when it is piped.
    pub stderr: Option<Receiver>,
    /// The other end of its terminal, when it has one. Its reads and writes
    /// block.
    pub terminal: Option<Terminal>,
    end: AsyncFd<OwnedFd>,
    inner: Arc<crate::Process>,
}

impl Process {
    pub(super) fn new(mut started: crate::Process) -> Result<Self> {
        let end = started.as_fd().try_clone_to_owned().and_then(watch);
        Ok(Self {
            stdin: piped(started.stdin.take(), Sender::from_file)?,
            stdout: piped(started.stdout.take(), Receiver::from_file)?,
            stderr: piped(started.stderr.take(), Receiver::from_file)?,
            terminal: started.terminal.take(),
            end: end.map_err(|error| Error::system("watch the process", errno_of(&error)))?,
            inner: Arc::new(started),
        })
    }

    /// Its process id, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Waits until it has ended. Closes its standard input first. May be dropped
    /// and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`crate::Process::wait`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            let ready = self.end.readable().await;
            let mut ready = ready.map_err(|error| Error::system("wait for the process", errno_of(&error)))?;
            match self.inner.try_wait()? {
                Some(status) => return Ok(status),
                None => ready.clear_ready(),
            }
        }
    }

    /// Waits for all output and for the end.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`], or a failed read.
    pub async fn wait_with_output(mut self) -> Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.stdout.take(), self.stderr.take());
        ::tokio::try_join!(read(&mut out, &mut stdout), read(&mut err, &mut stderr))?;
        let status = self.wait().await?;
        Ok(Output { status, stdout, stderr })
    }

    /// Sends it `signal`. One that has ended is no error.
    ///
    /// # Errors
    ///
    /// As [`crate::Process::kill`].
    pub fn kill(&self, signal: u8) -> Result<()> {
        self.inner.kill(signal)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.get_ref().as_fd()
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.end.as_raw_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.inner.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = self.inner.kill(signal::KILL);
        // Where there is no runtime any more, the handle's own drop waits.
        if let Ok(runtime) = ::tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            drop(runtime.spawn_blocking(move || inner.wait_killed()));
        }
    }
}
