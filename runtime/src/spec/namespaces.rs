//! Namespaces, the user namespace's map, the network.

use serde::{Deserialize, Serialize};

/// Whether a namespace is new or the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Namespace {
    /// Made for this container.
    #[default]
    New,
    /// Shared with the caller.
    Host,
}

/// Every kind of namespace but user and network, which have fields of their
/// own, and mount, which is always new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NamespaceChoice {
    /// Process ids. Shared: `/proc` shows the host's processes.
    pub pid: Namespace,
    /// System V IPC and message queues.
    pub ipc: Namespace,
    /// Hostname.
    pub uts: Namespace,
    /// The view of the cgroup tree.
    pub cgroup: Namespace,
    /// Clock offsets. Shared by default: a new one changes nothing by itself.
    pub time: Namespace,
}

impl Default for NamespaceChoice {
    fn default() -> Self {
        Self {
            pid: Namespace::New,
            ipc: Namespace::New,
            uts: Namespace::New,
            cgroup: Namespace::New,
            time: Namespace::Host,
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
    /// None: the caller's.
    Host,
}

/// The network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Network {
    /// A namespace of its own with nothing but `lo`, up.
    #[default]
    None,
    /// The caller's.
    Host,
}
