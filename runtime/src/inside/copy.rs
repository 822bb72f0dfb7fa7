//! Copies between the host and a container, bounded, over descriptors.
//!
//! Of what is copied every entry is opened by its name in a directory that is
//! held open, as a handle only, and no link is followed; then it is looked at, and
//! that very file opened again. What is made is new: under a name that nobody
//! knows, and at the end one rename gives it its own, or takes it back.

use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, fstat};
use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::{At, Errno, Kernel as _, Linux, Op, OwnedSlots, Slot};

use super::{FILE, Hand, MADE, c_path, find, root};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Registrar;
use crate::registry::left::{copy_name, is_left_copy};

/// The bounds of a copy, and to whom belongs what it makes.
///
/// ```no_run
/// # fn run(container: &skep::Container) -> skep::Result<()> {
/// let options = skep::CopyOptions::new().bytes(64 << 20).owner(1000, 1000);
/// let copied = container.copy_in("input", "/work/input", &options)?;
/// println!("{} entries, {} bytes", copied.entries, copied.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyOptions {
    depth: u16,
    entries: u64,
    bytes: u64,
    owner: Option<(u32, u32)>,
    set_id: bool,
}

/// What a copy came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Copied {
    /// Files, directories and links, the one that was named included.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { depth: 32, entries: 65_536, bytes: 4 << 30, owner: None, set_id: false }
    }
}

impl CopyOptions {
    /// At most 32 directories deep, 65 536 entries, 4 GiB; nothing with set-id
    /// bits, and inside all is root's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many directories may lie in each other, the one that is copied
    /// included: 0 for a single file, at most 128. Each takes up to six
    /// descriptors while the copy is in it.
    #[must_use]
    pub fn depth(mut self, most: u16) -> Self {
        self.depth = most.min(128);
        self
    }

    /// How many files, directories and links together.
    #[must_use]
    pub const fn entries(mut self, most: u64) -> Self {
        self.entries = most;
        self
    }

    /// How many bytes of all files together. A hole counts as the zeros that it
    /// reads as, and becomes them.
    #[must_use]
    pub const fn bytes(mut self, most: u64) -> Self {
        self.bytes = most;
        self
    }

    /// To whom belongs what is copied *in*, as the container counts ids; its
    /// root without this.
    #[must_use]
    pub const fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Files that are copied *in* keep set-user-id and set-group-id bits. What is
    /// copied out never has any.
    #[must_use]
    pub const fn keep_set_id(mut self, keep: bool) -> Self {
        self.set_id = keep;
        self
    }
}

/// A container, and the path in it.
type Place<'a> = (BorrowedFd<'a>, u32, &'a Path);

pub(crate) fn copy_in(host: &Path, (pidfd, pid, path): Place<'_>, options: &CopyOptions) -> Result<Copied> {
    let source = at_host(host, false)?;
    let (parent, name) = split(path)?;
    let (process, root) = root(pidfd, pid)?;
    let mut hand = Hand::of(pidfd, &process)?;
    let directory = find(&mut hand, root.as_fd(), parent, true)?;
    // Modes as they are; the container's root decides about them anyway.
    let mask = if options.set_id { 0o6777 } else { 0o777 };
    let copy = Copy::new(Hand::Own, hand, options, options.owner, mask, true);
    copy.whole(&source, (host, path), directory.as_fd(), &name)
}

pub(crate) fn copy_out((pidfd, pid, path): Place<'_>, host: &Path, options: &CopyOptions) -> Result<Copied> {
    let (parent, name) = split(host)?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = at_host(parent, true)?;
    let (process, root) = root(pidfd, pid)?;
    let mut hand = Hand::of(pidfd, &process)?;
    let source = find(&mut hand, root.as_fd(), path, false)?;
    // What the container says of others' rights is not for the host.
    let copy = Copy::new(hand, Hand::Own, options, None, 0o755, false);
    copy.whole(&source, (path, host), directory.as_fd(), &name)
}

/// The caller's own path, walked as any.
fn at_host(path: &Path, directory: bool) -> Result<OwnedFd> {
    let failed = |errno| Error::system(format!("open {}", path.display()), errno);
    let flags = if directory { OpenFlags::PATH.with(OpenFlags::DIRECTORY) } else { OpenFlags::PATH };
    let open = Op::OpenAt2 { dir: At::Cwd, path: &c_path(path)?, flags, mode: 0, resolve: Resolve::NONE, into: MADE };
    let mut slots = OwnedSlots::new(2);
    Linux::new().call(&open, &mut slots.slots()).map_err(failed)?;
    slots.take(MADE).ok_or_else(|| failed(Errno::EBADF))
}

