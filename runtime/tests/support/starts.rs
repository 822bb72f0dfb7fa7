//! Whole starts for tests: made-up hosts, facts that fit them, and Specs.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test uses a part of it, and fails by panicking"
)]

use skep::spec::{
    Bind, Descriptor, Device, File, IdMap, Init, IoPriority, Mount, MountKind, Network, NumberList, Overlay, Readiness,
    SchedulingPolicy, SecretFile, Stream, TerminalSize, User, UserNamespace, Volatile, Want,
};
use skep::sys::{Actor, Errno, Faulty, Model, OpKind, Stage as _};
use skep::{Error, Facts, Spec, Verified};

/// A host with what the Specs below name, and facts that fit it.
pub(crate) fn host(root: bool) -> Model {
    on(if root { Model::new() } else { Model::as_user(1000).subids(100_000, 65_536) }, root)
}

/// The same on a host on which there is something already.
pub(crate) fn on(model: Model, root: bool) -> Model {
    // Mount points that a tree lacks are made in it, and stay (documented): here
    // they are there, so that nothing at all may be left.
    let places = ["usr", "etc", "proc", "sys", "dev", "run", "tmp"];
    let model = places.iter().fold(model, |model, place| model.directory(&format!("/srv/tree/{place}")));
    model
        .directory("/data")
        .directory("/changes/upper")
        .directory("/changes/.upper.work")
        .directory("/layers/a")
        .directory("/layers/b")
        .file("/etc/resolv.conf", "nameserver 192.0.2.1\n")
        .device("/dev/fuse", 10, 229)
        .file("/data/file", "content")
        .file("/usr/bin/true", "program")
        .file("/srv/tree/usr/bin/true", "program")
        // An ordinary user can make mount points only in its own tree.
        .owned("/srv/tree", if root { 0 } else { 1000 }, if root { 0 } else { 1000 }, 0o755)
        // The registry's directory stays, once it is made.
        .directory("/run/user/1000/skep")
        .owned("/run/user/1000", 1000, 1000, 0o700)
        .owned("/run/user/1000/skep", 1000, 1000, 0o700)
        .directory("/run/skep")
        .owned("/run/skep", 0, 0, 0o700)
        .owned("/changes", if root { 0 } else { 1000 }, if root { 0 } else { 1000 }, 0o755)
}

/// The same, with hierarchies of cgroup v1 where the Spec has limits.
pub(crate) fn host_for(spec: &Spec, root: bool) -> Model {
    let host = host(root);
    if spec.resources == Default::default() { host } else { host.legacy_cgroups() }
}

pub(crate) fn facts(spec: &Spec, root: bool) -> Facts {
    facts_on(spec, root, &mut host_for(spec, root))
}

/// What is true of one of these hosts.
pub(crate) fn facts_on(spec: &Spec, root: bool, host: &mut Model) -> Facts {
    let mut facts = Facts::example(spec).on(host);
    if root {
        if let Some(registry) = &mut facts.registry {
            registry.base = "/run".into();
        }
        (facts.uid, facts.gid) = (0, 0);
        facts.capabilities = skep::sys::abi::CapabilitySet::up_to(40);
        // Where a device is named, its policy gets a group.
        if spec.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Device(_))) {
            let group = &mut facts.cgroups.unified[0];
            (group.path, group.writable) = ("/sys/fs/cgroup".into(), true);
        }
    }
    // The model's hierarchies: a Spec that delegates gets v2, another v1.
    if root && spec.resources != Default::default() {
        let unified = &mut facts.cgroups.unified[0];
        (unified.path, unified.writable) = ("/sys/fs/cgroup".into(), spec.resources.delegate);
        unified.enabled = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).into();
        let legacy = ["memory", "cpu", "cpuset", "devices", "freezer", "pids"];
        facts.cgroups.legacy = legacy.map(|name| (name.to_owned(), format!("/cgroup/{name}").into())).into();
        facts.cgroups.legacy_swap = true;
        let list = |text: &str| NumberList::parse(text).unwrap();
        facts.cgroups.cpuset = Some([list("0-1"), list("0")]);
    }
    facts
}

