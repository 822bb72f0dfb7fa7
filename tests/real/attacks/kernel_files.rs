//! Section 4: namespaces, mounts and the kernel's file systems.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use skep::seccomp::Arch;
use skep::spec::{Init, UserNamespace};
use skep::{Command, ErrorKind, Outcome};
use skep_tests::{Scratch, calls, checked, everywhere, everywhere_with, has, is_root, run, shell, skip, turn_to_start};

use super::{ENOSYS, EPERM, refused, refused_of};

/// What a script says everywhere; for root also where the container's ids are the
/// host's, so that root inside is the host's root.
fn also_as_the_hosts_root(script: &str) -> Vec<(&'static str, String)> {
    let mut said = everywhere(script);
    if is_root() {
        said.extend(everywhere_with(script, |command| {
            command.user_namespace(UserNamespace::Host);
        }));
    }
    said
}

/// Tries to open for writing what it reads the names of: prints what could be, and
/// what was refused in another way than EACCES 13, EROFS 30, ENOENT 2.
const OPEN_FOR_WRITING: &str = r#"perl -ne 'chomp; $tried++;
    if (sysopen(F, $_, 1)) { print "WRITABLE $_\n"; close F }
    elsif ($! != 13 && $! != 30 && $! != 2) { print "$! $_\n" }
    END { print "tried $tried\n" }'"#;

/// That no file that `find` names there can be opened for writing, of at least so many.
#[track_caller]
fn none_is_writable(find: &str, at_least: u64) {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") || !has("find") {
        return skip("perl or find is not installed");
    }
    for (place, said) in also_as_the_hosts_root(&format!("({find}) 2>/dev/null | {OPEN_FOR_WRITING}")) {
        let tried = said.strip_prefix("tried ").and_then(|number| number.trim().parse::<u64>().ok());
        assert!(tried.is_some_and(|tried| tried >= at_least), "{said} in a {place}");
    }
}

/// Of the table of masks: what is covered, and what is made read-only.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/fs",
    "/sys/hypervisor",
    "/sys/kernel",
    "/sys/module",
    "/sys/power",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/mtrr", "/proc/sys"];

fn there(paths: &[&'static str]) -> Vec<&'static str> {
    paths.iter().copied().filter(|path| Path::new(path).symlink_metadata().is_ok()).collect()
}

#[test]
fn row_005_one_mount_for_each_mask() {
    let Some(_turn) = turn_to_start() else { return };
    let (masked, read_only) = (there(MASKED), there(READ_ONLY));
    let mut expected: Vec<&str> = masked.iter().chain(&read_only).copied().collect();
    expected.sort_unstable();
    for (place, mountinfo) in also_as_the_hosts_root("cat /proc/self/mountinfo") {
        let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points: Vec<&str> =
            points.filter(|point| point.starts_with("/proc/") || point.starts_with("/sys/")).collect();
        points.sort_unstable();
        assert_eq!(points, expected, "{place}");
    }
    let mut container = Command::new("true").spawn().unwrap();
    let absent = MASKED.len() + READ_ONLY.len() - expected.len();
    let outcome = format!("{} masked, {} read-only, {absent} absent", masked.len(), read_only.len());
    assert_eq!(container.report().of("masks"), Some(&Outcome::Applied(outcome)));
    container.wait().unwrap();
}

#[test]
fn row_061_a_mask_cannot_be_taken_off() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let umount = Arch::NATIVE.number("umount2").unwrap();
    // MNT_DETACH, and MNT_FORCE; EPERM 1 and EINVAL 22.
    let script = format!(
        "perl -e 'open M, q(/proc/self/mountinfo); for (<M>) {{ $p = (split / /)[4];
            for $how (0, 1, 2) {{ $tried++; $! = 0; $r = syscall({umount}, $p, $how);
            print qq($p: $!\\n) unless $r < 0 && ($! == 1 || $! == 22); }} }} print qq(tried $tried\\n)'"
    );
    let least = there(MASKED).len();
    // Without the filter, it is the kernel that says so.
    let without = everywhere_with(&script, |command| {
        command.danger_no_filter();
    });
    for (place, said) in also_as_the_hosts_root(&script).into_iter().chain(without) {
        let tried = said.strip_prefix("tried ").and_then(|number| number.trim().parse::<usize>().ok());
        assert!(tried.is_some_and(|tried| tried >= 3 * least), "{said} in a {place}");
    }
}

