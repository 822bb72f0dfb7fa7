//! Cgroups as a whole: killed, removed, frozen.
//!
//! Compiled into stage B as well, for the watcher: no allocation, no panic.
//! Sources: cgroups(7); kernel `admin-guide/cgroup-v2.rst`,
//! `admin-guide/cgroup-v1/freezer-subsystem.rst`.

use core::ffi::CStr;
use core::ops::Range;

use crate::abi::{OpenHow, fs_magic};
use crate::errno::Errno;
use crate::linux::{Word, ask, close, open_to_write, openat2, write_and_close};
use crate::raw::nr;

/// An open directory, closed when dropped.
struct Directory(i32);

impl Drop for Directory {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC
const FLAGS: u64 = 0o200_000 | 0o400_000 | 0o2_000_000;
/// How often something is tried again, a millisecond apart.
const TRIES: u32 = 1000;
/// How many groups one removal takes away.
const GROUPS: u32 = 100_000;
/// How deep groups are looked for processes.
const DEPTH: u32 = 32;

/// A group, and whether it is one of v2. ESTALE where the path leads to
/// something else than a directory of a cgroup file system.
fn open(dir: Word<'_>, path: &CStr) -> Result<(Directory, bool), Errno> {
    // No link on the way (RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS).
    let group = Directory(openat2(dir, path, &OpenHow { flags: FLAGS, mode: 0, resolve: 0x2 | 0x4 })?);
    let unified = is_unified(group.0)?;
    Ok((group, unified))
}

fn is_unified(group: i32) -> Result<bool, Errno> {
    let mut answer = [0_u64; 16];
    ask(nr::FSTATFS, [Word::descriptor(group), Word::of_mut(&mut answer)])?;
    match answer[0] {
        fs_magic::CGROUP2 => Ok(true),
        fs_magic::CGROUP => Ok(false),
        _ => Err(Errno::ESTALE),
    }
}

/// An entry of the same file system, beneath `dir` (RESOLVE_BENEATH too).
fn below(dir: &Directory, name: &CStr) -> Result<Directory, Errno> {
    let how = OpenHow { flags: FLAGS, mode: 0, resolve: 0x1 | 0x2 | 0x4 | 0x8 };
    openat2(Word::descriptor(dir.0), name, &how).map(Directory)
}

/// What `getdents64(2)` gave, one piece at a time.
type Entries = [u8; 2048];

/// The directories in a directory, one after another.
struct Children<'d> {
    dir: &'d Directory,
    entries: Entries,
    /// Of the entries, what has not been looked at.
    left: Range<usize>,
}

impl<'d> Children<'d> {
    // Zeroed in one place: the address of `memset`, kept in a register for several,
    // would be a call of a computed address, of which stage B has none.
    #[inline(never)]
    const fn of(dir: &'d Directory) -> Self {
        Self { dir, entries: [0; 2048], left: 0..0 }
    }

    fn next(&mut self) -> Result<Option<&CStr>, Errno> {
        let Some(name) = self.find()? else { return Ok(None) };
        Ok(self.entries.get(name).and_then(|name| CStr::from_bytes_until_nul(name).ok()))
    }

    /// Where the name of the next one is.
    fn find(&mut self) -> Result<Option<Range<usize>>, Errno> {
        loop {
            if self.left.is_empty() {
                let words = [Word::descriptor(self.dir.0), Word::of_mut(&mut self.entries), Word::number(2048)];
                self.left = 0..ask(nr::GETDENTS64, words)?;
            }
            let Range { start, end } = self.left;
            // struct linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name.
            let rest = self.entries.get(start..end).unwrap_or_default();
            let Some([low, high, kind]) = rest.get(16..19) else { return Ok(None) };
            let size = usize::from(u16::from_ne_bytes([*low, *high])).max(19);
            self.left.start = start.saturating_add(size).min(end);
            let name = rest.get(19..size).and_then(|name| CStr::from_bytes_until_nul(name).ok());
            // DT_DIR
            if *kind == 4 && name.is_some_and(|name| name != c"." && name != c"..") {
                return Ok(Some(start.saturating_add(19)..start.saturating_add(size)));
            }
        }
    }
}

pub(crate) fn pause() {
    let millisecond = [0_u64, 1_000_000];
    let _ = ask(nr::NANOSLEEP, [Word::of(&millisecond), Word::NULL]);
}

