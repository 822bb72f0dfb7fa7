//! `skep convert`: a container from one format to another.
//!
//! It has a command line of its own: two files, and nothing of a container.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use skep::dialect::{ConvertError, Format, convert};
use skep::spec::Profile;

use crate::meaning::Here;
use crate::message::{Failure, print, quoted};

/// `skep convert --help`.
pub(crate) const HELP: &str = "\
Converts a container from one format to another: .nspawn, JSON and TOML. What the
other format cannot say is an error, and nothing is written.

Usage: skep convert [OPTIONS] FILE [OUTPUT]

The formats are those of the files' endings. Without OUTPUT, the text goes to standard
output, as JSON unless --to says otherwise. OUTPUT must not exist; it is written with
mode 0600, for it holds the values of environment variables.

  -h, --help                      Show this help.
      --from=FORMAT               What FILE is: nspawn, json or toml.
      --to=FORMAT                 What is written.
      --profile=strict|nspawn     On top of which defaults a .nspawn file is read.
";

/// What was typed.
#[derive(Debug, Default)]
struct Typed {
    help: bool,
    from: Option<Format>,
    to: Option<Format>,
    profile: Option<Profile>,
    files: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(words: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let typed = parse(words)?;
    if typed.help {
        print(HELP)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (file, output) = match typed.files.as_slice() {
        [file] => (file, None),
        [file, output] => (file, Some(Path::new(output))),
        [] => return Err(Failure::new("skep convert needs a file; write skep convert FILE [OUTPUT]")),
        [_, _, more, ..] => return Err(Failure::new(format!("{}: one file too many", quoted(more)))),
    };
    let path = Here::default().absolute(Path::new(file))?;
    let from = typed.from.map_or_else(|| by_ending(&path, "--from="), Ok)?;
    let to = match (typed.to, output) {
        (Some(to), _) => to,
        (None, Some(output)) => by_ending(output, "--to=")?,
        (None, None) => Format::Json,
    };
    let bytes = crate::meaning::read(&path, from.max_file())?;
    let text = match convert(&path, &bytes, from, to, typed.profile.unwrap_or_default()) {
        Ok(text) => text,
        Err(ConvertError::Source(problems)) => return Err(problems.into()),
        Err(unsayable) => return Err(Failure::new(format!("{unsayable}\nnothing is written"))),
    };
    match output {
        Some(output) => write(output, &text)?,
        None => print(text)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    use lexopt::Arg;
    let bad = |error: lexopt::Error| Failure::new(format!("skep convert: {error}; see skep convert --help"));
    let mut typed = Typed::default();
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next().map_err(bad)? {
        match word {
            Arg::Short('h') | Arg::Long("help") => typed.help = true,
            Arg::Long("from") => typed.from = Some(format(&parser.value().map_err(bad)?)?),
            Arg::Long("to") => typed.to = Some(format(&parser.value().map_err(bad)?)?),
            Arg::Long("profile") => {
                let value = parser.value().map_err(bad)?;
                let profile = crate::values::profile(&value);
                typed.profile = Some(profile.map_err(|error| Failure::new(format!("--profile: {error}")))?);
            }
            Arg::Value(file) => typed.files.push(file),
            other => return Err(bad(other.unexpected())),
        }
    }
    Ok(typed)
}

fn format(name: &OsStr) -> Result<Format, Failure> {
    let found = name.to_str().and_then(Format::by_name);
    found.ok_or_else(|| Failure::new(format!("{} is not a format; write nspawn, json or toml", quoted(name))))
}

fn by_ending(file: &Path, option: &str) -> Result<Format, Failure> {
    Format::of(file).ok_or_else(|| {
        let what = "does not end in .nspawn, .json or .toml";
        Failure::new(format!("{} {what}; write {option}FORMAT", quoted(file.as_os_str())))
    })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let path = PathBuf::from(file);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| {
        Failure::new(format!(
            "{}: {error}; name a new file in a directory that you can write",
            quoted(file.as_os_str())
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What `skep convert` says of `words`.
    fn refused(words: &[&str]) -> String {
        run(words.iter().map(OsString::from))
            .unwrap_err()
            .0
            .iter()
            .map(|it| it.text.clone())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn what_is_refused() {
        for (words, expected) in [
            (&[][..], "needs a file"),
            (&["a", "b", "c"], "\"c\": one file too many"),
            (&["a.txt"], "a.txt\" does not end in .nspawn, .json or .toml; write --from=FORMAT"),
            (&["/a.json", "b"], "\"b\" does not end in .nspawn, .json or .toml; write --to=FORMAT"),
            (&["--to=yaml", "a.json"], "\"yaml\" is not a format"),
            (&["--what", "a.json"], "--what"),
            (&["--to"], "see skep convert --help"),
            (&["--profile=x", "a.nspawn"], "--profile"),
            (&["/nowhere/a.json"], "name a file that can be read"),
        ] {
            let found = refused(words);
            assert!(found.contains(expected), "{words:?}: {found}");
        }
    }

    #[test]
    fn there_and_back() {
        let directory = std::env::temp_dir().join(format!("skep-convert-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let [nspawn, json, toml, again] = ["web.nspawn", "web.json", "web.toml", "again.nspawn"].map(file);
        let text = "[Exec]\nParameters=sh -c \"a b\"\n[Files]\nBindReadOnly=/srv:/srv:rbind\n";
        std::fs::write(&nspawn, text).unwrap();
        for (from, to) in [(&nspawn, &json), (&json, &toml), (&toml, &again)] {
            run([from, to].map(OsString::from)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&again).unwrap(), text);
        // Nothing is overwritten, and what cannot be said is not written.
        assert!(refused(&[&nspawn, &json]).contains("exists"));
        std::fs::write(&toml, "umask = 0\n").unwrap();
        let other = file("other.nspawn");
        assert!(refused(&[&toml, &other]).contains("web.toml:1 umask: a .nspawn file cannot say this"));
        assert!(!Path::new(&other).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
