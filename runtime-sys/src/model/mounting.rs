//! The calls that change the table of mounts.
//!
//! Sources: mount_setattr(2), pivot_root(2), mount(2), umount(2),
//! mount_namespaces(7); `fs/namespace.c` for what they leave open.

use crate::abi::{MountAttrs, Propagation, TreeFlags, cap};
use crate::errno::Errno;

use super::descriptors::{Access, Handle, Object};
use super::files::Place;
use super::mounts::{Copy, MountId, Within};
use super::processes::TaskId;
use super::{Model, UserId};

/// A change of attributes that is well-formed.
pub(super) struct AttrChange {
    set: MountAttrs,
    clear: MountAttrs,
    propagation: Propagation,
    idmap: Option<UserId>,
}

impl Model {
    /// What open_tree(2) checks before it looks at the path.
    pub(super) fn may_open_tree(&self, flags: TreeFlags) -> Result<(), Errno> {
        match (flags.has(TreeFlags::CLONE), flags.has(TreeFlags::RECURSIVE)) {
            (true, _) => self.may_mount(),
            // "EINVAL: AT_RECURSIVE … without OPEN_TREE_CLONE".
            (false, true) => Err(Errno::EINVAL),
            (false, false) => Ok(()),
        }
    }

    /// open_tree(2)
    pub(super) fn open_tree(&mut self, place: Place, flags: TreeFlags) -> Result<Object, Errno> {
        let recursive = flags.has(TreeFlags::RECURSIVE);
        if !flags.has(TreeFlags::CLONE) {
            return Ok(Object::Path(Handle { place, access: Access::Path, tree: false }));
        }
        // Of one's own mount namespace, or, since 6.15, of a detached tree.
        if !self.is_own(place.mount) && !self.usable_detached(place.mount) {
            return Err(Errno::EINVAL);
        }
        // mount_namespaces(7): a locked mount must not be uncovered.
        let uncovers = self
            .children(place.mount)
            .into_iter()
            .any(|child| self[child].locked && self[child].parent.is_some_and(|on| self.within(on.inode, place.inode)));
        if !recursive && uncovers {
            return Err(Errno::EINVAL);
        }
        let origin = match self[place.mount].within {
            Within::Namespace(space) => Some(space),
            Within::Detached(top) => self[top].origin,
            Within::Nowhere => None,
        };
        let pairs = self.copy_tree(place.mount, place.inode, recursive, Copy::Peers);
        let top = pairs[0].1;
        self[top].origin = origin;
        for (_, twin) in pairs {
            self[twin].within = Within::Detached(top);
        }
        Ok(Object::Path(Handle { place: self.root_of(top), access: Access::Path, tree: true }))
    }

    /// move_mount(2)
    pub(super) fn move_mount(&mut self, from: Place, to: Place) -> Result<(), Errno> {
        self.may_mount()?;
        self.may_change_mounts()?;
        let mount = from.mount;
        // "EINVAL: from is not the root of a mount".
        if from.inode != self[mount].root {
            return Err(Errno::EINVAL);
        }
        let to = self.topmost(to);
        // A directory onto a directory, a file onto a file.
        if self.is_directory(from.inode) != self.is_directory(to.inode) {
            return Err(Errno::EINVAL);
        }
        // What is mounted nowhere any more has no place to mount on.
        if self[to.mount].within == Within::Nowhere {
            return Err(Errno::ENOENT);
        }
        // From one's own namespace into it; or the top of a detached tree, and
        // that since 6.15 into another detached tree as well.
        let allowed = if self.is_own(mount) {
            self.is_own(to.mount)
        } else {
            let onto = self.is_own(to.mount) || self.usable_detached(to.mount);
            self[mount].within == Within::Detached(mount) && onto
        };
        if !allowed {
            return Err(Errno::EINVAL);
        }
        // Not within one detached tree.
        if self.detached(mount) && self[mount].within == self[to.mount].within {
            return Err(Errno::EINVAL);
        }
        // mount_namespaces(7): neither a locked mount, nor one that lies on a
        // shared one.
        let on_shared = self[mount].parent.is_some_and(|on| self[on.mount].group.is_some());
        if self[mount].locked || on_shared || (self.is_own(mount) && self[mount].parent.is_none()) {
            return Err(Errno::EINVAL);
        }
        // "ELOOP: to is below from".
        if self.subtree(mount).contains(&to.mount) {
            return Err(Errno::ELOOP);
        }
        self[mount].parent = None;
        self.attach(mount, to);
        Ok(())
    }

