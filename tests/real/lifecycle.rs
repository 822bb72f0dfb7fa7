//! From the start to the end, whoever ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use skep::spec::Init;
use skep::{Command, ErrorKind, Stdio};
use skep_tests::{HostState, shell, skip, turn_to_start};

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [Init::Stub, Init::Payload] {
        let status = |script: &str| Command::new("sh").args(["-c", script]).init(init).status().unwrap();
        assert_eq!(status("exit 0").code(), Some(0));
        assert_eq!(status("exit 7").code(), Some(7));
        assert_eq!(status("exit 255").code(), Some(255));
    }
    let killed = Command::new("sh").args(["-c", "kill -9 $$"]).status().unwrap();
    assert_eq!((killed.code(), killed.signal()), (None, Some(9)));
    let ended = Command::new("sh").args(["-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(ended.signal(), Some(15));
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_start() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let error = Command::new("no-such-program").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("not found in container"), "{error}");
    let error = Command::new("/etc/passwd").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    before.assert_unchanged();
}

#[test]
fn streams_are_pipes_when_asked() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = container.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 1 << 20]));
    let mut output = Vec::new();
    container.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.len(), 1 << 20);
    assert!(container.stderr.is_none());
    assert!(container.wait().unwrap().success());
}

#[test]
fn a_given_file_is_the_stream() {
    let Some(_turn) = turn_to_start() else { return };
    let (read, write) = std::io::pipe().unwrap();
    let mut container = Command::new("echo").arg("hello").stdout(std::os::fd::OwnedFd::from(write)).spawn().unwrap();
    assert!(container.wait().unwrap().success());
    let mut text = String::new();
    std::fs::File::from(std::os::fd::OwnedFd::from(read)).take(6).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
}

#[test]
fn output_of_both_streams_is_whole() {
    let Some(_turn) = turn_to_start() else { return };
    let output = Command::new("sh")
        .args(["-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 3"])
        .output()
        .unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len(), output.status.code()), (300_000, 300_000, Some(3)));
}

#[test]
fn row_120_stop_asks_first_and_kills_then() {
    let Some(_turn) = turn_to_start() else { return };
    let mut polite = Command::new("sh")
        .args(["-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_word(&mut polite);
    assert_eq!(polite.stop(Duration::from_secs(20)).unwrap().code(), Some(5), "the stub init forwards");

    let mut deaf = Command::new("sh")
        .args(["-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_word(&mut deaf);
    let began = Instant::now();
    deaf.stop(Duration::from_millis(200)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200));

    // A payload that says nothing about signals has the kernel's handlers.
    let mut plain = Command::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(plain.stop(Duration::from_secs(20)).unwrap().signal(), Some(15));
    let mut plain = Command::new("sleep").arg("1000").spawn().unwrap();
    plain.kill(15).unwrap();
    assert_eq!(plain.wait_timeout(Duration::from_secs(20)).unwrap().and_then(|status| status.signal()), Some(15));
}

fn wait_for_word(container: &mut skep::Container) {
    let mut word = [0; 3];
    container.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
}

#[test]
fn waiting_with_and_without_patience() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(container.try_wait().unwrap(), None);
    let stdin = container.stdin.take();
    assert_eq!(container.wait_timeout(Duration::from_millis(50)).unwrap(), None);
    let mut polled = [nix::poll::PollFd::new(container.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut polled, 0_u8).unwrap(), 0, "not readable while it runs");
    drop(stdin);
    let mut polled = [nix::poll::PollFd::new(container.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut polled, 20_000_u16).unwrap(), 1, "readable when it has ended");
    assert_eq!(container.try_wait().unwrap().unwrap().code(), Some(0));
    assert_eq!(container.wait().unwrap().code(), Some(0), "and again");
    container.kill(9).unwrap();
}

#[test]
fn the_end_of_the_payload_is_the_end_of_all() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    // A daemon that nobody waits for, stopped, in a session of its own.
    let output = Command::new("sh")
        .args(["-c", "setsid sh -c 'kill -STOP $$; sleep 1000' >/dev/null 2>&1 & sleep 0.1; echo done"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"done\n");
    before.assert_unchanged();
}

#[test]
fn row_119_orphans_are_reaped() {
    let Some(_turn) = turn_to_start() else { return };
    let seen = shell(
        // A process that ends in another's arms is process 1's: no program has to run.
        "i=0; while [ $i -lt 1000 ]; do (: &); i=$((i+1)); done; sleep 0.3;
         cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true; ls -d /proc/[0-9]* | wc -l",
    );
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "0", "zombies");
    assert!(lines[1].parse::<u32>().unwrap() <= 4, "{seen}");
}

#[test]
fn a_dropped_container_is_gone() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for init in [Init::Stub, Init::Payload] {
        let container = Command::new("sleep").arg("1000").init(init).spawn().unwrap();
        let pid = container.id();
        drop(container);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
    before.assert_unchanged();
}

#[test]
fn a_detached_container_goes_on() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [Init::Stub, Init::Payload] {
        let pid = Command::new("sleep").arg("1000").init(init).spawn().unwrap().detach().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let alive = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(alive.is_ok_and(|stat| !stat.contains(") Z ")), "{init:?}");
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
    }
}

