//! What a payload is, by its own account and the kernel's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write as _;

use nix::fcntl::{FcntlArg, fcntl};
use skep::seccomp::Arch;
use skep::spec::{CapabilityList, Init, Network, Readiness, User, Want};
use skep::sys::abi::{CapabilitySet, SecureBits, cap};
use skep::{Command, Outcome};
use skep_tests::{HostState, calls, everywhere, everywhere_with, field, has, is_root, run, shell, skip, turn_to_start};

#[test]
fn row_033_039_091_a_payload_holds_no_capability_and_cannot_get_one() {
    let Some(_turn) = turn_to_start() else { return };
    for (place, status) in everywhere("cat /proc/self/status") {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set} of a {place}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{place}");
        assert_eq!(field(&status, "Seccomp"), "2", "{place}");
    }
}

#[test]
fn row_034_035_another_user_holds_no_capability_either() {
    let Some(_turn) = turn_to_start() else { return };
    let status = run(Command::new("cat").arg("/proc/self/status").user(User::Ids { uid: 1000, gid: 1000 }));
    assert_eq!(field(&status, "Uid").split_whitespace().collect::<Vec<_>>(), ["1000"; 4]);
    assert_eq!(field(&status, "Gid").split_whitespace().collect::<Vec<_>>(), ["1000"; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
}

#[test]
fn row_036_037_granted_capabilities_are_those_and_no_other() {
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
fn row_024_only_the_three_streams_are_open() {
    let Some(_turn) = turn_to_start() else { return };
    // Descriptors without close-on-exec, as a careless embedder has them: with these
    // numbers, or the next that are free.
    let leak = |at| fcntl(std::fs::File::open("/etc").unwrap(), FcntlArg::F_DUPFD(at)).unwrap();
    let leaks: Vec<i32> = (0..40).map(|_| leak(3)).chain([9, 40, 900].map(leak)).collect();
    let seen = everywhere("ls /proc/self/fd; echo; readlink /proc/self/fd/0");
    let passed = everywhere_with("ls /proc/self/fd; (cat <&7) 2>/dev/null || true", |command| {
        command.fd(7, memory("passed"));
    });
    for leak in leaks {
        nix::unistd::close(leak).unwrap();
    }
    for (place, listed) in seen {
        // 3 is ls's own descriptor of the directory.
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "/dev/null"], "{place}");
    }
    // What is passed is the payload's; a further process is passed its own.
    for (place, listed) in passed {
        let expected = if place.contains("payload") { "0 1 2 3 7 passed" } else { "0 1 2 3" };
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{place}");
    }
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
    let error = Command::from(nobody.clone()).spawn().unwrap_err();
    assert!(error.to_string().contains("nobody gave one"), "{error}");
    // What the Spec says of it stays where the file is given afterwards.
    let error = Command::from(nobody.clone()).give_fd(3, directory()).spawn().unwrap_err();
    assert!(error.to_string().contains("O_PATH"), "{error}");
    nobody.descriptors[0].danger_directory = true;
    let mut command = Command::from(nobody);
    command.give_fd(3, directory()).give_fd(4, directory());
    assert_eq!(command.spec().descriptors.len(), 1, "what is not named is passed to nobody");
    assert!(command.status().unwrap().success());
}

#[test]
fn row_128_the_environment_is_the_documented_one() {
    let Some(_turn) = turn_to_start() else { return };
    if std::env::var_os("SKEP_TEST_SECRET").is_none() {
        // Again, by an embedder who has one.
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "row_128_the_environment_is_the_documented_one"]).env("SKEP_TEST_SECRET", "hunter2");
        let output = again.output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    // The shell adds the last two itself.
    let names = |text: &str| {
        let mut names: Vec<String> =
            text.lines().filter_map(|line| line.split('=').next()).map(str::to_owned).collect();
        names.retain(|name| name != "PWD" && name != "_" && name != "SHLVL" && name != "OLDPWD");
        names.sort_unstable();
        names
    };
    for (place, environment) in everywhere("env; tr '\\0' '\\n' </proc/self/environ") {
        assert!(!environment.contains("hunter2"), "{place}");
        let mut found = names(&environment);
        found.dedup();
        assert_eq!(found, ["HOME", "LANG", "LOGNAME", "PATH", "USER", "container"], "{place}");
    }
    let environment = run(Command::new("/usr/bin/env").env("MINE", "1"));
    assert_eq!(names(&environment), ["HOME", "LANG", "LOGNAME", "MINE", "PATH", "USER", "container"]);
}

