//! What was typed, before anybody asks what it means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use skep::dialect::Format;
use skep::dialect::nspawn::SettingsMode;
use skep::dialect::nspawn::value::{FamilyList, SystemCallList};
use skep::spec::{
    Architecture, CpuLimit, HostName, Init, IoPriority, Limit, LinkJournal, MachineName, Mount, Namespace, Network,
    NumberList, Ownership, Personality, Profile, Readiness, ResolvConf, SchedulingPolicy, Secret, SecureBitList,
    Socket, Timezone, User, UserNamespace, UserShell, Volatile, Want,
};
use skep::sys::abi::{CapabilitySet, Resource};

use crate::console::Console;
use crate::credentials::Credential;
use crate::landlock::LandlockWord;

/// A kind of namespace that `--namespace=` chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ipc,
    Uts,
    Cgroup,
    Pid,
    Time,
}

/// Who gets a signal of `skep kill`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whom {
    Leader,
    All,
}

/// A clock of a time namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    Monotonic,
    Boottime,
}

/// Every option as it was typed, its value read but nothing looked up: paths
/// are as relative as they were, and no default is filled in.
///
/// A scalar that was given twice holds the last value, a list all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) help: bool,
    /// By the rules of `systemd-nspawn`.
    pub(crate) nspawn: bool,
    pub(crate) version: bool,
    pub(crate) cleanup: bool,
    pub(crate) system: bool,
    pub(crate) keep_unit: bool,
    /// Options that are about a unit of a service manager.
    pub(crate) of_unit: Vec<&'static str>,
    /// The words of a value that was asked for by `help`.
    pub(crate) listed: Option<Vec<String>>,
    pub(crate) json: bool,
    pub(crate) verbose: bool,
    /// Two files are compared.
    pub(crate) diff: bool,
    /// The formats that `convert` reads and writes.
    pub(crate) from: Option<Format>,
    pub(crate) to: Option<Format>,
    /// In tenths.
    pub(crate) threshold: Option<u8>,
    pub(crate) quiet: bool,
    /// Of `run`: its supervisor goes on by itself.
    pub(crate) detach: bool,
    /// Of `list`: no heading.
    pub(crate) no_legend: bool,
    /// Of `kill`.
    pub(crate) signal: Option<u8>,
    pub(crate) whom: Option<Whom>,
    /// Of `logs`.
    pub(crate) follow: bool,
    pub(crate) lines: Option<usize>,
    pub(crate) console: Option<Console>,
    pub(crate) report: bool,
    /// Of this program, and inside.
    pub(crate) descriptors: Vec<(u32, u32)>,
    pub(crate) status_fd: Option<u32>,
    pub(crate) start_timeout: Option<Duration>,
    /// Of a stop.
    pub(crate) grace: Option<Duration>,
    pub(crate) profile: Option<Profile>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) settings: Option<SettingsMode>,
    /// Lists of settings that are looked for are added to.
    pub(crate) additive: bool,
    pub(crate) register: Option<Want>,
    /// With systemd-machined.
    pub(crate) announce: Option<Want>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) image: Option<PathBuf>,
    /// A directory of layers.
    pub(crate) mstack: Option<PathBuf>,
    pub(crate) template: Option<PathBuf>,
    pub(crate) pivot_root: Option<(PathBuf, Option<PathBuf>)>,
    pub(crate) ephemeral: Option<bool>,
    pub(crate) read_only: Option<bool>,
    pub(crate) volatile: Option<Volatile>,
    /// Binds and tmpfs, with the option that each was given by.
    pub(crate) mounts: Vec<(Mount, &'static str)>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) link_journal: Option<LinkJournal>,
    pub(crate) journal: crate::journal::Wanted,
    pub(crate) bind_users: Vec<String>,
    pub(crate) bind_user_shell: Option<UserShell>,
    pub(crate) bind_user_groups: Vec<String>,
    pub(crate) machine: Option<Option<MachineName>>,
    pub(crate) hostname: Option<Option<HostName>>,
    pub(crate) init: Option<Init>,
    pub(crate) boot: Option<bool>,
    pub(crate) working_directory: Option<PathBuf>,
    /// Without a value: the launcher's own.
    pub(crate) environment: Vec<(String, Option<Secret>)>,
    pub(crate) user: Option<User>,
    pub(crate) umask: Option<u32>,
    pub(crate) personality: Option<Personality>,
    pub(crate) oom_score_adjust: Option<Option<i16>>,
    pub(crate) deny_write_execute: Option<Want>,
    pub(crate) resolv_conf: Option<ResolvConf>,
    pub(crate) timezone: Option<Timezone>,
    pub(crate) credentials: Vec<(String, Credential)>,
    pub(crate) cpu_affinity: Option<NumberList>,
    pub(crate) nice: Option<i8>,
    pub(crate) scheduling_policy: Option<SchedulingPolicy>,
    pub(crate) io_priority: Option<IoPriority>,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) kill_signal: Option<u8>,
    pub(crate) readiness: Option<Readiness>,
    pub(crate) network: Option<(Network, &'static str)>,
    pub(crate) network_path: Option<PathBuf>,
    pub(crate) links: TypedLinks,
    pub(crate) ports: Vec<skep::spec::Port>,
    pub(crate) namespaces: Vec<(Kind, Namespace)>,
    pub(crate) time_offsets: Vec<(Clock, i64)>,
    pub(crate) user_namespace: Option<UserNamespace>,
    pub(crate) ownership: Option<Ownership>,
    pub(crate) capability: CapabilitySet,
    pub(crate) drop_capability: CapabilitySet,
    pub(crate) ambient_capability: CapabilitySet,
    pub(crate) securebits: Option<SecureBitList>,
    pub(crate) no_new_privileges: Option<bool>,
    pub(crate) suppress_sync: Option<bool>,
    pub(crate) system_calls: Vec<SystemCallList>,
    pub(crate) address_families: Vec<FamilyList>,
    pub(crate) architectures: Option<BTreeSet<Architecture>>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) landlock: Vec<LandlockWord>,
    pub(crate) required: Vec<String>,
    pub(crate) limits: Vec<(Resource, Limit)>,
    pub(crate) memory: Option<u64>,
    pub(crate) cpus: Option<CpuLimit>,
    pub(crate) pids: Option<u64>,
    /// Other limits of a cgroup.
    pub(crate) resources: crate::limits::Typed,
    /// From the first word that is no option on, as it stands.
    pub(crate) words: Vec<OsString>,
}

/// What was typed of interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypedLinks {
    pub(crate) all: skep::spec::Links,
    /// Fields of the Spec, and the options that said so.
    options: Vec<(&'static str, &'static str)>,
}

impl TypedLinks {
    pub(crate) fn asked(&mut self, field: &'static str, option: &'static str) {
        self.options.retain(|(known, _)| *known != field);
        self.options.push((field, option));
    }

    /// Each field, and the option that it was said by.
    pub(crate) fn options(&self) -> &[(&'static str, &'static str)] {
        &self.options
    }
}
