//! Processes: how they start, execute, signal, end, and what they inherit.
//!
//! Sources: clone(2), fork(2), execve(2), credentials(7), signal(7),
//! setsid(2), getrlimit(2), pidfd_send_signal(2), waitid(2), newuidmap(1).

use core::fmt;
use std::collections::BTreeMap;

use crate::abi::{MountAttrs, Namespaces, Resource, Seals, cap, fs_magic, signal};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots, WaitStatus};
use crate::op::Slot;
use crate::program::Actor;
use crate::wire::{Numbers, Secret, Strings};

use super::credentials::Cred;
use super::descriptors::{Access, Entry, Handle, Object};
use super::file_systems::FsId;
use super::files::{InodeId, Node, Place};
use super::namespaces::{Content, MapFile, Membership, from_kernel, to_kernel};
use super::{Model, SpaceId, UserId, WireId, id};

const CAP_KILL: u8 = 5;

id! {
    /// A process.
    TaskId
}

/// What a process executed last.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executed {
    /// The path that was found, or `memfd`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<String>,
}

/// The environment may hold secrets: names only.
impl fmt::Debug for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|entry| entry.split('=').next().unwrap_or("")).collect();
        f.debug_struct("Executed")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .finish()
    }
}

/// Signals by number, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Signals {
    pub(super) blocked: u64,
    pub(super) caught: u64,
    pub(super) ignored: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Running,
    Ended(WaitStatus),
    /// Waited for.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) parent: Option<TaskId>,
    /// Its number in every pid namespace that sees it, innermost last.
    pub(super) numbers: Vec<(SpaceId, u32)>,
    pub(super) cred: Cred,
    pub(super) dumpable: bool,
    pub(super) spaces: Membership,
    pub(super) root: Place,
    pub(super) cwd: Place,
    pub(super) table: BTreeMap<i32, Entry>,
    pub(super) umask: u32,
    /// The process that leads its session, and whether it leads its group.
    pub(super) session: TaskId,
    pub(super) leader: bool,
    /// The controlling terminal of its session, where it has taken it itself.
    pub(super) terminal: Option<InodeId>,
    pub(super) limits: [(u64, u64); 16],
    pub(super) signals: Signals,
    pub(super) personality: u32,
    pub(super) keyring: u32,
    pub(super) cgroup: InodeId,
    /// Its groups of v1, where they are not the hierarchy's root.
    pub(super) legacy: BTreeMap<FsId, InodeId>,
    /// File accesses that each landlock layer handles.
    pub(super) landlock: Vec<u64>,
    pub(super) exec: Option<Executed>,
    pub(super) state: State,
    pub(super) pivoted: bool,
    /// What was written to the files of `/proc/PID`.
    pub(super) notes: BTreeMap<&'static str, Vec<u8>>,
    /// Of a stub init: the socket whose end is its own.
    pub(super) lifeline: Option<(WireId, usize)>,
}

impl Task {
    pub(super) fn host(cred: Cred, spaces: Membership, root: Place, cgroup: InodeId) -> Self {
        let mut limits = [(u64::MAX, u64::MAX); 16];
        limits[usize::from(Resource::NOFILE.0)] = (1024, 524_288);
        limits[usize::from(Resource::CORE.0)] = (0, u64::MAX);
        // SIGINT has a handler; SIGPIPE is ignored, as in every Rust program,
        // and an ignored signal stays ignored over clone and exec.
        let signals = Signals { blocked: 0, caught: 1 << signal::INT, ignored: 1 << 13 };
        Self {
            parent: None,
            numbers: vec![(spaces.pid, 1000)],
            cred,
            dumpable: true,
            spaces,
            root,
            cwd: root,
            table: BTreeMap::new(),
            umask: 0o22,
            session: TaskId(0),
            leader: true,
            terminal: None,
            limits,
            signals,
            personality: 0,
            keyring: 1,
            cgroup,
            legacy: BTreeMap::new(),
            landlock: Vec::new(),
            exec: None,
            state: State::Running,
            pivoted: false,
            notes: BTreeMap::new(),
            lifeline: None,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.state != State::Running
    }

    pub(super) fn number_in(&self, space: SpaceId) -> Option<u32> {
        self.numbers.iter().find(|row| row.0 == space).map(|row| row.1)
    }
}

impl Model {
    pub(super) fn by_number(&self, space: SpaceId, number: u32) -> Option<TaskId> {
        let is = |task: &TaskId| !self[*task].ended() && self[*task].number_in(space) == Some(number);
        (0..self.tasks.len()).map(TaskId).find(is)
    }

    /// A copy of the running process, not yet numbered.
    fn copy_task(&mut self) -> TaskId {
        let mut task = self[self.current].clone();
        task.parent = Some(self.current);
        task.leader = false;
        task.terminal = None;
        task.exec = None;
        task.lifeline = None;
        task.pivoted = false;
        self.tasks.push(task);
        TaskId(self.tasks.len() - 1)
    }

