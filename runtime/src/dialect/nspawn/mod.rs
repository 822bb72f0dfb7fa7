//! Settings files of `systemd-nspawn` (`systemd.nspawn(5)`).
//!
//! [`parse`] reads one, [`Settings::apply`] lays it over a [`Spec`](crate::spec::Spec),
//! and `Display` prints it again. The syntax is that of `systemd`. What is done
//! with it is stricter, because a typing error in a hardening key must not mean
//! no hardening:
//!
//! - an unknown section or key, a line without `=`, or a bad value is an error;
//!   only names that start with `X-` are left alone;
//! - a key that `systemd-nspawn` knows and this version does not act on is an
//!   error, never ignored;
//! - a key that takes one value stands in a file once;
//! - an empty value is an error, except for `Parameters=` and `Environment=`,
//!   where it forgets what stood before;
//! - a line that holds a NUL or a carriage return (but at its end) is an error;
//! - a relative source of a bind is taken from the directory of the file;
//! - `Parameters=` always sets the command, not only beside `ProcessTwo=`;
//! - a tmpfs without a size gets the default size of [`Tmpfs`](crate::spec::Tmpfs),
//!   not half of the memory.
//!
//! ```
//! use std::path::Path;
//! use skep::dialect::nspawn;
//!
//! let file = Path::new("/etc/systemd/nspawn/web.nspawn");
//! let settings = nspawn::parse(file, b"[Exec]\nHostname=web\n[Files]\nBind=/srv/web\n")?;
//! assert_eq!(settings.to_string(), "[Exec]\nHostname=web\n[Files]\nBind=/srv/web:/srv/web:rbind\n");
//!
//! let problems = nspawn::parse(file, b"[Exec]\nHostnam=web\n").unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "/etc/systemd/nspawn/web.nspawn:2:1: Hostnam: unknown key in [Exec]; did you mean `Hostname=`?",
//! );
//! # Ok::<(), skep::dialect::Problems>(())
//! ```

mod apply;
mod assignment;
#[cfg(test)]
mod cases;
mod found;
mod lines;
mod mounts;
mod print;
#[cfg(test)]
mod properties;
mod settings;
mod table;
#[cfg(test)]
mod tests;
pub mod value;

use std::path::Path;

pub use settings::{Settings, UntrustedSettings};
pub use table::{KEYS, Key, Section, Trust};

use super::Problems;
use super::problem::quoted;
use crate::spec::Origin;
use assignment::Value;
use found::Found;
use lines::{BLANK, Lines, Place};
use settings::{Harmless, Privileged, origin};
use table::{Read, Shape};

/// Bytes of a file, at most.
pub const MAX_FILE: usize = 1 << 20;

/// Assignments, and words of `Parameters=` and `Environment=`, at most.
pub const MAX_VALUES: usize = 10_000;

/// Reads a file that is trusted: whoever wrote it may do what the caller may.
///
/// `file` is its absolute path, for messages and for relative sources of
/// binds; nothing is opened. Never panics, whatever the bytes are.
///
/// # Errors
///
/// Everything that is wrong with the file, in its order.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Settings, Problems> {
    let reading = read(file, bytes, true)?;
    Ok(Settings { file: file.to_owned(), harmless: reading.harmless, privileged: reading.privileged })
}

/// Reads a file that is not trusted, such as one beside an image.
///
/// What only a trusted file may set is not even looked at, and listed in
/// [`UntrustedSettings::ignored`]; so is `NoNewPrivileges=no`, which would take
/// away what the profile `strict` gives.
///
/// # Errors
///
/// Everything else that is wrong with the file, in its order.
pub fn parse_untrusted(file: &Path, bytes: &[u8]) -> Result<UntrustedSettings, Problems> {
    let mut reading = read(file, bytes, false)?;
    let weaker = reading.harmless.no_new_privileges.take_if(|setting| !setting.value);
    reading.ignored.extend(weaker.map(|setting| setting.origin(file)));
    Ok(UntrustedSettings { file: file.to_owned(), harmless: reading.harmless, ignored: reading.ignored })
}

#[derive(Default)]
struct Reading {
    harmless: Harmless,
    privileged: Privileged,
    ignored: Vec<Origin>,
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

fn read(file: &Path, bytes: &[u8], trusted: bool) -> Result<Reading, Problems> {
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
            Read::NotYet => {}
        }
    }
    found.or(reading)
}

/// Why an assignment cannot be, whatever its value, and what to do.
fn refusal(key: &Key, value: &str, first: Option<Place>) -> Option<(String, String)> {
    let name = key.name;
    if !key.is_supported() {
        return Some((
            format!("`{name}=` is not supported yet"),
            "remove the line if the container can do without it".to_owned(),
        ));
    }
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
        let near = Section::ALL.into_iter().find(|known| distance(known.name(), name.trim_matches(BLANK)) <= 2);
        let remedy = match near {
            Some(near) => format!("did you mean [{}]?", near.name()),
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
    let near: Vec<(usize, &Key)> = KEYS
        .iter()
        .map(|key| (distance(key.name, name), key))
        .filter(|(distance, key)| *distance <= 2 && *distance < key.name.len() / 2)
        .collect();
    let least = near.iter().map(|(distance, key)| (*distance, key.section != section)).min();
    let names: Vec<String> = near
        .iter()
        .filter(|(distance, key)| Some((*distance, key.section != section)) == least)
        .map(|(_, key)| {
            if key.section == section {
                format!("`{}=`", key.name)
            } else {
                format!("`{}=` of [{}]", key.name, key.section.name())
            }
        })
        .collect();
    if names.is_empty() {
        return "remove the line; only names that start with `X-` are free for other uses".to_owned();
    }
    format!("did you mean {}?", names.join(" or "))
}

/// How many letters to insert, remove or change to get from one name to the
/// other, whatever their case; more than two is not counted.
fn distance(known: &str, given: &str) -> usize {
    const FAR: usize = 3;
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
    if known.len().abs_diff(given.len()) >= FAR {
        return FAR;
    }
    let (known, given) = (lower(known), lower(given));
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (i, a) in known.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in given.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[given.len()].min(FAR)
}
