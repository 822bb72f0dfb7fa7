//! Processes: what they are made of, how they signal, wait and end, and what they
//! inherit.
//!
//! Sources: clone(2), credentials(7), signal(7), setsid(2), getrlimit(2),
//! pidfd_send_signal(2), waitid(2), newuidmap(1).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::abi::{Resource, cap, signal};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots, WaitStatus};
use crate::op::Slot;
use crate::program::Actor;
use crate::wire::Numbers;

use super::credentials::Cred;
use super::descriptors::{Access, Entry, Handle, Object, Ruleset};
use super::exec::Executed;
use super::file_systems::FsId;
use super::files::{InodeId, Node, Place};
use super::namespaces::{Content, MapFile, Membership, to_kernel};
use super::{Model, SpaceId, UserId, WireId, id};

const CAP_KILL: u8 = 5;

id! {
    /// A process.
    TaskId
}

/// Sets of signals, as the kernel keeps them: bit *n* − 1 for signal *n*.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Signals {
    pub(super) blocked: u64,
    pub(super) caught: u64,
    pub(super) ignored: u64,
}

/// `sigmask`; 0 is no signal.
pub(super) const fn bit(signal: u8) -> u64 {
    if signal == 0 { 0 } else { 1_u64.wrapping_shl(signal as u32 - 1) }
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
    /// What it restricted itself by, one after the other.
    pub(super) landlock: Vec<Arc<Ruleset>>,
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
        let signals = Signals { blocked: 0, caught: bit(signal::INT), ignored: bit(13) };
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
        let signals = self[target].signals;
        let harmless = [0, signal::CHLD, 18, 19, 20, 21, 22, 23, 28].contains(&number);
        let held = (signals.blocked | signals.caught | signals.ignored) & bit(number) != 0;
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
        let gains = self.may_execute(&object)?;
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
        writer.execute(gains, root)?;
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
        slots: &mut Slots<'_>,
        payload: Slot,
        [signals, lifeline]: [Slot; 2],
        done: [Slot; 2],
    ) -> Result<(), Errno> {
        slots.value(payload)?;
        if !matches!(self.object(slots, signals)?, Object::Signals) {
            return Err(Errno::EINVAL);
        }
        let Object::Wire { wire, end } = *self.object(slots, lifeline)? else { return Err(Errno::ENOTSOCK) };
        for slot in done {
            slots.descriptor(slot)?;
        }
        for slot in done {
            if let Cell::Descriptor(number) = slots.put(slot, Cell::Empty)? {
                self.close_number(number);
            }
        }
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
mod tests;
