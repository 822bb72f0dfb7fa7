//! Names and numbers of the system calls, complete up to Linux 6.18.
//!
//! Numbers below 424 differ by architecture; from there on every architecture
//! uses the same ones. Sources: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl`
//! and `syscall_32.tbl`, and `scripts/syscall.tbl` (the generic table, which aarch64
//! uses).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::policy::X32_BIT;
use super::program::SeccompData;

/// The ABIs a filter can be made for; all are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Arch {
    /// x86-64, without the x32 numbers.
    X86_64,
    /// 64-bit ARM: the kernel's generic table.
    Aarch64,
    /// 32-bit x86, as a second ABI of x86-64 ([`Policy::also`](super::Policy::also)).
    /// Its calls have their arguments in the lower halves; `socketcall` and `ipc` have
    /// them in memory, where no filter sees them, but for the number of what is called.
    X86,
    /// x32, the other second ABI of x86-64: 64-bit code with 32-bit pointers. Its numbers have
    /// [`X32_BIT`](super::X32_BIT); most of what is below is x86-64's.
    X32,
}

impl Arch {
    /// The architecture this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// Those that a program can be built for, for tests that walk everything.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// `AUDIT_ARCH_*` of `linux/audit.h`: what the kernel puts into `seccomp_data.arch`.
    pub const fn audit(self) -> u32 {
        match self {
            // The number tells them apart.
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::X86 => 0x4000_0003,
        }
    }

    /// The number of a call, or `None` if this architecture has no call of that name.
    pub fn number(self, name: &str) -> Option<u32> {
        let index: &[u16] = match self {
            Arch::X86_64 => &BY_NAME_X86_64,
            Arch::Aarch64 => &BY_NAME_GENERIC,
            Arch::X86 => &BY_NAME_X86,
            Arch::X32 => {
                return match X32.iter().zip(X32_BIT + X32_FIRST..).find(|(known, _)| **known == name) {
                    Some((_, nr)) => Some(nr),
                    None if NOT_X32.contains(&name) => None,
                    None => Arch::X86_64.number(name).map(|nr| nr + X32_BIT),
                };
            }
        };
        let known = |nr: &u16| self.name(u32::from(*nr)).unwrap_or_default();
        let at = index.binary_search_by_key(&name, known).ok().filter(|_| !name.is_empty())?;
        index.get(at).map(|nr| u32::from(*nr))
    }

    /// The name of a number, or `None` if it stood for nothing in Linux 6.18.
    pub fn name(self, nr: u32) -> Option<&'static str> {
        let entry = |row: &Names, at: u32| row.get(usize::try_from(at).ok()?);
        let name = match self {
            Arch::X32 => {
                let at = nr.checked_sub(X32_BIT)?;
                match at.checked_sub(X32_FIRST) {
                    Some(at) => X32.get(usize::try_from(at).ok()?).copied(),
                    None => Arch::X86_64.name(at).filter(|name| !X32.contains(name) && !NOT_X32.contains(name)),
                }
            }
            _ if nr < COMMON_FIRST => entry(self.own(), nr),
            _ => entry(&COMMON_NAMES, nr - COMMON_FIRST),
        };
        name.filter(|name| !name.is_empty())
    }

    /// All numbers up to the highest with a name.
    pub(super) const fn numbers(self) -> RangeInclusive<u32> {
        let first = if matches!(self, Arch::X32) { X32_BIT } else { 0 };
        first..=self.highest()
    }

    /// The highest number with a name.
    pub const fn highest(self) -> u32 {
        match self {
            Arch::X32 => X32_BIT + X32_FIRST + X32.len() as u32 - 1,
            _ => COMMON_FIRST + COMMON.len() as u32 - 1,
        }
    }

    /// Every call of this architecture, by ascending number.
    pub fn calls(self) -> impl Iterator<Item = (u32, &'static str)> + Clone {
        self.numbers().filter_map(move |nr| Some((nr, self.name(nr)?)))
    }

    /// The ABI that a call came through; `None` if there is no table of it here.
    pub(crate) fn of(call: &SeccompData) -> Option<Arch> {
        EVERY.into_iter().find(|arch| arch.is_of(call))
    }

    /// As `systemd` names it.
    pub(crate) fn label(self) -> &'static str {
        ABIS.iter().find(|(.., arch)| *arch == Some(self)).map_or("", |(name, ..)| name)
    }

    /// Whether a call came through this ABI.
    pub(super) const fn is_of(self, call: &SeccompData) -> bool {
        let x32 = call.nr >= X32_BIT;
        call.arch == self.audit()
            && match self {
                Arch::X86_64 => !x32,
                Arch::X32 => x32,
                Arch::Aarch64 | Arch::X86 => true,
            }
    }

    fn own(self) -> &'static Names {
        match self {
            Arch::X86_64 | Arch::X32 => &X86_64_NAMES,
            Arch::Aarch64 => &GENERIC_NAMES,
            Arch::X86 => &X86_NAMES,
        }
    }
}

