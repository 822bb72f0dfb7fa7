//! Ports that are published.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command as Process, Stdio as Pipe};
use std::time::{Duration, Instant};

use skep::spec::LinkName;
use skep::sys::Errno;
use skep::{Command, ErrorKind};
use skep_tests::{checked, has, ip};

use super::{Neighbour, apart, get, machine, server};

/// `net.ipv4` of this thread's network.
fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
}

#[test]
fn ports_lead_into_the_container_from_where_they_are_published() {
    apart(|| {
        let neighbour = Neighbour::new();
        sysctl("ip_forward", "1");
        let publish = |ports: &'static [&'static str]| {
            server(|command| {
                machine(command, "web");
                command.veth();
                ports.iter().for_each(|port| _ = command.publish(port.parse().unwrap()));
            })
        };
        let Some(container) = publish(&["80:8080", "127.0.0.1:81:8080", "192.0.2.1:82:8080", "udp:53:5353"]) else {
            return;
        };
        let inside = checked(container.exec("ip").args(["-o", "-4", "addr", "show", "dev", "host0"]).output().unwrap());
        let own = inside.split_whitespace().find_map(|word| word.strip_suffix("/30")).unwrap().to_owned();

        // From the host: over localhost too, whose address the container does not see.
        for address in ["127.0.0.1:80", "127.0.0.1:81", "192.0.2.1:80", "192.0.2.1:82", "127.0.0.9:80"] {
            let said = get(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert!(said.contains("from ") && !said.contains("from 127."), "{address}: {said}");
        }
        assert!(get("127.0.0.1:82").is_err() && get("192.0.2.1:81").is_err(), "published elsewhere");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.send_to(b"me", "127.0.0.1:53").unwrap();
        let mut answer = [0; 99];
        let (length, _) = socket.recv_from(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"datagram for me");

        // From outside.
        assert_eq!(neighbour.get("192.0.2.1", 80), "from 192.0.2.2\n");
        assert_eq!(neighbour.get("192.0.2.1", 82), "from 192.0.2.2\n");
        assert!(!neighbour.get("192.0.2.1", 81).contains("from"), "published on 127.0.0.1 alone");
        assert!(!neighbour.get(&own, 8080).contains("from"), "by way of the host, not published");

        // From the container: to itself by the host's address, and to nothing of 127.0.0.1.
        let script = "exec 3<>/dev/tcp/192.0.2.1/80 && cat <&3 | tail -n 1";
        let said = checked(container.exec("bash").args(["-c", script]).output().unwrap());
        assert!(said.starts_with("from "), "{said}");
        // And what it sends out has the host's address.
        neighbour.sh("perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalPort => 99) or die; if (!fork) { alarm 9; $c = $s->accept; print $c $c->peerhost . \"\\n\" }' >/dev/null 2>&1");
        let script = "exec 3<>/dev/tcp/192.0.2.2/99 && cat <&3";
        let said = checked(container.exec("bash").args(["-c", script]).output().unwrap());
        assert_eq!(said, "192.0.2.1\n");

        if has("nft") {
            let rules = Process::new("nft").args(["list", "ruleset"]).output().unwrap();
            let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
            for part in [
                "flags owner",
                "iifname \"ve-web\" ip daddr 127.0.0.0/8 drop",
                &format!("fib daddr type local tcp dport 80 dnat to {own}:8080"),
                &format!("ip daddr 127.0.0.1 tcp dport 81 dnat to {own}:8080"),
                &format!("fib daddr type local udp dport 53 dnat to {own}:5353"),
                "oifname \"ve-web\" ip saddr 127.0.0.0/8 masquerade",
            ] {
                assert!(rules.contains(part), "{part} in {rules}");
            }
        }
        drop(container);
        assert!(get("127.0.0.1:80").is_err());
    });
}

#[test]
fn what_tables_do_not_lead_into_the_container_is_passed_on() {
    apart(|| {
        let Some(container) = server(|command| {
            command.zone(LinkName::zone("lan").unwrap()).link_address("10.9.0.2/24".parse().unwrap());
            command.publish("80:8080".parse().unwrap()).publish("127.0.0.1:81:8080".parse().unwrap());
            command.publish("udp:53:5353".parse().unwrap());
        }) else {
            return;
        };
        assert!(get("10.9.0.1:80").unwrap().contains("from 10.9.0.1"), "by tables");
        assert!(get("127.0.0.1:80").is_err() && get("[::1]:80").is_err() && get("10.9.0.1:81").is_err());
        let passes: Vec<_> = container
            .forwards()
            .iter()
            .map(|forward| forward.start().unwrap_or_else(|error| panic!("{forward:?}: {error}")))
            .collect();
        for address in ["127.0.0.1:80", "[::1]:80", "127.0.0.1:81"] {
            let said = get(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert!(said.contains("from 10.9.0.1"), "{address}: {said}");
        }
        assert!(get("10.9.0.1:81").is_err(), "published on 127.0.0.1 alone");
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.send_to(b"me", "[::1]:53").unwrap();
        let mut answer = [0; 99];
        let (length, _) = socket.recv_from(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"datagram for me");
        drop(passes);
        assert!(TcpListener::bind("127.0.0.1:80").is_ok() && TcpListener::bind("[::1]:80").is_ok(), "free again");
    });
}

/// Waits until a port leads somewhere, or nowhere.
#[track_caller]
fn answers(address: &str, wanted: bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while get(address).is_ok_and(|said| said.contains("from")) != wanted && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(address).is_ok_and(|said| said.contains("from")), wanted, "{address}");
}

