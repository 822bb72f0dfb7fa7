//! Interfaces: those inside, and those of the host, while a container runs. In a network
//! of the test's own, with two cards and a bridge.

use std::collections::BTreeMap;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use serde_json::Value;
use skep::sys::{Actor, Model};
use skep_tests::ip;

/// What there is, a line each: as [`skep::sys::Process::lines`] has it, without
///
/// | left out | why |
/// |---|---|
/// | `lo`, and addresses of IPv6 that the kernel makes itself | a model has one `lo`, and nobody who makes up addresses |
/// | the hardware address of a zone's bridge | made up |
/// | what is below a macvlan, `option` of an interface, tables | `ip` does not say it of another network, or at all |
/// | routes that nobody has asked for | those of addresses of bridges |
pub(crate) type Lines = BTreeMap<String, String>;

const CARDS: [(&str, [u8; 6], u32); 2] = [("card0", [2, 0, 0, 0, 0xc, 0], 1400), ("card1", [2, 0, 0, 0, 0xc, 1], 1500)];
const BRIDGE: &str = "br0";

/// Of this thread's network.
pub(crate) struct Cards {
    before: Lines,
    pub(crate) ipvlan: bool,
}

fn colons(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

impl Cards {
    /// Makes them.
    pub(crate) fn new() -> Self {
        let [(one, first, mtu), (other, second, _)] = CARDS;
        let (first, second) = (colons(first), colons(second));
        ip(&format!("link add {one} address {first} mtu {mtu} type veth peer name {other} address {second}"));
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("link set {BRIDGE} up"));
        let ipvlan = Process::new("ip").args(["link", "add", "i0", "link", one, "type", "ipvlan"]).output();
        let ipvlan = ipvlan.is_ok_and(|output| output.status.success());
        if ipvlan {
            ip("link del i0");
        }
        Self { before: of_linux(&[]), ipvlan }
    }

    /// A model that has them too.
    pub(crate) fn tell(model: Model) -> Model {
        let with = CARDS.into_iter().fold(model, |model, (name, address, mtu)| model.card(name, address, mtu));
        with.bridge(BRIDGE)
    }

    /// Waits until nothing is there but these, as they were.
    pub(crate) fn are_alone(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let now = of_linux(&[]);
            if now == self.before {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("left on the host: {now:#?}\nbefore: {:#?}\n", self.before));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What differs between two sides, on the host and inside.
pub(crate) fn differences(model: &Model, pid: u32) -> String {
    let inside = format!("--net=/proc/{pid}/ns/net");
    let host = model.process(Actor::Host).map(|host| host.lines()).unwrap_or_default();
    let child = model.process(Actor::Child).map(|child| child.lines()).unwrap_or_default();
    let mut text = String::new();
    for (place, linux, model) in
        [("host", of_linux(&[]), of_model(&host)), ("inside", of_linux(&["nsenter", &inside]), of_model(&child))]
    {
        for (side, one, other) in [("linux", &linux, &model), ("model", &model, &linux)] {
            for (name, value) in one.iter().filter(|(name, value)| other.get(*name) != Some(value)) {
                text += &format!("{place}:  {side} {name}: {value}\n");
            }
        }
    }
    text
}

fn of_model(lines: &Lines) -> Lines {
    let wanted = |name: &&String| name.starts_with("link ") || name.starts_with("route ");
    let value = |value: &str| {
        let mut words = Vec::new();
        let mut all = value.split(' ');
        while let Some(word) = all.next() {
            match word {
                "over" | "option" => drop(all.next()),
                _ => words.push(word),
            }
        }
        words.join(" ")
    };
    let all = lines.iter().filter(|(name, _)| wanted(name) && *name != "link lo");
    all.map(|(name, text)| (name.clone(), value(text))).collect()
}

/// By `ip(8)`, after other words.
fn of_linux(before: &[&str]) -> Lines {
    let said = |words: &[&str]| -> Vec<Value> {
        let all = [before, &["ip", "-j", "-d"], words].concat();
        let output = Process::new(all[0]).args(&all[1..]).output().unwrap();
        assert!(output.status.success(), "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
        // Nothing at all where there is none.
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = Lines::new();
    for link in said(&["addr"]).iter().filter(|link| link["ifname"] != "lo") {
        let name = text(&link["ifname"]);
        let address = text(&link["address"]);
        let card = CARDS.iter().find(|(_, card, _)| colons(*card) == address);
        let kind = if card.is_some() { "physical".to_owned() } else { text(&link["linkinfo"]["info_kind"]) };
        let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        let mut words = vec![kind.clone(), (if up { "up" } else { "down" }).to_owned()];
        if kind != "bridge" {
            let bytes: Vec<u8> = address.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            words.push(format!("address {bytes:02x?}"));
        }
        words.extend(link["ifalias"].as_str().map(|alias| format!("alias {alias}")));
        let mut alternatives: Vec<String> = link["altnames"].as_array().into_iter().flatten().map(text).collect();
        alternatives.sort();
        words.extend(alternatives.iter().map(|name| format!("altname {name}")));
        words.extend(link["master"].as_str().map(|master| format!("under {master}")));
        words.extend(link["mtu"].as_u64().filter(|mtu| *mtu != 1500).map(|mtu| format!("mtu {mtu}")));
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        let mut addresses: Vec<String> = addresses
            .filter(|address| !(address["family"] == "inet6" && address["scope"] == "link"))
            .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
            .collect();
        addresses.sort();
        words.extend(addresses);
        lines.insert(format!("link {name}"), words.join(" "));
    }
    for (family, all) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
        for route in said(&[family, "route"]).iter().filter(|route| route["protocol"] == "static") {
            let whole = if family == "-4" { 32 } else { 128 };
            let to = match text(&route["dst"]) {
                default if default == "default" => all.to_owned(),
                one if !one.contains('/') => format!("{one}/{whole}"),
                network => network,
            };
            let octets = |gateway: std::net::IpAddr| match gateway {
                std::net::IpAddr::V4(gateway) => gateway.octets().to_vec(),
                std::net::IpAddr::V6(gateway) => gateway.octets().to_vec(),
            };
            let gateway = route["gateway"].as_str().and_then(|gateway| gateway.parse().ok());
            let by = gateway.map(|gateway| format!(" by {:?}", octets(gateway))).unwrap_or_default();
            lines.insert(format!("route {to}{by}"), text(&route["dev"]));
        }
    }
    lines
}
