//! Specs that between them make a plan do everything that it can.

use std::path::PathBuf;

use skep_sys::Model;
use skep_sys::abi::{CapabilitySet, SecureBits, cap};

use crate::facts::{DeviceNumber, EntryKind, Facts};
use crate::plan::Plan;
use crate::spec::{
    AccessTimes, Bind, Capabilities, CapabilityList, CpuLimit, Denial, Descriptor, Device, ExecSpec, Family, File,
    FileAccess, Hosts, HugePages, IdMap, IdRange, Init, IoLimit, IoPriority, KernelFiles, Landlock, LinkJournal,
    LinkName, MachineName, Mount, MountKind, Namespace, NamespaceChoice, Network, NumaPolicy, NumberList, Overlay,
    Ownership, PathRule, Personality, Profile, Readiness, ResolvConf, Resources, Root, SchedulingPolicy, SecretFile,
    SecureBitList, Spec, Stream, TerminalSize, Timezone, Tmpfs, User, UserNamespace, UserShell, Volatile, Want,
};
use crate::{ErrorKind, compile};

/// Who starts the container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    User,
    Root,
}

type Change = fn(&mut Spec, &mut Facts);

fn plain() -> Root {
    Root { path: "/srv/web".into(), volatile: Volatile::No, ..Root::default() }
}

fn layered() -> Root {
    Root { lower: vec!["/srv/base".into(), "/srv/a:b".into()], ..plain() }
}

fn bind(source: &str, target: &str, read_only: bool, recursive: bool) -> Mount {
    Mount {
        target: target.into(),
        kind: MountKind::Bind(Bind { source: source.into(), read_only, recursive, ..Bind::default() }),
    }
}

fn tmpfs(target: &str) -> Mount {
    Mount { target: target.into(), kind: MountKind::Tmpfs(Tmpfs::default()) }
}

fn tmpfs_at_opt() -> Mount {
    tmpfs("/opt")
}

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

fn mapped(id_map: IdMap) -> Mount {
    mount("/data", MountKind::Bind(Bind { source: "/srv/data".into(), read_only: false, id_map, ..Bind::default() }))
}

fn granted(bounding: u64, ambient: u64) -> Capabilities {
    Capabilities { bounding: CapabilityList(CapabilitySet(bounding)), ambient: CapabilityList(CapabilitySet(ambient)) }
}

fn landlock(want: Want) -> Landlock {
    let rule = |path: &str, access| PathRule::new(path, [access]);
    Landlock {
        files: want,
        paths: vec![
            rule("/usr", FileAccess::Read),
            rule("/usr", FileAccess::Execute),
            rule("/tmp", FileAccess::Write),
            rule("/run", FileAccess::IoctlDev),
        ],
        tcp: want,
        bind: [0, 8080].into(),
        connect: [443].into(),
        abstract_sockets: Some(want),
        signals: want,
    }
}

fn limits() -> Resources {
    Resources {
        memory: Some(64 << 20),
        cpu: Some(CpuLimit { quota: 50_000, period: 100_000 }),
        pids: Some(100),
        ..Resources::default()
    }
}

/// What both versions can say.
fn every_limit() -> Resources {
    let list = |text: &str| NumberList::parse(text).ok();
    Resources {
        memory_low: Some(1 << 20),
        swap: Some(1 << 20),
        oom_group: Some(false),
        cpu_weight: Some(50),
        cpuset_cpus: list("0-1"),
        cpuset_mems: list("0"),
        io: vec![IoLimit { read_bytes: Some(1 << 20), write_operations: Some(9), ..IoLimit::new("/dev/vda") }],
        io_weight: Some(20),
        ..limits()
    }
}

/// The 32 bits of this machine.
fn other_personality() -> Personality {
    if cfg!(target_arch = "x86_64") { Personality::X86 } else { Personality::Arm }
}

fn disk(facts: &mut Facts) {
    if let Some(fact) = facts.paths.get_mut(&PathBuf::from("/dev/vda")) {
        fact.node = Some(DeviceNumber { block: true, major: 254, minor: 0 });
    }
}

fn owned(facts: &mut Facts, base: u32) {
    for fact in facts.paths.values_mut() {
        (fact.uid, fact.gid) = (base, base);
    }
}

