//! The user namespace: which ids are mapped, by whom, and how the child
//! becomes its root.

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::{Blob, Numbers};
use skep_sys::{At, Op, Proof};

use super::{Context, c_path};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{BUSY, Facts};
use crate::plan::{Builder, Phase, RANGE_LOCK, role};
use crate::report::Report;
use crate::spec::{IdRange, Origin, Profile, Spec, UserNamespace};

/// One line of an id map: inside, outside, count.
pub(crate) type Extent = [u32; 3];

/// How ids are mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mapping {
    /// No user namespace.
    None,
    /// One id each, written by an ordinary user for itself.
    Own { uid: Extent, gid: Extent },
    /// Ranges, written through `newuidmap` and `newgidmap`.
    Helpers { uid: Vec<Extent>, gid: Vec<Extent> },
    /// Ranges, written by root.
    Direct { extents: Vec<Extent>, locked: Option<IdRange> },
}

impl Mapping {
    /// A range that belongs to one container.
    fn range(range: IdRange) -> Self {
        Self::Direct { extents: vec![[0, range.base, range.count]], locked: Some(range) }
    }

    /// The same, and others may have it too.
    fn shared(range: IdRange) -> Self {
        Self::Direct { extents: vec![[0, range.base, range.count]], locked: None }
    }

    pub(crate) const fn is_new(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether `id` has a meaning inside.
    pub(crate) fn maps(&self, id: u32, group: bool) -> bool {
        let within = |[inside, _, count]: &Extent| id >= *inside && id - inside < *count;
        match self {
            Self::None => true,
            Self::Own { uid, gid } => within(if group { gid } else { uid }),
            Self::Helpers { uid, gid } => (if group { gid } else { uid }).iter().any(within),
            Self::Direct { extents, .. } => extents.iter().any(within),
        }
    }

    /// The user and the group of the host that are root inside.
    pub(crate) fn root(&self) -> Option<(u32, u32)> {
        let of = |extents: &[Extent]| extents.iter().find(|[inside, ..]| *inside == 0).map(|[_, outside, _]| *outside);
        match self {
            Self::None => Some((0, 0)),
            Self::Own { uid, gid } => of(&[*uid]).zip(of(&[*gid])),
            Self::Helpers { uid, gid } => of(uid).zip(of(gid)),
            Self::Direct { extents, .. } => of(extents).map(|root| (root, root)),
        }
    }

    /// Whether groups can be changed inside.
    pub(crate) const fn has_groups(&self) -> bool {
        !matches!(self, Self::Own { .. })
    }
}

/// Ids end below the one that means "no id" (`-1`).
const END: u64 = u32::MAX as u64;

/// Decides how ids are mapped, and checks it.
pub(super) fn mapping(spec: &Spec, facts: &Facts, uid: u32, gid: u32) -> Result<Mapping> {
    let origin = spec.origins.of("user_namespace");
    let refuse = |kind, what: &str, remedy: &str| Err(Error::new(kind, what).from(origin).remedy(remedy));
    let privileged = facts.privileged();
    let choice = match spec.user_namespace {
        UserNamespace::Managed if privileged => UserNamespace::Pick,
        UserNamespace::Managed => UserNamespace::Subordinate,
        // In a user namespace that has no range to give, root is as anybody.
        UserNamespace::Auto
            if privileged && (facts.has_every_id() || (facts.free_range.is_some() && facts.range_lock)) =>
        {
            UserNamespace::Pick
        }
        UserNamespace::Auto => UserNamespace::Own,
        other => other,
    };
    if choice != UserNamespace::Host {
        if facts.max_user_namespaces == 0 {
            return refuse(
                ErrorKind::NotPermitted,
                "user namespaces are switched off: user.max_user_namespaces is 0",
                "Raise it: sysctl user.max_user_namespaces=10000",
            );
        }
        if let (false, Some(sysctl)) = (privileged, facts.restricted_by) {
            let value = if sysctl.contains("apparmor") { 0 } else { 1 };
            return refuse(
                ErrorKind::NotPermitted,
                &format!("user namespaces are refused to ordinary users by {sysctl}"),
                &format!(
                    "Allow them (sysctl {sysctl}={value}), or give this program an AppArmor profile with `userns,`."
                ),
            );
        }
    }
    let mapping = match choice {
        UserNamespace::Host => {
            if !privileged {
                return refuse(
                    ErrorKind::NotPermitted,
                    "a container without a user namespace needs root",
                    "Leave the user namespace on, or run as root.",
                );
            }
            Mapping::None
        }
        // `Auto` and `Managed` have been decided above.
        UserNamespace::Own | UserNamespace::Auto | UserNamespace::Managed => {
            if uid == u32::MAX || gid == u32::MAX {
                return refuse(ErrorKind::InvalidSpec, "id 4294967295 means \"no id\"", "Choose another user.");
            }
            Mapping::Own { uid: [uid, facts.uid, 1], gid: [gid, facts.gid, 1] }
        }
        UserNamespace::Subordinate => subordinate(facts, privileged, origin)?,
        UserNamespace::Pick | UserNamespace::Range(_) | UserNamespace::Identity | UserNamespace::Owner
            if !privileged =>
        {
            return refuse(
                ErrorKind::NotPermitted,
                "only root can map a range of ids that is not its own",
                "As an ordinary user, map your own id (the default) or your ranges of /etc/subuid.",
            );
        }
        UserNamespace::Pick => {
            let Some(range) = facts.free_range else {
                return refuse(
                    ErrorKind::Unsupported,
                    "no free range of 65536 ids was found",
                    "End a container, name a range, or map your own id.",
                );
            };
            Mapping::range(range)
        }
        UserNamespace::Range(range) => {
            if range.count == 0 || u64::from(range.base) + u64::from(range.count) > END {
                return refuse(
                    ErrorKind::InvalidSpec,
                    &format!(
                        "the range of {} ids from {} on is empty or ends beyond 4294967294",
                        range.count, range.base
                    ),
                    "Give a base and a count that fit.",
                );
            }
            // With systemd-nspawn a range is a word about a tree, not about who else has it.
            if spec.profile == Profile::Nspawn {
                return checked(spec, facts, uid, gid, Mapping::shared(range));
            }
            if range.base == 0 {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "a range that holds host id 0 makes the container's root the host's",
                    "Say `identity` if that is what you want.",
                );
            }
            Mapping::range(range)
        }
        UserNamespace::Identity => Mapping::shared(IdRange { base: 0, count: 65_536 }),
        UserNamespace::Owner => match facts.path(&spec.root.top()).base() {
            Some(BUSY) => {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "the files of the tree were being given to other ids, and that was interrupted",
                    "Name the range (BASE) and `--private-users-ownership=chown`: it is finished then.",
                );
            }
            Some(base) if base < 0xffff_0000 => Mapping::shared(IdRange { base, count: 65_536 }),
            _ => {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "user and group of the root directory are of no one range of 65536 ids",
                    "Give it to one (chown), or name the range.",
                );
            }
        },
    };
    checked(spec, facts, uid, gid, mapping)
}

