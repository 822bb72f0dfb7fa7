//! Profiles are tables: what a plan adds by itself.

use std::collections::BTreeMap;

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

/// Nodes that `/dev` of the profile `nspawn` has too, where the host has them.
pub(crate) const MORE_NODES: &[Node] =
    &[Node { name: "fuse", major: 10, minor: 229 }, Node { name: "net/tun", major: 10, minor: 200 }];

/// The nodes that `/dev` of a profile may have.
pub(crate) fn nodes(profile: Profile) -> impl Iterator<Item = &'static Node> {
    let more: &[Node] = if profile == Profile::Nspawn { MORE_NODES } else { &[] };
    NODES.iter().chain(more)
}

/// The links of every `/dev`.
pub(crate) const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// One more of a machine, where the host's kernel has that file, which is masked.
pub(crate) const CORE_LINK: (&str, &str) = ("core", "/proc/kcore");

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

/// The same for `nspawn`: those of `systemd-nspawn`. Over the kernel's log there is a FIFO.
/// Of `/sys` it shows a part, or the host's.
const NSPAWN_COVERS: &[(&str, Cover)] = &[
    ("/proc/kallsyms", Cover::File),
    ("/proc/kcore", Cover::File),
    ("/proc/keys", Cover::File),
    ("/proc/sysrq-trigger", Cover::File),
    ("/proc/timer_list", Cover::File),
    ("/proc/acpi", Cover::ReadOnly),
    ("/proc/apm", Cover::ReadOnly),
    ("/proc/asound", Cover::ReadOnly),
    ("/proc/bus", Cover::ReadOnly),
    ("/proc/fs", Cover::ReadOnly),
    ("/proc/irq", Cover::ReadOnly),
    ("/proc/scsi", Cover::ReadOnly),
    ("/proc/sys", Cover::ReadOnly),
];

/// What a machine with a network of its own finds in `/sys`.
pub(crate) const SYS_PARTS: [&std::ffi::CStr; 6] = [c"block", c"bus", c"class", c"dev", c"devices", c"kernel"];

/// Where a machine has its cgroups.
pub(crate) const GROUP_PLACE: &str = "/sys/fs/cgroup";

/// The kernel's random id of this boot.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's log, of which every read takes away what it reads.
pub(crate) const KERNEL_LOG: &str = "/proc/kmsg";

/// What a profile covers.
pub(crate) const fn covers(profile: Profile) -> &'static [(&'static str, Cover)] {
    match profile {
        Profile::Strict => COVERS,
        Profile::Nspawn => NSPAWN_COVERS,
    }
}

/// The paths of the kernel that some profile covers.
pub(crate) fn kernel_paths() -> impl Iterator<Item = &'static str> {
    let more = NSPAWN_COVERS.iter().filter(|(path, _)| !COVERS.iter().any(|(known, _)| known == path));
    COVERS.iter().chain(more).map(|(path, _)| *path).chain([GROUP_PLACE, BOOT_ID])
}

/// Limits of a payload that nobody has asked for, before they are lowered to
/// what the caller has. Every resource has one: none is inherited by accident.
///
/// `nspawn` has what the kernel gives to its first process; of two the numbers are those
/// of the host's own (`facts`).
pub(crate) fn limits(profile: Profile, first: &BTreeMap<Resource, Limit>) -> [(Resource, Limit); 16] {
    let mut limits = strict_limits();
    if profile == Profile::Nspawn {
        for (resource, limit) in &mut limits {
            *limit = match *resource {
                Resource::CORE => Limit { soft: Some(0), hard: None },
                other => first.get(&other).copied().unwrap_or(*limit),
            };
        }
    }
    limits
}

fn strict_limits() -> [(Resource, Limit); 16] {
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

/// How large a tmpfs may grow.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    Bytes(u64),
    /// This share of the memory.
    Percent(u8),
}

/// As tmpfs(5) takes it.
impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

/// A tmpfs that a plan mounts by itself.
pub(crate) struct Scratch {
    pub(crate) path: &'static str,
    pub(crate) size: Size,
    pub(crate) inodes: u64,
    pub(crate) mode: u32,
}