/// The directory and the name of what is to be made.
fn split(path: &Path) -> Result<(&Path, CString)> {
    let bad = || {
        let what = format!("{} names nothing that could be made", path.display());
        Error::new(ErrorKind::InvalidSpec, what).remedy("It must end in the name that the copy is to have.")
    };
    let ends = path.as_os_str().as_bytes().ends_with(b"/") || path.as_os_str().as_bytes().ends_with(b"/.");
    match path.components().next_back() {
        Some(Component::Normal(name)) if !ends => Ok((path.parent().ok_or_else(bad)?, c_path(Path::new(name))?)),
        _ => Err(bad()),
    }
}

/// One copy under way.
struct Copy<'o> {
    from: Hand,
    to: Hand,
    options: &'o CopyOptions,
    owner: Option<(u32, u32)>,
    /// The bits of a mode that are kept.
    mask: u32,
    inward: bool,
    done: Copied,
}

/// What [`Copy::entry`] makes a copy of.
struct Source<'s> {
    file: &'s OwnedFd,
    /// For errors, and links: below the one that was named.
    path: &'s Path,
    depth: u16,
}

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// One name in a directory: no link, and of the same mount.
const ENTRY: Resolve =
    Resolve(Resolve::BENEATH.0 | Resolve::NO_SYMLINKS.0 | Resolve::NO_MAGICLINKS.0 | Resolve::NO_XDEV.0);

impl<'o> Copy<'o> {
    fn new(from: Hand, to: Hand, options: &'o CopyOptions, owner: Option<(u32, u32)>, mask: u32, inward: bool) -> Self {
        Self { from, to, options, owner, mask, inward, done: Copied::default() }
    }

    /// An error of the side that is read, or of the one that is written.
    fn failed(&self, what: &str, path: &Path, reading: bool, errno: Errno) -> Error {
        let inside = if reading == self.inward { "" } else { " in the container" };
        let error = Error::system(format!("{what} {}{inside}", path.display()), errno);
        match errno {
            Errno::EXDEV if reading => error.remedy("It is a mount of its own: name it, to copy it."),
            Errno::EROFS => error.remedy("It is read-only there."),
            Errno::EINVAL if what == "chown" => error.remedy("The ids must be mapped in the container."),
            _ => error,
        }
    }

    fn whole(mut self, file: &OwnedFd, paths: (&Path, &Path), dir: BorrowedFd<'_>, name: &CStr) -> Result<Copied> {
        let (path, target) = paths;
        let here = Registrar::look();
        self.clear(dir, &here);
        let temporary = temporary(&here)?;
        let is_directory = stat_of(file).is_ok_and(|stat| stat.st_mode & KIND == DIRECTORY);
        let made = self.entry(&Source { file, path, depth: 0 }, dir, &temporary).and_then(|()| {
            let rename = Op::Rename { dir: At::Slot(FILE), from: &temporary, to: name, replace: !is_directory };
            self.to.call(dir, &rename).map_err(|errno| {
                let error = self.failed("name the copy", target, false, errno);
                match errno {
                    Errno::EEXIST | Errno::EISDIR => error.remedy(
                        "It is there already: a file replaces a file, but nothing replaces a directory, and a directory nothing.",
                    ),
                    Errno::EBUSY => error.remedy("It is a mount of its own, and a name that is mounted on stays."),
                    _ => error,
                }
            })
        });
        match made {
            Ok(_) => Ok(self.done),
            Err(error) => {
                let mut budget = self.done.entries.saturating_mul(2).saturating_add(16);
                let left = self.remove(dir, &temporary, 0, &mut budget).err().map(|errno| {
                    let parent = target.parent().unwrap_or(target);
                    self.failed("remove", &parent.join(temporary.to_string_lossy().as_ref()), false, errno)
                });
                Err(error.leaving(left.into_iter().collect()))
            }
        }
    }

    /// What copies have left there whose makers were killed. What cannot be read or
    /// removed stays: it is in nobody's way.
    fn clear(&mut self, dir: BorrowedFd<'_>, here: &Registrar) {
        const NAMES: u64 = 4096;
        let Ok((_, names)) = read(&mut self.to, dir, NAMES) else { return };
        for name in names.iter().filter(|name| name.to_str().is_ok_and(|name| is_left_copy(name, here))) {
            let mut budget = self.options.entries;
            let _ = self.remove(dir, name, 0, &mut budget);
        }
    }