/// A mapping that can be had, and in which the payload's ids are.
fn checked(spec: &Spec, facts: &Facts, uid: u32, gid: u32, mapping: Mapping) -> Result<Mapping> {
    let origin = spec.origins.of("user_namespace");
    let refuse = |kind, what: &str, remedy: &str| Err(Error::new(kind, what).from(origin).remedy(remedy));
    if let (Mapping::Direct { locked: Some(_), .. }, false) = (&mapping, facts.range_lock) {
        return refuse(
            ErrorKind::Unsupported,
            "a range of ids cannot be kept from other containers: /run cannot be written by this caller",
            NO_LOCK,
        );
    }
    if let Mapping::Direct { extents, .. } = &mapping
        && let Some([_, base, count]) =
            extents.iter().find(|[_, base, count]| !facts.has_ids(IdRange { base: *base, count: *count }))
    {
        return refuse(
            ErrorKind::NotPermitted,
            &format!("the ids {base}+{count} are not all ids of the caller's own user namespace"),
            "Choose a range within /proc/self/uid_map, or map your own id.",
        );
    }
    for (id, group, what) in [(uid, false, "user"), (gid, true, "group")] {
        if id == u32::MAX || !mapping.maps(id, group) {
            return Err(Error::new(ErrorKind::InvalidSpec, format!("{what} id {id} is not mapped in this container"))
                .from(spec.origins.of("user"))
                .remedy("Choose one within the mapped range."));
        }
    }
    for id in &spec.groups {
        if !mapping.has_groups() || !mapping.maps(*id, true) {
            return Err(Error::new(ErrorKind::InvalidSpec, format!("group id {id} is not mapped in this container"))
                .from(spec.origins.of("groups"))
                .remedy("Supplementary groups need a mapped range: subordinate ids, or root."));
        }
    }
    Ok(mapping)
}

