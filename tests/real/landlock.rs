//! Landlock, asked of the kernel from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_arch = "x86_64")]

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::MutexGuard;
use std::time::Duration;

use skep::spec::{CapabilityList, FileAccess, Init, Landlock, Network, Want};
use skep::sys::abi::{CapabilitySet, cap, signal};
use skep::{Command, Facts, Outcome, Spec};
use skep_tests::{Scratch, run, skip, turn_to_start};

use FileAccess::{Execute, Read, Write, WriteFile};

/// A turn, where the kernel's Landlock has this version.
fn turn_with(version: u64) -> Option<MutexGuard<'static, ()>> {
    let found = Facts::gather(&Spec::default()).unwrap().landlock;
    if found < version {
        skip(&format!("version {found} of Landlock"));
        return None;
    }
    turn_to_start()
}

/// Perl says of each expression `ok`, or the number of its error.
fn perl(expressions: &[&str]) -> Command {
    let tries: Vec<String> = expressions
        .iter()
        .map(|one| {
            format!("$! = 0; $r = ({one}); print +(defined $r && $r ne \"\" && $r ne \"-1\") ? \"ok\" : $!+0, \"\\n\";")
        })
        .collect();
    let mut command = Command::new("perl");
    command.arg("-e").arg(tries.concat());
    command
}

fn answers(command: &mut Command) -> Vec<String> {
    run(command).lines().map(str::to_owned).collect()
}

const READS: &str = "open(F, '<', '/etc/x')";
const WRITES: &str = "open(F, '>', '/tmp/new')";
const READS_BACK: &str = "open(F, '<', '/tmp/new')";
const LISTS: &str = "opendir(D, '/usr')";
const LISTS_ETC: &str = "opendir(D, '/etc')";
const RUNS: &str = "system('/usr/bin/true') == 0 || undef";

#[test]
fn row_107_files_without_a_rule_are_refused() {
    let Some(_turn) = turn_with(5) else { return };
    let all = [READS, WRITES, READS_BACK, LISTS, LISTS_ETC, RUNS];
    let start = |change: &dyn Fn(&mut Command)| {
        let mut command = perl(&all);
        // Perl opens /dev/null for its script.
        command.file("/etc/x", "x").landlock_path("/usr", [Read, Execute]).landlock_path("/dev/null", [Read]);
        change(&mut command);
        answers(&mut command)
    };
    assert_eq!(start(&|_| ()), ["13", "13", "2", "ok", "13", "ok"]);
    // A rule for a file; of directories' rights it takes none.
    let opened = |command: &mut Command| {
        command.landlock_path("/etc/x", [Read]).landlock_path("/tmp", [Write]);
    };
    assert_eq!(start(&opened), ["ok", "ok", "13", "ok", "13", "ok"]);
    // The payload as process 1, and with a stub init of its own line.
    let alone = |command: &mut Command| {
        command.init(Init::Payload);
    };
    assert_eq!(start(&alone), ["13", "13", "2", "ok", "13", "ok"]);
    let granted = |command: &mut Command| {
        let one = CapabilityList(CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE));
        command.capabilities(one).ambient(one).landlock_path("/tmp", [WriteFile]);
    };
    assert_eq!(start(&granted), ["13", "13", "2", "ok", "13", "ok"]);
}

