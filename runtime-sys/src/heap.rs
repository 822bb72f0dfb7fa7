//! A heap for a program that starts one container, and then waits or ends.
//!
//! Such a program allocates a thousand small things once. An allocator that is made for
//! more gives memory back to the kernel as soon as it can (musl's makes eighty calls in a
//! start), or gets ready to serve many threads. This one has a room of its own, whose pages
//! come at once, and puts what is freed into a list for the next of its size.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::populate::pages;

/// What has no place in it comes from the system's heap.
const ROOM: usize = 256 << 10;
/// What a start touches of it.
const AT_ONCE: usize = 144 << 10;

/// The smallest block, and the alignment of all.
const UNIT: usize = 16;
/// Sizes are powers of two: up to 16 KiB.
const SIZES: usize = 11;

#[repr(C, align(4096))]
struct Room([MaybeUninit<u8>; ROOM]);

struct State {
    /// Bytes of the room that were ever given out.
    used: usize,
    /// Of each size the last block that was freed; each begins with the one before it.
    free: [*mut u8; SIZES],
}

/// A `#[global_allocator]`, for any number of threads: who finds it busy takes what the
/// system has, and waits for nobody.
///
/// ```
/// # #![allow(unsafe_code)]
/// #[global_allocator]
/// static HEAP: skep_sys::Heap = skep_sys::Heap::new();
///
/// HEAP.populate();
/// assert_eq!(vec![1; 100].len(), 100);
/// ```
pub struct Heap {
    busy: AtomicBool,
    state: UnsafeCell<State>,
    room: UnsafeCell<Room>,
}

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heap")
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

/// The list that blocks for such a layout are in; none where it is too large.
fn list_for(layout: Layout) -> Option<usize> {
    let size = layout.size().max(UNIT).next_power_of_two();
    let list = (size / UNIT).trailing_zeros() as usize;
    (layout.align() <= UNIT && layout.size() <= UNIT << (SIZES - 1)).then_some(list)
}

impl Heap {
    /// An empty one. It takes no memory but for the pages that are touched.
    #[must_use]
    pub const fn new() -> Self {
        let state = State { used: 0, free: [std::ptr::null_mut(); SIZES] };
        Self {
            busy: AtomicBool::new(false),
            state: UnsafeCell::new(state),
            room: UnsafeCell::new(Room([MaybeUninit::uninit(); ROOM])),
        }
    }

    /// Brings the pages that a start touches, all at once (`madvise(2)`).
    pub fn populate(&self) {
        let start = self.start().addr();
        pages(start, start + AT_ONCE);
    }

    fn start(&self) -> *mut u8 {
        self.room.get().cast()
    }

    fn owns(&self, block: *mut u8) -> bool {
        (self.start().addr()..self.start().addr() + ROOM).contains(&block.addr())
    }

    /// `None` where another thread is at it.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: whoever sets `busy` is alone with the state until it is cleared below, and
        // `act`, which is one of the two closures of this file, does not come back here.
        let done = act(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        Some(done)
    }

    fn take(&self, list: usize) -> Option<*mut u8> {
        self.with(|state| {
            let free = state.free.get_mut(list)?;
            if !free.is_null() {
                let block = *free;
                // SAFETY: it is a free block of this room, of which `give` wrote the first
                // word, and which nobody refers to.
                *free = unsafe { block.cast::<*mut u8>().read() };
                return Some(block);
            }
            let size = UNIT << list;
            let end = state.used.checked_add(size).filter(|end| *end <= ROOM)?;
            // SAFETY: it lies in the room, as `end` does.
            let block = unsafe { self.start().add(state.used) };
            state.used = end;
            Some(block)
        })
        .flatten()
    }

    /// Where another thread is at it, nobody gets the block any more.
    fn give(&self, block: *mut u8, list: usize) {
        self.with(|state| {
            if let Some(free) = state.free.get_mut(list) {
                // SAFETY: a block of this list is aligned, and has room for a pointer; its
                // owner has just given it up.
                unsafe { block.cast::<*mut u8>().write(*free) };
                *free = block;
            }
        });
    }
}

// SAFETY: `busy` lets one thread at a time at the state, and blocks of the room have one
// owner each.
unsafe impl Sync for Heap {}