    /// pid_namespaces(7): a number in the namespace for children and in all
    /// above; number 1 is its init, without which nothing more starts in it.
    fn enumerate(&mut self, task: TaskId) -> Result<(), Errno> {
        let inner = self[task].spaces.pid_for_children;
        self[task].spaces.pid = inner;
        self[task].spaces.time = self[task].spaces.time_for_children;
        let mut spaces: Vec<SpaceId> = self[task].numbers.iter().map(|row| row.0).collect();
        if !spaces.contains(&inner) {
            spaces.push(inner);
        }
        let mut numbers = Vec::new();
        for space in spaces {
            let ended = |init: Option<TaskId>| init.is_some_and(|init| self[init].ended());
            if matches!(self[space].content, Content::Pid { init, .. } if ended(init)) {
                return Err(Errno::ENOMEM);
            }
            if let Content::Pid { next, init } = &mut self[space].content {
                if *next == 1 {
                    *init = Some(task);
                }
                *next = if *next == 1000 { 1001 } else { *next };
                numbers.push((space, *next));
                *next += 1;
            }
        }
        self[task].numbers = numbers;
        Ok(())
    }

    /// `clone3` into namespaces, and the exec of stage B.
    #[allow(clippy::too_many_arguments, reason = "one for each argument of the op")]
    pub(super) fn spawn(
        &mut self,
        slots: &mut Slots<'_>,
        (namespaces, joins): (Namespaces, &[(Object, Namespaces)]),
        cgroup: Option<Slot>,
        [image, plan]: [Slot; 2],
        keep: Numbers<'_>,
        ambient: bool,
        [pidfd, pid]: [Slot; 2],
    ) -> Result<(), Errno> {
        let plan = self.file_in(slots, plan)?;
        if matches!(&self[plan].object, Object::MemFd { seals, .. } if seals.has(Seals::WRITE)) {
            return Err(Errno::EPERM);
        }
        let keep: Vec<Slot> = keep.iter().filter_map(|slot| u16::try_from(slot).ok().map(Slot)).collect();
        let mut kept = keep.iter().map(|slot| slots.descriptor(*slot)).collect::<Result<Vec<_>, _>>()?;
        kept.extend(self[self.current].table.iter().filter(|(_, entry)| entry.file == plan).map(|row| *row.0));
        let image = self.object(slots, image)?.clone();
        // clone(2), CLONE_INTO_CGROUP; cgroups(7).
        let cgroup = match cgroup {
            None => None,
            Some(slot) => Some(self.clone_into(self.handle(slots, slot).map_err(|_| Errno::EBADF)?)?),
        };
        let child = self.copy_task();
        // CLONE_CLEAR_SIGHAND: what was caught is default, what was ignored stays.
        self[child].signals.caught = 0;
        if let Some(cgroup) = cgroup {
            self[child].cgroup = cgroup;
        }
        // As `Linux`: cgroup and time namespaces are entered by the child.
        let namespaces = namespaces.without(Namespaces::CGROUP).without(Namespaces::TIME);
        let host = self.current;
        // The process in between is the child before it enters what is new.
        self.current = child;
        let joined = joins.iter().try_for_each(|(object, kind)| self.set_ns(object, *kind));
        self.current = host;
        let started = joined
            .and_then(|()| self.enter_new(child, namespaces))
            .and_then(|()| self.enumerate(child))
            .and_then(|()| {
                self.current = child;
                if ambient {
                    let every = self.every_capability();
                    self.set_capabilities(every, every, every)?;
                    self.set_ambient(every)?;
                }
                for number in &kept {
                    if let Some(entry) = self[child].table.get_mut(number) {
                        entry.close_on_exec = false;
                    }
                }
                let owner = self.may_execute(&image)?;
                self.execute(owner);
                Ok(())
            });
        self.current = host;
        let started = started.and_then(|()| self.fill(slots, pidfd, Object::Pidfd(child)));
        if started.is_err() {
            self[child].state = State::Gone;
            self.dirty = true;
            return started;
        }
        self.actors[actor_index(Actor::Child)] = Some(child);
        self.actors[actor_index(Actor::Payload)] = None;
        self.inherited = Some(keep.iter().map(|slot| (*slot, slots.get(*slot))).collect());
        let number = self[child].number_in(self[host].spaces.pid).unwrap_or(0);
        slots.put(pid, Cell::Value(u64::from(number))).map(drop)
    }

    /// The namespaces that a child is to be born in.
    pub(super) fn joined(&self, slots: &Slots<'_>, joins: Numbers<'_>) -> Result<Vec<(Object, Namespaces)>, Errno> {
        let numbers: Vec<u32> = joins.iter().collect();
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let one = |[slot, kind]: &[u32; 2]| {
            let slot = u16::try_from(*slot).map_err(|_| Errno::EBADF)?;
            Ok((self.object(slots, Slot(slot))?.clone(), Namespaces(u64::from(*kind))))
        };
        pairs.iter().map(one).collect()
    }

