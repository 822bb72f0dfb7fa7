//! Section 1: paths in the root file system while the container is made.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep::spec::{Bind, Init, MachineName, MountKind};
use skep::{Command, ErrorKind, Stdio};
use skep_tests::{Scratch, checked, everywhere, everywhere_with, has, is_root, run, skip, turn_to_start};

/// What others have mounted over parts of the embedder's `/proc`.
#[test]
fn row_007_a_covered_procfs_is_not_trusted() {
    let Some(_turn) = turn_to_start() else { return };
    if !has("unshare") {
        return skip("unshare(1) is not installed");
    }
    for target in ["/proc/$$/attr", "/proc/$$", "/proc"] {
        let script = format!("mount -t tmpfs none {target} || exit 77; exec \"$0\" --exact paths::start --ignored");
        let mut process = std::process::Command::new("unshare");
        process.args(if is_root() { ["--mount"].as_slice() } else { &["--mount", "--map-root-user"] });
        let output = process.args(["sh", "-c", &script]).arg(std::env::current_exe().unwrap()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) {
            return skip(&format!("nothing can be mounted here: {text}"));
        }
        assert!(text.contains("the start failed"), "{target}: {text}");
    }
    // In the container it is the Spec that would do so.
    for target in ["/proc/self/attr", "/proc/1/attr"] {
        let error = Command::new("true").tmpfs(target).spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
    }
}

#[test]
#[ignore = "run by row_007_a_covered_procfs_is_not_trusted, where /proc is covered"]
fn start() {
    let error = Command::new("true").status().unwrap_err();
    panic!("the start failed: {error}");
}

/// A link anywhere on the way to a source, where none was wanted.
#[test]
fn row_010_a_source_through_a_link_is_refused() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    scratch.file("real/below/mark", "MARK\n");
    scratch.link("last", "real/below");
    scratch.link("first", "real");
    scratch.link("out", "/etc");
    scratch.file("elsewhere/below/mark", "OTHER\n");
    scratch.link("away", "elsewhere");
    let bound = |source: &str, no_links| {
        let mut bind = Bind::default();
        (bind.source, bind.no_links) = (scratch.path().join(source), no_links);
        let mut command = Command::new("sh");
        command.args(["-c", "cat /b/mark 2>/dev/null; echo started"]).mount("/b", MountKind::Bind(bind));
        command
    };
    for source in ["last", "first/below", "out"] {
        let error = bound(source, true).output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SafetyViolation, "{source}: {error}");
        assert!(error.to_string().contains("a symbolic link"), "{source}: {error}");
        assert!(run(&mut bound(source, false)).ends_with("started\n"), "{source}");
    }
    assert_eq!(run(&mut bound("real/below", true)), "MARK\nstarted\n");
    // Put there between the look and the start, by somebody who may write there.
    let swapped = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (scratch.path().join("real"), scratch.path().join("away"));
            while !swapped.load(std::sync::atomic::Ordering::Relaxed) {
                let cwd = nix::fcntl::AT_FDCWD;
                nix::fcntl::renameat2(cwd, &one, cwd, &other, nix::fcntl::RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let ends: Vec<_> = (0..20).map(|_| bound("real/below", true).output()).collect();
        swapped.store(true, std::sync::atomic::Ordering::Relaxed);
        for end in ends {
            match end {
                Ok(output) => assert_eq!(checked(output), "MARK\nstarted\n"),
                // The link, or what is there no longer.
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::SafetyViolation | ErrorKind::NotFound), "{error}")
                }
            }
        }
    });
}

/// Names and contents below a directory.
fn content(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect()
}

#[test]
fn row_014_directories_of_likely_names_change_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let name = format!("likely-{}", std::process::id());
    let places = ["/tmp", "/var/tmp", "/dev/shm"].map(Path::new);
    let names = [name.clone(), format!("skep-{name}"), format!(".skep-{name}"), format!("skep.{name}")];
    let made: Vec<PathBuf> = places
        .iter()
        .filter(|place| place.is_dir())
        .flat_map(|place| names.iter().map(|name| place.join(name)))
        .collect();
    for directory in &made {
        std::fs::create_dir(directory).unwrap();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(directory.join("mark"), "mark").unwrap();
        std::os::unix::fs::symlink("/etc", directory.join("root")).unwrap();
    }
    let look = || made.iter().map(|directory| content(directory)).collect::<Vec<_>>();
    let before = look();
    let script = "cat /proc/self/mountinfo; ls -A /tmp /dev/shm";
    let plain = checked(Command::new("sh").args(["-c", script]).output().unwrap());
    let mut named = Command::new("sh");
    let started = named.args(["-c", script]).machine(MachineName::new(name).unwrap()).output();
    let after = look();
    for directory in &made {
        std::fs::remove_dir_all(directory).unwrap();
    }
    assert_eq!(after, before);
    // The same, but for what the kernel numbers.
    let shown = |text: &str| {
        let words = |line: &str| line.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect::<Vec<_>>()
    };
    assert_eq!(shown(&checked(started.unwrap())), shown(&plain));
}