#[test]
fn ports_without_a_rule_are_refused() {
    let Some(_turn) = turn_with(4) else { return };
    let socket = "socket(S, 2, 1, 0)";
    let address = |port: u16| format!("pack('Sna4x8', 2, {port}, \"\\x7f\\0\\0\\1\")");
    let connect = |port| format!("{socket} && connect(S, {})", address(port));
    let bind = |port| format!("{socket} && bind(S, {})", address(port));
    let tries = [connect(4433), connect(4434), bind(8080), bind(8081)];
    let mut rules = Landlock::default();
    (rules.tcp, rules.bind, rules.connect) = (Want::Require, [8080].into(), [4433].into());
    let tries: Vec<&str> = tries.iter().map(String::as_str).collect();
    // Nobody listens: ECONNREFUSED.
    assert_eq!(answers(perl(&tries).landlock(rules)), ["111", "13", "ok", "13"]);
    assert_eq!(answers(&mut perl(&tries)), ["111", "111", "ok", "ok"]);
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let Some(_turn) = turn_with(6) else { return };
    let name = format!("skep-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let connect = format!("socket(S, 1, 1, 0) && connect(S, pack('Sxa*', 1, '{name}'))");
    let own = "socket(L, 1, 1, 0) && bind(L, pack('Sxa*', 1, 'own')) && listen(L, 1) && socket(S, 1, 1, 0) && connect(S, pack('Sxa*', 1, 'own'))";
    let mut command = perl(&[&connect, own]);
    assert_eq!(answers(command.network(Network::Host)), ["1", "ok"]);
    let mut rules = Landlock::default();
    rules.abstract_sockets = Some(Want::Off);
    assert_eq!(answers(perl(&[&connect]).network(Network::Host).landlock(rules)), ["ok"]);
    drop(listener);
    let mut container = Command::new("true").network(Network::Host).spawn().unwrap();
    assert!(
        matches!(container.report().of("landlock sockets"), Some(Outcome::Applied(how)) if how.starts_with("fully"))
    );
    container.wait().unwrap();
}

#[test]
fn a_further_process_has_the_same_rules() {
    let Some(_turn) = turn_with(6) else { return };
    let mut command = Command::new("sleep");
    command.arg("1000").landlock_path("/usr", [Read, Execute]).landlock_path("/dev/null", [Read]);
    let mut container = command.file("/etc/x", "x").network(Network::Host).spawn().unwrap();
    let script = perl(&[READS, LISTS, LISTS_ETC]).spec().command[2].clone();
    let output = container.exec("perl").arg("-e").arg(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "13\nok\n13\n");
    container.kill(signal::KILL).unwrap();
    container.wait().unwrap();
}

#[test]
fn a_further_process_reaches_no_abstract_socket_of_the_host() {
    let Some(_turn) = turn_with(6) else { return };
    let name = format!("skep-exec-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let connect = format!("socket(S, 1, 1, 0) && connect(S, pack('Sxa*', 1, '{name}'))");
    let script = perl(&[&connect]).spec().command[2].clone();
    let says = |command: &mut Command| {
        let container = command.arg("1000").spawn().unwrap();
        let output = container.exec("perl").arg("-e").arg(&script).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(says(Command::new("sleep").network(Network::Host)), "1\n");
    let mut rules = Landlock::default();
    rules.abstract_sockets = Some(Want::Off);
    assert_eq!(says(Command::new("sleep").network(Network::Host).landlock(rules)), "ok\n");
}

/// A payload that puts a link in a rule's place widens nothing.
#[test]
fn a_link_of_the_payloads_is_no_rule_of_a_further_process() {
    let Some(_turn) = turn_with(6) else { return };
    let shared = Scratch::new();
    for directory in [shared.directory("own"), shared.path().to_owned()] {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new("sh");
    command.args(["-c", "mv /mnt/own /mnt/was && ln -s /etc /mnt/own && echo done && exec sleep 1000"]);
    command.bind(shared.path(), "/mnt").landlock_path("/usr", [Read, Execute]);
    command.landlock_path("/mnt", [Write]).landlock_path("/mnt/own", [Read]).stdout(skep::Stdio::piped());
    let mut container = command.spawn().unwrap();
    let mut done = [0; 5];
    std::io::Read::read_exact(container.stdout.as_mut().unwrap(), &mut done).unwrap();
    let error = container.exec("true").spawn().unwrap_err();
    assert!(error.to_string().contains("has a link in it"), "{error}");
}

#[test]
fn a_stub_init_still_signals_its_payload() {
    let Some(_turn) = turn_with(6) else { return };
    for ambient in [CapabilitySet::EMPTY, CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE)] {
        let mut rules = Landlock::default();
        rules.signals = Want::Require;
        let mut command = Command::new("sh");
        command.arg("-c").arg("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done");
        command.landlock(rules).capabilities(CapabilityList(ambient)).ambient(CapabilityList(ambient));
        let mut container = command.stdout(skep::Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(container.stdout.as_mut().unwrap(), &mut up).unwrap();
        container.kill(signal::TERM).unwrap();
        let status = container.wait_timeout(Duration::from_secs(10)).unwrap().expect("it has ended");
        assert_eq!(status.code(), Some(7), "{ambient}: {status}");
    }
}

#[test]
fn a_start_without_what_it_needs_says_so() {
    let Some(_turn) = turn_with(5) else { return };
    for (path, access, expected) in [
        ("/usr", Read, "must allow `execute` and `read`"),
        ("/usr", Execute, "must allow `execute` and `read`"),
        ("/srv/none", Read, "must exist inside"),
        ("/etc/x", FileAccess::ReadDir, "none of the rights of directories"),
    ] {
        let mut command = Command::new("true");
        let error = command.file("/etc/x", "x").landlock_path(path, [access]).status().unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}
