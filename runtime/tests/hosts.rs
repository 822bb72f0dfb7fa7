//! The starts of the suite on hosts that are not as they should be: what lies there
//! is others', behind links, on mounts without programs, of ids that nobody has. A
//! start is refused and leaves nothing, or the payload holds what the Spec says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/starts.rs"]
mod starts;

use skep::Spec;
use skep::sys::abi::{CapabilitySet, MountAttrs, Propagation, TreeFlags};
use skep::sys::{Actor, At, Kernel as _, Model, Op, OwnedSlots, Stage as _};
use starts::{facts_on, on, payload, specs_for};

/// What the Specs of the suite name.
const NAMED: &[&str] =
    &["/data", "/data/file", "/layers/a", "/layers/b", "/changes/upper", "/srv/tree", "/srv/tree/usr"];

/// A host with what the suite names, and what is wrong with it.
type Host = (&'static str, fn(Model) -> Model, fn(Model) -> Model);

fn all(model: Model, change: impl Fn(Model, &str) -> Model) -> Model {
    NAMED.iter().fold(model, |model, path| change(model, path))
}

/// By root, whoever starts containers there.
fn with_attrs(mut model: Model, path: &std::ffi::CStr, set: MountAttrs) -> Model {
    let caller = model.process(Actor::Host).unwrap().credentials();
    let root = Model::new().process(Actor::Host).unwrap().credentials();
    model = model.credentials(&root);
    let op = Op::MountSetAttr {
        dir: At::Cwd,
        path,
        flags: TreeFlags::NONE,
        set,
        clear: MountAttrs::NONE,
        propagation: Propagation::NONE,
        userns: None,
    };
    model.call(&op, &mut OwnedSlots::new(0).slots()).unwrap();
    model.credentials(&caller)
}

const NONE: fn(Model) -> Model = |model| model;

const HOSTS: &[Host] = &[
    ("as it should be", NONE, NONE),
    ("directories of others", NONE, |model| all(model, |model, path| model.owned(path, 7, 7, 0o700))),
    ("what leads there is closed", NONE, |model| {
        ["/srv", "/layers", "/changes"].iter().fold(model, |model, path| model.owned(path, 7, 7, 0o700))
    }),
    ("everything open to all", NONE, |model| all(model, |model, path| model.owned(path, 7, 7, 0o777))),
    ("ids that nobody has", NONE, |model| all(model, |model, path| model.owned(path, 4_000_000, 4_000_001, 0o755))),
    (
        "links in the way",
        |model| {
            let model = model.directory("/elsewhere/data").directory("/elsewhere/tree").directory("/elsewhere/layers");
            let model = model.symlink("/data", "elsewhere/data").symlink("/layers", "/elsewhere/layers");
            model.directory("/srv").symlink("/srv/tree", "../elsewhere/tree")
        },
        NONE,
    ),
    (
        "links inside the tree",
        |model| {
            let model = model.directory("/srv/tree").directory("/victim");
            ["proc", "sys", "dev", "run", "tmp", "etc"]
                .iter()
                .fold(model, |model, name| model.symlink(&format!("/srv/tree/{name}"), "/victim"))
        },
        NONE,
    ),
    (
        "mounts without programs, devices and set-id",
        |model| model.directory("/srv").tmpfs("/srv").directory("/data").tmpfs("/data"),
        |model| {
            let closed = MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);
            with_attrs(with_attrs(model, c"/srv", closed), c"/data", closed)
        },
    ),
    (
        "read-only mounts",
        |model| model.directory("/srv").tmpfs("/srv").directory("/changes").tmpfs("/changes"),
        |model| with_attrs(with_attrs(model, c"/srv", MountAttrs::RDONLY), c"/changes", MountAttrs::RDONLY),
    ),
    ("programs that give rights", NONE, |model| {
        let every = CapabilitySet::up_to(40);
        ["/usr/bin/true", "/srv/tree/usr/bin/true"]
            .iter()
            .fold(model, |model, path| model.owned(path, 0, 0, 0o4755).file_capabilities(path, every, every, true))
    }),
    ("second names of what matters", NONE, |model| {
        model.hard_link("/etc/shadow", "/data/file").hard_link("/usr/bin/true", "/srv/tree/usr/bin/true")
    }),
];

