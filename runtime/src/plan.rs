//! A plan: the program for the kernel that starts one container.
//!
//! Plain data. It can be printed, compared, stored, checked
//! ([`crate::verify`]) and run on any [`skep_sys::Kernel`].

use std::fmt;
use std::path::Path;

use skep_sys::program::Section;
use skep_sys::{Actor, Child, Op, Slot};

use crate::Escaped;
use crate::compile::network::tables::Published;
use crate::report::Report;
use crate::spec::{MachineName, Origin, Readiness};

/// The phases of a start, in order. The first two are the embedder's, the
/// others the child's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Phase {
    /// The embedder, before the child exists; the last op makes it.
    Prepare,
    /// The embedder, while the child waits.
    Attend,
    /// The child, until the payload's process exists.
    Enter,
    /// The payload's process, until its exec.
    Payload,
    /// The stub init, if there is one.
    Init,
}

impl Phase {
    /// All, in the order in which they begin.
    pub const ALL: [Self; 5] = [Self::Prepare, Self::Attend, Self::Enter, Self::Payload, Self::Init];

    /// The word that plans print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Attend => "attend",
            Self::Enter => "enter",
            Self::Payload => "payload",
            Self::Init => "init",
        }
    }

    /// Which process performs it.
    #[must_use]
    pub const fn actor(self) -> Actor {
        match self {
            Self::Prepare | Self::Attend => Actor::Host,
            Self::Enter | Self::Init => Actor::Child,
            Self::Payload => Actor::Payload,
        }
    }
}

/// A few ops that serve one purpose, and who asked for it: what a printed plan
/// shows as one line, and what an error names.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Step {
    /// When.
    pub phase: Phase,
    /// Index of its first op in the whole plan.
    pub first: u32,
    /// How many ops it has.
    pub count: u32,
    /// What for, as the object of "cannot …": `mount /srv on /data`.
    pub what: String,
    /// Who asked for it.
    pub origin: Origin,
    /// What to do when it fails.
    pub remedy: Option<String>,
}

/// A descriptor of the caller's, for the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passed {
    /// Under which number the payload gets it.
    pub(crate) number: u32,
    /// Where the runner puts it, and the child finds it.
    pub(crate) slot: Slot,
}

/// An op that takes another one back.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Undo {
    /// Index of the op it takes back.
    pub(crate) of: u32,
    /// In flat form.
    pub(crate) op: Vec<u8>,
}

/// A cgroup of the container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) path: std::path::PathBuf,
    /// v2, with every controller that the group above gives; else v1.
    pub(crate) unified: bool,
    /// v1: what it was made for.
    pub(crate) controllers: Vec<&'static str>,
    /// Killing the first process does not kill all, or not while it is frozen:
    /// this group does.
    pub(crate) kills: bool,
    /// Its directory, in the embedder's table.
    pub(crate) slot: Slot,
}

/// A tree that is given to other ids before the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Give {
    pub(crate) path: std::path::PathBuf,
    /// Which inode that was when somebody looked.
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// The first of 65536 ids.
    pub(crate) base: u32,
}

/// The container's entry in the registry.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Registration {
    /// The user's runtime directory, the registry's in it, the entry there.
    pub(crate) base: std::ffi::CString,
    pub(crate) directory: std::ffi::CString,
    pub(crate) path: std::ffi::CString,
    /// The last component.
    pub(crate) name: std::ffi::CString,
    pub(crate) uid: u32,
    /// What it says until the payload runs.
    pub(crate) record: crate::registry::entry::Record,
}

/// The file whose bytes stand for the host's ids: there while a container holds
/// a range, and open to nobody but root.
pub(crate) const RANGE_LOCK: &std::ffi::CStr = c"/run/skep-ids";

/// Where in the old root the tmpfs that was built on is put: a directory that
/// every host has, for without a procfs no plan is made (`Facts::gather`).
pub(crate) const ASIDE: &std::ffi::CStr = c"/proc";

/// The calling thread's own network namespace.
pub(crate) const OWN_NETWORK: &std::ffi::CStr = c"/proc/thread-self/ns/net";

