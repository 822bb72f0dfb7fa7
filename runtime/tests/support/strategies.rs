//! Changes of a Spec, in every field: for what holds for all of them, without a
//! kernel and on one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use skep::Spec;
use skep::spec::{
    AccessTimes, Architecture, Bind, BindUsers, Capabilities, CapabilityList, CpuLimit, Denial, Descriptor, Device,
    Family, File, FileAccess, HostName, Hosts, IdMap, IdRange, Init, IoLimit, IoPriority, KernelFiles, Landlock, Limit,
    Limits, LinkJournal, LinkName, LinkPair, Links, MachineName, Mount, MountKind, Namespace, NamespaceChoice, Network,
    NumberList, Overlay, PathRule, Personality, Profile, Readiness, ResolvConf, Resources, Root, Scheduling,
    SchedulingPolicy, Secret, SecretFile, SecureBitList, Socket, Stream, SystemCalls, TerminalSize, TimeOffsets,
    Timezone, Tmpfs, User, UserNamespace, UserShell, Volatile, Want,
};
use skep::sys::Errno;
use skep::sys::abi::{CapabilitySet, Resource, SecureBits};

pub(crate) fn text() -> impl Strategy<Value = String> {
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

pub(crate) fn machine() -> impl Strategy<Value = String> {
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
    (path(), any::<[bool; 6]>(), id_map, want()).prop_map(|(source, on, id_map, want)| {
        let mut bind = Bind::default();
        [bind.read_only, bind.recursive, bind.optional, bind.noexec, bind.nosymfollow, bind.no_links] = on;
        (bind.source, bind.id_map, bind.id_map_want) = (source, id_map, want);
        MountKind::Bind(bind)
    })
}

fn overlay() -> impl Strategy<Value = MountKind> {
    (vec(path(), 0..3), option::of(path()), option::of(path()), any::<[bool; 3]>()).prop_map(
        |(lower, upper, work, on)| {
            let mut overlay = Overlay::default();
            [overlay.read_only, overlay.noexec, overlay.user_attributes] = on;
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
            tmpfs.percent = (mode % 7 == 0).then_some((size % 130) as u8);
            // Not of nodes or huge pages, which a kernel may lack.
            tmpfs.blocks = (mode % 11 == 0).then_some(size % 1000);
            (tmpfs.noswap, tmpfs.nodiratime) = (mode % 31 == 0, mode % 4 == 0);
            tmpfs.inode64 = (mode % 9 == 0).then_some(true);
            tmpfs.access_times =
                [AccessTimes::Profile, AccessTimes::Relative, AccessTimes::Strict, AccessTimes::Off][mode as usize % 4];
            (tmpfs.uid, tmpfs.gid) = if mode % 5 == 0 { ((inodes % 70_000) as u32, mode % 3) } else { (0, 0) };
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
    let lower = prop_oneof![3 => Just(Vec::new()), 1 => vec(path(), 1..3)];
    let own = (path(), lower, option::weighted(0.2, path()), option::weighted(0.1, path()));
    (own, any::<bool>(), volatile, any::<bool>()).prop_map(
        |((path, lower, upper, work), read_only, volatile, ephemeral)| {
            let mut root = Root::default();
            (root.lower, root.upper, root.work) = (lower, upper, work);
            (root.path, root.read_only, root.volatile, root.ephemeral) = (path, read_only, volatile, ephemeral);
            root
        },
    )
}

fn bind_user() -> impl Strategy<Value = BindUsers> {
    let name = || prop_oneof![8 => "[a-z]{1,3}", 1 => text()];
    let shell = prop_oneof![Just(UserShell::Usual), Just(UserShell::Host), path().prop_map(UserShell::Path)];
    (vec(name(), 0..3), shell, vec(name(), 0..3)).prop_map(|(names, shell, groups)| {
        let mut users = BindUsers::default();
        (users.names, users.shell, users.groups) = (names, shell, groups);
        users
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
pub(crate) struct Change(Box<dyn Fn(&mut Spec)>);

impl Change {
    /// Makes it.
    pub(crate) fn on(&self, spec: &mut Spec) {
        (self.0)(spec);
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(change)")
    }
}

/// Changes of one field or two that belong together: one entry for each field of the Spec.
pub(crate) fn change() -> impl Strategy<Value = Change> {
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
        field!(bind_user(), bind_user),
        field!(prop::sample::select(vec![LinkJournal::Host, LinkJournal::TryGuest, LinkJournal::Auto]), link_journal),
        field!(resolv_conf, resolv_conf),
        field!(timezone, timezone),
        field!(prop::sample::select(vec![Hosts::Generate, Hosts::CopyHost, Hosts::BindHost]), hosts),
        field!(any::<bool>(), hostname_file),
        field!(want(), device_policy),
        interfaces().boxed(),
        field!(namespaces(), namespaces),
        field!(user_namespace(), user_namespace),
        field!(
            prop_oneof![
                2 => prop::sample::select(vec![Network::None, Network::Host, Network::Given]),
                1 => path().prop_map(Network::Path),
                1 => path().prop_map(Network::Own),
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
        field!(option::of(any::<u8>().prop_map(|bits| SecureBitList(SecureBits(bits.into())))), securebits),
        field!(any::<bool>(), no_new_privileges),
        field!(want(), seccomp),
        field!(system_calls(), system_calls),
        field!(
            option::of(btree_set(prop::sample::select(Architecture::NAMES.map(|(_, one)| one).to_vec()), 0..3)),
            system_calls.architectures
        ),
        field!(any::<bool>(), system_calls.suppress_sync),
        field!(any::<bool>(), tmp),
        field!(prop::sample::select(vec![KernelFiles::Network, KernelFiles::Writable]), kernel_files),
        field!(any::<bool>(), login_shell),
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
        field!(
            prop::sample::subsequence(ITEMS, 0..2)
                .prop_map(|all| all.iter().map(|item| (*item).to_owned()).collect::<std::collections::BTreeSet<_>>()),
            required
        ),
        field!(any::<bool>(), hold),
        field!(prop::option::of((any::<u16>(), any::<u16>()).prop_map(|(r, c)| TerminalSize::new(r, c))), terminal),
    ])
}

/// Interfaces, and the network that can have them.
pub(crate) fn interfaces() -> impl Strategy<Value = Change> {
    links().prop_map(|links| {
        Change(Box::new(move |spec: &mut Spec| {
            (spec.network, spec.links) = (Network::None, links.clone());
        }))
    })
}

/// Interfaces, addresses and ports, near what people write. `card0`, `card1` and the bridge
/// `br0` may be there.
fn links() -> impl Strategy<Value = Links> {
    let name = || prop::sample::select(vec!["card0", "card1", "br0", "host0", "lan", "x0", "not-there"]);
    let pair = (prop_oneof![9 => name(), 1 => Just("a-name-of-more-than-15-bytes")], option::of(name()));
    let pair = pair.prop_map(|(host, inside)| {
        let inside = inside.and_then(|name| LinkName::new(name).ok());
        LinkPair::new(host, inside).unwrap_or_else(|error| panic!("{host}: {error}"))
    });
    let pairs = || prop_oneof![2 => Just(Vec::new()), 1 => vec(pair.clone(), 1..3)];
    let bridge = prop_oneof![4 => Just("br0"), 1 => Just("card0"), 1 => Just("not-there")];
    let zone = prop::sample::select(vec!["lan", "a"]);
    let below = prop_oneof![
        4 => Just((None, None)),
        1 => bridge.prop_map(|name| (LinkName::new(name).ok(), None)),
        1 => zone.prop_map(|name| (None, LinkName::zone(name).ok())),
    ];
    let addresses = vec![
        "auto",
        "10.9.0.2/24",
        "10.9.0.2/30,10.9.0.1",
        "10.9.0.3/31,10.9.0.2",
        "10.9.0.7/24,10.9.0.9",
        "127.0.0.5/8",
        "192.0.2.7/32",
        "fd09::2/64",
        "fd09::7/126,fd09::5",
    ];
    let address = prop::sample::select(addresses).prop_map(|text| text.parse().ok());
    let ports = vec!["8080:80", "127.0.0.1:8081:80", "udp:53", "udp:127.0.0.1:53:54", "[::1]:9:9", "10.9.0.1:1:65535"];
    let port = prop::sample::select(ports).prop_map(|text| text.parse().ok());
    let hardware = prop::sample::select(vec!["02:00:00:00:00:01", "2:0:0:0:0:1,2:0:0:0:0:2"]);
    let hardware = option::weighted(0.2, hardware).prop_map(|text| text.and_then(|text| text.parse().ok()));
    let lists = (pairs(), pairs(), pairs(), pairs());
    (any::<bool>(), below, lists, vec(address, 0..3), vec(port, 0..3), hardware).prop_map(
        |(veth, (bridge, zone), (extra, macvlan, ipvlan, moved), addresses, ports, hardware)| {
            let mut links = Links::default();
            (links.veth, links.bridge, links.zone, links.hardware) = (veth, bridge, zone, hardware);
            (links.extra, links.macvlan, links.ipvlan, links.moved) = (extra, macvlan, ipvlan, moved);
            links.addresses = addresses.into_iter().flatten().collect();
            links.ports = ports.into_iter().flatten().collect();
            links
        },
    )
}

/// Of which the last is none.
const ITEMS: &[&str] = &["masks", "limit pids", "id range", "landlock tcp", "mask"];

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
