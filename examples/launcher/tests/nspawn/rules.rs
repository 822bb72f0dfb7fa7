//! Options that contradict each other, rule by rule (section 1.6 of our list of what
//! `systemd-nspawn` does): each is an error with 1, says which option it is about and what
//! to do, and nothing runs; and what is no contradiction runs.

use std::path::Path;

use crate::stand::{has, skip, turn};
use crate::tree::{ALWAYS, Ran, Tree, refused, run};

/// An error that says both, and nothing that ran.
#[track_caller]
fn says_no(ran: &Ran, words: &[&str], parts: &[&str]) {
    refused(ran, words);
    assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{words:?}, {parts:?}: {ran:?}");
    // What to do comes behind a semicolon, or is a sentence of its own.
    assert!(ran.stderr.contains("; ") || ran.stderr.contains("). "), "no remedy: {ran:?}");
}

const HOST: &str = "--network-namespace-path=/proc/self/ns/net";

#[test]
fn what_cannot_be_meant_together_is_refused() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let root = tree.root.display().to_string();
    let [image, template, again] = ["--image=", "--template=", "-D"].map(|option| format!("{option}{root}"));
    let rooted = format!("--bind={root}:/");
    let rules: &[(&[&str], &[&str])] = &[
        // At most one root.
        (&[&image], &["--image=", "--directory=", "leave one of them out"]),
        (&["--mstack=/"], &["--mstack=", "--directory=", "leave one of them out"]),
        (&[&template, &again, "-x"], &["--template", "--ephemeral"]),
        (&[&template, &image], &["--template", "--image="]),
        // What is thrown away has no journal to keep.
        (&["-x", "--link-journal=host"], &["ephemeral", "--link-journal="]),
        (&["-x", "--link-journal=guest"], &["ephemeral", "--link-journal="]),
        // An init is alone.
        (&["--boot", "--as-pid2"], &["--as-pid2", "--boot"]),
        (&["--boot", "--ambient-capability=CAP_NET_RAW"], &["--ambient-capability=", "--boot"]),
        (&["--ambient-capability=CAP_SYS_TIME"], &["CAP_SYS_TIME", "--ambient-capability="]),
        (&["--ambient-capability=all"], &["--ambient-capability=", "`all`"]),
        // A network that is entered is as it is.
        (&[HOST, "-n"], &["entered", "--network-veth"]),
        (&[HOST, "--network-bridge=br0"], &["entered", "--network-bridge="]),
        (&[HOST, "--network-zone=foo"], &["entered", "--network-zone="]),
        (&[HOST, "--network-interface=lo"], &["entered", "--network-interface="]),
        (&[HOST, "--network-macvlan=lo"], &["entered", "--network-macvlan="]),
        (&[HOST, "--network-ipvlan=lo"], &["entered", "--network-ipvlan="]),
        (&[HOST, "--network-veth-extra=foo"], &["entered", "--network-veth-extra="]),
        (&[HOST, "--port=80"], &["entered", "--port="]),
        (&["--network-bridge=br0", "--network-zone=foo"], &["one bridge", "--network-zone="]),
        (&["--port=80"], &["own", "--port="]),
        // A tree that stays as it is, is given to nobody.
        (&["--read-only", "--private-users=pick", "--private-users-ownership=chown"], &["read-only", "ownership="]),
        (&["--volatile=yes", "--private-users=pick", "--private-users-ownership=chown"], &["volatile", "ownership="]),
        (&["--volatile=state", "--private-users=pick", "--private-users-chown"], &["volatile", "ownership="]),
        (&["--volatile=overlay", "-U", "--private-users-ownership=chown"], &["volatile", "ownership="]),
        // The root is not mounted over.
        (&[&rooted, "-U"], &["a mount on / itself", "--bind="]),
        (&["--tmpfs=/"], &["a mount on / itself", "--tmpfs="]),
        (&["--overlay=/usr::/"], &["a mount on / itself", "--overlay="]),
        // Users.
        (&["--private-users=managed"], &["managed", "--private-network"]),
        (&["--private-users=managed", "--private-network=no"], &["managed", "--private-network"]),
        (&["--private-users=managed", HOST], &["managed", "--private-network"]),
        (&["--bind-user=root", "-U"], &["root", "--bind-user="]),
        (&["--bind-user-shell=yes"], &["no user", "--bind-user-shell="]),
        (&["--bind-user-group=root"], &["no user", "--bind-user-group="]),
        (&["--bind=/mnt:/mnt:idmap"], &["no user namespace", "--bind="]),
        (&["--bind=/mnt:/mnt:rootidmap"], &["no user namespace", "--bind="]),
        (&["--bind-ro=/mnt:/mnt:owneridmap"], &["no user namespace", "--bind-ro="]),
        // A machine's leftovers.
        (&["--cleanup", "-x"], &["--cleanup", "--ephemeral"]),
    ];
    for (options, parts) in rules {
        says_no(&tree.run(&[options, &["/bin/echo", "ran"][..]].concat()), options, parts);
    }
}

