//! Whose the files of a root are: mapped, given away, or the container's already.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use skep::spec::{IdRange, Ownership, Profile, UserNamespace};
use skep::{Command, ErrorKind, Spec};
use skep_tests::{HostState, Scratch, is_root, run, skip, turn_to_start};

const BASE: u32 = 0x1234_0000;
const FOREIGN: u32 = 0x7ffe_0000;

fn root_only() -> bool {
    let root = is_root();
    if !root {
        skip("only root maps ids");
    }
    root
}

/// A tree whose every entry belongs to ids from `base` on, and one of uid 1000 there.
fn tree(scratch: &Scratch, base: u32) -> PathBuf {
    let root = scratch.tree();
    scratch.file("root/srv/mine", "mine\n");
    let mut left = vec![root.clone()];
    while let Some(path) = left.pop() {
        let own = if path.ends_with("mine") { base + 1000 } else { base };
        lchown(&path, Some(own), Some(own)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    root
}

/// As systemd-nspawn, with the host's `/usr`.
fn nspawn(root: &Path, users: UserNamespace, ownership: Ownership, script: &str) -> Command {
    let mut spec = Spec::of(Profile::Nspawn);
    spec.user_namespace = users;
    spec.command = ["/usr/bin/sh", "-c", script].map(Into::into).into();
    let mut command = Command::from(spec);
    command.root(root).ownership(ownership).bind_ro("/usr", "/usr");
    command
}

fn owners(root: &Path, names: &[&str]) -> Vec<u32> {
    names.iter().map(|name| root.join(name).symlink_metadata().unwrap().uid()).collect()
}

const RANGE: UserNamespace = UserNamespace::Range(IdRange { base: BASE, count: 65_536 });
const LOOK: &str = "stat -c %u:%g / /srv/mine; : > /srv/new; stat -c %u /srv/new; read inside outside count < /proc/self/uid_map; echo $outside";

#[test]
fn a_tree_is_mapped_from_whatever_ids_it_has() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let shown = format!("0:0\n1000:1000\n0\n{BASE}\n");
    for (base, ownership) in [
        (0, Ownership::Map),
        (0, Ownership::Auto),
        (FOREIGN, Ownership::Foreign),
        (FOREIGN, Ownership::Auto),
        (0x0123_0000, Ownership::Map),
        (BASE, Ownership::Map),
        (BASE, Ownership::Off),
        (BASE, Ownership::Usual),
    ] {
        let scratch = Scratch::new();
        let root = tree(&scratch, base);
        assert_eq!(run(&mut nspawn(&root, RANGE, ownership, LOOK)), shown, "{base} {ownership:?}");
        assert_eq!(owners(&root, &["", "srv/mine", "srv/new"]), [base, base + 1000, base], "{base} {ownership:?}");
    }
    // As it is: of the host's files the container's root is nobody.
    let scratch = Scratch::new();
    let root = tree(&scratch, 0);
    assert_eq!(run(&mut nspawn(&root, RANGE, Ownership::Off, "stat -c %u /")), "65534\n");
    let refused = nspawn(&root, RANGE, Ownership::Foreign, LOOK).spawn().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidSpec, "{refused}");
}

#[test]
fn the_owner_of_the_tree_says_which_ids() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    for base in [0, BASE] {
        let scratch = Scratch::new();
        let root = tree(&scratch, base);
        let shown = format!("0:0\n1000:1000\n0\n{base}\n");
        let mut first = nspawn(&root, UserNamespace::Owner, Ownership::Usual, "sleep 100").spawn().unwrap();
        // Several may share a tree.
        assert_eq!(run(&mut nspawn(&root, UserNamespace::Owner, Ownership::Usual, LOOK)), shown);
        first.kill(9).unwrap();
        first.wait().unwrap();
        assert_eq!(owners(&root, &["srv/new"]), [base]);
    }
    // A range that the tree has is picked again.
    let scratch = Scratch::new();
    let root = tree(&scratch, BASE);
    let shown = format!("0:0\n1000:1000\n0\n{BASE}\n");
    assert_eq!(run(&mut nspawn(&root, UserNamespace::Pick, Ownership::Usual, LOOK)), shown);
    let mut first = nspawn(&root, UserNamespace::Pick, Ownership::Usual, "sleep 100").spawn().unwrap();
    let other = run(&mut nspawn(&root, UserNamespace::Pick, Ownership::Usual, LOOK));
    assert!(other.starts_with("0:0\n1000:1000\n0\n") && other != shown, "{other}");
    first.kill(9).unwrap();
    first.wait().unwrap();
}

