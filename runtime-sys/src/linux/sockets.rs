//! Sockets, and what is asked of interfaces through one (`netdevice(7)`).

use core::ffi::CStr;

use super::words::{Word, ask, done};
use crate::errno::Errno;
use crate::raw::nr;

const SOCK_CLOEXEC: u64 = 0o2_000_000;

/// Of messages.
pub(super) fn pair() -> Result<[i32; 2], Errno> {
    let mut pair = [0_i32; 2];
    // AF_UNIX, SOCK_SEQPACKET
    ask(nr::SOCKETPAIR, [Word::number(1), Word::number(5 | SOCK_CLOEXEC), Word::NULL, Word::of_mut(&mut pair)])?;
    Ok(pair)
}

pub(super) fn open(family: u32, kind: u32) -> Result<i32, Errno> {
    let kind = u64::from(kind) | SOCK_CLOEXEC;
    ask(nr::SOCKET, [Word::number(u64::from(family)), Word::number(kind), Word::NULL]).map(|socket| socket as i32)
}

pub(super) fn set_option(socket: Word<'_>, level: u32, name: u32, value: u32) -> Result<(), Errno> {
    let [level, name] = [level, name].map(|word| Word::number(u64::from(word)));
    done(ask(nr::SETSOCKOPT, [socket, level, name, Word::of(&value), Word::number(4)]))
}

/// To a path (`unix(7)`).
pub(super) fn bind(socket: Word<'_>, path: &CStr) -> Result<(), Errno> {
    let mut address = [0_u8; 110];
    let text = path.to_bytes();
    // sun_family, then the path with its NUL.
    address[..2].copy_from_slice(&1_u16.to_ne_bytes());
    let room = address.get_mut(2..).unwrap_or_default();
    let target = room.get_mut(..text.len()).filter(|_| text.len() < 108).ok_or(Errno::ENAMETOOLONG)?;
    target.copy_from_slice(text);
    done(ask(nr::BIND, [socket, Word::of(&address), Word::number(3 + text.len() as u64)]))
}

pub(crate) fn link_up(socket: Word<'_>, name: &CStr) -> Result<(), Errno> {
    let mut request = [0_u8; 40];
    let text = name.to_bytes();
    let target = request.get_mut(..text.len()).filter(|_| text.len() < 16).ok_or(Errno::ENAMETOOLONG)?;
    target.copy_from_slice(text);
    // SIOCGIFFLAGS, IFF_UP, SIOCSIFFLAGS
    ask(nr::IOCTL, [socket, Word::number(0x8913), Word::of_mut(&mut request)])?;
    request[16] |= 1;
    done(ask(nr::IOCTL, [socket, Word::number(0x8914), Word::of_mut(&mut request)]))
}
