//! `skep list` and `skep status`: what runs, and how it does.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use skep::{Entry, Escaped, Found};

use crate::containers::{at_most, named};
use crate::message::{Failure, print};
use crate::typed::Typed;
use crate::{addresses, log};

/// How much of the log `status` shows.
const LINES: usize = 10;

/// What is shown of a container in a line of the list.
struct Row {
    name: String,
    state: &'static str,
    pid: Option<u32>,
    since: Option<SystemTime>,
    system: String,
    root: String,
}

impl Row {
    /// One that ends meanwhile has what is known of it.
    fn of(entry: &Entry) -> Self {
        let found = entry.id.and_then(|_| skep::find(entry.name.as_str()).ok());
        Self {
            name: entry.name.to_string(),
            state: match &found {
                None => "starting",
                Some(found) => state(found),
            },
            pid: entry.id,
            since: found.as_ref().and_then(Found::since),
            system: found.as_ref().and_then(system).unwrap_or_default(),
            root: found.as_ref().map_or_else(String::new, |found| found.root().to_owned()),
        }
    }

    fn words(&self) -> [String; 6] {
        let shown = |text: &str| match Escaped::new(text).short().to_string() {
            text if text.is_empty() => "-".to_owned(),
            text => text,
        };
        [
            self.name.clone(),
            self.state.to_owned(),
            self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            self.since.map_or_else(|| "-".to_owned(), utc),
            shown(&self.system),
            shown(&self.root),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "machine": self.name, "pid": self.pid, "state": self.state, "since": self.since.map(seconds),
            "os": self.system, "root": self.root,
        })
    }
}

/// `skep list`
pub(crate) fn list(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 0, "list")?;
    let rows: Vec<Row> = skep::list()?.iter().map(Row::of).collect();
    if typed.json {
        print(format_args!("{:#}\n", Value::from_iter(rows.iter().map(Row::json))))?;
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["NAME", "STATE", "PID", "SINCE", "OS", "ROOT"].map(str::to_owned);
    let heading = (!typed.no_legend && !rows.is_empty()).then_some(heading);
    print(columns(&heading.into_iter().chain(rows.iter().map(Row::words)).collect::<Vec<_>>()))?;
    Ok(ExitCode::SUCCESS)
}

/// In columns, two blanks apart.
fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn state(found: &Found) -> &'static str {
    if found.is_paused().unwrap_or(false) { "paused" } else { "running" }
}

/// The system's name, as `os-release(5)` has it; text of the container.
fn system(found: &Found) -> Option<String> {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| found.read_file(path, 1 << 16).ok());
    let text = String::from_utf8(text?).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as RFC 3339 writes it.
fn utc(time: SystemTime) -> String {
    let (days, rest) = (seconds(time) / 86_400, seconds(time) % 86_400);
    // Of the proleptic calendar, in years that begin in March: a leap day is the last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month < 3);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// How long ago, in its two largest units.
fn age(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or(Duration::ZERO).as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let counts = units.map(|(size, name)| (seconds / size, name));
    let first = counts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let within = |at: usize| if at > 0 { seconds % units[at - 1].0 / units[at].0 } else { counts[at].0 };
    let shown = (first..(first + 2).min(4)).map(|at| format!("{}{}", within(at), units[at].1));
    shown.collect::<Vec<_>>().join(" ")
}

/// A process, as `status` shows it.
struct Process {
    id: u32,
    parent: u32,
    words: String,
}

fn processes(found: &Found) -> Vec<Process> {
    let words = |id: u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
        match line.is_empty() {
            true => format!("({})", std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim_end()),
            false => line,
        }
    };
    let all = found.processes().unwrap_or_default();
    all.iter().map(|member| Process { id: member.id, parent: member.parent, words: words(member.id) }).collect()
}

