//! Section 6: resources, lifetime, availability.

use std::io::Read as _;
use std::time::Duration;

use skep::spec::Init;
use skep::{Command, ErrorKind, Stdio};
use skep_tests::{HostState, Scratch, everywhere, skip, turn_to_start};

/// The value 1 is the one that also keeps a piped `core_pattern` from running its
/// helper (core(5)).
#[test]
fn row_116_a_crash_starts_no_helper() {
    let Some(_turn) = turn_to_start() else { return };
    for (place, said) in everywhere("grep 'Max core file size' /proc/self/limits; ulimit -Sc; ulimit -Hc") {
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words[4..6], ["1", "1"], "{said} in a {place}");
        // In blocks of 512 bytes.
        assert_eq!(words[words.len() - 2..], ["0", "0"], "{said} in a {place}");
    }
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let helper = pattern.strip_prefix('|').and_then(|line| line.split_whitespace().next()).map(str::to_owned);
    let running = || {
        let names = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|process| std::fs::read_link(process.path().join("exe")).ok());
        names.filter(|name| Some(name.as_os_str()) == helper.as_deref().map(std::ffi::OsStr::new)).count()
    };
    let scratch = Scratch::new();
    let place = scratch.directory("crash");
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let before = running();
    for init in [Init::Stub, Init::Payload] {
        for script in ["kill -SEGV $$", "sh -c 'kill -SEGV $$'; kill -ABRT $$"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).bind(&place, "/crash").current_dir("/crash").init(init);
            let status = command.status().unwrap();
            // Process 1 is not killed by its own signal, where it has no handler.
            assert!(init == Init::Payload || status.signal().is_some(), "{status}");
            assert_eq!(running(), before, "{pattern}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(&place).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Processes whose control groups have this container's name.
fn members(machine: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let name = format!("skep-{machine}");
    let groups = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cgroup")).ok());
    groups.filter(|groups| groups.contains(&name)).collect()
}

#[test]
fn row_118_nobody_survives_a_stop() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    // Twice forked, in sessions of their own, deaf, and stopped.
    let script = "for i in 1 2 3; do (setsid sh -c \"trap '' TERM HUP INT; kill -STOP \\$\\$; sleep 1000\" >/dev/null 2>&1 &); done
        sleep 0.2; echo up; trap '' TERM; while :; do sleep 0.05; done";
    for init in [Init::Stub, Init::Payload] {
        for group in [true, false] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).init(init).stdout(Stdio::piped());
            if group {
                command.pids(100);
            }
            let mut container = match command.spawn() {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    skip(&error.to_string());
                    continue;
                }
                started => started.unwrap(),
            };
            let machine = container.machine().as_str().to_owned();
            container.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
            let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", container.id()));
            if group {
                assert!(members(&machine).len() >= 4, "{:?}", members(&machine));
            }
            container.stop(Duration::from_millis(50)).unwrap();
            assert_eq!(members(&machine), [] as [String; 0]);
            // Whatever group they may be in.
            if let Ok(namespace) = namespace {
                let processes = std::fs::read_dir("/proc").unwrap().flatten();
                let mut left = processes.filter_map(|process| std::fs::read_link(process.path().join("ns/pid")).ok());
                assert!(!left.any(|of| of == namespace), "a process is left in {}", namespace.display());
            }
        }
    }
    before.assert_unchanged();
}

#[test]
fn row_123_the_payload_cannot_widen_its_limits() {
    let Some(_turn) = turn_to_start() else { return };
    let own = "for score in -1 -1000; do (echo $score >/proc/self/oom_score_adj) 2>/dev/null && echo LOWERED; done
        (ulimit -Hc unlimited) 2>/dev/null && echo RAISED; (ulimit -Hn 1000000000) 2>/dev/null && echo RAISED; true";
    for (place, said) in everywhere(own) {
        assert_eq!(said, "", "{place}");
    }
    let script = "for f in pids.max memory.max cgroup.procs pids/pids.max; do
            (echo max >/sys/fs/cgroup/$f) 2>/dev/null && echo WROTE $f; done
        cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; echo end";
    for delegate in [false, true] {
        for init in [Init::Stub, Init::Payload] {
            let mut command = Command::new("sh");
            match command.args(["-c", script]).pids(77).delegate(delegate).init(init).output() {
                Err(error) if error.kind() == ErrorKind::Unsupported => skip(&error.to_string()),
                output => {
                    let said = skep_tests::checked(output.unwrap());
                    assert!(!said.contains("WROTE") && said.ends_with("end\n"), "delegated {delegate}: {said}");
                    assert!(!said.contains("max"), "delegated {delegate}: {said}");
                }
            }
        }
    }
}
