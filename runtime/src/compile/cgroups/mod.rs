//! The container's cgroup: where it goes, which limits it has.
//!
//! The files are the interface. Each group's directory is opened once and
//! proved to be on a cgroup file system; limits are written through that
//! descriptor before the child exists, and on v2 the child is born in it.
//!
//! All of them go to v2 where that has every controller, else all to v1.

pub(crate) mod limits;

use std::path::{Path, PathBuf};

use skep_sys::abi::{OpenFlags, Resolve, Resource, fs_magic};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof, Slot};

use super::ids::Mapping;
use super::{Context, c_path, c_text, device_policy};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{CgroupLayout, Facts};
use crate::plan::{self, Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Namespace, Origin, Spec, Want};
use limits::{Files, Host, Wanted};

/// A directory to make, and what to write into its files.
pub(super) struct Group {
    pub(super) path: PathBuf,
    files: Files,
    unified: bool,
    /// v1: the controllers that the group was made for.
    controllers: Vec<&'static str>,
    /// v2: the program that limits devices.
    devices: Option<Vec<u8>>,
    /// By it every process of the container can be killed, where the end of
    /// process 1 does not do it.
    pub(super) kills: bool,
    /// v2: the ids of the host that get it for their own.
    owner: Option<(u32, u32)>,
    /// v2: it is theirs, given or not.
    delegated: bool,
    origin: Origin,
    /// The directory's descriptor, in the embedder's table.
    slot: Slot,
}

/// What was decided about resources.
#[derive(Default)]
pub(super) struct Resources {
    pub(super) groups: Vec<Group>,
    /// v2: the child is cloned into this group.
    pub(super) clone_into: Option<Slot>,
    /// Without a cgroup for it: the limit on processes of the namespace's user.
    pub(super) processes: Option<u64>,
}

impl Resources {
    /// Whether the container is in a v2 group that it may have for its own.
    pub(super) fn delegated(&self) -> bool {
        self.groups.iter().any(|group| group.unified && group.delegated)
    }

    /// As the handle of the container wants to know it.
    pub(super) fn planned(&self) -> Vec<plan::Group> {
        self.groups
            .iter()
            .map(|group| plan::Group {
                path: group.path.clone(),
                unified: group.unified,
                controllers: group.controllers.clone(),
                kills: group.kills,
                slot: group.slot,
            })
            .collect()
    }
}

fn wanted(context: &Context<'_>) -> Result<Vec<Wanted>> {
    let device = |path: &Path| context.facts.path(path).node;
    let host = Host { cgroups: &context.facts.cgroups, device: &device, running: None };
    limits::wanted(&context.spec.resources, &host).map_err(|bad| {
        let field = format!("resources.{}", bad.field);
        let origins = &context.spec.origins;
        bad.error().from(origins.of(&field).or_else(|| origins.of("resources")))
    })
}

/// What beside limits a container wants a group for.
struct Uses {
    /// Nothing else ends all of its processes.
    kill_all: bool,
    freezing: Want,
    delegate: bool,
}

impl Uses {
    fn of(spec: &Spec) -> Self {
        Self {
            kill_all: spec.namespaces.pid != Namespace::New,
            freezing: spec.resources.freezing,
            delegate: spec.resources.delegate,
        }
    }

    const fn any(&self) -> bool {
        self.kill_all || !matches!(self.freezing, Want::Off) || self.delegate
    }
}

