//! The payload's process, under a stub init: it shares stage B's memory up to its exec,
//! on a stack of its own, as the child of `vfork(2)` does, but both go on at once. To
//! copy that memory for an exec that throws it away took 40 µs of a start.
//!
//! Part of stage B only. What each of the two writes is its own: stack, slots and
//! scratch. What both read, the plan and the code, stays until the kernel says that
//! the exec has let go of it ([`crate::init::Shared`]).
#![allow(unsafe_code)]

use crate::abi::signal;
use crate::errno::Errno;
use crate::kernel::{Cell, Slots};
use crate::linux::{Linux, Word, ask};
use crate::op::Slot;
use crate::program::{Section, run};
use crate::raw::{clone_onto, nr};

/// Room for the stack and what lies above it. What is not touched is not there.
const ROOM: usize = 64 * 1024;

/// CLONE_VM|CLONE_CHILD_CLEARTID.
const SHARING: usize = 0x100 | 0x20_0000;

/// What it runs, and whom it tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) section: Section<'a>,
    pub(crate) report: Slot,
    /// Where the starting process reads which op is being performed.
    pub(crate) progress: *mut u64,
}

/// A process that has been split off.
pub(crate) struct Split {
    pub(crate) pid: u64,
    /// Cleared by the kernel when it no longer uses this memory.
    pub(crate) alive: usize,
    /// Its stack: address and length.
    pub(crate) mapped: [usize; 2],
}

/// What lies above its stack.
struct Beginning<'a> {
    alive: u32,
    payload: Payload<'a>,
    pid: Slot,
    scratch: *mut [usize],
    cells: *mut [Cell],
    default_signals: bool,
}

pub(crate) fn split(
    payload: Payload<'_>,
    pid: Slot,
    scratch: &mut [usize],
    slots: &Slots<'_>,
    default_signals: bool,
) -> Result<Split, Errno> {
    let cells = slots.cells();
    // PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS
    let words = [Word::NULL, Word::number(ROOM as u64), Word::number(3), Word::number(0x22), Word::descriptor(-1)];
    let [address, length, protection, kind, none] = words;
    let base = ask(nr::MMAP, [address, length, protection, kind, none, Word::NULL])?;
    let above = size_of_val(cells).saturating_add(size_of::<Beginning<'_>>()).saturating_add(64);
    if above > ROOM / 4 {
        return Err(Errno::E2BIG);
    }
    let at = base.wrapping_add(ROOM).wrapping_sub(size_of_val(cells));
    let place = at.wrapping_sub(size_of::<Beginning<'_>>()) & !63;
    let copy = core::ptr::with_exposed_provenance_mut::<Cell>(at);
    let beginning = core::ptr::with_exposed_provenance_mut::<Beginning<'_>>(place);
    let cells = core::ptr::slice_from_raw_parts_mut(
        // SAFETY: the mapping is new and nobody else's; the cells end where it does,
        // the structure lies below them, both aligned: the base is that of a page, a
        // cell has 16 bytes.
        unsafe {
            copy.copy_from_nonoverlapping(cells.as_ptr(), cells.len());
            copy
        },
        cells.len(),
    );
    let scratch = core::ptr::from_mut(scratch);
    // SAFETY: as above.
    unsafe { beginning.write(Beginning { alive: 1, payload, pid, scratch, cells, default_signals }) };
    // SAFETY: the field is within what was just written.
    let alive = unsafe { &raw mut (*beginning).alive }.expose_provenance();
    let flags = SHARING | usize::from(signal::CHLD);
    // SAFETY: the stack ends below the structure, aligned to 64. Mapping, plan and code
    // stay until the word is cleared (`init::let_go`), and this process writes to
    // nothing of what it has given away: the caller has taken the scratch out.
    let made = unsafe { clone_onto!(flags, place, alive, place, begin) };
    Ok(Split { pid: made? as u64, alive, mapped: [base, ROOM] })
}

/// Where the new process begins.
extern "C" fn begin(place: usize) -> ! {
    let beginning = core::ptr::with_exposed_provenance::<Beginning<'_>>(place);
    // SAFETY: `split` has written it, and nobody changes it, but the kernel its first
    // word, when this process is gone from here.
    let Beginning { payload, pid, scratch, cells, default_signals, .. } = unsafe { beginning.read() };
    // SAFETY: both are this process's alone.
    let (scratch, cells) = unsafe { (&mut *scratch, &mut *cells) };
    let mut slots = Slots::new(cells);
    let mut kernel = Linux::split(scratch, default_signals);
    let progress = payload.progress;
    let ended = slots.put(pid, Cell::Value(0)).map_err(|errno| (0, errno)).and_then(|_| {
        run(&mut kernel, payload.section, &mut slots, &mut |index| {
            // SAFETY: it lies in the plan's shared mapping, of which there is no
            // reference; volatile, because another process reads it.
            unsafe { progress.write_volatile(u64::from(index).wrapping_add(1)) }
        })
        .map_err(|failure| (failure.op, failure.errno))
    });
    crate::end(ended.err(), &slots, payload.report)
}
