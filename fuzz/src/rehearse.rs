//! Whole lives on the kernel in memory.

use skep::spec::Init;
use skep::{Facts, Plan, Spec};
use skep_sys::{Actor, Stage as _};

/// Starts `spec` on a model of the host that `facts` describe. A host that is
/// made up may refuse; then nothing was executed and nothing is left. Else the
/// container holds no more than the Spec says, and leaves nothing when it ends.
pub(crate) fn rehearse(spec: &Spec, facts: &Facts, plan: &Plan) {
    let Some((model, facts)) = facts.clone().in_memory(spec) else { return };
    // The same plan, for the inodes of the model.
    let verified = skep::compile(spec, &facts)
        .and_then(skep::verify)
        .unwrap_or_else(|error| panic!("compiles no more when only inodes differ: {error}\n{spec:#?}\n{plan}"));
    let mut ended = model.clone();
    let mut killed = model;
    let looked = |model: &skep_sys::Model| {
        let more = skep::excess(spec, verified.plan(), model);
        assert!(more.is_empty(), "more than the Spec says: {more:#?}\n{spec:#?}\n{}", verified.plan());
    };
    if let Err(error) = skep::rehearse_life(&mut ended, &verified, looked) {
        super::assert_fit_for_a_terminal(&error);
        let payload = if spec.init == Init::Stub { Actor::Payload } else { Actor::Child };
        let process = ended.process(payload);
        let running = process.is_some_and(|process| process.exec().is_some() && process.ended().is_none());
        assert!(!running, "failed, and the payload runs: {error}\n{spec:#?}");
        ended.act_as(Actor::Host);
        return assert_nothing_left(&ended, spec, &format!("failed: {error}"));
    }
    assert_nothing_left(&ended, spec, "ended");
    if skep::rehearse(&mut killed, &verified).is_ok() {
        killed.kill_embedder();
        assert_nothing_left(&killed, spec, "the embedder was killed");
    }
}

fn assert_nothing_left(model: &skep_sys::Model, spec: &Spec, when: &str) {
    let mut changes = model.host_changes();
    // Mount points that a tree lacks are made in it, and stay; even in a tree of
    // cgroups. Ours have a name.
    let made = ["+ directory ", "+ file ", "+ cgroup "];
    changes.retain(|change| !made.iter().any(|made| change.starts_with(made)) || change.contains("/skep-"));
    // Who was killed is gone, and his empty file of locks is the next start's.
    changes.retain(|change| !change.starts_with("- embedder's") && !change.starts_with("+ file /run/skep-ids"));
    assert!(changes.is_empty(), "{when}, and left {changes:#?}\n{spec:#?}");
}
