//! The root file system and what is mounted in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Device, File, Overlay, SecretFile, Tmpfs, Want};

/// How much of the root is forgotten at the end (`systemd-nspawn(1)`,
/// `--volatile=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Volatile {
    /// Nothing.
    #[default]
    No,
    /// A tmpfs root, with only the tree's `/usr`, read-only.
    Yes,
    /// The tree read-only, a tmpfs on `/var`.
    State,
    /// Everything can be written; the changes go to a tmpfs (overlayfs).
    Overlay,
}

/// To whom the files of the root's tree belong, where the container has ids of
/// its own that root maps (`systemd-nspawn(1)`, `--private-users-ownership=`).
/// Elsewhere all but `off`, `usual` and `auto` are refused to ordinary users, and
/// without a user namespace there is nothing to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ownership {
    /// Of the profile `strict`: id *n* on disk is id *n* inside, by an id-mapped
    /// mount. Of `nspawn`: `auto` where the ids are picked, else `off`.
    #[default]
    Usual,
    /// As it is: the tree must belong to the container's ids already.
    Off,
    /// Unchanged on disk: an id-mapped mount shows the 65536 ids that the tree's
    /// top belongs to as the container's own.
    Map,
    /// Every file is given to the container's ids before the start: of each id
    /// the upper 16 bits are exchanged, in access-control lists as well. A start
    /// that was killed meanwhile is made good by the next. Not for a tree that is
    /// read-only or volatile.
    Chown,
    /// As `map`, of a tree that belongs to the foreign ids, which are no user's:
    /// those from 2147352576 on.
    Foreign,
    /// `map`; where the file system cannot do that, `chown`.
    Auto,
}

/// The root file system.
///
/// Nothing of the tree is changed where it is read-only, ephemeral, volatile, or laid over
/// others. Set-user-id bits and device nodes in it do not work.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Root {
    /// The tree. `/` needs `volatile` or `ephemeral`.
    pub path: PathBuf,
    /// Directories that `path` is laid over, the bottom first (overlayfs): the root is all
    /// of them as one, and none is changed. It is read-only, unless changes go somewhere
    /// (`ephemeral`, `volatile: overlay`, `upper`). At most 31; `/` is none of them. As with
    /// `upper`, what hides the lower ones is marked by attributes `user.overlay.*`, whoever
    /// mounts it; each shows its ids by its own top, and what is mounted below is not part.
    pub lower: Vec<PathBuf>,
    /// Mounted read-only with everything below. Mount points must exist then.
    pub read_only: bool,
    /// What is forgotten.
    pub volatile: Volatile,
    /// Changes are thrown away: as `volatile: overlay`, unless `volatile` is
    /// `yes`, which keeps nothing anyhow.
    pub ephemeral: bool,
    /// A directory of the host where changes are kept, in the form of overlayfs
    /// (`upperdir`): nothing of the tree is changed.
    pub upper: Option<PathBuf>,
    /// The directory that overlayfs works in (`workdir`), on the same mount as
    /// `upper`. Without it: `.NAME.work` beside `upper`, made and kept.
    pub work: Option<PathBuf>,
    /// To whom its files belong.
    pub ownership: Ownership,
    /// `path` is a disk image or block device: a file system (ext4, xfs, btrfs,
    /// squashfs, erofs), or a GPT with a root partition (Discoverable Partitions
    /// Specification). It is mounted nowhere on the host. Root only.
    pub image: bool,
    /// Where nothing is at `path`, it is made as a copy of this directory: whole,
    /// with owners, modes, times, attributes, holes and second names, by reference
    /// where the file system can (reflink). What is there stays as it is.
    pub template: Option<PathBuf>,
    /// A directory in the tree that becomes the root instead of its top.
    pub pivot: Option<PathBuf>,
    /// With `pivot`: where inside the whole tree is mounted.
    pub pivot_old: Option<PathBuf>,
}

impl Root {
    /// What becomes `/`, as a path of the host.
    pub(crate) fn top(&self) -> PathBuf {
        let below = self.pivot.as_deref().map(|new| new.strip_prefix("/").unwrap_or(new));
        below.map_or_else(|| self.path.clone(), |below| self.path.join(below))
    }

    /// Whether it is one directory laid over another, be that in memory.
    pub(crate) fn is_overlay(&self) -> bool {
        match self.volatile {
            Volatile::Overlay => true,
            Volatile::Yes => false,
            Volatile::No | Volatile::State => self.ephemeral || self.upper.is_some() || !self.lower.is_empty(),
        }
    }

    /// Whether its changes are those of `path` itself.
    pub(crate) fn is_changed(&self) -> bool {
        self.volatile == Volatile::No && !self.read_only && !self.is_overlay()
    }

    /// Whether nothing of it can be changed, be it for a while.
    pub(crate) fn is_closed(&self) -> bool {
        match self.is_overlay() {
            true => !self.lower.is_empty() && self.upper.is_none() && !self.forgets(),
            false => self.read_only && self.volatile == Volatile::No,
        }
    }

    /// Whether what an overlay is changed in is thrown away at the end.
    pub(crate) fn forgets(&self) -> bool {
        self.upper.is_none() && self.is_overlay() && (self.ephemeral || self.volatile == Volatile::Overlay)
    }
}

impl Default for Root {
    /// The host's `/usr` over a tmpfs: for machines with no image at hand.
    fn default() -> Self {
        Self {
            path: PathBuf::from("/"),
            lower: Vec::new(),
            read_only: false,
            volatile: Volatile::Yes,
            ephemeral: false,
            upper: None,
            work: None,
            ownership: Ownership::Usual,
            image: false,
            template: None,
            pivot: None,
            pivot_old: None,
        }
    }
}

