//! Dialects: the files and formats that say what a container shall be.
//!
//! A dialect only reads: bytes in, settings with their places in the file or
//! every [`Problem`] at once out. It opens no file, asks the kernel nothing,
//! and knows nothing of plans. Settings then fill in a [`crate::spec::Spec`].

mod nearest;
pub mod nspawn;
mod problem;

pub use problem::{Problem, Problems};