const NO_LOCK: &str =
    "The lock is a file in /run: be uid 0 with a /run that can be written, such as a tmpfs, or map your own id.";

fn subordinate(facts: &Facts, privileged: bool, origin: Option<&Origin>) -> Result<Mapping> {
    let (Some(uids), Some(gids)) = (facts.subuid, facts.subgid) else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("user {} has no range in /etc/subuid and /etc/subgid", facts.uid),
        )
        .from(origin)
        .remedy("Give it one: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME"));
    };
    for (file, range, own) in [("/etc/subuid", uids, facts.uid), ("/etc/subgid", gids, facts.gid)] {
        let (base, count) = (u64::from(range.base), u64::from(range.count));
        // Inside, the own id is before it.
        let fits = count > 0 && base > 0 && base + count <= END && count < END;
        let holds = !privileged && (base..base + count).contains(&u64::from(own));
        if !fits || holds {
            let wrong = if holds { format!("holds its own id {own}") } else { "is none that can be mapped".to_owned() };
            let what = format!("the range {base}+{count} of user {} in {file} {wrong}", facts.uid);
            return Err(Error::new(ErrorKind::Unsupported, what)
                .from(origin)
                .remedy("Give it another in that file, such as 100000:65536."));
        }
    }
    if privileged {
        if uids != gids {
            return Err(Error::new(ErrorKind::Unsupported, "root's ranges in /etc/subuid and /etc/subgid differ")
                .from(origin)
                .remedy("Make both the same."));
        }
        return Ok(Mapping::range(uids));
    }
    if facts.id_map_helpers.is_none() {
        return Err(Error::new(ErrorKind::NotFound, "newuidmap and newgidmap are not installed")
            .from(origin)
            .remedy("Install them (Debian: package uidmap)."));
    }
    Ok(Mapping::Helpers {
        uid: vec![[0, facts.uid, 1], [1, uids.base, uids.count]],
        gid: vec![[0, facts.gid, 1], [1, gids.base, gids.count]],
    })
}

/// The file of procfs for a map, one extent a line.
fn map_text(extents: &[Extent]) -> String {
    extents.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect()
}

/// An ordinary user has these ids and no others.
const SHARED: &str = "every container of this user has the same ids";

pub(super) fn prepare(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let origin = context.origin("user_namespace");
    match &context.mapping {
        Mapping::None => {
            report.off("id map", "ids are the caller's");
            report.off("id range", "there is none");
        }
        Mapping::Own { uid, gid } => {
            report.applied(
                "id map",
                format!("uid {} is {}, gid {} is {}; setgroups denied", uid[0], uid[1], gid[0], gid[1]),
            );
            report.off("id range", SHARED);
        }
        Mapping::Helpers { uid, gid } => {
            report.applied("id map", format!("{} and {} ids through newuidmap and newgidmap", total(uid), total(gid)));
            report.off("id range", SHARED);
            for (index, path) in context.facts.id_map_helpers.iter().flatten().enumerate() {
                let into = helper_slot(index);
                let file = c_path(path)?;
                plan.step(Phase::Prepare, format!("open {}", path.display()), origin.clone())
                    .op(Op::OpenAt2 {
                        dir: At::Cwd,
                        path: &file,
                        flags: OpenFlags::PATH,
                        mode: 0,
                        resolve: Resolve::NO_MAGICLINKS,
                        into,
                    })
                    .op(Op::Prove { file: into, proof: Proof::OwnedByRoot });
            }
        }
        Mapping::Direct { extents, locked } => {
            let first = extents.first().copied().unwrap_or_default();
            report.applied("id map", format!("{} ids from {} on", first[2], first[1]));
            match locked {
                Some(range) => {
                    plan.step(Phase::Prepare, format!("lock the ids {}+{}", range.base, range.count), origin)
                        .remedy(NO_LOCK)
                        .op(Op::LockIds { path: RANGE_LOCK, first: range.base, count: range.count, into: role::RANGE })
                        .undo(Op::ReleaseIds {
                            file: role::RANGE,
                            path: RANGE_LOCK,
                            first: range.base,
                            count: range.count,
                        });
                    report.applied("id range", "held by a lock until its handle goes");
                }
                None => report.off("id range", "not held by a lock"),
            }
        }
    }
    Ok(())
}

