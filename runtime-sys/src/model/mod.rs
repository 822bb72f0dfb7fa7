//! A small kernel in memory that refuses what Linux refuses.
//!
//! It keeps processes with their credentials and descriptors, user namespaces
//! with their maps, mount tables with propagation and locks, a simple file
//! tree, cgroups. A plan that runs on it runs without root, in microseconds,
//! and its end can be looked at from every side.
//!
//! Every rule names where it comes from: a section of a man page (Linux
//! man-pages 6.03), a document of the kernel, or the kernel's function where
//! those are silent. Where the model and Linux disagree, the model is wrong.
//!
//! What it does not have: time (nothing ends by itself), an interpreter for
//! system call filters, quotas, search permission on directories, hard links, file
//! capabilities, writes through an overlay to its upper directory.

mod alike;
mod builder;
mod changes;
mod credentials;
mod descriptors;
mod exec;
mod file_systems;
mod files;
mod filters;
mod groups;
mod host;
mod lines;
mod mounting;
mod mounts;
mod namespaces;
mod networks;
mod processes;
mod procfs;
mod spawn;
#[cfg(test)]
mod stand;
mod terminals;
#[cfg(test)]
mod tests;
mod view;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::abi::{Namespaces, Resolve, TreeFlags, signal};
use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Slots, WaitStatus};
use crate::op::{At, Op, Slot};
use crate::program::{Actor, Stage};

pub use credentials::{Credentials, Ids};
pub use descriptors::Descriptor;
pub use exec::Executed;
pub use view::Process;

use changes::Snapshot;
use descriptors::{Access, Handle, Object, OpenFile, Wire};
use exec::FileCapabilities;
use file_systems::{FileSystem, FsId};
use files::{Inode, InodeId};
use mounts::{Mount, MountId};
use namespaces::{Space, UserSpace};
use processes::{Task, TaskId, actor_index, bit};

/// Declares the number of something in a table of the model.
macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(in crate::model) struct $name(pub(in crate::model) usize);
    };
}
use id;

id! {
    /// A user namespace.
    UserId
}
id! {
    /// Any other namespace.
    SpaceId
}
id! {
    /// An open file description.
    FileId
}
id! {
    /// A socket pair or pipe.
    WireId
}

impl UserId {
    const INITIAL: Self = Self(0);
}

impl SpaceId {
    /// The host's mount namespace, which outlives the embedder.
    const HOST_MOUNTS: Self = Self(1);
}

/// Tables only grow, so that a number that was handed out stays good.
macro_rules! tables {
    ($($id:ident => $table:ident: $item:ty),* $(,)?) => {$(
        impl core::ops::Index<$id> for Model {
            type Output = $item;
            fn index(&self, id: $id) -> &$item {
                &self.$table[id.0]
            }
        }
        impl core::ops::IndexMut<$id> for Model {
            fn index_mut(&mut self, id: $id) -> &mut $item {
                &mut self.$table[id.0]
            }
        }
    )*};
}
tables! {
    InodeId => inodes: Inode,
    FsId => file_systems: FileSystem,
    MountId => mounts: Mount,
    UserId => users: UserSpace,
    SpaceId => spaces: Space,
    TaskId => tasks: Task,
    FileId => files: OpenFile,
    WireId => wires: Wire,
}

/// What the watcher keeps for one container.
#[derive(Clone, Debug, Default)]
struct Entrusted {
    ops: Vec<u8>,
    /// Not with the embedder's end.
    kept: bool,
    files: BTreeMap<Slot, FileId>,
}

