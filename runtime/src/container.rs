//! The handle on a running container.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use skep_sys::abi::signal;
use skep_sys::wire::Reader;
use skep_sys::{Errno, Kernel, Linux, Op, OwnedSlots, Slot, WaitStatus};

use crate::error::{Error, Result};
use crate::events::Events;
use crate::exec::{Confinement, Exec, Members, Target};
use crate::groups::Groups;
use crate::inside::{Copied, CopyOptions};
use crate::listener::Listener;
use crate::notification::{Heard, Notification, Notifications};
use crate::plan::{Plan, role};
use crate::ports::Ports;
use crate::processes::{self, Member};
use crate::report::Report;
use crate::run::{self, Started, Watch};
use crate::spec::{MachineName, Resources};
use crate::stat::Stat;
use crate::stats::Stats;
use crate::status::ExitStatus;
use crate::terminal::Terminal;
use crate::waiting::{self, End, First, KILLED, Output, Taken, has_ended};

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

/// What its end takes things back by: the registry and its entry there, sockets of
/// networks, the host's network namespace. And what is held open while it lives: the FIFO
/// of a machine's log.
const KEPT: [Slot; 7] =
    [role::REGISTRY, role::ENTRY, role::NET, role::NET_INSIDE, role::HOST_NETNS, role::TABLES, role::LOG];

struct Inner {
    plan: Plan,
    /// How the payload is confined, for whoever joins it; or why nobody can.
    confinement: Result<Box<Confinement>>,
    members: Members,
    pid: u32,
    pidfd: OwnedFd,
    lifeline: Option<OwnedFd>,
    notify: Option<Notifications>,
    /// The lock on the container's ids, held while it lives.
    range: Mutex<Option<OwnedFd>>,
    kept: Mutex<[Option<OwnedFd>; KEPT.len()]>,
    watch: Option<Watch>,
    groups: Groups,
    ended: Taken,
    /// When the stub init began to end, where there is one.
    hung_up: OnceLock<Instant>,
    /// What the clear-up could not remove.
    left: Mutex<Vec<Error>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("machine", &self.plan.machine).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Container {
    pub(crate) fn new(started: Started) -> Result<Self> {
        let Started { plan, mut slots, pid, watch } = started;
        let [stdin, stdout, stderr] = role::STDIO_HOST.map(|slot| slots.take(slot).map(File::from));
        let terminal = slots.take(role::TERMINAL).map(Terminal::new);
        let listener = slots.take(role::LISTENER).map(Listener::new);
        let lifeline = slots.keep(role::LIFELINE_HOST);
        let notify = slots.keep(role::NOTIFY).map(|socket| Notifications::new(socket, pid, plan.stub));
        let Some(pidfd) = slots.keep(role::PIDFD) else {
            return Err(Error::system("take the container's pidfd", Errno::EBADF));
        };
        let range = Mutex::new(slots.keep(role::RANGE));
        let kept = Mutex::new(KEPT.map(|slot| slots.keep(slot)));
        let groups = Groups::take(&plan.groups, &mut slots);
        let confinement = Confinement::of(&plan).map(Box::new);
        let mut plan = plan.started();
        // No descriptor stays where nobody needs it.
        let network = slots.take(role::NETNS).filter(|_| plan.interface.is_none() && !plan.forwards.is_empty());
        if let Some(network) = network.map(Arc::new) {
            plan.forwards.iter_mut().for_each(|forward| forward.within(&network));
        }
        let (ended, hung_up, left) = (Taken::default(), OnceLock::new(), Mutex::default());
        let members = Members::default();
        let inner = Inner {
            plan,
            confinement,
            members,
            pid,
            pidfd,
            lifeline,
            notify,
            range,
            kept,
            watch,
            groups,
            ended,
            hung_up,
            left,
        };
        Ok(Self { stdin, stdout, stderr, terminal, listener, inner })
    }

    /// For who waits for its end and asks nothing of it before: what only a handle
    /// tells is freed while the payload runs, not after its end.
    pub(crate) fn spared(mut self) -> Self {
        self.inner.plan.report = Report::default();
        self.inner.confinement = Err(Error::system("enter a container that is only waited for", Errno::ENOSYS));
        self
    }

    /// The process id of the container's first process, as the host sees it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.pid
    }

    /// Published ports that no table of the kernel leads into the container: from
    /// `[::1]`, from `127.0.0.1` below a bridge, and all of them where the kernel has no
    /// nf_tables or no pair of interfaces leads to the container. [`crate::Forward::start`]
    /// passes one on.
    #[must_use]
    pub fn forwards(&self) -> &[crate::Forward] {
        &self.inner.plan.forwards
    }

