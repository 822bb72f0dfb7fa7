//! Runs a command of somebody else's on your files: a build, a converter, a
//! test.
//!
//! ```text
//! sandbox INPUT OUTPUT SECONDS COMMAND [ARGUMENT…]
//! ```
//!
//! The command sees INPUT as `/in`, read-only, and leaves its results in
//! OUTPUT as `/out`. It has no network, no other file of yours, an environment
//! of its own, and so many seconds. The exit code is the command's, or 124 when
//! its time was up.
//!
//! Run by an ordinary user, it is that user to the files in OUTPUT. Run by
//! root, it has ids that nobody on the host has, so OUTPUT must be writable
//! for others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use skep::spec::Limit;
use skep::sys::abi::{Resource, signal};
use skep::{Command, Container, ErrorKind, Result, Stdio};

/// `RLIMIT_AS`: what one process may map.
const ADDRESS_SPACE: Resource = Resource(9);

fn main() -> ExitCode {
    let Some(job) = Job::of_arguments() else {
        eprintln!("usage: sandbox INPUT OUTPUT SECONDS COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    match job.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // What was tried, on what, why it failed, and what to do.
            eprintln!("sandbox: {error}");
            ExitCode::from(125)
        }
    }
}

struct Job {
    input: PathBuf,
    output: PathBuf,
    time: Duration,
    command: Vec<OsString>,
}

impl Job {
    fn of_arguments() -> Option<Self> {
        let mut arguments = std::env::args_os().skip(1);
        let mut directory = || std::path::absolute(arguments.next()?).ok();
        let (input, output) = (directory()?, directory()?);
        let time = Duration::from_secs(arguments.next()?.to_str()?.parse().ok()?);
        let command: Vec<_> = arguments.collect();
        (!command.is_empty()).then_some(Self { input, output, time, command })
    }

    fn run(&self) -> Result<u8> {
        let mut container = self.start()?;
        let Some(status) = container.wait_timeout(self.time)? else {
            // SIGKILL ends everything that runs inside, at once.
            container.kill(signal::KILL)?;
            container.wait()?;
            eprintln!("sandbox: stopped after {} seconds", self.time.as_secs());
            return Ok(124);
        };
        if status.out_of_memory() {
            eprintln!("sandbox: it wanted more memory than it may have");
        }
        // As a shell puts it: 128 and the signal.
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    fn start(&self) -> Result<Container> {
        let mut command = sandboxed(&self.input, &self.output, &self.command);
        match command.memory(1 << 30).spawn() {
            // What is asked for is had, or the start fails: it is the caller
            // who decides to go without. Users often have no cgroup.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("sandbox: no limit on memory as a whole: {error}");
                sandboxed(&self.input, &self.output, &self.command).spawn()
            }
            started => started,
        }
    }
}

/// The default is a container without network, capabilities, or anything of
/// the host but its `/usr`. What is said here is the exceptions, and limits.
fn sandboxed(input: &Path, output: &Path, words: &[OsString]) -> Command {
    let [program, arguments @ ..] = words else { return Command::new("false") };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .bind_ro(input, "/in")
        .bind(output, "/out")
        .tmpfs("/tmp")
        .current_dir("/in")
        .env("OUT", "/out")
        .limit(ADDRESS_SPACE, Limit::both(4 << 30))
        .limit(Resource::NPROC, Limit::both(256))
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    command
}
