//! The root and everything mounted in it, assembled on descriptors and
//! switched to at the end.
//!
//! Nothing is ever mounted on a path: a target is resolved once, beneath the
//! new root, and the mount goes onto that descriptor. There is no scratch
//! directory on the host: the tree grows on a tmpfs in the child's own mount
//! namespace, which goes away with the old root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof, Slot};

use super::{Context, Mapping, absolute, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, PathFact, plain_components};
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Bind, Mount, MountKind, Namespace, Origin, Readiness, Tmpfs, Volatile};

const EMPTY: &std::ffi::CStr = c"";

/// Attributes of everything that comes from the host.
const CONFINED: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NODEV);

/// A tree of the host, cloned where the caller's rights allow it: by the
/// embedder before the child exists, when it is root; else by the child, before
/// anything is mounted over the old root, which the clone would show.
pub(super) struct Source {
    path: PathBuf,
    fact: PathFact,
    recursive: bool,
    read_only: bool,
    /// Where its detached, confined clone is.
    slot: Slot,
    /// The user namespace maps its ids.
    mapped: bool,
    origin: Origin,
}

/// The trees of a container.
pub(super) struct Sources {
    root: Source,
    /// What a borrowed `/usr` needs of its `/etc`.
    etc: Vec<Source>,
    /// The host's procfs, where its process ids are shared.
    proc: Option<Source>,
    /// In the order of mounting, with the mount that each belongs to.
    mounts: Vec<(Mount, Option<Source>)>,
}

/// Magic links lead wherever the process behind them is.
fn is_magic(path: &Path) -> bool {
    let parts = plain_components(path);
    let is = |index: usize, words: &[&str]| parts.get(index).is_some_and(|part| words.iter().any(|word| part == word));
    (is(0, &["proc"]) && is(2, &["root", "cwd", "exe", "fd", "ns", "map_files"]))
        || (is(0, &["proc"]) && is(2, &["task"]))
        || (is(0, &["dev"]) && is(1, &["fd", "stdin", "stdout", "stderr"]))
}

/// Places where a caller's mount would hide what the kernel says of itself.
fn is_kernel_place(target: &Path) -> bool {
    matches!(plain_components(target).first(), Some(first) if *first == "proc" || *first == "sys")
}

/// Decides which trees are needed, and clones those that the embedder can.
pub(super) fn sources(context: &Context<'_>, plan: &mut Builder) -> Result<Sources> {
    let spec = context.spec;
    absolute(spec, "root", &spec.root.path)?;
    let whole = spec.root.volatile != Volatile::Yes;
    if spec.root.path == Path::new("/") && whole && spec.root.volatile != Volatile::Overlay && !spec.root.ephemeral {
        return Err(Error::new(ErrorKind::InvalidSpec, "the root directory is the host's own root")
            .from(spec.origins.of("root"))
            .remedy("Make it ephemeral (-x) or volatile (--volatile), or name another directory."));
    }
    if spec.root.path == Path::new("/") && whole && !context.host_clones {
        return Err(Error::new(ErrorKind::Unsupported, "an ordinary user cannot lay a tmpfs over the host's own root")
            .from(spec.origins.of("root"))
            .remedy(
                "The kernel does not show what mounts below it hide. Use --volatile=yes, name a tree, or run as root.",
            ));
    }
    let origin = context.origin("root");
    let root_path = if whole { spec.root.path.clone() } else { spec.root.path.join("usr") };
    let read_only = spec.root.read_only || !whole || spec.root.volatile == Volatile::State;
    // An overlay's lower is never written anyhow, and the mount on top decides.
    let overlay = is_overlay(context);
    let mapped = whole && matches!(context.mapping, Mapping::Direct { .. });
    let root = Source {
        fact: context.facts.path(&root_path),
        path: root_path,
        recursive: true,
        read_only: read_only || overlay,
        slot: plan.slot(),
        mapped,
        origin,
    };
    require_directory(context, &root)?;

    let mut etc = Vec::new();
    for path in profile::ETC.iter().filter(|_| !whole).map(|path| spec.root.path.join(path)) {
        let fact = context.facts.path(&path);
        if fact.kind != EntryKind::Missing {
            let origin = context.origin("root");
            let slot = plan.slot();
            etc.push(Source { path, fact, recursive: false, read_only: true, slot, mapped: false, origin });
        }
    }
    let mut mounts = Vec::new();
    for mount in sorted(context)? {
        let origin = context.origin(&format!("mounts.{}", mount.target.display()));
        let source = match &mount.kind {
            MountKind::Tmpfs(_) => None,
            MountKind::Bind(Bind { source, read_only, recursive }) => {
                let source = Source {
                    path: source.clone(),
                    fact: context.facts.path(source),
                    recursive: *recursive,
                    read_only: *read_only,
                    slot: plan.slot(),
                    mapped: false,
                    origin,
                };
                require_source(context, &source)?;
                Some(source)
            }
        };
        mounts.push((mount, source));
    }
    let proc = (spec.namespaces.pid == Namespace::Host).then(|| Source {
        path: PathBuf::from("/proc"),
        fact: context.facts.path(Path::new("/proc")),
        recursive: true,
        read_only: true,
        slot: plan.slot(),
        mapped: false,
        origin: context.origin("namespaces.pid"),
    });
    let sources = Sources { root, etc, proc, mounts };
    if context.host_clones {
        for source in sources.all() {
            clone(source, Phase::Prepare, plan)?;
            plan.keep(source.slot);
        }
    }
    Ok(sources)
}

