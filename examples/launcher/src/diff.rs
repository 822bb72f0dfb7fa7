//! What differs in two plans.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use skep::spec::{MachineName, Spec};
use skep::{Escaped, Facts, Outcome, Phase, Plan, Step, compile};

use crate::console::Mode;
use crate::message::{Failure, Paint, quoted};
use crate::plan;
use crate::typed::Typed;

/// One of two files that are compared.
pub(crate) struct Side {
    /// As it was typed.
    pub(crate) name: String,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
}

/// The two files of `--diff`, planned with the same other options for the same
/// host.
pub(crate) fn pair(mut typed: Typed) -> Result<[Side; 2], Failure> {
    if typed.file.is_some() {
        return Err(Failure::new("--settings-file=: not with --diff, which takes two files; write --diff FILE FILE"));
    }
    let words = std::mem::take(&mut typed.words);
    let [one, other] = words.as_slice() else {
        let what = match words.get(2) {
            Some(third) => format!("{}: a file too many", quoted(third)),
            None => "--diff needs two files".to_owned(),
        };
        return Err(Failure::new(format!("{what}; write --diff FILE FILE")));
    };
    let mode = Mode::of(&typed);
    let mut specs = [read(one, &typed)?, read(other, &typed)?];
    // What is made up for each start is no difference.
    let unnamed = MachineName::new("unnamed").map_err(|error| Failure::new(error.to_string()))?;
    for spec in &mut specs {
        spec.machine.get_or_insert_with(|| unnamed.clone());
        mode.set(spec);
        if spec.command.is_empty() {
            spec.command = vec!["true".into()];
        }
    }
    let mut facts = [Facts::gather(&specs[0])?, Facts::gather(&specs[1])?];
    if let [Some(range), Some(_)] = [facts[0].free_range, facts[1].free_range] {
        facts[1].free_range = Some(range);
    }
    let [first, second] = specs;
    let side = |word: &OsStr, spec: Spec, facts: &Facts| -> Result<Side, Failure> {
        let plan = plan::verified(compile(&spec, facts)?)?;
        Ok(Side { name: Escaped::new(word).to_string(), spec, plan })
    };
    Ok([side(one, first, &facts[0])?, side(other, second, &facts[1])?])
}

fn read(file: &OsStr, typed: &Typed) -> Result<Spec, Failure> {
    let typed = Typed { file: Some(PathBuf::from(file)), ..typed.clone() };
    crate::meaning::unnamed(typed).map(|(spec, _)| spec)
}

/// A step and its ops, without what numbers them: a step more in front of it
/// is no change of this one.
#[derive(PartialEq)]
struct Part<'a> {
    phase: Phase,
    what: &'a str,
    ops: Vec<String>,
    step: &'a Step,
}

impl Part<'_> {
    fn is_like(&self, other: &Self) -> bool {
        self.phase == other.phase && self.what == other.what && self.ops == other.ops
    }

    fn to_json(&self, change: &str) -> Value {
        json!({
            "change": change, "phase": self.phase.name(), "what": self.what,
            "origin": self.step.origin.to_string(), "ops": self.ops,
        })
    }
}

fn parts(plan: &Plan) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = plan
        .steps()
        .iter()
        .map(|step| Part { phase: step.phase, what: &step.what, ops: Vec::with_capacity(step.count as usize), step })
        .collect();
    for (index, _, op) in plan.ops() {
        // Steps stand in the order of their ops.
        let at = parts.partition_point(|part| part.step.first <= index).wrapping_sub(1);
        let Some(part) = parts.get_mut(at) else { continue };
        let mut text = format!("{}(", op.kind().name());
        op.arguments(&mut |name, value| {
            let value = value.to_string();
            let value = if value.starts_with('$') || name == "keep" { "$" } else { value.as_str() };
            let gap = if text.ends_with('(') { "" } else { " " };
            let _ = write!(text, "{gap}{name}={value}");
        });
        text.push(')');
        // To close one descriptor more is a consequence, and no change.
        if part.ops.last() != Some(&text) {
            part.ops.push(text);
        }
    }
    parts
}