fn on_v1(facts: &mut Facts, controllers: &[&str]) {
    facts.cgroups.unified.clear();
    facts.cgroups.legacy_swap = true;
    let group = |name: &&str| ((*name).to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{name}/user")));
    facts.cgroups.legacy = controllers.iter().map(group).collect();
}

fn delegated(facts: &mut Facts) {
    for group in &mut facts.cgroups.unified {
        group.writable = true;
        group.enabled = ["memory", "cpu", "cpuset", "io", "pids"].map(str::to_owned).into();
    }
}

/// Name and what differs from the default: of the Spec, and of the host.
const TABLE: &[(&str, Change)] = &[
    ("default", |_, _| {}),
    ("root", |spec, _| spec.root = plain()),
    ("root read-only", |spec, _| spec.root = Root { read_only: true, ..plain() }),
    ("root named like a word of the report", |spec, _| {
        spec.root = Root { path: "/srv/a, writable, ids mapped".into(), read_only: true, ..plain() };
    }),
    ("mount over what is borrowed", |spec, _| {
        spec.mounts = vec![Mount { target: "/etc/alternatives".into(), ..mapped(IdMap::IdMap) }];
    }),
    ("root through usr", |spec, facts| {
        spec.root = plain();
        facts.usr_links.clear();
    }),
    ("volatile yes", |spec, _| spec.root = Root { volatile: Volatile::Yes, ..plain() }),
    ("volatile state", |spec, _| spec.root = Root { volatile: Volatile::State, ..plain() }),
    ("volatile overlay", |spec, _| spec.root = Root { volatile: Volatile::Overlay, ..plain() }),
    ("ephemeral", |spec, _| spec.root = Root { ephemeral: true, ..plain() }),
    ("layers", |spec, _| spec.root = layered()),
    ("layers, changes thrown away", |spec, _| spec.root = Root { volatile: Volatile::Overlay, ..layered() }),
    ("layers, changes kept", |spec, _| {
        let (upper, work) = (Some("/srv/rw/data".into()), Some("/srv/rw/work".into()));
        spec.root = Root { upper, work, ..layered() };
    }),
    ("nspawn, layers of several owners", |spec, facts| {
        let root = Root { upper: Some("/srv/rw/data".into()), ownership: Ownership::Map, ..layered() };
        *spec = Spec { root, user_namespace: UserNamespace::Pick, ..Spec::of(Profile::Nspawn) };
        if let Some(layer) = facts.paths.get_mut(std::path::Path::new("/srv/base")) {
            (layer.uid, layer.gid) = (0x0010_0000, 0x0010_0000);
        }
    }),
    ("binds", |spec, _| {
        spec.root = plain();
        spec.mounts = vec![
            bind("/srv/data", "/data", false, true),
            bind("/srv/conf", "/etc/conf.d", true, false),
            bind("/srv/deep", "/data/a/b/c", true, true),
        ];
    }),
    ("binds over tmpfs", |spec, facts| {
        spec.mounts = vec![
            bind("/srv/data", "/tmp/data", false, true),
            tmpfs("/opt/cache"),
            bind("/etc/motd", "/opt/cache/motd", true, false),
        ];
        if let Some(fact) = facts.paths.get_mut(&PathBuf::from("/etc/motd")) {
            fact.kind = EntryKind::File;
        }
    }),
    ("bind through a link", |spec, facts| {
        spec.root = plain();
        spec.mounts = vec![bind("/srv/data", "/var/run/data", false, true)];
        for target in facts.targets.values_mut() {
            target.through_link = true;
        }
    }),
    ("bind onto what is missing", |spec, facts| {
        spec.root = plain();
        spec.mounts = vec![bind("/srv/data", "/a/b/c", false, true)];
        for target in facts.targets.values_mut() {
            (target.kind, target.existing) = (EntryKind::Missing, 1);
        }
    }),
    ("tmpfs", |spec, _| {
        let kind = MountKind::Tmpfs(Tmpfs { read_only: true, mode: 0o700, ..Tmpfs::default() });
        spec.mounts = vec![tmpfs("/var/cache"), Mount { target: "/srv".into(), kind }];
    }),
    ("tmpfs options", |spec, _| {
        let tmpfs = Tmpfs {
            blocks: Some(100),
            huge: Some(HugePages::WithinSize),
            numa: NumaPolicy::parse("interleave:0-1").ok(),
            inode64: Some(true),
            access_times: AccessTimes::Off,
            nodiratime: true,
            nosymfollow: true,
            ..Tmpfs::default()
        };
        spec.mounts = vec![mount("/srv", MountKind::Tmpfs(tmpfs))];
    }),
    ("bind options", |spec, _| {
        let options =
            Bind { source: "/srv/data".into(), noexec: true, nosymfollow: true, no_links: true, ..Bind::default() };
        let tmpfs = Tmpfs { noexec: true, ..Tmpfs::default() };
        spec.mounts =
            vec![mount("/data", MountKind::Bind(options)), mount("/tmp", MountKind::Tmpfs(tmpfs)), tmpfs_at_opt()];
    }),
    ("veth", |spec, _| spec.links.veth = true),
    ("veth with addresses", |spec, _| {
        spec.links.veth = true;
        spec.links.addresses = ["10.9.0.2/24", "fd00::2/64,fd00::99"].map(|text| text.parse().unwrap()).into();
    }),
    ("ports", |spec, _| {
        spec.links.veth = true;
        spec.links.ports = ["80", "127.0.0.1:81:8081", "udp:192.0.2.1:53"].map(|text| text.parse().unwrap()).into();
    }),
    ("ports without a pair", |spec, _| {
        spec.links.ports = ["80:8080", "127.0.0.1:81", "udp:53"].map(|text| text.parse().unwrap()).into();
    }),
    ("zone", |spec, _| {
        spec.machine = MachineName::new("a-name-that-is-longer-than-fifteen-bytes").ok();
        spec.links.zone = LinkName::zone("lan").ok();
        spec.links.addresses = vec!["10.9.0.2/24".parse().unwrap()];
        spec.links.ports = vec!["80:8080".parse().unwrap()];
    }),
    ("interfaces", |spec, _| {
        let pairs = |words: &[&str]| words.iter().map(|text| text.parse().unwrap()).collect();
        spec.links.bridge = LinkName::new("br0").ok();
        spec.links.extra = pairs(&["one", "two:eth2"]);
        spec.links.macvlan = pairs(&["lower0", "lower1:mac0"]);
        spec.links.ipvlan = pairs(&["lower-of-13-by"]);
        spec.links.moved = pairs(&["card0", "card1:lan"]);
    }),
    ("optional bind", |spec, facts| {
        let missing = Bind { source: "/srv/none".into(), optional: true, ..Bind::default() };
        spec.mounts = vec![mount("/none", MountKind::Bind(missing)), bind("/srv/data", "/none/data", true, true)];
        if let Some(fact) = facts.paths.get_mut(&PathBuf::from("/srv/none")) {
            *fact = Default::default();
        }
    }),
    ("idmap", |spec, _| spec.mounts = vec![mapped(IdMap::IdMap)]),
    ("rootidmap", |spec, _| spec.mounts = vec![mapped(IdMap::RootIdMap), tmpfs_at_opt()]),
    ("owneridmap", |spec, _| {
        spec.root = plain();
        spec.mounts = vec![mapped(IdMap::OwnerIdMap)];
    }),
    ("idmap if supported", |spec, _| {
        let mut bind = mapped(IdMap::IdMap);
        if let MountKind::Bind(bind) = &mut bind.kind {
            bind.id_map_want = Want::IfSupported;
        }
        spec.mounts = vec![bind];
    }),
    ("overlay", |spec, _| {
        let lower = ["/srv/a:b,c", "/srv/d"].map(PathBuf::from).into();
        spec.mounts = vec![mount("/opt", MountKind::Overlay(Overlay { lower, ..Overlay::default() }))];
    }),
    ("overlay kept", |spec, _| {
        let overlay = Overlay { lower: vec!["/srv/a".into()], upper: Some("/srv/up:per".into()), ..Overlay::default() };
        spec.mounts = vec![mount("/opt", MountKind::Overlay(overlay))];
    }),
    ("overlay with a work directory", |spec, _| {
        let upper = (Some("/srv/x/upper".into()), Some("/srv/y/work".into()));
        let lower = vec!["/srv/a".into()];
        let overlay = Overlay { lower, upper: upper.0, work: upper.1, noexec: true, ..Overlay::default() };
        spec.mounts = vec![mount("/opt", MountKind::Overlay(overlay))];
    }),
    ("overlay read-only", |spec, _| {
        let lower = ["/srv/a", "/srv/b"].map(PathBuf::from).into();
        spec.mounts = vec![mount("/opt", MountKind::Overlay(Overlay { lower, read_only: true, ..Overlay::default() }))];
    }),
    ("ephemeral kept", |spec, _| {
        spec.root = Root { ephemeral: true, upper: Some("/srv/changes".into()), ..plain() };
    }),
    ("device", |spec, _| {
        spec.mounts = vec![mount("/dev/net/tun", MountKind::Device(Device::new("/dev/net/tun")))];
    }),
    ("device policy v2", |spec, facts| {
        spec.mounts = vec![mount("/dev/net/tun", MountKind::Device(Device::new("/dev/net/tun")))];
        delegated(facts);
    }),
    ("device policy v1", |spec, facts| {
        (spec.device_policy, spec.resources) = (Want::IfSupported, limits());
        let mut device = Device::new("/dev/fuse");
        device.access.write = false;
        spec.mounts = vec![mount("/dev/fuse", MountKind::Device(device))];
        facts.cgroups.unified.clear();
        let group = |name: &&str| ((*name).to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{name}/user")));
        facts.cgroups.legacy = ["memory", "cpu", "pids", "devices"].iter().map(group).collect();
    }),
    ("files", |spec, _| {
        spec.root = plain();
        spec.mounts = vec![
            mount("/etc/app.conf", MountKind::File(File::new("port = 1\n"))),
            mount("/etc/key", MountKind::Secret(SecretFile::new("hunter2"))),
        ];
    }),
    ("credentials", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 33 };
        spec.credentials.insert("token".into(), "hunter2".into());
    }),
    ("users of the host", |spec, _| {
        spec.root = plain();
        spec.bind_user.names = vec!["joe".into(), "ann".into()];
        (spec.bind_user.groups, spec.bind_user.shell) = (vec!["wheel".into()], UserShell::Host);
    }),
    ("files of the host", |spec, _| {
        spec.network = Network::Host;
        spec.resolv_conf = ResolvConf::BindHost;
        (spec.timezone, spec.hosts, spec.hostname_file) = (Timezone::Auto, Hosts::Generate, true);
    }),
    ("files of the host over links", |spec, facts| {
        spec.root = Root { ephemeral: true, ..plain() };
        spec.resolv_conf = ResolvConf::ReplaceStub;
        (spec.timezone, spec.hosts) = (Timezone::Bind, Hosts::CopyHost);
        for (path, target) in &mut facts.targets {
            (target.through_link, target.is_link) = (path.starts_with("/etc"), path.starts_with("/etc"));
            target.kind = EntryKind::File;
        }
    }),
    ("covers", |spec, _| {
        spec.root = plain();
        spec.mounts = vec![bind("/srv/data", "/data", false, true)];
        spec.masked = vec!["/etc/ssh".into(), "/data/secret".into()];
        spec.read_only = vec!["/etc".into(), "/data".into()];
    }),
    ("a masked node below a cover", |spec, _| {
        (spec.masked, spec.read_only) = (vec!["/dev/null".into()], vec!["/dev".into()]);
    }),
    ("network host", |spec, _| spec.network = Network::Host),
    ("user ids", |spec, _| spec.user = User::Ids { uid: 33, gid: 44 }),
    ("user name", |spec, _| spec.user = User::Name("www".into())),
    ("groups", |spec, _| {
        (spec.user, spec.groups) = (User::Ids { uid: 33, gid: 33 }, vec![5, 6]);
        spec.user_namespace = UserNamespace::Subordinate;
    }),
    ("nspawn", |spec, _| {
        *spec = Spec { root: plain(), ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, files removed", |spec, facts| {
        let (resolv_conf, timezone) = (ResolvConf::Delete, Timezone::Delete);
        *spec = Spec { root: plain(), resolv_conf, timezone, ..Spec::of(Profile::Nspawn) };
        for (_, target) in facts.targets.iter_mut().filter(|(path, _)| path.starts_with("/etc")) {
            target.kind = EntryKind::File;
        }
    }),
    ("nspawn, a bare tree", |spec, facts| {
        *spec = Spec { root: plain(), ..Spec::of(Profile::Nspawn) };
        facts.usr_links.clear();
        facts.targets.values_mut().for_each(|target| (target.kind, target.existing) = (EntryKind::Missing, 0));
        facts.lacking = crate::profile::BASE.iter().map(|(name, _)| (*name, None)).collect();
        facts.lacking.extend([("bin", Some("usr/bin")), ("lib64", Some("usr/lib64"))]);
        // Facts say that there is something in these.
        facts.lacking.retain(|name, _| !["usr", "etc"].contains(name));
    }),
    ("overlay of the tree", |spec, _| {
        spec.root = plain();
        spec.mounts = vec![
            mount("/var", MountKind::Overlay(Overlay { lower: vec!["+/var".into()], ..Overlay::default() })),
            mount(
                "/opt",
                MountKind::Overlay(Overlay {
                    lower: vec!["/srv/opt".into(), "+/opt".into()],
                    upper: Some("+/changes".into()),
                    ..Overlay::default()
                }),
            ),
            mount("/cache", MountKind::Tmpfs(Tmpfs { percent: Some(50), gid: 33, ..Tmpfs::default() })),
        ];
        spec.user_namespace = UserNamespace::Subordinate;
    }),
    ("nspawn, registered", |spec, _| {
        *spec = Spec { root: plain(), register: Want::Require, ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, registered in a user namespace", |spec, _| {
        let user_namespace = UserNamespace::Range(IdRange { base: 0x0010_0000, count: 65_536 });
        *spec = Spec { root: plain(), register: Want::Require, user_namespace, ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, left mounted", |spec, facts| {
        *spec = Spec { root: plain(), register: Want::Require, ..Spec::of(Profile::Nspawn) };
        facts.bearer = crate::facts::Bearer::Gone;
    }),
    ("nspawn, overlay of the tree", |spec, _| {
        let lower = vec!["+/var".into(), "/srv/var".into()];
        let var = mount("/var", MountKind::Overlay(Overlay { lower, ..Overlay::default() }));
        let user_namespace = UserNamespace::Range(IdRange { base: 0x0010_0000, count: 65_536 });
        *spec = Spec { root: plain(), mounts: vec![var], user_namespace, ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, journal of the host", |spec, _| {
        *spec = Spec {
            root: plain(),
            user_namespace: UserNamespace::Auto,
            link_journal: LinkJournal::Host,
            ..Spec::of(Profile::Nspawn)
        };
    }),
    ("nspawn, journal of the tree", |spec, facts| {
        *spec = Spec { root: plain(), link_journal: LinkJournal::Guest, ..Spec::of(Profile::Nspawn) };
        facts.targets.values_mut().for_each(|target| target.existing = 1);
    }),
    ("nspawn in a user namespace", |spec, _| {
        *spec = Spec {
            root: plain(),
            user_namespace: UserNamespace::Auto,
            network: Network::None,
            ..Spec::of(Profile::Nspawn)
        };
    }),
    ("image", |spec, _| spec.root = Root { image: true, ..plain() }),
    ("image, ephemeral", |spec, _| spec.root = Root { image: true, ephemeral: true, ..plain() }),
    ("pivoted root", |spec, _| {
        spec.root = Root { pivot: Some("/inner".into()), pivot_old: Some("/mnt/old".into()), ..plain() }
    }),
    ("nspawn, tree given away", |spec, facts| {
        *spec = Spec { user_namespace: UserNamespace::Pick, ..Spec::of(Profile::Nspawn) };
        spec.root = Root { ownership: Ownership::Chown, ..plain() };
        owned(facts, 1000);
    }),
    ("nspawn, tree of another range", |spec, facts| {
        *spec = Spec { user_namespace: UserNamespace::Pick, root: plain(), ..Spec::of(Profile::Nspawn) };
        owned(facts, 0x0123_0000);
    }),
    ("nspawn, no device policy", |spec, _| {
        *spec = Spec { root: plain(), device_policy: Want::Off, ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, a mapped /usr", |spec, _| {
        *spec = Spec { user_namespace: UserNamespace::Pick, ..Spec::of(Profile::Nspawn) };
        spec.root = Root { volatile: Volatile::Yes, ..plain() };
    }),
    ("nspawn, ids of the owner", |spec, facts| {
        *spec = Spec { user_namespace: UserNamespace::Owner, root: plain(), ..Spec::of(Profile::Nspawn) };
        owned(facts, 0x0123_0000);
    }),
    ("payload is process 1", |spec, _| spec.init = Init::Payload),
    ("notify", |spec, _| spec.readiness = Readiness::Notify),
    ("capabilities of root", |spec, _| spec.capabilities = granted(1 << cap::NET_BIND_SERVICE | 1 << cap::SETUID, 0)),
    ("capabilities of a user", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 33 };
        spec.capabilities = granted(1 << cap::NET_BIND_SERVICE, 1 << cap::NET_BIND_SERVICE);
    }),
    ("all capabilities", |spec, _| spec.capabilities = granted(u64::MAX, 0)),
    ("new privileges", |spec, _| spec.no_new_privileges = false),
    ("new privileges of a user", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 44 };
        spec.no_new_privileges = false;
    }),
    ("no filter", |spec, _| (spec.seccomp, spec.no_new_privileges) = (Want::Off, false)),
    ("calls opened", |spec, _| {
        spec.system_calls.danger_allow = ["bpf".into(), "unshare".into()].into();
        spec.system_calls.allow = ["@mount".into(), "@ipc".into()].into();
    }),
    ("calls denied", |spec, _| {
        spec.system_calls.deny = [("@clock".into(), Denial::EPERM), ("ptrace".into(), Denial::Kill)].into();
        spec.system_calls.sockets.only = Some([Family::UNIX].into());
    }),
    #[cfg(target_arch = "x86_64")]
    ("32-bit programs", |spec, _| {
        spec.system_calls.architectures = Some([crate::spec::Architecture::X86].into());
        spec.system_calls.danger_allow = ["bpf".into()].into();
    }),
    ("nspawn, open network", |spec, _| {
        *spec = Spec { root: plain(), kernel_files: KernelFiles::Network, ..Spec::of(Profile::Nspawn) };
    }),
    ("nspawn, open files", |spec, _| {
        *spec = Spec { root: plain(), kernel_files: KernelFiles::Writable, ..Spec::of(Profile::Nspawn) };
    }),
    ("suppressed sync", |spec, _| spec.system_calls.suppress_sync = true),
    ("login shell", |spec, facts| {
        (spec.command, spec.login_shell) = (Vec::new(), true);
        facts.login = Facts::example(spec).login;
    }),
    ("listener", |spec, _| spec.system_calls.notify = ["mkdirat".into(), "uname".into(), "@basic-io".into()].into()),
    ("listener, and new privileges of process 1", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 44 };
        (spec.no_new_privileges, spec.init) = (false, Init::Payload);
        spec.system_calls.notify = ["@process".into(), "bpf".into()].into();
    }),
    ("landlock", |spec, _| spec.landlock = landlock(Want::Require)),
    ("landlock that lets nothing be written", |spec, _| {
        spec.landlock = landlock(Want::Require);
        spec.landlock.paths.truncate(2);
    }),
    ("landlock and payload is process 1", |spec, _| {
        (spec.landlock, spec.init) = (landlock(Want::Require), Init::Payload);
    }),
    ("landlock of a user with capabilities", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 33 };
        spec.capabilities = granted(1 << cap::NET_BIND_SERVICE, 1 << cap::NET_BIND_SERVICE);
        spec.landlock = landlock(Want::Require);
    }),
    ("landlock on an older kernel", |spec, facts| {
        (spec.landlock, facts.landlock) = (landlock(Want::IfSupported), 4);
    }),
    ("landlock on a kernel without", |spec, facts| {
        (spec.landlock, facts.landlock) = (landlock(Want::IfSupported), 0);
    }),
    ("no keyrings", |_, facts| facts.keyrings = false),
    ("personality and score", |spec, _| {
        (spec.personality, spec.oom_score_adjust) = (other_personality(), Some(500));
    }),
    ("no written code", |spec, _| spec.memory_deny_write_execute = Want::Require),
    ("scheduling", |spec, _| {
        spec.scheduling.affinity = NumberList::parse("0-1").ok();
        (spec.scheduling.policy, spec.scheduling.nice) = (Some(SchedulingPolicy::Batch), Some(5));
        spec.scheduling.io = Some(IoPriority::BestEffort { level: 7 });
    }),
    ("real time", |spec, _| spec.scheduling.policy = Some(SchedulingPolicy::Fifo { priority: 5 })),
    ("sysctls", |spec, _| {
        for (name, value) in [("net.ipv4.ip_forward", "1"), ("kernel/sem", "1 2 3 4"), ("fs.mqueue.msg_max", "20")] {
            spec.sysctls.insert(name.into(), value.into());
        }
    }),
    ("score without a user namespace", |spec, _| {
        (spec.user_namespace, spec.oom_score_adjust) = (UserNamespace::Host, Some(-500));
    }),
    ("registered", |spec, _| spec.register = Want::Require),
    ("securebits with a grant", |spec, _| {
        spec.capabilities.bounding = CapabilityList(CapabilitySet(1 << cap::NET_BIND_SERVICE));
        spec.securebits = Some(SecureBitList(SecureBits(0b1110_0011)));
    }),
    ("securebits of a user", |spec, _| {
        spec.user = User::Ids { uid: 33, gid: 33 };
        spec.capabilities = granted(1 << cap::NET_BIND_SERVICE, 1 << cap::NET_BIND_SERVICE);
        spec.securebits = Some(SecureBitList(SecureBits(0b0010_1111)));
    }),
    ("keyring off", |spec, _| spec.keyring = Want::Off),
    ("subordinate", |spec, _| spec.user_namespace = UserNamespace::Subordinate),
    ("range", |spec, _| spec.user_namespace = UserNamespace::Range(IdRange { base: 500_000, count: 1000 })),
    ("range of one", |spec, _| spec.user_namespace = UserNamespace::Range(IdRange { base: 500_000, count: 1 })),
    ("identity", |spec, _| spec.user_namespace = UserNamespace::Identity),
    ("no user namespace", |spec, _| spec.user_namespace = UserNamespace::Host),
    ("own id", |spec, _| spec.user_namespace = UserNamespace::Own),
    ("limits v2", |spec, facts| {
        spec.resources = limits();
        delegated(facts);
    }),
    ("limits v1", |spec, facts| {
        spec.resources = limits();
        facts.cgroups.unified.clear();
        let group = |name: &&str| ((*name).to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{name}/user")));
        facts.cgroups.legacy = ["memory", "cpu", "pids"].iter().map(group).collect();
    }),
    ("limits v1 in one hierarchy", |spec, facts| {
        spec.resources = limits();
        facts.cgroups.unified.clear();
        facts.cgroups.legacy =
            ["memory", "cpu", "pids"].map(|name| (name.to_owned(), "/sys/fs/cgroup/all".into())).into();
    }),
    ("pids by default", |_, facts| delegated(facts)),
    ("limits and payload is process 1", |spec, facts| {
        (spec.init, spec.resources) = (Init::Payload, limits());
        delegated(facts);
    }),
    ("every limit v2", |spec, facts| {
        spec.resources = Resources { memory_high: Some(32 << 20), memory_min: Some(1 << 20), ..every_limit() };
        delegated(facts);
        disk(facts);
    }),
    ("every limit v1", |spec, facts| {
        spec.resources = every_limit();
        on_v1(facts, &["memory", "cpu", "cpuset", "blkio", "pids"]);
        disk(facts);
    }),
    ("freezing v2", |spec, facts| {
        spec.resources.freezing = Want::Require;
        delegated(facts);
    }),
    ("freezing v1", |spec, facts| {
        (spec.resources, spec.init) = (limits(), Init::Payload);
        spec.resources.freezing = Want::Require;
        on_v1(facts, &["memory", "cpu", "pids", "freezer"]);
    }),
    ("freezing that cannot be had", |spec, _| spec.resources.freezing = Want::IfSupported),
    ("delegated", |spec, facts| {
        (spec.resources.delegate, spec.init) = (true, Init::Payload);
        delegated(facts);
    }),
    ("shared process ids v1", |spec, facts| {
        (spec.namespaces.pid, spec.init) = (Namespace::Host, Init::Payload);
        on_v1(facts, &["freezer"]);
    }),
    ("host namespaces", |spec, facts| {
        delegated(facts);
        let shared = Namespace::Host;
        spec.namespaces = NamespaceChoice {
            pid: shared.clone(),
            ipc: shared.clone(),
            uts: shared.clone(),
            cgroup: shared.clone(),
            time: shared,
            ..NamespaceChoice::default()
        };
        spec.init = Init::Payload;
    }),
    ("time namespace", |spec, _| spec.namespaces.time = Namespace::New),
    ("clock offsets", |spec, _| {
        spec.namespaces.time = Namespace::New;
        spec.namespaces.time_offsets.boottime = 86_400;
    }),
    ("joined", |spec, _| {
        spec.network = Network::Path("/run/netns/web".into());
        let path = |kind: &str| Namespace::Path(format!("/proc/7/ns/{kind}").into());
        (spec.namespaces.ipc, spec.namespaces.uts) = (path("ipc"), path("uts"));
        spec.namespaces.cgroup = Namespace::Given;
    }),
    ("joined without a user namespace", |spec, facts| {
        delegated(facts);
        (spec.user_namespace, spec.init) = (UserNamespace::Host, Init::Payload);
        spec.namespaces.pid = Namespace::Path("/proc/7/ns/pid".into());
        (spec.namespaces.time, spec.network) = (Namespace::Path("/proc/7/ns/time".into()), Network::Given);
    }),
    ("joined, as its own", |spec, _| {
        *spec = Spec { root: plain(), network: Network::Own("/run/netns/web".into()), ..Spec::of(Profile::Nspawn) };
        spec.links.ports = vec!["80".parse().unwrap()];
        spec.user_namespace = UserNamespace::Host;
    }),
    ("streams", |spec, _| spec.stdio = [Stream::Piped, Stream::Given, Stream::Piped]),
    ("descriptors", |spec, _| {
        spec.descriptors = vec![Descriptor::new(9), Descriptor { danger_directory: true, ..Descriptor::new(4) }];
    }),
    ("held", |spec, _| spec.hold = true),
    ("held, and payload is process 1", |spec, _| (spec.hold, spec.init) = (true, Init::Payload)),
    ("terminal", |spec, _| {
        (spec.stdio, spec.terminal) = ([Stream::Terminal; 3], Some(TerminalSize::default()));
        spec.user = User::Ids { uid: 7, gid: 7 };
    }),
    ("terminal for some streams, and payload is process 1", |spec, _| {
        spec.stdio = [Stream::Terminal, Stream::Piped, Stream::Terminal];
        (spec.terminal, spec.init) = (Some(TerminalSize::default()), Init::Payload);
    }),
    ("environment", |spec, _| {
        spec.environment.insert("TOKEN".into(), "x".into());
        (spec.umask, spec.working_directory) = (0o077, "/usr/lib".into());
    }),
    ("few kernel paths", |_, facts| facts.kernel_paths.retain(|path| *path == "/proc/sys")),
];