/// Whether some ABI of Linux has a call of this name.
///
/// Filters written for several machines (an OCI profile, an `.nspawn` file) name calls
/// such as `chown32` or `_llseek`; those are no spelling mistakes, merely not ours.
pub fn exists_somewhere(name: &str) -> bool {
    EVERY.iter().any(|arch| arch.number(name).is_some()) || OTHER_ABIS.contains(&name)
}

/// All with a table.
pub(super) const EVERY: [Arch; 4] = [Arch::X86_64, Arch::Aarch64, Arch::X86, Arch::X32];

/// An ABI as `systemd` names it (`SystemCallArchitectures=`), its `AUDIT_ARCH_*`, the numbers that are
/// its own, and its table, where there is one.
pub(crate) type Abi = (&'static str, u32, RangeInclusive<u32>, Option<Arch>);

/// Every one that a process can call a kernel of ours by.
pub(crate) const ABIS: [Abi; 5] = [
    ("x86-64", Arch::X86_64.audit(), 0..=X32_BIT - 1, Some(Arch::X86_64)),
    ("x86", Arch::X86.audit(), 0..=u32::MAX, Some(Arch::X86)),
    ("x32", Arch::X32.audit(), X32_BIT..=u32::MAX, Some(Arch::X32)),
    ("arm64", Arch::Aarch64.audit(), 0..=u32::MAX, Some(Arch::Aarch64)),
    ("arm", 0x4000_0028, 0..=u32::MAX, None),
];

/// The numbers of a table, by name, the empty ones first. Profiles look up some three
/// hundred names; sorted by the compiler, they cost a start nothing.
const fn by_name<const N: usize>(own: &[&str]) -> [u16; N] {
    let mut sorted = [0; N];
    let mut count = 0;
    while count < N {
        let (name, nr) = entry(own, count);
        // A binary insertion: where the first name after this one is.
        let (mut first, mut last) = (0, count);
        while first < last {
            let middle = usize::midpoint(first, last);
            let nr = sorted[middle] as usize;
            let at = if nr < COMMON_FIRST as usize { nr } else { nr - COMMON_FIRST as usize + own.len() };
            if is_before(name, entry(own, at).0) {
                last = middle;
            } else {
                first = middle + 1;
            }
        }
        let mut at = count;
        while at > first {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[first] = nr;
        count += 1;
    }
    sorted
}

/// The entry of a table with the common ones behind it, and its number.
const fn entry<'a>(own: &[&'a str], at: usize) -> (&'a str, u16) {
    if at < own.len() {
        (own[at], at as u16)
    } else {
        (COMMON[at - own.len()], (at - own.len()) as u16 + COMMON_FIRST as u16)
    }
}

const fn is_before(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    if at < one.len() && at < other.len() { one[at] < other[at] } else { one.len() < other.len() }
}

static BY_NAME_X86_64: [u16; X86_64.len() + COMMON.len()] = by_name(&X86_64);
static BY_NAME_GENERIC: [u16; GENERIC.len() + COMMON.len()] = by_name(&GENERIC);
static BY_NAME_X86: [u16; X86.len() + COMMON.len()] = by_name(&X86);

/// A table of names as one text, and where in it each of them ends: every pointer
/// in a table of `&str` is one that a start has to relocate, page by page.
struct Names {
    text: &'static str,
    ends: &'static [u16],
}

impl Names {
    fn get(&self, at: usize) -> Option<&'static str> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(usize::from(start)..usize::from(end))
    }
}

const fn ends<const N: usize>(names: &[&str; N]) -> [u16; N] {
    let mut ends = [0; N];
    let (mut at, mut end) = (0, 0);
    while at < N {
        end += names[at].len();
        assert!(end <= u16::MAX as usize);
        ends[at] = end as u16;
        at += 1;
    }
    ends
}

