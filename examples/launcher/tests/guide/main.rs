//! The guide says what is true: its commands run and print what it shows, its
//! files are accepted, its links lead somewhere, its error texts exist.
//!
//! Rust blocks are documentation tests of the crate `skep-tests`; one that is not
//! holds a whole file of the examples, and nothing else. What the other blocks of
//! a page are is said by their language, and by comments in front of them:
//!
//! | | |
//! |---|---|
//! | ` ```console ` | after `$ ` a command; then what it prints. `…` stands for anything in a line, alone for any lines |
//! | ` ```sh ` | a script that must succeed |
//! | `<!-- file: NAME -->` | the block is the content of this file, where the commands run |
//! | `<!-- needs: WORD -->` | not run without `start`, `root`, `user`, or a program of this name |
//! | `<!-- skip: REASON -->` | not run at all |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod blocks;
mod links;
mod texts;
mod transcript;
