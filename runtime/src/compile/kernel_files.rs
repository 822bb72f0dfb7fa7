//! `/proc` and `/sys`: mounted from inside the container's own namespaces, and
//! covered where they show or change what is not the container's.

use std::path::Path;

use skep_sys::abi::{MountAttrs, Namespaces, OpenFlags, Propagation, Resolve, TreeFlags, fs_magic};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof, Slot};

use super::cgroups::Resources;
use super::filesystem::{attach_name, own_tmpfs};
use super::{Context, absolute, c_path};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, behind, plain, plain_components};
use crate::plan::{Builder, OWN_TIME, Phase, role};
use crate::profile::{self, Cover, GROUP_PLACE};
use crate::report::Report;
use crate::spec::{KernelFiles, Namespace, Origin, TimeOffsets};

const LOCKED_DOWN: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);

/// Opens a real directory directly below the root: a link there is an error,
/// or a mask would miss (CVE-2019-19921, CVE-2023-27561).
fn place(name: &'static std::ffi::CStr, plan: &mut Builder) {
    plan.op(Op::Mkdir { dir: At::Slot(role::ROOT), name, mode: 0o555, exist_ok: true }).op(Op::OpenAt2 {
        dir: At::Slot(role::ROOT),
        path: name,
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into: role::THREE,
    });
}

fn mount_kernel_fs(kind: &std::ffi::CStr, magic: u64, attrs: MountAttrs, into: Slot, plan: &mut Builder) {
    plan.op(Op::FsOpen { kind, into: role::ONE })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs, into })
        .op(Op::Prove { file: into, proof: Proof::FileSystem { magic } });
}