/// Decides where the groups go. What the caller wrote is required; the
/// profile's limit on processes is set if supported, and else by RLIMIT_NPROC.
pub(super) fn decide(context: &Context<'_>, report: &mut Report) -> Result<Resources> {
    let mut list = wanted(context)?;
    let own_pids = context.spec.resources.pids.is_some();
    let mut decided = Resources::default();
    // Moving a process between v1 groups waits for a grace period of the
    // kernel, some milliseconds; not worth it for a default that an rlimit
    // holds as well.
    let place =
        unified_place(context, &list.iter().map(|wanted| wanted.controller).chain(["pids"]).collect::<Vec<_>>());
    if !own_pids && context.nspawn() {
        report.off("limit pids", "the profile nspawn has none");
    } else if !own_pids && place.is_some() {
        list.push(limits::pids(profile::PIDS));
    } else if !own_pids {
        default_pids(context, report, &mut decided);
    }
    let policy = device_policy::decide(context, report)?;
    let forces = policy.as_ref().is_some_and(|policy| policy.forces);
    let mut uses = Uses::of(context.spec);
    // A machine has its cgroups, where that can be.
    let machine = context.nspawn() && context.host_clones && unified_place(context, &[]).is_some();
    let controllers: Vec<&str> = list.iter().map(|wanted| wanted.controller).collect();
    let together = unified_place(context, &controllers).is_some() && list.iter().all(|one| one.unified.is_ok());
    uses.delegate |= machine && together;
    if let (true, false, Some(parent)) = (machine, together, unified_place(context, &[])) {
        // Its limits are on v1, and cannot be where its group is.
        let only = Uses { delegate: true, kill_all: false, freezing: Want::Off };
        unified(context, &parent, Vec::new(), None, &only, &mut decided, report)?;
    }
    if list.is_empty() && !forces && !uses.any() {
        if let Some(policy) = &policy {
            // A group for it alone costs a default container more than it keeps out.
            policy.missing(context, "the container has no cgroup, and no device was named", report)?;
        }
        return Ok(decided);
    }
    let sayable = list.iter().all(|wanted| wanted.unified.is_ok());
    let legacy_devices = context.facts.cgroups.legacy.contains_key("devices") && list.is_empty() && forces;
    match unified_place(context, &controllers).filter(|_| sayable && (uses.delegate || !legacy_devices)) {
        Some(parent) => unified(context, &parent, list, policy.as_ref(), &uses, &mut decided, report)?,
        None if context.facts.cgroups.legacy.is_empty() && !list.is_empty() => return Err(lacking(context, &list)),
        None => legacy(context, list, policy.as_ref(), &uses, &mut decided, report)?,
    }
    Ok(decided)
}

fn group_name(context: &Context<'_>) -> String {
    crate::registry::left::group_name(&context.machine, &context.facts.registrar, context.facts.serial)
}

fn unified(
    context: &Context<'_>,
    parent: &Path,
    list: Vec<Wanted>,
    policy: Option<&device_policy::Policy>,
    uses: &Uses,
    decided: &mut Resources,
    report: &mut Report,
) -> Result<()> {
    let devices = match policy {
        Some(policy) if context.facts.device_programs => Some(policy.unified(report)),
        Some(policy) => {
            policy.missing(context, "the kernel loads no program for it (CONFIG_CGROUP_BPF)", report)?;
            None
        }
        None => None,
    };
    if list.is_empty() && devices.is_none() && !uses.any() {
        return Ok(());
    }
    let mut files = Files::new();
    for wanted in list {
        let said = wanted.unified.as_ref().map_err(|why| cannot(context, &wanted, why))?;
        report.applied(wanted.item.clone(), format!("{} (cgroup v2)", said.shown));
        files.extend(said.files.iter().cloned());
    }
    if uses.kill_all {
        report.applied(KILL_ALL, "by the cgroup (cgroup.kill)");
    }
    if uses.freezing != Want::Off {
        report.applied(FREEZING, "cgroup v2");
    }
    let owner = if uses.delegate { delegated(context, report)? } else { None };
    decided.groups.push(Group {
        path: parent.join(group_name(context)),
        files,
        unified: true,
        controllers: Vec::new(),
        devices,
        kills: uses.kill_all,
        owner,
        delegated: uses.delegate,
        origin: context.origin("resources"),
        slot: role::CGROUP,
    });
    decided.clone_into = Some(role::CGROUP);
    Ok(())
}

