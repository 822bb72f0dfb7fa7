//! Extended attributes (`xattr(7)`) of what a descriptor stands for, be it opened
//! as a path only: through its link in `/proc/self/fd`.
//!
//! Compiled into the library only.

use core::ffi::CStr;
use std::ffi::CString;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::errno::Errno;
use crate::linux::{Word, ask};
use crate::raw::nr;

/// The largest that the kernel has (`XATTR_SIZE_MAX`).
const MOST: usize = 65_536;

/// Its link in `/proc/self/fd`.
pub(crate) fn link(file: i32) -> Result<CString, Errno> {
    CString::new(format!("/proc/self/fd/{file}")).map_err(|_| Errno::EINVAL)
}

/// The value of an attribute; `None` where there is none, or the file system has
/// no such attributes. No link.
///
/// # Errors
///
/// As `getxattr(2)`.
pub fn xattr(file: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let path = link(file.as_raw_fd())?;
    let mut short = [0_u8; 256];
    let read = |bytes: Word<'_>, size: usize| {
        ask(nr::GETXATTR, [Word::text(&path), Word::text(name), bytes, Word::number(size as u64)])
    };
    let size = short.len();
    match read(Word::of_mut(&mut short), size) {
        Ok(length) => Ok(short.get(..length).map(<[u8]>::to_vec)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(Errno::ERANGE) => {
            let mut long = Box::new([0_u8; MOST]);
            let length = read(Word::of_mut(&mut *long), MOST)?;
            Ok(long.get(..length).map(<[u8]>::to_vec))
        }
        Err(errno) => Err(errno),
    }
}

/// The names of all attributes that the caller may see; none where the file system
/// has no such attributes. No link.
///
/// # Errors
///
/// As `listxattr(2)`.
pub fn xattr_names(file: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let path = link(file.as_raw_fd())?;
    let mut bytes = Box::new([0_u8; MOST]);
    let words = [Word::text(&path), Word::of_mut(&mut *bytes), Word::number(MOST as u64)];
    let length = match ask(nr::LISTXATTR, words) {
        Ok(length) => length,
        Err(Errno::EOPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let names = bytes.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    Ok(names.filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect())
}

pub(crate) fn set(file: i32, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let (path, size) = (link(file)?, Word::number(value.len() as u64));
    let words = [Word::text(&path), Word::text(name), Word::bytes(value), size, Word::NULL];
    ask(nr::SETXATTR, words).map(drop)
}

pub(crate) fn remove(file: i32, name: &CStr) -> Result<(), Errno> {
    let path = link(file)?;
    match ask(nr::REMOVEXATTR, [Word::text(&path), Word::text(name)]) {
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(errno) => Err(errno),
    }
}
