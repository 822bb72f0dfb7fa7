//! `--help`, made from the table of flags.

use std::fmt::Write;

use crate::flags::{FLAGS, Flag, Section, Value};
use crate::typed::Verb;

/// `skep --help`.
pub(crate) const OVERVIEW: &str = "\
Containers without a daemon: runs a command in a hardened container.

Usage: skep run [OPTIONS] [--] [COMMAND ARGS…]    run a command
       skep plan [OPTIONS] [--] [COMMAND ARGS…]   show what `run` would do
       skep check FILE                            check a .nspawn or JSON file
       skep doctor                                what this host allows
       skep help [VERB | exit-codes]

`skep VERB --help` lists the options of a verb.

Examples:
  skep run -- sh -c 'id; ls /'
  skep run -D /srv/tree -x --bind-ro=/etc/hosts -- bash
  skep plan -v -f web.nspawn
";

/// `skep help exit-codes`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes of skep run, as those of systemd-nspawn:

  the command exits with 0 to 255             the same code; 133 becomes 1
  a signal kills the command                  255, or 1 with --as-pid2=no
  the container asks for a reboot             133 (only with --as-pid2=no)
  the container powers itself off             0 (only with --as-pid2=no)
  SIGTERM, SIGINT or SIGHUP to skep           the kill signal, 10 seconds, SIGKILL:
    the command ends by it in time            0
    it exits with a code of its own           that code
    it had to be killed (a second signal      1
    kills at once)
  the reader of the output went away          0 where the command ends by SIGPIPE
  a bad option, or the start failed           1

skep plan exits with 0 or 1. skep check exits with 1 where there is a problem,
skep doctor where no strict container can be started.
";

/// The help of one verb.
pub(crate) fn of(verb: Verb) -> String {
    let mut text = String::from(match verb {
        Verb::Run => {
            "Runs a command in a container, hardened unless options say otherwise.\n\n\
             Usage: skep run [OPTIONS] [--] [COMMAND ARGS…]\n\n\
             Options are spelled as systemd-nspawn spells them. They end at the first word that\n\
             is none. A scalar given twice: the last one wins. Lists add up.\n"
        }
        Verb::Plan => {
            "Shows what `skep run` with the same options would do, step by step, and who asked\n\
             for it. Needs no privileges and starts nothing.\n\n\
             Usage: skep plan [OPTIONS] [--] [COMMAND ARGS…]\n"
        }
        Verb::Check => {
            "Checks a .nspawn file, or a container as JSON, against this host: parses, compiles\n\
             and verifies it. Needs no privileges and starts nothing.\n\n\
             Usage: skep check [OPTIONS] FILE\n"
        }
        Verb::Doctor => {
            "Tells what this host allows to this user, what will not work, and the remedy. Starts\n\
             a few containers that end at once.\n\n\
             Usage: skep doctor [OPTIONS]\n"
        }
    });
    for section in Section::ALL {
        let flags: Vec<&Flag> = FLAGS.iter().filter(|flag| flag.section == section && flag.is_for(verb)).collect();
        if !flags.is_empty() {
            let _ = write!(text, "\n{}:\n", section.title());
        }
        for flag in flags {
            entry(&mut text, flag);
        }
    }
    if verb == Verb::Run {
        text.push_str("\nExit codes: skep help exit-codes.\n");
    }
    text
}

/// One flag: spelling on the left, text on the right, wrapped.
fn entry(text: &mut String, flag: &Flag) {
    const COLUMN: usize = 34;
    const WIDTH: usize = 90;
    let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = match flag.value {
        Value::None => String::new(),
        Value::Optional(name) => format!("[={name}]"),
        Value::Required(name) => format!("={name}"),
    };
    let left = format!("  {short}--{}{value}", flag.long);
    text.push_str(&left);
    let mut at = left.chars().count();
    if at >= COLUMN {
        text.push('\n');
        at = 0;
    }
    for word in flag.doc.split(' ') {
        let length = word.chars().count();
        if at > COLUMN && at + 1 + length > WIDTH {
            text.push('\n');
            at = 0;
        }
        if at < COLUMN {
            text.extend(std::iter::repeat_n(' ', COLUMN - at));
            at = COLUMN;
        } else {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_flag_and_fits() {
        for verb in Verb::ALL {
            let help = of(verb);
            for flag in FLAGS {
                let named = help.contains(&format!("--{}", flag.long)) || help.contains(&format!("--{}=", flag.long));
                assert!(named || !flag.is_for(verb), "{} of {}", flag.long, verb.name());
            }
            assert!(help.lines().all(|line| line.chars().count() <= 90 && !line.ends_with(' ')), "{help}");
        }
        assert!(OVERVIEW.lines().chain(EXIT_CODES.lines()).all(|line| line.chars().count() <= 90));
    }
}
