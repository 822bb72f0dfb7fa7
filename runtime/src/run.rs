//! Running a verified plan on a kernel, and taking it back when it fails.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_sys::abi::{OpenFlags, Resolve, Seals, signal};
use skep_sys::program::{PROGRESS_OFFSET, image};
use skep_sys::spawn::STAGE_B;
use skep_sys::wire::{Blob, Reader};
use skep_sys::{Cell, Errno, Failure, Kernel, Op, OpKind, OwnedSlots, Slot, Slots, WaitStatus, program};

use crate::compile::network::tables;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Phase, Plan, role};
use crate::verify::Verified;
use crate::watcher::{self, Watcher};

/// A started container, before it becomes a [`crate::Container`].
pub(crate) struct Started {
    pub(crate) plan: Plan,
    pub(crate) slots: OwnedSlots,
    pub(crate) pid: u32,
    pub(crate) watch: Option<Watch>,
}

/// What the watcher was entrusted with.
pub(crate) struct Watch {
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) id: u64,
}

/// How a start may be ended before its time.
pub(crate) struct Limits {
    /// For the library's own part of it.
    pub(crate) deadline: Option<Duration>,
    /// Ends it when it can be read.
    pub(crate) cancel: Option<OwnedFd>,
}

/// Starts a container: runs the plan on `kernel`, and returns once the payload
/// has been executed.
pub(crate) fn start<K: Kernel>(
    kernel: K,
    verified: Verified,
    given: Vec<(Slot, OwnedFd)>,
    limits: Limits,
) -> Result<Started> {
    create(kernel, verified, given, limits)?.start()
}

/// The first part of a start: up to where the plan holds the child, or lets it
/// go.
pub(crate) fn create<K: Kernel>(
    kernel: K,
    verified: Verified,
    given: Vec<(Slot, OwnedFd)>,
    limits: Limits,
) -> Result<Held<K>> {
    let mut attempt = Attempt::new(kernel, verified, given, limits);
    attempt.timed(Attempt::run)?;
    Ok(Held(attempt))
}

/// A start that has come to its half. Dropped, it takes back what it made.
pub(crate) struct Held<K: Kernel>(Attempt<K>);

impl<K: Kernel> Held<K> {
    /// The second part: lets the child go, and hears it to the end.
    pub(crate) fn start(self) -> Result<Started> {
        let Self(mut attempt) = self;
        attempt.timed(Attempt::finish)?;
        attempt.over = true;
        let (pid, watch) = (attempt.pid(), attempt.watch.take());
        let (mut slots, plan) = (std::mem::take(&mut attempt.slots), Arc::clone(&attempt.plan));
        drop(attempt);
        // What only the start needed; the rest belongs to the container.
        let used = [role::IMAGE, role::PLAN, role::CONTROL_HOST, role::PROCESS, role::USERNS, role::CANCEL];
        for slot in used.into_iter().chain(role::JOINS) {
            drop(slots.take(slot));
        }
        Ok(Started { plan: Arc::unwrap_or_clone(plan), slots, pid, watch })
    }

    /// Takes it back, and says what stays.
    pub(crate) fn abandon(self) -> Vec<Error> {
        let Self(mut attempt) = self;
        attempt.take_back()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.0.slots.borrow(role::PIDFD)
    }
}

impl<K: Kernel> std::fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("machine", self.plan().machine()).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Dropped before it is over, by an error or a panic, it takes back.
pub(crate) struct Attempt<K: Kernel> {
    pub(crate) kernel: K,
    pub(crate) plan: Arc<Plan>,
    pub(crate) slots: OwnedSlots,
    watch: Option<Watch>,
    /// How many ops of the embedder's phases have been performed.
    done: u32,
    /// What is left of the deadline.
    left: Option<Duration>,
    pub(crate) cancel: bool,
    pub(crate) over: bool,
}

impl<K: Kernel> Drop for Attempt<K> {
    fn drop(&mut self) {
        if !self.over {
            self.take_back();
        }
    }
}

impl<K: Kernel> Attempt<K> {
    pub(crate) fn new(kernel: K, verified: Verified, given: Vec<(Slot, OwnedFd)>, limits: Limits) -> Self {
        let plan = Arc::new(verified.into_plan());
        let mut slots = OwnedSlots::new(usize::from(plan.slots()));
        let cancel = limits.cancel.is_some();
        for (slot, file) in given.into_iter().chain(limits.cancel.map(|file| (role::CANCEL, file))) {
            slots.give(slot, file);
        }
        Self { kernel, plan, slots, watch: None, done: 0, left: limits.deadline, cancel, over: false }
    }

