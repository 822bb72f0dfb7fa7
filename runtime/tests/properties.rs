//! What holds for every Spec, through the public API alone: no privileges, no
//! container, no file.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test file as a whole")]

#[path = "support/schema.rs"]
mod schema;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use skep::audit::Audit;
use skep::dialect::{self, Format, nspawn};
use skep::spec::{
    Bind, Capabilities, CapabilityList, CpuLimit, Denial, Descriptor, Device, Family, File, FileAccess, HostName,
    Hosts, IdMap, IdRange, Init, IoLimit, IoPriority, Landlock, Limit, Limits, MachineName, Mount, MountKind,
    Namespace, NamespaceChoice, Network, NumberList, Overlay, PathRule, Personality, Profile, Readiness, ResolvConf,
    Resources, Root, Scheduling, SchedulingPolicy, Secret, SecretFile, Socket, Stream, SystemCalls, TerminalSize,
    TimeOffsets, Timezone, Tmpfs, User, UserNamespace, Volatile, Want,
};
use skep::sys::Errno;
use skep::sys::abi::{CapabilitySet, Resource};
use skep::{Command, Facts, Plan, Spec};

/// The made-up host, for its ordinary user and for root.
fn hosts(spec: &Spec) -> [Facts; 2] {
    let user = Facts::example(spec);
    let mut root = user.clone();
    (root.uid, root.gid, root.capabilities) = (0, 0, CapabilitySet::up_to(root.last_capability));
    for group in &mut root.cgroups.unified {
        group.writable = true;
        group.enabled = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).into();
    }
    [user, root]
}

// ---------------------------------------------------------------- strategies

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z./_=-]{0,12}",
        1 => any::<String>().prop_map(|text| text.chars().take(20).collect()),
        1 => "[\\x00-\\x1f\\x7f\u{80}\u{9b}\u{202e}]{1,4}",
    ]
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop_oneof![text().prop_map(OsString::from), vec(any::<u8>(), 0..8).prop_map(OsString::from_vec)]
}

/// Paths that a container has anyhow, paths near them, and nonsense.
fn path() -> impl Strategy<Value = PathBuf> {
    let place = prop::sample::select(vec![
        "/",
        "/usr",
        "/usr/bin/sh",
        "/etc",
        "/etc/passwd",
        "/proc",
        "/proc/sys",
        "/proc/kcore",
        "/sys",
        "/dev",
        "/dev/null",
        "/dev/pts",
        "/run",
        "/run/host/notify",
        "/tmp",
        "/srv",
        "/srv/a",
        "/lib64",
        "/root",
    ]);
    let tail = prop_oneof![
        4 => Just(String::new()),
        2 => "(/[a-c]){1,3}",
        1 => prop::sample::select(vec!["/..", "/a/../b", "/.", "//b/", "/a b", "/\n", "/\u{1b}[2J", "/ü"]).prop_map(str::to_owned),
        1 => (250..5000_usize).prop_map(|length| format!("/{}", "x".repeat(length))),
    ];
    prop_oneof![
        9 => (place, tail).prop_map(|(place, tail)| PathBuf::from(format!("{place}{tail}"))),
        1 => bytes().prop_map(PathBuf::from),
    ]
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![prop::sample::select(vec![0, 1, 33, 65_534, 65_535, 65_536, u32::MAX - 1, u32::MAX]), any::<u32>()]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![prop::sample::select(vec![0, 1, 999, 1000, 1 << 20, 1 << 32, i64::MAX as u64, u64::MAX]), any::<u64>()]
}

fn machine() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?"
}

fn capabilities() -> impl Strategy<Value = CapabilityList> {
    prop_oneof![Just(0), Just(u64::MAX), (0..64).prop_map(|bit| 1_u64 << bit), (0..1_u64 << 41)]
        .prop_map(|bits| CapabilityList(CapabilitySet(bits)))
}

fn namespace() -> impl Strategy<Value = Namespace> {
    prop_oneof![
        8 => Just(Namespace::New),
        2 => Just(Namespace::Host),
        1 => path().prop_map(Namespace::Path),
        1 => Just(Namespace::Given),
    ]
}

fn want() -> impl Strategy<Value = Want> {
    prop::sample::select(vec![Want::Require, Want::IfSupported, Want::Off])
}

fn user_namespace() -> impl Strategy<Value = UserNamespace> {
    use UserNamespace::{Auto, Host, Identity, Own, Pick, Range, Subordinate};
    prop_oneof![
        4 => prop::sample::select(vec![Auto, Own, Subordinate, Pick, Identity, Host]),
        1 => (id(), id()).prop_map(|(base, count)| Range(IdRange { base, count })),
    ]
}

fn bind() -> impl Strategy<Value = MountKind> {
    let id_map = prop::sample::select(vec![IdMap::NoIdMap, IdMap::NoIdMap, IdMap::IdMap, IdMap::RootIdMap]);
    (path(), any::<[bool; 5]>(), id_map, want()).prop_map(|(source, on, id_map, want)| {
        let mut bind = Bind::default();
        [bind.read_only, bind.recursive, bind.optional, bind.noexec, bind.nosymfollow] = on;
        (bind.source, bind.id_map, bind.id_map_want) = (source, id_map, want);
        MountKind::Bind(bind)
    })
}

