//! From settings to the Spec.

use std::path::Path;

use skep_sys::abi::{CapabilitySet, cap};

use super::calls::{FamilyList, SystemCallList};
use super::found::Found;
use super::settings::{Harmless, Privileged, Setting, Settings, UntrustedSettings};
use crate::dialect::Problems;
use crate::spec::{Capability, CapabilityList, Init, Network, Origin, Profile, Spec};

impl Settings {
    /// Sets what the file sets, adds what it adds (mounts, masked paths,
    /// variables, limits), and notes in `spec.origins` where each comes from.
    ///
    /// Capabilities: those of `spec`, with `Capability=`, without
    /// `DropCapability=`; in the profile `nspawn`, `Private=yes`, and each key
    /// that implies it, adds `CAP_NET_ADMIN`, as with `systemd-nspawn`.
    ///
    /// # Errors
    ///
    /// An `AmbientCapability=` that the payload could never hold. The Spec is
    /// then as it was.
    pub fn apply(&self, spec: &mut Spec) -> Result<(), Problems> {
        self.apply_capabilities(spec)?;
        self.harmless.apply(spec, &self.file);
        self.privileged.apply(spec, &self.file);
        Ok(())
    }

    fn apply_capabilities(&self, spec: &mut Spec) -> Result<(), Problems> {
        let (file, given) = (&self.file, &self.privileged);
        let mut bounding = spec.capabilities.bounding.0;
        let mut from = Vec::new();
        if let Some(origin) = given.own_network(file).filter(|_| spec.profile == Profile::Nspawn) {
            bounding = bounding.with(cap::NET_ADMIN);
            from.push(origin);
        }
        for list in &given.capability {
            bounding.0 |= list.value.0.0;
            from.push(list.origin(file));
        }
        for list in &self.harmless.drop_capability {
            bounding.0 &= !list.value.0.0;
            from.push(list.origin(file));
        }
        let mut found = Found::new(file);
        for list in &given.ambient_capability {
            for number in (0..64).filter(|n| list.value.0.has(*n) && !bounding.has(*n)) {
                let name = Capability::new(number).map_or_else(String::new, |c| c.to_string());
                found.add(
                    list.place,
                    Some(list.key.name),
                    format!("{name} is not among the container's capabilities"),
                    Some(format!("add it with Capability={name}")),
                );
            }
        }
        found.or(())?;
        for origin in from {
            spec.capabilities.bounding = CapabilityList(bounding);
            spec.origins.note("capabilities.bounding", origin);
        }
        for list in &given.ambient_capability {
            let ambient: CapabilitySet = spec.capabilities.ambient.0;
            spec.capabilities.ambient = CapabilityList(CapabilitySet(ambient.0 | list.value.0.0));
            spec.origins.note("capabilities.ambient", list.origin(file));
        }
        Ok(())
    }
}

impl UntrustedSettings {
    /// Sets what the file sets and may set, as [`Settings::apply`].
    pub fn apply(&self, spec: &mut Spec) {
        for list in &self.harmless.drop_capability {
            spec.capabilities.bounding.0.0 &= !list.value.0.0;
            spec.capabilities.ambient.0.0 &= !list.value.0.0;
            spec.origins.note("capabilities.bounding", list.origin(&self.file));
        }
        self.harmless.apply(spec, &self.file);
    }
}

/// Sets a field, if the file does, and notes where from.
macro_rules! set {
    ($spec:ident, $file:ident, $setting:expr, $($field:ident).+) => {
        if let Some(setting) = &$setting {
            $spec.$($field).+ = setting.value.clone().into();
            $spec.origins.note([$(stringify!($field)),+].join("."), setting.origin($file));
        }
    };
}

/// SIGRTMIN+3, by which systemd halts (`systemd(1)`).
const HALT: u8 = 37;

impl Harmless {
    fn apply(&self, spec: &mut Spec, file: &Path) {
        set!(spec, file, self.init, init);
        if let Some(boot) = self.boot.as_ref().filter(|boot| boot.value) {
            spec.init = Init::Boot;
            spec.kill_signal = HALT;
            spec.origins.note("init", boot.origin(file));
        }
        set!(spec, file, self.user, user);
        set!(spec, file, self.kill_signal, kill_signal);
        set!(spec, file, self.personality, personality);
        set!(spec, file, self.working_directory, working_directory);
        set!(spec, file, self.readiness, readiness);
        set!(spec, file, self.hostname, hostname);
        set!(spec, file, self.no_new_privileges, no_new_privileges);
        set!(spec, file, self.suppress_sync, system_calls.suppress_sync);
        set!(spec, file, self.read_only, root.read_only);
        set!(spec, file, self.volatile, root.volatile);
        set!(spec, file, self.resolv_conf, resolv_conf);
        set!(spec, file, self.timezone, timezone);
        for list in &self.system_calls {
            list.value.apply(&mut spec.system_calls);
            for item in list.value.items() {
                let field = if matches!(list.value, SystemCallList::Deny(_)) { "deny" } else { "allow" };
                note(spec, "system_calls", &format!("{field}.{item}"), list.origin(file));
            }
        }
        FamilyList::apply(self.address_families.iter().map(|list| &list.value), &mut spec.system_calls.sockets);
        for list in &self.address_families {
            note(spec, "system_calls", "sockets", list.origin(file));
        }
        if let Some(first) = self.parameters.first() {
            spec.command = self.parameters.iter().map(|word| word.value.clone().into()).collect();
            spec.origins.note("command", first.origin(file));
        }
        for variable in &self.environment {
            let (name, value) = &variable.value;
            note(spec, "environment", name, variable.origin(file));
            spec.environment.insert(name.clone(), value.clone());
        }
    }
}

