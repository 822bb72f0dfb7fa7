//! Section 7: configuration, names, environment.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command as Process;

use skep::Command;
use skep::spec::{Init, UserNamespace};
use skep_tests::{Scratch, everywhere, turn_to_start};

/// What a start is made of, and what a payload sees, whatever the embedder's own
/// environment says.
#[test]
fn row_129_the_environment_does_not_steer_a_start() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let marked = scratch.path().join("marked");
    // Programs of the names that could be looked for.
    for name in ["newuidmap", "newgidmap", "mount", "true", "sh", "modprobe", "ip", "env"] {
        let program = scratch.file(&format!("bin/{name}"), &format!("#!/bin/sh\n: >{}\nexit 0\n", marked.display()));
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = |process: &mut Process| {
        let output = process.args(["--exact", "configuration::prints", "--ignored", "--nocapture"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let start = text.find("BEGIN").unwrap();
        text[start..text.find("END").unwrap()].to_owned()
    };
    let program = std::env::current_exe().unwrap();
    let plain = said(Process::new(&program).env_clear());
    let path = format!("{}:/usr/bin", scratch.path().join("bin").display());
    let mut hostile = Process::new(&program);
    for (name, value) in [
        ("PATH", path.as_str()),
        ("HOME", "/nowhere"),
        ("TMPDIR", "/nowhere"),
        ("SHELL", "/nowhere"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("IFS", "/"),
        ("ENV", "/nowhere"),
        ("LANG", "tr_TR.UTF-8"),
        ("TZ", ":/nowhere"),
        ("USER", "root"),
        ("container", "lxc"),
        ("NOTIFY_SOCKET", "/nowhere"),
        ("LISTEN_FDS", "3"),
        ("SKEP_TEST_SECRET", "hunter2"),
        ("SKEP_DYNAMIC", "1"),
    ] {
        hostile.env(name, value);
    }
    assert_eq!(said(&mut hostile), plain);
    assert!(!marked.exists(), "a program out of the environment's PATH was run");
}

#[test]
#[ignore = "run by row_129_the_environment_does_not_steer_a_start, in a process of its own"]
fn prints() {
    let mut seen = String::from("BEGIN\n");
    for (place, said) in
        everywhere("cat /proc/self/environ | tr '\\0' '\\n'; umask; pwd; cat /proc/1/cmdline 2>/dev/null | wc -c")
    {
        seen += &format!("{place}:\n{said}");
    }
    // Where helpers map the ids, they have an environment of nothing.
    let mut helped = Command::new("env");
    helped.user_namespace(UserNamespace::Subordinate).init(Init::Payload);
    match helped.output() {
        Ok(output) => seen += &String::from_utf8_lossy(&output.stdout),
        Err(error) => seen += &format!("{:?}", error.kind()),
    }
    println!("{seen}END");
}
