//! Interfaces of a network of the container's own, their addresses, its ports.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a container has in its own network beside `lo`: needs [`super::Network::None`],
/// and root.
///
/// Names, further names and hardware addresses are those that `systemd-nspawn` gives:
/// `ve-NAME` (`vb-NAME` below a bridge) outside and `host0` inside, `mv-IF` and `iv-IF`;
/// a name of more than 15 bytes is shortened, and the whole one is an alternative name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Links {
    /// A pair of interfaces: `host0` inside, `ve-NAME` outside.
    pub veth: bool,
    /// The pair's outer end, then `vb-NAME`, is put below this bridge, which must be
    /// there.
    pub bridge: Option<LinkName>,
    /// The same with a bridge `vz-ZONE` (so the zone's name has at most 12 bytes), which
    /// is there while a container is in the zone.
    pub zone: Option<LinkName>,
    /// Further pairs: the names outside and inside.
    pub extra: Vec<LinkPair>,
    /// Interfaces of the kind macvlan (mode `bridge`) over one of the host's.
    pub macvlan: Vec<LinkPair>,
    /// Interfaces of the kind ipvlan (mode L2) over one of the host's.
    pub ipvlan: Vec<LinkPair>,
    /// Interfaces of the host that are the container's while it lives. They come back
    /// under their names, down and without addresses.
    pub moved: Vec<LinkPair>,
    /// Addresses of the pair, which without this has none and is down. One of each
    /// family at most.
    pub addresses: Vec<LinkAddress>,
    /// Hardware addresses of the pair, in the place of those that are made of the
    /// machine's id and the container's name.
    pub hardware: Option<LinkHardware>,
    /// Ports of the host that lead into the container, to its address: with none in
    /// `addresses`, that is one as by [`LinkAddress::Auto`].
    pub ports: Vec<Port>,
}

impl Links {
    /// Whether there is a pair with `host0`.
    #[must_use]
    pub fn has_pair(&self) -> bool {
        self.veth || self.bridge.is_some() || self.zone.is_some()
    }

    /// Whether the pair has an address that is made up.
    pub(crate) fn has_auto(&self) -> bool {
        self.addresses.contains(&LinkAddress::Auto) || (self.addresses.is_empty() && !self.ports.is_empty())
    }

    /// Whether an interface is made or moved.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.has_pair() || [&self.extra, &self.macvlan, &self.ipvlan, &self.moved].iter().any(|list| !list.is_empty())
    }

    /// Whether something is done in the host's network.
    pub(crate) fn concern_host(&self) -> bool {
        self.has_any() || !self.ports.is_empty()
    }
}

const NAME: &str = "the name of an interface";

/// Why a word about the network is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not {what}; {remedy}")]
pub struct LinkError {
    text: String,
    what: &'static str,
    /// Where in the word, in bytes.
    at: usize,
    remedy: &'static str,
}

impl LinkError {
    fn new(text: &str, what: &'static str, remedy: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, at: 0, remedy }
    }

    fn at(mut self, at: usize) -> Self {
        self.at += at;
        self
    }

    /// Where in the word, in bytes from its start.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The word, or the part of it that is wrong.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    /// What to write.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

macro_rules! words {
    ($($name:ident, $description:literal;)*) => {$(
        impl TryFrom<String> for $name {
            type Error = LinkError;
            fn try_from(text: String) -> Result<Self, LinkError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.to_string()
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description })
            }
        }
    )*};
}
words! {
    LinkName, "The name of an interface";
    LinkPair, "HOST[:CONTAINER]: names of an interface";
    LinkHardware, "INSIDE[,OUTSIDE]: hardware addresses";
    LinkAddress, "`auto`, or ADDRESS/PREFIX[,OUTSIDE]";
    Port, "[tcp:|udp:][ADDRESS:]HOST[:CONTAINER]";
}

/// The name of an interface (`dev_valid_name()` of Linux): up to 15 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// The longest name of an interface (`IFNAMSIZ`, less the NUL).
const LONGEST: usize = 15;
/// The longest alternative one (`ALTIFNAMSIZ`, less the NUL).
const LONGEST_ALTERNATIVE: usize = 127;

fn checked(text: &str, most: usize) -> Result<&str, LinkError> {
    let right = !text.is_empty()
        && text.len() <= most
        // Directories of `/proc/sys/net`, as well.
        && !matches!(text, "." | ".." | "all" | "default")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%' | b'\\'));
    // A number would be taken for an index.
    if right && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text);
    }
    let remedy = match most {
        LONGEST_ALTERNATIVE => {
            "a name has up to 127 letters, digits and signs, but no `/`, `:`, `%` and `\\`, and is no number"
        }
        LONGEST => "a name has up to 15 letters, digits and signs, but no `/`, `:`, `%` and `\\`, and is no number",
        _ => "a name has up to 12 letters, digits and signs, but no `/`, `:`, `%` and `\\`, and is no number",
    };
    Err(LinkError::new(text, NAME, remedy))
}

