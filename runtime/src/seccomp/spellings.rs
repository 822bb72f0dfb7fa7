//! One call, several doors: what a 32-bit ABI has under a second name, or as a
//! part of another call.
//!
//! A rule is about a call, whatever its door: who denies `chown` means
//! `chown32` as well, and who denies `connect` means the third part of
//! `socketcall`. Which part is called stands in a register, which a filter sees;
//! its arguments lie in memory, which it does not. Programs still use these
//! doors: the 32-bit glibc of today makes every socket by `socketcall` and
//! every segment of shared memory by `ipc`, as it may run on Linux before 4.3
//! and 5.1.
//!
//! Sources: the kernel's `arch/x86/entry/syscalls/syscall_32.tbl`,
//! `linux/net.h`, `linux/ipc.h`, `net/socket.c` and `ipc/syscall.c`.

use super::program::SeccompData;
use super::table::Arch;

/// By the name that 64-bit machines have, which 32-bit x86 mostly has too.
#[rustfmt::skip]
const X86: &[(&str, &[&str])] = &[
    // files of more than 2 GiB
    ("stat", &["oldstat", "stat64"]), ("lstat", &["oldlstat", "lstat64"]), ("fstat", &["oldfstat", "fstat64"]),
    ("newfstatat", &["fstatat64"]), ("statfs", &["statfs64"]), ("fstatfs", &["fstatfs64"]),
    ("truncate", &["truncate64"]), ("ftruncate", &["ftruncate64"]), ("fcntl", &["fcntl64"]),
    ("sendfile", &["sendfile64"]), ("fadvise64", &["fadvise64_64"]), ("lseek", &["_llseek"]), ("mmap", &["mmap2"]),
    ("getdents", &["readdir"]),
    // ids of 32 bits
    ("chown", &["chown32"]), ("fchown", &["fchown32"]), ("lchown", &["lchown32"]),
    ("getuid", &["getuid32"]), ("geteuid", &["geteuid32"]), ("getgid", &["getgid32"]), ("getegid", &["getegid32"]),
    ("getresuid", &["getresuid32"]), ("getresgid", &["getresgid32"]), ("getgroups", &["getgroups32"]),
    ("setuid", &["setuid32"]), ("setgid", &["setgid32"]), ("setreuid", &["setreuid32"]), ("setregid", &["setregid32"]),
    ("setresuid", &["setresuid32"]), ("setresgid", &["setresgid32"]), ("setgroups", &["setgroups32"]),
    ("setfsuid", &["setfsuid32"]), ("setfsgid", &["setfsgid32"]),
    // times of 64 bits
    ("clock_gettime", &["clock_gettime64"]), ("clock_settime", &["clock_settime64"]),
    ("clock_adjtime", &["clock_adjtime64"]), ("clock_getres", &["clock_getres_time64"]),
    ("clock_nanosleep", &["clock_nanosleep_time64"]), ("futex", &["futex_time64"]),
    ("timer_gettime", &["timer_gettime64"]), ("timer_settime", &["timer_settime64"]),
    ("timerfd_gettime", &["timerfd_gettime64"]), ("timerfd_settime", &["timerfd_settime64"]),
    ("utimensat", &["utimensat_time64"]), ("pselect6", &["pselect6_time64"]), ("ppoll", &["ppoll_time64"]),
    ("io_pgetevents", &["io_pgetevents_time64"]), ("recvmmsg", &["recvmmsg_time64"]),
    ("mq_timedsend", &["mq_timedsend_time64"]), ("mq_timedreceive", &["mq_timedreceive_time64"]),
    ("semtimedop", &["semtimedop_time64"]), ("rt_sigtimedwait", &["rt_sigtimedwait_time64"]),
    ("sched_rr_get_interval", &["sched_rr_get_interval_time64"]),
    // signals beyond the 32nd
    ("rt_sigaction", &["sigaction", "signal"]), ("rt_sigprocmask", &["sigprocmask", "sgetmask", "ssetmask"]),
    ("rt_sigpending", &["sigpending"]), ("rt_sigsuspend", &["sigsuspend"]), ("rt_sigreturn", &["sigreturn"]),
    // the first form
    ("select", &["_newselect"]), ("wait4", &["waitpid"]), ("getrlimit", &["ugetrlimit"]), ("umount2", &["umount"]),
    ("uname", &["olduname", "oldolduname"]), ("setpriority", &["nice"]), ("settimeofday", &["stime"]),
];

/// Calls whose first argument says which call is meant, and what each number
/// stands for; `send` and `recv` are `sendto` and `recvfrom` to nobody.
#[rustfmt::skip]
const X86_MULTIPLEXERS: &[(&str, &[&str])] = &[
    ("socketcall", &[
        "", "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "sendto",
        "recvfrom", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4",
        "recvmmsg", "sendmmsg",
    ]),
    ("ipc", &[
        "", "semop", "semget", "semctl", "semtimedop", "", "", "", "", "", "", "msgsnd", "msgrcv", "msgget", "msgctl", "",
        "", "", "", "", "", "shmat", "shmdt", "shmget", "shmctl",
    ]),
];

