//! Ending a start from outside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use skep_sys::Errno;

use crate::error::{Error, Result};

/// A handle by which any thread ends a start that another one waits for:
/// [`crate::Command::cancel_with`].
///
/// The start returns [`crate::ErrorKind::Cancelled`] at once, and what it had
/// made is taken back. Where it is inside a call of the kernel that cannot be
/// interrupted, it ends after that: the clone (about a millisecond), and
/// `newuidmap` and its like, which run to their end. Once the payload has been
/// executed nothing is cancelled any more.
///
/// It stays: a start that is begun later with the same handle ends as well.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<EventFd>);

impl Cancel {
    /// A handle on which nothing has been cancelled.
    ///
    /// # Errors
    ///
    /// Where this process can have no more descriptors.
    pub fn new() -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        EventFd::from_flags(flags)
            .map(|file| Self(Arc::new(file)))
            .map_err(|errno| Error::system("make a handle to cancel: eventfd", Errno::from_raw(errno as u16)))
    }

    /// Ends every start that has this handle.
    pub fn cancel(&self) {
        // EAGAIN: it has been cancelled 2^64 times.
        let _ = self.0.write(1);
    }

    /// Whether that has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// A descriptor of its own for one start.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd> {
        self.0
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::system("duplicate a descriptor", crate::watcher::errno_of(&error)))
    }
}

/// An `eventfd(2)`: a signal handler cancels with a `write(2)` of the eight
/// bytes of the number 1. Do not read from it.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
