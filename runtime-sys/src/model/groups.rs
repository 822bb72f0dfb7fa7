//! Cgroups: the one hierarchy of v2, and those of v1 that a host may have.
//!
//! Sources: cgroups(7); kernel `admin-guide/cgroup-v2.rst` and
//! `admin-guide/cgroup-v1`.

use crate::abi::fs_magic;
use crate::errno::Errno;
use crate::kernel::WaitStatus;

use super::Model;
use super::files::{InodeId, Node, Place};
use super::processes::TaskId;
use super::procfs::number;

/// What a directory of a cgroup holds from its birth.
const UNIFIED: &[&str] = &[
    "cgroup.controllers",
    "cgroup.events",
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "cgroup.type",
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "io.max",
    "io.weight",
    "memory.high",
    "memory.low",
    "memory.max",
    "memory.min",
    "memory.oom.group",
    "memory.swap.max",
    "pids.max",
];

/// The same of v1, by controller; every group has the first.
const LEGACY: &[(&str, &[&str])] = &[
    ("", &["cgroup.clone_children", "cgroup.procs", "notify_on_release", "tasks"]),
    (
        "memory",
        &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control", "memory.soft_limit_in_bytes"],
    ),
    ("cpu", &["cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.shares"]),
    ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
    (
        "blkio",
        &[
            "blkio.bfq.weight",
            "blkio.throttle.read_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.write_iops_device",
        ],
    ),
    ("devices", &["devices.allow", "devices.deny"]),
    ("pids", &["pids.max"]),
    ("freezer", &["freezer.state"]),
];

impl Model {
    /// Hierarchies of cgroup v1 beside that of v2, each mounted on
    /// `/cgroup/CONTROLLER`.
    #[must_use]
    pub fn legacy_cgroups(mut self) -> Self {
        for (controller, _) in LEGACY.iter().filter(|row| !row.0.is_empty()) {
            self.mount_legacy(&format!("/cgroup/{controller}"), controller);
        }
        self
    }

    /// A group of v2 below `/sys/fs/cgroup`, with those above it, where `uid` may
    /// make groups.
    #[must_use]
    pub fn group(mut self, path: &str, uid: u32, gid: u32) -> Self {
        let root = self[TaskId(0)].root;
        let mut at = self.built(root, path).inode;
        self.hand_over(at, uid, gid);
        loop {
            if self.content(at, b"cgroup.procs").is_none() {
                self.fill_cgroup(at);
            }
            match self[at].parent {
                Some(above) => at = above,
                None => return self,
            }
        }
    }

    /// A hierarchy of v1 with these controllers, mounted on `path`, where `uid` may
    /// make groups.
    #[must_use]
    pub fn legacy_group(mut self, path: &str, controllers: &[&str], uid: u32, gid: u32) -> Self {
        let top = self.mount_legacy(path, &controllers.join(","));
        self.hand_over(top, uid, gid);
        self
    }

    fn hand_over(&mut self, dir: InodeId, uid: u32, gid: u32) {
        (self[dir].uid, self[dir].gid) = (uid, gid);
        if let Node::Directory(entries) = self[dir].node.clone() {
            entries.into_values().for_each(|file| (self[file].uid, self[file].gid) = (uid, gid));
        }
    }

    pub(super) fn fill_cgroup(&mut self, dir: InodeId) {
        let (uid, gid) = (self[dir].uid, self[dir].gid);
        let fs = self[dir].fs;
        let names: Vec<&str> = if self.magic_of(dir) == fs_magic::CGROUP2 {
            UNIFIED.to_vec()
        } else {
            let own = |row: &&(&str, _)| row.0.is_empty() || self[fs].controllers.iter().any(|own| own == row.0);
            LEGACY.iter().filter(own).flat_map(|row| row.1.iter().copied()).collect()
        };
        for name in names {
            self.add(dir, name.as_bytes(), Node::File(Vec::new()), [uid, gid, 0o644]);
        }
    }

    /// The group of a process in the hierarchy that `dir` belongs to.
    fn group_of(&self, task: TaskId, dir: InodeId) -> InodeId {
        let fs = self[dir].fs;
        let legacy = || self[task].legacy.get(&fs).copied().unwrap_or(self[fs].root);
        if fs == self.cgroups { self[task].cgroup } else { legacy() }
    }

    fn tasks_below(&self, dir: InodeId) -> Vec<TaskId> {
        let below = |task: &TaskId| !self[*task].ended() && self.within(self.group_of(*task, dir), dir);
        (0..self.tasks.len()).map(TaskId).filter(below).collect()
    }

