//! nf_tables, and who has published which port by them.
//!
//! A chain without a hook whose name is that of a [`Claim`] keeps a port: no batch of
//! this program makes a second one that meets it, in any table of the network. It goes
//! with its table, so with the socket that owns it (NFT_TABLE_F_OWNER).
//!
//! Numbers: `include/uapi/linux/netfilter/nf_tables.h`, `nfnetlink.h`; big-endian.

use std::ffi::CStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::str::FromStr;

use crate::errno::Errno;
use crate::netlink::{self, Answer, NLMSG_DONE, NLMSG_ERROR, error_of, find};

const NEWTABLE: u16 = 10 << 8;
const DELTABLE: u16 = NEWTABLE | 2;
const NEWCHAIN: u16 = NEWTABLE | 3;
const GETCHAIN: u16 = NEWTABLE | 4;
const NEWGEN: u16 = NEWTABLE | 15;
const GETGEN: u16 = NEWTABLE | 16;
/// `struct nlmsghdr` and `struct nfgenmsg`; the latter alone.
const HEADERS: usize = 20;
const GENERAL: usize = 4;

/// A port of the host that is published: on one of its addresses, or on all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Claim {
    /// UDP, not TCP.
    pub udp: bool,
    /// `None`: all of them.
    pub address: Option<IpAddr>,
    /// Its number.
    pub port: u16,
}

impl Claim {
    /// Whether both want the same port of some address.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let all = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
        let address = all(self.address) || all(other.address) || self.address == other.address;
        (self.udp, self.port) == (other.udp, other.port) && address
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.udp { "udp" } else { "tcp" };
        match self.address {
            Some(address) => write!(f, "{protocol} {}", SocketAddr::new(address, self.port)),
            None => write!(f, "{protocol} {}", self.port),
        }
    }
}

impl FromStr for Claim {
    type Err = Errno;
    fn from_str(text: &str) -> Result<Self, Errno> {
        let (protocol, rest) = text.split_once(' ').ok_or(Errno::EINVAL)?;
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(Errno::EINVAL),
        };
        let one = rest.parse::<SocketAddr>().map(|at| (Some(at.ip()), at.port()));
        let (address, port) = one.or_else(|_| rest.parse().map(|port| (None, port))).map_err(|_| Errno::EINVAL)?;
        let claim = Self { udp, address, port };
        // One spelling.
        if claim.to_string() == text { Ok(claim) } else { Err(Errno::EINVAL) }
    }
}

/// The claim of a chain, and its table.
fn claim_of(content: &[u8]) -> Option<(Vec<u8>, Claim)> {
    /// NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK
    const TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    let attributes = content.get(GENERAL..)?;
    let name = CStr::from_bytes_until_nul(find(attributes, NAME)?).ok()?.to_str().ok()?;
    let claim = name.parse().ok().filter(|_| find(attributes, HOOK).is_none())?;
    Some((CStr::from_bytes_until_nul(find(attributes, TABLE)?).ok()?.to_bytes().to_vec(), claim))
}

/// The claims of a batch.
pub(crate) fn claims_of(batch: &[u8]) -> impl Iterator<Item = Claim> {
    let chains = (Answer { rest: batch }).filter(|(kind, _)| *kind == NEWCHAIN);
    chains.filter_map(|(_, content)| claim_of(content)).map(|(_, claim)| claim)
}

/// The names of the tables that a batch makes: NFTA_TABLE_NAME of each NFT_MSG_NEWTABLE.
pub(crate) fn tables_of(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    tables_in(batch).filter(|(kind, _)| *kind == NEWTABLE).map(|(_, name)| name)
}

/// Those that are gone after it.
pub(crate) fn deleted_by(batch: &[u8]) -> Vec<&[u8]> {
    let mut gone = Vec::new();
    for (kind, name) in tables_in(batch) {
        gone.retain(|known| *known != name);
        if kind == DELTABLE {
            gone.push(name);
        }
    }
    gone
}

fn tables_in(batch: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    (Answer { rest: batch }).filter(|(kind, _)| matches!(*kind, NEWTABLE | DELTABLE)).filter_map(|(kind, content)| {
        let name = find(content.get(GENERAL..)?, 1)?;
        Some((kind, name.strip_suffix(b"\0").unwrap_or(name)))
    })
}

/// Claims of a network by a socket of nf_tables, each with its table.
///
/// # Errors
///
/// What the kernel answered.
pub fn claims(socket: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Claim)>, Errno> {
    held(socket.as_raw_fd())
}

