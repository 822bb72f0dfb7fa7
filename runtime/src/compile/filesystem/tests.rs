//! What a Spec's mounts become, and what is refused.

use std::path::PathBuf;

use proptest::prelude::*;
use skep_sys::Errno;
use skep_sys::abi::CapabilitySet;

use crate::compile::compile;
use crate::error::ErrorKind;
use crate::facts::EntryKind;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::spec::{
    Bind, Device, File, IdMap, IdRange, Mount, MountKind, Overlay, ResolvConf, Root, SecretFile, Spec, Timezone, User,
    UserNamespace, UserShell, Volatile, Want,
};
use crate::{Facts, Result};

fn spec(mounts: Vec<Mount>) -> Spec {
    Spec { command: vec!["/usr/bin/true".into()], mounts, ..Spec::default() }
}

fn at(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

fn bind(change: impl FnOnce(&mut Bind)) -> MountKind {
    let mut bind = Bind { source: "/srv/data".into(), ..Bind::default() };
    change(&mut bind);
    MountKind::Bind(bind)
}

fn overlay(lower: &[&str], change: impl FnOnce(&mut Overlay)) -> MountKind {
    let mut overlay = Overlay { lower: lower.iter().map(PathBuf::from).collect(), ..Overlay::default() };
    change(&mut overlay);
    MountKind::Overlay(overlay)
}

fn as_root(spec: &Spec) -> Facts {
    let mut facts = Facts::example(spec);
    (facts.uid, facts.gid, facts.capabilities) = (0, 0, CapabilitySet::up_to(40));
    facts
}

fn refused(spec: &Spec, facts: &Facts) -> (ErrorKind, String) {
    match compile(spec, facts) {
        Ok(plan) => panic!("compiles: {plan}"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

fn ops(plan: &Plan) -> Vec<String> {
    plan.ops().map(|(_, _, op)| op.to_string()).collect()
}

#[test]
fn overlays_that_make_no_sense() {
    let many: Vec<String> = (0..33).map(|number| format!("/srv/{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (kind, word) in [
        (overlay(&[], |_| {}), "0 lower"),
        (overlay(&many, |_| {}), "33 lower"),
        (overlay(&["relative"], |_| {}), "absolute"),
        (overlay(&["/proc/1/root"], |_| {}), "magic link"),
        (overlay(&["/a", "/b"], |overlay| (overlay.read_only, overlay.upper) = (true, Some("/c".into()))), "upper"),
        (overlay(&["/a"], |overlay| overlay.work = Some("/c".into())), "without an upper"),
        (overlay(&["/a"], |overlay| overlay.upper = Some("/".into())), "in each other"),
        (overlay(&["/a"], |overlay| overlay.upper = Some("/c/../d".into())), "holds `..`"),
        (
            overlay(&["/a"], |overlay| (overlay.upper, overlay.work) = (Some("/c".into()), Some("/c/w".into()))),
            "in each other",
        ),
    ] {
        let spec = spec(vec![at("/m", kind)]);
        let (kind, text) = refused(&spec, &Facts::example(&spec));
        assert!(kind == ErrorKind::InvalidSpec && text.contains(word), "{word}: {text}");
    }
    let mut spec = spec(Vec::new());
    spec.root.upper = Some("/srv/changes".into());
    assert!(refused(&spec, &Facts::example(&spec)).1.contains("nothing is laid over it"));
}

#[test]
fn what_a_root_of_layers_cannot_be() {
    type Case = (fn(&mut Root), &'static str);
    let cases: [Case; 9] = [
        (|root| root.volatile = Volatile::Yes, "a part of several layers"),
        (|root| root.image = true, "a disk image"),
        (|root| root.pivot = Some("/new".into()), "a directory of several layers"),
        (|root| root.lower = vec!["relative".into()], "not an absolute path"),
        (|root| root.lower = vec!["/srv/../x".into()], "holds `..`"),
        (|root| root.lower = vec!["//.".into()], "the host's own root"),
        (|root| root.lower = vec!["/l".into(); 32], "33 layers"),
        (|root| (root.read_only, root.upper) = (true, Some("/up".into())), "a read-only root"),
        (|root| (root.volatile, root.upper) = (Volatile::State, Some("/up".into())), "a read-only root"),
    ];
    for (change, words) in cases {
        let mut spec = spec(vec![]);
        spec.root =
            Root { path: "/srv/top".into(), lower: vec!["/l".into()], volatile: Volatile::No, ..Root::default() };
        change(&mut spec.root);
        let (_, error) = refused(&spec, &as_root(&spec));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_overlay_of_what_is_not_there() {
    let spec = spec(vec![at("/m", overlay(&["/a"], |overlay| overlay.upper = Some("/b".into())))]);
    for (path, kind, expected) in [
        ("/a", EntryKind::Missing, ErrorKind::NotFound),
        ("/b", EntryKind::Missing, ErrorKind::NotFound),
        ("/a", EntryKind::File, ErrorKind::InvalidSpec),
        ("/b", EntryKind::File, ErrorKind::InvalidSpec),
    ] {
        let mut facts = Facts::example(&spec);
        facts.paths.get_mut(&PathBuf::from(path)).unwrap().kind = kind;
        let (found, text) = refused(&spec, &facts);
        assert!(text.contains(path), "{text}");
        if expected == ErrorKind::NotFound {
            assert_eq!(found, expected, "{text}");
        }
    }
}

/// Whatever the layers are called, the options of the file system are words
/// of ours, of at most 255 bytes.
#[test]
fn paths_in_an_overlays_options_are_words_of_ours() {
    let names: Vec<String> = (0..32).map(|number| format!("/srv/{number}:a,b\\c {}", "x".repeat(200))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kind = overlay(&names, |overlay| overlay.upper = Some("/srv/a//u:,\\/".into()));
    let mounts = (0..900).map(|number| at(&format!("/t/{number}"), bind(|_| {})));
    let spec = spec(mounts.chain([at("/z", kind)]).collect());
    let plan = compile(&spec, &Facts::example(&spec)).unwrap();
    let mut options = 0;
    for (_, _, op) in plan.ops() {
        if let skep_sys::Op::FsString { key, value, .. } = op
            && key.to_bytes().ends_with(b"dir")
        {
            options += 1;
            assert!(value.count_bytes() < 256, "{op}");
            assert!(value.to_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b':'), "{op}");
        }
    }
    assert_eq!(options, 3);
    assert!(crate::verify(plan).is_ok());
}

#[test]
fn id_maps_that_cannot_be_had() {
    let mapped = |want| at("/data", bind(|bind| (bind.id_map, bind.id_map_want) = (IdMap::IdMap, want)));
    let spec_of = |want| spec(vec![mapped(want)]);
    let user = spec_of(Want::Require);
    assert_eq!(refused(&user, &Facts::example(&user)).0, ErrorKind::NotPermitted);
    let mut host = spec_of(Want::Require);
    host.user_namespace = UserNamespace::Host;
    assert_eq!(refused(&host, &as_root(&host)).0, ErrorKind::InvalidSpec);
    for (want, reported) in [(Want::IfSupported, true), (Want::Off, false)] {
        let spec = spec_of(want);
        let plan = compile(&spec, &Facts::example(&spec)).unwrap();
        let line = plan.report().of("id map of /data");
        assert_eq!(matches!(line, Some(Outcome::Unsupported(_))), reported, "{want:?}");
        assert!(!ops(&plan).iter().any(|op| op.contains("set=idmap")));
    }
    // An id that the container does not map.
    let mut own = spec(vec![at("/data", bind(|bind| bind.id_map = IdMap::RootIdMap))]);
    (own.user_namespace, own.user) = (UserNamespace::Own, crate::spec::User::Ids { uid: 7, gid: 7 });
    let (kind, text) = refused(&own, &as_root(&own));
    assert!(kind == ErrorKind::InvalidSpec && text.contains("does not map"), "{text}");
}

#[test]
fn one_owner_is_mapped_by_a_namespace_of_its_own() {
    let spec = spec(vec![
        at("/one", bind(|bind| bind.id_map = IdMap::RootIdMap)),
        at("/two", bind(|bind| (bind.id_map, bind.recursive) = (IdMap::IdMap, false))),
    ]);
    let ops = ops(&compile(&spec, &as_root(&spec)).unwrap());
    // 1000 owns the source, and 1048576 is root inside, on the host.
    assert!(
        ops.iter().any(|op| op.starts_with("map_namespace(") && op.contains("1000") && op.contains("1048576")),
        "{ops:#?}"
    );
    let mapped: Vec<&String> = ops.iter().filter(|op| op.contains("set=idmap")).collect();
    assert_eq!(mapped.len(), 2, "{mapped:?}");
    assert!(mapped[0].contains("recursive") && !mapped[1].contains("recursive"), "{mapped:?}");
}

#[test]
fn devices_that_are_none() {
    let mut spec = spec(vec![at("/dev/x", MountKind::Device(Device::new("/dev/x")))]);
    let mut facts = Facts::example(&spec);
    facts.paths.get_mut(&PathBuf::from("/dev/x")).unwrap().node = None;
    assert!(refused(&spec, &facts).1.contains("no device node"));
    facts.paths.remove(&PathBuf::from("/dev/x"));
    assert_eq!(refused(&spec, &facts).0, ErrorKind::NotFound);
    if let MountKind::Device(device) = &mut spec.mounts[0].kind {
        device.optional = true;
    }
    let plan = compile(&spec, &facts).unwrap();
    assert!(matches!(plan.report().of("mount /dev/x"), Some(Outcome::Off(_))));
    let elsewhere = self::spec(vec![at("/dev/x", MountKind::Device(Device::new("/srv/x")))]);
    assert!(refused(&elsewhere, &Facts::example(&elsewhere)).1.contains("below /dev"));
}

#[test]
fn less_than_a_node_gives_needs_a_policy() {
    let mut device = Device::new("/dev/x");
    device.access.write = false;
    let mut spec = spec(vec![at("/dev/x", MountKind::Device(device))]);
    assert_eq!(refused(&spec, &Facts::example(&spec)).0, ErrorKind::NotPermitted);
    let mut facts = as_root(&spec);
    facts.cgroups.unified.clear();
    assert_eq!(refused(&spec, &facts).0, ErrorKind::Unsupported);
    facts.cgroups.unified = vec![crate::facts::UnifiedGroup {
        path: "/sys/fs/cgroup".into(),
        writable: true,
        ..crate::facts::UnifiedGroup::default()
    }];
    assert!(compile(&spec, &facts).is_ok());
    facts.device_programs = false;
    assert_eq!(refused(&spec, &facts).0, ErrorKind::Unsupported);
    spec.device_policy = Want::Off;
    assert_eq!(refused(&spec, &as_root(&spec)).0, ErrorKind::InvalidSpec);
}

#[test]
fn files_and_credentials_have_bounds() {
    let long = || "x".repeat((1 << 20) + 1);
    let with = |name: &str, content: String| {
        let mut spec = spec(Vec::new());
        spec.credentials.insert(name.to_owned(), content.into());
        spec
    };
    let mut many = spec(Vec::new());
    (0..5).for_each(|number| drop(many.credentials.insert(number.to_string(), "x".repeat(1 << 20).into())));
    let mut covered = with("a", String::new());
    covered.mounts = vec![at("/run", bind(|_| {}))];
    let mut mode = File::new("x");
    mode.mode = 0o4755;
    for (spec, word) in [
        (with("", String::new()), "is not a name"),
        (with("..", String::new()), "is not a name"),
        (with("a/b", String::new()), "is not a name"),
        (with("a:b", String::new()), "is not a name"),
        (with("\u{1b}[2J", String::new()), "is not a name"),
        (with(&"n".repeat(256), String::new()), "is not a name"),
        (with("a", long()), "longer than 1 MiB"),
        (many, "more than 4 MiB"),
        (covered, "which the container needs"),
        (spec(vec![at("/x", MountKind::Secret(SecretFile::new(long())))]), "longer than 1 MiB"),
        (spec(vec![at("/x", MountKind::File(mode))]), "permission bits"),
    ] {
        let (kind, text) = refused(&spec, &Facts::example(&spec));
        assert!(kind == ErrorKind::InvalidSpec && text.contains(word), "{word}: {text}");
        assert!(text.len() < 600, "{text}");
    }
}

#[test]
fn credentials_are_named_by_a_variable_unless_the_caller_does() {
    let mut spec = spec(Vec::new());
    spec.credentials.insert("a".into(), "hunter2".into());
    let named = |spec: &Spec| {
        let all = ops(&compile(spec, &Facts::example(spec)).unwrap());
        all.iter().map(|op| op.matches("CREDENTIALS_DIRECTORY").count()).sum::<usize>()
    };
    assert_eq!(named(&spec), 1);
    spec.environment.insert("CREDENTIALS_DIRECTORY".into(), "/mine".into());
    assert_eq!(named(&spec), 1, "the caller's own");
    spec.credentials.clear();
    spec.environment.clear();
    assert_eq!(named(&spec), 0);
}

/// What becomes of `/etc/resolv.conf`, by what the tree has there.
#[test]
fn files_of_etc_never_write_into_a_tree_unasked() {
    let tree = || Root { path: "/srv/tree".into(), volatile: Volatile::No, ..Root::default() };
    let of = |mode: ResolvConf, change: &dyn Fn(&mut Spec, &mut Facts)| -> Result<Plan> {
        let mut spec = spec(Vec::new());
        (spec.root, spec.network, spec.resolv_conf) = (tree(), crate::spec::Network::Host, mode);
        change(&mut spec, &mut Facts::example(&Spec::default()));
        let mut facts = as_root(&spec);
        for target in facts.targets.values_mut() {
            target.kind = EntryKind::File;
        }
        change(&mut spec.clone(), &mut facts);
        compile(&spec, &facts)
    };
    let touches = |plan: &Plan| plan.steps().iter().any(|step| step.what.contains("/etc/resolv.conf"));
    let missing = |_: &mut Spec, facts: &mut Facts| {
        facts.targets.values_mut().for_each(|target| target.kind = EntryKind::Missing)
    };
    let link = |_: &mut Spec, facts: &mut Facts| {
        facts.targets.values_mut().for_each(|target| (target.through_link, target.is_link) = (true, true));
    };
    let above =
        |_: &mut Spec, facts: &mut Facts| facts.targets.values_mut().for_each(|target| target.through_link = true);
    let bound = |spec: &mut Spec, _: &mut Facts| spec.mounts.push(at("/etc", bind(|_| {})));
    let ephemeral = |spec: &mut Spec, facts: &mut Facts| {
        spec.root.ephemeral = true;
        missing(spec, facts);
    };
    for (mode, change, expected) in [
        (ResolvConf::Auto, &(|_: &mut Spec, _: &mut Facts| {}) as &dyn Fn(&mut Spec, &mut Facts), true),
        (ResolvConf::Auto, &missing, false),
        (ResolvConf::Auto, &ephemeral, true),
        (ResolvConf::Auto, &link, false),
        (ResolvConf::Auto, &bound, false),
        (ResolvConf::CopyHost, &missing, true),
        (ResolvConf::CopyHost, &link, false),
        (ResolvConf::ReplaceHost, &link, true),
        (ResolvConf::BindHost, &link, true),
        (ResolvConf::BindHost, &above, false),
        (ResolvConf::Delete, &link, true),
        (ResolvConf::Off, &link, false),
    ] {
        let plan = of(mode, change).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!(touches(&plan), expected, "{mode:?}: {}", plan.report());
        let reported = plan.report().of("resolv.conf");
        assert_eq!(matches!(reported, Some(Outcome::Applied(_))), expected, "{mode:?}: {reported:?}");
        assert!(crate::verify(plan).is_ok(), "{mode:?}");
    }
}

#[test]
fn a_time_zone_is_a_link_where_the_root_is_ours() {
    let mut spec = spec(Vec::new());
    for (mode, expected) in
        [(Timezone::Auto, true), (Timezone::Symlink, true), (Timezone::Bind, false), (Timezone::Off, false)]
    {
        spec.timezone = mode;
        let plan = compile(&spec, &Facts::example(&spec)).unwrap();
        let link = ops(&plan).iter().any(|op| op.contains("../usr/share/zoneinfo/Etc/UTC"));
        assert_eq!(link, expected, "{mode:?}");
        assert_eq!(plan.report().of("timezone").is_some(), mode != Timezone::Off);
    }
}

#[test]
fn row_134_too_much_of_anything_is_refused() {
    let many = |count: usize| (0..count).map(|number| at(&format!("/m/{number}"), bind(|_| {}))).collect::<Vec<_>>();
    let full = spec(many(1000));
    let begun = std::time::Instant::now();
    assert!(compile(&full, &Facts::example(&full)).is_ok());
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let (kind, text) = refused(&spec(many(1001)), &Facts::example(&Spec::default()));
    assert!(kind == ErrorKind::InvalidSpec && text.contains("1001 mounts"), "{text}");
}

proptest! {
    /// The order in which mounts were added does not matter.
    #[test]
    fn mounts_are_mounted_parents_first(order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle()) {
        let all = || vec![
            at("/a", bind(|_| {})),
            at("/a/b", overlay(&["/x", "/y"], |_| {})),
            at("/a/b/c", MountKind::File(File::new("x"))),
            at("/dev/fuse", MountKind::Device(Device::new("/dev/fuse"))),
            at("/k", MountKind::Secret(SecretFile::new("x"))),
            at("/z", bind(|bind| bind.noexec = true)),
        ];
        let sorted = spec(all());
        let mut mixed = all();
        let shuffled: Vec<Mount> = order.iter().map(|place| mixed[*place].clone()).collect();
        mixed.clear();
        let shuffled = spec(shuffled);
        let plan = compile(&sorted, &Facts::example(&sorted)).unwrap();
        prop_assert_eq!(ops(&plan), ops(&compile(&shuffled, &Facts::example(&shuffled)).unwrap()));
    }
}

#[test]
fn only_what_is_not_there_is_left_out_in_silence() {
    let mut spec = spec(vec![at("/data", bind(|bind| bind.optional = true))]);
    let mut facts = as_root(&spec);
    let path = |facts: &mut Facts, path: &str, failed| {
        let fact = facts.paths.get_mut(std::path::Path::new(path)).unwrap();
        (fact.kind, fact.failed) = (EntryKind::Missing, failed);
    };
    for etc in ["/etc/alternatives", "/etc/ld.so.cache"] {
        path(&mut facts, etc, None);
        assert_eq!(compile(&spec, &facts).unwrap().report().of(&format!("bind {etc}")), None);
        path(&mut facts, etc, Some(Errno::EIO));
        match compile(&spec, &facts).unwrap().report().of(&format!("bind {etc}")) {
            Some(Outcome::Unsupported(why)) => assert!(why.contains("EIO"), "{why}"),
            other => panic!("{etc}: {other:?}"),
        }
    }
    path(&mut facts, "/srv/data", None);
    compile(&spec, &facts).unwrap();
    for (errno, kind) in [(Errno::EACCES, ErrorKind::NotPermitted), (Errno::ELOOP, ErrorKind::System)] {
        path(&mut facts, "/srv/data", Some(errno));
        let (found, text) = refused(&spec, &facts);
        assert!(found == kind && text.contains(&errno.to_string()), "{text}");
    }
    spec.mounts.clear();
    compile(&spec, &facts).unwrap();
}

/// A Spec with users of the host in a tree, for root.
fn with_users(names: &[&str], change: impl FnOnce(&mut Spec)) -> Spec {
    let mut spec = spec(Vec::new());
    spec.root = Root { path: "/tree".into(), volatile: Volatile::No, ..Root::default() };
    spec.bind_user.names = names.iter().map(|name| (*name).to_owned()).collect();
    change(&mut spec);
    spec
}

#[test]
fn users_of_the_host_get_the_first_ids_that_are_free() {
    let spec = with_users(&["joe", "ann", "joe"], |spec| {
        spec.user = User::Name("ann".into());
        spec.bind_user.groups = vec!["wheel".into(), "gone".into()];
        spec.bind_user.shell = UserShell::Path("/bin/zsh".into());
    });
    let mut facts = as_root(&spec);
    facts.tree_accounts.ids = [60_514, 60_516].into();
    facts.tree_accounts.groups = [("wheel".to_owned(), 10)].into();
    let plan = compile(&spec, &facts).unwrap();
    let applied = |item: &str| match plan.report().of(item) {
        Some(Outcome::Applied(detail)) => detail.clone(),
        other => panic!("{item}: {other:?}"),
    };
    assert_eq!(applied("user joe"), "of the host, as 60515, shell /bin/zsh");
    assert_eq!(applied("user ann"), "of the host, as 60517, shell /bin/zsh");
    assert_eq!(applied("supplementary groups"), "10");
    let ops = ops(&plan);
    assert!(ops.iter().any(|op| op == "setresuid(uid=60517)"), "{ops:#?}");
    assert!(ops.iter().any(|op| op.contains("joe:wheel.membership")), "{ops:#?}");
    assert!(
        ops.iter().any(|op| op.contains(r#"\"homeDirectory\":\"/run/host/home/ann\",\"shell\":\"/bin/zsh\""#)),
        "{ops:#?}"
    );
    assert!(!ops.iter().any(|op| op.contains("$y$hash")), "a hash is printed");
}

#[test]
fn users_that_cannot_be_brought_in() {
    let refused = |spec: Spec, change: &dyn Fn(&mut Facts)| {
        let mut facts = as_root(&spec);
        change(&mut facts);
        refused(&spec, &facts).1
    };
    let joe = |change: fn(&mut Spec)| with_users(&["joe"], change);
    let as_is: &dyn Fn(&mut Facts) = &|_| ();
    let host = |change: fn(&mut crate::facts::HostUser)| {
        move |facts: &mut Facts| facts.host_users.values_mut().for_each(change)
    };
    for (said, why) in [
        (refused(joe(|spec| spec.user_namespace = UserNamespace::Host), as_is), "no user namespace"),
        (refused(joe(|spec| spec.user_namespace = UserNamespace::Identity), as_is), "are ids of the container already"),
        (
            refused(
                joe(|spec| spec.user_namespace = UserNamespace::Range(IdRange { base: 1 << 20, count: 999 })),
                as_is,
            ),
            "does not map the id 60514",
        ),
        (refused(joe(|_| ()), &|facts| facts.host_users.clear()), "not in /etc/passwd of the host"),
        (refused(joe(|_| ()), &host(|user| user.uid = 0)), "root's"),
        (refused(joe(|_| ()), &host(|user| user.gid = 0)), "root's"),
        (refused(joe(|_| ()), &host(|user| user.uid = 65_534)), "nobody"),
        (refused(joe(|_| ()), &host(|user| user.group = Some("users".into()))), "not one of its own"),
        (refused(joe(|_| ()), &host(|user| user.group = None)), "not one of its own"),
        (refused(joe(|_| ()), &host(|user| user.home = "home".into())), "not an absolute path"),
        (
            refused(joe(|_| ()), &|facts| {
                facts.tree_accounts.users.insert("joe".into());
            }),
            "etc/passwd has a user of that name",
        ),
        (
            refused(joe(|_| ()), &|facts| {
                facts.tree_accounts.groups.insert("joe".into(), 7);
            }),
            "etc/group has a group of that name",
        ),
        (
            refused(joe(|_| ()), &|facts| facts.tree_accounts.unread = Some("etc/group")),
            "cannot be looked up: etc/group",
        ),
        (refused(joe(|_| ()), &|facts| facts.tree_accounts.ids = (60_514..=60_577).collect()), "all in use"),
        (refused(joe(|spec| spec.bind_user.shell = UserShell::Path("zsh".into())), as_is), "shell"),
        (refused(joe(|spec| spec.bind_user.groups = vec!["a:b".into()]), as_is), "\"a:b\" is not the name"),
        (refused(with_users(&[], |spec| spec.bind_user.shell = UserShell::Host), as_is), "and no user"),
        (refused(with_users(&["../x"], |_| ()), as_is), "\"../x\" is not the name"),
        (refused(joe(|spec| spec.mounts = vec![at("/run/host/userdb", bind(|_| ()))]), as_is), "/run/host/userdb"),
    ] {
        assert!(said.contains(why), "{said} lacks {why}");
    }
    let ordinary = joe(|_| ());
    assert_eq!(self::refused(&ordinary, &Facts::example(&ordinary)).0, ErrorKind::NotPermitted);
}

#[test]
fn layers_of_the_tree_are_found_through_no_link() {
    let kind = overlay(&["/srv/a", "+/opt//b"], |overlay| overlay.upper = Some("+/var/up".into()));
    let mut spec = spec(vec![at("/m", kind)]);
    spec.root = Root { path: "/tree".into(), volatile: Volatile::No, ..Root::default() };
    let mut facts = as_root(&spec);
    let missing = std::path::Path::new("/tree/var/.up.work");
    facts.paths.insert(missing.into(), Default::default());
    let plan = compile(&spec, &facts).unwrap();
    let opens = |path: &str| ops(&plan).into_iter().find(|op| op.contains(&format!("path={path} "))).unwrap();
    for of_tree in ["/tree/opt/b", "/tree/var"] {
        assert!(opens(of_tree).contains("no-symlinks"), "{}", opens(of_tree));
    }
    assert!(!opens("/srv/a").contains("no-symlinks"));
    for change in [
        (|root: &mut Root| root.read_only = true) as fn(&mut Root),
        |root| root.volatile = Volatile::State,
        |root| root.ephemeral = true,
        |root| root.image = true,
    ] {
        let mut spec = spec.clone();
        change(&mut spec.root);
        assert!(compile(&spec, &as_root(&spec)).is_err(), "{:?}", spec.root);
    }
}
