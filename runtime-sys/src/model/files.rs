//! A simple file tree: directories, files, links, devices, with an owner and a
//! mode, and the ops that work on it.
//!
//! Sources: open(2), mkdir(2), mknod(2), unlink(2), chown(2), capabilities(7).

use std::collections::BTreeMap;

use crate::abi::{MountAttrs, Namespaces, OpenFlags, Resolve, Seals, cap, fs_magic};
use crate::errno::Errno;
use crate::op::Proof;

use super::credentials::Cred;
use super::descriptors::{Access, Handle, Object};
use super::file_systems::FsId;
use super::mounts::MountId;
use super::namespaces::{CAP_DAC_OVERRIDE, from_kernel, to_kernel};
use super::processes::TaskId;
use super::walk::Found;
use super::{Model, id};

const CAP_CHOWN: u8 = 0;

id! {
    /// A file, directory, link or node.
    InodeId
}

/// Somewhere in a tree of mounts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) mount: MountId,
    pub(super) inode: InodeId,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) fs: FsId,
    /// The directory it is in; the model has no hard links.
    pub(super) parent: Option<InodeId>,
    pub(super) name: Vec<u8>,
    pub(super) node: Node,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits, set-user-id included.
    pub(super) mode: u32,
    pub(super) removed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory(BTreeMap<Vec<u8>, InodeId>),
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
    /// `/proc/PID`, a file in it, and its directories of magic links.
    Process(TaskId),
    ProcessFile(TaskId, &'static str),
    ProcessLinks(TaskId, &'static str),
}

impl Model {
    pub(super) fn is_directory(&self, inode: InodeId) -> bool {
        matches!(self[inode].node, Node::Directory(_) | Node::Process(_) | Node::ProcessLinks(..))
    }

    pub(super) fn magic_of(&self, inode: InodeId) -> u64 {
        self[self[inode].fs].kind.magic
    }

    pub(super) fn new_inode(&mut self, inode: Inode) -> InodeId {
        self.inodes.push(inode);
        InodeId(self.inodes.len() - 1)
    }

    /// Puts a new inode into a directory.
    pub(super) fn add(&mut self, dir: InodeId, name: &[u8], node: Node, [uid, gid, mode]: [u32; 3]) -> InodeId {
        let fs = self[dir].fs;
        let inode =
            self.new_inode(Inode { fs, parent: Some(dir), name: name.to_vec(), node, uid, gid, mode, removed: false });
        if let Node::Directory(entries) = &mut self[dir].node {
            entries.insert(name.to_vec(), inode);
        }
        inode
    }

    /// `/a/b` within its own file system.
    pub(super) fn path_in_fs(&self, inode: InodeId) -> String {
        let mut names = Vec::new();
        let mut at = inode;
        while let Some(parent) = self[at].parent {
            names.push(String::from_utf8_lossy(&self[at].name).into_owned());
            at = parent;
        }
        names.push(String::new());
        names.reverse();
        if names.len() == 1 { "/".to_owned() } else { names.join("/") }
    }

    /// Whether `inode` is `above` or lies below it.
    pub(super) fn within(&self, inode: InodeId, above: InodeId) -> bool {
        let mut at = Some(inode);
        while let Some(inode) = at {
            if inode == above {
                return true;
            }
            at = self[inode].parent;
        }
        false
    }

    /// `st_dev` as the kernel encodes it.
    pub(super) fn device_of(&self, inode: InodeId) -> u64 {
        let minor = self[inode].fs.0 as u64 + 1;
        (minor & 0xff) | (minor & !0xff) << 12
    }

    /// The ids of an inode as a mount shows them; `None` for what an id map of
    /// the mount does not name (mount_setattr(2), "ID-mapped mounts").
    fn owner(&self, place: Place) -> (Option<u32>, Option<u32>) {
        let inode = &self[place.inode];
        let Some(idmap) = self[place.mount].idmap else {
            return (Some(inode.uid), Some(inode.gid));
        };
        let (fs, map) = (&self[self[inode.fs].user], &self[idmap]);
        let uid = from_kernel(&fs.uids, inode.uid).and_then(|id| to_kernel(&map.uids, id));
        let gid = from_kernel(&fs.gids, inode.gid).and_then(|id| to_kernel(&map.gids, id));
        (uid, gid)
    }

    /// capabilities(7): a capability over an inode whose ids are mapped in the
    /// process's user namespace (`capable_wrt_inode_uidgid`).
    fn capable_over(&self, cred: &Cred, place: Place, number: u8) -> bool {
        let (uid, gid) = self.owner(place);
        let space = &self[cred.user];
        let mapped = uid.is_some_and(|uid| from_kernel(&space.uids, uid).is_some())
            && gid.is_some_and(|gid| from_kernel(&space.gids, gid).is_some());
        mapped && self.capable(cred, cred.user, number)
    }

    /// path_resolution(7), "Permissions": 4 reads, 2 writes, 1 executes.
    pub(super) fn permit(&self, place: Place, wanted: u32) -> Result<(), Errno> {
        let cred = self.cred();
        let inode = &self[place.inode];
        let (uid, gid) = self.owner(place);
        let groups = || cred.groups.iter().chain([&cred.gid.fs]);
        let shift = if uid == Some(cred.uid.fs) {
            6
        } else if gid.is_some_and(|gid| groups().any(|own| *own == gid)) {
            3
        } else {
            0
        };
        if inode.mode >> shift & wanted == wanted {
            return Ok(());
        }
        // CAP_DAC_OVERRIDE executes only what somebody may execute.
        let executable = self.is_directory(place.inode) || inode.mode & 0o111 != 0;
        let overridable = wanted & 1 == 0 || executable;
        if overridable && self.capable_over(cred, place, CAP_DAC_OVERRIDE) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// "EROFS: … on a read-only filesystem": the mount or the file system.
    pub(super) fn writable(&self, place: Place) -> Result<(), Errno> {
        let read_only = self[place.mount].attrs.has(MountAttrs::RDONLY) || self[self[place.inode].fs].read_only;
        if read_only { Err(Errno::EROFS) } else { Ok(()) }
    }

    fn entry(&self, dir: InodeId, name: &[u8]) -> Option<InodeId> {
        match &self[dir].node {
            Node::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// The ids that a new inode gets; EOVERFLOW when the file system cannot
    /// express them (user_namespaces(7), "Effect when a process's IDs …";
    /// `fsuidgid_has_mapping`).
    fn new_owner(&self, place: Place) -> Result<[u32; 2], Errno> {
        let cred = self.cred();
        let fs = &self[self[self[place.inode].fs].user];
        let (mut uid, mut gid) = (Some(cred.uid.fs), Some(cred.gid.fs));
        if let Some(idmap) = self[place.mount].idmap {
            let map = &self[idmap];
            uid = uid.and_then(|id| from_kernel(&map.uids, id)).and_then(|id| to_kernel(&fs.uids, id));
            gid = gid.and_then(|id| from_kernel(&map.gids, id)).and_then(|id| to_kernel(&fs.gids, id));
        }
        let uid = uid.filter(|id| from_kernel(&fs.uids, *id).is_some());
        let gid = gid.filter(|id| from_kernel(&fs.gids, *id).is_some());
        Ok([uid.ok_or(Errno::EOVERFLOW)?, gid.ok_or(Errno::EOVERFLOW)?])
    }

    /// Whether `name` can be made in `dir`, in the kernel's order: what exists,
    /// read-only, permissions, what the file system can make.
    fn may_create(&self, dir: Place, name: &[u8], node: &Node) -> Result<[u32; 2], Errno> {
        if self.entry(dir.inode, name).is_some() {
            return Err(Errno::EEXIST);
        }
        // procfs already fails to look up what is not there.
        if self.magic_of(dir.inode) == fs_magic::PROC {
            return Err(Errno::ENOENT);
        }
        self.writable(dir)?;
        if self[dir.inode].removed {
            return Err(Errno::ENOENT);
        }
        let owner = self.new_owner(dir)?;
        self.permit(dir, 3)?;
        // Without a way to make it: EACCES for a file, EPERM for the rest.
        let closed = match self.magic_of(dir.inode) {
            fs_magic::SYSFS | fs_magic::DEVPTS => true,
            fs_magic::CGROUP | fs_magic::CGROUP2 => !matches!(node, Node::Directory(_)),
            _ => false,
        };
        match node {
            Node::File(_) if closed => Err(Errno::EACCES),
            _ if closed => Err(Errno::EPERM),
            _ => Ok(owner),
        }
    }

    fn make(&mut self, start: Place, path: &[u8], resolve: Resolve, node: Node, mode: u32) -> Result<InodeId, Errno> {
        let (dir, name) = self.walk_parent(start, path, resolve)?;
        let directory = matches!(node, Node::Directory(_));
        let [uid, gid] = self.may_create(dir, &name, &node)?;
        let mode = if matches!(node, Node::Symlink(_)) { 0o777 } else { mode & 0o7777 & !self[self.current].umask };
        let made = self.add(dir.inode, &name, node, [uid, gid, mode]);
        if directory && matches!(self.magic_of(dir.inode), fs_magic::CGROUP | fs_magic::CGROUP2) {
            self.fill_cgroup(made);
        }
        Ok(made)
    }

    /// mkdir(2)
    pub(super) fn mkdir(&mut self, start: Place, path: &[u8], mode: u32, exist_ok: bool) -> Result<(), Errno> {
        match self.make(start, path, Resolve::NONE, Node::Directory(BTreeMap::new()), mode & 0o1777) {
            Err(Errno::EEXIST) if exist_ok => Ok(()),
            other => other.map(drop),
        }
    }

    /// symlink(2)
    pub(super) fn symlink_at(&mut self, start: Place, path: &[u8], target: &[u8]) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        self.make(start, path, Resolve::NONE, Node::Symlink(target.to_vec()), 0o777).map(drop)
    }

    /// open(2) with O_CREAT|O_EXCL, beneath the directory and without links.
    pub(super) fn create(
        &mut self,
        start: Place,
        path: &[u8],
        mode: u32,
        content: &[u8],
        exist_ok: bool,
    ) -> Result<(), Errno> {
        match self.make(start, path, PROVED, Node::File(content.to_vec()), mode) {
            // A mount lies over what exists.
            Err(Errno::EEXIST) if self.walk(start, path, PROVED, false) == Err(Errno::EXDEV) => Err(Errno::EXDEV),
            Err(Errno::EEXIST) if exist_ok => Ok(()),
            other => other.map(drop),
        }
    }

    /// mknod(2)
    pub(super) fn mknod(
        &mut self,
        start: Place,
        path: &[u8],
        mode: u32,
        [major, minor]: [u32; 2],
    ) -> Result<(), Errno> {
        let node = match mode & 0o170_000 {
            0 | 0o100_000 => Node::File(Vec::new()),
            0o010_000 => Node::Fifo,
            0o140_000 => Node::Socket,
            kind @ (0o020_000 | 0o060_000) => Node::Device { block: kind == 0o060_000, major, minor },
            // "EPERM: mode requested creation of something other than …"
            0o040_000 => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        };
        let whiteout = matches!(node, Node::Device { block: false, major: 0, minor: 0 });
        // "EPERM … the caller is not privileged (Linux: does not have the
        // CAP_MKNOD capability)", which counts in the initial user namespace
        // (user_namespaces(7)); overlayfs' whiteouts are exempt.
        if matches!(node, Node::Device { .. }) && !whiteout {
            let (dir, name) = self.walk_parent(start, path, Resolve::NONE)?;
            self.may_create(dir, &name, &node)?;
            self.need(super::UserId::INITIAL, cap::MKNOD)?;
        }
        self.make(start, path, Resolve::NONE, node, mode).map(drop)
    }

    /// unlink(2), rmdir(2)
    pub(super) fn unlink(&mut self, start: Place, path: &[u8], directory: bool) -> Result<(), Errno> {
        let (dir, name) = match self.walk_parent(start, path, Resolve::NONE) {
            Err(Errno::EEXIST) => return Err(Errno::EINVAL),
            // Already gone is no error.
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        self.writable(dir)?;
        let Some(inode) = self.entry(dir.inode, &name) else { return Ok(()) };
        self.permit(dir, 3)?;
        match (self.is_directory(inode), directory) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        // "EBUSY: … used by the system", such as a mount point here.
        if self.topmost(Place { mount: dir.mount, inode }).inode != inode {
            return Err(Errno::EBUSY);
        }
        let cgroup = matches!(self.magic_of(inode), fs_magic::CGROUP | fs_magic::CGROUP2);
        match &self[inode].node {
            _ if cgroup => self.may_remove_cgroup(inode)?,
            Node::Directory(entries) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
            _ if self.magic_of(inode) == fs_magic::PROC => return Err(Errno::EPERM),
            _ => {}
        }
        if let Node::Directory(entries) = &mut self[dir.inode].node {
            entries.remove(&name);
        }
        self[inode].removed = true;
        Ok(())
    }

    /// chown(2)
    pub(super) fn chown(&mut self, place: Place, uid: u32, gid: u32) -> Result<(), Errno> {
        let cred = self.cred();
        let space = &self[cred.user];
        let view = |id: u32, map: &[_]| {
            if id == u32::MAX { Ok(None) } else { to_kernel(map, id).map(Some).ok_or(Errno::EINVAL) }
        };
        let (uid, gid) = (view(uid, &space.uids)?, view(gid, &space.gids)?);
        self.writable(place)?;
        let owner = self.owner(place).0 == Some(cred.uid.fs);
        let own_group = gid.is_none_or(|gid| gid == cred.gid.fs || cred.groups.contains(&gid));
        let harmless = owner && own_group && uid.is_none_or(|uid| uid == cred.uid.fs);
        if !harmless && !self.capable_over(cred, place, CAP_CHOWN) {
            return Err(Errno::EPERM);
        }
        let fs = &self[self[self[place.inode].fs].user];
        let known = uid.is_none_or(|uid| from_kernel(&fs.uids, uid).is_some())
            && gid.is_none_or(|gid| from_kernel(&fs.gids, gid).is_some());
        if !known {
            return Err(Errno::EOVERFLOW);
        }
        let inode = &mut self[place.inode];
        inode.uid = uid.unwrap_or(inode.uid);
        inode.gid = gid.unwrap_or(inode.gid);
        Ok(())
    }

    /// openat2(2)
    pub(super) fn open(
        &mut self,
        start: Place,
        path: &[u8],
        flags: OpenFlags,
        mode: u32,
        resolve: Resolve,
    ) -> Result<Object, Errno> {
        let creates = flags.has(OpenFlags::CREATE);
        let known = OpenFlags(OpenFlags::NAMES.iter().fold(0, |all, (flag, _)| all | flag.0));
        // openat2(2): "EINVAL: an unknown flag", "mode is nonzero, but …".
        if !known.has(flags) || resolve.0 >> 5 != 0 || (mode != 0 && !creates) {
            return Err(Errno::EINVAL);
        }
        let follow = !flags.has(OpenFlags::NO_FOLLOW);
        let exclusive = creates && flags.has(OpenFlags::EXCLUSIVE);
        let found = match self.walk_any(start, path, resolve, follow && !exclusive) {
            Ok(_) if exclusive => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) if creates => {
                self.make(start, path, resolve, Node::File(Vec::new()), mode)?;
                self.walk_any(start, path, resolve, follow)?
            }
            other => other?,
        };
        let place = match found {
            Found::Object(_) if flags.has(OpenFlags::PATH) => return Ok(Object::Handle),
            Found::Object(object) => return Ok(object),
            Found::Place(place) => place,
        };
        let directory = self.is_directory(place.inode);
        if flags.has(OpenFlags::DIRECTORY) && !directory {
            return Err(Errno::ENOTDIR);
        }
        if flags.has(OpenFlags::PATH) {
            return Ok(Object::Path(Handle { place, access: Access::Path, tree: false }));
        }
        let writes = flags.0 & 3 != 0;
        match self[place.inode].node {
            Node::Symlink(_) => return Err(Errno::ELOOP),
            _ if directory && writes => return Err(Errno::EISDIR),
            Node::Device { .. } => self.may_open_device(place)?,
            Node::Socket => return Err(Errno::ENXIO),
            _ => {}
        }
        let reads = flags.0 & 3 != 1;
        self.permit(place, if reads { 4 } else { 0 } | if writes { 2 } else { 0 })?;
        if writes && !matches!(self[place.inode].node, Node::Device { .. }) {
            self.writable(place)?;
        }
        let access = if writes { Access::Write } else { Access::Read };
        Ok(Object::Path(Handle { place, access, tree: false }))
    }

    /// mount(2), MS_NODEV; and a file system that was mounted in another user
    /// namespace than the initial one has no devices (user_namespaces(7)).
    pub(super) fn may_open_device(&self, place: Place) -> Result<(), Errno> {
        let fs = &self[self[place.inode].fs];
        let foreign = fs.user != super::UserId::INITIAL && fs.kind.magic != fs_magic::DEVPTS;
        if self[place.mount].attrs.has(MountAttrs::NODEV) || foreign { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// Opens, writes once, closes.
    pub(super) fn write(&mut self, start: Place, path: &[u8], content: &[u8]) -> Result<(), Errno> {
        let place = self.walk(start, path, PROVED, false)?;
        match self[place.inode].node.clone() {
            Node::Symlink(_) => Err(Errno::ELOOP),
            _ if self.is_directory(place.inode) => Err(Errno::EISDIR),
            Node::ProcessFile(task, name) => {
                self.writable(place)?;
                self.write_process_file(task, name, content)
            }
            Node::Device { .. } => {
                self.may_open_device(place)?;
                self.permit(place, 2)
            }
            Node::File(_) => match self.magic_of(place.inode) {
                fs_magic::PROC => self.write_sysctl(place, content),
                fs_magic::CGROUP | fs_magic::CGROUP2 => {
                    self.permit(place, 2)?;
                    self.writable(place)?;
                    self.write_cgroup(place.inode, content)
                }
                _ => {
                    self.permit(place, 2)?;
                    self.writable(place)?;
                    self[place.inode].node = Node::File(content.to_vec());
                    Ok(())
                }
            },
            _ => Err(Errno::ENXIO),
        }
    }

    /// ESTALE when a descriptor is not what it must be.
    pub(super) fn prove(&self, object: &Object, proof: Proof) -> Result<(), Errno> {
        const ANONYMOUS: u64 = 0x0904_1934;
        let place = match object {
            Object::Path(handle) => Some(handle.place),
            _ => None,
        };
        let holds = match proof {
            Proof::FileSystem { magic } => {
                let real = match (place, object) {
                    (Some(place), _) => self.magic_of(place.inode),
                    (None, Object::MemFd { .. }) => fs_magic::TMPFS,
                    (None, Object::User(_) | Object::Space(_)) => 0x6e73_6673,
                    _ => ANONYMOUS,
                };
                real == magic
            }
            Proof::Inode { device, inode } => {
                place.is_some_and(|place| self.device_of(place.inode) == device && place.inode.number() == inode)
            }
            Proof::CharDevice { major, minor } => place.is_some_and(|place| {
                let node = &self[place.inode].node;
                matches!(node, Node::Device { block: false, major: a, minor: i } if (*a, *i) == (major, minor))
            }),
            Proof::BlockDevice { major, minor } => place.is_some_and(|place| {
                let node = &self[place.inode].node;
                matches!(node, Node::Device { block: true, major: a, minor: i } if (*a, *i) == (major, minor))
            }),
            Proof::Passable => !object.is_path_only() && place.is_none_or(|place| !self.is_directory(place.inode)),
            Proof::Namespace { kind } => match object {
                Object::User(_) => kind == Namespaces::USER,
                Object::Space(space) => self[*space].kind == kind,
                _ => false,
            },
            Proof::OwnDirectory { uid, private } => place.is_some_and(|place| {
                let others = if private { 0o077 } else { 0o022 };
                let seen = self.owner(place).0.and_then(|uid| from_kernel(&self[self.cred().user].uids, uid));
                self.is_directory(place.inode) && seen == Some(uid) && self[place.inode].mode & others == 0
            }),
            Proof::OwnedByRoot => place.is_some_and(|place| {
                let inode = &self[place.inode];
                // As `stat` shows it: through the id map of the mount and the
                // user namespace of the process.
                let seen = self.owner(place).0.and_then(|uid| from_kernel(&self[self.cred().user].uids, uid));
                matches!(inode.node, Node::File(_)) && seen == Some(0) && inode.mode & 0o022 == 0
            }),
        };
        if holds { Ok(()) } else { Err(Errno::ESTALE) }
    }

    /// memfd_create(2) and fcntl(2), "File Sealing".
    pub(super) fn memfd(name: &[u8], content: &[u8], seals: Seals, executable: bool) -> Result<Object, Errno> {
        // "EINVAL: name was too long" (249 bytes), "seals: unknown".
        if name.len() > 249 || seals.0 & !0x3f != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Object::MemFd { content: content.to_vec(), seals, executable })
    }

    /// pread(2) of one word.
    pub(super) fn peek(&self, object: &Object, offset: u64) -> Result<u64, Errno> {
        let content = match object {
            Object::MemFd { content, .. } => content,
            Object::Path(Handle { access: Access::Path, .. }) => return Err(Errno::EBADF),
            Object::Path(handle) => match &self[handle.place.inode].node {
                Node::File(content) => content,
                Node::Directory(_) => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            },
            _ => return Err(Errno::ESPIPE),
        };
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..));
        let word = rest.and_then(|rest| rest.first_chunk::<8>()).ok_or(Errno::EIO)?;
        Ok(u64::from_le_bytes(*word))
    }

    /// unix(7): binding makes a socket in the file tree.
    pub(super) fn bind(&mut self, object: &Object, path: &[u8]) -> Result<(), Errno> {
        match object {
            Object::Socket { family: 1, .. } => {}
            Object::Socket { .. } => return Err(Errno::EINVAL),
            _ => return Err(Errno::ENOTSOCK),
        }
        if path.len() >= 108 {
            return Err(Errno::ENAMETOOLONG);
        }
        let cwd = self[self.current].cwd;
        match self.make(cwd, path, Resolve::NONE, Node::Socket, 0o777) {
            Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
            other => other.map(drop),
        }
    }
}

impl InodeId {
    /// `st_ino`
    pub(super) const fn number(self) -> u64 {
        self.0 as u64 + 1
    }
}

/// As `Linux` resolves what it writes to: nothing but plain components of the
/// same mount.
pub(super) const PROVED: Resolve =
    Resolve(Resolve::NO_XDEV.0 | Resolve::NO_MAGICLINKS.0 | Resolve::NO_SYMLINKS.0 | Resolve::BENEATH.0);

#[cfg(test)]
mod tests {
    use super::super::stand::Stand;
    use super::*;
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;
    use crate::wire::Blob;

    const DIR: Slot = Slot(10);
    const FILE: Slot = Slot(11);

    fn mkdir(dir: At, name: &core::ffi::CStr) -> Op<'_> {
        Op::Mkdir { dir, name, mode: 0o755, exist_ok: false }
    }

    fn create(dir: At, name: &core::ffi::CStr, exist_ok: bool) -> Op<'_> {
        Op::Create { dir, name, mode: 0o666, content: Blob(b"new"), exist_ok }
    }

    fn mknod(dir: At, name: &core::ffi::CStr, mode: u32, minor: u32) -> Op<'_> {
        Op::Mknod { dir, name, mode, major: 1, minor }
    }

    #[test]
    fn what_exists_is_refused_or_kept() {
        let mut stand = Stand::root();
        let tmp = At::Slot(DIR);
        stand.open(c"/tmp", DIR);
        for op in [mkdir(tmp, c"a"), create(tmp, c"b", false), Op::Symlink { target: c"b", dir: tmp, name: c"c" }] {
            stand.ok(op);
            stand.no(op, Errno::EEXIST);
        }
        stand.ok(Op::Mkdir { dir: tmp, name: c"a", mode: 0, exist_ok: true });
        stand.ok(Op::Write { dir: tmp, path: c"b", content: Blob(b"old") });
        stand.ok(create(tmp, c"b", true));
        assert_eq!(stand.model.process(Actor::Host).unwrap().read("/tmp/c").as_deref(), Some(b"old".as_slice()));
        stand.no(create(tmp, c"c", false), Errno::EEXIST);
        stand.no(create(tmp, c"none/c", false), Errno::ENOENT);
        stand.no(create(At::Cwd, c"/tmp/x", false), Errno::EXDEV);
        stand.open(c"/", DIR);
        stand.no(create(tmp, c"run", true), Errno::EXDEV);
    }

    #[test]
    fn the_umask_applies() {
        let mut stand = Stand::root();
        stand.open(c"/tmp", DIR);
        stand.ok(Op::Umask { mode: 0o77 });
        stand.ok(create(At::Slot(DIR), c"b", false));
        assert!(stand.model.host_changes().contains(&"+ file /tmp/b: 0:0 600 new".to_owned()));
    }

    #[test]
    fn a_read_only_mount_takes_nothing() {
        let mut stand = Stand::on(Model::new().tmpfs("/srv"));
        stand.open(c"/srv", DIR);
        stand.ok(create(At::Slot(DIR), c"there", false));
        stand.ok(Op::MountSetAttr {
            dir: At::Cwd,
            path: c"/srv",
            flags: Default::default(),
            set: MountAttrs::RDONLY,
            clear: MountAttrs::NONE,
            propagation: Default::default(),
            userns: None,
        });
        let dir = At::Slot(DIR);
        stand.no(mkdir(dir, c"there"), Errno::EEXIST);
        for op in [
            mkdir(dir, c"a"),
            create(dir, c"a", false),
            mknod(dir, c"a", 0o020_666, 3),
            Op::Unlink { dir, path: c"there", directory: false },
            Op::Write { dir, path: c"there", content: Blob(b"") },
        ] {
            stand.no(op, Errno::EROFS);
        }
    }

    #[test]
    fn devices_are_made_in_the_initial_user_namespace_only() {
        let mut stand = Stand::root();
        stand.ok(mknod(At::Cwd, c"/tmp/null", 0o020_666, 3));
        let mut stand = Stand::root().contained();
        stand.fresh(c"tmpfs", DIR).unwrap();
        stand.no(mknod(At::Slot(DIR), c"null", 0o020_666, 3), Errno::EPERM);
        stand.ok(mknod(At::Slot(DIR), c"fifo", 0o010_666, 0));
        stand.no(mknod(At::Slot(DIR), c"dir", 0o040_666, 0), Errno::EPERM);
        // Nor opened, where one was brought in.
        let mut stand = Stand::user();
        stand.no(mknod(At::Cwd, c"/tmp/null", 0o020_666, 3), Errno::EPERM);
    }

    #[test]
    fn ordinary_users_write_what_is_theirs() {
        let mut stand = Stand::on(Model::as_user(1000).owned("/home/me", 1000, 1000, 0o700));
        stand.no(mkdir(At::Cwd, c"/etc/x"), Errno::EACCES);
        stand.ok(mkdir(At::Cwd, c"/tmp/x"));
        stand.ok(mkdir(At::Cwd, c"/home/me/x"));
        stand.open(c"/etc", DIR);
        stand.no(Op::Write { dir: At::Slot(DIR), path: c"hostname", content: Blob(b"") }, Errno::EACCES);
    }

    /// Found with the real kernel: whoever is not mapped makes no file.
    #[test]
    fn an_unmapped_process_makes_no_file() {
        let mut stand = Stand::root();
        stand.spawn(super::super::stand::ALL, true, None).unwrap();
        stand.write_maps(b"0 100000 65536", b"0 100000 65536");
        stand.play(Actor::Child);
        stand.fresh(c"tmpfs", DIR).unwrap();
        stand.no(mkdir(At::Slot(DIR), c"x"), Errno::EOVERFLOW);
        stand.ok(Op::SetResGid { gid: 0 });
        stand.ok(Op::SetResUid { uid: 0 });
        stand.fresh(c"tmpfs", DIR).unwrap();
        stand.ok(mkdir(At::Slot(DIR), c"x"));
    }

    #[test]
    fn chown_needs_the_capability_over_mapped_ids() {
        let mut stand = Stand::root();
        stand.open(c"/tmp", FILE);
        stand.ok(Op::Chown { file: FILE, uid: 5, gid: u32::MAX });
        let mut stand = Stand::user().contained();
        stand.open(c"/etc", FILE);
        stand.no(Op::Chown { file: FILE, uid: 0, gid: 0 }, Errno::EPERM);
        stand.no(Op::Chown { file: FILE, uid: 1, gid: 0 }, Errno::EINVAL);
    }

    #[test]
    fn unlinking_what_is_gone_is_no_error_and_what_is_used_is() {
        let mut stand = Stand::on(Model::new().file("/srv/d/f", ""));
        let unlink = |path, directory| Op::Unlink { dir: At::Cwd, path, directory };
        stand.ok(unlink(c"/srv/nothing/f", false));
        stand.no(unlink(c"/srv/d", false), Errno::EISDIR);
        stand.no(unlink(c"/srv/d/f", true), Errno::ENOTDIR);
        stand.no(unlink(c"/srv/d", true), Errno::ENOTEMPTY);
        stand.no(unlink(c"/run", true), Errno::EBUSY);
        stand.ok(unlink(c"/srv/d/f", false));
        stand.ok(unlink(c"/srv/d", true));
        assert_eq!(stand.model.host_changes(), ["- directory /srv/d", "- file /srv/d/f"]);
    }

    #[test]
    fn nothing_is_made_in_a_directory_that_is_gone() {
        let mut stand = Stand::root();
        stand.ok(mkdir(At::Cwd, c"/tmp/d"));
        stand.open(c"/tmp/d", DIR);
        stand.ok(Op::Unlink { dir: At::Cwd, path: c"/tmp/d", directory: true });
        stand.no(mkdir(At::Slot(DIR), c"x"), Errno::ENOENT);
    }

    #[test]
    fn writing_follows_no_link_and_crosses_no_mount() {
        let mut stand = Stand::on(Model::new().symlink("/etc/link", "hostname"));
        stand.open(c"/", DIR);
        let write = |path| Op::Write { dir: At::Slot(DIR), path, content: Blob(b"x") };
        stand.ok(write(c"etc/hostname"));
        stand.no(write(c"etc/link"), Errno::ELOOP);
        stand.no(write(c"dev/null"), Errno::EXDEV);
        stand.no(write(c"/etc/hostname"), Errno::EXDEV);
        stand.no(write(c"etc"), Errno::EISDIR);
    }

    #[test]
    fn proofs_look_at_the_descriptor() {
        let mut stand = Stand::on(Model::new().file("/srv/loose", "").owned("/srv/loose", 0, 0, 0o777));
        let (device, inode) = stand.model.inode("/etc/hostname").unwrap();
        let magic = |magic| Proof::FileSystem { magic };
        for (path, proof, holds) in [
            (c"/proc", magic(fs_magic::PROC), true),
            (c"/proc/self", magic(fs_magic::PROC), true),
            (c"/sys/fs/cgroup", magic(fs_magic::CGROUP2), true),
            (c"/etc", magic(fs_magic::PROC), false),
            (c"/etc/hostname", Proof::Inode { device, inode }, true),
            (c"/etc/os-release", Proof::Inode { device, inode }, false),
            (c"/dev/null", Proof::CharDevice { major: 1, minor: 3 }, true),
            (c"/dev/zero", Proof::CharDevice { major: 1, minor: 3 }, false),
            (c"/etc/hostname", Proof::CharDevice { major: 1, minor: 3 }, false),
            (c"/usr/bin/newuidmap", Proof::OwnedByRoot, true),
            (c"/srv/loose", Proof::OwnedByRoot, false),
            (c"/srv", Proof::OwnedByRoot, false),
        ] {
            stand.open(path, FILE);
            let result = if holds { Ok(()) } else { Err(Errno::ESTALE) };
            assert_eq!(stand.ask(Op::Prove { file: FILE, proof }), result, "{path:?} {proof:?}");
        }
    }

    #[test]
    fn opening_is_checked() {
        let mut stand = Stand::user();
        let open =
            |path, flags, mode| Op::OpenAt2 { dir: At::Cwd, path, flags, mode, resolve: Resolve::NONE, into: FILE };
        stand.no(open(c"/etc", OpenFlags::WRITE, 0), Errno::EISDIR);
        stand.no(open(c"/etc/hostname", OpenFlags::DIRECTORY, 0), Errno::ENOTDIR);
        stand.no(open(c"/etc/hostname", OpenFlags::WRITE, 0), Errno::EACCES);
        stand.no(open(c"/etc/hostname", OpenFlags::NONE, 0o600), Errno::EINVAL);
        stand.ok(open(c"/etc/hostname", OpenFlags::NONE, 0));
        stand.ok(open(c"/dev/null", OpenFlags::READ_WRITE, 0));
        let new = OpenFlags::CREATE.with(OpenFlags::READ_WRITE);
        stand.ok(open(c"/tmp/lock", new, 0o600));
        stand.ok(open(c"/tmp/lock", new, 0o600));
        stand.no(open(c"/tmp/lock", new.with(OpenFlags::EXCLUSIVE), 0o600), Errno::EEXIST);
        stand.no(open(c"/etc/lock", new, 0o600), Errno::EACCES);
    }

    #[test]
    fn devices_do_not_open_on_nodev() {
        let mut stand = Stand::on(Model::new().device("/run/null", 1, 3));
        let open = |flags| Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/run/null",
            flags,
            mode: 0,
            resolve: Resolve::NONE,
            into: FILE,
        };
        stand.no(open(OpenFlags::NONE), Errno::EACCES);
        stand.ok(open(OpenFlags::PATH));
    }

    #[test]
    fn memfds_are_read_back_and_sockets_bound_once() {
        let mut stand = Stand::root();
        let content = Blob(&[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        let seals = Seals::WRITE;
        stand.ok(Op::MemFd { name: c"m", content, seals, executable: false, into: FILE });
        stand.ok(Op::Peek { file: FILE, offset: 8, into: Slot(12) });
        assert_eq!(stand.cells[12], crate::kernel::Cell::Value(7));
        stand.no(Op::Peek { file: FILE, offset: 9, into: Slot(12) }, Errno::EIO);
        stand.no(Op::MemFd { name: c"m", content, seals: Seals(0x100), executable: false, into: FILE }, Errno::EINVAL);
        stand.ok(Op::Socket { family: 1, kind: 1, into: FILE });
        stand.ok(Op::Bind { socket: FILE, path: c"/run/socket" });
        stand.no(Op::Bind { socket: FILE, path: c"/run/socket" }, Errno::EADDRINUSE);
    }
}
