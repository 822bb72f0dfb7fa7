//! Looking at a process from outside, as a test does.

use crate::abi::{Namespaces, Resource};
use crate::kernel::{Slots, WaitStatus};
use crate::op::Slot;

use super::descriptors::Object;
use super::files::{Node, Place};
use super::namespaces::Content;
use super::processes::{Task, TaskId};
use super::{Credentials, Descriptor, Errno, Executed, Model};

/// A process of a [`Model`], to look at: what `/proc` says of one on Linux. The
/// payload's own code never runs; this is how it would find itself.
#[derive(Clone, Copy)]
pub struct Process<'m> {
    model: &'m Model,
    task: TaskId,
}

impl core::fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Process")
            .field("credentials", &self.credentials())
            .field("exec", &self.exec())
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

impl<'m> Process<'m> {
    pub(super) const fn new(model: &'m Model, task: TaskId) -> Self {
        Self { model, task }
    }

    pub(super) const fn model(&self) -> &'m Model {
        self.model
    }

    pub(super) const fn task(&self) -> TaskId {
        self.task
    }

    fn state(&self) -> &'m Task {
        &self.model[self.task]
    }

    /// Ids, capabilities and the like, as the process itself sees them.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.model.seen(&self.state().cred, self.state().dumpable)
    }

    /// What it executed; `None` until it has executed the payload.
    #[must_use]
    pub fn exec(&self) -> Option<&'m Executed> {
        self.state().exec.as_ref()
    }

    /// How it ended; `None` while it runs, [`WaitStatus::Lost`] once somebody
    /// has waited for it.
    #[must_use]
    pub fn ended(&self) -> Option<WaitStatus> {
        self.model.status_of(self.task)
    }

    /// Its open descriptors, by number.
    #[must_use]
    pub fn descriptors(&self) -> Vec<Descriptor> {
        let table = self.state().table.iter();
        table
            .map(|(number, entry)| {
                let object = &self.model[entry.file].object;
                let path = match object {
                    Object::Path(handle) => Some(self.model.path_in_fs(handle.place.inode)),
                    _ => None,
                };
                Descriptor { number: *number, kind: object.kind(), close_on_exec: entry.close_on_exec, path }
            })
            .collect()
    }

    /// Its mounts, as `/proc/PID/mountinfo` lists them: those below its root.
    #[must_use]
    pub fn mountinfo(&self) -> Vec<String> {
        self.model.mountinfo(self.state().spaces.mount, self.state().root)
    }

    /// A number for its namespace of a kind: the same for two processes when
    /// they share it. `None` unless `kind` is one kind.
    #[must_use]
    pub fn namespace(&self, kind: Namespaces) -> Option<u64> {
        if kind == Namespaces::USER {
            return Some(self.state().cred.user.0 as u64);
        }
        self.state().spaces.of(kind).map(|space| space.0 as u64)
    }

    /// The hostname in its UTS namespace.
    #[must_use]
    pub fn hostname(&self) -> String {
        match &self.model[self.state().spaces.uts].content {
            Content::Uts { host, .. } => String::from_utf8_lossy(host).into_owned(),
            _ => String::new(),
        }
    }

    /// Its number in its own pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.state().number_in(self.state().spaces.pid).unwrap_or(0)
    }

    /// Soft and hard limit, as `getrlimit(2)` gives them; `None` for a number
    /// that is no resource.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> Option<(u64, u64)> {
        self.state().limits.get(usize::from(resource.0)).copied()
    }

    /// Its umask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.state().umask
    }

    /// Whether it leads a session.
    #[must_use]
    pub fn leads_session(&self) -> bool {
        self.state().session == self.task
    }

    /// The controlling terminal that it has taken, by its path in its devpts.
    #[must_use]
    pub fn controlling_terminal(&self) -> Option<String> {
        self.state().terminal.map(|inode| self.model.path_in_fs(inode))
    }

    /// A number for its session keyring.
    #[must_use]
    pub fn keyring(&self) -> u32 {
        self.state().keyring
    }

    /// Its personality.
    #[must_use]
    pub fn personality(&self) -> u32 {
        self.state().personality
    }

    /// What the ops that schedule it said, and what was written into the files of
    /// its `/proc` directory.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<String> {
        self.state().notes.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many landlock rulesets hold it.
    #[must_use]
    pub fn landlock_layers(&self) -> usize {
        self.state().landlock.len()
    }

    /// The signals that it blocks and ignores, as `/proc/PID/status` has them: bit
    /// *n* − 1 for signal *n*.
    #[must_use]
    pub fn signals(&self) -> (u64, u64) {
        (self.state().signals.blocked, self.state().signals.ignored)
    }

    /// The signals that have a handler, likewise.
    #[must_use]
    pub fn caught_signals(&self) -> u64 {
        self.state().signals.caught
    }

    /// The maps of its user namespace, of users and of groups: the first id inside,
    /// the kernel's id for it, how many.
    #[must_use]
    pub fn id_maps(&self) -> [Vec<[u32; 3]>; 2] {
        let user = &self.model[self.state().cred.user];
        let rows =
            |map: &[super::namespaces::Extent]| map.iter().map(|row| [row.inside, row.kernel, row.count]).collect();
        [rows(&user.uids), rows(&user.gids)]
    }

    /// The path of its cgroup in the hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.model.path_in_fs(self.state().cgroup)
    }

    /// Whether an interface is up in its network namespace.
    #[must_use]
    pub fn link_is_up(&self, name: &str) -> bool {
        let network = self.model.network(self.state().spaces.network);
        network.and_then(|network| network.links.get(name.as_bytes())).is_some_and(|link| link.up)
    }

    /// The working directory within the root; `None` when it lies outside.
    #[must_use]
    pub fn working_directory(&self) -> Option<String> {
        self.path_of(self.state().cwd)
    }

    fn path_of(&self, place: Place) -> Option<String> {
        let below = self.model.mount_point(place.mount, self.state().root);
        let mount = &self.model[place.mount];
        let (full, top) = (self.model.path_in_fs(place.inode), self.model.path_in_fs(mount.root));
        let rest = full.strip_prefix(top.trim_end_matches('/')).unwrap_or(&full).trim_end_matches('/');
        match below {
            Some(at) => Some(or_root(format!("{}{rest}", at.trim_end_matches('/')))),
            // The root itself lies within this mount.
            None if place.mount == self.state().root.mount => {
                let root = self.model.path_in_fs(self.state().root.inode);
                let within = full.strip_prefix(root.trim_end_matches('/'))?;
                Some(or_root(within.trim_end_matches('/').to_owned()))
            }
            None => None,
        }
    }

    /// The content of the file at a path, as the process would find it. For a
    /// device, a directory or nothing there is none.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let (model, place) = self.look(path)?;
        match &model[place.inode].node {
            Node::File(content) => Some(content.clone()),
            _ => None,
        }
    }

    /// What lies at a path: `directory`, `file`, `symlink`, `device`, `fifo`,
    /// `socket` or `namespace`.
    #[must_use]
    pub fn kind(&self, path: &str) -> Option<&'static str> {
        let (model, place) = self.look(path)?;
        Some(match &model[place.inode].node {
            Node::Directory(_) | Node::Process(_) | Node::ProcessLinks(..) => "directory",
            Node::File(_) | Node::ProcessFile(..) => "file",
            Node::Symlink(_) => "symlink",
            Node::Device { .. } => "device",
            Node::Fifo => "fifo",
            Node::Socket => "socket",
            Node::Namespace(_) => "namespace",
        })
    }

    /// Looking makes inodes of procfs, so it happens in a copy.
    fn look(&self, path: &str) -> Option<(Model, Place)> {
        let mut model = self.model.clone();
        model.current = self.task;
        let cwd = self.state().cwd;
        let place = model.seek(cwd, path, true).ok()?;
        Some((model, place))
    }
}