    /// The embedder's two phases; the child is held at its half then, or goes on.
    pub(crate) fn run(&mut self, end: Option<Instant>) -> Result<()> {
        files(&mut self.kernel, &self.plan, &mut self.slots.slots())?;
        crate::registry::clear(&mut self.kernel, &self.plan)?;
        self.watched()?;
        let mut prepared = self.section(Phase::Prepare);
        self.settled()?;
        // The watcher has ended since it was asked, and the first op is what it is entrusted
        // with.
        let refused = |error: &Error| error.errno() == Some(Errno::EPIPE);
        if prepared.as_ref().is_err_and(refused) && self.watch.is_some() && self.done == 0 {
            self.watched()?;
            prepared = self.section(Phase::Prepare);
            self.settled()?;
        }
        prepared?;
        // The child's ends now belong to the child: while this side held them
        // too, a child that died would never read as closed.
        let passed = self.plan.passed.iter().map(|passed| passed.slot);
        for slot in role::STDIO.into_iter().chain([role::CONTROL, role::LIFELINE]).chain(passed) {
            drop(self.slots.take(slot));
        }
        let Err(error) = self.section(Phase::Attend) else {
            return if self.plan.hold { self.listen(end, true) } else { Ok(()) };
        };
        // Where the child has gone, what it said before says more: what is
        // asked of a process that has ended fails in many ways. It loses its
        // memory a moment before its end of the conversation.
        match self.listen(Some(Instant::now() + Duration::from_millis(100)), false) {
            Err(heard) if !matches!(heard.kind(), ErrorKind::TimedOut | ErrorKind::Cancelled) => Err(heard),
            _ => Err(error),
        }
    }

    /// Has a watcher, where the plan wants one.
    fn watched(&mut self) -> Result<()> {
        if !self.plan.watch.is_empty() {
            let watcher = watcher::get(&mut self.kernel, self.slots.borrow(role::IMAGE))?;
            self.slots.give(role::WATCHER, watcher.socket()?);
            self.watch = Some(Watch { id: watcher.fresh_id(), watcher });
        }
        Ok(())
    }

    /// No process of a container goes on without the watcher that the plan wants.
    fn settled(&mut self) -> Result<()> {
        match &self.watch {
            Some(watch) => watch.watcher.settle(&mut self.kernel),
            None => Ok(()),
        }
    }

    /// After the half.
    fn finish(&mut self, end: Option<Instant>) -> Result<()> {
        if self.plan.hold {
            self.end_if_cancelled()?;
            let release = Op::Release { to: role::CONTROL_HOST };
            match self.kernel.call(&release, &mut self.slots.slots()) {
                // What it died of is still to be heard.
                Ok(()) | Err(Errno::ECANCELED) => {}
                Err(errno) => return Err(Error::system("let the child go on: send", errno)),
            }
        }
        self.listen(end, false)?;
        let pid = self.pid();
        crate::registry::complete(&mut self.kernel, &self.plan, Some(pid), &mut self.slots.slots())
    }

    /// Runs one half of the start, on what is left of the deadline.
    pub(crate) fn timed(&mut self, half: impl FnOnce(&mut Self, Option<Instant>) -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        // One beyond the clock's end is none.
        let end = self.left.and_then(|left| begun.checked_add(left));
        let ended = half(self, end);
        self.left = self.left.map(|left| left.saturating_sub(begun.elapsed()));
        ended.map_err(|error| error.leaving(self.take_back()))
    }

    /// Takes back what was made, once, and says what stays.
    fn take_back(&mut self) -> Vec<Error> {
        self.over = true;
        let id = self.watch.as_ref().map_or(0, |watch| watch.id);
        undo(&mut self.kernel, &self.plan, (self.done, false), id, &mut self.slots.slots())
    }

    fn pid(&self) -> u32 {
        self.slots.value(role::PID).map_or(0, |pid| pid as u32)
    }

    fn end_if_cancelled(&mut self) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let Some(cancel) = self.slots.borrow(role::CANCEL) else { return Ok(()) };
        let mut polled = [PollFd::new(cancel, PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(1..) => Err(cancelled()),
            _ => Ok(()),
        }
    }

