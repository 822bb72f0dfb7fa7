//! `skep convert`: a container from one format to another.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use skep::dialect::{ConvertError, Format, convert};

use crate::meaning::Here;
use crate::message::{Failure, because, print, quoted};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(typed: &Typed) -> Result<ExitCode, Failure> {
    let (file, output) = match typed.words.as_slice() {
        [file] => (file, None),
        [file, output] => (file, Some(Path::new(output))),
        [] => return Err(Failure::new("skep convert needs a file; write skep convert FILE [OUTPUT]")),
        [_, _, more, ..] => {
            return Err(Failure::new(format!("{}: a file too many; write skep convert FILE [OUTPUT]", quoted(more))));
        }
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
            "{}: {}; name a new file in a directory that you can write",
            quoted(file.as_os_str()),
            because(&error)
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::verbs::Verb;

    fn converted(words: &[&str]) -> Result<ExitCode, Failure> {
        run(&crate::parse::parse(Verb::Convert, words.iter().map(OsString::from))?)
    }

    /// What `skep convert` says of `words`.
    fn refused(words: &[&str]) -> String {
        converted(words).unwrap_err().to_string()
    }

    #[test]
    fn what_is_refused() {
        for (words, expected) in [
            (&[][..], "needs a file"),
            (&["a", "b", "c"], "\"c\": a file too many"),
            (&["a.txt"], "a.txt\" does not end in .nspawn, .json or .toml; write --from=FORMAT"),
            (&["/a.json", "b"], "\"b\" does not end in .nspawn, .json or .toml; write --to=FORMAT"),
            (&["--to=yaml", "a.json"], "\"yaml\" is not a format"),
            (&["--what", "a.json"], "--what"),
            (&["--to"], "write --to=nspawn|json|toml"),
            (&["a.json", "--too=toml"], "did you mean --to?"),
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
            converted(&[from, to]).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&again).unwrap(), text);
        // Nothing is overwritten, and what cannot be said is not written.
        assert!(refused(&[&nspawn, &json]).contains("EEXIST (file exists)"));
        std::fs::write(&toml, "umask = 0\n").unwrap();
        let other = file("other.nspawn");
        assert!(refused(&[&toml, &other]).contains("web.toml:1 umask: a .nspawn file cannot say this"));
        assert!(!Path::new(&other).exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
