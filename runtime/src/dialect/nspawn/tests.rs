//! Whole files: what is refused, what is printed, what becomes of a Spec.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::spec::{
    AccessTimes, Bind, Capability, CapabilityList, Denial, Family, HugePages, IdRange, Init, Limit, Mount, MountKind,
    Network, Origin, Profile, Readiness, Spec, Tmpfs, User, UserNamespace, Volatile,
};
use skep_sys::abi::{CapabilitySet, Resource};

const FILE: &str = "/etc/systemd/nspawn/web.nspawn";

fn read(text: impl AsRef<[u8]>) -> Result<Settings, Problems> {
    parse(Path::new(FILE), text.as_ref())
}

pub(super) fn good(text: &str) -> Settings {
    read(text).unwrap_or_else(|problems| panic!("{text:?}: {problems}"))
}

pub(super) fn bad(text: impl AsRef<[u8]>) -> String {
    let shown = text.as_ref().escape_ascii().to_string();
    match read(text) {
        Err(problems) => problems.to_string().replace(&format!("{FILE}:"), ""),
        Ok(settings) => panic!("{shown} is accepted as\n{settings}"),
    }
}

pub(super) fn whole(section: Section, text: &str) -> String {
    format!("[{}]\n{text}", section.name())
}

#[test]
fn row_132_lines_and_sections_that_are_refused() {
    for (bytes, expected) in [
        (&b"User=a"[..], &["1:1: User: a key before any section; write [Exec] before it"][..]),
        (b"x=a", &["1:1: x: a key before any section; write [Exec], [Files] or [Network] before it"]),
        (b"\xef\xbb\xbf x=a", &["1:2: x: a key before any section"]),
        (b"nothing", &["1:1: the line has no `=`"]),
        (b"[Exec\nUser=a:b", &["1:1: the section header does not end with `]`", "2:6: User: \"a:b\" is not"]),
        (b"[Exec] # c\nUser=a", &["1:1: the section header does not end with `]`"]),
        (b"[exec]\nFoo=1\nbar", &["1:1: unknown section \"exec\"; did you mean [Exec]?"]),
        (b"[]", &["1:1: unknown section \"\"; sections are"]),
        (
            b"[Service]\n[Exec]\nUsr=a",
            &[
                "1:1: unknown section \"Service\"; sections are",
                "3:1: Usr: unknown key in [Exec]; did you mean `User=`?",
            ],
        ),
        (b"[Exec]\n\xff=a\nUser=:", &["2:1: the line is not UTF-8; save", "3:6: User: \":\" is not the name"]),
        (b"[Exec]\nUser=\xc3\xa4\xff", &["2:7: the line is not UTF-8"]),
        (b"[Exec]\nUser=a\0b", &["2:7: the line holds a NUL or a carriage return"]),
        (b"[Exec]\n# a\rBoot=yes", &["2:4: the line holds a NUL or a carriage return"]),
        (b"[Exec]\nParameters=a\\\n\xff\\\nb", &["3:1: the line is not UTF-8"]),
    ] {
        let found = bad(bytes);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{}:\n{found}", bytes.escape_ascii());
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{}:\n{found}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_file_of_another_system_reads_the_same() {
    let unix = "[Exec]\nUser=a\nParameters=b \\\n c\n[Files]\nBind=/x\n";
    let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
    assert_eq!(good(&windows), good(unix));
    assert_eq!(good("[Exec]\nUser=a\r"), good("[Exec]\nUser=a"));
    assert_eq!(good(""), Settings::default());
}

#[test]
fn a_problem_has_every_part() {
    let Problems(problems) = read("[Files]\nBind=/a:/b:ro").unwrap_err();
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert_eq!(problem.file, Path::new(FILE));
    assert_eq!((problem.line, problem.column), (2, 12));
    assert_eq!(problem.key.as_deref(), Some("Bind"));
    assert_eq!(problem.message, "\"ro\" is not a bind option");
    assert!(problem.remedy.is_some());
}

#[test]
fn a_relative_source_needs_a_file_that_can_be_named() {
    let text = b"[Files]\nBind=a:/b";
    for file in ["web.nspawn", "", "/srv\n/web.nspawn"] {
        let problems = parse(Path::new(file), text).unwrap_err().to_string();
        assert!(problems.contains(":2:6: Bind: the source is relative"), "{problems}");
        assert_eq!(problems.lines().count(), 1);
    }
    let settings = parse(Path::new("/web.nspawn"), text).unwrap();
    assert_eq!(settings.to_string(), "[Files]\nBind=/a:/b:rbind\n");
}

#[test]
fn the_limits_hold() {
    let mut text = format!("[Files]\n{}", "Bind=/a\n".repeat(MAX_VALUES));
    assert_eq!(good(&text).privileged.mounts.len(), MAX_VALUES);
    text.push_str("Bind=/b\n");
    assert!(bad(&text).starts_with("10002:1: the file sets more than 10000 values"));

    let text = format!("[Exec]\nParameters={}", "a ".repeat(MAX_VALUES - 1));
    assert_eq!(good(&text).harmless.parameters.len(), MAX_VALUES - 1);
    let found = bad(format!("{text} a"));
    assert!(found.starts_with("2:12: Parameters: the file sets more than 10000 values"));
    assert_eq!(found.lines().count(), 1);

    let mut text = "#".repeat(MAX_FILE);
    assert_eq!(good(&text), Settings::default());
    text.push('#');
    assert_eq!(bad(text), "1:1: the file has 1048577 bytes; 1048576 are the most");

    let path = format!("/{}", "a".repeat(255));
    good(&format!("[Files]\nInaccessible={path}"));
    assert!(bad(format!("[Files]\nInaccessible={path}a")).contains("is too long"));
    assert!(bad(format!("[Files]\nInaccessible={}", path.repeat(16))).contains("is too long"));
}

/// Bytes that look random, the same ones every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

#[test]
fn noise_is_refused_quickly() {
    let within = |bytes: &[u8]| {
        let start = Instant::now();
        let problems = read(bytes).unwrap_err();
        // Far above what it takes, far below what something quadratic takes.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(problems.0.len() <= 1001, "{}", problems.0.len());
        assert!(problems.to_string().len() < MAX_FILE);
    };
    within(&noise(3_000_000));
    within(&noise(MAX_FILE));
    for line in ["\n=", "a\n", "\\\n", "[x]\n", "'", "[", "=", "\0\n", "\u{feff}"] {
        let mut text = "[Exec]\nUser=a:\n".to_owned();
        while text.len() + line.len() <= MAX_FILE {
            text.push_str(line);
        }
        within(text.as_bytes());
    }
    for key in ["Environment=", "Parameters='", "Capability=", "Hostname=", "Hostnam", "User=9"] {
        for filler in ["x ", "ä", "' ", "\\", "=", "\\\n"] {
            let text = format!("[Exec]\nUser=:\n{key}");
            let count = (MAX_FILE - text.len()) / filler.len();
            within(format!("{text}{}", filler.repeat(count)).as_bytes());
        }
    }
}

/// Something of everything.
const FULL: &str = "\u{feff}# a comment

[Exec]
Ephemeral=no
ProcessTwo=yes
Parameters=/bin/sh -c 'exec \"$0\"' \\
   # in between
   \"ä b\"
Environment=PASSWORD=hunter2 \"MOTD=a b\"
Environment=LANG=C
User=www-data
Capability=CAP_NET_ADMIN CAP_CHOWN
Capability=CAP_KILL
DropCapability=CAP_CHOWN
AmbientCapability=CAP_NET_ADMIN
KillSignal=SIGRTMIN+3
WorkingDirectory=/srv
PrivateUsers=524288:65536
NotifyReady=yes
LimitNOFILE=1024:4096
Hostname=web.example
NoNewPrivileges=yes
[Files]
ReadOnly=yes
Volatile=state
Bind=/srv/a\\:b:/data:norbind
BindReadOnly=../c:/c
TemporaryFileSystem=/t:mode=1777,size=1M
Inaccessible=/secret\r
X-Note=x
[Network]
Private=yes
";

#[test]
fn every_prefix_of_a_file_is_read_or_refused() {
    let settings = good(FULL);
    assert_eq!(good(&settings.to_string()), settings);
    for end in 0..FULL.len() {
        for tail in [&b""[..], b"\\", b"\xff", b"'", b"\n["] {
            let bytes = [&FULL.as_bytes()[..end], tail].concat();
            if let Err(problems) = read(&bytes) {
                assert!(!problems.0.is_empty());
                assert!(!problems.to_string().contains("hunter2"), "{problems}");
            }
        }
    }
}

#[test]
fn a_value_of_a_variable_is_in_the_printed_file_only() {
    let settings = good(FULL);
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(settings.to_string().contains("hunter2"));
}

fn set(numbers: &[u8]) -> CapabilityList {
    let set = numbers.iter().fold(CapabilitySet::EMPTY, |set, number| set.with(*number));
    CapabilityList(set)
}

#[test]
fn settings_fill_in_a_spec() {
    let mut spec = Spec { masked: vec!["/before".into()], ..Spec::default() };
    good(FULL).apply(&mut spec).unwrap();

    let mut expected = Spec { init: Init::Stub, ..Spec::default() };
    expected.command = ["/bin/sh", "-c", "exec \"$0\"", "ä b"].map(Into::into).to_vec();
    for (name, value) in [("PASSWORD", "hunter2"), ("MOTD", "a b"), ("LANG", "C")] {
        expected.environment.insert(name.to_owned(), value.into());
    }
    expected.user = User::Name("www-data".to_owned());
    expected.capabilities.bounding = set(&[5, 12]);
    expected.capabilities.ambient = set(&[12]);
    expected.kill_signal = 37;
    expected.working_directory = "/srv".into();
    expected.user_namespace = UserNamespace::Range(IdRange { base: 524_288, count: 65_536 });
    expected.readiness = Readiness::Notify;
    expected.limits.set(Resource::NOFILE, Limit { soft: Some(1024), hard: Some(4096) });
    expected.hostname = Some("web.example".parse().unwrap());
    expected.no_new_privileges = true;
    expected.root.read_only = true;
    expected.root.volatile = Volatile::State;
    expected.mounts = vec![
        bind("/srv/a:b", "/data", false, false),
        bind("/etc/systemd/nspawn/../c", "/c", true, true),
        tmpfs("/t", Tmpfs { size: 1 << 20, mode: 0o1777, ..Tmpfs::default() }),
    ];
    expected.masked = vec!["/before".into(), "/secret".into()];
    expected.network = Network::None;
    assert_eq!(spec, expected);

    let origins: Vec<String> = spec.origins.iter().map(|(field, origin)| format!("{field} {origin}")).collect();
    let expected: Vec<String> = [
        "capabilities.ambient 15 AmbientCapability=",
        "capabilities.bounding 14 DropCapability=",
        "command 6 Parameters=",
        "environment.LANG 10 Environment=",
        "environment.MOTD 9 Environment=",
        "environment.PASSWORD 9 Environment=",
        "hostname 21 Hostname=",
        "init 5 ProcessTwo=",
        "kill_signal 16 KillSignal=",
        "limits.NOFILE 20 LimitNOFILE=",
        "masked./secret 29 Inaccessible=",
        "mounts./c 27 BindReadOnly=",
        "mounts./data 26 Bind=",
        "mounts./t 28 TemporaryFileSystem=",
        "network 32 Private=",
        "no_new_privileges 22 NoNewPrivileges=",
        "readiness 19 NotifyReady=",
        "root.ephemeral 4 Ephemeral=",
        "root.read_only 24 ReadOnly=",
        "root.volatile 25 Volatile=",
        "user 11 User=",
        "user_namespace 18 PrivateUsers=",
        "working_directory 17 WorkingDirectory=",
    ]
    .iter()
    .map(|line| {
        let (field, rest) = line.split_once(' ').unwrap();
        format!("{field} {FILE}:{rest}")
    })
    .collect();
    assert_eq!(origins, expected);
}

fn bind(source: &str, target: &str, read_only: bool, recursive: bool) -> Mount {
    let bind = Bind { source: source.into(), read_only, recursive, ..Bind::default() };
    Mount { target: target.into(), kind: MountKind::Bind(bind) }
}

fn tmpfs(target: &str, tmpfs: Tmpfs) -> Mount {
    Mount { target: target.into(), kind: MountKind::Tmpfs(tmpfs) }
}

#[test]
fn options_of_a_tmpfs_are_those_of_the_kernel() {
    let of = |options: &str| match super::mounts::tmpfs(format!("/t:{options}")).unwrap().kind {
        MountKind::Tmpfs(tmpfs) => tmpfs,
        other => panic!("{other:?}"),
    };
    let usual = Tmpfs { mode: 0o1777, ..Tmpfs::default() };
    let policy = |text: &str| Some(crate::spec::NumaPolicy::parse(text).unwrap());
    for (options, expected) in [
        (
            "nr_blocks=1k,huge=within_size",
            Tmpfs { blocks: Some(1024), huge: Some(HugePages::WithinSize), ..usual.clone() },
        ),
        ("mpol=interleave:0,2-3,noswap", Tmpfs { numa: policy("interleave:0,2-3"), noswap: true, ..usual.clone() }),
        ("size=10%,inode32", Tmpfs { percent: Some(10), inode64: Some(false), ..usual.clone() }),
        ("noatime,nodiratime", Tmpfs { access_times: AccessTimes::Off, nodiratime: true, ..usual.clone() }),
        ("strictatime,nosymfollow", Tmpfs { access_times: AccessTimes::Strict, nosymfollow: true, ..usual.clone() }),
        ("relatime,sync", Tmpfs { access_times: AccessTimes::Relative, ..usual.clone() }),
        ("lazytime,nosuid,nodev", usual.clone()),
    ] {
        assert_eq!(of(options), expected, "{options}");
    }
}

#[test]
fn a_file_that_sets_nothing_changes_nothing() {
    for profile in [Profile::Strict, Profile::Nspawn] {
        let mut spec = Spec::of(profile);
        good("[Exec]\nParameters=a\nParameters=\n[X-a]\nb=c").apply(&mut spec).unwrap();
        assert_eq!(spec, Spec::of(profile));
        assert_eq!(spec.origins.iter().count(), 0);
    }
}

#[test]
fn drops_come_after_additions_and_ambient_ones_are_within() {
    let bounding = |profile, text: &str| {
        let mut spec = Spec::of(profile);
        good(text).apply(&mut spec).unwrap();
        spec.capabilities.bounding.0.0
    };
    let usual = Spec::of(Profile::Nspawn).capabilities.bounding.0.0;
    let kill = 1 << 5;
    let net_admin = 1 << 12;
    for (profile, text, expected) in [
        (Profile::Strict, "[Exec]\nDropCapability=CAP_KILL\nCapability=CAP_KILL", 0),
        (Profile::Strict, "[Exec]\nCapability=all\nDropCapability=CAP_KILL", !kill),
        (Profile::Nspawn, "[Exec]\nDropCapability=CAP_KILL", usual & !kill),
        (Profile::Nspawn, "[Exec]\nDropCapability=all", 0),
        (Profile::Nspawn, "[Network]\nPrivate=yes", usual | net_admin),
        (Profile::Nspawn, "[Network]\nPrivate=no", usual),
        (Profile::Nspawn, "[Network]\nPrivate=yes\n[Exec]\nDropCapability=CAP_NET_ADMIN", usual),
        (Profile::Strict, "[Network]\nPrivate=yes", 0),
    ] {
        assert_eq!(bounding(profile, text), expected, "{text}");
    }

    let ambient = "[Exec]\nHostname=a\nAmbientCapability=CAP_KILL CAP_NET_ADMIN";
    let mut spec = Spec::default();
    let problems = good(ambient).apply(&mut spec).unwrap_err().to_string();
    assert_eq!(
        problems,
        format!(
            "{FILE}:3:19: AmbientCapability: CAP_KILL is not among the container's capabilities; add it with Capability=CAP_KILL\n\
             {FILE}:3:19: AmbientCapability: CAP_NET_ADMIN is not among the container's capabilities; add it with Capability=CAP_NET_ADMIN"
        )
    );
    assert_eq!(spec, Spec::default());
    let mut spec = Spec::of(Profile::Nspawn);
    good(&format!("{ambient}\n[Network]\nPrivate=yes")).apply(&mut spec).unwrap();
    assert_eq!(spec.capabilities.ambient, set(&[5, 12]));
    assert_eq!(Capability::new(12).unwrap().to_string(), "CAP_NET_ADMIN");
}

#[test]
fn an_untrusted_file_sets_only_what_it_may() {
    let file = Path::new("/var/lib/machines/web.nspawn");
    let settings = parse_untrusted(file, FULL.as_bytes()).unwrap();
    let mut spec = Spec::of(Profile::Nspawn);
    settings.apply(&mut spec);
    let mut expected = Spec::of(Profile::Nspawn);
    let mut all = Spec::of(Profile::Nspawn);
    good(FULL).apply(&mut all).unwrap();
    expected.command = all.command;
    expected.environment = all.environment;
    expected.init = all.init;
    expected.user = all.user;
    expected.capabilities.bounding.0.0 &= !1;
    expected.kill_signal = all.kill_signal;
    expected.working_directory = all.working_directory;
    expected.readiness = all.readiness;
    expected.hostname = all.hostname;
    expected.no_new_privileges = all.no_new_privileges;
    expected.root.read_only = all.root.read_only;
    expected.root.volatile = all.root.volatile;
    assert_eq!(spec, expected);
    let ignored: Vec<String> = settings.ignored.iter().map(ToString::to_string).collect();
    assert_eq!(ignored.len(), 11, "{ignored:#?}");
    assert_eq!(ignored[0], "/var/lib/machines/web.nspawn:4 Ephemeral=");
    assert_eq!(ignored[10], "/var/lib/machines/web.nspawn:32 Private=");

    let weaker = parse_untrusted(file, b"[Exec]\nNoNewPrivileges=no\nBind=/a\n").unwrap_err();
    assert_eq!(weaker.0.len(), 1, "a key of another section is still an error");
    let weaker = parse_untrusted(file, b"[Exec]\nNoNewPrivileges=no\nPivotRoot=/a\n").unwrap();
    assert_eq!(weaker.ignored.len(), 2);
    let mut spec = Spec::default();
    weaker.apply(&mut spec);
    assert!(spec.no_new_privileges);
}

/// What the caller asked for is not undone by whoever made the image.
#[test]
fn an_untrusted_file_takes_no_hardening_away() {
    let text = b"[Exec]\nNoNewPrivileges=no\n[Files]\nVolatile=no\nReadOnly=no\n";
    let settings = parse_untrusted(Path::new(FILE), text).unwrap();
    let ignored: Vec<String> = settings.ignored.iter().map(|origin| origin.to_string().replace(FILE, "")).collect();
    assert_eq!(ignored, [":2 NoNewPrivileges=", ":4 Volatile=", ":5 ReadOnly="]);
    let mut spec = Spec::default();
    spec.root.read_only = true;
    let before = spec.clone();
    settings.apply(&mut spec);
    assert_eq!(spec, before);
}

#[test]
fn an_untrusted_file_can_only_deny_calls() {
    let text = b"[Exec]\nSystemCallFilter=bpf @mount\nSystemCallFilter=~uname ptrace\n\
                 RestrictAddressFamilies=AF_UNIX AF_VSOCK\nRestrictAddressFamilies=~AF_NETLINK\n";
    let settings = parse_untrusted(Path::new(FILE), text).unwrap();
    let ignored: Vec<String> = settings.ignored.iter().map(|origin| origin.to_string().replace(FILE, "")).collect();
    assert_eq!(ignored, [":2 SystemCallFilter="]);
    let mut spec = Spec::default();
    spec.system_calls.allow = ["ptrace".into()].into();
    spec.system_calls.deny = [("uname".into(), Denial::Kill)].into();
    spec.system_calls.sockets.only = Some([Family::UNIX, Family::INET].into());
    settings.apply(&mut spec);
    let mut expected = Spec::default();
    expected.system_calls.deny = [("uname".into(), Denial::Kill), ("ptrace".into(), Denial::EPERM)].into();
    expected.system_calls.sockets.only = Some([Family::UNIX].into());
    expected.system_calls.sockets.deny = [Family::NETLINK].into();
    assert_eq!(spec, expected);
}

#[test]
fn an_item_is_in_the_list_that_named_it_last() {
    let text = "[Exec]\nSystemCallFilter=~@clock bpf\nSystemCallFilter=@clock bpf uname\nSystemCallFilter=~uname\n";
    let mut spec = Spec::default();
    good(text).apply(&mut spec).unwrap();
    assert_eq!(spec.system_calls.allow, ["@clock".into()].into());
    assert_eq!(spec.system_calls.danger_allow, ["bpf".into()].into());
    assert_eq!(spec.system_calls.deny, [("uname".into(), Denial::EPERM)].into());
    assert!(matches!(spec.origins.of("system_calls.deny.uname"), Some(Origin::File { line: 4, .. })));
}

/// For every key: an untrusted file cannot make a Spec hold what its class forbids.
#[test]
fn row_125_each_privileged_key_in_an_untrusted_file_is_ignored_and_reported() {
    for key in KEYS.iter().filter(|key| key.trust == Trust::Trusted) {
        for value in ["", "yes", "/a:/b", "CAP_KILL", "1"] {
            let text = whole(key.section, &format!("{}={value}", key.name));
            let settings = parse_untrusted(Path::new(FILE), text.as_bytes()).unwrap();
            assert_eq!(settings.ignored.len(), 1, "{text}");
            let mut spec = Spec::of(Profile::Nspawn);
            settings.apply(&mut spec);
            assert_eq!(spec, Spec::of(Profile::Nspawn), "{text}");
        }
    }
}
