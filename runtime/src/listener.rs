//! The embedder's end of a filter that asks before it answers.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use skep_sys::{Cell, Errno, Kernel, Linux, Op, Slot, Slots};

use crate::error::{Error, Result};
use crate::seccomp::{Arch, SeccompData};

/// The listener of a payload's filter (`seccomp_unotify(2)`): gets the calls that
/// [`SystemCalls::notify`](crate::spec::SystemCalls::notify) names, and answers
/// each. The process that made the call waits meanwhile, in the kernel.
///
/// **No boundary by itself.** An answer stands in for a call; it is no check of
/// one. What a pointer argument names lies in the payload's memory, which
/// another of its threads can change between a look at it and the call: whoever
/// lets a call go on ([`Listener::danger_continue`]) has decided on its number
/// and plain arguments only. What must never run belongs into the filter.
///
/// A process id may be another process's by the time it is used: open what there
/// is to open under `/proc/PID`, then ask [`Listener::waits`], then use it.
///
/// Dropped, every call that waits, and every later one, fails with ENOSYS.
///
/// ```no_run
/// use skep::sys::Errno;
///
/// let mut container = skep::Command::new("make").notify_system_calls(["mknodat"]).spawn()?;
/// let listener = container.listener.take().expect("it was asked for");
/// while let Some(call) = listener.receive(None)? {
///     println!("process {} calls {:?}", call.pid, call.name());
///     listener.fail(&call, Errno::EPERM)?;
/// }
/// println!("{}", container.wait()?);
/// # Ok::<(), skep::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A call that waits for an answer: `struct seccomp_notif` of `linux/seccomp.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NotifiedCall {
    /// Names this call as long as it waits.
    pub id: u64,
    /// The thread that made it, as whoever receives sees it; 0 where that is in
    /// a process-id namespace without it.
    pub pid: u32,
    /// Number, architecture and arguments, as the filter saw them.
    pub data: SeccompData,
}

impl NotifiedCall {
    /// The ABI that it came through. Another than [`Arch::NATIVE`] only if
    /// [`SystemCalls::architectures`](crate::spec::SystemCalls::architectures) has it;
    /// structures that its arguments point to are laid out as that ABI does it.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        Arch::of(&self.data)
    }

    /// Its name there. Who asked for `connect` may get `socketcall` of 32-bit x86, whose
    /// first argument says which part of it is called.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.arch()?.name(self.data.nr)
    }
}

impl Listener {
    pub(crate) const fn new(file: OwnedFd) -> Self {
        Self(file)
    }

    /// The next call, waiting at most `timeout`, or for ever; `None` when none
    /// came, or no process with the filter is left.
    ///
    /// One thread at a time: where two wait for the same call, the one that does
    /// not get it waits for the next, whatever its `timeout`.
    ///
    /// # Errors
    ///
    /// What the kernel answered; E2BIG for one whose structures are larger than
    /// this library has room for.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Option<NotifiedCall>> {
        // One beyond the clock's end is none.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let milliseconds =
                left.map_or(u16::MAX, |left| u16::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX));
            let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            let came = match poll(&mut polled, milliseconds) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(None),
                Ok(0) | Err(nix::Error::EINTR) => continue,
                Ok(_) => polled[0].revents().unwrap_or(PollFlags::empty()),
                Err(errno) => return Err(Error::system("wait for a call: poll", Errno::from_raw(errno as u16))),
            };
            if !came.contains(PollFlags::POLLIN) {
                return Ok(None);
            }
            match self.ask::<11>(&Op::ReceiveCall { listener: Slot(0), into: Slot(1) }) {
                Ok([_, id, pid, call, instruction_pointer, args @ ..]) => {
                    // Two words of 32 bits each: pid and flags, number and architecture.
                    let halves = |word: u64| word.to_ne_bytes();
                    let ([p0, p1, p2, p3, ..], [n0, n1, n2, n3, a0, a1, a2, a3]) = (halves(pid), halves(call));
                    let nr = u32::from_ne_bytes([n0, n1, n2, n3]);
                    let arch = u32::from_ne_bytes([a0, a1, a2, a3]);
                    let data = SeccompData { nr, arch, instruction_pointer, args };
                    return Ok(Some(NotifiedCall { id, pid: u32::from_ne_bytes([p0, p1, p2, p3]), data }));
                }
                // Who made it has gone meanwhile.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                Err(errno) => return Err(Error::system("receive a call", errno)),
            }
        }
    }

    /// Lets the call give `value`, which is not run in the kernel. `false` when
    /// it waits no more.
    ///
    /// From -4095 to -1 it is an error for whoever called: see [`Listener::fail`].
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn respond(&self, call: &NotifiedCall, value: i64) -> Result<bool> {
        self.answer(call, value.cast_unsigned(), 0, false)
    }

    /// Lets the call fail with `errno`. `false` when it waits no more.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn fail(&self, call: &NotifiedCall, errno: Errno) -> Result<bool> {
        self.answer(call, 0, errno.raw(), false)
    }

    /// Lets the call go on in the kernel as if no filter had been there. `false`
    /// when it waits no more. Linux 5.5.
    ///
    /// **Danger:** memory that its arguments point to may be something else by
    /// then, so nothing that was read there may be a reason for this.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn danger_continue(&self, call: &NotifiedCall) -> Result<bool> {
        self.answer(call, 0, 0, true)
    }

    /// Whether the call still waits; if so, its process id has not been anybody
    /// else's since it was received.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn waits(&self, call: &NotifiedCall) -> Result<bool> {
        still(self.ask::<1>(&Op::CallWaits { listener: Slot(0), id: call.id }), "ask for a call")
    }

    fn answer(&self, call: &NotifiedCall, value: u64, error: u16, go_on: bool) -> Result<bool> {
        let op = Op::AnswerCall { listener: Slot(0), id: call.id, value, error, go_on };
        still(self.ask::<1>(&op), "answer a call")
    }

    /// One op on the listener, and what it left in the slots.
    fn ask<const N: usize>(&self, op: &Op<'_>) -> std::result::Result<[u64; N], Errno> {
        let mut cells = [Cell::Empty; N];
        if let Some(first) = cells.first_mut() {
            *first = Cell::Descriptor(self.0.as_raw_fd());
        }
        Linux::new().call(op, &mut Slots::new(&mut cells))?;
        Ok(cells.map(|cell| match cell {
            Cell::Value(value) => value,
            _ => 0,
        }))
    }
}

fn still<const N: usize>(answer: std::result::Result<[u64; N], Errno>, what: &'static str) -> Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        // It has been answered, and its process has not run since.
        Err(Errno::ENOENT | Errno::EINPROGRESS) => Ok(false),
        Err(errno) => Err(Error::system(what, errno)),
    }
}

/// To poll: readable when a call waits, hung up when nobody is left.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For what this type does not do, such as SECCOMP_IOCTL_NOTIF_ADDFD, or to pass
/// it to another process.
impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl From<OwnedFd> for Listener {
    fn from(file: OwnedFd) -> Self {
        Self(file)
    }
}
