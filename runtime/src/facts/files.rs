//! Facts about paths: what is there, without holding on to it.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use skep_sys::Errno;

use super::tree::Tree;
use crate::profile;
use crate::spec::{MountKind, Overlay, Root, Spec, Volatile};

/// What sort of file a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// Nothing is there, or it cannot be looked at.
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
    /// Why looking failed, where it was for another reason than that nothing is
    /// there.
    pub failed: Option<Errno>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What it is a node of, if it is one.
    pub node: Option<DeviceNumber>,
}

/// A device, by its number (kernel `admin-guide/devices.txt`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[non_exhaustive]
pub struct DeviceNumber {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DeviceNumber {
    /// A character device.
    #[must_use]
    pub const fn character(major: u32, minor: u32) -> Self {
        Self { block: false, major, minor }
    }
}

/// As the kernel and `ls` write it: `c 10:229`.
impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{}", if self.block { 'b' } else { 'c' }, self.major, self.minor)
    }
}

/// The owner of a tree's top while it is given to other ids; below it all may be
/// anybody's. The number is that of `systemd-nspawn`, which goes on with it too.
pub(crate) const BUSY: u32 = 0xfffe_0000;

impl PathFact {
    /// The first of the 65536 ids that it belongs to; `None` where user and group
    /// are of different ones.
    pub(crate) const fn base(&self) -> Option<u32> {
        let (uid, gid) = (self.uid & 0xffff_0000, self.gid & 0xffff_0000);
        if uid == gid { Some(uid) } else { None }
    }

    /// Looks at a path that the caller names; links count.
    pub(crate) fn look(path: &Path) -> Self {
        Self::of(fs::metadata(path))
    }

    /// Looks at a path of the tree. The tree is not the caller's word:
    /// a link in it, which could lead out, is nothing. The host's own root is
    /// nobody's but the host's.
    pub(super) fn look_in(tree: &Tree, below: &Path) -> Self {
        match tree.is_hosts() {
            true => Self::look(&Path::new("/").join(below)),
            false => Self::of(tree.find(below, false).and_then(|file| file.metadata())),
        }
    }

    fn of(found: std::io::Result<fs::Metadata>) -> Self {
        let metadata = match found {
            Ok(metadata) => metadata,
            Err(error) => {
                let failed = match crate::watcher::errno_of(&error) {
                    Errno::ENOENT | Errno::ENOTDIR => None,
                    errno => Some(errno),
                };
                return Self { failed, ..Self::default() };
            }
        };
        let of = metadata.file_type();
        let number = metadata.rdev();
        Self {
            kind: kind(of),
            device: metadata.dev(),
            inode: metadata.ino(),
            failed: None,
            uid: metadata.uid(),
            gid: metadata.gid(),
            node: (of.is_block_device() || of.is_char_device()).then(|| DeviceNumber {
                block: of.is_block_device(),
                major: nix::sys::stat::major(number) as u32,
                minor: nix::sys::stat::minor(number) as u32,
            }),
        }
    }
}

/// A handle on what a tree has at `path`: through no link, or through links
/// that take the tree for `/`.
pub(super) fn find_in(root: &Path, path: &Path, links: bool) -> std::io::Result<fs::File> {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
    let handle = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(root, handle | OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty())?;
    let links = if links { ResolveFlag::RESOLVE_NO_MAGICLINKS } else { ResolveFlag::RESOLVE_NO_SYMLINKS };
    let how = OpenHow::new().flags(handle).resolve(ResolveFlag::RESOLVE_IN_ROOT | links);
    Ok(openat2(&root, if path.as_os_str().is_empty() { Path::new(".") } else { path }, how)?.into())
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
    /// Whether that is the last one.
    pub is_link: bool,
    /// Its owner on disk, if it exists.
    pub uid: u32,
    /// Its group on disk, if it exists.
    pub gid: u32,
}

