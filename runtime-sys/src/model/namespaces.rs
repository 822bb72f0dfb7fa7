//! User namespaces with their maps, and the namespaces that they own.
//!
//! Sources: user_namespaces(7), namespaces(7), clone(2), unshare(2), setns(2)
//! of Linux man-pages 6.03; `kernel/user_namespace.c`.

use crate::abi::{CapabilitySet, Namespaces, cap};
use crate::errno::Errno;
use crate::wire::Numbers;

use super::credentials::Cred;
use super::descriptors::Object;
use super::files::InodeId;
use super::mounts::MountId;
use super::networks::Network;
use super::processes::TaskId;
use super::{Model, SpaceId, UserId};

pub(super) const CAP_DAC_OVERRIDE: u8 = 1;
pub(super) const CAP_SYS_CHROOT: u8 = 18;
const CAP_SETFCAP: u8 = 31;

/// One line of an id map: `count` ids from `inside` on are the kernel's ids
/// from `kernel` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) inside: u32,
    pub(super) kernel: u32,
    pub(super) count: u32,
}

/// The kernel's id for `id` of a namespace.
pub(super) fn to_kernel(map: &[Extent], id: u32) -> Option<u32> {
    range_to_kernel(map, id, 1)
}

/// As [`to_kernel`], of a range that lies within one extent.
fn range_to_kernel(map: &[Extent], first: u32, count: u32) -> Option<u32> {
    let end = u64::from(first) + u64::from(count);
    map.iter().find_map(|extent| {
        let within = first >= extent.inside && end <= u64::from(extent.inside) + u64::from(extent.count);
        within.then(|| extent.kernel + (first - extent.inside))
    })
}

/// What a namespace calls the kernel's id.
pub(super) fn from_kernel(map: &[Extent], id: u32) -> Option<u32> {
    map.iter().find_map(|extent| {
        let offset = id.checked_sub(extent.kernel)?;
        (offset < extent.count).then_some(extent.inside + offset)
    })
}

/// A user namespace.
#[derive(Clone, Debug)]
pub(super) struct UserSpace {
    pub(super) parent: Option<UserId>,
    pub(super) level: u32,
    /// Effective uid of the process that made it, as the kernel counts.
    pub(super) owner: u32,
    pub(super) uids: Vec<Extent>,
    pub(super) gids: Vec<Extent>,
    pub(super) setgroups: bool,
    /// Whether the process that made it had CAP_SETFCAP.
    setfcap: bool,
    /// `user.max_user_namespaces`.
    pub(super) limit: u32,
}

impl UserSpace {
    pub(super) fn initial() -> Self {
        let every = vec![Extent { inside: 0, kernel: 0, count: u32::MAX }];
        Self {
            parent: None,
            level: 0,
            owner: 0,
            uids: every.clone(),
            gids: every,
            setgroups: true,
            setfcap: true,
            limit: 1 << 14,
        }
    }
}

/// A namespace that is not a user namespace.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) kind: Namespaces,
    pub(super) owner: UserId,
    pub(super) content: Content,
}

/// What a namespace holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Mount {
        root: MountId,
    },
    Uts {
        host: Vec<u8>,
        domain: Vec<u8>,
    },
    Pid {
        next: u32,
        init: Option<TaskId>,
    },
    Network(Box<Network>),
    Cgroup {
        root: InodeId,
    },
    /// Ipc and time.
    Plain,
}

/// The namespaces of a process, but for its user namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Membership {
    pub(super) mount: SpaceId,
    pub(super) uts: SpaceId,
    pub(super) ipc: SpaceId,
    pub(super) network: SpaceId,
    pub(super) cgroup: SpaceId,
    pub(super) pid: SpaceId,
    pub(super) pid_for_children: SpaceId,
    pub(super) time: SpaceId,
    pub(super) time_for_children: SpaceId,
}

impl Membership {
    pub(super) fn of(&self, kind: Namespaces) -> Option<SpaceId> {
        Some(match kind {
            Namespaces::MOUNT => self.mount,
            Namespaces::UTS => self.uts,
            Namespaces::IPC => self.ipc,
            Namespaces::NETWORK => self.network,
            Namespaces::CGROUP => self.cgroup,
            Namespaces::PID => self.pid,
            Namespaces::TIME => self.time,
            _ => return None,
        })
    }
}