#[test]
fn row_062_files_that_tell_of_the_host_are_empty() {
    let Some(_turn) = turn_to_start() else { return };
    let files = "kcore keys key-users kmsg kallsyms timer_list timer_stats sched_debug latency_stats config.gz \
        interrupts kpagecount kpageflags scsi/scsi scsi/device_info acpi/wakeup asound/version asound/cards";
    let host = shell_outside(&format!("cd /proc; for f in {files}; do [ -e $f ] && echo $f; done; true"));
    assert!(!host.is_empty(), "the host has one of them");
    let script = format!(
        "cd /proc; for f in {files}; do timeout 5 head -c1 $f 2>/dev/null | grep -q . && echo READ $f; done
         find /proc/acpi /proc/scsi /proc/asound -mindepth 1 2>/dev/null; true"
    );
    for (place, said) in also_as_the_hosts_root(&script) {
        assert_eq!(said, "", "{place}");
    }
}

fn shell_outside(script: &str) -> String {
    let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn row_063_files_that_change_the_host_are_not_writable() {
    none_is_writable(
        "find /proc/sysrq-trigger /proc/sys /proc/irq /proc/bus /proc/fs /proc/mtrr /proc/acpi -type f",
        100,
    );
}

/// The kernel's upcalls, and what a host's root could write by plain permission.
#[test]
fn row_042_064_nothing_is_run_on_the_host() {
    let of_sys = "core_pattern modprobe hotplug core_pipe_limit poweroff_cmd";
    none_is_writable(
        &format!(
            "for f in {of_sys}; do echo /proc/sys/kernel/$f; done; echo /proc/irq/default_smp_affinity;
             echo /sys/kernel/uevent_helper; echo /proc/sys/fs/binfmt_misc/register; echo /proc/sys/vm/drop_caches"
        ),
        8,
    );
    let Some(_turn) = turn_to_start() else { return };
    for (place, said) in
        also_as_the_hosts_root("ls -A /sys/kernel /proc/sys/fs/binfmt_misc 2>/dev/null | grep -v : || true")
    {
        assert_eq!(said.trim(), "", "{place}");
    }
}

#[test]
fn row_065_nothing_of_sysfs_is_writable() {
    none_is_writable("find /sys -type f", 20);
    let Some(_turn) = turn_to_start() else { return };
    let names = "firmware fs hypervisor kernel module power devices/virtual/powercap kernel/debug kernel/tracing \
        kernel/security fs/bpf fs/cgroup";
    let script =
        format!("cd /sys; for n in {names}; do ls -A $n 2>/dev/null; done; grep ' / /sys ' /proc/self/mountinfo");
    for (place, said) in also_as_the_hosts_root(&script) {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 1, "{said} in a {place}");
        assert!(lines[0].contains(" - sysfs ") && lines[0].contains(" ro,"), "{said} in a {place}");
    }
}

#[test]
fn row_066_no_release_agent() {
    none_is_writable(
        "find / -xdev \\( -path /usr -prune \\) -o \\( -name release_agent -o -name notify_on_release \\) -print;
         echo /sys/fs/cgroup/release_agent; echo /sys/fs/cgroup/memory/release_agent;
         find /sys /run /tmp /dev -name release_agent -o -name notify_on_release",
        1,
    );
    let Some(_turn) = turn_to_start() else { return };
    let script = "for k in 'cgroup -o memory' 'cgroup -o none,name=x' cgroup2; do
        mount -t $k none /tmp 2>/dev/null && echo MOUNTED $k; done; true";
    let without = everywhere_with(script, |command| {
        command.danger_no_filter();
    });
    for (place, said) in also_as_the_hosts_root(script).into_iter().chain(without) {
        assert_eq!(said, "", "{place}");
    }
}