fn overlay() -> impl Strategy<Value = MountKind> {
    (vec(path(), 0..3), option::of(path()), option::of(path()), any::<[bool; 2]>()).prop_map(
        |(lower, upper, work, on)| {
            let mut overlay = Overlay::default();
            [overlay.read_only, overlay.noexec] = on;
            (overlay.lower, overlay.upper, overlay.work) = (lower, upper, work);
            MountKind::Overlay(overlay)
        },
    )
}

fn made() -> impl Strategy<Value = MountKind> {
    let device = (path(), any::<bool>()).prop_map(|(source, optional)| {
        let mut device = Device::new(source);
        device.optional = optional;
        MountKind::Device(device)
    });
    let file = (".{0,20}", 0..=0o1777_u32).prop_map(|(content, mode)| {
        let mut file = File::new(content);
        file.mode = mode;
        MountKind::File(file)
    });
    prop_oneof![device, file, ".{0,20}".prop_map(|content| MountKind::Secret(SecretFile::new(content)))]
}

fn tmpfs() -> impl Strategy<Value = MountKind> {
    (number(), number(), prop_oneof![0..=0o7777_u32, any::<u32>()], any::<bool>()).prop_map(
        |(size, inodes, mode, read_only)| {
            let mut tmpfs = Tmpfs::default();
            (tmpfs.size, tmpfs.inodes, tmpfs.mode, tmpfs.read_only) = (size, inodes, mode, read_only);
            MountKind::Tmpfs(tmpfs)
        },
    )
}

fn mount() -> impl Strategy<Value = Mount> {
    (path(), prop_oneof![3 => bind(), 2 => tmpfs(), 1 => overlay(), 1 => made()])
        .prop_map(|(target, kind)| Mount { target, kind })
}

fn limit() -> impl Strategy<Value = Limit> {
    (option::of(number()), option::of(number())).prop_map(|(soft, hard)| Limit { soft, hard })
}

fn limits() -> impl Strategy<Value = Limits> {
    btree_map(0..16_u8, limit(), 0..4).prop_map(|all| {
        let mut limits = Limits::new();
        for (resource, limit) in all {
            limits.set(Resource(resource), limit);
        }
        limits
    })
}

fn resources() -> impl Strategy<Value = Resources> {
    let cpu = (number(), number()).prop_map(|(quota, period)| CpuLimit { quota, period });
    let some = || option::of(number());
    let list =
        || option::of("[0-8]?[0-9](-9[0-9])?(,[0-9]{1,3}){0,2}".prop_map(|text| NumberList::parse(&text).unwrap()));
    let io = (path(), some(), some()).prop_map(|(device, read, write)| {
        let mut limit = IoLimit::new(device);
        (limit.read_bytes, limit.write_operations) = (read, write);
        limit
    });
    let memory = (some(), some(), some(), some(), some(), option::of(any::<bool>()));
    let cpu = (option::of(cpu), some(), list(), list());
    let rest = (vec(io, 0..3), some(), some(), want(), any::<bool>());
    (memory, cpu, rest).prop_map(|(memory, cpu, rest)| {
        let mut resources = Resources::default();
        (resources.memory, resources.memory_high, resources.memory_low) = (memory.0, memory.1, memory.2);
        (resources.memory_min, resources.swap, resources.oom_group) = (memory.3, memory.4, memory.5);
        (resources.cpu, resources.cpu_weight, resources.cpuset_cpus, resources.cpuset_mems) = cpu;
        (resources.io, resources.io_weight, resources.pids, resources.freezing, resources.delegate) = rest;
        resources
    })
}

fn user() -> impl Strategy<Value = User> {
    prop_oneof![(id(), id()).prop_map(|(uid, gid)| User::Ids { uid, gid }), text().prop_map(User::Name)]
}

fn root() -> impl Strategy<Value = Root> {
    let volatile = prop::sample::select(vec![Volatile::No, Volatile::Yes, Volatile::State, Volatile::Overlay]);
    (path(), any::<bool>(), volatile, any::<bool>()).prop_map(|(path, read_only, volatile, ephemeral)| {
        let mut root = Root::default();
        (root.path, root.read_only, root.volatile, root.ephemeral) = (path, read_only, volatile, ephemeral);
        root
    })
}

fn namespaces() -> impl Strategy<Value = NamespaceChoice> {
    let kinds = [namespace(), namespace(), namespace(), namespace(), namespace()];
    (kinds, prop_oneof![3 => Just([0, 0]), 1 => any::<[i64; 2]>()]).prop_map(
        |([pid, ipc, uts, cgroup, time], [monotonic, boottime])| {
            let mut all = NamespaceChoice::default();
            (all.pid, all.ipc, all.uts, all.cgroup, all.time) = (pid, ipc, uts, cgroup, time);
            all.time_offsets = TimeOffsets { monotonic, boottime };
            all
        },
    )
}

