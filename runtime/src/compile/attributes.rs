//! Attributes of the payload's process: what it says the machine is, when the
//! kernel kills it, and where, when and how soon it runs.

use skep_sys::abi::{Resource, cap};
use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Op};

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{IoPriority, Personality, SchedulingPolicy, Spec, Want};

/// What can be said without looking at the host.
pub(super) fn check(spec: &Spec) -> Result<()> {
    if let Some(score) = spec.oom_score_adjust.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("{score} is not an out-of-memory score"))
            .from(spec.origins.of("oom_score_adjust"))
            .remedy("Give a number from -1000 (never killed) to 1000 (killed first)."));
    }
    let refuse = |field, what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    let scheduling = &spec.scheduling;
    if let Some(nice) = scheduling.nice {
        if !(-20..=19).contains(&nice) {
            let remedy = "Give a number from -20 (most time) to 19.";
            return refuse("scheduling.nice", format!("{nice} is not a nice value"), remedy);
        }
        if let Some(policy) = scheduling.policy.filter(|policy| !policy.has_nice()) {
            let what = format!("the policy {policy} knows no nice value");
            return refuse("scheduling.nice", what, "Leave one of them out.");
        }
    }
    if let Some(policy @ (SchedulingPolicy::Fifo { priority } | SchedulingPolicy::RoundRobin { priority })) =
        scheduling.policy
        && !(1..=99).contains(&priority)
    {
        return refuse("scheduling.policy", format!("{policy} has no such priority"), "Give one from 1 to 99.");
    }
    if let Some(io @ (IoPriority::BestEffort { level } | IoPriority::RealTime { level })) = scheduling.io
        && level > 7
    {
        return refuse("scheduling.io", format!("{io} has no such level"), "Give one from 0 (first) to 7.");
    }
    if let Some(cpu) = scheduling.affinity.as_ref().and_then(|list| list.numbers().find(|cpu| *cpu > LAST_PROCESSOR)) {
        let what = format!("no kernel has a processor {cpu}");
        return refuse("scheduling.affinity", what, "Name processors of this machine.");
    }
    Ok(())
}

/// More than any kernel is built for.
const LAST_PROCESSOR: u32 = 8191;

/// Whether the embedder writes into the child's `/proc` directory.
pub(super) fn needs_process(spec: &Spec) -> bool {
    spec.oom_score_adjust.is_some()
}

/// What only the embedder may: in a user namespace of its own, the child has no
/// rights over the host's kernel.
pub(super) fn attend(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    score(context, plan, report)?;
    affinity(context, plan, report);
    policy(context, plan, report)?;
    io_priority(context, plan, report)
}

fn affinity(context: &Context<'_>, plan: &mut Builder, report: &mut Report) {
    let Some(list) = &context.spec.scheduling.affinity else { return };
    let numbers: Vec<u8> = list.numbers().flat_map(u32::to_le_bytes).collect();
    let Some(cpus) = Numbers::new(&numbers) else { return };
    plan.step(Phase::Attend, format!("run on processors {list} only"), context.origin("scheduling.affinity"))
        .remedy("EINVAL: one of them is not there, is offline, or is not in this cgroup's cpuset: see Cpus_allowed_list in /proc/self/status.")
        .op(Op::Affinity { pid: role::PID, pidfd: role::PIDFD, cpus });
    report.applied("processors", list);
}

/// What the kernel will refuse, said before anything is made.
fn at_the_cost_of_others(context: &Context<'_>, field: &str, what: String, remedy: &str) -> Error {
    Error::new(ErrorKind::NotPermitted, format!("{what} takes CAP_SYS_NICE"))
        .from(context.spec.origins.of(field))
        .remedy(remedy)
}

