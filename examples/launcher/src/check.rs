//! `skep check`: what is wrong with a file, on this host.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use skep::dialect::{Problem, nspawn};
use skep::spec::Spec;
use skep::{Facts, compile, verify};

use crate::message::{Failure, halves, print, printable, quoted};
use crate::typed::{Typed, Verb};

/// One line of the answer, for people and for machines.
struct Finding {
    text: String,
    json: Value,
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        let json = json!({
            "line": problem.line, "column": problem.column, "key": problem.key,
            "message": problem.message, "remedy": problem.remedy,
        });
        Self { text: problem.to_string(), json }
    }
}

/// Runs the verb.
pub(crate) fn run(typed: &Typed) -> Result<ExitCode, Failure> {
    let file = Path::new(crate::parse::one_file(Verb::Check, &typed.words)?);
    let path = crate::meaning::Here::default().absolute(file)?;
    let shown = printable(&file.to_string_lossy());
    let findings = match path.extension().and_then(|extension| extension.to_str()) {
        Some("nspawn") => settings(&path, typed)?,
        Some("json") => spec(&path, &shown)?,
        _ => {
            let what = "is neither a .nspawn nor a .json file; give it the ending of what it is";
            return Err(Failure::new(format!("{} {what}", quoted(file.as_os_str()))));
        }
    };
    let ok = findings.is_empty();
    if typed.json {
        let problems: Vec<&Value> = findings.iter().map(|finding| &finding.json).collect();
        print(format_args!("{:#}\n", json!({ "file": path.to_string_lossy(), "ok": ok, "problems": problems })))?;
    } else if ok {
        print(format_args!("{shown}: ok\n"))?;
    } else {
        let lines: String = findings.iter().map(|finding| format!("{}\n", finding.text)).collect();
        print(lines)?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(path: &Path, typed: &Typed) -> Result<Vec<Finding>, Failure> {
    let bytes = crate::meaning::read(path, nspawn::MAX_FILE)?;
    let mut spec = Spec::of(typed.profile.unwrap_or_default());
    spec.root.path = crate::meaning::Here::default().absolute(&spec.root.path)?;
    let applied = nspawn::parse(path, &bytes).and_then(|settings| settings.apply(&mut spec));
    Ok(match applied {
        Err(problems) => problems.0.iter().map(Finding::from).collect(),
        Ok(()) => on_this_host(spec, None),
    })
}

/// A Spec as JSON.
fn spec(path: &Path, shown: &str) -> Result<Vec<Finding>, Failure> {
    const MOST: usize = 16 << 20;
    let bytes = crate::meaning::read(path, MOST)?;
    if bytes.len() > MOST {
        return Err(Failure::new(format!("{shown}: more than {MOST} bytes; a spec is shorter")));
    }
    Ok(match serde_json::from_slice::<Spec>(&bytes) {
        Ok(spec) => on_this_host(spec, Some(shown)),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let message = printable(&error.to_string());
            let place = format!(" at line {line} column {column}");
            let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
            let text = format!("{shown}:{line}:{column}: {message}");
            vec![Finding { text, json: json!({ "line": line, "column": column, "message": message }) }]
        }
    })
}

/// Whether it compiles against the facts of this host, and verifies.
fn on_this_host(mut spec: Spec, place: Option<&str>) -> Vec<Finding> {
    // A file without a command is complete: the command line may have it.
    if spec.command.is_empty() {
        spec.command = vec!["true".into()];
    }
    let checked = Facts::gather(&spec).and_then(|facts| compile(&spec, &facts)).and_then(|plan| verify(plan).map(drop));
    match checked {
        Ok(()) => Vec::new(),
        Err(error) => {
            let text = match (place, error.origin()) {
                (Some(place), None) => format!("{place}: {error}"),
                _ => error.to_string(),
            };
            let (message, remedy) = halves(&error);
            vec![Finding { json: json!({ "message": message, "remedy": remedy }), text }]
        }
    }
}
