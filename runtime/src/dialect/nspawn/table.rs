//! Every key of a `.nspawn` file, in one table.

use std::cmp::Ordering;

use skep_sys::abi::Resource;

use super::assignment::Value;
use super::later;
use super::links;
use super::merge::Category;
use super::mounts;
use super::settings::{Harmless, Privileged};
use super::value::{self, Parsed, Separator};
use crate::spec::{Init, Network, Ownership, Readiness};

/// A section of a `.nspawn` file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Section {
    /// `[Exec]`: what runs, as whom, with which rights.
    Exec,
    /// `[Files]`: the root and what is mounted in it.
    Files,
    /// `[Network]`: the network.
    Network,
}

impl Section {
    pub(super) const ALL: [Self; 3] = [Self::Exec, Self::Files, Self::Network];

    /// The name, as in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "Exec",
            Self::Files => "Files",
            Self::Network => "Network",
        }
    }
}

/// From whom a key is taken. A file that whoever made the image could have
/// written is not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// Only from a file that is trusted: it reaches out to the host, or gives
    /// rights.
    Trusted,
    /// From any file, as long as its value only takes rights away.
    RestrictionsFromUntrusted,
    /// From any file: it concerns the inside, or takes rights away.
    AcceptedFromUntrusted,
}

/// One key.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// Its section.
    pub section: Section,
    /// Its name, without `=`.
    pub name: &'static str,
    /// From whom it is taken.
    pub trust: Trust,
    /// With which others it gives way to the command line, or the other way round.
    pub category: Category,
    pub(super) shape: Shape,
    pub(super) read: Read,
}

/// Keys are equal, and in order, by section and name: the table has each once.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.section, self.name).cmp(&(other.section, other.name))
    }
}

impl Key {
    /// Whether this version does what the key says. Of one that it does not do,
    /// the values that ask for what happens anyhow (`Boot=no`) are accepted; every
    /// other is an error, never ignored.
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        !matches!(self.read, Read::Anyhow(_))
    }
}

/// How often a key can be given, and what an empty one means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// Once; never empty.
    Once,
    /// Any number of times; never empty.
    List,
    /// Any number of times; empty forgets what was before.
    Resettable,
}

/// How a value is read. What a reader can reach is what its key can change:
/// none that an untrusted file may use gets at [`Privileged`].
#[derive(Debug)]
pub(super) enum Read {
    Harmless(fn(&mut Harmless, &mut Value<'_, '_>)),
    Privileged(fn(&mut Privileged, &mut Value<'_, '_>)),
    /// Not acted on: refused unless it asks for what happens anyhow.
    Anyhow(fn(&str) -> Parsed<()>),
}

const fn row(section: Section, name: &'static str, trust: Trust, shape: Shape, category: Category, read: Read) -> Key {
    Key { section, name, trust, category, shape, read }
}

/// A limit, by its name and its number (`getrlimit(2)`).
const fn limit(name: &'static str, number: u8) -> Key {
    row(
        Section::Exec,
        name,
        Trust::Trusted,
        Shape::Once,
        Category::Limit(Resource(number)),
        Read::Privileged(|s, v| {
            let name = v.key.name;
            v.push(&mut s.limits, |text| value::limit(name, text));
        }),
    )
}

use Category as C;
use Read::{Anyhow, Harmless as Any, Privileged as Own};
use Section::{Exec, Files, Network as Net};
use Shape::{List, Once, Resettable};
use Trust::{AcceptedFromUntrusted as Accepted, RestrictionsFromUntrusted, Trusted};

