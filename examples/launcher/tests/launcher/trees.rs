//! Trees and devices of the host: one container at a time, and what it is given.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stand::{Ran, SKEP, Scratch, containers, ended, skep};

/// A tree with what `sleep` and a shell need.
fn tree(scratch: &Scratch) -> String {
    let tree = scratch.path().join("tree");
    for directory in ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "root"] {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), tree.join(link)).unwrap();
    }
    std::fs::write(tree.join("usr/os-release"), "ID=test\n").unwrap();
    std::os::unix::fs::symlink("../usr/os-release", tree.join("etc/os-release")).unwrap();
    tree.display().to_string()
}

fn run(tree: &str, words: &[&str]) -> Ran {
    let words = ["run", "-q", "-D", tree, "--bind-ro=/usr"].into_iter().chain(words.iter().copied());
    skep(words.collect::<Vec<_>>())
}

/// Root's: an ordinary user's trees need ids that differ from machine to machine.
macro_rules! root_only {
    ($test:literal) => {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!(concat!("SKIP ", $test, ": needs root"));
        }
    };
}

#[test]
fn a_tree_is_written_by_one_at_a_time() {
    root_only!("a_tree_is_written_by_one_at_a_time");
    let Some(_guard) = containers("a_tree_is_written_by_one") else { return };
    let scratch = Scratch::new("tree-lock");
    let tree = tree(&scratch);
    let words = ["run", "-q", "-D", &tree, "--bind-ro=/usr", "--", "sh", "-c", "echo up; read x"];
    let start = || {
        let mut child = Command::new(SKEP);
        let child = child.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        crate::stand::until(&mut child, "up\n");
        child
    };
    let mut first = start();
    for busy in [&["--", "true"][..], &["--read-only", "--", "true"]] {
        let ran = run(&tree, busy);
        assert!(ran.code == Some(1) && ran.stderr.contains("the tree is busy"), "{ran:?}");
    }
    assert_eq!(run(&tree, &["--ephemeral", "--", "true"]).code, Some(0));
    drop(first.stdin.take());
    ended(first);
    let beside = scratch.path().join(".#tree.lck");
    assert!(!beside.exists() && run(&tree, &["--", "true"]).code == Some(0));
    // One that is killed keeps nothing locked.
    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let ran = run(&tree, &["--", "true"]);
    assert!(ran.code == Some(0) && !beside.exists(), "{ran:?}");
}

/// Both look at the same locks, so neither runs on what the other writes to.
#[test]
fn a_tree_of_systemd_nspawn_is_busy_and_the_other_way_round() {
    root_only!("a_tree_of_systemd_nspawn");
    let Some(_guard) = containers("a_tree_of_systemd_nspawn") else { return };
    if !Path::new("/usr/bin/systemd-nspawn").exists() {
        return eprintln!("SKIP a_tree_of_systemd_nspawn_is_busy: systemd-nspawn is not here");
    }
    let scratch = Scratch::new("tree-nspawn");
    let tree = tree(&scratch);
    let nspawn = |words: &[&str]| {
        let mut command = Command::new("systemd-nspawn");
        command.args(["-q", "--register=no", "--keep-unit", "--pipe", "-a", "-D", &tree, "--bind-ro=/usr"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let probe = ended(nspawn(&["true"]));
    if probe.code != Some(0) {
        return eprintln!("SKIP a_tree_of_systemd_nspawn_is_busy: it does not run here: {}", probe.stderr.trim());
    }
    // It makes the lock's file before it locks that.
    let mut theirs = nspawn(&["sh", "-c", "echo up; sleep 1000"]);
    crate::stand::until(&mut theirs, "up\n");
    let ran = run(&tree, &["--", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("the tree is busy"), "{ran:?}");
    crate::stand::send(&theirs, nix::sys::signal::Signal::SIGTERM);
    let _ = theirs.wait();

    let words = ["run", "-q", "-D", &tree, "--bind-ro=/usr", "--", "sh", "-c", "echo up; read x"];
    let mut ours = Command::new(SKEP).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    crate::stand::until(&mut ours, "up\n");
    let refused = ended(nspawn(&["true"]));
    assert!(refused.code == Some(1) && refused.stderr.contains("busy"), "{refused:?}");
    drop(ours.stdin.take());
    ended(ours);
}

#[test]
fn a_device_is_given_by_name_and_use() {
    root_only!("a_device_is_given");
    let Some(_guard) = containers("a_device_is_given") else { return };
    let look = "stat -c %t:%T /dev/x; head -c 3 /dev/x | wc -c";
    let ran = skep(["run", "-q", "--device=/dev/zero:/dev/x:rw", "--", "sh", "-c", look]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "1:5\n3\n"), "{ran:?}");
    let ran = skep(["run", "-q", "--device=-/dev/no-such-node", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = skep(["run", "-q", "--device=/dev/no-such-node", "--", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("/dev/no-such-node"), "{ran:?}");
    for odd in ["--device=/etc/passwd", "--device=/dev/a:/b", "--device=/dev/a:/dev/b:rwx", "--device=/dev/"] {
        let ran = skep(["run", odd, "--", "true"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("; write /dev/NODE"), "{odd}: {ran:?}");
    }
}