/// The time namespace that a process has made for its children, in its own
/// directory of a procfs.
pub(crate) const OWN_TIME: &std::ffi::CStr = c"self/ns/time_for_children";

/// Slots with a fixed meaning.
pub(crate) mod role {
    use skep_sys::Slot;

    /// What becomes descriptor 0, 1, 2 inside.
    pub(crate) const STDIO: [Slot; 3] = [Slot(0), Slot(1), Slot(2)];
    /// The embedder's ends of their pipes.
    pub(crate) const STDIO_HOST: [Slot; 3] = [Slot(3), Slot(4), Slot(5)];
    /// Stage B.
    pub(crate) const IMAGE: Slot = Slot(6);
    /// The plan's memfd.
    pub(crate) const PLAN: Slot = Slot(7);
    /// The conversation of the start.
    pub(crate) const CONTROL_HOST: Slot = Slot(8);
    pub(crate) const CONTROL: Slot = Slot(9);
    /// What the stub init lives by, and reports the payload's end on.
    pub(crate) const LIFELINE_HOST: Slot = Slot(10);
    pub(crate) const LIFELINE: Slot = Slot(11);
    /// The socket behind `$NOTIFY_SOCKET`.
    pub(crate) const NOTIFY: Slot = Slot(12);
    pub(crate) const PIDFD: Slot = Slot(13);
    pub(crate) const PID: Slot = Slot(14);
    /// `/proc/PID` of the child.
    pub(crate) const PROCESS: Slot = Slot(15);
    pub(crate) const USERNS: Slot = Slot(16);
    pub(crate) const CGROUP: Slot = Slot(17);
    pub(crate) const WATCHER: Slot = Slot(18);
    pub(crate) const RANGE: Slot = Slot(19);
    /// Results of waiting and receiving.
    pub(crate) const RESULT: Slot = Slot(20);
    /// The root, the scratch mount below it, the container's procfs and /dev.
    pub(crate) const ROOT: Slot = Slot(21);
    pub(crate) const SCRATCH: Slot = Slot(22);
    pub(crate) const PROC: Slot = Slot(23);
    pub(crate) const DEV: Slot = Slot(24);
    /// The payload's process, as the stub init sees it.
    pub(crate) const PAYLOAD: Slot = Slot(25);
    pub(crate) const SIGNALS: Slot = Slot(26);
    /// Short-lived.
    pub(crate) const ONE: Slot = Slot(27);
    pub(crate) const TWO: Slot = Slot(28);
    pub(crate) const THREE: Slot = Slot(29);
    pub(crate) const FOUR: Slot = Slot(30);
    /// v1 groups: memory, cpu, cpuset, blkio, pids, devices, freezer at most.
    pub(crate) const LEGACY: [Slot; 7] = [Slot(31), Slot(32), Slot(33), Slot(34), Slot(39), Slot(40), Slot(41)];
    /// The container's sysfs.
    pub(crate) const SYS: Slot = Slot(35);
    /// A descriptor from the child, before it is known where it belongs.
    pub(crate) const RECEIVED: Slot = Slot(36);
    /// The two ends of the payload's terminal: the embedder's in its own
    /// table, the payload's in the child's.
    pub(crate) const TERMINAL: Slot = Slot(37);
    pub(crate) const TERMINAL_PEER: Slot = Slot(38);
    /// What ends the start when it can be read.
    pub(crate) const CANCEL: Slot = Slot(42);
    /// Namespaces of others that the child is born in, or enters: network, ipc,
    /// uts, cgroup, pid, time.
    pub(crate) const JOINS: [Slot; 6] = [Slot(43), Slot(44), Slot(45), Slot(46), Slot(47), Slot(48)];
    /// Of a plan that enters a container, which has no use for the others of
    /// these numbers: the container's process 1 and its number, the time
    /// namespace of its children, the process that is brought in.
    pub(crate) const TARGET: Slot = USERNS;
    pub(crate) const TARGET_PID: Slot = RANGE;
    pub(crate) const TIME: Slot = SYS;
    pub(crate) const MEMBER: Slot = SIGNALS;
    /// The listener of the payload's filter, in the embedder's table.
    pub(crate) const LISTENER: Slot = Slot(49);
    /// The Landlock rules.
    pub(crate) const RULESET: Slot = Slot(50);
    /// The FIFO that a machine has for the kernel's log, in the embedder's own table.
    pub(crate) const LOG: Slot = PAYLOAD;
    /// The registry's directory, in the embedder's own table.
    pub(crate) const REGISTRY: Slot = DEV;
    /// The entry there, likewise.
    pub(crate) const ENTRY: Slot = PROC;
    /// Both as the watcher has them.
    pub(crate) const WATCHED_REGISTRY: Slot = Slot(2);
    pub(crate) const WATCHED_ENTRY: Slot = Slot(3);
    /// By which the stub init lets the payload's process go on: its own end, and
    /// the payload's.
    pub(crate) const GATE: Slot = Slot(51);
    pub(crate) const GATE_PAYLOAD: Slot = Slot(52);
    /// Sockets of rtnetlink: in the embedder's network namespace, and in the
    /// container's, by which an interface comes back.
    pub(crate) const NET: Slot = Slot(53);
    pub(crate) const NET_INSIDE: Slot = Slot(54);
    /// The embedder's network namespace, and the container's.
    pub(crate) const HOST_NETNS: Slot = Slot(55);
    pub(crate) const NETNS: Slot = Slot(56);
    /// The socket that published ports live by.
    pub(crate) const TABLES: Slot = Slot(57);
    /// Those of them that the watcher uses or holds.
    pub(crate) const WATCHED_NET: Slot = Slot(4);
    pub(crate) const WATCHED_NET_INSIDE: Slot = Slot(5);
    pub(crate) const WATCHED_HOST_NETNS: Slot = Slot(6);
    pub(crate) const WATCHED_TABLES: Slot = Slot(7);
    /// The file system of a disk image, mounted nowhere.
    pub(crate) const TREE: Slot = Slot(58);
    /// The first that has no fixed meaning.
    pub(crate) const FREE: u16 = 59;
}