impl Sources {
    fn all(&self) -> impl Iterator<Item = &Source> {
        let binds = self.mounts.iter().filter_map(|(_, source)| source.as_ref());
        std::iter::once(&self.root).chain(&self.etc).chain(&self.proc).chain(binds)
    }
}

fn is_overlay(context: &Context<'_>) -> bool {
    let root = &context.spec.root;
    match root.volatile {
        Volatile::Overlay => true,
        Volatile::Yes => false,
        Volatile::No | Volatile::State => root.ephemeral,
    }
}

/// Mounts by target, parents first, whatever order they were given in.
fn sorted(context: &Context<'_>) -> Result<Vec<Mount>> {
    let mut mounts = context.spec.mounts.clone();
    for mount in &mut mounts {
        let field = format!("mounts.{}", mount.target.display());
        absolute(context.spec, &field, &mount.target)?;
        mount.target = Path::new("/").join(plain_components(&mount.target).iter().collect::<PathBuf>());
        let shown = mount.target.display();
        if mount.target == Path::new("/") {
            return Err(context.invalid(&field, "a mount on / itself").remedy("Name another root directory instead."));
        }
        if is_kernel_place(&mount.target) {
            return Err(context
                .invalid(&field, format!("a mount on {shown} would hide what the kernel says of the container"))
                .remedy("Mount it elsewhere: nothing may be put on or below /proc and /sys."));
        }
        if let MountKind::Tmpfs(Tmpfs { size: 0, .. } | Tmpfs { inodes: 0, .. }) = mount.kind {
            return Err(
                context.invalid(&field, format!("the tmpfs on {shown} has no bound: the kernel takes 0 for unlimited"))
            );
        }
        if let Some(hidden) = hidden_by(context, &mount.target) {
            return Err(context
                .invalid(&field, format!("a mount on {shown} would hide {hidden}, which the container needs"))
                .remedy("Mount it elsewhere, or below that directory."));
        }
    }
    mounts.sort_by(|one, other| plain_components(&one.target).cmp(&plain_components(&other.target)));
    if let Some(pair) = mounts.windows(2).find(|pair| pair[0].target == pair[1].target) {
        let field = format!("mounts.{}", pair[0].target.display());
        return Err(context
            .invalid(&field, format!("two mounts on {}", pair[0].target.display()))
            .remedy("Keep one; the second would hide the first."));
    }
    Ok(mounts)
}