#[test]
fn ports_follow_the_addresses_of_the_container() {
    apart(|| {
        let Some(container) = server(|command| {
            command.veth().publish("80:8080".parse().unwrap()).publish("udp:53:5353".parse().unwrap());
            command.link_address("10.9.0.2/24".parse().unwrap());
            command.capabilities(skep::spec::CapabilityList(skep::sys::abi::CapabilitySet(1 << 12)));
        }) else {
            return;
        };
        let inside = |words: &str| checked(container.exec("ip").args(words.split(' ')).output().unwrap());
        let mut ports = container.ports().unwrap().unwrap();
        assert!(!container.follow(&mut ports).unwrap(), "nothing has changed");
        let _passes: Vec<_> = container.forwards().iter().map(|forward| forward.start().unwrap()).collect();
        let heard = |ports: &skep::Ports| {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(ports), PollFlags::POLLIN)];
            poll(&mut polled, PollTimeout::from(3000_u16)).unwrap() == 1
        };
        answers("127.0.0.1:80", true);
        // One more is no reason to leave the first.
        inside("addr add 10.9.0.3/24 dev host0");
        assert!(heard(&ports) && !container.follow(&mut ports).unwrap());
        inside("addr del 10.9.0.2/24 dev host0");
        // The second one of a network goes with the first.
        inside("addr replace 10.9.0.3/24 dev host0");
        answers("127.0.0.1:80", false);
        assert!(heard(&ports) && container.follow(&mut ports).unwrap());
        for address in ["127.0.0.1:80", "10.9.0.1:80", "[::1]:80"] {
            answers(address, true);
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.send_to(b"me", "127.0.0.1:53").unwrap();
        assert!(socket.recv_from(&mut [0; 99]).is_ok());

        // An address to which the host sends elsewhere is nobody's business.
        ip("link add other0 type veth peer name other1");
        ip("link set other0 up");
        ip("addr add 192.0.2.1/24 dev other0");
        inside("addr add 192.0.2.7/24 dev host0");
        inside("addr del 10.9.0.3/24 dev host0");
        assert!(heard(&ports) && container.follow(&mut ports).unwrap());
        if has("nft") {
            let rules = Process::new("nft").args(["list", "ruleset"]).output().unwrap();
            let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
            assert!(rules.contains("chain tcp 80") && !rules.contains("dnat"), "no address, no rule: {rules}");
        }
        answers("127.0.0.1:80", false);
        inside("addr add 10.9.0.4/24 dev host0");
        assert!(heard(&ports) && container.follow(&mut ports).unwrap());
        answers("127.0.0.1:80", true);
        ip("link del other0");
        drop(container);
        assert!(heard(&ports) || get("127.0.0.1:80").is_err());
        drop(ports);
    });
}

#[test]
fn a_port_that_somebody_has_is_not_published() {
    apart(|| {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:80").unwrap(), std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
        let publish = |port: &str| {
            let mut command = Command::new("true");
            command.veth().publish(port.parse().unwrap()).output()
        };
        for port in ["80", "80:8080", "127.0.0.1:80", "udp:53", "udp:127.0.0.1:53:1"] {
            let error = publish(port).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PortTaken, "{port}: {error}");
            assert!(error.to_string().contains("listens on"), "{error}");
        }
        for port in ["udp:80", "53", "81:80", "10.0.0.1:80:80"] {
            publish(port).unwrap_or_else(|error| panic!("{port}: {error}"));
        }
        drop((tcp, udp));
        publish("80").unwrap();
    });
}

