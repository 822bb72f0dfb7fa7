//! The embedder killed between any two system calls of a start, its own and
//! those of its children: nothing of the container outlives it, and nothing is
//! left on the host, at the latest after `skep::gc`.
//!
//! The first process of the test traces the second, the embedder, and all that
//! it makes. One call of one process after another is counted; at stop k the
//! embedder is killed where it is, and the others go on from where they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio as Pipe};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use skep::Command;
use skep::spec::{Init, MachineName, Profile, Want};
use skep_tests::{HostState, Scratch, is_root, skip, turn_to_start};

/// What the second process starts.
const VARIANT: &str = "SKEP_TEST_KILLED";
/// An argument of the payload, by which it is found.
const TOKEN: &str = "SKEP_TEST_TOKEN";
/// The embedder says with it that the start is over.
const OVER: Signal = Signal::SIGWINCH;

/// When what has not come by then is said to hang.
fn patience() -> Instant {
    // An emulated machine has a tenth of the speed, and perhaps others beside it.
    let seconds = if std::env::var_os("SKEP_VM").is_some() { 300 } else { 20 };
    Instant::now() + Duration::from_secs(seconds)
}

fn command(variant: &str, token: &str) -> Command {
    let mut command = Command::new("sleep");
    command.arg(token).machine(MachineName::new(format!("killed-{token}")).unwrap());
    match variant {
        "plain" => {}
        // A cgroup where there can be one, an entry in the registry, a watcher.
        "limited" => {
            command.register(Want::IfSupported);
            if Command::new("true").memory(256 << 20).plan().is_ok() {
                command.memory(256 << 20);
            }
        }
        // Nobody inside ends the payload; descriptors come out, and it is held.
        "payload" => {
            command.init(Init::Payload).terminal(24, 80).notify_system_calls(["mkdirat"]);
            command.before_start(|_| Ok(()));
        }
        // Killed as a group.
        "shared" => {
            command.init(Init::Payload).freezing(Want::Require);
            command.spec_mut().namespaces.pid = skep::spec::Namespace::Host;
        }
        // Directories of the host that bear its name, and a mount there.
        "machine" => {
            let tree = command.spec().root.clone();
            command = Command::of(Profile::Nspawn, "sleep");
            command.arg(token).machine(MachineName::new(format!("killed-{token}")).unwrap());
            command.register(Want::Require).spec_mut().root = tree;
        }
        other => panic!("{other}: no variant"),
    }
    command
}

#[test]
#[ignore = "run by the tests of this file, as the embedder that is killed"]
fn embedder() {
    let mut command = command(&std::env::var(VARIANT).unwrap(), &std::env::var(TOKEN).unwrap());
    println!("ready");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let started = command.spawn();
    raise(OVER).unwrap();
    // For who runs this without a tracer.
    let _container = started.unwrap_or_else(|error| panic!("start: {error}"));
    println!("started");
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

#[test]
#[ignore = "run by the tests of this file, with the runtime directory of the embedder"]
fn collector() {
    let collected = skep::gc().unwrap();
    // What others leave that run beside this is theirs.
    let token = std::env::var(TOKEN).unwrap();
    let left: Vec<String> = collected.left.iter().map(ToString::to_string).collect();
    assert!(!left.iter().any(|left| left.contains(&token)), "{left:?}");
    println!("removed {:?}", collected.removed);
}

/// Processes with the token for an argument: the payload.
fn payloads(token: &str) -> Vec<String> {
    let is = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).collect::<Vec<_>>() == [b"sleep", token.as_bytes(), b""])
    };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    std::fs::read_dir("/proc").unwrap().flatten().filter(is).map(name).collect()
}

struct Trace {
    embedder: Pid,
    /// Whoever is traced, as far as known.
    tracees: BTreeSet<Pid>,
    /// Stops since the start began.
    stops: Option<u32>,
    killed: bool,
    gone: bool,
}

/// What one stop brought.
#[derive(PartialEq)]
enum Next {
    Nothing,
    Stopped,
    /// The start was over before stop k.
    Over,
}

impl Trace {
    const OPTIONS: Options = Options::PTRACE_O_TRACESYSGOOD
        .union(Options::PTRACE_O_TRACEFORK)
        .union(Options::PTRACE_O_TRACEVFORK)
        .union(Options::PTRACE_O_TRACECLONE);

    fn of(embedder: Pid) -> Result<Self, Errno> {
        let tasks = std::fs::read_dir(format!("/proc/{embedder}/task")).unwrap().flatten();
        let mut tracees = BTreeSet::new();
        for task in tasks {
            let task = Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
            ptrace::seize(task, Self::OPTIONS)?;
            ptrace::interrupt(task)?;
            tracees.insert(task);
        }
        Ok(Self { embedder, tracees, stops: None, killed: false, gone: false })
    }

    /// Whether the call that a task is at is the first of a start.
    fn begins(task: Pid) -> bool {
        let call = std::fs::read_to_string(format!("/proc/{task}/syscall")).unwrap_or_default();
        call.split(' ').next().is_some_and(|number| number == libc::SYS_memfd_create.to_string())
    }