const fn joined<const LENGTH: usize>(names: &[&str]) -> [u8; LENGTH] {
    let mut joined = [0; LENGTH];
    let (mut at, mut end) = (0, 0);
    while at < names.len() {
        let name = names[at].as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            joined[end] = name[byte];
            (byte, end) = (byte + 1, end + 1);
        }
        at += 1;
    }
    joined
}

macro_rules! names {
    ($($name:ident of $table:ident;)*) => {$(
        static $name: Names = {
            const ENDS: [u16; $table.len()] = ends(&$table);
            const JOINED: [u8; ENDS[$table.len() - 1] as usize] = joined(&$table);
            const TEXT: &str = match str::from_utf8(&JOINED) {
                Ok(text) => text,
                Err(_) => panic!(),
            };
            Names { text: TEXT, ends: &ENDS }
        };
    )*};
}

names! {
    X86_64_NAMES of X86_64;
    X86_NAMES of X86;
    GENERIC_NAMES of GENERIC;
    COMMON_NAMES of COMMON;
}

/// The first number that means the same on every architecture (`pidfd_send_signal`, 5.1).
const COMMON_FIRST: u32 = 424;

#[rustfmt::skip]
const X86_64: [&str; 337] = [
    /*   0 */ "read", "write", "open", "close", "stat", "fstat",
    /*   6 */ "lstat", "poll", "lseek", "mmap", "mprotect", "munmap",
    /*  12 */ "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "ioctl", "pread64",
    /*  18 */ "pwrite64", "readv", "writev", "access", "pipe", "select",
    /*  24 */ "sched_yield", "mremap", "msync", "mincore", "madvise", "shmget",
    /*  30 */ "shmat", "shmctl", "dup", "dup2", "pause", "nanosleep",
    /*  36 */ "getitimer", "alarm", "setitimer", "getpid", "sendfile", "socket",
    /*  42 */ "connect", "accept", "sendto", "recvfrom", "sendmsg", "recvmsg",
    /*  48 */ "shutdown", "bind", "listen", "getsockname", "getpeername", "socketpair",
    /*  54 */ "setsockopt", "getsockopt", "clone", "fork", "vfork", "execve",
    /*  60 */ "exit", "wait4", "kill", "uname", "semget", "semop",
    /*  66 */ "semctl", "shmdt", "msgget", "msgsnd", "msgrcv", "msgctl",
    /*  72 */ "fcntl", "flock", "fsync", "fdatasync", "truncate", "ftruncate",
    /*  78 */ "getdents", "getcwd", "chdir", "fchdir", "rename", "mkdir",
    /*  84 */ "rmdir", "creat", "link", "unlink", "symlink", "readlink",
    /*  90 */ "chmod", "fchmod", "chown", "fchown", "lchown", "umask",
    /*  96 */ "gettimeofday", "getrlimit", "getrusage", "sysinfo", "times", "ptrace",
    /* 102 */ "getuid", "syslog", "getgid", "setuid", "setgid", "geteuid",
    /* 108 */ "getegid", "setpgid", "getppid", "getpgrp", "setsid", "setreuid",
    /* 114 */ "setregid", "getgroups", "setgroups", "setresuid", "getresuid", "setresgid",
    /* 120 */ "getresgid", "getpgid", "setfsuid", "setfsgid", "getsid", "capget",
    /* 126 */ "capset", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_sigsuspend", "sigaltstack",
    /* 132 */ "utime", "mknod", "uselib", "personality", "ustat", "statfs",
    /* 138 */ "fstatfs", "sysfs", "getpriority", "setpriority", "sched_setparam", "sched_getparam",
    /* 144 */ "sched_setscheduler", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "mlock",
    /* 150 */ "munlock", "mlockall", "munlockall", "vhangup", "modify_ldt", "pivot_root",
    /* 156 */ "_sysctl", "prctl", "arch_prctl", "adjtimex", "setrlimit", "chroot",
    /* 162 */ "sync", "acct", "settimeofday", "mount", "umount2", "swapon",
    /* 168 */ "swapoff", "reboot", "sethostname", "setdomainname", "iopl", "ioperm",
    /* 174 */ "create_module", "init_module", "delete_module", "get_kernel_syms", "query_module", "quotactl",
    /* 180 */ "nfsservctl", "getpmsg", "putpmsg", "afs_syscall", "tuxcall", "security",
    /* 186 */ "gettid", "readahead", "setxattr", "lsetxattr", "fsetxattr", "getxattr",
    /* 192 */ "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr",
    /* 198 */ "lremovexattr", "fremovexattr", "tkill", "time", "futex", "sched_setaffinity",
    /* 204 */ "sched_getaffinity", "set_thread_area", "io_setup", "io_destroy", "io_getevents", "io_submit",
    /* 210 */ "io_cancel", "get_thread_area", "lookup_dcookie", "epoll_create", "epoll_ctl_old", "epoll_wait_old",
    /* 216 */ "remap_file_pages", "getdents64", "set_tid_address", "restart_syscall", "semtimedop", "fadvise64",
    /* 222 */ "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "clock_settime",
    /* 228 */ "clock_gettime", "clock_getres", "clock_nanosleep", "exit_group", "epoll_wait", "epoll_ctl",
    /* 234 */ "tgkill", "utimes", "vserver", "mbind", "set_mempolicy", "get_mempolicy",
    /* 240 */ "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    /* 246 */ "kexec_load", "waitid", "add_key", "request_key", "keyctl", "ioprio_set",
    /* 252 */ "ioprio_get", "inotify_init", "inotify_add_watch", "inotify_rm_watch", "migrate_pages", "openat",
    /* 258 */ "mkdirat", "mknodat", "fchownat", "futimesat", "newfstatat", "unlinkat",
    /* 264 */ "renameat", "linkat", "symlinkat", "readlinkat", "fchmodat", "faccessat",
    /* 270 */ "pselect6", "ppoll", "unshare", "set_robust_list", "get_robust_list", "splice",
    /* 276 */ "tee", "sync_file_range", "vmsplice", "move_pages", "utimensat", "epoll_pwait",
    /* 282 */ "signalfd", "timerfd_create", "eventfd", "fallocate", "timerfd_settime", "timerfd_gettime",
    /* 288 */ "accept4", "signalfd4", "eventfd2", "epoll_create1", "dup3", "pipe2",
    /* 294 */ "inotify_init1", "preadv", "pwritev", "rt_tgsigqueueinfo", "perf_event_open", "recvmmsg",
    /* 300 */ "fanotify_init", "fanotify_mark", "prlimit64", "name_to_handle_at", "open_by_handle_at", "clock_adjtime",
    /* 306 */ "syncfs", "sendmmsg", "setns", "getcpu", "process_vm_readv", "process_vm_writev",
    /* 312 */ "kcmp", "finit_module", "sched_setattr", "sched_getattr", "renameat2", "seccomp",
    /* 318 */ "getrandom", "memfd_create", "kexec_file_load", "bpf", "execveat", "userfaultfd",
    /* 324 */ "membarrier", "mlock2", "copy_file_range", "preadv2", "pwritev2", "pkey_mprotect",
    /* 330 */ "pkey_alloc", "pkey_free", "statx", "io_pgetevents", "rseq", "uretprobe",
    /* 336 */ "uprobe",
];

