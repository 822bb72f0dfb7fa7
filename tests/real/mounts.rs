//! Mounts that a Spec asks for: options, id maps, overlays, devices, files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use skep::spec::{
    AccessTimes, Bind, Device, Hosts, HugePages, IdMap, LinkJournal, MountKind, Network, NumaPolicy, Overlay,
    ResolvConf, Timezone, Tmpfs, User, UserNamespace, Want,
};
use skep::{Command, ErrorKind, Outcome};
use skep_tests::{Scratch, is_root, ordinary_user, run, skip, turn_to_start};

fn bind(source: &Path) -> Bind {
    let mut bind = Bind::default();
    bind.source = source.to_path_buf();
    bind
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// The options of the mount on `point`, and its file system.
fn options<'a>(mountinfo: &'a str, point: &str) -> Vec<&'a str> {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
    line.unwrap_or_else(|| panic!("no {point} in {mountinfo}")).split([' ', ',']).collect()
}

#[test]
fn options_of_a_bind_and_a_tmpfs_hold() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let data = scratch.directory("data");
    scratch.link("data/link", "file");
    scratch.file("data/file", "here\n");
    std::fs::copy("/usr/bin/true", data.join("program")).unwrap();
    let mut options_of = bind(&data);
    (options_of.noexec, options_of.nosymfollow) = (true, true);
    let mut tmpfs = skep::spec::Tmpfs::default();
    tmpfs.noexec = true;
    let script = "cat /proc/self/mountinfo; cat /data/file; cat /data/link 2>&1; /data/program 2>&1; \
                  cp /usr/bin/true /t/; /t/true 2>&1; echo end";
    let text = run(shell(script).mount("/data", MountKind::Bind(options_of)).mount("/t", MountKind::Tmpfs(tmpfs)));
    for word in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(options(&text, "/data").contains(&word), "{word}: {text}");
    }
    assert!(options(&text, "/t").contains(&"noexec"), "{text}");
    assert!(text.contains("here\n") && text.contains("Too many levels"), "{text}");
    assert_eq!(text.matches("Permission denied").count(), 2, "{text}");
}

#[test]
fn an_optional_bind_is_left_out_and_reported() {
    let Some(_turn) = turn_to_start() else { return };
    let mut command = shell("ls -d /none 2>&1; echo end");
    command.bind_ro_try("/srv/does/not/exist", "/none");
    let plan = command.plan().unwrap();
    assert!(matches!(plan.report().of("mount /none"), Some(Outcome::Off(why)) if why.contains("/srv/does/not/exist")));
    assert!(run(&mut command).ends_with("end\n"));
    let mut command = shell("true");
    command.bind_ro("/srv/does/not/exist", "/none");
    assert_eq!(command.status().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_bind_is_id_mapped_for_root() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let data = scratch.directory("data");
    let mut mapped = bind(&data);
    (mapped.read_only, mapped.id_map) = (false, IdMap::IdMap);
    if !is_root() {
        let mut command = shell("true");
        command.mount("/data", MountKind::Bind(mapped.clone()));
        assert_eq!(command.status().unwrap_err().kind(), ErrorKind::NotPermitted);
        mapped.id_map_want = Want::IfSupported;
        let mut command = shell("cat /proc/self/mountinfo");
        command.mount("/data", MountKind::Bind(mapped));
        assert!(matches!(command.plan().unwrap().report().of("id map of /data"), Some(Outcome::Unsupported(_))));
        assert!(!options(&run(&mut command), "/data").contains(&"idmapped"));
        return;
    }
    // Without a map root's directory is nobody's.
    let text = run(shell("stat -c %u /data; touch /data/x 2>&1; true").bind(&data, "/data"));
    assert!(text.starts_with("65534\n") && text.contains("denied"), "{text}");
    let script = "stat -c %u /data; touch /data/x; install -o 7 -g 8 /dev/null /data/y; cat /proc/self/mountinfo";
    let mut command = shell(script);
    command.mount("/data", MountKind::Bind(mapped.clone())).capabilities(caps(&["CHOWN", "FOWNER"]));
    let text = run(&mut command);
    assert!(text.starts_with("0\n") && options(&text, "/data").contains(&"idmapped"), "{text}");
    assert_eq!(std::fs::metadata(data.join("x")).unwrap().uid(), 0);
    let other = std::fs::metadata(data.join("y")).unwrap();
    assert_eq!((other.uid(), other.gid()), (7, 8), "on disk the ids are those inside");
    // A file system that knows of no id maps.
    let mut proc = bind(Path::new("/proc/sys/kernel"));
    (proc.id_map, proc.recursive) = (IdMap::IdMap, false);
    let error = shell("true").mount("/k", MountKind::Bind(proc)).status().unwrap_err();
    assert!(error.to_string().contains("id-mapped mounts"), "{error}");
}

fn caps(names: &[&str]) -> skep::spec::CapabilityList {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    skep::spec::CapabilityList::try_from(names).unwrap()
}

#[test]
fn the_owner_of_a_source_is_root_inside_or_the_owner_there() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root maps ids of binds");
    }
    let scratch = Scratch::new();
    let data = scratch.directory("data");
    scratch.file("data/other", "");
    std::os::unix::fs::chown(&data, Some(4242), Some(4243)).unwrap();
    let mut mapped = bind(&data);
    (mapped.read_only, mapped.id_map) = (false, IdMap::RootIdMap);
    let before = skep_tests::HostState::look();
    let text =
        run(shell("stat -c %u:%g /data /data/other; touch /data/x").mount("/data", MountKind::Bind(mapped.clone())));
    assert_eq!(text, "0:0\n65534:65534\n");
    let made = std::fs::metadata(data.join("x")).unwrap();
    assert_eq!((made.uid(), made.gid()), (4242, 4243));
    before.assert_unchanged();
    // The owner of the mount point, in a tree whose ids are mapped.
    let root = scratch.tree();
    let home = scratch.directory("root/srv/home");
    std::os::unix::fs::chown(&home, Some(33), Some(44)).unwrap();
    mapped.id_map = IdMap::OwnerIdMap;
    let mut command = Command::new("/usr/bin/stat");
    command.args(["-c", "%u:%g", "/srv/home"]).root(&root).bind_ro("/usr", "/usr");
    assert_eq!(run(command.mount("/srv/home", MountKind::Bind(mapped))), "33:44\n");
}

