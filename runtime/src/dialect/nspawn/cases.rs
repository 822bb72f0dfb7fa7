//! Every key, with values that are accepted and values that are refused.

use super::table::Read;
use super::tests::{bad, good, whole};
use super::{KEYS, Section, Trust};

/// The keys of section 2.1 of the contract, by section.
const CONTRACT: [(Section, &str); 3] = [
    (
        Section::Exec,
        "Boot Ephemeral ProcessTwo Parameters Environment User Capability AmbientCapability \
         DropCapability KillSignal Personality MachineID WorkingDirectory PivotRoot PrivateUsers \
         PrivateUsersDelegate NotifyReady SystemCallFilter LimitCPU LimitFSIZE LimitDATA LimitSTACK \
         LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING \
         LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME Hostname NoNewPrivileges OOMScoreAdjust \
         CPUAffinity ResolvConf LinkJournal Timezone SuppressSync RestrictAddressFamilies",
    ),
    (
        Section::Files,
        "ReadOnly Volatile Bind BindReadOnly TemporaryFileSystem Inaccessible Overlay \
         OverlayReadOnly PrivateUsersChown PrivateUsersOwnership BindUser BindUserShell",
    ),
    (
        Section::Network,
        "Private NamespacePath Interface MACVLAN IPVLAN VirtualEthernet VirtualEthernetExtra \
         Bridge Zone Port",
    ),
];

/// The accepted column of section 2.4, without `PivotRoot`.
const ACCEPTED: &str = "Boot ProcessTwo Parameters Environment User WorkingDirectory DropCapability \
     KillSignal Personality ReadOnly Volatile NotifyReady Hostname NoNewPrivileges ResolvConf \
     Timezone SuppressSync RestrictAddressFamilies";

#[test]
fn the_table_holds_every_key_of_the_contract_once() {
    let contract: Vec<(Section, &str)> =
        CONTRACT.iter().flat_map(|(section, names)| names.split_whitespace().map(|name| (*section, name))).collect();
    let table: Vec<(Section, &str)> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(table, contract);
}

#[test]
fn row_125_every_key_has_the_trust_class_of_the_contract_and_a_reader_to_match() {
    for key in KEYS {
        let expected = if ACCEPTED.split_whitespace().any(|name| name == key.name) {
            Trust::AcceptedFromUntrusted
        } else if key.name == "SystemCallFilter" {
            Trust::RestrictionsFromUntrusted
        } else {
            Trust::Trusted
        };
        assert_eq!(key.trust, expected, "{}", key.name);
        match key.read {
            Read::Harmless(_) => assert_ne!(key.trust, Trust::Trusted, "{}", key.name),
            Read::Privileged(_) => assert_eq!(key.trust, Trust::Trusted, "{}", key.name),
            Read::Anyhow(_) => assert!(!key.is_supported()),
        }
    }
}

