//! The judgement, on plans for a made-up host.

use super::*;
use crate::facts::Facts;
use crate::spec::{
    Bind, CapabilityList, Descriptor, Mount, MountKind, Namespace, Network, Profile, Stream, UserNamespace, Volatile,
    Want,
};
use skep_sys::abi::CapabilitySet;

fn audit(spec: &Spec) -> Audit {
    audit_by(spec, |_| ())
}

fn audit_by(spec: &Spec, change: impl Fn(&mut Facts)) -> Audit {
    let mut spec = spec.clone();
    spec.command = vec!["true".into()];
    let mut facts = Facts::example(&spec);
    change(&mut facts);
    let plan = crate::compile(&spec, &facts).unwrap();
    Audit::of(&spec, &plan)
}

fn root(facts: &mut Facts) {
    let all = CapabilitySet::up_to(40);
    (facts.uid, facts.gid, facts.capabilities, facts.bounding) = (0, 0, all, all);
    facts.free_range = Some(crate::spec::IdRange { base: 1 << 20, count: 1 << 16 });
    facts.range_lock = true;
}

fn tenths(audit: &Audit, item: &str) -> u8 {
    audit.row(item).unwrap_or_else(|| panic!("no row {item}: {:?}", audit.rows)).exposure.tenths()
}

#[test]
fn a_strict_container_is_closed_or_nearly() {
    let own = audit(&Spec::default());
    assert!(own.verdict() <= Verdict::Tight, "{} {:#?}", own.exposure(), own.rows);
    let spec = Spec { user_namespace: UserNamespace::Pick, ..Spec::default() };
    let picked = audit_by(&spec, root);
    assert_eq!(tenths(&own, "devices"), 0, "{:?}", own.row("devices"));
    assert_eq!(tenths(&picked, "ids"), 0, "{:?}", picked.row("ids"));
    assert!(picked.exposure() < own.exposure(), "a range is better than the caller's own id");
    for row in own.rows.iter().filter(|row| row.area == Area::Calls) {
        assert!(row.exposure.tenths() <= 3, "{row:?}");
    }
}

#[test]
fn rows_have_names_of_their_own_and_stand_by_area() {
    for profile in [Profile::Strict, Profile::Nspawn] {
        let mut spec = Spec::of(profile);
        spec.root.path = "/srv/tree".into();
        let audit = audit_by(&spec, root);
        assert!(audit.rows.is_sorted_by_key(|row| row.area));
        for (index, row) in audit.rows.iter().enumerate() {
            assert!(!audit.rows[..index].iter().any(|other| other.item == row.item), "{}", row.item);
            assert!(!row.why.is_empty() && !row.holds.is_empty(), "{row:?}");
        }
        let json = audit.to_json();
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(audit.rows.len()));
    }
}

#[test]
fn a_user_that_is_named_twice_is_one() {
    let mut spec = Spec::of(Profile::Nspawn);
    spec.root.path = "/srv/tree".into();
    spec.user_namespace = UserNamespace::Pick;
    spec.bind_user.names = vec!["ann".into(), "joe".into(), "ann".into()];
    let audit = audit_by(&spec, root);
    let users: Vec<_> =
        audit.rows.iter().filter(|row| row.item.starts_with("host user ")).map(|row| &row.item).collect();
    assert_eq!(users, ["host user ann", "host user joe"]);
}

#[test]
fn nspawns_defaults_without_a_user_namespace_are_open() {
    let mut spec = Spec::of(Profile::Nspawn);
    spec.root.path = "/srv/tree".into();
    let nspawn = audit_by(&spec, root);
    assert_eq!(nspawn.verdict(), Verdict::Open);
    assert_eq!(tenths(&nspawn, "capabilities over administration"), 90);
    assert!(nspawn.row("user namespace").unwrap().holds.contains("host's root"));
    spec.user_namespace = UserNamespace::Pick;
    assert!(audit_by(&spec, root).exposure() < nspawn.exposure());
}

