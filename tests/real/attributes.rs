//! How the payload's process is run: what it says the machine is, when the kernel
//! kills it. Read back from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::spec::{Init, Personality, UserNamespace};
use skep::sys::abi::cap;
use skep::{Command, ErrorKind};
use skep_tests::{HostState, field, run, skip, turn_to_start};

#[test]
fn the_machine_is_what_was_asked() {
    let Some(_turn) = turn_to_start() else { return };
    let (other, name) = match std::env::consts::ARCH {
        "x86_64" => (Personality::X86, "i686"),
        _ => (Personality::Arm, "armv8l"),
    };
    for init in [Init::Stub, Init::Payload] {
        let said = run(Command::new("uname").arg("-m").init(init).personality(other));
        assert_eq!(said.trim(), name);
        let said = run(Command::new("uname").arg("-m").init(init));
        assert_eq!(said.trim(), std::env::consts::ARCH);
    }
    let foreign = if other == Personality::X86 { Personality::Arm64 } else { Personality::X86_64 };
    let error = Command::new("true").personality(foreign).status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("this machine cannot be"), "{error}");
}

/// Whether this process holds a capability, which root may well not.
fn holds(number: u8) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    u64::from_str_radix(field(&status, "CapEff"), 16).unwrap() >> number & 1 == 1
}

fn own_score() -> i16 {
    std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap()
}

#[test]
fn the_kernel_kills_it_when_that_was_asked() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let own = own_score();
    let score = |command: &mut Command| {
        let script = "cat /proc/self/oom_score_adj /proc/1/oom_score_adj";
        let said = run(command.args(["-c", script]));
        said.split_whitespace().map(|word| word.parse::<i16>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(score(&mut Command::new("sh")), [own; 2]);
    for wanted in [own.max(0) + 1, 1000] {
        assert_eq!(score(Command::new("sh").oom_score_adjust(wanted)), [wanted; 2]);
        assert_eq!(score(Command::new("sh").oom_score_adjust(wanted).init(Init::Payload)), [wanted; 2]);
    }
    let lower = own - 1;
    if holds(cap::SYS_RESOURCE) {
        assert_eq!(score(Command::new("sh").oom_score_adjust(lower)), [lower; 2]);
        let mut command = Command::new("sh");
        command.oom_score_adjust(lower).user_namespace(UserNamespace::Host);
        assert_eq!(score(&mut command), [lower; 2]);
        // What root has set, the payload cannot lower.
        let mut command = Command::new("sh");
        command.args(["-c", "echo 6 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj"]);
        assert_eq!(run(command.oom_score_adjust(7)), "7\n");
    } else {
        let error = Command::new("true").oom_score_adjust(lower).status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        assert!(error.to_string().contains("takes CAP_SYS_RESOURCE"), "{error}");
        skip("lowering the score takes CAP_SYS_RESOURCE");
    }
    assert_eq!(own_score(), own);
    let error = Command::new("true").oom_score_adjust(1001).status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    before.assert_unchanged();
}
