//! How the payload's process is run: what it says the machine is, when the kernel
//! kills it, how it is scheduled; and sysctls. Read back from inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::spec::{
    Init, IoPriority, Namespace, NamespaceChoice, Network, NumberList, Personality, SchedulingPolicy, UserNamespace,
    Want,
};
use skep::sys::abi::cap;
use skep::{Command, ErrorKind};
use skep_tests::{HostState, everywhere, everywhere_with, field, has, run, skip, turn_to_start};

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

/// The first processor that this process may use, and how many there are.
fn processors() -> (u32, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = field(&status, "Cpus_allowed_list").to_owned();
    let first = list.split([',', '-']).next().unwrap().parse().unwrap();
    (first, std::thread::available_parallelism().unwrap().get())
}

#[test]
fn it_runs_on_the_processors_that_were_named() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let (first, count) = processors();
    for init in [Init::Stub, Init::Payload] {
        let list = NumberList::parse(&first.to_string()).unwrap();
        let status =
            run(Command::new("cat").args(["/proc/self/status", "/proc/1/status"]).cpu_affinity(list).init(init));
        let lists: Vec<&str> = status.lines().filter_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).collect();
        assert_eq!(lists, vec![first.to_string(); 2]);
    }
    let error = Command::new("true").cpu_affinity(NumberList::parse("0,8000").unwrap()).status().unwrap_err();
    assert_eq!(error.errno().map(|errno| errno.raw()), Some(22), "{error}");
    assert!(error.to_string().contains("Cpus_allowed_list"), "{error}");
    assert!(Command::new("true").cpu_affinity(NumberList::parse("8192").unwrap()).status().is_err());
    assert_eq!(processors(), (first, count));
    before.assert_unchanged();
}

/// Fields of `proc_pid_stat(5)`, by their number.
const STAT: &str = "set -- $(sed 's/.*) //' /proc/self/stat); echo ${17} ${38} ${39}";

#[test]
fn it_is_scheduled_as_was_asked() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    // nice, rt_priority, policy
    let of = |change: &dyn Fn(&mut Command) -> &mut Command| {
        let mut command = Command::new("sh");
        command.args(["-c", STAT]);
        change(&mut command);
        run(&mut command).trim().to_owned()
    };
    let own = of(&|command| command);
    let nice: i8 = own.split(' ').next().unwrap().parse().unwrap();
    let higher = (nice + 3).min(19);
    assert_eq!(of(&|command| command.nice(higher)), format!("{higher} 0 0"));
    assert_eq!(of(&|command| command.scheduling_policy(SchedulingPolicy::Batch)), format!("{nice} 0 3"));
    let idle = SchedulingPolicy::Idle;
    assert_eq!(of(&|command| command.scheduling_policy(idle).init(Init::Payload)), format!("{nice} 0 5"));
    let fifo = SchedulingPolicy::Fifo { priority: 7 };
    if holds(cap::SYS_NICE) {
        assert_eq!(of(&|command| command.scheduling_policy(fifo)), format!("{nice} 7 1"));
        assert_eq!(of(&|command| command.nice(nice - 2)), format!("{} 0 0", nice - 2));
    } else {
        for error in [
            Command::new("true").scheduling_policy(fifo).status().unwrap_err(),
            Command::new("true").nice(nice - 1).status().unwrap_err(),
            Command::new("true").io_priority(IoPriority::RealTime { level: 0 }).status().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotPermitted);
            assert!(error.to_string().contains("takes CAP_SYS_NICE"), "{error}");
        }
    }
    for error in [
        Command::new("true").nice(20).status().unwrap_err(),
        Command::new("true").scheduling_policy(fifo).nice(1).status().unwrap_err(),
        Command::new("true").scheduling_policy(SchedulingPolicy::Idle).nice(1).status().unwrap_err(),
        Command::new("true").io_priority(IoPriority::BestEffort { level: 8 }).status().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
    }
    assert_eq!(of(&|command| command), own);
    before.assert_unchanged();
}

#[test]
fn disks_are_asked_as_was_asked() {
    let Some(_turn) = turn_to_start() else { return };
    if !std::path::Path::new("/usr/bin/ionice").exists() {
        skip("there is no ionice to ask the kernel with");
        return;
    }
    let mut wanted = vec![(IoPriority::BestEffort { level: 6 }, "best-effort: prio 6"), (IoPriority::Idle, "idle")];
    if holds(cap::SYS_NICE) {
        wanted.push((IoPriority::RealTime { level: 1 }, "realtime: prio 1"));
    }
    for (priority, said) in wanted {
        // The default filter has no ioprio_get.
        let mut command = Command::new("ionice");
        command.io_priority(priority).danger_no_filter();
        assert_eq!(run(&mut command).trim(), said);
    }
}

