//! `skep audit`: what the command would hold and reach, with a score.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use skep::audit::{Area, Audit, Exposure, Row, Verdict};

use crate::diff::{self, Side};
use crate::message::{Failure, Paint, print, wrap};
use crate::plan;
use crate::typed::Typed;

/// Where the second column ends, and the lines.
const COLUMN: usize = 44;
const WIDTH: usize = 110;

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    let (json, threshold, paint) = (typed.json, typed.threshold, Paint::stdout());
    if typed.diff {
        if threshold.is_some() {
            return Err(Failure::new(
                "--threshold=: not with --diff, whose exit code says something else; leave one out",
            ));
        }
        return compare(&diff::pair(typed)?, json, paint);
    }
    // What a file or the profile gives away does not depend on the command.
    let (plan, spec) = plan::planned(typed, Some("true"))?;
    let audit = Audit::of(&spec, &plan);
    if json {
        print(format_args!("{:#}\n", audit.to_json()))?;
    } else {
        print(table(&audit, paint))?;
    }
    let above = threshold.is_some_and(|most| audit.exposure().tenths() > most);
    Ok(if above { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shade(paint: Paint, exposure: Exposure, text: String) -> String {
    match exposure.tenths() {
        0..10 => paint.good(text),
        10..50 => paint.doubtful(text),
        _ => paint.bad(text),
    }
}

fn whole(audit: &Audit, paint: Paint) -> String {
    let verdict = audit.verdict();
    let text = format!("{} of 10, {verdict}", audit.exposure());
    match verdict {
        Verdict::Closed | Verdict::Tight => paint.good(text),
        Verdict::Fair => paint.doubtful(text),
        _ => paint.bad(text),
    }
}

fn table(audit: &Audit, paint: Paint) -> String {
    let mut text = format!("audit of {}\n", audit.machine());
    for area in Area::ALL {
        let _ = writeln!(text, "{}", paint.strong(area.name()));
        for row in audit.rows().iter().filter(|row| row.area == area) {
            entry(&mut text, row, paint);
        }
    }
    let _ = writeln!(text, "\nExposure of {}: {}.", audit.machine(), whole(audit, paint));
    text
}

/// One row: the reason goes below where there is something to explain.
fn entry(text: &mut String, row: &Row, paint: Paint) {
    let exposure = shade(paint, row.exposure, format!("{:>5}", row.exposure));
    let _ = write!(text, "{exposure}  {:<36}", row.item);
    let at = (7 + row.item.chars().count().max(36)).min(WIDTH);
    wrap(text, &row.holds, COLUMN, at, WIDTH);
    if row.exposure > Exposure::NONE {
        wrap(text, &format!("→ {}", row.why), COLUMN, 0, WIDTH);
    }
}

fn compare(sides: &[Side; 2], json: bool, paint: Paint) -> Result<ExitCode, Failure> {
    let [one, other] = [0, 1].map(|at| Audit::of(&sides[at].spec, &sides[at].plan));
    let found = one.differences(&other);
    let code = if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let rows: Vec<Value> = found.iter().map(skep::audit::Difference::to_json).collect();
        let tenths = |audit: &Audit| f64::from(audit.exposure().tenths()) / 10.0;
        let whole = json!({
            "same": rows.is_empty(), "exposure": [tenths(&one), tenths(&other)], "rows": rows,
        });
        print(format_args!("{whole:#}\n"))?;
        return Ok(code);
    }
    if found.is_empty() {
        return Ok(code);
    }
    let mut text = String::new();
    for (sign, side, audit) in [("---", &sides[0], &one), ("+++", &sides[1], &other)] {
        let _ = writeln!(text, "{} {}", paint.strong(format_args!("{sign} {}:", side.name)), whole(audit, paint));
    }
    for pair in &found {
        for (sign, row) in [('-', pair.before), ('+', pair.after)] {
            let Some(row) = row else { continue };
            let line = format!("{sign} {:>4}  {}: {}", row.exposure, row.item, row.holds);
            let _ = writeln!(text, "{}", if sign == '+' { paint.good(line) } else { paint.bad(line) });
        }
        // The reason of the worse of the two.
        let worse = pair.before.into_iter().chain(pair.after).max_by_key(|row| row.exposure);
        if let Some(row) = worse.filter(|row| row.exposure > Exposure::NONE) {
            wrap(&mut text, &format!("→ {}", row.why), 8, 0, WIDTH);
        }
    }
    print(text)?;
    Ok(code)
}
