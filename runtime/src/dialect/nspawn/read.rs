//! From lines to settings: sections, keys, and who reads which value.

use std::path::Path;

use super::assignment::Value;
use super::found::Found;
use super::lines::{BLANK, Lines, Place};
use super::settings::{Harmless, Privileged, origin};
use super::table::{KEYS, Key, Read, Section, Shape, Trust};
use super::value::Parsed;
use super::{MAX_FILE, MAX_VALUES};
use crate::dialect::Problems;
use crate::dialect::nearest::nearest;
use crate::dialect::problem::quoted;
use crate::spec::Origin;

/// What a file says.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) harmless: Harmless,
    pub(super) privileged: Privileged,
    /// Where it says what it may not.
    pub(super) ignored: Vec<Origin>,
}

/// Which section a line is in.
#[derive(Clone, Copy)]
enum Within {
    /// None yet.
    Nothing,
    /// One whose keys are not judged: unknown, or beginning with `X-`.
    Foreign,
    /// A known one.
    Known(Section),
}

/// Reads a whole file; what it may not set is listed, not read.
pub(super) fn read(file: &Path, bytes: &[u8], trusted: bool) -> Result<Reading, Problems> {
    let mut reading = Reading::default();
    let mut found = Found::new(file);
    if bytes.len() > MAX_FILE {
        let message = format!("the file has {} bytes; {MAX_FILE} are the most", bytes.len());
        found.add(Place::START, None, message, None);
        return found.or(reading);
    }
    // Where each key of the table stands first.
    let mut first: Vec<Option<Place>> = vec![None; KEYS.len()];
    let mut left = MAX_VALUES;
    let mut within = Within::Nothing;
    let mut lines = Lines::new(bytes);
    while let Some(line) = lines.next(&mut found) {
        if found.is_stopped() {
            break;
        }
        let text = line.text.trim_start_matches(BLANK);
        let start = line.text.len() - text.len();
        let text = text.trim_end_matches(BLANK);
        if text.is_empty() {
            continue;
        }
        if text.starts_with('[') {
            within = header(text, line.place(start), &mut found);
            continue;
        }
        let section = match within {
            Within::Foreign => continue,
            Within::Nothing => None,
            Within::Known(section) => Some(section),
        };
        let place = line.place(start);
        if left == 0 {
            found.stop(place, None);
            break;
        }
        left -= 1;
        let Some((name, value)) = text.split_once('=') else {
            // The text is not shown: it may be half of a variable's value.
            found.add(
                place,
                None,
                "the line has no `=`",
                Some(
                    "write KEY=VALUE, `#` before a comment, or `\\` at the end of the line before to continue it"
                        .to_owned(),
                ),
            );
            continue;
        };
        let at = start + name.len() + 1 + (value.len() - value.trim_start_matches(BLANK).len());
        let (name, value) = (name.trim_end_matches(BLANK), value.trim_start_matches(BLANK));
        let Some((index, key)) = known(name, section, place, &mut found) else {
            continue;
        };
        if !trusted && key.trust == Trust::Trusted {
            reading.ignored.push(origin(file, place, key.name));
            continue;
        }
        if let Some(message) = refusal(key, value, first[index]) {
            found.add(place, Some(key.name), message.0, Some(message.1));
            continue;
        }
        first[index].get_or_insert(place);
        let mut value = Value { key, text: value, at, line: &line, found: &mut found, file, left: &mut left };
        match key.read {
            Read::Harmless(read) => read(&mut reading.harmless, &mut value),
            Read::Privileged(read) => read(&mut reading.privileged, &mut value),
            Read::Anyhow(check) => anyhow(check, &mut reading.harmless, &mut value),
        }
    }
    reading.harmless.anyhow.sort_by_key(|setting| setting.key);
    found.or(reading)
}

/// A value of a key that is not acted on: refused, or what happens anyhow.
fn anyhow(check: fn(&str) -> Parsed<()>, harmless: &mut Harmless, value: &mut Value<'_, '_>) {
    let key = value.key;
    if value.text.is_empty() {
        harmless.anyhow.retain(|setting| setting.key != key);
    }
    value.push(&mut harmless.anyhow, |text| check(text).map(|()| (key.name, text.to_owned())));
}

