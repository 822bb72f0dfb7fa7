//! From a Spec and the host's facts to a plan: a pure function.
//!
//! One file for each part of a container; each adds its steps to the phases
//! where they belong. The order of the parts in [`compile`] is the order of
//! their steps within a phase, and [`crate::verify`] holds it.

mod attributes;
pub(crate) mod cgroups;
mod descriptors;
pub(crate) mod device_policy;
pub(crate) mod export;
pub(crate) mod filesystem;
pub(crate) mod filters;
mod ids;
pub(crate) mod incoming;
pub(crate) mod kernel_files;
pub(crate) mod landlock;
pub(crate) mod named;
pub(crate) mod network;
pub(crate) mod process;
mod registry;
mod start;
pub(crate) mod sysctls;

use std::path::{Component, Path};

use skep_sys::abi::{CapabilitySet, MountAttrs, SecureBits};

use crate::Escaped;
use crate::dialect::nearest::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{Facts, plain_components};
use crate::plan::{Builder, Ending, Plan};
use crate::report::{Outcome, Report};
use crate::spec::{
    Init, KernelFiles, MachineName, Namespace, Network, Origin, Profile, Readiness, Spec, Stream, SystemCalls,
    TimeOffsets, User, Volatile, Want,
};

pub(crate) use descriptors::prepare as pass;
pub(crate) use filesystem::ROOT_IDS;
pub(crate) use filesystem::journal_to_make;
pub(crate) use ids::Mapping;
pub(crate) use process::{execute, takes_rights};
pub(crate) use start::{PASS_CREDENTIALS, begin, stream};

/// What the parts of a compilation share.
pub(crate) struct Context<'a> {
    spec: &'a Spec,
    facts: &'a Facts,
    machine: MachineName,
    mapping: Mapping,
    /// The payload's ids, inside.
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: std::path::PathBuf,
    /// Users of the host that it has too.
    users: Vec<filesystem::BoundUser<'a>>,
    /// What the payload's bounding set keeps.
    bounding: CapabilitySet,
    ambient: CapabilitySet,
    /// What it has after the exec.
    securebits: SecureBits,
    /// The machine's id, in the profile `nspawn`: what `$container_uuid` says.
    machine_id: Option<String>,
    /// Whether the caller can clone mounts before the child exists.
    host_clones: bool,
}

impl Context<'_> {
    fn origin(&self, field: &str) -> Origin {
        self.spec.origins.of(field).cloned().unwrap_or_else(|| Origin::Profile(self.profile_name()))
    }

    const fn profile_name(&self) -> &'static str {
        match self.spec.profile {
            Profile::Strict => "strict",
            Profile::Nspawn => "nspawn",
        }
    }

    /// Who decided how the root is made: of its parts the one that says so.
    fn root_origin(&self) -> Origin {
        self.origin(match (self.spec.root.volatile, self.spec.root.ephemeral) {
            (Volatile::No, false) => "root",
            (Volatile::No, true) => "root.ephemeral",
            _ => "root.volatile",
        })
    }

    /// The hostname that the container has.
    fn hostname(&self) -> &str {
        self.spec.hostname.as_ref().map_or(self.machine.as_str(), |name| name.as_str())
    }

    fn stub(&self) -> bool {
        self.spec.init == Init::Stub
    }

    /// Whether it is to look like one of `systemd-nspawn`.
    fn nspawn(&self) -> bool {
        self.spec.profile == Profile::Nspawn
    }

    /// What a tmpfs is mounted with: a machine's has times of access, as
    /// systemd-tmpfiles(8) looks at them.
    fn timed(&self, attrs: MountAttrs) -> MountAttrs {
        if self.nspawn() { attrs.with(MountAttrs::STRICTATIME) } else { attrs }
    }

    /// Whether somebody listens to what the payload says of itself.
    fn listens(&self) -> bool {
        self.nspawn() || self.spec.readiness == Readiness::Notify
    }

    fn new_network(&self) -> bool {
        self.spec.network == Network::None
    }

    /// Whether it has the rights over its network, new or entered.
    fn administers_network(&self) -> bool {
        self.new_network() || (matches!(self.spec.network, Network::Own(_)) && !self.mapping.is_new())
    }

    /// Whether a machine sees parts of a sysfs that is mounted for it, and not the host's:
    /// it has the rights over its network, or somebody has opened that to it.
    fn shows_parts_of_sys(&self) -> bool {
        self.nspawn() && (self.administers_network() || self.spec.kernel_files == KernelFiles::Network)
    }

    fn invalid(&self, field: &str, what: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidSpec, what).from(self.spec.origins.of(field))
    }
}

