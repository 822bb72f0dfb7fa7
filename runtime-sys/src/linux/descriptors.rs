//! Which descriptors there are, and under which numbers.

use super::words::{Word, ask};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots};
use crate::raw::nr;
use crate::wire::Numbers;

/// Whatever `close(2)` answers, the descriptor is gone.
pub(crate) fn close(file: i32) {
    let _ = ask(nr::CLOSE, [Word::descriptor(file)]);
}

/// Gives a descriptor a number of 512 or more, if one is free; else it stays.
#[cfg(not(skep_stage))]
pub(crate) fn raise(file: i32) -> i32 {
    const HIGH: i32 = 512;
    if file >= HIGH {
        return file;
    }
    // F_DUPFD_CLOEXEC
    match ask(nr::FCNTL, [Word::descriptor(file), Word::number(1030), Word::descriptor(HIGH)]) {
        Ok(high) => {
            close(file);
            high as i32
        }
        Err(_) => file,
    }
}

pub(super) fn adopt(slots: &mut Slots<'_>) -> Result<(), Errno> {
    for cell in slots.cells_mut() {
        let Cell::Descriptor(number) = *cell else { continue };
        if number > 2 {
            // F_SETFD, FD_CLOEXEC
            ask(nr::FCNTL, [Word::descriptor(number), Word::number(2), Word::number(1)])?;
        } else {
            // F_DUPFD_CLOEXEC from 3 on; the old number is closed below.
            let moved = ask(nr::FCNTL, [Word::descriptor(number), Word::number(1030), Word::number(3)])?;
            *cell = Cell::Descriptor(moved as i32);
        }
    }
    // Close every gap between the descriptors that stay.
    let mut first = 0_u32;
    loop {
        let next = slots
            .cells()
            .iter()
            .filter_map(|cell| match cell {
                Cell::Descriptor(number) => u32::try_from(*number).ok(),
                _ => None,
            })
            .filter(|number| *number >= first)
            .min();
        let last = next.map_or(u32::MAX, |number| number.wrapping_sub(1));
        if next != Some(first) {
            ask(nr::CLOSE_RANGE, [Word::number(u64::from(first)), Word::number(u64::from(last)), Word::NULL])?;
        }
        match next {
            Some(number) => first = number.wrapping_add(1),
            None => return Ok(()),
        }
    }
}

pub(super) fn vacate(slots: &mut Slots<'_>, numbers: Numbers<'_>) -> Result<(), Errno> {
    let wanted = |number: i32| numbers.iter().any(|other| other as i32 == number);
    for cell in slots.cells_mut() {
        let Cell::Descriptor(old) = *cell else { continue };
        let mut moved = old;
        while wanted(moved) {
            // F_DUPFD_CLOEXEC from the next one on: what is wanted and free is
            // not taken, and so is passed over by the next try.
            let from = Word::number(u64::from(moved as u32).wrapping_add(1));
            let next = ask(nr::FCNTL, [Word::descriptor(old), Word::number(1030), from])? as i32;
            if moved != old {
                close(moved);
            }
            moved = next;
        }
        if moved != old {
            close(old);
            *cell = Cell::Descriptor(moved);
        }
    }
    Ok(())
}
