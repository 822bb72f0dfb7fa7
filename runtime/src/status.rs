//! How a container ended.

use std::fmt;

use skep_sys::WaitStatus;

/// How the payload ended. Tells an exit, a signal, and the memory limit apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ExitStatus {
    end: End,
    out_of_memory: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum End {
    Code(u8),
    Signal(u8),
    Lost,
}

impl ExitStatus {
    pub(crate) const fn new(status: WaitStatus, out_of_memory: bool) -> Self {
        let end = match status {
            WaitStatus::Exited(code) => End::Code(code),
            WaitStatus::Signaled(signal) => End::Signal(signal),
            WaitStatus::Lost => End::Lost,
        };
        Self { end, out_of_memory }
    }

    /// Whether it exited with 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self.end, End::Code(0))
    }

    /// The exit code, if it exited.
    #[must_use]
    pub const fn code(self) -> Option<u8> {
        match self.end {
            End::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub const fn signal(self) -> Option<u8> {
        match self.end {
            End::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// Whether the kernel killed a process of the container for want of memory:
    /// for a limit of its own, of a group that it made, or for the host's.
    /// Always false where it has no cgroup that counts that; on v1 a group that
    /// the payload made and removed again is not seen.
    #[must_use]
    pub const fn out_of_memory(self) -> bool {
        self.out_of_memory
    }

    /// Whether nobody knows: the embedder's own `waitpid(-1)` or ignored
    /// SIGCHLD took the status, on a kernel before 6.15 that keeps no record.
    /// Under the stub init, which reports it itself, only if that was killed while
    /// a process from outside was in the container ([`crate::Container::wait`]).
    /// Of a container that was found by name: see [`crate::Found::wait`].
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self.end, End::Lost)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Code(code) => write!(f, "exit code {code}")?,
            End::Signal(signal) => write!(f, "signal {signal}")?,
            End::Lost => f.write_str("status unknown")?,
        }
        if self.out_of_memory { f.write_str(" (out of memory)") } else { Ok(()) }
    }
}
