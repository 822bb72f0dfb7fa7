//! `skep run`: starts the container, relays, stops it in order.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use skep::spec::{Init, Readiness};
use skep::sys::abi::signal;
use skep::{Command, Container, ExitStatus, Stdio};

use crate::events::Events;
use crate::message::Failure;
use crate::relay::{Own, Pump, stream};
use crate::typed::Typed;

/// How long the kill signal may take.
const GRACE: Duration = Duration::from_secs(10);

/// Signals that ask for a stop.
const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let mut events = Events::new(&typed)?;
    let ended = attended(typed, &mut events);
    if let Err(failure) = &ended {
        events.failed(failure);
    }
    ended.map(ExitCode::from)
}

/// From the start of the container to its end, with the exit code.
fn attended(typed: Typed, events: &mut Events) -> Result<u8, Failure> {
    let signals = Signals::new()?;
    let (pipe, report, start_timeout) = (typed.pipe, typed.report, typed.start_timeout);
    let spec = crate::meaning::spec(typed)?;
    events.starting(spec.machine.as_ref().map(ToString::to_string).unwrap_or_default(), &spec);
    let (stub, kill_signal, readiness) = (spec.init == Init::Stub, spec.kill_signal, spec.readiness);

    let mut command = Command::from(spec);
    let stdio = if pipe { Stdio::inherit } else { Stdio::piped };
    command.stdin(stdio()).stdout(stdio()).stderr(stdio());
    if let Some(deadline) = start_timeout {
        command.deadline(deadline);
    }
    if pipe && shares_a_terminal() {
        events.warning(
            "--pipe gives the container your terminal, into which it can type; leave --pipe out, or redirect the streams",
        );
    }
    let container = command.spawn()?;
    events.started(&container);
    if report {
        events.report(&container);
    }
    let (container, pumps) =
        pumps(container).map_err(|error| Failure::new(format!("relay the standard streams: {error}")))?;
    let mut session = Session { container, pumps, signals, events, kill_signal, stop: Stop::NotAsked };
    if readiness == Readiness::Exec {
        session.events.ready();
    }
    let ended = session.attend()?;
    let end = End { stub, kill_signal, stop: session.stop, broken: session.pumps[1].is_broken() };
    session.events.ended(end.to_json(ended), &end.words(ended));
    for (pump, name) in session.pumps.iter().skip(1).zip(["output", "error"]) {
        if let (Some(error), false) = (&pump.failure, pump.is_broken()) {
            return Err(Failure::new(format!("write standard {name}: {error}")));
        }
    }
    Ok(end.code(ended))
}

fn shares_a_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// The three relays. A stream that is not piped has one that is done.
fn pumps(mut container: Container) -> std::io::Result<(Container, [Pump; 3])> {
    let stdin = match container.stdin.take() {
        Some(target) => Pump::new(stream(std::io::stdin())?, target, Own::Target)?,
        None => Pump::idle(),
    };
    let stdout = match container.stdout.take() {
        Some(source) => Pump::new(source, stream(std::io::stdout())?, Own::Source)?,
        None => Pump::idle(),
    };
    let stderr = match container.stderr.take() {
        Some(source) => Pump::new(source, stream(std::io::stderr())?, Own::Source)?,
        None => Pump::idle(),
    };
    Ok((container, [stdin, stdout, stderr]))
}

/// How far a stop has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    NotAsked,
    /// The kill signal was sent; SIGKILL follows at this time.
    Asked(Instant),
    Killed,
}

/// A running container and everything that the loop listens to.
struct Session<'a> {
    container: Container,
    pumps: [Pump; 3],
    signals: Signals,
    events: &'a Events,
    kill_signal: u8,
    stop: Stop,
}

