//! What a container shall be: plain, typed, serialisable data.
//!
//! A [`Spec`] says *what*, never *how*. Dialects ([`crate::dialect`]) and the
//! builder ([`crate::Command`]) only fill it in; [`crate::compile`] turns it
//! into a plan. It serialises with serde; an unknown field is an error.

mod attributes;
mod cgroups;
mod descriptors;
mod devices;
mod exec;
mod files;
mod identity;
mod journal;
mod landlock;
mod links;
mod mounts;
mod name;
mod namespaces;
mod origin;
mod overlay;
mod resources;
mod secret;
mod system_calls;
mod terminal;
mod tmpfs;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skep_sys::abi::{Namespaces, signal};

pub use attributes::{IoPriority, Personality, Scheduling, SchedulingPolicy};
pub use cgroups::{CpuLimit, IoLimit, NumberList, Resources};
pub use descriptors::Descriptor;
pub use devices::{Device, DeviceAccess};
pub use exec::ExecSpec;
pub(crate) use files::How;
pub use files::{File, Hosts, KernelFiles, ResolvConf, SecretFile, Timezone};
pub use identity::{Capabilities, Capability, CapabilityList, SecureBitList, User};
pub use journal::LinkJournal;
pub use landlock::{FileAccess, Landlock, PathRule};
pub(crate) use links::network;
pub use links::{LinkAddress, LinkError, LinkHardware, LinkName, LinkPair, Links, Port, Protocol};
pub use mounts::{Bind, IdMap, Mount, MountKind, Ownership, Root, Volatile};
pub use name::{HostName, MachineName, NameError};
pub use namespaces::{IdRange, Namespace, NamespaceChoice, Network, TimeOffsets, UserNamespace};
pub use origin::{Origin, Origins};
pub use overlay::Overlay;
pub use resources::{Limit, Limits, parse_bytes};
pub use secret::Secret;
pub use system_calls::{Architecture, Denial, Family, Socket, Sockets, SystemCalls};
pub use terminal::TerminalSize;
pub use tmpfs::{AccessTimes, HugePages, NumaPolicy, Tmpfs};
pub use users::{BindUsers, UserShell};

/// How much a hardening item is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// The start fails where it cannot be had.
    #[default]
    Require,
    /// Where it cannot be had, the report says so.
    IfSupported,
    /// Not wanted; the report says so.
    Off,
}

/// Where defaults come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Profile {
    /// Everything off that an ordinary program does not need.
    #[default]
    Strict,
    /// As `systemd-nspawn`: what boots under it boots under this.
    Nspawn,
}

/// Who is process 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// A stub of a few KiB that reaps and forwards signals; the command is 2.
    #[default]
    Stub,
    /// The command itself.
    Payload,
    /// The tree's own: `/usr/lib/systemd/systemd`, `/lib/systemd/systemd` or
    /// `/sbin/init`, the first that can be executed. The command is its arguments, and
    /// may be empty.
    Boot,
}

/// When a container counts as ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// As soon as the command has been executed.
    #[default]
    Exec,
    /// When the payload sends `READY=1` to `$NOTIFY_SOCKET` (`sd_notify(3)`).
    Notify,
}

/// What one of the three standard streams is inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe whose other end the [`crate::Container`] holds.
    Piped,
    /// A descriptor that the embedder gives, its own stream for instance. The
    /// payload can open such a file again with other modes.
    Given,
    /// The container's terminal; see [`Spec::terminal`].
    Terminal,
}

