//! The launcher's own terminal, while a container has one too.
//!
//! The container's terminal does all that a terminal does: echo, line editing,
//! Ctrl-C and Ctrl-Z for whoever is in the foreground there. So the launcher's
//! own does nothing of that ("raw", `termios(3)`) and only carries bytes. It is
//! given back as it was on every way out.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use skep::Spec;
use skep::spec::{Profile, Secret, Stream, TerminalSize};

use crate::containers::{POWER_OFF, REBOOT};
use crate::typed::Typed;

/// How the payload's streams and the caller's hang together, as `--console=`
/// of `systemd-nspawn(1)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Three pipes, each carried on by the launcher.
    Relay,
    /// A terminal, both ways.
    Interactive,
    /// A terminal of which the output is shown.
    ReadOnly,
    /// A terminal of which the output is shown when all is over.
    Passive,
    /// The caller's own streams.
    Pipe,
}

impl Mode {
    /// What `--console=` and `--pipe` say, else what the streams suggest.
    pub(crate) fn of(typed: &Typed) -> Self {
        let terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        match typed.console {
            Some(Console::Mode(mode)) => mode,
            Some(Console::AutoPipe) if terminal() => Self::Interactive,
            Some(Console::AutoPipe) => Self::Pipe,
            // Not for what is to print for a program, or for nobody.
            None if terminal() && !typed.json => Self::Interactive,
            None if typed.nspawn => Self::ReadOnly,
            None => Self::Relay,
        }
    }

    /// Whether the payload has a terminal.
    pub(crate) const fn has_terminal(self) -> bool {
        matches!(self, Self::Interactive | Self::ReadOnly | Self::Passive)
    }

    /// What the payload's streams are.
    pub(crate) const fn streams(self) -> [Stream; 3] {
        match self {
            Self::Relay => [Stream::Piped; 3],
            Self::Pipe => [Stream::Given; 3],
            Self::Interactive | Self::ReadOnly | Self::Passive => [Stream::Terminal; 3],
        }
    }

    /// Asks `spec` for them.
    pub(crate) fn set(self, spec: &mut Spec) {
        spec.stdio = self.streams();
        if self == Self::Pipe && spec.profile == Profile::Nspawn {
            spec.environment.entry("TERM".to_owned()).or_insert_with(|| Secret::new("dumb"));
        }
        if self.has_terminal() {
            spec.terminal = Some(own_size().unwrap_or_default());
            spec.environment.entry("TERM".to_owned()).or_insert_with(|| Secret::new(own_kind()));
        }
    }
}

/// The value of `--console=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Console {
    Mode(Mode),
    /// A terminal where the caller has one for input and output, else its streams.
    AutoPipe,
}

/// The size of the terminal that the launcher writes to.
pub(crate) fn own_size() -> Option<TerminalSize> {
    [std::io::stdout().as_fd(), std::io::stdin().as_fd()]
        .into_iter()
        .find_map(|file| skep::Terminal::size_of(file).ok())
        .filter(|size| size.rows > 0 && size.columns > 0)
}

/// The value of `TERM` for a payload that writes to the launcher's terminal.
pub(crate) fn own_kind() -> String {
    let sane = |name: &String| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'+' | b'_');
        (1..=64).contains(&name.len()) && name.bytes().all(fits)
    };
    std::env::var("TERM").ok().filter(sane).unwrap_or_else(|| "vt220".to_owned())
}

/// Whether what standard error writes to makes no line of a newline alone.
pub(crate) fn is_raw() -> bool {
    tcgetattr(std::io::stderr()).is_ok_and(|now| !now.output_flags.contains(OutputFlags::OPOST))
}

/// The launcher's terminal in raw mode; dropped, it is as it was before.
pub(crate) struct Raw {
    before: Termios,
    entered: bool,
}

