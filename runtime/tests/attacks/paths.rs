//! Section 1: paths while the container is being built.

use skep::spec::{Bind, MountKind, Overlay, Readiness, Volatile};
use skep::sys::abi::Resolve;
use skep::sys::{At, Errno, Model, Op, OpKind, Proof, Slot, Stage};
use skep::{ErrorKind, Facts};

use super::starts::{at, facts, host, payload, verified};
use super::{ALL, CHILD, ops, place, spec, starts};

/// The two places of the host's tree that the child mounts on, by name: the root
/// that it covers to build on, and where that goes.
const BY_NAME: [&[u8]; 2] = [b"/", b"/proc"];

#[test]
fn row_001_targets_are_descriptors_and_walks_are_confined() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            match op {
                Op::MoveMount { dir: At::Cwd, path, .. } => assert!(BY_NAME.contains(&path.to_bytes()), "{name}: {op}"),
                Op::MoveMount { path, .. } => assert!(!path.to_bytes().contains(&b'/'), "{name}: {op}"),
                // A namespace of the child's, below its proved directory in /proc.
                Op::OpenAt2 { dir: At::Slot(_), path, .. } if path.to_bytes().starts_with(b"ns/") => {}
                Op::OpenAt2 { dir: At::Slot(_), resolve, .. } => {
                    let confined = resolve.has(Resolve::IN_ROOT) || resolve.has(Resolve::BENEATH);
                    let plain = resolve.has(Resolve::NO_MAGICLINKS) || resolve.has(Resolve::NO_SYMLINKS);
                    assert!(confined && plain, "{name}: {op}");
                }
                Op::OpenAt2 { resolve, .. } => {
                    let plain = resolve.has(Resolve::NO_MAGICLINKS) || resolve.has(Resolve::NO_SYMLINKS);
                    assert!(plain, "{name}: {op}");
                }
                _ => {}
            }
        }
    }
}

/// A file in the place of the image's `/dev/null` masks nothing.
#[test]
fn row_004_masks_are_our_own() {
    let spec = spec(|spec| (spec.root.path, spec.root.volatile) = ("/srv/tree".into(), Volatile::No));
    for root in [false, true] {
        let mut model = host(root).file("/srv/tree/dev/null", "marker");
        skep::rehearse(&mut model, &verified(&spec, root)).unwrap();
        let process = model.process(payload(&spec)).unwrap();
        assert_eq!(process.kind("/dev/null"), Some("device"));
        for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger"] {
            assert_ne!(process.read(path).as_deref(), Some(b"marker".as_slice()), "{path}");
        }
    }
}

/// Each file of the kernel that is masked by default is masked, covered
/// read-only, or absent, and the plan and its report say which.
#[test]
fn row_005_every_mask_has_one_outcome() {
    let spec = spec(|_| ());
    let mut some = facts(&spec, false);
    let mut all = some.kernel_paths.clone();
    // Those are of the profile `nspawn` alone.
    let others = ["/proc/apm", "/proc/sys/kernel/random/boot_id", "/sys/fs/cgroup"];
    all.retain(|path| !others.contains(path));
    for left_out in [0, 1, 3] {
        some.kernel_paths = all.iter().skip(left_out).cloned().collect();
        let plan = skep::compile(&spec, &some).unwrap();
        let steps = plan
            .steps()
            .iter()
            .filter(|step| step.what.starts_with("mask in") || step.what.starts_with("make read-only"));
        let words: usize = steps
            .map(|step| {
                step.what
                    .split_whitespace()
                    .filter(|word| !word.ends_with(':') && !["mask", "in", "make", "read-only"].contains(word))
                    .count()
            })
            .sum();
        assert_eq!(words, some.kernel_paths.len(), "{plan}");
        let report = plan.report().of("masks").unwrap().to_string();
        let counts: usize =
            report.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<usize>().ok()).take(3).sum();
        let absent = plan.report().of("absent kernel files").map(ToString::to_string).unwrap_or_default();
        assert!(left_out == 0 || all.iter().take(left_out).all(|path| absent.contains(path)), "{absent}");
        assert!(counts >= words, "{report}");
    }
}

#[test]
fn row_006_a_terminal_is_never_found_by_a_path() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            if let Op::OpenAt2 { path, .. } | Op::OpenTree { path, .. } = op {
                let path = String::from_utf8_lossy(path.to_bytes());
                assert!(!path.contains("pts/") && !path.ends_with("ptmx"), "{name}: {op}");
            }
        }
    }
}

