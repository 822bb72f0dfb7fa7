//! From settings back to a `.nspawn` file.

use std::fmt;
use std::path::Path;

use super::assignment::quote;
use super::calls::SystemCallList;
use super::mounts::escaped;
use super::settings::{Setting, Settings};
use super::table::Section;
use super::value::signal_name;
use super::words::{id_map_name, link_journal_name, resolv_conf_name, timezone_name};
use crate::spec::{
    AccessTimes, Bind, CapabilityList, IdMap, Init, Mount, MountKind, Network, Overlay, Ownership, Readiness, Tmpfs,
    User, UserNamespace, UserShell, Volatile,
};

/// The lines of one section; its header is printed before the first.
struct Lines<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    section: Section,
    open: bool,
}

impl<'a, 'b> Lines<'a, 'b> {
    const fn of(section: Section, f: &'a mut fmt::Formatter<'b>) -> Self {
        Self { f, section, open: false }
    }

    fn line(&mut self, key: &str, value: impl fmt::Display) -> fmt::Result {
        if !self.open {
            self.open = true;
            writeln!(self.f, "[{}]", self.section.name())?;
        }
        writeln!(self.f, "{key}={value}")
    }

    fn boolean(&mut self, key: &str, value: Option<bool>) -> fmt::Result {
        match value {
            Some(value) => self.line(key, if value { "yes" } else { "no" }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exec(&mut Lines::of(Section::Exec, f))?;
        self.files(&mut Lines::of(Section::Files, f))?;
        let network = self.privileged.network.as_ref();
        let mut to = Lines::of(Section::Network, f);
        to.boolean("Private", network.map(|it| it.value == Network::None))?;
        if let Some(path) = &self.privileged.network_path {
            to.line("NamespacePath", bare(&path.value))?;
        }
        self.links(&mut to)?;
        self.anyhow(&mut to)
    }
}

impl Settings {
    fn links(&self, to: &mut Lines<'_, '_>) -> fmt::Result {
        let own = &self.privileged;
        for (key, lists) in [("Interface", &own.moved), ("MACVLAN", &own.macvlan), ("IPVLAN", &own.ipvlan)] {
            for list in lists {
                let words: Vec<String> = list.value.iter().map(ToString::to_string).collect();
                to.line(key, words.join(" "))?;
            }
        }
        to.boolean("VirtualEthernet", own.veth.as_ref().map(|it| it.value))?;
        own.veth_extra.iter().try_for_each(|extra| to.line("VirtualEthernetExtra", &extra.value))?;
        own.bridge.iter().try_for_each(|bridge| to.line("Bridge", &bridge.value))?;
        own.zone.iter().try_for_each(|zone| to.line("Zone", &zone.value))?;
        own.ports.iter().try_for_each(|port| to.line("Port", port.value))
    }

    fn exec(&self, to: &mut Lines<'_, '_>) -> fmt::Result {
        let (any, own) = (&self.harmless, &self.privileged);
        let flag = |setting: &Option<Setting<bool>>| setting.as_ref().map(|setting| setting.value);
        to.boolean("Boot", flag(&any.boot))?;
        to.boolean("Ephemeral", flag(&own.ephemeral))?;
        let init = any.init.as_ref();
        to.boolean("ProcessTwo", init.map(|it| it.value == Init::Stub))?;
        if !any.parameters.is_empty() {
            let words: Vec<String> = any.parameters.iter().map(|word| quote(&word.value)).collect();
            to.line("Parameters", words.join(" "))?;
        }
        for variable in &any.environment {
            let (name, value) = &variable.value;
            let word = format!("{name}={}", value.reveal().to_string_lossy());
            to.line("Environment", quote(&word))?;
        }
        if let Some(user) = &any.user {
            match &user.value {
                User::Ids { uid: 0, .. } => to.line("User", "root")?,
                User::Ids { uid, .. } => to.line("User", uid)?,
                User::Name(name) => to.line("User", name)?,
            }
        }
        for (key, lists) in [
            ("Capability", &own.capability),
            ("AmbientCapability", &own.ambient_capability),
            ("DropCapability", &any.drop_capability),
        ] {
            for list in lists {
                to.line(key, capabilities(list.value))?;
            }
        }
        if let Some(signal) = &any.kill_signal {
            to.line("KillSignal", signal_name(signal.value))?;
        }
        if let Some(personality) = &any.personality {
            to.line("Personality", personality.value)?;
        }
        if let Some(id) = &own.machine_id {
            to.line("MachineID", &id.value)?;
        }
        if let Some(path) = &any.working_directory {
            to.line("WorkingDirectory", bare(&path.value))?;
        }
        if let Some(pivot) = &own.pivot_root {
            let (new, old) = &pivot.value;
            let old = old.as_ref().map_or_else(String::new, |old| format!(":{}", escaped(old)));
            to.line("PivotRoot", closed(format!("{}{old}", escaped(new))))?;
        }
        if let Some(users) = &own.private_users {
            to.line("PrivateUsers", private_users(users.value))?;
        }
        let readiness = any.readiness.as_ref();
        to.boolean("NotifyReady", readiness.map(|it| it.value == Readiness::Notify))?;
        for limit in &own.limits {
            let (resource, limit) = limit.value;
            to.line(&format!("Limit{resource}"), limit)?;
        }
        if let Some(name) = &any.hostname {
            to.line("Hostname", &name.value)?;
        }
        to.boolean("NoNewPrivileges", flag(&any.no_new_privileges))?;
        to.boolean("SuppressSync", flag(&any.suppress_sync))?;
        for list in &any.system_calls {
            let tilde = if matches!(list.value, SystemCallList::Deny(_)) { "~" } else { "" };
            to.line("SystemCallFilter", format_args!("{tilde}{}", list.value.items().join(" ")))?;
        }
        for list in &any.address_families {
            to.line("RestrictAddressFamilies", list.value.text())?;
        }
        if let Some(score) = &own.oom_score_adjust {
            to.line("OOMScoreAdjust", score.value)?;
        }
        for list in &own.cpu_affinity {
            to.line("CPUAffinity", &list.value)?;
        }
        if let Some(mode) = &any.resolv_conf {
            to.line("ResolvConf", resolv_conf_name(mode.value))?;
        }
        if let Some(mode) = &own.link_journal {
            to.line("LinkJournal", link_journal_name(mode.value))?;
        }
        if let Some(mode) = &any.timezone {
            to.line("Timezone", timezone_name(mode.value))?;
        }
        self.anyhow(to)
    }

    /// The keys of the section that are not acted on yet.
    fn anyhow(&self, to: &mut Lines<'_, '_>) -> fmt::Result {
        let of_section = |setting: &&Setting<(&str, String)>| setting.key.section == to.section;
        for setting in self.harmless.anyhow.iter().filter(of_section).collect::<Vec<_>>() {
            let (name, text) = &setting.value;
            to.line(name, text)?;
        }
        Ok(())
    }

    fn files(&self, to: &mut Lines<'_, '_>) -> fmt::Result {
        let read_only = self.harmless.read_only.as_ref();
        to.boolean("ReadOnly", read_only.map(|setting| setting.value))?;
        if let Some(volatile) = &self.harmless.volatile {
            to.line(
                "Volatile",
                match volatile.value {
                    Volatile::No => "no",
                    Volatile::Yes => "yes",
                    Volatile::State => "state",
                    Volatile::Overlay => "overlay",
                },
            )?;
        }
        let ownership = self.privileged.ownership.as_ref().and_then(|mode| ownership_name(mode.value));
        if let Some(mode) = ownership {
            to.line("PrivateUsersOwnership", mode)?;
        }
        for Mount { target, kind } in self.privileged.mounts.iter().map(|mount| &mount.value) {
            let target = escaped(target);
            match kind {
                MountKind::Bind(bind) => to.line(
                    if bind.read_only { "BindReadOnly" } else { "Bind" },
                    format_args!(
                        "{}{}:{target}:{}",
                        if bind.inside { "+" } else { "" },
                        escaped(&bind.source),
                        bind_options(bind)
                    ),
                )?,
                MountKind::Tmpfs(tmpfs) => {
                    to.line("TemporaryFileSystem", format_args!("{target}:{}", tmpfs_options(tmpfs)))?
                }
                MountKind::Overlay(overlay) => to.line(
                    if overlay.read_only { "OverlayReadOnly" } else { "Overlay" },
                    format_args!("{}:{}", layers(overlay), closed(target)),
                )?,
                // No key gives these.
                MountKind::Device(_) | MountKind::File(_) | MountKind::Secret(_) => {}
            }
        }
        for path in &self.privileged.masked {
            to.line("Inaccessible", bare(&path.value))?;
        }
        if !self.privileged.bind_users.is_empty() {
            let names: Vec<&str> = self.privileged.bind_users.iter().map(|name| name.value.as_str()).collect();
            to.line("BindUser", names.join(" "))?;
        }
        match self.privileged.bind_user_shell.as_ref().map(|shell| &shell.value) {
            None => {}
            Some(UserShell::Usual) => to.line("BindUserShell", "no")?,
            Some(UserShell::Host) => to.line("BindUserShell", "yes")?,
            Some(UserShell::Path(path)) => to.line("BindUserShell", bare(path))?,
        }
        self.anyhow(to)
    }
}

/// A path that is a whole value: a blank or backslash at its end would be read
/// as something else, so a `/` follows, which is taken away again.
fn bare(path: &Path) -> String {
    closed(path.to_string_lossy().into_owned())
}

/// The text of such a path.
fn closed(text: String) -> String {
    let end = if text.ends_with([' ', '\t', '\\']) { "/" } else { "" };
    format!("{text}{end}")
}

/// The options of a bind, such as `rbind,idmap`.
fn bind_options(bind: &Bind) -> String {
    let recursive = if bind.recursive { "rbind" } else { "norbind" };
    match bind.id_map {
        IdMap::NoIdMap => recursive.to_owned(),
        other => format!("{recursive},{}", id_map_name(other)),
    }
}

/// What is the default of a file system without options is said as well.
fn tmpfs_options(tmpfs: &Tmpfs) -> String {
    let (bound, size, _) = tmpfs.bound();
    let mut all = vec![
        format!("mode={:04o}", tmpfs.mode),
        format!("{bound}={size}"),
        format!("nr_inodes={}", tmpfs.inodes),
        if tmpfs.read_only { "ro" } else { "rw" }.to_owned(),
    ];
    let words = [
        (tmpfs.noexec, "noexec"),
        (tmpfs.nosymfollow, "nosymfollow"),
        (tmpfs.access_times == AccessTimes::Relative, "relatime"),
        (tmpfs.access_times == AccessTimes::Strict, "strictatime"),
        (tmpfs.access_times == AccessTimes::Off, "noatime"),
        (tmpfs.nodiratime, "nodiratime"),
    ];
    all.extend(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()));
    if (tmpfs.uid, tmpfs.gid) != (0, 0) {
        all.push(format!("uid={},gid={}", tmpfs.uid, tmpfs.gid));
    }
    let further = tmpfs.options().into_iter();
    all.extend(further.map(|(key, value)| value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}"))));
    all.join(",")
}

/// The layers of an overlay, the bottom first; an empty one for changes that are
/// thrown away.
fn layers(overlay: &Overlay) -> String {
    let mut layers: Vec<String> = overlay.lower.iter().map(|path| escaped(path)).collect();
    match &overlay.upper {
        Some(upper) => layers.push(escaped(upper)),
        None if overlay.read_only && layers.len() > 1 => {}
        None => layers.push(String::new()),
    }
    layers.join(":")
}

fn capabilities(list: CapabilityList) -> String {
    Vec::<String>::from(list).join(" ")
}

/// A file has no word for what is usual.
const fn ownership_name(mode: Ownership) -> Option<&'static str> {
    match mode {
        Ownership::Usual => None,
        Ownership::Off => Some("off"),
        Ownership::Map => Some("map"),
        Ownership::Chown => Some("chown"),
        Ownership::Foreign => Some("foreign"),
        Ownership::Auto => Some("auto"),
    }
}

fn private_users(mode: UserNamespace) -> String {
    match mode {
        UserNamespace::Host => "no".to_owned(),
        UserNamespace::Identity => "identity".to_owned(),
        UserNamespace::Owner => "yes".to_owned(),
        UserNamespace::Managed => "managed".to_owned(),
        UserNamespace::Range(range) => format!("{}:{}", range.base, range.count),
        _ => "pick".to_owned(),
    }
}
