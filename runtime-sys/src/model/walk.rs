//! How a path becomes a place.
//!
//! Sources: path_resolution(7), openat2(2) for `RESOLVE_*`, symlink(7).

use crate::abi::{MountAttrs, Resolve};
use crate::errno::Errno;
use crate::kernel::Slots;
use crate::op::At;

use super::Model;
use super::descriptors::Object;
use super::files::{InodeId, Node, Place};

/// What a path leads to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Place(Place),
    /// Behind a magic link of procfs: something without a place.
    Object(Object),
}

/// One component.
pub(super) enum Step {
    Inode(InodeId),
    /// A magic link (symlink(7), "Magic links").
    Magic(Found),
}

impl Model {
    /// Where a path starts.
    pub(super) fn start(&self, dir: At, slots: &Slots<'_>) -> Result<Place, Errno> {
        match dir {
            At::Cwd => Ok(self[self.current].cwd),
            At::Slot(slot) => self.handle(slots, slot).map(|handle| handle.place),
        }
    }

    /// Walks `path` to a place in a file tree.
    pub(super) fn walk(&mut self, start: Place, path: &[u8], resolve: Resolve, follow: bool) -> Result<Place, Errno> {
        match self.walk_any(start, path, resolve, follow)? {
            Found::Place(place) => Ok(place),
            Found::Object(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Walks `path` from `start`; `follow` tells what to do with a symbolic
    /// link at its end.
    pub(super) fn walk_any(
        &mut self,
        start: Place,
        path: &[u8],
        resolve: Resolve,
        follow: bool,
    ) -> Result<Found, Errno> {
        let (beneath, in_root) = (resolve.has(Resolve::BENEATH), resolve.has(Resolve::IN_ROOT));
        // openat2(2): "EINVAL: … RESOLVE_IN_ROOT and RESOLVE_BENEATH".
        if beneath && in_root {
            return Err(Errno::EINVAL);
        }
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let root = if beneath || in_root { start } else { self[self.current].root };
        // "RESOLVE_BENEATH … causes absolute pathnames to be rejected", but
        // RESOLVE_NO_XDEV counts from where an absolute one starts.
        let mut at = start;
        if path.starts_with(b"/") {
            at = self.jump_to_root(root, root, resolve)?;
        }
        let directory = path.ends_with(b"/");
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if !self.is_directory(at.inode) {
                return Err(Errno::ENOTDIR);
            }
            self.search(at)?;
            let last = rest.is_empty();
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    at = self.up(at, root, resolve)?;
                    continue;
                }
                long if long.len() > 255 => return Err(Errno::ENAMETOOLONG),
                _ => {}
            }
            let inode = match self.step(at, &name)? {
                Step::Inode(inode) => inode,
                Step::Magic(found) => {
                    if last && !follow && !directory {
                        return Err(Errno::ELOOP);
                    }
                    at = match self.magic(at, found, resolve)? {
                        Found::Place(place) => place,
                        other if last => return Ok(other),
                        Found::Object(_) => return Err(Errno::ENOTDIR),
                    };
                    continue;
                }
            };
            let next = self.down(Place { mount: at.mount, inode }, resolve)?;
            let target = match &self[next.inode].node {
                Node::Symlink(target) if follow || !last || directory => target.clone(),
                _ => {
                    at = next;
                    continue;
                }
            };
            // "ELOOP: … one of the components was a symbolic link and
            // RESOLVE_NO_SYMLINKS"; MOUNT_ATTR_NOSYMFOLLOW likewise
            // (mount_setattr(2)); path_resolution(7): at most 40.
            links += 1;
            let refused = resolve.has(Resolve::NO_SYMLINKS) || self[at.mount].attrs.has(MountAttrs::NOSYMFOLLOW);
            if refused || links > 40 {
                return Err(Errno::ELOOP);
            }
            if target.starts_with(b"/") {
                at = self.jump_to_root(at, root, resolve)?;
            }
            rest.extend(components(&target));
        }
        if directory && !self.is_directory(at.inode) {
            return Err(Errno::ENOTDIR);
        }
        Ok(Found::Place(at))
    }

    /// Where `path` leads, for whoever builds the host or looks at it: nobody's
    /// permission is asked.
    pub(super) fn seek(&mut self, start: Place, path: &str, follow: bool) -> Result<Place, Errno> {
        let before = core::mem::replace(&mut self.seeking, true);
        let found = self.walk(start, path.as_bytes(), Resolve::NONE, follow);
        self.seeking = before;
        found
    }

