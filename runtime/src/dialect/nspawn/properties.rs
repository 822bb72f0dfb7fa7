//! Properties over generated settings and generated text.

use std::path::{Path, PathBuf};

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use skep_sys::abi::{CapabilitySet, Resource};

use super::calls::{FamilyList, SystemCallList};
use super::lines::Place;
use super::read::read;
use super::settings::{Harmless, Privileged, Setting};
use super::*;
use crate::spec::{
    AccessTimes, Bind, CapabilityList, Denial, Family, HugePages, IdMap, IdRange, Init, Limit, LinkJournal, Mount,
    MountKind, Network, NumaPolicy, Overlay, Ownership, Readiness, ResolvConf, Secret, Timezone, Tmpfs, User,
    UserNamespace, UserShell, Volatile,
};

const FILE: &str = "/etc/systemd/nspawn/web.nspawn";

fn at<T>(value: T) -> Setting<T> {
    Setting::new(value, Place::START, &KEYS[0])
}

fn maybe<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Setting<T>>> {
    option::of(value.prop_map(at))
}

fn some<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<Setting<T>>> {
    vec(value.prop_map(at), 0..4)
}

/// Any path that a line can hold.
fn path() -> impl Strategy<Value = PathBuf> {
    vec(r##"[a-c.:\\ '"#=,+\t]{1,6}|[^/\r\n\x00]{1,4}"##, 0..4).prop_map(|parts| {
        let parts: Vec<String> = parts.into_iter().filter(|part| !matches!(part.as_str(), "." | "..")).collect();
        PathBuf::from(format!("/{}", parts.join("/")))
    })
}

fn word() -> impl Strategy<Value = String> {
    r##"[a-z'"\\ \t=#;\[]{0,9}|[^\r\n\x00]{0,5}"##
}

fn capabilities() -> impl Strategy<Value = CapabilityList> {
    prop_oneof![Just(u64::MAX), 1..u64::MAX, (0..64u8).prop_map(|bit| 1 << bit)]
        .prop_map(|bits| CapabilityList(CapabilitySet(bits)))
}

fn user() -> impl Strategy<Value = User> {
    prop_oneof![
        (0..65_535_u32).prop_map(|id| User::Ids { uid: id, gid: id }),
        "[a-zA-Z_][a-zA-Z0-9_-]{0,31}".prop_filter("a name of its own", |name| name != "root").prop_map(User::Name),
    ]
}

fn user_namespace() -> impl Strategy<Value = UserNamespace> {
    prop_oneof![
        Just(UserNamespace::Host),
        Just(UserNamespace::Identity),
        Just(UserNamespace::Pick),
        Just(UserNamespace::Owner),
        Just(UserNamespace::Managed),
        (0..u32::MAX)
            .prop_flat_map(|base| (Just(base), 1..=u32::MAX - base))
            .prop_map(|(base, count)| UserNamespace::Range(IdRange { base, count })),
    ]
}

fn limit() -> impl Strategy<Value = Limit> {
    let value = || option::of(0..u64::MAX);
    (value(), value()).prop_map(|(one, other)| {
        let limit = Limit { soft: one, hard: other };
        if limit.raw().0 <= limit.raw().1 { limit } else { Limit { soft: other, hard: one } }
    })
}

fn limits() -> impl Strategy<Value = Vec<Setting<(Resource, Limit)>>> {
    proptest::collection::btree_map(0..16u8, limit(), 0..5).prop_map(|limits| {
        let one = |(number, limit)| at((Resource(number), limit));
        limits.into_iter().map(one).collect()
    })
}

fn mount() -> impl Strategy<Value = Mount> {
    let id_map = prop_oneof![Just(IdMap::NoIdMap), Just(IdMap::IdMap), Just(IdMap::RootIdMap), Just(IdMap::OwnerIdMap)];
    let bind = (path(), any::<(bool, bool)>(), id_map).prop_map(|(source, (read_only, recursive), id_map)| {
        MountKind::Bind(Bind { source, read_only, recursive, id_map, ..Bind::default() })
    });
    let overlay = (vec(path(), 1..4), option::of(path()))
        .prop_map(|(lower, upper)| MountKind::Overlay(Overlay { lower, upper, ..Overlay::default() }));
    let layers = vec(path(), 2..4)
        .prop_map(|lower| MountKind::Overlay(Overlay { lower, read_only: true, ..Overlay::default() }));
    let tmpfs = (1..u64::MAX / 4, 1..u64::MAX / 4, 0..=0o7777_u32, any::<(bool, bool)>()).prop_map(
        |(size, inodes, mode, (read_only, noexec))| {
            let (uid, gid) = if noexec { (mode, 7) } else { (0, 0) };
            MountKind::Tmpfs(further(Tmpfs { size, inodes, mode, uid, gid, read_only, noexec, ..Tmpfs::default() }))
        },
    );
    (path(), prop_oneof![bind, tmpfs, overlay, layers]).prop_map(|(target, kind)| Mount { target, kind })
}

