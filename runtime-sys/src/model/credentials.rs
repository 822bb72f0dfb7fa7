//! Ids, capabilities, securebits, no_new_privs and filters, and the rules by
//! which they change.
//!
//! Sources: capabilities(7) from Linux man-pages 6.03, `security/commoncap.c`
//! and `kernel/sys.c`. All ids in here are the kernel's own ("kuid"): what a
//! process sees is that number through the map of its user namespace.

use std::sync::Arc;

use crate::abi::{CapabilitySet, SeccompFlags, SecureBits, cap};
use crate::errno::Errno;
use crate::kernel::Slots;
use crate::op::Slot;

use super::descriptors::Object;
use super::exec::Gains;
use super::namespaces::{from_kernel, to_kernel};
use super::{Model, UserId};

/// Real, effective, saved and file-system id, of a user or a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// The real id.
    pub real: u32,
    /// The effective id.
    pub effective: u32,
    /// The saved id.
    pub saved: u32,
    /// The one that file accesses are judged by.
    pub fs: u32,
}

impl Ids {
    /// All four the same.
    #[must_use]
    pub const fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, fs: id }
    }

    fn map(self, mut view: impl FnMut(u32) -> u32) -> Self {
        Self { real: view(self.real), effective: view(self.effective), saved: view(self.saved), fs: view(self.fs) }
    }

    fn may_become(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// What a process may do, as the process itself sees it: ids through the map
/// of its user namespace, 65534 where there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Credentials {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub effective: CapabilitySet,
    /// Permitted capabilities.
    pub permitted: CapabilitySet,
    /// Inheritable capabilities.
    pub inheritable: CapabilitySet,
    /// The bounding set.
    pub bounding: CapabilitySet,
    /// Ambient capabilities.
    pub ambient: CapabilitySet,
    /// Securebits.
    pub securebits: SecureBits,
    /// Whether exec can still grant anything.
    pub no_new_privs: bool,
    /// Whether processes of the same uid may trace it and open its files.
    pub dumpable: bool,
    /// How many seccomp filters are installed.
    pub filters: usize,
}

/// The state behind [`Credentials`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cred {
    pub(super) user: UserId,
    pub(super) uid: Ids,
    pub(super) gid: Ids,
    pub(super) groups: Vec<u32>,
    pub(super) effective: CapabilitySet,
    pub(super) permitted: CapabilitySet,
    pub(super) inheritable: CapabilitySet,
    pub(super) bounding: CapabilitySet,
    pub(super) ambient: CapabilitySet,
    pub(super) securebits: SecureBits,
    pub(super) no_new_privs: bool,
    pub(super) filters: Vec<Arc<[u8]>>,
    pub(super) listener: bool,
}

pub(super) const fn both(one: CapabilitySet, other: CapabilitySet) -> CapabilitySet {
    CapabilitySet(one.0 & other.0)
}

const fn either(one: CapabilitySet, other: CapabilitySet) -> CapabilitySet {
    CapabilitySet(one.0 | other.0)
}

impl Cred {
    pub(super) fn new(uid: u32, all: CapabilitySet) -> Self {
        let held = if uid == 0 { all } else { CapabilitySet::EMPTY };
        Self {
            user: UserId::INITIAL,
            uid: Ids::all(uid),
            gid: Ids::all(uid),
            groups: vec![uid],
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::EMPTY,
            bounding: all,
            ambient: CapabilitySet::EMPTY,
            securebits: SecureBits::NONE,
            no_new_privs: false,
            filters: Vec::new(),
            listener: false,
        }
    }

    /// The first process of a user namespace (user_namespaces(7),
    /// "Capabilities"): every capability, default securebits, same ids.
    pub(super) fn enter(&mut self, user: UserId, all: CapabilitySet) {
        self.user = user;
        (self.effective, self.permitted, self.bounding) = (all, all, all);
        (self.inheritable, self.ambient) = (CapabilitySet::EMPTY, CapabilitySet::EMPTY);
        self.securebits = SecureBits::NONE;
    }

