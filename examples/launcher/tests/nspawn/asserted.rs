//! What the integration test of systemd asserts of `systemd-nspawn` (TEST-13-NSPAWN), by
//! its number in our list, of ours.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use skep_tests::Scratch;

use crate::stand::{SKEP, debian, has, skip, turn};
use crate::tree::{ALWAYS, Ran, Tree, refused, run};

#[test]
fn t01_help_and_the_lists_of_values_are_a_success() {
    for word in [
        "--help",
        "--version",
        "--capability=help",
        "--resolv-conf=help",
        "--timezone=help",
        "--console=help",
        "--kill-signal=help",
        "--volatile=help",
        "--rlimit=help",
        "--private-users-ownership=help",
    ] {
        let ran = run(&["nspawn", word], &[]);
        assert!(ran.code == Some(0) && !ran.stdout.is_empty() && ran.stderr.is_empty(), "{word}: {ran:?}");
    }
}

#[test]
fn t02_a_root_is_made_of_a_template_once() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let new = tree.scratch.path().join("new").display().to_string();
    refused(&run(&[&ALWAYS[..], &["-D", &new, "/bin/true"]].concat(), &[]), &["-D", "new"]);
    let template = format!("--template={}", tree.root.display());
    let script = |script: &str| run(&[&ALWAYS[..], &[&template, "-D", &new, "/bin/sh", "-c", script]].concat(), &[]);
    let made = script("test ! -e /marker && echo made > /marker");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(script("cat /marker").stdout, "made", "the second start makes nothing anew");
    assert!(!tree.root.join("marker").exists());
    // What is thrown away is not copied first, and is not both.
    let ran = run(&[&ALWAYS[..], &[&template, "-x", "/bin/sh", "-c", "echo x > /other; cat /other"]].concat(), &[]);
    assert!(ran.code == Some(0) && ran.stdout == "x" && !tree.root.join("other").exists(), "{ran:?}");
    let both = [&ALWAYS[..], &[&template, "-x", "-D", &new, "/bin/true"]].concat();
    refused(&run(&both, &[]), &both);
}

#[test]
fn t03_ephemeral_and_read_only_leave_nothing() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    assert_eq!(tree.says(&["-x"], "echo x > /marker; cat /marker"), "x");
    let ran = tree.run(&["--read-only", "/bin/sh", "-c", "echo x > /marker"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert!(!tree.root.join("marker").exists());
}

#[test]
fn t04_an_image_of_one_file_system_runs_a_command() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("mke2fs") && !Path::new("/sbin/mke2fs").exists() {
        return skip("mke2fs is not installed");
    }
    let image = tree.scratch.path().join("disk.raw").display().to_string();
    let program = if has("mke2fs") { "mke2fs" } else { "/sbin/mke2fs" };
    let made = Command::new(program)
        .args(["-q", "-t", "ext4", "-d"])
        .args([tree.root.as_os_str(), image.as_ref()])
        .arg("16M")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ran = run(&[&ALWAYS[..], &["-i", &image, "/bin/sh", "-c", "stat -f -c %T /; hostname"]].concat(), &[]);
    if ran.stderr.contains("loop") {
        return skip(&ran.stderr);
    }
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ext2/ext3\ndisk"), "{ran:?}");
}

#[test]
fn t05_volatile_roots_in_all_modes() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let probe = "for place in / /usr /etc /var; do
            if (: > $place/marker) 2>/dev/null; then echo $place writable; else echo $place closed; fi
        done; grep -q ' /var ' /proc/self/mountinfo && echo var is mounted; true";
    for users in [&[][..], &["-U"]] {
        for (mode, expected) in [
            ("--volatile", &["/ writable", "/usr closed"][..]),
            ("--volatile=yes", &["/ writable", "/usr closed"]),
            ("--volatile=state", &["/ closed", "/etc closed", "/var writable", "var is mounted"]),
            // Its /usr is the host's here, and bound read-only.
            ("--volatile=overlay", &["/ writable", "/etc writable", "/var writable"]),
        ] {
            let said = tree.says(&[&[mode], users].concat(), probe);
            let all = expected.iter().all(|line| said.lines().any(|own| own == *line));
            assert!(all, "{mode} {users:?}: {said}");
        }
    }
    for place in ["", "usr", "etc", "var"] {
        assert!(!tree.root.join(place).join("marker").exists(), "/{place}");
    }
}

#[test]
fn t06_the_hostname_is_the_machines_or_its_own() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    for (options, name) in [
        (&["-M", "foo-bar.baz"][..], "foo-bar.baz"),
        (&["--hostname=own.name-x"], "own.name-x"),
        (&["-M", "foo", "--hostname=own"], "own"),
    ] {
        assert_eq!(tree.says(options, "hostname"), name, "{options:?}");
    }
}

#[test]
fn t07_an_id_is_the_machines_where_the_tree_has_none() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let id = "--uuid=deadbeefdeadbeefdeadbeefdeadbeef";
    assert_eq!(tree.says(&[id], "echo $container_uuid"), "deadbeef-dead-beef-dead-beefdeadbeef");
    std::fs::write(tree.root.join("etc/machine-id"), "00112233445566778899aabbccddeeff\n").unwrap();
    assert_eq!(tree.says(&[id], "echo $container_uuid"), "00112233-4455-6677-8899-aabbccddeeff");
}