/// A mark of the host, looked for under every place that could lead there.
#[test]
fn row_015_a_mark_of_the_host_is_not_reached() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let mark = scratch.file("mark", "MARK");
    let mark = mark.to_str().unwrap();
    let script = format!(
        "looked=0; for place in '' /.. /../../.. /proc/1/root /proc/1/cwd /proc/self/root /proc/self/cwd \\
            /proc/[0-9]*/root /proc/[0-9]*/fd/* /proc/self/fd/* $(cut -d' ' -f4,5 /proc/self/mountinfo) \\
            $(sed 's/.* - [^ ]* \\([^ ]*\\) .*/\\1/' /proc/self/mountinfo); do
            looked=$((looked + 1))
            for up in '' /.. /../.. /../../../..; do
                [ -e \"$place$up{mark}\" ] && echo REACHED $place$up; [ -e \"$place$up/mark\" ] && echo REACHED $place$up
            done
         done; [ $looked -gt 40 ] && echo looked"
    );
    let root = scratch.tree();
    let in_tree = |command: &mut Command| {
        command.root(&root).bind_ro("/usr", "/usr");
    };
    for (place, said) in everywhere(&script).into_iter().chain(everywhere_with(&script, in_tree)) {
        assert_eq!(said, "looked\n", "{place}");
    }
}

#[test]
fn row_016_a_directory_moved_out_of_a_bind_leads_nowhere() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    scratch.file("outside/mark", "MARK");
    for init in [Init::Stub, Init::Payload] {
        scratch.file("source/below/deep/file", "inside");
        let mut command = Command::new("sh");
        // The shell's own idea of where it is does not count.
        let script = "cd /b/below/deep && echo ready && read line; ls -A .. ../.. ../../..; pwd -P; cat ../mark ../../mark; echo end";
        command.args(["-c", script]).bind_ro(scratch.path().join("source"), "/b").init(init);
        let mut container =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        container.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        std::fs::rename(scratch.path().join("source/below"), scratch.path().join("outside/below")).unwrap();
        container.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let output = container.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("end"), "{said}");
        assert!(!said.contains("MARK") && !said.contains("outside") && !said.contains("\nmark"), "{said}");
        std::fs::remove_dir_all(scratch.path().join("outside/below")).unwrap();
        std::fs::remove_dir_all(scratch.path().join("source")).unwrap();
    }
}

/// A program that needs nothing: it exits with 42.
#[cfg(target_arch = "x86_64")]
fn static_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    // mov $42, %edi; mov $60, %eax; syscall
    let code = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut file = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0");
    // Entry, program headers, section headers, flags; sizes and counts.
    [BASE + 120, 64, 0].iter().for_each(|word: &u64| file.extend(word.to_le_bytes()));
    file.extend([0; 4]);
    [64_u16, 56, 1, 0, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // One segment, PT_LOAD, readable and executable: the whole file.
    [1_u32, 5].iter().for_each(|word| file.extend(word.to_le_bytes()));
    let size = 120 + code.len() as u64;
    [0, BASE, BASE, size, size, 0x1000].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(code);
    file
}

/// Whoever opens one of these files waits for ever: nobody writes to them.
#[test]
#[cfg(target_arch = "x86_64")]
fn row_017_nothing_of_the_image_is_opened_but_the_payload() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    let program = root.join("srv/program");
    std::fs::write(&program, static_program()).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["lib", "lib64"] {
        let _ = std::fs::remove_file(root.join(directory));
        scratch.directory(&format!("root/{directory}"));
    }
    let etc =
        ["passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.preload", "localtime", "machine-id", "os-release"];
    let traps = etc.map(|name| format!("etc/{name}")).into_iter();
    let traps =
        traps.chain(["lib/libc.so.6", "lib64/ld-linux-x86-64.so.2", "lib/libnss_files.so.2"].map(str::to_owned));
    for trap in traps {
        nix::unistd::mkfifo(&root.join(trap), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    }
    for mode in [0o755, 0] {
        for directory in ["etc", "lib", "lib64"] {
            std::fs::set_permissions(root.join(directory), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        for init in [Init::Stub, Init::Payload] {
            let mut command = Command::new("/srv/program");
            command.root(&root).init(init).deadline(Duration::from_secs(20));
            let status = command.status().unwrap_or_else(|error| panic!("mode {mode:o}: {error}"));
            assert_eq!(status.code(), Some(42));
        }
    }
    for directory in ["etc", "lib", "lib64"] {
        std::fs::set_permissions(root.join(directory), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(run(Command::new("echo").arg("x")), "x\n");
}
