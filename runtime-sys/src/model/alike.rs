//! A host that is like a real one: what a test saw there, told.
//!
//! Sources: proc(5), "/proc/pid/mountinfo".

use std::collections::BTreeMap;

use crate::abi::{MountAttrs, Resource, fs_magic};

use super::credentials::Cred;
use super::descriptors::{Access, Entry, Handle, Object};
use super::file_systems::{FsId, PAGE, fs_kind};
use super::files::{Node, Place};
use super::host::{PROC, SYS};
use super::mounts::{Mount, MountId, Within, unmangled};
use super::namespaces::Content;
use super::processes::TaskId;
use super::{Credentials, Model, SpaceId, UserId};

impl Model {
    /// The host's mounts instead of the usual ones, as its own
    /// `/proc/self/mountinfo` lists them, each with whether it shows a directory.
    /// To be told before files are. Lines that are none are passed over.
    ///
    /// ```
    /// use skep_sys::{Actor, Model};
    ///
    /// let root = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw";
    /// let proc = "22 21 0:21 / /proc rw,nosuid,relatime shared:2 - proc proc rw";
    /// let model = Model::new().mounts([(root, true), (proc, true)]);
    /// let seen = model.process(Actor::Host).map(|host| host.mountinfo()).unwrap_or_default();
    /// assert!(seen[1].ends_with("/ /proc rw,nosuid,relatime shared:2 - proc proc rw"), "{seen:?}");
    /// ```
    #[must_use]
    pub fn mounts<'l>(mut self, lines: impl IntoIterator<Item = (&'l str, bool)>) -> Self {
        let space = SpaceId::HOST_MOUNTS;
        let Content::Mount { root: below } = self[space].content else { return self };
        for mount in self.mounts_of(space).filter(|mount| *mount != below).collect::<Vec<_>>() {
            let mount = &mut self[mount];
            (mount.within, mount.parent, mount.group, mount.master) = (Within::Nowhere, None, None, None);
        }
        let told: Vec<_> = lines.into_iter().filter_map(|(line, dir)| Some((Line::parse(line)?, dir))).collect();
        let mut seen = Seen::default();
        for (line, directory) in &told {
            self.mount_line(line, *directory, &mut seen);
        }
        // A parent may come after its children.
        for (line, directory) in &told {
            self.put_on_parent(line, *directory, &seen);
        }
        let top = self.topmost(self.root_of(below));
        let host = &mut self[TaskId(0)];
        (host.root, host.cwd) = (top, top);
        self.reopen();
        self
    }

    fn mount_line(&mut self, line: &Line<'_>, directory: bool, seen: &mut Seen) {
        let fs = match seen.file_systems.get(line.device) {
            Some(fs) => *fs,
            None => self.told_file_system(line),
        };
        seen.file_systems.insert(line.device.to_owned(), fs);
        let (top, slash) = (self[fs].root, if directory { "/" } else { "" });
        let root = self.plant(top, &format!("{}{slash}", line.root));
        self.last_group = [Some(self.last_group), line.group, line.master].into_iter().flatten().max().unwrap_or(0);
        let mount = self.new_mount(Mount {
            fs,
            root,
            source: unmangled(line.source),
            parent: None,
            within: Within::Namespace(SpaceId::HOST_MOUNTS),
            attrs: line.attrs,
            locked_attrs: MountAttrs::NONE,
            locked: false,
            group: line.group,
            master: line.master,
            idmap: None,
            origin: None,
            since: 0,
        });
        seen.mounts.insert(line.id.to_owned(), (mount, line.point.clone()));
    }

    fn put_on_parent(&mut self, line: &Line<'_>, directory: bool, seen: &Seen) {
        let Some((mount, _)) = seen.mounts.get(line.id) else { return };
        let on = match seen.mounts.get(line.parent) {
            Some((parent, point)) => {
                let rest = line.point.strip_prefix(point.trim_end_matches('/')).unwrap_or(&line.point);
                let (from, slash) = (self[*parent].root, if directory { "/" } else { "" });
                Some(Place { mount: *parent, inode: self.plant(from, &format!("{rest}{slash}")) })
            }
            None => match self[SpaceId::HOST_MOUNTS].content {
                Content::Mount { root } => Some(self.root_of(root)),
                _ => None,
            },
        };
        if let Some(on) = on {
            self.put_on(*mount, on);
        }
    }

    /// A type that the model has not is one that holds files, like `ext4`.
    fn told_file_system(&mut self, line: &Line<'_>) -> FsId {
        let spaces = self[TaskId(0)].spaces;
        let space = match line.kind {
            "proc" => Some(spaces.pid),
            "sysfs" => Some(spaces.network),
            "mqueue" => Some(spaces.ipc),
            _ => None,
        };
        let fs = match (line.kind, fs_kind(line.kind).or_else(|| fs_kind("ext4"))) {
            // There is one hierarchy of v2.
            ("cgroup2", _) | (_, None) => self.cgroups,
            (_, Some(kind)) => self.new_file_system(kind, UserId::INITIAL, space),
        };
        let told = &mut self[fs];
        told.name = line.kind.to_owned();
        told.read_only = line.options.split(',').any(|option| option == "ro");
        told.shown = line.options.get(3..).unwrap_or_default().to_owned();
        if told.kind.magic == fs_magic::CGROUP {
            told.controllers = line.options.split(',').map(str::to_owned).collect();
            let root = told.root;
            self.fill_cgroup(root);
        }
        fs
    }

    /// The embedder's descriptors are of the mounts that there are now.
    fn reopen(&mut self) {
        let root = self[TaskId(0)].root;
        let null = self.built(root, "dev");
        let node = Node::Device { block: false, major: 1, minor: 3 };
        let inode = self.add(null.inode, b"null", node, [0, 0, 0o666]);
        for file in self[TaskId(0)].table.values().map(|entry| entry.file).collect::<Vec<_>>() {
            let place = Place { mount: null.mount, inode };
            self[file].object = Object::Path(Handle { place, access: Access::Read, tree: false });
        }
    }

    /// What procfs and sysfs hold wherever they are mounted: of what they hold usually,
    /// what is `there`, and `more`. A directory ends in `/`: `/sys/hypervisor/`. To be
    /// told before mounts are.
    #[must_use]
    pub fn kernel_files<'p>(
        mut self,
        mut there: impl FnMut(&str) -> bool,
        more: impl IntoIterator<Item = &'p str>,
    ) -> Self {
        let usual =
            PROC.iter().map(|path| format!("/proc/{path}")).chain(SYS.iter().map(|path| format!("/sys/{path}")));
        self.missing = usual.filter(|path| !there(path)).collect();
        self.kernel_files = more.into_iter().map(str::to_owned).collect();
        self
    }

    /// How much memory the host has, in bytes: 8 GiB, unless told.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes / PAGE;
        self
    }

    /// The processors that the embedder may run on: 0 to 63, unless told.
    #[must_use]
    pub fn processors(mut self, numbers: impl IntoIterator<Item = u32>) -> Self {
        self.processors = numbers.into_iter().collect();
        self
    }

    /// `st_dev` and `st_ino` of what lies at `path`; a link at the end is meant
    /// itself. So a plan that proves inodes of a real host holds here.
    #[must_use]
    pub fn numbered(mut self, path: &str, device: u64, inode: u64) -> Self {
        let root = self[TaskId(0)].root;
        if let Ok(place) = self.seek(root, path, false) {
            self.numbers.insert(place.inode, (device, inode));
        }
        self
    }

    /// Ids, groups and capability sets of the embedder.
    #[must_use]
    pub fn credentials(mut self, told: &Credentials) -> Self {
        let host = &mut self[TaskId(0)];
        host.dumpable = told.dumpable;
        host.cred = Cred {
            uid: told.uid,
            gid: told.gid,
            groups: told.groups.clone(),
            effective: told.effective,
            permitted: told.permitted,
            inheritable: told.inheritable,
            bounding: told.bounding,
            ambient: told.ambient,
            securebits: told.securebits,
            no_new_privs: told.no_new_privs,
            // Of their programs nothing is known.
            filters: vec![std::sync::Arc::from(&[][..]); told.filters],
            ..host.cred.clone()
        };
        self
    }

    /// A resource limit of the embedder.
    #[must_use]
    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        if let Some(limit) = self[TaskId(0)].limits.get_mut(usize::from(resource.0)) {
            *limit = (soft, hard);
        }
        self
    }

    /// The numbers of the embedder's descriptors, each of `/dev/null` and, as a careless
    /// program has it, not close-on-exec. To be told after mounts are.
    #[must_use]
    pub fn descriptors(mut self, numbers: impl IntoIterator<Item = i32>) -> Self {
        let file = self[TaskId(0)].table.values().next().map(|entry| entry.file);
        let entry = file.map(|file| Entry { file, close_on_exec: false });
        self[TaskId(0)].table = numbers.into_iter().filter_map(|number| Some((number, entry?))).collect();
        self
    }

    /// The umask of the embedder.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self[TaskId(0)].umask = mask;
        self
    }

    /// The signals that the embedder blocks and ignores, as [`crate::Process::signals`]
    /// has them.
    #[must_use]
    pub fn signals(mut self, blocked: u64, ignored: u64) -> Self {
        let signals = &mut self[TaskId(0)].signals;
        (signals.blocked, signals.ignored) = (blocked, ignored);
        self
    }

    /// The host's name.
    #[must_use]
    pub fn hostname(mut self, name: &str) -> Self {
        let space = self[TaskId(0)].spaces.uts;
        if let Content::Uts { host, .. } = &mut self[space].content {
            *host = name.as_bytes().to_vec();
        }
        self
    }

    /// The embedder's group in the hierarchy of v2.
    #[must_use]
    pub fn cgroup(mut self, path: &str) -> Self {
        let mut at = self[self.cgroups].root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.entry(at, name.as_bytes()).unwrap_or_else(|| {
                let group = self.add(at, name.as_bytes(), Node::Directory(BTreeMap::new()), [0, 0, 0o755]);
                self.fill_cgroup(group);
                group
            });
        }
        self[TaskId(0)].cgroup = at;
        self
    }
}

