//! Networks: what a machine sees of its own, and what the host is left with. Each test
//! has a network of its own.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use skep_tests::{Scratch, ip};

use crate::stand::{SKEP, groups, has, rules, skip, turn, until};

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

/// Runs a test in a network of its own, with mounts of its own and a tree.
fn apart(test: impl FnOnce(&Path) + Send + 'static) {
    let _turn = turn();
    skep_tests::apart(|| {
        skep_tests::own_mounts();
        // Machines whose name is given are those of this run alone.
        const PLACE: &str = "/run/systemd/nspawn";
        std::fs::create_dir_all(PLACE).unwrap();
        assert!(
            Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "none", PLACE]).status().unwrap().success()
        );
        let scratch = Scratch::new();
        test(&tree(&scratch));
    });
}

/// `skep nspawn` of the tree.
fn machine(tree: &Path, options: &[&str], script: &str) -> Command {
    let mut command = Command::new(SKEP);
    command.args(["nspawn", "-q", "-a", "--pipe", "--register=no", "--bind-ro=/usr", "-D"]).arg(tree);
    command.args(options).args(["sh", "-c", script]).stdin(Stdio::null());
    command
}

/// What it says; it ends well.
#[track_caller]
fn said(tree: &Path, options: &[&str], script: &str) -> String {
    let output = machine(tree, options, script).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a refusal says.
#[track_caller]
fn refused(tree: &Path, options: &[&str]) -> String {
    let output = machine(tree, options, "true").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{options:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process in a network of its own with `card0` in it.
struct Named(Running);

impl Named {
    fn new() -> Self {
        let mut process = Command::new("unshare");
        let script = "ip link add card0 type veth peer name card1 && echo ready; read line";
        process.args(["--net", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        Self(Running(child))
    }

    fn option(&self) -> String {
        format!("--network-namespace-path=/proc/{}/ns/net", self.0.0.id())
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
                // With the original ports are no such option: they need a private network.
                if other == "--port=80" && private.is_some() {
                    said(tree, &options, "true");
                    continue;
                }
                let why = refused(tree, &options);
                assert!(why.contains("network namespace that is entered"), "{other}: {why}");
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

/// Names of this thread's interfaces.
fn links() -> BTreeSet<String> {
    let name = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    ip("-o link").lines().filter_map(name).collect()
}

/// A machine's name that no other run of these tests has at the same time.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// All that a machine may have on the host; groups and files by its [`own`] name.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    links: BTreeSet<String>,
    rules: String,
    mounts: Vec<String>,
    groups: Vec<std::path::PathBuf>,
    run: BTreeSet<std::path::PathBuf>,
}

impl Left {
    fn look() -> Self {
        // Its numbers count up.
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mounts = mounts.lines().map(|line| line.splitn(4, ' ').last().unwrap().to_owned()).collect();
        let below = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_own = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().contains(&own(""));
        let run = ["/run", "/run/skep", "/run/systemd/nspawn"].into_iter().flat_map(below).filter(is_own).collect();
        let mut groups: Vec<_> = groups().into_iter().filter(is_own).collect();
        groups.sort();
        let rules = rules();
        Self { links: links(), rules, mounts, groups, run }
    }

    /// While a machine runs the host has one mount more, by which its sockets are reached.
    #[track_caller]
    fn mounts_as(&self, before: &Self, machine: &str) {
        let more: Vec<&String> = self.mounts.iter().filter(|mount| !before.mounts.contains(mount)).collect();
        let exported = format!(" /run/systemd/nspawn/{machine}/unix-export ");
        assert!(matches!(more[..], [one] if one.contains(&exported)), "{more:?}");
        assert_eq!(self.mounts.len(), before.mounts.len() + 1);
    }

    /// All is as it was, by itself.
    #[track_caller]
    fn returns(&self) {
        until(10, || Self::look() == *self);
        Self::look().is(self);
    }

    #[track_caller]
    fn is(&self, wanted: &Self) {
        assert_eq!(self.links, wanted.links, "interfaces");
        assert_eq!(self.rules, wanted.rules, "rules");
        assert_eq!(self.mounts, wanted.mounts, "mounts");
        assert_eq!(self.groups, wanted.groups, "cgroups");
        assert_eq!(self.run, wanted.run, "below /run");
    }
}

/// Four cards, of which one has further names.
fn cards() {
    for number in [0, 2, 4] {
        ip(&format!("link add card{number} type veth peer name card{}", number + 1));
    }
    ip("link add a-long-card-nam type veth peer name a-long-card-pee");
    ip("link property add dev card2 altname a-name-of-the-second-card altname its-other-name");
}

#[test]
fn t24_interfaces_of_a_settings_file() {
    apart(|tree| {
        cards();
        let before = Left::look();
        let settings = tree.parent().unwrap().join("averyveryverylongname.nspawn");
        let ipvlan =
            Command::new("ip").args("link add link card4 name ip-try type ipvlan".split(' ')).status().unwrap();
        let ipvlan = ipvlan.success() && Command::new("ip").args(["link", "del", "ip-try"]).status().unwrap().success();
        if !ipvlan {
            skip("this kernel has no ipvlan; without");
        }
        let over = if ipvlan { "IPVLAN=card4 card4:ip0\n" } else { "" };
        std::fs::write(
            settings,
            "[Network]\n".to_owned()
                + over
                + "VirtualEthernet=yes\nVirtualEthernetExtra=t24-one\nVirtualEthernetExtra=t24-two:inner\n\
             Interface=card0 card1:lan\nInterface=a-name-of-the-second-card:second\n\
             MACVLAN=card3 card3:mac0\nMACVLAN=a-long-card-nam\n\
             Port=80\nPort=81:8080\nPort=tcp:82:8081\nPort=udp:83:8082\n",
        )
        .unwrap();
        let mut command = machine(
            tree,
            &["-M", "averyveryverylongname", "--settings=trusted"],
            "ip -o link; echo end; read line; true",
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let child = &mut running.0;
        let mut inside = Vec::new();
        for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if line == "end" {
                break;
            }
            inside.push(line);
        }
        if inside.is_empty() {
            let mut why = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut why);
            panic!("{why}");
        }
        let name = |line: &String| line.split(": ").nth(1).unwrap().split('@').next().unwrap().to_owned();
        let names: BTreeSet<String> = inside.iter().map(name).collect();
        let long = names.iter().find(|name| name.starts_with("mv-a-long-c")).cloned().unwrap();
        assert_eq!(long.len(), 15, "{long}");
        let expected = ["lo", "host0", "t24-one", "inner", "card0", "lan", "second", "mv-card3", "mac0", &long];
        let mut expected: BTreeSet<_> = expected.map(str::to_owned).into();
        expected.extend(["iv-card4", "ip0"].into_iter().filter(|_| ipvlan).map(str::to_owned));
        assert_eq!(names, expected, "{inside:#?}");
        let line = |wanted: &str| inside.iter().find(|line| name(line) == wanted).unwrap().clone();
        for alternative in ["a-name-of-the-second-card", "its-other-name"] {
            assert!(line("second").contains(&format!("altname {alternative}")), "{inside:#?}");
        }
        assert!(line(&long).contains("altname mv-a-long-card-nam"), "{inside:#?}");

        // Outside: the pair by its shortened name, those that were lent are away.
        let outside = links();
        let pairs = ["ve-averyverUARo", "t24-one", "t24-two"];
        assert!(pairs.iter().all(|name| outside.contains(*name)), "{outside:?}");
        assert!(["card0", "card1", "card2"].iter().all(|name| !outside.contains(*name)), "{outside:?}");
        assert!(ip("-o link show ve-averyverUARo").contains("altname ve-averyveryverylongname"));
        if has("nft") {
            let rules = rules();
            for port in ["tcp dport 80 dnat to", "tcp dport 81 dnat to", "tcp dport 82 dnat to", "udp dport 83 dnat to"]
            {
                assert!(rules.contains(port), "{port}: {rules}");
            }
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        let of_child = format!("@{}-", child.id());
        assert!(until(10, || !groups().iter().any(|group| group.to_string_lossy().contains(&of_child))), "cgroups");
        before.returns();
        let back = ip("-o link show card2");
        assert!(
            back.contains("altname a-name-of-the-second-card") && back.contains("altname its-other-name"),
            "{back}"
        );
    });
}

#[test]
fn t24_names_that_are_said_are_not_shortened() {
    apart(|tree| {
        for option in [
            "--network-veth-extra=a-name-of-16-byt",
            "--network-macvlan=lo:a-name-of-16-byt",
            "--network-interface=lo:a-name-of-16-byt",
        ] {
            let why = refused(tree, &[option]);
            assert!(why.contains("15"), "{option}: {why}");
        }
    });
}

#[test]
fn t30_ports_that_are_none_are_refused() {
    apart(|tree| {
        for port in ["", "-1", ":", "icmp", "icmp:80", "tcp::8080", "8080:", "0", "65536"] {
            let why = refused(tree, &["--network-veth", &format!("--port={port}")]);
            assert!(why.contains("--port"), "{port}: {why}");
        }
        assert!(refused(tree, &["--port=80"]).contains("a network of the container's own"));
    });
}

#[test]
fn the_hardware_address_of_either_end_can_be_said() {
    apart(|tree| {
        const INSIDE: &str = "cat /sys/class/net/host0/address";
        let derived = said(tree, &["-n", "-M", "web"], INSIDE);
        let option = "--network-mac=02:00:00:00:00:0a,02:00:00:00:00:0b";
        let script = "cat /sys/class/net/host0/address; read line; true";
        let mut child = machine(tree, &["-n", "-M", "web", option], script)
            .env("SYSTEMD_NSPAWN_NETWORK_MAC", "02:00:00:00:00:0c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = [0; 18];
        child.stdout.as_mut().unwrap().read_exact(&mut address).unwrap();
        assert_eq!(&address, b"02:00:00:00:00:0a\n");
        assert!(ip("-o link show ve-web").contains("link/ether 02:00:00:00:00:0b"));
        drop(child.stdin.take());
        child.wait().unwrap();
        let mut by_variable = machine(tree, &["-n", "-M", "web"], INSIDE);
        let output = by_variable.env("SYSTEMD_NSPAWN_NETWORK_MAC", "02-00-00-00-00-0c").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "02:00:00:00:00:0c\n");
        assert_ne!(derived, "02:00:00:00:00:0c\n");
        let output = by_variable.env("SYSTEMD_NSPAWN_NETWORK_MAC", "03:00:00:00:00:0c").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("SYSTEMD_NSPAWN_NETWORK_MAC"));
        // Without a pair there is nothing that it could be said of.
        let output = machine(tree, &[], "true").env("SYSTEMD_NSPAWN_NETWORK_MAC", "x").output().unwrap();
        assert!(output.status.success());
    });
}

/// A machine with something of everything.
fn laden(tree: &Path, port: &str, script: &str) -> Command {
    let mut command = Command::new(SKEP);
    command.args(["nspawn", "-a", "--pipe", "--register=no", "--bind-ro=/usr", "-M", &own("laden"), "-D"]).arg(tree);
    command.args(["--network-zone=lan", "--network-address=10.9.0.2/24", "--memory=64M", "--private-users=pick"]);
    command.args(["--network-interface=card1:lan", "--network-veth-extra=more", "--tmpfs=/mnt", "--ephemeral"]);
    command.arg(format!("--port={port}")).args(["--", "sh", "-c", script]).stdin(Stdio::null());
    command
}

#[test]
fn nothing_is_left_of_a_machine_whose_supervisor_was_killed() {
    apart(|tree| {
        cards();
        let before = Left::look();
        let mut command = laden(tree, "80:8080", "echo up; exec sleep 600");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let running = Left::look();
        assert_ne!(running.links, before.links);
        assert!(running.links.contains("vz-lan") && !running.links.contains("card1"));
        assert!(!has("nft") || running.rules.contains("dport 80"), "{}", running.rules);
        running.mounts_as(&before, &own("laden"));
        // SIGKILL
        child.kill().unwrap();
        child.wait().unwrap();
        before.returns();
        let gc = Command::new(SKEP).arg("gc").output().unwrap();
        assert!(gc.status.success(), "{}", String::from_utf8_lossy(&gc.stderr));
        Left::look().is(&before);
        // And what was lent can be lent again.
        let output = laden(tree, "80:8080", "ip -o link show lan").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        before.returns();
    });
}

/// Supervisor and watcher killed at once, and the machine, whose own init is process 1,
/// goes on: of that nothing is removed before it has ended, and all of it then.
#[test]
fn what_nobody_holds_any_more_is_collected_once_the_machine_has_ended() {
    apart(|tree| {
        use nix::sys::signal::{Signal, kill};
        let before = Left::look();
        let mut command = Command::new(SKEP);
        command
            .args(["nspawn", "--pipe", "--register=no", "--bind-ro=/usr", "-M", &own("orph"), "--ephemeral", "-D"])
            .arg(tree);
        command.args(["--network-zone=lan", "--network-address=10.9.0.2/24", "--port=80:8080", "--memory=64M"]);
        command.args(["--private-users=pick", "--", "sh", "-c", "echo up; exec sleep 600"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let pid = |number: u32| nix::unistd::Pid::from_raw(number as i32);
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let only_child = || std::fs::read_to_string(&children).unwrap().trim().parse::<u32>().ok();
        // The list may leave some out while others come and go (proc_pid_children(5)).
        assert!(until(5, || only_child().is_some()));
        let machine = only_child().unwrap();
        // The watcher is the one of Skep's in this network.
        let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let is_watcher = |process: &u32| {
            std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.starts_with(b"skep-init"))
                && network(&process.to_string()) == network("thread-self")
        };
        let all =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let watchers: Vec<u32> = all.filter(is_watcher).collect();
        let [watcher] = watchers[..] else { panic!("{watchers:?}") };
        // It sees no end of the other's.
        kill(pid(child.id()), Signal::SIGSTOP).unwrap();
        kill(pid(watcher), Signal::SIGKILL).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // With the sysfs of this network, and the host's cgroups on it.
        let gc = || {
            const SCRIPT: &str = "mount --rbind /sys/fs/cgroup /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup && exec \"$0\" gc";
            let gc = Command::new("unshare").args(["--mount", "sh", "-c", SCRIPT, SKEP]).output().unwrap();
            assert!(gc.status.success(), "{}", String::from_utf8_lossy(&gc.stderr));
        };
        gc();
        let running = Left::look();
        assert!(
            running.links.contains(&format!("vb-{}", own("orph"))) && running.links.contains("vz-lan"),
            "{:?}",
            running.links
        );
        let has_group = || groups().into_iter().any(|group| group.to_string_lossy().contains(&own("/skep-orph")));
        assert!(has_group(), "a group that somebody is in stays");
        running.mounts_as(&before, &own("orph"));
        kill(pid(machine), Signal::SIGKILL).unwrap();
        assert!(until(10, || std::fs::read(format!("/proc/{machine}/cmdline")).map_or(true, |line| line.is_empty())));
        assert!(until(10, || {
            gc();
            let now = Left::look();
            now.links == before.links && now.mounts == before.mounts && now.run == before.run && !has_group()
        }));
        assert_eq!(rules(), before.rules);
    });
}

#[test]
fn nothing_is_left_of_a_start_that_fails_at_its_end() {
    apart(|tree| {
        cards();
        let before = Left::look();
        let mut no_command = laden(tree, "80:8080", "true");
        let mut words: Vec<_> = no_command.get_args().map(ToOwned::to_owned).collect();
        let at = words.iter().position(|word| word == "sh").unwrap();
        words.truncate(at);
        words.push("/no/such/command".into());
        no_command = Command::new(SKEP);
        let output = no_command.args(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/command"));
        Left::look().is(&before);

        // A port that somebody has, with the strict profile.
        let _listener = TcpListener::bind("127.0.0.1:80").unwrap();
        let mut taken = Command::new(SKEP);
        taken.args(["run", "-q", "-n", "-p", "80:8080", "--memory=64M", "--network-interface=card1", "--", "true"]);
        let output = taken.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("the port tcp:80:8080 is taken"), "{said}");
        Left::look().is(&before);

        // An interface that is there already, the last to be made.
        ip("link add more type veth peer name less");
        let with_more = Left::look();
        let output = laden(tree, "81:8080", "true").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("more"), "{said}");
        Left::look().is(&with_more);
    });
}

/// The supervisor of a detached one holds what it has, and passes on.
#[test]
fn a_detached_machine_keeps_its_ports_until_it_is_stopped() {
    apart(|tree| {
        if !has("perl") {
            return skip("perl is not installed");
        }
        const SERVE: &str = "exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8080, \
            ReuseAddr => 1) or die $!; while ($c = $s->accept) { print $c \"served\\n\"; close $c }'";
        let served = |address: &str| {
            let Ok(stream) = std::net::TcpStream::connect(address) else { return false };
            let mut text = String::new();
            let _ = std::io::BufReader::new(stream).read_line(&mut text);
            text == "served\n"
        };
        let skep = |words: &[&str]| {
            let output = Command::new(SKEP).args(words).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let (before, kept) = (Left::look(), own("kept"));
        for end in ["stop", "kill", "supervisor"] {
            let output = Command::new(SKEP)
                .args(["nspawn", "--detach", "-a", "--register=no", "--bind-ro=/usr", "-M", &kept, "-n", "-D"])
                .arg(tree)
                .args(["--network-address=10.9.0.2/24", "--port=80:8080", "--kill-signal=SIGTERM"])
                .args(["--", "sh", "-c", SERVE])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            for address in ["127.0.0.1:80", "[::1]:80"] {
                assert!(until(10, || served(address)), "{end}: {address}");
            }
            // Nobody but the supervisor is there to have it follow.
            skep(&[
                "exec",
                &kept,
                "--",
                "sh",
                "-c",
                "ip addr add 10.9.0.7/24 dev host0; ip addr del 10.9.0.2/24 dev host0; ip addr replace 10.9.0.7/24 dev host0",
            ]);
            for address in ["127.0.0.1:80", "[::1]:80"] {
                assert!(until(10, || served(address)), "{end}: {address}, elsewhere by now");
            }
            match end {
                "supervisor" => {
                    let pid = supervisor(&kept).unwrap();
                    let pid = nix::unistd::Pid::from_raw(pid);
                    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
                    assert!(until(10, || !served("127.0.0.1:80")));
                }
                word => skep(&[word, &kept]),
            }
            assert!(until(10, || !served("127.0.0.1:80") && !served("[::1]:80")), "{end}");
            skep(&["gc"]);
            let look = || {
                let mut left = Left::look();
                // Its log stays, for who wants to know.
                left.run.retain(|path| before.run.contains(path) || !path.to_string_lossy().contains(&kept));
                left
            };
            until(10, || {
                look().links == before.links && look().rules == before.rules && look().groups == before.groups
            });
            let left = look();
            assert_eq!(
                (left.links, left.rules, left.groups),
                (before.links.clone(), before.rules.clone(), before.groups.clone())
            );
            assert!(
                TcpListener::bind("[::1]:80").is_ok() && TcpListener::bind("0.0.0.0:80").is_ok(),
                "{end}: free again"
            );
        }
    });
}

/// Who waits for that machine: its process has the name in its words.
fn supervisor(name: &str) -> Option<i32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        (words.contains(&b"--detach".as_slice()) && words.contains(&name.as_bytes())).then_some(pid)
    })
}

/// The same on a kernel that has no nf_tables: its sockets are refused.
fn without_tables(command: &Command) -> Command {
    const SCRIPT: &str = r#"
        sub op { pack "SCCL", @_ }
        my $answer = 0x50000 | 93; # EPROTONOSUPPORT
        my $program = op(0x20, 0, 0, 0) . op(0x15, 0, 5, 41) # socket(2)
            . op(0x20, 0, 0, 16) . op(0x15, 0, 3, 16) # AF_NETLINK
            . op(0x20, 0, 0, 32) . op(0x15, 0, 1, 12) # NETLINK_NETFILTER
            . op(0x06, 0, 0, $answer) . op(0x06, 0, 0, 0x7fff0000);
        my $filter = pack "Sx6P", 8, $program;
        syscall(157, 22, 2, $filter) == 0 or die "filter: $!";
        exec { $ARGV[0] } @ARGV or die $!;"#;
    let mut perl = Command::new("perl");
    perl.args(["-e", SCRIPT]).arg(command.get_program()).args(command.get_args());
    perl
}

#[test]
#[cfg(target_arch = "x86_64")]
fn without_nf_tables_all_ports_are_passed_on_and_are_free_again() {
    apart(|tree| {
        if !has("perl") {
            return skip("perl is not installed");
        }
        // What it is asked by each way, and another answer for each.
        const SERVE: &str = "exec perl -MIO::Socket::IP -e '$u = IO::Socket::IP->new(Proto => \"udp\", LocalPort => 5353, \
            LocalAddr => \"0.0.0.0\") or die $!; \
            $s = IO::Socket::IP->new(Listen => 5, LocalPort => 8080, LocalAddr => \"0.0.0.0\", ReuseAddr => 1) or die $!; \
            $| = 1; print \"up\\n\"; if (!fork) { while ($u->recv($m, 99)) { $u->send(\"to $m\") } } \
            while ($c = $s->accept) { print $c \"served\\n\"; close $c }'";
        ip("link add out0 type veth peer name out1");
        ip("addr add 192.0.2.1/24 dev out0");
        ip("addr add fd00::1/64 dev out0 nodad");
        ip("link set out0 up");
        ip("link set out1 up");
        let said = tree.with_file_name("said");
        let ports = ["--port=80:8080", "--port=udp:53:5353"];
        let command =
            machine(tree, &[&["-n", "-M", "bare", "--report", "--register=auto"] as &[&str], &ports].concat(), SERVE);
        let mut child = without_tables(&command);
        child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&said).unwrap());
        let mut running = Running(child.spawn().unwrap());
        let child = &mut running.0;
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        assert_eq!(rules(), "");
        for address in ["127.0.0.1:80", "[::1]:80", "192.0.2.1:80", "[fd00::1]:80"] {
            let served = || {
                let Ok(stream) = std::net::TcpStream::connect(address) else { return false };
                let mut text = String::new();
                std::io::BufReader::new(stream).read_line(&mut text).is_ok() && text == "served\n"
            };
            assert!(until(5, served), "{address}");
        }
        for (from, to) in [("127.0.0.1:0", "127.0.0.1:53"), ("[::1]:0", "[::1]:53"), ("[fd00::1]:0", "[fd00::1]:53")] {
            let socket = std::net::UdpSocket::bind(from).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            socket.send_to(b"me", to).unwrap();
            let mut answer = [0; 99];
            let (length, _) = socket.recv_from(&mut answer).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert_eq!(&answer[..length], b"to me", "{to}");
        }
        // Nobody else gets one of them.
        let second = |port: &str, options: &[&str]| {
            let options = [&["-x", "-M", "second", port] as &[&str], options].concat();
            let output = without_tables(&machine(tree, &options, "true")).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        for options in [&["-n"] as &[&str], &["--private-network"]] {
            for (port, word) in [("tcp:80:1", "tcp:80:1"), ("udp:127.0.0.1:53", "udp:127.0.0.1:53:53")] {
                let why = second(&format!("--port={port}"), options);
                assert!(why.contains(&format!("the port {word} is taken: the container bare listens on ")), "{why}");
                assert!(why.contains("or stop that container first"), "{why}");
            }
        }
        // Nor does a machine get what a program has.
        let listener = TcpListener::bind("127.0.0.1:81").unwrap();
        let why = second("--port=81", &["-n"]);
        assert!(why.contains(&format!("process {} (", std::process::id())) && why.contains("127.0.0.1:81"), "{why}");
        drop(listener);
        let said = std::fs::read_to_string(&said).unwrap();
        assert!(said.contains("this kernel has no nf_tables") && !said.contains("not passed on"), "{said}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)
            .unwrap();
        child.wait().unwrap();
        for address in ["0.0.0.0:80", "[::]:80"] {
            TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        }
        assert!(std::net::UdpSocket::bind("[::]:53").is_ok());
    });
}

#[test]
fn a_files_network_gives_way_to_the_hosts_that_the_command_line_says() {
    apart(|tree| {
        ip("link add card0 type veth peer name card1");
        let settings = "[Network]\nPrivate=yes\nVirtualEthernet=yes\nPort=80\nInterface=card0\n";
        let file = tree.with_file_name("root.nspawn");
        std::fs::write(&file, settings).unwrap();
        let file = format!("--settings={}", "trusted");
        let own = said(tree, &[&file], LOOK);
        assert!(own.contains("names card0 host0 lo\n"), "{own}");
        assert_ne!(bounding(&own) & NET_ADMIN, 0, "{own}");
        for more in [None, Some("--merge=additive")] {
            let options: Vec<&str> =
                [Some(file.as_str()), Some("--private-network=no"), more].into_iter().flatten().collect();
            let off = said(tree, &options, LOOK);
            assert!(off.contains("\n2\n") && !off.contains("host0"), "{options:?}: {off}");
            assert_eq!(bounding(&off) & NET_ADMIN, 0, "{options:?}: {off}");
        }
    });
}

#[test]
fn t30_ports_are_set_while_addresses_come_and_go() {
    apart(|tree| {
        if !has("perl") {
            return skip("perl is not installed");
        }
        const SERVE: &str = "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8080, \
            ReuseAddr => 1) or die $!; while ($c = $s->accept) { print $c $c->sockhost . \"\\n\"; close $c }' & \
            echo up; while read words; do ip $words; done; kill $!";
        let served = || {
            let Ok(stream) = std::net::TcpStream::connect("127.0.0.1:80") else { return String::new() };
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            let mut text = String::new();
            let _ = std::io::BufReader::new(stream).read_line(&mut text);
            text.trim_end().to_owned()
        };
        let mut command =
            machine(tree, &["-n", "-M", "moving", "--port=80:8080", "--network-address=10.9.0.2/24"], SERVE);
        let mut running = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        running.0.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let mut tell = |words: &str| {
            use std::io::Write as _;
            writeln!(running.0.stdin.as_mut().unwrap(), "{words}").unwrap();
        };
        assert!(until(5, || served() == "10.9.0.2"), "{}", served());
        tell("addr add 10.9.0.7/24 dev host0");
        tell("addr del 10.9.0.2/24 dev host0");
        tell("addr replace 10.9.0.7/24 dev host0");
        assert!(until(5, || served() == "10.9.0.7"), "{}", served());
        tell("addr add 10.9.0.9/24 dev host0");
        tell("addr del 10.9.0.9/24 dev host0");
        assert_eq!(served(), "10.9.0.7");
        drop(running.0.stdin.take());
        running.0.wait().unwrap();
        assert_eq!(rules(), "");
    });
}

/// No interface of the host leads to it: ports are passed on from within its network.
#[test]
fn ports_lead_into_a_private_network_without_a_pair() {
    apart(|tree| {
        if !has("perl") {
            return skip("perl is not installed");
        }
        const SERVE: &str = "perl -MIO::Socket::IP -e '$u = IO::Socket::IP->new(Proto => \"udp\", LocalPort => 5353, \
            LocalAddr => \"0.0.0.0\") or die $!; \
            $s = IO::Socket::INET->new(Listen => 5, LocalPort => 8080, ReuseAddr => 1) or die $!; \
            if (!fork) { while ($u->recv($m, 99)) { $u->send(\"to $m\") } } \
            while ($c = $s->accept) { print $c $c->sockhost . \" \" . $c->peerhost . \"\\n\"; close $c }' & \
            echo up; while read words; do ip $words; done; kill $!";
        let served = |address: &str| {
            let Ok(stream) = std::net::TcpStream::connect(address) else { return String::new() };
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            let mut text = String::new();
            let _ = std::io::BufReader::new(stream).read_line(&mut text);
            text.trim_end().to_owned()
        };
        ip("link add out0 type veth peer name out1");
        ip("addr add 192.0.2.1/24 dev out0");
        ip("link set out0 up");
        ip("link set out1 up");
        let named = Named::new();
        for network in
            [&["--private-network"] as &[&str], &["--network-veth-extra=x0"], &["--private-network", &named.option()]]
        {
            let before = Left::look();
            let ports = ["-M", &own("bare"), "--port=80:8080", "--port=udp:127.0.0.1:53:5353"];
            let mut command = machine(tree, &[&ports, network].concat(), SERVE);
            let mut running = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
            running.0.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
            let mut tell = |words: &str| {
                use std::io::Write as _;
                writeln!(running.0.stdin.as_mut().unwrap(), "{words}").unwrap();
            };
            assert!(until(5, || std::net::TcpStream::connect("127.0.0.1:80").is_ok()), "{network:?}: it listens");
            assert_eq!(served("127.0.0.1:80"), "", "{network:?}: not over its 127.0.0.1");
            tell("addr add 10.99.0.1/32 dev lo");
            // Who asks is not taken for a process inside that trusts its 127.0.0.1.
            for address in ["127.0.0.1:80", "[::1]:80", "192.0.2.1:80"] {
                assert!(
                    until(5, || served(address) == "10.99.0.1 10.99.0.1"),
                    "{network:?} {address}: {}",
                    served(address)
                );
            }
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            socket.send_to(b"me", "127.0.0.1:53").unwrap();
            let mut answer = [0; 99];
            let (length, _) = socket.recv_from(&mut answer).unwrap_or_else(|error| panic!("{network:?}: {error}"));
            assert_eq!(&answer[..length], b"to me");
            let why = refused(tree, &["-x", "-M", "other", "-n", "--port=80:1"]);
            let whose = format!("the port tcp:80:1 is taken: the container {} publishes tcp 80", own("bare"));
            assert!(why.contains(&whose), "{why}");
            tell("addr del 10.99.0.1/32 dev lo");
            assert!(until(5, || served("127.0.0.1:80").is_empty()), "{network:?}: it has no address");
            drop(running.0.stdin.take());
            assert!(running.0.wait().unwrap().success());
            before.returns();
            assert!(TcpListener::bind("0.0.0.0:80").is_ok(), "{network:?}: free again");
        }
    });
}
