//! System calls of a real start made to fail from outside, one at a time, by
//! strace's fault injection; and calls that are answered with success and not
//! made. A start either fails, and says so, or is no other than undisturbed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use skep_tests::{HostState, Scratch, field, has, is_root, skip, turn_to_start};

/// Calls by which a container is made and its payload confined. No call of the
/// payload's own, `cat`, is among them.
const CALLS: &str = "capset capget chdir clone3 close_range dup3 execveat fchdir fsconfig fsmount fsopen \
    landlock_create_ruleset landlock_add_rule landlock_restrict_self keyctl memfd_create mkdirat mount_setattr \
    move_mount open_tree openat2 personality pivot_root prctl prlimit64 pwrite64 rt_sigaction rt_sigprocmask \
    seccomp sendmsg setgroups sethostname setresgid setresuid setsid signalfd4 socket socketpair symlinkat umask \
    umount2 unshare";

/// Calls that are asked for again what they have brought about. Not of this kind
/// are `landlock_restrict_self` and `mount_setattr`: see SECURITY.md.
const PROVED: &str = "capset fchdir pivot_root seccomp setgroups sethostname setresgid setresuid setsid umask umount2";

/// What may differ from one start to the next.
const VOLATILE: [&str; 17] = [
    "Vm",
    "Rss",
    "Huge",
    "Threads",
    "voluntary",
    "nonvoluntary",
    "Pid",
    "Tgid",
    "PPid",
    "Ngid",
    "NS",
    "Cpus",
    "Mems",
    "Speculation",
    "TracerPid",
    "SigQ",
    "StaBrk",
];

struct Ran {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    /// Calls that were tampered with.
    injected: usize,
}