/// Names of lines of the report.
pub(crate) const KILL_ALL: &str = "kill all";
pub(crate) const FREEZING: &str = "freezing";
pub(crate) const DELEGATION: &str = "delegation";

/// The files of a group that go to whoever it is delegated to (kernel
/// `cgroup-v2.rst`, "Model of Delegation").
pub(crate) const DELEGATED: [&std::ffi::CStr; 3] = [c"cgroup.procs", c"cgroup.subtree_control", c"cgroup.threads"];

/// To whom the group is given: `None` where it is theirs already.
fn delegated(context: &Context<'_>, report: &mut Report) -> Result<Option<(u32, u32)>> {
    let root = |extents: &[super::ids::Extent]| {
        extents.iter().find(|[inside, _, count]| *inside == 0 && *count > 0).map(|[_, outside, _]| *outside)
    };
    let (owner, theirs) = match &context.mapping {
        Mapping::None => (Some((0, 0)), true),
        Mapping::Own { uid, gid } => (Some((uid[1], gid[1])), true),
        Mapping::Helpers { .. } => {
            return Err(Error::new(ErrorKind::NotPermitted, "an ordinary user cannot give a cgroup to another id")
                .from(context.spec.origins.of("resources.delegate"))
                .remedy("Map your own id to the container's root, or run as root."));
        }
        Mapping::Direct { extents, .. } => (root(extents).map(|id| (id, id)), false),
    };
    let Some((uid, gid)) = owner else {
        return Err(context
            .invalid("resources.delegate", "a group for the container's root, which has no id")
            .remedy("Map an id to 0."));
    };
    report.applied(DELEGATION, format!("the container's root ({uid}:{gid}) owns its cgroup"));
    // What root makes is root's.
    let given = !theirs && (uid, gid) != (context.facts.uid, context.facts.gid);
    Ok(given.then_some((uid, gid)))
}

fn legacy(
    context: &Context<'_>,
    list: Vec<Wanted>,
    policy: Option<&device_policy::Policy>,
    uses: &Uses,
    decided: &mut Resources,
    report: &mut Report,
) -> Result<()> {
    let cgroups = &context.facts.cgroups;
    let name = group_name(context);
    let limited = !list.is_empty();
    let mut add = |controller: &'static str, parent: &Path, files: Files, kills: bool| {
        let origin = context.origin(if controller == "devices" { "device_policy" } else { "resources" });
        let path = parent.join(&name);
        // Controllers that are mounted together share one group.
        match decided.groups.iter_mut().find(|group| group.path == path) {
            Some(group) => {
                group.files.extend(files);
                group.controllers.push(controller);
                group.kills |= kills;
            }
            None => {
                let before = decided.groups.iter().filter(|group| !group.unified).count();
                let slot = role::LEGACY[before.min(role::LEGACY.len() - 1)];
                let (devices, owner, controllers, delegated) = (None, None, vec![controller], false);
                let group =
                    Group { path, files, unified: false, controllers, devices, kills, owner, delegated, origin, slot };
                decided.groups.push(group);
            }
        }
    };
    for wanted in list {
        let said = wanted.legacy.as_ref().map_err(|why| cannot(context, &wanted, why))?;
        let controller = limits::legacy_name(wanted.controller);
        let parent = cgroups.legacy.get(controller).ok_or_else(|| unavailable(context, &wanted, controller))?;
        report.applied(wanted.item.clone(), format!("{} (cgroup v1)", said.shown));
        add(controller, parent, said.files.clone(), false);
    }
    match (policy, cgroups.legacy.get("devices")) {
        (Some(policy), Some(parent)) if policy.forces || limited => {
            add("devices", parent, policy.legacy(report), false);
        }
        (Some(policy), Some(_)) => {
            policy.missing(context, "the container has no cgroup, and no device was named", report)?;
        }
        (Some(policy), None) => {
            policy.missing(context, "no cgroup with the controller `devices` that this caller may use", report)?;
        }
        (None, _) => {}
    }
    if uses.delegate {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a cgroup can be delegated on v2 only, in one that this caller may use",
        )
        .from(context.spec.origins.of("resources.delegate"))
        .remedy(remedy(context.facts, "pids")));
    }
    match cgroups.legacy.get("freezer") {
        Some(parent) if uses.kill_all || uses.freezing != Want::Off => {
            add("freezer", parent, Files::new(), true);
            if uses.kill_all {
                report.applied(KILL_ALL, "by the cgroup (freezer, cgroup v1)");
            }
            if uses.freezing != Want::Off {
                report.applied(FREEZING, "cgroup v1");
            }
        }
        None if uses.kill_all => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a container that shares its process ids needs a cgroup, or nothing ends all of its processes: there is none that this caller may use",
            )
            .from(context.spec.origins.of("namespaces.pid"))
            .remedy(format!("Give it a pid namespace of its own. {}", remedy(context.facts, "freezer"))));
        }
        None if uses.freezing == Want::Require => {
            return Err(Error::new(ErrorKind::Unsupported, "it cannot be paused: no cgroup that this caller may use")
                .from(context.spec.origins.of("resources.freezing"))
                .remedy(remedy(context.facts, "freezer")));
        }
        None if uses.freezing == Want::IfSupported => {
            report.unsupported(FREEZING, "no cgroup that this caller may use");
        }
        _ => {}
    }
    Ok(())
}