/// The slots of the two helpers: short-lived, before anything else uses them.
const fn helper_slot(index: usize) -> skep_sys::Slot {
    if index == 0 { role::ONE } else { role::TWO }
}

fn total(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| u64::from(extent[2])).sum()
}

pub(super) fn attend(context: &Context<'_>, plan: &mut Builder) {
    let origin = context.origin("user_namespace");
    let needed = super::attributes::needs_process(context.spec) || context.spec.links.concern_host();
    if !context.mapping.is_new() && !needed {
        return;
    }
    plan.step(Phase::Attend, "open the child's /proc directory", Origin::Always).op(Op::OpenProcess {
        pid: role::PID,
        pidfd: role::PIDFD,
        into: role::PROCESS,
    });
    let dir = At::Slot(role::PROCESS);
    match &context.mapping {
        Mapping::None => {}
        Mapping::Own { uid, gid } => {
            // setgroups first: without it an ordinary user may not map a group
            // (CVE-2014-8989).
            let (uids, gids) = (map_text(&[*uid]), map_text(&[*gid]));
            plan.step(Phase::Attend, "map the caller's own ids", origin)
                .remedy(match uid[1] {
                    // user_namespaces(7): since Linux 5.12.
                    0 => "Where this says EPERM, the caller is uid 0 without CAP_SETFCAP, which mapping uid 0 takes: be another user, or keep the capability.",
                    _ => "Where this says EPERM, user namespaces are restricted here: `skep doctor` names the setting.",
                })
                .op(Op::Write { dir, path: c"setgroups", content: Blob(b"deny") })
                .op(Op::Write { dir, path: c"gid_map", content: Blob(gids.as_bytes()) })
                .op(Op::Write { dir, path: c"uid_map", content: Blob(uids.as_bytes()) });
        }
        Mapping::Helpers { uid, gid } => {
            plan.step(Phase::Attend, "map ids through newgidmap and newuidmap", origin)
                .remedy("They must be set-user-id or have the capability for it (which no_new_privs and a nosuid mount take away), and /etc/subuid and /etc/subgid must give this user the ranges.");
            for (index, extents) in [(1, gid), (0, uid)] {
                let bytes: Vec<u8> = extents.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
                if let Some(map) = Numbers::new(&bytes) {
                    plan.op(Op::IdMapHelper { program: helper_slot(index), pid: role::PID, map });
                }
                plan.op(Op::Close { file: helper_slot(index) });
            }
        }
        Mapping::Direct { extents, .. } => {
            let text = map_text(extents);
            plan.step(Phase::Attend, "map the range of ids", origin)
                .op(Op::Write { dir, path: c"gid_map", content: Blob(text.as_bytes()) })
                .op(Op::Write { dir, path: c"uid_map", content: Blob(text.as_bytes()) });
        }
    }
}