/// Places whose covering would take away a guarantee.
fn hidden_by(context: &Context<'_>, target: &Path) -> Option<&'static str> {
    let notified = context.spec.readiness == Readiness::Notify;
    [("/dev", true), ("/dev/pts", true), ("/run", notified), ("/run/host", notified)]
        .into_iter()
        .find_map(|(place, needed)| (needed && target == Path::new(place)).then_some(place))
}

fn require_directory(context: &Context<'_>, root: &Source) -> Result<()> {
    let shown = context.spec.root.path.display();
    let origin = context.spec.origins.of("root");
    match root.fact.kind {
        EntryKind::Directory => Ok(()),
        EntryKind::Missing if root.fact.denied => {
            Err(Error::system(format!("open the root directory {shown}"), skep_sys::Errno::EACCES)
                .from(origin)
                .remedy("Every directory above it must let this user pass (mode x)."))
        }
        EntryKind::Missing
            if context.spec.root.volatile == Volatile::Yes
                && context.facts.path(&context.spec.root.path).kind == EntryKind::Directory =>
        {
            Err(Error::new(ErrorKind::NotFound, format!("the root directory {shown} has no usr/"))
                .from(origin)
                .remedy("A volatile root needs a tree whose programs are below usr/."))
        }
        EntryKind::Missing => {
            Err(Error::system(format!("open the root directory {shown}"), skep_sys::Errno::ENOENT).from(origin).remedy(
                "Name a directory that holds a root file system (-D), or leave it out for the host's /usr on a tmpfs.",
            ))
        }
        EntryKind::File | EntryKind::Special => {
            Err(Error::system(format!("open the root directory {shown}"), skep_sys::Errno::ENOTDIR)
                .from(origin)
                .remedy("Disk images are not supported yet: name a directory."))
        }
    }
}

fn require_source(context: &Context<'_>, source: &Source) -> Result<()> {
    let shown = source.path.display();
    if !source.path.is_absolute()
        || source.path.as_os_str().as_bytes().contains(&0)
        || source.path.as_os_str().len() > 4095
    {
        let field = context
            .spec
            .origins
            .iter()
            .find(|(_, origin)| **origin == source.origin)
            .map(|(field, _)| field.to_owned());
        return Err(context.invalid(
            &field.unwrap_or_default(),
            format!("the bind source {:?} is not an absolute path of at most 4095 bytes", source.path),
        ));
    }
    if is_magic(&source.path) {
        return Err(Error::new(ErrorKind::InvalidSpec, format!("the bind source {shown} is a magic link of procfs"))
            .from(Some(&source.origin))
            .remedy("Name the real path."));
    }
    match (source.fact.kind, source.fact.denied) {
        (EntryKind::Missing, true) => {
            Err(Error::system(format!("open the bind source {shown}"), skep_sys::Errno::EACCES)
                .from(Some(&source.origin))
                .remedy("Every directory above it must let this user pass (mode x)."))
        }
        (EntryKind::Missing, false) => {
            Err(Error::system(format!("open the bind source {shown}"), skep_sys::Errno::ENOENT)
                .from(Some(&source.origin))
                .remedy("Create it, or correct the path."))
        }
        _ => Ok(()),
    }
}

fn clone_flags(recursive: bool) -> TreeFlags {
    let flags = TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH);
    if recursive { flags.with(TreeFlags::RECURSIVE) } else { flags }
}

/// Opens a source once, proves that it is the inode that was looked at, clones
/// it, and confines the clone before anybody can reach it.
fn clone(source: &Source, phase: Phase, plan: &mut Builder) -> Result<()> {
    let (path, slot) = (c_path(&source.path)?, source.slot);
    let attrs = if source.read_only { CONFINED.with(MountAttrs::RDONLY) } else { CONFINED };
    let flags = TreeFlags::EMPTY_PATH;
    plan.step(phase, format!("clone {}", source.path.display()), source.origin.clone());
    if !source.recursive {
        plan.remedy("An ordinary user can bind a directory that has mounts below it only with them: rbind.");
    }
    plan.op(Op::OpenAt2 {
        dir: At::Cwd,
        path: &path,
        flags: OpenFlags::PATH,
        mode: 0,
        resolve: Resolve::NO_MAGICLINKS,
        into: slot,
    })
    .op(Op::Prove { file: slot, proof: Proof::Inode { device: source.fact.device, inode: source.fact.inode } })
    .op(Op::OpenTree { dir: At::Slot(slot), path: EMPTY, flags: clone_flags(source.recursive), into: slot })
    .op(Op::MountSetAttr {
        dir: At::Slot(slot),
        path: EMPTY,
        flags: if source.recursive { flags.with(TreeFlags::RECURSIVE) } else { flags },
        set: attrs,
        clear: MountAttrs::NONE,
        propagation: Propagation::PRIVATE,
        userns: None,
    });
    Ok(())
}