/// A small kernel in memory (see [`Kernel`]).
///
/// It starts as a host with one process, the embedder: root with every
/// capability ([`Model::new`]) or an ordinary user ([`Model::as_user`]), the
/// usual file systems, and what the test adds.
///
/// ```
/// use skep_sys::abi::{CapabilitySet, Namespaces};
/// use skep_sys::{Actor, Cell, Errno, Kernel, Model, Op, Slots};
///
/// // An ordinary user makes namespaces only together with a user namespace.
/// let mut model = Model::as_user(1000);
/// let mut slots = Slots::new(&mut []);
/// let refused = model.call(&Op::Unshare { namespaces: Namespaces::MOUNT }, &mut slots);
/// assert_eq!(refused, Err(Errno::EPERM));
/// let both = Namespaces::USER.with(Namespaces::MOUNT);
/// model.call(&Op::Unshare { namespaces: both }, &mut slots)?;
///
/// let credentials = model.process(Actor::Host).map(|process| process.credentials());
/// let effective = credentials.as_ref().map(|credentials| credentials.effective);
/// assert_eq!(effective, Some(CapabilitySet::up_to(40)));
/// assert_eq!(credentials.map(|credentials| credentials.uid.real), Some(65534), "not mapped yet");
/// # Ok::<(), Errno>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    inodes: Vec<Inode>,
    file_systems: Vec<FileSystem>,
    mounts: Vec<Mount>,
    users: Vec<UserSpace>,
    spaces: Vec<Space>,
    tasks: Vec<Task>,
    files: Vec<OpenFile>,
    wires: Vec<Wire>,
    /// Inodes of procfs that exist only while somebody looks.
    synthetic: BTreeMap<(FsId, Option<TaskId>, String), InodeId>,
    /// Whether it is the host's, the path, and the namespace.
    sysctls: BTreeMap<(bool, String, usize), Vec<u8>>,
    entrusted: BTreeMap<u64, Entrusted>,
    /// Programs for the devices of v2 groups.
    device_programs: Vec<(InodeId, Arc<[u8]>)>,
    foreign_locks: Vec<(InodeId, (u64, u64))>,
    /// What procfs and sysfs hold beside what they always do.
    kernel_files: Vec<String>,
    /// And what not.
    missing: Vec<String>,
    /// What the embedder may run on.
    processors: Vec<u32>,
    /// Pages of memory.
    memory: u64,
    /// `st_dev` and `st_ino` that were told.
    numbers: BTreeMap<InodeId, (u64, u64)>,
    subids: Vec<(u32, u32)>,
    /// Rows and columns, by the inode of the end in the devpts.
    terminals: BTreeMap<InodeId, [u16; 2]>,
    actors: [Option<TaskId>; 3],
    actor: Actor,
    current: TaskId,
    /// What the last child was handed, until it looks.
    inherited: Option<Vec<(Slot, Cell)>>,
    /// Whom the last fork made, and the slot that tells the sides apart.
    forked: Option<(Actor, Slot)>,
    last_capability: u8,
    last_group: u32,
    last_keyring: u32,
    /// Whether a path is walked by nobody of the model.
    seeking: bool,
    /// Capabilities of programs.
    file_capabilities: BTreeMap<InodeId, FileCapabilities>,
    kernel: (u16, u16),
    /// The one hierarchy of cgroups.
    cgroups: FsId,
    /// Whether something may have lost its last holder.
    dirty: bool,
    baseline: Option<Arc<Snapshot>>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

/// What a test does beside the plan.
impl Model {
    /// Opens a path as the embedder (`O_PATH`), as whoever gathers facts does
    /// before a plan is made. The number belongs into a slot of the plan.
    ///
    /// # Errors
    ///
    /// As `openat2`.
    ///
    /// ```
    /// use skep_sys::{Cell, Kernel, Model, Op, Proof, Slot, Slots};
    ///
    /// let mut model = Model::new();
    /// let mut cells = [Cell::Descriptor(model.open_path("/dev/null")?)];
    /// let proof = Proof::CharDevice { major: 1, minor: 3 };
    /// model.call(&Op::Prove { file: Slot(0), proof }, &mut Slots::new(&mut cells))?;
    /// # Ok::<(), skep_sys::Errno>(())
    /// ```
    pub fn open_path(&mut self, path: &str) -> Result<i32, Errno> {
        self.current = TaskId(0);
        let root = self[TaskId(0)].root;
        let place = self.walk(root, path.as_bytes(), Resolve::NONE, true)?;
        self.install(TaskId(0), Object::Path(Handle { place, access: Access::Path, tree: false }), true)
    }

    /// `st_dev` and `st_ino` of what lies at a path of the host, as
    /// [`crate::Proof::Inode`] wants them.
    pub fn inode(&mut self, path: &str) -> Option<(u64, u64)> {
        self.current = TaskId(0);
        let root = self[TaskId(0)].root;
        let place = self.seek(root, path, true).ok()?;
        Some(self.identity(place.inode))
    }