/// The program that starts one container (see [`crate::compile`]): data, which
/// can be printed, compared and kept, and which only [`crate::verify()`] makes
/// runnable. No secret is in what it prints.
#[derive(Clone, PartialEq)]
pub struct Plan {
    pub(crate) sections: [Vec<u8>; 5],
    pub(crate) counts: [u32; 5],
    pub(crate) steps: Vec<Step>,
    pub(crate) undo: Vec<Undo>,
    /// What the watcher runs if the embedder dies: slot 0 of these ops is the
    /// container's pidfd. Empty when the container dies by itself and leaves
    /// nothing.
    pub(crate) watch: Vec<u8>,
    pub(crate) passed: Vec<Passed>,
    pub(crate) slots: u16,
    pub(crate) machine: MachineName,
    pub(crate) readiness: Readiness,
    pub(crate) kill_signal: u8,
    pub(crate) stub: bool,
    /// Whether the child waits a second time.
    pub(crate) hold: bool,
    pub(crate) groups: Vec<Group>,
    pub(crate) give: Option<Give>,
    /// The disk image whose file system the runner puts into [`role::TREE`].
    pub(crate) tree: Option<std::path::PathBuf>,
    pub(crate) registration: Option<Box<Registration>>,
    /// Published ports that the embedder passes on himself.
    pub(crate) forwards: Vec<crate::Forward>,
    /// The host's interface that the container is behind.
    pub(crate) interface: Option<String>,
    /// Where published ports lead at the start, and whether by tables.
    pub(crate) published: Option<Box<(Published, bool)>>,
    pub(crate) report: Report,
}

