//! What the typed words mean: a Spec. Here the system comes in: the current
//! directory, the caller's environment, the settings file.
//!
//! The profile comes first, then the settings file, then the command line. On
//! conflict the later wins; lists add up, and a mount on the same target takes
//! the earlier one's place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use skep::dialect::nspawn::value::{FamilyList, SystemCallList};
use skep::dialect::{self, Format, nspawn};
use skep::spec::{
    CapabilityList, Descriptor, Init, Links, MachineName, Mount, MountKind, Namespace, Network, Origin, Profile,
    Secret, UserNamespace, Volatile, Want,
};
use skep::sys::abi::{CapabilitySet, cap};
use skep::{Escaped, Spec};

use crate::landlock;
use crate::message::{Failure, because, quoted};
use crate::settings;
use crate::typed::{Clock, Kind, Typed, TypedLinks};

/// The first real-time signal to programs.
const RT_MIN: u8 = 34;

/// The Spec that `typed` asks for.
pub(crate) fn spec(typed: Typed) -> Result<Spec, Failure> {
    boots(&typed)?;
    if typed.nspawn {
        return crate::nspawn::spec(typed);
    }
    // Whoever names a container, or has a file for it, will look for it again;
    // any other is spared the entry and who removes it.
    let named = typed.file.is_some() || matches!(typed.machine, Some(Some(_)));
    let detached = typed.detach;
    let (mut spec, stem) = unnamed(typed)?;
    if named && spec.origins.of("register").is_none() {
        spec.register = Want::IfSupported;
        let origin = spec.origins.of("machine").cloned();
        let origin = origin.unwrap_or_else(|| Origin::Option("--settings-file=".to_owned()));
        spec.origins.note("register", origin);
    }
    if detached {
        // Nobody could stop it otherwise.
        spec.register = Want::Require;
        note(&mut spec, "register", "--detach");
    }
    if spec.machine.is_none() {
        spec.machine = Some(name(&spec, stem)?);
    }
    Ok(spec)
}

/// Refuses what contradicts an init of the tree.
fn boots(typed: &Typed) -> Result<(), Failure> {
    let boots = typed.boot == Some(true);
    let rules = [
        (boots && typed.init == Some(Init::Stub), "--as-pid2: a machine that is booted has an init of its own"),
        (boots && typed.ambient_capability != CapabilitySet::EMPTY, "--ambient-capability=: an init gives none on"),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, what)) => Err(Failure::new(format!("{what}; leave it or --boot out"))),
        None => Ok(()),
    }
}

/// The same, without a name unless it was asked for; and the file's stem.
pub(crate) fn unnamed(mut typed: Typed) -> Result<(Spec, Option<OsString>), Failure> {
    let here = Here::default();
    let mut stem = None;
    let found = looked_for(&mut typed, &here)?;
    let mut spec = match &typed.file {
        Some(file) => {
            stem = file.file_stem().map(OsStr::to_owned);
            from_file(&here.absolute(file)?, &typed, &here)?
        }
        None => base(&typed, &here)?,
    };
    if let Some(found) = found {
        capabilities(&mut spec, &typed);
        found.apply(&mut spec)?;
    }
    options(&mut spec, typed, &here)?;
    Ok((spec, stem))
}

/// Settings of the machine's name, or of that of the tree.
fn looked_for(typed: &mut Typed, here: &Here) -> Result<Option<settings::Found>, Failure> {
    let root = typed.directory.as_ref().or(typed.image.as_ref());
    let root = root.map(|path| here.absolute(path).map(resolved)).transpose()?;
    let named = match (&typed.machine, root.as_deref().and_then(Path::file_name)) {
        (Some(name), _) => name.clone(),
        (None, Some(base)) => MachineName::new(cleaned(base, 64)).ok(),
        (None, None) => None,
    };
    settings::find(typed, named.as_ref(), root.as_deref())
}

/// What the profile says.
fn base(typed: &Typed, here: &Here) -> Result<Spec, Failure> {
    let mut spec = Spec::of(typed.profile.unwrap_or_default());
    spec.root.path = here.absolute(&spec.root.path)?;
    Ok(spec)
}

