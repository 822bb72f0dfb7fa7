//! Whole starts on the kernel in memory: no privileges, no container, every
//! call failing in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::spec::{
    Bind, Descriptor, Device, ExecSpec, File, IdMap, Init, IoPriority, Mount, MountKind, Namespace, Network,
    NumberList, Overlay, Readiness, SchedulingPolicy, SecretFile, Stream, TerminalSize, User, UserNamespace, Volatile,
    Want,
};
use skep::sys::{Actor, Errno, Faulty, Model, OpKind, Recorder, Stage, WaitStatus, plausible};
use skep::{Facts, Spec, Verified};

/// A host with what the Specs below name, and facts that fit it.
fn host(root: bool) -> Model {
    let model = if root { Model::new() } else { Model::as_user(1000).subids(100_000, 65_536) };
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
fn host_for(spec: &Spec, root: bool) -> Model {
    let host = host(root);
    if spec.resources == Default::default() { host } else { host.legacy_cgroups() }
}

fn facts(spec: &Spec, root: bool) -> Facts {
    let mut facts = Facts::example(spec).on(&mut host_for(spec, root));
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

fn at(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

fn limits(spec: &mut Spec) {
    let resources = &mut spec.resources;
    (resources.memory, resources.swap, resources.pids) = (Some(64 << 20), Some(1 << 20), Some(50));
    resources.cpu_weight = Some(10);
    resources.cpuset_cpus = NumberList::parse("1").ok();
}

fn specs() -> Vec<(&'static str, Spec)> {
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
                    (mapped.noexec, mapped.nosymfollow) = (true, true);
                    spec.mounts.push(at(target, MountKind::Bind(mapped)));
                }
            }),
        ),
    ]
}

/// An ordinary user has no group for limits.
fn specs_for(root: bool) -> impl Iterator<Item = (&'static str, Spec)> {
    specs().into_iter().filter(move |(_, spec)| root || spec.resources == Default::default())
}

fn verified(spec: &Spec, root: bool) -> Verified {
    let plan = skep::compile(spec, &facts(spec, root)).unwrap_or_else(|error| panic!("{error}"));
    skep::verify(plan).unwrap_or_else(|error| panic!("{error}"))
}

/// Who executes the payload.
fn payload(spec: &Spec) -> Actor {
    if spec.init == Init::Stub { Actor::Payload } else { Actor::Child }
}

#[test]
fn every_spec_ends_confined() {
    for root in [false, true] {
        for (name, spec) in specs_for(root) {
            let mut model = host_for(&spec, root);
            let verified = verified(&spec, root);
            skep::rehearse(&mut model, &verified).unwrap_or_else(|error| panic!("{name}, root {root}: {error}"));
            let process = model.process(payload(&spec)).unwrap();
            let executed = process.exec().unwrap_or_else(|| panic!("{name}: nothing was executed"));
            assert_eq!(executed.program, "/usr/bin/true", "{name}");
            let credentials = process.credentials();
            for set in [
                credentials.effective,
                credentials.permitted,
                credentials.inheritable,
                credentials.bounding,
                credentials.ambient,
            ] {
                assert_eq!(set.0, 0, "{name}");
            }
            assert!(credentials.no_new_privs && credentials.filters == 1, "{name}");
            let count = 3 + spec.descriptors.len();
            assert_eq!(process.descriptors().len(), count, "{name}: {:?}", process.descriptors());
            let has = |number: u32| process.descriptors().iter().any(|file| file.number == number as i32);
            assert!(spec.descriptors.iter().all(|passed| has(passed.number)), "{name}: {:?}", process.descriptors());
            let mounts = process.mountinfo();
            let roots = mounts.iter().filter(|line| line.split(' ').nth(4) == Some("/")).count();
            assert_eq!(roots, 1, "{name}: {mounts:#?}");
            if spec.init == Init::Stub {
                let init = model.process(Actor::Child).unwrap();
                assert_eq!(init.credentials().permitted.0, 0, "{name}");
                assert!(init.credentials().no_new_privs && !init.credentials().dumpable, "{name}");
            }
        }
    }
}

#[test]
fn every_call_fails_once_with_every_plausible_errno() {
    let (mut starts, mut calls) = (0, 0);
    for root in [false, true] {
        for (name, spec) in specs_for(root) {
            let verified = verified(&spec, root);
            let mut recorder = Recorder::around(host_for(&spec, root));
            skep::rehearse(&mut recorder, &verified).unwrap();
            let kinds: Vec<OpKind> = recorder.records().iter().map(|record| record.kind).collect();
            calls += kinds.len();
            for (index, kind) in kinds.iter().enumerate() {
                for errno in plausible(*kind) {
                    starts += 1;
                    one_fault(name, root, &spec, &verified, index, *kind, *errno);
                }
            }
        }
    }
    println!("{starts} starts with one failing call each, of {calls} calls");
}

