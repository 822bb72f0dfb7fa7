//! What is left by embedders that were killed, where nobody else clears it up:
//! the watcher was killed as well, or a file of locks on ids was its last user's.
//!
//! A cgroup says in its name who has made it: process id, start time, process-id
//! namespace, and a number of that process. Whoever that was is dead or it is not, and
//! no other process ever makes a group of that name: what is judged is what is removed,
//! without a lock.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_sys::{At, BASE_LOCKS, Errno, Kernel, Linux, Op, OwnedSlots, Slot};

use super::{Directory, entry};
use crate::compile::named::Way;
use crate::compile::{export, incoming};
use crate::error::{Error, Result};
use crate::facts::Registrar;
use crate::facts::bearer::{Exported, Mounted, is_old};
use crate::plan::RANGE_LOCK;
use crate::spec::MachineName;

/// What an embedder that was killed has left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Leftover {
    /// The entry of a container that is gone in the registry.
    Entry(MachineName),
    /// A cgroup without processes, of an embedder that is gone.
    Cgroup(PathBuf),
    /// A file of locks on ranges of ids, on which there is none: that of all ranges,
    /// or one of a base, as `systemd-nspawn` has them.
    Ranges(PathBuf),
    /// An interface of the host, of an embedder that is gone, by its name.
    Interface(String),
    /// An empty directory that bears the name of a machine that is gone.
    Incoming(PathBuf),
    /// What was mounted for sockets of a machine that is gone.
    Export(PathBuf),
}

/// What [`gc`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// What it has removed.
    pub removed: Vec<Leftover>,
    /// What it could not remove, each with the kernel's answer.
    pub left: Vec<Error>,
}

/// Removes what embedders of this user have left on the host that were killed
/// together with their watcher: entries of containers that are gone, cgroups
/// that are empty and whose maker has ended, and, as root, the files of the locks
/// on ranges of ids that nobody holds, interfaces whose maker has ended, and what bears the
/// names of machines, of those that no process is in: what their sockets are exported by, and
/// empty directories.
///
/// Nothing of a container that lives is touched, nothing of an embedder that
/// lives, and nothing that another program, another user or another process-id
/// namespace has made, but for a lock file, such a directory or such a mount of
/// systemd-nspawn's that nobody uses. It may run beside starts and ends, and beside itself.
///
/// # Errors
///
/// Where the registry cannot be read, as [`crate::list`]. What could not be
/// removed is no error: [`Collected::left`].
pub fn gc() -> Result<Collected> {
    let (mut found, mut gone) = (Collected::default(), Vec::new());
    if let Some(directory) = Directory::of_user()? {
        for name in directory.names()? {
            if directory.judge(name.as_str()).1 {
                match directory.clear(&mut Linux::new(), &name) {
                    Ok(true) => {
                        gone.push(name.as_str().to_owned());
                        found.removed.push(Leftover::Entry(name));
                    }
                    Ok(false) => {}
                    Err(error) => found.left.push(error),
                }
            }
        }
    }
    let here = Registrar::look();
    groups(Path::new("/sys/fs/cgroup"), DEPTH, &here, &mut found);
    ranges(&mut found);
    interfaces(Path::new("/sys/class/net"), &here, &mut found);
    named(&gone, &mut found);
    Ok(found)
}

/// How deep groups are looked for.
const DEPTH: u32 = 32;

/// The name of a container's group. No machine name holds an `@`, and no unit
/// of systemd ends like this.
pub(crate) fn group_name(machine: &MachineName, maker: &Registrar, serial: u64) -> String {
    format!("skep-{machine}@{}-{serial}", words(maker))
}

/// Who has made something, for its name.
pub(crate) fn words(maker: &Registrar) -> String {
    let Registrar { pid, start_time, pid_namespace, .. } = maker;
    format!("{pid}-{start_time}-{pid_namespace}")
}

/// The numbers of such words.
fn numbers(words: &str) -> Option<Vec<u64>> {
    let plain = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    words.split('-').map(|word| Some(word).filter(plain)?.parse().ok()).collect()
}

/// Whether that maker is one of here, and gone.
fn is_gone(pid: u64, start: u64, namespace: u64, here: &Registrar) -> Option<bool> {
    let pid = u32::try_from(pid).ok()?;
    Some(namespace == here.pid_namespace && !entry::lives(pid, start))
}

/// Whether it is the name of a group whose maker is gone.
fn is_orphaned(name: &str, here: &Registrar) -> Option<bool> {
    let (machine, maker) = name.strip_prefix("skep-")?.rsplit_once('@')?;
    MachineName::new(machine.to_owned()).ok()?;
    match numbers(maker)?[..] {
        [pid, start, namespace, _serial] => is_gone(pid, start, namespace, here),
        _ => None,
    }
}

/// The name of a copy that is not complete: which one it is nobody knows beforehand.
pub(crate) fn copy_name(unknown: u64, maker: &Registrar) -> String {
    format!(".skep-copy-{unknown:016x}@{}", words(maker))
}