    fn clone_into(&self, handle: Handle) -> Result<InodeId, Errno> {
        let dir = handle.place.inode;
        if self.magic_of(dir) != fs_magic::CGROUP2 || !self.is_directory(dir) {
            return Err(Errno::EBADF);
        }
        if self[dir].removed {
            return Err(Errno::ENODEV);
        }
        let Node::Directory(entries) = &self[dir].node else { return Err(Errno::EBADF) };
        let procs = entries.get(b"cgroup.procs".as_slice()).copied().ok_or(Errno::EBADF)?;
        self.permit(Place { mount: handle.place.mount, inode: procs }, 2)?;
        self.may_hold_processes(dir)?;
        Ok(dir)
    }

    /// fork(2), by stage B.
    pub(super) fn fork(&mut self, slots: &mut Slots<'_>, pid: Slot) -> Result<(), Errno> {
        let child = self.copy_task();
        if let Err(errno) = self.enumerate(child) {
            self[child].state = State::Gone;
            return Err(errno);
        }
        let role = if self.actor == Actor::Host { Actor::Child } else { Actor::Payload };
        self.actors[actor_index(role)] = Some(child);
        self.forked = Some((role, pid));
        let number = self[child].number_in(self[self.current].spaces.pid).unwrap_or(0);
        slots.put(pid, Cell::Value(u64::from(number))).map(drop)
    }

    /// clone(2), CLONE_PARENT|CLONE_PIDFD, by stage B in a container that it has
    /// joined: "EINVAL … by an init process".
    pub(super) fn sibling(&mut self, slots: &mut Slots<'_>, pid: Slot, pidfd: Slot) -> Result<(), Errno> {
        let space = self[self.current].spaces.pid;
        if matches!(self[space].content, Content::Pid { init: Some(init), .. } if init == self.current) {
            return Err(Errno::EINVAL);
        }
        self.fork(slots, pid)?;
        let Some(child) = self.actors[actor_index(Actor::Payload)] else { return Err(Errno::ESRCH) };
        self[child].parent = self[self.current].parent;
        self.fill(slots, pidfd, Object::Pidfd(child))
    }

    /// Whether an object can be executed; the owner, if it is set-user-id.
    pub(super) fn may_execute(&self, object: &Object) -> Result<Option<u32>, Errno> {
        match object {
            // memfd_create(2), MFD_NOEXEC_SEAL.
            Object::MemFd { executable, content, .. } => match (executable, content.is_empty()) {
                (false, _) => Err(Errno::EACCES),
                (true, true) => Err(Errno::ENOEXEC),
                (true, false) => Ok(None),
            },
            Object::Path(handle) => self.may_execute_file(handle.place),
            _ => Err(Errno::EACCES),
        }
    }

    /// execve(2), EACCES: not a regular file, no permission, or on a mount
    /// that is noexec.
    fn may_execute_file(&self, place: Place) -> Result<Option<u32>, Errno> {
        let (inode, mount) = (&self[place.inode], &self[place.mount]);
        if !matches!(inode.node, Node::File(_)) || mount.attrs.has(MountAttrs::NOEXEC) {
            return Err(Errno::EACCES);
        }
        self.permit(place, 1)?;
        // "The set-user-ID bit is ignored" on nosuid, and where the owner is
        // not mapped (user_namespaces(7)).
        let set = inode.mode & 0o4000 != 0 && !mount.attrs.has(MountAttrs::NOSUID);
        let mapped = from_kernel(&self[self.cred().user].uids, inode.uid).is_some();
        Ok((set && mapped).then_some(inode.uid))
    }

    /// What exec does to a process (execve(2), "Effect on process attributes").
    fn execute(&mut self, owner: Option<u32>) {
        let current = self.current;
        let root = to_kernel(&self[self.cred().user].uids, 0);
        let mut new = self.cred().clone();
        new.execute(owner, root);
        let old = self.cred();
        let plain = old.uid.real == old.uid.effective && old.gid.real == old.gid.effective;
        self[current].dumpable = plain;
        self.commit(new);
        let task = &mut self[current];
        task.table.retain(|_, entry| !entry.close_on_exec);
        task.signals.caught = 0;
        self.dirty = true;
    }

    fn executed(&mut self, program: String, arguments: Strings<'_>, environment: Secret<'_>) {
        let texts = |strings: Strings<'_>| strings.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        let current = self.current;
        self[current].exec = Some(Executed { program, arguments: texts(arguments), environment: texts(environment.0) });
    }