#[test]
fn t08_the_command_is_process_one_or_two() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    assert_eq!(tree.says(&[], "echo $$"), "1");
    assert_eq!(tree.says(&["--as-pid2"], "echo $$"), "2");
}

#[test]
fn t09_users_are_those_of_the_tree() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    std::fs::write(tree.root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\njoe:x:1234:1234::/srv:/bin/sh\n").unwrap();
    std::fs::write(tree.root.join("etc/group"), "root:x:0:\njoe:x:1234:\nmore:x:77:joe\n").unwrap();
    let script = "echo $USER $HOME $(id -u) $(id -G)";
    assert_eq!(tree.says(&[], script), "root /root 0 0");
    for options in [&["--uid=joe"][..], &["-u", "joe"], &["--user=joe"], &["--user", "joe"]] {
        assert_eq!(tree.says(options, script), "joe /srv 1234 1234 77", "{options:?}");
    }
    tree.refuses(&["--uid=nobody-of-this-name"]);
}

#[test]
fn t10_the_files_id_and_the_options_by_what_settings_says() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let name = format!("t10-{}", std::process::id());
    let directory = Path::new("/run/systemd/nspawn");
    std::fs::create_dir_all(directory).unwrap();
    let file = directory.join(format!("{name}.nspawn"));
    std::fs::write(&file, "[Exec]\nMachineID=11111111111111111111111111111111\n").unwrap();
    let (of_file, own) = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222");
    let option = format!("--uuid={own}");
    for (options, id) in [
        (&["--settings=yes"][..], of_file),
        (&["--settings=yes", &option], own),
        (&["--settings=override", &option], of_file),
        (&["--settings=trusted", &option], own),
        (&["--settings=no", &option], own),
    ] {
        let said = tree.says(&[&["-M", &name], options].concat(), "echo $container_uuid");
        assert_eq!(said, id, "{options:?}");
    }
    std::fs::remove_file(&file).unwrap();
}

/// Options with a value, and what is no value of each beside `-1` and nothing.
const VALUES: [(&str, &[&str]); 67] = [
    ("notify-ready", &["foo", "2"]),
    ("ambient-capability", &["foo", "all"]),
    ("background", &["foo", "44m", "\u{1b}[2J"]),
    ("bind-user-group", &["a b", "a/b"]),
    ("bind-user-shell", &["relative", "maybe"]),
    ("directory", &["/no/such/tree", "/etc/passwd"]),
    ("forward-journal", &["/no/such/place", "/etc/passwd"]),
    ("forward-journal-keep-free", &["foo", "1.5"]),
    ("forward-journal-max-file-size", &["foo"]),
    ("forward-journal-max-files", &["foo", "0"]),
    ("forward-journal-max-use", &["foo", "1X"]),
    ("image", &["/no/such/image", "/etc/passwd"]),
    ("image-policy", &["foo"]),
    ("machine", &["a_b", "a b", "-a", "a..b"]),
    ("mstack", &["/no/such/stack", "/etc/passwd"]),
    ("network-namespace-path", &["relative", "/no/such/network", "/etc/passwd"]),
    ("oci-bundle", &["foo"]),
    ("private-users-delegate", &["foo", "1", "17"]),
    ("property", &["foo", "=x"]),
    ("restrict-address-families", &["foo", "AF_FOO"]),
    ("selinux-apifs-context", &["foo"]),
    ("selinux-context", &["foo"]),
    ("setenv", &["=x", "9=x", "a b=c"]),
    ("slice", &["a b", ".slice", "a/b", "-a.slice"]),
    ("system-call-filter", &["@foo", "~@foo"]),
    // Not looked at where the tree is there.
    ("template", &[]),
    ("uid", &["a b", "no-such-user", "65535"]),
    ("user", &["a b", "no-such-user"]),
    ("bind", &["relative", ":", "/a:relative", "/a:/b:no-such-option"]),
    ("bind-ro", &["relative", "/a:/b:no-such-option"]),
    ("bind-user", &["-x", "a/b"]),
    ("chdir", &["relative", "/a/../b"]),
    ("console", &["foo"]),
    ("inaccessible", &["relative"]),
    ("kill-signal", &["SIGFOO", "0", "65"]),
    ("link-journal", &["foo"]),
    ("load-credential", &["foo", ":/a", "a/b:/c"]),
    ("network-interface", &["a/b", "sixteen-letters-x", ":"]),
    ("network-macvlan", &["a/b", "lo:a/b"]),
    ("network-ipvlan", &["a/b", "lo:a/b"]),
    ("network-veth-extra", &["a/b", "a:b:c", "sixteen-letters-x"]),
    ("network-bridge", &["a/b", "sixteen-letters-x"]),
    ("network-zone", &["a/b", "thirteen-long"]),
    ("no-new-privileges", &["foo"]),
    ("oom-score-adjust", &["foo", "1001", "-1001"]),
    ("overlay", &["relative", "/a", "/a:relative", "/a::/b:/c", ":/b:/c", "::/c", "+:/b:/c"]),
    ("overlay-ro", &["relative", "/a", "/a:/b:+/c", "/a::/b:/c", ":/b"]),
    ("personality", &["foo"]),
    ("pivot-root", &["relative", "/a:relative", "/a:/b:/c"]),
    ("port", &["foo", ":", "icmp:80", "tcp::80", "80:", "65536", "0"]),
    ("private-users", &["foo", "0:0", "5:", "-5"]),
    ("private-users-ownership", &["foo"]),
    ("register", &["foo"]),
    ("resolv-conf", &["foo"]),
    ("rlimit", &["foo", "=", "NOFILE=", "NOFILE=x", "FOO=1", "NOFILE=2:1"]),
    ("root-hash", &["foo"]),
    ("root-hash-sig", &["foo"]),
    ("set-credential", &["foo", ":bar", "a/b:c"]),
    ("settings", &["foo"]),
    ("suppress-sync", &["foo"]),
    ("timezone", &["foo"]),
    ("tmpfs", &["relative", "/a:no-such-option"]),
    ("uuid", &["foo", "00000000000000000000000000000000"]),
    ("capability", &["foo", "CAP_FOO"]),
    ("drop-capability", &["foo"]),
    ("cpu-affinity", &["foo", "2-1"]),
    ("hostname", &["a b", "-a"]),
];

