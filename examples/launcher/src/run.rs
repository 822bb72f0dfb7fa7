//! `skep run`: starts the container, relays, stops it in order.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use skep::spec::{Init, Readiness, Want};
use skep::sys::abi::signal;
use skep::{Command, ExitStatus, Process};

use crate::child::Child;
use crate::console::{self, Key, Mode, Raw};
use crate::events::Events;
use crate::message::Failure;
use crate::relay::{Own, Pump, stream};
use crate::typed::Typed;

/// How long the kill signal may take.
const GRACE: Duration = Duration::from_secs(10);

/// How often to look, in the background, whether this is the foreground again:
/// a shell says so to a stopped job only.
const FOREGROUND: Duration = Duration::from_millis(300);

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
    let mode = Mode::of(&typed);
    let signals = Signals::new(mode)?;
    let (report, start_timeout) = (typed.report, typed.start_timeout);
    // Whoever names a container, or has a file for it, will look for it again;
    // any other is spared the entry and who removes it.
    let named = typed.file.is_some() || matches!(typed.machine, Some(Some(_)));
    let mut spec = crate::meaning::spec(typed)?;
    if named && spec.origins.of("register").is_none() {
        spec.register = Want::IfSupported;
    }
    mode.set(&mut spec);
    if let Some(item) = spec.system_calls.notify.first() {
        let what = format!(
            "{} is to be answered by a listener (`system_calls.notify`), and this tool answers none; leave it out, or embed the library",
            crate::quoted(item)
        );
        return Err(Failure::new(what));
    }
    events.starting(spec.machine.as_ref().map(ToString::to_string).unwrap_or_default(), &spec);
    let (stub, kill_signal, readiness) = (spec.init == Init::Stub, spec.kill_signal, spec.readiness);

    let mut command = Command::from(spec);
    if let Some(deadline) = start_timeout {
        command.deadline(deadline);
    }
    if mode == Mode::Pipe && shares_a_terminal() {
        events.warning(
            "--pipe gives the container your terminal, into which it can type; leave --pipe out, or redirect the streams",
        );
    }
    let container = command.spawn()?;
    events.started(&container);
    if report {
        events.report(&container);
    }
    if mode == Mode::Interactive {
        events.keys();
    }
    let mut session = Session::new(Child::Container(Box::new(container)), mode, signals, events, kill_signal)?;
    if readiness == Readiness::Exec {
        session.events.ready();
    }
    let ended = session.attend();
    // Before anything is said, the terminal is the caller's again.
    drop(session.console.take());
    let ended = ended?;
    for left in session.child.left_behind() {
        session.events.warning(&format!("something is left behind: {left}"));
    }
    let end = End {
        stub,
        kill_signal,
        stop: session.stop,
        broken: session.pumps[1].is_broken(),
        interrupted: session.interrupted,
    };
    session.events.ended(end.to_json(ended), &end.words(ended));
    session.written()?;
    Ok(end.code(ended))
}

/// Attends to a process that was brought into a container, to its end; its
/// exit code, as a shell has it.
pub(crate) fn attend(process: Process, mode: Mode, signals: Signals, events: &Events) -> Result<u8, Failure> {
    let child = Child::Process(Box::new(process));
    let mut session = Session::new(child, mode, signals, events, signal::TERM)?;
    let ended = session.attend();
    drop(session.console.take());
    let ended = ended?;
    session.written()?;
    Ok(ended.code().unwrap_or_else(|| ended.signal().map_or(1, |signal| 128_u8.saturating_add(signal))))
}

fn shares_a_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// The three relays. A stream that is not carried has one that is done.
fn pumps(child: &mut Child, mode: Mode) -> std::io::Result<[Pump; 3]> {
    // The handle stays, to follow the size of the launcher's own.
    if let Some(terminal) = child.terminal() {
        let ends = [terminal.as_fd().try_clone_to_owned()?, terminal.as_fd().try_clone_to_owned()?];
        let [input, output] = ends.map(File::from);
        let typed = match mode {
            Mode::Interactive => Pump::new(stream(std::io::stdin())?, input, Own::Target)?.with_keys(),
            _ => Pump::idle(),
        };
        let mut shown = Pump::new(output, stream(std::io::stdout())?, Own::Source)?;
        shown.held = mode == Mode::Passive;
        return Ok([typed, shown, Pump::idle()]);
    }
    let [stdin, stdout, stderr] = child.pipes();
    let stdin = match stdin {
        Some(target) => Pump::new(stream(std::io::stdin())?, target, Own::Target)?,
        None => Pump::idle(),
    };
    let stdout = match stdout {
        Some(source) => Pump::new(source, stream(std::io::stdout())?, Own::Source)?,
        None => Pump::idle(),
    };
    let stderr = match stderr {
        Some(source) => Pump::new(source, stream(std::io::stderr())?, Own::Source)?,
        None => Pump::idle(),
    };
    Ok([stdin, stdout, stderr])
}

