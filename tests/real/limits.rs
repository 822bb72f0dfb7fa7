//! Limits, read back from the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep::facts::CgroupLayout;
use skep::spec::{IoLimit, Limit, NumberList, Resources, Want};
use skep::sys::abi::Resource;
use skep::{Command, ErrorKind, Event, Facts, Outcome, Spec};
use skep_tests::{HostState, everywhere, is_root, run, shell, skip, turn_to_start};

/// Starts, or skips where this host or user has no cgroup for it.
fn with_cgroup(command: &mut Command) -> Option<skep::Container> {
    match command.spawn() {
        Ok(container) => Some(container),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            assert!(!is_root(), "root always has a group: {error}");
            assert!(error.to_string().contains("cgroup"), "{error}");
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn row_117_every_resource_limit_is_set() {
    let Some(_turn) = turn_to_start() else { return };
    let own = Facts::gather(&Spec::default()).unwrap().hard_limits;
    const NONE: u64 = u64::MAX;
    // As the guide has them, and none above the caller's; `None` is what counts the
    // processes where no group does.
    let documented = [
        ("Max cpu time", "CPU", Some((NONE, NONE))),
        ("Max file size", "FSIZE", Some((NONE, NONE))),
        ("Max data size", "DATA", Some((NONE, NONE))),
        ("Max stack size", "STACK", Some((8 << 20, NONE))),
        ("Max core file size", "CORE", Some((1, 1))),
        ("Max resident set", "RSS", Some((NONE, NONE))),
        ("Max processes", "NPROC", None),
        ("Max open files", "NOFILE", Some((1024, 524_288))),
        ("Max locked memory", "MEMLOCK", Some((8 << 20, 8 << 20))),
        ("Max address space", "AS", Some((NONE, NONE))),
        ("Max file locks", "LOCKS", Some((NONE, NONE))),
        ("Max pending signals", "SIGPENDING", Some((NONE, NONE))),
        ("Max msgqueue size", "MSGQUEUE", Some((819_200, 819_200))),
        ("Max nice priority", "NICE", Some((0, 0))),
        ("Max realtime priority", "RTPRIO", Some((0, 0))),
        ("Max realtime timeout", "RTTIME", Some((NONE, NONE))),
    ];
    for (place, limits) in everywhere("cat /proc/self/limits") {
        assert_eq!(limits.lines().count(), documented.len() + 1, "{limits}");
        for (name, short, documented) in documented {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let mut words = line[name.len()..].split_whitespace();
            let mut number = || match words.next().unwrap() {
                "unlimited" => NONE,
                number => number.parse().unwrap(),
            };
            let found = (number(), number());
            let most = own[&Resource::by_name(short).unwrap()];
            match documented {
                Some((soft, hard)) => assert_eq!(found, (soft.min(most), hard.min(most)), "{name} of a {place}"),
                None => assert!(found.0 <= found.1 && found.1 <= most, "{name} of a {place}: {found:?}"),
            }
        }
    }
}

#[test]
fn limits_of_the_caller_hold() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn; ulimit -Hn; ulimit -f"]);
    command.limit(Resource::NOFILE, Limit { soft: Some(100), hard: Some(200) });
    command.limit(Resource::by_name("FSIZE").unwrap(), Limit::both(512 * 1024));
    assert_eq!(run(&mut command), "100\n200\n1024\n");
}

#[test]
fn a_limit_above_the_callers_is_refused() {
    let error = Command::new("true").limit(Resource::NOFILE, Limit::both(u64::MAX - 1)).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("NOFILE"), "{error}");
}

#[test]
fn row_113_a_fork_bomb_stops_at_the_default_limit() {
    let Some(_turn) = turn_to_start() else { return };
    if std::env::var_os("SKEP_VM").is_some() {
        return skip("four thousand processes take an emulated machine minutes");
    }
    // Builtins only at the end: no process can be made then.
    let counted = shell(
        "( i=0; while [ $i -lt 10000 ]; do sleep 60 & i=$((i+1)); done ) 2>/dev/null; set -- /proc/[0-9]*; echo $#",
    );
    let count: u64 = counted.trim().parse().unwrap();
    assert!((3000..=4096).contains(&count), "{counted}");
}

