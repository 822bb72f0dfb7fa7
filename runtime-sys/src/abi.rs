//! Numbers and structures of the kernel's interface, with names.
//!
//! `libc` is not used here: stage B is built without it, and it declares
//! `CLONE_INTO_CGROUP` and `CLONE_CLEAR_SIGHAND` as 0 (rust-lang/libc#3584).
//! A test holds every constant that libc has against it.

use core::fmt;

/// Declares a set of bits with the kernel's names.
macro_rules! bits {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$bit_meta:meta])* $bit:ident = $value:expr, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$bit_meta])* pub const $bit: Self = Self($value);)*

            /// No bit set.
            pub const NONE: Self = Self(0);

            /// Every bit of `self` and of `other`.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Every bit of `self` that `other` lacks.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether every bit of `other` is in `self`.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether no bit is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits that have a name, with it.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$bit, $text),)*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut rest = self.0;
                let mut separator = "";
                for (bit, name) in Self::NAMES {
                    if bit.0 != 0 && rest & bit.0 == bit.0 {
                        write!(f, "{separator}{name}")?;
                        rest &= !bit.0;
                        separator = ",";
                    }
                }
                if rest != 0 {
                    write!(f, "{separator}{rest:#x}")?;
                } else if separator.is_empty() {
                    f.write_str("-")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

bits! {
    /// Kinds of namespace (`namespaces(7)`), by their `CLONE_NEW*` bit.
    Namespaces: u64 {
        /// Mounts.
        MOUNT = 0x0002_0000, "mount";
        /// Process ids.
        PID = 0x2000_0000, "pid";
        /// Hostname and domain name.
        UTS = 0x0400_0000, "uts";
        /// System V IPC and POSIX message queues.
        IPC = 0x0800_0000, "ipc";
        /// Network.
        NETWORK = 0x4000_0000, "network";
        /// Users and capabilities.
        USER = 0x1000_0000, "user";
        /// The view of the cgroup tree.
        CGROUP = 0x0200_0000, "cgroup";
        /// Offsets of the monotonic and boot clocks. Not a flag of `clone3`
        /// together with `CLONE_VM`; entered by `unshare` before the exec.
        TIME = 0x0000_0080, "time";
    }
}

impl Namespaces {
    /// Every kind known to the kernel headers in use.
    pub const ALL: Self = Self(
        Self::MOUNT.0
            | Self::PID.0
            | Self::UTS.0
            | Self::IPC.0
            | Self::NETWORK.0
            | Self::USER.0
            | Self::CGROUP.0
            | Self::TIME.0,
    );
}

bits! {
    /// Flags of `open(2)`. `O_CLOEXEC` and `O_NOCTTY` are always added.
    OpenFlags: u32 {
        /// For writing only.
        WRITE = 0o1, "write";
        /// For reading and writing.
        READ_WRITE = 0o2, "read-write";
        /// A handle on the path, not on the content.
        PATH = 0o10_000_000, "path";
        /// Must be a directory.
        DIRECTORY = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 }, "directory";
        /// The last component must not be a symbolic link.
        NO_FOLLOW = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 }, "nofollow";
        /// Do not wait (FIFOs, devices).
        NON_BLOCK = 0o4000, "nonblock";
        /// Append.
        APPEND = 0o2000, "append";
        /// Create.
        CREATE = 0o100, "create";
        /// Fail if it exists.
        EXCLUSIVE = 0o200, "exclusive";
    }
}

bits! {
    /// How `openat2(2)` walks a path.
    Resolve: u64 {
        /// Cross no mount point.
        NO_XDEV = 0x01, "no-xdev";
        /// Follow no magic link of procfs.
        NO_MAGICLINKS = 0x02, "no-magiclinks";
        /// Follow no symbolic link at all.
        NO_SYMLINKS = 0x04, "no-symlinks";
        /// Never leave the directory that the walk starts in.
        BENEATH = 0x08, "beneath";
        /// Take the directory that the walk starts in for `/`.
        IN_ROOT = 0x10, "in-root";
    }
}

