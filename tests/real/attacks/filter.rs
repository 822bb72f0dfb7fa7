//! Section 5: the filter, and what of the kernel it leaves.
//!
//! Arguments are such that a call which the filter lets through fails otherwise
//! (EFAULT 14, EBADF 9, EINVAL 22, ESRCH 3, ENOENT 2), or harms nothing.

use skep::Command;
use skep::seccomp::Arch;
use skep::spec::{CapabilityList, Init};
use skep::sys::abi::CapabilitySet;
use skep_tests::{checked, everywhere, field, has, run, skip, turn_to_start};

use super::{EAFNOSUPPORT, ENOSYS, EPERM, answers, refused, refused_of};

/// A descriptor, an address and a process that are none.
const BAD: u64 = 0xffff_ffff;
const NONE: u64 = 1;
const NOBODY: u64 = 0x7fff_ffff;

#[test]
fn row_092_keyrings() {
    refused(
        &[("keyctl", &[0, 0, 0, 0, 0]), ("add_key", &[NONE, NONE, 0, 0, 0]), ("request_key", &[NONE, NONE, 0, 0])],
        &[EPERM],
    );
}

#[test]
fn row_093_userfaultfd() {
    refused(&[("userfaultfd", &[0])], &[EPERM, ENOSYS]);
    refused(&[("userfaultfd", &[1])], &[EPERM, ENOSYS]);
}

#[test]
fn row_094_io_uring() {
    refused(
        &[
            ("io_uring_setup", &[1, NONE]),
            ("io_uring_enter", &[BAD, 0, 0, 0, 0, 0]),
            ("io_uring_register", &[BAD, 0, 0, 0]),
        ],
        &[EPERM, ENOSYS],
    );
}

#[test]
fn row_095_bpf_and_counters() {
    refused(&[("bpf", &[0, NONE, 0]), ("bpf", &[9999, 0, 0]), ("perf_event_open", &[NONE, 0, BAD, BAD, 0])], &[EPERM]);
}

#[test]
fn row_096_every_call_that_mounts() {
    let group: &[(&str, &[u64])] = &[
        ("mount", &[NONE, NONE, NONE, 0, 0]),
        ("umount2", &[NONE, 0]),
        ("pivot_root", &[NONE, NONE]),
        ("open_tree", &[BAD, NONE, 0]),
        ("open_tree_attr", &[BAD, NONE, 0, NONE, 0]),
        ("move_mount", &[BAD, NONE, BAD, NONE, 0]),
        ("fsopen", &[NONE, 0]),
        ("fsconfig", &[BAD, 0, 0, 0, 0]),
        ("fsmount", &[BAD, 0, 0]),
        ("fspick", &[BAD, NONE, 0]),
        ("mount_setattr", &[BAD, NONE, 0, NONE, 0]),
    ];
    refused(group, &[EPERM]);
    // Also who holds rights over the mounts of the container.
    refused_of(group, &[EPERM], |command| {
        command.capabilities(CapabilityList(CapabilitySet(u64::MAX >> 23)));
    });
}

/// `CLONE_THREAD` and the like are in flags that no filter sees there.
#[test]
fn row_098_clone3_is_not_there_and_threads_start() {
    refused(&[("clone3", &[NONE, 0]), ("clone3", &[NONE, 88])], &[ENOSYS]);
    let Some(_turn) = turn_to_start() else { return };
    // This program, whose threads are the C library's.
    let mut command = Command::new("/srv/test");
    command.args(["--exact", "filter::threads", "--ignored", "--nocapture"]);
    command.bind_ro(std::env::current_exe().unwrap(), "/srv/test");
    let said = run(&mut command);
    assert!(said.contains("eight have said 28"), "{said}");
}

#[test]
#[ignore = "run by row_098_clone3_is_not_there_and_threads_start, inside"]
fn threads() {
    let threads: Vec<_> = (0..8).map(|number| std::thread::spawn(move || number)).collect();
    println!("eight have said {}", threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>());
}

#[test]
fn row_100_every_process_is_filtered() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [Init::Stub, Init::Payload] {
        let container = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).init(init).spawn().unwrap();
        let _further = container.exec("sleep").arg("1000").spawn().unwrap();
        let output = container.exec("sh").args(["-c", "cat /proc/[0-9]*/task/*/status"]).output().unwrap();
        let said = checked(output);
        let seen: Vec<&str> = said.lines().filter(|line| line.starts_with("Seccomp:")).collect();
        // The stub init, the payload, its child or children, the further processes.
        assert!(seen.len() >= 4, "{said}");
        assert!(seen.iter().all(|line| *line == "Seccomp:\t2"), "{seen:?}");
        assert!(said.split("Name:").skip(1).all(|status| field(status, "NoNewPrivs") == "1"), "{said}");
    }
}

/// The families of `linux/socket.h` beside UNIX, INET, INET6 and NETLINK, and what
/// is no family.
fn other_families() -> impl Iterator<Item = u64> {
    (0..=46).filter(|family| ![1, 2, 10, 16].contains(family)).chain([64, 255, 65_535, 0x7fff_ffff])
}