/// Whatever a Spec gives away, its row goes up, and the whole never goes down.
#[test]
fn each_step_away_shows_in_its_row() {
    type Change = fn(&mut Spec);
    let steps: &[(&str, u8, Change)] = &[
        ("new privileges", 10, |spec| spec.no_new_privileges = false),
        ("capabilities over administration", 30, |spec| {
            spec.capabilities.bounding = CapabilityList(CapabilitySet::EMPTY.with(21));
        }),
        ("capabilities over the machine", 5, |spec| {
            spec.capabilities.bounding = CapabilityList(CapabilitySet(u64::MAX));
        }),
        ("calls that make namespaces", 3, |spec| spec.seccomp = Want::Off),
        ("calls that program the kernel", 15, |spec| spec.seccomp = Want::Off),
        ("io_uring", 10, |spec| spec.seccomp = Want::Off),
        ("rare sockets", 8, |spec| spec.seccomp = Want::Off),
        ("listener", 1, |spec| spec.system_calls.notify = ["mkdir".into(), "mkdirat".into()].into()),
        ("io_uring", 3, |spec| spec.system_calls.notify = ["io_uring_setup".into()].into()),
        ("32-bit programs", 5, |spec| spec.seccomp = Want::Off),
        #[cfg(target_arch = "x86_64")]
        ("32-bit programs", 5, |spec| {
            spec.system_calls.architectures = Some([crate::spec::Architecture::X86].into());
        }),
        ("namespace network", 35, |spec| spec.network = Network::Host),
        ("namespace network", 40, |spec| {
            (spec.network, spec.landlock.abstract_sockets) = (Network::Host, Some(Want::Off));
        }),
        ("namespace ipc", 20, |spec| spec.namespaces.ipc = Namespace::Host),
        ("keyring", 5, |spec| spec.keyring = Want::Off),
        ("standard streams", 10, |spec| spec.stdio[0] = Stream::Given),
        ("standard streams", 1, |spec| {
            (spec.stdio[1], spec.terminal) = (Stream::Terminal, Some(crate::spec::TerminalSize::default()));
        }),
        ("descriptor 5", 10, |spec| spec.descriptors = vec![Descriptor::new(5)]),
        ("descriptor 5", 60, |spec| {
            spec.descriptors = vec![Descriptor { danger_directory: true, ..Descriptor::new(5) }];
        }),
        ("root", 5, |spec| (spec.root.path, spec.root.volatile) = ("/srv".into(), Volatile::No)),
        ("bind /data", 5, |spec| spec.mounts.push(mount("/srv", false))),
        ("bind /data", 40, |spec| spec.mounts.push(mount("/etc", false))),
        ("bind /data", 15, |spec| spec.mounts.push(mount("/etc", true))),
        ("bind /data", 1, |spec| spec.mounts.push(mount("/srv", true))),
        ("bind /data", 90, |spec| spec.mounts.push(mount("/run/docker.sock", true))),
    ];
    let closed = audit(&Spec::default());
    for (item, expected, change) in steps {
        let mut spec = Spec::default();
        change(&mut spec);
        let open = audit(&spec);
        assert_eq!(tenths(&open, item), *expected, "{item}");
        assert!(open.exposure() > closed.exposure(), "{item}");
        assert!(closed.row(item).is_none_or(|row| row.exposure.tenths() < *expected), "{item}");
        let found = closed.differences(&open);
        assert!(found.iter().any(|pair| pair.after.is_some_and(|row| row.item == *item)), "{item}: {found:?}");
    }
}

fn mount(source: &str, read_only: bool) -> Mount {
    Mount {
        target: "/data".into(),
        kind: MountKind::Bind(Bind { source: source.into(), read_only, ..Bind::default() }),
    }
}

#[test]
fn limits_and_their_absence() {
    let mut spec = Spec::default();
    (spec.resources.memory, spec.resources.memory_low) = (Some(64 << 20), Some(1 << 20));
    let limited = audit_by(&spec, |facts| {
        root(facts);
        facts.cgroups.legacy.insert("memory".into(), "/sys/fs/cgroup/memory".into());
    });
    assert_eq!(tenths(&limited, "limit memory"), 0);
    assert_eq!(tenths(&limited, "limit cpu"), 3);
    let low = limited.rows.iter().find(|row| row.item == "limit memory low").map(|row| row.holds.as_str());
    assert!(low.is_some_and(|holds| holds.contains("1048576")), "{low:?} {:?}", limited.rows);
}

#[test]
fn one_hole_is_the_whole() {
    let of = |tenths: &[u8]| combined(tenths.iter().map(|tenths| Exposure::of(*tenths))).tenths();
    assert_eq!(of(&[]), 0);
    assert_eq!(of(&[0, 0]), 0);
    assert_eq!(of(&[100, 0, 0]), 100);
    assert_eq!(of(&[50, 50]), 75);
    assert_eq!(of(&[1]), 1);
    assert!(of(&[1; 40]) > 30, "small rows add up");
    for extra in 0..=100 {
        assert!(of(&[30, 20, extra]) >= of(&[30, 20]), "no row lowers the whole");
    }
    assert_eq!(Exposure::of(75).to_string(), "7.5");
    assert_eq!(format!("{:>5}", Exposure::of(7)), "  0.7");
}

#[test]
fn the_same_audit_has_no_difference() {
    let one = audit(&Spec::default());
    assert!(one.differences(&one).is_empty());
    let mut spec = Spec::default();
    spec.mounts.push(mount("/srv", false));
    let two = audit(&spec);
    let found = one.differences(&two);
    assert_eq!(found.len(), 1);
    assert!(found[0].before.is_none() && found[0].to_json()["before"].is_null());
}

#[test]
fn memory_that_is_written_and_executed_has_a_row() {
    let denied = Spec { memory_deny_write_execute: Want::Require, ..Spec::default() };
    let item = "memory written and executed";
    assert_eq!((tenths(&audit(&Spec::default()), item), tenths(&audit(&denied), item)), (1, 0));
}

/// What another ABI opens beside the native one shows in the row of the call.
#[cfg(target_arch = "x86_64")]
#[test]
fn doors_of_another_abi_count() {
    use crate::spec::Architecture;
    let mut spec = Spec::default();
    spec.system_calls.architectures = Some([Architecture::X86, Architecture::X32].into());
    let strict = audit(&spec);
    assert_eq!(strict.row("32-bit programs").map(|row| row.holds.as_str()), Some("run: x86 x32"));
    assert_eq!(tenths(&strict, "rare sockets"), 0);
    spec.system_calls.danger_allow = ["socketcall".into()].into();
    assert!(tenths(&audit(&spec), "rare sockets") > 0, "its family lies in memory");
}
