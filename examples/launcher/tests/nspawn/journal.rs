//! `--forward-journal=`: what a machine says arrives on the host, and nothing stays that
//! was there for that alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::stand::{SKEP, has, skip, turn, until};
use crate::tree::{ALWAYS, Ran, Tree, run};

/// Entries as systemd-journald sends them (Journal Export Format), by a script.
const SEND: &str = r#"use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
    connect($s, sockaddr_un("/run/host/journal/socket")) or die "connect: $!";
    for my $n (1..$ARGV[0]) { my $time = 1700000000000000 + $n; print $s "__REALTIME_TIMESTAMP=$time\n__MONOTONIC_TIMESTAMP=$n\n" .
        "_BOOT_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=guest\nPRIORITY=6\nMESSAGE=entry $n\n\n"; } close($s)"#;

/// A receiver of the test's own: it says which version it is, keeps its configuration,
/// and what it is sent, and ends as it is told.
fn receiver(tree: &Tree, version: u32, fails: bool) -> String {
    let end = if fails { r#"print STDERR "no space\n"; exit 3;"# } else { "" };
    let script = format!(
        r#"#!/usr/bin/perl
use Socket; use IO::Handle;
if (grep {{ $_ eq "--version" }} @ARGV) {{ print "systemd {version} ({version}.9-1)\n+PAM\n"; exit 0; }}
open(my $in, "<", "/etc/systemd/journal-remote.conf"); open(my $to, ">", "/journal/kept"); print {{$to}} <$in>; $to->flush;
{end}
$SIG{{TERM}} = sub {{ exit 0 }};
socket(my $n, AF_UNIX, SOCK_DGRAM, 0); send($n, "READY=1", 0, sockaddr_un($ENV{{NOTIFY_SOCKET}}));
open(my $l, "+<&=", 3); accept(my $c, $l); print $to "$ENV{{LISTEN_FDS}} $ENV{{LISTEN_PID}} $$ @ARGV\n"; print {{$to}} <$c>; $to->flush;
sleep 100 while 1;
"#
    );
    let program = tree.scratch.file("bin/systemd-journal-remote", &script);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program.parent().unwrap().display().to_string()
}

fn with_receiver(tree: &Tree, place: &str, words: &[&str]) -> Ran {
    let path = format!("{place}:{}", std::env::var("PATH").unwrap());
    let root = tree.root.to_str().unwrap();
    run(&[&ALWAYS[..], &["-D", root], words].concat(), &[("PATH", &path)])
}

/// What of a socket's is left on the host.
fn sockets() -> Vec<PathBuf> {
    let names = std::fs::read_dir("/run").unwrap().flatten().map(|entry| entry.path());
    names.filter(|path| path.to_string_lossy().contains("/skep-journal-")).collect()
}

#[test]
fn entries_arrive_whole_in_a_file_or_a_directory() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("journalctl") || !has("perl") || !Path::new("/usr/lib/systemd/systemd-journal-remote").exists() {
        return skip("systemd-journal-remote, journalctl or perl is not installed");
    }
    let (file, directory) = (tree.scratch.path().join("one.journal"), tree.scratch.path().join("journal"));
    for users in [&["--private-users=no"][..], &["-U"], &["-U", "--private-network"], &["--as-pid2"]] {
        for (place, name, entries) in [(&file, "one.journal", "2000"), (&directory, "remote-web.journal", "7")] {
            let option = format!("--forward-journal={}", place.display());
            let ran = tree.run(&[users, &["-M", "web", &option, "/usr/bin/perl", "-e", SEND, entries]].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{users:?} {ran:?}");
            let found = if place.is_dir() { place.join(name) } else { place.clone() };
            let listed =
                Command::new("journalctl").args(["-o", "cat", "--no-pager", "--file"]).arg(&found).output().unwrap();
            let listed = String::from_utf8_lossy(&listed.stdout);
            let last = listed.lines().last().map(str::to_owned);
            assert_eq!(
                (listed.lines().count().to_string(), last),
                (entries.to_owned(), Some(format!("entry {entries}")))
            );
            std::fs::remove_file(found).unwrap();
        }
    }
    // Closed to others, as what is in it.
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    assert!(sockets().is_empty(), "{:?}", sockets());
}

#[test]
fn limits_are_given_on_where_they_are_known() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let directory = tree.scratch.path().join("journal");
    let option = format!("--forward-journal={}", directory.display());
    let words = [
        &option,
        "--forward-journal-max-use=1T",
        "--forward-journal-keep-free=1G",
        "--forward-journal-max-file-size=4M",
        "--forward-journal-max-files=1",
        "--forward-journal-max-files=7",
    ];
    let send = ["/usr/bin/perl", "-e", SEND, "1"];
    let old = with_receiver(&tree, &receiver(&tree, 252, false), &[&words[..], &send].concat());
    assert!(
        old.code == Some(1) && old.stderr.contains("--forward-journal-max-use=: ") && old.stderr.contains("252"),
        "{old:?}"
    );
    assert!(!directory.exists());
    let ran = with_receiver(&tree, &receiver(&tree, 257, false), &[&words[..], &send].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let kept = std::fs::read_to_string(directory.join("kept")).unwrap();
    let head = "[Remote]\nMaxUse=1099511627776\nKeepFree=1073741824\nMaxFileSize=4194304\nMaxFiles=7\n1 1 1 --output /journal --split-mode=host\n";
    assert!(kept.starts_with(head) && kept.contains("MESSAGE=entry 1\n"), "{kept}");
}

#[test]
fn a_start_that_fails_leaves_nothing_of_it() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let (file, directory) = (tree.scratch.path().join("one.journal"), tree.scratch.path().join("journal"));
    let option = |path: &Path| format!("--forward-journal={}", path.display());
    let bin = receiver(&tree, 257, false);
    // The machine's, where the receiver listens already and has made a file.
    for place in [&file, &directory] {
        let ran = with_receiver(&tree, &bin, &[&option(place), "/no-such-program"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("/no-such-program"), "{ran:?}");
        let _ = std::fs::remove_file(directory.join("kept"));
    }
    let kept = tree.scratch.path().join("kept");
    std::fs::remove_file(kept).unwrap();
    let _ = std::fs::remove_dir(&directory);
    // The receiver's own.
    let ran = with_receiver(&tree, &receiver(&tree, 257, true), &[&option(&file), "/bin/echo", "ran"]);
    assert!(ran.code == Some(1) && ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains("ended at once: exit code 3 (no space)") && ran.stderr.contains("; "), "{ran:?}");
    for (words, why) in [
        (vec![option(&directory.join("no/such"))], "; make the directory above it first"),
        (vec![option(Path::new("/etc/passwd"))], "ends in .journal"),
        (vec!["--forward-journal-max-use=1G".to_owned()], "say it with --forward-journal="),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["/bin/echo", "ran"]).collect();
        let ran = with_receiver(&tree, &bin, &words);
        assert!(ran.code == Some(1) && ran.stdout.is_empty() && ran.stderr.contains(why), "{ran:?}");
    }
    assert!(!file.exists() && sockets().is_empty(), "{:?}", sockets());
}

