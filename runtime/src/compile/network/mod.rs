//! Interfaces of the container's own network, their addresses, its ports.
//!
//! What is outside the embedder makes while the child waits: each interface says by its
//! alias whose it is, and the watcher knows of it before. What is inside the child does
//! itself, as root of its namespace, before it gives that up; so the payload never sees
//! an interface without its address.

mod names;
pub(crate) mod tables;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr};

use skep_sys::abi::{Namespaces, OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, OpKind, Proof, Slot};

use super::{Context, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::NetworkFacts;
use crate::plan::{Builder, OWN_NETWORK, Phase, role};
use crate::registry::left::group_name;
use crate::report::Report;
use crate::spec::{self, LinkAddress, LinkPair, Network, Spec};
use names::{End, hardware_address, short};
use tables::Published;

/// Protocols of netlink(7).
pub(crate) const ROUTE: u8 = 0;
pub(crate) const NETFILTER: u8 = 12;

/// Ops about interfaces and what they have, of any phase; not those that take back.
pub(crate) const KINDS: [OpKind; 10] = [
    OpKind::LinkAdd,
    OpKind::LinkAltName,
    OpKind::LinkMaster,
    OpKind::LinkMove,
    OpKind::LinkOption,
    OpKind::LinkUp,
    OpKind::ZoneJoin,
    OpKind::AddressAdd,
    OpKind::RouteAdd,
    OpKind::NfTables,
];

/// What an interface that was moved in is numbered inside, from this one on: by its
/// number it is found again, whatever it is called by then.
pub(crate) const MOVED: u32 = 0x0100_0000;

/// The inner end of the pair.
const HOST0: &str = "host0";

/// What can be said without a look at the host (1.6 of the contract).
pub(super) fn check(spec: &Spec) -> Result<()> {
    let links = &spec.links;
    let refuse = |field: &str, what: &str, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    let interfaces = links.has_any() || !links.addresses.is_empty();
    // Ports are led into one that is the container's to administer (1.6 of the contract).
    let entered = matches!(spec.network, Network::Own(_)) && !interfaces;
    if (interfaces || !links.ports.is_empty()) && spec.network != Network::None && !entered {
        let what = match spec.network {
            Network::Host => "interfaces and ports need a network of the container's own",
            Network::Own(_) => "a network namespace that is entered has its own interfaces",
            _ => "a network namespace that is entered has its own interfaces and ports",
        };
        return refuse("links", what, "Let the network be `none`, to which they are added, or leave them out.");
    }
    if links.bridge.is_some() && links.zone.is_some() {
        return refuse("links.zone", "a pair is below one bridge, not two", "Choose the bridge or the zone.");
    }
    if links.zone.as_ref().is_some_and(|zone| spec::LinkName::zone(zone.as_str()).is_err()) {
        return refuse("links.zone", "a zone's name has at most 12 bytes", "Choose a shorter one.");
    }
    if links.hardware.is_some() && !links.has_pair() {
        return refuse(
            "links.hardware",
            "hardware addresses are those of a pair of interfaces, and there is none",
            "Ask for one (`veth`, `bridge` or `zone`; --network-veth).",
        );
    }
    if !links.addresses.is_empty() && !links.has_pair() {
        return refuse(
            "links.addresses",
            "addresses are those of a pair of interfaces, and there is none",
            "Ask for one (`veth`, `bridge` or `zone`; --network-veth).",
        );
    }
    let below = links.bridge.is_some() || links.zone.is_some();
    if below && links.has_auto() {
        return refuse(
            "links.addresses",
            "an address below a bridge cannot be made up: others there have theirs",
            "Say which: --network-address=ADDRESS/PREFIX.",
        );
    }
    let v4 = |address: &LinkAddress| address.ends().is_none_or(|(inside, ..)| inside.is_ipv4());
    let count = links.addresses.iter().filter(|address| v4(address)).count();
    if count > 1 || links.addresses.len() - count > 1 {
        return refuse("links.addresses", "two addresses of one family", "Give one of IPv4 and one of IPv6.");
    }
    unique(spec)
}

/// Nothing twice, and names that fit.
fn unique(spec: &Spec) -> Result<()> {
    let links = &spec.links;
    let refuse = |field: &str, what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    let mut ports = std::collections::BTreeSet::new();
    for port in &links.ports {
        if !ports.insert((port.protocol, port.address, port.host)) {
            return refuse("links.ports", format!("the port {port} is given twice"), "Leave one out.");
        }
    }
    let mut inside = std::collections::BTreeSet::from(["lo".to_owned()]);
    inside.extend(links.has_pair().then(|| HOST0.to_owned()));
    for (field, list, prefix) in [
        ("links.extra", &links.extra, ""),
        ("links.macvlan", &links.macvlan, "mv-"),
        ("links.ipvlan", &links.ipvlan, "iv-"),
        ("links.moved", &links.moved, ""),
    ] {
        for pair in list {
            if pair.host() == "lo" {
                return refuse(field, "lo is every network's own".to_owned(), "Name another interface.");
            }
            if field == "links.extra" && pair.host().len() > names::LONGEST {
                let what = format!("{} is longer than an interface's name can be (15 bytes)", pair.host());
                return refuse(field, what, "Choose a shorter name: one that is given is not changed.");
            }
            let name = pair.inside().map_or_else(|| short(&format!("{prefix}{}", pair.host())), str::to_owned);
            if !inside.insert(name.clone()) {
                let what = format!("two interfaces inside are called {name}");
                return refuse(field, what, "Give one another name: HOST:CONTAINER.");
            }
        }
    }
    Ok(())
}

/// One thing that is done for an interface, whose words are the report's.
struct Ops<'a> {
    plan: &'a mut Builder,
    phase: Phase,
    said: Vec<(String, Vec<String>)>,
}

