//! `skep nspawn` and `systemd-nspawn`, on the same tree with the same arguments: what
//! a program inside sees, how it ends, what a service manager is told, and what is left
//! on the host. What may differ is a list, each with its reason.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::stand::{SKEP, debian, has, skip, turn, until};

/// Prints what can be seen inside, a line for each thing: `KEY VALUE`.
const PROBE: &str = r#"
exec 2>/dev/null
while read -r _ _ _ root point flags rest; do
    kind=${rest#*- }; kind=${kind%% *}
    case $kind in tmpfs) more=${rest##* } ;; *) more= ;; esac
    echo "mount $point $kind $flags $more"
done < /proc/self/mountinfo
for node in /dev/* /dev/net/* /dev/char/* /dev/pts/*; do
    [ -e "$node" ] || [ -L "$node" ] || continue
    if [ -L "$node" ]; then echo "dev $node -> $(readlink "$node")"; else echo "dev $node $(stat -c '%F %a %t:%T' "$node")"; fi
done
for file in /run/* /run/host/* /run/host/inaccessible/*; do [ -e "$file" ] && echo "run $file $(stat -c '%F %a' "$file")"; done
env | while read -r line; do case $line in container_uuid=*) echo "env container_uuid" ;; _=*|PWD=*|OLDPWD=*|SHLVL=*) ;; *) echo "env $line" ;; esac; done
grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups|SigBlk|SigIgn|SigCgt|Umask)' /proc/self/status | tr -s '\t ' ' ' | sed 's/^/status /'
sed 1d /proc/self/limits | tr -s ' ' | sed 's/^/limit /'
echo "cgroup $(sed -n 's/^0:://p' /proc/self/cgroup)"
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "cwd $(pwd)"
echo "machine $(uname -m)"
echo "oom $(cat /proc/self/oom_score_adj)"
grep Cpus_allowed_list /proc/self/status | tr -s '\t ' ' '
echo "loginuid $(cat /proc/self/loginuid)"
echo "pid $$"
for net in /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname; do ( : >> $net ) && echo "writable $net" || echo "closed $net"; done
for file in /proc/kallsyms /proc/keys /proc/timer_list /proc/sysrq-trigger; do [ -e $file ] && echo "mode $file $(stat -c %a $file)"; done
for net in /sys/class/net/*; do echo "net ${net##*/}"; done
for top in /sys/*; do echo "sys $top"; done
( : > /root/written ) && { echo "root can be written"; rm -f /root/written; } || echo "root cannot be written"
for top in /*; do echo "top $top $(stat -c '%F %a' $top)"; done
for path in /mnt /mnt/* /usr/x /var/x /etc/passwd; do [ -e $path ] && echo "path $path $(stat -c '%F %a %u:%g' $path)"; done
( : > /mnt/written ) && { echo "mnt can be written"; rm -f /mnt/written; } || echo "mnt cannot be written"
[ -n "$CREDENTIALS_DIRECTORY" ] && for file in $CREDENTIALS_DIRECTORY/*; do echo "credential ${file##*/} $(stat -c '%a %u' $file) $(cat $file)"; done
true
"#;

/// Prints the answer of the filter to each system call: refused, unknown, or the kernel's.
/// Those that end, stop or wait for something are left out.
const CALLS: &str = r#"
$| = 1; my %left = map { $_ => 1 } 13, 14, 15, 23, 34, 35, 37, 56, 57, 58, 60, 61, 62, 101, 112, 130, 153, 162, 200, 219, 231, 232, 234, 281, 335, 336, 441, 435, 439;
for my $call (0 .. 334, 424 .. 461) {
    next if $left{$call};
    $! = 0;
    my $answer = syscall($call, -1, -1, -1, -1, -1, -1);
    my $error = $answer == -1 ? $! + 0 : 0;
    print "call $call ", $error == 1 ? "EPERM" : $error == 38 ? "ENOSYS" : "kernel", "\n";
}
"#;

