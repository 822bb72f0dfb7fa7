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
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// Shows a string or a path.
    pub fn new<T: AsRef<OsStr> + ?Sized>(text: &'a T) -> Self {
        Self(text.as_ref().as_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '"' | '\'' | '\\' => f.write_char(char)?,
                    _ => write!(f, "{}", char.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
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
    fn nothing_acts_on_a_terminal_or_ends_a_line() {
        for (text, shown) in [
            (&b"a\x1b[2J\nb\xe2\x80\xae'\xc3\xbc\\\""[..], r#"a\u{1b}[2J\nb\u{202e}'ü\""#),
            (b"\xff/\xc3", r"\xff/\xc3"),
            (b"", ""),
        ] {
            assert_eq!(Escaped::new(OsStr::from_bytes(text)).to_string(), shown);
        }
    }
}
