//! Specs that somebody wrote: the profiles, and what the generated ones found.

use std::path::Path;

use skep::Spec;
use skep::dialect::{self, Format};
use skep::spec::{Init, Profile};
use skep_tests::{is_root, turn_to_start};

use crate::{Stand, Verdict, compare};

#[track_caller]
fn assert_same(stand: &Stand, name: &str, spec: &Spec) {
    match compare(stand, spec) {
        Verdict::Same => {}
        Verdict::NoPlan(why) => panic!("{name}: {why}"),
        Verdict::SameRefusal(why) => panic!("{name}: {why}"),
        Verdict::Differs(how) => panic!("{name}: {how}"),
    }
}

#[test]
fn profiles_and_inits() {
    let Some(_turn) = turn_to_start() else { return };
    let stand = Stand::new();
    for init in [Init::Stub, Init::Payload] {
        for profile in [Profile::Strict, Profile::Nspawn] {
            let mut spec = Spec::of(profile);
            stand.run_here(&mut spec);
            spec.init = init;
            if profile == Profile::Nspawn {
                spec.root.path = stand.tree.clone();
            }
            // As an ordinary user the one of systemd-nspawn needs more than there is.
            if is_root() || profile == Profile::Strict {
                assert_same(&stand, &format!("{profile:?} {init:?}"), &spec);
            }
        }
    }
}

/// What to expect of a case: the words of both sides' error, if any.
const STARTS: &str = "";

/// Each was a disagreement. `TREE` stands for the path of a root file system.
const FOUND: &[(&str, &str, &str)] = &[
    ("an exec goes into a new time namespace", r#"{"init": "payload", "namespaces": {"time": "new"}}"#, STARTS),
    (
        "a clock would be negative",
        r#"{"namespaces": {"time": "new", "time_offsets": {"monotonic": -1000000000}}}"#,
        "ERANGE",
    ),
    ("processors that are not there", r#"{"scheduling": {"affinity": "4000"}}"#, "EINVAL"),
    ("a program that Landlock does not name", r#"{"landlock": {"files": "require"}}"#, "EACCES"),
    (
        "a program that Landlock names",
        r#"{"landlock": {"files": "require", "paths": [{"path": "/pause", "access": ["execute", "read-file"]}]}}"#,
        STARTS,
    ),
    ("a directory in a devpts", r#"{"mounts": [{"target": "/dev/pts/a", "kind": {"tmpfs": {}}}]}"#, "EPERM"),
    ("sysctls of new namespaces", r#"{"sysctls": {"net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "10"}}"#, STARTS),
    (
        "an overlay shows the ids that its layers show",
        r#"{"root": {"path": "TREE", "volatile": "overlay", "ephemeral": true}, "resolv_conf": "delete"}"#,
        STARTS,
    ),
    (
        "a copy has its children in the order in which they came",
        r#"{"init": "payload", "root": {"path": "TREE", "volatile": "no"}, "timezone": "bind",
            "resolv_conf": "replace-static", "read_only": ["/etc"], "namespaces": {"cgroup": "host"}}"#,
        STARTS,
    ),
    ("blanks in mountinfo", r#"{"mounts": [{"target": "/a b\tc\nd\\e", "kind": {"tmpfs": {}}}]}"#, STARTS),
    ("a name of the host's processes", r#"{"init": "payload", "namespaces": {"pid": "host"}}"#, STARTS),
    ("a machine's own network", r#"{"profile": "nspawn", "network": "none"}"#, STARTS),
    ("no root inside", r#"{"user": {"ids": {"uid": 33, "gid": 33}}, "groups": [7]}"#, STARTS),
];

/// The same of interfaces, in a network of the test's own.
const INTERFACES: &[(&str, &str, &str)] = &[
    ("a bridge stays where it is", r#"{"links": {"moved": ["br0"]}}"#, "EINVAL"),
    (
        "all kinds at once",
        r#"{"machine": "web", "links": {"zone": "lan", "extra": ["x0:x1"], "macvlan": ["card1"], "moved": ["card0:lan"],
            "addresses": ["10.9.0.2/24", "fd09::2/64"], "ports": ["80:8080"], "hardware": "02:00:00:00:00:01"}}"#,
        STARTS,
    ),
    (
        "an address that is made up, and a name that is too long",
        r#"{"machine": "averyveryverylongname", "links": {"veth": true, "ports": ["127.0.0.1:80:8080"]}}"#,
        STARTS,
    ),
    (
        "both ends of a terminal are there before what was in their slots is closed",
        r#"{"profile": "nspawn", "terminal": {"rows": 24, "columns": 80}}"#,
        STARTS,
    ),
    ("a network that is given is that of the thread", r#"{"network": "given"}"#, STARTS),
];

#[test]
fn what_disagreed_once() {
    let Some(_turn) = turn_to_start() else { return };
    all(&Stand::new(), FOUND);
    skep_tests::apart(|| all(&Stand::with_cards(), INTERFACES));
}

fn all(stand: &Stand, cases: &[(&str, &str, &str)]) {
    for (name, text, expected) in cases {
        let text = text.replace("TREE", stand.tree.to_str().unwrap());
        let mut spec = dialect::read(Format::Json, Path::new(name), text.as_bytes(), Profile::Strict)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        stand.run_here(&mut spec);
        match compare(stand, &spec) {
            Verdict::Same => assert_eq!(*expected, STARTS, "{name}"),
            Verdict::SameRefusal(why) => assert!(expected.len() > 1 && why.contains(expected), "{name}: {why}"),
            Verdict::Differs(how) => panic!("{name}: {how}"),
            // Not for every user, and one not on every kernel.
            Verdict::NoPlan(why) => assert!(!is_root() || why.contains("this kernel"), "{name}: {why}"),
        }
    }
}
