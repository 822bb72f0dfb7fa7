//! Standard streams, and descriptors that are passed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use skep_sys::Slot;

use super::Command;
use crate::error::{Error, Result};
use crate::plan::role;
use crate::spec::{Descriptor, Stream, TerminalSize};
use crate::watcher;

/// What one of the payload's standard streams is, as [`std::process::Stdio`]: a
/// `File` or an `OwnedFd` becomes one by `into`. What is given so can be opened
/// again by the payload with other modes, where its ids allow that.
#[derive(Debug)]
pub struct Stdio(Source);

#[derive(Debug)]
enum Source {
    Null,
    Piped,
    Inherit,
    Given(OwnedFd),
    Terminal,
}

impl Stdio {
    /// `/dev/null`: the default. Nothing to read, and what is written is lost.
    #[must_use]
    pub const fn null() -> Self {
        Self(Source::Null)
    }

    /// A pipe, whose other end the [`Container`](crate::Container) holds.
    #[must_use]
    pub const fn piped() -> Self {
        Self(Source::Piped)
    }

    /// The embedder's own stream.
    ///
    /// **Careful:** the payload can open such a file again with other modes,
    /// and a terminal lets it put input into your shell. Never the default.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Source::Inherit)
    }

    /// The container's own terminal, which [`Command::terminal`] asks for.
    #[must_use]
    pub const fn terminal() -> Self {
        Self(Source::Terminal)
    }

    /// What a plan has to know of it.
    pub(crate) const fn stream(&self) -> Stream {
        match self.0 {
            Source::Null => Stream::Null,
            Source::Piped => Stream::Piped,
            Source::Inherit | Source::Given(_) => Stream::Given,
            Source::Terminal => Stream::Terminal,
        }
    }

    pub(crate) fn pipe_if_null(&mut self) {
        if matches!(self.0, Source::Null) {
            *self = Self::piped();
        }
    }
}

impl From<OwnedFd> for Stdio {
    fn from(file: OwnedFd) -> Self {
        Self(Source::Given(file))
    }
}

impl From<std::fs::File> for Stdio {
    fn from(file: std::fs::File) -> Self {
        Self(Source::Given(file.into()))
    }
}

/// # Streams and descriptors
impl Command {
    /// Gives the payload a terminal of its own, of this size, for all three
    /// streams; [`Container::terminal`](crate::Container::terminal) is its other end. A stream that is set
    /// afterwards is something else again.
    pub fn terminal(&mut self, rows: u16, columns: u16) -> &mut Self {
        self.set("terminal", "Command::terminal").terminal = Some(TerminalSize::new(rows, columns));
        self.stdio = [Stdio::terminal(), Stdio::terminal(), Stdio::terminal()];
        self
    }

    /// Sets standard input; `/dev/null` otherwise.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = stdio.into();
        self
    }

    /// Sets standard output; `/dev/null` otherwise, and a pipe for
    /// [`Command::output`].
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = stdio.into();
        self
    }

    /// Sets standard error; as [`Command::stdout`].
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = stdio.into();
        self
    }

    /// Passes a descriptor: the payload has it under this number, from 3 on. It
    /// gets a duplicate, so that the command can be started again.
    ///
    /// See [`Descriptor`] for what that means; a directory is refused by the
    /// start. A number that was passed before is replaced.
    pub fn fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        self.pass(Descriptor::new(number), file.into(), "Command::fd")
    }

    /// As [`Command::fd`], of a directory or of what was opened with `O_PATH`.
    ///
    /// **Danger:** the payload reaches the host's tree by it, `..` included.
    /// The report says so.
    pub fn danger_directory_fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        let descriptor = Descriptor { danger_directory: true, ..Descriptor::new(number) };
        self.pass(descriptor, file.into(), "Command::danger_directory_fd")
    }

    /// Passes sockets as a service manager does: under the numbers from 3 on,
    /// with `$LISTEN_FDS` and `$LISTEN_PID` (`sd_listen_fds(3)`).
    pub fn listen_fds<F: Into<OwnedFd>>(&mut self, files: impl IntoIterator<Item = F>) -> &mut Self {
        for (number, file) in (3..).zip(files) {
            let descriptor = Descriptor { listen: true, ..Descriptor::new(number) };
            self.pass(descriptor, file.into(), "Command::listen_fds");
        }
        self
    }

    /// Gives the file for a descriptor that the Spec names already
    /// ([`Spec::descriptors`](crate::Spec::descriptors), read from a file for
    /// instance): what the Spec says of it, and where it says so, stays. A number
    /// that it does not name is passed to nobody.
    pub fn give_fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        self.descriptors.insert(number, file.into());
        self
    }

    fn pass(&mut self, descriptor: Descriptor, file: OwnedFd, call: &'static str) -> &mut Self {
        let all = &mut self.set("descriptors", call).descriptors;
        all.retain(|other| other.number != descriptor.number);
        all.push(descriptor);
        self.give_fd(descriptor.number, file)
    }
}

pub(crate) fn copy(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    file.try_clone_to_owned()
        .map_err(|error| Error::system("duplicate a descriptor for the payload", watcher::errno_of(&error)))
}

/// The streams that are not made by the plan, by their slots.
pub(crate) fn given_streams(stdio: &[Stdio; 3]) -> Result<Vec<(Slot, OwnedFd)>> {
    let mut given = Vec::new();
    for (index, (slot, stdio)) in role::STDIO.into_iter().zip(stdio).enumerate() {
        let file = match &stdio.0 {
            Source::Null | Source::Piped | Source::Terminal => continue,
            Source::Given(file) => copy(file.as_fd())?,
            Source::Inherit => match index {
                0 => copy(std::io::stdin().as_fd())?,
                1 => copy(std::io::stdout().as_fd())?,
                _ => copy(std::io::stderr().as_fd())?,
            },
        };
        given.push((slot, file));
    }
    Ok(given)
}
