//! Looking at the host and at the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::FsFlags;
use skep_sys::abi::{CapabilitySet, Resource};

use super::cgroups::Needs;
use super::files::{EntryKind, PathFact, TargetFact, UpperPlace, behind, usr_links};
use super::ranges::{EVERY_ID, free_range, own_ids, subordinate};
use super::tree::Tree;
use super::users::named_user;
use super::{Cgroups, Facts, HostUser, NamedUser, UnifiedGroup};
use crate::error::{Error, ErrorKind, Result};
use crate::profile;
use crate::spec::{
    Device, IdRange, Limit, LinkJournal, MountKind, Namespace, Overlay, Profile, ResolvConf, Resources, Scheduling,
    Spec, Timezone, User, UserNamespace, Want,
};
use crate::stat::Stat;

/// What cannot change while this process lives, looked at once.
#[derive(Clone)]
struct Constant {
    kernel: (u32, u32),
    last_capability: u8,
    keyrings: bool,
    landlock: u64,
}

fn constant() -> &'static Constant {
    static CONSTANT: OnceLock<Constant> = OnceLock::new();
    CONSTANT.get_or_init(|| Constant {
        kernel: kernel_version(&line("/proc/sys/kernel/osrelease")),
        last_capability: number("/proc/sys/kernel/cap_last_cap").unwrap_or(40) as u8,
        keyrings: keyrings(),
        landlock: landlock(),
    })
}

/// Whether keys can be asked about at all: a kernel may lack them, and the filter
/// of a container that this program runs in may keep them from it.
fn keyrings() -> bool {
    use skep_sys::{Kernel as _, Linux, Op, OwnedSlots, Slot};
    let mut slots = OwnedSlots::new(1);
    Linux::new().call(&Op::KeyCapabilities { into: Slot(0) }, &mut slots.slots()).is_ok()
}

/// Whether a path is there. One that cannot be looked at is taken to be: what
/// is left out of a plan for its absence is a mask.
fn may_exist(path: &str) -> bool {
    Path::new(path).try_exists().unwrap_or(true)
}

/// The version of the kernel's Landlock; 0 where there is none, or it is off.
fn landlock() -> u64 {
    use skep_sys::{Kernel as _, Linux, Op, OwnedSlots, Slot};
    let mut slots = OwnedSlots::new(1);
    let asked = Linux::new().call(&Op::LandlockVersion { into: Slot(0) }, &mut slots.slots());
    asked.and_then(|()| slots.slots().value(Slot(0))).unwrap_or(0)
}

const MAX_USER_NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";

/// Where user namespaces were allowed once, the kernel's own answer is soon
/// enough if that changes; where they were not, it is looked at again each time,
/// for somebody may follow the advice.
fn max_user_namespaces() -> u64 {
    static CLEAR: OnceLock<u64> = OnceLock::new();
    if let Some(clear) = CLEAR.get() {
        return *clear;
    }
    let found = number(MAX_USER_NAMESPACES).unwrap_or_else(|| match may_exist(MAX_USER_NAMESPACES) {
        // It cannot be read (for want of a descriptor, say): the kernel will
        // answer.
        true => u64::from(u32::MAX),
        // A kernel without them.
        false => 0,
    });
    if found > 0 {
        let _ = CLEAR.set(found);
    }
    found
}

/// Effective and bounding set of the calling thread. Only a container without
/// a user namespace is bound by the caller's bounding set.
fn capabilities(spec: &Spec, last: u8) -> Result<(CapabilitySet, CapabilitySet)> {
    let read = |kind| {
        caps::read(None, kind)
            .map(|set| set.iter().fold(CapabilitySet::EMPTY, |all, one| all.with(one.index())))
            .map_err(|error| Error::new(ErrorKind::Unsupported, format!("read the caller's capabilities: {error}")))
    };
    let bounding = match spec.user_namespace {
        UserNamespace::Host => read(caps::CapSet::Bounding)?,
        _ => CapabilitySet::up_to(last),
    };
    Ok((read(caps::CapSet::Effective)?, bounding))
}

