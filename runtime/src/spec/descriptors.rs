//! Descriptors beside the three streams.

use serde::{Deserialize, Serialize};

/// A descriptor that the payload gets under a number.
///
/// What it refers to is the payload's from then on: a socket leads to whoever
/// is at its other end, a file can be opened again with other modes. A
/// directory, and what was opened with `O_PATH`, would be a way out of the
/// root: such a one is refused unless `danger_directory` is set. Bind a
/// directory instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Descriptor {
    /// The number inside: 3 or more, below the limit of open files.
    pub number: u32,
    /// Whether it may be a directory, with whose `..` the host can be reached.
    #[serde(default)]
    pub danger_directory: bool,
    /// Whether it is announced by `$LISTEN_FDS` and `$LISTEN_PID`
    /// (`sd_listen_fds(3)`). Those that are take the numbers from 3 on.
    #[serde(default)]
    pub listen: bool,
}

impl Descriptor {
    /// An ordinary one.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self { number, danger_directory: false, listen: false }
    }
}
