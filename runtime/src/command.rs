//! The builder, in the manner of [`std::process::Command`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use skep_sys::abi::{Namespaces, Resource};
use skep_sys::{Linux, Slot};

use crate::cancel::Cancel;
use crate::compile::compile;
use crate::container::{Container, Output};
use crate::created::Created;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Facts;
use crate::plan::{Plan, role};
use crate::run::{self, Held, Limits};
use crate::spec::{
    Bind, CapabilityList, CpuLimit, Denial, Descriptor, Device, Family, File, FileAccess, HostName, Hosts, IdMap, Init,
    IoLimit, IoPriority, Landlock, Limit, MachineName, Mount, MountKind, Namespace, NamespaceChoice, Network,
    NumberList, Origin, Overlay, PathRule, Personality, Profile, Readiness, ResolvConf, SchedulingPolicy, Secret,
    SecretFile, Socket, Spec, Stream, TerminalSize, TimeOffsets, Timezone, Tmpfs, User, UserNamespace, Volatile, Want,
};
use crate::status::ExitStatus;
use crate::verify::verify;
use crate::watcher;

/// What one of the payload's standard streams is, as [`std::process::Stdio`]: a
/// `File` or an `OwnedFd` becomes one by `into`. What is given so can be opened
/// again by the payload with other modes, where its ids allow that.
#[derive(Debug)]
pub struct Stdio(Source);

#[derive(Debug)]
enum Source {
    Null,
    Piped,
    Inherit,
    Given(OwnedFd),
    Terminal,
}

impl Stdio {
    /// `/dev/null`: the default. Nothing to read, and what is written is lost.
    #[must_use]
    pub const fn null() -> Self {
        Self(Source::Null)
    }

    /// A pipe, whose other end the [`Container`] holds.
    #[must_use]
    pub const fn piped() -> Self {
        Self(Source::Piped)
    }

    /// The embedder's own stream.
    ///
    /// **Careful:** the payload can open such a file again with other modes,
    /// and a terminal lets it put input into your shell. Never the default.
    #[must_use]
    pub const fn inherit() -> Self {
        Self(Source::Inherit)
    }

    /// The container's own terminal, which [`Command::terminal`] asks for.
    #[must_use]
    pub const fn terminal() -> Self {
        Self(Source::Terminal)
    }

    /// What a plan has to know of it.
    pub(crate) const fn stream(&self) -> Stream {
        match self.0 {
            Source::Null => Stream::Null,
            Source::Piped => Stream::Piped,
            Source::Inherit | Source::Given(_) => Stream::Given,
            Source::Terminal => Stream::Terminal,
        }
    }

    pub(crate) fn pipe_if_null(&mut self) {
        if matches!(self.0, Source::Null) {
            *self = Self::piped();
        }
    }
}

impl From<OwnedFd> for Stdio {
    fn from(file: OwnedFd) -> Self {
        Self(Source::Given(file))
    }
}

impl From<std::fs::File> for Stdio {
    fn from(file: std::fs::File) -> Self {
        Self(Source::Given(file.into()))
    }
}

/// A builder of containers.
///
/// The defaults are those of profile `strict` (see [`Spec`]). The order of the
/// calls does not matter, except that of arguments.
///
/// ```no_run
/// let output = skep::Command::new("id").output()?;
/// assert!(output.status.success());
/// # Ok::<(), skep::Error>(())
/// ```
#[derive(Debug)]
pub struct Command {
    spec: Spec,
    stdio: [Stdio; 3],
    /// By the number inside.
    descriptors: BTreeMap<u32, OwnedFd>,
    /// Namespaces that are given, by their slots.
    joins: Vec<(Slot, OwnedFd)>,
    deadline: Option<Duration>,
    cancel: Option<Cancel>,
    before_start: BeforeStart,
}

/// What the embedder does with a container that is made.
#[derive(Default)]
struct BeforeStart(Option<Box<Prepare>>);

type Prepare = dyn FnMut(&Created) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> + Send;

impl std::fmt::Debug for BeforeStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "BeforeStart(..)" } else { "BeforeStart" })
    }
}

impl From<Spec> for Command {
    fn from(spec: Spec) -> Self {
        let stdio = spec.stdio.map(|stream| match stream {
            Stream::Null => Stdio::null(),
            Stream::Piped => Stdio::piped(),
            Stream::Given => Stdio::inherit(),
            Stream::Terminal => Stdio::terminal(),
        });
        Self {
            spec,
            stdio,
            descriptors: BTreeMap::new(),
            joins: Vec::new(),
            deadline: Some(DEADLINE),
            cancel: None,
            before_start: BeforeStart::default(),
        }
    }
}

