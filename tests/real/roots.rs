//! Every kind of root, and what is mounted in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use skep::Command;
use skep::spec::{Bind, MountKind, Network, Tmpfs, UserNamespace, Volatile};
use skep::sys::wire::Blob;
use skep::sys::{Kernel as _, Linux, Op, OwnedSlots, Slot};
use skep_tests::{HostState, Scratch, is_root, run, skip, turn_to_start};

/// A shell in a tree whose `/usr` is the host's.
fn in_tree(root: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", script]).root(root).bind_ro("/usr", "/usr");
    command
}

#[test]
fn a_directory_is_the_root_and_can_be_written() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/etc/mark", "here\n");
    assert_eq!(run(&mut in_tree(&root, "cat /etc/mark; echo new > /srv/file; stat -c %u /etc/mark")), "here\n0\n");
    assert_eq!(std::fs::read_to_string(root.join("srv/file")).unwrap(), "new\n");
}

#[test]
fn a_range_maps_the_ids_of_the_root() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root has ranges");
    }
    let scratch = Scratch::new();
    let root = scratch.tree();
    run(&mut in_tree(&root, "mkdir -m 700 /srv/mine"));
    let metadata = std::fs::metadata(root.join("srv/mine")).unwrap();
    let ids = (std::os::unix::fs::MetadataExt::uid(&metadata), std::os::unix::fs::MetadataExt::gid(&metadata));
    assert_eq!(ids, (0, 0), "on disk the ids are those inside");
}

#[test]
fn a_read_only_root_is_read_only_below_too() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let script = "for f in /x /etc/x /srv/x /usr/x; do (: > $f) 2>/dev/null && echo wrote $f; done; : > /tmp/x; : > /run/x; echo end";
    assert_eq!(run(in_tree(&root, script).read_only(true)), "end\n");
}

#[test]
fn an_ephemeral_root_forgets() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/etc/mark", "old\n");
    let hash = |root: &std::path::Path| format!("{:?}", walk(root));
    let before = hash(&root);
    let mut command = in_tree(&root, "echo new > /etc/mark; cat /etc/mark; echo x > /srv/file; ls /srv");
    assert_eq!(run(command.ephemeral(true)), "new\nfile\n");
    assert_eq!(hash(&root), before, "nothing of it changed, not even a mount point was made");
}

#[test]
fn the_hosts_own_root_can_be_one_that_forgets() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "ls -d /usr/bin /etc; : > /tmp/x; grep -c . /etc/passwd"]).root("/").ephemeral(true);
    if is_root() {
        assert!(run(&mut command).starts_with("/etc\n/usr/bin\n"));
    } else {
        assert_eq!(command.status().unwrap_err().kind(), skep::ErrorKind::Unsupported);
    }
    // Cloned before anything covers it.
    let mut command = Command::new("ls");
    command.args(["-d", "/host/usr", "/host/proc"]).bind_ro("/", "/host");
    assert_eq!(run(&mut command), "/host/proc\n/host/usr\n");
}

/// Names, modes and contents below a directory.
fn walk(directory: &std::path::Path) -> Vec<(std::path::PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            std::fs::read(&path).unwrap()
        } else if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            Vec::new()
        };
        found.push((path.clone(), std::os::unix::fs::MetadataExt::mode(&metadata), content));
        if metadata.is_dir() {
            found.extend(walk(&path));
        }
    }
    found
}

