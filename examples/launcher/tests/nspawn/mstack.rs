//! `--mstack=`: roots of several layers.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_tests::Scratch;

use crate::stand::{debian, skip, turn, until};
use crate::tree::{ALWAYS, Ran, Tree, refused, run};

/// A tree below others in a stack; removed at the end.
struct Stack {
    tree: Tree,
    path: PathBuf,
}

impl Stack {
    /// With these files, each of which says its own name.
    fn new(directories: &[&str], files: &[&str]) -> Option<Self> {
        let tree = Tree::new()?;
        let path = tree.scratch.directory("web.mstack");
        tree.scratch.link("web.mstack/layer@0", "../root");
        std::fs::write(tree.root.join("etc/who"), "layer@0\n").unwrap();
        for name in directories {
            tree.scratch.directory(&format!("web.mstack/{name}"));
        }
        for name in files {
            tree.scratch.file(&format!("web.mstack/{name}"), &format!("{}\n", name.split('/').next().unwrap()));
        }
        Some(Self { tree, path })
    }

    fn run(&self, options: &[&str], script: &str) -> Ran {
        let stack = self.path.to_str().unwrap();
        run(&[&ALWAYS[..], &["--mstack", stack], options, &["/bin/sh", "-c", script]].concat(), &[])
    }

    fn says(&self, options: &[&str], script: &str) -> String {
        let ran = self.run(options, script);
        assert_eq!(ran.code, Some(0), "{options:?}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Every file below it, with what it holds.
    fn files(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn below(path: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    below(&path, found);
                }
                found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
            }
        }
        let mut found = Vec::new();
        below(&self.path.join(name), &mut found);
        found.sort();
        found
    }
}

#[test]
fn layers_are_seen_in_their_order_and_changed_in_rw_alone() {
    let _turn = turn();
    let files = ["layer@9/etc/who", "layer@9/etc/nine", "layer@9/etc/passwd", "layer@10/etc/who"];
    let Some(stack) = Stack::new(&["rw"], &files) else { return };
    let before = stack.files("");
    assert_eq!(
        stack.says(&[], "cat /etc/who /etc/nine; hostname"),
        "layer@10\nlayer@9\nweb",
        "by version, named by it"
    );
    assert!(stack.path.join("rw/data").is_dir() && stack.path.join("rw/work").is_dir(), "made on first use");
    assert_eq!(stack.says(&[], "echo mine > /etc/nine; rm /etc/who; mkdir /srv/new; cat /etc/nine"), "mine");
    assert_eq!(stack.says(&[], "cat /etc/nine; ls /etc/who 2>&1 | wc -l; ls -d /srv/new"), "mine\n1\n/srv/new");
    assert_eq!(std::fs::read_to_string(stack.path.join("rw/data/etc/nine")).unwrap(), "mine\n");
    let others = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(path, _)| !path.starts_with(stack.path.join("rw"))).collect()
    };
    assert_eq!(others(stack.files("")), others(before), "nothing else changed, and no lock is left");
    assert_eq!(std::fs::read_to_string(stack.tree.root.join("etc/who")).unwrap(), "layer@0\n");
}

#[test]
fn one_layer_below_rw() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["rw"], &[]) else { return };
    for options in [&[][..], &["-U"]] {
        assert_eq!(stack.says(options, "echo mine > /etc/who; cat /etc/who; rm -r /var; mkdir /var; ls /var"), "mine");
        assert_eq!(stack.says(&["--read-only"], "cat /etc/who"), "mine");
        assert_eq!(std::fs::read_to_string(stack.path.join("rw/data/etc/who")).unwrap(), "mine\n");
    }
    assert_eq!(std::fs::read_to_string(stack.tree.root.join("etc/who")).unwrap(), "layer@0\n");
    let error = stack.run(&["--volatile=state", "--link-journal=guest"], "true");
    assert!(error.code == Some(1) && error.stderr.contains("journal"), "a journal in no layer: {error:?}");
}