/// Assignments, and the assignments that they are printed as.
#[rustfmt::skip]
const GOOD: &[(Section, &str, &str)] = &[
    (Section::Exec, "Ephemeral=TRUE", "Ephemeral=yes"),
    (Section::Exec, "Ephemeral=off", "Ephemeral=no"),
    (Section::Exec, "  ProcessTwo \t=  On \t", "ProcessTwo=yes"),
    (Section::Exec, "ProcessTwo=f", "ProcessTwo=no"),
    (Section::Exec, "Parameters=/bin/sh -c 'echo \"a  b\"'", "Parameters=/bin/sh -c 'echo \"a  b\"'"),
    (Section::Exec, "Parameters=a\nParameters='b c' \"\"\n", "Parameters=a \"b c\" \"\""),
    (Section::Exec, "Parameters=a\nParameters=\nParameters=b", "Parameters=b"),
    (Section::Exec, "Parameters=a\nParameters=\n", ""),
    (Section::Exec, "Parameters=a \\\n# no\n  ; no\n  b", "Parameters=a b"),
    (Section::Exec, "Parameters='a \\\n  b'", "Parameters=\"a  b\""),
    (Section::Exec, "Parameters=a=b", "Parameters=a=b"),
    (Section::Exec, "Environment=A=1 \"B=x y\" 'C='", "Environment=A=1\nEnvironment=\"B=x y\"\nEnvironment=C="),
    (Section::Exec, r"Environment=A=\x41\n _=", "Environment=\"A=\\x41\\n\"\nEnvironment=_="),
    (Section::Exec, "Environment=A=1\nEnvironment=\nEnvironment=A=2 A=3", "Environment=A=2\nEnvironment=A=3"),
    (Section::Exec, "User=root", "User=root"),
    (Section::Exec, "User=0", "User=root"),
    (Section::Exec, "User=1000", "User=1000"),
    (Section::Exec, "User=_web-1", "User=_web-1"),
    (Section::Exec, "Capability=CAP_NET_ADMIN cap_kill\t45", "Capability=CAP_KILL CAP_NET_ADMIN 45"),
    (Section::Exec, "Capability=all\nCapability=CAP_KILL", "Capability=all\nCapability=CAP_KILL"),
    (Section::Exec, "AmbientCapability=CAP_NET_BIND_SERVICE", "AmbientCapability=CAP_NET_BIND_SERVICE"),
    (Section::Exec, "DropCapability=all", "DropCapability=all"),
    (Section::Exec, "KillSignal=SIGTERM", "KillSignal=SIGTERM"),
    (Section::Exec, "KillSignal=TERM", "KillSignal=SIGTERM"),
    (Section::Exec, "KillSignal=15", "KillSignal=SIGTERM"),
    (Section::Exec, "KillSignal=SIGRTMIN+3", "KillSignal=SIGRTMIN+3"),
    (Section::Exec, "KillSignal=RTMAX-1", "KillSignal=SIGRTMIN+29"),
    (Section::Exec, "KillSignal=32", "KillSignal=32"),
    (Section::Exec, "WorkingDirectory=/srv//./www/", "WorkingDirectory=/srv/www"),
    (Section::Exec, "WorkingDirectory=/", "WorkingDirectory=/"),
    (Section::Exec, "WorkingDirectory=/devices", "WorkingDirectory=/devices"),
    (Section::Exec, r"WorkingDirectory=/a\/", r"WorkingDirectory=/a\/"),
    (Section::Exec, "PivotRoot=/a/", "PivotRoot=/a"),
    (Section::Exec, r"PivotRoot=/a\:b:/c", r"PivotRoot=/a\:b:/c"),
    (Section::Exec, "PrivateUsers=0", "PrivateUsers=no"),
    (Section::Exec, "PrivateUsers=identity", "PrivateUsers=identity"),
    (Section::Exec, "PrivateUsers=pick", "PrivateUsers=pick"),
    (Section::Exec, "PrivateUsers=1", "PrivateUsers=yes"),
    (Section::Exec, "PrivateUsers=managed", "PrivateUsers=managed"),
    (Section::Exec, "PrivateUsers=524288", "PrivateUsers=524288:65536"),
    (Section::Exec, "PrivateUsers=4294901759:65536", "PrivateUsers=4294901759:65536"),
    (Section::Exec, "NotifyReady=y", "NotifyReady=yes"),
    (Section::Exec, "LimitNOFILE=1024:infinity", "LimitNOFILE=1024:infinity"),
    (Section::Exec, "LimitCORE=0", "LimitCORE=0"),
    (Section::Exec, "LimitMEMLOCK=8M:1G", "LimitMEMLOCK=8388608:1073741824"),
    (Section::Exec, "LimitCPU=1\nLimitFSIZE=2\nLimitDATA=3\nLimitSTACK=4\nLimitRSS=5\nLimitAS=6\nLimitNPROC=7\nLimitLOCKS=8", "LimitCPU=1\nLimitFSIZE=2\nLimitDATA=3\nLimitSTACK=4\nLimitRSS=5\nLimitAS=6\nLimitNPROC=7\nLimitLOCKS=8"),
    (Section::Exec, "LimitSIGPENDING=1\nLimitMSGQUEUE=2\nLimitNICE=3\nLimitRTPRIO=4\nLimitRTTIME=infinity", "LimitSIGPENDING=1\nLimitMSGQUEUE=2\nLimitNICE=3\nLimitRTPRIO=4\nLimitRTTIME=infinity"),
    (Section::Exec, "Hostname=web.example", "Hostname=web.example"),
    (Section::Exec, "NoNewPrivileges=1", "NoNewPrivileges=yes"),
    (Section::Exec, "SystemCallFilter=@clock  bpf\nSystemCallFilter=~ptrace\t@keyring", "SystemCallFilter=@clock bpf\nSystemCallFilter=~ptrace @keyring"),
    (Section::Exec, "RestrictAddressFamilies=AF_INET AF_LOCAL\nRestrictAddressFamilies=~AF_NETLINK", "RestrictAddressFamilies=AF_UNIX AF_INET\nRestrictAddressFamilies=~AF_NETLINK"),
    (Section::Exec, "RestrictAddressFamilies=none", "RestrictAddressFamilies=none"),
    (Section::Exec, "X-Mine=\nX-=1\n# c\n;c\n\n[X-Any]\nnothing\nBoot=yes\n[Exec]\nUser=a", "User=a"),
    (Section::Files, "ReadOnly=no", "ReadOnly=no"),
    (Section::Files, "Volatile=1", "Volatile=yes"),
    (Section::Files, "Volatile=state", "Volatile=state"),
    (Section::Files, "Volatile=overlay", "Volatile=overlay"),
    (Section::Files, "Bind=/a", "Bind=/a:/a:rbind"),
    (Section::Files, "Bind=/a b:/c d", "Bind=/a b:/c d:rbind"),
    (Section::Files, r"Bind=/a\:b\\:/c", r"Bind=/a\:b\\:/c:rbind"),
    (Section::Files, "Bind=../a:/c:norbind,noidmap", "Bind=/etc/systemd/nspawn/../a:/c:norbind"),
    (Section::Files, "Bind=+/a:/b\nBindReadOnly=+/c", "Bind=+/a:/b:rbind\nBindReadOnly=+/c:/c:rbind"),
    (Section::Files, "Bind=:/b", "TemporaryFileSystem=/b:mode=0755,size=268435456,nr_inodes=100000,rw"),
    (Section::Files, "Bind=./+x:/x", "Bind=/etc/systemd/nspawn/+x:/x:rbind"),
    (Section::Files, "BindReadOnly=/a//:/b/.:rbind\nBind=/b", "BindReadOnly=/a:/b:rbind\nBind=/b:/b:rbind"),
    (Section::Files, "TemporaryFileSystem=/t", "TemporaryFileSystem=/t:mode=0755,size=268435456,nr_inodes=100000,rw"),
    (Section::Files, "TemporaryFileSystem=/t:ro", "TemporaryFileSystem=/t:mode=1777,size=268435456,nr_inodes=100000,ro"),
    (Section::Files, r"TemporaryFileSystem=/t\:u:mode=700,size=1m,nr_inodes=2K", r"TemporaryFileSystem=/t\:u:mode=0700,size=1048576,nr_inodes=2048,rw"),
    (Section::Files, "Inaccessible=/a:b\nInaccessible=/c", "Inaccessible=/a:b\nInaccessible=/c"),
    (Section::Exec, "Boot=no\nProcessTwo=yes\nSuppressSync=0", "Boot=no\nProcessTwo=yes\nSuppressSync=no"),
    (Section::Exec, "PrivateUsersDelegate=0\nOOMScoreAdjust=5\nOOMScoreAdjust=", "PrivateUsersDelegate=0"),
    (Section::Exec, "OOMScoreAdjust=+7\nOOMScoreAdjust=\nOOMScoreAdjust=-500", "OOMScoreAdjust=-500"),
    (Section::Exec, "CPUAffinity=0-3,5 6,7\nCPUAffinity=9", "CPUAffinity=0-3,5-7\nCPUAffinity=9"),
    (Section::Exec, "MachineID=0123456789ABCDEF0123456789abcdef", "MachineID=01234567-89ab-cdef-0123-456789abcdef"),
    (Section::Exec, "Personality=x86", "Personality=x86"),
    (Section::Exec, "Personality=native", "Personality=native"),
    (Section::Exec, "ResolvConf=off\nTimezone=no\nLinkJournal=no", "ResolvConf=off\nLinkJournal=no\nTimezone=off"),
    (Section::Exec, "ResolvConf=replace-stub\nTimezone=symlink", "ResolvConf=replace-stub\nTimezone=symlink"),
    (Section::Exec, "ResolvConf=1\nTimezone=yes", "ResolvConf=auto\nTimezone=auto"),
    (Section::Files, "Bind=/a:/b:norbind,rootidmap", "Bind=/a:/b:norbind,rootidmap"),
    (Section::Files, "BindReadOnly=/a:/b:idmap\nBind=/a:/c:owneridmap", "BindReadOnly=/a:/b:rbind,idmap\nBind=/a:/c:rbind,owneridmap"),
    (Section::Files, "TemporaryFileSystem=/t:noexec,mode=0", "TemporaryFileSystem=/t:mode=0000,size=268435456,nr_inodes=100000,rw,noexec"),
    (Section::Files, "Overlay=/a:/b", "Overlay=/a:/b:/b"),
    (Section::Files, "Overlay=/a:/b\\:c:/u:/t\nOverlay=/a::/s/", "Overlay=/a:/b\\:c:/u:/t\nOverlay=/a::/s"),
    (Section::Files, "OverlayReadOnly=/a:/b\nOverlayReadOnly=/a:/b:/c:/t", "OverlayReadOnly=/a:/b:/b\nOverlayReadOnly=/a:/b:/c:/t"),
    (Section::Files, "PrivateUsersChown=yes", "PrivateUsersOwnership=chown"),
    (Section::Files, "PrivateUsersOwnership=no", "PrivateUsersOwnership=off"),
    (Section::Files, "PrivateUsersOwnership=auto", "PrivateUsersOwnership=auto"),
    (Section::Files, "PrivateUsersOwnership=foreign", "PrivateUsersOwnership=foreign"),
    (Section::Files, "BindUserShell=no\nBindUserShell=\nBindUser=a\nBindUser=", ""),
    (Section::Files, "BindUser=joe 'ann'\nBindUser=_x-1\nBindUserShell=1", "BindUser=joe ann _x-1\nBindUserShell=yes"),
    (Section::Files, "Overlay=+/var::/var", "Overlay=+/var::/var"),
    (Section::Files, "Overlay=/a:+/b\nOverlayReadOnly=/a::/c", "Overlay=/a:+/b:/b\nOverlayReadOnly=/a::/c"),
    (Section::Files, "Overlay=a:/b:/c", "Overlay=/etc/systemd/nspawn/a:/b:/c"),
    (Section::Files, "Overlay=/a:+//b/:/c\nOverlayReadOnly=/a:+/b::/d", "Overlay=/a:+/b:/c\nOverlayReadOnly=/a:+/b:/d"),
    (
        Section::Files,
        "TemporaryFileSystem=/t:rw,nosuid,nodev,noexec,size=50%,uid=7",
        "TemporaryFileSystem=/t:mode=1777,size=50%,nr_inodes=100000,rw,noexec,uid=7,gid=0",
    ),
    (Section::Exec, "LinkJournal=yes", "LinkJournal=auto"),
    (Section::Exec, "LinkJournal=try-guest", "LinkJournal=try-guest"),
    (Section::Files, "BindUserShell=/bin//zsh", "BindUserShell=/bin/zsh"),
    (Section::Files, "BindUserShell=/bin/zsh\nBindUserShell=off", "BindUserShell=no"),
    (Section::Network, "VirtualEthernet=no", "VirtualEthernet=no"),
    (Section::Network, "Private=yes", "Private=yes"),
    (Section::Network, "VirtualEthernet=yes\nPort=80\nPort=udp:53:5353", "VirtualEthernet=yes\nPort=tcp:80:80\nPort=udp:53:5353"),
    (Section::Network, "Port=tcp:127.0.0.1:80:8080", "Port=tcp:127.0.0.1:80:8080"),
    (Section::Network, "VirtualEthernetExtra=a\nVirtualEthernetExtra=b:c", "VirtualEthernetExtra=a\nVirtualEthernetExtra=b:c"),
    (Section::Network, "Zone=lan\nMACVLAN=eth0 eth1:wan", "MACVLAN=eth0 eth1:wan\nZone=lan"),
    (Section::Network, "Bridge=br0\nIPVLAN=eth0\nInterface=eth1:lan", "Interface=eth1:lan\nIPVLAN=eth0\nBridge=br0"),
    (Section::Network, "Private=no", "Private=no"),
    (Section::Network, "NamespacePath=/run/netns/web\nPrivate=yes", "Private=yes\nNamespacePath=/run/netns/web"),
];