fn or_root(path: String) -> String {
    if path.is_empty() { "/".to_owned() } else { path }
}

impl Model {
    pub(super) fn change_directory(&mut self, place: Place) -> Result<(), Errno> {
        if !self.is_directory(place.inode) {
            return Err(Errno::ENOTDIR);
        }
        // chdir(2), EACCES: "Search permission is denied".
        self.permit(place, 1)?;
        let current = self.current;
        self[current].cwd = place;
        Ok(())
    }

    /// getcwd(2): "(unreachable)" when the working directory lies outside the
    /// root, which `chdir` takes for ELOOP.
    pub(super) fn reachable(&self) -> Result<(), Errno> {
        let process = Process::new(self, self.current);
        if process.working_directory().is_some() { Ok(()) } else { Err(Errno::ELOOP) }
    }

    /// The socket to the watcher.
    pub(super) fn connected(&self, slots: &Slots<'_>, slot: Slot) -> Result<(), Errno> {
        match self.object(slots, slot)? {
            Object::Wire { .. } | Object::Socket { .. } => Ok(()),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(super) fn add_tmpfs(&mut self, path: &str) {
        let root = self[TaskId(0)].root;
        let space = self[TaskId(0)].spaces.mount;
        self.mount_on_host(root, path, space);
    }
}