// SAFETY: a block of a list has the list's size, which is no less than the layout's, and its
// alignment; it is given out once until it is given back, and not unwound from. All else is
// the system's, whose own blocks lie elsewhere.
//
// Never inline: it would be in each of ten thousand places.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match list_for(layout).and_then(|list| self.take(list)) {
            Some(block) => block,
            // SAFETY: the caller's promise is the same.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match list_for(layout).and_then(|list| self.take(list)) {
            Some(block) => {
                // SAFETY: it has at least that size.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's promise is the same.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match list_for(layout).filter(|_| self.owns(block)) {
            Some(list) => self.give(block, list),
            // SAFETY: it came from there, with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(block) {
            // SAFETY: it came from there, with this layout.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size is none too large for the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if list_for(wanted) == list_for(layout) {
            return block;
        }
        // SAFETY: the size is not 0, says the caller.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: two blocks of at least that many bytes, of which the first is still
            // its owner's, who gives it up for the other.
            unsafe {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn what_was_freed_is_the_next_of_its_size() {
        let heap = Box::new(Heap::new());
        heap.populate();
        // SAFETY: each block is given back once, with its layout.
        unsafe {
            let one = heap.alloc(layout(24, 8));
            let other = heap.alloc(layout(24, 8));
            assert!(heap.owns(one) && heap.owns(other) && one != other);
            heap.dealloc(one, layout(24, 8));
            assert_eq!(heap.alloc(layout(32, 16)), one, "of 17 to 32 bytes");
            one.write_bytes(7, 32);
            assert_eq!(heap.realloc(one, layout(32, 16), 17), one);
            let grown = heap.realloc(one, layout(17, 16), 100);
            assert_ne!(grown, one);
            assert!(std::slice::from_raw_parts(grown, 17).iter().all(|byte| *byte == 7));
            heap.dealloc(grown, layout(100, 16));
            assert_eq!(heap.alloc_zeroed(layout(100, 1)), grown);
            assert!(std::slice::from_raw_parts(grown, 100).iter().all(|byte| *byte == 0));
            heap.dealloc(grown, layout(100, 1));
            heap.dealloc(other, layout(24, 8));
        }
    }

    #[test]
    fn what_has_no_place_is_the_systems() {
        let heap = Box::new(Heap::new());
        // SAFETY: each block is given back once, with its layout.
        unsafe {
            for large in [layout((16 << 10) + 1, 1), layout(64, 32), layout(1 << 20, 4096)] {
                let block = heap.alloc(large);
                assert!(!heap.owns(block) && block.addr() % large.align() == 0);
                heap.dealloc(block, large);
            }
            let page = layout(4096, 16);
            let blocks: Vec<_> = (0..ROOM / 4096 + 3).map(|_| heap.alloc(page)).collect();
            assert_eq!(blocks.iter().filter(|block| !heap.owns(**block)).count(), 3);
            // From there into the room, where there is one, and back.
            heap.dealloc(blocks[0], page);
            let grown = heap.realloc(blocks[1], page, 8192);
            assert!(!heap.owns(grown));
            heap.dealloc(grown, layout(8192, 16));
            for block in &blocks[2..] {
                heap.dealloc(*block, page);
            }
            let again = heap.alloc(page);
            assert!(heap.owns(again));
            heap.dealloc(again, page);
        }
    }

    /// No two owners of a byte, whoever comes in between.
    #[test]
    fn threads_share_it() {
        let heap = Box::new(Heap::new());
        std::thread::scope(|scope| {
            for thread in 1..=4_u8 {
                let heap = &heap;
                scope.spawn(move || {
                    let mut held: Vec<(*mut u8, Layout)> = Vec::new();
                    for round in 0..20_000_usize {
                        let size = (round * 7919 + usize::from(thread) * 31) % 3000 + 1;
                        let wanted = layout(size, 8);
                        // SAFETY: each block is written within its size, and given back
                        // once, with its layout.
                        unsafe {
                            let block = heap.alloc(wanted);
                            block.write_bytes(thread, size);
                            held.push((block, wanted));
                            if held.len() > 20 {
                                let (block, of) = held.swap_remove(round % 20);
                                let bytes = std::slice::from_raw_parts(block, of.size());
                                assert!(bytes.iter().all(|byte| *byte == thread));
                                heap.dealloc(block, of);
                            }
                        }
                    }
                    for (block, of) in held {
                        // SAFETY: as above.
                        unsafe { heap.dealloc(block, of) };
                    }
                });
            }
        });
    }
}
