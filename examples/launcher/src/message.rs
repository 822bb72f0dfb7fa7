//! What the launcher says, and how it fails.

use std::ffi::OsStr;
use std::fmt;
use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use skep::Escaped;
use skep::dialect::{Problem, Problems};
use skep::sys::Errno;

use crate::{console, log};

/// One thing that is wrong: a line for people, an object for machines.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    /// On one line, escaped.
    pub(crate) text: String,
    /// At least `message` and `remedy`.
    pub(crate) json: Value,
}

impl Complaint {
    /// `what is wrong; what to do about it`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let (message, remedy) = match text.rsplit_once("; ") {
            Some((message, remedy)) => (message, Some(remedy)),
            None => (text.as_str(), None),
        };
        Self { json: json!({ "message": message, "remedy": remedy }), text }
    }
}

impl From<&Problem> for Complaint {
    fn from(problem: &Problem) -> Self {
        let json = json!({
            "line": problem.line, "column": problem.column, "key": problem.key,
            "message": problem.message, "remedy": problem.remedy,
        });
        Self { text: problem.to_string(), json }
    }
}

impl From<&skep::Error> for Complaint {
    fn from(error: &skep::Error) -> Self {
        let (message, remedy) = halves(error);
        Self { text: error.to_string(), json: json!({ "message": message, "remedy": remedy }) }
    }
}

/// What ends a verb early.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Vec<Complaint>);

impl Failure {
    /// With one line.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(vec![Complaint::new(line)])
    }

    /// Prints `skep: LINE` for each, or an object for machines.
    pub(crate) fn print(&self, json: bool) {
        for complaint in &self.0 {
            if json {
                let mut event = complaint.json.clone();
                event["event"] = "error".into();
                say(event);
            } else {
                say(format_args!("{}: {}", Paint::stderr().bad("skep"), complaint.text));
            }
        }
    }
}

impl From<skep::Error> for Failure {
    fn from(error: skep::Error) -> Self {
        Self(vec![Complaint::from(&error)])
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self(problems.0.iter().map(Complaint::from).collect())
    }
}

/// One line for each.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.iter().map(|complaint| complaint.text.as_str()).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// An error of the library in two: what it says, and what to do about it.
pub(crate) fn halves(error: &skep::Error) -> (String, Option<String>) {
    let said = error.to_string();
    match error.advice() {
        Some(advice) => {
            let what = said.strip_suffix(&format!(". {}", Escaped::new(advice))).unwrap_or(&said);
            (what.to_owned(), Some(advice.to_owned()))
        }
        None => (said, None),
    }
}

/// Writes one line to standard error, or the log of a container that was started
/// with `--detach`. That nobody reads it is no reason to
/// stop a container.
pub(crate) fn say(line: impl fmt::Display) {
    if log::write(format!("{line}\n").as_bytes()) {
        return;
    }
    let end = if console::is_raw() { "\r\n" } else { "\n" };
    let _ = std::io::stderr().write_all(format!("{line}{end}").as_bytes());
}

/// Writes to standard output. A reader that has gone away wanted no more.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write standard output: {}", because(&error))))
        }
        _ => Ok(()),
    }
}

/// The same for bytes that are somebody else's; false where nobody wants more.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(format!("write standard output: {}", because(&error)))),
    }
}

/// Why a call of the standard library failed, as the library says it: by name
/// and in words.
pub(crate) fn because(error: &std::io::Error) -> String {
    let number = error.raw_os_error().and_then(|number| u16::try_from(number).ok());
    number.map_or_else(|| error.to_string(), |number| Errno::from_raw(number).to_string())
}

/// Text of a stranger as part of a message: short, in quotes, escaped.
pub(crate) fn quoted(text: impl AsRef<OsStr>) -> String {
    format!("\"{}\"", Escaped::new(text.as_ref()).short())
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn stdout() -> Self {
        Self::on(std::io::stdout().is_terminal())
    }

    pub(crate) fn stderr() -> Self {
        Self::on(std::io::stderr().is_terminal())
    }

    /// On a terminal that has colours, unless `$NO_COLOR` says no
    /// (<https://no-color.org>).
    fn on(terminal: bool) -> Self {
        let said = |name, no: fn(&OsStr) -> bool| std::env::var_os(name).is_some_and(|value| no(&value));
        Self(terminal && !said("NO_COLOR", |value| !value.is_empty()) && !said("TERM", |value| value == "dumb"))
    }

    pub(crate) fn good(self, text: impl fmt::Display) -> String {
        self.with("32", text)
    }

    pub(crate) fn doubtful(self, text: impl fmt::Display) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: impl fmt::Display) -> String {
        self.with("31", text)
    }

    pub(crate) fn strong(self, text: impl fmt::Display) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: impl fmt::Display) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// Appends `text` word by word, in lines that begin at column `indent` and end
/// before `width`. `at` is where the last line ends now.
pub(crate) fn wrap(to: &mut String, text: &str, indent: usize, mut at: usize, width: usize) {
    for (nth, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if nth > 0 && at + 1 + length <= width {
            to.push(' ');
            at += 1;
        } else {
            if nth > 0 || at > indent {
                to.push('\n');
                at = 0;
            }
            to.extend(std::iter::repeat_n(' ', indent - at));
            at = indent;
        }
        to.push_str(word);
        at += length;
    }
    to.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_two_halves() {
        let error = skep::Error::new(skep::ErrorKind::NotFound, "/a is missing");
        assert_eq!(halves(&error), ("/a is missing".to_owned(), None));
        let error = error.remedy("Create\nit");
        assert_eq!(halves(&error), ("/a is missing".to_owned(), Some("Create\nit".to_owned())));
    }

    #[test]
    fn a_complaint_has_two_halves() {
        let complaint = Complaint::new("--x: \"a; b\" is bad; write c");
        assert_eq!(complaint.json, json!({ "message": "--x: \"a; b\" is bad", "remedy": "write c" }));
        assert!(Complaint::new("so it is").json["remedy"].is_null());
    }

    #[test]
    fn an_errno_has_its_name_and_words() {
        let error = std::io::Error::from_raw_os_error(28);
        assert_eq!(because(&error), "ENOSPC (no space left on device)");
        assert_eq!(because(&std::io::Error::other("x")), "x");
    }

    #[test]
    fn strangers_text_is_short() {
        assert!(quoted("ü".repeat(1000)).chars().count() < 70);
        assert_eq!(quoted("a\u{1b}"), r#""a\u{1b}""#);
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert_eq!(Paint(true).bad("x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint(false).bad("x"), "x");
        assert!(!Paint::on(false).0, "not a terminal");
    }

    #[test]
    fn lines_are_wrapped() {
        let wrapped = |text: &str, at| {
            let mut to = "x".repeat(at);
            wrap(&mut to, text, 4, at, 12);
            to
        };
        assert_eq!(wrapped("one two three", 2), "xx  one two\n    three\n");
        assert_eq!(wrapped("one", 6), "xxxxxx\n    one\n");
        assert_eq!(wrapped("", 0), "    \n".to_owned());
    }
}
