//! From a Spec to the settings that make it: the way back of `apply.rs`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use skep_sys::abi::{CapabilitySet, cap};

use super::calls::{FamilyList, SystemCallList, is_item};
use super::lines::Place;
use super::parse;
use super::settings::{Harmless, Privileged, Setting, Settings};
use super::table::{KEYS, Key};
use crate::dialect::native::differences;
use crate::dialect::{Problems, Unsayable, Unsayables};
use crate::spec::{CapabilityList, Denial, Init, MountKind, Network, Profile, Secret, Spec, UserShell};

/// A field of the Spec, the option that says it, or what else does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("machine", "the name of the file says it, or --machine="),
    ("root.path", "say it on the command line (--directory=), or use another format"),
    ("root.lower", "say it with a directory of layers (--mstack=), or use another format"),
    ("links.addresses", "say it on the command line (--network-address=), or use another format"),
    ("bind_user.groups", "say it on the command line (--bind-user-group=), or use another format"),
    ("links.hardware", "say it on the command line (--network-mac=), or use another format"),
    ("resources", "say it on the command line (--memory=, --cpus=, --pids=), or use another format"),
    ("", "use another format"),
];

impl Settings {
    /// The settings that make `spec` out of the defaults of its profile, and what
    /// of it no `.nspawn` file can say: nothing of that is in the settings.
    ///
    /// What can be said is in no list that could be forgotten: the settings are
    /// printed, read and applied again, and whatever is then not as it should be is
    /// unsayable.
    #[must_use]
    pub fn of(spec: &Spec) -> (Self, Unsayables) {
        let mut settings = candidates(spec);
        // Values that no key takes, such as a signal that there is not.
        let again = loop {
            let problems = match parse(Path::new("/"), settings.to_string().as_bytes()) {
                Ok(again) => break again,
                Err(Problems(problems)) => problems,
            };
            let keys: BTreeSet<&str> = problems.iter().filter_map(|problem| problem.key.as_deref()).collect();
            if keys.is_empty() {
                let message = problems.first().map_or("", |problem| &problem.message);
                return (Self::default(), Unsayables::of("", message, spec));
            }
            settings.harmless.retain(&|key| !keys.contains(key.name));
            settings.privileged.retain(&|key| !keys.contains(key.name));
        };
        match missing(&again, spec) {
            Ok(left) => (settings, Unsayables(left)),
            Err(unsayables) => (settings, unsayables),
        }
    }
}

/// What is missing of `spec` when the settings are applied.
fn missing(settings: &Settings, spec: &Spec) -> Result<Vec<Unsayable>, Unsayables> {
    let say = |field: &str, message: &str| Unsayable::new(field, message, spec);
    let mut made = Spec::of(spec.profile);
    settings.apply(&mut made).map_err(|problems| {
        Unsayables(problems.0.iter().map(|problem| say("capabilities.ambient", &problem.message)).collect())
    })?;
    if made == *spec {
        // Spellings of a path, such as `//a`, are no difference.
        return Ok(Vec::new());
    }
    let left = differences(&made, spec)?.into_iter().map(|path| {
        let of = |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let remedy = ELSEWHERE.iter().find(|(name, _)| name.is_empty() || of(name)).map_or("", |(_, remedy)| remedy);
        say(&path, &format!("a .nspawn file cannot say this; {remedy}"))
    });
    Ok(left.collect())
}

