//! The root and everything mounted in it, assembled on descriptors and
//! switched to at the end.
//!
//! Nothing is ever mounted on a path: a target is resolved once, beneath the
//! new root, and the mount goes onto that descriptor. There is no scratch
//! directory on the host: the tree grows on a tmpfs in the child's own mount
//! namespace, which goes away with the old root.

mod devices;
mod etc;
mod files;
mod idmap;
mod overlay;
mod root;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, Slot};

use super::{Context, Mapping, absolute, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, PathFact};
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Mount, MountKind, Namespace, Origin, Tmpfs, Volatile};

pub(super) use files::{CREDENTIALS, check as check_files};
use idmap::Ids;
pub(super) use idmap::attend;
use source::{Source, clone, require_directory, require_source};
use target::{Covered, open_link, open_target};

const EMPTY: &CStr = c"";

/// Attributes of everything that comes from the host.
const CONFINED: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NODEV);

/// What the root is made of.
enum RootTree {
    Plain(Source),
    Overlay(overlay::Layers),
}

/// The trees of a container.
pub(super) struct Sources {
    root: RootTree,
    /// What a borrowed `/usr` needs of its `/etc`.
    etc: Vec<Source>,
    /// The host's procfs, where its process ids are shared.
    proc: Option<Source>,
    /// In the order of mounting.
    mounts: Vec<Placed>,
    files: files::Files,
}

/// Something that is mounted inside.
struct Placed {
    target: PathBuf,
    content: Content,
    origin: Origin,
    /// On a symbolic link itself.
    over_link: bool,
}

enum Content {
    Bind(Source),
    Tmpfs(Tmpfs),
    Overlay(overlay::Layers),
    Device(devices::Node),
    /// A file that the plan makes, by number, or the credentials.
    Made(Option<usize>),
}

impl Sources {
    fn root(&self) -> &Source {
        match &self.root {
            RootTree::Plain(source) => source,
            // The root's overlay has one layer below.
            RootTree::Overlay(layers) => &layers.lower[0],
        }
    }

    fn all(&self) -> impl Iterator<Item = &Source> {
        let of_root: Vec<&Source> = match &self.root {
            RootTree::Plain(source) => vec![source],
            RootTree::Overlay(layers) => layers.sources().collect(),
        };
        let mounted = self.mounts.iter().flat_map(|placed| match &placed.content {
            Content::Bind(source) => vec![source],
            Content::Overlay(layers) => layers.sources().collect(),
            Content::Tmpfs(_) | Content::Device(_) | Content::Made(_) => Vec::new(),
        });
        of_root.into_iter().chain(&self.etc).chain(&self.proc).chain(mounted)
    }

