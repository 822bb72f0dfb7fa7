//! What a start on the kernel in memory ended with, held against its Spec.

use std::path::Path;

use skep_sys::abi::Namespaces;
use skep_sys::{Actor, Model};

use crate::compile::incoming;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::spec::{
    Init, KernelFiles, Mount, MountKind, Namespace, Network, Profile, Spec, User, UserNamespace, Volatile, Want,
};

/// What the payload and its stub init hold on `model` beyond what `spec` says, one
/// line for each thing; nothing, if the start is what was asked for. `plan` is the
/// one that ran there ([`crate::rehearse`]): what its report says is applied, must be.
///
/// Held against the Spec are ids, groups, the five capability sets, no_new_privs,
/// filter, Landlock, descriptors, namespaces, the flags of every mount, masked and
/// read-only paths, the old root, limits, umask, session and keyring.
///
/// ```
/// let mut spec = skep::Spec::default();
/// spec.command = vec!["/usr/bin/true".into()];
/// let (mut model, facts) = skep::Facts::example(&spec).in_memory(&spec).ok_or("no such host")?;
/// let verified = skep::verify(skep::compile(&spec, &facts)?)?;
/// skep::rehearse(&mut model, &verified)?;
/// assert_eq!(skep::excess(&spec, verified.plan(), &model), Vec::<String>::new());
/// spec.no_new_privileges = true;
/// spec.umask = 0o077;
/// assert_eq!(skep::excess(&spec, verified.plan(), &model), ["umask 22"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn excess(spec: &Spec, plan: &Plan, model: &Model) -> Vec<String> {
    let stub = spec.init == Init::Stub;
    let payload = model.process(if stub { Actor::Payload } else { Actor::Child });
    let (Some(payload), Some(host)) = (payload, model.process(Actor::Host)) else {
        return vec!["no payload".to_owned()];
    };
    let mut found = Findings { spec, plan, found: Vec::new() };
    found.unless(payload.exec().is_some(), || "nothing was executed".to_owned());
    found.unless(payload.ended().is_none(), || "the payload has ended".to_owned());
    found.credentials(&payload);
    found.descriptors(&payload);
    found.namespaces(&payload, &host);
    found.mounts(&payload, &host);
    found.attributes(&payload, &host);
    if let Some(init) = model.process(Actor::Child).filter(|_| stub) {
        found.init(&init, &payload);
    }
    found.found
}

type Process<'m> = skep_sys::Process<'m>;

struct Findings<'s> {
    spec: &'s Spec,
    plan: &'s Plan,
    found: Vec<String>,
}

