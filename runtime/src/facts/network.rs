//! The host's network, as far as a container that has a part in it wants to know.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fmt, fs, io};

use skep_sys::wire::Blob;
use skep_sys::{Claim, Kernel as _, Linux, Op, OwnedSlots, Slot};

use super::host::{machine_id, text};
use crate::compile::network::tables::{Published, TAKEN, claim};
use crate::compile::network::{NETFILTER, ROUTE};
use crate::spec::{MachineName, Protocol, Spec};

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
    /// Who listens on the host where a port is to be published.
    pub taken: Vec<Listens>,
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
            taken: taken(&spec.links.ports.iter().map(claim).collect::<Vec<_>>()),
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

/// Somebody who listens on the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listens {
    /// By TCP or UDP.
    pub protocol: Protocol,
    /// The address and port.
    pub at: SocketAddr,
    /// The process, where it can be seen, and what it is called.
    pub process: Option<(u32, String)>,
    /// The container that it passes the port on to, where it is registered and the only
    /// one of that process.
    pub container: Option<MachineName>,
}

impl Listens {
    /// Whether it is where a port is to be.
    pub(crate) fn meets(&self, wanted: &Claim) -> bool {
        let udp = self.protocol == Protocol::Udp;
        wanted.meets(&Claim { udp, address: Some(self.at.ip()), port: self.at.port() })
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.container {
            Some(_) => TAKEN,
            None => "Publish another one (--port=HOST:CONTAINER), or end who has it (`ss -lnp` shows whom).",
        }
    }
}

impl fmt::Display for Listens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.container, &self.process) {
            (Some(container), _) => write!(f, "the container {container}")?,
            (None, Some((pid, name))) => write!(f, "process {pid} ({name})")?,
            (None, None) => f.write_str("somebody on the host")?,
        }
        write!(f, " listens on {}", self.at)
    }
}

/// Who listens where one of these is to be.
pub(crate) fn taken(wanted: &[Claim]) -> Vec<Listens> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let of = |(protocol, name)| {
        let text = text(format!("/proc/thread-self/net/{name}"));
        listeners(&text, protocol).collect::<Vec<_>>()
    };
    let files = [(Protocol::Tcp, "tcp"), (Protocol::Tcp, "tcp6"), (Protocol::Udp, "udp"), (Protocol::Udp, "udp6")];
    let all = files.into_iter().flat_map(of);
    all.filter(|(one, _)| wanted.iter().any(|claim| one.meets(claim)))
        .map(|(one, inode)| {
            let process = holder(inode);
            let container = process.as_ref().and_then(|(pid, _)| crate::registry::of_registrar(*pid));
            Listens { process, container, ..one }
        })
        .collect()
}

/// Who has the socket of this number, as far as that may be seen.
fn holder(inode: u64) -> Option<(u32, String)> {
    let socket = format!("socket:[{inode}]");
    let is_it = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket.as_str()))
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        fs::read_dir(process.path().join("fd")).ok()?.any(is_it).then_some(())?;
        Some((pid, text(process.path().join("comm")).trim_end().to_owned()))
    })
}

/// `/proc/net/tcp` and its like: a number, the local address and port, those of the other
/// side, the state; and, five words on, the socket's number. Of those who are connected
/// to nobody.
fn listeners(text: &str, protocol: Protocol) -> impl Iterator<Item = (Listens, u64)> {
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
        let inode = words.nth(5).and_then(|word| word.parse().ok()).unwrap_or(0);
        Some((Listens { protocol, at: SocketAddr::new(address, port), process: None, container: None }, inode))
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
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2744 1 0 100\n\
            1: 0100007F:1F91 0100007F:0050 01 00000000:00000000\n\
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\nx\n3: y:z w 0A\n";
        let found: Vec<_> = listeners(TEXT, Protocol::Tcp).map(|(one, inode)| (one.at.to_string(), inode)).collect();
        assert_eq!(found, [("127.0.0.1:8080".to_owned(), 2744), ("[::1]:80".to_owned(), 0)]);
        assert_eq!(listeners("", Protocol::Udp).count(), 0);
    }
}
