//! Settings files of `systemd-nspawn` (`systemd.nspawn(5)`).
//!
//! [`find`] looks for one where they are kept and knows which of those places are
//! trusted, [`parse`] and [`parse_untrusted`] read one, [`Settings::without`] takes
//! out what a command line says itself, [`Settings::apply`] lays it over a
//! [`Spec`](crate::spec::Spec), and `Display` prints it again. The syntax is that of `systemd`. What is done
//! with it is stricter, because a typing error in a hardening key must not mean
//! no hardening:
//!
//! - an unknown section or key, a line without `=`, or a bad value is an error;
//!   only names that start with `X-` are left alone;
//! - a key that `systemd-nspawn` knows and this version does not act on is an
//!   error, never ignored; only a value that asks for what happens anyhow is
//!   accepted (`VirtualEthernet=no`, `SuppressSync=no`, …);
//! - a key that takes one value stands in a file once;
//! - an empty value is an error, except for `Parameters=` and `Environment=`,
//!   where it forgets what stood before;
//! - a line that holds a NUL or a carriage return (but at its end) is an error;
//! - a relative source of a bind is taken from the directory of the file;
//! - `Parameters=` always sets the command, not only beside `ProcessTwo=`;
//! - a tmpfs without a size gets the default size of [`Tmpfs`](crate::spec::Tmpfs),
//!   not half of the memory.
//!
//! ```
//! use std::path::Path;
//! use skep::dialect::nspawn;
//!
//! let file = Path::new("/etc/systemd/nspawn/web.nspawn");
//! let settings = nspawn::parse(file, b"[Exec]\nHostname=web\n[Files]\nBind=/srv/web\n")?;
//! assert_eq!(settings.to_string(), "[Exec]\nHostname=web\n[Files]\nBind=/srv/web:/srv/web:rbind\n");
//!
//! let problems = nspawn::parse(file, b"[Exec]\nHostnam=web\n").unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "/etc/systemd/nspawn/web.nspawn:2:1: Hostnam: unknown key in [Exec]; did you mean `Hostname=`?",
//! );
//! # Ok::<(), skep::dialect::Problems>(())
//! ```

mod apply;
mod assignment;
mod attributes;
mod calls;
#[cfg(test)]
mod cases;
mod found;
mod later;
mod lines;
mod links;
mod lookup;
mod merge;
mod mounts;
mod of_spec;
mod print;
#[cfg(test)]
mod properties;
mod read;
mod settings;
mod table;
#[cfg(test)]
mod tests;
pub mod value;
mod words;

use std::path::Path;

pub use lookup::{Candidate, Loaded, LookupError, Scope, candidates, find};
pub use merge::{Category, SettingsMode};
pub use settings::{Settings, UntrustedSettings};
pub use table::{KEYS, Key, Section, Trust};

use super::Problems;
use read::read;
use settings::origin;

/// Bytes of a file, at most.
pub const MAX_FILE: usize = 1 << 20;

/// Assignments, and words of `Parameters=` and `Environment=`, at most.
pub const MAX_VALUES: usize = 10_000;

/// Reads a file that is trusted: whoever wrote it may do what the caller may.
///
/// `file` is its absolute path, for messages and for relative sources of
/// binds; nothing is opened. Never panics, whatever the bytes are.
///
/// # Errors
///
/// Everything that is wrong with the file, in its order.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Settings, Problems> {
    let reading = read(file, bytes, true)?;
    Ok(Settings { file: file.to_owned(), harmless: reading.harmless, privileged: reading.privileged })
}

/// Reads a file that is not trusted, such as one beside an image.
///
/// What only a trusted file may set is not even looked at, and listed in
/// [`UntrustedSettings::ignored`]; so is a value that would take away hardening:
/// `no` for `NoNewPrivileges=`, `ReadOnly=` and `Volatile=`.
///
/// # Errors
///
/// Everything else that is wrong with the file, in its order.
pub fn parse_untrusted(file: &Path, bytes: &[u8]) -> Result<UntrustedSettings, Problems> {
    let mut reading = read(file, bytes, false)?;
    let ignored = reading.harmless.take_weakening();
    reading.ignored.extend(ignored.into_iter().map(|(place, key)| origin(file, place, key.name)));
    Ok(UntrustedSettings { file: file.to_owned(), harmless: reading.harmless, ignored: reading.ignored })
}