impl Raw {
    /// Of standard input, if that is a terminal.
    pub(crate) fn new() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = Self { before, entered: false };
        raw.enter();
        Some(raw)
    }

    /// Whether bytes may be carried: not from the background.
    pub(crate) const fn is_entered(&self) -> bool {
        self.entered
    }

    /// Takes the terminal, unless this program is in the background of its
    /// shell: then the shell's user is at work there.
    pub(crate) fn enter(&mut self) {
        let input = std::io::stdin();
        if tcgetpgrp(&input) != Ok(getpgrp()) {
            self.entered = false;
            return;
        }
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        self.entered = tcsetattr(input, SetArg::TCSADRAIN, &raw).is_ok();
    }

    /// Gives it back.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.entered) {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What the keys of the launcher itself ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// `^]^]^]`: kill the container.
    Kill,
    /// `^]^]z`: put the launcher into the background; the container goes on.
    Suspend,
    /// `^]^]p`, `^]^]r`: a signal by which an init powers off or reboots.
    Init(u8),
    /// `^C`, which is the payload's, but tells what a SIGINT came from.
    Interrupt,
}

/// Watches for them in what is typed. The payload gets all of it, but the byte
/// that completes one: a shell inside would make a command of that `z`.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// How many `^]` in a row, and when the first was.
    row: Option<(u8, Instant)>,
}

impl Keys {
    const ESCAPE: u8 = 0x1d;
    const INTERRUPT: u8 = 0x03;
    const WITHIN: Duration = Duration::from_secs(1);

    /// The last thing that `typed` asks for; what completes it is taken out.
    pub(crate) fn see(&mut self, typed: &mut Vec<u8>, now: Instant) -> Option<Key> {
        let mut asked = None;
        typed.retain(|byte| {
            let row = self.row.filter(|(_, since)| now.saturating_duration_since(*since) <= Self::WITHIN);
            self.row = None;
            match (*byte, row) {
                (Self::ESCAPE, Some((2, _))) => {
                    asked = Some(Key::Kill);
                    return false;
                }
                (b'z', Some((2, _))) => {
                    asked = Some(Key::Suspend);
                    return false;
                }
                (key @ (b'p' | b'r'), Some((2, _))) => {
                    let number = if key == b'p' { POWER_OFF } else { REBOOT };
                    asked = Some(Key::Init(number));
                    return false;
                }
                (Self::ESCAPE, Some((count, since))) => self.row = Some((count + 1, since)),
                (Self::ESCAPE, None) => self.row = Some((1, now)),
                (Self::INTERRUPT, _) => asked = asked.or(Some(Key::Interrupt)),
                _ => {}
            }
            true
        });
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_escapes_within_a_second_kill() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut keys = Keys::default();
        let mut see = |typed: &[u8], milliseconds| {
            let mut passed = typed.to_vec();
            let asked = keys.see(&mut passed, after(milliseconds));
            (asked, passed)
        };
        for (typed, at, asked, passed) in [
            (&b"\x1d\x1d"[..], 0, None, &b"\x1d\x1d"[..]),
            (b"\x1d", 900, Some(Key::Kill), b""),
            // A new row, and the third too late.
            (b"\x1d\x1d", 1000, None, b"\x1d\x1d"),
            (b"\x1d", 2100, None, b"\x1d"),
            // Not in a row.
            (b"\x1dx\x1d\x1d", 2200, None, b"\x1dx\x1d\x1d"),
            (b"\x1d", 2300, Some(Key::Kill), b""),
            (b"\x1d\x1dp", 2350, Some(Key::Init(38)), b"\x1d\x1d"),
            (b"\x1d\x1drr", 2350, Some(Key::Init(39)), b"\x1d\x1dr"),
            (b"\x1d\x1dzz", 2400, Some(Key::Suspend), b"\x1d\x1dz"),
            (b"z", 2400, None, b"z"),
            (b"a\x03b", 2500, Some(Key::Interrupt), b"a\x03b"),
            (b"\x03\x1d\x1d\x1dx", 2500, Some(Key::Kill), b"\x03\x1d\x1dx"),
        ] {
            assert_eq!(see(typed, at), (asked, passed.to_vec()), "{typed:?} at {at}");
        }
    }

    #[test]
    fn a_mode_that_was_named_is_the_mode() {
        for (console, streams) in [
            (Mode::Relay, Stream::Piped),
            (Mode::Interactive, Stream::Terminal),
            (Mode::ReadOnly, Stream::Terminal),
            (Mode::Passive, Stream::Terminal),
            (Mode::Pipe, Stream::Given),
        ] {
            let typed = Typed { console: Some(Console::Mode(console)), ..Typed::default() };
            assert_eq!(Mode::of(&typed), console);
            assert_eq!(console.streams(), [streams; 3]);
        }
    }
}
