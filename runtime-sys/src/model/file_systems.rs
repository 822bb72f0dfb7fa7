//! Types of file systems, and the making of one: `fsopen`, `fsconfig`,
//! `fsmount`.
//!
//! Sources: user_namespaces(7), "Privileged operations"; filesystems(5);
//! overlayfs documentation; `fs/fsopen.c` and `fs/namespace.c`.

use crate::abi::{MountAttrs, cap, fs_magic};
use crate::errno::Errno;

use super::descriptors::{Access, Handle, Object};
use super::files::{InodeId, Node, Place};
use super::mounting::check_attrs;
use super::mounts::{Mount, MountId, Within};
use super::namespaces::Content;
use super::{FileId, Model, SpaceId, TaskId, UserId, id};

id! {
    /// A file system instance ("superblock").
    FsId
}

/// A type of file system.
#[derive(Debug)]
pub(super) struct FsKind {
    pub(super) name: &'static str,
    pub(super) magic: u64,
    /// Can be mounted by the root of a user namespace (`FS_USERNS_MOUNT`).
    userns: bool,
    /// Must be visible already for that (`SB_I_USERNS_VISIBLE`).
    visible: bool,
    /// Can be id-mapped (`FS_ALLOW_IDMAP`).
    pub(super) idmap: bool,
    parameters: &'static [&'static str],
}

const fn kind(name: &'static str, magic: u64) -> FsKind {
    FsKind { name, magic, userns: true, visible: false, idmap: false, parameters: &[] }
}

/// Every type that the model has.
static KINDS: &[FsKind] = &[
    FsKind { userns: false, idmap: true, ..kind("ext4", 0xef53) },
    FsKind {
        idmap: true,
        parameters: &[
            "size",
            "nr_blocks",
            "nr_inodes",
            "mode",
            "uid",
            "gid",
            "huge",
            "mpol",
            "inode64",
            "inode32",
            "noswap",
        ],
        ..kind("tmpfs", fs_magic::TMPFS)
    },
    FsKind { visible: true, parameters: &["hidepid", "subset", "gid", "pidns"], ..kind("proc", fs_magic::PROC) },
    FsKind { visible: true, ..kind("sysfs", fs_magic::SYSFS) },
    FsKind {
        parameters: &["newinstance", "ptmxmode", "mode", "uid", "gid", "max"],
        ..kind("devpts", fs_magic::DEVPTS)
    },
    kind("mqueue", fs_magic::MQUEUE),
    FsKind {
        parameters: &["nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot", "pids_localevents"],
        ..kind("cgroup2", fs_magic::CGROUP2)
    },
    FsKind { userns: false, ..kind("cgroup", fs_magic::CGROUP) },
    FsKind {
        idmap: true,
        parameters: &[
            "lowerdir",
            "lowerdir+",
            "datadir+",
            "upperdir",
            "workdir",
            "userxattr",
            "volatile",
            "metacopy",
            "redirect_dir",
            "index",
            "xino",
            "nfs_export",
            "uuid",
            "verity",
        ],
        ..kind("overlay", fs_magic::OVERLAY)
    },
    FsKind { userns: false, ..kind("devtmpfs", fs_magic::TMPFS) },
    FsKind { parameters: &["mode"], ..kind("ramfs", 0x8584_58f6) },
    FsKind { userns: false, ..kind("rootfs", 0x8584_58f6) },
];

/// `source`, and the flags of every superblock (fsconfig(2)).
const COMMON: &[&str] = &["source", "ro", "rw", "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"];

pub(super) fn fs_kind(name: &str) -> Option<&'static FsKind> {
    KINDS.iter().find(|kind| kind.name == name)
}