    fn section(&mut self, phase: Phase) -> Result<()> {
        let id = self.watch.as_ref().map_or(0, |watch| watch.id);
        self.end_if_cancelled()?;
        let Self { kernel, plan, slots, done, .. } = self;
        let plan: &Plan = plan;
        for (index, op) in plan.section(phase).iter() {
            let result = match op {
                Some(op) => kernel.call(&with_id(op, id), &mut slots.slots()),
                None => Err(Errno::EBADMSG),
            };
            result.map_err(|errno| failed(plan, Failure { op: index, errno }))?;
            *done = index + 1;
        }
        Ok(())
    }

    /// Hears what the child reports, until its exec or its end, or until it
    /// waits for the half of the start.
    pub(crate) fn listen(&mut self, end: Option<Instant>, early: bool) -> Result<()> {
        let mut announced = false;
        loop {
            let timeout_ms = left(end);
            let (file, into) = (role::RECEIVED, role::RESULT);
            let cancel = self.cancel.then_some(role::CANCEL);
            let receive = Op::Receive { from: role::CONTROL_HOST, timeout_ms, early, cancel, file, into };
            self.kernel.call(&receive, &mut self.slots.slots()).map_err(|errno| match errno {
                Errno::ECANCELED if self.cancel => cancelled(),
                Errno::ETIMEDOUT => {
                    Error::new(ErrorKind::TimedOut, format!("the start did not end in time, at: {}", self.position()))
                        .remedy("A slow or hanging file system can be the cause; or give it more time.")
                }
                other => Error::system("hear from the child: recv", other),
            })?;
            let report = self.slots.slots().value(role::RESULT).map(skep_sys::Report::from_value);
            match report {
                Ok(skep_sys::Report::Failed { op, errno }) => return Err(failed(&self.plan, Failure { op, errno })),
                Ok(skep_sys::Report::Marker) => announced = true,
                Ok(skep_sys::Report::Waiting) if early => return Ok(()),
                Ok(skep_sys::Report::Waiting) => {}
                Ok(skep_sys::Report::File { place }) => keep(&self.plan, &mut self.slots.slots(), place)?,
                Ok(skep_sys::Report::Closed) if announced => return complete(&self.plan, &self.slots.slots()),
                Ok(skep_sys::Report::Closed) | Err(_) => return Err(self.died()),
            }
        }
    }

    /// The child ended without a word.
    pub(crate) fn died(&mut self) -> Error {
        let at = self.position();
        // In a container that was entered it is the process that was brought in.
        let member = self.plan.sent().any(|place| place == role::MEMBER) && self.slots.borrow(role::MEMBER).is_some();
        let process = if member { role::MEMBER } else { role::PIDFD };
        let wait = Op::PidfdWait { process, timeout_ms: 2000, into: role::RESULT };
        let waited = self.kernel.call(&wait, &mut self.slots.slots());
        let status = waited.and_then(|()| self.slots.slots().value(role::RESULT)).map(WaitStatus::from_value);
        let how = match status {
            Ok(WaitStatus::Signaled(signal::KILL)) => "was killed (SIGKILL: out of memory, or by hand)".to_owned(),
            Ok(WaitStatus::Signaled(number)) => format!("was killed by signal {number}"),
            Ok(WaitStatus::Exited(code)) => format!("ended with {code}"),
            Ok(WaitStatus::Lost) | Err(_) => "ended".to_owned(),
        };
        Error::new(ErrorKind::System, format!("the child {how} at: {at}"))
            .remedy("A memory limit that is too small for the start shows like this too.")
    }

    /// What the child was doing last.
    fn position(&mut self) -> String {
        let peek = Op::Peek { file: role::PLAN, offset: PROGRESS_OFFSET, into: role::RESULT };
        let word =
            self.kernel.call(&peek, &mut self.slots.slots()).and_then(|()| self.slots.slots().value(role::RESULT));
        let index = word.ok().and_then(|word| u32::try_from(word.checked_sub(1)?).ok());
        match index.and_then(|index| self.plan.step_of(index)) {
            Some(step) => step.what.clone(),
            None => "the exec of the first stage".to_owned(),
        }
    }
}

/// Milliseconds until `end`, as the ops take them.
pub(crate) fn left(end: Option<Instant>) -> u32 {
    match end {
        Some(end) => {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            u32::try_from(left).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
        }
        None => u32::MAX,
    }
}