fn held(socket: i32) -> Result<Vec<(Vec<u8>, Claim)>, Errno> {
    /// NLM_F_REQUEST, NLM_F_DUMP
    const DUMP: u16 = 0x1 | 0x300;
    netlink::send(socket, &request(GETCHAIN, DUMP))?;
    let mut buffer = vec![0; 32 << 10];
    let mut found = Vec::new();
    loop {
        let length = netlink::receive(socket, &mut buffer, 0)?;
        for (kind, content) in (Answer { rest: buffer.get(..length).unwrap_or_default() }) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error_of(content)),
                NEWCHAIN => found.extend(claim_of(content)),
                _ => {}
            }
        }
    }
}

/// A request without attributes, of any family.
fn request(kind: u16, flags: u16) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    bytes[..4].copy_from_slice(&(HEADERS as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// What counts the changes of all tables of the network.
fn generation(socket: i32) -> Result<[u8; 4], Errno> {
    netlink::send(socket, &request(GETGEN, 1))?;
    let mut buffer = [0; 256];
    let length = netlink::receive(socket, &mut buffer, 0)?;
    match (Answer { rest: buffer.get(..length).unwrap_or_default() }).next() {
        // NFTA_GEN_ID
        Some((NEWGEN, content)) => {
            let number = content.get(GENERAL..).and_then(|attributes| find(attributes, 1)?.first_chunk::<4>());
            number.copied().ok_or(Errno::EBADMSG)
        }
        Some((NLMSG_ERROR, content)) => Err(error_of(content)),
        _ => Err(Errno::EBADMSG),
    }
}

/// How often is begun anew while others change their tables.
const AGAIN: u32 = 256;

/// A batch, whose last message but the end of the batch asks to be acknowledged: all of
/// it, or nothing. EADDRINUSE where a claim of it meets one of another table.
pub(crate) fn commit(socket: i32, batch: &[u8]) -> Result<(), Errno> {
    let wanted: Vec<Claim> = claims_of(batch).collect();
    let own: Vec<&[u8]> = tables_of(batch).collect();
    if wanted.is_empty() {
        netlink::send(socket, batch)?;
        return netlink::acknowledged(socket, 1);
    }
    for _ in 0..AGAIN {
        let generation = generation(socket)?;
        let held = held(socket)?;
        let others = held.iter().filter(|(table, _)| !own.contains(&table.as_slice()));
        if others.clone().any(|(_, claim)| wanted.iter().any(|wanted| wanted.meets(claim))) {
            return Err(Errno::EADDRINUSE);
        }
        netlink::send(socket, &at_generation(batch, generation)?)?;
        match netlink::acknowledged(socket, 1) {
            // Somebody changed his tables since.
            Err(Errno::ERESTART) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// The batch, which the kernel takes at that generation only (NFNL_BATCH_GENID of its
/// first message).
fn at_generation(batch: &[u8], generation: [u8; 4]) -> Result<Vec<u8>, Errno> {
    const ATTRIBUTE: [u8; 2] = 8_u16.to_ne_bytes();
    const KIND: [u8; 2] = 1_u16.to_ne_bytes();
    let (begin, rest) = batch.split_at_checked(HEADERS).ok_or(Errno::EINVAL)?;
    let mut bytes = [begin, &ATTRIBUTE, &KIND, &generation, rest].concat();
    bytes[..4].copy_from_slice(&(HEADERS as u32 + 8).to_ne_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_as_they_are_written() {
        let all = ["tcp 80", "udp 80", "tcp 127.0.0.1:80", "tcp [::1]:80", "tcp 0.0.0.0:80", "tcp 81"];
        let claims = all.map(|text| text.parse::<Claim>().unwrap());
        assert_eq!(claims.map(|claim| claim.to_string()), all);
        let met = claims.map(|one| claims.map(|other| one.meets(&other)));
        let expected = [
            [true, false, true, true, true, false],
            [false, true, false, false, false, false],
            [true, false, true, false, true, false],
            [true, false, false, true, true, false],
            [true, false, true, true, true, false],
            [false, false, false, false, false, true],
        ];
        assert_eq!(met, expected);
        for text in
            ["", "tcp", "tcp ", "tcp 080", "tcp +80", "sctp 80", "tcp 65536", "tcp ::1:80", "tcp 80 ", "udp host:1"]
        {
            assert_eq!(text.parse::<Claim>(), Err(Errno::EINVAL), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_no_claim() {
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).map(|at| [44, 0, 3, 10][at % 4]).collect();
            assert_eq!((claims_of(&bytes).count(), claim_of(&bytes)), (0, None));
            assert_eq!(at_generation(&bytes, [0; 4]).is_ok(), length >= HEADERS);
        }
    }
}