#[test]
fn t11_what_is_no_value_is_refused() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    for (name, garbage) in VALUES {
        let option = format!("--{name}");
        // Its value is missing, or its letter's.
        if name != "private-users" {
            let root = tree.root.to_str().unwrap();
            refused(&run(&[&ALWAYS[..], &["-D", root, &option]].concat(), &[]), &[&option]);
        }
        // Of these it is a value: not set, or none.
        if !["hostname", "machine", "background", "oom-score-adjust"].contains(&name) {
            tree.refuses(&[&format!("{option}=")]);
            if name != "private-users" {
                tree.refuses(&[&option, ""]);
            }
        }
        // Names of interfaces and of files may begin with a hyphen, and a score can be that.
        let fits = ["network-veth-extra", "network-zone", "oom-score-adjust", "forward-journal", "template"];
        if !fits.contains(&name) {
            tree.refuses(&[&format!("{option}=-1")]);
        }
        for value in garbage {
            tree.refuses(&[&format!("{option}={value}")]);
        }
    }
    for option in ["--volatile=", "--volatile=-1", "--volatile=foo", "-1", "--no-such-option", "--quiet=maybe"] {
        tree.refuses(&[option]);
    }
    // An empty score is none.
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let said = tree.says(&["--oom-score-adjust=7", "--oom-score-adjust="], "cat /proc/self/oom_score_adj");
    assert_eq!(said, own.trim());
}

/// Of each option that the table of options has: what is too long is no value, and the
/// message is no copy of it. An option with a value that is on neither list is forgotten.
#[test]
fn t11_what_is_too_long_is_refused_of_every_option() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let help = run(&["nspawn", "--help"], &[]).stdout;
    let table = run(&["help", "options"], &[]).stdout;
    let listed = |name: &str| table.contains(&format!("`--{name}` | "));
    let valued = help.lines().filter_map(|line| {
        let (_, option) = line.split_at_checked(line.find("--").filter(|at| *at < 10)?)?;
        let end = option.find(['=', '[', ' '])?;
        (!option[end..].starts_with(' ')).then(|| option[2..end].to_owned())
    });
    let valued: Vec<String> = valued.filter(|name| listed(name)).collect();
    assert!(valued.len() > 60, "{valued:?}");
    // Switches that may have a value, and the volatile modes above.
    const MORE: [&str; 7] =
        ["as-pid2", "boot", "ephemeral", "network-veth", "private-network", "read-only", "volatile"];
    let long = "x".repeat(100_000);
    for name in &valued {
        let known = VALUES.iter().any(|(own, _)| own == name) || MORE.contains(&name.as_str());
        assert!(known, "--{name} is on no list");
        for value in [&long, &format!("/{long}"), &format!("a:{long}")] {
            let option = format!("--{name}={value}");
            let ran = tree.run(&[&option, "/bin/echo", "ran"]);
            // A variable may be called so, and a credential has a mebibyte.
            if (name == "setenv" && !value.contains([':', '/'])) || (name == "set-credential" && value.contains(':')) {
                continue;
            }
            refused(&ran, &[name]);
            assert!(ran.stderr.len() < 600, "--{name}: {}", ran.stderr.len());
        }
    }
}

#[test]
fn t11_of_a_value_that_is_given_twice_the_last_counts() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let script = "hostname; pwd; echo $A; echo $container_uuid; ulimit -n";
    let said = tree.says(
        &[
            &["--hostname=one", "--hostname=two"][..],
            &["--chdir=/usr", "--chdir=/srv"],
            &["-E", "A=1", "--setenv=A=2"],
            &["--uuid=11111111111111111111111111111111", "--uuid=22222222222222222222222222222222"],
            &["--rlimit=NOFILE=50", "--rlimit=NOFILE=60"],
        ]
        .concat(),
        script,
    );
    assert_eq!(said, "two\n/srv\n2\n22222222-2222-2222-2222-222222222222\n60");
    // Twice the same mount is one; two on one place contradict each other.
    assert_eq!(tree.says(&["--tmpfs=/mnt", "--tmpfs=/mnt"], "grep -c ' /mnt ' /proc/self/mountinfo"), "1");
    tree.refuses(&["--tmpfs=/mnt", "--bind=/usr:/mnt"]);
    tree.refuses(&["--private-network", "-n", "--port=80", "--port=80"]);
}

