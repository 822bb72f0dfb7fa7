//! Interfaces of the container's network, and its published ports.

use std::collections::BTreeMap;
use std::ffi::CStr;

use skep_sys::abi::Namespaces;
use skep_sys::{Op, OpKind, Proof, Slot};

use super::Findings;
use crate::compile::network::{KEEPS, KINDS, MOVED, NETFILTER, ROUTE, tables::Published, words, words_of_ports};
use crate::plan::{OWN_NETWORK, Phase, role};
use crate::report::Outcome;
use crate::spec::Port;
use crate::verify::view::{Id, Seen, View, What};

/// The socket of an op, and the protocol that it must speak.
fn socket(op: &Op<'_>) -> (Slot, u8) {
    match *op {
        Op::NfTables { socket, .. } => (socket, NETFILTER),
        Op::LinkAdd { socket, .. }
        | Op::LinkAltName { socket, .. }
        | Op::LinkMaster { socket, .. }
        | Op::LinkMove { socket, .. }
        | Op::LinkOption { socket, .. }
        | Op::LinkUp { socket, .. }
        | Op::ZoneJoin { socket, .. }
        | Op::AddressAdd { socket, .. }
        | Op::RouteAdd { socket, .. } => (socket, ROUTE),
        _ => (Slot(u16::MAX), ROUTE),
    }
}

/// The interface of the host that an op changes, and does not itself make or name in
/// the report as somebody else's.
fn changed<'a>(op: &Op<'a>) -> Option<&'a CStr> {
    match *op {
        Op::LinkAltName { name, .. }
        | Op::LinkMaster { name, .. }
        | Op::LinkOption { name, .. }
        | Op::LinkUp { name, .. }
        | Op::AddressAdd { name, .. }
        | Op::RouteAdd { name, .. }
        | Op::ZoneJoin { port: name, .. } => Some(name),
        _ => None,
    }
}

pub(super) fn links_as_reported(view: &View<'_>, found: &mut Findings) {
    let all: Vec<&Seen<'_>> = KINDS.iter().flat_map(|kind| view.of(*kind)).collect();
    let own = view.namespaces().has(Namespaces::NETWORK);
    let mut said: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for seen in &all {
        let (slot, protocol) = socket(&seen.op);
        let outside = seen.phase == Phase::Attend;
        let fits = match view.thing(seen.on).what {
            What::Socket => matches!(seen.op, Op::LinkUp { name, .. } if name == c"lo"),
            What::Netlink { protocol: spoken, of } => {
                let place =
                    if outside { slot == if protocol == ROUTE { role::NET } else { role::TABLES } } else { true };
                spoken == protocol && of == Id::NONE && place
            }
            _ => false,
        };
        if !fits {
            found.at(seen, "is asked of another socket than that of its network");
        }
        // Tables that lead nowhere are in nobody's network.
        let keeps = seen.op.kind() == OpKind::NfTables && keeps(view);
        if outside && !own && !keeps {
            found.at(seen, "is for a network of the container's own, and there is none");
        }
        if outside && matches!(seen.op, Op::LinkAdd { .. } | Op::LinkMove { .. }) {
            let there = matches!(view.thing(seen.onto).what, What::NetworkOfChild);
            if !there {
                found.at(seen, "does not lead into the child's network");
            }
        }
        if let Some((item, words)) = words::of(seen.phase, &seen.op) {
            said.entry(item).or_default().push((seen.at, words));
        }
    }
    own_interfaces(view, &all, found);
    let report = view.plan.report();
    for (item, mut list) in said {
        list.sort_unstable_by_key(|(at, _)| *at);
        let words = list.into_iter().map(|(_, words)| words).collect::<Vec<_>>();
        // What comes last may be a line of its own.
        let lines: Vec<&str> = report
            .items()
            .iter()
            .filter(|line| line.name == item)
            .filter_map(|line| match &line.outcome {
                Outcome::Applied(words) => Some(words.as_str()),
                _ => None,
            })
            .collect();
        if lines.join("; ") != words.join("; ") {
            found.plan(format!("{item:?} is not what the report says: {}", words.join("; ")));
        }
    }
    for item in report.items().iter().filter(|item| item.name.starts_with("link ")) {
        let done = all.iter().any(|seen| words::of(seen.phase, &seen.op).is_some_and(|(name, _)| name == item.name));
        found.unless(done, "the report speaks of an interface that is not there");
    }
}

