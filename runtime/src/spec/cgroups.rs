//! What a cgroup limits, and what else a container can have one for.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Want;
use crate::Escaped;

/// Processor time: `quota` microseconds in every `period` microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CpuLimit {
    /// Microseconds; at least 1000.
    pub quota: u64,
    /// Microseconds; 1000 to 1000000.
    pub period: u64,
}

/// Numbers of processors or of memory nodes, as the kernel lists them:
/// `0-3,7` (`cpuset(7)`, "List format"). Never empty; kept in order, without
/// overlaps.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct NumberList(String);

/// The largest number of a list: more than any kernel is built for.
const LARGEST: u32 = 65_535;

impl NumberList {
    /// Parses a list.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |word: &str| {
            let plain = !word.is_empty() && word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| word.parse::<u32>().ok()).flatten().filter(|number| *number <= LARGEST)
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
        };
        let mut ranges: Vec<(u32, u32)> = text
            .split(',')
            .take(1000)
            .map(|part| {
                range(part).ok_or_else(|| {
                    format!("\"{}\" is no number or range of numbers such as 0-3", Escaped::new(part).short())
                })
            })
            .collect::<Result<_, String>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        let words: Vec<String> = merged
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
            .collect();
        Ok(Self(words.join(",")))
    }

    /// The list, as the kernel takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The numbers of both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self::parse(&format!("{self},{other}")).unwrap_or_else(|_| self.clone())
    }

    /// Every number, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.ranges().flat_map(|(first, last)| first..=last)
    }

    fn ranges(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
    }

    /// The first number that `other` lacks.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Option<u32> {
        let has = |number: u32| other.ranges().any(|(first, last)| (first..=last).contains(&number));
        self.ranges().flat_map(|(first, last)| first..=last).find(|number| !has(*number))
    }
}

impl fmt::Display for NumberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for NumberList {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NumberList {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<NumberList> for String {
    fn from(list: NumberList) -> Self {
        list.0
    }
}

/// What a container may read from and write to one block device, for each
/// second. Of each kind there is no limit where it says nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct IoLimit {
    /// The device's node, such as `/dev/vda`.
    pub device: PathBuf,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Reads.
    pub read_operations: Option<u64>,
    /// Writes.
    pub write_operations: Option<u64>,
}

impl IoLimit {
    /// No limit yet on `device`.
    #[must_use]
    pub fn new(device: impl Into<PathBuf>) -> Self {
        Self { device: device.into(), ..Self::default() }
    }
}

/// Limits that a cgroup enforces, and what else needs one. What is set here is
/// required: a start that cannot set it fails, with the name of what is
/// missing. Sources: kernel `admin-guide/cgroup-v2.rst` and
/// `admin-guide/cgroup-v1`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Resources {
    /// Bytes of memory; above them the kernel kills. The kernel counts whole
    /// pages and rounds down.
    pub memory: Option<u64>,
    /// Bytes of memory above which the kernel slows the container down and
    /// takes memory back. v2 only.
    pub memory_high: Option<u64>,
    /// Bytes of memory that the kernel takes back only where it finds nothing
    /// elsewhere. On v1 the soft limit, which is weaker: it counts only while
    /// the host is short of memory.
    pub memory_low: Option<u64>,
    /// Bytes of memory that the kernel never takes back. v2 only.
    pub memory_min: Option<u64>,
    /// Bytes of swap beside the memory; with a limit on memory and without
    /// this, none. v1 counts both together and needs a limit on memory.
    pub swap: Option<u64>,
    /// Whether the kernel kills the whole container for its memory limit, not
    /// one process of it. With a limit on memory yes, unless this says no. v2
    /// only.
    pub oom_group: Option<bool>,
    /// Processor time.
    pub cpu: Option<CpuLimit>,
    /// Share of processor time where others want some too, 1 to 10000; 100
    /// otherwise. On v1 `cpu.shares`, 1024 for 100.
    pub cpu_weight: Option<u64>,
    /// Processors that it may use.
    pub cpuset_cpus: Option<NumberList>,
    /// Memory nodes that it may use.
    pub cpuset_mems: Option<NumberList>,
    /// Limits on block devices.
    pub io: Vec<IoLimit>,
    /// Share of a block device where others want some too, 1 to 10000; 100
    /// otherwise. On v1 up to 1000, of the BFQ scheduler.
    pub io_weight: Option<u64>,
    /// Number of processes and threads. The profile's limit when absent.
    pub pids: Option<u64>,
    /// Whether the container can be paused ([`crate::Container::pause`]): a
    /// cgroup for that alone, where it has no other. Off otherwise, though a
    /// container with a v2 group can be paused all the same.
    pub freezing: Want,
    /// The payload's root owns its group, and may make groups below it with
    /// the controllers of this one (kernel `cgroup-v2.rst`, "Delegation"): what
    /// a payload that is an init needs. The limits of the group itself stay
    /// the host's. v2 only.
    pub delegate: bool,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory: None,
            memory_high: None,
            memory_low: None,
            memory_min: None,
            swap: None,
            oom_group: None,
            cpu: None,
            cpu_weight: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            io: Vec::new(),
            io_weight: None,
            pids: None,
            freezing: Want::Off,
            delegate: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_put_in_order() {
        let list = |text: &str| NumberList::parse(text).map(String::from);
        assert_eq!(list("3,0-1,2,7").unwrap(), "0-3,7");
        assert_eq!(list("5-5,5,4").unwrap(), "4-5");
        for bad in ["", ",", "1-", "-1", "3-2", "a", "65536", "1,,2", "0x1", " 1", "0-3:1/2"] {
            assert!(list(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_another_list_lacks() {
        let list = |text: &str| NumberList::parse(text).unwrap();
        assert_eq!(list("0-3").beyond(&list("0-7")), None);
        assert_eq!(list("0-3").beyond(&list("0-1,3")), Some(2));
    }
}
