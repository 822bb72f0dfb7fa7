//! The host's network, as far as a container that has a part in it wants to know.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use skep_sys::wire::Blob;
use skep_sys::{Claim, Kernel as _, Linux, Op, OwnedSlots, Slot};

use super::host::{machine_id, text};
use crate::compile::network::{NETFILTER, ROUTE, tables::Published};
use crate::spec::{Protocol, Spec};

/// Facts about the network namespace of the caller, for a Spec with interfaces.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NetworkFacts {
    /// The machine's id (`machine-id(5)`), by which hardware addresses are made; zeroes
    /// where it has none.
    pub machine_id: [u8; 16],
    /// Networks that a route leads to, and their prefixes.
    pub routes: Vec<(Ipv4Addr, u8)>,
    /// Whether the host passes on what comes in from one interface to another.
    pub forwards: bool,
    /// Whether the kernel has of nf_tables what published ports take (5.12). Looked at
    /// once, where ports are wanted: a table is made and, with its socket, gone.
    pub tables: bool,
    /// First names of interfaces that the Spec lends by a further one.
    pub names: BTreeMap<String, String>,
    /// Where somebody listens on the host, of what a port is published on.
    pub taken: Vec<(Protocol, SocketAddr)>,
    /// Ports that other containers have published, each with the table that leads there.
    pub published: Vec<(String, Claim)>,
    /// The lock under which bridges of zones come and go.
    pub zone_lock: PathBuf,
}

impl NetworkFacts {
    pub(super) fn look(spec: &Spec) -> Self {
        let wanted = !spec.links.ports.is_empty() || spec.links.has_auto();
        Self {
            machine_id: machine_id(&text("/etc/machine-id")).map(u128::to_be_bytes).unwrap_or_default(),
            routes: routes(&text("/proc/thread-self/net/route")),
            forwards: text("/proc/sys/net/ipv4/ip_forward").trim_end() == "1",
            tables: wanted && tables(),
            names: names(spec),
            taken: if spec.links.ports.is_empty() { Vec::new() } else { taken() },
            published: if spec.links.ports.is_empty() { Vec::new() } else { published() },
            zone_lock: zone_lock(),
        }
    }

    pub(super) fn example() -> Self {
        Self {
            machine_id: [0x42; 16],
            routes: vec![(Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(192, 0, 2, 0), 24)],
            forwards: false,
            tables: true,
            names: BTreeMap::new(),
            taken: Vec::new(),
            published: Vec::new(),
            zone_lock: "/run/skep-network-zone".into(),
        }
    }
}

fn tables() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let mut slots = OwnedSlots::new(1);
        let batch = Published::probe(std::process::id()).batch();
        let socket = Slot(0);
        let ops = [
            Op::NetlinkSocket { protocol: NETFILTER, namespace: None, into: socket },
            Op::NfTables { socket, batch: Blob(&batch) },
        ];
        ops.iter().all(|op| Linux::new().call(op, &mut slots.slots()).is_ok())
    })
}

/// Nothing where that cannot be seen: the start says so then.
pub(crate) fn published() -> Vec<(String, Claim)> {
    let (socket, mut slots) = (Slot(0), OwnedSlots::new(1));
    let open = Op::NetlinkSocket { protocol: NETFILTER, namespace: None, into: socket };
    let opened = Linux::new().call(&open, &mut slots.slots());
    let claims = opened.ok().and_then(|()| skep_sys::claims(slots.borrow(socket)?).ok()).unwrap_or_default();
    claims.into_iter().map(|(table, claim)| (String::from_utf8_lossy(&table).into_owned(), claim)).collect()
}

/// systemd-nspawn's own, where that can be: a zone may have members of both.
pub(crate) fn zone_lock() -> PathBuf {
    let systemd = Path::new("/run/systemd").is_dir();
    if systemd { "/run/systemd/nspawn-network-zone" } else { "/run/skep-network-zone" }.into()
}

fn names(spec: &Spec) -> BTreeMap<String, String> {
    let moved = &spec.links.moved;
    let (socket, mut slots) = (Slot(0), OwnedSlots::new(1));
    let open = Op::NetlinkSocket { protocol: ROUTE, namespace: None, into: socket };
    if moved.is_empty() || Linux::new().call(&open, &mut slots.slots()).is_err() {
        return BTreeMap::new();
    }
    let Some(socket) = slots.borrow(socket) else { return BTreeMap::new() };
    let first = |host: &str| {
        let name = CString::new(host).ok()?;
        // One that is not there the start speaks of.
        String::from_utf8(skep_sys::interface_name(socket, &name).ok()?).ok().filter(|first| first != host)
    };
    moved.iter().filter_map(|pair| Some((pair.host().to_owned(), first(pair.host())?))).collect()
}

fn taken() -> Vec<(Protocol, SocketAddr)> {
    let of = |protocol, name: &str| {
        let text = text(format!("/proc/thread-self/net/{name}"));
        listeners(&text, protocol).collect::<Vec<_>>()
    };
    [of(Protocol::Tcp, "tcp"), of(Protocol::Tcp, "tcp6"), of(Protocol::Udp, "udp"), of(Protocol::Udp, "udp6")].concat()
}

/// `/proc/net/tcp` and its like: a number, the local address and port, those of the other
/// side, the state. Of those who are connected to nobody.
fn listeners(text: &str, protocol: Protocol) -> impl Iterator<Item = (Protocol, SocketAddr)> {
    // TCP_LISTEN; TCP_CLOSE
    let wanted = if protocol == Protocol::Tcp { "0A" } else { "07" };
    text.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (address, port) = words.next()?.split_once(':')?;
        words.nth(1).filter(|state| *state == wanted)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // Words of four bytes, each in the machine's order.
        let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
        let address = match address.len() {
            8 => IpAddr::from(word(0)?),
            32 => {
                let mut all = [0; 16];
                for (at, place) in all.chunks_exact_mut(4).enumerate() {
                    place.copy_from_slice(&word(at)?);
                }
                IpAddr::from(all)
            }
            _ => return None,
        };
        Some((protocol, SocketAddr::new(address, port)))
    })
}

/// `/proc/net/route`: interface, destination and gateway, flags and counters, mask; in
/// the machine's order of bytes.
fn routes(text: &str) -> Vec<(Ipv4Addr, u8)> {
    let row = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let number = |word: Option<&str>| u32::from_str_radix(word?, 16).ok();
        let to = number(words.nth(1))?;
        let mask = number(words.nth(5))?;
        Some((Ipv4Addr::from(to.to_ne_bytes()), mask.count_ones() as u8))
    };
    text.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nx\ty\n";
        let expected = [(Ipv4Addr::UNSPECIFIED, 0), (Ipv4Addr::new(10, 0, 2, 0), 24)];
        assert_eq!(routes(text), expected);
        assert_eq!(routes(""), []);
    }

    #[test]
    fn who_listens_is_read() {
        const TEXT: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:1F91 0100007F:0050 01 00000000:00000000\n\
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\nx\n3: y:z w 0A\n";
        let found: Vec<_> = listeners(TEXT, Protocol::Tcp).map(|(_, address)| address.to_string()).collect();
        assert_eq!(found, ["127.0.0.1:8080", "[::1]:80"]);
        assert_eq!(listeners("", Protocol::Udp).count(), 0);
    }
}
