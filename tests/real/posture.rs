//! What a payload is, by its own account and the kernel's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use skep::spec::{CapabilityList, Init, Network, Readiness, User};
use skep::sys::abi::{CapabilitySet, cap};
use skep::{Command, Outcome};
use skep_tests::{HostState, field, is_root, run, shell, skip, turn_to_start};

#[test]
fn a_payload_holds_no_capability_and_cannot_get_one() {
    let Some(_turn) = turn_to_start() else { return };
    let status = shell("cat /proc/self/status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
}

#[test]
fn another_user_holds_no_capability_either() {
    let Some(_turn) = turn_to_start() else { return };
    let status = run(Command::new("cat").arg("/proc/self/status").user(User::Ids { uid: 1000, gid: 1000 }));
    assert_eq!(field(&status, "Uid").split_whitespace().collect::<Vec<_>>(), ["1000"; 4]);
    assert_eq!(field(&status, "Gid").split_whitespace().collect::<Vec<_>>(), ["1000"; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
}

#[test]
fn granted_capabilities_are_those_and_no_other() {
    let Some(_turn) = turn_to_start() else { return };
    let granted = CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE);
    let bit = format!("{:016x}", granted.0);
    let status = run(Command::new("cat").arg("/proc/self/status").capabilities(CapabilityList(granted)));
    for (set, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", &bit),
        ("CapEff", &bit),
        ("CapBnd", &bit),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(field(&status, set), value, "{set} of root");
    }
    let status = run(Command::new("cat")
        .arg("/proc/self/status")
        .user(User::Ids { uid: 7, gid: 7 })
        .capabilities(CapabilityList(granted))
        .ambient(CapabilityList(granted)));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), bit, "{set} of another user");
    }
}

#[test]
fn only_the_three_streams_are_open() {
    let Some(_turn) = turn_to_start() else { return };
    // Descriptors without close-on-exec, as a careless embedder has them.
    let leaks: Vec<std::fs::File> = (0..40).map(|_| std::fs::File::open("/etc").unwrap()).collect();
    for leak in &leaks {
        fcntl(leak, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    let listed = shell("ls /proc/self/fd; echo; readlink /proc/self/fd/0");
    drop(leaks);
    // 3 is ls's own descriptor of the directory.
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "/dev/null"]);
}

/// What a file in memory holds, under each number.
fn passed(command: &mut Command, numbers: &[u32]) -> String {
    for number in numbers {
        command.fd(*number, memory(&format!("<{number}>")));
    }
    let script = "for n in $0; do eval \"cat <&$n\"; done; echo; ls /proc/self/fd | tr '\\n' ' '";
    let shown: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    run(command.args(["-c", script, &shown.join(" ")]))
}

