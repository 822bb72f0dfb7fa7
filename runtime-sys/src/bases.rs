//! The lock files by which `systemd-nspawn` keeps the ranges that it picks: one
//! for each base, `/run/systemd/nspawn-uid/BASE`, locked from its beginning to
//! its end by the open file. Whoever holds one keeps that program from the range,
//! and is kept from it.
//!
//! As there, the file goes with who holds it; the directories, which that program
//! makes and leaves, go too where nothing else is in them.

use core::ffi::CStr;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use crate::abi::{OpenFlags, OpenHow};
use crate::errno::Errno;
use crate::ids::{lock_whole, process};
use crate::linux::{Word, ask, close, openat2, raise, statx, statx_at};
use crate::raw::nr;

/// What `systemd-nspawn` picks: the first ids of ranges of so many.
const COUNT: u64 = 65_536;
const BASES: std::ops::Range<u64> = 0x0008_0000..0x6fff_0000;

/// A range that touches more of them was not picked, and is locked by ids alone.
const MOST: usize = 16;

/// How often a file that is just being removed is made again.
const TRIES: u32 = 100;

struct Held {
    process: usize,
    range: [u64; 2],
    files: Vec<(CString, i32)>,
}

/// What this process holds, in one directory below another.
pub(crate) struct Register {
    above: &'static CStr,
    below: &'static CStr,
    held: Mutex<Vec<Held>>,
}

/// Where `systemd-nspawn` has a file of a lock for each base.
pub const BASE_LOCKS: &CStr = c"/run/systemd/nspawn-uid";

static REGISTER: Register = Register::new(c"/run/systemd", BASE_LOCKS);

/// See [`Register::lock`].
pub(crate) fn lock(range: [u64; 2]) -> Result<(), Errno> {
    REGISTER.lock(range)
}

/// See [`Register::release`].
pub(crate) fn release(range: [u64; 2]) {
    REGISTER.release(range);
}

/// The bases of which a range has an id.
fn bases([first, count]: [u64; 2]) -> Vec<u64> {
    let end = first.saturating_add(count).min(BASES.end);
    let first = (first & !(COUNT - 1)).max(BASES.start);
    let all = (first..end).step_by(COUNT as usize);
    if all.clone().take(MOST + 1).count() > MOST { Vec::new() } else { all.collect() }
}

impl Register {
    const fn new(above: &'static CStr, below: &'static CStr) -> Self {
        Self { above, below, held: Mutex::new(Vec::new()) }
    }

