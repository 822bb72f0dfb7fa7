//! The verbs on containers that run: `cp`, `stop`, `kill`, `poweroff`, `reboot`; and `gc`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use skep::dialect::nspawn::value;
use skep::sys::abi::signal;
use skep::{CopyOptions, ErrorKind, Escaped, Found, Leftover};

use crate::message::{Failure, print, quoted};
use crate::nearest::nearest;
use crate::run::{GRACE, GRACE_OF_MACHINE};
use crate::typed::{Typed, Whom};
use crate::values::text;
use crate::{journal, log};

/// The bounds of `skep cp`, which its help names.
const BOUNDS: (u16, u64, u64) = (64, 1 << 20, 64 << 30);

/// The container that was named, which is the first word.
pub(crate) fn named(typed: &Typed, verb: &str) -> Result<Found, Failure> {
    let Some(name) = typed.words.first() else {
        return Err(Failure::new(format!("the container's name is missing; write skep {verb} NAME, see skep list")));
    };
    find(&name.to_string_lossy())
}

pub(crate) fn find(name: &str) -> Result<Found, Failure> {
    skep::find(name).map_err(|error| match error.kind() {
        ErrorKind::NotFound => meant(name).unwrap_or_else(|| error.into()),
        _ => error.into(),
    })
}

/// That there is no such container, where the name is nearly that of another.
fn meant(name: &str) -> Option<Failure> {
    let all = skep::list().ok()?;
    let near = nearest(name, all.iter().map(|entry| entry.name.as_str()).filter(|known| *known != name));
    let what = format!("no registered container {} runs", quoted(name));
    (!near.is_empty()).then(|| Failure::new(format!("{what}; did you mean {}?", near.join(" or "))))
}

/// Refuses more than `most` words.
pub(crate) fn at_most(typed: &Typed, most: usize, verb: &str) -> Result<(), Failure> {
    match typed.words.get(most) {
        Some(more) => Err(Failure::new(format!("{}: one word too many; see skep {verb} --help", quoted(more)))),
        None => Ok(()),
    }
}

/// `NAME:PATH`: a name has no slash.
fn of_container(word: &OsStr) -> Option<(&str, &Path)> {
    let bytes = word.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(bytes.get(..colon)?).ok().filter(|name| !name.is_empty() && !name.contains('/'))?;
    Some((name, Path::new(OsStr::from_bytes(bytes.get(colon + 1..)?))))
}

/// What the copy is called: the target's own last name, or the source's in it.
fn target(target: &Path, source: &Path, within: bool) -> Result<PathBuf, Failure> {
    if !within && !target.as_os_str().as_bytes().ends_with(b"/") {
        return Ok(target.to_owned());
    }
    let name = source.file_name().ok_or_else(|| {
        Failure::new(format!("{}: no name that the copy could have; name it", quoted(source.as_os_str())))
    })?;
    Ok(target.join(name))
}