/// Everything that the child writes lies below a handle that was proved.
#[test]
fn row_007_files_of_the_kernel_are_written_through_a_proved_handle() {
    for (name, _, verified) in starts() {
        let mut proved: Vec<Slot> = Vec::new();
        for op in ops(verified.plan(), CHILD) {
            match op {
                Op::Prove { file, proof: Proof::FileSystem { .. } } => proved.push(file),
                Op::Close { file } => proved.retain(|slot| *slot != file),
                Op::Write { dir, .. } => {
                    assert!(matches!(dir, At::Slot(slot) if proved.contains(&slot)), "{name}: {op}")
                }
                _ => {}
            }
        }
    }
}

#[test]
fn row_008_nothing_is_mounted_over_the_kernels_file_systems() {
    for target in
        ["/proc", "//proc/./", "/x/../proc/self", "/sys/fs/cgroup", "/proc/self/attr", "/sys/", "/./sys/x", "/proc//1"]
    {
        let spec = spec(|spec| {
            let mut bind = Bind::default();
            bind.source = "/data".into();
            spec.mounts.push(at(target, MountKind::Bind(bind)));
        });
        for root in [false, true] {
            let error = skep::compile(&spec, &facts(&spec, root)).expect_err(target);
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{target}: {error}");
            assert!(error.advice().is_some(), "{error}");
        }
    }
}

#[test]
fn row_010_a_source_is_found_once() {
    let mut seen = 0;
    for (name, _, verified) in starts() {
        for source in ["/data", "/srv/tree", "/layers/a"] {
            let opened = ops(verified.plan(), ALL).filter(|op| match op {
                Op::OpenAt2 { path, .. } | Op::OpenTree { path, .. } => path.to_bytes() == source.as_bytes(),
                _ => false,
            });
            let (opened, wanted) = (opened.count(), name.starts_with("id-mapped") || name.starts_with("overlays"));
            assert!(opened <= 1 || wanted, "{name}: {source} is opened {opened} times");
            seen += opened;
        }
    }
    assert!(seen > 4, "{seen}");
}

#[test]
fn row_011_magic_links_are_no_sources() {
    for source in [
        "/proc/self/root",
        "/proc/1/root/etc",
        "/proc/self/fd/3",
        "/dev/fd/3",
        "/proc/self/cwd",
        "/proc/thread-self/root",
    ] {
        let spec = spec(|spec| {
            let mut bind = Bind::default();
            bind.source = source.into();
            spec.mounts.push(at("/mnt", MountKind::Bind(bind)));
        });
        let error = skep::compile(&spec, &Facts::example(&spec)).expect_err(source);
        assert!(error.advice().is_some(), "{error}");
    }
}

/// One descriptor from the look to the root switch; another directory by then is
/// no root.
#[test]
fn row_013_a_root_that_is_swapped_is_noticed() {
    let spec = spec(|spec| (spec.root.path, spec.root.volatile) = ("/srv/tree".into(), Volatile::No));
    for root in [false, true] {
        let verified = verified(&spec, root);
        // The same paths with other inodes.
        let mut other = Model::new().directory("/before/it");
        if !root {
            other = Model::as_user(1000).subids(100_000, 65_536).directory("/before/it");
        }
        let places = ["usr/bin", "etc", "proc", "sys", "dev", "run", "tmp"];
        let mut model = places
            .iter()
            .fold(other, |model, place| model.directory(&format!("/srv/tree/{place}")))
            .owned("/srv/tree", if root { 0 } else { 1000 }, if root { 0 } else { 1000 }, 0o755)
            .file("/srv/tree/usr/bin/true", "program");
        let error = skep::rehearse(&mut model, &verified).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ESTALE), "{error}");
        assert!(model.process(payload(&spec)).is_none_or(|process| process.exec().is_none()));
        model.act_as(skep::sys::Actor::Host);
        assert_eq!(model.host_changes(), Vec::<String>::new());
    }
}

#[test]
fn row_014_there_is_no_scratch_directory() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            let path = match op {
                Op::OpenAt2 { dir: At::Cwd, path, .. }
                | Op::OpenTree { dir: At::Cwd, path, .. }
                | Op::MoveMount { dir: At::Cwd, path, .. }
                | Op::Mkdir { dir: At::Cwd, name: path, .. } => path,
                _ => continue,
            };
            let shared =
                [b"/tmp".as_slice(), b"/var/tmp", b"/dev/shm"].iter().any(|place| path.to_bytes().starts_with(place));
            assert!(!shared, "{name}: {op}");
        }
    }
}