/// A file of `/proc/PID` that belongs to the user namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MapFile {
    Uid,
    Gid,
}

impl Model {
    pub(super) fn every_capability(&self) -> CapabilitySet {
        CapabilitySet::up_to(self.last_capability)
    }

    pub(super) fn new_space(&mut self, kind: Namespaces, owner: UserId, content: Content) -> SpaceId {
        self.spaces.push(Space { kind, owner, content });
        SpaceId(self.spaces.len() - 1)
    }

    /// Makes a user namespace and puts `task` into it (clone(2), CLONE_NEWUSER).
    fn new_user_space(&mut self, task: TaskId) -> Result<(), Errno> {
        let cred = &self[task].cred;
        let (parent, owner) = (cred.user, cred.uid.effective);
        // "ENOSPC: the limit on the nesting depth … would be exceeded", and
        // namespaces(7), /proc/sys/user, which counts in every ancestor.
        let mut above = Some(parent);
        while let Some(space) = above {
            if self[space].limit == 0 {
                return Err(Errno::ENOSPC);
            }
            above = self[space].parent;
        }
        if self[parent].level >= 32 {
            return Err(Errno::ENOSPC);
        }
        // "EPERM: … the caller is in a chroot environment", and "… its
        // effective user ID or group ID do not have a mapping in the parent".
        let mapped = from_kernel(&self[parent].uids, owner).is_some()
            && from_kernel(&self[parent].gids, cred.gid.effective).is_some();
        if self.chrooted(task) || !mapped {
            return Err(Errno::EPERM);
        }
        let setfcap = cred.effective.has(CAP_SETFCAP);
        let (level, setgroups) = (self[parent].level + 1, self[parent].setgroups);
        self.users.push(UserSpace {
            parent: Some(parent),
            level,
            owner,
            uids: Vec::new(),
            gids: Vec::new(),
            setgroups,
            setfcap,
            limit: 1 << 14,
        });
        let every = self.every_capability();
        let user = UserId(self.users.len() - 1);
        self[task].cred.enter(user, every);
        Ok(())
    }

