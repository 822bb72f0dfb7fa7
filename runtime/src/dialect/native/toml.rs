//! From TOML to nodes, by crate `toml`, which keeps the places.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::MAX_VALUES;
use super::fault::Fault;
use super::node::{Budget, Field, Kind, Node};
use super::read::MOST;

/// A text up to this long is read to its end whatever is wrong with it. Each error
/// of a longer one would hold a copy of it.
const SHORT: usize = 1 << 16;

/// Reads a document.
///
/// # Errors
///
/// Where the text is not TOML, and values that no Spec has, such as dates.
pub(super) fn read(text: &str) -> Result<(Node, Vec<Fault>), Vec<Fault>> {
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) if text.len() > SHORT => return Err(vec![fault(&error)]),
        Err(error) => {
            let all = DeTable::parse_recoverable(text).1;
            let first = if all.is_empty() { vec![fault(&error)] } else { Vec::new() };
            return Err(first.into_iter().chain(all.iter().take(MOST).map(fault)).collect());
        }
    };
    let mut reader = Reader { budget: Budget(MAX_VALUES), faults: Vec::new() };
    match reader.table(document.into_inner(), 0) {
        Ok(kind) => Ok((Node::new(0, kind), reader.faults)),
        Err(fault) => Err(vec![fault]),
    }
}

fn fault(error: &Error) -> Fault {
    // The message of one error may have several lines.
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    Fault::new(message).at(error.span().map_or(0, |span| span.start))
}

struct Reader {
    budget: Budget,
    faults: Vec<Fault>,
}

impl Reader {
    fn value(&mut self, value: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
        let at = value.span().start;
        self.budget.take(depth, at)?;
        let kind = match value.into_inner() {
            DeValue::String(text) => Kind::Text(text.into_owned()),
            DeValue::Boolean(value) => Kind::Bool(value),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let read = u64::from_str_radix(digits, radix)
                    .map(Number::from)
                    .or_else(|_| i64::from_str_radix(digits, radix).map(Number::from));
                self.number(read.ok(), at)
            }
            DeValue::Float(number) => self.number(number.as_str().parse().ok().and_then(Number::from_f64), at),
            DeValue::Datetime(_) => {
                self.fault(Fault::new("a date has no meaning here").remedy("put it in quotes if it is a text").at(at));
                Kind::Null
            }
            DeValue::Array(items) => {
                Kind::List(items.into_iter().map(|item| self.value(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(fields) => self.table(fields, depth)?,
        };
        Ok(Node::new(at, kind))
    }

    fn table(&mut self, fields: DeTable<'_>, depth: usize) -> Result<Kind, Fault> {
        let mut all = Vec::new();
        for (name, value) in fields {
            let at = name.span().start;
            all.push(Field { at, name: name.into_inner().into_owned(), value: self.value(value, depth + 1)? });
        }
        all.sort_by_key(|field: &Field| field.at);
        Ok(Kind::Table(all))
    }

    fn number(&mut self, number: Option<Number>, at: usize) -> Kind {
        if let Some(number) = number {
            return Kind::Number(number);
        }
        self.fault(Fault::new("no number that can be used here").remedy("write a whole number").at(at));
        Kind::Null
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MOST {
            self.faults.push(fault);
        }
    }
}
