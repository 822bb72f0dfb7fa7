//! What a test tells a [`Model`] of the host, before anything is asked of it.

use crate::abi::{CapabilitySet, Namespaces};

use super::exec::FileCapabilities;
use super::files::{self, Node};
use super::namespaces::Content;
use super::processes::TaskId;
use super::{Model, UserId, networks};

/// The host, before anything is asked of it.
impl Model {
    /// The embedder is root, with every capability.
    #[must_use]
    pub fn new() -> Self {
        Self::bare(0, 40)
    }

    /// The embedder is an ordinary user without capabilities.
    #[must_use]
    pub fn as_user(uid: u32) -> Self {
        Self::bare(uid, 40)
    }

    /// The running kernel's last capability: 40, unless told.
    ///
    /// ```
    /// use skep_sys::{Actor, Model, abi::CapabilitySet};
    ///
    /// let model = Model::new().cap_last_cap(41);
    /// let bounding = model.process(Actor::Host).map(|process| process.credentials().bounding);
    /// assert_eq!(bounding, Some(CapabilitySet::up_to(41)));
    /// ```
    #[must_use]
    pub fn cap_last_cap(mut self, last: u8) -> Self {
        self.last_capability = last;
        let every = self.every_capability();
        let cred = &mut self[TaskId(0)].cred;
        cred.bounding = every;
        if cred.uid.effective == 0 {
            (cred.effective, cred.permitted) = (every, every);
        }
        self
    }

    /// The version of Linux that it behaves like: 6.18, unless told. Before
    /// 6.15 nothing can be mounted into a detached tree or cloned from one.
    #[must_use]
    pub const fn kernel(mut self, major: u16, minor: u16) -> Self {
        self.kernel = (major, minor);
        self
    }

    /// A directory of the host, with its parents.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        let root = self[TaskId(0)].root;
        self.built(root, path);
        self
    }

    /// A file of the host, owned by root, mode 0755 so that it can be
    /// executed.
    ///
    /// ```
    /// use skep_sys::{Actor, Model};
    ///
    /// let model = Model::new().file("/srv/web/etc/motd", "hello");
    /// let read = model.process(Actor::Host).and_then(|host| host.read("/srv/web/etc/motd"));
    /// assert_eq!(read.as_deref(), Some(b"hello".as_slice()));
    /// ```
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.build(path, Node::File(content.as_ref().to_vec()), 0o755);
        self
    }

    /// A symbolic link of the host.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.build(path, Node::Symlink(target.as_bytes().to_vec()), 0o777);
        self
    }

    /// A character device of the host.
    #[must_use]
    pub fn device(mut self, path: &str, major: u32, minor: u32) -> Self {
        self.build(path, Node::Device { block: false, major, minor }, 0o666);
        self
    }

    /// A block device of the host.
    #[must_use]
    pub fn block_device(mut self, path: &str, major: u32, minor: u32) -> Self {
        self.build(path, Node::Device { block: true, major, minor }, 0o660);
        self
    }

    /// Gives what lies at `path` to somebody, with a mode; links at the end
    /// are meant themselves. What does not exist is made a directory.
    #[must_use]
    pub fn owned(mut self, path: &str, uid: u32, gid: u32, mode: u32) -> Self {
        let root = self[TaskId(0)].root;
        let place = self.seek(root, path, false).unwrap_or_else(|_| self.built(root, path));
        let inode = &mut self[place.inode];
        (inode.uid, inode.gid, inode.mode) = (uid, gid, mode);
        self
    }

    /// A second name of a file of the host, in the same file system (link(2)).
    /// Both names, and what lies above them, are made where they are missing.
    #[must_use]
    pub fn hard_link(mut self, path: &str, second: &str) -> Self {
        let root = self[TaskId(0)].root;
        let inode = match self.seek(root, path, false) {
            Ok(place) => place.inode,
            Err(_) => self.build(path, Node::File(Vec::new()), 0o644),
        };
        let (above, name) = second.rsplit_once('/').unwrap_or(("", second));
        let dir = self.built(root, above).inode;
        if let Node::Directory(entries) = &mut self[dir].node {
            entries.insert(name.as_bytes().to_vec(), inode);
        }
        self
    }

    /// Gives a program of the host capabilities: of its file, and of the initial
    /// user namespace (capabilities(7), "File capability extended attribute
    /// versioning", `VFS_CAP_REVISION_2`).
    #[must_use]
    pub fn file_capabilities(
        mut self,
        path: &str,
        permitted: CapabilitySet,
        inheritable: CapabilitySet,
        effective: bool,
    ) -> Self {
        let root = self[TaskId(0)].root;
        if let Ok(place) = self.seek(root, path, true) {
            self.file_capabilities.insert(place.inode, FileCapabilities { permitted, inheritable, effective });
        }
        self
    }

    /// Somebody else's namespace of a kind, held by a file.
    #[must_use]
    pub fn namespace(mut self, path: &str, kind: Namespaces) -> Self {
        let spaces = self[TaskId(0)].spaces;
        let content = match kind {
            Namespaces::PID => Content::Pid { next: 100, init: None },
            // As a new one has them: none is up.
            Namespaces::NETWORK => Content::Network(Box::new(networks::Network::new())),
            _ => spaces.of(kind).map_or(Content::Plain, |own| self[own].content.clone()),
        };
        let space = self.new_space(kind, UserId::INITIAL, content);
        self.build(path, Node::Namespace(space), 0o444);
        self
    }

    /// A mount of an empty `tmpfs` on the host.
    #[must_use]
    pub fn tmpfs(self, path: &str) -> Self {
        let mut model = self;
        model.add_tmpfs(path);
        model
    }

    /// A range of ids that `newuidmap` and `newgidmap` grant to the embedder.
    #[must_use]
    pub fn subids(mut self, start: u32, count: u32) -> Self {
        self.subids.push((start, count));
        self
    }

    /// A lock that somebody else holds, in a file that only root may open: what
    /// another embedder has taken.
    #[must_use]
    pub fn locked(mut self, path: &str, start: u64, length: u64) -> Self {
        let root = self[TaskId(0)].root;
        let place = self.seek(root, path, true).unwrap_or_else(|_| {
            let inode = self.build(path, Node::File(Vec::new()), 0o600);
            files::Place { mount: root.mount, inode }
        });
        self.foreign_locks.push((place.inode, (start, length)));
        self
    }
}
