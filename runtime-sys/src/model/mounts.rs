//! The table of mounts: namespaces, detached trees, propagation, locks.
//!
//! Sources: mount_namespaces(7); `fs/namespace.c` and `fs/pnode.c` for what it
//! leaves open.

use crate::abi::{MountAttrs, Namespaces, cap};
use crate::errno::Errno;

use super::file_systems::FsId;
use super::files::{InodeId, Place};
use super::namespaces::Content;
use super::processes::TaskId;
use super::{Model, SpaceId, UserId, id};

id! {
    /// A mount.
    MountId
}

/// Where a mount belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Within {
    Namespace(SpaceId),
    /// A tree that is mounted nowhere; its own root names it.
    Detached(MountId),
    /// Unmounted, and alive only through descriptors.
    Nowhere,
}

#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) fs: FsId,
    pub(super) root: InodeId,
    /// What was mounted, by name (`mnt_devname`).
    pub(super) source: String,
    pub(super) parent: Option<Place>,
    pub(super) within: Within,
    pub(super) attrs: MountAttrs,
    /// Attributes that may not be taken away (mount_namespaces(7),
    /// "Restrictions on mount namespaces").
    pub(super) locked_attrs: MountAttrs,
    /// May not be unmounted or moved on its own.
    pub(super) locked: bool,
    /// The peer group, when shared.
    pub(super) group: Option<u32>,
    /// The peer group that it is a slave of.
    pub(super) master: Option<u32>,
    pub(super) idmap: Option<UserId>,
    /// Of a detached tree: the mount namespace that it was cloned from.
    pub(super) origin: Option<SpaceId>,
    /// When it came to its place: the order of a parent's children.
    pub(super) since: usize,
}

/// How mounts are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    Peers,
    /// Of a shared mount a slave.
    SlavesOfShared,
    /// Slaves; the copy of a shared mount that a shared slave receives is
    /// shared in its turn.
    Slaves {
        shared: bool,
    },
}

impl Model {
    pub(super) fn root_of(&self, mount: MountId) -> Place {
        Place { mount, inode: self[mount].root }
    }

    pub(super) fn every_mount(&self) -> impl Iterator<Item = MountId> + use<> {
        (0..self.mounts.len()).map(MountId)
    }

    pub(super) fn mounts_of(&self, space: SpaceId) -> impl Iterator<Item = MountId> {
        self.every_mount().filter(move |mount| self[*mount].within == Within::Namespace(space))
    }

    /// What lies on top at a place: the root of the last mount there.
    pub(super) fn topmost(&self, mut at: Place) -> Place {
        while let Some(over) = self.every_mount().find(|mount| self[*mount].parent == Some(at)) {
            at = self.root_of(over);
        }
        at
    }

    pub(super) fn children(&self, mount: MountId) -> Vec<MountId> {
        let is_child = |child: &MountId| self[*child].parent.is_some_and(|parent| parent.mount == mount);
        let mut children: Vec<MountId> = self.every_mount().filter(is_child).collect();
        children.sort_by_key(|child| self[*child].since);
        children
    }

    /// `attach_mnt`: the last of its parent's children.
    pub(super) fn put_on(&mut self, mount: MountId, on: Place) {
        let last = self.mounts.iter().map(|mount| mount.since).max().unwrap_or(0);
        let mount = &mut self[mount];
        (mount.parent, mount.since) = (Some(on), last + 1);
    }

    /// A mount and everything below it, parents first.
    pub(super) fn subtree(&self, mount: MountId) -> Vec<MountId> {
        let mut tree = vec![mount];
        let mut next = 0;
        while let Some(at) = tree.get(next).copied() {
            tree.extend(self.children(at));
            next += 1;
        }
        tree
    }

    pub(super) fn new_mount(&mut self, mount: Mount) -> MountId {
        self.mounts.push(mount);
        MountId(self.mounts.len() - 1)
    }

    pub(super) fn new_group(&mut self) -> u32 {
        self.last_group += 1;
        self.last_group
    }

    pub(super) fn mount_spaces(&self) -> impl Iterator<Item = SpaceId> {
        (0..self.spaces.len()).map(SpaceId).filter(|space| self[*space].kind == Namespaces::MOUNT)
    }

    pub(super) fn own_space(&self) -> SpaceId {
        self[self.current].spaces.mount
    }

