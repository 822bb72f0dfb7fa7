//! `skep nspawn` on a real kernel: machines that boot, and what is the same as with
//! `systemd-nspawn` itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod asserted;
mod boot;
mod complaints;
mod export;
mod incoming;
mod journal;
mod many;
mod mstack;
mod networks;
mod numbers;
mod rules;
mod side_by_side;
mod stand;
mod story;
mod tree;
mod view;
