//! What a process is, read from Linux and from a model: a text for each question.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use skep::sys::abi::{Namespaces, Resource};
use skep::sys::{Ids, Process};
use skep_tests::field;

use crate::program::Answers;

/// Answers by question. One that a side cannot answer is left out by both, here:
///
/// | left out | why |
/// |---|---|
/// | securebits, dumpable, session keyring and hostname of a stub init, and of a payload whose filter or owner forbids to ask | only a process itself is told |
/// | the session keyring where the plan joins none | where the embedder has none either, the kernel gives that of the user in its namespace |
/// | domain name, personality, priority of input and output, offsets of clocks, sysctls | not asked yet |
/// | paths of descriptors | the kernel shows them from the root of whoever opened them |
/// | arguments and environment of the stub init | they are those of stage B, which a model plays without an exec |
/// | descriptors of a stub init in a namespace without root, for an ordinary user | its `/proc` directory is the host's root's |
/// | the number of a process in the host's namespace, and in one that is joined | whatever was free |
/// | numbers of mounts, devices and peer groups | the kernel's own count; what is the same as what is compared |
/// | options of an overlay but `ro`, `inode64` | an overlay names layers as who made it did; a kernel is built with the other or not |
pub(crate) type State = BTreeMap<&'static str, String>;

const KINDS: &[(&str, Namespaces)] = &[
    ("cgroup", Namespaces::CGROUP),
    ("ipc", Namespaces::IPC),
    ("mnt", Namespaces::MOUNT),
    ("net", Namespaces::NETWORK),
    ("pid", Namespaces::PID),
    ("time", Namespaces::TIME),
    ("user", Namespaces::USER),
    ("uts", Namespaces::UTS),
];

