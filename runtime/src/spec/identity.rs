//! Who the payload is, and which capabilities it holds.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_sys::abi::{CAPABILITY_NAMES, CapabilitySet, SecureBits, cap};

/// The payload's user, by ids inside the container or by a name of its
/// `/etc/passwd`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum User {
    /// User and group id.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// A name, looked up in the root's `/etc/passwd` before the start, by the
    /// library itself, without following a link out of the root.
    Name(String),
}

impl Default for User {
    fn default() -> Self {
        Self::Ids { uid: 0, gid: 0 }
    }
}

/// One capability, by the kernel's number (`capabilities(7)`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Capability(u8);

impl Capability {
    /// By number; `None` from 64 on.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < 64 { Some(Self(number)) } else { None }
    }

    /// By name, with or without `CAP_`, case-insensitive, or by number.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            return name.parse().ok().and_then(Self::new);
        }
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        // The names are those of crate `caps`; a test holds the two tables together.
        let at = CAPABILITY_NAMES.iter().position(|known| *known == full)?;
        u8::try_from(at).ok().and_then(Self::new)
    }

    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CAPABILITY_NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A list of capabilities. Serialises as names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CapabilityList(pub CapabilitySet);

impl TryFrom<Vec<String>> for CapabilityList {
    type Error = String;
    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.iter().try_fold(Self::default(), |list, name| {
            if name.eq_ignore_ascii_case("all") {
                return Ok(Self(CapabilitySet(u64::MAX)));
            }
            let found = Capability::by_name(name)
                .ok_or_else(|| format!("\"{}\" is not a capability", crate::Escaped::new(&name).short()))?;
            Ok(Self(list.0.with(found.0)))
        })
    }
}

impl From<CapabilityList> for Vec<String> {
    fn from(list: CapabilityList) -> Self {
        if list.0.0 == u64::MAX {
            return vec!["all".to_owned()];
        }
        (0..64).filter(|number| list.0.has(*number)).map(|number| Capability(number).to_string()).collect()
    }
}

/// The payload's capabilities, set by set. The inheritable set holds the
/// ambient ones and nothing else (CVE-2022-24769 and its kin).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Capabilities {
    /// What any process in the container can ever hold, and what a payload
    /// that is root holds. All of them: what the caller has.
    pub bounding: CapabilityList,
    /// What a payload that is not root holds and passes on. Part of `bounding`.
    pub ambient: CapabilityList,
}

impl Capabilities {
    /// What `systemd-nspawn` retains by default.
    #[must_use]
    pub fn nspawn() -> Self {
        Self { bounding: CapabilityList(CapabilitySet(0x0000_0000_fdec_afff)), ambient: CapabilityList::default() }
    }

    /// Whether the payload could administrate the namespaces it lives in.
    #[must_use]
    pub const fn has_admin(self) -> bool {
        self.bounding.0.has(cap::SYS_ADMIN)
    }
}

/// Securebits (`capabilities(7)`, "The securebits flags"), by the kernel's names in
/// small letters: `noroot`, `no-setuid-fixup`, `keep-caps`, `no-cap-ambient-raise`,
/// and each of them with `-locked`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct SecureBitList(pub SecureBits);

impl TryFrom<Vec<String>> for SecureBitList {
    type Error = String;
    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.iter().try_fold(Self::default(), |list, name| {
            let found = SecureBits::NAMES.iter().find(|(_, known)| known == name).ok_or_else(|| {
                let known: Vec<&str> = SecureBits::NAMES.iter().map(|(_, known)| *known).collect();
                format!("\"{}\" is not a securebit; they are {}", crate::Escaped::new(&name).short(), known.join(", "))
            })?;
            Ok(Self(list.0.with(found.0)))
        })
    }
}

impl From<SecureBitList> for Vec<String> {
    fn from(list: SecureBitList) -> Self {
        let set = SecureBits::NAMES.iter().filter(|(bit, _)| list.0.has(*bit));
        set.map(|(_, name)| (*name).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_crate_caps() {
        let known = caps::all();
        assert_eq!(known.len(), CAPABILITY_NAMES.len());
        for capability in known {
            let found = Capability::by_name(&capability.to_string()).unwrap();
            assert_eq!(found.number(), capability.index());
        }
    }

    #[test]
    fn spellings() {
        for name in ["CAP_NET_ADMIN", "net_admin", "cap_net_admin", "12"] {
            assert_eq!(Capability::by_name(name).map(Capability::number), Some(12), "{name}");
        }
        for bad in ["", "CAP_", "CAP_X", "64", "-1", "256", "all"] {
            assert_eq!(Capability::by_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_keep_capabilities_without_a_name() {
        let list: CapabilityList = serde_json::from_str(r#"["CAP_CHOWN","45"]"#).unwrap();
        assert!(list.0.has(0) && list.0.has(45));
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["CAP_CHOWN","45"]"#);
        assert!(serde_json::from_str::<CapabilityList>(r#"["CAP_NOTHING"]"#).is_err());
    }

    #[test]
    fn securebits_by_name() {
        let all: Vec<String> = SecureBitList(SecureBits(0xff)).into();
        assert_eq!(all.len(), 8, "{all:?}");
        assert_eq!(SecureBitList::try_from(all), Ok(SecureBitList(SecureBits(0xff))));
        assert_eq!(SecureBitList::try_from(Vec::new()), Ok(SecureBitList::default()));
        for bad in ["", "NOROOT", "noroot,noroot-locked", "1"] {
            let error = SecureBitList::try_from(vec![bad.to_owned()]).unwrap_err();
            assert!(error.contains("no-cap-ambient-raise-locked"), "{error}");
        }
    }
}
