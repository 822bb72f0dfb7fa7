//! Scheduling, resource limits, limits by cgroup.

use skep_sys::abi::Resource;

use super::Command;
use crate::spec::{CpuLimit, IoLimit, IoPriority, Limit, NumberList, SchedulingPolicy, Want};

/// # Limits and scheduling
impl Command {
    /// Sets the only processors that the payload runs on; the caller's otherwise. One
    /// that is not there fails the start.
    pub fn cpu_affinity(&mut self, cpus: NumberList) -> &mut Self {
        self.set("scheduling.affinity", "Command::cpu_affinity").scheduling.affinity = Some(cpus);
        self
    }

    /// Sets the scheduling policy; the caller's otherwise. Real time takes
    /// `CAP_SYS_NICE`, or the caller's limit RTPRIO.
    pub fn scheduling_policy(&mut self, policy: SchedulingPolicy) -> &mut Self {
        self.set("scheduling.policy", "Command::scheduling_policy").scheduling.policy = Some(policy);
        self
    }

    /// Sets the nice value, from -20 to 19; the caller's otherwise. Below that takes
    /// `CAP_SYS_NICE`, or the caller's limit NICE.
    pub fn nice(&mut self, nice: i8) -> &mut Self {
        self.set("scheduling.nice", "Command::nice").scheduling.nice = Some(nice);
        self
    }

    /// Sets the priority of requests to disks; the caller's otherwise.
    pub fn io_priority(&mut self, priority: IoPriority) -> &mut Self {
        self.set("scheduling.io", "Command::io_priority").scheduling.io = Some(priority);
        self
    }

    /// Sets which process the kernel kills first when memory runs out, from -1000
    /// (never) to 1000; the caller's own otherwise. Below that only with
    /// `CAP_SYS_RESOURCE`, or the start fails.
    pub fn oom_score_adjust(&mut self, score: i16) -> &mut Self {
        self.set("oom_score_adjust", "Command::oom_score_adjust").oom_score_adjust = Some(score);
        self
    }

    /// Sets a resource limit of each process (`setrlimit(2)`), in the unit of that
    /// page. Those that are not set are the profile's. One above the caller's own
    /// hard limit fails the start.
    pub fn limit(&mut self, resource: Resource, limit: Limit) -> &mut Self {
        self.set(format!("limits.{resource}"), "Command::limit").limits.set(resource, limit);
        self
    }

    /// Limits memory of the container as a whole, in bytes, by cgroup. Where
    /// there is no cgroup for this caller the start fails with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Above it the kernel kills, which
    /// [`ExitStatus::out_of_memory`](crate::ExitStatus::out_of_memory) tells.
    pub fn memory(&mut self, bytes: u64) -> &mut Self {
        self.set("resources.memory", "Command::memory").resources.memory = Some(bytes);
        self
    }

    /// Limits processor time to `quota` in every `period` microseconds, of the
    /// container as a whole, by cgroup: as [`Command::memory`] where there is
    /// none. Two processors are twice the period.
    pub fn cpu(&mut self, quota: u64, period: u64) -> &mut Self {
        self.set("resources.cpu", "Command::cpu").resources.cpu = Some(CpuLimit { quota, period });
        self
    }

    /// Limits processes and threads of the container as a whole, by cgroup: as
    /// [`Command::memory`] where there is none. 4096 otherwise, by whatever can
    /// count them.
    pub fn pids(&mut self, count: u64) -> &mut Self {
        self.set("resources.pids", "Command::pids").resources.pids = Some(count);
        self
    }

    /// Limits swap, in bytes, beside the memory; without this a container with a
    /// limit on memory has none.
    pub fn swap(&mut self, bytes: u64) -> &mut Self {
        self.set("resources.swap", "Command::swap").resources.swap = Some(bytes);
        self
    }

    /// Weighs its processor time against that of others, 1 to 10000; 100
    /// otherwise.
    pub fn cpu_weight(&mut self, weight: u64) -> &mut Self {
        self.set("resources.cpu_weight", "Command::cpu_weight").resources.cpu_weight = Some(weight);
        self
    }

    /// Lets it use these processors only.
    pub fn cpuset_cpus(&mut self, cpus: NumberList) -> &mut Self {
        self.set("resources.cpuset_cpus", "Command::cpuset_cpus").resources.cpuset_cpus = Some(cpus);
        self
    }

    /// Limits reading from and writing to a block device.
    pub fn io(&mut self, limit: IoLimit) -> &mut Self {
        self.set("resources.io", "Command::io").resources.io.push(limit);
        self
    }

    /// Whether it can be paused ([`Container::pause`](crate::Container::pause)).
    pub fn freezing(&mut self, want: Want) -> &mut Self {
        self.set("resources.freezing", "Command::freezing").resources.freezing = want;
        self
    }

    /// Gives the container's root its cgroup, to make others below: see
    /// [`Resources`](crate::spec::Resources).
    pub fn delegate(&mut self, on: bool) -> &mut Self {
        self.set("resources.delegate", "Command::delegate").resources.delegate = on;
        self
    }
}