#[test]
fn a_limit_on_processes_is_counted_by_the_kernel() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sh");
    command
        .args(["-c", "read x; for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done 2>&1; wait"])
        .pids(5)
        .stdin(skep::Stdio::piped())
        .stdout(skep::Stdio::piped())
        .stderr(skep::Stdio::piped());
    let Some(mut container) = with_cgroup(&mut command) else { return };
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", container.id())).unwrap();
    assert!(groups.contains(&format!("skep-{}@", container.machine())), "{groups}");
    // Before this it cannot end, and a process that has ended is in no group.
    drop(container.stdin.take());
    let output = container.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("fork"), "{text}");
    before.assert_unchanged();
}

#[test]
fn a_memory_limit_kills_and_is_told_apart() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sh");
    // tail keeps what it reads until a line ends.
    command.args(["-c", "head -c 200M /dev/zero | tail > /dev/null"]).memory(32 << 20);
    let Some(mut container) = with_cgroup(&mut command) else { return };
    let status = container.wait().unwrap();
    assert!(status.out_of_memory(), "{status}");
    drop(container);
    let mut command = Command::new("sh");
    command.args(["-c", "kill -9 $$"]).memory(64 << 20);
    let Some(mut container) = with_cgroup(&mut command) else { return };
    let status = container.wait().unwrap();
    assert_eq!((status.signal(), status.out_of_memory()), (Some(9), false));
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_cpu_limit_is_in_the_cgroup() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sleep");
    command.arg("100").cpu(50_000, 100_000);
    let facts = Facts::gather(&command.spec()).unwrap();
    let Some(mut container) = with_cgroup(&mut command) else { return };
    let name = format!("skep-{}@", container.machine());
    let below = |parent: &std::path::Path| {
        let all = std::fs::read_dir(parent).unwrap().flatten();
        all.map(|entry| entry.path()).find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&name))
    };
    // The independent reader of what was written.
    let (place, file) = match facts.cgroups.layout {
        CgroupLayout::Unified => {
            (facts.cgroups.unified.iter().find_map(|group| below(&group.path)).unwrap(), "cpu.max")
        }
        _ => (below(&facts.cgroups.legacy["cpu"]).unwrap(), "cpu.cfs_quota_us"),
    };
    let value = std::fs::read_to_string(place.join(file)).unwrap();
    assert!(value.starts_with("50000"), "{value}");
    if facts.cgroups.layout != CgroupLayout::Unified {
        let relative = place.strip_prefix("/sys/fs/cgroup/cpu").unwrap_or(&place).to_path_buf();
        let group = cgroups_rs::Cgroup::load(Box::new(cgroups_rs::hierarchies::V1::new()), relative);
        let controller: &cgroups_rs::cpu::CpuController = group.controller_of().unwrap();
        assert_eq!(controller.cfs_quota().unwrap(), 50_000);
    }
    assert!(matches!(container.report().of("limit cpu"), Some(Outcome::Applied(_))));
    container.kill(9).unwrap();
    container.wait().unwrap();
    assert!(!place.exists(), "the group is gone with its container");
}

#[test]
fn row_068_the_cgroup_is_the_root_inside() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [skep::spec::Init::Stub, skep::spec::Init::Payload] {
        // The first line of the payload; then it waits to be looked at from outside.
        let mut command = Command::new("sh");
        command.args(["-c", "cat /proc/self/cgroup; echo $$; read line"]).pids(100).init(init);
        command.stdin(skep::Stdio::piped()).stdout(skep::Stdio::piped());
        let Some(mut container) = with_cgroup(&mut command) else { return };
        let leaf = format!("skep-{}", container.machine());
        let outside = std::fs::read_to_string(format!("/proc/{}/cgroup", container.id())).unwrap();
        let ours = |text: &str| {
            let lines = || text.lines();
            let line =
                lines().find(|line| line.contains(":pids:")).or_else(|| lines().find(|line| line.starts_with("0::")));
            line.unwrap_or_default().to_owned()
        };
        assert!(ours(&outside).contains(&leaf), "{outside}");
        drop(container.stdin.take());
        let inside = String::from_utf8(container.wait_with_output().unwrap().stdout).unwrap();
        assert!(ours(&inside).ends_with(":/"), "{inside}");
    }
}

