//! Attributes of the payload's process: what it says the machine is, and when the
//! kernel kills it.

use skep_sys::abi::cap;
use skep_sys::wire::Blob;
use skep_sys::{At, Op};

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Personality, Spec};

/// What can be said without looking at the host.
pub(super) fn check(spec: &Spec) -> Result<()> {
    if let Some(score) = spec.oom_score_adjust.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("{score} is not an out-of-memory score"))
            .from(spec.origins.of("oom_score_adjust"))
            .remedy("Give a number from -1000 (never killed) to 1000 (killed first)."));
    }
    Ok(())
}

/// Whether the embedder writes into the child's `/proc` directory.
pub(super) fn needs_process(spec: &Spec) -> bool {
    spec.oom_score_adjust.is_some()
}

/// What only the embedder may: in a user namespace of its own, the child has no
/// rights over the host's kernel.
pub(super) fn attend(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let Some(score) = context.spec.oom_score_adjust else { return Ok(()) };
    let (facts, origin) = (context.facts, context.spec.origins.of("oom_score_adjust"));
    if score < facts.oom_score_adjust && !facts.capabilities.has(cap::SYS_RESOURCE) {
        let what = format!(
            "the out-of-memory score {score} is below the caller's own, {}, which takes CAP_SYS_RESOURCE",
            facts.oom_score_adjust
        );
        return Err(Error::new(ErrorKind::NotPermitted, what)
            .from(origin)
            .remedy("Run as root, or give a score that is not below it."));
    }
    plan.step(Phase::Attend, format!("adjust the out-of-memory score to {score}"), context.origin("oom_score_adjust"))
        .remedy("EACCES: the score is below the lowest that this user may set; CAP_SYS_RESOURCE may set any.")
        .op(Op::Write {
            dir: At::Slot(role::PROCESS),
            path: c"oom_score_adj",
            content: Blob(score.to_string().as_bytes()),
        });
    report.applied("out-of-memory score", score);
    Ok(())
}

/// What every process of the container inherits.
pub(super) fn personality(context: &Context<'_>, report: &mut Report) -> Result<u32> {
    let personality = context.spec.personality;
    let Some(persona) = personality.persona() else {
        let own: Vec<&str> =
            Personality::NAMES.iter().filter(|(_, one)| one.persona().is_some()).map(|(name, _)| *name).collect();
        return Err(Error::new(ErrorKind::Unsupported, format!("this machine cannot be {personality}"))
            .from(context.spec.origins.of("personality"))
            .remedy(format!("It can be {}.", own.join(", "))));
    };
    if persona != 0 {
        report.applied("personality", personality);
    }
    Ok(persona)
}
