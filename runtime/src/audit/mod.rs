//! What a payload would hold and reach, item by item, with a score.
//!
//! [`Audit::of`] reads the plan, which is what will be done, and the Spec for
//! what a plan has no words for (which bind is writable, on what). The filter
//! is judged by asking the very program that the plan installs about calls
//! that have led out of containers before. Pure: nothing is looked up.
//!
//! **What a score means.** Each row says how much that item *alone* would give
//! to a payload that is hostile: 0.0 is nothing, 10.0 is the host. The whole is
//! not a mean: a hole is not made smaller by ten closed doors. Rows combine as
//! chances of independent ways out would, `10 × (1 − Π(1 − row ÷ 10))`, so one
//! row of 10.0 makes the whole 10.0, and no row ever lowers it.
//!
//! **What it does not mean.** The numbers are a judgement, for comparing two
//! Specs and for finding the row that matters, and may change with a version.
//! Bugs of the kernel and the contents of what is bound are not weighed.
//!
//! ```
//! use skep::{Facts, Spec, audit::Audit, compile};
//! # fn main() -> skep::Result<()> {
//! let mut spec = Spec::default();
//! spec.command = vec!["true".into()];
//! let plan = compile(&spec, &Facts::example(&spec))?;
//! let audit = Audit::of(&spec, &plan);
//! assert_eq!(audit.row("user namespace").map(|row| row.exposure.tenths()), Some(0));
//! println!("{} ({})", audit.exposure(), audit.verdict());
//! # Ok(())
//! # }
//! ```

mod calls;
mod files;
mod holdings;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::spec::{MachineName, Spec};
use holdings::Holdings;

/// How much something gives to a hostile payload, from 0.0 to 10.0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Exposure(u8);

impl Exposure {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The host.
    pub const FULL: Self = Self(100);

    const fn of(tenths: u8) -> Self {
        if tenths > 100 { Self::FULL } else { Self(tenths) }
    }

    /// In tenths, from 0 to 100.
    #[must_use]
    pub const fn tenths(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.0 / 10, self.0 % 10))
    }
}

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[non_exhaustive]
pub enum Area {
    /// Who the payload is, inside and outside.
    Identity,
    /// Capabilities that it holds or can get.
    Capabilities,
    /// System calls that the filter lets through.
    Calls,
    /// Namespaces that it shares with the caller.
    Namespaces,
    /// Files of the host that it reaches.
    Files,
    /// What else of the host it sees.
    Host,
    /// What it can use up.
    Limits,
}

impl Area {
    /// All, in the order of the rows.
    pub const ALL: [Self; 7] =
        [Self::Identity, Self::Capabilities, Self::Calls, Self::Namespaces, Self::Files, Self::Host, Self::Limits];

    /// The word that tables and JSON have for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Capabilities => "capabilities",
            Self::Calls => "calls",
            Self::Namespaces => "namespaces",
            Self::Files => "files",
            Self::Host => "host",
            Self::Limits => "limits",
        }
    }
}

/// One row of an [`Audit`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Row {
    /// What it is about.
    pub area: Area,
    /// Which: `user namespace`, `calls that mount`, `bind /data`; no two rows
    /// have the same.
    pub item: String,
    /// What the payload has there.
    pub holds: String,
    /// What that alone would give it.
    pub exposure: Exposure,
    /// The reason for the number.
    pub why: String,
}

impl Row {
    fn to_json(&self) -> Value {
        json!({
            "area": self.area.name(), "item": self.item, "holds": self.holds,
            "exposure": f64::from(self.exposure.0) / 10.0, "why": self.why,
        })
    }
}

/// A word for the whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Below 1.0.
    Closed,
    /// Below 2.5.
    Tight,
    /// Below 5.0.
    Fair,
    /// Below 7.5.
    Loose,
    /// All above.
    Open,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Tight => "tight",
            Self::Fair => "fair",
            Self::Loose => "loose",
            Self::Open => "open",
        })
    }
}