#[test]
fn a_range_of_bad_limits() {
    for (resources, word) in [
        (serde_json::json!({"memory": 1000}), "memory"),
        (serde_json::json!({"pids": 0}), "process"),
        (serde_json::json!({"cpu": {"quota": 1, "period": 100_000}}), "quota"),
        (serde_json::json!({"cpu": {"quota": 5000, "period": 5}}), "quota"),
    ] {
        let spec: Spec =
            serde_json::from_value(serde_json::json!({"command": ["true"], "resources": resources})).unwrap();
        let error = Command::from(spec).plan().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// The container's directory in the hierarchy of a v1 controller, or in v2.
fn group_of(container: &skep::Container, controller: &str) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", container.id())).unwrap();
    let facts = facts_with_groups();
    let own = |line: &&str| match facts.cgroups.layout {
        CgroupLayout::Unified => line.starts_with("0::"),
        _ => line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller)),
    };
    let path = text.lines().find(own).unwrap().splitn(3, ':').nth(2).unwrap();
    let name = path.rsplit('/').next().unwrap();
    let parents = facts.cgroups.unified.iter().map(|group| group.path.clone());
    let parents = parents.chain(facts.cgroups.legacy.get(controller).cloned());
    parents.map(|parent| parent.join(name)).find(|path| path.join("cgroup.procs").exists()).unwrap()
}

fn facts_with_groups() -> Facts {
    let mut spec = Spec::default();
    spec.resources.pids = Some(1);
    Facts::gather(&spec).unwrap()
}

fn on_v2() -> bool {
    facts_with_groups().cgroups.layout == CgroupLayout::Unified
}

fn value(path: &Path, v2: &str, v1: &str) -> String {
    std::fs::read_to_string(path.join(if on_v2() { v2 } else { v1 })).unwrap().trim().to_owned()
}

/// A file that tells whether the payload still moves.
const TICK: &str = "while :; do echo x; sleep 0.02; done";

fn ticking(command: &mut Command) -> Option<(skep::Container, std::fs::File)> {
    let mut container = with_cgroup(command.args(["-c", TICK]).stdout(skep::Stdio::piped()))?;
    let mut output = container.stdout.take().unwrap();
    output.read_exact(&mut [0; 2]).unwrap();
    Some((container, output))
}

