//! The root and everything mounted in it, assembled on descriptors and
//! switched to at the end.
//!
//! Nothing is ever mounted on a path: a target is resolved once, beneath the
//! new root, and the mount goes onto that descriptor. There is no scratch
//! directory on the host: the tree grows on a tmpfs in the child's own mount
//! namespace, which goes away with the old root.

mod devices;
pub(crate) mod etc;
mod files;
mod idmap;
pub(crate) mod interface;
mod journal;
mod overlay;
pub(crate) mod root;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod users;

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::{At, Op, Slot};

use super::cgroups::Resources;
use super::named::Named;
use super::{Context, absolute, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, PathFact};
use crate::plan::{ASIDE, Builder, Give, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{AccessTimes, IdMap, KernelFiles, Mount, MountKind, Namespace, Origin, Tmpfs, Volatile};

pub(super) use files::{CREDENTIALS, check as check_files};
pub(crate) use idmap::ROOT_IDS;
pub(super) use idmap::attend;
pub(crate) use journal::to_make as journal_to_make;
use source::{Source, clone, require_directory, require_source};
use target::{Covered, open_link, open_target};
pub(super) use users::{BoundUser, assigned as assigned_users, check as check_users};

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
    /// The host's sysfs, where the profile shows it.
    sys: Option<Source>,
    /// In the order of mounting.
    mounts: Vec<Placed>,
    files: files::Files,
    /// To whom the root's tree is given before the start.
    pub(super) give: Option<Give>,
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
    /// What the plan makes.
    Made(files::Part),
    /// Nothing: the tree has a directory there.
    Directory,
    /// Nothing: the tree's file is removed.
    Removed,
}

impl Sources {
    fn root(&self) -> &Source {
        match &self.root {
            RootTree::Plain(source) => source,
            RootTree::Overlay(layers) => layers.top(),
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
            Content::Tmpfs(_) | Content::Device(_) | Content::Made(_) | Content::Directory | Content::Removed => {
                Vec::new()
            }
        });
        of_root.into_iter().chain(&self.etc).chain(&self.proc).chain(&self.sys).chain(mounted)
    }

    /// Whether the tmpfs that the tree grows on holds what an overlay throws away.
    fn throws_away(&self) -> bool {
        let of_root = matches!(&self.root, RootTree::Overlay(layers) if layers.throws_away());
        let throws = |placed: &Placed| matches!(&placed.content, Content::Overlay(layers) if layers.throws_away());
        of_root || self.mounts.iter().any(throws)
    }
}

pub(super) fn has_overlay(context: &Context<'_>) -> bool {
    is_overlay(context) || context.spec.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Overlay(_)))
}

fn is_overlay(context: &Context<'_>) -> bool {
    context.spec.root.is_overlay()
}

/// Whether the root's tree can be changed, as the Spec says and as it lies on the host.
fn is_writable(context: &Context<'_>) -> bool {
    let root = &context.spec.root;
    let image = context.facts.image.as_ref().filter(|_| root.image);
    let kept = !root.read_only && root.volatile != Volatile::State;
    kept && !root.is_closed()
        && (is_overlay(context) || !(context.facts.read_only_root || image.is_some_and(|image| image.read_only)))
}

/// Whether a place is on a root that the plan makes empty.
fn is_fresh(context: &Context<'_>, target: &Path) -> bool {
    context.spec.root.volatile == Volatile::Yes && !target.starts_with("/usr")
}