/// Id-maps the clones, now that the child's maps are written.
pub(super) fn attend(context: &Context<'_>, sources: &Sources, plan: &mut Builder) {
    if !sources.root.mapped {
        return;
    }
    let slot = sources.root.slot;
    let what = format!("map the ids of {}", sources.root.path.display());
    plan.step(Phase::Attend, what, context.origin("user_namespace"))
        .remedy("The file system of the root must support id-mapped mounts (ext4, xfs, btrfs, tmpfs from Linux 6.3); else map no range.")
        .op(Op::OpenAt2 {
            dir: At::Slot(role::PROCESS),
            path: c"ns/user",
            flags: OpenFlags::NONE,
            mode: 0,
            // A magic link, of a directory proved to be procfs.
            resolve: Resolve::NONE,
            into: role::USERNS,
        })
        .op(Op::MountSetAttr {
            dir: At::Slot(slot),
            path: EMPTY,
            flags: TreeFlags::EMPTY_PATH,
            set: MountAttrs::IDMAP,
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: Some(role::USERNS),
        });
}

/// A new tmpfs in `into`, detached.
fn new_tmpfs(size: &str, inodes: u64, mode: u32, attrs: MountAttrs, into: Slot, plan: &mut Builder) -> Result<()> {
    let (size, inodes) = (c_text(size.as_bytes())?, c_text(inodes.to_string().as_bytes())?);
    let mode = c_text(format!("{mode:o}").as_bytes())?;
    plan.op(Op::FsOpen { kind: c"tmpfs", into: role::ONE })
        .op(Op::FsString { fs: role::ONE, key: c"size", value: &size })
        .op(Op::FsString { fs: role::ONE, key: c"nr_inodes", value: &inodes })
        .op(Op::FsString { fs: role::ONE, key: c"mode", value: &mode })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs, into });
    Ok(())
}

/// A directory of ours, beneath a descriptor, no link followed.
fn make_directory(dir: Slot, name: &OsStr, mode: u32, plan: &mut Builder) -> Result<()> {
    let name = c_text(name.as_bytes())?;
    plan.op(Op::Mkdir { dir: At::Slot(dir), name: &name, mode, exist_ok: true });
    Ok(())
}

/// Opens the place where something is mounted, and makes what is missing of
/// it, one component at a time. `covered`: something has been mounted on the
/// way, so what is known of the tree below says nothing.
fn open_target(
    context: &Context<'_>,
    target: &Path,
    kind: EntryKind,
    covered: bool,
    into: Slot,
    plan: &mut Builder,
) -> Result<()> {
    let known = context.facts.targets.get(target).copied().unwrap_or_default();
    let fresh = context.spec.root.volatile == Volatile::Yes && !target.starts_with("/usr");
    let beneath = Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS);
    if known.through_link && !fresh && !covered {
        // The kernel takes the new root for `/`, so no link leads out of it.
        let relative = c_text(target.strip_prefix("/").unwrap_or(target).as_os_str().as_bytes())?;
        plan.op(Op::OpenAt2 {
            dir: At::Slot(role::ROOT),
            path: &relative,
            flags: OpenFlags::PATH,
            mode: 0,
            resolve: Resolve::IN_ROOT.with(Resolve::NO_MAGICLINKS),
            into,
        });
        return Ok(());
    }
    let components = plain_components(target);
    let existing = if fresh || covered { 0 } else { known.existing.min(components.len().saturating_sub(1)) };
    let mut dir = role::ROOT;
    let (head, tail) = components.split_at(existing);
    let open = |path: &Path, dir: Slot, flags: OpenFlags, plan: &mut Builder| -> Result<()> {
        let path = c_path(path)?;
        plan.op(Op::OpenAt2 { dir: At::Slot(dir), path: &path, flags, mode: 0, resolve: beneath, into });
        Ok(())
    };
    if !head.is_empty() {
        open(&head.iter().collect::<PathBuf>(), dir, OpenFlags::PATH.with(OpenFlags::DIRECTORY), plan)?;
        dir = into;
    }
    for (index, name) in tail.iter().enumerate() {
        let last = index + 1 == tail.len();
        if last && kind != EntryKind::Directory {
            let name = c_text(name.as_bytes())?;
            plan.op(Op::Create { dir: At::Slot(dir), name: &name, mode: 0o644, content: Blob(b""), exist_ok: true });
            open(Path::new(OsStr::from_bytes(name.as_bytes())), dir, OpenFlags::PATH, plan)?;
        } else {
            make_directory(dir, name, 0o755, plan)?;
            open(Path::new(name), dir, OpenFlags::PATH.with(OpenFlags::DIRECTORY), plan)?;
        }
        dir = into;
    }
    Ok(())
}

