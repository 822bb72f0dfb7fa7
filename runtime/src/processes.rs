//! The processes of a container, as the host's procfs has them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use skep_sys::{Errno, Op, Slot};

use crate::container::call;
use crate::error::{Error, Result};
use crate::registry::entry;
use crate::stat::Stat;

/// A process of a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct Member {
    /// Its process id, as the host sees it.
    pub id: u32,
    /// That of its parent, which for one that was brought in is outside.
    pub parent: u32,
    /// When it started, in ticks since boot: with the id, who it is.
    start: u64,
}

impl Member {
    /// `None` for one that is dead.
    fn of(id: u32, stat: &Stat) -> Option<Self> {
        Some(Self { id, parent: stat.field(4)?, start: stat.start_time()? })
    }

    fn look(id: u32) -> Option<Self> {
        Self::of(id, &Stat::read(id).ok()?)
    }

    /// Sends it a signal, if it is still who it was.
    fn signal(self, number: u8) -> std::result::Result<(), Errno> {
        let pidfd = match entry::pidfd_of(self.id) {
            Err(Errno::ESRCH) => return Ok(()),
            other => other?,
        };
        if entry::start_time(self.id) != Some(self.start) {
            return Ok(());
        }
        match call(&[pidfd.as_fd()], &Op::PidfdSignal { process: Slot(0), signal: number }) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Who is in the container of this first process: it, its descendants, and, where
/// it has process ids of its own, whoever else has those, with descendants. By
/// id; a process that this one may not see is left out.
pub(crate) fn of(first: u32) -> Vec<Member> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: BTreeMap<u32, Member> = ids.filter_map(|id| Some((id, Member::look(id)?))).collect();
    let namespace = |id: u32| entry::namespace(Path::new(&format!("/proc/{id}/ns/pid")));
    let own = namespace(first).filter(|own| Some(*own) != namespace(std::process::id()));
    let mut within: BTreeMap<u32, bool> = all
        .values()
        .filter(|member| member.id == first || (own.is_some() && namespace(member.id) == own))
        .map(|member| (member.id, true))
        .collect();
    for member in all.values() {
        // Up to somebody of whom it is known, or to the end.
        let (mut above, mut way) = (Some(member), Vec::new());
        let found = loop {
            let Some(one) = above else { break false };
            if let Some(known) = within.get(&one.id) {
                break *known;
            }
            if way.contains(&one.id) {
                break false;
            }
            way.push(one.id);
            above = all.get(&one.parent);
        };
        within.extend(way.into_iter().map(|id| (id, found)));
    }
    all.into_values().filter(|member| within.get(&member.id) == Some(&true)).collect()
}

/// Sends all of them a signal.
pub(crate) fn signal(first: u32, number: u8) -> Result<()> {
    for member in of(first) {
        member
            .signal(number)
            .map_err(|errno| Error::system(format!("send signal {number} to process {}", member.id), errno))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let own: Vec<u32> = of(std::process::id()).iter().map(|member| member.id).collect();
        assert!(own.contains(&std::process::id()) && own.contains(&child.id()), "{own:?}");
        assert_eq!(of(child.id()).len(), 1);
        signal(child.id(), 15).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(of(child.id()).is_empty());
    }
}
