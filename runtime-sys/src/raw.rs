//! System calls as registers: the only place where a value becomes one.
//!
//! No libc and no `errno`: the child of a shared-memory clone must not touch a
//! thread-local, and stage B has none.
#![allow(unsafe_code)]

use crate::errno::Errno;

macro_rules! numbers {
    ($($name:ident = $x86:literal, $generic:literal;)*) => {
        /// System-call numbers of this architecture.
        #[allow(dead_code, reason = "stage B uses fewer than the library")]
        pub(crate) mod nr {
            $(
                #[cfg(target_arch = "x86_64")]
                pub(crate) const $name: usize = $x86;
                #[cfg(target_arch = "aarch64")]
                pub(crate) const $name: usize = $generic;
            )*

            /// For the test that compares this table with libc's.
            #[cfg(test)]
            pub(crate) const TABLE: &[(&str, usize)] = &[$((stringify!($name), $name),)*];
        }
    };
}

numbers! {
    BPF = 321, 280;
    BIND = 49, 200;
    CAPGET = 125, 90;
    CAPSET = 126, 91;
    CHDIR = 80, 49;
    CLOCK_GETTIME = 228, 113;
    CLONE = 56, 220;
    CLONE3 = 435, 435;
    CLOSE = 3, 57;
    CLOSE_RANGE = 436, 436;
    COPY_FILE_RANGE = 326, 285;
    DUP3 = 292, 24;
    EXECVE = 59, 221;
    EXECVEAT = 322, 281;
    EXIT = 60, 93;
    EXIT_GROUP = 231, 94;
    FACCESSAT2 = 439, 439;
    FCHDIR = 81, 50;
    FCHMOD = 91, 52;
    FCHMODAT = 268, 53;
    FCHOWNAT = 260, 54;
    FCNTL = 72, 25;
    FLOCK = 73, 32;
    FSCONFIG = 431, 431;
    FSMOUNT = 432, 432;
    FSOPEN = 430, 430;
    FSTAT = 5, 80;
    FSTATFS = 138, 44;
    FTRUNCATE = 77, 46;
    GETCWD = 79, 17;
    GETDENTS64 = 217, 61;
    GETGROUPS = 115, 158;
    GETPID = 39, 172;
    GETPPID = 110, 173;
    GETRESGID = 120, 150;
    GETRESUID = 118, 148;
    GETXATTR = 191, 8;
    IOCTL = 16, 29;
    IOPRIO_SET = 251, 30;
    KEYCTL = 250, 219;
    KILL = 62, 129;
    LANDLOCK_ADD_RULE = 445, 445;
    LANDLOCK_CREATE_RULESET = 444, 444;
    LANDLOCK_RESTRICT_SELF = 446, 446;
    LINKAT = 265, 37;
    LISTXATTR = 194, 11;
    LSEEK = 8, 62;
    MADVISE = 28, 233;
    MEMFD_CREATE = 319, 279;
    MKDIRAT = 258, 34;
    MKNODAT = 259, 33;
    MMAP = 9, 222;
    MOUNT_SETATTR = 442, 442;
    MOVE_MOUNT = 429, 429;
    MUNMAP = 11, 215;
    NANOSLEEP = 35, 101;
    OPEN_TREE = 428, 428;
    OPENAT2 = 437, 437;
    PERSONALITY = 135, 92;
    PIDFD_OPEN = 434, 434;
    PIDFD_SEND_SIGNAL = 424, 424;
    PIPE2 = 293, 59;
    PIVOT_ROOT = 155, 41;
    PPOLL = 271, 73;
    PRCTL = 157, 167;
    PREAD64 = 17, 67;
    PRLIMIT64 = 302, 261;
    PWRITE64 = 18, 68;
    READ = 0, 63;
    READLINKAT = 267, 78;
    RECVFROM = 45, 207;
    RECVMSG = 47, 212;
    REMOVEXATTR = 197, 14;
    RENAMEAT2 = 316, 276;
    RT_SIGACTION = 13, 134;
    RT_SIGPROCMASK = 14, 135;
    RT_SIGTIMEDWAIT = 128, 137;
    SCHED_GETAFFINITY = 204, 123;
    SCHED_SETAFFINITY = 203, 122;
    SCHED_SETATTR = 314, 274;
    SECCOMP = 317, 277;
    SENDMSG = 46, 211;
    SENDTO = 44, 206;
    SETDOMAINNAME = 171, 162;
    SETGROUPS = 116, 159;
    SETHOSTNAME = 170, 161;
    SETNS = 308, 268;
    SETRESGID = 119, 149;
    SETRESUID = 117, 147;
    SETSID = 112, 157;
    SETSOCKOPT = 54, 208;
    SETXATTR = 188, 5;
    SIGNALFD4 = 289, 74;
    SOCKET = 41, 198;
    SOCKETPAIR = 53, 199;
    STATX = 332, 291;
    SYMLINKAT = 266, 36;
    UMASK = 95, 166;
    UMOUNT2 = 166, 39;
    UNAME = 63, 160;
    UNLINKAT = 263, 35;
    UNSHARE = 272, 97;
    UTIMENSAT = 280, 88;
    WAIT4 = 61, 260;
    WAITID = 247, 95;
    WRITE = 1, 64;
}

