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
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
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
}

#[test]
fn nothing_process_wide_changes() {
    let Some(_turn) = turn_to_start() else { return };
    let before = Process::look();
    std::thread::spawn(|| {
        Command::new("true").status().unwrap();
        let mut running = Command::new("sleep").arg("100").spawn().unwrap();
        running.kill(9).unwrap();
        running.wait().unwrap();
        Command::new("/does/not/exist").spawn().unwrap_err();
    })
    .join()
    .unwrap();
    assert_eq!(Process::look(), before);
    // Not even a child is left that this program could reap by accident.
    let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(left, Err(nix::Error::ECHILD));
}

#[test]
fn the_thread_that_started_may_end() {
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
