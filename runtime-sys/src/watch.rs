//! The watcher: clears up after an embedder that was killed.
//!
//! Part of stage B only. One process for each embedder that has containers
//! alive; no thread, a few pages. It keeps, for each container, the ops that
//! undo it and the descriptors that they need, until the embedder's socket
//! closes. Then it runs them, with the one interpreter, and ends.
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
    ops: [u8; OPS],
}

const _: () = assert!(size_of::<Entry>() == ENTRY);

pub(crate) fn watch(socket: i32) -> Result<(), Errno> {
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
    loop {
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
        take(table, content, file);
    }
    for entry in table.iter_mut().filter(|entry| entry.id != 0) {
        undo(entry);
    }
    exit(0)
}

fn take(table: &mut [Entry], content: &[u8], file: Option<i32>) {
    let Some((kind, rest)) = content.split_first() else { return };
    let Some((id, rest)) = rest.split_first_chunk::<8>() else { return };
    let id = u64::from_le_bytes(*id);
    let wanted = if *kind == b'e' { 0 } else { id };
    let entry = table.iter_mut().find(|entry| entry.id == wanted);
    match (kind, entry, file) {
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
        (_, _, Some(file)) => close(file),
        _ => {}
    }
}

fn forget(entry: &mut Entry) {
    for cell in &mut entry.cells {
        if let Cell::Descriptor(file) = core::mem::take(cell) {
            close(file);
        }
    }
    (entry.id, entry.length) = (0, 0);
}

/// Runs the ops one by one: an undo that fails does not stop the next.
fn undo(entry: &mut Entry) {
    let Entry { length, cells, ops, .. } = entry;
    let mut slots = Slots::new(cells);
    let mut kernel = Linux::with(&mut [], [[0; 2]; 2]);
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
