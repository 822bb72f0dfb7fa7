//! Gives a tree to other ids, in place: of every owner and of every entry of an
//! access-control list the upper 16 bits are exchanged.
//!
//! A start that is killed meanwhile leaves a tree that the next one makes good: the
//! top belongs to ids that are nobody's until all is done, what has been changed
//! can be changed again, and what a change of owner takes away (set-id bits, the
//! capabilities of a file) is noted beside the file until it is back.
//!
//! Every entry is opened by its name in a directory that is held open, no link
//! followed and no mount crossed, and changed by that descriptor.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::sys::stat::FileStat;
use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Errno, Kernel, Op, OwnedSlots, Proof, Slot, xattr};

use crate::compile::c_path;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::BUSY;
use crate::plan::Give;
use crate::trees::{BENEATH, DIRECTORY, KIND, LINK, REGULAR, names_in, status};

/// The entry that is looked at, and the same opened for its mode.
const ENTRY: Slot = Slot(0);
const OPENED: Slot = Slot(1);

/// How many directories may lie in each other: each is held open.
const DEPTH: u16 = 256;

/// The directory of a depth.
const fn directory(depth: u16) -> Slot {
    Slot(2 + depth)
}

const CAPABILITY: &CStr = c"security.capability";
const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";
/// What a change of owner takes away: the mode, and the capabilities as they were.
const NOTE: &CStr = c"trusted.skep.give";

/// Gives `tree` away; whether there was anything to do.
pub(crate) fn give<K: Kernel>(kernel: &mut K, tree: &Give) -> Result<bool> {
    let slots = OwnedSlots::new(usize::from(directory(DEPTH).0));
    Giving { kernel, slots, tree, path: tree.path.clone() }.whole()
}

struct Giving<'g, K> {
    kernel: &'g mut K,
    slots: OwnedSlots,
    tree: &'g Give,
    /// What is being looked at, for errors.
    path: PathBuf,
}

