//! The values of options. What the library reads in files too, it reads here;
//! this is what only the command line has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use skep::dialect::Format;
use skep::dialect::nspawn::value::{self, Separator, ValueError};
use skep::spec::{
    Architecture, CpuLimit, Device, DeviceAccess, IoPriority, Limit, Mount, MountKind, Namespace, Profile,
    SchedulingPolicy, SecureBitList, Socket, User, UserNamespace, Want, parse_bytes,
};
use skep::sys::abi::{CapabilitySet, Resource};

use crate::console::{Console, Mode};
use crate::message::quoted;
use crate::typed::{Clock, Kind};

pub(crate) type Parsed<T> = Result<T, ValueError>;

/// That `value` is not what it should be.
pub(crate) fn bad<T>(value: &OsStr, what: &str, remedy: &str) -> Parsed<T> {
    Err(ValueError::new(format!("{} {what}", quoted(value))).with_remedy(remedy))
}

/// A value that `read` reads, as all but paths and variables: text.
pub(crate) fn text<T>(value: &OsStr, read: impl FnOnce(&str) -> Parsed<T>) -> Parsed<T> {
    match value.to_str() {
        Some(text) => read(text),
        None => bad(value, "is not UTF-8", "write it in UTF-8"),
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

/// A user-namespace mode: those of a file, and those that only the library has.
/// Digits are always an id here, unlike in a file.
pub(crate) fn private_users(value: &str) -> Parsed<UserNamespace> {
    const REMEDY: &str = "write `yes`, `own`, `subordinate`, `pick`, `managed`, `identity`, `no`, or BASE[:COUNT]";
    match value {
        "auto" => Ok(UserNamespace::Auto),
        "own" => Ok(UserNamespace::Own),
        "subordinate" => Ok(UserNamespace::Subordinate),
        _ if value.starts_with(|first: char| first.is_ascii_digit()) => {
            value::id_range(value).map(UserNamespace::Range)
        }
        _ => value::private_users(value).map_err(|error| error.with_remedy(REMEDY)),
    }
}

/// What the streams of the command are.
pub(crate) fn console(value: &str) -> Parsed<Console> {
    Ok(Console::Mode(match value {
        "interactive" => Mode::Interactive,
        "read-only" => Mode::ReadOnly,
        "passive" => Mode::Passive,
        "relay" => Mode::Relay,
        "pipe" => Mode::Pipe,
        "autopipe" => return Ok(Console::AutoPipe),
        _ => {
            let remedy = "write `interactive`, `read-only`, `passive`, `relay`, `pipe` or `autopipe`";
            return bad(value.as_ref(), "is not a console mode", remedy);
        }
    }))
}

/// Capabilities, separated by commas, or `all`.
pub(crate) fn capabilities(value: &str) -> Parsed<CapabilitySet> {
    value::capabilities(value, Separator::Commas).map(|list| list.0)
}

/// Capabilities by name.
pub(crate) fn ambient(value: &str) -> Parsed<CapabilitySet> {
    value::ambient_capabilities(value, Separator::Commas).map(|list| list.0)
}

/// Whether systemd-machined has to know the container.
pub(crate) fn register(value: &str) -> Parsed<Want> {
    if value == "auto" {
        return Ok(Want::IfSupported);
    }
    let wanted = value::boolean(value).map_err(|error| error.with_remedy("write yes, no or auto"))?;
    Ok(if wanted { Want::Require } else { Want::Off })
}

/// The name of a slice, of which nothing becomes.
pub(crate) fn slice(value: &str) -> Parsed<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@' | b'\\');
    match value.strip_suffix(".slice").unwrap_or(value) {
        name if !name.is_empty() && name.len() <= 200 && !name.starts_with('-') && name.bytes().all(plain) => Ok(()),
        _ => bad(OsStr::new(value), "is not the name of a slice", "write one such as machine.slice, or leave it out"),
    }
}

/// A background of `SGR` (ECMA-48), or none, of which nothing becomes.
pub(crate) fn color(value: &str) -> Parsed<()> {
    match value.bytes().all(|byte| byte.is_ascii_digit() || byte == b';') && value.len() < 100 {
        true => Ok(()),
        false => bad(OsStr::new(value), "is not a colour", "write numbers of SGR such as 44, or nothing"),
    }
}

/// The name of an item of the report; which there are, a start knows.
pub(crate) fn item(value: &str) -> Parsed<String> {
    if value.is_empty() || value.len() > 200 {
        return bad(OsStr::new(value), "is not the name of an item", "take one from `skep run --report`");
    }
    Ok(value.to_owned())
}

/// Securebits by name, separated by commas, or `none`.
pub(crate) fn securebits(value: &str) -> Parsed<SecureBitList> {
    if value == "none" {
        return Ok(SecureBitList::default());
    }
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    SecureBitList::try_from(names)
        .map_err(|message| ValueError::new(message).with_remedy("write names with commas between them, or `none`"))
}

/// `NAME`, `UID` or `UID:GID`; the last is not for files.
pub(crate) fn user(value: &str) -> Parsed<User> {
    let read = match value.split_once(':') {
        Some((uid, gid)) => value::id(uid).and_then(|uid| Ok(User::Ids { uid, gid: value::id(gid)? })),
        None => value::user(value),
    };
    read.map_err(|error| {
        error.with_remedy("write a name of the container's /etc/passwd, UID or UID:GID, but not 65535 or 4294967295")
    })
}

/// `NAME=SOFT[:HARD]`.
pub(crate) fn rlimit(value: &str) -> Parsed<(Resource, Limit)> {
    match value.split_once('=') {
        Some((name, limit)) => value::limit(name, limit),
        None => bad(OsStr::new(value), "has no `=`", "write NAME=SOFT or NAME=SOFT:HARD, such as NOFILE=1024:4096"),
    }
}

/// A number of bytes.
pub(crate) fn bytes(value: &str) -> Parsed<u64> {
    parse_bytes(value)
        .map_err(|message| ValueError::new(message).with_remedy("write digits, and K, M, G or T behind them: 512M"))
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

/// A positive whole number, of `what`.
pub(crate) fn number_of(value: &OsStr, what: &str) -> Parsed<u64> {
    let plain = |text: &&str| !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match value.to_str().filter(plain).and_then(|text| text.parse().ok()) {
        Some(number) => Ok(number),
        None => bad(value, &format!("is not a number of {what}"), "write a number from 1 on"),
    }
}

/// `[-]SRC[:DST][:rwm]`: a node of the host, where it is inside, and its uses.
pub(crate) fn device(value: &str) -> Parsed<Mount> {
    let wrong = |what: &str| bad(OsStr::new(value), what, "write /dev/NODE, /dev/NODE:rw or /dev/NODE:/dev/OTHER:rw");
    let (optional, rest) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
    let mut parts: Vec<&str> = rest.split(':').collect();
    let access = match parts.last().map(|last| last.parse()) {
        Some(Ok(access)) if parts.len() > 1 => parts.pop().map(|_| access).unwrap_or_default(),
        _ => DeviceAccess::default(),
    };
    let (source, target) = match parts.as_slice() {
        [source] => (*source, *source),
        [source, target] => (*source, *target),
        _ => return wrong("is no device"),
    };
    if ![source, target].iter().all(|path| path.starts_with("/dev/") && !path.ends_with('/')) {
        return wrong("names no node below /dev");
    }
    let mut device = Device::new(source);
    (device.access, device.optional) = (access, optional);
    Ok(Mount { target: PathBuf::from(target), kind: MountKind::Device(device) })
}

/// How many lines.
pub(crate) fn lines(word: &str) -> Parsed<usize> {
    match word.parse() {
        Ok(number) if word.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => bad(OsStr::new(word), "is not a number of lines", "write one such as 20"),
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

/// A format of files that say what a container is.
pub(crate) fn format(value: &OsStr) -> Parsed<Format> {
    let known = value.to_str().and_then(Format::by_name);
    known.map_or_else(|| bad(value, "is not a format", "write nspawn, json or toml"), Ok)
}

pub(crate) fn profile(value: &OsStr) -> Parsed<Profile> {
    match value.to_str() {
        Some("strict") => Ok(Profile::Strict),
        Some("nspawn") => Ok(Profile::Nspawn),
        _ => bad(value, "is not a profile", "write `strict` or `nspawn`"),
    }
}

/// A name with its own rules; empty means "not set".
pub(crate) fn name<T: FromStr<Err = skep::spec::NameError>>(value: &str) -> Parsed<Option<T>> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|error: skep::spec::NameError| {
        ValueError::new(error.to_string()).with_remedy("write up to 64 ASCII letters, digits, `-` and `.`")
    })
}

/// A score, or none, for the caller's own.
pub(crate) fn oom_score_adjust(value: &str) -> Parsed<Option<i16>> {
    if value.is_empty() { Ok(None) } else { value::oom_score_adjust(value).map(Some) }
}

/// A nice value.
pub(crate) fn nice(value: &str) -> Parsed<i8> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse::<i8>() {
        Ok(number @ -20..=19) if plain => Ok(number),
        _ => bad(OsStr::new(value), "is not a nice value", "write a number from -20 (most time) to 19"),
    }
}

/// A scheduling policy, with its priority.
pub(crate) fn scheduling_policy(value: &str) -> Parsed<SchedulingPolicy> {
    const REMEDY: &str = "write other, batch, idle, fifo:PRIORITY or rr:PRIORITY, with a priority from 1 to 99";
    value.parse().map_err(|message: String| ValueError::new(message).with_remedy(REMEDY))
}

/// The priority of requests to disks.
pub(crate) fn io_priority(value: &str) -> Parsed<IoPriority> {
    const REMEDY: &str = "write idle, best-effort:LEVEL or real-time:LEVEL, with a level from 0 (first) to 7";
    value.parse().map_err(|message: String| ValueError::new(message).with_remedy(REMEDY))
}

/// `NAME=VALUE`; what the name may be, the library says.
pub(crate) fn sysctl(value: &str) -> Parsed<(String, String)> {
    match value.split_once('=') {
        Some((name, setting)) if !name.is_empty() => Ok((name.to_owned(), setting.to_owned())),
        _ => bad(OsStr::new(value), "is not NAME=VALUE", "write such as net.ipv4.ip_forward=1"),
    }
}

/// ABIs of system calls, between blanks.
pub(crate) fn architectures(value: &str) -> Parsed<BTreeSet<Architecture>> {
    let refused = |word: &str| {
        let names = Architecture::NAMES.map(|(name, _)| name).join(", ");
        bad(OsStr::new(word), "is not an architecture", &format!("write one or more of {names}"))
    };
    let named = value.split_whitespace().map(|word| {
        let known = Architecture::NAMES.iter().find(|(name, _)| *name == word);
        known.map_or_else(|| refused(word), |(_, architecture)| Ok(*architecture))
    });
    let named = named.collect::<Parsed<BTreeSet<_>>>()?;
    if named.is_empty() { refused(value).map(|one| BTreeSet::from([one])) } else { Ok(named) }
}

/// A family of sockets, or one protocol of it.
pub(crate) fn socket(value: &str) -> Parsed<Socket> {
    const REMEDY: &str = "write a family of address_families(7) such as AF_VSOCK, or one protocol: AF_NETLINK/9";
    value.parse().or_else(|_| bad(OsStr::new(value), "is not a family of sockets", REMEDY))
}

/// `KIND=new`, `KIND=host` or `KIND=PATH`.
pub(crate) fn namespace(value: &str) -> Parsed<(Kind, Namespace)> {
    const REMEDY: &str = "write ipc, uts, cgroup, pid or time, `=`, and `new`, `host` or a path such as /proc/7/ns/ipc";
    let wrong = || bad(OsStr::new(value), "is not a choice of a namespace", REMEDY);
    let Some((kind, choice)) = value.split_once('=') else { return wrong() };
    let kind = match kind {
        "ipc" => Kind::Ipc,
        "uts" => Kind::Uts,
        "cgroup" => Kind::Cgroup,
        "pid" => Kind::Pid,
        "time" => Kind::Time,
        _ => return wrong(),
    };
    Ok((
        kind,
        match choice {
            "new" => Namespace::New,
            "host" => Namespace::Host,
            path => match value::inside(path) {
                Ok(path) => Namespace::Path(path),
                Err(_) => return wrong(),
            },
        },
    ))
}

/// `monotonic=SECONDS` or `boottime=SECONDS`.
pub(crate) fn time_offset(value: &str) -> Parsed<(Clock, i64)> {
    let read = value.split_once('=').and_then(|(clock, seconds)| {
        let clock = match clock {
            "monotonic" => Clock::Monotonic,
            "boottime" => Clock::Boottime,
            _ => return None,
        };
        let digits = seconds.strip_prefix('-').unwrap_or(seconds);
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| seconds.parse().ok())?.map(|seconds| (clock, seconds))
    });
    read.map_or_else(
        || bad(OsStr::new(value), "is not an offset of a clock", "write monotonic=SECONDS or boottime=SECONDS"),
        Ok,
    )
}