fn landlock() -> impl Strategy<Value = Landlock> {
    let access = btree_set(prop::sample::select(FileAccess::ALL.to_vec()), 0..4);
    let rule = (path(), access).prop_map(|(path, access)| PathRule::new(path, access));
    let ports = || btree_set(any::<u16>(), 0..3);
    let wants = (want(), want(), option::of(want()), want());
    (vec(rule, 0..3), ports(), ports(), wants).prop_map(|(paths, bind, connect, wants)| {
        let mut rules = Landlock::default();
        (rules.paths, rules.bind, rules.connect) = (paths, bind, connect);
        (rules.files, rules.tcp, rules.abstract_sockets, rules.signals) = wants;
        rules
    })
}

fn system_calls() -> impl Strategy<Value = SystemCalls> {
    let item = || {
        prop_oneof![
            8 => prop::sample::select(vec!["@mount", "@process", "@clock", "kcmp", "mount", "read", "chown32"])
                .prop_map(str::to_owned),
            1 => text(),
        ]
    };
    let denial = prop_oneof![Just(Denial::EPERM), Just(Denial::Kill), Just(Denial::Errno(Errno::ENOSYS))];
    let family = || prop::sample::select(vec![Family::UNIX, Family::INET, Family::INET6, Family::VSOCK]);
    let socket = (family(), option::of(any::<u32>())).prop_map(|(family, protocol)| match protocol {
        Some(protocol) => Socket::new(family, protocol),
        None => family.into(),
    });
    let danger =
        prop_oneof![8 => prop::sample::select(vec!["bpf", "clone", "ioctl"]).prop_map(str::to_owned), 1 => text()];
    (
        btree_set(item(), 0..3),
        btree_set(danger, 0..3),
        btree_map(item(), denial, 0..3),
        // Mostly of nothing, as the rarest of all changes.
        prop_oneof![3 => Just(Default::default()), 1 => btree_set(item(), 0..3)],
        option::of(btree_set(family(), 0..3)),
        btree_set(family(), 0..2),
        btree_set(socket, 0..2),
    )
        .prop_map(|(allow, danger_allow, deny, notify, only, closed, opened)| {
            let mut calls = SystemCalls::default();
            (calls.allow, calls.danger_allow, calls.deny, calls.notify) = (allow, danger_allow, deny, notify);
            (calls.sockets.only, calls.sockets.deny, calls.sockets.danger_allow) = (only, closed, opened);
            calls
        })
}

/// A change of one field. Only the Spec that it leads to is worth printing.
struct Change(Box<dyn Fn(&mut Spec)>);

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(change)")
    }
}

/// Changes of one field or two that belong together: one entry for each field of the Spec.
fn change() -> impl Strategy<Value = Change> {
    /// `field(strategy, place)`: sets what `place` names.
    macro_rules! field {
        ($values:expr, $($place:tt)+) => {
            $values.prop_map(|value| Change(Box::new(move |spec: &mut Spec| spec.$($place)+ = value.clone()))).boxed()
        };
    }
    let resolv_conf = prop::sample::select(vec![
        ResolvConf::Off,
        ResolvConf::CopyHost,
        ResolvConf::ReplaceStatic,
        ResolvConf::BindUplink,
        ResolvConf::Delete,
    ]);
    let timezone =
        prop::sample::select(vec![Timezone::Copy, Timezone::Bind, Timezone::Symlink, Timezone::Delete, Timezone::Auto]);
    let streams = prop::sample::select(vec![Stream::Null, Stream::Piped, Stream::Given, Stream::Terminal]);
    let variables = btree_map(text(), bytes().prop_map(Secret::new), 0..4);
    prop::strategy::Union::new([
        field!(prop_oneof![9 => Just(1), 1 => any::<u32>()], version),
        field!(prop::sample::select(vec![Profile::Strict, Profile::Nspawn]), profile),
        field!(machine().prop_map(|name| MachineName::new(name).ok()), machine),
        field!(root(), root),
        field!(vec(mount(), 0..6), mounts),
        field!(vec(path(), 0..4), masked),
        field!(vec(path(), 0..4), read_only),
        field!(btree_map("[a-z.:]{0,4}", bytes().prop_map(Secret::new), 0..3), credentials),
        field!(resolv_conf, resolv_conf),
        field!(timezone, timezone),
        field!(prop::sample::select(vec![Hosts::Generate, Hosts::CopyHost, Hosts::BindHost]), hosts),
        field!(any::<bool>(), hostname_file),
        field!(want(), device_policy),
        field!(namespaces(), namespaces),
        field!(user_namespace(), user_namespace),
        field!(
            prop_oneof![
                2 => prop::sample::select(vec![Network::None, Network::Host, Network::Given]),
                1 => path().prop_map(Network::Path),
            ],
            network
        ),
        (capabilities(), capabilities())
            .prop_map(|(bounding, ambient)| {
                let mut all = Capabilities::default();
                (all.bounding, all.ambient) = (bounding, ambient);
                Change(Box::new(move |spec: &mut Spec| spec.capabilities = all))
            })
            .boxed(),
        field!(any::<bool>(), no_new_privileges),
        field!(want(), seccomp),
        field!(system_calls(), system_calls),
        field!(landlock(), landlock),
        field!(want(), keyring),
        field!(want(), register),
        field!(prop::sample::select(Personality::NAMES.map(|(_, one)| one).to_vec()), personality),
        field!(want(), memory_deny_write_execute),
        field!(scheduling(), scheduling),
        field!(btree_map(sysctl(), prop_oneof![9 => "[0-9]{1,4}", 1 => text()], 0..3), sysctls),
        field!(option::of(prop_oneof![9 => -1000..=1000_i16, 1 => any::<i16>()]), oom_score_adjust),
        field!(limits(), limits),
        field!(resources(), resources),
        field!(user(), user),
        field!(vec(id(), 0..5), groups),
        field!(prop_oneof![9 => 0..=0o777_u32, 1 => any::<u32>()], umask),
        field!(path(), working_directory),
        field!(variables, environment),
        field!(machine().prop_map(|name| HostName::new(name).ok()), hostname),
        field!(prop::sample::select(vec![Init::Stub, Init::Payload]), init),
        field!(vec(bytes(), 0..4), command),
        field!(prop::sample::select(vec![Readiness::Exec, Readiness::Notify]), readiness),
        field!(prop_oneof![9 => 1..=64_u8, 1 => any::<u8>()], kill_signal),
        field!([streams.clone(), streams.clone(), streams], stdio),
        field!(vec(descriptor(), 0..4), descriptors),
        field!(any::<bool>(), hold),
        field!(prop::option::of((any::<u16>(), any::<u16>()).prop_map(|(r, c)| TerminalSize::new(r, c))), terminal),
    ])
}

