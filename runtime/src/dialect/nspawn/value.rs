//! The values of single keys, for whoever reads them from elsewhere: a command
//! line with the options of `systemd-nspawn`, say.
//!
//! Each function reads one spelling, and touches nothing: no file is opened, no
//! user looked up. Where `systemd-nspawn` has a value in its options that it has
//! not in its files, the functions read what the files have.
//!
//! ```
//! use skep::dialect::nspawn::value;
//!
//! let list = value::capabilities("CAP_KILL,CAP_CHOWN", value::Separator::Commas)?;
//! assert!(list.0.has(0) && list.0.has(5));
//!
//! let error = value::boolean("maybe").unwrap_err();
//! assert_eq!(error.to_string(), "\"maybe\" is not a boolean; write `yes` or `no`");
//! # Ok::<(), value::ValueError>(())
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use skep_sys::abi::{CAPABILITY_NAMES, CapabilitySet, Resource};

pub use super::attributes::{cpu_affinity, machine_id, oom_score_adjust, personality};
pub use super::calls::{FamilyList, SystemCallList, address_families, system_calls};
pub use super::later::happens_anyhow;
pub use super::links::{interface, interface_pair, link_address, link_hardware, port, zone};
pub use super::mounts::{bind, inside, overlay, pivot_root, tmpfs};
pub use super::words::{link_journal, resolv_conf, resolv_conf_words, timezone, timezone_words};
use crate::Escaped;
use crate::dialect::nearest;
use crate::dialect::problem::quoted;
use crate::spec::{
    BindUsers, Capability, CapabilityList, HostName, IdRange, Limit, Ownership, Secret, User, UserNamespace, UserShell,
    Volatile, parse_bytes,
};

/// What is wrong with a value, and what to write instead.
///
/// Prints as `message; remedy`, on one line and without control characters,
/// whatever the value holds. Values of environment variables are never part of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub struct ValueError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// At which byte of the value.
    pub at: usize,
}

/// A value that was read, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, ValueError>;

impl ValueError {
    /// An error of the whole value.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, at: 0 }
    }

    /// With what to do about it, in place of what it said before.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Moves the error `by` bytes on.
    pub(super) fn at(mut self, by: usize) -> Self {
        self.at += by;
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped::new(&self.message))?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {}", Escaped::new(remedy))?;
        }
        Ok(())
    }
}

/// A boolean in any of the spellings of `systemd`.
pub(super) fn as_boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// A boolean in any of the spellings of `systemd`: `yes`, `on`, `1`, ….
///
/// # Errors
///
/// Anything else.
pub fn boolean(text: &str) -> Parsed<bool> {
    as_boolean(text)
        .ok_or_else(|| ValueError::new(format!("{} is not a boolean", quoted(text))).with_remedy("write `yes` or `no`"))
}

/// A decimal number without sign or leading zeros, which others read as octal.
pub(super) fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (digits && canonical).then(|| text.parse().ok())?
}

/// `NAME=VALUE`, or `NAME` alone, which has no value.
///
/// # Errors
///
/// A name that no variable has. The error does not show the text: it may be a
/// secret.
pub fn variable(text: impl AsRef<OsStr>) -> Parsed<(String, Option<Secret>)> {
    let bytes = text.as_ref().as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(Secret::new(OsStr::from_bytes(&bytes[at + 1..])))),
        None => (bytes, None),
    };
    let letters = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    match std::str::from_utf8(name) {
        Ok(name) if letters && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) => {
            Ok((name.to_owned(), value))
        }
        _ => Err(ValueError::new("what stands before `=` is not the name of a variable")
            .with_remedy("a name has letters, digits and `_`, and no digit at its start")),
    }
}

