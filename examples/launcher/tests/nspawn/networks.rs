//! Networks: what a machine sees of its own, and what the host is left with. Each test
//! has a network of its own.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use skep_tests::Scratch;

use crate::stand::{SKEP, has, is_root, skip, turn};

/// A tree with no more in it than what is bound.
fn tree(scratch: &Scratch) -> std::path::PathBuf {
    scratch.file("root/etc/os-release", "ID=test\n");
    let tree = scratch.tree();
    for directory in ["usr", "proc", "sys", "dev", "run", "tmp", "root", "var"] {
        let _ = std::fs::create_dir_all(tree.join(directory));
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{link}"), tree.join(link));
    }
    tree
}

/// Runs a test in a thread with a network of its own, which ends with it.
fn apart(test: impl FnOnce(&std::path::Path) + Send + 'static) {
    if !is_root() {
        return skip("only root gives containers interfaces");
    }
    if !has("ip") {
        return skip("ip(8) is not installed");
    }
    let _turn = turn();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let ran = std::thread::Builder::new().name(name).spawn(|| {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            return skip(&format!("no network namespace can be made: {errno}"));
        }
        ip("link set lo up");
        let scratch = Scratch::new();
        test(&tree(&scratch));
    });
    if let Err(panic) = ran.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// What `ip(8)` says.
fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `skep nspawn` of the tree.
fn machine(tree: &std::path::Path, options: &[&str], script: &str) -> Command {
    let mut command = Command::new(SKEP);
    command.args(["nspawn", "-q", "-a", "--pipe", "--register=no", "--bind-ro=/usr", "-D"]).arg(tree);
    command.args(options).args(["sh", "-c", script]).stdin(Stdio::null());
    command
}

/// What it says; it ends well.
#[track_caller]
fn said(tree: &std::path::Path, options: &[&str], script: &str) -> String {
    let output = machine(tree, options, script).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a refusal says.
#[track_caller]
fn refused(tree: &std::path::Path, options: &[&str]) -> String {
    let output = machine(tree, options, "true").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{options:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process in a network of its own with `card0` in it.
struct Named(Child);

impl Named {
    fn new() -> Self {
        let mut process = Command::new("unshare");
        let script = "ip link add card0 type veth peer name card1 && echo ready; read line";
        process.args(["--net", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        Self(child)
    }

    fn option(&self) -> String {
        format!("--network-namespace-path=/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What of the network can be seen inside.
const LOOK: &str = "echo names $(ls /sys/class/net); ip -o link show lo; ip -o link | grep -c card; \
    grep CapBnd /proc/self/status; grep -q '/proc/sys/net .*rw' /proc/self/mountinfo && echo settings; \
    ( : >> /proc/sys/net/ipv4/ip_forward ) 2>/dev/null && echo writable; true";

fn bounding(text: &str) -> u64 {
    let hex = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    u64::from_str_radix(hex.trim(), 16).unwrap()
}

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;

#[test]
fn t33_a_network_by_its_path_is_the_machines_own_with_private_network() {
    apart(|tree| {
        let named = Named::new();
        let option = named.option();
        let plain = said(tree, &[&option], LOOK);
        assert!(plain.contains("state DOWN"), "lo is left as it is: {plain}");
        assert!(plain.contains("\n2\n"), "it sees the interfaces: {plain}");
        assert!(!plain.contains("settings") && !plain.contains("writable"), "{plain}");
        assert_eq!(bounding(&plain) & NET_ADMIN, 0, "{plain}");

        let own = said(tree, &[&option, "--private-network"], LOOK);
        assert!(own.contains("LOOPBACK,UP"), "{own}");
        assert!(own.contains("names card0 card1 lo\n"), "the sysfs of that network: {own}");
        assert!(own.contains("settings") && own.contains("writable"), "{own}");
        assert_ne!(bounding(&own) & NET_ADMIN, 0, "{own}");
        // What it is allowed, it can.
        said(tree, &[&option, "--private-network"], "ip link set card0 up && ip addr add 10.9.0.1/24 dev card0");

        // Ids of its own: it sees the links, and has no right over them.
        let pick = said(tree, &[&option, "--private-users=pick"], LOOK);
        assert!(pick.contains("\n2\n"), "{pick}");
        let both = said(tree, &[&option, "--private-network", "--private-users=pick"], LOOK);
        assert!(both.contains("\n2\n") && !both.contains("writable"), "{both}");
        assert_ne!(bounding(&both) & NET_BIND_SERVICE, 0, "T37: {both}");
    });
}

#[test]
fn t33_a_network_by_its_path_goes_with_no_other_option_of_networks() {
    apart(|tree| {
        let named = Named::new();
        let option = named.option();
        for other in [
            "--network-veth",
            "--network-bridge=br0",
            "--network-zone=lan",
            "--network-veth-extra=x0",
            "--network-macvlan=eth0",
            "--network-ipvlan=eth0",
            "--network-interface=eth0",
            "--port=80",
        ] {
            for private in [None, Some("--private-network")] {
                let options: Vec<&str> = [Some(option.as_str()), Some(other), private].into_iter().flatten().collect();
                let why = refused(tree, &options);
                assert!(
                    why.contains("network namespace that is entered") || why.contains("there is none"),
                    "{other}: {why}"
                );
            }
        }
    });
}

#[test]
fn t37_low_ports_are_kept_without_a_user_namespace_or_with_a_network() {
    apart(|tree| {
        const STATUS: &str = "grep CapBnd /proc/self/status";
        for (options, kept) in [
            (&[] as &[&str], true),
            (&["--private-users=identity"], false),
            (&["--private-users=pick"], false),
            (&["--private-users=pick", "--private-network"], true),
            (&["--private-users=pick", "--capability=CAP_NET_BIND_SERVICE"], true),
        ] {
            let set = bounding(&said(tree, options, STATUS));
            assert_eq!(set & NET_BIND_SERVICE != 0, kept, "{options:?}: {set:x}");
        }
    });
}
