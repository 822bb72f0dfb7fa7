//! The root: the tmpfs that everything grows on, and the tree that becomes `/`.

use std::ffi::OsStr;
use std::path::Path;

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op};

use super::idmap::{Ids, host_id};
use super::target::open_target;
use super::{CONFINED, RootTree, Sources, attach, make_directory, overlay, own_tmpfs};
use crate::compile::{Context, c_path, c_text};
use crate::error::Result;
use crate::plan::{Builder, Phase, role};
use crate::profile::{self, BUILDING};
use crate::report::Report;
use crate::spec::{Origin, Volatile};

/// The tmpfs on which the tree grows: it covers the old root, and goes with it.
pub(super) fn scratch(throws_away: bool, plan: &mut Builder) -> Result<()> {
    plan.step(Phase::Enter, "cover the old root with a tmpfs to build on", Origin::Always);
    let [small, large] = &BUILDING;
    own_tmpfs(if throws_away { large } else { small }, CONFINED, role::SCRATCH, plan)?;
    plan.op(Op::MoveMount { from: role::SCRATCH, dir: At::Cwd, path: c"/" });
    for name in ["root", "blank"] {
        // What masks directories: nobody may enter it.
        let mode = if name == "blank" { 0 } else { 0o755 };
        make_directory(role::SCRATCH, OsStr::new(name), mode, plan)?;
    }
    // What masks files: nobody may open it.
    plan.op(Op::Create { dir: At::Slot(role::SCRATCH), name: c"void", mode: 0, content: Blob(b""), exist_ok: false });
    Ok(())
}

/// Attaches the root's tree to the tmpfs, and what a borrowed `/usr` needs.
pub(super) fn root(context: &Context<'_>, sources: &Sources, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let spec = context.spec;
    let origin = context.root_origin();
    let source = sources.root();
    let shown = source.path.display();
    let ids = overlay::ids_shown(source.ids);
    let tree_slot;
    match (spec.root.volatile, &sources.root) {
        (Volatile::Yes, _) => {
            plan.step(Phase::Enter, "make the root a tmpfs", origin.clone());
            let scratch = profile::scratch_on(spec.profile, "/");
            let attrs = if context.nspawn() { context.timed(MountAttrs::NONE) } else { CONFINED };
            own_tmpfs(scratch, attrs, role::ROOT, plan)?;
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
            report.applied("root", format!("tmpfs, {shown} read-only on /usr{ids}"));
            return Ok(());
        }
        (_, RootTree::Overlay(layers)) => {
            let (what, over) = match layers.lower.len() {
                1 => (format!("lay a tmpfs over {shown}"), String::new()),
                count => (format!("lay {count} directories over each other"), format!(" over {}", layers.below())),
            };
            plan.step(Phase::Enter, what, origin.clone()).remedy(overlay::REMEDY);
            overlay::mount(layers, role::ROOT, plan)?;
            tree_slot = role::ROOT;
            report.applied("root", format!("{shown}{over}, {}{ids}", layers.changes()));
        }
        (_, RootTree::Plain(_)) => {
            let how = if source.is_read_only() { "read-only" } else { "writable" };
            plan.step(Phase::Enter, format!("take {shown} for the root, {how}"), origin.clone());
            tree_slot = source.slot;
            report.applied("root", format!("{shown}, {how}{ids}"));
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
    if context.nspawn() { base(context, sources, plan, report) } else { Ok(()) }
}

/// What a machine's tree lacks, as systemd-nspawn makes it in the tree itself.
fn base(context: &Context<'_>, sources: &Sources, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let lacks = |name: &str| context.facts.lacking.contains_key(name) && !has_mount(context, name);
    let directories: Vec<_> = profile::BASE.iter().filter(|(name, _)| lacks(name)).collect();
    let links: Vec<_> = links(context).collect();
    if directories.is_empty() && links.is_empty() {
        return Ok(());
    }
    if !super::is_writable(context) {
        report.off(BASE_ITEM, "the tree is read-only");
        return Ok(());
    }
    let top = context.facts.path(&context.spec.root.top());
    let others = context.mapping.is_new() && host_id(&context.mapping, 0, false) != Some(top.uid);
    if others && sources.root().ids == Ids::Plain && sources.give.is_none() {
        report.off(BASE_ITEM, "the tree belongs to others than the container's root");
        return Ok(());
    }
    let mut made: Vec<String> = directories.iter().map(|(name, _)| (*name).to_owned()).collect();
    made.extend(links.iter().map(|(name, target)| format!("{name} -> {target}")));
    plan.step(Phase::Enter, "make the directories that every system has", context.root_origin())
        .remedy("Make them in the tree, or start it --read-only.");
    for &&(name, mode) in &directories {
        // Nobody looks what is there instead: nothing is to be.
        plan.op(Op::Mkdir { dir: At::Slot(role::ROOT), name: &c_text(name.as_bytes())?, mode, exist_ok: false });
    }
    links.into_iter().try_for_each(|(name, target)| link(name, Path::new(target), plan))?;
    report.applied(BASE_ITEM, made.join(", "));
    Ok(())
}

/// The links that a machine's tree lacks, and where each is to lead.
fn links<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    let known = context.facts.lacking.iter().filter_map(|(name, target)| Some((*name, (*target)?)));
    known.filter(|(name, _)| !has_mount(context, name))
}

/// A link of the root's top.
fn link(name: &str, target: &Path, plan: &mut Builder) -> Result<()> {
    let (name, target) = (c_text(name.as_bytes())?, c_path(target)?);
    plan.op(Op::Symlink { target: &target, dir: At::Slot(role::ROOT), name: &name });
    Ok(())
}

/// The item of the report that says what a machine's tree was given.
pub(crate) const BASE_ITEM: &str = "base directories";

/// Whether the Spec mounts something on an entry of the top, or below it: what is missing
/// of that is made for the mount.
fn has_mount(context: &Context<'_>, name: &str) -> bool {
    let top = Path::new("/").join(name);
    let spec = context.spec;
    let mounts = spec.mounts.iter().map(|mount| &mount.target);
    mounts.chain(&spec.masked).chain(&spec.read_only).any(|target| crate::facts::plain(target).starts_with(&top))
}

/// What a tmpfs root needs beside `/usr` for programs to start.
fn skeleton(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    plan.step(Phase::Enter, "make bin, lib, etc and home directories", context.root_origin());
    for (name, target) in &context.facts.usr_links {
        let relative = target.strip_prefix("/").unwrap_or(target);
        if relative.starts_with("usr") {
            link(name, relative, plan)?;
        }
    }
    links(context).try_for_each(|(name, target)| link(name, Path::new(target), plan))?;
    let own: &[(&str, u32)] = &[("etc", 0o755), ("root", 0o700), ("home", 0o755), ("var", 0o755)];
    for &(name, mode) in if context.nspawn() { profile::BASE } else { own } {
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
    super::etc::localtime(context, plan)?;
    if context.nspawn() {
        // The rest of it is for the payload to make.
        return Ok(());
    }
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
