//! Interfaces, addresses and routes of network namespaces, tables of nf_tables.
//!
//! What is not modelled: packets, indexes that the kernel chooses, and what a
//! rule of a table says.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{Namespaces, cap};
use crate::errno::Errno;
use crate::kernel::Slots;
use crate::op::Slot;

use super::descriptors::Object;
use super::namespaces::Content;
use super::{FileId, Model, SpaceId};

/// ETH_DATA_LEN
const USUAL_MTU: u32 = 1500;

/// What a network namespace holds.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) links: BTreeMap<Vec<u8>, Link>,
    /// Destination, and over which interface.
    routes: BTreeMap<String, Vec<u8>>,
    tables: BTreeMap<Vec<u8>, Table>,
}

/// A table, and the socket that it lives by (NFT_TABLE_F_OWNER).
#[derive(Clone, Debug)]
struct Table {
    owner: FileId,
    batch: Vec<u8>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    kind: Vec<u8>,
    pub(super) up: bool,
    address: Vec<u8>,
    alias: Vec<u8>,
    alternatives: BTreeSet<Vec<u8>>,
    lower: Vec<u8>,
    master: Option<Vec<u8>>,
    /// What both ends of a pair have in common.
    pair: Option<usize>,
    index: u32,
    addresses: BTreeSet<String>,
    /// 0 is the usual one of its kind.
    mtu: u32,
    options: BTreeMap<u8, u32>,
}

impl Network {
    /// A new one: `lo` alone, down.
    pub(super) fn new() -> Self {
        let links = BTreeMap::from([(b"lo".to_vec(), Link { index: 1, ..Link::default() })]);
        Self { links, routes: BTreeMap::new(), tables: BTreeMap::new() }
    }

    pub(super) fn host() -> Self {
        let mut host = Self::new();
        host.links.values_mut().for_each(|lo| lo.up = true);
        host
    }

    fn find(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let of =
            |(one, link): (&Vec<u8>, &Link)| (one == name || link.alternatives.contains(name)).then(|| one.clone());
        self.links.iter().find_map(of).ok_or(Errno::ENODEV)
    }

    fn link(&mut self, name: &[u8]) -> Result<&mut Link, Errno> {
        let name = self.find(name)?;
        self.links.get_mut(&name).ok_or(Errno::ENODEV)
    }

    fn add(&mut self, name: &[u8], mut link: Link) -> Result<(), Errno> {
        // "dev_valid_name": of 1 to 15 bytes.
        if name.is_empty() || name.len() > 15 {
            return Err(Errno::EINVAL);
        }
        if self.find(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        if link.index == 0 {
            link.index = self.links.values().map(|link| link.index).max().unwrap_or(0) + 1;
        } else if self.links.values().any(|other| other.index == link.index) {
            return Err(Errno::EBUSY);
        }
        self.links.insert(name.to_vec(), link);
        Ok(())
    }

    fn drop_link(&mut self, name: &[u8]) -> Option<Link> {
        self.routes.retain(|_, over| over != name);
        for other in self.links.values_mut() {
            other.master.take_if(|master| master == name);
        }
        self.links.remove(name)
    }

    /// Name and the rest of each.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let links = self.links.iter().map(move |(name, link)| {
            let mut words = vec![text(&link.kind), (if link.up { "up" } else { "down" }).to_owned()];
            words.extend((!link.address.is_empty()).then(|| format!("address {:02x?}", link.address)));
            words.extend((!link.alias.is_empty()).then(|| format!("alias {}", text(&link.alias))));
            words.extend(link.alternatives.iter().map(|name| format!("altname {}", text(name))));
            words.extend((!link.lower.is_empty()).then(|| format!("over {}", text(&link.lower))));
            words.extend(link.master.as_ref().map(|master| format!("under {}", text(master))));
            words.extend((!matches!(link.mtu, 0 | USUAL_MTU)).then(|| format!("mtu {}", link.mtu)));
            words.extend(link.addresses.iter().cloned());
            words.extend(link.options.iter().map(|(option, value)| format!("option {option}={value}")));
            (format!("link {}", text(name)), words.join(" "))
        });
        let routes = self.routes.iter().map(move |(to, over)| (format!("route {to}"), text(over)));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let tables = self.tables.iter().map(move |(name, table)| (format!("table {}", text(name)), hex(&table.batch)));
        links.chain(routes).chain(tables)
    }
}

