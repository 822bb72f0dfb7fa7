//! A Spec out of arbitrary bytes: every field, mostly near what people write.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use arbitrary::{Result, Unstructured};
use skep::Spec;
use skep::spec::{
    Architecture, Bind, CapabilityList, CpuLimit, Denial, Descriptor, Device, Family, File, FileAccess, HostName,
    Hosts, IdMap, IdRange, Init, IoLimit, IoPriority, KernelFiles, Landlock, Limit, LinkJournal, LinkName, LinkPair,
    Links, MachineName, Mount, MountKind, Namespace, Network, NumberList, Overlay, PathRule, Personality, Profile,
    Readiness, ResolvConf, Root, SchedulingPolicy, Secret, SecretFile, SecureBitList, Socket, Stream, SystemCalls,
    TerminalSize, TimeOffsets, Timezone, Tmpfs, User, UserNamespace, UserShell, Volatile, Want,
};
use skep_sys::Errno;
use skep_sys::abi::{CapabilitySet, Resource, SecureBits};

/// The next Spec. Where the bytes end, what is left is a default.
pub(crate) fn spec(source: &mut Unstructured<'_>) -> Result<Spec> {
    let mut spec = Spec::of(if source.ratio(1, 4)? { Profile::Nspawn } else { Profile::Strict });
    spec.command = some(source, 3, |source| text(source).map(OsString::from_vec))?;
    spec.command.insert(0, "/usr/bin/true".into());
    if source.ratio(1, 16)? {
        spec.command.remove(0);
    }
    // Which fields are set at all: few at a time tell most.
    let mask: u32 = source.arbitrary()?;
    let set = |bit: u32| mask >> bit & 1 == 1;
    if set(0) && source.ratio(1, 8)? {
        spec.version = source.int_in_range(0..=2)?;
    }
    if set(1) {
        spec.machine = name(source)?.and_then(|name| MachineName::new(name).ok());
    }
    if set(2) {
        spec.root = root(source)?;
    }
    if set(3) {
        spec.mounts = some(source, 6, mount)?;
    }
    if set(4) {
        spec.masked = some(source, 4, path)?;
    }
    if set(5) {
        spec.read_only = some(source, 4, path)?;
    }
    if set(6) {
        let mut one = || {
            Ok(match source.int_in_range(0..=11)? {
                0 => Namespace::Path(path(source)?),
                1 => Namespace::Given,
                2..=4 => Namespace::Host,
                _ => Namespace::New,
            })
        };
        let all = &mut spec.namespaces;
        (all.pid, all.ipc, all.uts, all.cgroup, all.time) = (one()?, one()?, one()?, one()?, one()?);
        if source.ratio(1, 4)? {
            all.time_offsets = TimeOffsets { monotonic: source.arbitrary()?, boottime: source.arbitrary()? };
        }
    }
    if set(7) {
        spec.user_namespace = user_namespace(source)?;
    }
    if set(8) {
        spec.network = match source.int_in_range(0..=5)? {
            0 => Network::Path(path(source)?),
            1 => Network::Given,
            2 => Network::Own(path(source)?),
            3 => Network::None,
            _ => Network::Host,
        };
    }
    if set(9) {
        spec.capabilities.bounding = capabilities(source)?;
        spec.capabilities.ambient = capabilities(source)?;
    }
    if set(10) {
        spec.no_new_privileges = source.arbitrary()?;
        if source.ratio(1, 8)? {
            spec.required.insert((*source.choose(&["masks", "limit pids", "id range", "\u{1b}"])?).to_owned());
        }
        let bits: Option<u8> = source.arbitrary()?;
        spec.securebits = bits.map(|bits| SecureBitList(SecureBits(bits.into())));
        spec.seccomp = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
        spec.keyring = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
    }
    if set(11) {
        for _ in 0..source.int_in_range(0..=4)? {
            let limit = Limit { soft: source.arbitrary()?, hard: source.arbitrary()? };
            // A wrong order of the two is what compile must find.
            spec.limits.set(Resource(source.int_in_range(0..=15)?), limit);
        }
    }
    if set(12) {
        spec.resources.memory = source.arbitrary()?;
        spec.resources.pids = source.arbitrary()?;
        (spec.resources.memory_high, spec.resources.memory_low) = (source.arbitrary()?, source.arbitrary()?);
        (spec.resources.memory_min, spec.resources.swap) = (source.arbitrary()?, source.arbitrary()?);
        spec.resources.oom_group = source.arbitrary()?;
        (spec.resources.cpu_weight, spec.resources.io_weight) = (source.arbitrary()?, source.arbitrary()?);
        (spec.resources.cpuset_cpus, spec.resources.cpuset_mems) = (list(source)?, list(source)?);
        for _ in 0..source.int_in_range(0..=2)? {
            let mut limit = IoLimit::new(path(source)?);
            (limit.read_bytes, limit.write_bytes) = (source.arbitrary()?, source.arbitrary()?);
            (limit.read_operations, limit.write_operations) = (source.arbitrary()?, source.arbitrary()?);
            spec.resources.io.push(limit);
        }
        spec.resources.freezing = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
        spec.resources.delegate = source.arbitrary()?;
        if source.arbitrary()? {
            spec.resources.cpu = Some(CpuLimit { quota: number(source)?, period: number(source)? });
        }
    }
    if set(13) {
        spec.user = match name(source)? {
            Some(name) => User::Name(name),
            None => User::Ids { uid: id(source)?, gid: id(source)? },
        };
    }
    if set(14) {
        spec.groups = some(source, 5, id)?;
    }
    if set(15) {
        spec.umask = if source.ratio(1, 8)? { source.arbitrary()? } else { source.int_in_range(0..=0o777)? };
    }
    if set(16) {
        spec.working_directory = path(source)?;
    }
    if set(17) {
        for _ in 0..source.int_in_range(0..=3)? {
            let name = match source.ratio(1, 4)? {
                // The one that the start itself reads.
                true => "PATH".to_owned(),
                false => String::from_utf8_lossy(&text(source)?).into_owned(),
            };
            spec.environment.insert(name, Secret::new(OsString::from_vec(text(source)?)));
        }
    }
    if set(18) {
        spec.hostname = name(source)?.and_then(|name| HostName::new(name).ok());
    }
    if set(19) {
        spec.init = *source.choose(&[Init::Stub, Init::Payload])?;
    }
    if set(20) {
        spec.readiness = *source.choose(&[Readiness::Exec, Readiness::Notify])?;
    }
    if set(21) {
        spec.kill_signal = source.arbitrary()?;
    }
    if set(22) {
        for stream in &mut spec.stdio {
            *stream = *source.choose(&[Stream::Null, Stream::Piped, Stream::Given, Stream::Terminal])?;
        }
        spec.hold = source.arbitrary()?;
        for _ in 0..source.int_in_range(0..=3)? {
            let mut passed = Descriptor::new(source.int_in_range(0..=20)?);
            (passed.danger_directory, passed.listen) = (source.arbitrary()?, source.arbitrary()?);
            spec.descriptors.push(passed);
        }
        spec.terminal =
            source.arbitrary::<Option<(u16, u16)>>()?.map(|(rows, columns)| TerminalSize::new(rows, columns));
    }
    if set(23) {
        spec.resolv_conf = *source.choose(&[
            ResolvConf::Off,
            ResolvConf::CopyHost,
            ResolvConf::ReplaceStub,
            ResolvConf::BindUplink,
            ResolvConf::Delete,
            ResolvConf::Auto,
        ])?;
        spec.timezone = *source.choose(&[
            Timezone::Off,
            Timezone::Copy,
            Timezone::Bind,
            Timezone::Symlink,
            Timezone::Delete,
            Timezone::Auto,
        ])?;
        spec.hosts = *source.choose(&[Hosts::Off, Hosts::Generate, Hosts::CopyHost, Hosts::BindHost])?;
        spec.hostname_file = source.arbitrary()?;
    }
    if set(24) {
        for _ in 0..source.int_in_range(0..=3)? {
            let name = String::from_utf8_lossy(&text(source)?).into_owned();
            spec.credentials.insert(name, Secret::new(OsString::from_vec(text(source)?)));
        }
    }
    if set(25) {
        spec.device_policy = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
    }
    if set(28) {
        const NAMES: [&str; 6] =
            ["net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.sem", "kernel.hostname", "vm.swappiness", "net.."];
        for _ in 0..source.int_in_range(0..=3)? {
            let name = match source.ratio(1, 4)? {
                true => String::from_utf8_lossy(&text(source)?).into_owned(),
                false => (*source.choose(&NAMES)?).to_owned(),
            };
            spec.sysctls.insert(name, String::from_utf8_lossy(&text(source)?).into_owned());
        }
    }
    if set(27) {
        spec.memory_deny_write_execute = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
        spec.personality = source.choose(&Personality::NAMES)?.1;
        spec.oom_score_adjust = source.arbitrary()?;
        spec.scheduling.affinity = list(source)?;
        (spec.scheduling.nice, spec.scheduling.io) = (source.arbitrary()?, io_priority(source)?);
        spec.scheduling.policy = match source.int_in_range(0..=5)? {
            0 => Some(SchedulingPolicy::Other),
            1 => Some(SchedulingPolicy::Idle),
            2 => Some(SchedulingPolicy::Fifo { priority: source.arbitrary()? }),
            3 => Some(SchedulingPolicy::RoundRobin { priority: source.arbitrary()? }),
            _ => None,
        };
    }
    if set(28) {
        spec.register = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
    }
    if set(29) {
        let text = |source: &mut Unstructured<'_>| Ok(name(source)?.unwrap_or_else(|| "joe".to_owned()));
        spec.link_journal =
            *source.choose(&[LinkJournal::Host, LinkJournal::Guest, LinkJournal::Auto, LinkJournal::No])?;
        spec.bind_user.names = some(source, 3, text)?;
        spec.bind_user.groups = some(source, 2, text)?;
        spec.bind_user.shell = match source.int_in_range(0..=2)? {
            0 => UserShell::Usual,
            1 => UserShell::Host,
            _ => UserShell::Path(path(source)?),
        };
    }
    if set(26) {
        spec.system_calls = system_calls(source)?;
    }
    if set(29) {
        (spec.tmp, spec.login_shell) = (source.arbitrary()?, source.arbitrary()?);
        spec.kernel_files = *source.choose(&[KernelFiles::ReadOnly, KernelFiles::Network, KernelFiles::Writable])?;
    }
    if set(28) {
        spec.landlock = landlock(source)?;
    }
    if set(8) && source.ratio(1, 2)? {
        spec.links = links(source)?;
    }
    Ok(spec)
}

