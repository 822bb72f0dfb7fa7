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
use super::{Model, SpaceId, id};

const CAP_CHOWN: u8 = 0;
const CAP_DAC_READ_SEARCH: u8 = 2;
const CAP_FOWNER: u8 = 3;

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
    /// The directory it is in; of a file with several names, that of the first.
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
    /// A file that holds a namespace (nsfs), mounted somewhere.
    Namespace(SpaceId),
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

    /// `st_dev`, as the kernel encodes it, and `st_ino`.
    pub(super) fn identity(&self, inode: InodeId) -> (u64, u64) {
        let minor = self[inode].fs.0 as u64 + 1;
        let device = (minor & 0xff) | (minor & !0xff) << 12;
        self.numbers.get(&inode).copied().unwrap_or_else(|| (device, inode.number()))
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

    /// The same, with the kernel's id for none (INVALID_UID).
    pub(super) fn shown_owner(&self, place: Place) -> (u32, u32) {
        let (uid, gid) = self.owner(place);
        (uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX))
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
        // CAP_DAC_READ_SEARCH reads anything, and searches directories.
        let reads = wanted == 4 || (self.is_directory(place.inode) && wanted & 2 == 0);
        let has = |number| self.capable_over(cred, place, number);
        let allowed = (overridable && has(CAP_DAC_OVERRIDE)) || (reads && has(CAP_DAC_READ_SEARCH));
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// "EROFS: … on a read-only filesystem": the mount or the file system.
    pub(super) fn writable(&self, place: Place) -> Result<(), Errno> {
        let read_only = self[place.mount].attrs.has(MountAttrs::RDONLY) || self[self[place.inode].fs].read_only;
        if read_only { Err(Errno::EROFS) } else { Ok(()) }
    }

    pub(super) fn entry(&self, dir: InodeId, name: &[u8]) -> Option<InodeId> {
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
        self.unnamed(inode);
        Ok(())
    }

    /// unlink(2): a file goes with the last of its names.
    fn unnamed(&mut self, inode: InodeId) {
        let names = |other: &Inode| matches!(&other.node, Node::Directory(entries) if entries.values().any(|name| *name == inode));
        self[inode].removed = !self.inodes.iter().any(|other| !other.removed && names(other));
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
        self.open_place(place, flags)
    }

    /// open(2) of what a walk has found.
    pub(super) fn open_place(&self, place: Place, flags: OpenFlags) -> Result<Object, Errno> {
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
            Node::Namespace(space) => return Ok(Object::Space(space)),
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

    /// fchmod(2)
    pub(super) fn chmod(&mut self, handle: Handle, mode: u32) -> Result<(), Errno> {
        let Handle { place, access, .. } = handle;
        if access == Access::Path {
            return Err(Errno::EBADF);
        }
        self.writable(place)?;
        let cred = self.cred();
        if self.owner(place).0 != Some(cred.uid.fs) && !self.capable_over(cred, place, CAP_FOWNER) {
            return Err(Errno::EPERM);
        }
        self[place.inode].mode = mode & 0o7777;
        Ok(())
    }

    /// rename(2) within a directory.
    pub(super) fn rename(&mut self, dir: Place, [from, to]: [&[u8]; 2], replace: bool) -> Result<(), Errno> {
        self.writable(dir)?;
        let inode = self.entry(dir.inode, from).ok_or(Errno::ENOENT)?;
        self.permit(dir, 3)?;
        let mut replaced = None;
        match self.entry(dir.inode, to) {
            Some(_) if !replace => return Err(Errno::EEXIST),
            Some(same) if same == inode => return Ok(()),
            Some(old) => match (self.is_directory(inode), &self[old].node) {
                (false, Node::Directory(_)) => return Err(Errno::EISDIR),
                (true, Node::Directory(entries)) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
                (true, Node::Directory(_)) | (false, _) => replaced = Some(old),
                (true, _) => return Err(Errno::ENOTDIR),
            },
            None => {}
        }
        if let Node::Directory(entries) = &mut self[dir.inode].node {
            entries.remove(from);
            entries.insert(to.to_vec(), inode);
        }
        replaced.into_iter().for_each(|old| self.unnamed(old));
        self[inode].name = to.to_vec();
        Ok(())
    }

    /// A second name, as linkat(2) makes it: not of a directory, and on the same mount.
    pub(super) fn link(&mut self, file: Place, dir: Place, name: &[u8]) -> Result<(), Errno> {
        self.writable(dir)?;
        self.permit(dir, 3)?;
        if file.mount != dir.mount {
            return Err(Errno::EXDEV);
        }
        if self.is_directory(file.inode) {
            return Err(Errno::EPERM);
        }
        match &mut self[dir.inode].node {
            Node::Directory(entries) if !entries.contains_key(name) => entries.insert(name.to_vec(), file.inode),
            Node::Directory(_) => return Err(Errno::EEXIST),
            _ => return Err(Errno::ENOTDIR),
        };
        Ok(())
    }

    /// copy_file_range(2); the model's files have no offsets.
    pub(super) fn copy_rest(&mut self, from: Handle, to: Handle, limit: u64) -> Result<u64, Errno> {
        if from.access == Access::Path || to.access != Access::Write {
            return Err(Errno::EBADF);
        }
        let Node::File(content) = self[from.place.inode].node.clone() else { return Err(Errno::EISDIR) };
        let Node::File(target) = &mut self[to.place.inode].node else { return Err(Errno::EINVAL) };
        if content.len() as u64 > limit {
            return Err(Errno::EFBIG);
        }
        target.extend_from_slice(&content);
        Ok(content.len() as u64)
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
            Proof::Inode { device, inode } => place.is_some_and(|place| self.identity(place.inode) == (device, inode)),
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
mod tests;
