//! What a registry's file says of a container.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use skep_sys::abi::{CapabilitySet, Namespaces, fs_magic};
use skep_sys::{Cell, Errno, Kernel, Linux, Op, OwnedSlots, Proof, Slot};

use crate::exec::{Confinement, Group, SCHEDULED};
use crate::facts::Registrar;
use crate::spec::{MachineName, Profile};
use crate::stat::Stat;
use crate::{groups, plan, profile};

/// One file. It holds no secret: of the payload's variables there is none, of
/// its command nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) name: MachineName,
    pub(crate) registrar: Registrar,
    pub(crate) kill_signal: u8,
    /// Of the host, for people to read.
    pub(crate) root: String,
    /// The command runs below a stub init.
    pub(crate) stub: bool,
    /// None while it is being started.
    pub(crate) running: Option<Running>,
}

/// What is known once its payload runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    /// Inode numbers by kind, as far as they can be read.
    pub(crate) namespaces: BTreeMap<String, u64>,
    /// Its cgroups.
    pub(crate) groups: Vec<StoredGroup>,
    /// How its payload is confined, or why nobody can join it.
    pub(crate) confinement: Result<Stored, String>,
}

/// A [`Confinement`] without the payload's variables.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    namespaces: u64,
    groups: Vec<(String, bool)>,
    ops: String,
    attended: String,
    scheduled: Vec<(String, String)>,
    uid: u32,
    gid: u32,
    bounding: u64,
    ambient: u64,
    has_groups: bool,
}

/// A cgroup, by its path and what its directory is proved by.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredGroup {
    path: PathBuf,
    unified: bool,
    controllers: Vec<String>,
    kills: bool,
    inode: u64,
}

/// What a v1 group can be made for.
const CONTROLLERS: [&str; 7] = ["memory", "cpu", "cpuset", "blkio", "pids", "devices", "freezer"];

impl StoredGroup {
    pub(crate) fn of(group: &plan::Group, inode: u64) -> Self {
        let controllers = group.controllers.iter().map(|name| (*name).to_owned()).collect();
        Self { path: group.path.clone(), unified: group.unified, controllers, kills: group.kills, inode }
    }

    /// Its directory, if that is still the group that was made.
    pub(crate) fn open(&self) -> Option<groups::Group> {
        use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let directory = openat2(nix::fcntl::AT_FDCWD, &self.path, how).ok()?;
        let magic = if self.unified { fs_magic::CGROUP2 } else { fs_magic::CGROUP };
        let prove = Op::Prove { file: Slot(0), proof: Proof::FileSystem { magic } };
        crate::container::call(&[directory.as_fd()], &prove).ok()?;
        (nix::sys::stat::fstat(&directory).ok()?.st_ino == self.inode).then_some(())?;
        let controllers =
            CONTROLLERS.into_iter().filter(|name| self.controllers.iter().any(|own| own == name)).collect();
        let (path, unified, kills) = (self.path.clone(), self.unified, self.kills);
        Some(groups::Group { plan: plan::Group { path, unified, controllers, kills, slot: Slot(0) }, directory })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

impl Stored {
    pub(crate) fn of(known: &Confinement) -> Self {
        Self {
            namespaces: known.namespaces.0,
            groups: known.groups.iter().map(|group| (hex(group.path.to_bytes()), group.unified)).collect(),
            ops: hex(&known.ops),
            attended: hex(&known.attended),
            scheduled: known.scheduled.iter().map(|(item, how)| ((*item).to_owned(), how.clone())).collect(),
            uid: known.uid,
            gid: known.gid,
            bounding: known.bounding.0,
            ambient: known.ambient.0,
            has_groups: known.has_groups,
        }
    }

    /// The same again, with the variables that every payload has. `None` where
    /// it is not readable.
    pub(crate) fn confinement(&self, machine: &MachineName) -> Option<Confinement> {
        let group = |(path, unified): &(String, bool)| {
            Some(Group { path: CString::new(unhex(path)?).ok()?, unified: *unified })
        };
        let scheduled =
            |(item, how): &(String, String)| Some((*SCHEDULED.iter().find(|known| *known == item)?, how.clone()));
        let (name, home) = match self.uid {
            0 => ("root".to_owned(), "/root"),
            uid => (uid.to_string(), "/"),
        };
        let variables = [
            ("PATH", profile::PATH),
            ("HOME", home),
            ("USER", &name),
            ("LOGNAME", &name),
            ("LANG", "C.UTF-8"),
            ("container", profile::container_variable(Profile::Strict)),
        ];
        Some(Confinement {
            machine: machine.clone(),
            namespaces: Namespaces(self.namespaces),
            groups: self.groups.iter().map(group).collect::<Option<_>>()?,
            ops: unhex(&self.ops)?,
            attended: unhex(&self.attended)?,
            scheduled: self.scheduled.iter().map(scheduled).collect::<Option<_>>()?,
            variables: variables.map(|(name, value)| (name.to_owned(), OsString::from(value))).into(),
            uid: self.uid,
            gid: self.gid,
            bounding: CapabilitySet(self.bounding),
            ambient: CapabilitySet(self.ambient),
            has_groups: self.has_groups,
        })
    }
}

/// What becomes of a process that a record names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Lives,
    Gone,
    /// It is of another process-id namespace: its number means nothing here.
    Elsewhere,
}

pub(crate) fn pidfd_of(pid: u32) -> Result<OwnedFd, Errno> {
    let mut slots = OwnedSlots::new(2);
    slots.slots().put(Slot(0), Cell::Value(u64::from(pid)))?;
    Linux::new().call(&Op::PidfdOpen { pid: Slot(0), into: Slot(1) }, &mut slots.slots())?;
    slots.take(Slot(1)).ok_or(Errno::EBADF)
}

/// When that was, by the clock of now.
pub(crate) fn since(start: u64) -> Option<SystemTime> {
    let ticks = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    let up = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse::<f64>().ok()?;
    let age = Duration::try_from_secs_f64(up).ok()?.saturating_sub(Duration::from_millis(start * 1000 / ticks));
    SystemTime::now().checked_sub(age)
}

/// The time of a process's start, in ticks since boot (`proc(5)`), unless it
/// is dead and waits to be waited for.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).ok()?.start_time()
}

