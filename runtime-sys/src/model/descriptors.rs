//! Descriptor tables, open file descriptions, and what they refer to.
//!
//! Sources: open(2), dup(2), fcntl(2), close_range(2), socketpair(2),
//! landlock_create_ruleset(2), memfd_create(2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::abi::{OpenFlags, Resolve, Resource, Seals, cap};
use crate::errno::Errno;
use crate::kernel::{Cell, Report, Slots};
use crate::op::{At, Slot};
use crate::wire::Numbers;

use super::file_systems::FsContext;
use super::files::{InodeId, Node, Place};
use super::processes::{Task, TaskId};
use super::{FileId, Model, SpaceId, UserId, WireId};

const CAP_NET_RAW: u8 = 13;

/// An open file description: what survives `dup` and `fork`.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    pub(super) object: Object,
    /// Start and length of what is locked; length 0 is "to the end".
    pub(super) locks: Vec<(u64, u64)>,
}

/// What a descriptor refers to.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// Nobody refers to it any more.
    Closed,
    Path(Handle),
    /// `O_PATH` of something without a place: good for nothing but a proof.
    Handle,
    Fs(FsContext),
    Pidfd(TaskId),
    /// One end of a socket pair or of a pipe.
    Wire {
        wire: WireId,
        end: usize,
    },
    Socket {
        family: u32,
        network: SpaceId,
    },
    MemFd {
        content: Vec<u8>,
        seals: Seals,
        executable: bool,
    },
    User(UserId),
    Space(SpaceId),
    Ruleset(Ruleset),
    Signals,
    Listener,
    /// The end of a terminal that is not in its devpts.
    Terminal(InodeId),
    /// A program for the devices of a cgroup.
    DeviceProgram(Arc<[u8]>),
}

impl Object {
    pub(super) const fn is_path_only(&self) -> bool {
        matches!(self, Self::Handle | Self::Path(Handle { access: Access::Path, .. }))
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Path(Handle { tree: true, .. }) => "tree",
            Self::Path(Handle { access: Access::Path, .. }) | Self::Handle => "path",
            Self::Path(_) => "file",
            Self::Fs(_) => "fscontext",
            Self::Pidfd(_) => "pidfd",
            Self::Wire { .. } => "socketpair",
            Self::Socket { .. } => "socket",
            Self::MemFd { .. } => "memfd",
            Self::User(_) | Self::Space(_) => "namespace",
            Self::Ruleset(_) => "landlock-ruleset",
            Self::Signals => "signalfd",
            Self::Listener => "seccomp-listener",
            Self::Terminal(_) => "terminal",
            Self::DeviceProgram(_) => "bpf-prog",
        }
    }
}

/// A descriptor of something that has a place in a file tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Handle {
    pub(super) place: Place,
    pub(super) access: Access,
    /// Whether its end is the end of a detached tree of mounts.
    pub(super) tree: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// `O_PATH`
    Path,
    Read,
    Write,
}

/// A landlock ruleset, in the making or in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ruleset {
    pub(super) files: u64,
    pub(super) net: u64,
    pub(super) scoped: u64,
    pub(super) paths: Vec<(InodeId, u64)>,
    pub(super) ports: Vec<(u16, u64)>,
}

/// Two ends; what was sent to each and not yet received.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    released: [usize; 2],
    reports: [VecDeque<Report>; 2],
    /// What came along with reports, in their order.
    files: [VecDeque<FileId>; 2],
    /// Markers that were told before the sender ran: a rehearsal performs the
    /// host's side first.
    foretold: [bool; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) file: FileId,
    pub(super) close_on_exec: bool,
}

/// A descriptor of a process, to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// What it refers to: `path`, `file`, `tree`, `fscontext`, `pidfd`,
    /// `socketpair`, `socket`, `memfd`, `namespace`, `landlock-ruleset`,
    /// `signalfd`, `terminal` or `seccomp-listener`.
    pub kind: &'static str,
    /// Whether exec closes it.
    pub close_on_exec: bool,
    /// The path within its file system, for what has one.
    pub path: Option<String>,
}

impl Model {
    pub(super) fn new_file(&mut self, object: Object) -> FileId {
        self.files.push(OpenFile { object, locks: Vec::new() });
        FileId(self.files.len() - 1)
    }