/// A descriptor has come: it goes where the plan says, once, and nowhere else.
pub(crate) fn keep(plan: &Plan, slots: &mut Slots<'_>, place: Slot) -> Result<()> {
    let wanted = plan.sent().any(|sent| sent == place) && slots.get(place) == Cell::Empty;
    let moved = match slots.get(role::RECEIVED) {
        came @ Cell::Descriptor(_) if wanted => {
            slots.put(place, came).and_then(|_| slots.put(role::RECEIVED, Cell::Empty))
        }
        _ => Err(Errno::EBADMSG),
    };
    moved
        .map(drop)
        .map_err(|errno| Error::system("hear from the child: a descriptor that the plan does not send", errno))
}

/// Whether everything has come that the plan sends.
fn complete(plan: &Plan, slots: &Slots<'_>) -> Result<()> {
    match plan.sent().find(|place| slots.descriptor(*place).is_err()) {
        Some(_) => Err(Error::system("hear from the child: a descriptor that the plan sends", Errno::EBADMSG)),
        None => Ok(()),
    }
}

/// Stage B and the plan, each in a memfd.
pub(crate) fn files<K: Kernel>(kernel: &mut K, plan: &Plan, slots: &mut Slots<'_>) -> Result<()> {
    let seals = Seals::SEAL.with(Seals::SHRINK).with(Seals::GROW).with(Seals::WRITE);
    let stage = Op::MemFd { name: c"skep", content: Blob(STAGE_B), seals, executable: true, into: role::IMAGE };
    let bytes = image(&plan.child(), usize::from(plan.slots()), role::CONTROL);
    let content = Blob(&bytes);
    let plan = Op::MemFd { name: c"skep-plan", content, seals: Seals::NONE, executable: false, into: role::PLAN };
    for (op, what) in [(stage, "make an executable memfd for the first stage"), (plan, "make a memfd for the plan")] {
        kernel.call(&op, slots).map_err(|errno| {
            let refused = "Executable memfds may be refused here: sysctl vm.memfd_noexec must not be 2.";
            Error::system(format!("{what}: memfd_create"), errno).remedy(scarcity(op.kind(), errno).unwrap_or(refused))
        })?;
    }
    Ok(())
}