#[test]
fn t12_every_capability_can_be_asked_for() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let said = tree.says(&["--capability=all"], "grep CapBnd /proc/self/status");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapBnd")).unwrap();
    assert_eq!(said, own.trim(), "no more than the caller has, and no less");
}

/// A tree to bind, with a tmpfs in it that is nobody's but this run's.
fn with_mount(directory: &Path, tree: &Tree, words: &[&str]) -> Ran {
    let script = "mount -t tmpfs tmpfs $0/sub && echo above > $0/sub/file && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", script]).arg(directory);
    command.arg(SKEP).args(ALWAYS).arg("-D").arg(&tree.root).args(words).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn t13_a_bind_is_of_all_below_unless_it_is_said_otherwise() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let directory = tree.scratch.directory("bound");
    tree.scratch.file("bound/sub/file", "beneath\n");
    let bind = |options: &str| format!("--bind={}:/mnt{options}", directory.display());
    let script = "cat /mnt/sub/file; echo inside > /mnt/made; echo lost > /mnt/sub/lost";
    for (options, content) in
        [("", "above"), (":rbind", "above"), (":norbind", "beneath"), (":noidmap,norbind", "beneath")]
    {
        let ran = with_mount(&directory, &tree, &[&bind(options), "/bin/sh", "-c", script]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), content), "{options}: {ran:?}");
        assert_eq!(std::fs::read_to_string(directory.join("made")).unwrap(), "inside\n");
        // What was written on the tmpfs went with it.
        assert_eq!(directory.join("sub/lost").exists(), content == "beneath", "{options}");
        let _ = std::fs::remove_file(directory.join("sub/lost"));
    }
}

#[test]
fn t14_what_is_bound_read_only_refuses_writes() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let directory = tree.scratch.directory("bound");
    tree.scratch.file("bound/sub/file", "beneath\n");
    for options in ["", ":rbind", ":noidmap,norbind"] {
        let bind = format!("--bind-ro={}:/mnt{options}", directory.display());
        let script = "for place in /mnt /mnt/sub; do (: > $place/x) 2>/dev/null && echo $place is writable; done; cat /mnt/sub/file";
        let ran = with_mount(&directory, &tree, &[&bind, "/bin/sh", "-c", script]);
        let content = if options == ":noidmap,norbind" { "beneath" } else { "above" };
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), content), "{options}: {ran:?}");
    }
}

#[test]
fn t15_inaccessible_places_and_file_systems_in_memory() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let file = tree.root.join("srv/file");
    std::fs::write(&file, "of the tree\n").unwrap();
    for users in ["--private-users=no", "-U"] {
        let script = "(: > /srv/made) 2>&1; ls /srv 2>&1; stat -c %a /srv; true";
        let said = tree.says(&["--inaccessible=/srv", users], script);
        assert!(!said.contains("file\n") && said.ends_with('0'), "{users}: {said}");
        assert_eq!(tree.says(&["--inaccessible=/srv/file", users], "stat -c '%a %s' /srv/file"), "0 0", "{users}");
        let tmpfs = "--tmpfs=/srv:rw,nosuid,noexec";
        let script = "ls /srv; cp /usr/bin/true /srv/made; /srv/made 2>&1; echo $?";
        assert!(tree.says(&[tmpfs, users], script).ends_with("126"), "{users}");
        assert!(!tree.root.join("srv/made").exists());
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "of the tree\n");
}

#[test]
fn t16_three_layers_are_shown_as_one() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let layers = ["one", "two", "three"].map(|name| {
        tree.scratch.file(&format!("{name}/of-{name}"), name);
        tree.scratch.file(&format!("{name}/same"), name);
        tree.scratch.path().join(name).display().to_string()
    });
    let list = layers.join(":");
    let script = "ls /mnt | tr '\\n' ' '; cat /mnt/same; (echo x > /mnt/made) 2>/dev/null && echo ' writable'; true";
    let said = tree.says(&[&format!("--overlay-ro={list}:/mnt")], script);
    assert_eq!(said, "of-one of-three of-two same three");
    let said = tree.says(&[&format!("--overlay={list}:/mnt")], script);
    assert_eq!(said, "of-one of-three of-two same three writable");
    let made = layers.map(|layer| Path::new(&layer).join("made").exists());
    assert_eq!(made, [false, false, true], "it is written to the last");
}

