//! Descriptors that the caller passes by number.
//!
//! In two phases, so that no number stands in the way of another: first every
//! descriptor of the start leaves the numbers that are wanted, then each that
//! is passed takes its own. What is opened later finds them taken.

use skep_sys::abi::Resource;
use skep_sys::wire::Numbers;
use skep_sys::{Op, Proof};

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Passed, Phase};
use crate::profile;
use crate::report::Report;
use crate::spec::{Descriptor, Init, Namespace, Origin, Spec};

/// What can be wrong with the numbers.
pub(super) fn check(spec: &Spec) -> Result<()> {
    let refuse = |what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of("descriptors")).remedy(remedy))
    };
    let default =
        profile::limits(spec.profile, &BTreeMap::new()).into_iter().find(|(resource, _)| *resource == Resource::NOFILE);
    let limit = spec
        .limits
        .get(Resource::NOFILE)
        .or_else(|| default.map(|(_, limit)| limit))
        .map_or(u64::MAX, |limit| limit.raw().0);
    let mut numbers: Vec<u32> = spec.descriptors.iter().map(|passed| passed.number).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("descriptor {} is passed twice", pair[0]), "Choose another number.");
    }
    if let Some(number) = numbers.iter().find(|number| **number < 3 || u64::from(**number) >= limit) {
        return refuse(
            format!("descriptor {number} cannot be passed: numbers go from 3 to the limit of open files, {limit}"),
            "0 to 2 are the streams (`stdio`).",
        );
    }
    let mut listen: Vec<u32> =
        spec.descriptors.iter().filter(|passed| passed.listen).map(|passed| passed.number).collect();
    listen.sort_unstable();
    if !listen.iter().copied().eq((3..).take(listen.len())) {
        return refuse(
            "descriptors for $LISTEN_FDS are not those from 3 on".to_owned(),
            "sd_listen_fds(3) counts from 3.",
        );
    }
    if !listen.is_empty() && spec.namespaces.pid == Namespace::Host {
        return refuse(
            "$LISTEN_PID cannot be known where process ids are the host's".to_owned(),
            "Give the container its own process ids, or set the variables yourself.",
        );
    }
    Ok(())
}

/// How many are announced, and the payload's process id inside.
pub(super) fn listen(spec: &Spec) -> Option<(usize, u32)> {
    let count = spec.descriptors.iter().filter(|passed| passed.listen).count();
    (count > 0).then_some((count, if spec.init == Init::Stub { 2 } else { 1 }))
}

/// The runner puts them into their slots; here they are looked at.
pub(crate) fn prepare(descriptors: &[Descriptor], origin: Origin, plan: &mut Builder, report: &mut Report) {
    for descriptor in descriptors {
        let number = descriptor.number;
        let slot = plan.slot();
        if descriptor.danger_directory {
            report.applied(format!("descriptor {number}"), "passed, whatever it is");
        } else {
            plan.step(Phase::Prepare, format!("look at descriptor {number}"), origin.clone())
                .remedy("A directory, or what was opened with O_PATH, leads out of the root: bind it instead.")
                .op(Op::Prove { file: slot, proof: Proof::Passable });
            report.applied(format!("descriptor {number}"), "passed, no directory");
        }
        plan.keep(slot).pass(Passed { number, slot });
    }
}

/// Directly after the child has closed what is not its own.
pub(super) fn enter(origin: Origin, plan: &mut Builder) {
    let passed = plan.passed().to_vec();
    if passed.is_empty() {
        return;
    }
    let numbers: Vec<u8> = passed.iter().flat_map(|passed| passed.number.to_le_bytes()).collect();
    plan.step(Phase::Enter, "put the caller's descriptors in their places", origin)
        .remedy("EBADF, EINVAL: the number is above this program's own limit of open files (ulimit -n).");
    if let Some(numbers) = Numbers::new(&numbers) {
        plan.op(Op::Vacate { numbers });
    }
    for Passed { number, slot } in passed {
        plan.op(Op::Dup { file: slot, number }).op(Op::Close { file: slot });
    }
}
