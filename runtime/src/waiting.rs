//! Waiting for processes by their pidfds, and for what they write.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use skep_sys::{Errno, Op, Slot, WaitStatus};

use crate::container::call;
use crate::error::{Error, Result};
use crate::exec::Members;
use crate::status::ExitStatus;

/// How long a killed process may take. One in an uninterruptible sleep must not
/// hold up the embedder for ever; the watcher's or the kernel's turn then.
pub(crate) const KILLED: Duration = Duration::from_secs(10);

/// How long process 1 of a container may take once it has let go of its
/// descriptors: it waits for the processes of its namespace to be reaped, and
/// one that was brought in from outside is reaped by whoever did that.
const LINGERING: Duration = Duration::from_secs(5);

/// Process 1, of a container or of one that was found.
pub(crate) struct First<'f> {
    pub(crate) pidfd: BorrowedFd<'f>,
    /// What hangs up when it begins to end, and when that was first seen.
    pub(crate) lifeline: Option<(BorrowedFd<'f>, &'f OnceLock<Instant>)>,
    /// The children of this process that are in its namespace: it ends when
    /// their statuses have been taken, so that is done here.
    pub(crate) members: &'f Members,
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Runs,
    Ended,
    /// Everything in it is dead, but process 1 cannot be waited for yet.
    Lingers,
}

/// Waits for at most `timeout`, for ever without one.
pub(crate) fn end_of(first: &First<'_>, timeout: Option<Duration>) -> Result<End> {
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // A lifeline tells in time to look for members that came meanwhile.
    let wakes = first.lifeline.is_none() && timeout.is_none_or(|timeout| !timeout.is_zero());
    loop {
        let wake = if wakes { first.members.wake() } else { None };
        let living = first.members.living();
        let hung_up = first.lifeline.and_then(|(_, seen)| seen.get()).copied();
        let mut polled = vec![PollFd::new(first.pidfd, PollFlags::POLLIN)];
        // It only hangs up, once.
        let line = first.lifeline.filter(|_| hung_up.is_none());
        polled.extend(line.map(|(line, _)| PollFd::new(line, PollFlags::empty())));
        polled.extend(wake.iter().map(|wake| PollFd::new(wake.as_fd(), PollFlags::POLLIN)));
        polled.extend(living.iter().map(|member| PollFd::new(member.as_fd(), PollFlags::POLLIN)));
        let now = Instant::now();
        let left = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(now));
        let (to_end, lingers) = (left(end), left(hung_up.and_then(|since| since.checked_add(LINGERING))));
        let ready = match poll(&mut polled, limit([to_end, lingers].into_iter().flatten().min())) {
            Err(nix::Error::EINTR) => continue,
            other => other.map_err(|errno| Error::system("wait for a process: poll", Errno::from_raw(errno as u16)))?,
        };
        let is = |place: usize| polled.get(place).and_then(PollFd::any) == Some(true);
        if is(0) {
            return Ok(End::Ended);
        }
        if let Some((_, seen)) = line.filter(|_| is(1)) {
            let _ = seen.set(Instant::now());
        } else if ready == 0 && lingers.is_some_and(|left| left.is_zero()) {
            return Ok(End::Lingers);
        } else if ready == 0 && to_end.is_some_and(|left| left.is_zero()) {
            return Ok(End::Runs);
        }
    }
}

/// Rounded up, so that a wait that is over is over.
fn limit(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        let milliseconds = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
    })
}

/// Whether a process has ended, which its pidfd says; `None` waits for it.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    // One beyond the clock's end is none.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], limit(left)) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => {
                return Err(Error::system("wait for a process: poll", Errno::from_raw(errno as u16)));
            }
        }
    }
}

/// Takes the status of a child that has ended.
pub(crate) fn status_of(pidfd: BorrowedFd<'_>, what: &str) -> Result<WaitStatus> {
    let op = Op::PidfdWait { process: Slot(0), timeout_ms: 0, into: Slot(3) };
    let ended = call(&[pidfd], &op).map_err(|errno| Error::system(format!("wait for {what}"), errno))?;
    Ok(WaitStatus::from_value(ended))
}

/// Children that could not be waited for in time.
static UNBURIED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Takes the statuses of those that can be waited for by now; `more` is one
/// that cannot.
pub(crate) fn bury(more: Option<OwnedFd>) {
    let mut unburied = UNBURIED.lock().unwrap_or_else(PoisonError::into_inner);
    unburied.retain(|pidfd| {
        let ended = has_ended(pidfd.as_fd(), Some(Duration::ZERO)).unwrap_or(true);
        !ended || status_of(pidfd.as_fd(), "a process").is_err()
    });
    unburied.extend(more);
}

/// A status that is taken once, whoever asks for it.
#[derive(Debug, Default)]
pub(crate) struct Taken(Mutex<Option<ExitStatus>>);

impl Taken {
    pub(crate) fn get(&self) -> Option<ExitStatus> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, status: ExitStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// The status, and whether it was taken now: others may wait as well.
    pub(crate) fn or_take(&self, take: impl FnOnce() -> Result<ExitStatus>) -> Result<(ExitStatus, bool)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *kept {
            Some(status) => Ok((status, false)),
            None => Ok((*kept.insert(take()?), true)),
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

impl Output {
    /// Reads both pipes to their ends without a thread, then waits.
    pub(crate) fn of(
        what: &str,
        stdout: Option<File>,
        stderr: Option<File>,
        wait: impl FnOnce() -> Result<ExitStatus>,
    ) -> Result<Self> {
        let [stdout, stderr] = read_both([stdout, stderr])
            .map_err(|error| Error::system(format!("read {what}'s output"), crate::watcher::errno_of(&error)))?;
        Ok(Self { status: wait()?, stdout, stderr })
    }
}

fn read_both(pipes: [Option<File>; 2]) -> std::io::Result<[Vec<u8>; 2]> {
    let mut pipes = pipes.map(|pipe| (pipe, Vec::new()));
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
            return Ok(pipes.map(|(_, content)| content));
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
