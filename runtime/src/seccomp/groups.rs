//! The named groups of system calls (`@mount`, `@file-system`, …) that
//! `SystemCallFilter=` and `.nspawn` files use.
//!
//! Which calls form a group is common knowledge of the field: systemd.exec(5) and
//! `systemd-analyze syscall-filter`. Names that no architecture of [`Arch`] has are left
//! out. Calls newer than the field's lists stand where their older relatives stand.

use super::table::Arch;

/// One named group.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Group {
    /// The name with its `@`.
    pub name: &'static str,
    /// What its calls are for.
    pub about: &'static str,
    /// Names of calls, and of other groups (those begin with `@`).
    pub members: &'static [&'static str],
}

impl Group {
    /// Every call of the group on `arch`, the groups inside it resolved. A call may come twice.
    /// It stands here by one name, also where `arch` has it by others, or only as a part of another.
    pub fn calls(&self, arch: Arch) -> Vec<&'static str> {
        let mut calls = Vec::new();
        for member in self.members {
            match group(member) {
                Some(inner) => calls.extend(inner.calls(arch)),
                None if arch.has(member) => calls.push(*member),
                None => {}
            }
        }
        calls
    }
}

/// The group of that name (`@` included).
pub fn group(name: &str) -> Option<&'static Group> {
    if !name.starts_with('@') {
        return None;
    }
    GROUPS.iter().find(|group| group.name == name)
}

const fn entry(name: &'static str, about: &'static str, members: &'static [&'static str]) -> Group {
    Group { name, about, members }
}

