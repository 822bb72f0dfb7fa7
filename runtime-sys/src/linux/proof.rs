//! What a file is, asked of the kernel by its descriptor.

use core::ffi::CStr;

use super::words::{Plain, Word, ask, held};
use crate::abi;
use crate::errno::Errno;
use crate::op::Proof;
use crate::raw::nr;

/// `struct statx` up to the device numbers.
#[repr(C)]
pub(crate) struct Statx {
    pub(super) words: [u32; 64],
}
impl Plain for Statx {}

pub(crate) fn prove(file: i32, proof: Proof) -> Result<(), Errno> {
    let holds = match proof {
        Proof::FileSystem { magic } => {
            let mut answer = [0_u64; 16];
            ask(nr::FSTATFS, [Word::descriptor(file), Word::of_mut(&mut answer)])?;
            answer[0] == magic
        }
        Proof::Inode { device, inode } => statx(file)?.identity() == [device, inode],
        Proof::CharDevice { major, minor } => {
            let stat = statx(file)?;
            stat.kind() == 0o020_000 && stat.words[32] == major && stat.words[33] == minor
        }
        Proof::BlockDevice { major, minor } => {
            let stat = statx(file)?;
            stat.kind() == 0o060_000 && stat.words[32] == major && stat.words[33] == minor
        }
        Proof::Passable => {
            // F_GETFL, O_PATH
            let flags = ask(nr::FCNTL, [Word::descriptor(file), Word::number(3), Word::NULL])?;
            flags & abi::OpenFlags::PATH.0 as usize == 0 && statx(file)?.kind() != 0o040_000
        }
        Proof::Namespace { kind } => {
            let mut answer = [0_u64; 16];
            ask(nr::FSTATFS, [Word::descriptor(file), Word::of_mut(&mut answer)])?;
            // NSFS_MAGIC first: on other files the number may mean something else.
            answer[0] == 0x6e73_6673 && ask(nr::IOCTL, [Word::descriptor(file), Word::number(0xb703)])? as u64 == kind.0
        }
        Proof::OwnDirectory { uid, private } => {
            let (stat, others) = (statx(file)?, if private { 0o077 } else { 0o022 });
            stat.kind() == 0o040_000 && stat.uid() == uid && stat.mode() & others == 0
        }
        Proof::OwnedByRoot => {
            let stat = statx(file)?;
            stat.kind() == 0o100_000 && stat.uid() == 0 && stat.mode() & 0o022 == 0
        }
    };
    if holds { Ok(()) } else { Err(Errno::ESTALE) }
}

impl Statx {
    #[cfg(not(skep_stage))]
    pub(crate) const fn links(&self) -> u32 {
        self.words[4]
    }
    /// Major and minor number of the device that it is.
    #[cfg(not(skep_stage))]
    pub(crate) const fn device_number(&self) -> [u32; 2] {
        [self.words[32], self.words[33]]
    }
    pub(crate) const fn uid(&self) -> u32 {
        self.words[5]
    }
    /// `stx_mode` is the low half of the word after `stx_gid`.
    pub(crate) const fn mode(&self) -> u32 {
        self.words[7] & 0xffff
    }
    pub(crate) const fn kind(&self) -> u32 {
        self.mode() & 0o170_000
    }
    /// Device and inode: the same for two descriptors of one file.
    pub(crate) const fn identity(&self) -> [u64; 2] {
        [makedev(self.words[34], self.words[35]), self.words[8] as u64 | (self.words[9] as u64) << 32]
    }
}

pub(crate) fn statx(file: i32) -> Result<Statx, Errno> {
    // AT_EMPTY_PATH
    statx_at(Word::descriptor(file), c"", 0x1000)
}

pub(crate) fn statx_at(dir: Word<'_>, path: &CStr, flags: u64) -> Result<Statx, Errno> {
    let mut stat = Statx { words: [0; 64] };
    // STATX_BASIC_STATS
    ask(nr::STATX, [dir, Word::text(path), Word::number(flags), Word::number(0x7ff), Word::of_mut(&mut stat)])?;
    Ok(stat)
}

/// The mount that a path leads to.
pub(super) fn mount_id(path: &CStr) -> Result<[u32; 2], Errno> {
    let mut stat = Statx { words: [0; 64] };
    // STATX_MNT_ID, since Linux 5.8; stx_mnt_id follows the devices.
    ask(nr::STATX, [Word::CWD, Word::text(path), Word::NULL, Word::number(0x1000), Word::of_mut(&mut stat)])?;
    if stat.words[0] & 0x1000 != 0 { Ok([stat.words[36], stat.words[37]]) } else { Err(Errno::ESTALE) }
}

pub(super) const fn makedev(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | ((major & 0xfff) << 8)) as u64 | ((minor & !0xff) as u64) << 12
}

/// Whether a filter is in force: a call that it answers with an error is made, and
/// nobody else answers so. EPERM where the call that installed it was answered, and
/// not made; nothing can be told of a filter that lets this one through.
pub(super) fn in_force(program: &[u8]) -> Result<(), Errno> {
    // No operation of keyctl(2): EOPNOTSUPP, or ENOSYS without keyrings.
    const NONE: u64 = u32::MAX as u64;
    let answer = crate::filter::answer(program, nr::KEYCTL, [NONE, 0, 0, 0, 0, 0]);
    // SECCOMP_RET_ERRNO; an error of 0 is a success.
    let refusal = Errno::from_raw(answer as u16);
    if answer & 0xffff_0000 != 0x0005_0000 || refusal == Errno::from_raw(0) {
        return Ok(());
    }
    held(ask(nr::KEYCTL, [Word::number(NONE), Word::NULL, Word::NULL, Word::NULL, Word::NULL]) == Err(refusal))
}

/// Whether the nth of the six names of `uname(2)` is this one.
pub(super) fn is_named(nth: usize, name: &CStr) -> Result<bool, Errno> {
    let mut names = [[0_u8; 65]; 6];
    ask(nr::UNAME, [Word::of_mut(&mut names)])?;
    Ok(names.get(nth).and_then(|text| CStr::from_bytes_until_nul(text).ok()) == Some(name))
}