    /// A user namespace with these maps, written by the caller. Nobody is in it.
    pub(super) fn map_namespace(&mut self, uid: Numbers<'_>, gid: Numbers<'_>) -> Result<UserId, Errno> {
        let task = self.current;
        let writer = self[task].cred.clone();
        // A child of the caller makes it, and is gone afterwards.
        self.new_user_space(task)?;
        let user = self[task].cred.user;
        self[task].cred = writer.clone();
        let text = |map: Numbers<'_>| {
            let numbers: Vec<u32> = map.iter().collect();
            let (extents, _) = numbers.as_chunks::<3>();
            extents.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect::<String>()
        };
        self.write_map(user, MapFile::Gid, text(gid).as_bytes(), &writer)?;
        self.write_map(user, MapFile::Uid, text(uid).as_bytes(), &writer)?;
        Ok(user)
    }

    /// Puts `task` into new namespaces, as `clone3` and `unshare` do. A pid
    /// and a time namespace are for children only.
    pub(super) fn enter_new(&mut self, task: TaskId, kinds: Namespaces) -> Result<(), Errno> {
        if !Namespaces::ALL.has(kinds) {
            return Err(Errno::EINVAL);
        }
        if kinds.has(Namespaces::USER) {
            self.new_user_space(task)?;
        }
        let others = kinds.without(Namespaces::USER);
        if others.is_empty() {
            return Ok(());
        }
        // namespaces(7), "the CAP_SYS_ADMIN capability in most cases"; a user
        // namespace of the same call is made first (user_namespaces(7)).
        let cred = &self[task].cred;
        let owner = cred.user;
        if !self.capable(cred, owner, cap::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let old = self[task].spaces;
        let mut new = old;
        if others.has(Namespaces::MOUNT) {
            new.mount = self.copy_mounts(task, owner);
        }
        if others.has(Namespaces::UTS) {
            let content = self[old.uts].content.clone();
            new.uts = self.new_space(Namespaces::UTS, owner, content);
        }
        if others.has(Namespaces::IPC) {
            new.ipc = self.new_space(Namespaces::IPC, owner, Content::Plain);
        }
        if others.has(Namespaces::NETWORK) {
            new.network = self.new_space(Namespaces::NETWORK, owner, Content::Network(Box::new(Network::new())));
        }
        if others.has(Namespaces::CGROUP) {
            let root = self[task].cgroup;
            new.cgroup = self.new_space(Namespaces::CGROUP, owner, Content::Cgroup { root });
        }
        if others.has(Namespaces::PID) {
            new.pid_for_children = self.new_space(Namespaces::PID, owner, Content::Pid { next: 1, init: None });
        }
        if others.has(Namespaces::TIME) {
            new.time_for_children = self.new_space(Namespaces::TIME, owner, Content::Plain);
        }
        self[task].spaces = new;
        self.dirty = true;
        Ok(())
    }

    /// setns(2).
    pub(super) fn set_ns(&mut self, object: &Object, kinds: Namespaces) -> Result<(), Errno> {
        match object {
            // open(2), O_PATH: other operations on the descriptor fail.
            object if object.is_path_only() => Err(Errno::EBADF),
            Object::User(user) if kinds == Namespaces::USER || kinds.is_empty() => self.join_user(*user),
            Object::Space(space) if kinds == self[*space].kind || kinds.is_empty() => self.join(&[*space]),
            Object::User(_) | Object::Space(_) => Err(Errno::EINVAL),
            // "If fd refers to a pidfd": all the kinds at once, the user
            // namespace first.
            Object::Pidfd(target) if !kinds.is_empty() && Namespaces::ALL.has(kinds) => {
                let target = *target;
                if self[target].ended() {
                    return Err(Errno::ESRCH);
                }
                if kinds.has(Namespaces::USER) {
                    self.join_user(self[target].cred.user)?;
                }
                let spaces = self[target].spaces;
                let wanted: Vec<_> = Namespaces::NAMES
                    .iter()
                    .filter(|(kind, _)| kinds.has(*kind))
                    .filter_map(|(kind, _)| spaces.of(*kind))
                    .collect();
                self.join(&wanted)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn join_user(&mut self, user: UserId) -> Result<(), Errno> {
        // "It is not permitted to use setns() to reenter the caller's current
        // user namespace"; otherwise CAP_SYS_ADMIN in the target.
        if user == self.cred().user {
            return Err(Errno::EINVAL);
        }
        self.need(user, cap::SYS_ADMIN)?;
        let mut new = self.cred().clone();
        new.enter(user, self.every_capability());
        self.commit(new);
        Ok(())
    }

    fn join(&mut self, spaces: &[SpaceId]) -> Result<(), Errno> {
        let own = self.cred().user;
        for space in spaces {
            // CAP_SYS_ADMIN "both in its own user namespace and in the user
            // namespace that owns the target namespace"; for mounts
            // CAP_SYS_CHROOT besides.
            self.need(self[*space].owner, cap::SYS_ADMIN)?;
            self.need(own, cap::SYS_ADMIN)?;
            if self[*space].kind == Namespaces::MOUNT {
                self.need(own, CAP_SYS_CHROOT)?;
            }
        }
        let task = self.current;
        self.dirty = true;
        for space in spaces.iter().copied() {
            match self[space].content {
                Content::Mount { root } => {
                    let root = self.topmost(self.root_of(root));
                    (self[task].root, self[task].cwd) = (root, root);
                    self[task].spaces.mount = space;
                }
                Content::Uts { .. } => self[task].spaces.uts = space,
                Content::Network(_) => self[task].spaces.network = space,
                Content::Cgroup { .. } => self[task].spaces.cgroup = space,
                Content::Pid { .. } => self[task].spaces.pid_for_children = space,
                Content::Plain if self[space].kind == Namespaces::IPC => self[task].spaces.ipc = space,
                Content::Plain => {
                    (self[task].spaces.time, self[task].spaces.time_for_children) = (space, space);
                }
            }
        }
        Ok(())
    }

    /// A write to `uid_map` or `gid_map` of a process in `target`, by somebody
    /// with the credentials `writer` (user_namespaces(7), "User and group ID
    /// mappings").
    pub(super) fn write_map(&mut self, target: UserId, file: MapFile, text: &[u8], writer: &Cred) -> Result<(), Errno> {
        let space = &self[target];
        // The initial namespace has its map for good.
        let Some(parent) = space.parent else { return Err(Errno::EPERM) };
        // "The writing process must be in either the namespace or its parent."
        if writer.user != target && writer.user != parent {
            return Err(Errno::EPERM);
        }
        // "May be written to only once."
        let existing = if file == MapFile::Uid { &space.uids } else { &space.gids };
        if !existing.is_empty() {
            return Err(Errno::EPERM);
        }
        // "The writing process must have the CAP_SYS_ADMIN capability in the
        // user namespace of the process pid."
        if !self.capable(writer, target, cap::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let lines = parse_map(text).ok_or(Errno::EINVAL)?;
        if !self.map_permitted(target, parent, file, &lines, writer) {
            return Err(Errno::EPERM);
        }
        let above = if file == MapFile::Uid { &self[parent].uids } else { &self[parent].gids };
        // "The mapped IDs must in turn have a mapping in the parent."
        let map: Option<Vec<Extent>> = lines
            .iter()
            .map(|[inside, outside, count]| {
                let kernel = range_to_kernel(above, *outside, *count)?;
                Some(Extent { inside: *inside, kernel, count: *count })
            })
            .collect();
        let map = map.ok_or(Errno::EPERM)?;
        match file {
            MapFile::Uid => self[target].uids = map,
            MapFile::Gid => self[target].gids = map,
        }
        Ok(())
    }

    /// "One of the following two cases applies".
    fn map_permitted(&self, target: UserId, parent: UserId, file: MapFile, lines: &[[u32; 3]], writer: &Cred) -> bool {
        // Since Linux 5.12: whoever maps id 0 of the parent needs CAP_SETFCAP there.
        if file == MapFile::Uid && lines.iter().any(|line| line[1] == 0) {
            let allowed =
                if writer.user == target { self[target].setfcap } else { self.capable(writer, parent, CAP_SETFCAP) };
            if !allowed {
                return false;
            }
        }
        // Unprivileged: one line, one id, the writer's own, by the namespace's
        // owner; for groups only after "deny" was written to setgroups.
        if let [[_, outside, 1]] = lines
            && self[target].owner == writer.uid.effective
        {
            let own = match file {
                MapFile::Uid => to_kernel(&self[parent].uids, *outside) == Some(writer.uid.effective),
                MapFile::Gid => {
                    !self[target].setgroups && to_kernel(&self[parent].gids, *outside) == Some(writer.gid.effective)
                }
            };
            if own {
                return true;
            }
        }
        // Privileged: CAP_SETUID or CAP_SETGID in the parent.
        let number = if file == MapFile::Uid { cap::SETUID } else { cap::SETGID };
        self.capable(writer, parent, number)
    }

    /// A write to `setgroups` (user_namespaces(7), "The /proc/pid/setgroups file").
    pub(super) fn write_setgroups(&mut self, target: UserId, text: &[u8], writer: &Cred) -> Result<(), Errno> {
        if !self.capable(writer, target, cap::SYS_ADMIN) {
            return Err(Errno::EACCES);
        }
        let space = &mut self[target];
        match text.trim_ascii_end() {
            b"allow" if space.setgroups => Ok(()),
            // "Once denied, cannot be allowed."
            b"allow" => Err(Errno::EPERM),
            // "Can be denied only before gid_map is written."
            b"deny" if space.gids.is_empty() => {
                space.setgroups = false;
                Ok(())
            }
            b"deny" => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// "Each line: inside, outside, length", at most 340 lines, no overlap on
/// either side, no length of 0.
fn parse_map(text: &[u8]) -> Option<Vec<[u32; 3]>> {
    let text = core::str::from_utf8(text).ok()?;
    let mut lines: Vec<[u32; 3]> = Vec::new();
    for line in text.lines() {
        let numbers: Option<Vec<u32>> = line.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        let [inside, outside, count] = *numbers?.as_slice() else { return None };
        let fits = inside.checked_add(count).is_some() && outside.checked_add(count).is_some();
        let apart = |a: u32, b: u32, other: u32| a + count <= b || b + other <= a;
        if !fits
            || count == 0
            || !lines.iter().all(|[i, o, other]| apart(inside, *i, *other) && apart(outside, *o, *other))
        {
            return None;
        }
        lines.push([inside, outside, count]);
    }
    (1..=340).contains(&lines.len()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, PID, PROCESS, Stand};
    use super::*;
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;
    use crate::wire::{Blob, Numbers};

    fn numbers(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn map<'a>(path: &'a core::ffi::CStr, content: &'a str) -> Op<'a> {
        Op::Write { dir: At::Slot(PROCESS), path, content: Blob(content.as_bytes()) }
    }

    #[test]
    fn a_namespace_needs_sys_admin_or_a_user_namespace_in_the_same_call() {
        for (kind, name) in Namespaces::NAMES {
            let alone = if *kind == Namespaces::USER { Ok(()) } else { Err(Errno::EPERM) };
            assert_eq!(Stand::user().ask(Op::Unshare { namespaces: *kind }), alone, "{name}");
            assert_eq!(Stand::user().ask(Op::Unshare { namespaces: kind.with(Namespaces::USER) }), Ok(()), "{name}");
            assert_eq!(Stand::root().ask(Op::Unshare { namespaces: *kind }), Ok(()), "{name}");
        }
        assert_eq!(Stand::user().spawn(Namespaces::UTS, false, None), Err(Errno::EPERM));
        assert_eq!(Stand::user().spawn(ALL, false, None), Ok(()));
        Stand::root().no(Op::Unshare { namespaces: Namespaces(1) }, Errno::EINVAL);
    }

    #[test]
    fn a_refused_unshare_changes_nothing() {
        let mut stand = Stand::on(Model::as_user(1000).file("/x", ""));
        let before = stand.credentials(Actor::Host);
        stand.no(Op::Unshare { namespaces: Namespaces::MOUNT }, Errno::EPERM);
        assert_eq!(stand.credentials(Actor::Host), before);
    }

    /// What the exec of stage B leaves: everything with ambient capabilities,
    /// nothing where the uid is not that of root.
    #[test]
    fn capabilities_survive_the_start_only_as_ambient() {
        for (uid, ambient, held) in [(0, true, true), (0, false, false), (1000, true, true), (1000, false, false)] {
            let mut stand = Stand::on(Model::as_user(uid));
            stand.spawn(ALL, ambient, None).unwrap();
            let seen = stand.credentials(Actor::Child);
            let expected = if held { CapabilitySet::up_to(40) } else { CapabilitySet::EMPTY };
            assert_eq!((seen.permitted, seen.effective), (expected, expected), "uid {uid}, ambient {ambient}");
            assert_eq!(seen.uid.real, 65534);
            assert!(seen.dumpable);
        }
        // Without a user namespace uid 0 stays uid 0.
        let mut stand = Stand::root();
        stand.spawn(Namespaces::MOUNT, false, None).unwrap();
        assert_eq!(stand.credentials(Actor::Child).effective, CapabilitySet::up_to(40));
        // And an ordinary user cannot raise what it does not have.
        assert_eq!(Stand::user().spawn(Namespaces::NONE, true, None), Err(Errno::EPERM));
    }

    #[test]
    fn maps_are_written_once() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(map(c"uid_map", "0 100000 65536"));
        stand.no(map(c"uid_map", "0 100000 65536"), Errno::EPERM);
        stand.ok(map(c"gid_map", "0 100000 1\n1 5 1\n"));
        assert_eq!(stand.credentials(Actor::Child).uid.real, 65534, "0 of the host is not mapped");
    }

    #[test]
    fn malformed_maps_are_refused() {
        let many = (0..341).map(|line| format!("{line} {line} 1\n")).collect::<String>();
        for text in
            ["", "0 0", "0 0 0", "0 0 1 1", "a b c", "0 1 10\n5 100 1", "0 1 10\n20 5 1", "4294967295 0 1", &many]
        {
            let mut stand = Stand::root();
            stand.spawn(ALL, true, None).unwrap();
            stand.no(map(c"uid_map", text), Errno::EINVAL);
        }
    }

    #[test]
    fn an_ordinary_user_maps_itself_and_nothing_else() {
        for (path, text, result) in [
            (c"uid_map", "0 1000 1", Ok(())),
            (c"uid_map", "7 1000 1", Ok(())),
            (c"uid_map", "0 1001 1", Err(Errno::EPERM)),
            (c"uid_map", "0 1000 2", Err(Errno::EPERM)),
            (c"uid_map", "0 1000 1\n1 1001 1", Err(Errno::EPERM)),
            (c"gid_map", "0 1000 1", Err(Errno::EPERM)),
        ] {
            let mut stand = Stand::user();
            stand.spawn(ALL, true, None).unwrap();
            assert_eq!(stand.ask(map(path, text)), result, "{path:?} {text}");
        }
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(map(c"setgroups", "deny"));
        stand.no(map(c"setgroups", "allow"), Errno::EPERM);
        stand.ok(map(c"gid_map", "0 1000 1"));
        stand.no(map(c"setgroups", "deny"), Errno::EPERM);
    }

    #[test]
    fn setgroups_cannot_be_denied_after_the_map() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        stand.no(map(c"setgroups", "maybe"), Errno::EINVAL);
        stand.ok(map(c"setgroups", "allow"));
        stand.ok(map(c"gid_map", "0 100000 65536"));
        stand.no(map(c"setgroups", "deny"), Errno::EPERM);
    }

    /// A process that is not dumpable belongs to root: its own user cannot
    /// write its maps any more.
    #[test]
    fn maps_of_a_process_that_is_not_dumpable_belong_to_root() {
        for (uid, result) in [(1000, Err(Errno::EACCES)), (0, Ok(()))] {
            let mut stand = Stand::on(Model::as_user(uid));
            stand.spawn(ALL, true, None).unwrap();
            stand.play(Actor::Child);
            stand.ok(Op::Dumpable { on: false });
            stand.play(Actor::Host);
            assert_eq!(stand.ask(map(c"uid_map", &format!("0 {uid} 1"))), result);
        }
    }

    #[test]
    fn a_namespace_for_one_mount_maps_what_the_caller_may_map() {
        const IMAGE: Slot = Slot(20);
        const SPACE: Slot = Slot(21);
        let image = Op::MemFd {
            name: c"b",
            content: crate::wire::Blob(b"B"),
            seals: crate::abi::Seals::NONE,
            executable: true,
            into: IMAGE,
        };
        let (map, own, none) = (numbers(&[4242, 500_000, 1]), numbers(&[0, 1000, 1]), numbers(&[]));
        let ask = |stand: &mut Stand, map: &[u8]| {
            let map = Numbers::new(map).unwrap();
            stand.ok(image);
            stand.ask(Op::MapNamespace { image: IMAGE, uid: map, gid: map, into: SPACE })
        };
        let mut stand = Stand::root();
        let before = stand.credentials(Actor::Host);
        assert_eq!(ask(&mut stand, &map), Ok(()));
        assert_eq!(stand.credentials(Actor::Host), before, "the caller stays where it is");
        let tree = Slot(22);
        stand.ok(Op::OpenTree { dir: At::Cwd, path: c"/usr", flags: crate::abi::TreeFlags::CLONE, into: tree });
        stand.ok(Op::MountSetAttr {
            dir: At::Slot(tree),
            path: c"",
            flags: crate::abi::TreeFlags::EMPTY_PATH,
            set: crate::abi::MountAttrs::IDMAP,
            clear: crate::abi::MountAttrs::NONE,
            propagation: crate::abi::Propagation::NONE,
            userns: Some(SPACE),
        });
        assert_eq!(ask(&mut stand, &none), Err(Errno::EINVAL));
        // An ordinary user maps itself at most.
        assert_eq!(ask(&mut Stand::user(), &map), Err(Errno::EPERM));
        let mut denied = Stand::user();
        assert_eq!(ask(&mut denied, &own), Err(Errno::EPERM), "groups without setgroups denied");
    }

    #[test]
    fn the_helpers_map_what_is_granted() {
        let helpers = [(c"/usr/bin/newuidmap", Slot(10)), (c"/usr/bin/newgidmap", Slot(11))];
        for (values, result) in [
            (vec![0, 1000, 1, 1, 100_000, 65_536], Ok(())),
            (vec![0, 100_000, 65_536], Ok(())),
            (vec![0, 100_000, 65_537], Err(Errno::EPERM)),
            (vec![0, 0, 1], Err(Errno::EPERM)),
            (vec![0, 1000], Err(Errno::EPERM)),
        ] {
            let mut stand = Stand::user();
            stand.spawn(ALL, true, None).unwrap();
            let map = numbers(&values);
            for (path, program) in helpers {
                stand.open(path, program);
                let op = Op::IdMapHelper { program, pid: PID, map: Numbers::new(&map).unwrap() };
                assert_eq!(stand.ask(op), result, "{values:?}");
            }
        }
        // With no_new_privs the set-user-id bit does nothing.
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(Op::NoNewPrivs {});
        stand.open(helpers[0].0, Slot(10));
        let map = numbers(&[0, 100_000, 65_536]);
        stand.no(Op::IdMapHelper { program: Slot(10), pid: PID, map: Numbers::new(&map).unwrap() }, Errno::EPERM);
    }

    #[test]
    fn a_helper_that_maps_groups_keeps_setgroups_only_for_granted_ranges() {
        for (values, allowed) in [(vec![0, 1000, 1], false), (vec![0, 100_000, 10], true)] {
            let mut stand = Stand::user();
            stand.spawn(ALL, true, None).unwrap();
            stand.open(c"/usr/bin/newgidmap", Slot(10));
            let map = numbers(&values);
            stand.ok(Op::IdMapHelper { program: Slot(10), pid: PID, map: Numbers::new(&map).unwrap() });
            stand.play(Actor::Child);
            let groups = Op::SetGroups { groups: Numbers::new(b"").unwrap() };
            assert_eq!(stand.ask(groups).is_ok(), allowed);
        }
    }

    #[test]
    fn user_namespaces_end_where_the_limit_says() {
        let mut stand = Stand::root().contained();
        stand.ok(Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/proc/sys/user",
            flags: crate::abi::OpenFlags::PATH,
            mode: 0,
            resolve: crate::abi::Resolve::NONE,
            into: Slot(10),
        });
        stand.ok(Op::Write { dir: At::Slot(Slot(10)), path: c"max_user_namespaces", content: Blob(b"0") });
        stand.no(Op::Unshare { namespaces: Namespaces::USER }, Errno::ENOSPC);
        assert!(!stand.model.host_changes().iter().any(|change| change.contains("sysctl")), "its own limit");
    }

    #[test]
    fn setns_needs_capabilities_on_both_sides_and_the_right_kind() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        let open = |path, into| Op::OpenAt2 {
            dir: At::Slot(PROCESS),
            path,
            flags: Default::default(),
            mode: 0,
            resolve: Default::default(),
            into,
        };
        stand.ok(open(c"ns/uts", Slot(10)));
        stand.ok(open(c"ns/user", Slot(11)));
        stand.no(Op::SetNs { namespace: Slot(10), kind: Namespaces::USER }, Errno::EINVAL);
        stand.no(Op::SetNs { namespace: PROCESS, kind: Namespaces::UTS }, Errno::EBADF);
        stand.ok(Op::SetNs { namespace: Slot(10), kind: Namespaces::UTS });
        let uts = |stand: &Stand, actor| stand.model.process(actor).unwrap().namespace(Namespaces::UTS);
        assert_eq!(uts(&stand, Actor::Host), uts(&stand, Actor::Child));
        stand.ok(Op::SetNs { namespace: Slot(11), kind: Namespaces::USER });
        stand.no(Op::SetNs { namespace: Slot(11), kind: Namespaces::USER }, Errno::EINVAL);
        // In there, nothing of the host can be joined.
        stand.ok(Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/proc/self/ns/uts",
            flags: Default::default(),
            mode: 0,
            resolve: Default::default(),
            into: Slot(12),
        });
        stand.ok(Op::SetNs { namespace: Slot(12), kind: Namespaces::UTS });
    }

    #[test]
    fn a_pidfd_joins_all_namespaces_at_once() {
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        let kinds = Namespaces::USER.with(Namespaces::MOUNT).with(Namespaces::UTS);
        stand.ok(Op::SetNs { namespace: super::super::stand::PIDFD, kind: kinds });
        for kind in [Namespaces::USER, Namespaces::MOUNT, Namespaces::UTS] {
            let of = |actor| stand.model.process(actor).unwrap().namespace(kind);
            assert_eq!(of(Actor::Host), of(Actor::Child), "{kind}");
        }
    }
}