#[derive(Default)]
struct Ended {
    refused: u32,
    failed: u32,
    started: u32,
}

fn start(host: &Host, name: &str, spec: &Spec, root: bool, ended: &mut Ended) {
    let context = format!("{name} on a host with {}, root {root}", host.0);
    let bare = if root { Model::new() } else { Model::as_user(1000).subids(100_000, 65_536) };
    let mut model = (host.2)(on((host.1)(bare), root));
    if spec.resources != Default::default() {
        model = model.legacy_cgroups();
    }
    let plan = match skep::compile(spec, &facts_on(spec, root, &mut model)) {
        Ok(plan) => plan,
        Err(_) => return ended.refused += 1,
    };
    let verified = skep::verify(plan).unwrap_or_else(|error| panic!("{context}: {error}"));
    // What was made wrong by a call is a change already.
    let before = model.host_changes();
    let look = |model: &Model| {
        let more = skep::excess(spec, verified.plan(), model);
        assert!(more.is_empty(), "{context}: more than the Spec says: {more:#?}");
        let held = model.process(payload(spec)).unwrap().credentials();
        assert_eq!((held.permitted.0, held.effective.0), (0, 0), "{context}");
    };
    match skep::rehearse_life(&mut model, &verified, look) {
        Ok(()) => ended.started += 1,
        Err(error) => {
            assert!(!error.to_string().contains('\n') && error.errno().is_some(), "{context}: {error}");
            let process = model.process(payload(spec));
            assert!(process.is_none_or(|process| process.exec().is_none()), "{context}: executed, and {error}");
            ended.failed += 1;
        }
    }
    model.act_as(Actor::Host);
    assert_eq!(model.host_changes(), before, "{context}: left");
}

#[test]
fn a_host_that_is_hostile_gains_nothing_and_keeps_nothing() {
    for host in HOSTS {
        let mut ended = Ended::default();
        for root in [false, true] {
            for (name, spec) in specs_for(root) {
                start(host, name, &spec, root, &mut ended);
            }
        }
        let Ended { refused, failed, started } = ended;
        println!("{}: {refused} refused, {failed} failed, {started} started", host.0);
        assert!(started > 0, "nothing starts on a host with {}", host.0);
    }
}

/// Not all the same: a host that is as it should be refuses nothing, and one that
/// is not refuses those whom it does not let through.
#[test]
fn what_is_in_the_way_is_noticed() {
    let of = |name: &str, root: bool, spec: &str| {
        let host = HOSTS.iter().find(|host| host.0 == name).unwrap();
        let mut ended = Ended::default();
        let (_, found) = specs_for(root).find(|(row, _)| *row == spec).unwrap();
        start(host, spec, &found, root, &mut ended);
        ended.started == 1
    };
    for (host, root, spec, starts) in [
        ("as it should be", false, "tree", true),
        ("as it should be", true, "tree", true),
        ("directories of others", false, "tree", false),
        ("directories of others", false, "default", true),
        ("what leads there is closed", false, "tree", false),
        ("links inside the tree", false, "tree", false),
        ("links inside the tree", true, "tree", false),
        ("mounts without programs, devices and set-id", true, "tree", false),
        ("mounts without programs, devices and set-id", true, "bind, user", true),
        ("programs that give rights", false, "default", true),
        ("programs that give rights", true, "tree", true),
        ("links in the way", true, "id-mapped binds", false),
    ] {
        assert_eq!(of(host, root, spec), starts, "{spec} on a host with {host}, root {root}");
    }
}
