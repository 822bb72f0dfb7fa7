//! Each example does what its first lines say, as it is built.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test file as a whole")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}{}", output.status, stdout(output), stderr(output));
    stdout(output)
}

/// Whether a container can be started here; says why not.
fn can_start() -> bool {
    static ABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let able = ABLE.get_or_init(|| skep::Command::new("true").status().map(drop).map_err(|error| error.to_string()));
    if let Err(reason) = able {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not through `eprintln`, which the harness swallows when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIP {name}: {reason}");
    }
    able.is_ok()
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-example-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn hello() {
    if !can_start() {
        return;
    }
    let text = succeeded(&run(env!("CARGO_BIN_EXE_hello"), &[]));
    assert!(text.starts_with("uid=0"), "{text}");
}

#[test]
fn output() {
    if !can_start() {
        return;
    }
    let text = succeeded(&run(env!("CARGO_BIN_EXE_output"), &[]));
    assert!(text.contains("stdout: \"to be kept\\n\""), "{text}");
    assert!(text.contains("stderr: \"a complaint\\n\""), "{text}");
    assert!(text.contains("status: exit code 3\n"), "{text}");
    for item in ["capabilities", "no new privileges", "system-call filter", "namespace pid", "network"] {
        let line = text.lines().find(|line| line.starts_with(item)).unwrap_or_else(|| panic!("no {item}: {text}"));
        assert!(line.contains(" applied "), "{line}");
    }
}

fn sandbox(input: &Path, output: &Path, seconds: &str, script: &str) -> Output {
    let words =
        [input.as_os_str(), output.as_os_str(), seconds.as_ref(), "sh".as_ref(), "-c".as_ref(), script.as_ref()];
    let program = env!("CARGO_BIN_EXE_sandbox");
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[test]
fn sandbox_reads_in_and_writes_out_and_nothing_else() {
    if !can_start() {
        return;
    }
    let scratch = Scratch::new("build");
    let (input, output) = (scratch.directory("in"), scratch.directory("out"));
    // Root's containers have ids of their own.
    std::fs::set_permissions(&output, PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::write(input.join("words"), "cherry\napple\nbanana\n").unwrap();

    let build = sandbox(&input, &output, "60", "sort words > $OUT/sorted && echo built");
    assert_eq!(succeeded(&build), "built\n");
    assert_eq!(std::fs::read_to_string(output.join("sorted")).unwrap(), "apple\nbanana\ncherry\n");

    let denied = sandbox(&input, &output, "60", "echo x > words; echo x > new; rm -f words; exit 5");
    assert_eq!(denied.status.code(), Some(5), "{}", stderr(&denied));
    assert!(stderr(&denied).contains("Read-only file system"), "{}", stderr(&denied));
    assert_eq!(std::fs::read_dir(&input).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(input.join("words")).unwrap(), "cherry\napple\nbanana\n");

    // Nothing of the caller: no network but `lo`, no home, no variable.
    let look = "cat /proc/net/dev | grep -c :; ls /home 2>/dev/null; env | grep -c CARGO; grep processes /proc/self/limits | tr -s ' '";
    let seen = succeeded(&sandbox(&input, &output, "60", look));
    assert_eq!(seen.trim_end(), "1\n0\nMax processes 256 256 processes");
}

#[test]
fn sandbox_ends_what_takes_too_long() {
    if !can_start() {
        return;
    }
    let scratch = Scratch::new("time");
    let (input, output) = (scratch.directory("in"), scratch.directory("out"));
    let begin = std::time::Instant::now();
    let stopped = sandbox(&input, &output, "1", "trap '' TERM INT; sleep 1000 & wait");
    assert_eq!(stopped.status.code(), Some(124), "{}", stderr(&stopped));
    assert!(stderr(&stopped).contains("stopped after 1 seconds"), "{}", stderr(&stopped));
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}

#[test]
fn sandbox_says_what_is_wrong() {
    let program = env!("CARGO_BIN_EXE_sandbox");
    let usage = run(program, &["/tmp"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(stderr(&usage).starts_with("usage: sandbox"), "{}", stderr(&usage));
    if !can_start() {
        return;
    }
    let missing = run(program, &["/no/such/input", "/tmp", "10", "true"]);
    assert_eq!(missing.status.code(), Some(125), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("/no/such/input"), "{}", stderr(&missing));
}

#[test]
fn many() {
    if !can_start() {
        return;
    }
    let text = succeeded(&run(env!("CARGO_BIN_EXE_many"), &["40"]));
    assert!(text.starts_with("40 containers from 4 threads: "), "{text}");
    let rate: u32 = text.rsplit(": ").next().and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
    assert!(rate > 0, "{text}");
}

/// Needs nothing of the host.
#[test]
fn rehearse() {
    let text = succeeded(&run(env!("CARGO_BIN_EXE_rehearse"), &[]));
    assert!(text.starts_with("plan of skep-example\nprepare"), "{text}");
    for word in [
        "/srv/www",
        "Command::mount",
        "system-call filter",
        "no new privileges",
        "executed: Some(Executed",
        " /srv ro,",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