/// The same in a file, where the value cannot be left out.
pub(super) fn assigned(word: &str) -> Parsed<(String, Secret)> {
    let missing = || {
        ValueError::new("a word has no `=`")
            .with_remedy("write NAME=VALUE, and quote it whole if it holds blanks: \"NAME=a b\"")
    };
    if !word.contains('=') {
        return Err(missing());
    }
    let (name, value) = variable(word)?;
    Ok((name, value.ok_or_else(missing)?))
}

/// The id of a user or group, in decimal.
///
/// # Errors
///
/// Anything else, 65535 and 4294967295: they are -1 to programs with ids of 16
/// and of 32 bits.
pub fn id(text: &str) -> Parsed<u32> {
    decimal(text).filter(|id| !matches!(*id, 65535 | u32::MAX)).ok_or_else(|| {
        ValueError::new(format!("{} is not a user id", quoted(text)))
            .with_remedy("a user id is a decimal number, but not 65535 or 4294967295")
    })
}

/// A user by number or name. A number is that of the group too; whether the
/// container has a user of that name is not looked up.
///
/// # Errors
///
/// What is neither an [`id`] nor can be a name.
pub fn user(text: &str) -> Parsed<User> {
    if text == "root" {
        return Ok(User::default());
    }
    if text.starts_with(|char: char| char.is_ascii_digit()) {
        return id(text).map(|id| User::Ids { uid: id, gid: id });
    }
    account(text, "a user").map(User::Name)
}

/// The name of a user or group.
fn account(text: &str, what: &str) -> Parsed<String> {
    if BindUsers::is_name(text) {
        return Ok(text.to_owned());
    }
    Err(ValueError::new(format!("{} is not the name of {what}", quoted(text)))
        .with_remedy("a name has up to 32 letters, digits, `_` and `-`, and starts with a letter or `_`"))
}

/// The name of a user of the host that the container has too.
///
/// # Errors
///
/// It is no name, or a number.
pub fn bind_user(text: &str) -> Parsed<String> {
    if text.starts_with(|char: char| char.is_ascii_digit()) {
        let error = ValueError::new(format!("{} is not the name of a user", quoted(text)));
        return Err(error.with_remedy("write the name, not the number"));
    }
    account(text, "a user")
}

/// The name of a group that such users are members of.
///
/// # Errors
///
/// It is no name.
pub fn bind_user_group(text: &str) -> Parsed<String> {
    account(text, "a group")
}

/// The shell that such users have: a boolean or a path.
///
/// # Errors
///
/// It is neither.
pub fn bind_user_shell(text: &str) -> Parsed<UserShell> {
    match as_boolean(text) {
        Some(false) => Ok(UserShell::Usual),
        Some(true) => Ok(UserShell::Host),
        None => inside(text).map(UserShell::Path),
    }
}

/// What stands between the words of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Separator {
    /// Blanks and tabs, as in a file.
    Blanks,
    /// Commas, as on the command line.
    Commas,
}

impl Separator {
    /// The words of `text` that are not empty, and where each begins.
    pub(super) fn words(self, text: &str) -> impl Iterator<Item = (usize, &str)> {
        let between: &[char] = match self {
            Self::Blanks => &super::lines::BLANK,
            Self::Commas => &[','],
        };
        let mut next = 0;
        text.split(between).filter_map(move |word| {
            let start = next;
            next += word.len() + 1;
            (!word.is_empty()).then_some((start, word))
        })
    }
}

/// Names or numbers of capabilities, or `all`.
///
/// # Errors
///
/// A word that is no capability, and a text without any word.
pub fn capabilities(text: &str, separator: Separator) -> Parsed<CapabilityList> {
    const NAMES: &str = "names are those of capabilities(7), such as CAP_NET_ADMIN";
    let mut set = CapabilitySet::EMPTY;
    let mut any = false;
    for (at, word) in separator.words(text) {
        any = true;
        if word.eq_ignore_ascii_case("all") {
            set = CapabilitySet(u64::MAX);
            continue;
        }
        let found = Capability::by_name(word).ok_or_else(|| {
            let remedy = match separator {
                Separator::Blanks if word.contains(',') => "separate capabilities with blanks".to_owned(),
                Separator::Commas if word.contains(super::lines::BLANK) => {
                    "separate capabilities with commas".to_owned()
                }
                _ => nearest::remedy(word, CAPABILITY_NAMES.iter().copied(), NAMES),
            };
            ValueError::new(format!("{} is not a capability", quoted(word))).with_remedy(remedy).at(at)
        })?;
        set = set.with(found.number());
    }
    if !any {
        return Err(ValueError::new("no capability is named").with_remedy(NAMES));
    }
    Ok(CapabilityList(set))
}