impl Ops<'_> {
    fn op(&mut self, op: Op<'_>) -> &mut Self {
        if let Some((item, words)) = words::of(self.phase, &op) {
            match self.said.iter_mut().find(|(known, _)| *known == item) {
                Some((_, list)) => list.push(words),
                None => self.said.push((item, vec![words])),
            }
        }
        self.plan.op(op);
        self
    }

    /// Its words, in the order of the ops.
    fn report(self, report: &mut Report) {
        for (item, words) in self.said {
            report.applied(item, words.join("; "));
        }
    }
}

/// What this container does to its network and the host's.
pub(super) struct Decided {
    alias: CString,
    lock: CString,
    pair: Option<Pair>,
    extra: Vec<Pair>,
    over: Vec<Over>,
    moved: Vec<Moved>,
    published: Option<Published>,
    /// Whether the kernel has what that takes.
    tables: bool,
}

/// A pair of interfaces.
struct Pair {
    host: CString,
    /// Longer than a name can be.
    whole: Option<CString>,
    inside: CString,
    addresses: [[u8; 6]; 2],
    below: Below,
    /// Inside and outside, and the prefix.
    networks: Vec<(IpAddr, IpAddr, u8)>,
}

impl Pair {
    /// The interface by which the host sends to it.
    fn faces(&self) -> String {
        let name = match &self.below {
            Below::Nothing => &self.host,
            Below::Bridge(name) | Below::Zone(name) => name,
        };
        shown(name)
    }
}

enum Below {
    Nothing,
    Bridge(CString),
    Zone(CString),
}

/// A macvlan or an ipvlan.
struct Over {
    kind: &'static CStr,
    name: CString,
    whole: Option<CString>,
    lower: CString,
    address: Option<[u8; 6]>,
}

struct Moved {
    host: CString,
    inside: CString,
}

/// A name that fits, and the whole one where that does not.
fn named(whole: &str) -> Result<(CString, Option<CString>)> {
    let name = short(whole);
    let whole = if name == whole { None } else { Some(c_text(whole.as_bytes())?) };
    Ok((c_text(name.as_bytes())?, whole))
}

