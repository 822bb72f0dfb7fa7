//! Follows the slots of a plan as the kernel would fill them: in the host's
//! table, in the child's, and in both sides of the fork.

use std::cell::OnceCell;
use std::ffi::CStr;

use skep_sys::abi::{MountAttrs, Namespaces, TreeFlags};
use skep_sys::wire::Reader;
use skep_sys::{At, Op, Slot};

use super::view::{Id, KINDS, Seen, Spawned, Thing, View, What};
use crate::plan::{ASIDE, OWN_TIME, Phase, Plan, role};

impl<'a> View<'a> {
    pub(super) fn of_plan(plan: &'a Plan) -> Self {
        let view = Self::walked(plan, false);
        // What a plan is for decides what its slots hold before its first op.
        if view.enters() { Self::walked(plan, true) } else { view }
    }

    fn walked(plan: &'a Plan, entering: bool) -> Self {
        let count = plan.counts.iter().fold(0_usize, |sum, count| sum.saturating_add(*count as usize)).min(1 << 20);
        let mut walk = Walk::new(plan, count, entering);
        for phase in Phase::ALL {
            walk.phase(phase);
        }
        walk.finish()
    }
}

/// Reads every op of `bytes`; `None` ends a list that is not one.
fn decode(bytes: &[u8]) -> Vec<Option<Op<'_>>> {
    let mut reader = Reader::new(bytes);
    let mut ops = Vec::new();
    while !reader.is_empty() {
        let op = Op::read(&mut reader);
        ops.push(op);
        if op.is_none() {
            break;
        }
    }
    ops
}

