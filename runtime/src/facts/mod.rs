//! What is true of this host: the other input of [`crate::compile`].
//!
//! [`Facts`] is data, so that a plan can be made for a host that is not this
//! one, and compile needs no I/O. [`Facts::gather`] is the one function that
//! looks. It changes nothing.

pub(crate) mod bearer;
mod cgroups;
mod files;
mod host;
mod image;
mod journal;
mod memory;
mod network;
mod ranges;
mod registry;
mod tree;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use skep_sys::abi::{CapabilitySet, Resource};

use crate::error::Result;
use crate::spec::{IdRange, Limit, Spec};

pub use bearer::Bearer;
pub use cgroups::{CgroupLayout, Cgroups, UnifiedGroup};
pub(crate) use files::{BUSY, UpperPlace, behind, plain, plain_components};
pub use files::{DeviceNumber, EntryKind, PathFact, TargetFact};
pub(crate) use host::{LOCALTIME, OS_RELEASE};
pub use image::{DiskImage, ImageError};
pub(crate) use journal::{JOURNALS, directory_of as journal_of};
pub use journal::{JournalFacts, JournalPlace};
pub use network::{Listens, NetworkFacts};
pub(crate) use network::{published, taken, zone_lock};
pub(crate) use registry::base as registry_base;
pub use registry::{Registrar, Registry};
pub(crate) use users::BIND_USER_IDS;
pub use users::{HostUser, TreeAccounts};