/// There has to be a procfs, and one of the caller's own process-id namespace:
/// in another's the number of a child is that of somebody else.
fn procfs() -> Result<()> {
    let refuse = |what, remedy| Err(Error::new(ErrorKind::Unsupported, what).remedy(remedy));
    match fs::read_link("/proc/self") {
        Ok(link) if link.to_str() == Some(&std::process::id().to_string()) => Ok(()),
        Ok(_) => refuse(
            "look at the host: /proc is that of another process-id namespace",
            "Mount one of this namespace on /proc: mount -t proc proc /proc (unshare --mount-proc).",
        ),
        Err(_) => refuse("look at the host: there is no /proc", "Skep needs procfs mounted on /proc."),
    }
}

/// Of the next facts.
static SERIAL: AtomicU64 = AtomicU64::new(0);

pub(super) fn gather(spec: &Spec, mounted: Option<PathBuf>) -> Result<Facts> {
    // Before a look at each of a hundred thousand paths.
    crate::compile::bounds(spec)?;
    procfs()?;
    let constant = constant();
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (capabilities, bounding) = capabilities(spec, constant.last_capability)?;
    let (subuid, subgid) = match spec.user_namespace {
        UserNamespace::Subordinate | UserNamespace::Managed => subordinate(uid),
        _ => (None, None),
    };
    let tree = Tree::of(&spec.root, root_of(spec, mounted));
    let nspawn = spec.profile == Profile::Nspawn;
    let host_users = super::users::of_host(&spec.bind_user);
    let named_user = match &spec.user {
        User::Name(name) => named_user(&tree, name),
        User::Ids { .. } => None,
    };
    let mut facts = Facts {
        kernel: constant.kernel,
        uid,
        gid,
        capabilities,
        ids: vec![EVERY_ID],
        foreign_mounts: false,
        bounding,
        last_capability: constant.last_capability,
        max_user_namespaces: max_user_namespaces(),
        restricted_by: None,
        keyrings: constant.keyrings,
        nice: if spec.scheduling == Scheduling::default() { 0 } else { nice() },
        oom_score_adjust: spec.oom_score_adjust.map_or(0, |_| oom_score_adjust()),
        landlock: constant.landlock,
        hard_limits: hard_limits(),
        first_limits: if nspawn { first_limits(&text("/proc/1/limits")) } else { BTreeMap::new() },
        machine_id: nspawn
            .then(|| machine_id(&file_of_tree(&tree, "etc/machine-id")))
            .flatten()
            .map(|id| format!("{id:032x}")),
        os_release: if nspawn { os_release(&text(OS_RELEASE)) } else { BTreeMap::new() },
        fresh_id: if nspawn { fresh_id() } else { String::new() },
        fresh_boot: if nspawn { fresh_id() } else { String::new() },
        // Each time: a module that is loaded brings some of them.
        kernel_paths: profile::kernel_paths().filter(|path| may_exist(path)).collect(),
        cgroups: Cgroups::look(Needs {
            machine: nspawn || spec.resources.delegate,
            legacy: spec.resources != Resources::default()
                || limits_devices(spec)
                || spec.namespaces.pid != Namespace::New,
            cpuset: spec.resources.cpuset_cpus.is_some() || spec.resources.cpuset_mems.is_some(),
        }),
        device_programs: false,
        subuid,
        subgid,
        id_map_helpers: match spec.user_namespace {
            UserNamespace::Subordinate | UserNamespace::Managed => id_map_helpers(),
            _ => None,
        },
        free_range: None,
        range_lock: false,
        paths: paths(spec, &tree, &host_users),
        targets: targets(spec).map(|path| (path.clone(), TargetFact::look(&tree, &path))).collect(),
        contents: etc_sources(spec).map(|path| (PathBuf::from(path), bytes(path))).collect(),
        time_zone: match spec.timezone {
            Timezone::Symlink | Timezone::Auto => fs::read_link(LOCALTIME).ok().and_then(|link| zone_name(&link)),
            _ => None,
        },
        read_only_root: nspawn && is_read_only(tree.of_path()),
        read_only_etc: nspawn && names_etc(spec) && tree.find(Path::new("etc"), false).is_ok_and(is_read_only_at),
        lacking: if nspawn { super::files::lacking(&tree) } else { BTreeMap::new() },
        usr_links: usr_links(&tree),
        journal: None,
        tree_accounts: super::users::of_tree(&tree, spec),
        host_users,
        login: spec.login_shell.then(|| login(spec, &tree, named_user.as_ref())),
        named_user,
        secure_execution: skep_sys::secure_execution(),
        registrar: super::Registrar::default(),
        serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        registry: (spec.register != Want::Off).then(|| super::registry::look(uid)).flatten(),
        bearer: super::Bearer::Nobody,
        network: spec.links.concern_host().then(|| super::NetworkFacts::look(spec)),
        fresh_name: fresh_name(),
        image: None,
    };
    if facts.capable() {
        facts.ids = own_ids(&text("/proc/self/uid_map"));
        facts.foreign_mounts = !facts.has_every_id() && !may_clone_mounts();
    }
    if !facts.privileged() {
        facts.restricted_by = restriction();
    }
    if let Some(id) = journal_id(spec, &facts) {
        let path = super::journal_of(&id);
        let host = machine_id(&text("/etc/machine-id")).map(|id| format!("{id:032x}"));
        let place = super::JournalPlace::look(&path);
        facts.journal = Some(super::JournalFacts { host, place, failed: None });
        facts.paths.insert(path.clone(), PathFact::look(&path));
        facts.targets.insert(path.clone(), TargetFact::look(&tree, &path));
    }
    if let (true, 0, Some(_), Some(machine)) = (nspawn, uid, &facts.registry, &spec.machine) {
        facts.bearer = super::Bearer::look(machine.as_str());
    }
    if facts.registry.is_some() || facts.network.is_some() || facts.cgroups.can_be_made() {
        facts.registrar = super::Registrar::look();
    }
    if facts.privileged() && spec.device_policy != Want::Off && !facts.cgroups.unified.is_empty() {
        facts.device_programs = device_programs();
    }
    if facts.privileged() && spec.user_namespace != UserNamespace::Host {
        facts.range_lock = uid == 0 && may_write_to_run();
        if matches!(spec.user_namespace, UserNamespace::Auto | UserNamespace::Pick | UserNamespace::Managed) {
            // As systemd-nspawn: a tree that has a range keeps it.
            let owner = (spec.profile == Profile::Nspawn).then(|| facts.path(&spec.root.top()).base()).flatten();
            facts.free_range = free_range(owner, spec.machine.as_ref().map(|name| name.as_str()), &facts);
        }
    }
    Ok(facts)
}