/// As it prints: the bytes of the ops hold the payload's environment.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Plan {
    /// Version of the plan's form.
    pub const VERSION: u32 = 1;

    /// The container's name.
    #[must_use]
    pub fn machine(&self) -> &MachineName {
        &self.machine
    }

    /// What will be applied, item by item.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What a container that runs still needs: name and report, and how to
    /// clear up. Its ops and their steps have served, and the ops hold the
    /// payload's environment.
    pub(crate) fn started(self) -> Self {
        Self {
            sections: Default::default(),
            counts: [0; 5],
            steps: Vec::new(),
            undo: self.undo.into_boxed_slice().into_vec(),
            watch: Vec::new(),
            ..self
        }
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// One phase, for the interpreter.
    #[must_use]
    pub fn section(&self, phase: Phase) -> Section<'_> {
        let at = phase as usize;
        Section { first: self.counts[..at].iter().sum(), ops: &self.sections[at] }
    }

    /// The child's three phases.
    #[must_use]
    pub fn child(&self) -> Child<'_> {
        Child {
            enter: self.section(Phase::Enter),
            payload: self.section(Phase::Payload),
            init: self.section(Phase::Init),
        }
    }

    /// Every op with its index and its phase.
    pub fn ops(&self) -> impl Iterator<Item = (u32, Phase, Op<'_>)> {
        Phase::ALL
            .into_iter()
            .flat_map(|phase| self.section(phase).iter().filter_map(move |(index, op)| Some((index, phase, op?))))
    }

    /// The slots of the embedder for which the child sends a descriptor.
    pub(crate) fn sent(&self) -> impl Iterator<Item = Slot> {
        self.ops().filter_map(|(_, _, op)| match op {
            Op::SendFile { place, .. } => Some(place),
            _ => None,
        })
    }

    /// How many slots the plan works on.
    #[must_use]
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// The step that an op belongs to.
    #[must_use]
    pub fn step_of(&self, op: u32) -> Option<&Step> {
        self.steps.iter().find(|step| op >= step.first && op - step.first < step.count)
    }

    /// The plan with op `index` replaced by one that fails: for tests of what
    /// happens then. It is not a plan that verifies.
    #[must_use]
    pub fn with_fault(&self, index: u32, errno: skep_sys::Errno) -> Self {
        self.map_ops(|at, op| if at == index { Some(Op::Fail { errno }) } else { Some(op) })
    }

    /// The plan without op `index`, for tests of the rules.
    #[must_use]
    pub fn without(&self, index: u32) -> Self {
        self.map_ops(|at, op| (at != index).then_some(op))
    }

    /// The plan with the ops `one` and `other` of the same phase exchanged,
    /// for tests of the rules.
    #[must_use]
    pub fn swapped(&self, one: u32, other: u32) -> Self {
        let find = |wanted: u32| self.ops().find(|(at, _, _)| *at == wanted).map(|(_, _, op)| op);
        self.map_ops(|at, op| match at {
            _ if at == one => find(other),
            _ if at == other => find(one),
            _ => Some(op),
        })
    }

    fn map_ops<'a>(&'a self, change: impl Fn(u32, Op<'a>) -> Option<Op<'a>>) -> Self {
        let mut changed = self.clone();
        for phase in Phase::ALL {
            let (mut bytes, mut count) = (Vec::new(), 0);
            for (index, op) in self.section(phase).iter() {
                if let Some(op) = op.and_then(|op| change(index, op)) {
                    op.write(&mut bytes);
                    count += 1;
                }
            }
            changed.sections[phase as usize] = bytes;
            changed.counts[phase as usize] = count;
        }
        changed
    }

    /// The plan as JSON: version, name, steps with their ops, report.
    /// Environment values are left out.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                let ops: Vec<_> = self.ops_of(step).map(|(index, op)| op_to_json(index, &op)).collect();
                serde_json::json!({
                    "phase": step.phase.name(),
                    "what": step.what,
                    "origin": step.origin.to_string(),
                    "ops": ops,
                })
            })
            .collect();
        serde_json::json!({
            "version": Self::VERSION,
            "machine": self.machine.as_str(),
            "steps": steps,
            "report": self.report.to_json(),
        })
    }

    fn ops_of<'a>(&'a self, step: &Step) -> impl Iterator<Item = (u32, Op<'a>)> {
        let (first, count) = (step.first, step.count);
        self.ops()
            .filter(move |(index, _, _)| *index >= first && *index - first < count)
            .map(|(index, _, op)| (index, op))
    }

    /// The plan with every op on a line of its own.
    #[must_use]
    pub fn verbose(&self) -> impl fmt::Display + '_ {
        Verbose(self)
    }
}

