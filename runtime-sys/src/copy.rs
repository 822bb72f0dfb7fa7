//! The content of one file into another, bounded.
//!
//! Compiled into the library only.

use crate::errno::Errno;
use crate::linux::{Word, ask};
use crate::raw::nr;

/// At most so many bytes a call.
const PIECE: u64 = 1 << 20;

pub(crate) fn copy(from: i32, to: i32, limit: u64) -> Result<u64, Errno> {
    let mut size = [u64::MAX; 2];
    // RLIMIT_FSIZE: a write beyond it would bring SIGXFSZ upon the embedder.
    ask(nr::PRLIMIT64, [Word::NULL, Word::number(1), Word::NULL, Word::of_mut(&mut size)])?;
    let limit = limit.min(size[0]);
    let mut ranges = true;
    let mut copied = 0_u64;
    loop {
        // Not one byte more is written; whether there is one is asked at the end.
        let room = limit.saturating_sub(copied).min(PIECE);
        let count = match if ranges && room > 0 { range(from, to, room) } else { through(from, to, room) } {
            // It cannot be, or there seems to be nothing, which of some files is
            // wrong (procfs): read and see.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EBADF | Errno::EPERM)
            | Ok(0)
                if ranges && room > 0 =>
            {
                ranges = false;
                continue;
            }
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(copied);
        }
        copied = copied.saturating_add(count);
        if copied > limit {
            return Err(Errno::EFBIG);
        }
    }
}

fn range(from: i32, to: i32, room: u64) -> Result<u64, Errno> {
    let words = [Word::descriptor(from), Word::NULL, Word::descriptor(to), Word::NULL, Word::number(room), Word::NULL];
    ask(nr::COPY_FILE_RANGE, words).map(|count| count as u64)
}

/// With no room, reads one byte only, and writes none.
fn through(from: i32, to: i32, room: u64) -> Result<u64, Errno> {
    let mut buffer = [0_u8; 32 * 1024];
    let length = room.clamp(1, buffer.len() as u64);
    let read = ask(nr::READ, [Word::descriptor(from), Word::of_mut(&mut buffer), Word::number(length)])?;
    if room == 0 {
        return Ok(read as u64);
    }
    let mut rest = buffer.get(..read).unwrap_or_default();
    while !rest.is_empty() {
        match ask(nr::WRITE, [Word::descriptor(to), Word::bytes(rest), Word::number(rest.len() as u64)]) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(read as u64)
}

/// `linux/fs.h`
const FICLONE: u64 = 0x4004_9409;

/// All of a file into an empty one; where the first has holes, so has the second.
pub(crate) fn whole(from: i32, to: i32) -> Result<(), Errno> {
    let (from_word, to_word) = (Word::descriptor(from), Word::descriptor(to));
    if ask(nr::IOCTL, [to_word, Word::number(FICLONE), from_word]).is_ok() {
        return Ok(());
    }
    // SEEK_END, SEEK_DATA, SEEK_HOLE
    let seek = |place: u64, whence: u64| ask(nr::LSEEK, [from_word, Word::number(place), Word::number(whence)]);
    let size = seek(0, 2)? as u64;
    ask(nr::FTRUNCATE, [to_word, Word::number(size)])?;
    let mut at = 0;
    while at < size {
        let (data, hole) = match seek(at, 3) {
            Ok(data) => (data as u64, seek(data as u64, 4)? as u64),
            Err(Errno::ENXIO) => break,
            // A file system that does not know.
            Err(Errno::EINVAL) => (at, size),
            Err(errno) => return Err(errno),
        };
        piece(from_word, to_word, data, hole)?;
        at = hole;
    }
    Ok(())
}

/// The bytes from `at` to `end`, by reference where that can be.
fn piece(from: Word<'_>, to: Word<'_>, mut at: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = [0_u8; 32 * 1024];
    let mut ranges = true;
    while at < end {
        let left = end - at;
        if ranges {
            let (mut source, mut target) = ([at], [at]);
            let words =
                [from, Word::of_mut(&mut source), to, Word::of_mut(&mut target), Word::number(left), Word::NULL];
            match ask(nr::COPY_FILE_RANGE, words) {
                Ok(0) | Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => ranges = false,
                Ok(count) => at += count as u64,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let length = left.min(buffer.len() as u64);
        let count = ask(nr::PREAD64, [from, Word::of_mut(&mut buffer), Word::number(length), Word::number(at)])?;
        let mut rest = buffer.get(..count).unwrap_or_default();
        if rest.is_empty() {
            // It has become shorter.
            return Ok(());
        }
        while !rest.is_empty() {
            let words = [to, Word::bytes(rest), Word::number(rest.len() as u64), Word::number(at)];
            match ask(nr::PWRITE64, words) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => {
                    at += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    /// Without a name.
    fn file(content: &[u8]) -> std::fs::File {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skep-copy-{}-{number}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn all_of_a_file_or_an_error() {
        for length in [0_usize, 1, 4096, (1 << 20) + 5] {
            let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
            for limit in [length as u64, u64::MAX] {
                let (from, mut to) = (file(&content), file(b""));
                assert_eq!(copy(from.as_raw_fd(), to.as_raw_fd(), limit), Ok(length as u64));
                let mut read = Vec::new();
                to.rewind().unwrap();
                to.read_to_end(&mut read).unwrap();
                assert!(read == content, "{length}");
            }
            if length > 0 {
                let (from, to) = (file(&content), file(b""));
                assert_eq!(copy(from.as_raw_fd(), to.as_raw_fd(), length as u64 - 1), Err(Errno::EFBIG));
                assert_eq!(to.metadata().unwrap().len(), length as u64 - 1, "nothing beyond the limit");
            }
        }
    }

    #[test]
    fn what_says_that_it_is_empty_and_is_not() {
        let from = std::fs::File::open("/proc/self/status").unwrap();
        let to = file(b"");
        assert!(copy(from.as_raw_fd(), to.as_raw_fd(), 1 << 20).unwrap() > 0);
    }
}
