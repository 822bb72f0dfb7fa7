//! Filters (`seccomp(2)`) and rules of Landlock.

use core::marker::PhantomData;

use super::words::{Word, ask, done};
use crate::abi::{SeccompFlags, landlock};
use crate::errno::Errno;
use crate::raw::nr;

/// `struct sock_fprog`
#[repr(C)]
struct Program<'p> {
    length: u16,
    filter: *const u8,
    borrow: PhantomData<&'p [u8]>,
}

/// Answers the listener, if the flags want one.
pub(super) fn install_filter(program: &[u8], flags: SeccompFlags) -> Result<usize, Errno> {
    let length = u16::try_from(program.len() / 8).map_err(|_| Errno::EINVAL)?;
    let filter = Program { length, filter: program.as_ptr(), borrow: PhantomData };
    // SECCOMP_SET_MODE_FILTER
    ask(nr::SECCOMP, [Word::number(1), Word::number(u64::from(flags.0)), Word::of(&filter)])
}

/// Of accesses to files and to the net, and scopes.
pub(super) fn ruleset(handled: [u64; 3]) -> Result<i32, Errno> {
    // Older kernels take a shorter structure, if the rest is 0.
    let words = handled.iter().rposition(|access| *access != 0).unwrap_or(0) as u64 + 1;
    let size = Word::number(words * 8);
    ask(nr::LANDLOCK_CREATE_RULESET, [Word::of(&handled), size, Word::NULL]).map(|ruleset| ruleset as i32)
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: i32,
}

pub(super) fn rule_of_path(ruleset: Word<'_>, parent: i32, access: u64) -> Result<(), Errno> {
    let add = |access| {
        let rule = PathBeneath { access, parent };
        done(ask(nr::LANDLOCK_ADD_RULE, [ruleset, Word::number(1), Word::of(&rule), Word::NULL]))
    };
    let of_files = access & landlock::ON_FILES;
    match add(access) {
        Err(Errno::EINVAL) if of_files != access && of_files != 0 => add(of_files),
        result => result,
    }
}