#[test]
fn a_user_of_the_host_needs_ids_that_are_not_the_hosts() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let Some(user) = tree.user_of_host() else { return };
    let bind = format!("--bind-user={user}");
    // `yes` of a tree that is root's begins at 0 as well.
    for users in ["--private-users=no", "--private-users=identity", "--private-users=yes", "--private-users=0:65536"] {
        let options = [bind.as_str(), users];
        says_no(&tree.run(&[&options[..], &["/bin/echo", "ran"]].concat()), &options, &[&user, "--bind-user="]);
    }
}

#[test]
fn roots_and_leftovers_that_are_not_said() {
    let _turn = turn();
    if Tree::new().is_none() {
        return;
    }
    let rules: &[(&[&str], &[&str])] = &[
        (&["-D", "/", "/bin/echo", "ran"], &["the host's own root", "--directory="]),
        (&["--template=/usr", "-i", "/dev/null", "/bin/echo", "ran"], &["--template", "--image="]),
        (&["--template=/usr", "/bin/echo", "ran"], &["--template", "--directory=", "--machine="]),
        (&["--mstack=/usr", "-i", "/dev/null", "/bin/echo", "ran"], &["--mstack=", "--image="]),
        (&["--mstack=/usr", "--template=/usr", "/bin/echo", "ran"], &["--mstack=", "--template"]),
        (&["--mstack=/usr", "-x", "/bin/echo", "ran"], &["--mstack=", "--ephemeral", "--volatile=overlay"]),
        (&["--cleanup"], &["--cleanup", "--machine="]),
    ];
    for (words, parts) in rules {
        let all = [&["nspawn", "-q", "--register=no"], *words].concat();
        says_no(&run(&all, &[]), &all, parts);
    }
}

#[test]
fn namespaces_that_are_shared_leave_no_room_for_an_init() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let root = tree.root.to_str().unwrap();
    for kind in ["SYSTEMD_NSPAWN_SHARE_NS_PID", "SYSTEMD_NSPAWN_SHARE_NS_UTS", "SYSTEMD_NSPAWN_SHARE_SYSTEM"] {
        for init in ["--boot", "--as-pid2"] {
            let words = [&ALWAYS[..], &["-D", root, init, "/bin/echo", "ran"]].concat();
            says_no(&run(&words, &[(kind, "1")]), &words, &[kind, "--boot or --as-pid2"]);
        }
        // Nobody who asks for the machine gets the host.
        let name = format!("shared-{}", std::process::id());
        let list = format!("{} list; true", crate::stand::SKEP);
        let words = ["nspawn", "--keep-unit", "-q", "--pipe", "--bind-ro=/usr", "-D", root, "-M", &name];
        let script = format!("(sleep 1; kill $$) & exec {} {} /bin/sleep 5", crate::stand::SKEP, words.join(" "));
        let mut child = std::process::Command::new("sh").args(["-c", &script]).env(kind, "1").spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
        let listed = std::process::Command::new("sh").args(["-c", &list]).output().unwrap();
        child.wait().unwrap();
        assert!(!String::from_utf8_lossy(&listed.stdout).contains(&name), "{kind}: {listed:?}");
    }
}

