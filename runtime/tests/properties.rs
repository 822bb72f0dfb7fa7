//! What holds for every Spec, through the public API alone: no privileges, no
//! container, no file.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test file as a whole")]

#[path = "support/schema.rs"]
mod schema;
#[path = "support/strategies.rs"]
mod strategies;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use skep::audit::Audit;
use skep::dialect::{self, Format, nspawn};
use skep::spec::{
    Capabilities, CapabilityList, Denial, HostName, Init, Limit, MachineName, Mount, MountKind, Namespace, Network,
    Profile, Readiness, Secret, Tmpfs, User, UserNamespace, Want,
};
use skep::sys::abi::{CapabilitySet, Resource};
use skep::{Command, Facts, Plan, Spec};
use strategies::{change, machine, text};

/// The made-up host, for its ordinary user and for root.
fn hosts(spec: &Spec) -> [Facts; 2] {
    let user = Facts::example(spec);
    let mut root = user.clone();
    (root.uid, root.gid, root.capabilities) = (0, 0, CapabilitySet::up_to(root.last_capability));
    for group in &mut root.cgroups.unified {
        group.writable = true;
        group.enabled = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).into();
    }
    [user, root]
}

// ---------------------------------------------------------------- strategies

/// Any Spec: a profile's, with some fields changed. Few changes at a time, so
/// that some compile.
fn spec() -> impl Strategy<Value = Spec> {
    (prop::sample::select(vec![Profile::Strict, Profile::Nspawn]), vec(change(), 0..6)).prop_map(
        |(profile, changes)| {
            let mut spec = Spec::of(profile);
            spec.command = vec!["/usr/bin/true".into()];
            for change in changes {
                change.on(&mut spec);
            }
            spec
        },
    )
}

/// A whole call of the builder.
#[derive(Clone, Debug)]
enum Call {
    Env(String, OsString),
    Bind(PathBuf, PathBuf, bool),
    Tmpfs(PathBuf),
    Mask(PathBuf),
    Limit(Resource, Limit),
    Groups(Vec<u32>),
    Machine(MachineName),
    Hostname(HostName),
    Root(PathBuf),
    ReadOnly(bool),
    Ephemeral(bool),
    UserNamespace(UserNamespace),
    Network(Network),
    User(User),
    Capabilities(CapabilityList),
    Ambient(CapabilityList),
    NewPrivileges,
    NoFilter,
    Memory(u64),
    Cpu(u64, u64),
    Pids(u64),
    Umask(u32),
    CurrentDir(PathBuf),
    Init(Init),
    Readiness(Readiness),
}

impl Call {
    fn on(&self, command: &mut Command) {
        match self.clone() {
            Self::Env(name, value) => command.env(name, value),
            Self::Bind(source, target, true) => command.bind_ro(source, target),
            Self::Bind(source, target, false) => command.bind(source, target),
            Self::Tmpfs(target) => command.tmpfs(target),
            Self::Mask(path) => command.mask(path),
            Self::Limit(resource, limit) => command.limit(resource, limit),
            Self::Groups(groups) => command.groups(groups),
            Self::Machine(name) => command.machine(name),
            Self::Hostname(name) => command.hostname(name),
            Self::Root(path) => command.root(path),
            Self::ReadOnly(on) => command.read_only(on),
            Self::Ephemeral(on) => command.ephemeral(on),
            Self::UserNamespace(choice) => command.user_namespace(choice),
            Self::Network(network) => command.network(network),
            Self::User(user) => command.user(user),
            Self::Capabilities(list) => command.capabilities(list),
            Self::Ambient(list) => command.ambient(list),
            Self::NewPrivileges => command.danger_new_privileges(),
            Self::NoFilter => command.danger_no_filter(),
            Self::Memory(bytes) => command.memory(bytes),
            Self::Cpu(quota, period) => command.cpu(quota, period),
            Self::Pids(count) => command.pids(count),
            Self::Umask(mask) => command.umask(mask),
            Self::CurrentDir(path) => command.current_dir(path),
            Self::Init(init) => command.init(init),
            Self::Readiness(readiness) => command.readiness(readiness),
        };
    }