#[test]
fn row_067_groups_are_not_the_payloads() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x 2>/dev/null && echo MADE; \
        grep -c ' - cgroup' /proc/self/mountinfo; true";
    for (place, said) in also_as_the_hosts_root(script) {
        assert_eq!(said, "0\n", "{place}");
    }
    // Also with a group of its own, which is not handed over.
    let mut command = Command::new("sh");
    match command.args(["-c", script]).pids(100).memory(64 << 20).output() {
        Ok(output) => assert_eq!(checked(output), "0\n"),
        Err(error) => {
            assert!(error.kind() == ErrorKind::Unsupported && !is_root(), "{error}");
            skip(&error.to_string());
        }
    }
}

#[test]
fn row_070_no_device_is_made_and_none_works() {
    // Numbers of null, of a disk, of memory; S_IFCHR and S_IFBLK.
    let made: &[(&str, &[u64])] = &[
        ("mknodat", &[0xffff_ff9c, 1, 0o020_666, 0x103]),
        ("mknodat", &[0xffff_ff9c, 1, 0o060_666, 0xfe00]),
        ("mknod", &[1, 0o020_666, 0x103]),
    ];
    refused(made, &[EPERM]);
    let Some(_turn) = turn_to_start() else { return };
    let without = everywhere_with("mknod /tmp/n$$ c 1 3 2>&1 || true", |command| {
        command.danger_no_filter();
    });
    for (place, said) in also_as_the_hosts_root("mknod /tmp/n$$ c 1 3 2>&1 || true").into_iter().chain(without) {
        assert!(said.contains("not permitted"), "{said} in a {place}");
    }
    if !is_root() {
        return skip("only root can prepare a device in a tree");
    }
    let scratch = Scratch::new();
    let root = scratch.tree();
    let prepared = scratch.path().join("root/srv/null");
    let made = std::process::Command::new("mknod").arg("-m666").arg(&prepared).args(["c", "1", "3"]).status().unwrap();
    assert!(made.success() && std::fs::metadata(&prepared).unwrap().file_type().is_char_device());
    for map in [UserNamespace::default(), UserNamespace::Host] {
        let mut command = Command::new("/usr/bin/sh");
        command.args(["-c", "stat -c %F /srv/null /b/null; cat /srv/null /b/null 2>&1; (: > /b/null) 2>&1; true"]);
        command.root(&root).bind_ro("/usr", "/usr").bind(root.join("srv"), "/b").user_namespace(map);
        let said = run(&mut command);
        assert!(said.starts_with("character special file\ncharacter special file\n"), "{said}");
        assert_eq!(said.matches("Permission denied").count(), 3, "{said}");
    }
}

#[test]
fn row_071_terminals_of_the_host_are_not_there() {
    let Some(_turn) = turn_to_start() else { return };
    // The host has one at least.
    let _held = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let script = "exec 9<>/dev/ptmx; ls /dev/pts | tr '\\n' ' '; readlink /dev/ptmx";
    for (place, said) in also_as_the_hosts_root(&format!("ls /dev/pts; {script}")) {
        assert_eq!(said, "ptmx\n0 ptmx pts/ptmx\n", "{place}");
    }
}

#[test]
fn row_087_segments_of_the_host_are_not_listed() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let made = shell_outside("perl -e 'print shmget(0, 4711, 0600)'");
    if made.is_empty() {
        return skip("the host lets this user make no segment");
    }
    let on_host = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let size = |text: &str| text.split_whitespace().any(|word| word == "4711");
    let seen = everywhere("cat /proc/sysvipc/shm; readlink /proc/self/ns/ipc; ls -A /dev/shm /dev/mqueue");
    shell_outside(&format!("perl -e 'shmctl({made}, 0, 0)'"));
    assert!(size(&on_host), "{on_host}");
    let own = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    for (place, said) in seen {
        assert!(!size(&said), "{said} in a {place}");
        let lines: Vec<&str> = said.lines().collect();
        // The heading of the list, the namespace, two empty directories.
        assert_eq!((lines.len(), lines[2]), (5, "/dev/mqueue:"), "{said} in a {place}");
        assert!(lines[1].starts_with("ipc:[") && lines[1] != own.to_str().unwrap(), "{said} in a {place}");
    }
}