/// The bytes of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Two addresses of a network of their own that no route of the host leads to.
fn free_pair(context: &Context<'_>, facts: &NetworkFacts) -> Result<(IpAddr, IpAddr, u8)> {
    /// 169.254.0.0/16 (RFC 3927) without its first and last 256, in networks of four.
    const FIRST: u32 = 0xa9fe_0100;
    const COUNT: u32 = 254 * 64;
    const PREFIX: u8 = 30;
    /// Where services of clouds are: 169.254.169.254.
    const SERVICES: u32 = 0xa9fe_a900;
    let taken = |network: u32| {
        // A route that is as wide as all of them, or wider, is the general one.
        let leads = |(to, prefix): &(Ipv4Addr, u8)| {
            let width = u32::from(*prefix).min(30);
            *prefix > 16 && (to.to_bits() ^ network) >> (32 - width) == 0
        };
        network & 0xffff_ff00 == SERVICES || facts.routes.iter().any(leads)
    };
    let start = (names::place(&context.machine) % u64::from(COUNT)) as u32;
    let network = (0..COUNT).map(|step| FIRST + (start + step) % COUNT * 4).find(|network| !taken(*network));
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(number));
    network.map(|network| (address(network + 2), address(network + 1), PREFIX)).ok_or_else(|| {
        context
            .refuse(ErrorKind::Unsupported, "links.addresses", "every network of two in 169.254.0.0/16 is taken")
            .remedy("Say which address: --network-address=ADDRESS/PREFIX.")
    })
}

impl Context<'_> {
    fn refuse(&self, kind: ErrorKind, field: &str, what: impl Into<String>) -> Error {
        Error::new(kind, what).from(self.spec.origins.of(field))
    }

    /// Who asked for interfaces of a kind.
    fn link_origin(&self, field: &str) -> crate::spec::Origin {
        self.spec.origins.of(&format!("links.{field}")).cloned().unwrap_or_else(|| self.origin("links"))
    }
}

/// What is made, by names.
pub(super) fn decide(context: &Context<'_>) -> Result<Option<Decided>> {
    let links = &context.spec.links;
    if !links.concern_host() {
        return Ok(None);
    }
    if !context.facts.privileged() {
        let what = match links.has_any() {
            true => "only root can give a container interfaces: they are part of the host's network",
            false => "only root can publish ports: who passes them on enters the container's network",
        };
        return Err(context
            .refuse(ErrorKind::NotPermitted, "links", what)
            .remedy("Run as root, or leave them out: a network with lo alone, and the host's, are for everybody."));
    }
    let facts =
        context.facts.network.as_ref().ok_or_else(|| {
            context.refuse(ErrorKind::Unsupported, "links", "nobody has looked at the host's network")
        })?;
    let address = |end, number| hardware_address(facts.machine_id, &context.machine, end, number);
    let pair = if links.has_pair() { Some(pair(context, facts)?) } else { None };
    let extra = (0..).zip(&links.extra).map(|(number, extra)| {
        Ok(Pair {
            host: c_text(extra.host().as_bytes())?,
            whole: None,
            inside: c_text(extra.inside().unwrap_or_else(|| extra.host()).as_bytes())?,
            addresses: [address(End::ExtraHost, number), address(End::ExtraInside, number)],
            below: Below::Nothing,
            networks: Vec::new(),
        })
    });
    let over = |list: &[LinkPair], kind, prefix: &str, end: Option<End>| -> Result<Vec<Over>> {
        let each = (0..).zip(list).map(|(number, pair)| {
            let (name, whole) = match pair.inside() {
                Some(name) => (c_text(name.as_bytes())?, None),
                None => named(&format!("{prefix}{}", pair.host()))?,
            };
            let lower = c_text(pair.host().as_bytes())?;
            Ok(Over { kind, name, whole, lower, address: end.map(|end| address(end, number)) })
        });
        each.collect()
    };
    let mut all = over(&links.macvlan, c"macvlan", "mv-", Some(End::Macvlan))?;
    all.extend(over(&links.ipvlan, c"ipvlan", "iv-", None)?);
    let moved = links.moved.iter().map(|pair| {
        // By which it comes back.
        let host = facts.names.get(pair.host()).map_or_else(|| pair.host(), String::as_str);
        let inside = pair.inside().unwrap_or(host);
        Ok(Moved { host: c_text(host.as_bytes())?, inside: c_text(inside.as_bytes())? })
    });
    free(context, facts)?;
    let alias = group_name(&context.machine, &context.facts.registrar, context.facts.serial);
    let published = published(context, pair.as_ref(), &alias);
    Ok(Some(Decided {
        alias: c_text(alias.as_bytes())?,
        lock: c_path(&facts.zone_lock)?,
        extra: extra.collect::<Result<_>>()?,
        over: all,
        moved: moved.collect::<Result<_>>()?,
        pair,
        published,
        tables: facts.tables,
    }))
}

