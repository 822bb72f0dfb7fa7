//! `skep check`: what is wrong with files, on this host.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use skep::spec::Spec;
use skep::{Escaped, Facts, compile, verify};

use crate::meaning::{self, Here};
use crate::message::{Complaint, Failure, Paint, because, print, quoted};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(typed: &Typed) -> Result<ExitCode, Failure> {
    if typed.words.is_empty() {
        return Err(Failure::new("skep check needs a file; write skep check FILE…"));
    }
    let (paint, here) = (Paint::stdout(), Here::default());
    let mut files: Vec<Value> = Vec::new();
    let mut unread = Vec::new();
    let mut ok = true;
    for word in &typed.words {
        let shown = Escaped::new(word);
        let (path, problems) = match examined(word, typed, &here) {
            Ok(path) => (path, Vec::new()),
            Err(Refused::Unread(Failure(why))) => {
                ok = false;
                unread.extend(why);
                continue;
            }
            Err(Refused::Wrong(path, Failure(problems))) => (path, problems),
        };
        ok &= problems.is_empty();
        if typed.json {
            let rows: Vec<&Value> = problems.iter().map(|problem| &problem.json).collect();
            files.push(json!({ "file": path, "ok": problems.is_empty(), "problems": rows }));
        } else if problems.is_empty() {
            print(format_args!("{shown}: {}\n", paint.good("ok")))?;
        } else {
            print(problems.iter().map(|problem| format!("{}\n", problem.text)).collect::<String>())?;
        }
    }
    if typed.json {
        print(format_args!("{:#}\n", json!({ "ok": ok, "files": files })))?;
    }
    match unread.is_empty() {
        true if ok => Ok(ExitCode::SUCCESS),
        true => Ok(ExitCode::FAILURE),
        // On standard error: nothing is known of these files.
        false => Err(Failure(unread)),
    }
}

/// Why a file did not pass.
enum Refused {
    /// It is not there, or nothing that can be checked.
    Unread(Failure),
    /// It is wrong; with its absolute path.
    Wrong(String, Failure),
}

/// The absolute path of a file with nothing wrong.
fn examined(file: &OsStr, typed: &Typed, here: &Here) -> Result<String, Refused> {
    let path = here.absolute(Path::new(file)).map_err(Refused::Unread)?;
    if !meaning::is_known(&path) {
        let what = "is neither a .nspawn, .json nor .toml file; give it the ending of what it is";
        return Err(Refused::Unread(Failure::new(format!("{} {what}", quoted(file)))));
    }
    // Looked for first, so that what follows is about what it says.
    std::fs::File::open(&path).map_err(|error| {
        Refused::Unread(Failure::new(format!("{}: {}; name a file that can be read", quoted(file), because(&error))))
    })?;
    let name = path.to_string_lossy().into_owned();
    let wrong = |failure| Refused::Wrong(name.clone(), failure);
    let spec = meaning::from_file(&path, typed, here).map_err(wrong)?;
    on_this_host(spec, &Escaped::new(file).to_string()).map_err(wrong)?;
    Ok(name)
}

/// Whether it compiles against the facts of this host, and verifies.
fn on_this_host(mut spec: Spec, place: &str) -> Result<(), Failure> {
    // A file without a command is complete: the command line may have it.
    if spec.command.is_empty() {
        spec.command = vec!["true".into()];
    }
    let checked = Facts::gather(&spec).and_then(|facts| compile(&spec, &facts)).and_then(verify);
    let Err(error) = checked else { return Ok(()) };
    let mut complaint = Complaint::from(&error);
    if error.origin().is_none() {
        complaint.text = format!("{place}: {}", complaint.text);
    }
    Err(Failure(vec![complaint]))
}
