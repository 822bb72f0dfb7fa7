//! What the launcher attends to: a container, or a process in one.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use skep::{Container, Error, ExitStatus, Notification, Process, Result, Terminal};

/// One of the two, for one poll loop.
pub(crate) enum Child {
    Container(Box<Container>),
    Process(Box<Process>),
}

impl Child {
    /// The other ends of its pipes, of standard input first.
    pub(crate) fn pipes(&mut self) -> [Option<File>; 3] {
        match self {
            Self::Container(one) => [one.stdin.take(), one.stdout.take(), one.stderr.take()],
            Self::Process(one) => [one.stdin.take(), one.stdout.take(), one.stderr.take()],
        }
    }

    pub(crate) const fn terminal(&self) -> Option<&Terminal> {
        match self {
            Self::Container(one) => one.terminal.as_ref(),
            Self::Process(one) => one.terminal.as_ref(),
        }
    }

    pub(crate) fn kill(&self, signal: u8) -> Result<()> {
        match self {
            Self::Container(one) => one.kill(signal),
            Self::Process(one) => one.kill(signal),
        }
    }

    pub(crate) fn try_wait(&self) -> Result<Option<ExitStatus>> {
        match self {
            Self::Container(one) => one.try_wait(),
            Self::Process(one) => one.try_wait(),
        }
    }

    pub(crate) fn notification(&self) -> Result<Option<Notification>> {
        match self {
            Self::Container(one) => one.notification(Duration::ZERO),
            Self::Process(_) => Ok(None),
        }
    }

    pub(crate) fn notification_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Container(one) => one.notification_fd(),
            Self::Process(_) => None,
        }
    }

    pub(crate) fn left_behind(&self) -> Vec<Error> {
        match self {
            Self::Container(one) => one.left_behind(),
            Self::Process(_) => Vec::new(),
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Container(one) => one.as_fd(),
            Self::Process(one) => one.as_fd(),
        }
    }
}