    /// `may_mount`: CAP_SYS_ADMIN in the user namespace that owns the mount
    /// namespace (mount(2), EPERM).
    pub(super) fn may_mount(&self) -> Result<(), Errno> {
        self.need(self[self.own_space()].owner, cap::SYS_ADMIN)
    }

    /// `check_mnt`: whether a mount is of the process's own mount namespace.
    pub(super) fn is_own(&self, mount: MountId) -> bool {
        self[mount].within == Within::Namespace(self.own_space())
    }

    pub(super) fn detached(&self, mount: MountId) -> bool {
        matches!(self[mount].within, Within::Detached(_))
    }

    /// `check_anonymous_mnt`: whether a mount is in a detached tree that can be
    /// mounted into and cloned from, which came with Linux 6.15: one that was
    /// not cloned from another mount namespace.
    pub(super) fn usable_detached(&self, mount: MountId) -> bool {
        match self[mount].within {
            Within::Detached(top) => {
                self.kernel >= (6, 15) && self[top].origin.is_none_or(|origin| origin == self.own_space())
            }
            _ => false,
        }
    }

    /// Whether the root of `task` is not that of its mount namespace, as after
    /// chroot(2).
    pub(super) fn chrooted(&self, task: TaskId) -> bool {
        match self[self[task].spaces.mount].content {
            Content::Mount { root } => self.topmost(self.root_of(root)) != self[task].root,
            _ => true,
        }
    }

    fn copy_one(&mut self, mount: MountId, copy: Copy) -> MountId {
        let mut new = self[mount].clone();
        let old = self[mount].group;
        match copy {
            Copy::Peers => {}
            Copy::SlavesOfShared | Copy::Slaves { .. } if old.is_some() => {
                (new.master, new.group) = (old, None);
            }
            _ => {}
        }
        if copy == (Copy::Slaves { shared: true }) {
            new.group = Some(self.new_group());
        }
        self.new_mount(new)
    }

    /// Copies a mount, shown from `root` on, and, when `recursive`, what is
    /// mounted below. The copies belong nowhere yet; parents come first.
    pub(super) fn copy_tree(
        &mut self,
        mount: MountId,
        root: InodeId,
        recursive: bool,
        copy: Copy,
    ) -> Vec<(MountId, MountId)> {
        let top = self.copy_one(mount, copy);
        (self[top].root, self[top].parent, self[top].locked) = (root, None, false);
        let mut pairs = vec![(mount, top)];
        if recursive {
            self.copy_below((mount, top), Some(root), copy, &mut pairs);
        }
        pairs
    }

    /// Each child with all that is below it before the next (`next_mnt`).
    fn copy_below(
        &mut self,
        (old, new): (MountId, MountId),
        root: Option<InodeId>,
        copy: Copy,
        pairs: &mut Vec<(MountId, MountId)>,
    ) {
        for child in self.children(old) {
            let Some(on) = self[child].parent else { continue };
            if root.is_some_and(|root| !self.within(on.inode, root)) {
                continue;
            }
            let twin = self.copy_one(child, copy);
            self.put_on(twin, Place { mount: new, inode: on.inode });
            pairs.push((child, twin));
            self.copy_below((child, twin), None, copy, pairs);
        }
    }

    /// mount_namespaces(7), "Restrictions on mount namespaces": what crosses
    /// into a mount namespace of another user namespace is locked, flags and
    /// mounts; the top of the tree can still be taken away as a whole.
    fn lock_tree(&mut self, tree: &[MountId]) {
        for (index, mount) in tree.iter().enumerate() {
            let mount = &mut self[*mount];
            let lockable = MountAttrs::RDONLY.0 | MountAttrs::NODEV.0 | MountAttrs::NOSUID.0 | MountAttrs::NOEXEC.0;
            mount.locked_attrs = MountAttrs(
                mount.locked_attrs.0 | (mount.attrs.0 & lockable) | MountAttrs::NOATIME.0 | MountAttrs::STRICTATIME.0,
            );
            mount.locked |= index > 0;
        }
    }

