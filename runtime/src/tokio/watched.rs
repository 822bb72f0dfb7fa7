//! What the handles under tokio share: a process whose end is watched.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ::tokio::io::unix::AsyncFd;
use ::tokio::task::spawn_blocking;
use skep_sys::abi::signal;

use super::{joined, watch};
use crate::error::{Error, Result};
use crate::status::ExitStatus;
use crate::watcher::errno_of;

/// How long until the next look, where the end may be one that no descriptor
/// tells of.
const TURN: Duration = Duration::from_millis(100);

/// A handle that waits by holding a thread.
pub(super) trait Handle: AsFd + Send + Sync + 'static {
    /// For errors.
    const WHAT: &'static str;
    /// Whether the look at it may take a moment, once it has ended.
    const CLEARS_UP: bool;

    fn look(&self) -> Result<Option<ExitStatus>>;
    fn send(&self, signal: u8) -> Result<()>;
    /// After a kill, for as long as a drop waits.
    fn wait_killed(&self);
    /// What can be read once it begins to end, if anything can.
    fn first_sign(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Whether it waits for something that is waited for by looking.
    fn wants_looks(&self) -> bool {
        false
    }
}

/// Dropping it kills: at once; a thread for blocking work waits, where the
/// runtime still has one.
#[derive(Debug)]
pub(super) struct Watched<T: Handle> {
    end: AsyncFd<OwnedFd>,
    sign: Option<AsyncFd<OwnedFd>>,
    pub(super) inner: Arc<T>,
}

impl<T: Handle> Watched<T> {
    pub(super) fn new(started: T) -> Result<Self> {
        let watched = |file: BorrowedFd<'_>| file.try_clone_to_owned().and_then(watch).map_err(Self::failed);
        Ok(Self {
            end: watched(started.as_fd())?,
            sign: started.first_sign().map(watched).transpose()?,
            inner: Arc::new(started),
        })
    }

    fn failed(error: std::io::Error) -> Error {
        Error::system(format!("watch {}", T::WHAT), errno_of(&error))
    }

    /// That its first process can be waited for.
    pub(super) async fn ended(&self) -> Result<()> {
        self.end.readable().await.map_err(Self::failed)?.retain_ready();
        Ok(())
    }

    pub(super) async fn wait(&self) -> Result<ExitStatus> {
        let mut begins = false;
        loop {
            let sign = async {
                match &self.sign {
                    Some(sign) if !begins => sign.readable().await.map(|mut ready| ready.retain_ready()),
                    _ => std::future::pending().await,
                }
            };
            let mut ended = None;
            ::tokio::select! {
                ready = self.end.readable() => ended = Some(ready.map_err(Self::failed)?),
                ready = sign => {
                    ready.map_err(Self::failed)?;
                    begins = true;
                }
                () = ::tokio::time::sleep(TURN), if begins || self.inner.wants_looks() => {}
            }
            let found = if T::CLEARS_UP {
                let inner = Arc::clone(&self.inner);
                joined(spawn_blocking(move || inner.look()).await)??
            } else {
                self.inner.look()?
            };
            if let Some(status) = found {
                return Ok(status);
            }
            if let Some(mut ready) = ended {
                ready.clear_ready();
            }
        }
    }
}

impl<T: Handle> AsFd for Watched<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.get_ref().as_fd()
    }
}

impl<T: Handle> Drop for Watched<T> {
    fn drop(&mut self) {
        if matches!(self.inner.look(), Ok(Some(_))) {
            return;
        }
        let _ = self.inner.send(signal::KILL);
        // Where there is no runtime any more, the handle's own drop waits.
        if let Ok(runtime) = ::tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            drop(runtime.spawn_blocking(move || inner.wait_killed()));
        }
    }
}

macro_rules! descriptors {
    ($handle:ty) => {
        impl std::os::fd::AsFd for $handle {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                std::os::fd::AsFd::as_fd(&self.watched)
            }
        }

        impl std::os::fd::AsRawFd for $handle {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&self.watched))
            }
        }
    };
}
pub(super) use descriptors;