fn sysctl() -> impl Strategy<Value = String> {
    let known = vec!["net.ipv4.ip_forward", "net/core/somaxconn", "kernel.sem", "fs.mqueue.msg_max", "kernel.hostname"];
    prop_oneof![8 => prop::sample::select(known).prop_map(str::to_owned), 1 => text()]
}

fn scheduling() -> impl Strategy<Value = Scheduling> {
    let priority = || prop_oneof![9 => 1..=99_u8, 1 => any::<u8>()];
    let level = || prop_oneof![9 => 0..=7_u8, 1 => any::<u8>()];
    let policy = prop_oneof![
        prop::sample::select(vec![SchedulingPolicy::Other, SchedulingPolicy::Batch, SchedulingPolicy::Idle]),
        priority().prop_map(|priority| SchedulingPolicy::Fifo { priority }),
        priority().prop_map(|priority| SchedulingPolicy::RoundRobin { priority }),
    ];
    let io = prop_oneof![
        Just(IoPriority::Idle),
        level().prop_map(|level| IoPriority::BestEffort { level }),
        level().prop_map(|level| IoPriority::RealTime { level }),
    ];
    let affinity =
        prop::sample::select(vec!["0", "0-1", "3,5-9", "8192"]).prop_map(|text| NumberList::parse(text).ok());
    let nice = option::of(prop_oneof![9 => -20..=19_i8, 1 => any::<i8>()]);
    (affinity, option::of(policy), nice, option::of(io)).prop_map(|(affinity, policy, nice, io)| {
        let mut all = Scheduling::default();
        (all.affinity, all.policy, all.nice, all.io) = (affinity, policy, nice, io);
        all
    })
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    (prop_oneof![9 => 0..12_u32, 1 => any::<u32>()], any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(number, danger_directory, listen)| {
            let mut descriptor = Descriptor::new(number);
            (descriptor.danger_directory, descriptor.listen) = (danger_directory, listen);
            descriptor
        },
    )
}

/// Any Spec: a profile's, with some fields changed. Few changes at a time, so
/// that some compile.
fn spec() -> impl Strategy<Value = Spec> {
    (prop::sample::select(vec![Profile::Strict, Profile::Nspawn]), vec(change(), 0..6)).prop_map(
        |(profile, changes)| {
            let mut spec = Spec::of(profile);
            spec.command = vec!["/usr/bin/true".into()];
            for change in changes {
                (change.0)(&mut spec);
            }
            spec
        },
    )
}

/// A whole call of the builder.
#[derive(Clone, Debug)]
enum Call {
    Env(String, OsString),
    Bind(PathBuf, PathBuf, bool),
    Tmpfs(PathBuf),
    Mask(PathBuf),
    Limit(Resource, Limit),
    Groups(Vec<u32>),
    Machine(MachineName),
    Hostname(HostName),
    Root(PathBuf),
    ReadOnly(bool),
    Ephemeral(bool),
    UserNamespace(UserNamespace),
    Network(Network),
    User(User),
    Capabilities(CapabilityList),
    Ambient(CapabilityList),
    NewPrivileges,
    NoFilter,
    Memory(u64),
    Cpu(u64, u64),
    Pids(u64),
    Umask(u32),
    CurrentDir(PathBuf),
    Init(Init),
    Readiness(Readiness),
}

