//! Bytes from one file to another, a turn at a time, for one poll loop.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console::{Key, Keys};
use crate::log;

/// Which of a pump's two files is the pipe of the container. It belongs to the
/// launcher alone and never blocks; the other is shared with whoever called,
/// so its mode stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Own {
    Source,
    Target,
}

/// Where bytes go.
#[derive(Debug)]
pub(crate) enum Sink {
    File(File),
    /// This process's log, which is always ready.
    Log,
}

/// Carries what one file gives to another.
#[derive(Debug)]
pub(crate) struct Pump {
    files: Option<(File, Sink)>,
    own: Own,
    buffer: Vec<u8>,
    sent: usize,
    /// How much one write may take without blocking once the target is ready.
    most: usize,
    /// Why it ended before its time.
    pub(crate) failure: Option<io::Error>,
    /// Whether the source's bytes wait for better times.
    pub(crate) held: bool,
    /// What is looked for in what passes.
    keys: Option<Keys>,
    /// What was found.
    key: Option<Key>,
}

impl Pump {
    const BUFFER: usize = 64 << 10;

    /// From `source` to `target`.
    pub(crate) fn new(source: File, target: File, own: Own) -> io::Result<Self> {
        never_blocks(if own == Own::Source { &source } else { &target })?;
        // A shared pipe that is ready takes one page; a plain file anything.
        let whole = own == Own::Target || target.metadata()?.is_file();
        let most = if whole { usize::MAX } else { 4096 };
        Ok(Self { files: Some((source, Sink::File(target))), own, most, ..Self::idle() })
    }

    /// From `source` to this process's log.
    pub(crate) fn to_log(source: File) -> io::Result<Self> {
        never_blocks(&source)?;
        Ok(Self { files: Some((source, Sink::Log)), ..Self::idle() })
    }

    /// One with nothing to carry.
    pub(crate) const fn idle() -> Self {
        Self {
            files: None,
            own: Own::Source,
            buffer: Vec::new(),
            sent: 0,
            most: 0,
            failure: None,
            held: false,
            keys: None,
            key: None,
        }
    }

    /// The same, looking for keys in what passes.
    pub(crate) fn with_keys(mut self) -> Self {
        self.keys = Some(Keys::default());
        self
    }

    /// The key that was typed since the last call.
    pub(crate) fn key(&mut self) -> Option<Key> {
        self.key.take()
    }

    /// Whether there is nothing more to do.
    pub(crate) fn is_done(&self) -> bool {
        self.files.is_none()
    }

    /// Whether the target's reader went away.
    pub(crate) fn is_broken(&self) -> bool {
        self.failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    }

    fn is_pending(&self) -> bool {
        self.sent < self.buffer.len()
    }

    /// What it waits for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let files = self.files.as_ref().filter(|_| !self.held)?;
        Some(match files {
            (_, Sink::File(target)) if self.is_pending() => (target.as_fd(), PollFlags::POLLOUT),
            (source, _) => (source.as_fd(), PollFlags::POLLIN),
        })
    }

    /// Does the next thing; called when what it waits for has come.
    pub(crate) fn turn(&mut self) {
        if let Err(error) = if self.is_pending() { self.send() } else { self.fetch() } {
            match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                _ => self.end(Some(error)),
            }
        }
    }

    fn fetch(&mut self) -> io::Result<()> {
        let Some((source, sink)) = &mut self.files else { return Ok(()) };
        let at_once = self.own == Own::Target || matches!(sink, Sink::Log);
        self.sent = 0;
        self.buffer.resize(Self::BUFFER, 0);
        let read = source.read(&mut self.buffer);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        if let Some(keys) = &mut self.keys {
            self.key = keys.see(&mut self.buffer, Instant::now()).or(self.key);
        }
        match read {
            Ok(0) => self.end(None),
            Ok(_) if at_once => return self.send(),
            Ok(_) => {}
            // A terminal that has gone, and the like: the end of the input.
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => self.end(None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let target = match &mut self.files {
            Some((_, Sink::File(target))) => target,
            Some((_, Sink::Log)) => {
                log::write(&self.buffer);
                self.buffer.clear();
                return Ok(());
            }
            None => return Ok(()),
        };
        // Both outputs may be one pipe: the other pump may just have filled it.
        if self.own == Own::Source && !is_ready(target.as_fd()) {
            return Ok(());
        }
        let end = self.buffer.len().min(self.sent.saturating_add(self.most));
        self.sent += target.write(&self.buffer[self.sent..end])?;
        Ok(())
    }

    /// Closes both files. A payload that writes on learns that nobody reads.
    pub(crate) fn end(&mut self, failure: Option<io::Error>) {
        self.files = None;
        self.buffer = Vec::new();
        self.sent = 0;
        self.failure = failure;
    }

    /// Called once the container has ended: what is in its pipe now is all
    /// that there will be, also where somebody outside still holds an end.
    pub(crate) fn drain(&mut self) {
        if !self.is_pending() && self.fetch().is_err() {
            self.end(None);
        }
    }
}

fn never_blocks(pipe: &File) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn is_ready(target: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(target, PollFlags::POLLOUT)];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// A stream of the launcher's own, as a file.
pub(crate) fn stream(stream: impl AsFd) -> io::Result<File> {
    let owned: OwnedFd = stream.as_fd().try_clone_to_owned()?;
    Ok(File::from(owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a pump run until it waits for something that does not come.
    fn settle(pump: &mut Pump) {
        while let Some((fd, flags)) = pump.interest() {
            let mut polled = [PollFd::new(fd, flags)];
            if poll(&mut polled, PollTimeout::ZERO).unwrap() == 0 {
                return;
            }
            pump.turn();
        }
    }

    fn pipe() -> (File, File) {
        let (read, write) = io::pipe().unwrap();
        (File::from(OwnedFd::from(read)), File::from(OwnedFd::from(write)))
    }

    #[test]
    fn a_reader_that_does_not_read_blocks_nothing() {
        let ((source, mut feed), (mut reader, target)) = (pipe(), pipe());
        let mut pump = Pump::new(source, target, Own::Source).unwrap();
        let bytes: Vec<u8> = (0..60_000_u32).map(|number| number as u8).collect();
        let mut all = Vec::new();
        for _ in 0..2 {
            feed.write_all(&bytes).unwrap();
            settle(&mut pump);
        }
        assert!(pump.is_pending(), "120000 bytes do not fit into a pipe");
        drop(feed);
        let mut chunk = [0; 7000];
        while !pump.is_done() {
            let count = reader.read(&mut chunk).unwrap();
            all.extend_from_slice(&chunk[..count]);
            settle(&mut pump);
        }
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes.repeat(2));
    }

    #[test]
    fn the_reader_going_away_ends_it() {
        let ((source, mut feed), (reader, target)) = (pipe(), pipe());
        let mut pump = Pump::new(source, target, Own::Target).unwrap();
        drop(reader);
        feed.write_all(b"x").unwrap();
        settle(&mut pump);
        assert!(pump.is_done() && pump.is_broken());
        assert!(feed.write_all(b"x").is_err(), "and so its source's writer learns of it");
    }

    #[test]
    fn drained_although_a_writer_is_left() {
        let ((source, mut feed), (mut reader, target)) = (pipe(), pipe());
        let mut pump = Pump::new(source, target, Own::Source).unwrap();
        feed.write_all(b"last words").unwrap();
        while !pump.is_done() {
            pump.drain();
            settle(&mut pump);
        }
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
    }
}
