//! What the kernel's Landlock shall keep from the payload.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skep_sys::abi::landlock;

use super::Want;

/// Rules of `landlock(7)`: less than what ids, mounts and namespaces leave, for
/// the payload and all that it starts, for good.
///
/// A layer that is [`Want::Require`]d is in force whole, or the start is refused.
/// One that is wanted [`Want::IfSupported`] is in force as far as the kernel
/// knows it; the report says `fully`, or `partly` and what is missing, or why it
/// is not. Every layer needs `no_new_privileges`.
///
/// What Landlock does not do: it says nothing of `chdir`, `stat`, `chmod` and
/// the like, nor of UDP, nor of what is open already. While the layer of files
/// is on, the payload can mount nothing, whatever its capabilities.
///
/// A stub init is under the rules too, unless the payload has ambient
/// capabilities. A process that [`crate::Container::exec`] brings in has rules of
/// its own, made of the same paths: with scopes, it and the payload are outside
/// for each other.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Landlock {
    /// Whether files are restricted to what `paths` says. Off by default.
    pub files: Want,
    /// What may be done with a file, or in a directory and below; the rights of
    /// several rules add up.
    pub paths: Vec<PathRule>,
    /// Whether TCP is restricted to the ports of `bind` and `connect`. Off by
    /// default.
    pub tcp: Want,
    /// Ports that a TCP socket may be bound to; 0 is one that the kernel picks.
    pub bind: BTreeSet<u16>,
    /// Ports that a TCP socket may be connected to.
    pub connect: BTreeSet<u16>,
    /// Whether abstract unix sockets of processes outside are out of reach.
    /// Absent: if supported where `strict` shares the caller's network, else off.
    pub abstract_sockets: Option<Want>,
    /// Whether no process outside can be signalled. Off by default.
    pub signals: Want,
}

impl Default for Landlock {
    fn default() -> Self {
        Self {
            files: Want::Off,
            paths: Vec::new(),
            tcp: Want::Off,
            bind: BTreeSet::new(),
            connect: BTreeSet::new(),
            abstract_sockets: None,
            signals: Want::Off,
        }
    }
}

/// A path inside, and what may be done there.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PathRule {
    /// Absolute, without `..`. It must exist inside; links are followed there.
    pub path: PathBuf,
    /// At least one. For a file, rights of directories count for nothing.
    pub access: BTreeSet<FileAccess>,
}

impl PathRule {
    /// These rights at a path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, access: impl IntoIterator<Item = FileAccess>) -> Self {
        Self { path: path.into(), access: access.into_iter().collect() }
    }
}

/// A right over files: three bundles, and the kernel's own (`landlock(7)`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileAccess {
    /// `read-file` and `read-dir`.
    Read,
    /// Every right but `read` and `execute`.
    Write,
    /// Executing a file; `read` of it, its interpreter and its libraries is
    /// needed beside.
    Execute,
    /// Opening a file to write.
    WriteFile,
    /// Opening a file to read.
    ReadFile,
    /// Listing a directory.
    ReadDir,
    /// Removing or renaming an empty directory.
    RemoveDir,
    /// Removing or renaming what is no directory.
    RemoveFile,
    /// Making a character device.
    MakeChar,
    /// Making a directory.
    MakeDir,
    /// Making a regular file.
    MakeReg,
    /// Making a unix socket.
    MakeSock,
    /// Making a named pipe.
    MakeFifo,
    /// Making a block device.
    MakeBlock,
    /// Making a symbolic link.
    MakeSym,
    /// Linking or renaming from or into another directory (Linux 5.19; refused
    /// before that).
    Refer,
    /// Truncating a file (6.2).
    Truncate,
    /// `ioctl(2)` on a device (6.10).
    IoctlDev,
}

impl FileAccess {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::Read,
        Self::Write,
        Self::Execute,
        Self::WriteFile,
        Self::ReadFile,
        Self::ReadDir,
        Self::RemoveDir,
        Self::RemoveFile,
        Self::MakeChar,
        Self::MakeDir,
        Self::MakeReg,
        Self::MakeSock,
        Self::MakeFifo,
        Self::MakeBlock,
        Self::MakeSym,
        Self::Refer,
        Self::Truncate,
        Self::IoctlDev,
    ];

    /// The word of the formats and the tool: `read`, `write-file`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => landlock::FILES[0].0,
            Self::WriteFile => landlock::FILES[1].0,
            Self::ReadFile => landlock::FILES[2].0,
            Self::ReadDir => landlock::FILES[3].0,
            Self::RemoveDir => landlock::FILES[4].0,
            Self::RemoveFile => landlock::FILES[5].0,
            Self::MakeChar => landlock::FILES[6].0,
            Self::MakeDir => landlock::FILES[7].0,
            Self::MakeReg => landlock::FILES[8].0,
            Self::MakeSock => landlock::FILES[9].0,
            Self::MakeFifo => landlock::FILES[10].0,
            Self::MakeBlock => landlock::FILES[11].0,
            Self::MakeSym => landlock::FILES[12].0,
            Self::Refer => landlock::FILES[13].0,
            Self::Truncate => landlock::FILES[14].0,
            Self::IoctlDev => landlock::FILES[15].0,
        }
    }

    /// By its word.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|access| access.name() == name)
    }

    /// As the kernel takes it.
    pub(crate) fn bits(self) -> u64 {
        const READ: u64 = 0b1100;
        match self {
            Self::Read => READ,
            Self::Write => ((1 << landlock::FILES.len()) - 1) & !READ & !1,
            named => landlock::FILES.iter().position(|(name, _)| *name == named.name()).map_or(0, |bit| 1 << bit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_the_kernels() {
        for access in FileAccess::ALL {
            assert_eq!(FileAccess::by_name(access.name()), Some(access));
            let json = serde_json::to_string(&access).unwrap();
            assert_eq!(json, format!("{:?}", access.name()));
        }
        let all = FileAccess::ALL.map(FileAccess::bits);
        assert_eq!(all[..3], [0b1100, 0xfff2, 1]);
        assert_eq!(all[3..], std::array::from_fn::<u64, 15, _>(|bit| 2 << bit));
        assert_eq!(FileAccess::by_name("refers"), None);
    }
}