impl Model {
    /// A further interface of the host, as a card would be one, down.
    #[must_use]
    pub fn interface(mut self, name: &str) -> Self {
        let host = self.host_network();
        if let Content::Network(network) = &mut self[host].content {
            let _ = network.add(name.as_bytes(), Link { kind: b"physical".to_vec(), ..Link::default() });
        }
        self
    }

    /// The same with a hardware address and a longest packet.
    #[must_use]
    pub fn card(self, name: &str, address: [u8; 6], mtu: u32) -> Self {
        let mut model = self.interface(name);
        let host = model.host_network();
        if let Content::Network(network) = &mut model[host].content
            && let Ok(link) = network.link(name.as_bytes())
        {
            (link.address, link.mtu) = (address.to_vec(), mtu);
        }
        model
    }

    /// A bridge of the host.
    #[must_use]
    pub fn bridge(mut self, name: &str) -> Self {
        let host = self.host_network();
        if let Content::Network(network) = &mut self[host].content {
            let _ = network.add(name.as_bytes(), Link { kind: b"bridge".to_vec(), up: true, ..Link::default() });
        }
        self
    }

    /// The first that was made.
    pub(super) fn host_network(&self) -> SpaceId {
        let at = self.spaces.iter().position(|space| space.kind == Namespaces::NETWORK);
        SpaceId(at.unwrap_or_default())
    }

    pub(super) fn network(&self, space: SpaceId) -> Option<&Network> {
        match &self[space].content {
            Content::Network(network) => Some(network),
            _ => None,
        }
    }

