//! The verbs on containers that run: `list`, `status`, `stop`, `kill`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use skep::dialect::nspawn::value;
use skep::sys::abi::signal;
use skep::{Entry, Found};

use crate::message::{Failure, print, quoted};
use crate::typed::Typed;
use crate::values::text;

/// How long the kill signal may take.
const GRACE: Duration = Duration::from_secs(10);

/// The container that was named, which is the first word.
pub(crate) fn named(typed: &Typed, verb: &str) -> Result<Found, Failure> {
    let Some(name) = typed.words.first() else {
        return Err(Failure::new(format!("the container's name is missing; write skep {verb} NAME, see skep list")));
    };
    Ok(skep::find(&name.to_string_lossy())?)
}

/// Refuses more than `most` words.
fn at_most(typed: &Typed, most: usize, verb: &str) -> Result<(), Failure> {
    match typed.words.get(most) {
        Some(more) => Err(Failure::new(format!("{}: one word too many; see skep {verb} --help", quoted(more)))),
        None => Ok(()),
    }
}

/// `skep list`
pub(crate) fn list(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 0, "list")?;
    let all = skep::list()?;
    if typed.json {
        let entry = |entry: &Entry| json!({ "machine": entry.name.as_str(), "pid": entry.id, "state": state(entry) });
        print(format_args!("{:#}\n", Value::from_iter(all.iter().map(entry))))?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = all.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or(0);
    for entry in &all {
        let pid = entry.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        print(format_args!("{:<width$}  {pid:>7}  {}\n", entry.name.as_str(), state(entry)))?;
    }
    Ok(ExitCode::SUCCESS)
}

const fn state(entry: &Entry) -> &'static str {
    if entry.id.is_some() { "running" } else { "starting" }
}

/// `skep status NAME`
pub(crate) fn status(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "status")?;
    let found = named(typed, "status")?;
    let paused = found.is_paused().unwrap_or(false);
    let stats = found.stats()?;
    let cpu = stats.cpu.usage.or_else(|| stats.cpu.user.zip(stats.cpu.system).map(|(user, system)| user + system));
    if typed.json {
        let status = json!({
            "machine": found.machine().as_str(),
            "pid": found.id(),
            "paused": paused,
            "memory": stats.memory.current,
            "memory_peak": stats.memory.peak,
            "processes": stats.pids,
            "cpu_seconds": cpu.map(|cpu| cpu.as_secs_f64()),
        });
        print(format_args!("{status:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ("machine", found.machine().to_string()),
        ("process", found.id().to_string()),
        ("state", if paused { "paused" } else { "running" }.to_owned()),
    ];
    rows.extend(stats.memory.current.map(|bytes| ("memory", format!("{bytes} bytes"))));
    rows.extend(stats.pids.map(|count| ("processes", count.to_string())));
    rows.extend(cpu.map(|cpu| ("processor", format!("{:.2} s", cpu.as_secs_f64()))));
    for (name, value) in rows {
        print(format_args!("{name:<9}  {value}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `skep stop NAME`
pub(crate) fn stop(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "stop")?;
    named(typed, "stop")?.stop(GRACE)?;
    Ok(ExitCode::SUCCESS)
}

/// `skep kill NAME [SIGNAL]`
pub(crate) fn kill(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 2, "kill")?;
    let signal = match typed.words.get(1) {
        Some(word) => text(word, value::signal).map_err(|bad| Failure::new(format!("{}: {bad}", quoted(word))))?,
        None => signal::KILL,
    };
    named(typed, "kill")?.kill(signal)?;
    Ok(ExitCode::SUCCESS)
}