impl Session<'_> {
    /// The one loop: until the container has ended and all it said was passed on.
    fn attend(&mut self) -> Result<ExitStatus, Failure> {
        let mut ended = None;
        let mut ready = false;
        loop {
            if ended.is_some() && self.pumps.iter().all(Pump::is_done) {
                break;
            }
            let happened = self.wait(ended.is_some());
            if happened.signal && self.signals.heard() {
                if ended.is_some() {
                    break;
                }
                self.stop_harder()?;
            }
            self.kill_when_due()?;
            if happened.notification || happened.end {
                self.hear(&mut ready)?;
            }
            for (pump, happened) in self.pumps.iter_mut().zip(happened.pumps) {
                if happened {
                    pump.turn();
                }
            }
            if happened.end && ended.is_none() {
                ended = self.container.try_wait()?;
            }
            if ended.is_some() {
                self.pumps[0].end(None);
                self.pumps.iter_mut().for_each(Pump::drain);
            }
        }
        ended.map_or_else(|| Err(Failure::new("the container's end was not seen")), Ok)
    }

    /// Sleeps until something happens.
    fn wait(&self, ended: bool) -> Happened {
        let signals = self.signals.file.as_fd();
        let running = |file| (!ended).then_some((file, PollFlags::POLLIN));
        let wanted = [
            Some((signals, PollFlags::POLLIN)),
            running(self.container.as_fd()),
            self.container.notification_fd().and_then(running),
            self.pumps[0].interest(),
            self.pumps[1].interest(),
            self.pumps[2].interest(),
        ];
        // Places are fixed: what is not watched now is the signals' descriptor
        // once more, with no event.
        let mut polled = wanted.map(|wanted| {
            let (file, events) = wanted.unwrap_or((signals, PollFlags::empty()));
            PollFd::new(file, events)
        });
        let timeout = match self.stop {
            Stop::Asked(end) if !ended => {
                // Rounded up, so that the loop does not spin through the last one.
                let left = end.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            _ => PollTimeout::NONE,
        };
        if poll(&mut polled, timeout).is_err() {
            return Happened::default();
        }
        let any = |index: usize| polled[index].any() == Some(true);
        Happened { signal: any(0), end: any(1), notification: any(2), pumps: [any(3), any(4), any(5)] }
    }

    /// The first time in order, the second time at once.
    fn stop_harder(&mut self) -> Result<(), Failure> {
        self.stop = match self.stop {
            Stop::NotAsked if self.kill_signal != signal::KILL => {
                self.container.kill(self.kill_signal)?;
                Stop::Asked(Instant::now() + GRACE)
            }
            _ => {
                self.container.kill(signal::KILL)?;
                Stop::Killed
            }
        };
        Ok(())
    }

    fn kill_when_due(&mut self) -> Result<(), Failure> {
        match self.stop {
            Stop::Asked(end) if Instant::now() >= end => self.stop_harder(),
            _ => Ok(()),
        }
    }

    /// What the payload says of itself.
    fn hear(&mut self, ready: &mut bool) -> Result<(), Failure> {
        // As many as a socket holds; one that never stops talking is not
        // listened to for ever.
        for _ in 0..16 {
            let Some(said) = self.container.notification(Duration::ZERO)? else { break };
            if said.ready && !*ready {
                *ready = true;
                self.events.ready();
            }
            if let Some(text) = said.status.filter(|text| text != "Ready.") {
                self.events.status(&text);
            }
        }
        Ok(())
    }
}

/// What a wait ended with.
#[derive(Default)]
struct Happened {
    signal: bool,
    end: bool,
    notification: bool,
    pumps: [bool; 3],
}

/// The signals that ask for a stop, as a descriptor.
struct Signals {
    file: SignalFd,
}

impl Signals {
    /// Blocks them, so that none is lost from here on. The library gives the
    /// payload an empty mask.
    fn new() -> Result<Self, Failure> {
        let mask: SigSet = STOP.into_iter().collect();
        mask.thread_block()
            .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .map(|file| Self { file })
            .map_err(|errno| Failure::new(format!("prepare for signals: {errno}")))
    }

    /// Whether one came. A hangup does not count under `nohup`; an interrupt
    /// does also where a shell ignores it (`&` in a script), as with
    /// `systemd-nspawn`.
    fn heard(&self) -> bool {
        let mut heard = false;
        while let Ok(Some(info)) = self.file.read_signal() {
            heard |= info.ssi_signo != u32::from(signal::HUP) || !ignores_hangup();
        }
        heard
    }
}

/// Whether the launcher was started with SIGHUP ignored. As it is blocked, it
/// is queued all the same.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Why a container ended, as far as its own status does not tell.
struct End {
    stub: bool,
    kill_signal: u8,
    stop: Stop,
    /// The reader of standard output went away.
    broken: bool,
}

impl End {
    /// The table of `skep help exit-codes`.
    fn code(&self, ended: ExitStatus) -> u8 {
        if let Some(code) = ended.code() {
            return if code == 133 { 1 } else { code };
        }
        match ended.signal() {
            _ if self.is_clean(ended) => 0,
            Some(signal::HUP) if !self.stub => 133,
            Some(_) if self.stub && self.stop != Stop::Killed => 255,
            _ => 1,
        }
    }

    fn to_json(&self, ended: ExitStatus) -> serde_json::Value {
        serde_json::json!({
            "code": ended.code(),
            "signal": ended.signal(),
            "out_of_memory": ended.out_of_memory(),
            "stopped": self.stop != Stop::NotAsked,
            "exit": self.code(ended),
        })
    }

    fn words(&self, ended: ExitStatus) -> String {
        if self.is_clean(ended) || (ended.success() && self.stop != Stop::NotAsked) {
            "stopped.".to_owned()
        } else if ended.success() {
            "exited successfully.".to_owned()
        } else {
            format!("failed: {ended}")
        }
    }

    /// Whether a signal ended it in good order.
    fn is_clean(&self, ended: ExitStatus) -> bool {
        const PIPE: u8 = 13;
        match ended.signal() {
            Some(signal::INT) if !self.stub => true,
            Some(number) if matches!(self.stop, Stop::Asked(_)) => number == self.kill_signal,
            Some(PIPE) => self.broken,
            _ => false,
        }
    }
}