/// What a payload would hold and reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    machine: MachineName,
    rows: Vec<Row>,
}

impl Audit {
    /// Judges `plan`, which was compiled from `spec`.
    #[must_use]
    pub fn of(spec: &Spec, plan: &Plan) -> Self {
        let holdings = Holdings::of(plan);
        let mut rows = Rows::default();
        rows::identity(&holdings, plan, &mut rows);
        rows::capabilities(&holdings, &mut rows);
        calls::judge(&holdings, spec, &mut rows);
        rows::namespaces(&holdings, &mut rows);
        files::judge(&holdings, spec, &mut rows);
        rows::host(plan, spec, &mut rows);
        rows::restrictions(plan, &mut rows);
        rows::limits(plan, &mut rows);
        Self { machine: plan.machine().clone(), rows: rows.0 }
    }

    /// The container's name.
    #[must_use]
    pub fn machine(&self) -> &MachineName {
        &self.machine
    }

    /// The rows, area by area.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row of an item.
    #[must_use]
    pub fn row(&self, item: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.item == item)
    }

    /// The whole: see the module.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        combined(self.rows.iter().map(|row| row.exposure))
    }

    /// The whole in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.exposure().0 {
            0..10 => Verdict::Closed,
            10..25 => Verdict::Tight,
            25..50 => Verdict::Fair,
            50..75 => Verdict::Loose,
            _ => Verdict::Open,
        }
    }

    /// As JSON: `{"machine", "exposure", "verdict", "rows": [{"area", "item",
    /// "holds", "exposure", "why"}]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "machine": self.machine.as_str(),
            "exposure": f64::from(self.exposure().0) / 10.0,
            "verdict": self.verdict().to_string(),
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }

    /// What is different in `other`, item by item: rows that one of them lacks,
    /// holds something else in, or scores otherwise.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<Difference<'a>> {
        let mut found: Vec<Difference<'_>> = self
            .rows
            .iter()
            .map(|row| Difference { before: Some(row), after: other.row(&row.item) })
            .chain(
                other
                    .rows
                    .iter()
                    .filter(|row| self.row(&row.item).is_none())
                    .map(|row| Difference { before: None, after: Some(row) }),
            )
            .filter(|pair| pair.key() != Difference { before: pair.after, after: pair.before }.key())
            .collect();
        found.sort_by_key(Difference::area);
        found
    }
}

/// An item that two audits differ in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Difference<'a> {
    /// In the first, if it is there.
    pub before: Option<&'a Row>,
    /// In the second, if it is there.
    pub after: Option<&'a Row>,
}

impl Difference<'_> {
    fn key(&self) -> Option<(&str, Exposure)> {
        self.before.map(|row| (row.holds.as_str(), row.exposure))
    }

    fn area(&self) -> Option<Area> {
        self.before.or(self.after).map(|row| row.area)
    }

    /// As JSON: `{"item", "before", "after"}`, with rows or `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let item = self.before.or(self.after).map(|row| row.item.as_str());
        json!({ "item": item, "before": self.before.map(Row::to_json), "after": self.after.map(Row::to_json) })
    }
}

/// In millionths of what is left, so that many small rows still add up.
fn combined(rows: impl Iterator<Item = Exposure>) -> Exposure {
    const WHOLE: u64 = 1_000_000;
    let left = rows.fold(WHOLE, |left, row| left * u64::from(100 - row.0) / 100);
    // Rounded up: only nothing is 0.0.
    Exposure::of(u8::try_from((WHOLE - left).div_ceil(WHOLE / 100)).unwrap_or(100))
}

/// Rows in the making.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(
        &mut self,
        area: Area,
        item: impl Into<String>,
        holds: impl Into<String>,
        tenths: u8,
        why: impl Into<String>,
    ) {
        let row = Row { area, item: item.into(), holds: holds.into(), exposure: Exposure::of(tenths), why: why.into() };
        self.0.push(row);
    }
}
