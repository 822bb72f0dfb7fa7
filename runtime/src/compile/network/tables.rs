//! Published ports, as a batch for nf_tables: one table for each family and container,
//! owned by the socket that makes it (NFT_TABLE_F_OWNER, Linux 5.12), so that it goes
//! with whoever supervises, whatever ends that; and nobody else can change it.
//!
//! Numbers: `include/uapi/linux/netfilter/nf_tables.h`, `nfnetlink.h`. All of them are
//! big-endian, but for those that a rule compares with what the kernel loads.

use std::net::IpAddr;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use skep_sys::Claim;

use crate::forward::Forward;
use crate::spec::{Port, Protocol};

/// What is kept for a port that is published.
pub(crate) fn claim(port: &Port) -> Claim {
    Claim { udp: port.protocol == Protocol::Udp, address: port.address, port: port.host }
}

/// Who published a port, by the name of his table: `skep-MACHINE-`, and four numbers.
pub(crate) fn who(table: &str) -> String {
    let machine = table.strip_prefix("skep-").and_then(|rest| rest.rsplitn(5, '-').nth(4));
    machine.map_or_else(|| format!("the table {table} of nf_tables"), |machine| format!("the container {machine}"))
}

/// What to do about a port that another container has.
pub(crate) const TAKEN: &str =
    "Publish another one (--port=HOST:CONTAINER), or stop that container first (skep stop NAME).";

/// What leads where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Published {
    /// The tables' name.
    pub(crate) table: String,
    /// The interface of the host behind which the container is. Where there is none, the
    /// ports are kept by tables, and passed on in user space from within its network.
    pub(crate) interface: Option<String>,
    /// Whether that is the container's alone, so that what comes from
    /// `127.0.0.0/8` can be sent there (`route_localnet`).
    pub(crate) own: bool,
    /// Whether what the container sends elsewhere has the host's address.
    pub(crate) masquerade: bool,
    /// The container's addresses, of different families.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<Port>,
}

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

mod flag {
    pub(super) const REQUEST: u16 = 1;
    pub(super) const ACK: u16 = 4;
    pub(super) const EXCLUSIVE: u16 = 0x200;
    pub(super) const CREATE: u16 = 0x400;
    pub(super) const APPEND: u16 = 0x800;
}

const NEWTABLE: u16 = 10 << 8;
const DELTABLE: u16 = NEWTABLE | 2;
const NEWCHAIN: u16 = NEWTABLE | 3;
const NEWRULE: u16 = NEWTABLE | 6;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NESTED: u16 = 0x8000;

/// `enum nf_inet_hooks`
#[derive(Clone, Copy)]
enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A batch in the making.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
}

impl Batch {
    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flag::REQUEST | flags).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        attributes(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        if kind != END {
            self.last = start;
        }
    }

    /// Its last message asks to be acknowledged.
    fn end(mut self) -> Vec<u8> {
        let last = self.last;
        self.message(END, 0, 0, 10, |_| {});
        let flags = flag::REQUEST | flag::ACK | u16::from_ne_bytes([self.bytes[last + 6], self.bytes[last + 7]]);
        self.bytes[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes
    }

    fn attribute(&mut self, kind: u16, content: &[u8]) {
        self.nested(kind, |batch| batch.bytes.extend(content));
    }

    fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        content(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat());
    }

    fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    /// One expression of a rule.
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Self)) {
        self.nested(1 | NESTED, |batch| {
            batch.text(1, name);
            batch.nested(2 | NESTED, data);
        });
    }
}

/// NFT_REG_1, NFT_REG_2
const FIRST: u32 = 1;
const SECOND: u32 = 2;

/// One rule's expressions, in order.
struct Rule<'b>(&'b mut Batch);

