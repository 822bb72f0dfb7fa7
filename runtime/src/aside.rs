//! Starting stage B for something that is no container: the watcher, and who
//! acts in a container's user namespace.

use std::os::fd::{BorrowedFd, OwnedFd};

use skep_sys::abi::{CapabilitySet, Namespaces, OpenFlags, Resolve, Seals};
use skep_sys::program::{Child, Section, image};
use skep_sys::spawn::STAGE_B;
use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Slot};

use crate::error::{Error, Result};
use crate::run::generic_remedy;
use crate::watcher::errno_of;

const IMAGE: Slot = Slot(0);
const PLAN: Slot = Slot(1);
/// This side's end of the socket.
pub(crate) const HOST: Slot = Slot(2);
/// The other's.
pub(crate) const SOCKET: Slot = Slot(3);
const NULL: Slot = Slot(4);
pub(crate) const PIDFD: Slot = Slot(5);
const PID: Slot = Slot(6);
/// Of its own, and for what is told.
pub(crate) const CHILD: Slot = Slot(7);
pub(crate) const RESULT: Slot = Slot(8);
/// What it was given beside the socket.
pub(crate) const GIVEN: Slot = Slot(9);
const COUNT: usize = 10;

/// What it does once its streams are `/dev/null`.
pub(crate) struct Parts<'a> {
    pub(crate) enter: &'a [Op<'a>],
    pub(crate) payload: &'a [Op<'a>],
    pub(crate) init: &'a [Op<'a>],
}

/// Starts it, from a memfd of stage B where there is one already; `what` for errors. The
/// slots then hold its socket and its pidfd.
pub(crate) fn start<K: Kernel>(
    kernel: &mut K,
    what: &str,
    parts: &Parts<'_>,
    given: Option<OwnedFd>,
    stage: Option<BorrowedFd<'_>>,
) -> Result<OwnedSlots> {
    let write = |ops: &[Op<'_>]| {
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.write(&mut bytes));
        bytes
    };
    let mut enter = write(&[
        Op::Adopt {},
        Op::Dup { file: NULL, number: 0 },
        Op::Dup { file: NULL, number: 1 },
        Op::Dup { file: NULL, number: 2 },
        Op::SetSid {},
        Op::ResetSignals {},
        // So that it holds no file system of the embedder's busy.
        Op::Chdir { path: c"/" },
        Op::Dumpable { on: false },
    ]);
    enter.extend(write(parts.enter));
    let (payload, init) = (write(parts.payload), write(parts.init));
    let child = Child {
        enter: Section { first: 0, ops: &enter },
        payload: Section { first: 100, ops: &payload },
        init: Section { first: 200, ops: &init },
    };
    let plan = image(&child, COUNT, SOCKET);
    let seals = Seals::SEAL.with(Seals::SHRINK).with(Seals::GROW).with(Seals::WRITE);
    let mut slots = OwnedSlots::new(COUNT);
    let kept = [SOCKET, NULL].into_iter().chain(given.is_some().then_some(GIVEN));
    let kept: Vec<u8> = kept.flat_map(|slot| u32::from(slot.0).to_le_bytes()).collect();
    let keep = Numbers::new(&kept).ok_or_else(|| Error::system(format!("start {what}"), Errno::EINVAL))?;
    given.into_iter().for_each(|file| slots.give(GIVEN, file));
    match stage {
        Some(stage) => {
            let own = stage.try_clone_to_owned();
            slots.give(IMAGE, own.map_err(|error| failed(what, "duplicate a descriptor", errno_of(&error)))?);
        }
        None => {
            let make = Op::MemFd { name: c"skep-watch", content: Blob(STAGE_B), seals, executable: true, into: IMAGE };
            kernel.call(&make, &mut slots.slots()).map_err(|errno| failed(what, make.kind().name(), errno))?;
        }
    }
    for op in [
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
            joins: Numbers::NONE,
            cgroup: None,
            image: IMAGE,
            plan: PLAN,
            keep,
            ambient: CapabilitySet::EMPTY,
            pidfd: PIDFD,
            pid: PID,
        },
        // Its end is to be seen at once, and the rest is its own by now.
        Op::Close { file: SOCKET },
        Op::Close { file: NULL },
        Op::Close { file: PLAN },
        Op::Close { file: IMAGE },
    ] {
        kernel.call(&op, &mut slots.slots()).map_err(|errno| failed(what, op.kind().name(), errno))?;
    }
    Ok(slots)
}

pub(crate) fn failed(what: &str, call: &str, errno: Errno) -> Error {
    let error = Error::system(format!("start {what}: {call}"), errno);
    generic_remedy(errno).into_iter().fold(error, Error::remedy)
}
