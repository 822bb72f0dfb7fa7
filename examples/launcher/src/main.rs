//! The command `skep`: runs a program in a container, shows what that would
//! do and what it would hold, checks files, and tells what the host allows.
//!
//! An example of the library: everything it does goes through the public API
//! of the crate `skep`. The way of a command line through it: [`verbs`] and
//! [`flags`] are the tables, [`parse`] makes [`typed::Typed`] of the words by
//! them, [`meaning`] makes a `Spec` of that, and one file for each verb does the
//! rest. Help, manual pages and completions come from the same tables.

mod audit;
mod check;
mod child;
mod completion;
mod console;
mod containers;
mod convert;
mod credentials;
mod diff;
mod doctor;
mod events;
mod exec;
mod flags;
mod help;
mod landlock;
mod limits;
mod man;
mod meaning;
mod message;
mod nearest;
mod parse;
mod plan;
mod relay;
mod run;
mod typed;
mod values;
mod verbs;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use completion::Shell;
use message::{Failure, quoted};
use typed::Typed;
use verbs::{Operands, Verb};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(first) = words.next() else {
        return failed(&Failure::new("what to do is missing; write skep run COMMAND, or see skep --help"), false);
    };
    match Verb::named(&first) {
        Some(verb) => perform(verb, words.collect()),
        None => other(&first, words).unwrap_or_else(|failure| failed(&failure, false)),
    }
}

fn failed(failure: &Failure, json: bool) -> ExitCode {
    failure.print(json);
    ExitCode::FAILURE
}

/// What is no verb of the table.
fn other(word: &OsStr, mut words: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    match word.to_str() {
        Some("-h" | "--help") => print(&help::overview()),
        Some("-V" | "--version") => print(concat!("skep ", env!("CARGO_PKG_VERSION"), "\n")),
        Some("help") => help_on(words.next().as_deref()),
        Some("convert") => convert::run(words),
        Some("nspawn" | "oci") => Err(Failure::new(format!(
            "skep {} is not supported yet; skep run takes the options of systemd-nspawn that it has",
            word.display()
        ))),
        _ => {
            let names = Verb::ALL.iter().map(|verb| verb.name()).chain(["help"]);
            let near = nearest::nearest(&word.to_string_lossy(), names);
            let remedy = match near.as_slice() {
                [] => "see skep --help".to_owned(),
                near => format!("did you mean skep {}?", near.join(" or ")),
            };
            Err(Failure::new(format!("{}: not something that skep does; {remedy}", quoted(word))))
        }
    }
}

fn perform(verb: Verb, words: Vec<OsString>) -> ExitCode {
    // Of words that do not parse nobody can say where the command begins.
    let says = |flag: &str| words.iter().take_while(|word| *word != "--").any(|word| word == flag);
    let (json, compares, ended) = match parse::parse(verb, words.iter().cloned()) {
        Ok(typed) if typed.help => (false, false, print(&help::of(verb))),
        Ok(typed) => (typed.json, typed.diff, done(verb, typed)),
        Err(failure) => (says("--json"), says("--diff"), Err(failure)),
    };
    ended.unwrap_or_else(|failure| {
        failure.print(json);
        // As diff(1): 1 is "they differ", so that a failure must be something else.
        ExitCode::from(if compares { 2 } else { 1 })
    })
}

fn done(verb: Verb, typed: Typed) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Run => run::run(typed),
        Verb::Plan => plan::run(typed),
        Verb::Audit => audit::run(typed),
        Verb::Check => check::run(&typed),
        Verb::Doctor => doctor::run(&typed),
        Verb::List => containers::list(&typed),
        Verb::Status => containers::status(&typed),
        Verb::Exec => exec::run(typed),
        Verb::Stop => containers::stop(&typed),
        Verb::Kill => containers::kill(&typed),
        Verb::Completion => match word(verb, &typed)?.and_then(Shell::named) {
            Some(shell) => print(&shell.script()),
            None => Err(Failure::new("skep completion needs a shell; write skep completion bash, zsh or fish")),
        },
        Verb::Man => print(&man::page(word(verb, &typed)?.and_then(Verb::named))),
    }
}

/// The one word that a verb may be given, of those that it knows.
fn word(verb: Verb, typed: &Typed) -> Result<Option<&'static str>, Failure> {
    let Operands::Words(known) = verb.about().operands else { return Ok(None) };
    match typed.words.as_slice() {
        [] => Ok(None),
        [word] => match known.iter().find(|known| word == *known) {
            Some(known) => Ok(Some(known)),
            None => Err(Failure::new(format!(
                "{}: not a word that skep {} knows; write {}",
                quoted(word),
                verb.name(),
                known.join(", ")
            ))),
        },
        [_, second, ..] => {
            let name = verb.name();
            Err(Failure::new(format!(
                "{}: one word too many; write skep {name} {}",
                quoted(second),
                verb.about().usage
            )))
        }
    }
}

fn help_on(topic: Option<&OsStr>) -> Result<ExitCode, Failure> {
    let Some(topic) = topic else { return print(&help::overview()) };
    match (topic.to_str(), Verb::named(topic)) {
        (_, Some(verb)) => print(&help::of(verb)),
        (Some("convert"), _) => print(convert::HELP),
        (Some("exit-codes"), _) => print(&help::exit_codes()),
        (Some("events"), _) => print(&help::events()),
        _ => Err(Failure::new(format!(
            "{}: no help on that; topics are {}, exit-codes and events",
            quoted(topic),
            Verb::ALL.map(Verb::name).join(", ")
        ))),
    }
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    message::print(text)?;
    Ok(ExitCode::SUCCESS)
}