struct Walk<'a> {
    view: View<'a>,
    /// By slot: the table of the process that performs the phase.
    table: Vec<Id>,
    /// The child's table, when the child begins, and when it splits.
    child: Vec<Id>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, count: usize, entering: bool) -> Self {
        let nothing = Thing { what: What::Nothing, made: 0, proof: None, attrs: MountAttrs::NONE, attached: None };
        let mut things = Vec::with_capacity(count / 2 + 2);
        things.push(nothing);
        things.push(Thing { what: What::Given, ..nothing });
        let mut table = vec![Id::NONE; usize::from(plan.slots)];
        let watcher = (!plan.watch.is_empty()).then_some(role::WATCHER);
        for slot in role::STDIO.into_iter().chain([role::IMAGE, role::PLAN]).chain(watcher) {
            if let Some(cell) = table.get_mut(usize::from(slot.0)) {
                *cell = Id(1);
            }
        }
        for passed in &plan.passed {
            let id = Id(things.len() as u32);
            things.push(Thing { what: What::Passed(passed.number), ..nothing });
            if let Some(cell) = table.get_mut(usize::from(passed.slot.0)) {
                *cell = id;
            }
        }
        // Namespaces may be given too; each has a proof of its own.
        for slot in role::JOINS {
            if let Some(cell) = table.get_mut(usize::from(slot.0)) {
                *cell = Id(things.len() as u32);
                things.push(Thing { what: What::Given, ..nothing });
            }
        }
        let mut tree = Id::NONE;
        if let (Some(_), Some(cell)) = (&plan.tree, table.get_mut(usize::from(role::TREE.0))) {
            tree = Id(things.len() as u32);
            *cell = tree;
            things.push(Thing { what: What::HostClone { recursive: false }, ..nothing });
        }
        if entering {
            let number = Id(things.len() as u32);
            things.push(Thing { what: What::Value, ..nothing });
            for (slot, id) in [(role::TARGET, Id(1)), (role::TARGET_PID, number)] {
                if let Some(cell) = table.get_mut(usize::from(slot.0)) {
                    *cell = id;
                }
            }
        }
        Self {
            view: View {
                plan,
                ops: Vec::with_capacity(count),
                starts: [0; 6],
                places: Vec::new(),
                kinds: [0; KINDS + 1],
                things,
                unfilled: Vec::new(),
                moved_twice: Vec::new(),
                kept: Vec::new(),
                init_holds: Default::default(),
                spawn: None,
                joins: Vec::new(),
                building: Id::NONE,
                tree,
                rooted: None,
                aside: None,
                inside: OnceCell::new(),
                undo: plan.undo.iter().map(|undo| (undo.of, Op::read(&mut Reader::new(&undo.op)))).collect(),
                watch: decode(&plan.watch),
                readable: true,
            },
            table,
            child: vec![Id::NONE; usize::from(plan.slots)],
        }
    }

    fn phase(&mut self, phase: Phase) {
        match phase {
            // The child begins with what it was given; both sides of the fork
            // with what it holds then.
            Phase::Enter | Phase::Init => self.table.clone_from(&self.child),
            Phase::Payload => self.child.clone_from(&self.table),
            Phase::Prepare | Phase::Attend => {}
        }
        let start = self.view.ops.len();
        self.view.starts[phase as usize] = start;
        for (index, op) in self.view.plan.section(phase).iter() {
            match op {
                Some(op) => self.see(index, phase, op),
                None => self.view.readable = false,
            }
        }
        self.view.readable &= self.view.ops.len() - start == self.view.plan.counts[phase as usize] as usize;
        self.view.starts[phase as usize + 1] = self.view.ops.len();
    }

    fn get(&self, slot: Slot) -> Id {
        self.table.get(usize::from(slot.0)).copied().unwrap_or(Id::NONE)
    }

    fn see(&mut self, index: u32, phase: Phase, op: Op<'a>) {
        let at = self.view.ops.len();
        let operands = operands(&op);
        let mut held = [Id::NONE; 2];
        for (number, operand) in operands.iter().enumerate() {
            let Some((slot, need)) = operand else { continue };
            let id = self.get(*slot);
            let fits = match self.view.thing(id).what {
                What::Nothing => false,
                What::Value => *need == Need::Value,
                _ => *need == Need::Descriptor,
            };
            if !fits {
                self.view.unfilled.push((at, *slot));
            }
            if let Some(place) = held.get_mut(number) {
                *place = id;
            }
        }
        let [on, onto] = held;
        let mut seen = Seen { at, index, phase, op, on, onto, made: Id::NONE };
        self.happen(&seen);
        seen.made = self.make(&seen);
        self.view.ops.push(seen);
    }

    /// What the op does to things that exist.
    fn happen(&mut self, seen: &Seen<'a>) {
        let thing = &mut self.view.things[seen.on.place()];
        match seen.op {
            Op::Prove { proof, .. } if seen.on != Id::NONE => thing.proof = Some((seen.at, proof)),
            // Of the ramfs with files only copies are shown.
            Op::MountSetAttr { path, flags, set, .. }
                if path.is_empty() && (thing.attached.is_none() || thing.is_mount(c"ramfs")) =>
            {
                let whole = match thing.what {
                    What::HostClone { recursive } | What::TreeClone { recursive, .. } => {
                        !recursive || flags.has(TreeFlags::RECURSIVE)
                    }
                    _ => true,
                };
                // Ids are mapped of the top alone.
                let set = if whole { set } else { MountAttrs(set.0 & MountAttrs::IDMAP.0) };
                if flags.has(TreeFlags::EMPTY_PATH) {
                    thing.attrs = thing.attrs.with(set);
                }
            }
            Op::MoveMount { dir, path, .. } => {
                if seen.on == self.view.building && dir == At::Cwd && path == ASIDE && self.view.aside.is_none() {
                    self.view.aside = Some(seen.at);
                } else if thing.attached.is_some() {
                    self.view.moved_twice.push(seen.at);
                } else {
                    thing.attached = Some(seen.at);
                    if dir == At::Cwd && path == c"/" && self.view.building == Id::NONE {
                        self.view.building = seen.on;
                    }
                    if path == c"root" && seen.onto == self.view.building && seen.onto != Id::NONE {
                        self.view.rooted = self.view.rooted.or(Some(seen.at));
                    }
                }
            }
            Op::Close { file } => self.put(file, Id::NONE),
            Op::Adopt {} if seen.phase == Phase::Init => self.view.init_holds[0] = self.held(),
            Op::Reap { control, gate, .. } if seen.phase == Phase::Init => {
                [control, gate].into_iter().for_each(|slot| self.put(slot, Id::NONE));
                self.view.init_holds[1] = self.held();
            }
            Op::Spawn { namespaces, joins, cgroup, keep, pidfd, pid, .. } => {
                let numbers: Vec<u32> = joins.iter().collect();
                for pair in numbers.chunks(2) {
                    let slot = Slot(pair.first().and_then(|slot| u16::try_from(*slot).ok()).unwrap_or(u16::MAX));
                    let id = self.get(slot);
                    if id == Id::NONE {
                        self.view.unfilled.push((seen.at, slot));
                    }
                    let kind = pair.get(1).map_or(Namespaces::NONE, |kind| Namespaces(u64::from(*kind)));
                    self.view.joins.push((id, kind));
                }
                self.view.spawn =
                    Some(Spawned { namespaces, pidfd, pid, cgroup: cgroup.map_or(Id::NONE, |slot| self.get(slot)) });
                for slot in keep.iter().map(|number| Slot(u16::try_from(number).unwrap_or(u16::MAX))) {
                    let id = self.get(slot);
                    match self.child.get_mut(usize::from(slot.0)).filter(|_| id != Id::NONE) {
                        Some(place) => *place = id,
                        None => self.view.unfilled.push((seen.at, slot)),
                    }
                    self.view.kept.push((slot, id));
                }
                // The runner gives these up.
                let passed = self.view.plan.passed.iter().map(|passed| passed.slot);
                for slot in role::STDIO.into_iter().chain([role::CONTROL, role::LIFELINE]).chain(passed) {
                    if let Some(place) = self.table.get_mut(usize::from(slot.0)) {
                        *place = Id::NONE;
                    }
                }
            }
            _ => {}
        }
    }

    /// What the op puts into slots.
    fn make(&mut self, seen: &Seen<'a>) -> Id {
        let (slot, what, attrs) = match seen.op {
            Op::OpenAt2 { dir: At::Cwd, path, into, .. } => (into, What::Host(path), MountAttrs::NONE),
            Op::OpenAt2 { path, into, .. } => match self.view.thing(seen.on).what {
                What::Process if path == c"ns/time_for_children" => (into, What::TimeOfChildren, MountAttrs::NONE),
                What::Process if path == c"ns/net" => (into, What::NetworkOfChild, MountAttrs::NONE),
                What::Process => (into, What::Other, MountAttrs::NONE),
                _ if path == OWN_TIME => (into, What::TimeOfChildren, MountAttrs::NONE),
                _ => (into, What::Inside { below: seen.on, path }, MountAttrs::NONE),
            },
            Op::OpenTree { dir, path, flags, into } => (into, self.cloned(seen, dir, path, flags), MountAttrs::NONE),
            Op::FsOpen { kind, into } => (into, What::Context(kind), MountAttrs::NONE),
            Op::FsMount { attrs, into, .. } => match self.view.thing(seen.on).what {
                What::Context(kind) => (into, What::Mount(kind), attrs),
                _ => (into, What::Other, attrs),
            },
            Op::OpenProcess { into, .. } => (into, What::Process, MountAttrs::NONE),
            Op::Socket { into, .. } => (into, What::Socket, MountAttrs::NONE),
            Op::NetlinkSocket { protocol, into, .. } => {
                (into, What::Netlink { protocol, of: seen.on }, MountAttrs::NONE)
            }
            Op::SocketPair { one, other } => {
                self.add(one, What::HostEnd(seen.at), seen.at);
                (other, What::ChildEnd(seen.at), MountAttrs::NONE)
            }
            Op::OpenTerminal { master, peer, .. } => {
                self.add(master, What::TerminalMaster, seen.at);
                (peer, What::Terminal, MountAttrs::NONE)
            }
            Op::Pipe { read, write } => {
                self.add(read, What::Pipe, seen.at);
                (write, What::Pipe, MountAttrs::NONE)
            }
            Op::Spawn { pidfd, pid, .. } => {
                self.add(pid, What::Value, seen.at);
                (pidfd, What::Pidfd, MountAttrs::NONE)
            }
            Op::Fork { pid: into }
            | Op::Peek { into, .. }
            | Op::PidfdWait { into, .. }
            | Op::TerminalSize { into, .. }
            | Op::KeyCapabilities { into }
            | Op::CopyRest { into, .. }
            | Op::PidfdStatus { into, .. }
            | Op::Receive { into, .. } => (into, What::Value, MountAttrs::NONE),
            Op::Sibling { pid, pidfd } => {
                self.add(pid, What::Value, seen.at);
                (pidfd, What::Member, MountAttrs::NONE)
            }
            Op::MapNamespace { into, .. } => (into, What::MappedNamespace, MountAttrs::NONE),
            Op::BpfDevice { into, .. } => (into, What::DeviceProgram, MountAttrs::NONE),
            Op::PidfdOpen { into, .. } => (into, What::Pidfd, MountAttrs::NONE),
            Op::Reopen { into, .. }
            | Op::Ask { into, .. }
            | Op::MemFd { into, .. }
            | Op::LockIds { into, .. }
            | Op::LandlockRuleset { into, .. }
            | Op::Inherit { into, .. }
            | Op::LoopDevice { into, .. }
            | Op::SignalFd { into } => (into, What::Other, MountAttrs::NONE),
            Op::Seccomp { listener: Some(into), .. } => (into, What::Listener, MountAttrs::NONE),
            _ => return Id::NONE,
        };
        let id = self.add(slot, what, seen.at);
        self.view.things[id.place()].attrs = attrs;
        id
    }

    /// The slots that hold a descriptor.
    fn held(&self) -> Vec<Slot> {
        let held = self.table.iter().enumerate();
        held.filter(|(_, id)| !matches!(self.view.thing(**id).what, What::Nothing | What::Value))
            .map(|(slot, _)| Slot(slot as u16))
            .collect()
    }

    fn cloned(&self, seen: &Seen<'a>, dir: At, path: &'a CStr, flags: TreeFlags) -> What<'a> {
        let on = seen.on;
        let recursive = flags.has(TreeFlags::RECURSIVE);
        match self.view.thing(on).what {
            _ if !flags.has(TreeFlags::CLONE) => What::Other,
            What::Host(_) => What::HostClone { recursive },
            // What the embedder has mounted is on the host.
            _ if dir == At::Cwd || seen.phase == Phase::Prepare => What::HostClone { recursive },
            _ if on == self.view.building && on != Id::NONE => What::Blank,
            What::Mount(kind) if kind == c"ramfs" && !recursive => What::MadeCopy { of: on },
            What::Mount(kind) if kind == c"sysfs" && !recursive => What::SysPart { of: on, name: path },
            What::Terminal if path.is_empty() && !recursive => What::Console { of: on },
            What::Inside { .. } if path.is_empty() => What::TreeClone { of: on, recursive },
            _ => What::Other,
        }
    }

    fn add(&mut self, slot: Slot, what: What<'a>, made: usize) -> Id {
        let id = Id(u32::try_from(self.view.things.len()).unwrap_or(0));
        if id == Id::NONE {
            self.view.readable = false;
            return id;
        }
        self.view.things.push(Thing { what, made, proof: None, attrs: MountAttrs::NONE, attached: None });
        self.put(slot, id);
        id
    }

    fn put(&mut self, slot: Slot, id: Id) {
        match self.table.get_mut(usize::from(slot.0)) {
            Some(place) => *place = id,
            None => self.view.unfilled.push((self.view.ops.len(), slot)),
        }
    }

    /// Sorts the positions by kind: rules then look at few ops each.
    fn finish(mut self) -> View<'a> {
        let view = &mut self.view;
        for seen in &view.ops {
            view.kinds[seen.kind() as usize + 1] += 1;
        }
        for kind in 0..KINDS {
            view.kinds[kind + 1] += view.kinds[kind];
        }
        let mut next = view.kinds;
        view.places = vec![0; view.ops.len()];
        for seen in &view.ops {
            let place = &mut next[seen.kind() as usize];
            view.places[*place as usize] = seen.at as u32;
            *place += 1;
        }
        self.view
    }
}

