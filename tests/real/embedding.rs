//! A start inside a busy program changes nothing of it and never hangs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use skep::Command;
use skep_tests::{skip, turn_to_start};

/// What of this process a start could change.
#[derive(PartialEq, Debug)]
struct Process {
    directory: std::path::PathBuf,
    umask: u32,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    signals: Vec<String>,
    limits: String,
    oom: String,
    dumpable: String,
    namespaces: Vec<std::path::PathBuf>,
    subreaper: bool,
    credentials: Vec<String>,
}

impl Process {
    fn look() -> Self {
        // The thread's: another may just be making a thread, for which libc
        // blocks every signal for a moment.
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let lines = |prefixes: &[&str]| {
            status
                .lines()
                .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
                .map(str::to_owned)
                .collect()
        };
        let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        nix::sys::stat::umask(umask);
        Self {
            directory: std::env::current_dir().unwrap(),
            umask: umask.bits(),
            environment: std::env::vars_os().collect(),
            signals: lines(&["SigIgn", "SigCgt", "SigBlk"]),
            limits: std::fs::read_to_string("/proc/self/limits").unwrap(),
            oom: std::fs::read_to_string("/proc/self/oom_score_adj").unwrap(),
            dumpable: format!("{:?}", nix::sys::prctl::get_dumpable()),
            namespaces: ["mnt", "pid", "uts", "ipc", "net", "user", "cgroup"]
                .iter()
                .map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap())
                .collect(),
            subreaper: nix::sys::prctl::get_child_subreaper().unwrap(),
            credentials: lines(&["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"]),
        }
    }

    /// Only what differs is printed: an environment fills screens.
    fn assert_unchanged(&self, whose: &str) {
        let now = Self::look();
        let (before, after) = (format!("{self:#?}"), format!("{now:#?}"));
        let differs: Vec<_> = before.lines().zip(after.lines()).filter(|(before, after)| before != after).collect();
        assert!(*self == now, "{whose}: {differs:#?}");
    }
}

#[test]
fn row_138_nothing_process_wide_changes() {
    let Some(_turn) = turn_to_start() else { return };
    let before = Process::look();
    std::thread::spawn(|| {
        let before = Process::look();
        Command::new("true").status().unwrap();
        let mut running = Command::new("sleep").arg("100").spawn().unwrap();
        running.kill(9).unwrap();
        running.wait().unwrap();
        Command::new("/does/not/exist").spawn().unwrap_err();
        before.assert_unchanged("of the thread that starts");
    })
    .join()
    .unwrap();
    before.assert_unchanged("of the thread that waited");
    // Not even a child is left that this program could reap by accident.
    let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(left, Err(nix::Error::ECHILD));
}

#[test]
fn row_140_the_thread_that_started_may_end() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container = std::thread::spawn(|| Command::new("sleep").arg("100").spawn().unwrap()).join().unwrap();
    assert_eq!(container.wait_timeout(Duration::from_millis(300)).unwrap(), None, "it still runs");
    let pid = container.id();
    drop(container);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "dropped is stopped");
}

