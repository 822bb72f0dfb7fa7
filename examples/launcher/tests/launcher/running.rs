//! `skep run`: streams, signals, exit codes.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;

use crate::stand::{SKEP, command, containers, ended, send, skep, skep_with, unique, until};

/// Leaves the test where no container can be started.
macro_rules! needs_containers {
    () => {
        let Some(_containers) = containers(module_path!()) else { return };
    };
}

#[test]
fn the_exit_code_is_the_payloads() {
    needs_containers!();
    for (words, code) in [
        (&["run", "--", "sh", "-c", "exit 7"][..], 7),
        (&["run", "true"], 0),
        (&["run", "--as-pid2=no", "sh", "-c", "exit 9"], 9),
        (&["run", "sh", "-c", "exit 133"], 1),
        (&["run", "sh", "-c", "kill -KILL $$"], 255),
    ] {
        let ran = skep(words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
    }
}

#[test]
fn a_run_reads_like_this() {
    needs_containers!();
    let web = unique("web");
    let ran = skep(["run", "-M", &web, "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(ran.stdout, "out\n");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            format!("Spawning container {web} on /usr over an empty root."),
            format!("Container {web} running: Ready."),
            "err".to_owned(),
            format!("Container {web} failed: exit code 7"),
        ]
    );
    let quiet = skep(["run", "-q", "sh", "-c", "echo out; echo err >&2; kill -9 $$"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn json_is_one_object_a_line() {
    needs_containers!();
    let web = unique("web2");
    let ran = skep(["run", "--json", "--report", "-M", &web, "sh", "-c", "exit 3"]);
    let events: Vec<serde_json::Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["starting", "started", "report", "ready", "ended"]);
    assert_eq!((&events[4]["code"], &events[4]["exit"], &events[4]["machine"]), (&3.into(), &3.into(), &web.into()));
    let ran = skep(["run", "--json", "no-such-command"]);
    let last: serde_json::Value = serde_json::from_str(ran.stderr.lines().last().unwrap_or_default()).unwrap();
    assert_eq!((ran.code, &last["event"]), (Some(1), &"error".into()));
}

#[test]
fn the_report_names_what_is_in_force() {
    needs_containers!();
    let ran = skep(["run", "-q", "--report", "--no-new-privileges=no", "true"]);
    assert!(ran.stderr.contains("capabilities") && ran.stderr.contains("namespace pid"), "{ran:?}");
    assert!(ran.stderr.lines().any(|line| line.contains("privileges") && line.contains(" off ")), "{ran:?}");
}

#[test]
fn a_mebibyte_comes_back_from_cat_as_it_was() {
    needs_containers!();
    let input: Vec<u8> = (0..1_048_576_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (ran, output) = skep_with(&input, &["run", "-q", "cat"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(output == input, "{} bytes came back", output.len());
    let (ran, output) = skep_with(&input, &["run", "--pipe", "cat"]);
    assert!(ran.code == Some(0) && output == input && ran.stderr.is_empty(), "{}", ran.stderr);
}

#[test]
fn nothing_is_lost_at_the_end() {
    needs_containers!();
    let ran = skep(["run", "-q", "sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; kill -9 $$"]);
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (300_000, 300_000));
}

#[test]
fn both_streams_into_one_pipe() {
    needs_containers!();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut launcher =
        command(["run", "-q", "sh", "-c", "head -c 200000 /dev/zero >&2 & head -c 200000 /dev/zero; wait"]);
    let mut child = launcher.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(launcher);
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(all.len(), 400_000);
}

#[test]
fn a_payload_that_does_not_read_blocks_nothing() {
    needs_containers!();
    let (ran, _) = skep_with(&vec![b'x'; 4 << 20], &["run", "-q", "sh", "-c", "echo here; exit 4"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "here\n"));
}

#[test]
fn a_reader_that_goes_away_is_success() {
    needs_containers!();
    let mut child = command(["run", "-q", "yes"]).spawn().unwrap();
    until(&mut child, "y\n");
    drop(child.stdout.take());
    let ran = ended(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn sigterm_stops_in_order() {
    needs_containers!();
    let web = unique("web3");
    // Not to be ignored, whoever started the tests with `nohup`; or just that.
    for (signal, hangup) in [
        (Signal::SIGTERM, "--default-signal=HUP"),
        (Signal::SIGINT, "--default-signal=HUP"),
        (Signal::SIGHUP, "--default-signal=HUP"),
        (Signal::SIGTERM, "--ignore-signal=HUP"),
    ] {
        let mut command = Command::new("env");
        command.args([hangup, SKEP, "run", "-M", &web, "sh", "-c", "echo up; exec sleep 1000"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(&mut child, "up\n");
        if hangup == "--ignore-signal=HUP" {
            send(&child, Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(200));
            assert!(child.try_wait().unwrap().is_none(), "a hangup under nohup is no end");
        }
        send(&child, signal);
        let ran = ended(child);
        assert_eq!(ran.code, Some(0), "{signal} {ran:?}");
        assert_eq!(ran.stderr.lines().last(), Some(format!("Container {web} stopped.").as_str()));
    }
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let mut child = command(["run", "-q", "sh", "-c", script]).spawn().unwrap();
    until(&mut child, "up\n");
    send(&child, Signal::SIGTERM);
    let ran = ended(child);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), "bye\n"));
}

#[test]
fn the_kill_signal_is_the_one_that_was_chosen() {
    needs_containers!();
    let script = "trap 'exit 6' USR1; echo up; while :; do sleep 0.05; done";
    let mut child = command(["run", "-q", "--kill-signal=USR1", "sh", "-c", script]).spawn().unwrap();
    until(&mut child, "up\n");
    send(&child, Signal::SIGINT);
    assert_eq!(ended(child).code, Some(6));
}

#[test]
fn a_second_signal_kills_at_once() {
    needs_containers!();
    for stub in ["yes", "no"] {
        let script = "trap : TERM; echo up; while :; do sleep 0.05; done";
        let mut child = command(["run", "-q", &format!("--as-pid2={stub}"), "sh", "-c", script]).spawn().unwrap();
        until(&mut child, "up\n");
        let begin = Instant::now();
        send(&child, Signal::SIGTERM);
        // Two of one kind at a time would be one.
        send(&child, Signal::SIGINT);
        while child.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(8) {
            send(&child, Signal::SIGINT);
            std::thread::sleep(Duration::from_millis(20));
        }
        let ran = ended(child);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(begin.elapsed() < Duration::from_secs(8), "did not wait for the grace");
    }
}

#[test]
fn the_container_ends_with_a_launcher_that_is_killed() {
    needs_containers!();
    for stub in ["yes", "no"] {
        // The payload alone holds the other end of this pipe in the end.
        let mut child =
            command(["run", "--pipe", &format!("--as-pid2={stub}"), "sh", "-c", "echo up; exec sleep 1000"])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
        until(&mut child, "up\n");
        send(&child, Signal::SIGKILL);
        let stdout = child.stdout.take().unwrap();
        let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let gone = poll(&mut polled, 10_000_u16).unwrap();
        assert_eq!(gone, 1, "the payload (stub: {stub}) lives on");
        let _ = child.wait();
    }
}

#[test]
fn readiness_is_the_payloads_word() {
    needs_containers!();
    let probe = skep(["run", "-q", "perl", "-e", "use Socket; exit 0"]);
    if probe.code != Some(0) {
        eprintln!("SKIP: readiness: no perl in the container to speak with: {}", probe.stderr.trim());
        return;
    }
    let script = r#"use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
        send(S, "STATUS=wait\e[2J", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!";
        send(S, "READY=1\nSTATUS=Ready.", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!";"#;
    let web = unique("web4");
    let ran = skep(["run", "-M", &web, "--notify-ready=yes", "perl", "-e", script]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            format!("Spawning container {web} on /usr over an empty root."),
            format!(r"Container {web} running: wait\u{{1b}}[2J"),
            format!("Container {web} running: Ready."),
            format!("Container {web} exited successfully."),
        ],
        "{ran:?}"
    );
}

#[test]
fn options_reach_the_container() {
    needs_containers!();
    let text = |words: &[&str]| {
        let ran = skep(["run", "-q"].iter().chain(words));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    assert_eq!(text(&["--hostname=inside", "uname", "-n"]), "inside\n");
    assert_eq!(text(&["-E", "A=a b", "sh", "-c", "echo \"$A\""]), "a b\n");
    assert_eq!(text(&["--chdir=/usr/bin", "pwd"]), "/usr/bin\n");
    assert_eq!(text(&["--umask=0077", "sh", "-c", "umask"]), "0077\n");
    assert_eq!(text(&["--rlimit=NOFILE=77", "sh", "-c", "ulimit -n"]), "77\n");
    assert_eq!(text(&["-u7:8", "sh", "-c", "id -u; id -g"]), "7\n8\n");
    assert_eq!(text(&["--tmpfs=/t:mode=0700", "stat", "-c%a", "/t"]), "700\n");
    assert_eq!(text(&["--as-pid2=no", "sh", "-c", "echo $$"]), "1\n");
    assert_ne!(text(&["sh", "-c", "echo $$"]), "1\n");
    assert_eq!(text(&["--", "echo", "-x", "--"]), "-x --\n");
}

/// Runs with descriptor `number` open on a file, by way of a shell, and gives the events in it.
fn with_status_fd(number: u32, words: &str) -> (crate::stand::Ran, Vec<serde_json::Value>) {
    let scratch = crate::stand::Scratch::new(&format!("status-{number}-{}", words.len()));
    let file = scratch.file("events", "");
    let script = format!("exec {} {words} {number}>{file}", crate::stand::SKEP);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = ended(shell.spawn().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    (ran, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn events_go_to_the_descriptor_that_was_named() {
    needs_containers!();
    let web = unique("web5");
    let (ran, events) = with_status_fd(3, &format!("run -q -M {web} --status-fd=3 sh -c 'ls /proc/self/fd; exit 4'"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(4), ""), "{ran:?}");
    assert_eq!(ran.stdout, "0\n1\n2\n3\n", "the last is ls's own: the container has no descriptor of the launcher's");
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["starting", "started", "ready", "ended"]);
    assert!(events.iter().all(|event| event["machine"] == web.as_str()));
    assert!(events[1]["pid"].as_u64().is_some_and(|pid| pid > 1));
    assert_eq!((&events[3]["code"], &events[3]["exit"]), (&4.into(), &4.into()));
    // Not in place of the lines, but beside them; and a failure is an event too.
    let (ran, events) = with_status_fd(7, &format!("run -M {web} --status-fd=7 --report /no/such/program"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.starts_with("Spawning container web"), "{ran:?}");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "error");
    assert!(last["message"].as_str().unwrap().contains("/no/such/program") && last["remedy"].is_string(), "{last}");
}

#[test]
fn a_status_pipe_that_nobody_reads_stops_nothing() {
    needs_containers!();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = ended(command(["run", "-q", "--status-fd=1", "sh", "-c", "exit 3"]).stdout(writer).spawn().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""));
}

/// As in a rootless container, and in `unshare -r`: capabilities, few ids,
/// perhaps the mounts of somebody else.
#[test]
fn root_of_a_user_namespace_runs_containers() {
    needs_containers!();
    for namespaces in ["-r", "-rm"] {
        let unshare = |words: &[&str]| {
            let mut command = std::process::Command::new("unshare");
            command.arg(namespaces).args(words).stdin(Stdio::null()).output()
        };
        match unshare(&["true"]) {
            Ok(output) if output.status.success() => {}
            _ => return eprintln!("SKIP: root of a user namespace: unshare {namespaces} does not work here"),
        }
        let ran = unshare(&[crate::stand::SKEP, "run", "-q", "sh", "-c", "cat /proc/self/uid_map"]).unwrap();
        assert!(ran.status.success(), "{namespaces}: {ran:?}");
        let map: Vec<_> = std::str::from_utf8(&ran.stdout).unwrap().split_whitespace().collect();
        assert_eq!(map, ["0", "0", "1"], "{namespaces}");
    }
    // Of no kind of namespace more.
    let script = format!("echo 0 >/proc/sys/user/max_pid_namespaces; exec {} run -q true", crate::stand::SKEP);
    let ran = std::process::Command::new("unshare").args(["-r", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && said.contains("sysctl user.max_*_namespaces"), "{ran:?}");
    // Another's /proc, whose numbers are of other processes.
    let ran = std::process::Command::new("unshare").args(["-rpf", crate::stand::SKEP, "run", "-q", "true"]).output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && said.contains("another process-id namespace"), "{ran:?}");
}

/// The caller's limits are met by an error, not by a signal.
#[test]
fn what_the_caller_has_run_out_of_is_named() {
    needs_containers!();
    for (limit, named) in [("ulimit -f 0", "ulimit -f"), ("ulimit -n 6", "ulimit -n")] {
        let script = format!("{limit}; exec {} run -q true", crate::stand::SKEP);
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(1) && said.contains(named), "{limit}: {ran:?}");
    }
}

/// A stream of the caller's that is closed or full ends nothing too early, and
/// is no success where something was to be written.
#[test]
fn streams_that_are_closed_or_full() {
    needs_containers!();
    for (script, code) in [
        ("run -q true <&-", 0),
        ("run -q cat <&-", 0),
        ("run --pipe cat <&-", 0),
        ("run -q echo x >&-", 0),
        ("run sh -c 'echo x; echo y >&2; exit 3' 2>&-", 3),
        ("run true <&- >&- 2>&-", 0),
        ("run -q echo x >/dev/full", 1),
        ("run -q head -c 1000000 /dev/zero >/dev/full", 1),
        ("list >/dev/full", 0),
        ("--help >/dev/full", 1),
    ] {
        let line = format!("exec {SKEP} {script}");
        let ran = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        // Where nothing is listed, nothing is written.
        let fits = ran.status.code() == Some(code) || script.starts_with("list");
        assert!(
            fits && said.contains("ENOSPC (no space left on device)") == (ran.status.code() == Some(1)),
            "{script}: {ran:?}"
        );
    }
}

/// A payload that ignores SIGPIPE learns by the error, and its code is its own.
#[test]
fn a_reader_that_goes_away_is_told_to_the_payload() {
    needs_containers!();
    let script = "trap '' PIPE; yes 2>/dev/null; exit 3";
    for console in ["relay", "pipe"] {
        let mut child = command(["run", "-q", "--console", console, "sh", "-c", script]).spawn().unwrap();
        until(&mut child, "y\n");
        drop(child.stdout.take());
        assert_eq!(ended(child).code, Some(3), "{console}");
    }
}

#[test]
fn a_mount_point_that_cannot_be_made_is_told_why() {
    needs_containers!();
    let ran = skep(["run", "-q", "--bind-ro=/etc:/usr/no-such-place", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("EROFS"), "{ran:?}");
    assert!(ran.stderr.contains("where the tree is read-only it must be there already"), "{ran:?}");
}
