//! File systems and mounts, by descriptors (`open_tree(2)`, `fsopen(2)`,
//! `move_mount(2)`, `mount_setattr(2)`, `pivot_root(2)`).

use core::ffi::CStr;

use super::files::{O_CLOEXEC, numbered};
use super::proof::mount_id;
use super::words::{Word, ask, done, held, tolerate};
use crate::abi::{MountAttr, TreeFlags};
use crate::errno::Errno;
use crate::kernel::Slots;
use crate::op::At;
use crate::raw::nr;

pub(super) fn open_tree(dir: Word<'_>, path: &CStr, flags: TreeFlags) -> Result<i32, Errno> {
    let flags = u64::from(flags.0) | O_CLOEXEC;
    ask(nr::OPEN_TREE, [dir, Word::text(path), Word::number(flags)]).map(|tree| tree as i32)
}

/// fsconfig(2)
pub(super) fn configure(fs: Word<'_>, command: u64, key: Word<'_>, value: Word<'_>) -> Result<(), Errno> {
    done(ask(nr::FSCONFIG, [fs, Word::number(command), key, value, Word::NULL]))
}

pub(super) fn attach(from: Word<'_>, dir: Word<'_>, path: &CStr) -> Result<(), Errno> {
    // MOVE_MOUNT_F_EMPTY_PATH, and T_EMPTY_PATH when onto the descriptor itself.
    let flags = 0x4 | if path.is_empty() { 0x40 } else { 0 };
    done(ask(nr::MOVE_MOUNT, [from, Word::text(c""), dir, Word::text(path), Word::number(flags)]))
}

pub(super) fn set(dir: Word<'_>, path: &CStr, flags: TreeFlags, attr: &MountAttr) -> Result<(), Errno> {
    let flags = Word::number(u64::from(flags.0));
    done(ask(nr::MOUNT_SETATTR, [dir, Word::text(path), flags, Word::of(attr), Word::size::<MountAttr>()]))
}

pub(super) fn unmount(dir: At, path: &CStr, slots: &Slots<'_>) -> Result<(), Errno> {
    let mut link = [0_u8; 40];
    // MNT_DETACH, and UMOUNT_NOFOLLOW but of the link in /proc that is the mount itself.
    let (path, flags) = match (dir, path.to_bytes()) {
        (At::Cwd, [b'/', ..]) => (path, 2 | 8),
        (At::Slot(top), []) => (numbered(b"/proc/self/fd/", slots.descriptor(top)? as u64, &mut link)?, 2),
        _ => return Err(Errno::EINVAL),
    };
    // EINVAL is "no mount", or none of this namespace.
    tolerate(ask(nr::UMOUNT2, [Word::text(path), Word::number(flags)]), &[Errno::EINVAL, Errno::ENOENT])
}

pub(super) fn pivot_root() -> Result<(), Errno> {
    ask(nr::PIVOT_ROOT, [Word::text(c"."), Word::text(c".")])?;
    // The new root is the working directory's mount, whatever lies over it.
    held(mount_id(c"/")? == mount_id(c".")?)
}

pub(super) fn prove_root() -> Result<(), Errno> {
    if mount_id(c"/")? == mount_id(c"/..")? { Ok(()) } else { Err(Errno::ESTALE) }
}
