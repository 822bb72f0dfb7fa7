//! A terminal that a test holds, with the launcher on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::stand::SKEP;

/// How long something may take to be shown.
const PATIENCE: u16 = 60_000;

/// The launcher, on a terminal that is its controlling one.
pub(crate) struct Terminal {
    /// The end where one types and looks; dropped, the terminal hangs up.
    end: File,
    /// Keeps the terminal open where nobody in front of it does.
    _other: OwnedFd,
    pub(crate) child: Child,
    shown: String,
}

impl Terminal {
    /// Runs `skep` with these words and variables on a terminal of 30 lines of
    /// 100; `None`, and the reason printed, where no process can be given one.
    pub(crate) fn start(test: &str, words: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Who else held the one end would keep the terminal from hanging up.
        for file in [pty.master.as_fd(), pty.slave.as_fd()] {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        // The one way to a controlling terminal that is safe from here.
        let spawned = Command::new("setsid")
            .args(["--ctty", "--wait", SKEP])
            .args(words)
            .env("TERM", "screen-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn();
        match spawned {
            Ok(child) => Some(Self { end: File::from(pty.master), _other: pty.slave, child, shown: String::new() }),
            Err(error) => {
                eprintln!("SKIP {test}: setsid(1) cannot be started: {error}");
                None
            }
        }
    }

    /// Looks until `text` is shown, and forgets all before its end.
    pub(crate) fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            assert!(self.look(PATIENCE), "{text:?} is not shown, but {:?}", self.shown);
        }
    }

    /// Reads once, if there is something within so many milliseconds.
    fn look(&mut self, patience: u16) -> bool {
        let mut polled = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        let mut bytes = [0; 4096];
        let ready = poll(&mut polled, patience).unwrap() == 1;
        let count = if ready { self.end.read(&mut bytes).unwrap_or(0) } else { 0 };
        self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.end.write_all(text.as_bytes()).unwrap();
    }

    /// First the one, then the other.
    pub(crate) fn converse(&mut self, dialogue: &[(&str, &str)]) {
        for (shown, typed) in dialogue {
            self.until(shown);
            self.write(typed);
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let words = ["rows", &rows.to_string(), "cols", &columns.to_string()];
        let end = self.end.try_clone().unwrap();
        assert!(Command::new("stty").args(words).stdin(end).status().unwrap().success());
    }

    /// Whether it edits lines, as a shell leaves it and a program in raw mode does not.
    pub(crate) fn edits_lines(&self) -> bool {
        tcgetattr(&self.end).unwrap().local_flags.contains(LocalFlags::ICANON)
    }

    /// Waits for the end; the exit code, and what was shown last.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        // What is shown has to be read, or the end would wait for it.
        let status = loop {
            self.look(20);
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
        };
        while self.look(0) {}
        (status.code(), std::mem::take(&mut self.shown))
    }

    /// Hangs up; the child is left to wait for.
    pub(crate) fn hang_up(self) -> Child {
        self.child
    }
}
