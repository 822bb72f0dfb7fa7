//! Further processes in a container that runs, as they and the kernel see them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::{Duration, Instant};

use skep::spec::{
    CapabilityList, Init, IoPriority, Namespace, Network, NumberList, Profile, SchedulingPolicy, User, UserNamespace,
    Want,
};
use skep::sys::abi::CapabilitySet;
use skep::{Command, Container, ErrorKind, Exec, Stdio};
use skep_tests::{HostState, field, is_root, skip, turn_to_start};

fn started(command: &mut Command) -> Container {
    command.spawn().unwrap_or_else(|error| panic!("start: {error}"))
}

fn sleeping() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

/// What a shell script prints inside; panics with its error output.
fn says(container: &Container, script: &str) -> String {
    said(container.exec("sh").args(["-c", script]))
}

fn said(exec: &mut Exec<'_>) -> String {
    let output = exec.output().unwrap_or_else(|error| panic!("exec: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn bind_service() -> CapabilityList {
    CapabilityList(CapabilitySet(1 << 10))
}

/// The lines of `/proc/PID/status` that say what a process may do.
const RIGHTS: [&str; 13] = [
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Umask",
    "Cpus_allowed",
];

/// A machine that manages its cgroups, as systemd does: process 1 leaves the group at
/// the top and gives its controllers to those below.
#[test]
fn it_is_in_the_group_of_process_one_where_the_guest_has_made_groups() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root's containers have the profile nspawn");
    }
    let before = HostState::look();
    let script = "cd /sys/fs/cgroup && mkdir leaf && echo 1 > leaf/cgroup.procs || exit 1
        for one in $(cat cgroup.controllers); do echo +$one > cgroup.subtree_control; done
        echo given: $(cat cgroup.subtree_control); exec sleep 1000";
    let mut command = Command::of(Profile::Nspawn, "sh");
    command.args(["-c", script]).init(Init::Payload).stdout(Stdio::piped()).stderr(Stdio::null()).pids(20);
    command.spec_mut().root = sleeping().spec().root;
    let mut container = started(&mut command);
    let mut given = String::new();
    BufReader::new(container.stdout.take().unwrap()).read_line(&mut given).unwrap();
    let Some(given) = given.strip_prefix("given:") else {
        return skip("the container has no cgroup v2 of its own");
    };
    if given.trim().is_empty() {
        skip("no controller is given to its cgroup v2, so that the kernel would refuse no process there");
    }
    assert_eq!(says(&container, "grep ^0: /proc/self/cgroup"), "0::/leaf\n");
    let of = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut process = container.exec("sleep").arg("1000").spawn().unwrap();
    assert_eq!(of(process.id()).lines().last(), of(container.id()).lines().last());
    // The container's limit counts it, and those that it makes.
    let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do sleep 9 & done; wait";
    let output = container.exec("sh").args(["-c", many]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("fork"), "{said}");
    process.kill(9).unwrap();
    process.wait().unwrap();
    drop((process, container));
    before.assert_unchanged();
}

#[test]
fn row_081_it_is_what_the_payload_is() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut commands = vec![sleeping(), sleeping(), sleeping(), sleeping()];
    commands[1].init(Init::Payload);
    commands[2].user(User::Ids { uid: 7, gid: 7 });
    commands[3].danger_new_privileges().oom_score_adjust(700);
    let scheduled = commands[0].scheduling_policy(SchedulingPolicy::Batch).nice(19).io_priority(IoPriority::Idle);
    // One that this program may run on.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let first = field(&status, "Cpus_allowed_list").split(['-', ',']).next().unwrap();
    scheduled.cpu_affinity(NumberList::parse(first).unwrap());
    if is_root() {
        let mut nspawn = Command::of(Profile::Nspawn, "sleep");
        nspawn.arg("1000").spec_mut().root = sleeping().spec().root;
        let mut host = sleeping();
        host.user_namespace(UserNamespace::Host).user(User::Ids { uid: 1000, gid: 1000 });
        let mut granted = sleeping();
        granted.capabilities(bind_service()).ambient(bind_service()).user(User::Ids { uid: 9, gid: 9 }).groups([5, 4]);
        let mut limited = sleeping();
        limited.pids(50);
        commands.extend([nspawn, host, granted, limited]);
    }
    for command in &mut commands {
        let container = started(command);
        // The payload's process: process 1, or what the stub init has started.
        let own = said(container.exec("cat").arg("/proc/self/status"));
        let first = if command.spec().init == Init::Stub { 2 } else { 1 };
        let payload = says(&container, &format!("cat /proc/{first}/status"));
        for name in RIGHTS {
            assert_eq!(field(&own, name), field(&payload, name), "{name} of {:?}", command.spec().init);
        }
        let limits = |of: &str| says(&container, &format!("cat /proc/{of}/limits"));
        assert_eq!(limits("self"), limits(&first.to_string()));
        let score = |of: &str| said(container.exec("cat").arg(format!("/proc/{of}/oom_score_adj")));
        assert_eq!(score("self"), score(&first.to_string()));
        // nice, rt_priority and policy of proc_pid_stat(5).
        let schedule = |of: &str| {
            let fields = format!("set -- $(sed 's/.*) //' /proc/{of}/stat); echo ${{17}} ${{38}} ${{39}}");
            says(&container, &format!("{fields}; ionice -p {} 2>&1", of.replace("self", "$$")))
        };
        assert_eq!(schedule("self"), schedule(&first.to_string()));
        if command.spec().scheduling.nice.is_some() {
            assert!(schedule("self").starts_with("19 0 3\n"), "{}", schedule("self"));
        }
        assert_eq!(field(&own, "PPid"), "0", "its parent is outside");
        let inside = says(&container, "for n in ipc mnt net pid user uts cgroup; do readlink /proc/self/ns/$n; done");
        let outside: String = ["ipc", "mnt", "net", "pid", "user", "uts", "cgroup"]
            .map(|kind| {
                let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", container.id()));
                format!("{}\n", link.unwrap().display())
            })
            .concat();
        assert_eq!(inside, outside);
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", container.id())).unwrap();
        let mut process = container.exec("sleep").arg("1000").spawn().unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/{}/cgroup", process.id())).unwrap(), groups);
        process.kill(15).unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(15));
        drop(container);
    }
    before.assert_unchanged();
}

