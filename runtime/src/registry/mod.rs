//! Containers that other processes of this user can find: one file for each,
//! in a directory that is the user's alone.
//!
//! The name is taken by ops of the plan, before the child exists, and given
//! back by its undo, so by a start that fails, by the handle's clear-up and by
//! the watcher. Whoever looks removes what is stale: the process is gone, or
//! the machine has been started anew.

pub(crate) mod entry;
mod found;
pub(crate) mod left;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::Mode;
use skep_sys::wire::Blob;
use skep_sys::{At, Errno, Kernel, Linux, Op, OwnedSlots, Slot, Slots};

use crate::error::{Error, ErrorKind, Result};
use crate::exec::Confinement;
use crate::plan::{Plan, role};
use crate::spec::MachineName;
use entry::{Fate, Record, Running, Stored, StoredGroup};

pub use found::Found;
pub use left::{Collected, Leftover, gc};

/// Of the user's runtime directory.
pub(crate) const DIRECTORY: &str = "skep";

/// More than any entry has.
const LARGEST: u64 = 1 << 20;

/// How long a file may be no whole record, while it is written.
const WRITING: Duration = Duration::from_secs(10);

/// A registered container of this user.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: MachineName,
    /// The process id of its first process; none while it is being started.
    pub id: Option<u32>,
}

/// The containers of this user that were registered ([`crate::Command::register`])
/// and live, or are being started, by name. Those of another process-id
/// namespace are left out. Entries of containers that are gone are removed.
///
/// # Errors
///
/// [`ErrorKind::SafetyViolation`] where the directory is not this user's alone,
/// or what the kernel answered.
pub fn list() -> Result<Vec<Entry>> {
    let Some(directory) = Directory::of_user()? else { return Ok(Vec::new()) };
    let mut all: Vec<Entry> = directory.records()?.into_iter().map(Entry::of).collect();
    all.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(all)
}

/// Finds a registered container of this user, from any process: its pidfd is
/// opened, and proved by start time and namespaces to be the process that was
/// registered.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] where no such container lives or its start is not
/// over, [`ErrorKind::InvalidSpec`] for what is no name, else as [`list`].
pub fn find(name: &str) -> Result<Found> {
    let name = MachineName::new(name.to_owned())
        .map_err(|error| Error::new(ErrorKind::InvalidSpec, error.to_string()).remedy("Give the container's name."))?;
    let missing = || {
        let remedy = match crate::facts::registry_base(nix::unistd::geteuid().as_raw()) {
            Some(_) => "`skep list` shows those that do; one is registered if its start asked for it.",
            None => {
                "There is no runtime directory that is this user's own, so none is registered: set XDG_RUNTIME_DIR."
            }
        };
        Error::new(ErrorKind::NotFound, format!("no registered container {name} runs")).remedy(remedy)
    };
    let directory = Directory::of_user()?.ok_or_else(missing)?;
    let record = directory.look(&name)?.ok_or_else(missing)?;
    Found::of(record)?.ok_or_else(missing)
}

/// The one container of this process.
pub(crate) fn of_registrar(pid: u32) -> Option<MachineName> {
    let records = Directory::of_user().ok()??.records().ok()?;
    let mut theirs = records.into_iter().filter(|record| record.registrar.pid == pid);
    let first = theirs.next()?;
    theirs.next().is_none().then_some(first.name)
}

/// The directory of this user's entries, which the first registered start makes
/// (mode 0700): `/run/skep` for root, `$XDG_RUNTIME_DIR/skep` for others; `None`
/// where that variable is not set. A program may keep files of its own there
/// whose names start with a dot, which no container's does.
#[must_use]
pub fn registry_directory() -> Option<PathBuf> {
    crate::facts::registry_base(nix::unistd::geteuid().as_raw()).map(|base| base.join(DIRECTORY))
}

impl Entry {
    fn of(record: Record) -> Self {
        Self { id: record.running.as_ref().map(|running| running.pid), name: record.name }
    }
}

/// The registry's directory, open and proved to be this user's alone.
pub(crate) struct Directory {
    file: OwnedFd,
    path: PathBuf,
}

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK);

fn errno(errno: nix::Error) -> Errno {
    Errno::from_raw(errno as u16)
}

impl Directory {
    /// `None` where there is none.
    pub(crate) fn of_user() -> Result<Option<Self>> {
        let uid = nix::unistd::geteuid().as_raw();
        match crate::facts::registry_base(uid) {
            Some(base) => Self::open(&base.join(DIRECTORY), uid),
            None => Ok(None),
        }
    }

    fn open(path: &Path, uid: u32) -> Result<Option<Self>> {
        let failed = |errno| Error::system(format!("open the registry {}", path.display()), errno);
        let file = match open(path, READ | OFlag::O_DIRECTORY, Mode::empty()) {
            Ok(file) => file,
            Err(nix::Error::ENOENT) => return Ok(None),
            Err(error) => return Err(failed(errno(error))),
        };
        let stat = nix::sys::stat::fstat(&file).map_err(|error| failed(errno(error)))?;
        if stat.st_uid != uid || stat.st_mode & 0o077 != 0 {
            return Err(failed(Errno::ESTALE).remedy("It must belong to you and have mode 0700: remove what is there."));
        }
        Ok(Some(Self { file, path: path.to_owned() }))
    }