#[derive(Clone, Debug)]
pub(super) struct FileSystem {
    pub(super) kind: &'static FsKind,
    /// The user namespace that it was mounted in.
    pub(super) user: UserId,
    pub(super) root: InodeId,
    /// The type, as mountinfo shows it.
    pub(super) name: String,
    /// Of v1: its controllers.
    pub(super) controllers: Vec<String>,
    pub(super) read_only: bool,
    /// As it was made.
    pub(super) options: Vec<(String, String)>,
    /// And what mountinfo shows of that, beside `ro` and `rw`.
    pub(super) shown: String,
    /// The namespace that it shows: of procfs its pid namespace.
    pub(super) space: Option<SpaceId>,
}

/// A file system in the making (fsopen(2)).
#[derive(Clone, Debug)]
pub(super) struct FsContext {
    kind: &'static FsKind,
    user: UserId,
    space: Option<SpaceId>,
    parameters: Vec<(String, String)>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Parameters,
    Created(FsId),
    Mounted,
    /// Its creation failed: good for nothing any more.
    Failed,
}

impl Model {
    /// fsopen(2)
    pub(super) fn fs_open(&self, name: &str) -> Result<Object, Errno> {
        self.may_mount()?;
        let kind = fs_kind(name).ok_or(Errno::ENODEV)?;
        let spaces = self[self.current].spaces;
        // The namespace that the file system shows, and whose owner decides.
        let space = match kind.name {
            "proc" => Some(spaces.pid),
            "sysfs" => Some(spaces.network),
            "mqueue" => Some(spaces.ipc),
            "cgroup2" => Some(spaces.cgroup),
            _ => None,
        };
        let user = space.map_or_else(|| self.cred().user, |space| self[space].owner);
        // sysfs: "only if the caller has CAP_SYS_ADMIN rights over the network
        // namespace" (user_namespaces(7)).
        if kind.name == "sysfs" {
            self.need(user, cap::SYS_ADMIN)?;
        }
        Ok(Object::Fs(FsContext { kind, user, space, parameters: Vec::new(), phase: Phase::Parameters }))
    }