/// Ports that are published are nobody's: whom somebody reaches there today would be
/// another from now on. A machine's may be those of a program of the host, as with
/// systemd-nspawn, where tables lead there before the program hears of it.
fn free(context: &Context<'_>, facts: &NetworkFacts) -> Result<()> {
    let refuse = |port: &spec::Port, whose: String, remedy: &str| {
        let what = format!("the port {port} is taken: {whose}");
        Err(context.refuse(ErrorKind::PortTaken, "links.ports", what).remedy(remedy))
    };
    let goes_before = context.nspawn() && facts.tables && context.spec.links.has_pair();
    for port in &context.spec.links.ports {
        let wanted = tables::claim(port);
        if let Some((table, claim)) = facts.published.iter().find(|(_, claim)| claim.meets(&wanted)) {
            let whose = format!("{} publishes {claim}", tables::who(table));
            return refuse(port, whose, tables::TAKEN);
        }
        if let Some(listens) = facts.taken.iter().find(|one| one.meets(&wanted)).filter(|_| !goes_before) {
            return refuse(port, listens.to_string(), listens.remedy());
        }
    }
    Ok(())
}

fn pair(context: &Context<'_>, facts: &NetworkFacts) -> Result<Pair> {
    let links = &context.spec.links;
    let below = match (&links.bridge, &links.zone) {
        (Some(bridge), _) => Below::Bridge(c_text(bridge.as_str().as_bytes())?),
        (None, Some(zone)) => Below::Zone(c_text(format!("vz-{zone}").as_bytes())?),
        (None, None) => Below::Nothing,
    };
    let prefix = if matches!(below, Below::Nothing) { "ve" } else { "vb" };
    let (host, whole) = named(&format!("{prefix}-{}", context.machine))?;
    let mut wanted = links.addresses.clone();
    if wanted.is_empty() && links.has_auto() {
        wanted.push(LinkAddress::Auto);
    }
    let networks = wanted.iter().map(|address| address.ends().map_or_else(|| free_pair(context, facts), Ok));
    let address = |end| hardware_address(facts.machine_id, &context.machine, end, 0);
    Ok(Pair {
        host,
        whole,
        inside: c_text(HOST0.as_bytes())?,
        addresses: [
            links.hardware.and_then(|own| own.outside).unwrap_or_else(|| address(End::Host)),
            links.hardware.map_or_else(|| address(End::Inside), |own| own.inside),
        ],
        below,
        networks: networks.collect::<Result<_>>()?,
    })
}

/// Tables are for ports, and for a pair whose addresses nobody else knows.
fn published(context: &Context<'_>, pair: Option<&Pair>, alias: &str) -> Option<Published> {
    let links = &context.spec.links;
    let auto = pair.is_some() && links.has_auto();
    if links.ports.is_empty() && !auto {
        return None;
    }
    let mut ports = links.ports.clone();
    // In the order of the report, by which the rule makes the batch anew.
    ports.sort_by_key(ToString::to_string);
    Some(Published {
        // As a person can write it in nft(8).
        table: alias.replace('@', "-"),
        interface: pair.map(Pair::faces),
        own: pair.is_some_and(|pair| matches!(pair.below, Below::Nothing)),
        masquerade: auto,
        addresses: pair.iter().flat_map(|pair| &pair.networks).map(|(inside, ..)| *inside).collect(),
        ports,
    })
}

/// What whoever supervises passes on himself.
pub(super) fn forwards(decided: Option<&Decided>) -> Vec<crate::Forward> {
    let published = decided.and_then(|decided| Some((decided.published.as_ref()?, decided.tables)));
    published.map_or_else(Vec::new, |(published, tables)| published.forwards(tables))
}

