//! What a machine sees, read from inside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::stand::{SKEP, groups, has, is_root, skip, turn, until};

/// A tree that has the host's `/usr`; or why there is none.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        if !is_root() {
            return Err("only root runs a tree of root's".to_owned());
        }
        if !Path::new("/bin").is_symlink() {
            return Err("this host has directories beside /usr".to_owned());
        }
        let top = PathBuf::from(format!("/var/tmp/skep-tests/{name}-{}", std::process::id()));
        for directory in ["usr", "etc", "var/empty", "root"] {
            std::fs::create_dir_all(top.join(directory)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            if Path::new("/").join(name).exists() {
                std::os::unix::fs::symlink(format!("usr/{name}"), top.join(name)).unwrap();
            }
        }
        std::fs::write(top.join("etc/os-release"), "ID=test\n").unwrap();
        Ok(Self(top))
    }

    pub(crate) fn run(&self, options: &[&str], variables: &[(&str, &str)], command: &[&str]) -> Output {
        let mut skep = Command::new(SKEP);
        skep.args(["nspawn", "--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&self.0);
        skep.args(options).args(command).envs(variables.iter().copied());
        skep.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).output().unwrap()
    }

    /// What a script prints, which has to end well.
    fn prints(&self, options: &[&str], variables: &[(&str, &str)], script: &str) -> String {
        let output = self.run(options, variables, &["/bin/sh", "-c", script]);
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints, which has to end well; with mounts of the host that it does
    /// not share.
    fn beside(&self, mounts: &str, words: &[&str]) -> String {
        let mut skep = Command::new("unshare");
        skep.args(["--mount", "sh", "-c", &format!("{mounts} && exec \"$0\" \"$@\""), SKEP, "nspawn", "--register=no"]);
        skep.args(["--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&self.0).args(words);
        let output = skep.env("TREE", &self.0).env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn fails(&self, options: &[&str], variables: &[(&str, &str)], with: &str) {
        let output = self.run(options, variables, &["/bin/true"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(with), "{options:?} {variables:?}: {said}");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-i"]).arg(&self.0).stderr(Stdio::null()).status();
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

macro_rules! tree {
    ($name:literal) => {
        match Tree::new($name) {
            Ok(tree) => tree,
            Err(why) => return skip(&why),
        }
    };
}

pub(crate) use tree;

const FLAGS: &str =
    r#"while read -r _ _ _ _ point flags _; do [ "$point" = "$0" ] && echo "$flags"; done < /proc/self/mountinfo"#;

fn flags(tree: &Tree, options: &[&str], point: &str) -> String {
    let output = tree.run(options, &[], &["/bin/sh", "-c", FLAGS, point]);
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn what_lies_in_run_host_is_closed() {
    let _turn = turn();
    let tree = tree!("host");
    for options in [&[][..], &["-U"], &["--private-network"], &["-U", "--private-network", "-a"]] {
        let found = flags(&tree, options, "/run/host");
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(found.split(',').any(|one| one == flag), "{options:?}: {found}");
        }
        let seen = tree.prints(
            options,
            &[],
            "cd /run/host; stat -c '%n %F %a %t:%T' inaccessible/* container-*; touch x 2>/dev/null && echo written; \
             touch inaccessible/x 2>/dev/null && echo written; cat container-manager",
        );
        let expected = "inaccessible/chr character special file 0 0:0\ninaccessible/dir directory 0 0:0\n\
             inaccessible/fifo fifo 0 0:0\ninaccessible/reg regular empty file 0 0:0\ninaccessible/sock socket 0 0:0\n\
             container-manager regular file 444 0:0\ncontainer-uuid regular file 444 0:0\nsystemd-nspawn\n";
        assert_eq!(seen, expected, "{options:?}");
    }
}

#[test]
fn each_start_is_a_boot_of_its_own() {
    let _turn = turn();
    let tree = tree!("boot-id");
    const ID: &str = "/proc/sys/kernel/random/boot_id";
    let mut seen = vec![std::fs::read_to_string(ID).unwrap()];
    for options in [&[][..], &[], &["-U"], &["--private-network"]] {
        let script =
            format!("cat {ID}; (echo x > {ID}) 2>/dev/null && echo written; cat /run/host/container-uuid > /dev/null");
        let id = tree.prints(options, &[], &script);
        assert_eq!((id.len(), id.matches('-').count()), (37, 4), "{id}");
        assert!(!seen.contains(&id), "{id} again");
        seen.push(id);
    }
}

/// The FIFO is held by the supervisor: to open it is not to wait, to read it is.
#[test]
fn the_log_of_the_kernel_is_a_fifo_that_gives_nothing() {
    let _turn = turn();
    let tree = tree!("log");
    if !Path::new("/proc/kmsg").exists() {
        return skip("this host has no /proc/kmsg");
    }
    for options in [&[][..], &["-U"], &["--private-network"], &["--capability=all"]] {
        let seen = tree.prints(
            options,
            &[],
            "for log in /proc/kmsg /run/host/proc-kmsg; do stat -c '%F %a %u' $log; \
             timeout 1 sh -c 'exec 3< \"$0\" && echo open && head -c 1 <&3 | wc -c' $log; echo $?; \
             dd if=$log iflag=nonblock bs=1 count=1 2>&1 | head -n 1; done; \
             stat -c %d:%i /proc/kmsg /run/host/proc-kmsg | uniq | wc -l; chmod 666 /proc/kmsg 2> /dev/null || echo closed",
        );
        let log = "fifo 600 0\nopen\n124\ndd: error reading 'LOG': Resource temporarily unavailable\n";
        let expected = ["/proc/kmsg", "/run/host/proc-kmsg"].map(|path| log.replace("LOG", path)).concat();
        assert_eq!(seen, format!("{expected}1\nclosed\n"), "{options:?}");
    }
    let open = [("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")];
    let seen = tree.prints(&[], &open, "stat -c %F /proc/kmsg; test -e /run/host/proc-kmsg || echo none");
    assert_eq!(seen, "regular empty file\nnone\n");
}

#[test]
fn row_063_masked_files_of_proc_have_no_permissions() {
    let _turn = turn();
    let tree = tree!("masks");
    let modes = tree.prints(
        &[],
        &[],
        "for file in kallsyms kcore keys sysrq-trigger timer_list; do [ -e /proc/$file ] && stat -c '%a' /proc/$file; done; true",
    );
    assert!(modes.lines().count() >= 3 && modes.lines().all(|mode| mode == "0"), "{modes}");
}

#[test]
fn sys_is_a_few_directories_and_takes_mounts() {
    let _turn = turn();
    let tree = tree!("sys");
    let options = ["-U", "--private-network", "--bind-ro=/usr/share:/sys/share", "--bind-ro=/usr/bin/env:/sys/fs/env"];
    let seen = tree.prints(
        &options,
        &[],
        "echo /sys/*; test -d /sys/share/doc && test -x /sys/fs/env && echo bound; touch /sys/x 2>/dev/null && echo written; \
         ls /sys/class/net; cat /proc/sys/net/ipv4/ping_group_range; test -w /proc/sys/net/ipv4/ip_forward && echo own; \
         test -w /proc/sys/kernel/panic || echo closed",
    );
    let words: Vec<&str> = seen.split_whitespace().collect();
    let all = ["block", "bus", "class", "dev", "devices", "fs", "kernel", "share"].map(|name| format!("/sys/{name}"));
    assert_eq!(words[..8], all, "{seen}");
    assert_eq!(words[8..], ["bound", "lo", "0", "65535", "own", "closed"], "{seen}");
    tree.fails(&["--private-network", "--bind-ro=/usr:/sys"], &[], "nothing may be put on");
    tree.fails(&["--private-network", "--bind-ro=/usr:/proc/acpi"], &[], "nothing may be put on");
    // Where /sys is the host's, a place has to be there.
    assert_eq!(
        tree.prints(&["--bind-ro=/usr/share:/sys/power"], &[], "test -d /sys/power/doc && echo bound"),
        "bound\n"
    );
}

#[test]
fn without_a_command_a_login_shell_runs_at_home() {
    let _turn = turn();
    let tree = tree!("login");
    let shell = if Path::new("/bin/bash").exists() { "-bash" } else { "-sh" };
    let mut skep = Command::new(SKEP);
    skep.args(["nspawn", "--register=no", "--keep-unit", "--pipe", "-q", "--bind-ro=/usr", "-D"]).arg(&tree.0);
    let mut child = skep.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo $0; pwd; exit 3\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{shell}\n/root\n"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_variables_of_the_original_have_their_effect() {
    let _turn = turn();
    let tree = tree!("variables");
    let on_tmp = "grep -c ' /tmp ' /proc/self/mountinfo || true";
    assert_eq!(tree.prints(&[], &[], on_tmp), "1\n");
    assert_eq!(tree.prints(&[], &[("SYSTEMD_NSPAWN_TMPFS_TMP", "0")], on_tmp), "0\n");
    let container = [("SYSTEMD_NSPAWN_CONTAINER_SERVICE", "other")];
    assert_eq!(tree.prints(&[], &container, "echo $container"), "other\n");
    assert_eq!(tree.prints(&["-E", "container=mine"], &container, "echo $container"), "mine\n");
    let host = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    for (kind, name) in [
        ("ipc", "SYSTEMD_NSPAWN_SHARE_NS_IPC"),
        ("uts", "SYSTEMD_NSPAWN_SHARE_NS_UTS"),
        ("cgroup", "SYSTEMD_NSPAWN_USE_CGNS"),
    ] {
        let value = if kind == "cgroup" { "no" } else { "yes" };
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(tree.prints(&[], &[(name, value)], &script).trim(), host(kind), "{name}");
        assert_ne!(tree.prints(&[], &[(name, "")], &script).trim(), host(kind), "{name}");
        tree.fails(&[], &[(name, "perhaps")], name);
    }
    let seccomp = "grep ^Seccomp: /proc/self/status | tr -dc 0-9";
    assert_eq!(tree.prints(&[], &[("SYSTEMD_SECCOMP", "0")], seccomp), "0");
    assert_eq!(tree.prints(&[], &[], seccomp), "2");
    tree.fails(&[], &[("SYSTEMD_NSPAWN_LOCK", "perhaps")], "SYSTEMD_NSPAWN_LOCK");
    tree.fails(&["-a"], &[("SYSTEMD_NSPAWN_SHARE_SYSTEM", "1")], "SYSTEMD_NSPAWN_SHARE_SYSTEM");
}

#[test]
fn files_of_the_kernel_are_opened_by_name_only() {
    let _turn = turn();
    let tree = tree!("kernel-files");
    const WRITABLE: &str = "SYSTEMD_NSPAWN_API_VFS_WRITABLE";
    let script = "for file in /proc/sys/net/core/somaxconn /proc/sys/kernel/panic; do (: >> $file) 2>/dev/null && echo own || echo closed; done; \
                  stat -c %a /proc/kallsyms; while read -r _ _ _ _ point flags _; do [ $point = /sys ] && echo ${flags%%,*}; done < /proc/self/mountinfo; true";
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata("/proc/kallsyms").unwrap().permissions()) & 0o777;
    let open = format!("own own {mode:o} rw");
    for (value, options, expected) in [
        ("no", &[][..], "closed closed 0 ro"),
        ("network", &[], "own closed 0 ro"),
        ("network", &["--private-network"], "own closed 0 ro"),
        ("network", &["--private-network", "-U"], "own closed 0 ro"),
        ("yes", &[], open.as_str()),
    ] {
        let seen = tree.prints(options, &[(WRITABLE, value)], script);
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{value} {options:?}");
    }
    // Of the host's network too a machine that may set it sees a few directories alone.
    for options in [&[][..], &["--private-network"]] {
        let seen = tree.prints(options, &[(WRITABLE, "network")], "echo /sys/*; ls /sys/class/net");
        let mut words = seen.split_whitespace();
        let all = ["block", "bus", "class", "dev", "devices", "fs", "kernel"].map(|name| format!("/sys/{name}"));
        assert!(words.by_ref().take(7).eq(all.iter().map(String::as_str)), "{seen}");
        let mut links: Vec<String> = words.map(str::to_owned).collect();
        let mut host: Vec<String> = std::fs::read_dir("/sys/class/net")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        links.sort();
        host.sort();
        assert_eq!(links, if options.is_empty() { host } else { vec!["lo".to_owned()] });
    }
    for (value, options) in
        [("network", &["-U"][..]), ("yes", &["-U"]), ("yes", &["-U", "--private-network"]), ("perhaps", &[])]
    {
        tree.fails(options, &[(WRITABLE, value)], WRITABLE);
    }
}

#[test]
fn suppressed_sync_says_that_it_is_done() {
    let _turn = turn();
    if !has("perl") {
        return skip("there is no perl");
    }
    let tree = tree!("sync");
    // 0 is a success, and O_SYNC is 04010000.
    let script = r#"perl -e 'open F, ">", "/tmp/x"; print syscall(74, fileno F), " ", syscall(74, -1), " ", sysopen(G, "/tmp/y", 04010102) ? "opened" : $! + 0, " ", sysopen(G, "/tmp/z", 0102) ? "opened" : $! + 0'"#;
    if cfg!(not(target_arch = "x86_64")) {
        return skip("fsync(2) has another number here");
    }
    for (options, variables, expected) in [
        (&[][..], &[][..], "0 -1 opened opened"),
        (&["--suppress-sync=yes"], &[], "0 -1 22 opened"),
        (&[], &[("SYSTEMD_SUPPRESS_SYNC", "1")], "0 -1 22 opened"),
        (&["--suppress-sync=no"], &[("SYSTEMD_SUPPRESS_SYNC", "1")], "0 -1 opened opened"),
    ] {
        assert_eq!(tree.prints(options, variables, script), expected, "{options:?} {variables:?}");
    }
}

#[test]
fn an_init_is_started_of_a_tree_that_says_which_system_it_is() {
    let _turn = turn();
    let tree = tree!("os-release");
    let release = tree.0.join("etc/os-release");
    std::fs::remove_file(&release).unwrap();
    const CHECK: &str = "SYSTEMD_NSPAWN_CHECK_OS_RELEASE";
    tree.fails(&["-b"], &[], "holds no system");
    std::os::unix::fs::symlink("/no-such-file", &release).unwrap();
    tree.fails(&["-b"], &[], "holds no system");
    tree.fails(&["-b"], &[(CHECK, "1")], "holds no system");
    tree.fails(&["-b"], &[(CHECK, "perhaps")], CHECK);
    // Its program is not a boot's, so nothing of it matters.
    assert_eq!(tree.prints(&[], &[], "echo no boot"), "no boot\n");
}

#[test]
fn an_ephemeral_tree_with_an_immutable_directory_leaves_nothing() {
    let _turn = turn();
    let tree = tree!("immutable");
    let immutable = Command::new("chattr").arg("+i").arg(tree.0.join("var/empty")).stderr(Stdio::null()).status();
    if !immutable.is_ok_and(|status| status.success()) {
        return skip("this file system has no immutable files, or there is no chattr");
    }
    let around = || {
        let mut names: Vec<_> =
            std::fs::read_dir(tree.0.parent().unwrap()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| name.to_string_lossy().contains("immutable"));
        names.sort();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        (names, mounts.lines().filter(|line| line.contains("immutable")).count())
    };
    let before = around();
    for options in [&["-x"][..], &["-x", "-U"], &["-x", "--private-network"]] {
        let seen = tree.prints(options, &[], "echo new > /etc/new && mkdir /var/new && ls -d /etc/new /var/new");
        assert_eq!(seen, "/etc/new\n/var/new\n", "{options:?}");
        assert!(!tree.0.join("etc/new").exists() && !tree.0.join("var/new").exists());
        assert_eq!(around(), before, "{options:?}");
    }
    let own = format!("immutable-{}", std::process::id());
    assert!(until(10, || !groups().iter().any(|group| group.display().to_string().contains(&own))));
}

#[test]
fn a_tmpfs_has_times_of_access_unless_it_says_otherwise() {
    let _turn = turn();
    let tree = tree!("atime");
    for (options, expected) in [
        ("", "rw,nosuid,nodev"),
        (":mode=0700", "rw,nosuid,nodev"),
        (":strictatime,ro", "ro,nosuid,nodev"),
        (":relatime", "rw,nosuid,nodev,relatime"),
        (":noatime", "rw,nosuid,nodev,noatime"),
    ] {
        assert_eq!(flags(&tree, &[&format!("--tmpfs=/mnt{options}")], "/mnt"), expected, "{options}");
    }
}

#[test]
fn a_bare_tree_is_given_what_every_system_has() {
    let _turn = turn();
    let tree = tree!("bare");
    let top = |name: &str| tree.0.join(name);
    let strip = || {
        for name in ["bin", "sbin", "lib", "lib64"] {
            let _ = std::fs::remove_file(top(name));
        }
        for name in ["root", "var", "proc", "sys", "dev", "run"] {
            let _ = std::fs::remove_dir_all(top(name));
        }
    };
    // Below the /usr that is bound over it.
    for directory in ["usr/bin", "usr/lib", "usr/lib64"] {
        std::fs::create_dir_all(top(directory)).unwrap();
    }
    std::fs::write(top("usr/lib64/ld-linux-x86-64.so.2"), "").unwrap();
    std::fs::write(top("usr/lib64/ld-linux-aarch64.so.1"), "").unwrap();
    let mode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::symlink_metadata(top(name)).unwrap();
        (found.is_dir(), found.mode() & 0o7777, found.uid(), found.gid())
    };
    let run = |options: &[&str]| {
        strip();
        let output = tree.run(options, &[], &["/usr/bin/true"]);
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&[]);
    for (name, expected) in [
        ("usr", 0o755),
        ("root", 0o750),
        ("etc", 0o755),
        ("var", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o555),
        ("run", 0o555),
    ] {
        assert_eq!(mode(name), (true, expected, 0, 0), "{name}");
    }
    let link = |name: &str| std::fs::read_link(top(name)).ok().map(|to| to.display().to_string());
    let links = || ["bin", "lib", "lib64", "sbin"].map(link);
    let expected =
        [Some("usr/bin"), Some("usr/lib"), Some("usr/lib64"), None].map(|to: Option<&str>| to.map(str::to_owned));
    assert_eq!(links(), expected);
    // What is there stays as it is, whatever it is; what something is mounted on is no link.
    strip();
    std::fs::write(top("bin"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", top("lib64")).unwrap();
    let _ = tree.run(&["--bind-ro=/usr/lib:/lib"], &[], &["/usr/bin/true"]);
    assert_eq!(std::fs::read_to_string(top("bin")).unwrap(), "mine");
    assert_eq!(link("lib64").as_deref(), Some("nowhere"));
    assert!(top("lib").is_dir() && !top("lib").is_symlink());
    std::fs::remove_dir(top("lib")).unwrap();
    // What is thrown away, or cannot be written, is left as it is.
    for options in [&["--volatile=overlay"][..], &["-x"], &["--volatile"]] {
        run(options);
        assert!(links().iter().all(Option::is_none), "{options:?}");
        assert!(!top("root").exists() && !top("proc").exists(), "{options:?}");
    }
    // Of the container's root, whoever that is on the host.
    strip();
    let shifted = ["--private-users=1048576:65536", "--private-users-ownership=chown"];
    let _ = tree.run(&shifted, &[], &["/usr/bin/true"]);
    assert_eq!(mode("root"), (true, 0o750, 1_048_576, 1_048_576));
}

#[test]
fn what_is_to_be_deleted_is_gone_from_the_tree_itself() {
    let _turn = turn();
    let tree = tree!("delete");
    let files = ["etc/resolv.conf", "etc/localtime"].map(|name| tree.0.join(name));
    let there = || files.clone().map(|file| file.is_symlink() || file.exists());
    let fill = || {
        std::fs::write(&files[0], "nameserver 192.0.2.1\n").unwrap();
        let _ = std::os::unix::fs::symlink("/etc/passwd", &files[1]);
    };
    let delete = ["--resolv-conf=delete", "--timezone=delete"];
    let probe = "for file in /etc/resolv.conf /etc/localtime; do { [ -e $file ] || [ -L $file ]; } && echo yes || echo no; done";
    for (options, inside, kept) in [
        (&[][..], "no\nno\n", false),
        (&["--volatile=overlay"], "no\nno\n", true),
        (&["-x"], "no\nno\n", true),
        (&["--volatile"], "no\nno\n", true),
        (&["--read-only"], "yes\nyes\n", true),
        (&["--volatile=state"], "yes\nyes\n", true),
        (&["--resolv-conf=off", "--timezone=off"], "yes\nyes\n", true),
        (&["--bind=/usr/lib:/mnt", "-U", "--private-users-ownership=map"], "no\nno\n", false),
    ] {
        fill();
        let words: Vec<&str> = delete.iter().chain(options).copied().collect();
        assert_eq!(tree.prints(&words, &[], probe), inside, "{options:?}");
        assert_eq!(there(), [kept; 2], "{options:?}");
    }
    assert_eq!(tree.prints(&delete, &[], probe), "no\nno\n", "there is none");
    // A directory is no such file: it is left alone, as it is.
    std::fs::create_dir_all(files[0].join("kept")).unwrap();
    assert_eq!(tree.prints(&delete, &[], probe), "yes\nno\n");
    assert!(files[0].join("kept").is_dir());
    // What the link names is another's.
    assert!(Path::new("/etc/passwd").exists());
}

/// Not said, it is the host's, or nothing where the host has nothing; and what the tree
/// keeps is not touched.
#[test]
fn files_of_etc_are_as_the_hosts_where_nobody_says() {
    let _turn = turn();
    let tree = tree!("auto");
    let files = ["etc/resolv.conf", "etc/localtime"].map(|name| tree.0.join(name));
    let host = tree.0.join("var/host-etc");
    std::fs::create_dir(&host).unwrap();
    for name in ["passwd", "group"] {
        std::fs::copy(Path::new("/etc").join(name), host.join(name)).unwrap();
    }
    let fill = || files.iter().for_each(|file| std::fs::write(file, "tree").unwrap());
    let own = ["unshare", "--net", "sleep", "600"];
    let mut other = Command::new(own[0]).args(&own[1..]).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", other.id());
    let theirs = || std::fs::read_link(&path).ok();
    assert!(until(5, || theirs() != std::fs::read_link("/proc/self/ns/net").ok()));
    let entered = format!("--network-namespace-path={path}");
    let entered_as_own = [entered.as_str(), "--private-network"];
    const PROBE: &str = "for file in /etc/resolv.conf /etc/localtime; do \
        if [ -e $file ]; then head -c 4 $file | tr '\\0\\n' '..'; echo .; else echo none; fi; done";
    for (options, has, lacks) in [
        (&[][..], "host.\nhost.\n", ".\n.\n"),
        (&["--private-network"], "tree.\nhost.\n", "tree.\n.\n"),
        (&[entered.as_str()], "host.\nhost.\n", ".\n.\n"),
        (&entered_as_own, "tree.\nhost.\n", "tree.\n.\n"),
        (&["--read-only"], "host.\nhost.\n", "tree.\ntree.\n"),
        (&["--volatile=state"], "host.\nhost.\n", "tree.\ntree.\n"),
        (&["--volatile=overlay"], "host.\nhost.\n", "none\nnone\n"),
        (&["--resolv-conf=off", "--timezone=off"], "tree.\ntree.\n", "tree.\ntree.\n"),
    ] {
        for (there, expected) in [(true, has), (false, lacks)] {
            fill();
            for name in ["resolv.conf", "localtime"] {
                let _ = std::fs::remove_file(host.join(name));
                if there {
                    std::fs::write(host.join(name), "host").unwrap();
                }
            }
            let words: Vec<&str> = options.iter().copied().chain(["/bin/sh", "-c", PROBE]).collect();
            let said = tree.beside("mount --bind \"$TREE/var/host-etc\" /etc", &words);
            assert_eq!(said, expected, "{options:?}, {there}");
            assert!(files.iter().all(|file| std::fs::read(file).unwrap() == b"tree"), "{options:?}, {there}");
        }
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

/// The original says that it could not, and goes on.
#[test]
fn a_tree_of_which_etc_alone_is_read_only_keeps_what_it_has_there() {
    let _turn = turn();
    let tree = tree!("closed-etc");
    let closed = "mount --bind \"$TREE/etc\" \"$TREE/etc\" && mount -o remount,bind,ro \"$TREE/etc\"";
    const PROBE: &str = "cat /etc/resolv.conf /etc/localtime 2>/dev/null; : >/here && rm /here && echo ran";
    let files = ["etc/resolv.conf", "etc/localtime"].map(|name| tree.0.join(name));
    for mode in ["delete", "copy", "bind"] {
        let options = match mode {
            "delete" => ["--resolv-conf=delete", "--timezone=delete"],
            "copy" => ["--resolv-conf=copy-host", "--timezone=copy"],
            _ => ["--resolv-conf=bind-host", "--timezone=bind"],
        };
        let words = [&options[..], &["/bin/sh", "-c", PROBE]].concat();
        assert_eq!(tree.beside(closed, &words), "ran\n", "{mode}: nothing is there, and nothing is made");
        files.iter().for_each(|file| std::fs::write(file, "tree\n").unwrap());
        let said = tree.beside(closed, &words);
        assert_eq!(said == "tree\ntree\nran\n", mode == "delete", "{mode}: {said}");
        assert!(files.iter().all(|file| std::fs::read(file).unwrap() == b"tree\n"), "{mode}");
        files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}

#[test]
fn volatile_trees_are_what_they_say() {
    let _turn = turn();
    let tree = tree!("volatile");
    let probe = "for path in / /usr /var /etc; do (: > $path/skep-test) 2>/dev/null && echo \"$path yes\" || echo \"$path no\"; done; true";
    for user in [&[][..], &["-U"]] {
        for (mode, expected) in [
            ("--volatile=no", "/ yes\n/usr no\n/var yes\n/etc yes\n"),
            ("--volatile=state", "/ no\n/usr no\n/var yes\n/etc no\n"),
            ("--volatile=overlay", "/ yes\n/usr no\n/var yes\n/etc yes\n"),
            ("--volatile", "/ yes\n/usr no\n/var yes\n/etc yes\n"),
        ] {
            let options: Vec<&str> = user.iter().copied().chain([mode]).collect();
            assert_eq!(tree.prints(&options, &[], probe), expected, "{options:?}");
            let kept = ["skep-test", "var/skep-test", "etc/skep-test"].map(|name| tree.0.join(name).exists());
            assert_eq!(kept, [mode == "--volatile=no"; 3], "{options:?}");
            for name in ["skep-test", "var/skep-test", "etc/skep-test"] {
                let _ = std::fs::remove_file(tree.0.join(name));
            }
        }
    }
}
