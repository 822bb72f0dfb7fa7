//! A further process in a container, whose waits suspend the task.

use ::tokio::net::unix::pipe::{Receiver, Sender};

use super::watched::{Handle, Watched, descriptors};
use super::{piped, read};
use crate::error::Result;
use crate::status::ExitStatus;
use crate::terminal::Terminal;
use crate::waiting::Output;

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
    watched: Watched<crate::Process>,
}

impl Handle for crate::Process {
    const WHAT: &'static str = "the process";
    const CLEARS_UP: bool = false;

    fn look(&self) -> Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn send(&self, signal: u8) -> Result<()> {
        self.kill(signal)
    }

    fn wait_killed(&self) {
        Self::wait_killed(self);
    }
}

descriptors!(Process);

impl Process {
    pub(super) fn new(mut started: crate::Process) -> Result<Self> {
        Ok(Self {
            stdin: piped(started.stdin.take(), Sender::from_file)?,
            stdout: piped(started.stdout.take(), Receiver::from_file)?,
            stderr: piped(started.stderr.take(), Receiver::from_file)?,
            terminal: started.terminal.take(),
            watched: Watched::new(started)?,
        })
    }

    /// Its process id, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.watched.inner.id()
    }

    /// Waits until it has ended. Closes its standard input first. May be dropped
    /// and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`crate::Process::wait`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        self.watched.wait().await
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
        self.watched.inner.kill(signal)
    }
}