    /// capabilities(7), "Effect of user ID changes on capabilities".
    fn fix_up(&mut self, old: Ids, root: Option<u32>) {
        if self.securebits.has(SecureBits::NO_SETUID_FIXUP) {
            return;
        }
        let Some(root) = root else { return };
        if old.may_become(root) && !self.uid.may_become(root) {
            if !self.securebits.has(SecureBits::KEEP_CAPS) {
                (self.permitted, self.effective) = (CapabilitySet::EMPTY, CapabilitySet::EMPTY);
            }
            // "Ambient capability set": cleared by leaving uid 0, kept caps or not.
            self.ambient = CapabilitySet::EMPTY;
        }
        match (old.effective == root, self.uid.effective == root) {
            (true, false) => self.effective = CapabilitySet::EMPTY,
            (false, true) => self.effective = self.permitted,
            _ => {}
        }
    }

    /// capabilities(7), "Transformation of capabilities during execve()".
    /// `root` is uid 0 of the user namespace, if it is mapped.
    pub(super) fn execute(&mut self, gains: Gains, root: Option<u32>) -> Result<(), Errno> {
        let old = self.clone();
        // "Safe-checking": no_new_privs ignores set-user-id (PR_SET_NO_NEW_PRIVS(2const)).
        if let Some(owner) = gains.owner.filter(|_| !self.no_new_privs) {
            self.uid.effective = owner;
        }
        // P'(permitted) = (P(inheritable) & F(inheritable)) | (F(permitted) & P(bounding)) | P'(ambient)
        let file = gains.file.unwrap_or_default();
        let mut gained = either(both(old.inheritable, file.inheritable), both(file.permitted, old.bounding));
        let mut raised = file.effective;
        // "Safety checking for capability-dumb binaries".
        if file.effective && !gained.contains(file.permitted) {
            return Err(Errno::EPERM);
        }
        let privileged = self.uid.effective != old.uid.effective || gains.file.is_some();
        if privileged {
            self.ambient = CapabilitySet::EMPTY;
        }
        // "Capabilities and execution of programs by root".
        let rooted = !self.securebits.has(SecureBits::NOROOT);
        let is_root = |id: u32| rooted && root == Some(id);
        // "Set-user-ID-root programs that have file capabilities" get those alone.
        let lent = gains.file.is_some() && is_root(self.uid.effective) && !is_root(self.uid.real);
        if !lent && (is_root(self.uid.effective) || is_root(self.uid.real)) {
            gained = either(self.bounding, self.inheritable);
            raised |= is_root(self.uid.effective);
        }
        self.permitted = gained;
        if self.no_new_privs {
            self.permitted = both(self.permitted, old.permitted);
        }
        self.permitted = either(self.permitted, self.ambient);
        self.effective = if raised { self.permitted } else { self.ambient };
        (self.uid.saved, self.uid.fs) = (self.uid.effective, self.uid.effective);
        (self.gid.saved, self.gid.fs) = (self.gid.effective, self.gid.effective);
        // capabilities(7), SECBIT_KEEP_CAPS: "always cleared on an execve(2)".
        self.securebits = self.securebits.without(SecureBits::KEEP_CAPS);
        Ok(())
    }
}

impl Model {
    /// user_namespaces(7), "Capabilities": the rules by which a process has a
    /// capability in a user namespace (`cap_capable`).
    pub(super) fn capable(&self, cred: &Cred, target: UserId, number: u8) -> bool {
        let mut space = target;
        loop {
            if space == cred.user {
                return cred.effective.has(number);
            }
            // A namespace that is not below the process's own is out of reach.
            if self[space].level <= self[cred.user].level {
                return false;
            }
            let Some(parent) = self[space].parent else { return false };
            if parent == cred.user && self[space].owner == cred.uid.effective {
                return true;
            }
            space = parent;
        }
    }

    /// The running process over its own user namespace.
    pub(super) fn has(&self, number: u8) -> bool {
        let cred = self.cred();
        self.capable(cred, cred.user, number)
    }