/// Settings for everything that differs from the profile and may be said. A text
/// that no line can hold is left out, and found to be missing.
fn candidates(spec: &Spec) -> Settings {
    let base = Spec::of(spec.profile);
    let mut all = Settings::default();
    let (any, own) = (&mut all.harmless, &mut all.privileged);

    /// Sets a slot, if the fields differ.
    macro_rules! set {
        ($slot:expr, $key:literal, $($field:ident).+) => {
            if spec.$($field).+ != base.$($field).+ {
                $slot = setting($key, spec.$($field).+.clone());
            }
        };
    }
    if spec.init == Init::Boot {
        any.boot = setting("Boot", true);
    } else {
        set!(any.init, "ProcessTwo", init);
    }
    set!(any.user, "User", user);
    set!(any.kill_signal, "KillSignal", kill_signal);
    set!(any.personality, "Personality", personality);
    set!(any.readiness, "NotifyReady", readiness);
    set!(any.no_new_privileges, "NoNewPrivileges", no_new_privileges);
    set!(any.suppress_sync, "SuppressSync", system_calls.suppress_sync);
    set!(any.read_only, "ReadOnly", root.read_only);
    set!(any.volatile, "Volatile", root.volatile);
    set!(any.resolv_conf, "ResolvConf", resolv_conf);
    set!(any.timezone, "Timezone", timezone);
    set!(own.link_journal, "LinkJournal", link_journal);
    set!(own.ephemeral, "Ephemeral", root.ephemeral);
    set!(own.private_users, "PrivateUsers", user_namespace);
    set!(own.ownership, "PrivateUsersOwnership", root.ownership);
    if let Some(new) = spec.root.pivot.clone().filter(|new| holds(new)) {
        let old = spec.root.pivot_old.clone().filter(|old| holds(old));
        own.pivot_root = setting("PivotRoot", (new, old));
    }
    own.oom_score_adjust = spec.oom_score_adjust.and_then(|score| setting("OOMScoreAdjust", score));
    own.cpu_affinity =
        spec.scheduling.affinity.clone().and_then(|list| setting("CPUAffinity", list)).into_iter().collect();
    match &spec.network {
        Network::Path(path) if holds(path) => own.network_path = setting("NamespacePath", path.clone()),
        Network::Own(path) if holds(path) => {
            own.network_path = setting("NamespacePath", path.clone());
            own.network = setting("Private", Network::None);
        }
        Network::Path(_) | Network::Own(_) | Network::Given => {}
        Network::None | Network::Host => set!(own.network, "Private", network),
    }
    links(spec, own);
    if spec.working_directory != base.working_directory && holds(&spec.working_directory) {
        any.working_directory = setting("WorkingDirectory", spec.working_directory.clone());
    }
    system_calls(spec, any);
    any.hostname = spec.hostname.clone().and_then(|name| setting("Hostname", name));
    let words: Option<Vec<String>> =
        spec.command.iter().map(|word| text(word).and_then(|word| word.to_str()).map(str::to_owned)).collect();
    any.parameters = words.unwrap_or_default().into_iter().filter_map(|word| setting("Parameters", word)).collect();
    let variables = spec.environment.iter().filter(|(_, value)| text(value.reveal()).is_some());
    any.environment =
        variables.filter_map(|(name, value)| setting("Environment", (name.clone(), Secret::clone(value)))).collect();
    own.limits = spec
        .limits
        .iter()
        .filter_map(|(resource, limit)| setting(&format!("Limit{resource}"), (resource, limit)))
        .collect();
    own.mounts = spec
        .mounts
        .iter()
        .filter(|mount| holds(&mount.target))
        .filter_map(|mount| {
            let key = match &mount.kind {
                MountKind::Bind(bind) if !holds(&bind.source) => return None,
                MountKind::Bind(bind) if bind.read_only => "BindReadOnly",
                MountKind::Bind(_) => "Bind",
                MountKind::Tmpfs(_) => "TemporaryFileSystem",
                MountKind::Overlay(overlay) if !overlay.lower.iter().chain(&overlay.upper).all(|path| holds(path)) => {
                    return None;
                }
                MountKind::Overlay(overlay) if overlay.read_only => "OverlayReadOnly",
                MountKind::Overlay(_) => "Overlay",
                MountKind::Device(_) | MountKind::File(_) | MountKind::Secret(_) => return None,
            };
            setting(key, mount.clone())
        })
        .collect();
    own.masked = spec
        .masked
        .iter()
        .filter(|path| holds(path))
        .filter_map(|path| setting("Inaccessible", path.clone()))
        .collect();
    own.bind_users = spec.bind_user.names.iter().filter_map(|name| setting("BindUser", name.clone())).collect();
    if spec.bind_user.shell != base.bind_user.shell
        && !matches!(&spec.bind_user.shell, UserShell::Path(path) if !holds(path))
    {
        own.bind_user_shell = setting("BindUserShell", spec.bind_user.shell.clone());
    }
    capabilities(spec, &base, &mut all);
    all
}