/// Decides which trees are needed, and clones those that the embedder can.
pub(super) fn sources(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<Sources> {
    let spec = context.spec;
    let whole = check_root(context)?;
    let origin = spec.origins.exactly("root").cloned().unwrap_or_else(|| context.root_origin());
    let top_path = spec.root.top();
    let root_path = if whole { top_path.clone() } else { top_path.join("usr") };
    let of_image = context.facts.image.as_ref().filter(|_| spec.root.image);
    let image_read_only = of_image.is_some_and(|image| image.read_only);
    let read_only = spec.root.read_only || !whole || spec.root.volatile == Volatile::State || image_read_only;
    // An overlay's lower is never written anyhow, and the mount on top decides.
    let overlay = is_overlay(context);
    let top = context.facts.path(&top_path);
    let (ids, give_to) = idmap::of_root(context, &top, whole)?;
    let root = Source {
        fact: context.facts.path(&root_path),
        path: root_path,
        honours: context.nspawn() && !overlay,
        recursive: of_image.is_none(),
        // What lies in the tree may lead out of it.
        no_links: spec.root.pivot.is_some(),
        attrs: if read_only || overlay { MountAttrs::RDONLY } else { MountAttrs::NONE },
        slot: if of_image.is_some() { role::TREE } else { plan.slot() },
        given: of_image.is_some(),
        ids,
        origin,
    };
    require_directory(context, &root)?;
    let give = give_to.map(|base| Give { path: root.path.clone(), device: top.device, inode: top.inode, base });
    if let Some(give) = &give {
        report.applied("ownership", format!("given to the ids from {} on, before the start", give.base));
    }
    if let Some(image) = of_image {
        report.applied("image", format!("{} at byte {}, mounted nowhere else", image.file_system, image.offset));
        for other in &image.others {
            report.unsupported(format!("partition {other}"), "not mounted: mount and bind it");
        }
    }
    let (attrs, root_origin) = (root.attrs, root.origin.clone());
    let root = match overlay {
        true => RootTree::Overlay(overlay::of_root(context, root, plan, report)?),
        false => RootTree::Plain(root),
    };
    let mut etc = Vec::new();
    for path in profile::ETC.iter().filter(|_| !whole && !context.nspawn()).map(|path| top_path.join(path)) {
        // A convenience, whose absence opens nothing: said, and no error.
        match context.facts.path(&path) {
            PathFact { kind: EntryKind::Missing, failed: Some(errno), .. } => {
                let why = format!("{} cannot be looked at: {errno}", path.display());
                report.unsupported(format!("bind {}", path.display()), why);
            }
            PathFact { kind: EntryKind::Missing, .. } => {}
            _ => etc.push(Source::read_only(context, &path, context.root_origin(), plan)),
        }
    }
    let mut files = files::Files::new(plan);
    let mut mounts = Vec::new();
    // The root's overlay is number 0.
    for (number, mount) in (1..).zip(target::sorted(context)?) {
        mounts.extend(placed(context, number, mount, &mut files, plan, report)?);
    }
    if let Some(old) = &spec.root.pivot_old {
        // The tree that the root is a part of, as that part is shown.
        let source = Source { attrs, ids, ..Source::read_only(context, &spec.root.path, root_origin.clone(), plan) };
        let source = Source { recursive: true, ..source };
        require_source(context, "root.pivot_old", "root directory", &source)?;
        let shown = format!("bind of {}: {}", source.path.display(), source.all_attrs());
        report.applied(format!("mount {}", old.display()), shown);
        mounts.push(Placed {
            target: old.clone(),
            content: Content::Bind(source),
            origin: root_origin,
            over_link: false,
        });
    }
    mounts.extend(files::of_host(context, &mut files, report, plan)?);
    let proc = (spec.namespaces.pid == Namespace::Host).then(|| Source {
        recursive: true,
        ..Source::read_only(context, Path::new("/proc"), context.origin("namespaces.pid"), plan)
    });
    let of_host = context.nspawn() && !context.administers_network() && !context.shows_parts_of_sys();
    let sys = (of_host && context.host_clones).then(|| Source {
        attrs: match spec.kernel_files {
            KernelFiles::Writable => MountAttrs::NOEXEC,
            _ => MountAttrs::RDONLY.with(MountAttrs::NOEXEC),
        },
        ..Source::read_only(context, Path::new("/sys"), context.origin("profile"), plan)
    });
    let sys = sys.filter(|source| source.fact.kind == EntryKind::Directory);
    let sources = Sources { root, etc, proc, sys, mounts, files, give };
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
    check_pivot(context)?;
    check_image(context)?;
    let whole = spec.root.volatile != Volatile::Yes;
    if spec.root.path == Path::new("/") && spec.root.volatile == Volatile::No && !spec.root.ephemeral {
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
    let (image, pivot) = (spec.root.image, spec.root.pivot.is_some());
    if !spec.root.lower.is_empty() && (!whole || image || pivot) {
        let what = match (whole, image) {
            (false, _) => "a part of several layers would be the root",
            (_, true) => "a disk image is laid over other layers",
            _ => "a directory of several layers becomes the root",
        };
        return Err(context.invalid("root.lower", what).remedy(
            "Throw all changes away instead of some (--volatile=overlay), mount the image, or name the directory in each layer.",
        ));
    }
    Ok(whole)
}

fn check_pivot(context: &Context<'_>) -> Result<()> {
    let root = &context.spec.root;
    for (field, path) in [("root.pivot", &root.pivot), ("root.pivot_old", &root.pivot_old)] {
        if let Some(path) = path {
            absolute(context.spec, field, path)?;
        }
    }
    let wrong = match (&root.pivot, &root.pivot_old) {
        (None, Some(_)) => "where the whole tree is to be is said, and no directory that becomes the root",
        (Some(_), _) if root.image => "a directory of a disk image becomes the root",
        (Some(_), Some(_)) if is_overlay(context) => "the changes of an ephemeral root are not shown in the whole tree",
        (Some(_), Some(old)) if crate::facts::plain(old) == Path::new("/") => "the whole tree is to lie over the root",
        _ => return Ok(()),
    };
    Err(context.invalid("root.pivot", wrong).remedy("Leave one of the two out, or name another directory."))
}

fn check_image(context: &Context<'_>) -> Result<()> {
    let spec = context.spec;
    let refuse = |kind, what: &str, remedy: &str| {
        let what = format!("take the disk image {} for a root: {what}", spec.root.path.display());
        Err(Error::new(kind, what).from(spec.origins.of("root.image")).remedy(remedy))
    };
    match (spec.root.image, &context.facts.image) {
        (false, _) => Ok(()),
        (true, _) if !context.host_clones => {
            refuse(ErrorKind::NotPermitted, "only root can mount one", "Unpack it into a directory.")
        }
        (true, _) if spec.root.volatile == Volatile::Yes => refuse(
            ErrorKind::Unsupported,
            "a part of it would be the root",
            "Throw all changes away instead: --volatile=overlay, or -x.",
        ),
        (true, None) => refuse(
            ErrorKind::Unsupported,
            "what is in it is known once it is mounted, which only a start does",
            "Start it, or mount it and name the directory.",
        ),
        (true, Some(_)) => Ok(()),
    }
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
            check_tmpfs(context, &field, tmpfs)?;
            let Tmpfs { inodes, mode, uid, gid, .. } = tmpfs;
            let (_, _, bound) = tmpfs.bound();
            let owner = if (*uid, *gid) == (0, 0) { String::new() } else { format!(", of {uid}:{gid}") };
            let options: String = tmpfs
                .options()
                .into_iter()
                .map(|(key, value)| value.map_or_else(|| format!(", {key}"), |value| format!(", {key}={value}")))
                .collect();
            let attrs = tmpfs_attrs(context, tmpfs);
            let shown = format!("tmpfs of {bound} and {inodes} files, mode {mode:o}{owner}{options}: {attrs}");
            report.applied(item, shown);
            Content::Tmpfs(tmpfs.clone())
        }
        MountKind::Bind(bind) => {
            let mut source = Source::read_only(context, &bind.of_host(&context.spec.root), origin.clone(), plan);
            source.recursive = bind.recursive;
            source.no_links = bind.no_links || bind.inside;
            let root = &context.spec.root;
            let in_parts = root.image || !root.lower.is_empty();
            if bind.inside && (in_parts || (is_overlay(context) && !bind.read_only)) {
                let what = format!("the bind of {} on {shown} is of the tree itself", bind.source.display());
                return Err(context.invalid(&field, what).remedy(
                    "Where the root is a disk image or of several layers, bind from the host; where its changes are thrown away, read-only.",
                ));
            }
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
            source.ids = match bind.id_map {
                IdMap::NoIdMap if bind.inside => {
                    idmap::of_root(context, &context.facts.path(&context.spec.root.top()), true)?.0
                }
                _ => idmap::of_bind(context, &mount, bind, report)?,
            };
            report.applied(item, format!("bind of {}: {}", source.path.display(), source.all_attrs()));
            if source.no_links {
                report.applied(format!("source of {shown}"), "through no link");
            }
            Content::Bind(source)
        }
        MountKind::Overlay(overlay) => {
            let layers = overlay::of_mount(context, &field, number, overlay, plan, report)?;
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
            Content::Made(files.of_caller(&file.content, file.mode))
        }
        MountKind::Secret(file) => {
            report.applied(item, format!("secret file: {}", files::ATTRS));
            Content::Made(files.secret(&file.content))
        }
    };
    Ok(Some(Placed { target: mount.target, content, origin, over_link: false }))
}