    /// execve(2) of the first that exists; one that may not be executed is
    /// passed over.
    pub(super) fn exec(
        &mut self,
        programs: Strings<'_>,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(), Errno> {
        let mut verdict = Errno::ENOENT;
        for program in programs.iter() {
            let cwd = self[self.current].cwd;
            let found = self.walk(cwd, program.to_bytes(), crate::abi::Resolve::NONE, true);
            match found.and_then(|place| self.may_execute_file(place)) {
                Ok(owner) => {
                    self.execute(owner);
                    self.executed(program.to_string_lossy().into_owned(), arguments, environment);
                    return Ok(());
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => verdict = Errno::EACCES,
                Err(errno) => return Err(errno),
            }
        }
        Err(verdict)
    }

    /// execveat(2)
    pub(super) fn exec_at(
        &mut self,
        slots: &Slots<'_>,
        program: Slot,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(), Errno> {
        let object = self.object(slots, program)?.clone();
        let owner = self.may_execute(&object)?;
        let name = match object {
            Object::Path(handle) => self.path_in_fs(handle.place.inode),
            _ => "memfd".to_owned(),
        };
        self.execute(owner);
        self.executed(name, arguments, environment);
        Ok(())
    }

    /// The end of a process; that of a pid namespace's init ends all in it
    /// (pid_namespaces(7)), that of a payload its stub init.
    pub(super) fn end(&mut self, task: TaskId, status: WaitStatus) {
        if self[task].ended() {
            return;
        }
        self[task].state = State::Ended(status);
        self.dirty = true;
        let init_of =
            |space: &SpaceId| matches!(self[*space].content, Content::Pid { init: Some(init), .. } if init == task);
        let orphaned: Vec<SpaceId> = (0..self.spaces.len()).map(SpaceId).filter(init_of).collect();
        for other in (0..self.tasks.len()).map(TaskId).filter(|other| *other != task).collect::<Vec<_>>() {
            if orphaned.iter().any(|space| self[other].number_in(*space).is_some()) {
                self.end(other, WaitStatus::Signaled(signal::KILL));
            }
        }
        if let Some(parent) = self[task].parent.filter(|parent| self[*parent].lifeline.is_some()) {
            let code = match status {
                WaitStatus::Exited(code) => code,
                WaitStatus::Signaled(number) => 128_u8.wrapping_add(number),
                WaitStatus::Lost => 0,
            };
            self[task].state = State::Gone;
            self.end(parent, WaitStatus::Exited(code));
        }
    }

    /// Ends every stub init whose lifeline has no other side any more.
    pub(super) fn cut_lifelines(&mut self) {
        for task in (0..self.tasks.len()).map(TaskId).collect::<Vec<_>>() {
            if self[task].ended() || self[task].lifeline.is_none_or(|line| self.has_other_side(line)) {
                continue;
            }
            self.end(task, WaitStatus::Exited(128 + signal::KILL));
        }
    }

    /// kill(2) of a process group, and waitid(2) of the caller's children in it.
    pub(super) fn end_group(&mut self, leader: TaskId) {
        if self[leader].state == State::Gone {
            return;
        }
        let member = |task: &TaskId| self[*task].session == leader && self[*task].state != State::Gone;
        for task in (0..self.tasks.len()).map(TaskId).filter(member).collect::<Vec<_>>() {
            self.end(task, WaitStatus::Signaled(signal::KILL));
            if self[task].parent == Some(self.current) {
                self[task].state = State::Gone;
            }
        }
    }

    /// Whether somebody still has to wait for a process.
    pub(super) fn remains(&self, task: TaskId) -> bool {
        match self[task].state {
            State::Running => true,
            State::Gone => false,
            State::Ended(_) => self[task].parent.is_some_and(|parent| !self[parent].ended()),
        }
    }

    /// pidfd_send_signal(2), kill(2).
    pub(super) fn signal(&mut self, target: TaskId, number: u8) -> Result<(), Errno> {
        if number > 64 {
            return Err(Errno::EINVAL);
        }
        // A process that is already gone is no error.
        if self[target].ended() {
            return Ok(());
        }
        let (cred, other) = (self.cred(), &self[target].cred);
        let ids = [other.uid.real, other.uid.saved];
        let same = ids.contains(&cred.uid.real) || ids.contains(&cred.uid.effective);
        if !same && !self.capable(cred, other.user, CAP_KILL) {
            return Err(Errno::EPERM);
        }
        if self.is_deadly(target, number) {
            self.end(target, WaitStatus::Signaled(number));
        }
        Ok(())
    }

    /// signal(7): whose default is to end the process, and that is not caught,
    /// ignored or blocked; pid_namespaces(7): an init is ended only by SIGKILL
    /// from outside.
    fn is_deadly(&self, target: TaskId, number: u8) -> bool {
        let bit = 1_u64.checked_shl(u32::from(number)).unwrap_or(0);
        let signals = self[target].signals;
        let harmless = [0, signal::CHLD, 18, 19, 20, 21, 22, 23, 28].contains(&number);
        let held = (signals.blocked | signals.caught | signals.ignored) & bit != 0;
        let init =
            matches!(self[self[target].spaces.pid].content, Content::Pid { init: Some(init), .. } if init == target);
        number == signal::KILL || !(harmless || held || init)
    }

    /// waitid(2). The model has no time: what has not ended does not end
    /// while one waits.
    pub(super) fn wait(&mut self, target: TaskId) -> Result<WaitStatus, Errno> {
        let own = self[target].parent == Some(self.current);
        match self[target].state {
            State::Running => Err(Errno::ETIMEDOUT),
            State::Ended(status) if own => {
                self[target].state = State::Gone;
                Ok(status)
            }
            _ => Ok(WaitStatus::Lost),
        }
    }

    /// openat2(2) of `/proc/PID`, and the proof by the pidfd.
    pub(super) fn open_process(&mut self, pid: u64, pidfd: TaskId) -> Result<Object, Errno> {
        let resolve = crate::abi::Resolve::NO_MAGICLINKS.with(crate::abi::Resolve::NO_SYMLINKS);
        let root = self[self.current].root;
        let place = self.walk(root, format!("/proc/{pid}").as_bytes(), resolve, false)?;
        match self[place.inode].node {
            Node::Process(task) if task == pidfd => {}
            Node::Process(_) => return Err(Errno::ESRCH),
            _ => return Err(Errno::ESTALE),
        }
        if self[pidfd].ended() {
            Err(Errno::ESRCH)
        } else {
            Ok(Object::Path(Handle { place, access: Access::Path, tree: false }))
        }
    }

    /// sched(7), ioprio_set(2): for a process of one's own; what is at the cost of
    /// others takes CAP_SYS_NICE over the host.
    pub(super) fn schedule(
        &mut self,
        slots: &Slots<'_>,
        [pid, pidfd]: [Slot; 2],
        (what, value): (&'static str, String),
        privileged: bool,
    ) -> Result<(), Errno> {
        let target = self.pidfd(slots, pidfd)?;
        let space = self[self.current].spaces.pid;
        let number = self[target].number_in(space).map(u64::from);
        if self[target].ended() || number != Some(slots.value(pid)?) {
            return Err(Errno::ESRCH);
        }
        if privileged && !self.capable(self.cred(), UserId::INITIAL, cap::SYS_NICE) {
            return Err(Errno::EPERM);
        }
        self[target].notes.insert(what, value.into_bytes());
        Ok(())
    }

    /// newuidmap(1), newgidmap(1): set-user-id programs that map what
    /// `/etc/subuid` and `/etc/subgid` grant, and one's own id.
    pub(super) fn id_map_helper(
        &mut self,
        slots: &Slots<'_>,
        program: Slot,
        pid: u64,
        map: Numbers<'_>,
    ) -> Result<(), Errno> {
        let object = self.object(slots, program)?.clone();
        let owner = self.may_execute(&object)?;
        let Object::Path(handle) = object else { return Err(Errno::EPERM) };
        let space = self[self.current].spaces.pid;
        let target = u32::try_from(pid).ok().and_then(|pid| self.by_number(space, pid)).ok_or(Errno::EPERM)?;
        let numbers: Vec<u32> = map.iter().collect();
        let (lines, rest) = numbers.as_chunks::<3>();
        let groups = self[handle.place.inode].name.ends_with(b"newgidmap");
        let caller = self.cred().clone();
        let own = if groups { caller.gid.real } else { caller.uid.real };
        let granted = |line: &[u32; 3]| {
            let [_, first, count] = *line;
            let end = u64::from(first) + u64::from(count);
            (first == own && count == 1)
                || self
                    .subids
                    .iter()
                    .any(|(start, length)| first >= *start && end <= u64::from(*start) + u64::from(*length))
        };
        // Every failure of the program is its status 1: EPERM.
        let owns = self[target].cred.uid.real == caller.uid.real;
        if !rest.is_empty() || lines.is_empty() || !owns || !lines.iter().all(granted) {
            return Err(Errno::EPERM);
        }
        let mut writer = caller;
        let root = to_kernel(&self[writer.user].uids, 0);
        writer.execute(owner, root);
        let user = self[target].cred.user;
        // newgidmap(1): without a granted range it denies setgroups first.
        if groups && lines.iter().all(|line| line[1] == own && line[2] == 1) {
            self.write_setgroups(user, b"deny", &writer).map_err(|_| Errno::EPERM)?;
        }
        let text: String =
            lines.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect();
        let file = if groups { MapFile::Gid } else { MapFile::Uid };
        self.write_map(user, file, text.as_bytes(), &writer).map_err(|_| Errno::EPERM)
    }

    /// getrlimit(2)
    pub(super) fn set_limit(&mut self, resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
        const NR_OPEN: u64 = 1 << 20;
        let place = usize::from(resource.0);
        let old = *self[self.current].limits.get(place).ok_or(Errno::EINVAL)?;
        if soft > hard {
            return Err(Errno::EINVAL);
        }
        // "EPERM: … tried to increase the hard RLIMIT_NOFILE limit above …"
        let beyond = resource == Resource::NOFILE && hard > NR_OPEN;
        // "… CAP_SYS_RESOURCE capability in the initial user namespace".
        if beyond || (hard > old.1 && !self.capable(self.cred(), UserId::INITIAL, cap::SYS_RESOURCE)) {
            return Err(Errno::EPERM);
        }
        let current = self.current;
        if let Some(limit) = self[current].limits.get_mut(place) {
            *limit = (soft, hard);
        }
        Ok(())
    }

    /// setsid(2): "EPERM: … the calling process is already a process group leader".
    pub(super) fn set_sid(&mut self) -> Result<(), Errno> {
        let current = self.current;
        if self[current].leader {
            return Err(Errno::EPERM);
        }
        (self[current].leader, self[current].session) = (true, current);
        self[current].terminal = None;
        Ok(())
    }

    /// sethostname(2), setdomainname(2).
    pub(super) fn set_name(&mut self, name: &[u8], domain_name: bool) -> Result<(), Errno> {
        let space = self[self.current].spaces.uts;
        self.need(self[space].owner, cap::SYS_ADMIN)?;
        if name.len() > 64 {
            return Err(Errno::EINVAL);
        }
        if let Content::Uts { host, domain } = &mut self[space].content {
            *(if domain_name { domain } else { host }) = name.to_vec();
        }
        Ok(())
    }

    /// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING without a name.
    pub(super) fn join_keyring(&mut self) {
        self.last_keyring += 1;
        let (current, keyring) = (self.current, self.last_keyring);
        self[current].keyring = keyring;
    }

    /// The stub init takes its place.
    pub(super) fn reap(
        &mut self,
        slots: &Slots<'_>,
        payload: Slot,
        [signals, lifeline]: [Slot; 2],
    ) -> Result<(), Errno> {
        slots.value(payload)?;
        if !matches!(self.object(slots, signals)?, Object::Signals) {
            return Err(Errno::EINVAL);
        }
        let Object::Wire { wire, end } = *self.object(slots, lifeline)? else { return Err(Errno::ENOTSOCK) };
        let current = self.current;
        self[current].lifeline = Some((wire, end));
        Ok(())
    }
}

pub(super) const fn actor_index(actor: Actor) -> usize {
    match actor {
        Actor::Host => 0,
        Actor::Child => 1,
        Actor::Payload => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, CHILD_END, HOST_END, IMAGE, PID, PIDFD, PLAN, Stand};
    use super::*;
    use crate::op::{At, Op};
    use crate::wire::Blob;

    fn exec(programs: &'static [u8]) -> Op<'static> {
        let programs = Strings::new(programs).unwrap();
        let environment = Secret(Strings::new(b"A=1\0").unwrap());
        Op::Exec { programs, arguments: Strings::new(b"true\0").unwrap(), environment }
    }

    #[test]
    fn exec_takes_the_first_program_that_exists() {
        let mut stand = Stand::on(Model::new().owned("/etc/hostname", 0, 0, 0o644));
        stand.no(exec(b"/no/such\0/usr\0"), Errno::EACCES);
        stand.no(exec(b"/no/such\0/etc/hostname/x\0"), Errno::ENOENT);
        stand.no(exec(b"/etc/hostname\0"), Errno::EACCES);
        stand.no(exec(b""), Errno::ENOENT);
        stand.ok(exec(b"/no/such\0/etc/hostname\0/bin/true\0"));
        let executed = stand.model.process(Actor::Host).unwrap().exec().unwrap();
        assert_eq!((executed.program.as_str(), executed.arguments.as_slice()), ("/bin/true", &["true".to_owned()][..]));
        assert_eq!(executed.environment, ["A=1"]);
        assert!(!format!("{executed:?}").contains("A=1"));
        stand.no(Op::Umask { mode: 0 }, Errno::ESRCH);
    }

    #[test]
    fn nothing_executes_on_noexec() {
        let mut stand = Stand::root();
        let noexec = MountAttrs::NOEXEC;
        stand.ok(Op::MountSetAttr {
            dir: At::Cwd,
            path: c"/",
            flags: Default::default(),
            set: noexec,
            clear: MountAttrs::NONE,
            propagation: Default::default(),
            userns: None,
        });
        stand.no(exec(b"/usr/bin/true\0"), Errno::EACCES);
    }

    #[test]
    fn exec_closes_and_resets_what_it_must() {
        let mut stand = Stand::root();
        stand.open(c"/etc", Slot(10));
        stand.open(c"/usr/bin/true", Slot(11));
        stand.ok(Op::ExecAt {
            program: Slot(11),
            arguments: Strings::new(b"").unwrap(),
            environment: Secret(Strings::new(b"").unwrap()),
        });
        let host = stand.model.process(Actor::Host).unwrap();
        assert_eq!(host.descriptors().len(), 4, "0 to 3 were not close-on-exec");
        assert_eq!(host.exec().unwrap().program, "/usr/bin/true");
        assert_eq!(host.signals(), (0, 1 << 13), "ignored stays ignored");
        assert_eq!(stand.model[stand.model.current].signals.caught, 0);
    }

    #[test]
    fn ignored_signals_reach_the_child_until_they_are_reset() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (0, 1 << 13));
        stand.ok(Op::ResetSignals {});
        assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (0, 0));
        stand.ok(Op::BlockSignals {});
        assert_eq!(stand.model.process(Actor::Child).unwrap().signals(), (u64::MAX, 0));
    }

    #[test]
    fn stage_b_must_be_executable_and_its_plan_writable() {
        let mut stand = Stand::root();
        let seals = Seals::NONE;
        let memfd =
            |content, executable, seals, into| Op::MemFd { name: c"", content: Blob(content), seals, executable, into };
        let keep = Numbers::new(b"").unwrap();
        let namespaces = Namespaces::NONE;
        let spawn = Op::Spawn {
            namespaces,
            joins: crate::wire::Numbers::NONE,
            cgroup: None,
            image: IMAGE,
            plan: PLAN,
            keep,
            ambient: false,
            pidfd: PIDFD,
            pid: PID,
        };
        stand.no(spawn, Errno::EBADF);
        stand.ok(memfd(b"plan", false, seals, PLAN));
        stand.ok(memfd(b"B", false, seals, IMAGE));
        stand.no(spawn, Errno::EACCES);
        stand.ok(memfd(b"", true, seals, IMAGE));
        stand.no(spawn, Errno::ENOEXEC);
        stand.ok(memfd(b"B", true, seals, IMAGE));
        stand.ok(spawn);
        stand.ok(memfd(b"plan", false, Seals::WRITE, PLAN));
        stand.no(spawn, Errno::EPERM);
        let missing = 20_u32.to_le_bytes();
        let keep = Numbers::new(&missing).unwrap();
        let spawn = Op::Spawn {
            namespaces,
            joins: crate::wire::Numbers::NONE,
            cgroup: None,
            image: IMAGE,
            plan: PLAN,
            keep,
            ambient: false,
            pidfd: PIDFD,
            pid: PID,
        };
        stand.ok(memfd(b"plan", false, seals, PLAN));
        stand.no(spawn, Errno::EBADF);
    }

    #[test]
    fn a_failed_start_leaves_no_process() {
        let mut stand = Stand::user();
        assert_eq!(stand.spawn(Namespaces::MOUNT, false, None), Err(Errno::EPERM));
        assert!(stand.model.process(Actor::Child).is_none());
        assert!(stand.model.host_changes().is_empty());
    }

    #[test]
    fn the_first_process_of_a_pid_namespace_has_number_1() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        assert_eq!(stand.cells[usize::from(PID.0)], Cell::Value(1001));
        stand.play(Actor::Child);
        stand.ok(Op::Fork { pid: Slot(12) });
        assert_eq!(stand.cells[12], Cell::Value(2));
        assert_eq!(stand.model.process(Actor::Child).unwrap().pid(), 1);
        stand.play(Actor::Payload);
        stand.ok(Op::SetSid {});
        assert_eq!(stand.cells[12], Cell::Value(0), "the payload's side");
        assert_eq!(stand.model.process(Actor::Payload).unwrap().pid(), 2);
        stand.no(Op::SetSid {}, Errno::EPERM);
        // SIGTERM does nothing to an init without a handler; SIGKILL ends all.
        stand.play(Actor::Host);
        stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::TERM });
        assert_eq!(stand.model.host_changes().len(), 2);
        stand.no(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) }, Errno::ETIMEDOUT);
        stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::KILL });
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
        assert_eq!(stand.cells[13], Cell::Value(WaitStatus::Signaled(9).to_value()));
        assert!(stand.model.host_changes().is_empty());
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
        assert_eq!(stand.cells[13], Cell::Value(WaitStatus::Lost.to_value()));
    }

    #[test]
    fn without_a_pid_namespace_a_payload_outlives_stage_b() {
        let mut stand = Stand::root();
        stand.spawn(Namespaces::MOUNT, false, None).unwrap();
        stand.play(Actor::Child);
        stand.ok(Op::Fork { pid: Slot(12) });
        stand.play(Actor::Host);
        stand.ok(Op::PidfdSignal { process: PIDFD, signal: signal::TERM });
        stand.ok(Op::PidfdWait { process: PIDFD, timeout_ms: 1, into: Slot(13) });
        assert_eq!(stand.model.host_changes(), ["+ process 1002: running"]);
    }

    #[test]
    fn signals_need_the_same_user_or_cap_kill() {
        let mut stand = Stand::root();
        stand.spawn(Namespaces::PID, false, None).unwrap();
        let none = crate::abi::CapabilitySet::EMPTY;
        stand.ok(Op::SetResUid { uid: 1000 });
        stand.ok(Op::CapSet { effective: none, permitted: none, inheritable: none });
        stand.no(Op::PidfdSignal { process: PIDFD, signal: signal::KILL }, Errno::EPERM);
        stand.no(Op::PidfdSignal { process: PIDFD, signal: 65 }, Errno::EINVAL);
    }

    #[test]
    fn hard_limits_rise_with_sys_resource_of_the_host_only() {
        let limit = |soft, hard| Op::SetLimit { resource: Resource::NOFILE, soft, hard };
        let mut stand = Stand::root();
        stand.no(limit(2, 1), Errno::EINVAL);
        stand.no(limit(1, 1 << 21), Errno::EPERM);
        stand.ok(limit(1, 1));
        stand.ok(limit(1, 2));
        stand.no(Op::SetLimit { resource: Resource(16), soft: 1, hard: 1 }, Errno::EINVAL);
        let mut stand = Stand::user().contained();
        stand.ok(limit(64, 64));
        stand.no(limit(64, 65), Errno::EPERM);
        assert_eq!(stand.model.process(Actor::Child).unwrap().limit(Resource::NOFILE), Some((64, 64)));
    }

    #[test]
    fn names_belong_to_the_uts_namespace() {
        let mut stand = Stand::user();
        stand.no(Op::HostName { name: c"x" }, Errno::EPERM);
        let mut stand = stand.contained();
        stand.ok(Op::HostName { name: c"box" });
        stand.ok(Op::DomainName { name: c"lan" });
        stand.no(
            Op::HostName { name: c"11111111112222222222333333333344444444445555555555666666666677777" },
            Errno::EINVAL,
        );
        assert_eq!(stand.model.process(Actor::Child).unwrap().hostname(), "box");
        assert_eq!(stand.model.process(Actor::Host).unwrap().hostname(), "host");
        let mut stand = Stand::user();
        stand.spawn(ALL.without(Namespaces::UTS), true, None).unwrap();
        stand.play(Actor::Child);
        stand.no(Op::HostName { name: c"x" }, Errno::EPERM);
    }

    #[test]
    fn inherited_attributes_change_in_one_process_only() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        stand.ok(Op::Umask { mode: 0o77 });
        stand.ok(Op::SessionKeyring {});
        stand.ok(Op::Personality { persona: 8 });
        stand.ok(Op::SetSid {});
        assert_eq!(stand.model.host_changes(), ["+ process 1001: running"]);
        let child = stand.model.process(Actor::Child).unwrap();
        assert_eq!((child.umask(), child.personality(), child.keyring()), (0o77, 8, 2));
        assert!(child.leads_session());
        // In the embedder each of them shows.
        stand.play(Actor::Host);
        for (op, name) in [
            (Op::Umask { mode: 0o77 }, "umask"),
            (Op::SessionKeyring {}, "keyring"),
            (Op::Personality { persona: 8 }, "personality"),
            (Op::BlockSignals {}, "signals"),
            (Op::Chdir { path: c"/tmp" }, "working directory"),
            (Op::Dumpable { on: false }, "dumpable"),
            (Op::NoNewPrivs {}, "credentials"),
        ] {
            let before = stand.model.host_changes().len();
            stand.ok(op);
            let after = stand.model.host_changes();
            assert_eq!(after.len(), before + 1, "{op}");
            assert!(after.iter().any(|change| change.contains(name)), "{op}: {after:?}");
        }
    }

    /// A stub init ends with its payload, and without its lifeline.
    #[test]
    fn a_stub_init_ends_with_its_payload_or_its_owner() {
        let start = || {
            let mut stand = Stand::root();
            stand.spawn(ALL, true, None).unwrap();
            stand.ok(Op::Close { file: CHILD_END });
            stand.play(Actor::Child);
            stand.ok(Op::Adopt {});
            stand.ok(Op::SignalFd { into: Slot(13) });
            stand.ok(Op::Fork { pid: Slot(12) });
            stand.play(Actor::Payload);
            stand.ok(exec(b"/usr/bin/true\0"));
            stand.play(Actor::Child);
            stand.no(Op::Reap { payload: Slot(12), signals: Slot(12), lifeline: CHILD_END }, Errno::EBADF);
            stand.ok(Op::Reap { payload: Slot(12), signals: Slot(13), lifeline: CHILD_END });
            stand
        };
        let mut stand = start();
        stand.model.finish(Actor::Payload, WaitStatus::Exited(7));
        assert_eq!(stand.model.process(Actor::Child).unwrap().ended(), Some(WaitStatus::Exited(7)));
        let mut stand = start();
        stand.play(Actor::Host);
        stand.ok(Op::Close { file: HOST_END });
        assert_eq!(stand.model.process(Actor::Child).unwrap().ended(), Some(WaitStatus::Exited(137)));
        assert!(stand.model.process(Actor::Payload).unwrap().ended().is_some());
    }

    /// What a killed embedder leaves, its watcher clears up.
    #[test]
    fn the_watcher_runs_what_it_was_entrusted_with() {
        for dismissed in [false, true] {
            let mut stand = Stand::root();
            stand.open(c"/sys/fs/cgroup", Slot(30));
            stand.ok(Op::Mkdir { dir: At::Slot(Slot(30)), name: c"box", mode: 0o755, exist_ok: false });
            stand.ok(Op::SocketPair { one: Slot(14), other: Slot(15) });
            let mut ops = Vec::new();
            for op in [
                Op::Fail { errno: Errno::EIO },
                Op::Write { dir: At::Slot(Slot(1)), path: c"box/cgroup.kill", content: Blob(b"1") },
                Op::Unlink { dir: At::Slot(Slot(1)), path: c"box", directory: true },
            ] {
                op.write(&mut ops);
            }
            let watcher = Slot(14);
            stand.no(Op::Entrust { watcher: Slot(30), id: 1, ops: Blob(&ops) }, Errno::ENOTSOCK);
            stand.ok(Op::Entrust { watcher, id: 1, ops: Blob(&ops) });
            stand.ok(Op::EntrustFile { watcher, id: 1, place: Slot(1), file: Slot(30) });
            assert!(stand.model.host_changes().contains(&"+ entrusted 1".to_owned()));
            if dismissed {
                stand.ok(Op::Dismiss { watcher, id: 1 });
            }
            stand.model.kill_embedder();
            let left: Vec<_> =
                stand.model.host_changes().into_iter().filter(|line| !line.contains("embedder")).collect();
            assert_eq!(left.is_empty(), !dismissed, "{left:?}");
        }
    }
}