/// Capabilities as [`capabilities`], but without `all`, as `systemd-nspawn` has
/// it for ambient ones.
///
/// # Errors
///
/// `all`, and those of [`capabilities`].
pub fn ambient_capabilities(text: &str, separator: Separator) -> Parsed<CapabilityList> {
    let all = separator.words(text).find(|(_, word)| word.eq_ignore_ascii_case("all"));
    match all {
        Some((at, _)) => Err(ValueError::new("`all` is not accepted here").with_remedy("name the capabilities").at(at)),
        None => capabilities(text, separator),
    }
}

/// The first and last real-time signal to programs: glibc keeps 32 and 33.
const REAL_TIME: (u8, u8) = (34, 64);

/// A signal by name, with or without `SIG`, or by number.
///
/// # Errors
///
/// What is no signal that a program can send.
pub fn signal(text: &str) -> Parsed<u8> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => decimal(rest.strip_prefix(sign)?).and_then(|offset| u8::try_from(offset).ok()),
    };
    let (first, last) = REAL_TIME;
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|offset| first.checked_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|offset| last.checked_sub(offset)).filter(|number| *number >= first)
    } else if let Some(number) = decimal(text) {
        u8::try_from(number).ok()
    } else {
        let known: Result<Signal, _> = format!("SIG{name}").parse();
        known.ok().and_then(|signal| u8::try_from(signal as i32).ok())
    };
    number.filter(|number| (1..=last).contains(number)).ok_or_else(|| {
        let otherwise = "write a name of signal(7) such as SIGTERM, SIGRTMIN+3, or a number up to 64";
        let names = Signal::iterator().map(|signal| signal.as_str().trim_start_matches("SIG"));
        let remedy = nearest::remedy(name, names, otherwise);
        ValueError::new(format!("{} is not a signal", quoted(text))).with_remedy(remedy)
    })
}

/// The name of a signal, as [`signal`] reads it.
#[must_use]
pub fn signal_name(number: u8) -> String {
    match Signal::try_from(i32::from(number)) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => match number.checked_sub(REAL_TIME.0) {
            Some(offset) => format!("SIGRTMIN+{offset}"),
            None => number.to_string(),
        },
    }
}

/// A directory inside that is not the kernel's own: through one of those in
/// `/proc` the payload could start outside of its root (CVE-2024-21626).
///
/// # Errors
///
/// Such a directory, and those of [`inside`].
pub fn working_directory(text: impl AsRef<OsStr>) -> Parsed<PathBuf> {
    let path = inside(text)?;
    match ["/proc", "/sys", "/dev"].iter().find(|top| path.starts_with(top)) {
        Some(top) => Err(ValueError::new(format!("no working directory can be in {top}"))
            .with_remedy("name a directory of the root")),
        None => Ok(path),
    }
}

