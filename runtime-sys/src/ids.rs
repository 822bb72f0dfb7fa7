//! The lock on a range of ids: one byte for each id, of a file that nobody but
//! root can open. A lock that another user could take as well, to read only,
//! would keep every range from every container.
//!
//! The file is there only while somebody holds a range. Who ends gives his own
//! bytes back *first* and then asks for the whole file: of several that end
//! together, the last to ask gets it, and removes the file. So whoever finds
//! the whole file locked, or his own file without a name, takes another look.
//!
//! All containers of a process hold their bytes through one open file. With one
//! each, every end of a descriptor table in which they are (that of a child, of
//! whatever else the embedder executes) would look through all locks once for
//! each of them (`locks_remove_posix`): 5 ms a start beside a thousand. What the
//! handle gets is the file as a path only, on which there are no locks.
//!
//! Not in stage B: the lock is the embedder's.

use core::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use crate::abi::{OpenFlags, OpenHow};
use crate::errno::Errno;
use crate::groups::pause;
use crate::linux::{Statx, Word, ask, close, openat2, raise, statx, statx_at};
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

/// A file, and what this process holds in it.
struct Held {
    /// Who: a fork shares the open file, and so its locks, which would not keep
    /// the two apart. It opens its own.
    process: usize,
    inode: Inode,
    file: i32,
    ranges: Vec<[u64; 2]>,
}

/// Device and number.
type Inode = [u64; 2];

/// What this process holds.
pub(crate) struct Register(Mutex<Vec<Held>>);

static REGISTER: Register = Register::new();

/// See [`Register::lock`]; and keeps `systemd-nspawn` from the range.
pub(crate) fn lock(path: &CStr, range: [u64; 2]) -> Result<i32, Errno> {
    let file = REGISTER.lock(path, range)?;
    match crate::bases::lock(range) {
        Ok(()) => Ok(file),
        Err(errno) => {
            let _ = REGISTER.release(file, path, range);
            Err(errno)
        }
    }
}

/// See [`Register::release`].
pub(crate) fn release(file: i32, path: &CStr, range: [u64; 2]) -> Result<(), Errno> {
    crate::bases::release(range);
    REGISTER.release(file, path, range)
}

/// Whether nobody holds a byte of the range, as the open file of this process's
/// own containers tells; `None` where it holds none. Who opened the file again
/// for the question would look through all locks twice to close it.
#[must_use]
pub fn range_is_free(path: &CStr, first: u32, count: u32) -> Option<bool> {
    REGISTER.is_free(path, [first.into(), count.into()])
}

/// All of a file that is one lock.
pub(crate) fn lock_whole(file: i32) -> Result<(), Errno> {
    set(file, F_WRLCK, WHOLE).map_err(|errno| if errno == Errno::EACCES { Errno::EAGAIN } else { errno })
}

pub(crate) fn process() -> usize {
    ask(nr::GETPID, []).unwrap_or(0)
}

fn inode(file: i32) -> Result<Inode, Errno> {
    statx(file).map(|stat| stat.identity())
}

/// That of a path, if it is one that only root can lock.
fn inode_at(path: &CStr) -> Option<Inode> {
    // AT_SYMLINK_NOFOLLOW
    let stat = statx_at(Word::CWD, path, 0x100).ok()?;
    is_roots_alone(&stat).then(|| stat.identity())
}

