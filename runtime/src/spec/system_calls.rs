//! What a caller changes of the system-call filter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use skep_sys::{ERRNOS, Errno};

use crate::seccomp::{Action, Arch, families};

/// Changes of the profile's system-call filter. An item is the name of a call
/// (`syscalls(2)`) or of a group such as `@clock` (`systemd.exec(5)`).
///
/// What is denied stays denied, whatever else allows it. A name that no Linux
/// has is an error; one that only another processor has changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SystemCalls {
    /// Items allowed beside those of the profile. In the profile `strict` a
    /// group leaves out what it must not open by accident, and a rule on
    /// arguments stays as it is: [`SystemCalls::danger_allow`] opens those.
    pub allow: BTreeSet<String>,
    /// Calls allowed whatever their arguments, also of those that have led out
    /// of containers: `bpf`, `clone` with new namespaces, `io_uring_setup`. By
    /// name only, never by group; the report and the audit name them.
    pub danger_allow: BTreeSet<String>,
    /// Items refused, and how.
    pub deny: BTreeMap<String, Denial>,
    /// Items that wait for an answer of whoever embeds, at the other end of
    /// `Container::listener`. An answer takes the place of the call, whatever the
    /// profile says of it. An item that another list names too is an error, and
    /// so is a call that the start makes after the filter, such as `execve`; a
    /// group leaves those out. Only the payload's filter asks, the stub init's
    /// never, and no exec joins such a container.
    pub notify: BTreeSet<String>,
    /// Sockets opened and closed by their family.
    pub sockets: Sockets,
    /// Whether fsync(2), fdatasync(2), msync(2), sync(2), syncfs(2) and
    /// sync_file_range(2) say that they have done it, and do nothing; and open(2) and
    /// openat(2) refuse `O_SYNC` and `O_DSYNC` (EINVAL). For what can be made again.
    /// openat2(2) and io_uring_enter(2) are not seen by a filter, and do what they do.
    pub suppress_sync: bool,
    /// Other ABIs whose calls the filter lets through, by the same rules as the
    /// machine's own, which is always there: 32-bit programs need theirs. Off, the
    /// first call of such a program kills it. If absent, the profile's: none in
    /// `strict`, in `nspawn` that of 32-bit x86 on x86-64. Whether the kernel was
    /// built with it is not looked at: without, such a program is no executable
    /// there (ENOEXEC), whatever is said here.
    ///
    /// A rule holds for a call under each name that the ABI has for it, and for
    /// its part in `socketcall` and `ipc`, but only as far as a filter can see:
    /// where the rule depends on arguments that lie in memory there, the answer
    /// is ENOSYS. So in `strict` a 32-bit glibc, which makes its sockets by
    /// `socketcall`, has none.
    pub architectures: Option<BTreeSet<Architecture>>,
}

impl SystemCalls {
    /// Whether it changes any rule of the profile's.
    pub(crate) fn changes_rules(&self) -> bool {
        let Self { allow, danger_allow, deny, notify, sockets, suppress_sync, architectures: _ } = self;
        let lists = [allow, danger_allow, notify];
        lists.iter().any(|list| !list.is_empty())
            || !deny.is_empty()
            || *sockets != Sockets::default()
            || *suppress_sync
    }
}

/// An ABI of system calls, by the name that systemd gives it
/// (`SystemCallArchitectures=`, `systemd.exec(5)`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Architecture {
    /// The machine's own.
    Native,
    /// `x86-64`.
    #[serde(rename = "x86-64")]
    X86_64,
    /// `x86`: 32-bit programs (i386) on x86-64.
    X86,
    /// `x32`: 64-bit code with 32-bit pointers on x86-64. Hardly a kernel has it.
    X32,
    /// `arm64`.
    Arm64,
    /// `arm`: 32-bit programs on arm64. Not supported yet.
    Arm,
}

impl Architecture {
    /// All, by name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("native", Self::Native),
        ("x86-64", Self::X86_64),
        ("x86", Self::X86),
        ("x32", Self::X32),
        ("arm64", Self::Arm64),
        ("arm", Self::Arm),
    ];

    /// The numbers of its calls; `Err` says why this machine has none.
    pub(crate) fn table(self) -> Result<Arch, &'static str> {
        match (self, Arch::NATIVE) {
            (Self::Native, native) => Ok(native),
            (Self::X86_64, Arch::X86_64) => Ok(Arch::X86_64),
            (Self::X86, Arch::X86_64) => Ok(Arch::X86),
            (Self::X32, Arch::X86_64) => Ok(Arch::X32),
            (Self::Arm64, Arch::Aarch64) => Ok(Arch::Aarch64),
            (Self::Arm, Arch::Aarch64) => Err("the numbers of its calls are not known here yet"),
            _ => Err("no kernel for this machine has its calls"),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(_, one)| one == self).map_or("", |(name, _)| name))
    }
}

/// How a call is refused. Serialises as the name of an error, such as
/// `"EPERM"`, or as `"kill"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Denial {
    /// It fails with this error.
    Errno(Errno),
    /// It ends the whole process, with `SIGSYS`.
    Kill,
}

impl Denial {
    /// `EPERM`: it exists and is refused.
    pub const EPERM: Self = Self::Errno(Errno::EPERM);

