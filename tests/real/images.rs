//! Disk images for roots: a plain file system, a partition of a GPT, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use skep::{Command, ErrorKind};
use skep_tests::{HostState, Scratch, has, is_root, run, skip, turn_to_start};

/// Whether an image can be made and mounted here.
fn able(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !has(program));
    let reason = match (is_root(), missing) {
        (false, _) => "only root mounts images".to_owned(),
        (true, Some(program)) => format!("there is no {program}"),
        (true, None) if !Path::new("/dev/loop-control").exists() => "there are no loop devices".to_owned(),
        (true, None) => return true,
    };
    skip(&reason);
    false
}

fn make(words: &[&str]) {
    let made = Process::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(made.success(), "{words:?}");
}

fn ext4(scratch: &Scratch) -> PathBuf {
    let root = scratch.tree();
    scratch.file("root/etc/mark", "here\n");
    let image = scratch.path().join("plain.raw");
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    make(&["mkfs.ext4", "-q", "-d", root.to_str().unwrap(), image.to_str().unwrap()]);
    image
}

fn shell(image: &Path, script: &str) -> Command {
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", script]).image(image).bind_ro("/usr", "/usr");
    command
}

/// That no loop device shows the file any more: the last user may be gone a moment
/// before its device.
#[track_caller]
fn assert_detached(image: &Path) {
    let attached = || {
        let devices = std::fs::read_dir("/sys/block").unwrap();
        let files =
            devices.filter_map(|device| std::fs::read_to_string(device.unwrap().path().join("loop/backing_file")).ok());
        files.into_iter().any(|file| Path::new(file.trim_end()) == image)
    };
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !attached()
    });
    assert!(gone, "{} is still attached", image.display());
}

