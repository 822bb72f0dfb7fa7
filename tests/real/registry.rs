//! Containers that other processes find by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio as Pipe};
use std::time::{Duration, Instant};

use skep::spec::{MachineName, Want};
use skep::{Command, Container, ErrorKind};
use skep_tests::{is_root, skip, turn_to_start};

/// Which part a second process of this test plays, and for which name.
const PART: &str = "SKEP_TEST_REGISTRY";

/// The registry's directory; a runtime directory of the test's own for a user.
fn directory() -> Option<PathBuf> {
    if is_root() {
        return Some("/run/skep".into());
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(|base| Path::new(&base).join("skep"))
}

/// Runs a test again as another process, with a runtime directory where the
/// user has none, and a part to play.
fn other(test: &str, part: &str) -> Process {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PART, part);
    process
}

/// The part that this process plays; the first process has none. Where the
/// user has no runtime directory the whole test runs in a process that has.
fn part(test: &str) -> Option<String> {
    if let Ok(part) = std::env::var(PART) {
        return Some(part);
    }
    if directory().is_some() {
        return None;
    }
    let base = std::env::temp_dir().join(format!("skep-registry-{}-{test}", std::process::id()));
    std::fs::create_dir(&base).unwrap();
    std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", test, "--nocapture"]).env("XDG_RUNTIME_DIR", &base);
    let status = process.status().unwrap();
    std::fs::remove_dir_all(&base).unwrap();
    assert!(status.success());
    Some("played".to_owned())
}

fn name(what: &str) -> String {
    format!("reg-{what}-{}", std::process::id())
}

fn named(name: &str) -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000").machine(MachineName::new(name.to_owned()).unwrap()).register(Want::Require);
    command
}

fn started(name: &str) -> Container {
    named(name).spawn().unwrap_or_else(|error| panic!("start: {error}"))
}

fn entry(name: &str) -> PathBuf {
    directory().unwrap().join(name)
}

fn listed(name: &str) -> Option<u32> {
    skep::list().unwrap().into_iter().find(|entry| entry.name.as_str() == name)?.id
}

fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn another_process_finds_it() {
    let Some(_turn) = turn_to_start() else { return };
    match part("another_process_finds_it").as_deref() {
        Some("played") => return,
        Some(name) => return act(name),
        None => {}
    }
    let name = name("found");
    let mut container = started(&name);
    let data = std::fs::metadata(entry(&name)).unwrap();
    assert_eq!(data.mode() & 0o7777, 0o600);
    assert_eq!(std::fs::metadata(directory().unwrap()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(listed(&name), Some(container.id()));
    let error = named(&name).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameTaken, "{error}");
    assert!(error.to_string().contains("Choose another name"), "{error}");
    assert!(entry(&name).exists(), "the entry is the first one's");
    let output = other("another_process_finds_it", &name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("played the part"));
    // The other process has stopped it.
    let status = container.wait_timeout(Duration::from_secs(20)).unwrap().expect("it ends");
    assert!(!status.success());
    assert!(!entry(&name).exists());
    assert_eq!(skep::find(&name).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Everything below it, while containers of several kinds are registered.
#[test]
fn row_022_053_the_state_directory_is_ours_alone() {
    let Some(_turn) = turn_to_start() else { return };
    if part("row_022_053_the_state_directory_is_ours_alone").is_some() {
        return;
    }
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        found.push(path.to_owned());
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), found);
        }
    }
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let plain = started(&name("plain"));
    let terminal = named(&name("terminal")).terminal(24, 80).spawn().unwrap();
    let created = named(&name("created")).create().unwrap();
    let notified = named(&name("notified")).readiness(skep::spec::Readiness::Notify).spawn().unwrap();
    nix::sys::stat::umask(old);
    let mut found = Vec::new();
    walk(&directory().unwrap(), &mut found);
    if is_root() {
        found.extend(Some(PathBuf::from("/run/skep-ids")).filter(|path| path.exists()));
    }
    for what in ["plain", "terminal", "created", "notified"] {
        assert!(found.contains(&entry(&name(what))), "{found:?}");
    }
    for path in found {
        // Another's, in another process, may be gone by now.
        let Ok(data) = std::fs::symlink_metadata(&path) else { continue };
        let mode = if data.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(data.mode() & 0o7777, mode, "{}", path.display());
        assert_eq!(data.uid(), nix::unistd::geteuid().as_raw(), "{}", path.display());
    }
    drop((plain, terminal, created, notified));
}

