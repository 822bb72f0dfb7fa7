//! What the rules do, by a reader of nf_tables of our own: it takes batches apart by the
//! numbers of the kernel's header, not by what wrote them, and sends packets through.

use std::collections::BTreeMap;

use super::*;

/// A packet at one hook.
#[derive(Clone)]
struct Packet {
    from: &'static str,
    to: &'static str,
    source: IpAddr,
    destination: IpAddr,
    udp: bool,
    port: u16,
    /// `fib daddr type local`
    local: bool,
    /// IP_CT_NEW is 8 of the states, established 2.
    state: u32,
    /// IPS_DST_NAT, and the like.
    status: u32,
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Drop,
    Accept,
    To(SocketAddr),
    Masquerade,
    /// No rule says anything.
    Policy,
}

/// Kind, or for an attribute its number without NLA_F_NESTED, and content.
fn attributes(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some([l, m, k, n]) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l, *m]));
        all.push((u16::from_ne_bytes([*k, *n]) & !NESTED, &rest[4..length]));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn one(of: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(of).into_iter().find(|(of, _)| *of == kind).map(|(_, content)| content)
}

fn number(of: &[u8], kind: u16) -> Option<u32> {
    one(of, kind).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

fn text(of: &[u8], kind: u16) -> String {
    String::from_utf8(one(of, kind).unwrap().split_last().unwrap().1.to_vec()).unwrap()
}

/// Messages of a batch: kind, family, attributes.
fn messages(mut rest: &[u8]) -> Vec<(u16, u8, &[u8])> {
    let mut all = Vec::new();
    while let Some(length) = rest.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
        all.push((u16::from_ne_bytes([rest[4], rest[5]]), rest[16], &rest[20..length]));
        rest = &rest[length..];
    }
    all
}

/// The bytes of `length` from `offset` of the header that `base` names.
fn header(packet: &Packet, base: u32, offset: usize, length: usize) -> Vec<u8> {
    let mut bytes = [0; 60];
    if base == 2 {
        bytes[2..4].copy_from_slice(&packet.port.to_be_bytes());
    } else {
        match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes[12..16].copy_from_slice(&source.octets());
                bytes[16..20].copy_from_slice(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes[8..24].copy_from_slice(&source.octets());
                bytes[24..40].copy_from_slice(&destination.octets());
            }
            other => panic!("{other:?}"),
        }
    }
    bytes[offset..offset + length].to_vec()
}

/// One rule; `None` where it is not about this packet.
fn rule(expressions: &[u8], packet: &Packet) -> Option<Verdict> {
    let mut registers: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (_, expression) in attributes(expressions) {
        let (name, data) = (text(expression, 1), one(expression, 2).unwrap_or_default());
        let register = |kind| number(data, kind).unwrap();
        match name.as_str() {
            "meta" => {
                let padded = |name: &str| [name.as_bytes(), &[0; 16]].concat()[..16].to_vec();
                let loaded = match register(2) {
                    6 => padded(packet.from),
                    7 => padded(packet.to),
                    16 => vec![if packet.udp { 17 } else { 6 }],
                    other => panic!("meta {other}"),
                };
                registers.insert(register(1), loaded);
            }
            "payload" => {
                let loaded = header(packet, register(2), register(3) as usize, register(4) as usize);
                registers.insert(register(1), loaded);
            }
            "fib" => {
                // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR; RTN_LOCAL is 2, RTN_UNICAST 1.
                assert_eq!((register(2), register(3)), (3, 2));
                registers.insert(register(1), if packet.local { 2_u32 } else { 1 }.to_ne_bytes().to_vec());
            }
            "ct" => {
                let loaded = [packet.state, 0, packet.status][register(2) as usize];
                registers.insert(register(1), loaded.to_ne_bytes().to_vec());
            }
            "bitwise" => {
                let (mask, xor) = (one(one(data, 4).unwrap(), 1).unwrap(), one(one(data, 5).unwrap(), 1).unwrap());
                let masked =
                    registers[&register(1)].iter().zip(mask).zip(xor).map(|((byte, mask), xor)| byte & mask ^ xor);
                registers.insert(register(2), masked.collect());
            }
            "cmp" => {
                let value = one(one(data, 3).unwrap(), 1).unwrap();
                let same = registers[&register(1)].starts_with(value);
                if same != (register(2) == 0) {
                    return None;
                }
            }
            "immediate" => {
                let value = one(data, 3).or_else(|| one(data, 2)).unwrap();
                match one(value, 2) {
                    Some(verdict) if register(1) == 0 => {
                        return Some(if number(verdict, 1) == Some(1) { Verdict::Accept } else { Verdict::Drop });
                    }
                    _ => _ = registers.insert(register(1), one(value, 1).unwrap().to_vec()),
                }
            }
            "nat" => {
                assert_eq!(register(1), 1, "of the destination");
                let (address, port) = (&registers[&register(3)], &registers[&register(5)]);
                let address = match <[u8; 4]>::try_from(address.as_slice()) {
                    Ok(octets) => IpAddr::from(octets),
                    Err(_) => IpAddr::from(<[u8; 16]>::try_from(address.as_slice()).unwrap()),
                };
                let port = u16::from_be_bytes(port.as_slice().try_into().unwrap());
                return Some(Verdict::To(SocketAddr::new(address, port)));
            }
            "masq" => return Some(Verdict::Masquerade),
            other => panic!("{other}"),
        }
    }
    None
}