/// `shared`: a clone of the host's procfs, where its process ids are shared; `sys`: one
/// of its sysfs, where the profile shows that.
pub(super) fn mount(
    context: &Context<'_>,
    shared: Option<Slot>,
    sys: Option<Slot>,
    resources: &Resources,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<()> {
    let needs_sysctls = shared.is_none() || context.mapping.is_new();
    if needs_sysctls && !context.facts.kernel_paths.contains("/proc/sys") {
        return Err(Error::new(ErrorKind::Unsupported, "this host has no /proc/sys: what a container may change there cannot be covered, and user namespaces inside not forbidden")
            .remedy("Mount a whole procfs on /proc (without `subset=pid`), on a kernel with CONFIG_PROC_SYSCTL."));
    }
    if let Some(clone) = shared {
        host_proc(context, clone, plan);
        report.off("process view", "the host's processes are visible: the pid namespace is shared");
    } else {
        plan.step(Phase::Enter, "mount proc on /proc", context.origin("profile"))
            .remedy("A new procfs needs a caller whose own /proc is not covered by other mounts (EPERM), and no link at `proc` in the root.");
        mount_kernel_fs(c"proc", fs_magic::PROC, LOCKED_DOWN, role::PROC, plan);
        place(c"proc", plan);
        plan.op(Op::MoveMount { from: role::PROC, dir: At::Slot(role::THREE), path: c"" });
        if context.spec.namespaces.pid.is_joined() {
            report.off("process view", "the processes of the pid namespace that is joined are visible");
        } else {
            report.applied("process view", "only the container's");
        }
    }
    let offsets = context.spec.namespaces.time_offsets;
    if offsets != TimeOffsets::default() {
        // This process is 1 in here, and its exec or child is the first in the
        // namespace: until then the offsets can be set.
        let text = format!("monotonic {} 0\nboottime {} 0\n", offsets.monotonic, offsets.boottime);
        plan.step(Phase::Enter, "set the offsets of the clocks", context.origin("namespaces.time_offsets"))
            .remedy("ERANGE: a clock would be negative. EACCES: the user namespace has no root; run as user 0 inside.")
            .op(Op::Write { dir: At::Slot(role::PROC), path: c"1/timens_offsets", content: Blob(text.as_bytes()) });
        report.applied("clock offsets", format!("monotonic {} s, boottime {} s", offsets.monotonic, offsets.boottime));
    }
    if context.spec.namespaces.time == Namespace::New {
        // It is for children until it is entered. That an exec enters it too is
        // new (2b5f9dad32ed); before, process 1 kept the host's clocks, and could
        // not even vfork(2).
        let file = role::ONE;
        plan.step(Phase::Enter, "enter the time namespace", context.origin("namespaces.time"))
            .op(Op::OpenAt2 {
                dir: At::Slot(role::PROC),
                path: OWN_TIME,
                flags: OpenFlags::NONE,
                mode: 0,
                resolve: Resolve::NONE,
                into: file,
            })
            .op(Op::Prove { file, proof: Proof::Namespace { kind: Namespaces::TIME } })
            .op(Op::SetNs { namespace: file, kind: Namespaces::TIME })
            .op(Op::Close { file });
    }
    super::sysctls::set(context, plan, report)?;
    if context.shows_parts_of_sys() {
        parts_of_sysfs(context, plan)?;
        report.applied("sysfs", PARTS);
    } else if context.administers_network() {
        plan.step(Phase::Enter, "mount sysfs on /sys read-only", context.origin("profile"))
            .remedy("A new sysfs needs a caller that has one itself, not covered by other mounts (EPERM), and no link at `sys` in the root.");
        mount_kernel_fs(c"sysfs", fs_magic::SYSFS, LOCKED_DOWN.with(MountAttrs::RDONLY), role::SYS, plan);
        place(c"sys", plan);
        plan.op(Op::MoveMount { from: role::SYS, dir: At::Slot(role::THREE), path: c"" });
        report.applied("sysfs", "read-only");
    } else if let Some(clone) = sys {
        plan.step(Phase::Enter, "show the host's /sys read-only", context.origin("profile"));
        place(c"sys", plan);
        plan.op(Op::MoveMount { from: clone, dir: At::Slot(role::THREE), path: c"" });
        match context.spec.kernel_files {
            KernelFiles::Writable => report.off("sysfs", "the host's"),
            _ => report.applied("sysfs", OF_HOST),
        }
    } else {
        // A new one is refused without a network namespace of one's own, and
        // the host's would show the host.
        report.applied("sysfs", "absent, for the network is shared");
    }
    let sysfs = sys.is_some() || context.administers_network() || context.shows_parts_of_sys();
    groups(context, sysfs, resources, plan, report)?;
    if context.nspawn() {
        report.off("nested user namespaces", "the profile nspawn lets a machine make its own");
    } else if context.mapping.is_new() {
        let value = Blob(b"0");
        plan.step(Phase::Enter, "forbid user namespaces inside", Origin::Always).op(Op::Write {
            dir: At::Slot(role::PROC),
            path: c"sys/user/max_user_namespaces",
            content: value,
        });
        report.applied("nested user namespaces", "none");
    } else {
        report.unsupported("nested user namespaces", "the count is the host's; only the filter refuses them");
    }
    Ok(())
}

/// What the report calls files of the kernel that are open to a machine, and how far.
pub(crate) const OPEN: &str = "kernel files";
pub(crate) const OPEN_NETWORK: &str = "the settings of the network that it has can be written";
pub(crate) const OPEN_ALL: &str = "all can be written, and none is masked";

/// Whether a Spec opens them to one whom that would not be for.
pub(super) fn check(context: &Context<'_>) -> Result<()> {
    let files = context.spec.kernel_files;
    let (own, mapped) = (context.administers_network(), context.mapping.is_new());
    let wrong = match files {
        KernelFiles::ReadOnly => return Ok(()),
        _ if !context.nspawn() => "files of the kernel are opened to a machine alone (profile nspawn)",
        KernelFiles::Writable if mapped => "files of the kernel that all can be written are not for a user namespace",
        KernelFiles::Network if mapped && !own => {
            "the settings of a network that is not its own are not for a user namespace"
        }
        _ if context.spec.namespaces.pid == Namespace::Host => {
            "files of the kernel are opened in a procfs of its own alone"
        }
        _ => return Ok(()),
    };
    Err(context.invalid("kernel_files", wrong).remedy("Leave them read-only, or leave that out."))
}

/// What the report says of a sysfs that is the host's.
pub(crate) const OF_HOST: &str = "the host's, read-only";

/// And of a few directories of one of the container's own.
const PARTS: &str = "parts of it, read-only";

/// A `/sys` with what a machine may see of it: of the host's network where it has that
/// one. The whole lies beside the root until the
/// switch: before 6.15 no part of a mount is cloned that is attached nowhere.
fn parts_of_sysfs(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    const NO_LINK: &str = "A new sysfs needs a caller that has one itself, not covered by other mounts (EPERM), and no link at `sys` in the root.";
    plan.step(Phase::Enter, "mount sysfs beside the root", context.origin("profile")).remedy(NO_LINK);
    mount_kernel_fs(c"sysfs", fs_magic::SYSFS, LOCKED_DOWN.with(MountAttrs::RDONLY), role::FOUR, plan);
    attach_name(role::FOUR, role::SCRATCH, c"sysfs", plan);
    plan.step(Phase::Enter, "show parts of it on /sys", context.origin("profile")).remedy(NO_LINK);
    own_tmpfs(profile::scratch_on(context.spec.profile, "/sys"), LOCKED_DOWN, role::SYS, plan)?;
    place(c"sys", plan);
    plan.op(Op::MoveMount { from: role::SYS, dir: At::Slot(role::THREE), path: c"" });
    let dir = At::Slot(role::SYS);
    for name in profile::SYS_PARTS {
        plan.op(Op::Mkdir { dir, name, mode: 0o755, exist_ok: false })
            .op(Op::OpenTree { dir: At::Slot(role::FOUR), path: name, flags: TreeFlags::CLONE, into: role::TWO })
            .op(Op::MoveMount { from: role::TWO, dir, path: name });
    }
    plan.op(Op::Mkdir { dir, name: c"fs", mode: 0o755, exist_ok: false }).op(Op::OpenAt2 {
        dir,
        path: c"fs",
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into: role::THREE,
    });
    for name in [c"bpf", c"cgroup"] {
        plan.op(Op::Mkdir { dir: At::Slot(role::THREE), name, mode: 0o755, exist_ok: false });
    }
    Ok(())
}

/// What the report calls the container's own view of its cgroup.
pub(crate) const GROUPS: &str = "cgroup view";

/// A cgroup2 whose top is the container's own group, which is given to its root.
fn groups(
    context: &Context<'_>,
    sysfs: bool,
    resources: &Resources,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<()> {
    if !context.nspawn() {
        return Ok(());
    }
    let own = context.spec.namespaces.cgroup == Namespace::New && resources.delegated();
    if !own || !sysfs || !context.facts.kernel_paths.contains(GROUP_PLACE) {
        report.unsupported(GROUPS, "no cgroup v2 of its own that could be shown");
        return Ok(());
    }
    plan.step(Phase::Enter, "mount cgroup2 on /sys/fs/cgroup", context.origin("profile"))
        .op(Op::FsOpen { kind: c"cgroup2", into: role::ONE })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs: LOCKED_DOWN, into: role::TWO });
    open_covered(Path::new(GROUP_PLACE), plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::THREE), path: c"" });
    report.applied(GROUPS, "its own group, as cgroup v2");
    Ok(())
}