impl TargetFact {
    /// Walks `target` in the tree, component by component.
    pub(super) fn look(tree: &Tree, target: &Path) -> Self {
        let mut at = tree.directory();
        let mut fact = Self::default();
        let components = plain_components(target);
        for (place, component) in components.iter().enumerate() {
            match at.entry(component) {
                Ok(entry) if entry.metadata.file_type().is_symlink() => {
                    fact.through_link = true;
                    fact.is_link = place + 1 == components.len();
                    // The kernel resolves it beneath the root; here only its
                    // kind matters, and that is asked of the start itself.
                    fact.kind = EntryKind::Directory;
                    return fact;
                }
                Ok(entry) => {
                    fact.kind = kind(entry.metadata.file_type());
                    fact.existing += usize::from(entry.metadata.is_dir());
                    (fact.uid, fact.gid) = (entry.metadata.uid(), entry.metadata.gid());
                    at = entry.below;
                }
                Err(_) => {
                    fact.kind = EntryKind::Missing;
                    (fact.uid, fact.gid) = (0, 0);
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

/// The same path with these components alone.
pub(crate) fn plain(path: &Path) -> PathBuf {
    Path::new("/").join(plain_components(path).iter().collect::<PathBuf>())
}

/// The path of the host that a path inside shows: through the innermost bind
/// over it, else in the tree. `None` for what exists only inside.
pub(crate) fn behind(spec: &Spec, inside: &Path) -> Option<PathBuf> {
    if ["/proc", "/sys"].iter().any(|place| inside.starts_with(place)) {
        return Some(inside.to_path_buf());
    }
    let mounts = spec.mounts.iter().filter(|mount| inside.starts_with(&mount.target));
    match mounts.max_by_key(|mount| mount.target.components().count()).map(|mount| (mount, &mount.kind)) {
        Some((mount, MountKind::Bind(bind))) => {
            Some(bind.of_host(&spec.root).join(inside.strip_prefix(&mount.target).ok()?))
        }
        Some(_) => None,
        None if ["/dev", "/run", "/tmp"].iter().any(|place| inside.starts_with(place)) => None,
        None if spec.root.volatile == Volatile::Yes && !inside.starts_with("/usr") => None,
        None => Some(spec.root.top().join(inside.strip_prefix("/").ok()?)),
    }
}

/// Where an overlay keeps changes, in the form that one clone can hold: both
/// directories lie below one, on the same mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UpperPlace {
    /// The nearest directory above both.
    pub(crate) above: PathBuf,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Whether the caller named the work directory; else it is made.
    pub(crate) named: bool,
}

impl UpperPlace {
    /// `None` where one lies in the other.
    pub(crate) fn of(upper: &Path, work: Option<&Path>) -> Option<Self> {
        let beside = || {
            let name = [b".", upper.file_name()?.as_encoded_bytes(), b".work"].concat();
            Some(upper.with_file_name(std::ffi::OsString::from_vec(name)))
        };
        let named = work.is_some();
        let work = work.map_or_else(beside, |work| Some(work.to_path_buf()))?;
        if upper.starts_with(&work) || work.starts_with(upper) {
            return None;
        }
        let (above, other) = (upper.parent()?, work.parent()?);
        let above = above.ancestors().find(|directory| other.starts_with(directory))?;
        Some(Self { above: above.to_path_buf(), upper: upper.to_path_buf(), work, named })
    }

    /// What of it has to be looked at.
    pub(crate) fn paths(self) -> [PathBuf; 3] {
        [self.above, self.upper, self.work]
    }

    /// Of an overlay, if it keeps changes.
    pub(crate) fn of_overlay(overlay: &Overlay, root: &Root) -> Option<Self> {
        Self::of(&Overlay::of_host(overlay.upper.as_deref()?, root).0, overlay.work.as_deref())
    }

    /// Of the root, if it keeps changes elsewhere.
    pub(crate) fn of_root(root: &Root) -> Option<Self> {
        Self::of(root.upper.as_deref()?, root.work.as_deref())
    }
}

/// Where `bin`, `lib`, … of a tree point to, if they are links.
pub(super) fn usr_links(tree: &Tree) -> std::collections::BTreeMap<String, PathBuf> {
    ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), tree.directory().entry(name.as_ref()).ok()?.below.link().ok()?)))
        .collect()
}

/// What the top of a tree lacks of what a machine's has.
pub(super) fn lacking(tree: &Tree) -> std::collections::BTreeMap<&'static str, Option<&'static str>> {
    let lacks = |name: &str| {
        let found = tree.directory().entry(name.as_ref());
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let directories = profile::BASE.iter().map(|(name, _)| (*name, None));
    let links = profile::BASE_LINKS.iter().filter_map(|(name, places, holds)| {
        let there = |place: &&&str| tree.find(&Path::new(place).join(holds), true).is_ok();
        Some((*name, Some(*places.iter().find(there)?)))
    });
    directories.chain(links).filter(|(name, _)| lacks(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_and_work_lie_below_one_directory() {
        let of = |upper: &str, work: Option<&str>| UpperPlace::of(Path::new(upper), work.map(Path::new));
        let beside = of("/var/x/upper", None).unwrap();
        assert_eq!((beside.above.to_str(), beside.work.to_str()), (Some("/var/x"), Some("/var/x/.upper.work")));
        assert_eq!(of("/a/b/upper", Some("/a/c/work")).unwrap().above, Path::new("/a"));
        assert_eq!(of("/a", Some("/b")).unwrap().above, Path::new("/"));
        for (upper, work) in [("/a/b", "/a/b"), ("/a/b", "/a/b/c"), ("/a/b/c", "/a/b"), ("/", "/a")] {
            assert_eq!(of(upper, Some(work)), None, "{upper} {work}");
        }
    }
}