/// Interfaces, addresses and ports, near what people write.
fn links(source: &mut Unstructured<'_>) -> Result<Links> {
    const NAMES: [&str; 6] = ["host0", "card0", "lo", "ve-web", "br-of-a-long-name-over-15", "eth0"];
    const ADDRESSES: [&str; 7] = [
        "auto",
        "10.1.2.3/24",
        "10.1.2.3/24,10.1.2.1",
        "fd00::2/64",
        "192.168.7.9/31,192.168.7.8",
        "0.0.0.0/0",
        "127.0.0.5/8",
    ];
    const PORTS: [&str; 6] = ["8080:80", "127.0.0.1:8080:80", "udp:53", "[::1]:9:9", "tcp:10.0.0.1:1:65535", "8080:81"];
    let pairs = |source: &mut Unstructured<'_>| {
        some(source, 2, |source| {
            let (host, inside) = (*source.choose(&NAMES)?, *source.choose(&NAMES)?);
            Ok(LinkPair::new(host, LinkName::new(inside).ok().filter(|name| name.as_str() != "lo")).ok())
        })
        .map(|all| all.into_iter().flatten().collect::<Vec<_>>())
    };
    let mut links = Links::default();
    links.veth = source.arbitrary()?;
    if source.ratio(1, 4)? {
        links.bridge = LinkName::new(*source.choose(&NAMES)?).ok();
    }
    if source.ratio(1, 4)? {
        links.zone = LinkName::zone(*source.choose(&["lan", "a", "a-name-too-long-for-one"])?).ok();
    }
    (links.extra, links.macvlan, links.ipvlan, links.moved) =
        (pairs(source)?, pairs(source)?, pairs(source)?, pairs(source)?);
    links.addresses = some(source, 2, |source| source.choose(&ADDRESSES).map(|text| text.parse().ok()))?
        .into_iter()
        .flatten()
        .collect();
    links.ports =
        some(source, 3, |source| source.choose(&PORTS).map(|text| text.parse().ok()))?.into_iter().flatten().collect();
    if source.ratio(1, 4)? {
        links.hardware = source.choose(&["02:00:00:00:00:01", "2:0:0:0:0:1,2:0:0:0:0:2"])?.parse().ok();
    }
    Ok(links)
}