/// The id of the machine whose journal somebody wants on the host: that of a Spec may
/// be anything, and it becomes a name in a directory of the host.
fn journal_id(spec: &Spec, facts: &Facts) -> Option<String> {
    let id = crate::compile::machine_id(spec, facts).filter(|_| spec.link_journal != LinkJournal::No)?;
    let digits = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (id.len() == 32 && digits).then_some(id)
}

/// Whether devices are worth a cgroup of their own.
fn limits_devices(spec: &Spec) -> bool {
    spec.device_policy == Want::Require || spec.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Device(_)))
}

/// Loads a program that allows nothing, attaches it nowhere, and lets it go.
fn device_programs() -> bool {
    use skep_sys::{Kernel as _, Linux, Op, OwnedSlots, Slot};
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        let program = crate::compile::device_policy::program(&[]);
        let mut slots = OwnedSlots::new(1);
        let load = Op::BpfDevice { program: skep_sys::wire::Blob(&program), into: Slot(0) };
        Linux::new().call(&load, &mut slots.slots()).is_ok()
    })
}

/// The tree that the container's root is made of, where it can be looked at.
fn root_of(spec: &Spec, mounted: Option<PathBuf>) -> PathBuf {
    match mounted {
        Some(path) => crate::spec::Root { path, ..spec.root.clone() }.top(),
        None => spec.root.top(),
    }
}