/// With the host's process ids only the host's procfs can be shown: a new one
/// needs a pid namespace of one's own.
fn host_proc(context: &Context<'_>, clone: Slot, plan: &mut Builder) {
    plan.step(Phase::Enter, "show the host's /proc read-only", context.origin("namespaces.pid")).op(Op::OpenAt2 {
        dir: At::Cwd,
        path: c"/proc",
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::NO_MAGICLINKS.with(Resolve::NO_SYMLINKS),
        into: role::PROC,
    });
    plan.op(Op::Prove { file: role::PROC, proof: Proof::FileSystem { magic: fs_magic::PROC } });
    place(c"proc", plan);
    plan.op(Op::MoveMount { from: clone, dir: At::Slot(role::THREE), path: c"" });
}

/// Paths in the one order that works for all: what lies below another is
/// covered before that hides it.
fn innermost_first(paths: &[std::path::PathBuf]) -> Vec<&std::path::PathBuf> {
    let mut sorted: Vec<_> = paths.iter().collect();
    sorted.sort_by(|one, other| plain_components(other).cmp(&plain_components(one)));
    sorted.dedup();
    sorted
}

/// A clone of one of the two blanks on the scratch mount, in slot two.
fn blank(directory: bool, plan: &mut Builder) {
    let path = if directory { c"blank" } else { c"void" };
    plan.op(Op::OpenTree { dir: At::Slot(role::SCRATCH), path, flags: TreeFlags::CLONE, into: role::TWO });
}

/// Settings of the kernel, and those of the container's own network, which the profile
/// `nspawn` leaves writable.
const SETTINGS: &str = "/proc/sys";
pub(crate) const NETWORK_SETTINGS: &str = "/proc/sys/net";

/// Covers all settings but those of the network, before any mask.
fn network_settings(plan: &mut Builder, context: &Context<'_>) -> Result<()> {
    plan.step(Phase::Enter, "make read-only /proc/sys, but for its net", context.origin("network"));
    open_covered(Path::new(NETWORK_SETTINGS), plan)?;
    plan.op(Op::OpenTree {
        dir: At::Slot(role::THREE),
        path: c"",
        flags: TreeFlags::EMPTY_PATH.with(TreeFlags::CLONE),
        into: role::FOUR,
    });
    make_read_only(Path::new(SETTINGS), plan)?;
    open_covered(Path::new(NETWORK_SETTINGS), plan)?;
    plan.op(Op::MoveMount { from: role::FOUR, dir: At::Slot(role::THREE), path: c"" });
    Ok(())
}