/// Assignments, and the beginning of the problem: column, key, message, remedy.
#[rustfmt::skip]
const BAD: &[(Section, &str, &str)] = &[
    (Section::Exec, "Boot=", "2:1: Boot: `Boot=` has no value"),
    (Section::Exec, "Ephemeral=maybe", "2:11: Ephemeral: \"maybe\" is not a boolean; write `yes` or `no`"),
    (Section::Exec, "Ephemeral=", "2:1: Ephemeral: `Ephemeral=` has no value; remove the line for the default"),
    (Section::Exec, "ProcessTwo=yes\n\nProcessTwo=yes", "4:1: ProcessTwo: `ProcessTwo=` is given twice; line 2 is the first; remove"),
    (Section::Exec, "ProcessTwo=x\nProcessTwo=yes", "2:12: ProcessTwo: \"x\" is not a boolean; write `yes` or `no`\n3:1: ProcessTwo: `ProcessTwo=` is given twice"),
    (Section::Exec, "Parameters=a 'b", "2:14: Parameters: the quote ' is not closed; close it with ' on the same line"),
    (Section::Exec, "Parameters=a \\\n\t \"b", "3:3: Parameters: the quote \" is not closed"),
    (Section::Exec, "Environment=A=1 hunter2", "2:17: Environment: a word has no `=`; write NAME=VALUE"),
    (Section::Exec, "Environment=ü=1 9=hunter2", "2:13: Environment: what stands before `=` is not the name of a variable; a name has letters, digits and `_`, and no digit at its start\n2:17: Environment: what"),
    (Section::Exec, "Environment==hunter2", "2:13: Environment: what stands"),
    (Section::Exec, "User=1000:1000", "2:6: User: \"1000:1000\" is not a user id"),
    (Section::Exec, "User=65535", "2:6: User: \"65535\" is not a user id"),
    (Section::Exec, "User=4294967295", "2:6: User: \"4294967295\" is not a user id"),
    (Section::Exec, "User=010", "2:6: User: \"010\" is not a user id"),
    (Section::Exec, "User=-1", "2:6: User: \"-1\" is not the name of a user"),
    (Section::Exec, "User=a/b", "2:6: User: \"a/b\" is not the name of a user"),
    (Section::Exec, "User=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "2:6: User: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is not the name"),
    (Section::Exec, "Capability=CAP_KILL CAP_FOO", "2:21: Capability: \"CAP_FOO\" is not a capability; names are"),
    (Section::Exec, "Capability=CAP_KILL,CAP_CHOWN", "2:12: Capability: \"CAP_KILL,CAP_CHOWN\" is not a capability; separate capabilities with blanks"),
    (Section::Exec, "Capability=", "2:1: Capability: `Capability=` has no value; an empty one does not reset the list"),
    (Section::Exec, "AmbientCapability=CAP_KILL all", "2:28: AmbientCapability: `all` is not accepted here; name the capabilities"),
    (Section::Exec, "DropCapability=64", "2:16: DropCapability: \"64\" is not a capability"),
    (Section::Exec, "KillSignal=SIGFOO", "2:12: KillSignal: \"SIGFOO\" is not a signal; write a name"),
    (Section::Exec, "KillSignal=0", "2:12: KillSignal: \"0\" is not a signal"),
    (Section::Exec, "KillSignal=65", "2:12: KillSignal: \"65\" is not a signal"),
    (Section::Exec, "KillSignal=SIG15", "2:12: KillSignal: \"SIG15\" is not a signal"),
    (Section::Exec, "KillSignal=RTMIN+31", "2:12: KillSignal: \"RTMIN+31\" is not a signal"),
    (Section::Exec, "KillSignal=RTMIN+", "2:12: KillSignal: \"RTMIN+\" is not a signal"),
    (Section::Exec, "KillSignal=RTMAX-31", "2:12: KillSignal: \"RTMAX-31\" is not a signal"),
    (Section::Exec, "Personality=s390x", "2:13: Personality: no machine that this runs on can be \"s390x\"; write one of native, x86-64, x86"),
    (Section::Exec, "WorkingDirectory=srv", "2:18: WorkingDirectory: \"srv\" is not an absolute path"),
    (Section::Exec, "WorkingDirectory=/srv/../a", "2:18: WorkingDirectory: \"/srv/../a\" holds `..`"),
    (Section::Exec, "WorkingDirectory=/proc/self/fd/7", "2:18: WorkingDirectory: no working directory can be in /proc"),
    (Section::Exec, "PrivateUsers=some", "2:14: PrivateUsers: \"some\" is not a user-namespace mode"),
    (Section::Exec, "PrivateUsers=1000:0", "2:14: PrivateUsers: \"1000:0\" is not a range of user ids"),
    (Section::Exec, "PrivateUsers=4294901760:65536", "2:14: PrivateUsers: \"4294901760:65536\" is not a range of user ids"),
    (Section::Exec, "PrivateUsers=-5", "2:14: PrivateUsers: \"-5\" is not a user-namespace mode"),
    (Section::Exec, "PrivateUsersDelegate=1", "2:22: PrivateUsersDelegate: further ranges are handed out inside by systemd-nsresourced"),
    (Section::Exec, "SystemCallFilter=~bpf:ENOSYS", "2:19: SystemCallFilter: \"bpf:ENOSYS\" is not a system call"),
    (Section::Exec, "LimitNOFILE=-1", "2:13: LimitNOFILE: \"-1\" is neither a number nor `infinity`; write SOFT or SOFT:HARD; numbers"),
    (Section::Exec, "LimitNOFILE=2:1", "2:13: LimitNOFILE: the soft limit is above the hard limit"),
    (Section::Exec, "LimitNOFILE=1K", "2:13: LimitNOFILE: \"1K\" is neither"),
    (Section::Exec, "LimitNOFILE=1:2:3", "2:13: LimitNOFILE: \"2:3\" is neither"),
    (Section::Exec, "LimitAS=99999999999999999999G", "2:9: LimitAS: \"99999999999999999999G\" is too large"),
    (Section::Exec, "LimitRTTIME=1s", "2:13: LimitRTTIME: \"1s\" is neither a number nor `infinity`; write SOFT or SOFT:HARD; microseconds"),
    (Section::Exec, "LimitNPROC=max", "2:12: LimitNPROC: \"max\" is neither"),
    (Section::Exec, "LimitNICE=+5", "2:11: LimitNICE: \"+5\" is neither"),
    (Section::Exec, "LimitCORE=1\nLimitCORE=2", "3:1: LimitCORE: `LimitCORE=` is given twice; line 2"),
    (Section::Exec, "Hostname=a_b", "2:10: Hostname: hostname \"a_b\" may hold only"),
    (Section::Exec, "Hostname=a\x1b[31m", "2:10: Hostname: hostname \"a\\u{1b}[31m\" may hold only"),
    (Section::Exec, "OOMScoreAdjust=1\nOOMScoreAdjust=+", "3:16: OOMScoreAdjust: \"+\" is not a score"),
    (Section::Exec, "CPUAffinity=,", "2:13: CPUAffinity: no processor is named"),
    (Section::Exec, "RestrictAddressFamilies=none AF_INET", "2:25: RestrictAddressFamilies: \"none\" is not an address family"),
    (Section::Files, "Volatile=all", "2:10: Volatile: \"all\" is not a volatile mode"),
    (Section::Files, "Bind=", "2:1: Bind: `Bind=` has no value; an empty one does not reset the list"),
    (Section::Files, "Bind=a", "2:6: Bind: a relative source needs a target"),
    (Section::Files, "Bind=/a::rbind", "2:9: Bind: the target is empty"),
    (Section::Files, "Bind=/a:b", "2:9: Bind: \"b\" is not an absolute path"),
    (Section::Files, "Bind=/a:/b/../c", "2:9: Bind: \"/b/../c\" holds `..`"),
    (Section::Files, "Bind=/a/../b", "2:6: Bind: \"/a/../b\" holds `..`"),
    (Section::Files, "Bind=/a:/b:ro", "2:12: Bind: \"ro\" is not a bind option; options are rbind"),
    (Section::Files, "Bind=/a:/b:", "2:12: Bind: \"\" is not a bind option"),
    (Section::Files, "Bind=/a:/b:rbind,norbind", "2:18: Bind: `rbind` and `norbind`: one of them, once"),
    (Section::Files, r"Bind=/a\b", "2:8: Bind: a backslash stands before neither"),
    (Section::Files, "TemporaryFileSystem=t", "2:21: TemporaryFileSystem: \"t\" is not an absolute path"),
    (Section::Files, "TemporaryFileSystem=/t:size=0%", "2:24: TemporaryFileSystem: \"0%\" is no part of the memory; write 1% to 100%"),
    (Section::Files, "TemporaryFileSystem=/t:size=101%", "2:24: TemporaryFileSystem: \"101%\" is no part of the memory"),
    (Section::Files, "TemporaryFileSystem=/t:suid", "2:24: TemporaryFileSystem: a tmpfs honours no set-user-id; leave"),
    (Section::Files, "TemporaryFileSystem=/t:uid=-1", "2:24: TemporaryFileSystem: \"-1\" is not an id"),
    (Section::Files, "TemporaryFileSystem=/t:gid=4294967295", "2:24: TemporaryFileSystem: \"4294967295\" is not an id"),
    (Section::Files, "TemporaryFileSystem=/t:rw,size=0", "2:27: TemporaryFileSystem: \"0\" starts with 0"),
    (Section::Files, "TemporaryFileSystem=/t:nr_inodes=-1", "2:24: TemporaryFileSystem: \"-1\" is not a size, or too large"),
    (Section::Files, "TemporaryFileSystem=/t:mode=0789", "2:24: TemporaryFileSystem: \"0789\" is not a mode"),
    (Section::Files, "TemporaryFileSystem=/t:mode=17777", "2:24: TemporaryFileSystem: \"17777\" is not a mode"),
    (Section::Files, "TemporaryFileSystem=/t:ro,rw", "2:27: TemporaryFileSystem: \"rw\" is given twice"),
    (Section::Files, "TemporaryFileSystem=/t:noatime,strictatime", "2:32: TemporaryFileSystem: \"strictatime\" is given twice"),
    (Section::Files, "TemporaryFileSystem=/t:size=1M,nr_blocks=7", "2:32: TemporaryFileSystem: \"nr_blocks\" is given twice"),
    (Section::Files, "TemporaryFileSystem=/t:nr_blocks=0", "2:24: TemporaryFileSystem: \"0\" starts with 0"),
    (Section::Files, "TemporaryFileSystem=/t:huge=some", "2:24: TemporaryFileSystem: \"some\" says not when there are huge pages; write never"),
    (Section::Files, "TemporaryFileSystem=/t:mpol=bind", "2:24: TemporaryFileSystem: mpol=bind: it is no policy of memory; write default"),
    (Section::Files, "TemporaryFileSystem=/t:mpol=bind:0,x", "2:36: TemporaryFileSystem: \"x\" is not a tmpfs option"),
    (Section::Files, "TemporaryFileSystem=/t:noswap=1", "2:24: TemporaryFileSystem: \"noswap\" is not a tmpfs option"),
    (Section::Files, "TemporaryFileSystem=/t:usrquota", "2:24: TemporaryFileSystem: \"usrquota\" is not passed on"),
    (Section::Files, "TemporaryFileSystem=/t:", "2:24: TemporaryFileSystem: \"\" is not a tmpfs option"),
    (Section::Files, "Inaccessible=a", "2:14: Inaccessible: \"a\" is not an absolute path"),
    (Section::Network, "Private=2", "2:9: Private: \"2\" is not a boolean"),
    (Section::Exec, "Boot=maybe", "2:6: Boot: \"maybe\" is not a boolean"),
    (Section::Exec, "Personality=pdp11", "2:13: Personality: \"pdp11\" is not an architecture"),
    (Section::Exec, "MachineID=00000000-0000-0000-0000-000000000000", "2:11: MachineID: \"00000000-0000-0000-0000-000000000000\" is not a machine id; the id of nothing"),
    (Section::Exec, "MachineID=0123456789abcdef0123456789abcdeg", "2:11: MachineID: \"0123456789abcdef0123456789abcdeg\" is not a machine id; write 32"),
    (Section::Exec, "MachineID=01234567-89ab-cdef-01234-56789abcdef", "2:11: MachineID: \"01234567-89ab-cdef-01234-56789abcdef\" is not a machine id; write 32"),
    (Section::Exec, "PivotRoot=a", "2:11: PivotRoot: \"a\" is not an absolute path"),
    (Section::Exec, "PivotRoot=/a:/b:/c", "2:17: PivotRoot: two paths are the most"),
    (Section::Exec, "PivotRoot=/a:/a/", "2:14: PivotRoot: the old root cannot be put where the new one is"),
    (Section::Exec, "PivotRoot=/a:/b/../c", "2:14: PivotRoot: \"/b/../c\" holds"),
    (Section::Exec, "PrivateUsersDelegate=17", "2:22: PrivateUsersDelegate: \"17\" is not a number of ranges"),
    (Section::Exec, "SystemCallFilter=@clock nosuchcall", "2:25: SystemCallFilter: \"nosuchcall\" is not a system call; names are"),
    (Section::Exec, "SystemCallFilter=@clokc", "2:18: SystemCallFilter: \"@clokc\" is not a system call; did you mean @clock?"),
    (Section::Exec, "SystemCallFilter=perf_event_opn", "2:18: SystemCallFilter: \"perf_event_opn\" is not a system call; did you mean perf_event_open?"),
    (Section::Exec, "Capability=CAP_NET_RWA", "2:12: Capability: \"CAP_NET_RWA\" is not a capability; did you mean CAP_NET_RAW?"),
    (Section::Exec, "KillSignal=SIGTREM", "2:12: KillSignal: \"SIGTREM\" is not a signal; did you mean TERM?"),
    (Section::Exec, "KillSignal=TREM", "2:12: KillSignal: \"TREM\" is not a signal; did you mean TERM?"),
    (Section::Exec, "SystemCallFilter=~@clock @nogroup", "2:26: SystemCallFilter: \"@nogroup\" is not a system call"),
    (Section::Exec, "SystemCallFilter=~ ", "2:18: SystemCallFilter: no system call is named"),
    (Section::Exec, "OOMScoreAdjust=1001", "2:16: OOMScoreAdjust: \"1001\" is not a score"),
    (Section::Exec, "OOMScoreAdjust=--1", "2:16: OOMScoreAdjust: \"--1\" is not a score"),
    (Section::Exec, "OOMScoreAdjust=-1001", "2:16: OOMScoreAdjust: \"-1001\" is not a score"),
    (Section::Exec, "CPUAffinity=0-3 5,7-6", "2:17: CPUAffinity: \"7-6\" is not a processor"),
    (Section::Exec, "CPUAffinity=99999", "2:13: CPUAffinity: \"99999\" is not a processor"),
    (Section::Exec, "ResolvConf=copy", "2:12: ResolvConf: \"copy\" is not a way to treat resolv.conf"),
    (Section::Exec, "LinkJournal=some", "2:13: LinkJournal: \"some\" is not a way to treat the journal; write one of auto, no, host"),
    (Section::Exec, "Timezone=UTC", "2:10: Timezone: \"UTC\" is not a way to treat localtime"),
    (Section::Exec, "RestrictAddressFamilies=AF_UNIX AF_FOO", "2:33: RestrictAddressFamilies: \"AF_FOO\" is not an address family"),
    (Section::Exec, "RestrictAddressFamilies=~", "2:25: RestrictAddressFamilies: no address family is named"),
    (Section::Files, "Bind=/a:/b:idmap,noidmap", "2:18: Bind: more than one kind of id map"),
    (Section::Files, "Overlay=/a:+b:/c", "2:12: Overlay: \"b\" is not an absolute path"),
    (Section::Files, "OverlayReadOnly=/a::/b:/c", "2:20: OverlayReadOnly: a layer is empty; name a directory"),
    (Section::Files, "Overlay=/a", "2:9: Overlay: an overlay has at least two paths"),
    (Section::Files, "Overlay=/a:b", "2:12: Overlay: \"b\" is not an absolute path"),
    (Section::Files, "Overlay=/a:/b:+/c", "2:15: Overlay: \"+/c\" is not an absolute path"),
    (Section::Files, "Overlay=:/b", "2:9: Overlay: a layer is empty"),
    (Section::Files, r"OverlayReadOnly=/a\:b:/c\d", "2:25: OverlayReadOnly: a backslash stands before neither"),
    (Section::Files, "PrivateUsersOwnership=mine", "2:23: PrivateUsersOwnership: \"mine\" is not a mode of ownership"),
    (Section::Files, "BindUser=a b:c", "2:12: BindUser: \"b:c\" is not the name of a user"),
    (Section::Files, "BindUser=1000", "2:10: BindUser: \"1000\" is not the name of a user; write the name"),
    (Section::Files, "BindUserShell=sh", "2:15: BindUserShell: \"sh\" is not an absolute path"),
    (Section::Network, "NamespacePath=ns", "2:15: NamespacePath: \"ns\" is not an absolute path"),
    (Section::Network, "Interface=eth0 a/b", "2:16: Interface: \"a/b\" is not the name of an interface"),
    (Section::Network, "Interface=eth0:sixteen-bytes-xx", "2:16: Interface: \"sixteen-bytes-xx\" is not the name"),
    (Section::Network, "MACVLAN=1", "2:9: MACVLAN: \"1\" is not the name of an interface"),
    (Section::Network, "IPVLAN=a:", "2:10: IPVLAN: \"\" is not the name of an interface"),
    (Section::Network, "VirtualEthernet=x", "2:17: VirtualEthernet: \"x\" is not a boolean"),
    (Section::Network, "VirtualEthernetExtra=a b", "2:22: VirtualEthernetExtra: \"a b\" is not the name of an interface"),
    (Section::Network, "Bridge=..", "2:8: Bridge: \"..\" is not the name of an interface"),
    (Section::Network, "Zone=thirteen-byte", "2:6: Zone: \"thirteen-byte\" is not the name of an interface"),
    (Section::Network, "Port=0", "2:6: Port: \"0\" is not a port"),
    (Section::Network, "Port=icmp:80", "2:6: Port: \"icmp:80\" is not a port"),
    (Section::Network, "Port=tcp::8080", "2:10: Port: \"tcp::8080\" is not a port"),
    (Section::Network, "Port=8080:", "2:11: Port: \"8080:\" is not a port"),
    (Section::Network, "Port=udp:53:65536", "2:13: Port: \"udp:53:65536\" is not a port"),
    (Section::Exec, "Hostnam=a", "2:1: Hostnam: unknown key in [Exec]; did you mean `Hostname=`?"),
    (Section::Exec, "hostname=a", "2:1: hostname: unknown key in [Exec]; did you mean `Hostname=`?"),
    (Section::Exec, "LimitCOR=1", "2:1: LimitCOR: unknown key in [Exec]; did you mean `LimitCORE=`?"),
    (Section::Exec, "Bind=/a", "2:1: Bind: unknown key in [Exec]; it belongs to [Files]"),
    (Section::Network, "BindReadonly=/a", "2:1: BindReadonly: unknown key in [Network]; did you mean `BindReadOnly=` of [Files]?"),
    (Section::Exec, "Foo\x07=a", "2:1: Foo\\u{7}: unknown key in [Exec]; remove the line"),
    (Section::Exec, "NoNewPrivileges", "2:1: the line has no `=`; write KEY=VALUE"),
    (Section::Exec, "  =x", "2:3: the line has no key before `=`"),
    (Section::Exec, "User=a # b", "2:6: User: \"a # b\" is not the name of a user"),
];

#[test]
fn values_that_are_accepted() {
    for (section, text, printed) in GOOD {
        let settings = good(&whole(*section, text));
        let expected = match *printed {
            "" => String::new(),
            lines => format!("{}\n", whole(*section, lines)),
        };
        assert_eq!(settings.to_string(), expected, "{text:?}");
        assert_eq!(good(&settings.to_string()), settings, "{text:?}");
    }
}

#[test]
fn values_that_are_refused() {
    for (section, text, problem) in BAD {
        let found = bad(whole(*section, text));
        assert!(found.starts_with(problem), "{text:?}:\n{found}\n{problem}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn the_tables_above_hold_every_key() {
    for key in KEYS {
        let start = format!("{}=", key.name);
        let good = GOOD.iter().map(|(section, text, _)| (section, text));
        let bad = BAD.iter().map(|(section, text, _)| (section, text));
        let (list, cases): (_, Vec<_>) =
            if key.is_supported() { ("GOOD", good.collect()) } else { ("BAD", bad.collect()) };
        let found = cases
            .iter()
            .any(|(section, text)| **section == key.section && text.lines().any(|line| line.starts_with(&start)));
        assert!(found, "{start} is missing in {list}");
    }
}

/// T11 of the contract, for files: no key takes garbage, and an empty value only
/// where it has a meaning.
#[test]
fn no_key_takes_garbage_or_nothing() {
    let free = ["Parameters", "Environment", "BindUser", "BindUserShell", "OOMScoreAdjust"];
    for key in KEYS {
        let empty = super::parse("/a".as_ref(), whole(key.section, &format!("{}=", key.name)).as_bytes());
        assert_eq!(empty.is_ok(), free.contains(&key.name), "{}=", key.name);
        for garbage in ["\u{1}", "%$!", "=", "::", "-", "~", "\"", "/../", "\u{fffd}:\u{fffd}", &"9".repeat(400)] {
            // Words of a command and names of files can be nearly anything.
            // So can interfaces, for the kernel.
            let interface =
                "Interface MACVLAN IPVLAN VirtualEthernetExtra Bridge Zone".split(' ').any(|it| it == key.name);
            let any = (key.name == "Parameters" && garbage != "\"")
                || (interface && ["=", "-", "~", "\""].contains(&garbage));
            let text = whole(key.section, &format!("{}={garbage}", key.name));
            assert_eq!(super::parse("/a".as_ref(), text.as_bytes()).is_ok(), any, "{text}");
        }
    }
}
