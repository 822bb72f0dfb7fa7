//! Values of keys that are not acted on: their syntax, and which of them ask for what
//! happens anyhow. Every other is refused, with the reason.

use super::table::{KEYS, Read};
use super::value::{Parsed, ValueError, decimal};
use crate::dialect::problem::quoted;

fn bad<T>(text: &str, what: &str, remedy: &str) -> Parsed<T> {
    Err(ValueError::new(format!("{} is not {what}", quoted(text))).with_remedy(remedy))
}

/// Reads a value of a key that is not acted on: `PrivateUsersDelegate`, `0`.
///
/// # Errors
///
/// The value is wrong, or asks for what is not done; or the key is acted on, and its
/// value is for the function of its name.
pub fn happens_anyhow(key: &str, text: &str) -> Parsed<()> {
    let later = KEYS.iter().find_map(|known| match known.read {
        Read::Anyhow(check) if known.name == key => Some(check),
        _ => None,
    });
    match later {
        Some(check) => check(text),
        None => bad(key, "a key of which nothing becomes", "read its value by the function of its name"),
    }
}

/// How many further ranges of ids systemd-nsresourced is to hand out inside.
pub(super) fn delegate(text: &str) -> Parsed<()> {
    match decimal(text) {
        Some(0) => Ok(()),
        Some(1..=16) => Err(ValueError::new(
            "further ranges are handed out inside by systemd-nsresourced, of which nothing inside is given a socket",
        )
        .with_remedy(
            "leave it out; for nested ids give one large range: BASE:COUNT of --private-users= or PrivateUsers=",
        )),
        _ => bad(text, "a number of ranges", "write a number from 0 to 16"),
    }
}
