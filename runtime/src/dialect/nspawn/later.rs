//! Values of keys that are not acted on yet: their syntax, and which of them ask
//! for what happens anyhow.
//!
//! When a key's behaviour arrives, its function goes from here to
//! [`super::value`] and returns the value, and its row in [`super::table`] says
//! where the value is kept.

use super::mounts;
use super::value::{self, Parsed, ValueError, decimal};
use crate::dialect::problem::quoted;

/// What becomes of a value today.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Today {
    /// It asks for what happens anyhow, such as `Boot=no`.
    Anyhow,
    /// It asks for what this version does not do.
    NotYet,
}

use Today::{Anyhow, NotYet};

fn bad<T>(text: &str, what: &str, remedy: &str) -> Parsed<T> {
    Err(ValueError::new(format!("{} is not {what}", quoted(text))).with_remedy(remedy))
}

/// One of a few words.
fn word(text: &str, what: &str, words: &[&str]) -> Parsed<Today> {
    if words.contains(&text) { Ok(NotYet) } else { bad(text, what, &format!("write one of {}", words.join(", "))) }
}

/// Every word of a value, separated by blanks.
fn each(text: &str, check: impl Fn(&str) -> Parsed<()>) -> Parsed<Today> {
    value::Separator::Blanks.words(text).try_for_each(|(at, word)| check(word).map_err(|error| error.at(at)))?;
    Ok(NotYet)
}

/// A boolean of which only `no` is what happens.
pub(super) fn off_or_later(text: &str) -> Parsed<Today> {
    Ok(if value::boolean(text)? { NotYet } else { Anyhow })
}

/// `NEW[:OLD]`.
pub(super) fn pivot_root(text: &str) -> Parsed<Today> {
    let (new, after) = mounts::field(text.as_ref(), 0)?;
    let new = value::inside(new)?;
    let Some(at) = after else {
        return Ok(NotYet);
    };
    let (old, rest) = mounts::field(text.as_ref(), at)?;
    let old = value::inside(old).map_err(|error| error.at(at))?;
    if let Some(at) = rest {
        return Err(ValueError::new("two paths are the most").with_remedy("write NEW or NEW:OLD").at(at));
    }
    if old == new {
        return Err(ValueError::new("the old root cannot be put where the new one is")
            .with_remedy("name another directory")
            .at(at));
    }
    Ok(NotYet)
}

/// How many further id ranges are delegated.
pub(super) fn delegate(text: &str) -> Parsed<Today> {
    match decimal(text) {
        Some(0) => Ok(Anyhow),
        Some(1..=16) => Ok(NotYet),
        _ => bad(text, "a number of ranges", "write a number from 0 to 16"),
    }
}

/// The link to the host's journal.
pub(super) fn link_journal(text: &str) -> Parsed<Today> {
    match value::as_boolean(text) {
        Some(false) => Ok(Anyhow),
        Some(true) => Ok(NotYet),
        None => word(text, "a journal mode", &["no", "auto", "host", "try-host", "guest", "try-guest"]),
    }
}

/// Who owns the files of the tree.
pub(super) fn ownership(text: &str) -> Parsed<Today> {
    match text {
        "off" => Ok(Anyhow),
        _ => word(text, "a mode of ownership", &["off", "chown", "map", "foreign", "auto"]),
    }
}

/// Names of users of the host; empty for none.
pub(super) fn users(text: &str) -> Parsed<Today> {
    if text.is_empty() {
        return Ok(Anyhow);
    }
    each(text, |name| match value::user(name)? {
        crate::spec::User::Ids { .. } if name != "root" => {
            bad(name, "the name of a user", "write the name, not the number")
        }
        _ => Ok(()),
    })
}

/// A boolean or the path of a shell; empty for the default, which is `no`.
pub(super) fn shell(text: &str) -> Parsed<Today> {
    match value::as_boolean(text) {
        _ if text.is_empty() => Ok(Anyhow),
        Some(false) => Ok(Anyhow),
        Some(true) => Ok(NotYet),
        None => value::inside(text).map(|_| NotYet),
    }
}

/// The name of a network interface (`dev_valid_name()` of Linux).
fn interface_named(text: &str, most: usize) -> Parsed<()> {
    let right = !text.is_empty()
        && text.len() <= most
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    // A number would be taken for an index.
    if right && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    bad(
        text,
        "the name of an interface",
        &format!("a name has up to {most} letters, digits and signs, but no `/`, `:` and `%`, and is no number"),
    )
}

/// The longest name of an interface (`IFNAMSIZ`, less the NUL).
const INTERFACE: usize = 15;

/// The name of a bridge.
pub(super) fn interface_name(text: &str) -> Parsed<Today> {
    interface_named(text, INTERFACE).map(|()| NotYet)
}

/// The name of a zone, whose bridge is called `vz-NAME`.
pub(super) fn zone(text: &str) -> Parsed<Today> {
    interface_named(text, INTERFACE - "vz-".len()).map(|()| NotYet)
}

/// `HOST[:CONTAINER]`. Of the host's name, an alternative one is as good: up to
/// 127 bytes (`ALTIFNAMSIZ`).
fn pair(text: &str) -> Parsed<()> {
    let (host, inside) = match text.split_once(':') {
        Some((host, inside)) => (host, Some(inside)),
        None => (text, None),
    };
    interface_named(host, 127)?;
    match inside {
        Some(inside) => interface_named(inside, INTERFACE).map_err(|error| error.at(host.len() + 1)),
        None => Ok(()),
    }
}

/// One `HOST[:CONTAINER]`.
pub(super) fn interface(text: &str) -> Parsed<Today> {
    pair(text).map(|()| NotYet)
}

/// Several of them, separated by blanks.
pub(super) fn interfaces(text: &str) -> Parsed<Today> {
    each(text, pair)
}

/// `[tcp:|udp:]HOST[:CONTAINER]`.
pub(super) fn port(text: &str) -> Parsed<Today> {
    let ports = text.strip_prefix("tcp:").or_else(|| text.strip_prefix("udp:")).unwrap_or(text);
    let start = text.len() - ports.len();
    let (host, inside) = ports.split_once(':').unwrap_or((ports, ports));
    let number = |text: &str| decimal(text).filter(|port| (1..=65535).contains(port)).is_some();
    if number(host) && number(inside) {
        return Ok(NotYet);
    }
    let at = if number(host) { start + host.len() + 1 } else { start };
    Err(ValueError::new(format!("{} is not a port", quoted(text)))
        .with_remedy("write HOST or HOST:CONTAINER with numbers from 1 to 65535, and `tcp:` or `udp:` before it")
        .at(at.min(text.len())))
}
