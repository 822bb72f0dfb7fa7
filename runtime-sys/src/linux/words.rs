//! How a system call is made: words that are typed, and what they may point at.

use core::ffi::CStr;
use core::marker::PhantomData;

use crate::abi::CapData;
use crate::errno::Errno;
use crate::raw::syscall;

/// One argument word of a system call: a number, or the address of memory
/// that is borrowed for as long as the word lives.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a>(pub(crate) usize, PhantomData<&'a ()>);

impl<'a> Word<'a> {
    pub(crate) const NULL: Self = Self(0, PhantomData);
    pub(crate) const CWD: Self = Self(-100_isize as usize, PhantomData);

    pub(crate) const fn number(value: u64) -> Self {
        Self(value as usize, PhantomData)
    }
    pub(crate) const fn descriptor(value: i32) -> Self {
        Self(value as isize as usize, PhantomData)
    }
    pub(crate) fn text(value: &'a CStr) -> Self {
        Self(value.as_ptr().expose_provenance(), PhantomData)
    }
    pub(crate) fn bytes(value: &'a [u8]) -> Self {
        Self(value.as_ptr().expose_provenance(), PhantomData)
    }
    /// A list of addresses that the kernel follows.
    pub(super) fn list(words: &'a [usize]) -> Self {
        Self(words.as_ptr().expose_provenance(), PhantomData)
    }
    pub(super) fn size<T>() -> Self {
        Self(size_of::<T>(), PhantomData)
    }
    pub(crate) fn of<T>(value: &'a T) -> Self {
        Self(core::ptr::from_ref(value).expose_provenance(), PhantomData)
    }
    /// For what the kernel writes to. `T` must be valid for any bit pattern.
    pub(crate) fn of_mut<T: Plain>(value: &'a mut T) -> Self {
        Self(core::ptr::from_mut(value).expose_provenance(), PhantomData)
    }
}

/// Types that the kernel may fill with any bytes.
pub(crate) trait Plain {}
impl Plain for i32 {}
impl Plain for u32 {}
impl<T: Plain, const N: usize> Plain for [T; N] {}
impl Plain for u8 {}
impl Plain for u64 {}
impl Plain for CapData {}

/// Makes a system call whose words are typed. Inlined: the stub init keeps no
/// code but its own.
#[inline(always)]
pub(crate) fn ask<const N: usize>(number: usize, words: [Word<'_>; N]) -> Result<usize, Errno> {
    let mut args = [0_usize; 6];
    for (arg, word) in args.iter_mut().zip(words) {
        *arg = word.0;
    }
    // SAFETY: a word is a number or the address of borrowed memory: C strings
    // end in NUL, what the kernel writes to is a `Plain` behind a unique
    // reference, lengths are passed beside what they measure. Each use in this
    // crate gives the call the words that its man page asks for; descriptors
    // come from slots, whose table owns them.
    #[allow(unsafe_code)]
    unsafe {
        syscall(number, args)
    }
}

/// What a call was to bring about, asked of the kernel afterwards: a filter around
/// this program may answer success in its place (`SECCOMP_RET_ERRNO` with 0).
pub(super) fn held(holds: bool) -> Result<(), Errno> {
    if holds { Ok(()) } else { Err(Errno::EPERM) }
}

pub(super) fn done(result: Result<usize, Errno>) -> Result<(), Errno> {
    result.map(drop)
}

pub(super) fn tolerate(result: Result<usize, Errno>, tolerated: &[Errno]) -> Result<(), Errno> {
    match result {
        Err(errno) if tolerated.contains(&errno) => Ok(()),
        other => done(other),
    }
}
