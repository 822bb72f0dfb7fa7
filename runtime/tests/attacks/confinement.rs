//! Sections 3 and 5: identity, capabilities, filters.

use skep::Phase;
use skep::spec::{FileAccess, IdRange, PathRule, User, UserNamespace, Want};
use skep::sys::abi::cap;
use skep::sys::{At, Errno, Op, OpKind, Proof};
use skep::{Facts, Outcome};

use super::starts::{facts, host, verified};
use super::{ALL, CHILD, HOST, fails_closed, in_order, is_read_back, ops, place, spec, starts};

#[test]
fn row_037_capabilities_of_a_later_kernel_are_dropped_too() {
    let spec = spec(|_| ());
    let mut model = skep::sys::Model::new().cap_last_cap(45);
    let mut facts = Facts::example(&spec).on(&mut model);
    (facts.uid, facts.gid, facts.last_capability) = (0, 0, 45);
    facts.capabilities = skep::sys::abi::CapabilitySet::up_to(45);
    let plan = skep::verify(skep::compile(&spec, &facts).unwrap()).unwrap();
    skep::rehearse(&mut model, &plan).unwrap();
    let held = model.process(skep::sys::Actor::Payload).unwrap().credentials();
    assert_eq!((held.bounding.0, held.permitted.0, held.inheritable.0, held.ambient.0), (0, 0, 0, 0));
}

#[test]
fn row_038_a_drop_that_is_refused_ends_the_start() {
    for kind in [OpKind::DropBounding, OpKind::CapSet, OpKind::SetSecureBits] {
        fails_closed(kind, Errno::EPERM);
        is_read_back(kind);
    }
    // It is empty by then: the permitted set has gone.
    fails_closed(OpKind::AmbientSet, Errno::EPERM);
}

#[test]
fn row_039_no_new_privs_is_in_force_or_nothing_starts() {
    fails_closed(OpKind::NoNewPrivs, Errno::EINVAL);
    is_read_back(OpKind::NoNewPrivs);
}

#[test]
fn row_041_setgroups_is_denied_before_the_maps() {
    let spec = spec(|spec| spec.user_namespace = UserNamespace::Own);
    let plan = verified(&spec, false);
    let writes: Vec<String> = ops(plan.plan(), HOST)
        .filter_map(|op| match op {
            Op::Write { path, content, .. } => {
                Some(format!("{} {}", path.to_string_lossy(), String::from_utf8_lossy(content.0).trim()))
            }
            _ => None,
        })
        .collect();
    let place = |start: &str| writes.iter().position(|line| line.starts_with(start)).unwrap();
    assert_eq!(writes[place("setgroups")], "setgroups deny");
    assert!(place("setgroups") < place("gid_map") && place("gid_map") < place("uid_map"), "{writes:?}");
}

/// The text of a map, read by somebody else's reader, is the range; what
/// overflows, is empty or holds the id −1 is refused.
#[test]
fn row_044_maps_say_what_was_asked_and_nothing_else_is_written() {
    let asked = |base, count| {
        let spec = spec(|spec| spec.user_namespace = UserNamespace::Range(IdRange { base, count }));
        skep::compile(&spec, &facts(&spec, true))
    };
    let limits = [(1, 1), (500_000, 65_536), (65_536, 1), (u32::MAX - 2, 1), (u32::MAX - 65_537, 65_536)];
    for (base, count) in limits {
        let Ok(plan) = asked(base, count) else { panic!("{base} {count}") };
        let maps = ops(&plan, HOST).filter_map(|op| match op {
            Op::Write { path, content, .. } if path.to_bytes().ends_with(b"_map") => Some(content.0.to_vec()),
            _ => None,
        });
        let mut seen = 0;
        for map in maps {
            let numbers: Vec<u64> =
                String::from_utf8(map).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers, [0, u64::from(base), u64::from(count)]);
            seen += 1;
        }
        assert_eq!(seen, 2);
    }
    for (base, count) in [(5, 0), (u32::MAX, 1), (u32::MAX - 1, 2), (1, u32::MAX), (0, 0), (4_000_000_000, 400_000_000)]
    {
        assert!(asked(base, count).is_err(), "{base} {count}");
    }
}

#[test]
fn row_045_a_range_is_one_containers() {
    let range = |base| spec(|spec| spec.user_namespace = UserNamespace::Range(IdRange { base, count: 1000 }));
    let mut model = host(true);
    skep::rehearse(&mut model, &verified(&range(500_000), true)).unwrap();
    for overlapping in [500_000, 500_999, 499_001] {
        skep::sys::Stage::act_as(&mut model, skep::sys::Actor::Host);
        let error = skep::rehearse(&mut model, &verified(&range(overlapping), true)).unwrap_err();
        assert!(matches!(error.errno(), Some(Errno::EAGAIN | Errno::EBUSY)), "{error}");
    }
}

#[test]
fn row_046_helpers_are_files_of_root_at_fixed_places() {
    let spec = spec(|spec| spec.user_namespace = UserNamespace::Subordinate);
    let plan = verified(&spec, false);
    let all: Vec<Op<'_>> = ops(plan.plan(), ALL).collect();
    let mut helpers = 0;
    for (index, op) in all.iter().enumerate() {
        let Op::OpenAt2 { dir: At::Cwd, path, into, .. } = op else { continue };
        if !path.to_bytes().ends_with(b"idmap") {
            continue;
        }
        assert!(["/usr/bin/newuidmap", "/usr/bin/newgidmap"].contains(&path.to_str().unwrap()), "{op}");
        assert!(matches!(all[index + 1], Op::Prove { file, proof: Proof::OwnedByRoot } if file == *into), "{op}");
        helpers += 1;
    }
    assert_eq!(helpers, 2);
}