/// The tree of them: who has no parent here first.
fn tree(all: &[Process]) -> String {
    fn below(all: &[Process], parent: &Process, indent: &str, seen: &mut BTreeSet<u32>, text: &mut String) {
        let children: Vec<&Process> = all.iter().filter(|one| one.parent == parent.id && one.id != parent.id).collect();
        for (nth, one) in children.iter().enumerate() {
            let (branch, next) = if nth + 1 < children.len() { ("├─", "│ ") } else { ("└─", "  ") };
            if seen.insert(one.id) {
                let _ = writeln!(text, "{indent}{branch}{} {}", one.id, Escaped::new(&one.words));
                below(all, one, &format!("{indent}{next}"), seen, text);
            }
        }
    }
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    for one in all.iter().filter(|one| all.iter().all(|other| other.id != one.parent)) {
        if seen.insert(one.id) {
            let _ = writeln!(text, "  {} {}", one.id, Escaped::new(&one.words));
            below(all, one, "  ", &mut seen, &mut text);
        }
    }
    text
}

/// `skep status NAME`
pub(crate) fn status(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "status")?;
    let found = named(typed, "status")?;
    let stats = found.stats()?;
    let cpu = stats.cpu.usage.or_else(|| stats.cpu.user.zip(stats.cpu.system).map(|(user, system)| user + system));
    let (system, all) = (system(&found), processes(&found));
    let addresses = addresses::of(found.id());
    let said = log::last_lines(found.machine(), LINES);
    if typed.json {
        let tree = all.iter().map(|one| json!({ "pid": one.id, "parent": one.parent, "command": one.words }));
        let status = json!({
            "machine": found.machine().as_str(),
            "pid": found.id(),
            "since": found.since().map(seconds),
            "root": found.root(),
            "os": system,
            "addresses": addresses,
            "paused": found.is_paused().unwrap_or(false),
            "memory": stats.memory.current,
            "memory_peak": stats.memory.peak,
            "processes": stats.pids,
            "cpu_seconds": cpu.map(|cpu| cpu.as_secs_f64()),
            "tree": Value::from_iter(tree),
            "log": said,
        });
        print(format_args!("{status:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ["machine".to_owned(), found.machine().to_string()],
        ["process".to_owned(), found.id().to_string()],
        ["state".to_owned(), state(&found).to_owned()],
    ];
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if let Some(since) = found.since() {
        row("since", format!("{} ({} ago)", utc(since), age(since)));
    }
    row("root", Escaped::new(found.root()).to_string());
    system.into_iter().for_each(|system| row("os", Escaped::new(&system).to_string()));
    addresses.into_iter().for_each(|address| row("address", address));
    stats.memory.current.into_iter().for_each(|bytes| row("memory", format!("{bytes} bytes")));
    stats.pids.into_iter().for_each(|count| row("processes", count.to_string()));
    cpu.into_iter().for_each(|cpu| row("processor", format!("{:.2} s", cpu.as_secs_f64())));
    let mut text = columns(&rows);
    if !all.is_empty() {
        let _ = write!(text, "\n{}", tree(&all));
    }
    if !said.is_empty() {
        text.push('\n');
        said.iter().for_each(|line| _ = writeln!(text, "  {}", Escaped::new(line)));
    }
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(at(seconds)), text);
        }
        let ago = |seconds| age(SystemTime::now() - Duration::from_secs(seconds));
        assert_eq!((ago(0), ago(65), ago(3600)), ("0s".to_owned(), "1min 5s".to_owned(), "1h 0min".to_owned()));
        assert_eq!(ago(90_061), "1d 1h");
    }

    #[test]
    fn a_tree_of_processes() {
        let of = |(id, parent, words): (u32, u32, &str)| Process { id, parent, words: words.to_owned() };
        let all = [(5, 1, "init"), (6, 5, "a"), (7, 6, "b\u{1b}"), (8, 5, "c"), (9, 2, "joined"), (10, 10, "own")];
        let all = all.map(of);
        assert_eq!(tree(&all), "  5 init\n  ├─6 a\n  │ └─7 b\\u{1b}\n  └─8 c\n  9 joined\n");
    }
}