/// What is at the paths that a plan for `spec` opens. Those of the tree last:
/// where the caller names one of them too, the stricter look counts.
fn paths(spec: &Spec, tree: &Tree, users: &BTreeMap<String, HostUser>) -> BTreeMap<PathBuf, PathFact> {
    let top = spec.root.top();
    let root = tree.of_path();
    let named = named_paths(spec).map(|path| match path == top {
        true => (PathFact::look(root), path),
        false => (PathFact::look(&path), path),
    });
    let homes = users.values().map(|user| (PathFact::look(&user.home), user.home.clone()));
    let of_tree = tree_paths(spec).map(|path| match path.strip_prefix(&top) {
        Ok(below) => (PathFact::look_in(tree, below), path),
        Err(_) => (PathFact::look(&path), path),
    });
    homes.chain(named).chain(of_tree).map(|(fact, path)| (path, fact)).collect()
}

/// Paths of the host that a plan for `spec` opens.
fn host_paths(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    named_paths(spec).chain(tree_paths(spec))
}

/// Those that the caller names.
fn named_paths(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let binds = spec.mounts.iter().flat_map(|mount| match &mount.kind {
        MountKind::Bind(bind) => vec![bind.of_host(&spec.root)],
        MountKind::Device(Device { source, .. }) => vec![source.clone()],
        MountKind::Overlay(overlay) => {
            let upper = UpperPlace::of_overlay(overlay, &spec.root).map(UpperPlace::paths);
            let lower = overlay.lower.iter().map(|layer| Overlay::of_host(layer, &spec.root).0);
            lower.chain(upper.into_iter().flatten()).collect()
        }
        MountKind::Tmpfs(_) | MountKind::File(_) | MountKind::Secret(_) => Vec::new(),
    });
    let limited = spec.resources.io.iter().map(|limit| limit.device.clone());
    let upper = UpperPlace::of_root(&spec.root).map(UpperPlace::paths);
    let binds = binds.chain(limited).chain(upper.into_iter().flatten()).chain(etc_sources(spec).map(PathBuf::from));
    let proc = (spec.namespaces.pid == Namespace::Host).then(|| PathBuf::from("/proc"));
    let whole = spec.root.pivot.as_ref().map(|_| spec.root.path.clone());
    let more = profile::MORE_NODES.iter().map(|node| Path::new("/dev").join(node.name));
    let more = more.chain([PathBuf::from("/sys"), PathBuf::from(OS_RELEASE)]);
    let more = more.filter(|_| spec.profile == Profile::Nspawn);
    std::iter::once(spec.root.top())
        .chain(spec.root.lower.iter().cloned())
        .chain(whole)
        .chain(binds)
        .chain(proc)
        .chain(more)
}

/// Those that follow from the tree, whose links may be anybody's.
fn tree_paths(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let top = spec.root.top();
    let etc = profile::ETC.iter().map(|path| top.join(path)).collect::<Vec<_>>();
    let covered = spec.masked.iter().chain(&spec.read_only).filter_map(|path| behind(spec, path));
    std::iter::once(top.join("usr")).chain(etc).chain(covered)
}

/// Paths inside the root that a plan for `spec` mounts on.
fn targets(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    spec.mounts
        .iter()
        .map(|mount| mount.target.clone())
        .chain(spec.masked.iter().cloned())
        .chain(spec.read_only.iter().cloned())
        .chain(etc_targets(spec))
        .chain(spec.root.pivot_old.clone())
}

/// What the host is.
pub(crate) const OS_RELEASE: &str = "/etc/os-release";

/// Of `proc_pid_limits(5)`, what a payload gets that takes the first process's.
fn first_limits(text: &str) -> BTreeMap<Resource, Limit> {
    let of = |name: &str, resource| {
        let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace();
        let mut next = || words.next().map(|word| word.parse::<u64>().ok());
        Some((resource, Limit { soft: next()?, hard: next()? }))
    };
    [of("Max processes", Resource::NPROC), of("Max pending signals", Resource::SIGPENDING)]
        .into_iter()
        .flatten()
        .collect()
}