/// What the second process does with the container.
fn act(name: &str) {
    let found = skep::find(name).unwrap_or_else(|error| panic!("find: {error}"));
    assert_eq!((found.machine().as_str(), Some(found.id())), (name, listed(name)));
    let rights = |output: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(output).into_owned();
        let kept = ["Uid", "Gid", "Cap", "NoNewPrivs", "Seccomp", "Umask"];
        text.lines().filter(|line| kept.iter().any(|kept| line.starts_with(kept))).map(str::to_owned).collect()
    };
    // As the payload: process 2, under the stub init.
    let own = found.exec("cat").arg("/proc/self/status").output().unwrap_or_else(|error| panic!("exec: {error}"));
    let payload = found.exec("cat").arg("/proc/2/status").output().unwrap();
    assert!(own.status.success() && !own.stdout.is_empty());
    assert_eq!(rights(&own.stdout), rights(&payload.stdout));
    assert_eq!(found.exec("sh").args(["-c", "exit 7"]).status().unwrap().code(), Some(7));
    let read = found.read_file("/etc/hostname", 100);
    assert!(read.is_ok() || read.unwrap_err().kind() == ErrorKind::NotFound);
    let again = skep::Found::from_pidfd(std::os::fd::AsFd::as_fd(&found).try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(again.id(), found.id());
    assert!(found.stats().is_ok());
    assert_eq!(found.try_wait().unwrap(), None);
    // One that it has not waited for does not keep it waiting.
    let own = found.exec("sleep").arg("1000").spawn().unwrap();
    let began = Instant::now();
    let status = found.stop(Duration::from_millis(10)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // Its owner waits; the kernel of 6.15 remembers.
    assert!(status.signal() == Some(9) || status.is_lost() || status.code() == Some(143), "{status}");
    drop(own);
    println!("played the part");
}

/// The owner's stop, of a container in which another process has run something
/// that it does not wait for.
#[test]
fn a_finder_that_reaps_nothing_holds_up_nobody() {
    let Some(_turn) = turn_to_start() else { return };
    match part("a_finder_that_reaps_nothing_holds_up_nobody").as_deref() {
        Some("played") => return,
        Some(name) => {
            let found = skep::find(name).unwrap();
            std::mem::forget(found.exec("sleep").arg("1000").spawn().unwrap());
            println!("brought in");
            std::thread::sleep(Duration::from_secs(100));
            return;
        }
        None => {}
    }
    let name = name("unreaped");
    let mut container = started(&name);
    let mut finder = other("a_finder_that_reaps_nothing_holds_up_nobody", &name).stdout(Pipe::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(finder.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("brought in")));
    let began = Instant::now();
    let status = container.stop(Duration::from_millis(10)).unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9) && !status.success(), "{status} after {took:?}");
    let left = container.left_behind();
    assert!(left.iter().any(|left| left.to_string().contains("brought in from outside")), "{left:?}");
    let first = container.id();
    drop(container);
    assert!(!entry(&name).exists());
    finder.kill().unwrap();
    finder.wait().unwrap();
    // Who starts or waits next takes its status.
    until("it is waited for later", || {
        let _ = Command::new("true").status();
        !Path::new(&format!("/proc/{first}")).exists()
    });
}