    /// Gives `task` a descriptor with the lowest free number.
    pub(super) fn install(&mut self, task: TaskId, object: Object, close_on_exec: bool) -> Result<i32, Errno> {
        let file = self.new_file(object);
        self.install_file(task, file, close_on_exec)
    }

    fn install_file(&mut self, task: TaskId, file: FileId, close_on_exec: bool) -> Result<i32, Errno> {
        let number = self[task].free_number(0)?;
        self[task].table.insert(number, Entry { file, close_on_exec });
        Ok(number)
    }

    /// Puts a new descriptor of the running process into a slot, which lets go
    /// of what it held.
    pub(super) fn fill(&mut self, slots: &mut Slots<'_>, into: Slot, object: Object) -> Result<(), Errno> {
        let file = self.new_file(object);
        self.fill_file(slots, into, file)
    }

    pub(super) fn fill_file(&mut self, slots: &mut Slots<'_>, into: Slot, file: FileId) -> Result<(), Errno> {
        let number = self.install_file(self.current, file, true).inspect_err(|_| self.dirty = true)?;
        self.put_number(slots, into, number)
    }

    /// Two that one call makes: what was in the slots is closed when both are there.
    pub(super) fn fill_pair(
        &mut self,
        slots: &mut Slots<'_>,
        into: [Slot; 2],
        objects: [Object; 2],
    ) -> Result<(), Errno> {
        let [one, other] = objects.map(|object| self.new_file(object));
        let install =
            |model: &mut Self, file| model.install_file(model.current, file, true).inspect_err(|_| model.dirty = true);
        let one = install(self, one)?;
        let other = install(self, other).inspect_err(|_| self.close_number(one))?;
        let first = self.put_number(slots, into[0], one);
        self.put_number(slots, into[1], other).and(first)
    }

    fn put_number(&mut self, slots: &mut Slots<'_>, into: Slot, number: i32) -> Result<(), Errno> {
        match slots.put(into, Cell::Descriptor(number)) {
            Ok(Cell::Descriptor(old)) => self.close_number(old),
            Ok(_) => {}
            Err(errno) => {
                self.close_number(number);
                return Err(errno);
            }
        }
        Ok(())
    }

    pub(super) fn close_number(&mut self, number: i32) {
        let task = self.current;
        self[task].table.remove(&number);
        self.dirty = true;
    }

    /// The open file behind a slot of the running process.
    pub(super) fn file_in(&self, slots: &Slots<'_>, slot: Slot) -> Result<FileId, Errno> {
        let number = slots.descriptor(slot)?;
        self[self.current].table.get(&number).map(|entry| entry.file).ok_or(Errno::EBADF)
    }

    pub(super) fn object(&self, slots: &Slots<'_>, slot: Slot) -> Result<&Object, Errno> {
        self.file_in(slots, slot).map(|file| &self[file].object)
    }