/// What a file says, by its absolute path: a Spec where it ends so, else
/// settings over the profile.
pub(crate) fn from_file(file: &Path, typed: &Typed, here: &Here) -> Result<Spec, Failure> {
    if let Some(format @ (Format::Json | Format::Toml)) = Format::of(file) {
        if typed.profile.is_some() {
            let what = format!("--profile=: a container as {format} says its profile itself; leave the option out");
            return Err(Failure::new(what));
        }
        let bytes = read(file, format.max_file())?;
        return Ok(dialect::read(format, file, &bytes, Profile::default())?);
    }
    let mut spec = base(typed, here)?;
    // Before the file too, which may make ambient what is added here.
    capabilities(&mut spec, typed);
    nspawn::parse(file, &read(file, nspawn::MAX_FILE)?)?.apply(&mut spec)?;
    Ok(spec)
}

/// Whether a file is something that this program reads, by its ending.
pub(crate) fn is_known(file: &Path) -> bool {
    Format::of(file).is_some()
}

/// A file of at most `most` bytes; one more, so that the parser sees that
/// there are too many.
pub(crate) fn read(file: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes)).map_err(|error| {
        Failure::new(format!("{}: {}; name a file that can be read", quoted(file), because(&error)))
    })?;
    Ok(bytes)
}

/// The current directory, asked for once and only if something is relative.
#[derive(Default)]
pub(crate) struct Here(std::cell::OnceCell<PathBuf>);

impl Here {
    /// `path` from `/` on, without `.` parts. Links and `..` are left to the kernel.
    pub(crate) fn absolute(&self, path: &Path) -> Result<PathBuf, Failure> {
        if path.is_absolute() {
            return Ok(path.components().collect());
        }
        let here = match self.0.get() {
            Some(here) => here,
            None => {
                let here = std::env::current_dir().map_err(|error| {
                    let why = because(&error);
                    Failure::new(format!("{}: the current directory: {why}; write an absolute path", quoted(path)))
                })?;
                self.0.get_or_init(|| here)
            }
        };
        Ok(here.join(path).components().collect())
    }
}

/// Without the `..` that a caller may well write, and the library refuses:
/// resolved by the kernel, as the shell would.
fn resolved(path: PathBuf) -> PathBuf {
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return path.canonicalize().unwrap_or(path);
    }
    path
}

fn note(spec: &mut Spec, field: &str, option: &str) {
    spec.origins.note(field, Origin::Option(option.to_owned()));
}

/// Sets fields, if their options were given, and notes where from.
macro_rules! set {
    ($spec:ident, $($value:expr => $($field:ident).+ , $option:literal;)*) => {$(
        if let Some(value) = $value {
            $spec.$($field).+ = value.into();
            note($spec, &[$(stringify!($field)),+].join("."), $option);
        }
    )*};
}

