//! Namespaces of somebody else, and clocks with offsets, read back from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use skep::spec::{Init, Namespace, NamespaceChoice, Network, TimeOffsets, UserNamespace};
use skep::sys::abi::Namespaces;
use skep::{Command, ErrorKind, Outcome};
use skep_tests::{HostState, Scratch, is_root, run, skip, turn_to_start};

/// A process in namespaces of its own, until it is dropped.
struct Owner(Child);

impl Owner {
    fn new(kinds: &[&str]) -> Option<Self> {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(kinds).args(["sh", "-c", "echo ready; exec sleep 60"]).stdout(Stdio::piped());
        let mut child = unshare.spawn().ok()?;
        let mut ready = [0; 6];
        let read = std::io::Read::read_exact(child.stdout.as_mut()?, &mut ready);
        let owner = Self(child);
        read.is_ok().then_some(owner)
    }

    /// `unshare --fork` leaves its own namespaces; its child is in the new ones.
    fn pid(&self) -> u32 {
        let own = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(own)
    }

    fn path(&self, kind: &str) -> PathBuf {
        format!("/proc/{}/ns/{kind}", self.pid()).into()
    }

    fn link(&self, kind: &str) -> String {
        std::fs::read_link(self.path(kind)).unwrap().display().to_string()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn links(command: &mut Command, kinds: &[&str]) -> Vec<String> {
    let script: Vec<String> = kinds.iter().map(|kind| format!("readlink /proc/self/ns/{kind};")).collect();
    let text = run(command.arg("-c").arg(script.concat()));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn namespaces_of_another_are_joined_with_a_user_namespace_of_its_own() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root can join namespaces that it does not own");
    }
    let Some(owner) = Owner::new(&["--net", "--ipc", "--uts", "--cgroup"]) else { return skip("no unshare(1)") };
    let before = HostState::look();
    let mut command = Command::new("sh");
    let mut choice = NamespaceChoice::default();
    choice.ipc = Namespace::Path(owner.path("ipc"));
    choice.uts = Namespace::Path(owner.path("uts"));
    choice.cgroup = Namespace::Path(owner.path("cgroup"));
    command.network(Network::Path(owner.path("net"))).namespaces(choice);
    let found = links(&mut command, &["net", "ipc", "uts", "cgroup"]);
    assert_eq!(found, ["net", "ipc", "uts", "cgroup"].map(|kind| owner.link(kind)));
    let user = links(Command::new("sh").network(Network::Path(owner.path("net"))), &["user"]);
    assert_ne!(user[0], std::fs::read_link("/proc/self/ns/user").unwrap().display().to_string());
    let mut container = Command::new("true").network(Network::Path(owner.path("net"))).spawn().unwrap();
    let Some(Outcome::Off(how)) = container.report().of("namespace network") else { panic!() };
    assert!(how.starts_with("joined: /proc/"), "{how}");
    container.wait().unwrap();
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_descriptor_is_as_good_as_a_path() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root can join namespaces that it does not own");
    }
    let Some(owner) = Owner::new(&["--net", "--uts"]) else { return skip("no unshare(1)") };
    let open = |kind| OwnedFd::from(File::open(owner.path(kind)).unwrap());
    let mut command = Command::new("sh");
    command.join(Namespaces::NETWORK, open("net")).unwrap().join(Namespaces::UTS, open("uts")).unwrap();
    // Twice: the descriptors stay with the builder.
    for _ in 0..2 {
        let mut again = Command::new("sh");
        again.join(Namespaces::NETWORK, open("net")).unwrap();
        assert_eq!(links(&mut again, &["net"]), [owner.link("net")]);
    }
    assert_eq!(links(&mut command, &["net", "uts"]), [owner.link("net"), owner.link("uts")]);
    let error = Command::new("true").join(Namespaces::NETWORK, open("uts")).unwrap().status().unwrap_err();
    assert!(error.to_string().contains("no namespace of that kind"), "{error}");
    for kind in [Namespaces::USER, Namespaces::MOUNT, Namespaces::NONE, Namespaces::ALL] {
        let error = Command::new("true").join(kind, open("net")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    }
}

#[test]
fn a_pid_and_a_time_namespace_without_a_user_namespace() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root can do without a user namespace");
    }
    let Some(owner) = Owner::new(&["--fork", "--pid", "--time", "--monotonic", "1000000"]) else {
        return skip("no unshare(1) that knows time namespaces");
    };
    let choice = || {
        let mut choice = NamespaceChoice::default();
        choice.pid = Namespace::Path(owner.path("pid"));
        choice.time = Namespace::Path(owner.path("time"));
        choice
    };
    let mut command = Command::new("sh");
    command.user_namespace(UserNamespace::Host).init(Init::Payload).namespaces(choice());
    assert_eq!(links(&mut command, &["pid", "time"]), [owner.link("pid"), owner.link("time")]);
    let listed = run(Command::new("sh")
        .user_namespace(UserNamespace::Host)
        .init(Init::Payload)
        .namespaces(choice())
        .arg("-c")
        .arg("cat /proc/1/comm; ls /proc | grep -c '^[0-9]'"));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "sleep", "process 1 is the owner's");
    assert!(lines[1].parse::<u32>().unwrap() < 6, "{listed}");
    for (init, user, words) in [
        (Init::Stub, UserNamespace::Host, "a stub init needs"),
        (Init::Payload, UserNamespace::Pick, "cannot be joined from a user namespace"),
    ] {
        let mut command = Command::new("true");
        let error = command.user_namespace(user).init(init).namespaces(choice()).plan().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn what_is_no_namespace_is_not_joined() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        let error = Command::new("true").network(Network::Path("/proc/self/ns/net".into())).plan().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
        assert!(error.to_string().contains("only root can join"), "{error}");
        return;
    }
    let scratch = Scratch::new();
    let fifo = scratch.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = HostState::look();
    for path in [scratch.file("plain", ""), fifo, "/dev/null".into(), "/proc/self/ns/ipc".into(), "/nothing".into()] {
        let error = Command::new("true").network(Network::Path(path.clone())).status().unwrap_err().to_string();
        assert!(error.contains("Command::network") && error.contains("/run/netns/NAME"), "{path:?}: {error}");
    }
    let error = Command::new("true").network(Network::Path("ns".into())).plan().unwrap_err().to_string();
    assert!(error.contains("is not absolute"), "{error}");
    before.assert_unchanged();
}

#[test]
fn clocks_have_their_offsets() {
    let Some(_turn) = turn_to_start() else { return };
    let offsets = TimeOffsets { monotonic: 500_000, boottime: 86_400_000 };
    for init in [Init::Stub, Init::Payload] {
        let script = "cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time; perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e 'print int clock_gettime(CLOCK_MONOTONIC)'";
        let mut command = Command::new("sh");
        command.init(init).time_offsets(offsets).arg("-c").arg(script);
        let text = run(&mut command);
        let lines: Vec<&str> = text.lines().collect();
        let host: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse().unwrap();
        let ahead = lines[0].parse::<f64>().unwrap() - host;
        assert!((86_399_990.0..=86_400_010.0).contains(&ahead), "{ahead} {init:?}");
        assert_ne!(lines[1], std::fs::read_link("/proc/self/ns/time").unwrap().display().to_string());
        let monotonic: f64 = lines[2].parse().unwrap();
        assert!((500_000.0..600_000.0 + host).contains(&monotonic), "{monotonic}");
    }
    let error = Command::new("true").time_offsets(TimeOffsets { monotonic: i64::MIN, boottime: 0 }).status();
    assert!(error.unwrap_err().to_string().contains("a clock would be negative"));
}
