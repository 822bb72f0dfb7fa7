//! The watcher: clears up after an embedder that was killed.
//!
//! Part of stage B only. One process for each embedder that has containers
//! alive; no thread, a few pages. It keeps, for each container, the ops that
//! undo it and the descriptors that they need, until the embedder's socket
//! closes. Then it runs them, with the one interpreter, and ends; but for containers
//! that the embedder has let go of: for those it stays until each has ended.
#![allow(unsafe_code)]

use crate::errno::Errno;
use crate::kernel::{Cell, Slots};
use crate::linux::{Linux, Word, ask, close, exit};
use crate::message::receive;
use crate::program::watched::{ENTRIES, ENTRY, OPS, PLACES};
use crate::program::{Section, run};
use crate::raw::nr;

/// One container. Untouched entries of the table take no memory.
#[repr(C)]
struct Entry {
    id: u64,
    length: usize,
    cells: [Cell; PLACES],
    kept: bool,
    ops: [u8; OPS],
}

const _: () = assert!(size_of::<Entry>() == ENTRY);

pub(crate) fn watch(socket: i32) -> Result<(), Errno> {
    // PR_SET_NAME: who looks at the processes of the host sees which one it is.
    let _ = ask(nr::PRCTL, [Word::number(15), Word::text(c"skep-watch"), Word::NULL, Word::NULL, Word::NULL]);
    let size = Word::number((ENTRY * ENTRIES) as u64);
    // PROT_READ|PROT_WRITE; MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE
    let words = [Word::NULL, size, Word::number(3), Word::number(0x4022), Word::descriptor(-1), Word::NULL];
    let base = ask(nr::MMAP, words)?;
    // SAFETY: a fresh private mapping of exactly this size, aligned to pages,
    // never unmapped, borrowed here only. All-zero bytes are an `Entry`: ids,
    // lengths and bytes are numbers, and tag 0 is `Cell::Empty`.
    let table =
        unsafe { core::slice::from_raw_parts_mut(core::ptr::with_exposed_provenance_mut::<Entry>(base), ENTRIES) };
    let mut message = [0_u8; ENTRY];
    // How many containers it is kept for, and how many entries were ever used.
    let (mut kept, mut used) = (0_usize, 0_usize);
    loop {
        if kept > 0 && !wait(table.get_mut(..used).unwrap_or_default(), socket, &mut kept) {
            continue;
        }
        let (length, file) = match receive(socket, &mut message) {
            Ok(received) => received,
            // Nothing would come any more.
            Err(Errno::EBADF | Errno::ENOTSOCK | Errno::ENOTCONN | Errno::EFAULT) => (0, None),
            // What it cannot hold (EMFILE), or has no memory for just now, it cannot
            // undo; the others it can.
            Err(_) => {
                let pause = [0_u64, 1_000_000];
                let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
                continue;
            }
        };
        let Some(content) = message.get(..length).filter(|content| !content.is_empty()) else {
            break;
        };
        let Some((place, kind)) = take(table, content, file) else { continue };
        used = used.max(place.wrapping_add(1));
        if kind == b'k' {
            kept = kept.wrapping_add(1);
        }
    }
    close(socket);
    let table = table.get_mut(..used).unwrap_or_default();
    for entry in table.iter_mut().filter(|entry| entry.id != 0 && !entry.kept) {
        undo(entry);
        forget(entry);
    }
    while kept > 0 {
        wait(table, -1, &mut kept);
    }
    exit(0)
}

/// How many of those that it is kept for it waits for at once; the others' turn comes
/// when one of these has ended, or the pause.
const AT_ONCE: usize = 512;
const PAUSE: [u64; 2] = [2, 0];

/// Waits for a word of the embedder, or for the end of a container that it is kept for,
/// after which it clears up. Whether there is a word.
#[inline(never)]
fn wait(table: &mut [Entry], socket: i32, kept: &mut usize) -> bool {
    // struct pollfd: the descriptor, then POLLIN in the lower half. A negative one is
    // not looked at.
    let mut polled = [[-1_i32, 1]; AT_ONCE];
    let mut places = polled.iter_mut();
    if let Some(place) = places.next() {
        place[0] = socket;
    }
    let mut count = 1_usize;
    for entry in table.iter().filter(|entry| entry.kept) {
        let (Some(Cell::Descriptor(pidfd)), Some(place)) = (entry.cells.first(), places.next()) else { continue };
        place[0] = *pidfd;
        count = count.wrapping_add(1);
    }
    let ready = |polled: &[[i32; 2]], file: i32| polled.iter().any(|[one, events]| *one == file && events >> 16 != 0);
    let pause = if *kept < AT_ONCE { Word::NULL } else { Word::of(&PAUSE) };
    let words = [Word::of_mut(&mut polled), Word::number(count as u64), pause, Word::NULL, Word::NULL];
    if ask(nr::PPOLL, words).is_err() {
        return false;
    }
    for entry in table.iter_mut().filter(|entry| entry.kept) {
        let ended = match entry.cells.first() {
            Some(Cell::Descriptor(pidfd)) => ready(&polled, *pidfd),
            // Nobody could tell when.
            _ => true,
        };
        if ended {
            undo(entry);
            forget(entry);
            *kept = kept.wrapping_sub(1);
        }
    }
    socket >= 0 && ready(&polled, socket)
}

/// Where it was put, and what was said.
fn take(table: &mut [Entry], content: &[u8], file: Option<i32>) -> Option<(usize, u8)> {
    let (kind, rest) = content.split_first()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let id = u64::from_le_bytes(*id);
    let wanted = if *kind == b'e' { 0 } else { id };
    let place = table.iter().position(|entry| entry.id == wanted);
    match (kind, place.and_then(|place| table.get_mut(place)), file) {
        (b'e', Some(entry), _) => {
            if let Some(place) = entry.ops.get_mut(..rest.len()) {
                place.copy_from_slice(rest);
                (entry.id, entry.length) = (id, rest.len());
            }
        }
        (b'f', Some(entry), Some(file)) => {
            let place = rest.first_chunk::<2>().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
            match place.and_then(|place| entry.cells.get_mut(place)) {
                Some(cell) => *cell = Cell::Descriptor(file),
                None => close(file),
            }
        }
        (b'd', Some(entry), _) => forget(entry),
        (b'k', Some(entry), _) if !entry.kept => entry.kept = true,
        (_, _, file) => {
            file.into_iter().for_each(close);
            return None;
        }
    }
    Some((place?, *kind))
}

fn forget(entry: &mut Entry) {
    for cell in &mut entry.cells {
        if let Cell::Descriptor(file) = core::mem::take(cell) {
            close(file);
        }
    }
    (entry.id, entry.length, entry.kept) = (0, 0, false);
}

/// Runs the ops one by one: an undo that fails does not stop the next.
fn undo(entry: &mut Entry) {
    let Entry { length, cells, ops, .. } = entry;
    let mut slots = Slots::new(cells);
    let mut kernel = Linux::new();
    let mut rest = ops.get(..*length).unwrap_or_default();
    while !rest.is_empty() {
        let mut reader = crate::wire::Reader::new(rest);
        if crate::op::Op::read(&mut reader).is_none() {
            return;
        }
        let one = rest.get(..rest.len().wrapping_sub(reader.rest().len())).unwrap_or_default();
        let _ = run(&mut kernel, Section { first: 0, ops: one }, &mut slots, &mut |_| {});
        rest = reader.rest();
    }
}