/// A process of Linux, beside this one.
pub(crate) fn of_linux(pid: u32, order: Order) -> State {
    let place = format!("/proc/{pid}");
    let read = |name: &str| fs::read_to_string(format!("{place}/{name}")).unwrap_or_default();
    let status = read("status");
    let maps = ["uid_map", "gid_map"].map(|name| rows(&read(name)));
    let seen = |ids: &str, map: usize| -> Vec<u32> {
        ids.split_whitespace().map(|id| inside(&maps[map], id.parse().unwrap_or(u32::MAX))).collect()
    };
    let new = |name: &str| {
        fs::read_link(format!("{place}/ns/{name}")).ok() != fs::read_link(format!("/proc/thread-self/ns/{name}")).ok()
    };
    let last = |name: &str| field(&status, name).split_whitespace().last().unwrap_or_default().to_owned();
    let mut state = State::from([
        ("uid", format!("{:?}", seen(field(&status, "Uid"), 0))),
        ("gid", format!("{:?}", seen(field(&status, "Gid"), 1))),
        ("groups", format!("{:?}", sorted(seen(field(&status, "Groups"), 1)))),
        ("id maps", format!("{maps:?}")),
        ("no_new_privs", field(&status, "NoNewPrivs").to_owned()),
        ("seccomp", format!("{} {}", field(&status, "Seccomp"), field(&status, "Seccomp_filters"))),
        ("umask", field(&status, "Umask").to_owned()),
        ("pid", if new("pid") { last("NSpid") } else { String::new() }),
        ("new namespaces", KINDS.iter().filter(|(name, _)| new(name)).map(|row| row.0).collect::<Vec<_>>().join(" ")),
        ("limits", format!("{:?}", limits(&pid.to_string()))),
        ("working directory", fs::read_link(format!("{place}/cwd")).unwrap_or_default().display().to_string()),
        ("cgroup", read("cgroup").lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()),
        ("lo is up", read("net/fib_trie").contains("127.0.0.1").to_string()),
        ("leads its session", (last("NSsid") == last("NSpid")).to_string()),
        ("out-of-memory score", read("oom_score_adj").trim().to_owned()),
        ("processors", format!("{:?}", numbers(field(&status, "Cpus_allowed_list")))),
        ("scheduling", scheduling(&read("stat"))),
        ("mounts", mounts(read("mountinfo").lines(), order)),
    ]);
    // Stage B, which stays as a stub init, says "skep-init".
    let words = [("arguments", "cmdline"), ("environment", "environ")];
    for (name, words) in words.into_iter().filter(|_| !read("cmdline").starts_with("skep-init")) {
        let bytes = fs::read(format!("{place}/{words}")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        state.insert(name, format!("{:?}", text.split_terminator('\0').collect::<Vec<_>>()));
    }
    if let Some(answer) = descriptors(Path::new(&place)) {
        state.insert("descriptors", answer);
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn", "SigCgt"] {
        state.insert(name, field(&status, name).to_owned());
    }
    state
}

/// A process of a model, beside its embedder.
pub(crate) fn of_model(process: Process<'_>, host: Process<'_>, order: Order) -> State {
    let credentials = process.credentials();
    let all = |ids: Ids| format!("{:?}", [ids.real, ids.effective, ids.saved, ids.fs]);
    let new = KINDS.iter().filter(|row| process.namespace(row.1) != host.namespace(row.1));
    let limit = |number: usize| process.limit(Resource(number as u8)).unwrap_or_default();
    let limits: Vec<(u64, u64)> = (0..Resource::NAMES.len()).map(limit).collect();
    let (blocked, ignored) = process.signals();
    // What the plan does not set is inherited.
    let own = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (mode, filters) = (if credentials.filters > 0 { 2 } else { 0 }, credentials.filters);
    let mut state = State::from([
        ("uid", all(credentials.uid)),
        ("gid", all(credentials.gid)),
        ("groups", format!("{:?}", sorted(credentials.groups.clone()))),
        ("id maps", format!("{:?}", process.id_maps())),
        ("no_new_privs", u8::from(credentials.no_new_privs).to_string()),
        ("seccomp", format!("{mode} {filters}")),
        ("umask", format!("{:04o}", process.umask())),
        (
            "pid",
            if process.namespace(Namespaces::PID) == host.namespace(Namespaces::PID) {
                String::new()
            } else {
                process.pid().to_string()
            },
        ),
        ("new namespaces", new.map(|row| row.0).collect::<Vec<_>>().join(" ")),
        ("limits", format!("{limits:?}")),
        ("hostname", process.hostname()),
        ("securebits", format!("{:x}", credentials.securebits.0)),
        ("dumpable", credentials.dumpable.to_string()),
        ("new session keyring", (process.keyring() != host.keyring()).to_string()),
        ("working directory", process.working_directory().unwrap_or_default()),
        ("cgroup", process.cgroup()),
        ("lo is up", process.link_is_up("lo").to_string()),
        ("leads its session", process.leads_session().to_string()),
        (
            "out-of-memory score",
            process.note("oom_score_adj").unwrap_or_else(|| own("oom_score_adj")).trim().to_owned(),
        ),
        (
            "processors",
            process
                .note("affinity")
                .unwrap_or_else(|| format!("{:?}", numbers(field(&own("status"), "Cpus_allowed_list")))),
        ),
        ("scheduling", process.note("scheduling").map_or_else(|| scheduling(&own("stat")), |note| fair(&note))),
        ("mounts", mounts(process.mountinfo().iter().map(String::as_str), order)),
    ]);
    let kind = |kind: &'static str| if kind == "socketpair" { "wire" } else { kind };
    let shown = process.descriptors().into_iter().map(|file| (file.number, kind(file.kind), file.close_on_exec));
    state.insert("descriptors", format!("{:?}", shown.collect::<Vec<_>>()));
    if let Some(executed) = process.exec() {
        state.insert("arguments", format!("{:?}", executed.arguments));
        state.insert("environment", format!("{:?}", executed.environment));
    }
    for (name, set) in [
        ("CapInh", credentials.inheritable),
        ("CapPrm", credentials.permitted),
        ("CapEff", credentials.effective),
        ("CapBnd", credentials.bounding),
        ("CapAmb", credentials.ambient),
    ] {
        state.insert(name, format!("{:016x}", set.0));
    }
    for (name, set) in [("SigBlk", blocked), ("SigIgn", ignored), ("SigCgt", process.caught_signals())] {
        state.insert(name, format!("{:016x}", set));
    }
    state
}

/// How many processes have told.
pub(crate) static TOLD: AtomicU32 = AtomicU32::new(0);

/// What a process was told itself. An error (a filter) is no answer.
pub(crate) fn told(linux: &mut State, model: &mut State, answers: &Answers, outside: &Answers) {
    TOLD.fetch_add(1, Ordering::Relaxed);
    linux.insert("hostname", answers.hostname.clone());
    let joined = model.get("new session keyring").is_some_and(|new| new == "true");
    let both = joined && answers.keyring > 0 && outside.keyring > 0;
    for (name, answer) in [
        ("securebits", (answers.securebits >= 0).then(|| format!("{:x}", answers.securebits))),
        ("dumpable", (answers.dumpable >= 0).then(|| (answers.dumpable == 1).to_string())),
        ("new session keyring", both.then(|| (answers.keyring != outside.keyring).to_string())),
    ] {
        match answer {
            Some(answer) => drop(linux.insert(name, answer)),
            None => drop(model.remove(name)),
        }
    }
}

/// Of a process that cannot tell.
pub(crate) fn untold(model: &mut State) {
    for name in ["hostname", "securebits", "dumpable", "new session keyring"] {
        model.remove(name);
    }
}

/// What differs, a line each.
pub(crate) fn differences(linux: &State, model: &State) -> String {
    let mut names: BTreeSet<&str> = linux.keys().chain(model.keys()).copied().collect();
    if !skep_tests::is_root() && !linux.contains_key("descriptors") {
        names.remove("descriptors");
    }
    let line = |name: &str| {
        let [one, other] = [linux, model].map(|side| side.get(name).map_or("(no answer)", String::as_str));
        // Of tables the lines that are of one side only.
        let [ours, theirs] = [one, other].map(|side| side.lines().collect::<BTreeSet<_>>());
        let only = |side: &str, lines: &BTreeSet<&str>, others: &BTreeSet<&str>| -> String {
            lines.difference(others).map(|line| format!("  {side} {line}\n")).collect()
        };
        let (linux, model) = (only("linux", &ours, &theirs), only("model", &theirs, &ours));
        (one != other).then(|| format!("{name}:\n{linux}{model}"))
    };
    names.into_iter().filter_map(line).collect()
}

pub(crate) fn ids(text: &str) -> Ids {
    let mut ids = text.split_whitespace().map(|id| id.parse().unwrap());
    let mut next = || ids.next().unwrap();
    Ids { real: next(), effective: next(), saved: next(), fs: next() }
}

pub(crate) fn mask(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

/// Soft and hard, by the number of the resource: the order of `/proc/PID/limits`
/// is the kernel's own (`lnames` in `fs/proc/base.c`), which is that.
pub(crate) fn limits(pid: &str) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let value = |word: &str| if word == "unlimited" { u64::MAX } else { word.parse().unwrap() };
    text.lines()
        .skip(1)
        .map(|line| {
            let mut words = line.get(26..).unwrap_or_default().split_whitespace();
            let mut next = || value(words.next().unwrap());
            (next(), next())
        })
        .collect()
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

/// The lines of an id map.
fn rows(map: &str) -> Vec<[u32; 3]> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
        [(); 3].map(|()| words.next().unwrap())
    };
    map.lines().map(line).collect()
}

