//! All that is known of a process, in lines: what two ends are compared by.

use std::collections::BTreeMap;

use crate::abi::{MountAttrs, Namespaces, Resource};
use crate::program::Actor;

use super::descriptors::{Entry, Object};
use super::files::{Node, Place};
use super::namespaces::{Content, Extent};
use super::processes::{Task, TaskId, actor_index};
use super::{Model, Process};

impl Process<'_> {
    /// Everything about the process, by name: credentials with the bytes of
    /// filters and rulesets, namespaces, limits, descriptors, each mount, each
    /// file that it can name. Two that end the same have the same lines, whatever
    /// numbers the kernel has given out on the way.
    ///
    /// ```
    /// use skep_sys::{Actor, At, Kernel, Model, Op, Slots};
    ///
    /// let mut model = Model::new();
    /// let before = model.process(Actor::Host).map(|host| host.lines());
    /// model.call(&Op::Umask { mode: 0 }, &mut Slots::new(&mut []))?;
    /// let after = model.process(Actor::Host).map(|host| host.lines());
    /// assert_ne!(before, after);
    /// assert_eq!(after.and_then(|lines| lines.get("umask").cloned()).as_deref(), Some("0"));
    /// # Ok::<(), skep_sys::Errno>(())
    /// ```
    #[must_use]
    pub fn lines(&self) -> BTreeMap<String, String> {
        let (model, task) = (self.model(), self.task());
        let state = &model[task];
        let mut lines = BTreeMap::new();
        let mut say = |name: &str, value: String| _ = lines.insert(name.to_owned(), value);
        model.confinement_lines(state, &mut say);
        model.namespace_lines(state, &mut say);
        for (number, limit) in state.limits.iter().enumerate() {
            say(&format!("limit {}", Resource(number as u8)), format!("{} {}", limit.0, limit.1));
        }
        say("umask", format!("{:o}", state.umask));
        let (blocked, ignored) = self.signals();
        say("signals", format!("blocked {blocked:x}, ignored {ignored:x}"));
        say("personality", format!("{:x}", state.personality));
        say("keyring", if state.keyring == model[TaskId(0)].keyring { "the embedder's" } else { "another" }.to_owned());
        say("session", model.whose(state.session, task));
        say("process 1", (self.pid() == 1).to_string());
        if let Some(terminal) = self.controlling_terminal() {
            say("controlling terminal", terminal);
        }
        say("cgroup", self.cgroup());
        for (fs, group) in &state.legacy {
            say(&format!("cgroup {}", model[*fs].controllers.join(",")), model.path_in_fs(*group));
        }
        for (name, value) in &state.notes {
            say(name, String::from_utf8_lossy(value).into_owned());
        }
        say("working directory", format!("{:?}", self.working_directory()));
        if let Some(executed) = self.exec() {
            say("executed", format!("{} {:?} {:?}", executed.program, executed.arguments, executed.environment));
        }
        for (number, entry) in &state.table {
            say(&format!("descriptor {number}"), model.descriptor_line(*entry));
        }
        model.mount_lines(state, &mut say);
        let root = model.topmost(state.root);
        model.file_lines(root, "", 0, &mut say);
        lines
    }
}