/// Whether something can be read within `patience`.
fn ticks(output: &std::fs::File, patience: u16) -> bool {
    let mut polled = [nix::poll::PollFd::new(output.as_fd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut polled, patience).unwrap() == 1
}

fn drain(output: &mut std::fs::File) {
    while ticks(output, 0) {
        assert!(output.read(&mut [0; 4096]).unwrap() > 0);
    }
}

#[test]
fn row_114_124_every_limit_is_in_its_file() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sleep");
    command.arg("100").memory(64 << 20).swap(8 << 20).cpu_weight(50).cpuset_cpus(NumberList::parse("0").unwrap());
    command.spec_mut().resources.memory_low = Some(16 << 20);
    let Some(container) = with_cgroup(&mut command) else { return };
    let memory = group_of(&container, "memory");
    assert_eq!(value(&memory, "memory.max", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(value(&memory, "memory.low", "memory.soft_limit_in_bytes"), (16 << 20).to_string());
    if on_v2() {
        assert_eq!(value(&memory, "memory.swap.max", ""), (8 << 20).to_string());
        assert_eq!(value(&memory, "memory.oom.group", ""), "1");
    } else if memory.join("memory.memsw.limit_in_bytes").exists() {
        assert_eq!(value(&memory, "", "memory.memsw.limit_in_bytes"), (72 << 20).to_string());
    }
    assert_eq!(value(&group_of(&container, "cpu"), "cpu.weight", "cpu.shares"), if on_v2() { "50" } else { "512" });
    assert_eq!(value(&group_of(&container, "cpuset"), "cpuset.cpus", "cpuset.cpus"), "0");
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.id())).unwrap();
    assert_eq!(skep_tests::field(&status, "Cpus_allowed_list"), "0");
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_device_is_limited_by_its_number() {
    let Some(_turn) = turn_to_start() else { return };
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.file_name());
    let Some(disk) = disks.map(|name| Path::new("/dev").join(name)).find(|path| path.exists()) else {
        return skip("no block device here");
    };
    let mut limit = IoLimit::new(&disk);
    (limit.read_bytes, limit.write_operations) = (Some(1 << 20), Some(77));
    let mut command = Command::new("sleep");
    command.arg("100").io(limit);
    let Some(container) = with_cgroup(&mut command) else { return };
    let group = group_of(&container, "blkio");
    if on_v2() {
        let text = value(&group, "io.max", "");
        assert!(text.contains("rbps=1048576") && text.contains("wiops=77"), "{text}");
    } else {
        assert!(value(&group, "", "blkio.throttle.read_bps_device").ends_with(" 1048576"));
        assert!(value(&group, "", "blkio.throttle.write_iops_device").ends_with(" 77"));
    }
    let mut command = Command::new("true");
    command.io({
        let mut limit = IoLimit::new("/dev/null");
        limit.read_bytes = Some(1);
        limit
    });
    let error = command.plan().unwrap_err();
    assert!(error.to_string().contains("/dev/null is no block device"), "{error}");
}

#[test]
fn what_a_layout_cannot_say_is_refused_by_name() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("true");
    command.spec_mut().resources.memory_high = Some(64 << 20);
    match command.plan() {
        Ok(plan) => assert!(matches!(plan.report().of("limit memory high"), Some(Outcome::Applied(_)))),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("limit memory high") && error.advice().is_some(), "{error}");
        }
    }
    let mut command = Command::new("true");
    command.cpuset_cpus(NumberList::parse("4000").unwrap());
    let error = command.plan().unwrap_err();
    assert!(error.to_string().contains("4000") || error.to_string().contains("no cgroup"), "{error}");
}