/// Makes the plan for `spec` on the host that `facts` describe.
///
/// Reads nothing and changes nothing; equal inputs give equal plans, and the
/// order in which mounts, variables and limits were added does not matter.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] where the Spec contradicts itself,
/// [`ErrorKind::NotFound`], [`ErrorKind::NotPermitted`] or
/// [`ErrorKind::Unsupported`] where the host does not have or allow what it
/// requires.
pub fn compile(spec: &Spec, facts: &Facts) -> Result<Plan> {
    if facts.secure_execution {
        let what = "this program has more rights than who started it (AT_SECURE: set-user-ID, set-group-ID or capabilities of its file)";
        return Err(Error::new(ErrorKind::NotPermitted, what)
            .remedy("Take that from the file: Skep needs no more rights than its caller's."));
    }
    bounds(spec)?;
    check(spec)?;
    let machine = match &spec.machine {
        Some(name) => name.clone(),
        None => MachineName::new(facts.fresh_name.clone())
            .map_err(|error| Error::new(ErrorKind::InvalidSpec, error.to_string()))?,
    };
    let users = filesystem::assigned_users(spec, facts)?;
    let (uid, gid, mut groups, home) = payload(spec, facts, &users)?;
    groups.sort_unstable();
    groups.dedup();
    let mapping = ids::mapping(spec, facts, uid, gid)?;
    let (bounding, ambient) = process::capabilities(spec, facts, &mapping)?;
    let securebits = process::securebits(spec, bounding, ambient, uid)?;
    let context = Context {
        spec,
        facts,
        machine,
        mapping,
        uid,
        gid,
        groups,
        home,
        users,
        bounding,
        ambient,
        securebits,
        machine_id: machine_id(spec, facts),
        host_clones: facts.privileged(),
    };
    kernel_files::check(&context)?;
    let mut report = Report::default();
    report.applied("profile", context.profile_name());
    let mut plan = Builder::new();
    let plan_ref = &mut plan;

    start::report_namespaces(&context, &mut report);
    let resources = cgroups::decide(&context, &mut report)?;
    let registration = registry::decide(&context, &mut report)?;
    let links = network::decide(&context)?;
    let named = named::decide(&context, registration.is_some(), plan_ref, &mut report)?;
    named.entrust(plan_ref)?;
    registry::entrust(registration.as_ref(), plan_ref);
    start::entrust(&context, &resources, links.as_ref(), plan_ref)?;
    registry::prepare(&context, registration.as_ref(), plan_ref);
    cgroups::prepare(&resources, plan_ref)?;
    start::streams(&context, plan_ref);
    descriptors::prepare(&spec.descriptors, context.origin("descriptors"), plan_ref, &mut report);
    start::open_joined(&context, plan_ref)?;
    ids::prepare(&context, plan_ref, &mut report)?;
    network::prepare(&context, links.as_ref(), plan_ref);
    let sources = filesystem::sources(&context, plan_ref, &mut report)?;
    named.prepare(&context, plan_ref)?;

    start::entrust_child(plan_ref);
    registry::attend(&context, registration.as_ref(), plan_ref);
    cgroups::attend(&resources, plan_ref);
    ids::attend(&context, plan_ref);
    attributes::attend(&context, plan_ref, &mut report)?;
    filesystem::attend(&context, &sources, plan_ref);
    network::attend(&context, links.as_ref(), plan_ref, &mut report)?;

    start::enter(&context, plan_ref);
    ids::enter(&context, plan_ref);
    filesystem::assemble(&context, &sources, (&resources, &named), plan_ref, &mut report)?;
    kernel_files::restrict(&context, plan_ref, &mut report)?;
    filesystem::switch(&context, plan_ref);
    incoming::receive_only(&context, named.incoming.as_ref(), plan_ref);
    process::inherited(&context, &resources, plan_ref, &mut report)?;
    network::enter(&context, links.as_ref(), plan_ref, &mut report);
    process::payload(&context, plan_ref, &mut report)?;
    process::stub(&context, plan_ref, &mut report)?;

    required(spec, &report)?;
    start::spawn(&context, &resources, plan_ref)?;
    start::release(plan_ref);
    Ok(plan.finish(Ending {
        machine: context.machine,
        readiness: spec.readiness,
        kill_signal: spec.kill_signal,
        stub: spec.init == Init::Stub,
        hold: spec.hold,
        groups: resources.planned(),
        give: sources.give,
        tree: spec.root.image.then(|| spec.root.path.clone()),
        registration,
        forwards: network::forwards(links.as_ref()),
        interface: network::interface(links.as_ref()),
        published: network::published_ports(links.as_ref()),
        report,
    }))
}