#[test]
fn without_rw_or_read_only_nothing_can_be_changed() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["bind@srv"], &["layer@1/etc/who"]) else { return };
    let script = "cat /etc/who; (: > /etc/x) 2>&1; grep ' / / ' /proc/self/mountinfo | cut -d' ' -f6; : > /srv/file";
    let said = stack.says(&[], script);
    assert!(
        said.starts_with("layer@1\n") && said.contains("Read-only file system") && said.contains("\nro,"),
        "{said}"
    );
    assert!(stack.path.join("bind@srv/file").exists(), "what is bound is another thing");
    // One layer alone is no overlay, and can be changed as little.
    std::fs::remove_dir_all(stack.path.join("layer@1")).unwrap();
    let said = stack.says(&[], "cat /etc/who; (: > /etc/x) 2>&1; grep -c ' - overlay ' /proc/self/mountinfo; true");
    assert!(said.starts_with("layer@0\n") && said.contains("Read-only") && said.ends_with("\n0"), "{said}");
    // What was changed before is seen, and stays as it is.
    stack.tree.scratch.directory("web.mstack/layer@1");
    stack.tree.scratch.directory("web.mstack/rw");
    stack.says(&[], "echo changed > /etc/who");
    let before = stack.files("rw");
    for option in ["--read-only", "--volatile=state"] {
        let said = stack.says(&[option], "cat /etc/who; (: > /etc/x) 2>&1; (: > /srv/x) 2>&1; : > /tmp/x");
        assert!(said.starts_with("changed\n") && said.matches("Read-only").count() == 2, "{option}: {said}");
    }
    assert_eq!(stack.says(&["--volatile=overlay"], "echo x > /etc/who; cat /etc/who"), "x");
    assert_eq!(stack.files("rw"), before);
}

#[test]
fn what_is_bound_in() {
    let _turn = turn();
    let bound = ["bind@srv-a\\x2db/file", "robind@srv-closed/file", "bind@srv-over/file"];
    let Some(stack) = Stack::new(&["rw", "layer@1"], &bound) else { return };
    let script =
        "cat /srv/a-b/file /srv/closed/file; echo new > /srv/a-b/file; (: > /srv/closed/file) 2>&1; ls /srv/over";
    let said = stack.says(&["--tmpfs=/srv/over"], script);
    assert!(said.starts_with("bind@srv-a\\x2db\nrobind@srv-closed\n"), "{said}");
    assert!(said.ends_with("Read-only file system"), "the caller's own mount lies over it: {said}");
    assert_eq!(std::fs::read_to_string(stack.path.join("bind@srv-a\\x2db/file")).unwrap(), "new\n");
}

