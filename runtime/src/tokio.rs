//! Containers under the runtime [tokio](https://tokio.rs): feature `tokio`.
//!
//! The same start and the same handle, with waits that suspend a task and
//! never hold a thread of the runtime. The runtime needs its I/O and time
//! drivers (`enable_all`), as `#[tokio::main]` has them; without them tokio
//! panics.
//!
//! ```no_run
//! # async fn run() -> Result<(), skep::Error> {
//! let mut server = skep::tokio::spawn(skep::Command::new("/srv/server")).await?;
//! tokio::select! {
//!     ended = server.wait() => println!("{}", ended?),
//!     () = tokio::time::sleep(std::time::Duration::from_secs(60)) => println!("{}", server.stop(std::time::Duration::from_secs(10)).await?),
//! }
//! # Ok(())
//! # }
//! ```

mod process;
mod watched;

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ::tokio::io::AsyncReadExt;
use ::tokio::io::unix::AsyncFd;
use ::tokio::net::unix::pipe::{Receiver, Sender};
use ::tokio::task::{JoinError, spawn_blocking};
use skep_sys::abi::signal;

use crate::error::{Error, ErrorKind, Result};
use crate::notification::{Heard, Notification};
use crate::status::ExitStatus;
use crate::terminal::Terminal;
use crate::waiting::Output;
use crate::watcher::errno_of;
use crate::{Cancel, Command, Exec};

pub use process::Process;
use watched::{Handle, Watched, descriptors};

/// Starts the container, on a thread for blocking work.
///
/// Dropped half-way, the start is cancelled: what it had made is taken back, by
/// that thread, and the payload is never executed; if it was executed just
/// before, the container is stopped.
///
/// # Errors
///
/// As [`Command::spawn`]. [`ErrorKind::Cancelled`] where the runtime shuts down
/// meanwhile.
pub async fn spawn(mut command: Command) -> Result<Container> {
    let cancel = match command.cancel_handle() {
        Some(cancel) => cancel.clone(),
        None => {
            let cancel = Cancel::new()?;
            command.cancel_with(&cancel);
            cancel
        }
    };
    let mut half_way = HalfWay(Some(cancel));
    let started = spawn_blocking(move || command.spawn()).await;
    half_way.0 = None;
    Container::new(joined(started)??)
}

/// Starts, waits, and gives the status. Dropped half-way, the container is
/// stopped.
///
/// # Errors
///
/// As [`spawn`] and [`Container::wait`].
pub async fn status(command: Command) -> Result<ExitStatus> {
    spawn(command).await?.wait().await
}

/// Starts with piped output, waits, and gives status and output: as
/// [`Command::output`]. Dropped half-way, the container is stopped.
///
/// # Errors
///
/// As [`spawn`] and [`Container::wait`].
pub async fn output(mut command: Command) -> Result<Output> {
    command.pipe_output();
    let mut container = spawn(command).await?;
    drop(container.stdin.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (container.stdout.take(), container.stderr.take());
    ::tokio::try_join!(read(&mut out, &mut stdout), read(&mut err, &mut stderr))?;
    let status = container.wait().await?;
    Ok(Output { status, stdout, stderr })
}

/// The type's promise is that the descriptor stays what it is, and
/// [`OwnedFd`] keeps it; for that `AsyncFd::register` asks for unsafe code.
#[allow(deprecated, reason = "sound for an OwnedFd, see above")]
fn watch(file: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(file)
}

/// A pipe that was made for the embedder, as tokio's.
fn piped<T>(file: Option<File>, from: fn(File) -> std::io::Result<T>) -> Result<Option<T>> {
    file.map(from).transpose().map_err(|error| Error::system("watch a pipe", errno_of(&error)))
}

async fn read(pipe: &mut Option<Receiver>, buffer: &mut Vec<u8>) -> Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let read = pipe.read_to_end(buffer).await;
    read.map(drop).map_err(|error| Error::system("read the container's output", errno_of(&error)))
}

/// Cancels the start when the future that waits for it is dropped.
struct HalfWay(Option<Cancel>);

impl Drop for HalfWay {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel.cancel();
        }
    }
}

/// What a thread for blocking work came to. Its panic goes on here.
fn joined<T>(result: std::result::Result<T, JoinError>) -> Result<T> {
    result.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::new(ErrorKind::Cancelled, "the runtime shuts down"),
    })
}

/// A running container: [`crate::Container`] whose waits suspend the task.
///
/// Dropping it **stops** it. The kill is sent at once; the rest, some
/// milliseconds, is done by a thread for blocking work where the runtime still
/// has one, else in place. To know that all is over, await [`Container::stop`]
/// or [`Container::wait`] first.
#[derive(Debug)]
pub struct Container {
    /// The pipe to the payload's standard input, when it is piped.
    pub stdin: Option<Sender>,
    /// The pipe from the payload's standard output, when it is piped.
    pub stdout: Option<Receiver>,
    /// The pipe from the payload's standard error, when it is piped.
    pub stderr: Option<Receiver>,
    /// The other end of the payload's terminal, when it has one. Its reads and
    /// writes block: wrap it ([`AsyncFd`]) or give it to a thread.
    pub terminal: Option<Terminal>,
    notify: Option<AsyncFd<OwnedFd>>,
    watched: Watched<crate::Container>,
}