/// The plan says "the watcher's entry of this container"; which one that is,
/// is known only at the start.
fn with_id(op: Op<'_>, id: u64) -> Op<'_> {
    match op {
        Op::Entrust { watcher, ops, .. } => Op::Entrust { watcher, id, ops },
        Op::EntrustFile { watcher, place, file, .. } => Op::EntrustFile { watcher, id, place, file },
        Op::Dismiss { watcher, .. } => Op::Dismiss { watcher, id },
        other => other,
    }
}

/// Takes back what the first `done` ops of the embedder made, last first. An
/// undo that fails does not keep the next from its turn; what it could not
/// take back is the answer. Of a container that has `ended` the process is
/// gone already.
pub(crate) fn undo<K: Kernel>(
    kernel: &mut K,
    plan: &Plan,
    (done, ended): (u32, bool),
    id: u64,
    slots: &mut Slots<'_>,
) -> Vec<Error> {
    let mut left = Vec::new();
    for undo in plan.undo.iter().rev().filter(|undo| undo.of < done) {
        let Some(op) = Op::read(&mut Reader::new(&undo.op)) else { continue };
        if ended && matches!(op, Op::PidfdSignal { .. } | Op::PidfdWait { .. }) {
            continue;
        }
        if let Err(errno) = kernel.call(&with_id(op, id), slots) {
            left.extend(left_by(&op, errno));
        }
    }
    left
}

/// What stays on the host when an undo fails with `errno`, if anything does.
fn left_by(op: &Op<'_>, errno: Errno) -> Option<Error> {
    let shown = |path: &std::ffi::CStr| path.to_string_lossy().into_owned();
    let (what, remedy) = match op {
        Op::RemoveGroup { path, .. } => {
            let remedy = "Whoever may write to the group above can remove it, once no process is in it (rmdir).";
            (format!("remove the cgroup {}", shown(path)), remedy)
        }
        Op::KillGroup { path, .. } => {
            (format!("kill the processes of the cgroup {}", shown(path)), "They may run on: see its cgroup.procs.")
        }
        Op::Unlink { path, .. } => {
            let remedy = "Somebody has put or mounted something there: remove that, and then the directory.";
            (format!("remove {}", shown(path)), remedy)
        }
        Op::Unmount { path, .. } => (format!("unmount {}", shown(path)), "`skep gc` tries it again; or umount(8)."),
        Op::UnlinkSame { name, .. } => {
            (format!("remove the entry {} of the registry", shown(name)), "The next look at the registry removes it.")
        }
        Op::LinkRemove { name, .. } | Op::ZoneLeave { port: name, .. } => {
            let remedy = "The kernel removes it with the container's network namespace; else `ip link del` does.";
            (format!("remove the interface {}", shown(name)), remedy)
        }
        Op::LinkMove { name, new_name, .. } => {
            let remedy = "A card is back by itself once the container's network namespace is gone, under the name that it had inside.";
            (format!("take back the interface {}, {} inside", shown(new_name), shown(name)), remedy)
        }
        Op::ReleaseIds { path, .. } => {
            (format!("remove {}", shown(path)), "It may be removed once no container has a range of ids.")
        }
        // A process that never came into the container.
        Op::PidfdSignal { process: role::MEMBER, .. } if errno == Errno::EBADF => return None,
        Op::PidfdSignal { .. } => ("kill the child".to_owned(), "It ends with this process at the latest."),
        // Whoever has been waited for already cannot be waited for again.
        Op::PidfdWait { .. } if errno == Errno::ETIMEDOUT => {
            let remedy =
                "It is killed, and ends once the kernel lets go of it: a hanging file system can be the cause.";
            ("wait for the child".to_owned(), remedy)
        }
        // The watcher finds nothing left to do.
        _ => return None,
    };
    Some(Error::system(what, errno).remedy(remedy))
}

/// An op's failure as an error: the step, the call, why, where from, what to do.
pub(crate) fn failed(plan: &Plan, failure: Failure) -> Error {
    let Failure { op: index, errno } = failure;
    let op = plan.ops().find(|(at, _, _)| *at == index).map(|(_, _, op)| op);
    let call = op.as_ref().map_or("an unknown call", |op| op.kind().name());
    let Some(step) = plan.step_of(index) else {
        return Error::system(format!("op {index}: {call}"), errno);
    };
    let error = match (&op, errno) {
        (Some(Op::Create { dir: skep_sys::At::Slot(role::REGISTRY), .. }), Errno::EEXIST) => {
            let what = format!("{}: a container of this name lives", step.what);
            let error = Error::system(what, errno).kind_is(ErrorKind::NameTaken).from(Some(&step.origin));
            return error.remedy("Choose another name, or stop that container first (skep stop NAME).");
        }
        (Some(Op::LockIds { .. }), Errno::EAGAIN) => {
            let error = Error::system(step.what.clone(), errno).kind_is(ErrorKind::RangeTaken).from(Some(&step.origin));
            return error.remedy("Another container holds this range; choose another, or let one be picked.");
        }
        (Some(Op::LockIds { .. }), Errno::ESTALE | Errno::ELOOP) => {
            let what = format!("{}: /run/skep-ids is no file that root alone may open", step.what);
            let error = Error::system(what, errno).kind_is(ErrorKind::SafetyViolation).from(Some(&step.origin));
            return error.remedy("Somebody has put it there: remove it.");
        }
        // Between the look at the host and here.
        (Some(Op::NfTables { .. }), Errno::EADDRINUSE) => {
            let mine = plan.published.iter().flat_map(|of| of.0.ports.iter());
            let published = crate::facts::published();
            let meets = |port| published.iter().find(|(_, claim)| claim.meets(&tables::claim(port)));
            let found = mine.filter_map(|port| Some((port, meets(port)?))).next();
            let what = match found {
                Some((port, (table, claim))) => {
                    format!("{}: the port {port} is taken: {} publishes {claim}", step.what, tables::who(table))
                }
                None => format!("{}: another container had one of them a moment ago", step.what),
            };
            let error = Error::system(what, errno).kind_is(ErrorKind::PortTaken).from(Some(&step.origin));
            return error.remedy(tables::TAKEN);
        }
        // mount_setattr(2): the file system, or one below it, has no id-mapped mounts.
        (Some(Op::MountSetAttr { userns: Some(_), .. }), Errno::EINVAL | Errno::EPERM | Errno::EOPNOTSUPP)
            if step.what.starts_with(crate::compile::ROOT_IDS) =>
        {
            Error::system(format!("{}: {call}", step.what), errno).kind_is(ErrorKind::NoIdMap)
        }
        (Some(Op::RouteAdd { .. }), Errno::EEXIST) => {
            Error::system(format!("{}: {call}", step.what), errno).kind_is(ErrorKind::NetworkTaken)
        }
        (Some(Op::Exec { .. }), Errno::ENOENT) => {
            Error::system(format!("{}: not found in container", step.what), errno)
        }
        (Some(Op::Exec { .. }), Errno::EACCES) => {
            let error = Error::system(format!("{}: may not be executed", step.what), errno).from(Some(&step.origin));
            let rules = |op: &Op<'_>| matches!(op, Op::LandlockRuleset { file_access, .. } if file_access & 1 != 0);
            if plan.ops().any(|(_, _, op)| rules(&op)) {
                return error.remedy("A Landlock rule must allow `execute` and `read` of it and of its interpreter; beside that, it must be a file that the payload's user may execute, on no mount that is noexec.");
            }
            return error.remedy(
                "It must be a file that the payload's user may execute (chmod +x), and lie on no mount that is noexec.",
            );
        }
        (Some(Op::Exec { .. }), Errno::ENOEXEC) => {
            let error = Error::system(format!("{}: {call}", step.what), errno).from(Some(&step.origin));
            return error
                .remedy("It must be a program for this machine, or a script that starts with #! and its interpreter.");
        }
        (_, Errno::ELOOP) => Error::system(format!("{}: {call}: a symbolic link stands in the way", step.what), errno)
            .kind_is(ErrorKind::SafetyViolation),
        _ => Error::system(format!("{}: {call}", step.what), errno),
    };
    let error = error.from(Some(&step.origin));
    // What a step knows of its own failures is no advice where the caller has
    // run out of something.
    let scarce = op.as_ref().and_then(|op| scarcity(op.kind(), errno));
    match (scarce, &step.remedy) {
        (Some(remedy), _) => error.remedy(remedy),
        (None, Some(remedy)) => error.remedy(remedy.clone()),
        (None, None) => match generic_remedy(errno) {
            Some(remedy) => error.remedy(remedy),
            None => error,
        },
    }
}

/// What to do where a limit of the caller, or of the container, is used up.
fn scarcity(call: OpKind, errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EMFILE => Some(
            "Raise the limit of open descriptors: the caller's (ulimit -n), or the container's own (NOFILE) where one is set.",
        ),
        Errno::ENFILE => Some("The host's limit of open files is reached: raise sysctl fs.file-max."),
        Errno::EFBIG => {
            Some("The plan is handed over in a file in memory: raise the caller's limit of file sizes (ulimit -f).")
        }
        Errno::EAGAIN if matches!(call, OpKind::Spawn | OpKind::Fork | OpKind::Sibling) => Some(
            "Raise the limit of processes: the container's own (pids, NPROC), the caller's (ulimit -u), or that of its cgroup.",
        ),
        _ => None,
    }
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the start was cancelled")
}