/// Facts about the host, the caller, and the paths that a Spec names.
///
/// They are what was true when somebody looked. What could have changed since,
/// and matters, is proved again by the start, on the descriptor that it uses.
/// For tests and rehearsals there is [`Facts::example`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Facts {
    /// Kernel version, major and minor. For messages; what works is probed or
    /// answered by the kernel itself.
    pub kernel: (u32, u32),
    /// The caller's effective user id.
    pub uid: u32,
    /// The caller's effective group id.
    pub gid: u32,
    /// The caller's effective capabilities.
    pub capabilities: CapabilitySet,
    /// The ids that the caller's own user namespace has (`/proc/self/uid_map`).
    /// Looked at only for a caller with capabilities; else all.
    pub ids: Vec<IdRange>,
    /// Whether the caller's mounts belong to a user namespace above its own
    /// (`unshare -r`): whatever its capabilities, it may clone none of them.
    pub foreign_mounts: bool,
    /// The caller's bounding set.
    pub bounding: CapabilitySet,
    /// The last capability that the kernel knows.
    pub last_capability: u8,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: u64,
    /// A sysctl that keeps ordinary users from making user namespaces. Looked at
    /// only for them.
    pub restricted_by: Option<&'static str>,
    /// Whether the kernel has keyrings, and lets this process use them.
    pub keyrings: bool,
    /// The caller's own nice value. Looked at only for a Spec that schedules.
    pub nice: i8,
    /// The caller's own `oom_score_adj`. Looked at only for a Spec that sets one.
    pub oom_score_adjust: i16,
    /// The version of the kernel's Landlock; 0 where there is none.
    pub landlock: u64,
    /// The caller's hard limits.
    pub hard_limits: BTreeMap<Resource, u64>,
    /// The limits of the host's first process that a payload of the profile `nspawn`
    /// gets: of processes and of signals that wait. Looked at for that profile alone.
    pub first_limits: BTreeMap<Resource, Limit>,
    /// What the tree's `/etc/machine-id` says, where that is an id. Looked at for the
    /// profile `nspawn`, as the next.
    pub machine_id: Option<String>,
    /// Fields of the host's `os-release(5)` that its containers are told: `ID`,
    /// `VERSION_ID`, `BUILD_ID` and `VARIANT_ID`.
    pub os_release: BTreeMap<&'static str, String>,
    /// An id that nobody has: 32 hexadecimal digits.
    pub fresh_id: String,
    /// One more, of the container's boot.
    pub fresh_boot: String,
    /// The shell of a login that the tree has, and whether it has the home of the
    /// payload's user. Looked at for a login shell alone.
    pub login: Option<Login>,
    /// Entries of `/proc` and `/sys` that exist, of those that profiles name.
    pub kernel_paths: BTreeSet<&'static str>,
    /// The cgroups.
    pub cgroups: Cgroups,
    /// Whether the kernel loads programs for the devices of a v2 group. Looked
    /// at only for root, and where there is such a group.
    pub device_programs: bool,
    /// The caller's subordinate user ids.
    pub subuid: Option<IdRange>,
    /// The caller's subordinate group ids.
    pub subgid: Option<IdRange>,
    /// `newuidmap` and `newgidmap`, where both are installed.
    pub id_map_helpers: Option<[PathBuf; 2]>,
    /// A free range of 65536 ids, if the Spec wants one picked.
    pub free_range: Option<IdRange>,
    /// Whether ranges can be locked: the caller is uid 0 and may make a file in
    /// `/run`. Looked at only where root may want a range.
    pub range_lock: bool,
    /// Paths of the host that the Spec names.
    pub paths: BTreeMap<PathBuf, PathFact>,
    /// Paths inside the root that something is mounted on or masked at.
    pub targets: BTreeMap<PathBuf, TargetFact>,
    /// What files of the host say that the Spec wants copied.
    pub contents: BTreeMap<PathBuf, Vec<u8>>,
    /// The host's time zone, such as `Europe/Berlin`, if `/etc/localtime` is a
    /// link to one.
    pub time_zone: Option<String>,
    /// Whether the root lies on what is mounted read-only. Looked at for a machine alone.
    pub read_only_root: bool,
    /// Whether its `/etc` does. Looked at for a machine alone, where a file there is to be
    /// changed by name.
    pub read_only_etc: bool,
    /// What the root's top lacks of what a machine's has: directories, and links with what
    /// they are to point to. Looked at for a machine alone.
    pub lacking: BTreeMap<&'static str, Option<&'static str>>,
    /// Where `bin`, `lib` and so on of the root point to.
    pub usr_links: BTreeMap<String, PathBuf>,
    /// The user that the Spec names, as the root's `/etc/passwd` and
    /// `/etc/group` have it: uid, gid, supplementary groups, home.
    pub named_user: Option<NamedUser>,
    /// Where the machine's journal could be on the host. Looked at only for a machine,
    /// and a Spec that wants to know.
    pub journal: Option<JournalFacts>,
    /// Users of the host that the Spec wants inside, by name.
    pub host_users: BTreeMap<String, HostUser>,
    /// What of the tree's own users and groups they could collide with.
    pub tree_accounts: TreeAccounts,
    /// Whether this program has more rights than who started it: set-user-ID,
    /// set-group-ID, or capabilities of its file (`AT_SECURE`, `getauxval(3)`).
    pub secure_execution: bool,
    /// Who starts the container. Looked at only where that is written down: in the
    /// registry, in the name of a cgroup, or in the alias of an interface.
    pub registrar: Registrar,
    /// How many facts that process had gathered before: what tells cgroups and
    /// interfaces of containers apart that have the same name.
    pub serial: u64,
    /// Where containers of this user are registered. Looked at only for a Spec
    /// that wants it.
    pub registry: Option<Registry>,
    /// Who bears the machine's name on the host already. Looked at only for a machine of
    /// root's that is registered and has a name.
    pub bearer: Bearer,
    /// The host's network. Looked at only for a Spec with interfaces.
    pub network: Option<NetworkFacts>,
    /// A name for a container that has none.
    pub fresh_name: String,
    /// What of the Spec's disk image is mounted, if that is so: the paths of the
    /// root are then those of what is mounted. Only a start mounts one.
    pub image: Option<DiskImage>,
}

/// A user of the container's `/etc/passwd`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamedUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: PathBuf,
}

