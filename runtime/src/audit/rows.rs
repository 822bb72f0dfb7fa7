//! Rows that follow from one look at the holdings or the report.

use skep_sys::abi::{CAPABILITY_NAMES, CapabilitySet, Namespaces, landlock};

use super::holdings::Holdings;
use super::{Area, Rows};
use crate::plan::Plan;
use crate::profile;
use crate::report::Outcome;
use crate::spec::{Spec, Stream};

pub(super) fn identity(holdings: &Holdings, plan: &Plan, rows: &mut Rows) {
    let area = Area::Identity;
    let uid = holdings.uid;
    let outside = match holdings.outside(uid) {
        Some(0) => format!("uid {uid}, which is the host's root"),
        Some(outside) => format!("uid {uid}, outside {outside}"),
        None => format!("uid {uid}, outside nobody"),
    };
    if !holdings.own_user() {
        let (tenths, why) = match uid {
            0 => (60, "root inside is root outside: one open file or device of the host's is enough"),
            _ => (20, "the id is one of the host's: the host's files and processes of that id are its own"),
        };
        rows.add(area, "user namespace", format!("the caller's; {outside}"), tenths, why);
    } else {
        rows.add(area, "user namespace", format!("its own; {outside}"), 0, "root inside has no power outside");
        let ids: u64 = holdings.map.iter().map(|[_, _, count]| u64::from(*count)).sum();
        let (holds, tenths, why) = if holdings.maps_root() {
            ("the host's root is among them", 50, "some id inside owns the host's files, wherever it reaches them")
        } else if ids <= 1 {
            ("the caller's own", 5, "whatever of the caller's it reaches, it has the caller's rights on")
        } else if holdings.map.len() > 1 {
            ("the caller's own, and a range", 5, "whatever of the caller's it reaches, it has the caller's rights on")
        } else {
            ("a range of its own", 0, "no file and no process of the host has these ids")
        };
        rows.add(area, "ids", format!("{ids}: {holds}"), tenths, why);
    }
    if holdings.no_new_privs {
        rows.add(area, "new privileges", "none by any exec", 0, "set-user-id programs give nothing");
    } else {
        let tenths = if holdings.own_user() { 10 } else { 30 };
        rows.add(area, "new privileges", "by set-user-id programs", tenths, "any such program of the root is a way up");
    }
    if let Some(Outcome::Unsupported(why)) = plan.report().of("supplementary groups") {
        rows.add(area, "groups", "the caller's", 5, why);
    }
}

/// Capabilities that open the same sort of door: what they are worth over the
/// container's own namespaces, and over the host.
struct Class {
    item: &'static str,
    numbers: &'static [u8],
    own: u8,
    host: u8,
    why: &'static str,
}

#[rustfmt::skip]
const CLASSES: &[Class] = &[
    Class { item: "administration", numbers: &[21], own: 30, host: 90,
        why: "CAP_SYS_ADMIN mounts, unmounts what is masked, and reaches most of the kernel" },
    Class { item: "the machine", numbers: &[16, 17, 20, 22, 25, 26, 32, 33, 34, 35, 36, 38, 39], own: 5, host: 90,
        why: "kernel code, ports, clock, logs, security modules: of no use in a user namespace, the host without" },
    Class { item: "files", numbers: &[0, 1, 2, 3, 4, 9, 18, 27, 28, 31], own: 3, host: 30,
        why: "every file that it reaches, whatever the permissions" },
    Class { item: "processes", numbers: &[5, 6, 7, 8, 14, 15, 19, 23, 24, 40], own: 3, host: 20,
        why: "other processes, other ids, and beyond its limits" },
    Class { item: "network", numbers: &[10, 11, 12, 13], own: 5, host: 10,
        why: "raw packets, filters and interfaces: much kernel code; with the host's network, the host's" },
    Class { item: "audit", numbers: &[29, 30, 37], own: 1, host: 10,
        why: "the host's audit log" },
];

/// `CHOWN KILL`, in the kernel's order.
fn names(set: CapabilitySet) -> String {
    let name = |number: u8| match CAPABILITY_NAMES.get(usize::from(number)) {
        Some(name) => name.trim_start_matches("CAP_").to_owned(),
        None => number.to_string(),
    };
    (0..64).filter(|number| set.has(*number)).map(name).collect::<Vec<_>>().join(" ")
}

