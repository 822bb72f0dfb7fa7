//! What is wrong with a file, and where.

use std::fmt;
use std::path::PathBuf;

use crate::Escaped;

/// One thing that is wrong with a file, at one place.
///
/// Prints as `FILE:LINE:COLUMN: KEY: message; remedy`, on one line and without
/// control characters, whatever the file holds. Values of environment
/// variables are never part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The key that it is about, such as `Bind`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", Escaped::new(&self.file), self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(f, "{}: ", Escaped::new(&excerpt(key)))?;
        }
        write!(f, "{}", Escaped::new(&self.message))?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {}", Escaped::new(remedy))?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, in its order; one problem per line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// The beginning of a text that may be very long.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Text of a file as a message shows it: short, in quotes, escaped.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", excerpt(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_problem_is_one_line_of_printable_text() {
        let problem = Problem {
            file: PathBuf::from(OsStr::from_bytes(b"/etc/\xffa\nb.nspawn")),
            line: 3,
            column: 7,
            key: Some("K\x1b[31m\u{202e}".to_owned()),
            message: format!("{} is bad", quoted("a\r\n\"ü")),
            remedy: Some("don't".to_owned()),
        };
        assert_eq!(problem.to_string(), r#"/etc/\xffa\nb.nspawn:3:7: K\u{1b}[31m\u{202e}: "a\r\n\"ü" is bad; don't"#);
        let two = Problems(vec![problem.clone(), problem]);
        assert_eq!(two.to_string().lines().count(), 2);
    }

    #[test]
    fn long_text_is_cut() {
        assert!(quoted(&"ü".repeat(10_000)).chars().count() < 70);
    }
}
