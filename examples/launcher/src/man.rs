//! Manual pages, made from the tables of verbs and flags: `man(7)`.

use std::fmt::Write;

use crate::flags::{self, Section, Value};
use crate::help::{ABOUT, ENVIRONMENT, EVENTS, EXAMPLES, RUN_CODES};
use crate::verbs::{About, Verb};

/// The page `skep(1)`, or that of a verb, `skep-run(1)`.
pub(crate) fn page(verb: Option<Verb>) -> String {
    match verb {
        None => whole(),
        Some(verb) => of(verb),
    }
}

fn header(name: &str, short: &str) -> String {
    let title = name.to_ascii_uppercase();
    format!(
        ".TH {title} 1 \"\" \"skep {}\" \"Skep\"\n.SH NAME\n{} \\- {}\n",
        env!("CARGO_PKG_VERSION"),
        escaped(name),
        escaped(short)
    )
}

fn whole() -> String {
    let mut page = header("skep", "containers without a daemon");
    page.push_str(".SH SYNOPSIS\n");
    for verb in Verb::ALL {
        synopsis(&mut page, verb.about());
        page.push_str(".br\n");
    }
    page.push_str("\\fBskep help\\fR [\\fIVERB\\fR | \\fBexit\\-codes\\fR | \\fBevents\\fR | \\fBoptions\\fR]\n");
    section(&mut page, "DESCRIPTION", &[ABOUT]);
    page.push_str(".SH VERBS\n");
    for verb in Verb::ALL {
        item(&mut page, &format!("\\fB{}\\fR", verb.name()), &sentence(verb.about().short));
        let _ = writeln!(page, "See \\fBskep\\-{}\\fR(1).", verb.name());
    }
    page.push_str(".SH ENVIRONMENT\n");
    for (name, what) in ENVIRONMENT {
        item(&mut page, &format!("\\fB{name}\\fR"), what);
    }
    page.push_str(".SH EXAMPLES\n.nf\n");
    for example in EXAMPLES {
        let _ = writeln!(page, "{}", escaped(example));
    }
    page.push_str(".fi\n.SH SEE ALSO\n");
    page.push_str(&also(Verb::ALL.into_iter()));
    page.push_str(",\n\\fBsystemd\\-nspawn\\fR(1), \\fBsystemd.nspawn\\fR(5), \\fBnamespaces\\fR(7)\n");
    page
}

fn also(verbs: impl Iterator<Item = Verb>) -> String {
    verbs.map(|verb| format!("\\fBskep\\-{}\\fR(1)", verb.name())).collect::<Vec<_>>().join(",\n")
}

fn of(verb: Verb) -> String {
    let about = verb.about();
    let mut page = header(&format!("skep-{}", about.name), about.short);
    page.push_str(".SH SYNOPSIS\n");
    synopsis(&mut page, about);
    section(&mut page, "DESCRIPTION", about.long);
    page.push_str(".SH OPTIONS\n");
    for section in Section::ALL {
        let mut flags = flags::of(verb).filter(|flag| flag.section == section).peekable();
        if flags.peek().is_some() {
            let _ = writeln!(page, ".SS {}", section.title());
        }
        for flag in flags {
            let short = flag.short.map(|letter| format!("\\fB\\-{letter}\\fR, ")).unwrap_or_default();
            let long = format!("{short}\\fB\\-\\-{}\\fR", escaped(flag.long));
            let left = match flag.value {
                Value::None => long,
                Value::Optional(name) => format!("{long}[=\\fI{}\\fR]", escaped(name)),
                Value::Required(name) => format!("{long}=\\fI{}\\fR", escaped(name)),
            };
            item(&mut page, &left, flag.doc);
        }
    }
    if verb == Verb::Nspawn {
        page.push_str(".SS Refused of systemd-nspawn's\n");
        for (option, why) in crate::nspawn::options::refused() {
            item(&mut page, &format!("\\fB{}\\fR", escaped(&option)), &sentence(why));
        }
    }
    page.push_str(".SH EXIT STATUS\n");
    let codes = if verb == Verb::Run { RUN_CODES } else { about.codes };
    for (when, code) in codes {
        item(&mut page, &escaped(&sentence(when.trim_start())), &sentence(code));
    }
    if verb == Verb::Run {
        page.push_str(".SH EVENTS\n");
        page.push_str("One JSON object a line; the field \\fBevent\\fR is the name. The others:\n");
        for (name, fields) in EVENTS {
            item(&mut page, &format!("\\fB{name}\\fR"), &sentence(fields));
        }
    }
    let _ = writeln!(
        page,
        ".SH SEE ALSO\n\\fBskep\\fR(1),\n{}",
        also(Verb::ALL.into_iter().filter(|other| *other != verb))
    );
    page
}

fn synopsis(page: &mut String, about: &About) {
    let line = format!("\\fBskep {}\\fR [\\fIOPTIONS\\fR] {}", escaped(about.name), escaped(about.usage));
    let _ = writeln!(page, "{}", line.trim_end());
}

fn section(page: &mut String, title: &str, paragraphs: &[&str]) {
    let _ = writeln!(page, ".SH {title}");
    for (nth, paragraph) in paragraphs.iter().enumerate() {
        let _ = writeln!(page, "{}{}", if nth > 0 { ".PP\n" } else { "" }, marked(paragraph));
    }
}

/// A tagged paragraph; `tag` is roff already.
fn item(page: &mut String, tag: &str, text: &str) {
    let _ = writeln!(page, ".TP\n{tag}\n{}", marked(text));
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let stop = if text.ends_with(['.', ':']) { "" } else { "." };
    first.into_iter().chain(letters).collect::<String>() + stop
}

/// Text, with `this` in bold.
fn marked(text: &str) -> String {
    let mut roff = String::new();
    for (nth, part) in text.split('`').enumerate() {
        if nth % 2 == 1 {
            let _ = write!(roff, "\\fB{}\\fR", escaped(part));
        } else {
            roff.push_str(&escaped(part));
        }
    }
    // At the start of a line these would make it a request.
    if roff.starts_with(['.', '\'']) { format!("\\&{roff}") } else { roff }
}

fn escaped(text: &str) -> String {
    let mut roff = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => roff.push_str("\\e"),
            '-' => roff.push_str("\\-"),
            '\'' => roff.push_str("\\(aq"),
            '…' => roff.push_str("..."),
            _ => roff.push(char),
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FLAGS;

    #[test]
    fn a_page_has_every_flag_of_its_verb_and_no_other() {
        for verb in Verb::ALL {
            let page = page(Some(verb));
            for flag in FLAGS {
                let tag = format!("\\fB\\-\\-{}\\fR", escaped(flag.long));
                let named = page.lines().any(|line| line.split([' ', '=', '[']).any(|word| word == tag));
                assert_eq!(named, flag.is_for(verb), "{} in skep-{}(1)", flag.long, verb.name());
            }
        }
        let main = page(None);
        assert!(Verb::ALL.iter().all(|verb| main.contains(&format!("\\-{}\\fR(1)", verb.name()))));
    }

    #[test]
    fn pages_are_plain_roff() {
        for page in Verb::ALL.into_iter().map(Some).chain([None]).map(page) {
            assert!(page.is_ascii(), "{:?}", page.chars().find(|char| !char.is_ascii()));
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                let request = line.split(' ').next().unwrap_or_default();
                assert!([".TH", ".SH", ".SS", ".TP", ".PP", ".br", ".nf", ".fi"].contains(&request), "{line}");
            }
        }
        assert_eq!(marked(".a `b-c` 'd\\"), "\\&.a \\fBb\\-c\\fR \\(aqd\\e");
    }
}
