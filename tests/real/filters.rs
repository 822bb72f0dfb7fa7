//! The system-call filter with what a caller changes of it, asked of the kernel
//! from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_arch = "x86_64")]

use skep::spec::{Denial, Family, Socket};
use skep::sys::Errno;
use skep::{Command, Outcome};
use skep_tests::{run, turn_to_start};

/// Makes calls with perl and gives, for each, `ok` or the number of the error.
fn answers(calls: &[&str], change: impl FnOnce(&mut Command)) -> Vec<String> {
    let calls: Vec<String> =
        calls.iter().map(|call| format!("$r = syscall({call}); print $r < 0 ? $!+0 : \"ok\", \"\\n\";")).collect();
    let mut command = Command::new("perl");
    command.arg("-e").arg(calls.concat());
    change(&mut command);
    run(&mut command).lines().map(str::to_owned).collect()
}

// Arguments with which the kernel refuses: EINVAL 22, EFAULT 14, EBADF 9, ESRCH 3.
const BPF: &str = "321, 9999, 0, 0";
const KCMP: &str = "312, 0, 0, 0, 0, 0";
const PERSONALITY: &str = "135, 0x40000";
const UNAME: &str = "63, 0";
const SYNC: &str = "162";

#[test]
fn what_strict_says_without_changes() {
    let Some(_turn) = turn_to_start() else { return };
    assert_eq!(answers(&[BPF, KCMP, PERSONALITY, UNAME, SYNC], |_| ()), ["1", "1", "1", "14", "ok"]);
}

#[test]
fn calls_are_opened_and_closed() {
    let Some(_turn) = turn_to_start() else { return };
    let found = answers(&[BPF, KCMP, PERSONALITY, UNAME, SYNC], |command| {
        command
            .allow_system_calls(["kcmp"])
            .danger_allow_system_call("personality")
            .deny_system_calls(["uname"], Denial::Errno(Errno::ENOSYS))
            .deny_system_calls(["@sync"], Denial::EPERM);
    });
    assert_eq!(found, ["1", "3", "ok", "38", "1"]);
}

#[test]
fn a_call_that_kills_ends_the_payload() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("perl");
    command.arg("-e").arg("syscall(162); exit 0").deny_system_calls(["sync"], Denial::Kill);
    let status = command.status().unwrap();
    assert_eq!(status.signal(), Some(31), "{status}");
}

#[test]
fn sockets_by_family() {
    let Some(_turn) = turn_to_start() else { return };
    // UNIX, INET, INET6, NETLINK for routes and for kobject events, VSOCK.
    let sockets = ["41, 1, 1, 0", "41, 2, 1, 0", "41, 10, 1, 0", "41, 16, 3, 0", "41, 16, 3, 15"];
    assert_eq!(answers(&sockets, |_| ()), ["ok", "ok", "ok", "ok", "97"]);
    let only = |command: &mut Command| {
        command.socket_families([Family::UNIX, Family::INET6]);
    };
    assert_eq!(answers(&sockets, only), ["ok", "97", "ok", "97", "97"]);
    let none = |command: &mut Command| {
        command.socket_families([]);
    };
    assert_eq!(answers(&sockets, none), ["97"; 5]);
    let opened = |command: &mut Command| {
        command.danger_allow_socket(Socket::new(Family::NETLINK, 15));
    };
    assert_eq!(answers(&sockets, opened), ["ok"; 5]);
}

#[test]
fn the_report_names_what_is_open() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container =
        Command::new("true").danger_allow_system_call("bpf").allow_system_calls(["@ipc"]).spawn().unwrap();
    assert_eq!(container.report().of("system-call floor"), Some(&Outcome::Off("open: bpf".into())));
    let Some(Outcome::Applied(changes)) = container.report().of("system-call changes") else { panic!() };
    assert!(changes.contains("process_vm_readv process_vm_writev"), "{changes}");
    container.wait().unwrap();
    let mut container = Command::new("true").spawn().unwrap();
    assert!(matches!(container.report().of("system-call floor"), Some(Outcome::Applied(_))));
    container.wait().unwrap();
}

#[test]
fn mistakes_say_where_and_what_to_do() {
    for (item, words) in [("bfp", "neither a system call"), ("bpf", "danger_allow"), ("@module", "one by one")] {
        let error = Command::new("true").allow_system_calls([item]).plan().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("Command::allow_system_calls"), "{error}");
    }
    let error = Command::new("true").danger_no_filter().deny_system_calls(["bpf"], Denial::EPERM).plan().unwrap_err();
    assert!(error.to_string().contains("switched off"), "{error}");
}