fn map(extents: &[Extent]) -> String {
    let line = |extent: &Extent| format!("{} {} {}", extent.inside, extent.kernel, extent.count);
    extents.iter().map(line).collect::<Vec<_>>().join(", ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Model {
    fn confinement_lines(&self, state: &Task, say: &mut dyn FnMut(&str, String)) {
        let cred = &state.cred;
        // As the kernel counts, whatever the maps say.
        say("uid", format!("{:?}", cred.uid));
        say("gid", format!("{:?}", cred.gid));
        let mut groups = cred.groups.clone();
        groups.sort_unstable();
        say("groups", format!("{groups:?}"));
        for (name, set) in [
            ("effective", cred.effective),
            ("permitted", cred.permitted),
            ("inheritable", cred.inheritable),
            ("bounding", cred.bounding),
            ("ambient", cred.ambient),
        ] {
            say(name, set.to_string());
        }
        say("securebits", cred.securebits.to_string());
        say("no_new_privs", cred.no_new_privs.to_string());
        say("dumpable", state.dumpable.to_string());
        for (number, program) in cred.filters.iter().enumerate() {
            say(&format!("filter {number}"), hex(program));
        }
        for (number, layer) in state.landlock.iter().enumerate() {
            say(&format!("landlock {number}"), format!("{:x} {:x} {:x}", layer.files, layer.net, layer.scoped));
            let paths = layer.paths.iter().map(|rule| (format!("path {}", self.path_in_fs(rule.0)), rule.1));
            let ports = layer.ports.iter().map(|rule| (format!("port {}", rule.0), rule.1));
            let mut rules: BTreeMap<String, u64> = BTreeMap::new();
            paths.chain(ports).for_each(|(name, access)| *rules.entry(name).or_default() |= access);
            rules
                .into_iter()
                .for_each(|(name, access)| say(&format!("landlock {number} {name}"), format!("{access:x}")));
        }
        let user = &self[cred.user];
        say("user namespace", format!("level {}", user.level));
        say("uid map", map(&user.uids));
        say("gid map", map(&user.gids));
        say("setgroups", user.setgroups.to_string());
        say("further user namespaces", user.limit.to_string());
    }

    fn namespace_lines(&self, state: &Task, say: &mut dyn FnMut(&str, String)) {
        let host = &self[TaskId(0)].spaces;
        for (kind, name) in Namespaces::NAMES {
            if let (Some(own), Some(hosts)) = (state.spaces.of(*kind), host.of(*kind)) {
                let owner = self[self[own].owner].level;
                let text = if own == hosts { "the host's".to_owned() } else { format!("new, owner at level {owner}") };
                say(&format!("namespace {name}"), text);
            }
        }
        for (name, own, hosts) in
            [("pid", state.spaces.pid_for_children, host.pid), ("time", state.spaces.time_for_children, host.time)]
        {
            say(
                &format!("namespace {name} for children"),
                (if own == hosts { "the host's" } else { "new" }).to_owned(),
            );
        }
        if let Content::Uts { host, domain } = &self[state.spaces.uts].content {
            say("hostname", String::from_utf8_lossy(host).into_owned());
            say("domainname", String::from_utf8_lossy(domain).into_owned());
        }
        if let Some(network) = self.network(state.spaces.network) {
            let up = network.links.iter().filter(|(_, link)| link.up);
            say("links", up.map(|(name, _)| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(" "));
            network.lines().filter(|(name, _)| name != "link lo").for_each(|(name, value)| say(&name, value));
        }
        for ((hosts, path, _), value) in &self.sysctls {
            let name = format!("sysctl {path}{}", if *hosts { " of the host" } else { "" });
            say(&name, String::from_utf8_lossy(value).into_owned());
        }
    }

    /// Whose process that is, from the point of view of another.
    fn whose(&self, task: TaskId, own: TaskId) -> String {
        let actor = |actor: Actor| self.actors[actor_index(actor)] == Some(task);
        let name = match task {
            _ if task == own => "its own",
            TaskId(0) => "the embedder's",
            _ if actor(Actor::Child) => "the child's",
            _ if actor(Actor::Payload) => "the payload's",
            _ => "another's",
        };
        name.to_owned()
    }

    fn descriptor_line(&self, entry: Entry) -> String {
        let object = &self[entry.file].object;
        let mut text = object.kind().to_owned();
        match object {
            Object::Path(handle) => {
                text += &format!(" {} for {:?}", self.path_in_fs(handle.place.inode), handle.access);
                text += &format!(" on {}", self[self[handle.place.mount].fs].kind.name);
            }
            Object::Wire { wire, end } => {
                let mut others: Vec<String> =
                    self.holders(*wire, *end).map(|task| self.whose(task, TaskId(usize::MAX))).collect();
                others.sort_unstable();
                text += &format!(" with {others:?}");
            }
            Object::MemFd { seals, .. } => text += &format!(" sealed {seals:?}"),
            Object::Pidfd(task) => text += &format!(" of {}", self.whose(*task, TaskId(usize::MAX))),
            _ => {}
        }
        if entry.close_on_exec { text + ", close-on-exec" } else { text }
    }

    fn mount_lines(&self, state: &Task, say: &mut dyn FnMut(&str, String)) {
        let mut outside = 0;
        let mut stacked: BTreeMap<String, usize> = BTreeMap::new();
        for mount in self.mounts_of(state.spaces.mount) {
            let Some(point) = self.mount_point(mount, state.root) else {
                // The initial rootfs lies below every root.
                outside +=
                    usize::from(!matches!(self[state.spaces.mount].content, Content::Mount { root } if root == mount));
                continue;
            };
            let (here, fs) = (&self[mount], &self[self[mount].fs]);
            let names = MountAttrs::NAMES.iter().filter(|row| here.attrs.has(row.0));
            let mut words: Vec<String> = names.map(|row| row.1.to_owned()).collect();
            words.extend(here.group.map(|_| "shared".to_owned()));
            words.extend(here.master.map(|_| "slave".to_owned()));
            words.extend(here.locked.then(|| "locked".to_owned()));
            words.extend(here.idmap.map(|user| format!("ids {}; {}", map(&self[user].uids), map(&self[user].gids))));
            words.push(format!("of {}", self.path_in_fs(here.root)));
            words.push(format!("on {} {}", fs.name, here.source));
            words.push(if fs.read_only { "ro".to_owned() } else { "rw".to_owned() });
            // The last one counts, but for layers.
            let mut options = BTreeMap::new();
            for (key, value) in &fs.options {
                let all: &mut String = options.entry(key.as_str()).or_default();
                if !key.ends_with('+') {
                    all.clear();
                }
                *all += &format!(" {key}={value}");
            }
            words.push(format!("options{}", options.into_values().collect::<String>()));
            let number = stacked.entry(point.clone()).or_default();
            say(&format!("mount {point} #{number}"), words.join(" "));
            *number += 1;
        }
        say("mounts outside the root", outside.to_string());
    }

    fn file_lines(&self, at: Place, path: &str, depth: u32, say: &mut dyn FnMut(&str, String)) {
        let here = &self[at.inode];
        let owner = format!("{}:{} {:o}", here.uid, here.gid, here.mode);
        let what = match &here.node {
            Node::Directory(_) => "directory".to_owned(),
            Node::File(content) => format!("file {}", String::from_utf8_lossy(content)),
            Node::Symlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
            Node::Device { block, major, minor } => format!("device {block} {major}:{minor}"),
            Node::Fifo => "fifo".to_owned(),
            Node::Socket => "socket".to_owned(),
            Node::Namespace(_) => "namespace".to_owned(),
            Node::Process(_) | Node::ProcessFile(..) | Node::ProcessLinks(..) => return,
        };
        say(&format!("file {}", if path.is_empty() { "/" } else { path }), format!("{owner} {what}"));
        // A tree that shows itself has no end.
        if let (Node::Directory(entries), 0..40) = (&here.node, depth) {
            for (name, inode) in entries {
                let below = self.topmost(Place { mount: at.mount, inode: *inode });
                self.file_lines(below, &format!("{path}/{}", String::from_utf8_lossy(name)), depth + 1, say);
            }
        }
    }
}
