//! How a process starts: clone(2), fork(2), pid_namespaces(7).

use crate::abi::{CapabilitySet, Namespaces, Seals, fs_magic};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots};
use crate::op::Slot;
use crate::program::Actor;
use crate::wire::Numbers;

use super::descriptors::{Handle, Object};
use super::files::{InodeId, Node, Place};
use super::namespaces::Content;
use super::processes::{State, TaskId, actor_index};
use super::{Model, SpaceId};

impl Model {
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
        ambient: CapabilitySet,
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
                let raised = CapabilitySet(ambient.0 & self.every_capability().0);
                if raised != CapabilitySet::EMPTY {
                    self.set_capabilities(raised, raised, raised)?;
                    self.set_ambient(raised)?;
                }
                for number in &kept {
                    if let Some(entry) = self[child].table.get_mut(number) {
                        entry.close_on_exec = false;
                    }
                }
                let gains = self.may_execute(&image)?;
                self.execute(gains)?;
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
}