/// By its mode, so that each comes with the others.
fn further(mut tmpfs: Tmpfs) -> Tmpfs {
    let mode = tmpfs.mode;
    let one = |of: u32| mode.is_multiple_of(of);
    if one(3) {
        // What is not said is not kept beside it.
        (tmpfs.blocks, tmpfs.size) = (Some(tmpfs.size), Tmpfs::default().size);
    }
    tmpfs.huge = one(4).then_some(HugePages::ALL[mode as usize / 4 % 4]);
    tmpfs.numa = one(5).then(|| NumaPolicy::parse("interleave=static:0,2-3").unwrap());
    tmpfs.inode64 = one(2).then_some(one(6));
    tmpfs.access_times =
        [AccessTimes::Profile, AccessTimes::Relative, AccessTimes::Strict, AccessTimes::Off][mode as usize % 7 % 4];
    (tmpfs.nosymfollow, tmpfs.nodiratime, tmpfs.noswap) = (one(7), one(8), one(9));
    tmpfs
}

fn call() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["@clock", "@mount", "read", "bpf", "chown32", "clone"]).prop_map(str::to_owned)
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::UNIX, Family::INET, Family::INET6, Family::NETLINK, Family::VSOCK])
}

fn harmless() -> impl Strategy<Value = Harmless> {
    let who = (
        maybe(prop_oneof![Just(Init::Stub), Just(Init::Payload)]),
        some(word()),
        some(("[A-Za-z_][A-Za-z0-9_]{0,5}", word().prop_map(Secret::new))),
        maybe(user()),
        some(capabilities()),
        maybe(1..=64u8),
        maybe(prop::sample::select(crate::spec::Personality::NAMES.map(|(_, one)| one).to_vec())),
    );
    let what = (
        maybe(path().prop_filter("not the kernel's", |path| {
            !["/proc", "/sys", "/dev"].iter().any(|top| path.starts_with(top))
        })),
        maybe(prop_oneof![Just(Readiness::Exec), Just(Readiness::Notify)]),
        maybe("[a-z0-9]{1,9}(\\.[A-Z]{1,9})?".prop_map(|name| name.parse().unwrap())),
        maybe(any::<bool>()),
        maybe(any::<bool>()),
        maybe(prop_oneof![Just(Volatile::No), Just(Volatile::Yes), Just(Volatile::State), Just(Volatile::Overlay)]),
        maybe(prop_oneof![Just(ResolvConf::Off), Just(ResolvConf::BindStub), Just(ResolvConf::Auto)]),
        maybe(prop_oneof![Just(Timezone::Off), Just(Timezone::Symlink), Just(Timezone::Auto)]),
        some(prop_oneof![
            vec(call(), 1..4).prop_map(SystemCallList::Allow),
            vec((call(), Just(Denial::EPERM)), 1..4).prop_map(SystemCallList::Deny),
        ]),
        some(prop_oneof![
            btree_set(family(), 0..4).prop_map(FamilyList::Only),
            btree_set(family(), 1..4).prop_map(FamilyList::Deny),
        ]),
        maybe(any::<bool>()),
    );
    (who, what).prop_map(|(who, what)| Harmless {
        boot: None,
        init: who.0,
        parameters: who.1,
        environment: who.2,
        user: who.3,
        drop_capability: who.4,
        kill_signal: who.5,
        personality: who.6,
        working_directory: what.0,
        readiness: what.1,
        hostname: what.2,
        no_new_privileges: what.3,
        suppress_sync: what.10,
        read_only: what.4,
        volatile: what.5,
        resolv_conf: what.6,
        timezone: what.7,
        system_calls: what.8,
        address_families: what.9,
        anyhow: Vec::new(),
    })
}

