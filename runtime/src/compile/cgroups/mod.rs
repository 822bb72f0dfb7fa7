//! The container's cgroup: where it goes, which limits it has.
//!
//! The files are the interface. Each group's directory is opened once and
//! proved to be on a cgroup file system; limits are written through that
//! descriptor before the child exists, and on v2 the child is born in it.

use std::path::PathBuf;

use skep_sys::abi::{OpenFlags, Resolve, fs_magic};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof, Slot};

use super::{Context, c_path, c_text, device_policy};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::CgroupLayout;
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{CpuLimit, Origin};

/// A directory to make, and what to write into its files.
pub(super) struct Group {
    pub(super) path: PathBuf,
    files: Vec<(&'static str, String)>,
    unified: bool,
    /// v2: the program that limits devices.
    devices: Option<Vec<u8>>,
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
    /// The file that counts kills by the memory limit.
    pub(super) memory_events: Option<PathBuf>,
    /// Without a cgroup for it: the limit on processes of the namespace's user.
    pub(super) processes: Option<u64>,
}

/// A limit that somebody wants.
struct Wanted {
    controller: &'static str,
    item: &'static str,
    shown: String,
    unified: Vec<(&'static str, String)>,
    legacy: Vec<(&'static str, String)>,
}

fn wanted(context: &Context<'_>) -> Result<Vec<Wanted>> {
    let resources = context.spec.resources;
    let mut list = Vec::new();
    if let Some(bytes) = resources.memory {
        if bytes < 64 << 10 {
            return Err(context
                .invalid("resources.memory", format!("a memory limit of {bytes} bytes holds no process"))
                .remedy("The least is 65536 bytes; some MiB are of use."));
        }
        list.push(Wanted {
            controller: "memory",
            item: "limit memory",
            shown: format!("{bytes} bytes"),
            unified: vec![
                ("memory.max", bytes.to_string()),
                ("memory.swap.max", "0".into()),
                ("memory.oom.group", "1".into()),
            ],
            legacy: if context.facts.cgroups.legacy_swap {
                let bytes = bytes.to_string();
                // Memory first: it may not be above both together.
                vec![("memory.limit_in_bytes", bytes.clone()), ("memory.memsw.limit_in_bytes", bytes)]
            } else {
                vec![("memory.limit_in_bytes", bytes.to_string())]
            },
        });
    }
    if let Some(CpuLimit { quota, period }) = resources.cpu {
        if quota < 1000 || !(1000..=1_000_000).contains(&period) {
            return Err(context
                .invalid("resources.cpu", format!("a processor quota of {quota} in {period} microseconds"))
                .remedy("The quota is at least 1000 microseconds, the period 1000 to 1000000."));
        }
        list.push(Wanted {
            controller: "cpu",
            item: "limit cpu",
            shown: format!("{quota} of {period} microseconds"),
            unified: vec![("cpu.max", format!("{quota} {period}"))],
            legacy: vec![("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())],
        });
    }
    if let Some(pids) = resources.pids {
        if pids == 0 {
            return Err(context
                .invalid("resources.pids", "a limit of 0 processes holds no process")
                .remedy("The command is one, the stub init another."));
        }
        list.push(pids_wanted(pids));
    }
    Ok(list)
}

fn pids_wanted(pids: u64) -> Wanted {
    Wanted {
        controller: "pids",
        item: "limit pids",
        shown: pids.to_string(),
        unified: vec![("pids.max", pids.to_string())],
        legacy: vec![("pids.max", pids.to_string())],
    }
}

/// Decides where the groups go. What the caller wrote is required; the
/// profile's limit on processes is set if supported, and else by RLIMIT_NPROC.
pub(super) fn decide(context: &Context<'_>, report: &mut Report) -> Result<Resources> {
    let mut list = wanted(context)?;
    let cgroups = &context.facts.cgroups;
    let own_pids = context.spec.resources.pids.is_some();
    let mut decided = Resources::default();
    // Moving a process between v1 groups waits for a grace period of the
    // kernel, some milliseconds; not worth it for a default that an rlimit
    // holds as well.
    let place = unified_place(context, &["pids"]);
    if !own_pids && place.is_some() {
        list.push(pids_wanted(profile::PIDS));
    } else if !own_pids {
        default_pids(context, report, &mut decided);
    }
    let policy = device_policy::decide(context, report)?;
    if list.is_empty() && policy.as_ref().is_none_or(|policy| !policy.forces) {
        if let Some(policy) = &policy {
            // A group for it alone costs a default container more than it keeps out.
            policy.missing(context, "the container has no cgroup, and no device was named", report)?;
        }
        return Ok(decided);
    }
    let name = format!("skep-{}", context.machine);
    let controllers: Vec<&str> = list.iter().map(|wanted| wanted.controller).collect();
    let legacy_devices = cgroups.legacy.contains_key("devices") && list.is_empty();
    if let Some(parent) = unified_place(context, &controllers).filter(|_| !legacy_devices) {
        let path = parent.join(&name);
        let devices = match &policy {
            Some(policy) if context.facts.device_programs => Some(policy.unified(report)),
            Some(policy) => {
                policy.missing(context, "the kernel loads no program for it (CONFIG_CGROUP_BPF)", report)?;
                None
            }
            None => None,
        };
        if list.is_empty() && devices.is_none() {
            return Ok(decided);
        }
        if list.iter().any(|wanted| wanted.controller == "memory") {
            decided.memory_events = Some(path.join("memory.events"));
        }
        for wanted in &list {
            report.applied(wanted.item, format!("{} (cgroup v2)", wanted.shown));
        }
        let files = list.into_iter().flat_map(|wanted| wanted.unified).collect();
        let origin = context.origin("resources");
        decided.groups.push(Group { path, files, unified: true, devices, origin, slot: role::CGROUP });
        decided.clone_into = Some(role::CGROUP);
        return Ok(decided);
    }
    let mut memory_events = None;
    let mut legacy = |controller: &str, path: PathBuf, files: Vec<(&'static str, String)>| {
        let origin = context.origin(if controller == "devices" { "device_policy" } else { "resources" });
        // Controllers that are mounted together share one group.
        match decided.groups.iter_mut().find(|group| group.path == path) {
            Some(group) => group.files.extend(files),
            None => {
                let slot = role::LEGACY[decided.groups.len().min(3)];
                decided.groups.push(Group { path, files, unified: false, devices: None, origin, slot });
            }
        }
    };
    for wanted in list {
        let Some(parent) = cgroups.legacy.get(wanted.controller) else {
            return Err(unavailable(context, &wanted));
        };
        let path = parent.join(&name);
        if wanted.controller == "memory" {
            memory_events = Some(path.join("memory.oom_control"));
        }
        let swap = if wanted.controller == "memory" && !cgroups.legacy_swap { ", swap not limited" } else { "" };
        report.applied(wanted.item, format!("{}{swap} (cgroup v1)", wanted.shown));
        legacy(wanted.controller, path, wanted.legacy);
    }
    match (&policy, cgroups.legacy.get("devices")) {
        (Some(policy), Some(parent)) => legacy("devices", parent.join(&name), policy.legacy(report)),
        (Some(policy), None) => {
            policy.missing(context, "no cgroup with the controller `devices` that this caller may use", report)?;
        }
        (None, _) => {}
    }
    decided.memory_events = memory_events;
    Ok(decided)
}

fn default_pids(context: &Context<'_>, report: &mut Report, decided: &mut Resources) {
    if context.mapping.is_new() {
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

fn unavailable(context: &Context<'_>, wanted: &Wanted) -> Error {
    let remedy = match context.facts.cgroups.layout {
        CgroupLayout::None => "Mount the cgroup file system on /sys/fs/cgroup.".to_owned(),
        CgroupLayout::Unified => format!(
            "Start this program in a delegated group, so that it has the controller `{}`: systemd-run --user --scope -p Delegate=yes PROGRAM",
            wanted.controller
        ),
        CgroupLayout::Legacy | CgroupLayout::Hybrid => {
            format!("Let this user write to its group of the v1 controller `{}`, or run as root.", wanted.controller)
        }
    };
    let field = format!("resources.{}", wanted.controller);
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{} cannot be set: no cgroup with the controller `{}` that this caller may use",
            wanted.item, wanted.controller
        ),
    )
    .from(context.spec.origins.of(&field))
    .remedy(remedy)
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
            .remedy("A group of that name may be left from a start that was killed: remove it, or choose another machine name.")
            .op(directory(&parent, slot))
            .op(Op::Prove { file: slot, proof: Proof::FileSystem { magic } })
            .op(Op::Mkdir { dir: At::Slot(slot), name: &name, mode: 0o755, exist_ok: false })
            .undo(Op::Unlink { dir: At::Cwd, path: &path, directory: true })
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
            plan.step(Phase::Prepare, format!("set {file} to {value}"), group.origin.clone()).op(Op::Write {
                dir: At::Slot(slot),
                path: &file_name,
                content: Blob(value.as_bytes()),
            });
        }
    }
    Ok(())
}

/// v1: the child is moved before it may go on.
pub(super) fn attend(resources: &Resources, plan: &mut Builder) {
    for group in resources.groups.iter().filter(|group| !group.unified) {
        plan.step(Phase::Attend, format!("move the child into {}", group.path.display()), group.origin.clone())
            .op(Op::WritePid { dir: At::Slot(group.slot), path: c"cgroup.procs", pid: role::PID });
    }
}
