//! What a `.nspawn` file says, value by value, with its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::calls::{FamilyList, SystemCallList};
use super::lines::Place;
use super::merge::Category;
use super::table::Key;
use crate::spec::{
    CapabilityList, HostName, Init, Limit, LinkJournal, LinkName, LinkPair, Mount, Network, NumberList, Origin,
    Ownership, Personality, Port, Readiness, ResolvConf, Secret, Timezone, User, UserNamespace, UserShell, Volatile,
};
use skep_sys::abi::Resource;

/// A value and where the file says it. Equal to the same value elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) key: &'static Key,
}

impl<T> Setting<T> {
    pub(super) const fn new(value: T, place: Place, key: &'static Key) -> Self {
        Self { value, place, key }
    }

    pub(super) fn origin(&self, file: &Path) -> Origin {
        origin(file, self.place, self.key.name)
    }
}

impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

pub(super) fn origin(file: &Path, place: Place, key: &str) -> Origin {
    Origin::File { path: file.to_owned(), line: place.line, key: format!("{key}=") }
}

/// What a `.nspawn` file says.
///
/// Comes only from [`super::parse`], so every value in it has been checked. Two
/// are equal when they say the same, wherever it stands. `Display` prints a
/// `.nspawn` file of the same meaning; it holds the values of the environment
/// variables, which `Debug` does not show.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(super) file: PathBuf,
    pub(super) harmless: Harmless,
    pub(super) privileged: Privileged,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.harmless == other.harmless && self.privileged == other.privileged
    }
}

/// What a `.nspawn` file says that need not be trusted, such as one beside an
/// image. It has no place for a value that only a trusted file may set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UntrustedSettings {
    pub(super) file: PathBuf,
    pub(super) harmless: Harmless,
    /// Where the file sets what it may not set. It had no effect: show it.
    pub ignored: Vec<Origin>,
}

/// Declares a set of settings, and what is done with each of them alike.
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug, Default)]
        pub(super) struct $name {
            $($(#[$of])* pub(super) $field: $type,)*
        }

        impl $name {
            /// Forgets those whose key is not to be kept.
            pub(super) fn retain(&mut self, keep: &dyn Fn(&Key) -> bool) {
                $(Kept::retain(&mut self.$field, keep);)*
            }

            /// What they concern.
            pub(super) fn categories(&self) -> BTreeSet<Category> {
                let mut all = BTreeSet::new();
                $(all.extend(Kept::keys(&self.$field).map(|key| key.category));)*
                all
            }
        }
    };
}

/// Settings in a field: one at most, or a list.
trait Kept {
    fn retain(&mut self, keep: &dyn Fn(&Key) -> bool);
    fn keys(&self) -> impl Iterator<Item = &'static Key>;
}

impl<T> Kept for Option<Setting<T>> {
    fn retain(&mut self, keep: &dyn Fn(&Key) -> bool) {
        let _ = self.take_if(|setting| !keep(setting.key));
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.iter().map(|setting| setting.key)
    }
}

impl<T> Kept for Vec<Setting<T>> {
    fn retain(&mut self, keep: &dyn Fn(&Key) -> bool) {
        self.retain(|setting| keep(setting.key));
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.iter().map(|setting| setting.key)
    }
}

settings! {
    /// What any file may set.
    Harmless {
        boot: Option<Setting<bool>>,
        init: Option<Setting<Init>>,
        parameters: Vec<Setting<String>>,
        environment: Vec<Setting<(String, Secret)>>,
        user: Option<Setting<User>>,
        drop_capability: Vec<Setting<CapabilityList>>,
        kill_signal: Option<Setting<u8>>,
        personality: Option<Setting<Personality>>,
        working_directory: Option<Setting<PathBuf>>,
        readiness: Option<Setting<Readiness>>,
        hostname: Option<Setting<HostName>>,
        no_new_privileges: Option<Setting<bool>>,
        suppress_sync: Option<Setting<bool>>,
        read_only: Option<Setting<bool>>,
        volatile: Option<Setting<Volatile>>,
        resolv_conf: Option<Setting<ResolvConf>>,
        timezone: Option<Setting<Timezone>>,
        system_calls: Vec<Setting<SystemCallList>>,
        address_families: Vec<Setting<FamilyList>>,
        /// Keys that are not acted on yet, with values that ask for what happens
        /// anyhow. They are kept for printing, and for what they mask in a merge.
        anyhow: Vec<Setting<(&'static str, String)>>,
    }
}

settings! {
    /// What only a trusted file may set.
    Privileged {
        ephemeral: Option<Setting<bool>>,
        capability: Vec<Setting<CapabilityList>>,
        ambient_capability: Vec<Setting<CapabilityList>>,
        private_users: Option<Setting<UserNamespace>>,
        ownership: Option<Setting<Ownership>>,
        pivot_root: Option<Setting<(PathBuf, Option<PathBuf>)>>,
        oom_score_adjust: Option<Setting<i16>>,
        cpu_affinity: Vec<Setting<NumberList>>,
        /// As `$container_uuid`.
        machine_id: Option<Setting<String>>,
        limits: Vec<Setting<(Resource, Limit)>>,
        mounts: Vec<Setting<Mount>>,
        masked: Vec<Setting<PathBuf>>,
        link_journal: Option<Setting<LinkJournal>>,
        bind_users: Vec<Setting<String>>,
        bind_user_shell: Option<Setting<UserShell>>,
        network: Option<Setting<Network>>,
        network_path: Option<Setting<PathBuf>>,
        veth: Option<Setting<bool>>,
        bridge: Option<Setting<LinkName>>,
        zone: Option<Setting<LinkName>>,
        veth_extra: Vec<Setting<LinkPair>>,
        /// Lines, each of several.
        macvlan: Vec<Setting<Vec<LinkPair>>>,
        ipvlan: Vec<Setting<Vec<LinkPair>>>,
        moved: Vec<Setting<Vec<LinkPair>>>,
        ports: Vec<Setting<Port>>,
    }
}

impl Harmless {
    /// Takes out what is harmless in general, but not with this value: it would
    /// take away what a profile or the caller gave. Where it stood is returned.
    pub(super) fn take_weakening(&mut self) -> Vec<(Place, &'static Key)> {
        let off = |slot: &mut Option<Setting<bool>>| slot.take_if(|it| !it.value).map(|it| (it.place, it.key));
        let kept = self.volatile.take_if(|it| it.value == Volatile::No).map(|it| (it.place, it.key));
        let mut taken: Vec<_> =
            [off(&mut self.no_new_privileges), off(&mut self.read_only), kept].into_iter().flatten().collect();
        let allows = |list: &mut Setting<SystemCallList>| matches!(list.value, SystemCallList::Allow(_));
        taken.extend(self.system_calls.extract_if(.., allows).map(|it| (it.place, it.key)));
        taken.sort_by_key(|(place, _)| place.line);
        taken
    }
}