bits! {
    /// Attributes of a mount (`mount_setattr(2)`).
    MountAttrs: u64 {
        /// Read-only.
        RDONLY = 0x01, "ro";
        /// Set-user-id bits and file capabilities are ignored.
        NOSUID = 0x02, "nosuid";
        /// Device nodes cannot be opened.
        NODEV = 0x04, "nodev";
        /// Nothing can be executed.
        NOEXEC = 0x08, "noexec";
        /// Access times are not updated.
        NOATIME = 0x10, "noatime";
        /// Access times are always updated.
        STRICTATIME = 0x20, "strictatime";
        /// Access times of directories are not updated.
        NODIRATIME = 0x80, "nodiratime";
        /// Ids are mapped by the user namespace that goes with the call.
        IDMAP = 0x0010_0000, "idmap";
        /// No symbolic link is followed on this mount.
        NOSYMFOLLOW = 0x0020_0000, "nosymfollow";
    }
}

bits! {
    /// Mount propagation (`mount_namespaces(7)`).
    Propagation: u64 {
        /// Nothing goes in or out.
        PRIVATE = 1 << 18, "private";
        /// Receives from its master.
        SLAVE = 1 << 19, "slave";
        /// Sends to and receives from its peers.
        SHARED = 1 << 20, "shared";
    }
}

bits! {
    /// Flags of `open_tree(2)`, `move_mount(2)` and `mount_setattr(2)` that
    /// Skep uses, in one type.
    TreeFlags: u32 {
        /// Make a detached copy of the mount.
        CLONE = 1, "clone";
        /// With everything mounted below.
        RECURSIVE = 0x8000, "recursive";
        /// The path is empty: the descriptor itself is meant.
        EMPTY_PATH = 0x1000, "empty-path";
    }
}

bits! {
    /// Securebits (`capabilities(7)`).
    SecureBits: u32 {
        /// uid 0 gains no capability on exec.
        NOROOT = 1 << 0, "noroot";
        /// And that is locked.
        NOROOT_LOCKED = 1 << 1, "noroot-locked";
        /// Changing ids does not change capabilities.
        NO_SETUID_FIXUP = 1 << 2, "no-setuid-fixup";
        /// And that is locked.
        NO_SETUID_FIXUP_LOCKED = 1 << 3, "no-setuid-fixup-locked";
        /// Permitted capabilities survive leaving uid 0.
        KEEP_CAPS = 1 << 4, "keep-caps";
        /// And that is locked.
        KEEP_CAPS_LOCKED = 1 << 5, "keep-caps-locked";
        /// No ambient capability can be raised.
        NO_CAP_AMBIENT_RAISE = 1 << 6, "no-cap-ambient-raise";
        /// And that is locked.
        NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7, "no-cap-ambient-raise-locked";
    }
}

bits! {
    /// Flags of `seccomp(SECCOMP_SET_MODE_FILTER)`.
    SeccompFlags: u32 {
        /// Log every answer but "allow".
        LOG = 2, "log";
        /// Leave speculative-store-bypass as it is.
        SPEC_ALLOW = 4, "spec-allow";
        /// Hand out a listener descriptor.
        NEW_LISTENER = 8, "new-listener";
    }
}

bits! {
    /// Seals of a memfd (`fcntl(2)`, file sealing).
    Seals: u32 {
        /// No further seal.
        SEAL = 1, "seal";
        /// Cannot shrink.
        SHRINK = 2, "shrink";
        /// Cannot grow.
        GROW = 4, "grow";
        /// Cannot be written.
        WRITE = 8, "write";
        /// Executable bits cannot change.
        EXEC = 0x20, "exec";
    }
}

/// Rights of `landlock(7)` and the kernel's `userspace-api/landlock.rst`.
pub mod landlock {
    /// Over files, by bit: the name, and the version of Landlock that has it.
    pub const FILES: [(&str, u64); 16] = [
        ("execute", 1),
        ("write-file", 1),
        ("read-file", 1),
        ("read-dir", 1),
        ("remove-dir", 1),
        ("remove-file", 1),
        ("make-char", 1),
        ("make-dir", 1),
        ("make-reg", 1),
        ("make-sock", 1),
        ("make-fifo", 1),
        ("make-block", 1),
        ("make-sym", 1),
        ("refer", 2),
        ("truncate", 3),
        ("ioctl-dev", 5),
    ];
    /// Those that something else than a directory can have.
    pub const ON_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;
    /// Binding TCP sockets and connecting them, and the version that has both.
    pub const TCP: (u64, u64) = (0b11, 4);
    /// `bind(2)`.
    pub const BIND_TCP: u64 = 1;
    /// `connect(2)`.
    pub const CONNECT_TCP: u64 = 1 << 1;
    /// The version that has scopes.
    pub const SCOPES: u64 = 6;
    /// Abstract unix sockets.
    pub const ABSTRACT_UNIX_SOCKET: u64 = 1;
    /// Signals.
    pub const SIGNAL: u64 = 1 << 1;
}