    /// A process of the start: the last child, the payload that it forked.
    #[must_use]
    pub fn process(&self, actor: Actor) -> Option<Process<'_>> {
        self.actors[actor_index(actor)].map(|task| Process::new(self, task))
    }

    /// Lets a process end, as if by itself.
    pub fn finish(&mut self, actor: Actor, status: WaitStatus) {
        if let Some(task) = self.actors[actor_index(actor)] {
            self.end(task, status);
            self.settle_ends();
        }
    }

    /// Kills the embedder: its descriptors close, stub inits lose their
    /// lifeline, and the watcher runs what it was entrusted with.
    pub fn kill_embedder(&mut self) {
        self.remember();
        let host = self[TaskId(0)].clone();
        self.end(TaskId(0), WaitStatus::Signaled(signal::KILL));
        self.settle_ends();
        for (id, Entrusted { ops, files, kept }) in core::mem::take(&mut self.entrusted) {
            if kept {
                self.entrusted.insert(id, Entrusted { ops, files, kept });
                continue;
            }
            let size = files.keys().last().map_or(0, |slot| usize::from(slot.0) + 1);
            let mut cells = vec![Cell::Empty; size];
            let mut table = BTreeMap::new();
            for (number, (slot, file)) in (3..).zip(files) {
                table.insert(number, descriptors::Entry { file, close_on_exec: true });
                cells[usize::from(slot.0)] = Cell::Descriptor(number);
            }
            let watcher = Task { parent: None, table, ..host.clone() };
            self.tasks.push(watcher);
            let watcher = TaskId(self.tasks.len() - 1);
            self[watcher].numbers.clear();
            let section = crate::program::Section { first: 0, ops: &ops };
            for op in section.iter().filter_map(|(_, op)| op) {
                self.current = watcher;
                // One that fails does not stop the next.
                let _ = self.perform(&op, &mut Slots::new(&mut cells));
                self.settle_ends();
            }
            self[watcher].state = processes::State::Gone;
            self.dirty = true;
            self.settle_ends();
        }
    }

    fn settle_ends(&mut self) {
        self.cut_lifelines();
        self.collect();
        self.cut_lifelines();
    }
}

impl Stage for Model {
    fn act_as(&mut self, actor: Actor) {
        self.actor = actor;
    }
}

impl Kernel for Model {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        self.remember();
        // Nobody is left to ask: it never started, ended, or runs the payload.
        let current = self.actors[actor_index(self.actor)].ok_or(Errno::ESRCH)?;
        if self[current].ended() || self[current].exec.is_some() {
            return Err(Errno::ESRCH);
        }
        self.current = current;
        if let Some(kept) = self.inherited.take_if(|_| self.actor == Actor::Child) {
            // A rehearsal hands on the host's whole table; stage B gets what
            // was kept, as it was at the clone.
            slots.cells_mut().fill(Cell::Empty);
            kept.into_iter().try_for_each(|(slot, cell)| slots.put(slot, cell).map(drop))?;
        }
        if let Some((_, pid)) = self.forked.take_if(|(role, _)| *role == self.actor) {
            // The new process's side of a fork sees 0.
            slots.put(pid, Cell::Value(0))?;
        }
        let result = self.filtered(op).and_then(|()| self.perform(op, slots));
        self.settle_ends();
        result
    }
}

impl Model {
    /// A place to which `path` leads, or, when it is empty, the descriptor.
    fn place(&mut self, slots: &Slots<'_>, dir: At, path: &[u8], empty: bool) -> Result<files::Place, Errno> {
        let start = self.start(dir, slots)?;
        match path {
            [] if empty => Ok(start),
            _ => self.walk(start, path, Resolve::NONE, true),
        }
    }

