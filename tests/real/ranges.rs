//! Ranges of ids that root picks: one container each, whoever else is at work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use skep::{Command, Container, ErrorKind};
use skep_tests::{is_root, skip, turn_to_start};

const LOCK: &str = "/run/skep-ids";

fn root_only() -> bool {
    let root = is_root();
    if !root {
        skip("only root has ranges");
    }
    root
}

fn base(container: &Container) -> u32 {
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", container.id())).unwrap();
    map.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The whole file, from its beginning to its end.
fn lock_of(kind: i32) -> nix::libc::flock {
    let l_whence = nix::libc::SEEK_SET as i16;
    nix::libc::flock { l_type: kind as i16, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}

/// That the file is not there any more, unless somebody else on this host
/// holds a range just now.
fn assert_gone() {
    let end = Instant::now() + Duration::from_secs(10);
    while let Ok(file) = std::fs::File::open(LOCK) {
        let mut lock = lock_of(nix::libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
        if i32::from(lock.l_type) != nix::libc::F_UNLCK {
            return;
        }
        assert!(Instant::now() < end, "{LOCK} stays behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_neighbour_cannot_hold_up_a_start() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    // What any user can have: a lock to read, on a file that all may read.
    let public = std::fs::File::open("/etc/passwd").unwrap();
    fcntl(&public, FcntlArg::F_OFD_SETLK(&lock_of(nix::libc::F_RDLCK))).unwrap();
    let subordinate = std::fs::File::open("/etc/subuid");
    if let Ok(file) = &subordinate {
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock_of(nix::libc::F_RDLCK))).unwrap();
    }
    let mut container = Command::new("sleep").arg("100").spawn().unwrap();
    assert!(base(&container) >= 0x8_0000);
    let found = std::fs::symlink_metadata(LOCK).unwrap();
    assert!(found.is_file());
    assert_eq!((found.uid(), found.mode() & 0o777, found.nlink()), (0, 0o600, 1));
    let opened = Process::new("cat").arg(LOCK).uid(65_534).gid(65_534).stderr(Stdio::null()).status().unwrap();
    assert!(!opened.success(), "another user can open it");
    container.kill(9).unwrap();
    container.wait().unwrap();
    assert_gone();
}

#[test]
fn a_start_that_fails_leaves_no_file() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    assert_eq!(Command::new("no-such-program").spawn().unwrap_err().kind(), ErrorKind::NotFound);
    assert_gone();
    drop(Command::new("sleep").arg("100").spawn().unwrap());
    assert_gone();
    let mut container = Command::new("sleep").arg("100").spawn().unwrap();
    let base = base(&container);
    let range = skep::spec::IdRange { base, count: 65_536 };
    let refused = Command::new("true").user_namespace(skep::spec::UserNamespace::Range(range)).spawn().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RangeTaken, "{refused}");
    container.kill(9).unwrap();
    container.wait().unwrap();
    assert_gone();
    let container = Command::new("sleep").arg("100").spawn().unwrap();
    let pid = container.detach().unwrap();
    assert_gone();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// What is left by an embedder that was killed is used by the next, and goes.
#[test]
fn a_file_that_was_left_behind_is_used() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(LOCK);
    assert!(Command::new("true").status().unwrap().success());
    assert_gone();
}

/// Those of a base that embedders have left which were killed; not one that
/// somebody holds, a running container or `systemd-nspawn`.
#[test]
fn files_of_bases_that_nobody_holds_are_collected() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let running = Command::new("sleep").arg("1000").spawn().unwrap();
    let directory = std::path::Path::new("/run/systemd/nspawn-uid");
    let [left, held] = [0x6ffc_0000_u32, 0x6ffd_0000].map(|base| directory.join(base.to_string()));
    let make = |path| std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    make(&left);
    let file = make(&held);
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock_of(nix::libc::F_WRLCK))).unwrap();
    let removed = skep::gc().unwrap().removed;
    let own = directory.join(base(&running).to_string());
    assert!(removed.contains(&skep::Leftover::Ranges(left.clone())) && !left.exists(), "{removed:?}");
    assert!(held.exists() && own.exists(), "{removed:?}");
    drop(file);
    drop(running);
    assert!(!own.exists());
    skep::gc().unwrap();
    assert!(!held.exists());
}

const PROCESSES: usize = 3;
const THREADS: usize = 4;
const AS_CHILD: &str = "SKEP_TEST_RANGES";

/// Starts in several threads, all with the same name and so the same first
/// guess, and says which ids they have; keeps them until standard input ends.
fn start_many() {
    let held: Vec<Container> = std::thread::scope(|scope| {
        let start = || {
            // Comes and goes in between.
            assert!(Command::new("true").machine("same".parse().unwrap()).status().unwrap().success());
            Command::new("sleep").arg("100").machine("same".parse().unwrap()).spawn().unwrap()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for container in &held {
        println!("base {}", base(container));
    }
    println!("base end");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn threads_and_processes_never_share_a_range() {
    if std::env::var_os(AS_CHILD).is_some() {
        return start_many();
    }
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Process::new(std::env::current_exe().unwrap())
                .args(["--exact", &name, "--nocapture"])
                .env(AS_CHILD, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut bases = BTreeSet::new();
    for child in &mut children {
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        // The harness's own words come on the same line as the first.
        let said = lines.filter_map(|line| Some(line.split_once("base ")?.1.to_owned()));
        for base in said.take_while(|said| said != "end") {
            assert!(bases.insert(base.clone()), "two containers have the ids from {base} on");
        }
    }
    assert_eq!(bases.len(), PROCESSES * THREADS);
    for mut child in children {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    assert_gone();
}