fn default_pids(context: &Context<'_>, report: &mut Report, decided: &mut Resources) {
    let asked = context.spec.limits.iter().find(|(resource, _)| *resource == Resource::NPROC);
    if let (true, Some((_, limit))) = (context.mapping.is_new(), asked) {
        match limit.raw().1 {
            u64::MAX => report.off("limit pids", "the RLIMIT_NPROC asked for is no limit"),
            hard => report.applied("limit pids", format!("{hard} for each user, by the RLIMIT_NPROC asked for")),
        }
    } else if context.mapping.is_new() {
        decided.processes = Some(profile::PIDS);
        report.applied("limit pids", format!("{} for each user, by RLIMIT_NPROC in the user namespace", profile::PIDS));
    } else {
        report.unsupported("limit pids", "no cgroup that this caller may use, and no user namespace to count in");
    }
}

/// The nearest v2 group that may have a child with these controllers.
fn unified_place(context: &Context<'_>, controllers: &[&str]) -> Option<PathBuf> {
    let fits = |group: &&crate::facts::UnifiedGroup| {
        group.writable && controllers.iter().all(|controller| group.enabled.contains(*controller))
    };
    context.facts.cgroups.unified.iter().find(fits).map(|group| group.path.clone())
}

/// What stands in the way where v2 alone is there.
fn lacking(context: &Context<'_>, list: &[Wanted]) -> Error {
    if let Some((wanted, why)) = list.iter().find_map(|wanted| Some((wanted, wanted.unified.as_ref().err()?))) {
        return cannot(context, wanted, why);
    }
    let enabled = |wanted: &&Wanted| {
        let best = context.facts.cgroups.unified.iter().filter(|group| group.writable);
        // The group that has most of them is the one to say of what it lacks.
        let best = best.max_by_key(|group| list.iter().filter(|one| group.enabled.contains(one.controller)).count());
        best.is_some_and(|group| group.enabled.contains(wanted.controller))
    };
    match list.iter().find(|wanted| !enabled(wanted)).or_else(|| list.first()) {
        Some(wanted) => unavailable(context, wanted, wanted.controller),
        None => context.invalid("resources", "no limit"),
    }
}

/// A limit that this version of cgroups has no word for.
fn cannot(context: &Context<'_>, wanted: &Wanted, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{} cannot be set: {why}", wanted.item))
        .from(context.spec.origins.of(&format!("resources.{}", wanted.field)))
        .remedy(match context.facts.cgroups.layout {
            CgroupLayout::Unified => "Do that, or leave it out.",
            _ => "Boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), or leave it out.",
        })
}

