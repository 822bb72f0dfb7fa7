//! Attributes of the payload's process that are no right and no limit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What `uname(2)` says that the machine is, and where the kernel lays things in
/// memory for it (`personality(2)`).
///
/// It changes what programs believe, not what they may do: the filter of the
/// profile lets no 32-bit call through, whatever this says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Personality {
    /// What the machine is.
    #[default]
    Native,
    /// `x86-64`.
    #[serde(rename = "x86-64")]
    X86_64,
    /// `x86`: the 32 bits of an x86-64 machine (`PER_LINUX32`).
    X86,
    /// `arm64`.
    Arm64,
    /// `arm`: the 32 bits of an arm64 machine (`PER_LINUX32`).
    Arm,
}

impl Personality {
    /// All, by the name that systemd gives each.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("native", Self::Native),
        ("x86-64", Self::X86_64),
        ("x86", Self::X86),
        ("arm64", Self::Arm64),
        ("arm", Self::Arm),
    ];

    /// The word for the kernel, on a machine of this architecture.
    pub(crate) fn persona(self) -> Option<u32> {
        const LINUX: u32 = 0;
        const LINUX32: u32 = 8;
        match (self, std::env::consts::ARCH) {
            (Self::Native, _) | (Self::X86_64, "x86_64") | (Self::Arm64, "aarch64") => Some(LINUX),
            (Self::X86, "x86_64") | (Self::Arm, "aarch64") => Some(LINUX32),
            _ => None,
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(_, one)| one == self).map_or("", |(name, _)| name))
    }
}
