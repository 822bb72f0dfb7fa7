//! Files: opened, written, removed, each by a descriptor of what it lies in.

use core::ffi::CStr;

use super::descriptors::close;
use super::proof::statx;
use super::words::{Word, ask, done, held};
use crate::abi::{self, OpenHow};
use crate::errno::Errno;
use crate::raw::nr;

pub(super) const O_CLOEXEC: u64 = 0o2_000_000;
pub(super) const O_NOCTTY: u64 = 0o400;

/// Resolution for writes through a proved handle: nothing but plain
/// components of the same mount.
pub(super) const PROVED: u64 = 0x01 | 0x02 | 0x04 | 0x08;

pub(crate) fn openat2(dir: Word<'_>, path: &CStr, how: &OpenHow) -> Result<i32, Errno> {
    let mut tries = 0;
    loop {
        let result = ask(nr::OPENAT2, [dir, Word::text(path), Word::of(how), Word::size::<OpenHow>()]);
        match result {
            // EAGAIN: a rename elsewhere made a scoped walk uncertain (openat2(2)).
            Err(Errno::EAGAIN | Errno::EINTR) if tries < 64 => tries += 1,
            other => return other.map(|file| file as i32),
        }
    }
}

/// A device by its name in a directory of devices.
pub(crate) fn open_device(dir: i32, name: &CStr) -> Result<i32, Errno> {
    // O_RDWR
    openat2(Word::descriptor(dir), name, &OpenHow { flags: 0o2 | O_CLOEXEC | O_NOCTTY, mode: 0, resolve: PROVED })
}

pub(crate) fn open_to_write(dir: Word<'_>, path: &CStr) -> Result<i32, Errno> {
    // O_WRONLY|O_NOFOLLOW
    let no_follow = u64::from(abi::OpenFlags::NO_FOLLOW.0);
    openat2(dir, path, &OpenHow { flags: 0o1 | no_follow | O_CLOEXEC | O_NOCTTY, mode: 0, resolve: PROVED })
}

/// `prefix`, and a number in decimal.
pub(super) fn numbered<'p>(prefix: &[u8], number: u64, path: &'p mut [u8; 40]) -> Result<&'p CStr, Errno> {
    let mut digits = [0_u8; 20];
    let bytes = prefix.iter().chain(decimal(number, &mut digits));
    path.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    CStr::from_bytes_until_nul(path).map_err(|_| Errno::EINVAL)
}

pub(super) fn open_process(pid: u64) -> Result<i32, Errno> {
    let mut path = [0_u8; 40];
    let path = numbered(b"/proc/", pid, &mut path)?;
    // O_PATH|O_DIRECTORY; no link, or somebody else's /proc.
    let flags = u64::from(abi::OpenFlags::PATH.with(abi::OpenFlags::DIRECTORY).0);
    openat2(Word::CWD, path, &OpenHow { flags: flags | O_CLOEXEC, mode: 0, resolve: 0x2 | 0x4 })
}

pub(super) fn reopen(file: i32, flags: abi::OpenFlags) -> Result<i32, Errno> {
    let mut path = [0_u8; 40];
    let path = numbered(b"/proc/self/fd/", file as u64, &mut path)?;
    openat2(Word::CWD, path, &OpenHow { flags: u64::from(flags.0) | O_CLOEXEC | O_NOCTTY, mode: 0, resolve: 0 })
}