    fn count(&mut self, source: &Source<'_>) -> Result<()> {
        self.done.entries += 1;
        if self.done.entries > self.options.entries {
            return Err(too_much(source, format!("of more than {} entries", self.options.entries), "entries"));
        }
        Ok(())
    }

    fn entry(&mut self, source: &Source<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        self.count(source)?;
        let stat = stat_of(source.file).map_err(|errno| self.failed("look at", source.path, true, errno))?;
        match stat.st_mode & KIND {
            REGULAR => self.file(source, &stat, dir, name),
            DIRECTORY => self.directory(source, &stat, dir, name),
            LINK => self.link(source, dir, name),
            kind => {
                let kind = match kind {
                    0o010_000 => "a FIFO",
                    0o140_000 => "a socket",
                    _ => "a device",
                };
                let what = format!("{} is {kind}: files, directories and links are copied", source.path.display());
                Err(Error::new(ErrorKind::SafetyViolation, what))
            }
        }
    }

    fn file(&mut self, source: &Source<'_>, stat: &FileStat, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let left = self.options.bytes.saturating_sub(self.done.bytes);
        let beyond = |bytes| too_much(source, format!("beyond the {bytes} bytes of a copy"), "bytes");
        if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > left {
            return Err(beyond(self.options.bytes));
        }
        let reopen = Op::Reopen { file: FILE, flags: OpenFlags::NON_BLOCK, into: MADE };
        let from = self.from.open(source.file.as_fd(), &reopen);
        let from = from.map_err(|errno| self.failed("open", source.path, true, errno))?;
        let flags = OpenFlags::WRITE.with(OpenFlags::CREATE).with(OpenFlags::EXCLUSIVE).with(OpenFlags::NO_FOLLOW);
        let create = Op::OpenAt2 { dir: At::Slot(FILE), path: name, flags, mode: 0o600, resolve: ENTRY, into: MADE };
        let to = self.to.open(dir, &create);
        let to = to.map_err(|errno| self.failed("make a copy of", source.path, false, errno))?;
        let mut slots = OwnedSlots::new(3);
        let twin = to
            .try_clone()
            .map_err(|error| self.failed("copy", source.path, false, crate::watcher::errno_of(&error)))?;
        slots.give(Slot(0), from);
        slots.give(Slot(1), twin);
        let copy = Op::CopyRest { from: Slot(0), to: Slot(1), limit: left, into: Slot(2) };
        Linux::new().call(&copy, &mut slots.slots()).map_err(|errno| match errno {
            Errno::EFBIG => beyond(self.options.bytes),
            // Which of the two it was, is not known; a limit of space is the target's.
            other => self.failed("copy", source.path, true, other),
        })?;
        self.done.bytes = self.done.bytes.saturating_add(slots.value(Slot(2)).unwrap_or(0));
        self.finish(source, &to, stat.st_mode & self.mask)
    }