fn unavailable(context: &Context<'_>, wanted: &Wanted, controller: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{} cannot be set: no cgroup with the controller `{controller}` that this caller may use", wanted.item),
    )
    .from(context.spec.origins.of(&format!("resources.{}", wanted.field)))
    .remedy(remedy(context.facts, controller))
}

/// How a caller gets a group with `controller`.
fn remedy(facts: &Facts, controller: &str) -> String {
    match facts.cgroups.layout {
        CgroupLayout::None => "Mount the cgroup file system on /sys/fs/cgroup.".to_owned(),
        CgroupLayout::Unified => format!(
            "Start this program in a delegated group, so that it has the controller `{controller}`: systemd-run --user --scope -p Delegate=yes PROGRAM"
        ),
        CgroupLayout::Legacy | CgroupLayout::Hybrid => {
            format!("Let this user write to its group of the v1 controller `{controller}`, or run as root.")
        }
    }
}

pub(super) fn prepare(resources: &Resources, plan: &mut Builder) -> Result<()> {
    for group in &resources.groups {
        let shown = group.path.display();
        let (Some(parent), Some(name)) = (group.path.parent(), group.path.file_name()) else { continue };
        let (parent, name) = (c_path(parent)?, c_text(name.as_encoded_bytes())?);
        let path = c_path(&group.path)?;
        let directory = |path, into| Op::OpenAt2 {
            dir: At::Cwd,
            path,
            flags: OpenFlags::DIRECTORY,
            mode: 0,
            resolve: Resolve::NO_MAGICLINKS.with(Resolve::NO_SYMLINKS),
            into,
        };
        let magic = if group.unified { fs_magic::CGROUP2 } else { fs_magic::CGROUP };
        let slot = group.slot;
        plan.step(Phase::Prepare, format!("make the cgroup {shown}"), group.origin.clone())
            .remedy("EEXIST: this very plan has been started before: compile it anew.")
            .op(directory(&parent, slot))
            .op(Op::Prove { file: slot, proof: Proof::FileSystem { magic } })
            .op(Op::Mkdir { dir: At::Slot(slot), name: &name, mode: 0o755, exist_ok: false })
            .undo(Op::RemoveGroup { dir: At::Cwd, path: &path })
            .op(directory(&path, slot))
            .op(Op::Prove { file: slot, proof: Proof::FileSystem { magic } });
        if let Some(program) = &group.devices {
            plan.step(Phase::Prepare, "limit the devices of the container", group.origin.clone())
                .op(Op::BpfDevice { program: Blob(program), into: role::ONE })
                .op(Op::BpfAttach { cgroup: slot, program: role::ONE })
                .op(Op::Close { file: role::ONE });
        }
        for (file, value) in &group.files {
            let file_name = c_text(file.as_bytes())?;
            plan.step(Phase::Prepare, format!("set {file} to {value}"), group.origin.clone())
                .remedy(file_remedy(file))
                .op(Op::Write { dir: At::Slot(slot), path: &file_name, content: Blob(value.as_bytes()) });
        }
        if let Some((uid, gid)) = group.owner {
            give(slot, uid, gid, &group.origin, plan);
        }
    }
    Ok(())
}

/// What a kernel or a host may lack for one file.
fn file_remedy(file: &str) -> &'static str {
    match file {
        "io.weight" => "ENOENT: this kernel has no weights of devices (CONFIG_BLK_CGROUP_IOCOST).",
        "blkio.bfq.weight" => "ENOENT: this kernel has no BFQ scheduler (CONFIG_BFQ_GROUP_IOSCHED).",
        "memory.swap.max" => "ENOENT: this kernel does not account for swap (CONFIG_SWAP, swapaccount=1).",
        "cpuset.cpus" | "cpuset.mems" => {
            "Only what the group above has, and nobody has for itself alone, can be given."
        }
        _ => "ENOENT: this kernel does not have this limit. EINVAL, EBUSY: it does not take this value here.",
    }
}