#[test]
fn a_paused_container_stands_still() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let Some((container, mut output)) = ticking(Command::new("sh").pids(50).freezing(Want::Require)) else { return };
    assert!(!container.is_paused().unwrap());
    container.pause().unwrap();
    assert!(container.is_paused().unwrap());
    drain(&mut output);
    assert!(!ticks(&output, 300), "it stands still");
    container.resume().unwrap();
    container.resume().unwrap();
    assert!(ticks(&output, 20_000), "and goes on");
    container.pause().unwrap();
    // Dropped while it is paused, it is killed and everything goes.
    drop((container, output));
    before.assert_unchanged();
    let plain = Command::new("sleep").arg("100").spawn().unwrap();
    if !plain.report().items().iter().any(|item| item.name == "limit pids" && format!("{item:?}").contains("cgroup v2"))
    {
        assert_eq!(plain.pause().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_paused_container_can_be_killed_and_stopped() {
    let Some(_turn) = turn_to_start() else { return };
    let Some((mut container, _output)) = ticking(Command::new("sh").freezing(Want::Require)) else { return };
    container.pause().unwrap();
    container.kill(9).unwrap();
    assert_eq!(container.wait_timeout(Duration::from_secs(20)).unwrap().and_then(|status| status.signal()), Some(9));
}

#[test]
fn use_is_counted() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    let busy =
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; x=$(head -c 8M /dev/zero | tr '\\0' x); echo up; sleep 100";
    command.args(["-c", busy]).memory(256 << 20).pids(40).cpu(100_000, 100_000).stdout(skep::Stdio::piped());
    let Some(mut container) = with_cgroup(&mut command) else { return };
    container.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    let stats = container.stats().unwrap();
    assert!(stats.memory.current.is_some_and(|bytes| bytes > 8 << 20), "{stats:?}");
    assert_eq!(stats.memory.oom_kills, Some(0));
    assert!(stats.pids.is_some_and(|count| (2..40).contains(&count)), "{stats:?}");
    assert!(stats.cpu.throttled_periods.is_some(), "{stats:?}");
    if on_v2() {
        assert!(stats.cpu.usage.is_some_and(|used| used > Duration::from_millis(20)), "{stats:?}");
        assert!(stats.cpu.user <= stats.cpu.usage, "{stats:?}");
    } else {
        assert!(stats.memory.peak >= stats.memory.current && stats.cpu.user.is_some(), "{stats:?}");
    }
    container.kill(9).unwrap();
    container.wait().unwrap();
    assert!(container.stats().is_err());
    // Without a group, what the first process says.
    let plain = Command::new("sleep").arg("100").spawn().unwrap();
    assert!(plain.stats().unwrap().cpu.user.is_some());
}

#[test]
fn limits_change_while_it_runs_all_or_none() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sleep");
    command.arg("100").memory(64 << 20).pids(50).cpu(50_000, 100_000);
    let Some(container) = with_cgroup(&mut command) else { return };
    let (memory, cpu) = (group_of(&container, "memory"), group_of(&container, "cpu"));
    let now = |path: &Path, v2, v1| value(path, v2, v1);
    // Up and down again: v1 wants another order for each.
    for limit in [256_u64 << 20, 32 << 20] {
        let mut change = Resources::default();
        change.memory = Some(limit);
        container.update(&change).unwrap();
        assert_eq!(now(&memory, "memory.max", "memory.limit_in_bytes"), limit.to_string());
    }
    let mut change = Resources::default();
    (change.memory, change.cpu_weight, change.pids) = (Some(128 << 20), Some(10), Some(20));
    container.update(&change).unwrap();
    assert_eq!(now(&cpu, "cpu.weight", "cpu.shares"), if on_v2() { "10" } else { "102" });
    // The last write is refused; those before it are taken back.
    change.memory = Some(48 << 20);
    change.pids = Some(u64::MAX);
    let error = container.update(&change).unwrap_err();
    assert!(error.to_string().contains("pids.max"), "{error}");
    assert_eq!(now(&memory, "memory.max", "memory.limit_in_bytes"), (128 << 20).to_string());
    assert_eq!(now(&group_of(&container, "pids"), "pids.max", "pids.max"), "20");
    change.pids = Some(0);
    assert_eq!(container.update(&change).unwrap_err().kind(), ErrorKind::InvalidSpec);
}

#[test]
fn events_are_behind_one_descriptor() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sh");
    let script = "read x; (head -c 200M /dev/zero | tail > /dev/null); read x";
    command.args(["-c", script]).memory(32 << 20).stdin(skep::Stdio::piped());
    command.spec_mut().resources.oom_group = Some(false);
    let Some(mut container) = with_cgroup(&mut command) else { return };
    let mut events = container.events().unwrap();
    assert_eq!(events.read().unwrap(), []);
    let mut input = container.stdin.take().unwrap();
    let wait = |events: &mut skep::Events| {
        // Each time that memory is short the kernel tells of it, at most every ten
        // milliseconds, and nothing has ended yet.
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let mut polled = [nix::poll::PollFd::new(events.as_fd(), nix::poll::PollFlags::POLLIN)];
            assert_eq!(nix::poll::poll(&mut polled, 30_000_u16).unwrap(), 1, "nothing in half a minute");
            let found = events.read().unwrap();
            if !found.is_empty() {
                return found;
            }
        }
        panic!("readable, and nothing to say");
    };
    std::io::Write::write_all(&mut input, b"\n").unwrap();
    assert!(matches!(wait(&mut events)[..], [Event::OutOfMemory { .. }]));
    drop(input);
    let mut last = wait(&mut events);
    while last.last() != Some(&Event::Empty) {
        last = wait(&mut events);
    }
    let status = container.wait().unwrap();
    assert!(status.out_of_memory(), "{status}");
    assert!(!events.read().unwrap().contains(&Event::Empty), "told once");
    drop((events, container));
    // Without a group: its end.
    let container = Command::new("true").spawn().unwrap();
    let mut events = container.events().unwrap();
    assert!(wait(&mut events).contains(&Event::Empty));
    drop((events, container));
    before.assert_unchanged();
}

