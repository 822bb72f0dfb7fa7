//! Terminals of a devpts instance (`pts(4)`, `tty_ioctl(4)`).
//!
//! Compiled into the library and into stage B. No path of a terminal is ever
//! looked up: the name of one end is a number that somebody else's file may
//! have by then.

use crate::abi::fs_magic;
use crate::errno::Errno;
use crate::linux::{Word, ask, close, open_device, prove};
use crate::op::Proof;
use crate::raw::nr;

#[cfg(skep_stage)]
const TIOCSCTTY: u64 = 0x540e;
const TIOCGWINSZ: u64 = 0x5413;
const TIOCSWINSZ: u64 = 0x5414;
const TIOCGPTPEER: u64 = 0x5441;
const TIOCSPTLCK: u64 = 0x4004_5431;
/// O_RDWR|O_NOCTTY|O_CLOEXEC
const OPEN: u64 = 2 | 0o400 | 0o2_000_000;

fn control(terminal: i32, request: u64, argument: Word<'_>) -> Result<usize, Errno> {
    ask(nr::IOCTL, [Word::descriptor(terminal), Word::number(request), argument])
}

/// A new terminal: the end that the embedder gets, and the other one.
pub(crate) fn open(devpts: i32, size: [u16; 2]) -> Result<[i32; 2], Errno> {
    let master = open_device(devpts, c"ptmx")?;
    let peer = prove(master, Proof::FileSystem { magic: fs_magic::DEVPTS })
        .and_then(|()| prove(master, Proof::CharDevice { major: 5, minor: 2 }))
        .and_then(|()| control(master, TIOCSPTLCK, Word::of(&0_u32)).map(drop))
        .and_then(|()| resize(master, size))
        .and_then(|()| control(master, TIOCGPTPEER, Word::number(OPEN)));
    match peer {
        Ok(peer) => Ok([master, peer as i32]),
        Err(errno) => {
            close(master);
            Err(errno)
        }
    }
}

/// Makes it the controlling terminal of the calling session leader.
#[cfg(skep_stage)]
pub(crate) fn take(terminal: i32) -> Result<(), Errno> {
    control(terminal, TIOCSCTTY, Word::NULL).map(drop)
}

/// Rows and columns. Who is in the foreground gets SIGWINCH.
pub(crate) fn resize(terminal: i32, [rows, columns]: [u16; 2]) -> Result<(), Errno> {
    // struct winsize: rows, columns, and two that nobody uses.
    control(terminal, TIOCSWINSZ, Word::of(&[rows, columns, 0, 0])).map(drop)
}

/// Rows in the upper half, columns in the lower one.
pub(crate) fn size(terminal: i32) -> Result<u64, Errno> {
    let mut size = [0_u8; 8];
    control(terminal, TIOCGWINSZ, Word::of_mut(&mut size))?;
    let [rows, more, columns, most, ..] = size;
    let half = |low, high| u64::from(u16::from_ne_bytes([low, high]));
    Ok(half(rows, more) << 16 | half(columns, most))
}