/// What may differ: how such a line begins, whose it is (`-` the original's, `+` Skep's,
/// `*` either's), and why. The original is 252; what is said of later ones is how they do.
const DIFFERENCES: &[(&str, &str)] = &[
    // The original's behaviour since 252.
    ("- notified * STATUS=Container running. X_NSPAWN_LEADER_PID", "a start that fails is told of as one (262)"),
    ("* dev /dev/fuse", "there is /dev/fuse (257)"),
    ("* dev /dev/char/10:229", "there is /dev/fuse (257)"),
    ("* mode /proc/", "what is masked is masked (257)"),
    ("+ run /run/host/unix-export", "sockets of a machine are reached from the host (256)"),
    ("+ mount /run/host/unix-export", "sockets of a machine are reached from the host (256)"),
    ("* run /run/host/container-", "nobody can write what names the manager (262: 0444)"),
    ("* env TERM", "a pipe is a dumb terminal (262)"),
    ("* status CapBnd:", "no NET_BIND_SERVICE with the host's network in any user namespace (262)"),
    ("* status CapPrm:", "no NET_BIND_SERVICE with the host's network in any user namespace (262)"),
    ("* status CapEff:", "no NET_BIND_SERVICE with the host's network in any user namespace (262)"),
    ("* mount /sys/fs/cgroup", "cgroup v2 inside, whatever the host has (258); v1 hierarchies are not shown"),
    (
        "- run /run/host/inaccessible/blk",
        "a user namespace and the machine's closed list of devices forbid to make it; nobody needs it",
    ),
    ("* run /run/host/notify", "whoever may not read it, may write to it"),
    ("- mount /proc/sys/kernel/random/boot_id", "no second, writable mount comes by propagation"),
    ("+ run /run/host/proc-sys-kernel-random-boot-id", "the file that is the id of the boot has a name (262)"),
    ("* credential ", "whoever runs can read his credentials"),
    ("* call 180", "a call that no kernel has is refused by its name (nfsservctl)"),
    ("* call 248", "keyrings are let through (258)"),
    ("* call 249", "keyrings are let through (258)"),
    ("* call 250", "keyrings are let through (258)"),
    ("* call 437", "what openat2 is asked lies in memory: it passes where sync is suppressed (262)"),
    ("* call 444", "Landlock is let through (257)"),
    ("* call 445", "Landlock is let through (257)"),
    ("* call 446", "Landlock is let through (257)"),
    ("* call 451", "a call that 252 does not know (cachestat)"),
    ("* call 457", "a call that 252 does not know (statmount)"),
    ("* call 458", "a call that 252 does not know (listmount)"),
    ("* call 459", "a call that 252 does not know (lsm_get_self_attr)"),
    ("* call 460", "a call that 252 does not know (lsm_set_self_attr)"),
    ("* call 461", "a call that 252 does not know (lsm_list_modules)"),
    ("- notified * READY=1", "a start that fails is told of as one (262)"),
    // Holes that are closed.
    (
        "* mount /run/host/incoming",
        "what is mounted beside the root honours no set-user-id and no device, and is bounded",
    ),
    ("* mount /mnt", "what is mounted beside the root honours no set-user-id and no device, and is bounded"),
    ("* mount /etc/passwd", "what is mounted beside the root honours no set-user-id and no device, and is bounded"),
    ("* mount /var ", "what is mounted beside the root honours no set-user-id and no device, and is bounded"),
    ("* status CapInh:", "the inheritable set is the ambient one (CVE-2022-24769 and its kin)"),
    ("* status SigIgn:", "no signal is ignored for its caller's sake"),
    ("* mount /dev ", "what is made in /dev is no device and no program"),
    ("* mount /dev/", "nodes are the host's, read-only: nobody inside changes their mode or owner"),
    ("* mount /proc/kmsg", "no second, writable mount comes by propagation, and no program is in it"),
    ("+ run /run/host/proc-kmsg", "the FIFO over the kernel's log has a name (262)"),
    ("* mount /proc/", "what is masked is masked (257)"),
    // Made in another way.
    ("* mount /run/host/os-release", "no second, writable mount comes by propagation"),
    ("* mount /run/host/credentials", "no mount of them is writable"),
    ("* mount /etc/localtime", "nothing is written into the tree: the file lies over it"),
    ("* mount /etc/resolv.conf", "nothing is written into the tree: the file lies over it"),
    ("* mount /usr/share/zoneinfo/", "nothing is written into the tree: the file lies over it"),
    ("* call 100 ", "times(2) is of two groups, and goes where one of them is denied"),
    ("- notified * STOPPING=1 STATUS=Terminating...", "a start that fails tells of nothing: there was no container"),
    ("- notified * ERRNO=", "a start that fails tells of nothing: there was no container"),
];