fn op_to_json(index: u32, op: &Op<'_>) -> serde_json::Value {
    let mut arguments = serde_json::Map::new();
    op.arguments(&mut |name, value| {
        let text = value.to_string();
        let value = text.parse::<u64>().map_or_else(|_| text.into(), serde_json::Value::from);
        arguments.insert(name.to_owned(), value);
    });
    serde_json::json!({ "index": index, "op": op.kind().name(), "arguments": arguments })
}

/// How wide the column of steps is: with the index and an origin of usual
/// length a line has 100 characters.
const COLUMN: usize = 66;

/// One line for each step: what it does, who asked for it. A step that is
/// wider than its column goes on below, so that the origins stay in theirs. A
/// file that all lines of files are of is named once.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins = self.title(f)?;
        let mut phase = None;
        for step in &self.steps {
            if phase != Some(step.phase) {
                phase = Some(step.phase);
                writeln!(f, "{}", heading(step.phase, self.stub))?;
            }
            let what = Escaped::new(&step.what).to_string();
            let mut lines = wrapped(&what, COLUMN).into_iter();
            let first = lines.next().unwrap_or_default();
            writeln!(f, "  {:>3}  {first:<COLUMN$} {}", step.first, origins.of(&step.origin))?;
            for line in lines {
                writeln!(f, "         {line}")?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// The lines above the steps, and how origins are shown below them.
    fn title(&self, f: &mut fmt::Formatter<'_>) -> std::result::Result<Origins<'_>, fmt::Error> {
        writeln!(f, "plan of {}", self.machine)?;
        let mut files = self.steps.iter().filter_map(|step| match &step.origin {
            Origin::File { path, .. } => Some(path.as_path()),
            _ => None,
        });
        let only = files.next().filter(|first| files.all(|other| other == *first));
        if let Some(file) = only {
            writeln!(f, "settings of {}", Escaped::new(file))?;
        }
        Ok(Origins { only })
    }
}

/// How the origins of a plan's steps are shown.
struct Origins<'a> {
    /// The one file that there is.
    only: Option<&'a Path>,
}

impl Origins<'_> {
    fn of(&self, origin: &Origin) -> String {
        let text = match (origin, self.only.and_then(Path::file_name)) {
            (Origin::File { line, key, .. }, Some(name)) => format!("{}:{line} {key}", Path::new(name).display()),
            _ => origin.to_string(),
        };
        Escaped::new(&text).to_string()
    }
}

/// `text` in lines of at most `width` characters; lines after the first have
/// room for an indent of two. Broken at blanks, or within a word that is
/// longer than a line: behind a slash, if there is one. At least one line.
fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let most = if lines.is_empty() { width } else { width.saturating_sub(2).max(1) };
        let Some((end, _)) = rest.char_indices().nth(most) else { break };
        // A blank right behind the line will do as well.
        let blank = if rest[end..].starts_with(' ') { Some(end) } else { rest[..end].rfind(' ') };
        let word = blank.map_or(0, |at| at + 1);
        let length = rest[word.min(end)..].chars().take_while(|char| *char != ' ').count();
        let slash =
            rest[word.min(end)..end].rfind('/').filter(|at| *at > 0 && length + 2 > width).map(|at| word + at + 1);
        let (line, after) = match (slash, blank.filter(|at| *at > 0)) {
            (Some(at), _) => rest.split_at(at),
            (None, Some(at)) => (&rest[..at], &rest[at + 1..]),
            (None, None) => rest.split_at(end),
        };
        lines.push(line);
        rest = after;
    }
    lines.push(rest);
    lines
}

fn heading(phase: Phase, stub: bool) -> &'static str {
    match phase {
        Phase::Prepare => "prepare (this process, before the child exists)",
        Phase::Attend => "attend (this process, while the child waits)",
        Phase::Enter => "enter (the child, in its namespaces)",
        Phase::Payload if stub => "payload (its own process, up to its exec)",
        Phase::Payload => "payload (up to its exec)",
        Phase::Init => "init (process 1, beside it)",
    }
}

struct Verbose<'a>(&'a Plan);

