//! The built-in filters: `strict`, the stub init's, and the one of systemd-nspawn.
//!
//! Each is an allow list: a call that exists and is not named gets `EPERM`, a number that
//! stands for nothing gets `ENOSYS` (`attacks.md` rows 91 and 97). So a call that a later
//! kernel adds stays closed, and programs fall back to what came before it.

use super::policy::{Action, Condition, EAFNOSUPPORT, ENOSYS, EPERM, EPROTONOSUPPORT, Policy, Rule, Test};
use super::table::Arch;

/// Groups that `strict` allows, before [`STRICT_WITHOUT`] and the rules on arguments.
#[rustfmt::skip]
const STRICT_GROUPS: &[&str] = &[
    "@aio", "@basic-io", "@chown", "@default", "@file-system", "@io-event", "@ipc", "@memlock", "@network-io", "@pkey",
    "@process", "@resources", "@sandbox", "@setuid", "@signal", "@sync", "@timer",
];

/// What the groups bring along and `strict` refuses all the same.
#[rustfmt::skip]
const STRICT_WITHOUT: &[&str] = &[
    // a large surface, and its operations pass by this filter (row 94)
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    // memory of other processes (row 109)
    "process_vm_readv", "process_vm_writev",
    // other namespaces
    "setns",
];

/// Single calls that `strict` allows beside the groups.
#[rustfmt::skip]
const STRICT_ALSO: &[&str] = &[
    "cachestat", "capget", "capset", "copy_file_range", "fadvise64", "flock", "futex_requeue", "futex_wait", "futex_wake",
    "get_mempolicy", "getcpu", "getpriority", "ioprio_get", "lsm_get_self_attr", "lsm_list_modules", "madvise",
    "map_shadow_stack", "mincore", "mremap", "process_mrelease", "readahead", "remap_file_pages", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sendfile",
    "setfsgid", "setfsuid", "setpgid", "setsid", "splice", "sysinfo", "tee", "umask", "uname", "vmsplice",
    // entered from the kernel's own trampoline when the host traces the program; refusing it kills the program
    "uprobe",
];

/// The namespace flags that clone(2) takes (`CLONE_NEW*` except time, whose bit is part of the exit signal there).
const CLONE_NEW: u64 = 0x7e02_0000;
/// `CLONE_NEWTIME`, for unshare(2).
const CLONE_NEWTIME: u64 = 0x80;

/// The filter of profile `strict`.
///
/// What it guarantees: shells, compilers, language runtimes and servers work; what changes the machine
/// (mounts, clock, modules, swap, quota, accounting), what reaches into other processes or namespaces, and
/// the parts of the kernel with the worst record (io_uring, bpf, perf, userfaultfd, keyrings, rare sockets) is
/// refused, also if a capability for it is held. Programs of another ABI are killed, unless a policy for
/// it goes into [`Policy::also`].
///
/// What it doesn't: it can't look behind pointers, so nothing here depends on a path or an address.
pub fn strict_default(arch: Arch) -> Policy {
    let mut policy = allow_list(arch, STRICT_GROUPS.iter().chain(STRICT_ALSO));
    for item in STRICT_WITHOUT {
        policy.unset(item);
    }
    let no_flag = |mask| Rule::always(Action::Errno(EPERM)).when([has(0, mask, 0)], Action::Allow);
    let mknod = |mode| {
        // Plain files, FIFOs, sockets; 0 means plain too. Devices are refused. The kernel reads 16 bits.
        [0, 0o100_000, 0o010_000, 0o140_000].into_iter().fold(Rule::always(Action::Errno(EPERM)), |rule, kind| {
            rule.when([has(mode, 0o170_000, kind)], Action::Allow)
        })
    };
    for (call, rule) in [
        ("clone", no_flag(CLONE_NEW)),
        ("unshare", no_flag(CLONE_NEW | CLONE_NEWTIME)),
        // Its flags lie in memory; libraries take ENOSYS as "use clone" (row 98).
        ("clone3", Rule::always(Action::Errno(ENOSYS))),
        ("ioctl", ioctl()),
        ("mknod", mknod(1)),
        ("mknodat", mknod(2)),
        // The query and the native personality. The rest switches protections off.
        (
            "personality",
            Rule::always(Action::Errno(EPERM))
                .when([is(0, 0)], Action::Allow)
                .when([is(0, 0xffff_ffff)], Action::Allow),
        ),
        ("socket", socket()),
        ("socketpair", Rule::always(Action::Errno(EAFNOSUPPORT)).when([is(0, AF_UNIX)], Action::Allow)),
    ] {
        if arch.number(call).is_some() {
            policy.set(call, rule);
        }
    }
    policy
}