fn attach(from: Slot, to: Slot, plan: &mut Builder) {
    plan.op(Op::MoveMount { from, dir: At::Slot(to), path: EMPTY });
}

pub(super) fn assemble(
    context: &Context<'_>,
    sources: &Sources,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<()> {
    plan.step(Phase::Enter, "keep mounts from spreading to the host and back", Origin::Always).op(Op::MountSetAttr {
        dir: At::Cwd,
        path: c"/",
        flags: TreeFlags::RECURSIVE,
        set: MountAttrs::NONE,
        clear: MountAttrs::NONE,
        propagation: Propagation::PRIVATE,
        userns: None,
    });
    report.applied("mount propagation", "private");
    if !context.host_clones {
        for source in sources.all() {
            clone(source, Phase::Enter, plan)?;
        }
    }
    scratch(context, plan)?;
    root(context, sources, plan, report)?;
    super::kernel_files::mount(context, sources.proc.as_ref().map(|source| source.slot), plan, report)?;
    devices(context, plan, report)?;
    for scratch in profile::SCRATCHES {
        plan.step(Phase::Enter, format!("mount tmpfs on {}", scratch.path), context.origin("profile"));
        new_tmpfs(&scratch.size.to_string(), scratch.inodes, scratch.mode, CONFINED, role::TWO, plan)?;
        // Not through a link: /tmp of a tree may be one.
        open_target(context, Path::new(scratch.path), EntryKind::Directory, true, role::THREE, plan)?;
        attach(role::TWO, role::THREE, plan);
    }
    if context.spec.root.volatile == Volatile::State {
        plan.step(Phase::Enter, "mount tmpfs on /var", context.origin("root"));
        new_tmpfs("25%", 400_000, 0o755, CONFINED, role::TWO, plan)?;
        open_target(context, Path::new("/var"), EntryKind::Directory, true, role::THREE, plan)?;
        attach(role::TWO, role::THREE, plan);
    }
    let mut covered: Vec<PathBuf> = profile::SCRATCHES.iter().map(|scratch| scratch.path.into()).collect();
    covered.push("/dev".into());
    for (mount, source) in &sources.mounts {
        mount_one(context, mount, source.as_ref(), &covered, plan)?;
        covered.push(mount.target.clone());
    }
    Ok(())
}

fn mount_one(
    context: &Context<'_>,
    mount: &Mount,
    source: Option<&Source>,
    covered: &[PathBuf],
    plan: &mut Builder,
) -> Result<()> {
    let shown = mount.target.display();
    let origin = context.origin(&format!("mounts.{shown}"));
    let below = covered.iter().any(|place| mount.target.starts_with(place));
    let (kind, from) = match (&mount.kind, source) {
        (MountKind::Tmpfs(Tmpfs { size, inodes, mode, read_only }), _) => {
            plan.step(Phase::Enter, format!("mount tmpfs on {shown}"), origin);
            let attrs = if *read_only { CONFINED.with(MountAttrs::RDONLY) } else { CONFINED };
            new_tmpfs(&size.to_string(), *inodes, *mode, attrs, role::TWO, plan)?;
            (EntryKind::Directory, role::TWO)
        }
        (_, Some(source)) => {
            let how = if source.read_only { " read-only" } else { "" };
            plan.step(Phase::Enter, format!("bind {} on {shown}{how}", source.path.display()), origin);
            let kind = if source.fact.kind == EntryKind::Directory { EntryKind::Directory } else { EntryKind::File };
            (kind, source.slot)
        }
        (MountKind::Bind(_), None) => return Ok(()),
    };
    plan.remedy(if context.spec.root.read_only {
        "In a read-only root the mount point must exist, and no part of its path may be a symbolic link."
    } else {
        "No part of the mount point's path may be a file, or a symbolic link out of the root."
    });
    open_target(context, &mount.target, kind, below, role::THREE, plan)?;
    attach(from, role::THREE, plan);
    Ok(())
}

/// The tmpfs on which the tree grows: it covers the old root, and goes with it.
fn scratch(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    plan.step(Phase::Enter, "cover the old root with a tmpfs to build on", Origin::Always);
    let size = if is_overlay(context) { "25%" } else { "1m" };
    new_tmpfs(size, 400_000, 0o755, CONFINED, role::SCRATCH, plan)?;
    plan.op(Op::MoveMount { from: role::SCRATCH, dir: At::Cwd, path: c"/" });
    let mut names = vec!["root", "blank"];
    if is_overlay(context) {
        names.extend(["lower", "upper", "work"]);
    }
    for name in names {
        // What masks directories: nobody may enter it.
        let mode = if name == "blank" { 0 } else { 0o755 };
        make_directory(role::SCRATCH, OsStr::new(name), mode, plan)?;
    }
    // What masks files: nobody may open it.
    plan.op(Op::Create { dir: At::Slot(role::SCRATCH), name: c"void", mode: 0, content: Blob(b""), exist_ok: false });
    Ok(())
}

fn root(context: &Context<'_>, sources: &Sources, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let spec = context.spec;
    let origin = context.origin("root");
    let source = &sources.root;
    let shown = source.path.display();
    let tree_slot;
    match spec.root.volatile {
        Volatile::Yes => {
            plan.step(Phase::Enter, "make the root a tmpfs", origin.clone());
            new_tmpfs(&(64_u64 << 20).to_string(), 100_000, 0o755, CONFINED, role::ROOT, plan)?;
            plan.op(Op::MoveMount { from: role::ROOT, dir: At::Slot(role::SCRATCH), path: c"root" });
            plan.step(Phase::Enter, format!("bind {shown} on /usr read-only"), origin.clone());
            make_directory(role::ROOT, OsStr::new("usr"), 0o755, plan)?;
            plan.op(Op::MoveMount { from: source.slot, dir: At::Slot(role::ROOT), path: c"usr" });
            skeleton(context, plan)?;
            for source in &sources.etc {
                let name = Path::new("etc").join(source.path.file_name().unwrap_or_default());
                plan.step(
                    Phase::Enter,
                    format!("bind {} on /{} read-only", source.path.display(), name.display()),
                    origin.clone(),
                );
                open_target(context, &Path::new("/").join(&name), source.fact.kind, true, role::THREE, plan)?;
                attach(source.slot, role::THREE, plan);
            }
            report.applied("root", format!("tmpfs, {shown} read-only on /usr"));
            return Ok(());
        }
        _ if is_overlay(context) => {
            plan.step(Phase::Enter, format!("lay a tmpfs over {shown}"), origin.clone())
                .remedy("Overlays need Linux 5.11 as an ordinary user, and a tree without other mounts below it; 5.19 over a tree whose ids are mapped.");
            plan.op(Op::MoveMount { from: source.slot, dir: At::Slot(role::SCRATCH), path: c"lower" })
                .op(Op::Fchdir { dir: role::SCRATCH })
                .op(Op::FsOpen { kind: c"overlay", into: role::ONE })
                .op(Op::FsString { fs: role::ONE, key: c"lowerdir", value: c"lower" })
                .op(Op::FsString { fs: role::ONE, key: c"upperdir", value: c"upper" })
                .op(Op::FsString { fs: role::ONE, key: c"workdir", value: c"work" });
            if context.mapping.is_new() {
                // trusted.* attributes need root outside.
                plan.op(Op::FsFlag { fs: role::ONE, key: c"userxattr" });
            }
            plan.op(Op::FsCreate { fs: role::ONE }).op(Op::FsMount {
                fs: role::ONE,
                attrs: CONFINED,
                into: role::ROOT,
            });
            tree_slot = role::ROOT;
            report.applied("root", format!("{shown}, changes thrown away"));
        }
        _ => {
            let how = if source.read_only { "read-only" } else { "writable" };
            plan.step(Phase::Enter, format!("take {shown} for the root, {how}"), origin.clone());
            tree_slot = source.slot;
            report.applied("root", format!("{shown}, {how}"));
        }
    }
    plan.op(Op::MoveMount { from: tree_slot, dir: At::Slot(role::SCRATCH), path: c"root" });
    // Whatever the slot was, the root's own descriptor is found anew, across
    // the mount just made and no link.
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::SCRATCH),
        path: c"root",
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into: role::ROOT,
    });
    Ok(())
}

