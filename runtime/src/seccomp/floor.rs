//! The floor of a filter: what no group opens by accident, and whether a
//! finished filter opens it all the same.

use super::program::Program;
use super::table::Arch;

/// Calls that have led out of containers, or past a filter, and need no rare
/// capability to be tried, or rule the host where they have theirs.
#[rustfmt::skip]
pub(crate) const FLOOR: &[&str] = &[
    // a large surface, and its operations pass by this filter (row 94)
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    // memory and files of other processes (row 109)
    "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    // other namespaces; its flags lie in memory (row 98)
    "setns", "clone3",
    // code in the kernel, and what has helped to get some there
    "bpf", "perf_event_open", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load",
    // files by number (row 9), the hardware, another processor mode
    "open_by_handle_at", "iopl", "ioperm", "modify_ldt",
    // sockets whose family nobody can see
    "socketcall",
];

/// Calls that are everyday ones but for these arguments.
const ARGUMENTS: &[(&str, [u64; 6])] = &[
    ("clone", [0x1000_0000, 0, 0, 0, 0, 0]),
    ("unshare", [0x1000_0000, 0, 0, 0, 0, 0]),
    ("ioctl", [0, 0x5412, 0, 0, 0, 0]),
    ("mknod", [0, 0o020_000, 0, 0, 0, 0]),
    ("mknodat", [0, 0, 0o020_000, 0, 0, 0]),
    ("personality", [0x0004_0000, 0, 0, 0, 0, 0]),
    // AF_ALG stands for the rare families.
    ("socket", [38, 5, 0, 0, 0, 0]),
];

/// Whether a call is part of the floor, whatever its arguments.
pub(crate) fn is_floor(call: &str) -> bool {
    FLOOR.contains(&call)
}

/// Whether whoever names a call asks for something dangerous: it is of the
/// floor, or `strict` allows it but for some arguments.
pub(crate) fn is_dangerous(call: &str) -> bool {
    is_floor(call) || call == "socketpair" || ARGUMENTS.iter().any(|(known, _)| *known == call)
}

/// What of the floor a filter lets through by one ABI, or leaves to a listener,
/// in the order of the list.
pub(crate) fn opened(program: &Program, arch: Arch) -> Vec<&'static str> {
    let probes = FLOOR.iter().map(|call| (*call, [0; 6])).chain(ARGUMENTS.iter().copied());
    let runs =
        |(call, args): &(&str, [u64; 6])| arch.doors(call, *args).iter().any(|data| program.decide(data).may_permit());
    probes.filter(runs).map(|(call, _)| call).collect()
}

/// The same by every ABI, in words; those of another than the native one stand
/// after its name. `None` if nothing is open.
pub(crate) fn summary(program: &Program) -> Option<String> {
    summary_for(program, Arch::NATIVE)
}

/// As on a machine of another architecture.
pub(super) fn summary_for(program: &Program, native: Arch) -> Option<String> {
    let parts = program.tables().into_iter().filter_map(|arch| {
        let calls = opened(program, arch).join(" ");
        match arch {
            _ if calls.is_empty() => None,
            _ if arch == native => Some(calls),
            _ => Some(format!("{}: {calls}", arch.label())),
        }
    });
    Some(parts.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}
