//! Overlays (kernel `filesystems/overlayfs.rst`).
//!
//! The paths in an overlay's options are always words of ours, below the tmpfs
//! that the tree grows on: layers are attached there as `0l0`, `0l1`, …, and
//! what lies deeper is named by a link of ours, `0u` and `0w`. So no name of
//! the caller is ever split at a colon or a comma, on any kernel.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve};
use skep_sys::{At, Op, Proof, Slot};

use super::idmap::Ids;
use super::source::{Source, require_path, require_source};
use super::{CONFINED, attach_name, make_directory, with_chosen};
use crate::compile::{Context, Mapping, absolute, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, PathFact, UpperPlace};
use crate::plan::{Builder, role};
use crate::report::Report;
use crate::spec::{Overlay, Volatile};

/// As many as fit into the 255 bytes that an option of a file system has.
const LAYERS: usize = 32;

/// The layers of one overlay.
pub(super) struct Layers {
    /// Which of the container's overlays; the root's is the first.
    pub(super) number: usize,
    /// The bottom first.
    pub(super) lower: Vec<Source>,
    pub(super) upper: Upper,
    pub(super) attrs: MountAttrs,
    /// What hides the lower ones is marked by attributes of the user (`userxattr`).
    pub(super) user_attributes: bool,
}

/// Where changes go.
pub(super) enum Upper {
    /// Nowhere.
    None,
    /// Into the tmpfs that the tree grows on.
    Thrown,
    /// Into a directory of the host.
    Kept(Box<Kept>),
}

pub(super) struct Kept {
    /// The directory above both.
    tree: Source,
    place: UpperPlace,
    upper: PathFact,
    work: PathFact,
}

impl Layers {
    /// The first that is looked into; there is always one.
    pub(super) fn top(&self) -> &Source {
        &self.lower[self.lower.len().saturating_sub(1)]
    }