    /// fsconfig(2) with a key.
    pub(super) fn fs_set(&mut self, file: FileId, key: &str, value: &str) -> Result<(), Errno> {
        let Object::Fs(context) = &mut self[file].object else { return Err(Errno::EINVAL) };
        // Once mounted, keys are for a reconfiguration.
        if matches!(context.phase, Phase::Created(_) | Phase::Failed) {
            return Err(Errno::EBUSY);
        }
        // strndup_user: a value has at most 255 bytes.
        if value.len() > 255 || !COMMON.contains(&key) && !context.kind.parameters.contains(&key) {
            return Err(Errno::EINVAL);
        }
        context.parameters.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// fsconfig(2), FSCONFIG_CMD_CREATE.
    pub(super) fn fs_create(&mut self, file: FileId) -> Result<(), Errno> {
        let Object::Fs(context) = self[file].object.clone() else { return Err(Errno::EINVAL) };
        if context.phase != Phase::Parameters {
            return Err(Errno::EBUSY);
        }
        // user_namespaces(7): CAP_SYS_ADMIN over the namespace that the file
        // system belongs to, or the initial one for what is not listed there.
        let judge = if context.kind.userns { context.user } else { UserId::INITIAL };
        self.need(judge, cap::SYS_ADMIN)?;
        let phase = self.make_file_system(&context).map(Phase::Created);
        if let Object::Fs(context) = &mut self[file].object {
            context.phase = *phase.as_ref().unwrap_or(&Phase::Failed);
        }
        phase.map(drop)
    }

    fn make_file_system(&mut self, context: &FsContext) -> Result<FsId, Errno> {
        let get = |key: &str| context.parameters.iter().rev().find(|row| row.0 == key).map(|row| row.1.as_str());
        let layers = if context.kind.name == "overlay" { Some(self.layers(&context.parameters)?) } else { None };
        let fs = if context.kind.name == "cgroup2" {
            self.cgroups
        } else {
            self.new_file_system(context.kind, context.user, context.space)
        };
        let root = self[fs].root;
        // `shmem_parse_one`, since Linux 6.6: what the inodes take must fit a word.
        let inodes = get("nr_inodes").filter(|_| self.kernel >= (6, 6)).and_then(|text| text.parse::<u64>().ok());
        if inodes.is_some_and(|count| count > u64::MAX / 1024) {
            return Err(Errno::EINVAL);
        }
        // The same: `noswap` is of Linux 6.4, and who is root of the machine's alone.
        if get("noswap").is_some() && (context.user != UserId::INITIAL || self.kernel < (6, 4)) {
            return Err(Errno::EINVAL);
        }
        if let Some(mode) = get("mode").filter(|_| context.kind.name != "devpts") {
            self[root].mode = u32::from_str_radix(mode, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
        }
        // ramfs_get_inode: whoever mounts it owns its root.
        if context.kind.magic == fs_magic::TMPFS || context.kind.name == "ramfs" {
            let cred = self.cred();
            let (mut uid, mut gid) = (cred.uid.fs, cred.gid.fs);
            for (key, id, map) in [("uid", &mut uid, &self[cred.user].uids), ("gid", &mut gid, &self[cred.user].gids)] {
                if let Some(text) = get(key) {
                    let inside = text.parse().map_err(|_| Errno::EINVAL)?;
                    *id = super::namespaces::to_kernel(map, inside).ok_or(Errno::EINVAL)?;
                }
            }
            (self[root].uid, self[root].gid) = (uid, gid);
        }
        // `inode_init_always`: uid 0 of who the file system belongs to.
        if context.kind.magic == fs_magic::DEVPTS {
            let user = &self[context.user];
            let [uid, gid] =
                [&user.uids, &user.gids].map(|map| super::namespaces::to_kernel(map, 0).unwrap_or(u32::MAX));
            (self[root].uid, self[root].gid) = (uid, gid);
        }
        // mknod_ptmx: whoever mounts it owns it; kernel
        // filesystems/devpts.rst, ptmxmode.
        if context.kind.magic == fs_magic::DEVPTS
            && let Node::Directory(entries) = &self[root].node
            && let Some(ptmx) = entries.get(b"ptmx".as_slice()).copied()
        {
            let (uid, gid) = (self.cred().uid.fs, self.cred().gid.fs);
            let mode = u32::from_str_radix(get("ptmxmode").unwrap_or("0"), 8).map_err(|_| Errno::EINVAL)? & 0o7777;
            let inode = &mut self[ptmx];
            (inode.uid, inode.gid, inode.mode) = (uid, gid, mode);
        }
        if get("subset") == Some("pid")
            && let Node::Directory(entries) = &mut self[root].node
        {
            entries.clear();
        }
        if let Some(layers) = layers {
            for layer in layers {
                self.merge(layer, root);
            }
        }
        // `apply_cgroup_root_flags`: there is one, and a mount by who is in the initial
        // namespace sets anew what all of them have.
        if fs == self.cgroups {
            if self[self.current].spaces.cgroup == self[TaskId(0)].spaces.cgroup {
                let options: Vec<&str> = context.parameters.iter().map(|row| row.0.as_str()).collect();
                self[fs].shown = options.join(",");
            }
            return Ok(fs);
        }
        self[fs].read_only |= get("ro").is_some();
        self[fs].shown = self.shown_options(context, root);
        self[fs].options.clone_from(&context.parameters);
        Ok(fs)
    }

    /// `shmem_show_options`, `devpts_show_options`, `ramfs_show_options`, `proc_show_options`:
    /// in the kernel's own ids, and without what is the default, which of a tmpfs is half
    /// of the memory.
    fn shown_options(&self, context: &FsContext, root: InodeId) -> String {
        let get = |key: &str| context.parameters.iter().rev().find(|row| row.0 == key).map(|row| row.1.as_str());
        let octal = |key: &str| get(key).and_then(|text| u32::from_str_radix(text, 8).ok());
        let mut shown = Vec::new();
        match context.kind.name {
            "tmpfs" => {
                let pages =
                    get("size").and_then(|size| pages(size, self.memory)).or_else(|| get("nr_blocks").and_then(bytes));
                let pages = pages.filter(|pages| *pages != self.memory / 2);
                shown.extend(pages.map(|pages| format!("size={}k", pages.wrapping_mul(PAGE / 1024))));
                let inodes = get("nr_inodes").and_then(bytes).filter(|count| *count != self.memory / 2);
                shown.extend(inodes.map(|count| format!("nr_inodes={count}")));
                shown.extend(
                    octal("mode")
                        .filter(|mode| mode & 0o7777 != 0o1777)
                        .map(|mode| format!("mode={:03o}", mode & 0o7777)),
                );
                let (uid, gid) = (self[root].uid, self[root].gid);
                shown.extend((uid != 0).then(|| format!("uid={uid}")));
                shown.extend((gid != 0).then(|| format!("gid={gid}")));
                // A kernel that is built for it shows the other as well.
                shown.extend(get("inode64").map(|_| "inode64".to_owned()));
                shown.extend(get("huge").filter(|huge| *huge != "never").map(|huge| format!("huge={huge}")));
                shown.extend(get("mpol").filter(|policy| *policy != "default").map(|policy| format!("mpol={policy}")));
                shown.extend(get("noswap").map(|_| "noswap".to_owned()));
            }
            "devpts" => {
                let user = &self[context.user];
                for (key, map) in [("uid", &user.uids), ("gid", &user.gids)] {
                    let id = get(key).and_then(|text| super::namespaces::to_kernel(map, text.parse().ok()?));
                    shown.extend(id.map(|id| format!("{key}={id}")));
                }
                shown.push(format!("mode={:03o}", octal("mode").unwrap_or(0o600)));
                shown.push(format!("ptmxmode={:03o}", octal("ptmxmode").unwrap_or(0)));
            }
            "ramfs" => shown.extend(octal("mode").filter(|mode| *mode != 0o755).map(|mode| format!("mode={mode:o}"))),
            "proc" => {
                shown.extend(get("hidepid").map(|how| format!("hidepid={how}")));
                shown.extend(get("subset").map(|what| format!("subset={what}")));
            }
            _ => {}
        }
        shown.join(",")
    }

    /// The directories of an overlay, lowest first.
    fn layers(&mut self, parameters: &[(String, String)]) -> Result<Vec<Place>, Errno> {
        let of = |key: &'static str| parameters.iter().filter(move |row| row.0 == key).map(|row| row.1.clone());
        let mut paths: Vec<String> =
            of("lowerdir").flat_map(|list| split_lower(&list)).chain(of("lowerdir+")).collect();
        // "At least one lower layer"; an upper one needs a work directory.
        if paths.is_empty() || of("upperdir").count() != of("workdir").count() {
            return Err(Errno::EINVAL);
        }
        paths.reverse();
        paths.extend(of("upperdir"));
        let work: Vec<String> = of("workdir").collect();
        let cwd = self[self.current].cwd;
        let mut found = Vec::new();
        for path in paths.iter().chain(&work) {
            let place = self.walk(cwd, path.as_bytes(), crate::abi::Resolve::NONE, true)?;
            if !self.is_directory(place.inode) {
                return Err(Errno::ENOTDIR);
            }
            found.push(place);
        }
        // "workdir and upperdir must reside under the same mount", and be
        // "separate subtrees" (fs/overlayfs/super.c).
        if let ([.., upper, work], false) = (&found[..], work.is_empty()) {
            let nested = self.within(upper.inode, work.inode) || self.within(work.inode, upper.inode);
            if upper.mount != work.mount || nested {
                return Err(Errno::EINVAL);
            }
            // "upperdir … is on a read-only mount".
            self.writable(*upper).map_err(|_| Errno::EINVAL)?;
        }
        found.truncate(paths.len());
        Ok(found)
    }

    /// Copies a layer into the merged tree. What is written there later does
    /// not go back to the upper directory: the model keeps no such link. Its ids are
    /// those that the layer's mount shows.
    fn merge(&mut self, from: Place, into: InodeId) {
        let Node::Directory(entries) = self[from.inode].node.clone() else { return };
        let (uid, gid) = self.shown_owner(from);
        (self[into].uid, self[into].gid, self[into].mode) = (uid, gid, self[from.inode].mode);
        for (name, inode) in entries {
            let (source, place) = (self[inode].clone(), Place { mount: from.mount, inode });
            let (uid, gid) = self.shown_owner(place);
            let old = match &self[into].node {
                Node::Directory(entries) => entries.get(&name).copied(),
                _ => None,
            };
            let ids = [uid, gid, source.mode];
            match (source.node, old) {
                // A whiteout (overlayfs documentation).
                (Node::Device { block: false, major: 0, minor: 0 }, _) => {
                    if let Node::Directory(entries) = &mut self[into].node {
                        entries.remove(&name);
                    }
                }
                (Node::Directory(_), Some(old)) if self.is_directory(old) => self.merge(place, old),
                (Node::Directory(_), _) => {
                    let made = self.add(into, &name, Node::Directory(Default::default()), ids);
                    self.merge(place, made);
                }
                (node, _) => drop(self.add(into, &name, node, ids)),
            }
        }
    }

    /// fsmount(2)
    pub(super) fn fs_mount(&mut self, file: FileId, attrs: MountAttrs) -> Result<Object, Errno> {
        self.may_mount()?;
        self.may_change_mounts()?;
        let Object::Fs(context) = &self[file].object else { return Err(Errno::EINVAL) };
        check_attrs(attrs)?;
        if attrs.has(MountAttrs::IDMAP) {
            return Err(Errno::EINVAL);
        }
        // `vfs_create_mount`: without a source it is "none".
        let source = context.parameters.iter().rev().find(|row| row.0 == "source");
        let source = source.map_or_else(|| "none".to_owned(), |row| row.1.clone());
        let fs = match context.phase {
            Phase::Created(fs) => fs,
            Phase::Parameters | Phase::Failed => return Err(Errno::EINVAL),
            Phase::Mounted => return Err(Errno::EBUSY),
        };
        // user_namespaces(7): "/proc … only if … a fully visible instance".
        let locked = if context.kind.visible { self.visible(context.kind.name, attrs)? } else { MountAttrs::NONE };
        if let Object::Fs(context) = &mut self[file].object {
            context.phase = Phase::Mounted;
        }
        // Of a shared hierarchy a cgroup namespace shows its own part.
        let root = match self[self[self.current].spaces.cgroup].content {
            Content::Cgroup { root } if fs == self.cgroups => root,
            _ => self[fs].root,
        };
        let mount = self.new_mount(Mount {
            fs,
            root,
            source,
            parent: None,
            within: Within::Nowhere,
            attrs,
            locked_attrs: locked,
            locked: false,
            group: None,
            master: None,
            idmap: None,
            origin: None,
            since: 0,
        });
        self[mount].within = Within::Detached(mount);
        Ok(Object::Path(Handle { place: self.root_of(mount), access: Access::Path, tree: true }))
    }

    /// `mount_too_revealing`: in a mount namespace that the initial user
    /// namespace does not own, procfs and sysfs can be mounted only where one
    /// is fully visible: its root, no read-only lock that the new one would
    /// lack, and nothing locked over a place that is not empty.
    fn visible(&self, name: &str, attrs: MountAttrs) -> Result<MountAttrs, Errno> {
        let space = self.own_space();
        if self[space].owner == UserId::INITIAL {
            return Ok(MountAttrs::NONE);
        }
        let shows = |mount: MountId| {
            let here = &self[mount];
            let hides =
                |child: MountId| self[child].locked && self[child].parent.is_some_and(|on| !self.is_empty(on.inode));
            let permissive = !here.locked_attrs.has(MountAttrs::RDONLY) || attrs.has(MountAttrs::RDONLY);
            self[here.fs].kind.name == name
                && here.root == self[here.fs].root
                && permissive
                && !self.children(mount).into_iter().any(hides)
        };
        let found = self.mounts_of(space).find(|mount| shows(*mount)).ok_or(Errno::EPERM)?;
        let kept = MountAttrs::RDONLY.0 | MountAttrs::NOATIME.0 | MountAttrs::STRICTATIME.0;
        Ok(MountAttrs(self[found].locked_attrs.0 & kept))
    }

    fn is_empty(&self, inode: InodeId) -> bool {
        matches!(&self[inode].node, Node::Directory(entries) if entries.is_empty())
    }
}

/// `lowerdir` is a list with colons; a backslash keeps the next byte.
fn split_lower(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match (character, parts.last_mut()) {
            (':', _) => parts.push(String::new()),
            ('\\', Some(part)) => part.extend(characters.next()),
            (other, Some(part)) => part.push(other),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

pub(super) const PAGE: u64 = 4096;

/// `shmem_parse_one`: a size in bytes, or in percent of the memory.
fn pages(size: &str, memory: u64) -> Option<u64> {
    match size.strip_suffix('%') {
        Some(share) => Some(memory.checked_mul(share.parse().ok()?)?.div_ceil(100)),
        None => bytes(size).map(|size| size.wrapping_add(PAGE - 1) / PAGE),
    }
}

/// `memparse`, of the suffixes that are used.
fn bytes(text: &str) -> Option<u64> {
    let shift = |suffix| match suffix {
        'k' | 'K' => Some(10),
        'm' | 'M' => Some(20),
        'g' | 'G' => Some(30),
        _ => None,
    };
    match text.chars().last().and_then(shift) {
        Some(shift) => text.get(..text.len() - 1)?.parse::<u64>().ok().map(|count| count << shift),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, Stand};
    use super::*;
    use crate::abi::{Namespaces, Propagation, TreeFlags};
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;

    const FS: Slot = Slot(10);
    const TREE: Slot = Slot(11);

    #[test]
    fn a_context_goes_through_its_phases_in_order() {
        let mut stand = Stand::root();
        stand.no(Op::FsOpen { kind: c"nofs", into: FS }, Errno::ENODEV);
        stand.ok(Op::FsOpen { kind: c"tmpfs", into: FS });
        let mount = Op::FsMount { fs: FS, attrs: MountAttrs::NODEV, into: TREE };
        stand.no(mount, Errno::EINVAL);
        stand.no(Op::FsString { fs: FS, key: c"lowerdir", value: c"/" }, Errno::EINVAL);
        stand.ok(Op::FsString { fs: FS, key: c"mode", value: c"0700" });
        stand.ok(Op::FsFlag { fs: FS, key: c"ro" });
        stand.ok(Op::FsCreate { fs: FS });
        stand.no(Op::FsString { fs: FS, key: c"mode", value: c"0755" }, Errno::EBUSY);
        stand.no(Op::FsCreate { fs: FS }, Errno::EBUSY);
        stand.no(Op::FsMount { fs: FS, attrs: MountAttrs::IDMAP, into: TREE }, Errno::EINVAL);
        stand.ok(mount);
        stand.no(mount, Errno::EBUSY);
        stand.ok(Op::FsFlag { fs: FS, key: c"ro" });
        let mkdir = Op::Mkdir { dir: At::Slot(TREE), name: c"x", mode: 0o755, exist_ok: false };
        stand.no(mkdir, Errno::EROFS);
    }

    /// What the root of a user namespace may mount, and when.
    #[test]
    fn file_systems_belong_to_namespaces() {
        let own = ALL.without(Namespaces::PID).without(Namespaces::NETWORK).without(Namespaces::IPC);
        for (kind, with_all, with_few) in [
            (c"tmpfs", Ok(()), Ok(())),
            (c"devpts", Ok(()), Ok(())),
            (c"proc", Ok(()), Err(Errno::EPERM)),
            (c"sysfs", Ok(()), Err(Errno::EPERM)),
            (c"mqueue", Ok(()), Err(Errno::EPERM)),
            (c"ext4", Err(Errno::EPERM), Err(Errno::EPERM)),
        ] {
            for (namespaces, result) in [(ALL, with_all), (own, with_few)] {
                let mut stand = Stand::user();
                stand.spawn(namespaces, true, None).unwrap();
                stand.play(Actor::Child);
                assert_eq!(stand.fresh(kind, TREE), result, "{kind:?} in {namespaces}");
            }
        }
    }

    /// A mount without options takes those away that the host has, but for in a
    /// namespace of one's own.
    #[test]
    fn the_one_cgroup2_has_the_options_of_the_initial_namespace() {
        let options = |stand: &Stand| {
            let host = stand.model.process(Actor::Host).unwrap().mountinfo();
            host.iter().find_map(|line| Some(line.split_once(" - cgroup2 cgroup2 ")?.1.to_owned()))
        };
        let mut stand = Stand::root();
        stand.ok(Op::FsOpen { kind: c"cgroup2", into: FS });
        stand.ok(Op::FsFlag { fs: FS, key: c"nsdelegate" });
        stand.ok(Op::FsCreate { fs: FS });
        assert_eq!(options(&stand).as_deref(), Some("rw,nsdelegate"));
        let mut inside = Stand::on(stand.model.clone());
        inside.spawn(ALL, true, None).unwrap();
        inside.play(Actor::Child);
        inside.ok(Op::Unshare { namespaces: Namespaces::CGROUP });
        assert_eq!(inside.fresh(c"cgroup2", TREE), Ok(()));
        assert_eq!(options(&inside).as_deref(), Some("rw,nsdelegate"));
        assert_eq!(stand.fresh(c"cgroup2", TREE), Ok(()));
        assert_eq!(options(&stand).as_deref(), Some("rw"));
    }

    /// mount_too_revealing: procfs before the old root goes.
    #[test]
    fn procfs_needs_one_that_is_visible() {
        let mut stand = Stand::user().contained();
        stand.fresh(c"tmpfs", TREE).unwrap();
        stand.ok(Op::MoveMount { from: TREE, dir: At::Cwd, path: c"/tmp" });
        stand.ok(Op::Fchdir { dir: TREE });
        let mut early = Stand::on(stand.model.clone());
        early.play(Actor::Child);
        assert_eq!(early.fresh(c"proc", FS), Ok(()));
        stand.ok(Op::PivotRoot {});
        stand.ok(Op::UmountOld {});
        assert_eq!(stand.fresh(c"proc", FS), Err(Errno::EPERM));
        assert_eq!(stand.fresh(c"sysfs", FS), Err(Errno::EPERM));
        assert_eq!(stand.fresh(c"tmpfs", FS), Ok(()));
    }

    /// A host that hides parts of its procfs (as inside another container)
    /// lets nobody below have a whole one.
    #[test]
    fn procfs_that_is_partly_hidden_does_not_count() {
        for (over, result) in [(c"/proc/sys", Err(Errno::EPERM)), (c"/proc/acpi", Ok(()))] {
            let mut stand = Stand::root();
            stand.fresh(c"tmpfs", TREE).unwrap();
            stand.ok(Op::MoveMount { from: TREE, dir: At::Cwd, path: over });
            stand.spawn(ALL, true, None).unwrap();
            stand.play(Actor::Child);
            assert_eq!(stand.fresh(c"proc", FS), result, "{over:?}");
        }
        // Read-only on the host: read-only below.
        let mut stand = Stand::root();
        let (set, clear) = (MountAttrs::RDONLY, MountAttrs::NONE);
        let flags = TreeFlags::NONE;
        let propagation = Propagation::NONE;
        stand.ok(Op::MountSetAttr { dir: At::Cwd, path: c"/proc", flags, set, clear, propagation, userns: None });
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        assert_eq!(stand.fresh(c"proc", FS), Err(Errno::EPERM));
        stand.ok(Op::FsOpen { kind: c"proc", into: FS });
        stand.ok(Op::FsCreate { fs: FS });
        stand.ok(Op::FsMount { fs: FS, attrs: set, into: TREE });
    }

    #[test]
    fn an_overlay_shows_the_upper_over_the_lower() {
        let model = Model::new()
            .file("/lower/a", "low")
            .file("/lower/b", "low")
            .file("/upper/a", "high")
            .device("/upper/b", 0, 0)
            .directory("/work");
        let mut stand = Stand::on(model);
        stand.ok(Op::FsOpen { kind: c"overlay", into: FS });
        stand.no(Op::FsCreate { fs: FS }, Errno::EINVAL);
        stand.no(Op::FsCreate { fs: FS }, Errno::EBUSY);
        stand.no(Op::FsString { fs: FS, key: c"lowerdir", value: c"/lower" }, Errno::EBUSY);
        for work in [false, true] {
            stand.ok(Op::FsOpen { kind: c"overlay", into: FS });
            stand.ok(Op::FsString { fs: FS, key: c"lowerdir", value: c"/lower" });
            stand.ok(Op::FsString { fs: FS, key: c"upperdir", value: c"/upper" });
            if work {
                stand.ok(Op::FsString { fs: FS, key: c"workdir", value: c"/work" });
            }
            assert_eq!(stand.ask(Op::FsCreate { fs: FS }).is_ok(), work);
        }
        stand.ok(Op::FsMount { fs: FS, attrs: MountAttrs::NONE, into: TREE });
        stand.ok(Op::MoveMount { from: TREE, dir: At::Cwd, path: c"/srv" });
        let host = stand.model.process(Actor::Host).unwrap();
        assert_eq!(host.read("/srv/a").as_deref(), Some(b"high".as_slice()));
        assert_eq!(host.kind("/srv/b"), None, "whited out");
    }

    #[test]
    fn upper_and_work_lie_on_one_mount_that_can_be_written() {
        let model = Model::new().directory("/lower").directory("/state/upper").directory("/state/work").directory("/w");
        let mut stand = Stand::on(model.tmpfs("/w"));
        for (upper, work, result) in [
            (c"/state/upper", c"/state/work", Ok(())),
            (c"/state/upper", c"/w", Err(Errno::EINVAL)),
            (c"/state", c"/state/work", Err(Errno::EINVAL)),
            (c"/state/upper", c"/state/upper", Err(Errno::EINVAL)),
        ] {
            stand.ok(Op::FsOpen { kind: c"overlay", into: FS });
            for (key, value) in [(c"lowerdir", c"/lower"), (c"upperdir", upper), (c"workdir", work)] {
                stand.ok(Op::FsString { fs: FS, key, value });
            }
            assert_eq!(stand.ask(Op::FsCreate { fs: FS }), result, "{upper:?} {work:?}");
        }
        // An option has 255 bytes at most.
        stand.ok(Op::FsOpen { kind: c"overlay", into: FS });
        let long = std::ffi::CString::new(vec![b'x'; 256]).unwrap();
        stand.no(Op::FsString { fs: FS, key: c"lowerdir", value: &long }, Errno::EINVAL);
    }

    #[test]
    fn layers_are_split_at_colons_but_not_at_escaped_ones() {
        assert_eq!(split_lower("/a:/b\\:c::/d"), ["/a", "/b:c", "/d"]);
    }
}
