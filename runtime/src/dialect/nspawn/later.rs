//! Values of keys that are not acted on yet: their syntax, and which of them ask
//! for what happens anyhow.
//!
//! When a key's behaviour arrives, its function goes from here to
//! [`super::value`] and returns the value, and its row in [`super::table`] says
//! where the value is kept.

use super::table::{KEYS, Read};
use super::value::{Parsed, ValueError, decimal};
use crate::dialect::problem::{excerpt, quoted};

/// What becomes of a value today.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Today {
    /// It asks for what happens anyhow, such as `LinkJournal=no`.
    Anyhow,
    /// It asks for what this version does not do.
    NotYet,
}

use Today::{Anyhow, NotYet};

fn bad<T>(text: &str, what: &str, remedy: &str) -> Parsed<T> {
    Err(ValueError::new(format!("{} is not {what}", quoted(text))).with_remedy(remedy))
}

/// Reads a value of a key that is not acted on yet: `LinkJournal`, `no`.
///
/// # Errors
///
/// The value is wrong, or asks for what this version does not do; or the key is
/// acted on, and its value is for the function of its name.
pub fn happens_anyhow(key: &str, text: &str) -> Parsed<()> {
    let later = KEYS.iter().find_map(|known| match known.read {
        Read::Later(check) if known.name == key => Some(check),
        _ => None,
    });
    match later.map(|check| check(text)).transpose()? {
        Some(Anyhow) => Ok(()),
        _ => Err(ValueError::not_yet(&format!("`{key}={}`", excerpt(text)))),
    }
}

/// How many further id ranges are delegated.
pub(super) fn delegate(text: &str) -> Parsed<Today> {
    match decimal(text) {
        Some(0) => Ok(Anyhow),
        Some(1..=16) => Ok(NotYet),
        _ => bad(text, "a number of ranges", "write a number from 0 to 16"),
    }
}
