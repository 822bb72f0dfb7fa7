//! Where a container's journal is.

use serde::{Deserialize, Serialize};

/// Whether the host sees the journal of a machine, at `/var/log/journal/ID`
/// (`systemd-nspawn(1)`, `--link-journal=`). `ID` is the machine's, which
/// `$container_uuid` says, and not the host's. Of the profile `nspawn` alone.
///
/// What is there stays when the container ends: this is what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LinkJournal {
    /// It does not.
    #[default]
    No,
    /// Where the host has that directory, it is the machine's too.
    Auto,
    /// The directory is the host's, made where it is missing (but nothing above it),
    /// and bound into the machine.
    Host,
    /// The same, if that can be done.
    TryHost,
    /// The directory is the tree's, and the host has a link to it.
    Guest,
    /// The same, if that can be done.
    TryGuest,
}

impl LinkJournal {
    /// What cannot be done is no error.
    pub(crate) const fn is_tried(self) -> bool {
        matches!(self, Self::Auto | Self::TryHost | Self::TryGuest)
    }
}
