//! The attack catalogue on a real kernel: a test for each row that asks for a live
//! check, named after its number; a module for each section. Rows whose check an
//! older test made have given that one their number, where it is (`SECURITY.md` has
//! the table of all).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod configuration;
mod descriptors;
mod filter;
mod identity;
mod kernel_files;
mod paths;
mod resources;

use skep_tests::{calls, everywhere_with, has, skip, turn_to_start};

/// What each place says of the calls, `name errno` a line; or why not.
fn answers(made: &[(&str, &[u64])], change: impl Fn(&mut skep::Command)) -> Vec<(&'static str, String)> {
    everywhere_with(&calls(made), change)
}

/// That each of the calls has one of these errors in every place.
fn refused(made: &[(&str, &[u64])], with: &[&str]) {
    refused_of(made, with, |_| ());
}

/// The same of containers that differ from the strict one in something.
#[track_caller]
fn refused_of(made: &[(&str, &[u64])], with: &[&str], change: impl Fn(&mut skep::Command)) {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    for (place, said) in answers(made, change) {
        assert!(!said.is_empty(), "{place}");
        for line in said.lines() {
            let (name, answer) = line.split_once(' ').unwrap();
            assert!(with.contains(&answer), "{name} in a {place}: {answer}");
        }
    }
}

const EPERM: &str = "1";
const ENOSYS: &str = "38";
const EAFNOSUPPORT: &str = "97";