    /// clone(2), CLONE_NEWNS: a copy of the caller's mount namespace.
    pub(super) fn copy_mounts(&mut self, task: TaskId, owner: UserId) -> SpaceId {
        let old = self[task].spaces.mount;
        let Content::Mount { root } = self[old].content else { return old };
        let foreign = self[old].owner != owner;
        // mount_namespaces(7): "… are reduced to slave mounts".
        let copy = if foreign { Copy::SlavesOfShared } else { Copy::Peers };
        let pairs = self.copy_tree(root, self[root].root, true, copy);
        let new = self.new_space(Namespaces::MOUNT, owner, Content::Mount { root: pairs[0].1 });
        for (_, twin) in &pairs {
            self[*twin].within = Within::Namespace(new);
        }
        for (old, twin) in &pairs {
            // The root of the tree keeps a lock that it had.
            self[*twin].locked = self[*old].locked;
        }
        if foreign {
            let tree: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
            self.lock_tree(&tree);
        }
        let moved = |at: Place| {
            let twin = pairs.iter().find(|pair| pair.0 == at.mount).map_or(at.mount, |pair| pair.1);
            Place { mount: twin, inode: at.inode }
        };
        (self[task].root, self[task].cwd) = (moved(self[task].root), moved(self[task].cwd));
        new
    }

    /// The mounts that hear of a change under `mount` (mount_namespaces(7),
    /// "Propagation type transitions"): its peers, and the slaves of the group,
    /// and theirs; with whether they are peers.
    fn receivers(&self, mount: MountId) -> Vec<(MountId, bool)> {
        let Some(group) = self[mount].group else { return Vec::new() };
        let mut groups = vec![(group, true)];
        let mut found: Vec<(MountId, bool)> = Vec::new();
        let mut next = 0;
        while let Some((group, peers)) = groups.get(next).copied() {
            for other in self.every_mount().filter(|other| *other != mount) {
                let here = &self[other];
                if here.within == Within::Nowhere || found.iter().any(|row| row.0 == other) {
                    continue;
                }
                if here.group == Some(group) {
                    found.push((other, peers));
                } else if here.master == Some(group) {
                    found.push((other, false));
                    groups.extend(here.group.map(|own| (own, false)));
                }
            }
            next += 1;
        }
        found
    }

    /// Mounts the tree of `mount` at `at`, here and wherever that is
    /// propagated to (mount_namespaces(7), "Bind (MS_BIND) semantics" and
    /// "Move (MS_MOVE) semantics").
    pub(super) fn attach(&mut self, mount: MountId, at: Place) {
        let within = self[at.mount].within;
        let tree = self.subtree(mount);
        let shared = self[at.mount].group.is_some();
        for member in &tree {
            self[*member].within = within;
            if shared && self[*member].group.is_none() {
                self[*member].group = Some(self.new_group());
            }
        }
        for (receiver, peer) in self.receivers(at.mount) {
            let fits = self[receiver].fs == self[at.inode].fs && self.within(at.inode, self[receiver].root);
            if !fits {
                continue;
            }
            let copy = if peer { Copy::Peers } else { Copy::Slaves { shared: self[receiver].group.is_some() } };
            let pairs = self.copy_tree(mount, self[mount].root, true, copy);
            let there = self[receiver].within;
            let twins: Vec<_> = pairs.iter().map(|pair| pair.1).collect();
            for twin in &twins {
                self[*twin].within = there;
            }
            if self.owner_of(there) != self.owner_of(within) {
                self.lock_tree(&twins);
            }
            let on = self.topmost(Place { mount: receiver, inode: at.inode });
            self.put_on(twins[0], on);
        }
        self.put_on(mount, at);
    }

    fn owner_of(&self, within: Within) -> Option<UserId> {
        match within {
            Within::Namespace(space) => Some(self[space].owner),
            _ => None,
        }
    }

    /// Takes a tree away, here and wherever that is propagated to.
    pub(super) fn detach(&mut self, mount: MountId) {
        let copies: Vec<MountId> = self[mount].parent.map_or_else(Vec::new, |on| {
            let receivers = self.receivers(on.mount);
            let at = |receiver| Place { mount: receiver, inode: on.inode };
            receivers
                .iter()
                .filter_map(|(receiver, _)| self.every_mount().find(|child| self[*child].parent == Some(at(*receiver))))
                .collect()
        });
        for top in copies.into_iter().chain([mount]) {
            for member in self.subtree(top) {
                let member = &mut self[member];
                (member.within, member.parent) = (Within::Nowhere, None);
                (member.group, member.master) = (None, None);
            }
        }
    }