/// Outside, what is changed is what the plan has made before.
fn own_interfaces(view: &View<'_>, all: &[&Seen<'_>], found: &mut Findings) {
    let made = |name: &CStr, before: usize| {
        all.iter().any(|seen| {
            let makes = match seen.op {
                Op::LinkAdd { name: one, .. } => one == name,
                Op::ZoneJoin { bridge, .. } => bridge == name,
                _ => false,
            };
            makes && seen.at < before && seen.phase == Phase::Attend
        })
    };
    for seen in all.iter().filter(|seen| seen.phase == Phase::Attend) {
        if changed(&seen.op).is_some_and(|name| !made(name, seen.at)) {
            found.at(seen, "changes an interface of the host that is not the container's");
        }
    }
    // The child's own are for itself, and opened for a moment.
    for seen in view.of(OpKind::NetlinkSocket) {
        let Op::NetlinkSocket { protocol, namespace, into } = seen.op else { continue };
        let fits = match (seen.phase, into) {
            (Phase::Prepare, role::NET) => protocol == ROUTE && namespace.is_none(),
            (Phase::Attend, role::NET_INSIDE) => {
                protocol == ROUTE && matches!(view.thing(seen.on).what, What::NetworkOfChild)
            }
            (Phase::Attend, role::TABLES) => protocol == NETFILTER && namespace.is_none(),
            (Phase::Enter, role::ONE) => protocol == ROUTE && namespace.is_none(),
            _ => false,
        };
        if !fits {
            found.at(seen, "opens a socket of netlink that has no use");
        }
        if seen.phase == Phase::Enter {
            let closed = view.of_in(OpKind::Close, Phase::Enter).any(|close| close.on == seen.made);
            if !closed {
                found.at(seen, "leaves a socket of netlink to the payload");
            }
        }
    }
}

/// What takes an op of `attend` back, as it is asked of these slots.
fn taken_back<'a>(op: &Op<'a>, net: Slot, inside: Slot, host: Slot) -> Option<Op<'a>> {
    match *op {
        Op::LinkAdd { kind, name, alias, .. } if kind == c"veth" => Some(Op::LinkRemove { socket: net, name, alias }),
        Op::ZoneJoin { bridge, port, lock, alias, .. } => {
            Some(Op::ZoneLeave { socket: net, bridge, port, lock, alias })
        }
        Op::LinkMove { name, new_name, new_index, .. } => Some(Op::LinkMove {
            socket: inside,
            name: new_name,
            index: new_index,
            namespace: host,
            new_name: name,
            new_index: 0,
        }),
        _ => None,
    }
}

