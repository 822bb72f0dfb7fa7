//! The command `skep` as its users see it: words in, streams and exit code out.
//!
//! What needs a container is left out, loudly, where the host cannot start one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_inputs;
mod containers;
mod detached;
mod generated;
mod inherited;
mod json;
mod pty;
mod running;
mod stand;
mod terminal;
mod trees;
mod verbs;
