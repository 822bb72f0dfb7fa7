//! The command `skep`: runs a program in a container, shows what that would
//! do and what it would hold, checks files, and tells what the host allows.
//!
//! An example of the library: everything it does goes through the public API
//! of the crate `skep`. The way of a command line through it: [`verbs`] and
//! [`flags`] are the tables, [`parse`] makes [`typed::Typed`] of the words by
//! them, [`meaning`] makes a `Spec` of that, and one file for each verb does the
//! rest. Help, manual pages and completions come from the same tables.

mod addresses;
mod audit;
mod check;
mod child;
mod completion;
mod console;
mod containers;
mod convert;
mod credentials;
mod detach;
mod diff;
mod doctor;
mod events;
mod exec;
mod flags;
mod help;
mod inherited;
mod journal;
mod landlock;
mod limits;
mod lock;
mod log;
#[cfg(feature = "machined")]
mod machined;
#[cfg(not(feature = "machined"))]
#[path = "machined/without.rs"]
mod machined;
mod man;
mod manager;
mod meaning;
mod message;
mod nearest;
mod nspawn;
mod parse;
mod plan;
mod relay;
mod run;
mod settings;
mod status;
mod typed;
mod values;
mod verbs;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use completion::Shell;
use message::{Failure, quoted};
use typed::Typed;
use verbs::{Operands, Verb};

#[global_allocator]
static HEAP: skep::sys::Heap = skep::sys::Heap::new();

const VERSION: &str = concat!("skep ", env!("CARGO_PKG_VERSION"), "\n");

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own = words.next().unwrap_or_default();
    // By one of its other names, all words are of that verb.
    if std::path::Path::new(&own).file_name().is_some_and(|name| nspawn::NAMES.iter().any(|known| name == *known)) {
        return perform(Verb::Nspawn, words.collect());
    }
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
        Some("-V" | "--version") => print(VERSION),
        Some("help") => help_on(words.next().as_deref()),
        Some("oci") => Err(Failure::new("skep oci is not supported yet; skep run takes what containers are made of")),
        _ => {
            let names = Verb::ALL.iter().map(|verb| verb.name()).chain(["help"]);
            let remedy = meant(word, names, "skep ").unwrap_or_else(|| "see skep --help".to_owned());
            Err(Failure::new(format!("{}: not something that skep does; {remedy}", quoted(word))))
        }
    }
}

/// What somebody may have meant by `word`, as a remedy.
fn meant<'a>(word: &OsStr, known: impl Iterator<Item = &'a str>, before: &str) -> Option<String> {
    let near = nearest::nearest(&word.to_string_lossy(), known);
    (!near.is_empty()).then(|| format!("did you mean {before}{}?", near.join(" or ")))
}

fn perform(verb: Verb, words: Vec<OsString>) -> ExitCode {
    // Of words that do not parse nobody can say where the command begins.
    let says = |flag: &str| words.iter().take_while(|word| *word != "--").any(|word| word == flag);
    let (json, compares, ended) = match parse::parse(verb, words.iter().cloned()) {
        Ok(typed) if typed.help => (false, false, print(&help::of(verb))),
        Ok(typed) if typed.version => (false, false, print(VERSION)),
        Ok(Typed { listed: Some(words), .. }) => (false, false, print(&(words.join("\n") + "\n"))),
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
        Verb::Nspawn => nspawn::run(typed),
        Verb::Plan => plan::run(typed),
        Verb::Audit => audit::run(typed),
        Verb::Check => check::run(&typed),
        Verb::Convert => convert::run(&typed),
        Verb::Doctor => doctor::run(&typed),
        Verb::List => status::list(&typed),
        Verb::Status => status::status(&typed),
        Verb::Exec => exec::run(typed),
        Verb::Shell => exec::shell(typed),
        Verb::Cp => containers::cp(&typed),
        Verb::Stop => containers::stop(&typed),
        Verb::Kill => containers::kill(&typed),
        Verb::Poweroff => containers::poweroff(&typed),
        Verb::Reboot => containers::reboot(&typed),
        Verb::Logs => log::run(&typed),
        Verb::Gc => containers::gc(&typed),
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
            None => {
                let remedy = meant(word, known.iter().copied(), "");
                let remedy = remedy.unwrap_or_else(|| format!("write {}", known.join(", ")));
                Err(Failure::new(format!("{}: not a word that skep {} knows; {remedy}", quoted(word), verb.name())))
            }
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
        (Some("exit-codes"), _) => print(&help::exit_codes()),
        (Some("events"), _) => print(&help::events()),
        (Some("options"), _) => print(&nspawn::options::table()),
        _ => {
            let topics = || Verb::ALL.into_iter().map(Verb::name).chain(["exit-codes", "events", "options"]);
            let remedy = meant(topic, topics(), "skep help ")
                .unwrap_or_else(|| format!("write one of {}", topics().collect::<Vec<_>>().join(", ")));
            Err(Failure::new(format!("{}: no help on that; {remedy}", quoted(topic))))
        }
    }
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    message::print(text)?;
    Ok(ExitCode::SUCCESS)
}