fn privileged() -> impl Strategy<Value = Privileged> {
    (
        maybe(any::<bool>()),
        some(capabilities()),
        some(capabilities().prop_filter("no `all`", |list| list.0.0 != u64::MAX)),
        maybe(user_namespace()),
        limits(),
        some(mount()),
        some(path()),
        maybe(prop_oneof![Just(Network::None), Just(Network::Host)]),
        maybe(path()),
        (
            maybe(-1000..=1000_i16),
            some(
                (0..90_u32, 0..9_u32).prop_map(|(from, more)| {
                    crate::spec::NumberList::parse(&format!("{from}-{}", from + more)).unwrap()
                }),
            ),
            maybe("[1-9a-f]{32}".prop_map(|id| super::value::machine_id(&id).unwrap())),
            maybe(proptest::sample::select(vec![
                Ownership::Off,
                Ownership::Map,
                Ownership::Chown,
                Ownership::Foreign,
                Ownership::Auto,
            ])),
            maybe((path(), option::of(path())).prop_filter("two places", |(new, old)| old.as_ref() != Some(new))),
            maybe(prop_oneof![Just(LinkJournal::No), Just(LinkJournal::TryGuest), Just(LinkJournal::Host)]),
            some("[a-z_][a-z0-9_-]{0,9}"),
            maybe(prop_oneof![Just(UserShell::Usual), Just(UserShell::Host), path().prop_map(UserShell::Path)]),
        ),
    )
        .prop_map(|it| Privileged {
            ephemeral: it.0,
            capability: it.1,
            ambient_capability: it.2,
            private_users: it.3,
            oom_score_adjust: it.9.0,
            cpu_affinity: it.9.1,
            machine_id: it.9.2,
            ownership: it.9.3,
            pivot_root: it.9.4,
            link_journal: it.9.5,
            bind_users: it.9.6,
            bind_user_shell: it.9.7,
            limits: it.4,
            mounts: it.5,
            masked: it.6,
            network: it.7,
            network_path: it.8,
            ..Privileged::default()
        })
}

/// Text that is often nearly right.
fn text() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    let value = prop_oneof![
        proptest::sample::select(vec![
            "yes", "no", "", "0", "1", "all", "CAP_KILL", "pick", "1:2", "/a:/b", "/a", "A=1", "root", "SIGTERM",
            "state", "a 'b c'", "/t:ro", "infinity", "\\", "a\\\n b",
        ])
        .prop_map(str::to_owned),
        word(),
        path().prop_map(|path| path.to_string_lossy().into_owned()),
    ];
    let line = prop_oneof![
        8 => (key, value).prop_map(|(key, value)| format!("{key}={value}")),
        3 => proptest::sample::select(vec!["[Exec]", "[Files]", "[Network]", "[X-a]", "", "# a", "\\"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,9}",
    ];
    (0..3_usize, vec(line, 0..12))
        .prop_map(|(section, lines)| format!("[{}]\n{}", Section::ALL[section].name(), lines.join("\n")))
}

fn printed_is_read_again(settings: &Settings) -> Result<(), TestCaseError> {
    let printed = settings.to_string();
    let again = parse(Path::new(FILE), printed.as_bytes())
        .map_err(|problems| TestCaseError::fail(format!("{printed}\n{problems}")))?;
    prop_assert_eq!(&again, settings, "{}", printed);
    prop_assert_eq!(again.to_string(), printed);
    Ok(())
}

proptest! {
    #[test]
    fn settings_survive_being_printed(harmless in harmless(), privileged in privileged()) {
        printed_is_read_again(&Settings { file: PathBuf::new(), harmless, privileged })?;
    }

    #[test]
    fn text_is_read_or_refused(text in text()) {
        match parse(Path::new(FILE), text.as_bytes()) {
            Ok(settings) => printed_is_read_again(&settings)?,
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                let shown = problems.to_string();
                prop_assert_eq!(shown.lines().count(), problems.0.len());
                prop_assert!(!shown.chars().any(|char| char.is_control() && char != '\n'));
            }
        }
    }

    #[test]
    fn one_good_line_is_read_or_refused(section in 0..3_usize, key in 0..KEYS.len(), value in word()) {
        let text = format!("[{}]\n{}={value}", Section::ALL[section].name(), KEYS[key].name);
        if let Ok(settings) = parse(Path::new(FILE), text.as_bytes()) {
            printed_is_read_again(&settings)?;
        }
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), trusted in any::<bool>()) {
        let _ = read(Path::new(FILE), &bytes, trusted);
        let bytes = [b"[Exec]\n".as_slice(), &bytes].concat();
        let _ = read(Path::new(FILE), &bytes, trusted);
    }
}