/// Arguments, and what runs: by default the probe.
struct Case {
    options: &'static [&'static str],
    command: &'static [&'static str],
}

const fn seen(options: &'static [&'static str]) -> Case {
    Case { options, command: &[] }
}

const fn runs(options: &'static [&'static str], command: &'static [&'static str]) -> Case {
    Case { options, command }
}

/// `@`, before a slash or a colon, is a directory of the host with files in it.
const CASES: &[Case] = &[
    seen(&[]),
    seen(&["-q"]),
    seen(&["-a"]),
    seen(&["--as-pid2", "--private-network"]),
    seen(&["--read-only"]),
    seen(&["--read-only", "--private-network"]),
    seen(&["--volatile=overlay"]),
    seen(&["--volatile=state"]),
    seen(&["--volatile"]),
    seen(&["--volatile=no"]),
    seen(&["--private-network"]),
    seen(&["-u", "nobody"]),
    seen(&["-u", "root"]),
    seen(&["--chdir=/usr"]),
    seen(&["--chdir=/tmp"]),
    seen(&["-E", "A=b"]),
    seen(&["-E", "A=b c", "--setenv=C="]),
    seen(&["-E", "SKEP_TEST_UNSET"]),
    seen(&["-E", "container=other"]),
    seen(&["-E", "HOME=/srv", "-E", "TERM=dumb"]),
    seen(&["--hostname=other"]),
    seen(&["-M", "side-m", "--hostname="]),
    seen(&["-M", "side-m"]),
    seen(&["-M", "side-m", "--hostname=other"]),
    seen(&["--uuid=0123456789abcdef0123456789abcdef"]),
    seen(&["--capability=CAP_SYS_TIME"]),
    seen(&["--capability=CAP_SYS_TIME,CAP_NET_ADMIN", "--drop-capability=CAP_CHOWN"]),
    seen(&["--capability=all"]),
    seen(&["--drop-capability=CAP_NET_ADMIN", "--private-network"]),
    seen(&["--drop-capability=CAP_CHOWN,CAP_KILL"]),
    seen(&["--drop-capability=all"]),
    seen(&["--ambient-capability=CAP_NET_RAW", "-u", "nobody"]),
    seen(&["--no-new-privileges=yes"]),
    seen(&["--no-new-privileges=no"]),
    seen(&["--rlimit=NOFILE=100"]),
    seen(&["--rlimit=NOFILE=100:200"]),
    seen(&["--rlimit=RLIMIT_CORE=infinity"]),
    seen(&["--rlimit=LimitNPROC=500", "--rlimit=AS=1G"]),
    seen(&["--oom-score-adjust=100"]),
    seen(&["--cpu-affinity=0"]),
    seen(&["--cpu-affinity=0", "--cpu-affinity=1"]),
    seen(&["--personality=x86"]),
    seen(&["--personality=x86-64"]),
    seen(&["--resolv-conf=off"]),
    seen(&["--resolv-conf=bind-host"]),
    seen(&["--timezone=off"]),
    seen(&["--timezone=bind"]),
    seen(&["--link-journal=no"]),
    seen(&["--link-journal=try-guest"]),
    seen(&["-j"]),
    seen(&["--kill-signal=SIGTERM"]),
    seen(&["--notify-ready=no"]),
    seen(&["--slice=machine.slice"]),
    seen(&["--bind=@:/mnt"]),
    seen(&["--bind-ro=@:/mnt"]),
    seen(&["--bind=@:/mnt:norbind"]),
    seen(&["--bind-ro=@:/mnt:rbind,noidmap"]),
    seen(&["--bind=@/file:/etc/passwd"]),
    seen(&["--tmpfs=/mnt"]),
    seen(&["--tmpfs=/mnt:ro"]),
    seen(&["--tmpfs=/mnt:mode=0700,size=1M"]),
    seen(&["--tmpfs=/mnt:noexec"]),
    seen(&["--tmpfs=/mnt:rw,nosuid,noexec"]),
    seen(&["--overlay=@/one:@/two:/mnt"]),
    seen(&["--overlay-ro=@/one:@/two:/mnt"]),
    seen(&["--overlay=@/one::/mnt"]),
    seen(&["--overlay=+/etc::/mnt"]),
    seen(&["--overlay-ro=@/one:+/etc:/mnt"]),
    seen(&["--overlay-ro=@/one::/mnt"]),
    seen(&["--overlay=@/one:+/mnt"]),
    seen(&["--overlay-ro=+/etc::/mnt"]),
    seen(&["--tmpfs=/mnt:nr_blocks=100,noatime,inode32"]),
    seen(&["--set-credential=token:value"]),
    seen(&["--load-credential=token:@/file"]),
    seen(&["--set-credential=a:b", "-u", "nobody"]),
    seen(&["--private-users=no"]),
    seen(&["--private-users=identity"]),
    seen(&["--private-users=identity", "--private-network"]),
    seen(&["--private-users=1000000:65536", "--private-users-ownership=map"]),
    seen(&["-U"]),
    seen(&["-U", "--private-network"]),
    seen(&["-U", "--read-only"]),
    seen(&["-U", "--volatile=overlay"]),
    seen(&["--suppress-sync=yes"]),
    seen(&["--suppress-sync=no", "--private-network", "-a"]),
    runs(&["--suppress-sync=yes"], &["/usr/bin/perl", "-e", CALLS]),
    runs(&[], &["/usr/bin/perl", "-e", CALLS]),
    runs(&["--capability=CAP_SYS_TIME,CAP_SYSLOG,CAP_IPC_LOCK"], &["/usr/bin/perl", "-e", CALLS]),
    runs(&["--system-call-filter=~mkdir"], &["/usr/bin/perl", "-e", CALLS]),
    runs(&["--system-call-filter=~@timer"], &["/usr/bin/perl", "-e", CALLS]),
    runs(&["--drop-capability=CAP_SYS_PTRACE,CAP_SYS_BOOT"], &["/usr/bin/perl", "-e", CALLS]),
    runs(&[], &["/bin/sh", "-c", "exit 7"]),
    runs(&[], &["/bin/sh", "-c", "exit 133"]),
    runs(&["-a"], &["/bin/sh", "-c", "exit 7"]),
    runs(&["-a"], &["/bin/sh", "-c", "kill -9 $$"]),
    runs(&[], &["/no-such-path"]),
    runs(&["--chdir=/no-such-path"], &["/bin/true"]),
    runs(&["-u", "no-such-user"], &["/bin/true"]),
    runs(&["--bind=/nonexistent:/mnt"], &["/bin/true"]),
    runs(&["--inaccessible=/no-such-path"], &["/bin/true"]),
    runs(&["-b", "-a"], &["/bin/true"]),
    runs(&["--ambient-capability=CAP_NET_RAW", "-b"], &[]),
    runs(&["--ambient-capability=CAP_SYS_TIME"], &["/bin/true"]),
    runs(&["--network-namespace-path=/nonexistent"], &["/bin/true"]),
    runs(&["--no-such-option"], &["/bin/true"]),
];