/// Where the host finds it.
pub(super) fn interface(decided: Option<&Decided>) -> Option<String> {
    decided?.pair.as_ref().map(Pair::faces)
}

/// What follows the container's addresses while it runs.
pub(super) fn published_ports(decided: Option<&Decided>) -> Option<Box<(Published, bool)>> {
    let decided = decided?;
    let published = decided.published.as_ref().filter(|published| !published.ports.is_empty())?;
    Some(Box::new((published.clone(), decided.tables)))
}

/// What the watcher does: cards come back, the rest goes.
pub(super) fn entrust(decided: Option<&Decided>, plan: &mut Builder) {
    let Some(decided) = decided else { return };
    let (socket, inside, host) = (role::WATCHED_NET, role::WATCHED_NET_INSIDE, role::WATCHED_HOST_NETNS);
    for (number, moved) in (0..).zip(&decided.moved) {
        plan.watch(return_of(inside, host, number, moved));
    }
    for pair in decided.pair.iter().chain(&decided.extra) {
        let (port, alias) = (pair.host.as_c_str(), decided.alias.as_c_str());
        if let Below::Zone(bridge) = &pair.below {
            plan.watch(Op::ZoneLeave { socket, bridge, port, lock: &decided.lock, alias });
        }
        plan.watch(Op::LinkRemove { socket, name: port, alias });
    }
}

/// An interface comes back: from the container's namespace, by its number there.
fn return_of(inside: Slot, host: Slot, number: u32, moved: &Moved) -> Op<'_> {
    Op::LinkMove {
        socket: inside,
        name: &moved.inside,
        index: MOVED + number,
        namespace: host,
        new_name: &moved.host,
        new_index: 0,
    }
}

const RIGHTS: &str = "EPERM: it takes CAP_NET_ADMIN over the host's network.";

/// Before the child exists: a socket that stays in this network namespace, whichever
/// thread uses it at the end.
pub(super) fn prepare(context: &Context<'_>, decided: Option<&Decided>, plan: &mut Builder) {
    let Some(decided) = decided else { return };
    plan.step(Phase::Prepare, "open a socket for the host's interfaces", context.origin("links"))
        .op(Op::NetlinkSocket { protocol: ROUTE, namespace: None, into: role::NET });
    if !decided.moved.is_empty() {
        let file = role::HOST_NETNS;
        plan.step(Phase::Prepare, "open this network namespace, for the way back", context.link_origin("moved"))
            .op(Op::OpenAt2 {
                dir: At::Cwd,
                path: OWN_NETWORK,
                flags: OpenFlags::NON_BLOCK,
                mode: 0,
                resolve: Resolve::NONE,
                into: file,
            })
            .op(Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::NETWORK } });
    }
}