#[test]
fn the_container_dies_with_a_killed_embedder() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for child in ["orphan_maker_stub", "orphan_maker_payload", "orphan_maker_paused"] {
        let program = std::env::current_exe().unwrap();
        let mut embedder = std::process::Command::new(program)
            .args(["--exact", child, "--ignored", "--nocapture"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = std::io::BufReader::new(embedder.stdout.take().unwrap());
        let pid = std::io::BufRead::lines(&mut output)
            .map_while(Result::ok)
            .find_map(|line| line.split("started ").nth(1).map(str::to_owned))
            .expect("the embedder says its container's pid");
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        embedder.kill().unwrap();
        embedder.wait().unwrap();
        let began = Instant::now();
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(began.elapsed() < Duration::from_secs(20), "{child}: container {pid} outlived its embedder");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // The file of the locks on ids, which no watcher removes.
    skep::gc().unwrap();
    before.assert_unchanged();
}

#[test]
#[ignore = "run by the_container_dies_with_a_killed_embedder, in a process of its own"]
fn orphan_maker_stub() {
    make_orphan(Init::Stub);
}

#[test]
#[ignore = "run by the_container_dies_with_a_killed_embedder, in a process of its own"]
fn orphan_maker_payload() {
    make_orphan(Init::Payload);
}

#[test]
#[ignore = "run by the_container_dies_with_a_killed_embedder, in a process of its own"]
fn orphan_maker_paused() {
    let mut command = Command::new("sleep");
    command.arg("1000").init(Init::Payload).freezing(skep::spec::Want::IfSupported);
    let container = command.spawn().unwrap();
    // Frozen, it hears no signal; where this user may not freeze, as the others.
    let _ = container.pause();
    println!("started {}", container.id());
    std::thread::sleep(Duration::from_secs(1000));
}

fn make_orphan(init: Init) {
    let mut command = Command::new("sleep");
    command.arg("1000").init(init);
    // With a cgroup where this user may have one, so that there is something to clear up.
    let container = command.pids(50).spawn().or_else(|_| {
        let mut command = Command::new("sleep");
        command.arg("1000").init(init).spawn()
    });
    println!("started {}", container.as_ref().unwrap().id());
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
fn a_start_has_a_deadline() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    match Command::new("true").deadline(Duration::ZERO).spawn() {
        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        Ok(_) => skip("the start was done before the deadline was looked at"),
    }
    before.assert_unchanged();
}

#[test]
fn no_patience_is_too_long() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container = Command::new("true").deadline(Duration::MAX).spawn().unwrap();
    assert!(container.wait_timeout(Duration::MAX).unwrap().unwrap().success());
}

#[test]
fn whoever_waits_hears_the_same() {
    let Some(_turn) = turn_to_start() else { return };
    for _ in 0..20 {
        let container = Command::new("sh").args(["-c", "exit 7"]).init(Init::Payload).spawn().unwrap();
        std::thread::scope(|scope| {
            let look = || {
                loop {
                    if let Some(status) = container.try_wait().unwrap() {
                        return status.code();
                    }
                }
            };
            let both = [scope.spawn(look), scope.spawn(look)];
            for code in both {
                assert_eq!(code.join().unwrap(), Some(7));
            }
        });
    }
}

#[test]
fn a_watcher_that_was_killed_has_a_successor() {
    let Some(_turn) = turn_to_start() else { return };
    // In a process of its own, whose children its watchers are.
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "watcher_killer", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
#[ignore = "run by a_watcher_that_was_killed_has_a_successor, in a process of its own"]
fn watcher_killer() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let start = || Command::new("sleep").arg("1000").init(Init::Payload).spawn();
    let children = || {
        let file = format!("/proc/self/task/{}/children", nix::unistd::gettid());
        // Orphans come to the first thread.
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap()
            + &std::fs::read_to_string(file).unwrap();
        let is_watcher =
            |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"skep-init"));
        text.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_watcher).collect::<Vec<i32>>()
    };
    let first = start().unwrap();
    let second = start().unwrap();
    let watcher = children();
    assert_eq!(watcher.len(), 1, "one for both: {watcher:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", watcher[0])).unwrap();
    let files: Vec<_> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3], files[4], "as many descriptors as it may have");
    let pid = nix::unistd::Pid::from_raw(watcher[0]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    let third = start().unwrap();
    assert_eq!(children().len(), 1, "a successor");
    drop((first, second, third));
}

#[test]
fn a_hundred_containers_at_once() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let containers: Vec<_> = (0..100).map(|_| Command::new("sleep").arg("1000").spawn().unwrap()).collect();
    let mut names: Vec<String> = containers.iter().map(|container| container.machine().to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100, "names are unique");
    drop(containers);
    before.assert_unchanged();
}