/// Everything but the file.
fn options(spec: &mut Spec, typed: Typed, here: &Here) -> Result<(), Failure> {
    capabilities(spec, &typed);
    if let Some(directory) = &typed.directory {
        // The default is volatile; a tree that was named is not, unless said.
        if spec.origins.of("root.volatile").is_none() {
            spec.root.volatile = Volatile::No;
        }
        spec.root.path = resolved(here.absolute(directory)?);
        note(spec, "root", "--directory=");
    }
    if let Some(image) = &typed.image {
        if typed.directory.is_some() {
            return Err(Failure::new("--image=: --directory= names the root already; leave one of them out"));
        }
        if spec.origins.of("root.volatile").is_none() {
            spec.root.volatile = Volatile::No;
        }
        (spec.root.path, spec.root.image) = (resolved(here.absolute(image)?), true);
        note(spec, "root", "--image=");
        note(spec, "root.image", "--image=");
    }
    if let Some(template) = &typed.template {
        if typed.directory.is_none() {
            return Err(Failure::new(
                "--template=: which directory is to be made is not said; name it with --directory=",
            ));
        }
        spec.root.template = Some(resolved(here.absolute(template)?));
        note(spec, "root.template", "--template=");
    }
    if let Some((new, old)) = &typed.pivot_root {
        (spec.root.pivot, spec.root.pivot_old) = (Some(new.clone()), old.clone());
        note(spec, "root.pivot", "--pivot-root=");
    }
    set! { spec,
        typed.ephemeral => root.ephemeral, "--ephemeral";
        typed.read_only => root.read_only, "--read-only";
        typed.volatile => root.volatile, "--volatile=";
        typed.machine => machine, "--machine=";
        typed.hostname => hostname, "--hostname=";
        typed.init => init, "--as-pid2";
        typed.working_directory => working_directory, "--chdir=";
        typed.user => user, "--uid=";
        typed.register => register, "--register=";
        typed.umask => umask, "--umask=";
        typed.personality => personality, "--personality=";
        typed.oom_score_adjust => oom_score_adjust, "--oom-score-adjust=";
        typed.deny_write_execute => memory_deny_write_execute, "--memory-deny-write-execute=";
        typed.resolv_conf => resolv_conf, "--resolv-conf=";
        typed.timezone => timezone, "--timezone=";
        typed.link_journal => link_journal, "--link-journal=";
        typed.bind_user_shell => bind_user.shell, "--bind-user-shell=";
        typed.cpu_affinity.map(Some) => scheduling.affinity, "--cpu-affinity=";
        typed.nice.map(Some) => scheduling.nice, "--nice=";
        typed.scheduling_policy.map(Some) => scheduling.policy, "--scheduling-policy=";
        typed.io_priority.map(Some) => scheduling.io, "--io-priority=";
        typed.kill_signal => kill_signal, "--kill-signal=";
        typed.readiness => readiness, "--notify-ready=";
        typed.user_namespace.map(|mode| users(mode, spec.profile)) => user_namespace, "--private-users=";
        typed.ownership => root.ownership, "--private-users-ownership=";
        typed.securebits.map(Some) => securebits, "--securebits=";
        typed.no_new_privileges => no_new_privileges, "--no-new-privileges=";
        typed.suppress_sync => system_calls.suppress_sync, "--suppress-sync=";
        typed.memory.map(Some) => resources.memory, "--memory=";
        typed.cpus.map(Some) => resources.cpu, "--cpus=";
        typed.pids.map(Some) => resources.pids, "--pids=";
    }
    let mut resources = std::mem::take(&mut spec.resources);
    typed.resources.apply(&mut resources, |field, option| note(spec, &format!("resources.{field}"), option));
    spec.resources = resources;
    let said = typed.network.is_some();
    if let Some((network, option)) = typed.network {
        if network == Network::Host {
            without_network_of_file(spec, typed.capability);
        }
        spec.network = network;
        note(spec, "network", option);
    }
    if let Some(path) = typed.network_path {
        // As systemd-nspawn: with a private network it says which.
        if let Some(Origin::Option(option)) = spec.origins.of("network").filter(|_| spec.network == Network::Host) {
            let what = format!("--network-namespace-path=: {option} says the host's network; leave one of them out");
            return Err(Failure::new(what));
        }
        let private = spec.network == Network::None && spec.origins.of("network").is_some();
        spec.network =
            if private || matches!(spec.network, Network::Own(_)) { Network::Own(path) } else { Network::Path(path) };
        note(spec, "network", "--network-namespace-path=");
    }
    links(spec, &typed.links, said);
    for port in typed.ports {
        note(spec, "links.ports", "--port=");
        spec.links.ports.push(port);
    }
    for (kind, choice) in typed.namespaces {
        let all = &mut spec.namespaces;
        let (place, field) = match kind {
            Kind::Ipc => (&mut all.ipc, "namespaces.ipc"),
            Kind::Uts => (&mut all.uts, "namespaces.uts"),
            Kind::Cgroup => (&mut all.cgroup, "namespaces.cgroup"),
            Kind::Pid => (&mut all.pid, "namespaces.pid"),
            Kind::Time => (&mut all.time, "namespaces.time"),
        };
        *place = choice;
        note(spec, field, "--namespace=");
    }
    for (name, credential) in typed.credentials {
        note(spec, &format!("credentials.{name}"), credential.option());
        spec.credentials.insert(name, credential.read(here)?);
    }
    for (name, value) in typed.sysctls {
        note(spec, &format!("sysctls.{name}"), "--sysctl=");
        spec.sysctls.insert(name, value);
    }
    for (clock, seconds) in typed.time_offsets {
        // Of the command line: a file's word gives way to it.
        let said = spec.origins.of("namespaces.time").filter(|_| spec.namespaces.time != Namespace::New);
        if let Some(Origin::Option(option)) = said {
            let what = format!("--time-offset=: {option} shares or enters a time namespace; leave one of them out");
            return Err(Failure::new(what));
        }
        spec.namespaces.time = Namespace::New;
        match clock {
            Clock::Monotonic => spec.namespaces.time_offsets.monotonic = seconds,
            Clock::Boottime => spec.namespaces.time_offsets.boottime = seconds,
        }
        note(spec, "namespaces.time_offsets", "--time-offset=");
    }
    for (mut mount, option) in typed.mounts {
        if let MountKind::Bind(bind) = &mut mount.kind
            && !bind.inside
        {
            bind.source = resolved(here.absolute(&bind.source)?);
        }
        if let MountKind::Overlay(overlay) = &mut mount.kind {
            for layer in overlay.lower.iter_mut().chain(&mut overlay.upper) {
                // With `+` in front it lies in the tree.
                if layer.is_relative() && !layer.as_os_str().as_bytes().starts_with(b"+") {
                    *layer = resolved(here.absolute(layer)?);
                }
            }
        }
        contradiction(spec, &mount, option)?;
        note(spec, &format!("mounts.{}", mount.target.display()), option);
        spec.mounts.retain(|earlier| earlier.target != mount.target);
        spec.mounts.push(mount);
    }
    for path in typed.masked {
        note(spec, &format!("masked.{}", path.display()), "--inaccessible=");
        spec.masked.push(path);
    }
    for name in typed.bind_users {
        note(spec, &format!("bind_user.names.{name}"), "--bind-user=");
        spec.bind_user.names.push(name);
    }
    for group in typed.bind_user_groups {
        note(spec, &format!("bind_user.groups.{group}"), "--bind-user-group=");
        spec.bind_user.groups.push(group);
    }
    for (name, value) in typed.environment {
        // As systemd-nspawn: empty where the caller has none.
        let value = value.unwrap_or_else(|| Secret::new(std::env::var_os(&name).unwrap_or_default()));
        note(spec, &format!("environment.{name}"), "--setenv=");
        spec.environment.insert(name, value);
    }
    let calls = &mut spec.system_calls;
    typed.system_calls.iter().for_each(|list| list.apply(calls));
    FamilyList::apply(&typed.address_families, &mut calls.sockets);
    calls.sockets.danger_allow.extend(&typed.sockets);
    for item in typed.system_calls.iter().flat_map(SystemCallList::items) {
        for list in ["allow", "deny"] {
            note(spec, &format!("system_calls.{list}.{item}"), "--system-call-filter=");
        }
    }
    if let Some(architectures) = typed.architectures {
        spec.system_calls.architectures = Some(architectures);
        note(spec, "system_calls.architectures", "--system-call-architectures=");
    }
    if !typed.address_families.is_empty() {
        note(spec, "system_calls.sockets", "--restrict-address-families=");
    }
    if !typed.sockets.is_empty() {
        note(spec, "system_calls.sockets", "--danger-allow-socket=");
    }
    landlock::apply(typed.landlock, spec);
    for (_, number) in typed.descriptors {
        note(spec, "descriptors", "--fd=");
        // A file may have said more of it.
        if !spec.descriptors.iter().any(|passed| passed.number == number) {
            spec.descriptors.push(Descriptor::new(number));
        }
    }
    for item in typed.required {
        note(spec, &format!("required.{item}"), "--require=");
        spec.required.insert(item);
    }
    for (resource, limit) in typed.limits {
        note(spec, &format!("limits.{resource}"), "--rlimit=");
        spec.limits.set(resource, limit);
    }
    if typed.boot == Some(true) {
        spec.init = Init::Boot;
        note(spec, "init", "--boot");
    }
    if spec.init == Init::Boot && spec.origins.of("kill_signal").is_none() {
        // What systemd takes for "halt" (systemd(1)).
        spec.kill_signal = RT_MIN + 3;
    }
    if !typed.words.is_empty() {
        spec.command = typed.words;
        note(spec, "command", "COMMAND");
    }
    Ok(())
}

