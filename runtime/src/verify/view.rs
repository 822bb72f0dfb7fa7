//! A plan, decoded once, with what each op works on: a rule asks "is this the
//! clone of a host tree?" instead of guessing from a slot's number.

use std::cell::OnceCell;
use std::ffi::CStr;

use skep_sys::abi::{MountAttrs, Namespaces};
use skep_sys::{Op, OpKind, Proof, Slot};

use crate::plan::{Phase, Plan};
use crate::report::Outcome;
use crate::spec::Profile;

/// The name of a [`Thing`]; 0 is "nothing".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Id(pub(super) u32);

impl Id {
    pub(super) const NONE: Self = Self(0);

    /// Its place in a table of things.
    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }
}

/// What an op left in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Nothing,
    /// The runner put it there before the first op.
    Given,
    /// So is this, for the payload, under this number.
    Passed(u32),
    /// A number: a process id, a status.
    Value,
    /// A file of the host, found by its path.
    Host(&'a CStr),
    /// A file of the tree being built, found below another thing.
    Inside {
        below: Id,
        path: &'a CStr,
    },
    /// `/proc/PID` of the child, proved by its pidfd.
    Process,
    /// What `fsopen` gave.
    Context(&'a CStr),
    /// What `fsmount` gave: a file system that is the container's own.
    Mount(&'a CStr),
    /// A detached copy of a tree of the host.
    HostClone {
        recursive: bool,
    },
    /// A detached copy of a part of the building tmpfs.
    Blank,
    /// A detached copy of a file or directory of the plan's own ramfs.
    MadeCopy {
        of: Id,
    },
    /// A detached copy of a directory of a sysfs of the container's own.
    SysPart {
        of: Id,
        name: &'a CStr,
    },
    /// A user namespace for one id-mapped mount.
    MappedNamespace,
    /// A program for the devices of a cgroup.
    DeviceProgram,
    /// A detached copy of a part of the tree being built.
    TreeClone {
        of: Id,
        recursive: bool,
    },
    /// The embedder's end of a socket pair, and the op that made the pair.
    HostEnd(usize),
    /// The child's end.
    ChildEnd(usize),
    /// The two ends of a terminal, and a detached copy of the second.
    TerminalMaster,
    Terminal,
    Console {
        of: Id,
    },
    /// The listener of a filter.
    Listener,
    Pipe,
    Socket,
    /// A socket of netlink: its protocol, and the namespace, if it is not that of
    /// whoever opened it.
    Netlink {
        protocol: u8,
        of: Id,
    },
    /// The child's network namespace.
    NetworkOfChild,
    Pidfd,
    /// The pidfd of a process that was brought into a container.
    Member,
    /// The time namespace of a container's processes.
    TimeOfChildren,
    Other,
}

/// Something that a slot held at some time, and what happened to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing<'a> {
    pub(super) what: What<'a>,
    /// Position of the op that made it.
    pub(super) made: usize,
    /// The last proof, and where.
    pub(super) proof: Option<(usize, Proof)>,
    /// Attributes it got before it was attached.
    pub(super) attrs: MountAttrs,
    /// Position of the op that attached it.
    pub(super) attached: Option<usize>,
}

impl Thing<'_> {
    /// What it was proved to be before position `before`.
    pub(super) fn proved(&self, before: usize) -> Option<Proof> {
        self.proof.filter(|(at, _)| *at < before).map(|(_, proof)| proof)
    }

    pub(super) fn is_mount(&self, name: &CStr) -> bool {
        matches!(self.what, What::Mount(kind) if kind == name)
    }

    /// What move_mount(2) attaches: a mount of its own, made detached.
    pub(super) const fn is_detached_tree(&self) -> bool {
        matches!(
            self.what,
            What::Mount(_)
                | What::HostClone { .. }
                | What::Blank
                | What::MadeCopy { .. }
                | What::SysPart { .. }
                | What::TreeClone { .. }
                | What::Console { .. }
        )
    }

    /// A part of a mounted or mountable tree, of the host or of the container.
    pub(super) const fn is_tree(&self) -> bool {
        matches!(
            self.what,
            What::Host(_)
                | What::Inside { .. }
                | What::Context(_)
                | What::Mount(_)
                | What::HostClone { .. }
                | What::Blank
                | What::MadeCopy { .. }
                | What::SysPart { .. }
                | What::TreeClone { .. }
        )
    }
}