/// A kernel that lets no child go on, and takes nothing back.
struct Stubborn(Model);

impl skep::sys::Kernel for Stubborn {
    fn call(&mut self, op: &skep::sys::Op<'_>, slots: &mut skep::sys::Slots<'_>) -> Result<(), Errno> {
        match op.kind() {
            OpKind::Release => Err(Errno::ECANCELED),
            OpKind::RemoveGroup | OpKind::ReleaseIds => Err(Errno::EROFS),
            _ => self.0.call(op, slots),
        }
    }
}

impl Stage for Stubborn {
    fn act_as(&mut self, actor: Actor) {
        self.0.act_as(actor);
    }
}

#[test]
fn what_cannot_be_taken_back_is_said() {
    for (name, spec) in specs_for(true).filter(|(name, _)| name.starts_with("limits") || *name == "default") {
        let error = skep::rehearse(&mut Stubborn(host_for(&spec, true)), &verified(&spec, true)).unwrap_err();
        let left = error.left_behind();
        assert!(left.iter().all(|left| left.errno() == Some(Errno::EROFS) && left.advice().is_some()), "{error}");
        let said: Vec<String> = left.iter().map(ToString::to_string).collect();
        let groups = said.iter().filter(|left| left.starts_with("remove the cgroup /")).count();
        assert_eq!(groups > 0, spec.resources != Default::default(), "{name}: {said:#?}");
        assert!(said.iter().any(|left| left.starts_with("remove /run/skep-ids: EROFS")), "{name}: {said:#?}");
        assert_eq!(said.len(), groups + 1, "{name}: {said:#?}");
        assert!(error.to_string().contains(". And this could not be taken back: remove "), "{error}");
    }
}

fn one_fault(name: &str, root: bool, spec: &Spec, verified: &Verified, index: usize, kind: OpKind, errno: Errno) {
    let mut kernel = Faulty::new(host_for(spec, root), index, errno);
    let ended = skep::rehearse(&mut kernel, verified);
    let context = format!("{name}, root {root}: call {index} {} fails with {errno}", kind.name());
    assert!(kernel.fired(), "{context}");
    let mut model = kernel.into_inner();
    let error = ended.expect_err(&context);
    assert!(!error.to_string().is_empty() && !error.to_string().contains('\n'), "{context}: {error}");
    let executed = model.process(payload(spec)).is_some_and(|process| process.exec().is_some());
    // A stub init that fails after the payload's exec ends the container; here
    // the undo has killed it.
    assert!(
        !executed || model.process(payload(spec)).is_some_and(|process| process.ended().is_some()),
        "{context}: executed"
    );
    model.act_as(Actor::Host);
    assert_eq!(model.host_changes(), Vec::<String>::new(), "{context}: left");
}

/// What an exec runs, and the Spec of the container that it runs in.
fn execs() -> Vec<(&'static str, Spec, ExecSpec)> {
    let container = |name: &str| specs().into_iter().find(|(row, _)| *row == name).unwrap().1;
    let mut plain = ExecSpec::default();
    plain.command = vec!["/usr/bin/true".into()];
    let mut terminal = plain.clone();
    (terminal.terminal, terminal.stdio) = (Some(TerminalSize::default()), [Stream::Terminal; 3]);
    let mut piped = plain.clone();
    piped.stdio = [Stream::Piped; 3];
    piped.descriptors = vec![Descriptor::new(7)];
    piped.user = Some((0, 0));
    let mut timed = container("default");
    timed.namespaces.time = Namespace::New;
    let mut privileged = container("default");
    privileged.no_new_privileges = false;
    vec![
        ("plain", container("default"), plain.clone()),
        ("process one", container("process one"), plain.clone()),
        ("terminal", container("bind, user"), terminal),
        ("pipes", container("tree"), piped),
        ("new privileges", privileged, plain.clone()),
        ("device policy", container("files, device"), plain.clone()),
        ("scheduling", container("scheduling, sysctls"), plain.clone()),
        ("time", timed, plain),
    ]
}