/// `--private-users` alone is what `systemd-nspawn` has for it, with its profile.
fn users(mode: UserNamespace, profile: Profile) -> UserNamespace {
    match (mode, profile) {
        (UserNamespace::Auto, Profile::Nspawn) if geteuid().is_root() => UserNamespace::Owner,
        (UserNamespace::Auto, Profile::Nspawn) => UserNamespace::Managed,
        _ => mode,
    }
}

/// Interfaces: lists add up to those of a file. As with `systemd-nspawn`, they mean a
/// network of the container's own, unless the command line says another.
fn links(spec: &mut Spec, typed: &TypedLinks, said: bool) {
    let all = typed.all.clone();
    for (field, option) in typed.options() {
        note(spec, &format!("links.{field}"), option);
    }
    spec.links.veth =
        if typed.options().iter().any(|(field, _)| *field == "veth") { all.veth } else { spec.links.veth };
    // One wins over the other, which a file may have said.
    if all.bridge.is_some() || all.zone.is_some() {
        (spec.links.bridge, spec.links.zone) = (all.bridge, all.zone);
    }
    spec.links.extra.extend(all.extra);
    spec.links.macvlan.extend(all.macvlan);
    spec.links.ipvlan.extend(all.ipvlan);
    spec.links.moved.extend(all.moved);
    if all.hardware.is_some() {
        spec.links.hardware = all.hardware;
    }
    if !all.addresses.is_empty() {
        spec.links.addresses = all.addresses;
    }
    let option = typed.options().iter().map(|(_, option)| *option).find(|_| typed.all.has_any());
    if let Some(option) = option.filter(|_| !said && spec.network == Network::Host) {
        spec.network = Network::None;
        note(spec, "network", option);
    }
}