#[test]
fn a_user_of_the_host_is_one_of_the_container() {
    let Some(_turn) = turn_to_start() else { return };
    if !is_root() {
        return skip("only root brings users of the host in");
    }
    let Some((name, uid)) = ordinary_user() else {
        return skip("no user of this host has a home and a group of its own");
    };
    let script = format!(
        "cd /run/host; stat -c '%u:%g' home/{name}; stat -Lc '%a %u' userdb/60514.user userdb/60514.group userdb; \
         for file in userdb/*-privileged; do stat -Lc '%a %u' $file; done; cat userdb/{name}.user; \
         grep -c ' /run/host/userdb ro,' /proc/self/mountinfo; grep ' /run/host/home/{name} ' /proc/self/mountinfo"
    );
    let said = run(shell(&script).bind_user(&name).bind_user_group("wheel"));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..4], ["60514:60514", "444 0", "444 0", "555 0"], "{said}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("{{\"userName\":\"{name}\",\"uid\":60514,"))), "{said}");
    assert!(said.contains("\"memberOf\":[\"wheel\"]"), "{said}");
    let [.., one, home] = lines[..] else { panic!("{said}") };
    assert_eq!(one, "1");
    assert!(home.contains("nosuid,nodev") && home.contains("idmapped"), "{home}");
    // Every line between is of a file with secrets.
    assert!(lines[4..lines.len() - 3].iter().all(|line| *line == "400 0"), "{said}");

    // As that user: its files are its own on both sides, and it reads no secret.
    let file = format!("skep-test-{}", std::process::id());
    let script = format!(
        "cd; pwd; id -u; touch {file}; stat -c %u {file}; cat /run/host/userdb/*-privileged 2>&1 | grep -c denied"
    );
    let mut command = shell(&script);
    command.user(User::Name(name.clone())).bind_user(&name);
    let output = command.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let home = std::fs::read_to_string("/etc/passwd").expect("a file");
    let home = home.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))?.split(':').nth(4)).expect("a home");
    let made = Path::new(home).join(&file);
    let owner = std::os::unix::fs::MetadataExt::uid(&made.metadata().expect("it was made"));
    std::fs::remove_file(&made).expect("removed");
    assert_eq!(owner, uid);
    assert!(said.starts_with(&format!("/run/host/home/{name}\n60514\n60514\n")), "{said}");
}