/// What a namespace calls an id of the host.
fn inside(map: &[[u32; 3]], id: u32) -> u32 {
    let found = map.iter().find_map(|[inside, kernel, count]| {
        id.checked_sub(*kernel).filter(|offset| offset < count).map(|offset| inside + offset)
    });
    found.unwrap_or(65534)
}

/// Numbers, kinds, and whether exec closes them.
fn descriptors(process: &Path) -> Option<String> {
    const O_PATH: u32 = 0o10_000_000;
    const O_CLOEXEC: u32 = 0o2_000_000;
    let one = |number: i32| {
        let target = fs::read_link(process.join(format!("fd/{number}"))).unwrap_or_default().display().to_string();
        let info = fs::read_to_string(process.join(format!("fdinfo/{number}"))).unwrap_or_default();
        let flags = u32::from_str_radix(field(&info, "flags"), 8).unwrap_or(0);
        let kind = match target.split([':', '[']).next().unwrap_or_default() {
            "pipe" | "socket" => "wire",
            "anon_inode" if target.contains("signalfd") => "signalfd",
            "anon_inode" if target.contains("pidfd") => "pidfd",
            "anon_inode" if target.contains("seccomp") => "seccomp-listener",
            _ if target.starts_with("/memfd:") => "memfd",
            // To the model it is one of the files of a devpts; and of this end the kernel
            // shows for ever that it was opened close-on-exec (`ptm_open_peer`).
            _ if target.starts_with("/dev/pts/") => return (number, "file", false),
            _ if flags & O_PATH != 0 => "path",
            _ => "file",
        };
        (number, kind, flags & O_CLOEXEC != 0)
    };
    let entries = match fs::read_dir(process.join("fd")) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
        entries => entries.unwrap().flatten(),
    };
    let numbers: BTreeSet<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    Some(format!("{:?}", numbers.into_iter().map(one).collect::<Vec<_>>()))
}