    /// Two calls with the same key say twice the same thing; the later wins,
    /// as with `std::process::Command`, so only one of them is made.
    fn key(&self) -> String {
        match self {
            Self::Env(name, _) => format!("env {name}"),
            Self::Bind(_, target, _) | Self::Tmpfs(target) => format!("mount {}", target.display()),
            Self::Mask(path) => format!("mask {}", path.display()),
            Self::Limit(resource, _) => format!("limit {resource}"),
            // These add.
            Self::Groups(groups) => format!("groups {groups:?}"),
            other => format!("{:?}", std::mem::discriminant(other)),
        }
    }
}

/// Values that compile: the order is to matter, not the value.
fn call() -> impl Strategy<Value = Call> {
    let target = || "/(srv|opt|data|home)(/[a-c]){0,3}".prop_map(PathBuf::from);
    let source = || "/(srv|opt)(/[a-c]){0,2}".prop_map(PathBuf::from);
    let small = || (0..3_u64).prop_map(|bits| CapabilityList(CapabilitySet(bits)));
    prop_oneof![
        ("[A-Z]{1,2}", "[a-z]{0,3}").prop_map(|(name, value)| Call::Env(name, value.into())),
        (source(), target(), any::<bool>())
            .prop_map(|(source, target, read_only)| Call::Bind(source, target, read_only)),
        (source(), target(), any::<bool>())
            .prop_map(|(source, target, read_only)| Call::Bind(source, target, read_only)),
        target().prop_map(Call::Tmpfs),
        "/proc/(kcore|keys|timer_list)".prop_map(|path| Call::Mask(path.into())),
        (0..16_u8, 0..100_u64).prop_map(|(resource, value)| Call::Limit(Resource(resource), Limit::both(value))),
        vec(0..9_u32, 1..3).prop_map(Call::Groups),
        machine().prop_filter_map("a name", |name| MachineName::new(name).ok()).prop_map(Call::Machine),
        machine().prop_filter_map("a name", |name| HostName::new(name).ok()).prop_map(Call::Hostname),
        source().prop_map(Call::Root),
        any::<bool>().prop_map(Call::ReadOnly),
        any::<bool>().prop_map(Call::Ephemeral),
        prop::sample::select(vec![UserNamespace::Own, UserNamespace::Pick, UserNamespace::Subordinate])
            .prop_map(Call::UserNamespace),
        prop::sample::select(vec![Network::None, Network::Host]).prop_map(Call::Network),
        (0..9_u32).prop_map(|id| Call::User(User::Ids { uid: id, gid: id })),
        small().prop_map(Call::Capabilities),
        small().prop_map(Call::Ambient),
        Just(Call::NewPrivileges),
        Just(Call::NoFilter),
        (64_u64 << 20..1 << 32).prop_map(Call::Memory),
        (1000..50_000_u64).prop_map(|quota| Call::Cpu(quota, 100_000)),
        (10..1000_u64).prop_map(Call::Pids),
        (0..=0o777_u32).prop_map(Call::Umask),
        target().prop_map(Call::CurrentDir),
        prop::sample::select(vec![Init::Stub, Init::Payload]).prop_map(Call::Init),
        prop::sample::select(vec![Readiness::Exec, Readiness::Notify]).prop_map(Call::Readiness),
    ]
}

/// Calls, and the same in another order.
fn two_orders() -> impl Strategy<Value = (Vec<Call>, Vec<Call>)> {
    vec(call(), 2..14)
        .prop_map(|calls| {
            let mut keys = std::collections::BTreeSet::new();
            calls.into_iter().filter(|call| keys.insert(call.key())).collect::<Vec<_>>()
        })
        .prop_flat_map(|calls| (Just(calls.clone()), Just(calls).prop_shuffle()))
}

// ---------------------------------------------------------------- properties