    fn perform(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        match *op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } => {
                let start = self.start(dir, slots)?;
                let object = self.open(start, path.to_bytes(), flags, mode, resolve)?;
                self.fill(slots, into, object)
            }
            Op::Mkdir { dir, name, mode, exist_ok } => {
                let start = self.start(dir, slots)?;
                self.mkdir(start, name.to_bytes(), mode, exist_ok)
            }
            Op::Symlink { target, dir, name } => {
                let start = self.start(dir, slots)?;
                self.symlink_at(start, name.to_bytes(), target.to_bytes())
            }
            Op::Create { dir, name, mode, content, exist_ok } => {
                let start = self.start(dir, slots)?;
                self.create(start, name.to_bytes(), mode, content.0, exist_ok)
            }
            Op::CreateSecret { dir, name, mode, content } => {
                let start = self.start(dir, slots)?;
                self.create(start, name.to_bytes(), mode, content.0, false)
            }
            Op::Mknod { dir, name, mode, major, minor } => {
                let start = self.start(dir, slots)?;
                self.mknod(start, name.to_bytes(), mode, [major, minor])
            }
            Op::Unlink { dir, path, directory } => {
                let start = self.start(dir, slots)?;
                self.unlink(start, path.to_bytes(), directory)
            }
            Op::UnlinkSame { dir, name, file } => {
                let held = match slots.get(file) {
                    Cell::Descriptor(_) => Some(self.handle(slots, file)?.place.inode),
                    _ => None,
                };
                let start = self.start(At::Slot(dir), slots)?;
                match self.entry(start.inode, name.to_bytes()) {
                    Some(found) if held.is_none_or(|held| held == found) => self.unlink(start, name.to_bytes(), false),
                    _ => Ok(()),
                }
            }
            Op::Write { dir, path, content } => {
                let start = self.start(dir, slots)?;
                self.write(start, path.to_bytes(), content.0)
            }
            Op::WritePid { dir, path, pid } => {
                let pid = slots.value(pid)?;
                let start = self.start(dir, slots)?;
                self.write(start, path.to_bytes(), pid.to_string().as_bytes())
            }
            Op::Chown { file, uid, gid } => {
                let place = self.handle(slots, file)?.place;
                self.chown(place, uid, gid)
            }
            Op::Chmod { file, mode } => {
                let handle = self.handle(slots, file)?;
                self.chmod(handle, mode)
            }
            Op::Rename { dir, from, to, replace } => {
                let start = self.start(dir, slots)?;
                self.rename(start, [from.to_bytes(), to.to_bytes()], replace)
            }
            Op::Reopen { file, flags, into } => {
                let place = self.handle(slots, file)?.place;
                let object = self.open_place(place, flags)?;
                self.fill(slots, into, object)
            }
            Op::CopyRest { from, to, limit, into } => {
                let [from, to] = [self.handle(slots, from)?, self.handle(slots, to)?];
                let count = self.copy_rest(from, to, limit)?;
                slots.put(into, Cell::Value(count)).map(drop)
            }
            Op::Prove { file, proof } => {
                let object = self.object(slots, file)?;
                self.prove(object, proof)
            }
            Op::Close { file } => match slots.put(file, Cell::Empty)? {
                Cell::Descriptor(number) => {
                    self.close_number(number);
                    Ok(())
                }
                _ => Err(Errno::EBADF),
            },
            Op::MemFd { name, content, seals, executable, into } => {
                let object = Self::memfd(name.to_bytes(), content.0, seals, executable)?;
                self.fill(slots, into, object)
            }
            Op::Peek { file, offset, into } => {
                let word = self.peek(self.object(slots, file)?, offset)?;
                slots.put(into, Cell::Value(word)).map(drop)
            }
            Op::LockIds { path, first, count, into } => self.lock_ids(slots, path.to_bytes(), [first, count], into),
            Op::ReleaseIds { file, path, .. } => self.release_ids(slots, file, path.to_bytes()),