    fn network_mut(&mut self, space: SpaceId) -> Result<&mut Network, Errno> {
        match &mut self[space].content {
            Content::Network(network) => Ok(network),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The namespace of a socket, which the caller must rule.
    fn ruled(&self, slots: &Slots<'_>, socket: Slot) -> Result<SpaceId, Errno> {
        let Object::Socket { network, .. } = *self.object(slots, socket)? else {
            return Err(Errno::ENOTSOCK);
        };
        self.need(self[network].owner, cap::NET_ADMIN)?;
        Ok(network)
    }

    fn space_in(&self, slots: &Slots<'_>, slot: Slot) -> Result<SpaceId, Errno> {
        let Object::Space(space) = *self.object(slots, slot)? else { return Err(Errno::EINVAL) };
        self.network(space).ok_or(Errno::EINVAL)?;
        self.need(self[space].owner, cap::NET_ADMIN)?;
        Ok(space)
    }

    /// socket(2), AF_NETLINK; in another namespace by setns(2).
    pub(super) fn netlink_socket(
        &mut self,
        slots: &mut Slots<'_>,
        protocol: u8,
        namespace: Option<Slot>,
        into: Slot,
    ) -> Result<(), Errno> {
        // NETLINK_ROUTE, NETLINK_NETFILTER
        if !matches!(protocol, 0 | 12) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let network = match namespace {
            None => self[self.current].spaces.network,
            Some(slot) => {
                let Object::Space(space) = *self.object(slots, slot)? else { return Err(Errno::EINVAL) };
                self.network(space).ok_or(Errno::EINVAL)?;
                self.need(self[space].owner, cap::SYS_ADMIN)?;
                self.need(self.cred().user, cap::SYS_ADMIN)?;
                space
            }
        };
        self.fill(slots, into, Object::Socket { family: 16, network })
    }

    /// netdevice(7), SIOCSIFFLAGS.
    pub(super) fn link_up(&mut self, slots: &Slots<'_>, socket: Slot, name: &[u8]) -> Result<(), Errno> {
        let Object::Socket { network, .. } = *self.object(slots, socket)? else {
            return Err(Errno::ENOTTY);
        };
        // The kernel looks the interface up before it asks for the right.
        self.network(network).ok_or(Errno::ENODEV)?.find(name)?;
        self.need(self[network].owner, cap::NET_ADMIN)?;
        self.network_mut(network)?.link(name)?.up = true;
        Ok(())
    }

    /// rtnetlink(7), RTM_NEWLINK.
    #[allow(clippy::too_many_arguments, reason = "those of the op")]
    pub(super) fn link_add(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        [kind, name, lower, peer, alias]: [&[u8]; 5],
        [address, peer_address]: [&[u8]; 2],
        namespace: Option<Slot>,
    ) -> Result<(), Errno> {
        let here = self.ruled(slots, socket)?;
        let there = namespace.map_or(Ok(here), |slot| self.space_in(slots, slot))?;
        for address in [address, peer_address] {
            // rtnl_create_link: as long as an Ethernet address.
            if !address.is_empty() && (address.len() != 6 || address[0] & 1 != 0) {
                return Err(Errno::EADDRNOTAVAIL);
            }
        }
        let lower = if lower.is_empty() { Vec::new() } else { self.network_mut(here)?.find(lower)? };
        // "macvlan_common_newlink": that of what it is over.
        let mtu = self.network_mut(here)?.links.get(&lower).map_or(0, |link| link.mtu);
        let (kind, address, alias) = (kind.to_vec(), address.to_vec(), alias.to_vec());
        let link = Link { kind, address, alias, lower, mtu, ..Link::default() };
        match link.kind.as_slice() {
            b"veth" => {
                let pair = Some(self.spaces.iter().flat_map(|space| pairs(&space.content)).max().unwrap_or(0) + 1);
                let address = peer_address.to_vec();
                let other = Link { kind: link.kind.clone(), address, pair, ..Link::default() };
                self.network_mut(there)?.add(peer, other)?;
                let added = self.network_mut(here)?.add(name, Link { pair, ..link });
                if added.is_err() {
                    self.network_mut(there)?.drop_link(peer);
                }
                added
            }
            b"bridge" => self.network_mut(here)?.add(name, link),
            b"macvlan" | b"ipvlan" if !link.lower.is_empty() => self.network_mut(there)?.add(name, link),
            b"macvlan" | b"ipvlan" => Err(Errno::EINVAL),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    pub(super) fn link_alternative(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        more: &[u8],
    ) -> Result<(), Errno> {
        let network = self.ruled(slots, socket)?;
        let network = self.network_mut(network)?;
        // ALTIFNAMSIZ
        if more.is_empty() || more.len() > 127 {
            return Err(Errno::EINVAL);
        }
        if network.find(more).is_ok() {
            return Err(Errno::EEXIST);
        }
        network.link(name)?.alternatives.insert(more.to_vec());
        Ok(())
    }

    pub(super) fn link_master(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        master: &[u8],
    ) -> Result<(), Errno> {
        let network = self.ruled(slots, socket)?;
        let network = self.network_mut(network)?;
        let master = network.find(master)?;
        if network.link(&master)?.kind != b"bridge" {
            return Err(Errno::EOPNOTSUPP);
        }
        network.link(name)?.master = Some(master);
        Ok(())
    }

    pub(super) fn link_move(
        &mut self,
        slots: &Slots<'_>,
        [socket, namespace]: [Slot; 2],
        [name, new_name]: [&[u8]; 2],
        [index, new_index]: [u32; 2],
    ) -> Result<(), Errno> {
        let from = self.ruled(slots, socket)?;
        let to = self.space_in(slots, namespace)?;
        let network = self.network_mut(from)?;
        let name = match index {
            0 => network.find(name)?,
            index => {
                let numbered = network.links.iter().find(|(_, link)| link.index == index);
                numbered.map(|(name, _)| name.clone()).ok_or(Errno::ENODEV)?
            }
        };
        let link = network.link(&name)?.clone();
        // "netns_immutable"
        if name == b"lo" || link.kind == b"bridge" {
            return Err(Errno::EINVAL);
        }
        let new_name = if new_name.is_empty() { name.clone() } else { new_name.to_vec() };
        // "under dev_change_net_namespace it is closed", and loses its addresses.
        let moved = Link { up: false, index: new_index, addresses: BTreeSet::new(), master: None, ..link };
        self.network_mut(to)?.add(&new_name, moved)?;
        self.network_mut(from)?.drop_link(&name);
        Ok(())
    }

    /// With the other end of a pair, wherever that is.
    fn remove_link(&mut self, space: SpaceId, name: &[u8]) {
        let Ok(network) = self.network_mut(space) else { return };
        let Some(Link { pair: Some(pair), .. }) = network.drop_link(name) else { return };
        for space in &mut self.spaces {
            if let Content::Network(network) = &mut space.content {
                let other =
                    network.links.iter().find(|(_, link)| link.pair == Some(pair)).map(|(name, _)| name.clone());
                other.and_then(|name| network.drop_link(&name));
            }
        }
    }

    pub(super) fn link_remove(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        alias: &[u8],
    ) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        let network = self.network_mut(space)?;
        let Ok(name) = network.find(name) else { return Ok(()) };
        let link = network.link(&name)?;
        if alias.is_empty() || link.alias == alias {
            // rtnl_dellink: what nobody made by rtnetlink stays.
            if matches!(link.kind.as_slice(), b"physical" | b"") {
                return Err(Errno::EOPNOTSUPP);
            }
            self.remove_link(space, &name);
        }
        Ok(())
    }

    pub(super) fn zone_join(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        [bridge, port, alias]: [&[u8]; 3],
    ) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        let network = self.network_mut(space)?;
        network.find(port)?;
        let link = Link { kind: b"bridge".to_vec(), alias: alias.to_vec(), ..Link::default() };
        match network.add(bridge, link) {
            Err(Errno::EEXIST) => {}
            other => other?,
        }
        network.link(bridge)?.up = true;
        self.link_master(slots, socket, port, bridge)
    }

    pub(super) fn zone_leave(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        [bridge, port, alias]: [&[u8]; 3],
    ) -> Result<(), Errno> {
        if !port.is_empty() {
            self.link_remove(slots, socket, port, alias)?;
        }
        let space = self.ruled(slots, socket)?;
        let network = self.network_mut(space)?;
        if !network.links.values().any(|link| link.master.as_deref() == Some(bridge)) {
            network.drop_link(bridge);
        }
        Ok(())
    }

    pub(super) fn link_option(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        option: (u8, u32),
    ) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        self.network_mut(space)?.link(name)?.options.insert(option.0, option.1);
        Ok(())
    }

    pub(super) fn address_add(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        (address, prefix): (&[u8], u8),
        shared: bool,
    ) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        let text = network_text(address, prefix)?;
        match self.network_mut(space)?.link(name)?.addresses.insert(text) {
            false if !shared => Err(Errno::EEXIST),
            _ => Ok(()),
        }
    }

