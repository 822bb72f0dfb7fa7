//! The process that clears up after an embedder that was killed.
//!
//! One for each embedder, and only while it has containers that would leave
//! something: started with the first, gone with the last. It is stage B with a
//! plan of its own, no thread of the embedder, and not its child either, so
//! that an embedder waiting for all its children does not wait for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use skep_sys::abi::Resource;
use skep_sys::program::watched;
use skep_sys::{Errno, Kernel, Op, OwnedSlots, Report, WaitStatus};

use crate::aside;
use crate::error::{Error, Result};

/// A running watcher. It ends when the last of these is dropped.
pub(crate) struct Watcher {
    socket: OwnedFd,
    /// Whose it is: a fork of the embedder that executes nothing has the socket
    /// and the ids too, and must not use them.
    owner: u32,
    /// How many containers it can hold the descriptors of.
    room: usize,
    /// How many it was let go of with, each of which it may still hold.
    kept: AtomicUsize,
    fork: Mutex<Fork>,
}

/// The process that is started first and forks the watcher.
enum Fork {
    /// It may not have ended. What the watcher is told meanwhile waits in its socket.
    Pending(OwnedSlots),
    Done,
    /// There is no watcher: the call, and why.
    Failed(&'static str, Errno),
}

/// Descriptors that the watcher has of its own, at most.
const OWN: u64 = 16;
/// And for each container: one place of its ops is for a number.
const EACH: u64 = watched::PLACES as u64 - 1;

/// How many containers a process can hold the descriptors of that may have `most`.
fn room(most: u64) -> Option<usize> {
    let room = usize::try_from(most.saturating_sub(OWN) / EACH).unwrap_or(usize::MAX).min(watched::ENTRIES);
    (room > 0).then_some(room)
}

impl Watcher {
    /// Whether it can take one more container of this process.
    fn serves(this: &Arc<Self>) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut polled = [PollFd::new(this.socket.as_fd(), PollFlags::empty())];
        let gone = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready != 0);
        // One reference for each container, and this one.
        let held = (Arc::strong_count(this) - 1).saturating_add(this.kept.load(Ordering::Relaxed));
        this.owner == std::process::id() && held < this.room && !gone
    }

    /// It stays for a container that has no reference any more. When that ends, nobody
    /// here learns.
    pub(crate) fn keeps_one(&self) {
        self.kept.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the watcher is a process of its own. A start does so once it has made what
    /// comes before the container's process, for that takes as long, and must not go on
    /// without one.
    pub(crate) fn settle<K: Kernel>(&self, kernel: &mut K) -> Result<()> {
        let mut fork = self.fork.lock().unwrap_or_else(PoisonError::into_inner);
        if let Fork::Pending(slots) = &mut *fork {
            *fork = match forked(kernel, slots, &self.socket) {
                Ok(()) => Fork::Done,
                Err((call, errno)) => Fork::Failed(call, errno),
            };
        }
        match *fork {
            Fork::Failed(call, errno) => Err(aside::failed(WHAT, call, errno)),
            _ => Ok(()),
        }
    }

    /// A descriptor of its own for one start.
    pub(crate) fn socket(&self) -> Result<OwnedFd> {
        self.socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::system("duplicate a descriptor", errno_of(&error)))
    }

    /// An id that no other container of this process has.
    pub(crate) fn fresh_id(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    /// A start that came to nothing before it settled leaves no zombie.
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = self.settle(&mut skep_sys::Linux::new());
        }
    }
}

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().and_then(|raw| u16::try_from(raw).ok()).unwrap_or(5))
}

static CURRENT: Mutex<Weak<Watcher>> = Mutex::new(Weak::new());

/// The watcher of this process, started from `image` (stage B) if there is none that serves.
/// Then it is still to be settled.
pub(crate) fn get<K: Kernel>(kernel: &mut K, image: Option<BorrowedFd<'_>>) -> Result<Arc<Watcher>> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = current.upgrade().filter(Watcher::serves) {
        return Ok(watcher);
    }
    let watcher = Arc::new(spawn(kernel, image)?);
    *current = Arc::downgrade(&watcher);
    Ok(watcher)
}

/// For errors.
const WHAT: &str = "the watcher";

/// Starts it: stage B, forked once more so that it is nobody's child here.
fn spawn<K: Kernel>(kernel: &mut K, image: Option<BorrowedFd<'_>>) -> Result<Watcher> {
    let most =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard);
    let room = room(most).ok_or_else(|| {
        let what = format!("start {WHAT}: it may have {most} descriptors, and one container takes {}", OWN + EACH);
        Error::system(what, Errno::EMFILE).remedy("Raise the hard limit of open files (ulimit -Hn, LimitNOFILE=).")
    })?;
    let limit = Op::SetLimit { resource: Resource::NOFILE, soft: most, hard: most };
    let parts = aside::Parts {
        enter: &[limit, Op::Fork { pid: aside::CHILD }],
        payload: &[Op::Watch { socket: aside::SOCKET }],
        init: &[Op::Exit { status: 0 }],
    };
    let mut slots = aside::start(kernel, WHAT, &parts, None, image)?;
    // Held while a start goes on, and not among its descriptors.
    if let Some(pidfd) = slots.keep(aside::PIDFD) {
        slots.give(aside::PIDFD, pidfd);
    }
    match slots.take(aside::HOST) {
        Some(socket) => Ok(Watcher {
            socket,
            owner: std::process::id(),
            room,
            kept: AtomicUsize::new(0),
            fork: Mutex::new(Fork::Pending(slots)),
        }),
        None => Err(aside::failed(WHAT, "its socket", Errno::EBADF)),
    }
}