/// What one of the two came to, a line for each thing.
fn lines(program: &[&str], tree: &Path, shared: &Path, case: &Case, nth: usize) -> BTreeSet<String> {
    let path = std::env::temp_dir().join(format!("side-{}-{nth}.notify", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let before = outside();
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["--register=no", "--keep-unit", "--pipe", "-D"]).arg(tree);
    let shared = shared.display();
    let place = |word: &&str| word.replace("@/", &format!("{shared}/")).replace("@:", &format!("{shared}:"));
    command.args(case.options.iter().map(place));
    match case.command {
        [] => command.args(["/bin/sh", "-c", PROBE]),
        words => command.args(words),
    };
    command.env("NOTIFY_SOCKET", &path).env("TERM", "linux").stdin(Stdio::null());
    let mut output = command.output().unwrap();
    // Whoever had the tree before may still be letting go of it.
    let busy = |output: &std::process::Output| {
        ["currently busy", "tree is busy"].iter().any(|busy| String::from_utf8_lossy(&output.stderr).contains(busy))
    };
    until(5, || {
        if busy(&output) {
            // Who finds nobody to read what it says waits for ever.
            while socket.recv(&mut [0; 4096]).is_ok() {}
            output = command.output().unwrap();
        }
        !busy(&output)
    });
    let mut found: BTreeSet<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    found.insert(format!("exit {:?}", output.status.code()));
    if std::env::var_os("SKEP_SIDE_BY_SIDE").is_some() {
        println!("{:?}: {}", case.options, String::from_utf8_lossy(&output.stderr));
    }
    let mut bytes = [0; 4096];
    let mut said = Vec::new();
    while let Ok(length) = socket.recv(&mut bytes) {
        said.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    for (nth, text) in said.iter().enumerate() {
        let text = text.trim_end().replace('\n', " ");
        let text = text.split_once("PID=").map_or_else(|| text.clone(), |(head, _)| format!("{head}PID"));
        found.insert(format!("notified {nth} {text}"));
    }
    let _ = std::fs::remove_file(&path);
    until(5, || outside() == before);
    found.extend(outside().difference(&before).map(|left| format!("left {left}")));
    found
}

/// What a container could leave on the host.
fn outside() -> BTreeSet<String> {
    let mut all: BTreeSet<String> = std::fs::read_to_string("/proc/thread-self/mountinfo")
        .unwrap()
        .lines()
        .map(|line| line.split(' ').nth(4).unwrap().to_owned())
        .collect();
    all.extend(crate::stand::groups().iter().map(|path| path.display().to_string()));
    for directory in ["/tmp", "/var/tmp", "/run"] {
        let names = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path().display().to_string());
        all.extend(names.filter(|name| name.contains("nspawn-")));
    }
    all
}

/// Why a difference may be.
fn reason(line: &str) -> Option<&'static (&'static str, &'static str)> {
    DIFFERENCES.iter().find(|(start, _)| matches(start, line))
}

