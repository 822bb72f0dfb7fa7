//! The attack catalogue, row by row: what a recorded start shows without
//! privileges. A test has the row's number for a name; SECURITY.md says which
//! row is held where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod catalogue;
mod configuration;
mod confinement;
mod descriptors;
mod library;
mod namespaces;
mod paths;
#[path = "../support/starts.rs"]
mod starts;

use skep::Phase;
use skep::spec::{ExecSpec, User, UserNamespace};
use skep::sys::{Actor, Errno, Kernel, Op, OpKind, Recorder, Slots, Stage};
use skep::{Plan, Spec, Verified};
use starts::{host_for, one_fault, payload, specs_for, verified};

/// Every start of the suite, of root and of an ordinary user.
fn starts() -> Vec<(String, Spec, Verified)> {
    let of = |root| {
        specs_for(root).map(move |(name, spec)| {
            let plan = verified(&spec, root);
            (format!("{name}, root {root}"), spec, plan)
        })
    };
    [false, true].into_iter().flat_map(of).collect()
}

fn spec(change: impl FnOnce(&mut Spec)) -> Spec {
    let mut spec = Spec::default();
    spec.command = vec!["/usr/bin/true".into()];
    change(&mut spec);
    spec
}

/// A further process in each container of the suite that can have one.
fn execs() -> Vec<(String, Verified)> {
    let mut exec = ExecSpec::default();
    exec.command = vec!["/usr/bin/true".into()];
    let of = |(name, _, container): (String, Spec, Verified)| {
        let plan = skep::compile_exec(container.plan(), &exec).ok()?;
        Some((name, skep::verify(plan).unwrap()))
    };
    let execs: Vec<_> = starts().into_iter().filter_map(of).collect();
    assert!(execs.len() > 10, "{}", execs.len());
    execs
}

/// The ops of some phases, in order.
fn ops<'p>(plan: &'p Plan, phases: &'static [Phase]) -> impl Iterator<Item = Op<'p>> {
    plan.ops().filter(move |(_, phase, _)| phases.contains(phase)).map(|(_, _, op)| op)
}

const HOST: &[Phase] = &[Phase::Prepare, Phase::Attend];
const CHILD: &[Phase] = &[Phase::Enter, Phase::Payload];
const ALL: &[Phase] = &Phase::ALL;

/// Where the first op of a kind stands.
fn place(plan: &Plan, phases: &'static [Phase], kind: OpKind) -> Option<usize> {
    ops(plan, phases).position(|op| op.kind() == kind)
}

/// Asserts that the first op of each kind, where there is one, comes before that
/// of the next.
fn in_order(name: &str, plan: &Plan, phases: &'static [Phase], kinds: &[OpKind]) {
    let places: Vec<_> = kinds.iter().filter_map(|kind| place(plan, phases, *kind).map(|at| (at, kind))).collect();
    assert!(places.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: {places:?}");
}

/// Nothing executes, and nothing is left, where every op of `kind` fails in its
/// turn.
fn fails_closed(kind: OpKind, errno: Errno) {
    let mut failed = 0;
    for root in [false, true] {
        for (name, spec) in specs_for(root) {
            let verified = verified(&spec, root);
            let mut recorder = Recorder::around(host_for(&spec, root));
            skep::rehearse(&mut recorder, &verified).unwrap();
            let places = recorder.records().iter().enumerate().filter(|(_, record)| record.kind == kind);
            for (index, _) in places {
                let error = one_fault((name, root, &spec), &verified, (index, kind, false), errno);
                assert_eq!(error.errno(), Some(errno), "{name}: {error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no start asks for {}", kind.name());
}

fn name_of(kind: OpKind, name: &str) -> String {
    format!("{name}: {} failed", kind.name())
}

/// A kernel that says yes to one kind of op and does nothing.
struct Liar<K>(K, OpKind);

impl<K: Kernel> Kernel for Liar<K> {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        if op.kind() == self.1 { Ok(()) } else { self.0.call(op, slots) }
    }
}

impl<K: Stage> Stage for Liar<K> {
    fn act_as(&mut self, actor: Actor) {
        self.0.act_as(actor);
    }
}

/// What is asked of a kernel that lies about it is read back, and nothing
/// executes.
fn is_read_back(kind: OpKind) {
    for root in [false, true] {
        // With one id to map, the child would have it all the time.
        let spec = spec(|spec| {
            spec.user = User::Ids { uid: 7, gid: 7 };
            spec.user_namespace = if root { UserNamespace::Auto } else { UserNamespace::Subordinate };
        });
        let mut kernel = Liar(host_for(&spec, root), kind);
        let error = skep::rehearse(&mut kernel, &verified(&spec, root))
            .expect_err(&name_of(kind, if root { "a lie, as root" } else { "a lie" }));
        assert!(error.errno().is_some(), "{error}");
        assert!(kernel.0.process(payload(&spec)).is_none_or(|process| process.exec().is_none()));
    }
}
