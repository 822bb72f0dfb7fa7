//! Events of a container behind one pollable descriptor, without a thread.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use skep_sys::wire::Blob;
use skep_sys::{At, Errno, Op, Slot};

use crate::error::{Error, Result};
use crate::groups::{Group, Groups};

/// Something that happened to a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Event {
    /// It wanted more memory than it may have, and the kernel killed. Told
    /// where the container has a group for memory.
    OutOfMemory {
        /// How many processes were killed so far. On v1 the event comes before
        /// the kill, which may not be counted yet.
        kills: u64,
    },
    /// No process is left. Told once. Where the container shares the caller's
    /// process ids and has a v1 group: its first process has ended.
    Empty,
}

/// The events of one container ([`crate::Container::events`]).
///
/// The descriptor ([`AsFd`]) is readable (`POLLIN`) when [`Events::read`] has
/// something to say or to find out; it may then still say nothing. What
/// happened before is told by the first `read`, so read once before the first
/// wait. It holds the container's group open, not the container alive.
#[derive(Debug)]
pub struct Events {
    epoll: Epoll,
    source: Source,
    pidfd: Option<OwnedFd>,
    groups: Groups,
    /// The end of the first process is the end of all.
    first_is_all: bool,
    kills: u64,
    empty: bool,
}

/// Where news of the groups comes from.
#[derive(Debug)]
enum Source {
    None,
    /// v2: `memory.events` and `cgroup.events` say when they change.
    Unified(Inotify),
    /// v1: `memory.oom_control`.
    Legacy(EventFd),
}

const GROUPS: u64 = 0;
const PROCESS: u64 = 1;

impl Events {
    pub(crate) fn of(groups: &Groups, pidfd: BorrowedFd<'_>, own_processes: bool) -> Result<Self> {
        let failed = |what: &str| {
            let what = format!("listen to the container: {what}");
            move |errno: nix::Error| Error::system(what.clone(), Errno::from_raw(errno as u16))
        };
        let duplicate = |file: BorrowedFd<'_>| {
            file.try_clone_to_owned()
                .map_err(|error| Error::system("listen to the container: dup", crate::watcher::errno_of(&error)))
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create1"))?;
        let watch = |file: BorrowedFd<'_>, number| {
            epoll.add(file, EpollEvent::new(EpollFlags::EPOLLIN, number)).map_err(failed("epoll_ctl"))
        };
        let pidfd = duplicate(pidfd)?;
        watch(pidfd.as_fd(), PROCESS)?;
        let mut own = Vec::new();
        for group in groups.list.iter().filter(|group| group.plan.unified || group.has("memory")) {
            own.push(Group { plan: group.plan.clone(), directory: duplicate(group.directory.as_fd())? });
        }
        let source = match own.first() {
            None => Source::None,
            Some(group) if group.plan.unified => {
                let inotify =
                    Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed("inotify_init1"))?;
                for file in ["memory.events", "cgroup.events"] {
                    let path = format!("/proc/self/fd/{}/{file}", group.directory.as_raw_fd());
                    match inotify.add_watch(path.as_str(), AddWatchFlags::IN_MODIFY) {
                        // The group has no controller for memory.
                        Ok(_) | Err(nix::Error::ENOENT) => {}
                        Err(errno) => return Err(failed("inotify_add_watch")(errno)),
                    }
                }
                watch(inotify.as_fd(), GROUPS)?;
                Source::Unified(inotify)
            }
            Some(group) => {
                let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
                let event = EventFd::from_value_and_flags(0, flags).map_err(failed("eventfd2"))?;
                register(group, &event)?;
                watch(event.as_fd(), GROUPS)?;
                Source::Legacy(event)
            }
        };
        let groups = Groups::new(own);
        let first_is_all = own_processes || groups.unified().is_none();
        Ok(Self { epoll, source, pidfd: Some(pidfd), groups, first_is_all, kills: 0, empty: false })
    }

    /// What has happened since the last time; never waits.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        let failed = |errno: nix::Error| Error::system("read the container's events", Errno::from_raw(errno as u16));
        let mut ready = [EpollEvent::empty(); 2];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            Err(nix::Error::EINTR) => 0,
            other => other.map_err(failed)?,
        };
        let heard = |number| ready.iter().take(count).any(|event| event.data() == number);
        let mut limit_reached = false;
        if heard(GROUPS) {
            match &self.source {
                Source::None => {}
                Source::Unified(inotify) => match inotify.read_events() {
                    Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                    Err(errno) => return Err(failed(errno)),
                },
                Source::Legacy(event) => match event.read() {
                    // The end of the group is told in the same way.
                    Ok(_) => {
                        limit_reached =
                            self.groups.of("memory").is_some_and(|group| group.read("memory.oom_control").is_some())
                    }
                    Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                    Err(errno) => return Err(failed(errno)),
                },
            }
        }
        let mut first_ended = false;
        if heard(PROCESS)
            && let Some(pidfd) = self.pidfd.take()
        {
            // It would be readable for ever.
            self.epoll.delete(&pidfd).map_err(failed)?;
            first_ended = true;
        }
        let mut events = Vec::new();
        let kills = self.groups.memory_kills().unwrap_or(self.kills).max(self.kills);
        if kills > self.kills || limit_reached {
            events.push(Event::OutOfMemory { kills });
        }
        self.kills = kills;
        if !self.empty && ((first_ended && self.first_is_all) || (!self.first_is_all && self.is_empty())) {
            self.empty = true;
            events.push(Event::Empty);
        }
        Ok(events)
    }

    /// Whether the v2 group has no process; one that is gone has none.
    fn is_empty(&self) -> bool {
        let Some(group) = self.groups.unified() else { return false };
        group.read("cgroup.events").is_none_or(|text| text.lines().any(|line| line == "populated 0"))
    }
}

/// `memory.oom_control` tells an eventfd, on v1.
fn register(group: &Group, event: &EventFd) -> Result<()> {
    let failed = |errno| Error::system("listen to the container's memory limit: cgroup.event_control", errno);
    let file = group.open("memory.oom_control").ok_or_else(|| failed(Errno::ENOENT))?;
    let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
    let write = Op::Write { dir: At::Slot(Slot(0)), path: c"cgroup.event_control", content: Blob(line.as_bytes()) };
    group.call(&write).map_err(failed)
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }
}