/// All that it has printed, or its end after a while.
fn ended(mut child: Child, what: &str) -> (ExitStatus, String, String) {
    let streams = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |mut stream: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (stdout, stderr) = (read(Box::new(streams.0)), read(Box::new(streams.1)));
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
            panic!("{what}: the start hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (status, stdout.join().unwrap(), stderr.join().unwrap())
}

/// One start of a payload that says how it is confined.
fn start(scratch: &Scratch, call: &str, how: &str) -> Ran {
    let log = scratch.path().join("log");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&log).arg(format!("--trace={call}")).arg(format!("--inject={call}:{how}"));
    // Of one name, so of one range of ids where root picks it.
    let name = format!("--machine=injected-{}", std::process::id());
    command.arg(env!("CARGO_BIN_EXE_skep")).args(["run", "-q", &name, "--hostname=injected", "--", "cat"]);
    command.args(["/proc/self/status", "/proc/self/mountinfo", "/proc/self/limits", "/proc/sys/kernel/hostname"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (status, stdout, stderr) = ended(command.spawn().unwrap(), &format!("{call}: {how}"));
    let injected = std::fs::read_to_string(&log).unwrap_or_default().matches("(INJECTED)").count();
    Ran { status, stdout: stable(&stdout), stderr, injected }
}

/// Without numbers of processes, memory and mounts.
fn stable(text: &str) -> String {
    let kept = text.lines().filter(|line| !VOLATILE.iter().any(|volatile| line.starts_with(volatile)));
    let line = |line: &str| match line.split_once(" - ") {
        // mountinfo: mount, parent and device come first.
        Some((mount, system)) => format!("{} - {system}\n", mount.splitn(4, ' ').last().unwrap_or_default()),
        None => format!("{line}\n"),
    };
    kept.map(line).collect()
}

/// The n-th call of each process, for every n there is, or for every some.
fn inject(calls: &str, how: &str) {
    let Some(_turn) = turn_to_start() else { return };
    if !has("strace") {
        return skip("strace is not installed");
    }
    let scratch = Scratch::new();
    // A call that nobody makes.
    let undisturbed = start(&scratch, "swapon", how);
    if !undisturbed.status.success() {
        return skip(&format!("nothing can be traced here: {}", undisturbed.stderr));
    }
    assert!(undisturbed.stdout.contains("Seccomp:\t2") && undisturbed.stdout.contains("\ninjected\n"));
    let every: usize = std::env::var("SKEP_INJECT_STEP").ok().and_then(|text| text.parse().ok()).unwrap_or(17);
    let before = HostState::look();
    let (mut failed, mut same) = (0, 0);
    for call in calls.split_whitespace() {
        let first = 1..=4;
        for number in first.clone().chain((5..).step_by(every)) {
            let ran = start(&scratch, call, &format!("{how}:when={number}"));
            if ran.injected == 0 {
                assert!(ran.status.success(), "{call}: {}", ran.stderr);
                break;
            }
            let what = format!("{call} {number}, {how}: {:?}: {}", ran.status, ran.stderr);
            if ran.status.success() {
                let lines = ran.stdout.lines().zip(undisturbed.stdout.lines());
                let differs = lines.filter(|(now, before)| now != before).collect::<Vec<_>>();
                assert!(ran.stdout == undisturbed.stdout, "{what}{differs:#?}");
                same += 1;
                continue;
            }
            // The standard library gives up before `main` where it cannot ignore SIGPIPE.
            let aborted = call == "rt_sigaction" && ran.status.signal() == Some(6);
            assert!(ran.status.code() == Some(1) || aborted, "{what}");
            assert_eq!(ran.stdout, "", "it failed and was executed: {what}");
            assert!(!ran.stderr.is_empty(), "{what}");
            failed += 1;
        }
        before.assert_unchanged();
    }
    eprintln!("{how}: {failed} starts failed, {same} were as if undisturbed");
}

#[test]
fn a_call_that_fails_ends_the_start() {
    inject(CALLS, "error=EPERM");
}

#[test]
fn a_call_that_does_nothing_and_says_it_did_is_found_out() {
    inject(PROVED, "retval=0");
}

/// Of these calls of `prctl(2)` those that only ask may answer 0.
#[test]
fn a_capability_that_is_not_dropped_is_found_out() {
    inject("prctl", "retval=0");
}

/// The process that is to become the payload, while strace keeps it before its exec.
fn before_its_exec(launcher: u32) -> u32 {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < end, "nobody is before its exec");
        let numbers = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let status = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // Process 2 of a stub init, all ids changed and filtered.
        let is_it = |pid: &u32| {
            let status = status(*pid);
            let second = field(&status, "NSpid").split_whitespace().nth(1) == Some("2");
            second && field(&status, "Seccomp") == "2" && is_below(*pid, launcher)
        };
        if let Some(found) = numbers.filter(|pid| *pid > 1).find(is_it) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_below(mut pid: u32, above: u32) -> bool {
    while pid > 1 && pid != above {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        pid = field(&status, "PPid").parse().unwrap_or(0);
    }
    pid == above
}

/// Once it has the payload's ids and until the exec, nobody with the same ids looks
/// into it: it is still the program that sets up.
#[test]
fn row_050_memory_stays_hidden_until_the_exec() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("strace") {
        return skip("strace is not installed");
    }
    let scratch = Scratch::new();
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(scratch.path().join("log"));
    command.args(["--trace=execve", "--inject=execve:delay_enter=3000000:when=1"]);
    command.arg(env!("CARGO_BIN_EXE_skep")).args(["run", "-q"]);
    if is_root() {
        // No user namespace that would keep others away.
        command.args(["--private-users=no", "--uid=1000"]);
    }
    command.args(["--", "true"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap();
    let memory = format!("/proc/{}/mem", before_its_exec(child.id()));
    let mut neighbour = if is_root() {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&memory).unwrap()), 0, "{memory}");
        let mut neighbour = Command::new("sh");
        neighbour.uid(1000).gid(1000);
        neighbour
    } else {
        // Who made the user namespace has all rights over it.
        let mut neighbour = Command::new("unshare");
        neighbour.args(["--user", "sh"]);
        neighbour
    };
    let looked = neighbour.args(["-c", "exec 9<$0 && echo OPEN", &memory]).output().unwrap();
    assert!(std::fs::metadata(&memory).is_ok(), "it has gone on meanwhile");
    assert!(!String::from_utf8_lossy(&looked.stdout).contains("OPEN"), "{memory}");
    assert!(String::from_utf8_lossy(&looked.stderr).contains("ermission denied"), "{looked:?}");
    let (status, _, stderr) = ended(child, "a slow exec");
    assert!(status.success(), "{stderr}");
}