#[test]
fn row_052_056_no_mount_of_the_host_is_left() {
    let Some(_turn) = turn_to_start() else { return };
    let of_host = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = of_host();
    let running = Command::new("sleep").arg("1000").tmpfs("/more").spawn().unwrap();
    assert_eq!(of_host(), before, "while it runs");
    drop(running);
    assert_eq!(of_host(), before, "afterwards");
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
fn row_015_parents_of_the_root_are_the_root() {
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
fn row_086_no_process_of_the_host_is_visible() {
    let Some(_turn) = turn_to_start() else { return };
    let listed = shell("ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; cat /proc/1/cmdline | tr '\\0' ' '");
    let count: u32 = listed.lines().next().unwrap().parse().unwrap();
    assert!(count <= 5, "{listed}");
    assert!(listed.contains("skep"), "{listed}");
}

#[test]
fn row_084_the_session_is_its_own_and_has_no_terminal() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "set -- $(cat /proc/self/stat); echo $6; (: < /dev/tty) 2>&1 || true";
    let own = nix::unistd::getsid(None).unwrap().to_string();
    for (place, answer) in everywhere(script) {
        assert!(answer.contains("No such device"), "{answer} in a {place}");
        assert_ne!(answer.lines().next().unwrap().trim(), own, "{place}");
    }
    if !has("perl") {
        return skip("perl is not installed");
    }
    // TIOCSTI, TIOCLINUX, TIOCSETD on standard input; the kernel reads 32 bits of the number.
    let commands = [0x5412, 0x541c, 0x5423, 0x1_0000_5412, 0xffff_ffff_0000_541c];
    let made: Vec<[u64; 3]> = commands.iter().map(|command| [0, *command, 1]).collect();
    let made: Vec<(&str, &[u64])> = made.iter().map(|call| ("ioctl", &call[..])).collect();
    let script = calls(&made);
    for (place, said) in everywhere(&script) {
        assert_eq!(said, "ioctl 1\n".repeat(commands.len()), "{place}");
    }
    // On a terminal of its own too, which another may read.
    let mut container = Command::new("sh").args(["-c", &script]).terminal(24, 80).spawn().unwrap();
    let said = std::io::read_to_string(container.terminal.take().unwrap()).unwrap();
    assert_eq!(said, "ioctl 1\r\n".repeat(commands.len()), "on its terminal");
    container.wait().unwrap();
}

/// Asks the kernel for the securebits and capability sets of a payload.
const SECUREBITS: &str = if cfg!(target_arch = "x86_64") { "157, 27" } else { "167, 27" };

#[test]
fn row_040_securebits_are_read_back_from_the_kernel() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let script = format!("perl -e 'printf \"%x \", syscall({SECUREBITS})'; sed -n 's/^CapPrm:\t//p' /proc/self/status");
    let granted = CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE);
    let (none, bit) = ("0000000000000000", format!("{:016x}", granted.0));
    let asked = |bits: SecureBits| {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).capabilities(CapabilityList(granted)).securebits(bits);
        command
    };
    assert_eq!(shell(&script), format!("ef {none}\n"), "strict");
    assert_eq!(run(&mut asked(SecureBits::NONE)), format!("0 {bit}\n"));
    for init in [Init::Stub, Init::Payload] {
        assert_eq!(run(asked(SecureBits(0x3)).init(init)), format!("3 {none}\n"), "root without its rights");
        assert_eq!(run(asked(SecureBits(0xef)).init(init)), format!("ef {none}\n"));
        // That there is no such bit now is locked.
        assert_eq!(run(asked(SecureBits(0x22)).init(init)), format!("22 {bit}\n"));
        let mut user = asked(SecureBits(0x2f));
        user.user(User::Ids { uid: 7, gid: 7 }).ambient(CapabilityList(granted)).init(init);
        assert_eq!(run(&mut user), format!("2f {bit}\n"), "another user keeps the ambient set");
        let mut open = asked(SecureBits(0x3));
        assert_eq!(run(open.init(init).danger_new_privileges()), format!("3 {none}\n"));
    }
    let mut sleeping = Command::new("sleep");
    let container =
        sleeping.arg("1000").capabilities(CapabilityList(granted)).securebits(SecureBits(0x3)).spawn().unwrap();
    let said = container.exec("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), format!("3 {none}\n"), "a further process");
    drop(container);
    let error = asked(SecureBits::KEEP_CAPS).status().unwrap_err();
    assert!(error.to_string().contains("keep-caps") && error.advice().is_some(), "{error}");
    let error = Command::new("true").securebits(SecureBits::NONE).status().unwrap_err();
    assert!(error.to_string().contains("left out: noroot"), "{error}");
}