/// How far a stop has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    NotAsked,
    /// The kill signal was sent; SIGKILL follows at this time.
    Asked(Instant),
    Killed,
}

/// What runs, and everything that the loop listens to.
struct Session<'a> {
    child: Child,
    pumps: [Pump; 3],
    signals: Signals,
    events: &'a Events,
    kill_signal: u8,
    stop: Stop,
    /// The launcher's terminal, while it is the container's.
    console: Option<Raw>,
    /// Ctrl-C was typed there.
    interrupted: bool,
}

impl<'a> Session<'a> {
    fn new(
        mut child: Child,
        mode: Mode,
        signals: Signals,
        events: &'a Events,
        kill_signal: u8,
    ) -> Result<Self, Failure> {
        let pumps =
            pumps(&mut child, mode).map_err(|error| Failure::new(format!("relay the standard streams: {error}")))?;
        let mut session = Self {
            console: (mode == Mode::Interactive).then(Raw::new).flatten(),
            child,
            pumps,
            signals,
            events,
            kill_signal,
            stop: Stop::NotAsked,
            interrupted: false,
        };
        session.follow(&Heard::default());
        Ok(session)
    }

    /// Whether all that was said could be passed on.
    fn written(&self) -> Result<(), Failure> {
        for (pump, name) in self.pumps.iter().skip(1).zip(["output", "error"]) {
            if let (Some(error), false) = (&pump.failure, pump.is_broken()) {
                return Err(Failure::new(format!("write standard {name}: {error}")));
            }
        }
        Ok(())
    }