/// A user-namespace mode. As with `systemd-nspawn`, `0` and `1` are booleans
/// here, but ids on its command line: there, try [`id_range`] on digits first.
///
/// # Errors
///
/// Anything but a boolean, `identity`, `pick`, `managed`, and an [`id_range`].
pub fn private_users(text: &str) -> Parsed<UserNamespace> {
    const INSTEAD: &str = "write `yes`, `pick`, `managed`, `identity`, a range `BASE:COUNT`, or `no`";
    match (as_boolean(text), text) {
        (Some(false), _) => return Ok(UserNamespace::Host),
        (Some(true), _) => return Ok(UserNamespace::Owner),
        (None, "identity") => return Ok(UserNamespace::Identity),
        (None, "pick") => return Ok(UserNamespace::Pick),
        (None, "managed") => return Ok(UserNamespace::Managed),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(ValueError::new(format!("{} is not a user-namespace mode", quoted(text))).with_remedy(INSTEAD));
    }
    id_range(text).map(UserNamespace::Range)
}

/// Who owns the files of the root's tree: a boolean, `chown`, `map`, `foreign` or
/// `auto`.
///
/// # Errors
///
/// Anything else.
pub fn ownership(text: &str) -> Parsed<Ownership> {
    match (text, as_boolean(text)) {
        ("auto", _) | (_, Some(true)) => Ok(Ownership::Auto),
        (_, Some(false)) => Ok(Ownership::Off),
        ("chown", _) => Ok(Ownership::Chown),
        ("map", _) => Ok(Ownership::Map),
        ("foreign", _) => Ok(Ownership::Foreign),
        _ => Err(ValueError::new(format!("{} is not a mode of ownership", quoted(text)))
            .with_remedy("write one of off, chown, map, foreign, auto")),
    }
}

/// `BASE[:COUNT]` in decimal: ids of the host; 65536 of them without `COUNT`.
///
/// # Errors
///
/// Anything else, an empty range, and one that holds the last id of all, which
/// means "none" to the kernel.
pub fn id_range(text: &str) -> Parsed<IdRange> {
    let error =
        |remedy| Err(ValueError::new(format!("{} is not a range of user ids", quoted(text))).with_remedy(remedy));
    let (base, count) = text.split_once(':').unwrap_or((text, "65536"));
    let (Some(base), Some(count)) = (decimal(base), decimal(count)) else {
        return error("write BASE or BASE:COUNT, in decimal");
    };
    if count == 0 || base.checked_add(count).is_none() {
        return error("a range has at least one id, and ends below 4294967295");
    }
    Ok(IdRange { base, count })
}

/// The resource limit `name`, such as `NOFILE` or `LimitNOFILE`, as
/// `SOFT[:HARD]`; limits in bytes take a suffix K, M, G or T.
///
/// # Errors
///
/// An unknown name, what is no number or `infinity`, and a soft limit above the
/// hard one.
pub fn limit(name: &str, text: &str) -> Parsed<(Resource, Limit)> {
    let Some(resource) = Resource::by_name(name) else {
        return Err(ValueError::new(format!("{} is not a resource limit", quoted(name)))
            .with_remedy(format!("limits are {}", Resource::NAMES.join(", "))));
    };
    let bytes = matches!(
        resource.to_string().as_str(),
        "FSIZE" | "DATA" | "STACK" | "CORE" | "RSS" | "AS" | "MEMLOCK" | "MSGQUEUE"
    );
    let plain = |part: &str| {
        if bytes && part.ends_with(['K', 'M', 'G', 'T']) {
            parse_bytes(part).map(|bytes| bytes.to_string())
        } else {
            Ok(part.to_owned())
        }
    };
    let parts: Result<Vec<_>, String> = text.split(':').map(plain).collect();
    parts.and_then(|parts| Limit::parse(&parts.join(":"))).map(|limit| (resource, limit)).map_err(|message| {
        let unit = match resource.to_string().as_str() {
            "CPU" => "seconds",
            "RTTIME" => "microseconds",
            "NICE" => "1 to 40 (20 less the nice value)",
            _ if bytes => "bytes, with K, M, G, T or nothing after the number",
            _ => "numbers",
        };
        ValueError::new(message).with_remedy(format!("write SOFT or SOFT:HARD; {unit}, or `infinity`"))
    })
}

