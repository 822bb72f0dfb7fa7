//! The container's tree as it is looked at before a start: one directory, or several that
//! will be laid over each other, seen as overlayfs is going to show them (kernel
//! `filesystems/overlayfs.rst`).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use super::files::find_in;
use crate::spec::Root;

/// As many links as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// What marks a directory below which nothing of the lower layers is seen.
const OPAQUE: &std::ffi::CStr = c"user.overlay.opaque";

pub(super) struct Tree {
    /// The top first; one at least.
    layers: Vec<PathBuf>,
    /// Where that is which the Spec calls the root.
    top: PathBuf,
}

/// A directory of the tree.
#[derive(Clone)]
pub(super) struct Directory<'a> {
    /// The layers that have it.
    layers: Vec<&'a Path>,
    /// Where it is in each.
    place: PathBuf,
}

/// A name in one.
pub(super) struct Entry<'a> {
    pub(super) metadata: Metadata,
    /// Those below, where it is a directory; else the layer that has it.
    pub(super) below: Directory<'a>,
}

impl Tree {
    /// That of a Spec's root, whose top is looked at in `top`.
    pub(super) fn of(root: &Root, top: PathBuf) -> Self {
        // Changes that are kept lie over all.
        let upper = root.upper.as_ref().filter(|_| root.is_overlay());
        let lower = root.lower.iter().rev().cloned();
        Self { layers: upper.cloned().into_iter().chain([top.clone()]).chain(lower).collect(), top }
    }

    /// Its one layer that the Spec calls the root.
    pub(super) fn of_path(&self) -> &Path {
        &self.top
    }

    /// The host's own root, whose links are nobody's but the host's.
    pub(super) fn is_hosts(&self) -> bool {
        matches!(&self.layers[..], [one] if one == Path::new("/"))
    }

    pub(super) fn directory(&self) -> Directory<'_> {
        Directory { layers: self.layers.iter().map(PathBuf::as_path).collect(), place: PathBuf::new() }
    }

    /// A handle on what it has at `path`: through no link, or through links that take
    /// the tree for `/`.
    pub(super) fn find(&self, path: &Path, links: bool) -> io::Result<File> {
        if let [one] = &self.layers[..] {
            return find_in(one, path, links);
        }
        let mut rest: VecDeque<OsString> = names(path);
        let mut at = vec![self.directory()];
        let mut followed = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.truncate(at.len().saturating_sub(1).max(1));
                continue;
            }
            let here = at.last().cloned().unwrap_or_else(|| self.directory());
            let entry = here.entry(&name)?;
            let kind = entry.metadata.file_type();
            if kind.is_symlink() {
                followed += 1;
                if !links || followed > MOST_LINKS {
                    return Err(io::Error::from_raw_os_error(nix::errno::Errno::ELOOP as i32));
                }
                let target = entry.below.link()?;
                if target.is_absolute() {
                    at.truncate(1);
                }
                names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
            } else if kind.is_dir() {
                at.push(entry.below);
            } else if rest.is_empty() {
                return entry.below.open();
            } else {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        at.last().map_or_else(|| Err(io::ErrorKind::NotFound.into()), Directory::open)
    }
}

/// Those that a walk goes through, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    named.collect()
}

impl<'a> Directory<'a> {
    /// What it has of that name; links are not followed.
    pub(super) fn entry(&self, name: &OsStr) -> io::Result<Entry<'a>> {
        let place = self.place.join(name);
        let mut found: Option<Metadata> = None;
        let mut layers = Vec::new();
        for layer in &self.layers {
            let metadata = match fs::symlink_metadata(layer.join(&place)) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
            let merges = metadata.is_dir();
            // Alone nothing is hidden.
            if (whiteout && self.layers.len() > 1) || (!merges && found.is_some()) {
                break;
            }
            layers.push(*layer);
            found.get_or_insert(metadata);
            if !merges || (self.layers.len() > 1 && is_opaque(layer, &place)) {
                break;
            }
        }
        let metadata = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Entry { metadata, below: Directory { layers, place } })
    }

    fn top(&self) -> io::Result<&'a Path> {
        self.layers.first().copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self) -> io::Result<File> {
        find_in(self.top()?, &self.place, false)
    }

    /// Where a link of that place leads.
    pub(super) fn link(&self) -> io::Result<PathBuf> {
        fs::read_link(self.top()?.join(&self.place))
    }
}