impl LinkName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`LinkError`]: empty, longer than 15 bytes, a number, or with a blank, `/`, `:`,
    /// `%` or `\` (which files of settings and nft(8) read as something else).
    pub fn new(name: impl Into<String>) -> Result<Self, LinkError> {
        let name = name.into();
        checked(&name, LONGEST)?;
        Ok(Self(name))
    }

    /// Checks the name of a zone, which has at most 12 bytes: its bridge is `vz-NAME`.
    ///
    /// # Errors
    ///
    /// As [`LinkName::new`].
    pub fn zone(name: impl Into<String>) -> Result<Self, LinkError> {
        let name = name.into();
        checked(&name, LONGEST - "vz-".len())?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = LinkError;
    fn from_str(name: &str) -> Result<Self, LinkError> {
        Self::new(name)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An interface of the host, and its name inside: `HOST[:CONTAINER]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkPair {
    host: String,
    inside: Option<LinkName>,
}

impl LinkPair {
    /// Of the host's an alternative name is as good, of up to 127 bytes.
    ///
    /// # Errors
    ///
    /// As [`LinkName::new`].
    pub fn new(host: impl Into<String>, inside: Option<LinkName>) -> Result<Self, LinkError> {
        let host = host.into();
        checked(&host, LONGEST_ALTERNATIVE)?;
        Ok(Self { host, inside })
    }

    /// The name outside.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name inside, where one is given.
    #[must_use]
    pub fn inside(&self) -> Option<&str> {
        self.inside.as_ref().map(LinkName::as_str)
    }
}

impl FromStr for LinkPair {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let (host, inside) = match text.split_once(':') {
            Some((host, inside)) => (host, Some(inside)),
            None => (text, None),
        };
        checked(host, LONGEST_ALTERNATIVE)?;
        let inside = inside.map(|name| LinkName::new(name).map_err(|error| error.at(host.len() + 1))).transpose()?;
        Ok(Self { host: host.to_owned(), inside })
    }
}

impl fmt::Display for LinkPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.inside.iter().try_for_each(|inside| write!(f, ":{inside}"))
    }
}

/// Hardware addresses of the two ends of the pair: `INSIDE[,OUTSIDE]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkHardware {
    /// Of `host0`.
    pub inside: [u8; 6],
    /// Of the outer end; absent, as without this.
    pub outside: Option<[u8; 6]>,
}

const HARDWARE: &str = "write six bytes as 02:00:00:00:00:01, of which the first is even and not all are 0, and after a comma, where wanted, those of the host's end";

impl FromStr for LinkHardware {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let one = |part: &str, at: usize| {
            let mut address = [0; 6];
            let separator = if part.contains('-') { '-' } else { ':' };
            let mut bytes = part.split(separator);
            let read = address.iter_mut().try_for_each(|place| {
                let digits = bytes.next().filter(|digits| matches!(digits.len(), 1 | 2))?;
                *place = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
                Some(())
            });
            // One of a group is nobody's own.
            let own = address[0] & 1 == 0 && address != [0; 6];
            let whole = read.is_some() && bytes.next().is_none();
            let refuse = || LinkError::new(text, "a hardware address", HARDWARE).at(at);
            Some(address).filter(|_| whole && own).ok_or_else(refuse)
        };
        let (inside, outside) = match text.split_once(',') {
            Some((inside, outside)) => (inside, Some(one(outside, inside.len() + 1)?)),
            None => (text, None),
        };
        let inside = one(inside, 0)?;
        if outside == Some(inside) {
            let what = "a hardware address of each end: they are the same";
            return Err(LinkError::new(text, what, HARDWARE).at(text.find(',').map_or(0, |at| at + 1)));
        }
        Ok(Self { inside, outside })
    }
}

impl fmt::Display for LinkHardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
        f.write_str(&shown(self.inside))?;
        self.outside.iter().try_for_each(|outside| write!(f, ",{}", shown(*outside)))
    }
}

/// Addresses of the two ends of the pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum LinkAddress {
    /// `auto`: a network of its own with two addresses, out of 169.254.0.0/16 by the
    /// container's name, the next one where it is taken. Not below a bridge or in a
    /// zone.
    Auto,
    /// `INSIDE/PREFIX[,OUTSIDE]`.
    Static {
        /// Inside.
        inside: IpAddr,
        /// Bits of the network's address.
        prefix: u8,
        /// Of the outer end or, in a zone, of its bridge, and where the default route
        /// inside leads. Below a bridge it is the bridge's owner's to set. Absent: the
        /// network's first, or the second where that is the one inside.
        outside: Option<IpAddr>,
    },
}

