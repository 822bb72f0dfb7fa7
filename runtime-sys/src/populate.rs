//! Memory whose pages are brought all at once (`madvise(2)`).
//!
//! A program that starts one container and ends touches each page of its heap for
//! the first time. Each of these faults costs more than the page does.

use std::mem::MaybeUninit;

use crate::linux::{Word, ask};
use crate::raw::{nr, page_size};

/// Brings the pages of `room` that lie in it as a whole. Nothing of what it holds
/// changes, and where the kernel cannot (Linux before 5.14, a limit), they come one
/// by one as they are touched.
pub fn populate(room: &mut [MaybeUninit<u8>]) {
    let start = room.as_mut_ptr().addr();
    pages(start, start + room.len());
}

/// The same for so many bytes of stack below the caller's.
pub fn populate_stack(bytes: usize) {
    let here = [0_u8; 1];
    let end = std::hint::black_box(&here).as_ptr().addr();
    pages(end.saturating_sub(bytes), end);
}

fn pages(start: usize, end: usize) {
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
        let pages = 100;
        let touched = |brought: bool| {
            let length = pages * page_size();
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
                populate(&mut room[1..length - 1]);
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
        populate(&mut []);
        populate(&mut [MaybeUninit::uninit(); 7]);
        populate_stack(16 << 10);
    }
}