#[test]
fn row_012_a_default_run_writes_nothing_into_the_image() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let before = format!("{:?}", walk(&root));
    run(&mut in_tree(&root, "true"));
    assert_eq!(format!("{:?}", walk(&root)), before);
    // A tree that lacks mount points gets them, as empty directories, and nothing else.
    let small = scratch.path().join("small");
    for (name, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")] {
        if Path::new("/").join(name).is_symlink() {
            scratch.directory("small");
            scratch.link(&format!("small/{name}"), target);
        }
    }
    scratch.file("small/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    scratch.file("small/dev/null", "MARKER");
    let before = walk(&small);
    run(&mut in_tree(&small, "true"));
    let (kept, made): (Vec<_>, Vec<_>) = walk(&small).into_iter().partition(|entry| before.contains(entry));
    assert_eq!(kept, before);
    let made: Vec<&str> = made.iter().map(|(path, _, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(made, ["proc", "run", "sys", "tmp", "usr"]);
    assert!(made.iter().all(|name| std::fs::read_dir(small.join(name)).unwrap().next().is_none()));
}

#[test]
fn volatile_roots() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/etc/mark", "here\n");
    let mut command = in_tree(&root, "cat /etc/mark; (: > /etc/x) 2>&1; : > /var/x; echo end");
    command.spec_mut().root.volatile = Volatile::State;
    let text = run(&mut command);
    assert!(text.starts_with("here\n") && text.contains("Read-only") && text.ends_with("end\n"), "{text}");
    assert!(!root.join("var/x").exists());

    let mut command = Command::new("sh");
    command.args(["-c", "ls /etc; : > /etc/x; (: > /usr/x) 2>&1; echo end"]);
    let text = run(&mut command);
    assert!(text.contains("passwd") && !text.contains("mark") && text.contains("Read-only"), "{text}");
}

#[test]
fn binds_are_what_they_say() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let (read_only, writable) = (scratch.directory("ro"), scratch.directory("rw"));
    scratch.file("ro/file", "text\n");
    let single = scratch.file("single", "one\n");
    std::fs::set_permissions(&writable, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "cat /a/b/ro/file /opt/one; (: > /a/b/ro/x) 2>&1; echo back > /a/rw/x; ls /empty | wc -l"])
        .bind_ro(&read_only, "/a/b/ro")
        .bind(&writable, "/a/rw")
        .bind_ro(&single, "/opt/one")
        .mount("/empty", MountKind::Tmpfs(Tmpfs::default()));
    let text = run(&mut command);
    assert!(text.starts_with("text\none\n") && text.contains("Read-only") && text.ends_with("0\n"), "{text}");
    assert_eq!(std::fs::read_to_string(writable.join("x")).unwrap(), "back\n");
}

#[test]
fn an_edit_on_the_host_shows_at_once() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let book = scratch.directory("book");
    scratch.file("book/page", "one\n");
    let mut command = Command::new("sh");
    command.args(["-c", "cat /book/page; read line; cat /book/page"]).bind_ro(&book, "/book");
    command.stdin(skep::Stdio::piped()).stdout(skep::Stdio::piped());
    let mut container = command.spawn().unwrap();
    let mut first = [0; 4];
    std::io::Read::read_exact(container.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"one\n");
    scratch.file("book/page", "two\n");
    std::io::Write::write_all(container.stdin.as_mut().unwrap(), b"go\n").unwrap();
    assert_eq!(container.wait_with_output().unwrap().stdout, b"two\n");
}

#[test]
fn row_057_a_submount_of_a_read_only_bind_is_read_only() {
    let Some(_turn) = turn_to_start() else { return };
    // /dev has /dev/shm below it on every host; bind it recursively.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ls -d /host/shm; (: > /host/shm/skep-must-not-exist) 2>&1; true"])
        .mount("/host", MountKind::Bind(bind("/dev")));
    let text = run(&mut command);
    assert!(text.contains("Read-only"), "{text}");
    assert!(!std::path::Path::new("/dev/shm/skep-must-not-exist").exists());
}

fn bind(source: &str) -> Bind {
    let mut bind = Bind::default();
    bind.source = source.into();
    bind
}

#[test]
fn a_bind_without_its_submounts() {
    let Some(_turn) = turn_to_start() else { return };
    let mut flat = bind("/dev");
    flat.recursive = false;
    let mut command = Command::new("sh");
    command.args(["-c", "grep -c ' /host' /proc/self/mountinfo"]).mount("/host", MountKind::Bind(flat));
    match command.output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n"),
        // Without privilege the kernel does not let go of what submounts hide.
        Err(error) => {
            assert!(!is_root(), "{error}");
            skip(&error.to_string());
        }
    }
}