/// Terminal commands that put input into a terminal (row 84) or load a line discipline (row 106).
fn ioctl() -> Rule {
    const TIOCSTI: u64 = 0x5412;
    const TIOCLINUX: u64 = 0x541c;
    const TIOCSETD: u64 = 0x5423;
    [TIOCSTI, TIOCLINUX, TIOCSETD]
        .into_iter()
        .fold(Rule::always(Action::Allow), |rule, command| rule.when([is(1, command)], Action::Errno(EPERM)))
}

const AF_UNIX: u64 = 1;
const AF_NETLINK: u64 = 16;

/// UNIX; INET and INET6 with their everyday protocols; NETLINK for routes (rows 105 and 106).
/// A protocol that is not listed (DCCP, SCTP, L2TP, SMC, …) would load its module on demand.
fn socket() -> Rule {
    const SOCK_TYPE_MASK: u64 = 0xf;
    const SOCK_RAW: u64 = 3;
    const SOCK_DCCP: u64 = 6;
    const NETLINK_ROUTE: u64 = 0;
    // AF_INET is 2, AF_INET6 is 10: equal but for one bit.
    let inet = has(0, 0xffff_fff7, 2);
    let refused = Action::Errno(EPROTONOSUPPORT);
    let mut rule = Rule::always(Action::Errno(EAFNOSUPPORT))
        .when([is(0, AF_UNIX)], Action::Allow)
        .when([is(0, AF_NETLINK), is(2, NETLINK_ROUTE)], Action::Allow)
        .when([inet, has(1, SOCK_TYPE_MASK, SOCK_DCCP)], refused)
        // Needs its capability, and takes every protocol without loading one.
        .when([inet, has(1, SOCK_TYPE_MASK, SOCK_RAW)], Action::Allow);
    // The type's default, ICMP, TCP, UDP, ICMPv6, MPTCP.
    for protocol in [0, 1, 6, 17, 58, 262] {
        rule = rule.when([inet, is(2, protocol)], Action::Allow);
    }
    rule.when([inet], refused)
}

/// All that the stub init calls.
#[rustfmt::skip]
const STUB_INIT: &[&str] = &[
    "close", "exit", "exit_group", "kill", "munmap", "poll", "ppoll", "read", "rt_sigprocmask", "rt_sigreturn",
    "rt_sigtimedwait", "wait4", "waitid", "write",
    // how the kernel goes on with a poll that a stop signal interrupted
    "restart_syscall",
];

/// The filter of the stub init: wait, forward signals, reap, exit; everything else `EPERM`.
pub fn stub_init(arch: Arch) -> Policy {
    let mut policy = allow_list(arch, STUB_INIT);
    policy.unknown = Action::Errno(EPERM);
    policy
}

/// Groups that systemd-nspawn allows whatever the capabilities.
#[rustfmt::skip]
const NSPAWN_GROUPS: &[&str] = &[
    "@aio", "@basic-io", "@chown", "@default", "@file-system", "@io-event", "@ipc", "@keyring", "@mount", "@network-io",
    "@process", "@resources", "@sandbox", "@setuid", "@signal", "@sync", "@timer",
];

/// Single calls that systemd-nspawn allows whatever the capabilities.
#[rustfmt::skip]
const NSPAWN_ALSO: &[&str] = &[
    "cachestat", "capget", "capset", "copy_file_range", "fadvise64", "flock", "get_mempolicy", "getcpu", "getpriority",
    "ioctl", "ioprio_get", "kcmp", "lsm_get_self_attr", "lsm_list_modules", "madvise", "mincore", "mremap",
    "name_to_handle_at", "personality", "readahead", "remap_file_pages", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sendfile", "setdomainname", "setfsgid",
    "setfsuid", "sethostname", "setpgid", "setsid", "splice", "sysinfo", "tee", "umask", "uname", "userfaultfd", "vmsplice",
];

