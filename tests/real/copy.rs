//! Files that go into a container and come out of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use skep::spec::UserNamespace;
use skep::sys::Errno;
use skep::{Command, Container, CopyOptions, ErrorKind};
use skep_tests::{HostState, Scratch, is_root, skip, turn_to_start};

fn started(command: &mut Command) -> Container {
    command.spawn().unwrap_or_else(|error| panic!("start: {error}"))
}

/// A container whose payload does `script` and then waits.
fn doing(script: &str) -> Container {
    let container = started(Command::new("sh").args(["-c", &format!("{script}\n: > /tmp/made; exec sleep 1000")]));
    let end = Instant::now() + Duration::from_secs(20);
    while container.read_file("/tmp/made", 0).is_err() {
        assert!(Instant::now() < end, "the payload is not ready");
        std::thread::sleep(Duration::from_millis(5));
    }
    container
}

fn inside(container: &Container, script: &str) -> String {
    let output = container.exec("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn options() -> CopyOptions {
    CopyOptions::new()
}

#[test]
fn a_file_goes_in_and_comes_out() {
    let Some(_turn) = turn_to_start() else { return };
    let before = HostState::look();
    let scratch = Scratch::new();
    let container =
        doing("umask 0; mkdir /tmp/d; echo old >/tmp/d/there; ln -s there /tmp/d/link; ln -s /tmp/d /tmp/far");
    let file = scratch.file("file", "hello\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4751)).unwrap();
    let copied = container.copy_in(&file, "/tmp/d/new", &options()).unwrap();
    assert_eq!((copied.entries, copied.bytes), (1, 6));
    // Of the container's root, without the set-id bit.
    assert_eq!(inside(&container, "cat /tmp/d/new; stat -c '%u %g %a' /tmp/d/new"), "hello\n0 0 751");
    // A file takes a file's place, a link's itself.
    container.copy_in(&file, "/tmp/d/there", &options()).unwrap();
    container.copy_in(&file, "/tmp/d/link", &options()).unwrap();
    assert_eq!(inside(&container, "cat /tmp/d/there; stat -c %F /tmp/d/link"), "hello\nregular file");
    container.copy_in(&file, "/tmp/d/set", &options().keep_set_id(true)).unwrap();
    assert_eq!(inside(&container, "stat -c %a /tmp/d/set"), "4751");
    let out = scratch.path().join("out");
    inside(&container, "chmod 6777 /tmp/d/new");
    assert_eq!(container.copy_out("/tmp/d/new", &out, &options()).unwrap().bytes, 6);
    let data = std::fs::metadata(&out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), b"hello\n");
    assert_eq!((data.uid(), data.mode() & 0o7777), (nix::unistd::geteuid().as_raw(), 0o755));
    // What is refused, and what it leaves: nothing.
    let refused = |path: &str| container.copy_in(&file, path, &options()).unwrap_err();
    assert_eq!(refused("/tmp/far/x").kind(), ErrorKind::SafetyViolation, "an absolute link");
    assert_eq!(refused("/tmp/d").errno(), Some(Errno::EISDIR), "{}", refused("/tmp/d"));
    assert_eq!(refused("/tmp/none/x").kind(), ErrorKind::NotFound);
    for path in ["tmp/x", "/", "/tmp/d/", "/tmp/.."] {
        assert_eq!(refused(path).kind(), ErrorKind::InvalidSpec, "{path}");
    }
    let error = container.copy_in(&file, "/tmp/d/more", &options().bytes(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooMuch);
    assert!(error.to_string().contains("beyond the 5 bytes"), "{error}");
    assert_eq!(container.copy_in(&file, "/usr/x", &options()).unwrap_err().errno(), Some(Errno::EROFS));
    assert_eq!(inside(&container, "ls -A /tmp/d"), "link\nnew\nset\nthere");
    assert_eq!(container.copy_out("/tmp/nothing", &out, &options()).unwrap_err().kind(), ErrorKind::NotFound);
    let mut process = container.exec("true").spawn().unwrap();
    process.wait().unwrap();
    container.kill(9).unwrap();
    let mut container = container;
    container.wait().unwrap();
    assert_eq!(container.copy_in(&file, "/tmp/x", &options()).unwrap_err().kind(), ErrorKind::Ended);
    drop((container, process));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2, "no temporary file");
    before.assert_unchanged();
}

#[test]
fn a_directory_goes_whole_or_not_at_all() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    scratch.file("tree/a/b/c", "deep");
    scratch.file("tree/one", "1");
    symlink("a/b", scratch.path().join("tree/link")).unwrap();
    symlink("/etc/passwd", scratch.path().join("tree/out")).unwrap();
    let tree = scratch.path().join("tree");
    let container = doing("");
    let copied = container.copy_in(&tree, "/tmp/tree", &options()).unwrap();
    assert_eq!((copied.entries, copied.bytes), (7, 5));
    let listing = "cd /tmp/tree; find . -printf '%p %y %U %l\\n' | sort";
    assert_eq!(
        inside(&container, listing),
        ". d 0 \n./a d 0 \n./a/b d 0 \n./a/b/c f 0 \n./link l 0 a/b\n./one f 0 \n./out l 0 /etc/passwd"
    );
    let error = container.copy_in(&tree, "/tmp/tree", &options()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EEXIST), "{error}");
    for (options, word) in
        [(options().depth(2), "deeper than 2"), (options().entries(6), "more than 6"), (options().bytes(4), "4 bytes")]
    {
        let error = container.copy_in(&tree, "/tmp/part", &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooMuch);
        assert!(error.to_string().contains(word) && error.left_behind().is_empty(), "{error}");
    }
    container.copy_in(&tree, "/tmp/exact", &options().depth(3).entries(7).bytes(5)).unwrap();
    assert_eq!(inside(&container, "ls -A /tmp"), "exact\nmade\ntree");
    // Out again: the absolute link is a trap there.
    let out = scratch.path().join("back");
    let error = container.copy_out("/tmp/tree", &out, &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SafetyViolation, "{error}");
    assert!(error.to_string().contains("leads out"), "{error}");
    inside(&container, "rm /tmp/tree/out; ln -s ../one /tmp/tree/a/up");
    assert_eq!(container.copy_out("/tmp/tree", &out, &options()).unwrap().entries, 7);
    assert_eq!(std::fs::read(out.join("link/c")).unwrap(), b"deep");
    assert_eq!(std::fs::read(out.join("a/up")).unwrap(), b"1");
    for (make, word) in [("mkfifo /tmp/tree/x", "a FIFO"), ("ln -s .. /tmp/tree/x", "leads out")] {
        inside(&container, make);
        let error = container.copy_out("/tmp/tree", scratch.path().join("not"), &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SafetyViolation);
        assert!(error.to_string().contains(word), "{error}");
        inside(&container, "rm /tmp/tree/x");
    }
    // A mount below what is copied is not part of it.
    let error = container.copy_out("/dev", scratch.path().join("not"), &options()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SafetyViolation | ErrorKind::System), "{error}");
    let mut names: Vec<_> =
        std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["back", "tree"], "nothing else stays");
}

