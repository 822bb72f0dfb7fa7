//! The values of options. Each function reads one spelling, as
//! `systemd-nspawn(1)` has it, and touches nothing.
//!
//! The library has the same readers for `.nspawn` files, but keeps them to
//! itself: once they are public, most of this file goes away.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use skep::spec::{
    Bind, CapabilityList, CpuLimit, IdRange, Limit, Mount, MountKind, Profile, Secret, Tmpfs, User, UserNamespace,
    Volatile, parse_bytes,
};
use skep::sys::abi::{CapabilitySet, Resource};

use crate::message::quoted;

/// What is wrong with a value, and what to write instead.
#[derive(Debug)]
pub(crate) struct Bad(pub(crate) String);

pub(crate) type Parsed<T> = Result<T, Bad>;

fn bad<T>(value: &OsStr, what: &str, remedy: &str) -> Parsed<T> {
    Err(Bad(format!("{} {what}; {remedy}", quoted(value))))
}

fn text(value: &OsStr) -> Parsed<&str> {
    value.to_str().ok_or_else(|| Bad(format!("{} is not UTF-8; write it in UTF-8", quoted(value))))
}

/// A decimal number without sign or leading zeros, which others read as octal.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (digits && canonical).then(|| text.parse().ok())?
}

/// A boolean in any of the spellings of `systemd`.
pub(crate) fn boolean(value: &OsStr) -> Parsed<bool> {
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Ok(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Ok(false)
    } else {
        bad(value, "is not a boolean", "write `yes` or `no`")
    }
}

/// A path of the host, absolute or from the current directory.
pub(crate) fn host_path(value: &OsStr) -> Parsed<PathBuf> {
    if value.is_empty() {
        return bad(value, "is not a path", "name a file or directory");
    }
    if value.len() > 4095 {
        return bad(value, "is too long", "a path has at most 4095 bytes");
    }
    Ok(PathBuf::from(value))
}

/// A path of the container.
pub(crate) fn inside(value: &OsStr) -> Parsed<PathBuf> {
    let path = Path::new(value);
    if !path.is_absolute() {
        return bad(value, "is not an absolute path", "write the path from `/` on, as the container sees it");
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return bad(value, "holds `..`", "write the path without `..`");
    }
    if value.len() > 4095 || path.iter().any(|part| part.len() > 255) {
        return bad(value, "is too long", "a path has at most 4095 bytes, each part of it 255");
    }
    // Without `//`, `/./` and a `/` at the end.
    Ok(path.components().collect())
}

/// A directory inside that is not the kernel's own: through one of those in
/// `/proc` the payload could start outside of its root (CVE-2024-21626).
pub(crate) fn working_directory(value: &OsStr) -> Parsed<PathBuf> {
    let path = inside(value)?;
    if ["/proc", "/sys", "/dev"].iter().any(|top| path.starts_with(top)) {
        return bad(value, "is in /proc, /sys or /dev", "name a directory of the root");
    }
    Ok(path)
}

/// The field that begins at the byte `from`, and where the next one begins.
/// `\:` is a colon, `\\` a backslash.
fn field(value: &OsStr, from: usize) -> Parsed<(OsString, Option<usize>)> {
    let (bytes, mut field) = (value.as_bytes(), Vec::new());
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (byte, bytes.get(at)) {
            (b':', _) => return Ok((OsString::from_vec(field), Some(at))),
            (b'\\', Some(escaped @ (b':' | b'\\'))) => {
                field.push(*escaped);
                at += 1;
            }
            (b'\\', _) => {
                return bad(value, "has a backslash before neither `:` nor `\\`", "write `\\\\` for a backslash");
            }
            _ => field.push(*byte),
        }
    }
    Ok((OsString::from_vec(field), None))
}

/// The comma-separated options from the byte `at` on.
fn options(value: &OsStr, at: Option<usize>) -> Parsed<Vec<&str>> {
    let rest = at.and_then(|at| value.as_bytes().get(at..)).map(OsStr::from_bytes);
    rest.map_or(Ok(Vec::new()), |rest| Ok(text(rest)?.split(',').collect()))
}