    /// path_resolution(7), Step 2: "If the process does not have search permission
    /// on the current lookup directory, an EACCES error is returned".
    fn search(&self, directory: Place) -> Result<(), Errno> {
        if self.seeking { Ok(()) } else { self.permit(directory, 1) }
    }

    /// Everything but the last component; the last one must be a name.
    pub(super) fn walk_parent(
        &mut self,
        start: Place,
        path: &[u8],
        resolve: Resolve,
    ) -> Result<(Place, Vec<u8>), Errno> {
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        let cut = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (head, name) = trimmed.split_at(cut);
        let dir = match head {
            _ if path.is_empty() => return Err(Errno::ENOENT),
            [] => start,
            _ => self.walk(start, head, resolve, true)?,
        };
        if self.is_directory(dir.inode) {
            self.search(dir)?;
        }
        match name {
            b"" | b"." | b".." => Err(Errno::EEXIST),
            name if name.len() > 255 => Err(Errno::ENAMETOOLONG),
            _ if !self.is_directory(dir.inode) => Err(Errno::ENOTDIR),
            name => Ok((dir, name.to_vec())),
        }
    }

    /// "EXDEV: an attempt to escape from the root during path resolution":
    /// `RESOLVE_BENEATH` refuses absolute paths and links, `RESOLVE_NO_XDEV`
    /// those that end on another mount.
    fn jump_to_root(&self, at: Place, root: Place, resolve: Resolve) -> Result<Place, Errno> {
        if resolve.has(Resolve::BENEATH) || (resolve.has(Resolve::NO_XDEV) && at.mount != root.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(root)
    }

    /// `..`: leaves a mount by what it is mounted on. At the root, and below
    /// what is mounted on the root or nowhere, it stays, on what is mounted
    /// there, or is refused under `RESOLVE_BENEATH`.
    fn up(&self, from: Place, root: Place, resolve: Resolve) -> Result<Place, Errno> {
        let mut at = from;
        while at != root && at.inode == self[at.mount].root {
            at = self[at.mount].parent.unwrap_or(root);
        }
        if at == root {
            return if resolve.has(Resolve::BENEATH) { Err(Errno::EXDEV) } else { self.down(from, resolve) };
        }
        if at.mount != from.mount && resolve.has(Resolve::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        let inode = self[at.inode].parent.unwrap_or(at.inode);
        self.down(Place { mount: at.mount, inode }, resolve)
    }

    /// Onto whatever is mounted there ("EXDEV" under `RESOLVE_NO_XDEV`).
    fn down(&self, at: Place, resolve: Resolve) -> Result<Place, Errno> {
        let top = self.topmost(at);
        if top != at && resolve.has(Resolve::NO_XDEV) { Err(Errno::EXDEV) } else { Ok(top) }
    }

    /// openat2(2): magic links are refused by `RESOLVE_NO_MAGICLINKS` and by
    /// `RESOLVE_NO_SYMLINKS` (ELOOP), and leave any scope (EXDEV).
    fn magic(&self, at: Place, found: Found, resolve: Resolve) -> Result<Found, Errno> {
        if resolve.has(Resolve::NO_MAGICLINKS) || resolve.has(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let scoped = resolve.has(Resolve::BENEATH) || resolve.has(Resolve::IN_ROOT);
        let crosses = !matches!(&found, Found::Place(place) if place.mount == at.mount);
        if scoped || (resolve.has(Resolve::NO_XDEV) && crosses) { Err(Errno::EXDEV) } else { Ok(found) }
    }
}

/// The names of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stand::Stand;
    use super::*;
    use crate::abi::OpenFlags;
    use crate::op::{Op, Slot};

    const DIR: Slot = Slot(10);
    const FILE: Slot = Slot(11);

    /// What `openat2` of `path` beneath `/srv` answers.
    fn walk(path: &core::ffi::CStr, resolve: Resolve) -> Result<(), Errno> {
        let model = Model::new()
            .file("/srv/sub/file", "x")
            .symlink("/srv/inside", "sub/file")
            .symlink("/srv/absolute", "/sub/file")
            .symlink("/srv/out", "../etc/hostname")
            .symlink("/srv/loop", "loop")
            .directory("/srv/mnt")
            .tmpfs("/srv/mnt");
        let mut stand = Stand::on(model);
        stand.open(c"/srv", DIR);
        stand.ask(Op::OpenAt2 { dir: At::Slot(DIR), path, flags: OpenFlags::PATH, mode: 0, resolve, into: FILE })
    }

    #[test]
    fn every_resolve_flag_refuses_what_it_says() {
        let (none, beneath, root) = (Resolve::NONE, Resolve::BENEATH, Resolve::IN_ROOT);
        let (links, xdev) = (Resolve::NO_SYMLINKS, Resolve::NO_XDEV);
        for (path, resolve, result) in [
            (c"sub/file", none, Ok(())),
            (c"sub/file/x", none, Err(Errno::ENOTDIR)),
            (c"sub/nothing", none, Err(Errno::ENOENT)),
            (c"", none, Err(Errno::ENOENT)),
            (c"loop", none, Err(Errno::ELOOP)),
            (c"inside", none, Ok(())),
            (c"inside/", none, Err(Errno::ENOTDIR)),
            (c"inside", links, Err(Errno::ELOOP)),
            (c"inside", beneath, Ok(())),
            (c"sub/../inside", beneath, Ok(())),
            (c"..", beneath, Err(Errno::EXDEV)),
            (c"../srv/sub", beneath, Err(Errno::EXDEV)),
            (c"out", none, Ok(())),
            (c"out", beneath, Err(Errno::EXDEV)),
            (c"out", root, Err(Errno::ENOENT)),
            (c"absolute", none, Err(Errno::ENOENT)),
            (c"absolute", beneath, Err(Errno::EXDEV)),
            (c"absolute", root, Ok(())),
            (c"/etc/hostname", none, Ok(())),
            (c"/etc/hostname", beneath, Err(Errno::EXDEV)),
            (c"/etc/hostname", root, Err(Errno::ENOENT)),
            (c"/../../sub", root, Ok(())),
            (c"mnt", none, Ok(())),
            (c"mnt", xdev, Err(Errno::EXDEV)),
            (c"mnt/..", none, Ok(())),
            (c"sub", xdev, Ok(())),
            (c"sub", beneath.with(root), Err(Errno::EINVAL)),
            (c"sub", Resolve(0x100), Err(Errno::EINVAL)),
        ] {
            assert_eq!(walk(path, resolve), result, "{path:?} with {resolve}");
        }
    }

    #[test]
    fn magic_links_lead_to_what_a_descriptor_holds_unless_refused() {
        let mut stand = Stand::root();
        stand.open(c"/usr/bin", DIR);
        let number = stand.model[stand.model.current].table.keys().next_back().copied().unwrap();
        let path = std::ffi::CString::new(format!("/proc/self/fd/{number}/true")).unwrap();
        let open =
            |resolve| Op::OpenAt2 { dir: At::Cwd, path: &path, flags: OpenFlags::PATH, mode: 0, resolve, into: FILE };
        stand.ok(open(Resolve::NONE));
        stand.no(open(Resolve::NO_MAGICLINKS), Errno::ELOOP);
        stand.no(open(Resolve::NO_SYMLINKS), Errno::ELOOP);
        stand.no(open(Resolve::IN_ROOT), Errno::EXDEV);
        let path = std::ffi::CString::new(format!("/proc/self/fd/{number}")).unwrap();
        stand.no(Op::Chdir { path: &path }, Errno::ELOOP);
        stand.ok(Op::Chdir { path: c"/proc/self/fd" });
    }

    #[test]
    fn links_on_a_mount_without_symfollow_are_not_followed() {
        let mut stand = Stand::root();
        stand.ok(Op::MountSetAttr {
            dir: At::Cwd,
            path: c"/",
            flags: Default::default(),
            set: MountAttrs::NOSYMFOLLOW,
            clear: MountAttrs::NONE,
            propagation: Default::default(),
            userns: None,
        });
        let open = |path, flags| Op::OpenAt2 { dir: At::Cwd, path, flags, mode: 0, resolve: Resolve::NONE, into: FILE };
        stand.no(open(c"/bin/true", OpenFlags::PATH), Errno::ELOOP);
        stand.ok(open(c"/bin", OpenFlags::PATH.with(OpenFlags::NO_FOLLOW)));
        stand.no(open(c"/bin", OpenFlags::NO_FOLLOW), Errno::ELOOP);
    }
}
