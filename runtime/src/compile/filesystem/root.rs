//! The root: the tmpfs that everything grows on, and the tree that becomes `/`.

use std::ffi::OsStr;
use std::path::Path;

use skep_sys::abi::{MountAttrs, OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op};

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
    let ids = if source.ids == super::idmap::Ids::Plain { "" } else { ", ids mapped" };
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
            plan.step(Phase::Enter, format!("lay a tmpfs over {shown}"), origin.clone()).remedy(overlay::REMEDY);
            overlay::mount(context, layers, role::ROOT, plan)?;
            tree_slot = role::ROOT;
            report.applied("root", format!("{shown}, {}{ids}", layers.changes()));
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
    Ok(())
}

/// What a tmpfs root needs beside `/usr` for programs to start.
fn skeleton(context: &Context<'_>, plan: &mut Builder) -> Result<()> {
    plan.step(Phase::Enter, "make bin, lib, etc and home directories", context.root_origin());
    for (name, target) in &context.facts.usr_links {
        let relative = target.strip_prefix("/").unwrap_or(target);
        if relative.starts_with("usr") {
            let (name, target) = (c_text(name.as_bytes())?, c_path(relative)?);
            plan.op(Op::Symlink { target: &target, dir: At::Slot(role::ROOT), name: &name });
        }
    }
    // As systemd-nspawn has them.
    let machine: &[(&str, u32)] = &[("etc", 0o755), ("root", 0o750), ("var", 0o755)];
    let own: &[(&str, u32)] = &[("etc", 0o755), ("root", 0o700), ("home", 0o755), ("var", 0o755)];
    for &(name, mode) in if context.nspawn() { machine } else { own } {
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
