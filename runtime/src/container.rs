//! The handle on a running container.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep_sys::abi::signal;
use skep_sys::wire::Reader;
use skep_sys::{Errno, Kernel, Linux, Op, OwnedSlots, WaitStatus};

use crate::error::{Error, Result};
use crate::events::Events;
use crate::exec::{Confinement, Exec, Members, Target};
use crate::groups::Groups;
use crate::listener::Listener;
use crate::plan::{Plan, role};
use crate::report::Report;
use crate::run::{self, Started, Watch};
use crate::spec::{MachineName, Resources};
use crate::stats::Stats;
use crate::status::ExitStatus;
use crate::terminal::Terminal;

/// A running container.
///
/// Dropping it **stops** it: the container is killed, waited for, and what it
/// had on the host is removed. [`Container::detach`] lets go instead. If the
/// whole process dies, the container dies with it.
///
/// It is pollable: [`AsFd`] gives the pidfd of the container's first process,
/// which becomes readable when the container has ended. It costs the embedder
/// no thread.
#[derive(Debug)]
pub struct Container {
    /// The pipe to the payload's standard input, when it is piped.
    pub stdin: Option<File>,
    /// The pipe from the payload's standard output, when it is piped.
    pub stdout: Option<File>,
    /// The pipe from the payload's standard error, when it is piped.
    pub stderr: Option<File>,
    /// The other end of the payload's terminal, when it has one.
    pub terminal: Option<Terminal>,
    /// Who is asked about the calls of [`crate::Command::notify_system_calls`].
    /// While it lies here nobody answers, and those calls wait.
    pub listener: Option<Listener>,
    inner: Inner,
}

struct Inner {
    plan: Plan,
    /// How the payload is confined, for whoever joins it; or why nobody can.
    confinement: Result<Box<Confinement>>,
    members: Members,
    pid: u32,
    pidfd: OwnedFd,
    lifeline: Option<OwnedFd>,
    notify: Option<OwnedFd>,
    /// The lock on the container's ids, held while it lives.
    range: Mutex<Option<OwnedFd>>,
    watch: Option<Watch>,
    groups: Groups,
    ended: Mutex<Option<ExitStatus>>,
    /// What the clear-up could not remove.
    left: Mutex<Vec<Error>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("machine", &self.plan.machine).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// What a payload says to `$NOTIFY_SOCKET` (`sd_notify(3)`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Notification {
    /// It said `READY=1`.
    pub ready: bool,
    /// It said `STOPPING=1`.
    pub stopping: bool,
    /// Its `STATUS=`. Text of the container: escape it before printing.
    pub status: Option<String>,
}

impl Notification {
    /// Parses one datagram; unknown lines are skipped, as the protocol wants.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        let mut found = Self::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => found.ready = true,
                b"STOPPING=1" => found.stopping = true,
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        found.status = Some(String::from_utf8_lossy(text).chars().take(1024).collect());
                    }
                }
            }
        }
        found
    }
}

impl Container {
    pub(crate) fn new(started: Started) -> Result<Self> {
        let Started { plan, mut slots, pid, watch } = started;
        let [stdin, stdout, stderr] = role::STDIO_HOST.map(|slot| slots.take(slot).map(File::from));
        let terminal = slots.take(role::TERMINAL).map(Terminal::new);
        let listener = slots.take(role::LISTENER).map(Listener::new);
        let (lifeline, notify) = (slots.take(role::LIFELINE_HOST), slots.take(role::NOTIFY));
        let Some(pidfd) = slots.take(role::PIDFD) else {
            return Err(Error::system("take the container's pidfd", Errno::EBADF));
        };
        let range = Mutex::new(slots.take(role::RANGE));
        let groups = Groups::take(&plan.groups, &mut slots);
        let confinement = Confinement::of(&plan).map(Box::new);
        let plan = plan.started();
        let (ended, left) = (Mutex::new(None), Mutex::default());
        let members = Members::default();
        let inner =
            Inner { plan, confinement, members, pid, pidfd, lifeline, notify, range, watch, groups, ended, left };
        Ok(Self { stdin, stdout, stderr, terminal, listener, inner })
    }

