//! Credentials of the command line.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skep::dialect::nspawn::value::ValueError;
use skep::spec::Secret;

use crate::meaning::Here;
use crate::message::{Failure, because, quoted};
use crate::values::Parsed;

/// What a credential says, or what does.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Said(Secret),
    /// A file, or a socket that says it to whoever connects.
    In(PathBuf),
    /// One that this program was given itself.
    Own(OsString),
}

/// Bytes of a credential, at most: as systemd has it.
const LONGEST: u64 = 1 << 20;

/// How long a socket may take until it has said all.
const PATIENCE: Duration = Duration::from_secs(30);

impl Credential {
    /// The option that gave it.
    pub(crate) const fn option(&self) -> &'static str {
        match self {
            Self::Said(_) => "--set-credential=",
            Self::In(_) | Self::Own(_) => "--load-credential=",
        }
    }

    /// What it says. Its file is opened with the rights of whoever typed it.
    pub(crate) fn read(self, here: &Here) -> Result<Secret, Failure> {
        let (path, remedy) = match self {
            Self::Said(secret) => return Ok(secret),
            Self::In(path) => (here.absolute(&path)?, "name a file or socket that you can read"),
            Self::Own(name) => match std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) {
                Some(directory) if directory.is_absolute() => {
                    (directory.join(name), "it is to be one of $CREDENTIALS_DIRECTORY; a path has a `/` in it")
                }
                _ => {
                    return Err(Failure::new(format!(
                        "--load-credential=: {}: this program was given no credentials ($CREDENTIALS_DIRECTORY); for a file of the current directory write ./ in front",
                        quoted(&name)
                    )));
                }
            },
        };
        let failed = |what: &str| Failure::new(format!("--load-credential=: {}: {what}", quoted(&path)));
        let mut bytes = Vec::new();
        match said_at(&path, &mut bytes) {
            Err(error) => Err(failed(&format!("{}; {remedy}", because(&error)))),
            Ok(()) if bytes.len() as u64 > LONGEST => Err(failed("more than 1 MiB; bind the file instead")),
            Ok(()) => Ok(Secret::new(OsString::from_vec(bytes))),
        }
    }
}

/// What a file holds, or what a stream socket says until it is closed; one byte more
/// than a credential may have, at most.
fn said_at(path: &Path, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    if !path.metadata()?.file_type().is_socket() {
        return File::open(path)?.take(LONGEST + 1).read_to_end(bytes).map(drop);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut stream = UnixStream::connect(path)?;
    let mut part = [0; 4096];
    while bytes.len() as u64 <= LONGEST {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of nothing is none at all.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(length) => bytes.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(std::io::Error::from(ErrorKind::TimedOut));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

/// `NAME:PATH`, or `NAME:NAME` for one that this program was given.
pub(crate) fn load(value: &OsStr) -> Parsed<(String, Credential)> {
    let (name, from) = named(value)?;
    if from.is_empty() || from.len() > 4095 || matches!(from.as_bytes(), b"." | b"..") {
        return Err(ValueError::new("a credential has no file").with_remedy("write NAME:FILE"));
    }
    let credential = match from.as_bytes().contains(&b'/') {
        true => Credential::In(PathBuf::from(from)),
        false => Credential::Own(from.to_owned()),
    };
    Ok((name, credential))
}

/// `NAME:VALUE`, with escapes as C has them.
pub(crate) fn set(value: &OsStr) -> Parsed<(String, Credential)> {
    let (name, said) = named(value)?;
    let Some(said) = unescaped(said.as_bytes()) else {
        return Err(ValueError::new("a backslash in a credential begins no escape of C")
            .with_remedy("double it, or write \\n, \\t, \\xHH, \\uHHHH or \\OOO"));
    };
    Ok((name, Credential::Said(Secret::new(OsString::from_vec(said)))))
}

/// Without escapes; `None` where one is none.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut left = text;
    while let Some((byte, after)) = left.split_first() {
        left = after;
        if *byte == b'\\' {
            let (kind, after) = left.split_first()?;
            // Octal digits have no letter in front.
            left = if kind.is_ascii_digit() { left } else { after };
            left = left.get(escape(*kind, left, &mut out)?..)?;
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

/// Adds what an escape stands for; the number of digits that it takes.
fn escape(kind: u8, digits: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let number = |count: usize, radix: u32| {
        let digits = digits.get(..count)?;
        digits.iter().try_fold(0_u32, |number, digit| {
            number.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?)
        })
    };
    let byte = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        b'\\' | b'"' | b'\'' => kind,
        b'0'..=b'7' => {
            out.push(u8::try_from(number(3, 8)?).ok()?);
            return Some(3);
        }
        b'x' => {
            out.push(u8::try_from(number(2, 16)?).ok()?);
            return Some(2);
        }
        b'u' | b'U' => {
            let count = if kind == b'u' { 4 } else { 8 };
            let character = char::from_u32(number(count, 16)?)?;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(count);
        }
        _ => return None,
    };
    out.push(byte);
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    #[test]
    fn escapes_are_those_of_c() {
        for (text, said) in [
            ("", Some(&b""[..])),
            (r"a\nb\t\\\'\s", Some(b"a\nb\t\\' ")),
            (r"\x00\xff\101\0010", Some(b"\0\xffA\x010")),
            (r"\u00e4\U0001F41D!", Some("\u{e4}\u{1f41d}!".as_bytes())),
            (r"\", None),
            (r"\q", None),
            (r"\x1", None),
            (r"\x+1", None),
            (r"\777", None),
            (r"\089", None),
            (r"\ud800", None),
            (r"\U00110000", None),
            (r"\u12", None),
        ] {
            assert_eq!(unescaped(text.as_bytes()).as_deref(), said, "{text}");
        }
    }

    #[test]
    fn a_socket_says_it_and_a_file_holds_it() {
        let directory = std::env::temp_dir().join(format!("skep-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let socket = directory.join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let server = std::thread::spawn(move || {
            let (mut first, _) = listener.accept().expect("somebody");
            first.write_all(b"hunt").expect("written");
            first.write_all(b"er2").expect("written");
            drop(first);
            let (mut second, _) = listener.accept().expect("somebody");
            // More than is taken: the other end goes away.
            let _ = second.write_all(&vec![b'x'; 2 << 20]);
        });
        let read = |credential: Credential| credential.read(&Here::default());
        let of = |path: &Path| load(OsStr::new(&format!("a:{}", path.display()))).expect("a path").1;
        assert_eq!(read(of(&socket)).expect("said"), Secret::new("hunter2"));
        assert!(read(of(&socket)).expect_err("too much").to_string().contains("more than 1 MiB"));
        server.join().expect("ended");
        let error = read(of(&socket)).expect_err("nobody listens").to_string();
        assert!(error.contains("refused") && error.contains("; name a file or socket"), "{error}");
        std::fs::write(directory.join("file"), "x").expect("a file");
        assert_eq!(read(of(&directory.join("file"))).expect("held"), Secret::new("x"));
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_name_is_one_of_this_programs_own_and_a_path_has_a_slash() {
        for (text, own) in [("a:token", true), ("a:./token", false), ("a:/t", false), ("a:dir/token", false)] {
            let (_, credential) = load(OsStr::new(text)).expect(text);
            assert_eq!(matches!(credential, Credential::Own(_)), own, "{text}");
        }
        for bad in ["a:", "a:..", "a:.", ":b", "ab", ""] {
            assert!(load(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
