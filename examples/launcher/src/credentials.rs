//! Credentials of the command line.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use skep::dialect::nspawn::value::ValueError;
use skep::spec::Secret;

use crate::meaning::Here;
use crate::message::{Failure, because, quoted};
use crate::values::Parsed;

/// What a credential says, or the file that does.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Said(Secret),
    In(PathBuf),
}

/// Bytes of a credential, at most: as systemd has it.
const LONGEST: u64 = 1 << 20;

impl Credential {
    /// The option that gave it.
    pub(crate) const fn option(&self) -> &'static str {
        match self {
            Self::Said(_) => "--set-credential=",
            Self::In(_) => "--load-credential=",
        }
    }

    /// What it says. Its file is opened with the rights of whoever typed it.
    pub(crate) fn read(self, here: &Here) -> Result<Secret, Failure> {
        let path = match self {
            Self::Said(secret) => return Ok(secret),
            Self::In(path) => here.absolute(&path)?,
        };
        let failed = |what: &str| Failure::new(format!("--load-credential=: {}: {what}", quoted(&path)));
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(failed(&format!("{}; name a file that you can read", because(&error)))),
            Ok(_) if bytes.len() as u64 > LONGEST => Err(failed("more than 1 MiB; bind the file instead")),
            Ok(_) => Ok(Secret::new(OsStr::from_bytes(&bytes))),
        }
    }
}

/// `NAME:` and the rest. What is wrong never holds the rest.
fn named(value: &OsStr) -> Parsed<(String, &OsStr)> {
    let bytes = value.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b':').filter(|at| *at > 0);
    let name = at.and_then(|at| std::str::from_utf8(bytes.get(..at)?).ok());
    match (name, at.and_then(|at| bytes.get(at + 1..))) {
        (Some(name), Some(rest)) => Ok((name.to_owned(), OsStr::from_bytes(rest))),
        _ => Err(ValueError::new("a credential has no name").with_remedy("write NAME:VALUE, or NAME:FILE to load one")),
    }
}

/// `NAME:FILE`.
pub(crate) fn load(value: &OsStr) -> Parsed<(String, Credential)> {
    let (name, file) = named(value)?;
    if file.is_empty() || file.len() > 4095 {
        return Err(ValueError::new("a credential has no file").with_remedy("write NAME:FILE"));
    }
    Ok((name, Credential::In(PathBuf::from(file))))
}

/// `NAME:VALUE`. systemd-nspawn reads escapes such as `\\n` in it.
pub(crate) fn set(value: &OsStr) -> Parsed<(String, Credential)> {
    let (name, said) = named(value)?;
    if said.as_bytes().contains(&b'\\') {
        return Err(ValueError::new("escapes in a credential are not supported yet")
            .with_remedy("leave the backslash out, or load the credential from a file"));
    }
    Ok((name, Credential::Said(Secret::new(said))))
}