    /// Lets the task go on; who traces an embedder that is dead lets go of it.
    fn go_on(&mut self, task: Pid, signal: Option<Signal>) {
        if self.killed {
            // ESRCH: it was killed while it was stopped.
            let _ = ptrace::detach(task, signal);
            self.tracees.remove(&task);
        } else {
            let _ = ptrace::syscall(task, signal);
            self.tracees.insert(task);
        }
    }

    /// Takes one stop, if there is one.
    fn step(&mut self, last: u32) -> Next {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                std::thread::sleep(Duration::from_micros(20));
                return Next::Nothing;
            }
            other => other.unwrap(),
        };
        match status {
            WaitStatus::PtraceSyscall(task) => {
                if self.stops.is_none() && Self::begins(task) {
                    self.stops = Some(0);
                }
                let before = self.stops;
                self.stops = before.map(|stops| stops + 1);
                if before == Some(last) && !self.killed {
                    self.kill();
                }
                self.go_on(task, None);
            }
            WaitStatus::PtraceEvent(task, ..) => self.go_on(task, None),
            WaitStatus::Stopped(task, OVER) if !self.killed => {
                self.kill();
                self.go_on(task, None);
                return Next::Over;
            }
            WaitStatus::Stopped(task, signal) => self.go_on(task, Some(signal)),
            WaitStatus::Exited(task, _) | WaitStatus::Signaled(task, ..) => {
                self.tracees.remove(&task);
                self.gone |= task == self.embedder;
            }
            _ => {}
        }
        Next::Stopped
    }

    fn kill(&mut self) {
        kill(self.embedder, Signal::SIGKILL).unwrap();
        self.killed = true;
        // Those that run, or wait, stop to be let go of.
        for task in &self.tracees {
            let _ = ptrace::interrupt(*task);
        }
    }
}

struct Case<'a> {
    variant: &'a str,
    token: String,
    runtime: Option<&'a Path>,
}

impl Case<'_> {
    fn process(&self, test: &str) -> Process {
        let mut process = Process::new(std::env::current_exe().unwrap());
        process.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
        process.env(VARIANT, self.variant).env(TOKEN, &self.token);
        if let Some(runtime) = self.runtime {
            process.env("XDG_RUNTIME_DIR", runtime);
        }
        process
    }

    /// What is left then is left by nobody who lives; what was removed.
    fn collect(&self) -> String {
        let output = self.process("collector").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let entries = self.runtime.and_then(|base| std::fs::read_dir(base.join("skep")).ok());
        assert_eq!(entries.into_iter().flatten().count(), 0, "the registry is empty");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains("removed")).unwrap().to_owned()
    }

    /// Kills the embedder at a stop; how many there were if it came later.
    fn run(&self, last: u32, before: &HostState) -> Result<Option<u32>, Errno> {
        let mut embedder = self.process("embedder").stdin(Pipe::piped()).stdout(Pipe::piped()).spawn().unwrap();
        let lines = BufReader::new(embedder.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
        let mut trace = Trace::of(Pid::from_raw(embedder.id() as i32)).inspect_err(|_| {
            embedder.kill().unwrap();
            embedder.wait().unwrap();
        })?;
        embedder.stdin.take().unwrap().write_all(b"g").unwrap();
        let end = patience();
        let mut total = None;
        while !(trace.killed && trace.gone) {
            if trace.step(last) == Next::Over {
                total = trace.stops;
            }
            assert!(trace.killed || !trace.gone, "the embedder ended by itself");
            assert!(Instant::now() < end, "stop {last}: the start hangs, at {:?}", trace.stops);
        }
        // The payload goes with its owner, and all else with the watcher.
        let left = |trace: &mut Trace, done: &dyn Fn() -> bool| {
            let end = patience();
            while Instant::now() < end {
                // Whoever was still to be let go of.
                while trace.step(last) != Next::Nothing {}
                if trace.tracees.is_empty() && done() {
                    return true;
                }
            }
            false
        };
        let ended = left(&mut trace, &|| payloads(&self.token).is_empty());
        assert!(ended, "stop {last}: the payload outlives its owner: {:?}", payloads(&self.token));
        // Without help.
        let cleared = left(&mut trace, &|| before.is_unchanged_but_for_files());
        assert!(cleared, "stop {last}: {before:?}, then {:?}", before.again());
        self.age();
        self.collect();
        Ok(total)
    }

    /// An entry that was just being written, and is no whole one, is nobody's ten seconds
    /// later: as if they had passed.
    fn age(&self) {
        let base = self.runtime.unwrap_or_else(|| Path::new("/run"));
        for entry in std::fs::read_dir(base.join("skep")).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&self.token) {
                let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
                let file = std::fs::File::options().write(true).open(entry.path());
                file.and_then(|file| file.set_modified(long_ago)).unwrap();
            }
        }
    }
}