const KEYCTL: u32 = if cfg!(target_arch = "x86_64") { 250 } else { 219 };

#[test]
fn row_049_keys_of_the_embedder_are_out_of_reach() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    // A session keyring with a key in it can only be had before the threads of this
    // program are there: so perl joins one (keyctl(2), add_key(2)) and runs this test again.
    const NAME: &str = "skep-test-key";
    let Ok(serial) = std::env::var("SKEP_TEST_KEY") else {
        let number = if cfg!(target_arch = "x86_64") { 248 } else { 217 };
        let call = format!(
            "($t, $n, $s) = qw(user {NAME} secret); syscall({KEYCTL}, 1, 0) > 0 or exit 77;
             ($ENV{{SKEP_TEST_KEY}} = syscall({number}, $t, $n, $s, 6, -3)) > 0 or exit 77; exec @ARGV"
        );
        let mut again = std::process::Command::new("perl");
        again.args(["-e", &call]).arg(std::env::current_exe().unwrap());
        let output =
            again.args(["--exact", "row_049_keys_of_the_embedder_are_out_of_reach", "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match (output.status.code(), said.lines().find(|line| line.starts_with("SKIP"))) {
            (Some(77), _) => skip("this user cannot make a keyring with a key"),
            (_, Some(line)) => skip(line),
            _ => assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout)),
        }
        return;
    };
    let script = format!(
        "($t, $n, $b) = (qw(user {NAME}), 'x' x 99);
         print syscall({KEYCTL}, 10, -3, $t, $n, 0) > 0 ? 'found ' : 'none ';
         print syscall({KEYCTL}, 11, {serial}, $b, 99) > 0 ? 'read' : 'none'"
    );
    let asks = |want: Want| {
        let mut command = Command::new("perl");
        // Without the filter, which refuses these calls anyway.
        command.args(["-e", &script]).keyring(want).danger_no_filter();
        command
    };
    for init in [Init::Stub, Init::Payload] {
        for want in [Want::Require, Want::IfSupported] {
            assert_eq!(run(asks(want).init(init)), "none none");
        }
    }
    // Whoever switches it off shares what this process holds: so the above has looked for the right key.
    assert_eq!(run(&mut asks(Want::Off)), "found read");
    let container = Command::new("sleep").arg("1000").danger_no_filter().spawn().unwrap();
    let said = container.exec("perl").args(["-e", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "none none", "a further process");
    let inside = container.exec("cat").arg("/proc/keys").output().unwrap();
    assert!(!inside.status.success() && inside.stdout.is_empty(), "/proc/keys is covered");
    drop(container);
    // The kernel's own list, as the payload sees it: not that key, and a session keyring.
    let mut list = Command::new("cat");
    list.arg("/srv/keys").bind_ro("/proc/keys", "/srv/keys");
    match list.output() {
        Ok(output) if output.status.success() => {
            let seen = String::from_utf8_lossy(&output.stdout).into_owned();
            // By its id, a user sees that a key of its own is there (`session-keyring(7)`).
            assert!(!is_root() || !seen.contains(NAME), "{seen}");
            assert!(seen.contains("_ses"), "its own session keyring: {seen}");
        }
        other => skip(&format!("/proc/keys cannot be bound here: {other:?}")),
    }
}