/// A container, as plain data.
///
/// The defaults are those of the profile `strict`: own namespaces of every
/// kind but `time`, no capability, no new privileges, the default filter, a
/// tmpfs root with the host's `/usr` read-only, an empty environment.
///
/// ```
/// let spec: skep::Spec = serde_json::from_str(r#"{ "command": ["/usr/bin/id"] }"#)?;
/// assert!(spec.no_new_privileges);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Spec {
    /// Version of this format.
    pub version: u32,
    /// Where the defaults come from. Changing it after the fact changes only
    /// what a plan adds by itself (mounts, filter), not the fields below.
    pub profile: Profile,
    /// The name; made up when absent.
    pub machine: Option<MachineName>,
    /// The root file system.
    pub root: Root,
    /// Binds, tmpfs, overlays, devices and files, in any order; they are
    /// mounted parents first.
    pub mounts: Vec<Mount>,
    /// Whether `/tmp` is a tmpfs of its own. If not, it is as the root has it.
    pub tmp: bool,
    /// Which files of the kernel can be written, in the profile `nspawn`.
    pub kernel_files: KernelFiles,
    /// Paths that read as empty: a file or directory without permissions is
    /// put over each. Applied after every mount.
    pub masked: Vec<PathBuf>,
    /// Paths that are made read-only, with everything below. After `mounts`.
    pub read_only: Vec<PathBuf>,
    /// Credentials by name, as files of `/run/host/credentials`, which
    /// `$CREDENTIALS_DIRECTORY` names: as in [`SecretFile`].
    pub credentials: BTreeMap<String, Secret>,
    /// Users of the host that the container has too.
    pub bind_user: BindUsers,
    /// Whether the host sees the machine's journal.
    pub link_journal: LinkJournal,
    /// `/etc/resolv.conf`.
    pub resolv_conf: ResolvConf,
    /// `/etc/localtime`.
    pub timezone: Timezone,
    /// `/etc/hosts`.
    pub hosts: Hosts,
    /// Whether a file with the hostname lies over `/etc/hostname`.
    pub hostname_file: bool,
    /// A closed list of devices, by the container's cgroup: the usual nodes of
    /// `/dev`, terminals, and those of `mounts`. Root only. If supported: where
    /// the container has a cgroup of that kind anyhow.
    pub device_policy: Want,
    /// Which namespaces are new.
    pub namespaces: NamespaceChoice,
    /// The user namespace and its id map.
    pub user_namespace: UserNamespace,
    /// The network.
    pub network: Network,
    /// Interfaces, addresses and published ports of a network of its own.
    pub links: Links,
    /// Capabilities of the payload.
    pub capabilities: Capabilities,
    /// Securebits of the payload after its exec (`capabilities(7)`). When absent: all
    /// locked where no capability is granted, so that none comes back, and else
    /// none. Those cannot be fewer where no capability is granted. With `noroot` a
    /// payload that is root holds the ambient capabilities and no other.
    pub securebits: Option<SecureBitList>,
    /// Whether an exec can never raise privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// The system-call filter of the profile.
    pub seccomp: Want,
    /// What is changed of that filter.
    pub system_calls: SystemCalls,
    /// What Landlock keeps from the payload.
    pub landlock: Landlock,
    /// A session keyring of its own (`session-keyring(7)`): empty, and nothing leads
    /// from it to the caller's keys. Keyrings are in no namespace: what a key lets
    /// every process of its user do (by default, see that it is there) it lets a
    /// payload with that user's id do too, unless the filter refuses `keyctl(2)`, as
    /// that of the profiles does.
    pub keyring: Want,
    /// Whether memory can never be both written and executed, or become executable
    /// after it was written (`PR_SET_MDWE`, `prctl(2)`; Linux 6.3). Programs that
    /// make code as they run (JavaScript, Java, PCRE) then fail or get slower; a
    /// program cannot be switched back. Off unless it is asked for.
    pub memory_deny_write_execute: Want,
    /// Where, when and how soon the payload runs. A further process
    /// ([`crate::Container::exec`]) is scheduled, and has a score, as the caller.
    pub scheduling: Scheduling,
    /// Settings of the kernel that the container's own namespaces have, by name as
    /// `sysctl(8)` writes them: `net.*` of its network, and those of its System V
    /// and POSIX message queues, semaphores and shared memory. Set before
    /// `/proc/sys` becomes read-only.
    pub sysctls: BTreeMap<String, String>,
    /// What the machine says that it is.
    pub personality: Personality,
    /// Which process the kernel kills first when memory runs out: from -1000,
    /// never, to 1000 (`proc(5)`, `oom_score_adj`); the caller's own when absent.
    /// To be below that takes CAP_SYS_RESOURCE. What root sets is also the lowest
    /// that the payload can set itself.
    pub oom_score_adjust: Option<i16>,
    /// Resource limits (`setrlimit(2)`) beside those of the profile.
    pub limits: Limits,
    /// Memory, processor and process limits (cgroups).
    pub resources: Resources,
    /// Who the payload is, inside.
    pub user: User,
    /// Supplementary groups, inside.
    pub groups: Vec<u32>,
    /// The file mode creation mask, such as 0o022.
    pub umask: u32,
    /// The working directory; absolute, through no link of `/proc` to what is open.
    pub working_directory: PathBuf,
    /// Variables beside the documented ones.
    pub environment: BTreeMap<String, Secret>,
    /// The hostname; the machine name when absent.
    pub hostname: Option<HostName>,
    /// Who is process 1.
    pub init: Init,
    /// Program and arguments. A program without a slash is looked up in the
    /// container's `PATH`.
    #[serde(with = "secret::words")]
    #[cfg_attr(test, schemars(with = "Vec<secret::Word>"))]
    pub command: Vec<OsString>,
    /// Whether the program is a login shell, as `login(1)` runs it: its name begins with
    /// a dash, and where no other working directory is said, it begins in its user's
    /// home, if that is there. Without a command it is `/bin/bash`, else `/bin/sh`.
    pub login_shell: bool,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// The signal of an orderly stop, by number.
    pub kill_signal: u8,
    /// Standard input, output and error.
    pub stdio: [Stream; 3],
    /// A terminal of the container's own devpts, of this size at first: its
    /// `/dev/console`, the controlling terminal of the payload's session, and
    /// every stream that `stdio` says. [`crate::Container::terminal`] is its
    /// other end.
    pub terminal: Option<TerminalSize>,
    /// Descriptors beside the streams; [`crate::Command::fd`] adds one and gives its
    /// file, [`crate::Command::give_fd`] that of one which is named here.
    pub descriptors: Vec<Descriptor>,
    /// Whether the container, once it is made, waits for the embedder's word
    /// before its payload is started: [`crate::Command::create`] sets it.
    pub hold: bool,
    /// Whether other processes of this user can find it by its name
    /// ([`crate::find`]): an entry in `/run/skep`, or in `skep` of
    /// `$XDG_RUNTIME_DIR`, while it lives. A name that is taken fails the start
    /// in any case.
    pub register: Want,
    /// Items of the report ([`crate::Report`]), by name, that must be in force, or
    /// nothing is started. So what a profile has where it can be had (`masks`,
    /// `supplementary groups`, `limit pids`, `id range`, …) can be required as well.
    pub required: BTreeSet<String>,
    /// Where values came from, for messages.
    #[serde(skip)]
    pub origins: Origins,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            version: 1,
            profile: Profile::Strict,
            machine: None,
            root: Root::default(),
            mounts: Vec::new(),
            tmp: true,
            kernel_files: KernelFiles::ReadOnly,
            masked: Vec::new(),
            read_only: Vec::new(),
            credentials: BTreeMap::new(),
            bind_user: BindUsers::default(),
            link_journal: LinkJournal::No,
            resolv_conf: ResolvConf::Auto,
            timezone: Timezone::Off,
            hosts: Hosts::Off,
            hostname_file: false,
            device_policy: Want::IfSupported,
            namespaces: NamespaceChoice::default(),
            user_namespace: UserNamespace::Auto,
            network: Network::None,
            links: Links::default(),
            capabilities: Capabilities::default(),
            securebits: None,
            no_new_privileges: true,
            seccomp: Want::Require,
            system_calls: SystemCalls::default(),
            landlock: Landlock::default(),
            keyring: Want::IfSupported,
            memory_deny_write_execute: Want::Off,
            scheduling: Scheduling::default(),
            sysctls: BTreeMap::new(),
            personality: Personality::Native,
            oom_score_adjust: None,
            limits: Limits::new(),
            resources: Resources::default(),
            user: User::default(),
            groups: Vec::new(),
            umask: 0o022,
            working_directory: PathBuf::from("/"),
            environment: BTreeMap::new(),
            hostname: None,
            init: Init::Stub,
            command: Vec::new(),
            login_shell: false,
            readiness: Readiness::Exec,
            kill_signal: signal::TERM,
            stdio: [Stream::Null; 3],
            terminal: None,
            descriptors: Vec::new(),
            hold: false,
            register: Want::Off,
            required: BTreeSet::new(),
            origins: Origins::default(),
        }
    }
}