/// Why an assignment cannot be, whatever its value, and what to do.
fn refusal(key: &Key, value: &str, first: Option<Place>) -> Option<(String, String)> {
    let name = key.name;
    if let Some(first) = first.filter(|_| key.shape == Shape::Once) {
        return Some((
            format!("`{name}=` is given twice; line {} is the first", first.line),
            "remove one of the lines".to_owned(),
        ));
    }
    if !value.is_empty() {
        return None;
    }
    match key.shape {
        Shape::Once => Some((format!("`{name}=` has no value"), "remove the line for the default".to_owned())),
        Shape::List => Some((
            format!("`{name}=` has no value; an empty one does not reset the list"),
            "remove the line, and those before it that it should undo".to_owned(),
        )),
        Shape::Resettable => None,
    }
}

/// The section that a line of the form `[NAME]` opens.
fn header(text: &str, place: Place, found: &mut Found<'_>) -> Within {
    let name = text.strip_prefix('[').unwrap_or(text);
    let name = match name.strip_suffix(']') {
        Some(name) => name,
        None => {
            found.add(
                place,
                None,
                "the section header does not end with `]`",
                Some("end the line with `]`".to_owned()),
            );
            name
        }
    };
    if name.starts_with("X-") {
        return Within::Foreign;
    }
    if let Some(section) = Section::ALL.into_iter().find(|known| known.name() == name) {
        return Within::Known(section);
    }
    if text.ends_with(']') {
        let remedy = match nearest(name.trim_matches(BLANK), Section::ALL.iter().map(|known| known.name())).first() {
            Some(near) => format!("did you mean [{near}]?"),
            None => "sections are [Exec], [Files] and [Network]".to_owned(),
        };
        found.add(place, None, format!("unknown section {}", quoted(name)), Some(remedy));
    }
    Within::Foreign
}

/// The key of an assignment, with its index in the table, if there is one to act on.
fn known(name: &str, section: Option<Section>, place: Place, found: &mut Found<'_>) -> Option<(usize, &'static Key)> {
    let Some(section) = section else {
        let remedy = match KEYS.iter().find(|key| key.name == name) {
            Some(key) => format!("write [{}] before it", key.section.name()),
            None => "write [Exec], [Files] or [Network] before it".to_owned(),
        };
        found.add(place, Some(name), "a key before any section", Some(remedy));
        return None;
    };
    let keys = || KEYS.iter().enumerate();
    if let Some(key) = keys().find(|(_, key)| key.section == section && key.name == name) {
        return Some(key);
    }
    if name.starts_with("X-") {
        return None;
    }
    if name.is_empty() {
        found.add(place, None, "the line has no key before `=`", Some("write KEY=VALUE".to_owned()));
        return None;
    }
    let message = format!("unknown key in [{}]", section.name());
    let remedy = if let Some((_, key)) = keys().find(|(_, key)| key.name == name) {
        format!("it belongs to [{}]", key.section.name())
    } else {
        suggestion(name, section)
    };
    found.add(place, Some(name), message, Some(remedy));
    None
}

/// The keys whose names are nearest to an unknown one, those of its section first.
fn suggestion(name: &str, section: Section) -> String {
    let near = nearest(name, KEYS.iter().map(|key| key.name));
    let keys: Vec<&Key> = KEYS.iter().filter(|key| near.contains(&key.name)).collect();
    let own = keys.iter().any(|key| key.section == section);
    let names: Vec<String> = keys
        .iter()
        .filter(|key| !own || key.section == section)
        .map(|key| match own {
            true => format!("`{}=`", key.name),
            false => format!("`{}=` of [{}]", key.name, key.section.name()),
        })
        .collect();
    if names.is_empty() {
        return "remove the line; only names that start with `X-` are free for other uses".to_owned();
    }
    format!("did you mean {}?", names.join(" or "))
}