#[test]
fn row_025_the_stub_init_is_confined_and_closed() {
    let Some(_turn) = turn_to_start() else { return };
    // The stub init lets go of the last of the start when the payload has executed.
    let seen = shell(
        "n=0; while [ $n -lt 200 ] && [ $(ls /proc/1/fd | wc -l) -gt 2 ]; do sleep 0.01; n=$((n + 1)); done
         cat /proc/1/status; for f in mem environ maps exe root cwd /proc/1/fd/*; do f=${f#/proc/1/}; echo TRIED $f;
         (head -c1 /proc/1/$f || readlink /proc/1/$f) >/dev/null 2>&1 && echo OPEN $f; done; true",
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&seen, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&seen, "NoNewPrivs"), "1");
    assert_eq!(field(&seen, "Seccomp"), "2");
    assert!(!seen.contains("OPEN"), "{seen}");
    // Its numbers can be seen, not what they are: two (`SECURITY.md`).
    assert_eq!(seen.matches("TRIED fd/").count(), 2, "{seen}");
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
fn row_069_devices_are_the_documented_ones() {
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
fn row_073_abstract_sockets_of_the_host_are_out_of_reach() {
    let Some(_turn) = turn_to_start() else { return };
    let name = format!("skep-test-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let seen = shell("cat /proc/net/unix");
    assert!(!seen.contains(&name), "{seen}");
    let seen = run(Command::new("cat").arg("/proc/net/unix").network(Network::Host));
    assert!(seen.contains(&name), "with the host's network it is there");
    if !has("perl") {
        return skip("perl is not installed");
    }
    let connect =
        format!("perl -e 'socket(S, 1, 1, 0); print connect(S, pack(q(Sxa*), 1, q({name}))) ? q(REACHED) : $!+0'");
    for (place, answer) in everywhere(&connect) {
        assert_eq!(answer, "111", "ECONNREFUSED in a {place}");
    }
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
fn readiness_is_the_payloads_word_and_no_others() {
    let Some(_turn) = turn_to_start() else { return };
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return skip("perl is not installed");
    }
    let (Some(socket), Some(send)) = (Arch::NATIVE.number("socket"), Arch::NATIVE.number("sendto")) else {
        return skip("no numbers of system calls");
    };
    // perl-base has no Socket module for datagrams; its syscalls do. A child lies, one
    // that has lost its parent as well, and a process that was brought in.
    let say = format!(
        "sub say_so {{
            my $m = shift; my $p = $ENV{{NOTIFY_SOCKET}} || '/run/host/notify';
            my $s = syscall({socket}, 1, 2, 0);
            my $a = pack('S a108', 1, $p);
            syscall({send}, $s, $m, length $m, 0, $a, 2 + length($p) + 1) == length $m or die $!;
        }}"
    );
    let script = format!(
        "{say}
        if (!fork) {{ say_so(\"READY=1\\nSTATUS=a child\"); exit 0 }}
        wait;
        if (!fork) {{ if (!fork) {{ select undef, undef, undef, .2; say_so(\"READY=1\\nSTATUS=an orphan\") }} exit 0 }}
        wait; <STDIN>;
        say_so(\"READY=1\\nSTATUS=the payload\"); sleep 100"
    );
    for init in [Init::Stub, Init::Payload] {
        let mut command = Command::new("perl");
        command.args(["-e", &script]).init(init).readiness(Readiness::Notify).stdin(skep::Stdio::piped());
        let mut container = command.spawn().unwrap();
        let lie = format!("{say} say_so(\"READY=1\\nSTATUS=brought in\")");
        assert!(container.exec("perl").args(["-e", &lie]).status().unwrap().success());
        let early = container.notification(std::time::Duration::from_millis(700)).unwrap();
        assert_eq!(early, None, "{init:?}");
        container.stdin.take().unwrap().write_all(b"\n").unwrap();
        let said = container.notification(std::time::Duration::from_secs(20)).unwrap().expect("it said something");
        assert!(said.ready);
        assert_eq!(said.status.as_deref(), Some("the payload"), "{init:?}");
        container.kill(9).unwrap();
        container.wait().unwrap();
    }
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
