//! Section 3: ids, and who may look into whom.

use std::os::unix::process::CommandExt as _;
use std::process::{Command as Process, Stdio as Pipe};

use skep::Command;
use skep::spec::{Init, User};
use skep_tests::{calls, everywhere, field, has, is_root, skip, turn_to_start};

#[test]
fn row_041_no_group_is_dropped_inside() {
    let Some(_turn) = turn_to_start() else { return };
    let seen = everywhere("cat /proc/self/setgroups; grep ^Groups: /proc/self/status");
    for (place, said) in &seen {
        let (word, groups) = said.split_once('\n').unwrap();
        if is_root() {
            // A range, mapped by root: its own groups are gone, and the filter's
            // and the capabilities' absence keep what is left.
            assert_eq!(groups.trim(), "Groups:", "{said} in a {place}");
        } else {
            assert_eq!(word, "deny", "{said} in a {place}");
        }
    }
    if is_root() {
        skip("deny is what an ordinary user's containers have; root maps a range, of which nobody is in a group");
    }
}

/// Who sets up has rights that the payload has not: nobody with the same ids looks
/// into it.
#[test]
fn row_050_the_setup_child_cannot_be_traced() {
    let Some(_turn) = turn_to_start() else { return };
    for init in [Init::Stub, Init::Payload] {
        let created = Command::new("true").init(init).create().unwrap();
        let memory = format!("/proc/{}/mem", created.id());
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&memory).unwrap());
        let mut same = if is_root() {
            // Root may look into everybody; so one who is what the child is inside.
            assert_ne!(owner, 0);
            let mut same = Process::new("sh");
            same.uid(owner).gid(owner);
            same
        } else {
            // Who made a user namespace has all rights over it, which is no secret to
            // its owner; so one with the same ids in another.
            let mut same = Process::new("unshare");
            same.args(["--user", "sh"]);
            same
        };
        let looks =
            same.args(["-c", "exec 9<$0 && echo OPEN || echo shut", &memory]).stderr(Pipe::null()).output().unwrap();
        assert!(!String::from_utf8_lossy(&looks.stdout).contains("OPEN"), "{memory} is of {owner}");
        assert!(created.start().unwrap().wait().unwrap().success());
    }
    // From inside, by a process of the same ids and rights, and by its root: see row 51
    // for what the filter says; this is what the kernel says of the stub init.
    let mut command = Command::new("sleep");
    let container = command.arg("1000").danger_no_filter().spawn().unwrap();
    for user in [0, 1000] {
        let mut process = container.exec("sh");
        process.args(["-c", "for f in mem maps environ; do (exec 9<>/proc/1/$f || exec 9</proc/1/$f) 2>/dev/null && echo OPEN $f; done; true"]);
        if user != 0 && is_root() {
            process.user(user, user);
        }
        assert_eq!(String::from_utf8_lossy(&process.output().unwrap().stdout), "", "user {user}");
    }
}

#[test]
fn row_051_nobody_outside_is_listed_and_nobody_is_traced() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    // PTRACE_TRACEME, and to attach to process 1.
    let traced = calls(&[("ptrace", &[0, 0, 0, 0]), ("ptrace", &[16, 1, 0, 0]), ("ptrace", &[0x4206, 1, 0, 0])]);
    let script = format!("{traced}; for p in /proc/[0-9]*; do cat $p/status 2>/dev/null; done");
    for (place, said) in everywhere(&script) {
        assert!(said.starts_with("ptrace 1\nptrace 1\nptrace 1\n"), "{said} in a {place}");
        let processes: Vec<&str> = said.split("Name:").skip(1).collect();
        assert!((1..=4).contains(&processes.len()), "{said} in a {place}");
        for status in processes {
            // One level: its number here is its only one in this namespace.
            assert_eq!(field(status, "NSpid").split_whitespace().count(), 1, "{said} in a {place}");
            let name = status.lines().next().unwrap().trim();
            assert!(["sh", "cat", "sleep", "skep-init", "memfd:skep"].contains(&name), "{name} in a {place}");
        }
    }
    let mut user = Command::new("sh");
    user.args(["-c", &calls(&[("ptrace", &[0, 0, 0, 0])])]).user(User::Ids { uid: 1000, gid: 1000 });
    assert_eq!(skep_tests::run(&mut user), "ptrace 1\n");
}
