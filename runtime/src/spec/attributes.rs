//! Attributes of the payload's process that are no right and no limit.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NumberList;

/// What `uname(2)` says that the machine is, and where the kernel lays things in
/// memory for it (`personality(2)`).
///
/// It changes what programs believe, not what they may do: whether the filter lets
/// 32-bit calls through, [`SystemCalls::architectures`](super::SystemCalls::architectures)
/// says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Personality {
    /// What the machine is.
    #[default]
    Native,
    /// `x86-64`.
    #[serde(rename = "x86-64")]
    X86_64,
    /// `x86`: the 32 bits of an x86-64 machine (`PER_LINUX32`).
    X86,
    /// `arm64`.
    Arm64,
    /// `arm`: the 32 bits of an arm64 machine (`PER_LINUX32`).
    Arm,
}

impl Personality {
    /// All, by the name that systemd gives each.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("native", Self::Native),
        ("x86-64", Self::X86_64),
        ("x86", Self::X86),
        ("arm64", Self::Arm64),
        ("arm", Self::Arm),
    ];

    /// The word for the kernel, on a machine of this architecture.
    pub(crate) fn persona(self) -> Option<u32> {
        const LINUX: u32 = 0;
        const LINUX32: u32 = 8;
        match (self, std::env::consts::ARCH) {
            (Self::Native, _) | (Self::X86_64, "x86_64") | (Self::Arm64, "aarch64") => Some(LINUX),
            (Self::X86, "x86_64") | (Self::Arm, "aarch64") => Some(LINUX32),
            _ => None,
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(_, one)| one == self).map_or("", |(name, _)| name))
    }
}

/// Where, when and how soon the payload runs (`sched(7)`), and how soon its
/// requests reach a disk (`ioprio_set(2)`). What is absent is the caller's own.
///
/// What is at the cost of others (a lower nice value, real time) takes
/// CAP_SYS_NICE, or the resource limits NICE and RTPRIO of the caller.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Scheduling {
    /// The only processors that it runs on. The payload can choose others again
    /// where the filter lets it (`sched_setaffinity(2)`); what it cannot leave is
    /// [`Resources::cpuset_cpus`](super::Resources::cpuset_cpus).
    pub affinity: Option<NumberList>,
    /// The policy.
    pub policy: Option<SchedulingPolicy>,
    /// The nice value, from -20 (most time) to 19: of the policies `other` and
    /// `batch`. Without a policy, that is `other`.
    pub nice: Option<i8>,
    /// The priority of its requests to disks.
    pub io: Option<IoPriority>,
}

/// A scheduling policy of `sched(7)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SchedulingPolicy {
    /// The usual one (`SCHED_OTHER`).
    Other,
    /// For work without anybody who waits (`SCHED_BATCH`).
    Batch,
    /// Only what nobody else wants (`SCHED_IDLE`).
    Idle,
    /// Before all of the above, until it waits (`SCHED_FIFO`).
    Fifo {
        /// 1 to 99.
        priority: u8,
    },
    /// The same, in turns with others of its priority (`SCHED_RR`).
    RoundRobin {
        /// 1 to 99.
        priority: u8,
    },
}

impl SchedulingPolicy {
    /// The kernel's number of the policy, and the priority.
    pub(crate) const fn raw(self) -> (u32, u32) {
        match self {
            Self::Other => (0, 0),
            Self::Fifo { priority } => (1, priority as u32),
            Self::RoundRobin { priority } => (2, priority as u32),
            Self::Batch => (3, 0),
            Self::Idle => (5, 0),
        }
    }

    /// The other way round.
    pub(crate) fn of_raw(policy: u32, priority: u32) -> Option<Self> {
        let priority = u8::try_from(priority).ok()?;
        [Self::Other, Self::Fifo { priority }, Self::RoundRobin { priority }, Self::Batch, Self::Idle]
            .into_iter()
            .find(|one| one.raw() == (policy, u32::from(priority)))
    }

    /// Whether the kernel takes a nice value with it (`sched_setattr(2)`).
    pub(crate) const fn has_nice(self) -> bool {
        matches!(self, Self::Other | Self::Batch)
    }