/// What is done to a list to get another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    Keep(usize, usize),
    Remove(usize),
    Add(usize),
}

/// The shortest way from a list of `rows` to one of `columns`, removals first:
/// the longest common part is kept.
fn edits(rows: usize, columns: usize, same: impl Fn(usize, usize) -> bool) -> Vec<Edit> {
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = match same(row, column) {
                true => common[row + 1][column + 1] + 1,
                false => common[row + 1][column].max(common[row][column + 1]),
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut found = Vec::with_capacity(rows.max(columns));
    while row < rows || column < columns {
        if row < rows && column < columns && same(row, column) {
            found.push(Edit::Keep(row, column));
            (row, column) = (row + 1, column + 1);
        } else if row < rows && (column == columns || common[row + 1][column] >= common[row][column + 1]) {
            found.push(Edit::Remove(row));
            row += 1;
        } else {
            found.push(Edit::Add(column));
            column += 1;
        }
    }
    found
}

/// What differs: steps, and lines of the report.
pub(crate) struct Changes<'a> {
    /// Removed and added parts, in order.
    steps: Vec<(bool, Part<'a>)>,
    /// Item, before, after.
    report: Vec<(&'a str, Option<&'a Outcome>, Option<&'a Outcome>)>,
}

impl<'a> Changes<'a> {
    pub(crate) fn between(one: &'a Plan, other: &'a Plan) -> Self {
        let (before, after) = (parts(one), parts(other));
        // What is the same at both ends need not be compared with everything.
        let head = before.iter().zip(&after).take_while(|(a, b)| a.is_like(b)).count();
        let rest = |parts: &[Part<'_>]| parts.len() - head;
        let tail =
            before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(a, b)| a.is_like(b)).count();
        let (rows, columns) = (rest(&before) - tail, rest(&after) - tail);
        let edits = edits(rows, columns, |row, column| before[head + row].is_like(&after[head + column]));
        let (mut before, mut after) =
            (before.into_iter().map(Some).collect::<Vec<_>>(), after.into_iter().map(Some).collect::<Vec<_>>());
        let steps = edits
            .into_iter()
            .filter_map(|edit| match edit {
                Edit::Keep(..) => None,
                Edit::Remove(row) => before[head + row].take().map(|part| (false, part)),
                Edit::Add(column) => after[head + column].take().map(|part| (true, part)),
            })
            .collect();
        let (one, other) = (one.report(), other.report());
        let report = one
            .items()
            .iter()
            .map(|item| item.name.as_str())
            .chain(other.items().iter().map(|item| item.name.as_str()).filter(|name| one.of(name).is_none()))
            .map(|name| (name, one.of(name), other.of(name)))
            .filter(|(_, before, after)| before != after)
            .collect();
        Self { steps, report }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.report.is_empty()
    }

    pub(crate) fn to_json(&self) -> Value {
        let steps: Vec<Value> =
            self.steps.iter().map(|(added, part)| part.to_json(if *added { "added" } else { "removed" })).collect();
        let report: Vec<Value> = self
            .report
            .iter()
            .map(|(item, before, after)| {
                json!({ "item": item, "before": before.map(Outcome::to_string), "after": after.map(Outcome::to_string) })
            })
            .collect();
        json!({ "same": self.is_empty(), "steps": steps, "report": report })
    }

    /// Like a unified diff, with the phases for headings. Where both sides have
    /// a step of the same name, or with `verbose`, its ops follow.
    pub(crate) fn to_text(&self, names: [&str; 2], verbose: bool, paint: Paint) -> String {
        let mut text = String::new();
        if self.is_empty() {
            return text;
        }
        let line = |text: &mut String, added: bool, words: &str| {
            let line = format!("{} {}", if added { '+' } else { '-' }, Escaped::new(words));
            let _ = writeln!(text, "{}", if added { paint.good(line) } else { paint.bad(line) });
        };
        let _ = writeln!(
            text,
            "{}\n{}",
            paint.strong(format_args!("--- {}", names[0])),
            paint.strong(format_args!("+++ {}", names[1]))
        );
        let mut phase = None;
        for (added, part) in &self.steps {
            if phase != Some(part.phase) {
                phase = Some(part.phase);
                let _ = writeln!(text, "{}", paint.strong(format_args!("@@ {} @@", part.phase.name())));
            }
            line(&mut text, *added, &format!("{}    [{}]", part.what, part.step.origin));
            let twin = self.steps.iter().find(|(other, twin)| other != added && twin.what == part.what);
            for op in &part.ops {
                let changed = twin.is_some_and(|(_, twin)| !twin.ops.contains(op));
                if verbose || changed {
                    line(&mut text, *added, &format!("    {op}"));
                }
            }
        }
        if !self.report.is_empty() {
            let _ = writeln!(text, "{}", paint.strong("@@ report @@"));
        }
        for (item, before, after) in &self.report {
            for (added, outcome) in [(false, before), (true, after)] {
                if let Some(outcome) = outcome {
                    line(&mut text, added, &format!("{item}: {outcome}"));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_common_part_is_kept() {
        let of = |one: &str, other: &str| -> String {
            let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
            edits(one.len(), other.len(), |row, column| one[row] == other[column])
                .into_iter()
                .map(|edit| match edit {
                    Edit::Keep(row, _) => format!(" {}", one[row]),
                    Edit::Remove(row) => format!("-{}", one[row]),
                    Edit::Add(column) => format!("+{}", other[column]),
                })
                .collect()
        };
        assert_eq!(of("", ""), "");
        assert_eq!(of("abc", "abc"), " a b c");
        assert_eq!(of("abc", "adc"), " a-b+d c");
        assert_eq!(of("", "ab"), "+a+b");
        assert_eq!(of("ab", ""), "-a-b");
        assert_eq!(of("abcd", "bxd"), "-a b-c+x d");
    }

    fn plan(change: impl FnOnce(&mut Spec)) -> Plan {
        let mut spec = Spec::default();
        spec.command = vec!["true".into()];
        spec.machine = MachineName::new("web").ok();
        change(&mut spec);
        compile(&spec, &Facts::example(&spec)).expect("compiles")
    }

    #[test]
    fn equal_plans_have_no_difference() {
        let (one, other) = (plan(|_| ()), plan(|_| ()));
        let found = Changes::between(&one, &other);
        assert!(found.is_empty() && found.to_json()["same"] == true);
        assert_eq!(found.to_text(["a", "b"], true, Paint::stdout()), "");
    }

    #[test]
    fn one_change_is_one_difference() {
        use skep::spec::{Mount, MountKind, Tmpfs};
        let one = plan(|_| ());
        let mounted = plan(|spec| {
            spec.mounts.push(Mount { target: "/t".into(), kind: MountKind::Tmpfs(Tmpfs::default()) });
        });
        let found = Changes::between(&one, &mounted);
        assert!(
            found.steps.iter().all(|(added, part)| *added && part.what.contains("/t")),
            "later slots are no change"
        );
        assert!(!found.is_empty());
        let text = found.to_text(["a", "b"], false, Paint::stdout());
        assert!(!text.contains("lifeline"), "that the stub closes one descriptor more: {text}");
        let umask = plan(|spec| spec.umask = 0o077);
        let found = Changes::between(&one, &umask);
        let text = found.to_text(["a", "b"], false, Paint::stdout());
        assert!(text.starts_with("--- a\n+++ b\n@@ ") && text.contains("@@ report @@\n- umask: "), "{text}");
        assert!(text.contains("+     umask(mode=63)") || text.contains("umask(mode="), "{text}");
    }
}