/// Whether it is the name of a copy whose maker is gone.
pub(crate) fn is_left_copy(name: &str, here: &Registrar) -> bool {
    let maker = name.strip_prefix(".skep-copy-").and_then(|rest| rest.rsplit_once('@'));
    maker.is_some_and(|(unknown, maker)| unknown.len() == 16 && is_left_by(maker, here))
}

/// Whether these [`words`] are those of a maker who is gone.
pub(crate) fn is_left_by(words: &str, here: &Registrar) -> bool {
    match numbers(words).as_deref() {
        Some([pid, start, namespace]) => is_gone(*pid, *start, *namespace, here) == Some(true),
        _ => false,
    }
}

/// Whether it is the name of somebody's group, or the alias of his interfaces.
pub(crate) fn is_alias(name: &str) -> bool {
    is_orphaned(name, &Registrar::default()).is_some()
}

/// Whether a process is in a group or below it; so also where nobody can tell.
fn is_populated(group: &Path) -> bool {
    // v2 counts those below as well (`cgroup-v2.rst`).
    if let Ok(events) = fs::read_to_string(group.join("cgroup.events")) {
        return events.lines().all(|line| line != "populated 0");
    }
    let below = |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_populated(&entry.path());
    !fs::read(group.join("tasks")).is_ok_and(|tasks| tasks.is_empty())
        || !fs::read_dir(group).is_ok_and(|mut all| !all.any(|entry| entry.map_or(true, below)))
}

fn groups(parent: &Path, depth: u32, here: &Registrar, found: &mut Collected) {
    let own = fs::symlink_metadata(parent).is_ok_and(|data| data.uid() == nix::unistd::geteuid().as_raw());
    for child in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !child.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = child.path();
        match child.file_name().to_str().and_then(|name| is_orphaned(name, here)) {
            // Made by us, so in a group that is this user's to change.
            Some(true) if own && !is_populated(&path) => remove(path, found),
            None if depth > 0 => groups(&path, depth - 1, here, found),
            Some(_) | None => {}
        }
    }
}

fn remove(path: PathBuf, found: &mut Collected) {
    let Ok(text) = crate::compile::c_path(&path) else { return };
    let removal = Op::RemoveGroup { dir: At::Cwd, path: &text };
    match Linux::new().call(&removal, &mut OwnedSlots::new(0).slots()) {
        Ok(()) => found.removed.push(Leftover::Cgroup(path)),
        Err(errno) => found.left.push(Error::system(format!("remove the cgroup {}", path.display()), errno)),
    }
}

/// Outer ends of pairs that something else keeps alive, and bridges of zones in which
/// nobody is any more.
fn interfaces(directory: &Path, here: &Registrar, found: &mut Collected) {
    const SOCKET: Slot = Slot(0);
    let alias = |path: PathBuf| Some(fs::read_to_string(path.join("ifalias")).ok()?.trim_end().to_owned());
    let mut all: Vec<(String, String)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, alias(entry.path())?)))
        .filter(|(_, alias)| is_orphaned(alias, here) == Some(true))
        .collect();
    if all.is_empty() {
        return;
    }
    // Members before their bridges.
    all.sort_by_key(|(name, _)| name.starts_with("vz-"));
    let mut slots = OwnedSlots::new(1);
    let mut kernel = Linux::new();
    let open = Op::NetlinkSocket { protocol: crate::compile::network::ROUTE, namespace: None, into: SOCKET };
    if let Err(errno) = kernel.call(&open, &mut slots.slots()) {
        return found.left.push(Error::system("open a socket for the host's interfaces", errno));
    }
    let lock = crate::compile::c_path(&crate::facts::zone_lock()).unwrap_or_default();
    let lived = slots.borrow(SOCKET).map(networks_of_processes).unwrap_or_default();
    for (name, alias) in all {
        let texts = (crate::compile::c_text(name.as_bytes()), crate::compile::c_text(alias.as_bytes()));
        let (Ok(text), Ok(alias)) = texts else { continue };
        let bridge = name.starts_with("vz-");
        // Of a container that was let go of, and runs.
        let peer = slots.borrow(SOCKET).map(|socket| skep_sys::network_of_peer(socket, &text));
        if let Some(Ok(Some(peer))) = peer
            && lived.contains(&peer)
        {
            continue;
        }
        // A bridge has no port of its own name, and goes where it has none at all.
        let removal = match bridge {
            true => Op::ZoneLeave { socket: SOCKET, bridge: &text, port: c"", lock: &lock, alias: &alias },
            false => Op::LinkRemove { socket: SOCKET, name: &text, alias: &alias },
        };
        match kernel.call(&removal, &mut slots.slots()) {
            Ok(()) if !directory.join(&name).exists() => found.removed.push(Leftover::Interface(name)),
            Ok(()) => {}
            Err(errno) => found.left.push(Error::system(format!("remove the interface {name}"), errno)),
        }
    }
}

/// The networks that processes are in, as this one calls them.
fn networks_of_processes(socket: BorrowedFd<'_>) -> BTreeSet<i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter(|entry| entry.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit));
    let mut seen = BTreeSet::new();
    pids.filter_map(|entry| fs::File::open(entry.path().join("ns/net")).ok())
        .filter(|network| network.metadata().is_ok_and(|found| seen.insert(found.ino())))
        .filter_map(|network| skep_sys::number_of_network(socket, network.as_fd()).ok()?)
        .collect()
}

