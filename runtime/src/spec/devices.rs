//! Device nodes, and who may use them how.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device node of the host, bound by its number.
///
/// The node keeps its owner and mode, so in a user namespace it must be open
/// to everybody, or belong to an id that the container maps.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Device {
    /// On the host, below `/dev`.
    pub source: PathBuf,
    /// What the container's cgroup lets do with it. Anything but `rw` or `rwm`
    /// needs a cgroup with a device policy.
    #[serde(default)]
    pub access: DeviceAccess,
    /// Where the node does not exist, it is left out, and the report says so.
    #[serde(default)]
    pub optional: bool,
}

impl Device {
    /// To be read and written, and required.
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), access: DeviceAccess::default(), optional: false }
    }
}

/// Kinds of access to a device: a word of `r`, `w` and `m` (kernel
/// `admin-guide/cgroup-v1/devices.rst`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct DeviceAccess {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make a node of it, where the payload has the capability for that.
    pub mknod: bool,
}

/// `rw`.
impl Default for DeviceAccess {
    fn default() -> Self {
        Self { read: true, write: true, mknod: false }
    }
}

impl FromStr for DeviceAccess {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let count = |letter: char| word.chars().filter(|found| *found == letter).count();
        let (read, write, mknod) = (count('r'), count('w'), count('m'));
        if word.is_empty() || word.chars().count() != read + write + mknod || read.max(write).max(mknod) > 1 {
            return Err(format!("{word:?} is no access to a device: r, w and m, each at most once"));
        }
        Ok(Self { read: read == 1, write: write == 1, mknod: mknod == 1 })
    }
}

impl TryFrom<String> for DeviceAccess {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.mknod, "m")];
        letters.into_iter().filter(|(on, _)| *on).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl From<DeviceAccess> for String {
    fn from(access: DeviceAccess) -> Self {
        access.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_words() {
        for word in ["r", "rw", "rwm", "wm", "m"] {
            assert_eq!(word.parse::<DeviceAccess>().unwrap().to_string(), word);
        }
        assert_eq!("mwr".parse::<DeviceAccess>().unwrap().to_string(), "rwm");
        for bad in ["", "x", "rr", "rwx", "rw ", "R"] {
            assert!(bad.parse::<DeviceAccess>().is_err(), "{bad:?}");
        }
    }
}
