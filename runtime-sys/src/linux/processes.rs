//! Signals, waiting, and how a process ended.

use super::files::O_CLOEXEC;
use super::words::{Word, ask, done};
use crate::errno::Errno;
use crate::kernel::WaitStatus;
use crate::raw::nr;

pub(super) fn reset_signals() -> Result<(), Errno> {
    // struct sigaction with SIG_DFL: all zero.
    let default = [0_u64; 4];
    for number in 1..=64_u64 {
        // SIGKILL and SIGSTOP cannot be set.
        if number != 9 && number != 19 {
            ask(nr::RT_SIGACTION, [Word::number(number), Word::of(&default), Word::NULL, Word::number(8)])?;
        }
    }
    mask_signals(0)
}

pub(super) fn mask_signals(set: u64) -> Result<(), Errno> {
    // SIG_SETMASK
    done(ask(nr::RT_SIGPROCMASK, [Word::number(2), Word::of(&set), Word::NULL, Word::number(8)]))
}

/// Of every signal.
pub(super) fn signal_fd() -> Result<i32, Errno> {
    let (every, flags) = (u64::MAX, Word::number(O_CLOEXEC));
    ask(nr::SIGNALFD4, [Word::descriptor(-1), Word::of(&every), Word::number(8), flags]).map(|file| file as i32)
}

pub(crate) fn signal(pidfd: i32, number: u8) -> Result<(), Errno> {
    done(ask(nr::PIDFD_SEND_SIGNAL, [Word::descriptor(pidfd), Word::number(u64::from(number)), Word::NULL, Word::NULL]))
}

/// The monotonic clock, in nanoseconds.
fn now() -> Result<u64, Errno> {
    let mut time = [0_u64; 2];
    // CLOCK_MONOTONIC
    ask(nr::CLOCK_GETTIME, [Word::number(1), Word::of_mut(&mut time)])?;
    Ok(time[0].saturating_mul(1_000_000_000).saturating_add(time[1]))
}

pub(super) const READABLE: u32 = 1;
pub(crate) const WRITABLE: u32 = 4;
/// POLLHUP need not be asked for (`poll(2)`).
pub(super) const HANG_UP: u32 = 0;

/// Waits for one of `events` or the other end's close; ETIMEDOUT after
/// `timeout_ms` (for ever when that is `u32::MAX`), however many signals the
/// embedder gets meanwhile.
pub(crate) fn wait_for(file: i32, events: u32, timeout_ms: u32) -> Result<(), Errno> {
    wait_for_either(file, events, -1, timeout_ms)
}

/// As [`wait_for`]; ECANCELED as soon as `cancel` can be read, if it is not -1.
pub(super) fn wait_for_either(file: i32, events: u32, cancel: i32, timeout_ms: u32) -> Result<(), Errno> {
    let mut left = u64::from(timeout_ms).saturating_mul(1_000_000);
    let end = now()?.saturating_add(left);
    loop {
        let mut poll = [file as u32, events, cancel as u32, READABLE];
        let limit = [left / 1_000_000_000, left % 1_000_000_000];
        let limit = if timeout_ms == u32::MAX { Word::NULL } else { Word::of(&limit) };
        match ask(nr::PPOLL, [Word::of_mut(&mut poll), Word::number(2), limit, Word::NULL, Word::NULL]) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            // revents, in the upper half.
            Ok(_) if poll[3] >> 16 != 0 => return Err(Errno::ECANCELED),
            Err(Errno::EINTR) => left = end.saturating_sub(now()?),
            other => return done(other),
        }
    }
}

/// Waits for the process behind a pidfd, and only for that one.
pub(super) fn wait(pidfd: i32, timeout_ms: u32) -> Result<WaitStatus, Errno> {
    wait_for(pidfd, READABLE, timeout_ms)?;
    // siginfo_t: si_signo, si_errno, si_code, pad, si_pid, si_uid, si_status
    let mut info = [0_u32; 32];
    // P_PIDFD, WEXITED|WNOHANG
    let words = [Word::number(3), Word::descriptor(pidfd), Word::of_mut(&mut info), Word::number(4 | 1), Word::NULL];
    match ask(nr::WAITID, words) {
        // si_pid 0: not waitable yet, which the poll above excluded.
        Ok(_) if info[4] == 0 => Err(Errno::EAGAIN),
        // CLD_EXITED
        Ok(_) if info[2] == 1 => Ok(WaitStatus::Exited(info[6] as u8)),
        Ok(_) => Ok(WaitStatus::Signaled(info[6] as u8)),
        #[cfg(not(skep_stage))]
        Err(Errno::ECHILD) => Ok(exit_record(pidfd)),
        // The watcher, which no status is for: what it waited for is dead, and
        // who reaps that may take its time.
        #[cfg(skep_stage)]
        Err(Errno::ECHILD) => Ok(WaitStatus::Lost),
        Err(errno) => Err(errno),
    }
}