            Op::OpenTree { dir, path, flags, into } => {
                self.start(dir, slots)?;
                self.may_open_tree(flags)?;
                let place = self.place(slots, dir, path.to_bytes(), flags.has(TreeFlags::EMPTY_PATH))?;
                let object = self.open_tree(place, flags)?;
                self.fill(slots, into, object)
            }
            Op::FsOpen { kind, into } => {
                let object = self.fs_open(&kind.to_string_lossy())?;
                self.fill(slots, into, object)
            }
            Op::FsString { fs, key, value } => {
                let file = self.file_in(slots, fs)?;
                self.fs_set(file, &key.to_string_lossy(), &value.to_string_lossy())
            }
            Op::FsFlag { fs, key } => {
                let file = self.file_in(slots, fs)?;
                self.fs_set(file, &key.to_string_lossy(), "")
            }
            Op::FsCreate { fs } => {
                let file = self.file_in(slots, fs)?;
                self.fs_create(file)
            }
            Op::FsMount { fs, attrs, into } => {
                let file = self.file_in(slots, fs)?;
                let object = self.fs_mount(file, attrs)?;
                self.fill(slots, into, object)
            }
            Op::MoveMount { from, dir, path } => {
                let from = self.handle(slots, from)?.place;
                let start = self.start(dir, slots)?;
                // A link at the end is not followed (MOVE_MOUNT_T_SYMLINKS).
                let to = match path.to_bytes() {
                    [] => start,
                    path => self.walk(start, path, Resolve::NONE, false)?,
                };
                self.move_mount(from, to)
            }
            Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns } => {
                let userns = userns.map(|slot| self.object(slots, slot)).transpose()?.cloned();
                let start = self.start(dir, slots)?;
                // The attributes are looked at before the path.
                let Some(change) = self.attr_change([set, clear], propagation, userns.as_ref())? else {
                    return Ok(());
                };
                let place = match path.to_bytes() {
                    [] if flags.has(TreeFlags::EMPTY_PATH) => start,
                    path => self.walk(start, path, Resolve::NONE, true)?,
                };
                self.mount_setattr(place, flags.has(TreeFlags::RECURSIVE), &change)
            }
            Op::PivotRoot {} => self.pivot_root(),
            Op::UmountOld {} => self.umount_old(),
            Op::Unmount { dir: At::Cwd, path } if path.to_bytes().starts_with(b"/") => {
                self.may_mount()?;
                let start = self.start(At::Cwd, slots)?;
                // A link at the end is not followed (UMOUNT_NOFOLLOW).
                match self.walk(start, path.to_bytes(), Resolve::NONE, false) {
                    Ok(place) => self.unmount(place),
                    Err(Errno::ENOENT) => Ok(()),
                    Err(errno) => Err(errno),
                }
            }
            Op::Unmount { dir: dir @ At::Slot(_), path } if path.is_empty() => {
                self.may_mount()?;
                let place = self.start(dir, slots)?;
                self.unmount(place)
            }
            Op::Unmount { .. } => Err(Errno::EINVAL),
            Op::ProveRoot {} => {
                let root = self[self.current].root;
                if self.topmost(root).mount == root.mount { Ok(()) } else { Err(Errno::ESTALE) }
            }
            Op::Chdir { path } => {
                let cwd = self[self.current].cwd;
                let place = self.walk(cwd, path.to_bytes(), Resolve::NO_MAGICLINKS, true)?;
                self.change_directory(place)?;
                self.reachable()
            }
            Op::Fchdir { dir } => {
                let place = self.handle(slots, dir)?.place;
                self.change_directory(place)
            }

            Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid } => {
                let joins = self.joined(slots, joins)?;
                self.spawn(slots, (namespaces, &joins), cgroup, [image, plan], keep, ambient, [pidfd, pid])
            }
            Op::Fork { pid } => self.fork(slots, pid),
            Op::Sibling { pid, pidfd } => self.sibling(slots, pid, pidfd),
            Op::SetNs { namespace, kind } => {
                let object = self.object(slots, namespace)?.clone();
                self.set_ns(&object, kind)
            }
            Op::Unshare { namespaces } => self.unshare(namespaces),
            Op::OpenProcess { pid, pidfd, into } => {
                let target = self.pidfd(slots, pidfd)?;
                let object = self.open_process(slots.value(pid)?, target)?;
                self.fill(slots, into, object)
            }
            Op::IdMapHelper { program, pid, map } => {
                let pid = slots.value(pid)?;
                self.id_map_helper(slots, program, pid, map)
            }
            Op::MapNamespace { image, uid, gid, into } => {
                let image = self.object(slots, image)?.clone();
                self.may_execute(&image)?;
                let user = self.map_namespace(uid, gid)?;
                self.fill(slots, into, Object::User(user))
            }
            Op::BpfDevice { program, into } => {
                let object = self.bpf_device(program.0)?;
                self.fill(slots, into, object)
            }
            Op::BpfAttach { cgroup, program } => {
                let group = self.handle(slots, cgroup)?;
                let program = self.object(slots, program)?.clone();
                self.bpf_attach(group, &program)
            }
            Op::RemoveGroup { dir, path } => {
                let start = self.start(dir, slots)?;
                self.remove_group(start, path.to_bytes())
            }
            Op::KillGroup { dir, path } => {
                let start = self.start(dir, slots)?;
                self.kill_group(start, path.to_bytes())
            }
            Op::Freeze { group, on, timeout_ms: _ } => {
                let place = self.handle(slots, group)?.place;
                self.freeze_group(place, on)
            }
            Op::PidfdSignal { process, signal } => {
                let target = self.pidfd(slots, process)?;
                self.signal(target, signal)
            }
            Op::PidfdWait { process, timeout_ms: _, into } => {
                let target = self.pidfd(slots, process)?;
                let status = self.wait(target)?;
                slots.put(into, Cell::Value(status.to_value())).map(drop)
            }

            // This kernel remembers nothing.
            Op::PidfdStatus { process, into, .. } => {
                self.pidfd(slots, process)?;
                slots.put(into, Cell::Value(WaitStatus::Lost.to_value())).map(drop)
            }
            Op::Affinity { pid, pidfd, cpus } => {
                let cpus: Vec<u32> = cpus.iter().collect();
                if cpus.is_empty() || cpus.iter().any(|cpu| !self.processors.contains(cpu)) {
                    return Err(Errno::EINVAL);
                }
                self.schedule(slots, [pid, pidfd], ("affinity", format!("{cpus:?}")), false)
            }
            Op::Schedule { pid, pidfd, policy, nice, priority } => {
                let real_time = matches!(policy, 1 | 2);
                if nice > 40 || real_time != (1..=99).contains(&priority) {
                    return Err(Errno::EINVAL);
                }
                let value = format!("{policy} {nice} {priority}");
                self.schedule(slots, [pid, pidfd], ("scheduling", value), real_time || nice > 20)
            }
            Op::IoPriority { pid, pidfd, class, level } => {
                if !(1..=3).contains(&class) || level > 7 {
                    return Err(Errno::EINVAL);
                }
                self.schedule(slots, [pid, pidfd], ("io priority", format!("{class} {level}")), class == 1)
            }
            Op::SetGroups { groups } => self.set_groups(groups.iter()),
            Op::SetResGid { gid } => self.set_gid(gid),
            Op::SetResUid { uid } => self.set_uid(uid),
            Op::DropBounding { keep } => self.drop_bounding(keep),
            Op::CapSet { effective, permitted, inheritable } => {
                self.set_capabilities(effective, permitted, inheritable)
            }
            Op::AmbientSet { capabilities } => self.set_ambient(capabilities),
            Op::SetSecureBits { bits } => self.set_securebits(bits),
            Op::NoNewPrivs {} => {
                self.set_no_new_privs();
                Ok(())
            }
            Op::DenyWriteExecute {} => {
                let current = self.current;
                self[current].notes.insert("deny write-execute", b"1".to_vec());
                Ok(())
            }
            Op::Dumpable { on } => {
                let current = self.current;
                self[current].dumpable = on;
                Ok(())
            }
            Op::ProveCredentials { uid, gid, effective, permitted, bounding, ambient, securebits, no_new_privs } => {
                let real = self.seen(self.cred(), true);
                let holds = [real.uid.real, real.uid.effective, real.uid.saved] == [uid; 3]
                    && [real.gid.real, real.gid.effective, real.gid.saved] == [gid; 3]
                    && (real.effective, real.permitted, real.inheritable) == (effective, permitted, ambient)
                    && (real.bounding, real.ambient) == (bounding, ambient)
                    && (real.securebits, real.no_new_privs) == (securebits, no_new_privs);
                if holds { Ok(()) } else { Err(Errno::EPERM) }
            }
            Op::Seccomp { program, flags, listener } => {
                match (self.install_filter(program.0, flags, listener.is_some())?, listener) {
                    (true, Some(into)) => self.fill(slots, into, Object::Listener),
                    _ => Ok(()),
                }
            }
            Op::ReceiveCall { listener, .. } | Op::AnswerCall { listener, .. } | Op::CallWaits { listener, .. } => {
                self.call_that_waits(slots, listener)
            }
            Op::LandlockVersion { into } => slots.put(into, Cell::Value(7)).map(drop),
            Op::LandlockRuleset { file_access, net_access, scoped, into } => {
                let object = self.ruleset(file_access, net_access, scoped)?;
                self.fill(slots, into, object)
            }
            Op::LandlockPath { ruleset, parent, access } => self.landlock_path(slots, [ruleset, parent], access),
            Op::LandlockPort { ruleset, port, access } => self.landlock_port(slots, ruleset, port, access),
            Op::LandlockRestrict { ruleset } => self.restrict(slots, ruleset),

            Op::SetLimit { resource, soft, hard } => self.set_limit(resource, soft, hard),
            Op::HostName { name } => self.set_name(name.to_bytes(), false),
            Op::DomainName { name } => self.set_name(name.to_bytes(), true),
            Op::SessionKeyring {} => {
                self.join_keyring();
                Ok(())
            }
            Op::KeyCapabilities { into } => slots.put(into, Cell::Value(2)).map(drop),
            Op::Umask { mode } => {
                let current = self.current;
                self[current].umask = mode & 0o777;
                Ok(())
            }
            Op::SetSid {} => self.set_sid(),
            Op::ResetSignals {} => {
                let current = self.current;
                self[current].signals = Default::default();
                Ok(())
            }
            Op::BlockSignals {} => {
                let current = self.current;
                // sigprocmask(2): "It is not possible to block SIGKILL or SIGSTOP."
                self[current].signals.blocked = !(bit(signal::KILL) | bit(19));
                Ok(())
            }
            Op::Personality { persona } => {
                let current = self.current;
                self[current].personality = persona;
                Ok(())
            }

            Op::Adopt {} => self.adopt(slots),
            Op::Vacate { numbers } => self.vacate(slots, numbers),
            Op::Dup { file, number } => {
                let file = self.file_in(slots, file)?;
                self.dup(file, number)
            }
            Op::SetXattr { file, .. } | Op::RemoveXattr { file, .. } => {
                let place = self.handle(slots, file)?.place;
                self.writable(place)?;
                // What is in no file of the user's own is root's to write.
                self.need(UserId::INITIAL, crate::abi::cap::SYS_ADMIN)
            }
            Op::CopyWhole { from, to } => {
                let [from, to] = [self.handle(slots, from)?, self.handle(slots, to)?];
                self.copy_rest(from, to, u64::MAX).map(drop)
            }
            Op::Link { file, dir, name } => {
                let place = self.handle(slots, file)?.place;
                let start = self.start(dir, slots)?;
                self.link(place, start, name.to_bytes())
            }
            Op::Stamp { file, .. } => {
                let place = self.handle(slots, file)?.place;
                self.writable(place)
            }
            // The same file: nothing of its content is known here.
            Op::LoopDevice { image, into, .. } => {
                let object = Object::Path(self.handle(slots, image)?);
                self.need(UserId::INITIAL, crate::abi::cap::SYS_ADMIN)?;
                self.fill(slots, into, object)
            }
            Op::FsDevice { fs, device } => {
                self.handle(slots, device)?;
                match self.object(slots, fs)? {
                    Object::Fs(_) => Ok(()),
                    _ => Err(Errno::EINVAL),
                }
            }
            Op::Inherit { number, into } => {
                let current = self.current;
                let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
                let entry = self[current].table.get(&number).filter(|entry| !entry.close_on_exec);
                let file = entry.ok_or(Errno::EBADF)?.file;
                self.fill_file(slots, into, file)
            }
            Op::CloseFrom { first } => {
                self.close_from(first);
                Ok(())
            }
            Op::SocketPair { one, other } => self.new_wire(slots, [one, other]),
            Op::Pipe { read, write } => self.new_wire(slots, [read, write]),
            Op::Socket { family, kind, into } => {
                let object = self.socket(family, kind)?;
                self.fill(slots, into, object)
            }
            Op::SocketOption { socket, .. } => self.socket_option(slots, socket),
            Op::Bind { socket, path } => {
                let object = self.object(slots, socket)?.clone();
                self.bind(&object, path.to_bytes())
            }
            Op::LinkUp { socket, name } => self.link_up(slots, socket, name.to_bytes()),
            Op::NetlinkSocket { protocol, namespace, into } => self.netlink_socket(slots, protocol, namespace, into),
            Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace, alias } => {
                let texts = [kind, name, lower, peer, alias].map(core::ffi::CStr::to_bytes);
                self.link_add(slots, socket, texts, [address.0, peer_address.0], namespace)
            }
            Op::LinkAltName { socket, name, alternative } => {
                self.link_alternative(slots, socket, name.to_bytes(), alternative.to_bytes())
            }
            Op::LinkMaster { socket, name, master } => {
                self.link_master(slots, socket, name.to_bytes(), master.to_bytes())
            }
            Op::LinkMove { socket, name, index, namespace, new_name, new_index } => {
                let names = [name.to_bytes(), new_name.to_bytes()];
                self.link_move(slots, [socket, namespace], names, [index, new_index])
            }
            Op::LinkRemove { socket, name, alias } => {
                self.link_remove(slots, socket, name.to_bytes(), alias.to_bytes())
            }
            // Nobody else is here for whom the file would be locked.
            Op::ZoneJoin { socket, bridge, port, lock: _, alias } => {
                self.zone_join(slots, socket, [bridge, port, alias].map(core::ffi::CStr::to_bytes))
            }
            Op::ZoneLeave { socket, bridge, port, lock: _, alias } => {
                self.zone_leave(slots, socket, [bridge, port, alias].map(core::ffi::CStr::to_bytes))
            }
            Op::LinkOption { socket, name, option, value } => {
                self.link_option(slots, socket, name.to_bytes(), (option, value))
            }
            Op::AddressAdd { socket, name, address, prefix, shared } => {
                self.address_add(slots, socket, name.to_bytes(), (address.0, prefix), shared)
            }
            Op::RouteAdd { socket, name, to, prefix, gateway } => {
                self.route_add(slots, socket, name.to_bytes(), (to.0, prefix), gateway.0)
            }
            Op::NfTables { socket, batch } => self.nf_tables(slots, socket, batch.0),
            Op::SignalFd { into } => self.fill(slots, into, Object::Signals),

            Op::Release { to } => self.release(slots, to),
            Op::Announce { to } => self.announce(slots, to),
            Op::Arrive { to } => self.arrive(slots, to),
            Op::Await { from } => self.await_release(slots, from),
            Op::Receive { from, file, into, .. } => self.receive(slots, from, [file, into]),
            // The library opens only what a file of its registry names.
            Op::PidfdOpen { pid, .. } => slots.value(pid).and(Err(Errno::ESRCH)),
            Op::EndGroup { pidfd, pid } => {
                slots.value(pid)?;
                let leader = self.pidfd(slots, pidfd)?;
                self.end_group(leader);
                Ok(())
            }
            Op::SendFile { to, file, place } => self.send_file(slots, to, file, place),
            Op::OpenTerminal { devpts, rows, columns, master, peer } => {
                self.open_terminal(slots, devpts, [rows, columns], [master, peer])
            }
            Op::ControllingTerminal { terminal } => self.take_terminal(slots, terminal),
            Op::ResizeTerminal { terminal, rows, columns } => self.resize_terminal(slots, terminal, [rows, columns]),
            Op::TerminalSize { terminal, into } => self.terminal_size(slots, terminal, into),
            Op::Entrust { watcher, id, ops } => {
                if ops.0.len() > crate::program::watched::OPS {
                    return Err(Errno::E2BIG);
                }
                self.connected(slots, watcher)?;
                self.entrusted.entry(id).or_default().ops = ops.0.to_vec();
                Ok(())
            }
            Op::EntrustFile { watcher, id, place, file } => {
                self.connected(slots, watcher)?;
                let file = self.file_in(slots, file)?;
                self.entrusted.entry(id).or_default().files.insert(place, file);
                Ok(())
            }
            Op::Keep { watcher, id } => {
                self.connected(slots, watcher)?;
                self.entrusted.entry(id).or_default().kept = true;
                Ok(())
            }
            Op::Dismiss { watcher, id } => {
                self.connected(slots, watcher)?;
                self.entrusted.remove(&id);
                self.dirty = true;
                Ok(())
            }

            Op::Exec { programs, arguments, environment } => self.exec(programs, arguments, environment),
            Op::ExecAt { program, arguments, environment } => self.exec_at(slots, program, arguments, environment),
            Op::Reap { payload, signals, lifeline, control, gate } => {
                self.reap(slots, payload, [signals, lifeline], [control, gate])
            }
            Op::Watch { socket } | Op::Serve { socket } => self.connected(slots, socket),
            // Nobody serves here.
            Op::Ask { server, .. } => self.connected(slots, server).and(Err(Errno::ECANCELED)),
            Op::Exit { status } => {
                self.end(self.current, WaitStatus::Exited(status));
                Ok(())
            }
            Op::Fail { errno } => Err(errno),
        }
    }

    /// unshare(2).
    fn unshare(&mut self, kinds: Namespaces) -> Result<(), Errno> {
        let current = self.current;
        let old = self[current].cred.clone();
        self.enter_new(current, kinds).inspect_err(|_| self.tasks[current.0].cred = old)
    }
}