#[test]
fn an_exec_is_confined_as_the_payload_is() {
    for root in [false, true] {
        for (name, spec, exec) in execs() {
            let mut model = host(root);
            let container = verified(&spec, root);
            let plan = skep::compile_exec(container.plan(), &exec).unwrap_or_else(|error| panic!("{name}: {error}"));
            let entering = skep::verify(plan).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut alone = host(root);
            skep::rehearse(&mut alone, &container).unwrap();
            let first = alone.process(payload(&spec)).unwrap().credentials();
            skep::rehearse_exec(&mut model, &container, &entering)
                .unwrap_or_else(|error| panic!("{name}, root {root}: {error}"));
            let process = model.process(Actor::Payload).unwrap();
            assert!(process.exec().is_some(), "{name}, root {root}: nothing was executed");
            let second = process.credentials();
            if exec.user.is_none() {
                assert_eq!(second.effective, first.effective, "{name}");
                assert_eq!(second.uid, first.uid, "{name}");
                assert_eq!(second.filters, first.filters, "{name}");
            }
            assert_eq!(second.bounding, first.bounding, "{name}");
            assert_eq!(second.no_new_privs, first.no_new_privs, "{name}");
            assert!(process.leads_session() && process.ended().is_none(), "{name}");
            let count = 3 + exec.descriptors.len();
            assert_eq!(process.descriptors().len(), count, "{name}: {:?}", process.descriptors());
            let mounts = process.mountinfo();
            assert_eq!(mounts.iter().filter(|line| line.split(' ').nth(4) == Some("/")).count(), 1, "{name}");
            assert!(process.pid() > 1, "{name}: {}", process.pid());
            assert!(model.process(Actor::Child).unwrap().ended().is_some(), "{name}: who brought it in stays");
        }
    }
}

#[test]
fn every_call_of_an_exec_fails_once_and_leaves_the_container_as_it_was() {
    let mut starts = 0;
    for root in [false, true] {
        for (name, spec, exec) in execs() {
            let container = verified(&spec, root);
            let entering = skep::verify(skep::compile_exec(container.plan(), &exec).unwrap()).unwrap();
            let mut before = Recorder::around(host(root));
            skep::rehearse(&mut before, &container).unwrap();
            let (before, started) = before.into_parts();
            let mut recorder = Recorder::around(host(root));
            skep::rehearse_exec(&mut recorder, &container, &entering).unwrap();
            let kinds: Vec<OpKind> = recorder.records().iter().map(|record| record.kind).collect();
            for (index, kind) in kinds.iter().enumerate().skip(started.len()) {
                for errno in plausible(*kind) {
                    starts += 1;
                    let context = format!("{name}, root {root}: call {index} {} fails with {errno}", kind.name());
                    let mut kernel = Faulty::new(host(root), index, *errno);
                    let ended = skep::rehearse_exec(&mut kernel, &container, &entering);
                    assert!(kernel.fired(), "{context}");
                    let mut model = kernel.into_inner();
                    ended.expect_err(&context);
                    model.act_as(Actor::Host);
                    let (left, was) = (model.host_changes(), before.host_changes());
                    assert_eq!(left, was, "{context}: left");
                }
            }
        }
    }
    println!("{starts} execs with one failing call each");
}

#[test]
fn an_embedder_that_is_killed_leaves_nothing() {
    for root in [false, true] {
        for (name, spec) in specs_for(root) {
            let mut model = host_for(&spec, root);
            let verified = verified(&spec, root);
            skep::rehearse(&mut model, &verified).unwrap();
            model.kill_embedder();
            let mut changes = model.host_changes();
            // Of itself nothing is left, which is no wonder.
            changes.retain(|change| !change.starts_with("- embedder's"));
            // The lock on ids goes; its empty file is the next start's.
            changes.retain(|change| !change.starts_with("+ file /run/skep-ids"));
            assert_eq!(changes, Vec::<String>::new(), "{name}, root {root}");
        }
    }
}

#[test]
fn an_end_of_the_payload_is_an_end() {
    let (_, spec) = specs().remove(0);
    let mut model = host(false);
    let verified = verified(&spec, false);
    skep::rehearse(&mut model, &verified).unwrap();
    model.finish(Actor::Payload, WaitStatus::Exited(0));
    assert!(model.process(Actor::Payload).unwrap().ended().is_some());
}

