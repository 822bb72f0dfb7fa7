//! The same verified plan on a model and on Linux: what every process of the
//! container is at the end must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cases;
mod generated;
mod host;
mod networks;
mod program;
mod state;
#[path = "../../../runtime/tests/support/strategies.rs"]
mod strategies;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use skep::spec::{Bind, Denial, Init, Mount, MountKind};
use skep::sys::{Actor, Errno};
use skep::{ErrorKind, Facts, Spec};
use skep_tests::{Scratch, field, has, is_root};

use networks::Cards;
use program::Answers;
use state::Order;

/// Where the programs of these containers lie.
struct Stand {
    scratch: Scratch,
    /// A root file system, and what else can be bound.
    tree: PathBuf,
    sources: PathBuf,
    /// What this process is told.
    outside: Answers,
    /// Whose namespaces can be joined; nobody's by an ordinary user.
    others: Option<Others>,
    /// Of a network of the test's own, where containers may have a part in it.
    cards: Option<Cards>,
}

/// A process in namespaces of its own.
struct Others(std::process::Child);

impl Others {
    fn start() -> Option<Self> {
        if !is_root() || !has("unshare") {
            return None;
        }
        let mut process = Process::new("unshare");
        // The end of its input is its own.
        process.args(["--net", "--ipc", "--uts", "--cgroup", "--pid", "--time", "--fork", "cat"]);
        let child = process.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let others = Self(child);
        let end = Instant::now() + Duration::from_secs(5);
        // The child's, where a fork makes the last two.
        while fs::read_link(others.namespace("pid")).is_err() {
            assert!(Instant::now() < end, "unshare makes no namespaces");
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(others)
    }

    fn namespace(&self, kind: &str) -> PathBuf {
        let name = if ["pid", "time"].contains(&kind) { format!("{kind}_for_children") } else { kind.to_owned() };
        format!("/proc/{}/ns/{name}", self.0.id()).into()
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Stand {
    fn new() -> Self {
        let scratch = Scratch::new();
        for (name, program) in [("asking", program::asking()), ("waiting", program::waiting())] {
            let place = scratch.path().join(name);
            fs::write(&place, program).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for place in ["sources/a/b", "sources/b/c", "sources/c/a"] {
            scratch.file(&format!("{place}/file"), place);
        }
        let (tree, sources) = (scratch.tree(), scratch.path().join("sources"));
        let mut asking = Process::new(scratch.path().join("asking")).spawn().unwrap();
        let outside = program::answers(asking.id());
        asking.kill().and_then(|()| asking.wait()).unwrap();
        Self { scratch, tree, sources, outside: outside.unwrap(), others: Others::start(), cards: None }
    }

    /// In the thread of [`skep_tests::apart`].
    fn with_cards() -> Self {
        Self { cards: Some(Cards::new()), ..Self::new() }
    }

    /// Has it run the program that asks, if no filter would kill it or let it wait.
    fn run_here(&self, spec: &mut Spec) {
        let calls = &spec.system_calls;
        let asks = calls.notify.is_empty() && !calls.deny.values().any(|denial| *denial == Denial::Kill);
        let mut bind = Bind::default();
        bind.source = self.scratch.path().join(if asks { "asking" } else { "waiting" });
        bind.read_only = true;
        spec.mounts.retain(|mount| mount.target != Path::new("/pause"));
        spec.mounts.push(Mount { target: "/pause".into(), kind: MountKind::Bind(bind) });
        spec.command.resize(spec.command.len().max(1), Default::default());
        spec.command[0] = "/pause".into();
    }
}

/// Whether the payload of a Spec asks.
fn asks(spec: &Spec) -> bool {
    spec.mounts.iter().any(|mount| matches!(&mount.kind, MountKind::Bind(bind) if bind.source.ends_with("asking")))
}

/// The child of a stub init.
fn child_of(parent: u32) -> u32 {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field(&status, "PPid") == parent.to_string()
    };
    pids.into_iter().find(is_child).unwrap_or_else(|| panic!("{parent} has no child"))
}

/// How it ended on both sides.
enum Verdict {
    /// No plan for this host.
    NoPlan(String),
    Same,
    /// The same error.
    SameRefusal(String),
    Differs(String),
}

fn compare(stand: &Stand, spec: &Spec) -> Verdict {
    match (started(stand, spec), stand.cards.as_ref().map(Cards::are_alone)) {
        (_, Some(Err(left))) => Verdict::Differs(left),
        (verdict, _) => verdict,
    }
}

fn started(stand: &Stand, spec: &Spec) -> Verdict {
    let facts = Facts::gather(spec).unwrap();
    let plan = match skep::compile(spec, &facts) {
        Ok(plan) => plan,
        Err(error) => return Verdict::NoPlan(error.to_string()),
    };
    let verified = skep::verify(plan.clone()).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
    let mut model = host::model(spec, &facts);
    if stand.cards.is_some() {
        model = Cards::tell(model);
    }
    let rehearsed = skep::rehearse(&mut model, &verified);
    // No op has that number.
    let started = skep::start_with_fault(&plan, u32::MAX, Errno::EIO);
    let container = match (started, rehearsed) {
        // Somebody else's here; the model knows of nobody.
        (Err(taken), _) if taken.kind() == ErrorKind::RangeTaken => return Verdict::NoPlan(taken.to_string()),
        (Ok(container), Ok(())) => container,
        (Err(linux), Err(model)) if linux.to_string() == model.to_string() => {
            return Verdict::SameRefusal(linux.to_string());
        }
        (linux, model) => {
            let [linux, model] = [linux.map(drop), model]
                .map(|side| side.err().map_or_else(|| "started".to_owned(), |error| error.to_string()));
            return Verdict::Differs(format!("linux: {linux}\nmodel: {model}\n"));
        }
    };
    let embedder = model.process(Actor::Host).unwrap();
    let order = Order::of(spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind(bind) if bind.recursive => Some(bind.source.as_path()),
        _ => None,
    }));
    let mut differences = String::new();
    let processes = match spec.init {
        Init::Payload | Init::Boot => vec![(Actor::Child, container.id())],
        Init::Stub => vec![(Actor::Child, container.id()), (Actor::Payload, child_of(container.id()))],
    };
    for (actor, pid) in processes {
        let runs = actor == Actor::Payload || spec.init == Init::Payload;
        if runs {
            program::await_exec(pid);
        }
        let look = || {
            let [mut linux, mut model] =
                [state::of_linux(pid, order), state::of_model(model.process(actor).unwrap(), embedder, order)];
            match (runs && asks(spec)).then(|| program::answers(pid)).flatten() {
                Some(answers) => state::told(&mut linux, &mut model, &answers, &stand.outside),
                None => state::untold(&mut model),
            }
            if spec.namespaces.pid.is_joined() {
                linux.remove("pid");
                model.remove("pid");
            }
            state::differences(&linux, &model)
        };
        let mut differs = look();
        // A start is over before a stub init has let go of the last of it.
        let end = Instant::now() + Duration::from_secs(2);
        while !differs.is_empty() && !runs && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
            differs = look();
        }
        if !differs.is_empty() {
            differences += &format!("{actor:?}\n{differs}");
        }
    }
    if stand.cards.is_some() {
        differences += &networks::differences(&model, container.id());
    }
    drop(container);
    if differences.is_empty() { Verdict::Same } else { Verdict::Differs(differences) }
}
