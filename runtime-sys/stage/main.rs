//! Stage B: a static executable of a few KiB, without std and without libc.
//!
//! It runs the child's half of a plan with the interpreter's own source. It
//! has one thread, allocates nothing, and cannot panic: the handler below
//! calls a function that nobody defines, so a panic that could happen fails
//! the link.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(dead_code, unreachable_pub, reason = "modules shared with the library")]

#[path = "../src/abi.rs"]
mod abi;
#[path = "../src/errno.rs"]
mod errno;
#[path = "../src/filter.rs"]
mod filter;
#[path = "../src/groups.rs"]
mod groups;
#[path = "../src/init.rs"]
mod init;
#[path = "../src/kernel.rs"]
mod kernel;
#[path = "../src/linux/mod.rs"]
mod linux;
#[path = "../src/message.rs"]
mod message;
#[path = "../src/netlink.rs"]
mod netlink;
#[path = "../src/op.rs"]
mod op;
#[path = "../src/program.rs"]
mod program;
#[path = "../src/raw.rs"]
mod raw;
#[path = "../src/serve.rs"]
mod serve;
#[path = "../src/split.rs"]
mod split;
#[path = "../src/terminal.rs"]
mod terminal;
#[path = "../src/watch.rs"]
mod watch;
#[path = "../src/wire.rs"]
mod wire;

use crate::errno::Errno;
use crate::kernel::{Cell, Report, Slots};
use crate::linux::{Linux, Word, ask, exit};
use crate::message::report;
use crate::op::Slot;
use crate::program::{Child, Section, header, run_child};
use crate::raw::nr;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {stage}",
    "ud2",
    stage = sym stage,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {stage}",
    "brk #1",
    stage = sym stage,
);

/// Takes the stack as the kernel left it: argc, then argv.
extern "C" fn stage(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc and then argc pointers there (execve(2)).
    let argument = unsafe { if *stack < 2 { 0 } else { *stack.add(2) } };
    let Some(file) = descriptor(core::ptr::with_exposed_provenance(argument)) else { exit(125) };
    // SAFETY: it is the stack as the kernel left it.
    let page = unsafe { page(stack) };
    let Ok(mapped) = map(file, page) else { exit(125) };
    // SAFETY: `map` made the two mappings, and nobody else in this process
    // knows of them.
    unsafe { interpret(&mapped, page) }
}

/// How large a page is: on x86_64 always the same, on aarch64 what this kernel
/// was built with, which it says in the auxiliary vector (`getauxval(3)`).
/// Where it does not, 64 KiB: to take a page for larger than it is lets go of
/// less later, and of nothing that is needed.
///
/// # Safety
///
/// `stack` must be the stack as the kernel left it: argc, that many pointers
/// and NULL, the environment up to a NULL, then pairs of words up to AT_NULL.
unsafe fn page(stack: *const usize) -> usize {
    const AT_NULL: usize = 0;
    const AT_PAGESZ: usize = 6;
    if cfg!(target_arch = "x86_64") {
        return 4096;
    }
    // SAFETY: each read is of a word before the end that the caller warrants.
    unsafe {
        let mut at = stack.add((*stack).wrapping_add(2));
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != AT_NULL {
            match (*at, *at.add(1)) {
                (AT_PAGESZ, size) if size.is_power_of_two() => return size,
                _ => at = at.add(2),
            }
        }
    }
    65_536
}

/// The decimal number of the plan's descriptor.
fn descriptor(text: *const u8) -> Option<i32> {
    if text.is_null() {
        return None;
    }
    let mut number = 0_i32;
    for place in 0..10 {
        // SAFETY: the argument ends in NUL, and the loop ends there.
        match unsafe { *text.add(place) } {
            0 => return (place > 0).then_some(number),
            digit @ b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(i32::from(digit.wrapping_sub(b'0')))?;
            }
            _ => return None,
        }
    }
    None
}

struct Mapped {
    /// The plan, private: after the fork each side has its own slots.
    base: usize,
    length: usize,
    /// Its first page once more, shared: the starting process reads the
    /// progress from it.
    shared: usize,
}

fn map(file: i32, page: usize) -> Result<Mapped, Errno> {
    let mut words = [0_u64; 2];
    ask(nr::PREAD64, [Word::descriptor(file), Word::of_mut(&mut words), Word::number(16), Word::NULL])?;
    let length = words[1];
    if words[0] != header::MAGIC || length < header::BYTES as u64 {
        return Err(Errno::EBADMSG);
    }
    // A page beyond the end of the file would be SIGBUS. st_size is at byte 48
    // on both architectures.
    let mut stat = [0_u64; 18];
    ask(nr::FSTAT, [Word::descriptor(file), Word::of_mut(&mut stat)])?;
    if stat[6] < length {
        return Err(Errno::EBADMSG);
    }
    let map = |length: u64, kind: u64| {
        // PROT_READ|PROT_WRITE
        let words =
            [Word::NULL, Word::number(length), Word::number(3), Word::number(kind), Word::descriptor(file), Word::NULL];
        ask(nr::MMAP, words)
    };
    // MAP_PRIVATE, MAP_SHARED
    let (base, shared) = (map(length, 2)?, map(page as u64, 1)?);
    linux::close(file);
    Ok(Mapped { base, length: length as usize, shared })
}

