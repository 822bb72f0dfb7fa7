//! Who bears a machine's name on the host already, as its directories there tell
//! (`compile/named.rs`).
//!
//! `systemd-nspawn` keeps no names, nor knows of ours: of its machines one learns by what
//! their processes have mounted.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::compile::{export, incoming, named};
use crate::registry::entry;

/// Who has directories of the host that bear the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Bearer {
    /// Nobody, as far as can be told, or a container of the registry.
    #[default]
    Nobody,
    /// Somebody who is gone as soon as the name is another's, and has left what sockets
    /// are exported by mounted.
    Gone,
    /// A machine that is in no registry: the number of one of its processes.
    Lives(u32),
}

impl Bearer {
    /// Looks at the directories of one machine.
    pub(super) fn look(machine: &str) -> Self {
        let exported = Exported::of(machine);
        if exported.is_none() && !Path::new(&incoming::way(machine).path()).exists() {
            return Self::Nobody;
        }
        // It is a machine's of ours: as long as that lives, nobody else takes the name.
        if crate::registry::is_stale(machine).is_some() {
            return if exported.is_some() { Self::Gone } else { Self::Nobody };
        }
        let (seen, all) = Mounted::look();
        match (seen.user_of(machine, exported.as_ref()), exported) {
            (Some(user), _) => Self::Lives(user),
            (None, Some(_)) if all && is_old(&export::way(machine)) => Self::Gone,
            (None, _) => Self::Nobody,
        }
    }
}

/// How old a directory is that is not just being put to use.
const PUT_TO_USE: Duration = Duration::from_secs(10);

/// Whether the first directory of a machine's own on a way was not made, or used, just now.
pub(crate) fn is_old(way: &named::Way) -> bool {
    let made = way.own().pop().and_then(|path| fs::symlink_metadata(path).ok()).map(|data| data.ctime());
    let made = made.and_then(|seconds| u64::try_from(seconds).ok());
    let since = made.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    since.and_then(|since| since.elapsed().ok()).is_some_and(|age| age > PUT_TO_USE)
}

/// A line of `/proc/PID/mountinfo`.
struct Line {
    id: u64,
    device: String,
    root: String,
    point: String,
    kind: String,
}

impl Line {
    fn of(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let words: Vec<&str> = before.split(' ').collect();
        let [id, _, device, root, point, ..] = words[..] else { return None };
        let kind = after.split(' ').next()?;
        let [device, root, point, kind] = [device, root, point, kind].map(str::to_owned);
        Some(Self { id: id.parse().ok()?, device, root, point, kind })
    }

    fn all(path: &Path) -> Vec<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(Self::of).collect()
    }
}

/// The file system by which sockets of a machine are exported, mounted in its place here.
pub(crate) struct Exported {
    /// The very mount.
    pub(crate) mount: OwnedFd,
    device: String,
}

impl Exported {
    pub(crate) fn of(machine: &str) -> Option<Self> {
        let path = export::way(machine).path();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mount = open(path.as_str(), flags, Mode::empty()).ok()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", mount.as_raw_fd())).ok()?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok())?;
        let line = Line::all(Path::new("/proc/thread-self/mountinfo")).into_iter().find(|line| line.id == id)?;
        (line.point == path && line.kind == "tmpfs" && line.root == "/").then_some(Self { mount, device: line.device })
    }
}

/// The process-id namespace that sees all processes (`PROC_PID_INIT_INO`).
const FIRST: u64 = 0xefff_fffc;

/// What all processes have mounted, each mount namespace once, by one of its processes.
pub(crate) struct Mounted(Vec<(u32, Vec<Line>)>);

impl Mounted {
    /// What can be seen, and whether that is all.
    pub(crate) fn look() -> (Self, bool) {
        let first = entry::namespace(Path::new("/proc/self/ns/pid")) == Some(FIRST);
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter(|entry| entry.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit));
        let mut seen = BTreeSet::new();
        let spaces = pids
            .filter(|entry| entry::namespace(&entry.path().join("ns/mnt")).is_none_or(|space| seen.insert(space)))
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                Some((pid, Line::all(&entry.path().join("mountinfo"))))
            });
        (Self(spaces.collect()), first && nix::unistd::geteuid().is_root())
    }

    /// A process of the machine that has a mount by one of these directories.
    pub(crate) fn user_of(&self, machine: &str, exported: Option<&Exported>) -> Option<u32> {
        let below = |way: named::Way| {
            let path = way.path();
            path.trim_start_matches(named::TOP).trim_start_matches('/').to_owned()
        };
        let (comes, goes) = (below(incoming::way(machine)), below(export::way(machine)));
        // That of the host is seen at its own place in namespaces that have copies of its mounts.
        let uses = |line: &Line| {
            let exports = exported.is_some_and(|exported| exported.device == line.device);
            Path::new(&line.root).ends_with(&comes) || (exports && !Path::new(&line.point).ends_with(&goes))
        };
        self.0.iter().find(|(_, lines)| lines.iter().any(uses)).map(|(pid, _)| *pid)
    }
}