    /// The process id of the container's first process, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.pid
    }

    /// The container's name.
    #[must_use]
    pub fn machine(&self) -> &MachineName {
        &self.inner.plan.machine
    }

    /// What was applied, item by item.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.inner.plan.report
    }

    /// Prepares a further process in the container, confined as the payload is:
    /// see [`Exec`]. Nothing happens before [`Exec::spawn`], [`Exec::status`] or
    /// [`Exec::output`].
    pub fn exec(&self, program: impl AsRef<std::ffi::OsStr>) -> Exec<'_> {
        Exec::new(self.target(), program.as_ref())
    }

    pub(crate) fn target(&self) -> Target<'_> {
        let Inner { confinement, pid, pidfd, members, .. } = &self.inner;
        Target { pidfd: pidfd.as_fd(), pid: *pid, confinement, members: Some(members) }
    }

    /// Opens a regular file of the container for reading, by its absolute path
    /// inside. The kernel walks the path beneath the container's root: an
    /// absolute link, one that climbs out, a magic link of procfs and whatever
    /// is no regular file are refused, and nothing blocks on a pipe.
    ///
    /// It is opened with this program's rights, not the payload's, and may
    /// change while it is read: it is the container's. Do not give a copy
    /// set-id bits.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::SafetyViolation`] for what is refused,
    /// [`crate::ErrorKind::Ended`], or what the kernel answered.
    pub fn open_file(&self, path: impl AsRef<std::path::Path>) -> Result<File> {
        crate::inside::open_file(self.inner.pidfd.as_fd(), self.inner.pid, path.as_ref())
    }

    /// The content of such a file, if it is at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`Container::open_file`]; [`crate::ErrorKind::InvalidSpec`] where it
    /// holds more.
    pub fn read_file(&self, path: impl AsRef<std::path::Path>, limit: u64) -> Result<Vec<u8>> {
        crate::inside::read_file(self.inner.pidfd.as_fd(), self.inner.pid, path.as_ref(), limit)
    }

    /// Waits until the container has ended. Closes the payload's standard
    /// input first, as [`std::process::Child::wait`] does, and drops the listener
    /// if nobody has taken it.
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        drop((self.stdin.take(), self.listener.take()));
        self.inner.wait(None)?.ok_or_else(|| Error::system("wait for the container", Errno::ETIMEDOUT))
    }

    /// The status, if the container has ended.
    ///
    /// # Errors
    ///
    /// As [`Container::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.inner.wait(Some(Duration::ZERO))
    }

    /// Waits for at most `timeout`; `None` when the container still runs. Lets
    /// go of input and listener as [`Container::wait`] does.
    ///
    /// # Errors
    ///
    /// As [`Container::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        drop((self.stdin.take(), self.listener.take()));
        self.inner.wait(Some(timeout))
    }

    /// What could not be removed from the host when the container had ended,
    /// each with the kernel's answer and what to do: a cgroup whose group above
    /// is read-only by now, for one. Nearly always empty; always so before a
    /// wait has given the status.
    #[must_use]
    pub fn left_behind(&self) -> Vec<Error> {
        self.inner.left.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends `signal` to the payload: the stub init forwards it, all but SIGCHLD,
    /// which it takes for its own, and SIGSTOP, which stops itself and not the
    /// payload. SIGKILL ends the whole container at once, also a paused one;
    /// another signal waits until a paused one is resumed. A container that has
    /// ended is no error.
    ///
    /// # Errors
    ///
    /// What the kernel answered; EINVAL for what is not a signal.
    pub fn kill(&self, signal: u8) -> Result<()> {
        self.inner.signal(signal)
    }

    /// What it uses: see [`Stats`].
    ///
    /// # Errors
    ///
    /// ESRCH once it has been waited for.
    pub fn stats(&self) -> Result<Stats> {
        let inner = &self.inner;
        let process = std::fs::read_to_string(format!("/proc/{}/stat", inner.pid)).ok();
        // What has not ended still has its number.
        let process =
            process.filter(|_| has_ended(inner.pidfd.as_fd(), Some(Duration::ZERO)).is_ok_and(|ended| !ended));
        let stats = Stats::read(&inner.groups, process.as_deref());
        if inner.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err(Error::system("look at what the container uses", Errno::ESRCH));
        }
        Ok(stats)
    }

    /// Stops every process where it is, until [`Container::resume`], and
    /// returns when all have stopped. It can be killed meanwhile.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Unsupported`] where the container has no group that
    /// can be frozen: ask for one with [`crate::Command::freezing`]. ETIMEDOUT
    /// where they have not all stopped after ten seconds; all go on then.
    pub fn pause(&self) -> Result<()> {
        self.inner.groups.freeze(true)
    }

    /// Lets a paused container go on; one that is not paused is no error.
    ///
    /// # Errors
    ///
    /// As [`Container::pause`].
    pub fn resume(&self) -> Result<()> {
        self.inner.groups.freeze(false)
    }

    /// Whether every process is stopped, by [`Container::pause`] or by somebody
    /// above.
    ///
    /// # Errors
    ///
    /// As [`Container::pause`]; ENODEV once it has ended.
    pub fn is_paused(&self) -> Result<bool> {
        self.inner.groups.is_frozen()
    }

    /// Changes limits while it runs: what `resources` says is set, what it does
    /// not say stays. All or nothing: where one cannot be set, those before it
    /// are set back. A limit below what is used makes the kernel take memory
    /// back, and kill where it cannot. [`Container::report`] stays as it was.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidSpec`] as at a start,
    /// [`crate::ErrorKind::Unsupported`] where the container has no group for a
    /// limit, or what the kernel answered to the write.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        self.inner.groups.update(resources)
    }

    /// Its events (out of memory, empty) behind a descriptor to poll.
    ///
    /// # Errors
    ///
    /// What the kernel answered, such as EMFILE.
    pub fn events(&self) -> Result<Events> {
        let own = matches!(self.report().of("namespace pid"), Some(crate::Outcome::Applied(_)));
        Events::of(&self.inner.groups, self.inner.pidfd.as_fd(), own)
    }

    /// Stops in order: the Spec's kill signal, `grace` for the payload to end
    /// by itself, then SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Container::wait`].
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.inner.signal(self.inner.plan.kill_signal)?;
        if let Some(status) = self.wait_timeout(grace)? {
            return Ok(status);
        }
        self.inner.signal(signal::KILL)?;
        self.wait()
    }

    /// The signal of an orderly stop.
    #[cfg(feature = "tokio")]
    pub(crate) fn kill_signal(&self) -> u8 {
        self.inner.plan.kill_signal
    }

    /// What a drop does after the kill, while others hold the handle too.
    #[cfg(feature = "tokio")]
    pub(crate) fn wait_killed(&self) {
        let _ = self.inner.wait(Some(KILLED));
    }

    /// Waits for all output and for the end, like
    /// [`std::process::Child::wait_with_output`].
    ///
    /// # Errors
    ///
    /// As [`Container::wait`], or a failed read.
    pub fn wait_with_output(mut self) -> Result<Output> {
        drop((self.stdin.take(), self.listener.take()));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        read_both((self.stdout.take(), &mut stdout), (self.stderr.take(), &mut stderr))
            .map_err(|error| Error::system("read the container's output", crate::watcher::errno_of(&error)))?;
        let status = self.wait()?;
        Ok(Output { status, stdout, stderr })
    }

    /// The next thing that the payload said to `$NOTIFY_SOCKET`, waiting at
    /// most `timeout`; `None` when it said nothing, or the container has
    /// ended. Needs [`crate::spec::Readiness::Notify`].
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn notification(&self, timeout: Duration) -> Result<Option<Notification>> {
        use nix::poll::{PollFd, PollFlags, poll};
        let Some(socket) = &self.inner.notify else { return Ok(None) };
        let end = Instant::now().checked_add(timeout);
        loop {
            let mut datagram = [0_u8; 4096];
            match nix::sys::socket::recv(socket.as_raw_fd(), &mut datagram, nix::sys::socket::MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Ok(datagram.get(..length).map(Notification::parse)),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(errno) => return Err(Error::system("receive a notification", Errno::from_raw(errno as u16))),
            }
            let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            let milliseconds = u16::try_from(left.as_millis().max(1)).unwrap_or(u16::MAX);
            let mut polled = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.inner.pidfd.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut polled, milliseconds);
            let heard = |index: usize| polled[index].any() == Some(true);
            if heard(1) && !heard(0) {
                return Ok(None);
            }
        }
    }

    /// The socket behind `$NOTIFY_SOCKET`, to poll.
    #[must_use]
    pub fn notification_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.notify.as_ref().map(AsFd::as_fd)
    }

    /// Lets go: the container goes on without this handle, and also when this
    /// process ends. Its cgroup stays until somebody removes it, and nothing
    /// holds its range of ids any more: a picked one may be picked again, so
    /// name a range of its own for a container that is to be let go of.
    ///
    /// # Errors
    ///
    /// Where the stub init or the watcher cannot be told; the container is
    /// stopped then.
    pub fn detach(mut self) -> Result<u32> {
        let inner = &mut self.inner;
        if let Some(lifeline) = &inner.lifeline {
            call(&[lifeline.as_fd()], &Op::Release { to: skep_sys::Slot(0) })
                .map_err(|errno| Error::system("let go of the stub init", errno))?;
        }
        if let Some(watch) = inner.watch.take() {
            inner.dismiss(&watch)?;
        }
        let range = inner.range.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(range) = range {
            let mut slots = OwnedSlots::new(usize::from(inner.plan.slots()));
            slots.give(role::RANGE, range);
            let undo = inner.plan.undo.iter().filter_map(|undo| Op::read(&mut Reader::new(&undo.op)));
            for release in undo.filter(|op| matches!(op, Op::ReleaseIds { .. })) {
                // An empty file may stay, which the next start uses and removes.
                let _ = Linux::new().call(&release, &mut slots.slots());
            }
        }
        // Marked as ended, so that the drop leaves it alone.
        *inner.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ExitStatus::new(WaitStatus::Lost, false));
        Ok(inner.pid)
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.pidfd.as_fd()
    }
}