impl Handle for crate::Container {
    const WHAT: &'static str = "the container";
    // A cgroup that is still busy.
    const CLEARS_UP: bool = true;

    fn look(&self) -> Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn send(&self, signal: u8) -> Result<()> {
        self.kill(signal)
    }

    fn wait_killed(&self) {
        Self::wait_killed(self);
    }

    fn first_sign(&self) -> Option<BorrowedFd<'_>> {
        self.lifeline()
    }

    fn wants_looks(&self) -> bool {
        self.has_members()
    }
}

descriptors!(Container);

impl Container {
    /// Takes over a container that was started otherwise.
    ///
    /// # Errors
    ///
    /// Where the runtime cannot watch its descriptors; the container is
    /// stopped then.
    pub fn new(mut started: crate::Container) -> Result<Self> {
        let failed = |error: std::io::Error| Error::system("watch the container", errno_of(&error));
        let watched = |file: BorrowedFd<'_>| file.try_clone_to_owned().and_then(watch).map_err(failed);
        Ok(Self {
            stdin: piped(started.stdin.take(), Sender::from_file)?,
            stdout: piped(started.stdout.take(), Receiver::from_file)?,
            stderr: piped(started.stderr.take(), Receiver::from_file)?,
            terminal: started.terminal.take(),
            notify: started.notification_fd().map(watched).transpose()?,
            watched: Watched::new(started)?,
        })
    }

    /// The same container, for all that takes no time: name, report, numbers,
    /// events.
    #[must_use]
    pub fn container(&self) -> &crate::Container {
        &self.watched.inner
    }

    /// The process id of the container's first process, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.watched.inner.id()
    }

    /// Waits until the container has ended. Closes the payload's standard
    /// input first. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`crate::Container::wait`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        self.watched.wait().await
    }

    /// Runs a further process in the container, confined as the payload is, on a
    /// thread for blocking work: see [`Exec`], which `prepare` gets.
    ///
    /// Dropped half-way, it is cancelled: no process stays, and the container
    /// goes on.
    ///
    /// ```no_run
    /// # async fn run(container: skep::tokio::Container) -> Result<(), skep::Error> {
    /// let process = container.exec("id", |exec| _ = exec.arg("-u").stdout(skep::Stdio::piped())).await?;
    /// assert_eq!(process.wait_with_output().await?.stdout, b"0\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Exec::spawn`].
    pub async fn exec(&self, program: impl AsRef<OsStr>, prepare: impl FnOnce(&mut Exec<'_>)) -> Result<Process> {
        let mut asked = {
            let mut exec = self.watched.inner.exec(program);
            prepare(&mut exec);
            exec.into_asked()
        };
        let cancel = match &asked.cancel {
            Some(cancel) => cancel.clone(),
            None => asked.cancel.insert(Cancel::new()?).clone(),
        };
        let mut half_way = HalfWay(Some(cancel));
        let inner = Arc::clone(&self.watched.inner);
        let started = spawn_blocking(move || Exec::of(inner.target(), asked).spawn()).await;
        half_way.0 = None;
        Process::new(joined(started)??)
    }

    /// Sends `signal` to the payload: as [`crate::Container::kill`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn kill(&self, signal: u8) -> Result<()> {
        self.watched.inner.kill(signal)
    }

    /// Stops in order: the Spec's kill signal, `grace` for the payload to end
    /// by itself, then SIGKILL. Dropped half-way, nothing more is sent.
    ///
    /// # Errors
    ///
    /// As [`Container::wait`].
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        let kill_signal = self.watched.inner.kill_signal();
        self.kill(kill_signal)?;
        if let Ok(ended) = ::tokio::time::timeout(grace, self.wait()).await {
            return ended;
        }
        self.kill(signal::KILL)?;
        self.wait().await
    }

    /// The next thing that the payload said to `$NOTIFY_SOCKET`; `None` once
    /// the container has ended, or where it does not say when it is ready
    /// ([`crate::spec::Readiness::Notify`]).
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub async fn notification(&self) -> Result<Option<Notification>> {
        let Some(notify) = &self.notify else { return Ok(None) };
        let failed = |error: std::io::Error| Error::system("receive a notification", errno_of(&error));
        loop {
            let mut ready = ::tokio::select! {
                // What was said before the end is heard first.
                biased;
                ready = notify.readable() => ready.map_err(failed)?,
                ended = self.watched.ended() => {
                    ended?;
                    return self.watched.inner.notification(Duration::ZERO);
                }
            };
            match self.watched.inner.hear()? {
                Heard::Said(said) => return Ok(Some(said)),
                // There may be more.
                Heard::Anothers => {}
                Heard::Nothing => ready.clear_ready(),
            }
        }
    }
}