    /// What mount_setattr(2) checks before it looks at the path. `None` when
    /// nothing is to be changed, which always succeeds.
    pub(super) fn attr_change(
        &self,
        [set, clear]: [MountAttrs; 2],
        propagation: Propagation,
        userns: Option<&Object>,
    ) -> Result<Option<AttrChange>, Errno> {
        self.may_mount()?;
        if set.is_empty() && clear.is_empty() && propagation.is_empty() {
            return Ok(None);
        }
        check_attrs(set)?;
        check_attrs(MountAttrs(clear.0 & !(ATIME.0 | 0x40)))?;
        if clear.has(MountAttrs::IDMAP) || !matches!(propagation.0.count_ones(), 0 | 1) {
            return Err(Errno::EINVAL);
        }
        // "An access-time setting was specified in attr_set without
        // MOUNT_ATTR__ATIME being set in attr_clr", and "a partial … in attr_clr".
        let atime = clear.0 & ATIME.0;
        if atime != ATIME.0 && (set.0 & ATIME.0 != 0 || atime != 0) {
            return Err(Errno::EINVAL);
        }
        let idmap = match (set.has(MountAttrs::IDMAP), userns) {
            (false, _) => None,
            // "EPERM: the file descriptor refers to the initial user namespace".
            (true, Some(Object::User(UserId::INITIAL))) => return Err(Errno::EPERM),
            (true, Some(Object::User(user))) => {
                // `build_mount_idmapped`: and control over the namespace.
                self.need(*user, cap::SYS_ADMIN)?;
                Some(*user)
            }
            (true, Some(object)) if object.is_path_only() => return Err(Errno::EBADF),
            (true, _) => return Err(Errno::EINVAL),
        };
        Ok(Some(AttrChange { set, clear, propagation, idmap }))
    }

    /// mount_setattr(2)
    pub(super) fn mount_setattr(&mut self, place: Place, recursive: bool, change: &AttrChange) -> Result<(), Errno> {
        let AttrChange { set, clear, propagation, idmap } = *change;
        self.may_change_mounts()?;
        // "EINVAL: … isn't a mount point", "outside the caller's mount
        // namespace"; the top of a detached tree is fine.
        let reachable = self.is_own(place.mount) || self[place.mount].within == Within::Detached(place.mount);
        if place.inode != self[place.mount].root || !reachable {
            return Err(Errno::EINVAL);
        }
        let tree = if recursive { self.subtree(place.mount) } else { vec![place.mount] };
        // All or nothing.
        for mount in &tree {
            self.may_set(*mount, [set, clear], idmap)?;
        }
        let plain = |attrs: MountAttrs| attrs.without(MountAttrs::IDMAP);
        for mount in tree {
            self[mount].attrs = self[mount].attrs.without(clear).with(plain(set));
            self[mount].idmap = idmap.or(self[mount].idmap);
            match propagation {
                Propagation::PRIVATE => (self[mount].group, self[mount].master) = (None, None),
                Propagation::SLAVE => {
                    // Without another peer there is nobody to be a slave of.
                    let group = self[mount].group.take();
                    let peers = self.every_mount().any(|other| group.is_some() && self[other].group == group);
                    self[mount].master = if peers { group } else { self[mount].master };
                }
                Propagation::SHARED => self[mount].group = Some(self[mount].group.unwrap_or(self.last_group + 1)),
                _ => {}
            }
            self.last_group = self.last_group.max(self[mount].group.unwrap_or(0));
        }
        Ok(())
    }