impl Call {
    fn on(&self, command: &mut Command) {
        match self.clone() {
            Self::Env(name, value) => command.env(name, value),
            Self::Bind(source, target, true) => command.bind_ro(source, target),
            Self::Bind(source, target, false) => command.bind(source, target),
            Self::Tmpfs(target) => command.tmpfs(target),
            Self::Mask(path) => command.mask(path),
            Self::Limit(resource, limit) => command.limit(resource, limit),
            Self::Groups(groups) => command.groups(groups),
            Self::Machine(name) => command.machine(name),
            Self::Hostname(name) => command.hostname(name),
            Self::Root(path) => command.root(path),
            Self::ReadOnly(on) => command.read_only(on),
            Self::Ephemeral(on) => command.ephemeral(on),
            Self::UserNamespace(choice) => command.user_namespace(choice),
            Self::Network(network) => command.network(network),
            Self::User(user) => command.user(user),
            Self::Capabilities(list) => command.capabilities(list),
            Self::Ambient(list) => command.ambient(list),
            Self::NewPrivileges => command.danger_new_privileges(),
            Self::NoFilter => command.danger_no_filter(),
            Self::Memory(bytes) => command.memory(bytes),
            Self::Cpu(quota, period) => command.cpu(quota, period),
            Self::Pids(count) => command.pids(count),
            Self::Umask(mask) => command.umask(mask),
            Self::CurrentDir(path) => command.current_dir(path),
            Self::Init(init) => command.init(init),
            Self::Readiness(readiness) => command.readiness(readiness),
        };
    }

    /// Two calls with the same key say twice the same thing; the later wins,
    /// as with `std::process::Command`, so only one of them is made.
    fn key(&self) -> String {
        match self {
            Self::Env(name, _) => format!("env {name}"),
            Self::Bind(_, target, _) | Self::Tmpfs(target) => format!("mount {}", target.display()),
            Self::Mask(path) => format!("mask {}", path.display()),
            Self::Limit(resource, _) => format!("limit {resource}"),
            // These add.
            Self::Groups(groups) => format!("groups {groups:?}"),
            other => format!("{:?}", std::mem::discriminant(other)),
        }
    }
}

/// Values that compile: the order is to matter, not the value.
fn call() -> impl Strategy<Value = Call> {
    let target = || "/(srv|opt|data|home)(/[a-c]){0,3}".prop_map(PathBuf::from);
    let source = || "/(srv|opt)(/[a-c]){0,2}".prop_map(PathBuf::from);
    let small = || (0..3_u64).prop_map(|bits| CapabilityList(CapabilitySet(bits)));
    prop_oneof![
        ("[A-Z]{1,2}", "[a-z]{0,3}").prop_map(|(name, value)| Call::Env(name, value.into())),
        (source(), target(), any::<bool>())
            .prop_map(|(source, target, read_only)| Call::Bind(source, target, read_only)),
        (source(), target(), any::<bool>())
            .prop_map(|(source, target, read_only)| Call::Bind(source, target, read_only)),
        target().prop_map(Call::Tmpfs),
        "/proc/(kcore|keys|timer_list)".prop_map(|path| Call::Mask(path.into())),
        (0..16_u8, 0..100_u64).prop_map(|(resource, value)| Call::Limit(Resource(resource), Limit::both(value))),
        vec(0..9_u32, 1..3).prop_map(Call::Groups),
        machine().prop_filter_map("a name", |name| MachineName::new(name).ok()).prop_map(Call::Machine),
        machine().prop_filter_map("a name", |name| HostName::new(name).ok()).prop_map(Call::Hostname),
        source().prop_map(Call::Root),
        any::<bool>().prop_map(Call::ReadOnly),
        any::<bool>().prop_map(Call::Ephemeral),
        prop::sample::select(vec![UserNamespace::Own, UserNamespace::Pick, UserNamespace::Subordinate])
            .prop_map(Call::UserNamespace),
        prop::sample::select(vec![Network::None, Network::Host]).prop_map(Call::Network),
        (0..9_u32).prop_map(|id| Call::User(User::Ids { uid: id, gid: id })),
        small().prop_map(Call::Capabilities),
        small().prop_map(Call::Ambient),
        Just(Call::NewPrivileges),
        Just(Call::NoFilter),
        (64_u64 << 20..1 << 32).prop_map(Call::Memory),
        (1000..50_000_u64).prop_map(|quota| Call::Cpu(quota, 100_000)),
        (10..1000_u64).prop_map(Call::Pids),
        (0..=0o777_u32).prop_map(Call::Umask),
        target().prop_map(Call::CurrentDir),
        prop::sample::select(vec![Init::Stub, Init::Payload]).prop_map(Call::Init),
        prop::sample::select(vec![Readiness::Exec, Readiness::Notify]).prop_map(Call::Readiness),
    ]
}