    fn groups_in(&self, dir: InodeId) -> Vec<(Vec<u8>, InodeId)> {
        let Node::Directory(entries) = &self[dir].node else { return Vec::new() };
        let groups = entries.iter().filter(|(_, inode)| self.is_directory(**inode));
        groups.map(|(name, inode)| (name.clone(), *inode)).collect()
    }

    /// cgroups(7), "Removing cgroups": "must contain no child cgroups and no
    /// (nonzombie) processes".
    pub(super) fn may_remove_cgroup(&self, dir: InodeId) -> Result<(), Errno> {
        if !self.is_directory(dir) {
            return Err(Errno::EPERM);
        }
        let busy = !self.groups_in(dir).is_empty() || !self.tasks_below(dir).is_empty();
        if busy { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// A group by its path; `None` where it is gone.
    fn group_at(&mut self, start: Place, path: &[u8]) -> Result<Option<Place>, Errno> {
        let resolve = crate::abi::Resolve::NO_MAGICLINKS.with(crate::abi::Resolve::NO_SYMLINKS);
        match self.walk(start, path, resolve, false) {
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
            Ok(place) if !self.is_directory(place.inode) => Err(Errno::ENOTDIR),
            Ok(place) => match self.magic_of(place.inode) {
                fs_magic::CGROUP | fs_magic::CGROUP2 => Ok(Some(place)),
                _ => Err(Errno::ESTALE),
            },
        }
    }

    /// A group with all below it, the deepest first.
    pub(super) fn remove_group(&mut self, start: Place, path: &[u8]) -> Result<(), Errno> {
        let Some(place) = self.group_at(start, path)? else { return Ok(()) };
        for (name, _) in self.groups_in(place.inode) {
            self.remove_group(place, &name)?;
        }
        self.unlink(start, path, true)
    }

    /// Every process of a group and below: `cgroup.kill`, or by the freezer.
    pub(super) fn kill_group(&mut self, start: Place, path: &[u8]) -> Result<(), Errno> {
        let Some(place) = self.group_at(start, path)? else { return Ok(()) };
        if self.magic_of(place.inode) == fs_magic::CGROUP2 {
            return self.write(place, b"cgroup.kill", b"1");
        }
        self.write(place, b"freezer.state", b"FROZEN")?;
        self.end_all(place.inode);
        self.write(place, b"freezer.state", b"THAWED")
    }

    fn end_all(&mut self, dir: InodeId) {
        self.tasks_below(dir).into_iter().for_each(|task| self.end(task, WaitStatus::Signaled(9)));
    }

    /// Nothing of a model runs by itself: a group is frozen at once.
    pub(super) fn freeze_group(&mut self, place: Place, on: bool) -> Result<(), Errno> {
        match (self.magic_of(place.inode), on) {
            (fs_magic::CGROUP2, true) => self.write(place, b"cgroup.freeze", b"1"),
            (fs_magic::CGROUP2, false) => self.write(place, b"cgroup.freeze", b"0"),
            (fs_magic::CGROUP, true) => self.write(place, b"freezer.state", b"FROZEN"),
            (fs_magic::CGROUP, false) => self.write(place, b"freezer.state", b"THAWED"),
            _ => Err(Errno::ESTALE),
        }
    }

    pub(super) fn write_cgroup(&mut self, file: InodeId, content: &[u8]) -> Result<(), Errno> {
        let dir = self[file].parent.ok_or(Errno::ENODEV)?;
        if self[dir].removed {
            return Err(Errno::ENODEV);
        }
        let (unified, text) = (self[dir].fs == self.cgroups, content.trim_ascii_end());
        match self[file].name.as_slice() {
            b"cgroup.procs" => {
                let pid: u32 = number(content).ok_or(Errno::EINVAL)?;
                let space = self[self.current].spaces.pid;
                let target = if pid == 0 { Some(self.current) } else { self.by_number(space, pid) };
                let target = target.ok_or(Errno::ESRCH)?;
                self.may_hold_processes(dir)?;
                if unified {
                    self[target].cgroup = dir;
                } else {
                    let fs = self[dir].fs;
                    self[target].legacy.insert(fs, dir);
                }
                Ok(())
            }
            b"cgroup.kill" if text == b"1" => {
                self.end_all(dir);
                Ok(())
            }
            b"cgroup.kill" => Err(Errno::EINVAL),
            // "No internal processes" rule, but for the root.
            b"cgroup.subtree_control"
                if self[dir].parent.is_some() && self.tasks.iter().any(|task| !task.ended() && task.cgroup == dir) =>
            {
                Err(Errno::EBUSY)
            }
            b"cgroup.controllers" | b"cgroup.events" => Err(Errno::EINVAL),
            b"freezer.state" if !matches!(text, b"FROZEN" | b"THAWED") => Err(Errno::EINVAL),
            // "memory.memsw.limit_in_bytes" may not be below the other.
            b"memory.memsw.limit_in_bytes" if self.value(dir, b"memory.limit_in_bytes") > number(content) => {
                Err(Errno::EINVAL)
            }
            name if !takes(name, text) => Err(Errno::EINVAL),
            _ => {
                self[file].node = Node::File(content.to_vec());
                Ok(())
            }
        }
    }

    fn content(&self, dir: InodeId, name: &[u8]) -> Option<&[u8]> {
        let Node::Directory(entries) = &self[dir].node else { return None };
        match &self[*entries.get(name)?].node {
            Node::File(content) => Some(content),
            _ => None,
        }
    }

    fn value(&self, dir: InodeId, name: &[u8]) -> Option<u64> {
        number(self.content(dir, name)?)
    }

    /// "No internal processes", from the other side; and a v1 group without
    /// processors or memory nodes holds no process.
    pub(super) fn may_hold_processes(&self, dir: InodeId) -> Result<(), Errno> {
        if !self.is_directory(dir) {
            return Err(Errno::EBUSY);
        }
        if self[dir].parent.is_none() {
            return Ok(());
        }
        if self.content(dir, b"cgroup.subtree_control").is_some_and(|text| text.contains(&b'+')) {
            return Err(Errno::EBUSY);
        }
        let legacy = self.magic_of(dir) == fs_magic::CGROUP;
        let empty = |name: &[u8]| self.content(dir, name).is_some_and(<[u8]>::is_empty);
        if legacy && (empty(b"cpuset.cpus") || empty(b"cpuset.mems")) { Err(Errno::ENOSPC) } else { Ok(()) }
    }
}

/// Whether a file takes a value: of those that plans write.
fn takes(name: &[u8], text: &[u8]) -> bool {
    let within = |least: u64, most: u64| number::<u64>(text).is_some_and(|value| (least..=most).contains(&value));
    match name {
        b"memory.max" | b"memory.high" | b"memory.low" | b"memory.min" | b"memory.swap.max" | b"pids.max" => {
            text == b"max" || within(0, u64::MAX)
        }
        b"memory.oom.group" | b"cgroup.freeze" => within(0, 1),
        b"cpu.weight" => within(1, 10_000),
        b"cpu.shares" => within(2, 262_144),
        b"blkio.bfq.weight" => within(1, 1000),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, DIR, PID, PIDFD, Stand, write};
    use super::*;
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;
    use crate::wire::Blob;

    const GROUP: Slot = Slot(30);

    /// A cgroup `box`, opened as `GROUP`.
    fn grouped() -> Stand {
        let mut stand = Stand::root();
        stand.open(c"/sys/fs/cgroup", DIR);
        stand.ok(Op::Mkdir { dir: At::Slot(DIR), name: c"box", mode: 0o755, exist_ok: false });
        stand.open(c"/sys/fs/cgroup/box", GROUP);
        stand
    }

    fn remove() -> Op<'static> {
        Op::Unlink { dir: At::Slot(DIR), path: c"box", directory: true }
    }

    #[test]
    fn a_cgroup_goes_when_its_processes_have_gone() {
        let mut stand = grouped();
        stand.ok(Op::Write { dir: At::Slot(GROUP), path: c"pids.max", content: Blob(b"64") });
        stand.spawn(ALL, true, Some(GROUP)).unwrap();
        assert_eq!(stand.model.process(Actor::Child).unwrap().cgroup(), "/box");
        let changes = stand.model.host_changes();
        assert_eq!(changes.iter().filter(|change| change.contains("cgroup")).count(), 2, "{changes:?}");
        stand.no(remove(), Errno::EBUSY);
        stand.ok(Op::Write { dir: At::Slot(GROUP), path: c"cgroup.kill", content: Blob(b"1") });
        stand.ok(remove());
        stand.ok(remove());
        assert_eq!(stand.model.host_changes(), ["+ process 1001: not waited for"]);
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 0, into: Slot(12) });
        assert_eq!(stand.cells[12], crate::kernel::Cell::Value(WaitStatus::Signaled(9).to_value()));
        assert!(stand.model.host_changes().is_empty());
    }

    #[test]
    fn processes_move_between_cgroups_by_pid() {
        let mut stand = grouped();
        stand.spawn(ALL, true, None).unwrap();
        let procs = Op::WritePid { dir: At::Slot(GROUP), path: c"cgroup.procs", pid: PID };
        stand.ok(procs);
        assert_eq!(stand.model.process(Actor::Child).unwrap().cgroup(), "/box");
        stand.no(write(c"box/cgroup.subtree_control", b"+memory"), Errno::EBUSY);
        stand.no(write(c"box/cgroup.procs", b"77"), Errno::ESRCH);
        stand.ok(write(c"cgroup.procs", b"1001"));
        stand.ok(write(c"box/cgroup.subtree_control", b"+memory"));
        stand.no(procs, Errno::EBUSY);
        stand.no(
            Op::Create { dir: At::Slot(GROUP), name: c"x", mode: 0, content: Blob(b""), exist_ok: false },
            Errno::EACCES,
        );
        stand.no(Op::Symlink { target: c"x", dir: At::Slot(GROUP), name: c"x" }, Errno::EPERM);
    }

    #[test]
    fn only_a_cgroup_can_be_cloned_into() {
        let mut stand = Stand::root();
        stand.open(c"/usr", GROUP);
        assert_eq!(stand.spawn(ALL, true, Some(GROUP)), Err(Errno::EBADF));
        // And an ordinary user only into its own.
        let mut stand = Stand::user();
        stand.open(c"/sys/fs/cgroup", GROUP);
        assert_eq!(stand.spawn(ALL, true, Some(GROUP)), Err(Errno::EACCES));
        assert_eq!(stand.model.host_changes(), Vec::<String>::new());
    }

    #[test]
    fn a_group_goes_with_those_below_it() {
        let mut stand = grouped();
        let remove = Op::RemoveGroup { dir: At::Cwd, path: c"/sys/fs/cgroup/box" };
        for name in [c"a", c"b"] {
            stand.ok(Op::Mkdir { dir: At::Slot(GROUP), name, mode: 0o755, exist_ok: false });
        }
        stand.spawn(ALL, true, Some(GROUP)).unwrap();
        stand.no(remove, Errno::EBUSY);
        stand.ok(Op::Freeze { group: GROUP, on: true, timeout_ms: 0 });
        stand.ok(Op::KillGroup { dir: At::Cwd, path: c"/sys/fs/cgroup/box" });
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 0, into: Slot(12) });
        stand.ok(remove);
        stand.ok(remove);
        stand.ok(Op::KillGroup { dir: At::Cwd, path: c"/sys/fs/cgroup/box" });
        assert!(stand.model.host_changes().is_empty());
        stand.no(Op::RemoveGroup { dir: At::Cwd, path: c"/usr" }, Errno::ESTALE);
        stand.no(Op::KillGroup { dir: At::Cwd, path: c"/etc/hostname" }, Errno::ENOTDIR);
        stand.open(c"/usr", GROUP);
        stand.no(Op::Freeze { group: GROUP, on: true, timeout_ms: 0 }, Errno::ESTALE);
    }

    #[test]
    fn each_hierarchy_of_v1_has_groups_of_its_own() {
        let mut stand = Stand::on(Model::new().legacy_cgroups());
        stand.open(c"/cgroup/cpuset", DIR);
        stand.ok(Op::Mkdir { dir: At::Slot(DIR), name: c"box", mode: 0o755, exist_ok: false });
        stand.open(c"/cgroup/cpuset/box", GROUP);
        stand.spawn(ALL, true, None).unwrap();
        let procs = Op::WritePid { dir: At::Slot(GROUP), path: c"cgroup.procs", pid: PID };
        stand.no(procs, Errno::ENOSPC);
        stand.ok(write(c"box/cpuset.cpus", b"0"));
        stand.ok(write(c"box/cpuset.mems", b"0"));
        stand.ok(procs);
        assert_eq!(stand.model.process(Actor::Child).unwrap().cgroup(), "/");
        let unfrozen = Op::KillGroup { dir: At::Slot(DIR), path: c"box" };
        stand.no(unfrozen, Errno::ENOENT);
        stand.open(c"/cgroup/freezer", DIR);
        stand.no(write(c"freezer.state", b"cold"), Errno::EINVAL);
        stand.ok(Op::Mkdir { dir: At::Slot(DIR), name: c"box", mode: 0o755, exist_ok: false });
        stand.ok(unfrozen);

        stand.open(c"/cgroup/freezer/box", GROUP);
        stand.ok(procs);
        stand.ok(unfrozen);
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 0, into: Slot(12) });
    }

    #[test]
    fn values_are_looked_at() {
        let mut stand = grouped();
        for (file, good, bad) in [
            (c"box/memory.max", b"max".as_slice(), b"lots".as_slice()),
            (c"box/cpu.weight", b"10000", b"0"),
            (c"box/memory.oom.group", b"1", b"2"),
        ] {
            stand.ok(write(file, good));
            stand.no(write(file, bad), Errno::EINVAL);
        }
    }
}