/// The first number of x32's own.
const X32_FIRST: u32 = 512;

/// What x32 has by other numbers than x86-64: calls with structures of pointers.
#[rustfmt::skip]
const X32: [&str; 36] = [
    /* 512 */ "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom",
    /* 518 */ "sendmsg", "recvmsg", "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait",
    /* 524 */ "rt_sigqueueinfo", "sigaltstack", "timer_create", "mq_notify", "kexec_load", "waitid",
    /* 530 */ "set_robust_list", "get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev",
    /* 536 */ "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg", "process_vm_readv", "process_vm_writev", "setsockopt",
    /* 542 */ "getsockopt", "io_setup", "io_submit", "execveat", "preadv2", "pwritev2",
];

/// What it does not have at all.
const NOT_X32: &[&str] = &[
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "uretprobe",
    "uprobe",
];

#[rustfmt::skip]
const X86: [&str; 424] = [
    /*   0 */ "restart_syscall", "exit", "fork", "read", "write", "open",
    /*   6 */ "close", "waitpid", "creat", "link", "unlink", "execve",
    /*  12 */ "chdir", "time", "mknod", "chmod", "lchown", "break",
    /*  18 */ "oldstat", "lseek", "getpid", "mount", "umount", "setuid",
    /*  24 */ "getuid", "stime", "ptrace", "alarm", "oldfstat", "pause",
    /*  30 */ "utime", "stty", "gtty", "access", "nice", "ftime",
    /*  36 */ "sync", "kill", "rename", "mkdir", "rmdir", "dup",
    /*  42 */ "pipe", "times", "prof", "brk", "setgid", "getgid",
    /*  48 */ "signal", "geteuid", "getegid", "acct", "umount2", "lock",
    /*  54 */ "ioctl", "fcntl", "mpx", "setpgid", "ulimit", "oldolduname",
    /*  60 */ "umask", "chroot", "ustat", "dup2", "getppid", "getpgrp",
    /*  66 */ "setsid", "sigaction", "sgetmask", "ssetmask", "setreuid", "setregid",
    /*  72 */ "sigsuspend", "sigpending", "sethostname", "setrlimit", "getrlimit", "getrusage",
    /*  78 */ "gettimeofday", "settimeofday", "getgroups", "setgroups", "select", "symlink",
    /*  84 */ "oldlstat", "readlink", "uselib", "swapon", "reboot", "readdir",
    /*  90 */ "mmap", "munmap", "truncate", "ftruncate", "fchmod", "fchown",
    /*  96 */ "getpriority", "setpriority", "profil", "statfs", "fstatfs", "ioperm",
    /* 102 */ "socketcall", "syslog", "setitimer", "getitimer", "stat", "lstat",
    /* 108 */ "fstat", "olduname", "iopl", "vhangup", "idle", "vm86old",
    /* 114 */ "wait4", "swapoff", "sysinfo", "ipc", "fsync", "sigreturn",
    /* 120 */ "clone", "setdomainname", "uname", "modify_ldt", "adjtimex", "mprotect",
    /* 126 */ "sigprocmask", "create_module", "init_module", "delete_module", "get_kernel_syms", "quotactl",
    /* 132 */ "getpgid", "fchdir", "bdflush", "sysfs", "personality", "afs_syscall",
    /* 138 */ "setfsuid", "setfsgid", "_llseek", "getdents", "_newselect", "flock",
    /* 144 */ "msync", "readv", "writev", "getsid", "fdatasync", "_sysctl",
    /* 150 */ "mlock", "munlock", "mlockall", "munlockall", "sched_setparam", "sched_getparam",
    /* 156 */ "sched_setscheduler", "sched_getscheduler", "sched_yield", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
    /* 162 */ "nanosleep", "mremap", "setresuid", "getresuid", "vm86", "query_module",
    /* 168 */ "poll", "nfsservctl", "setresgid", "getresgid", "prctl", "rt_sigreturn",
    /* 174 */ "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_sigsuspend",
    /* 180 */ "pread64", "pwrite64", "chown", "getcwd", "capget", "capset",
    /* 186 */ "sigaltstack", "sendfile", "getpmsg", "putpmsg", "vfork", "ugetrlimit",
    /* 192 */ "mmap2", "truncate64", "ftruncate64", "stat64", "lstat64", "fstat64",
    /* 198 */ "lchown32", "getuid32", "getgid32", "geteuid32", "getegid32", "setreuid32",
    /* 204 */ "setregid32", "getgroups32", "setgroups32", "fchown32", "setresuid32", "getresuid32",
    /* 210 */ "setresgid32", "getresgid32", "chown32", "setuid32", "setgid32", "setfsuid32",
    /* 216 */ "setfsgid32", "pivot_root", "mincore", "madvise", "getdents64", "fcntl64",
    /* 222 */ "", "", "gettid", "readahead", "setxattr", "lsetxattr",
    /* 228 */ "fsetxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr",
    /* 234 */ "flistxattr", "removexattr", "lremovexattr", "fremovexattr", "tkill", "sendfile64",
    /* 240 */ "futex", "sched_setaffinity", "sched_getaffinity", "set_thread_area", "get_thread_area", "io_setup",
    /* 246 */ "io_destroy", "io_getevents", "io_submit", "io_cancel", "fadvise64", "",
    /* 252 */ "exit_group", "lookup_dcookie", "epoll_create", "epoll_ctl", "epoll_wait", "remap_file_pages",
    /* 258 */ "set_tid_address", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete",
    /* 264 */ "clock_settime", "clock_gettime", "clock_getres", "clock_nanosleep", "statfs64", "fstatfs64",
    /* 270 */ "tgkill", "utimes", "fadvise64_64", "vserver", "mbind", "get_mempolicy",
    /* 276 */ "set_mempolicy", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify",
    /* 282 */ "mq_getsetattr", "kexec_load", "waitid", "", "add_key", "request_key",
    /* 288 */ "keyctl", "ioprio_set", "ioprio_get", "inotify_init", "inotify_add_watch", "inotify_rm_watch",
    /* 294 */ "migrate_pages", "openat", "mkdirat", "mknodat", "fchownat", "futimesat",
    /* 300 */ "fstatat64", "unlinkat", "renameat", "linkat", "symlinkat", "readlinkat",
    /* 306 */ "fchmodat", "faccessat", "pselect6", "ppoll", "unshare", "set_robust_list",
    /* 312 */ "get_robust_list", "splice", "sync_file_range", "tee", "vmsplice", "move_pages",
    /* 318 */ "getcpu", "epoll_pwait", "utimensat", "signalfd", "timerfd_create", "eventfd",
    /* 324 */ "fallocate", "timerfd_settime", "timerfd_gettime", "signalfd4", "eventfd2", "epoll_create1",
    /* 330 */ "dup3", "pipe2", "inotify_init1", "preadv", "pwritev", "rt_tgsigqueueinfo",
    /* 336 */ "perf_event_open", "recvmmsg", "fanotify_init", "fanotify_mark", "prlimit64", "name_to_handle_at",
    /* 342 */ "open_by_handle_at", "clock_adjtime", "syncfs", "sendmmsg", "setns", "process_vm_readv",
    /* 348 */ "process_vm_writev", "kcmp", "finit_module", "sched_setattr", "sched_getattr", "renameat2",
    /* 354 */ "seccomp", "getrandom", "memfd_create", "bpf", "execveat", "socket",
    /* 360 */ "socketpair", "bind", "connect", "listen", "accept4", "getsockopt",
    /* 366 */ "setsockopt", "getsockname", "getpeername", "sendto", "sendmsg", "recvfrom",
    /* 372 */ "recvmsg", "shutdown", "userfaultfd", "membarrier", "mlock2", "copy_file_range",
    /* 378 */ "preadv2", "pwritev2", "pkey_mprotect", "pkey_alloc", "pkey_free", "statx",
    /* 384 */ "arch_prctl", "io_pgetevents", "rseq", "", "", "",
    /* 390 */ "", "", "", "semget", "semctl", "shmget",
    /* 396 */ "shmctl", "shmat", "shmdt", "msgget", "msgsnd", "msgrcv",
    /* 402 */ "msgctl", "clock_gettime64", "clock_settime64", "clock_adjtime64", "clock_getres_time64", "clock_nanosleep_time64",
    /* 408 */ "timer_gettime64", "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "utimensat_time64", "pselect6_time64",
    /* 414 */ "ppoll_time64", "", "io_pgetevents_time64", "recvmmsg_time64", "mq_timedsend_time64", "mq_timedreceive_time64",
    /* 420 */ "semtimedop_time64", "rt_sigtimedwait_time64", "futex_time64", "sched_rr_get_interval_time64",
];

