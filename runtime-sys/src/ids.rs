//! The lock on a range of ids: one byte for each id, of a file that nobody but
//! root can open. A lock that another user could take as well, to read only,
//! would keep every range from every container.
//!
//! The file is there only while somebody holds a range. Who ends gives his own
//! bytes back *first* and then asks for the whole file: of several that end
//! together, the last to ask gets it, and removes the file. So whoever finds
//! the whole file locked, or his own file without a name, takes another look.
//!
//! Not in stage B: the lock is the embedder's.

use core::ffi::CStr;

use crate::abi::{OpenFlags, OpenHow};
use crate::errno::Errno;
use crate::groups::pause;
use crate::linux::{Word, ask, close, openat2, statx};
use crate::raw::nr;

/// How often a file that is just being removed is looked at again, a
/// millisecond apart.
const TRIES: u32 = 1000;

/// `struct flock` of a 64-bit machine: `l_type` and `l_whence`, `l_start`,
/// `l_len`, `l_pid` (`fcntl(2)`).
type Flock = [u64; 4];

const F_OFD_GETLK: u64 = 36;
const F_OFD_SETLK: u64 = 37;
const F_WRLCK: u64 = 1;
const F_UNLCK: u64 = 2;

/// Start and length of everything.
const WHOLE: [u64; 2] = [0, 0];

fn set(file: i32, kind: u64, [start, length]: [u64; 2]) -> Result<(), Errno> {
    let lock: Flock = [kind, start, length, 0];
    ask(nr::FCNTL, [Word::descriptor(file), Word::number(F_OFD_SETLK), Word::of(&lock)]).map(drop)
}

/// Whether the bytes are held by a container: not by one that is ending, which
/// asks for the whole file.
fn is_held(file: i32, [start, length]: [u64; 2]) -> Result<bool, Errno> {
    let mut lock: Flock = [F_WRLCK, start, length, 0];
    ask(nr::FCNTL, [Word::descriptor(file), Word::number(F_OFD_GETLK), Word::of_mut(&mut lock)])?;
    let [kind, start, length, _] = lock;
    Ok(kind & 0xffff != F_UNLCK && [start, length] != WHOLE)
}