impl<K: Kernel> Giving<'_, K> {
    fn failed(&self, what: &str, errno: Errno) -> Error {
        let what = format!("give {} to the ids from {} on: {what}", self.path.display(), self.tree.base);
        let error = Error::system(what, errno);
        match errno {
            Errno::EPERM => error.remedy("It may be immutable (lsattr): take that away (chattr -i), or map the tree."),
            Errno::EROFS => error.remedy("What cannot be written can be mapped (--private-users-ownership=map)."),
            _ => error.remedy("The next start goes on with it."),
        }
    }

    fn call(&mut self, what: &str, op: &Op<'_>) -> Result<()> {
        self.kernel.call(op, &mut self.slots.slots()).map_err(|errno| self.failed(what, errno))
    }

    fn whole(mut self) -> Result<bool> {
        let path = c_path(&self.tree.path)?;
        let flags = OpenFlags::PATH.with(OpenFlags::DIRECTORY);
        let resolve = Resolve::NO_MAGICLINKS;
        self.call("open", &Op::OpenAt2 { dir: At::Cwd, path: &path, flags, mode: 0, resolve, into: ENTRY })?;
        let proof = Proof::Inode { device: self.tree.device, inode: self.tree.inode };
        self.call("look at", &Op::Prove { file: ENTRY, proof })?;
        let top = self.look(ENTRY)?;
        let bases = (top.st_uid & 0xffff_0000, top.st_gid & 0xffff_0000);
        if bases == (self.tree.base, self.tree.base) {
            return Ok(false);
        }
        if bases != (BUSY, BUSY) {
            let (uid, gid) = (BUSY | top.st_uid & 0xffff, BUSY | top.st_gid & 0xffff);
            self.call("chown", &Op::Chown { file: ENTRY, uid, gid })?;
        }
        self.call("open", &Op::Reopen { file: ENTRY, flags: OpenFlags::DIRECTORY, into: directory(0) })?;
        self.below(0)?;
        self.one(directory(0), &top)?;
        Ok(true)
    }

    fn look(&self, file: Slot) -> Result<FileStat> {
        status(&self.slots, file).map_err(|errno| self.failed("look at", errno))
    }

    /// All of the directory of a depth, but for itself.
    fn below(&mut self, depth: u16) -> Result<()> {
        for name in names_in(&self.slots, directory(depth)).map_err(|errno| self.failed("read", errno))? {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            self.named(depth, &name)?;
            drop(self.slots.take(ENTRY));
            self.path.pop();
        }
        Ok(())
    }

    fn named(&mut self, depth: u16, name: &CStr) -> Result<()> {
        let flags = OpenFlags::PATH.with(OpenFlags::NO_FOLLOW);
        let dir = At::Slot(directory(depth));
        let open = Op::OpenAt2 { dir, path: name, flags, mode: 0, resolve: BENEATH, into: ENTRY };
        match self.kernel.call(&open, &mut self.slots.slots()) {
            Ok(()) => {}
            // Gone since; or another file system, which is no part of the tree.
            Err(Errno::ENOENT | Errno::EXDEV) => return Ok(()),
            Err(errno) => return Err(self.failed("open", errno)),
        }
        let found = self.look(ENTRY)?;
        if found.st_mode & KIND != DIRECTORY {
            return self.one(ENTRY, &found);
        }
        let inner = depth + 1;
        if inner >= DEPTH {
            let what = format!("{} lies deeper than {DEPTH} directories", self.path.display());
            return Err(Error::new(ErrorKind::TooMuch, what).remedy("Map the tree (--private-users-ownership=map)."));
        }
        self.call("open", &Op::Reopen { file: ENTRY, flags: OpenFlags::DIRECTORY, into: directory(inner) })?;
        drop(self.slots.take(ENTRY));
        self.below(inner)?;
        self.one(directory(inner), &found)?;
        drop(self.slots.take(directory(inner)));
        Ok(())
    }

    fn attribute(&self, file: Slot, name: &CStr) -> Result<Option<Vec<u8>>> {
        let file = self.slots.borrow(file).ok_or_else(|| self.failed("look at", Errno::EBADF))?;
        xattr(file, name).map_err(|errno| self.failed("read its attributes", errno))
    }

    /// One file, link or directory.
    fn one(&mut self, file: Slot, found: &FileStat) -> Result<()> {
        let base = self.tree.base;
        let kind = found.st_mode & KIND;
        let (uid, gid) = (given(found.st_uid, base), given(found.st_gid, base));
        let moves = (uid, gid) != (found.st_uid, found.st_gid);
        if kind == LINK {
            return if moves { self.call("chown", &Op::Chown { file, uid, gid }) } else { Ok(()) };
        }
        let noted = self.attribute(file, NOTE)?;
        let (mode, capabilities) = match noted.as_deref().and_then(|note| note.split_first_chunk::<4>()) {
            Some((mode, rest)) => (u32::from_le_bytes(*mode), rest.to_vec()),
            None if kind == REGULAR => (found.st_mode & 0o7777, self.attribute(file, CAPABILITY)?.unwrap_or_default()),
            None => (found.st_mode & 0o7777, Vec::new()),
        };
        let loses = kind == REGULAR && (mode & 0o6000 != 0 || !capabilities.is_empty());
        let mut note = noted.is_some();
        if loses && moves && !note {
            let content = [&mode.to_le_bytes()[..], &capabilities].concat();
            let set = Op::SetXattr { file, name: NOTE, value: Blob(&content) };
            match self.kernel.call(&set, &mut self.slots.slots()) {
                Ok(()) => note = true,
                // The file system keeps no such note.
                Err(Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(self.failed("note its mode", errno)),
            }
        }
        if moves {
            self.call("chown", &Op::Chown { file, uid, gid })?;
        }
        if loses && (moves || note) {
            self.call("open", &Op::Reopen { file, flags: OpenFlags::NON_BLOCK, into: OPENED })?;
            self.call("chmod", &Op::Chmod { file: OPENED, mode })?;
            drop(self.slots.take(OPENED));
            if let Some(capabilities) = given_capabilities(&capabilities, base) {
                self.call(
                    "set its capabilities",
                    &Op::SetXattr { file, name: CAPABILITY, value: Blob(&capabilities) },
                )?;
            }
        }
        for name in [ACCESS, DEFAULT].into_iter().filter(|name| *name == ACCESS || kind == DIRECTORY) {
            let list = self.attribute(file, name)?;
            if let Some(list) = list.and_then(|list| given_list(&list, base)) {
                self.call("set its access-control list", &Op::SetXattr { file, name, value: Blob(&list) })?;
            }
        }
        if note {
            self.call("forget its mode", &Op::RemoveXattr { file, name: NOTE })?;
        }
        Ok(())
    }
}

