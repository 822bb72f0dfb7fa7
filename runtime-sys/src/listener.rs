//! The supervisor's end of a filter (`seccomp_unotify(2)`).
//!
//! Compiled into the library only: no process of a container answers calls.

use crate::errno::Errno;
use crate::linux::{Word, ask};
use crate::raw::nr;

const GET_NOTIF_SIZES: u64 = 3;
const RECV: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const ID_VALID: u64 = 0x4008_2102;
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE
const CONTINUE: u64 = 1;

/// Words of a `struct seccomp_notif`, and of a `struct seccomp_notif_resp`, of
/// Linux 5.0: later ones may be longer, and begin the same.
const CALL: usize = 10;
const ANSWER: usize = 3;

/// Room for longer ones.
type Room = [u64; 64];

fn control(listener: i32, request: u64, argument: Word<'_>) -> Result<(), Errno> {
    ask(nr::IOCTL, [Word::descriptor(listener), Word::number(request), argument]).map(drop)
}

/// E2BIG where the running kernel's structures have no room here.
fn fits() -> Result<(), Errno> {
    // struct seccomp_notif_sizes: call, answer, and what a filter sees.
    let mut sizes = [0_u8; 6];
    ask(nr::SECCOMP, [Word::number(GET_NOTIF_SIZES), Word::NULL, Word::of_mut(&mut sizes)])?;
    let [call, more, answer, most, ..] = sizes;
    let holds = |low, high, least: usize| {
        let size = usize::from(u16::from_ne_bytes([low, high]));
        (least * 8..=size_of::<Room>()).contains(&size)
    };
    if holds(call, more, CALL) && holds(answer, most, ANSWER) { Ok(()) } else { Err(Errno::E2BIG) }
}

/// The next call: id, pid and flags, number and architecture, instruction
/// pointer, six arguments.
pub(crate) fn receive(listener: i32) -> Result<[u64; CALL], Errno> {
    fits()?;
    // EINVAL where it is not zero.
    let mut room: Room = [0; 64];
    control(listener, RECV, Word::of_mut(&mut room))?;
    let mut call = [0; CALL];
    call.iter_mut().zip(room).for_each(|(word, got)| *word = got);
    Ok(call)
}

/// Lets a call that waits go, with a value, an error, or into the kernel.
pub(crate) fn answer(listener: i32, id: u64, value: u64, error: u16, go_on: bool) -> Result<(), Errno> {
    fits()?;
    let error = u64::from(i32::from(error).wrapping_neg().cast_unsigned());
    let flags = if go_on { CONTINUE } else { 0 };
    let mut room: Room = [0; 64];
    // The value counts where there is no error; the third word is two of 32 bits.
    (room[0], room[1]) = (id, if error == 0 { value } else { 0 });
    let [low, high] = if cfg!(target_endian = "little") { [error, flags] } else { [flags, error] };
    room[2] = high << 32 | low;
    control(listener, SEND, Word::of(&room))
}

/// Whether a call still waits: its process may have ended, and another may have
/// its number.
pub(crate) fn waits(listener: i32, id: u64) -> Result<(), Errno> {
    control(listener, ID_VALID, Word::of(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `linux/seccomp.h`.
    #[test]
    fn requests_are_those_of_libc() {
        assert_eq!(size_of::<libc::seccomp_notif>(), CALL * 8);
        assert_eq!(size_of::<libc::seccomp_notif_resp>(), ANSWER * 8);
        let request = |direction: u64, number: u64, size: usize| {
            direction << 30 | (size as u64) << 16 | u64::from(b'!') << 8 | number
        };
        assert_eq!(RECV, request(3, 0, size_of::<libc::seccomp_notif>()));
        assert_eq!(SEND, request(3, 1, size_of::<libc::seccomp_notif_resp>()));
        assert_eq!(ID_VALID, request(1, 2, 8));
    }

    #[test]
    fn what_is_no_listener_says_so() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let file = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(fits(), Ok(()));
        assert_eq!(receive(file), Err(Errno::ENOTTY));
        assert_eq!(answer(file, 1, 2, 0, false), Err(Errno::ENOTTY));
        assert_eq!(waits(-1, 1), Err(Errno::EBADF));
    }
}