const ADDRESS: &str = "write `auto`, or an address with its prefix, such as 10.0.0.2/24, and after a comma that of the host's end, such as 10.0.0.2/24,10.0.0.1";

impl LinkAddress {
    /// Address inside and outside, and the prefix; `None` for [`LinkAddress::Auto`].
    pub(crate) fn ends(&self) -> Option<(IpAddr, IpAddr, u8)> {
        match *self {
            Self::Auto => None,
            Self::Static { inside, prefix, outside } => {
                Some((inside, outside.unwrap_or_else(|| other(inside, prefix)), prefix))
            }
        }
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn of_bits(bits: u128, width: u32) -> IpAddr {
    if width == 32 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) }
}

/// The network of an address: its first address.
pub(crate) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let (value, width) = bits(address);
    let host = width.saturating_sub(prefix.into());
    of_bits(value.checked_shr(host).and_then(|value| value.checked_shl(host)).unwrap_or(0), width)
}

/// The first address of a network that is not this one.
fn other(address: IpAddr, prefix: u8) -> IpAddr {
    let (value, width) = bits(address);
    let (first, _) = bits(network(address, prefix));
    of_bits(if first + 1 == value { first + 2 } else { first + 1 }, width)
}

impl FromStr for LinkAddress {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let refuse = |at: usize| LinkError::new(text, "an address of an interface", ADDRESS).at(at);
        let (one, outside) = match text.split_once(',') {
            Some((one, outside)) => (one, Some(outside)),
            None => (text, None),
        };
        let (address, prefix) = one.split_once('/').ok_or_else(|| refuse(0))?;
        let address: IpAddr = address.parse().map_err(|_| refuse(0))?;
        let at = one.len() - prefix.len();
        let width = bits(address).1;
        let prefix = decimal(prefix, width).ok_or_else(|| refuse(at))? as u8;
        // A network with two addresses of hosts at least, and not every one.
        if prefix == 0 || u32::from(prefix) + 2 > width {
            return Err(refuse(at));
        }
        let last = bits(network(address, prefix)).0 | ((1 << (width - u32::from(prefix))) - 1);
        let of_host = |host: IpAddr| {
            let all = (network(host, prefix), bits(host).1) == (network(address, prefix), width);
            all && host != network(address, prefix)
                && bits(host).0 != last
                && !host.is_loopback()
                && !host.is_multicast()
        };
        if !of_host(address) {
            return Err(refuse(0));
        }
        let outside = outside
            .map(|outside| {
                let parsed = outside.parse::<IpAddr>().ok().filter(|outside| of_host(*outside) && *outside != address);
                parsed.ok_or_else(|| refuse(one.len() + 1))
            })
            .transpose()?;
        Ok(Self::Static { inside: address, prefix, outside })
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Static { inside, prefix, outside } => {
                write!(f, "{inside}/{prefix}")?;
                outside.iter().try_for_each(|outside| write!(f, ",{outside}"))
            }
        }
    }
}

/// What a port is a port of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A port of the host that leads into the container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// Of TCP or UDP.
    pub protocol: Protocol,
    /// The address of the host; absent, all of them. One of `127.0.0.0/8` is reached
    /// from the host alone.
    pub address: Option<IpAddr>,
    /// On the host.
    pub host: u16,
    /// Inside.
    pub inside: u16,
}

const PORT: &str = "write HOST or HOST:CONTAINER with numbers from 1 to 65535, and before it, where wanted, `tcp:` or `udp:` and the host's address";

fn decimal(text: &str, most: u32) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && *number <= most)
}

