//! `skep run`: starts the container, relays, stops it in order.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use skep::spec::{Init, Readiness, Want};
use skep::sys::Errno;
use skep::sys::abi::signal;
use skep::{Command, Container, ErrorKind, ExitStatus, Ports, Process};

use crate::child::Child;
use crate::console::{self, Key, Mode, Raw};
use crate::detach::{self, Supervisor};
use crate::events::Events;
use crate::inherited::Inherited;
use crate::journal;
use crate::lock::TreeLock;
use crate::log::{self, Log};
use crate::machined;
use crate::manager::Manager;
use crate::message::{Failure, because, say};
use crate::relay::{Own, Pump, stream};
use crate::typed::Typed;

/// How long the kill signal may take.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How often to look, in the background, whether this is the foreground again:
/// a shell says so to a stopped job only.
const FOREGROUND: Duration = Duration::from_millis(300);

/// What a start touches of the stack.
const STACK: usize = 32 << 10;

/// Signals that ask for a stop.
const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The same for an init that is to stop all of a machine (`DefaultTimeoutStopSec=` of
/// systemd).
pub(crate) const GRACE_OF_MACHINE: Duration = Duration::from_secs(90);

/// The exit code of a machine that wants to be started anew.
const REBOOT: u8 = 133;

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let mut supervisor = Supervisor::take()?;
    if typed.detach && supervisor.is_none() {
        return detach::start(&typed);
    }
    crate::HEAP.populate();
    skep::sys::populate_stack(STACK);
    let ended = supervised(typed, &mut supervisor);
    if let (Err(failure), Some(supervisor)) = (&ended, supervisor) {
        supervisor.failed(failure);
    }
    let code = ended?;
    // All of the container is gone; what is left is memory.
    match std::io::stdout().flush() {
        Ok(()) => skep::sys::leave(code),
        Err(_) => Ok(ExitCode::from(code)),
    }
}

fn supervised(typed: Typed, supervisor: &mut Option<Supervisor>) -> Result<u8, Failure> {
    let inherited = Inherited::with_sockets(&typed, supervisor.is_some())?;
    let mut events = Events::new(&typed)?;
    let mut manager = if typed.nspawn { Manager::of_environment() } else { Manager::none() };
    // A machine that reboots is started anew here, unless a unit does that.
    let again = (typed.nspawn && !typed.keep_unit && supervisor.is_none()).then(|| typed.clone());
    let mut ended = attended(typed, inherited, &mut events, supervisor, &mut manager);
    while let (Ok(REBOOT), Some(typed)) = (&ended, &again) {
        let inherited = Inherited::with_sockets(typed, false)?;
        ended = attended(typed.clone(), inherited, &mut events, supervisor, &mut manager);
    }
    if let Err(failure) = &ended {
        events.failed(failure);
    }
    ended
}

