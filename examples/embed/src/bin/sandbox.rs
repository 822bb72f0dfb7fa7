//! A build sandbox: runs a command of somebody else's on your files, and gives
//! you what it made.
//!
//! ```text
//! sandbox INPUT OUTPUT SECONDS COMMAND [ARGUMENT…]
//! ```
//!
//! The command sees INPUT as `/in`, read-only, and leaves its results in `/out`.
//! It has no network, no other file of yours, an environment of its own, and so
//! many seconds. What it left is copied to OUTPUT *after* all of it is dead:
//! nothing can change under the copy. Only plain files and directories are
//! taken, as files of yours, without set-id bits.
//!
//! The exit code is the command's; 124 when its time was up; 125 when the
//! sandbox itself failed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use skep::spec::Limit;
use skep::sys::abi::{Resource, signal};
use skep::{Command, Container, ErrorKind, Stdio};

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

    fn run(&self) -> io::Result<u8> {
        let stage = Stage::new(&self.output)?;
        let mut container = self.start(&stage)?;
        let status = container.wait_timeout(self.time)?;
        if status.is_none() {
            // SIGKILL ends everything that runs inside, at once.
            container.kill(signal::KILL)?;
            container.wait()?;
            eprintln!("sandbox: stopped after {} seconds", self.time.as_secs());
        }
        // Waited for: no process of it is left, and nothing can move any more.
        take(&stage.results(), &self.output)?;
        let Some(status) = status else { return Ok(124) };
        if status.out_of_memory() {
            eprintln!("sandbox: it wanted more memory than it may have");
        }
        // As a shell puts it: 128 and the signal.
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    fn start(&self, stage: &Stage) -> skep::Result<Container> {
        match self.sandboxed(stage).memory(1 << 30).spawn() {
            // What is asked for is had, or the start fails: it is the caller
            // who decides to go without. Users often have no cgroup.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("sandbox: no limit on memory as a whole: {error}");
                self.sandboxed(stage).spawn()
            }
            started => started,
        }
    }

    /// The default is a container without network, capabilities, or anything of
    /// the host but its `/usr`. What is said here is the exceptions, and limits.
    fn sandboxed(&self, stage: &Stage) -> Command {
        let [program, arguments @ ..] = &*self.command else { return Command::new("false") };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .bind_ro(&self.input, "/in")
            .bind(stage.results(), "/out")
            .current_dir("/in")
            .env("OUT", "/out")
            .limit(Resource::FSIZE, Limit::both(1 << 30))
            .limit(Resource::AS, Limit::both(4 << 30))
            .limit(Resource::NPROC, Limit::both(256))
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        command
    }
}

/// Where the results are while they are not to be trusted: a directory that
/// nobody else can enter, so that nobody runs a set-id file of it. Removed with
/// all that was not taken.
struct Stage(PathBuf);

impl Stage {
    fn new(output: &Path) -> io::Result<Self> {
        let path = output.join(format!(".sandbox-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| named(&path, error))?;
        let stage = Self(path);
        fs::create_dir(stage.results())?;
        // Root's containers have ids of their own, known to nobody before the
        // start. An ordinary user's container is that user to files.
        fs::set_permissions(stage.results(), PermissionsExt::from_mode(0o777))?;
        Ok(stage)
    }

    fn results(&self) -> PathBuf {
        self.0.join("results")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("sandbox: {}: {error}", self.0.display());
        }
    }
}

/// Copies what a container left. No link is followed and nothing is overwritten:
/// a name that is there already is an error.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from).map_err(|error| named(from, error))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        // Not followed: this is the entry's own type.
        let kind = entry.file_type()?;
        let taken = if kind.is_dir() {
            fs::create_dir(&target).and_then(|()| take(&source, &target))
        } else if kind.is_file() {
            copy(&source, &target)
        } else {
            // A name may hold anything: Debug escapes it for a terminal.
            eprintln!("sandbox: left out, for it is no plain file: {:?}", entry.file_name());
            Ok(())
        };
        taken.map_err(|error| named(&target, error))?;
    }
    Ok(())
}

/// Of the mode, only whether it can be executed: no set-id bit, nothing that
/// others could write.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let mut source = File::open(source)?;
    let mode = if source.metadata()?.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    let mut target = OpenOptions::new().write(true).create_new(true).mode(mode).open(target)?;
    io::copy(&mut source, &mut target).map(drop)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path:?}: {error}"))
}