/// Shapes that were tried beside the original.
#[test]
fn t16_layers_can_be_empty_relative_or_of_the_tree() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let [one, two] = ["one", "two"].map(|name| {
        tree.scratch.file(&format!("{name}/of-{name}"), name);
        tree.scratch.path().join(name)
    });
    std::fs::write(tree.root.join("srv/of-srv"), "").unwrap();
    std::fs::create_dir_all(tree.root.join("mnt")).unwrap();
    let (first, second) = (one.display(), two.display());
    let none: &[&Path] = &[];
    let (srv, mnt) = (tree.root.join("srv"), tree.root.join("mnt"));
    for (option, place, shown, written) in [
        (format!("--overlay={first}::/mnt"), "/mnt", "of-one writable", none),
        (format!("--overlay-ro={first}::/mnt"), "/mnt", "of-one closed", none),
        (format!("--overlay={first}:+/srv:/mnt"), "/mnt", "of-one of-srv writable", &[srv.as_path()]),
        (format!("--overlay=+/srv:{second}:/mnt"), "/mnt", "of-srv of-two writable", &[two.as_path()]),
        (format!("--overlay-ro={first}:+/srv:{second}:/mnt"), "/mnt", "of-one of-srv of-two closed", none),
        ("--overlay=+/srv::/srv".to_owned(), "/srv", "of-srv writable", none),
        ("--overlay-ro=+/srv::/srv".to_owned(), "/srv", "of-srv closed", none),
        (format!("--overlay={first}:+/mnt"), "/mnt", "of-one writable", &[mnt.as_path()]),
        (format!("--overlay-ro={first}:+/mnt"), "/mnt", "of-one closed", none),
    ] {
        for users in ["--private-users=no", "-U"] {
            let script =
                format!("echo $(ls {place}) $( (: > {place}/made) 2>/dev/null && echo writable || echo closed)");
            assert_eq!(tree.says(&[&option, users], &script), shown, "{option} {users}");
            for layer in [&one, &two, &srv, &mnt] {
                let made = std::fs::remove_file(layer.join("made")).is_ok();
                assert_eq!(made, written.contains(&layer.as_path()), "{option} {users}: {}", layer.display());
            }
        }
    }
    // From the current directory, as a bind.
    let mut command = Command::new(SKEP);
    command.args(ALWAYS).arg("-D").arg(&tree.root).args(["--overlay-ro=one:../two:/mnt", "/bin/ls", "/mnt"]);
    let output = command.current_dir(&one).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "there is no one below one");
    let mut command = Command::new(SKEP);
    command.args(ALWAYS).arg("-D").arg(&tree.root).args(["--overlay-ro=../one:../two:/mnt", "/bin/ls", "/mnt"]);
    let output = command.current_dir(&one).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "of-one\nof-two\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn t17_a_file_is_bound_below_what_is_a_tmpfs() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let file = tree.scratch.file("file", "content\n");
    let bind = format!("--bind={}:/tmp/file", file.display());
    assert_eq!(tree.says(&[&bind], "cat /tmp/file; stat -f -c %T /tmp"), "content\ntmpfs");
}

#[test]
fn t18_owners_are_mapped_to_the_containers_root_or_the_targets_owner() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    use std::os::unix::fs::chown;
    let directory = tree.scratch.directory("bound");
    let file = tree.scratch.file("bound/file", "");
    for path in [&directory, &file] {
        chown(path, Some(1000), Some(1000)).unwrap();
    }
    let target = tree.scratch.directory("root/mnt");
    chown(target, Some(1010), Some(1010)).unwrap();
    std::fs::write(tree.root.join("etc/passwd"), "joe:x:1010:1010::/:/bin/sh\n").unwrap();
    std::fs::write(tree.root.join("etc/group"), "joe:x:1010:\n").unwrap();
    let script = "stat -c %u:%g /mnt/file; : > /mnt/made";
    for (how, user, shown) in [("rootidmap", "root", "0:0"), ("owneridmap", "joe", "1010:1010")] {
        let bind = format!("--bind={}:/mnt:{how}", directory.display());
        assert_eq!(tree.says(&["-U", "-u", user, &bind], script), shown, "{how}");
        let made = directory.join("made");
        let data = made.metadata().unwrap();
        assert_eq!((data.uid(), data.gid()), (1000, 1000), "{how}");
        std::fs::remove_file(made).unwrap();
    }
}

#[test]
fn t19_what_procfs_tells_of_the_host_has_no_permissions() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let script = "for name in kallsyms kcore keys sysrq-trigger timer_list; do
            [ -e /proc/$name ] && echo $name $(stat -c %a /proc/$name); done; true";
    for users in ["--private-users=no", "-U"] {
        let said = tree.says(&[users], script);
        assert!(said.lines().count() >= 3 && said.lines().all(|line| line.ends_with(" 0")), "{users}: {said}");
    }
}

#[test]
fn t20_the_hosts_os_release_is_told() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let host = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let Some(host) = host else { return skip("this host has no os-release") };
    assert_eq!(tree.says(&[], "cat /run/host/os-release"), host.trim());
    let said = tree.says(&[], "env");
    for field in ["ID", "VERSION_ID", "BUILD_ID", "VARIANT_ID"] {
        let value = host.lines().find_map(|line| line.strip_prefix(&format!("{field}=")));
        let variable = format!("container_host_{}=", field.to_lowercase());
        let told = said.lines().find_map(|line| line.strip_prefix(&variable));
        assert_eq!(told, value.map(|value| value.trim_matches('"')), "{field}");
    }
}

