//! A table of slots that owns its descriptors.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use crate::kernel::{Cell, Slots};
use crate::linux::{close, raise};
use crate::op::Slot;

/// The slots of the embedding process. Dropping the table closes every
/// descriptor in it, so a start that ends early leaves none.
#[derive(Debug, Default)]
pub struct OwnedSlots {
    cells: Vec<Cell>,
}

impl OwnedSlots {
    /// A table of `count` empty slots.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { cells: vec![Cell::Empty; count] }
    }

    /// The table, for a kernel.
    pub fn slots(&mut self) -> Slots<'_> {
        Slots::new(&mut self.cells)
    }

    /// Puts a descriptor into a slot. A slot that does not exist closes it.
    pub fn give(&mut self, slot: Slot, file: OwnedFd) {
        if let Some(cell) = self.cells.get_mut(usize::from(slot.0)) {
            let old = std::mem::replace(cell, Cell::Descriptor(file.into_raw_fd()));
            if let Cell::Descriptor(number) = old {
                close(number);
            }
        }
    }

    /// The descriptor in a slot, which stays there.
    #[must_use]
    pub fn borrow(&self, slot: Slot) -> Option<BorrowedFd<'_>> {
        match self.cells.get(usize::from(slot.0)) {
            // SAFETY: the table owns it; it is closed or taken only through a
            // unique reference to the table, which cannot exist while this one does.
            Some(Cell::Descriptor(number)) if *number >= 0 => Some(unsafe { BorrowedFd::borrow_raw(*number) }),
            _ => None,
        }
    }

    /// The value in a slot.
    #[must_use]
    pub fn value(&self, slot: Slot) -> Option<u64> {
        match self.cells.get(usize::from(slot.0)) {
            Some(Cell::Value(value)) => Some(*value),
            _ => None,
        }
    }

    /// Takes the descriptor out of a slot.
    pub fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        let cell = self.cells.get_mut(usize::from(slot.0))?;
        match *cell {
            Cell::Descriptor(number) if number >= 0 => {
                *cell = Cell::Empty;
                // SAFETY: the descriptor was made by an op into this table or
                // given to it; the cell that owned it is empty now.
                Some(unsafe { OwnedFd::from_raw_fd(number) })
            }
            _ => None,
        }
    }
}

impl OwnedSlots {
    /// As [`OwnedSlots::take`], for a descriptor that is kept as long as a
    /// container lives: it gets a number of 512 or more, if one is free. So
    /// those of a start, which are made in the lowest free places and are what
    /// its child keeps, do not lie above those of all containers before it,
    /// which the child would have to copy and to close.
    pub fn keep(&mut self, slot: Slot) -> Option<OwnedFd> {
        if let Some(Cell::Descriptor(number)) = self.cells.get_mut(usize::from(slot.0)) {
            *number = raise(*number);
        }
        self.take(slot)
    }
}

impl Drop for OwnedSlots {
    fn drop(&mut self) {
        for cell in &self.cells {
            if let Cell::Descriptor(number) = *cell {
                close(number);
            }
        }
    }
}