/// One op and what it works on.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Position in the view.
    pub(super) at: usize,
    /// Index in the plan, as errors name it.
    pub(super) index: u32,
    pub(super) phase: Phase,
    pub(super) op: Op<'a>,
    /// What its first operand held: the directory, the file, the tree moved.
    pub(super) on: Id,
    /// What its second operand held: the place it is moved to.
    pub(super) onto: Id,
    /// What it made.
    pub(super) made: Id,
}

impl Seen<'_> {
    pub(super) const fn kind(&self) -> OpKind {
        self.op.kind()
    }
}

/// The clone, as the plan asks for it.
#[derive(Clone, Copy)]
pub(super) struct Spawned {
    pub(super) namespaces: Namespaces,
    pub(super) pidfd: Slot,
    pub(super) pid: Slot,
    /// What the child is born in.
    pub(super) cgroup: Id,
}

pub(super) const KINDS: usize = OpKind::ALL.len();

/// A decoded plan.
pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ops: Vec<Seen<'a>>,
    /// Where each phase begins, and where the last ends.
    pub(super) starts: [usize; 6],
    /// Positions of ops by kind.
    pub(super) places: Vec<u32>,
    /// Where each kind begins in `places`.
    pub(super) kinds: [u32; KINDS + 1],
    pub(super) things: Vec<Thing<'a>>,
    /// Ops that use a slot which holds nothing of the sort.
    pub(super) unfilled: Vec<(usize, Slot)>,
    /// Trees that are attached a second time.
    pub(super) moved_twice: Vec<usize>,
    /// What the child is given, by slot.
    pub(super) kept: Vec<(Slot, Id)>,
    /// Descriptors that the stub init holds when it closes all others, and
    /// when it begins to reap.
    pub(super) init_holds: [Vec<Slot>; 2],
    pub(super) spawn: Option<Spawned>,
    /// Namespaces that the child is born in, and the kinds that they shall be.
    pub(super) joins: Vec<(Id, Namespaces)>,
    /// The tmpfs that the tree is built on.
    pub(super) building: Id,
    /// The file system of a disk image, which the runner brings.
    pub(super) tree: Id,
    /// Position of the op that attaches the container's root to it.
    pub(super) rooted: Option<usize>,
    /// Where what was built on is put below the old root.
    pub(super) aside: Option<usize>,
    /// Where inside each op that attaches something does so, by position; once a
    /// rule has asked for one.
    pub(super) inside: OnceCell<Vec<(usize, String)>>,
    /// Ops that take others back, by the index of what they take back.
    pub(super) undo: Vec<(u32, Option<Op<'a>>)>,
    /// What the watcher runs.
    pub(super) watch: Vec<Option<Op<'a>>>,
    /// Whether every byte is part of an op, as many as the plan says.
    pub(super) readable: bool,
}

impl<'a> View<'a> {
    /// All ops, in order.
    pub(super) fn ops(&self) -> &[Seen<'a>] {
        &self.ops
    }

    pub(super) fn phase(&self, phase: Phase) -> &[Seen<'a>] {
        let at = phase as usize;
        &self.ops[self.starts[at]..self.starts[at + 1]]
    }

    /// Whose look the container has, as the report says.
    pub(super) fn profile(&self) -> Profile {
        match self.plan.report().of("profile") {
            Some(Outcome::Applied(name)) if name == "nspawn" => Profile::Nspawn,
            _ => Profile::Strict,
        }
    }

    /// Whether a mount is the root of a machine, or its `/usr` on a root in memory:
    /// there set-user-id and device nodes are honoured.
    pub(super) fn honours(&self, thing: &Thing<'_>) -> bool {
        let usr = |at: usize| {
            self.ops.get(at).is_some_and(|seen| {
                matches!(seen.op, Op::MoveMount { path, .. } if path == c"usr")
                    && self.rooted.is_some()
                    && self.thing(seen.onto).attached == self.rooted
            })
        };
        self.profile() == Profile::Nspawn
            && thing.attached.is_some_and(|at| Some(at) == self.rooted || usr(at))
            && matches!(thing.what, What::Mount(_) | What::HostClone { .. })
    }

