//! Dialects: the files and formats that say what a container shall be.
//!
//! A dialect only reads: bytes in, settings with their places in the file or
//! every [`Problem`] at once out. It opens no file ([`nspawn::find`] alone does,
//! when it is asked to), asks the kernel nothing, and knows nothing of plans.
//! Settings then fill in a [`crate::spec::Spec`].
//!
//! [`read`], [`write()`] and [`convert`] do it for any [`Format`]; [`nspawn`] and
//! [`native`] have what each format has of its own.

mod convert;
pub mod native;
pub(crate) mod nearest;
pub mod nspawn;
mod problem;

pub use convert::{ConvertError, Format, Unsayable, Unsayables, convert, read, write};
pub use problem::{Problem, Problems};
