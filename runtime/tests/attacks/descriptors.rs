//! Section 2: descriptors.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use skep::Phase;
use skep::spec::Descriptor;
use skep::sys::abi::{OpenFlags, Resolve, Seals, TreeFlags};
use skep::sys::wire::Blob;
use skep::sys::{At, Cell, Errno, Kernel as _, Linux, Op, OwnedSlots, Proof, Slot};

use super::starts::{host, payload, verified};
use super::{ALL, execs, ops, spec, starts};

/// Each op that makes a descriptor, on this kernel: close-on-exec from the first
/// moment, for no later call would be soon enough.
#[test]
fn row_027_what_is_opened_is_close_on_exec() {
    let mut kernel = Linux::new();
    let mut slots = OwnedSlots::new(16);
    let path = |into| Op::OpenAt2 {
        dir: At::Cwd,
        path: c"/dev/null",
        flags: OpenFlags::READ_WRITE,
        mode: 0,
        resolve: Resolve::NO_MAGICLINKS,
        into,
    };
    let memfd = Op::MemFd { name: c"x", content: Blob(b"x"), seals: Seals::WRITE, executable: false, into: Slot(1) };
    let (one, other, read, write) = (Slot(2), Slot(3), Slot(4), Slot(5));
    for op in [
        path(Slot(0)),
        memfd,
        Op::SocketPair { one, other },
        Op::Pipe { read, write },
        Op::Socket { family: 1, kind: 2, into: Slot(6) },
        Op::SignalFd { into: Slot(7) },
        Op::OpenTree { dir: At::Cwd, path: c"/", flags: TreeFlags::NONE, into: Slot(8) },
    ] {
        kernel.call(&op, &mut slots.slots()).unwrap_or_else(|errno| panic!("{op}: {errno}"));
    }
    for slot in 0..9 {
        let file: BorrowedFd<'_> = slots.borrow(Slot(slot)).unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert!(flags & 0o2_000_000 != 0, "slot {slot}: {info}");
    }
}

#[test]
fn row_029_what_is_passed_is_proved_to_be_no_directory() {
    let spec = spec(|spec| {
        spec.descriptors = [5, 6].map(Descriptor::new).into();
        spec.descriptors[1].danger_directory = true;
    });
    for root in [false, true] {
        let plan = verified(&spec, root);
        let proofs = ops(plan.plan(), ALL).filter(|op| matches!(op, Op::Prove { proof: Proof::Passable, .. }));
        assert_eq!(proofs.count(), 1);
        let said = plan.plan().report().of("descriptor 6").unwrap().to_string();
        assert!(said.contains("whatever it is"), "{said}");
    }
}

/// Any set of numbers, also those under which the start has its own.
#[test]
fn row_030_any_numbers_arrive() {
    let mut state = 12_345_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for _ in 0..60 {
        let count = 1 + next() % 6;
        let numbers: std::collections::BTreeSet<u32> = (0..count).map(|_| 3 + next() % 40).collect();
        let spec = spec(|spec| spec.descriptors = numbers.iter().copied().map(Descriptor::new).collect());
        let mut model = host(false);
        skep::rehearse(&mut model, &verified(&spec, false)).unwrap();
        let held: Vec<u32> =
            model.process(payload(&spec)).unwrap().descriptors().iter().map(|file| file.number as u32).collect();
        let wanted: Vec<u32> = [0, 1, 2].into_iter().chain(numbers).collect();
        assert_eq!(held, wanted);
    }
}

/// A process is named by its pidfd; a number alone is nobody's name.
#[test]
fn row_032_a_process_is_found_by_its_pidfd() {
    let plans = starts().into_iter().map(|(name, _, plan)| (name, plan)).chain(execs());
    for (name, verified) in plans {
        for op in ops(verified.plan(), ALL) {
            if let Op::OpenAt2 { path, .. } | Op::OpenTree { path, .. } | Op::Write { path, .. } = op {
                let path = path.to_str().unwrap_or_default();
                let by_number =
                    path.strip_prefix("/proc/").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(!by_number && !path.starts_with("/proc/self"), "{name}: {op}");
            }
        }
    }
}

/// A number that somebody else has by now opens nothing.
#[test]
fn row_032_a_number_that_was_used_again_is_nobodys() {
    let (pid, pidfd, into) = (Slot(0), Slot(1), Slot(2));
    let (mut kernel, mut slots) = (Linux::new(), OwnedSlots::new(3));
    let mut child = std::process::Command::new("true").spawn().unwrap();
    slots.slots().put(pid, Cell::Value(child.id().into())).unwrap();
    kernel.call(&Op::PidfdOpen { pid, into: pidfd }, &mut slots.slots()).unwrap();
    kernel.call(&Op::OpenProcess { pid, pidfd, into }, &mut slots.slots()).unwrap();
    kernel.call(&Op::Close { file: into }, &mut slots.slots()).unwrap();
    child.wait().unwrap();
    // This process lives; the one behind the pidfd does not.
    slots.slots().put(pid, Cell::Value(std::process::id().into())).unwrap();
    let found = kernel.call(&Op::OpenProcess { pid, pidfd, into }, &mut slots.slots());
    assert_eq!(found, Err(Errno::ESRCH));
    assert!(slots.borrow(into).is_none());
}

/// What the embedder does for a child it does by the child's directory, proved
/// by the pidfd to be the child's.
#[test]
fn row_043_maps_go_to_the_process_that_is_held() {
    for (name, _, verified) in starts() {
        let mut process = None;
        for op in ops(verified.plan(), &[Phase::Attend]) {
            match op {
                Op::OpenProcess { into, .. } => process = Some(into),
                Op::Write { dir, path, .. } if path.to_bytes().ends_with(b"_map") || path == c"setgroups" => {
                    assert_eq!(Some(dir), process.map(At::Slot), "{name}: {op}");
                }
                _ => {}
            }
        }
    }
}
