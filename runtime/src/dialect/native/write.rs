//! A Spec to nodes, and to text that holds only what differs from the defaults.

use serde::Deserialize;

use super::MAX_VALUES;
use super::node::{Field, Kind, Node};
#[cfg(feature = "toml")]
use crate::dialect::Unsayable;
use crate::dialect::Unsayables;
use crate::spec::Spec;

/// Writes a Spec as JSON: its version, and every field that is not as in
/// [`Spec::default`]. Reading it gives the same Spec.
///
/// The text holds the values of the environment variables.
///
/// # Errors
///
/// What JSON cannot say: a path that is not UTF-8.
pub fn to_json(spec: &Spec) -> Result<String, Unsayables> {
    let node = short(spec)?;
    let mut text = serde_json::to_string_pretty(&node).map_err(|error| whole(spec, &error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// Writes a Spec as TOML. Otherwise as [`to_json`].
///
/// # Errors
///
/// What TOML cannot say: a path that is not UTF-8, a number above
/// 9223372036854775807.
#[cfg(feature = "toml")]
pub fn to_toml(spec: &Spec) -> Result<String, Unsayables> {
    let mut node = short(spec)?;
    let mut found = Vec::new();
    no_toml(&mut node, String::new(), spec, &mut found);
    if !found.is_empty() {
        return Err(Unsayables(found));
    }
    toml::to_string_pretty(&node).map_err(|error| whole(spec, &error.to_string()))
}

/// Lists the numbers that TOML has not, and takes out each `null`, which it says
/// by leaving the field out.
#[cfg(feature = "toml")]
fn no_toml(node: &mut Node, path: String, spec: &Spec, found: &mut Vec<Unsayable>) {
    match &mut node.kind {
        Kind::Number(number) if number.as_u64().is_some_and(|number| i64::try_from(number).is_err()) => {
            let message = format!("{number} is more than a number of TOML can be");
            found.push(Unsayable::new(path, message, spec));
        }
        Kind::List(items) => {
            for (nth, item) in items.iter_mut().enumerate() {
                no_toml(item, format!("{path}[{nth}]"), spec, found);
            }
        }
        Kind::Table(fields) => {
            fields.retain(|field| !matches!(field.value.kind, Kind::Null));
            for field in fields {
                no_toml(&mut field.value, joined(&path, &field.name), spec, found);
            }
        }
        _ => {}
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn whole(spec: &Spec, message: &str) -> Unsayables {
    Unsayables::of("", message, spec)
}

/// The whole Spec, in the order of its fields.
fn tree(spec: &Spec) -> Result<Node, Unsayables> {
    let text = serde_json::to_string(spec).map_err(|error| whole(spec, &error.to_string()))?;
    // A string of JSON is no shorter than one byte for each value.
    super::json::read_most(&text, text.len()).map(|read| read.0).map_err(|fault| whole(spec, &fault.message))
}

/// The fields that are not as in the default Spec.
fn short(spec: &Spec) -> Result<Node, Unsayables> {
    let (mut all, default) = (tree(spec)?, tree(&Spec::default())?);
    if all.count() > MAX_VALUES {
        return Err(whole(spec, &format!("there are more than {MAX_VALUES} values")));
    }
    if let Kind::Table(fields) = &mut all.kind {
        fields.retain(|field| field.name == "version" || default.field(&field.name) != Some(&field.value));
        for field in fields {
            shorten(field, &default);
        }
    }
    Ok(all)
}

/// Leaves out what a field has in common with its default, if the rest still
/// reads as the same: a part of a struct may be absent, one of an enum may not.
fn shorten(field: &mut Field, default: &Node) {
    let Some(usual) = default.field(&field.name) else {
        return;
    };
    let parts = field.value.fields().iter().filter(|part| usual.field(&part.name) != Some(&part.value));
    let short = Node::new(0, Kind::Table(parts.cloned().collect()));
    if short.fields().len() == field.value.fields().len() {
        return;
    }
    let alone = Field { at: 0, name: field.name.clone(), value: short.clone() };
    let read = Spec::deserialize(&Node::new(0, Kind::Table(vec![alone]))).ok();
    let again = read.and_then(|spec| tree(&spec).ok());
    if again.as_ref().and_then(|again| again.field(&field.name)) == Some(&field.value) {
        field.value = short;
    }
}

/// The paths at which two Specs differ, such as `root.path` and `mounts`.
pub(in crate::dialect) fn differences(one: &Spec, other: &Spec) -> Result<Vec<String>, Unsayables> {
    let mut paths = Vec::new();
    compare(&tree(one)?, &tree(other)?, String::new(), &mut paths);
    Ok(paths)
}

fn compare(one: &Node, other: &Node, path: String, paths: &mut Vec<String>) {
    if one == other {
        return;
    }
    let (Kind::Table(fields), Kind::Table(others)) = (&one.kind, &other.kind) else {
        paths.push(path);
        return;
    };
    let only = others.iter().filter(|field| one.field(&field.name).is_none());
    for field in fields.iter().chain(only) {
        let path = joined(&path, &field.name);
        match (one.field(&field.name), other.field(&field.name)) {
            (Some(one), Some(other)) => compare(one, other, path, paths),
            _ => paths.push(path),
        }
    }
}
