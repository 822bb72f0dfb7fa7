//! What is wrong with a value, in words, before it is known where it stands.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::dialect::nearest::nearest;
use crate::dialect::problem::{excerpt, quoted};

/// The nth field of a table, or item of a list.
pub(super) type Step = usize;

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) remedy: Option<String>,
    /// The byte, where the text is not read further.
    pub(super) at: Option<usize>,
    /// The way from the value to the top, gathered as the error comes up.
    pub(super) path: Vec<Step>,
    /// The name of a field that is in no tree.
    pub(super) named: Option<String>,
    /// Whether something is not there.
    pub(super) missing: bool,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, at: None, path: Vec::new(), named: None, missing: false }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) const fn at(mut self, at: usize) -> Self {
        self.at = Some(at);
        self
    }

    /// Of a field that is in no tree.
    pub(super) fn named(mut self, name: &str) -> Self {
        self.named = Some(name.to_owned());
        self
    }

    pub(super) const fn missing(mut self) -> Self {
        self.missing = true;
        self
    }

    /// As seen from one level above.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// What stands there. A text is not shown: it may be the value of a variable.
fn unexpected(what: Unexpected<'_>) -> String {
    match what {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(_) | Unexpected::Char(_) => "a text".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::UnitVariant => "a word alone".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// What should stand there; serde says it in the words of Rust.
fn expected(what: &dyn Expected) -> String {
    let what = what.to_string();
    let up_to = |most: u64| format!("a number from 0 to {most}");
    match what.as_str() {
        "u8" => up_to(u64::from(u8::MAX)),
        "u16" => up_to(u64::from(u16::MAX)),
        "u32" => up_to(u64::from(u32::MAX)),
        "u64" | "usize" => up_to(u64::MAX),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "a string" | "string" => "a text".to_owned(),
        "path string" => "a path".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "newtype variant" | "struct variant" => "an object of one field".to_owned(),
        _ if what.starts_with("struct ") || what.starts_with("struct variant ") => "an object".to_owned(),
        _ if what.starts_with("enum ") || what == "variant identifier" => {
            "a word, or an object of one field".to_owned()
        }
        _ if what.starts_with("an array of length") => what.replace("an array of length", "a list of length"),
        _ => what,
    }
}

/// The names that are known, the nearest if one is near.
fn proposal(given: &str, known: &'static [&'static str], what: &str) -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let near = nearest(given, known.iter().copied());
    match (near.is_empty(), known.is_empty()) {
        (false, _) => format!("did you mean {}?", list(&near).join(" or ")),
        (true, true) => "remove it".to_owned(),
        (true, false) => format!("{what} are {}", list(known).join(", ")),
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if message.starts_with("data did not match any variant") {
            return Self::new("neither a text nor a list of bytes");
        }
        Self::new(message)
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(format!("{} where {} is expected", unexpected(found), expected(wanted)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn invalid_length(length: usize, wanted: &dyn Expected) -> Self {
        Self::new(format!("a list of {length} where {} is expected", expected(wanted))).missing()
    }

    fn unknown_variant(given: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("{} is not known here", quoted(given))).remedy(proposal(given, known, "words"))
    }

    fn unknown_field(given: &str, known: &'static [&'static str]) -> Self {
        Self::new("unknown field").remedy(proposal(given, known, "fields"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the field `{field}` is missing")).missing()
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the field `{}` is given twice", excerpt(field)))
    }
}