#[test]
fn row_089_090_chroot_and_file_handles() {
    // An address of a path that is none: EFAULT, had it come so far.
    refused(&[("chroot", &[1])], &[EPERM]);
    let handles: &[(&str, &[u64])] = &[("open_by_handle_at", &[0xffff_ffff, 1, 0])];
    refused(handles, &[EPERM, ENOSYS]);
    // Without the filter they are the kernel's to refuse.
    let Some(_turn) = turn_to_start() else { return };
    let without = everywhere_with("chroot / true 2>&1 || true", |command| {
        command.danger_no_filter();
    });
    for (place, said) in without {
        assert!(said.contains("not permitted"), "{said} in a {place}");
    }
}

#[test]
fn row_074_loopback_of_the_host_is_not_reached() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Its own loopback, all addresses, and the gateways that helpers give.
    let places = [[127, 0, 0, 1], [0, 0, 0, 0], [10, 0, 2, 2], [169, 254, 1, 1], [192, 168, 0, 1]];
    let tries: String = places
        .iter()
        .map(|at| {
            format!(
                "socket(S, 2, 1, 0); print connect(S, pack(q(SnC4x8), 2, {port}, {}, {}, {}, {})) ? q(REACHED ) : $!+0, qq(\\n);",
                at[0], at[1], at[2], at[3]
            )
        })
        .collect();
    for (place, said) in everywhere(&format!("perl -e '{tries}'; cat /proc/net/route | wc -l")) {
        let answers: Vec<&str> = said.lines().collect();
        // ECONNREFUSED, or ENETUNREACH; a table of routes with its heading alone.
        assert!(answers[..5].iter().all(|answer| ["111", "101"].contains(answer)), "{said} in a {place}");
        assert_eq!(answers[5], "1", "{said} in a {place}");
    }
}

/// Skep makes no interface, and a payload cannot send advertisements itself.
#[test]
fn row_075_no_interface_hears_router_advertisements() {
    refused(&[("socket", &[10, 3, 58]), ("socket", &[2, 3, 1])], &[EPERM]);
    let Some(_turn) = turn_to_start() else { return };
    let before = shell_outside("cat /proc/net/dev | cut -d: -f1; cat /proc/sys/net/ipv6/conf/*/accept_ra");
    for (place, said) in everywhere("tail -n +3 /proc/net/dev | cut -d: -f1") {
        assert_eq!(said.trim(), "lo", "{place}");
    }
    let container = Command::new("sleep").arg("1000").spawn().unwrap();
    let now = shell_outside("cat /proc/net/dev | cut -d: -f1; cat /proc/sys/net/ipv6/conf/*/accept_ra");
    assert_eq!(now, before, "on the host");
    drop(container);
}

#[test]
fn row_078_no_user_namespace_is_made() {
    let new_user: &[(&str, &[u64])] =
        &[("unshare", &[0x1000_0000]), ("clone", &[0x1000_0011, 0, 0, 0, 0]), ("unshare", &[0x1002_0000])];
    refused(new_user, &[EPERM]);
    // Nor by a payload with rights over the container's own.
    refused_of(new_user, &[EPERM], |command| {
        command.capabilities(skep::spec::CapabilityList(skep::sys::abi::CapabilitySet(u64::MAX >> 23)));
    });
    // Without the filter it is the kernel's count, again and again: ENOSPC 28.
    let script = format!("cat /proc/sys/user/max_user_namespaces; {0}; {0}", calls(&new_user[..1]));
    let Some(_turn) = turn_to_start() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let without = everywhere_with(&script, |command| {
        command.danger_no_filter();
    });
    for (place, said) in without {
        assert_eq!(said, "0\nunshare 28\nunshare 28\n", "{place}");
    }
    assert_eq!(shell("unshare -U true 2>/dev/null || echo refused"), "refused\n");
    let mut first = Command::new("sh");
    first.args(["-c", "unshare -U true 2>/dev/null || unshare -Ur true 2>/dev/null || echo refused"]);
    assert_eq!(run(first.init(Init::Payload).danger_no_filter()), "refused\n");
}