/// The place of a journal on the host, empty at the end.
struct Journal(PathBuf);

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_journal_of_a_machine_is_seen_on_the_host() {
    let Some(_turn) = turn_to_start() else { return };
    let journals = Path::new("/var/log/journal");
    if !is_root() || !journals.is_dir() {
        return skip("only root links journals, and only a host that keeps some");
    }
    let id = format!("{:032x}", u128::from(std::process::id()) << 64 | 0x4000_0000_0000);
    let place = Journal(journals.join(&id));
    let scratch = Scratch::new();
    let tree = scratch.tree();
    let script =
        format!("cd /var/log/journal/{id} && stat -c %u . && echo x > file && grep -c {id} /proc/self/mountinfo");
    let start = |mode: LinkJournal, users: UserNamespace, program: &str| {
        let mut command = Command::of(skep::spec::Profile::Nspawn, program);
        command.args(["-c", &script]).root(&tree).bind_ro("/usr", "/usr").user_namespace(users);
        command.env("container_uuid", &id).link_journal(mode).output()
    };
    for users in [UserNamespace::Host, UserNamespace::Owner, UserNamespace::Pick] {
        let output = start(LinkJournal::Host, users, "/bin/sh").expect("starts");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n", "{users:?}");
        assert_eq!(
            (place.0.metadata().expect("made").uid(), place.0.join("file").metadata().expect("written").uid()),
            (0, 0)
        );
        std::fs::remove_dir_all(&place.0).expect("removed");

        let output = start(LinkJournal::Guest, users, "/bin/sh").expect("starts");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n0\n", "{users:?}: no mount");
        assert_eq!(std::fs::read_to_string(place.0.join("file")).expect("through the link"), "x\n");
        std::fs::remove_file(&place.0).expect("a link");
        std::fs::remove_dir_all(tree.join("var/log")).expect("removed");
    }
    for mode in [LinkJournal::Host, LinkJournal::Guest] {
        assert!(start(mode, UserNamespace::Host, "/bin/not-there").is_err());
        assert!(place.0.symlink_metadata().is_err(), "{mode:?}: a start that failed leaves something");
        // Nor does one that was made and is not started.
        let mut command = Command::of(skep::spec::Profile::Nspawn, "/bin/not-there");
        command.root(&tree).bind_ro("/usr", "/usr").env("container_uuid", &id).link_journal(mode);
        let created = command.create().expect("made");
        assert!(place.0.symlink_metadata().is_ok(), "{mode:?}");
        assert!(created.start().is_err());
        assert!(place.0.symlink_metadata().is_err(), "{mode:?}: what was made is left");
        drop(command.create().expect("made"));
        assert!(place.0.symlink_metadata().is_err(), "{mode:?}: what was made is left");
        command.before_start(|_| Err("no".into()));
        assert!(command.spawn().is_err());
        assert!(place.0.symlink_metadata().is_err(), "{mode:?}: what was made is left");
    }
}

#[test]
fn an_overlay_merges_and_forgets() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let names = ["a:b", "c,d", "e\\f"];
    for (number, name) in names.iter().enumerate() {
        scratch.file(&format!("{name}/{number}"), "");
        scratch.file(&format!("{name}/all"), name);
    }
    let lower: Vec<_> = names.iter().map(|name| scratch.path().join(name)).collect();
    let script = "ls /m; cat /m/all; echo; echo new > /m/all; rm /m/0; cat /m/all; ls /m; cat /proc/self/mountinfo";
    let text = run(shell(script).overlay(&lower, "/m"));
    assert!(text.starts_with("0\n1\n2\nall\ne\\f\nnew\n1\n2\nall\n"), "{text}");
    assert!(options(&text, "/m").contains(&"overlay") && options(&text, "/m").contains(&"nosuid"), "{text}");
    assert_eq!(std::fs::read_to_string(lower[2].join("all")).unwrap(), "e\\f");
    let mut overlay = Overlay::default();
    (overlay.lower, overlay.read_only) = (lower.clone(), true);
    let text = run(shell("cat /m/all; (: > /m/x) 2>&1; echo").mount("/m", MountKind::Overlay(overlay)));
    assert!(text.starts_with("e\\f") && text.contains("Read-only"), "{text}");
}