/// `skep cp NAME:PATH HOST`, `skep cp HOST NAME:PATH`
pub(crate) fn cp(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 2, "cp")?;
    let [from, to] = typed.words.as_slice() else {
        return Err(Failure::new("two paths are needed; write skep cp NAME:PATH HOST, or skep cp HOST NAME:PATH"));
    };
    let (depth, entries, bytes) = BOUNDS;
    let options = CopyOptions::new().depth(depth).entries(entries).bytes(bytes);
    match (of_container(from), of_container(to)) {
        (Some((name, inside)), None) => {
            let host = target(Path::new(to), inside, Path::new(to).is_dir())?;
            find(name)?.copy_out(inside, host, &options)?;
        }
        (None, Some((name, inside))) => {
            let host = Path::new(from);
            find(name)?.copy_in(host, target(inside, host, false)?, &options)?;
        }
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "both paths are of containers; copy to the host first, or write ./ before one of the host's",
            ));
        }
        (None, None) => {
            return Err(Failure::new("neither path is of a container; write NAME:PATH for that, see skep list"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `skep stop NAME`
pub(crate) fn stop(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "stop")?;
    let found = named(typed, "stop")?;
    // Who is asked to halt has a whole system to stop.
    let grace = if found.kill_signal() == HALT { GRACE_OF_MACHINE } else { GRACE };
    let status = found.stop(typed.grace.unwrap_or(grace))?;
    if typed.json {
        let (code, signal, memory) = (status.code(), status.signal(), status.out_of_memory());
        let name = found.machine().as_str();
        let ended = json!({ "machine": name, "code": code, "signal": signal, "out_of_memory": memory });
        print(format_args!("{ended:#}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `skep kill NAME [SIGNAL]`
pub(crate) fn kill(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 2, "kill")?;
    let signal = match (typed.words.get(1), typed.signal) {
        (Some(word), Some(_)) => {
            let what = format!("{}: --signal= says the signal already", quoted(word));
            return Err(Failure::new(format!("{what}; leave one of them out")));
        }
        (Some(word), None) => text(word, value::signal).map_err(|bad| Failure::new(bad.to_string()))?,
        (None, given) => given.unwrap_or(signal::KILL),
    };
    let found = named(typed, "kill")?;
    match typed.whom {
        Some(Whom::All) => found.kill_all(signal)?,
        Some(Whom::Leader) | None => found.kill(signal)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What systemd takes for the wish that it halt (`systemd(1)`).
const HALT: u8 = signal::RTMIN + 3;

/// What systemd takes for the wish that it power off (`systemd(1)`).
pub(crate) const POWER_OFF: u8 = signal::RTMIN + 4;

/// The same for a reboot.
pub(crate) const REBOOT: u8 = signal::RTMIN + 5;

/// `skep poweroff NAME`
pub(crate) fn poweroff(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "poweroff")?;
    let found = named(typed, "poweroff")?;
    found.kill(if found.is_init() { POWER_OFF } else { found.kill_signal() })?;
    Ok(ExitCode::SUCCESS)
}

/// `skep reboot NAME`
pub(crate) fn reboot(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 1, "reboot")?;
    let found = named(typed, "reboot")?;
    if !found.is_init() {
        let name = found.machine();
        return Err(Failure::new(format!(
            "the command of {name} is no init, and knows no reboot; stop it (skep stop {name}), and start it again"
        )));
    }
    found.kill(signal::INT)?;
    Ok(ExitCode::SUCCESS)
}

/// `skep gc`
pub(crate) fn gc(typed: &Typed) -> Result<ExitCode, Failure> {
    at_most(typed, 0, "gc")?;
    let collected = skep::gc()?;
    let shown = |leftover: &Leftover| match leftover {
        Leftover::Entry(name) => ("entry", name.to_string()),
        Leftover::Cgroup(path) => ("cgroup", path.display().to_string()),
        Leftover::Ranges(path) => ("lock", path.display().to_string()),
        Leftover::Interface(name) => ("interface", name.clone()),
        Leftover::Export(path) => ("mount", path.display().to_string()),
        Leftover::Incoming(path) => ("directory", path.display().to_string()),
        _ => ("other", String::new()),
    };
    let logs = log::remove_unused().into_iter().map(|name| ("log", name));
    let sockets = journal::remove_unused().into_iter().map(|path| ("directory", path));
    let removed = collected.removed.iter().map(shown).chain(logs).chain(sockets);
    if typed.json {
        let object = |(kind, what): (&str, String)| json!({ "kind": kind, "name": what });
        print(format_args!("{:#}\n", Value::from_iter(removed.map(object))))?;
    } else {
        for (kind, what) in removed {
            print(format_args!("removed {kind} {}\n", Escaped::new(&what)))?;
        }
    }
    let failed = !collected.left.is_empty();
    for error in collected.left {
        Failure::from(error).print(typed.json);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_path_is_of_a_container() {
        for (word, is) in [
            ("web:/etc/x", Some(("web", "/etc/x"))),
            ("web:", Some(("web", ""))),
            ("web:a:b", Some(("web", "a:b"))),
            ("./web:/x", None),
            ("/a/web:x", None),
            (":/x", None),
            ("file", None),
            ("", None),
        ] {
            assert_eq!(of_container(OsStr::new(word)), is.map(|(name, path)| (name, Path::new(path))), "{word}");
        }
    }

    #[test]
    fn what_a_copy_is_called() {
        let of = |to: &str, from: &str, within| target(Path::new(to), Path::new(from), within).ok();
        assert_eq!(of("/a/b", "c", false), Some("/a/b".into()));
        assert_eq!(of("/a/b/", "x/c", false), Some("/a/b/c".into()));
        assert_eq!(of("/a/b", "x/c/", true), Some("/a/b/c".into()));
        assert_eq!(of("/a/", "/", false), None);
        assert_eq!(of("/a/", "..", false), None);
    }
}