fn memory(content: &str) -> std::fs::File {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::{Seek as _, Write as _};
    let mut file = std::fs::File::from(memfd_create("passed", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(content.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn descriptors_arrive_under_their_numbers_and_no_other_does() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    // Numbers that the embedder and the start use themselves, in any order.
    for init in [Init::Stub, Init::Payload] {
        for numbers in [&[3][..], &[5, 4, 3, 6, 7, 8, 9], &[9, 30, 4, 200, 1000], &[3, 4, 5, 6, 7, 8, 9]] {
            // dash takes one digit; bash is everywhere where this runs.
            let said = passed(Command::new("bash").init(init), numbers);
            let (contents, listed) = said.split_once('\n').unwrap();
            let expected: String = numbers.iter().map(|number| format!("<{number}>")).collect();
            assert_eq!(contents, expected, "{numbers:?}");
            // ls has its own directory under the lowest number that is free.
            let free = (3..).find(|number| !numbers.contains(number)).unwrap();
            let mut all: Vec<u32> = [0, 1, 2, free].into_iter().chain(numbers.iter().copied()).collect();
            let mut seen: Vec<u32> = listed.split_whitespace().map(|number| number.parse().unwrap()).collect();
            all.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, all);
        }
    }
    before.assert_unchanged();
}

#[test]
fn passed_sockets_are_announced() {
    let Some(_turn) = turn_to_start() else { return };
    for (init, pid) in [(Init::Stub, 2), (Init::Payload, 1)] {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $LISTEN_FDS $LISTEN_PID $$"]).init(init).listen_fds([memory(""), memory("")]);
        assert_eq!(run(&mut command), format!("2 {pid} {pid}\n"));
    }
}

#[test]
fn a_directory_is_passed_only_by_its_name_of_danger() {
    let Some(_turn) = turn_to_start() else { return };
    let directory = || std::fs::File::open("/etc").unwrap();
    let handle = nix::fcntl::open("/etc/passwd", nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty()).unwrap();
    for (file, what) in [(directory().into(), "directory"), (handle, "O_PATH")] {
        let error = Command::new("true").fd(3, file).spawn().unwrap_err();
        assert!(error.to_string().contains("descriptor 3") && error.to_string().contains("O_PATH"), "{what}: {error}");
    }
    let mut command = Command::new("readlink");
    command.arg("/proc/self/fd/3").danger_directory_fd(3, directory());
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        command.plan().unwrap().report().of("descriptor 3"),
        Some(&Outcome::Applied("passed, whatever it is".to_owned()))
    );
    for number in [0, 2, 1024, u32::MAX] {
        assert!(Command::new("true").fd(number, memory("")).spawn().is_err(), "{number}");
    }
    let mut nobody = skep::Spec::default();
    nobody.command = vec!["true".into()];
    nobody.descriptors = vec![skep::spec::Descriptor::new(3)];
    let error = Command::from(nobody).spawn().unwrap_err();
    assert!(error.to_string().contains("nobody gave one"), "{error}");
}

#[test]
fn the_environment_is_the_documented_one() {
    let Some(_turn) = turn_to_start() else { return };
    let environment = run(Command::new("/usr/bin/env").env("MINE", "1"));
    let mut names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "LOGNAME", "MINE", "PATH", "USER", "container"]);
}

#[test]
fn no_mount_of_the_host_is_left() {
    let Some(_turn) = turn_to_start() else { return };
    let mountinfo = shell("cat /proc/self/mountinfo");
    let points: Vec<&str> = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{mountinfo}");
    for line in mountinfo.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields[5].split(',').any(|option| option == "nosuid"), "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
        let known = ["/", "/usr", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc/alternatives", "/etc/ld.so.cache"];
        let below = known
            .iter()
            .any(|place| fields[4] == *place || (*place != "/" && fields[4].starts_with(&format!("{place}/"))));
        assert!(below, "{line}");
        if fields[4] == "/usr" {
            assert!(fields[5].starts_with("ro,"), "{line}");
        }
        if !fields[4].starts_with("/dev") {
            assert!(fields[5].contains("nodev"), "{line}");
        }
    }
}

#[test]
fn parents_of_the_root_are_the_root() {
    let Some(_turn) = turn_to_start() else { return };
    let numbers = shell(
        "stat -c %d:%i / /.. /../../../.. /proc/1/root 2>/dev/null || true; cd /../../..; ls -d etc; ls /../../root /..",
    );
    let lines: Vec<&str> = numbers.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0], lines[2]);
    assert!(!numbers.contains("lost+found"), "{numbers}");
}

#[test]
fn no_process_of_the_host_is_visible() {
    let Some(_turn) = turn_to_start() else { return };
    let listed = shell("ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; cat /proc/1/cmdline | tr '\\0' ' '");
    let count: u32 = listed.lines().next().unwrap().parse().unwrap();
    assert!(count <= 5, "{listed}");
    assert!(listed.contains("skep"), "{listed}");
}

#[test]
fn the_session_is_its_own_and_has_no_terminal() {
    let Some(_turn) = turn_to_start() else { return };
    let answer = shell("ps -o sid= -p $$ 2>/dev/null || awk '{print $6}' /proc/self/stat; (: < /dev/tty) 2>&1 || true");
    assert!(answer.contains("No such device"), "{answer}");
    let own = nix::unistd::getsid(None).unwrap().to_string();
    assert_ne!(answer.lines().next().unwrap().trim(), own);
}