/// The id of a machine of the profile `nspawn`: the tree's, else the Spec's, else a
/// new one.
pub(crate) fn machine_id(spec: &Spec, facts: &Facts) -> Option<String> {
    let asked = spec.environment.get("container_uuid");
    let asked = asked.map(|id| id.reveal().to_string_lossy().replace('-', ""));
    (spec.profile == Profile::Nspawn)
        .then(|| facts.machine_id.clone().or(asked).unwrap_or_else(|| facts.fresh_id.clone()))
}

/// What the caller does not start without.
fn required(spec: &Spec, report: &Report) -> Result<()> {
    for name in &spec.required {
        let shown = Escaped::new(name).short();
        let refuse = |kind, what: String| {
            let field = format!("required.{name}");
            Error::new(kind, what).from(spec.origins.of(&field))
        };
        match report.of(name) {
            Some(Outcome::Applied(_)) => {}
            Some(Outcome::Unsupported(why) | Outcome::Off(why)) => {
                return Err(refuse(ErrorKind::Unsupported, format!("{shown} is required and not in force: {why}"))
                    .remedy("Change what stands in its way, or require it no more."));
            }
            None => {
                let known = report.items().iter().map(|item| item.name.as_str());
                let near = nearest(name, known);
                return Err(refuse(ErrorKind::InvalidSpec, format!("{shown} is required, and no item of this start"))
                    .remedy(match near.first() {
                        Some(near) => format!("Did you mean {near:?}? A report names them all."),
                        None => "Take a name from the report of a start.".to_owned(),
                    }));
            }
        }
    }
    Ok(())
}

/// The payload's ids, groups and home.
fn payload(
    spec: &Spec,
    facts: &Facts,
    users: &[filesystem::BoundUser<'_>],
) -> Result<(u32, u32, Vec<u32>, std::path::PathBuf)> {
    match &spec.user {
        User::Ids { uid, gid } => Ok((*uid, *gid, spec.groups.clone(), spec.home(None).to_owned())),
        User::Name(name) => {
            if let Some(user) = users.iter().find(|user| user.is(name)) {
                let known = &facts.tree_accounts.groups;
                let joined = spec.bind_user.groups.iter().filter_map(|group| known.get(group).copied());
                return Ok((user.id, user.id, joined.chain(spec.groups.iter().copied()).collect(), user.home()));
            }
            let found = facts.named_user.as_ref().ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "user \"{}\" is not in etc/passwd of {}",
                        Escaped::new(name).short(),
                        spec.root.top().display()
                    ),
                )
                .from(spec.origins.of("user"))
                .remedy("Give its number, or add it to the tree.")
            })?;
            let mut groups = found.groups.clone();
            groups.extend(&spec.groups);
            Ok((found.uid, found.gid, groups, found.home.clone()))
        }
    }
}

/// How much of everything one Spec may hold: looked at before anything that
/// takes time for each.
pub(crate) fn bounds(spec: &Spec) -> Result<()> {
    const MOUNTS: usize = 1000;
    for (field, what, count, most) in [
        ("mounts", "mounts", spec.mounts.len(), MOUNTS),
        ("masked", "masked and read-only paths", spec.masked.len().saturating_add(spec.read_only.len()), 1000),
        ("environment", "variables", spec.environment.len(), 4096),
        ("sysctls", "sysctls", spec.sysctls.len(), 1000),
        ("credentials", "credentials", spec.credentials.len(), 1000),
        ("bind_user.names", "users of the host", spec.bind_user.names.len(), 64),
        ("bind_user.groups", "groups of them", spec.bind_user.groups.len(), 100),
        ("descriptors", "descriptors", spec.descriptors.len(), 256),
        ("required", "required items", spec.required.len(), 100),
        ("groups", "supplementary groups", spec.groups.len(), 65_536),
        ("system_calls.allow", "allowed system calls", spec.system_calls.allow.len(), 1000),
        ("system_calls.danger_allow", "allowed system calls", spec.system_calls.danger_allow.len(), 1000),
        ("system_calls.deny", "denied system calls", spec.system_calls.deny.len(), 1000),
        ("system_calls.notify", "notified system calls", spec.system_calls.notify.len(), 1000),
        ("system_calls.sockets", "allowed sockets", spec.system_calls.sockets.danger_allow.len(), 200),
        ("landlock.paths", "Landlock rules for paths", spec.landlock.paths.len(), 1000),
        ("landlock.bind", "Landlock rules for ports", spec.landlock.bind.len(), 1000),
        ("landlock.connect", "Landlock rules for ports", spec.landlock.connect.len(), 1000),
        ("links.extra", "interfaces", spec.links.extra.len() + spec.links.macvlan.len(), 100),
        ("links.moved", "interfaces", spec.links.ipvlan.len() + spec.links.moved.len(), 100),
        ("links.ports", "published ports", spec.links.ports.len(), 100),
        ("resources.io", "limits on devices", spec.resources.io.len(), 100),
    ] {
        if count > most {
            return Err(Error::new(
                ErrorKind::InvalidSpec,
                format!("{count} {what} are more than the {most} that one container may have"),
            )
            .from(spec.origins.of(field))
            .remedy("Bind a directory above them, or split the container."));
        }
    }
    Ok(())
}