#[test]
fn it_holds_nothing_of_the_host() {
    let Some(_turn) = turn_to_start() else { return };
    let leaked = std::fs::File::open("/etc/hostname").unwrap();
    // Not close-on-exec.
    let number = nix::fcntl::fcntl(&leaked, nix::fcntl::FcntlArg::F_DUPFD(77)).unwrap();
    let mut command = sleeping();
    command.env("SECRET", "of the Spec");
    let container = started(&mut command);
    assert_eq!(says(&container, "ls /proc/self/fd").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    let names = "env | cut -d= -f1 | grep -vx '_\\|PWD\\|SHLVL\\|OLDPWD' | sort | tr '\\n' ' '";
    assert_eq!(says(&container, names), "HOME LANG LOGNAME PATH USER container ");
    assert_eq!(said(container.exec("sh").args(["-c", "echo $TOKEN"]).env("TOKEN", "x")), "x\n");
    let facts = says(&container, "cat /proc/self/stat; pwd; umask; ulimit -c");
    let stat: Vec<&str> = facts.lines().next().unwrap().split(' ').collect();
    assert_eq!(stat[4], stat[5], "it leads its group and session: {facts}");
    assert_eq!(stat[6], "0", "no terminal");
    assert_eq!(facts.lines().nth(1), Some("/"));
    let (mut read, write) = std::io::pipe().unwrap();
    said(container.exec("sh").args(["-c", "echo passed >&5; ls /proc/self/fd"]).fd(5, write));
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "passed\n");
    let root = std::fs::File::open("/").unwrap();
    assert!(container.exec("true").fd(5, root).spawn().is_err(), "a directory of the host");
    // Signals of the embedder's are not blocked or ignored in it.
    let status = says(&container, "cat /proc/self/status");
    assert_eq!(field(&status, "SigIgn"), "0000000000000000");
    assert_eq!(field(&status, "SigBlk"), "0000000000000000");
    assert_eq!(said(container.exec("pwd").current_dir("/tmp")), "/tmp\n");
    nix::unistd::close(number).unwrap();
}

/// Whoever brings a process in is gone by the time that it runs.
#[test]
fn no_other_process_is_left() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let container = started(&mut sleeping());
    let processes: Vec<_> = (0..10).map(|_| container.exec("sleep").arg("1000").spawn().unwrap()).collect();
    let text = says(&container, "cat /proc/[0-9]*/stat 2>/dev/null; true");
    let names = |name: &str| text.lines().filter(|line| line.contains(name)).count();
    assert_eq!((names("(memfd:skep)"), names("(sleep)")), (1, 11), "{text}");
    let own = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    let own: std::collections::BTreeSet<u32> = own.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let mut expected: std::collections::BTreeSet<u32> = processes.iter().map(skep::Process::id).collect();
    expected.insert(container.id());
    assert_eq!(own, expected, "children of this process");
    drop(processes);
    drop(container);
    before.assert_unchanged();
}