/// Waits for a child that is ending, and takes its status away.
#[cfg(not(skep_stage))]
pub(crate) fn bury(pidfd: i32) {
    // P_PIDFD, WEXITED
    let words = [Word::number(3), Word::descriptor(pidfd), Word::NULL, Word::number(4), Word::NULL];
    while ask(nr::WAITID, words) == Err(Errno::EINTR) {}
}

#[cfg(not(skep_stage))]
pub(super) fn end_group(pidfd: i32, pid: u64) -> Result<(), Errno> {
    // A child that was not waited for keeps its number; and never all (kill(2)).
    let Some(group) = i32::try_from(pid).ok().filter(|group| *group > 1) else { return Err(Errno::EINVAL) };
    if signal(pidfd, 0).is_err() {
        return Ok(());
    }
    let kill = Word::number(u64::from(crate::abi::signal::KILL));
    super::words::tolerate(ask(nr::KILL, [Word::descriptor(-group), kill]), &[Errno::ESRCH])?;
    for _ in 0..2000 {
        let mut info = [0_u32; 32];
        // P_PGID, WEXITED|WNOHANG: who is stopped by a v1 freezer does not end.
        let words =
            [Word::number(2), Word::descriptor(group), Word::of_mut(&mut info), Word::number(4 | 1), Word::NULL];
        match ask(nr::WAITID, words) {
            Ok(_) if info[4] == 0 => {
                let pause = [0_u64, 1_000_000];
                let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // No more.
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ETIMEDOUT)
}

/// `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT` (Linux 6.15): the status of a process that
/// has been reaped; `None` where it has not been, or the kernel keeps no record.
#[cfg(not(skep_stage))]
fn exit_info(pidfd: i32) -> Result<Option<WaitStatus>, Errno> {
    const EXIT: u64 = 1 << 3;
    // struct pidfd_info, version 0: mask, cgroupid, ten ids, exit_code.
    let mut info = [EXIT, 0, 0, 0, 0, 0, 0, 0];
    ask(nr::IOCTL, [Word::descriptor(pidfd), Word::number(0xc040_ff0b), Word::of_mut(&mut info)])?;
    if info[0] & EXIT == 0 {
        return Ok(None);
    }
    let status = (info[7] >> 32) as u32;
    Ok(Some(match status & 0x7f {
        0 => WaitStatus::Exited((status >> 8) as u8),
        signal => WaitStatus::Signaled(signal as u8),
    }))
}

/// What the kernel remembers of a process that somebody else is reaping.
#[cfg(not(skep_stage))]
fn exit_record(pidfd: i32) -> WaitStatus {
    let mut gone = false;
    for _ in 0..10_000 {
        match exit_info(pidfd) {
            // It looks for the record before it looks for the process: between
            // the two the one may come and the other go.
            Err(Errno::ESRCH) if !gone => {
                gone = true;
                continue;
            }
            Err(_) => break,
            Ok(Some(status)) => return status,
            Ok(None) => {}
        }
        // Whoever reaps takes it from us a moment before the kernel has made
        // the record (`wait_task_zombie`, `release_task`).
        let pause = [0_u64, 50_000];
        let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
    }
    WaitStatus::Lost
}

/// The same of one that nobody may have reaped yet.
#[cfg(not(skep_stage))]
pub(super) fn remembered(pidfd: i32, timeout_ms: u32) -> Result<WaitStatus, Errno> {
    match exit_info(pidfd) {
        Ok(Some(status)) => return Ok(status),
        // A process: before Linux 6.13 there is no such question.
        Err(Errno::ENOTTY | Errno::EINVAL) => return Ok(WaitStatus::Lost),
        Err(Errno::ESRCH) | Ok(None) => {}
        Err(errno) => return Err(errno),
    }
    // A pidfd hangs up when its process is reaped (Linux 6.9).
    wait_for(pidfd, HANG_UP, timeout_ms)?;
    Ok(exit_record(pidfd))
}

#[inline(always)]
pub(crate) fn exit(status: u8) -> ! {
    loop {
        let _ = ask(nr::EXIT_GROUP, [Word::number(u64::from(status))]);
    }
}
