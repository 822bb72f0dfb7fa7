//! Calls that the embedder answers, as the payload sees the answers and the
//! kernel the calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use skep::spec::{Denial, Init, User};
use skep::sys::Errno;
use skep::{Command, Container, Listener, NotifiedCall, Outcome, Stdio};
use skep_tests::{HostState, turn_to_start};

/// Prints what each call gives: its value, or the number of its error.
fn perl(calls: &[&str]) -> Command {
    let mut command = Command::new("perl");
    let lines: Vec<String> =
        calls.iter().map(|call| format!("$! = 0; $r = syscall({call}); print $r < 0 ? -$! : $r, qq(\\n);")).collect();
    command.arg("-e").arg(format!("$|=1; $d = qq(/tmp/made\\0); {}", lines.concat())).stdout(Stdio::piped());
    command
}

fn start(command: &mut Command) -> (Container, Listener) {
    let mut container = command.spawn().unwrap_or_else(|error| panic!("{error}"));
    let listener = container.listener.take().expect("a listener");
    (container, listener)
}

fn lines(container: Container) -> Vec<String> {
    let output = container.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn next(listener: &Listener) -> NotifiedCall {
    listener.receive(Some(Duration::from_secs(20))).unwrap().expect("a call")
}

#[cfg(target_arch = "x86_64")]
const CALLS: [&str; 4] = ["83, $d, 0751", "83, $d, 0", "63, 0", "83, $d, 0700"];
#[cfg(target_arch = "aarch64")]
const CALLS: [&str; 4] = ["34, -100, $d, 0751", "34, -100, $d, 0", "160, 0", "34, -100, $d, 0700"];
#[cfg(target_arch = "x86_64")]
const MKDIR: (&str, usize) = ("mkdir", 1);
#[cfg(target_arch = "aarch64")]
const MKDIR: (&str, usize) = ("mkdirat", 2);

#[test]
fn the_embedder_answers_with_a_value_an_error_or_the_kernel() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for init in [Init::Stub, Init::Payload] {
        let mut command = perl(&[CALLS[0], CALLS[1], CALLS[2], CALLS[3], "39"]);
        let (container, listener) = start(command.notify_system_calls([MKDIR.0, "uname"]).init(init));
        let said = container.report().of("system-call listener");
        assert!(matches!(said, Some(Outcome::Applied(how)) if how.contains(MKDIR.0)), "{said:?}");

        let mut call = next(&listener);
        // Whatever perl itself asks before, such as who it is.
        while call.name() == Some("uname") && call.data.args[0] != 0 {
            assert!(listener.danger_continue(&call).unwrap());
            call = next(&listener);
        }
        assert_eq!((call.name(), call.data.args[MKDIR.1]), (Some(MKDIR.0), 0o751));
        let status = std::fs::read_to_string(format!("/proc/{}/status", call.pid)).unwrap();
        assert!(listener.waits(&call).unwrap());
        assert!(status.starts_with("Name:\tperl\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        if init == Init::Stub {
            assert_eq!(field("PPid:"), container.id().to_string());
        }
        assert!(listener.respond(&call, 4242).unwrap());
        assert!(!listener.respond(&call, 0).unwrap() && !listener.waits(&call).unwrap(), "answered once");

        let call = next(&listener);
        assert_eq!((call.name(), call.data.args[MKDIR.1]), (Some(MKDIR.0), 0));
        assert!(listener.fail(&call, Errno::EDQUOT).unwrap());
        let call = next(&listener);
        assert_eq!(call.name(), Some("uname"));
        assert!(listener.danger_continue(&call).unwrap());
        let call = next(&listener);
        assert!(listener.danger_continue(&call).unwrap());
        let pid = if init == Init::Stub { "2" } else { "1" };
        // EDQUOT; of the kernel EFAULT, for it gets no place for the answer.
        let expected = ["4242", "-122", "-14", "0", pid];
        assert_eq!(lines(container), expected);
        // Nobody is left to ask.
        let begun = Instant::now();
        assert_eq!(listener.receive(None).unwrap(), None);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    before.assert_unchanged();
}

#[test]
fn without_a_listener_calls_are_not_there() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    // Dropped, also while a call waits.
    let (container, listener) = start(perl(&[CALLS[0], CALLS[1]]).notify_system_calls([MKDIR.0]));
    let call = next(&listener);
    assert_eq!(listener.receive(Some(Duration::from_millis(50))).unwrap(), None, "one waits, no other comes");
    assert!(listener.waits(&call).unwrap());
    drop(listener);
    assert_eq!(lines(container), ["-38", "-38"]);
    // Whoever only waits, or takes the output, answers nothing.
    let container = perl(&[CALLS[0]]).notify_system_calls([MKDIR.0]).spawn().unwrap();
    assert_eq!(lines(container), ["-38"]);
    let mut quiet = perl(&[CALLS[0]]);
    assert!(quiet.stdout(Stdio::null()).notify_system_calls([MKDIR.0]).status().unwrap().success());
    before.assert_unchanged();
}

/// The payload has its streams, and nothing that answers.
#[test]
fn the_payload_does_not_hold_it() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "ls -l /proc/1/fd /proc/self/fd"]).stdout(Stdio::piped()).init(Init::Payload);
    let (container, _listener) = start(command.notify_system_calls(["mount"]));
    let seen = lines(container).join("\n");
    assert!(!seen.contains("seccomp") && seen.contains("/proc/self/fd"), "{seen}");
}

