//! Several directories as one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An overlay of directories of the host (kernel `filesystems/overlayfs.rst`).
/// Set-user-id bits and device nodes in it do not work.
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
    /// Nothing can be changed. Needs two lower directories, and no upper one.
    pub read_only: bool,
    /// Programs in it cannot be executed.
    pub noexec: bool,
}