#[test]
fn another_user_has_another_users_rights() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("an ordinary user has one id inside");
    }
    let container = started(&mut sleeping());
    assert_eq!(
        said(container.exec("sh").args(["-c", "id -u; id -g; id -G; echo $USER $HOME"]).user(7, 8).groups([9])),
        "7\n8\n8 9\n7 /\n"
    );
    let error = container.exec("true").user(100_000, 0).spawn().unwrap_err();
    assert!(error.to_string().contains("not mapped"), "{error}");
    let mut granted = sleeping();
    granted.capabilities(bind_service()).danger_new_privileges();
    let container = started(&mut granted);
    let root = says(&container, "cat /proc/self/status");
    assert_eq!(field(&root, "CapEff"), "0000000000000400");
    let other = said(container.exec("cat").arg("/proc/self/status").user(7, 7));
    assert_eq!(field(&other, "CapEff"), "0000000000000000");
    assert_eq!(field(&other, "CapBnd"), "0000000000000400");
}

#[test]
fn an_ordinary_users_groups_are_refused() {
    let Some(_turn) = turn_to_start() else { return };
    if is_root() {
        return skip("root has groups");
    }
    let container = started(&mut sleeping());
    let error = container.exec("true").groups([3]).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
}

#[test]
fn it_ends_with_the_container_and_with_its_handle() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let container = started(&mut sleeping());
    let process = container.exec("sleep").arg("1000").spawn().unwrap();
    let number = process.id();
    assert!(std::path::Path::new(&format!("/proc/{number}")).exists());
    assert_eq!(process.try_wait().unwrap(), None);
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{number}")).exists(), "killed and waited for");
    let mut process = container.exec("sleep").arg("1000").spawn().unwrap();
    assert_eq!(process.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    let began = Instant::now();
    drop(container);
    // Nobody had to take its status first.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(process.wait().unwrap().signal(), Some(9));
    drop(process);
    before.assert_unchanged();
}

#[test]
fn streams_are_what_was_asked_for() {
    let Some(_turn) = turn_to_start() else { return };
    let container = started(&mut sleeping());
    let mut process = container.exec("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"through").unwrap();
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    assert!(process.wait().unwrap().success());
    assert_eq!(container.exec("sh").args(["-c", "exit 9"]).status().unwrap().code(), Some(9));
}

#[test]
fn a_terminal_is_of_the_container() {
    let Some(_turn) = turn_to_start() else { return };
    let container = started(&mut sleeping());
    let mut process = container
        .exec("sh")
        .args(["-c", "tty; stty size; ps -o tty= -p $$ 2>/dev/null; exit 3"])
        .terminal(33, 101)
        .spawn()
        .unwrap();
    let mut text = String::new();
    process.terminal.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("/dev/pts/"), "{text}");
    assert!(text.contains("33 101"), "{text}");
    assert_eq!(process.wait().unwrap().code(), Some(3));
}

#[test]
fn what_fails_is_named_and_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let mut container = started(&mut sleeping());
    let before = HostState::look();
    let error = container.exec("no-such-program").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("not found in container"), "{error}");
    let error = container.exec("true").current_dir("/no/such").spawn().unwrap_err();
    assert!(error.to_string().contains("go to /no/such"), "{error}");
    assert_eq!(container.exec("true").env("A=B", "x").spawn().unwrap_err().kind(), ErrorKind::InvalidSpec);
    assert_eq!(container.exec("").spawn().unwrap_err().kind(), ErrorKind::InvalidSpec);
    before.assert_unchanged();
    container.kill(9).unwrap();
    container.wait().unwrap();
    assert_eq!(container.exec("true").spawn().unwrap_err().kind(), ErrorKind::Ended);
}

#[test]
fn a_container_without_process_ids_of_its_own_is_refused() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = sleeping();
    command.init(Init::Payload).spec_mut().namespaces.pid = Namespace::Host;
    let Ok(container) = command.spawn() else { return skip("no container without a process-id namespace here") };
    let error = container.exec("true").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("process-id namespace"), "{error}");
}

#[test]
fn a_container_whose_filter_asks_is_refused() {
    let Some(_turn) = turn_to_start() else { return };
    let container = match sleeping().notify_system_calls(["uname"]).spawn() {
        // Linux allows one listener, and this program may be under one.
        Err(error) if error.errno() == Some(skep::sys::Errno::EBUSY) => return skip(&error.to_string()),
        started => started.unwrap(),
    };
    let error = container.exec("true").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("asks a listener"), "{error}");
}