#[test]
fn a_root_of_its_own_has_the_usr_of_the_layers() {
    let _turn = turn();
    let Some(tree) = Tree::new() else { return };
    // The host's own /usr as a layer, which is only read.
    for name in ["system", "web.mstack/layer@1/usr/share/skep-test", "web.mstack/rw", "web.mstack/root/etc"] {
        tree.scratch.directory(name);
    }
    tree.scratch.link("web.mstack/layer@0", "/");
    for name in ["bin", "sbin", "lib", "lib64"] {
        if Path::new("/").join(name).is_symlink() {
            tree.scratch.link(&format!("web.mstack/root/{name}"), &format!("usr/{name}"));
        }
    }
    let path = tree.scratch.path().join("web.mstack");
    let start = |options: &[&str], script: &str| {
        let words = ["nspawn", "--register=no", "--keep-unit", "-q", "--pipe", "--mstack", path.to_str().unwrap()];
        run(&[&words[..], options, &["/bin/sh", "-c", script]].concat(), &[])
    };
    let ran =
        start(&[], "ls -d /usr/share/skep-test; echo root > /etc/mine; echo usr > /usr/share/skep-test/mine; ls /");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("/usr/share/skep-test\n") && !ran.stdout.contains("boot"), "of the layers only usr");
    assert_eq!(std::fs::read_to_string(path.join("root/etc/mine")).unwrap(), "root\n");
    assert_eq!(std::fs::read_to_string(path.join("rw/data/usr/share/skep-test/mine")).unwrap(), "usr\n");
    assert!(!Path::new("/usr/share/skep-test").exists());
    // What hides is marked as the original does it, also where ids are the host's.
    let mounts = start(&[], "grep ' /usr ' /proc/self/mountinfo").stdout;
    assert!(mounts.contains(" - overlay ") && mounts.contains("userxattr"), "{mounts}");
    // In memory, but for that usr.
    let ran = start(&["--volatile"], "cat /usr/share/skep-test/mine; ls /etc/mine 2>&1; (: > /usr/x) 2>&1; : > /x");
    assert!(ran.stdout.starts_with("usr\n") && ran.stdout.contains("No such"), "{ran:?}");
    assert!(ran.code == Some(0) && ran.stdout.contains("Read-only"), "{ran:?}");
    std::fs::rename(path.join("root"), path.join(".root")).unwrap();
    let ran = start(&["--volatile"], "cat /usr/share/skep-test/mine; ls /boot 2>&1; (: > /usr/x) 2>&1; : > /x");
    assert!(ran.stdout.starts_with("usr\n") && ran.stdout.contains("No such"), "of the layers only usr: {ran:?}");
    assert!(ran.code == Some(0) && ran.stdout.contains("Read-only"), "{ran:?}");
    std::fs::rename(path.join(".root"), path.join("root")).unwrap();
    let ran = start(&["--read-only"], "cat /usr/share/skep-test/mine /etc/mine; (: > /usr/x) 2>&1; (: > /etc/x) 2>&1");
    assert!(ran.stdout.starts_with("usr\nroot\n") && ran.stdout.matches("Read-only").count() == 2, "{ran:?}");
}

#[test]
fn ids_of_a_stack_are_mapped() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["rw", "bind@srv"], &["layer@1/etc/who", "bind@srv/file"]) else { return };
    let script = "stat -c %u:%g /etc/who /etc/os-release /srv/file; echo x > /etc/mine; echo x > /srv/mine; cut -c1-20 /proc/self/uid_map";
    let said = stack.says(&["-U"], script);
    let (owners, map) = said.rsplit_once('\n').unwrap();
    assert_eq!(owners, "0:0\n0:0\n0:0", "{said}");
    assert_ne!(map.split_whitespace().nth(1), Some("0"), "{map}");
    for path in ["rw/data/etc/mine", "bind@srv/mine"] {
        assert_eq!(std::fs::metadata(stack.path.join(path)).unwrap().uid(), 0, "{path}");
    }
    let words = [&ALWAYS[..], &["--mstack", stack.path.to_str().unwrap(), "-U", "--private-users-chown", "/bin/true"]];
    let ran = run(&words.concat(), &[]);
    refused(&ran, &["--private-users-chown"]);
    assert!(ran.stderr.contains("several layers"), "{ran:?}");
}

