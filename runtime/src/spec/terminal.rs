//! A terminal for the payload.

use serde::{Deserialize, Serialize};

/// The size of a terminal, in characters. 0 is "unknown" (`tty_ioctl(4)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl TerminalSize {
    /// This many.
    #[must_use]
    pub const fn new(rows: u16, columns: u16) -> Self {
        Self { rows, columns }
    }
}

/// 24 lines of 80.
impl Default for TerminalSize {
    fn default() -> Self {
        Self::new(24, 80)
    }
}