/// What a login shell finds in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Login {
    /// The first of those that are tried.
    pub shell: &'static str,
    /// Whether the payload's user has a home that is there.
    pub home: bool,
}

/// The shells of a login, in the order in which they are tried.
pub(crate) const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

impl Facts {
    /// Looks at this host, with an eye to what `spec` names.
    ///
    /// # Errors
    ///
    /// Where the host cannot be looked at at all (no `/proc`). That a path of
    /// the Spec does not exist is a fact, not an error.
    pub fn gather(spec: &Spec) -> Result<Self> {
        host::gather(spec, None)
    }

    /// The same, with the root of a disk image as it is mounted.
    pub(crate) fn of_mounted(spec: &Spec, mounted: &crate::trees::Mounted) -> Result<Self> {
        let mut facts = host::gather(spec, Some(mounted.path()))?;
        facts.image = Some(mounted.image.clone());
        Ok(facts)
    }

    /// Whether the caller may do what root does here: make namespaces without
    /// a user namespace, map any id, id-map mounts.
    #[must_use]
    pub fn privileged(&self) -> bool {
        self.capable() && !self.foreign_mounts
    }

    fn capable(&self) -> bool {
        use skep_sys::abi::cap;
        [cap::SYS_ADMIN, cap::SETUID, cap::SETGID, cap::SETPCAP].iter().all(|number| self.capabilities.has(*number))
    }

    /// Whether the caller's user namespace has every id: the initial one, or
    /// one like it. In a smaller one, such as that of a rootless container, no
    /// range may be free to be picked.
    #[must_use]
    pub fn has_every_id(&self) -> bool {
        self.ids.iter().map(|range| u64::from(range.count)).sum::<u64>() >= u64::from(u32::MAX)
    }

    /// Whether these ids are all ids of the caller's user namespace.
    pub(crate) fn has_ids(&self, wanted: IdRange) -> bool {
        let last = |range: &IdRange| u64::from(range.base) + u64::from(range.count);
        self.ids.iter().any(|own| own.base <= wanted.base && last(&wanted) <= last(own))
    }

    /// Looks at the place of the journal of the machine `id` once more, or, with `failed`,
    /// keeps in mind why it could not be made.
    pub(crate) fn journal_made(&mut self, id: &str, failed: Option<String>) {
        let path = journal_of(id);
        if let Some(journal) = &mut self.journal {
            (journal.place, journal.failed) = (JournalPlace::look(&path), failed);
        }
        self.paths.insert(path.clone(), PathFact::look(&path));
    }

    /// The fact about a path of the host.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathFact {
        self.paths.get(path).copied().unwrap_or_default()
    }

    /// The facts of a made-up host, for tests of plans: an ordinary user with
    /// uid 1000 and subordinate ids on Linux 6.12 with cgroup v2 but no
    /// delegation, and every path a directory.
    #[must_use]
    pub fn example(spec: &Spec) -> Self {
        host::example(spec)
    }

    /// A host in memory that these facts are true of, as far as a [`skep_sys::Model`]
    /// can be, and the facts with its inodes: for rehearsals of a Spec
    /// ([`crate::rehearse`]). `None` where no host is like that: a directory below a
    /// file, a namespace at `/proc`.
    #[must_use]
    pub fn in_memory(self, spec: &Spec) -> Option<(skep_sys::Model, Self)> {
        memory::host(self, spec)
    }

    /// The same facts with the paths of a host in memory: which of them exist
    /// there, and their inodes. For rehearsals ([`crate::rehearse`]).
    #[must_use]
    pub fn on(mut self, host: &mut skep_sys::Model) -> Self {
        self.kernel_paths.retain(|path| host.inode(path).is_some());
        for (path, fact) in &mut self.paths {
            match path.to_str().and_then(|path| host.inode(path)) {
                Some((device, inode)) => (fact.device, fact.inode) = (device, inode),
                None => *fact = PathFact::default(),
            }
        }
        self
    }
}
