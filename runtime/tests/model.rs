//! Whole starts on the kernel in memory: no privileges, no container, every
//! call failing in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/starts.rs"]
mod starts;

use skep::spec::{
    Bind, CapabilityList, Descriptor, ExecSpec, Init, MountKind, Namespace, SecureBitList, Stream, TerminalSize, Want,
};
use skep::sys::abi::{CapabilitySet, SecureBits, cap};
use skep::sys::{Actor, Errno, Faulty, Model, OpKind, Recorder, Stage, WaitStatus, plausible};
use skep::{Facts, Spec};
use starts::{at, facts, host, host_for, one_fault, payload, specs, specs_for, verified};

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

/// Root that holds no more than its ambient set, which is empty.
fn rootless() -> Spec {
    let mut spec = Spec::default();
    spec.command = vec!["/usr/bin/true".into()];
    spec.machine = skep::spec::MachineName::new("web").ok();
    spec.capabilities.bounding = CapabilityList(CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE));
    spec.securebits = Some(SecureBitList(SecureBits::NOROOT.with(SecureBits::NOROOT_LOCKED)));
    spec
}

#[test]
fn securebits_are_those_that_were_asked_for() {
    let granted = CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE);
    let mut open = rootless();
    open.securebits = None;
    let mut strict = open.clone();
    strict.capabilities = Default::default();
    for (spec, bits, bounding, permitted) in [
        (rootless(), SecureBits(0b0000_0011), granted, CapabilitySet::EMPTY),
        (open, SecureBits::NONE, granted, granted),
        (strict, SecureBits(0b1110_1111), CapabilitySet::EMPTY, CapabilitySet::EMPTY),
    ] {
        for root in [false, true] {
            for init in [Init::Stub, Init::Payload] {
                let mut spec = spec.clone();
                spec.init = init;
                let mut model = host(root);
                skep::rehearse(&mut model, &verified(&spec, root)).unwrap();
                let seen = model.process(payload(&spec)).unwrap().credentials();
                assert_eq!((seen.securebits, seen.bounding, seen.permitted), (bits, bounding, permitted));
            }
        }
    }
}

/// The embedder's is 1 in the model.
#[test]
fn a_session_keyring_is_its_own_where_that_is_wanted_and_can_be() {
    for root in [false, true] {
        for (want, keyrings, own) in [
            (Want::Require, true, Some(true)),
            (Want::IfSupported, true, Some(true)),
            (Want::Off, true, Some(false)),
            (Want::Require, false, None),
            (Want::IfSupported, false, Some(false)),
            (Want::Off, false, Some(false)),
        ] {
            for init in [Init::Stub, Init::Payload] {
                let mut spec = rootless();
                (spec.keyring, spec.init) = (want, init);
                let mut facts = facts(&spec, root);
                facts.keyrings = keyrings;
                let (plan, own) = match (skep::compile(&spec, &facts), own) {
                    (Ok(plan), Some(own)) => (plan, own),
                    (Err(error), None) => {
                        assert_eq!(error.kind(), skep::ErrorKind::Unsupported);
                        assert!(error.advice().is_some(), "{error}");
                        continue;
                    }
                    (result, _) => panic!("{want:?} with keyrings {keyrings}: {result:?}"),
                };
                assert_eq!(matches!(plan.report().of("keyring"), Some(skep::Outcome::Applied(_))), own);
                let container = skep::verify(plan).unwrap();
                let mut model = host(root);
                skep::rehearse(&mut model, &container).unwrap();
                for actor in [Actor::Child, payload(&spec)] {
                    assert_eq!(model.process(actor).unwrap().keyring() != 1, own, "{want:?} {actor:?}");
                }
                let mut exec = ExecSpec::default();
                exec.command = spec.command.clone();
                let entering = skep::verify(skep::compile_exec(container.plan(), &exec).unwrap()).unwrap();
                let mut model = host(root);
                skep::rehearse_exec(&mut model, &container, &entering).unwrap();
                assert_eq!(model.process(Actor::Payload).unwrap().keyring() != 1, own, "exec, {want:?}");
            }
        }
    }
}

/// Two tests, for there are two processors.
#[test]
fn row_147_every_call_of_roots_fails_once_with_every_plausible_errno() {
    every_call_fails_once(true);
}

#[test]
fn row_147_every_call_of_a_users_fails_once_with_every_plausible_errno() {
    every_call_fails_once(false);
}

fn every_call_fails_once(root: bool) {
    let (mut starts, mut calls) = (0, 0);
    for (name, spec) in specs_for(root) {
        let verified = verified(&spec, root);
        let mut recorder = Recorder::around(host_for(&spec, root));
        skep::rehearse(&mut recorder, &verified).unwrap();
        let records = recorder.records();
        let exec = records.iter().position(|record| record.kind == OpKind::Exec).unwrap();
        calls += records.len();
        for (index, record) in records.iter().enumerate() {
            // What comes once the payload was let go: a stub init's last op, and the
            // embedder's, which hears of it and makes it findable.
            let late = index > exec && (record.actor == Actor::Host || record.kind == OpKind::Reap);
            for errno in plausible(record.kind) {
                starts += 1;
                one_fault((name, root, &spec), &verified, (index, record.kind, late), *errno);
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
        ("time", timed, plain.clone()),
        ("securebits", rootless(), plain),
    ]
}

#[test]
fn row_081_an_exec_is_confined_as_the_payload_is() {
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
            assert_eq!(second.securebits, first.securebits, "{name}");
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
        assert!(
            line(&model, point).contains(" ro,nosuid,nodev,noexec,relatime - ramfs none "),
            "{}",
            line(&model, point)
        );
    }
    assert!(line(&model, "/dev/fuse").contains(" ro,nosuid,noexec,relatime "), "{}", line(&model, "/dev/fuse"));
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
fn row_136_a_secret_is_in_no_printed_plan() {
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