/// Attributes and contents of what the Spec mounts, as the model has them at
/// the end.
#[test]
fn mounts_are_what_the_spec_says() {
    let of = |name: &str, root: bool| {
        let (_, spec) = specs().into_iter().find(|(row, _)| *row == name).unwrap();
        let mut model = host_for(&spec, root);
        skep::rehearse(&mut model, &verified(&spec, root)).unwrap_or_else(|error| panic!("{name}: {error}"));
        model
    };
    let line = |model: &Model, point: &str| {
        let lines = model.process(Actor::Payload).unwrap().mountinfo();
        lines.into_iter().rfind(|line| line.split(' ').nth(4) == Some(point)).unwrap_or_else(|| panic!("no {point}"))
    };
    let model = of("files, device", false);
    let payload = model.process(Actor::Payload).unwrap();
    assert_eq!(payload.read("/etc/app.conf").as_deref(), Some(b"x".as_slice()));
    assert_eq!(payload.read("/run/host/credentials/token").as_deref(), Some(b"hunter2".as_slice()));
    assert!(payload.read("/etc/hosts").is_some_and(|text| text.starts_with(b"127.0.0.1 localhost ")));
    for point in ["/etc/key", "/run/host/credentials"] {
        assert!(line(&model, point).contains(" ro,nosuid,nodev,noexec - ramfs "), "{}", line(&model, point));
    }
    assert!(line(&model, "/dev/fuse").contains(" rw,nosuid,noexec "), "{}", line(&model, "/dev/fuse"));
    let model = of("id-mapped binds", true);
    for point in ["/one", "/two"] {
        let shown = line(&model, point);
        for word in ["rw", "nosuid", "nodev", "noexec", "nosymfollow", "idmapped"] {
            assert!(shown.split([' ', ',']).any(|part| part == word), "{shown} lacks {word}");
        }
    }
    let unsupported = verified(&specs().into_iter().find(|row| row.0 == "id-mapped binds").unwrap().1, false);
    assert!(matches!(unsupported.plan().report().of("id map of /one"), Some(skep::Outcome::Unsupported(_))));
    let policy = verified(&specs().into_iter().find(|row| row.0 == "files, device").unwrap().1, true);
    assert!(matches!(policy.plan().report().of("device policy"), Some(skep::Outcome::Applied(_))));
    for root in [false, true] {
        let model = of("overlays", root);
        assert!(line(&model, "/opt").contains(" - overlay "), "{}", line(&model, "/opt"));
    }
}

#[test]
fn a_terminal_is_held_by_the_payload_and_the_embedder() {
    for root in [false, true] {
        for (name, streams) in [("terminal", 3), ("terminal of process one", 2)] {
            let (_, spec) = specs().into_iter().find(|(row, _)| *row == name).unwrap();
            let mut model = host(root);
            let verified = verified(&spec, root);
            skep::rehearse(&mut model, &verified).unwrap_or_else(|error| panic!("{name}: {error}"));
            let ends = |actor, is: &dyn Fn(&skep::sys::Descriptor) -> bool| {
                model.process(actor).unwrap().descriptors().iter().filter(|file| is(file)).count()
            };
            let peer = |file: &skep::sys::Descriptor| file.path.as_deref() == Some("/0");
            let master = |file: &skep::sys::Descriptor| file.kind == "terminal";
            let actor = payload(&spec);
            assert_eq!((ends(actor, &peer), ends(actor, &master)), (streams, 0), "{name}");
            assert_eq!((ends(Actor::Host, &peer), ends(Actor::Host, &master)), (0, 1), "{name}");
            if actor == Actor::Payload {
                assert_eq!((ends(Actor::Child, &peer), ends(Actor::Child, &master)), (0, 0), "the stub init");
            }
            let process = model.process(actor).unwrap();
            assert_eq!(process.controlling_terminal().as_deref(), Some("/0"), "{name}");
            assert!(process.mountinfo().iter().any(|line| line.split(' ').nth(4) == Some("/dev/console")), "{name}");
        }
    }
}

#[test]
fn a_listener_is_held_by_the_embedder_alone() {
    for root in [false, true] {
        for name in ["listener", "listener of process one"] {
            let (_, spec) = specs().into_iter().find(|(row, _)| *row == name).unwrap();
            let mut model = host(root);
            skep::rehearse(&mut model, &verified(&spec, root)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let held = |actor| {
                let files = model.process(actor).unwrap().descriptors();
                files.iter().filter(|file| file.kind == "seccomp-listener").count()
            };
            assert_eq!((held(Actor::Host), held(Actor::Child), held(payload(&spec))), (1, 0, 0), "{name}");
        }
    }
}

#[test]
fn a_secret_is_in_no_printed_plan() {
    let (_, spec) = specs().into_iter().find(|(row, _)| *row == "files, device").unwrap();
    let verified = verified(&spec, false);
    let plan = verified.plan();
    for text in [plan.to_string(), plan.verbose().to_string(), plan.to_json().to_string(), format!("{spec:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_spec_of_a_hundred_thousand_binds_is_refused_at_once() {
    let mut spec = Spec::default();
    spec.command = vec!["true".into()];
    let mut bind = Bind::default();
    bind.source = "/data".into();
    for number in 0..100_000 {
        spec.mounts.push(at(&format!("/m/{number}"), MountKind::Bind(bind.clone())));
        spec.masked.push(format!("/m/{number}/x").into());
    }
    let begun = std::time::Instant::now();
    for error in [
        Facts::gather(&spec).unwrap_err(),
        skep::compile(&spec, &Facts::gather(&Spec::default()).unwrap()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("100000 mounts"), "{error}");
    }
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}