/// What becomes of a packet in one chain, by the first rule that says something.
fn through(published: &Published, chain: &str, packet: &Packet) -> Verdict {
    let family = if packet.destination.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
    let batch = published.batch();
    let mut there = false;
    for (kind, of, content) in messages(&batch) {
        match kind {
            NEWCHAIN if of == family && text(content, 3) == chain => there = one(content, 4).is_some(),
            NEWRULE if of == family && text(content, 2) == chain => {
                assert!(there, "{chain} is no chain yet, or on no hook");
                if let Some(verdict) = rule(one(content, 4).unwrap(), packet) {
                    return verdict;
                }
            }
            _ => {}
        }
    }
    Verdict::Policy
}

const NEW: u32 = 8;
const DST_NAT: u32 = 0x20;

fn published(own: bool, address: &str, ports: &[&str]) -> Published {
    Published {
        table: "skep-web-1-2-3-4".to_owned(),
        interface: Some("ve-web".to_owned()),
        own,
        masquerade: true,
        addresses: vec![address.parse().unwrap()],
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
    }
}

fn packet(source: &str, destination: &str, port: u16) -> Packet {
    let [source, destination] = [source, destination].map(|address| address.parse().unwrap());
    Packet { from: "eth0", to: "", source, destination, udp: false, port, local: true, state: NEW, status: 0 }
}

#[test]
fn ports_lead_from_where_they_are_published_and_from_nowhere_else() {
    let here = published(true, "10.9.0.2", &["80:8080", "127.0.0.1:81:8081", "udp:192.0.2.1:53:5353"]);
    let to = |port| Verdict::To(SocketAddr::new(here.addresses[0], port));
    let at = |chain: &str, packet: &Packet| through(&here, chain, packet);
    let asked = packet("192.0.2.9", "192.0.2.1", 80);
    assert_eq!(at("prerouting", &asked), to(8080));
    assert_eq!(at("output", &packet("127.0.0.1", "127.0.0.1", 80)), to(8080));
    // Not what only passes by, nor another protocol, nor another port.
    assert_eq!(at("prerouting", &Packet { local: false, ..asked.clone() }), Verdict::Policy);
    assert_eq!(at("prerouting", &Packet { udp: true, ..asked.clone() }), Verdict::Policy);
    assert_eq!(at("prerouting", &Packet { port: 8080, ..asked }), Verdict::Policy);
    // That of 127.0.0.1 is the host's own alone.
    assert_eq!(at("output", &packet("127.0.0.1", "127.0.0.1", 81)), to(8081));
    assert_eq!(at("prerouting", &packet("192.0.2.9", "127.0.0.1", 81)), Verdict::Policy);
    assert_eq!(at("prerouting", &packet("192.0.2.9", "192.0.2.1", 81)), Verdict::Policy);
    let udp = Packet { udp: true, ..packet("192.0.2.9", "192.0.2.1", 53) };
    assert_eq!(at("prerouting", &udp), to(5353));
    assert_eq!(at("prerouting", &Packet { destination: "192.0.2.7".parse().unwrap(), ..udp }), Verdict::Policy);
    // Where a bridge is between, 127.0.0.1 cannot be led there.
    let bridged = published(false, "10.9.0.2", &["80:8080", "127.0.0.1:81:8081"]);
    for port in [80, 81] {
        assert_eq!(through(&bridged, "output", &packet("127.0.0.1", "127.0.0.1", port)), Verdict::Policy, "{port}");
    }
    let sixth = published(true, "fd00::2", &["80:8080"]);
    assert_eq!(through(&sixth, "output", &packet("::1", "::1", 80)), Verdict::Policy);
    let to = Verdict::To("[fd00::2]:8080".parse().unwrap());
    assert_eq!(through(&sixth, "prerouting", &packet("2001:db8::9", "2001:db8::1", 80)), to);
}