/// Magic numbers of file systems (`statfs(2)`).
pub mod fs_magic {
    /// procfs
    pub const PROC: u64 = 0x9fa0;
    /// sysfs
    pub const SYSFS: u64 = 0x6265_6572;
    /// cgroup v1
    pub const CGROUP: u64 = 0x0027_e0eb;
    /// cgroup v2
    pub const CGROUP2: u64 = 0x6367_7270;
    /// tmpfs
    pub const TMPFS: u64 = 0x0102_1994;
    /// devpts
    pub const DEVPTS: u64 = 0x1cd1;
    /// overlayfs
    pub const OVERLAY: u64 = 0x794c_7630;
    /// POSIX message queues
    pub const MQUEUE: u64 = 0x1980_0202;
}

/// Flags of `clone3(2)` that are not namespaces. `u64`, because two of them
/// do not fit the `int` that other bindings give them.
pub(crate) mod clone {
    #![allow(dead_code, reason = "stage B uses fewer than the library")]
    pub(crate) const VM: u64 = 0x0000_0100;
    pub(crate) const FILES: u64 = 0x0000_0400;
    pub(crate) const PARENT: u64 = 0x0000_8000;
    pub(crate) const PIDFD: u64 = 0x0000_1000;
    pub(crate) const VFORK: u64 = 0x0000_4000;
    pub(crate) const CLEAR_SIGHAND: u64 = 1 << 32;
    pub(crate) const INTO_CGROUP: u64 = 1 << 33;
    const _: () = assert!(CLEAR_SIGHAND != 0 && INTO_CGROUP != 0);
}

/// `struct clone_args`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// `struct open_how`.
#[repr(C)]
pub(crate) struct OpenHow {
    pub(crate) flags: u64,
    pub(crate) mode: u64,
    pub(crate) resolve: u64,
}

/// `struct mount_attr`.
#[repr(C)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns: u64,
}

/// `struct __user_cap_header_struct`, version 3.
#[repr(C)]
pub(crate) struct CapHeader {
    pub(crate) version: u32,
    pub(crate) pid: i32,
}

/// Two halves of `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct CapData {
    pub(crate) effective_low: u32,
    pub(crate) permitted_low: u32,
    pub(crate) inheritable_low: u32,
    pub(crate) effective_high: u32,
    pub(crate) permitted_high: u32,
    pub(crate) inheritable_high: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`
pub(crate) const CAP_VERSION: u32 = 0x2008_0522;

/// A set of capabilities by the kernel's numbers, so that a capability newer
/// than this build is never lost from sight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Every capability from 0 to `last` (`/proc/sys/kernel/cap_last_cap`).
    #[must_use]
    pub const fn up_to(last: u8) -> Self {
        Self(if last >= 63 { u64::MAX } else { (1 << (last + 1)) - 1 })
    }

    /// Whether the capability `number` is in the set.
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// The set with the capability `number`, which must be below 64.
    #[must_use]
    pub const fn with(self, number: u8) -> Self {
        Self(self.0 | if number < 64 { 1 << number } else { 0 })
    }

    /// Whether every capability of `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Names of the capabilities, by number (`capabilities(7)`).