impl Rule<'_> {
    fn load(self, name: &str, attributes: &[(u16, u32)]) -> Self {
        self.0.expression(name, |batch| attributes.iter().for_each(|(kind, value)| batch.number(*kind, *value)));
        self
    }

    fn compare(self, equal: bool, value: &[u8]) -> Self {
        self.0.expression("cmp", |batch| {
            batch.number(1, FIRST);
            batch.number(2, u32::from(!equal));
            batch.nested(3 | NESTED, |batch| batch.attribute(1, value));
        });
        self
    }

    fn mask(self, mask: &[u8]) -> Self {
        self.0.expression("bitwise", |batch| {
            batch.number(1, FIRST);
            batch.number(2, FIRST);
            batch.number(3, mask.len() as u32);
            batch.nested(4 | NESTED, |batch| batch.attribute(1, mask));
            batch.nested(5 | NESTED, |batch| batch.attribute(1, &vec![0; mask.len()]));
        });
        self
    }

    /// NFT_META_IIFNAME, NFT_META_OIFNAME
    fn interface(self, key: u32, equal: bool, name: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
        self.load("meta", &[(2, key), (1, FIRST)]).compare(equal, &bytes)
    }

    fn from(self, name: &str) -> Self {
        self.interface(6, true, name)
    }

    fn to(self, name: &str) -> Self {
        self.interface(7, true, name)
    }

    /// NFT_PAYLOAD_NETWORK_HEADER
    fn network(self, offset: u32, length: u32) -> Self {
        self.load("payload", &[(1, FIRST), (2, 1), (3, offset), (4, length)])
    }

    fn source(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.network(12, 4).compare(true, &address.octets()),
            IpAddr::V6(address) => self.network(8, 16).compare(true, &address.octets()),
        }
    }

    fn destination(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.network(16, 4).compare(true, &address.octets()),
            IpAddr::V6(address) => self.network(24, 16).compare(true, &address.octets()),
        }
    }

    /// 127.0.0.0/8 in a header of IPv4.
    fn loopback(self, offset: u32) -> Self {
        self.network(offset, 1).compare(true, &[127])
    }

    /// `fib daddr type local`
    fn local(self) -> Self {
        self.load("fib", &[(3, 2), (2, 3), (1, FIRST)]).compare(true, &2_u32.to_ne_bytes())
    }

    /// Anything but the loopback addresses of a family.
    fn beyond_loopback(self, v4: bool) -> Self {
        match v4 {
            true => self.network(16, 1).compare(false, &[127]),
            false => self.network(24, 16).compare(false, &Ipv6Addr::LOCALHOST.octets()),
        }
    }

    /// Any of these bits of NFT_CT_STATE or NFT_CT_STATUS.
    fn connection(self, key: u32, bits: u32) -> Self {
        self.load("ct", &[(2, key), (1, FIRST)]).mask(&bits.to_ne_bytes()).compare(false, &[0; 4])
    }

    fn port(self, port: &Port) -> Self {
        let protocol = match port.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        self.load("meta", &[(2, 16), (1, FIRST)])
            .compare(true, &[protocol])
            // NFT_PAYLOAD_TRANSPORT_HEADER, the destination's port
            .load("payload", &[(1, FIRST), (2, 2), (3, 2), (4, 2)])
            .compare(true, &port.host.to_be_bytes())
    }

    fn value(self, register: u32, value: &[u8]) -> Self {
        self.0.expression("immediate", |batch| {
            batch.number(1, register);
            batch.nested(2 | NESTED, |batch| batch.attribute(1, value));
        });
        self
    }

    /// NFT_NAT_DNAT
    fn forward_to(self, address: IpAddr, port: u16) {
        let (family, bytes) = match address {
            IpAddr::V4(address) => (NFPROTO_IPV4, address.octets().to_vec()),
            IpAddr::V6(address) => (NFPROTO_IPV6, address.octets().to_vec()),
        };
        self.value(FIRST, &bytes)
            .value(SECOND, &port.to_be_bytes())
            .load("nat", &[(1, 1), (2, family.into()), (3, FIRST), (5, SECOND)]);
    }

    fn masquerade(self) {
        self.0.expression("masq", |_| {});
    }

    /// NF_DROP, NF_ACCEPT
    fn verdict(self, accept: bool) {
        self.0.expression("immediate", |batch| {
            batch.number(1, 0);
            batch.nested(2 | NESTED, |batch| batch.nested(2 | NESTED, |batch| batch.number(1, accept.into())));
        });
    }
}

