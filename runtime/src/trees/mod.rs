//! Trees of the host before a start: what is done to them that no plan can say,
//! for it depends on every file in them.

mod give;
mod image;
mod journal;
mod template;

use std::ffi::CString;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, fstat};
use skep_sys::abi::Resolve;
use skep_sys::{Errno, Linux, OwnedSlots, Slot};

use crate::error::Result;
use crate::facts::{Facts, JOURNALS};
use crate::spec::Spec;

pub(crate) use give::give;
pub(crate) use image::Mounted;
pub(crate) use journal::{Journal, Wanted};

/// One name in a directory, of the same mount.
const BENEATH: Resolve =
    Resolve(Resolve::BENEATH.0 | Resolve::NO_SYMLINKS.0 | Resolve::NO_MAGICLINKS.0 | Resolve::NO_XDEV.0);

/// Kinds of files, of their modes (`inode(7)`).
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// What an open file is.
fn status(slots: &OwnedSlots, file: Slot) -> std::result::Result<FileStat, Errno> {
    let file = slots.borrow(file).ok_or(Errno::EBADF)?;
    fstat(file).map_err(|errno| Errno::from_raw(errno as u16))
}

/// The names in an open directory.
fn names_in(slots: &OwnedSlots, dir: Slot) -> std::result::Result<Vec<CString>, Errno> {
    let failed = |errno: nix::errno::Errno| Errno::from_raw(errno as u16);
    let dir = slots.borrow(dir).ok_or(Errno::EBADF)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(dir, ".", flags, Mode::empty()).map_err(failed)?;
    let names = entries.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned()).map_err(failed));
    names.filter(|name| !name.as_ref().is_ok_and(|name| matches!(name.to_bytes(), b"." | b".."))).collect()
}

/// Makes the Spec's root as a copy of its template, if nothing is there.
pub(crate) fn make_root(spec: &Spec) -> Result<()> {
    let Some(template) = &spec.root.template else { return Ok(()) };
    let made = template::make(&mut Linux::new(), template, &spec.root.path);
    made.map(drop).map_err(|error| error.from(spec.origins.of("root.template")))
}

/// What the Spec's machine needs on the host for its journal, made; where that is only
/// tried, `facts` know why it was not.
pub(crate) fn make_journal(spec: &Spec, facts: &mut Facts) -> Result<Option<Journal<Linux<'static>>>> {
    let Some((id, wanted)) = crate::compile::journal_to_make(spec, facts)? else { return Ok(None) };
    match Journal::make(Linux::new(), Path::new(JOURNALS), &id, &wanted) {
        Ok(made) => {
            facts.journal_made(&id, None);
            Ok(Some(made))
        }
        Err(error) if spec.link_journal.is_tried() => {
            facts.journal_made(&id, Some(error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error.from(spec.origins.of("link_journal"))),
    }
}

/// The file system of the Spec's disk image, if its root is one.
pub(crate) fn image_of(spec: &Spec) -> Result<Option<Mounted>> {
    if !spec.root.image {
        return Ok(None);
    }
    let mounted = image::mount(&mut Linux::new(), &spec.root.path, !spec.root.is_changed());
    mounted.map(Some).map_err(|error| error.from(spec.origins.of("root.image")))
}