#[test]
fn a_tree_is_given_to_the_container_and_to_another_later() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let scratch = Scratch::new();
    let root = tree(&scratch, 0);
    let names = ["", "srv/mine", "usr", "etc"];
    for base in [BASE, 0x2345_0000] {
        let range = UserNamespace::Range(IdRange { base, count: 65_536 });
        let shown = format!("0:0\n1000:1000\n0\n{base}\n");
        assert_eq!(run(&mut nspawn(&root, range, Ownership::Chown, LOOK)), shown);
        assert_eq!(owners(&root, &names), [base, base + 1000, base, base]);
    }
    // What an interrupted one has left is finished; nothing else starts on it.
    lchown(&root, Some(0xfffe_0000), Some(0xfffe_0000)).unwrap();
    let busy = nspawn(&root, UserNamespace::Owner, Ownership::Usual, LOOK).spawn().unwrap_err();
    assert!(busy.to_string().contains("interrupted"), "{busy}");
    run(&mut nspawn(&root, RANGE, Ownership::Auto, LOOK));
    assert_eq!(owners(&root, &names), [BASE, BASE + 1000, BASE, BASE]);
    for refused in [
        nspawn(&root, UserNamespace::Range(IdRange { base: BASE + 1, count: 65_536 }), Ownership::Chown, LOOK).spawn(),
        nspawn(&root, UserNamespace::Range(IdRange { base: BASE + 65_536, count: 9 }), Ownership::Chown, LOOK).spawn(),
        nspawn(&root, UserNamespace::Identity, Ownership::Chown, LOOK).read_only(true).spawn(),
        nspawn(&root, UserNamespace::Identity, Ownership::Chown, LOOK).ephemeral(true).spawn(),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidSpec);
    }
    assert_eq!(owners(&root, &names), [BASE, BASE + 1000, BASE, BASE]);
}

#[test]
fn where_ids_cannot_be_mapped_the_tree_is_given_away() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    // An overlay has no id-mapped mounts.
    let scratch = Scratch::new();
    let lower = tree(&scratch, 0);
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| scratch.directory(name));
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mount = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).status().unwrap().success();
    let merged_text = merged.to_str().unwrap();
    if !mount(&["mount", "-t", "overlay", "overlay", "-o", &options, merged_text]) {
        return skip("no overlay can be mounted");
    }
    let before = HostState::look();
    let mapped = nspawn(&merged, RANGE, Ownership::Map, LOOK).spawn().map(drop);
    let given = nspawn(&merged, RANGE, Ownership::Auto, LOOK).output();
    let own = owners(&merged, &["", "srv/mine"]);
    before.assert_unchanged();
    assert!(mount(&["umount", merged_text]));
    assert_eq!(mapped.unwrap_err().kind(), ErrorKind::NoIdMap);
    let given = given.unwrap();
    assert_eq!(String::from_utf8_lossy(&given.stdout), format!("0:0\n1000:1000\n0\n{BASE}\n"));
    assert_eq!(own, [BASE, BASE + 1000]);
    assert_eq!(owners(&lower, &["", "srv/mine"]), [0, 1000], "what lies below is not changed");
}

#[test]
fn both_programs_respect_each_others_ranges() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let scratch = Scratch::new();
    let root = tree(&scratch, BASE);
    let file = PathBuf::from(format!("/run/systemd/nspawn-uid/{BASE}"));
    let mut container = nspawn(&root, UserNamespace::Pick, Ownership::Usual, "sleep 100").spawn().unwrap();
    let held = std::fs::File::open(&file).unwrap();
    let mut lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
    assert_eq!(i32::from(lock.l_type), nix::libc::F_WRLCK, "systemd-nspawn would take it");
    container.kill(9).unwrap();
    container.wait().unwrap();
    drop(container);
    assert!(!file.exists(), "{} stays", file.display());
}

#[test]
fn what_a_killed_one_locked_is_cleared_up() {
    let Some(_turn) = turn_to_start() else { return };
    if !root_only() {
        return;
    }
    let scratch = Scratch::new();
    let root = tree(&scratch, BASE);
    let place = Path::new("/run/systemd/nspawn-uid");
    std::fs::create_dir_all(place).unwrap();
    let left = place.join((BASE + 0x0010_0000).to_string());
    std::fs::write(&left, "").unwrap();
    let mut container = nspawn(&root, UserNamespace::Pick, Ownership::Usual, "sleep 100").spawn().unwrap();
    skep::gc().unwrap();
    assert!(!left.exists() && place.join(BASE.to_string()).exists());
    container.kill(9).unwrap();
    container.wait().unwrap();
}