pub(super) fn capabilities(holdings: &Holdings, rows: &mut Rows) {
    let held = holdings.held();
    let host_network = !holdings.has(Namespaces::NETWORK);
    let mut left = held;
    let mut row = |class: &Class, set: CapabilitySet| {
        let item = format!("capabilities over {}", class.item);
        if set == CapabilitySet::EMPTY {
            return rows.add(Area::Capabilities, item, "none", 0, "not in the bounding set, or out of its reach");
        }
        let tenths = match holdings.own_user() {
            true => class.own,
            false if class.item == "network" && host_network => 40,
            false => class.host,
        };
        rows.add(Area::Capabilities, item, names(set), tenths, class.why);
    };
    for class in CLASSES {
        let of_class = class.numbers.iter().fold(CapabilitySet::EMPTY, |set, number| set.with(*number));
        row(class, CapabilitySet(held.0 & of_class.0));
        left.0 &= !of_class.0;
    }
    // Of a later kernel: names are not known, so nothing good is assumed.
    if left != CapabilitySet::EMPTY {
        let unknown =
            Class { item: "what is not known here", numbers: &[], own: 10, host: 50, why: "of a later kernel" };
        row(&unknown, left);
    }
    let why = match holdings.rootless() {
        true => "root gains nothing by an exec",
        false => "root has the bounding set after every exec: it is counted as held",
    };
    rows.add(Area::Capabilities, "securebits", holdings.securebits.to_string(), 0, why);
}

pub(super) fn namespaces(holdings: &Holdings, rows: &mut Rows) {
    let (network, reached) = match holdings.scoped & landlock::ABSTRACT_UNIX_SOCKET {
        0 => (40, "interfaces, local services and abstract sockets of the host are open to it"),
        _ => (35, "interfaces and local services of the host are open to it"),
    };
    for (kind, name, tenths, why) in [
        (Namespaces::PID, "pid", 40, "it sees, signals and may trace processes of the host with its ids"),
        (Namespaces::NETWORK, "network", network, reached),
        (Namespaces::IPC, "ipc", 20, "shared memory and message queues of the host's are open to it"),
        (Namespaces::CGROUP, "cgroup", 5, "it sees where in the host's tree it is"),
        (Namespaces::UTS, "uts", 3, "it sees the host's name, and sets it with CAP_SYS_ADMIN"),
        (Namespaces::TIME, "time", 0, "the host's uptime shows; a namespace of its own would change nothing else"),
    ] {
        let item = format!("namespace {name}");
        if holdings.own.has(kind) {
            rows.add(Area::Namespaces, item, "its own", 0, "nobody else is in it");
        } else if holdings.joined.has(kind) {
            rows.add(Area::Namespaces, item, "another's", tenths / 4, "whoever is in it, is in reach");
        } else {
            rows.add(Area::Namespaces, item, "the caller's", tenths, why);
        }
    }
}

/// What Landlock takes away; of its scopes the network's row knows.
pub(super) fn restrictions(plan: &Plan, rows: &mut Rows) {
    for (item, why) in [
        ("landlock files", "files without a rule are out of its reach"),
        ("landlock tcp", "ports without a rule are out of its reach"),
        ("landlock sockets", "abstract sockets outside are out of its reach"),
        ("landlock signals", "processes outside cannot be signalled"),
    ] {
        if let Some(Outcome::Applied(value)) = plan.report().of(item) {
            rows.add(Area::Host, item, value, 0, why);
        }
    }
}