pub(crate) fn generic_remedy(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ELOOP => Some("No link is followed there: put a directory, or a file, in the link's place."),
        Errno::ENOSPC => Some("A limit of the host is reached: see sysctl user.max_*_namespaces, and free space."),
        Errno::ENOMEM => Some("There is not enough memory, or the container's own limit is too small."),
        Errno::EPERM | Errno::EACCES => Some("`skep doctor` lists what this host allows to this user."),
        Errno::ENOSYS => {
            Some("The kernel is too old (5.15 is needed), or a filter around this program refuses the call.")
        }
        Errno::ESTALE => Some("It changed between looking and opening; somebody else is at work there."),
        _ => None,
    }
}

/// A real start in which op `index` fails with `errno`, in whichever process
/// performs it: for tests that nothing is executed and nothing is left. What the
/// caller would give is `/dev/null`, and of namespaces this process's own.
///
/// # Errors
///
/// The error of the failed start, nearly always: what is made to fail after
/// the payload's exec cannot fail the start any more.
pub fn start_with_fault(plan: &Plan, index: u32, errno: Errno) -> Result<crate::Container> {
    let verified = crate::verify::verify(plan.clone())?.with_fault(index, errno);
    let limits = Limits { deadline: Some(Duration::from_secs(60)), cancel: None };
    let mut slots = OwnedSlots::new(usize::from(plan.slots()));
    stand_ins(&mut skep_sys::Linux::new(), plan, &mut slots.slots())?;
    let given = (0..plan.slots()).filter_map(|slot| Some((Slot(slot), slots.take(Slot(slot))?))).collect();
    let started = start(skep_sys::Linux::new(), verified, given, limits)?;
    crate::Container::new(started)
}

