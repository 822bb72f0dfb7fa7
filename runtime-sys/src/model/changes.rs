//! What a host looks like, and how it differs from the beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::abi::fs_magic;
use crate::kernel::WaitStatus;

use super::file_systems::FsId;
use super::files::{InodeId, Node};
use super::namespaces::Content;
use super::processes::{Task, TaskId};
use super::{FileId, Model, SpaceId};

/// A line for each thing, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Snapshot {
    /// The file systems that the host had, and where.
    file_systems: Vec<(FsId, String)>,
    lines: BTreeMap<String, String>,
}

impl Model {
    /// Takes what there is now for the beginning that
    /// [`Model::host_changes`] compares with. Done by itself before the first
    /// op.
    pub fn settle(&mut self) {
        self.baseline = Some(Arc::new(self.snapshot(None)));
    }

    pub(super) fn remember(&mut self) {
        if self.baseline.is_none() {
            self.settle();
        }
    }

    /// How the host differs from the beginning: `+` what is new, `-` what is
    /// gone, `~` what is different. Files, cgroups, mounts, locks, processes
    /// that nobody waited for, sysctls, names, what is entrusted to the
    /// watcher, and every attribute of the embedder's own process.
    ///
    /// Empty, unless something was left behind.
    ///
    /// ```
    /// use skep_sys::{At, Cell, Kernel, Model, Op, Slots};
    ///
    /// let mut model = Model::new();
    /// let mut slots = Slots::new(&mut []);
    /// model.call(&Op::Mkdir { dir: At::Cwd, name: c"/run/box", mode: 0o700, exist_ok: false }, &mut slots)?;
    /// assert_eq!(model.host_changes(), ["+ directory /run/box: 0:0 700"]);
    /// model.call(&Op::Unlink { dir: At::Cwd, path: c"/run/box", directory: true }, &mut slots)?;
    /// assert!(model.host_changes().is_empty());
    /// # Ok::<(), skep_sys::Errno>(())
    /// ```
    #[must_use]
    pub fn host_changes(&self) -> Vec<String> {
        let Some(before) = &self.baseline else { return Vec::new() };
        let after = self.snapshot(Some(&before.file_systems));
        let mut changes = Vec::new();
        for (name, value) in &before.lines {
            match after.lines.get(name) {
                None => changes.push(format!("- {name}")),
                Some(new) if new != value => changes.push(format!("~ {name}: {value} -> {new}")),
                Some(_) => {}
            }
        }
        for (name, value) in after.lines.iter().filter(|(name, _)| !before.lines.contains_key(*name)) {
            changes.push(if value.is_empty() { format!("+ {name}") } else { format!("+ {name}: {value}") });
        }
        changes
    }

