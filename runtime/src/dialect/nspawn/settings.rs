//! What a `.nspawn` file says, value by value, with its place.

use std::path::{Path, PathBuf};

use super::lines::Place;
use crate::spec::{
    CapabilityList, HostName, Init, Limit, Mount, Network, Origin, Readiness, Secret, User, UserNamespace, Volatile,
};
use skep_sys::abi::Resource;

/// A value and where the file says it. Equal to the same value elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) key: &'static str,
}

impl<T> Setting<T> {
    pub(super) const fn new(value: T, place: Place, key: &'static str) -> Self {
        Self { value, place, key }
    }

    pub(super) fn origin(&self, file: &Path) -> Origin {
        origin(file, self.place, self.key)
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

/// What any file may set.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Harmless {
    pub(super) init: Option<Setting<Init>>,
    pub(super) parameters: Vec<Setting<String>>,
    pub(super) environment: Vec<Setting<(String, Secret)>>,
    pub(super) user: Option<Setting<User>>,
    pub(super) drop_capability: Vec<Setting<CapabilityList>>,
    pub(super) kill_signal: Option<Setting<u8>>,
    pub(super) working_directory: Option<Setting<PathBuf>>,
    pub(super) readiness: Option<Setting<Readiness>>,
    pub(super) hostname: Option<Setting<HostName>>,
    pub(super) no_new_privileges: Option<Setting<bool>>,
    pub(super) read_only: Option<Setting<bool>>,
    pub(super) volatile: Option<Setting<Volatile>>,
}

/// What only a trusted file may set.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Privileged {
    pub(super) ephemeral: Option<Setting<bool>>,
    pub(super) capability: Vec<Setting<CapabilityList>>,
    pub(super) ambient_capability: Vec<Setting<CapabilityList>>,
    pub(super) private_users: Option<Setting<UserNamespace>>,
    pub(super) limits: Vec<Setting<(Resource, Limit)>>,
    pub(super) mounts: Vec<Setting<Mount>>,
    pub(super) masked: Vec<Setting<PathBuf>>,
    pub(super) network: Option<Setting<Network>>,
}