/// Calls, and the same in another order.
fn two_orders() -> impl Strategy<Value = (Vec<Call>, Vec<Call>)> {
    vec(call(), 2..14)
        .prop_map(|calls| {
            let mut keys = std::collections::BTreeSet::new();
            calls.into_iter().filter(|call| keys.insert(call.key())).collect::<Vec<_>>()
        })
        .prop_flat_map(|calls| (Just(calls.clone()), Just(calls).prop_shuffle()))
}

// ---------------------------------------------------------------- properties

/// What compiles, verifies; an error says something on one line of plain text,
/// and what to do about it.
fn verified(spec: &Spec, facts: &Facts) -> Option<Plan> {
    let compiled = skep::compile(spec, facts);
    if let Ok(plan) = &compiled {
        let verified = skep::verify(plan.clone()).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
        assert_eq!(verified.plan(), plan);
    }
    let complaint = |error: skep::Error| {
        assert_plain(&error.to_string());
        assert!(error.advice().is_some(), "{error}");
    };
    compiled.map_err(complaint).ok()
}

fn assert_plain(line: &str) {
    assert!(!line.is_empty());
    assert!(!line.contains(char::is_control), "{line:?}");
}

/// What a Spec can give away.
const GIFTS: [fn(&mut Spec); 4] = [
    |spec| spec.seccomp = Want::Off,
    |spec| spec.no_new_privileges = false,
    |spec| spec.network = Network::Host,
    |spec| spec.keyring = Want::Off,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spec_fails_with_an_error_or_verifies(spec in spec()) {
        for facts in hosts(&spec) {
            if let Some(plan) = verified(&spec, &facts) {
                plan.to_string().lines().chain(plan.verbose().to_string().lines()).for_each(assert_plain);
            }
        }
    }

    #[test]
    fn an_audit_is_plain_and_never_better_for_what_is_given_away(spec in spec(), gift in 0..GIFTS.len()) {
        for facts in hosts(&spec) {
            let Some(plan) = verified(&spec, &facts) else { continue };
            let audit = Audit::of(&spec, &plan);
            for (nth, row) in audit.rows().iter().enumerate() {
                [&row.item, &row.holds, &row.why].into_iter().for_each(|text| assert_plain(text));
                prop_assert!(audit.rows()[..nth].iter().all(|other| other.item != row.item), "{} twice", row.item);
                prop_assert!(row.exposure <= audit.exposure(), "{} is more than the whole", row.item);
            }
            let mut given = spec.clone();
            GIFTS[gift](&mut given);
            let Some(plan) = verified(&given, &facts) else { continue };
            let worse = Audit::of(&given, &plan);
            prop_assert!(worse.exposure() >= audit.exposure(), "{:?}", audit.differences(&worse));
        }
    }

    #[test]
    fn compile_is_deterministic(spec in spec()) {
        for facts in hosts(&spec) {
            prop_assert_eq!(skep::compile(&spec, &facts), skep::compile(&spec.clone(), &facts.clone()));
        }
    }

    #[test]
    fn any_order_of_builder_calls_gives_the_same_plan((one, other) in two_orders()) {
        let spec = |calls: &[Call]| {
            let mut command = Command::new("/usr/bin/true");
            calls.iter().for_each(|call| call.on(&mut command));
            command.spec()
        };
        let (one, other) = (spec(&one), spec(&other));
        // The facts name what both name.
        for (facts, same) in hosts(&one).into_iter().zip(hosts(&other)) {
            prop_assert_eq!(&facts, &same);
            let (plan, again) = (verified(&one, &facts), verified(&other, &facts));
            prop_assert_eq!(plan.as_ref().map(Plan::to_string), again.as_ref().map(Plan::to_string));
            prop_assert_eq!(plan, again);
        }
    }

    #[test]
    fn a_spec_that_compiles_is_the_same_after_any_format(spec in spec()) {
        if hosts(&spec).iter().any(|facts| skep::compile(&spec, facts).is_ok()) {
            for format in Format::ALL {
                let file = Path::new("/spec");
                match dialect::write(format, &spec) {
                    Ok(text) => {
                        let again = dialect::read(format, file, text.as_bytes(), spec.profile);
                        let mut again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
                        again.machine.clone_from(&spec.machine);
                        prop_assert_eq!(&again, &spec, "{}", text);
                    }
                    Err(unsayables) => {
                        prop_assert!(!unsayables.0.is_empty());
                        unsayables.to_string().lines().for_each(assert_plain);
                        // Only paths that are not text cannot be said in JSON.
                        prop_assert!(format != Format::Json || unsayables.to_string().contains("UTF-8"), "{}", unsayables);
                    }
                }
            }
        }
    }

    #[test]
    fn what_can_be_said_in_a_settings_file_is_all_but_what_is_told(spec in spec()) {
        let (settings, left) = nspawn::Settings::of(&spec);
        let again = nspawn::parse(Path::new("/spec"), settings.to_string().as_bytes());
        let mut made = Spec::of(spec.profile);
        if again.unwrap_or_else(|error| panic!("{error}\n{settings}")).apply(&mut made).is_ok() {
            prop_assert_eq!(left.0.is_empty(), made == spec, "{}\n{}", settings, left);
        }
    }

    #[test]
    fn a_spec_fits_the_schema(mut spec in spec()) {
        spec.version = 1;
        let schema: serde_json::Value = serde_json::from_str(skep::dialect::native::SCHEMA).unwrap();
        if let Ok(value) = serde_json::to_value(&spec) {
            schema::validate(&schema, &value).unwrap_or_else(|why| panic!("{why}"));
        }
        if let Ok(text) = dialect::write(Format::Json, &spec) {
            let value = serde_json::from_str(&text).unwrap();
            schema::validate(&schema, &value).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn no_print_of_a_plan_holds_a_variables_value(
        mut spec in spec(),
        name in "[A-Z]{1,4}",
        value in "[0-9a-f]{16}",
        readiness in prop::sample::select(vec![Readiness::Exec, Readiness::Notify]),
    ) {
        spec.readiness = readiness;
        spec.environment.insert(name, Secret::new(format!("value-{value}-end")));
        let shown = format!("{spec:?}");
        prop_assert!(!shown.contains(&value));
        for facts in hosts(&spec) {
            match skep::compile(&spec, &facts) {
                Err(error) => prop_assert!(!error.to_string().contains(&value), "{}", error),
                Ok(plan) => for print in [plan.to_string(), plan.verbose().to_string(), plan.to_json().to_string(), plan.report().to_string()] {
                    prop_assert!(!print.contains(&value), "{}", print);
                },
            }
        }
    }

    #[test]
    fn a_settings_file_is_the_same_after_printing(lines in vec(settings_line(), 0..12)) {
        let file = Path::new("/etc/systemd/nspawn/web.nspawn");
        let text = lines.concat();
        match nspawn::parse(file, text.as_bytes()) {
            Ok(settings) => {
                let printed = settings.to_string();
                let again = nspawn::parse(file, printed.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
                prop_assert_eq!(&settings, &again);
                let (mut spec, mut same) = (Spec::default(), Spec::default());
                prop_assert_eq!(settings.apply(&mut spec).is_ok(), again.apply(&mut same).is_ok());
                prop_assert_eq!(spec, same);
            }
            Err(problems) => problems.to_string().lines().for_each(assert_plain),
        }
    }
}

/// Lines of a `.nspawn` file, most of them right.
fn settings_line() -> impl Strategy<Value = String> {
    let right = prop::sample::select(vec![
        "[Exec]\n",
        "[Files]\n",
        "[Network]\n",
        "# a comment\n",
        "\n",
        "[X-Mine]\nAny=thing\n",
        "[Exec]\nParameters=/bin/sh -c 'a b'\n",
        "[Exec]\nHostname=web\n",
        "[Exec]\nLimitNOFILE=1:2\n",
        "[Exec]\nCapability=CAP_CHOWN \\\n CAP_KILL\n",
        "[Exec]\nNoNewPrivileges=yes\n",
        "[Exec]\nPrivateUsers=pick\n",
        "[Files]\nVolatile=overlay\n",
        "[Network]\nPrivate=yes\n",
    ]);
    prop_oneof![
        3 => right.prop_map(str::to_owned),
        1 => ("[A-Z]{1,3}", "[a-z' \\\\\"]{0,6}").prop_map(|(name, value)| format!("[Exec]\nEnvironment={name}={value}\n")),
        1 => "(/[a-c ]{1,4}){1,3}".prop_map(|path| format!("[Files]\nBind={path}\n")),
        1 => text().prop_map(|text| format!("{text}\n")),
    ]
}

/// As many binds as a program could ask for by mistake: an error, at once, and
/// no plan as long as that.
#[test]
fn a_hundred_thousand_binds_are_an_error_at_once() {
    let mut command = Command::new("/usr/bin/true");
    for number in 0..100_000 {
        command.bind_ro("/srv", format!("/data/{number}"));
    }
    let spec = command.spec();
    for facts in hosts(&spec) {
        let began = Instant::now();
        let error = skep::compile(&spec, &facts).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_plain(&error.to_string());
        assert!(error.to_string().len() < 400, "{error}");
    }
}

/// The strategies are worth something only if a good part of the Specs compiles.
#[test]
fn a_good_part_of_the_specs_compiles() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compiled = (0..400)
        .filter(|_| {
            let spec = spec().new_tree(&mut runner).unwrap().current();
            hosts(&spec).iter().any(|facts| skep::compile(&spec, facts).is_ok())
        })
        .count();
    assert!((80..400).contains(&compiled), "{compiled} of 400");
}

/// Every combination of what decides how a payload becomes what it shall be:
/// each that compiles can be carried out, and ends as the Spec says. (A filter
/// needs either no_new_privs or CAP_SYS_ADMIN, which a change of ids takes.)
#[test]
fn every_choice_of_privileges_can_be_carried_out() {
    const CHOWN: u64 = 1;
    let mut started = 0;
    let sets = [0, CHOWN, Capabilities::nspawn().bounding.0.0];
    for (profile, user_namespace) in [
        (Profile::Strict, UserNamespace::Pick),
        (Profile::Strict, UserNamespace::Host),
        (Profile::Nspawn, UserNamespace::Host),
    ] {
        for bits in 0..16_u32 {
            let is = |bit: u32| bits >> bit & 1 == 1;
            for (bounding, ambient) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)] {
                let mut spec = Spec::default();
                spec.command = vec!["/usr/bin/true".into()];
                (spec.profile, spec.user_namespace) = (profile, user_namespace);
                spec.no_new_privileges = is(0);
                spec.user = if is(1) { User::Ids { uid: 33, gid: 33 } } else { User::default() };
                spec.init = if is(2) { Init::Stub } else { Init::Payload };
                spec.seccomp = if is(3) { Want::Require } else { Want::Off };
                spec.capabilities.bounding = CapabilityList(CapabilitySet(sets[bounding]));
                spec.capabilities.ambient = CapabilityList(CapabilitySet(sets[ambient]));
                started += usize::from(starts_as_said(&spec));
            }
        }
    }
    assert!(started >= 200, "{started} of 240");
}