/// One that nobody has asked for.
pub(super) fn own_tmpfs(of: &profile::Scratch, attrs: MountAttrs, into: Slot, plan: &mut Builder) -> Result<()> {
    new_tmpfs(&of.size.to_string(), of.inodes, of.mode, attrs, into, plan)
}

/// A new tmpfs in `into`, detached.
fn new_tmpfs(size: &str, inodes: u64, mode: u32, attrs: MountAttrs, into: Slot, plan: &mut Builder) -> Result<()> {
    begin_tmpfs(("size", size), inodes, mode, plan)?;
    plan.op(Op::FsCreate { fs: role::ONE }).op(Op::FsMount { fs: role::ONE, attrs, into });
    Ok(())
}

/// What every tmpfs is given.
pub(in crate::compile) fn begin_tmpfs(bound: (&str, &str), inodes: u64, mode: u32, plan: &mut Builder) -> Result<()> {
    plan.op(Op::FsOpen { kind: c"tmpfs", into: role::ONE });
    let options = [bound, ("nr_inodes", &inodes.to_string()), ("mode", &format!("{mode:o}"))];
    options.into_iter().try_for_each(|(key, value)| set_option(key, Some(value), plan))
}

pub(in crate::compile) fn set_option(key: &str, value: Option<&str>, plan: &mut Builder) -> Result<()> {
    let (fs, key) = (role::ONE, c_text(key.as_bytes())?);
    match value {
        Some(value) => plan.op(Op::FsString { fs, key: &key, value: &c_text(value.as_bytes())? }),
        None => plan.op(Op::FsFlag { fs, key: &key }),
    };
    Ok(())
}