pub(crate) fn at(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

pub(crate) fn limits(spec: &mut Spec) {
    let resources = &mut spec.resources;
    (resources.memory, resources.swap, resources.pids) = (Some(64 << 20), Some(1 << 20), Some(50));
    resources.cpu_weight = Some(10);
    resources.cpuset_cpus = NumberList::parse("1").ok();
}

pub(crate) fn specs() -> Vec<(&'static str, Spec)> {
    let spec = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::default();
        spec.command = vec!["/usr/bin/true".into()];
        change(&mut spec);
        spec
    };
    let mut bind = Bind::default();
    bind.source = "/data".into();
    vec![
        ("default", spec(&|_| {})),
        ("process one", spec(&|spec| spec.init = Init::Payload)),
        (
            "host network, notify",
            spec(&|spec| {
                spec.network = Network::Host;
                spec.readiness = Readiness::Notify;
            }),
        ),
        (
            "bind, user",
            spec(&|spec| {
                spec.mounts.push(skep::spec::Mount { target: "/data".into(), kind: MountKind::Bind(bind.clone()) });
                spec.user = User::Ids { uid: 7, gid: 7 };
            }),
        ),
        (
            "tree",
            spec(&|spec| {
                spec.root.path = "/srv/tree".into();
                spec.root.volatile = Volatile::No;
            }),
        ),
        (
            "ephemeral tree",
            spec(&|spec| {
                spec.root.path = "/srv/tree".into();
                spec.root.volatile = Volatile::No;
                spec.root.ephemeral = true;
            }),
        ),
        (
            "limits v2, delegated",
            spec(&|spec| {
                limits(spec);
                spec.resources.memory_high = Some(32 << 20);
                spec.resources.delegate = true;
                spec.init = Init::Payload;
            }),
        ),
        (
            "limits v1, freezing",
            spec(&|spec| {
                limits(spec);
                spec.resources.freezing = Want::Require;
            }),
        ),
        ("score", spec(&|spec| spec.oom_score_adjust = Some(700))),
        (
            "scheduling, sysctls",
            spec(&|spec| {
                spec.scheduling.affinity = NumberList::parse("0-1").ok();
                (spec.scheduling.policy, spec.scheduling.nice) = (Some(SchedulingPolicy::Batch), Some(5));
                spec.scheduling.io = Some(IoPriority::Idle);
                spec.memory_deny_write_execute = Want::Require;
                spec.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
                spec.sysctls.insert("kernel.sem".into(), "1 2 3 4".into());
            }),
        ),
        ("registered", spec(&|spec| spec.register = Want::Require)),
        ("own id", spec(&|spec| spec.user_namespace = UserNamespace::Own)),
        (
            "layers",
            spec(&|spec| {
                (spec.root.path, spec.root.volatile) = ("/srv/tree".into(), Volatile::No);
                spec.root.lower = vec!["/layers/a".into(), "/layers/b".into()];
                spec.root.upper = Some("/changes/upper".into());
            }),
        ),
        (
            "overlays",
            spec(&|spec| {
                let mut kept = Overlay::default();
                kept.lower = vec!["/layers/a".into(), "/layers/b".into()];
                kept.upper = Some("/changes/upper".into());
                let mut thrown = Overlay::default();
                thrown.lower = vec!["/layers/b".into()];
                spec.mounts = vec![at("/opt", MountKind::Overlay(kept)), at("/mnt", MountKind::Overlay(thrown))];
            }),
        ),
        (
            "files, device",
            spec(&|spec| {
                spec.mounts = vec![
                    at("/etc/app.conf", MountKind::File(File::new("x"))),
                    at("/etc/key", MountKind::Secret(SecretFile::new("hunter2"))),
                    at("/dev/fuse", MountKind::Device(Device::new("/dev/fuse"))),
                ];
                spec.credentials.insert("token".into(), "hunter2".into());
                spec.network = Network::Host;
                spec.hosts = skep::spec::Hosts::Generate;
                spec.user = User::Ids { uid: 7, gid: 7 };
            }),
        ),
        ("listener", spec(&|spec| spec.system_calls.notify = ["mkdirat".into(), "uname".into()].into())),
        (
            "listener of process one",
            spec(&|spec| {
                (spec.init, spec.stdio) = (Init::Payload, [Stream::Terminal; 3]);
                spec.terminal = Some(TerminalSize::default());
                spec.system_calls.notify = ["@process".into()].into();
            }),
        ),
        ("held", spec(&|spec| spec.hold = true)),
        ("held process one", spec(&|spec| (spec.hold, spec.init) = (true, Init::Payload))),
        (
            "descriptors",
            spec(&|spec| {
                // Where the start's own descriptors lie, and far beyond.
                spec.descriptors = [3, 9, 7, 500].map(Descriptor::new).into();
                spec.descriptors[2].danger_directory = true;
                spec.descriptors[0].listen = true;
            }),
        ),
        (
            "terminal",
            spec(&|spec| {
                spec.stdio = [Stream::Terminal; 3];
                spec.terminal = Some(TerminalSize::new(33, 101));
                spec.user = User::Ids { uid: 7, gid: 7 };
            }),
        ),
        (
            "terminal of process one",
            spec(&|spec| {
                spec.stdio = [Stream::Terminal, Stream::Piped, Stream::Terminal];
                (spec.terminal, spec.init) = (Some(TerminalSize::default()), Init::Payload);
            }),
        ),
        (
            "id-mapped binds",
            spec(&|spec| {
                for (target, id_map) in [("/one", IdMap::IdMap), ("/two", IdMap::RootIdMap)] {
                    let mut mapped = bind.clone();
                    (mapped.id_map, mapped.id_map_want, mapped.read_only) = (id_map, Want::IfSupported, false);
                    (mapped.noexec, mapped.nosymfollow, mapped.no_links) = (true, true, true);
                    spec.mounts.push(at(target, MountKind::Bind(mapped)));
                }
            }),
        ),
    ]
}