/// Hands a v2 group to the container's root.
fn give(group: Slot, uid: u32, gid: u32, origin: &Origin, plan: &mut Builder) {
    plan.step(Phase::Prepare, format!("give the cgroup to {uid}:{gid}"), origin.clone()).op(Op::Chown {
        file: group,
        uid,
        gid,
    });
    for path in DELEGATED {
        plan.op(Op::OpenAt2 {
            dir: At::Slot(group),
            path,
            flags: OpenFlags::PATH,
            mode: 0,
            resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
            into: role::ONE,
        })
        .op(Op::Chown { file: role::ONE, uid, gid })
        .op(Op::Close { file: role::ONE });
    }
}

/// v1: the child is moved before it may go on.
pub(super) fn attend(resources: &Resources, plan: &mut Builder) {
    for group in resources.groups.iter().filter(|group| !group.unified) {
        plan.step(Phase::Attend, format!("move the child into {}", group.path.display()), group.origin.clone())
            .op(Op::WritePid { dir: At::Slot(group.slot), path: c"cgroup.procs", pid: role::PID });
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::{CgroupLayout, Facts};
    use crate::spec::{CpuLimit, Spec};

    /// What is missing is named, not the first limit.
    #[test]
    fn a_controller_that_is_missing_is_named_with_a_remedy() {
        let mut spec = Spec { command: vec!["true".into()], ..Spec::default() };
        (spec.resources.memory, spec.resources.memory_high) = (Some(64 << 20), Some(32 << 20));
        spec.resources.cpu = Some(CpuLimit { quota: 50_000, period: 100_000 });
        let mut facts = Facts::example(&spec);
        facts.cgroups.layout = CgroupLayout::Unified;
        facts.cgroups.legacy.clear();
        let refused = |facts: &Facts| {
            let error = crate::compile(&spec, facts).unwrap_err();
            assert!(error.advice().unwrap().contains("Delegate=yes"), "{error:?}");
            error.to_string()
        };
        for (writable, enabled, names) in [
            (false, &["memory", "cpu"][..], "limit memory cannot be set: no cgroup with the controller `memory`"),
            (true, &[], "controller `memory`"),
            (true, &["memory", "pids"], "limit cpu cannot be set: no cgroup with the controller `cpu`"),
            (true, &["cpu"], "controller `memory`"),
        ] {
            for group in &mut facts.cgroups.unified {
                group.writable = writable;
                group.enabled = enabled.iter().map(|name| (*name).to_owned()).collect();
            }
            let said = refused(&facts);
            assert!(said.contains(names), "{enabled:?}: {said}");
        }
        facts.cgroups.unified.clear();
        assert!(refused(&facts).contains("controller `memory`"));
    }

    /// The profile's limit on processes takes nothing away.
    #[test]
    fn a_group_without_pids_is_good_enough_for_memory() {
        let mut spec = Spec { command: vec!["true".into()], ..Spec::default() };
        spec.resources.memory = Some(64 << 20);
        let mut facts = Facts::example(&spec);
        facts.cgroups.layout = CgroupLayout::Unified;
        facts.cgroups.legacy.clear();
        let mut above = facts.cgroups.unified[0].clone();
        (above.path, above.writable) = ("/sys/fs/cgroup/above".into(), true);
        above.enabled = ["pids".to_owned()].into();
        facts.cgroups.unified[0].writable = true;
        facts.cgroups.unified[0].enabled = ["memory".to_owned()].into();
        facts.cgroups.unified.push(above);
        let plan = crate::compile(&spec, &facts).unwrap();
        let says = |item: &str| plan.report().of(item).unwrap().to_string();
        assert!(says("limit memory").contains("(cgroup v2)"), "{}", says("limit memory"));
        assert!(says("limit pids").contains("RLIMIT_NPROC"), "{}", says("limit pids"));
    }
}
