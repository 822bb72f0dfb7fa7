//! Containers between made and started, and starts that are ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::error::Error as _;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use skep::spec::Init;
use skep::sys::abi::Namespaces;
use skep::{Cancel, Command, Error, ErrorKind, Stdio};
use skep_tests::{HostState, Scratch, is_root, turn_to_start};

fn marking(marker: &std::path::Path, init: Init) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ran > /out/marker"]).bind(marker, "/out").init(init);
    if is_root() {
        // What root inside writes must be possible for its id on the host.
        std::fs::set_permissions(marker, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    command
}

#[test]
fn a_created_container_is_whole_and_has_run_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for init in [Init::Stub, Init::Payload] {
        let scratch = Scratch::new();
        let mut command = marking(scratch.path(), init);
        let created = command.create().unwrap();
        assert!(created.id() > 1 && created.report().of("network").is_some());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!scratch.path().join("marker").exists(), "the payload ran");
        let own = std::fs::metadata("/proc/self/ns/net").unwrap();
        let network = std::fs::File::from(created.namespace(Namespaces::NETWORK).unwrap());
        let inode = |metadata: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(metadata);
        assert_ne!(inode(&network.metadata().unwrap()), inode(&own));
        assert!(created.namespace(Namespaces::NETWORK.with(Namespaces::USER)).is_err());
        // All mounts are there, none of the host's is.
        let process = created.process().unwrap();
        let path = format!("/proc/self/fd/{}/mountinfo", std::os::fd::AsRawFd::as_raw_fd(&process));
        let mounts = std::fs::read_to_string(path).unwrap();
        let points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{mounts}");
        assert!(points.contains(&"/out") && points.contains(&"/proc/sys"), "{mounts}");
        drop((process, network));
        let mut container = created.start().unwrap();
        assert!(container.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(scratch.path().join("marker")).unwrap(), "ran\n");
    }
    before.assert_unchanged();
}

#[test]
fn a_created_container_that_is_dropped_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let scratch = Scratch::new();
    let created = marking(scratch.path(), Init::Stub).create().unwrap();
    let pidfd = created.as_fd().try_clone_to_owned().unwrap();
    drop(created);
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(1), "it still lives");
    drop(pidfd);
    assert!(!scratch.path().join("marker").exists());
    before.assert_unchanged();
}

#[test]
fn the_embedder_prepares_and_can_refuse() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let (told, heard) = std::sync::mpsc::channel();
    let mut command = Command::new("true");
    command.before_start(move |created| Ok(told.send(created.id())?));
    let mut container = command.spawn().unwrap();
    assert_eq!(heard.try_recv(), Ok(container.id()));
    assert!(container.wait().unwrap().success());
    drop(container);

    let scratch = Scratch::new();
    let mut command = marking(scratch.path(), Init::Stub);
    command.before_start(|_| Err("no address is left".into()));
    let error = command.spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.to_string().contains("no address is left"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "no address is left");
    assert!(!scratch.path().join("marker").exists());

    let mut command = marking(scratch.path(), Init::Stub);
    command.before_start(|_| panic!("in the closure"));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| command.spawn()));
    assert!(ended.is_err() && !scratch.path().join("marker").exists());
    before.assert_unchanged();
}

/// Only the library's own time counts.
#[test]
fn the_deadline_stands_still_while_the_embedder_prepares() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("true");
    command.deadline(Duration::from_millis(700));
    command.before_start(|_| {
        std::thread::sleep(Duration::from_millis(900));
        Ok(())
    });
    assert!(command.status().unwrap().success());
}

#[test]
fn a_terminal_and_descriptors_come_with_it() {
    let Some(_turn) = turn_to_start() else { return };
    let created = Command::new("tty").terminal(24, 80).create().unwrap();
    let mut container = created.start().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut container.terminal.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "/dev/pts/0\r\n");
}

#[test]
fn row_031_an_embedder_whose_child_is_killed_meanwhile_hears_of_it() {
    let Some(_turn) = turn_to_start() else { return };
    let created = Command::new("true").create().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(created.id()).unwrap());
    // Whoever has made a user namespace may do so, whatever the ids inside.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let error = created.start().unwrap_err();
    assert!(error.to_string().contains("killed"), "{error}");
}

#[test]
fn a_start_that_waits_is_cancelled_at_once() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let cancel = Cancel::new().unwrap();
    // It is held, and so waits, until the other thread ends it.
    let mut command = Command::new("sleep");
    command.arg("100").cancel_with(&cancel);
    let other = cancel.clone();
    command.before_start(move |_| {
        other.cancel();
        Ok(())
    });
    let begun = Instant::now();
    let error = command.spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2) && cancel.is_cancelled());
    // It stays, and ends the next one too; without it all is as before.
    let error = Command::new("true").cancel_with(&cancel).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(Command::new("true").cancel_with(&Cancel::new().unwrap()).status().unwrap().success());
    drop((command, cancel));
    before.assert_unchanged();
}

/// At every moment of a start, by descriptor as a signal handler does it.
#[test]
fn a_start_is_cancelled_at_any_time_or_not_at_all() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let (mut ended, mut started) = (0, 0);
    for microseconds in (0..6000).step_by(100) {
        let cancel = Cancel::new().unwrap();
        let file = cancel.as_fd().try_clone_to_owned().unwrap();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(microseconds));
            nix::unistd::write(file, &1_u64.to_ne_bytes()).unwrap();
        });
        let mut command = Command::new("cat");
        match command.cancel_with(&cancel).stdin(Stdio::piped()).spawn() {
            Ok(mut container) => {
                started += 1;
                assert!(container.wait().unwrap().success());
            }
            Err(error) => {
                ended += 1;
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            }
        }
        other.join().unwrap();
    }
    println!("{ended} cancelled, {started} started");
    assert!(ended > 0);
    before.assert_unchanged();
}

#[test]
fn errors_of_the_embedder_are_kept() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("true");
    command.before_start(|created| {
        created.namespace(Namespaces::NONE)?;
        Ok(())
    });
    let error = command.spawn().unwrap_err();
    let source = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert!(source.to_string().contains("EINVAL"), "{source}");
}