#[test]
fn row_074_nothing_that_a_container_begins_reaches_localhost() {
    let here = published(true, "10.9.0.2", &["80:8080"]);
    let begun = Packet { from: "ve-web", ..packet("10.9.0.2", "127.0.0.1", 22) };
    assert_eq!(through(&here, "guard", &begun), Verdict::Drop);
    for destination in ["127.255.255.254", "127.8.0.1"] {
        let destination = destination.parse().unwrap();
        assert_eq!(through(&here, "guard", &Packet { destination, ..begun.clone() }), Verdict::Drop);
    }
    assert_eq!(through(&here, "guard", &Packet { from: "lo", ..begun }), Verdict::Policy);
    // Before addresses of replies are changed back.
    let batch = here.batch();
    let guard =
        messages(&batch).into_iter().find(|(kind, _, content)| *kind == NEWCHAIN && text(content, 3) == "guard");
    let hook = one(guard.unwrap().2, 4).unwrap();
    assert_eq!((number(hook, 1), number(hook, 2)), (Some(0), Some((-300_i32).cast_unsigned())));
}

#[test]
fn what_is_not_published_is_not_reached_by_way_of_the_host() {
    for (own, address, other) in
        [(true, "10.9.0.2", "10.9.0.3"), (false, "10.9.0.2", "10.9.0.3"), (true, "fd00::2", "fd00::3")]
    {
        let here = published(own, address, &["80:8080"]);
        let source = if address.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
        let passing = Packet { to: "ve-web", local: false, ..packet(source, address, 8080) };
        let at = |packet: &Packet| through(&here, "forward", packet);
        assert_eq!(at(&passing), Verdict::Drop);
        assert_eq!(at(&Packet { status: DST_NAT, ..passing.clone() }), Verdict::Accept, "by a port");
        for state in [2, 4] {
            assert_eq!(at(&Packet { state, ..passing.clone() }), Verdict::Accept, "an answer, or about one");
        }
        // Who else has the address, behind another interface.
        let elsewhere = Packet { to: "eth1", status: DST_NAT, ..passing.clone() };
        assert_eq!(at(&elsewhere), Verdict::Drop);
        assert_eq!(at(&Packet { status: 0, ..elsewhere }), Verdict::Policy);
        assert_eq!(at(&Packet { destination: other.parse().unwrap(), ..passing }), Verdict::Policy);
        // Out: with the host's address.
        let out = Packet { from: "ve-web", to: "eth0", local: false, ..packet(address, source, 443) };
        assert_eq!(through(&here, "postrouting", &out), Verdict::Masquerade);
        let plain = Published { masquerade: false, ..here.clone() };
        assert_eq!(through(&plain, "postrouting", &out), Verdict::Policy);
    }
}

#[test]
fn every_table_goes_with_its_socket_and_keeps_its_ports() {
    for address in [&["10.9.0.2"] as &[&str], &["fd00::2"], &["10.9.0.2", "fd00::2"], &[]] {
        let mut here = published(true, "10.9.0.2", &["80:8080", "udp:127.0.0.1:53:53"]);
        here.addresses = address.iter().map(|address| address.parse().unwrap()).collect();
        for batch in [here.batch(), here.replacement()] {
            let all = messages(&batch);
            for (_, _, content) in all.iter().filter(|(kind, ..)| *kind == NEWTABLE) {
                assert_eq!((text(content, 1), number(content, 2)), (here.table.clone(), Some(2)), "NFT_TABLE_F_OWNER");
            }
            let claims: Vec<String> = all
                .iter()
                .filter(|(kind, _, content)| *kind == NEWCHAIN && one(content, 4).is_none())
                .map(|(_, _, content)| text(content, 3))
                .collect();
            assert_eq!(claims, ["tcp 80", "udp 127.0.0.1:53"]);
        }
    }
}