    fn may_set(&self, mount: MountId, [set, clear]: [MountAttrs; 2], idmap: Option<UserId>) -> Result<(), Errno> {
        let here = &self[mount];
        // "EPERM: … and the flag is locked". Locked access times do not change
        // at all.
        let new = here.attrs.without(clear).with(set);
        let lost = here.locked_attrs.0 & !ATIME.0 & here.attrs.0 & !new.0;
        let times = here.locked_attrs.0 & ATIME.0 != 0 && (here.attrs.0 ^ new.0) & ATIME.0 != 0;
        if lost != 0 || times {
            return Err(Errno::EPERM);
        }
        let Some(user) = idmap else { return Ok(()) };
        let fs = &self[here.fs];
        // In the order of `can_idmap_mount`: not by the file system's own
        // namespace; "already ID mapped", "does not
        // support", "CAP_SYS_ADMIN in the user namespace of the file system",
        // "not a detached mount".
        if user == fs.user {
            return Err(Errno::EINVAL);
        }
        if here.idmap.is_some() {
            return Err(Errno::EPERM);
        }
        if !fs.kind.idmap {
            return Err(Errno::EINVAL);
        }
        self.need(fs.user, cap::SYS_ADMIN)?;
        // And a namespace without a map maps nothing.
        let mapped = !self[user].uids.is_empty() && !self[user].gids.is_empty();
        if !matches!(here.within, Within::Detached(_)) || !mapped { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// `pivot_root(".", ".")`: the new root is the working directory.
    pub(super) fn pivot_root(&mut self) -> Result<(), Errno> {
        self.may_mount()?;
        self.may_change_mounts()?;
        let task = self.current;
        let (new, old) = (self[task].cwd, self[task].root);
        if !self.is_directory(new.inode) {
            return Err(Errno::ENOTDIR);
        }
        if self[new.mount].within == Within::Nowhere {
            return Err(Errno::ENOENT);
        }
        // "EINVAL: either the mount point at new_root, or the parent mount of
        // that mount point, has propagation type MS_SHARED"; likewise the
        // parent of the current root.
        let shared = |mount: MountId| self[mount].group.is_some();
        let shared_parent = |mount: MountId| self[mount].parent.is_some_and(|on| shared(on.mount));
        if shared(new.mount) || shared_parent(new.mount) || shared_parent(old.mount) {
            return Err(Errno::EINVAL);
        }
        if !self.is_own(new.mount) || !self.is_own(old.mount) || self[new.mount].locked {
            return Err(Errno::EINVAL);
        }
        if self[new.inode].removed {
            return Err(Errno::ENOENT);
        }
        // "EBUSY: new_root or put_old is on the current root mount".
        if new.mount == old.mount {
            return Err(Errno::EBUSY);
        }
        // "EINVAL: new_root is not a mount point", "the current root directory
        // is not a mount point", "the current root is on the rootfs mount".
        let (Some(_), Some(old_on)) = (self[new.mount].parent, self[old.mount].parent) else {
            return Err(Errno::EINVAL);
        };
        if new.inode != self[new.mount].root || old.inode != self[old.mount].root {
            return Err(Errno::EINVAL);
        }
        // "new_root must be … under the current root".
        if !self.subtree(old.mount).contains(&new.mount) {
            return Err(Errno::EINVAL);
        }
        // What was mounted on the old root's place is the new root; the old
        // one lies over it. A lock stays with the place.
        let lock = core::mem::take(&mut self[old.mount].locked);
        self[new.mount].locked |= lock;
        self.put_on(new.mount, old_on);
        self.put_on(old.mount, new);
        // "changes … the current working directory of each process … to new_root
        // if they point to the old root directory".
        for other in (0..self.tasks.len()).map(TaskId) {
            for place in [true, false] {
                let place = if place { &mut self[other].root } else { &mut self[other].cwd };
                if *place == old {
                    *place = new;
                }
            }
        }
        self[task].pivoted = true;
        Ok(())
    }

    /// `umount2(".", MNT_DETACH)` of what `pivot_root` left on the working
    /// directory, the topmost first. Nothing there is EINVAL: Linux would take
    /// the new root away.
    pub(super) fn umount_old(&mut self) -> Result<(), Errno> {
        self.may_mount()?;
        self.may_change_mounts()?;
        let task = self.current;
        let top = self.topmost(self[task].cwd);
        if !self[task].pivoted || top == self[task].cwd || !self.is_own(top.mount) || self[top.mount].locked {
            return Err(Errno::EINVAL);
        }
        self.detach(top.mount);
        Ok(())
    }

    /// `umount2(2)`, MNT_DETACH: what is no mount, or none of this namespace, is no error.
    pub(super) fn unmount(&mut self, place: Place) -> Result<(), Errno> {
        let place = self.topmost(place);
        if place.inode != self[place.mount].root || !self.is_own(place.mount) || self[place.mount].locked {
            return Ok(());
        }
        // "EPERM/EINVAL" of the root of the namespace is no case of any plan's.
        if self[place.mount].parent.is_none() {
            return Err(Errno::EINVAL);
        }
        self.detach(place.mount);
        Ok(())
    }
}

/// MOUNT_ATTR__ATIME
const ATIME: MountAttrs = MountAttrs(0x70);

pub(super) fn check_attrs(attrs: MountAttrs) -> Result<(), Errno> {
    let known = MountAttrs::NAMES.iter().fold(0, |all, (bit, _)| all | bit.0);
    if attrs.0 & !known != 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, PIDFD, PROCESS, Stand};
    use super::*;
    use crate::abi::{Namespaces, OpenFlags, Resolve};
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;

    const TREE: Slot = Slot(10);
    const OTHER: Slot = Slot(11);
    const CLONE: TreeFlags = TreeFlags::CLONE;

    fn tree(path: &core::ffi::CStr, flags: TreeFlags) -> Op<'_> {
        Op::OpenTree { dir: At::Cwd, path, flags, into: TREE }
    }

