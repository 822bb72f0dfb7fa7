//! The result as a picture: bars, by hand.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::measure::{Bound, Group, Row};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// Where the bars begin, and how long the longest is.
const BARS: f64 = 330.0;
const LONGEST: f64 = 400.0;
const LINE: f64 = 22.0;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

struct Canvas {
    body: String,
    y: f64,
}

impl Canvas {
    fn text(&mut self, x: f64, class: &str, text: &str) {
        let _ = writeln!(self.body, r#"<text x="{x:.0}" y="{:.0}" class="{class}">{}</text>"#, self.y, escaped(text));
    }

    fn rectangle(&mut self, x: f64, up: f64, width: f64, height: f64, class: &str) {
        let y = self.y - up;
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" class="{class}"/>"#,
            width.max(0.5)
        );
    }

    /// Long words in lines of their own.
    fn paragraph(&mut self, x: f64, class: &str, text: &str) {
        let mut line = String::new();
        for word in text.split(' ') {
            if line.chars().count() + word.chars().count() > 125 {
                self.text(x, class, &line);
                self.y += LINE - 4.0;
                line.clear();
            }
            line.push_str(word);
            line.push(' ');
        }
        self.text(x, class, line.trim_end());
        self.y += LINE - 4.0;
    }

    fn group(&mut self, group: &Group) {
        self.y += LINE;
        self.text(MARGIN, "head", &format!("{}: {}", group.name, group.title));
        self.y += LINE;
        let longest = group.rows.iter().filter_map(Row::median).fold(0.0, f64::max);
        for row in &group.rows {
            self.text(MARGIN, "label", row.name.trim_end());
            match (row.quantile(0.1), row.median(), row.quantile(0.9)) {
                (Some(low), Some(median), Some(high)) => self.bar(group, row, longest, [low, median, high]),
                _ => {
                    let why = row.skipped.as_deref().unwrap_or("no samples");
                    self.text(BARS, "skip", &format!("skipped: {}", why.chars().take(88).collect::<String>()));
                }
            }
            self.y += LINE;
        }
        for remark in &group.remarks {
            self.paragraph(MARGIN, "note", remark);
        }
    }

    fn bar(&mut self, group: &Group, row: &Row, longest: f64, [low, median, high]: [f64; 3]) {
        let length = |value: f64| (value / longest * LONGEST).min(LONGEST * 1.12);
        let class = if row.name.contains("skep") { "own" } else { "other" };
        self.rectangle(BARS, 12.0, length(median), 14.0, class);
        if row.samples.len() > 1 {
            self.rectangle(BARS + length(low), 5.5, length(high) - length(low), 1.0, "range");
        }
        let digits = usize::from(median < 100.0);
        let ratio = group.ratio(row).map(|ratio| format!("  × {ratio:.2}")).unwrap_or_default();
        let text = format!("{median:.digits$} {}{ratio}  {}", group.unit, row.note);
        self.text(BARS + length(median).max(length(high)) + 8.0, "value", text.trim_end());
    }
}

/// An SVG with every group and bound, and the machine's name.
pub(crate) fn draw(groups: &[Group], machine: &Machine, differences: &[String]) -> String {
    let mut canvas = Canvas { body: String::new(), y: 40.0 };
    canvas.text(MARGIN, "title", "Skep: the cost of a container");
    canvas.y += LINE;
    canvas.paragraph(MARGIN, "note", &machine.line());
    canvas.paragraph(MARGIN, "note", "Bars are medians, lines reach from the tenth to the ninetieth of a hundred; × is the ratio to the floor, the fewest system calls that make the same container. Numbers of different machines say little.");
    if !differences.is_empty() {
        canvas.paragraph(MARGIN, "missed", &format!("The floor's container differs: {}", differences.join("; ")));
    }
    groups.iter().for_each(|group| canvas.group(group));
    let bounds: Vec<&Bound> = groups.iter().flat_map(|group| &group.bounds).collect();
    if !bounds.is_empty() {
        canvas.y += LINE;
        canvas.text(MARGIN, "head", "bounds");
        canvas.y += LINE;
        for bound in bounds {
            canvas.text(MARGIN, if bound.is_met() { "met" } else { "missed" }, &bound.line());
            canvas.y += LINE - 2.0;
        }
    }
    let height = canvas.y + MARGIN;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0}" height="{height:.0}" viewBox="0 0 {WIDTH:.0} {height:.0}" role="img">
<title>Skep: the cost of a container</title>
<style>
text {{ font: 13px sans-serif; fill: #222; }}
.title {{ font-size: 20px; font-weight: bold; }}
.head {{ font-size: 14px; font-weight: bold; }}
.note, .skip {{ font-size: 12px; fill: #666; }}
.met {{ fill: #1a6b2f; }} .missed {{ fill: #b02a1a; }}
rect.own {{ fill: #d99a1c; }} rect.other {{ fill: #9db4c8; }} rect.range {{ fill: #444; }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
{}</svg>
"##,
        canvas.body
    )
}
