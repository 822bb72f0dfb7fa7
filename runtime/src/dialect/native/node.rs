//! A value, and where its text stands.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::fault::Fault;
use super::{MAX_DEPTH, MAX_VALUES};

/// How many values may follow.
pub(super) struct Budget(pub(super) usize);

impl Budget {
    /// Takes one for the value at byte `at`, so many levels deep.
    pub(super) fn take(&mut self, depth: usize, at: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(format!("values are nested more than {MAX_DEPTH} deep")).at(at));
        }
        let Some(left) = self.0.checked_sub(1) else {
            return Err(Fault::new(format!("there are more than {MAX_VALUES} values"))
                .remedy("leave out what the container can do without")
                .at(at));
        };
        self.0 = left;
        Ok(())
    }
}

/// A value of a file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The byte at which its text begins.
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// Whether it, or something in it, was found wrong. What is missing in such a
    /// value is no problem of its own.
    pub(super) damaged: bool,
    /// Whether it is passed over, being wrong.
    pub(super) skipped: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    /// Fields, in the order of the file, each name once.
    Table(Vec<Field>),
}

/// A field of a table.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// The byte at which its name begins.
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) value: Node,
}

impl Node {
    pub(super) const fn new(at: usize, kind: Kind) -> Self {
        Self { at, kind, damaged: false, skipped: false }
    }

    /// Its fields, if it is a table.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Table(fields) => fields,
            _ => &[],
        }
    }

    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        self.fields().iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// Its text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Follows one step of a path: the nth field or item.
    pub(super) fn child_mut(&mut self, nth: usize) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::List(items) => items.get_mut(nth),
            Kind::Table(fields) => fields.get_mut(nth).map(|field| &mut field.value),
            _ => None,
        }
    }

    /// How many values it holds, itself included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Self::count).sum(),
            Kind::Table(fields) => fields.iter().map(|field| field.value.count()).sum(),
            _ => 0,
        }
    }

    /// The path `steps` in words, such as `mounts[3].kind`, and the byte at which
    /// what it leads to begins: the name of a field, else the value.
    pub(super) fn describe(&self, steps: &[usize]) -> (String, usize) {
        let (mut node, mut path, mut at) = (self, String::new(), self.at);
        for &step in steps {
            match &node.kind {
                Kind::List(items) => {
                    let Some(item) = items.get(step) else { break };
                    path.push_str(&format!("[{step}]"));
                    (node, at) = (item, item.at);
                }
                Kind::Table(fields) => {
                    let Some(field) = fields.get(step) else { break };
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&field.name);
                    (node, at) = (&field.value, field.at);
                }
                _ => break,
            }
        }
        (path, at)
    }
}

/// Says the same, wherever it stands; the order of fields does not matter.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(one), Kind::Bool(other)) => one == other,
            (Kind::Number(one), Kind::Number(other)) => one == other,
            (Kind::Text(one), Kind::Text(other)) => one == other,
            (Kind::List(one), Kind::List(other)) => one == other,
            (Kind::Table(one), Kind::Table(fields)) => {
                one.len() == fields.len() && one.iter().all(|field| other.field(&field.name) == Some(&field.value))
            }
            _ => false,
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.kind {
            Kind::Null => serializer.serialize_none(),
            Kind::Bool(value) => serializer.serialize_bool(*value),
            Kind::Number(number) => number.serialize(serializer),
            Kind::Text(text) => serializer.serialize_str(text),
            Kind::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Kind::Table(fields) => {
                let mut table = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|field| table.serialize_entry(&field.name, &field.value))?;
                table.end()
            }
        }
    }
}
