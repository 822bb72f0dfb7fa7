//! The host that a model starts with, and what a new file system holds.

use std::collections::BTreeMap;

use crate::abi::{CapabilitySet, MountAttrs, Namespaces, fs_magic};
use crate::program::Actor;

use super::credentials::Cred;
use super::descriptors::{Access, Entry, Handle, Object};
use super::file_systems::{FileSystem, FsId, FsKind, fs_kind};
use super::files::{Inode, InodeId, Node, Place};
use super::mounts::{Mount, MountId, Within};
use super::namespaces::{Content, Membership, UserSpace};
use super::processes::{State, Task, TaskId};
use super::{Model, SpaceId, UserId};

/// What procfs holds beside processes.
pub(super) const PROC: &[&str] = &[
    "acpi/",
    "asound/",
    "bus/",
    "fs/",
    "irq/",
    "scsi/",
    "cmdline",
    "cpuinfo",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "loadavg",
    "meminfo",
    "sched_debug",
    "stat",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "uptime",
    "version",
    "sys/fs/mqueue/msg_max",
    "sys/kernel/cap_last_cap",
    "sys/kernel/core_pattern",
    "sys/kernel/domainname",
    "sys/kernel/hostname",
    "sys/kernel/msgmax",
    "sys/kernel/msgmnb",
    "sys/kernel/msgmni",
    "sys/kernel/random/boot_id",
    "sys/kernel/sem",
    "sys/kernel/shmall",
    "sys/kernel/shmmax",
    "sys/kernel/shmmni",
    "sys/kernel/shm_rmid_forced",
    "sys/net/ipv4/ip_forward",
    "sys/net/ipv4/ip_unprivileged_port_start",
    "sys/net/ipv4/ping_group_range",
    "sys/user/max_cgroup_namespaces",
    "sys/user/max_ipc_namespaces",
    "sys/user/max_mnt_namespaces",
    "sys/user/max_net_namespaces",
    "sys/user/max_pid_namespaces",
    "sys/user/max_time_namespaces",
    "sys/user/max_user_namespaces",
    "sys/user/max_uts_namespaces",
    "sys/vm/",
];

pub(super) const SYS: &[&str] = &[
    "block/",
    "bus/",
    "class/",
    "dev/block/",
    "dev/char/",
    "devices/virtual/",
    "devices/virtual/powercap/",
    "firmware/",
    "fs/cgroup/",
    "kernel/",
    "kernel/debug/",
    "kernel/mm/",
    "module/",
    "power/state",
];

const DEVICES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("kmsg", 1, 11),
    ("fuse", 10, 229),
    ("console", 5, 1),
];

impl Model {
    /// A file system with what is in it from the beginning.
    pub(super) fn new_file_system(&mut self, kind: &'static FsKind, user: UserId, space: Option<SpaceId>) -> FsId {
        let fs = FsId(self.file_systems.len());
        let mode = if matches!(kind.magic, fs_magic::TMPFS | fs_magic::MQUEUE) { 0o1777 } else { 0o755 };
        let root = self.new_inode(Inode {
            fs,
            parent: None,
            name: Vec::new(),
            node: Node::Directory(BTreeMap::new()),
            uid: 0,
            gid: 0,
            mode,
            removed: false,
        });
        let name = kind.name.to_owned();
        let controllers = Vec::new();
        self.file_systems.push(FileSystem {
            kind,
            user,
            root,
            name,
            controllers,
            read_only: false,
            options: Vec::new(),
            shown: String::new(),
            space,
        });
        let (paths, place) = match kind.name {
            "proc" => (PROC, "/proc/"),
            "sysfs" => (SYS, "/sys/"),
            _ => (&[][..], "//"),
        };
        let missing = |path: &str| self.missing.iter().any(|row| row.strip_prefix(place) == Some(path));
        for path in paths.iter().filter(|path| !missing(path)).collect::<Vec<_>>() {
            self.plant(root, path);
        }
        for path in self.kernel_files.clone().iter().filter_map(|path| path.strip_prefix(place)) {
            self.plant(root, path);
        }
        match kind.name {
            "devpts" => {
                self.add(root, b"ptmx", Node::Device { block: false, major: 5, minor: 2 }, [0, 0, 0]);
            }
            "mqueue" => {
                let (uid, gid) = self.tasks.first().map_or((0, 0), |_| (self.cred().uid.fs, self.cred().gid.fs));
                (self[root].uid, self[root].gid) = (uid, gid);
            }
            "cgroup2" => self.fill_cgroup(root),
            _ => {}
        }
        fs
    }

