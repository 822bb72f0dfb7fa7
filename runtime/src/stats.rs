//! What a container uses.

use std::time::Duration;

use crate::groups::{Group, Groups, keyed};
use crate::stat::Stat;

/// What a container uses, as far as its cgroups can say: what none of them
/// counts is `None`. A v2 group counts everything whose controller the group
/// above gives; on v1 only what the container has a limit of is counted.
///
/// The numbers are read one after the other, while the container runs.
/// Sources: kernel `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Memory.
    pub memory: MemoryStats,
    /// Processor time.
    pub cpu: CpuStats,
    /// Processes and threads that there are.
    pub pids: Option<u64>,
    /// Reading and writing.
    pub io: IoStats,
}

/// Memory that a container uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Bytes that it has, cache of files and memory of the kernel included.
    pub current: Option<u64>,
    /// The most that it had. On v2 since Linux 5.19.
    pub peak: Option<u64>,
    /// Bytes of swap.
    pub swap: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// Processor time that a container has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CpuStats {
    /// All of it, by every process that was in the group.
    pub usage: Option<Duration>,
    /// In programs. Where `usage` is `None`: of the first process and of those
    /// that have ended and that it has waited for.
    pub user: Option<Duration>,
    /// In the kernel, likewise.
    pub system: Option<Duration>,
    /// How long it was kept waiting by its limit.
    pub throttled: Option<Duration>,
    /// In how many periods it was.
    pub throttled_periods: Option<u64>,
}

/// What a container has read from and written to block devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct IoStats {
    /// Bytes.
    pub read_bytes: Option<u64>,
    /// Bytes.
    pub written_bytes: Option<u64>,
}

impl Stats {
    /// `process` is the first one.
    pub(crate) fn read(groups: &Groups, process: Option<&Stat>) -> Self {
        let mut stats = Self::default();
        for group in &groups.list {
            if group.plan.unified {
                stats.unified(group);
            } else {
                stats.legacy(group);
            }
        }
        stats.memory.oom_kills = groups.memory_kills();
        if stats.cpu.usage.is_none()
            && let Some([user, system]) = process.and_then(times)
        {
            (stats.cpu.user, stats.cpu.system) = (Some(user), Some(system));
        }
        stats
    }

    fn unified(&mut self, group: &Group) {
        self.memory.current = group.number("memory.current");
        self.memory.peak = group.number("memory.peak");
        self.memory.swap = group.number("memory.swap.current");
        self.pids = group.number("pids.current");
        if let Some(text) = group.read("cpu.stat") {
            let time = |key| keyed(&text, key).map(Duration::from_micros);
            self.cpu.usage = time("usage_usec");
            (self.cpu.user, self.cpu.system) = (time("user_usec"), time("system_usec"));
            self.cpu.throttled = time("throttled_usec");
            self.cpu.throttled_periods = keyed(&text, "nr_throttled");
        }
        if let Some(text) = group.read("io.stat") {
            self.io.read_bytes = Some(sum_of(&text, "rbytes="));
            self.io.written_bytes = Some(sum_of(&text, "wbytes="));
        }
    }

    fn legacy(&mut self, group: &Group) {
        if group.has("memory") {
            self.memory.current = group.number("memory.usage_in_bytes");
            self.memory.peak = group.number("memory.max_usage_in_bytes");
            let both = group.number("memory.memsw.usage_in_bytes");
            self.memory.swap = both.zip(self.memory.current).map(|(both, memory)| both.saturating_sub(memory));
        }
        if group.has("pids") {
            self.pids = group.number("pids.current");
        }
        if group.has("cpu") {
            // Mounted with `cpuacct` on most hosts.
            let time = |name| group.number(name).map(Duration::from_nanos);
            self.cpu.usage = time("cpuacct.usage");
            (self.cpu.user, self.cpu.system) = (time("cpuacct.usage_user"), time("cpuacct.usage_sys"));
            if let Some(text) = group.read("cpu.stat") {
                self.cpu.throttled = keyed(&text, "throttled_time").map(Duration::from_nanos);
                self.cpu.throttled_periods = keyed(&text, "nr_throttled");
            }
        }
        if group.has("blkio")
            && let Some(text) = group.read("blkio.throttle.io_service_bytes_recursive")
        {
            let sum = |word: &str| {
                let numbers =
                    text.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix(word)?.trim().parse().ok());
                numbers.fold(0_u64, u64::saturating_add)
            };
            (self.io.read_bytes, self.io.written_bytes) = (Some(sum("Read ")), Some(sum("Write ")));
        }
    }
}

/// The sum of `key`'s values over all lines.
fn sum_of(text: &str, key: &str) -> u64 {
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse().ok());
    words.fold(0, u64::saturating_add)
}

/// User and system time with that of children that were waited for
/// (`proc_pid_stat(5)`, fields 14 to 17).
fn times(stat: &Stat) -> Option<[Duration; 2]> {
    let ticked = |number| stat.field::<u64>(number);
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let ticks = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
    let time = |count: u64| Duration::from_millis(count.saturating_mul(1000) / ticks);
    Some([time(ticked(14)?.saturating_add(ticked(16)?)), time(ticked(15)?.saturating_add(ticked(17)?))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_devices_are_added() {
        let text = "8:0 rbytes=10 wbytes=1 rios=2\n254:0 rbytes=5 wbytes=0 rios=1\n";
        assert_eq!((sum_of(text, "rbytes="), sum_of(text, "wbytes=")), (15, 1));
        assert_eq!(sum_of("8:0 rbytes=x\n", "rbytes="), 0);
    }

    #[test]
    fn times_of_a_process_with_a_strange_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 0 0 0 0 100 200 300 400 20 0 1 0";
        let [user, system] = times(&Stat::parse(stat)).unwrap();
        assert!(user > Duration::from_secs(3) && system > user);
        assert_eq!(times(&Stat::parse("7 (a")), None);
        assert_eq!(times(&Stat::parse("7 (a) S 1")), None);
    }
}