pub const CAPABILITY_NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Numbers of the capabilities that the library itself reasons about.
pub mod cap {
    /// `CAP_CHOWN`
    pub const CHOWN: u8 = 0;
    /// `CAP_DAC_OVERRIDE`
    pub const DAC_OVERRIDE: u8 = 1;
    /// `CAP_FOWNER`
    pub const FOWNER: u8 = 3;
    /// `CAP_FSETID`
    pub const FSETID: u8 = 4;
    /// `CAP_SETGID`
    pub const SETGID: u8 = 6;
    /// `CAP_SETUID`
    pub const SETUID: u8 = 7;
    /// `CAP_SETPCAP`
    pub const SETPCAP: u8 = 8;
    /// `CAP_NET_BIND_SERVICE`
    pub const NET_BIND_SERVICE: u8 = 10;
    /// `CAP_NET_ADMIN`
    pub const NET_ADMIN: u8 = 12;
    /// `CAP_SYS_CHROOT`
    pub const SYS_CHROOT: u8 = 18;
    /// `CAP_SYS_ADMIN`
    pub const SYS_ADMIN: u8 = 21;
    /// `CAP_SYS_NICE`
    pub const SYS_NICE: u8 = 23;
    /// `CAP_SYS_RESOURCE`
    pub const SYS_RESOURCE: u8 = 24;
    /// `CAP_MKNOD`
    pub const MKNOD: u8 = 27;
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::up_to(40);
        if self.0 == 0 {
            return f.write_str("none");
        }
        if *self == known {
            return f.write_str("all");
        }
        let mut separator = "";
        for number in 0..64u8 {
            if self.has(number) {
                match CAPABILITY_NAMES.get(usize::from(number)) {
                    Some(name) => write!(f, "{separator}{name}")?,
                    None => write!(f, "{separator}{number}")?,
                }
                separator = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource limit (`getrlimit(2)`), by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Resource(pub u8);

impl Resource {
    /// The names without `RLIMIT_`, by number.
    pub const NAMES: &'static [&'static str] = &[
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    /// Processor time of one process, in seconds: SIGXCPU at the soft limit,
    /// SIGKILL at the hard one. A child counts anew.
    pub const CPU: Self = Self(0);
    /// Size of a file that is written, in bytes; SIGXFSZ above it.
    pub const FSIZE: Self = Self(1);
    /// Initialised and anonymous memory of one process, in bytes.
    pub const DATA: Self = Self(2);
    /// Stack of the first thread, in bytes.
    pub const STACK: Self = Self(3);
    /// Size of a core file, in bytes.
    pub const CORE: Self = Self(4);
    /// Without effect since Linux 2.4.30.
    pub const RSS: Self = Self(5);
    /// Processes of the user, counted per user namespace since Linux 5.14.
    pub const NPROC: Self = Self(6);
    /// Open descriptors.
    pub const NOFILE: Self = Self(7);
    /// Memory that is kept from being swapped out, in bytes.
    pub const MEMLOCK: Self = Self(8);
    /// What one process may map, in bytes.
    pub const AS: Self = Self(9);
    /// Without effect since Linux 2.4.25.
    pub const LOCKS: Self = Self(10);
    /// Signals that wait to be delivered to the user.
    pub const SIGPENDING: Self = Self(11);
    /// Bytes in POSIX message queues of the user.
    pub const MSGQUEUE: Self = Self(12);
    /// How far the nice value may be lowered: 20 less the value.
    pub const NICE: Self = Self(13);
    /// Real-time priority, from 0 to 99.
    pub const RTPRIO: Self = Self(14);
    /// Microseconds of a real-time thread without a blocking call.
    pub const RTTIME: Self = Self(15);

    /// By name, with or without `RLIMIT_` or `Limit`, case-insensitive.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let bare = ["RLIMIT_", "Limit"]
            .iter()
            .find_map(|prefix| {
                let head = name.get(..prefix.len())?;
                head.eq_ignore_ascii_case(prefix).then(|| name.get(prefix.len()..))?
            })
            .unwrap_or(name);
        let at = Self::NAMES.iter().position(|known| known.eq_ignore_ascii_case(bare))?;
        u8::try_from(at).ok().map(Self)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Signal numbers that the library itself uses.
pub mod signal {
    /// `SIGHUP`
    pub const HUP: u8 = 1;
    /// `SIGINT`
    pub const INT: u8 = 2;
    /// `SIGKILL`
    pub const KILL: u8 = 9;
    /// `SIGTERM`
    pub const TERM: u8 = 15;
    /// `SIGCHLD`
    pub const CHLD: u8 = 17;
    /// `SIGSYS`
    pub const SYS: u8 = 31;
    /// `SIGRTMIN`, as the C library counts: it keeps two to itself (`signal(7)`).
    pub const RTMIN: u8 = 34;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_of_libc() {
        assert_eq!(Namespaces::MOUNT.0, libc::CLONE_NEWNS as u64);
        assert_eq!(Namespaces::PID.0, libc::CLONE_NEWPID as u64);
        assert_eq!(Namespaces::UTS.0, libc::CLONE_NEWUTS as u64);
        assert_eq!(Namespaces::IPC.0, libc::CLONE_NEWIPC as u64);
        assert_eq!(Namespaces::NETWORK.0, libc::CLONE_NEWNET as u64);
        assert_eq!(Namespaces::USER.0, libc::CLONE_NEWUSER as u64);
        assert_eq!(Namespaces::CGROUP.0, libc::CLONE_NEWCGROUP as u64);
        assert_eq!(OpenFlags::PATH.0, libc::O_PATH as u32);
        assert_eq!(OpenFlags::DIRECTORY.0, libc::O_DIRECTORY as u32);
        assert_eq!(OpenFlags::NO_FOLLOW.0, libc::O_NOFOLLOW as u32);
        assert_eq!(Resolve::IN_ROOT.0, libc::RESOLVE_IN_ROOT);
        assert_eq!(Resolve::NO_MAGICLINKS.0, libc::RESOLVE_NO_MAGICLINKS);
        assert_eq!(MountAttrs::IDMAP.0, libc::MOUNT_ATTR_IDMAP);
        assert_eq!(MountAttrs::NOEXEC.0, libc::MOUNT_ATTR_NOEXEC);
        assert_eq!(Propagation::PRIVATE.0, libc::MS_PRIVATE);
        assert_eq!(TreeFlags::RECURSIVE.0, libc::AT_RECURSIVE as u32);
        assert_eq!(TreeFlags::EMPTY_PATH.0, libc::AT_EMPTY_PATH as u32);
        for (ours, theirs) in [
            (Resource::CPU, libc::RLIMIT_CPU),
            (Resource::FSIZE, libc::RLIMIT_FSIZE),
            (Resource::DATA, libc::RLIMIT_DATA),
            (Resource::STACK, libc::RLIMIT_STACK),
            (Resource::CORE, libc::RLIMIT_CORE),
            (Resource::RSS, libc::RLIMIT_RSS),
            (Resource::NPROC, libc::RLIMIT_NPROC),
            (Resource::NOFILE, libc::RLIMIT_NOFILE),
            (Resource::MEMLOCK, libc::RLIMIT_MEMLOCK),
            (Resource::AS, libc::RLIMIT_AS),
            (Resource::LOCKS, libc::RLIMIT_LOCKS),
            (Resource::SIGPENDING, libc::RLIMIT_SIGPENDING),
            (Resource::MSGQUEUE, libc::RLIMIT_MSGQUEUE),
            (Resource::NICE, libc::RLIMIT_NICE),
            (Resource::RTPRIO, libc::RLIMIT_RTPRIO),
            (Resource::RTTIME, libc::RLIMIT_RTTIME),
        ] {
            assert_eq!(i64::from(ours.0), i64::from(theirs), "{ours}");
        }
        assert_eq!(fs_magic::PROC, libc::PROC_SUPER_MAGIC as u64);
        assert_eq!(fs_magic::CGROUP2, libc::CGROUP2_SUPER_MAGIC as u64);
        assert_eq!(size_of::<CloneArgs>(), size_of::<libc::clone_args>());
    }

    #[test]
    fn bits_print_by_name_and_keep_what_has_none() {
        assert_eq!(MountAttrs::RDONLY.with(MountAttrs::NODEV).to_string(), "ro,nodev");
        assert_eq!(MountAttrs(0x4000_0001).to_string(), "ro,0x40000000");
        assert_eq!(MountAttrs::NONE.to_string(), "-");
    }

    #[test]
    fn capabilities_keep_bits_that_have_no_name() {
        assert_eq!(CapabilitySet::up_to(45).0.count_ones(), 46);
        assert_eq!(CapabilitySet::up_to(63).0, u64::MAX);
        assert_eq!(CapabilitySet::EMPTY.with(45).to_string(), "45");
        assert_eq!(CapabilitySet::up_to(40).to_string(), "all");
    }

    #[test]
    fn resources_by_any_spelling() {
        for name in ["NOFILE", "LimitNOFILE", "RLIMIT_NOFILE", "nofile", "rlimit_nofile"] {
            assert_eq!(Resource::by_name(name), Some(Resource::NOFILE), "{name}");
        }
        assert_eq!(Resource::by_name("NOFILES"), None);
        assert_eq!(Resource::by_name("Lim\u{e9}"), None);
    }
}
