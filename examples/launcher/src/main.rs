//! The command `skep`: runs a program in a container, shows what that would
//! do, checks files, and tells what the host allows.
//!
//! An example of the library: everything it does goes through the public API
//! of the crate `skep`. The way of a command line through it: [`flags`] is the
//! table, [`parse`] makes [`typed::Typed`] of the words by it, [`meaning`] makes
//! a `Spec` of that, and one file for each verb does the rest.

mod check;
mod doctor;
mod flags;
mod help;
mod meaning;
mod message;
mod parse;
mod plan;
mod relay;
mod run;
mod typed;
mod values;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use message::{Failure, quoted};
use typed::Verb;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let verb = words.next();
    match dispatch(verb.as_deref(), words) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(false);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Option<&OsStr>, words: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let Some(word) = verb else {
        return Err(Failure::new("what to do is missing; write skep run COMMAND, or see skep --help"));
    };
    match word.to_str() {
        Some("-h" | "--help") => print(help::OVERVIEW),
        Some("-V" | "--version") => print(concat!("skep ", env!("CARGO_PKG_VERSION"), "\n")),
        Some("help") => help_on(words),
        Some("nspawn" | "oci") => Err(Failure::new(format!(
            "skep {} is not supported yet; skep run takes the options of systemd-nspawn that it has",
            word.display()
        ))),
        _ => match Verb::ALL.into_iter().find(|verb| word == verb.name()) {
            Some(verb) => perform(verb, words),
            None => Err(Failure::new(format!(
                "{}: neither run, plan, check, doctor nor help; see skep --help",
                quoted(word)
            ))),
        },
    }
}

fn perform(verb: Verb, words: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let typed = parse::parse(verb, words)?;
    if typed.help {
        return print(&help::of(verb));
    }
    let json = typed.json;
    let ended = match verb {
        Verb::Run => run::run(typed),
        Verb::Plan => plan::run(typed),
        Verb::Check => check::run(&typed),
        Verb::Doctor => doctor::run(&typed),
    };
    Ok(ended.unwrap_or_else(|failure| {
        failure.print(json);
        ExitCode::FAILURE
    }))
}

fn help_on(mut words: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let Some(topic) = words.next() else { return print(help::OVERVIEW) };
    if topic == "exit-codes" {
        return print(help::EXIT_CODES);
    }
    match Verb::ALL.into_iter().find(|verb| topic == verb.name()) {
        Some(verb) => print(&help::of(verb)),
        None => Err(Failure::new(format!(
            "{}: no help on that; topics are run, plan, check, doctor and exit-codes",
            quoted(&topic)
        ))),
    }
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    message::print(text)?;
    Ok(ExitCode::SUCCESS)
}
