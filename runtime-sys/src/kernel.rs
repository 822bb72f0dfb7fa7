//! The trait, the slots, and the words that the two sides of a start exchange.

use crate::errno::Errno;
use crate::op::{Op, Slot};

/// Something that ops can be asked of: Linux, a recording, a model.
///
/// One method, so that a decorator is one method too, a log is itself a plan
/// in total order, and a new op forces every kernel to take a stand.
pub trait Kernel {
    /// Performs `op`, reading and filling `slots`.
    ///
    /// # Errors
    ///
    /// What the kernel answered. EBADF for a slot that holds no descriptor,
    /// ENOSYS for an op that this kernel cannot perform.
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno>;
}

impl<K: Kernel + ?Sized> Kernel for &mut K {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        (**self).call(op, slots)
    }
}

/// What a slot holds.
///
/// The layout is fixed, because stage B works on the cells where they lie in
/// the plan that it was handed: the tag in the first word, then the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u64)]
pub enum Cell {
    /// Nothing.
    #[default]
    Empty = 0,
    /// A descriptor. Who owns it depends on who owns the table.
    Descriptor(i32) = 1,
    /// A result: a process id, a wait status, a report.
    Value(u64) = 2,
}

const _: () = assert!(size_of::<Cell>() == Cell::SIZE);

impl Cell {
    /// Bytes that a cell takes in the plan that crosses to stage B.
    pub const SIZE: usize = 16;

    /// The flat form.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let (tag, value) = match self {
            Self::Empty => (0, 0),
            Self::Descriptor(number) => (1, number as u64),
            Self::Value(value) => (2, value),
        };
        ((value as u128) << 64 | tag as u128).to_le_bytes()
    }

    /// From the flat form; anything unknown is empty.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        let value = (word >> 64) as u64;
        match word as u64 {
            1 => Self::Descriptor(value as i32),
            2 => Self::Value(value),
            _ => Self::Empty,
        }
    }
}

/// The table of slots that a plan works on. Borrowed, so that the child needs
/// no allocation for it.
#[derive(Debug)]
pub struct Slots<'m> {
    cells: &'m mut [Cell],
}

impl<'m> Slots<'m> {
    /// A table over `cells`.
    #[must_use]
    pub const fn new(cells: &'m mut [Cell]) -> Self {
        Self { cells }
    }

    /// What `slot` holds; [`Cell::Empty`] beyond the table.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Cell {
        self.cells.get(usize::from(slot.0)).copied().unwrap_or_default()
    }

    /// Puts `cell` into `slot` and gives back what was there.
    ///
    /// # Errors
    ///
    /// EMFILE when the table has no such slot.
    pub fn put(&mut self, slot: Slot, cell: Cell) -> Result<Cell, Errno> {
        let place = self.cells.get_mut(usize::from(slot.0)).ok_or(Errno::EMFILE)?;
        Ok(core::mem::replace(place, cell))
    }

    /// The descriptor in `slot`.
    ///
    /// # Errors
    ///
    /// EBADF when it holds none.
    pub fn descriptor(&self, slot: Slot) -> Result<i32, Errno> {
        match self.get(slot) {
            Cell::Descriptor(number) => Ok(number),
            _ => Err(Errno::EBADF),
        }
    }

    /// The value in `slot`.
    ///
    /// # Errors
    ///
    /// EINVAL when it holds none.
    pub fn value(&self, slot: Slot) -> Result<u64, Errno> {
        match self.get(slot) {
            Cell::Value(value) => Ok(value),
            _ => Err(Errno::EINVAL),
        }
    }

    /// All cells, by slot number.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        self.cells
    }

    /// All cells, for a kernel that renumbers descriptors.
    pub fn cells_mut(&mut self) -> &mut [Cell] {
        self.cells
    }
}

/// How a process ended, as a slot value (`waitid(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum WaitStatus {
    /// It called `exit` with this code.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
    /// Somebody else in the process reaped it, and the kernel keeps no record
    /// (before Linux 6.15).
    Lost,
}

impl WaitStatus {
    /// As a slot value.
    #[must_use]
    pub const fn to_value(self) -> u64 {
        match self {
            Self::Exited(code) => code as u64,
            Self::Signaled(signal) => 0x100 | signal as u64,
            Self::Lost => 0x200,
        }
    }

    /// From a slot value.
    #[must_use]
    pub const fn from_value(value: u64) -> Self {
        match value >> 8 {
            0 => Self::Exited(value as u8),
            1 => Self::Signaled(value as u8),
            _ => Self::Lost,
        }
    }
}

/// What stage B tells the starting process, as a slot value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Report {
    /// The op with this index failed.
    Failed {
        /// Index in the plan.
        op: u32,
        /// Why.
        errno: Errno,
    },
    /// The next call is the payload's exec.
    Marker,
    /// All is made; the payload is started when the word comes.
    Waiting,
    /// A descriptor came along, for this slot of the starting process.
    File {
        /// Which.
        place: Slot,
    },
    /// The other side closed: after the marker the payload runs, before it
    /// stage B died.
    Closed,
}

impl Report {
    /// Bytes of a report on the socket.
    pub const SIZE: usize = 8;
    const MARKER: u64 = u64::MAX;
    const CLOSED: u64 = u64::MAX - 1;
    const WAITING: u64 = u64::MAX - 2;
    /// Beyond every failure, which has 48 bits.
    const FILE: u64 = 1 << 63;

    /// As a slot value, and as the record on the socket.
    #[must_use]
    pub const fn to_value(self) -> u64 {
        match self {
            Self::Failed { op, errno } => (op as u64) << 16 | errno.raw() as u64,
            Self::Marker => Self::MARKER,
            Self::Waiting => Self::WAITING,
            Self::File { place } => Self::FILE | place.0 as u64,
            Self::Closed => Self::CLOSED,
        }
    }

    /// From a slot value.
    #[must_use]
    pub const fn from_value(value: u64) -> Self {
        match value {
            Self::MARKER => Self::Marker,
            Self::CLOSED => Self::Closed,
            Self::WAITING => Self::Waiting,
            _ if value >> 16 == Self::FILE >> 16 => Self::File { place: Slot(value as u16) },
            _ => Self::Failed { op: (value >> 16) as u32, errno: Errno::from_raw(value as u16) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_values_come_back_as_they_went() {
        for status in [WaitStatus::Exited(0), WaitStatus::Exited(255), WaitStatus::Signaled(9), WaitStatus::Lost] {
            assert_eq!(WaitStatus::from_value(status.to_value()), status);
        }
        let failed = Report::Failed { op: 70_000, errno: Errno::EPERM };
        for report in [failed, Report::Marker, Report::Closed, Report::Waiting, Report::File { place: Slot(u16::MAX) }]
        {
            assert_eq!(Report::from_value(report.to_value()), report);
        }
        for cell in [Cell::Empty, Cell::Descriptor(900), Cell::Value(u64::MAX)] {
            assert_eq!(Cell::from_bytes(cell.to_bytes()), cell);
        }
    }

    #[test]
    fn a_slot_beyond_the_table_is_empty_and_cannot_be_filled() {
        let mut cells = [Cell::Empty; 2];
        let mut slots = Slots::new(&mut cells);
        assert_eq!(slots.descriptor(Slot(9)), Err(Errno::EBADF));
        assert_eq!(slots.put(Slot(9), Cell::Value(1)), Err(Errno::EMFILE));
        assert_eq!(slots.put(Slot(1), Cell::Descriptor(5)), Ok(Cell::Empty));
        assert_eq!(slots.descriptor(Slot(1)), Ok(5));
    }
}