#[test]
fn without_a_receiver_the_error_says_so() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    // Hidden, where it is installed.
    let hide = "for place in /usr/lib/systemd /lib/systemd; do
            [ ! -e $place/systemd-journal-remote ] || mount --bind /dev/null $place/systemd-journal-remote; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", hide, "sh", SKEP]).args(ALWAYS).arg("-D");
    let option = format!("--forward-journal={}", tree.scratch.path().join("journal").display());
    let output = command.arg(&tree.root).args([&option, "/bin/echo", "ran"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("systemd-journal-remote is neither in $PATH nor in /usr/lib/systemd; install it"), "{said}");
    assert!(!tree.scratch.path().join("journal").exists());
}

#[test]
fn the_receiver_goes_with_a_launcher_that_is_killed() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let bin = receiver(&tree, 257, false);
    let option = format!("--forward-journal={}", tree.scratch.path().join("killed.journal").display());
    let mut launcher = Command::new(SKEP)
        .args(ALWAYS)
        .arg("-D")
        .arg(&tree.root)
        .args([&option, "/bin/sleep", "100"])
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let runs = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains("/journal/killed.journal\0")).count()
    };
    assert!(until(20, || runs() == 1), "{}", runs());
    assert!(until(20, || sockets().is_empty()), "the socket has a name for ever");
    assert!(launcher.try_wait().unwrap().is_none(), "it runs until it is killed");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert!(until(20, || runs() == 0), "{}", runs());
}