/// Whether a line begins so. A word `*` of a pattern is any word.
fn matches(pattern: &str, line: &str) -> bool {
    let (mut line, mut words) = (line, pattern.split(' ').peekable());
    while let Some(word) = words.next() {
        let last = words.peek().is_none();
        let (found, rest) = line.split_once(' ').unwrap_or((line, ""));
        let fits = if last { line.starts_with(word) } else { word == "*" || found == word };
        if !fits {
            return false;
        }
        line = rest;
    }
    true
}

#[test]
fn both_look_the_same_from_inside() {
    let _turn = turn();
    if !has("systemd-nspawn") {
        return skip("systemd-nspawn is not installed");
    }
    let debian = match debian() {
        Ok(tree) => tree,
        Err(why) => return skip(&why),
    };
    assert!(CASES.len() >= 80);
    skep_tests::own_mounts();
    let top = PathBuf::from(format!("/var/tmp/skep-tests/side-{}", std::process::id()));
    let (tree, shared) = (top.join("tree"), top.join("shared"));
    for directory in ["one/a", "two/b"] {
        std::fs::create_dir_all(shared.join(directory)).unwrap();
    }
    std::fs::write(shared.join("file"), "content\n").unwrap();
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).args([&debian, &tree]).status().unwrap();
    assert!(copied.success());
    let mut wrong = Vec::new();
    let mut allowed = BTreeSet::new();
    for (nth, case) in CASES.iter().enumerate() {
        let theirs = lines(&["systemd-nspawn"], &tree, &shared, case, nth);
        let ours = lines(&[SKEP, "nspawn"], &tree, &shared, case, nth);
        let signed = theirs
            .difference(&ours)
            .map(|line| format!("- {line}"))
            .chain(ours.difference(&theirs).map(|line| format!("+ {line}")));
        for line in signed {
            match reason(&line) {
                Some(known) => _ = allowed.insert(known),
                None => wrong.push(format!("{:?}: {line}", case.options)),
            }
        }
    }
    // What `--link-journal=` is to leave.
    for link in std::fs::read_dir("/var/log/journal").into_iter().flatten().flatten().map(|entry| entry.path()) {
        if std::fs::read_link(&link).is_ok_and(|to| to.starts_with(&top)) {
            std::fs::remove_file(link).unwrap();
        }
    }
    std::fs::remove_dir_all(&top).unwrap();
    println!("{} sets of arguments; what differs, and why:", CASES.len());
    let reasons: BTreeSet<&str> = allowed.iter().map(|(_, why)| *why).collect();
    reasons.iter().for_each(|why| println!("  {why}"));
    let unused: Vec<&str> =
        DIFFERENCES.iter().filter(|known| !allowed.contains(known)).map(|(start, _)| *start).collect();
    println!("seen nowhere: {unused:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
