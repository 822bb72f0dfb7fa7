//! Trees and Specs that want to reach the host: each must fail, or stay inside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use skep::spec::{MountKind, Tmpfs};
use skep::{Command, ErrorKind};
use skep_tests::{HostState, Scratch, has, is_root, run, skip, turn_to_start};

fn in_tree(root: &Path) -> Command {
    let mut command = Command::new("/usr/bin/true");
    command.root(root).bind_ro("/usr", "/usr");
    command
}

/// Names and times of a directory.
fn listing(directory: &Path) -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
        .collect();
    entries.sort();
    entries
}

#[test]
fn row_001_002_targets_through_links_stay_inside() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let outside = scratch.directory("outside");
    scratch.file("outside/mark", "x");
    let before = listing(&outside);
    let climb = format!("{}/outside", "../".repeat(20) + scratch.path().to_str().unwrap().trim_start_matches('/'));
    for (name, target) in [
        ("abs", outside.to_str().unwrap()),
        ("up", &climb),
        ("slash", "/"),
        ("dots", "../../.."),
        ("data2", "../../../.."),
    ] {
        scratch.link(&format!("root/{name}"), target);
        for target in [format!("/{name}"), format!("/{name}/a"), format!("/{name}/a/b/c")] {
            let mut command = in_tree(&root);
            command.mount(&target, MountKind::Tmpfs(Tmpfs::default()));
            // Whether it starts or not: nothing outside changes, and what is mounted is
            // below the root.
            command.spec_mut().command = ["/usr/bin/cat", "/proc/self/mountinfo"].map(Into::into).into();
            if let Ok(output) = command.output() {
                let mounts = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success() && mounts.contains(" / / "), "{target}: {mounts}");
            }
            let mut command = in_tree(&root);
            command.bind_ro("/etc/passwd", &target);
            let _ = command.status();
            assert_eq!(listing(&outside), before, "{target}");
        }
    }
}

#[test]
fn row_003_kernel_file_systems_only_on_real_directories() {
    let Some(_turn) = turn_to_start() else { return };
    for name in ["proc", "sys", "dev", "run", "tmp"] {
        let scratch = Scratch::new();
        let root = scratch.tree();
        std::fs::remove_dir(root.join(name)).unwrap();
        scratch.directory("root/srv/other");
        scratch.link(&format!("root/{name}"), "srv/other");
        let before = HostState::look();
        let error = in_tree(&root).status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SafetyViolation, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        before.assert_unchanged();
    }
}

#[test]
fn row_004_masks_do_not_come_from_the_image() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/dev/null", "MARKER");
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", "stat -c %F /dev/null; cat /proc/timer_list /proc/kallsyms 2>/dev/null; true"]);
    command.root(&root).bind_ro("/usr", "/usr");
    assert_eq!(run(&mut command), "character special file\n");
}

#[test]
fn row_052_a_prepared_set_id_program_gains_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    std::fs::copy("/usr/bin/id", root.join("srv/id")).unwrap();
    std::fs::set_permissions(root.join("srv/id"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let mut command = Command::new("/srv/id");
    // As its owner is root of the container, that is whom it would make of user 5.
    command.arg("-u").root(&root).bind_ro("/usr", "/usr").user(skep::spec::User::Ids { uid: 5, gid: 5 });
    assert_eq!(run(&mut command), "5\n");
}

#[test]
fn row_009_working_directories_that_lead_out() {
    let Some(_turn) = turn_to_start() else { return };
    // What a careless embedder has open: the host's root, at many numbers.
    let held: Vec<std::fs::File> = (0..40).map(|_| std::fs::File::open("/").unwrap()).collect();
    for file in &held {
        nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    }
    let scratch = Scratch::new();
    let mark = scratch.file("mark", "MARK");
    let mark = mark.to_str().unwrap().trim_start_matches('/');
    let tree = scratch.tree();
    // It would say so, whichever way up there is.
    let script = format!("for up in . .. ../.. ../../../../..; do cat $up/{mark}; done; pwd -P");
    let numbers = (3..64).map(|number| format!("/proc/self/fd/{number}"));
    let others = ["/proc/1/cwd", "/proc/1/root", "/proc/self/cwd", "/proc/thread-self/fd/3", "/dev/fd/7"];
    for directory in numbers.chain(others.map(str::to_owned)) {
        // By itself, and as where a link of the image leads.
        let _ = std::fs::remove_file(tree.join("way"));
        std::os::unix::fs::symlink(&directory, tree.join("way")).unwrap();
        let mut plain = Command::new("sh");
        let mut of_image = Command::new("sh");
        of_image.root(&tree).bind_ro("/usr", "/usr").current_dir("/way");
        for command in [plain.current_dir(&directory), &mut of_image] {
            let error = command.args(["-c", &script]).output().expect_err(&directory);
            assert!(error.to_string().contains("go to /"), "{directory}: {error}");
        }
    }
    // `self` is a plain link of text.
    let run = Command::new("pwd").arg("-P").current_dir("/proc/self/net").output().unwrap();
    assert!(String::from_utf8_lossy(&run.stdout).starts_with("/proc/"), "{run:?}");
    drop(held);
}

#[test]
fn a_target_that_hides_the_kernels_word_is_refused() {
    for target in ["/proc", "//proc/./", "/proc/self", "/proc/sys", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/"] {
        let error = Command::new("true").tmpfs(target).plan().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{target}: {error}");
        assert!(error.to_string().contains("Command::mount"), "{error}");
    }
    for target in ["relative", "", "/a/../b", "/x/../proc/self"] {
        assert!(Command::new("true").tmpfs(target).plan().is_err(), "{target}");
    }
}

#[test]
fn sources_that_are_no_paths_are_refused() {
    let scratch = Scratch::new();
    for source in ["/proc/self/root", "/proc/self/fd/0", "/dev/fd/0", "/proc/1/cwd", "relative", ""] {
        let error = Command::new("true").bind_ro(source, "/x").plan().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{source}: {error}");
    }
    let error = Command::new("true").bind_ro(scratch.path().join("missing"), "/x").plan().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn strange_characters_reach_the_mount_unchanged() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    for name in ["a,b", "a:b", "a\\b", "a=b", "a b", "a\nb", "ü", "\u{1b}[2J", "upperdir=x,ro"] {
        let source = scratch.file(&format!("src/{name}/file"), "inside\n");
        let target = format!("/t/{name}");
        let mut command = Command::new("cat");
        command.arg(format!("{target}/file")).bind_ro(source.parent().unwrap(), &target);
        assert_eq!(run(&mut command), "inside\n", "{name:?}");
        let tree = scratch.path().join("root");
        if !tree.exists() {
            scratch.tree();
        }
        let renamed = scratch.path().join(format!("tree {name}").replace('/', "_"));
        std::fs::rename(&tree, &renamed).unwrap();
        let mut command = in_tree(&renamed);
        assert!(command.ephemeral(true).status().unwrap().success(), "{name:?} as an overlay's lower");
        std::fs::rename(&renamed, &tree).unwrap();
    }
}

#[test]
fn a_source_that_is_swapped_is_noticed() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let (one, other) = (scratch.directory("one"), scratch.directory("other"));
    scratch.file("one/which", "one\n");
    scratch.file("other/which", "other\n");
    let swapping = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while swapping.load(std::sync::atomic::Ordering::Relaxed) {
                let (a, b) = (
                    std::ffi::CString::new(one.to_str().unwrap()).unwrap(),
                    std::ffi::CString::new(other.to_str().unwrap()).unwrap(),
                );
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let cwd = nix::fcntl::AT_FDCWD;
                nix::fcntl::renameat2(cwd, a.as_c_str(), cwd, b.as_c_str(), flags).unwrap();
            }
        });
        for _ in 0..30 {
            let mut command = Command::new("cat");
            command.arg("/b/which").bind_ro(&one, "/b");
            match command.output() {
                Ok(output) => assert!(output.status.success()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::SafetyViolation, "{error}"),
            }
        }
        swapping.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn row_018_host_programs_are_not_run() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    // The tree's /usr is empty: what the host has is not there.
    let error = Command::new("/usr/bin/true").root(&root).status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("not found in container"), "{error}");
}