#[test]
fn files_of_the_kernel_are_not_for_a_user_namespace() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    const VARIABLE: &str = "SYSTEMD_NSPAWN_API_VFS_WRITABLE";
    let root = tree.root.to_str().unwrap();
    for (value, options, runs) in [
        ("1", &["-U"][..], false),
        ("1", &["-U", "--private-network"], false),
        ("1", &["--private-users=identity"], false),
        ("network", &["-U"], false),
        ("network", &["-U", "--private-network"], true),
        ("network", &["--private-users=no"], true),
        ("1", &["--private-users=no"], true),
        ("0", &["-U"], true),
    ] {
        let words = [&ALWAYS[..], &["-D", root], options, &["/bin/echo", "ran"]].concat();
        let ran = run(&words, &[(VARIABLE, value)]);
        match runs {
            true => assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran"), "{value} {options:?}: {ran:?}"),
            false => says_no(&ran, &words, &["user namespace", VARIABLE]),
        }
    }
}

/// What a stricter reading would refuse, and the original does not.
#[test]
fn what_only_looks_like_a_contradiction_runs() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    for options in [
        &["-x", "--link-journal=try-host"][..],
        &["-x", "--link-journal=try-guest"],
        &["-x", "--link-journal=auto"],
        &["-x", "-j"],
        &["-x", "--read-only"],
        &[HOST, "--private-network"],
        &["--private-users=managed", "--private-network"],
        &["--read-only", "--private-users=pick", "--private-users-ownership=map"],
        &["--volatile=overlay", "-U"],
        &["--ambient-capability=CAP_SYS_TIME", "--capability=CAP_SYS_TIME"],
        &["--drop-capability=CAP_NET_ADMIN", "--private-network"],
        &["--private-users=no", "--private-users-ownership=off"],
    ] {
        assert_eq!(tree.says(options, "echo ran"), "ran", "{options:?}");
    }
    let host = |options: &[&str]| run(&[&["nspawn", "-q", "--register=no", "-D", "/"], options].concat(), &[]);
    for volatile in ["-x", "--volatile=yes", "--volatile=state", "--volatile=overlay"] {
        let ran = host(&[volatile, "--pipe", "/bin/sh", "-c", "(: > /etc/skep-was-here) 2>/dev/null; echo ran"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran"), "{volatile}: {ran:?}");
        assert!(!Path::new("/etc/skep-was-here").exists(), "{volatile}");
    }
}

#[test]
fn properties_of_a_unit_are_a_notice_with_keep_unit_and_quiet_in_a_pipe() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let root = tree.root.to_str().unwrap();
    let words = ["nspawn", "--register=no", "--keep-unit", "--bind-ro=/usr", "-D", root];
    let of_unit = ["--slice=a.slice", "--property=Description=x", "--console=read-only", "/bin/echo", "ran"];
    let ran = run(&[&words[..], &of_unit].concat(), &[]);
    assert!(ran.code == Some(0) && ran.stdout == "ran", "{ran:?}");
    assert!(ran.stderr.contains("--slice= has no effect") && ran.stderr.contains("Spawning container"), "{ran:?}");
    let ran = run(&[&words[..], &["--pipe", "/bin/echo", "ran"]].concat(), &[]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "ran", ""));
}

/// A terminal that a pipe hands on is one to type into.
#[test]
fn a_pipe_that_is_a_terminal_is_warned_of() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("script") {
        return skip("script(1) is not installed");
    }
    let words = [&ALWAYS[..], &["-D", tree.root.to_str().unwrap(), "/bin/echo", "ran"]].concat();
    let line = format!("{} {}", crate::stand::SKEP, words.join(" "));
    let output = std::process::Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("--pipe gives the container your terminal") && said.contains("ran"), "{said}");
}

#[test]
fn a_template_makes_the_tree_of_a_machine() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    let name = format!("skep-template-{}", std::process::id());
    let made = Path::new("/var/lib/machines").join(&name);
    let template = format!("--template={}", tree.root.display());
    let start = |script: &str| run(&[&ALWAYS[..], &[&template, "-M", &name, "/bin/sh", "-c", script]].concat(), &[]);
    let first = start("echo first > /marker; hostname");
    let second = start("cat /marker");
    let _ = std::fs::remove_dir_all(&made);
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), name.as_str()), "{first:?}");
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "first"), "{second:?}");
    assert!(!tree.root.join("marker").exists());
}
