//! A whole file: version, every problem, origins.

use std::path::Path;

use serde::Deserialize;

use super::MAX_FILE;
use super::fault::Fault;
use super::node::{Kind, Node};
use crate::dialect::{Problem, Problems};
use crate::spec::{Origin, Spec};

/// How many problems are listed: more than anybody reads.
pub(super) const MOST: usize = 100;

/// How many values are looked at, over all attempts to find the next problem.
const MOST_WORK: usize = 5_000_000;

/// The place of what is said about the rest of a file: behind all of it.
const END: usize = usize::MAX;

/// The one version of the format that there is.
const VERSION: u64 = 1;

/// What a parser gives: the value and the faults that do not keep it from going
/// on, or those that do.
type Parsed = Result<(Node, Vec<Fault>), Vec<Fault>>;

/// Reads a Spec from JSON. A field that is absent has its value of
/// [`Spec::default`]; `$schema` is left to editors.
///
/// `file` is for messages and for the origins in the Spec; nothing is opened.
/// Never panics, whatever the bytes are.
///
/// # Errors
///
/// Everything that is wrong with the file, in its order. Whether the Spec makes
/// sense is for [`crate::compile()`] to say.
pub fn read_json(file: &Path, bytes: &[u8]) -> Result<Spec, Problems> {
    read(file, bytes, |text| super::json::read(text).map_err(|fault| vec![fault]))
}

/// Reads a Spec from TOML 1.1. Otherwise as [`read_json`].
///
/// # Errors
///
/// Everything that is wrong with the file, in its order.
#[cfg(feature = "toml")]
pub fn read_toml(file: &Path, bytes: &[u8]) -> Result<Spec, Problems> {
    read(file, bytes, super::toml::read)
}

fn read(file: &Path, bytes: &[u8], parse: impl Fn(&str) -> Parsed) -> Result<Spec, Problems> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let too_long = bytes.len() > MAX_FILE;
    let (text, broken) = match std::str::from_utf8(bytes.get(..MAX_FILE).unwrap_or(bytes)) {
        Ok(text) => (text, false),
        Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), true),
    };
    let source = Source { file, lines: Lines::of(text) };
    if too_long {
        let message = format!("the file has more than {MAX_FILE} bytes");
        return Err(source.problems(None, vec![Fault::new(message).at(0)]));
    }
    if broken {
        let fault = Fault::new("the file is not UTF-8").remedy("save it as UTF-8").at(text.len());
        return Err(source.problems(None, vec![fault]));
    }
    let (mut root, mut faults) = parse(text).map_err(|faults| source.problems(None, faults))?;
    if let Some(fault) = unknown_version(&root) {
        return Err(source.problems(Some(&root), vec![fault]));
    }
    if let Kind::Table(fields) = &mut root.kind {
        fields.retain(|field| field.name != "$schema" || field.value.text().is_none());
    }
    let spec = decode(&mut root, &mut faults);
    match spec {
        Some(mut spec) if faults.is_empty() => {
            source.note_origins(&root, &mut spec);
            Ok(spec)
        }
        _ => Err(source.problems(Some(&root), faults)),
    }
}

/// A file of another version means other things by the same words, so nothing
/// else is said about it.
fn unknown_version(root: &Node) -> Option<Fault> {
    let nth = root.fields().iter().position(|field| field.name == "version")?;
    let Kind::Number(number) = &root.fields().get(nth)?.value.kind else {
        return None; // It is among the problems of a file of any version.
    };
    if number.as_u64() == Some(VERSION) {
        return None;
    }
    let message = format!("version {number} of the format is not known here");
    Some(Fault::new(message).remedy(format!("write version {VERSION}, or use a newer library")).within(nth))
}

/// Reads the tree. serde stops at the first value that is wrong, so each that is
/// found is passed over in the next attempt.
fn decode(root: &mut Node, faults: &mut Vec<Fault>) -> Option<Spec> {
    let mut attempts = MOST_WORK / root.count().max(1);
    loop {
        let fault = match Spec::deserialize(&*root) {
            Ok(spec) => return Some(spec),
            Err(fault) => fault,
        };
        let top = fault.path.is_empty();
        let mut node = &mut *root;
        for &step in fault.path.iter().rev() {
            node.damaged = true;
            match node.child_mut(step) {
                Some(child) => node = child,
                None => return None,
            }
        }
        // What is missing in a value that lacks what was passed over is no news.
        let echo = fault.missing && node.damaged;
        (node.skipped, node.damaged) = (true, true);
        if !echo {
            faults.push(fault);
        }
        attempts = attempts.saturating_sub(1);
        if top {
            return None;
        }
        if faults.len() >= MOST || attempts == 0 {
            faults.push(Fault::new("there may be more problems, which are not listed").at(END));
            return None;
        }
    }
}

/// Where lines begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// Line and column of a byte, from 1, the column in characters.
    fn place(&self, at: usize) -> (u32, u32) {
        let at = at.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..at).unwrap_or_default().chars().count() + 1;
        (number(line), number(column))
    }

    fn line(&self, at: usize) -> u32 {
        number(self.starts.partition_point(|start| *start <= at))
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The file that is read.
struct Source<'a> {
    file: &'a Path,
    lines: Lines<'a>,
}

impl Source<'_> {
    fn problems(&self, root: Option<&Node>, faults: Vec<Fault>) -> Problems {
        let mut list: Vec<Problem> = faults.into_iter().map(|fault| self.problem(root, fault)).collect();
        list.sort_by_key(|problem| (problem.line, problem.column));
        Problems(list)
    }

    fn problem(&self, root: Option<&Node>, fault: Fault) -> Problem {
        let steps: Vec<usize> = fault.path.iter().rev().copied().collect();
        let (path, at) = match (root, fault.at) {
            (_, Some(at)) => (fault.named.unwrap_or_default(), at),
            (Some(root), None) => root.describe(&steps),
            (None, None) => (String::new(), 0),
        };
        let (line, column) = self.lines.place(at);
        Problem {
            file: self.file.to_owned(),
            line,
            column,
            key: Some(path).filter(|path| !path.is_empty()),
            message: fault.message,
            remedy: fault.remedy.or_else(|| Some("correct the file".to_owned())),
        }
    }

    /// Notes where the fields of the Spec are set, under the names that the rest
    /// of the library asks for: `root.path`, `limits.CORE`, `mounts./var/www`.
    fn note_origins(&self, root: &Node, spec: &mut Spec) {
        let mut note = |name: String, key: String, at: usize| {
            let origin = Origin::File { path: self.file.to_owned(), line: self.lines.line(at), key };
            spec.origins.note(name, origin);
        };
        for field in root.fields() {
            let name = &field.name;
            match &field.value.kind {
                Kind::Table(fields) if !fields.is_empty() => {
                    for part in fields {
                        let path = format!("{name}.{}", part.name);
                        note(path.clone(), path, part.at);
                    }
                }
                Kind::List(items) if items.iter().all(|item| named(item, name).is_some()) && !items.is_empty() => {
                    for (nth, item) in items.iter().enumerate() {
                        let of = named(item, name).unwrap_or_default();
                        note(format!("{name}.{of}"), format!("{name}[{nth}]"), item.at);
                    }
                }
                _ => note(name.clone(), name.clone(), field.at),
            }
        }
    }
}

/// By what an item of a list is known: a mount by its target, a path by itself.
fn named<'a>(item: &'a Node, list: &str) -> Option<&'a str> {
    match item.kind {
        Kind::Table(_) => item.field("target").and_then(Node::text),
        _ if matches!(list, "masked" | "read_only") => item.text(),
        _ => None,
    }
}
