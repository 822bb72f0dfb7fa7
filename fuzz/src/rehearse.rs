//! Whole starts on the kernel in memory.

use std::path::{Component, Path, PathBuf};

use skep::facts::{EntryKind, PathFact};
use skep::spec::{Init, Stream, Want};
use skep::{Facts, Plan, Spec};
use skep_sys::{Actor, Model, Stage as _};

/// Starts `spec` on a model of the host that `facts` describe. A host that is
/// made up may refuse; then nothing was executed and nothing is left. Else the
/// payload is as confined as the Spec says.
pub(crate) fn rehearse(spec: &Spec, facts: &Facts, plan: &Plan) {
    if spec.stdio.contains(&Stream::Given) {
        // Whose descriptors nobody gives here.
        return;
    }
    let Some((mut model, facts)) = host(facts) else { return };
    // The same plan, for the inodes of the model.
    let verified = skep::compile(spec, &facts)
        .and_then(skep::verify)
        .unwrap_or_else(|error| panic!("compiles no more when only inodes differ: {error}\n{spec:#?}\n{plan}"));
    let payload = if spec.init == Init::Stub { Actor::Payload } else { Actor::Child };
    let ended = skep::rehearse(&mut model, &verified);
    let process = model.process(payload);
    if let Err(error) = ended {
        super::assert_fit_for_a_terminal(&error);
        let running = process.is_some_and(|process| process.exec().is_some() && process.ended().is_none());
        assert!(!running, "failed, and the payload runs: {error}\n{spec:#?}");
        model.act_as(Actor::Host);
        let mut changes = model.host_changes();
        // Mount points that a tree lacks are made in it, and stay; even in a
        // tree of cgroups. Ours have a name.
        let made = ["+ directory ", "+ file ", "+ cgroup "];
        changes.retain(|change| !made.iter().any(|made| change.starts_with(made)) || change.contains("/skep-"));
        assert!(changes.is_empty(), "failed, and left {changes:#?}: {error}\n{spec:#?}");
        return;
    }
    let process = process.filter(|process| process.exec().is_some());
    let Some(process) = process else { panic!("a start without an exec\n{spec:#?}") };
    let credentials = process.credentials();
    let asked = spec.capabilities;
    for (name, set) in [
        ("bounding", credentials.bounding),
        ("permitted", credentials.permitted),
        ("effective", credentials.effective),
        ("inheritable", credentials.inheritable),
        ("ambient", credentials.ambient),
    ] {
        assert!(asked.bounding.0.contains(set), "{name}: {set} beyond {}\n{spec:#?}", asked.bounding.0);
    }
    assert_eq!(credentials.inheritable, credentials.ambient, "{spec:#?}");
    assert_eq!(credentials.ambient, asked.ambient.0, "{spec:#?}");
    assert!(credentials.no_new_privs || !spec.no_new_privileges, "{spec:#?}");
    assert!(credentials.filters > 0 || spec.seccomp == Want::Off, "{spec:#?}");
    assert_eq!(process.umask(), spec.umask);
    let descriptors = process.descriptors();
    assert!(descriptors.len() <= 3 + spec.descriptors.len(), "{descriptors:?}\n{spec:#?}");
}

/// A model with what the facts say is there, and the facts with its inodes.
fn host(facts: &Facts) -> Option<(Model, Facts)> {
    let mut model = match facts.uid {
        0 => Model::new(),
        uid => Model::as_user(uid),
    };
    for range in [facts.subuid, facts.subgid].into_iter().flatten() {
        model = model.subids(range.base, range.count);
    }
    for (path, fact) in &facts.paths {
        let path = &plain(path)?;
        model = match fact.kind {
            EntryKind::Directory if model.inode(path).is_none() => model.directory(path),
            EntryKind::File if model.inode(path).is_none() => model.file(path, ""),
            _ => model,
        };
    }
    for group in &facts.cgroups.unified {
        model = model.directory(&plain(&group.path)?);
    }
    model = model.file("/usr/bin/true", "program");
    let built = facts.clone().on(&mut model);
    // What facts say may not be possible: a directory below a file.
    let lost = |(path, fact): (&PathBuf, &PathFact)| {
        fact.kind != EntryKind::Missing && built.paths[path].kind == EntryKind::Missing
    };
    if facts.paths.iter().any(lost) {
        return None;
    }
    Some((model, built))
}

/// A path that the model's host can be built with, without `.` and doubled slashes.
fn plain(path: &Path) -> Option<String> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let text = path.components().collect::<PathBuf>().into_os_string().into_string().ok()?;
    (plain && path.is_absolute() && text.len() < 256 && !text.contains('\0')).then_some(text)
}