#[test]
fn what_is_made_belongs_to_whom_it_shall() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let tree = scratch.file("tree/file", "x");
    let tree = tree.parent().unwrap();
    symlink("file", tree.join("link")).unwrap();
    std::fs::set_permissions(tree.join("file"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let root = scratch.tree();
    let mut command = Command::new("sleep");
    command.arg("1000").root(&root).bind_ro("/usr", "/usr");
    let users = if is_root() { 65_536 } else { 1 };
    let container = match command.spawn() {
        Ok(container) => container,
        Err(error) => panic!("{error}"),
    };
    for (path, name) in [("/srv/tree", "in the root file system"), ("/tmp/tree", "in a tmpfs")] {
        if path.starts_with("/srv") && inside(&container, "touch /srv/x 2>/dev/null || echo no") == "no" {
            continue;
        }
        container.copy_in(tree, path, &options()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(inside(&container, &format!("stat -c %u:%g {path} {path}/file")), "0:0\n0:0", "{name}");
        let other = format!("{path}-other");
        let owned = container.copy_in(tree, &other, &options().owner(5, 6));
        if users > 1 {
            owned.unwrap_or_else(|error| panic!("{name}: {error}"));
            let stat = format!("stat -c %u:%g {other} {other}/file {other}/link");
            assert_eq!(inside(&container, &stat), "5:6\n5:6\n5:6", "{name}");
            // Read with the rights of the container's root.
            assert_eq!(inside(&container, &format!("stat -c %a {other}/file")), "600", "{name}");
            container.copy_out(&other, scratch.path().join(&path[1..4]), &options()).unwrap();
        } else {
            let error = owned.unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EINVAL), "{error}");
            assert!(error.to_string().contains("must be mapped"), "{error}");
            assert_eq!(inside(&container, &format!("ls -d {other} 2>/dev/null || echo none")), "none");
        }
    }
}

/// There is nobody to send then: this process does it itself.
#[test]
fn without_a_user_namespace_it_is_done_here() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root starts one without a user namespace");
    }
    let scratch = Scratch::new();
    let file = scratch.file("file", "x");
    let container = started(Command::new("sleep").arg("1000").user_namespace(UserNamespace::Host));
    container.copy_in(&file, "/tmp/copy", &options().owner(7, 8)).unwrap();
    assert_eq!(inside(&container, "stat -c %u:%g /tmp/copy"), "7:8");
    container.copy_out("/tmp/copy", scratch.path().join("out"), &options()).unwrap();
    assert_eq!(std::fs::metadata(scratch.path().join("out")).unwrap().uid(), 0);
}