/// One that the caller asks for.
fn tmpfs_of(context: &Context<'_>, tmpfs: &Tmpfs, into: Slot, plan: &mut Builder) -> Result<()> {
    let (key, bound, _) = tmpfs.bound();
    begin_tmpfs((key, &bound), tmpfs.inodes, tmpfs.mode, plan)?;
    if (tmpfs.uid, tmpfs.gid) != (0, 0) {
        for (key, id) in [("uid", tmpfs.uid), ("gid", tmpfs.gid)] {
            set_option(key, Some(&id.to_string()), plan)?;
        }
    }
    for (key, value) in tmpfs.options() {
        set_option(key, value.as_deref(), plan)?;
    }
    plan.op(Op::FsCreate { fs: role::ONE }).op(Op::FsMount { fs: role::ONE, attrs: tmpfs_attrs(context, tmpfs), into });
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
pub(super) fn attach_name(from: Slot, dir: Slot, name: &CStr, plan: &mut Builder) {
    plan.op(Op::Mkdir { dir: At::Slot(dir), name, mode: 0o755, exist_ok: true }).op(Op::MoveMount {
        from,
        dir: At::Slot(dir),
        path: name,
    });
}

fn check_tmpfs(context: &Context<'_>, field: &str, tmpfs: &Tmpfs) -> Result<()> {
    if tmpfs.percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
        let what = "a tmpfs of no part of the memory, or of more than all of it";
        return Err(context.invalid(field, what).remedy("Give 1 to 100 percent."));
    }
    if tmpfs.percent.is_some() && tmpfs.blocks.is_some() {
        let what = "a tmpfs that is bounded both by a part of the memory and by a number of pages";
        return Err(context.invalid(field, what).remedy("Give one of `percent` and `blocks`."));
    }
    // `shmem_parse_one`
    if tmpfs.noswap && context.mapping.is_new() {
        let what = "a tmpfs that is never swapped out, which the kernel refuses to a user namespace";
        return Err(context.invalid(field, what).remedy("Leave `noswap` out, or share the host's user namespace."));
    }
    for (id, group) in [(tmpfs.uid, false), (tmpfs.gid, true)] {
        if id == u32::MAX || !context.mapping.maps(id, group) {
            return Err(context
                .invalid(field, format!("a tmpfs of the id {id}, which the container does not map"))
                .remedy("Choose one within the mapped range."));
        }
    }
    Ok(())
}

