//! Namespaces, the user namespace's map, the network.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whether a namespace is new, the caller's, or another's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Namespace {
    /// Made for this container.
    #[default]
    New,
    /// Shared with the caller.
    Host,
    /// That of a file such as `/run/netns/NAME` or `/proc/PID/ns/ipc`, which is
    /// proved to be a namespace of the kind. The container is born in it, with
    /// no rights over it unless it has no user namespace of its own. Root only.
    Path(PathBuf),
    /// The same, by a descriptor that the embedder gives
    /// ([`crate::Command::join`]).
    Given,
}

impl Namespace {
    /// Whether it is made by somebody else and entered.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Given)
    }
}

/// Every kind of namespace but user and network, which have fields of their
/// own, and mount, which is always new.
///
/// Neither a user namespace nor a mount namespace is ever joined: what a
/// container may do inside the one, and sees of the other, would be somebody
/// else's word, and no guarantee could be given.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NamespaceChoice {
    /// Process ids. Shared: `/proc` shows the host's processes. Another's: the
    /// command is one process more there, and its cgroup ends with it; only without a user namespace, whose root may not mount that `/proc`.
    pub pid: Namespace,
    /// System V IPC and message queues.
    pub ipc: Namespace,
    /// Hostname.
    pub uts: Namespace,
    /// The view of the cgroup tree.
    pub cgroup: Namespace,
    /// Clock offsets. Shared by default: a new one changes nothing by itself.
    /// Another's only without a user namespace of one's own.
    pub time: Namespace,
    /// What is added to the clocks of a new time namespace.
    pub time_offsets: TimeOffsets,
}

/// Offsets of a new time namespace, in whole seconds (`time_namespaces(7)`).
/// The clock of the day has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TimeOffsets {
    /// Added to `CLOCK_MONOTONIC`. The result must not be negative.
    pub monotonic: i64,
    /// Added to `CLOCK_BOOTTIME`, which `/proc/uptime` shows.
    pub boottime: i64,
}

impl Default for NamespaceChoice {
    fn default() -> Self {
        Self {
            pid: Namespace::New,
            ipc: Namespace::New,
            uts: Namespace::New,
            cgroup: Namespace::New,
            time: Namespace::Host,
            time_offsets: TimeOffsets::default(),
        }
    }
}

/// A range of ids outside, mapped to 0 and up inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    /// First id outside.
    pub base: u32,
    /// How many.
    pub count: u32,
}

/// The user namespace and the ids in it (`user_namespaces(7)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UserNamespace {
    /// What suits the caller: an ordinary user gets `Own`; root gets `Pick`.
    #[default]
    Auto,
    /// The caller's own id, mapped to the payload's user, and nothing else.
    Own,
    /// The caller's own id as root, and the ranges of `/etc/subuid` and
    /// `/etc/subgid` from 1 up, through `newuidmap(1)` for an ordinary user.
    Subordinate,
    /// A free range of 65536, held by a lock while the container lives. Root only.
    Pick,
    /// This range. Root only. A range that holds host id 0 is refused, except
    /// for [`UserNamespace::Identity`].
    Range(IdRange),
    /// The first 65536 ids, unchanged: isolates capabilities, not ids. Root only.
    Identity,
    /// The 65536 ids that the owner of the root directory belongs to: from that
    /// id on, its low 16 bits cleared. So a tree that was given to a range of ids
    /// runs with those; of one that is the host's own the ids are unchanged.
    /// Root only. Held by no lock: several containers may share a tree.
    Owner,
    /// Ids that Skep gives, as no namespace-resource service is asked for them
    /// (`systemd-nsresourced(8)`): root gets `Pick`, an ordinary user
    /// `Subordinate`.
    Managed,
    /// None: the caller's.
    Host,
}

/// The network.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Network {
    /// A namespace of its own with `lo`, up, and what [`super::Links`] adds. The only one in which
    /// no abstract socket of somebody else can be reached.
    #[default]
    None,
    /// The caller's: the payload reaches what the caller reaches, services on
    /// `127.0.0.1` and abstract sockets included. The report says so.
    Host,
    /// The namespace of a file, such as `/run/netns/NAME`: as
    /// [`Namespace::Path`].
    Path(PathBuf),
    /// The same, and the container's to administer, as `systemd-nspawn` has it with
    /// `--private-network` as well: `lo` is brought up, `/sys` is that of this network,
    /// in the profile `nspawn` its settings can be written. In a user namespace of its
    /// own it is as [`Network::Path`]: the network is another's, whose rights count.
    #[serde(rename = "own-path")]
    Own(PathBuf),
    /// The namespace of a descriptor that the embedder gives.
    Given,
}