    /// What a file of it holds, and when it was last written.
    fn read(&self, name: &str) -> Option<(Vec<u8>, std::time::SystemTime)> {
        let file = File::from(openat(&self.file, name, READ, Mode::empty()).ok()?);
        let data = file.metadata().ok()?;
        let own = data.is_file() && data.uid() == nix::unistd::geteuid().as_raw();
        let mut content = Vec::new();
        (own && file.take(LARGEST).read_to_end(&mut content).is_ok()).then_some(())?;
        Some((content, data.modified().ok()?))
    }

    /// The record of this name, and whether the name can be given to another.
    fn judge(&self, name: &str) -> (Option<Record>, bool) {
        let Some((content, written)) = self.read(name) else { return (None, false) };
        match Record::parse(&content).filter(|record| record.name.as_str() == name) {
            Some(record) => match record.fate() {
                Fate::Lives => (Some(record), false),
                Fate::Gone => (None, true),
                Fate::Elsewhere => (None, false),
            },
            None => (None, written.elapsed().is_ok_and(|age| age > WRITING)),
        }
    }

    fn look(&self, name: &MachineName) -> Result<Option<Record>> {
        let (record, stale) = self.judge(name.as_str());
        if stale {
            self.clear(&mut Linux::new(), name)?;
        }
        Ok(record)
    }

    fn names(&self) -> Result<Vec<MachineName>> {
        let failed =
            |error: nix::Error| Error::system(format!("read the registry {}", self.path.display()), errno(error));
        let mut open =
            nix::dir::Dir::openat(&self.file, ".", READ | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for found in open.iter() {
            names.extend(MachineName::new(found.map_err(failed)?.file_name().to_string_lossy().into_owned()));
        }
        Ok(names)
    }

    fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for name in self.names()? {
            records.extend(self.look(&name)?);
        }
        Ok(records)
    }

    /// Removes what is stale, one at a time: who has found it stale may find
    /// another's here by now. Whether it was.
    fn clear<K: Kernel>(&self, kernel: &mut K, name: &MachineName) -> Result<bool> {
        let what = || format!("remove the stale entry {} of the registry", self.path.join(name.as_str()).display());
        let mut file = File::from(
            open(&self.path, READ | OFlag::O_DIRECTORY, Mode::empty())
                .map_err(|error| Error::system(what(), errno(error)))?,
        );
        let mut tries = 0;
        let _locked = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((back, nix::Error::EAGAIN)) if tries < 1000 => {
                    file = back;
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((_, error)) => return Err(Error::system(what(), errno(error))),
            }
        };
        if !self.judge(name.as_str()).1 {
            return Ok(false);
        }
        let path = CString::new(name.as_str()).map_err(|_| Error::system(what(), Errno::EINVAL))?;
        let mut slots = OwnedSlots::new(1);
        let own = self.file.try_clone().map_err(|error| Error::system(what(), crate::watcher::errno_of(&error)))?;
        slots.give(Slot(0), own);
        let unlink = Op::Unlink { dir: At::Slot(Slot(0)), path: &path, directory: false };
        kernel.call(&unlink, &mut slots.slots()).map_err(|errno| Error::system(what(), errno))?;
        Ok(true)
    }
}

/// Whether what the name's entry says is of a container that is gone; `None` where there
/// is no entry.
pub(crate) fn is_stale(name: &str) -> Option<bool> {
    let directory = Directory::of_user().ok()??;
    directory.read(name)?;
    Some(directory.judge(name).1)
}

/// Before a start: a stale entry of this name goes.
pub(crate) fn clear<K: Kernel>(kernel: &mut K, plan: &Plan) -> Result<()> {
    let Some(registration) = &plan.registration else { return Ok(()) };
    let path = Path::new(std::ffi::OsStr::new(registration.directory.to_str().unwrap_or_default()));
    // One that is not the user's alone is refused by the plan's own ops.
    let Ok(Some(directory)) = Directory::open(path, registration.uid) else { return Ok(()) };
    match directory.judge(plan.machine.as_str()) {
        (_, true) => directory.clear(kernel, &plan.machine).map(drop),
        _ => Ok(()),
    }
}

/// After a start: the entry says how to find the container. One write, which
/// is a whole record or none.
pub(crate) fn complete<K: Kernel>(kernel: &mut K, plan: &Plan, pid: Option<u32>, slots: &mut Slots<'_>) -> Result<()> {
    let Some(registration) = &plan.registration else { return Ok(()) };
    let mut record = registration.record.clone();
    record.running = pid.map(|pid| Running {
        pid,
        start_time: entry::start_time(pid).unwrap_or(0),
        namespaces: entry::namespaces(pid),
        groups: groups(plan, slots),
        confinement: Confinement::of(plan).map(|known| Stored::of(&known)).map_err(|error| error.to_string()),
    });
    if record.running.as_ref().is_some_and(|running| running.start_time == 0) {
        // It has ended already; the handle will say how.
        return Ok(());
    }
    let content = record.to_bytes();
    let write = Op::Write { dir: At::Slot(role::REGISTRY), path: &registration.name, content: Blob(&content) };
    kernel.call(&write, slots).map_err(|errno| {
        let path = registration.path.to_string_lossy();
        Error::system(format!("complete the entry {path}: write"), errno).remedy("The file system may be full.")
    })
}

fn groups(plan: &Plan, slots: &Slots<'_>) -> Vec<StoredGroup> {
    let inode = |slot| {
        let number = slots.descriptor(slot).ok()?;
        fs::metadata(format!("/proc/self/fd/{number}")).ok().map(|data| data.ino())
    };
    plan.groups.iter().filter_map(|group| Some(StoredGroup::of(group, inode(group.slot)?))).collect()
}