fn facts(spec: &Spec, caller: Caller) -> Facts {
    let mut facts = Facts::example(spec);
    if caller == Caller::Root {
        (facts.uid, facts.gid) = (0, 0);
        facts.capabilities = CapabilitySet::up_to(40);
    }
    facts
}

/// What a row asks for, and of whom.
fn case(change: Change, caller: Caller) -> (Spec, Facts) {
    // Facts are about a Spec, and some rows change both.
    let mut spec = Spec::default();
    change(&mut spec, &mut Facts::example(&Spec::default()));
    spec.command = vec!["/usr/bin/true".into()];
    let mut facts = facts(&spec, caller);
    change(&mut spec.clone(), &mut facts);
    (spec, facts)
}

/// The plan of a row; `None` where this caller may not have it.
fn row(change: Change, caller: Caller) -> Option<Plan> {
    let (spec, facts) = case(change, caller);
    match compile(&spec, &facts) {
        Ok(plan) => Some(plan),
        Err(error) if matches!(error.kind(), ErrorKind::NotPermitted | ErrorKind::InvalidSpec) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Its name, the row of its container, and what it says.
type Entering = (&'static str, &'static str, fn(&mut ExecSpec));

/// Processes brought into the containers of rows above.
const ENTERING: &[Entering] = &[
    ("enter", "default", |_| {}),
    ("enter, process one", "payload is process 1", |_| {}),
    ("enter, terminal", "default", |spec| {
        (spec.stdio, spec.terminal) = ([Stream::Terminal; 3], Some(TerminalSize::default()));
    }),
    ("enter, streams", "streams", |spec| spec.stdio = [Stream::Piped, Stream::Given, Stream::Piped]),
    ("enter, descriptors", "default", |spec| spec.descriptors = vec![Descriptor::new(9), Descriptor::new(3)]),
    ("enter, user and groups", "subordinate", |spec| (spec.user, spec.groups) = (Some((7, 8)), Some(vec![9, 3]))),
    ("enter, time namespace", "time namespace", |_| {}),
    ("enter, limits v1", "limits v1", |_| {}),
    ("enter, limits v2", "limits v2", |_| {}),
    ("enter, landlock", "landlock", |_| {}),
    ("enter, scheduling", "scheduling", |_| {}),
    ("enter, score", "personality and score", |_| {}),
    ("enter, nspawn", "nspawn", |spec| spec.user = Some((7, 7))),
    ("enter, new privileges", "new privileges", |_| {}),
    ("enter, no written code", "no written code", |_| {}),
    ("enter, securebits", "securebits with a grant", |_| {}),
    ("enter, no filter", "no filter", |_| {}),
];

fn entering(row: &Entering, caller: Caller) -> Option<Plan> {
    let plan = self::row(container_of(row), caller)?;
    enter(row, &plan)
}

fn container_of((_, container, _): &Entering) -> Change {
    TABLE.iter().find(|(name, _)| name == container).unwrap_or_else(|| panic!("no row {container}")).1
}

fn enter((_, _, change): &Entering, container: &Plan) -> Option<Plan> {
    let mut spec = ExecSpec { command: vec!["/usr/bin/true".into()], ..ExecSpec::default() };
    change(&mut spec);
    match crate::compile_exec(container, &spec) {
        Ok(plan) => Some(plan),
        Err(error) if error.kind() == ErrorKind::InvalidSpec => None,
        Err(error) => panic!("{error}"),
    }
}

/// A golden plan, and the host in memory that it is for.
pub(super) struct Staged {
    pub(super) name: &'static str,
    pub(super) caller: Caller,
    pub(super) spec: Spec,
    pub(super) model: Model,
    pub(super) plan: Plan,
    /// Of a plan that enters one: the container.
    pub(super) container: Option<Plan>,
}

/// Every row that compiles, for a host that is there.
pub(super) fn staged() -> Vec<Staged> {
    let stage = |name, change, caller| {
        let (spec, facts) = case(change, caller);
        let (model, facts) = facts.in_memory(&spec).unwrap_or_else(|| panic!("{name}: no such host"));
        let plan = compile(&spec, &facts).ok()?;
        Some(Staged { name, caller, spec, model, plan, container: None })
    };
    let both = [Caller::User, Caller::Root];
    let starting = TABLE.iter().flat_map(|(name, change)| both.map(|caller| stage(*name, *change, caller)));
    let entering = ENTERING.iter().flat_map(|line| {
        both.map(|caller| {
            let container = stage(line.0, container_of(line), caller)?;
            let plan = enter(line, &container.plan)?;
            Some(Staged { container: Some(container.plan), plan, ..container })
        })
    });
    starting.chain(entering).flatten().collect()
}

/// The plan of several rows at once, later ones over earlier ones; `None`
/// where they contradict each other or the caller may not have it.
pub(super) fn combined(rows: &[usize], caller: Caller) -> Option<Plan> {
    let changes: Vec<Change> = rows.iter().map(|row| TABLE[row % TABLE.len()].1).collect();
    let mut spec = Spec::default();
    let mut any = Facts::example(&spec);
    changes.iter().for_each(|change| change(&mut spec, &mut any));
    spec.command = vec!["sh".into()];
    let mut facts = facts(&spec, caller);
    changes.iter().for_each(|change| change(&mut spec.clone(), &mut facts));
    compile(&spec, &facts).ok()
}

/// Every row that compiles.
pub(super) fn goldens() -> impl Iterator<Item = (&'static str, Caller, Plan)> {
    let entering = ENTERING.iter().flat_map(|line| {
        let both = [Caller::User, Caller::Root];
        let both = both.map(|caller| entering(line, caller).map(|plan| (line.0, caller, plan)));
        assert!(both.iter().any(Option::is_some), "{} compiles for nobody", line.0);
        both.into_iter().flatten()
    });
    let starting = TABLE.iter().flat_map(|(name, change)| {
        let both = [Caller::User, Caller::Root].map(|caller| row(*change, caller).map(|plan| (*name, caller, plan)));
        assert!(both.iter().any(Option::is_some), "{name} compiles for nobody");
        both.into_iter().flatten()
    });
    starting.chain(entering)
}

pub(super) fn compiled(name: &str, caller: Caller) -> Plan {
    if let Some(plan) = ENTERING.iter().find(|line| line.0 == name).and_then(|line| entering(line, caller)) {
        return plan;
    }
    TABLE
        .iter()
        .find(|(row, _)| *row == name)
        .and_then(|(_, change)| row(*change, caller))
        .unwrap_or_else(|| panic!("no plan {name} for {caller:?}"))
}