/// Calls that systemd-nspawn allows if a capability (its number, from `linux/capability.h`) is retained.
#[rustfmt::skip]
const NSPAWN_BY_CAPABILITY: &[(u32, &[&str])] = &[
    (14, &["@memlock"]), // CAP_IPC_LOCK
    (16, &["@module"]),  // CAP_SYS_MODULE
    (17, &["@raw-io"]),  // CAP_SYS_RAWIO
    (19, &["ptrace", "process_vm_readv", "process_vm_writev"]), // CAP_SYS_PTRACE
    (20, &["acct"]),     // CAP_SYS_PACCT
    (22, &["reboot"]),   // CAP_SYS_BOOT
    (25, &["@clock"]),   // CAP_SYS_TIME
    (26, &["vhangup"]),  // CAP_SYS_TTY_CONFIG
    (34, &["syslog"]),   // CAP_SYSLOG
    (39, &["bpf"]),      // CAP_BPF
];

/// Those of them that systemd-nspawn retains unless it is told otherwise.
pub(crate) const NSPAWN_USUAL: u64 = 1 << 19 | 1 << 22 | 1 << 26;

/// The retained capabilities as far as the filter depends on them.
pub(crate) fn nspawn_asks(retained: u64) -> u64 {
    NSPAWN_BY_CAPABILITY.iter().map(|(capability, _)| retained & 1 << capability).sum()
}

/// The filter of systemd-nspawn 262 (`reference/nspawn.md` section 5.2): wide enough to boot a distribution.
///
/// `retained_capabilities` has bit N set if the payload keeps capability number N. Audit netlink sockets
/// give `EAFNOSUPPORT`, which audit programs take as "no audit here", also if the capability is kept.
/// For 32-bit programs, a policy for [`Arch::X86`] goes into [`Policy::also`]; `socketcall` is open there, as
/// in the original.
pub fn nspawn_default(arch: Arch, retained_capabilities: u64) -> Policy {
    const NETLINK_AUDIT: u64 = 9;
    let granted = NSPAWN_BY_CAPABILITY.iter().filter(|(capability, _)| retained_capabilities >> capability & 1 == 1);
    let mut policy =
        allow_list(arch, NSPAWN_GROUPS.iter().chain(NSPAWN_ALSO).chain(granted.flat_map(|(_, items)| *items)));
    policy.set(
        "socket",
        Rule::always(Action::Allow).when([is(0, AF_NETLINK), is(2, NETLINK_AUDIT)], Action::Errno(EAFNOSUPPORT)),
    );
    // Where the protocol is not seen, the rule is left out: it guards nothing that the kernel does
    // not, and a libc that makes its sockets by socketcall would have none.
    policy.put_part("socket", Action::Allow);
    policy
}

/// The ABIs whose calls systemd-nspawn lets through beside the native ones. Not x32, which
/// it has too: hardly a kernel is built with it, and those that are do not switch it on.
pub(crate) const fn nspawn_abis(native: Arch) -> &'static [Arch] {
    match native {
        Arch::X86_64 => &[Arch::X86],
        _ => &[],
    }
}

/// `EPERM` for calls not among the items, `ENOSYS` for numbers without a name.
fn allow_list<'i>(arch: Arch, items: impl IntoIterator<Item = &'i &'i str>) -> Policy {
    let mut policy = Policy::new(arch, Action::Errno(EPERM), Action::Errno(ENOSYS));
    for item in items {
        if item.starts_with('@') || arch.has(item) {
            policy.set(item, Action::Allow);
        }
    }
    policy
}

/// The argument is this, in the half that the kernel reads.
const fn is(arg: u8, value: u64) -> Condition {
    Condition::low32(arg, Test::Eq(value))
}

/// The argument's bits under the mask are these.
const fn has(arg: u8, mask: u64, value: u64) -> Condition {
    Condition::low32(arg, Test::MaskedEq { mask, value })
}