    fn directory(&mut self, source: &Source<'_>, stat: &FileStat, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        if source.depth >= self.options.depth {
            return Err(too_much(source, format!("deeper than {} directories", self.options.depth), "depth"));
        }
        let mkdir = Op::Mkdir { dir: At::Slot(FILE), name, mode: 0o700, exist_ok: false };
        self.to.call(dir, &mkdir).map_err(|errno| self.failed("make a copy of", source.path, false, errno))?;
        let made = list(&mut self.to, dir, name, 1);
        let (made, inside) = made.map_err(|errno| self.failed("open the copy of", source.path, false, errno))?;
        // What has the name by now could be another's: then it is not empty, or
        // nothing is lost.
        if !inside.is_empty() {
            return Err(self.failed("open the copy of", source.path, false, Errno::ESTALE));
        }
        let left = self.options.entries.saturating_sub(self.done.entries);
        let (from, names) = read(&mut self.from, source.file.as_fd(), left)
            .map_err(|errno| self.failed("read", source.path, true, errno))?;
        for entry in names {
            let path = source.path.join(std::ffi::OsStr::from_bytes(entry.to_bytes()));
            let flags = OpenFlags::PATH.with(OpenFlags::NO_FOLLOW);
            let open = Op::OpenAt2 { dir: At::Slot(FILE), path: &entry, flags, mode: 0, resolve: ENTRY, into: MADE };
            let file = match self.from.open(from.as_fd(), &open) {
                Ok(file) => file,
                // Gone since.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(self.failed("open", &path, true, errno)),
            };
            self.entry(&Source { file: &file, path: &path, depth: source.depth + 1 }, made.as_fd(), &entry)?;
        }
        // No set-id bit of a directory: it would pass on the group.
        self.finish(source, &made, stat.st_mode & self.mask & 0o777)
    }

    /// A link as it is; followed by nothing here.
    fn link(&mut self, source: &Source<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let target = readlinkat(source.file, "")
            .map_err(|errno| self.failed("read the link", source.path, true, Errno::from_raw(errno as u16)))?;
        if !self.inward && !stays(Path::new(&target), source.depth) {
            let what = format!("{} is a link that leads out of what is copied", source.path.display());
            return Err(Error::new(ErrorKind::SafetyViolation, what)
                .remedy("On the host it would lead to a file of the host: copy what you need of it by name."));
        }
        let target = c_path(Path::new(&target))?;
        let make = Op::Symlink { target: &target, dir: At::Slot(FILE), name };
        self.to.call(dir, &make).map_err(|errno| self.failed("make a copy of", source.path, false, errno))?;
        if let Some((uid, gid)) = self.owner {
            let flags = OpenFlags::PATH.with(OpenFlags::NO_FOLLOW);
            let open = Op::OpenAt2 { dir: At::Slot(FILE), path: name, flags, mode: 0, resolve: ENTRY, into: MADE };
            let made = self.to.open(dir, &open);
            let owned = made.and_then(|made| self.to.call(made.as_fd(), &Op::Chown { file: FILE, uid, gid }));
            owned.map_err(|errno| self.failed("chown", source.path, false, errno))?;
        }
        Ok(())
    }

    /// Owner and mode, of what has its content.
    fn finish(&mut self, source: &Source<'_>, made: &OwnedFd, mode: u32) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            let chown = Op::Chown { file: FILE, uid, gid };
            self.to.call(made.as_fd(), &chown).map_err(|errno| self.failed("chown", source.path, false, errno))?;
        }
        let chmod = Op::Chmod { file: FILE, mode };
        self.to.call(made.as_fd(), &chmod).map_err(|errno| self.failed("chmod", source.path, false, errno))?;
        Ok(())
    }

    /// What a copy that failed has made. Whoever adds to it meanwhile does not
    /// keep this busy for ever.
    fn remove(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        depth: u16,
        budget: &mut u64,
    ) -> std::result::Result<(), Errno> {
        *budget = budget.checked_sub(1).ok_or(Errno::ENOTEMPTY)?;
        let unlink = |directory| Op::Unlink { dir: At::Slot(FILE), path: name, directory };
        match self.to.call(dir, &unlink(false)) {
            Err(Errno::EISDIR) if depth <= self.options.depth => {}
            other => return other.map(drop),
        }
        let (inside, names) = list(&mut self.to, dir, name, *budget)?;
        for entry in names {
            self.remove(inside.as_fd(), &entry, depth + 1, budget)?;
        }
        self.to.call(dir, &unlink(true)).map(drop)
    }
}

fn too_much(source: &Source<'_>, what: String, limit: &str) -> Error {
    Error::new(ErrorKind::TooMuch, format!("{} is {what}", source.path.display()))
        .remedy(format!("Allow more (CopyOptions::{limit}), or copy it in parts."))
}

fn stat_of(file: &OwnedFd) -> std::result::Result<FileStat, Errno> {
    fstat(file).map_err(|errno| Errno::from_raw(errno as u16))
}

/// A name that nobody knows beforehand, and that says whose it is.
fn temporary(here: &Registrar) -> Result<CString> {
    c_path(Path::new(&copy_name(RandomState::new().build_hasher().finish(), here)))
}

/// A directory by its name in another, and up to `most` of its names.
fn list(
    hand: &mut Hand,
    dir: BorrowedFd<'_>,
    name: &CStr,
    most: u64,
) -> std::result::Result<(OwnedFd, Vec<CString>), Errno> {
    let flags = OpenFlags::PATH.with(OpenFlags::DIRECTORY).with(OpenFlags::NO_FOLLOW);
    let open = Op::OpenAt2 { dir: At::Slot(FILE), path: name, flags, mode: 0, resolve: ENTRY, into: MADE };
    let found = hand.open(dir, &open)?;
    read(hand, found.as_fd(), most)
}