    /// What lies below that, for the report.
    pub(super) fn below(&self) -> String {
        let names = self.lower.iter().rev().skip(1).map(|source| source.path.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        let kept = match &self.upper {
            Upper::Kept(kept) => Some(&kept.tree),
            Upper::None | Upper::Thrown => None,
        };
        self.lower.iter().chain(kept)
    }

    pub(super) fn throws_away(&self) -> bool {
        matches!(self.upper, Upper::Thrown)
    }

    /// Where changes go, for the report.
    pub(super) fn changes(&self) -> String {
        match &self.upper {
            Upper::None => "no changes".to_owned(),
            Upper::Thrown => "changes thrown away".to_owned(),
            Upper::Kept(kept) => format!("changes kept in {}", kept.place.upper.display()),
        }
    }
}

/// How the ids of a layer are shown, but for the root's.
pub(super) fn layer_ids(context: &Context<'_>) -> Ids {
    if matches!(context.mapping, Mapping::Direct { .. }) { Ids::Container } else { Ids::Plain }
}

/// The layers that a mount asks for.
pub(super) fn of_mount(
    context: &Context<'_>,
    field: &str,
    number: usize,
    overlay: &Overlay,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<Layers> {
    let count = overlay.lower.len();
    if count == 0 || count > LAYERS {
        return Err(context
            .invalid(field, format!("an overlay of {count} lower directories"))
            .remedy(format!("An overlay has 1 to {LAYERS}.")));
    }
    if overlay.read_only && (overlay.upper.is_some() || overlay.work.is_some()) {
        return Err(context
            .invalid(field, "a read-only overlay with an upper directory")
            .remedy("List it as the last lower one."));
    }
    if overlay.upper.is_none() && overlay.work.is_some() {
        return Err(context.invalid(field, "a work directory without an upper one").remedy(BOTH));
    }
    let mut lower = Vec::new();
    let root = &context.spec.root;
    for (index, layer) in overlay.lower.iter().enumerate() {
        let (path, of_tree) = Overlay::of_host(layer, root);
        let mut source = Source::read_only(context, &path, context.origin(field), plan);
        source.no_links = of_tree;
        source.ids = if of_tree { tree_ids(context, field)? } else { layer_ids(context) };
        if of_tree {
            report.applied(format!("layer {number}l{index}"), of_tree_shown(source.ids));
        }
        require_source(context, field, "lower directory", &source)?;
        require_directory(&source)?;
        lower.push(source);
    }
    let upper = match (&overlay.upper, overlay.read_only) {
        (Some(upper), _) => {
            let (path, of_tree) = Overlay::of_host(upper, root);
            let ids = if of_tree { tree_ids(context, field)? } else { layer_ids(context) };
            if of_tree && (super::is_overlay(context) || root.read_only || root.volatile != Volatile::No) {
                let what = format!("changes are kept in {}, in a tree that keeps none", upper.display());
                return Err(context
                    .invalid(field, what)
                    .remedy("Leave the upper directory empty, or write one of the host."));
            }
            if of_tree {
                report.applied(format!("layer {number}t"), of_tree_shown(ids));
            }
            let mut upper = kept(context, field, &path, overlay.work.as_deref(), ids, plan)?;
            if let Upper::Kept(kept) = &mut upper {
                // What lies in the tree may lead out of it.
                kept.tree.no_links = of_tree;
            }
            upper
        }
        (None, true) if count > 1 => Upper::None,
        // Read-only, overlayfs wants two layers, and the other is empty.
        (None, _) => Upper::Thrown,
    };
    let attrs = with_chosen(CONFINED, [(overlay.read_only, MountAttrs::RDONLY), (overlay.noexec, MountAttrs::NOEXEC)]);
    // trusted.* attributes need root outside.
    let user_attributes = overlay.user_attributes || context.mapping.is_new();
    Ok(Layers { number, lower, upper, attrs, user_attributes })
}

/// How a layer of the root's own tree shows its ids: as the root does.
fn tree_ids(context: &Context<'_>, field: &str) -> Result<Ids> {
    let root = &context.spec.root;
    if root.image || !root.lower.is_empty() {
        let what = "a layer lies in the container's tree, which is a disk image, or several layers itself";
        return Err(context.invalid(field, what).remedy("Name a directory of the host."));
    }
    Ok(super::idmap::of_root(context, &context.facts.path(&root.top()), true)?.0)
}

/// For the report.
fn of_tree_shown(ids: Ids) -> String {
    format!("of the tree{}", ids_shown(ids))
}

const BOTH: &str = "Name the upper directory too, or leave both out.";

fn require_directory(source: &Source) -> Result<()> {
    if source.fact.kind == EntryKind::Directory {
        return Ok(());
    }
    Err(Error::system(format!("lay over {}", source.path.display()), skep_sys::Errno::ENOTDIR)
        .from(Some(&source.origin))
        .remedy("Overlays are made of directories; bind a file instead."))
}

/// An upper directory of the host.
pub(super) fn kept(
    context: &Context<'_>,
    field: &str,
    upper: &Path,
    work: Option<&Path>,
    ids: Ids,
    plan: &mut Builder,
) -> Result<Upper> {
    for path in [Some(upper), work].into_iter().flatten() {
        require_path(context, field, "upper or work directory", path)?;
        absolute(context.spec, field, path)?;
    }
    let Some(place) = UpperPlace::of(upper, work) else {
        return Err(context
            .invalid(field, format!("the upper directory {} and its work directory lie in each other", upper.display()))
            .remedy("Name two directories beside each other on one file system."));
    };
    let fact = context.facts.path(&place.upper);
    let work = context.facts.path(&place.work);
    for (path, fact, needed) in [(&place.upper, fact, true), (&place.work, work, place.named)] {
        let problem = match fact.kind {
            EntryKind::Directory => continue,
            EntryKind::Missing => match fact.failed {
                None if !needed => continue,
                failed => failed.unwrap_or(skep_sys::Errno::ENOENT),
            },
            EntryKind::File | EntryKind::Special => skep_sys::Errno::ENOTDIR,
        };
        return Err(Error::system(format!("keep changes in {}", path.display()), problem)
            .from(context.spec.origins.of(field))
            .remedy("Make an empty directory there, on a file system with extended attributes."));
    }
    let mut tree = Source::read_only(context, &place.above, context.origin(field), plan);
    (tree.attrs, tree.ids) = (MountAttrs::NONE, ids);
    require_source(context, field, "directory", &tree)?;
    Ok(Upper::Kept(Box::new(Kept { tree, place, upper: fact, work })))
}

/// Makes the overlay, detached, in `into`, as part of the step begun.
pub(super) fn mount(layers: &Layers, into: Slot, plan: &mut Builder) -> Result<()> {
    let word = |rest: String| c_text(format!("{}{rest}", layers.number).as_bytes());
    let (tree, upper, work) = (word("t".into())?, word("u".into())?, word("w".into())?);
    let mut words = Vec::new();
    for (index, source) in layers.lower.iter().enumerate() {
        let name = word(format!("l{index}"))?;
        attach_name(source.slot, role::SCRATCH, &name, plan);
        words.push(name);
    }
    match &layers.upper {
        Upper::None => {}
        Upper::Thrown => {
            for name in [&upper, &work] {
                plan.op(Op::Mkdir { dir: At::Slot(role::SCRATCH), name, mode: 0o755, exist_ok: true });
            }
        }
        Upper::Kept(kept) => {
            attach_name(kept.tree.slot, role::SCRATCH, &tree, plan);
            reach(kept, &tree, plan)?;
            for (name, path) in [(&upper, &kept.place.upper), (&work, &kept.place.work)] {
                let below =
                    Path::new(std::str::from_utf8(tree.to_bytes()).unwrap_or_default()).join(relative(kept, path));
                let target = c_path(&below)?;
                plan.op(Op::Symlink { target: &target, dir: At::Slot(role::SCRATCH), name });
            }
        }
    }
    let fs = role::ONE;
    // overlayfs wants the top first.
    let list: Vec<&[u8]> = words.iter().rev().map(|name: &CString| name.to_bytes()).collect();
    let lowerdir = c_text(&list.join(&b':'))?;
    plan.op(Op::Fchdir { dir: role::SCRATCH }).op(Op::FsOpen { kind: c"overlay", into: fs }).op(Op::FsString {
        fs,
        key: c"lowerdir",
        value: &lowerdir,
    });
    if !matches!(layers.upper, Upper::None) {
        plan.op(Op::FsString { fs, key: c"upperdir", value: &upper }).op(Op::FsString {
            fs,
            key: c"workdir",
            value: &work,
        });
    }
    if layers.user_attributes {
        plan.op(Op::FsFlag { fs, key: c"userxattr" });
    }
    plan.op(Op::FsCreate { fs }).op(Op::FsMount { fs, attrs: layers.attrs, into });
    Ok(())
}

/// Name by name, without doubled slashes.
fn relative(kept: &Kept, path: &Path) -> PathBuf {
    path.strip_prefix(&kept.place.above).unwrap_or(path).components().collect()
}

/// Proves that both directories are those that were seen, below the tree just
/// attached: no link on the way, and no other mount.
fn reach(kept: &Kept, tree: &CString, plan: &mut Builder) -> Result<()> {
    let flags = OpenFlags::PATH.with(OpenFlags::DIRECTORY);
    let beneath = Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS);
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::SCRATCH),
        path: tree,
        flags,
        mode: 0,
        resolve: beneath,
        into: role::TWO,
    });
    for (path, fact) in [(&kept.place.upper, kept.upper), (&kept.place.work, kept.work)] {
        let missing = fact.kind == EntryKind::Missing || (!kept.place.named && *path == kept.place.work);
        let relative = relative(kept, path);
        if missing {
            make_directory(role::TWO, relative.as_os_str(), 0o700, plan)?;
        }
        let name = c_path(&relative)?;
        let dir = At::Slot(role::TWO);
        plan.op(Op::OpenAt2 { dir, path: &name, flags, mode: 0, resolve: beneath, into: role::THREE });
        if !missing {
            let proof = Proof::Inode { device: fact.device, inode: fact.inode };
            plan.op(Op::Prove { file: role::THREE, proof });
        }
    }
    Ok(())
}