#[test]
fn layers_of_the_tree_and_a_tmpfs_of_somebody() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let tree = scratch.tree();
    scratch.file("root/srv/file", "tree\n");
    scratch.file("more/file", "more\n");
    scratch.link("root/out", "/etc");
    let layered = |layers: &[&str]| {
        let mut overlay = Overlay::default();
        overlay.lower = layers.iter().map(PathBuf::from).collect();
        let mut tmpfs = skep::spec::Tmpfs::default();
        tmpfs.percent = Some(5);
        let mut command =
            shell("cat /mnt/file; echo x > /mnt/file && cat /mnt/file /srv/file; grep ' /t ' /proc/self/mountinfo");
        command.root(&tree).bind_ro("/usr", "/usr");
        command.mount("/mnt", MountKind::Overlay(overlay)).mount("/t", MountKind::Tmpfs(tmpfs));
        command.output()
    };
    let more = scratch.path().join("more");
    for (layers, first) in [(vec!["+/srv"], "tree"), (vec!["+/srv", more.to_str().expect("text")], "more")] {
        let output = layered(&layers).expect("starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(&format!("{first}\nx\ntree\n")), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("nosuid,nodev") && said.contains("size="), "{said}");
    }
    assert_eq!(std::fs::read_to_string(tree.join("srv/file")).expect("a file"), "tree\n", "thrown away");
    let error = layered(&["+/out"]).expect_err("a link that leads out");
    assert!(error.to_string().contains("link"), "{error}");
}

/// What the kernel shows of a tmpfs, of its mount and of itself.
#[test]
fn a_tmpfs_has_the_options_that_it_was_given() {
    let Some(_turn) = turn_to_start() else { return };
    type Change = fn(&mut Tmpfs);
    let with_pages = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let nodes = Path::new("/sys/devices/system/node").exists();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let since_6_4 = (numbers.next(), numbers.next()) >= (Some(6), Some(4));
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64;
    let cases: [(bool, Change, &str); 9] = [
        (true, |t| t.blocks = Some(100), "size=PAGESk"),
        (true, |t| t.access_times = AccessTimes::Relative, "nosuid,nodev,relatime"),
        (true, |t| t.access_times = AccessTimes::Off, "nosuid,nodev,noatime"),
        (true, |t| t.access_times = AccessTimes::Strict, "nosuid,nodev -"),
        (true, |t| (t.nodiratime, t.nosymfollow) = (true, true), "nosuid,nodev,nodiratime,relatime,nosymfollow"),
        (with_pages, |t| t.huge = Some(HugePages::WithinSize), "huge=within_size"),
        (nodes, |t| t.numa = Some(NumaPolicy::parse("interleave:0").unwrap()), "mpol=interleave:0"),
        (true, |t| t.inode64 = Some(true), "inode64"),
        (is_root() && since_6_4, |t| t.noswap = true, "noswap"),
    ];
    for (possible, change, shown) in cases {
        if !possible {
            skip(&format!("this kernel or user cannot have {shown}"));
            continue;
        }
        let mut tmpfs = Tmpfs::default();
        change(&mut tmpfs);
        let mut command = shell("grep ' /m ' /proc/self/mountinfo");
        if tmpfs.noswap {
            let refused = shell("true").mount("/m", MountKind::Tmpfs(tmpfs.clone())).output().unwrap_err();
            assert!(refused.to_string().contains("noswap"), "{refused}");
            command.user_namespace(UserNamespace::Host);
        }
        let text = run(command.mount("/m", MountKind::Tmpfs(tmpfs)));
        let shown = shown.replace("PAGES", &(100 * page / 1024).to_string());
        assert!(text.contains(&shown), "{shown}: {text}");
    }
    let mut both = Tmpfs::default();
    (both.percent, both.blocks) = (Some(5), Some(100));
    let refused = shell("true").mount("/m", MountKind::Tmpfs(both)).output().unwrap_err().to_string();
    assert!(refused.contains("`percent` and `blocks`"), "{refused}");
}

