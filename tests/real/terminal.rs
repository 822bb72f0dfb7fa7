//! The payload's terminal, as the payload and the kernel see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use skep::spec::{Init, User};
use skep::{Command, Container, Stdio, Terminal};
use skep_tests::{HostState, is_root, skip, turn_to_start};

/// What is printed until `is` holds, or the terminal ends.
fn until(terminal: &mut Terminal, is: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    let mut text = String::new();
    while !is(&text) {
        let left = u16::try_from(end.saturating_duration_since(Instant::now()).as_millis()).unwrap();
        assert!(left > 0, "nothing more came after {text:?}");
        if poll(&mut [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)], left).unwrap() == 0 {
            continue;
        }
        let mut buffer = [0; 4096];
        match terminal.read(&mut buffer).unwrap() {
            0 => break,
            length => text += &String::from_utf8_lossy(&buffer[..length]),
        }
    }
    text
}

fn start(command: &mut Command) -> (Container, Terminal) {
    let mut container = command.spawn().unwrap_or_else(|error| panic!("{error}"));
    let terminal = container.terminal.take().expect("a terminal");
    (container, terminal)
}

/// The lines that a script prints on its terminal.
fn lines(command: &mut Command) -> Vec<String> {
    let (mut container, mut terminal) = start(command);
    let text = until(&mut terminal, |_| false);
    let status = container.wait().unwrap();
    assert!(status.success(), "{status}: {text}");
    text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

const LOOK: &str = "
    tty; stty size; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2
    for place in /dev/console /proc/self/fd/0 /dev/pts/0; do stat -L -c '%t:%T %i %u' $place; done
    : > /dev/tty && : > /dev/console && echo open
    ls /dev/pts /proc/self/fd | tr '\\n' ' '; echo
    cut -d' ' -f1,5,6,7,8 /proc/self/stat
    exec cat /proc/self/mountinfo";

fn assert_own(command: &mut Command, user: &str) {
    let seen = lines(command);
    assert_eq!(seen[..5], ["/dev/pts/0", "33 101", "/dev/pts/0", "/dev/pts/0", "/dev/pts/0"], "{seen:?}");
    assert!(seen[5].starts_with("88:0 ") && seen[5].ends_with(&format!(" {user}")), "{seen:?}");
    assert_eq!((&seen[5], &seen[5]), (&seen[6], &seen[7]), "the console is the stream is the terminal");
    assert_eq!(seen[8], "open");
    // 3 is the directory that ls reads.
    assert_eq!(seen[9], "/dev/pts: 0 ptmx  /proc/self/fd: 0 1 2 3 ".trim_end().to_owned() + " ", "{seen:?}");
    let numbers: Vec<&str> = seen[10].split(' ').collect();
    assert_eq!(numbers[3], "34816", "the controlling terminal is 136:0: {seen:?}");
    let console = seen.iter().find(|line| line.split(' ').nth(4) == Some("/dev/console")).unwrap();
    assert!(console.contains(" /0 /dev/console ") && console.contains("nosuid,noexec"), "{console}");
    assert!(console.contains(" - devpts "), "{console}");
}

#[test]
fn row_006_the_streams_are_a_terminal_of_the_containers_own() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for init in [Init::Stub, Init::Payload] {
        assert_own(Command::new("sh").args(["-c", LOOK]).init(init).terminal(33, 101), "0");
    }
    before.assert_unchanged();
}

#[test]
fn the_terminal_is_the_payloads_users() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", LOOK]).user(User::Ids { uid: 7, gid: 7 }).terminal(33, 101);
    if let Err(error) = command.plan() {
        assert!(!skep_tests::is_root(), "{error}");
        return skip(&error.to_string());
    }
    assert_own(&mut command, "7");
}

#[test]
fn the_profile_of_nspawn_has_one_too() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("its user namespace is the host's: root only");
    }
    let mut command = Command::of(skep::spec::Profile::Nspawn, "sh");
    command.args(["-c", LOOK]).root("/").ephemeral(true).terminal(33, 101);
    assert_own(&mut command, "0");
}

#[test]
fn job_control_works() {
    let Some(_turn) = turn_to_start() else { return };
    let (mut container, mut terminal) = start(Command::new("sh").arg("-i").env("PS1", "ready> ").terminal(24, 80));
    let said = until(&mut terminal, |text| text.contains("ready> "));
    assert!(!said.contains("job control"), "{said}");
    terminal.write_all(b"sleep 1000\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    terminal.write_all(&[26]).unwrap();
    until(&mut terminal, |text| text.contains("Stopped") && text.ends_with("ready> "));
    terminal.write_all(b"fg\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    terminal.write_all(&[3]).unwrap();
    until(&mut terminal, |text| text.ends_with("ready> "));
    terminal.write_all(b"echo [$?]; jobs; exit 3\n").unwrap();
    let said = until(&mut terminal, |_| false);
    assert!(said.contains("[130]"), "{said}");
    assert_eq!(container.wait().unwrap().code(), Some(3));
}

#[test]
fn a_change_of_size_arrives() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let (mut container, mut terminal) = start(Command::new("sh").args(["-c", script]).terminal(24, 80));
    assert_eq!((terminal.size().unwrap().rows, terminal.size().unwrap().columns), (24, 80));
    until(&mut terminal, |text| text.contains("ready"));
    terminal.resize(50, 132).unwrap();
    let said = until(&mut terminal, |_| false);
    assert!(said.contains("50 132"), "{said}");
    assert!(container.wait().unwrap().success());
}

#[test]
fn a_stream_beside_the_terminal_can_be_something_else() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "tty; echo typed > /dev/tty; [ -t 2 ] && echo two";
    let (container, mut terminal) =
        start(Command::new("sh").args(["-c", script]).terminal(24, 80).stdout(Stdio::piped()));
    let output = container.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"/dev/pts/0\ntwo\n");
    assert_eq!(until(&mut terminal, |_| false), "typed\r\n");
}

#[test]
fn the_stub_init_does_not_hold_it() {
    let Some(_turn) = turn_to_start() else { return };
    let (container, terminal) = start(Command::new("cat").terminal(24, 80));
    let look = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", container.id())).ok()?;
        Some(files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).collect::<Vec<_>>())
    };
    let Some(mut files) = look() else {
        return skip("the stub init is not dumpable, so an ordinary user cannot look");
    };
    // It lets go of the last of the start when it hears of the payload's exec.
    for _ in 0..200 {
        if files.len() == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        files = look().unwrap();
    }
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| !file.to_string_lossy().contains("pts")), "{files:?}");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", container.id())).unwrap();
    assert_eq!(stat.rsplit(')').next().unwrap().split_whitespace().nth(4), Some("0"), "{stat}");
    drop(terminal);
}

#[test]
fn a_stream_of_a_terminal_that_is_not_there_is_refused() {
    let error = Command::new("true").stdin(Stdio::terminal()).plan().unwrap_err();
    assert!(error.to_string().contains("terminal"), "{error}");
}
