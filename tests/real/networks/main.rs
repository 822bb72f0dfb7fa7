//! Interfaces, addresses and ports of containers, each test in a network namespace of
//! its own: the machine's own network is never touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod ports;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command as Process, Stdio as Pipe};
use std::time::{Duration, Instant};

use skep::spec::{Init, LinkName, MachineName};
use skep::sys::{Errno, OpKind};
use skep::{Command, Container, ErrorKind};
use skep_tests::{HostState, Scratch, checked, has, ip, is_root, run, skip, turn_to_start};

/// Runs a test in a network of its own, in which nothing is left.
fn apart(test: impl FnOnce() + Send + 'static) {
    let Some(_turn) = turn_to_start() else { return };
    skep_tests::apart(|| {
        let before = links();
        test();
        settled(&before);
    });
}

/// The interfaces of this thread's network, each with what it is besides.
fn links() -> BTreeSet<String> {
    let names = |line: &str| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned());
    ip("-o link").lines().filter_map(names).collect()
}

/// Nothing is there that was not: the kernel takes a moment for what dies with a
/// namespace.
#[track_caller]
fn settled(before: &BTreeSet<String>) {
    let end = Instant::now() + Duration::from_secs(5);
    while (links() != *before || !tables().is_empty()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(links(), *before, "interfaces");
    assert_eq!(tables(), "", "tables");
}

/// What nft(8) lists, or complains of. Where it is not installed, the sockets of
/// nf_tables, of which each may own a table (NETLINK_NETFILTER is 12).
fn tables() -> String {
    if has("nft") {
        let output = Process::new("nft").args(["list", "tables"]).output().unwrap();
        let bytes = if output.status.success() { output.stdout } else { output.stderr };
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let open = sockets.lines().filter(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some("12") && words.next() != Some("0")
    });
    open.collect()
}

fn machine(command: &mut Command, name: &str) {
    command.machine(MachineName::new(name).unwrap());
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command
}

/// A container that answers on TCP port 8080 of all addresses with a word, and on UDP
/// port 5353 with another.
fn server(change: impl FnOnce(&mut Command)) -> Option<Container> {
    const SCRIPT: &str = r#"use IO::Socket::INET; $| = 1;
        $u = IO::Socket::INET->new(Proto => "udp", LocalPort => 5353) or die "udp: $!";
        $t = IO::Socket::INET->new(Listen => 9, LocalPort => 8080, ReuseAddr => 1) or die "tcp: $!";
        print "ready\n";
        if (!fork) { while ($u->recv($m, 99)) { $u->send("datagram for $m") } }
        while ($c = $t->accept) { print $c "HTTP/1.0 200 OK\r\n\r\nfrom " . $c->peerhost . "\n"; close $c }"#;
    if Process::new("perl").arg("-v").output().is_err() {
        skip("perl is not installed");
        return None;
    }
    let mut command = Command::new("perl");
    command.args(["-e", SCRIPT]).stdout(skep::Stdio::piped());
    change(&mut command);
    let mut container = command.spawn().unwrap_or_else(|error| panic!("start: {error}"));
    let mut word = [0; 6];
    container.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    Some(container)
}

/// What a server says over TCP.
fn get(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    // The other end may close with our words unread.
    let _ = stream.read_to_string(&mut text);
    Ok(text)
}

#[test]
fn a_pair_has_its_addresses_before_the_payload_runs() {
    apart(|| {
        let mut command = sh("ip -o addr show dev host0; ip route; cat /sys/class/net/host0/flags");
        machine(&mut command, "web");
        command.veth().link_address("10.9.0.2/24".parse().unwrap()).link_address("fd09::2/64".parse().unwrap());
        let said = run(&mut command);
        for part in ["10.9.0.2/24", "fd09::2/64", "default via 10.9.0.1 dev host0", "10.9.0.0/24 dev host0", "0x1003"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        // The next one of that name can be made at once.
        for _ in 0..3 {
            run(&mut command);
        }
    });
}

#[test]
fn the_host_reaches_a_service_and_the_service_the_host() {
    apart(|| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some(container) = server(|command| {
            command.veth().link_address("10.9.0.2/30".parse().unwrap());
        }) else {
            return;
        };
        assert!(get("10.9.0.2:8080").unwrap().ends_with("from 10.9.0.1\n"));
        let script = format!("exec 3<>/dev/tcp/10.9.0.1/{port} && echo connected");
        let said = checked(container.exec("bash").args(["-c", &script]).output().unwrap());
        assert_eq!(said, "connected\n");
        let outer = ip("-d -o link show type veth");
        assert!(outer.contains("alias skep-"), "it says whose it is: {outer}");
        drop(container);
    });
}

#[test]
fn row_075_the_host_takes_no_router_advertisements_of_a_container() {
    apart(|| {
        let accepts = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"));
        let Ok(usual) = accepts("lo") else { return skip("this kernel has no IPv6") };
        assert_eq!(usual, "1\n");
        let mut command = Command::new("sleep");
        machine(&mut command, "web");
        command.arg("60").zone(LinkName::zone("lan").unwrap());
        command.spec_mut().links.extra.push("more".parse().unwrap());
        let _container = command.spawn().unwrap();
        for name in ["vb-web", "vz-lan", "more"] {
            assert_eq!(accepts(name).unwrap(), "0\n", "{name}");
        }
    });
}

#[test]
fn an_address_that_is_made_up_is_free() {
    apart(|| {
        let of = |name: &str| {
            let mut command = sh("ip -o -4 addr show dev host0 | tr -s ' ' | cut -d' ' -f4; exec sleep 60");
            machine(&mut command, name);
            command.veth().link_address("auto".parse().unwrap()).stdout(skep::Stdio::piped());
            let mut container = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut text = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(container.stdout.as_mut().unwrap()), &mut text)
                .unwrap();
            (container, text)
        };
        let (first, address) = of("web");
        assert!(address.starts_with("169.254.") && address.ends_with("/30\n"), "{address}");
        drop(first);
        // The same name has the same one, unless a route of the host leads there.
        let network = ip("route").lines().next().map(str::to_owned);
        assert_eq!(network, None, "its routes went with it");
        let (first, again) = of("web");
        assert_eq!(address, again);
        let taken = address.trim_end().replace(".2/30", ".0/30");
        drop(first);
        ip("link add other0 type veth peer name other1");
        ip("link set other0 up");
        let base: std::net::Ipv4Addr = address.split('/').next().unwrap().parse().unwrap();
        let base = std::net::Ipv4Addr::from_bits(base.to_bits() & !3);
        ip(&format!("route add {base}/30 dev other0"));
        let (_first, elsewhere) = of("web");
        assert_ne!(address, elsewhere, "{taken}");
        ip("link del other0");
    });
}