fn landlock(source: &mut Unstructured<'_>) -> Result<Landlock> {
    const WANTS: [Want; 3] = [Want::Require, Want::IfSupported, Want::Off];
    let mut rules = Landlock::default();
    (rules.files, rules.tcp, rules.signals) =
        (*source.choose(&WANTS)?, *source.choose(&WANTS)?, *source.choose(&WANTS)?);
    if source.arbitrary()? {
        rules.abstract_sockets = Some(*source.choose(&WANTS)?);
    }
    rules.paths = some(source, 4, |source| {
        Ok(PathRule::new(path(source)?, some(source, 3, |source| source.choose(&FileAccess::ALL).copied())?))
    })?;
    rules.bind = some(source, 2, |source| source.arbitrary())?.into_iter().collect();
    rules.connect = some(source, 2, |source| source.arbitrary())?.into_iter().collect();
    Ok(rules)
}

fn system_calls(source: &mut Unstructured<'_>) -> Result<SystemCalls> {
    const ITEMS: [&str; 10] =
        ["@mount", "@process", "@clock", "@module", "@nothing", "bpf", "clone", "read", "chown32", "mount"];
    let mut item = |source: &mut Unstructured<'_>| match source.ratio(1, 8)? {
        true => Ok(String::from_utf8_lossy(&text(source)?).into_owned()),
        false => source.choose(&ITEMS).map(|item| (*item).to_owned()),
    };
    let mut calls = SystemCalls::default();
    calls.allow = some(source, 3, &mut item)?.into_iter().collect();
    calls.danger_allow = some(source, 3, &mut item)?.into_iter().collect();
    calls.notify = some(source, 2, &mut item)?.into_iter().collect();
    calls.suppress_sync = source.arbitrary()?;
    for _ in 0..source.int_in_range(0..=3)? {
        let errno = Errno::from_raw(source.int_in_range(0..=5000)?);
        let denial = if source.ratio(1, 4)? { Denial::Kill } else { Denial::Errno(errno) };
        calls.deny.insert(item(source)?, denial);
    }
    const FAMILIES: [Family; 5] = [Family::UNIX, Family::INET, Family::INET6, Family::NETLINK, Family::VSOCK];
    let mut family = |source: &mut Unstructured<'_>| source.choose(&FAMILIES).copied();
    if source.arbitrary()? {
        calls.sockets.only = Some(some(source, 3, &mut family)?.into_iter().collect());
    }
    calls.sockets.deny = some(source, 2, &mut family)?.into_iter().collect();
    let socket = |source: &mut Unstructured<'_>| {
        let family = family(source)?;
        Ok(if source.arbitrary()? { Socket::new(family, source.arbitrary()?) } else { family.into() })
    };
    calls.sockets.danger_allow = some(source, 3, socket)?.into_iter().collect();
    if source.ratio(1, 4)? {
        let mut named = |source: &mut Unstructured<'_>| Ok(source.choose(&Architecture::NAMES)?.1);
        calls.architectures = Some(some(source, 3, &mut named)?.into_iter().collect());
    }
    Ok(calls)
}