/// Every key that `systemd-nspawn` 262 knows (`systemd.nspawn(5)`).
///
/// The trust classes are those of `systemd-nspawn`, but for `PivotRoot=`: that
/// it was taken from beside the image was a hole (CVE-2026-40226).
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    row(Exec, "Boot", Accepted, Once, C::StartMode, Any(|s, v| v.once(&mut s.boot, value::boolean))),
    row(Exec, "Ephemeral", Trusted, Once, C::Ephemeral, Own(|s, v| v.once(&mut s.ephemeral, value::boolean))),
    row(Exec, "ProcessTwo", Accepted, Once, C::StartMode, Any(|s, v| v.once(&mut s.init, |text| {
        Ok(if value::boolean(text)? { Init::Stub } else { Init::Payload })
    }))),
    row(Exec, "Parameters", Accepted, Resettable, C::StartMode, Any(|s, v| v.words(&mut s.parameters, |word| Ok(word.to_owned())))),
    row(Exec, "Environment", Accepted, Resettable, C::Environment, Any(|s, v| v.words(&mut s.environment, value::assigned))),
    row(Exec, "User", Accepted, Once, C::User, Any(|s, v| v.once(&mut s.user, value::user))),
    row(Exec, "Capability", Trusted, List, C::Capabilities, Own(|s, v| v.push(&mut s.capability, |text| value::capabilities(text, Separator::Blanks)))),
    row(Exec, "AmbientCapability", Trusted, List, C::Capabilities, Own(|s, v| v.push(&mut s.ambient_capability, |text| value::ambient_capabilities(text, Separator::Blanks)))),
    row(Exec, "DropCapability", Accepted, List, C::Capabilities, Any(|s, v| v.push(&mut s.drop_capability, |text| value::capabilities(text, Separator::Blanks)))),
    row(Exec, "KillSignal", Accepted, Once, C::KillSignal, Any(|s, v| v.once(&mut s.kill_signal, value::signal))),
    row(Exec, "Personality", Accepted, Once, C::Personality, Any(|s, v| v.once(&mut s.personality, value::personality))),
    row(Exec, "MachineID", Trusted, Once, C::MachineId, Own(|s, v| v.once(&mut s.machine_id, value::machine_id))),
    row(Exec, "WorkingDirectory", Accepted, Once, C::WorkingDirectory, Any(|s, v| v.once(&mut s.working_directory, |text| value::working_directory(text)))),
    row(Exec, "PivotRoot", Trusted, Once, C::PivotRoot, Own(|s, v| v.once(&mut s.pivot_root, |text| value::pivot_root(text)))),
    row(Exec, "PrivateUsers", Trusted, Once, C::UserNamespace, Own(|s, v| v.once(&mut s.private_users, value::private_users))),
    row(Exec, "PrivateUsersDelegate", Trusted, Once, C::UserNamespace, Anyhow(later::delegate)),
    row(Exec, "NotifyReady", Accepted, Once, C::Readiness, Any(|s, v| v.once(&mut s.readiness, |text| {
        Ok(if value::boolean(text)? { Readiness::Notify } else { Readiness::Exec })
    }))),
    row(Exec, "SystemCallFilter", RestrictionsFromUntrusted, List, C::SystemCallFilter, Any(|s, v| v.push(&mut s.system_calls, |text| value::system_calls(text, false)))),
    limit("LimitCPU", 0),
    limit("LimitFSIZE", 1),
    limit("LimitDATA", 2),
    limit("LimitSTACK", 3),
    limit("LimitCORE", 4),
    limit("LimitRSS", 5),
    limit("LimitNOFILE", 7),
    limit("LimitAS", 9),
    limit("LimitNPROC", 6),
    limit("LimitMEMLOCK", 8),
    limit("LimitLOCKS", 10),
    limit("LimitSIGPENDING", 11),
    limit("LimitMSGQUEUE", 12),
    limit("LimitNICE", 13),
    limit("LimitRTPRIO", 14),
    limit("LimitRTTIME", 15),
    row(Exec, "Hostname", Accepted, Once, C::Hostname, Any(|s, v| v.once(&mut s.hostname, value::host_name))),
    row(Exec, "NoNewPrivileges", Accepted, Once, C::NoNewPrivileges, Any(|s, v| v.once(&mut s.no_new_privileges, value::boolean))),
    row(Exec, "OOMScoreAdjust", Trusted, Resettable, C::OomScoreAdjust, Own(|s, v| v.reset_or_once(&mut s.oom_score_adjust, value::oom_score_adjust))),
    row(Exec, "CPUAffinity", Trusted, List, C::CpuAffinity, Own(|s, v| v.push(&mut s.cpu_affinity, value::cpu_affinity))),
    row(Exec, "ResolvConf", Accepted, Once, C::ResolvConf, Any(|s, v| v.once(&mut s.resolv_conf, value::resolv_conf))),
    row(Exec, "LinkJournal", Trusted, Once, C::LinkJournal, Own(|s, v| v.once(&mut s.link_journal, value::link_journal))),
    row(Exec, "Timezone", Accepted, Once, C::Timezone, Any(|s, v| v.once(&mut s.timezone, value::timezone))),
    row(Exec, "SuppressSync", Accepted, Once, C::SuppressSync, Any(|s, v| v.once(&mut s.suppress_sync, value::boolean))),
    row(Exec, "RestrictAddressFamilies", Accepted, List, C::AddressFamilies, Any(|s, v| v.push(&mut s.address_families, value::address_families))),
    row(Files, "ReadOnly", Accepted, Once, C::ReadOnly, Any(|s, v| v.once(&mut s.read_only, value::boolean))),
    row(Files, "Volatile", Accepted, Once, C::Volatile, Any(|s, v| v.once(&mut s.volatile, value::volatile))),
    row(Files, "Bind", Trusted, List, C::Mounts, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::bind_of(text, false, file));
    })),
    row(Files, "BindReadOnly", Trusted, List, C::Mounts, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::bind_of(text, true, file));
    })),
    row(Files, "TemporaryFileSystem", Trusted, List, C::Mounts, Own(|s, v| v.push(&mut s.mounts, |text| value::tmpfs(text)))),
    row(Files, "Inaccessible", Trusted, List, C::Mounts, Own(|s, v| v.push(&mut s.masked, |text| value::inside(text)))),
    row(Files, "Overlay", Trusted, List, C::Mounts, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::overlay_of(text, false, file));
    })),
    row(Files, "OverlayReadOnly", Trusted, List, C::Mounts, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::overlay_of(text, true, file));
    })),
    row(Files, "PrivateUsersChown", Trusted, Once, C::UserNamespace, Own(|s, v| v.once(&mut s.ownership, |text| {
        Ok(if value::boolean(text)? { Ownership::Chown } else { Ownership::Off })
    }))),
    row(Files, "PrivateUsersOwnership", Trusted, Once, C::UserNamespace, Own(|s, v| v.once(&mut s.ownership, value::ownership))),
    row(Files, "BindUser", Trusted, Resettable, C::BindUser, Own(|s, v| v.words(&mut s.bind_users, value::bind_user))),
    row(Files, "BindUserShell", Trusted, Resettable, C::BindUserShell, Own(|s, v| v.reset_or_once(&mut s.bind_user_shell, value::bind_user_shell))),
    row(Net, "Private", Trusted, Once, C::Network, Own(|s, v| v.once(&mut s.network, |text| {
        Ok(if value::boolean(text)? { Network::None } else { Network::Host })
    }))),
    row(Net, "NamespacePath", Trusted, Once, C::Network, Own(|s, v| v.once(&mut s.network_path, |text| value::inside(text)))),
    row(Net, "Interface", Trusted, List, C::Network, Own(|s, v| v.push(&mut s.moved, links::interface_pairs))),
    row(Net, "MACVLAN", Trusted, List, C::Network, Own(|s, v| v.push(&mut s.macvlan, links::interface_pairs))),
    row(Net, "IPVLAN", Trusted, List, C::Network, Own(|s, v| v.push(&mut s.ipvlan, links::interface_pairs))),
    row(Net, "VirtualEthernet", Trusted, Once, C::Network, Own(|s, v| v.once(&mut s.veth, value::boolean))),
    row(Net, "VirtualEthernetExtra", Trusted, List, C::Network, Own(|s, v| v.push(&mut s.veth_extra, value::interface_pair))),
    row(Net, "Bridge", Trusted, Once, C::Network, Own(|s, v| v.once(&mut s.bridge, value::interface))),
    row(Net, "Zone", Trusted, Once, C::Network, Own(|s, v| v.once(&mut s.zone, value::zone))),
    row(Net, "Port", Trusted, List, C::Ports, Own(|s, v| v.push(&mut s.ports, value::port))),
];