const IN_A_FILE: &str = "Put it into a file, and bind that into the container.";

/// What can be said about a Spec without looking at the host.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let invalid = |field: &str, what: String, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    if spec.login_shell && spec.init == Init::Boot {
        return invalid("login_shell", "an init is no login shell".to_owned(), "Leave one of the two out.");
    }
    if spec.version != 1 {
        let what = format!("a spec of version {} is not known here", spec.version);
        return invalid("version", what, "Write version 1, or leave it out.");
    }
    let shell = spec.login_shell && spec.command.is_empty();
    if spec.init != Init::Boot && !shell && spec.command.first().is_none_or(|program| program.is_empty()) {
        return invalid("command", "there is no command to run".to_owned(), "Name a program, such as /bin/sh.");
    }
    // What the kernel takes in one exec (execve(2)): 128 KiB a string.
    let words = spec.command.iter().map(|word| word.len());
    if let Some(longest) = words.clone().max().filter(|length| *length >= 131_072) {
        let what = format!("an argument of {longest} bytes is longer than an exec can take (131071)");
        return invalid("command", what, IN_A_FILE);
    }
    if words.sum::<usize>() > 1 << 20 {
        return invalid("command", "the arguments are longer than 1 MiB".to_owned(), IN_A_FILE);
    }
    let nul = |bytes: &[u8]| bytes.contains(&0);
    // One name in each directory of PATH: together they could be gigabytes.
    let name = spec.command.first().map_or(&[][..], |program| program.as_encoded_bytes());
    if spec.init != Init::Boot && name.len() > 255 && !name.contains(&b'/') {
        let what = format!("a program's name of {} bytes", name.len());
        return invalid("command", what, "A name has at most 255 bytes; a path begins with `/`.");
    }
    if spec.command.iter().any(|word| nul(word.as_encoded_bytes())) {
        return invalid(
            "command",
            "an argument holds a NUL byte".to_owned(),
            "Take the byte out: an argument ends at it.",
        );
    }
    for (name, value) in &spec.environment {
        let field = format!("environment.{name}");
        let mut characters = name.bytes();
        let first = characters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !characters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let what = format!("{name:?} is not a name of an environment variable");
            return invalid(&field, what, "A name has letters, digits and `_`, and no digit at its start.");
        }
        let bytes = value.reveal().as_encoded_bytes();
        if nul(bytes) || bytes.len() + name.len() >= 131_000 {
            let what = format!("the value of {name} holds a NUL byte or is longer than 131000 bytes");
            return invalid(&field, what, IN_A_FILE);
        }
    }
    filesystem::check_files(spec)?;
    filesystem::check_users(spec)?;
    filters::check(spec)?;
    if spec.umask > 0o777 {
        let what = format!("{:#o} is not a file mode creation mask", spec.umask);
        return invalid("umask", what, "A mask is at most 0777 (in decimal, 511).");
    }
    if spec.kill_signal == 0 || spec.kill_signal > 64 {
        return invalid("kill_signal", format!("{} is not a signal", spec.kill_signal), "Give a number from 1 to 64.");
    }
    absolute(spec, "working_directory", &spec.working_directory)?;
    descriptors::check(spec)?;
    attributes::check(spec)?;
    landlock::check(spec)?;
    network::check(spec)?;
    if spec.stdio.contains(&Stream::Terminal) && spec.terminal.is_none() {
        return Err(Error::new(ErrorKind::InvalidSpec, "a stream is to be the terminal, and the container has none")
            .from(spec.origins.of("stdio"))
            .remedy("Say its size (`terminal`)."));
    }
    if spec.root.path.as_os_str().is_empty() {
        let remedy = "Name a directory that holds a root file system, or leave it out.";
        return invalid("root", "the root directory is the empty path".to_owned(), remedy);
    }
    if spec.seccomp == Want::Off && spec.system_calls != SystemCalls::default() {
        return Err(Error::new(ErrorKind::InvalidSpec, "there is no system-call filter to change: it is switched off")
            .from(spec.origins.of("system_calls"))
            .remedy("Keep the filter, or leave the changes out."));
    }
    let time = &spec.namespaces;
    if time.time_offsets != TimeOffsets::default() && (time.time != Namespace::New || time.pid != Namespace::New) {
        return Err(Error::new(
            ErrorKind::InvalidSpec,
            "offsets of clocks need a time namespace and a process-id namespace that are new",
        )
        .from(spec.origins.of("namespaces.time_offsets"))
        .remedy("Let both be new, or leave the offsets out."));
    }
    if spec.namespaces.pid != Namespace::New && spec.init == Init::Stub {
        let remedy = "Let the command be the first process, or keep the namespace new.";
        return invalid("namespaces.pid", "a stub init needs a process-id namespace of its own".to_owned(), remedy);
    }
    if let Some((resource, limit)) = spec.limits.iter().find(|(_, limit)| limit.raw().0 > limit.raw().1) {
        let what = format!("the soft limit of {resource}={limit} is above its hard limit");
        return invalid(&format!("limits.{resource}"), what, "Lower the soft limit, or raise the hard one.");
    }
    if spec.namespaces.uts != Namespace::New && spec.hostname.is_some() {
        let remedy = "Leave the hostname out, or keep the namespace new.";
        return invalid("hostname", "a hostname needs a UTS namespace of its own".to_owned(), remedy);
    }
    Ok(())
}