impl Register {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Opens the file, made if it is not there, and locks the range's bytes:
    /// EAGAIN when another container holds one of them, ESTALE when the file is
    /// not root's alone. Nothing is left of what failed. The answer is the file,
    /// opened as a path.
    fn lock(&self, path: &CStr, range: [u64; 2]) -> Result<i32, Errno> {
        for _ in 0..=TRIES {
            match self.try_lock(path, range) {
                Ok(Some(file)) => return Ok(file),
                Ok(None) => pause(),
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EAGAIN)
    }

    /// None where the file was just being removed.
    fn try_lock(&self, path: &CStr, range: [u64; 2]) -> Result<Option<i32>, Errno> {
        let mut register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process();
        let is = |held: &Held, inode: Inode| (held.process, held.inode) == (process, inode);
        // To open it and to close it again would look through all locks twice.
        let there = inode_at(path);
        if let Some(held) = register.iter_mut().find(|held| there.is_some_and(|inode| is(held, inode))) {
            if held.ranges.iter().any(|other| overlap(*other, range)) {
                return Err(Errno::EAGAIN);
            }
            let locked = locked_in(held.file, path, range);
            match locked {
                Ok(Some(_)) => held.ranges.push(range),
                _ => drop(set(held.file, F_UNLCK, range)),
            }
            return locked;
        }
        let file = raise(open(path)?);
        let inode = inode(file).inspect_err(|_| close(file))?;
        if register.iter().any(|held| is(held, inode)) {
            // It was put back just now.
            close(file);
            return Ok(None);
        }
        match locked_in(file, path, range) {
            Ok(Some(token)) => {
                register.push(Held { process, inode, file, ranges: vec![range] });
                Ok(Some(token))
            }
            Ok(None) => {
                close(file);
                Ok(None)
            }
            Err(errno) => {
                let _ = leave(file, path);
                Err(errno)
            }
        }
    }

    /// Own locks do not stand in the way of the same open file.
    fn is_free(&self, path: &CStr, range: [u64; 2]) -> Option<bool> {
        let register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (process, inode) = (process(), inode_at(path)?);
        let held = register.iter().find(|held| (held.process, held.inode) == (process, inode))?;
        let own = held.ranges.iter().any(|other| overlap(*other, range));
        Some(!own && !is_held(held.file, range).ok()?)
    }

    /// Gives a range back that was locked in `file`, and closes that; the last
    /// to do so removes it.
    fn release(&self, file: i32, path: &CStr, range: [u64; 2]) -> Result<(), Errno> {
        let inode = inode(file);
        close(file);
        let inode = inode?;
        let mut register = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process();
        let known = register.iter().position(|held| (held.process, held.inode) == (process, inode));
        // What a fork has inherited is its parent's.
        let Some(held) = known.and_then(|place| register.get_mut(place)) else { return Ok(()) };
        let Some(place) = held.ranges.iter().position(|other| *other == range) else { return Ok(()) };
        held.ranges.swap_remove(place);
        let (file, last) = (held.file, held.ranges.is_empty());
        if last {
            register.retain(|held| held.file != file);
            leave(file, path)
        } else {
            set(file, F_UNLCK, range)
        }
    }
}

fn overlap(one: [u64; 2], other: [u64; 2]) -> bool {
    one[0] < other[0].saturating_add(other[1]) && other[0] < one[0].saturating_add(one[1])
}

/// Locks the bytes and opens the file as a path. None where it is just being
/// removed, or was removed before it was locked: it means nothing to anybody.
fn locked_in(file: i32, path: &CStr, range: [u64; 2]) -> Result<Option<i32>, Errno> {
    match set(file, F_WRLCK, range) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => {
            return if is_held(file, range)? { Err(Errno::EAGAIN) } else { Ok(None) };
        }
        Err(errno) => return Err(errno),
    }
    let flags = 0o2_000_000 | u64::from(OpenFlags::PATH.with(OpenFlags::NO_FOLLOW).0);
    let token = match openat2(Word::CWD, path, &OpenHow { flags, mode: 0, resolve: 0 }) {
        Err(Errno::ENOENT) => return Ok(None),
        token => token?,
    };
    match (inode(token), inode(file)) {
        (Ok(found), Ok(own)) if found == own => Ok(Some(token)),
        (Ok(_), Ok(_)) => {
            close(token);
            Ok(None)
        }
        (Err(errno), _) | (_, Err(errno)) => {
            close(token);
            Err(errno)
        }
    }
}

