//! Sockets of a machine that its host reaches, and whose a machine's name is.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stand::{SKEP, has, skip, turn, until};
use crate::view::{Tree, tree};

/// Where the host finds them.
fn exported(name: &str) -> PathBuf {
    Path::new("/run/systemd/nspawn").join(name).join("unix-export")
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Mounts on a path, the topmost last: flags and type.
fn mounted(path: &Path) -> Vec<String> {
    let at = |line: &&str| line.split(' ').nth(4) == path.to_str();
    mounts().lines().filter(at).map(str::to_owned).collect()
}

fn skep(tree: &Tree, name: &str, options: &[&str], command: &[&str]) -> Command {
    let mut skep = Command::new(SKEP);
    skep.args(["nspawn", "--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&tree.0);
    skep.args(["-M", name]).args(options).args(command).stdin(Stdio::null());
    skep
}

/// A machine that runs until it is ended.
fn starts(tree: &Tree, name: &str, options: &[&str]) -> Child {
    let mut child = skep(tree, name, options, &["/bin/sh", "-c", "echo up; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    assert_eq!(&text, b"up\n");
    child
}

fn ends(mut child: Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Answers one caller, after a look at its place; then fills it.
const LISTENS: &str = r#"
import os, socket
place = "/run/host/unix-export/"
if not os.path.exists(place):
    print("none"); raise SystemExit
def line(words): return words[4] + "/" == place and " ".join(words[5:])
print(*filter(None, (line(text.split()) for text in open("/proc/self/mountinfo"))))
at = os.statvfs(place); own = os.stat(place)
print(own.st_uid, own.st_gid, oct(own.st_mode), at.f_blocks * at.f_frsize, at.f_files)
os.symlink("/etc", place + "link")
listening = socket.socket(socket.AF_UNIX)
listening.bind(place + "ssh"); listening.listen()
caller = listening.accept()[0]
print("asked", caller.recv(9).decode()); caller.send(b"inside"); caller.recv(9)
os.unlink(place + "ssh"); os.unlink(place + "link")
def fill(put):
    made = 0
    try:
        while made < 1000: put(made); made += 1
    except OSError as error: print(made, error.strerror)
fill(lambda n: open(place + str(n), "w").close())
for n in range(62): os.unlink(place + str(n))
big = open(place + "big", "wb", buffering=0)
fill(lambda n: big.write(b"x" * 65536))
"#;

/// Calls it, and tries what it must not.
const CALLS: &str = r#"
import os, socket, sys
place = sys.argv[1]
own = os.stat(place); print("owner", own.st_uid, own.st_gid)
print(*(" ".join(words[5:]) for words in map(str.split, open("/proc/self/mountinfo")) if words[4] == place))
caller = socket.socket(socket.AF_UNIX)
caller.connect(place + "/ssh"); caller.send(b"outside"); print("heard", caller.recv(9).decode())
for what in (lambda: open(place + "/x", "w"), lambda: os.unlink(place + "/ssh"), lambda: os.stat(place + "/link/passwd")):
    try: what(); print("done")
    except OSError as error: print(error.strerror)
"#;

#[test]
fn a_socket_of_a_machine_is_reached_from_the_host() {
    let _turn = turn();
    let tree = tree!("export");
    if !has("unshare") || !has("python3") {
        return skip("there is no unshare(1), or no python3(1)");
    }
    let name = format!("export-{}", std::process::id());
    let own = exported(&name);
    let before = mounts();
    for (script, text) in [("listens.py", LISTENS), ("calls.py", CALLS)] {
        std::fs::write(tree.0.join("etc").join(script), text).unwrap();
    }
    for (options, base) in [
        ("", Some("0")),
        ("-a", Some("0")),
        ("--private-network", Some("0")),
        ("--read-only", Some("0")),
        ("--private-users=1000000:65536 --private-users-ownership=map", Some("1000000")),
        ("--private-users=identity", Some("0")),
        ("-U", None),
    ] {
        // The host's `/run` is shared, as systemd has it: what is mounted spreads, but not
        // into the machine.
        let script = format!(
            "mount --bind /run /run; mount --make-shared /run
            {SKEP} nspawn --register=no --keep-unit --pipe -q --bind-ro=/usr -D {tree} -M {name} {options} \
                python3 -u /etc/listens.py < /dev/null & skep=$!
            until [ -S {own}/ssh ]; do kill -0 $skep || exit; sleep 0.05; done
            python3 {tree}/etc/calls.py {own}; wait $skep; echo left $(grep -c {name} /proc/self/mountinfo)",
            tree = tree.0.display(),
            own = own.display(),
        );
        let within = ["60", "unshare", "--mount", "--propagation=private", "sh", "-c"];
        let output = Command::new("timeout").args(within).arg(&script).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let all = format!("{options}: {text}{}", said(&output));
        let found = |start: &str| lines.iter().find(|line| line.starts_with(start)).copied().unwrap_or_default();
        // Of the machine's root, on either side.
        assert!(lines.contains(&"0 0 0o40755 4194304 64"), "{all}");
        let owner = found("owner ");
        assert!(base.map_or(owner != "owner 0 0", |base| owner == format!("owner {base} {base}")), "{all}");
        let (outside, inside) = (found("ro,"), found("rw,"));
        for flag in ["nosuid", "nodev", "noexec", "nosymfollow", "tmpfs"] {
            let has = |line: &str| line.split([',', ' ']).any(|one| one == flag);
            assert!(has(outside) && has(inside), "{flag}: {all}");
        }
        let group = |line: &str| line.split(' ').find(|word| word.starts_with("shared:")).map(str::to_owned);
        assert!(group(outside).is_some() && group(outside) != group(inside) && !inside.contains("master:"), "{all}");
        // The purpose; and what the host neither does there nor is led to.
        assert!(lines.contains(&"asked outside") && lines.contains(&"heard inside"), "{all}");
        assert_eq!(lines.iter().filter(|line| **line == "Read-only file system").count(), 2, "{all}");
        assert!(lines.contains(&"Too many levels of symbolic links"), "{all}");
        // 64 entries with the top and the socket that still listens, and 4 MB.
        assert!(
            lines.contains(&"62 No space left on device") && lines.contains(&"64 No space left on device"),
            "{all}"
        );
        assert!(lines.contains(&"left 0") && !own.parent().unwrap().exists(), "{all}");
    }
    // Ids that are managed, and an ordinary user's own: there is none, as with the original.
    let listens = ["python3", "-u", "/etc/listens.py"];
    let output = skep(&tree, &name, &["--private-users=managed", "--private-network"], &listens).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "none\n", "{}", said(&output));
    assert!(before == mounts() && !own.parent().unwrap().exists());
}

#[test]
fn what_is_mounted_ends_with_its_machine() {
    let _turn = turn();
    let tree = tree!("export-end");
    let name = format!("export-end-{}", std::process::id());
    let (own, before) = (exported(&name), mounts());
    for (options, killed) in [(&[][..], false), (&["-a"], true), (&["-U"], true), (&[], true)] {
        let mut child = starts(&tree, &name, options);
        assert_eq!(mounted(&own).len(), 1, "{options:?}");
        // Somebody looks into it just now.
        let held = std::fs::File::open(&own).unwrap();
        if killed {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            ends(child);
        }
        assert!(until(10, || before == mounts() && !own.parent().unwrap().exists()), "{options:?} {killed}");
        drop(held);
    }
    assert!(!skep(&tree, &name, &[], &["/no/such/program"]).output().unwrap().status.success());
    assert!(before == mounts() && !own.parent().unwrap().exists());
    // One that goes on by itself.
    let mut detached = Command::new(SKEP);
    detached.args(["nspawn", "--detach", "--bind-ro=/usr", "-D"]).arg(&tree.0);
    let output = detached.args(["-M", &name, "/bin/sleep", "1000"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success() && mounted(&own).len() == 1, "{}", said(&output));
    assert!(Command::new(SKEP).args(["kill", &name, "--signal=KILL"]).status().unwrap().success());
    assert!(until(10, || before == mounts() && !own.parent().unwrap().exists()));
}

/// Kills a machine's `skep` and who would clear up after that.
fn killed_with_its_watcher(mut child: Child) {
    let own = format!("\nPPid:\t{}\n", std::process::id());
    let watches = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.starts_with("Name:\tskep-watch\n") && status.contains(&own) && !status.contains("\nState:\tZ")
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    // The last that was started.
    let watcher = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(watches).max();
    let watcher = Pid::from_raw(watcher.expect("a watcher"));
    kill(watcher, Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(watcher, None).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // The machine, which has no owner any more.
    for pid in children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())) {
        nix::sys::wait::waitpid(pid, None).unwrap();
    }
}

fn gc() -> String {
    String::from_utf8_lossy(&Command::new(SKEP).arg("gc").output().unwrap().stdout).into_owned()
}

#[test]
fn what_a_killed_one_has_left_is_in_nobodys_way() {
    let _turn = turn();
    let tree = tree!("export-killed");
    // The watcher is nobody's child but of who adopts.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let (name, other) =
        (format!("export-killed-{}", std::process::id()), format!("export-lives-{}", std::process::id()));
    let (own, before) = (exported(&name), mounts());
    let left = || {
        killed_with_its_watcher(starts(&tree, &name, &["-a"]));
        assert_eq!(mounted(&own).len(), 1);
    };
    left();
    // The next of the name takes it away, at once, and has one of its own.
    let tree2 = tree!("export-lives");
    let child = starts(&tree, &name, &[]);
    let neighbour = starts(&tree2, &other, &[]);
    assert_eq!(mounted(&own).len(), 1);
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
    ends(child);
    assert!(until(10, || mounted(&own).is_empty() && !own.parent().unwrap().exists()));
    // Or it is collected; what lives is left alone.
    left();
    let mut said = String::new();
    let collected = until(10, || {
        said += &gc();
        said.contains(&format!("removed mount {}\n", own.display()))
    });
    assert!(collected, "{said}");
    assert!(mounted(&own).is_empty() && !own.parent().unwrap().exists());
    assert!(!said.contains(&other) && mounted(&exported(&other)).len() == 1, "{said}");
    ends(neighbour);
    assert!(until(10, || before == mounts()));
}

#[test]
fn a_name_is_one_machines_alone() {
    let _turn = turn();
    let (tree, tree2) = (tree!("export-name"), tree!("export-name-2"));
    let name = format!("export-name-{}", std::process::id());
    let (own, before) = (exported(&name), mounts());
    let refused = |with: &[&str]| {
        let output = skep(&tree2, &name, &[], &["/bin/true"]).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success() && with.iter().all(|with| said.contains(with)), "{said}");
    };
    // Another of ours, which is registered whatever was said of systemd-machined.
    let child = starts(&tree, &name, &[]);
    refused(&["a container of this name lives", "Choose another name"]);
    assert_eq!(mounted(&own).len(), 1);
    ends(child);
    // What somebody has just mounted there may be that of a machine that systemd-nspawn starts.
    std::fs::create_dir_all(&own).unwrap();
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("theirs"), &own, Some("tmpfs"), flags, Some("size=4M,mode=755")).unwrap();
    refused(&["EXDEV", "--cleanup"]);
    assert!(mounted(&own).len() == 1 && mounted(&own)[0].contains(" theirs "));
    // One that has it is a machine of that name, though we know nothing of it.
    if has("unshare") {
        let inside = format!("mount --bind {} /mnt && echo up && exec sleep 1000", own.display());
        let within = ["--mount", "--propagation=private", "sh", "-c", &inside];
        let mut theirs = Command::new("unshare").args(within).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(theirs.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        refused(&["of another program runs", &format!("process {}", theirs.id()), "Choose another name"]);
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
    // Or by what mounts come in: systemd-nspawn 252 has that alone.
    assert_eq!(umount2(&own, MntFlags::MNT_DETACH), Ok(()));
    std::fs::remove_dir(&own).unwrap();
    std::fs::remove_dir(own.parent().unwrap()).unwrap();
    if has("systemd-nspawn") {
        let mut original = Command::new("systemd-nspawn");
        original.args(["--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&tree.0);
        original.args(["-M", &name, "/bin/sh", "-c", "echo up; exec sleep 1000"]).stdin(Stdio::null());
        let mut original = original.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut text = [0; 3];
        if std::io::Read::read_exact(original.stdout.as_mut().unwrap(), &mut text).is_ok() {
            refused(&["of another program runs", "Choose another name"]);
        }
        kill(Pid::from_raw(original.id() as i32), Signal::SIGTERM).unwrap();
        original.wait().unwrap();
    }
    // Ten seconds later nobody is just starting it: what is left there by another program is
    // taken away by `gc`, or the next start.
    std::fs::create_dir_all(&own).unwrap();
    mount(Some("theirs"), &own, Some("tmpfs"), flags, Some("size=4M,mode=755")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(12));
    if std::fs::read_link("/proc/self/ns/pid").unwrap() == Path::new("pid:[4026531836]") {
        let child = starts(&tree, &name, &[]);
        assert!(mounted(&own).len() == 1 && !mounted(&own)[0].contains(" theirs "));
        ends(child);
    } else {
        umount2(&own, MntFlags::MNT_DETACH).unwrap();
        let _ = std::fs::remove_dir(&own).and_then(|()| std::fs::remove_dir(own.parent().unwrap()));
    }
    assert!(until(10, || before == mounts() && !own.parent().unwrap().exists()));
    assert_eq!(nix::unistd::access(&own, nix::unistd::AccessFlags::F_OK), Err(Errno::ENOENT));
}