#[test]
fn what_is_written_to_an_overlay_can_be_kept() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let lower = scratch.file("lower/old", "old\n").parent().unwrap().to_path_buf();
    let mut overlay = Overlay::default();
    overlay.lower = vec![lower.clone()];
    overlay.upper = Some(scratch.directory("state/up:p,er"));
    let write = MountKind::Overlay(overlay.clone());
    assert_eq!(run(shell("cat /m/old; echo new > /m/old; echo x > /m/file").mount("/m", write.clone())), "old\n");
    let upper = scratch.path().join("state/up:p,er");
    assert_eq!(std::fs::read_to_string(upper.join("old")).unwrap(), "new\n");
    assert_eq!(std::fs::metadata(upper.join("file")).unwrap().uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(std::fs::read_to_string(lower.join("old")).unwrap(), "old\n");
    assert_eq!(run(shell("cat /m/old /m/file").mount("/m", write)), "new\nx\n", "and is there again");
    // A named work directory, somewhere else on the same mount.
    overlay.upper = Some(scratch.directory("one/upper"));
    overlay.work = Some(scratch.directory("two/deep/work"));
    run(shell("echo y > /m/y").mount("/m", MountKind::Overlay(overlay)));
    assert!(scratch.path().join("one/upper/y").exists());
    // An ephemeral root's changes.
    let root = scratch.tree();
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", "echo kept > /srv/file"]).root(&root).bind_ro("/usr", "/usr").ephemeral(true);
    command.keep_changes(scratch.directory("changes"));
    run(&mut command);
    assert!(!root.join("srv/file").exists());
    assert_eq!(std::fs::read_to_string(scratch.path().join("changes/srv/file")).unwrap(), "kept\n");
    // Nobody need say that it is ephemeral; and it is seen again, also where ids are others.
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", "rm -r /opt; mkdir /opt; cat /srv/file"]).root(&root).bind_ro("/usr", "/usr");
    command.keep_changes(scratch.path().join("changes"));
    scratch.file("root/opt/old", "old");
    if is_root() {
        command.user_namespace(UserNamespace::Host);
    }
    assert_eq!(run(&mut command), "kept\n");
    let mut command = Command::new("/usr/bin/sh");
    command.args(["-c", "ls /opt; cat /srv/file"]).root(&root).bind_ro("/usr", "/usr");
    assert_eq!(run(command.keep_changes(scratch.path().join("changes"))), "kept\n");
    assert_eq!(std::fs::read_to_string(root.join("opt/old")).unwrap(), "old");
    let error = Command::new("true").keep_changes("/srv").status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "nothing is laid over a tmpfs");
}

#[test]
fn a_device_is_bound_by_its_number() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "head -c 3 /dev/deep/zero | wc -c; stat -c '%F %t:%T' /dev/deep/zero; cat /proc/self/mountinfo";
    let text = run(shell(script).mount("/dev/deep/zero", MountKind::Device(Device::new("/dev/zero"))));
    assert!(text.starts_with("3\ncharacter special file 1:5\n"), "{text}");
    let shown = options(&text, "/dev/deep/zero");
    assert!(shown.contains(&"noexec") && shown.contains(&"nosuid") && !shown.contains(&"nodev"), "{text}");
    let mut none = Device::new("/dev/does-not-exist");
    assert_eq!(
        shell("true").mount("/dev/x", MountKind::Device(none.clone())).status().unwrap_err().kind(),
        ErrorKind::NotFound
    );
    none.optional = true;
    run(shell("true").mount("/dev/x", MountKind::Device(none)));
    let error = shell("true").mount("/dev/x", MountKind::Device(Device::new("/etc/passwd"))).status().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
}

#[test]
fn credentials_are_files_of_the_payload_alone() {
    let Some(_turn) = turn_to_start() else { return };
    let script = "cd $CREDENTIALS_DIRECTORY && stat -c '%a %u' . token && cat token && (: > token) 2>&1; \
                  stat -c '%a %u' /etc/key /etc/app.conf; cat /etc/app.conf; \
                  grep -c hunter[2] /proc/self/environ /proc/self/cmdline; cat /proc/self/mountinfo";
    for uid in [0, 7] {
        let mut command = shell(script);
        command.credential("token", "hunter2\n").secret_file("/etc/key", "hunter2").file("/etc/app.conf", "port=1\n");
        command.user(User::Ids { uid, gid: uid });
        let text = run(command.env("X", "y"));
        assert!(text.starts_with(&format!("500 {uid}\n400 {uid}\nhunter2\n")), "{text}");
        assert!(text.contains("Read-only") && text.contains("port=1\n"), "{text}");
        let owner = if is_root() || uid == 0 { 0 } else { uid };
        assert!(text.contains(&format!("400 {uid}\n444 {owner}\n")), "{text}");
        assert!(text.contains("environ:0") && text.contains("cmdline:0"), "{text}");
        for point in ["/run/host/credentials", "/etc/key"] {
            for word in ["ro", "nosuid", "nodev", "noexec", "ramfs"] {
                assert!(options(&text, point).contains(&word), "{point} {word}: {text}");
            }
        }
    }
}