    pub(crate) const fn is_real_time(self) -> bool {
        matches!(self, Self::Fifo { .. } | Self::RoundRobin { .. })
    }
}

impl fmt::Display for SchedulingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str("other"),
            Self::Batch => f.write_str("batch"),
            Self::Idle => f.write_str("idle"),
            Self::Fifo { priority } => write!(f, "fifo:{priority}"),
            Self::RoundRobin { priority } => write!(f, "rr:{priority}"),
        }
    }
}

impl std::str::FromStr for SchedulingPolicy {
    type Err = String;

    /// `other`, `batch`, `idle`, `fifo:PRIORITY` or `rr:PRIORITY`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, priority) = text.split_once(':').unwrap_or((text, ""));
        match (name, level(priority, 99)) {
            ("other", _) if text == name => Ok(Self::Other),
            ("batch", _) if text == name => Ok(Self::Batch),
            ("idle", _) if text == name => Ok(Self::Idle),
            ("fifo", Some(priority @ 1..)) => Ok(Self::Fifo { priority }),
            ("rr", Some(priority @ 1..)) => Ok(Self::RoundRobin { priority }),
            _ => Err(format!("\"{}\" is not a scheduling policy", crate::Escaped::new(text).short())),
        }
    }
}

/// The priority of requests to disks (`ioprio_set(2)`). Not every scheduler of the
/// kernel's looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum IoPriority {
    /// Before all others.
    RealTime {
        /// 0, the first, to 7.
        level: u8,
    },
    /// The usual class.
    BestEffort {
        /// 0, the first, to 7.
        level: u8,
    },
    /// Only when nobody else asks.
    Idle,
}

impl IoPriority {
    /// The kernel's class and level.
    pub(crate) const fn raw(self) -> (u8, u8) {
        match self {
            Self::RealTime { level } => (1, level),
            Self::BestEffort { level } => (2, level),
            Self::Idle => (3, 0),
        }
    }

    /// The other way round.
    pub(crate) fn of_raw(class: u8, level: u8) -> Option<Self> {
        [Self::RealTime { level }, Self::BestEffort { level }, Self::Idle]
            .into_iter()
            .find(|one| one.raw() == (class, level))
    }
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime { level } => write!(f, "real-time:{level}"),
            Self::BestEffort { level } => write!(f, "best-effort:{level}"),
            Self::Idle => f.write_str("idle"),
        }
    }
}

impl std::str::FromStr for IoPriority {
    type Err = String;

    /// `idle`, `best-effort:LEVEL` or `real-time:LEVEL`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, ""));
        match (name, level(number, 7)) {
            ("idle", _) if text == name => Ok(Self::Idle),
            ("best-effort", Some(level)) => Ok(Self::BestEffort { level }),
            ("real-time", Some(level)) => Ok(Self::RealTime { level }),
            _ => Err(format!("\"{}\" is not a priority of disks", crate::Escaped::new(text).short())),
        }
    }
}

/// One or two digits, up to `most`.
fn level(text: &str, most: u8) -> Option<u8> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|number| *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for text in ["other", "batch", "idle", "fifo:1", "rr:99"] {
            let policy: SchedulingPolicy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            let (number, priority) = policy.raw();
            assert_eq!(SchedulingPolicy::of_raw(number, priority), Some(policy));
        }
        for text in ["idle", "best-effort:0", "real-time:7"] {
            let priority: IoPriority = text.parse().unwrap();
            assert_eq!(priority.to_string(), text);
            let (class, level) = priority.raw();
            assert_eq!(IoPriority::of_raw(class, level), Some(priority));
        }
        for text in ["", "fifo", "fifo:", "fifo:0", "fifo:100", "rr:+1", "other:1", "idle:", "deadline", "\u{7}"] {
            assert!(text.parse::<SchedulingPolicy>().is_err(), "{text}");
        }
        for text in ["", "idle:0", "best-effort", "best-effort:8", "real-time:-1", "none"] {
            assert!(text.parse::<IoPriority>().is_err(), "{text}");
        }
    }
}
