//! From JSON (RFC 8259) to nodes.
//!
//! serde_json tells no places, so the structure is read here; strings and numbers
//! are left to it, token by token.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::MAX_VALUES;
use super::fault::Fault;
use super::node::{Budget, Field, Kind, Node};
use super::read::MOST;

/// Reads a document. A name that an object has twice is among the faults, and the
/// first of the two is kept.
///
/// # Errors
///
/// Where the text stops being JSON.
pub(super) fn read(text: &str) -> Result<(Node, Vec<Fault>), Fault> {
    read_most(text, MAX_VALUES)
}

/// Reads a document of at most `most` values.
pub(super) fn read_most(text: &str, most: usize) -> Result<(Node, Vec<Fault>), Fault> {
    let mut parser = Parser { text, at: 0, budget: Budget(most), faults: Vec::new() };
    parser.skip_space();
    let node = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(Fault::new("something follows the value").remedy("remove it").at(parser.at));
    }
    Ok((node, parser.faults))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    budget: Budget,
    faults: Vec<Fault>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past `byte`, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &str) -> Fault {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(char) => format!("`{}`", char.escape_debug()),
            None => "the end of the file".to_owned(),
        };
        Fault::new(format!("{found} where {what} is expected")).at(self.at)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        let at = self.at;
        self.budget.take(depth, at)?;
        let kind = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => {
                let end = self.end(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                Kind::Number(self.token(end)?)
            }
            Some(b'a'..=b'z' | b'A'..=b'Z') => {
                let end = self.end(|byte| byte.is_ascii_alphanumeric());
                let kind = match self.text.get(at..end) {
                    Some("null") => Kind::Null,
                    Some("true") => Kind::Bool(true),
                    Some("false") => Kind::Bool(false),
                    _ => return Err(Fault::new("a word without quotes").remedy("put it in double quotes").at(at)),
                };
                self.at = end;
                kind
            }
            _ => return Err(self.expected("a value")),
        };
        Ok(Node::new(at, kind))
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Kind::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Kind::List(items));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Kind, Fault> {
        self.at += 1;
        let mut fields: Vec<Field> = Vec::new();
        let mut names = HashSet::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Kind::Table(fields));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.expected("the name of a field in double quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("`:`"));
            }
            self.skip_space();
            let value = self.value(depth + 1)?;
            if names.insert(name.clone()) {
                fields.push(Field { at, name, value });
            } else if self.faults.len() < MOST {
                self.faults.push(Fault::new("the field is given twice").remedy("keep one of them").at(at).named(&name));
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(Kind::Table(fields));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => return self.token(end + 1),
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => {
                    return Err(Fault::new("the string is not closed").remedy("close it with `\"`").at(self.at));
                }
            }
        }
    }

    fn end(&self, within: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at + rest.iter().position(|byte| !within(*byte)).unwrap_or(rest.len())
    }

    /// The text up to `end` as serde_json reads it.
    fn token<T: DeserializeOwned>(&mut self, end: usize) -> Result<T, Fault> {
        let token = self.text.get(self.at..end).unwrap_or_default();
        let read = serde_json::from_str(token).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            // Its column is in bytes and may lie behind the one that is wrong.
            let mut at = (self.at + error.column().saturating_sub(1)).min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            Fault::new(message).at(if error.line() == 1 { at } else { self.at })
        })?;
        self.at = end;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_json() {
        for (text, at, message) in [
            ("", 0, "the end of the file where a value is expected"),
            ("{} x", 3, "something follows the value"),
            ("[1,]", 3, "`]` where a value is expected"),
            ("[1 2]", 3, "`2` where `,` or `]` is expected"),
            ("{a:1}", 1, "`a` where the name of a field in double quotes is expected"),
            ("{\"a\" 1}", 5, "`1` where `:` is expected"),
            ("{\"a\":1", 6, "the end of the file where `,` or `}` is expected"),
            ("{\"a\":1,}", 7, "`}` where the name of a field"),
            ("[yes]", 1, "a word without quotes"),
            ("[\"a", 1, "the string is not closed"),
            ("[\"a\\", 1, "the string is not closed"),
            ("[\"\\x\"]", 3, "invalid escape"),
            ("[01]", 2, "invalid number"),
            ("[1e999]", 6, "number out of range"),
            ("[-]", 1, "EOF while parsing a value"),
            ("// no\n{}", 0, "`/` where a value is expected"),
            ("\u{a0}{}", 0, "`\\u{a0}` where a value"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.message.starts_with(message), "{text}: {}", fault.message);
            assert!(fault.at.unwrap().abs_diff(at) <= 1, "{text}: {:?}", fault.at);
        }
        assert!(read(&"[".repeat(100_000)).unwrap_err().message.contains("32 deep"));
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(read(&many).unwrap_err().message.contains("more than 100000 values"));
    }

    #[test]
    fn places_and_duplicates() {
        let (node, faults) = read(" {\"a\": [1, {\"ä\":\ttrue}], \"a\": 2}").unwrap();
        assert_eq!(node.at, 1);
        assert_eq!(node.describe(&[0]), ("a".to_owned(), 2));
        assert_eq!(node.describe(&[0, 1]), ("a[1]".to_owned(), 11));
        assert_eq!(node.describe(&[0, 1, 0]), ("a[1].ä".to_owned(), 12));
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].at, faults[0].named.as_deref()), (Some(26), Some("a")));
    }

    proptest! {
        #[test]
        fn what_is_json_is_what_serde_json_says(
            text in r#"([\[\]{}:,"\\/bnu0123456789abcdefalsetrunl.eE+ \n-]|"a":|\\u12[0-9a-f]{2}|"[a-c]{0,3}"|[0-9.eE-]{1,6}){0,12}"#
        ) {
            let ours = read(&text).map(|(node, faults)| (serde_json::to_value(node).unwrap(), faults.is_empty()));
            match (ours, serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok((ours, unique)), Ok(theirs)) => prop_assert!(!unique || ours == theirs),
                (Err(_), Err(_)) => {}
                (ours, theirs) => prop_assert!(false, "{text}: {ours:?}, {theirs:?}"),
            }
        }
    }
}
