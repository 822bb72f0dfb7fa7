//! Samples, taken in turns, and what is said of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Result;

/// Something that can be started again and again.
pub(crate) trait Subject {
    /// One start, from the call to the reaped end.
    fn sample(&mut self) -> Result<Duration>;
}

impl<F: FnMut() -> Result<Duration>> Subject for F {
    fn sample(&mut self) -> Result<Duration> {
        self()
    }
}

/// A subject with its name; or the reason why there is none.
pub(crate) struct Entry<'a> {
    pub(crate) name: String,
    pub(crate) subject: Result<Box<dyn Subject + 'a>>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(name: impl Into<String>, subject: impl Subject + 'a) -> Self {
        Self { name: name.into(), subject: Ok(Box::new(subject)) }
    }

    pub(crate) fn of<S: Subject + 'a>(name: impl Into<String>, subject: Result<S>) -> Self {
        let subject = subject.map(|subject| Box::new(subject) as Box<dyn Subject + 'a>);
        Self { name: name.into(), subject }
    }
}

/// How many samples, and when.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    /// Only while nothing else runs on this machine.
    pub(crate) alone: bool,
}

impl Pace {
    /// Asked for few samples.
    pub(crate) fn is_quick(self) -> bool {
        self.rounds < 100
    }

    /// For what takes longer, or needs fewer samples.
    pub(crate) fn share(self, part: usize) -> Self {
        Self { rounds: self.rounds.div_ceil(part), ..self }
    }

    /// Waits for the machine, but for no more than five seconds.
    pub(crate) fn wait(self) {
        let end = Instant::now() + Duration::from_secs(5);
        // This process is one of those that can run.
        while self.alone && runnable() > 1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The first half of the fourth field of `/proc/loadavg`.
fn runnable() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = text.split(' ').nth(3).and_then(|field| field.split('/').next());
    field.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Sorted, in microseconds.
    pub(crate) samples: Vec<f64>,
    pub(crate) note: String,
    /// Why there is nothing to measure.
    pub(crate) skipped: Option<String>,
}

impl Row {
    pub(crate) fn new(name: String, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { name, samples, note: String::new(), skipped: None }
    }

    pub(crate) fn skip(name: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { name: name.into(), samples: Vec::new(), note: String::new(), skipped: Some(why.to_string()) }
    }

    /// The sample below which `share` of all lie.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.samples.len().checked_sub(1)?;
        self.samples.get((last as f64 * share).round() as usize).copied()
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

/// Rows that were measured in turns. Ratios are to the first row.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    /// What is seen in it besides.
    pub(crate) remarks: Vec<String>,
    /// Whether the ratio to the first row means anything.
    pub(crate) ratios: bool,
    /// Of the samples.
    pub(crate) unit: &'static str,
    pub(crate) bounds: Vec<Bound>,
}

/// A number that the design wants held. Missing one fails nothing: the machine
/// may be busy.
pub(crate) struct Bound {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) most: f64,
    pub(crate) unit: &'static str,
}

impl Bound {
    pub(crate) fn new(what: impl Into<String>, value: f64, most: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, most, unit }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.most
    }

    pub(crate) fn line(&self) -> String {
        let word = if self.is_met() { "met   " } else { "missed" };
        let digits = if self.unit.is_empty() { 2 } else { 0 };
        let Self { what, value, most, unit, .. } = self;
        format!("{word} {what}: {value:.digits$}{unit}, at most {most:.digits$}{unit}")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "what": self.what, "value": self.value, "most": self.most, "unit": self.unit.trim(), "met": self.is_met() })
    }
}

/// Takes the same number of samples of each, in a new order every round: what one leaves
/// for the kernel to clear up (a network namespace is taken down after the
/// process has been reaped) falls on all others alike.
///
/// An entry that fails at its first try is skipped, with the reason.
pub(crate) fn in_turns(entries: Vec<Entry<'_>>, pace: Pace) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut ready = Vec::new();
    for (place, entry) in entries.into_iter().enumerate() {
        let warmed = entry.subject.and_then(|mut subject| {
            for _ in 0..3 {
                subject.sample()?;
            }
            Ok(subject)
        });
        match warmed {
            Ok(subject) => ready.push((place, entry.name, subject, Vec::with_capacity(pace.rounds))),
            Err(error) => rows.push((place, Row::skip(entry.name, error))),
        }
    }
    let mut order: Vec<usize> = (0..ready.len()).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..pace.rounds {
        dice.shuffle(&mut order);
        for index in &order {
            if let Some((_, name, subject, samples)) = ready.get_mut(*index) {
                pace.wait();
                let taken = subject.sample().map_err(|error| format!("{name}: {error}"))?;
                samples.push(microseconds(taken));
            }
        }
    }
    rows.extend(ready.into_iter().map(|(place, name, _, samples)| (place, Row::new(name, samples))));
    rows.sort_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

/// xorshift64: enough to shuffle with, and the same in every run.
struct Dice(u64);

impl Dice {
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            items.swap(last, (self.0 % (last as u64 + 1)) as usize);
        }
    }
}

impl Group {
    pub(crate) fn new(name: &'static str, title: impl Into<String>, rows: Vec<Row>) -> Self {
        let title = title.into();
        Self { name, title, rows, remarks: Vec::new(), ratios: true, unit: "µs", bounds: Vec::new() }
    }

    /// The median of the row with that name.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name)?.median()
    }

    /// A bound on the ratio of two rows, where both were measured.
    pub(crate) fn bound(&mut self, what: impl Into<String>, row: &str, base: &str, most: f64) {
        if let (Some(row), Some(base)) = (self.median(row), self.median(base)) {
            self.bounds.push(Bound::new(what, row / base, most, ""));
        }
    }

    pub(crate) fn ratio(&self, row: &Row) -> Option<f64> {
        let floor = self.rows.first()?.median()?;
        self.ratios.then_some(row.median()? / floor)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let ratio = if self.ratios { "ratio" } else { "" };
        let _ = writeln!(text, "{}: {}", self.name, self.title);
        let _ = writeln!(
            text,
            "  {:<34} {:>9} {:>9} {:>9} {:>7} {:>6}",
            "",
            format!("median {}", self.unit),
            "p10",
            "p90",
            ratio,
            "n"
        );
        for row in &self.rows {
            let numbers = (row.quantile(0.1), row.median(), row.quantile(0.9));
            let (Some(p10), Some(median), Some(p90)) = numbers else {
                let _ =
                    writeln!(text, "  {:<34} skipped: {}", row.name, row.skipped.as_deref().unwrap_or("no samples"));
                continue;
            };
            let ratio = self.ratio(row).map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let count = row.samples.len();
            let digits = usize::from(median < 1000.0);
            let line = format!(
                "  {:<34} {median:>10.digits$} {p10:>9.digits$} {p90:>9.digits$} {ratio:>7} {count:>6}  {}",
                row.name, row.note
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "  {remark}");
        }
        text
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "name": row.name,
                    "median": row.median(),
                    "p10": row.quantile(0.1),
                    "p90": row.quantile(0.9),
                    "ratio": self.ratio(row),
                    "samples": row.samples.len(),
                    "note": row.note,
                    "skipped": row.skipped,
                })
            })
            .collect();
        let bounds: Vec<_> = self.bounds.iter().map(Bound::json).collect();
        serde_json::json!({
            "name": self.name, "title": self.title, "unit": self.unit, "rows": rows, "remarks": self.remarks, "bounds": bounds,
        })
    }
}