#[test]
fn masked_and_read_only_paths() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let data = scratch.directory("data");
    scratch.file("data/secret", "hidden");
    scratch.file("data/dir/inner", "hidden");
    scratch.file("data/keep/file", "kept");
    let mut command = Command::new("sh");
    command
        .args(["-c", "cat /data/secret /data/dir/inner 2>/dev/null; ls /data/dir 2>/dev/null; cat /data/keep/file; (: > /data/keep/x) 2>&1; true"])
        .bind(&data, "/data")
        .mask("/data/dir");
    command.spec_mut().masked.push("/data/secret".into());
    command.spec_mut().read_only.push("/data/keep".into());
    let text = run(&mut command);
    assert!(text.starts_with("kept") && text.contains("Read-only") && !text.contains("hidden"), "{text}");
}

#[test]
fn row_072_tmpfs_is_bounded() {
    let Some(_turn) = turn_to_start() else { return };
    let mut small = Tmpfs::default();
    small.size = 1 << 20;
    let mut command = Command::new("sh");
    command
        .args(["-c", "head -c 5000000 /dev/zero 2>&1 > /small/x | grep -o 'No space left'; stat -c %s /small/x; df -P /small | tail -1 | awk '{print $2}'; df -P / /tmp /run /dev/shm | awk '{print $2}' | grep -v '[^0-9]'"])
        .mount("/small", MountKind::Tmpfs(small));
    let text = run(&mut command);
    let mut lines = text.lines();
    assert_eq!([lines.next(), lines.next(), lines.next()], ["No space left", "1048576", "1024"].map(Some));
    for line in lines {
        assert!(line.parse::<u64>().unwrap() <= 300_000, "{text}");
    }
    // Bytes and inodes of each that a plan makes; what a device node lies on is the host's.
    for (place, mounts) in skep_tests::everywhere("cat /proc/self/mountinfo") {
        let mut bounded = 0;
        for line in mounts.lines().filter(|line| line.contains(" - tmpfs ")) {
            assert!(line.contains(",size=") && line.contains(",nr_inodes="), "{line} in a {place}");
            bounded += 1;
        }
        assert!(bounded >= 5, "{mounts}");
    }
}

#[test]
fn subordinate_ids_through_the_helpers() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "cat /proc/self/uid_map; cat /proc/self/setgroups"]).user_namespace(UserNamespace::Subordinate);
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("65536") && text.contains("allow"), "{text}");
        }
        Err(error) => {
            assert_eq!(error.kind(), skep::ErrorKind::NotFound, "{error}");
            skip(&error.to_string());
        }
    }
}

#[test]
fn the_networks() {
    let Some(_turn) = turn_to_start() else { return };
    let own = run(Command::new("cat").arg("/proc/net/dev"));
    assert_eq!(own.lines().filter(|line| line.contains(':')).count(), 1, "{own}");
    let host = run(Command::new("cat").arg("/proc/net/dev").network(Network::Host));
    // The counters move; the names do not.
    let names = |text: &str| {
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(names(&host), names(&std::fs::read_to_string("/proc/net/dev").unwrap()));
    assert_eq!(run(Command::new("sh").args(["-c", "ls /sys 2>/dev/null | wc -l"]).network(Network::Host)), "0\n");
}

#[test]
fn every_namespace_can_be_the_callers() {
    let Some(_turn) = turn_to_start() else { return };
    for kind in ["pid", "ipc", "uts", "cgroup"] {
        let mut command = Command::new("readlink");
        command.arg(format!("/proc/self/ns/{kind}")).init(skep::spec::Init::Payload);
        let choice = &mut command.spec_mut().namespaces;
        let shared = skep::spec::Namespace::Host;
        match kind {
            "pid" => choice.pid = shared,
            "ipc" => choice.ipc = shared,
            "uts" => choice.uts = shared,
            _ => choice.cgroup = shared,
        }
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        // Without a group nothing would end all of its processes.
        if let Err(error) = command.plan() {
            assert!(kind == "pid" && error.kind() == skep::ErrorKind::Unsupported && !skep_tests::is_root(), "{error}");
            skip(&error.to_string());
            continue;
        }
        assert_eq!(run(&mut command).trim(), own.to_str().unwrap(), "{kind}");
    }
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/time").spec_mut().namespaces.time = skep::spec::Namespace::New;
    let own = std::fs::read_link("/proc/self/ns/time").unwrap();
    assert_ne!(run(&mut command).trim(), own.to_str().unwrap());
}

#[test]
fn roots_leave_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let before = HostState::look();
    for ephemeral in [false, true] {
        for read_only in [false, true] {
            run(in_tree(&root, "true").ephemeral(ephemeral).read_only(read_only));
        }
    }
    before.assert_unchanged();
}