    /// The one loop: until the container has ended and all it said was passed on.
    fn attend(&mut self) -> Result<ExitStatus, Failure> {
        let mut ended = None;
        let mut ready = false;
        loop {
            if ended.is_some() && self.pumps.iter().all(Pump::is_done) {
                break;
            }
            let happened = self.wait(ended.is_some());
            if happened.signal {
                let heard = self.signals.heard();
                if heard.stop && ended.is_some() {
                    break;
                }
                if heard.stop {
                    self.stop_harder()?;
                }
                self.follow(&heard);
            } else if self.in_background() {
                self.follow(&Heard::default());
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
            if ended.is_none() {
                self.typed()?;
            }
            if happened.end && ended.is_none() {
                ended = self.child.try_wait()?;
            }
            if ended.is_some() {
                self.pumps[0].end(None);
                self.pumps[1].held = false;
                self.pumps.iter_mut().for_each(Pump::drain);
            }
        }
        ended.map_or_else(|| Err(Failure::new("the container's end was not seen")), Ok)
    }

    /// What the terminal's user asks of the launcher itself, and what else
    /// becomes of the launcher's terminal.
    fn typed(&mut self) -> Result<(), Failure> {
        let Some(console) = &mut self.console else { return Ok(()) };
        match self.pumps[0].key() {
            Some(Key::Kill) => {
                self.child.kill(signal::KILL)?;
                self.stop = Stop::Killed;
            }
            Some(Key::Suspend) => suspend(console),
            Some(Key::Interrupt) => self.interrupted = true,
            None => {}
        }
        // It was hung up: nobody can type here any more, nor see.
        if self.pumps[0].is_done() && self.stop == Stop::NotAsked {
            self.stop_harder()?;
        }
        Ok(())
    }

    /// What becomes of the launcher's terminal.
    fn follow(&mut self, heard: &Heard) {
        let mut resized = heard.resized;
        if let Some(console) = &mut self.console {
            if heard.suspend {
                suspend(console);
            }
            if !console.is_entered() || heard.proceed {
                console.enter();
                resized |= console.is_entered();
            }
            // From the background nothing is read.
            self.pumps[0].held = !console.is_entered();
        }
        if let (true, Some(terminal), Some(size)) = (resized, self.child.terminal(), console::own_size()) {
            // A container that is just ending has no terminal to resize.
            let _ = terminal.resize(size.rows, size.columns);
        }
    }

    /// Whether the launcher's terminal is somebody else's for now.
    fn in_background(&self) -> bool {
        self.console.as_ref().is_some_and(|console| !console.is_entered())
    }

    /// Sleeps until something happens.
    fn wait(&self, ended: bool) -> Happened {
        let signals = self.signals.file.as_fd();
        let running = |file| (!ended).then_some((file, PollFlags::POLLIN));
        let wanted = [
            Some((signals, PollFlags::POLLIN)),
            running(self.child.as_fd()),
            self.child.notification_fd().and_then(running),
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
        let due = match self.stop {
            // Rounded up, so that the loop does not spin through the last one.
            Stop::Asked(end) => Some(end.saturating_duration_since(Instant::now()) + Duration::from_millis(1)),
            Stop::NotAsked | Stop::Killed => None,
        };
        let wake = due.into_iter().chain(self.in_background().then_some(FOREGROUND)).min();
        let timeout = match wake.filter(|_| !ended) {
            Some(wake) => PollTimeout::try_from(wake).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
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
                self.child.kill(self.kill_signal)?;
                Stop::Asked(Instant::now() + GRACE)
            }
            _ => {
                self.child.kill(signal::KILL)?;
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
            let Some(said) = self.child.notification()? else { break };
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

/// Gives the terminal back and stops this program until somebody continues it,
/// as Ctrl-Z does elsewhere. The container goes on.
fn suspend(console: &mut Raw) {
    console.leave();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), Signal::SIGSTOP);
}

/// What signals were heard.
#[derive(Default)]
struct Heard {
    stop: bool,
    /// SIGTSTP, from outside: on a raw terminal no key sends it.
    suspend: bool,
    /// SIGCONT
    proceed: bool,
    /// SIGWINCH
    resized: bool,
}

/// The signals that ask for a stop or tell of the terminal, as a descriptor.
pub(crate) struct Signals {
    file: SignalFd,
}

impl Signals {
    /// Blocks them, so that none is lost from here on. The library gives the
    /// payload an empty mask.
    pub(crate) fn new(mode: Mode) -> Result<Self, Failure> {
        let own: &[Signal] = match mode {
            Mode::Interactive => &[Signal::SIGWINCH, Signal::SIGTSTP, Signal::SIGCONT],
            Mode::ReadOnly => &[Signal::SIGWINCH],
            Mode::Relay | Mode::Passive | Mode::Pipe => &[],
        };
        let mask: SigSet = STOP.iter().chain(own).copied().collect();
        mask.thread_block()
            .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .map(|file| Self { file })
            .map_err(|errno| Failure::new(format!("prepare for signals: {errno}")))
    }

    /// Whether one came. A hangup does not count under `nohup`; an interrupt
    /// does also where a shell ignores it (`&` in a script), as with
    /// `systemd-nspawn`.
    fn heard(&self) -> Heard {
        let mut heard = Heard::default();
        while let Ok(Some(info)) = self.file.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGTSTP) => heard.suspend = true,
                Ok(Signal::SIGCONT) => heard.proceed = true,
                Ok(Signal::SIGWINCH) => heard.resized = true,
                Ok(Signal::SIGHUP) => heard.stop |= !ignores_hangup(),
                _ => heard.stop = true,
            }
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
    /// Ctrl-C was typed.
    interrupted: bool,
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
            "stopped": self.stop != Stop::NotAsked || (self.interrupted && self.is_clean(ended)),
            "exit": self.code(ended),
        })
    }

    fn words(&self, ended: ExitStatus) -> String {
        let asked = self.stop != Stop::NotAsked || self.interrupted;
        if self.is_clean(ended) || (ended.success() && asked) {
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
            Some(signal::INT) if !self.stub || self.interrupted => true,
            Some(number) if matches!(self.stop, Stop::Asked(_)) => number == self.kill_signal,
            Some(PIPE) => self.broken,
            _ => false,
        }
    }
}