/// Mounts by their number, with where they are, and file systems by their device.
#[derive(Default)]
struct Seen {
    mounts: BTreeMap<String, (MountId, String)>,
    file_systems: BTreeMap<String, FsId>,
}

/// A line of mountinfo.
struct Line<'l> {
    id: &'l str,
    parent: &'l str,
    device: &'l str,
    root: String,
    point: String,
    attrs: MountAttrs,
    group: Option<u32>,
    master: Option<u32>,
    kind: &'l str,
    source: &'l str,
    options: &'l str,
}

impl<'l> Line<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let mut next = || before.next();
        let (id, parent, device, root, point, flags) = (next()?, next()?, next()?, next()?, next()?, next()?);
        let mut attrs = flags.split(',').fold(MountAttrs::NONE, |attrs, flag| {
            let known = MountAttrs::NAMES.iter().find(|row| row.1 == flag);
            known.map_or(attrs, |row| attrs.with(row.0))
        });
        // What says neither is neither.
        if !flags.split(',').any(|flag| ["relatime", "noatime"].contains(&flag)) {
            attrs = attrs.with(MountAttrs::STRICTATIME);
        }
        let tags: Vec<&str> = before.collect();
        let tag = |name: &str| tags.iter().find_map(|tag| tag.strip_prefix(name)?.parse().ok());
        let mut after = after.split(' ');
        Some(Self {
            id,
            parent,
            device,
            root: unmangled(root),
            point: unmangled(point),
            attrs,
            group: tag("shared:"),
            master: tag("master:"),
            kind: after.next()?,
            source: after.next()?,
            options: after.next().unwrap_or_default(),
        })
    }
}
