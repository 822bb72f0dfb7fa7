//! Names and numbers of the system calls, complete up to Linux 6.18.
//!
//! Numbers below 424 differ by architecture; from there on every architecture
//! uses the same ones. Sources: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl`
//! and `syscall_32.tbl`, and `scripts/syscall.tbl` (the generic table, which aarch64
//! uses).

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

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
    /// them in memory, where no filter sees them.
    X86,
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
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::X86 => 0x4000_0003,
        }
    }

    /// The number of a call, or `None` if this architecture has no call of that name.
    pub fn number(self, name: &str) -> Option<u32> {
        let index = self.by_name();
        index.binary_search_by_key(&name, |(known, _)| known).ok().map(|at| index[at].1)
    }

    /// The table sorted by name, made once: profiles look up some three hundred names.
    fn by_name(self) -> &'static [(&'static str, u32)] {
        static INDEX: [OnceLock<Vec<(&str, u32)>>; 3] = [const { OnceLock::new() }; 3];
        INDEX[self as usize].get_or_init(|| {
            let mut index: Vec<_> = self.calls().map(|(nr, name)| (name, nr)).collect();
            index.sort_unstable();
            index
        })
    }

    /// The name of a number, or `None` if it stood for nothing in Linux 6.18.
    pub fn name(self, nr: u32) -> Option<&'static str> {
        let (row, at) = if nr < COMMON_FIRST { (self.own(), nr) } else { (&COMMON[..], nr - COMMON_FIRST) };
        row.get(usize::try_from(at).ok()?).copied().filter(|name| !name.is_empty())
    }

    /// The highest number with a name.
    pub const fn highest(self) -> u32 {
        COMMON_FIRST + COMMON.len() as u32 - 1
    }

    /// Every call of this architecture, by ascending number.
    pub fn calls(self) -> impl Iterator<Item = (u32, &'static str)> {
        (0..)
            .zip(self.own())
            .chain((COMMON_FIRST..).zip(&COMMON))
            .map(|(nr, name)| (nr, *name))
            .filter(|(_, name)| !name.is_empty())
    }

    fn own(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &X86_64,
            Arch::Aarch64 => &GENERIC,
            Arch::X86 => &X86,
        }
    }
}

/// Whether some ABI of Linux has a call of this name.
///
/// Filters written for several machines (an OCI profile, an `.nspawn` file) name calls
/// such as `chown32` or `_llseek`; those are no spelling mistakes, merely not ours.
pub fn exists_somewhere(name: &str) -> bool {
    Arch::ALL.iter().any(|arch| arch.number(name).is_some()) || OTHER_ABIS.contains(&name)
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

/// Calls of other ABIs only: 32-bit x86 and ARM, and other processors.
#[rustfmt::skip]
const OTHER_ABIS: &[&str] = &[
    "_llseek", "_newselect", "arm_fadvise64_64", "arm_sync_file_range", "atomic_barrier",
    "atomic_cmpxchg_32", "bdflush", "break", "breakpoint", "cachectl", "cacheflush", "chown32",
    "clock_adjtime64", "clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64",
    "clock_settime64", "fadvise64_64", "fchown32", "fcntl64", "fstat64", "fstatat64", "fstatfs64", "ftime",
    "ftruncate64", "futex_time64", "get_tls", "getegid32", "geteuid32", "getgid32", "getgroups32",
    "getresgid32", "getresuid32", "getuid32", "gtty", "idle", "io_pgetevents_time64", "ipc", "lchown32",
    "lock", "lstat64", "mmap2", "mpx", "mq_timedreceive_time64", "mq_timedsend_time64", "nice", "oldfstat",
    "oldlstat", "oldolduname", "oldstat", "oldumount", "olduname", "pciconfig_iobase", "pciconfig_read",
    "pciconfig_write", "ppoll_time64", "prof", "profil", "pselect6_time64", "readdir", "recv",
    "recvmmsg_time64", "riscv_flush_icache", "riscv_hwprobe", "rt_sigtimedwait_time64", "rtas",
    "s390_guarded_storage", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", "s390_sthyi",
    "sched_rr_get_interval_time64", "semtimedop_time64", "send", "sendfile64", "set_tls", "setfsgid32",
    "setfsuid32", "setgid32", "setgroups32", "setregid32", "setresgid32", "setresuid32", "setreuid32",
    "setuid32", "sgetmask", "sigaction", "signal", "sigpending", "sigprocmask", "sigreturn", "sigsuspend",
    "socketcall", "spu_create", "spu_run", "ssetmask", "stat64", "statfs64", "stime", "stty",
    "subpage_prot", "swapcontext", "switch_endian", "sync_file_range2", "sys_debug_setcontext", "sysmips",
    "timer_gettime64", "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "truncate64",
    "ugetrlimit", "ulimit", "umount", "usr26", "usr32", "utimensat_time64", "vm86", "vm86old", "waitpid",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_inverse() {
        for arch in [Arch::X86_64, Arch::Aarch64, Arch::X86] {
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
        ] {
            let Ok(header) = std::fs::read_to_string(path) else {
                eprintln!("skipped: no {path} (package linux-libc-dev)");
                continue;
            };
            let mut compared = 0;
            for line in header.lines() {
                let mut words = line.split_whitespace();
                let (Some("#define"), Some(name), Some(Ok(nr))) =
                    (words.next(), words.next(), words.next().map(str::parse::<u32>))
                else {
                    continue;
                };
                // The generic header writes __NR3264_ where 32-bit machines have another name.
                let Some(name) = name.strip_prefix("__NR_").or_else(|| name.strip_prefix("__NR3264_")) else {
                    continue;
                };
                let name = if name == "fstatat" { "newfstatat" } else { name };
                let other = arch != Arch::X86 && OTHER_ABIS.contains(&name);
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
            assert!(Arch::ALL.iter().all(|arch| arch.number(name).is_none()), "{name}");
        }
        assert!(exists_somewhere("chown32") && exists_somewhere("open") && !exists_somewhere("chmood"));
    }
}