impl AsRawFd for Container {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.pidfd.as_raw_fd()
    }
}

impl Inner {
    fn signal(&self, number: u8) -> Result<()> {
        let sent = call(&[self.pidfd.as_fd()], &Op::PidfdSignal { process: skep_sys::Slot(0), signal: number });
        let all = if number == signal::KILL { self.groups.kill() } else { Ok(()) };
        sent.map(drop).and(all).map_err(|errno| Error::system(format!("send signal {number} to the container"), errno))
    }

    /// Looks after the processes of execs meanwhile, if there are any.
    fn has_ended(&self, timeout: Option<Duration>) -> Result<bool> {
        const TURN: Duration = Duration::from_millis(5);
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while self.members.reap() {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let turn = left.map_or(TURN, |left| left.min(TURN));
            if has_ended(self.pidfd.as_fd(), Some(turn))? {
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
        has_ended(self.pidfd.as_fd(), end.map(|end| end.saturating_duration_since(Instant::now())))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>> {
        if let Some(status) = *self.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(status));
        }
        // Others may look meanwhile; who takes the status, says what it was.
        if !self.has_ended(timeout)? {
            return Ok(None);
        }
        let mut kept = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = *kept {
            // Another thread was faster.
            return Ok(Some(status));
        }
        let op = Op::PidfdWait { process: skep_sys::Slot(0), timeout_ms: 0, into: skep_sys::Slot(3) };
        let mut ended = match call(&[self.pidfd.as_fd()], &op) {
            Ok(value) => WaitStatus::from_value(value),
            Err(errno) => return Err(Error::system("wait for the container", errno)),
        };
        // The stub init's own end says less than its report of the payload's.
        if let Some(reported) = self.lifeline.as_ref().and_then(last_word) {
            ended = reported;
        }
        let status = ExitStatus::new(ended, self.groups.memory_kills().unwrap_or(0) > 0);
        *kept = Some(status);
        drop(kept);
        self.clear_up();
        Ok(Some(status))
    }

    /// Removes what the container had on the host: its cgroups, the watcher's
    /// task, and the lock on its ids.
    fn clear_up(&self) {
        let id = self.watch.as_ref().map_or(0, |watch| watch.id);
        let watcher = self.watch.as_ref().and_then(|watch| watch.watcher.socket().ok());
        let mut slots = OwnedSlots::new(usize::from(self.plan.slots()));
        if let Some(socket) = watcher {
            slots.give(role::WATCHER, socket);
        }
        if let Some(range) = self.range.lock().unwrap_or_else(PoisonError::into_inner).take() {
            slots.give(role::RANGE, range);
        }
        let left = run::undo(&mut Linux::new(), &self.plan, (u32::MAX, true), id, &mut slots.slots());
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    fn dismiss(&self, watch: &Watch) -> Result<()> {
        let socket = watch.watcher.socket()?;
        call(&[socket.as_fd()], &Op::Dismiss { watcher: skep_sys::Slot(0), id: watch.id })
            .map(drop)
            .map_err(|errno| Error::system("tell the watcher to let go", errno))
    }
}

/// How long a killed container may take. A process in an uninterruptible sleep
/// must not hold up the embedder for ever; the watcher's or the kernel's turn
/// then.
pub(crate) const KILLED: Duration = Duration::from_secs(10);

impl Drop for Inner {
    fn drop(&mut self) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !ended {
            let _ = self.signal(signal::KILL);
            let _ = self.wait(Some(KILLED));
        }
    }
}

/// One op on a few borrowed descriptors; the result, if any, is in slot 3.
pub(crate) fn call(files: &[BorrowedFd<'_>], op: &Op<'_>) -> std::result::Result<u64, Errno> {
    use skep_sys::{Cell, Slot, Slots};
    let mut cells = [Cell::Empty; 4];
    for (cell, file) in cells.iter_mut().zip(files) {
        *cell = Cell::Descriptor(file.as_raw_fd());
    }
    let mut slots = Slots::new(&mut cells);
    Linux::new().call(op, &mut slots)?;
    Ok(slots.value(Slot(3)).unwrap_or(0))
}

/// Whether a process has ended, which its pidfd says; `None` waits for it.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // One beyond the clock's end is none.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let limit = left.map_or(PollTimeout::NONE, |left| {
            let milliseconds = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], limit) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => {
                return Err(Error::system("wait for a process: poll", Errno::from_raw(errno as u16)));
            }
        }
    }
}

