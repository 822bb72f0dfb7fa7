//! How a process is scheduled, set from outside: the kernel asks for rights over
//! the host that no process of a user namespace has.

use crate::errno::Errno;
use crate::linux::{Word, ask, signal};
use crate::raw::nr;
use crate::wire::Numbers;

/// Processors that a mask has room for, in words of 64.
const WORDS: usize = 128;

/// Runs `call` on a process by its number. Signal 0 proves, before and afterwards,
/// that the process has not been reaped: the number was its own all the time.
fn on(pidfd: i32, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    signal(pidfd, 0)?;
    call().and_then(|()| signal(pidfd, 0))
}

pub(crate) fn affinity(pid: u64, pidfd: i32, cpus: Numbers<'_>) -> Result<(), Errno> {
    let mut mask = [0_u64; WORDS];
    for cpu in cpus.iter() {
        let word = mask.get_mut(cpu as usize / 64).ok_or(Errno::EINVAL)?;
        *word |= 1 << (cpu % 64);
    }
    on(pidfd, || {
        let (pid, size) = (Word::number(pid), Word::number(size_of_val(&mask) as u64));
        ask(nr::SCHED_SETAFFINITY, [pid, size, Word::of(&mask)])?;
        // Processors that there are not are left out without a word.
        let mut kept = [0_u64; WORDS];
        ask(nr::SCHED_GETAFFINITY, [pid, size, Word::of_mut(&mut kept)])?;
        if kept == mask { Ok(()) } else { Err(Errno::EINVAL) }
    })
}

pub(crate) fn schedule(pid: u64, pidfd: i32, policy: u32, nice: u32, priority: u32) -> Result<(), Errno> {
    /// `struct sched_attr`, first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        deadline: [u64; 3],
    }
    let nice = 20 - i32::try_from(nice).ok().filter(|nice| *nice <= 40).ok_or(Errno::EINVAL)?;
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes { size, policy, flags: 0, nice, priority, deadline: [0; 3] };
    on(pidfd, || ask(nr::SCHED_SETATTR, [Word::number(pid), Word::of(&attributes), Word::NULL]).map(drop))
}

pub(crate) fn io_priority(pid: u64, pidfd: i32, class: u8, level: u8) -> Result<(), Errno> {
    // IOPRIO_WHO_PROCESS, IOPRIO_CLASS_SHIFT
    let value = Word::number(u64::from(class) << 13 | u64::from(level));
    on(pidfd, || ask(nr::IOPRIO_SET, [Word::number(1), Word::number(pid), value]).map(drop))
}