/// What an operand must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Descriptor,
    Value,
}

type Operand = Option<(Slot, Need)>;

const fn file(slot: Slot) -> Operand {
    Some((slot, Need::Descriptor))
}

const fn value(slot: Slot) -> Operand {
    Some((slot, Need::Value))
}

const fn below(dir: At) -> Operand {
    match dir {
        At::Cwd => None,
        At::Slot(slot) => file(slot),
    }
}

/// The slots that an op reads, the one that matters most first.
fn operands(op: &Op<'_>) -> [Operand; 3] {
    match *op {
        Op::OpenAt2 { dir, .. }
        | Op::Mkdir { dir, .. }
        | Op::Symlink { dir, .. }
        | Op::Create { dir, .. }
        | Op::CreateSecret { dir, .. }
        | Op::Mknod { dir, .. }
        | Op::Unlink { dir, .. }
        | Op::Rename { dir, .. }
        | Op::RemoveGroup { dir, .. }
        | Op::KillGroup { dir, .. }
        | Op::Write { dir, .. }
        | Op::Unmount { dir, .. }
        | Op::OpenTree { dir, .. } => [below(dir), None, None],
        Op::WritePid { dir, pid, .. } => [below(dir), value(pid), None],
        Op::MountSetAttr { dir, userns, .. } => [below(dir), userns.and_then(file), None],
        Op::MoveMount { from, dir, .. } => [file(from), below(dir), None],
        Op::Chown { file: on, .. }
        | Op::Chmod { file: on, .. }
        | Op::Reopen { file: on, .. }
        | Op::Serve { socket: on }
        | Op::Freeze { group: on, .. }
        | Op::Prove { file: on, .. }
        | Op::Close { file: on }
        | Op::Peek { file: on, .. }
        | Op::ReleaseIds { file: on, .. }
        | Op::Dup { file: on, .. }
        | Op::FsString { fs: on, .. }
        | Op::FsFlag { fs: on, .. }
        | Op::FsCreate { fs: on }
        | Op::FsMount { fs: on, .. }
        | Op::Fchdir { dir: on }
        | Op::SetNs { namespace: on, .. }
        | Op::PidfdSignal { process: on, .. }
        | Op::PidfdWait { process: on, .. }
        | Op::PidfdStatus { process: on, .. }
        | Op::LandlockPort { ruleset: on, .. }
        | Op::LandlockRestrict { ruleset: on }
        | Op::SocketOption { socket: on, .. }
        | Op::Bind { socket: on, .. }
        | Op::LinkUp { socket: on, .. }
        | Op::LinkAltName { socket: on, .. }
        | Op::LinkMaster { socket: on, .. }
        | Op::LinkOption { socket: on, .. }
        | Op::LinkRemove { socket: on, .. }
        | Op::ZoneJoin { socket: on, .. }
        | Op::ZoneLeave { socket: on, .. }
        | Op::AddressAdd { socket: on, .. }
        | Op::RouteAdd { socket: on, .. }
        | Op::NfTables { socket: on, .. }
        | Op::OpenTerminal { devpts: on, .. }
        | Op::ControllingTerminal { terminal: on }
        | Op::ResizeTerminal { terminal: on, .. }
        | Op::TerminalSize { terminal: on, .. }
        | Op::Release { to: on }
        | Op::Announce { to: on }
        | Op::Arrive { to: on }
        | Op::Await { from: on }
        | Op::Receive { from: on, .. }
        | Op::Entrust { watcher: on, .. }
        | Op::Dismiss { watcher: on, .. }
        | Op::Keep { watcher: on, .. }
        | Op::ExecAt { program: on, .. }
        | Op::ReceiveCall { listener: on, .. }
        | Op::AnswerCall { listener: on, .. }
        | Op::CallWaits { listener: on, .. }
        | Op::Watch { socket: on } => [file(on), None, None],
        // The file may be missing.
        Op::UnlinkSame { dir: on, .. } => [file(on), None, None],
        Op::SetXattr { file: on, .. } | Op::RemoveXattr { file: on, .. } | Op::LoopDevice { image: on, .. } => {
            [file(on), None, None]
        }
        Op::FsDevice { fs, device } => [file(fs), file(device), None],
        Op::NetlinkSocket { namespace, .. } => [namespace.and_then(file), None, None],
        Op::LinkAdd { socket, namespace, .. } => [file(socket), namespace.and_then(file), None],
        Op::LinkMove { socket, namespace, .. } => [file(socket), file(namespace), None],
        Op::CopyRest { from, to, .. } | Op::CopyWhole { from, to } => [file(from), file(to), None],
        Op::Link { file: on, dir, .. } => [file(on), below(dir), None],
        Op::Stamp { file: on, .. } => [file(on), None, None],
        Op::Ask { server, file: on, .. } => [file(server), on.and_then(file), None],
        Op::LandlockPath { ruleset, parent, .. } => [file(ruleset), file(parent), None],
        Op::EntrustFile { watcher: to, file: on, .. } | Op::SendFile { to, file: on, .. } => [file(to), file(on), None],
        Op::Spawn { image, plan, cgroup, .. } => [file(image), file(plan), cgroup.and_then(file)],
        Op::OpenProcess { pid, pidfd, .. }
        | Op::Affinity { pid, pidfd, .. }
        | Op::Schedule { pid, pidfd, .. }
        | Op::IoPriority { pid, pidfd, .. } => [file(pidfd), value(pid), None],
        Op::MapNamespace { image, .. } => [file(image), None, None],
        Op::PidfdOpen { pid, .. } => [value(pid), None, None],
        Op::EndGroup { pidfd, pid } => [file(pidfd), value(pid), None],
        Op::BpfAttach { cgroup, program } => [file(cgroup), file(program), None],
        Op::IdMapHelper { program, pid, .. } => [file(program), value(pid), None],
        // What it closes, the rules name.
        Op::Reap { payload, signals, lifeline, .. } => [file(lifeline), file(signals), value(payload)],
        _ => [None; 3],
    }
}