/// The child becomes root of its namespace, to build what is the root's.
pub(super) fn enter(context: &Context<'_>, plan: &mut Builder) {
    if let (true, Some(none)) = (context.mapping.is_new() && context.mapping.has_groups(), Numbers::new(&[])) {
        plan.step(Phase::Enter, "become root of the user namespace", context.origin("user_namespace"))
            .op(Op::SetGroups { groups: none })
            .op(Op::SetResGid { gid: 0 })
            .op(Op::SetResUid { uid: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(user_namespace: UserNamespace, uid: u32) -> Result<Mapping> {
        let spec = Spec { user_namespace, ..Spec::default() };
        mapping(&spec, &Facts::example(&spec), uid, uid)
    }

    fn as_root(user_namespace: UserNamespace, uid: u32) -> Result<Mapping> {
        let spec = Spec { user_namespace, ..Spec::default() };
        let mut facts = Facts::example(&spec);
        (facts.uid, facts.gid) = (0, 0);
        facts.capabilities = skep_sys::abi::CapabilitySet::up_to(40);
        mapping(&spec, &facts, uid, uid)
    }

    #[test]
    fn what_auto_means() {
        assert!(matches!(of(UserNamespace::Auto, 0), Ok(Mapping::Own { uid: [0, 1000, 1], .. })));
        assert!(matches!(of(UserNamespace::Auto, 7), Ok(Mapping::Own { uid: [7, 1000, 1], .. })));
        let Ok(Mapping::Direct { extents, locked }) = as_root(UserNamespace::Auto, 0) else { panic!() };
        assert_ne!(extents[0][1], 0, "never host id 0");
        assert!(locked.is_some());
    }

    #[test]
    fn root_of_a_small_user_namespace_is_as_anybody() {
        let spec = |user_namespace| Spec { user_namespace, ..Spec::default() };
        let of = |spec: Spec, foreign_mounts| {
            let mut facts = Facts::example(&spec);
            (facts.uid, facts.gid, facts.foreign_mounts) = (0, 0, foreign_mounts);
            facts.capabilities = skep_sys::abi::CapabilitySet::up_to(40);
            facts.ids = vec![IdRange { base: 0, count: 1 }, IdRange { base: 1, count: 70_000 }];
            facts.free_range = None;
            facts.range_lock = true;
            mapping(&spec, &facts, 0, 0)
        };
        for foreign_mounts in [false, true] {
            let own = of(spec(UserNamespace::Auto), foreign_mounts);
            assert_eq!(own, Ok(Mapping::Own { uid: [0, 0, 1], gid: [0, 0, 1] }));
        }
        let range = |base| spec(UserNamespace::Range(IdRange { base, count: 65_536 }));
        assert!(of(range(1000), false).is_ok());
        for choice in [range(10_000), spec(UserNamespace::Identity)] {
            assert!(of(choice, false).unwrap_err().to_string().contains("the caller's own user namespace"));
        }
    }

    #[test]
    fn a_range_that_cannot_be_kept_is_none() {
        let of = |user_namespace, every_id: bool| {
            let spec = Spec { user_namespace, ..Spec::default() };
            let mut facts = Facts::example(&spec);
            (facts.uid, facts.gid, facts.range_lock) = (0, 0, false);
            facts.capabilities = skep_sys::abi::CapabilitySet::up_to(40);
            if !every_id {
                facts.ids = vec![IdRange { base: 0, count: 1 << 21 }];
            }
            mapping(&spec, &facts, 0, 0)
        };
        let range = UserNamespace::Range(IdRange { base: 500_000, count: 65_536 });
        for choice in [UserNamespace::Auto, UserNamespace::Pick, UserNamespace::Subordinate, range] {
            let error = of(choice, true).unwrap_err().to_string();
            assert!(error.contains("/run cannot be written"), "{choice:?}: {error}");
        }
        assert_eq!(of(UserNamespace::Auto, false), Ok(Mapping::Own { uid: [0, 0, 1], gid: [0, 0, 1] }));
        for choice in [UserNamespace::Own, UserNamespace::Identity, UserNamespace::Host] {
            assert!(of(choice, true).is_ok(), "{choice:?}");
        }
    }

    #[test]
    fn what_an_ordinary_user_cannot() {
        for choice in [
            UserNamespace::Host,
            UserNamespace::Pick,
            UserNamespace::Identity,
            UserNamespace::Range(IdRange { base: 100_000, count: 65_536 }),
        ] {
            assert_eq!(of(choice, 0).unwrap_err().kind(), ErrorKind::NotPermitted, "{choice:?}");
        }
    }

    #[test]
    fn ranges_of_subuid_that_the_kernel_would_refuse() {
        let spec = Spec { user_namespace: UserNamespace::Subordinate, ..Spec::default() };
        for (base, count, words) in [
            (1000, 65_536, "its own id 1000"),
            (900, 101, "its own id 1000"),
            (0, 10, "can be mapped"),
            (5000, 0, "can be mapped"),
            (u32::MAX - 5, 6, "can be mapped"),
        ] {
            let mut facts = Facts::example(&spec);
            (facts.uid, facts.gid, facts.subgid) = (1000, 1000, Some(IdRange { base, count }));
            let error = mapping(&spec, &facts, 0, 0).unwrap_err();
            assert!(error.to_string().contains(words) && error.to_string().contains("/etc/subgid"), "{error}");
            assert!(error.advice().is_some());
        }
    }

    #[test]
    fn what_nobody_can() {
        for (base, count) in [(0, 65_536), (5, 0), (u32::MAX, 1), (4_294_967_290, 6), (1, u32::MAX)] {
            let range = UserNamespace::Range(IdRange { base, count });
            assert_eq!(as_root(range, 0).unwrap_err().kind(), ErrorKind::InvalidSpec, "{base}+{count}");
        }
        let range = UserNamespace::Range(IdRange { base: 100_000, count: 10 });
        assert!(as_root(range, 9).is_ok());
        assert!(as_root(range, 10).is_err(), "not mapped");
        assert!(of(UserNamespace::Auto, u32::MAX).is_err(), "-1 is no id");
    }

    #[test]
    fn ids_of_the_owner_and_those_that_are_managed() {
        let of = |profile, user_namespace, uid, gid, privileged: bool| {
            let spec = Spec {
                user_namespace,
                root: crate::spec::Root { path: "/tree".into(), ..Default::default() },
                ..Spec::of(profile)
            };
            let mut facts = Facts::example(&spec);
            facts.paths.insert("/tree".into(), crate::facts::PathFact { uid, gid, ..Default::default() });
            if privileged {
                (facts.uid, facts.gid) = (0, 0);
                facts.capabilities = skep_sys::abi::CapabilitySet::up_to(40);
            }
            mapping(&spec, &facts, 0, 0)
        };
        let shared = |base, count| Ok(Mapping::Direct { extents: vec![[0, base, count]], locked: None });
        use UserNamespace::{Managed, Owner, Range};
        for profile in [Profile::Strict, Profile::Nspawn] {
            assert_eq!(of(profile, Owner, 0, 0, true), shared(0, 65_536));
            assert_eq!(of(profile, Owner, 0x0012_0007, 0x0012_0000, true), shared(0x0012_0000, 65_536));
            for (uid, gid) in [(0x0012_0000, 0), (BUSY, BUSY), (u32::MAX, u32::MAX)] {
                assert_eq!(of(profile, Owner, uid, gid, true).unwrap_err().kind(), ErrorKind::InvalidSpec, "{uid}");
            }
            assert_eq!(of(profile, Owner, 0, 0, false).unwrap_err().kind(), ErrorKind::NotPermitted);
            assert!(matches!(of(profile, Managed, 0, 0, true), Ok(Mapping::Direct { locked: Some(_), .. })));
            assert!(matches!(of(profile, Managed, 0, 0, false), Ok(Mapping::Helpers { .. })));
        }
        // As there: a range of one's own choice may be anybody's, and the host's.
        assert_eq!(of(Profile::Nspawn, Range(IdRange { base: 0, count: 9 }), 0, 0, true), shared(0, 9));
        assert!(of(Profile::Nspawn, Range(IdRange { base: 7, count: u32::MAX }), 0, 0, true).is_err());
    }

    #[test]
    fn restrictions_are_named() {
        let spec = Spec::default();
        let mut facts = Facts::example(&spec);
        facts.restricted_by = Some("kernel.apparmor_restrict_unprivileged_userns");
        let text = mapping(&spec, &facts, 0, 0).unwrap_err().to_string();
        assert!(text.contains("kernel.apparmor_restrict_unprivileged_userns=0"), "{text}");
        facts = Facts::example(&spec);
        facts.max_user_namespaces = 0;
        assert!(mapping(&spec, &facts, 0, 0).unwrap_err().to_string().contains("user.max_user_namespaces"));
    }

    proptest! {
        /// The kernel's rules for a map (user_namespaces(7)), for every range.
        #[test]
        fn a_range_is_mapped_only_where_it_fits(base: u32, count: u32, uid in 0_u32..3) {
            let mapped = as_root(UserNamespace::Range(IdRange { base, count }), uid);
            let fits = base > 0 && count > 0 && u64::from(base) + u64::from(count) <= END && uid < count;
            prop_assert_eq!(mapped.is_ok(), fits);
        }
    }
}