pub(super) fn links_taken_back(view: &View<'_>, found: &mut Findings) {
    let made: Vec<&Seen<'_>> =
        [OpKind::LinkAdd, OpKind::ZoneJoin, OpKind::LinkMove].iter().flat_map(|kind| view.of(*kind)).collect();
    let mut numbers = Vec::new();
    let mut aliases = Vec::new();
    for seen in &made {
        match seen.op {
            Op::LinkAdd { kind, alias, .. } if kind == c"veth" => aliases.push(alias),
            Op::ZoneJoin { alias, .. } => aliases.push(alias),
            Op::LinkAdd { kind, .. } if kind != c"macvlan" && kind != c"ipvlan" => {
                found.at(seen, "makes an interface of another kind");
            }
            Op::LinkMove { index, new_index, .. } => {
                if index != 0 || new_index < MOVED || numbers.contains(&new_index) {
                    found.at(seen, "is not found again by its number");
                }
                numbers.push(new_index);
            }
            _ => {}
        }
        if let Some(op) = taken_back(&seen.op, role::NET, role::NET_INSIDE, role::HOST_NETNS)
            && !view.undo.iter().any(|(of, undo)| *of == seen.index && *undo == Some(op))
        {
            found.at(seen, "has no undo");
        }
    }
    // `skep gc` knows by it whose it is.
    let marked = |alias: &CStr| crate::registry::left::is_alias(&alias.to_string_lossy());
    found.unless(aliases.iter().all(|alias| marked(alias)), "an interface does not say whose it is");
    let of_links = |op: &Op<'_>| matches!(op, Op::LinkMove { .. } | Op::ZoneLeave { .. } | Op::LinkRemove { .. });
    let undone = view.undo.iter().filter_map(|(_, op)| *op).filter(of_links).count();
    let wanted: Vec<Op<'_>> = made
        .iter()
        .filter_map(|seen| taken_back(&seen.op, role::WATCHED_NET, role::WATCHED_NET_INSIDE, role::WATCHED_HOST_NETNS))
        .collect();
    found.unless(undone == wanted.len(), "the undo takes back an interface that the plan did not make");
    let watched: Vec<Op<'_>> = view.watch.iter().filter_map(|op| *op).filter(of_links).collect();
    let same = watched.len() == wanted.len() && wanted.iter().all(|op| watched.contains(op));
    found.unless(same, "the watcher takes back other interfaces than the plan makes");
    // Who is killed by then has given the sockets away.
    let first = made.iter().chain(&view.of(OpKind::NfTables).collect::<Vec<_>>()).map(|seen| seen.at).min();
    let Some(first) = first else { return };
    let moves = view.of(OpKind::LinkMove).next().is_some();
    let tables = view.of(OpKind::NfTables).next().is_some();
    for (wanted, file, place) in [
        (true, role::NET, role::WATCHED_NET),
        (moves, role::NET_INSIDE, role::WATCHED_NET_INSIDE),
        (moves, role::HOST_NETNS, role::WATCHED_HOST_NETNS),
        (tables, role::TABLES, role::WATCHED_TABLES),
    ] {
        let given = view.of_in(OpKind::EntrustFile, Phase::Attend).any(|seen| {
            seen.at < first
                && matches!(seen.op, Op::EntrustFile { watcher: role::WATCHER, place: to, file: one, .. } if to == place && one == file)
        });
        found.unless(given || !wanted, "the watcher does not get the sockets before there is an interface");
    }
    if moves {
        let host = view
            .of_in(OpKind::OpenAt2, Phase::Prepare)
            .find(|seen| matches!(seen.op, Op::OpenAt2 { into: role::HOST_NETNS, path, .. } if path == OWN_NETWORK));
        let proved = host.is_some_and(|seen| {
            let proof = view.thing(seen.made).proof;
            matches!(proof, Some((_, Proof::Namespace { kind: Namespaces::NETWORK })))
        });
        found.unless(proved, "the way back is not proved to be a network");
    }
}

