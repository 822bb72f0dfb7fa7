//! `--detach`: the container's supervisor is this program once more, in a session
//! of its own, with nothing of the caller's but what `--fd=` names. The first
//! process waits for its word, one line of JSON, passes it on, and ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stdin, getppid, pipe2, setsid};
use serde_json::{Value, json};

use crate::console::{Console, Mode};
use crate::message::{Complaint, Failure, because, print};
use crate::typed::Typed;

/// Set for the supervisor: the process id of who waits for its word, which goes
/// by standard input.
const VARIABLE: &str = "SKEP_DETACHED";

/// What the supervisor's start came to, seen from who waits for it.
fn passed_on(word: &str, json: bool) -> Result<ExitCode, Failure> {
    let word: Value = serde_json::from_str(word)
        .map_err(|_| Failure::new("the supervisor said something that is no word; run without --detach to see more"))?;
    if let Some(complaints) = word["error"].as_array() {
        let complaint = |said: &Value| Complaint {
            text: said["text"].as_str().unwrap_or_default().to_owned(),
            json: said["json"].clone(),
        };
        return Err(Failure(complaints.iter().map(complaint).collect()));
    }
    match json {
        true => print(format_args!("{word}\n"))?,
        false => print(format_args!("{}\n", word["machine"].as_str().unwrap_or_default()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the supervisor, and waits until it says how the start went.
pub(crate) fn start(typed: &Typed) -> Result<ExitCode, Failure> {
    let console = match typed.console {
        Some(Console::Mode(Mode::Interactive)) => Some("interactive"),
        Some(Console::Mode(Mode::Pipe)) => Some("pipe"),
        Some(Console::AutoPipe) => Some("autopipe"),
        Some(Console::Mode(_)) | None => None,
    };
    if let Some(console) = console {
        return Err(Failure::new(format!(
            "--detach: what runs by itself has none of your streams, so not --console={console}; leave one of them out"
        )));
    }
    let failed = |error: &std::io::Error| Failure::new(format!("--detach: start the supervisor: {}", because(error)));
    let (word, to_it) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(&errno.into()))?;
    let mut words = std::env::args_os();
    let mut supervisor = Command::new("/proc/self/exe");
    supervisor.arg0(words.next().as_deref().unwrap_or_else(|| OsStr::new("skep")));
    let spawned = supervisor
        .args(words)
        .env(VARIABLE, std::process::id().to_string())
        .stdin(Stdio::from(to_it))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // It holds the other end.
    drop(supervisor);
    let mut child = spawned.map_err(|error| failed(&error))?;
    let mut line = String::new();
    BufReader::new(File::from(word)).read_line(&mut line).map_err(|error| failed(&error))?;
    if !line.is_empty() {
        return passed_on(&line, typed.json);
    }
    let how = child.wait().map_err(|error| failed(&error))?;
    let how = match how.signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => "ended".to_owned(),
    };
    Err(Failure::new(format!("--detach: the supervisor {how} before the container ran; try again without --detach")))
}

/// This process, where it is a supervisor that has not given its word yet. Its
/// descriptor hangs up when nobody waits for that any more.
#[derive(Debug)]
pub(crate) struct Supervisor {
    word: File,
}

impl AsFd for Supervisor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.word.as_fd()
    }
}

impl Supervisor {
    /// `None`: an ordinary process. Leaves the caller's session.
    pub(crate) fn take() -> Result<Option<Self>, Failure> {
        let Some(parent) = std::env::var_os(VARIABLE) else { return Ok(None) };
        if parent.to_str() != Some(&getppid().to_string()) {
            let what = format!("${VARIABLE} is this program's own, and who set it is not there any more");
            return Err(Failure::new(format!("{what}; unset it")));
        }
        let failed = |errno: nix::Error| Failure::new(format!("leave the caller's session: {errno}; try again"));
        setsid().map_err(failed)?;
        let word = crate::relay::stream(std::io::stdin()).map_err(|error| Failure::new(because(&error)))?;
        let null = File::open("/dev/null")
            .map_err(|error| Failure::new(format!("open /dev/null: {}; see that it is there", because(&error))))?;
        dup2_stdin(OwnedFd::from(null)).map_err(failed)?;
        // As `ps` shows it: the path was /proc/self/exe.
        let _ = fs::write("/proc/self/comm", "skep");
        Ok(Some(Self { word }))
    }

    /// The container runs.
    ///
    /// # Errors
    ///
    /// Nobody waits any more: whoever gave the start up gets no container.
    pub(crate) fn started(mut self, machine: &str, pid: u32) -> Result<(), Failure> {
        // It holds no file system of the caller's.
        let _ = std::env::set_current_dir("/");
        self.say(&json!({ "machine": machine, "pid": pid })).map_err(|error| {
            let why = because(&error);
            Failure::new(format!("tell that the container runs: {why}; do not interrupt skep before it returns"))
        })
    }

    /// It does not.
    pub(crate) fn failed(mut self, failure: &Failure) {
        let complaint = |one: &Complaint| json!({ "text": one.text, "json": one.json });
        let _ = self.say(&json!({ "error": failure.0.iter().map(complaint).collect::<Vec<_>>() }));
    }

    fn say(&mut self, word: &Value) -> std::io::Result<()> {
        self.word.write_all(format!("{word}\n").as_bytes())
    }
}