/// From the start of the container to its end, with the exit code.
fn attended(
    typed: Typed,
    inherited: Inherited,
    events: &mut Events,
    supervisor: &mut Option<Supervisor>,
    manager: &mut Manager,
) -> Result<u8, Failure> {
    let mode = Mode::of(&typed);
    let signals = Signals::new(mode)?;
    let (report, start_timeout) = (typed.report, typed.start_timeout);
    let (keeps_unit, journal) = (typed.keep_unit, typed.journal.clone());
    let announce = typed.announce.unwrap_or(if typed.nspawn { Want::IfSupported } else { Want::Off });
    let mut spec = crate::meaning::spec(typed)?;
    mode.set(&mut spec);
    if let Some(item) = spec.system_calls.notify.first() {
        let what = format!(
            "{} is to be answered by a listener (`system_calls.notify`), and this tool answers none; leave it out, or embed the library",
            crate::quoted(item)
        );
        return Err(Failure::new(what));
    }
    if let (Some(_), Some(machine)) = (&supervisor, &spec.machine) {
        log::use_for_all(Log::create(machine)?);
    }
    events.starting(spec.machine.as_ref().map(ToString::to_string).unwrap_or_default(), &spec);
    let (stub, kill_signal, readiness) = (spec.init == Init::Stub, spec.kill_signal, spec.readiness);
    let boots = spec.init == Init::Boot;

    // Longer than the container, which is dropped first.
    let _tree = TreeLock::of(&spec)?;
    let made = crate::nspawn::mstack::Made::of(&spec)?;
    machined::enter_scope(
        if keeps_unit { Want::Off } else { announce },
        spec.machine.as_ref().map_or("", |name| name.as_str()),
    )?;
    // As the tree's lock.
    let mut receiver = journal::Receiver::start(&journal, &mut spec)?;
    let mut command = Command::from(spec);
    inherited.give(&mut command)?;
    if let Some(deadline) = start_timeout {
        command.deadline(deadline);
    }
    if mode == Mode::Pipe && shares_a_terminal() {
        events.warning(
            "--pipe gives the container your terminal, into which it can type; leave --pipe out, or redirect the streams",
        );
    }
    let root = command.spec().root.path.to_string_lossy().into_owned();
    let container = command.spawn()?;
    made.keep();
    if let Some(receiver) = &mut receiver {
        receiver.running();
    }
    let _machine = machined::register(announce, &container, &root)?;
    // As long as the container is there, and no longer: it may be started anew here.
    let mut forwarding = Vec::new();
    for forward in container.forwards() {
        match forward.start() {
            Ok(one) => forwarding.push(one),
            // A host without IPv6.
            Err(error)
                if forward.from.is_ipv6()
                    && matches!(error.errno(), Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)) => {}
            // Somebody was faster, since the look at the host.
            Err(error) if forward.whole && error.kind() == ErrorKind::PortTaken => return Err(error.into()),
            Err(error) => say(format_args!("skep: not passed on to the container: {error}")),
        }
    }
    let ports = Following::of(&container);
    let leader = container.id();
    events.started(&container);
    if report {
        events.report(&container);
    }
    if mode == Mode::Interactive {
        events.keys(!stub);
    }
    let mut session = Session::new(Child::Container(Box::new(container)), mode, signals, events, kill_signal)?;
    session.has_init = !stub;
    session.ports = ports;
    session.supervisor = supervisor.take();
    session.manager = std::mem::replace(manager, Manager::none());
    session.manager.started(leader, readiness == Readiness::Exec);
    session.grace = if boots { GRACE_OF_MACHINE } else { GRACE };
    if readiness == Readiness::Exec {
        session.ready()?;
    }
    let ended = session.attend();
    drop(forwarding);
    *supervisor = session.supervisor.take();
    *manager = std::mem::replace(&mut session.manager, Manager::none());
    // Before anything is said, the terminal is the caller's again.
    drop(session.console.take());
    let ended = ended?;
    for left in session.child.left_behind() {
        session.events.warning(&format!("something is left behind: {left}"));
    }
    if let Some(receiver) = receiver {
        receiver.end(session.events);
    }
    let end = End {
        stub,
        kill_signal,
        stop: session.stop,
        broken: session.pumps[1].is_broken(),
        interrupted: session.interrupted,
    };
    manager.ended(end.code(ended) == REBOOT);
    session.events.ended(end.to_json(ended), &end.words(ended));
    if let Some(supervisor) = supervisor.take() {
        let what = format!("the container ended before it was ready: {ended}");
        let name = session.events.machine();
        supervisor.failed(&Failure::new(format!("{what}; see what it said: skep logs {name}")));
    }
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
    let shown = |source: File, to: std::io::Result<File>| match log::is_used() {
        true => Pump::to_log(source),
        false => Pump::new(source, to?, Own::Source),
    };
    // The handle stays, to follow the size of the launcher's own.
    if let Some(terminal) = child.terminal() {
        let ends = [terminal.as_fd().try_clone_to_owned()?, terminal.as_fd().try_clone_to_owned()?];
        let [input, output] = ends.map(File::from);
        let typed = match mode {
            Mode::Interactive => Pump::new(stream(std::io::stdin())?, input, Own::Target)?.with_keys().of_terminal(),
            _ => Pump::idle(),
        };
        let shown = shown(output, stream(std::io::stdout()))?.of_terminal();
        // A log is read whenever somebody likes.
        let late = mode == Mode::Passive && !log::is_used();
        let shown = if late { shown.at_the_end() } else { shown };
        return Ok([typed, shown, Pump::idle()]);
    }
    let [stdin, stdout, stderr] = child.pipes();
    let stdin = match stdin {
        Some(target) => Pump::new(stream(std::io::stdin())?, target, Own::Target)?,
        None => Pump::idle(),
    };
    let stdout = match stdout {
        Some(source) => shown(source, stream(std::io::stdout()))?,
        None => Pump::idle(),
    };
    let stderr = match stderr {
        Some(source) => shown(source, stream(std::io::stderr()))?,
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
    /// What runs is process 1 of its container.
    has_init: bool,
    /// Whoever waits for the container to be ready is told by this.
    supervisor: Option<Supervisor>,
    /// Whoever started this program, told of the container.
    manager: Manager,
    /// How long the kill signal may take.
    grace: Duration,
    /// Where published ports lead.
    ports: Following,
}

/// Published ports that follow the container's addresses.
#[derive(Default)]
struct Following(Option<Ports>);

impl Following {
    fn of(container: &Container) -> Self {
        let mut ports = Self(container.ports().unwrap_or_else(|error| {
            if error.kind() != ErrorKind::Ended {
                say(format_args!("skep: published ports lead where they lead now: {error}"));
            }
            None
        }));
        ports.follow(container);
        ports
    }