/// The host's network, which the command line says, has no place for what a file gives a
/// network of the container's own: its interfaces and ports, and the right over them.
fn without_network_of_file(spec: &mut Spec, asked: CapabilitySet) {
    let own = matches!(spec.network, Network::None | Network::Own(_));
    if own && spec.origins.of("network").is_some() && spec.profile == Profile::Nspawn && !asked.has(cap::NET_ADMIN) {
        let bounding = &mut spec.capabilities.bounding.0;
        bounding.0 &= !CapabilitySet::EMPTY.with(cap::NET_ADMIN).0;
    }
    spec.links = Links::default();
}

/// A file's mount gives way to one of the command line; two of the command
/// line on one target are a mistake, unless they say the same.
fn contradiction(spec: &Spec, mount: &Mount, option: &str) -> Result<(), Failure> {
    let earlier = spec.mounts.iter().find(|earlier| earlier.target == mount.target && *earlier != mount);
    match earlier.and_then(|earlier| spec.origins.of(&format!("mounts.{}", earlier.target.display()))) {
        Some(Origin::Option(other)) => {
            let target = quoted(&mount.target);
            Err(Failure::new(format!("{option}: {other} mounts something else on {target}; leave one of them out")))
        }
        _ => Ok(()),
    }
}

fn capabilities(spec: &mut Spec, typed: &Typed) {
    let mut bounding = spec.capabilities.bounding.0;
    bounding.0 |= typed.capability.0;
    let own_network =
        matches!(typed.network, Some((Network::None, _))) || (typed.network.is_none() && typed.links.all.has_any());
    if own_network && spec.profile == Profile::Nspawn {
        bounding = bounding.with(cap::NET_ADMIN);
    }
    bounding.0 &= !typed.drop_capability.0;
    if bounding != spec.capabilities.bounding.0 {
        spec.capabilities.bounding = CapabilityList(bounding);
        let option = if typed.capability == CapabilitySet::EMPTY { "--drop-capability=" } else { "--capability=" };
        note(spec, "capabilities", option);
    }
    if typed.ambient_capability != CapabilitySet::EMPTY {
        spec.capabilities.ambient.0.0 |= typed.ambient_capability.0;
        note(spec, "capabilities", "--ambient-capability=");
    }
    // What was dropped by the last word is not ambient either.
    spec.capabilities.ambient.0.0 &= !typed.drop_capability.0 | typed.ambient_capability.0;
}