/// While the child waits: everything outside.
pub(super) fn attend(
    context: &Context<'_>,
    decided: Option<&Decided>,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<()> {
    let Some(decided) = decided else { return Ok(()) };
    let namespace = role::NETNS;
    plan.step(Phase::Attend, "open the child's network namespace", context.origin("links")).op(Op::OpenAt2 {
        dir: At::Slot(role::PROCESS),
        path: c"ns/net",
        flags: OpenFlags::NONE,
        mode: 0,
        resolve: Resolve::NONE,
        into: namespace,
    });
    let mut entrusted = vec![(role::NET, role::WATCHED_NET)];
    if !decided.moved.is_empty() {
        plan.op(Op::NetlinkSocket { protocol: ROUTE, namespace: Some(namespace), into: role::NET_INSIDE });
        entrusted.extend([(role::NET_INSIDE, role::WATCHED_NET_INSIDE), (role::HOST_NETNS, role::WATCHED_HOST_NETNS)]);
    }
    if decided.tables && decided.published.is_some() {
        plan.op(Op::NetlinkSocket { protocol: NETFILTER, namespace: None, into: role::TABLES });
        // Held as long as the interface is there.
        entrusted.push((role::TABLES, role::WATCHED_TABLES));
    }
    plan.step(Phase::Attend, "entrust the watcher with the sockets", context.origin("links"));
    for (file, place) in entrusted {
        plan.op(Op::EntrustFile { watcher: role::WATCHER, id: 0, place, file });
    }
    let mut ops = Ops { plan, phase: Phase::Attend, said: Vec::new() };
    for pair in decided.pair.iter().chain(&decided.extra) {
        outside(context, decided, pair, &mut ops);
    }
    for over in &decided.over {
        let field = if over.kind == c"macvlan" { "macvlan" } else { "ipvlan" };
        let (kind, name, lower) = (over.kind, over.name.as_c_str(), over.lower.as_c_str());
        let what = format!("make the {field} {} over {}", shown(name), shown(lower));
        ops.plan.step(Phase::Attend, what, context.link_origin(field)).remedy(
            "ENODEV: there is no such interface. EBUSY: it is part of something that keeps all of it (a bridge, another kind of these). EOPNOTSUPP: the kernel does not have this kind (modprobe).",
        );
        let address = Blob(over.address.as_ref().map_or(&[], |address| address.as_slice()));
        let (peer, peer_address) = (c"", Blob(&[]));
        ops.op(Op::LinkAdd {
            socket: role::NET,
            kind,
            name,
            address,
            lower,
            peer,
            peer_address,
            namespace: Some(namespace),
            alias: c"",
        });
    }
    for (number, moved) in (0..).zip(&decided.moved) {
        let what = format!("move the interface {} in", shown(&moved.host));
        ops.plan.step(Phase::Attend, what, context.link_origin("moved")).remedy(
            "ENODEV: there is no such interface. EINVAL: it is one that cannot leave its namespace. EEXIST: the name is taken inside.",
        );
        ops.op(Op::LinkMove {
            socket: role::NET,
            name: &moved.host,
            index: 0,
            namespace,
            new_name: &moved.inside,
            new_index: MOVED + number,
        });
        ops.plan.undo(return_of(role::NET_INSIDE, role::HOST_NETNS, number, moved));
    }
    ops.report(report);
    match &decided.published {
        Some(published) if decided.tables => publish(context, published, plan, report),
        Some(published) => {
            let why = "this kernel has no nf_tables, or not all of it";
            let lost = match published.interface {
                Some(_) => "what the container sends beyond the host has its own address",
                None => "what keeps the ports is that somebody listens on them",
            };
            report.unsupported("tables", format!("{why}: {lost}"));
            for port in &published.ports {
                report.unsupported(format!("port {port}"), format!("{why}: whoever supervises passes it on"));
            }
        }
        None => {}
    }
    Ok(())
}

fn shown(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// A pair, and its outer end.
fn outside(context: &Context<'_>, decided: &Decided, pair: &Pair, ops: &mut Ops<'_>) {
    let (socket, name, alias) = (role::NET, pair.host.as_c_str(), decided.alias.as_c_str());
    let field = match (&pair.below, pair.inside.to_bytes() == HOST0.as_bytes()) {
        (Below::Bridge(_), _) => "bridge",
        (Below::Zone(_), _) => "zone",
        (Below::Nothing, true) => "veth",
        (Below::Nothing, false) => "extra",
    };
    let what = format!("make the pair {} and, inside, {}", shown(name), shown(&pair.inside));
    ops.plan.step(Phase::Attend, what, context.link_origin(field)).remedy(format!(
        "EEXIST: there is an interface {}; that of a container that is gone, `skep gc` removes. EOPNOTSUPP: the kernel has no veth (modprobe veth). {RIGHTS}",
        shown(name)
    ));
    ops.op(Op::LinkAdd {
        socket,
        kind: c"veth",
        name,
        address: Blob(&pair.addresses[0]),
        lower: c"",
        peer: &pair.inside,
        peer_address: Blob(&pair.addresses[1]),
        namespace: Some(role::NETNS),
        alias,
    });
    ops.plan.undo(Op::LinkRemove { socket, name, alias });
    if let Some(whole) = &pair.whole {
        ops.plan.step(Phase::Attend, format!("call it {} as well", shown(whole)), context.link_origin(field));
        ops.op(Op::LinkAltName { socket, name, alternative: whole });
    }
    match &pair.below {
        Below::Nothing => {}
        Below::Bridge(master) => {
            let what = format!("put {} below the bridge {}", shown(name), shown(master));
            ops.plan.step(Phase::Attend, what, context.link_origin(field)).remedy(
                "ENODEV: there is no such interface. EOPNOTSUPP: it is no bridge (ip link add NAME type bridge).",
            );
            ops.op(Op::LinkMaster { socket, name, master }).op(Op::LinkUp { socket, name });
        }
        Below::Zone(bridge) => {
            let what = format!("put {} below the bridge {} of its zone", shown(name), shown(bridge));
            let lock = decided.lock.as_c_str();
            ops.plan.step(Phase::Attend, what, context.link_origin(field)).remedy(format!(
                "ETIMEDOUT: somebody holds the lock {}. EOPNOTSUPP: the kernel has no bridges (modprobe bridge).",
                shown(lock)
            ));
            ops.op(Op::ZoneJoin { socket, bridge, port: name, lock, alias });
            ops.plan.undo(Op::ZoneLeave { socket, bridge, port: name, lock, alias });
            ops.op(Op::LinkUp { socket, name });
        }
    }
    if pair.networks.is_empty() {
        return;
    }
    let origin = context.link_origin("addresses");
    match &pair.below {
        // It is the owner's of the bridge.
        Below::Bridge(_) => {}
        Below::Zone(bridge) => {
            ops.plan.step(Phase::Attend, format!("give {} its addresses", shown(bridge)), origin);
            for (_, outside, prefix) in &pair.networks {
                let (address, prefix) = (octets(*outside), *prefix);
                ops.op(Op::AddressAdd { socket, name: bridge, address: Blob(&address), prefix, shared: true });
            }
        }
        Below::Nothing => {
            ops.plan.step(Phase::Attend, format!("give {} its addresses", shown(name)), origin).remedy(
                "EEXIST: a route of the host leads to that network already; choose another, or, where it was made up, start again.",
            );
            ops.op(Op::LinkUp { socket, name });
            for network in &pair.networks {
                addressed(socket, name, network.1, network, ops);
            }
        }
    }
}

/// An address, and the route to its network.
fn addressed(socket: Slot, name: &CStr, own: IpAddr, network: &(IpAddr, IpAddr, u8), ops: &mut Ops<'_>) {
    let prefix = network.2;
    let (address, to) = (octets(own), octets(spec::network(own, prefix)));
    ops.op(Op::AddressAdd { socket, name, address: Blob(&address), prefix, shared: false });
    ops.op(Op::RouteAdd { socket, name, to: Blob(&to), prefix, gateway: Blob(&[]) });
}

fn publish(context: &Context<'_>, published: &Published, plan: &mut Builder, report: &mut Report) {
    let origin = context.link_origin("ports");
    if let Some(interface) = published.interface.as_ref().filter(|_| published.routes_localhost())
        && let Ok(name) = c_text(interface.as_bytes())
    {
        let what = format!("let 127.0.0.1 lead to {interface}");
        let mut ops = Ops { plan, phase: Phase::Attend, said: Vec::new() };
        ops.plan.step(Phase::Attend, what, origin.clone());
        ops.op(Op::LinkOption { socket: role::NET, name: &name, option: words::ROUTE_LOCALNET, value: 1 });
        ops.report(report);
    }
    let batch = published.batch();
    plan.step(Phase::Attend, "publish the ports", origin)
        .remedy("EOPNOTSUPP, ENOENT: the kernel has no nf_tables, or not all of it (NFT_NAT, NFT_MASQ, NFT_FIB_INET, NFT_CT). EAGAIN: somebody changes the host's rules all the time; start again.")
        .op(Op::NfTables { socket: role::TABLES, batch: Blob(&batch) })
        // The watcher has the socket as well, and lets go of it when it comes to that.
        .undo(Op::NfTables { socket: role::TABLES, batch: Blob(&published.removal()) });
    said_of_ports(published, report);
    if published.interface.is_none() {
        return;
    }
    let forwards = context.facts.network.as_ref().is_some_and(|facts| facts.forwards);
    if forwards {
        report.applied(FORWARDING, "of the host: on");
    } else {
        report.unsupported(FORWARDING, "off on the host (net.ipv4.ip_forward): nothing goes beyond it, in or out");
    }
}

const FORWARDING: &str = "forwarding";

/// One line of the report for each port, and one for the rest.
pub(crate) fn said_of_ports(published: &Published, report: &mut Report) {
    for (item, words) in words_of_ports(published) {
        report.applied(item, words);
    }
}

/// Of tables that lead nowhere.
pub(crate) const KEEPS: &str = ": keeps the ports";

/// The same, for whoever holds the report against the batch.
pub(crate) fn words_of_ports(published: &Published) -> BTreeMap<String, String> {
    let list = |addresses: &mut dyn Iterator<Item = &IpAddr>| {
        addresses.map(IpAddr::to_string).collect::<Vec<_>>().join(" and ")
    };
    let all = list(&mut published.addresses.iter());
    let mut words = BTreeMap::new();
    let masquerade = if published.masquerade { ", and speaks as the host" } else { "" };
    let tables = match &published.interface {
        Some(interface) => format!("{}: {all} behind {interface}{masquerade}", published.table),
        None => format!("{}{KEEPS}", published.table),
    };
    words.insert("tables".to_owned(), tables);
    for port in &published.ports {
        if published.interface.is_none() {
            let to = "to the container's first address, by whoever supervises";
            words.insert(format!("port {port}"), to.to_owned());
            continue;
        }
        let family = |address: &&IpAddr| port.address.is_none_or(|host| host.is_ipv4() == address.is_ipv4());
        let to = list(&mut published.addresses.iter().filter(family));
        let from = match port.address {
            Some(address) if address.is_loopback() => "this host alone",
            _ if published.own => "everywhere; from [::1] by whoever supervises",
            _ => {
                "everywhere; from 127.0.0.1 and [::1] by whoever supervises, for the bridge is not this container's alone"
            }
        };
        words.insert(format!("port {port}"), format!("to {to}, from {from}"));
    }
    words
}

/// In the child, as root of its namespace: everything inside.
pub(super) fn enter(context: &Context<'_>, decided: Option<&Decided>, plan: &mut Builder, report: &mut Report) {
    let Some(decided) = decided else { return };
    let renamed = decided.over.iter().filter_map(|over| Some((over, over.whole.as_deref()?)));
    let renamed: Vec<_> = renamed.collect();
    let addressed_pair = decided.pair.as_ref().filter(|pair| !pair.networks.is_empty());
    if renamed.is_empty() && addressed_pair.is_none() {
        return;
    }
    let socket = role::ONE;
    plan.step(Phase::Enter, "open a socket for the container's interfaces", context.origin("links"))
        .op(Op::NetlinkSocket { protocol: ROUTE, namespace: None, into: socket });
    let mut ops = Ops { plan, phase: Phase::Enter, said: Vec::new() };
    for (over, alternative) in renamed {
        let field = if over.kind == c"macvlan" { "macvlan" } else { "ipvlan" };
        ops.plan.step(Phase::Enter, format!("call it {} as well", shown(alternative)), context.link_origin(field));
        ops.op(Op::LinkAltName { socket, name: &over.name, alternative });
    }
    if let Some(pair) = addressed_pair {
        let name = pair.inside.as_c_str();
        ops.plan.step(Phase::Enter, format!("give {} its addresses", shown(name)), context.link_origin("addresses"));
        ops.op(Op::LinkUp { socket, name });
        for network in &pair.networks {
            let (inside, outside, _) = network;
            addressed(socket, name, *inside, network, &mut ops);
            let (gateway, all) = (octets(*outside), vec![0; octets(*outside).len()]);
            ops.op(Op::RouteAdd { socket, name, to: Blob(&all), prefix: 0, gateway: Blob(&gateway) });
        }
    }
    ops.plan.op(Op::Close { file: socket });
    ops.report(report);
}