/// A whole start on a kernel that plays every process, for tests of plans
/// without root: see [`skep_sys::Model`].
///
/// # Errors
///
/// The error that a caller of a real start would get. What had been made is
/// taken back, as after a real start that failed.
pub fn rehearse<K: skep_sys::Stage>(kernel: &mut K, verified: &Verified) -> Result<()> {
    rehearsed(kernel, verified.plan()).map(drop)
}

/// A whole life on the kernel in memory: the start, a look while the container runs,
/// the payload's end, and what a handle takes back then. Of the start nothing may be
/// left ([`skep_sys::Model::host_changes`]).
///
/// # Errors
///
/// As [`rehearse`]; then nobody looks.
pub fn rehearse_life(
    model: &mut skep_sys::Model,
    verified: &Verified,
    look: impl FnOnce(&skep_sys::Model),
) -> Result<()> {
    let mut cells = rehearsed(model, verified.plan())?;
    look(model);
    end_of_life(model, verified.plan(), &mut cells);
    Ok(())
}

/// The payload ends by itself.
pub(crate) fn end_of_life(model: &mut skep_sys::Model, plan: &Plan, cells: &mut [Cell]) {
    for actor in [skep_sys::Actor::Payload, skep_sys::Actor::Child] {
        model.finish(actor, WaitStatus::Exited(0));
    }
    skep_sys::Stage::act_as(model, skep_sys::Actor::Host);
    take_back(model, plan, u32::MAX, &mut Slots::new(cells));
}

/// As [`rehearse`]: what the embedder's slots hold at the end. Tests of the rules
/// come with plans that do not verify.
pub(crate) fn rehearsed<K: skep_sys::Stage>(kernel: &mut K, plan: &Plan) -> Result<Vec<Cell>> {
    let mut cells = vec![Cell::Empty; usize::from(plan.slots())];
    let mut slots = Slots::new(&mut cells);
    kernel.act_as(skep_sys::Actor::Host);
    let mut counting = Counting { kernel, host_calls: 0, actor: skep_sys::Actor::Host };
    let mut ended = files(&mut counting, plan, &mut slots);
    if ended.is_ok() && !plan.watch.is_empty() {
        // Nobody need listen: what is entrusted is the kernel's to remember.
        let pair = Op::SocketPair { one: role::WATCHER, other: role::THREE };
        ended = counting.call(&pair, &mut slots).map_err(|errno| Error::system("start the watcher", errno));
    }
    if ended.is_ok() {
        ended = stand_ins(&mut counting, plan, &mut slots);
    }
    counting.host_calls = 0;
    if ended.is_ok() {
        let (prepare, attend) = (plan.section(Phase::Prepare), plan.section(Phase::Attend));
        ended = program::rehearse(&mut counting, prepare, attend, &plan.child(), &mut slots)
            .map_err(|failure| failed(plan, failure));
    }
    if ended.is_ok() && plan.sent().next().is_some() {
        ended = hear(&mut counting, plan, &mut slots);
    }
    let done = counting.host_calls;
    if ended.is_ok() {
        skep_sys::Stage::act_as(&mut counting, skep_sys::Actor::Host);
        ended = crate::registry::complete(&mut counting, plan, None, &mut slots);
    }
    ended.map_err(|error| {
        kernel.act_as(skep_sys::Actor::Host);
        let left = take_back(kernel, plan, done, &mut slots);
        error.leaving(left)
    })?;
    Ok(cells)
}

/// What a rehearsal that failed leaves, like a table of slots that is dropped.
pub(crate) fn take_back<K: Kernel>(kernel: &mut K, plan: &Plan, done: u32, slots: &mut Slots<'_>) -> Vec<Error> {
    let left = undo(kernel, plan, (done, false), 0, slots);
    for index in 0..plan.slots() {
        if matches!(slots.get(Slot(index)), Cell::Descriptor(_)) {
            let _ = kernel.call(&Op::Close { file: Slot(index) }, slots);
        }
    }
    left
}

