//! What a start applied, item by item.

use std::fmt;

/// What became of one hardening item. The text is for people, and may change
/// with a version; which of the three it is, is for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// In force, with its value.
    Applied(String),
    /// Wanted if supported, and not supported, for this reason.
    Unsupported(String),
    /// Switched off by the caller, or not part of the profile.
    Off(String),
}

/// One line of a [`Report`]. Names are stable within a major version.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Item {
    /// Which: `capabilities`, `namespace pid`, `limit pids`, ….
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a start applied: one line for each hardening item, also for what is
/// off or not supported, so that nothing weakens in silence.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    items: Vec<Item>,
}

impl Report {
    pub(crate) fn applied(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.add(name.into(), Outcome::Applied(value.to_string()));
    }

    pub(crate) fn unsupported(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.add(name.into(), Outcome::Unsupported(why.into()));
    }

    pub(crate) fn off(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.add(name.into(), Outcome::Off(why.into()));
    }

    fn add(&mut self, name: String, outcome: Outcome) {
        self.items.push(Item { name, outcome });
    }

    /// The items, in the order of application.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What became of `name`; `None` for what is no item of this start.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Outcome> {
        self.items.iter().find(|item| item.name == name).map(|item| &item.outcome)
    }

    /// The report as JSON: a list of `{"item", "outcome", "detail"}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.items
            .iter()
            .map(|item| {
                let (word, detail) = item.outcome.parts();
                serde_json::json!({ "item": item.name, "outcome": word, "detail": detail })
            })
            .collect()
    }
}

impl Outcome {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Applied(detail) => ("applied", detail),
            Self::Unsupported(detail) => ("unsupported", detail),
            Self::Off(detail) => ("off", detail),
        }
    }
}

/// `applied: 64 MiB`, on one line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, detail) = self.parts();
        write!(f, "{word}: {}", crate::Escaped::new(detail))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            let (word, detail) = item.outcome.parts();
            writeln!(f, "{:<22} {word:<11} {}", item.name, crate::Escaped::new(detail))?;
        }
        Ok(())
    }
}
