//! Processes: how they start, execute, signal, end, and what they inherit.
//!
//! Sources: clone(2), fork(2), execve(2), credentials(7), signal(7),
//! setsid(2), getrlimit(2), pidfd_send_signal(2), waitid(2), newuidmap(1).

use std::collections::BTreeMap;
use core::fmt;

use crate::abi::{MountAttrs, Namespaces, Resource, Seals, cap, fs_magic, signal};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots, WaitStatus};
use crate::op::Slot;
use crate::program::Actor;
use crate::wire::{Numbers, Secret, Strings};

use super::credentials::Cred;
use super::descriptors::{Access, Entry, Handle, Object};
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
    pub(super) limits: [(u64, u64); 16],
    pub(super) signals: Signals,
    pub(super) personality: u32,
    pub(super) keyring: u32,
    pub(super) cgroup: InodeId,
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
            limits,
            signals,
            personality: 0,
            keyring: 1,
            cgroup,
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
        namespaces: Namespaces,
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
        let started = self.enter_new(child, namespaces).and_then(|()| self.enumerate(child)).and_then(|()| {
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
        self.inherited = Some(keep);
        let number = self[child].number_in(self[host].spaces.pid).unwrap_or(0);
        slots.put(pid, Cell::Value(u64::from(number))).map(drop)
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

    /// Whether an object can be executed; the owner, if it is set-user-id.
    fn may_execute(&self, object: &Object) -> Result<Option<u32>, Errno> {
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
    pub(super) fn exec(&mut self, programs: Strings<'_>, arguments: Strings<'_>, environment: Secret<'_>) -> Result<(), Errno> {
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
        let init_of = |space: &SpaceId| matches!(self[*space].content, Content::Pid { init: Some(init), .. } if init == task);
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
        let init = matches!(self[self[target].spaces.pid].content, Content::Pid { init: Some(init), .. } if init == target);
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
        if self[pidfd].ended() { Err(Errno::ESRCH) } else { Ok(Object::Path(Handle { place, access: Access::Path, tree: false })) }
    }

    /// newuidmap(1), newgidmap(1): set-user-id programs that map what
    /// `/etc/subuid` and `/etc/subgid` grant, and one's own id.
    pub(super) fn id_map_helper(&mut self, slots: &Slots<'_>, program: Slot, pid: u64, map: Numbers<'_>) -> Result<(), Errno> {
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
                || self.subids.iter().any(|(start, length)| {
                    first >= *start && end <= u64::from(*start) + u64::from(*length)
                })
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
        let text: String = lines.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect();
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
    pub(super) fn reap(&mut self, slots: &Slots<'_>, payload: Slot, [signals, lifeline]: [Slot; 2]) -> Result<(), Errno> {
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