/// A call of a process that is killed while it waits, and a container that is.
#[test]
fn who_waits_can_be_killed() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let (mut container, listener) = start(perl(&[CALLS[0]]).notify_system_calls([MKDIR.0]));
    let call = next(&listener);
    container.kill(9).unwrap();
    assert_eq!(container.wait().unwrap().signal(), Some(9));
    assert!(!listener.waits(&call).unwrap() && !listener.respond(&call, 0).unwrap());
    drop((container, listener));
    let (container, listener) = start(perl(&[CALLS[0]]).notify_system_calls([MKDIR.0]));
    let _call = next(&listener);
    drop(container);
    assert_eq!(listener.receive(None).unwrap(), None);
    drop(listener);
    before.assert_unchanged();
}

/// The filter before the last privileges go, for a user, and another profile.
#[test]
fn wherever_the_filter_stands_in_the_start() {
    let Some(_turn) = turn_to_start() else { return };
    type Change = fn(&mut Command);
    let changes: [Change; 4] = [
        |command| {
            command.danger_new_privileges();
        },
        |command| {
            command.danger_new_privileges().user(User::Ids { uid: 0, gid: 0 }).init(Init::Payload);
        },
        |command| {
            command.terminal(24, 80).stdout(Stdio::piped()).current_dir("/usr");
        },
        |command| {
            command.capabilities(skep::spec::CapabilityList(skep::sys::abi::CapabilitySet::EMPTY.with(10)));
        },
    ];
    for change in changes {
        let mut command = perl(&[CALLS[0]]);
        change(command.notify_system_calls([MKDIR.0, "@swap"]));
        let (container, listener) = start(&mut command);
        let call = next(&listener);
        assert!(listener.respond(&call, 7).unwrap());
        assert_eq!(lines(container), ["7"]);
    }
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    for (item, words) in [
        ("execve", "made by the start itself"),
        ("write", "made by the start itself"),
        ("moutn", "neither a system call"),
        ("bpf", "another list names it too"),
    ] {
        let mut command = Command::new("true");
        command.deny_system_calls(["bpf"], Denial::EPERM).notify_system_calls([item]);
        let error = command.plan().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("Command::notify_system_calls"), "{error}");
    }
    let mut command = Command::new("true");
    assert!(command.notify_system_calls(["prctl"]).plan().is_ok());
    let error = command.danger_new_privileges().plan().unwrap_err().to_string();
    assert!(error.contains("prctl is made by the start itself"), "{error}");
    let error = Command::new("true").danger_no_filter().notify_system_calls(["mount"]).plan().unwrap_err();
    assert!(error.to_string().contains("switched off"), "{error}");
}

/// Its owner can pass it on, and whoever gets it goes on with it.
#[test]
fn it_is_a_descriptor() {
    let Some(_turn) = turn_to_start() else { return };
    let (container, listener) = start(perl(&[CALLS[0]]).notify_system_calls([MKDIR.0]));
    let copy = Listener::from(listener.as_fd().try_clone_to_owned().unwrap());
    drop(OwnedFd::from(listener));
    let call = next(&copy);
    assert!(copy.respond(&call, 1).unwrap());
    assert_eq!(lines(container), ["1"]);
    let null = Listener::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    let error = null.receive(None).unwrap_err().to_string();
    assert!(error.contains("ENOTTY"), "{error}");
}
