//! A code judge: runs somebody's solution on one test, and says what it is worth.
//!
//! ```text
//! judge SECONDS MEBIBYTES SOLUTION INPUT ANSWER COMMAND [ARGUMENT…]
//! ```
//!
//! COMMAND runs in the directory SOLUTION, which it cannot change, gets INPUT
//! as its standard input, and must write ANSWER. It may use so much processor
//! time and memory, and 64 KiB of output.
//!
//! Standard output is one verdict: `accepted`, `wrong answer`, `time limit`,
//! `memory limit`, `output limit` or `runtime error`. The exit code is 0 for
//! `accepted`, 1 for the others, 125 where the judge itself failed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use skep::spec::Limit;
use skep::sys::abi::{Resource, signal};
use skep::{Command, Container, ErrorKind, ExitStatus, Stdio};

/// What a solution may write, in bytes.
const OUTPUT: u64 = 64 << 10;
/// What `RLIMIT_CPU` sends first.
const XCPU: u8 = 24;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match judge() {
        Ok(verdict) => {
            println!("{verdict}");
            ExitCode::from(u8::from(verdict != "accepted"))
        }
        Err(error) => {
            eprintln!("judge: {error}");
            ExitCode::from(125)
        }
    }
}

fn judge() -> Result<&'static str> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, mebibytes, solution, input, answer, command @ ..] = &*words else {
        return Err("usage: judge SECONDS MEBIBYTES SOLUTION INPUT ANSWER COMMAND [ARGUMENT…]".into());
    };
    let limits = Limits { seconds: seconds.parse()?, bytes: mebibytes.parse::<u64>()? << 20 };
    let (input, answer) = (read(input)?, read(answer)?);
    let container = limits.start(&std::path::absolute(solution)?, command)?;

    let (output, status) = limits.run(container, &input)?;
    Ok(match status {
        _ if output.len() as u64 > OUTPUT => "output limit",
        None => "time limit",
        Some(status) if status.out_of_memory() => "memory limit",
        // The second is the answer to who ignores the first.
        Some(status) if matches!(status.signal(), Some(XCPU | signal::KILL)) => "time limit",
        Some(status) if !status.success() => "runtime error",
        Some(_) if words_of(&output).eq(words_of(&answer)) => "accepted",
        Some(_) => "wrong answer",
    })
}

struct Limits {
    seconds: u64,
    bytes: u64,
}

impl Limits {
    /// Starts the solution; says what holds its memory.
    fn start(&self, solution: &Path, words: &[String]) -> Result<Container> {
        let whole = self.command(solution, words)?.memory(self.bytes).spawn();
        let container = match whole {
            // No cgroup for this user. Each process has its limit all the same;
            // but the kernel then refuses memory instead of telling us, so that
            // too much of it ends as a runtime error.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("judge: memory is limited for each process only: {error}");
                self.command(solution, words)?.limit(Resource::AS, Limit::both(self.bytes)).spawn()?
            }
            started => started?,
        };
        if let Some(outcome) = container.report().of("limit memory") {
            eprintln!("judge: memory {outcome}");
        }
        Ok(container)
    }

    /// No network, nothing of the host but its `/usr`: the default.
    fn command(&self, solution: &Path, words: &[String]) -> Result<Command> {
        let [program, arguments @ ..] = words else { return Err("which command?".into()) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .bind_ro(solution, "/solution")
            .current_dir("/solution")
            .limit(Resource::CPU, Limit { soft: Some(self.seconds), hard: Some(self.seconds + 1) })
            .limit(Resource::FSIZE, Limit::both(16 << 20))
            .limit(Resource::NPROC, Limit::both(32))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    /// What it wrote, at most one byte above the limit, and how it ended; no
    /// status when it was still there at the deadline, asleep for instance.
    fn run(&self, mut container: Container, input: &[u8]) -> Result<(Vec<u8>, Option<ExitStatus>)> {
        let (stdin, stdout) = (container.stdin.take(), container.stdout.take());
        std::thread::scope(|scope| {
            // It need not read its input, and a pipe holds only so much.
            scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
            // Closed above the limit: who writes on is ended by the kernel.
            let reader = scope.spawn(move || {
                let mut output = Vec::new();
                stdout.map_or(Ok(0), |pipe| pipe.take(OUTPUT + 1).read_to_end(&mut output)).map(|_| output)
            });
            // Processor time is the kernel's to count, process by process; this is
            // for who sleeps, or has children do the work.
            let status = container.wait_timeout(Duration::from_secs(2 * self.seconds + 1));
            // Ends all of it, so that no pipe stays open.
            drop(container);
            let output = reader.join().map_err(|_| "the reader panicked")??;
            Ok((output, status?))
        })
    }
}

/// Blanks at the ends of lines are nobody's mistake.
fn words_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn read(path: impl Into<PathBuf>) -> Result<Vec<u8>> {
    let path = path.into();
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}