/// The name of a container that was given none: that of the settings file or
/// of the root directory. Where several can run on one tree at a time, or
/// there is no tree to name, with something random in it.
fn name(spec: &Spec, stem: Option<OsString>) -> Result<MachineName, Failure> {
    let random = format!("{:012x}", random() & 0xffff_ffff_ffff);
    let text = match stem {
        Some(stem) => cleaned(&stem, 64),
        None => {
            let base = spec.root.path.file_name().map(|base| cleaned(base, 51)).unwrap_or_default();
            let shared = spec.root.read_only || spec.root.ephemeral || spec.root.volatile != Volatile::No;
            match (base.as_str(), shared) {
                ("", _) => format!("skep-{random}"),
                (_, true) => format!("{base}-{random}"),
                (_, false) => base,
            }
        }
    };
    MachineName::new(text)
        .map_err(|error| Failure::new(format!("{}; name the machine with -M", Escaped::new(&error.to_string()))))
}

/// What of `name` can stand in a machine name.
pub(crate) fn cleaned(name: &OsStr, most: usize) -> String {
    let kept: String = name
        .to_string_lossy()
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.'))
        .take(most)
        .collect();
    let labels = kept.split('.').map(|label| label.trim_matches('-')).filter(|label| !label.is_empty());
    labels.collect::<Vec<_>>().join(".")
}

