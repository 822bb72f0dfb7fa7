//! The cgroups of a running container, by the directories that the start
//! opened and proved: no path is looked up again.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use skep_sys::wire::Blob;
use skep_sys::{At, Errno, Op, OwnedSlots, Slot};

use crate::compile::cgroups::limits::{self, Host, Running, Said};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{Cgroups, PathFact};
use crate::plan;
use crate::spec::{NumberList, Resources, Want};

/// A group of the container.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) plan: plan::Group,
    pub(crate) directory: OwnedFd,
}

impl Group {
    /// What a file of the group says.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        read(self.directory.as_fd(), name)
    }

    pub(crate) fn open(&self, name: &str) -> Option<OwnedFd> {
        openat(&self.directory, name, FLAGS, Mode::empty()).ok()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }

    /// Whether it has a controller of v1.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.plan.controllers.contains(&controller)
    }

    /// The sum of one line's numbers over the group and all below it.
    fn sum(&self, file: &str, key: &str) -> Option<u64> {
        fn add(directory: BorrowedFd<'_>, file: &str, key: &str, depth: u32) -> Option<u64> {
            let mut sum = keyed(&read(directory, file)?, key)?;
            let open = openat(directory, ".", FLAGS | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
            let mut entries = nix::dir::Dir::from_fd(open).ok()?;
            for entry in entries.iter().flatten().filter(|_| depth > 0) {
                let name = entry.file_name();
                if entry.file_type() == Some(nix::dir::Type::Directory) && name != c"." && name != c".." {
                    let child = openat(directory, name, FLAGS | OFlag::O_DIRECTORY, Mode::empty());
                    let more = child.ok().and_then(|child| add(child.as_fd(), file, key, depth - 1));
                    sum = sum.saturating_add(more.unwrap_or(0));
                }
            }
            Some(sum)
        }
        add(self.directory.as_fd(), file, key, 32)
    }

    fn write(&self, name: &str, value: &str) -> std::result::Result<(), Errno> {
        let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
        let op = Op::Write { dir: At::Slot(Slot(0)), path: &name, content: Blob(value.as_bytes()) };
        self.call(&op)
    }

    /// One op on the group's directory, which is slot 0.
    pub(crate) fn call(&self, op: &Op<'_>) -> std::result::Result<(), Errno> {
        crate::container::call(&[self.directory.as_fd()], op).map(drop)
    }
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

fn read(directory: BorrowedFd<'_>, name: &str) -> Option<String> {
    let file = openat(directory, name, FLAGS, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The number behind a key that begins a line.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// All groups of a container.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) list: Vec<Group>,
    /// One change at a time: a change that fails is taken back.
    changing: Mutex<()>,
}

impl Groups {
    /// Takes the directories out of the slots of the start.
    pub(crate) fn take(plan: &[plan::Group], slots: &mut OwnedSlots) -> Self {
        let open = |group: &plan::Group| Some(Group { plan: group.clone(), directory: slots.keep(group.slot)? });
        Self::new(plan.iter().filter_map(open).collect())
    }

    pub(crate) const fn new(list: Vec<Group>) -> Self {
        Self { list, changing: Mutex::new(()) }
    }

    /// The v2 group, or the v1 group with a controller.
    pub(crate) fn of(&self, controller: &str) -> Option<&Group> {
        self.list.iter().find(|group| group.plan.unified || group.has(controller))
    }

    pub(crate) fn unified(&self) -> Option<&Group> {
        self.list.iter().find(|group| group.plan.unified)
    }

    /// Kills every process, where the end of the first does not.
    pub(crate) fn kill(&self) -> std::result::Result<(), Errno> {
        let kill = Op::KillGroup { dir: At::Slot(Slot(0)), path: c"." };
        let mut all = Ok(());
        for group in self.list.iter().filter(|group| group.plan.kills) {
            // One that fails keeps no other from its turn.
            let killed = group.call(&kill);
            all = all.and(killed);
        }
        all
    }

    /// How many processes the kernel killed for want of memory. A group is new
    /// with its container, so that nothing of an earlier one is counted; groups
    /// that the payload made are. On v1 those that it has removed again are not.
    pub(crate) fn memory_kills(&self) -> Option<u64> {
        let group = self.of("memory")?;
        if group.plan.unified {
            // Hierarchical, but on a mount with `memory_localevents`.
            let whole = keyed(&group.read("memory.events")?, "oom_kill")?;
            return Some(whole.max(group.sum("memory.events.local", "oom_kill").unwrap_or(0)));
        }
        group.sum("memory.oom_control", "oom_kill")
    }

    fn freezer(&self) -> Result<&Group> {
        self.of("freezer").ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the container has no cgroup that can be frozen")
                .remedy("Ask for one at its start: resources.freezing, Command::freezing.")
        })
    }

    pub(crate) fn freeze(&self, on: bool) -> Result<()> {
        let group = self.freezer()?;
        let op = Op::Freeze { group: Slot(0), on, timeout_ms: 10_000 };
        group.call(&op).map_err(|errno| {
            let error = Error::system(if on { "pause the container" } else { "resume the container" }, errno);
            match errno {
                Errno::ETIMEDOUT => error.remedy("A process of it is in an uninterruptible sleep; it runs on."),
                Errno::ENODEV => error.remedy("It has ended."),
                _ => error,
            }
        })
    }

    pub(crate) fn is_frozen(&self) -> Result<bool> {
        let group = self.freezer()?;
        let text = if group.plan.unified { group.read("cgroup.events") } else { group.read("freezer.state") };
        let text = text.ok_or_else(|| Error::system("look whether the container is paused", Errno::ENODEV))?;
        Ok(text.lines().any(|line| line == "frozen 1" || line == "FROZEN"))
    }

    /// Sets what `resources` says, all of it or nothing.
    pub(crate) fn update(&self, resources: &Resources) -> Result<()> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if resources.freezing != Want::Off || resources.delegate {
            let what = "a group that can be frozen, or is delegated, is made at the start only";
            return Err(Error::new(ErrorKind::InvalidSpec, what).remedy("Say it in the Spec."));
        }
        let changes = self.changes(resources)?;
        let mut done: Vec<(&Group, &str, String)> = Vec::new();
        for (group, file, value) in &changes {
            let old = group.read(file).map(|old| before(file, &old, value));
            match group.write(file, value) {
                Ok(()) => done.extend(old.map(|old| (*group, *file, old))),
                Err(errno) => {
                    let mut error = format!("set {file} to {value}: write");
                    for (group, file, old) in done.iter().rev() {
                        if let Err(errno) = group.write(file, old) {
                            error += &format!(" (and {file} could not be set back to {old}: {errno})");
                        }
                    }
                    let error = Error::system(error, errno);
                    return Err(match errno {
                        Errno::ENOENT => error.remedy("The container's group does not have this controller or limit."),
                        Errno::EBUSY => error.remedy("It uses more than that, and nothing can be taken back."),
                        _ => error,
                    });
                }
            }
        }
        Ok(())
    }

    fn changes(&self, resources: &Resources) -> Result<Vec<(&Group, &'static str, String)>> {
        let memory = self.of("memory").filter(|group| !group.plan.unified);
        let number = |name| memory.and_then(|group| group.number(name));
        let (limit, both) = (number("memory.limit_in_bytes"), number("memory.memsw.limit_in_bytes"));
        // Without a limit there is a number that no machine reaches.
        let real = |value: &u64| *value < 1 << 62;
        let running = Running {
            memory: limit.filter(real),
            swap: both.filter(real).zip(limit).map(|(both, limit)| both.saturating_sub(limit)),
        };
        let cpuset = self.of("cpuset").and_then(|group| {
            let files = if group.plan.unified {
                ["../cpuset.cpus.effective", "../cpuset.mems.effective"]
            } else {
                ["../cpuset.effective_cpus", "../cpuset.effective_mems"]
            };
            let [cpus, mems] = files.map(|file| NumberList::parse(group.read(file)?.trim()).ok());
            Some([cpus?, mems?])
        });
        let cgroups = Cgroups { legacy_swap: both.is_some(), cpuset, ..Cgroups::default() };
        let device = |path: &Path| PathFact::look(path).node;
        let host = Host { cgroups: &cgroups, device: &device, running: Some(running) };
        let wanted = limits::wanted(resources, &host).map_err(limits::Bad::error)?;
        let mut changes = Vec::new();
        for wanted in wanted {
            let controller = limits::legacy_name(wanted.controller);
            let group = self.of(controller).ok_or_else(|| {
                let what = format!("{} cannot be changed: the container has no group of `{controller}`", wanted.item);
                Error::new(ErrorKind::Unsupported, what).remedy("Give it a limit of that sort at its start.")
            })?;
            let said = if group.plan.unified { wanted.unified } else { wanted.legacy };
            let Said { files, .. } = said.map_err(|why| {
                Error::new(ErrorKind::Unsupported, format!("{} cannot be changed: {why}", wanted.item))
            })?;
            let at = changes.len();
            changes.extend(files.into_iter().map(|(file, value)| (group, file, value)));
            // v1: a limit on memory may never be above both together.
            let raised = changes.get(at).is_some_and(|(_, file, value)| {
                *file == "memory.limit_in_bytes"
                    && both.is_some_and(|both| value.parse().is_ok_and(|new: u64| new > both))
            });
            if raised && changes.len() == at + 2 {
                changes.swap(at, at + 1);
            }
        }
        Ok(changes)
    }
}