    /// The running process over a user namespace, or EPERM.
    pub(super) fn need(&self, target: UserId, number: u8) -> Result<(), Errno> {
        if self.capable(self.cred(), target, number) { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn need_here(&self, number: u8) -> Result<(), Errno> {
        self.need(self.cred().user, number)
    }

    pub(super) fn cred(&self) -> &Cred {
        &self[self.current].cred
    }

    fn cred_mut(&mut self) -> &mut Cred {
        let current = self.current;
        &mut self[current].cred
    }

    /// `commit_creds`: PR_SET_DUMPABLE(2const), "the attribute is reset" when
    /// effective or file-system ids change or capabilities are gained.
    pub(super) fn commit(&mut self, new: Cred) {
        let old = self.cred();
        let gained = if old.user == new.user {
            !old.permitted.contains(new.permitted)
        } else {
            // A namespace of one's own is no gain.
            !(self[new.user].parent == Some(old.user) && self[new.user].owner == old.uid.effective)
        };
        let changed = |old: Ids, new: Ids| old.effective != new.effective || old.fs != new.fs;
        let changed = changed(old.uid, new.uid) || changed(old.gid, new.gid);
        let task = self.current;
        if changed || gained {
            self[task].dumpable = false;
        }
        self[task].cred = new;
    }

    /// setgroups(2); user_namespaces(7), "The /proc/pid/setgroups file".
    pub(super) fn set_groups(&mut self, groups: impl Iterator<Item = u32>) -> Result<(), Errno> {
        self.need_here(cap::SETGID)?;
        let space = &self[self.cred().user];
        if !space.setgroups || space.gids.is_empty() {
            return Err(Errno::EPERM);
        }
        let groups: Option<Vec<u32>> = groups.map(|gid| to_kernel(&space.gids, gid)).collect();
        let groups = groups.filter(|groups| groups.len() <= 65536).ok_or(Errno::EINVAL)?;
        self.cred_mut().groups = groups;
        Ok(())
    }

    /// setresuid(2) for groups. Leaving gid 0 costs no capability.
    pub(super) fn set_gid(&mut self, gid: u32) -> Result<(), Errno> {
        let cred = self.cred();
        let gid = to_kernel(&self[cred.user].gids, gid).ok_or(Errno::EINVAL)?;
        if !cred.gid.may_become(gid) {
            self.need_here(cap::SETGID)?;
        }
        let mut new = self.cred().clone();
        new.gid = Ids::all(gid);
        self.commit(new);
        Ok(())
    }

    /// setresuid(2).
    pub(super) fn set_uid(&mut self, uid: u32) -> Result<(), Errno> {
        let cred = self.cred();
        let map = &self[cred.user].uids;
        let (uid, root) = (to_kernel(map, uid).ok_or(Errno::EINVAL)?, to_kernel(map, 0));
        if !cred.uid.may_become(uid) {
            self.need_here(cap::SETUID)?;
        }
        let mut new = self.cred().clone();
        new.uid = Ids::all(uid);
        new.fix_up(self.cred().uid, root);
        self.commit(new);
        Ok(())
    }

    /// PR_CAPBSET_DROP(2const), one number after the other.
    pub(super) fn drop_bounding(&mut self, keep: CapabilitySet) -> Result<(), Errno> {
        for number in (0..=self.last_capability).filter(|number| !keep.has(*number)) {
            self.need_here(cap::SETPCAP)?;
            self.cred_mut().bounding.0 &= !(1 << number);
        }
        Ok(())
    }

    /// capset(2); capabilities(7), "Programmatically adjusting capability
    /// sets". Bits beyond the last capability are ignored.
    pub(super) fn set_capabilities(
        &mut self,
        effective: CapabilitySet,
        permitted: CapabilitySet,
        inheritable: CapabilitySet,
    ) -> Result<(), Errno> {
        let every = self.every_capability();
        let (effective, permitted, inheritable) =
            (both(effective, every), both(permitted, every), both(inheritable, every));
        let old = self.cred();
        // 4: without CAP_SETPCAP the inheritable set grows only from the permitted one.
        if !self.has(cap::SETPCAP) && !either(old.inheritable, old.permitted).contains(inheritable) {
            return Err(Errno::EPERM);
        }
        // 5: and never beyond the bounding set.
        if !either(old.inheritable, old.bounding).contains(inheritable) {
            return Err(Errno::EPERM);
        }
        // 1 and 2.
        if !old.permitted.contains(permitted) || !permitted.contains(effective) {
            return Err(Errno::EPERM);
        }
        let mut new = old.clone();
        (new.effective, new.permitted, new.inheritable) = (effective, permitted, inheritable);
        // "Ambient": lowered with either of the two sets.
        new.ambient = both(new.ambient, both(permitted, inheritable));
        self.commit(new);
        Ok(())
    }

    /// PR_CAP_AMBIENT(2const): clear all, then raise one by one.
    pub(super) fn set_ambient(&mut self, capabilities: CapabilitySet) -> Result<(), Errno> {
        self.cred_mut().ambient = CapabilitySet::EMPTY;
        for number in (0..64).filter(|number| capabilities.has(*number)) {
            if number > self.last_capability {
                return Err(Errno::EINVAL);
            }
            let cred = self.cred();
            let refused = cred.securebits.has(SecureBits::NO_CAP_AMBIENT_RAISE);
            if refused || !both(cred.permitted, cred.inheritable).has(number) {
                return Err(Errno::EPERM);
            }
            self.cred_mut().ambient = self.cred().ambient.with(number);
        }
        Ok(())
    }

    /// capabilities(7), "The securebits flags": CAP_SETPCAP, and a locked flag
    /// neither changes nor is unlocked. Since 6.14 the flags about
    /// interpreters (bits 8 to 11) change without it
    /// (`Documentation/userspace-api/check_exec.rst`).
    pub(super) fn set_securebits(&mut self, bits: SecureBits) -> Result<(), Errno> {
        const LOCKS: u32 = 0b1010_1010_1010;
        const UNPRIVILEGED: u32 = 0xf00;
        let old = self.cred().securebits.0;
        let (locked, changed) = (old & LOCKS, old ^ bits.0);
        let known = if self.kernel >= (6, 14) { 0xfff } else { 0xff };
        if (locked >> 1) & changed != 0 || locked & !bits.0 != 0 || bits.0 & !known != 0 {
            return Err(Errno::EPERM);
        }
        // "For legacy reason, denies non-change."
        if changed == 0 || changed & !UNPRIVILEGED != 0 {
            self.need_here(cap::SETPCAP)?;
        }
        self.cred_mut().securebits = bits;
        Ok(())
    }

    pub(super) fn set_no_new_privs(&mut self) {
        self.cred_mut().no_new_privs = true;
    }

    /// No program is run here, so no call ever waits for its answer.
    pub(super) fn call_that_waits(&self, slots: &Slots<'_>, listener: Slot) -> Result<(), Errno> {
        match self.object(slots, listener)? {
            Object::Listener => Err(Errno::ENOENT),
            object if object.is_path_only() => Err(Errno::EBADF),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// seccomp(2), SECCOMP_SET_MODE_FILTER. The program is not interpreted.
    /// Answers whether a listener is handed out.
    pub(super) fn install_filter(
        &mut self,
        program: &[u8],
        flags: SeccompFlags,
        listener: bool,
    ) -> Result<bool, Errno> {
        let known = SeccompFlags::LOG.with(SeccompFlags::SPEC_ALLOW).with(SeccompFlags::NEW_LISTENER);
        let wants = flags.has(SeccompFlags::NEW_LISTENER);
        // BPF_MAXINSNS instructions of eight bytes.
        let (count, rest) = (program.len() / 8, program.len() % 8);
        if !known.has(flags) || wants != listener || rest != 0 || !(1..=4096).contains(&count) {
            return Err(Errno::EINVAL);
        }
        // "EACCES: the caller did not have the CAP_SYS_ADMIN capability in its
        // user namespace, or had not set no_new_privs".
        if !self.cred().no_new_privs && !self.has(cap::SYS_ADMIN) {
            return Err(Errno::EACCES);
        }
        // "EBUSY: there is already a filter with this flag".
        if wants && self.cred().listener {
            return Err(Errno::EBUSY);
        }
        let cred = self.cred_mut();
        cred.filters.push(program.into());
        cred.listener |= wants;
        Ok(wants)
    }

    /// What a process sees of itself.
    pub(super) fn seen(&self, cred: &Cred, dumpable: bool) -> Credentials {
        const OVERFLOW: u32 = 65534;
        let space = &self[cred.user];
        let uid = |id| from_kernel(&space.uids, id).unwrap_or(OVERFLOW);
        let gid = |id| from_kernel(&space.gids, id).unwrap_or(OVERFLOW);
        Credentials {
            uid: cred.uid.map(uid),
            gid: cred.gid.map(gid),
            groups: cred.groups.iter().copied().map(gid).collect(),
            effective: cred.effective,
            permitted: cred.permitted,
            inheritable: cred.inheritable,
            bounding: cred.bounding,
            ambient: cred.ambient,
            securebits: cred.securebits,
            no_new_privs: cred.no_new_privs,
            dumpable,
            filters: cred.filters.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, Stand};
    use super::*;
    use crate::abi::Namespaces;
    use crate::kernel::{Kernel, Slots};
    use crate::op::Op;
    use crate::program::{Actor, Stage};
    use crate::wire::{Blob, Numbers, Secret, Strings};

    const NONE: CapabilitySet = CapabilitySet::EMPTY;
    const FILTER: Blob<'static> = Blob(&[6, 0, 0, 0, 0, 0, 0xff, 0x7f]);

    fn exec() -> Op<'static> {
        let programs = Strings::new(b"/usr/bin/true\0").unwrap();
        Op::Exec { programs, arguments: programs, environment: Secret(Strings::new(b"").unwrap()) }
    }

    fn seccomp() -> Op<'static> {
        Op::Seccomp { program: FILTER, flags: SeccompFlags::NONE, listener: None }
    }

    /// Whoever leaves uid 0 loses permitted, effective and ambient; with
    /// keep-caps permitted stays; with no-setuid-fixup all stays.
    #[test]
    fn leaving_uid_0_costs_capabilities() {
        for (bits, permitted, effective) in [
            (SecureBits::NONE, NONE, NONE),
            (SecureBits::KEEP_CAPS, CapabilitySet::up_to(40), NONE),
            (SecureBits::NO_SETUID_FIXUP, CapabilitySet::up_to(40), CapabilitySet::up_to(40)),
        ] {
            let mut stand = Stand::root();
            stand.ok(Op::SetSecureBits { bits });
            stand.ok(Op::SetResUid { uid: 1000 });
            let seen = stand.credentials(Actor::Host);
            assert_eq!((seen.permitted, seen.effective), (permitted, effective), "{bits}");
            assert!(!seen.dumpable, "a change of ids makes undumpable");
            // A way back only with the capability.
            let back = if effective == NONE { Err(Errno::EPERM) } else { Ok(()) };
            assert_eq!(stand.ask(Op::SetResUid { uid: 0 }), back);
        }
    }

    #[test]
    fn leaving_uid_0_clears_ambient_even_with_kept_capabilities() {
        let mut stand = Stand::root();
        let one = NONE.with(cap::NET_BIND_SERVICE);
        let every = CapabilitySet::up_to(40);
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable: one });
        stand.ok(Op::AmbientSet { capabilities: one });
        stand.ok(Op::SetSecureBits { bits: SecureBits::KEEP_CAPS });
        stand.ok(Op::SetResUid { uid: 1000 });
        assert_eq!(stand.credentials(Actor::Host).ambient, NONE);
        stand.ok(Op::AmbientSet { capabilities: one });
        assert_eq!(stand.credentials(Actor::Host).ambient, one);
    }

    #[test]
    fn setting_ids_needs_capabilities_unless_they_are_ones_own() {
        let mut stand = Stand::user();
        stand.ok(Op::SetResUid { uid: 1000 });
        stand.ok(Op::SetResGid { gid: 1000 });
        stand.no(Op::SetResUid { uid: 0 }, Errno::EPERM);
        stand.no(Op::SetResGid { gid: 0 }, Errno::EPERM);
        stand.no(Op::SetGroups { groups: Numbers::new(b"").unwrap() }, Errno::EPERM);
        assert!(stand.credentials(Actor::Host).dumpable, "nothing changed");
    }

    /// Ids that the namespace does not map are EINVAL; groups need a map that
    /// was written and setgroups that was not denied.
    #[test]
    fn ids_must_be_mapped() {
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        stand.play(Actor::Child);
        let groups = Op::SetGroups { groups: Numbers::new(b"").unwrap() };
        stand.no(Op::SetResUid { uid: 0 }, Errno::EINVAL);
        stand.no(groups, Errno::EPERM);
        stand.play(Actor::Host);
        stand.write_maps(b"0 1000 1", b"0 1000 1");
        stand.play(Actor::Child);
        stand.no(groups, Errno::EPERM);
        stand.no(Op::SetResGid { gid: 1 }, Errno::EINVAL);
        stand.ok(Op::SetResGid { gid: 0 });
        stand.ok(Op::SetResUid { uid: 0 });
        assert_eq!(stand.credentials(Actor::Child).uid, Ids::all(0));
        assert_eq!(stand.credentials(Actor::Child).groups, [0], "its one group is mapped");
    }

    #[test]
    fn capset_only_takes_away() {
        let mut stand = Stand::root();
        let every = CapabilitySet::up_to(40);
        let some = NONE.with(cap::SETPCAP).with(cap::SYS_ADMIN);
        stand.no(Op::CapSet { effective: every, permitted: some, inheritable: NONE }, Errno::EPERM);
        stand.ok(Op::CapSet { effective: some, permitted: some, inheritable: every });
        stand.no(Op::CapSet { effective: every, permitted: every, inheritable: NONE }, Errno::EPERM);
        // Without CAP_SETPCAP the inheritable set grows from the permitted one only.
        let other = NONE.with(cap::SYS_ADMIN);
        stand.ok(Op::CapSet { effective: other, permitted: other, inheritable: NONE });
        stand.no(Op::CapSet { effective: other, permitted: other, inheritable: every }, Errno::EPERM);
        stand.ok(Op::CapSet { effective: other, permitted: other, inheritable: other });
    }

    #[test]
    fn inheritable_does_not_grow_beyond_the_bounding_set() {
        let mut stand = Stand::root();
        let every = CapabilitySet::up_to(40);
        stand.ok(Op::DropBounding { keep: NONE.with(cap::SYS_ADMIN) });
        stand.no(Op::CapSet { effective: every, permitted: every, inheritable: every }, Errno::EPERM);
        let inheritable = NONE.with(cap::SYS_ADMIN);
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable });
    }

    #[test]
    fn bounding_drops_need_setpcap_and_reach_the_last_capability() {
        let mut stand = Stand::on(Model::new().cap_last_cap(45));
        stand.ok(Op::DropBounding { keep: CapabilitySet::up_to(40) });
        assert_eq!(stand.credentials(Actor::Host).bounding, CapabilitySet::up_to(40), "41 to 45 went");
        stand.ok(Op::CapSet { effective: NONE, permitted: NONE, inheritable: NONE });
        stand.no(Op::DropBounding { keep: NONE }, Errno::EPERM);
        stand.ok(Op::DropBounding { keep: CapabilitySet::up_to(45) });
    }

    #[test]
    fn ambient_needs_permitted_inheritable_and_no_securebit() {
        let mut stand = Stand::root();
        let (one, every) = (NONE.with(cap::NET_BIND_SERVICE), CapabilitySet::up_to(40));
        stand.no(Op::AmbientSet { capabilities: one }, Errno::EPERM);
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable: one });
        stand.ok(Op::AmbientSet { capabilities: one });
        stand.no(Op::AmbientSet { capabilities: NONE.with(60) }, Errno::EINVAL);
        stand.ok(Op::AmbientSet { capabilities: one });
        stand.ok(Op::SetSecureBits { bits: SecureBits::NO_CAP_AMBIENT_RAISE });
        stand.no(Op::AmbientSet { capabilities: one }, Errno::EPERM);
        assert_eq!(stand.credentials(Actor::Host).ambient, NONE, "cleared before the raise failed");
        stand.ok(Op::SetSecureBits { bits: SecureBits::NONE });
        stand.ok(Op::AmbientSet { capabilities: one });
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable: NONE });
        assert_eq!(stand.credentials(Actor::Host).ambient, NONE, "goes with inheritable");
    }

    #[test]
    fn securebits_need_setpcap_and_stay_locked() {
        let mut stand = Stand::root();
        let locked = SecureBits::NOROOT.with(SecureBits::NOROOT_LOCKED);
        stand.ok(Op::SetSecureBits { bits: locked });
        stand.no(Op::SetSecureBits { bits: SecureBits::NOROOT }, Errno::EPERM);
        stand.no(Op::SetSecureBits { bits: SecureBits::NOROOT_LOCKED }, Errno::EPERM);
        stand.no(Op::SetSecureBits { bits: SecureBits(0x1000) }, Errno::EPERM);
        stand.ok(Op::SetSecureBits { bits: locked.with(SecureBits::KEEP_CAPS) });
        Stand::user().no(Op::SetSecureBits { bits: SecureBits::KEEP_CAPS }, Errno::EPERM);
        Stand::user().no(Op::SetSecureBits { bits: SecureBits::NONE }, Errno::EPERM);
        Stand::user().ok(Op::SetSecureBits { bits: SecureBits(0x100) });
        let old = Model::as_user(1000).kernel(6, 13);
        Stand::on(old).no(Op::SetSecureBits { bits: SecureBits(0x100) }, Errno::EPERM);
    }

    #[test]
    fn exec_gives_root_everything_within_bounds() {
        let every = CapabilitySet::up_to(40);
        let bound = NONE.with(cap::SETUID);
        for (steps, expected) in [
            (vec![], every),
            (vec![Op::DropBounding { keep: bound }], bound),
            (vec![Op::SetSecureBits { bits: SecureBits::NOROOT }], NONE),
            // Nothing is gained again with no_new_privs.
            (vec![Op::CapSet { effective: bound, permitted: bound, inheritable: NONE }, Op::NoNewPrivs {}], bound),
            (vec![Op::CapSet { effective: bound, permitted: bound, inheritable: NONE }], every),
        ] {
            let mut stand = Stand::root();
            steps.iter().for_each(|op| stand.ok(*op));
            stand.ok(exec());
            let seen = stand.credentials(Actor::Host);
            assert_eq!((seen.permitted, seen.effective), (expected, expected), "{steps:?}");
        }
    }

    #[test]
    fn exec_leaves_others_their_ambient_set_only() {
        let mut stand = Stand::root();
        let (one, every) = (NONE.with(cap::NET_BIND_SERVICE), CapabilitySet::up_to(40));
        stand.ok(Op::SetSecureBits { bits: SecureBits::KEEP_CAPS });
        stand.ok(Op::SetResUid { uid: 1000 });
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable: one });
        stand.ok(Op::AmbientSet { capabilities: one });
        stand.ok(exec());
        let seen = stand.credentials(Actor::Host);
        assert_eq!((seen.permitted, seen.effective, seen.ambient), (one, one, one));
        assert_eq!(seen.inheritable, one);
        assert_eq!(seen.securebits, SecureBits::NONE, "keep-caps ends with exec");
        assert!(seen.dumpable, "exec makes dumpable again");
    }

    #[test]
    fn a_set_user_id_program_gains_unless_no_new_privs_or_nosuid() {
        for (ops, uid) in [(vec![], 0), (vec![Op::NoNewPrivs {}], 1000)] {
            let mut stand =
                Stand::on(Model::as_user(1000).file("/usr/bin/true", "x").owned("/usr/bin/true", 0, 0, 0o4755));
            ops.into_iter().for_each(|op| stand.ok(op));
            stand.ok(exec());
            let seen = stand.credentials(Actor::Host);
            assert_eq!((seen.uid.effective, seen.uid.real), (uid, 1000));
            assert_eq!(seen.permitted == CapabilitySet::up_to(40), uid == 0);
            assert_eq!(seen.dumpable, uid != 0);
        }
    }

    #[test]
    fn seccomp_needs_no_new_privs_or_sys_admin() {
        let mut stand = Stand::user();
        stand.no(seccomp(), Errno::EACCES);
        stand.ok(Op::NoNewPrivs {});
        stand.ok(seccomp());
        stand.ok(seccomp());
        assert_eq!(stand.credentials(Actor::Host).filters, 2);
        stand.ok(Op::Umask { mode: 0 });
        for length in [0, 7, 12] {
            let program = Blob(&[0; 16][..length]);
            stand.no(Op::Seccomp { program, flags: SeccompFlags::NONE, listener: None }, Errno::EINVAL);
        }
        let listener = Some(crate::op::Slot(9));
        stand.no(Op::Seccomp { program: FILTER, flags: SeccompFlags::NONE, listener }, Errno::EINVAL);
        stand.ok(Op::Seccomp { program: FILTER, flags: SeccompFlags::NEW_LISTENER, listener });
        stand.no(Op::Seccomp { program: FILTER, flags: SeccompFlags::NEW_LISTENER, listener }, Errno::EBUSY);
        let listener = crate::op::Slot(9);
        stand.no(Op::CallWaits { listener, id: 1 }, Errno::ENOENT);
        stand.open(c"/usr", crate::op::Slot(8));
        stand.no(Op::ReceiveCall { listener: crate::op::Slot(8), into: crate::op::Slot(0) }, Errno::EBADF);
    }

    #[test]
    fn capabilities_in_a_namespace_reach_down_and_not_up() {
        let mut stand = Stand::user();
        stand.ok(Op::Unshare { namespaces: Namespaces::USER });
        let inner = stand.model[stand.model.current].cred.clone();
        let model = &stand.model;
        assert!(model.capable(&inner, inner.user, cap::SYS_ADMIN));
        assert!(!model.capable(&inner, UserId::INITIAL, cap::SYS_ADMIN));
        // The owner of a namespace, in its parent, has every capability in it.
        let owner = Cred::new(1000, CapabilitySet::up_to(40));
        assert!(model.capable(&owner, inner.user, cap::SYS_ADMIN));
        let other = Cred::new(1001, CapabilitySet::up_to(40));
        assert!(!model.capable(&other, inner.user, cap::SYS_ADMIN));
    }

    #[test]
    fn a_proof_of_credentials_finds_every_difference() {
        let mut stand = Stand::root();
        let every = CapabilitySet::up_to(40);
        let good = |uid, bounding, no_new_privs| Op::ProveCredentials {
            uid,
            gid: 0,
            effective: every,
            permitted: every,
            bounding,
            ambient: NONE,
            securebits: SecureBits::NONE,
            no_new_privs,
        };
        stand.ok(good(0, every, false));
        for wrong in [good(1, every, false), good(0, NONE, false), good(0, every, true)] {
            stand.no(wrong, Errno::EPERM);
        }
    }

    /// Every order of `ops`, on copies of `base`. Answers how many run without
    /// an error; each of those must end as `end` says.
    fn orders(base: &Model, ops: &[Option<Op<'_>>], end: impl Fn(&Credentials)) -> usize {
        fn go(model: &Model, left: &[Option<Op<'_>>], end: &dyn Fn(&Credentials)) -> usize {
            if left.is_empty() {
                end(&model.process(Actor::Host).unwrap().credentials());
                return 1;
            }
            let mut count = 0;
            for index in 0..left.len() {
                let mut next = model.clone();
                let done = match left[index] {
                    Some(op) => next.call(&op, &mut Slots::new(&mut [])),
                    // PR_SET_KEEPCAPS, for which there is no op.
                    None => {
                        let current = next.current;
                        let bits = &mut next[current].cred.securebits;
                        *bits = bits.with(SecureBits::KEEP_CAPS);
                        Ok(())
                    }
                };
                if done.is_ok() {
                    let rest: Vec<_> =
                        left.iter().enumerate().filter(|(at, _)| *at != index).map(|row| *row.1).collect();
                    count += go(&next, &rest, end);
                }
            }
            count
        }
        go(base, ops, &end)
    }

    /// The experiment of the project's reference (engineering.md §6), which
    /// was run on Linux in all 5760 orders: 378 of 5040 work, and 36 of 720
    /// without no_new_privs, and each that works ends as asked.
    ///
    /// There `PR_SET_KEEPCAPS` was used, which needs no capability and so may
    /// come anywhere, even too late to matter. `PR_SET_SECUREBITS`, which the
    /// vocabulary has, needs CAP_SETPCAP, so it must come before setresuid and
    /// capset: 234 and 24.
    #[test]
    fn the_order_of_the_last_steps_checks_itself() {
        let mut base = Model::new();
        base.act_as(Actor::Host);
        base.settle();
        let asked = |no_new_privs: bool| {
            move |seen: &Credentials| {
                assert_eq!((seen.uid, seen.gid), (Ids::all(1000), Ids::all(1000)));
                assert_eq!([seen.permitted, seen.effective, seen.inheritable, seen.bounding, seen.ambient], [NONE; 5]);
                assert_eq!((seen.filters, seen.no_new_privs), (1, no_new_privs));
                assert_eq!(seen.securebits, SecureBits::KEEP_CAPS);
            }
        };
        let keep = Op::SetSecureBits { bits: SecureBits::KEEP_CAPS };
        for (keep, with, without) in [(None, 378, 36), (Some(keep), 234, 24)] {
            let ops = [
                Some(Op::DropBounding { keep: NONE }),
                keep,
                Some(Op::SetResGid { gid: 1000 }),
                Some(Op::SetResUid { uid: 1000 }),
                Some(Op::CapSet { effective: NONE, permitted: NONE, inheritable: NONE }),
                Some(seccomp()),
                Some(Op::NoNewPrivs {}),
            ];
            assert_eq!(orders(&base, &ops, asked(true)), with);
            assert_eq!(orders(&base, &ops[..6], asked(false)), without);
        }
    }
}