#[test]
fn t22_fuse_and_tun_are_there_for_everybody_and_can_be_named_as_well() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !Path::new("/dev/fuse").exists() || !Path::new("/dev/net/tun").exists() {
        return skip("this host has no /dev/fuse or no /dev/net/tun");
    }
    let owner = |path: &str| Path::new(path).metadata().map(|data| (data.uid(), data.gid(), data.mode())).unwrap();
    let before = ["/dev/fuse", "/dev/net/tun"].map(owner);
    for users in [&["--private-users=no"][..], &["-U"], &["-U", "--private-network"], &["--device=/dev/fuse"]] {
        // The node is the host's: who is not root there needs what all may do.
        let open = if before[0].2 & 0o006 == 0o006 || users[0] != "-U" { "exec 3<>/dev/fuse &&" } else { "" };
        let script = format!("{open} stat -c '%F %t:%T' /dev/fuse /dev/net/tun");
        let said = tree.says(users, &script);
        assert_eq!(said, "character special file a:e5\ncharacter special file a:c8", "{users:?}");
    }
    assert_eq!(["/dev/fuse", "/dev/net/tun"].map(owner), before);
}

#[test]
fn t23_a_settings_file_with_nearly_every_key() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let name = format!("t23-{}", std::process::id());
    let file = Path::new("/run/systemd/nspawn").join(format!("{name}.nspawn"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let script = "echo $1, $A, $(pwd) $(ulimit -Sn) $(ulimit -Hn) $(cat /proc/self/oom_score_adj)
        grep Cpus_allowed_list /proc/self/status; hostname; echo $container_uuid; stat -c 'mode %a' /srv /root
        grep -c ' /var ' /proc/self/mountinfo; grep CapAmb /proc/self/status
        chroot / /usr/bin/true 2>/dev/null || echo denied; ls /etc; [ -e /etc/localtime ] || echo deleted";
    std::fs::write(tree.root.join("probe"), script).unwrap();
    std::fs::write(tree.root.join("etc/localtime"), "a zone").unwrap();
    let settings = "[Exec]\nParameters=/bin/sh /probe 'two words'\nEnvironment=\"A=one two\"\nWorkingDirectory=/tmp\n\
         MachineID=11111111111111111111111111111111\nLimitNOFILE=100:200\nOOMScoreAdjust=32\nCPUAffinity=0\n\
         Hostname=of-file\nResolvConf=copy-host\nTimezone=delete\nCapability=CAP_KILL\nAmbientCapability=CAP_KILL\n\
         NoNewPrivileges=no\nSystemCallFilter=~chroot\n\
         [Files]\nBindReadOnly=/usr\nTemporaryFileSystem=/tmp\nInaccessible=/srv\nInaccessible=/root\nOverlay=+/var::/var\n\
         PrivateUsersOwnership=auto\nBindUser=\n";
    std::fs::write(&file, settings).unwrap();
    // Not a bind of the command line, which would hide those of the file.
    let ran = run(&[&ALWAYS[..5], &["-M", &name, "-D", tree.root.to_str().unwrap()]].concat(), &[]);
    std::fs::remove_file(&file).unwrap();
    for part in [
        "two words, one two, /tmp 100 200 32",
        "Cpus_allowed_list:\t0\n",
        "\nof-file\n11111111-1111-1111-1111-111111111111\nmode 0\nmode 0\n1\n",
        "CapAmb:\t0000000000000020\ndenied\n",
        "\nresolv.conf",
    ] {
        assert!(ran.stdout.contains(part), "{part:?}: {ran:?}");
    }
    assert!(ran.code == Some(0) && ran.stdout.ends_with("\ndeleted"), "{ran:?}");
    assert!(!tree.root.join("etc/localtime").exists());
}

#[test]
fn t26_an_ephemeral_machine_has_the_settings_of_the_name_without_the_suffix() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let name = format!("t26-{}", std::process::id());
    let root = tree.scratch.path().join(&name);
    std::fs::rename(&tree.root, &root).unwrap();
    let tree = Tree { root, ..tree };
    let file = Path::new("/run/systemd/nspawn").join(format!("{name}.nspawn"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[Exec]\nEnvironment=OF=file\n").unwrap();
    let script = "echo $OF; hostname";
    let of_name = tree.says(&["-x"], script);
    let other = tree.says(&["-x", "-M", "another-name"], script);
    std::fs::remove_file(&file).unwrap();
    let suffix = of_name.strip_prefix(&format!("file\n{name}-")).unwrap_or_default();
    assert!(suffix.len() == 16 && suffix.bytes().all(|digit| digit.is_ascii_hexdigit()), "{of_name}");
    assert_eq!(other, "another-name");
}

#[test]
fn t29_trees_of_every_kind_of_users() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let owner = |tree: &Tree| tree.root.join("etc").metadata().unwrap().uid();
    let script = "stat -c %u /etc; : > /root/made; cut -c1-30 /proc/self/uid_map";
    for options in [
        &["--private-users=no"][..],
        &["--private-users=identity"],
        &["--private-users=pick", "--private-users-ownership=map"],
        &["--private-users=managed", "--private-network"],
        &["--private-users=1000000:65536", "--private-users-ownership=auto"],
    ] {
        let said = tree.says(options, script);
        assert!(said.starts_with("0\n"), "{options:?}: {said}");
        assert_eq!(owner(&tree), 0, "{options:?}");
        assert_eq!(tree.root.join("root/made").metadata().unwrap().uid(), 0, "{options:?}");
    }
    let said = tree.says(&["--private-users=pick", "--private-users-ownership=chown"], script);
    assert!(said.starts_with("0\n") && owner(&tree) >= 0x8_0000, "{said}: {}", owner(&tree));
    // Of a tree that has a range, that one is picked, and `yes` is it.
    assert!(tree.says(&["--private-users=yes"], "cat /proc/self/uid_map").contains(&owner(&tree).to_string()));
}

#[test]
fn t34_whoever_has_ids_and_a_network_of_his_own_may_ping() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let options = ["--private-users=pick", "--private-network"];
    assert_eq!(tree.says(&options, "cat /proc/sys/net/ipv4/ping_group_range"), "0\t65535");
    let other = ["--private-users=pick", "--private-network", "--sysctl=net.ipv4.ping_group_range=5 6"];
    assert_eq!(tree.says(&other, "cat /proc/sys/net/ipv4/ping_group_range"), "5\t6");
}