fn some<T>(
    source: &mut Unstructured<'_>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..source.int_in_range(0..=most)?).map(|_| one(source)).collect()
}

fn text(source: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = source.int_in_range(0..=12)?;
    source.bytes(length.min(source.len())).map(<[u8]>::to_vec)
}

fn name(source: &mut Unstructured<'_>) -> Result<Option<String>> {
    Ok(match source.int_in_range(0..=3)? {
        0 => None,
        1 => Some("www-data".to_owned()),
        2 => Some("web.example".to_owned()),
        _ => Some(String::from_utf8_lossy(&text(source)?).into_owned()),
    })
}

/// Paths that a container has anyhow, paths near them, and nonsense.
fn path(source: &mut Unstructured<'_>) -> Result<PathBuf> {
    const PLACES: [&str; 24] = [
        "/",
        "/usr",
        "/usr/bin",
        "/etc",
        "/etc/passwd",
        "/proc",
        "/proc/sys",
        "/proc/kcore",
        "/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/null",
        "/dev/pts",
        "/dev/shm",
        "/run",
        "/run/host",
        "/run/host/notify",
        "/tmp",
        "/var",
        "/srv",
        "/srv/a",
        "/lib",
        "/.skep",
        "/root",
    ];
    let mut path = PathBuf::from(*source.choose(&PLACES)?);
    match source.int_in_range(0..=7)? {
        0..=3 => {}
        4 => path.push(OsString::from_vec(text(source)?)),
        5 => path.push(source.choose(&[".", "..", "a/../b", "//x", "a//b/", "\n", "a b", "\u{1b}[2J", "ü"])?),
        6 => path = OsString::from_vec(text(source)?).into(),
        _ => path.push("x".repeat(source.choose_index(5000)?)),
    }
    Ok(path)
}

fn root(source: &mut Unstructured<'_>) -> Result<Root> {
    let mut root = Root::default();
    if source.arbitrary()? {
        root.path = path(source)?;
    }
    root.read_only = source.arbitrary()?;
    root.ephemeral = source.arbitrary()?;
    if source.ratio(1, 4)? {
        root.lower = some(source, 3, path)?;
    }
    if source.ratio(1, 4)? {
        root.upper = Some(path(source)?);
        root.work = if source.arbitrary()? { Some(path(source)?) } else { None };
    }
    root.volatile = *source.choose(&[Volatile::No, Volatile::Yes, Volatile::State, Volatile::Overlay])?;
    Ok(root)
}