#[test]
fn nobody_outlives_a_container_that_shares_process_ids() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let shared = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).init(skep::spec::Init::Payload).stdout(skep::Stdio::piped());
        command.spec_mut().namespaces.pid = skep::spec::Namespace::Host;
        with_cgroup(&mut command)
    };
    let gone = |pid: &str| {
        for _ in 0..400 {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    };
    for way in ["drop", "kill", "end"] {
        // A grandchild in a session of its own, which hears no signal.
        let script =
            "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo $$; sleep 1000' & read x < /dev/null; sleep 0.2";
        let tail = if way == "end" { "" } else { "; sleep 1000" };
        let Some(mut container) = shared(&format!("{script}{tail}")) else { return };
        let mut output = std::io::BufReader::new(container.stdout.take().unwrap());
        let mut pid = String::new();
        std::io::BufRead::read_line(&mut output, &mut pid).unwrap();
        match way {
            "drop" => {}
            "kill" => {
                container.kill(9).unwrap();
                assert_eq!(container.wait().unwrap().signal(), Some(9));
            }
            _ => assert!(container.wait().unwrap().success()),
        }
        drop((output, container));
        assert!(gone(pid.trim()), "{way}: process {pid} lives on");
        before.assert_unchanged();
    }
}

#[test]
fn groups_that_the_payload_made_go_with_the_container() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sleep");
    command.arg("100").memory(64 << 20).pids(50);
    let Some(container) = with_cgroup(&mut command) else { return };
    for controller in ["memory", "pids"] {
        let group = group_of(&container, controller);
        std::fs::create_dir_all(group.join("a/b/c")).unwrap();
        std::fs::create_dir_all(group.join("d")).unwrap();
    }
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_group_that_cannot_be_removed_is_said() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root moves processes of the host");
    }
    let before = HostState::look();
    let mut container = Command::new("sleep").arg("100").memory(64 << 20).spawn().unwrap();
    let group = group_of(&container, "memory");
    // A process of the host, which nobody may kill, sits below it.
    let below = group.join("busy");
    std::fs::create_dir(&below).unwrap();
    let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    std::fs::write(below.join("cgroup.procs"), other.id().to_string()).unwrap();
    assert!(container.left_behind().is_empty());
    container.kill(9).unwrap();
    container.wait().unwrap();
    let left = container.left_behind();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].errno(), Some(skep::sys::Errno::EBUSY));
    assert!(left[0].to_string().contains(group.to_str().unwrap()), "{left:?}");
    other.kill().unwrap();
    other.wait().unwrap();
    for path in [below, group] {
        std::fs::remove_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    drop(container);
    before.assert_unchanged();
}

#[test]
fn a_delegated_group_is_the_containers() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let mut command = Command::new("sleep");
    command.arg("100").delegate(true).pids(50);
    let container = match command.spawn() {
        Ok(container) => container,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("delegate") || error.to_string().contains("pids"), "{error}");
            return skip(&error.to_string());
        }
    };
    let group = group_of(&container, "pids");
    let root = std::fs::metadata(format!("/proc/{}", container.id())).unwrap().uid();
    let owner = |name: &str| std::fs::metadata(group.join(name)).unwrap().uid();
    for name in [".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        assert_eq!(owner(name), root, "{name}");
    }
    if is_root() {
        assert_eq!(owner("pids.max"), 0, "the limits stay the host's");
    }
    drop(container);
    before.assert_unchanged();
}