/// What compiles, verifies; an error says something on one line of plain text,
/// and what to do about it.
fn verified(spec: &Spec, facts: &Facts) -> Option<Plan> {
    let compiled = skep::compile(spec, facts);
    if let Ok(plan) = &compiled {
        let verified = skep::verify(plan.clone()).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
        assert_eq!(verified.plan(), plan);
    }
    let complaint = |error: skep::Error| {
        assert_plain(&error.to_string());
        assert!(error.advice().is_some(), "{error}");
    };
    compiled.map_err(complaint).ok()
}

fn assert_plain(line: &str) {
    assert!(!line.is_empty());
    assert!(!line.contains(char::is_control), "{line:?}");
}

/// What a Spec can give away.
const GIFTS: [fn(&mut Spec); 4] = [
    |spec| spec.seccomp = Want::Off,
    |spec| spec.no_new_privileges = false,
    |spec| spec.network = Network::Host,
    |spec| spec.keyring = Want::Off,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn row_141_any_spec_fails_with_an_error_or_verifies(spec in spec()) {
        for facts in hosts(&spec) {
            if let Some(plan) = verified(&spec, &facts) {
                plan.to_string().lines().chain(plan.verbose().to_string().lines()).for_each(assert_plain);
            }
        }
    }

    #[test]
    fn an_audit_is_plain_and_never_better_for_what_is_given_away(spec in spec(), gift in 0..GIFTS.len()) {
        for facts in hosts(&spec) {
            let Some(plan) = verified(&spec, &facts) else { continue };
            let audit = Audit::of(&spec, &plan);
            for (nth, row) in audit.rows().iter().enumerate() {
                [&row.item, &row.holds, &row.why].into_iter().for_each(|text| assert_plain(text));
                prop_assert!(audit.rows()[..nth].iter().all(|other| other.item != row.item), "{} twice", row.item);
                prop_assert!(row.exposure <= audit.exposure(), "{} is more than the whole", row.item);
            }
            let mut given = spec.clone();
            GIFTS[gift](&mut given);
            let Some(plan) = verified(&given, &facts) else { continue };
            let worse = Audit::of(&given, &plan);
            prop_assert!(worse.exposure() >= audit.exposure(), "{:?}", audit.differences(&worse));
        }
    }

    #[test]
    fn compile_is_deterministic(spec in spec()) {
        for facts in hosts(&spec) {
            prop_assert_eq!(skep::compile(&spec, &facts), skep::compile(&spec.clone(), &facts.clone()));
        }
    }

    #[test]
    fn row_145_any_order_of_builder_calls_gives_the_same_plan((one, other) in two_orders()) {
        let spec = |calls: &[Call]| {
            let mut command = Command::new("/usr/bin/true");
            calls.iter().for_each(|call| call.on(&mut command));
            command.spec()
        };
        let (one, other) = (spec(&one), spec(&other));
        // The facts name what both name.
        for (facts, same) in hosts(&one).into_iter().zip(hosts(&other)) {
            prop_assert_eq!(&facts, &same);
            let (plan, again) = (verified(&one, &facts), verified(&other, &facts));
            prop_assert_eq!(plan.as_ref().map(Plan::to_string), again.as_ref().map(Plan::to_string));
            prop_assert_eq!(plan, again);
        }
    }

    #[test]
    fn a_spec_that_compiles_is_the_same_after_any_format(spec in spec()) {
        if hosts(&spec).iter().any(|facts| skep::compile(&spec, facts).is_ok()) {
            for format in Format::ALL {
                let file = Path::new("/spec");
                match dialect::write(format, &spec) {
                    Ok(text) => {
                        let again = dialect::read(format, file, text.as_bytes(), spec.profile);
                        let mut again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
                        again.machine.clone_from(&spec.machine);
                        prop_assert_eq!(&again, &spec, "{}", text);
                    }
                    Err(unsayables) => {
                        prop_assert!(!unsayables.0.is_empty());
                        unsayables.to_string().lines().for_each(assert_plain);
                        // Only paths that are not text cannot be said in JSON.
                        prop_assert!(format != Format::Json || unsayables.to_string().contains("UTF-8"), "{}", unsayables);
                    }
                }
            }
        }
    }

    #[test]
    fn what_can_be_said_in_a_settings_file_is_all_but_what_is_told(spec in spec()) {
        let (settings, left) = nspawn::Settings::of(&spec);
        let again = nspawn::parse(Path::new("/spec"), settings.to_string().as_bytes());
        let mut made = Spec::of(spec.profile);
        if again.unwrap_or_else(|error| panic!("{error}\n{settings}")).apply(&mut made).is_ok() {
            prop_assert_eq!(left.0.is_empty(), made == spec, "{}\n{}", settings, left);
        }
    }

    #[test]
    fn a_spec_fits_the_schema(mut spec in spec()) {
        spec.version = 1;
        let schema: serde_json::Value = serde_json::from_str(skep::dialect::native::SCHEMA).unwrap();
        if let Ok(value) = serde_json::to_value(&spec) {
            schema::validate(&schema, &value).unwrap_or_else(|why| panic!("{why}"));
        }
        if let Ok(text) = dialect::write(Format::Json, &spec) {
            let value = serde_json::from_str(&text).unwrap();
            schema::validate(&schema, &value).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn no_print_of_a_plan_holds_a_variables_value(
        mut spec in spec(),
        name in "[A-Z]{1,4}",
        value in "[0-9a-f]{16}",
        readiness in prop::sample::select(vec![Readiness::Exec, Readiness::Notify]),
    ) {
        spec.readiness = readiness;
        spec.environment.insert(name, Secret::new(format!("value-{value}-end")));
        let shown = format!("{spec:?}");
        prop_assert!(!shown.contains(&value));
        for facts in hosts(&spec) {
            match skep::compile(&spec, &facts) {
                Err(error) => prop_assert!(!error.to_string().contains(&value), "{}", error),
                Ok(plan) => for print in [plan.to_string(), plan.verbose().to_string(), plan.to_json().to_string(), plan.report().to_string()] {
                    prop_assert!(!print.contains(&value), "{}", print);
                },
            }
        }
    }

    #[test]
    fn a_settings_file_is_the_same_after_printing(lines in vec(settings_line(), 0..12)) {
        let file = Path::new("/etc/systemd/nspawn/web.nspawn");
        let text = lines.concat();
        match nspawn::parse(file, text.as_bytes()) {
            Ok(settings) => {
                let printed = settings.to_string();
                let again = nspawn::parse(file, printed.as_bytes()).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
                prop_assert_eq!(&settings, &again);
                let (mut spec, mut same) = (Spec::default(), Spec::default());
                prop_assert_eq!(settings.apply(&mut spec).is_ok(), again.apply(&mut same).is_ok());
                prop_assert_eq!(spec, same);
            }
            Err(problems) => problems.to_string().lines().for_each(assert_plain),
        }
    }
}

/// Lines of a `.nspawn` file, most of them right.
fn settings_line() -> impl Strategy<Value = String> {
    let right = prop::sample::select(vec![
        "[Exec]\n",
        "[Files]\n",
        "[Network]\n",
        "# a comment\n",
        "\n",
        "[X-Mine]\nAny=thing\n",
        "[Exec]\nParameters=/bin/sh -c 'a b'\n",
        "[Exec]\nHostname=web\n",
        "[Exec]\nLimitNOFILE=1:2\n",
        "[Exec]\nCapability=CAP_CHOWN \\\n CAP_KILL\n",
        "[Exec]\nNoNewPrivileges=yes\n",
        "[Exec]\nPrivateUsers=pick\n",
        "[Files]\nVolatile=overlay\n",
        "[Network]\nPrivate=yes\n",
    ]);
    prop_oneof![
        3 => right.prop_map(str::to_owned),
        1 => ("[A-Z]{1,3}", "[a-z' \\\\\"]{0,6}").prop_map(|(name, value)| format!("[Exec]\nEnvironment={name}={value}\n")),
        1 => "(/[a-c ]{1,4}){1,3}".prop_map(|path| format!("[Files]\nBind={path}\n")),
        1 => text().prop_map(|text| format!("{text}\n")),
    ]
}

/// As many binds as a program could ask for by mistake: an error, at once, and
/// no plan as long as that.
#[test]
fn a_hundred_thousand_binds_are_an_error_at_once() {
    let mut command = Command::new("/usr/bin/true");
    for number in 0..100_000 {
        command.bind_ro("/srv", format!("/data/{number}"));
    }
    let spec = command.spec();
    for facts in hosts(&spec) {
        let began = Instant::now();
        let error = skep::compile(&spec, &facts).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_plain(&error.to_string());
        assert!(error.to_string().len() < 400, "{error}");
    }
}

/// The strategies are worth something only if a good part of the Specs compiles.
#[test]
fn a_good_part_of_the_specs_compiles() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compiled = (0..400)
        .filter(|_| {
            let spec = spec().new_tree(&mut runner).unwrap().current();
            hosts(&spec).iter().any(|facts| skep::compile(&spec, facts).is_ok())
        })
        .count();
    assert!((80..400).contains(&compiled), "{compiled} of 400");
}

/// Every combination of what decides how a payload becomes what it shall be:
/// each that compiles can be carried out, and ends as the Spec says. (A filter
/// needs either no_new_privs or CAP_SYS_ADMIN, which a change of ids takes.)
#[test]
fn every_choice_of_privileges_can_be_carried_out() {
    const CHOWN: u64 = 1;
    let mut started = 0;
    let sets = [0, CHOWN, Capabilities::nspawn().bounding.0.0];
    for (profile, user_namespace) in [
        (Profile::Strict, UserNamespace::Pick),
        (Profile::Strict, UserNamespace::Host),
        (Profile::Nspawn, UserNamespace::Host),
    ] {
        for bits in 0..16_u32 {
            let is = |bit: u32| bits >> bit & 1 == 1;
            for (bounding, ambient) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)] {
                let mut spec = Spec::default();
                spec.command = vec!["/usr/bin/true".into()];
                (spec.profile, spec.user_namespace) = (profile, user_namespace);
                spec.no_new_privileges = is(0);
                spec.user = if is(1) { User::Ids { uid: 33, gid: 33 } } else { User::default() };
                spec.init = if is(2) { Init::Stub } else { Init::Payload };
                spec.seccomp = if is(3) { Want::Require } else { Want::Off };
                spec.capabilities.bounding = CapabilityList(CapabilitySet(sets[bounding]));
                spec.capabilities.ambient = CapabilityList(CapabilitySet(sets[ambient]));
                started += usize::from(starts_as_said(&spec));
            }
        }
    }
    assert!(started >= 200, "{started} of 240");
}

