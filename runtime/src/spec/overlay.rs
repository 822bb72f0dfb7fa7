//! Several directories as one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Root;

/// An overlay of directories of the host (kernel `filesystems/overlayfs.rst`).
/// Set-user-id bits and device nodes in it do not work.
///
/// A layer with `+` in front (`+/var`) lies in the root's own tree, through no link of it,
/// and shows its ids as the root does; not of a disk image.
///
/// What is mounted below a layer is not part of it. Where root maps a range of
/// ids, id *n* on disk is id *n* inside, in every layer; that needs Linux 5.19.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Overlay {
    /// Directories that are not changed, the bottom first; absolute, 1 to 32.
    pub lower: Vec<PathBuf>,
    /// Where changes are kept; absolute. Without it they are thrown away, or,
    /// with `read_only`, impossible.
    pub upper: Option<PathBuf>,
    /// The directory that overlayfs works in, on the same mount as `upper`.
    /// Without it: `.NAME.work` beside `upper`, made and kept.
    pub work: Option<PathBuf>,
    /// Nothing can be changed. Not with an upper directory.
    pub read_only: bool,
    /// Programs in it cannot be executed.
    pub noexec: bool,
    /// What hides the lower directories is marked by attributes `user.overlay.*`, as it
    /// always is in a user namespace; else by `trusted.overlay.*`.
    pub user_attributes: bool,
}

impl Overlay {
    /// A layer as a path of the host, and whether it lies in the root's tree.
    pub(crate) fn of_host(layer: &Path, root: &Root) -> (PathBuf, bool) {
        use std::os::unix::ffi::OsStrExt;
        match layer.as_os_str().as_bytes().strip_prefix(b"+/") {
            Some(below) => {
                let path = root.top().join(Path::new(std::ffi::OsStr::from_bytes(below)));
                (path.components().collect(), true)
            }
            None => (layer.to_path_buf(), false),
        }
    }
}