    /// Locks every base of the range: EAGAIN where somebody has one. Where no
    /// such file can be made, `systemd-nspawn` could make none either.
    fn lock(&self, range: [u64; 2]) -> Result<(), Errno> {
        let mut files = Vec::new();
        for base in bases(range) {
            match self.lock_base(base) {
                Ok(held) => files.push(held),
                Err(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {}
                Err(errno) => {
                    self.let_go(files);
                    return Err(errno);
                }
            }
        }
        if !files.is_empty() {
            let held = Held { process: process(), range, files };
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        }
        Ok(())
    }

    fn lock_base(&self, base: u64) -> Result<(CString, i32), Errno> {
        let path = [self.below.to_bytes(), b"/", base.to_string().as_bytes()].concat();
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        // O_CREAT|O_NOCTTY|O_CLOEXEC
        let flags = 0o100 | 0o400 | 0o2_000_000 | u64::from(OpenFlags::READ_WRITE.with(OpenFlags::NO_FOLLOW).0);
        for _ in 0..TRIES {
            let file = match openat2(Word::CWD, &path, &OpenHow { flags, mode: 0o600, resolve: 0 }) {
                Err(Errno::ENOENT) => {
                    self.make_directories()?;
                    continue;
                }
                file => raise(file?),
            };
            let locked = lock_whole(file).and_then(|()| Ok(statx(file)?.links() > 0));
            match locked {
                Ok(true) => return Ok((path, file)),
                // Whoever had it has removed it meanwhile.
                Ok(false) => close(file),
                Err(errno) => {
                    close(file);
                    return Err(errno);
                }
            }
        }
        Err(Errno::EAGAIN)
    }

    fn make_directories(&self) -> Result<(), Errno> {
        for directory in [self.above, self.below] {
            match ask(nr::MKDIRAT, [Word::CWD, Word::text(directory), Word::number(0o755)]) {
                Ok(_) | Err(Errno::EEXIST) => {}
                // The one above was removed just now.
                Err(Errno::ENOENT) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Gives back what this process holds for the range.
    fn release(&self, range: [u64; 2]) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // What a fork has inherited is its parent's.
        let own = all.iter().position(|held| (held.process, held.range) == (process(), range));
        if let Some(held) = own.map(|place| all.swap_remove(place)) {
            self.let_go(held.files);
        }
    }

    fn let_go(&self, files: Vec<(CString, i32)>) {
        let any = !files.is_empty();
        for (path, file) in files {
            // AT_SYMLINK_NOFOLLOW. An administrator may have removed it.
            let found =
                statx_at(Word::CWD, &path, 0x100).and_then(|found| Ok((found.identity(), statx(file)?.identity())));
            if found.is_ok_and(|(found, own)| found == own) {
                let _ = ask(nr::UNLINKAT, [Word::CWD, Word::text(&path), Word::NULL]);
            }
            close(file);
        }
        for directory in [self.below, self.above].into_iter().filter(|_| any) {
            // AT_REMOVEDIR; not one that holds something, such as the other.
            if ask(nr::UNLINKAT, [Word::CWD, Word::text(directory), Word::number(0x200)]) == Err(Errno::ENOTEMPTY) {
                break;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_bases_of_a_range() {
        assert_eq!(bases([0x0008_0000, 65_536]), [0x0008_0000]);
        assert_eq!(bases([0x0008_0000, 1]), [0x0008_0000]);
        assert_eq!(bases([0x0007_ffff, 2]), [0x0008_0000]);
        assert_eq!(bases([0x0009_0001, 65_536]), [0x0009_0000, 0x000a_0000]);
        assert_eq!(bases([0x6ffe_0000, 1 << 20]), [0x6ffe_0000]);
        for none in [[0, 65_536], [0x6fff_0000, 65_536], [0x0008_0000, 1 << 30], [u64::from(u32::MAX - 1), 1]] {
            assert!(bases(none).is_empty(), "{none:?}");
        }
    }

    #[test]
    fn a_base_is_kept_and_nothing_stays() {
        let top = std::env::temp_dir().join(format!("skep-bases-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        let text =
            |path: std::path::PathBuf| &*Box::leak(CString::new(path.to_str().unwrap()).unwrap().into_boxed_c_str());
        let (above, below) = (text(top.join("systemd")), text(top.join("systemd/nspawn-uid")));
        let (ours, theirs) = (Register::new(above, below), Register::new(above, below));
        let range = [0x0009_0000, 65_536];
        ours.lock(range).unwrap();
        let file = top.join("systemd/nspawn-uid/589824");
        assert!(file.metadata().unwrap().is_file());
        assert_eq!(theirs.lock(range), Err(Errno::EAGAIN));
        assert_eq!(theirs.lock([0x0008_0000, 131_072]), Err(Errno::EAGAIN), "nothing of it is kept");
        theirs.lock([0x0008_0000, 65_536]).unwrap();
        ours.release(range);
        assert!(!file.exists() && top.join("systemd/nspawn-uid/524288").exists());
        // What a killed one has left is nobody's.
        std::fs::write(&file, "").unwrap();
        theirs.lock(range).unwrap();
        theirs.release(range);
        theirs.release([0x0008_0000, 65_536]);
        assert!(!top.join("systemd").exists());
        // What is another's stays.
        std::fs::create_dir_all(top.join("systemd/machines")).unwrap();
        ours.lock(range).unwrap();
        ours.release(range);
        assert!(top.join("systemd/machines").exists() && !top.join("systemd/nspawn-uid").exists());
        std::fs::remove_dir_all(&top).unwrap();
    }
}