/// # Safety
///
/// The mappings must be readable, writable, as long as they say, and used by
/// nobody else in this process.
unsafe fn interpret(mapped: &Mapped, page: usize) -> ! {
    let Mapped { base, length, shared } = *mapped;
    let start = core::ptr::with_exposed_provenance_mut::<u8>(base);
    // SAFETY: at least the header is mapped (`map` checked it), and it is not
    // borrowed mutably: progress is written through a pointer of its own.
    let words = unsafe { core::ptr::read(start.cast::<[u64; header::WORDS]>()) };
    let cells = words[header::CELLS] as usize;
    let scratch = words[header::SCRATCH] as usize;
    let data = header::BYTES
        .checked_add(cells.saturating_mul(Cell::SIZE))
        .and_then(|end| end.checked_add(scratch.saturating_mul(8)))
        .filter(|end| *end <= length);
    let Some(data) = data else { exit(125) };
    // SAFETY: the three ranges lie inside the mapping (checked above) and do
    // not overlap. The cells are written by the library as `Cell::to_bytes`
    // gives them; the tags are checked before they are taken for an enum.
    let (cells, scratch, ops) = unsafe {
        let tags = start.add(header::BYTES).cast::<u64>();
        for index in 0..cells {
            if *tags.add(index.wrapping_mul(2)) > 2 {
                exit(125);
            }
        }
        (
            core::slice::from_raw_parts_mut(tags.cast::<Cell>(), cells),
            core::slice::from_raw_parts_mut(tags.add(cells.wrapping_mul(2)).cast::<usize>(), scratch),
            core::slice::from_raw_parts(start.add(data), length.wrapping_sub(data)),
        )
    };
    let section = |place: usize| {
        let at = header::SECTIONS.wrapping_add(place.wrapping_mul(3));
        let (first, offset, size) = (words.get(at)?, words.get(at.wrapping_add(1))?, words.get(at.wrapping_add(2))?);
        let from = (*offset as usize).checked_sub(data)?;
        let ops = ops.get(from..from.checked_add(*size as usize)?)?;
        Some(Section { first: *first as u32, ops })
    };
    let (Some(enter), Some(payload), Some(init)) = (section(0), section(1), section(2)) else { exit(125) };
    let child = Child { enter, payload, init };
    let mut slots = Slots::new(cells);
    let told = Slot(words[header::REPORT] as u16);
    // SAFETY: the progress word lies in the first page, and no reference to
    // the shared mapping of it exists.
    let progress = unsafe { core::ptr::with_exposed_provenance_mut::<u64>(shared).add(header::PROGRESS) };
    let reaps = matches!(init.iter().last(), Some((_, Some(op::Op::Reap { .. }))));
    let split = reaps.then_some(split::Payload { section: payload, report: told, progress });
    let mut kernel = Linux::with(scratch, [[base, length], [shared, page]], split);
    let ended = run_child(&mut kernel, &child, &mut slots, &mut |index| {
        // SAFETY: as above; volatile, because another process reads it.
        unsafe { progress.write_volatile(u64::from(index).wrapping_add(1)) }
    });
    end(ended.err().map(|failure| (failure.op, failure.errno)), &slots, told)
}

/// What was to end in an exec has not; which op failed, if one did, is told.
fn end(failed: Option<(u32, Errno)>, slots: &Slots<'_>, told: Slot) -> ! {
    if let (Some((op, errno)), Ok(socket)) = (failed, slots.descriptor(told)) {
        let _ = report(socket, Report::Failed { op, errno });
    }
    exit(1)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn skep_stage_b_contains_a_panic() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { skep_stage_b_contains_a_panic() }
}

/// The compiler may turn a loop into a call of one of these, and here is no
/// libc that has them.
mod memory {
    /// # Safety
    ///
    /// As `memcpy(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's ranges are valid and disjoint.
        unsafe {
            core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "x86_64"))]
        for index in 0..count {
            // SAFETY: as above. Volatile, or this becomes a call of itself.
            unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
        }
        to
    }

    /// # Safety
    ///
    /// As `memmove(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        if to.addr().wrapping_sub(from.addr()) >= count {
            // SAFETY: copying forwards never overtakes what is still to be read.
            return unsafe { memcpy(to, from, count) };
        }
        for index in (0..count).rev() {
            // SAFETY: the caller's ranges are valid. Volatile as above.
            unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
        }
        to
    }

    /// # Safety
    ///
    /// As `memset(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's range is valid.
        unsafe {
            core::arch::asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value as u8, options(nostack, preserves_flags));
        }
        #[cfg(not(target_arch = "x86_64"))]
        for index in 0..count {
            // SAFETY: as above.
            unsafe { to.add(index).write_volatile(value as u8) };
        }
        to
    }

    /// # Safety
    ///
    /// As `memcmp(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
        for index in 0..count {
            // SAFETY: the caller's ranges are valid.
            let (left, right) = unsafe { (one.add(index).read_volatile(), other.add(index).read_volatile()) };
            if left != right {
                return i32::from(left) - i32::from(right);
            }
        }
        0
    }

    /// # Safety
    ///
    /// As `bcmp(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
        // SAFETY: the caller's ranges are valid.
        unsafe { memcmp(one, other, count) }
    }

    /// # Safety
    ///
    /// As `strlen(3)`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut length = 0;
        // SAFETY: the caller's string ends in NUL.
        while unsafe { text.add(length).read_volatile() } != 0 {
            length += 1;
        }
        length
    }
}