/// What to write to get back to `old`, where `value` is about to be written.
fn before(file: &str, old: &str, value: &str) -> String {
    let device = |none: &str| {
        let number = value.split(' ').next().unwrap_or_default();
        let line = old.lines().find(|line| line.split(' ').next() == Some(number));
        line.map_or_else(|| format!("{number} {none}"), str::to_owned)
    };
    match file {
        "io.max" => device("rbps=max wbps=max riops=max wiops=max"),
        throttle if throttle.starts_with("blkio.throttle.") => device("0"),
        "io.weight" => old.lines().next().unwrap_or_default().to_owned(),
        // An empty write is none.
        _ if old.trim().is_empty() => "\n".to_owned(),
        _ => old.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back() {
        for (file, old, value, back) in [
            ("memory.max", "max\n", "5", "max"),
            ("cpuset.cpus", "\n", "0", "\n"),
            ("io.max", "8:0 rbps=5 wbps=max\n254:0 rbps=7 wbps=max\n", "254:0 rbps=9", "254:0 rbps=7 wbps=max"),
            ("io.max", "8:0 rbps=5\n", "254:0 rbps=9", "254:0 rbps=max wbps=max riops=max wiops=max"),
            ("blkio.throttle.read_bps_device", "", "254:0 9", "254:0 0"),
            ("io.weight", "default 100\n8:0 50\n", "default 7", "default 100"),
        ] {
            assert_eq!(before(file, old, value), back, "{file}");
        }
    }

    #[test]
    fn keys_are_whole_words() {
        assert_eq!(keyed("oom 1\noom_kill 2\n", "oom"), Some(1));
        assert_eq!(keyed("oom 1\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(keyed("oom_kill x\n", "oom_kill"), None);
    }
}