/// Three layers, the bottom first, of which the middle one hides what is below; and a place
/// for changes, in the work directory's company.
fn layers(scratch: &Scratch) -> (Vec<std::path::PathBuf>, std::path::PathBuf) {
    let base = scratch.tree();
    for (path, content) in [
        ("root/etc/who", "base\n"),
        ("root/etc/base", "base\n"),
        ("root/etc/gone", "base\n"),
        ("root/opt/old/file", "base\n"),
        ("middle/etc/who", "middle\n"),
        ("middle/etc/middle", "middle\n"),
        ("middle/etc/passwd", "root:x:0:0::/root:/bin/sh\njoe:x:33:33::/:/bin/sh\n"),
        ("middle/opt/old/new", "middle\n"),
        ("top/etc/who", "top\n"),
    ] {
        scratch.file(path, content);
    }
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&scratch.path().join("middle/etc/gone"), kind, nix::sys::stat::Mode::empty(), 0).unwrap();
    let mut slots = OwnedSlots::new(1);
    slots.give(Slot(0), std::fs::File::open(scratch.path().join("middle/opt/old")).unwrap().into());
    let mark = Op::SetXattr { file: Slot(0), name: c"user.overlay.opaque", value: Blob(b"y") };
    if Linux::new().call(&mark, &mut slots.slots()).is_err() {
        skip("no attribute can be set here that hides a directory");
        std::fs::remove_file(scratch.path().join("root/opt/old/file")).unwrap();
    }
    for name in ["rw/data", "rw/work"] {
        scratch.directory(name);
    }
    (vec![base, scratch.path().join("middle"), scratch.path().join("top")], scratch.path().join("rw"))
}

/// A shell in these layers.
fn in_layers(layers: &[std::path::PathBuf], script: &str) -> Command {
    let (top, lower) = layers.split_last().unwrap();
    let mut command = in_tree(top, script);
    command.lower(lower);
    command
}

const SEEN: &str = "cat /etc/who /etc/base /etc/middle; ls /etc/gone /opt/old 2>/dev/null;";

#[test]
fn layers_are_one_root() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let (layers, rw) = layers(&scratch);
    let before = walk(scratch.path());
    let seen = "top\nbase\nmiddle\n/opt/old:\nnew\n";
    // Nowhere to write: it is read-only, as the mount says too.
    let script = format!("{SEEN} (: > /etc/x) 2>&1; grep ' / / ' /proc/self/mountinfo");
    let text = run(&mut in_layers(&layers, &script));
    assert!(text.starts_with(seen) && text.contains("Read-only"), "{text}");
    let line = text.lines().last().unwrap();
    assert!(line.contains(" - overlay ") && line.contains("userxattr"), "{line}");
    let attrs: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
    assert!(["ro", "nosuid", "nodev"].iter().all(|word| attrs.contains(word)), "{line}");
    // In memory, and forgotten.
    let script = format!("{SEEN} echo mine > /etc/base; rm -r /opt/old; mkdir /opt/old; ls /opt/old; cat /etc/base");
    let text = run(in_layers(&layers, &script).ephemeral(true));
    assert_eq!(text, format!("{seen}mine\n"));
    assert_eq!(walk(scratch.path()), before, "nothing of any layer changed");
    // Kept, and seen again; the layers stay as they are.
    let kept = |script: &str| {
        let mut command = in_layers(&layers, script);
        command.keep_changes(rw.join("data")).spec_mut().root.work = Some(rw.join("work"));
        command
    };
    assert_eq!(run(&mut kept(&script)), format!("{seen}mine\n"));
    assert_eq!(std::fs::read_to_string(rw.join("data/etc/base")).unwrap(), "mine\n");
    assert_eq!(run(&mut kept("cat /etc/base; ls /opt/old")), "mine\n");
    for (layer, name) in layers.iter().zip(["root", "middle", "top"]) {
        let own = before.iter().filter(|entry| entry.0.starts_with(scratch.path().join(name)));
        assert!(walk(layer).iter().eq(own.skip(1)), "{name} stays as it was");
    }
}