/// `SOURCE[:TARGET[:OPTIONS]]`. A relative source is left relative.
pub(crate) fn bind(value: &OsStr, read_only: bool) -> Parsed<Mount> {
    let (source, after) = field(value, 0)?;
    if source.is_empty() {
        return bad(value, "has no source: a fresh directory is not supported yet", "use --tmpfs=");
    }
    if source.as_bytes().starts_with(b"+") {
        return bad(
            value,
            "has a source below the container's root (`+`), which is not supported yet",
            "write the path on the host",
        );
    }
    let source = host_path(&source)?;
    let mut bind = Bind::default();
    bind.read_only = read_only;
    let Some(at) = after else {
        if source.is_relative() {
            return bad(value, "has a relative source and no target", "write SOURCE:TARGET");
        }
        let target = inside(source.as_os_str())?;
        bind.source = source;
        return Ok(Mount { target, kind: MountKind::Bind(bind) });
    };
    let (target, at) = field(value, at)?;
    let target = inside(&target)?;
    for option in options(value, at)? {
        match option {
            "rbind" => bind.recursive = true,
            "norbind" => bind.recursive = false,
            "noidmap" => {}
            "idmap" | "rootidmap" | "owneridmap" => {
                return bad(OsStr::new(option), "is not supported yet", "leave it out");
            }
            _ => {
                let remedy = "options are rbind, norbind and noidmap; write `\\:` for a colon of a path";
                return bad(OsStr::new(option), "is not a bind option", remedy);
            }
        }
    }
    bind.source = source;
    Ok(Mount { target, kind: MountKind::Bind(bind) })
}

/// `PATH[:OPTIONS]`.
pub(crate) fn tmpfs(value: &OsStr) -> Parsed<Mount> {
    const REMEDY: &str =
        "options are mode= (octal), size= and nr_inodes= (such as 64M), ro and rw; write `\\:` for a colon of the path";
    let (target, at) = field(value, 0)?;
    let target = inside(&target)?;
    let mut tmpfs = Tmpfs::default();
    if at.is_some() {
        // With options, `systemd-nspawn` leaves the mode to the kernel.
        tmpfs.mode = 0o1777;
    }
    for option in options(value, at)? {
        let shown = OsStr::new(option);
        // The kernel takes 0 for "no limit", and `010` for 8.
        let count = |number: &str| match parse_bytes(&number.to_ascii_uppercase()) {
            Ok(count) if !number.starts_with('0') => Ok(count),
            _ => bad(shown, "has no size, or one that starts with 0", REMEDY),
        };
        match option.split_once('=').unwrap_or((option, "")) {
            ("mode", mode) => tmpfs.mode = octal(OsStr::new(mode), 0o7777)?,
            ("size", size) => tmpfs.size = count(size)?,
            ("nr_inodes", inodes) => tmpfs.inodes = count(inodes)?,
            ("ro", "") => tmpfs.read_only = true,
            ("rw", "") => tmpfs.read_only = false,
            _ => return bad(shown, "is not a tmpfs option that is supported", REMEDY),
        }
    }
    Ok(Mount { target, kind: MountKind::Tmpfs(tmpfs) })
}

pub(crate) fn volatile(value: &OsStr) -> Parsed<Volatile> {
    match value.to_str() {
        Some("state") => Ok(Volatile::State),
        Some("overlay") => Ok(Volatile::Overlay),
        _ => match boolean(value) {
            Ok(true) => Ok(Volatile::Yes),
            Ok(false) => Ok(Volatile::No),
            Err(_) => bad(value, "is not a volatile mode", "write `no`, `yes`, `state` or `overlay`"),
        },
    }
}