fn is_opaque(layer: &Path, place: &Path) -> bool {
    let value = find_in(layer, place, false).map(|file| skep_sys::xattr(file.as_fd(), OPAQUE));
    matches!(value, Ok(Ok(Some(value))) if value == b"y")
}

#[cfg(test)]
mod tests {
    use skep_sys::wire::Blob;
    use skep_sys::{Kernel as _, Linux, Op, OwnedSlots, Slot};

    use super::*;

    /// Two layers in a directory of their own, removed at the end.
    struct Layers(PathBuf);

    impl Layers {
        fn new(name: &str) -> Self {
            let top = std::env::temp_dir().join(format!("skep-tree-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&top);
            for layer in ["low", "high"] {
                fs::create_dir_all(top.join(layer)).unwrap();
            }
            Self(top)
        }

        fn file(&self, path: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.to_str().unwrap()).unwrap();
        }

        fn tree(&self) -> Tree {
            let root = Root { lower: vec![self.0.join("low")], ..Root::default() };
            Tree::of(&root, self.0.join("high"))
        }

        /// Which file of the layers is found.
        fn found(&self, path: &str, links: bool) -> Option<String> {
            let file = self.tree().find(Path::new(path), links).ok()?;
            let real = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).ok()?;
            Some(real.strip_prefix(self.0.canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned())
        }
    }

    impl Drop for Layers {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn several_layers_are_seen_as_one() {
        let layers = Layers::new("one");
        for path in ["low/a", "low/d/b", "low/d/c", "low/x/y", "low/f/g", "high/d/c", "high/f", "low/usr/bin/sh"] {
            layers.file(path);
        }
        let link = |target: &str, at: &str| std::os::unix::fs::symlink(target, layers.0.join(at)).unwrap();
        // Across the layers, and never out of them.
        link("usr/bin", "high/bin");
        link("/bin", "low/sbin");
        link("../../../../etc", "high/out");
        link("loop", "high/loop");
        for (path, links, found) in [
            ("a", false, Some("low/a")),
            ("d/b", false, Some("low/d/b")),
            ("d/c", false, Some("high/d/c")),
            ("d", false, Some("high/d")),
            ("x/y", true, Some("low/x/y")),
            ("f", false, Some("high/f")),
            ("f/g", false, None),
            ("a/b", true, None),
            ("bin/sh", true, Some("low/usr/bin/sh")),
            ("sbin/sh", true, Some("low/usr/bin/sh")),
            ("/sbin/../bin/./sh", true, Some("low/usr/bin/sh")),
            ("bin/sh", false, None),
            ("out/passwd", true, None),
            ("loop", true, None),
            ("", true, Some("high")),
            ("../..", true, Some("high")),
        ] {
            assert_eq!(layers.found(path, links).as_deref(), found, "{path} {links}");
        }
        layers.file("low/etc/passwd");
        assert_eq!(layers.found("out/passwd", true).as_deref(), Some("low/etc/passwd"), "their own");
    }

    #[test]
    fn what_is_hidden_is_not_there() {
        let layers = Layers::new("hidden");
        for path in ["low/d/a", "low/gone", "high/d/b"] {
            layers.file(path);
        }
        assert_eq!(layers.found("d/a", false).as_deref(), Some("low/d/a"));
        let mut slots = OwnedSlots::new(1);
        slots.give(Slot(0), File::open(layers.0.join("high/d")).unwrap().into());
        let mark = Op::SetXattr { file: Slot(0), name: OPAQUE, value: Blob(b"y") };
        // An older tmpfs has no such attributes.
        if Linux::new().call(&mark, &mut slots.slots()).is_ok() {
            assert_eq!(layers.found("d/a", false), None, "behind an opaque directory");
        }
        assert_eq!(layers.found("d/b", false).as_deref(), Some("high/d/b"));
        // Nobody needs rights for that.
        let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::empty());
        nix::sys::stat::mknod(&layers.0.join("high/gone"), kind, mode, 0).unwrap();
        assert_eq!(layers.found("gone", false), None, "a whiteout");
    }
}