/// Whether the order of mounts can be compared. It is that in which they were made;
/// of a host's tree with several mounts below, that in which the kernel copies them,
/// which is the order in which they came to their places: no file shows that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Known,
    Unknown,
}

impl Order {
    /// For a Spec that binds these.
    pub(crate) fn of<'p>(mut sources: impl Iterator<Item = &'p Path>) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // Before Linux 6.8 the order is that of coming to the place, which a start does in
        // another one than that of making.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut version = release.split('.').map(|part| part.parse().unwrap_or(0));
        if (version.next(), version.next()) < (Some(6), Some(8)) {
            return Self::Unknown;
        }
        let points: Vec<&str> = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        let below = |source: &Path| {
            let source = fs::canonicalize(source).unwrap_or_default();
            points.iter().filter(|point| Path::new(point) != source && Path::new(point).starts_with(&source)).count()
        };
        if sources.any(|source| below(source) > 1) { Self::Unknown } else { Self::Known }
    }
}

/// Policy, nice value the wrong way round, priority: as the op has them.
fn scheduling(stat: &str) -> String {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let words: Vec<&str> = after.split_whitespace().collect();
    let number = |field: usize| words.get(field - 3).and_then(|word| word.parse::<i64>().ok()).unwrap_or_default();
    fair(&format!("{} {} {}", number(41), 20 - number(19), number(40)))
}

/// Other policies than `other` and `batch` leave the nice value as the test was
/// started with (sched_setattr(2), `sched_nice`).
fn fair(scheduling: &str) -> String {
    match scheduling.split(' ').collect::<Vec<_>>()[..] {
        [policy @ ("0" | "3"), nice, priority] => format!("{policy} {nice} {priority}"),
        [policy, _, priority] => format!("{policy} - {priority}"),
        _ => scheduling.to_owned(),
    }
}

/// A list such as `0-1,4`.
pub(crate) fn numbers(list: &str) -> Vec<u32> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        first.parse().unwrap()..=last.parse::<u32>().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

/// The table of mounts, with the numbers of mounts, devices and peer groups counted
/// from their first appearance.
fn mounts<'l>(lines: impl Iterator<Item = &'l str>, order: Order) -> String {
    let mut numbers = BTreeMap::new();
    let mut number = |kind: &str, name: &str| {
        let next = numbers.len();
        *numbers.entry(format!("{kind} {name}")).or_insert(next)
    };
    let mut lines: Vec<&str> = lines.collect();
    if order == Order::Unknown {
        lines.sort_by_key(|line| line.split(' ').nth(4));
    }
    let mut text = String::new();
    for line in lines {
        let (before, after) = line.split_once(" - ").unwrap_or((line, ""));
        let mut before = before.split(' ');
        let mut next = || before.next().unwrap_or_default();
        let (id, parent, device, root, point, flags) = (next(), next(), next(), next(), next(), next());
        let (id, device) = (number("mount", id), number("device", device));
        // The parent of the root is not of the table.
        let parent = if point == "/" { 0 } else { number("mount", parent) };
        let tags: Vec<String> = before
            .map(|tag| match tag.split_once(':') {
                Some((kind, group)) => format!("{kind}:{}", number("group", group)),
                None => tag.to_owned(),
            })
            .collect();
        let mut after = after.split(' ');
        let (kind, source) = (after.next().unwrap_or_default(), after.next().unwrap_or_default());
        // An overlay's name the layers by the paths of who made it.
        let shown = |option: &&str| *option != "inode64" && (kind != "overlay" || ["ro", "rw"].contains(option));
        let options: Vec<&str> = after.next().unwrap_or_default().split(',').filter(shown).collect();
        text += &format!(
            "\n    {id} on {parent} device {device} {root} {point} {flags} {tags:?} {kind} {source} {}",
            options.join(",")
        );
    }
    text
}