pub(super) fn ports_as_reported(view: &View<'_>, found: &mut Findings) {
    let report = view.plan.report();
    let applied = report.items().iter().filter(|item| matches!(item.outcome, Outcome::Applied(_)));
    let ports: Vec<Port> = applied.filter_map(|item| item.name.strip_prefix("port ")?.parse().ok()).collect();
    let tables = match report.of("tables") {
        Some(Outcome::Applied(words)) => Some(words.as_str()),
        _ => None,
    };
    let all: Vec<&Seen<'_>> = view.of(OpKind::NfTables).collect();
    let local = view.of(OpKind::LinkOption).collect::<Vec<_>>();
    let undone = view.undo.iter().filter(|(_, op)| matches!(op, Some(Op::NfTables { .. }))).count();
    found.unless(undone == all.len(), "the undo changes other tables than there are");
    if all.len() != usize::from(tables.is_some()) {
        return found.plan("the report speaks of other tables than there are");
    }
    let (Some(words), Some(seen)) = (tables, all.first()) else {
        found.unless(local.is_empty() && ports.is_empty(), "127.0.0.1 is routed, or a port published, without tables");
        return;
    };
    let Some(published) = read(view, words, ports) else { return found.plan("the report's tables cannot be read") };
    let expected = published.batch();
    if !matches!(seen.op, Op::NfTables { batch, .. } if batch.0 == expected.as_slice()) {
        found.at(seen, "publishes other ports than the report says");
    }
    let removal = published.removal();
    let undone = |(of, op): &(u32, Option<Op<'_>>)| matches!(op, Some(Op::NfTables { batch, .. }) if *of == seen.index && batch.0 == removal.as_slice());
    found.unless(view.undo.iter().any(undone), "the undo leaves the tables until their socket goes");
    for (item, words) in words_of_ports(&published) {
        let same = matches!(report.of(&item), Some(Outcome::Applied(said)) if *said == words);
        found.unless(same, "the report says something else of a port than its rules do");
    }
    let interface = published.interface.as_deref().map(str::as_bytes);
    let routed = local
        .iter()
        .any(|option| matches!(option.op, Op::LinkOption { name, .. } if Some(name.to_bytes()) == interface));
    found.unless(local.len() <= 1 && routed == published.routes_localhost(), "127.0.0.1 is routed elsewhere");
}

/// Whether the report's tables keep ports and lead nowhere; the batch is held against that.
fn keeps(view: &View<'_>) -> bool {
    matches!(view.plan.report().of("tables"), Some(Outcome::Applied(words)) if words.ends_with(KEEPS))
}

/// The tables, as the report and the ops about interfaces have them.
fn read(view: &View<'_>, words: &str, ports: Vec<Port>) -> Option<Published> {
    if let Some(table) = words.strip_suffix(KEEPS) {
        // Of a container, by its name.
        let whose = table.strip_prefix("skep-").is_some_and(|rest| rest.split('-').count() > 4);
        let (interface, own, masquerade, addresses) = (None, false, false, Vec::new());
        return whose.then(|| Published { table: table.to_owned(), interface, own, masquerade, addresses, ports });
    }
    let (table, rest) = words.split_once(": ")?;
    let (rest, masquerade) = match rest.strip_suffix(", and speaks as the host") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (addresses, interface) = rest.split_once(" behind ")?;
    let addresses = addresses.split(" and ").map(|address| address.parse().ok()).collect::<Option<Vec<_>>>()?;
    let inside = view.of_in(OpKind::AddressAdd, Phase::Enter).filter_map(|seen| match seen.op {
        Op::AddressAdd { name, address, .. } if name == c"host0" => words::address(address.0),
        _ => None,
    });
    let own = view.of_in(OpKind::LinkAdd, Phase::Attend).any(|seen| {
        matches!(seen.op, Op::LinkAdd { name, peer, .. } if name.to_bytes() == interface.as_bytes() && peer == c"host0")
    });
    // Of this container, by the alias of its interfaces.
    let alias = view.of_in(OpKind::LinkAdd, Phase::Attend).find_map(|seen| match seen.op {
        Op::LinkAdd { alias, .. } if !alias.is_empty() => Some(alias.to_string_lossy().replace('@', "-")),
        _ => None,
    });
    let right = inside.eq(addresses.iter().copied()) && alias.as_deref() == Some(table);
    // Below a bridge, that is named by the report.
    let below = own
        || view
            .of(OpKind::LinkMaster)
            .any(|seen| matches!(seen.op, Op::LinkMaster { master, .. } if master.to_bytes() == interface.as_bytes()))
        || view
            .of(OpKind::ZoneJoin)
            .any(|seen| matches!(seen.op, Op::ZoneJoin { bridge, .. } if bridge.to_bytes() == interface.as_bytes()));
    (right && below).then(|| Published {
        table: table.to_owned(),
        interface: Some(interface.to_owned()),
        own,
        masquerade,
        addresses,
        ports,
    })
}