    pub(crate) const fn action(self) -> Action {
        match self {
            Self::Errno(errno) => Action::Errno(errno.raw()),
            Self::Kill => Action::KillProcess,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Errno(errno) => match ERRNOS.iter().find(|(known, _, _)| known == errno) {
                Some((_, symbol, _)) => f.write_str(symbol),
                None => write!(f, "{}", errno.raw()),
            },
        }
    }
}

impl FromStr for Denial {
    type Err = String;

    /// `EPERM`, the number of an error up to 4095, or `kill`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "kill" {
            return Ok(Self::Kill);
        }
        if let Some((errno, _, _)) = ERRNOS.iter().find(|(_, symbol, _)| *symbol == text) {
            return Ok(Self::Errno(*errno));
        }
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if canonical && number <= Action::MAX_ERRNO => Ok(Self::Errno(Errno::from_raw(number))),
            _ => Err(format!(
                "{} is not an answer: write the name of an error such as EPERM, its number up to {}, or kill",
                short(text),
                Action::MAX_ERRNO
            )),
        }
    }
}

impl TryFrom<String> for Denial {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Denial> for String {
    fn from(denial: Denial) -> Self {
        denial.to_string()
    }
}

/// The beginning of a text that may be long, in quotes.
fn short(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// Which sockets `socket(2)` makes. `socketpair(2)`, and sockets that are
/// passed in, stay as the profile has them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Sockets {
    /// No others than these families, if given; an empty list is none at all.
    /// It opens nothing that the profile refuses.
    pub only: Option<BTreeSet<Family>>,
    /// These families not.
    pub deny: BTreeSet<Family>,
    /// These beside what the profile allows, unless the two lists above close
    /// them. What `strict` refuses has code that few programs use, or reaches
    /// beyond the container: the hypervisor, the audit log, the hardware.
    pub danger_allow: BTreeSet<Socket>,
}

/// A family of sockets, by its name in `address_families(7)`, such as
/// `AF_INET6`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct Family(u8);

impl Family {
    /// `AF_UNIX`.
    pub const UNIX: Self = Self(1);
    /// `AF_INET`.
    pub const INET: Self = Self(2);
    /// `AF_INET6`.
    pub const INET6: Self = Self(10);
    /// `AF_NETLINK`.
    pub const NETLINK: Self = Self(16);
    /// `AF_VSOCK`.
    pub const VSOCK: Self = Self(40);

    /// The kernel's number (`linux/socket.h`).
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(families::name(self.0).unwrap_or("AF_UNSPEC"))
    }
}

impl FromStr for Family {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        families::number(text).map(Self).ok_or_else(|| {
            format!("{} is not an address family: write one of address_families(7), such as AF_UNIX", short(text))
        })
    }
}

impl TryFrom<String> for Family {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Family> for String {
    fn from(family: Family) -> Self {
        family.to_string()
    }
}

/// A family, or one protocol of it. Serialises as `AF_VSOCK`, or as
/// `AF_INET/132` with the number of the protocol (`protocols(5)`,
/// `netlink(7)`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Socket {
    /// The family.
    pub family: Family,
    /// The third argument of `socket(2)`; every one if absent.
    pub protocol: Option<u32>,
}

impl From<Family> for Socket {
    fn from(family: Family) -> Self {
        Self { family, protocol: None }
    }
}

impl Socket {
    /// One protocol of a family.
    #[must_use]
    pub const fn new(family: Family, protocol: u32) -> Self {
        Self { family, protocol: Some(protocol) }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            None => write!(f, "{}", self.family),
            Some(protocol) => write!(f, "{}/{protocol}", self.family),
        }
    }
}

impl FromStr for Socket {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((family, protocol)) = text.split_once('/') else {
            return text.parse().map(|family| Self { family, protocol: None });
        };
        let plain = protocol.bytes().all(|byte| byte.is_ascii_digit());
        match protocol.parse() {
            Ok(number) if plain => Ok(Self { family: family.parse()?, protocol: Some(number) }),
            _ => Err(format!("{} is not the number of a protocol: write one such as AF_INET/132", short(protocol))),
        }
    }
}

impl TryFrom<String> for Socket {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Socket> for String {
    fn from(socket: Socket) -> Self {
        socket.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_back() {
        for text in ["EPERM", "ENOSYS", "kill", "4095"] {
            assert_eq!(text.parse::<Denial>().unwrap().to_string(), text);
        }
        assert_eq!("1".parse::<Denial>(), Ok(Denial::EPERM));
        for text in ["", "eperm", "0", "01", "4096", "+1", "allow", "EFOO"] {
            assert!(text.parse::<Denial>().is_err(), "{text:?}");
        }
        for text in ["AF_UNIX", "AF_NETLINK/9", "AF_VSOCK", "AF_INET/4294967295"] {
            assert_eq!(text.parse::<Socket>().unwrap().to_string(), text);
        }
        for (name, architecture) in Architecture::NAMES {
            assert_eq!(architecture.to_string(), name);
            assert_eq!(serde_json::to_value(architecture).unwrap(), name);
        }
        assert_eq!("AF_LOCAL".parse::<Family>(), Ok(Family::UNIX));
        for text in ["", "AF_", "AF_UNSPEC", "unix", "AF_INET/", "AF_INET/x", "AF_INET/-1", "AF_INET/4294967296"] {
            assert!(text.parse::<Socket>().is_err(), "{text:?}");
        }
    }
}