/// All groups, by name.
#[rustfmt::skip]
pub const GROUPS: &[Group] = &[
    entry("@aio", "Asynchronous input and output, io_uring included", &[
        "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
        "io_uring_enter", "io_uring_register", "io_uring_setup"]),
    entry("@basic-io", "Reading, writing, seeking, closing", &[
        "close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2", "pwrite64",
        "pwritev", "pwritev2", "read", "readv", "write", "writev"]),
    entry("@chown", "Changing the owner of files", &[
        "chown", "fchown", "fchownat", "lchown"]),
    entry("@clock", "Setting the system clock", &[
        "adjtimex", "clock_adjtime", "clock_settime", "settimeofday"]),
    entry("@cpu-emulation", "Running code of another processor mode", &[
        "modify_ldt", "vm86", "vm86old"]),
    entry("@debug", "Tracing, profiling, reading other processes", &[
        "lookup_dcookie", "perf_event_open", "pidfd_getfd", "ptrace"]),
    entry("@default", "What nearly every program needs", &[
        "arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "execve", "exit",
        "exit_group", "futex", "futex_waitv", "get_robust_list", "get_thread_area", "getegid", "geteuid",
        "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom", "getresgid",
        "getresuid", "getrlimit", "getsid", "gettid", "gettimeofday", "getuid", "membarrier", "mmap",
        "mprotect", "mseal", "munmap", "nanosleep", "pause", "prlimit64", "restart_syscall", "rseq",
        "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_thread_area",
        "set_tid_address", "time", "uretprobe"]),
    entry("@file-system", "Files and directories", &[
        "access", "chdir", "chmod", "close", "creat", "faccessat", "faccessat2", "fallocate", "fchdir",
        "fchmod", "fchmodat", "fchmodat2", "fcntl", "fgetxattr", "file_getattr", "file_setattr",
        "flistxattr", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "ftruncate", "futimesat", "getcwd",
        "getdents", "getdents64", "getxattr", "getxattrat", "inotify_add_watch", "inotify_init",
        "inotify_init1", "inotify_rm_watch", "lgetxattr", "link", "linkat", "listmount", "listxattr",
        "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod",
        "mknodat", "newfstatat", "open", "openat", "openat2", "readlink", "readlinkat", "removexattr",
        "removexattrat", "rename", "renameat", "renameat2", "rmdir", "setxattr", "setxattrat", "stat",
        "statfs", "statmount", "statx", "symlink", "symlinkat", "truncate", "unlink", "unlinkat", "utime",
        "utimensat", "utimes"]),
    entry("@io-event", "Waiting for several descriptors", &[
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
        "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll", "pselect6", "select"]),
    entry("@ipc", "System V IPC, message queues, pipes, memory of others", &[
        "memfd_create", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend",
        "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "pipe", "pipe2", "process_madvise",
        "process_vm_readv", "process_vm_writev", "semctl", "semget", "semop", "semtimedop", "shmat",
        "shmctl", "shmdt", "shmget"]),
    entry("@keyring", "The kernel keyrings", &[
        "add_key", "keyctl", "request_key"]),
    entry("@memlock", "Pinning memory", &[
        "mlock", "mlock2", "mlockall", "munlock", "munlockall"]),
    entry("@module", "Kernel modules", &[
        "delete_module", "finit_module", "init_module"]),
    entry("@mount", "The mount tree: the old calls and the whole new API", &[
        "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
        "open_tree", "open_tree_attr", "pivot_root", "umount2"]),
    entry("@network-io", "Sockets", &[
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
        "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
        "socket", "socketpair"]),
    entry("@obsolete", "Rare, outdated or never implemented", &[
        "_sysctl", "afs_syscall", "create_module", "get_kernel_syms", "getpmsg", "putpmsg", "query_module",
        "security", "sysfs", "tuxcall", "uselib", "ustat", "vserver"]),
    entry("@pkey", "Memory protection keys", &[
        "pkey_alloc", "pkey_free", "pkey_mprotect"]),
    entry("@privileged", "What needs a capability", &[
        "@chown", "@clock", "@module", "@raw-io", "@reboot", "@swap", "_sysctl", "acct", "bpf", "capset",
        "chroot", "fanotify_init", "fanotify_mark", "nfsservctl", "open_by_handle_at", "pivot_root",
        "quotactl", "quotactl_fd", "setdomainname", "setfsuid", "setgroups", "sethostname", "setresuid",
        "setreuid", "setuid", "vhangup"]),
    entry("@process", "Creating and controlling processes and namespaces", &[
        "capget", "clone", "clone3", "execveat", "fork", "getrusage", "kill", "pidfd_open",
        "pidfd_send_signal", "prctl", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "tgkill", "times",
        "tkill", "unshare", "vfork", "wait4", "waitid"]),
    entry("@raw-io", "Hardware ports", &[
        "ioperm", "iopl"]),
    entry("@reboot", "Rebooting and kexec", &[
        "kexec_file_load", "kexec_load", "reboot"]),
    entry("@resources", "Scheduling, memory policy, limits", &[
        "ioprio_set", "mbind", "migrate_pages", "move_pages", "sched_setaffinity", "sched_setattr",
        "sched_setparam", "sched_setscheduler", "set_mempolicy", "set_mempolicy_home_node", "setpriority",
        "setrlimit"]),
    entry("@sandbox", "Restricting oneself further", &[
        "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"]),
    entry("@setuid", "Changing credentials", &[
        "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid"]),
    entry("@signal", "Handling signals", &[
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigsuspend", "rt_sigtimedwait",
        "sigaltstack", "signalfd", "signalfd4"]),
    entry("@swap", "Swap devices", &[
        "swapoff", "swapon"]),
    entry("@sync", "Flushing to storage", &[
        "fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"]),
    entry("@system-service", "A sound base for an ordinary service", &[
        "@aio", "@basic-io", "@chown", "@default", "@file-system", "@io-event", "@ipc", "@keyring",
        "@memlock", "@network-io", "@process", "@resources", "@setuid", "@signal", "@sync", "@timer",
        "capget", "capset", "copy_file_range", "fadvise64", "flock", "get_mempolicy", "getcpu",
        "getpriority", "ioctl", "ioprio_get", "kcmp", "madvise", "mremap", "name_to_handle_at",
        "personality", "readahead", "remap_file_pages", "sched_get_priority_max", "sched_get_priority_min",
        "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_yield",
        "sendfile", "setfsgid", "setfsuid", "setpgid", "setsid", "splice", "sysinfo", "tee", "umask",
        "uname", "userfaultfd", "vmsplice"]),
    entry("@timer", "Timers and alarms", &[
        "alarm", "getitimer", "setitimer", "timer_create", "timer_delete", "timer_getoverrun",
        "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::table::EVERY;

    #[test]
    fn every_member_resolves() {
        for group in GROUPS {
            assert!(group.name.starts_with('@') && !group.about.is_empty());
            for member in group.members {
                let known = GROUPS.iter().any(|other| other.name == *member)
                    || EVERY.iter().any(|arch| arch.number(member).is_some());
                assert!(known, "{} has {member}", group.name);
            }
        }
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        assert_eq!(GROUPS.len(), 29);
        assert!(group("mount").is_none() && group("@nothing").is_none());
    }

    /// `attacks.md` row 96: a filter written for `mount(2)` alone is no filter.
    #[test]
    fn row_096_mount_is_the_whole_mount_api() {
        use crate::seccomp::{Action, Policy};
        for arch in EVERY {
            let mut policy = Policy::new(arch, Action::Errno(1), Action::Errno(38));
            policy.set("@mount", Action::Allow);
            let kernel = arch.calls().map(|(_, name)| name).filter(|name| {
                (name.contains("mount") && !matches!(*name, "statmount" | "listmount"))
                    || matches!(
                        *name,
                        "chroot" | "pivot_root" | "open_tree" | "open_tree_attr" | "fsopen" | "fsconfig" | "fspick"
                    )
            });
            let mut kernel: Vec<_> = kernel.collect();
            kernel.sort_unstable();
            assert!(policy.rules.keys().eq(kernel.iter()), "{arch:?}");
        }
    }

    #[test]
    fn groups_inside_groups() {
        let service = group("@system-service").expect("the group").calls(Arch::X86_64);
        assert!(service.contains(&"read") && service.contains(&"uname") && !service.contains(&"mount"));
        assert!(!group("@file-system").expect("the group").calls(Arch::Aarch64).contains(&"open"));
    }
}
