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

/// Whether the host has a program; says it if not.
fn has(program: &str) -> bool {
    let found = Path::new("/usr/bin").join(program).exists();
    if !found {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(std::io::stderr(), "SKIP {name}: there is no {program} in /usr/bin");
    }
    found
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
fn sandbox_takes_plain_files_when_all_is_over() {
    if !can_start() {
        return;
    }
    let scratch = Scratch::new("take");
    let (input, output) = (scratch.directory("in"), scratch.directory("out"));
    let script = "cd $OUT && mkdir -p a/b && echo deep > a/b/file && cp /usr/bin/true tool && chmod 6777 tool
        ln -s /etc/shadow link; mkfifo pipe; (sleep 1000; echo late > late) & wait";
    // Whoever sleeps is ended with the rest.
    let made = sandbox(&input, &output, "3", script);
    assert_eq!(made.status.code(), Some(124), "{}", stderr(&made));

    let mut names: Vec<_> = std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "tool"], "no link, no pipe, no stage: {}", stderr(&made));
    assert_eq!(std::fs::read_to_string(output.join("a/b/file")).unwrap(), "deep\n");
    let tool = std::fs::metadata(output.join("tool")).unwrap();
    assert_eq!(tool.permissions().mode() & 0o7777, 0o755, "set-id bits, or writable for others");
    let own = std::fs::metadata(&output).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&tool), std::os::unix::fs::MetadataExt::uid(&own));
    for left in ["\"link\"", "\"pipe\""] {
        assert!(stderr(&made).contains(left), "{left}: {}", stderr(&made));
    }
    // What is there is not overwritten.
    std::fs::write(output.join("kept"), "mine").unwrap();
    let again = sandbox(&input, &output, "60", "echo theirs > $OUT/kept");
    assert_eq!(again.status.code(), Some(125), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(output.join("kept")).unwrap(), "mine");
}

/// A real build: two sources, an archive, a program that is then run.
#[test]
fn sandbox_builds_a_program() {
    if !can_start() || !has("cc") {
        return;
    }
    let scratch = Scratch::new("program");
    let (input, output) = (scratch.directory("in"), scratch.directory("out"));
    std::fs::write(input.join("hive.c"), "int bees(void) { return 6; }\n").unwrap();
    std::fs::write(
        input.join("main.c"),
        "#include <stdio.h>\nint bees(void);\nint main(void) { printf(\"%d bees\\n\", bees()); return 0; }\n",
    )
    .unwrap();
    let build = "cc -O1 -c -o /tmp/hive.o hive.c && ar rc /tmp/libhive.a /tmp/hive.o \
        && cc -O1 -o $OUT/colony main.c -L/tmp -lhive";
    succeeded(&sandbox(&input, &output, "120", build));
    // What a stranger's build has made runs in a sandbox too.
    let elsewhere = scratch.directory("elsewhere");
    assert_eq!(succeeded(&sandbox(&output, &elsewhere, "60", "/in/colony")), "6 bees\n");
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
    let text = succeeded(&run(env!("CARGO_BIN_EXE_many"), &["40", "8"]));
    let rest = text.strip_prefix("40 containers from 8 threads: ").unwrap_or_else(|| panic!("{text}"));
    let rate: u32 = rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap();
    assert!(rate > 0, "{text}");
}

/// One verdict, for a solution that is a shell script.
fn judge(test: &str, limits: [&str; 2], script: &str) -> (String, String) {
    let scratch = Scratch::new(test);
    let solution = scratch.directory("solution");
    let [input, answer] = ["input", "answer"].map(|name| scratch.0.join(name));
    std::fs::write(solution.join("run"), script).unwrap();
    std::fs::write(&input, "3 4\n").unwrap();
    std::fs::write(&answer, "7\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_judge"));
    command.args(limits).args([&solution, &input, &answer]).args(["sh", "/solution/run"]);
    let output = command.output().unwrap();
    let verdict = stdout(&output).trim_end().to_owned();
    let code = if verdict == "accepted" { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{verdict}: {}", stderr(&output));
    (verdict, stderr(&output))
}

#[test]
fn judge_gives_every_verdict() {
    if !can_start() {
        return;
    }
    for (name, script, expected) in [
        ("sum", "read a b; echo $((a + b))", "accepted"),
        ("blanks", "read a b; echo \" $((a + b)) \"; echo", "accepted"),
        ("product", "read a b; echo $((a * b))", "wrong answer"),
        ("silent", "exit 0", "wrong answer"),
        ("loops", "while :; do :; done", "time limit"),
        ("stubborn", "trap '' XCPU; while :; do :; done", "time limit"),
        ("sleeps", "echo 7; sleep 1000", "time limit"),
        ("floods", "exec yes", "output limit"),
        ("fails", "echo 7; exit 3", "runtime error"),
        ("aborts", "echo 7; kill -ABRT $$", "runtime error"),
        ("changes", "echo x > /solution/run && echo 7", "runtime error"),
    ] {
        let (verdict, complaint) = judge(name, ["1", "256"], script);
        assert_eq!(verdict, expected, "{name}: {complaint}");
    }
}

/// With a cgroup the kernel says so; without, an allocation fails, and the
/// judge has said beforehand that it would be so.
#[test]
fn judge_limits_memory_and_says_how() {
    if !can_start() {
        return;
    }
    let (verdict, complaint) = judge("eats", ["10", "64"], "bees=bee; while :; do bees=$bees$bees; done");
    if complaint.contains("limited for each process only") {
        assert_eq!(verdict, "runtime error", "{complaint}");
    } else {
        assert_eq!(verdict, "memory limit", "{complaint}");
    }
}

#[test]
fn judge_says_what_is_wrong() {
    let usage = run(env!("CARGO_BIN_EXE_judge"), &["1"]);
    assert_eq!(usage.status.code(), Some(125));
    assert!(stderr(&usage).starts_with("judge: usage: judge SECONDS"), "{}", stderr(&usage));
    let missing = run(env!("CARGO_BIN_EXE_judge"), &["1", "64", "/", "/no/input", "/no/answer", "true"]);
    assert!(stderr(&missing).contains("/no/input: No such file"), "{}", stderr(&missing));
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

/// What the guide promises of them.
#[test]
fn examples_are_a_page() {
    let lines = |text: &str| text.lines().count();
    assert!(lines(include_str!("../src/bin/hello.rs")) <= 10);
    assert!(lines(include_str!("../src/bin/judge.rs")) < 150);
    for page in [
        include_str!("../src/bin/sandbox.rs"),
        include_str!("../src/bin/many.rs"),
        include_str!("../src/bin/service.rs"),
    ] {
        assert!(lines(page) < 200);
    }
}

#[test]
fn a_service_is_started_again_until_it_is_told_to_stop() {
    if !can_start() {
        return;
    }
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(env!("CARGO_BIN_EXE_service"))
        .args(["sh", "-c", "echo up; exit 3"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.take(3).map(|line| line.unwrap()).collect::<Vec<_>>(), ["up"; 3]);
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("ended: exit code 3"), "{}", stderr(&output));

    let output = run(env!("CARGO_BIN_EXE_service"), &["sh", "-c", "exit 0"]);
    assert!(output.status.success() && stderr(&output).contains("ended: exit code 0"), "{}", stderr(&output));
    let output = run(env!("CARGO_BIN_EXE_service"), &["/no/such/program"]);
    assert!(
        output.status.code() == Some(1) && stderr(&output).contains("not found in container"),
        "{}",
        stderr(&output)
    );
}
