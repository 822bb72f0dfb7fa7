//! What needs policy, emitter and simulator together: every number of the built-in filters, the emitter
//! against the plain reading of the policy, and against another implementation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::table::EVERY;
use super::*;
use crate::spec::{Denial, Family, SystemCalls};

const ALLOW: Action = Action::Allow;
const NO: Action = Action::Errno(EPERM);
const NONE: Action = Action::Errno(ENOSYS);
const NO_FAMILY: Action = Action::Errno(EAFNOSUPPORT);
const NO_PROTOCOL: Action = Action::Errno(EPROTONOSUPPORT);

fn ask(policy: &Policy, program: &Program, name: &str, args: &[u64]) -> Action {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    let call = SeccompData::new(policy.arch, policy.arch.number(name).unwrap_or_else(|| panic!("{name}")), six);
    let answer = program.decide(&call);
    assert_eq!(answer, policy.decide(&call), "{name} {args:x?}: program and policy differ");
    answer
}

/// Calls of the architecture that get `EPERM` whatever the arguments.
fn refused(policy: &Policy) -> BTreeSet<&'static str> {
    let never = |name: &str| {
        policy.rules.get(name).map_or(policy.unlisted, |rule| rule.otherwise) == NO
            && policy.rules.get(name).is_none_or(|rule| rule.clauses.is_empty())
    };
    policy.arch.calls().map(|(_, name)| name).filter(|name| never(name)).collect()
}