const fn given(id: u32, base: u32) -> u32 {
    base | id & 0xffff
}

/// The capabilities of a file (`struct vfs_ns_cap_data`), as those of the user
/// namespace whose root is `base`; `None` where they are none.
fn given_capabilities(bytes: &[u8], base: u32) -> Option<Vec<u8>> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let magic = u32::from_le_bytes(*magic);
    let (sets, root) = rest.split_at_checked(16)?;
    let old = match (magic >> 24, root) {
        (2, []) => 0,
        (3, root) => u32::from_le_bytes(root.try_into().ok()?),
        _ => return None,
    };
    let magic = magic & 0x00ff_ffff | 3 << 24;
    Some([&magic.to_le_bytes(), sets, &given(old, base).to_le_bytes()].concat())
}

/// An access-control list (`linux/posix_acl_xattr.h`: a version, then entries of
/// tag, permissions and id) for other ids; `None` where it names none, or is no
/// such list.
fn given_list(list: &[u8], base: u32) -> Option<Vec<u8>> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let (version, entries) = list.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return None;
    }
    let mut given_to = list.get(..4)?.to_vec();
    for entry in entries {
        let [t0, t1, p0, p1, i0, i1, i2, i3] = *entry;
        let mut id = u32::from_le_bytes([i0, i1, i2, i3]);
        if matches!(u16::from_le_bytes([t0, t1]), USER | GROUP) {
            id = given(id, base);
        }
        given_to.extend([t0, t1, p0, p1]);
        given_to.extend(id.to_le_bytes());
    }
    (given_to != list).then_some(given_to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
    use std::path::Path;

    use nix::sys::stat::Mode;
    use skep_sys::{Faulty, Linux};

    use super::*;

    const BASE: u32 = 0x0123_0000;

    fn list(user: u32) -> Vec<u8> {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [entry(1, 6, none), entry(2, 4, user), entry(4, 4, none), entry(16, 6, none), entry(32, 0, none)];
        [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
    }

    fn capabilities(revision: u32, root: Option<u32>) -> Vec<u8> {
        let mut bytes = (revision << 24 | 1).to_le_bytes().to_vec();
        bytes.extend([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(root.map(u32::to_le_bytes).into_iter().flatten());
        bytes
    }

    #[test]
    fn ids_within_attributes() {
        assert_eq!(given_list(&list(1000), BASE), Some(list(BASE + 1000)));
        assert_eq!(given_list(&list(BASE + 7), BASE), None, "nothing is to be done");
        assert_eq!(given_list(&list(0x7fff_0007), BASE), Some(list(BASE + 7)));
        for bad in [&b""[..], b"\x02\0\0\0\x02", b"\x01\0\0\0", &list(1)[..11]] {
            assert_eq!(given_list(bad, BASE), None);
        }
        assert_eq!(given_capabilities(&capabilities(2, None), BASE), Some(capabilities(3, Some(BASE))));
        assert_eq!(given_capabilities(&capabilities(3, Some(9)), BASE), Some(capabilities(3, Some(BASE + 9))));
        for bad in [capabilities(1, None), capabilities(2, Some(0)), capabilities(3, None), b"\0\0\0\x02".to_vec()] {
            assert_eq!(given_capabilities(&bad, BASE), None);
        }
    }

    fn set(path: &Path, name: &CStr, value: &[u8]) {
        let mut slots = OwnedSlots::new(1);
        slots.give(Slot(0), std::fs::File::open(path).unwrap().into());
        Linux::new().call(&Op::SetXattr { file: Slot(0), name, value: Blob(value) }, &mut slots.slots()).unwrap();
    }

    /// A tree with one of everything.
    fn tree(top: &Path) {
        let inner = top.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        for (name, mode, uid, gid) in
            [("plain", 0o644, 1000, 100), ("set-id", 0o6755, 7, 8), ("able", 0o755, 0, 0), ("listed", 0o640, 33, 33)]
        {
            let path = inner.join(name);
            std::fs::write(&path, name).unwrap();
            chown(&path, Some(uid), Some(gid)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        set(&inner.join("able"), CAPABILITY, &capabilities(2, None));
        set(&inner.join("listed"), ACCESS, &list(1000));
        set(&inner, DEFAULT, &list(1000));
        std::fs::hard_link(inner.join("plain"), top.join("twin")).unwrap();
        symlink("/etc/passwd", top.join("out")).unwrap();
        lchown(top.join("out"), Some(5), Some(6)).unwrap();
        nix::unistd::mkfifo(&top.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    }

    type State = BTreeMap<PathBuf, (u32, u32, u32, Vec<Option<Vec<u8>>>)>;

    fn state(top: &Path) -> State {
        let mut all = State::new();
        let mut left = vec![top.to_path_buf()];
        while let Some(path) = left.pop() {
            let found = path.symlink_metadata().unwrap();
            let attributes = if found.is_file() || found.is_dir() {
                let file = std::fs::File::open(&path).unwrap();
                [CAPABILITY, ACCESS, DEFAULT, NOTE]
                    .map(|name| xattr(std::os::fd::AsFd::as_fd(&file), name).unwrap())
                    .into()
            } else {
                Vec::new()
            };
            all.insert(path.strip_prefix(top).unwrap().into(), (found.uid(), found.gid(), found.mode(), attributes));
            if found.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        all
    }

    fn give_of(top: &Path, base: u32) -> Give {
        let found = top.metadata().unwrap();
        Give { path: top.into(), device: found.dev(), inode: found.ino(), base }
    }

    #[test]
    fn a_tree_is_given_whatever_fails_on_the_way() {
        if !nix::unistd::geteuid().is_root() {
            let _ = writeln!(std::io::stderr(), "SKIP a_tree_is_given: only root gives files away");
            return;
        }
        let scratch = std::env::temp_dir().join(format!("skep-give-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        let fresh = |name: &str| {
            let top = scratch.join(name);
            tree(&top);
            top
        };
        let top = fresh("whole");
        assert_eq!(give(&mut Linux::new(), &give_of(&top, BASE)), Ok(true));
        let wanted = state(&top);
        let of = |path: &str| &wanted[Path::new(path)];
        assert!(wanted.values().all(|(uid, gid, ..)| uid & 0xffff_0000 == BASE && gid & 0xffff_0000 == BASE));
        assert_eq!((of("twin").0, of("twin").1, of("out").0), (BASE + 1000, BASE + 100, BASE + 5));
        assert_eq!(of("a/b/set-id").2 & 0o7777, 0o6755);
        assert_eq!(of("a/b/able").3[0], Some(capabilities(3, Some(BASE))));
        assert_eq!(
            (of("a/b/listed").3[1].as_ref(), of("a/b").3[2].as_ref()),
            (Some(&list(BASE + 1000)), Some(&list(BASE + 1000)))
        );
        assert!(wanted.values().all(|(.., attributes)| attributes.last().is_none_or(Option::is_none)), "a note stays");
        assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), 0, "a link was followed");
        assert_eq!(give(&mut Linux::new(), &give_of(&top, BASE)), Ok(false));

        let calls = {
            let mut counted = Faulty::new(Linux::new(), usize::MAX, Errno::EIO);
            give(&mut counted, &give_of(&fresh("counted"), BASE)).unwrap();
            counted.calls()
        };
        assert!(calls > 30, "{calls}");
        for call in 0..calls {
            let top = fresh("broken");
            let mut faulty = Faulty::new(Linux::new(), call, Errno::EIO);
            let error = give(&mut faulty, &give_of(&top, BASE)).expect_err("it fails");
            assert!(error.to_string().contains("/broken"), "{error}");
            if state(&top)[Path::new("")].0 & 0xffff_0000 == BASE {
                panic!("the top is given before all is done: call {call}");
            }
            give(&mut Linux::new(), &give_of(&top, BASE)).unwrap();
            assert_eq!(state(&top), wanted, "call {call}");
            std::fs::remove_dir_all(&top).unwrap();
        }
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