    fn follow(&mut self, container: &Container) {
        if let Some(Err(error)) = self.0.as_mut().map(|ports| container.follow(ports)) {
            say(format_args!("skep: published ports lead where they led: {error}"));
            self.0 = None;
        }
    }
}

impl<'a> Session<'a> {
    fn new(
        mut child: Child,
        mode: Mode,
        signals: Signals,
        events: &'a Events,
        kill_signal: u8,
    ) -> Result<Self, Failure> {
        let pumps = pumps(&mut child, mode)
            .map_err(|error| Failure::new(format!("relay the standard streams: {}", because(&error))))?;
        let mut session = Self {
            console: (mode == Mode::Interactive).then(Raw::new).flatten(),
            child,
            pumps,
            signals,
            events,
            kill_signal,
            stop: Stop::NotAsked,
            interrupted: false,
            has_init: false,
            supervisor: None,
            manager: Manager::none(),
            grace: GRACE,
            ports: Following::default(),
        };
        session.follow(&Heard::default());
        Ok(session)
    }

    /// Whether all that was said could be passed on.
    fn written(&self) -> Result<(), Failure> {
        for (pump, name) in self.pumps.iter().skip(1).zip(["output", "error"]) {
            if let (Some(error), false) = (&pump.failure, pump.is_broken()) {
                return Err(Failure::new(format!("write standard {name}: {}", because(error))));
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
                if (heard.stop || heard.hangup) && ended.is_some() {
                    break;
                }
                // Of a terminal that is lost its end is seen as well.
                if heard.stop || (heard.hangup && self.stop == Stop::NotAsked) {
                    self.stop_harder()?;
                }
                self.follow(&heard);
            } else if self.in_background() {
                self.follow(&Heard::default());
            }
            if happened.abandoned {
                self.supervisor = None;
                self.stop_harder()?;
            }
            if let (true, Child::Container(container)) = (happened.addresses, &self.child) {
                self.ports.follow(container);
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
            Some(Key::Init(number)) if self.has_init => self.child.kill(number)?,
            Some(Key::Init(_)) => say("skep: the command is no init; ^]^]^] kills it"),
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
    fn wait(&mut self, ended: bool) -> Happened {
        let alive = self.manager.watchdog();
        let signals = self.signals.file.as_fd();
        let running = |file| (!ended).then_some((file, PollFlags::POLLIN));
        let wanted = [
            Some((signals, PollFlags::POLLIN)),
            running(self.child.as_fd()),
            self.child.notification_fd().and_then(running),
            self.pumps[0].interest(),
            self.pumps[1].interest(),
            self.pumps[2].interest(),
            // Nothing is awaited of it but that it is gone.
            self.supervisor.as_ref().map(|supervisor| (supervisor.as_fd(), PollFlags::empty())),
            self.ports.0.as_ref().map(AsFd::as_fd).and_then(running),
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
        let wake = due.into_iter().chain(self.in_background().then_some(FOREGROUND)).chain(alive).min();
        let timeout = match wake.filter(|_| !ended) {
            Some(wake) => PollTimeout::try_from(wake).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        if poll(&mut polled, timeout).is_err() {
            return Happened::default();
        }
        let any = |index: usize| polled[index].any() == Some(true);
        Happened {
            signal: any(0),
            end: any(1),
            notification: any(2),
            pumps: [any(3), any(4), any(5)],
            abandoned: self.supervisor.is_some() && any(6),
            addresses: any(7),
        }
    }

    /// The first time in order, the second time at once.
    fn stop_harder(&mut self) -> Result<(), Failure> {
        self.stop = match self.stop {
            Stop::NotAsked if self.kill_signal != signal::KILL => {
                self.child.kill(self.kill_signal)?;
                self.manager.stopping();
                Stop::Asked(Instant::now() + self.grace)
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

    fn ready(&mut self) -> Result<(), Failure> {
        self.events.ready();
        match (self.supervisor.take(), &self.child) {
            (Some(supervisor), Child::Container(container)) => {
                supervisor.started(container.machine().as_str(), container.id())
            }
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
                self.ready()?;
            }
            self.manager.heard(said.ready, said.status.as_deref());
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
    abandoned: bool,
    addresses: bool,
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
    /// SIGHUP, unless it is ignored.
    hangup: bool,
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
                Ok(Signal::SIGHUP) => heard.hangup |= !ignores_hangup(),
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
            return if code == REBOOT { 1 } else { code };
        }
        match ended.signal() {
            _ if self.is_clean(ended) => 0,
            Some(signal::HUP) if !self.stub => REBOOT,
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
            Some(signal::INT) if !self.stub || self.interrupted => true,
            Some(number) if matches!(self.stop, Stop::Asked(_)) => number == self.kill_signal,
            Some(PIPE) => self.broken,
            _ => false,
        }
    }
}