/// Opens the file, made if it is not there, and locks the range's bytes:
/// EAGAIN when another container holds one of them, ESTALE when the file is
/// not root's alone. Nothing is left of what failed.
pub(crate) fn lock(path: &CStr, range: [u64; 2]) -> Result<i32, Errno> {
    let mut tries = 0;
    loop {
        let file = open(path)?;
        let locked = match set(file, F_WRLCK, range) {
            // Removed before it was locked: it means nothing to anybody.
            Ok(()) => statx(file).map(|stat| stat.links() == 1),
            Err(Errno::EAGAIN | Errno::EACCES) => match is_held(file, range) {
                Ok(true) => Err(Errno::EAGAIN),
                Ok(false) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        };
        match locked {
            Ok(true) => return Ok(file),
            Ok(false) if tries < TRIES => {
                close(file);
                pause();
                tries += 1;
            }
            failed => {
                let _ = release(file, path);
                return Err(failed.err().unwrap_or(Errno::EAGAIN));
            }
        }
    }
}

/// The file, proved to be one that only root can lock.
fn open(path: &CStr) -> Result<i32, Errno> {
    const O_CLOEXEC: u64 = 0o2_000_000;
    // O_CREAT|O_NOCTTY|O_NONBLOCK; what is no file of ours is only looked at.
    let flags = 0o100 | 0o400 | 0o4000 | O_CLOEXEC | u64::from(OpenFlags::READ_WRITE.with(OpenFlags::NO_FOLLOW).0);
    let file = openat2(Word::CWD, path, &OpenHow { flags, mode: 0o600, resolve: 0 })?;
    let proved = statx(file).and_then(|stat| {
        let ours = stat.kind() == 0o100_000 && stat.uid() == 0 && stat.mode() & 0o077 == 0 && stat.links() <= 1;
        if ours { Ok(file) } else { Err(Errno::ESTALE) }
    });
    proved.inspect_err(|_| close(file))
}

/// Gives the range back and closes the file; the last to do so removes it.
pub(crate) fn release(file: i32, path: &CStr) -> Result<(), Errno> {
    let whole = set(file, F_UNLCK, WHOLE).and_then(|()| set(file, F_WRLCK, WHOLE));
    let removed = match whole {
        // While the whole is held nobody else removes it, and nobody has locked
        // another file of this name; but an administrator may have removed it.
        Ok(()) => match statx(file) {
            Ok(stat) if stat.links() == 0 => Ok(()),
            Ok(_) => match ask(nr::UNLINKAT, [Word::CWD, Word::text(path), Word::NULL]) {
                Ok(_) | Err(Errno::ENOENT) => Ok(()),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        },
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno),
    };
    close(file);
    removed
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::CString;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;

    /// A path in a directory of its own; `None` for who is not root.
    fn place(name: &str) -> Option<(PathBuf, CString)> {
        let scratch = std::env::temp_dir().join(format!("skep-ids-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        if scratch.metadata().unwrap().uid() != 0 {
            std::fs::remove_dir_all(&scratch).unwrap();
            let _ = writeln!(std::io::stderr(), "SKIP {name}: the file must be root's");
            return None;
        }
        let path = scratch.join("ids");
        let text = CString::new(path.to_str().unwrap()).unwrap();
        Some((path, text))
    }

    fn clear(path: &std::path::Path) {
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_last_removes_the_file() {
        let Some((path, text)) = place("last") else { return };
        let one = lock(&text, [100, 10]).unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o177, found.len()), (0, 0, 0));
        assert_eq!(lock(&text, [105, 10]), Err(Errno::EAGAIN));
        let two = lock(&text, [110, 10]).unwrap();
        release(one, &text).unwrap();
        assert!(path.exists());
        let one = lock(&text, [100, 10]).unwrap();
        release(two, &text).unwrap();
        release(one, &text).unwrap();
        assert!(!path.exists());
        // What a killed one has left is used, and removed.
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let one = lock(&text, [100, 10]).unwrap();
        // A file that was removed by hand, and made again by another.
        std::fs::remove_file(&path).unwrap();
        let two = lock(&text, [100, 10]).unwrap();
        release(one, &text).unwrap();
        assert!(path.exists(), "it is not this one's any more");
        release(two, &text).unwrap();
        assert!(!path.exists());
        clear(&path);
    }

    #[test]
    fn what_others_can_open_is_refused_and_stays() {
        let Some((path, text)) = place("others") else { return };
        let other = path.with_file_name("other");
        std::fs::write(&other, "theirs").unwrap();
        std::fs::set_permissions(&other, PermissionsExt::from_mode(0o600)).unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(lock(&text, [0, 1]), Err(Errno::ELOOP));
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&other, &path).unwrap();
        assert_eq!(lock(&text, [0, 1]), Err(Errno::ESTALE));
        std::fs::remove_file(&other).unwrap();
        for mode in [0o644, 0o620, 0o606] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(lock(&text, [0, 1]), Err(Errno::ESTALE), "{mode:o}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        assert_eq!(lock(&text, [0, 1]), Err(Errno::ESTALE));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
        clear(&path);
    }

    /// Every lock and every end at the same time as others: a range has one
    /// owner, none is refused for another reason, and nothing stays.
    #[test]
    fn many_threads_share_nothing() {
        let Some((path, text)) = place("many") else { return };
        let held = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (held, text) = (&held, &text);
                scope.spawn(move || {
                    for round in 0..200_u64 {
                        let first = (thread * 7 + round * 3) % 6 * 100;
                        match lock(text, [first, 100]) {
                            Ok(file) => {
                                assert!(held.lock().unwrap().insert(first), "{first} has two owners");
                                assert!(held.lock().unwrap().remove(&first));
                                release(file, text).unwrap();
                            }
                            Err(errno) => assert_eq!(errno, Errno::EAGAIN),
                        }
                    }
                });
            }
        });
        assert!(!path.exists());
        clear(&path);
    }
}
