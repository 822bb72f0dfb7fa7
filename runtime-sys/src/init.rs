//! The stub init: process 1 of a container whose command is not an init.
//!
//! Part of stage B only. It holds the payload's own capability sets, a filter
//! of its own and nothing of the plan; it is not dumpable, so a payload of the
//! same uid can neither trace it nor open its memory. It lives as long as the
//! container, so it keeps nothing of stage B either, but the page or two of its
//! own code: `reap` refers to nothing outside its section, which
//! `tests/real/stages.rs` reads in the disassembly.
#![allow(unsafe_code)]

use crate::abi::signal;
use crate::errno::Errno;
use crate::kernel::WaitStatus;
use crate::linux::{Word, ask, exit};
use crate::raw::nr;

/// What the stub init lets go of once the payload's process, with which it shares its
/// memory, has executed or ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// The payload's end of this one is close-on-exec, and closed after its memory
    /// has been changed.
    pub(crate) gate: i32,
    /// The kernel clears this word then (0: nothing was ever shared). Where it has not,
    /// somebody closed the other end too early, and the memory stays.
    pub(crate) alive: usize,
    /// Addresses and lengths: the plan's two mappings, and that process's stack.
    pub(crate) mapped: [[usize; 2]; 3],
}

/// Reaps every orphan, forwards signals to `payload`, and ends with its status
/// when it ends, or when the other side of `lifeline` closes: without its
/// owner the container has no reason to live, and the end of process 1 ends
/// all others. A byte on `lifeline` lets go of that tie.
// SAFETY: code is put into a section of its own; nothing is replaced.
#[unsafe(link_section = "skep_reap")]
#[inline(never)]
pub(crate) fn reap(payload: u64, signals: i32, lifeline: i32, shared: Shared) -> ! {
    let mut tied = true;
    let mut sharing = true;
    loop {
        // POLLIN on each; a hang-up is always told. -1 is passed over.
        let file = |wanted: bool, file: i32| if wanted { file as u32 } else { u32::MAX };
        let mut polls = [signals as u32, 1, file(tied, lifeline), 1, file(sharing, shared.gate), 1];
        let count = Word::number(3);
        if ask(nr::PPOLL, [Word::of_mut(&mut polls), count, Word::NULL, Word::NULL, Word::NULL]).is_err() {
            continue;
        }
        if polls[5] >> 16 != 0 {
            sharing = false;
            let_go(&shared);
        }
        if polls[3] >> 16 != 0 {
            let mut byte = [0_u8; 1];
            match ask(nr::READ, [Word::descriptor(lifeline), Word::of_mut(&mut byte), Word::number(1)]) {
                Ok(1) => tied = false,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                _ => exit(128 + signal::KILL),
            }
        }
        if polls[1] >> 16 != 0 {
            // struct signalfd_siginfo, whose first word is the signal.
            let mut info = [0_u32; 32];
            let read = ask(nr::READ, [Word::descriptor(signals), Word::of_mut(&mut info), Word::number(128)]);
            if read != Ok(128) {
                continue;
            }
            if info[0] == u32::from(signal::CHLD) {
                reap_all(payload, lifeline);
            } else {
                let words = [Word::number(payload), Word::number(u64::from(info[0]))];
                let _ = ask(nr::KILL, words);
            }
        }
    }
}

/// The plan holds the payload's environment. From here on nothing of it is used.
#[inline(always)]
fn let_go(shared: &Shared) {
    let _ = ask(nr::CLOSE, [Word::descriptor(shared.gate)]);
    if shared.alive != 0 {
        // SAFETY: the word lies in the last of the mappings, which nobody has unmapped
        // yet; volatile, for the kernel writes it.
        let used = unsafe { core::ptr::with_exposed_provenance::<u32>(shared.alive).read_volatile() };
        if used != 0 {
            return;
        }
    }
    // The second mapping of the plan is one page.
    let [_, [_, page], _] = shared.mapped;
    for [start, length] in shared.mapped {
        let _ = ask(nr::MUNMAP, [Word::number(start as u64), Word::number(length as u64)]);
    }
    for [start, length] in elsewhere(page) {
        let _ = ask(nr::MUNMAP, [Word::number(start as u64), Word::number(length as u64)]);
    }
}

/// The image without the pages of `reap`. Where a length is nothing the call
/// fails, and that is all.
#[inline(always)]
fn elsewhere(page: usize) -> [[usize; 2]; 2] {
    // Named by the linker, GNU's and LLVM's.
    unsafe extern "C" {
        static __executable_start: u8;
        static __start_skep_reap: u8;
        static __stop_skep_reap: u8;
        static _end: u8;
    }
    // One size there, which the compiler then knows; on aarch64 the kernel's.
    let page = if cfg!(target_arch = "x86_64") { 4096 } else { page };
    let rest = page.wrapping_sub(1);
    let first = |address: usize| address & !rest;
    let next = |address: usize| first(address.wrapping_add(rest));
    let image = [first((&raw const __executable_start).addr()), next((&raw const _end).addr())];
    let own = [first((&raw const __start_skep_reap).addr()), next((&raw const __stop_skep_reap).addr())];
    [[image[0], own[0].wrapping_sub(image[0])], [own[1], image[1].wrapping_sub(own[1])]]
}

#[inline(always)]
fn reap_all(payload: u64, lifeline: i32) {
    loop {
        let mut status = 0_u32;
        // WNOHANG; any child, for this process is the container's init.
        let words = [Word::descriptor(-1), Word::of_mut(&mut status), Word::number(1), Word::NULL];
        match ask(nr::WAIT4, words) {
            Ok(0) => return,
            Err(Errno::EINTR) => {}
            // There is always a child: the payload. Without word of it this
            // would wait for ever.
            Err(_) => exit(128 + signal::KILL),
            Ok(pid) if pid as u64 == payload => {
                let (end, code) = match status & 0x7f {
                    0 => (WaitStatus::Exited((status >> 8) as u8), (status >> 8) as u8),
                    number => (WaitStatus::Signaled(number as u8), 128_u8.wrapping_add(number as u8)),
                };
                let record = end.to_value().to_le_bytes();
                let _ = ask(nr::WRITE, [Word::descriptor(lifeline), Word::bytes(&record), Word::number(8)]);
                exit(code);
            }
            Ok(_) => {}
        }
    }
}