impl Findings<'_> {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(what());
        }
    }

    fn applied(&self, name: &str) -> bool {
        matches!(self.plan.report().of(name), Some(Outcome::Applied(_)))
    }

    fn credentials(&mut self, payload: &Process<'_>) {
        let (spec, own) = (self.spec, payload.credentials());
        let asked = spec.capabilities;
        for (name, set) in [
            ("bounding", own.bounding),
            ("permitted", own.permitted),
            ("effective", own.effective),
            ("inheritable", own.inheritable),
            ("ambient", own.ambient),
        ] {
            self.unless(asked.bounding.0.contains(set), || format!("{name} {set}"));
        }
        self.unless(own.ambient == asked.ambient.0, || format!("ambient {}", own.ambient));
        self.unless(own.inheritable == own.ambient, || format!("inheritable {}", own.inheritable));
        self.unless(own.no_new_privs || !spec.no_new_privileges, || "no no_new_privs".to_owned());
        if let Some(bits) = spec.securebits {
            self.unless(own.securebits.has(bits.0), || format!("securebits {}", own.securebits));
        }
        let filtered = spec.seccomp == Want::Require || self.applied("system-call filter");
        self.unless(own.filters == usize::from(filtered), || format!("{} filters", own.filters));
        if let User::Ids { uid, gid } = spec.user {
            let are = |ids: skep_sys::Ids, id| [ids.real, ids.effective, ids.saved, ids.fs] == [id; 4];
            self.unless(are(own.uid, uid) && are(own.gid, gid), || format!("ids {:?} {:?}", own.uid, own.gid));
            // Those of the caller that cannot be dropped are nobody's inside.
            let known = |group: &u32| spec.groups.contains(group) || *group == 65534 || *group == gid;
            self.unless(own.groups.iter().all(known), || format!("groups {:?}", own.groups));
        }
        let landlock =
            ["files", "tcp", "sockets", "signals"].iter().any(|name| self.applied(&format!("landlock {name}")));
        let layers = payload.landlock_layers();
        self.unless(layers > 0 || !landlock, || "no Landlock rules".to_owned());
        // Each path has what some of the caller's rules say together, and no more. Which
        // of them lead to it through links and binds is not looked at.
        let lines = payload.lines();
        let bits = |name: &str, word: usize| u64::from_str_radix(lines.get(name)?.split(' ').nth(word)?, 16).ok();
        for (name, handled) in lines.keys().filter_map(|name| Some((name, bits(name.split_once(" path ")?.0, 0)?))) {
            let given = bits(name, 0).unwrap_or(u64::MAX);
            let rules = spec.landlock.paths.iter();
            let asked = rules.map(|rule| rule.access.iter().fold(0, |all, right| all | right.bits()) & handled);
            let within = asked.filter(|asked| asked & !given == 0).fold(0, |all, asked| all | asked) == given;
            self.unless(within, || format!("{name}: {given:x}"));
        }
    }

    fn descriptors(&mut self, payload: &Process<'_>) {
        let named = |number: i32| {
            (0..=2).contains(&number)
                || self.spec.descriptors.iter().any(|one| i64::from(one.number) == i64::from(number))
        };
        let more: Vec<_> = payload.descriptors().into_iter().filter(|file| !named(file.number)).collect();
        self.unless(more.is_empty(), || format!("descriptors {more:?}"));
        let reachable: Vec<_> =
            payload.descriptors().into_iter().filter(|file| matches!(file.kind, "path" | "tree")).collect();
        self.unless(reachable.is_empty(), || format!("descriptors {reachable:?}"));
    }

    fn namespaces(&mut self, payload: &Process<'_>, host: &Process<'_>) {
        let all = &self.spec.namespaces;
        let wants = |choice: &Namespace| *choice == Namespace::New;
        let user = !matches!(self.spec.user_namespace, UserNamespace::Host | UserNamespace::Auto);
        for (kind, asked) in [
            (Namespaces::MOUNT, true),
            (Namespaces::PID, wants(&all.pid)),
            (Namespaces::IPC, wants(&all.ipc)),
            (Namespaces::UTS, wants(&all.uts)),
            (Namespaces::CGROUP, wants(&all.cgroup)),
            (Namespaces::TIME, wants(&all.time)),
            (Namespaces::NETWORK, self.spec.network == Network::None),
            (Namespaces::USER, user),
        ] {
            let new = payload.namespace(kind) != host.namespace(kind);
            let reported = self.plan.report().of(&format!("namespace {kind}"));
            let said = matches!(reported, Some(Outcome::Applied(how)) if how == "new");
            self.unless(new || !(asked || said), || format!("the caller's namespace: {kind}"));
        }
    }

    fn mounts(&mut self, payload: &Process<'_>, host: &Process<'_>) {
        let of = |process: &Process<'_>| -> Vec<Line> {
            process.mountinfo().iter().filter_map(|line| Line::of(line)).collect()
        };
        let (mounts, outside) = (of(payload), of(host));
        // A machine's root is as a machine's, and its mounts spread within it.
        let machine = self.spec.profile == Profile::Nspawn;
        // A cover of a part of it is that part, but for writing.
        let covers = &self.spec.read_only;
        let root = |line: &Line| {
            let point = Path::new(&line.point);
            machine
                && (line.point == "/"
                    || (self.spec.root.volatile == Volatile::Yes && line.point == "/usr")
                    || (line.has("ro") && covers.iter().any(|cover| cover == point)))
        };
        let within = |line: &Line| {
            machine
                && line.propagates.starts_with("shared:")
                && !outside.iter().any(|other| other.propagates.contains(&line.propagates))
        };
        // What receives from the host gives nothing, and is where the plan says.
        let comes = self.applied(incoming::ITEM);
        let receives = |line: &Line| {
            machine
                && comes
                && Some(line.point.as_str()) == incoming::INCOMING.to_str().ok()
                && line.propagates.strip_prefix("master:").is_some_and(|group| !group.contains(' '))
        };
        // What lies in a machine's tree already comes with it, as it is there.
        let comes_with_tree = |line: &Line, lacks: &str| {
            let there = self.spec.root.path.join(line.point.trim_start_matches('/'));
            let same =
                |other: &Line| (Path::new(&other.point), &other.kind) == (&there, &line.kind) && !other.has(lacks);
            machine && outside.iter().any(same)
        };
        for line in &mounts {
            // A node that is masked, or below a cover of `/dev`, is seen by nobody;
            // and there is no looking at a name that is not text.
            let node = line.is_hidden(&mounts)
                || payload.kind(&line.point) == Some("device")
                || line.point.contains(char::REPLACEMENT_CHARACTER);
            let device = node && (line.point.starts_with("/dev/") || self.is_asked_device(&line.point));
            let excused = |lacks| root(line) || comes_with_tree(line, lacks);
            self.unless(line.has("nosuid") || excused("nosuid"), || format!("{} without nosuid", line.point));
            self.unless(line.has("nodev") || device || line.kind == "devpts" || excused("nodev"), || {
                format!("{} without nodev", line.point)
            });
            self.unless(line.propagates.is_empty() || within(line) || receives(line), || {
                format!("{} is {}", line.point, line.propagates)
            });
        }
        let roots = mounts.iter().filter(|line| line.point == "/").count();
        self.unless(roots == 1, || format!("{roots} roots"));
        let outside = payload.lines().get("mounts outside the root").cloned();
        self.unless(outside.as_deref() == Some("0"), || format!("mounts outside the root: {outside:?}"));
        // Over a point: on which there is no other. What a path is on: the longest.
        let tops: Vec<&Line> = mounts
            .iter()
            .filter(|line| !mounts.iter().any(|over| (&over.point, &over.parent) == (&line.point, &line.id)))
            .collect();
        let at = |path: &Path| {
            let over = tops.iter().filter(|line| path.starts_with(&line.point));
            over.max_by_key(|line| Path::new(&line.point).components().count())
        };
        let root = &self.spec.root;
        if root.is_closed() {
            let closed = at(Path::new("/")).is_some_and(|line| line.has("ro"));
            self.unless(closed, || "/ can be written".to_owned());
        }
        for mount in &self.spec.mounts {
            // Whether it is closed, without programs, and without links.
            let asked = match &mount.kind {
                MountKind::Bind(bind) => [bind.read_only, bind.noexec, bind.nosymfollow],
                MountKind::Tmpfs(tmpfs) => [tmpfs.read_only, tmpfs.noexec, tmpfs.nosymfollow],
                MountKind::Overlay(overlay) => [overlay.read_only, overlay.noexec, false],
                _ => continue,
            };
            let alone = self.spec.mounts.iter().filter(|other| other.target == mount.target).count() == 1;
            let Some(line) = tops.iter().find(|line| alone && mount.target == Path::new(&line.point)) else { continue };
            for (flag, _) in ["ro", "noexec", "nosymfollow"].into_iter().zip(asked).filter(|(_, asked)| *asked) {
                self.unless(line.has(flag), || format!("{} without {flag}", mount.target.display()));
            }
        }
        // Links lead elsewhere; and what is beside a plan's word has none.
        let plain = |path: &Path| path.to_str().filter(|text| payload.kind(text) != Some("symlink")).map(str::to_owned);
        for path in self.spec.masked.iter().filter_map(|path| plain(path)) {
            let masked =
                at(Path::new(&path)).is_some_and(|line| line.has("ro") && line.has("noexec") && line.kind == "tmpfs");
            self.unless(masked || payload.kind(&path).is_none(), || format!("{path} is not masked"));
        }
        let open = self.spec.kernel_files == KernelFiles::Writable && machine;
        let proc = mounts.iter().any(|line| line.kind == "proc") && !open;
        for path in
            self.spec.read_only.iter().filter_map(|path| plain(path)).chain(proc.then(|| "/proc/sys".to_owned()))
        {
            let covered = at(Path::new(&path)).is_some_and(|line| line.has("ro"));
            self.unless(covered || payload.kind(&path).is_none(), || format!("{path} can be written"));
        }
    }

    fn is_asked_device(&self, point: &str) -> bool {
        // As a line of mounts has it: in text.
        let is = |mount: &Mount| {
            matches!(mount.kind, MountKind::Device(_))
                && Path::new(&*mount.target.to_string_lossy()) == Path::new(point)
        };
        self.spec.mounts.iter().any(is)
    }

    fn attributes(&mut self, payload: &Process<'_>, host: &Process<'_>) {
        for (resource, asked) in self.spec.limits.iter() {
            let (soft, hard) = asked.raw();
            let fits = payload.limit(resource).is_none_or(|own| own.0 <= soft && own.1 <= hard);
            self.unless(fits, || format!("limit {resource}: {:?}", payload.limit(resource)));
        }
        self.unless(payload.umask() == self.spec.umask & 0o777, || format!("umask {:o}", payload.umask()));
        self.unless(payload.leads_session(), || "the caller's session".to_owned());
        self.unless(payload.signals() == (0, 0), || format!("signals {:?}", payload.signals()));
        let keyring = payload.keyring() != host.keyring();
        self.unless(keyring || !self.applied("keyring"), || "the caller's keyring".to_owned());
        self.unless(payload.working_directory().is_some(), || "a working directory outside".to_owned());
    }

    fn init(&mut self, init: &Process<'_>, payload: &Process<'_>) {
        let (own, other) = (init.credentials(), payload.credentials());
        let bounding = self.spec.capabilities.bounding.0;
        let less = [own.bounding, own.permitted, own.effective, own.inheritable, own.ambient];
        self.unless(less.iter().all(|set| bounding.contains(*set)), || format!("stub init: {own:?}"));
        self.unless(own.no_new_privs && !own.dumpable && own.filters > 0, || format!("stub init: {own:?}"));
        self.unless((own.uid, own.gid) == (other.uid, other.gid), || format!("stub init: {:?} {:?}", own.uid, own.gid));
        let groups = own.groups.iter().all(|group| other.groups.contains(group));
        self.unless(groups, || format!("stub init: groups {:?}", own.groups));
        let kinds: Vec<_> = init.descriptors().into_iter().map(|file| file.kind).collect();
        let known = kinds.len() <= 2 && kinds.iter().all(|kind| matches!(*kind, "socketpair" | "signalfd"));
        self.unless(known, || format!("stub init: {kinds:?}"));
    }
}