/// Removes a group with all below it, the deepest first. One that is busy (its
/// last process is just dying) is tried again, for a second in all.
pub(crate) fn remove(dir: Word<'_>, path: &CStr) -> Result<(), Errno> {
    let (mut tries, mut groups) = (0, 0);
    loop {
        let removed = match open(dir, path) {
            Ok((top, _)) => match remove_below(top) {
                // AT_REMOVEDIR
                Ok(false) => ask(nr::UNLINKAT, [dir, Word::text(path), Word::number(0x200)]).map(|_| true),
                Ok(true) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(errno) => Err(errno),
        };
        match removed {
            Ok(true) | Err(Errno::ENOENT) => return Ok(()),
            Ok(false) if groups < GROUPS => groups += 1,
            Ok(false) => return Err(Errno::EBUSY),
            Err(Errno::EBUSY) if tries < TRIES => {
                pause();
                tries += 1;
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes one group below `top` that has none below itself; whether there was
/// one.
fn remove_below(top: Directory) -> Result<bool, Errno> {
    let (mut at, mut found) = (top, false);
    loop {
        let mut children = Children::of(&at);
        let Some(name) = children.next()? else { return Ok(found) };
        let child = below(&at, name)?;
        found = true;
        if Children::of(&child).next()?.is_some() {
            // Looked at from its beginning again.
            ask(nr::LSEEK, [Word::descriptor(child.0), Word::NULL, Word::NULL])?;
            at = child;
            continue;
        }
        ask(nr::UNLINKAT, [Word::descriptor(at.0), Word::text(name), Word::number(0x200)])?;
        return Ok(true);
    }
}

/// Kills every process of a group and of those below it.
pub(crate) fn kill(dir: Word<'_>, path: &CStr) -> Result<(), Errno> {
    let (group, unified) = match open(dir, path) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    if unified {
        // Linux 5.14. Also what is frozen.
        return write(group.0, c"cgroup.kill", b"1");
    }
    // A process that is frozen neither forks nor ends: what is read is true
    // until it is thawed, and nothing escapes. What cannot be frozen (an
    // uninterruptible sleep) cannot fork meanwhile either.
    for _ in 0..10 {
        write(group.0, c"freezer.state", b"FROZEN")?;
        for _ in 0..TRIES / 10 {
            if reads(group.0, c"freezer.state", b"FROZEN")? {
                break;
            }
            pause();
        }
        let killed = kill_each(&group, DEPTH);
        write(group.0, c"freezer.state", b"THAWED")?;
        if !killed? {
            return Ok(());
        }
        pause();
    }
    Err(Errno::EBUSY)
}

/// Sends SIGKILL to each process of a group and of those below it; whether
/// there was one.
fn kill_each(group: &Directory, depth: u32) -> Result<bool, Errno> {
    let mut found = false;
    // O_RDONLY|O_CLOEXEC, beneath, no link.
    let how = OpenHow { flags: 0o2_000_000, mode: 0, resolve: 0x1 | 0x2 | 0x4 | 0x8 };
    let list = Directory(openat2(Word::descriptor(group.0), c"cgroup.procs", &how)?);
    let (mut piece, mut pid) = ([0_u8; 1024], 0_u32);
    loop {
        let length = ask(nr::READ, [Word::descriptor(list.0), Word::of_mut(&mut piece), Word::number(1024)])?;
        if length == 0 {
            break;
        }
        for byte in piece.get(..length).unwrap_or_default() {
            match byte {
                b'0'..=b'9' => pid = pid.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')),
                _ => {
                    // 0 is a process that this pid namespace does not see.
                    if pid > 1 {
                        found = true;
                        match ask(nr::KILL, [Word::number(u64::from(pid)), Word::number(9)]) {
                            Ok(_) | Err(Errno::ESRCH) => {}
                            Err(errno) => return Err(errno),
                        }
                    }
                    pid = 0;
                }
            }
        }
    }
    if depth > 0 {
        let mut children = Children::of(group);
        while let Some(child) = children.next()? {
            found |= kill_each(&below(group, child)?, depth - 1)?;
        }
    }
    Ok(found)
}

fn write(group: i32, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    write_and_close(open_to_write(Word::descriptor(group), name)?, value)
}

/// Whether a file holds a line that is `wanted`.
fn reads(group: i32, name: &CStr, wanted: &[u8]) -> Result<bool, Errno> {
    let how = OpenHow { flags: 0o2_000_000, mode: 0, resolve: 0x1 | 0x2 | 0x4 | 0x8 };
    let file = Directory(openat2(Word::descriptor(group), name, &how)?);
    holds(&file, wanted)
}

fn holds(file: &Directory, wanted: &[u8]) -> Result<bool, Errno> {
    let mut text = [0_u8; 256];
    let words = [Word::descriptor(file.0), Word::of_mut(&mut text), Word::number(256), Word::NULL];
    let length = ask(nr::PREAD64, words)?;
    let text = text.get(..length).unwrap_or_default();
    Ok(text.split(|byte| *byte == b'\n').any(|line| line == wanted))
}

/// Freezes or thaws a group with all below it, and waits until that is so, at
/// most `timeout_ms`. A group that cannot be frozen in time is thawed again:
/// ETIMEDOUT, and nothing stays half frozen.
#[cfg(not(skep_stage))]
pub(crate) fn freeze(group: i32, on: bool, timeout_ms: u32) -> Result<(), Errno> {
    let (file, state, word, back): (_, _, &[u8], &[u8]) = match (is_unified(group)?, on) {
        (true, true) => (c"cgroup.freeze", c"cgroup.events", b"1", b"0"),
        (true, false) => (c"cgroup.freeze", c"cgroup.events", b"0", b"0"),
        (false, true) => (c"freezer.state", c"freezer.state", b"FROZEN", b"THAWED"),
        (false, false) => (c"freezer.state", c"freezer.state", b"THAWED", b"THAWED"),
    };
    let wanted: &[u8] = match word {
        b"1" => b"frozen 1",
        b"0" => b"frozen 0",
        other => other,
    };
    write(group, file, word)?;
    let mut left = timeout_ms;
    let reached = loop {
        match reads(group, state, wanted) {
            Ok(false) if left > 0 => {}
            Ok(false) => break Err(Errno::ETIMEDOUT),
            Ok(true) => break Ok(()),
            Err(errno) => break Err(errno),
        }
        pause();
        left -= 1;
        // v1 may overlook a process that was forked meanwhile.
        if left.is_multiple_of(16) && wanted == b"FROZEN" {
            let _ = write(group, file, word);
        }
    };
    if reached.is_err() && on {
        write(group, file, back)?;
    }
    reached
}
