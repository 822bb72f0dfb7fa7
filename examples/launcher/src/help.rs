//! `--help`, made from the tables of verbs and flags.

use std::fmt::Write;

use crate::flags::{self, Flag, Section, Value};
use crate::message::wrap;
use crate::nspawn::options;
use crate::verbs::Verb;

/// How wide help is.
const WIDTH: usize = 90;

/// What `skep` is, for help and the manual page.
pub(crate) const ABOUT: &str = "Containers without a daemon: runs a command in a hardened container.";

/// Commands that show how it is used.
pub(crate) const EXAMPLES: &[&str] = &[
    "skep run -- sh -c 'id; ls /'",
    "skep run -D /srv/tree -x --bind-ro=/etc/hosts -- bash",
    "skep plan -v -f web.nspawn",
    "skep audit --diff old.nspawn new.nspawn",
    "skep convert web.nspawn web.toml",
];

/// The exit codes of `run`, by when: those of systemd-nspawn.
pub(crate) const RUN_CODES: &[(&str, &str)] = &[
    ("the command exits with 0 to 255", "the same code; 133 becomes 1"),
    ("a signal kills the command", "255, or 1 with --as-pid2=no"),
    ("the container asks for a reboot", "133 (only with --as-pid2=no)"),
    ("the container powers itself off", "0 (only with --as-pid2=no)"),
    ("Ctrl-C on its terminal ends the command", "0"),
    ("SIGTERM, SIGINT or SIGHUP to skep", "the kill signal, 10 seconds, SIGKILL:"),
    ("  the command ends by it in time", "0"),
    ("  it exits with a code of its own", "that code"),
    ("  it had to be killed (a second signal kills at once)", "1"),
    ("the reader of the output went away", "0 where the command ends by SIGPIPE, but with --pipe"),
    ("a bad option, or the start failed", "1"),
];

/// The events of `--status-fd` and of `run --json`.
pub(crate) const EVENTS: &[(&str, &str)] = &[
    ("starting", "machine, root"),
    ("started", "machine, pid: of process 1, as skep sees it"),
    ("report", "items: what is applied, unsupported, off; with --report"),
    ("ready", "machine"),
    ("status", "machine, text: what the command says of itself"),
    ("ended", "machine, code or signal, out_of_memory, stopped, exit: of skep"),
    ("warning", "message"),
    ("error", "message, remedy"),
];

/// What of the environment counts.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "not empty: no colours. Without a terminal there are none anyway."),
    ("TERM", "`dumb`: no colours."),
];

/// `skep --help`.
pub(crate) fn overview() -> String {
    let mut text = format!("{ABOUT}\n\n");
    let usage = |verb: Verb| {
        let options = if flags::of(verb).count() > 1 { " [OPTIONS]" } else { "" };
        let about = verb.about();
        format!("skep {}{options} {}", about.name, about.usage).trim_end().to_owned()
    };
    let others = [
        ("skep help [VERB | exit-codes | events]".to_owned(), "explain"),
        ("skep --version".to_owned(), "tell the version"),
    ];
    let rows: Vec<_> = Verb::ALL.into_iter().map(|verb| (usage(verb), verb.about().short)).chain(others).collect();
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    for (nth, (left, right)) in rows.iter().enumerate() {
        let lead = if nth == 0 { "Usage:" } else { "      " };
        let _ = writeln!(text, "{lead} {left:<width$}  {right}");
    }
    text.push_str("\n`skep VERB --help` lists the options of a verb.\n\nExamples:\n");
    for example in EXAMPLES {
        let _ = writeln!(text, "  {example}");
    }
    text
}

/// `skep help exit-codes`.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes of skep run, as those of systemd-nspawn:\n\n");
    rows(&mut text, RUN_CODES);
    for verb in Verb::ALL.into_iter().skip(1) {
        let _ = write!(text, "\nOf skep {}:\n\n", verb.name());
        rows(&mut text, verb.about().codes);
    }
    text
}

/// `skep help events`.
pub(crate) fn events() -> String {
    let mut text = String::from(
        "Events of skep run, one JSON object a line, to --status-fd= and with --json to\n\
         standard error. The field `event` is the name; the others:\n\n",
    );
    rows(&mut text, EVENTS);
    text
}

fn rows(text: &mut String, rows: &[(&str, &str)]) {
    for (left, right) in rows {
        let left = format!("  {left}");
        text.push_str(&left);
        wrap(text, right, 48, left.chars().count(), WIDTH);
    }
}

/// The help of one verb.
pub(crate) fn of(verb: Verb) -> String {
    let about = verb.about();
    let mut text = String::new();
    for paragraph in about.long {
        wrap(&mut text, paragraph, 0, 0, WIDTH);
    }
    let usage = format!("Usage: skep {} [OPTIONS] {}", about.name, about.usage);
    let _ = writeln!(text, "\n{}", usage.trim_end());
    for section in Section::ALL {
        let mut flags = flags::of(verb).filter(|flag| flag.section == section).peekable();
        if flags.peek().is_some() {
            let _ = write!(text, "\n{}:\n", section.title());
        }
        flags.for_each(|flag| entry(&mut text, flag));
    }
    if verb == Verb::Nspawn {
        text.push_str("\nRefused of systemd-nspawn's (skep help options tells of all):\n");
        for (option, why) in options::refused() {
            let left = format!("      {option}");
            text.push_str(&left);
            wrap(&mut text, why, 34, left.chars().count(), WIDTH);
        }
    }
    if verb == Verb::Run {
        text.push_str("\nExit codes: skep help exit-codes. Events: skep help events.\n");
    } else {
        text.push_str("\nExit codes:\n");
        rows(&mut text, about.codes);
    }
    text
}

/// A flag as it is typed: `--bind=SRC[:DST[:OPTS]]`.
pub(crate) fn spelled(flag: &Flag) -> String {
    match flag.value {
        Value::None => format!("--{}", flag.long),
        Value::Optional(name) => format!("--{}[={name}]", flag.long),
        Value::Required(name) => format!("--{}={name}", flag.long),
    }
}

/// One flag: spelling on the left, text on the right, wrapped.
fn entry(text: &mut String, flag: &Flag) {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let left = format!("  {short}{}", spelled(flag));
    text.push_str(&left);
    wrap(text, flag.doc, 34, left.chars().count(), WIDTH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FLAGS;

    #[test]
    fn help_names_every_flag_and_fits() {
        for verb in Verb::ALL {
            let help = of(verb);
            for flag in FLAGS {
                let named = help.lines().any(|line| line.split_whitespace().any(|word| word == spelled(flag)));
                assert_eq!(named, flag.is_for(verb), "{} of {}", flag.long, verb.name());
            }
            assert!(help.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{help}");
        }
        for text in [overview(), exit_codes(), events()] {
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 2 && !line.ends_with(' ')), "{text}");
        }
    }
}