pub(super) fn host(plan: &Plan, spec: &Spec, rows: &mut Rows) {
    let area = Area::Host;
    for (item, on_off, on_unsupported) in
        [("process view", 0, 0), ("sysfs", 10, 10), ("masks", 20, 20), ("keyring", 5, 0)]
    {
        // The process view is the pid namespace's, and scored there.
        match plan.report().of(item) {
            Some(Outcome::Applied(value)) => rows.add(area, item, value, 0, "nothing of the host's that matters"),
            Some(Outcome::Off(why)) => rows.add(area, item, "the host's", on_off, why),
            Some(Outcome::Unsupported(why)) => rows.add(area, item, "not restricted", on_unsupported, why),
            None => {}
        }
    }
    if let Some(Outcome::Applied(path)) = plan.report().of("registry") {
        rows.add(area, "registry", path, 0, "a file of the host that only this user can read");
    }
    if let Some(Outcome::Applied(names)) = plan.report().of("devices") {
        let usual = |name: &str| profile::NODES.iter().any(|node| node.name == name);
        let (tenths, why) = if names.split(' ').all(usual) {
            (0, "bytes and randomness; no hardware")
        } else {
            (40, "a device of the host's: what it gives, and the code of its driver")
        };
        rows.add(area, "devices", names, tenths, why);
    }
    streams(spec, rows);
}

fn streams(spec: &Spec, rows: &mut Rows) {
    let area = Area::Host;
    let count = |kind| spec.stdio.iter().filter(|stream| **stream == kind).count();
    let given = count(Stream::Given);
    let kinds = [
        (given, format!("{given} of the caller's")),
        (count(Stream::Terminal), "a terminal of its own".to_owned()),
        (count(Stream::Piped), "pipes".to_owned()),
        (count(Stream::Null), "/dev/null".to_owned()),
    ];
    let holds: Vec<String> = kinds.into_iter().filter(|(count, _)| *count > 0).map(|(_, kind)| kind).collect();
    let (tenths, why) = if given > 0 {
        (10, "files of the caller's can be opened again with other modes, and a terminal takes typed input")
    } else if count(Stream::Terminal) > 0 {
        (1, "of its own devpts; what it prints may hold control sequences for whatever shows it")
    } else {
        (0, "nothing of the caller's to open again")
    };
    rows.add(area, "standard streams", holds.join(", "), tenths, why);
    for descriptor in &spec.descriptors {
        let (holds, tenths, why) = if descriptor.danger_directory {
            ("whatever the caller has opened", 60, "by a directory it reaches the host's tree, `..` included")
        } else if descriptor.listen {
            ("a socket of the caller's", 5, "it speaks to whoever connects, from outside of its network")
        } else {
            ("a file of the caller's", 10, "it can use it as it was opened, and perhaps open it again")
        };
        rows.add(area, format!("descriptor {}", descriptor.number), holds, tenths, why);
    }
}

pub(super) fn limits(plan: &Plan, rows: &mut Rows) {
    for (item, tenths, why) in [
        ("memory", 5, "it can take all memory of the machine"),
        ("cpu", 3, "it can take all processors"),
        ("pids", 10, "it can take all process ids"),
    ] {
        let name = format!("limit {item}");
        match plan.report().of(&name) {
            Some(Outcome::Applied(value)) => rows.add(Area::Limits, name, value, 0, "held by the kernel"),
            _ => rows.add(Area::Limits, name, "none", tenths, why),
        }
    }
    if let Some(Outcome::Applied(score)) = plan.report().of("out-of-memory score") {
        let (tenths, why) = match score.starts_with('-') {
            true => (5, "when memory runs out, the kernel kills processes of others before it"),
            false => (0, "when memory runs out, it is no later than others"),
        };
        rows.add(Area::Limits, "out-of-memory score", score, tenths, why);
    }
    for item in plan.report().items() {
        let other = item.name.strip_prefix("limit ").filter(|name| !["memory", "cpu", "pids"].contains(name));
        if let (Some(_), Outcome::Applied(value)) = (other, &item.outcome) {
            rows.add(Area::Limits, item.name.clone(), value, 0, "held by the kernel");
        }
    }
    if let Some(Outcome::Applied(value)) = plan.report().of("scheduling") {
        let (tenths, why) = match value.split_once(':') {
            Some(_) => (10, "in real time it keeps a processor from all others"),
            None if value.contains("nice -") => (3, "it gets more time than others"),
            None => (0, "it gets no more time than others"),
        };
        rows.add(Area::Limits, "scheduling", value, tenths, why);
    }
    if let Some(Outcome::Applied(value)) = plan.report().of("delegation") {
        rows.add(
            Area::Limits,
            "cgroup delegation",
            value,
            1,
            "it can make groups of its own, within the limits of this one",
        );
    }
}