/// Whether a Spec compiles for root; then it also starts, on the kernel in
/// memory.
fn starts_as_said(spec: &Spec) -> bool {
    use skep::sys::{Actor, Model};
    let mut model = Model::new().file("/usr/bin/true", "program");
    let [_, facts] = hosts(spec);
    let mut facts = facts.on(&mut model);
    facts.cgroups = Default::default();
    let Ok(plan) = skep::compile(spec, &facts) else { return false };
    let verified = skep::verify(plan).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
    skep::rehearse(&mut model, &verified).unwrap_or_else(|error| panic!("{error}\n{spec:#?}"));
    let payload = model.process(if spec.init == Init::Stub { Actor::Payload } else { Actor::Child }).unwrap();
    assert!(payload.exec().is_some(), "{spec:#?}");
    let has = payload.credentials();
    assert_eq!(has.bounding, spec.capabilities.bounding.0, "{spec:#?}");
    assert_eq!((has.inheritable, has.ambient), (spec.capabilities.ambient.0, spec.capabilities.ambient.0), "{spec:#?}");
    assert_eq!(has.no_new_privs, spec.no_new_privileges, "{spec:#?}");
    assert_eq!(has.filters > 0, spec.seccomp != Want::Off, "{spec:#?}");
    true
}

/// The schema is worth something only if it refuses.
#[test]
fn the_schema_refuses_what_reading_refuses() {
    let schema: serde_json::Value = serde_json::from_str(skep::dialect::native::SCHEMA).unwrap();
    for (text, fits) in [
        (r#"{}"#, true),
        (r#"{"$schema": "x", "version": 1, "environment": {"A": [1]}, "user": {"ids": {"uid": 1, "gid": 2}}}"#, true),
        (r#"{"version": 2}"#, false),
        (r#"{"comand": []}"#, false),
        (r#"{"umask": -1}"#, false),
        (r#"{"umask": "022"}"#, false),
        (r#"{"root": {"volatile": "stat"}}"#, false),
        (r#"{"mounts": [{"target": "/a"}]}"#, false),
        (r#"{"mounts": [{"target": "/a", "kind": {"bind": {"sourse": "/b"}}}]}"#, false),
        (r#"{"mounts": [{"target": "/a", "kind": {"bind": {}, "tmpfs": {}}}]}"#, false),
        (r#"{"user": {"ids": {"uid": 1}}}"#, false),
        (r#"{"stdio": ["null"]}"#, false),
        (r#"{"environment": {"A": 1}}"#, false),
        (r#"{"machine": ""}"#, false),
    ] {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(schema::validate(&schema, &value).is_ok(), fits, "{text}");
        let read = dialect::read(Format::Json, Path::new("/s"), text.as_bytes(), skep::spec::Profile::Strict);
        assert_eq!(read.is_ok(), fits, "{text}");
    }
}

/// Found by a property: the report spoke of the profile's limit all the same.
#[test]
fn a_limit_on_processes_that_was_asked_for_is_the_one_that_is_reported() {
    for (asked, said) in [(Limit::both(7), "7 for each user"), (Limit::both(u64::MAX), "is no limit")] {
        let mut spec = Spec::default();
        spec.command = vec!["true".into()];
        spec.limits.set(Resource::NPROC, asked);
        let plan = verified(&spec, &Facts::example(&spec)).unwrap();
        assert!(plan.report().to_string().contains(said), "{}", plan.report());
    }
}

/// Found by fuzzing: a denied call that answers 0 would seem to have worked.
#[test]
fn what_a_denied_call_answers_is_an_error() {
    for (number, fits) in [(0, false), (1, true), (4095, true), (4096, false)] {
        let mut spec = Spec::default();
        spec.command = vec!["true".into()];
        spec.system_calls.deny.insert("mount".into(), Denial::Errno(skep_sys::Errno::from_raw(number)));
        assert_eq!(verified(&spec, &Facts::example(&spec)).is_some(), fits, "{number}");
    }
}

/// Found by running plans on a real kernel: each failed there, or did not do what
/// the report said.
#[test]
fn what_a_kernel_would_refuse_is_no_plan() {
    let spec = |change: &dyn Fn(&mut Spec)| {
        let mut spec = Spec::default();
        spec.command = vec!["/usr/bin/true".into()];
        change(&mut spec);
        spec
    };
    let deny = |call: &'static str, no_new_privileges| {
        spec(&|spec| {
            spec.system_calls.deny.insert(call.into(), Denial::EPERM);
            spec.no_new_privileges = no_new_privileges;
        })
    };
    let tmpfs = |inodes| {
        spec(&|spec| {
            let mut tmpfs = Tmpfs::default();
            tmpfs.inodes = inodes;
            spec.mounts.push(Mount { target: "/data".into(), kind: MountKind::Tmpfs(tmpfs) });
        })
    };
    let clocks = |init| spec(&|spec| (spec.init, spec.namespaces.time) = (init, Namespace::New));
    for (spec, kernel, fits) in [
        (deny("execve", true), (6, 18), false),
        (deny("write", true), (6, 18), false),
        (deny("prctl", true), (6, 18), true),
        (deny("@process", true), (6, 18), true),
        (deny("@process", false), (6, 18), false),
        (tmpfs((1 << 54) - 1), (6, 18), true),
        (tmpfs(1 << 54), (6, 18), false),
        (clocks(Init::Payload), (6, 1), true),
        (clocks(Init::Payload), (5, 15), true),
        (clocks(Init::Stub), (5, 15), true),
    ] {
        let [user, mut root] = hosts(&spec);
        for facts in [&mut root, &mut user.clone()] {
            facts.kernel = kernel;
            assert_eq!(verified(&spec, facts).is_some(), fits, "{kernel:?} {spec:#?}");
        }
    }
}
