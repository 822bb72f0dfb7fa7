//! `skep run --detach`, and the log of what it has started.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::containers::{Registry, Running};
use crate::stand::{Ran, containers, ended, unique, until};

/// A container that goes on by itself; stopped at the end.
struct Detached {
    name: String,
    registry: Registry,
}

impl Detached {
    fn start(test: &str, options: &[&str], script: &str) -> Option<(Self, Ran)> {
        let registry = Running::registry(test)?;
        let name = unique(test);
        let words = ["run", "--detach", "-M", &name].into_iter().chain(options.iter().copied());
        let words: Vec<&str> = words.chain(["--", "sh", "-c", script]).collect();
        let ran = registry.skep(&words);
        Some((Self { name, registry }, ran))
    }

    fn skep(&self, words: &[&str]) -> Ran {
        self.registry.skep(words)
    }

    fn logs(&self) -> String {
        self.skep(&["logs", &self.name]).stdout
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.skep(&["status", "--json", &self.name]).stdout).unwrap_or_default()
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = self.skep(&["kill", &self.name]);
        let begin = Instant::now();
        while self.skep(&["status", &self.name]).code == Some(0) && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.skep(&["gc"]);
    }
}

fn parent_of(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn it_goes_on_by_itself_and_its_log_tells_what_it_says() {
    let Some(_guard) = containers("it_goes_on_by_itself") else { return };
    let script = "echo first; echo wrong >&2; trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done";
    let Some((one, ran)) = Detached::start("detached", &[], script) else { return };
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), &*format!("{}\n", one.name), ""));
    // The supervisor is nobody's of here: of another session, without a terminal.
    let pid = one.status()["pid"].as_u64().unwrap();
    let supervisor = parent_of(pid);
    let of = |what: &str| std::fs::read_link(format!("/proc/{supervisor}/{what}")).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{supervisor}/comm")).unwrap(), "skep\n");
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(of(stream), std::path::Path::new("/dev/null"), "{stream}");
    }
    assert_eq!(of("cwd"), std::path::Path::new("/"));
    let session = nix::unistd::getsid(Some(Pid::from_raw(i32::try_from(supervisor).unwrap()))).unwrap();
    assert_eq!(session.as_raw(), i32::try_from(supervisor).unwrap());
    // A name is one container's, and the log of the one that runs is left alone.
    let second = one.skep(&["run", "--detach", "-M", &one.name, "true"]);
    assert!(second.code == Some(1) && second.stderr.contains("runs, or is being started"), "{second:?}");
    assert!(!one.skep(&["gc"]).stdout.contains(&one.name));

    let mut follower = one.registry.command(&["logs", "-f", &one.name]).stdout(Stdio::piped()).spawn().unwrap();
    until(&mut follower, "first\n");
    assert_eq!(one.skep(&["stop", &one.name]).code, Some(0));
    let rest = ended(follower);
    assert_eq!(rest.code, Some(0));
    assert!(rest.stdout.contains("bye\n") && rest.stdout.ends_with("failed: exit code 5\n"), "{rest:?}");
    let said = one.logs();
    assert!(said.contains("first\n") && said.contains("wrong\n") && said.contains("bye\n"), "{said}");
    let last = one.skep(&["logs", "-n", "1", &one.name]).stdout;
    assert_eq!(last, format!("Container {} failed: exit code 5\n", one.name));
    // Until somebody clears up.
    assert!(one.skep(&["gc"]).stdout.contains(&format!("removed log {}\n", one.name)));
    let gone = one.skep(&["logs", &one.name]);
    assert!(gone.code == Some(1) && gone.stderr.contains("there is no log of it; start it with --detach"), "{gone:?}");
}

#[test]
fn a_start_that_fails_says_so_to_who_asked() {
    let Some(_guard) = containers("a_start_that_fails") else { return };
    let Some(registry) = Running::registry("a_start_that_fails") else { return };
    let name = unique("detached-fails");
    for (words, says) in [
        (&["--", "/no/such"][..], "execute /no/such: not found in container"),
        (&["--bind=/no/such:/x", "--", "true"], "/no/such"),
        (&["--console=pipe", "--", "true"], "none of your streams, so not --console=pipe; leave one of them out"),
        (&["--notify-ready=yes", "--", "false"], "ended before it was ready: exit code 1; see what it said"),
        (&["--settings-file=/no/such.nspawn"], "/no/such.nspawn"),
    ] {
        let ran = registry.skep(&[&["run", "--detach", "-M", &name], words].concat());
        assert!(ran.code == Some(1) && ran.stdout.is_empty() && ran.stderr.contains(says), "{words:?} {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{words:?} {ran:?}");
        let json = registry.skep(&[&["run", "--detach", "--json", "-M", &name], words].concat());
        let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!((error["event"].as_str(), json.code), (Some("error"), Some(1)), "{words:?}");
        assert_eq!(registry.skep(&["status", &name]).code, Some(1), "{words:?}");
    }
    let _ = registry.skep(&["gc"]);
}

#[test]
fn it_is_awaited_until_it_is_ready() {
    let Some(_guard) = containers("it_is_awaited") else { return };
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return eprintln!("SKIP it_is_awaited_until_it_is_ready: there is no perl to speak to a socket with");
    }
    let script = "sleep 0.5; exec perl -MSocket -e 'socket(S,AF_UNIX,SOCK_DGRAM,0);\
                  send(S,\"READY=1\",0,sockaddr_un($ENV{NOTIFY_SOCKET}));sleep 1000'";
    let begin = Instant::now();
    let Some((one, ran)) = Detached::start("detached-ready", &["--notify-ready=yes", "--json"], script) else {
        return;
    };
    assert!(ran.code == Some(0) && begin.elapsed() >= Duration::from_millis(500), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["pid"], one.status()["pid"]);
}

/// Who gives up waiting has no container; a supervisor that is killed leaves none.
#[test]
fn nobody_is_left_with_a_container_that_nobody_knows_of() {
    let Some(_guard) = containers("nobody_is_left") else { return };
    let Some(registry) = Running::registry("nobody_is_left") else { return };
    let name = unique("detached-given-up");
    let words = ["run", "--detach", "--notify-ready=yes", "-M", &name, "--", "sh", "-c", "sleep 1000"];
    let mut waiting = registry.command(&words).spawn().unwrap();
    let begin = Instant::now();
    while registry.skep(&["status", &name]).code != Some(0) {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    waiting.kill().unwrap();
    let _ = waiting.wait();
    let begin = Instant::now();
    while registry.skep(&["status", &name]).code == Some(0) {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    let Some((one, _)) = Detached::start("detached-killed", &[], "trap '' TERM HUP; while :; do sleep 1; done") else {
        return;
    };
    let pid = one.status()["pid"].as_u64().unwrap();
    kill(Pid::from_raw(i32::try_from(parent_of(pid)).unwrap()), Signal::SIGKILL).unwrap();
    let begin = Instant::now();
    while !one.status().is_null() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = one.skep(&["run", "--detach", "-M", &one.name, "sleep", "1000"]);
    assert_eq!(again.code, Some(0), "the name is free, and the log: {again:?}");
    let _ = registry.skep(&["gc"]);
}