    fn snapshot(&self, known: Option<&Vec<(FsId, String)>>) -> Snapshot {
        let host = &self[TaskId(0)];
        let space = SpaceId::HOST_MOUNTS;
        let root = match self[space].content {
            // Over the initial rootfs lies what the host calls "/".
            Content::Mount { root } => self.topmost(self.root_of(root)),
            _ => host.root,
        };
        let file_systems = known.cloned().unwrap_or_else(|| {
            let shown = |mount: super::MountId| Some((self[mount].fs, self.mount_point(mount, root)?));
            self.mounts_of(space).filter_map(shown).collect()
        });
        let mut lines = BTreeMap::new();
        for (fs, at) in &file_systems {
            self.list(self[*fs].root, at.trim_end_matches('/'), &mut lines);
        }
        for line in self.mountinfo(space, root) {
            lines.insert(format!("mount {line}"), String::new());
        }
        for (inode, (start, length)) in self.all_locks() {
            lines.insert(format!("lock {} {start}+{length}", self.path_in_fs(inode)), String::new());
        }
        for task in (1..self.tasks.len()).map(TaskId).filter(|task| self.remains(*task)) {
            let state = if self[task].ended() { "not waited for" } else { "running" };
            let number = self[task].numbers.first().map_or(0, |row| row.1);
            lines.insert(format!("process {number}"), state.to_owned());
        }
        for ((_, path, _), value) in self.sysctls.iter().filter(|(key, _)| key.0) {
            lines.insert(format!("sysctl /proc{path}"), String::from_utf8_lossy(value).into_owned());
        }
        for id in self.entrusted.keys() {
            lines.insert(format!("entrusted {id}"), String::new());
        }
        for (name, value) in self.network(self.host_network()).into_iter().flat_map(|network| network.lines()) {
            lines.insert(name, value);
        }
        for (number, (group, program)) in self.device_programs.iter().enumerate() {
            if !self[*group].removed {
                let name = format!("device program {number} of {}", self.path_in_fs(*group));
                lines.insert(name, program.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
        for space in &self.spaces {
            if let (Content::Uts { host, domain }, super::UserId::INITIAL) = (&space.content, space.owner) {
                // Of several the first is the host's.
                let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                lines.entry("hostname".to_owned()).or_insert_with(|| text(host));
                lines.entry("domainname".to_owned()).or_insert_with(|| text(domain));
            }
        }
        self.embedder(host, &mut lines);
        Snapshot { file_systems, lines }
    }

    fn list(&self, inode: InodeId, path: &str, lines: &mut BTreeMap<String, String>) {
        let here = &self[inode];
        let cgroup = matches!(self.magic_of(inode), fs_magic::CGROUP | fs_magic::CGROUP2);
        let owner = format!("{}:{} {:o}", here.uid, here.gid, here.mode);
        let (kind, value) = match &here.node {
            Node::Directory(entries) => {
                for (name, entry) in entries {
                    self.list(*entry, &format!("{path}/{}", String::from_utf8_lossy(name)), lines);
                }
                (if cgroup { "cgroup" } else { "directory" }, owner)
            }
            // A cgroup's files come and go with it.
            Node::File(content) if cgroup && content.is_empty() => return,
            Node::File(content) => ("file", format!("{owner} {}", String::from_utf8_lossy(content))),
            Node::Symlink(target) => ("symlink", String::from_utf8_lossy(target).into_owned()),
            Node::Device { block, major, minor } => {
                (if *block { "block device" } else { "device" }, format!("{major}:{minor} {owner}"))
            }
            Node::Fifo => ("fifo", owner),
            Node::Socket => ("socket", owner),
            Node::Namespace(_) => ("namespace", owner),
            Node::Process(_) | Node::ProcessFile(..) | Node::ProcessLinks(..) => return,
        };
        let path = if path.is_empty() { "/" } else { path };
        lines.insert(format!("{kind} {path}"), value);
    }

    /// Nothing process-wide may change in the embedder.
    fn embedder(&self, host: &Task, lines: &mut BTreeMap<String, String>) {
        if host.ended() {
            return;
        }
        let attributes: [(&str, String); 12] = [
            ("credentials", format!("{:?}", host.cred)),
            ("dumpable", host.dumpable.to_string()),
            ("namespaces", format!("{:?}", host.spaces)),
            ("root and working directory", format!("{:?}", (host.root, host.cwd))),
            ("umask", format!("{:o}", host.umask)),
            ("session", format!("{:?}", (host.session, host.leader))),
            ("limits", format!("{:?}", host.limits)),
            ("signals", format!("{:?}", host.signals)),
            ("personality", host.personality.to_string()),
            ("keyring", host.keyring.to_string()),
            ("cgroup", self.path_in_fs(host.cgroup)),
            ("landlock and /proc", format!("{:?}", (&host.landlock, &host.notes))),
        ];
        for (name, value) in attributes {
            lines.insert(format!("embedder's {name}"), value);
        }
    }

    /// Whether the other end of a wire is still held.
    pub(super) fn has_other_side(&self, (wire, end): (super::WireId, usize)) -> bool {
        self.tasks.iter().filter(|task| !task.ended()).flat_map(|task| task.table.values()).any(|entry| {
            let FileId(at) = entry.file;
            matches!(self.files[at].object, super::Object::Wire { wire: other, end: side } if other == wire && side != end)
        })
    }

    /// Whether a process has ended, and how.
    pub(super) fn status_of(&self, task: TaskId) -> Option<WaitStatus> {
        match self[task].state {
            super::processes::State::Ended(status) => Some(status),
            super::processes::State::Gone => Some(WaitStatus::Lost),
            super::processes::State::Running => None,
        }
    }
}
