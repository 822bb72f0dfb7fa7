//! The values of single keys, but for paths.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use skep_sys::abi::{CapabilitySet, Resource};

use super::mounts;
use super::value::{Fault, Parsed};
use crate::dialect::problem::quoted;
use crate::spec::{
    Capability, CapabilityList, HostName, IdRange, Limit, Secret, User, UserNamespace, Volatile,
    parse_bytes,
};

/// A boolean in any of the spellings of `systemd`.
fn as_boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    as_boolean(text).ok_or_else(|| {
        Fault::new(format!("{} is not a boolean", quoted(text))).remedy("write `yes` or `no`")
    })
}

/// A decimal number without sign or leading zeros, which others read as octal.
pub(super) fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (digits && canonical).then(|| text.parse().ok())?
}

/// `NAME=VALUE`. What is wrong is told without the text: it may be a secret.
pub(super) fn variable(word: &str) -> Parsed<(String, Secret)> {
    let fault = |message: &str| Err(Fault::new(message));
    let Some((name, value)) = word.split_once('=') else {
        return fault("a word has no `=`").map_err(|fault| {
            fault.remedy("write NAME=VALUE, and quote it whole if it holds blanks: \"NAME=a b\"")
        });
    };
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return fault("what stands before `=` is not the name of a variable").map_err(|fault| {
            fault.remedy("a name has letters, digits and `_`, and no digit at its start")
        });
    }
    Ok((name.to_owned(), Secret::new(value)))
}

/// A user by number or name.
pub(super) fn user(text: &str) -> Parsed<User> {
    if text == "root" {
        return Ok(User::default());
    }
    if text.starts_with(|char: char| char.is_ascii_digit()) {
        // 65535 is -1 to programs with ids of 16 bits.
        return decimal(text)
            .filter(|id| !matches!(*id, 65535 | u32::MAX))
            .map(|id| User::Ids { uid: id, gid: id })
            .ok_or_else(|| {
                Fault::new(format!("{} is not a user id", quoted(text)))
                    .remedy("a user id is a decimal number, but not 65535 or 4294967295")
            });
    }
    let start = text.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    let rest = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if start && rest && text.len() <= 32 {
        return Ok(User::Name(text.to_owned()));
    }
    Err(
        Fault::new(format!("{} is not the name of a user", quoted(text))).remedy(
            "a name has up to 32 letters, digits, `_` and `-`, and starts with a letter or `_`",
        ),
    )
}

/// Capabilities, separated by blanks, or `all`.
pub(super) fn capabilities(text: &str) -> Parsed<CapabilityList> {
    let mut set = CapabilitySet::EMPTY;
    for (at, word) in blank_separated(text) {
        if word == "all" {
            set = CapabilitySet(u64::MAX);
            continue;
        }
        let found = Capability::by_name(word).ok_or_else(|| {
            let fault = Fault::new(format!("{} is not a capability", quoted(word))).at(at);
            if word.contains(',') {
                fault.remedy("separate capabilities with blanks")
            } else {
                fault.remedy("names are those of capabilities(7), such as CAP_NET_ADMIN")
            }
        })?;
        set = set.with(found.number());
    }
    Ok(CapabilityList(set))
}

/// Capabilities by name; `systemd-nspawn` takes no `all` here.
pub(super) fn ambient(text: &str) -> Parsed<CapabilityList> {
    let all = blank_separated(text).find(|(_, word)| *word == "all");
    match all {
        Some((at, _)) => Err(Fault::new("`all` is not accepted here")
            .remedy("name the capabilities")
            .at(at)),
        None => capabilities(text),
    }
}

fn blank_separated(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(super::lines::BLANK).filter_map(move |word| {
        let start = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((start, word))
    })
}

/// The first and last real-time signal to programs: glibc keeps 32 and 33.
const REAL_TIME: (u8, u8) = (34, 64);