/// How a container ended, for who is not its parent.
#[test]
fn a_status_is_known_by_name() {
    let Some(_turn) = turn_to_start() else { return };
    if part("a_status_is_known_by_name").is_some() {
        return;
    }
    let name = name("status");
    let mut command = Command::new("sh");
    command.args(["-c", "read line; exit 7"]).stdin(skep::Stdio::piped());
    let mut container =
        command.machine(MachineName::new(name.clone()).unwrap()).register(Want::Require).spawn().unwrap();
    let found = skep::find(&name).unwrap();
    assert_eq!(found.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    drop(container.stdin.take());
    assert!(
        matches!(found.wait_timeout(Duration::from_secs(20)).unwrap(), Some(status) if status.is_lost()),
        "nobody has taken it"
    );
    // It was left to its owner.
    assert_eq!(container.wait().unwrap().code(), Some(7));
    let status = found.try_wait().unwrap().expect("it has ended");
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let number =
        |place: usize| release.split(['.', '-']).nth(place).and_then(|part| part.parse().ok()).unwrap_or(0_u32);
    if (number(0), number(1)) >= (6, 15) {
        assert_eq!(status.code(), Some(7));
    } else {
        assert!(status.is_lost());
    }
}

#[test]
fn an_embedder_that_is_killed_leaves_no_entry() {
    let Some(_turn) = turn_to_start() else { return };
    match part("an_embedder_that_is_killed_leaves_no_entry").as_deref() {
        Some("played") => return,
        Some(name) => {
            let _container = started(name);
            println!("started");
            std::thread::sleep(Duration::from_secs(100));
            return;
        }
        None => {}
    }
    let name = name("killed");
    let mut process = other("an_embedder_that_is_killed_leaves_no_entry", &name).stdout(Pipe::null()).spawn().unwrap();
    until("it is registered", || listed(&name).is_some());
    let container = listed(&name).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    // Not by a look: by the watcher.
    until("the watcher removes the entry", || !entry(&name).exists());
    until("it ends", || !Path::new(&format!("/proc/{container}")).exists());
}

#[test]
fn row_083_what_is_stale_is_cleared_and_what_lives_is_not() {
    let Some(_turn) = turn_to_start() else { return };
    if part("row_083_what_is_stale_is_cleared_and_what_lives_is_not").is_some() {
        return;
    }
    let name = name("stale");
    let container = started(&name);
    let content = std::fs::read_to_string(entry(&name)).unwrap();
    let detached = skep::find(&name).unwrap();
    container.detach().unwrap();
    assert!(entry(&name).exists(), "who is let go stays registered");
    detached.kill(9).unwrap();
    assert!(detached.wait_timeout(Duration::from_secs(20)).unwrap().is_some());
    until("the watcher, which has stayed for it, removes the entry", || !entry(&name).exists());
    // As where that was killed too.
    std::fs::write(entry(&name), &content).unwrap();
    assert_eq!(listed(&name), None);
    assert!(!entry(&name).exists(), "a look clears it");
    // The number is another process's by now: this one's.
    let stale = content.replace(&format!("\"pid\":{}", detached.id()), &format!("\"pid\":{}", std::process::id()));
    assert_ne!(stale, content);
    std::fs::write(entry(&name), &stale).unwrap();
    assert_eq!(skep::find(&name).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(entry(&name), &stale).unwrap();
    // And a start takes the name.
    let container = started(&name);
    assert_eq!(listed(&name), Some(container.id()));
    drop(container);
    assert!(!entry(&name).exists());
    // Noise, just written, may be an entry in the making.
    std::fs::write(entry(&name), "{").unwrap();
    assert_eq!(named(&name).spawn().unwrap_err().kind(), ErrorKind::NameTaken);
    std::fs::remove_file(entry(&name)).unwrap();
    // A link is not followed, nor taken for an entry.
    std::os::unix::fs::symlink("/etc/passwd", entry(&name)).unwrap();
    assert_eq!(skep::find(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(named(&name).spawn().unwrap_err().kind(), ErrorKind::NameTaken);
    std::fs::remove_file(entry(&name)).unwrap();
}

/// Somebody has removed the entry, and another has taken the name.
#[test]
fn an_entry_of_anothers_stays() {
    let Some(_turn) = turn_to_start() else { return };
    match part("an_entry_of_anothers_stays").as_deref() {
        Some("played") => return,
        Some(name) => {
            let _container = started(name);
            std::thread::sleep(Duration::from_secs(100));
            return;
        }
        None => {}
    }
    let name = name("another");
    let replaced = || {
        std::fs::remove_file(entry(&name)).unwrap();
        std::fs::write(entry(&name), "another's").unwrap();
    };
    let stays = |by: &str| {
        assert_eq!(std::fs::read_to_string(entry(&name)).unwrap(), "another's", "{by}");
        std::fs::remove_file(entry(&name)).unwrap();
    };
    let container = started(&name);
    replaced();
    drop(container);
    stays("the handle");
    let mut process = other("an_entry_of_anothers_stays", &name).stdout(Pipe::null()).spawn().unwrap();
    until("it is registered", || listed(&name).is_some());
    let container = listed(&name).unwrap();
    replaced();
    process.kill().unwrap();
    process.wait().unwrap();
    // The entry comes first, the end of the container afterwards.
    until("it ends", || !Path::new(&format!("/proc/{container}")).exists());
    stays("the watcher");
}

#[test]
fn a_start_that_fails_leaves_no_entry() {
    let Some(_turn) = turn_to_start() else { return };
    if part("a_start_that_fails_leaves_no_entry").is_some() {
        return;
    }
    let name = name("failed");
    let mut command = Command::new("/nowhere/at/all");
    command.machine(MachineName::new(name.clone()).unwrap()).register(Want::Require);
    assert_eq!(command.spawn().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!entry(&name).exists());
}

#[test]
fn a_directory_that_others_can_read_is_refused() {
    let Some(_turn) = turn_to_start() else { return };
    if is_root() {
        return skip("root's is shared with other tests");
    }
    if part("a_directory_that_others_can_read_is_refused").is_some() {
        return;
    }
    std::fs::create_dir_all(directory().unwrap()).unwrap();
    std::fs::set_permissions(directory().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let required = named(&name("open")).spawn();
    let looked = skep::list();
    std::fs::set_permissions(directory().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(required.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(looked.unwrap_err().kind(), ErrorKind::SafetyViolation);
}