    /// The host's interface by which it reaches the container's `host0`: `ve-NAME`, or the
    /// bridge that the pair is below; `None` where there is no pair.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.inner.plan.interface.as_deref()
    }

    /// What tells that published ports have to lead elsewhere, for
    /// [`Container::follow`]; `None` where none is published.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Ended`], or what the kernel answered.
    pub fn ports(&self) -> Result<Option<Ports>> {
        let Some(of) = &self.inner.plan.published else { return Ok(None) };
        let ports = Ports::of(self.inner.pid, &of.0, of.1);
        // Its number was still its own.
        if has_ended(self.inner.pidfd.as_fd(), Some(Duration::ZERO))? {
            return Err(Error::new(crate::ErrorKind::Ended, "the container has ended"));
        }
        ports.map(Some)
    }

    /// Has published ports lead to the addresses that the container has by now: of each
    /// family the one that they lead to while it is there, else the first, of whatever
    /// interface inside, whose scope is no narrower than the host and to which the host
    /// sends over the container's interface, where it has one. Whether that is a change.
    /// Connections that are there stay. [`Container::report`] stays as it was.
    ///
    /// To be called when `ports` can be read. A route that the host gets later is no
    /// change of the container's addresses.
    ///
    /// # Errors
    ///
    /// What the kernel answered; ports lead where they led then.
    pub fn follow(&self, ports: &mut Ports) -> Result<bool> {
        let copy = |slot: Slot| {
            let kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let file =
                KEPT.iter().zip(kept.iter()).find(|(role, _)| **role == slot).and_then(|(_, file)| file.as_ref());
            file.map(OwnedFd::try_clone).transpose()
        };
        let failed = |error| Error::system("duplicate a descriptor", crate::watcher::errno_of(&error));
        // It has ended.
        let Some(net) = copy(role::NET).map_err(failed)? else { return Ok(false) };
        ports.follow(net, copy(role::TABLES).map_err(failed)?, self.forwards())
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

    /// Copies a file, or a directory with all below it, into the container:
    /// `inside` is the absolute path that the copy is to have. Its directory is
    /// walked as [`Container::open_file`] walks. The copy has a name of its own
    /// until it is whole: a file then takes the place of what has the name, a
    /// link not followed; a directory takes none that is taken. A copy that
    /// fails leaves nothing.
    ///
    /// `host` is walked as any path of this program; below it no link is
    /// followed, links are copied as they are, and FIFOs, sockets, devices and
    /// mounts of their own are refused. The copy belongs to the container's root,
    /// or [`CopyOptions::owner`]; of modes it has the permissions, without set-id
    /// bits. Times, extended attributes and hard links are not kept.
    ///
    /// Where the container has a user namespace of its own, a process that has
    /// joined that one, and nothing else of the container, makes the files: with
    /// the rights of the container's root, so what that cannot write is refused.
    /// Nothing of the container is executed or loaded.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::TooMuch`] beyond a limit of `options`,
    /// [`crate::ErrorKind::SafetyViolation`] for what is refused,
    /// [`crate::ErrorKind::InvalidSpec`] for a path that names nothing that could
    /// be made, [`crate::ErrorKind::Ended`], or what the kernel answered: EEXIST
    /// where a directory would replace something, EISDIR where a file would
    /// replace a directory.
    pub fn copy_in(
        &self,
        host: impl AsRef<std::path::Path>,
        inside: impl AsRef<std::path::Path>,
        options: &CopyOptions,
    ) -> Result<Copied> {
        let place = (self.inner.pidfd.as_fd(), self.inner.pid, inside.as_ref());
        crate::inside::copy_in(host.as_ref(), place, options)
    }

    /// Copies a file, or a directory with all below it, out of the container, as
    /// [`Container::copy_in`] does the other way: `inside` is walked as
    /// [`Container::open_file`] walks, with the rights of the container's root.
    /// What it holds may change meanwhile: every entry is looked at by a
    /// descriptor of its own.
    ///
    /// The copy is this program's user's. Others never may write to it, whatever
    /// the mode says, and no set-id bit is kept. A link that leads out of the
    /// directory that is copied, or is absolute, is refused: on the host it
    /// would lead to the host's files.
    ///
    /// # Errors
    ///
    /// As [`Container::copy_in`].
    pub fn copy_out(
        &self,
        inside: impl AsRef<std::path::Path>,
        host: impl AsRef<std::path::Path>,
        options: &CopyOptions,
    ) -> Result<Copied> {
        let place = (self.inner.pidfd.as_fd(), self.inner.pid, inside.as_ref());
        crate::inside::copy_out(place, host.as_ref(), options)
    }

    /// Waits until the container has ended. Closes the payload's standard
    /// input first, as [`std::process::Child::wait`] does, and drops the listener
    /// if nobody has taken it.
    ///
    /// The kernel keeps process 1 until all processes of its namespace have been
    /// reaped (`pid_namespaces(7)`). Those of [`Container::exec`] are reaped here,
    /// if nobody has waited for them; one that another process has brought in,
    /// by [`crate::Found::exec`] or `nsenter(1)`, only by that one. Where it does
    /// not, this returns five seconds after all are dead, with the payload's
    /// status, or a lost one where the stub init was killed; what is left is
    /// in [`Container::left_behind`]. Without the stub init
    /// ([`crate::spec::Init`]) nothing tells, and it waits.
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
        let process = Stat::read(inner.pid).ok();
        // What has not ended still has its number.
        let process =
            process.filter(|_| has_ended(inner.pidfd.as_fd(), Some(Duration::ZERO)).is_ok_and(|ended| !ended));
        let stats = Stats::read(&inner.groups, process.as_ref());
        if inner.ended.get().is_some() {
            return Err(Error::system("look at what the container uses", Errno::ESRCH));
        }
        Ok(stats)
    }

    /// Its processes, by id: the first, its descendants, and who was brought in,
    /// with descendants; as `/proc` shows them to this process, so one that it may
    /// not see (`hidepid`, see `proc(5)`) is missing. They come and go meanwhile.
    ///
    /// # Errors
    ///
    /// ESRCH once it has been waited for.
    pub fn processes(&self) -> Result<Vec<Member>> {
        let all = processes::of(self.inner.pid);
        match self.inner.ended.get() {
            Some(_) => Err(Error::system("look at the processes of the container", Errno::ESRCH)),
            None => Ok(all),
        }
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

    /// What can be read once the stub init begins to end.
    #[cfg(feature = "tokio")]
    pub(crate) fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.inner.lifeline.as_ref().map(AsFd::as_fd)
    }

    /// Whether there are processes of execs that may have to be waited for.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_members(&self) -> bool {
        !self.inner.members.living().is_empty()
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
    pub fn wait_with_output(self) -> Result<Output> {
        let mut container = self.spared();
        drop((container.stdin.take(), container.listener.take()));
        let (stdout, stderr) = (container.stdout.take(), container.stderr.take());
        Output::of("the container", stdout, stderr, || container.wait())
    }

    /// The next thing that the payload said to `$NOTIFY_SOCKET`, waiting at
    /// most `timeout`; `None` when it said nothing, or the container has
    /// ended. Needs [`crate::spec::Readiness::Notify`].
    ///
    /// Every process of the container can write there; what another than the payload
    /// says is dropped, by the number that the kernel gives of the sender, unless
    /// the payload had ended before anybody could ask which it was. A process
    /// with CAP_SYS_ADMIN over the container's process ids can send in the payload's
    /// name (`unix(7)`).
    ///
    /// # Errors
    ///
    /// What the kernel answered to the wait.
    pub fn notification(&self, timeout: Duration) -> Result<Option<Notification>> {
        use nix::poll::{PollFd, PollFlags, poll};
        let Some(notify) = &self.inner.notify else { return Ok(None) };
        let end = Instant::now().checked_add(timeout);
        let mut others = 0;
        loop {
            match notify.hear()? {
                Heard::Said(said) => return Ok(Some(said)),
                // Who never stops talking is not listened to for ever.
                Heard::Anothers if others < 64 => {
                    others += 1;
                    continue;
                }
                Heard::Anothers | Heard::Nothing => {}
            }
            let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            let milliseconds = u16::try_from(left.as_millis().max(1)).unwrap_or(u16::MAX);
            let mut polled = [
                PollFd::new(notify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.inner.pidfd.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut polled, milliseconds);
            let ready = |index: usize| polled[index].any() == Some(true);
            if ready(1) && !ready(0) {
                return Ok(None);
            }
        }
    }

    /// What is in the socket now.
    #[cfg(feature = "tokio")]
    pub(crate) fn hear(&self) -> Result<Heard> {
        self.inner.notify.as_ref().map_or(Ok(Heard::Nothing), Notifications::hear)
    }

    /// The socket behind `$NOTIFY_SOCKET`, to poll.
    #[must_use]
    pub fn notification_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.notify.as_ref().map(AsFd::as_fd)
    }

    /// Lets go: the container goes on without this handle, and also when this
    /// process ends. What it has on the host (cgroups, interfaces, published ports)
    /// is removed when it ends: by the watcher, a process of its own that stays for
    /// that; where that is killed too, by [`crate::gc`]. Nothing
    /// holds its range of ids any more: a picked one may be picked again, so
    /// name a range of its own for a container that is to be let go of.
    ///
    /// Of published ports, the tables of the kernel stay, kept by the watcher, and lead
    /// to the address that they led to at the last [`Container::follow`]: nobody follows
    /// the container any more, so a port whose address inside goes leads nowhere from
    /// then on, and is taken until the container ends. What [`Container::forwards`] names
    /// is passed on as long as a [`crate::Forwarding`] of this process is there, to the
    /// same address: the watcher passes nothing on. So give a container that is to be
    /// let go of an address that stays ([`crate::Command::link_address`], and no
    /// CAP_NET_ADMIN to change it by), or keep the handle in a process that polls
    /// [`Container::ports`], as `skep run --detach` does.
    ///
    /// # Errors
    ///
    /// Where the stub init or the watcher cannot be told; the container is
    /// stopped then.
    pub fn detach(mut self) -> Result<u32> {
        let inner = &mut self.inner;
        if let Some(lifeline) = &inner.lifeline {
            call(&[lifeline.as_fd()], &Op::Release { to: Slot(0) })
                .map_err(|errno| Error::system("let go of the stub init", errno))?;
        }
        if let Some(watch) = &inner.watch {
            let socket = watch.watcher.socket()?;
            call(&[socket.as_fd()], &Op::Keep { watcher: Slot(0), id: watch.id })
                .map_err(|errno| Error::system("tell the watcher to stay for the container", errno))?;
            watch.watcher.keeps_one();
        }
        inner.watch = None;
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
        inner.ended.set(ExitStatus::new(WaitStatus::Lost, false));
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
        let sent = call(&[self.pidfd.as_fd()], &Op::PidfdSignal { process: Slot(0), signal: number });
        let all = if number == signal::KILL { self.groups.kill() } else { Ok(()) };
        sent.map(drop).and(all).map_err(|errno| Error::system(format!("send signal {number} to the container"), errno))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended.get() {
            return Ok(Some(status));
        }
        let lifeline = self.lifeline.as_ref().map(|line| (line.as_fd(), &self.hung_up));
        let first = First { pidfd: self.pidfd.as_fd(), lifeline, members: &self.members };
        // Others may look meanwhile; who takes the status, says what it was.
        let end = match waiting::end_of(&first, timeout)? {
            End::Runs => return Ok(None),
            end => end,
        };
        let (status, first) = self.ended.or_take(|| {
            // The stub init's own end says less than its report of the payload's.
            let reported = self.lifeline.as_ref().and_then(last_word);
            let ended = match end {
                End::Lingers => reported.unwrap_or(WaitStatus::Lost),
                _ => {
                    let own = waiting::status_of(self.pidfd.as_fd(), "the container")?;
                    reported.unwrap_or(own)
                }
            };
            Ok(ExitStatus::new(ended, self.groups.memory_kills().unwrap_or(0) > 0))
        })?;
        if first {
            self.clear_up();
            self.bury(end);
        }
        Ok(Some(status))
    }

    /// Whom nobody could wait for yet is waited for later.
    fn bury(&self, end: End) {
        if end != End::Lingers {
            return waiting::bury(None);
        }
        waiting::bury(self.pidfd.try_clone().ok());
        let what = format!("process {} waits for one that was brought in from outside and killed", self.pid);
        let advice =
            "Its parent has not waited for it: what runs `skep exec`, Found::exec or nsenter must go on, or end.";
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(Error::system(what, Errno::EBUSY).remedy(advice));
    }

    /// Removes what the container had on the host: its cgroups and interfaces, the
    /// watcher's task, and the lock on its ids.
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
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for (slot, file) in KEPT.into_iter().zip(kept) {
            file.into_iter().for_each(|file| slots.give(slot, file));
        }
        let left = run::undo(&mut Linux::new(), &self.plan, (u32::MAX, true), id, &mut slots.slots());
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ended.get().is_none() {
            let _ = self.signal(signal::KILL);
            let _ = self.wait(Some(KILLED));
        }
    }
}

/// One op on a few borrowed descriptors; the result, if any, is in slot 3.
pub(crate) fn call(files: &[BorrowedFd<'_>], op: &Op<'_>) -> std::result::Result<u64, Errno> {
    use skep_sys::{Cell, Slots};
    let mut cells = [Cell::Empty; 4];
    for (cell, file) in cells.iter_mut().zip(files) {
        *cell = Cell::Descriptor(file.as_raw_fd());
    }
    let mut slots = Slots::new(&mut cells);
    Linux::new().call(op, &mut slots)?;
    Ok(slots.value(Slot(3)).unwrap_or(0))
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