impl Privileged {
    /// What says that the network is the container's own: `Private=`, or an interface.
    fn own_network(&self, file: &Path) -> Option<Origin> {
        let private = self.network.as_ref().filter(|it| it.value == Network::None).map(|it| it.origin(file));
        private.or_else(|| self.link(file))
    }

    /// The first key that asks for an interface.
    fn link(&self, file: &Path) -> Option<Origin> {
        let veth = self.veth.as_ref().filter(|it| it.value).map(|it| it.origin(file));
        let named = [&self.bridge, &self.zone].into_iter().flatten().map(|it| it.origin(file));
        let lists = [&self.macvlan, &self.ipvlan, &self.moved].into_iter().flatten().map(|it| it.origin(file));
        veth.into_iter().chain(named).chain(self.veth_extra.iter().map(|it| it.origin(file))).chain(lists).next()
    }

    fn apply_links(&self, spec: &mut Spec, file: &Path) {
        if let Some(origin) = self.link(file).filter(|_| self.network_path.is_none()) {
            spec.network = Network::None;
            spec.origins.note("network", origin);
        }
        set!(spec, file, self.veth, links.veth);
        for (setting, place, field) in
            [(&self.bridge, &mut spec.links.bridge, "links.bridge"), (&self.zone, &mut spec.links.zone, "links.zone")]
        {
            if let Some(setting) = setting {
                *place = Some(setting.value.clone());
                spec.origins.note(field, setting.origin(file));
            }
        }
        for extra in &self.veth_extra {
            spec.links.extra.push(extra.value.clone());
            spec.origins.note("links.extra", extra.origin(file));
        }
        for (lists, place, field) in [
            (&self.macvlan, &mut spec.links.macvlan, "links.macvlan"),
            (&self.ipvlan, &mut spec.links.ipvlan, "links.ipvlan"),
            (&self.moved, &mut spec.links.moved, "links.moved"),
        ] {
            for list in lists {
                place.extend(list.value.iter().cloned());
                spec.origins.note(field, list.origin(file));
            }
        }
        for port in &self.ports {
            spec.links.ports.push(port.value);
            spec.origins.note("links.ports", port.origin(file));
        }
    }

    fn apply(&self, spec: &mut Spec, file: &Path) {
        self.apply_links(spec, file);
        set!(spec, file, self.ephemeral, root.ephemeral);
        set!(spec, file, self.oom_score_adjust, oom_score_adjust);
        set!(spec, file, self.private_users, user_namespace);
        set!(spec, file, self.ownership, root.ownership);
        if let Some(pivot) = &self.pivot_root {
            (spec.root.pivot, spec.root.pivot_old) = (Some(pivot.value.0.clone()), pivot.value.1.clone());
            spec.origins.note("root.pivot", pivot.origin(file));
        }
        set!(spec, file, self.network, network);
        if let Some(id) = &self.machine_id {
            spec.environment.insert("container_uuid".to_owned(), id.value.as_str().into());
            note(spec, "environment", "container_uuid", id.origin(file));
        }
        for list in &self.cpu_affinity {
            // Lines add up.
            let all = spec.scheduling.affinity.get_or_insert_with(|| list.value.clone());
            *all = all.with(&list.value);
            spec.origins.note("scheduling.affinity", list.origin(file));
        }
        for name in &self.bind_users {
            note(spec, "bind_user.names", &name.value, name.origin(file));
            spec.bind_user.names.push(name.value.clone());
        }
        set!(spec, file, self.bind_user_shell, bind_user.shell);
        set!(spec, file, self.link_journal, link_journal);
        if let Some(path) = &self.network_path {
            // As systemd-nspawn: a private network, and which.
            spec.network = match spec.network {
                Network::None if self.network.is_some() => Network::Own(path.value.clone()),
                _ => Network::Path(path.value.clone()),
            };
            spec.origins.note("network", path.origin(file));
        }
        for Setting { value: (resource, limit), place, key } in &self.limits {
            let origin = super::settings::origin(file, *place, key.name);
            note(spec, "limits", &resource.to_string(), origin);
            spec.limits.set(*resource, *limit);
        }
        for mount in &self.mounts {
            let target = mount.value.target.display().to_string();
            note(spec, "mounts", &target, mount.origin(file));
            spec.mounts.push(mount.value.clone());
        }
        for path in &self.masked {
            let text = path.value.display().to_string();
            note(spec, "masked", &text, path.origin(file));
            spec.masked.push(path.value.clone());
        }
    }
}

fn note(spec: &mut Spec, list: &str, name: &str, origin: Origin) {
    spec.origins.note(format!("{list}.{name}"), origin);
}
