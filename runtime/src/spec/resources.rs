//! Resource limits of `setrlimit(2)`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use skep_sys::abi::Resource;

use crate::Escaped;

/// Soft and hard value of a resource limit; `None` is "infinity".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What the kernel enforces.
    pub soft: Option<u64>,
    /// Up to where the payload may raise it.
    pub hard: Option<u64>,
}

impl Limit {
    /// The kernel's word for no limit.
    pub const INFINITY: u64 = u64::MAX;

    /// Both values the same.
    #[must_use]
    pub const fn both(value: u64) -> Self {
        Self { soft: Some(value), hard: Some(value) }
    }

    /// As the kernel takes them.
    #[must_use]
    pub fn raw(self) -> (u64, u64) {
        (self.soft.unwrap_or(Self::INFINITY), self.hard.unwrap_or(Self::INFINITY))
    }

    /// Parses `SOFT[:HARD]`, each a number or `infinity`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words. "Unlimited" is only its own word: no `-1`, no
    /// empty value, no overflow.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let one = |part: &str| -> Result<Option<u64>, String> {
            if part == "infinity" {
                return Ok(None);
            }
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("{} is neither a number nor `infinity`", quoted(part)));
            }
            match part.parse() {
                Ok(Self::INFINITY) | Err(_) => Err(format!("{} is too large", quoted(part))),
                Ok(value) => Ok(Some(value)),
            }
        };
        let limit = Self { soft: one(soft)?, hard: one(hard)? };
        let (soft, hard) = limit.raw();
        if soft > hard { Err(format!("the soft limit is above the hard limit in {}", quoted(text))) } else { Ok(limit) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: Option<u64>| value.map_or_else(|| "infinity".to_owned(), |value| value.to_string());
        if self.soft == self.hard {
            f.write_str(&word(self.soft))
        } else {
            write!(f, "{}:{}", word(self.soft), word(self.hard))
        }
    }
}

/// Resource limits by resource.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "BTreeMap<String, Limit>", into = "BTreeMap<String, Limit>")]
pub struct Limits(BTreeMap<Resource, Limit>);

impl Limits {
    /// None beside those of the profile.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets one; a later one wins.
    pub fn set(&mut self, resource: Resource, limit: Limit) {
        self.0.insert(resource, limit);
    }

    /// One, if it is set.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Option<Limit> {
        self.0.get(&resource).copied()
    }

    /// All, by the kernel's number.
    pub fn iter(&self) -> impl Iterator<Item = (Resource, Limit)> {
        self.0.iter().map(|(resource, limit)| (*resource, *limit))
    }
}

impl TryFrom<BTreeMap<String, Limit>> for Limits {
    type Error = String;
    fn try_from(map: BTreeMap<String, Limit>) -> Result<Self, String> {
        map.into_iter()
            .map(|(name, limit)| {
                let resource =
                    Resource::by_name(&name).ok_or_else(|| format!("{} is not a resource limit", quoted(&name)))?;
                if limit.raw().0 > limit.raw().1 {
                    return Err(format!("the soft limit of {name} is above its hard limit"));
                }
                Ok((resource, limit))
            })
            .collect::<Result<_, String>>()
            .map(Self)
    }
}

impl From<Limits> for BTreeMap<String, Limit> {
    fn from(limits: Limits) -> Self {
        limits.0.into_iter().map(|(resource, limit)| (resource.to_string(), limit)).collect()
    }
}

/// A value in a message.
fn quoted(text: &str) -> String {
    format!("\"{}\"", Escaped::new(text).short())
}

/// Parses a number of bytes: digits, then nothing or one of `K M G T`
/// (powers of 1024).
///
/// # Errors
///
/// What is wrong, in words.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(format!("{}: one suffix of K, M, G, T at most", quoted(text))),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} is not a number of bytes", quoted(text)));
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes < u64::MAX / 2)
        .ok_or_else(|| format!("{} is too large", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_133_limits_at_their_boundaries() {
        assert_eq!(Limit::parse("10").unwrap(), Limit::both(10));
        assert_eq!(Limit::parse("10:infinity").unwrap(), Limit { soft: Some(10), hard: None });
        assert_eq!(Limit::parse("infinity").unwrap(), Limit { soft: None, hard: None });
        let largest = (u64::MAX - 1).to_string();
        assert_eq!(Limit::parse(&largest).unwrap(), Limit::both(u64::MAX - 1));
        for bad in
            ["", ":", "-1", "1e9", "max", "unlimited", " 1", "10:", "infinity:5", "7:6", "18446744073709551615", "1K"]
        {
            assert!(Limit::parse(bad).is_err(), "{bad:?}");
        }
        for text in ["10", "10:infinity", "infinity", "1:2"] {
            assert_eq!(Limit::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn bytes_at_their_boundaries() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("1T"), Ok(1 << 40));
        for bad in ["", "M", "-1", "1KK", "1k", "1.5G", "99999999999999999999", "18446744073709551615", "9999999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_from_serde_are_checked() {
        let limits: Limits = serde_json::from_str(r#"{"LimitNOFILE":{"soft":1,"hard":2}}"#).unwrap();
        assert_eq!(limits.get(Resource::NOFILE), Some(Limit { soft: Some(1), hard: Some(2) }));
        assert!(serde_json::from_str::<Limits>(r#"{"X":{"soft":1,"hard":2}}"#).is_err());
        assert!(serde_json::from_str::<Limits>(r#"{"CORE":{"soft":3,"hard":2}}"#).is_err());
    }
}