/// What the stub init wrote before its end.
fn last_word(lifeline: &OwnedFd) -> Option<WaitStatus> {
    let mut record = [0_u8; 8];
    let flags = nix::sys::socket::MsgFlags::MSG_DONTWAIT;
    match nix::sys::socket::recv(lifeline.as_raw_fd(), &mut record, flags) {
        Ok(8) => Some(WaitStatus::from_value(u64::from_le_bytes(record))),
        _ => None,
    }
}

/// Reads two pipes to their ends without a thread.
pub(crate) fn read_both(one: (Option<File>, &mut Vec<u8>), other: (Option<File>, &mut Vec<u8>)) -> std::io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut pipes = [one, other];
    loop {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        let mut places = Vec::new();
        for (place, (pipe, _)) in pipes.iter().enumerate() {
            if let Some(pipe) = pipe {
                polled.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                places.push(place);
            }
        }
        if polled.is_empty() {
            return Ok(());
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            result => result?,
        };
        let ready: Vec<usize> =
            polled.iter().zip(places).filter(|(fd, _)| fd.any() == Some(true)).map(|(_, place)| place).collect();
        for place in ready {
            let Some((pipe, buffer)) = pipes.get_mut(place) else { continue };
            let mut chunk = [0_u8; 16 * 1024];
            match pipe.as_mut().map(|pipe| pipe.read(&mut chunk)) {
                Some(Ok(0)) | None => *pipe = None,
                Some(Ok(length)) => buffer.extend_from_slice(chunk.get(..length).unwrap_or_default()),
                Some(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

/// What [`crate::Command::output`] gives. The bytes are the container's: escape
/// them ([`crate::Escaped`]) before they get to a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error.
    pub stderr: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications() {
        let parsed = Notification::parse(b"READY=1\nX_OTHER=2\nSTATUS=Ready.");
        assert!(parsed.ready && !parsed.stopping);
        assert_eq!(parsed.status.as_deref(), Some("Ready."));
        assert_eq!(Notification::parse(b"READY=0\n\xff\n=\nSTATUS"), Notification::default());
    }
}
