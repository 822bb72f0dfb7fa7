//! The embedder's end of a container's terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use skep_sys::{Cell, Errno, Kernel, Linux, Op, Slot, Slots};

use crate::error::{Error, Result};
use crate::spec::TerminalSize;

/// The other end of a container's terminal (`pty(7)`): what is written here is
/// typed there, what is printed there can be read here.
///
/// It belongs to the container's own devpts, so no process outside can open
/// it by a name. Whoever embeds has to read: a payload that prints waits once
/// some KiB are unread. Pass what is read on to a terminal of your own only as
/// you would any untrusted text: it may hold control sequences.
///
/// What this does not do: set your own terminal to raw mode, or follow its
/// size.
///
/// ```no_run
/// use std::io::Read as _;
///
/// let mut container = skep::Command::new("sh").terminal(24, 80).spawn()?;
/// let mut terminal = container.terminal.take().expect("it was asked for");
/// terminal.resize(50, 132)?;
/// let mut buffer = [0; 4096];
/// let length = terminal.read(&mut buffer).expect("not closed yet");
/// print!("{}", skep::Escaped::new(&*String::from_utf8_lossy(&buffer[..length])));
/// # Ok::<(), skep::Error>(())
/// ```
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self(file.into())
    }

    /// Sets the size, in characters. The processes in the foreground get
    /// SIGWINCH where it changes (`tty_ioctl(4)`, TIOCSWINSZ).
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        ask(self.as_fd(), &Op::ResizeTerminal { terminal: Slot(0), rows, columns })
            .map(drop)
            .map_err(|errno| Error::system("resize the container's terminal", errno))
    }

    /// The size that it has now; the payload can change it too.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn size(&self) -> Result<TerminalSize> {
        size(self.as_fd()).map_err(|errno| Error::system("ask for the size of the container's terminal", errno))
    }

    /// The size of any terminal, such as the embedder's own, which the
    /// container's may have as well.
    ///
    /// # Errors
    ///
    /// ENOTTY for what is no terminal (`tty_ioctl(4)`).
    pub fn size_of(terminal: BorrowedFd<'_>) -> Result<TerminalSize> {
        size(terminal).map_err(|errno| Error::system("ask for the size of a terminal", errno))
    }

    /// A second handle, to read in one place and write in another.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn try_clone(&self) -> Result<Self> {
        let copy = self.0.try_clone();
        copy.map(Self).map_err(|error| Error::system("duplicate a terminal", crate::watcher::errno_of(&error)))
    }
}

/// One op on a terminal, with its result.
fn ask(terminal: BorrowedFd<'_>, op: &Op<'_>) -> std::result::Result<u64, Errno> {
    let mut cells = [Cell::Descriptor(terminal.as_raw_fd()), Cell::Empty];
    let mut slots = Slots::new(&mut cells);
    Linux::new().call(op, &mut slots)?;
    Ok(slots.value(Slot(1)).unwrap_or(0))
}

fn size(terminal: BorrowedFd<'_>) -> std::result::Result<TerminalSize, Errno> {
    let size = ask(terminal, &Op::TerminalSize { terminal: Slot(0), into: Slot(1) })?;
    Ok(TerminalSize::new((size >> 16) as u16, size as u16))
}

/// Ends (0 bytes) once no process of the container holds the terminal any
/// more, which the kernel tells as EIO.
impl Read for Terminal {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if crate::watcher::errno_of(&error) == Errno::EIO => Ok(0),
            other => other,
        }
    }
}

impl Write for Terminal {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0.into()
    }
}