    /// The descriptor of a detached tree was closed: unmounted, if it still is
    /// detached.
    pub(super) fn dissolve(&mut self, mount: MountId) {
        if self[mount].within == Within::Detached(mount) {
            self.detach(mount);
        }
    }

    /// The last process of a mount namespace is gone.
    pub(super) fn unmount_all(&mut self, space: SpaceId) {
        for mount in self.mounts_of(space).collect::<Vec<_>>() {
            let mount = &mut self[mount];
            (mount.within, mount.parent, mount.group, mount.master) = (Within::Nowhere, None, None, None);
        }
    }

    /// The path by which a process sees the root of a mount, if it does.
    pub(super) fn mount_point(&self, mount: MountId, root: Place) -> Option<String> {
        let mut at = self.root_of(mount);
        let mut names: Vec<String> = Vec::new();
        loop {
            if at == root {
                names.push(String::new());
                names.reverse();
                return Some(if names.len() == 1 { "/".to_owned() } else { names.join("/") });
            }
            if at.inode == self[at.mount].root {
                at = self[at.mount].parent?;
            } else {
                names.push(String::from_utf8_lossy(&self[at.inode].name).into_owned());
                at.inode = self[at.inode].parent?;
            }
        }
    }

    /// Lines as in `/proc/PID/mountinfo` (proc(5)), as seen from `root`.
    pub(super) fn mountinfo(&self, space: SpaceId, root: Place) -> Vec<String> {
        let line = |mount: MountId| {
            let point = mangled(&self.mount_point(mount, root)?);
            let here = &self[mount];
            let fs = &self[here.fs];
            let parent = here.parent.map_or(mount, |on| on.mount);
            let mut options = vec![if here.attrs.has(MountAttrs::RDONLY) { "ro" } else { "rw" }];
            // In the order of `show_mnt_opts`, which has a word for the default and none
            // for `strictatime`.
            let default = !here.attrs.has(MountAttrs::NOATIME) && !here.attrs.has(MountAttrs::STRICTATIME);
            let shown = [
                (here.attrs.has(MountAttrs::NOSUID), "nosuid"),
                (here.attrs.has(MountAttrs::NODEV), "nodev"),
                (here.attrs.has(MountAttrs::NOEXEC), "noexec"),
                (here.attrs.has(MountAttrs::NOATIME), "noatime"),
                (here.attrs.has(MountAttrs::NODIRATIME), "nodiratime"),
                (default, "relatime"),
                (here.attrs.has(MountAttrs::NOSYMFOLLOW), "nosymfollow"),
            ];
            options.extend(shown.iter().filter(|row| row.0).map(|row| row.1));
            if here.idmap.is_some() {
                options.push("idmapped");
            }
            let mut line = format!(
                "{} {} 0:{} {} {} {}",
                mount.0 + 1,
                parent.0 + 1,
                here.fs.0 + 1,
                mangled(&self.path_in_fs(here.root)),
                point,
                options.join(","),
            );
            line.extend(here.group.map(|group| format!(" shared:{group}")));
            line.extend(here.master.map(|master| format!(" master:{master}")));
            let mode = if fs.read_only { "ro" } else { "rw" };
            let comma = if fs.shown.is_empty() { "" } else { "," };
            Some(format!("{line} - {} {} {mode}{comma}{}", fs.name, mangled(&here.source), fs.shown))
        };
        self.mounts_of(space).filter_map(line).collect()
    }
}

/// proc(5), mountinfo: what would end a field is an octal number (`mangle_path`).
fn mangled(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            ' ' | '\t' | '\n' | '\\' => shown += &format!("\\{:03o}", u32::from(character)),
            plain => shown.push(plain),
        }
    }
    shown
}

/// The other way round.
pub(super) fn unmangled(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain += part.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                plain += part;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_field_of_mountinfo_is_a_number() {
        for (plain, shown) in [("/a b", r"/a\040b"), ("/\n\t\\", r"/\012\011\134"), ("/ü", "/ü"), ("", "")] {
            assert_eq!((mangled(plain), unmangled(shown)), (shown.to_owned(), plain.to_owned()));
        }
        assert_eq!(unmangled(r"/a\9"), r"/a\9");
    }
}