/// perl's `syscall` reports the kernel's errno without a compiler inside.
fn errno_of(call: &str) -> String {
    shell(&format!("perl -e '$r = syscall({call}); print $r < 0 ? $!+0 : \"ok\"'"))
}

#[test]
#[cfg(target_arch = "x86_64")]
fn dangerous_calls_are_refused() {
    let Some(_turn) = turn_to_start() else { return };
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return skip("perl is not installed");
    }
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    for (call, expected, name) in [
        ("165, 0, 0, 0, 0, 0", EPERM, "mount"),
        ("166, 0, 0", EPERM, "umount2"),
        ("155, 0, 0", EPERM, "pivot_root"),
        ("161, 0", EPERM, "chroot"),
        ("272, 0x10000000", EPERM, "unshare of a user namespace"),
        ("56, 0x10000011, 0, 0, 0, 0", EPERM, "clone of a user namespace"),
        ("435, 0, 0", ENOSYS, "clone3"),
        ("308, 0, 0", EPERM, "setns"),
        ("250, 0, 0, 0, 0, 0", EPERM, "keyctl"),
        ("248, 0, 0, 0, 0, 0", EPERM, "add_key"),
        ("321, 0, 0, 0", EPERM, "bpf"),
        ("298, 0, 0, 0, 0, 0", EPERM, "perf_event_open"),
        ("323, 0", EPERM, "userfaultfd"),
        ("425, 0, 0", EPERM, "io_uring_setup"),
        ("101, 0, 0, 0, 0", EPERM, "ptrace"),
        ("310, 0, 0, 0, 0, 0, 0", EPERM, "process_vm_readv"),
        ("438, 0, 0, 0", EPERM, "pidfd_getfd"),
        ("304, 0, 0, 0", EPERM, "open_by_handle_at"),
        ("428, 0, 0, 0", EPERM, "open_tree"),
        ("430, 0, 0", EPERM, "fsopen"),
        ("442, 0, 0, 0, 0, 0", EPERM, "mount_setattr"),
        ("169, 0, 0, 0, 0", EPERM, "reboot"),
        ("175, 0, 0, 0", EPERM, "init_module"),
        ("164, 0, 0", EPERM, "settimeofday"),
        ("135, 0x0040000", EPERM, "personality"),
        ("16, 0, 0x5412, 0", EPERM, "ioctl TIOCSTI"),
        ("16, 0, 0x100005412, 0", EPERM, "ioctl TIOCSTI with high bits"),
        ("1000, 0", ENOSYS, "a number without a call"),
        ("41, 40, 1, 0", "97", "socket of AF_VSOCK"),
        ("41, 17, 3, 0", "97", "socket of AF_PACKET"),
        ("41, 16, 3, 12", "97", "socket of NETLINK_NETFILTER"),
        ("41, 2, 1, 0", "ok", "socket of AF_INET"),
    ] {
        assert_eq!(errno_of(call), expected, "{name}");
    }
}

#[test]
fn the_stub_init_is_confined_and_closed() {
    let Some(_turn) = turn_to_start() else { return };
    let seen = shell(
        "cat /proc/1/status; for f in mem environ maps exe fd/3 root cwd; do
         (head -c1 /proc/1/$f || readlink /proc/1/$f) >/dev/null 2>&1 && echo OPEN $f; done; true",
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&seen, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&seen, "NoNewPrivs"), "1");
    assert_eq!(field(&seen, "Seccomp"), "2");
    assert!(!seen.contains("OPEN"), "{seen}");
    // It is there as long as the container, so it keeps little: its stack, its
    // own code, and nothing of the plan.
    let resident: u64 = field(&seen, "VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(resident <= 32, "{resident} KiB");
}