/// What may go wrong, for whoever asked for an overlay.
pub(super) const REMEDY: &str = "Overlays need Linux 5.11 as an ordinary user, and directories without other mounts below; 5.19 where a range of ids is mapped. An upper directory must be on a file system with extended attributes (no overlay itself), on one mount with its work directory.";

/// The root's overlay: the tree, and what it is laid over.
pub(super) fn of_root(context: &Context<'_>, tree: Source, plan: &mut Builder, report: &mut Report) -> Result<Layers> {
    let root = &context.spec.root;
    let several = !root.lower.is_empty();
    if root.lower.len() >= LAYERS {
        let what = format!("a root of {} layers", root.lower.len().saturating_add(1));
        return Err(context.invalid("root.lower", what).remedy(format!("It has at most {LAYERS}.")));
    }
    let mut lower = Vec::new();
    for path in &root.lower {
        let mut source = Source::read_only(context, path, context.origin("root.lower"), plan);
        require_source(context, "root.lower", "layer", &source)?;
        absolute(context.spec, "root.lower", path)?;
        require_directory(&source)?;
        if crate::facts::plain(path) == Path::new("/") {
            return Err(context
                .invalid("root.lower", "the root is laid over the host's own root")
                .remedy("Name directories that hold root file systems."));
        }
        source.ids = super::idmap::of_root(context, &source.fact, true)?.0;
        // An ordinary user clones no part of what is mounted.
        source.recursive = !context.host_clones;
        lower.push(source);
    }
    let upper_ids = match &root.upper {
        // As whoever made it.
        Some(upper) => super::idmap::of_root(context, &context.facts.path(upper), true)?.0,
        None => tree.ids,
    };
    lower.push(tree);
    let upper = match &root.upper {
        Some(upper) => kept(context, "root.upper", upper, root.work.as_deref(), upper_ids, plan)?,
        None if root.forgets() => Upper::Thrown,
        None => Upper::None,
    };
    let names = (0..).zip(&lower).map(|(index, source)| (format!("l{index}"), source));
    let of_upper = match &upper {
        Upper::Kept(kept) => Some(("t".to_owned(), &kept.tree)),
        Upper::None | Upper::Thrown => None,
    };
    for (name, source) in names.chain(of_upper).filter(|_| several) {
        report.applied(format!("layer 0{name}"), format!("{}{}", source.path.display(), ids_shown(source.ids)));
    }
    let attrs = if context.nspawn() { MountAttrs::NONE } else { CONFINED };
    let attrs = with_chosen(attrs, [(matches!(upper, Upper::None), MountAttrs::RDONLY)]);
    Ok(Layers { number: 0, lower, upper, attrs, user_attributes: true })
}