/// Writes the whole of `content` with one call: files of the kernel take
/// their value in one piece.
pub(crate) fn write_and_close(file: i32, content: &[u8]) -> Result<(), Errno> {
    let words = [Word::descriptor(file), Word::bytes(content), Word::number(content.len() as u64)];
    let written = loop {
        match if content.is_empty() { Ok(0) } else { ask(nr::WRITE, words) } {
            // Some files of cgroup v1 give up when the embedder gets a signal.
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    close(file);
    match written {
        Ok(count) if count == content.len() => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(errno) => Err(errno),
    }
}

pub(super) fn write_all(file: i32, mut content: &[u8]) -> Result<(), Errno> {
    while !content.is_empty() {
        let length = Word::number(content.len() as u64);
        match ask(nr::WRITE, [Word::descriptor(file), Word::bytes(content), length]) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => content = content.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn memfd(name: &CStr, flags: u64) -> Result<i32, Errno> {
    ask(nr::MEMFD_CREATE, [Word::text(name), Word::number(flags)]).map(|file| file as i32)
}

/// EFBIG where a file of `length` bytes is above the caller's limit: it counts
/// for memfds, and the write itself would bring SIGXFSZ upon the embedder.
pub(super) fn may_write(length: usize) -> Result<(), Errno> {
    let mut limit = [u64::MAX; 2];
    // RLIMIT_FSIZE
    let words = [Word::NULL, Word::number(1), Word::NULL, Word::of_mut(&mut limit)];
    ask(nr::PRLIMIT64, words)?;
    if length as u64 > limit[0] { Err(Errno::EFBIG) } else { Ok(()) }
}

pub(super) fn add_seals(file: i32, seals: u32) -> Result<(), Errno> {
    if seals == 0 {
        return Ok(());
    }
    let fcntl = |command, argument: u32| {
        ask(nr::FCNTL, [Word::descriptor(file), Word::number(command), Word::number(u64::from(argument))])
    };
    // F_ADD_SEALS, F_GET_SEALS
    fcntl(1033, seals)?;
    held(fcntl(1034, 0)? & seals as usize == seals as usize)
}

pub(super) fn unlink(dir: Word<'_>, path: &CStr, directory: bool) -> Result<(), Errno> {
    // AT_REMOVEDIR
    let flags = if directory { 0x200 } else { 0 };
    let mut tries = 0;
    loop {
        match ask(nr::UNLINKAT, [dir, Word::text(path), Word::number(flags)]) {
            Ok(_) | Err(Errno::ENOENT) => return Ok(()),
            // A cgroup is busy until its last process is fully gone.
            Err(Errno::EBUSY) if directory && tries < 1000 => {
                let pause = [0_u64, 1_000_000];
                let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
                tries += 1;
            }
            Err(errno) => return Err(errno),
        }
    }
}

pub(super) fn unlink_same(dir: i32, name: &CStr, file: Option<i32>) -> Result<(), Errno> {
    let flock = |how| ask(nr::FLOCK, [Word::descriptor(dir), Word::number(how)]);
    // LOCK_EX|LOCK_NB: whoever removes what is stale looks and removes under it.
    // Somebody who keeps it forever keeps nobody's name.
    let mut tries = 0;
    while flock(2 | 4) == Err(Errno::EAGAIN) && tries < 1000 {
        let pause = [0_u64, 1_000_000];
        let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
        tries += 1;
    }
    let same = match file {
        None => Ok(true),
        Some(file) => is_same(dir, name, file),
    };
    let done = match same {
        Ok(true) => unlink(Word::descriptor(dir), name, false),
        Ok(false) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    };
    // LOCK_UN
    let _ = flock(8);
    done
}

/// Whether a name in a directory is that of a file that is held.
fn is_same(dir: i32, name: &CStr, file: i32) -> Result<bool, Errno> {
    let flags = u64::from(abi::OpenFlags::PATH.with(abi::OpenFlags::NO_FOLLOW).0);
    let found = openat2(Word::descriptor(dir), name, &OpenHow { flags: flags | O_CLOEXEC, mode: 0, resolve: PROVED })?;
    let there = statx(found);
    close(found);
    Ok(there?.identity() == statx(file)?.identity())
}

/// Decimal digits of `value`, at the end of `buffer`.
pub(crate) fn decimal(value: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let (mut rest, mut start) = (value, buffer.len());
    for place in buffer.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// chdir(2), but through no magic link: `/proc/self/fd/7` would lead to whatever
/// is open just now, and a link of the image leads there too.
pub(super) fn change_directory(path: &CStr) -> Result<(), Errno> {
    // The root is on no link's way, and a payload's limit may leave no descriptor.
    if path == c"/" {
        return done(ask(nr::CHDIR, [Word::text(path)]));
    }
    let flags = u64::from(abi::OpenFlags::PATH.with(abi::OpenFlags::DIRECTORY).0) | O_CLOEXEC;
    let resolve = abi::Resolve::NO_MAGICLINKS.0;
    let dir = openat2(Word::CWD, path, &OpenHow { flags, mode: 0, resolve })?;
    let changed = done(ask(nr::FCHDIR, [Word::descriptor(dir)]));
    close(dir);
    changed?;
    let mut name = [0_u8; 16];
    let answer = ask(nr::GETCWD, [Word::of_mut(&mut name), Word::number(16)]);
    // A long name starts with '/' as well, but does not fit: ERANGE.
    // "(unreachable)" does fit up to "(unreachable)/", and a longer
    // one is told apart by walking to "/" below.
    match answer {
        Ok(_) if name.first() == Some(&b'/') => Ok(()),
        Ok(_) => Err(Errno::ELOOP),
        Err(Errno::ERANGE) => reachable(),
        Err(errno) => Err(errno),
    }
}

/// Whether the working directory lies beneath the root. A name of up to 4096
/// bytes that starts with "(" does not.
fn reachable() -> Result<(), Errno> {
    let mut name = [0_u8; 4096];
    ask(nr::GETCWD, [Word::of_mut(&mut name), Word::number(4096)])?;
    if name.first() == Some(&b'/') { Ok(()) } else { Err(Errno::ELOOP) }
}