/// `route_localnet` lets answers through, and nothing that the container begins.
#[test]
fn row_074_a_container_with_ports_reaches_no_service_on_localhost_of_the_host() {
    apart(|| {
        let listener = TcpListener::bind("127.0.0.1:7777").unwrap();
        listener.set_nonblocking(true).unwrap();
        let Some(container) = server(|command| {
            command.veth().publish("127.0.0.1:80:8080".parse().unwrap());
            command.capabilities(skep::spec::CapabilityList(skep::sys::abi::CapabilitySet(1 << 12)));
        }) else {
            return;
        };
        assert!(get("127.0.0.1:80").unwrap().contains("from"));
        let script = "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p') 2>&1; \
            sysctl -q -w net.ipv4.conf.all.route_localnet=1 2>&1; timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/7777 && echo reached'; true";
        let said = container.exec("bash").args(["-c", script]).output().unwrap();
        assert!(!String::from_utf8_lossy(&said.stdout).contains("reached"), "{said:?}");
        assert!(listener.accept().is_err());
    });
}

/// A container that has a port, or why it does not.
fn holder(name: &str, port: &str) -> skep::Result<skep::Container> {
    let mut command = Command::new("sleep");
    machine(&mut command, name);
    command.arg("600").veth().publish(port.parse().unwrap());
    command.stdin(skep::Stdio::null()).stdout(skep::Stdio::null()).stderr(skep::Stdio::null());
    command.spawn()
}

#[test]
fn a_port_that_another_container_has_is_not_published() {
    apart(|| {
        let first = holder("one", "80").unwrap();
        let _other = holder("two", "127.0.0.1:81").unwrap();
        for port in ["80", "80:8080", "127.0.0.1:80", "[::1]:80"] {
            let error = holder("three", port).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PortTaken, "{port}: {error}");
            assert!(error.to_string().contains("the container one publishes tcp 80"), "{error}");
        }
        let error = holder("three", "0.0.0.0:81").unwrap_err().to_string();
        assert!(error.contains("the container two publishes tcp 127.0.0.1:81"), "{error}");
        for port in ["udp:80", "127.0.0.2:81", "82"] {
            holder("three", port).unwrap_or_else(|error| panic!("{port}: {error}"));
        }
        drop(first);
        holder("three", "80").unwrap();
        // As a machine's too, of which what the host itself listens on keeps nothing.
        let mut machines = Command::new("true");
        machine(&mut machines, "four");
        machines.veth().publish("81".parse().unwrap());
        machines.spec_mut().profile = skep::spec::Profile::Nspawn;
        let error = machines.status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PortTaken, "{error}");
    });
}

/// A plan that was made when the port was free.
#[test]
fn between_plan_and_start_a_port_is_somebodys_too() {
    apart(|| {
        let mut command = Command::new("true");
        machine(&mut command, "late");
        command.veth().publish("80".parse().unwrap());
        let plan = command.plan().unwrap();
        let first = holder("early", "127.0.0.1:80").unwrap();
        let error = skep::start_with_fault(&plan, u32::MAX, Errno::EIO).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::PortTaken, Some(Errno::EADDRINUSE)), "{error}");
        assert!(error.to_string().contains("the container early publishes tcp 127.0.0.1:80"), "{error}");
        drop(first);
    });
}

const CONTENDER: &str = "SKEP_TEST_CONTENDER";

#[test]
#[ignore = "run by a test of this file, as one of several that want a port"]
fn contender() {
    let Ok(name) = std::env::var(CONTENDER) else { return };
    println!("ready");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let held = holder(&name, "80");
    match &held {
        Ok(_) => println!("has it"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// However many start at once, one of them has the port; who is killed has it no more.
#[test]
fn of_many_that_want_a_port_one_has_it() {
    use std::io::Write as _;
    apart(|| {
        for round in 0..4 {
            let start = |number: i32| {
                let mut process = Process::new(std::env::current_exe().unwrap());
                process.args(["--exact", "ports::contender", "--ignored", "--nocapture", "--test-threads=1"]);
                process.env(CONTENDER, format!("c{round}-{number}")).stdin(Pipe::piped()).stdout(Pipe::piped());
                let mut child = process.spawn().unwrap();
                let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
                (child, lines)
            };
            let mut all: Vec<_> = (0..6).map(start).collect();
            for (_, lines) in &mut all {
                assert!(lines.any(|line| line.ends_with("ready")));
            }
            for (child, _) in &mut all {
                child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            }
            let said: Vec<String> = all.iter_mut().map(|(_, lines)| lines.next().unwrap()).collect();
            assert_eq!(said.iter().filter(|said| *said == "has it").count(), 1, "{said:?}");
            let lost = |said: &&String| said.starts_with("PortTaken: ");
            assert_eq!(said.iter().filter(lost).count(), said.len() - 1, "{said:?}");
            for (child, _) in &mut all {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            // The watcher's clear-up takes a moment.
            let end = Instant::now() + Duration::from_secs(5);
            let next = loop {
                match holder("next", "80") {
                    Err(error) if error.kind() == ErrorKind::PortTaken && Instant::now() < end => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    other => break other,
                }
            };
            drop(next.unwrap());
        }
    });
}