fn tmpfs_attrs(context: &Context<'_>, tmpfs: &Tmpfs) -> MountAttrs {
    let of_profile = tmpfs.access_times == AccessTimes::Profile;
    with_chosen(
        if of_profile { context.timed(CONFINED) } else { CONFINED },
        [
            (tmpfs.read_only, MountAttrs::RDONLY),
            (tmpfs.noexec, MountAttrs::NOEXEC),
            (tmpfs.nosymfollow, MountAttrs::NOSYMFOLLOW),
            (tmpfs.access_times == AccessTimes::Strict, MountAttrs::STRICTATIME),
            (tmpfs.access_times == AccessTimes::Off, MountAttrs::NOATIME),
            (tmpfs.nodiratime, MountAttrs::NODIRATIME),
        ],
    )
}

/// `attrs` and those of `choices` that are on.
fn with_chosen<const N: usize>(attrs: MountAttrs, choices: [(bool, MountAttrs); N]) -> MountAttrs {
    choices.into_iter().filter(|(on, _)| *on).fold(attrs, |attrs, (_, attr)| attrs.with(attr))
}

pub(super) fn assemble(
    context: &Context<'_>,
    sources: &Sources,
    (resources, named): (&Resources, &Named),
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
    report.applied("mount propagation", if context.nspawn() { "shared within the container" } else { "private" });
    if !context.host_clones {
        for source in sources.all() {
            clone(source, Phase::Enter, plan)?;
        }
    }
    root::scratch(sources.throws_away(), plan)?;
    files::make(context, &sources.files, plan)?;
    root::root(context, sources, plan, report)?;
    let slot = |source: &Option<Source>| source.as_ref().map(|source| source.slot);
    super::kernel_files::mount(context, slot(&sources.proc), slot(&sources.sys), resources, plan, report)?;
    devices::devices(context, plan, report)?;
    let mut covered = Covered::default();
    for path in ["/run", "/tmp"].into_iter().filter(|path| *path != "/tmp" || context.spec.tmp) {
        scratch(context, path, context.origin("profile"), plan)?;
        covered.add(path);
    }
    if context.nspawn() {
        interface::make(context, named, plan, report)?;
    }
    if context.spec.root.volatile == Volatile::State {
        scratch(context, "/var", context.root_origin(), plan)?;
        covered.add("/var");
    }
    covered.add("/dev");
    if context.nspawn() {
        covered.add("/sys");
    }
    for placed in &sources.mounts {
        mount_one(context, sources, placed, &covered, plan)?;
        covered.add(&placed.target);
    }
    Ok(())
}

