//! Files that a plan makes: contents of the caller, and those of `/etc` that
//! tell a container about its host.

use serde::{Deserialize, Serialize};

use super::{Network, Profile, Secret, Spec};

/// A file with content of the caller's. It lies in memory, over the mount
/// point, and belongs to root inside. The content is never printed.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct File {
    /// At most 1 MiB.
    pub content: Secret,
    /// Permission bits; nobody can write whatever they say.
    #[serde(default = "readable")]
    pub mode: u32,
}

const fn readable() -> u32 {
    0o444
}

impl File {
    /// Readable for everybody.
    pub fn new(content: impl Into<Secret>) -> Self {
        Self { content: content.into(), mode: readable() }
    }
}

/// A file for the payload's user alone: mode 0400, in memory that is never
/// swapped out (ramfs). The content is in no plan that is printed, no argument,
/// no environment, on no disk.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SecretFile {
    /// At most 1 MiB.
    pub content: Secret,
}

impl SecretFile {
    /// With this content.
    pub fn new(content: impl Into<Secret>) -> Self {
        Self { content: content.into() }
    }
}

/// What `/etc/resolv.conf` is inside (`systemd-nspawn(1)`, `--resolv-conf=`).
///
/// Nothing is written into the tree, but for what a machine has deleted: a *copy* is a file in memory with what
/// the host's file said at the start, over the tree's; a *bind* is the host's
/// file itself, read-only. A copy leaves a symbolic link of the tree alone, the
/// two others lie over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ResolvConf {
    /// The tree's own.
    Off,
    /// A copy of `/etc/resolv.conf`.
    CopyHost,
    /// A copy of `/usr/lib/systemd/resolv.conf`.
    CopyStatic,
    /// A copy of `/run/systemd/resolve/resolv.conf`.
    CopyUplink,
    /// A copy of `/run/systemd/resolve/stub-resolv.conf`.
    CopyStub,
    /// As `copy-host`, also over a symbolic link.
    ReplaceHost,
    /// As `copy-static`, also over a symbolic link.
    ReplaceStatic,
    /// As `copy-uplink`, also over a symbolic link.
    ReplaceUplink,
    /// As `copy-stub`, also over a symbolic link.
    ReplaceStub,
    /// A bind of `/etc/resolv.conf`.
    BindHost,
    /// A bind of `/usr/lib/systemd/resolv.conf`.
    BindStatic,
    /// A bind of `/run/systemd/resolve/resolv.conf`.
    BindUplink,
    /// A bind of `/run/systemd/resolve/stub-resolv.conf`.
    BindStub,
    /// None: in a machine (profile `nspawn`) the tree's is removed, where the tree can be
    /// written; else an empty file.
    Delete,
    /// With a network of its own, or one that is entered: the tree's. Else, and in a machine
    /// that enters one without making it its own, a copy of the host's, where
    /// the tree has such a file or its changes are thrown away. Where the host has none, a
    /// machine has none: an empty file lies over the tree's.
    #[default]
    Auto,
}

/// How the host's file gets over the tree's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// A file in memory, not over a link.
    Copy,
    /// A file in memory.
    Replace,
    /// The host's file.
    Bind,
}

impl ResolvConf {
    /// The host's file and how it gets there; `None` for neither.
    pub(crate) fn of(self, spec: &Spec) -> Option<(&'static str, How)> {
        const HOST: &str = "/etc/resolv.conf";
        const STATIC: &str = "/usr/lib/systemd/resolv.conf";
        const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
        const STUB: &str = "/run/systemd/resolve/stub-resolv.conf";
        // A machine's network is private if it is its own (`systemd-nspawn(1)`).
        let shared = match spec.network {
            Network::Host => true,
            Network::Path(_) | Network::Given => spec.profile == Profile::Nspawn,
            Network::None | Network::Own(_) => false,
        };
        Some(match self {
            Self::Auto if shared => (HOST, How::Copy),
            Self::Off | Self::Delete | Self::Auto => return None,
            Self::CopyHost => (HOST, How::Copy),
            Self::CopyStatic => (STATIC, How::Copy),
            Self::CopyUplink => (UPLINK, How::Copy),
            Self::CopyStub => (STUB, How::Copy),
            Self::ReplaceHost => (HOST, How::Replace),
            Self::ReplaceStatic => (STATIC, How::Replace),
            Self::ReplaceUplink => (UPLINK, How::Replace),
            Self::ReplaceStub => (STUB, How::Replace),
            Self::BindHost => (HOST, How::Bind),
            Self::BindStatic => (STATIC, How::Bind),
            Self::BindUplink => (UPLINK, How::Bind),
            Self::BindStub => (STUB, How::Bind),
        })
    }

    /// Whether anything lies over the tree's file.
    pub(crate) fn is_wanted(self, spec: &Spec) -> bool {
        self == Self::Delete || self.of(spec).is_some()
    }
}

/// What `/etc/localtime` is inside (`systemd-nspawn(1)`, `--timezone=`).
/// Nothing is written into the tree, but for what a machine has deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Timezone {
    /// The tree's own.
    #[default]
    Off,
    /// A file in memory with the host's zone.
    Copy,
    /// The host's file, read-only.
    Bind,
    /// A symbolic link to the same zone of the container's own `/usr`, where
    /// the root is a tmpfs; else as `bind`.
    Symlink,
    /// None: in a machine (profile `nspawn`) the tree's is removed, where the tree can be
    /// written; else an empty file.
    Delete,
    /// `symlink` on a tmpfs root; else `bind`, where the tree has such a file
    /// or its changes are thrown away.
    Auto,
}

/// Which files of the kernel a machine can write, beyond their own permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KernelFiles {
    /// `/proc/sys/net` of a network of its own; all else of `/proc/sys` and `/sys` is
    /// read-only, and what tells of the host is masked.
    #[default]
    ReadOnly,
    /// `/proc/sys/net` of whatever network it has: with the host's, that is the host's.
    Network,
    /// All: nothing is covered, masked or read-only. Its root then is the host's.
    Writable,
}

/// What `/etc/hosts` is inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Hosts {
    /// The tree's own.
    #[default]
    Off,
    /// `localhost` and the container's hostname.
    Generate,
    /// A file in memory with what the host's said at the start.
    CopyHost,
    /// The host's file, read-only.
    BindHost,
}

impl Hosts {
    /// The host's file, where it matters.
    pub(crate) fn source(self) -> Option<&'static str> {
        matches!(self, Self::CopyHost | Self::BindHost).then_some("/etc/hosts")
    }
}