    pub(super) fn route_add(
        &mut self,
        slots: &Slots<'_>,
        socket: Slot,
        name: &[u8],
        (to, prefix): (&[u8], u8),
        gateway: &[u8],
    ) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        let text = network_text(to, prefix)?;
        let network = self.network_mut(space)?;
        // "ENETDOWN": fib_check_nh.
        if !network.link(name)?.up {
            return Err(Errno::ENETDOWN);
        }
        let name = network.find(name)?;
        let text = if gateway.is_empty() { text } else { format!("{text} by {gateway:?}") };
        match network.routes.entry(text) {
            std::collections::btree_map::Entry::Occupied(_) => Err(Errno::EEXIST),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(name);
                Ok(())
            }
        }
    }

    pub(super) fn nf_tables(&mut self, slots: &Slots<'_>, socket: Slot, batch: &[u8]) -> Result<(), Errno> {
        let space = self.ruled(slots, socket)?;
        let owner = self.file_in(slots, socket)?;
        let own: BTreeSet<&[u8]> = crate::tables::tables_of(batch).collect();
        let others = self.network(space).ok_or(Errno::ENODEV)?.tables.iter();
        let mut held = others.filter(|(name, _)| !own.contains(name.as_slice()));
        if held.any(|(_, table)| {
            crate::tables::claims_of(&table.batch)
                .any(|held| crate::tables::claims_of(batch).any(|wanted| wanted.meets(&held)))
        }) {
            return Err(Errno::EADDRINUSE);
        }
        for name in own {
            let table = Table { owner, batch: batch.to_vec() };
            let tables = &mut self.network_mut(space)?.tables;
            if tables.get(name).is_some_and(|old| old.owner != owner) {
                return Err(Errno::EPERM);
            }
            tables.insert(name.to_vec(), table);
        }
        for name in crate::tables::deleted_by(batch) {
            self.network_mut(space)?.tables.remove(name);
        }
        Ok(())
    }

    /// What a namespace that nobody refers to any more held: pairs go at both ends,
    /// cards return to the host (`default_device_exit_net`); and the tables of sockets
    /// that are closed (`nft_rcv_nl_event`).
    pub(super) fn collect_networks(&mut self, held: &BTreeSet<FileId>) {
        let host = self.host_network();
        let in_use = |space: SpaceId| {
            space == host
                || self.tasks.iter().any(|task| !task.ended() && task.spaces.network == space)
                || held.iter().any(|file| match self[*file].object {
                    Object::Space(other) | Object::Socket { network: other, .. } => other == space,
                    _ => false,
                })
        };
        let named = |space: SpaceId| {
            self.inodes.iter().any(|inode| matches!(inode.node, super::files::Node::Namespace(other) if other == space))
        };
        let gone: Vec<SpaceId> = (0..self.spaces.len())
            .map(SpaceId)
            .filter(|space| self.network(*space).is_some_and(|network| network.links.len() > 1))
            .filter(|space| !in_use(*space) && !named(*space))
            .collect();
        for space in gone {
            let names: Vec<Vec<u8>> =
                self.network(space).into_iter().flat_map(|network| network.links.keys().cloned()).collect();
            for name in names.iter().filter(|name| *name != b"lo") {
                let card = self.network_mut(space).ok().and_then(|network| {
                    let card = network.links.get(name).is_some_and(|link| link.kind == b"physical");
                    if card { network.drop_link(name) } else { None }
                });
                match card {
                    Some(card) => {
                        let card = Link { up: false, index: 0, addresses: BTreeSet::new(), ..card };
                        let _ = self.network_mut(host).and_then(|network| network.add(name, card));
                    }
                    None => self.remove_link(space, name),
                }
            }
        }
        for space in &mut self.spaces {
            if let Content::Network(network) = &mut space.content {
                network.tables.retain(|_, table| held.contains(&table.owner));
            }
        }
    }
}

fn pairs(content: &Content) -> impl Iterator<Item = usize> {
    let links = match content {
        Content::Network(network) => Some(network.links.values()),
        _ => None,
    };
    links.into_iter().flatten().filter_map(|link| link.pair)
}

fn network_text(address: &[u8], prefix: u8) -> Result<String, Errno> {
    let text = if let Ok(bytes) = <[u8; 4]>::try_from(address) {
        std::net::Ipv4Addr::from(bytes).to_string()
    } else if let Ok(bytes) = <[u8; 16]>::try_from(address) {
        std::net::Ipv6Addr::from(bytes).to_string()
    } else {
        return Err(Errno::EAFNOSUPPORT);
    };
    if usize::from(prefix) > address.len() * 8 { Err(Errno::EINVAL) } else { Ok(format!("{text}/{prefix}")) }
}