fn policy(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let (scheduling, facts) = (&context.spec.scheduling, context.facts);
    let field = if scheduling.policy.is_some() { "scheduling.policy" } else { "scheduling.nice" };
    if scheduling.policy.is_none() && scheduling.nice.is_none() {
        return Ok(());
    }
    let policy = scheduling.policy.unwrap_or(SchedulingPolicy::Other);
    // Facts that somebody has made up may have any number for the caller's.
    let callers = facts.nice.clamp(-20, 19);
    let nice = if policy.has_nice() { scheduling.nice.unwrap_or(callers) } else { 0 };
    let (number, priority) = policy.raw();
    // setrlimit(2), RLIMIT_NICE: 20 less the nice value.
    let nice_limit = u32::from((20 - nice).unsigned_abs());
    if !facts.capabilities.has(cap::SYS_NICE) {
        let allowed = |resource| facts.hard_limits.get(&resource).copied().unwrap_or(u64::MAX);
        if policy.is_real_time() && u64::from(priority) > allowed(Resource::RTPRIO) {
            let remedy = "Run as root, raise the caller's limit RTPRIO, or choose another policy.";
            return Err(at_the_cost_of_others(context, field, format!("the policy {policy}"), remedy));
        }
        if policy.has_nice() && nice < callers && u64::from(nice_limit) > allowed(Resource::NICE) {
            let what = format!("the nice value {nice}, below the caller's own of {callers},");
            let remedy = "Run as root, raise the caller's limit NICE, or give a value that is not below it.";
            return Err(at_the_cost_of_others(context, "scheduling.nice", what, remedy));
        }
    }
    let text = if policy.has_nice() { format!("{policy}, nice {nice}") } else { policy.to_string() };
    plan.step(Phase::Attend, format!("schedule as {text}"), context.origin(field))
        .remedy("EPERM: this takes CAP_SYS_NICE or a higher limit NICE or RTPRIO (soft, of the caller), and with real-time groups of cgroup v1 a share of cpu.rt_runtime_us.")
        .op(Op::Schedule { pid: role::PID, pidfd: role::PIDFD, policy: number, nice: nice_limit, priority });
    report.applied("scheduling", text);
    Ok(())
}

fn io_priority(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let Some(priority) = context.spec.scheduling.io else { return Ok(()) };
    let may = [cap::SYS_NICE, cap::SYS_ADMIN].iter().any(|number| context.facts.capabilities.has(*number));
    if matches!(priority, IoPriority::RealTime { .. }) && !may {
        let what = format!("the priority of disks {priority}");
        return Err(at_the_cost_of_others(context, "scheduling.io", what, "Run as root, or choose best-effort."));
    }
    let (class, level) = priority.raw();
    plan.step(Phase::Attend, format!("ask disks as {priority}"), context.origin("scheduling.io"))
        .remedy("EPERM: the class real-time takes CAP_SYS_NICE.")
        .op(Op::IoPriority { pid: role::PID, pidfd: role::PIDFD, class, level });
    report.applied("io priority", priority);
    Ok(())
}

fn score(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
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

/// No memory that is written and executed, for every process of the container.
pub(super) fn deny_write_execute(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    const ITEM: &str = "memory deny write-execute";
    const SINCE: (u32, u32) = (6, 3);
    let (want, kernel) = (context.spec.memory_deny_write_execute, context.facts.kernel);
    let old = format!("Linux {}.{} has no PR_SET_MDWE, which came with 6.3", kernel.0, kernel.1);
    match want {
        Want::Off => report.off(ITEM, "not asked for"),
        Want::IfSupported if kernel < SINCE => report.unsupported(ITEM, old),
        Want::Require if kernel < SINCE => {
            return Err(Error::new(ErrorKind::Unsupported, old)
                .from(context.spec.origins.of("memory_deny_write_execute"))
                .remedy("Ask for it only if supported, or run a newer kernel."));
        }
        Want::Require | Want::IfSupported => {
            plan.step(
                Phase::Enter,
                "deny memory that is written and executed",
                context.origin("memory_deny_write_execute"),
            )
            .remedy("EINVAL: this kernel, or this processor, does not have PR_SET_MDWE.")
            .op(Op::DenyWriteExecute {});
            report.applied(ITEM, "for every process");
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    #[test]
    fn a_nice_value_that_no_process_has_is_none_of_the_plans() {
        let mut spec = Spec { command: vec!["true".into()], ..Spec::default() };
        spec.scheduling.policy = Some(SchedulingPolicy::Other);
        let mut facts = Facts::example(&spec);
        for (nice, shown) in [(115, "19"), (i8::MIN, "-20"), (7, "7")] {
            facts.nice = nice;
            let plan = crate::verify::verify(crate::compile(&spec, &facts).unwrap()).unwrap();
            let item = plan.plan().report().of("scheduling").unwrap().to_string();
            assert!(item.ends_with(&format!("other, nice {shown}")), "{item}");
        }
    }
}
