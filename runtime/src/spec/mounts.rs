//! The root file system and what is mounted in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much of the root is forgotten at the end (`systemd-nspawn(1)`,
/// `--volatile=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
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

/// The root file system.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Root {
    /// The tree. `/` needs `volatile` or `ephemeral`.
    pub path: PathBuf,
    /// Mounted read-only with everything below. Mount points must exist then.
    pub read_only: bool,
    /// What is forgotten.
    pub volatile: Volatile,
    /// Changes are thrown away: as `volatile: overlay`, unless `volatile` is
    /// `yes`, which keeps nothing anyhow.
    pub ephemeral: bool,
}

impl Default for Root {
    /// The host's `/usr` over a tmpfs: for machines with no image at hand.
    fn default() -> Self {
        Self { path: PathBuf::from("/"), read_only: false, volatile: Volatile::Yes, ephemeral: false }
    }
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where, inside; absolute. A missing mount point is made.
    pub target: PathBuf,
    /// What, such as `{"bind": {"source": "/srv"}}`.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MountKind {
    /// A file or directory of the host.
    Bind(Bind),
    /// An empty file system in memory.
    Tmpfs(Tmpfs),
}

/// A bind mount. Set-user-id bits and device nodes in it do not work.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Bind {
    /// On the host; absolute.
    pub source: PathBuf,
    /// Read-only, with everything below.
    pub read_only: bool,
    /// With everything mounted below the source.
    pub recursive: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self { source: PathBuf::new(), read_only: true, recursive: true }
    }
}

/// A tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Tmpfs {
    /// Bytes at most.
    pub size: u64,
    /// Files and directories at most.
    pub inodes: u64,
    /// Mode of its root.
    pub mode: u32,
    /// Read-only: an empty directory.
    pub read_only: bool,
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self { size: 256 << 20, inodes: 100_000, mode: 0o755, read_only: false }
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
        for bad in [
            r#"{"target":"/x"}"#,
            r#"{"target":"/x","kind":{"bind":{"sourse":"/srv"}}}"#,
            r#"{"target":"/x","kind":{"tmpfs":{}},"more":1}"#,
        ] {
            assert!(serde_json::from_str::<Mount>(bad).is_err(), "{bad}");
        }
    }
}
