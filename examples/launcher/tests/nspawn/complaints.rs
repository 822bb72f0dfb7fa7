//! What users of `systemd-nspawn` suffer from, by the numbers of the guide's table: what it
//! says of them is what happens. 5, 6 and 8 are in `networks.rs` and `asserted.rs`, 9 there
//! too; 11 is `skep exec` in `tests/launcher`, 14 `tests/real/killed.rs`, 15
//! `t29_an_ordinary_user_has_managed_users_and_a_network_of_his_own`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::stand::{SKEP, turn};
use crate::tree::{ALWAYS, Ran, Tree, refused, run};

/// A settings file that is trusted, removed at the end.
struct Settings {
    name: String,
    path: PathBuf,
}

impl Settings {
    fn new(number: &str, text: &str) -> Self {
        let name = format!("complaint-{number}-{}", std::process::id());
        let path = Path::new("/run/systemd/nspawn").join(format!("{name}.nspawn"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        Self { name, path }
    }

    fn run(&self, tree: &Tree, words: &[&str]) -> Ran {
        run(&[&ALWAYS[..5], &["-D", tree.root.to_str().unwrap(), "-M", &self.name], words].concat(), &[])
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// 1: a second procfs is not to be had under a masked one, and who tries hears it from the
/// kernel: nothing is opened for that.
#[test]
fn c01_a_second_procfs_stays_refused() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let script = "unshare --user --map-root-user --pid --fork --mount --mount-proc true 2>&1 && echo mounted; true";
    let said = tree.says(&["-U"], script);
    assert!(!said.contains("mounted"), "{said}");
}

#[test]
fn c02_mounts_of_line_and_file_add_up_where_that_is_asked() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let data = tree.scratch.file("data/of-file", "").parent().unwrap().display().to_string();
    let settings = Settings::new(
        "2",
        &format!("[Files]\nBindReadOnly=/usr\nBindReadOnly={data}:/mnt\nTemporaryFileSystem=/srv\n"),
    );
    let script = ["--tmpfs=/opt", "/usr/bin/sh", "-c", "ls /mnt; grep -cE ' /(mnt|srv|opt) ' /proc/self/mountinfo"];
    let both = settings.run(&tree, &[&["--merge=additive"], &script[..]].concat());
    assert_eq!((both.code, both.stdout.as_str()), (Some(0), "of-file\n3"), "{both:?}");
    // As the original, the line's alone: not even /usr is bound.
    let line = settings.run(&tree, &script);
    assert!(line.code == Some(1) && line.stderr.contains("sh"), "{line:?}");
}

#[test]
fn c03_parameters_alone_are_the_command() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let settings =
        Settings::new("3", "[Exec]\nParameters=/bin/sh -c 'echo $0' 'of the file'\n[Files]\nBindReadOnly=/usr\n");
    let ran = settings.run(&tree, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "of the file"), "{ran:?}");
}

#[test]
fn c04_a_network_of_the_file_is_switched_off() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let settings = Settings::new("4", "[Network]\nVirtualEthernet=yes\nPort=80\n[Files]\nBindReadOnly=/usr\n");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let ran = settings.run(&tree, &["--private-network=no", "/usr/bin/readlink", "/proc/self/ns/net"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), own.to_str().unwrap()), "{ran:?}");
}

#[test]
fn c07_mounts_below_sys_come_after_the_skeleton() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let data = tree.scratch.file("data/file", "bound\n").parent().unwrap().display().to_string();
    let bind = format!("--bind-ro={data}:/sys/skep-test");
    for network in [&["--private-network"][..], &["--private-network", "-U"]] {
        assert_eq!(tree.says(&[&[bind.as_str()], network].concat(), "cat /sys/skep-test/file"), "bound", "{network:?}");
    }
    if Path::new("/sys/firmware").is_dir() {
        let said = tree.says(&["--private-network", "--bind-ro=/sys/firmware"], "test -d /sys/firmware && ls /sys");
        assert!(said.lines().any(|line| line == "firmware"), "{said}");
    }
    tree.refuses(&["--bind=/mnt:/sys"]);
    tree.refuses(&["--bind=/mnt:/proc/skep-test"]);
}