impl FromStr for Port {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let refuse = |at: usize| LinkError::new(text, "a port", PORT).at(at.min(text.len()));
        let (protocol, rest) = match (text.strip_prefix("tcp:"), text.strip_prefix("udp:")) {
            (_, Some(rest)) => (Protocol::Udp, rest),
            (Some(rest), _) => (Protocol::Tcp, rest),
            _ => (Protocol::Tcp, text),
        };
        let at = text.len() - rest.len();
        let (address, ports) = match rest.strip_prefix('[') {
            Some(address) => {
                let (address, ports) = address.split_once("]:").ok_or_else(|| refuse(at))?;
                let address: std::net::Ipv6Addr = address.parse().map_err(|_| refuse(at))?;
                (Some(IpAddr::V6(address)), ports)
            }
            None => match rest.split_once(':') {
                Some((address, ports)) if address.contains('.') => {
                    let address: std::net::Ipv4Addr = address.parse().map_err(|_| refuse(at))?;
                    (Some(IpAddr::V4(address)), ports)
                }
                _ => (None, rest),
            },
        };
        let at = text.len() - ports.len();
        let (host, inside) = ports.split_once(':').unwrap_or((ports, ports));
        let number = |text: &str| decimal(text, 65535).filter(|port| *port > 0).map(|port| port as u16);
        match (number(host), number(inside)) {
            (Some(host), Some(inside)) => Ok(Self { protocol, address, host, inside }),
            (None, _) => Err(refuse(at)),
            (Some(_), None) => Err(refuse(at + host.len() + 1)),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Tcp => "tcp:",
            Protocol::Udp => "udp:",
        })?;
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}", self.host, self.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_went() {
        for text in ["eth0", "eth0:lan", "a-name-of-more-than-fifteen-bytes:eth1"] {
            assert_eq!(text.parse::<LinkPair>().unwrap().to_string(), text);
        }
        for text in ["auto", "10.0.0.2/24", "10.0.0.2/30,10.0.0.1", "fd00::2/64", "fd00::2/64,fd00::1"] {
            assert_eq!(text.parse::<LinkAddress>().unwrap().to_string(), text);
        }
        for (text, whole) in [
            ("02:00:00:00:00:0a", "02:00:00:00:00:0a"),
            ("2-0-0-0-0-A,02:00:00:00:00:01", "02:00:00:00:00:0a,02:00:00:00:00:01"),
        ] {
            let hardware: LinkHardware = text.parse().unwrap();
            assert_eq!(hardware.to_string(), whole);
            assert_eq!(whole.parse(), Ok(hardware));
        }
        for (text, whole) in [
            ("80", "tcp:80:80"),
            ("80:8080", "tcp:80:8080"),
            ("udp:53", "udp:53:53"),
            ("127.0.0.1:80:8080", "tcp:127.0.0.1:80:8080"),
            ("127.0.0.1:80", "tcp:127.0.0.1:80:80"),
            ("udp:[fd00::1]:80:81", "udp:[fd00::1]:80:81"),
        ] {
            let port: Port = text.parse().unwrap();
            assert_eq!(port.to_string(), whole);
            assert_eq!(whole.parse(), Ok(port));
        }
    }

    #[test]
    fn what_is_no_word_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("-1", 0),
            (":", 0),
            ("icmp", 0),
            ("tcp::8080", 4),
            ("8080:", 5),
            ("0", 0),
            ("65536", 0),
            ("80:+1", 3),
            ("1.2.3:80:80", 0),
            ("tcp:80:8080:1", 7),
            ("[::1]80", 0),
        ] {
            assert_eq!(text.parse::<Port>().map_err(|error| error.position()), Err(at), "{text}");
        }
        for (text, at) in [
            ("10.0.0.2", 0),
            ("10.0.0.2/33", 9),
            ("10.0.0.2/31", 9),
            ("10.0.0.2/0", 9),
            ("10.0.0.0/24", 0),
            ("10.0.0.255/24", 0),
            ("127.0.0.2/24", 0),
            ("10.0.0.2/24,10.0.1.1", 12),
            ("10.0.0.2/24,10.0.0.2", 12),
            ("10.0.0.2/24,fd00::1", 12),
            ("fd00::2/127", 8),
        ] {
            assert_eq!(text.parse::<LinkAddress>().map_err(|error| error.position()), Err(at), "{text}");
        }
        for (text, at) in [
            ("", 0),
            ("02:00:00:00:00", 0),
            ("02:00:00:00:00:01:02", 0),
            ("02:00:00:00:00:+1", 0),
            ("02:00:00:00:00:100", 0),
            ("03:00:00:00:00:01", 0),
            ("00:00:00:00:00:00", 0),
            ("02:00:00:00:00:01,", 18),
            ("02:00:00:00:00:01,02:00:00:00:00:01", 18),
        ] {
            assert_eq!(text.parse::<LinkHardware>().map_err(|error| error.position()), Err(at), "{text}");
        }
        for text in ["a\\", "", "..", "1", "a b", "a/b", "a:b:c", "x:", ":x", "eth0:name-of-16-bytes"] {
            assert!(text.parse::<LinkPair>().is_err(), "{text}");
        }
        assert!(LinkName::zone("thirteen-byte").is_err());
    }

    #[test]
    fn the_other_end_is_the_first_address() {
        for (text, outside) in [
            ("10.0.0.2/24", "10.0.0.1"),
            ("10.0.0.1/24", "10.0.0.2"),
            ("10.1.2.7/16", "10.1.0.1"),
            ("fd00::5/64", "fd00::1"),
        ] {
            let (_, found, _) = text.parse::<LinkAddress>().unwrap().ends().unwrap();
            assert_eq!(found.to_string(), outside, "{text}");
        }
    }
}