#[test]
fn a_stack_has_one_who_writes_or_many_who_read() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["rw"], &["layer@1/etc/who"]) else { return };
    let go = stack.tree.scratch.path().join("go");
    let script = "echo up > /up/up; while ! [ -e /up/go ]; do sleep 0.05; done";
    let bind = format!("--bind={}:/up", stack.tree.scratch.path().display());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| stack.says(&[&bind, "-Mone"], script));
        assert!(until(20, || stack.tree.scratch.path().join("up").exists()), "the first one runs");
        // They would see its changes.
        let others = ["--quiet", "--read-only", "--volatile=overlay"]
            .map(|option| (option, stack.run(&[option, "-Mother"], "echo ran")));
        // Of the same layers, with other changes.
        let beside = stack.tree.scratch.directory("other.mstack");
        for name in ["layer@0", "layer@1"] {
            stack.tree.scratch.link(&format!("other.mstack/{name}"), &format!("../web.mstack/{name}"));
        }
        let beside = run(&[&ALWAYS[..], &["--mstack", beside.to_str().unwrap(), "/bin/echo", "ran"]].concat(), &[]);
        std::fs::write(&go, "").unwrap();
        first.join().unwrap();
        for (option, other) in others {
            assert!(other.code == Some(1) && other.stderr.contains("busy"), "{option}: {other:?}");
        }
        assert_eq!(beside.stdout, "ran", "{beside:?}");
    });
    let left: Vec<_> =
        stack.files("").into_iter().filter(|(path, _)| path.to_string_lossy().contains(".lck")).collect();
    assert_eq!(left, []);
}

#[test]
fn a_start_that_fails_leaves_a_stack_as_it_was() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["rw", "nonsense"], &["layer@1/etc/who"]) else { return };
    let before = stack.files("");
    let ran = stack.run(&[], "echo ran");
    refused(&ran, &["nonsense"]);
    assert!(ran.stderr.contains("nonsense") && ran.stderr.contains("--mstack="), "{ran:?}");
    std::fs::remove_dir(stack.path.join("nonsense")).unwrap();
    refused(&stack.run(&["--bind=/no/such/source:/srv"], "echo ran"), &["a bind of nothing"]);
    let after: Vec<_> = stack.files("");
    assert_eq!(after, before.into_iter().filter(|(path, _)| !path.ends_with("nonsense")).collect::<Vec<_>>());
}

#[test]
fn a_stack_is_found_by_its_machines_name() {
    let _turn = turn();
    let Some(stack) = Stack::new(&["rw"], &["layer@1/etc/who"]) else { return };
    let name = format!("skep-stack-{}", std::process::id());
    let place = Path::new("/run/machines");
    std::fs::create_dir_all(place).unwrap();
    let link = place.join(format!("{name}.mstack"));
    std::os::unix::fs::symlink(&stack.path, &link).unwrap();
    // Settings are looked for by that name, and beside the stack.
    stack.tree.scratch.file(&format!("{name}.nspawn"), "[Exec]\nHostname=of-the-file\n");
    let words = [&ALWAYS[..], &["-M", &name, "/bin/sh", "-c", "cat /etc/who; hostname"]].concat();
    let ran = run(&words, &[]);
    std::fs::remove_file(&link).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "layer@1\nof-the-file"), "{ran:?}");
}

/// A service of a layer of its own runs, and changes nothing below.
#[test]
fn a_system_boots_of_layers() {
    let _turn = turn();
    let debian = match debian() {
        Ok(debian) => debian,
        Err(reason) => return skip(&reason),
    };
    let scratch = Scratch::new();
    let path = scratch.directory("boot.mstack");
    scratch.directory("boot.mstack/rw");
    scratch.link("boot.mstack/layer@0", debian.to_str().unwrap());
    let unit = "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\n\
                ExecStart=/bin/sh -c 'echo said > /etc/said; systemctl --no-block poweroff'\n";
    let system = "boot.mstack/layer@1/etc/systemd/system";
    scratch.file(&format!("{system}/say.service"), unit);
    scratch.directory(&format!("{system}/multi-user.target.wants"));
    scratch.link(&format!("{system}/multi-user.target.wants/say.service"), "../say.service");
    let words = ["nspawn", "--boot", "-U", "--register=no", "--console=read-only", "--mstack", path.to_str().unwrap()];
    // Tests of other machines may hold the tree.
    let ran = run(&words, &[("SYSTEMD_NSPAWN_LOCK", "0")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said = std::fs::read_to_string(path.join("rw/data/etc/said"));
    assert_eq!(said.ok().as_deref(), Some("said\n"), "{ran:?}");
    assert!(!debian.join("etc/said").exists());
}