/// What a tmpfs root needs beside `/usr` for programs to start.
fn skeleton(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    plan.step(Phase::Enter, "make bin, lib, etc and home directories", context.origin("root"));
    for (name, target) in &context.facts.usr_links {
        let relative = target.strip_prefix("/").unwrap_or(target);
        if relative.starts_with("usr") {
            let (name, target) = (c_text(name.as_bytes())?, c_path(relative)?);
            plan.op(Op::Symlink { target: &target, dir: At::Slot(role::ROOT), name: &name });
        }
    }
    for (name, mode) in [("etc", 0o755), ("root", 0o700), ("home", 0o755), ("var", 0o755)] {
        make_directory(role::ROOT, OsStr::new(name), mode, plan)?;
    }
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::ROOT),
        path: c"etc",
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into: role::THREE,
    });
    let extra = match context.uid {
        0 | 65_534 => String::new(),
        uid => format!("user:x:{uid}:{}:user:/:/bin/sh\n", context.gid),
    };
    let extra_group = match context.gid {
        0 | 65_534 => String::new(),
        gid => format!("user:x:{gid}:\n"),
    };
    let files = [
        (c"passwd", format!("root:x:0:0:root:/root:/bin/sh\n{extra}nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")),
        (c"group", format!("root:x:0:\n{extra_group}nogroup:x:65534:\n")),
        (c"hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        (c"nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    for (name, content) in &files {
        let content = Blob(content.as_bytes());
        plan.op(Op::Create { dir: At::Slot(role::THREE), name, mode: 0o644, content, exist_ok: false });
    }
    Ok(())
}

/// A `/dev` with nothing but what every program may expect.
fn devices(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let origin = || context.origin("profile");
    let attrs = MountAttrs::NOSUID.with(MountAttrs::NOEXEC);
    plan.step(Phase::Enter, "mount tmpfs on /dev", origin());
    // The nodes are mounts of their own, so what is made here need not work.
    new_tmpfs(&(4_u64 << 20).to_string(), 1024, 0o755, attrs.with(MountAttrs::NODEV), role::DEV, plan)?;
    open_target(context, Path::new("/dev"), EntryKind::Directory, true, role::THREE, plan)?;
    attach(role::DEV, role::THREE, plan);
    let names: Vec<&str> = profile::NODES.iter().map(|node| node.name).collect();
    plan.step(Phase::Enter, format!("bind the devices {}", names.join(" ")), origin());
    for node in profile::NODES {
        let (name, path) = (c_text(node.name.as_bytes())?, c_text(format!("/dev/{}", node.name).as_bytes())?);
        let flags = TreeFlags::CLONE;
        plan.op(Op::OpenTree { dir: At::Cwd, path: &path, flags, into: role::TWO })
            .op(Op::Prove { file: role::TWO, proof: Proof::CharDevice { major: node.major, minor: node.minor } })
            .op(Op::MountSetAttr {
                dir: At::Slot(role::TWO),
                path: EMPTY,
                flags: TreeFlags::EMPTY_PATH,
                set: attrs,
                clear: MountAttrs::NONE,
                propagation: Propagation::PRIVATE,
                userns: None,
            })
            // Below our own fresh tmpfs there is no link to follow.
            .op(Op::Create { dir: At::Slot(role::DEV), name: &name, mode: 0o666, content: Blob(b""), exist_ok: false })
            .op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: &name });
    }
    plan.step(Phase::Enter, "make the links of /dev", origin());
    for (name, target) in profile::DEVICE_LINKS {
        let (name, target) = (c_text(name.as_bytes())?, c_text(target.as_bytes())?);
        plan.op(Op::Symlink { target: &target, dir: At::Slot(role::DEV), name: &name });
    }
    plan.step(Phase::Enter, "mount devpts on /dev/pts", origin())
        .op(Op::FsOpen { kind: c"devpts", into: role::ONE })
        .op(Op::FsFlag { fs: role::ONE, key: c"newinstance" })
        .op(Op::FsString { fs: role::ONE, key: c"ptmxmode", value: c"0666" })
        .op(Op::FsString { fs: role::ONE, key: c"mode", value: c"0620" })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs, into: role::TWO });
    make_directory(role::DEV, OsStr::new("pts"), 0o755, plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"pts" });
    plan.step(Phase::Enter, "mount tmpfs on /dev/shm", origin());
    new_tmpfs(&(64_u64 << 20).to_string(), 10_000, 0o1777, attrs.with(MountAttrs::NODEV), role::TWO, plan)?;
    make_directory(role::DEV, OsStr::new("shm"), 0o755, plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"shm" });
    if context.spec.namespaces.ipc == crate::spec::Namespace::New {
        plan.step(Phase::Enter, "mount mqueue on /dev/mqueue", origin())
            .op(Op::FsOpen { kind: c"mqueue", into: role::ONE })
            .op(Op::FsCreate { fs: role::ONE })
            .op(Op::FsMount { fs: role::ONE, attrs: attrs.with(MountAttrs::NODEV), into: role::TWO });
        make_directory(role::DEV, OsStr::new("mqueue"), 0o755, plan)?;
        plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"mqueue" });
    }
    report.applied("devices", names.join(" "));
    Ok(())
}

