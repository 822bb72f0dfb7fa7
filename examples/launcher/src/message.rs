//! What the launcher says on standard error, and how it fails.

use std::fmt;
use std::io::Write;

/// What ends a verb early: one or more lines for the user, exit code 1.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Vec<String>);

impl Failure {
    /// With one line.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// Prints `skep: LINE` for each line, or an object for machines.
    pub(crate) fn print(&self, json: bool) {
        for line in &self.0 {
            if json {
                say(serde_json::json!({ "event": "error", "message": line }));
            } else {
                say(format_args!("skep: {line}"));
            }
        }
    }
}

impl From<skep::Error> for Failure {
    fn from(error: skep::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<skep::dialect::Problems> for Failure {
    fn from(problems: skep::dialect::Problems) -> Self {
        Self(problems.0.iter().map(ToString::to_string).collect())
    }
}

/// An error of the library in two: what it says, and what to do about it.
pub(crate) fn halves(error: &skep::Error) -> (String, Option<String>) {
    let said = error.to_string();
    match error.advice() {
        Some(advice) => {
            let what = said.strip_suffix(advice).and_then(|what| what.strip_suffix(". ")).unwrap_or(&said);
            (what.to_owned(), Some(advice.to_owned()))
        }
        None => (said, None),
    }
}

/// Writes one line to standard error. That nobody reads it is no reason to
/// stop a container.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes to standard output. A reader that has gone away wanted no more.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Text of a stranger, on one line and without what a terminal would act on.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
    }
    shown
}

/// Text of a stranger as part of a message: short, in quotes, escaped.
pub(crate) fn quoted(text: &std::ffi::OsStr) -> String {
    const MOST: usize = 60;
    let text = text.to_string_lossy();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", printable(&text[..end])),
        None => format!("\"{}\"", printable(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_two_halves() {
        let error = skep::Error::new(skep::ErrorKind::NotFound, "/a is missing");
        assert_eq!(halves(&error), ("/a is missing".to_owned(), None));
        let error = error.remedy("Create it");
        assert_eq!(halves(&error), ("/a is missing".to_owned(), Some("Create it".to_owned())));
    }

    #[test]
    fn strangers_text_is_one_printable_line() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{202e}'ü\\"), r"a\u{1b}[2J\nb\u{202e}'ü\");
        assert!(quoted(std::ffi::OsStr::new(&"ü".repeat(1000))).chars().count() < 70);
    }
}