/// An ordinary user has no group for limits.
pub(crate) fn specs_for(root: bool) -> impl Iterator<Item = (&'static str, Spec)> {
    specs().into_iter().filter(move |(_, spec)| root || spec.resources == Default::default())
}

pub(crate) fn verified(spec: &Spec, root: bool) -> Verified {
    let plan = skep::compile(spec, &facts(spec, root)).unwrap_or_else(|error| panic!("{error}"));
    skep::verify(plan).unwrap_or_else(|error| panic!("{error}"))
}

/// Who executes the payload.
pub(crate) fn payload(spec: &Spec) -> Actor {
    if spec.init == Init::Stub { Actor::Payload } else { Actor::Child }
}

/// A start in which one call fails: the error is one line, nothing is executed, or,
/// where the payload was let go before (`late`), it has ended, and nothing is left.
pub(crate) fn one_fault(
    (name, root, spec): (&str, bool, &Spec),
    verified: &Verified,
    (index, kind, late): (usize, OpKind, bool),
    errno: Errno,
) -> Error {
    let mut kernel = Faulty::new(host_for(spec, root), index, errno);
    let ended = skep::rehearse(&mut kernel, verified);
    let context = format!("{name}, root {root}: call {index} {} fails with {errno}", kind.name());
    assert!(kernel.fired(), "{context}");
    let mut model = kernel.into_inner();
    let error = ended.expect_err(&context);
    assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{context}: {error}");
    let executed = model.process(payload(spec)).is_some_and(|process| process.exec().is_some());
    let ended = || model.process(payload(spec)).is_some_and(|process| process.ended().is_some());
    assert!(!executed || late && ended(), "{context}: executed");
    model.act_as(Actor::Host);
    assert_eq!(model.host_changes(), Vec::<String>::new(), "{context}: left");
    error
}