/// Whether a Spec compiles for root; then it also starts, on the kernel in
/// memory.
fn starts_as_said(spec: &Spec) -> bool {
    use skep::sys::{Actor, Model};
    let mut model = Model::new().file("/usr/bin/true", "program");
    let [_, facts] = hosts(spec);
    let mut facts = facts.on(&mut model);
    facts.cgroups = Default::default();
    let Ok(plan) = skep::compile(spec, &facts) else { return false };
    let verified = skep::verify(plan).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
    skep::rehearse(&mut model, &verified).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
    let payload = model.process(if spec.init == Init::Stub { Actor::Payload } else { Actor::Child }).unwrap();
    assert!(payload.exec().is_some(), "{spec:#?}");
    let has = payload.credentials();
    assert_eq!(has.bounding, spec.capabilities.bounding.0, "{spec:#?}");
    assert_eq!((has.inheritable, has.ambient), (spec.capabilities.ambient.0, spec.capabilities.ambient.0), "{spec:#?}");
    assert_eq!(has.no_new_privs, spec.no_new_privileges, "{spec:#?}");
    assert_eq!(has.filters > 0, spec.seccomp != Want::Off, "{spec:#?}");
    true
}

/// The schema is worth something only if it refuses.
#[test]
fn the_schema_refuses_what_reading_refuses() {
    let schema: serde_json::Value = serde_json::from_str(skep::dialect::native::SCHEMA).unwrap();
    for (text, fits) in [
        (r#"{}"#, true),
        (r#"{"$schema": "x", "version": 1, "environment": {"A": [1]}, "user": {"ids": {"uid": 1, "gid": 2}}}"#, true),
        (r#"{"version": 2}"#, false),
        (r#"{"comand": []}"#, false),
        (r#"{"umask": -1}"#, false),
        (r#"{"umask": "022"}"#, false),
        (r#"{"root": {"volatile": "stat"}}"#, false),
        (r#"{"mounts": [{"target": "/a"}]}"#, false),
        (r#"{"mounts": [{"target": "/a", "kind": {"bind": {"sourse": "/b"}}}]}"#, false),
        (r#"{"mounts": [{"target": "/a", "kind": {"bind": {}, "tmpfs": {}}}]}"#, false),
        (r#"{"user": {"ids": {"uid": 1}}}"#, false),
        (r#"{"stdio": ["null"]}"#, false),
        (r#"{"environment": {"A": 1}}"#, false),
        (r#"{"machine": ""}"#, false),
    ] {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(schema::validate(&schema, &value).is_ok(), fits, "{text}");
        let read = dialect::read(Format::Json, Path::new("/s"), text.as_bytes(), skep::spec::Profile::Strict);
        assert_eq!(read.is_ok(), fits, "{text}");
    }
}

/// Found by a property: the report spoke of the profile's limit all the same.
#[test]
fn a_limit_on_processes_that_was_asked_for_is_the_one_that_is_reported() {
    for (asked, said) in [(Limit::both(7), "7 for each user"), (Limit::both(u64::MAX), "is no limit")] {
        let mut spec = Spec::default();
        spec.command = vec!["true".into()];
        spec.limits.set(Resource::NPROC, asked);
        let plan = verified(&spec, &Facts::example(&spec)).unwrap();
        assert!(plan.report().to_string().contains(said), "{}", plan.report());
    }
}

/// Found by fuzzing: a denied call that answers 0 would seem to have worked.
#[test]
fn what_a_denied_call_answers_is_an_error() {
    for (number, fits) in [(0, false), (1, true), (4095, true), (4096, false)] {
        let mut spec = Spec::default();
        spec.command = vec!["true".into()];
        spec.system_calls.deny.insert("mount".into(), Denial::Errno(skep_sys::Errno::from_raw(number)));
        assert_eq!(verified(&spec, &Facts::example(&spec)).is_some(), fits, "{number}");
    }
}