impl Published {
    /// Something of everything, which leads nobody anywhere: of a port and an address
    /// that nobody has (RFC 5737), another for each process.
    pub(crate) fn probe(pid: u32) -> Self {
        let [address, port] = [pid / 0xffff, pid % 0xffff];
        let nowhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, address as u8));
        let port = Port { protocol: Protocol::Udp, address: Some(nowhere), host: port as u16 + 1, inside: 1 };
        Self {
            table: format!("skep-probe-{pid}"),
            interface: Some("skep-none".to_owned()),
            own: true,
            masquerade: true,
            addresses: vec![nowhere],
            ports: vec![port],
        }
    }

    fn ports_of(&self, address: IpAddr) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(move |port| port.address.is_none_or(|host| host.is_ipv4() == address.is_ipv4()))
    }

    /// Whether `127.0.0.1` of the host leads into the container by these tables.
    pub(crate) fn routes_localhost(&self) -> bool {
        let loopback = |port: &Port| port.address.is_none_or(|address| address.is_loopback());
        self.own && self.addresses.iter().any(|address| address.is_ipv4() && self.ports_of(*address).any(loopback))
    }

    /// Whether packets from a loopback address of the host can be led to an address of
    /// the container.
    fn leads_loopback(&self, address: IpAddr) -> bool {
        self.own && address.is_ipv4()
    }

    /// What is left for user space: all of it without `tables`, else what the host
    /// sends to itself and these tables do not take.
    pub(crate) fn forwards(&self, tables: bool) -> Vec<Forward> {
        let tables = tables && self.interface.is_some();
        let mut all = Vec::new();
        for port in &self.ports {
            let of_family = |v4: bool| self.addresses.iter().find(|address| address.is_ipv4() == v4).copied();
            let mut add = |from: IpAddr| {
                let inside = of_family(from.is_ipv4()).or_else(|| of_family(!from.is_ipv4()));
                let to = inside.map(|inside| SocketAddr::new(inside, port.inside));
                all.push(Forward::new(port.protocol, SocketAddr::new(from, port.host), to, !tables));
            };
            match port.address {
                Some(address) if !tables => add(address),
                Some(address) if address.is_loopback() && !(self.own && address.is_ipv4()) => add(address),
                Some(_) => {}
                None if !tables => {
                    add(Ipv6Addr::UNSPECIFIED.into());
                    add(Ipv4Addr::UNSPECIFIED.into());
                }
                None => {
                    add(Ipv6Addr::LOCALHOST.into());
                    if !(self.own && of_family(true).is_some()) {
                        add(Ipv4Addr::LOCALHOST.into());
                    }
                }
            }
        }
        all
    }

    /// The batch. Its last message but one asks to be acknowledged.
    pub(crate) fn batch(&self) -> Vec<u8> {
        self.batch_after(|_| {})
    }

    /// The same, in the place of whatever the tables are by now, all at once.
    pub(crate) fn replacement(&self) -> Vec<u8> {
        self.batch_after(|batch| self.clear(batch))
    }

    /// They are gone once it is taken, whoever else holds their socket.
    pub(crate) fn removal(&self) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.message(BEGIN, 0, 0, 10, |_| {});
        self.clear(&mut batch);
        batch.end()
    }

    fn clear(&self, batch: &mut Batch) {
        for family in [NFPROTO_IPV4, NFPROTO_IPV6] {
            // One that is not there cannot be deleted.
            self.table(family, 0, batch);
            batch.message(DELTABLE, 0, family, 0, |batch| batch.text(1, &self.table));
        }
    }

    fn table(&self, family: u8, flags: u16, batch: &mut Batch) {
        batch.message(NEWTABLE, flag::CREATE | flags, family, 0, |batch| {
            batch.text(1, &self.table);
            // NFT_TABLE_F_OWNER
            batch.number(2, 2);
        });
    }

    fn batch_after(&self, before: impl FnOnce(&mut Batch)) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.message(BEGIN, 0, 0, 10, |_| {});
        before(&mut batch);
        self.keep(&mut batch);
        for address in &self.addresses {
            self.family(*address, &mut batch);
        }
        batch.end()
    }

    /// Keeps the ports, also while the container has no address: in the table of IPv4.
    fn keep(&self, batch: &mut Batch) {
        if self.ports.is_empty() {
            return;
        }
        self.table(NFPROTO_IPV4, flag::EXCLUSIVE, batch);
        for port in &self.ports {
            batch.message(NEWCHAIN, flag::CREATE | flag::EXCLUSIVE, NFPROTO_IPV4, 0, |batch| {
                batch.text(1, &self.table);
                batch.text(3, &claim(port).to_string());
            });
        }
    }

    fn family(&self, address: IpAddr, batch: &mut Batch) {
        let family = if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        let table = self.table.as_str();
        let rule = |batch: &mut Batch, chain: &str, expressions: &dyn Fn(Rule<'_>)| {
            batch.message(NEWRULE, flag::CREATE | flag::APPEND, family, 0, |batch| {
                batch.text(1, table);
                batch.text(2, chain);
                batch.nested(4 | NESTED, |batch| expressions(Rule(batch)));
            });
        };
        let chain = |batch: &mut Batch, name: &str, kind: &str, hook: Hook, priority: i32| {
            batch.message(NEWCHAIN, flag::CREATE | flag::EXCLUSIVE, family, 0, |batch| {
                batch.text(1, table);
                batch.text(3, name);
                batch.nested(4 | NESTED, |batch| {
                    batch.number(1, hook as u32);
                    batch.number(2, priority.cast_unsigned());
                });
                batch.text(7, kind);
            });
        };
        if self.ports.is_empty() || !address.is_ipv4() {
            self.table(family, flag::EXCLUSIVE, batch);
        }
        let Some(behind) = self.interface.as_deref() else { return };
        if self.own && address.is_ipv4() {
            // Before the addresses of replies are changed back: what the container
            // itself sends to 127.0.0.0/8 of the host.
            chain(batch, "guard", "filter", Hook::Prerouting, -300);
            rule(batch, "guard", &|rule| rule.from(behind).loopback(16).verdict(false));
        }
        for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
            chain(batch, name, "nat", hook, -100);
            for port in self.ports_of(address) {
                match port.address {
                    // Nobody sends to it from outside.
                    Some(host) if host.is_loopback() && matches!(hook, Hook::Prerouting) => {}
                    Some(host) if host.is_loopback() && !self.leads_loopback(address) => {}
                    Some(host) => rule(batch, name, &|rule| {
                        rule.destination(host).port(port).forward_to(address, port.inside);
                    }),
                    None if matches!(hook, Hook::Output) && !self.leads_loopback(address) => {
                        rule(batch, name, &|rule| {
                            let rule = rule.local().beyond_loopback(address.is_ipv4());
                            rule.port(port).forward_to(address, port.inside);
                        });
                    }
                    None => rule(batch, name, &|rule| rule.local().port(port).forward_to(address, port.inside)),
                }
            }
        }
        chain(batch, "postrouting", "nat", Hook::Postrouting, 100);
        if self.own && address.is_ipv4() {
            rule(batch, "postrouting", &|rule| rule.to(behind).loopback(12).masquerade());
        }
        // To itself, by a port of the host.
        rule(batch, "postrouting", &|rule| rule.to(behind).source(address).destination(address).masquerade());
        if self.masquerade {
            rule(batch, "postrouting", &|rule| rule.interface(7, false, behind).source(address).masquerade());
        }
        // What is not published is not reached by way of the host.
        chain(batch, "forward", "filter", Hook::Forward, 0);
        // Established and related, and IPS_DST_NAT.
        rule(batch, "forward", &|rule| rule.to(behind).destination(address).connection(0, 2 | 4).verdict(true));
        rule(batch, "forward", &|rule| rule.to(behind).destination(address).connection(2, 0x20).verdict(true));
        rule(batch, "forward", &|rule| rule.to(behind).destination(address).verdict(false));
        // Nor is anybody else who has the address, by a port of the container's.
        rule(batch, "forward", &|rule| {
            rule.interface(7, false, behind).destination(address).connection(2, 0x20).verdict(false);
        });
    }
}

#[cfg(test)]
mod tests;