#[test]
fn row_047_ids_are_set_whole_and_read_back() {
    for kind in [OpKind::SetResUid, OpKind::SetResGid] {
        fails_closed(kind, Errno::EPERM);
        is_read_back(kind);
    }
    fails_closed(OpKind::ProveCredentials, Errno::EPERM);
}

#[test]
fn row_048_groups_then_group_then_user_then_capabilities() {
    let order = [OpKind::SetGroups, OpKind::SetResGid, OpKind::SetResUid, OpKind::CapSet, OpKind::ProveCredentials];
    for (name, _, verified) in starts() {
        let switch = ops(verified.plan(), CHILD).position(|op| op.kind() == OpKind::PivotRoot).unwrap();
        let after: Vec<OpKind> = ops(verified.plan(), CHILD).skip(switch).map(|op| op.kind()).collect();
        let places: Vec<usize> = order.iter().filter_map(|kind| after.iter().position(|other| other == kind)).collect();
        assert!(places.is_sorted() && places.len() >= 4, "{name}: {places:?}");
    }
}

#[test]
fn row_050_memory_is_hidden_before_ids_change() {
    for (name, _, verified) in starts() {
        let mut hidden = false;
        for op in ops(verified.plan(), CHILD) {
            match op {
                Op::Dumpable { on } => hidden = !on,
                Op::SetResUid { .. } | Op::SetResGid { .. } | Op::SetGroups { .. } => assert!(hidden, "{name}: {op}"),
                _ => {}
            }
        }
        assert!(hidden, "{name}");
    }
}

#[test]
fn row_076_the_hosts_firewall_is_not_for_the_payload() {
    let spec = spec(|spec| {
        spec.network = skep::spec::Network::Host;
        spec.user_namespace = UserNamespace::Host;
        let bounding = spec.capabilities.bounding.0.with(cap::NET_ADMIN);
        spec.capabilities.bounding = skep::spec::CapabilityList(bounding);
    });
    let error = skep::compile(&spec, &facts(&spec, true)).unwrap_err();
    assert!(error.to_string().contains("CAP_NET_ADMIN") && error.advice().is_some(), "{error}");
}

#[test]
fn row_099_after_the_filter_there_is_the_exec() {
    for (name, spec, verified) in starts() {
        if !spec.system_calls.notify.is_empty() {
            continue;
        }
        let kinds: Vec<OpKind> = ops(verified.plan(), &[Phase::Payload]).map(|op| op.kind()).collect();
        let filter = kinds.iter().rposition(|kind| *kind == OpKind::Seccomp).unwrap();
        assert_eq!(kinds[filter + 1..], [OpKind::Announce, OpKind::Exec], "{name}");
    }
    fails_closed(OpKind::Seccomp, Errno::EINVAL);
}

/// The plan's files: what executes is sealed whole, what is data cannot execute.
#[test]
fn row_101_what_runs_is_sealed() {
    use skep::sys::Recorder;
    use skep::sys::abi::Seals;
    let spec = spec(|_| ());
    let mut recorder = Recorder::around(host(true));
    skep::rehearse(&mut recorder, &verified(&spec, true)).unwrap();
    let mut made = 0;
    for op in recorder.ops() {
        if let Op::MemFd { seals, executable, .. } = op {
            assert!(!executable || seals.has(Seals::WRITE) && seals.has(Seals::SEAL), "{op}");
            made += 1;
        }
    }
    assert!(made >= 2, "{made}");
}

#[test]
fn row_108_landlock_comes_once_descriptors_are_closed() {
    let spec = spec(|spec| {
        spec.landlock.files = Want::Require;
        spec.landlock.paths.push(PathRule::new("/usr", [FileAccess::Read]));
        spec.user = User::Ids { uid: 7, gid: 7 };
    });
    for root in [false, true] {
        let plan = verified(&spec, root);
        let kinds = [OpKind::Adopt, OpKind::PivotRoot, OpKind::NoNewPrivs, OpKind::LandlockRestrict, OpKind::Seccomp];
        in_order("landlock", plan.plan(), CHILD, &kinds);
        assert!(place(plan.plan(), CHILD, OpKind::LandlockRestrict).is_some());
        assert!(matches!(plan.plan().report().of("landlock files"), Some(Outcome::Applied(_))));
    }
}

/// What no filter can stop is said where somebody decides to rely on one.
#[test]
fn row_112_bugs_of_the_kernel_are_said_to_stay() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, words) in [
        ("guide/src/hardening.md", "Bugs of the kernel in calls that the filter allows"),
        ("SECURITY.md", "**Bugs of the kernel** in calls that the filter allows"),
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{file}");
    }
}

/// As the first thing, whatever is asked for.
#[test]
fn row_054_a_set_id_program_starts_nothing() {
    for change in [|_: &mut skep::Spec| (), |spec: &mut skep::Spec| spec.command.clear()] {
        let spec = spec(change);
        let mut facts = Facts::example(&spec);
        facts.secure_execution = true;
        let error = skep::compile(&spec, &facts).unwrap_err();
        assert_eq!(error.kind(), skep::ErrorKind::NotPermitted, "{error}");
        assert!(error.to_string().contains("AT_SECURE") && error.advice().is_some(), "{error}");
    }
}