/// A file mode (or mask) in octal, `most` at most.
///
/// # Errors
///
/// Anything else.
pub fn mode(text: &str, most: u32) -> Parsed<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    Some(text)
        .filter(|_| octal)
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .filter(|mode| *mode <= most)
        .ok_or_else(|| {
            ValueError::new(format!("{} is not a mode", quoted(text)))
                .with_remedy(format!("a mode is octal, such as 0755, and at most {most:o}"))
        })
}

pub(super) fn host_name(text: &str) -> Parsed<HostName> {
    HostName::new(text).map_err(|error| {
        ValueError::new(error.to_string())
            .with_remedy("write up to 64 ASCII letters, digits, `-` and `.`, such as web-1")
    })
}

/// A volatile mode: a boolean, `state` or `overlay`.
///
/// # Errors
///
/// Anything else.
pub fn volatile(text: &str) -> Parsed<Volatile> {
    match (as_boolean(text), text) {
        (Some(true), _) => Ok(Volatile::Yes),
        (Some(false), _) => Ok(Volatile::No),
        (None, "state") => Ok(Volatile::State),
        (None, "overlay") => Ok(Volatile::Overlay),
        _ => Err(ValueError::new(format!("{} is not a volatile mode", quoted(text)))
            .with_remedy("write `no`, `yes`, `state` or `overlay`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Bind, Mount, MountKind};

    #[test]
    fn lists_have_one_separator() {
        let both = CapabilitySet::EMPTY.with(0).with(5);
        let read = |text, separator| capabilities(text, separator).map(|list| list.0);
        assert_eq!(read(" CAP_KILL\tchown", Separator::Blanks), Ok(both));
        assert_eq!(read("CAP_KILL,,chown", Separator::Commas), Ok(both));
        for (text, separator, remedy) in [
            ("kill,chown", Separator::Blanks, "with blanks"),
            ("kill chown", Separator::Commas, "with commas"),
            ("kill,fly", Separator::Commas, "capabilities(7)"),
            ("", Separator::Commas, "capabilities(7)"),
            (" ", Separator::Blanks, "capabilities(7)"),
        ] {
            let error = read(text, separator).unwrap_err();
            assert!(error.to_string().contains(remedy), "{text:?}: {error}");
        }
        assert_eq!(ambient_capabilities("kill,All", Separator::Commas).unwrap_err().at, 5);
    }

    #[test]
    fn paths_need_not_be_utf_8() {
        let bytes = OsStr::from_bytes(b"/a\xff\\::/b\xff//");
        let Ok(Mount { target, kind: MountKind::Bind(Bind { source, .. }) }) = bind(bytes, true) else {
            panic!("{bytes:?} is refused");
        };
        assert_eq!(source.as_os_str(), OsStr::from_bytes(b"/a\xff:"));
        assert_eq!(target.as_os_str(), OsStr::from_bytes(b"/b\xff"));
        assert_eq!(tmpfs(OsStr::from_bytes(b"/\xff")).unwrap().target.as_os_str().len(), 2);
        let error = bind(OsStr::from_bytes(b"/a:/b:\xff\n"), true).unwrap_err();
        assert!(!error.to_string().contains(char::is_control) && error.at == 6, "{error:?}");
    }

    #[test]
    fn a_relative_source_stays_relative() {
        let mount = bind("../a/./b:/c", false).unwrap();
        assert!(matches!(mount.kind, MountKind::Bind(Bind { source, .. }) if source.as_os_str() == "../a/./b"));
    }

    #[test]
    fn a_variable_may_have_no_value() {
        assert_eq!(variable("A").unwrap(), ("A".to_owned(), None));
        assert_eq!(variable("_=x=y").unwrap(), ("_".to_owned(), Some(Secret::new("x=y"))));
        for bad in ["", "=hunter2", "9=hunter2", "a-b=hunter2"] {
            assert!(!format!("{:?}", variable(bad).unwrap_err()).contains("hunter2"), "{bad}");
        }
    }
}
