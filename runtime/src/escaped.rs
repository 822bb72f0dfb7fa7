//! Text of strangers, made fit for a terminal.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Text that somebody else chose (a path, a value, a payload's status), as a
/// message shows it: on one line, and without anything that a terminal would
/// act on.
///
/// Control characters, line ends, and characters that are invisible or turn
/// the direction of the text become escapes such as `\n` or `\u{202e}`; bytes
/// that are not UTF-8 become `\xff`. Quotes and backslashes stay as they are:
/// this is for eyes, not for parsing back.
///
/// ```
/// assert_eq!(skep::Escaped::new("a\u{1b}[2J\n\"b\"").to_string(), r#"a\u{1b}[2J\n"b""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    text: &'a [u8],
    most: usize,
}

impl<'a> Escaped<'a> {
    /// Shows a string or a path.
    pub fn new<T: AsRef<OsStr> + ?Sized>(text: &'a T) -> Self {
        Self { text: text.as_ref().as_bytes(), most: usize::MAX }
    }

    /// At most 60 characters of it, and `…` for the rest: for a value that may
    /// be a book.
    #[must_use]
    pub const fn short(mut self) -> Self {
        self.most = 60;
        self
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut left = self.most;
        for chunk in self.text.utf8_chunks() {
            for char in chunk.valid().chars() {
                if left == 0 {
                    return f.write_char('…');
                }
                left -= 1;
                match char {
                    '"' | '\'' | '\\' => f.write_char(char)?,
                    _ => write!(f, "{}", char.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                if left == 0 {
                    return f.write_char('…');
                }
                left -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_136_nothing_acts_on_a_terminal_or_ends_a_line() {
        for (text, shown) in [
            (&b"a\x1b[2J\nb\xe2\x80\xae'\xc3\xbc\\\""[..], r#"a\u{1b}[2J\nb\u{202e}'ü\""#),
            (b"\xff/\xc3", r"\xff/\xc3"),
            (b"", ""),
        ] {
            assert_eq!(Escaped::new(OsStr::from_bytes(text)).to_string(), shown);
        }
    }

    #[test]
    fn a_book_is_cut() {
        for text in ["ü".repeat(61).into_bytes(), vec![0xff; 1000]] {
            let shown = Escaped::new(OsStr::from_bytes(&text)).short().to_string();
            assert!(shown.ends_with('…') && shown.chars().count() <= 4 * 60 + 1, "{shown}");
        }
        let whole = "ü".repeat(60);
        assert_eq!(Escaped::new(&whole).short().to_string(), whole);
    }
}