/// The id that a file of `machine-id(5)` holds; none where a first boot is to make one.
pub(super) fn machine_id(text: &str) -> Option<u128> {
    let id = text.trim_end();
    let right = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(id, 16).ok().filter(|id| right && *id != 0)
}

fn os_release(text: &str) -> BTreeMap<&'static str, String> {
    let field = |name: &'static str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        let value = value.trim_matches(['"', '\'']);
        let plain = !value.is_empty() && value.len() < 256 && value.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| (name, value.to_owned()))
    };
    ["ID", "VERSION_ID", "BUILD_ID", "VARIANT_ID"].into_iter().filter_map(field).collect()
}

/// The time zone of the host, and of a container.
pub(crate) const LOCALTIME: &str = "/etc/localtime";

/// Files of the host that files of the container's `/etc` are made of.
fn etc_sources(spec: &Spec) -> impl Iterator<Item = &'static str> {
    let resolv_conf = spec.resolv_conf.of(spec).map(|(source, _)| source);
    let localtime = (!matches!(spec.timezone, Timezone::Off | Timezone::Delete)).then_some(LOCALTIME);
    let hosts = spec.hosts.source();
    resolv_conf.into_iter().chain(localtime).chain(hosts)
}

/// The files of the container's `/etc` that a plan may lie something over.
fn etc_targets(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let wanted = [
        ("/etc/resolv.conf", spec.resolv_conf.is_wanted(spec)),
        (LOCALTIME, spec.timezone != Timezone::Off),
        ("/etc/hosts", spec.hosts != crate::spec::Hosts::Off),
        ("/etc/hostname", spec.hostname_file),
    ];
    wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(path, _)| PathBuf::from(path))
}

/// Whether something in `/etc` of the tree is to be changed by name.
fn names_etc(spec: &Spec) -> bool {
    !matches!(spec.resolv_conf, ResolvConf::Off | ResolvConf::Auto)
        || !matches!(spec.timezone, Timezone::Off | Timezone::Auto)
}

/// Whether nobody can write there: the mount or the file system is read-only.
fn is_read_only(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

fn is_read_only_at(file: fs::File) -> bool {
    nix::sys::statvfs::fstatvfs(&file).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

/// The name behind a link to `zoneinfo`: plain components and nothing else.
fn zone_name(link: &Path) -> Option<String> {
    let text = link.to_str()?;
    let (_, name) = text.split_once("zoneinfo/")?;
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    (name.len() < 128 && name.split('/').all(plain)).then(|| name.to_owned())
}

/// A file of the kernel or of the system, bounded; empty where it cannot be read.
pub(super) fn text(path: impl AsRef<Path>) -> String {
    String::from_utf8(bytes(path)).unwrap_or_else(|not| String::from_utf8_lossy(not.as_bytes()).into_owned())
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    // Room for all of an ordinary file at once: procfs makes its text anew for
    // each read.
    let mut bytes = Vec::with_capacity(8 << 10);
    let read = fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut bytes));
    if read.is_ok() { bytes } else { Vec::new() }
}

/// A sysctl: one short line, which one read gives.
fn line(path: &str) -> String {
    let mut bytes = [0; 128];
    let count = fs::File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned()
}

fn number(path: &str) -> Option<u64> {
    line(path).trim().parse().ok()
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let mut next = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// As [`max_user_namespaces`]: what was clear once is not looked at again.
fn restriction() -> Option<&'static str> {
    static CLEAR: OnceLock<()> = OnceLock::new();
    if CLEAR.get().is_some() {
        return None;
    }
    let found = [
        ("/proc/sys/kernel/unprivileged_userns_clone", 0, "kernel.unprivileged_userns_clone"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1, "kernel.apparmor_restrict_unprivileged_userns"),
    ]
    .into_iter()
    .find_map(|(path, value, name)| (number(path) == Some(value)).then_some(name));
    if found.is_none() {
        let _ = CLEAR.set(());
    }
    found
}

