//! Mutants for the rules in `rules/links.rs`.

use skep_sys::wire::Blob;
use skep_sys::{Op, OpKind};

use super::host::undo;
use super::registry::watched;
use super::{Mutant, append_before_fork, cut, drop, each, insert, mutant, place, places};
use crate::plan::Phase::{Attend, Enter, Prepare};
use crate::plan::{Plan, role};

pub(super) const ALL: &[Mutant] = &[
    mutant(86, "veth with addresses/root", "an interface of the host is brought up", |plan| {
        let up = Op::LinkUp { socket: role::NET, name: c"eth0" };
        insert(plan, Attend, place(plan, Attend, OpKind::LinkAdd) + 1, up)
    }),
    mutant(86, "veth with addresses/root", "an address of another interface", |plan| {
        each(plan, Attend, OpKind::AddressAdd, |op| match op {
            Op::AddressAdd { socket, address, prefix, shared, .. } => {
                Op::AddressAdd { socket, name: c"eth0", address, prefix, shared }
            }
            other => other,
        })
    }),
    mutant(86, "veth with addresses/root", "another address inside", |plan| {
        each(plan, Enter, OpKind::AddressAdd, |op| match op {
            Op::AddressAdd { socket, name, prefix, shared, .. } => {
                Op::AddressAdd { socket, name, address: Blob(&[192, 0, 2, 1]), prefix, shared }
            }
            other => other,
        })
    }),
    mutant(86, "veth with addresses/root", "a route that nobody knows of", |plan| drop(plan, Enter, OpKind::RouteAdd)),
    mutant(86, "veth with addresses/root", "the payload keeps the socket", |plan| {
        let closes = places(plan, Enter, |op| matches!(op, Op::Close { file: role::ONE }));
        let socket = place(plan, Enter, OpKind::NetlinkSocket);
        cut(plan, Enter, *closes.iter().find(|at| **at > socket).unwrap())
    }),
    mutant(86, "veth/root", "both ends outside", |plan| {
        link(plan, |op| match op {
            Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, alias, .. } => {
                Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace: None, alias }
            }
            other => other,
        })
    }),
    mutant(86, "veth/root", "another hardware address", |plan| {
        link(plan, |op| match op {
            Op::LinkAdd { socket, kind, name, lower, peer, peer_address, namespace, alias, .. } => {
                Op::LinkAdd { socket, kind, name, address: Blob(&[]), lower, peer, peer_address, namespace, alias }
            }
            other => other,
        })
    }),
    mutant(86, "veth/root", "a socket of another protocol", |plan| {
        each(plan, Prepare, OpKind::NetlinkSocket, |_| Op::NetlinkSocket {
            protocol: 12,
            namespace: None,
            into: role::NET,
        })
    }),
    mutant(86, "default", "an interface that nobody asked for", |plan| {
        append_before_fork(plan, Op::LinkUp { socket: role::ONE, name: c"eth0" })
    }),
    mutant(86, "interfaces/root", "below another bridge", |plan| {
        each(plan, Attend, OpKind::LinkMaster, |op| match op {
            Op::LinkMaster { socket, name, .. } => Op::LinkMaster { socket, name, master: c"br1" },
            other => other,
        })
    }),
    mutant(86, "interfaces/root", "another card is moved", |plan| {
        each(plan, Attend, OpKind::LinkMove, |op| match op {
            Op::LinkMove { socket, index, namespace, new_name, new_index, .. } => {
                Op::LinkMove { socket, name: c"eth0", index, namespace, new_name, new_index }
            }
            other => other,
        })
    }),
    mutant(87, "veth/root", "no alias", |plan| {
        link(plan, |op| match op {
            Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace, .. } => {
                Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace, alias: c"" }
            }
            other => other,
        })
    }),
    mutant(87, "veth/root", "no undo", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::LinkRemove as u8))
    }),
    mutant(87, "veth/root", "the watcher knows nothing", |plan| {
        watched(plan, |all| all.retain(|op| op[0] != OpKind::LinkRemove as u8))
    }),
    mutant(87, "veth/root", "the watcher gets no socket", |plan| {
        let given = |op: &Op<'_>| matches!(op, Op::EntrustFile { file: role::NET, .. });
        cut(plan, Attend, places(plan, Attend, given)[0])
    }),
    mutant(87, "zone/root", "the bridge stays", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::ZoneLeave as u8))
    }),
    mutant(87, "interfaces/root", "a card does not come back", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::LinkMove as u8))
    }),
    mutant(87, "interfaces/root", "a card that is found by its name", |plan| {
        each(plan, Attend, OpKind::LinkMove, |op| match op {
            Op::LinkMove { socket, name, index, namespace, new_name, .. } => {
                Op::LinkMove { socket, name, index, namespace, new_name, new_index: 0 }
            }
            other => other,
        })
    }),
    mutant(88, "ports/root", "other rules", |plan| {
        each(plan, Attend, OpKind::NfTables, |op| match op {
            Op::NfTables { socket, batch } => Op::NfTables { socket, batch: Blob(&batch.0[..batch.0.len() - 20]) },
            other => other,
        })
    }),
    mutant(88, "ports without a pair/root", "rules where there is no pair", |plan| {
        let other = super::compiled("ports", super::Caller::Root);
        let batch = other.ops().find_map(|(_, _, op)| match op {
            Op::NfTables { batch, .. } => Some(batch.0.to_vec()),
            _ => None,
        });
        let batch = batch.unwrap();
        each(plan, Attend, OpKind::NfTables, |op| match op {
            Op::NfTables { socket, .. } => Op::NfTables { socket, batch: Blob(&batch) },
            other => other,
        })
    }),
    mutant(88, "ports/root", "its rules stay until their socket goes", |plan| {
        undo(plan, |all| all.retain(|undo| undo.op[0] != OpKind::NfTables as u8))
    }),
    mutant(88, "ports/root", "other tables are taken back", |plan| {
        undo(plan, |all| {
            let rules = all.iter_mut().find(|undo| undo.op[0] == OpKind::NfTables as u8).unwrap();
            let last = rules.op.len() - 1;
            rules.op[last] ^= 1;
        })
    }),
    mutant(88, "ports/root", "no rules", |plan| drop(plan, Attend, OpKind::NfTables)),
    mutant(88, "ports/root", "127.0.0.1 is routed by another interface", |plan| {
        each(plan, Attend, OpKind::LinkOption, |op| match op {
            Op::LinkOption { socket, option, value, .. } => Op::LinkOption { socket, name: c"lo", option, value },
            other => other,
        })
    }),
];

fn link(plan: &Plan, change: impl Fn(Op<'_>) -> Op<'_>) -> Plan {
    super::rewrite(plan, Attend, |_, op| vec![if op.kind() == OpKind::LinkAdd { change(op) } else { op }])
}