impl fmt::Display for Verbose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        let origins = plan.title(f)?;
        let mut phase = None;
        for step in &plan.steps {
            if phase != Some(step.phase) {
                phase = Some(step.phase);
                writeln!(f, "{}", heading(step.phase, plan.stub))?;
            }
            writeln!(f, "  {}    [{}]", Escaped::new(&step.what), origins.of(&step.origin))?;
            for (index, op) in plan.ops_of(step) {
                writeln!(f, "  {index:>5}  {op}")?;
            }
        }
        Ok(())
    }
}

/// Writes a plan, step by step.
pub(crate) struct Builder {
    sections: [Vec<u8>; 5],
    counts: [u32; 5],
    /// `first` counts within the phase until the plan is finished.
    steps: Vec<Step>,
    undo: Vec<(Phase, u32, Vec<u8>)>,
    watch: Vec<u8>,
    passed: Vec<Passed>,
    slots: u16,
    kept: Vec<Slot>,
    /// By slot: whether an op of `enter` has last filled or closed it.
    entered: Vec<Option<bool>>,
    phase: Phase,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            // A usual plan fits without growing.
            sections: [2048, 512, 24 << 10, 4096, 1024].map(Vec::with_capacity),
            counts: [0; 5],
            steps: Vec::with_capacity(96),
            undo: Vec::new(),
            watch: Vec::new(),
            passed: Vec::new(),
            slots: role::FREE,
            kept: Vec::with_capacity(16),
            entered: Vec::with_capacity(64),
            phase: Phase::Prepare,
        }
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, phase: Phase, what: impl Into<String>, origin: Origin) -> &mut Self {
        self.phase = phase;
        let first = self.counts[phase as usize];
        self.steps.push(Step { phase, first, count: 0, what: what.into(), origin, remedy: None });
        self
    }

    /// Says what to do when this step fails.
    pub(crate) fn remedy(&mut self, remedy: impl Into<String>) -> &mut Self {
        if let Some(step) = self.steps.last_mut() {
            step.remedy = Some(remedy.into());
        }
        self
    }

    /// Adds an op to the step.
    pub(crate) fn op(&mut self, op: Op<'_>) -> &mut Self {
        op.write(&mut self.sections[self.phase as usize]);
        self.counts[self.phase as usize] += 1;
        if let Some(step) = self.steps.last_mut() {
            step.count += 1;
        }
        if self.phase == Phase::Enter {
            self.follow(&op);
        }
        self
    }

    /// Notes what an op of `enter` fills and closes.
    fn follow(&mut self, op: &Op<'_>) {
        if let Op::OpenTerminal { master: one, .. } | Op::SocketPair { one, .. } = *op {
            self.holds(one, true);
        }
        let (slot, filled) = match *op {
            Op::OpenAt2 { into, .. }
            | Op::OpenTree { into, .. }
            | Op::FsOpen { into, .. }
            | Op::FsMount { into, .. }
            | Op::OpenTerminal { peer: into, .. }
            | Op::SocketPair { other: into, .. }
            | Op::LandlockRuleset { into, .. }
            | Op::NetlinkSocket { into, .. }
            | Op::Socket { into, .. } => (into, true),
            Op::Close { file } => (file, false),
            _ => return,
        };
        self.holds(slot, filled);
    }

    fn holds(&mut self, slot: Slot, filled: bool) {
        let place = usize::from(slot.0);
        if self.entered.len() <= place {
            self.entered.resize(place + 1, None);
        }
        self.entered[place] = Some(filled);
    }

    /// Adds an op that takes back the last one: at a failed start, and at the end.
    pub(crate) fn undo(&mut self, op: Op<'_>) -> &mut Self {
        let mut bytes = Vec::new();
        op.write(&mut bytes);
        self.undo.push((self.phase, self.counts[self.phase as usize].saturating_sub(1), bytes));
        self
    }

    /// Adds an op for the watcher. Its slots are the watcher's.
    pub(crate) fn watch(&mut self, op: Op<'_>) -> &mut Self {
        op.write(&mut self.watch);
        self
    }

    /// A slot of its own.
    pub(crate) fn slot(&mut self) -> Slot {
        let slot = Slot(self.slots);
        self.slots = self.slots.saturating_add(1);
        slot
    }

    /// Lets the payload have a descriptor of the caller's.
    pub(crate) fn pass(&mut self, passed: Passed) -> &mut Self {
        self.passed.push(passed);
        self
    }

    pub(crate) fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// Lets the child have the descriptor in `slot`.
    pub(crate) fn keep(&mut self, slot: Slot) -> &mut Self {
        self.kept.push(slot);
        self
    }

    /// The slots that the child has, as the op takes them.
    pub(crate) fn kept(&self) -> Vec<u8> {
        self.kept.iter().flat_map(|slot| u32::from(slot.0).to_le_bytes()).collect()
    }

    /// The slots that hold a descriptor after the last op of `enter`, among
    /// those that the child was given and those that its ops have filled.
    pub(crate) fn held_after_enter(&self) -> Vec<Slot> {
        let mut held: std::collections::BTreeSet<Slot> = self.kept.iter().copied().collect();
        for (place, filled) in self.entered.iter().enumerate() {
            let slot = Slot(place as u16);
            match filled {
                Some(true) => _ = held.insert(slot),
                Some(false) => _ = held.remove(&slot),
                None => {}
            }
        }
        held.into_iter().collect()
    }

    /// Whether the watcher has anything to do.
    pub(crate) fn has_watch(&self) -> bool {
        !self.watch.is_empty()
    }

    pub(crate) fn watch_ops(&self) -> Vec<u8> {
        self.watch.clone()
    }

    pub(crate) fn finish(mut self, end: Ending) -> Plan {
        let base = |counts: &[u32; 5], phase: Phase| -> u32 { counts[..phase as usize].iter().sum() };
        for step in &mut self.steps {
            step.first += base(&self.counts, step.phase);
        }
        self.steps.retain(|step| step.count > 0);
        self.steps.sort_by_key(|step| step.first);
        let counts = self.counts;
        let undo = self.undo.into_iter().map(|(phase, of, op)| Undo { of: of + base(&counts, phase), op }).collect();
        Plan {
            sections: self.sections,
            counts,
            steps: self.steps,
            undo,
            watch: self.watch,
            passed: self.passed,
            slots: self.slots,
            machine: end.machine,
            readiness: end.readiness,
            kill_signal: end.kill_signal,
            stub: end.stub,
            hold: end.hold,
            groups: end.groups,
            give: end.give,
            tree: end.tree,
            registration: end.registration.map(Box::new),
            forwards: end.forwards,
            interface: end.interface,
            published: end.published,
            report: end.report,
        }
    }
}