    /// Every op of a kind, in order.
    pub(super) fn of(&self, kind: OpKind) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        let at = kind as usize;
        self.places[self.kinds[at] as usize..self.kinds[at + 1] as usize].iter().map(|place| &self.ops[*place as usize])
    }

    /// Every op of a kind in a phase, in order.
    pub(super) fn of_in(&self, kind: OpKind, phase: Phase) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        self.of(kind).filter(move |seen| seen.phase == phase)
    }

    pub(super) fn has(&self, kind: OpKind, phase: Phase) -> bool {
        self.of_in(kind, phase).next().is_some()
    }

    pub(super) fn first(&self, kind: OpKind, phase: Phase) -> Option<&Seen<'a>> {
        self.of_in(kind, phase).next()
    }

    /// The op before, in the same phase.
    pub(super) fn before(&self, seen: &Seen<'_>) -> Option<&Seen<'a>> {
        self.ops.get(seen.at.checked_sub(1)?).filter(|other| other.phase == seen.phase)
    }

    /// The op after, in the same phase.
    pub(super) fn after(&self, seen: &Seen<'_>) -> Option<&Seen<'a>> {
        self.ops.get(seen.at + 1).filter(|other| other.phase == seen.phase)
    }

    /// The op that made a thing.
    pub(super) fn maker(&self, id: Id) -> Option<&Seen<'a>> {
        if id == Id::NONE { None } else { self.ops.get(self.thing(id).made) }
    }

    pub(super) fn thing(&self, id: Id) -> &Thing<'a> {
        &self.things[id.place()]
    }

    /// A table with a row for each thing.
    pub(super) fn table<T: Copy>(&self, row: T) -> Vec<T> {
        vec![row; self.things.len()]
    }

    pub(super) fn things(&self) -> impl Iterator<Item = (Id, &Thing<'a>)> {
        self.things.iter().enumerate().skip(1).map(|(number, thing)| (Id(number as u32), thing))
    }

    /// The namespaces that the child gets.
    pub(super) fn namespaces(&self) -> Namespaces {
        self.spawn.map_or(Namespaces::NONE, |spawn| spawn.namespaces)
    }

    /// Whether the child enters a network namespace that is there.
    pub(super) fn joins_network(&self) -> bool {
        self.joins.iter().any(|(_, kind)| *kind == Namespaces::NETWORK)
    }

    /// The phases at whose end a process is what it shall be.
    pub(super) fn confining(&self) -> impl Iterator<Item = Phase> + use<> {
        // Who brings a process in only ends.
        let stub = !self.phase(Phase::Init).is_empty() && !self.enters();
        [Phase::Payload, Phase::Init].into_iter().filter(move |phase| stub || *phase == Phase::Payload)
    }

    /// The same processes, each with what it has done since the root switch.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_, 'a>> {
        self.confining().map(|process| self.line(process))
    }

    pub(super) fn line(&self, process: Phase) -> Line<'_, 'a> {
        Line { view: self, process, switch: self.switch() }
    }

    /// Every op of a kind by which the child becomes the root that builds.
    pub(super) fn building(&self, kind: OpKind) -> impl DoubleEndedIterator<Item = &Seen<'a>> {
        let switch = self.switch();
        self.of_in(kind, Phase::Enter).filter(move |seen| seen.at < switch)
    }

    /// Whether the plan brings a process into a container that runs.
    pub(super) fn enters(&self) -> bool {
        self.of(OpKind::Sibling).next().is_some()
    }

    /// Position of the root switch; everything is before one that is missing. A
    /// plan that enters gets its root with the last namespace that it joins.
    pub(super) fn switch(&self) -> usize {
        if self.enters() {
            return self.of_in(OpKind::SetNs, Phase::Enter).next_back().map_or(usize::MAX, |seen| seen.at);
        }
        self.first(OpKind::PivotRoot, Phase::Enter).map_or(usize::MAX, |seen| seen.at)
    }
}

/// What a process of the container does from the root switch on: what both do
/// before the fork, if there is one, and its own phase.
#[derive(Clone, Copy)]
pub(super) struct Line<'v, 'a> {
    view: &'v View<'a>,
    /// [`Phase::Payload`] or [`Phase::Init`].
    pub(super) process: Phase,
    switch: usize,
}

impl<'v, 'a> Line<'v, 'a> {
    fn holds(self, seen: &Seen<'_>) -> bool {
        seen.phase == self.process || (seen.phase == Phase::Enter && seen.at > self.switch)
    }

    pub(super) fn ops(self) -> impl Iterator<Item = &'v Seen<'a>> {
        let enter = self.view.phase(Phase::Enter);
        let after = enter.partition_point(|seen| seen.at <= self.switch);
        enter[after..].iter().chain(self.view.phase(self.process))
    }

    pub(super) fn of(self, kind: OpKind) -> impl DoubleEndedIterator<Item = &'v Seen<'a>> {
        self.view.of(kind).filter(move |seen| self.holds(seen))
    }

    pub(super) fn first(self, kind: OpKind) -> Option<&'v Seen<'a>> {
        self.of(kind).next()
    }

    pub(super) fn has(self, kind: OpKind) -> bool {
        self.first(kind).is_some()
    }
}