    fn onto(path: &core::ffi::CStr) -> Op<'_> {
        Op::MoveMount { from: TREE, dir: At::Cwd, path }
    }

    fn attrs(path: &core::ffi::CStr, flags: TreeFlags, set: MountAttrs, clear: MountAttrs) -> Op<'_> {
        let propagation = Propagation::NONE;
        Op::MountSetAttr { dir: At::Cwd, path, flags, set, clear, propagation, userns: None }
    }

    fn propagation(path: &core::ffi::CStr, flags: TreeFlags, propagation: Propagation) -> Op<'_> {
        let none = MountAttrs::NONE;
        Op::MountSetAttr { dir: At::Cwd, path, flags, set: none, clear: none, propagation, userns: None }
    }

    fn line(stand: &Stand, actor: Actor, point: &str) -> Option<String> {
        let lines = stand.model.process(actor).unwrap().mountinfo();
        lines.into_iter().rfind(|line| line.split(' ').nth(4) == Some(point))
    }

    /// A mount namespace of its own, with nothing shared any more.
    fn private() -> Stand {
        let mut stand =
            Stand::on(Model::new().directory("/srv/new").directory("/srv/data/deep").tmpfs("/srv/data/deep"));
        stand.ok(Op::Unshare { namespaces: Namespaces::MOUNT });
        stand.ok(propagation(c"/", TreeFlags::RECURSIVE, Propagation::PRIVATE));
        stand
    }

    #[test]
    fn changing_mounts_needs_sys_admin_over_the_mount_namespace() {
        let mut stand = Stand::user();
        stand.no(tree(c"/usr", CLONE), Errno::EPERM);
        stand.ok(tree(c"/usr", TreeFlags::NONE));
        stand.no(onto(c"/tmp"), Errno::EPERM);
        stand.no(attrs(c"/", TreeFlags::NONE, MountAttrs::RDONLY, MountAttrs::NONE), Errno::EPERM);
        stand.no(Op::PivotRoot {}, Errno::EPERM);
        stand.no(Op::UmountOld {}, Errno::EPERM);
        assert_eq!(stand.fresh(c"tmpfs", TREE), Err(Errno::EPERM));
        // A user namespace alone gives nothing over the host's mounts.
        stand.ok(Op::Unshare { namespaces: Namespaces::USER });
        stand.no(tree(c"/usr", CLONE), Errno::EPERM);
        stand.ok(Op::Unshare { namespaces: Namespaces::MOUNT });
        stand.ok(tree(c"/usr", CLONE));
    }

    #[test]
    fn a_clone_is_attached_and_stacks() {
        let mut stand = private();
        stand.ok(tree(c"/srv/data", CLONE));
        stand.ok(onto(c"/srv/new"));
        assert!(line(&stand, Actor::Host, "/srv/new").unwrap().contains(" /srv/data /srv/new "));
        assert_eq!(line(&stand, Actor::Host, "/srv/new/deep"), None, "not recursive");
        stand.ok(tree(c"/srv/data", CLONE.with(TreeFlags::RECURSIVE)));
        stand.ok(onto(c"/srv/new"));
        assert!(line(&stand, Actor::Host, "/srv/new/deep").is_some());
        let stacked = stand.model.process(Actor::Host).unwrap().mountinfo();
        assert_eq!(stacked.iter().filter(|line| line.contains(" /srv/new ")).count(), 2);
        stand.no(tree(c"/srv/data", TreeFlags::RECURSIVE), Errno::EINVAL);
    }

    #[test]
    fn a_file_goes_onto_a_file_and_a_directory_onto_a_directory() {
        let mut stand = private();
        stand.ok(tree(c"/etc/hostname", CLONE));
        stand.no(onto(c"/srv/new"), Errno::EINVAL);
        stand.ok(onto(c"/etc/os-release"));
        stand.ok(tree(c"/srv/data", CLONE));
        stand.no(onto(c"/etc/hostname"), Errno::EINVAL);
    }

    #[test]
    fn only_the_root_of_a_mount_moves_and_not_off_a_shared_one() {
        let mut stand = private();
        stand.ok(tree(c"/srv/data", TreeFlags::NONE));
        stand.no(onto(c"/srv/new"), Errno::EINVAL);
        stand.ok(tree(c"/srv/data/deep", TreeFlags::NONE));
        stand.ok(onto(c"/srv/new"));
        assert!(line(&stand, Actor::Host, "/srv/data/deep").is_none());
        stand.no(onto(c"/srv/new"), Errno::ELOOP);
        // On the host everything is shared.
        let mut stand = Stand::on(Model::new().tmpfs("/srv/data"));
        stand.ok(tree(c"/srv/data", TreeFlags::NONE));
        stand.no(onto(c"/tmp"), Errno::EINVAL);
    }

    #[test]
    fn a_detached_tree_ends_with_its_descriptor() {
        let mut stand = private();
        stand.ok(tree(c"/srv/data", CLONE));
        let mount = stand.model.mounts.len() - 1;
        stand.ok(Op::Close { file: TREE });
        assert_eq!(stand.model.mounts[mount].within, Within::Nowhere);
        // Once it is attached, the descriptor no longer matters.
        stand.ok(tree(c"/srv/data", CLONE));
        stand.ok(onto(c"/srv/new"));
        stand.ok(Op::Close { file: TREE });
        assert!(line(&stand, Actor::Host, "/srv/new").is_some());
    }

    #[test]
    fn mounting_into_a_detached_tree_came_with_6_15() {
        for (kernel, result) in [((6, 14), Err(Errno::EINVAL)), ((6, 15), Ok(()))] {
            let mut stand = Stand::on(Model::new().kernel(kernel.0, kernel.1));
            stand.fresh(c"tmpfs", OTHER).unwrap();
            stand.ok(Op::Mkdir { dir: At::Slot(OTHER), name: c"usr", mode: 0o755, exist_ok: false });
            stand.ok(tree(c"/usr", CLONE));
            assert_eq!(stand.ask(Op::MoveMount { from: TREE, dir: At::Slot(OTHER), path: c"usr" }), result);
        }
    }

    /// A detached tree that the host cloned can be attached, but not be
    /// mounted into from another mount namespace.
    #[test]
    fn a_detached_tree_from_elsewhere_takes_no_mount() {
        let mut stand = Stand::on(Model::new().directory("/srv/root/usr"));
        stand.ok(Op::OpenTree { dir: At::Cwd, path: c"/srv/root", flags: CLONE, into: Slot(30) });
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.no(Op::MoveMount { from: TREE, dir: At::Slot(Slot(30)), path: c"usr" }, Errno::EINVAL);
        stand.ok(Op::MoveMount { from: Slot(30), dir: At::Cwd, path: c"/srv" });
        stand.ok(Op::MoveMount { from: TREE, dir: At::Slot(Slot(30)), path: c"usr" });
    }

    #[test]
    fn a_mount_of_another_namespace_is_not_cloned() {
        let mut stand = Stand::root();
        stand.open(c"/usr", Slot(30));
        stand.ok(Op::OpenTree { dir: At::Cwd, path: c"/usr", flags: CLONE, into: OTHER });
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        let clone =
            |dir| Op::OpenTree { dir: At::Slot(dir), path: c"", flags: CLONE.with(TreeFlags::EMPTY_PATH), into: TREE };
        stand.no(clone(Slot(30)), Errno::EINVAL);
        stand.ok(tree(c"/usr", CLONE.with(TreeFlags::RECURSIVE)));
    }

    #[test]
    fn what_the_host_cloned_the_child_may_attach() {
        let mut stand = Stand::root();
        stand.ok(Op::OpenTree { dir: At::Cwd, path: c"/usr", flags: CLONE, into: Slot(30) });
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        stand.ok(Op::MoveMount { from: Slot(30), dir: At::Cwd, path: c"/srv" });
        assert!(line(&stand, Actor::Child, "/srv").unwrap().contains(" /usr /srv "));
        assert_eq!(stand.model.host_changes(), ["+ process 1001: running"]);
    }

    /// mount_namespaces(7): what comes from a more privileged namespace is one
    /// unit, and its flags stay.
    #[test]
    fn mounts_from_a_more_privileged_namespace_are_locked() {
        let mut stand = Stand::user().contained();
        let (nosuid, none) = (MountAttrs::NOSUID, MountAttrs::NONE);
        stand.no(attrs(c"/run", TreeFlags::NONE, none, nosuid), Errno::EPERM);
        stand.ok(attrs(c"/run", TreeFlags::NONE, MountAttrs::RDONLY, none));
        stand.ok(attrs(c"/run", TreeFlags::NONE, none, MountAttrs::RDONLY));
        stand.no(tree(c"/dev", CLONE), Errno::EINVAL);
        stand.ok(tree(c"/dev", CLONE.with(TreeFlags::RECURSIVE)));
        stand.ok(tree(c"/dev/shm", TreeFlags::NONE));
        stand.no(onto(c"/tmp"), Errno::EINVAL);
        // Access times do not change at all.
        let atime = MountAttrs(0x70);
        stand.no(attrs(c"/run", TreeFlags::NONE, MountAttrs::NOATIME, atime), Errno::EPERM);
    }

    #[test]
    fn a_recursive_change_is_made_everywhere_or_nowhere() {
        let mut stand = Stand::user().contained();
        let clear = MountAttrs::NOSUID;
        stand.no(attrs(c"/dev", TreeFlags::RECURSIVE, MountAttrs::RDONLY, clear), Errno::EPERM);
        assert!(line(&stand, Actor::Child, "/dev").unwrap().contains(" rw"));
        stand.ok(attrs(c"/dev", TreeFlags::RECURSIVE, MountAttrs::RDONLY, MountAttrs::NONE));
        assert!(line(&stand, Actor::Child, "/dev/shm").unwrap().contains(" ro,nosuid"));
        assert!(line(&stand, Actor::Host, "/dev/shm").unwrap().contains(" rw,nosuid"));
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        let mut stand = private();
        let none = MountAttrs::NONE;
        for (set, clear) in [
            (MountAttrs(0x4000_0000), none),
            (none, MountAttrs::IDMAP),
            (MountAttrs::NOATIME, none),
            (none, MountAttrs::NOATIME),
            (MountAttrs::IDMAP, none),
        ] {
            stand.no(attrs(c"/run", TreeFlags::NONE, set, clear), Errno::EINVAL);
        }
        stand.no(attrs(c"/run/x", TreeFlags::NONE, MountAttrs::RDONLY, none), Errno::ENOENT);
        stand.ok(attrs(c"/run/x", TreeFlags::NONE, none, none));
        stand.no(attrs(c"/usr", TreeFlags::NONE, MountAttrs::RDONLY, none), Errno::EINVAL);
        let two = Propagation::PRIVATE.with(Propagation::SLAVE);
        stand.no(propagation(c"/run", TreeFlags::NONE, two), Errno::EINVAL);
    }

    #[test]
    fn id_mapping_needs_a_detached_mount_of_a_file_system_that_one_controls() {
        let idmap = |dir, userns| Op::MountSetAttr {
            dir: At::Slot(dir),
            path: c"",
            flags: TreeFlags::EMPTY_PATH,
            set: MountAttrs::IDMAP,
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: Some(userns),
        };
        let ns = Slot(12);
        let open_ns =
            |dir, path| Op::OpenAt2 { dir, path, flags: OpenFlags::NONE, mode: 0, resolve: Resolve::NONE, into: ns };
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(tree(c"/usr", CLONE));
        stand.ok(open_ns(At::Cwd, c"/proc/self/ns/user"));
        stand.no(idmap(TREE, ns), Errno::EPERM);
        stand.no(idmap(TREE, PIDFD), Errno::EINVAL);
        stand.ok(open_ns(At::Slot(PROCESS), c"ns/user"));
        stand.no(idmap(TREE, ns), Errno::EINVAL);
        stand.write_maps(b"0 100000 65536", b"0 100000 65536");
        stand.ok(idmap(TREE, ns));
        stand.no(idmap(TREE, ns), Errno::EPERM);
        stand.ok(Op::OpenTree { dir: At::Cwd, path: c"/proc", flags: CLONE, into: OTHER });
        stand.no(idmap(OTHER, ns), Errno::EINVAL);
        stand.open(c"/usr", OTHER);
        stand.no(idmap(OTHER, ns), Errno::EINVAL);
        stand.open(c"/", OTHER);
        stand.no(idmap(OTHER, ns), Errno::EINVAL);
        // An ordinary user cannot, whatever it clones.
        let mut stand = Stand::user().contained();
        stand.ok(tree(c"/usr", CLONE.with(TreeFlags::RECURSIVE)));
        stand.ok(Op::Unshare { namespaces: Namespaces::USER });
        stand.ok(open_ns(At::Cwd, c"/proc/self/ns/user"));
        stand.no(idmap(TREE, ns), Errno::EPERM);
    }

    #[test]
    fn what_is_shared_reaches_the_host_and_what_is_a_slave_does_not() {
        // Without a user namespace the copies are peers of the host's mounts.
        let mut stand = Stand::on(Model::new().directory("/srv/new"));
        stand.ok(Op::Unshare { namespaces: Namespaces::MOUNT });
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv/new"));
        let changes = stand.model.host_changes();
        assert!(
            changes.iter().any(|change| change.starts_with("+ mount") && change.contains(" /srv/new ")),
            "{changes:?}"
        );
        // As slaves they are not, but still hear from the host.
        let mut stand = Stand::on(Model::new().directory("/srv/new"));
        stand.spawn(Namespaces::MOUNT, false, None).unwrap();
        stand.play(Actor::Child);
        stand.ok(propagation(c"/", TreeFlags::RECURSIVE, Propagation::SLAVE));
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv/new"));
        assert_eq!(line(&stand, Actor::Host, "/srv/new"), None);
        stand.play(Actor::Host);
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/tmp"));
        assert!(line(&stand, Actor::Child, "/tmp").unwrap().contains(" master:"));
        // And private ones hear nothing.
        stand.play(Actor::Child);
        stand.ok(propagation(c"/", TreeFlags::RECURSIVE, Propagation::PRIVATE));
        stand.play(Actor::Host);
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv"));
        assert_eq!(line(&stand, Actor::Child, "/srv"), None);
    }

    #[test]
    fn a_child_with_its_own_user_namespace_is_a_slave_from_the_start() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        assert!(line(&stand, Actor::Child, "/").unwrap().contains(" master:"));
        assert!(!line(&stand, Actor::Child, "/").unwrap().contains(" shared:"));
        // What arrives from the host later can still be moved as a whole.
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv"));
        stand.play(Actor::Child);
        stand.ok(tree(c"/srv", TreeFlags::NONE));
        stand.ok(onto(c"/tmp"));
    }

    #[test]
    fn what_is_unmounted_by_its_path_or_itself_is_gone_for_all_who_hear() {
        let gone = |path| Op::Unmount { dir: At::Cwd, path };
        let mut stand = Stand::on(Model::new().directory("/srv/new").symlink("/srv/link", "new"));
        stand.ok(gone(c"/srv/new"));
        stand.ok(gone(c"/srv/missing"));
        stand.no(gone(c"srv/new"), Errno::EINVAL);
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv/new"));
        stand.spawn(Namespaces::MOUNT, false, None).unwrap();
        assert!(line(&stand, Actor::Child, "/srv/new").is_some());
        stand.ok(gone(c"/srv/link"));
        assert!(line(&stand, Actor::Host, "/srv/new").is_some());
        stand.ok(gone(c"/srv/new"));
        assert_eq!((line(&stand, Actor::Host, "/srv/new"), line(&stand, Actor::Child, "/srv/new")), (None, None));
        // The one that is held, whatever has its place by now.
        stand.ok(Op::Unmount { dir: At::Slot(TREE), path: c"" });
        stand.fresh(c"tmpfs", OTHER).unwrap();
        stand.ok(Op::MoveMount { from: OTHER, dir: At::Cwd, path: c"/srv/new" });
        stand.ok(Op::Unmount { dir: At::Slot(TREE), path: c"" });
        assert!(line(&stand, Actor::Host, "/srv/new").is_some());
        stand.ok(Op::Unmount { dir: At::Slot(OTHER), path: c"" });
        assert_eq!(line(&stand, Actor::Host, "/srv/new"), None);
        Stand::user().no(gone(c"/srv"), Errno::EPERM);
    }

    fn at_new_root(stand: &mut Stand) {
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv/new"));
        stand.ok(Op::Fchdir { dir: TREE });
    }

    #[test]
    fn pivot_root_swaps_and_the_old_root_goes() {
        let mut stand = private();
        at_new_root(&mut stand);
        stand.no(Op::UmountOld {}, Errno::EINVAL);
        stand.ok(Op::PivotRoot {});
        stand.no(Op::ProveRoot {}, Errno::ESTALE);
        stand.ok(Op::UmountOld {});
        stand.ok(Op::ProveRoot {});
        let lines = stand.model.process(Actor::Host).unwrap().mountinfo();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(" / / rw,relatime - tmpfs"));
        stand.no(Op::UmountOld {}, Errno::EINVAL);
        stand.ok(Op::Chdir { path: c"/" });
        assert_eq!(stand.model.process(Actor::Host).unwrap().kind("/usr"), None);
    }

    #[test]
    fn what_lay_over_the_old_root_goes_before_it() {
        let mut stand = private();
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/srv/new"));
        stand.fresh(c"tmpfs", OTHER).unwrap();
        stand.ok(Op::MoveMount { from: OTHER, dir: At::Cwd, path: c"/" });
        stand.ok(Op::Fchdir { dir: TREE });
        stand.ok(Op::PivotRoot {});
        stand.ok(Op::UmountOld {});
        stand.no(Op::ProveRoot {}, Errno::ESTALE);
        stand.ok(Op::UmountOld {});
        stand.ok(Op::ProveRoot {});
    }

    #[test]
    fn pivot_root_keeps_its_conditions() {
        // The new root is the current one.
        let mut stand = private();
        stand.no(Op::PivotRoot {}, Errno::EBUSY);
        // Not a mount point.
        stand.ok(Op::Chdir { path: c"/srv/new" });
        stand.no(Op::PivotRoot {}, Errno::EBUSY);
        stand.ok(Op::Chdir { path: c"/dev/pts" });
        stand.ok(propagation(c"/dev/pts", TreeFlags::NONE, Propagation::SHARED));
        stand.no(Op::PivotRoot {}, Errno::EINVAL);
        // The parent of the new root is shared.
        let mut stand = private();
        at_new_root(&mut stand);
        stand.ok(propagation(c"/", TreeFlags::NONE, Propagation::SHARED));
        stand.no(Op::PivotRoot {}, Errno::EINVAL);
        // Not yet attached anywhere.
        let mut stand = private();
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(Op::Fchdir { dir: TREE });
        stand.no(Op::PivotRoot {}, Errno::EINVAL);
        // A mount that is locked cannot be the root.
        let mut stand = Stand::user().contained();
        stand.ok(Op::Chdir { path: c"/run" });
        stand.no(Op::PivotRoot {}, Errno::EINVAL);
    }

    #[test]
    fn pivot_root_works_inside_a_user_namespace_and_hides_the_host() {
        let mut stand = Stand::user().contained();
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(onto(c"/tmp"));
        stand.ok(Op::Fchdir { dir: TREE });
        stand.ok(Op::PivotRoot {});
        // Between the two the process counts as chrooted (user_namespaces(7)).
        stand.no(Op::Unshare { namespaces: Namespaces::USER }, Errno::EPERM);
        stand.ok(Op::UmountOld {});
        stand.ok(Op::Unshare { namespaces: Namespaces::USER });
        assert_eq!(stand.model.host_changes(), ["+ process 1001: running"]);
    }

    #[test]
    fn a_landlocked_process_changes_no_mount() {
        let mut stand = private();
        stand.ok(Op::LandlockRuleset { file_access: 1, net_access: 0, scoped: 0, into: TREE });
        stand.ok(Op::LandlockRestrict { ruleset: TREE });
        stand.no(attrs(c"/", TreeFlags::NONE, MountAttrs::RDONLY, MountAttrs::NONE), Errno::EPERM);
        stand.no(Op::PivotRoot {}, Errno::EPERM);
    }
}
