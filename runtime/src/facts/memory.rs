//! A host in memory, out of facts.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use skep_sys::Model;

use super::{EntryKind, Facts, PathFact};
use crate::spec::{Mount, MountKind, Profile, Spec};

pub(super) fn host(facts: Facts, spec: &Spec) -> Option<(Model, Facts)> {
    let mut model = match facts.uid {
        0 => Model::new(),
        uid => Model::as_user(uid),
    };
    for range in [facts.subuid, facts.subgid].into_iter().flatten() {
        model = model.subids(range.base, range.count);
    }
    for (path, kind) in spec.joined() {
        let path = &plain(path)?;
        // `/proc/sys` is there, and no namespace.
        if model.inode(path).is_some() {
            return None;
        }
        model = model.namespace(path, kind);
    }
    for (path, fact) in &facts.paths {
        let path = &plain(path)?;
        if model.inode(path).is_some() {
            continue;
        }
        let own = |model: Model| model.owned(path, fact.uid, fact.gid, 0o755);
        model = match (fact.kind, fact.node) {
            (EntryKind::Directory, _) => own(model.directory(path)),
            (EntryKind::File, _) => {
                own(model.file(path, facts.contents.get(Path::new(path)).map_or(&[][..], Vec::as_slice)))
            }
            (EntryKind::Special, Some(node)) if node.block => model.block_device(path, node.major, node.minor),
            (EntryKind::Special, Some(node)) => model.device(path, node.major, node.minor),
            _ => model,
        };
    }
    model = tree(model, &facts, spec)?;
    model = groups(model, &facts)?;
    if let Some(registry) = &facts.registry {
        let base = plain(&registry.base)?;
        let directory = format!("{base}/{}", crate::registry::DIRECTORY);
        // It stays, once it is made: here it is there.
        model = model.directory(&directory).owned(&base, facts.uid, facts.gid, 0o755);
        model = model.owned(&directory, facts.uid, facts.gid, 0o700);
    }
    if facts.uid == 0 && spec.profile == Profile::Nspawn {
        // So does what is on the way to directories of a machine.
        for step in crate::compile::incoming::way("").steps().iter().filter(|step| !step.own) {
            let path = step.path();
            model = model.directory(&path).owned(&path, 0, 0, step.mode);
        }
    }
    model = links(model, spec);
    model = model.file("/usr/bin/true", "program");
    let built = facts.clone().on(&mut model);
    // What facts say may not be possible: a directory below a file.
    let lost = |(path, fact): (&PathBuf, &PathFact)| {
        fact.kind != EntryKind::Missing && built.paths[path].kind == EntryKind::Missing
    };
    if facts.paths.iter().any(lost) { None } else { Some((model, built)) }
}

/// Interfaces of the host that the Spec names.
fn links(mut model: Model, spec: &Spec) -> Model {
    let links = &spec.links;
    let named: std::collections::BTreeSet<&str> =
        [&links.macvlan, &links.ipvlan, &links.moved].into_iter().flatten().map(|pair| pair.host()).collect();
    for name in named {
        model = model.interface(name);
    }
    match &links.bridge {
        Some(bridge) => model.bridge(bridge.as_str()),
        None => model,
    }
}

/// The container's root, where it is a tree of the host, with the mount points
/// that facts say are there.
fn tree(mut model: Model, facts: &Facts, spec: &Spec) -> Option<Model> {
    let root = plain(&spec.root.top())?;
    if root == "/" {
        return Some(model);
    }
    let below = |path: &Path| plain(path).map(|path| format!("{}{path}", root.trim_end_matches('/')));
    for (name, target) in &facts.usr_links {
        model = model.symlink(&below(&Path::new("/").join(name))?, target.to_str()?);
    }
    // Those that a tree lacks are made in it, and stay.
    let usual = ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "var"]
        .into_iter()
        .filter(|name| !facts.lacking.contains_key(name))
        .map(|name| (Path::new("/").join(name), false));
    for (path, fact) in &facts.targets {
        let existing: PathBuf = path.components().take(fact.existing + 1).collect();
        let file =
            fact.kind == EntryKind::File || spec.mounts.iter().any(|mount| mount.target == *path && is_file(mount));
        for at in seen_at(spec, &existing) {
            model = place(model, facts, &at.map_or_else(|| below(&existing), |source| plain(&source))?, file);
        }
    }
    for (path, file) in usual {
        model = place(model, facts, &below(&path)?, file);
    }
    model = model.file(&below(Path::new("/usr/bin/true"))?, "program");
    // An ordinary user can make mount points only in a tree of its own.
    Some(model.owned(&root, facts.uid, facts.gid, 0o755))
}

fn is_file(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::File(_) | MountKind::Secret(_))
}

/// Where a path of the container lies: in its tree (`None`), and in what is
/// bound over that.
fn seen_at(spec: &Spec, path: &Path) -> Vec<Option<PathBuf>> {
    let bound = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind(bind) => Some(bind.of_host(&spec.root).join(path.strip_prefix(&mount.target).ok()?)),
        _ => None,
    });
    [None].into_iter().chain(bound.map(Some)).collect()
}

/// What is there already stays.
fn place(mut model: Model, facts: &Facts, at: &str, file: bool) -> Model {
    let ends = at.match_indices('/').map(|(end, _)| end).filter(|end| *end > 0);
    for end in ends.chain([at.len()]) {
        if model.inode(&at[..end]).is_none() {
            let last = end == at.len();
            model = if file && last { model.file(at, "") } else { model.directory(&at[..end]) };
            model = model.owned(&at[..end], facts.uid, facts.gid, 0o755);
        }
    }
    model
}

fn groups(mut model: Model, facts: &Facts) -> Option<Model> {
    for group in &facts.cgroups.unified {
        let (uid, gid) = if group.writable { (facts.uid, facts.gid) } else { (0, 0) };
        let path = plain(&group.path)?;
        model = match path.starts_with("/sys/fs/cgroup") {
            true => model.group(&path, uid, gid),
            false => model.directory(&path),
        };
    }
    // Several controllers in one hierarchy have one directory.
    let mut hierarchies: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (controller, path) in &facts.cgroups.legacy {
        hierarchies.entry(plain(path)?).or_default().push(controller);
    }
    for (path, controllers) in hierarchies {
        model = model.legacy_group(&path, &controllers, facts.uid, facts.gid);
    }
    Some(model)
}

/// A path that the model's host can be built with, without `.` and doubled slashes.
fn plain(path: &Path) -> Option<String> {
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let text = path.components().collect::<PathBuf>().into_os_string().into_string().ok()?;
    (plain && path.is_absolute() && text.len() < 256 && !text.contains('\0')).then_some(text)
}
