//! What an op does to an interface, in the words of the report: made of the ops, by the
//! compiler and again by the rule that holds the report against them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skep_sys::Op;
use skep_sys::wire::Blob;

use crate::plan::Phase;

/// IPV4_DEVCONF_ROUTE_LOCALNET of `linux/ip.h`.
pub(crate) const ROUTE_LOCALNET: u8 = 26;

fn text(name: &std::ffi::CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// An address as the ops have it; `None` for what has another length.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))))
}

fn shown(bytes: &[u8]) -> String {
    address(bytes).map_or_else(|| format!("{bytes:?}"), |address| address.to_string())
}

fn hardware(bytes: Blob<'_>) -> String {
    match bytes.0 {
        [] => "any address".to_owned(),
        bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
    }
}

/// The item of the report, and what an op adds to it; `None` for what is no change of
/// an interface but `lo`.
pub(crate) fn of(phase: Phase, op: &Op<'_>) -> Option<(String, String)> {
    let at = |name: &std::ffi::CStr, words: String| Some((format!("link {}", text(name)), words));
    let said = match *op {
        Op::LinkAdd { kind, name, address, peer, peer_address, namespace: Some(_), lower, .. } if kind == c"veth" => {
            let inside = format!("{} inside, {}", text(peer), hardware(peer_address));
            let over = if lower.is_empty() { String::new() } else { format!(", over {}", text(lower)) };
            at(name, format!("a pair, {}, with {inside}{over}", hardware(address)))
        }
        Op::LinkAdd { kind, name, address, lower, peer, peer_address, namespace, .. } => {
            let words = format!("{} over {}, {}", text(kind), text(lower), hardware(address));
            let more = match (peer.is_empty() && peer_address.0.is_empty(), namespace) {
                (true, Some(_)) => "",
                (true, None) => ", outside",
                (false, _) => ", with a peer",
            };
            Some((format!("link {} inside", text(name)), words + more))
        }
        Op::LinkAltName { name, alternative, .. } => at(name, format!("also called {}", text(alternative))),
        Op::LinkMaster { name, master, .. } => at(name, format!("below the bridge {}", text(master))),
        Op::ZoneJoin { bridge, port, .. } => at(port, format!("below {}, the bridge of its zone", text(bridge))),
        Op::LinkMove { name, new_name, .. } => at(name, format!("moved in, as {}", text(new_name))),
        Op::LinkUp { name, .. } if name == c"lo" => None,
        Op::LinkUp { name, .. } => at(name, "up".to_owned()),
        Op::LinkOption { name, option: ROUTE_LOCALNET, value: 1, .. } => at(name, "127.0.0.1 leads there".to_owned()),
        Op::LinkOption { name, option, value, .. } => at(name, format!("option {option} is {value}")),
        Op::AddressAdd { name, address, prefix, shared, .. } => {
            at(name, format!("{}/{prefix}{}", shown(address.0), if shared { ", shared" } else { "" }))
        }
        Op::RouteAdd { name, to, prefix, gateway, .. } => {
            let by = if gateway.0.is_empty() { String::new() } else { format!(" by {}", shown(gateway.0)) };
            at(name, format!("route to {}/{prefix}{by}", shown(to.0)))
        }
        _ => None,
    };
    // Inside and outside are two places.
    match said {
        Some((item, words)) if phase == Phase::Enter && !item.ends_with(" inside") => Some((item + " inside", words)),
        other => other,
    }
}