#[test]
fn files_of_etc_tell_of_the_host() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let Ok(hosts_own) = std::fs::read_to_string("/etc/resolv.conf") else {
        return skip("this host has no /etc/resolv.conf");
    };
    // A root of /usr alone, with the host's network.
    let mut command = shell("cat /etc/resolv.conf; echo --; cat /etc/hosts /etc/hostname");
    command.hosts(Hosts::Generate).hostname_file(true).hostname(skep::spec::HostName::new("inside").unwrap());
    command.spec_mut().network = Network::Host;
    let text = run(&mut command);
    let (resolv, rest) = text.split_once("--\n").unwrap();
    assert_eq!(resolv, hosts_own);
    assert_eq!(rest, "127.0.0.1 localhost inside\n::1 localhost inside\ninside\n");
    // A tree where they are links: a copy leaves them, the others lie over them.
    let root = scratch.tree();
    scratch.link("root/etc/resolv.conf", "../run/nothing");
    scratch.link("root/etc/localtime", "/nowhere");
    let in_tree = |script: &str| {
        let mut command = Command::new("/usr/bin/sh");
        command.args(["-c", script]).root(&root).bind_ro("/usr", "/usr");
        command
    };
    let mut command = in_tree("cat /etc/resolv.conf 2>&1; true");
    assert!(run(command.resolv_conf(ResolvConf::CopyHost)).contains("No such file"));
    let mut command = in_tree("cat /etc/resolv.conf");
    assert_eq!(run(command.resolv_conf(ResolvConf::ReplaceHost)), hosts_own);
    let mut command =
        in_tree("cat /etc/resolv.conf; (: > /etc/resolv.conf) 2>&1; readlink /etc/localtime; cat /proc/self/mountinfo");
    command.resolv_conf(ResolvConf::BindHost).timezone(Timezone::Bind);
    let text = run(&mut command);
    assert!(text.starts_with(&hosts_own) && text.contains("Read-only"), "{text}");
    assert!(options(&text, "/etc/resolv.conf").contains(&"ro"), "{text}");
    if Path::new("/etc/localtime").exists() {
        assert!(options(&text, "/etc/localtime").contains(&"ro"), "{text}");
    }
    // The tree still has its links.
    assert!(root.join("etc/resolv.conf").is_symlink() && root.join("etc/localtime").is_symlink());
    assert!(!root.join("etc/hostname").exists());
    let zone = run(shell("readlink /etc/localtime || true").timezone(Timezone::Auto));
    if let Ok(link) = std::fs::read_link("/etc/localtime") {
        let name = link.to_string_lossy().split_once("zoneinfo/").map(|(_, name)| name.to_owned());
        assert_eq!(zone.trim(), name.map_or(String::new(), |name| format!("../usr/share/zoneinfo/{name}")));
    }
}

/// Which ways a shell can open a device.
const OPENS: &str = "(: < /dev/fuse) 2>/dev/null && echo r; (: > /dev/fuse) 2>/dev/null && echo w; echo end";