/// What bears the names of machines that are gone: directories by which mounts came in,
/// and what sockets were exported by, of those whose name nobody has and that no process has
/// mounted. Of those that were `gone` by their entries nothing is just being put to use.
fn named(gone: &[String], found: &mut Collected) {
    let names = |way: Way| {
        let all = fs::read_dir(way.shared()).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        all.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).filter_map(name).collect::<Vec<_>>()
    };
    let is_free = |name: &str| MachineName::new(name.to_owned()).is_ok() && super::is_stale(name).is_none();
    let comes: Vec<String> = names(incoming::way("")).into_iter().filter(|name| is_free(name)).collect();
    let goes =
        names(export::way("")).into_iter().filter(|name| !export::OTHERS.contains(&name.as_str()) && is_free(name));
    let goes: Vec<String> = goes.filter(|name| Path::new(&export::way(name).path()).is_dir()).collect();
    if comes.is_empty() && goes.is_empty() {
        return;
    }
    let (seen, true) = Mounted::look() else { return };
    let is_due = |name: &String, way: &Way| gone.contains(name) || is_old(way);
    for name in goes {
        let (way, exported) = (export::way(&name), Exported::of(&name));
        if !is_due(&name, &way) || seen.user_of(&name, exported.as_ref()).is_some() {
            continue;
        }
        if let Some(exported) = exported {
            let unmount = Op::Unmount { dir: At::Slot(Slot(0)), path: c"" };
            match crate::container::call(&[exported.mount.as_fd()], &unmount) {
                Ok(_) => found.removed.push(Leftover::Export(way.path().into())),
                Err(errno) => found.left.push(Error::system(format!("unmount {}", way.path()), errno)),
            }
        }
        remove_own(&way, found);
    }
    for name in comes {
        let way = incoming::way(&name);
        if is_due(&name, &way) && seen.user_of(&name, None).is_none() {
            remove_own(&way, found);
        }
    }
}

/// Removes the directories that are a machine's own.
fn remove_own(way: &Way, found: &mut Collected) {
    for path in way.own() {
        let Ok(text) = crate::compile::c_text(path.as_bytes()) else { continue };
        let removal = Op::Unlink { dir: At::Cwd, path: &text, directory: true };
        match Linux::new().call(&removal, &mut OwnedSlots::new(0).slots()) {
            Ok(()) => found.removed.push(Leftover::Incoming(path.into())),
            // What somebody has put there is his; or it is another machine's by now.
            Err(Errno::ENOTEMPTY | Errno::EBUSY) => {}
            Err(errno) => found.left.push(Error::system(format!("remove {path}"), errno)),
        }
    }
}

/// The last who gives a range back removes its files: so each that is there is taken
/// and given back, and of the file of all ranges one of ids that no container has.
fn ranges(found: &mut Collected) {
    const LAST: u32 = u32::MAX - 1;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let path = PathBuf::from(RANGE_LOCK.to_string_lossy().into_owned());
    let all = path.symlink_metadata().is_ok().then_some((path, LAST));
    let directory = fs::read_dir(OsStr::from_bytes(BASE_LOCKS.to_bytes())).into_iter().flatten().flatten();
    let bases = directory.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse::<u32>().ok()?)));
    let mut slots = OwnedSlots::new(1);
    let mut kernel = Linux::new();
    for (path, first) in bases.chain(all) {
        let lock = Op::LockIds { path: RANGE_LOCK, first, count: 1, into: Slot(0) };
        let release = Op::ReleaseIds { file: Slot(0), path: RANGE_LOCK, first, count: 1 };
        let ended = kernel.call(&lock, &mut slots.slots()).and_then(|()| kernel.call(&release, &mut slots.slots()));
        match ended {
            Ok(()) if path.symlink_metadata().is_err() => found.removed.push(Leftover::Ranges(path)),
            // Somebody has the range.
            Ok(()) | Err(Errno::EAGAIN) => {}
            Err(errno) => found.left.push(Error::system(format!("remove {}", path.display()), errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_group_is() {
        let here = Registrar::look();
        let name = MachineName::new("web-1.example".to_owned()).unwrap();
        let of = |maker: &Registrar| is_orphaned(&group_name(&name, maker, 7), &here);
        assert_eq!(of(&here), Some(false));
        let mut other = here.clone();
        other.start_time += 1;
        assert_eq!(of(&other), Some(true));
        other.pid_namespace += 1;
        assert_eq!(of(&other), Some(false), "of another process-id namespace");
        for bad in [
            "skep-web",
            "skep-web@1-2-3",
            "skep-web@1-2-3-4.service",
            "skep-web@1-2-3-4-5",
            "skep-web@+1-2-3-4",
            "skep-@1-2-3-4",
            "web@1-2-3-4",
        ] {
            assert_eq!(is_orphaned(bad, &here), None, "{bad}");
        }
    }
}