/// An absolute path without `..` and NUL, of a length that the kernel takes.
pub(crate) fn absolute(spec: &Spec, field: &str, path: &Path) -> Result<()> {
    let (problem, remedy) = if !path.is_absolute() {
        ("is not absolute", "Write it from `/` on.")
    } else if path.components().any(|component| component == Component::ParentDir) {
        ("holds `..`", "Write it without `..`.")
    } else if path.as_os_str().as_encoded_bytes().contains(&0) {
        ("holds a NUL byte", "Take the byte out.")
    } else if path.as_os_str().len() > 4095 {
        ("is longer than 4095 bytes", "Choose a shorter one.")
    } else if plain_components(path).iter().any(|name| name.len() > 255) {
        ("has a component longer than 255 bytes", "Choose a shorter name.")
    } else {
        return Ok(());
    };
    let shown: String = path.to_string_lossy().chars().take(200).collect();
    let what = format!("the path {shown:?} {problem}");
    Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
}

/// A path as the kernel takes it. What [`absolute`] accepted has no NUL.
pub(crate) fn c_path(path: &Path) -> Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    c_text(path.as_os_str().as_bytes())
}

pub(crate) fn c_text(bytes: &[u8]) -> Result<std::ffi::CString> {
    std::ffi::CString::new(bytes).map_err(|_| {
        Error::new(ErrorKind::InvalidSpec, format!("{:?} holds a NUL byte", String::from_utf8_lossy(bytes)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_in_force_or_nothing_starts() {
        let spec = |item: &str| {
            let required = [item.to_owned()].into();
            let user_namespace = crate::spec::UserNamespace::Own;
            Spec { command: vec!["true".into()], required, user_namespace, ..Spec::default() }
        };
        let compiled = |item: &str| compile(&spec(item), &Facts::example(&spec(item)));
        for item in ["masks", "no new privileges", "limit pids", "nested user namespaces"] {
            assert!(compiled(item).is_ok(), "{item}: {:?}", compiled(item).err());
        }
        for (item, kind, words) in [
            ("supplementary groups", ErrorKind::Unsupported, "not in force: an ordinary user with one id"),
            ("terminal", ErrorKind::Unsupported, "not in force: none"),
            ("mask", ErrorKind::InvalidSpec, "mask is required, and no item"),
            ("\u{1b}", ErrorKind::InvalidSpec, "no item of this start"),
        ] {
            let error = compiled(item).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words) && error.advice().is_some(), "{error}");
        }
        assert!(compiled("mask").unwrap_err().advice().unwrap().contains("\"masks\""));
    }
}