/// Without the escapes of mountinfo: a backslash and three octal digits.
fn unmangled(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        whole.extend(u8::from_str_radix(digits, 8).ok().map(char::from));
        whole += rest;
    }
    whole
}

/// A line of `/proc/PID/mountinfo`.
struct Line {
    id: String,
    parent: String,
    point: String,
    flags: Vec<String>,
    propagates: String,
    kind: String,
}

impl Line {
    fn of(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut words = before.split(' ').map(str::to_owned);
        let (id, parent) = (words.next()?, words.next()?);
        let mut words = words.skip(2);
        let (point, flags) = (unmangled(&words.next()?), words.next()?);
        let flags = flags.split(',').map(str::to_owned).collect();
        let kind = after.split(' ').next()?.to_owned();
        Some(Self { id, parent, point, flags, propagates: words.collect::<Vec<_>>().join(" "), kind })
    }

    /// Whether something lies over it, or over what it lies on.
    fn is_hidden(&self, all: &[Self]) -> bool {
        let mut line = Some(self);
        // No loops: what it lies on is older.
        while let Some(at) = line {
            let on_top = |over: &Self| over.parent == at.id && over.point == at.point;
            let above = |over: &Self| over.parent == at.parent && over.point != at.point;
            if all.iter().any(|over| (on_top(over) || above(over)) && Path::new(&at.point).starts_with(&over.point)) {
                return true;
            }
            line = all.iter().find(|below| below.id == at.parent && below.id != at.id);
        }
        false
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|one| one == flag)
    }
}