/// An ordinary user's, where the registry is.
fn runtime(scratch: &Scratch) -> Option<PathBuf> {
    (!is_root()).then(|| {
        let place = scratch.directory("run");
        std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        place
    })
}

/// Every stop, or every some, of the starts of a variant.
fn kill_at_every_stop(variant: &str) {
    let Some(_turn) = turn_to_start() else { return };
    if let Err(error) = command(variant, "0").plan() {
        let refused = matches!(error.kind(), skep::ErrorKind::Unsupported | skep::ErrorKind::NotPermitted);
        assert!(refused && !is_root(), "{error}");
        return skip(&error.to_string());
    }
    let scratch = Scratch::new();
    let runtime = runtime(&scratch);
    let every: u32 = std::env::var("SKEP_KILL_STEP").ok().and_then(|text| text.parse().ok()).unwrap_or(61);
    let from: u32 = std::env::var("SKEP_KILL_FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let of_test = (100_000 + std::process::id()).to_string();
    let before = HostState::marked(&format!("killed-{of_test}"));
    for last in (from..).step_by(every as usize) {
        let token = format!("{of_test}.{last}");
        let case = Case { variant, token, runtime: runtime.as_deref() };
        match case.run(last, &before) {
            Ok(None) => {}
            Ok(Some(total)) => {
                eprintln!("{variant}: killed at every {every} of {total} stops, and afterwards");
                before.assert_unchanged();
                return;
            }
            Err(errno) => return skip(&format!("this process cannot trace another: {errno}")),
        }
        before.assert_unchanged();
    }
}

#[test]
fn a_start_that_needs_no_watcher() {
    kill_at_every_stop("plain");
}

#[test]
fn a_start_with_limits_and_a_name() {
    kill_at_every_stop("limited");
}

#[test]
fn a_start_that_is_held_and_has_a_terminal_and_a_listener() {
    kill_at_every_stop("payload");
}

#[test]
fn a_start_that_shares_process_ids() {
    kill_at_every_stop("shared");
}

#[test]
fn a_start_of_a_machine_with_a_mount_on_the_host() {
    if !is_root() {
        return skip("only root's machines have directories on the host");
    }
    kill_at_every_stop("machine");
}

/// A process that is killed with the test that has made it.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both are killed, the embedder and who clears up after it.
#[test]
fn what_no_watcher_clears_up_is_collected() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let runtime = runtime(&scratch);
    let of_test = (200_000 + std::process::id()).to_string();
    let before = HostState::marked(&format!("killed-{of_test}"));
    let token = format!("{of_test}.7");
    let case = Case { variant: "limited", token, runtime: runtime.as_deref() };
    // What others have left before.
    case.collect();
    let spawned = case.process("embedder").stdin(Pipe::piped()).stdout(Pipe::piped()).spawn();
    let mut embedder = Killed(spawned.unwrap());
    embedder.0.stdin.as_mut().unwrap().write_all(b"g").unwrap();
    let lines = BufReader::new(embedder.0.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("started")));
    // It sees none of them end.
    let pid = Pid::from_raw(embedder.0.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    let killed = before.again().processes_beside(&before);
    for process in &killed {
        kill(Pid::from_raw(*process), Signal::SIGKILL).unwrap();
    }
    // The embedder, which is stopped, reaps none.
    let lives = |process: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    };
    let end = patience();
    while killed.iter().any(lives) {
        assert!(Instant::now() < end, "{killed:?} do not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let groups = before.again().cgroups_beside(&before);
    let removed = case.collect();
    assert!(groups.iter().all(|group| group.exists()), "their owner lives: {removed}");
    drop(embedder);
    let Some(parent) = groups.first().and_then(|group| group.parent()) else {
        case.collect();
        before.assert_unchanged();
        return skip("no cgroup that this caller may use; the registry's entry is collected");
    };
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let started = own.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let namespace = namespace.trim_matches(|letter: char| !letter.is_ascii_digit()).to_owned();
    let group = |name: String| {
        let path = parent.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let alive = group(format!("skep-alive@{}-{started}-{namespace}-0", std::process::id()));
    let full = group(format!("skep-full@{}-1-{namespace}-0", std::process::id()));
    let kept = [
        group("skep-by-hand".to_owned()),
        group(format!("skep-unit@{}-1-{namespace}-0.service", std::process::id())),
        group(format!("skep-elsewhere@{}-1-1-0", std::process::id())),
        alive.clone(),
        full.clone(),
    ];
    let mut member = Process::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(full.join("cgroup.procs"), member.id().to_string()).unwrap();
    // What it says of them may have been another's to say, who collects beside this test.
    let removed = case.collect();
    for group in &groups {
        assert!(!group.exists(), "{group:?}: {removed}");
    }
    for group in &kept {
        assert!(group.exists(), "{group:?}: {removed}");
    }
    member.kill().unwrap();
    member.wait().unwrap();
    let removed = case.collect();
    assert!(!full.exists(), "{removed}");
    for group in kept.iter().filter(|group| **group != full) {
        std::fs::remove_dir(group).unwrap();
    }
    before.assert_unchanged();
}