/// 9: two machines never have one address, and who wants a certain one says it.
#[test]
fn c09_addresses_of_hardware_differ_and_can_be_said() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let show = "cat /sys/class/net/host0/address";
    let address = |options: &[&str]| {
        let words =
            [&ALWAYS[..], &["-D", tree.root.to_str().unwrap(), "-n"], options, &["/bin/sh", "-c", show]].concat();
        let mut command = Command::new("unshare");
        let output = command.args(["--net", SKEP]).args(words).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let derived = ["web-1", "web-2", "web-11"].map(|name| address(&["-M", name]));
    let different: std::collections::BTreeSet<&String> = derived.iter().collect();
    assert_eq!(different.len(), 3, "{derived:?}");
    assert_eq!(address(&["-M", "web-1"]), derived[0], "and stays");
    assert_eq!(address(&["-M", "web-1", "--network-mac=02:00:00:00:00:aa"]), "02:00:00:00:00:aa\n");
}

/// 12: what a bundle asks for is done by nothing here, and the error says where it goes.
#[test]
fn c12_bundles_are_refused_by_name() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let bundle = tree.scratch.file("bundle/config.json", "{\"ociVersion\":\"1.0.0\"}");
    let option = format!("--oci-bundle={}", bundle.parent().unwrap().display());
    let words = [option.as_str(), "/bin/echo", "ran"];
    let ran = tree.run(&words);
    refused(&ran, &words);
    assert!(ran.stderr.contains("--oci-bundle") && ran.stderr.contains("; write what its config.json"), "{ran:?}");
    let ran = run(&["oci", "create", "a"], &[]);
    assert!(ran.code == Some(1) && ran.stderr.contains("oci") && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn c13_one_tree_has_many_machines_and_the_hosts_own_can_be_one() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let script = "echo mine > /marker; sleep 1; cat /marker";
    let started: Vec<_> = (0..3)
        .map(|_| {
            let mut command = Command::new(SKEP);
            command.args(ALWAYS).arg("-D").arg(&tree.root).args(["-x", "/bin/sh", "-c", script]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "mine\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!tree.root.join("marker").exists());
    let words =
        [&ALWAYS[..5], &["-D", "/", "-x", "/bin/sh", "-c", "echo x > /etc/skep-complaint && cat /etc/skep-complaint"]];
    let ran = run(&words.concat(), &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "x"), "{ran:?}");
    assert!(!Path::new("/etc/skep-complaint").exists());
}

#[test]
fn c16_the_right_to_low_ports_is_kept_where_it_is_asked_for() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let holds = |options: &[&str]| {
        let said = tree.says(options, "grep CapBnd /proc/self/status");
        let mask = u64::from_str_radix(said.split_whitespace().last().unwrap(), 16).unwrap();
        mask >> 10 & 1 == 1
    };
    assert!(
        !holds(&["-U"]) && holds(&["-U", "--capability=CAP_NET_BIND_SERVICE"]) && holds(&["-U", "--private-network"])
    );
}

#[test]
fn c19_a_procfs_of_the_tree_is_covered() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    std::fs::create_dir_all(tree.root.join("proc")).unwrap();
    let script = "mount -t proc proc $0/proc && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", script]).arg(&tree.root).arg(SKEP).args(ALWAYS);
    let output = command.arg("-D").arg(&tree.root).args(["/bin/sh", "-c", "readlink /proc/self; ls -d /proc/[0-9]*"]);
    let output = output.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.lines().count() <= 4 && said.contains("/proc/1\n"), "{said}");
}

/// 20: what there is stays as it is, and where there is nothing an empty mount point is made.
#[test]
fn c20_what_lies_over_the_tree_is_not_written_into_it() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let all = |tree: &Tree| {
        let listed = Command::new("find").arg(&tree.root).args(["-printf", "%P %y %s %T@\n"]).output().unwrap();
        let mut lines: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    std::fs::write(tree.root.join("etc/resolv.conf"), "# the tree's\n").unwrap();
    let options = ["--resolv-conf=copy-host", "--timezone=copy"];
    let said = tree.says(&options, "cat /etc/resolv.conf");
    assert!(!said.contains("the tree's"), "{said}");
    let before = all(&tree);
    assert!(!before.iter().any(|line| line.starts_with("etc/localtime") && !line.starts_with("etc/localtime f 0 ")));
    assert_eq!(std::fs::read_to_string(tree.root.join("etc/resolv.conf")).unwrap(), "# the tree's\n");
    tree.says(&options, "true");
    assert_eq!(all(&tree), before);
    // And nothing at all of one that is thrown away.
    let _ = std::fs::remove_file(tree.root.join("etc/localtime"));
    let before = all(&tree);
    tree.says(&["-x", options[0], options[1]], "true");
    assert_eq!(all(&tree), before);
}