    /// Directories, and a file at the end unless the path ends in `/`.
    pub(super) fn plant(&mut self, root: InodeId, path: &str) -> InodeId {
        let mut at = root;
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let directory = parts.peek().is_some() || path.ends_with('/');
            let existing = match &self[at].node {
                Node::Directory(entries) => entries.get(part.as_bytes()).copied(),
                _ => None,
            };
            at = existing.unwrap_or_else(|| {
                let (node, mode) =
                    if directory { (Node::Directory(BTreeMap::new()), 0o755) } else { (Node::File(Vec::new()), 0o644) };
                self.add(at, part.as_bytes(), node, [0, 0, mode])
            });
        }
        at
    }

    /// The host before its author adds to it.
    pub(super) fn bare(uid: u32, last_capability: u8) -> Self {
        let mut model = Self {
            inodes: Vec::new(),
            file_systems: Vec::new(),
            mounts: Vec::new(),
            users: vec![UserSpace::initial()],
            spaces: Vec::new(),
            tasks: Vec::new(),
            files: Vec::new(),
            wires: Vec::new(),
            synthetic: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            entrusted: BTreeMap::new(),
            device_programs: Vec::new(),
            foreign_locks: Vec::new(),
            kernel_files: Vec::new(),
            missing: Vec::new(),
            processors: (0..64).collect(),
            memory: 1 << 21,
            numbers: BTreeMap::new(),
            subids: Vec::new(),
            terminals: BTreeMap::new(),
            actors: [Some(TaskId(0)), None, None],
            actor: Actor::Host,
            current: TaskId(0),
            inherited: None,
            forked: None,
            last_capability,
            last_group: 0,
            last_keyring: 1,
            seeking: false,
            file_capabilities: BTreeMap::new(),
            kernel: (6, 18),
            cgroups: FsId(0),
            dirty: false,
            baseline: None,
        };
        let user = UserId::INITIAL;
        let pid = model.new_space(Namespaces::PID, user, Content::Pid { next: 1000, init: None });
        let rootfs = model.host_file_system("rootfs", None);
        let root = model.host_file_system("ext4", None);
        let mount_space = model.new_space(Namespaces::MOUNT, user, Content::Mount { root: MountId(0) });
        // "/" lies on the initial rootfs, so that pivot_root can leave it.
        let below = model.host_mount(rootfs, None, mount_space);
        let rootfs_root = model[rootfs].root;
        let top = model.host_mount(root, Some(Place { mount: below, inode: rootfs_root }), mount_space);
        let top = Place { mount: top, inode: model[root].root };

        let uts = Content::Uts { host: b"host".to_vec(), domain: b"(none)".to_vec() };
        let uts = model.new_space(Namespaces::UTS, user, uts);
        let network = Content::Network(Box::new(super::networks::Network::host()));
        let network = model.new_space(Namespaces::NETWORK, user, network);
        let ipc = model.new_space(Namespaces::IPC, user, Content::Plain);
        let time = model.new_space(Namespaces::TIME, user, Content::Plain);

        let root = top.inode;
        for path in [
            "dev/",
            "etc/hostname",
            "etc/os-release",
            "proc/",
            "run/",
            "srv/",
            "sys/",
            "tmp/",
            "usr/bin/sh",
            "usr/bin/true",
            "usr/bin/newgidmap",
            "usr/bin/newuidmap",
            "usr/lib/",
            "usr/sbin/init",
            "var/lib/machines/",
        ] {
            model.plant(root, path);
        }
        for (name, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
            model.add(root, name.as_bytes(), Node::Symlink(target.as_bytes().to_vec()), [0, 0, 0o777]);
        }
        let everything: Vec<_> = (0..model.inodes.len()).map(InodeId).collect();
        for inode in everything {
            let mode = match model[inode].name.as_slice() {
                b"newuidmap" | b"newgidmap" => 0o4755,
                b"sh" | b"true" | b"init" => 0o755,
                b"tmp" => 0o1777,
                _ => continue,
            };
            model[inode].mode = mode;
        }
        for (path, kind, space) in [
            ("dev", "devtmpfs", None),
            ("proc", "proc", Some(pid)),
            ("sys", "sysfs", Some(network)),
            ("run", "tmpfs", None),
        ] {
            model.mount_fresh(top, path, kind, space, mount_space);
        }
        model.cgroups = model.mount_fresh(top, "sys/fs/cgroup", "cgroup2", None, mount_space);
        let cgroup_root = model[model.cgroups].root;
        let cgroup = model.new_space(Namespaces::CGROUP, user, Content::Cgroup { root: cgroup_root });

        let dev = model.built(top, "dev");
        model[dev.inode].mode = 0o755;
        for (name, major, minor) in DEVICES {
            let node = Node::Device { block: false, major: *major, minor: *minor };
            model.add(dev.inode, name.as_bytes(), node, [0, 0, 0o666]);
        }
        for (name, target) in [("fd", "/proc/self/fd"), ("ptmx", "pts/ptmx")] {
            model.add(dev.inode, name.as_bytes(), Node::Symlink(target.as_bytes().to_vec()), [0, 0, 0o777]);
        }
        for (path, kind) in [("dev/pts", "devpts"), ("dev/shm", "tmpfs"), ("dev/mqueue", "mqueue")] {
            model.mount_fresh(top, path, kind, None, mount_space);
        }
        let run = model.built(top, "run");
        model[run.inode].mode = 0o755;

        let spaces = Membership {
            mount: mount_space,
            uts,
            ipc,
            network,
            cgroup,
            pid,
            pid_for_children: pid,
            time,
            time_for_children: time,
        };
        let cred = Cred::new(uid, CapabilitySet::up_to(last_capability));
        model.tasks.push(Task::host(cred, spaces, top, cgroup_root));
        // The embedder's standard descriptors, and one that it leaks: its
        // author forgot O_CLOEXEC.
        let null = model.built(top, "dev/null");
        let leaked = model.built(top, "etc/hostname");
        for (number, place) in [(0, null), (1, null), (2, null), (3, leaked)] {
            let access = if number == 0 || number == 3 { Access::Read } else { Access::Write };
            let file = model.new_file(Object::Path(Handle { place, access, tree: false }));
            model[TaskId(0)].table.insert(number, Entry { file, close_on_exec: false });
        }
        model[TaskId(0)].state = State::Running;
        model
    }

    pub(super) fn host_file_system(&mut self, name: &str, space: Option<SpaceId>) -> FsId {
        match fs_kind(name) {
            Some(kind) => self.new_file_system(kind, UserId::INITIAL, space),
            // Every name in this file is in the table; a test walks them.
            None => FsId(0),
        }
    }

    /// A host mount: shared, as an init system makes them.
    fn host_mount(&mut self, fs: FsId, parent: Option<Place>, space: SpaceId) -> MountId {
        let group = parent.map(|_| {
            self.last_group += 1;
            self.last_group
        });
        let root = self[fs].root;
        let source = if self[fs].name == "ext4" { "/dev/vda" } else { &self[fs].name }.to_owned();
        self.new_mount(Mount {
            fs,
            root,
            source,
            parent,
            within: Within::Namespace(space),
            attrs: MountAttrs::NONE,
            locked_attrs: MountAttrs::NONE,
            locked: false,
            group,
            master: None,
            idmap: None,
            origin: None,
            since: 0,
        })
    }

    fn mount_fresh(&mut self, root: Place, path: &str, kind: &str, space: Option<SpaceId>, mounts: SpaceId) -> FsId {
        let fs = self.host_file_system(kind, space);
        let at = self.built(root, path);
        let mount = self.host_mount(fs, Some(at), mounts);
        if path != "dev" {
            self[mount].attrs = MountAttrs::NOSUID.with(MountAttrs::NODEV);
        }
        if matches!(kind, "proc" | "sysfs" | "cgroup2") {
            self[mount].attrs = self[mount].attrs.with(MountAttrs::NOEXEC);
        }
        if path == "dev/pts" {
            self[mount].attrs = MountAttrs::NOSUID.with(MountAttrs::NOEXEC);
        }
        fs
    }

    /// A hierarchy of cgroup v1, on a directory of its own.
    pub(super) fn mount_legacy(&mut self, path: &str, controllers: &str) -> InodeId {
        let root = self[TaskId(0)].root;
        let space = SpaceId::HOST_MOUNTS;
        let fs = self.mount_fresh(root, path, "cgroup", None, space);
        self[fs].controllers = controllers.split(',').map(str::to_owned).collect();
        let top = self[fs].root;
        self.fill_cgroup(top);
        top
    }

    pub(super) fn mount_on_host(&mut self, root: Place, path: &str, space: SpaceId) {
        self.mount_fresh(root, path.trim_start_matches('/'), "tmpfs", None, space);
    }

    /// The place of a path, with the directories that are missing; links are
    /// not followed.
    pub(super) fn built(&mut self, root: Place, path: &str) -> Place {
        let mut at = root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let existing = match &self[at.inode].node {
                Node::Directory(entries) => entries.get(part.as_bytes()).copied(),
                _ => None,
            };
            let found = match existing {
                // As a path is walked: to where the link leads.
                Some(inode) if matches!(self[inode].node, Node::Symlink(_)) => self.seek(at, part, true).ok(),
                Some(inode) => Some(self.topmost(Place { mount: at.mount, inode })),
                None => None,
            };
            at = match found {
                Some(found) => found,
                None => {
                    let inode = self.add(at.inode, part.as_bytes(), Node::Directory(BTreeMap::new()), [0, 0, 0o755]);
                    self.topmost(Place { mount: at.mount, inode })
                }
            };
        }
        at
    }

    /// Puts something at a path of the host, replacing what was there.
    pub(super) fn build(&mut self, path: &str, node: Node, mode: u32) -> InodeId {
        let root = self[TaskId(0)].root;
        let (head, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let dir = self.built(root, head);
        self.add(dir.inode, name.as_bytes(), node, [0, 0, mode])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_below_a_link_lies_where_the_link_leads() {
        let mut model = Model::new().directory("/lib/deep");
        assert!(model.inode("/usr/lib/deep").is_some());
        assert_eq!(model.inode("/lib/deep"), model.inode("/usr/lib/deep"));
        let mut model = Model::new().symlink("/nowhere", "/gone").directory("/nowhere/deep");
        assert!(model.inode("/nowhere/deep").is_some());
    }

    #[test]
    fn the_host_has_what_plans_look_for() {
        let mut model = Model::bare(0, 40);
        let root = model[TaskId(0)].root;
        for (path, fs) in [
            ("/usr/bin/true", "ext4"),
            ("/proc/sys/kernel/hostname", "proc"),
            ("/proc/self/uid_map", "proc"),
            ("/sys/fs/cgroup/cgroup.procs", "cgroup2"),
            ("/dev/pts/ptmx", "devpts"),
            ("/dev/urandom", "devtmpfs"),
            ("/run", "tmpfs"),
        ] {
            let place = model.walk(root, path.as_bytes(), crate::abi::Resolve::NONE, true).unwrap();
            assert_eq!(model[model[place.inode].fs].kind.name, fs, "{path}");
        }
        // The parent of "/" exists and is not seen.
        assert!(model[root.mount].parent.is_some());
        assert_eq!(model.mountinfo(model[TaskId(0)].spaces.mount, root).len(), 9);
    }
}