/// The lists of calls and families. A name that there is not is left out, and an
/// answer other than `EPERM`.
fn system_calls(spec: &Spec, any: &mut Harmless) {
    let calls = &spec.system_calls;
    let names = calls.allow.iter().chain(&calls.danger_allow).filter(|name| is_item(name)).cloned().collect::<Vec<_>>();
    let deny = |(name, denial): (&String, &Denial)| {
        (is_item(name) && *denial == Denial::EPERM).then(|| (name.clone(), *denial))
    };
    let denied: Vec<_> = calls.deny.iter().filter_map(deny).collect();
    let mut add = |list, empty: bool| any.system_calls.extend(setting("SystemCallFilter", list).filter(|_| !empty));
    let none = (names.is_empty(), denied.is_empty());
    add(SystemCallList::Allow(names), none.0);
    add(SystemCallList::Deny(denied), none.1);
    let only = calls.sockets.only.clone().map(FamilyList::Only);
    let deny = Some(calls.sockets.deny.clone()).filter(|deny| !deny.is_empty()).map(FamilyList::Deny);
    any.address_families =
        only.into_iter().chain(deny).filter_map(|list| setting("RestrictAddressFamilies", list)).collect();
}

/// Interfaces and ports. Of addresses no key speaks.
fn links(spec: &Spec, own: &mut Privileged) {
    let links = &spec.links;
    own.veth = Some(links.veth).filter(|veth| *veth).and_then(|veth| setting("VirtualEthernet", veth));
    own.bridge = links.bridge.clone().and_then(|bridge| setting("Bridge", bridge));
    own.zone = links.zone.clone().and_then(|zone| setting("Zone", zone));
    own.veth_extra = links.extra.iter().filter_map(|extra| setting("VirtualEthernetExtra", extra.clone())).collect();
    for (key, list, place) in [
        ("MACVLAN", &links.macvlan, &mut own.macvlan),
        ("IPVLAN", &links.ipvlan, &mut own.ipvlan),
        ("Interface", &links.moved, &mut own.moved),
    ] {
        *place = Some(list.clone())
            .filter(|list| !list.is_empty())
            .and_then(|list| setting(key, list))
            .into_iter()
            .collect();
    }
    own.ports = links.ports.iter().filter_map(|port| setting("Port", *port)).collect();
}

/// The differences of the sets, as `apply.rs` puts them together.
fn capabilities(spec: &Spec, base: &Spec, all: &mut Settings) {
    let mut usual = base.capabilities.bounding.0;
    if all.privileged.network.as_ref().is_some_and(|network| network.value == Network::None)
        && spec.profile == Profile::Nspawn
    {
        usual = usual.with(cap::NET_ADMIN);
    }
    let wanted = spec.capabilities.bounding.0;
    let list = |key, bits| Some(bits).filter(|bits| *bits != 0).and_then(|bits| setting(key, of(bits)));
    all.privileged.capability.extend(list("Capability", wanted.0 & !usual.0));
    all.harmless.drop_capability.extend(list("DropCapability", usual.0 & !wanted.0));
    let ambient = spec.capabilities.ambient.0.0 & !base.capabilities.ambient.0.0;
    all.privileged.ambient_capability.extend(list("AmbientCapability", ambient));
}

const fn of(bits: u64) -> CapabilityList {
    CapabilityList(CapabilitySet(bits))
}

fn setting<T>(key: &str, value: T) -> Option<Setting<T>> {
    let key: &'static Key = KEYS.iter().find(|known| known.name == key)?;
    Some(Setting::new(value, Place::START, key))
}

/// A text that a line can hold.
fn text(text: &OsStr) -> Option<&OsStr> {
    text.to_str().filter(|text| !text.contains(['\n', '\r', '\0'])).map(OsStr::new)
}

/// A path that a line can hold.
fn holds(path: &Path) -> bool {
    text(path.as_os_str()).is_some()
}