/// Without root, what can only be with it is not what is meant.
#[test]
fn t29_an_ordinary_user_has_managed_users_and_a_network_of_his_own() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("setpriv") {
        return skip("setpriv is not installed");
    }
    let copy = tree.scratch.path().join("skep");
    std::fs::copy(SKEP, &copy).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=4242", "--regid=4242", "--clear-groups"]).arg(&copy).args(&ALWAYS[..5]).args(words);
        let output = command.arg("-D").arg(&tree.root).arg("/bin/true").env("HOME", "/").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // He has no range here, which is what is asked for then.
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.contains("/etc/subuid"), "{code:?} {said}");
    let (code, said) = run(&["--private-network=no"]);
    assert!(code == Some(1) && said.contains("--private-users=managed"), "{code:?} {said}");
}

#[test]
fn t31_credentials_can_be_read_by_whoever_runs() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    std::fs::write(tree.root.join("etc/passwd"), "joe:x:1234:1234::/:/bin/sh\n").unwrap();
    let file = tree.scratch.file("credential", "loaded");
    let load = format!("--load-credential=two:{}", file.display());
    for more in [&[][..], &["-u", "joe", "--no-new-privileges=yes"], &["-U"]] {
        let options = [&["--set-credential=one:set", &load], more].concat();
        let said = tree.says(&options, "cat $CREDENTIALS_DIRECTORY/one; echo; cat /run/host/credentials/two");
        assert_eq!(said, "set\nloaded", "{more:?}");
    }
}

#[test]
fn t31_a_socket_says_a_credential() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let socket = tree.scratch.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || std::io::Write::write_all(&mut listener.accept().unwrap().0, b"said"));
    let load = format!("--load-credential=one:{}", socket.display());
    assert_eq!(tree.says(&[&load], "cat $CREDENTIALS_DIRECTORY/one"), "said");
    server.join().unwrap().unwrap();
    let directory = tree.scratch.path().display().to_string();
    tree.scratch.file("mine", "given");
    let words = ["-D", tree.root.to_str().unwrap(), "--load-credential=a:mine", "cat", "/run/host/credentials/a"];
    let ran = run(&[&ALWAYS[..], &words].concat(), &[("CREDENTIALS_DIRECTORY", &directory)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "given"), "{}", ran.stderr);
}

