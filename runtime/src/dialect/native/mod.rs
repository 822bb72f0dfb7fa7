//! The native format: a [`Spec`](crate::Spec) as JSON or, with the feature `toml`, as TOML.
//!
//! What serde derives for a Spec is the format. What is added here is what an
//! author of such a file needs: every problem at once, each with line, column and
//! the path of the value, and the name that was probably meant; a version that is
//! looked at before anything else; the places of values as their
//! [`Origin`](crate::spec::Origin), so that later errors name the line; text that
//! holds only what differs from the defaults; and [`SCHEMA`] for editors.
//!
//! ```
//! use std::path::Path;
//! use skep::dialect::native;
//!
//! let file = Path::new("web.json");
//! let spec = native::read_json(file, br#"{ "version": 1, "command": ["id"], "umask": 63 }"#)?;
//! assert_eq!(spec.umask, 0o77);
//!
//! let problems = native::read_json(file, br#"{ "comand": ["id"], "umask": -1 }"#).unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "web.json:1:3: comand: unknown field; did you mean `command`?\n\
//!      web.json:1:21: umask: -1 where a number from 0 to 4294967295 is expected; correct the file",
//! );
//! # Ok::<(), skep::dialect::Problems>(())
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `node.rs` | a value and where its text stands |
//! | `json.rs`, `toml.rs` | text to nodes |
//! | `fault.rs` | what is wrong, in words; serde's errors among it |
//! | `decode.rs` | nodes to any type of serde |
//! | `read.rs` | a whole file: version, every problem, origins |
//! | `write.rs` | a Spec to nodes, and to text |
//! | `schema.rs` | the JSON Schema, and its test against the types |

mod decode;
mod fault;
mod json;
mod node;
mod read;
mod schema;
#[cfg(test)]
mod tests;
#[cfg(feature = "toml")]
mod toml;
mod write;

pub use read::read_json;
#[cfg(feature = "toml")]
pub use read::read_toml;
pub use schema::SCHEMA;
pub use write::to_json;
#[cfg(feature = "toml")]
pub use write::to_toml;

pub(super) use write::differences;

/// Bytes of a file, at most.
pub const MAX_FILE: usize = 8 << 20;

/// Values of a file, lists and objects included, at most.
pub const MAX_VALUES: usize = 100_000;

/// How deep values are nested, at most. A Spec needs six levels.
const MAX_DEPTH: usize = 32;
