//! Values about interfaces and ports.

use super::value::{Parsed, Separator, ValueError};
use crate::dialect::problem::quoted;
use crate::spec::{LinkAddress, LinkError, LinkHardware, LinkName, LinkPair, Port};

fn refused(error: LinkError) -> ValueError {
    let what = format!("{} is not {}", quoted(error.text()), error.what());
    ValueError::new(what).with_remedy(error.remedy()).at(error.position())
}

/// The name of an interface, of up to 15 bytes: that of a bridge.
///
/// # Errors
///
/// Empty, longer, a number, or with a blank, `/`, `:`, `%` or `\`.
pub fn interface(text: &str) -> Parsed<LinkName> {
    LinkName::new(text).map_err(refused)
}

/// The name of a zone, of up to 12 bytes.
///
/// # Errors
///
/// As [`interface`].
pub fn zone(text: &str) -> Parsed<LinkName> {
    LinkName::zone(text).map_err(refused)
}

/// `HOST[:CONTAINER]`, names of one interface.
///
/// # Errors
///
/// As [`interface`], of either; that of the host may have 127 bytes.
pub fn interface_pair(text: &str) -> Parsed<LinkPair> {
    text.parse().map_err(refused)
}

/// Several of them, separated by blanks.
pub(super) fn interface_pairs(text: &str) -> Parsed<Vec<LinkPair>> {
    let each = |(at, word)| interface_pair(word).map_err(|error| error.at(at));
    let pairs = Separator::Blanks.words(text).map(each).collect::<Parsed<Vec<_>>>()?;
    if pairs.is_empty() {
        return Err(ValueError::new("no interface is named").with_remedy("name one, such as eth0"));
    }
    Ok(pairs)
}

/// `INSIDE[,OUTSIDE]`, hardware addresses.
///
/// # Errors
///
/// What is no hardware address of one interface.
pub fn link_hardware(text: &str) -> Parsed<LinkHardware> {
    text.parse().map_err(refused)
}

/// `[tcp:|udp:][ADDRESS:]HOST[:CONTAINER]`.
///
/// # Errors
///
/// What is no port, from 1 to 65535, or no address.
pub fn port(text: &str) -> Parsed<Port> {
    text.parse().map_err(refused)
}

/// `auto`, or `ADDRESS/PREFIX[,OUTSIDE]`.
///
/// # Errors
///
/// What is no address of a host in a network of at least two.
pub fn link_address(text: &str) -> Parsed<LinkAddress> {
    text.parse().map_err(refused)
}