/// An open directory, and of its names up to `most` and one.
fn read(hand: &mut Hand, found: BorrowedFd<'_>, most: u64) -> std::result::Result<(OwnedFd, Vec<CString>), Errno> {
    let reopen = Op::Reopen { file: FILE, flags: OpenFlags::DIRECTORY, into: MADE };
    let open = hand.open(found, &reopen)?;
    let twin = open.try_clone().map_err(|error| crate::watcher::errno_of(&error))?;
    let failed = |errno: nix::Error| Errno::from_raw(errno as u16);
    let mut entries = nix::dir::Dir::from_fd(twin).map_err(failed)?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        names.push(name.to_owned());
        if names.len() as u64 > most {
            break;
        }
    }
    Ok((open, names))
}

/// Whether a link at this depth of a copied tree leads into the tree, whatever
/// other such links there are: it is relative, climbs first and no further than
/// to the top, and does not climb again.
fn stays(target: &Path, depth: u16) -> bool {
    let above: PathBuf = target.components().take_while(|part| matches!(part, Component::ParentDir)).collect();
    let climbs = above.components().count();
    let again = target.components().skip(climbs).any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    // At depth 1 it lies in the directory that is copied.
    !again && climbs < usize::from(depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_stay_in_the_tree() {
        for (target, depth, is) in [
            ("a", 1, true),
            ("a/b", 1, true),
            (".", 1, true),
            ("./a", 1, true),
            ("..", 1, false),
            ("../a", 2, true),
            ("..", 2, true),
            ("../..", 2, false),
            ("../../a", 3, true),
            ("a/..", 3, false),
            ("./../a", 2, false),
            ("/", 9, false),
            ("/etc", 9, false),
            ("a", 0, false),
        ] {
            assert_eq!(stays(Path::new(target), depth), is, "{target} at {depth}");
        }
    }

    proptest::proptest! {
        /// Against a tree of real directories: however links that are let through
        /// are chained, the end lies in the tree.
        #[test]
        fn no_chain_of_links_leads_out(
            links in proptest::collection::vec(("[a-c./]{0,9}", 0_u8..3), 1..6),
            walk in "[a-c0-5/]{0,12}",
        ) {
            use std::collections::BTreeMap;
            // Directories /, /a, /a/b; links are named by their number.
            let homes: [&[&str]; 3] = [&[], &["a"], &["a", "b"]];
            let mut tree: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
            for home in homes {
                tree.insert(home.iter().map(|&part| part.to_owned()).collect(), None);
            }
            for (number, (target, home)) in links.iter().enumerate() {
                let home = homes[usize::from(*home)];
                if stays(Path::new(target), home.len() as u16 + 1) {
                    let mut place: Vec<String> = home.iter().map(|&part| part.to_owned()).collect();
                    place.push(number.to_string());
                    tree.insert(place, Some(target.clone()));
                }
            }
            let mut at: Vec<String> = Vec::new();
            let mut rest: Vec<String> = walk.split('/').rev().map(str::to_owned).collect();
            let mut steps = 0;
            while let Some(part) = rest.pop() {
                steps += 1;
                if steps > 200 {
                    break;
                }
                match part.as_str() {
                    "" | "." => continue,
                    ".." => {
                        proptest::prop_assert!(at.pop().is_some(), "it led out");
                        continue;
                    }
                    _ => {}
                }
                let mut next = at.clone();
                next.push(part);
                match tree.get(&next) {
                    None => break,
                    Some(None) => at = next,
                    Some(Some(target)) => {
                        proptest::prop_assert!(!target.starts_with('/'));
                        rest.extend(target.split('/').rev().map(str::to_owned));
                    }
                }
            }
        }
    }

    #[test]
    fn what_can_be_made_has_a_name() {
        for (path, parts) in [
            ("/a", Some(("/", "a"))),
            ("/a/b", Some(("/a", "b"))),
            ("/a/../b", Some(("/a/..", "b"))),
            ("b", Some(("", "b"))),
            ("/", None),
            ("/a/", None),
            ("/a/.", None),
            ("/a/..", None),
            ("..", None),
            ("", None),
        ] {
            let found = split(Path::new(path));
            let found = found.ok().map(|(parent, name)| (parent.to_owned(), name.into_string().unwrap()));
            assert_eq!(found, parts.map(|(parent, name)| (parent.into(), name.to_owned())), "{path}");
        }
    }
}
