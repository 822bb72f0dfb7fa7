//! This host, told to a model: what the plan of a Spec looks at, and what the
//! embedder is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use skep::spec::MountKind;
use skep::sys::abi::{CapabilitySet, Resource};
use skep::sys::{Actor, Model};
use skep::{Facts, Spec};
use skep_tests::field;

use crate::state::{ids, limits, mask, numbers};

/// The host as `facts` found it, for the plan of `spec`.
pub(crate) fn model(spec: &Spec, facts: &Facts) -> Model {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines = mountinfo.lines().map(|line| (line, Path::new(line.split(' ').nth(4).unwrap_or_default()).is_dir()));
    let model = if facts.uid == 0 { Model::new() } else { Model::as_user(facts.uid) };
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kilobytes: u64 = field(&meminfo, "MemTotal").split(' ').next().unwrap().parse().unwrap();
    let model = model
        .memory(kilobytes << 10)
        .cap_last_cap(facts.last_capability)
        .kernel(facts.kernel.0 as u16, facts.kernel.1 as u16);
    let directory = |path: &&str| if Path::new(path).is_dir() { format!("{path}/") } else { (*path).to_owned() };
    let sysctls = spec.sysctls.keys().map(|name| format!("/proc/sys/{}", name.replace('.', "/")));
    let more: Vec<String> = facts.kernel_paths.iter().map(directory).chain(sysctls).collect();
    let there = |path: &str| Path::new(path).exists();
    let model = embedder(model.kernel_files(there, more.iter().map(String::as_str)).mounts(lines), facts);
    let mut told = Told { model, seen: BTreeSet::new() };
    let tops = fs::read_dir("/").unwrap().flatten().map(|entry| entry.path());
    let mut paths: BTreeSet<PathBuf> = tops.collect();
    paths.extend(facts.paths.keys().cloned());
    paths.extend(facts.registry.iter().map(|registry| registry.base.join("skep")));
    paths.extend(facts.id_map_helpers.iter().flatten().cloned());
    let ruled = spec.landlock.paths.iter().map(|rule| &rule.path);
    for inside in facts.targets.keys().chain([&spec.working_directory]).chain(ruled) {
        paths.insert(below(&spec.root.path, inside));
        // Where the host's /usr is, or something bound.
        paths.insert(inside.clone());
        for mount in &spec.mounts {
            if let (MountKind::Bind(bind), Ok(rest)) = (&mount.kind, inside.strip_prefix(&mount.target)) {
                paths.insert(bind.source.join(rest));
            }
        }
    }
    paths.extend(["null", "zero", "full", "random", "urandom", "tty"].map(|name| Path::new("/dev").join(name)));
    if spec.root.path != Path::new("/") {
        everything(&spec.root.path, &mut paths);
    }
    let named: Vec<PathBuf> = spec.joined().into_iter().map(|(path, _)| path.to_owned()).collect();
    for path in paths.iter().filter(|path| !named.contains(path)) {
        told.path(path);
    }
    spec.joined().into_iter().fold(told.model, |model, (path, kind)| match path.to_str() {
        Some(text) => model.namespace(text, kind),
        None => model,
    })
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A small tree of a test's own.
fn everything(path: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        found.insert(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            everything(&entry.path(), found);
        }
    }
}

fn embedder(mut model: Model, facts: &Facts) -> Model {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let mut credentials = model.process(Actor::Host).unwrap().credentials();
    (credentials.uid, credentials.gid) = (ids(field(&status, "Uid")), ids(field(&status, "Gid")));
    credentials.groups = field(&status, "Groups").split_whitespace().map(|id| id.parse().unwrap()).collect();
    let set = |name| CapabilitySet(mask(field(&status, name)));
    (credentials.permitted, credentials.effective) = (set("CapPrm"), set("CapEff"));
    (credentials.inheritable, credentials.bounding, credentials.ambient) =
        (set("CapInh"), set("CapBnd"), set("CapAmb"));
    credentials.no_new_privs = field(&status, "NoNewPrivs") == "1";
    model = model.credentials(&credentials);
    for (number, (soft, hard)) in limits("self").into_iter().enumerate() {
        model = model.limit(Resource(number as u8), soft, hard);
    }
    model = model.umask(u32::from_str_radix(field(&status, "Umask"), 8).unwrap());
    // But for the one by which they are listed.
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    model =
        model.descriptors(open.into_iter().filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok()));
    model = model.signals(mask(field(&status, "SigBlk")), mask(field(&status, "SigIgn")));
    model = model.hostname(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    model = model.processors(numbers(field(&status, "Cpus_allowed_list")));
    for range in [facts.subuid, facts.subgid].into_iter().flatten() {
        model = model.subids(range.base, range.count);
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    model.cgroup(unified.unwrap_or_default())
}

struct Told {
    model: Model,
    seen: BTreeSet<PathBuf>,
}

impl Told {
    /// What lies at a path, at each of its components, and where links lead.
    fn path(&mut self, path: &Path) {
        let mut at = PathBuf::from("/");
        let mut rest = path.components();
        loop {
            if self.seen.insert(at.clone()) {
                self.one(&at);
            }
            if at.is_symlink() {
                if let Ok(real) = fs::canonicalize(&at) {
                    self.path(&real.join(rest.as_path()));
                }
                return;
            }
            match rest.next() {
                // The root is there already, and does not change.
                Some(Component::ParentDir) => drop(at.pop()),
                Some(part) => at.push(part),
                None => return,
            }
        }
    }

    fn one(&mut self, path: &Path) {
        let (Ok(found), Some(text)) = (fs::symlink_metadata(path), path.to_str()) else { return };
        let model = std::mem::take(&mut self.model);
        let (kind, [major, minor]) = (found.file_type(), device(found.rdev()));
        let mut model = model;
        // What procfs and sysfs hold they hold by themselves.
        if model.inode(text).is_none() {
            model = if kind.is_dir() {
                model.directory(text)
            } else if kind.is_symlink() {
                model.symlink(text, fs::read_link(path).unwrap().to_str().unwrap_or_default())
            } else if kind.is_char_device() {
                model.device(text, major, minor)
            } else {
                model.file(text, "")
            };
        }
        if path != Path::new("/proc/self") {
            model = model.owned(text, found.uid(), found.gid(), found.mode() & 0o7777);
            model = model.numbered(text, found.dev(), found.ino());
        }
        self.model = model;
    }
}

/// makedev(3)
fn device(number: u64) -> [u32; 2] {
    [(number >> 8 & 0xfff) as u32, (number & 0xff | number >> 12 & 0xfff00) as u32]
}