#[test]
fn a_status_that_the_embedder_reaped_is_not_lost() {
    let Some(_turn) = turn_to_start() else { return };
    // In a process of its own: waiting for any child would take the status of
    // the other tests' containers.
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "reaper_process", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by a_status_that_the_embedder_reaped_is_not_lost, in a process of its own"]
fn reaper_process() {
    let mut container = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let stolen = nix::sys::wait::waitpid(None, None).unwrap();
    assert_eq!(stolen.pid().map(nix::unistd::Pid::as_raw), Some(container.id() as i32));
    assert_eq!(container.wait().unwrap().code(), Some(7));
}

/// Runs one of the ignored tests below in a process of its own, by env(1) with
/// an option.
fn apart(option: &str, test: &str) {
    let program = std::env::current_exe().unwrap();
    let mut env = std::process::Command::new("env");
    let output = env.arg(option).arg(program).args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{test} did not run");
}

#[test]
fn no_status_is_lost_to_a_loop_that_reaps_every_child() {
    let Some(_turn) = turn_to_start() else { return };
    apart("--unset=NOTHING", "reaping_loop");
}

#[test]
fn no_status_is_lost_where_the_end_of_children_is_ignored() {
    let Some(_turn) = turn_to_start() else { return };
    apart("--ignore-signal=CHLD", "ignoring_children");
}

#[test]
#[ignore = "run by no_status_is_lost_to_a_loop_that_reaps_every_child, in a process of its own"]
fn reaping_loop() {
    std::thread::spawn(|| {
        loop {
            if nix::sys::wait::waitpid(None, None).is_err() {
                std::thread::yield_now();
            }
        }
    });
    statuses(30);
}

#[test]
#[ignore = "run by no_status_is_lost_where_the_end_of_children_is_ignored, in a process of its own"]
fn ignoring_children() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = u64::from_str_radix(skep_tests::field(&status, "SigIgn"), 16).unwrap();
    assert_ne!(ignored & (1 << 16), 0, "SIGCHLD is ignored");
    statuses(10);
}

/// Under the stub init a status is always known, by its last word; of others
/// the kernel keeps a record since Linux 6.15, and before that it is lost, which
/// is said.
fn statuses(rounds: u8) {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let kept = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15);
    let expect = |status: skep::ExitStatus, code: u8| {
        assert!(status.code() == Some(code) || (!kept && status.is_lost()), "{status} for {code}");
    };
    for code in 1..=rounds {
        let script = format!("exit {code}");
        let stub = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert_eq!(stub.code(), Some(code), "under the stub init: {stub}");
        let mut first = Command::new("sh");
        expect(first.args(["-c", &script]).init(skep::spec::Init::Payload).status().unwrap(), code);
        let container = Command::new("sleep").arg("1000").spawn().unwrap();
        expect(container.exec("sh").args(["-c", &script]).status().unwrap(), code);
        assert_eq!(container.exec("/no/such").spawn().unwrap_err().kind(), skep::ErrorKind::NotFound);
        let mut process = container.exec("sleep").arg("1000").spawn().unwrap();
        process.kill(15).unwrap();
        let ended = process.wait().unwrap();
        assert!(ended.signal() == Some(15) || (!kept && ended.is_lost()), "{ended}");
    }
}

#[test]
fn a_container_costs_the_embedder_little() {
    let Some(_turn) = turn_to_start() else { return };
    apart("--unset=NOTHING", "memory_of_handles");
}

#[test]
#[ignore = "run by a_container_costs_the_embedder_little, in a process of its own"]
fn memory_of_handles() {
    let resident = || -> u64 {
        // Walks the pages; the count in `status` is behind by 64 pages for each thread
        // before Linux 6.2.
        let pages = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        skep_tests::field(&pages, "Rss").trim_end_matches(" kB").trim().parse().unwrap()
    };
    let start = || Command::new("sleep").arg("1000").spawn().unwrap();
    // What the first ones make once is not counted.
    let mut held: Vec<_> = (0..10).map(|_| start()).collect();
    let before = resident();
    held.extend((0..32).map(|_| start()));
    let each = resident().saturating_sub(before) as f64 / 32.0;
    println!("{each} KiB for each container");
    assert!(each <= 16.0, "{each} KiB for each container");
}

#[test]
fn the_embedder_survives_a_memory_limit_that_the_start_hits() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("true");
    command.memory(64 << 10);
    match command.status() {
        // Too small for a process: the start fails, or the payload dies.
        Ok(status) => assert!(!status.success() || status.out_of_memory(), "{status}"),
        Err(error) if error.kind() == skep::ErrorKind::Unsupported => skip(&error.to_string()),
        Err(error) => assert!(error.to_string().contains("memory") || error.to_string().contains("killed"), "{error}"),
    }
}