/// At every moment: no process stays, and the container goes on.
#[test]
fn a_cancelled_one_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let container = started(&mut sleeping());
    let before = HostState::look();
    let cancelled = skep::Cancel::new().unwrap();
    cancelled.cancel();
    let error = container.exec("sleep").arg("1000").cancel_with(&cancelled).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    drop(cancelled);
    before.assert_unchanged();
    for round in 0_u64..20 {
        let cancel = skep::Cancel::new().unwrap();
        let other = cancel.clone();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(round * 200));
            other.cancel();
        });
        match container.exec("sleep").arg("1000").cancel_with(&cancel).spawn() {
            Ok(process) => drop(process),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        }
        canceller.join().unwrap();
    }
    before.assert_unchanged();
    let text = says(&container, "cat /proc/[0-9]*/stat 2>/dev/null; true");
    assert_eq!(text.matches("(sleep)").count(), 1, "{text}");
}

#[test]
fn namespaces_that_are_shared_stay_shared() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = sleeping();
    command.network(Network::Host);
    let container = started(&mut command);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(says(&container, "readlink /proc/self/ns/net").trim(), own.to_str().unwrap());
}

#[test]
fn a_time_namespace_is_joined() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [Init::Stub, Init::Payload] {
        let mut command = sleeping();
        command.init(init).spec_mut().namespaces.time = Namespace::New;
        let Ok(container) = command.spawn() else { return skip("no time namespaces here") };
        let first = if init == Init::Stub { 2 } else { 1 };
        let script = format!("readlink /proc/self/ns/time; readlink /proc/{first}/ns/time");
        let text = says(&container, &script);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], lines[1]);
    }
}

/// A container that ends while processes are brought in: every one is an error
/// or a process that ends, and nothing is left.
#[test]
fn an_end_in_the_middle_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    for round in 0_u64..12 {
        let container = started(Command::new("sleep").arg("1000"));
        let id = nix::unistd::Pid::from_raw(container.id() as i32);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(round * 400));
            let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
        });
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match container.exec("sleep").arg("1000").spawn() {
                Ok(mut process) => {
                    if let Some(status) = process.wait_timeout(Duration::from_millis(1)).unwrap() {
                        assert_eq!(status.signal(), Some(9));
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Ended, "{error}");
                    break;
                }
            }
            assert!(Instant::now() < end);
        }
        killer.join().unwrap();
    }
    before.assert_unchanged();
}

#[test]
fn many_threads_at_once() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let container = started(&mut sleeping());
    std::thread::scope(|scope| {
        for number in 0..4 {
            let container = &container;
            scope.spawn(move || {
                for round in 0..5 {
                    let text = format!("{number} {round}");
                    assert_eq!(said(container.exec("echo").arg(&text)), format!("{text}\n"));
                }
            });
        }
    });
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_paused_container_is_refused() {
    let Some(_turn) = turn_to_start() else { return };
    let Ok(container) = sleeping().freezing(Want::Require).spawn() else { return skip("no group that can be frozen") };
    assert_eq!(says(&container, "echo x"), "x\n");
    container.pause().unwrap();
    let error = container.exec("true").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Paused, "{error}");
    container.resume().unwrap();
    assert_eq!(says(&container, "echo x"), "x\n");
}

#[test]
fn row_021_files_are_read_beneath_the_root() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "mkdir /tmp/d; echo hello > /tmp/d/f; ln -s d/f /tmp/near; ln -s /etc/hostname /tmp/out; \
        ln -s ../../../../etc/hostname /tmp/climb; mkfifo /tmp/pipe; touch /tmp/made; exec sleep 1000";
    let container = started(Command::new("sh").args(["-c", script]));
    let end = Instant::now() + Duration::from_secs(20);
    while container.read_file("/tmp/made", 0).is_err() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(container.read_file("/tmp/d/f", 6).unwrap(), b"hello\n");
    assert_eq!(container.read_file("/tmp/near", 100).unwrap(), b"hello\n");
    assert_eq!(container.read_file("/tmp/d/f", 5).unwrap_err().kind(), ErrorKind::InvalidSpec);
    for refused in ["/tmp/out", "/tmp/climb", "/tmp/pipe", "/tmp", "/dev/null", "/proc/1/root/etc/hostname"] {
        let error = container.read_file(refused, 100).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SafetyViolation | ErrorKind::NotPermitted | ErrorKind::NotFound),
            "{refused}: {error}"
        );
    }
    for refused in ["/tmp/out", "/tmp/climb", "/tmp/pipe", "/dev/null"] {
        assert_eq!(container.read_file(refused, 100).unwrap_err().kind(), ErrorKind::SafetyViolation, "{refused}");
    }
    assert_eq!(container.read_file("/", 1).unwrap_err().kind(), ErrorKind::InvalidSpec);
    assert_eq!(container.read_file("tmp/d/f", 9).unwrap_err().kind(), ErrorKind::InvalidSpec);
    container.kill(9).unwrap();
    let mut container = container;
    container.wait().unwrap();
    assert_eq!(container.read_file("/tmp/d/f", 9).unwrap_err().kind(), ErrorKind::Ended);
}