/// Bits that differ each time: std seeds this from the operating system.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// How messages call the root.
pub(crate) fn root(spec: &Spec) -> String {
    match spec.root.volatile {
        Volatile::Yes => format!("{} over an empty root", Escaped::new(&spec.root.path.join("usr"))),
        _ if !spec.root.lower.is_empty() => {
            let others = spec.root.lower.iter().rev().map(|layer| Escaped::new(layer).to_string());
            format!("{} over {}", Escaped::new(&spec.root.path), others.collect::<Vec<_>>().join(", "))
        }
        _ => Escaped::new(&spec.root.path).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use crate::verbs::Verb;
    use skep::spec::UserNamespace;

    fn of(words: &[&str]) -> Spec {
        spec(parse(Verb::Plan, words.iter().map(OsString::from)).expect("parses")).expect("means something")
    }

    /// A settings file that is removed at the end.
    struct Settings(PathBuf);

    impl Settings {
        fn new(name: &str, text: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("skep-meaning-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&directory).expect("a directory");
            std::fs::write(directory.join("we_b.nspawn"), text).expect("a file");
            Self(directory)
        }

        fn path(&self) -> String {
            self.0.join("we_b.nspawn").display().to_string()
        }
    }

    impl Drop for Settings {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_default_is_the_profile_strict() {
        let spec = of(&["true"]);
        let mut expected = Spec::default();
        (expected.command, expected.machine) = (vec!["true".into()], spec.machine.clone());
        assert_eq!(spec, expected);
        assert_eq!(spec.init, Init::Stub);
    }

    #[test]
    fn a_directory_is_the_root_as_it_is() {
        let spec = of(&["-D", "/srv/a_b.c", "true"]);
        assert_eq!((spec.root.path.as_path(), spec.root.volatile), (Path::new("/srv/a_b.c"), Volatile::No));
        assert_eq!(spec.machine.expect("a name").as_str(), "ab.c");
        assert_eq!(of(&["-D", "/srv", "--volatile", "true"]).root.volatile, Volatile::Yes);
        assert!(of(&["-D/srv", "-x", "true"]).machine.expect("a name").as_str().starts_with("srv-"));
        assert_eq!(of(&["-D", "tree", "true"]).root.path, std::env::current_dir().expect("a directory").join("tree"));
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_lists_add_up() {
        let file = Settings::new(
            "wins",
            "[Exec]\nParameters=sleep 9\nEnvironment=A=1 B=2\nHostname=file\nDropCapability=CAP_KILL\nCapability=CAP_KILL CAP_CHOWN\n\
             [Files]\nBind=book:/book\nBindReadOnly=/srv:/srv\nVolatile=yes\n[Network]\nPrivate=no\n",
        );
        let spec = of(&[
            "-f",
            &file.path(),
            "--bind=/other:/book",
            "--tmpfs=/t",
            "-E",
            "B=3",
            "--hostname=line",
            "--private-network",
            "--capability=CAP_KILL,CAP_FOWNER",
            "true",
        ]);
        assert_eq!(spec.machine.as_ref().expect("a name").as_str(), "web", "the file's stem, cleaned");
        assert_eq!(spec.command, ["true"]);
        assert_eq!(spec.hostname.as_ref().expect("a name").as_str(), "line");
        assert_eq!(spec.network, Network::None);
        assert_eq!(spec.environment.get("A").expect("A").reveal(), "1");
        assert_eq!(spec.environment.get("B").expect("B").reveal(), "3");
        assert_eq!(spec.capabilities.bounding.0, CapabilitySet::EMPTY.with(0).with(3).with(5));
        let targets: Vec<_> = spec.mounts.iter().map(|mount| mount.target.display().to_string()).collect();
        assert_eq!(targets, ["/srv", "/book", "/t"]);
        assert_eq!(spec.origins.of("mounts./book"), Some(&Origin::Option("--bind=".to_owned())));
        assert!(matches!(spec.origins.of("mounts./srv"), Some(Origin::File { line: 9, .. })));
        assert_eq!(spec.root.path, Path::new("/"));

        let plain = of(&["-f", &file.path()]);
        assert_eq!(plain.command, ["sleep", "9"]);
        assert_eq!(plain.network, Network::Host);
        let tree = of(&["-f", &file.path(), "-D", "/srv"]);
        assert_eq!(tree.root.volatile, Volatile::Yes, "the file says so");
    }

    #[test]
    fn ambient_capabilities_of_the_file_may_come_from_the_line() {
        let file = Settings::new("ambient", "[Exec]\nAmbientCapability=CAP_CHOWN\n");
        assert!(spec(parse(Verb::Plan, ["-f".into(), file.path().into()]).expect("parses")).is_err());
        assert!(of(&["-f", &file.path(), "--capability=CAP_CHOWN"]).capabilities.ambient.0.has(0));
    }

    #[test]
    fn three_states_of_a_switch() {
        assert_eq!(of(&["true"]).user_namespace, UserNamespace::Auto);
        assert_eq!(of(&["--private-users=no", "true"]).user_namespace, UserNamespace::Host);
        assert_eq!(of(&["--as-pid2=no", "true"]).init, Init::Payload);
        assert_eq!(of(&["-a", "true"]).init, Init::Stub);
        assert_eq!(of(&["--profile=nspawn", "true"]).init, Init::Payload);
        assert_eq!(of(&["--profile=nspawn", "-a", "true"]).init, Init::Stub);
    }

    #[test]
    fn names_from_odd_directories() {
        for (odd, expected) in [("..", ""), ("-a-", "a"), ("a..b", "a.b"), ("ü_", ""), ("-.-", "")] {
            assert_eq!(cleaned(OsStr::new(odd), 64), expected);
        }
        assert!(MachineName::new(cleaned(OsStr::new(&"a-".repeat(80)), 51)).is_ok());
    }
}