#[rustfmt::skip]
const GENERIC: [&str; 295] = [
    /*   0 */ "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "setxattr",
    /*   6 */ "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
    /*  12 */ "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr", "getcwd",
    /*  18 */ "lookup_dcookie", "eventfd2", "epoll_create1", "epoll_ctl", "epoll_pwait", "dup",
    /*  24 */ "dup3", "fcntl", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "ioctl",
    /*  30 */ "ioprio_set", "ioprio_get", "flock", "mknodat", "mkdirat", "unlinkat",
    /*  36 */ "symlinkat", "linkat", "renameat", "umount2", "mount", "pivot_root",
    /*  42 */ "nfsservctl", "statfs", "fstatfs", "truncate", "ftruncate", "fallocate",
    /*  48 */ "faccessat", "chdir", "fchdir", "chroot", "fchmod", "fchmodat",
    /*  54 */ "fchownat", "fchown", "openat", "close", "vhangup", "pipe2",
    /*  60 */ "quotactl", "getdents64", "lseek", "read", "write", "readv",
    /*  66 */ "writev", "pread64", "pwrite64", "preadv", "pwritev", "sendfile",
    /*  72 */ "pselect6", "ppoll", "signalfd4", "vmsplice", "splice", "tee",
    /*  78 */ "readlinkat", "newfstatat", "fstat", "sync", "fsync", "fdatasync",
    /*  84 */ "sync_file_range", "timerfd_create", "timerfd_settime", "timerfd_gettime", "utimensat", "acct",
    /*  90 */ "capget", "capset", "personality", "exit", "exit_group", "waitid",
    /*  96 */ "set_tid_address", "unshare", "futex", "set_robust_list", "get_robust_list", "nanosleep",
    /* 102 */ "getitimer", "setitimer", "kexec_load", "init_module", "delete_module", "timer_create",
    /* 108 */ "timer_gettime", "timer_getoverrun", "timer_settime", "timer_delete", "clock_settime", "clock_gettime",
    /* 114 */ "clock_getres", "clock_nanosleep", "syslog", "ptrace", "sched_setparam", "sched_setscheduler",
    /* 120 */ "sched_getscheduler", "sched_getparam", "sched_setaffinity", "sched_getaffinity", "sched_yield", "sched_get_priority_max",
    /* 126 */ "sched_get_priority_min", "sched_rr_get_interval", "restart_syscall", "kill", "tkill", "tgkill",
    /* 132 */ "sigaltstack", "rt_sigsuspend", "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigtimedwait",
    /* 138 */ "rt_sigqueueinfo", "rt_sigreturn", "setpriority", "getpriority", "reboot", "setregid",
    /* 144 */ "setgid", "setreuid", "setuid", "setresuid", "getresuid", "setresgid",
    /* 150 */ "getresgid", "setfsuid", "setfsgid", "times", "setpgid", "getpgid",
    /* 156 */ "getsid", "setsid", "getgroups", "setgroups", "uname", "sethostname",
    /* 162 */ "setdomainname", "getrlimit", "setrlimit", "getrusage", "umask", "prctl",
    /* 168 */ "getcpu", "gettimeofday", "settimeofday", "adjtimex", "getpid", "getppid",
    /* 174 */ "getuid", "geteuid", "getgid", "getegid", "gettid", "sysinfo",
    /* 180 */ "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    /* 186 */ "msgget", "msgctl", "msgrcv", "msgsnd", "semget", "semctl",
    /* 192 */ "semtimedop", "semop", "shmget", "shmctl", "shmat", "shmdt",
    /* 198 */ "socket", "socketpair", "bind", "listen", "accept", "connect",
    /* 204 */ "getsockname", "getpeername", "sendto", "recvfrom", "setsockopt", "getsockopt",
    /* 210 */ "shutdown", "sendmsg", "recvmsg", "readahead", "brk", "munmap",
    /* 216 */ "mremap", "add_key", "request_key", "keyctl", "clone", "execve",
    /* 222 */ "mmap", "fadvise64", "swapon", "swapoff", "mprotect", "msync",
    /* 228 */ "mlock", "munlock", "mlockall", "munlockall", "mincore", "madvise",
    /* 234 */ "remap_file_pages", "mbind", "get_mempolicy", "set_mempolicy", "migrate_pages", "move_pages",
    /* 240 */ "rt_tgsigqueueinfo", "perf_event_open", "accept4", "recvmmsg", "", "",
    /* 246 */ "", "", "", "", "", "",
    /* 252 */ "", "", "", "", "", "",
    /* 258 */ "", "", "wait4", "prlimit64", "fanotify_init", "fanotify_mark",
    /* 264 */ "name_to_handle_at", "open_by_handle_at", "clock_adjtime", "syncfs", "setns", "sendmmsg",
    /* 270 */ "process_vm_readv", "process_vm_writev", "kcmp", "finit_module", "sched_setattr", "sched_getattr",
    /* 276 */ "renameat2", "seccomp", "getrandom", "memfd_create", "bpf", "execveat",
    /* 282 */ "userfaultfd", "membarrier", "mlock2", "copy_file_range", "preadv2", "pwritev2",
    /* 288 */ "pkey_mprotect", "pkey_alloc", "pkey_free", "statx", "io_pgetevents", "rseq",
    /* 294 */ "kexec_file_load",
];