impl Spec {
    /// The home of the payload's user; `named`: what the tree says of one with a name.
    pub(crate) fn home<'a>(&self, named: Option<&'a std::path::Path>) -> &'a std::path::Path {
        let root = matches!(self.user, User::Ids { uid: 0, .. });
        named.unwrap_or_else(|| std::path::Path::new(if root { "/root" } else { "/" }))
    }

    /// The Spec of a profile before anybody has asked for anything.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let strict = Self::default();
        match profile {
            Profile::Strict => strict,
            Profile::Nspawn => Self {
                profile,
                user_namespace: UserNamespace::Host,
                network: Network::Host,
                capabilities: Capabilities::nspawn(),
                no_new_privileges: false,
                init: Init::Payload,
                timezone: Timezone::Auto,
                link_journal: LinkJournal::Auto,
                root: Root { path: PathBuf::from("."), volatile: Volatile::No, ..Root::default() },
                ..strict
            },
        }
    }

    /// The namespaces of somebody else that it names by a path, each with its kind.
    ///
    /// ```
    /// let mut spec = skep::Spec::default();
    /// spec.network = skep::spec::Network::Path("/run/netns/web".into());
    /// assert_eq!(spec.joined().len(), 1);
    /// ```
    #[must_use]
    pub fn joined(&self) -> Vec<(&Path, Namespaces)> {
        let all = &self.namespaces;
        let choices = [
            (&all.pid, Namespaces::PID),
            (&all.ipc, Namespaces::IPC),
            (&all.uts, Namespaces::UTS),
            (&all.cgroup, Namespaces::CGROUP),
            (&all.time, Namespaces::TIME),
        ];
        let named = choices.into_iter().filter_map(|(choice, kind)| match choice {
            Namespace::Path(path) => Some((path.as_path(), kind)),
            _ => None,
        });
        let network = match &self.network {
            Network::Path(path) | Network::Own(path) => Some((path.as_path(), Namespaces::NETWORK)),
            _ => None,
        };
        named.chain(network).collect()
    }
}