#[test]
fn the_stub_init_keeps_nothing_of_the_plan() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root can look into a process that nobody may trace");
    }
    let container = Command::new("sleep").arg("100").env("TOKEN", "hunter2-secret").spawn().unwrap();
    let path = format!("/proc/{}/maps", container.id());
    // The start is over with the payload's exec, a moment before the stub
    // init's last steps.
    let mut maps = String::new();
    for _ in 0..200 {
        maps = std::fs::read_to_string(&path).unwrap();
        if !maps.contains("skep-plan") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(maps.contains("skep"), "{maps}");
    assert!(!maps.contains("skep-plan"), "{maps}");
}

#[test]
fn files_of_the_kernel_are_covered() {
    let Some(_turn) = turn_to_start() else { return };
    let opened = shell(
        "for f in kcore keys kmsg kallsyms timer_list sysrq-trigger sched_debug latency_stats config.gz interrupts; do
         [ -e /proc/$f ] && head -c1 /proc/$f >/dev/null 2>&1 && echo /proc/$f; done
         for f in sys/kernel/core_pattern sys/kernel/modprobe irq/default_smp_affinity sysrq-trigger mtrr sys/vm/drop_caches; do
         [ -e /proc/$f ] && (: > /proc/$f) 2>/dev/null && echo writable /proc/$f; done
         ls /sys/firmware /sys/kernel /sys/fs /sys/module 2>/dev/null
         find /sys -xdev -writable 2>/dev/null | head -3; true",
    );
    let found: Vec<&str> = opened.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
    // find counts as writable what only the read-only mount protects.
    let really: Vec<&&str> = found.iter().filter(|line| !line.starts_with("/sys")).collect();
    assert!(really.is_empty(), "{found:?}");
    let written =
        shell("for f in $(find /sys -type f 2>/dev/null | head -200); do (: > $f) 2>/dev/null && echo $f; done; true");
    assert_eq!(written, "");
}

#[test]
fn user_namespaces_inside_are_forbidden_by_the_kernel_too() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "cat /proc/sys/user/max_user_namespaces; unshare -U true 2>&1; true"]).danger_no_filter();
    let answer = run(&mut command);
    assert!(answer.starts_with("0\n"), "{answer}");
    assert!(answer.contains("No space left") || answer.contains("not permitted"), "{answer}");
}

#[test]
fn devices_are_the_documented_ones() {
    let Some(_turn) = turn_to_start() else { return };
    let listed = shell("ls /dev; for d in null zero full random urandom tty; do stat -c '%F %t:%T' /dev/$d; done");
    let names: Vec<&str> = listed.lines().take_while(|line| !line.contains(' ')).collect();
    assert_eq!(
        names,
        [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
            "urandom", "zero"
        ]
    );
    let kinds: Vec<&str> = listed.lines().filter(|line| line.contains(' ')).collect();
    let expected = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"].map(|number| format!("character special file {number}"));
    assert_eq!(kinds, expected);
}

#[test]
fn namespaces_are_new_and_the_report_says_so() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container = Command::new("sleep").arg("100").spawn().unwrap();
    for kind in ["mnt", "pid", "uts", "ipc", "net", "user", "cgroup"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let other = std::fs::read_link(format!("/proc/{}/ns/{kind}", container.id()));
        match other {
            Ok(other) => assert_ne!(own, other, "{kind}"),
            // The stub init is not dumpable, so an ordinary user cannot look.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{kind}"),
        }
    }
    for kind in ["mount", "pid", "uts", "ipc", "network", "user", "cgroup"] {
        let outcome = container.report().of(&format!("namespace {kind}"));
        assert_eq!(outcome, Some(&applied("new")), "{kind}");
    }
    assert!(matches!(container.report().of("namespace time"), Some(Outcome::Off(_))));
    container.kill(9).unwrap();
    container.wait().unwrap();
}

fn applied(value: &str) -> Outcome {
    Outcome::Applied(value.to_owned())
}