/// The switch: the old root, and the tmpfs over it, are gone afterwards.
pub(super) fn switch(plan: &mut Builder) {
    plan.step(Phase::Enter, "switch to the new root and let go of the old one", Origin::Always)
        .remedy("pivot_root needs the caller's own root to be a mount point: it fails with EINVAL in a chroot and on an initramfs.")
        .op(Op::Fchdir { dir: role::ROOT })
        .op(Op::PivotRoot {})
        // The tmpfs that was built on, then the old root itself.
        .op(Op::UmountOld {})
        .op(Op::UmountOld {})
        .op(Op::Chdir { path: c"/" })
        .op(Op::ProveRoot {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_links_are_no_sources() {
        for magic in [
            "/proc/1/root",
            "/proc/self/fd/3",
            "/proc/self/cwd",
            "/proc/thread-self/exe",
            "/proc/7/ns/net",
            "/dev/fd/3",
            "/dev/stdin",
            "//proc/./self/fd/9",
            "/proc/self/task/1/root",
            "/proc/1/root/etc",
        ] {
            assert!(is_magic(Path::new(magic)), "{magic}");
        }
        for plain in ["/proc/uptime", "/srv/proc/1/root", "/dev/null", "/dev/fdx"] {
            assert!(!is_magic(Path::new(plain)), "{plain}");
        }
    }

    #[test]
    fn places_of_the_kernel() {
        for place in ["/proc", "//proc/./", "/proc/self", "/sys/fs/cgroup", "/sys"] {
            assert!(is_kernel_place(Path::new(place)), "{place}");
        }
        for place in ["/process", "/srv/proc", "/system"] {
            assert!(!is_kernel_place(Path::new(place)), "{place}");
        }
    }
}
