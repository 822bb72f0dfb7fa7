//! Profiles are tables: what a plan adds by itself.

use skep_sys::abi::Resource;

use crate::spec::{Limit, Profile};

/// A device node of `/dev`, bound from the host and proved by its number.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// The nodes of every `/dev` (`systemd-nspawn(1)`; kernel `admin-guide/devices.txt`).
pub(crate) const NODES: &[Node] = &[
    Node { name: "null", major: 1, minor: 3 },
    Node { name: "zero", major: 1, minor: 5 },
    Node { name: "full", major: 1, minor: 7 },
    Node { name: "random", major: 1, minor: 8 },
    Node { name: "urandom", major: 1, minor: 9 },
    Node { name: "tty", major: 5, minor: 0 },
];

/// The links of every `/dev`.
pub(crate) const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What is put over a path of the kernel's file systems.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cover {
    /// A file that cannot be opened.
    File,
    /// A directory that cannot be entered.
    Directory,
    /// Itself, read-only.
    ReadOnly,
}

/// Paths that show or change what is not the container's: `attacks` rows 62
/// to 65. Applied where the host's kernel has them, for every uid, also where
/// plain permissions would do.
pub(crate) const COVERS: &[(&str, Cover)] = &[
    ("/proc/acpi", Cover::Directory),
    ("/proc/asound", Cover::Directory),
    ("/proc/scsi", Cover::Directory),
    ("/proc/config.gz", Cover::File),
    ("/proc/interrupts", Cover::File),
    ("/proc/kallsyms", Cover::File),
    ("/proc/kcore", Cover::File),
    ("/proc/key-users", Cover::File),
    ("/proc/keys", Cover::File),
    ("/proc/kmsg", Cover::File),
    ("/proc/kpagecount", Cover::File),
    ("/proc/kpageflags", Cover::File),
    ("/proc/latency_stats", Cover::File),
    ("/proc/sched_debug", Cover::File),
    ("/proc/sysrq-trigger", Cover::File),
    ("/proc/timer_list", Cover::File),
    ("/proc/timer_stats", Cover::File),
    ("/proc/bus", Cover::ReadOnly),
    ("/proc/fs", Cover::ReadOnly),
    ("/proc/irq", Cover::ReadOnly),
    ("/proc/mtrr", Cover::ReadOnly),
    ("/proc/sys", Cover::ReadOnly),
    ("/sys/firmware", Cover::Directory),
    ("/sys/fs", Cover::Directory),
    ("/sys/hypervisor", Cover::Directory),
    ("/sys/kernel", Cover::Directory),
    ("/sys/module", Cover::Directory),
    ("/sys/power", Cover::Directory),
    ("/sys/devices/virtual/powercap", Cover::Directory),
];

/// The paths of the kernel that some profile covers.
pub(crate) fn kernel_paths() -> impl Iterator<Item = &'static str> {
    COVERS.iter().map(|(path, _)| *path)
}

/// Limits of a payload that nobody has asked for, before they are lowered to
/// what the caller has. Every resource has one: none is inherited by accident.
pub(crate) fn limits() -> [(Resource, Limit); 16] {
    const NONE: Limit = Limit { soft: None, hard: None };
    let of = |number: u8, limit| (Resource(number), limit);
    [
        of(0, NONE),
        of(1, NONE),
        of(2, NONE),
        of(3, Limit { soft: Some(8 << 20), hard: None }),
        // 1 and not 0: the value that also keeps a piped core_pattern from
        // running a helper on the host (core(5)).
        of(4, Limit::both(1)),
        of(5, NONE),
        of(6, NONE),
        of(7, Limit { soft: Some(1024), hard: Some(524_288) }),
        of(8, Limit::both(8 << 20)),
        of(9, NONE),
        of(10, NONE),
        of(11, NONE),
        of(12, Limit::both(819_200)),
        of(13, Limit::both(0)),
        of(14, Limit::both(0)),
        of(15, NONE),
    ]
}

/// Processes and threads of a container whose Spec says nothing.
pub(crate) const PIDS: u64 = 4096;

/// A tmpfs that a plan mounts by itself.
pub(crate) struct Scratch {
    pub(crate) path: &'static str,
    pub(crate) size: u64,
    pub(crate) inodes: u64,
    pub(crate) mode: u32,
}

/// Every root gets these.
pub(crate) const SCRATCHES: &[Scratch] = &[
    Scratch { path: "/run", size: 64 << 20, inodes: 100_000, mode: 0o755 },
    Scratch { path: "/tmp", size: 256 << 20, inodes: 400_000, mode: 0o1777 },
];

/// What programs of a borrowed `/usr` need of its `/etc`, where it is there:
/// Debian's chosen alternatives (`awk`, `cc`, `java`), the linker's cache.
pub(crate) const ETC: &[&str] = &["etc/alternatives", "etc/ld.so.cache"];

/// The `PATH` of a payload.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The value of `container=`, by which programs know that they are in one.
pub(crate) const fn container_variable(profile: Profile) -> &'static str {
    match profile {
        Profile::Strict => "skep",
        Profile::Nspawn => "systemd-nspawn",
    }
}