/// A signal by name, with or without `SIG`, or by number.
pub(super) fn signal(text: &str) -> Parsed<u8> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => decimal(rest.strip_prefix(sign)?).and_then(|offset| u8::try_from(offset).ok()),
    };
    let (first, last) = REAL_TIME;
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|offset| first.checked_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-')
            .and_then(|offset| last.checked_sub(offset))
            .filter(|number| *number >= first)
    } else if let Some(number) = decimal(text) {
        u8::try_from(number).ok()
    } else {
        let known: Result<Signal, _> = format!("SIG{name}").parse();
        known
            .ok()
            .and_then(|signal| u8::try_from(signal as i32).ok())
    };
    number
        .filter(|number| (1..=last).contains(number))
        .ok_or_else(|| {
            Fault::new(format!("{} is not a signal", quoted(text))).remedy(
                "write a name of signal(7) such as SIGTERM, SIGRTMIN+3, or a number up to 64",
            )
        })
}

/// A signal as [`signal`] reads it.
pub(super) fn signal_name(number: u8) -> String {
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
pub(super) fn working_directory(text: &str) -> Parsed<PathBuf> {
    let path = mounts::inside(text)?;
    match ["/proc", "/sys", "/dev"]
        .iter()
        .find(|top| path.starts_with(top))
    {
        Some(top) => Err(Fault::new(format!("no working directory can be in {top}"))
            .remedy("name a directory of the root")),
        None => Ok(path),
    }
}

/// A user-namespace mode. As with `systemd-nspawn`, `0` and `1` are booleans.
pub(super) fn private_users(text: &str) -> Parsed<UserNamespace> {
    const INSTEAD: &str = "write `pick`, `identity`, a range `BASE:COUNT`, or `no`";
    match (as_boolean(text), text) {
        (Some(false), _) => return Ok(UserNamespace::Host),
        (Some(true), _) => {
            return Err(Fault::not_yet(&format!(
                "`PrivateUsers={text}` (ids from the owner of the root)"
            ))
            .remedy(INSTEAD));
        }
        (None, "identity") => return Ok(UserNamespace::Identity),
        (None, "pick") => return Ok(UserNamespace::Pick),
        (None, "managed") => {
            return Err(Fault::not_yet("`PrivateUsers=managed`").remedy(INSTEAD));
        }
        _ => {}
    }
    let (base, count) = text.split_once(':').unwrap_or((text, "65536"));
    let (Some(base), Some(count)) = (decimal(base), decimal(count)) else {
        return Err(
            Fault::new(format!("{} is not a user-namespace mode", quoted(text))).remedy(INSTEAD),
        );
    };
    // The last id of all means "none" to the kernel.
    if count == 0 || base.checked_add(count).is_none() {
        return Err(
            Fault::new(format!("{} is not a range of user ids", quoted(text)))
                .remedy("a range has at least one id, and ends below 4294967295"),
        );
    }
    Ok(UserNamespace::Range(IdRange { base, count }))
}

/// `SOFT[:HARD]`; limits in bytes take a suffix K, M, G or T.
pub(super) fn limit(key: &str, text: &str) -> Parsed<(Resource, Limit)> {
    let Some(resource) = Resource::by_name(key) else {
        return Err(Fault::new(format!("{key} is not a resource limit")));
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
    parts
        .and_then(|parts| Limit::parse(&parts.join(":")))
        .map(|limit| (resource, limit))
        .map_err(|message| {
            let unit = match resource.to_string().as_str() {
                "CPU" => "seconds",
                "RTTIME" => "microseconds",
                "NICE" => "1 to 40 (20 less the nice value)",
                _ if bytes => "bytes, with K, M, G, T or nothing after the number",
                _ => "numbers",
            };
            Fault::new(message).remedy(format!("write SOFT or SOFT:HARD; {unit}, or `infinity`"))
        })
}

pub(super) fn host_name(text: &str) -> Parsed<HostName> {
    HostName::new(text).map_err(|error| Fault::new(error.to_string()))
}

pub(super) fn volatile(text: &str) -> Parsed<Volatile> {
    match (as_boolean(text), text) {
        (Some(true), _) => Ok(Volatile::Yes),
        (Some(false), _) => Ok(Volatile::No),
        (None, "state") => Ok(Volatile::State),
        (None, "overlay") => Ok(Volatile::Overlay),
        _ => Err(
            Fault::new(format!("{} is not a volatile mode", quoted(text)))
                .remedy("write `no`, `yes`, `state` or `overlay`"),
        ),
    }
}
