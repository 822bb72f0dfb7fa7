//! Running a verified plan that brings a process into a container.

use std::os::fd::OwnedFd;
use std::time::Instant;

use skep_sys::{Cell, Errno, Kernel, Op, OwnedSlots, Report, Slot, Slots, Stage, program};

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Phase, Plan, role};
use crate::run::{self, Attempt, Limits, failed, keep, left};
use crate::verify::Verified;

/// The container that is joined: the pidfd and the number of its process 1.
pub(super) struct Target {
    pub(super) pidfd: OwnedFd,
    pub(super) pid: u32,
}

/// Brings the process in, and returns once its program has been executed. The
/// slots then hold what the embedder keeps of it.
pub(super) fn enter<K: Kernel>(
    kernel: K,
    verified: Verified,
    given: Vec<(Slot, OwnedFd)>,
    target: Target,
    limits: Limits,
) -> Result<OwnedSlots> {
    let mut attempt = Attempt::new(kernel, verified, given, limits);
    attempt.slots.give(role::TARGET, target.pidfd);
    let known = attempt.slots.slots().put(role::TARGET_PID, Cell::Value(u64::from(target.pid)));
    known.map_err(|errno| Error::system("prepare the slots", errno))?;
    attempt.timed(Attempt::enter)?;
    attempt.over = true;
    Ok(std::mem::take(&mut attempt.slots))
}

impl<K: Kernel> Attempt<K> {
    fn enter(&mut self, end: Option<Instant>) -> Result<()> {
        self.run(end)?;
        let cancel = self.cancel.then_some(role::CANCEL);
        match meet(&mut self.kernel, &self.plan, &mut self.slots.slots(), (end, cancel)) {
            Ok(()) => self.listen(end, false),
            Err(Failed::Said(error)) => Err(error),
            Err(Failed::Silent) => Err(self.died()),
        }?;
        part(&mut self.kernel, &mut self.slots.slots())
    }
}

enum Failed {
    Said(Error),
    Silent,
}

/// Between the two halves: stage B sends the descriptor of a process that waits
/// in the container, and ends. The process goes on only if this side holds it.
fn meet<K: Kernel>(
    kernel: &mut K,
    plan: &Plan,
    slots: &mut Slots<'_>,
    (end, cancel): (Option<Instant>, Option<Slot>),
) -> std::result::Result<(), Failed> {
    let said = |what: &str, errno| Failed::Said(Error::system(format!("hear from the child: {what}"), errno));
    // Frees a number for the descriptor that comes.
    kernel.call(&Op::Close { file: role::IMAGE }, slots).map_err(|errno| said("close", errno))?;
    while slots.descriptor(role::MEMBER).is_err() {
        let (from, file, into) = (role::CONTROL_HOST, role::RECEIVED, role::RESULT);
        let receive = Op::Receive { from, timeout_ms: left(end), early: true, cancel, file, into };
        kernel.call(&receive, slots).map_err(|errno| match errno {
            Errno::ETIMEDOUT => Failed::Said(
                Error::new(ErrorKind::TimedOut, "the process did not get into the container in time")
                    .remedy("A container that is paused meanwhile keeps it waiting; or give it more time."),
            ),
            Errno::ECANCELED if cancel.is_some() => Failed::Said(run::cancelled()),
            other => said("recvmsg", other),
        })?;
        match slots.value(role::RESULT).map(Report::from_value) {
            Ok(Report::File { place }) => keep(plan, slots, place).map_err(Failed::Said)?,
            Ok(Report::Failed { op, errno }) => {
                return Err(Failed::Said(failed(plan, skep_sys::Failure { op, errno })));
            }
            _ => return Err(Failed::Silent),
        }
    }
    match kernel.call(&Op::Release { to: role::CONTROL_HOST }, slots) {
        // What it died of is still to be heard.
        Ok(()) | Err(Errno::ECANCELED) => Ok(()),
        Err(errno) => Err(said("send", errno)),
    }
}

/// Waits for stage B. It has done all it does; somebody else may have reaped it.
fn part<K: Kernel>(kernel: &mut K, slots: &mut Slots<'_>) -> Result<()> {
    let wait = Op::PidfdWait { process: role::PIDFD, timeout_ms: 10_000, into: role::RESULT };
    kernel.call(&wait, slots).map_err(|errno| Error::system("wait for the first stage: waitid", errno))
}

/// A start and then an exec into what it started, on a kernel that plays every
/// process, for tests of plans without root: see [`skep_sys::Model`]. An exec
/// that fails takes back what it had made, and leaves the container as it was.
///
/// # Errors
///
/// The error that a caller of a real exec would get.
pub fn rehearse_exec<K: Stage>(kernel: &mut K, container: &Verified, exec: &Verified) -> Result<()> {
    rehearsed(kernel, container.plan(), exec.plan())
}

/// As [`rehearse_exec`], also of plans that do not verify.
pub(crate) fn rehearsed<K: Stage>(kernel: &mut K, container: &Plan, plan: &Plan) -> Result<()> {
    let mut started = run::rehearsed(kernel, container)?;
    let of_container = Slots::new(&mut started);
    let mut cells = vec![Cell::Empty; usize::from(plan.slots())];
    let mut slots = Slots::new(&mut cells);
    let prepared = slots
        .put(role::TARGET, of_container.get(role::PIDFD))
        .and_then(|_| slots.put(role::TARGET_PID, of_container.get(role::PID)));
    prepared.map_err(|errno| Error::system("prepare the slots", errno))?;
    let ended = rehearse_parts(kernel, plan, &mut slots);
    ended.map_err(|error| {
        kernel.act_as(skep_sys::Actor::Host);
        // The container's own stays.
        let _ = slots.put(role::TARGET, Cell::Empty);
        error.leaving(run::take_back(kernel, plan, u32::MAX, &mut slots))
    })
}

fn rehearse_parts<K: Stage>(kernel: &mut K, plan: &Plan, slots: &mut Slots<'_>) -> Result<()> {
    use skep_sys::Actor::{Child, Host, Payload};
    let fault = |failure| failed(plan, failure);
    let quiet = &mut |_| {};
    kernel.act_as(Host);
    run::files(kernel, plan, slots)?;
    run::stand_ins(kernel, plan, slots)?;
    program::run(kernel, plan.section(Phase::Prepare), slots, quiet).map_err(fault)?;
    let mut inherited = slots.cells().to_vec();
    program::run(kernel, plan.section(Phase::Attend), slots, quiet).map_err(fault)?;
    kernel.act_as(Child);
    let child = &mut Slots::new(&mut inherited);
    program::run(kernel, plan.section(Phase::Enter), child, quiet).map_err(fault)?;
    let mut copied = child.cells().to_vec();
    program::run(kernel, plan.section(Phase::Init), child, quiet).map_err(fault)?;
    kernel.act_as(Host);
    meet(kernel, plan, slots, (None, None)).map_err(|failed| match failed {
        Failed::Said(error) => error,
        Failed::Silent => Error::new(ErrorKind::System, "the child ended"),
    })?;
    kernel.act_as(Payload);
    program::run(kernel, plan.section(Phase::Payload), &mut Slots::new(&mut copied), quiet).map_err(fault)?;
    run::hear(kernel, plan, slots)?;
    part(kernel, slots)
}