fn mount(source: &mut Unstructured<'_>) -> Result<Mount> {
    let target = path(source)?;
    const MAPS: [IdMap; 4] = [IdMap::NoIdMap, IdMap::IdMap, IdMap::RootIdMap, IdMap::OwnerIdMap];
    let kind = match source.int_in_range(0..=8)? {
        0..=2 => {
            let mut bind = Bind::default();
            bind.source = path(source)?;
            (bind.read_only, bind.recursive, bind.optional) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            (bind.noexec, bind.nosymfollow, bind.no_links) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            bind.id_map = *source.choose(&MAPS)?;
            bind.id_map_want = *source.choose(&[Want::Require, Want::IfSupported, Want::Off])?;
            MountKind::Bind(bind)
        }
        3 | 4 => {
            let mut tmpfs = Tmpfs::default();
            (tmpfs.size, tmpfs.inodes) = (number(source)?, number(source)?);
            (tmpfs.mode, tmpfs.read_only, tmpfs.noexec) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            (tmpfs.blocks, tmpfs.inode64) = (source.arbitrary()?, source.arbitrary()?);
            (tmpfs.noswap, tmpfs.nodiratime, tmpfs.nosymfollow) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            MountKind::Tmpfs(tmpfs)
        }
        5 => {
            let mut overlay = Overlay::default();
            overlay.lower = some(source, 4, path)?;
            overlay.upper = if source.arbitrary()? { Some(path(source)?) } else { None };
            overlay.work = if source.arbitrary()? { Some(path(source)?) } else { None };
            (overlay.read_only, overlay.noexec, overlay.user_attributes) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            MountKind::Overlay(overlay)
        }
        6 => {
            let mut device = Device::new(path(source)?);
            (device.access.read, device.access.write, device.access.mknod, device.optional) =
                (source.arbitrary()?, source.arbitrary()?, source.arbitrary()?, source.arbitrary()?);
            MountKind::Device(device)
        }
        7 => {
            let mut file = File::new(OsString::from_vec(text(source)?));
            file.mode = source.arbitrary()?;
            MountKind::File(file)
        }
        _ => MountKind::Secret(SecretFile::new(OsString::from_vec(text(source)?))),
    };
    Ok(Mount { target, kind })
}

fn user_namespace(source: &mut Unstructured<'_>) -> Result<UserNamespace> {
    Ok(match source.int_in_range(0..=7)? {
        0 => UserNamespace::Auto,
        1 => UserNamespace::Own,
        2 => UserNamespace::Subordinate,
        3 => UserNamespace::Pick,
        4 => UserNamespace::Identity,
        5 => UserNamespace::Host,
        _ => UserNamespace::Range(IdRange { base: id(source)?, count: id(source)? }),
    })
}

fn id(source: &mut Unstructured<'_>) -> Result<u32> {
    const EDGES: [u32; 9] = [0, 1, 33, 1000, 65_534, 65_535, 65_536, u32::MAX - 1, u32::MAX];
    if source.arbitrary()? { source.choose(&EDGES).copied() } else { source.arbitrary() }
}

fn io_priority(source: &mut Unstructured<'_>) -> Result<Option<IoPriority>> {
    Ok(match source.int_in_range(0..=4)? {
        0 => Some(IoPriority::Idle),
        1 => Some(IoPriority::BestEffort { level: source.arbitrary()? }),
        2 => Some(IoPriority::RealTime { level: source.arbitrary()? }),
        _ => None,
    })
}

fn list(source: &mut Unstructured<'_>) -> Result<Option<NumberList>> {
    Ok(NumberList::parse(source.choose(&["", "0", "0-1", "1,3-5", "65535"])?).ok())
}

fn number(source: &mut Unstructured<'_>) -> Result<u64> {
    const EDGES: [u64; 9] = [0, 1, 999, 1000, 100_000, 1_000_000, 1 << 32, i64::MAX as u64, u64::MAX];
    if source.arbitrary()? { source.choose(&EDGES).copied() } else { source.arbitrary() }
}

fn capabilities(source: &mut Unstructured<'_>) -> Result<CapabilityList> {
    let bits = match source.int_in_range(0..=3)? {
        0 => 0,
        1 => 1 << source.int_in_range(0..=63)?,
        2 => u64::MAX,
        _ => source.arbitrary()?,
    };
    Ok(CapabilityList(CapabilitySet(bits)))
}