#[test]
fn attributes_of_the_embedder_are_not_inherited() {
    let Some(_turn) = turn_to_start() else { return };
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let seen = run(Command::new("sh").args(["-c", "umask; ls -ld /etc /tmp | cut -c1-10; grep -E 'Sig(Blk|Ign)' /proc/self/status; cat /proc/self/personality 2>/dev/null; true"]));
    nix::sys::stat::umask(old);
    assert!(seen.starts_with("0022\ndrwxr-xr-x\ndrwxrwxrwt\n"), "{seen}");
    assert_eq!(field(&seen, "SigBlk"), "0000000000000000", "{seen}");
    assert_eq!(field(&seen, "SigIgn"), "0000000000000000", "{seen}");
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let Some(_turn) = turn_to_start() else { return };
    let name = format!("skep-test-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let seen = shell("cat /proc/net/unix");
    assert!(!seen.contains(&name), "{seen}");
    let seen = run(Command::new("cat").arg("/proc/net/unix").network(Network::Host));
    assert!(seen.contains(&name), "with the host's network it is there");
}

#[test]
fn as_process_one_the_posture_is_the_same() {
    let Some(_turn) = turn_to_start() else { return };
    let status = run(Command::new("cat").arg("/proc/1/status").init(Init::Payload));
    assert_eq!(field(&status, "Pid"), "1");
    assert_eq!(field(&status, "CapBnd"), "0000000000000000");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
}

#[test]
fn readiness_arrives_by_the_notification_socket() {
    let Some(_turn) = turn_to_start() else { return };
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return skip("perl is not installed");
    }
    // perl-base has no Socket module for datagrams; its syscalls do.
    let script = "perl -e '
        my $p = $ENV{NOTIFY_SOCKET};
        my $s = syscall(41, 1, 2, 0);
        my $a = pack(\"S a108\", 1, $p);
        my $m = \"READY=1\\nSTATUS=Ready.\";
        syscall(44, $s, $m, length $m, 0, $a, 2 + length($p) + 1) == length $m or die $!;
    '; sleep 100";
    let mut container = Command::new("sh").args(["-c", script]).readiness(Readiness::Notify).spawn().unwrap();
    let said = container.notification(std::time::Duration::from_secs(20)).unwrap().expect("it said something");
    assert!(said.ready);
    assert_eq!(said.status.as_deref(), Some("Ready."));
    container.kill(9).unwrap();
    container.wait().unwrap();
}

#[test]
fn a_range_is_held_while_a_container_of_root_lives() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root has ranges");
    }
    let mut one = Command::new("sleep").arg("100").spawn().unwrap();
    let mut other = Command::new("sleep").arg("100").spawn().unwrap();
    let map = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let (first, second) = (map(one.id()), map(other.id()));
    assert_ne!(first, second, "two containers share no ids");
    let base: u32 = first.split_whitespace().nth(1).unwrap().parse().unwrap();
    let range = skep::spec::IdRange { base, count: 65_536 };
    let refused = Command::new("true").user_namespace(skep::spec::UserNamespace::Range(range)).status().unwrap_err();
    assert_eq!(refused.kind(), skep::ErrorKind::RangeTaken, "{refused}");
    for container in [&mut one, &mut other] {
        container.kill(9).unwrap();
        container.wait().unwrap();
    }
    Command::new("true").user_namespace(skep::spec::UserNamespace::Range(range)).status().unwrap();
}

#[test]
fn a_secret_appears_nowhere_but_in_the_environment() {
    let mut command = Command::new("true");
    command.env("TOKEN", "hunter2-secret").credential("key", "hunter2-secret");
    let plan = command.plan();
    if let Ok(plan) = plan {
        let section = format!("{:?}", plan.child());
        let verified = format!("{:?}", skep::verify::verify(plan.clone()).unwrap());
        let texts = [
            plan.to_string(),
            plan.verbose().to_string(),
            plan.to_json().to_string(),
            format!("{command:?}"),
            format!("{plan:?}"),
            section,
            verified,
        ];
        // As text, and as a list of bytes.
        let bytes = format!("{:?}", b"hunter2");
        for text in texts {
            assert!(!text.contains("hunter2") && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
        }
    }
}
