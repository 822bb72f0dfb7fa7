//! What it ran on, and what ran beside it.

use std::fs::read_to_string;

pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    load_before: String,
}

fn load() -> String {
    read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// A line of `/proc/meminfo`, in MiB.
fn memory(name: &str) -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse::<u64>().ok());
    line.unwrap_or(0) / 1024
}

/// What can still be taken, in MiB.
pub(crate) fn free_memory_mib() -> u64 {
    memory("MemAvailable")
}

impl Machine {
    pub(crate) fn look() -> Self {
        let processors = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: processor.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            memory_mib: memory("MemTotal"),
            load_before: load(),
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{} cores ({}), Linux {}, {} MiB memory; {}; load average {} before, {} after",
            self.cores,
            self.processor,
            self.kernel,
            self.memory_mib,
            who(),
            self.load_before,
            load(),
        )
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "cores": self.cores,
            "processor": self.processor,
            "kernel": self.kernel,
            "memory_mib": self.memory_mib,
            "root": nix::unistd::geteuid().is_root(),
            "load_before": self.load_before,
            "load_after": load(),
        })
    }
}

fn who() -> &'static str {
    if nix::unistd::geteuid().is_root() { "as root" } else { "as an ordinary user" }
}