#[test]
fn t25_t27_t28_users_of_the_host_are_users_of_the_machine() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let Some(user) = tree.user_of_host() else { return };
    let bind = format!("--bind-user={user}");
    let script = format!("stat -c %u /run/host/home/{user}; cat /run/host/userdb/{user}.user");
    for users in ["-U", "--private-users=pick"] {
        assert!(tree.says(&[&bind, users], &script).starts_with("60514\n"), "{users}");
    }
    // With the tree given to the ids for good.
    let said = tree.says(&[&bind, "--private-users=pick", "--private-users-ownership=chown"], &script);
    assert!(said.starts_with("60514\n") && !said.contains("shell"), "{said}");
    for (shell, record) in [("no", None), ("yes", Some("\"shell\":\"/")), ("/bin/odd", Some("\"shell\":\"/bin/odd\""))]
    {
        let said = tree.says(&[&bind, "--private-users=pick", &format!("--bind-user-shell={shell}")], &script);
        match record {
            None => assert!(!said.contains("shell"), "{shell}: {said}"),
            Some(record) => assert!(said.contains(record), "{shell}: {said}"),
        }
    }
    // The file's word against the line's.
    let name = format!("t27-{}", std::process::id());
    let file = Path::new("/run/systemd/nspawn").join(format!("{name}.nspawn"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let settings = format!("[Exec]\nPrivateUsers=pick\n[Files]\nBindUser={user}\nBindUserShell=/bin/of-file\n");
    std::fs::write(&file, settings).unwrap();
    let of = |options: &[&str]| tree.says(&[&["-M", &name], options].concat(), &script);
    let said = [of(&[]), of(&["--bind-user-shell=/bin/of-line"]), of(&["--settings=override", "--bind-user-shell=no"])];
    std::fs::remove_file(&file).unwrap();
    for (said, shell) in said.iter().zip(["of-file", "of-line", "of-file"]) {
        assert!(said.contains(shell), "{said}");
    }
    for (path, line) in [("etc/passwd", "x:1:1::/:\n"), ("etc/group", "x:1:\n")] {
        std::fs::write(tree.root.join(path), format!("{user}:{line}")).unwrap();
        let ran = tree.run(&[&bind, "-U", "/bin/true"]);
        assert!(ran.code == Some(1) && ran.stderr.contains(path), "{ran:?}");
        std::fs::remove_file(tree.root.join(path)).unwrap();
    }
}

#[test]
fn t38_the_journal_is_a_mount_and_roots_on_both_sides() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let journals = Path::new("/var/log/journal");
    if !journals.is_dir() {
        return skip("this host keeps no journal");
    }
    let id = format!("{:032x}", u128::from(std::process::id()) << 64 | 0x38);
    let place = journals.join(&id);
    let script = format!("stat -c %u /var/log/journal/{id}; grep -c ' /var/log/journal/{id} ' /proc/self/mountinfo");
    let said = ["--private-users=no", "--private-users=yes", "--private-users=pick", "--volatile=state"].map(|more| {
        let ran = tree.run(&["--link-journal=host", &format!("--uuid={id}"), more, "/bin/sh", "-c", &script]);
        let owner = place.metadata().map(|found| found.uid()).unwrap_or(u32::MAX);
        let _ = std::fs::remove_dir(&place);
        (more, ran, owner)
    });
    for (more, ran, owner) in said {
        assert_eq!((ran.stdout.as_str(), owner), ("0\n1", 0), "{more}: {}", ran.stderr);
    }
    let host = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if let Some(host) = Some(host.trim()).filter(|host| host.len() == 32) {
        let uuid = format!("--uuid={host}");
        assert_eq!(tree.run(&["--link-journal=host", &uuid, "/bin/true"]).code, Some(1));
        assert_eq!(tree.run(&["--link-journal=try-host", &uuid, "/bin/true"]).code, Some(0));
    }
}

#[test]
fn t32_a_container_can_send_notifications() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let script = r#"use Socket; socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
        connect($s, sockaddr_un("/run/host/notify")) or die "connect: $!"; send($s, "READY=1", 0) or die "send: $!";"#;
    for users in [&[][..], &["-U"], &["-u", "nobody"]] {
        std::fs::write(tree.root.join("etc/passwd"), "nobody:x:65534:65534::/:/bin/sh\n").unwrap();
        let ran = tree.run(&[users, &["/usr/bin/perl", "-e", script]].concat());
        assert_eq!(ran.code, Some(0), "{users:?}: {ran:?}");
    }
}

#[test]
fn t35_what_holds_no_system_is_not_booted() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let file = tree.root.join("etc/os-release");
    std::fs::remove_file(&file).unwrap();
    let root = tree.root.to_str().unwrap();
    let boot = |value: Option<&str>| {
        let variables: Vec<_> = value.map(|value| ("SYSTEMD_NSPAWN_CHECK_OS_RELEASE", value)).into_iter().collect();
        run(&["nspawn", "-q", "--register=no", "-b", "-D", root], &variables)
    };
    for dangling in [false, true] {
        if dangling {
            std::os::unix::fs::symlink("../usr/lib/os-release", &file).unwrap();
        }
        for value in [None, Some("1"), Some("junk")] {
            let ran = boot(value);
            refused(&ran, &["-b"]);
            let why = if value == Some("junk") { "is not a boolean" } else { "os-release" };
            assert!(ran.stderr.contains(why), "{value:?}: {ran:?}");
        }
        // Then it is found out that there is no init either.
        let ran = boot(Some("0"));
        assert!(!ran.stderr.contains("os-release") && ran.stderr.contains("systemd"), "{ran:?}");
    }
}

#[test]
fn t36_words_of_a_boot_are_variables_or_arguments() {
    let _turn = turn();
    let tree = match debian() {
        Ok(tree) => tree.display().to_string(),
        Err(why) => return skip(&why),
    };
    // A script is the init, which prints what it got.
    let scratch = Scratch::new();
    let print = "env | grep -E '^(A_B|LEVEL|DOT|1X)=' | sort; for word; do echo \"[$word]\"; done";
    let init = scratch.file("init", &format!("#!/bin/sh\n{print}\n"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&init, mode).unwrap();
    let bind = format!("--bind-ro={}:/usr/lib/systemd/systemd", init.display());
    let first = ["nspawn", "-q", "--register=no", "--pipe", "-x", "-D", &tree, &bind, "--boot"];
    let words = ["LEVEL=debug", "a.b=c", "A-B=d e", "=x", "1X=y", "--an-option", "word"];
    let ran = run(&[&first[..], &words].concat(), &[]);
    assert_eq!(ran.stdout, "A_B=d e\nLEVEL=debug\n[a.b=c]\n[=x]\n[1X=y]\n[--an-option]\n[word]", "{ran:?}");
}
