//! The process that clears up after an embedder that was killed.
//!
//! One for each embedder, and only while it has containers that would leave
//! something: started with the first, gone with the last. It is stage B with a
//! plan of its own, no thread of the embedder, and not its child either, so
//! that an embedder waiting for all its children does not wait for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use skep_sys::abi::{Namespaces, OpenFlags, Resolve, Resource, Seals};
use skep_sys::program::{Child, Section, image, watched};
use skep_sys::spawn::STAGE_B;
use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot};

use crate::error::{Error, Result};
use crate::run::generic_remedy;

/// A running watcher. It ends when the last of these is dropped.
pub(crate) struct Watcher {
    socket: OwnedFd,
    /// Whose it is: a fork of the embedder that executes nothing has the socket
    /// and the ids too, and must not use them.
    owner: u32,
    /// How many containers it can hold the descriptors of.
    room: usize,
}

impl Watcher {
    /// Whether it can take one more container of this process.
    fn serves(this: &Arc<Self>) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut polled = [PollFd::new(this.socket.as_fd(), PollFlags::empty())];
        let gone = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready != 0);
        // One reference for each container, and this one.
        this.owner == std::process::id() && Arc::strong_count(this) <= this.room && !gone
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

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().and_then(|raw| u16::try_from(raw).ok()).unwrap_or(5))
}

static CURRENT: Mutex<Weak<Watcher>> = Mutex::new(Weak::new());

/// The watcher of this process, started if there is none that serves.
pub(crate) fn get<K: Kernel>(kernel: &mut K) -> Result<Arc<Watcher>> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = current.upgrade().filter(Watcher::serves) {
        return Ok(watcher);
    }
    let watcher = Arc::new(spawn(kernel)?);
    *current = Arc::downgrade(&watcher);
    Ok(watcher)
}

const IMAGE: Slot = Slot(0);
const PLAN: Slot = Slot(1);
const HOST: Slot = Slot(2);
const SOCKET: Slot = Slot(3);
const NULL: Slot = Slot(4);
const PIDFD: Slot = Slot(5);
const PID: Slot = Slot(6);
const CHILD: Slot = Slot(7);
const RESULT: Slot = Slot(8);
const COUNT: usize = 9;

/// Starts it: stage B, forked once more so that it is nobody's child here.
fn spawn<K: Kernel>(kernel: &mut K) -> Result<Watcher> {
    let write = |ops: &[Op<'_>]| {
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.write(&mut bytes));
        bytes
    };
    // It holds a descriptor for each container, and some of its own.
    let most =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard);
    let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(16).clamp(1, watched::ENTRIES);
    let enter = write(&[
        Op::Adopt {},
        Op::Dup { file: NULL, number: 0 },
        Op::Dup { file: NULL, number: 1 },
        Op::Dup { file: NULL, number: 2 },
        Op::SetSid {},
        Op::ResetSignals {},
        Op::SetLimit { resource: Resource::NOFILE, soft: most, hard: most },
        // So that it holds no file system of the embedder's busy.
        Op::Chdir { path: c"/" },
        Op::Dumpable { on: false },
        Op::Fork { pid: CHILD },
    ]);
    let (stay, leave) = (write(&[Op::Watch { socket: SOCKET }]), write(&[Op::Exit { status: 0 }]));
    let child = Child {
        enter: Section { first: 0, ops: &enter },
        payload: Section { first: 100, ops: &stay },
        init: Section { first: 200, ops: &leave },
    };
    let plan = image(&child, COUNT, SOCKET);
    let seals = Seals::SEAL.with(Seals::SHRINK).with(Seals::GROW).with(Seals::WRITE);
    let kept: Vec<u8> = [SOCKET, NULL].iter().flat_map(|slot| u32::from(slot.0).to_le_bytes()).collect();
    let keep = Numbers::new(&kept).ok_or_else(|| Error::system("start the watcher", Errno::EINVAL))?;
    let mut slots = OwnedSlots::new(COUNT);
    for op in [
        Op::MemFd { name: c"skep-watch", content: Blob(STAGE_B), seals, executable: true, into: IMAGE },
        Op::MemFd { name: c"skep-plan", content: Blob(&plan), seals: Seals::NONE, executable: false, into: PLAN },
        Op::SocketPair { one: HOST, other: SOCKET },
        Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/dev/null",
            flags: OpenFlags::READ_WRITE,
            mode: 0,
            resolve: Resolve::NO_MAGICLINKS,
            into: NULL,
        },
        Op::Spawn {
            namespaces: Namespaces::NONE,
            joins: skep_sys::wire::Numbers::NONE,
            cgroup: None,
            image: IMAGE,
            plan: PLAN,
            keep,
            ambient: false,
            pidfd: PIDFD,
            pid: PID,
        },
        // The first process ends as soon as it has forked.
        Op::PidfdWait { process: PIDFD, timeout_ms: 10_000, into: RESULT },
    ] {
        kernel.call(&op, &mut slots.slots()).map_err(|errno| {
            let error = Error::system(format!("start the watcher: {}", op.kind().name()), errno);
            generic_remedy(errno).into_iter().fold(error, Error::remedy)
        })?;
    }
    match slots.take(HOST) {
        Some(socket) => Ok(Watcher { socket, owner: std::process::id(), room }),
        None => Err(Error::system("start the watcher: its socket", Errno::EBADF)),
    }
}