/// Nobody else decides where root's receiver writes.
#[test]
fn a_journal_is_not_led_elsewhere() {
    use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    if !has("perl") {
        return skip("perl is not installed");
    }
    let bin = receiver(&tree, 257, false);
    let top = tree.scratch.path();
    let directory = |name: &str, mode: u32, owner: u32| {
        let path = top.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        path
    };
    const OTHER: u32 = 54321;
    let (own, theirs, all) =
        (directory("own", 0o755, 0), directory("theirs", 0o755, OTHER), directory("all", 0o1777, 0));
    for (link, owner) in
        [(theirs.join("link"), 0), (all.join("theirs"), OTHER), (all.join("roots"), 0), (top.join("link"), 0)]
    {
        symlink(&own, &link).unwrap();
        lchown(&link, Some(owner), Some(owner)).unwrap();
    }
    directory("theirs/roots", 0o755, 0);
    directory("all/roots-own", 0o755, 0);
    symlink("theirs/link", top.join("by")).unwrap();
    let belongs = format!(" belongs to user {OTHER}, who can lead the journal elsewhere; name a directory");
    let open = "everybody can write in ";
    for (place, why) in [
        ("theirs", belongs.as_str()),
        ("theirs/new", &belongs),
        ("theirs/new.journal", &belongs),
        ("theirs/roots", &belongs),
        ("theirs/link", &belongs),
        ("all/theirs", &belongs),
        ("by", &belongs),
        ("all", open),
        ("all/new.journal", open),
    ] {
        let option = format!("--forward-journal={}", top.join(place).display());
        let ran = with_receiver(&tree, &bin, &[&option, "/bin/echo", "ran"]);
        assert!(ran.code == Some(1) && ran.stdout.is_empty() && ran.stderr.contains(why), "{place}: {ran:?}");
        assert!(!top.join("theirs/new").exists() && own.read_dir().unwrap().next().is_none(), "{place}");
    }
    for (place, written) in [
        ("own", "own"),
        ("link", "own"),
        ("all/roots", "own"),
        ("all/roots-own", "all/roots-own"),
        ("link/new", "own/new"),
    ] {
        let option = format!("--forward-journal={}", top.join(place).display());
        let ran = with_receiver(&tree, &bin, &[&option, "/usr/bin/perl", "-e", SEND, "1"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{place}: {ran:?}");
        let kept = top.join(written).join("kept");
        assert_eq!(kept.metadata().unwrap().uid(), 0, "{place}");
        std::fs::remove_file(kept).unwrap();
    }
}

#[test]
fn the_socket_of_a_launcher_that_was_killed_is_collected() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    // One that never says that it listens.
    let program = tree.scratch.file("bin/systemd-journal-remote", "#!/bin/sh\nexec sleep 100\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bin = program.parent().unwrap().display().to_string();
    let before = sockets();
    let mut launcher = Command::new(SKEP)
        .args(ALWAYS)
        .arg("-D")
        .arg(&tree.root)
        .args([
            &format!("--forward-journal={}", tree.scratch.path().join("one.journal").display()),
            "/bin/sleep",
            "100",
        ])
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let made = || sockets().into_iter().find(|path| !before.contains(path));
    assert!(until(20, || made().is_some_and(|path| path.join("socket").exists())));
    let made = made().unwrap();
    let gc = || {
        let output = Command::new(SKEP).arg("gc").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = format!("removed directory {}\n", made.display());
    assert!(!gc().contains(&said) && made.join("socket").exists(), "its owner lives");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert!(made.exists());
    assert!(gc().contains(&said) && !made.exists());
    assert!(!gc().contains(&said));
}