/// The first process ends as soon as it has forked.
fn forked<K: Kernel>(
    kernel: &mut K,
    slots: &mut OwnedSlots,
    socket: &OwnedFd,
) -> std::result::Result<(), (&'static str, Errno)> {
    let wait = Op::PidfdWait { process: aside::PIDFD, timeout_ms: 10_000, into: aside::RESULT };
    kernel.call(&wait, &mut slots.slots()).map_err(|errno| (wait.kind().name(), errno))?;
    // Where it could not, no process may be had, it has said why beforehand. Its status
    // may be lost to an embedder that reaps every child, and is then not asked for.
    let status = slots.value(aside::RESULT).map(WaitStatus::from_value);
    if status == Some(WaitStatus::Exited(0)) {
        return Ok(());
    }
    slots.give(aside::HOST, socket.try_clone().map_err(|error| ("duplicate a descriptor", errno_of(&error)))?);
    let (file, into) = (aside::GIVEN, aside::RESULT);
    let hear = Op::Receive { from: aside::HOST, timeout_ms: 0, early: true, cancel: None, file, into };
    let heard = kernel.call(&hear, &mut slots.slots()).ok().and_then(|()| slots.value(aside::RESULT));
    match heard.map(Report::from_value) {
        Some(Report::Failed { errno, .. }) => Err(("fork", errno)),
        _ if status == Some(WaitStatus::Lost) => Ok(()),
        _ => Err(("it ended", Errno::ECHILD)),
    }
}

#[cfg(test)]
mod tests {
    use skep_sys::abi::Seals;
    use skep_sys::{Linux, Slots};

    use super::*;

    /// Of the real kernel, but the watcher can be no process of its own.
    struct NoFork(Linux<'static>);

    impl Kernel for NoFork {
        fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> std::result::Result<(), Errno> {
            match *op {
                // Its plan, with another first op than the fork.
                Op::MemFd { name, content, into, .. } if name == c"skep-plan" => {
                    let mut fork = Vec::new();
                    Op::Fork { pid: aside::CHILD }.write(&mut fork);
                    let mut fail = Vec::new();
                    Op::Fail { errno: Errno::EAGAIN }.write(&mut fail);
                    let mut plan = content.0.to_vec();
                    let at = plan.windows(fork.len()).position(|bytes| bytes == fork).expect("a fork");
                    assert_eq!(fork.len(), fail.len());
                    plan[at..at + fork.len()].copy_from_slice(&fail);
                    let content = skep_sys::wire::Blob(&plan);
                    self.0.call(&Op::MemFd { name, content, seals: Seals::NONE, executable: false, into }, slots)
                }
                _ => self.0.call(op, slots),
            }
        }
    }

    #[test]
    fn a_watcher_that_cannot_fork_is_none() {
        let none = spawn(&mut NoFork(Linux::new()), None).expect("its first process");
        // Whoever else has begun a start with it is told the same.
        for _ in 0..2 {
            let error = none.settle(&mut Linux::new()).expect_err("no watcher");
            assert_eq!(error.errno(), Some(Errno::EAGAIN), "{error}");
            assert!(error.to_string().contains("start the watcher: fork"), "{error}");
        }
        assert!(!Watcher::serves(&Arc::new(none)));
        let watcher = Arc::new(spawn(&mut Linux::new(), None).expect("its first process"));
        watcher.settle(&mut Linux::new()).expect("a watcher");
        assert!(Watcher::serves(&watcher));
    }

    #[test]
    fn it_takes_as_many_containers_as_it_has_descriptors_for() {
        assert_eq!([22, 23, 29, 30, 1024].map(room), [None, Some(1), Some(1), Some(2), Some(144)]);
        assert_eq!(room(u64::MAX), Some(watched::ENTRIES));
        let serves = |watcher: &Arc<Watcher>| Watcher::serves(&Arc::clone(watcher));
        let mut watcher = spawn(&mut Linux::new(), None).expect("a watcher");
        watcher.room = 3;
        let watcher = Arc::new(watcher);
        // This function's own reference is the first container's.
        let second = Arc::clone(&watcher);
        assert!(serves(&watcher), "two of three");
        let third = Arc::clone(&watcher);
        assert!(!serves(&watcher), "three of three");
        drop(third);
        assert!(serves(&watcher), "one has ended");
        second.keeps_one();
        drop(second);
        assert!(serves(&watcher), "one, and one that was let go of");
        watcher.keeps_one();
        assert!(!serves(&watcher), "one, and two that were let go of");
    }
}