#[test]
fn a_tree_whose_usr_is_a_link_shows_nothing_of_the_host() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let outside = scratch.directory("outside");
    let server = std::env::current_exe().unwrap();
    for target in [outside.to_str().unwrap(), "../outside", "/usr"] {
        let _ = std::fs::remove_file(root.join("usr"));
        scratch.link("root/usr", target);
        let mut command = Command::new("/usr/bin/true");
        command.root(&root).bind_ro(&server, "/srv/test");
        command.spec_mut().root.volatile = skep::spec::Volatile::Yes;
        let error = command.plan().expect_err(target);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{target}: {error}");
        assert!(error.to_string().contains("has no usr/"), "{target}: {error}");
    }
    // The same for what is taken of its etc.
    std::fs::remove_file(root.join("usr")).unwrap();
    scratch.directory("root/usr");
    scratch.directory("root/etc");
    scratch.link("root/etc/alternatives", "/etc");
    let mut command = Command::new("/usr/bin/true");
    command.root(&root);
    command.spec_mut().root.volatile = skep::spec::Volatile::Yes;
    let plan = command.plan().unwrap().to_string();
    assert!(!plan.contains("alternatives"), "{plan}");
}

#[test]
fn users_of_a_tree_are_read_from_a_small_regular_file_only() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let passwd = root.join("etc/passwd");
    let refused = |what: &str| {
        let mut command = in_tree(&root);
        command.user(skep::spec::User::Name("web".to_owned()));
        let error = command.plan().expect_err(what);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
    };
    let line = "web:x:0:0:web:/:/bin/sh\n";
    let mut command = in_tree(&root);
    scratch.file("root/etc/passwd", line);
    command.user(skep::spec::User::Name("web".to_owned())).plan().unwrap();
    // Cut short, the last line would be somebody else's.
    scratch.file("root/etc/passwd", &(line.to_owned() + &"#".repeat(1 << 20)));
    refused("too long");
    std::fs::remove_file(&passwd).unwrap();
    refused("missing");
    let outside = scratch.file("outside", line);
    scratch.link("root/etc/passwd", outside.to_str().unwrap());
    refused("a link that leads out");
    std::fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("a FIFO");
    std::fs::remove_file(&passwd).unwrap();
    scratch.directory("root/etc/passwd");
    refused("a directory");
}

#[test]
fn what_the_kernel_shows_later_is_masked_too() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() || !has("unshare") {
        return skip("it takes root and unshare(1) to hide /sys for a moment");
    }
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs none /sys && exec \"$0\" --exact later_look --ignored"])
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by what_the_kernel_shows_later_is_masked_too, where /sys is hidden"]
fn later_look() {
    let look = || Command::new("true").plan().unwrap().report().of("masks").unwrap().to_string();
    let before = look();
    assert!(std::process::Command::new("umount").arg("/sys").status().unwrap().success());
    assert_ne!(look(), before, "what has appeared is not masked");
}
