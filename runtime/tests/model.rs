//! Whole starts on the kernel in memory: no privileges, no container, every
//! call failing in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::spec::{Bind, Init, MountKind, Network, Readiness, User, UserNamespace, Volatile};
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
        .file("/data/file", "content")
        .file("/usr/bin/true", "program")
        .file("/srv/tree/usr/bin/true", "program")
        .file("/etc/subuid", "user:100000:65536\n")
        // An ordinary user can make mount points only in its own tree.
        .owned("/srv/tree", if root { 0 } else { 1000 }, if root { 0 } else { 1000 }, 0o755)
}

fn facts(spec: &Spec, root: bool) -> Facts {
    let mut facts = Facts::example(spec).on(&mut host(root));
    if root {
        (facts.uid, facts.gid) = (0, 0);
        facts.capabilities = skep::sys::abi::CapabilitySet::up_to(40);
    }
    facts
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
        ("own id", spec(&|spec| spec.user_namespace = UserNamespace::Own)),
    ]
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
        for (name, spec) in specs() {
            let mut model = host(root);
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
            assert_eq!(process.descriptors().len(), 3, "{name}: {:?}", process.descriptors());
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
        for (name, spec) in specs() {
            let verified = verified(&spec, root);
            let mut recorder = Recorder::around(host(root));
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

fn one_fault(name: &str, root: bool, spec: &Spec, verified: &Verified, index: usize, kind: OpKind, errno: Errno) {
    let mut kernel = Faulty::new(host(root), index, errno);
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

#[test]
fn an_embedder_that_is_killed_leaves_nothing() {
    for root in [false, true] {
        for (name, spec) in specs() {
            let mut model = host(root);
            let verified = verified(&spec, root);
            skep::rehearse(&mut model, &verified).unwrap();
            model.kill_embedder();
            let mut changes = model.host_changes();
            // Of itself nothing is left, which is no wonder.
            changes.retain(|change| !change.starts_with("- embedder's"));
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