#[rustfmt::skip]
const COMMON: [&str; 46] = [
    /* 424 */ "pidfd_send_signal", "io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree", "move_mount",
    /* 430 */ "fsopen", "fsconfig", "fsmount", "fspick", "pidfd_open", "clone3",
    /* 436 */ "close_range", "openat2", "pidfd_getfd", "faccessat2", "process_madvise", "epoll_pwait2",
    /* 442 */ "mount_setattr", "quotactl_fd", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "memfd_secret",
    /* 448 */ "process_mrelease", "futex_waitv", "set_mempolicy_home_node", "cachestat", "fchmodat2", "map_shadow_stack",
    /* 454 */ "futex_wake", "futex_wait", "futex_requeue", "statmount", "listmount", "lsm_get_self_attr",
    /* 460 */ "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat", "getxattrat", "listxattrat",
    /* 466 */ "removexattrat", "open_tree_attr", "file_getattr", "file_setattr",
];

/// Calls of ABIs without a table here: 32-bit ARM, and other processors.
#[rustfmt::skip]
const OTHER_ABIS: &[&str] = &[
    "arm_fadvise64_64", "arm_sync_file_range", "atomic_barrier", "atomic_cmpxchg_32", "breakpoint",
    "cachectl", "cacheflush", "get_tls", "oldumount", "pciconfig_iobase", "pciconfig_read", "pciconfig_write",
    "recv", "riscv_flush_icache", "riscv_hwprobe", "rtas", "s390_guarded_storage", "s390_pci_mmio_read",
    "s390_pci_mmio_write", "s390_runtime_instr", "s390_sthyi", "send", "set_tls", "spu_create", "spu_run",
    "subpage_prot", "swapcontext", "switch_endian", "sync_file_range2", "sys_debug_setcontext", "sysmips",
    "usr26", "usr32",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        for arch in EVERY {
            let mut last = None;
            for (nr, name) in arch.calls() {
                assert!(last < Some(nr), "{name} out of order");
                last = Some(nr);
                assert_eq!(arch.number(name), Some(nr), "{arch:?} {name} stands twice");
                assert_eq!(arch.name(nr), Some(name));
            }
            assert_eq!(last, Some(arch.highest()));
            assert_eq!(arch.name(arch.highest() + 1), None);
            assert_eq!(arch.name(u32::MAX), None);
        }
        assert_eq!(Arch::X86_64.calls().count(), 383);
        assert_eq!(Arch::Aarch64.calls().count(), 325);
        assert_eq!(Arch::X86.calls().count(), 459);
        assert_eq!(Arch::X32.calls().count(), 383 - NOT_X32.len());
    }

    #[test]
    fn known_numbers() {
        for (name, x86_64, aarch64) in [
            ("read", Some(0), Some(63)),
            ("open", Some(2), None),
            ("clone", Some(56), Some(220)),
            ("uretprobe", Some(335), None),
            ("uprobe", Some(336), None),
            ("wait4", Some(61), Some(260)),
            ("kexec_file_load", Some(320), Some(294)),
            ("clone3", Some(435), Some(435)),
            ("mseal", Some(462), Some(462)),
            ("file_setattr", Some(469), Some(469)),
            ("", None, None),
            ("chmood", None, None),
        ] {
            assert_eq!(Arch::X86_64.number(name), x86_64, "{name}");
            assert_eq!(Arch::Aarch64.number(name), aarch64, "{name}");
        }
        assert_eq!(Arch::Aarch64.name(244), None, "a hole kept for architectures");
        assert_eq!(Arch::X86_64.name(400), None);
    }

    /// Against the kernel's headers, for every number that those of this machine have.
    #[test]
    fn the_headers_agree() {
        for (arch, path) in [
            (Arch::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (Arch::X86_64, "/usr/include/asm/unistd_64.h"),
            (Arch::Aarch64, "/usr/include/asm-generic/unistd.h"),
            (Arch::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
            (Arch::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h"),
        ] {
            let Ok(header) = std::fs::read_to_string(path) else {
                eprintln!("skipped: no {path} (package linux-libc-dev)");
                continue;
            };
            let mut compared = 0;
            for line in header.lines() {
                let line = line.replace("(__X32_SYSCALL_BIT + ", "").replace(')', "");
                let mut words = line.split_whitespace();
                let (Some("#define"), Some(name), Some(Ok(nr))) =
                    (words.next(), words.next(), words.next().map(str::parse::<u32>))
                else {
                    continue;
                };
                let nr = nr + arch.numbers().start();
                // The generic header writes __NR3264_ where 32-bit machines have another name.
                let Some(name) = name.strip_prefix("__NR_").or_else(|| name.strip_prefix("__NR3264_")) else {
                    continue;
                };
                let name = if name == "fstatat" { "newfstatat" } else { name };
                // The generic header has those of 32-bit machines as well.
                let other = arch == Arch::Aarch64 && Arch::X86_64.number(name).is_none() && exists_somewhere(name);
                if other || matches!(name, "syscalls" | "arch_specific_syscall") {
                    continue;
                }
                assert_eq!(arch.number(name), Some(nr), "{name} in {path}");
                compared += 1;
            }
            assert!(compared > 290, "{path}: only {compared}");
        }
    }

    #[test]
    fn other_abis_are_other() {
        for name in OTHER_ABIS {
            assert!(EVERY.iter().all(|arch| arch.number(name).is_none()), "{name}");
        }
        assert!(exists_somewhere("chown32") && exists_somewhere("open") && !exists_somewhere("chmood"));
    }
}