impl Arch {
    fn multiplexers(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Arch::X86 => X86_MULTIPLEXERS,
            Arch::X86_64 | Arch::Aarch64 | Arch::X32 => &[],
        }
    }

    /// The further names of a call.
    pub(super) fn spellings(self, call: &str) -> &'static [&'static str] {
        match self {
            Arch::X86 => X86.iter().find(|(known, _)| *known == call).map_or(&[], |(_, others)| others),
            Arch::X86_64 | Arch::Aarch64 | Arch::X32 => &[],
        }
    }

    /// The multiplexers that a call is a part of, and its numbers there.
    pub(super) fn parts(self, call: &str) -> impl Iterator<Item = (&'static str, u64)> {
        self.multiplexers().iter().flat_map(move |(multiplexer, parts)| {
            (0..).zip(*parts).filter(move |(_, part)| **part == call).map(|(number, _)| (*multiplexer, number))
        })
    }

    /// What a call's first argument can be for a filter to tell apart: the parts
    /// of a multiplexer; 0 stands for all else.
    pub(super) fn selectors(self, call: &str) -> impl Iterator<Item = u64> {
        let parts = self.multiplexers().iter().find(|(known, _)| *known == call).map_or(1, |(_, parts)| parts.len());
        0..parts as u64
    }

    /// Every way in which a call with these arguments can be made. As a part of
    /// another, its own arguments lie in memory.
    pub(crate) fn doors(self, call: &str, args: [u64; 6]) -> Vec<SeccompData> {
        let names = [call].into_iter().chain(self.spellings(call).iter().copied());
        let direct = names.filter_map(|name| Some((self.number(name)?, args)));
        let parts = self.parts(call).filter_map(|(name, part)| Some((self.number(name)?, [part, 0, 0, 0, 0, 0])));
        direct.chain(parts).map(|(number, args)| SeccompData::new(self, number, args)).collect()
    }

    /// Whether this ABI has the call by any door.
    pub(crate) fn has(self, call: &str) -> bool {
        self.number(call).is_some() || !self.spellings(call).is_empty() || self.parts(call).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Action, Condition, ENOSYS, EPERM, Policy, Rule, Test};

    #[test]
    fn every_door_is_one() {
        let mut seen = std::collections::BTreeSet::new();
        for (call, others) in X86 {
            assert!(Arch::X86_64.number(call).is_some(), "{call}");
            for other in *others {
                assert!(Arch::X86.number(other).is_some() && Arch::X86_64.number(other).is_none(), "{other}");
                assert!(seen.insert(other), "{other} stands twice");
            }
        }
        for (multiplexer, parts) in X86_MULTIPLEXERS {
            assert!(Arch::X86.number(multiplexer).is_some() && Arch::X86_64.number(multiplexer).is_none());
            for part in parts.iter().filter(|part| !part.is_empty()) {
                assert!(Arch::X86_64.number(part).is_some(), "{part}");
            }
        }
    }

    /// What has neither a namesake nor a place above must not be a second door
    /// that was forgotten: the kernel does nothing there, or it is the door itself.
    #[test]
    fn no_door_is_forgotten() {
        let placed = |name: &str| X86.iter().any(|(_, others)| others.contains(&name));
        let left: Vec<&str> = Arch::X86
            .calls()
            .map(|(_, name)| name)
            .filter(|name| Arch::X86_64.number(name).is_none() && !placed(name))
            .collect();
        let nothing = "break stty gtty ftime prof lock mpx ulimit profil socketcall idle vm86old ipc bdflush vm86";
        assert_eq!(left.join(" "), nothing);
    }

    #[test]
    fn a_rule_holds_at_every_door() {
        let refused = Action::Errno(EPERM);
        let mut policy = Policy::new(Arch::X86, refused, refused);
        policy.set("chown", Action::Allow).set("@network-io", Action::Allow).set("accept", Action::Trap);
        let answer = |policy: &Policy, call: &str, selector| {
            let number = Arch::X86.number(call).unwrap();
            policy.decide(&SeccompData::new(Arch::X86, number, [selector, 0, 0, 0, 0, 0]))
        };
        assert_eq!(answer(&policy, "chown32", 0), Action::Allow);
        assert_eq!(answer(&policy, "lchown32", 0), refused);
        for (selector, expected) in [
            (0, refused),
            (1, Action::Allow),
            (5, Action::Trap),
            (18, Action::Allow),
            (20, Action::Allow),
            (21, refused),
        ] {
            assert_eq!(answer(&policy, "socketcall", selector), expected, "{selector}");
        }
        assert_eq!(answer(&policy, "socketcall", 1 << 32 | 5), Action::Trap, "the kernel reads 32 bits");
        assert_eq!(answer(&policy, "ipc", 23), refused);
        // What depends on arguments cannot be seen there.
        policy.set("socket", Rule::always(Action::Allow).when([Condition::low32(0, Test::Eq(40))], refused));
        assert_eq!(answer(&policy, "socketcall", 1), Action::Errno(ENOSYS));
        assert_eq!(answer(&policy, "socketcall", 3), Action::Allow);
        policy.unset("chown").unset("connect");
        assert_eq!(answer(&policy, "chown32", 0), refused);
        assert_eq!(answer(&policy, "socketcall", 3), refused);
        // Named itself, whole.
        policy.set("socketcall", Action::Allow);
        assert_eq!(answer(&policy, "socketcall", 1), Action::Allow);
    }
}