#[test]
fn a_start_looks_at_the_layers_as_one() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("an ordinary user has one id inside");
    }
    let scratch = Scratch::new();
    let (layers, rw) = layers(&scratch);
    let joe = || skep::spec::User::Name("joe".to_owned());
    assert_eq!(run(in_layers(&layers, "id -u").user(joe())), "33\n", "of the middle layer's users");
    // What was changed lies over them.
    scratch.file("rw/data/etc/passwd", "joe:x:34:34::/:/bin/sh\n");
    let mut command = in_layers(&layers, "id -u");
    command.user(joe()).keep_changes(rw.join("data")).spec_mut().root.work = Some(rw.join("work"));
    assert_eq!(run(&mut command), "34\n");
}

#[test]
fn each_layer_shows_the_ids_of_its_own_top() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root maps ids");
    }
    let scratch = Scratch::new();
    let (layers, rw) = layers(&scratch);
    // The middle one belongs to a range, and who made it meant its own ids.
    let status = std::process::Command::new("chown").args(["-R", "1048609:1048609"]).arg(&layers[1]).status();
    assert!(status.unwrap().success());
    std::os::unix::fs::chown(&layers[1], Some(1 << 20), Some(1 << 20)).unwrap();
    let script = "stat -c %u:%g /etc/who /etc/base /etc/middle /; echo x > /etc/mine; stat -c %u /etc/mine";
    let mut command = in_layers(&layers, script);
    command.keep_changes(rw.join("data")).ownership(skep::spec::Ownership::Map);
    command.spec_mut().root.work = Some(rw.join("work"));
    let mapped = match command.output() {
        // Linux before 5.19 lays nothing over such mounts.
        Err(error) => return skip(&error.to_string()),
        Ok(output) => skep_tests::checked(output),
    };
    assert_eq!(mapped, "0:0\n0:0\n33:33\n0:0\n0\n");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(rw.join("data/etc/mine")).unwrap());
    assert_eq!(owner, 0, "as the directory for changes");
    // A layer may be others' as well, and is given to nobody.
    let error = in_layers(&layers, "true").ownership(skep::spec::Ownership::Chown).status().unwrap_err();
    assert!(error.to_string().contains("several layers"), "{error}");
}

#[test]
fn a_root_is_made_of_a_template_once() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let template = scratch.tree();
    scratch.file("root/etc/mark", "template\n");
    let made = scratch.path().join("made");
    let of_template = |script: &str| {
        let mut command = in_tree(&made, script);
        command.template(&template);
        command
    };
    assert_eq!(run(&mut of_template("cat /etc/mark; echo mine > /etc/mark")), "template\n");
    assert_eq!(run(&mut of_template("cat /etc/mark")), "mine\n", "it is made once");
    assert_eq!(std::fs::read_to_string(template.join("etc/mark")).unwrap(), "template\n");
    let names = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(names, 2, "nothing else is left beside it");
}

#[test]
fn a_bind_of_the_tree_itself_is_as_the_root() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/srv/inner/mark", "inner\n");
    scratch.link("root/srv/out", "/etc");
    let mut spec = in_tree(&root, "cat /data/mark; stat -c %u /data; echo x > /data/new; cat /srv/inner/new").spec();
    let bind =
        |source: &str, target: &str| skep::dialect::nspawn::value::bind(format!("+{source}:{target}"), false).unwrap();
    spec.mounts.push(bind("/srv/inner", "/data"));
    let mut command = Command::from(spec.clone());
    let output = run(&mut command);
    assert_eq!(output, "inner\n0\nx\n");
    // No link of the tree leads out; what is thrown away is not written after all.
    spec.mounts.push(bind("/srv/out", "/other"));
    assert!(Command::from(spec.clone()).spawn().is_err());
    spec.mounts.pop();
    spec.root.ephemeral = true;
    let error = Command::from(spec).spawn().unwrap_err();
    assert!(error.to_string().contains("of the tree itself"), "{error}");
}