/// A start that takes longer than this has hung.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

impl Command {
    /// A container that runs `program`. Without a slash it is looked up in the
    /// container's `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(Profile::Strict, program)
    }

    /// As [`Command::new`], with the defaults of another profile.
    pub fn of(profile: Profile, program: impl AsRef<OsStr>) -> Self {
        Self::from(Spec { command: vec![program.as_ref().to_owned()], ..Spec::of(profile) })
    }

    fn set(&mut self, field: impl Into<String>, call: &'static str) -> &mut Spec {
        self.spec.origins.note(field, Origin::Call(call));
        &mut self.spec
    }

    /// Adds an argument. It is passed as it is: no shell reads it. One that holds
    /// a NUL byte fails the start.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.spec.command.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments, after those that there are.
    pub fn args<A: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = A>) -> &mut Self {
        self.spec.command.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. The embedder's own are never inherited.
    pub fn env(&mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> &mut Self {
        let name = name.into();
        let value = Secret::new(value.as_ref());
        self.set(format!("environment.{name}"), "Command::env").environment.insert(name, value);
        self
    }

    /// Sets the name; made up otherwise.
    pub fn machine(&mut self, name: MachineName) -> &mut Self {
        self.set("machine", "Command::machine").machine = Some(name);
        self
    }

    /// Sets the hostname; the name otherwise.
    pub fn hostname(&mut self, name: HostName) -> &mut Self {
        self.set("hostname", "Command::hostname").hostname = Some(name);
        self
    }

    /// Takes a directory for the root, writable. Combine with
    /// [`Command::read_only`] or [`Command::ephemeral`].
    pub fn root(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let spec = self.set("root", "Command::root");
        spec.root.path = path.into();
        if spec.root.volatile == Volatile::Yes {
            spec.root.volatile = Volatile::No;
        }
        self
    }

    /// Mounts the root read-only, with everything below. Mount points must exist
    /// then; `/tmp`, `/run` and your own mounts are as writable as ever.
    pub fn read_only(&mut self, on: bool) -> &mut Self {
        self.set("root.read_only", "Command::read_only").root.read_only = on;
        self
    }

    /// Throws changes to the root away: they go to memory, over the tree
    /// (overlayfs). As an ordinary user not over the host's own root.
    pub fn ephemeral(&mut self, on: bool) -> &mut Self {
        self.set("root.ephemeral", "Command::ephemeral").root.ephemeral = on;
        self
    }

    /// Binds a path of the host, read-only with everything below it.
    pub fn bind_ro(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), ..Bind::default() }))
    }

    /// Binds a path of the host, writable where its own permissions allow it.
    pub fn bind(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), read_only: false, ..Bind::default() }))
    }

    /// Mounts an empty file system in memory.
    pub fn tmpfs(&mut self, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Tmpfs(Tmpfs::default()))
    }

    /// As [`Command::bind_ro`], left out where the source does not exist; the
    /// report then says so.
    pub fn bind_ro_try(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), optional: true, ..Bind::default() }))
    }

    /// Binds a path of the host so that id *n* on disk is id *n* inside, and
    /// the container's root may write what host root may: see [`IdMap`] for
    /// what that means. Root only.
    pub fn bind_idmapped(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        let bind = Bind { source: source.into(), read_only: false, id_map: IdMap::IdMap, ..Bind::default() };
        self.mount(target, MountKind::Bind(bind))
    }

    /// Mounts directories of the host as one, the bottom first. What is written
    /// is thrown away; [`Overlay`] says more.
    pub fn overlay<P: Into<PathBuf>>(
        &mut self,
        lower: impl IntoIterator<Item = P>,
        target: impl Into<PathBuf>,
    ) -> &mut Self {
        let lower = lower.into_iter().map(Into::into).collect();
        self.mount(target, MountKind::Overlay(Overlay { lower, ..Overlay::default() }))
    }

    /// Keeps what is written to an ephemeral root in a directory of the host,
    /// in the form of overlayfs.
    pub fn keep_changes(&mut self, upper: impl Into<PathBuf>) -> &mut Self {
        self.set("root.upper", "Command::keep_changes").root.upper = Some(upper.into());
        self
    }

    /// Gives a device node of the host, to be read and written, at the same
    /// path inside.
    pub fn device(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let path = path.into();
        self.mount(path.clone(), MountKind::Device(Device::new(path)))
    }

    /// Puts a file with this content at a path, read-only.
    pub fn file(&mut self, target: impl Into<PathBuf>, content: impl AsRef<OsStr>) -> &mut Self {
        self.mount(target, MountKind::File(File::new(content.as_ref())))
    }

    /// Puts a file that only the payload's user can read at a path: see
    /// [`SecretFile`].
    pub fn secret_file(&mut self, target: impl Into<PathBuf>, content: impl AsRef<OsStr>) -> &mut Self {
        self.mount(target, MountKind::Secret(SecretFile::new(content.as_ref())))
    }

    /// Passes a credential: a file of the directory that
    /// `$CREDENTIALS_DIRECTORY` names, readable for the payload's user alone.
    pub fn credential(&mut self, name: impl Into<String>, content: impl AsRef<OsStr>) -> &mut Self {
        let name = name.into();
        let content = Secret::new(content.as_ref());
        self.set(format!("credentials.{name}"), "Command::credential").credentials.insert(name, content);
        self
    }

    /// Sets what `/etc/resolv.conf` is inside; [`ResolvConf::Auto`] otherwise.
    /// Nothing is written into the tree.
    pub fn resolv_conf(&mut self, mode: ResolvConf) -> &mut Self {
        self.set("resolv_conf", "Command::resolv_conf").resolv_conf = mode;
        self
    }

    /// Sets what `/etc/localtime` is inside; the tree's otherwise. Nothing is
    /// written into the tree.
    pub fn timezone(&mut self, mode: Timezone) -> &mut Self {
        self.set("timezone", "Command::timezone").timezone = mode;
        self
    }

    /// Sets what `/etc/hosts` is inside; the tree's otherwise. Nothing is written
    /// into the tree.
    pub fn hosts(&mut self, mode: Hosts) -> &mut Self {
        self.set("hosts", "Command::hosts").hosts = mode;
        self
    }

    /// Whether a file with the hostname lies over `/etc/hostname`.
    pub fn hostname_file(&mut self, on: bool) -> &mut Self {
        self.set("hostname_file", "Command::hostname_file").hostname_file = on;
        self
    }

    /// Sets how much a closed list of devices is wanted of the container's
    /// cgroup.
    pub fn device_policy(&mut self, want: Want) -> &mut Self {
        self.set("device_policy", "Command::device_policy").device_policy = want;
        self
    }

    /// Mounts anything that a Spec can say.
    pub fn mount(&mut self, target: impl Into<PathBuf>, kind: MountKind) -> &mut Self {
        let target = target.into();
        let field = format!("mounts.{}", target.display());
        self.set(field, "Command::mount").mounts.push(Mount { target, kind });
        self
    }

    /// Masks a path: it reads as empty inside.
    pub fn mask(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let path = path.into();
        self.set(format!("masked.{}", path.display()), "Command::mask").masked.push(path);
        self
    }

    /// Chooses the user namespace, and so whose ids the payload has outside.
    /// [`UserNamespace::Auto`] otherwise: your own id for an ordinary user, a free
    /// range for root.
    pub fn user_namespace(&mut self, choice: UserNamespace) -> &mut Self {
        self.set("user_namespace", "Command::user_namespace").user_namespace = choice;
        self
    }

    /// Chooses the network; a namespace of its own with `lo` alone otherwise.
    /// **Careful:** with [`Network::Host`] the payload reaches every service of the
    /// host, those on `127.0.0.1` and on abstract sockets too. The report says so.
    pub fn network(&mut self, network: Network) -> &mut Self {
        self.set("network", "Command::network").network = network;
        self
    }

    /// Chooses the namespaces that have no method of their own.
    pub fn namespaces(&mut self, choice: NamespaceChoice) -> &mut Self {
        self.set("namespaces", "Command::namespaces").namespaces = choice;
        self
    }

    /// Enters a namespace that this program holds: a network, ipc, uts, cgroup,
    /// pid or time namespace, as [`Namespace::Path`] says. The kernel is asked
    /// what the descriptor is before it is used. A later call for the same kind
    /// wins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] for a kind that cannot be joined.
    pub fn join(&mut self, kind: Namespaces, namespace: OwnedFd) -> Result<&mut Self> {
        let choice = &mut self.spec.namespaces;
        let (place, field) = match kind {
            Namespaces::NETWORK => (0, "network"),
            Namespaces::IPC => (1, "namespaces.ipc"),
            Namespaces::UTS => (2, "namespaces.uts"),
            Namespaces::CGROUP => (3, "namespaces.cgroup"),
            Namespaces::PID => (4, "namespaces.pid"),
            Namespaces::TIME => (5, "namespaces.time"),
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    format!("a namespace of kind {other} cannot be joined"),
                )
                .remedy("One kind, and not user or mount, whose namespaces are always the container's own."));
            }
        };
        match place {
            0 => self.spec.network = Network::Given,
            1 => choice.ipc = Namespace::Given,
            2 => choice.uts = Namespace::Given,
            3 => choice.cgroup = Namespace::Given,
            4 => choice.pid = Namespace::Given,
            _ => choice.time = Namespace::Given,
        }
        self.spec.origins.note(field, Origin::Call("Command::join"));
        self.joins.retain(|(slot, _)| *slot != role::JOINS[place]);
        self.joins.push((role::JOINS[place], namespace));
        Ok(self)
    }

    /// Makes a time namespace whose clocks are ahead by these seconds.
    pub fn time_offsets(&mut self, offsets: TimeOffsets) -> &mut Self {
        let choice = &mut self.set("namespaces.time_offsets", "Command::time_offsets").namespaces;
        (choice.time, choice.time_offsets) = (Namespace::New, offsets);
        self
    }

    /// Who the payload is, inside; root otherwise. The ids must be mapped by the
    /// user namespace.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.set("user", "Command::user").user = user;
        self
    }

    /// Adds supplementary groups, by ids inside; none otherwise. They must be
    /// mapped, and an ordinary user with one id has no say in them
    /// (`user_namespaces(7)`).
    pub fn groups(&mut self, groups: impl IntoIterator<Item = u32>) -> &mut Self {
        self.set("groups", "Command::groups").groups.extend(groups);
        self
    }

    /// What the bounding set keeps: all that any process of the container can
    /// ever hold, and what a payload that is root holds. None otherwise.
    ///
    /// They count for what the user namespace owns, not for the host; without
    /// one ([`UserNamespace::Host`]) they are the host's. With `CAP_SYS_ADMIN`
    /// the payload can lift masks; the report says so.
    pub fn capabilities(&mut self, bounding: CapabilityList) -> &mut Self {
        self.set("capabilities.bounding", "Command::capabilities").capabilities.bounding = bounding;
        self
    }

    /// What a payload that is not root holds and passes on (`capabilities(7)`,
    /// "ambient"). Part of [`Command::capabilities`], or the start fails.
    pub fn ambient(&mut self, ambient: CapabilityList) -> &mut Self {
        self.set("capabilities.ambient", "Command::ambient").capabilities.ambient = ambient;
        self
    }

    /// Lets an exec raise privileges again (`PR_SET_NO_NEW_PRIVS`). Every mount
    /// of a plan is `nosuid` all the same, so set-id bits and file capabilities
    /// stay without effect; what is left is what root gains by an exec, never
    /// above the bounding set. The report says so.
    pub fn danger_new_privileges(&mut self) -> &mut Self {
        self.set("no_new_privileges", "Command::danger_new_privileges").no_new_privileges = false;
        self
    }

    /// Leaves the system-call filter out: every call of the kernel can be made,
    /// with what rights the payload has. The report says so.
    pub fn danger_no_filter(&mut self) -> &mut Self {
        self.set("seccomp", "Command::danger_no_filter").seccomp = Want::Off;
        self
    }

    /// Allows system calls beside those of the filter, by name or by group such
    /// as `@mount`: see [`SystemCalls::allow`](crate::spec::SystemCalls::allow).
    pub fn allow_system_calls<I: Into<String>>(&mut self, items: impl IntoIterator<Item = I>) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.allow.{item}"), "Command::allow_system_calls")
                .system_calls
                .allow
                .insert(item);
        }
        self
    }

    /// Allows one system call whatever its arguments, also one that has led out
    /// of containers. The report and the audit name it.
    pub fn danger_allow_system_call(&mut self, name: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.set(format!("system_calls.danger_allow.{name}"), "Command::danger_allow_system_call")
            .system_calls
            .danger_allow
            .insert(name);
        self
    }

    /// Refuses system calls, by name or by group, whatever else allows them.
    pub fn deny_system_calls<I: Into<String>>(
        &mut self,
        items: impl IntoIterator<Item = I>,
        answer: Denial,
    ) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.deny.{item}"), "Command::deny_system_calls")
                .system_calls
                .deny
                .insert(item, answer);
        }
        self
    }

    /// Has calls wait for an answer of whoever holds [`Container::listener`], by
    /// name or by group: see
    /// [`SystemCalls::notify`](crate::spec::SystemCalls::notify).
    pub fn notify_system_calls<I: Into<String>>(&mut self, items: impl IntoIterator<Item = I>) -> &mut Self {
        for item in items {
            let item = item.into();
            self.set(format!("system_calls.notify.{item}"), "Command::notify_system_calls")
                .system_calls
                .notify
                .insert(item);
        }
        self
    }

    /// Sets what Landlock keeps from the payload. Without a call only the abstract
    /// sockets of the host are kept, where its network is shared; see
    /// [`Landlock`].
    pub fn landlock(&mut self, rules: Landlock) -> &mut Self {
        self.set("landlock", "Command::landlock").landlock = rules;
        self
    }

    /// Requires that Landlock restricts files, and allows this at a path inside
    /// and below. What no rule allows is refused with `EACCES`; a program needs
    /// [`FileAccess::Execute`] and [`FileAccess::Read`], its libraries the second.
    pub fn landlock_path(
        &mut self,
        path: impl Into<PathBuf>,
        access: impl IntoIterator<Item = FileAccess>,
    ) -> &mut Self {
        let rule = PathRule::new(path, access);
        let rules = &mut self.set(format!("landlock.paths.{}", rule.path.display()), "Command::landlock_path").landlock;
        rules.paths.push(rule);
        if rules.files == Want::Off {
            rules.files = Want::Require;
        }
        self
    }

    /// Leaves only these families of sockets; without any, none.
    pub fn socket_families(&mut self, families: impl IntoIterator<Item = Family>) -> &mut Self {
        let sockets = &mut self.set("system_calls.sockets", "Command::socket_families").system_calls.sockets;
        sockets.only = Some(families.into_iter().collect());
        self
    }

    /// Allows sockets that the profile refuses: of a family, or one protocol.
    pub fn danger_allow_socket(&mut self, socket: impl Into<Socket>) -> &mut Self {
        let sockets = &mut self.set("system_calls.sockets", "Command::danger_allow_socket").system_calls.sockets;
        sockets.danger_allow.insert(socket.into());
        self
    }

    /// Sets whether memory can never be both written and executed
    /// (`PR_SET_MDWE`, Linux 6.3); off otherwise, for programs that make code as
    /// they run need it.
    pub fn memory_deny_write_execute(&mut self, want: Want) -> &mut Self {
        self.set("memory_deny_write_execute", "Command::memory_deny_write_execute").memory_deny_write_execute = want;
        self
    }

    /// Sets how much a session keyring of the container's own is wanted; if
    /// supported otherwise. Without one, the caller's keys are in reach of the
    /// payload.
    pub fn keyring(&mut self, want: Want) -> &mut Self {
        self.set("keyring", "Command::keyring").keyring = want;
        self
    }

    /// Sets the only processors that the payload runs on; the caller's otherwise. One
    /// that is not there fails the start.
    pub fn cpu_affinity(&mut self, cpus: NumberList) -> &mut Self {
        self.set("scheduling.affinity", "Command::cpu_affinity").scheduling.affinity = Some(cpus);
        self
    }

    /// Sets the scheduling policy; the caller's otherwise. Real time takes
    /// `CAP_SYS_NICE`, or the caller's limit RTPRIO.
    pub fn scheduling_policy(&mut self, policy: SchedulingPolicy) -> &mut Self {
        self.set("scheduling.policy", "Command::scheduling_policy").scheduling.policy = Some(policy);
        self
    }

    /// Sets the nice value, from -20 to 19; the caller's otherwise. Below that takes
    /// `CAP_SYS_NICE`, or the caller's limit NICE.
    pub fn nice(&mut self, nice: i8) -> &mut Self {
        self.set("scheduling.nice", "Command::nice").scheduling.nice = Some(nice);
        self
    }

    /// Sets the priority of requests to disks; the caller's otherwise.
    pub fn io_priority(&mut self, priority: IoPriority) -> &mut Self {
        self.set("scheduling.io", "Command::io_priority").scheduling.io = Some(priority);
        self
    }

    /// Sets a sysctl, by name as `sysctl(8)` writes it, that one of the container's
    /// own namespaces has: `net.*`, `kernel.shm*`, `kernel.msg*`, `kernel.sem`,
    /// `fs.mqueue.*`. Every other fails the start.
    pub fn sysctl(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.set(format!("sysctls.{name}"), "Command::sysctl").sysctls.insert(name, value.into());
        self
    }

    /// Whether other processes of this user can find the container by its name:
    /// see [`crate::find`]. Off otherwise, and nothing is on disk. While such a
    /// container lives, a watcher stands by to take the entry away.
    pub fn register(&mut self, want: Want) -> &mut Self {
        self.set("register", "Command::register").register = want;
        self
    }

    /// Sets what `uname(2)` says that the machine is; what it is otherwise. One that
    /// this machine cannot be fails the start.
    pub fn personality(&mut self, personality: Personality) -> &mut Self {
        self.set("personality", "Command::personality").personality = personality;
        self
    }

    /// Sets which process the kernel kills first when memory runs out, from -1000
    /// (never) to 1000; the caller's own otherwise. Below that only with
    /// `CAP_SYS_RESOURCE`, or the start fails.
    pub fn oom_score_adjust(&mut self, score: i16) -> &mut Self {
        self.set("oom_score_adjust", "Command::oom_score_adjust").oom_score_adjust = Some(score);
        self
    }

    /// Sets a resource limit of each process (`setrlimit(2)`), in the unit of that
    /// page. Those that are not set are the profile's. One above the caller's own
    /// hard limit fails the start.
    pub fn limit(&mut self, resource: Resource, limit: Limit) -> &mut Self {
        self.set(format!("limits.{resource}"), "Command::limit").limits.set(resource, limit);
        self
    }

    /// Limits memory of the container as a whole, in bytes, by cgroup. Where
    /// there is no cgroup for this caller the start fails with
    /// [`ErrorKind::Unsupported`]. Above it the kernel kills, which
    /// [`ExitStatus::out_of_memory`] tells.
    pub fn memory(&mut self, bytes: u64) -> &mut Self {
        self.set("resources.memory", "Command::memory").resources.memory = Some(bytes);
        self
    }

    /// Limits processor time to `quota` in every `period` microseconds, of the
    /// container as a whole, by cgroup: as [`Command::memory`] where there is
    /// none. Two processors are twice the period.
    pub fn cpu(&mut self, quota: u64, period: u64) -> &mut Self {
        self.set("resources.cpu", "Command::cpu").resources.cpu = Some(CpuLimit { quota, period });
        self
    }

    /// Limits processes and threads of the container as a whole, by cgroup: as
    /// [`Command::memory`] where there is none. 4096 otherwise, by whatever can
    /// count them.
    pub fn pids(&mut self, count: u64) -> &mut Self {
        self.set("resources.pids", "Command::pids").resources.pids = Some(count);
        self
    }

    /// Limits swap, in bytes, beside the memory; without this a container with a
    /// limit on memory has none.
    pub fn swap(&mut self, bytes: u64) -> &mut Self {
        self.set("resources.swap", "Command::swap").resources.swap = Some(bytes);
        self
    }

    /// Weighs its processor time against that of others, 1 to 10000; 100
    /// otherwise.
    pub fn cpu_weight(&mut self, weight: u64) -> &mut Self {
        self.set("resources.cpu_weight", "Command::cpu_weight").resources.cpu_weight = Some(weight);
        self
    }

    /// Lets it use these processors only.
    pub fn cpuset_cpus(&mut self, cpus: NumberList) -> &mut Self {
        self.set("resources.cpuset_cpus", "Command::cpuset_cpus").resources.cpuset_cpus = Some(cpus);
        self
    }

    /// Limits reading from and writing to a block device.
    pub fn io(&mut self, limit: IoLimit) -> &mut Self {
        self.set("resources.io", "Command::io").resources.io.push(limit);
        self
    }

    /// Whether it can be paused ([`Container::pause`]).
    pub fn freezing(&mut self, want: Want) -> &mut Self {
        self.set("resources.freezing", "Command::freezing").resources.freezing = want;
        self
    }

    /// Gives the container's root its cgroup, to make others below: see
    /// [`Resources`](crate::spec::Resources).
    pub fn delegate(&mut self, on: bool) -> &mut Self {
        self.set("resources.delegate", "Command::delegate").resources.delegate = on;
        self
    }

    /// Sets the file mode creation mask, at most 0o777; 0o022 otherwise.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.set("umask", "Command::umask").umask = mask;
        self
    }

    /// Sets the working directory, inside; `/` otherwise. It must exist, and the
    /// payload's user must be allowed to enter it.
    pub fn current_dir(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.set("working_directory", "Command::current_dir").working_directory = path.into();
        self
    }

    /// Makes the command process 1 itself, or puts it under the stub init.
    pub fn init(&mut self, init: Init) -> &mut Self {
        self.set("init", "Command::init").init = init;
        self
    }

    /// When the container counts as ready.
    pub fn readiness(&mut self, readiness: Readiness) -> &mut Self {
        self.set("readiness", "Command::readiness").readiness = readiness;
        self
    }

    /// Gives the payload a terminal of its own, of this size, for all three
    /// streams; [`Container::terminal`] is its other end. A stream that is set
    /// afterwards is something else again.
    pub fn terminal(&mut self, rows: u16, columns: u16) -> &mut Self {
        self.set("terminal", "Command::terminal").terminal = Some(TerminalSize::new(rows, columns));
        self.stdio = [Stdio::terminal(), Stdio::terminal(), Stdio::terminal()];
        self
    }

    /// Sets standard input; `/dev/null` otherwise.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = stdio.into();
        self
    }

    /// Sets standard output; `/dev/null` otherwise, and a pipe for
    /// [`Command::output`].
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = stdio.into();
        self
    }

    /// Sets standard error; as [`Command::stdout`].
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = stdio.into();
        self
    }

    /// Passes a descriptor: the payload has it under this number, from 3 on. It
    /// gets a duplicate, so that the command can be started again.
    ///
    /// See [`Descriptor`] for what that means; a directory is refused by the
    /// start. A number that was passed before is replaced.
    pub fn fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        self.pass(Descriptor::new(number), file.into(), "Command::fd")
    }

    /// As [`Command::fd`], of a directory or of what was opened with `O_PATH`.
    ///
    /// **Danger:** the payload reaches the host's tree by it, `..` included.
    /// The report says so.
    pub fn danger_directory_fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        let descriptor = Descriptor { danger_directory: true, ..Descriptor::new(number) };
        self.pass(descriptor, file.into(), "Command::danger_directory_fd")
    }

    /// Passes sockets as a service manager does: under the numbers from 3 on,
    /// with `$LISTEN_FDS` and `$LISTEN_PID` (`sd_listen_fds(3)`).
    pub fn listen_fds<F: Into<OwnedFd>>(&mut self, files: impl IntoIterator<Item = F>) -> &mut Self {
        for (number, file) in (3..).zip(files) {
            let descriptor = Descriptor { listen: true, ..Descriptor::new(number) };
            self.pass(descriptor, file.into(), "Command::listen_fds");
        }
        self
    }

    fn pass(&mut self, descriptor: Descriptor, file: OwnedFd, call: &'static str) -> &mut Self {
        let all = &mut self.set("descriptors", call).descriptors;
        all.retain(|other| other.number != descriptor.number);
        all.push(descriptor);
        self.descriptors.insert(descriptor.number, file);
        self
    }

    /// How long the start itself may take; one minute otherwise. The thread
    /// that starts waits no longer, and what had been made is taken back.
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// Lets `cancel` end a start, from any thread or signal handler.
    pub fn cancel_with(&mut self, cancel: &Cancel) -> &mut Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Calls `prepare` in every start, in this process and thread, when the
    /// container is made and before its payload is started: to move a network
    /// interface into it, for instance. Where it fails, nothing is started,
    /// all is taken back, and its error is the source of the start's.
    ///
    /// The deadline stands still meanwhile.
    ///
    /// ```no_run
    /// use skep::sys::abi::Namespaces;
    ///
    /// let mut command = skep::Command::new("true");
    /// command.before_start(|created| {
    ///     let network = created.namespace(Namespaces::NETWORK)?;
    ///     // … give it an interface …
    ///     drop(network);
    ///     Ok(())
    /// });
    /// command.spawn()?;
    /// # Ok::<(), skep::Error>(())
    /// ```
    pub fn before_start<F>(&mut self, prepare: F) -> &mut Self
    where
        F: FnMut(&Created) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        self.before_start = BeforeStart(Some(Box::new(prepare)));
        self
    }

    /// What has been asked for so far.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let mut spec = self.spec.clone();
        for (stream, stdio) in spec.stdio.iter_mut().zip(&self.stdio) {
            *stream = stdio.stream();
        }
        spec
    }

    /// What has been asked for, to change it in ways for which there is no
    /// method. `stdio` is what the methods say.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }

    /// The plan that [`Command::spawn`] would run now, verified. Starts nothing.
    ///
    /// # Errors
    ///
    /// As [`compile`] and [`verify`].
    pub fn plan(&self) -> Result<Plan> {
        let spec = self.spec();
        let plan = compile(&spec, &Facts::gather(&spec)?)?;
        Ok(verify(plan)?.plan().clone())
    }

    /// Starts the container and returns once the payload has been executed.
    ///
    /// Safe from any thread: nothing process-wide changes, and the child never
    /// runs a handler, destructor or allocation of this program. It blocks for
    /// the one to five milliseconds of a start, and at most for the deadline.
    ///
    /// # Errors
    ///
    /// What went wrong, where it was asked for, and what to do. A start that
    /// fails leaves nothing behind.
    pub fn spawn(&mut self) -> Result<Container> {
        if self.before_start.0.is_some() {
            return self.create()?.start();
        }
        Container::new(self.half(self.spec())?.start()?)
    }

    /// Makes the container and does not start its payload yet.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn create(&mut self) -> Result<Created> {
        let mut spec = self.spec();
        spec.hold = true;
        let created = Created::new(self.half(spec)?)?;
        if let BeforeStart(Some(prepare)) = &mut self.before_start
            && let Err(cause) = prepare(&created)
        {
            let what = format!("before the payload was started: {cause}");
            return Err(Error::new(ErrorKind::Cancelled, what).caused_by(cause).leaving(created.abandon()));
        }
        Ok(created)
    }

    /// The first half of a start; where the plan does not hold the child, the
    /// second follows at once.
    fn half(&self, spec: Spec) -> Result<Held<Linux<'static>>> {
        let mut tries = 0;
        loop {
            let plan = compile(&spec, &Facts::gather(&spec)?)?;
            let verified = verify(plan)?;
            let given = self.given(verified.plan())?;
            let cancel = self.cancel.as_ref().map(Cancel::duplicate).transpose()?;
            match run::create(Linux::new(), verified, given, Limits { deadline: self.deadline, cancel }) {
                Ok(held) => return Ok(held),
                // Another start was faster with the same range; there are more.
                Err(error) if error.kind() == ErrorKind::RangeTaken && picks(&spec) && tries < 16 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts, waits, and gives the status.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Container::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts with piped output, waits, and gives status and output.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Container::wait`].
    pub fn output(&mut self) -> Result<Output> {
        self.pipe_output();
        self.spawn()?.wait_with_output()
    }

    /// Output goes into pipes where nobody has said anything else.
    pub(crate) fn pipe_output(&mut self) {
        for stdio in &mut self.stdio[1..] {
            stdio.pipe_if_null();
        }
    }

    /// The handle of [`Command::cancel_with`].
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel_handle(&self) -> Option<&Cancel> {
        self.cancel.as_ref()
    }

    /// Descriptors that are not made by the plan, by their slots.
    fn given(&self, plan: &Plan) -> Result<Vec<(Slot, OwnedFd)>> {
        let mut given = given_streams(&self.stdio)?;
        for (slot, file) in &self.joins {
            given.push((*slot, copy(file.as_fd())?));
        }
        for passed in &plan.passed {
            let Some(file) = self.descriptors.get(&passed.number) else {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    format!("descriptor {} is to be passed, and nobody gave one", passed.number),
                )
                .from(self.spec.origins.of("descriptors"))
                .remedy("Give it with Command::fd."));
            };
            given.push((passed.slot, copy(file.as_fd())?));
        }
        Ok(given)
    }
}

pub(crate) fn copy(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    file.try_clone_to_owned()
        .map_err(|error| Error::system("duplicate a descriptor for the payload", watcher::errno_of(&error)))
}

/// The streams that are not made by the plan, by their slots.
pub(crate) fn given_streams(stdio: &[Stdio; 3]) -> Result<Vec<(Slot, OwnedFd)>> {
    let mut given = Vec::new();
    for (index, (slot, stdio)) in role::STDIO.into_iter().zip(stdio).enumerate() {
        let file = match &stdio.0 {
            Source::Null | Source::Piped | Source::Terminal => continue,
            Source::Given(file) => copy(file.as_fd())?,
            Source::Inherit => match index {
                0 => copy(std::io::stdin().as_fd())?,
                1 => copy(std::io::stdout().as_fd())?,
                _ => copy(std::io::stderr().as_fd())?,
            },
        };
        given.push((slot, file));
    }
    Ok(given)
}

/// Whether the id range is the library's choice.
fn picks(spec: &Spec) -> bool {
    matches!(spec.user_namespace, UserNamespace::Auto | UserNamespace::Pick)
}