#[test]
fn names_and_hardware_addresses_are_those_of_systemd_nspawn() {
    apart(|| {
        if !has("systemd-nspawn") {
            return skip("systemd-nspawn is not installed");
        }
        let scratch = Scratch::new();
        let tree = scratch.tree();
        scratch.file("root/etc/os-release", "ID=test\n");
        for name in ["web", "averyveryverylongname"] {
            const SCRIPT: &str = "cat /sys/class/net/host0/address /sys/class/net/x1/address; read line";
            let mut theirs = Process::new("systemd-nspawn");
            theirs.args(["--register=no", "--keep-unit", "-q", "-a", "--pipe", "-n", "--network-veth-extra=x0:x1"]);
            theirs.arg(format!("--machine={name}")).arg("-D").arg(&tree).arg("--bind-ro=/usr");
            theirs.args(["sh", "-c", SCRIPT]).stdin(Pipe::piped()).stdout(Pipe::piped());
            let mut theirs = theirs.spawn().unwrap();
            let mut ours = sh(SCRIPT);
            machine(&mut ours, name);
            ours.veth().stdin(skep::Stdio::piped()).stdout(skep::Stdio::piped());
            ours.spec_mut().links.extra.push("x0:x1".parse().unwrap());
            let read = |from: &mut dyn std::io::Read| {
                let mut addresses = vec![0; 36];
                from.read_exact(&mut addresses).unwrap();
                // Without the numbers, which count up, and what only ours says.
                let shown = ip("-o link show type veth");
                let plain = |line: &str| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    let after = |word: &str| words.iter().position(|one| *one == word).map(|at| words[at + 1]);
                    let name = words[1].split('@').next().unwrap().to_owned();
                    (name, after("link/ether").map(str::to_owned), after("altname").map(str::to_owned))
                };
                let outside: BTreeSet<_> = shown.lines().map(plain).collect();
                (String::from_utf8(addresses).unwrap(), outside)
            };
            let of_theirs = read(theirs.stdout.as_mut().unwrap());
            theirs.stdin.take();
            theirs.wait().unwrap();
            settled(&["lo".to_owned()].into());
            let mut container = ours.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read(container.stdout.as_mut().unwrap()), of_theirs, "{name}");
            drop(container);
            settled(&["lo".to_owned()].into());
        }
    });
}

