//! One assignment on its way into the settings.

use std::path::Path;

use super::found::Found;
use super::lines::{BLANK, Line, Place};
use super::settings::Setting;
use super::table::Key;
use super::value::{Parsed, ValueError};

/// The value of one assignment.
pub(super) struct Value<'a, 'f> {
    pub(super) key: &'static Key,
    pub(super) text: &'a str,
    /// Where `text` begins within `line`.
    pub(super) at: usize,
    pub(super) line: &'a Line,
    pub(super) found: &'a mut Found<'f>,
    pub(super) file: &'f Path,
    /// How many assignments and words the file may still hold.
    pub(super) left: &'a mut usize,
}

impl<'f> Value<'_, 'f> {
    /// The file that is read.
    pub(super) const fn file(&self) -> &'f Path {
        self.file
    }

    fn place(&self, at: usize) -> Place {
        self.line.place(self.at + at)
    }

    pub(super) fn fault(&mut self, fault: ValueError) {
        let place = self.place(fault.at);
        self.found.add(place, Some(self.key.name), fault.message, fault.remedy);
    }

    /// Keeps the value as the only one.
    pub(super) fn once<T>(&mut self, slot: &mut Option<Setting<T>>, parse: impl FnOnce(&str) -> Parsed<T>) {
        match parse(self.text) {
            Ok(value) => *slot = Some(Setting::new(value, self.place(0), self.key)),
            Err(fault) => self.fault(fault),
        }
    }

    /// Keeps the value as the only one; an empty one forgets it.
    pub(super) fn reset_or_once<T>(&mut self, slot: &mut Option<Setting<T>>, parse: impl FnOnce(&str) -> Parsed<T>) {
        if self.text.is_empty() {
            *slot = None;
        } else {
            self.once(slot, parse);
        }
    }

    /// Keeps the value as one more.
    pub(super) fn push<T>(&mut self, list: &mut Vec<Setting<T>>, parse: impl FnOnce(&str) -> Parsed<T>) {
        let mut slot = None;
        self.once(&mut slot, parse);
        list.extend(slot);
    }

    /// Keeps each word of the value; without any, forgets those before.
    pub(super) fn words<T>(&mut self, list: &mut Vec<Setting<T>>, parse: impl Fn(&str) -> Parsed<T>) {
        if self.text.is_empty() {
            list.clear();
            return;
        }
        let mut words = Words { text: self.text, at: 0 };
        while let Some(word) = words.next() {
            if *self.left == 0 {
                self.found.stop(self.place(0), Some(self.key.name));
                return;
            }
            *self.left -= 1;
            match word.and_then(|(at, word)| match parse(&word) {
                Ok(value) => Ok(Setting::new(value, self.place(at), self.key)),
                Err(fault) => Err(ValueError { at, ..fault }),
            }) {
                Ok(setting) => list.push(setting),
                Err(fault) => self.fault(fault),
            }
            if self.found.is_stopped() {
                return;
            }
        }
    }
}

/// The words of a value, as `systemd` splits one: at blanks, with `'` and `"`
/// anywhere in a word, and a backslash that is a character like any other.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl Words<'_> {
    /// The next word and where it begins.
    fn next(&mut self) -> Option<Parsed<(usize, String)>> {
        let rest = self.text.get(self.at..)?;
        let word_text = rest.trim_start_matches(BLANK);
        let start = self.at + (rest.len() - word_text.len());
        if word_text.is_empty() {
            return None;
        }
        let mut word = String::new();
        let mut quote = None;
        for (at, char) in word_text.char_indices() {
            match quote {
                None if BLANK.contains(&char) => {
                    self.at = start + at;
                    return Some(Ok((start, word)));
                }
                None if matches!(char, '\'' | '"') => quote = Some((char, at)),
                Some((open, _)) if open == char => quote = None,
                _ => word.push(char),
            }
        }
        self.at = self.text.len();
        Some(match quote {
            None => Ok((start, word)),
            Some((char, at)) => Err(ValueError::new(format!("the quote {char} is not closed"))
                .with_remedy(format!("close it with {char} on the same line"))
                .at(start + at)),
        })
    }
}

/// A word, in quotes where it needs them, so that it is split off as it is.
pub(super) fn quote(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-+=:,./@%".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let usual = if word.contains('"') { '\'' } else { '"' };
    let mut text = String::new();
    let mut open = None;
    for char in word.chars() {
        let wanted = match char {
            '"' => '\'',
            '\'' => '"',
            _ => open.unwrap_or(usual),
        };
        if open != Some(wanted) {
            text.extend(open);
            text.push(wanted);
            open = Some(wanted);
        }
        text.push(char);
    }
    match open {
        Some(open) => text.push(open),
        None => text.push_str("\"\""),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Option<Vec<String>> {
        let mut words = Words { text, at: 0 };
        std::iter::from_fn(|| words.next()).map(|word| word.ok().map(|(_, word)| word)).collect()
    }

    #[test]
    fn words_are_split_as_systemd_splits_them() {
        for (text, words) in [
            ("", &[][..]),
            ("  a\tb ", &["a", "b"]),
            (r#"'a b' "c d""#, &["a b", "c d"]),
            (r#"a'b c'd"#, &["ab cd"]),
            (r#""it's" '"'"#, &["it's", "\""]),
            (r#"'' """#, &["", ""]),
            (r#"a\ b \"c""#, &["a\\", "b", "\\c"]),
            (r"A=\x41\n", &[r"A=\x41\n"]),
            ("\u{a0}a\u{b}b", &["\u{a0}a\u{b}b"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for text in ["'", "a 'b", "\"a'", r#""a\""b"#] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_one_word(words in proptest::collection::vec(r#"(?s-u:[ -~\t]){0,12}|['"\\ ]{0,9}|\PC{0,9}"#, 0..5)) {
            let text = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&text).unwrap(), words);
            prop_assert!(!text.ends_with(['\\', ' ']));
        }
    }
}