#[test]
fn row_015_the_old_root_goes_at_once() {
    for (name, _, verified) in starts() {
        let kinds: Vec<OpKind> = ops(verified.plan(), CHILD).map(|op| op.kind()).collect();
        let pivot = kinds.iter().position(|kind| *kind == OpKind::PivotRoot).unwrap();
        assert_eq!(kinds[pivot + 1], OpKind::UmountOld, "{name}");
        let proof = kinds.iter().position(|kind| *kind == OpKind::ProveRoot).unwrap();
        assert!((pivot + 2..pivot + 5).contains(&proof), "{name}: {:?}", &kinds[pivot..=proof]);
        assert_eq!(kinds.iter().filter(|kind| **kind == OpKind::PivotRoot).count(), 1, "{name}");
    }
}

/// After the switch no file is opened or made but the socket of the readiness, in
/// a tmpfs of ours, and the places of Landlock rules.
#[test]
fn row_017_026_nothing_of_the_image_is_touched_after_the_switch() {
    use OpKind::{
        Create, CreateSecret, Fchdir, FsOpen, Mkdir, Mknod, MountSetAttr, MoveMount, OpenAt2, OpenTree, Symlink,
        Unlink, Write,
    };
    for (name, spec, verified) in starts() {
        let pivot = place(verified.plan(), CHILD, OpKind::PivotRoot).unwrap();
        for op in ops(verified.plan(), CHILD).skip(pivot + 1) {
            let touches = [
                Create,
                CreateSecret,
                Fchdir,
                FsOpen,
                Mkdir,
                Mknod,
                MountSetAttr,
                MoveMount,
                OpenAt2,
                OpenTree,
                Symlink,
                Unlink,
                Write,
            ];
            let landlock = matches!(op, Op::OpenAt2 { .. }) && spec.landlock != Default::default();
            let socket = matches!(op, Op::Mkdir { .. }) && spec.readiness == Readiness::Notify;
            assert!(!touches.contains(&op.kind()) || landlock || socket, "{name}: {op}");
            if let Op::Chdir { path } = op {
                assert!(path.to_bytes().starts_with(b"/"), "{name}: {op}");
            }
        }
    }
}

/// Whatever the caller's path holds, an option holds words of ours, each in a
/// call of its own.
#[test]
fn row_019_no_path_becomes_an_option() {
    for odd in [",", ":", "\\", "=", "\n", "a,upperdir=/etc", "x:/etc"] {
        let source = format!("/layers/{odd}b");
        let spec = spec(|spec| {
            let mut overlay = Overlay::default();
            overlay.lower = vec![source.clone().into()];
            spec.mounts.push(at("/opt", MountKind::Overlay(overlay)));
        });
        let Ok(plan) = skep::compile(&spec, &Facts::example(&spec)) else { continue };
        let plan = skep::verify(plan).unwrap();
        let mut options = 0;
        for op in ops(plan.plan(), ALL) {
            if let Op::FsString { value, .. } = op {
                options += 1;
                let value = value.to_bytes();
                assert!(!value.windows(2).any(|pair| pair == b"/e") && !value.contains(&b','), "{odd:?}: {op}");
            }
        }
        assert!(options > 0);
    }
}

/// A file of the tree never decides: no op reads one, and what is found is only
/// opened by its path.
#[test]
fn row_055_no_file_of_the_image_is_read() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            assert!(!matches!(op, Op::Peek { .. } | Op::CopyRest { .. }), "{name}: {op}");
        }
    }
    // The same plan for the same Spec, whatever the tree holds.
    let spec = spec(|spec| (spec.root.path, spec.root.volatile) = ("/srv/tree".into(), Volatile::No));
    let plan = |host: Model| {
        let mut host = host;
        let facts = facts(&spec, true).on(&mut host);
        skep::compile(&spec, &facts).unwrap().to_string()
    };
    let machine = |text: String| text.lines().skip(1).collect::<Vec<_>>().join("\n");
    let image = host(true)
        .file("/srv/tree/etc/skep.conf", "no_new_privileges = false")
        .file("/srv/tree/.nspawn", "[Exec]\nBoot=yes");
    assert_eq!(machine(plan(host(true))), machine(plan(image)));
}