#[test]
fn row_105_other_families_of_sockets() {
    // As the kernel reads it: the low 32 bits.
    let high = [(0x1_0000_0000 | 40), 0xffff_ffff_0000_0011];
    let mut made: Vec<[u64; 3]> = Vec::new();
    for family in other_families().chain(high) {
        made.extend([1, 2, 3, 5, 10, 0x80002].map(|kind| [family, kind, 0]));
    }
    // Of netlink: routes alone.
    made.extend((1..=32).map(|protocol| [16, 3, protocol]));
    for calls in made.chunks(100) {
        let calls: Vec<(&str, &[u64])> = calls.iter().map(|call| ("socket", &call[..])).collect();
        refused(&calls, &[EAFNOSUPPORT]);
    }
    let pairs: Vec<[u64; 4]> = other_families().chain([2, 10, 16]).map(|family| [family, 1, 0, NONE]).collect();
    let pairs: Vec<(&str, &[u64])> = pairs.iter().map(|call| ("socketpair", &call[..])).collect();
    refused(&pairs, &[EAFNOSUPPORT]);
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let own = [[1, 1, 0], [1, 2, 0], [2, 1, 0], [2, 2, 0], [10, 1, 0], [10, 2, 0], [16, 3, 0]];
    let own: Vec<(&str, &[u64])> = own.iter().map(|call| ("socket", &call[..])).collect();
    for (place, said) in answers(&own, |_| ()) {
        assert!(said.lines().all(|line| line == "socket ok"), "{said} in a {place}");
    }
}

#[test]
fn row_106_no_module_is_loaded() {
    let Some(_turn) = turn_to_start() else { return };
    let modules = || std::fs::read_to_string("/proc/modules");
    let before = match modules() {
        Ok(before) => before,
        Err(error) => return skip(&format!("this kernel has no modules: /proc/modules: {error}")),
    };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut made: Vec<[u64; 3]> = (0..=46).flat_map(|family| [1, 2, 3, 5].map(|kind| [family, kind, 0])).collect();
    // Protocols that load one: DCCP, SCTP, UDP-Lite, L2TP; of netlink all.
    made.extend([33, 132, 136, 115].into_iter().flat_map(|protocol| [[2, 6, protocol], [2, 2, protocol]]));
    made.extend((0..32).map(|protocol| [16, 3, protocol]));
    for part in made.chunks(100) {
        let part: Vec<(&str, &[u64])> = part.iter().map(|call| ("socket", &call[..])).collect();
        answers(&part, |_| ());
    }
    // File systems, formats of programs and line disciplines load them as well.
    everywhere(
        "mount -t minix none /tmp 2>/dev/null; printf '\\377\\376\\375\\374' >/tmp/x$$; chmod +x /tmp/x$$; /tmp/x$$ 2>/dev/null; true",
    );
    let now = names(&modules().unwrap());
    let before = names(&before);
    assert!(now.is_subset(&before), "loaded: {:?}", now.difference(&before).collect::<Vec<_>>());
}

#[test]
fn row_109_other_processes_memory_and_descriptors() {
    refused(
        &[
            ("ptrace", &[16, NOBODY, 0, 0]),
            ("ptrace", &[0, 0, 0, 0]),
            ("process_vm_readv", &[NOBODY, 0, 0, 0, 0, 0]),
            ("process_vm_writev", &[NOBODY, 0, 0, 0, 0, 0]),
            ("kcmp", &[NOBODY, NOBODY, 0, 0, 0]),
            ("pidfd_getfd", &[BAD, 0, 0]),
        ],
        &[EPERM],
    );
}

/// What changes the machine.
const ADMINISTRATIVE: &[(&str, &[u64])] = &[
    ("settimeofday", &[NONE, 0]),
    ("clock_settime", &[99, NONE]),
    ("clock_adjtime", &[99, NONE]),
    ("adjtimex", &[NONE]),
    ("reboot", &[0, 0, 0, 0]),
    ("swapon", &[NONE, 0]),
    ("swapoff", &[NONE]),
    ("kexec_load", &[0, 0, 0, 0xffff]),
    ("kexec_file_load", &[BAD, BAD, 0, 0, 0xffff]),
    ("init_module", &[NONE, 0, NONE]),
    ("finit_module", &[BAD, NONE, 0]),
    ("delete_module", &[NONE, 0]),
    ("quotactl", &[0xffff_ff00, NONE, 0, 0]),
    ("quotactl_fd", &[BAD, 0xffff_ff00, 0, 0]),
    ("acct", &[NONE]),
    ("syslog", &[99, NONE, 0]),
    ("iopl", &[4]),
    ("ioperm", &[BAD, BAD, 1]),
    ("personality", &[0x0004_0000]),
    ("personality", &[0x0040_0000]),
    ("vhangup", &[]),
    ("lookup_dcookie", &[0, NONE, 0]),
    ("nfsservctl", &[99, 0, 0]),
];

#[test]
fn row_110_administrative_calls() {
    refused(ADMINISTRATIVE, &[EPERM]);
    // Whatever was granted for something else.
    refused_of(ADMINISTRATIVE, &[EPERM], |command| {
        command.capabilities(CapabilityList(CapabilitySet(u64::MAX >> 23)));
    });
}

/// Row 97, where the list of a kernel ends.
#[test]
fn row_097_a_number_that_no_call_has() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let numbers: Vec<u32> = (Arch::NATIVE.highest() + 1..=1023).step_by(7).collect();
    let script: String =
        numbers.iter().map(|number| format!("syscall({number},0,0,0,0,0,0);print $!+0,\" \";")).collect();
    for (place, said) in everywhere(&format!("perl -e '{script}'")) {
        assert!(said.split_whitespace().all(|answer| answer == ENOSYS), "{said} in a {place}");
    }
}