/// Whether a process that started at that time lives. One that exists and that
/// this process may not see (`hidepid`, see `proc(5)`) is taken for it.
pub(crate) fn lives(pid: u32, time: u64) -> bool {
    use nix::errno::Errno;
    match Stat::read(pid) {
        Ok(stat) => stat.start_time() == Some(time),
        Err(_) => {
            let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
            pid.is_some_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH))
        }
    }
}

pub(crate) fn namespace(path: &Path) -> Option<u64> {
    let link = fs::read_link(path).ok()?;
    link.to_str()?.rsplit_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// The namespaces of a process, by kind.
pub(crate) fn namespaces(pid: u32) -> BTreeMap<String, u64> {
    let kinds = ["mnt", "pid", "user", "net", "ipc", "uts"];
    let of = |kind: &str| Some((kind.to_owned(), namespace(Path::new(&format!("/proc/{pid}/ns/{kind}")))?));
    kinds.iter().filter_map(|kind| of(kind)).collect()
}

impl Record {
    pub(crate) const VERSION: u32 = 2;

    /// What a file holds; `None` where that is no record, or not all of one yet.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(content).ok().filter(|record| record.version == Self::VERSION)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether the container that it names lives, or is being started.
    pub(crate) fn fate(&self) -> Fate {
        let here = Registrar::look();
        if here.boot != self.registrar.boot {
            return Fate::Gone;
        }
        if here.pid_namespace != self.registrar.pid_namespace {
            return Fate::Elsewhere;
        }
        let (pid, time) = match &self.running {
            Some(running) => (running.pid, running.start_time),
            None => (self.registrar.pid, self.registrar.start_time),
        };
        if lives(pid, time) { Fate::Lives } else { Fate::Gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        for bytes in [&b""[..], b"\x00\xff", b"/sys/fs/cgroup/a b"] {
            assert_eq!(unhex(&hex(bytes)).as_deref(), Some(bytes));
        }
        for bad in ["0", "zz", "+1", "é"] {
            assert_eq!(unhex(bad).filter(|_| bad != "+1"), None, "{bad}");
        }
    }

    fn new(name: MachineName, registrar: Registrar) -> Record {
        let (version, root) = (Record::VERSION, "/srv/a".to_owned());
        Record { version, name, registrar, kill_signal: 15, root, stub: true, running: None }
    }

    #[test]
    fn this_process_lives_and_another_start_of_it_does_not() {
        let name = MachineName::new("one".to_owned()).unwrap();
        let mut record = new(name, Registrar::look());
        assert_eq!(record.fate(), Fate::Lives);
        assert_eq!(Record::parse(&record.to_bytes()).as_ref(), Some(&record));
        record.registrar.start_time += 1;
        assert_eq!(record.fate(), Fate::Gone);
        record.registrar.pid_namespace += 1;
        assert_eq!(record.fate(), Fate::Elsewhere);
        record.registrar.boot.push('x');
        assert_eq!(record.fate(), Fate::Gone);
    }

    #[test]
    fn a_part_of_a_record_is_none() {
        let name = MachineName::new("one".to_owned()).unwrap();
        let record = new(name, Registrar::default());
        let bytes = record.to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..end]), None, "{end}");
        }
    }
}
