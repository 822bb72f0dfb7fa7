//! Mounts of the host that come into a machine that runs, as machinectl(1) brings them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::stand::{SKEP, has, skip, turn, until};
use crate::view::{Tree, tree};

/// The directory of a machine on the host.
fn propagate(name: &str) -> PathBuf {
    Path::new("/run/systemd/nspawn/propagate").join(name)
}

/// A machine in a mount namespace of its own, whose `/run` is shared as systemd has it; and
/// what is done there meanwhile.
struct Stand<'a> {
    tree: &'a Tree,
    name: String,
}

impl Stand<'_> {
    /// Runs `meanwhile` once the machine is there: what it prints, after what the machine does.
    fn run(&self, options: &str, inside: &str, meanwhile: &str) -> Output {
        let (name, tree) = (&self.name, self.tree.0.display());
        let script = format!(
            "set -e; mount --bind /run /run; mount --make-shared /run
            {SKEP} nspawn --register=no --keep-unit --pipe -q --bind-ro=/usr -D {tree} -M {name} {options} \
                /bin/sh -c '{inside}' < /dev/null & skep=$!
            in={in}; until [ -e {tree}/ready ]; do kill -0 $skep; sleep 0.05; done; rm {tree}/ready
            {meanwhile}
            wait $skep",
            in = propagate(name).display()
        );
        let within = ["60", "unshare", "--mount", "--propagation=private", "sh", "-c"];
        Command::new("timeout").args(within).arg(&script).output().unwrap()
    }
}

/// The flags and the propagation of the directory inside.
const LINE: &str = "while read -r _ _ _ _ point flags rest; do [ $point = /run/host/incoming ] && echo $flags ${rest%% - *}; done < /proc/self/mountinfo";

#[test]
fn mounts_of_the_host_come_in_and_none_goes_back() {
    let _turn = turn();
    let tree = tree!("incoming");
    if !has("unshare") {
        return skip("there is no unshare(1)");
    }
    std::fs::create_dir(tree.0.join("srv")).unwrap();
    std::fs::write(tree.0.join("srv/word"), "pushed\n").unwrap();
    let stand = Stand { tree: &tree, name: format!("incoming-{}", std::process::id()) };
    for (options, moves) in [
        ("", true),
        ("-a", true),
        ("--private-users=1000000:65536 --private-users-ownership=map", false),
        ("--private-network", true),
    ] {
        let inside = format!(
            "{LINE}; stat -c %a /run/host/incoming; touch /ready; touch /run/host/incoming/x 2> /dev/null && echo written; \
             until grep -q /incoming/new /proc/self/mountinfo; do sleep 0.05; done; \
             cat /run/host/incoming/new/word 2> /dev/null || echo closed; \
             mount -t tmpfs inside /run/host/incoming/new/deep 2> /dev/null; \
             mount --move /run/host/incoming/new /tmp/there 2> /dev/null && cat /tmp/there/word; true"
        );
        let inside = format!("mkdir -p /tmp/there; {inside}");
        let meanwhile = format!(
            "mkdir $in/new; mkdir -p {srv}/deep; mount --bind {srv} $in/new; wait $skep || echo failed
             grep -c ' inside ' /proc/self/mountinfo || true; umount $in/new 2> /dev/null || true; rmdir $in/new 2> /dev/null || true",
            srv = tree.0.join("srv").display()
        );
        let output = stand.run(options, &inside, &meanwhile);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = said.lines();
        let mount = lines.next().unwrap_or_default();
        let (flags, spreads) = mount.split_once(' ').unwrap_or_default();
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(flags.split(',').any(|one| one == flag), "{options}: {mount}");
        }
        assert!(spreads.starts_with("master:") && !spreads.contains("shared:"), "{options}: {mount}");
        // The directory is the host root's alone, who is nobody of a user namespace.
        let expected: &[&str] = if moves { &["600", "pushed", "pushed", "0"] } else { &["600", "closed", "0"] };
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{options}: {}", String::from_utf8_lossy(&output.stderr));
        // What was there when the machine ended kept it: `rmdir` above has not been in time.
        let _ = std::fs::remove_dir(propagate(&stand.name));
    }
}

#[test]
fn the_directory_ends_with_its_machine() {
    let _turn = turn();
    let tree = tree!("incoming-end");
    let name = format!("incoming-end-{}", std::process::id());
    let own = propagate(&name);
    let starts = |options: &[&str]| -> Child {
        let mut skep = Command::new(SKEP);
        skep.args(["nspawn", "--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&tree.0);
        skep.args(["-M", &name]).args(options).args(["/bin/sh", "-c", "echo up; exec sleep 1000"]);
        let mut child = skep.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut text = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut text).unwrap();
        assert_eq!(&text, b"up\n");
        child
    };
    // One that a killed program has left is taken.
    std::fs::create_dir_all(&own).unwrap();
    for (options, kill) in [(&[][..], false), (&["-a"], true), (&["-U"], true), (&[], true)] {
        let mut child = starts(options);
        assert!(own.is_dir(), "{options:?}");
        if kill {
            child.kill().unwrap();
        } else {
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        child.wait().unwrap();
        assert!(until(10, || !own.exists()), "{options:?} {kill}");
    }
    assert!(!tree.run(&["-M", &name], &[], &["/no/such/program"]).status.success() && !own.exists());
    // What lies above it stays; what somebody has put into it too, and that is said.
    let mut child = starts(&[]);
    std::fs::write(own.join("somebody's"), "").unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    assert!(own.join("somebody's").exists());
    std::fs::remove_dir_all(&own).unwrap();
}

#[test]
fn what_nobody_has_mounted_is_collected() {
    let _turn = turn();
    let tree = tree!("incoming-left");
    let (left, used) = (format!("left-{}", std::process::id()), format!("used-{}", std::process::id()));
    let mut skep = Command::new(SKEP);
    skep.args(["nspawn", "--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&tree.0);
    let mut child = skep.args(["-M", &used, "/bin/sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
    assert!(until(10, || propagate(&used).exists()));
    std::fs::create_dir(propagate(&left)).unwrap();
    // It could be that of a machine that just starts.
    let gc = || Command::new(SKEP).arg("gc").output().unwrap();
    let first = gc();
    assert!(propagate(&left).exists() && !String::from_utf8_lossy(&first.stdout).contains(&left));
    std::thread::sleep(std::time::Duration::from_secs(12));
    let second = gc();
    let said = String::from_utf8_lossy(&second.stdout);
    let all = std::fs::read_link("/proc/self/ns/pid").unwrap() == Path::new("pid:[4026531836]");
    assert_eq!(said.contains(&format!("removed directory {}", propagate(&left).display())), all, "{said}");
    assert!(propagate(&left).exists() != all && propagate(&used).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(until(10, || !propagate(&used).exists()));
    let _ = std::fs::remove_dir(propagate(&left));
}
