//! Where the host keeps the journals of machines, and what is there of one.

use std::fs;
use std::path::{Path, PathBuf};

/// Of the host and of a machine alike.
pub(crate) const JOURNALS: &str = "/var/log/journal";

/// What is at the place of a machine's journal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum JournalPlace {
    /// Nothing.
    #[default]
    Missing,
    /// A directory.
    Directory,
    /// A directory on which something is mounted.
    MountPoint,
    /// A symbolic link, and where it leads.
    Link(PathBuf),
    /// Something else, or what cannot be looked at.
    Other,
}

/// What matters for the journal of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct JournalFacts {
    /// The host's own id.
    pub host: Option<String>,
    /// What the host has at the machine's directory.
    pub place: JournalPlace,
    /// Why the start could not make what is to be there.
    pub failed: Option<String>,
}

/// The directory of the journal of the machine `id`.
pub(crate) fn directory_of(id: &str) -> PathBuf {
    Path::new(JOURNALS).join(id)
}

impl JournalPlace {
    pub(crate) fn look(path: &Path) -> Self {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => fs::read_link(path).map_or(Self::Other, Self::Link),
            Ok(found) if found.is_dir() && is_mount_point(path) => Self::MountPoint,
            Ok(found) if found.is_dir() => Self::Directory,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Other,
        }
    }
}

/// Whether the table of mounts has it. An id has no character that is escaped there.
fn is_mount_point(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).map(Path::new) == Some(path))
}