fn nice() -> i8 {
    Stat::read("self").ok().and_then(|stat| stat.field(19)).unwrap_or(0)
}

/// One that cannot be read is taken for the lowest: the kernel will answer.
fn oom_score_adjust() -> i16 {
    line("/proc/self/oom_score_adj").trim().parse().unwrap_or(-1000)
}

/// The caller's hard limits, of all sixteen resources.
fn hard_limits() -> BTreeMap<Resource, u64> {
    use nix::sys::resource::{Resource as Of, getrlimit};
    const ALL: [Of; 16] = [
        Of::RLIMIT_CPU,
        Of::RLIMIT_FSIZE,
        Of::RLIMIT_DATA,
        Of::RLIMIT_STACK,
        Of::RLIMIT_CORE,
        Of::RLIMIT_RSS,
        Of::RLIMIT_NPROC,
        Of::RLIMIT_NOFILE,
        Of::RLIMIT_MEMLOCK,
        Of::RLIMIT_AS,
        Of::RLIMIT_LOCKS,
        Of::RLIMIT_SIGPENDING,
        Of::RLIMIT_MSGQUEUE,
        Of::RLIMIT_NICE,
        Of::RLIMIT_RTPRIO,
        Of::RLIMIT_RTTIME,
    ];
    // The numbers are the kernel's.
    ALL.iter().filter_map(|of| Some((Resource(*of as u8), getrlimit(*of).ok()?.1))).collect()
}

/// Whether the kernel lets this caller clone a mount: it asks for CAP_SYS_ADMIN
/// over the mount namespace, which is another question than whether one has it.
fn may_clone_mounts() -> bool {
    use skep_sys::abi::TreeFlags;
    use skep_sys::{At, Errno, Kernel as _, Linux, Op, OwnedSlots, Slot};
    let clone = Op::OpenTree { dir: At::Cwd, path: c"/", flags: TreeFlags::CLONE, into: Slot(0) };
    // Other refusals are about this one mount.
    Linux::new().call(&clone, &mut OwnedSlots::new(1).slots()) != Err(Errno::EPERM)
}

/// Never through `PATH`: a fixed list, proved root-owned when opened.
fn id_map_helpers() -> Option<[PathBuf; 2]> {
    ["/usr/bin", "/usr/local/bin", "/run/wrappers/bin", "/bin"].iter().find_map(|directory| {
        let both = ["newuidmap", "newgidmap"].map(|name| Path::new(directory).join(name));
        both.iter().all(|path| path.is_file()).then_some(both)
    })
}

/// Whether a file can be made where the lock on ranges lies.
fn may_write_to_run() -> bool {
    use nix::fcntl::AtFlags;
    use nix::unistd::{AccessFlags, faccessat};
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(nix::fcntl::AT_FDCWD, "/run", wanted, AtFlags::AT_EACCESS).is_ok()
}

/// Through links as they lead inside. A root in memory has a home for root alone.
fn login(spec: &Spec, tree: &Tree, named: Option<&super::NamedUser>) -> super::Login {
    let is = |path: &Path, kind: fn(&fs::Metadata) -> bool| {
        let path = path.strip_prefix("/").unwrap_or(path);
        tree.find(path, true).and_then(|file| file.metadata()).is_ok_and(|found| kind(&found))
    };
    // As the tree has it, or below a /usr that is bound over its own.
    let bound = |shell: &str| behind(spec, Path::new(&format!("/usr{shell}"))).is_some_and(|path| path.is_file());
    let shell = super::SHELLS.into_iter().find(|shell| is(Path::new(shell), fs::Metadata::is_file) || bound(shell));
    let home = spec.home(named.map(|user| user.home.as_path()));
    let fresh = spec.root.volatile == crate::spec::Volatile::Yes;
    let there = if fresh { home == Path::new("/root") } else { is(home, fs::Metadata::is_dir) };
    super::Login { shell: shell.unwrap_or(super::SHELLS[1]), home: there }
}