/// What the caller would pass: `/dev/null`, and of namespaces its own.
pub(crate) fn stand_ins<K: Kernel>(kernel: &mut K, plan: &Plan, slots: &mut Slots<'_>) -> Result<()> {
    const OWN: [&std::ffi::CStr; 6] = [c"net", c"ipc", c"uts", c"cgroup", c"pid", c"time"];
    if let Some(tree) = &plan.tree {
        let path = crate::compile::c_path(tree)?;
        let flags = skep_sys::abi::TreeFlags::CLONE;
        let clone = Op::OpenTree { dir: skep_sys::At::Cwd, path: &path, flags, into: role::TREE };
        kernel.call(&clone, slots).map_err(|errno| Error::system("take a tree for a disk image's", errno))?;
    }
    let mut open = |path: &std::ffi::CStr, flags, into| {
        let (dir, mode, resolve) = (skep_sys::At::Cwd, 0, Resolve::NONE);
        kernel.call(&Op::OpenAt2 { dir, path, flags, mode, resolve, into }, slots).map_err(|errno| {
            Error::system(format!("open {} for a descriptor that is given", path.to_string_lossy()), errno)
        })
    };
    let streams = role::STDIO.into_iter().filter(|slot| is_given(plan, *slot));
    for slot in plan.passed.iter().map(|passed| passed.slot).chain(streams) {
        open(c"/dev/null", OpenFlags::READ_WRITE, slot)?;
    }
    for (slot, name) in role::JOINS.into_iter().zip(OWN).filter(|(slot, _)| is_given(plan, *slot)) {
        let path = [b"/proc/thread-self/ns/", name.to_bytes_with_nul()].concat();
        let path = std::ffi::CStr::from_bytes_with_nul(&path).unwrap_or(c"");
        open(path, OpenFlags::NONE, slot)?;
    }
    Ok(())
}

/// The slots that somebody else fills.
#[cfg(test)]
pub(crate) fn given(plan: &Plan) -> Vec<Slot> {
    role::STDIO.into_iter().chain(role::JOINS).filter(|slot| is_given(plan, *slot)).collect()
}

/// Whether the child gets what is in a slot, and nothing puts it there.
fn is_given(plan: &Plan, slot: Slot) -> bool {
    let mut prepare = plan.section(Phase::Prepare).iter().filter_map(|(_, op)| op);
    let fills = |op: Op<'_>| match op {
        Op::OpenAt2 { into, .. } => into == slot,
        Op::Pipe { read, write } => read == slot || write == slot,
        _ => false,
    };
    let wants = |op: Op<'_>| match op {
        Op::Spawn { keep, joins, .. } => {
            keep.iter().chain(joins.iter().step_by(2)).any(|kept| kept == u32::from(slot.0))
        }
        _ => false,
    };
    !prepare.any(fills) && plan.section(Phase::Prepare).iter().filter_map(|(_, op)| op).any(wants)
}

/// What the embedder hears at the end of a rehearsal in which something is
/// sent: nobody listens meanwhile.
pub(crate) fn hear<K: skep_sys::Stage>(kernel: &mut K, plan: &Plan, slots: &mut Slots<'_>) -> Result<()> {
    kernel.act_as(skep_sys::Actor::Host);
    let mut ask = |op: Op<'_>, slots: &mut Slots<'_>| {
        kernel
            .call(&op, slots)
            .map_err(|errno| Error::system(format!("hear from the child: {}", op.kind().name()), errno))
    };
    ask(Op::Close { file: role::CONTROL }, slots)?;
    loop {
        let (file, into) = (role::RECEIVED, role::RESULT);
        let receive =
            Op::Receive { from: role::CONTROL_HOST, timeout_ms: 1000, early: false, cancel: None, file, into };
        ask(receive, slots)?;
        match slots.value(role::RESULT).map(skep_sys::Report::from_value) {
            Ok(skep_sys::Report::File { place }) => keep(plan, slots, place)?,
            Ok(skep_sys::Report::Failed { op, errno }) => return Err(failed(plan, Failure { op, errno })),
            Ok(skep_sys::Report::Marker | skep_sys::Report::Waiting) => {}
            Ok(skep_sys::Report::Closed) | Err(_) => return complete(plan, slots),
        }
    }
}

/// Counts the embedder's ops that succeeded: those are to be undone.
struct Counting<'a, K> {
    kernel: &'a mut K,
    host_calls: u32,
    actor: skep_sys::Actor,
}

impl<K: Kernel> Kernel for Counting<'_, K> {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> std::result::Result<(), Errno> {
        self.kernel.call(op, slots)?;
        self.host_calls += u32::from(self.actor == skep_sys::Actor::Host);
        Ok(())
    }
}

impl<K: skep_sys::Stage> skep_sys::Stage for Counting<'_, K> {
    fn act_as(&mut self, actor: skep_sys::Actor) {
        self.actor = actor;
        self.kernel.act_as(actor);
    }
}