/// A copy whose maker was killed goes with the next one into that directory, on
/// either side; one whose maker lives stays, and so does what only looks like one.
#[test]
fn what_a_killed_copy_has_left_goes_with_the_next() {
    let Some(_turn) = turn_to_start() else { return };
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace: String = namespace.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own = own.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    let unknown = ".skep-copy-0123456789abcdef";
    let left = format!("{unknown}@{}-1-{namespace}", dead.id());
    let kept = [
        format!("{unknown}@{}-{own}-{namespace}", std::process::id()),
        format!("{unknown}@{}-1-7", dead.id()),
        format!("{unknown}@{}-1", dead.id()),
        unknown.to_owned(),
    ];
    let scratch = Scratch::new();
    scratch.file(&format!("out/{left}/sub/file"), "half");
    kept.iter().for_each(|name| drop(scratch.file(&format!("out/{name}"), "")));
    let container = doing(&format!("mkdir /tmp/d; cd /tmp/d; echo half >{left}; touch {}", kept.join(" ")));
    container.copy_in(scratch.file("file", "x"), "/tmp/d/new", &options()).unwrap();
    container.copy_out("/tmp/d/new", scratch.path().join("out/new"), &options()).unwrap();
    let mut expected: Vec<String> = kept.into_iter().chain(["new".to_owned()]).collect();
    expected.sort();
    let names = std::fs::read_dir(scratch.path().join("out")).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, expected);
    let mut names: Vec<String> = inside(&container, "ls -A /tmp/d").lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, expected);
}

/// The payload swaps what has the names, as fast as it can.
#[test]
fn a_payload_that_races_gets_nowhere() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let canary = scratch.file("canary", "the host's");
    let canary_path = canary.display().to_string();
    let file = scratch.file("file", "copied");
    let tree = scratch.file("tree/d/x", "copied");
    let tree = tree.parent().unwrap().parent().unwrap().to_owned();
    let script = format!(
        "mkdir -p /tmp/r/d /tmp/r/spare; echo inside >/tmp/canary
        (while :; do
            ln -s {canary_path} /tmp/r/n 2>/dev/null; mv -T /tmp/r/n /tmp/r/entry 2>/dev/null
            ln -s ../canary /tmp/r/n 2>/dev/null; mv -T /tmp/r/n /tmp/r/entry 2>/dev/null
            rm -rf /tmp/r/entry; mkfifo /tmp/r/entry 2>/dev/null
            rm -rf /tmp/r/entry; echo ours >/tmp/r/entry
        done) &
        (while :; do
            mv /tmp/r/d /tmp/r/away 2>/dev/null; ln -s / /tmp/r/d 2>/dev/null
            rm -f /tmp/r/d; mv /tmp/r/away /tmp/r/d 2>/dev/null
            for made in /tmp/r/.skep-copy-*; do mv \"$made\" /tmp/r/spare/ 2>/dev/null; done
        done) &"
    );
    let container = doing(&script);
    let end = Instant::now() + Duration::from_secs(4);
    let (mut done, mut failed) = (0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    while Instant::now() < end {
        let one = Instant::now();
        let out = scratch.path().join("out");
        let results = [
            container.copy_in(&file, "/tmp/r/entry", &options()),
            container.copy_in(&file, "/tmp/r/d/entry", &options()),
            container.copy_in(&tree, "/tmp/r/tree", &options()),
            container.copy_out("/tmp/r/entry", scratch.path().join("got"), &options()),
            container.copy_out("/tmp/r", &out, &options().depth(4).entries(200)),
        ];
        if let Ok(got) = std::fs::read_to_string(scratch.path().join("got")) {
            assert!(["ours\n", "copied", "inside\n", ""].contains(&got.as_str()), "{got:?}");
        }
        assert!(one.elapsed() < Duration::from_secs(20), "nothing blocks: {:?}", one.elapsed());
        for result in results {
            match result {
                Ok(_) => done += 1,
                Err(error) => {
                    failed += 1;
                    kinds.insert(format!("{:?} {:?}", error.kind(), error.errno()));
                }
            }
        }
        let _ = std::fs::remove_dir_all(&out);
        let _ = container.exec("rm").args(["-rf", "/tmp/r/tree", "/tmp/r/spare"]).status();
    }
    println!("{done} copies, {failed} refused: {kinds:?}");
    assert!(done > 0 && failed > 0);
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "the host's");
    assert_eq!(inside(&container, "cat /tmp/canary"), "inside");
    assert!(!Path::new("/entry").exists() && !Path::new("/tmp/r").exists(), "nothing of it is in the host's root");
}
