//! Memory whose pages are brought all at once (`madvise(2)`).
//!
//! A program that starts one container and ends touches each page of its memory for
//! the first time. Each of these faults costs more than the page does.

use crate::linux::{Word, ask};
use crate::raw::{nr, page_size};

/// Brings so many bytes of stack below the caller's. Nothing of what they hold changes, and
/// where the kernel cannot (Linux before 5.14, a limit), pages come one by one as they are
/// touched.
pub fn populate_stack(bytes: usize) {
    let here = [0_u8; 1];
    let end = std::hint::black_box(&here).as_ptr().addr();
    pages(end.saturating_sub(bytes), end);
}

/// The same for the pages that lie as a whole between two addresses of this program.
pub(crate) fn pages(start: usize, end: usize) {
    /// Linux 5.14; it faults in what is mapped, as a write would, and writes nothing.
    const MADV_POPULATE_WRITE: u64 = 23;
    let page = page_size();
    let (start, end) = (start.next_multiple_of(page), end / page * page);
    if let Some(length) = end.checked_sub(start).filter(|length| *length > 0) {
        let words = [Word::number(start as u64), Word::number(length as u64), Word::number(MADV_POPULATE_WRITE)];
        let _ = ask(nr::MADVISE, words);
    }
}

#[cfg(test)]
#[allow(unsafe_code, clippy::unwrap_used, reason = "a test maps memory, and fails by panicking")]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    /// `mincore(2)` tells nothing of private memory; the count of this thread's
    /// faults does.
    #[test]
    fn what_was_populated_faults_no_more() {
        fn faults() -> i64 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, after) = stat.rsplit_once(')').unwrap();
            after.split_ascii_whitespace().nth(7).unwrap().parse().unwrap()
        }
        let count = 100;
        let touched = |brought: bool| {
            let length = count * page_size();
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping, which this test alone uses. Huge pages would
            // be fewer faults.
            let room = unsafe {
                let start = libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0);
                assert_ne!(start, libc::MAP_FAILED);
                libc::madvise(start, length, libc::MADV_NOHUGEPAGE);
                std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), length)
            };
            if brought {
                // All but what is not in it as a whole.
                let start = room.as_mut_ptr().addr();
                pages(start + 1, start + length - 1);
            }
            let before = faults();
            room.iter_mut().step_by(page_size()).for_each(|byte| _ = byte.write(1));
            let counted = faults() - before;
            // SAFETY: nothing refers to it any more.
            unsafe { libc::munmap(room.as_mut_ptr().cast(), length) };
            counted
        };
        let (plain, brought) = (touched(false), touched(true));
        assert!(plain >= 100 && brought < 50, "{plain} faults, {brought} of what was populated");
        // Less than a page is none, and so much stack is always there.
        pages(0, 0);
        pages(4095, 4096);
        populate_stack(16 << 10);
    }
}
