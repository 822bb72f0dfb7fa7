//! Calls that have led out of containers, put to the filter that the plan
//! installs.

use skep_sys::abi::CapabilitySet;

use super::holdings::Holdings;
use super::{Area, Rows};
use crate::seccomp::{ABIS, Abi, Action, Arch, Program, SeccompData};
use crate::spec::{Spec, Stream};

/// One call with the arguments that make it dangerous.
struct Probe(&'static str, [u64; 6]);

const fn probe(call: &'static str) -> Probe {
    Probe(call, [0; 6])
}

/// Calls of one kind.
struct Group {
    item: &'static str,
    probes: &'static [Probe],
    /// Capabilities one of which they need to do harm; none: they need nothing.
    needs: &'static [u8],
    /// In a user namespace of its own, and without.
    own: u8,
    host: u8,
    why: &'static str,
}

const NEWUSER: u64 = 0x1000_0000;
const CHARACTER_DEVICE: u64 = 0o020_000;
const TIOCSTI: u64 = 0x5412;
const RAW: u64 = 3;

/// The numbers are those of `linux/capability.h`, `sched.h`, `socket.h`.
#[rustfmt::skip]
const GROUPS: &[Group] = &[
    Group { item: "calls that mount", needs: &[21], own: 10, host: 40,
        probes: &[probe("mount"), probe("umount2"), probe("pivot_root"), probe("move_mount"), probe("open_tree"),
            probe("fsopen"), probe("fsmount"), probe("mount_setattr")],
        why: "what is masked or read-only can be uncovered" },
    Group { item: "calls that make namespaces", needs: &[], own: 15, host: 20,
        probes: &[Probe("unshare", [NEWUSER, 0, 0, 0, 0, 0]), Probe("clone", [NEWUSER, 0, 0, 0, 0, 0]), probe("setns")],
        why: "in a user namespace of its making it holds every capability, over much more of the kernel" },
    Group { item: "calls that load kernel code", needs: &[16, 22], own: 2, host: 100,
        probes: &[probe("init_module"), probe("finit_module"), probe("delete_module"), probe("kexec_load"),
            probe("kexec_file_load")],
        why: "its own code in the host's kernel" },
    Group { item: "calls that program the kernel", needs: &[], own: 15, host: 30,
        probes: &[probe("bpf"), probe("perf_event_open")],
        why: "bpf and perf have led into the kernel again and again, and perf sees beyond the container" },
    Group { item: "io_uring", needs: &[], own: 10, host: 10,
        probes: &[probe("io_uring_setup"), probe("io_uring_enter"), probe("io_uring_register")],
        why: "a large and young part of the kernel, whose operations pass by the filter" },
    Group { item: "userfaultfd", needs: &[], own: 5, host: 5, probes: &[probe("userfaultfd")],
        why: "stops the kernel where it likes: makes races of the kernel's into exploits" },
    Group { item: "calls on keyrings", needs: &[], own: 5, host: 5,
        probes: &[probe("add_key"), probe("request_key"), probe("keyctl")],
        why: "keyrings are in no namespace: those of the same id outside are shared" },
    Group { item: "calls on other processes", needs: &[], own: 3, host: 5,
        probes: &[probe("ptrace"), probe("process_vm_readv"), probe("process_vm_writev"), probe("pidfd_getfd"),
            probe("kcmp")],
        why: "memory and files of other processes with its ids" },
    Group { item: "calls that make devices", needs: &[27], own: 0, host: 60,
        probes: &[Probe("mknod", [0, CHARACTER_DEVICE, 0, 0, 0, 0]), Probe("mknodat", [0, 0, CHARACTER_DEVICE, 0, 0, 0])],
        why: "a node of the host's disk opens it, where no mount says nodev and no device rule forbids it" },
    Group { item: "calls on ports", needs: &[17], own: 2, host: 90, probes: &[probe("iopl"), probe("ioperm")],
        why: "the hardware itself" },
    Group { item: "calls that set clocks", needs: &[25], own: 1, host: 20,
        probes: &[probe("clock_settime"), probe("settimeofday")],
        why: "the clock is the host's" },
    Group { item: "calls by file handle", needs: &[2], own: 2, host: 90, probes: &[probe("open_by_handle_at")],
        why: "opens any file of a file system that it reaches any part of, below the root or not" },
    Group { item: "calls on the machine", needs: &[16, 20, 21, 22, 34], own: 2, host: 30,
        probes: &[probe("reboot"), probe("swapon"), probe("swapoff"), probe("acct"), probe("quotactl"), probe("syslog")],
        why: "reboot, swap, quota, accounting, the kernel's log: of the host" },
    Group { item: "typing into a terminal", needs: &[], own: 3, host: 3,
        probes: &[Probe("ioctl", [0, TIOCSTI, 0, 0, 0, 0])],
        why: "TIOCSTI puts input into a terminal that is shared with a shell" },
    Group { item: "rare sockets", needs: &[], own: 8, host: 8,
        probes: &[Probe("socket", [15, RAW, 0, 0, 0, 0]), Probe("socket", [17, RAW, 0, 0, 0, 0]),
            Probe("socket", [21, 5, 0, 0, 0, 0]), Probe("socket", [30, 2, 0, 0, 0, 0]),
            Probe("socket", [38, 5, 0, 0, 0, 0]), Probe("socket", [40, 1, 0, 0, 0, 0])],
        why: "old protocols that are loaded on demand: key, packet, RDS, TIPC, crypto; vsock reaches the hypervisor" },
    Group { item: "weaker personalities", needs: &[], own: 2, host: 2,
        probes: &[Probe("personality", [0x004_0000, 0, 0, 0, 0, 0])],
        why: "switches address randomisation off" },
];

/// How a probe of `socket` is called: by its family.
fn label(probe: &Probe) -> String {
    let family = match probe.1[0] {
        15 => "key",
        17 => "packet",
        21 => "rds",
        30 => "tipc",
        38 => "alg",
        40 => "vsock",
        _ => return probe.0.to_owned(),
    };
    if probe.0 == "socket" { format!("socket({family})") } else { probe.0.to_owned() }
}

pub(super) fn judge(holdings: &Holdings, spec: &Spec, rows: &mut Rows) {
    let by = |data: &SeccompData, is: fn(Action) -> bool| holdings.filters.iter().all(|filter| is(filter.decide(data)));
    let others: Vec<_> = ABIS.iter().filter(|abi| is_foreign(abi) && lets_through(holdings, abi.0)).collect();
    let arches: Vec<Arch> = [Arch::NATIVE].into_iter().chain(others.iter().filter_map(|abi| abi.3)).collect();
    for group in GROUPS {
        let found = |is: fn(Action) -> bool| -> Vec<String> {
            let open = |probe: &&Probe| {
                let mut doors = arches.iter().flat_map(|arch| arch.doors(probe.0, probe.1));
                doors.any(|data| by(&data, is))
            };
            group.probes.iter().filter(open).map(label).collect()
        };
        let (open, may) = (found(Action::permits), found(Action::may_permit));
        if may.is_empty() {
            rows.add(Area::Calls, group.item, "refused", 0, "the filter answers for the kernel");
            continue;
        }
        let (tenths, why) = weigh(group, holdings, spec);
        if open.is_empty() {
            let holds = format!("{}, if the listener lets it", may.join(" "));
            rows.add(Area::Calls, group.item, holds, tenths.div_ceil(4), why);
        } else {
            rows.add(Area::Calls, group.item, may.join(" "), tenths, why);
        }
    }
    foreign(others.iter().map(|abi| abi.0), rows);
    listener(holdings, rows);
    if holdings.deny_write_execute {
        rows.add(Area::Calls, "memory written and executed", "refused", 0, "what is executed was a file before");
    } else {
        // It helps whoever is inside already, and leads nowhere by itself.
        rows.add(Area::Calls, "memory written and executed", "allowed", 1, "code that came in as data can run");
    }
}

/// Calls that whoever embeds answers.
fn listener(holdings: &Holdings, rows: &mut Rows) {
    let asked: Vec<_> = holdings.filters.iter().flat_map(Program::notified).collect();
    if !asked.is_empty() {
        let holds = format!("answered by the embedder: {}", asked.join(" "));
        let why = "what it lets go on runs, whatever the memory of the payload held when it looked";
        rows.add(Area::Calls, "listener", holds, 1, why);
    }
}

fn weigh(group: &Group, holdings: &Holdings, spec: &Spec) -> (u8, &'static str) {
    let full = if holdings.own_user() { group.own } else { group.host };
    let able =
        group.needs.iter().fold(CapabilitySet::EMPTY, |set, number| set.with(*number)).0 & holdings.held().0 != 0;
    match group.item {
        _ if !group.needs.is_empty() && !able => {
            (full.min(1), "the kernel refuses it for want of a capability, after some of its code has run")
        }
        "calls that make namespaces" if holdings.no_nested => {
            (3, "the count of user namespaces is 0, which holds as well")
        }
        "calls on other processes" if !holdings.has(skep_sys::abi::Namespaces::PID) => {
            (full.max(30), "memory and files of the host's processes with its ids")
        }
        "typing into a terminal" if spec.stdio.contains(&Stream::Given) => (40, group.why),
        _ => (full, group.why),
    }
}

/// Whether programs of an ABI that is not the machine's own run on it.
fn is_foreign((name, ..): &&Abi) -> bool {
    match Arch::NATIVE {
        Arch::Aarch64 => *name == "arm",
        _ => ["x86", "x32"].contains(name),
    }
}

fn lets_through(holdings: &Holdings, abi: &str) -> bool {
    holdings.filters.iter().all(|filter| filter.abis().contains(&abi))
}

/// Calls through other ABIs, whose numbers mean other things.
fn foreign(open: impl Iterator<Item = &'static str>, rows: &mut Rows) {
    let names: Vec<&str> = open.collect();
    if names.is_empty() {
        rows.add(Area::Calls, "32-bit programs", "refused", 0, "the filter answers for the kernel");
    } else {
        let why = "the same calls a second time, by code of the kernel that few programs use";
        rows.add(Area::Calls, "32-bit programs", format!("run: {}", names.join(" ")), 5, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_a_call_somewhere() {
        for probe in GROUPS.iter().flat_map(|group| group.probes) {
            assert!(crate::seccomp::exists_somewhere(probe.0), "{}", probe.0);
        }
    }
}
