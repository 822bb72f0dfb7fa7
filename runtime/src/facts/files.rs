//! Facts about paths: what is there, without holding on to it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use crate::spec::{MountKind, Spec, Volatile};

/// What sort of file a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// Nothing is there, or it cannot be reached.
    #[default]
    Missing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A device node, socket or FIFO.
    Special,
}

/// A path of the host, links followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PathFact {
    /// What it is.
    pub kind: EntryKind,
    /// Its device, which the start proves again on the descriptor it opens.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Whether looking failed for want of permission.
    pub denied: bool,
}

impl PathFact {
    pub(super) fn look(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => {
                Self { kind: kind(metadata.file_type()), device: metadata.dev(), inode: metadata.ino(), denied: false }
            }
            Err(error) => Self { denied: error.kind() == std::io::ErrorKind::PermissionDenied, ..Self::default() },
        }
    }
}

fn kind(of: fs::FileType) -> EntryKind {
    if of.is_dir() {
        EntryKind::Directory
    } else if of.is_file() {
        EntryKind::File
    } else if of.is_block_device() || of.is_char_device() || of.is_fifo() || of.is_socket() {
        EntryKind::Special
    } else {
        EntryKind::Missing
    }
}

/// A path inside the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TargetFact {
    /// What it is.
    pub kind: EntryKind,
    /// How many of its components exist as real directories, links not
    /// followed. The rest is made one by one.
    pub existing: usize,
    /// Whether a component is a symbolic link.
    pub through_link: bool,
}

impl TargetFact {
    /// Walks `target` below `root`, component by component.
    pub(super) fn look(root: &Path, target: &Path) -> Self {
        let mut at = root.to_path_buf();
        let mut fact = Self::default();
        let components = plain_components(target);
        for component in &components {
            at.push(component);
            match fs::symlink_metadata(&at) {
                Ok(metadata) if metadata.file_type().is_symlink() => {
                    fact.through_link = true;
                    // The kernel resolves it beneath the root; here only its
                    // kind matters, and that is asked of the start itself.
                    fact.kind = EntryKind::Directory;
                    return fact;
                }
                Ok(metadata) => {
                    fact.kind = kind(metadata.file_type());
                    fact.existing += usize::from(metadata.is_dir());
                }
                Err(_) => {
                    fact.kind = EntryKind::Missing;
                    return fact;
                }
            }
        }
        if components.is_empty() {
            fact.kind = EntryKind::Directory;
        }
        fact
    }
}

/// The components of an absolute path, without `/`, `.` and `..`.
pub(crate) fn plain_components(path: &Path) -> Vec<&std::ffi::OsStr> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// The path of the host that a path inside shows: through the innermost bind
/// over it, else in the tree. `None` for what exists only inside.
pub(crate) fn behind(spec: &Spec, inside: &Path) -> Option<PathBuf> {
    if ["/proc", "/sys"].iter().any(|place| inside.starts_with(place)) {
        return Some(inside.to_path_buf());
    }
    let mounts = spec.mounts.iter().filter(|mount| inside.starts_with(&mount.target));
    match mounts.max_by_key(|mount| mount.target.components().count()).map(|mount| (mount, &mount.kind)) {
        Some((mount, MountKind::Bind(bind))) => Some(bind.source.join(inside.strip_prefix(&mount.target).ok()?)),
        Some(_) => None,
        None if ["/dev", "/run", "/tmp"].iter().any(|place| inside.starts_with(place)) => None,
        None if spec.root.volatile == Volatile::Yes && !inside.starts_with("/usr") => None,
        None => Some(spec.root.path.join(inside.strip_prefix("/").ok()?)),
    }
}

/// Where `bin`, `lib`, … of a tree point to, if they are links.
pub(super) fn usr_links(root: &Path) -> std::collections::BTreeMap<String, PathBuf> {
    ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), fs::read_link(root.join(name)).ok()?)))
        .collect()
}