/// An exposure of `skep audit`, in tenths.
pub(crate) fn exposure(value: &str) -> Parsed<u8> {
    let (whole, tenth) = value.split_once('.').unwrap_or((value, "0"));
    let digit = |text: &str, most: usize| {
        (1..=most).contains(&text.len()).then(|| text.parse::<u8>().ok()).flatten().filter(|_| !text.starts_with('+'))
    };
    match (digit(whole, 2), digit(tenth, 1)) {
        (Some(whole), Some(tenth)) if whole < 10 || (whole == 10 && tenth == 0) => Ok(whole * 10 + tenth),
        _ => bad(OsStr::new(value), "is not an exposure", "write a number such as 2.5, from 0.0 to 10.0"),
    }
}

/// `N` or `N:M`: a descriptor, and its number inside.
pub(crate) fn passed(value: &str) -> Parsed<(u32, u32)> {
    let (from, number) = value.split_once(':').unwrap_or((value, value));
    match (descriptor(from), descriptor(number)) {
        (Ok(from), Ok(number)) if number >= 3 => Ok((from, number)),
        _ => bad(OsStr::new(value), "is not a descriptor to pass", "write N or N:M, of which M is 3 or more"),
    }
}

/// The number of an open descriptor.
pub(crate) fn descriptor(value: &str) -> Parsed<u32> {
    let plain = !value.is_empty() && value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if plain => Ok(number),
        _ => bad(OsStr::new(value), "is not a descriptor", "write the number of an open one, such as 3"),
    }
}