/// A user-namespace mode. Digits are always an id here, unlike in a file.
pub(crate) fn private_users(value: &OsStr) -> Parsed<UserNamespace> {
    const REMEDY: &str = "write `own`, `subordinate`, `pick`, `identity`, `no`, or BASE[:COUNT]";
    let word = text(value)?;
    match word {
        "auto" => return Ok(UserNamespace::Auto),
        "own" => return Ok(UserNamespace::Own),
        "subordinate" => return Ok(UserNamespace::Subordinate),
        "pick" => return Ok(UserNamespace::Pick),
        "identity" => return Ok(UserNamespace::Identity),
        "managed" => return bad(value, "is not supported yet", REMEDY),
        _ => {}
    }
    if !word.starts_with(|first: char| first.is_ascii_digit()) {
        return match boolean(value) {
            Ok(false) => Ok(UserNamespace::Host),
            Ok(true) => bad(value, "(ids from the owner of the root) is not supported yet", REMEDY),
            Err(_) => bad(value, "is not a user-namespace mode", REMEDY),
        };
    }
    let (base, count) = word.split_once(':').unwrap_or((word, "65536"));
    let (Some(base), Some(count)) = (decimal::<u32>(base), decimal::<u32>(count)) else {
        return bad(value, "is not a range of user ids", REMEDY);
    };
    if count == 0 || base.checked_add(count).is_none() {
        return bad(value, "is not a range of user ids", "a range has at least one id, and ends below 4294967295");
    }
    Ok(UserNamespace::Range(IdRange { base, count }))
}

/// Capabilities, separated by commas, or `all`.
pub(crate) fn capabilities(value: &OsStr) -> Parsed<CapabilitySet> {
    let names: Vec<String> = text(value)?.split(',').map(str::to_owned).collect();
    match CapabilityList::try_from(names) {
        Ok(CapabilityList(set)) => Ok(set),
        Err(message) => Err(Bad(format!(
            "{message}; names are those of capabilities(7), such as CAP_NET_ADMIN, separated by commas"
        ))),
    }
}

/// Capabilities by name; `systemd-nspawn` takes no `all` here.
pub(crate) fn ambient(value: &OsStr) -> Parsed<CapabilitySet> {
    if text(value)?.split(',').any(|name| name.eq_ignore_ascii_case("all")) {
        return bad(value, "is not accepted here", "name the capabilities");
    }
    capabilities(value)
}

/// `NAME=VALUE`, or `NAME` for the launcher's own value. What is wrong is told
/// without the value: it may be a secret.
pub(crate) fn variable(value: &OsStr) -> Parsed<(String, Option<Secret>)> {
    let bytes = value.as_bytes();
    let (name, rest) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(Secret::new(OsStr::from_bytes(&bytes[at + 1..])))),
        None => (bytes, None),
    };
    let letters = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if name.is_empty() || name[0].is_ascii_digit() || !letters {
        return Err(Bad(
            "what stands before `=` is not the name of a variable; a name has letters, digits and `_`, and no digit at its start".to_owned(),
        ));
    }
    Ok((String::from_utf8_lossy(name).into_owned(), rest))
}

/// `NAME`, `UID` or `UID:GID`.
pub(crate) fn user(value: &OsStr) -> Parsed<User> {
    let word = text(value)?;
    if word == "root" {
        return Ok(User::default());
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let (uid, gid) = word.split_once(':').unwrap_or((word, word));
        // 65535 is -1 to programs with ids of 16 bits.
        let id = |text: &str| decimal::<u32>(text).filter(|id| !matches!(*id, 65535 | u32::MAX));
        return match (id(uid), id(gid)) {
            (Some(uid), Some(gid)) => Ok(User::Ids { uid, gid }),
            _ => bad(value, "is not a user id", "write UID or UID:GID in decimal, but not 65535 or 4294967295"),
        };
    }
    let start = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let rest = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if start && rest && word.len() <= 32 {
        Ok(User::Name(word.to_owned()))
    } else {
        bad(value, "is not a user", "write a name of the container's /etc/passwd, UID or UID:GID")
    }
}

/// The first and last real-time signal to programs: glibc keeps 32 and 33.
const REAL_TIME: (u8, u8) = (34, 64);

/// A signal by name, with or without `SIG`, or by number.
pub(crate) fn signal(value: &OsStr) -> Parsed<u8> {
    const REMEDY: &str = "write a name of signal(7) such as SIGTERM, SIGRTMIN+3, or a number up to 64";
    let word = text(value)?;
    let name = word.strip_prefix("SIG").unwrap_or(word);
    let offset = |rest: &str, sign: char| if rest.is_empty() { Some(0) } else { decimal(rest.strip_prefix(sign)?) };
    let (first, last) = REAL_TIME;
    let number: Option<u8> = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|offset| first.checked_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|offset| last.checked_sub(offset)).filter(|number| *number >= first)
    } else if let Some(number) = decimal(word) {
        Some(number)
    } else {
        format!("SIG{name}").parse().ok().and_then(|signal: Signal| u8::try_from(signal as i32).ok())
    };
    match number {
        Some(number @ 1..=64) => Ok(number),
        _ => bad(value, "is not a signal", REMEDY),
    }
}

