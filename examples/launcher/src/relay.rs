//! Bytes from one file to another, a turn at a time, for one poll loop.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

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
    /// Whoever looked has gone, and a terminal's writers are not told: they would wait.
    Nowhere,
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
    /// The source is read, and nothing is written yet.
    saves: bool,
    /// What was left out of what was saved.
    lost: u64,
    /// The container's end is a terminal: nobody may have it open for a while.
    terminal: bool,
    /// Tells when somebody has again.
    hung_up: Option<Epoll>,
    /// What is looked for in what passes.
    keys: Option<Keys>,
    /// What was found.
    key: Option<Key>,
}

impl Pump {
    const BUFFER: usize = 64 << 10;
    /// How much is saved at least.
    const SAVED: usize = 1 << 20;

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
            saves: false,
            lost: 0,
            terminal: false,
            hung_up: None,
            keys: None,
            key: None,
        }
    }

    /// The same, looking for keys in what passes.
    pub(crate) fn with_keys(mut self) -> Self {
        self.keys = Some(Keys::default());
        self
    }

    /// The same, which shows nothing before the end, and then the last of it: who
    /// writes on is never kept waiting, and the memory for it has a bound.
    pub(crate) fn at_the_end(mut self) -> Self {
        self.saves = true;
        self
    }

    /// The same, of a terminal of the container. A service manager closes its console
    /// and opens it again, or has it hung up (`vhangup(2)`): meanwhile the other end
    /// answers EIO, and nothing of it is over.
    pub(crate) fn of_terminal(mut self) -> Self {
        self.terminal = true;
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
        self.failure.as_ref().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe || is_hung_up(error))
    }

    fn is_pending(&self) -> bool {
        self.sent < self.buffer.len()
    }

    /// What it waits for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let files = self.files.as_ref().filter(|_| !self.held)?;
        Some(match files {
            (_, Sink::File(target)) if self.is_pending() && !self.saves => (target.as_fd(), PollFlags::POLLOUT),
            (source, _) => match &self.hung_up {
                Some(edge) => (edge.0.as_fd(), PollFlags::POLLIN),
                None => (source.as_fd(), PollFlags::POLLIN),
            },
        })
    }

    /// Does the next thing; called when what it waits for has come.
    pub(crate) fn turn(&mut self) {
        let next = match (self.saves, self.is_pending()) {
            (true, _) => self.save(),
            (false, true) => self.send(),
            (false, false) => self.fetch(),
        };
        if let Err(error) = next {
            match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                _ if self.terminal && self.own == Own::Source => self.forget(error),
                _ => self.end(Some(error)),
            }
        }
    }

    fn fetch(&mut self) -> io::Result<()> {
        let Some((source, sink)) = &mut self.files else { return Ok(()) };
        let at_once = self.own == Own::Target || !matches!(sink, Sink::File(_));
        self.sent = 0;
        self.buffer.resize(Self::BUFFER, 0);
        let terminal = self.terminal && self.own == Own::Source;
        let read = read(source, &mut self.buffer, terminal, &mut self.hung_up);
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

    /// Appends to what is there.
    fn save(&mut self) -> io::Result<()> {
        let Some((source, _)) = &mut self.files else { return Ok(()) };
        if self.buffer.len() >= 2 * Self::SAVED {
            let first = self.buffer.len() - Self::SAVED;
            self.lost += u64::try_from(first).unwrap_or(0);
            self.buffer.drain(..first);
        }
        let length = self.buffer.len();
        self.buffer.resize(length + Self::BUFFER, 0);
        let terminal = self.terminal && self.own == Own::Source;
        let read = read(source, &mut self.buffer[length..], terminal, &mut self.hung_up);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.show(),
            Ok(_) => {}
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => self.show(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whatever was saved is what goes out now.
    fn show(&mut self) {
        self.saves = false;
        if self.lost > 0 {
            let left_out = format!("[{} bytes of output before this are left out]\r\n", self.lost);
            self.buffer.splice(..0, left_out.into_bytes());
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let target = match &mut self.files {
            Some((_, Sink::File(target))) => target,
            Some((_, Sink::Log)) => {
                log::write(&self.buffer);
                self.buffer.clear();
                return Ok(());
            }
            Some((_, Sink::Nowhere)) => {
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
        self.sent += match target.write(&self.buffer[self.sent..end]) {
            // What is typed while nobody has the terminal open is for nobody.
            Err(error) if self.terminal && self.own == Own::Target && is_hung_up(&error) => end - self.sent,
            written => written?,
        };
        Ok(())
    }

    /// Goes on reading, for nobody.
    fn forget(&mut self, failure: io::Error) {
        if let Some((_, sink)) = &mut self.files {
            *sink = Sink::Nowhere;
        }
        self.buffer.clear();
        self.sent = 0;
        self.failure = Some(failure);
    }

    /// Closes both files. A payload that writes on learns that nobody reads.
    pub(crate) fn end(&mut self, failure: Option<io::Error>) {
        self.files = None;
        self.buffer = Vec::new();
        self.sent = 0;
        self.failure = failure.or_else(|| self.failure.take());
    }

    /// Called once the container has ended: what is in its pipe now is all
    /// that there will be, also where somebody outside still holds an end.
    pub(crate) fn drain(&mut self) {
        while self.saves {
            if self.save().is_err() {
                self.show();
            }
        }
        if !self.is_pending() && self.fetch().is_err() {
            self.end(None);
        }
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EIO)
}

/// Reads; of a terminal that is hung up there is nothing yet. By edges, as it is
/// ready all the time then: what is written once it is open again is one.
fn read(source: &mut File, buffer: &mut [u8], terminal: bool, hung_up: &mut Option<Epoll>) -> io::Result<usize> {
    loop {
        if let Some(edge) = hung_up {
            let _ = edge.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO);
        }
        match source.read(buffer) {
            Err(error) if terminal && is_hung_up(&error) && hung_up.is_none() => {
                let edge = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
                edge.add(&*source, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
                // Once more: it may have been opened since.
                *hung_up = Some(edge);
            }
            Err(error) if terminal && is_hung_up(&error) => return Err(ErrorKind::WouldBlock.into()),
            Ok(count) if count > 0 => {
                *hung_up = None;
                return Ok(count);
            }
            other => return other,
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
    fn what_is_shown_at_the_end_keeps_nobody_waiting_and_has_a_bound() {
        let ((source, mut feed), (mut reader, target)) = (pipe(), pipe());
        let mut pump = Pump::new(source, target, Own::Source).unwrap().at_the_end();
        for line in 0..500_000 {
            writeln!(feed, "{line:06}").unwrap();
            if line % 1000 == 0 {
                settle(&mut pump);
            }
        }
        assert!(pump.buffer.capacity() <= 4 * Pump::SAVED, "{}", pump.buffer.capacity());
        // A writer is left, but the container has ended.
        let mut all = Vec::new();
        pump.drain();
        let mut chunk = [0; 7000];
        while !pump.is_done() {
            settle(&mut pump);
            pump.drain();
            if !pump.is_done() {
                let count = reader.read(&mut chunk).unwrap();
                all.extend_from_slice(&chunk[..count]);
            }
        }
        reader.read_to_end(&mut all).unwrap();
        let text = String::from_utf8(all).unwrap();
        let (head, rest) = text.split_once("\r\n").unwrap();
        let lost: usize = head.strip_prefix('[').unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lost + rest.len(), 500_000 * 7, "{head}");
        assert!(rest.len() >= Pump::SAVED && rest.ends_with("\n499999\n"), "{}", rest.len());
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