#[test]
fn row_077_sysctls_of_its_own_namespaces_are_set() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let of_host = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let start = of_host();
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ip_forward; \
                  echo 5 >/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let mut command = Command::new("sh");
    command.args(["-c", script]).sysctl("net.ipv4.ip_unprivileged_port_start", "77").sysctl("net/ipv4/ip_forward", "1");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "77\n1\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "/proc/sys is read-only");
    // Since Linux 5.19 those of ipc namespaces are their owners' to set.
    let mut command = Command::new("cat");
    command.args(["/proc/sys/kernel/shmmni", "/proc/sys/fs/mqueue/msg_max"]);
    assert_eq!(run(command.sysctl("kernel.shmmni", "99").sysctl("fs.mqueue.msg_max", "7")), "99\n7\n");

    let kind = |command: &mut Command| command.status().unwrap_err();
    for name in ["kernel.core_pattern", "vm.swappiness", "user.max_user_namespaces", "kernel.semantics"] {
        let error = kind(Command::new("true").sysctl(name, "1"));
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        assert!(error.to_string().contains("belongs to the host"), "{error}");
    }
    for (name, value) in [
        ("kernel.hostname", "a"),
        ("net.ipv4..x", "1"),
        ("net/../kernel/core_pattern", "1"),
        ("net.ipv4.ip_forward", "1\n0"),
        ("net.ipv4.ip_forward", ""),
        ("net.ipv4.ip_forward", "1\0"),
    ] {
        assert_eq!(kind(Command::new("true").sysctl(name, value)).kind(), ErrorKind::InvalidSpec, "{name}");
    }
    let error = kind(Command::new("true").sysctl("net.ipv4.ip_forward", "1").network(Network::Host));
    assert!(error.to_string().contains("not the container's own"), "{error}");
    let mut shared = NamespaceChoice::default();
    shared.ipc = Namespace::Host;
    let error = kind(Command::new("true").sysctl("kernel.sem", "1 2 3 4").namespaces(shared));
    assert!(error.to_string().contains("not the container's own"), "{error}");
    let error = kind(Command::new("true").sysctl("net.ipv4.nothing_of_the_kind", "1"));
    assert!(error.to_string().contains("ENOENT"), "{error}");
    let twice = kind(Command::new("true").sysctl("net.ipv4.ip_forward", "1").sysctl("net/ipv4/ip_forward", "1"));
    assert!(twice.to_string().contains("are one"), "{twice}");
    assert_eq!(of_host(), start);
    before.assert_unchanged();
}

/// A page of its own memory that is written, then made executable: `ok` or the error.
#[test]
fn row_111_a_written_page_is_not_made_executable() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let number = |name| skep::seccomp::Arch::NATIVE.number(name).unwrap();
    // Private and anonymous, readable and writable; read(2) of nothing would not write.
    let script = format!(
        "$at = syscall({}, 0, 4096, 3, 0x22, -1, 0); open Z, q(/dev/zero);
         syscall({}, fileno(Z), $at, 100) == 100 or die; $r = syscall({}, $at, 4096, 5); print $r < 0 ? $!+0 : q(ok)",
        number("mmap"),
        number("read"),
        number("mprotect")
    );
    let script = format!("perl -e '{script}'");
    for (place, said) in everywhere(&script) {
        assert_eq!(said, "ok", "{place}: not asked for");
    }
    let mut asked = Command::new("true");
    if let Err(error) = asked.memory_deny_write_execute(Want::Require).status() {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        return skip(&error.to_string());
    }
    let denied = everywhere_with(&script, |command| {
        command.memory_deny_write_execute(Want::Require);
    });
    for (place, said) in denied {
        assert_eq!(said, "13", "EACCES in a {place}");
    }
}

#[test]
fn memory_that_was_written_is_not_executed() {
    let Some(_turn) = turn_to_start() else { return };
    if !std::path::Path::new("/usr/bin/python3").exists() {
        skip("there is no python3 to map memory with");
        return;
    }
    let script = "import mmap\n\
        try: mmap.mmap(-1, 4096, prot=mmap.PROT_READ|mmap.PROT_WRITE|mmap.PROT_EXEC); print('mapped')\n\
        except PermissionError: print('refused')";
    let python = || {
        let mut command = Command::new("python3");
        command.args(["-c", script]);
        command
    };
    assert_eq!(run(&mut python()), "mapped\n");
    for init in [Init::Stub, Init::Payload] {
        match python().init(init).memory_deny_write_execute(Want::Require).output() {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "refused\n"),
            Err(error) if error.kind() == ErrorKind::Unsupported => return skip(&error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_further_process_is_kept_from_it_too() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let mut command = Command::new("sleep");
    command.arg("1000").memory_deny_write_execute(Want::Require);
    let container = match command.spawn() {
        Ok(container) => container,
        Err(error) if error.kind() == ErrorKind::Unsupported => return skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    // PR_GET_MDWE
    let number = if cfg!(target_arch = "x86_64") { 157 } else { 167 };
    let script = format!("print syscall({number}, 66, 0, 0, 0, 0)");
    let output = container.exec("perl").args(["-e", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1");
}