/// `NAME=SOFT[:HARD]`; limits in bytes take a suffix K, M, G or T.
pub(crate) fn rlimit(value: &OsStr) -> Parsed<(Resource, Limit)> {
    let Some((name, limit)) = text(value)?.split_once('=') else {
        return bad(value, "has no `=`", "write NAME=SOFT or NAME=SOFT:HARD, such as NOFILE=1024:4096");
    };
    let Some(resource) = Resource::by_name(name) else {
        return bad(OsStr::new(name), "is not a resource limit", &format!("limits are {}", Resource::NAMES.join(", ")));
    };
    let bytes = ["FSIZE", "DATA", "STACK", "CORE", "RSS", "AS", "MEMLOCK", "MSGQUEUE"];
    let in_bytes = bytes.contains(&resource.to_string().as_str());
    let plain = |part: &str| {
        if in_bytes && part.ends_with(['K', 'M', 'G', 'T']) {
            parse_bytes(part).map(|bytes| bytes.to_string())
        } else {
            Ok(part.to_owned())
        }
    };
    let parts: Result<Vec<String>, String> = limit.split(':').map(plain).collect();
    parts
        .and_then(|parts| Limit::parse(&parts.join(":")))
        .map(|limit| (resource, limit))
        .map_err(|message| Bad(format!("{message}; write SOFT or SOFT:HARD, each a number or `infinity`")))
}

/// A number in octal, up to `most`.
pub(crate) fn octal(value: &OsStr, most: u32) -> Parsed<u32> {
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    value
        .to_str()
        .filter(digits)
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .filter(|number| *number <= most)
        .map_or_else(|| bad(value, "is not a mode", &format!("write it in octal, such as 0022, up to {most:o}")), Ok)
}

/// A number of bytes.
pub(crate) fn bytes(value: &OsStr) -> Parsed<u64> {
    parse_bytes(text(value)?).map_err(|message| Bad(format!("{message}; write a number of bytes such as 512M")))
}

/// A number of processors, such as `1.5`: that share of each 100 ms.
pub(crate) fn cpus(value: &OsStr) -> Parsed<CpuLimit> {
    const PERIOD: u32 = 100_000;
    let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = value.to_str().filter(plain).and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(number) if (0.01..=8192.0).contains(&number) => {
            let quota = (number * f64::from(PERIOD)).round() as u64;
            Ok(CpuLimit { quota, period: u64::from(PERIOD) })
        }
        _ => bad(value, "is not a number of processors", "write a number such as 1.5, from 0.01 to 8192"),
    }
}

/// A positive whole number.
pub(crate) fn count(value: &OsStr) -> Parsed<u64> {
    match value.to_str().and_then(decimal) {
        Some(number @ 1..) => Ok(number),
        _ => bad(value, "is not a number of processes", "write a number from 1 on"),
    }
}

/// A number of seconds, such as `30` or `0.5`.
pub(crate) fn seconds(value: &OsStr) -> Parsed<Duration> {
    let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = value.to_str().filter(plain).and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(number) if number > 0.0 && number <= 86_400.0 => Ok(Duration::from_secs_f64(number)),
        _ => bad(value, "is not a number of seconds", "write a number such as 30 or 0.5, up to 86400"),
    }
}

pub(crate) fn profile(value: &OsStr) -> Parsed<Profile> {
    match value.to_str() {
        Some("strict") => Ok(Profile::Strict),
        Some("nspawn") => Ok(Profile::Nspawn),
        _ => bad(value, "is not a profile", "write `strict` or `nspawn`"),
    }
}

/// A name with its own rules; empty means "not set".
pub(crate) fn name<T: FromStr<Err = skep::spec::NameError>>(value: &OsStr) -> Parsed<Option<T>> {
    if value.is_empty() {
        return Ok(None);
    }
    let remedy = "write up to 64 ASCII letters, digits, `-` and `.`";
    text(value)?.parse().map(Some).map_err(|error: skep::spec::NameError| {
        Bad(format!("{}; {remedy}", crate::message::printable(&error.to_string())))
    })
}