/// A regular file of at most 1 MiB; empty where it is anything else. Opened for
/// reading only when it has been looked at: to open a device can act on it.
pub(super) fn file_of_tree(tree: &Tree, path: &str) -> String {
    text_of_tree(tree, path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The same, and why it is none.
pub(super) fn text_of_tree(tree: &Tree, path: &str) -> std::io::Result<Vec<u8>> {
    const LONGEST: u64 = 1 << 20;
    let file = tree.find(Path::new(path), true)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Eight random letters and digits, for a container without a name.
fn fresh_name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // RandomState is seeded by the operating system, and differs each time.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("skep-{:012x}", hasher.finish() & 0xffff_ffff_ffff)
}

/// Of version 4, as all that are random (RFC 9562).
fn fresh_id() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || RandomState::new().build_hasher().finish();
    let (high, low) = (half() & !0xf000 | 0x4000, half() & (u64::MAX >> 2) | 1 << 63);
    format!("{high:016x}{low:016x}")
}

pub(super) fn example(spec: &Spec) -> Facts {
    let files: BTreeSet<&str> = etc_sources(spec).collect();
    let path = |path: &Path| PathFact {
        kind: match path {
            path if path.starts_with("/dev") => EntryKind::Special,
            path if path.to_str().is_some_and(|path| files.contains(path)) => EntryKind::File,
            _ => EntryKind::Directory,
        },
        device: 0x801,
        inode: 2,
        failed: None,
        uid: 1000,
        gid: 1000,
        // Every path below /dev is the same device.
        node: path.starts_with("/dev").then(|| super::DeviceNumber::character(10, 229)),
    };
    let target = |path: &PathBuf| TargetFact {
        kind: EntryKind::Directory,
        existing: super::files::plain_components(path).len(),
        through_link: false,
        is_link: false,
        uid: 0,
        gid: 0,
    };
    let host_users = super::users::example(&spec.bind_user);
    let mut facts = Facts {
        kernel: (6, 12),
        uid: 1000,
        gid: 1000,
        capabilities: CapabilitySet::EMPTY,
        ids: vec![EVERY_ID],
        foreign_mounts: false,
        bounding: CapabilitySet::up_to(40),
        last_capability: 40,
        max_user_namespaces: 10_000,
        restricted_by: None,
        keyrings: true,
        nice: 0,
        oom_score_adjust: 0,
        landlock: 6,
        hard_limits: BTreeMap::new(),
        first_limits: BTreeMap::new(),
        machine_id: None,
        os_release: BTreeMap::from([("ID", "example".to_owned())]),
        login: spec.login_shell.then_some(super::Login { shell: super::SHELLS[0], home: true }),
        fresh_id: "0123456789abcdef0123456789abcdef".to_owned(),
        fresh_boot: "fedcba9876544321b0123456789abcde".to_owned(),
        kernel_paths: profile::kernel_paths().collect(),
        cgroups: Cgroups {
            layout: super::CgroupLayout::Unified,
            legacy: BTreeMap::new(),
            legacy_swap: false,
            unified: vec![UnifiedGroup { path: "/sys/fs/cgroup/user.slice".into(), ..UnifiedGroup::default() }],
            cpuset: None,
        },
        device_programs: true,
        subuid: Some(IdRange { base: 100_000, count: 65_536 }),
        subgid: Some(IdRange { base: 100_000, count: 65_536 }),
        id_map_helpers: Some(["/usr/bin/newuidmap".into(), "/usr/bin/newgidmap".into()]),
        free_range: Some(IdRange { base: 0x0010_0000, count: 65_536 }),
        range_lock: true,
        paths: host_paths(spec)
            .chain(host_users.values().map(|user| user.home.clone()))
            .map(|name| (name.clone(), path(&name)))
            .collect(),
        targets: targets(spec).map(|path| (path.clone(), target(&path))).collect(),
        contents: etc_sources(spec).map(|path| (PathBuf::from(path), b"nameserver 192.0.2.1\n".to_vec())).collect(),
        time_zone: Some("Etc/UTC".to_owned()),
        read_only_root: false,
        read_only_etc: false,
        lacking: BTreeMap::new(),
        usr_links: ["bin", "sbin", "lib", "lib64"]
            .iter()
            .map(|name| ((*name).to_owned(), PathBuf::from(format!("usr/{name}"))))
            .collect(),
        named_user: match &spec.user {
            User::Name(_) => Some(NamedUser { uid: 33, gid: 33, groups: vec![44], home: "/var/www".into() }),
            User::Ids { .. } => None,
        },
        journal: None,
        host_users,
        tree_accounts: super::TreeAccounts::default(),
        secure_execution: false,
        serial: 1,
        registrar: super::Registrar { pid: 1000, start_time: 1, boot: String::new(), pid_namespace: 1 },
        registry: (spec.register != Want::Off).then(|| super::Registry { base: "/run/user/1000".into() }),
        bearer: super::Bearer::Nobody,
        network: spec.links.concern_host().then(super::NetworkFacts::example),
        fresh_name: "skep-example".to_owned(),
        image: spec.root.image.then(|| super::DiskImage {
            file_system: "ext4",
            offset: 1 << 20,
            size: 1 << 30,
            read_only: false,
            others: vec!["srv"],
        }),
    };
    if let Some(id) = journal_id(spec, &facts) {
        let journal = super::journal_of(&id);
        facts.paths.insert(journal.clone(), path(&journal));
        facts.targets.insert(journal.clone(), target(&journal));
        let place = match spec.link_journal {
            LinkJournal::Guest | LinkJournal::TryGuest => {
                super::JournalPlace::Link(spec.root.top().join(journal.strip_prefix("/").unwrap_or(&journal)))
            }
            LinkJournal::Host | LinkJournal::TryHost => super::JournalPlace::Directory,
            _ => super::JournalPlace::Missing,
        };
        facts.journal = Some(super::JournalFacts { host: None, place, failed: None });
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_absent() {
        assert!(may_exist("/proc/self/status"));
        assert!(!may_exist("/proc/nothing of the kind"));
        assert!(may_exist("/proc/self/status/x"), "it cannot be looked at (ENOTDIR)");
    }

    #[test]
    fn zones_are_named_by_links_into_zoneinfo() {
        for (link, name) in [
            ("/usr/share/zoneinfo/Etc/UTC", Some("Etc/UTC")),
            ("../usr/share/zoneinfo/Etc/GMT+5", Some("Etc/GMT+5")),
            ("/usr/share/zoneinfo/../../../etc/passwd", None),
            ("/usr/share/zoneinfo/", None),
            ("/etc/other", None),
        ] {
            assert_eq!(zone_name(Path::new(link)).as_deref(), name, "{link}");
        }
    }

    #[test]
    fn a_machine_id_is_32_digits() {
        let id = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;
        for (text, found) in [
            ("000102030405060708090a0b0c0d0e0f\n", Some(id)),
            ("000102030405060708090A0B0C0D0E0F", Some(id)),
            ("", None),
            ("uninitialized\n", None),
            ("+00102030405060708090a0b0c0d0e0f", None),
            ("00", None),
            ("00000000000000000000000000000000", None),
        ] {
            assert_eq!(machine_id(text), found, "{text}");
        }
    }

    #[test]
    fn versions_and_limits() {
        assert_eq!(kernel_version("6.1.0-56-cloud-amd64\n"), (6, 1));
        assert_eq!(kernel_version(""), (0, 0));
        assert!(hard_limits().into_keys().eq((0..16).map(Resource)), "each resource, by the kernel's number");
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let facts = Facts::gather(&Spec::default()).unwrap();
        assert!(facts.kernel >= (5, 15), "{:?}", facts.kernel);
        assert!(facts.hard_limits.contains_key(&Resource::NOFILE));
        assert!(facts.kernel_paths.contains("/proc/sys"));
    }
}
