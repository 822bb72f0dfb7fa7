//! Every key of a `.nspawn` file, in one table.

use super::assignment::Value;
use super::mounts;
use super::settings::{Harmless, Privileged};
use super::value::{self, Separator};
use crate::spec::{Init, Network, Readiness};

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
    pub(super) shape: Shape,
    pub(super) read: Read,
}

impl Key {
    /// Whether this version does what the key says. One that it does not do is
    /// an error, never ignored.
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        !matches!(self.read, Read::NotYet)
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
    NotYet,
}

const fn row(section: Section, name: &'static str, trust: Trust, shape: Shape, read: Read) -> Key {
    Key { section, name, trust, shape, read }
}

const fn limit(name: &'static str) -> Key {
    row(
        Section::Exec,
        name,
        Trust::Trusted,
        Shape::Once,
        Read::Privileged(|s, v| {
            let name = v.key.name;
            v.push(&mut s.limits, |text| value::limit(name, text));
        }),
    )
}

use Read::{Harmless as Any, NotYet, Privileged as Own};
use Section::{Exec, Files, Network as Net};
use Shape::{List, Once, Resettable};
use Trust::{AcceptedFromUntrusted as Accepted, RestrictionsFromUntrusted, Trusted};

/// Every key that `systemd-nspawn` 262 knows (`systemd.nspawn(5)`).
///
/// The trust classes are those of `systemd-nspawn`, but for `PivotRoot=`: that
/// it was taken from beside the image was a hole (CVE-2026-40226).
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    row(Exec, "Boot", Accepted, Once, NotYet),
    row(Exec, "Ephemeral", Trusted, Once, Own(|s, v| v.once(&mut s.ephemeral, value::boolean))),
    row(Exec, "ProcessTwo", Accepted, Once, Any(|s, v| v.once(&mut s.init, |text| {
        Ok(if value::boolean(text)? { Init::Stub } else { Init::Payload })
    }))),
    row(Exec, "Parameters", Accepted, Resettable, Any(|s, v| v.words(&mut s.parameters, |word| Ok(word.to_owned())))),
    row(Exec, "Environment", Accepted, Resettable, Any(|s, v| v.words(&mut s.environment, value::assigned))),
    row(Exec, "User", Accepted, Once, Any(|s, v| v.once(&mut s.user, value::user))),
    row(Exec, "Capability", Trusted, List, Own(|s, v| v.push(&mut s.capability, |text| value::capabilities(text, Separator::Blanks)))),
    row(Exec, "AmbientCapability", Trusted, List, Own(|s, v| v.push(&mut s.ambient_capability, |text| value::ambient_capabilities(text, Separator::Blanks)))),
    row(Exec, "DropCapability", Accepted, List, Any(|s, v| v.push(&mut s.drop_capability, |text| value::capabilities(text, Separator::Blanks)))),
    row(Exec, "KillSignal", Accepted, Once, Any(|s, v| v.once(&mut s.kill_signal, value::signal))),
    row(Exec, "Personality", Accepted, Once, NotYet),
    row(Exec, "MachineID", Trusted, Once, NotYet),
    row(Exec, "WorkingDirectory", Accepted, Once, Any(|s, v| v.once(&mut s.working_directory, |text| value::working_directory(text)))),
    row(Exec, "PivotRoot", Trusted, Once, NotYet),
    row(Exec, "PrivateUsers", Trusted, Once, Own(|s, v| v.once(&mut s.private_users, value::private_users))),
    row(Exec, "PrivateUsersDelegate", Trusted, Once, NotYet),
    row(Exec, "NotifyReady", Accepted, Once, Any(|s, v| v.once(&mut s.readiness, |text| {
        Ok(if value::boolean(text)? { Readiness::Notify } else { Readiness::Exec })
    }))),
    row(Exec, "SystemCallFilter", RestrictionsFromUntrusted, List, NotYet),
    limit("LimitCPU"),
    limit("LimitFSIZE"),
    limit("LimitDATA"),
    limit("LimitSTACK"),
    limit("LimitCORE"),
    limit("LimitRSS"),
    limit("LimitNOFILE"),
    limit("LimitAS"),
    limit("LimitNPROC"),
    limit("LimitMEMLOCK"),
    limit("LimitLOCKS"),
    limit("LimitSIGPENDING"),
    limit("LimitMSGQUEUE"),
    limit("LimitNICE"),
    limit("LimitRTPRIO"),
    limit("LimitRTTIME"),
    row(Exec, "Hostname", Accepted, Once, Any(|s, v| v.once(&mut s.hostname, value::host_name))),
    row(Exec, "NoNewPrivileges", Accepted, Once, Any(|s, v| v.once(&mut s.no_new_privileges, value::boolean))),
    row(Exec, "OOMScoreAdjust", Trusted, Resettable, NotYet),
    row(Exec, "CPUAffinity", Trusted, List, NotYet),
    row(Exec, "ResolvConf", Accepted, Once, NotYet),
    row(Exec, "LinkJournal", Trusted, Once, NotYet),
    row(Exec, "Timezone", Accepted, Once, NotYet),
    row(Exec, "SuppressSync", Accepted, Once, NotYet),
    row(Exec, "RestrictAddressFamilies", Accepted, List, NotYet),
    row(Files, "ReadOnly", Accepted, Once, Any(|s, v| v.once(&mut s.read_only, value::boolean))),
    row(Files, "Volatile", Accepted, Once, Any(|s, v| v.once(&mut s.volatile, value::volatile))),
    row(Files, "Bind", Trusted, List, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::bind_of(text, false, file));
    })),
    row(Files, "BindReadOnly", Trusted, List, Own(|s, v| {
        let file = v.file();
        v.push(&mut s.mounts, |text| mounts::bind_of(text, true, file));
    })),
    row(Files, "TemporaryFileSystem", Trusted, List, Own(|s, v| v.push(&mut s.mounts, |text| value::tmpfs(text)))),
    row(Files, "Inaccessible", Trusted, List, Own(|s, v| v.push(&mut s.masked, |text| value::inside(text)))),
    row(Files, "Overlay", Trusted, List, NotYet),
    row(Files, "OverlayReadOnly", Trusted, List, NotYet),
    row(Files, "PrivateUsersChown", Trusted, Once, NotYet),
    row(Files, "PrivateUsersOwnership", Trusted, Once, NotYet),
    row(Files, "BindUser", Trusted, Resettable, NotYet),
    row(Files, "BindUserShell", Trusted, Resettable, NotYet),
    row(Net, "Private", Trusted, Once, Own(|s, v| v.once(&mut s.network, |text| {
        Ok(if value::boolean(text)? { Network::None } else { Network::Host })
    }))),
    row(Net, "NamespacePath", Trusted, Once, NotYet),
    row(Net, "Interface", Trusted, List, NotYet),
    row(Net, "MACVLAN", Trusted, List, NotYet),
    row(Net, "IPVLAN", Trusted, List, NotYet),
    row(Net, "VirtualEthernet", Trusted, Once, NotYet),
    row(Net, "VirtualEthernetExtra", Trusted, List, NotYet),
    row(Net, "Bridge", Trusted, Once, NotYet),
    row(Net, "Zone", Trusted, Once, NotYet),
    row(Net, "Port", Trusted, List, NotYet),
];