    /// Whether the tmpfs that the tree grows on holds what an overlay throws away.
    fn throws_away(&self) -> bool {
        let of_root = matches!(&self.root, RootTree::Overlay(layers) if layers.throws_away());
        let throws = |placed: &Placed| matches!(&placed.content, Content::Overlay(layers) if layers.throws_away());
        of_root || self.mounts.iter().any(throws)
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

/// Whether a place is on a root that the plan makes empty.
fn is_fresh(context: &Context<'_>, target: &Path) -> bool {
    context.spec.root.volatile == Volatile::Yes && !target.starts_with("/usr")
}

/// Decides which trees are needed, and clones those that the embedder can.
pub(super) fn sources(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<Sources> {
    let spec = context.spec;
    let whole = check_root(context)?;
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
        attrs: if read_only || overlay { MountAttrs::RDONLY } else { MountAttrs::NONE },
        slot: plan.slot(),
        ids: if mapped { Ids::Container } else { Ids::Plain },
        origin,
    };
    require_directory(context, &root)?;
    let root = if overlay { RootTree::Overlay(overlay::of_root(context, root, plan)?) } else { RootTree::Plain(root) };
    let mut etc = Vec::new();
    for path in profile::ETC.iter().filter(|_| !whole).map(|path| spec.root.path.join(path)) {
        // A convenience, whose absence opens nothing: said, and no error.
        match context.facts.path(&path) {
            PathFact { kind: EntryKind::Missing, failed: Some(errno), .. } => {
                let why = format!("{} cannot be looked at: {errno}", path.display());
                report.unsupported(format!("bind {}", path.display()), why);
            }
            PathFact { kind: EntryKind::Missing, .. } => {}
            _ => etc.push(Source::read_only(context, &path, context.origin("root"), plan)),
        }
    }
    let mut files = files::Files::new(plan);
    let mut mounts = Vec::new();
    // The root's overlay is number 0.
    for (number, mount) in (1..).zip(target::sorted(context)?) {
        mounts.extend(placed(context, number, mount, &mut files, plan, report)?);
    }
    mounts.extend(files::of_host(context, &mut files, report, plan)?);
    let proc = (spec.namespaces.pid == Namespace::Host).then(|| Source {
        recursive: true,
        ..Source::read_only(context, Path::new("/proc"), context.origin("namespaces.pid"), plan)
    });
    let sources = Sources { root, etc, proc, mounts, files };
    if context.host_clones {
        for source in sources.all() {
            clone(source, Phase::Prepare, plan)?;
            plan.keep(source.slot);
        }
    }
    Ok(sources)
}

/// What can be wrong with the root; whether all of the tree is it.
fn check_root(context: &Context<'_>) -> Result<bool> {
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
    overlay::refuse_upper_without_overlay(context)?;
    Ok(whole)
}

/// What a mount of the Spec is; `None` where it is optional and has no source.
fn placed(
    context: &Context<'_>,
    number: usize,
    mount: Mount,
    files: &mut files::Files,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<Option<Placed>> {
    let shown = mount.target.display();
    let field = format!("mounts.{shown}");
    let origin = context.origin(&field);
    let item = format!("mount {shown}");
    let content = match &mount.kind {
        MountKind::Tmpfs(tmpfs) => {
            report.applied(item, format!("tmpfs: {}", tmpfs_attrs(tmpfs)));
            Content::Tmpfs(*tmpfs)
        }
        MountKind::Bind(bind) => {
            let mut source = Source::read_only(context, &bind.source, origin.clone(), plan);
            source.recursive = bind.recursive;
            source.attrs = with_chosen(
                MountAttrs::NONE,
                [
                    (bind.read_only, MountAttrs::RDONLY),
                    (bind.noexec, MountAttrs::NOEXEC),
                    (bind.nosymfollow, MountAttrs::NOSYMFOLLOW),
                ],
            );
            if bind.optional && source.fact.kind == EntryKind::Missing && source.fact.failed.is_none() {
                source::require_path(context, &field, "bind source", &bind.source)?;
                report.off(item, format!("skipped: the host has no {}", bind.source.display()));
                return Ok(None);
            }
            require_source(context, &field, "bind source", &source)?;
            source.ids = idmap::of_bind(context, &mount, bind, report)?;
            report.applied(item, format!("bind of {}: {}", source.path.display(), source.all_attrs()));
            Content::Bind(source)
        }
        MountKind::Overlay(overlay) => {
            let layers = overlay::of_mount(context, &field, number, overlay, plan)?;
            let lower = overlay::shown(&layers);
            report.applied(item, format!("overlay of {lower}, {}: {}", layers.changes(), layers.attrs));
            Content::Overlay(layers)
        }
        MountKind::Device(device) => match devices::of_mount(context, &mount, device, report)? {
            Some(node) => {
                report.applied(item, format!("device {}: {}", node.path.display(), devices::NODE));
                Content::Device(node)
            }
            None => return Ok(None),
        },
        MountKind::File(file) => {
            report.applied(item, format!("file: {}", files::ATTRS));
            Content::Made(Some(files.of_caller(&file.content, file.mode)))
        }
        MountKind::Secret(file) => {
            report.applied(item, format!("secret file: {}", files::ATTRS));
            Content::Made(Some(files.secret(&file.content)))
        }
    };
    Ok(Some(Placed { target: mount.target, content, origin, over_link: false }))
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

fn attach(from: Slot, to: Slot, plan: &mut Builder) {
    plan.op(Op::MoveMount { from, dir: At::Slot(to), path: EMPTY });
}

/// Attaches to a directory of ours, made now.
fn attach_name(from: Slot, dir: Slot, name: &CStr, plan: &mut Builder) {
    plan.op(Op::Mkdir { dir: At::Slot(dir), name, mode: 0o755, exist_ok: true }).op(Op::MoveMount {
        from,
        dir: At::Slot(dir),
        path: name,
    });
}

fn tmpfs_attrs(tmpfs: &Tmpfs) -> MountAttrs {
    with_chosen(CONFINED, [(tmpfs.read_only, MountAttrs::RDONLY), (tmpfs.noexec, MountAttrs::NOEXEC)])
}

/// `attrs` and those of `choices` that are on.
fn with_chosen<const N: usize>(attrs: MountAttrs, choices: [(bool, MountAttrs); N]) -> MountAttrs {
    choices.into_iter().filter(|(on, _)| *on).fold(attrs, |attrs, (_, attr)| attrs.with(attr))
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
    root::scratch(sources.throws_away(), plan)?;
    files::make(context, &sources.files, plan)?;
    root::root(context, sources, plan, report)?;
    super::kernel_files::mount(context, sources.proc.as_ref().map(|source| source.slot), plan, report)?;
    devices::devices(context, plan, report)?;
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
    let mut covered = Covered::default();
    profile::SCRATCHES.iter().for_each(|scratch| covered.add(scratch.path));
    covered.add("/dev");
    for placed in &sources.mounts {
        mount_one(context, sources, placed, &covered, plan)?;
        covered.add(&placed.target);
    }
    Ok(())
}

fn mount_one(
    context: &Context<'_>,
    sources: &Sources,
    placed: &Placed,
    covered: &Covered,
    plan: &mut Builder,
) -> Result<()> {
    let shown = placed.target.display();
    let mut remedy = if context.spec.root.read_only {
        "In a read-only root the mount point must exist, and no part of its path may be a symbolic link."
    } else {
        "No part of the mount point's path may be a file, or a symbolic link out of the root."
    };
    let step = |what: String, plan: &mut Builder| {
        plan.step(Phase::Enter, what, placed.origin.clone());
    };
    let (kind, from) = match &placed.content {
        Content::Tmpfs(tmpfs) => {
            step(format!("mount tmpfs on {shown}"), plan);
            let Tmpfs { size, inodes, mode, .. } = tmpfs;
            new_tmpfs(&size.to_string(), *inodes, *mode, tmpfs_attrs(tmpfs), role::TWO, plan)?;
            (EntryKind::Directory, role::TWO)
        }
        Content::Bind(source) => {
            let how = if source.is_read_only() { " read-only" } else { "" };
            step(format!("bind {} on {shown}{how}", source.path.display()), plan);
            let kind = if source.fact.kind == EntryKind::Directory { EntryKind::Directory } else { EntryKind::File };
            (kind, source.slot)
        }
        Content::Overlay(layers) => {
            step(format!("mount an overlay on {shown}"), plan);
            remedy = overlay::REMEDY;
            overlay::mount(context, layers, role::FOUR, plan)?;
            (EntryKind::Directory, role::FOUR)
        }
        Content::Device(node) => {
            step(format!("bind the device {} on {shown}", node.path.display()), plan);
            node.clone(plan)?;
            (EntryKind::Special, role::TWO)
        }
        Content::Made(number) => {
            step(format!("put a file of the plan on {shown}"), plan);
            files::copy(&sources.files, *number, plan)?;
            (if number.is_some() { EntryKind::File } else { EntryKind::Directory }, role::TWO)
        }
    };
    plan.remedy(remedy);
    if placed.over_link {
        open_link(&placed.target, role::THREE, plan)?;
    } else {
        open_target(context, &placed.target, kind, covered.on_the_way(&placed.target), role::THREE, plan)?;
    }
    attach(from, role::THREE, plan);
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
