//! Limits, read back from the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::facts::CgroupLayout;
use skep::spec::Limit;
use skep::sys::abi::Resource;
use skep::{Command, ErrorKind, Facts, Outcome, Spec};
use skep_tests::{HostState, is_root, run, shell, skip, turn_to_start};

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
fn every_resource_limit_is_set() {
    let Some(_turn) = turn_to_start() else { return };
    let limits = shell("cat /proc/self/limits");
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(hard("Max core file size"), "1");
    assert_eq!(hard("Max nice priority"), "0");
    assert_eq!(hard("Max realtime priority"), "0");
    let own = Facts::gather(&Spec::default()).unwrap().hard_limits;
    assert_eq!(hard("Max open files"), own[&Resource::NOFILE].min(524_288).to_string());
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
fn a_fork_bomb_stops_at_the_default_limit() {
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
    assert!(groups.contains(&format!("skep-{}", container.machine())), "{groups}");
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
    let name = format!("skep-{}", container.machine());
    // The independent reader of what was written.
    let (place, file) = match facts.cgroups.layout {
        CgroupLayout::Unified => {
            let parent = facts.cgroups.unified.iter().find(|group| group.path.join(&name).exists()).unwrap();
            (parent.path.join(&name), "cpu.max")
        }
        _ => (facts.cgroups.legacy["cpu"].join(&name), "cpu.cfs_quota_us"),
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
fn the_cgroup_is_the_root_inside() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("cat");
    command.arg("/proc/self/cgroup").pids(100).stdout(skep::Stdio::piped());
    let Some(container) = with_cgroup(&mut command) else { return };
    let text = String::from_utf8(container.wait_with_output().unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains(":pids:") || line.starts_with("0::")).unwrap();
    assert!(line.ends_with(":/"), "{text}");
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