/// How the report ends that says what the ids of a tree are.
pub(super) fn ids_shown(ids: Ids) -> &'static str {
    if ids == Ids::Plain { "" } else { ", ids mapped" }
}

/// An upper directory where nothing is laid over.
pub(super) fn refuse_upper_without_overlay(context: &Context<'_>) -> Result<()> {
    let root = &context.spec.root;
    if root.upper.is_none() && root.work.is_some() {
        return Err(context.invalid("root.work", "a work directory of the root without an upper one").remedy(BOTH));
    }
    if root.upper.is_some() && !super::is_overlay(context) {
        return Err(Error::new(ErrorKind::InvalidSpec, "the root has an upper directory, and nothing is laid over it")
            .from(context.spec.origins.of("root.upper"))
            .remedy("Name a tree for the root, or leave the upper directory out."));
    }
    let closed = root.read_only || root.volatile == Volatile::State;
    if root.upper.is_some() && closed && !root.ephemeral && root.volatile != Volatile::Overlay {
        return Err(context
            .invalid("root.upper", "a read-only root has an upper directory")
            .remedy("Name it as the root, over the other layers, or leave it out."));
    }
    Ok(())
}

/// For messages.
pub(super) fn shown(layers: &Layers) -> String {
    let names: Vec<String> = layers.lower.iter().map(|source| source.path.display().to_string()).collect();
    names.join(", ")
}