/// One mount. No link in the tree leads it elsewhere: its mount point is found,
/// or made, one component at a time, without following any. Nothing can be
/// mounted on `/`, or on or below `/proc` and `/sys`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where, inside; absolute. A missing mount point is made.
    pub target: PathBuf,
    /// What, such as `{"bind": {"source": "/srv"}}`.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MountKind {
    /// A file or directory of the host.
    Bind(Bind),
    /// An empty file system in memory.
    Tmpfs(Tmpfs),
    /// Several directories of the host as one (overlayfs).
    Overlay(Overlay),
    /// One device node of the host.
    Device(Device),
    /// A file with this content, read-only, readable for everybody.
    File(File),
    /// A file with this content, read-only, readable for the payload's user
    /// alone.
    Secret(SecretFile),
}

/// How the ids of a bind's files are shown inside (`mount_setattr(2)`,
/// "ID-mapped mounts"; the names are those of `systemd-nspawn(1)`, `--bind=`).
///
/// **Careful:** whoever writes through an id-mapped bind as root of the
/// container makes files that belong to the mapped id *on the host*, with
/// `idmap` to host root. Set-user-id files among them work on the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IdMap {
    /// As they are: ids of the host that the container does not map are
    /// nobody's inside, and cannot be written as.
    #[default]
    NoIdMap,
    /// Id *n* on disk is id *n* inside.
    IdMap,
    /// The owner of the source is root inside; all other ids are nobody's.
    RootIdMap,
    /// The owner of the source is the owner of the mount point inside; all
    /// other ids are nobody's.
    OwnerIdMap,
}

/// A bind mount. Set-user-id bits and device nodes in it do not work.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Bind {
    /// On the host, or in the root's own tree; absolute.
    pub source: PathBuf,
    /// The source lies in the root's tree, through no link of it. It shows its ids
    /// as the root does, and what is written to it is written to the tree: of a root
    /// whose changes are thrown away it can be read only. Not of a disk image.
    pub inside: bool,
    /// Read-only, with everything below.
    pub read_only: bool,
    /// With everything mounted below the source (`rbind`).
    pub recursive: bool,
    /// Where the source does not exist, the bind is left out, and the report
    /// says so. A source that may not be looked at is an error all the same.
    pub optional: bool,
    /// Programs in it cannot be executed, with everything below.
    pub noexec: bool,
    /// Symbolic links in it are not followed, with everything below.
    pub nosymfollow: bool,
    /// No component of the source may be a symbolic link: where somebody else
    /// may write to a directory on the way, a link could lead anywhere.
    pub no_links: bool,
    /// How ids are shown. Only root can map any, and only where the container
    /// has a user namespace and the file system knows of id-mapped mounts.
    pub id_map: IdMap,
    /// Whether `id_map` may be left out where it cannot be had.
    pub id_map_want: Want,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            source: PathBuf::new(),
            inside: false,
            read_only: true,
            recursive: true,
            optional: false,
            noexec: false,
            nosymfollow: false,
            no_links: false,
            id_map: IdMap::NoIdMap,
            id_map_want: Want::Require,
        }
    }
}

impl Bind {
    /// The source, as a path of the host.
    pub(crate) fn of_host(&self, root: &Root) -> PathBuf {
        match self.source.strip_prefix("/") {
            Ok(below) if self.inside => root.top().join(below),
            _ => self.source.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_as_json() {
        let text = r#"{"target":"/x","kind":{"bind":{"source":"/srv","read_only":false}}}"#;
        let mount: Mount = serde_json::from_str(text).unwrap();
        assert!(matches!(&mount.kind, MountKind::Bind(bind) if !bind.read_only && bind.recursive));
        let again = serde_json::to_string(&mount).unwrap();
        assert_eq!(serde_json::from_str::<Mount>(&again).unwrap(), mount);
        for good in [
            r#"{"target":"/x","kind":{"bind":{"source":"/srv","optional":true,"id_map":"rootidmap"}}}"#,
            r#"{"target":"/x","kind":{"overlay":{"lower":["/a","/b"],"upper":"/c"}}}"#,
            r#"{"target":"/dev/fuse","kind":{"device":{"source":"/dev/fuse","access":"rw"}}}"#,
            r#"{"target":"/x","kind":{"file":{"content":"text\n","mode":420}}}"#,
            r#"{"target":"/x","kind":{"secret":{"content":"text"}}}"#,
        ] {
            let mount: Mount = serde_json::from_str(good).unwrap_or_else(|error| panic!("{good}: {error}"));
            let again = serde_json::to_string(&mount).unwrap();
            assert_eq!(serde_json::from_str::<Mount>(&again).unwrap(), mount, "{good}");
            assert!(!format!("{mount:?}").contains("text"), "a content is shown");
        }
        for bad in [
            r#"{"target":"/x"}"#,
            r#"{"target":"/x","kind":{"bind":{"sourse":"/srv"}}}"#,
            r#"{"target":"/x","kind":{"tmpfs":{}},"more":1}"#,
            r#"{"target":"/x","kind":{"bind":{"source":"/srv","id_map":"all"}}}"#,
            r#"{"target":"/x","kind":{"device":{"source":"/dev/fuse","access":"rx"}}}"#,
        ] {
            assert!(serde_json::from_str::<Mount>(bad).is_err(), "{bad}");
        }
    }
}