/// Everything that is covered, after every mount of the caller: proc and sys
/// paths of the profile, then the paths of the Spec.
pub(super) fn restrict(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let own = match context.spec.kernel_files {
        KernelFiles::ReadOnly => context.administers_network(),
        KernelFiles::Network => true,
        KernelFiles::Writable => false,
    };
    let writable = context.nspawn() && own && context.spec.namespaces.pid != Namespace::Host;
    match context.spec.kernel_files {
        KernelFiles::ReadOnly => {}
        KernelFiles::Network => report.off(OPEN, OPEN_NETWORK),
        KernelFiles::Writable => report.off(OPEN, OPEN_ALL),
    }
    if writable {
        network_settings(plan, context)?;
        report.applied("network settings", NETWORK_SETTINGS);
    }
    if context.shows_parts_of_sys() {
        plan.step(Phase::Enter, "make /sys read-only", context.origin("profile")).op(Op::MountSetAttr {
            dir: At::Slot(role::SYS),
            path: c"",
            flags: TreeFlags::EMPTY_PATH,
            set: MountAttrs::RDONLY,
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: None,
        });
    }
    let sysfs = context.administers_network();
    let bare = context.spec.kernel_files == KernelFiles::Writable;
    if !bare || !context.spec.masked.is_empty() {
        plan.step(Phase::Enter, "make the blanks for masks read-only", Origin::Always).op(Op::MountSetAttr {
            dir: At::Slot(role::SCRATCH),
            path: c"",
            flags: TreeFlags::EMPTY_PATH,
            set: LOCKED_DOWN.with(MountAttrs::RDONLY),
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: None,
        });
    }
    let covers = if bare { &[] } else { profile::covers(context.spec.profile) };
    let (mut masked, mut absent, mut read_only) = (Vec::new(), Vec::new(), Vec::new());
    for (path, cover) in covers {
        if path.starts_with("/sys") && !sysfs {
            continue;
        }
        if !context.facts.kernel_paths.contains(path) {
            absent.push(*path);
        } else if *cover == Cover::ReadOnly {
            read_only.push(*path);
        } else {
            masked.push((*path, *cover == Cover::Directory));
        }
    }
    let mut what = String::from("mask");
    let mut below = "";
    for (path, _) in &masked {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if directory != below {
            let gap = if below.is_empty() { "" } else { ";" };
            what.extend([gap, " in ", directory, ":"]);
            below = directory;
        }
        what.extend([" ", name]);
    }
    if !masked.is_empty() {
        plan.step(Phase::Enter, what, context.origin("profile"));
    }
    for (path, directory) in &masked {
        match own_entry(context, path) {
            Some((mount, name)) => {
                blank(*directory, plan);
                plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(mount), path: &c_path(Path::new(name))? });
            }
            None => mask(Path::new(path), *directory, plan)?,
        }
    }
    if !read_only.is_empty() {
        plan.step(Phase::Enter, format!("make read-only {}", read_only.join(" ")), context.origin("profile"));
    }
    for path in read_only.iter().filter(|path| !writable || **path != SETTINGS) {
        make_read_only(Path::new(path), plan)?;
    }
    let (own_read_only, own_masked) = (innermost_first(&context.spec.read_only), innermost_first(&context.spec.masked));
    let kept = usize::from(writable);
    let count = [masked.len() + own_masked.len(), read_only.len() + own_read_only.len() + kept, absent.len()];
    for path in own_read_only {
        let field = format!("read_only.{}", path.display());
        absolute(context.spec, &field, path)?;
        if plain_components(path).is_empty() {
            return Err(context.invalid(&field, "a read-only cover on / itself").remedy(
                "Make the root read-only (`root.read_only`), and name the mounts below it that shall be too.",
            ));
        }
        plan.step(Phase::Enter, format!("make read-only {}", path.display()), context.origin(&field))
            .remedy("The path must exist inside, without a symbolic link on the way.");
        make_read_only(path, plan)?;
        report.applied(format!("cover {}", plain(path).display()), "read-only");
    }
    for path in own_masked {
        let field = format!("masked.{}", path.display());
        absolute(context.spec, &field, path)?;
        if plain_components(path).is_empty() {
            return Err(context.invalid(&field, "a mask on / itself").remedy("Name a path below it."));
        }
        let directory = is_directory(context, path);
        plan.step(Phase::Enter, format!("mask {}", path.display()), context.origin(&field))
            .remedy("The path must exist inside, without a symbolic link on the way.");
        mask(path, directory, plan)?;
        report.applied(format!("cover {}", plain(path).display()), "masked");
    }
    if context.bounding.has(skep_sys::abi::cap::SYS_ADMIN) {
        report.unsupported("masks", "the payload has CAP_SYS_ADMIN and may remove them");
    } else {
        report.applied("masks", format!("{} masked, {} read-only, {} absent", count[0], count[1], count[2]));
    }
    if !absent.is_empty() {
        report.unsupported("absent kernel files", format!("this host has no {}", absent.join(" ")));
    }
    Ok(())
}