/// Makes one system call with six argument words.
///
/// All six are always given: some calls (`prctl`) refuse rubbish in the
/// words that they do not use.
///
/// # Safety
///
/// Every word that the call `number` takes for a pointer must be valid for
/// what the call does with it, and the call must not break an invariant of
/// this process (closing a descriptor that somebody owns, unmapping memory).
#[inline(always)]
pub(crate) unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = args;
    let result: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's calling convention on x86_64: arguments in these
    // registers, rcx and r11 clobbered, memory as the caller promised.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's calling convention on aarch64.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    outcome(result)
}

/// `clone(2)` in shared memory: the child begins with a call of `entry`, on a stack
/// that ends at `stack`; the kernel clears the word at `alive` when it has let go of
/// this memory (`CLONE_CHILD_CLEARTID`).
///
/// # Safety
///
/// `stack` must be aligned to 16, with room below it that nobody else uses; it and
/// `alive` must stay mapped until that word is cleared, and so must all that `$entry`
/// refers to.
#[cfg(skep_stage)]
macro_rules! clone_onto {
    ($flags:expr, $stack:expr, $alive:expr, $argument:expr, $entry:path) => {{
        let (flags, stack, alive, argument): (usize, usize, usize, usize) = ($flags, $stack, $alive, $argument);
        let result: usize;
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call {entry}",
            "ud2",
            "2:",
            entry = sym $entry,
            inlateout("rax") $crate::raw::nr::CLONE => result,
            in("rdi") flags,
            in("rsi") stack,
            in("rdx") 0_usize,
            in("r10") alive,
            in("r8") 0_usize,
            in("r12") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, #0",
            "mov x30, #0",
            "mov x0, x9",
            "bl {entry}",
            "brk #1",
            "2:",
            entry = sym $entry,
            in("x8") $crate::raw::nr::CLONE,
            inlateout("x0") flags => result,
            in("x1") stack,
            in("x2") 0_usize,
            in("x3") 0_usize,
            in("x4") alive,
            in("x9") argument,
        );
        $crate::raw::outcome(result)
    }};
}
#[cfg(skep_stage)]
pub(crate) use clone_onto;

/// The kernel's way to say "failed": the last 4095 values are negated errnos.
#[inline(always)]
pub(crate) fn outcome(result: usize) -> Result<usize, Errno> {
    let negated = result.wrapping_neg();
    if negated.wrapping_sub(1) < 4095 { Err(Errno::from_raw(negated as u16)) } else { Ok(result) }
}

/// Whether the kernel has given this program more rights than who started it
/// has: set-user-ID, set-group-ID, or capabilities of its file (`AT_SECURE`,
/// `getauxval(3)`).
#[cfg(not(skep_stage))]
#[must_use]
pub fn secure_execution() -> bool {
    // SAFETY: it reads the auxiliary vector, which never changes, and takes a number.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Of memory, in bytes (`AT_PAGESZ`).
#[cfg(not(skep_stage))]
pub(crate) fn page_size() -> usize {
    // SAFETY: as above. The kernel always gives this one; 0 would be "none".
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
    size.max(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_splits_results_from_errnos() {
        assert_eq!(outcome(0), Ok(0));
        assert_eq!(outcome(7), Ok(7));
        assert_eq!(outcome(usize::MAX), Err(Errno::EPERM));
        assert_eq!(outcome(4095_usize.wrapping_neg()), Err(Errno::from_raw(4095)));
        assert_eq!(outcome(4096_usize.wrapping_neg()), Ok(4096_usize.wrapping_neg()));
    }

    #[test]
    fn a_call_succeeds_and_one_fails() {
        // SAFETY: getpid takes no argument; closing descriptor -1 closes nothing.
        let (pid, closed) = unsafe { (syscall(nr::GETPID, [0; 6]), syscall(nr::CLOSE, [usize::MAX, 0, 0, 0, 0, 0])) };
        assert_eq!(pid, Ok(std::process::id() as usize));
        assert_eq!(closed, Err(Errno::EBADF));
    }

    #[test]
    fn numbers_are_those_of_libc() {
        let known = [
            ("OPENAT2", libc::SYS_openat2),
            ("CLONE3", libc::SYS_clone3),
            ("MOUNT_SETATTR", libc::SYS_mount_setattr),
            ("EXECVEAT", libc::SYS_execveat),
            ("CAPSET", libc::SYS_capset),
            ("SECCOMP", libc::SYS_seccomp),
            ("CLOSE_RANGE", libc::SYS_close_range),
            ("PIVOT_ROOT", libc::SYS_pivot_root),
            ("PRCTL", libc::SYS_prctl),
            ("PIDFD_SEND_SIGNAL", libc::SYS_pidfd_send_signal),
            ("SCHED_SETAFFINITY", libc::SYS_sched_setaffinity),
            ("SCHED_GETAFFINITY", libc::SYS_sched_getaffinity),
            ("SCHED_SETATTR", libc::SYS_sched_setattr),
            ("IOPRIO_SET", libc::SYS_ioprio_set),
        ];
        for (name, number) in known {
            let ours = nr::TABLE.iter().find(|row| row.0 == name).map(|row| row.1);
            assert_eq!(ours, Some(number as usize), "{name}");
        }
    }
}