#[test]
fn a_plain_image_is_a_root_that_keeps_what_is_written() {
    let Some(_turn) = turn_to_start() else { return };
    if !able(&["mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let image = ext4(&scratch);
    let before = HostState::look();
    let script = "cat /etc/mark; stat -c %u /etc; ls /srv; echo new > /srv/file; findmnt -no FSTYPE / || true";
    let output = run(&mut shell(&image, script));
    assert!(output.starts_with("here\n0\n"), "{output}");
    assert_eq!(run(&mut shell(&image, "cat /srv/file; stat -c %u /srv/file")), "new\n0\n");
    assert_detached(&image);
    // Read-only, and with changes that are thrown away.
    let denied = "(: > /srv/other) 2>/dev/null || echo read-only";
    assert_eq!(run(shell(&image, denied).read_only(true)), "read-only\n");
    assert_eq!(run(shell(&image, "rm /srv/file; echo x > /etc/mark; ls /srv").ephemeral(true)), "");
    assert_eq!(run(&mut shell(&image, "cat /etc/mark /srv/file")), "here\nnew\n");
    before.assert_unchanged();
    assert_detached(&image);
    // An image that is no file, and a directory that is no image.
    let error = Command::new("true").image(scratch.path()).spawn().unwrap_err();
    assert!(error.to_string().contains("disk image"), "{error}");
}

#[test]
fn the_root_partition_of_a_table_is_taken() {
    let Some(_turn) = turn_to_start() else { return };
    if !able(&["mkfs.ext4", "sfdisk"]) {
        return;
    }
    let scratch = Scratch::new();
    let plain = std::fs::read(ext4(&scratch)).unwrap();
    let image = scratch.path().join("disk.raw");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(32 << 20).unwrap();
    let kind = if cfg!(target_arch = "aarch64") {
        "b921b045-1df0-41c3-af44-4c6f280d3fae"
    } else {
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
    };
    let mut tool = Process::new("sfdisk").arg("-q").arg(&image).stdin(Stdio::piped()).spawn().unwrap();
    let table = format!(
        "label: gpt\nstart=2048, size=2048, type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\nstart=8192, size=32768, type={kind}\n"
    );
    tool.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(tool.wait().unwrap().success());
    file.write_all_at(&plain, 8192 * 512).unwrap();
    let mut command = shell(&image, "cat /etc/mark; echo new > /srv/file");
    let report = command.plan().unwrap().report().to_string();
    assert!(report.contains("ext4 at byte 4194304"), "{report}");
    assert_eq!(run(&mut command), "here\n");
    assert_eq!(run(&mut shell(&image, "cat /srv/file")), "new\n");
    assert_detached(&image);
    // One byte of the table.
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1024 + 32).unwrap_or_default();
    let file = std::fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1024 + 32).unwrap();
    let error = shell(&image, "true").spawn().unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn what_can_only_be_read_is_a_root_to_read() {
    let Some(_turn) = turn_to_start() else { return };
    if !able(&["mksquashfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree();
    scratch.file("root/etc/mark", "squashed\n");
    let image = scratch.path().join("root.squashfs");
    make(&["mksquashfs", root.to_str().unwrap(), image.to_str().unwrap(), "-quiet", "-no-progress"]);
    assert_eq!(run(&mut shell(&image, "cat /etc/mark; (: > /srv/x) 2>/dev/null || echo no")), "squashed\nno\n");
    assert_eq!(run(shell(&image, "echo x > /srv/x && cat /srv/x").ephemeral(true)), "x\n");
    assert_detached(&image);
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let mut mbr = vec![0; 1 << 20];
    (mbr[510], mbr[511]) = (0x55, 0xaa);
    let mut luks = vec![0; 1 << 20];
    luks[..6].copy_from_slice(b"LUKS\xba\xbe");
    let before = HostState::look();
    for (name, content, words) in [
        ("mbr", &mbr[..], "partitioned by an MBR"),
        ("luks", &luks, "encrypted (LUKS)"),
        ("zeros", &[0; 1 << 16], "no file system that is known"),
        ("empty", &[], "smaller than one sector"),
    ] {
        let path = scratch.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = Command::new("true").image(&path).spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        assert!(error.to_string().contains(words) && error.advice().is_some(), "{name}: {error}");
    }
    let error = Command::new("true").image(scratch.path().join("none")).spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    before.assert_unchanged();
}

#[test]
fn a_killed_embedder_leaves_no_device() {
    const IMAGE: &str = "SKEP_TEST_IMAGE";
    if let Ok(image) = std::env::var(IMAGE) {
        let container = shell(Path::new(&image), "sleep 1000").spawn().unwrap();
        println!("started {}", container.id());
        std::thread::sleep(Duration::from_secs(100));
        return;
    }
    let Some(_turn) = turn_to_start() else { return };
    if !able(&["mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let image = ext4(&scratch);
    let words = ["--exact", "a_killed_embedder_leaves_no_device", "--nocapture"];
    let mut embedder = Process::new(std::env::current_exe().unwrap());
    let mut embedder = embedder.args(words).env(IMAGE, &image).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut bytes = [0; 256];
    let mut output = embedder.stdout.take().unwrap();
    while !said.contains("started") {
        let count = output.read(&mut bytes).unwrap();
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    embedder.kill().unwrap();
    embedder.wait().unwrap();
    assert_detached(&image);
    make(&["sh", "-c", &format!("fsck.ext4 -p {} || test $? -le 1", image.display())]);
}

#[test]
fn a_directory_of_the_tree_is_the_root() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let root = scratch.tree();
    std::fs::rename(&root, scratch.path().join("inner")).unwrap();
    scratch.file("top", "top\n");
    scratch.file("inner/etc/mark", "inner\n");
    let whole = scratch.path().canonicalize().unwrap();
    let pivoted = |old: Option<&str>, script: &str| {
        let mut command = Command::new("/usr/bin/sh");
        command.args(["-c", script]).root(&whole).pivot_root("/inner", old.map(Into::into)).bind_ro("/usr", "/usr");
        command
    };
    assert_eq!(run(&mut pivoted(None, "cat /etc/mark; ls /top 2>/dev/null || true")), "inner\n");
    let script = "cat /etc/mark /mnt/old/top; echo x > /mnt/old/new; stat -c %u /mnt/old/top";
    let output = run(&mut pivoted(Some("/mnt/old"), script));
    assert!(output.starts_with("inner\ntop\n"), "{output}");
    assert!(scratch.path().join("new").exists());
    // No link leads out of the tree.
    scratch.link("out", "/");
    let mut command = pivoted(None, "true");
    let error = command.pivot_root("/out", None).spawn().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SafetyViolation | ErrorKind::InvalidSpec), "{error}");
    let error = pivoted(Some("/"), "true").spawn().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
}
