//! Each key of a settings file, and the option that says the same.

use skep::Spec;
use skep::dialect::nspawn::KEYS;
use skep::spec::Profile;

use crate::parse::parse;
use crate::verbs::Verb;

/// Keys in the order of the library's table, each with a value, and the words that mean it.
#[rustfmt::skip]
const SAME: &[(&str, &str, &[&str])] = &[
    ("Boot", "yes", &["--boot"]),
    ("Ephemeral", "yes", &["-x"]),
    ("ProcessTwo", "yes", &["-a"]),
    ("Parameters", "/bin/sh -c 'a b'", &["/bin/sh", "-c", "a b"]),
    ("Environment", "A=b \"C=d e\"", &["-E", "A=b", "--setenv=C=d e"]),
    ("User", "joe", &["--uid=joe"]),
    ("Capability", "CAP_KILL CAP_SYS_TIME", &["--capability=CAP_KILL,CAP_SYS_TIME"]),
    ("AmbientCapability", "CAP_KILL", &["--ambient-capability=CAP_KILL"]),
    ("DropCapability", "CAP_KILL CAP_CHOWN", &["--drop-capability=CAP_KILL", "--drop-capability=CAP_CHOWN"]),
    ("KillSignal", "SIGINT", &["--kill-signal=SIGINT"]),
    ("Personality", "x86", &["--personality=x86"]),
    ("MachineID", "0123456789abcdef0123456789abcdef", &["--uuid=0123456789abcdef0123456789abcdef"]),
    ("WorkingDirectory", "/srv", &["--chdir=/srv"]),
    ("PivotRoot", "/new:/old", &["--pivot-root=/new:/old"]),
    ("PrivateUsers", "100000:65536", &["--private-users=100000:65536"]),
    ("PrivateUsersDelegate", "0", &["--private-users-delegate=0"]),
    ("NotifyReady", "yes", &["--notify-ready=yes"]),
    ("SystemCallFilter", "~chroot @clock", &["--system-call-filter=~chroot @clock"]),
    ("LimitCPU", "5", &["--rlimit=CPU=5"]),
    ("LimitFSIZE", "1G", &["--rlimit=FSIZE=1G"]),
    ("LimitDATA", "1G", &["--rlimit=DATA=1G"]),
    ("LimitSTACK", "8M:infinity", &["--rlimit=STACK=8M:infinity"]),
    ("LimitCORE", "0", &["--rlimit=CORE=0"]),
    ("LimitRSS", "1G", &["--rlimit=RSS=1G"]),
    ("LimitNOFILE", "100:200", &["--rlimit=NOFILE=100:200"]),
    ("LimitAS", "1G", &["--rlimit=AS=1G"]),
    ("LimitNPROC", "7", &["--rlimit=NPROC=7"]),
    ("LimitMEMLOCK", "64K", &["--rlimit=MEMLOCK=64K"]),
    ("LimitLOCKS", "7", &["--rlimit=LOCKS=7"]),
    ("LimitSIGPENDING", "7", &["--rlimit=SIGPENDING=7"]),
    ("LimitMSGQUEUE", "7", &["--rlimit=MSGQUEUE=7"]),
    ("LimitNICE", "7", &["--rlimit=NICE=7"]),
    ("LimitRTPRIO", "7", &["--rlimit=RTPRIO=7"]),
    ("LimitRTTIME", "7", &["--rlimit=RTTIME=7"]),
    ("Hostname", "other", &["--hostname=other"]),
    ("NoNewPrivileges", "yes", &["--no-new-privileges=yes"]),
    ("OOMScoreAdjust", "7", &["--oom-score-adjust=7"]),
    ("CPUAffinity", "0-3,7", &["--cpu-affinity=0-3,7"]),
    ("ResolvConf", "bind-host", &["--resolv-conf=bind-host"]),
    ("LinkJournal", "host", &["--link-journal=host"]),
    ("Timezone", "delete", &["--timezone=delete"]),
    ("SuppressSync", "yes", &["--suppress-sync=yes"]),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET", &["--restrict-address-families=AF_UNIX AF_INET"]),
    ("ReadOnly", "yes", &["--read-only"]),
    ("Volatile", "state", &["--volatile=state"]),
    ("Bind", "/a:/b:norbind", &["--bind=/a:/b:norbind"]),
    ("BindReadOnly", "+/a\\:b:/c", &["--bind-ro=+/a\\:b:/c"]),
    ("TemporaryFileSystem", "/t:size=1M,noatime,huge=never", &["--tmpfs=/t:size=1M,noatime,huge=never"]),
    ("Inaccessible", "/srv", &["--inaccessible=/srv"]),
    ("Overlay", "+/var::/var", &["--overlay=+/var::/var"]),
    ("OverlayReadOnly", "/a:/b:/c", &["--overlay-ro=/a:/b:/c"]),
    ("PrivateUsersChown", "yes", &["--private-users-chown"]),
    ("PrivateUsersOwnership", "map", &["--private-users-ownership=map"]),
    ("BindUser", "joe jill", &["--bind-user=joe", "--bind-user=jill"]),
    ("BindUserShell", "/bin/zsh", &["--bind-user-shell=/bin/zsh"]),
    ("Private", "yes", &["--private-network"]),
    ("NamespacePath", "/run/netns/web", &["--network-namespace-path=/run/netns/web"]),
    ("Interface", "eth0 eth1:lan", &["--network-interface=eth0", "--network-interface=eth1:lan"]),
    ("MACVLAN", "eth0:m", &["--network-macvlan=eth0:m"]),
    ("IPVLAN", "eth0", &["--network-ipvlan=eth0"]),
    ("VirtualEthernet", "yes", &["--network-veth"]),
    ("VirtualEthernetExtra", "a:b", &["--network-veth-extra=a:b"]),
    ("Bridge", "br0", &["--network-bridge=br0"]),
    ("Zone", "lan", &["--network-zone=lan"]),
    ("Port", "udp:80:8080", &["--port=udp:80:8080"]),
];

/// With the defaults of systemd-nspawn.
fn meant(words: &[&str]) -> Spec {
    let all = ["--settings=no", "-M", "web"].into_iter().chain(words.iter().copied());
    let mut typed = parse(Verb::Nspawn, all.map(Into::into)).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    typed.profile = Some(Profile::Nspawn);
    crate::meaning::unnamed(typed).unwrap_or_else(|error| panic!("{words:?}: {error}")).0
}

#[test]
fn a_key_and_its_option_mean_the_same() {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(SAME.iter().map(|(name, _, _)| *name).collect::<Vec<_>>(), names);
    let directory = std::env::temp_dir().join(format!("skep-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("web.nspawn");
    for (key, (name, value, words)) in KEYS.iter().zip(SAME) {
        std::fs::write(&file, format!("[{}]\n{name}={value}\n", key.section.name())).expect("a file");
        let all = ["--profile=nspawn", "-M", "web", "-f", file.to_str().expect("text")];
        let of_file = crate::meaning::unnamed(parse(Verb::Plan, all.map(Into::into)).expect("parses"));
        let (of_file, _) = of_file.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(of_file, meant(words), "{name}={value} and {words:?}");
        assert_eq!(of_file == meant(&[]), value == &"0" && name == &"PrivateUsersDelegate", "{name} has an effect");
    }
    std::fs::remove_dir_all(&directory).expect("removed");
}
