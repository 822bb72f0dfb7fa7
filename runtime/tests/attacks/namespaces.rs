//! Section 4: namespaces, mounts, file systems of the kernel.

use skep::ErrorKind;
use skep::Phase;
use skep::spec::{Bind, MountKind, Namespace, Network};
use skep::sys::abi::{MountAttrs, Namespaces};
use skep::sys::{Op, OpKind, Proof, Slot};

use super::starts::{at, facts};
use super::{ALL, CHILD, execs, ops, place, spec, starts};

#[test]
fn row_056_the_first_call_about_mounts_makes_all_private() {
    for (name, _, verified) in starts() {
        let first = ops(verified.plan(), CHILD).find(|op| {
            matches!(op, Op::MountSetAttr { .. } | Op::MoveMount { .. } | Op::OpenTree { .. } | Op::FsMount { .. })
        });
        let private = matches!(first, Some(Op::MountSetAttr { path, propagation, .. })
            if path == c"/" && propagation == skep::sys::abi::Propagation::PRIVATE);
        assert!(private, "{name}: {first:?}");
        for op in ops(verified.plan(), ALL) {
            if let Op::MountSetAttr { propagation, .. } = op {
                let known = [skep::sys::abi::Propagation::PRIVATE, skep::sys::abi::Propagation::NONE];
                assert!(known.contains(&propagation), "{name}: {op}");
            }
        }
    }
}

#[test]
fn row_058_attributes_are_only_added() {
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), ALL) {
            if let Op::MountSetAttr { clear, .. } = op {
                assert_eq!(clear, MountAttrs::NONE, "{name}: {op}");
            }
        }
    }
}

/// A clone of the host is nosuid and private before it is anywhere.
#[test]
fn row_059_a_tree_is_attached_with_its_attributes() {
    for (name, _, verified) in starts() {
        let mut set: Vec<(Slot, MountAttrs)> = Vec::new();
        for phase in [&[Phase::Prepare, Phase::Attend][..], CHILD] {
            for (_, _, op) in verified.plan().ops().filter(|(_, of, _)| phase.contains(of)) {
                match op {
                    Op::OpenTree { into, .. } => set.retain(|row| row.0 != into),
                    Op::MountSetAttr { dir: skep::sys::At::Slot(slot), path, set: attrs, .. } if path.is_empty() => {
                        set.push((slot, attrs));
                    }
                    Op::MoveMount { from, .. } => {
                        let attrs =
                            set.iter().filter(|row| row.0 == from).fold(MountAttrs::NONE, |all, row| all.with(row.1));
                        // A file system of ours has its own from fsmount(2).
                        let made = ops(verified.plan(), ALL).any(|op| matches!(op, Op::FsMount { into, attrs, .. } if into == from && attrs.has(MountAttrs::NOSUID)));
                        assert!(attrs.has(MountAttrs::NOSUID) || made || attrs.has(MountAttrs::RDONLY), "{name}: {op}");
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn row_060_a_mount_over_what_is_masked_is_refused() {
    for target in ["/proc/kcore", "/proc/sys", "/sys/firmware", "/proc/acpi/x"] {
        let spec = spec(|spec| {
            let mut bind = Bind::default();
            bind.source = "/data".into();
            spec.mounts.push(at(target, MountKind::Bind(bind)));
        });
        let error = skep::compile(&spec, &facts(&spec, true)).expect_err(target);
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
    }
}

/// Whatever set of namespaces: the user's first, then the others, the mount
/// namespace last, each once.
#[test]
fn row_079_namespaces_are_joined_in_one_order() {
    let mut sets = std::collections::BTreeSet::new();
    for (name, verified) in execs() {
        let joined: Vec<Namespaces> = ops(verified.plan(), CHILD)
            .filter_map(|op| match op {
                Op::SetNs { kind, .. } => Some(kind),
                _ => None,
            })
            .collect();
        let user = joined.iter().position(|kind| *kind == Namespaces::USER);
        let first = joined.first().is_some_and(|kinds| kinds.has(Namespaces::USER));
        assert!(user.is_none_or(|at| at == 0) || first, "{name}: {joined:?}");
        let mount = joined.iter().position(|kinds| kinds.has(Namespaces::MOUNT)).unwrap();
        assert!(mount + 1 == joined.len(), "{name}: {joined:?}");
        sets.insert(format!("{joined:?}"));
    }
    assert!(!sets.is_empty());
}

/// A namespace is proved to be of its kind before anything is made.
#[test]
fn row_080_what_is_joined_is_proved() {
    let mut found = 0;
    let kinds: [(&str, Namespaces); 4] = [
        ("network", Namespaces::NETWORK),
        ("ipc", Namespaces::IPC),
        ("uts", Namespaces::UTS),
        ("cgroup", Namespaces::CGROUP),
    ];
    for (field, kind) in kinds {
        let spec = spec(|spec| {
            let path = std::path::PathBuf::from(format!("/run/ns/{field}"));
            match field {
                "network" => spec.network = Network::Path(path),
                "ipc" => spec.namespaces.ipc = Namespace::Path(path),
                "uts" => spec.namespaces.uts = Namespace::Path(path),
                _ => spec.namespaces.cgroup = Namespace::Path(path),
            }
        });
        let Ok(plan) = skep::compile(&spec, &facts(&spec, true)) else { continue };
        let plan = skep::verify(plan).unwrap();
        let proof = ops(plan.plan(), ALL)
            .position(|op| matches!(op, Op::Prove { proof: Proof::Namespace { kind: proved }, .. } if proved == kind));
        assert!(proof.unwrap() < place(plan.plan(), ALL, OpKind::Spawn).unwrap());
        found += 1;
    }
    assert!(found >= 3, "{found}");
}

/// Once a process has joined, nothing is opened but what its own terminal needs.
#[test]
fn row_082_nothing_of_the_container_decides_about_an_exec() {
    for (name, verified) in execs() {
        let all: Vec<Op<'_>> = ops(verified.plan(), CHILD).collect();
        let joined = all.iter().rposition(|op| op.kind() == OpKind::SetNs).unwrap();
        for op in &all[joined + 1..] {
            use OpKind::{OpenAt2, OpenTree, Peek, Write};
            assert!(![OpenAt2, OpenTree, Peek, Write].contains(&op.kind()), "{name}: {op}");
        }
    }
}

#[test]
fn row_088_each_kind_of_namespace_has_its_line() {
    for (name, _, verified) in starts() {
        for kind in ["mount", "pid", "uts", "ipc", "network", "user", "cgroup", "time"] {
            let lines = verified.plan().report().items().iter().filter(|item| item.name == format!("namespace {kind}"));
            assert_eq!(lines.count(), 1, "{name}: {kind}");
        }
    }
}