/// The file, proved to be one that only root can lock.
fn open(path: &CStr) -> Result<i32, Errno> {
    const O_CLOEXEC: u64 = 0o2_000_000;
    // O_CREAT|O_NOCTTY|O_NONBLOCK; what is no file of ours is only looked at.
    let flags = 0o100 | 0o400 | 0o4000 | O_CLOEXEC | u64::from(OpenFlags::READ_WRITE.with(OpenFlags::NO_FOLLOW).0);
    let file = openat2(Word::CWD, path, &OpenHow { flags, mode: 0o600, resolve: 0 })?;
    let proved = statx(file).and_then(|stat| if is_roots_alone(&stat) { Ok(file) } else { Err(Errno::ESTALE) });
    proved.inspect_err(|_| close(file))
}

fn is_roots_alone(stat: &Statx) -> bool {
    stat.kind() == 0o100_000 && stat.uid() == 0 && stat.mode() & 0o077 == 0 && stat.links() <= 1
}

/// Gives everything back that is locked through `file`, and closes it; the last
/// to do so removes it.
fn leave(file: i32, path: &CStr) -> Result<(), Errno> {
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
        // As two processes.
        let (ours, theirs) = (Register::new(), Register::new());
        let (low, high) = ([100, 10], [110, 10]);
        let one = ours.lock(&text, low).unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o177, found.len()), (0, 0, 0));
        for register in [&ours, &theirs] {
            assert_eq!(register.lock(&text, [105, 10]), Err(Errno::EAGAIN));
        }
        assert_eq!(theirs.is_free(&text, low), None, "it holds nothing");
        assert_eq!(
            [low, [105, 10], high].map(|range| ours.is_free(&text, range)),
            [Some(false), Some(false), Some(true)]
        );
        let two = theirs.lock(&text, high).unwrap();
        assert_eq!(ours.is_free(&text, high), Some(false), "another process's");
        ours.release(one, &text, low).unwrap();
        assert!(path.exists());
        let one = theirs.lock(&text, low).unwrap();
        // Of two that one process holds, one is given back.
        theirs.release(two, &text, high).unwrap();
        assert_eq!(ours.lock(&text, low), Err(Errno::EAGAIN));
        let two = ours.lock(&text, high).unwrap();
        theirs.release(one, &text, low).unwrap();
        assert!(path.exists());
        ours.release(two, &text, high).unwrap();
        assert!(!path.exists());
        // What a killed one has left is used, and removed.
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let one = ours.lock(&text, low).unwrap();
        // A file that was removed by hand, and made again by another.
        std::fs::remove_file(&path).unwrap();
        let two = ours.lock(&text, low).unwrap();
        ours.release(one, &text, low).unwrap();
        assert!(path.exists(), "it is not this one's any more");
        ours.release(two, &text, low).unwrap();
        assert!(!path.exists());
        assert!(ours.0.lock().unwrap().is_empty() && theirs.0.lock().unwrap().is_empty());
        clear(&path);
    }

    #[test]
    fn one_open_file_holds_all_and_tables_end_without_a_look_at_it() {
        let Some((path, text)) = place("one") else { return };
        let register = Register::new();
        let ranges: Vec<[u64; 2]> = (0..100).map(|number| [number * 20, 10]).collect();
        let files: Vec<i32> = ranges.iter().map(|range| register.lock(&text, *range).unwrap()).collect();
        assert_eq!(register.0.lock().unwrap().len(), 1);
        for file in &files {
            // Opened as a path, it cannot even be asked for a lock.
            assert_eq!(is_held(*file, [0, 1]), Err(Errno::EBADF));
        }
        for (file, range) in files.into_iter().zip(ranges) {
            register.release(file, &text, range).unwrap();
        }
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
        let registers = [const { Register::new() }; 4];
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                // Four processes of two threads.
                let (held, text) = (&held, &text);
                let register = &registers[(thread % 4) as usize];
                scope.spawn(move || {
                    for round in 0..200_u64 {
                        let first = (thread * 7 + round * 3) % 6 * 100;
                        match register.lock(text, [first, 100]) {
                            Ok(file) => {
                                assert!(held.lock().unwrap().insert(first), "{first} has two owners");
                                assert!(held.lock().unwrap().remove(&first));
                                register.release(file, text, [first, 100]).unwrap();
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