/// What a plan has beside its ops.
pub(crate) struct Ending {
    pub(crate) machine: MachineName,
    pub(crate) readiness: Readiness,
    pub(crate) kill_signal: u8,
    pub(crate) stub: bool,
    pub(crate) hold: bool,
    pub(crate) groups: Vec<Group>,
    pub(crate) give: Option<Give>,
    pub(crate) tree: Option<std::path::PathBuf>,
    pub(crate) registration: Option<Registration>,
    pub(crate) forwards: Vec<crate::Forward>,
    /// The host's interface that the container is behind.
    pub(crate) interface: Option<String>,
    /// Where published ports lead at the start, and whether by tables.
    pub(crate) published: Option<Box<(Published, bool)>>,
    pub(crate) report: Report,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_step_goes_on_below() {
        assert_eq!(wrapped("", 9), [""]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 6), ["one", "two", "thre", "e"]);
        assert_eq!(wrapped("üüüüüüüü", 4), ["üüüü", "üü", "üü"]);
        assert_eq!(wrapped(" abcd", 4), [" abc", "d"]);
        assert_eq!(wrapped("on /ab/cdefghij", 8), ["on /ab/", "cdefgh", "ij"]);
        assert_eq!(wrapped("on the /ab/cd", 8), ["on the", "/ab/cd"]);
        let long = format!("mount /{} on /b", "a".repeat(300));
        assert!(wrapped(&long, COLUMN).iter().all(|line| line.chars().count() <= COLUMN));
        assert_eq!(wrapped(&long, COLUMN).concat().replace(' ', ""), long.replace(' ', ""));
    }
}
