//! From bytes to logical lines, with the way back to line and column.

use std::cell::Cell;

use super::found::Found;

/// What `systemd` takes for space within a line.
pub(super) const BLANK: [char; 2] = [' ', '\t'];

/// A place in the file: line and column, from 1, the column in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// A line after joining what a trailing backslash continues.
#[derive(Default)]
pub(super) struct Line {
    pub(super) text: String,
    pieces: Vec<Piece>,
    /// The last byte asked for, and its place: who asks, asks from left to right.
    last: Cell<Option<(usize, Place)>>,
}

/// One line of the file within a [`Line`].
struct Piece {
    at: usize,
    place: Place,
}

impl Line {
    /// Where the byte `at` of the text is in the file.
    pub(super) fn place(&self, at: usize) -> Place {
        let after = self.pieces.partition_point(|piece| piece.at <= at);
        let Some(piece) = self.pieces.get(after.saturating_sub(1)) else {
            return Place::START;
        };
        let (from, mut place) =
            self.last.get().filter(|(last, _)| (piece.at..=at).contains(last)).unwrap_or((piece.at, piece.place));
        let passed = self.text.get(from..at).unwrap_or_default();
        place.column = place.column.saturating_add(number(passed.chars().count()));
        self.last.set(Some((at, place)));
        place
    }
}

/// The logical lines of a file. Comment lines are left out; empty ones are not.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self { rest, number: 0 }
    }

    /// The next line that can be read; adds a problem for each that cannot.
    pub(super) fn next(&mut self, found: &mut Found<'_>) -> Option<Line> {
        let mut line = Line::default();
        let mut broken = false;
        while let Some(raw) = self.physical() {
            let readable = check(raw, self.number, found);
            let text = String::from_utf8_lossy(raw);
            let trimmed = text.trim_start_matches(BLANK);
            if trimmed.starts_with(['#', ';']) {
                continue;
            }
            broken |= !readable;
            let column = number(text.len() - trimmed.len()).saturating_add(1);
            let place = Place { line: self.number, column };
            line.pieces.push(Piece { at: line.text.len(), place });
            let kept = trimmed.trim_end_matches('\\').len();
            if (trimmed.len() - kept) % 2 == 1 {
                line.text.push_str(trimmed.strip_suffix('\\').unwrap_or(trimmed));
                line.text.push(' ');
                continue;
            }
            line.text.push_str(trimmed);
            if !broken {
                return Some(line);
            }
            line = Line::default();
            broken = false;
        }
        (!broken && !line.pieces.is_empty()).then_some(line)
    }

    /// The next line of the file, without its end.
    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number = self.number.saturating_add(1);
        let (line, rest) = match self.rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Whether a line of the file is text. NUL and CR would end it for `systemd`,
/// so a line that holds one says different things to different readers.
fn check(raw: &[u8], line: u32, found: &mut Found<'_>) -> bool {
    let mut add = |before: &[u8], message: &str, remedy: &str| {
        let before = String::from_utf8_lossy(before).chars().count();
        let column = number(before).saturating_add(1);
        found.add(Place { line, column }, None, message, Some(remedy.to_owned()));
    };
    if let Err(error) = std::str::from_utf8(raw) {
        add(&raw[..error.valid_up_to()], "the line is not UTF-8", "save the file as UTF-8");
        return false;
    }
    let Some(at) = raw.iter().position(|byte| matches!(byte, b'\0' | b'\r')) else {
        return true;
    };
    add(&raw[..at], "the line holds a NUL or a carriage return", "remove the character");
    false
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn lines(bytes: &[u8]) -> (Vec<String>, usize) {
        let mut found = Found::new(Path::new("x"));
        let mut lines = Lines::new(bytes);
        let mut texts = Vec::new();
        while let Some(line) = lines.next(&mut found) {
            texts.push(line.text);
        }
        (texts, found.count())
    }

    #[test]
    fn lines_are_joined_as_systemd_joins_them() {
        for (bytes, expected, problems) in [
            (&b""[..], &[][..], 0),
            (b"a\nb", &["a", "b"], 0),
            (b"\xef\xbb\xbfa\r\nb\r\n", &["a", "b"], 0),
            (b"  a\\\n\t b", &["a b"], 0),
            (b"a \\\nb", &["a  b"], 0),
            (b"a\\\n# c\\\n;d\nb", &["a b"], 0),
            (b"a\\\n\nb", &["a ", "b"], 0),
            (b"a\\\\\nb", &["a\\\\", "b"], 0),
            (b"a\\\\\\\nb", &["a\\\\ b"], 0),
            (b"a\\", &["a "], 0),
            (b"a\\ \nb", &["a\\ ", "b"], 0),
            (b"#a\\\nb", &["b"], 0),
            (b"a\xff\nb", &["b"], 1),
            (b"a\\\n\xff\\\nc\nb", &["b"], 1),
            (b"a\0\nb\rc\n#\0\nd", &["d"], 3),
            (b"a\\\n#\xff\nb", &["a b"], 1),
            (b"\xff\\", &[], 1),
        ] {
            let (texts, count) = lines(bytes);
            assert_eq!(texts, expected, "{}", bytes.escape_ascii());
            assert_eq!(count, problems, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn places_survive_joining() {
        let mut found = Found::new(Path::new("x"));
        let line = Lines::new("\n \n  äb\\\n# c\n\t cd".as_bytes());
        let mut lines = line;
        lines.next(&mut found);
        lines.next(&mut found);
        let line = lines.next(&mut found).unwrap();
        assert_eq!(line.text, "äb cd");
        assert_eq!(line.place(0), Place { line: 3, column: 3 });
        assert_eq!(line.place(2), Place { line: 3, column: 4 });
        assert_eq!(line.place(4), Place { line: 5, column: 3 });
        assert_eq!(line.place(5), Place { line: 5, column: 4 });
    }
}