    pub(super) fn handle(&self, slots: &Slots<'_>, slot: Slot) -> Result<Handle, Errno> {
        match self.object(slots, slot)? {
            Object::Path(handle) => Ok(*handle),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn pidfd(&self, slots: &Slots<'_>, slot: Slot) -> Result<TaskId, Errno> {
        match self.object(slots, slot)? {
            Object::Pidfd(task) => Ok(*task),
            _ => Err(Errno::EBADF),
        }
    }

    /// `adopt_descriptors`, as `Linux` does it: what is in slots stays, above 2
    /// and close-on-exec; all others end.
    pub(super) fn adopt(&mut self, slots: &mut Slots<'_>) -> Result<(), Errno> {
        let current = self.current;
        let mut kept = BTreeMap::new();
        let task = &mut self[current];
        for cell in slots.cells_mut() {
            let Cell::Descriptor(number) = *cell else { continue };
            let entry = task.table.get(&number).copied().ok_or(Errno::EBADF)?;
            let place = if number > 2 { number } else { task.free_number(3)? };
            task.table.insert(place, Entry { close_on_exec: true, ..entry });
            kept.insert(place, Entry { close_on_exec: true, ..entry });
            *cell = Cell::Descriptor(place);
        }
        task.table = kept;
        self.dirty = true;
        Ok(())
    }

    /// `vacate_descriptors`, as `Linux` does it.
    pub(super) fn vacate(&mut self, slots: &mut Slots<'_>, numbers: Numbers<'_>) -> Result<(), Errno> {
        let wanted = |number: i32| numbers.iter().any(|other| i32::try_from(other) == Ok(number));
        let current = self.current;
        let task = &mut self[current];
        for cell in slots.cells_mut() {
            let Cell::Descriptor(old) = *cell else { continue };
            let entry = task.table.get(&old).copied().ok_or(Errno::EBADF)?;
            let mut moved = old;
            while wanted(moved) {
                moved = task.free_number(moved + 1)?;
            }
            if moved != old {
                task.table.remove(&old);
                task.table.insert(moved, Entry { close_on_exec: true, ..entry });
                *cell = Cell::Descriptor(moved);
            }
        }
        self.dirty = true;
        Ok(())
    }

    /// dup(2), dup3: the new one is not close-on-exec.
    pub(super) fn dup(&mut self, file: FileId, number: u32) -> Result<(), Errno> {
        let current = self.current;
        let limit = self[current].descriptor_limit();
        let number = i32::try_from(number).ok().filter(|number| *number < limit).ok_or(Errno::EBADF)?;
        self[current].table.insert(number, Entry { file, close_on_exec: false });
        self.dirty = true;
        Ok(())
    }

    pub(super) fn close_from(&mut self, first: u32) {
        let current = self.current;
        self[current].table.retain(|number, _| u32::try_from(*number).is_ok_and(|number| number < first));
        self.dirty = true;
    }

    /// Whether somebody else holds a part of these ids: fcntl(2), "Open file
    /// description locks". `None` asks for all.
    fn ids_taken(&self, inode: InodeId, but: Option<FileId>, range: Option<[u32; 2]>) -> bool {
        let end = |start: u64, length: u64| if length == 0 { u64::MAX } else { start + length };
        let [start, length] = range.map_or([0, 0], |range| range.map(u64::from));
        let overlaps = |(other, size): &(u64, u64)| *other < end(start, length) && start < end(*other, *size);
        let taken = (0..self.files.len()).map(FileId).filter(|other| Some(*other) != but).any(|other| {
            let same = matches!(&self[other].object, Object::Path(handle) if handle.place.inode == inode);
            same && self[other].locks.iter().any(overlaps)
        });
        taken || self.foreign_locks.iter().any(|(at, range)| *at == inode && overlaps(range))
    }

    pub(super) fn lock_ids(
        &mut self,
        slots: &mut Slots<'_>,
        path: &[u8],
        range: [u32; 2],
        into: Slot,
    ) -> Result<(), Errno> {
        let start = self.start(At::Cwd, slots)?;
        let flags = OpenFlags::READ_WRITE.with(OpenFlags::CREATE).with(OpenFlags::NO_FOLLOW);
        let object = self.open(start, path, flags, 0o600, Resolve::NONE)?;
        let Object::Path(Handle { place, .. }) = object else { return Err(Errno::ESTALE) };
        let inode = &self[place.inode];
        if !matches!(inode.node, Node::File(_)) || inode.uid != 0 || inode.mode & 0o077 != 0 {
            return Err(Errno::ESTALE);
        }
        let taken = self.ids_taken(place.inode, None, Some(range));
        let locked = if taken { Err(Errno::EAGAIN) } else { self.fill(slots, into, object) };
        if locked.is_err() {
            if !self.ids_taken(place.inode, None, None) {
                self.unlink(start, path, false)?;
            }
            return locked;
        }
        let file = self.file_in(slots, into)?;
        self[file].locks.push((u64::from(range[0]), u64::from(range[1])));
        Ok(())
    }

    pub(super) fn release_ids(&mut self, slots: &mut Slots<'_>, file: Slot, path: &[u8]) -> Result<(), Errno> {
        let place = self.handle(slots, file)?.place;
        let id = self.file_in(slots, file)?;
        self[id].locks.clear();
        let removed = if self.ids_taken(place.inode, Some(id), None) {
            Ok(())
        } else {
            let start = self.start(At::Cwd, slots)?;
            self.unlink(start, path, false)
        };
        if let Cell::Descriptor(number) = slots.put(file, Cell::Empty)? {
            self.close_number(number);
        }
        removed
    }

    /// Every open file that somebody holds.
    fn held(&self) -> BTreeSet<FileId> {
        let tables = self.tasks.iter().filter(|task| !task.ended()).flat_map(|task| task.table.values());
        let entrusted = self.entrusted.values().flat_map(|entry| entry.files.values());
        // What is under way is held by the end that it goes to.
        let sent = self.wires.iter().enumerate().flat_map(|(wire, row)| {
            let ends = row.files.iter().enumerate();
            let open = ends.filter(move |(end, _)| self.holders(WireId(wire), 1 - end).next().is_some());
            open.flat_map(|(_, files)| files)
        });
        tables.map(|entry| entry.file).chain(entrusted.copied()).chain(sent.copied()).collect()
    }

    /// Ends what nobody refers to any more: open files with their locks and
    /// detached trees, mount namespaces with their mounts.
    pub(super) fn collect(&mut self) {
        if !core::mem::take(&mut self.dirty) {
            return;
        }
        let held = self.held();
        for file in (0..self.files.len()).map(FileId).filter(|file| !held.contains(file)) {
            let object = core::mem::replace(&mut self[file].object, Object::Closed);
            self[file].locks.clear();
            if let Object::Path(Handle { place, tree: true, .. }) = object {
                self.dissolve(place.mount);
            }
        }
        let in_use = |space: SpaceId| {
            space == SpaceId::HOST_MOUNTS
                || self.tasks.iter().any(|task| !task.ended() && task.spaces.mount == space)
                || held.iter().any(|file| matches!(self[*file].object, Object::Space(other) if other == space))
        };
        let unused: Vec<_> = self.mount_spaces().filter(|space| !in_use(*space)).collect();
        unused.into_iter().for_each(|space| self.unmount_all(space));
        self.collect_networks(&held);
    }

    /// The processes that hold the other end of a wire.
    pub(super) fn holders(&self, wire: WireId, end: usize) -> impl Iterator<Item = TaskId> {
        (0..self.tasks.len()).map(TaskId).filter(move |task| {
            let holds = |entry: &Entry| {
                matches!(self[entry.file].object, Object::Wire { wire: at, end: side } if at == wire && side != end)
            };
            !self[*task].ended() && self[*task].table.values().any(holds)
        })
    }

    fn wire(&self, slots: &Slots<'_>, slot: Slot) -> Result<(WireId, usize), Errno> {
        match self.object(slots, slot)? {
            Object::Wire { wire, end } => Ok((*wire, *end)),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(super) fn new_wire(&mut self, slots: &mut Slots<'_>, ends: [Slot; 2]) -> Result<(), Errno> {
        self.wires.push(Wire::default());
        let wire = WireId(self.wires.len() - 1);
        self.fill_pair(slots, ends, [0, 1].map(|end| Object::Wire { wire, end }))
    }

    pub(super) fn release(&mut self, slots: &Slots<'_>, to: Slot) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, to)?;
        if self.holders(wire, end).next().is_none() {
            return Err(Errno::ECANCELED);
        }
        self[wire].released[1 - end] += 1;
        Ok(())
    }

    /// A rehearsal performs the host's side first, then the child's, then the
    /// payload's: who waits for somebody that has not run yet takes it that
    /// the byte will come; who waits for somebody that has done all it will
    /// do would wait for ever (EDEADLK).
    pub(super) fn await_release(&mut self, slots: &Slots<'_>, from: Slot) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, from)?;
        if let Some(left) = self[wire].released[end].checked_sub(1) {
            self[wire].released[end] = left;
            return Ok(());
        }
        let others: Vec<_> = self.holders(wire, end).filter(|task| *task != self.current).collect();
        match others.as_slice() {
            [] => Err(Errno::ECANCELED),
            others if others.iter().any(|task| self.runs_later(*task)) => Ok(()),
            _ => Err(Errno::EDEADLK),
        }
    }

    fn runs_later(&self, task: TaskId) -> bool {
        self[task].exec.is_none() && task > self.current
    }

    pub(super) fn announce(&mut self, slots: &Slots<'_>, to: Slot) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, to)?;
        if self.holders(wire, end).next().is_none() {
            return Err(Errno::EPIPE);
        }
        if !core::mem::take(&mut self[wire].foretold[1 - end]) {
            self[wire].reports[1 - end].push_back(Report::Marker);
        }
        Ok(())
    }

    pub(super) fn arrive(&mut self, slots: &Slots<'_>, to: Slot) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, to)?;
        if self.holders(wire, end).next().is_none() {
            return Err(Errno::EPIPE);
        }
        self[wire].reports[1 - end].push_back(Report::Waiting);
        Ok(())
    }

    pub(super) fn send_file(&mut self, slots: &Slots<'_>, to: Slot, file: Slot, place: Slot) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, to)?;
        let file = self.file_in(slots, file)?;
        if self.holders(wire, end).next().is_none() {
            return Err(Errno::EPIPE);
        }
        self[wire].reports[1 - end].push_back(Report::File { place });
        self[wire].files[1 - end].push_back(file);
        Ok(())
    }

    pub(super) fn receive(&mut self, slots: &mut Slots<'_>, from: Slot, [file, into]: [Slot; 2]) -> Result<(), Errno> {
        let (wire, end) = self.wire(slots, from)?;
        let others: Vec<_> = self.holders(wire, end).collect();
        let later = others.iter().any(|task| self.runs_later(*task));
        // Somebody who does not run later holds the other end open.
        if !others.is_empty() && !later {
            return Err(Errno::ETIMEDOUT);
        }
        let report = match self[wire].reports[end].pop_front() {
            Some(report) => report,
            None if others.is_empty() => Report::Closed,
            None if !self[wire].foretold[end] => {
                self[wire].foretold[end] = true;
                Report::Marker
            }
            None => Report::Closed,
        };
        if matches!(report, Report::File { .. })
            && let Some(came) = self[wire].files[end].pop_front()
        {
            self.fill_file(slots, file, came)?;
        }
        slots.put(into, Cell::Value(report.to_value())).map(drop)
    }

    /// socket(2); the file systems of the network stack are not modelled.
    pub(super) fn socket(&self, family: u32, kind: u32) -> Result<Object, Errno> {
        const KNOWN: [u32; 5] = [1, 2, 10, 16, 17];
        if !KNOWN.contains(&family) {
            return Err(Errno::EAFNOSUPPORT);
        }
        let network = self[self.current].spaces.network;
        // raw(7): without a protocol there is no raw socket.
        if matches!(family, 2 | 10) && kind & 0xf == 3 {
            return Err(Errno::EPROTONOSUPPORT);
        }
        // packet(7)
        if family == 17 {
            self.need(self[network].owner, CAP_NET_RAW)?;
        }
        Ok(Object::Socket { family, network })
    }

    pub(super) fn socket_option(&self, slots: &Slots<'_>, socket: Slot) -> Result<(), Errno> {
        match self.object(slots, socket)? {
            Object::Socket { .. } | Object::Wire { .. } => Ok(()),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// landlock_create_ruleset(2).
    pub(super) fn ruleset(&self, files: u64, net: u64, scoped: u64) -> Result<Object, Errno> {
        // "ENOMSG: no access right"; unknown rights are EINVAL (ABI 6).
        if files | net | scoped == 0 {
            return Err(Errno::ENOMSG);
        }
        if files >> 16 != 0 || net >> 2 != 0 || scoped >> 2 != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Object::Ruleset(Ruleset { files, net, scoped, paths: Vec::new(), ports: Vec::new() }))
    }

    /// landlock_add_rule(2): for the handled rights `handled`.
    fn may_add_rule(handled: u64, access: u64) -> Result<(), Errno> {
        match access {
            0 => Err(Errno::ENOMSG),
            access if handled & access != access => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    pub(super) fn get_ruleset(&self, slots: &Slots<'_>, slot: Slot) -> Result<&Ruleset, Errno> {
        match self.object(slots, slot)? {
            Object::Ruleset(ruleset) => Ok(ruleset),
            // "EBADFD: ruleset_fd is not a ruleset file descriptor".
            _ => Err(Errno::EBADFD),
        }
    }

    fn ruleset_mut(&mut self, slots: &Slots<'_>, slot: Slot) -> Result<&mut Ruleset, Errno> {
        let file = self.file_in(slots, slot)?;
        match &mut self[file].object {
            Object::Ruleset(ruleset) => Ok(ruleset),
            _ => Err(Errno::EBADFD),
        }
    }

    pub(super) fn landlock_port(
        &mut self,
        slots: &Slots<'_>,
        ruleset: Slot,
        port: u16,
        access: u64,
    ) -> Result<(), Errno> {
        Self::may_add_rule(self.get_ruleset(slots, ruleset)?.net, access)?;
        self.ruleset_mut(slots, ruleset)?.ports.push((port, access));
        Ok(())
    }

    pub(super) fn landlock_path(
        &mut self,
        slots: &Slots<'_>,
        [ruleset, parent]: [Slot; 2],
        access: u64,
    ) -> Result<(), Errno> {
        let handled = self.get_ruleset(slots, ruleset)?.files;
        let place = match self.object(slots, parent)? {
            Object::Path(handle) => handle.place,
            // "EBADFD: the file descriptor type of parent_fd is not the expected one".
            _ => return Err(Errno::EBADFD),
        };
        Self::may_add_rule(handled, access)?;
        // "EINVAL: … inconsistent access in the rule": the op then asks for less.
        if !self.is_directory(place.inode) && access & crate::abi::landlock::ON_FILES == 0 {
            return Err(Errno::EINVAL);
        }
        self.ruleset_mut(slots, ruleset)?.paths.push((place.inode, access));
        Ok(())
    }

    /// landlock_restrict_self(2).
    pub(super) fn restrict(&mut self, slots: &Slots<'_>, slot: Slot) -> Result<(), Errno> {
        // "EPERM: … no_new_privs … nor the CAP_SYS_ADMIN capability in its
        // user namespace"
        slots.descriptor(slot)?;
        let ruleset = match self.get_ruleset(slots, slot) {
            _ if !self.cred().no_new_privs && !self.has(cap::SYS_ADMIN) => return Err(Errno::EPERM),
            Ok(ruleset) => ruleset.clone(),
            Err(errno) => return Err(errno),
        };
        let current = self.current;
        // "E2BIG: the maximum number of composed rulesets is reached".
        if self[current].landlock.len() >= 16 {
            return Err(Errno::E2BIG);
        }
        self[current].landlock.push(Arc::new(ruleset));
        Ok(())
    }

    /// `is_access_to_paths_allowed`: every layer allows what it handles, by rules of
    /// the file and of what lies above it, also above the mount.
    pub(super) fn landlocked(&self, place: Place, wanted: u64) -> Result<(), Errno> {
        let allows = |layer: &Ruleset| {
            let (mut missing, mut at) = (layer.files & wanted, Some(place));
            while let Some(here) = at.filter(|_| missing != 0) {
                let rules = layer.paths.iter().filter(|rule| rule.0 == here.inode);
                missing = rules.fold(missing, |missing, rule| missing & !rule.1);
                at = match self[here.inode].parent.filter(|_| here.inode != self[here.mount].root) {
                    Some(inode) => Some(Place { mount: here.mount, inode }),
                    // What was stepped up from is not looked at twice.
                    None => self[here.mount].parent,
                };
            }
            missing == 0
        };
        if self[self.current].landlock.iter().all(|layer| allows(layer)) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Landlock's documentation, "Current limitations": a thread that is
    /// restricted in its file accesses cannot change the topology of mounts.
    pub(super) fn may_change_mounts(&self) -> Result<(), Errno> {
        if self[self.current].landlock.iter().any(|layer| layer.files != 0) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// The inode that a lock lies on, with its ranges.
    pub(super) fn all_locks(&self) -> impl Iterator<Item = (InodeId, (u64, u64))> {
        self.files.iter().flat_map(|file| {
            let inode = match &file.object {
                Object::Path(handle) => Some(handle.place.inode),
                _ => None,
            };
            inode.into_iter().flat_map(|inode| file.locks.iter().map(move |range| (inode, *range)))
        })
    }
}

impl Task {
    fn descriptor_limit(&self) -> i32 {
        let soft = self.limits.get(usize::from(Resource::NOFILE.0)).map_or(0, |limit| limit.0);
        i32::try_from(soft).unwrap_or(i32::MAX)
    }

    /// The lowest number from `first` on that is free (open(2)), or EMFILE.
    fn free_number(&self, first: i32) -> Result<i32, Errno> {
        (first..self.descriptor_limit()).find(|number| !self.table.contains_key(number)).ok_or(Errno::EMFILE)
    }
}

#[cfg(test)]
mod tests;