fn names(text: &'static str) -> BTreeSet<&'static str> {
    text.split_whitespace().collect()
}

/// `attacks.md` row 97, for each built-in filter.
#[test]
fn row_097_every_number_has_its_documented_answer() {
    for arch in EVERY {
        for policy in [strict_default(arch), stub_init(arch), nspawn_default(arch, 0), nspawn_default(arch, u64::MAX)] {
            let program = compile(&policy).expect("compiles");
            assert!(program.ignored().is_empty());
            Program::from_instructions(program.instructions().to_vec()).expect("the kernel takes it");
            let refused = refused(&policy);
            let half = |nr: u32| nr & !X32_BIT | arch.numbers().start();
            for nr in (0..1024).map(half).chain([X32_BIT - 1, u32::MAX >> 1, u32::MAX]) {
                let call = SeccompData::new(arch, nr, [0; 6]);
                let answer = program.decide(&call);
                assert_eq!(answer, policy.decide(&call), "{arch:?} {nr}");
                match arch.name(nr) {
                    None if arch.audit() == Arch::X86_64.audit() && !arch.is_of(&call) => assert_eq!(answer, NONE),
                    None => assert_eq!(answer, policy.unknown, "{nr}"),
                    Some(name) if refused.contains(name) => assert_eq!(answer, NO, "{name}"),
                    Some("clone3") if policy.rules["clone3"] == Rule::always(NONE) => {
                        assert_eq!(answer, NONE)
                    }
                    Some(name) => {
                        let by_arguments = matches!(name, "socket" | "socketpair" | "socketcall" | "ipc");
                        assert!(answer.permits() || by_arguments, "{name} {answer:?}")
                    }
                }
            }
        }
    }
}

/// The whole list, so that a change of a group shows here.
#[test]
fn strict_refuses_exactly_these() {
    let both = "acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init fanotify_mark finit_module fsconfig
        fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load kexec_load keyctl
        lookup_dcookie lsm_set_self_attr memfd_secret mount mount_setattr move_mount name_to_handle_at nfsservctl open_by_handle_at
        open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace quotactl quotactl_fd
        reboot request_key setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 userfaultfd vhangup";
    let x86_64 = "_sysctl afs_syscall create_module get_kernel_syms getpmsg ioperm iopl modify_ldt putpmsg query_module security sysfs
        tuxcall uselib ustat vserver";
    assert_eq!(refused(&strict_default(Arch::Aarch64)), names(both));
    assert_eq!(refused(&strict_default(Arch::X86_64)), &names(both) | &names(x86_64));
    let not_x32 = "_sysctl create_module get_kernel_syms nfsservctl query_module uselib vserver";
    assert_eq!(refused(&strict_default(Arch::X32)), &(&names(both) | &names(x86_64)) - &names(not_x32));
    // Of another name, or without anything in the kernel.
    let x86 = "umount clock_settime64 clock_adjtime64 stime vm86 vm86old
        break bdflush ftime gtty idle lock mpx prof profil stty ulimit";
    let not_x86 = "security tuxcall kexec_file_load";
    assert_eq!(
        refused(&strict_default(Arch::X86)),
        &(&(&names(both) | &names(x86_64)) | &names(x86)) - &names(not_x86)
    );
}

/// `reference/nspawn.md` section 5.2: the set seen under 262 with its default capabilities
/// (without calls newer than the table; the last line, never implemented on x86-64, was not probed there).
#[test]
fn nspawn_refuses_what_the_original_refuses() {
    // Retained by default there: everything but what the next list tests.
    let default_capabilities = [19, 22, 26].iter().fold(0, |set, bit| set | 1u64 << bit);
    let seen = "acct adjtimex bpf clock_adjtime clock_settime delete_module fanotify_init fanotify_mark finit_module
        futex_requeue futex_wait futex_wake init_module ioperm iopl kexec_file_load kexec_load lookup_dcookie lsm_set_self_attr
        map_shadow_stack memfd_secret mlock mlock2 mlockall modify_ldt munlock munlockall open_by_handle_at perf_event_open
        pidfd_getfd pkey_alloc pkey_free pkey_mprotect process_mrelease quotactl quotactl_fd settimeofday swapoff swapon sysfs
        syslog uprobe ustat
        _sysctl afs_syscall create_module get_kernel_syms getpmsg nfsservctl putpmsg query_module security tuxcall uselib vserver";
    assert_eq!(refused(&nspawn_default(Arch::X86_64, default_capabilities)), names(seen));
    let all = nspawn_default(Arch::X86_64, u64::MAX);
    for (call, answer) in
        [("bpf", ALLOW), ("acct", ALLOW), ("iopl", ALLOW), ("mlock", ALLOW), ("swapon", NO), ("kexec_load", NO)]
    {
        assert_eq!(ask(&all, &compile(&all).expect("compiles"), call, &[]), answer, "{call}");
    }
    let program = compile(&all).expect("compiles");
    assert_eq!(ask(&all, &program, "socket", &[16, 3, 9]), NO_FAMILY);
    assert_eq!(ask(&all, &program, "socket", &[16 | 1 << 32, 3, 9 | 1 << 40]), NO_FAMILY);
    assert_eq!(ask(&all, &program, "socket", &[16, 3, 0]), ALLOW);
    assert_eq!(ask(&all, &program, "socket", &[40, 1, 0]), ALLOW);
}

#[test]
fn row_098_strict_on_arguments() {
    const HIGH: u64 = 0xdead_beef << 32;
    for arch in EVERY {
        let policy = strict_default(arch);
        let program = compile(&policy).expect("compiles");
        for (name, args, answer) in [
            ("clone", &[17][..], ALLOW),
            ("clone", &[0x003d_0f00], ALLOW), // glibc's threads
            ("clone", &[HIGH | 17], ALLOW),
            ("clone", &[0x0002_0000], NO),
            ("clone", &[0x1000_0011], NO),
            ("clone", &[HIGH | 0x1000_0011], NO),
            ("clone3", &[0, 88], NONE),
            ("unshare", &[0x400], ALLOW),
            ("unshare", &[0x80], NO),
            ("unshare", &[0x7e02_0080], NO),
            ("unshare", &[HIGH | 0x4000_0000], NO),
            ("ioctl", &[0, 0x5401], ALLOW),
            ("ioctl", &[0, 0x5412], NO),
            ("ioctl", &[0, HIGH | 0x5412], NO), // row 84
            ("ioctl", &[0, HIGH | 0x541c], NO),
            ("ioctl", &[0, 0x5423], NO),
            ("personality", &[0], ALLOW),
            ("personality", &[0xffff_ffff], ALLOW),
            ("personality", &[u64::MAX], ALLOW),
            ("personality", &[0x0004_0000], NO),
            ("personality", &[8], NO),
            ("mknodat", &[0, 0, 0o100_644], ALLOW),
            ("mknodat", &[0, 0, 0o644], ALLOW),
            ("mknodat", &[0, 0, 0o010_600], ALLOW),
            ("mknodat", &[0, 0, 0o140_600], ALLOW),
            ("mknodat", &[0, 0, 0o020_600], NO),
            ("mknodat", &[0, 0, 0o060_600], NO),
            ("mknodat", &[0, 0, HIGH | 0o020_600], NO),
            ("fchmodat", &[0, 0, 0o4755], ALLOW),
            ("socket", &[1, 1, 0], ALLOW),
            ("socket", &[2, 0x8_0801, 6], ALLOW),
            ("socket", &[10, 2, 0], ALLOW),
            ("socket", &[2, 2, 1], ALLOW),
            ("socket", &[10, 1, 262], ALLOW),
            ("socket", &[2, 3, 255], ALLOW), // CAP_NET_RAW decides
            ("socket", &[2, 6, 0], NO_PROTOCOL),
            ("socket", &[2, 0x806, 33], NO_PROTOCOL),
            ("socket", &[2, 1, 132], NO_PROTOCOL),
            ("socket", &[10, 1, 256], NO_PROTOCOL),
            ("socket", &[16, 3, 0], ALLOW),
            ("socket", &[HIGH | 16, 3, HIGH], ALLOW),
            ("socket", &[16, 3, 12], NO_FAMILY),
            ("socket", &[16, 3, 9], NO_FAMILY),
            ("socketpair", &[1, 1, 0], ALLOW),
            ("socketpair", &[2, 1, 0], NO_FAMILY),
        ] {
            assert_eq!(ask(&policy, &program, name, args), answer, "{arch:?} {name} {args:x?}");
        }
        for family in (0..64).filter(|family| ![1, 2, 10, 16].contains(family)) {
            assert_eq!(ask(&policy, &program, "socket", &[family, 3, 0]), NO_FAMILY, "family {family}");
        }
    }
}

#[test]
fn other_abis() {
    for policy in [strict_default(Arch::X86_64), stub_init(Arch::X86_64), nspawn_default(Arch::X86_64, 0)] {
        let program = compile(&policy).expect("compiles");
        for nr in (0..1024).map(|nr| nr | X32_BIT) {
            assert_eq!(program.decide(&SeccompData::new(Arch::X86_64, nr, [0; 6])), NONE, "x32 {nr:#x}");
        }
        for audit in [0x4000_0003, Arch::Aarch64.audit(), 0] {
            let call = SeccompData { arch: audit, ..SeccompData::new(Arch::X86_64, 0, [0; 6]) };
            assert_eq!(program.decide(&call), Action::KillProcess);
        }
    }
    // A deny list must not be passed by way of x32.
    let mut open = Policy::new(Arch::X86_64, ALLOW, ALLOW);
    open.set("ptrace", NO);
    let program = compile(&open).expect("compiles");
    assert_eq!(program.decide(&SeccompData::new(Arch::X86_64, 521 | X32_BIT, [0; 6])), NONE);
    assert_eq!(program.decide(&SeccompData::new(Arch::X86_64, 101, [0; 6])), NO);
}

/// Arguments that some rule looks at.
const ARGUMENTS: [[u64; 6]; 9] = [
    [0; 6],
    [0x1000_0000, 0, 0, 0, 0, 0],
    [0, 0x5412, 0, 0, 0, 0],
    [0, 0o020_000, 0o020_000, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [2, 1, 132, 0, 0, 0],
    [10, 1, 6, 0, 0, 0],
    [16, 3, 9, 0, 0, 0],
    [40, 1, 0, 0, 0, 0],
];

/// What a call is answered natively, it is answered at each door that another ABI has for it: or
/// ENOSYS, where its arguments cannot be seen. And a door that stands open is one of a call that runs.
fn the_same_at_every_door(policy: &Policy, besides: &[&str]) {
    let program = compile(policy).expect("compiles");
    let decide = |data: &SeccompData| {
        let answer = program.decide(data);
        assert_eq!(answer, policy.decide(data), "{data:?}");
        answer
    };
    for other in policy.also.iter().map(|also| also.arch) {
        let mut open = BTreeSet::new();
        for (number, name) in policy.arch.calls() {
            for args in ARGUMENTS {
                let native = decide(&SeccompData::new(policy.arch, number, args));
                for door in other.doors(name, args) {
                    let answer = decide(&door);
                    let part = other.number(name) != Some(door.nr) && door.args != args;
                    let unseen = part && answer == NONE;
                    let named = other.name(door.nr).is_some_and(|name| besides.contains(&name));
                    assert!(answer == native || unseen || named, "{name} by {door:?}: {answer:?}, and {native:?}");
                    if answer.may_permit() {
                        open.insert((door.nr, door.args[0] & if part { 31 } else { 0 }));
                    }
                }
            }
        }
        for (nr, name) in other.calls() {
            for part in other.selectors(name) {
                let runs = decide(&SeccompData::new(other, nr, [part, 0, 0, 0, 0, 0])).may_permit();
                assert!(!runs || open.contains(&(nr, part)) || open.contains(&(nr, 0)), "{other:?} {name} {part}");
            }
        }
    }
}

fn with_others(of: impl Fn(Arch) -> Policy) -> Policy {
    let mut policy = of(Arch::X86_64);
    policy.also = vec![of(Arch::X86), of(Arch::X32)];
    policy
}

#[test]
fn other_abis_have_the_same_policy() {
    the_same_at_every_door(&with_others(strict_default), &[]);
    the_same_at_every_door(&with_others(|arch| nspawn_default(arch, 0)), &["socketcall"]);
    the_same_at_every_door(&with_others(|arch| nspawn_default(arch, u64::MAX)), &["socketcall"]);
    // What a 32-bit libc calls for everything, and what it must not have by that.
    let policy = with_others(strict_default);
    let program = compile(&policy).expect("compiles");
    let by_socketcall = |part| program.decide(&SeccompData::new(Arch::X86, 102, [part, 0xffff_d000, 0, 0, 0, 0]));
    assert_eq!((by_socketcall(1), by_socketcall(8)), (NONE, NONE), "whose families nobody sees");
    for part in [2, 3, 4, 5, 9, 10, 16, 18, 20] {
        assert_eq!(by_socketcall(part), ALLOW, "{part}");
    }
    assert_eq!((by_socketcall(0), by_socketcall(21)), (NO, NO));
    let by_ipc = |part| program.decide(&SeccompData::new(Arch::X86, 117, [part, 0, 0, 0, 0, 0]));
    assert_eq!((by_ipc(1), by_ipc(23), by_ipc(5), by_ipc(1 << 16 | 23)), (ALLOW, ALLOW, NO, NO));
    assert_eq!(program.abis(), ["x86-64", "x86", "x32"]);
    assert_eq!(floor::summary(&program), None);
    // Numbers of x32 without their bit are nobody's, and those with it that are x86-64's alone.
    for nr in (512..548).chain([X32_BIT | 16, X32_BIT | 101, X32_BIT | 336]) {
        assert_eq!(program.decide(&SeccompData::new(Arch::X86_64, nr, [0; 6])), NONE, "{nr:#x}");
    }
}

/// `attacks.md` row 103: small, and few steps for each call.
#[test]
fn row_103_programs_are_small() {
    for arch in EVERY {
        for (policy, most, steps) in
            [(strict_default(arch), 260, 60), (stub_init(arch), 50, 10), (nspawn_default(arch, 0), 140, 24)]
        {
            let program = compile(&policy).expect("compiles");
            let length = program.instructions().len();
            println!("{arch:?}: {length} instructions");
            assert!(length <= most, "{length} instructions");
            for nr in arch.numbers() {
                let taken = program.run(&SeccompData::new(arch, nr, [u64::MAX; 6])).1;
                assert!(taken <= steps, "{nr}: {taken} steps");
            }
            let read = program.run(&SeccompData::new(arch, arch.number("read").expect("a call"), [0; 6])).1;
            assert!(read <= 12, "read: {read} steps");
        }
    }
}

/// `attacks.md` row 102.
#[test]
fn row_102_names_that_do_not_exist() {
    let mut policy = Policy::new(Arch::X86_64, NO, NONE);
    policy.set("raed", ALLOW).set("@flie-system", Action::Log).set("chown32", NO).set("read", ALLOW);
    assert_eq!(compile(&policy).expect("compiles").ignored(), ["@flie-system", "raed"]);
    for (name, rule) in [
        ("moutn", Rule::always(NO)),
        ("@moutn", Rule::always(Action::Notify)),
        ("moutn", Rule::always(ALLOW).when([Condition::low32(0, Test::Eq(1))], NO)),
    ] {
        let mut policy = policy.clone();
        policy.set(name, rule);
        assert_eq!(compile(&policy), Err(CompileError::UnknownName { name: name.to_owned() }));
    }
}

#[test]
fn conditions_that_cannot_hold() {
    for condition in [
        Condition::low32(6, Test::Eq(0)),
        Condition::low32(0, Test::Eq(1 << 32)),
        Condition::low32(0, Test::Ne(1 << 32)),
        Condition::low32(0, Test::MaskedEq { mask: 1 << 40, value: 0 }),
        Condition::full(0, Test::MaskedEq { mask: 6, value: 1 }),
        Condition::full(0, Test::Range { min: 2, max: 1 }),
        Condition::low32(0, Test::Range { min: 0, max: u64::MAX }),
    ] {
        let mut policy = Policy::new(Arch::X86_64, ALLOW, NONE);
        policy.set("read", Rule::always(ALLOW).when([condition], NO));
        assert_eq!(compile(&policy), Err(CompileError::NeverHolds { name: "read".to_owned(), condition }));
    }
    let mut policy = Policy::new(Arch::X86_64, ALLOW, NONE);
    policy.set("read", Action::Errno(4096));
    assert_eq!(compile(&policy), Err(CompileError::BadErrno(4096)));
}

/// Jumps beyond 255 instructions, and the limit of 4096.
#[test]
fn long_programs() {
    let long = |clauses: u64| {
        let mut policy = Policy::new(Arch::X86_64, NO, NONE);
        for (salt, call) in (1u64..).zip(["read", "ioctl", "openat", "prctl", "mseal"]) {
            let rule = (0..clauses).fold(Rule::always(Action::Trap), |rule, value| {
                rule.when(
                    [Condition::full(1, Test::Eq(value << 32 | salt)), Condition::low32(2, Test::Ne(value))],
                    Action::Errno((value % 7) as u16),
                )
            });
            policy.set(call, rule);
        }
        policy
    };
    let policy = long(70);
    let program = compile(&policy).expect("compiles");
    assert!(program.instructions().len() > 2000);
    Program::from_instructions(program.instructions().to_vec()).expect("the kernel takes it");
    for (nr, _) in policy.arch.calls() {
        for salt in 0..7 {
            for value in 0..72 {
                for third in [value, 1 << 32 | value, 99] {
                    let call = SeccompData::new(policy.arch, nr, [0, value << 32 | salt, third, 0, 0, 0]);
                    assert_eq!(program.decide(&call), policy.decide(&call), "{nr} {salt} {value}");
                }
            }
        }
    }
    assert!(matches!(compile(&long(400)), Err(CompileError::TooLong(_))));
}

/// Few values, so that random conditions and random arguments meet.
fn value() -> impl Strategy<Value = u64> {
    let half = prop_oneof![Just(0u64), Just(1), Just(2), Just(6), Just(0x5412), Just(0x8000_0000), Just(0xffff_ffff)];
    (half.clone(), half).prop_map(|(high, low)| high << 32 | low)
}

fn condition() -> impl Strategy<Value = Condition> {
    let test = (0..4, value(), value()).prop_map(|(kind, a, b)| match kind {
        0 => Test::Eq(a),
        1 => Test::Ne(a),
        2 => Test::MaskedEq { mask: a, value: a & b },
        _ => Test::Range { min: a.min(b), max: a.max(b) },
    });
    (0u8..6, any::<bool>(), test).prop_map(|(arg, full, test)| {
        let low = u64::from(u32::MAX);
        match test {
            _ if full => Condition::full(arg, test),
            Test::Eq(value) => Condition::low32(arg, Test::Eq(value & low)),
            Test::Ne(value) => Condition::low32(arg, Test::Ne(value & low)),
            Test::MaskedEq { mask, value } => {
                Condition::low32(arg, Test::MaskedEq { mask: mask & low, value: value & low })
            }
            Test::Range { min, max } => {
                Condition::low32(arg, Test::Range { min: (min & low).min(max & low), max: (min & low).max(max & low) })
            }
        }
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(ALLOW),
        Just(Action::Log),
        (0u16..40).prop_map(Action::Errno),
        Just(Action::Notify),
        Just(Action::Trace(3)),
        Just(Action::Trap),
        Just(Action::KillThread),
        Just(Action::KillProcess)
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let clause = (prop::collection::vec(condition(), 0..4), action()).prop_map(|(when, then)| Clause { when, then });
    (prop::collection::vec(clause, 0..4), action()).prop_map(|(clauses, otherwise)| Rule { clauses, otherwise })
}

/// A policy, and perhaps some for other ABIs.
fn policy() -> impl Strategy<Value = Policy> {
    let any = || policy_of(prop::sample::select(&EVERY[..]));
    (any(), prop::collection::vec(any(), 0..3)).prop_map(|(mut policy, also)| {
        policy.also.extend(also);
        policy
    })
}

fn items(of: &'static [&'static str]) -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(prop::sample::select(of).prop_map(str::to_owned), 0..3)
}

fn policy_of(arch: impl Strategy<Value = Arch>) -> impl Strategy<Value = Policy> {
    (arch, action(), action(), action(), prop::collection::vec((0u32..470, rule()), 0..60)).prop_map(
        |(arch, unlisted, unknown, foreign, rules)| {
            let mut policy = Policy::new(arch, unlisted, unknown);
            policy.foreign_abi = foreign;
            for (nr, rule) in rules {
                if let Some(name) = arch.name(nr | arch.numbers().start()) {
                    policy.set(name, rule);
                }
            }
            policy
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The emitter against the plain reading of the policy.
    #[test]
    fn the_program_answers_as_the_policy(policy in policy(), args in prop::collection::vec(prop::array::uniform6(value()), 8), foreign in any::<u32>()) {
        let program = compile(&policy).expect("compiles");
        prop_assert!(Program::from_instructions(program.instructions().to_vec()).is_ok());
        for args in args {
            for arch in EVERY {
                for nr in arch.numbers().chain([X32_BIT - 1, X32_BIT, X32_BIT | 59, X32_BIT | 520, u32::MAX]) {
                    let call = SeccompData::new(arch, nr, args);
                    prop_assert_eq!(program.decide(&call), policy.decide(&call), "{:?} {} {:x?}", arch, nr, args);
                }
            }
            let call = SeccompData { arch: foreign, ..SeccompData::new(policy.arch, 0, args) };
            prop_assert_eq!(program.decide(&call), policy.decide(&call));
        }
    }

    /// Against the `seccompiler` crate: the same allow list, compiled by both.
    #[test]
    fn seccompiler_agrees(
        rules in prop::collection::btree_map(0u32..463, prop::collection::vec(prop::collection::vec(condition(), 1..4), 0..3), 0..40),
        arch in prop::sample::select(&Arch::ALL[..]),
        args in prop::collection::vec(prop::array::uniform6(value()), 6),
    ) {
        let mut policy = Policy::new(arch, NO, NO);
        let mut theirs = BTreeMap::new();
        for (nr, clauses) in rules {
            let Some(name) = arch.name(nr) else { continue };
            theirs.insert(i64::from(nr), clauses.iter().map(|when| oracle_rule(when)).collect());
            // Without conditions their rule always matches.
            let otherwise = if clauses.is_empty() { ALLOW } else { NO };
            policy.set(name, clauses.into_iter().fold(Rule::always(otherwise), |rule, when| rule.when(when, ALLOW)));
        }
        let program = compile(&policy).expect("compiles");
        let oracle = oracle(theirs, arch);
        for args in args {
            for nr in 0..1024 {
                let call = SeccompData::new(arch, nr, args);
                prop_assert_eq!(program.decide(&call), oracle.decide(&call), "{} {:x?}", nr, args);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a caller changes, it changes for every ABI.
    #[test]
    fn changes_hold_at_every_door(
        allow in items(&["@clock", "@mount", "@process", "@network-io", "kcmp", "accept", "semop", "umount2"]),
        danger in items(&["bpf", "clone", "socket", "setns", "ioctl"]),
        deny in items(&["@ipc", "@file-system", "@time", "mmap", "chown", "connect", "semget", "fcntl", "futex", "socketpair"]),
        notify in items(&["@keyring", "mkdirat", "stat", "getuid", "shmat"]),
        families in prop::option::of(prop::collection::btree_set(prop::sample::select(&[Family::UNIX, Family::INET][..]), 0..2)),
        strict in any::<bool>(),
    ) {
        let mut calls = SystemCalls::default();
        (calls.allow, calls.danger_allow) = (allow, danger);
        calls.deny = deny.into_iter().filter(|item| item != "@time").map(|item| (item, Denial::Kill)).collect();
        let restricted = families.is_some();
        calls.sockets.only = families;
        calls.notify = notify;
        let mut policy = if strict { with_others(strict_default) } else { with_others(|arch| nspawn_default(arch, 0)) };
        prop_assume!(policy.adjust(&calls, strict).is_ok() && policy.notify(&calls, &["close"]).is_ok());
        the_same_at_every_door(&policy, if strict || restricted { &[] } else { &["socketcall"] });
    }
}

/// Conditions in `seccompiler`'s words; it has no range, so a range is two comparisons.
fn oracle_rule(when: &[Condition]) -> seccompiler::SeccompRule {
    use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};
    let mut conditions = Vec::new();
    for condition in when {
        let length = match condition.width {
            Width::Low32 => SeccompCmpArgLen::Dword,
            Width::Full => SeccompCmpArgLen::Qword,
        };
        let mut add = |operator, value| {
            conditions.push(SeccompCondition::new(condition.arg, length.clone(), operator, value).expect("valid"))
        };
        match condition.test {
            Test::Eq(value) => add(SeccompCmpOp::Eq, value),
            Test::Ne(value) => add(SeccompCmpOp::Ne, value),
            Test::MaskedEq { mask, value } => add(SeccompCmpOp::MaskedEq(mask), value),
            Test::Range { min, max } => {
                add(SeccompCmpOp::Ge, min);
                add(SeccompCmpOp::Le, max);
            }
        }
    }
    seccompiler::SeccompRule::new(conditions).expect("valid")
}

fn oracle(rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>>, arch: Arch) -> Program {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
        // Their compiler has no second ABI.
        Arch::X86 | Arch::X32 => unreachable!(),
    };
    let filter = SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, target).expect("valid");
    let program: BpfProgram = filter.try_into().expect("compiles");
    let instructions = program.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k });
    Program::from_instructions(instructions.collect()).expect("the kernel takes theirs too")
}
