//! What these tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use skep_tests::{is_root, skip};

pub(crate) const SKEP: &str = env!("CARGO_BIN_EXE_skep");

/// One test at a time: machines are many processes, and what is left is compared.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Waits until `holds`, for at most `seconds`.
pub(crate) fn until(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Cgroups of containers that are there.
pub(crate) fn groups() -> Vec<PathBuf> {
    fn below(directory: &Path, depth: u8, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with("skep-") {
                found.push(path);
            } else if depth > 0 {
                below(&path, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), 3, &mut found);
    found
}

/// Rules of the host's packet filter, where they can be listed.
pub(crate) fn rules() -> String {
    let listed = has("nft").then(|| Command::new("nft").args(["list", "ruleset"]).output().unwrap());
    listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// A Debian tree with systemd, made once and kept; or why there is none.
pub(crate) fn debian() -> Result<PathBuf, String> {
    made("SKEP_BOOT_TREE", "debian-bookworm", "systemd,systemd-sysv,dbus")
}

/// The same with Apache.
pub(crate) fn apache() -> Result<PathBuf, String> {
    made("SKEP_APACHE_TREE", "debian-bookworm-apache2", "systemd,systemd-sysv,dbus,apache2")
}

/// The tree that the variable names, else one of these packages.
fn made(variable: &str, name: &str, packages: &str) -> Result<PathBuf, String> {
    if !is_root() {
        return Err("only root boots a tree of root's".to_owned());
    }
    if let Some(tree) = std::env::var_os(variable) {
        return Ok(tree.into());
    }
    let top = Path::new("/var/tmp/skep-tests");
    let tree = top.join(name);
    if tree.join("usr/lib/systemd/systemd").exists() {
        return booted(tree);
    }
    if !has("mmdebstrap") {
        return Err(format!("mmdebstrap is not installed, and {variable} names no tree"));
    }
    std::fs::create_dir_all(top).map_err(|error| error.to_string())?;
    let part = top.join(format!("part-{}-{name}", std::process::id()));
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", &format!("--include={packages}"), "bookworm"])
        .arg(&part)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !made.status.success() {
        let _ = std::fs::remove_dir_all(&part);
        return Err(format!("mmdebstrap makes no tree: {}", String::from_utf8_lossy(&made.stderr)));
    }
    match std::fs::rename(&part, &tree) {
        // Another process was faster.
        Err(_) if tree.is_dir() => std::fs::remove_dir_all(&part),
        renamed => renamed,
    }
    .map_err(|error| error.to_string())?;
    booted(tree)
}

/// A tree as its first boot leaves it, as far as one that is read-only needs it:
/// systemd-logind makes its state directory.
fn booted(tree: PathBuf) -> Result<PathBuf, String> {
    let state = tree.join("var/lib/systemd/linger");
    std::fs::create_dir_all(state).map(|()| tree).map_err(|error| error.to_string())
}