/// Takes a file, or a link itself, out of the tree.
fn remove(target: &Path, plan: &mut Builder) -> Result<()> {
    let (Some(above), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
    let above = c_text(above.strip_prefix("/").unwrap_or(above).as_os_str().as_bytes())?;
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::ROOT),
        path: &above,
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS),
        into: role::THREE,
    })
    .op(Op::Unlink { dir: At::Slot(role::THREE), path: &c_text(name.as_bytes())?, directory: false });
    Ok(())
}

/// A tmpfs of the profile's.
fn scratch(context: &Context<'_>, path: &str, origin: Origin, plan: &mut Builder) -> Result<()> {
    let scratch = profile::scratch_on(context.spec.profile, path);
    plan.step(Phase::Enter, format!("mount tmpfs on {path}"), origin);
    own_tmpfs(scratch, context.timed(CONFINED), role::TWO, plan)?;
    // Not through a link: /tmp of a tree may be one.
    open_target(context, Path::new(path), EntryKind::Directory, true, role::THREE, plan)?;
    attach(role::TWO, role::THREE, plan);
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
    let mut remedy = if context.spec.root.is_closed() {
        "In a read-only root the mount point must exist, and no part of its path may be a symbolic link."
    } else {
        "No part of the mount point's path may be a file, or a symbolic link out of the root; \
         where the tree is read-only it must be there already."
    };
    let step = |what: String, plan: &mut Builder| {
        plan.step(Phase::Enter, what, placed.origin.clone());
    };
    let (kind, from) = match &placed.content {
        Content::Directory => {
            step(format!("make {shown} in the tree"), plan);
            plan.remedy(remedy);
            let covered = covered.on_the_way(&placed.target);
            return open_target(context, &placed.target, EntryKind::Directory, covered, role::THREE, plan);
        }
        Content::Removed => {
            step(format!("remove {shown} from the tree"), plan);
            plan.remedy("Where it is to stay, say `off` instead of `delete`; a mount on it has to be left out.");
            return remove(&placed.target, plan);
        }
        Content::Tmpfs(tmpfs) => {
            step(format!("mount tmpfs on {shown}"), plan);
            tmpfs_of(context, tmpfs, role::TWO, plan)?;
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
            overlay::mount(layers, role::FOUR, plan)?;
            (EntryKind::Directory, role::FOUR)
        }
        Content::Device(node) => {
            step(format!("bind the device {} on {shown}", node.path.display()), plan);
            node.clone(plan)?;
            (EntryKind::Special, role::TWO)
        }
        Content::Made(part) => {
            step(format!("put a file of the plan on {shown}"), plan);
            files::copy(&sources.files, *part, plan)?;
            (part.kind(), role::TWO)
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
pub(super) fn switch(context: &Context<'_>, plan: &mut Builder) {
    plan.step(Phase::Enter, "switch to the new root and let go of the old one", Origin::Always)
        .remedy("pivot_root needs the caller's own root to be a mount point: it fails with EINVAL in a chroot and on an initramfs.")
        // The tmpfs that was built on goes from over the old root to below it:
        // one unmount takes both, and each waits for a grace period (RCU).
        .op(Op::MoveMount { from: role::SCRATCH, dir: At::Cwd, path: ASIDE })
        .op(Op::Fchdir { dir: role::ROOT })
        .op(Op::PivotRoot {})
        .op(Op::UmountOld {})
        .op(Op::Chdir { path: c"/" })
        .op(Op::ProveRoot {});
    if context.nspawn() {
        // As on a machine: what is mounted later is seen by services that have a
        // mount namespace of their own. Nothing here is the peer of anything outside.
        plan.step(Phase::Enter, "let mounts spread within the container", context.origin("profile")).op(
            Op::MountSetAttr {
                dir: At::Cwd,
                path: c"/",
                flags: TreeFlags::RECURSIVE,
                set: MountAttrs::NONE,
                clear: MountAttrs::NONE,
                propagation: Propagation::SHARED,
                userns: None,
            },
        );
    }
}