/// Whether a path inside is a directory. What exists only inside is one,
/// except the nodes of `/dev`.
fn is_directory(context: &Context<'_>, path: &Path) -> bool {
    match behind(context.spec, path) {
        Some(host) => context.facts.path(&host).kind == EntryKind::Directory,
        None => {
            !path.starts_with("/dev/")
                || ["/dev/pts", "/dev/shm", "/dev/mqueue"].iter().any(|place| path == Path::new(place))
        }
    }
}

/// An entry of a procfs or sysfs of the container's own, which only the kernel
/// fills: its name says which one it is, and nothing need be opened first.
fn own_entry<'a>(context: &Context<'_>, path: &'a str) -> Option<(Slot, &'a str)> {
    let (mount, name) = match path.strip_prefix("/proc/") {
        Some(name) if context.spec.namespaces.pid != Namespace::Host => (role::PROC, name),
        Some(_) => return None,
        None => (role::SYS, path.strip_prefix("/sys/")?),
    };
    (!name.contains('/')).then_some((mount, name))
}

/// Opens what is to be covered, beneath the root, no link followed.
pub(super) fn open_covered(path: &Path, plan: &mut Builder) -> Result<()> {
    let relative = c_path(path.strip_prefix("/").unwrap_or(path))?;
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::ROOT),
        path: &relative,
        flags: OpenFlags::PATH,
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS),
        into: role::THREE,
    });
    Ok(())
}

fn mask(path: &Path, directory: bool, plan: &mut Builder) -> Result<()> {
    open_covered(path, plan)?;
    blank(directory, plan);
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::THREE), path: c"" });
    Ok(())
}

fn make_read_only(path: &Path, plan: &mut Builder) -> Result<()> {
    open_covered(path, plan)?;
    let recursive = TreeFlags::EMPTY_PATH.with(TreeFlags::RECURSIVE);
    plan.op(Op::OpenTree {
        dir: At::Slot(role::THREE),
        path: c"",
        flags: recursive.with(TreeFlags::CLONE),
        into: role::TWO,
    })
    .op(Op::MountSetAttr {
        dir: At::Slot(role::TWO),
        path: c"",
        flags: recursive,
        set: MountAttrs::RDONLY,
        clear: MountAttrs::NONE,
        propagation: Propagation::NONE,
        userns: None,
    })
    .op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::THREE), path: c"" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::spec::{Spec, UserNamespace};

    fn compiled(change: impl Fn(&mut Spec), facts: impl Fn(&mut Facts)) -> Result<crate::Plan> {
        let mut spec = Spec { command: vec!["true".into()], ..Spec::default() };
        change(&mut spec);
        let mut host = Facts::example(&spec);
        facts(&mut host);
        crate::compile(&spec, &host)
    }

    #[test]
    fn without_sysctl_files_there_is_no_container_of_its_own() {
        let none = |facts: &mut Facts| {
            facts.kernel_paths.remove("/proc/sys");
            (facts.uid, facts.gid) = (0, 0);
            facts.capabilities = skep_sys::abi::CapabilitySet::up_to(facts.last_capability);
            facts.cgroups.unified.iter_mut().for_each(|group| group.writable = true);
        };
        for user_namespace in [UserNamespace::Own, UserNamespace::Host] {
            let error = compiled(|spec| spec.user_namespace = user_namespace, none).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("/proc/sys") && error.advice().unwrap().contains("subset=pid"));
        }
        // Where nothing of it is shown, or it is the host's own, nothing is missed.
        let shared = |spec: &mut Spec| {
            (spec.user_namespace, spec.namespaces.pid) = (UserNamespace::Host, Namespace::Host);
            spec.init = crate::spec::Init::Payload;
        };
        let plan = compiled(shared, none).unwrap();
        assert_eq!(crate::verify::violations(&plan), []);
    }

    #[test]
    fn the_root_is_no_place_for_a_cover() {
        for change in [(|spec: &mut Spec| spec.read_only = vec!["//.".into()]) as fn(&mut Spec), |spec| {
            spec.masked = vec!["/".into()]
        }] {
            let error = compiled(change, |_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
            assert!(error.advice().is_some(), "{error}");
        }
    }
}