#[test]
fn a_device_policy_is_a_closed_list() {
    let Some(_turn) = turn_to_start() else { return };
    let mut device = Device::new("/dev/fuse");
    device.access = "r".parse().unwrap();
    device.optional = true;
    let mut command = shell("cat /proc/self/cgroup");
    command.mount("/dev/fuse", MountKind::Device(device)).device_policy(Want::Require);
    if !is_root() {
        assert_eq!(command.status().unwrap_err().kind(), ErrorKind::NotPermitted);
        let report = Command::new("true").plan().unwrap().report().clone();
        assert!(matches!(report.of("device policy"), Some(Outcome::Unsupported(_))));
        return;
    }
    let plan = match command.plan() {
        Ok(plan) => plan,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            return skip(&error.to_string());
        }
    };
    let Some(Outcome::Applied(how)) = plan.report().of("device policy") else { panic!("{}", plan.report()) };
    // The list as the kernel has it, read while the container lives.
    let mut command = shell("read x");
    let name = skep::spec::MachineName::new("skep-test-devices").unwrap();
    command.machine(name).device_policy(Want::Require).stdin(skep::Stdio::piped());
    command.mount("/dev/mine", MountKind::Device(Device::new("/dev/zero")));
    let mut container = command.spawn().unwrap();
    if how.contains("v1") {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", container.id())).unwrap();
        let own = groups.lines().find_map(|line| line.split_once(":devices:")).unwrap().1;
        assert!(own.contains("/skep-skep-test-devices@"), "{own}");
        let list = Path::new("/sys/fs/cgroup/devices").join(own.trim_start_matches('/')).join("devices.list");
        let list = std::fs::read_to_string(list).unwrap();
        assert!(list.contains("c 1:3 rwm") && list.contains("c 136:* rw") && !list.contains("a *:*"), "{list}");
        assert!(!list.contains("b ") && !list.contains("1:1 "), "{list}");
    }
    drop(container.stdin.take());
    container.wait().unwrap();
    if !Path::new("/dev/fuse").exists() {
        return skip("there is no /dev/fuse");
    }
    // Without a user namespace its owner could open it.
    for (access, policy, answer) in
        [("r", Want::Require, "r\nend\n"), ("rw", Want::Require, "r\nw\nend\n"), ("rw", Want::Off, "r\nw\nend\n")]
    {
        let mut device = Device::new("/dev/fuse");
        device.access = access.parse().unwrap();
        let mut command = shell(OPENS);
        command.mount("/dev/fuse", MountKind::Device(device)).device_policy(policy);
        command.spec_mut().user_namespace = skep::spec::UserNamespace::Host;
        assert_eq!(run(&mut command), answer, "{access} {policy:?}");
    }
}

/// The program itself, on a v2 group of this test's own: also where a hybrid
/// host has no v2 controller, programs are attached to groups.
#[test]
fn a_v2_group_takes_the_program() {
    use skep::sys::abi::{OpenFlags, Resolve};
    use skep::sys::wire::Blob;
    use skep::sys::{At, Kernel, Linux, Op, OwnedSlots, Slot};
    let _turn = skep_tests::turn();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(top) = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4))
    else {
        return skip("cgroup v2 is not mounted");
    };
    let group = Path::new(top).join(format!("skep-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        return skip(&format!("no v2 group can be made: {error}"));
    }
    // As a plan has it: null and zero, nothing else.
    let mut spec = skep::Spec::default();
    spec.command = vec!["true".into()];
    spec.mounts.push(serde_json::from_str(r#"{"target":"/dev/x","kind":{"device":{"source":"/dev/x"}}}"#).unwrap());
    let mut facts = skep::Facts::example(&spec);
    (facts.uid, facts.capabilities) = (0, skep::sys::abi::CapabilitySet::up_to(40));
    facts.cgroups.unified[0].writable = true;
    let plan = skep::compile(&spec, &facts).unwrap();
    let program = plan.ops().find_map(|(_, _, op)| match op {
        Op::BpfDevice { program, .. } => Some(program.0.to_vec()),
        _ => None,
    });
    let path = std::ffi::CString::new(group.to_str().unwrap()).unwrap();
    let mut slots = OwnedSlots::new(2);
    let attached = [
        Op::BpfDevice { program: Blob(&program.unwrap()), into: Slot(0) },
        Op::OpenAt2 {
            dir: At::Cwd,
            path: &path,
            flags: OpenFlags::DIRECTORY,
            mode: 0,
            resolve: Resolve::NO_MAGICLINKS,
            into: Slot(1),
        },
        Op::BpfAttach { cgroup: Slot(1), program: Slot(0) },
    ]
    .iter()
    .try_for_each(|op| Linux::new().call(op, &mut slots.slots()));
    if let Err(errno) = attached {
        std::fs::remove_dir(&group).unwrap();
        return skip(&format!("no program for devices: {errno}"));
    }
    let script = format!(
        "echo $$ > {}/cgroup.procs; head -c 1 /dev/zero > /dev/null && echo zero; head -c 1 /dev/kmsg 2>&1; \
         head -c 1 /dev/net/tun 2>&1; true",
        group.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    std::fs::remove_dir(&group).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("zero\n") && text.contains("not permitted"), "{text}");
}