impl Scratch {
    const fn new(path: &'static str, size: Size, inodes: u64, mode: u32) -> Self {
        Self { path, size, inodes, mode }
    }

    /// Its options `size`, `nr_inodes` and `mode`.
    pub(crate) fn options(&self) -> [String; 3] {
        [self.size.to_string(), self.inodes.to_string(), format!("{:o}", self.mode)]
    }
}

/// What the tree is built on: it holds links and empty directories, or also what an
/// overlay throws away.
pub(crate) const BUILDING: [Scratch; 2] =
    [Scratch::new("/", Size::Bytes(1 << 20), 400_000, 0o755), Scratch::new("/", Size::Percent(25), 400_000, 0o755)];

/// `/`: a root that is a tmpfs; `/var`: where a root keeps no state.
const STRICT_SCRATCHES: &[Scratch] = &[
    Scratch::new("/", Size::Bytes(64 << 20), 100_000, 0o755),
    Scratch::new("/dev", Size::Bytes(4 << 20), 1024, 0o755),
    Scratch::new("/dev/shm", Size::Bytes(64 << 20), 10_000, 0o1777),
    Scratch::new("/run", Size::Bytes(64 << 20), 100_000, 0o755),
    Scratch::new("/tmp", Size::Bytes(256 << 20), 400_000, 0o1777),
    Scratch::new("/var", Size::Percent(25), 400_000, 0o755),
];

/// As `systemd-nspawn` has them.
const NSPAWN_SCRATCHES: &[Scratch] = &[
    Scratch::new("/", Size::Percent(25), 1_048_576, 0o755),
    Scratch::new("/dev", Size::Bytes(4 << 20), 65_536, 0o755),
    Scratch::new("/dev/shm", Size::Percent(10), 409_600, 0o1777),
    Scratch::new("/run", Size::Percent(20), 819_200, 0o755),
    Scratch::new("/sys", Size::Bytes(4 << 20), 1024, 0o555),
    Scratch::new("/tmp", Size::Percent(10), 409_600, 0o1777),
    Scratch::new("/var", Size::Percent(25), 1_048_576, 0o755),
];

/// Each tmpfs of a container that nobody has asked for.
pub(crate) const fn scratches(profile: Profile) -> &'static [Scratch] {
    match profile {
        Profile::Strict => STRICT_SCRATCHES,
        Profile::Nspawn => NSPAWN_SCRATCHES,
    }
}

/// The one at `path`, which has one.
pub(crate) fn scratch_on(profile: Profile, path: &str) -> &'static Scratch {
    scratches(profile).iter().find(|scratch| scratch.path == path).unwrap_or(&STRICT_SCRATCHES[0])
}

/// What programs of a borrowed `/usr` need of its `/etc`, where it is there:
/// Debian's chosen alternatives (`awk`, `cc`, `java`), the linker's cache.
pub(crate) const ETC: &[&str] = &["etc/alternatives", "etc/ld.so.cache"];

/// Directories that a machine's tree is given where it lacks them, with their modes.
pub(crate) const BASE: &[(&str, u32)] = &[
    ("usr", 0o755),
    ("root", 0o750),
    ("etc", 0o755),
    ("var", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o555),
    ("run", 0o555),
];

/// Links that it is given beside them: the first place that the tree has, and what has to
/// be there.
pub(crate) const BASE_LINKS: &[(&str, &[&str], &str)] = &[
    ("bin", &["usr/bin"], ""),
    ("lib", &["usr/lib"], ""),
    ("sbin", &["usr/sbin"], ""),
    ("lib64", &["usr/lib64", "usr/lib"], LOADER),
];

/// The dynamic loader (`ld.so(8)`), as the ABI of the processor names it.
const LOADER: &str = if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };

/// The `PATH` of a payload.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The value of `container=`, by which programs know that they are in one.
pub(crate) const fn container_variable(profile: Profile) -> &'static str {
    match profile {
        Profile::Strict => "skep",
        Profile::Nspawn => "systemd-nspawn",
    }
}