#[test]
fn a_zone_has_its_bridge_while_somebody_is_in_it() {
    apart(|| {
        let member = |name: &str, address: &str| {
            let mut command = Command::new("sleep");
            machine(&mut command, name);
            command.arg("60").zone(LinkName::zone("lan").unwrap()).link_address(address.parse().unwrap());
            command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let one = member("one", "10.9.0.2/24,10.9.0.1");
        let Some(two) = server(|command| {
            machine(command, "two");
            command.zone(LinkName::zone("lan").unwrap()).link_address("10.9.0.3/24,10.9.0.1".parse().unwrap());
        }) else {
            return;
        };
        let ports = ip("-o link show master vz-lan");
        assert!(ports.contains("vb-one") && ports.contains("vb-two"), "{ports}");
        let script = "exec 3<>/dev/tcp/10.9.0.3/8080 && cat <&3 | tail -n 1";
        assert_eq!(checked(one.exec("bash").args(["-c", script]).output().unwrap()), "from 10.9.0.2\n");
        assert!(get("10.9.0.3:8080").unwrap().ends_with("from 10.9.0.1\n"));
        drop(one);
        assert!(links().contains("vz-lan"), "the other one is still there");
        drop(two);
        assert!(!links().contains("vz-lan"));
        // Many at once come and go without losing one another's bridge.
        std::thread::scope(|scope| {
            let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            for number in 2..10 {
                let here = here.try_clone().unwrap();
                let member = &member;
                scope.spawn(move || {
                    nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    for _ in 0..3 {
                        drop(member(&format!("many-{number}"), &format!("10.9.0.{number}/24,10.9.0.1")));
                    }
                });
            }
        });
    });
}

#[test]
fn a_bridge_of_the_host_gets_a_port() {
    apart(|| {
        ip("link add br0 type bridge");
        let mut command = Command::new("sleep");
        machine(&mut command, "averyveryverylongname");
        command.arg("60").bridge(LinkName::new("br0").unwrap());
        let container = command.spawn().unwrap();
        let port = ip("-o link show master br0");
        assert!(port.contains("vb-averyver") && port.contains("altname vb-averyveryverylongname"), "{port}");
        assert!(port.contains(",UP"), "the port is up: {port}");
        drop(container);
        ip("link del br0");
        let error = command.spawn().unwrap_err();
        assert!(error.to_string().contains("br0") && error.errno() == Some(Errno::ENODEV), "{error}");
    });
}

#[test]
fn interfaces_over_one_of_the_hosts() {
    apart(|| {
        ip("link add card0 type veth peer name card1");
        let mut command = sh("ls /sys/class/net; ip -d -o link show mv-card0; cat /sys/class/net/renamed/address");
        machine(&mut command, "web");
        command.spec_mut().links.macvlan = vec!["card0".parse().unwrap(), "card1:renamed".parse().unwrap()];
        let said = run(&mut command);
        assert!(said.contains("macvlan mode bridge"), "{said}");
        // What systemd-nspawn 252 gives the second of a machine of this name, but for the
        // machine's id, is in the vectors of `compile::network`.
        let mut ipvlan = sh("ip -d -o link show iv-card0");
        ipvlan.spec_mut().links.ipvlan = vec!["card0".parse().unwrap()];
        match ipvlan.output() {
            Ok(output) => assert!(checked(output).contains("ipvlan"), "of its kind"),
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => skip("this kernel has no ipvlan"),
            Err(error) => panic!("{error}"),
        }
        ip("link del card0");
    });
}

#[test]
fn a_card_is_lent_and_comes_back() {
    apart(|| {
        ip("link add card0 type veth peer name card1");
        ip("link property add dev card0 altname a-name-of-a-card-by-which-it-is-known");
        for end in ["drop", "exit", "rename", "kill"] {
            let mut command = match end {
                "exit" => sh("ip link show lan"),
                // Whatever it is called inside by then.
                "rename" => sh("ip link set lan name other && ip link add lan type dummy; true"),
                _ => sh("exec sleep 60"),
            };
            machine(&mut command, "web");
            if end == "rename" {
                command.capabilities(skep::spec::CapabilityList(skep::sys::abi::CapabilitySet(1 << 12)));
            }
            command.interface("card0:lan".parse().unwrap());
            let mut container = command.spawn().unwrap_or_else(|error| panic!("{end}: {error}"));
            match end {
                "drop" => assert!(!links().contains("card0"), "it is the container's"),
                "kill" => container.kill(9).unwrap(),
                _ => {}
            }
            if end != "drop" {
                container.wait().unwrap();
                assert!(container.left_behind().is_empty(), "{:?}", container.left_behind());
            }
            drop(container);
            let back = ip("-o link show card0");
            assert!(back.contains("altname a-name-of-a-card"), "{end}: {back}");
        }
        ip("link del card0");
        let mut command = Command::new("true");
        command.interface("no-such".parse().unwrap());
        let error = command.spawn().unwrap_err();
        assert!(error.to_string().contains("no-such"), "{error}");
    });
}

/// A host in a network of its own, whose other end is this thread's `out0`.
struct Neighbour(std::process::Child);

impl Neighbour {
    fn new() -> Self {
        let mut process = Process::new("unshare");
        process.args(["-n", "sh", "-c", "echo ready; read line"]).stdin(Pipe::piped()).stdout(Pipe::piped());
        let mut child = process.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        ip(&format!("link add out0 type veth peer name in0 netns {}", child.id()));
        ip("addr add 192.0.2.1/24 dev out0");
        ip("link set out0 up");
        let neighbour = Self(child);
        neighbour.sh("ip addr add 192.0.2.2/24 dev in0; ip link set in0 up; ip link set lo up; ip route add default via 192.0.2.1");
        neighbour
    }

    fn sh(&self, script: &str) -> String {
        let net = format!("--net=/proc/{}/ns/net", self.0.id());
        let output = Process::new("nsenter").args([&net, "timeout", "5", "bash", "-c", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn get(&self, address: &str, port: u16) -> String {
        self.sh(&format!("exec 3<>/dev/tcp/{address}/{port} && cat <&3 | tail -n 1"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["link", "del", "out0"]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_failing_op_leaves_no_interface() {
    apart(|| {
        ip("link add card0 type veth peer name card1");
        let mut command = Command::new("true");
        machine(&mut command, "averyveryverylongname");
        command.zone(LinkName::zone("lan").unwrap()).link_address("10.9.0.2/24".parse().unwrap());
        command.publish("80".parse().unwrap()).interface("card0:lan".parse().unwrap());
        command.spec_mut().links.extra.push("one".parse().unwrap());
        command.spec_mut().links.macvlan.push("card1".parse().unwrap());
        for init in [Init::Stub, Init::Payload] {
            command.init(init).stdin(skep::Stdio::null()).stdout(skep::Stdio::null()).stderr(skep::Stdio::null());
            let plan = command.plan().unwrap();
            let before = (HostState::look(), links());
            let networks: Vec<_> = plan
                .ops()
                .filter(|(_, _, op)| {
                    let name = op.kind().name();
                    name.contains("link")
                        || name.contains("zone")
                        || name.starts_with("new")
                        || name.contains("net")
                        || matches!(op.kind(), OpKind::NfTables | OpKind::EntrustFile | OpKind::Release)
                })
                .map(|(index, _, op)| (index, op.to_string()))
                .collect();
            assert!(networks.len() > 20, "{networks:?}");
            for (index, op) in networks {
                let error = skep::start_with_fault(&plan, index, Errno::EIO).unwrap_err();
                assert_eq!(error.errno(), Some(Errno::EIO), "{index} {op}: {error}");
                settled(&before.1);
            }
            before.0.assert_unchanged();
        }
        ip("link del card0");
    });
}

const SUPERVISED: &str = "SKEP_TEST_SUPERVISED";

#[test]
#[ignore = "run by the tests of this file, as the supervisor that is killed"]
fn supervisor() {
    if std::env::var_os(SUPERVISED).is_none() {
        return;
    }
    let mut command = Command::new("sleep");
    machine(&mut command, "killed");
    command.arg("600").zone(LinkName::zone("lan").unwrap()).link_address("10.9.0.2/24".parse().unwrap());
    command.publish("80".parse().unwrap()).interface("card0:lan".parse().unwrap());
    let container = command.spawn().unwrap_or_else(|error| panic!("{error}"));
    println!("started");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    drop(container);
}

#[test]
#[ignore = "run by the tests of this file, as the embedder that lets go"]
fn detacher() {
    if std::env::var_os(SUPERVISED).is_none() {
        return;
    }
    let Some(container) = server(|command| {
        machine(command, "let-go");
        command.zone(LinkName::zone("lan").unwrap()).link_address("10.9.0.2/24".parse().unwrap());
        command.publish("80:8080".parse().unwrap()).interface("card0:lan".parse().unwrap());
        // It is killed by a broken pipe else.
        command.stderr(skep::Stdio::null());
    }) else {
        return;
    };
    println!("started {}", container.detach().unwrap());
}

/// Whom the process that let go has left, and by whose end all of it goes.
#[test]
fn a_container_that_is_let_go_of_keeps_its_ports_until_it_ends() {
    apart(|| {
        if !has("perl") {
            return skip("perl is not installed");
        }
        ip("link add card0 type veth peer name card1");
        ip("link property add dev card0 altname a-name-of-a-card");
        let before = (HostState::look(), links());
        let mut process = Process::new(std::env::current_exe().unwrap());
        process.args(["--exact", "detacher", "--ignored", "--nocapture", "--test-threads=1"]);
        let output = process.env(SUPERVISED, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = said.lines().find_map(|line| line.split("started ").nth(1)).unwrap_or_else(|| panic!("{said}"));
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        // The embedder has ended; who stays is one process.
        assert_eq!(watchers().len(), 1);
        assert!(get("10.9.0.1:80").unwrap().contains("from"));
        assert!(links().contains("vz-lan") && !links().contains("card0"));
        // Who made it is gone, and it lives.
        let said = collected();
        assert!(said.contains("skep-let-go@") && !said.contains("Interface("), "{said}");
        assert!(links().contains("vb-let-go") && get("10.9.0.1:80").unwrap().contains("from"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        settled(&before.1);
        assert!(ip("-o link show card0").contains("altname a-name-of-a-card"));
        let end = Instant::now() + Duration::from_secs(5);
        while !watchers().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(watchers(), [] as [i32; 0], "it has ended too");
        before.0.assert_unchanged();
        ip("link del card0");
    });
}

/// In one process: what is let go of and what is not do not mix, and whoever kills the
/// process that stays takes the ports away, and no more.
#[test]
fn the_watcher_holds_the_ports_of_a_container_that_was_let_go_of() {
    apart(|| {
        let serve = |name: &'static str, port: &'static str| {
            server(|command| {
                machine(command, name);
                command.veth().publish(port.parse().unwrap());
            })
        };
        let (Some(one), Some(two)) = (serve("one", "80:8080"), serve("two", "81:8080")) else { return };
        let pid = nix::unistd::Pid::from_raw(one.detach().unwrap() as i32);
        assert!(get("127.0.0.1:80").is_ok() && get("127.0.0.1:81").is_ok());
        drop(two);
        assert!(get("127.0.0.1:80").is_ok() && get("127.0.0.1:81").is_err());
        let [watcher] = watchers()[..] else { panic!("{:?}", watchers()) };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(watcher), nix::sys::signal::Signal::SIGKILL).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while get("127.0.0.1:80").is_ok() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(get("127.0.0.1:80").is_err(), "the kernel has removed the table");
        assert!(nix::sys::signal::kill(pid, None).is_ok(), "the container goes on");
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(pid, None).unwrap();
    });
}

/// Skep's processes in this thread's network: of a container that is the watcher.
fn watchers() -> Vec<i32> {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let here = network("thread-self");
    let is = |pid: &String| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"skep-init"))
            && network(pid) == here
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    all.filter(is).filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn what_a_killed_supervisor_had_is_cleared_up() {
    apart(|| {
        ip("link add card0 type veth peer name card1");
        let before = (HostState::look(), links());
        for with_watcher in [false, true] {
            let mut process = Process::new(std::env::current_exe().unwrap());
            process.args(["--exact", "supervisor", "--ignored", "--nocapture", "--test-threads=1"]);
            let mut child = process.env(SUPERVISED, "1").stdin(Pipe::piped()).stdout(Pipe::piped()).spawn().unwrap();
            let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
            assert!(lines.map_while(Result::ok).any(|line| line.contains("started")));
            assert!(links().contains("vz-lan") && !links().contains("card0"));
            if with_watcher {
                // All of them at once: nobody is left who knows.
                let kill = |pid: i32| {
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
                };
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGSTOP)
                    .unwrap();
                watchers().into_iter().for_each(kill);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if with_watcher {
                break;
            }
            settled(&before.1);
        }
        // The kernel has taken the pair; the bridge is for whoever collects. What was no
        // card, but an end of a pair, went with the namespace.
        let end = Instant::now() + Duration::from_secs(5);
        while links().contains("vb-killed") && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(links().contains("vz-lan"), "{:?}", links());
        let said = collected();
        assert!(said.contains("Interface(\"vz-lan\")"), "{said}");
        assert!(!links().contains("vz-lan"));
        ip("link add card0 type veth peer name card1");
        before.0.assert_unchanged();
        ip("link del card0");
    });
}

/// What [`skep::gc`] does here, after the aliases that it finds.
fn collected() -> String {
    // The sysfs of this network, and the host's cgroups on it.
    let script = "mount --rbind /sys/fs/cgroup /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt /sys/fs/cgroup && cat /sys/class/net/*/ifalias && exec \"$0\" --exact collector --ignored --nocapture --test-threads=1";
    let mut collect = Process::new("unshare");
    collect.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = collect.env(SUPERVISED, "1").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
#[ignore = "run by a test of this file, with /sys of its network"]
fn collector() {
    if std::env::var_os(SUPERVISED).is_some() {
        let collected = skep::gc().unwrap();
        println!("{:?} {:?}", collected.removed, collected.left);
    }
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new("true");
        change(&mut command);
        let error = command.plan().unwrap_err();
        assert!(error.advice().is_some(), "{error}");
        (error.kind(), error.to_string())
    };
    let address = |command: &mut Command| _ = command.link_address("10.9.0.2/24".parse().unwrap());
    for (change, words) in [
        (&address as &dyn Fn(&mut Command), "there is none"),
        (&|command| _ = command.veth().network(skep::spec::Network::Host), "a network of the container's own"),
        (&|command| _ = command.veth().network(skep::spec::Network::Path("/run/netns/x".into())), "that is entered"),
        (
            &|command| {
                command.bridge(LinkName::new("br0").unwrap()).zone(LinkName::new("lan").unwrap());
            },
            "one bridge, not two",
        ),
        (
            &|command| _ = command.zone(LinkName::new("lan").unwrap()).publish("80".parse().unwrap()),
            "cannot be made up",
        ),
        (&|command| _ = command.veth().publish("80".parse().unwrap()).publish("80:81".parse().unwrap()), "given twice"),
        (&|command| _ = command.interface("lo".parse().unwrap()), "lo is every network's own"),
        (&|command| _ = command.veth().interface("eth0:host0".parse().unwrap()), "are called host0"),
    ] {
        let (kind, said) = refused(change);
        assert_eq!(kind, ErrorKind::InvalidSpec, "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    if is_root() {
        let (kind, said) = refused(&|command| {
            machine(command, &"m".repeat(60));
            let links = &mut command.spec_mut().links;
            links.extra.extend((0..100).map(|number| format!("a-long-name-{number}").parse().unwrap()));
            links.moved.extend((0..100).map(|number| format!("a-name-{}{number}", "-".repeat(99)).parse().unwrap()));
        });
        assert!(kind == ErrorKind::InvalidSpec && said.contains("of the watcher's"), "{said}");
    } else {
        let (kind, said) = refused(&|command| _ = command.veth());
        assert_eq!(kind, ErrorKind::NotPermitted);
        assert!(said.contains("only root"), "{said}");
    }
}
