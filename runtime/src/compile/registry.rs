//! The name in the registry: taken before the child exists.

use std::ffi::CStr;

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof, Slot};

use super::{Context, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, Registration, role};
use crate::registry::{DIRECTORY, entry::Record};
use crate::report::Report;
use crate::spec::{Init, Want};

const ITEM: &str = "registry";

/// Whether and where this container is registered.
pub(super) fn decide(context: &Context<'_>, report: &mut Report) -> Result<Option<Registration>> {
    let wanted = context.spec.register;
    if wanted == Want::Off {
        return Ok(None);
    }
    let Some(registry) = &context.facts.registry else {
        let why = "there is no runtime directory that is this user's own";
        if wanted == Want::Require {
            return Err(Error::new(ErrorKind::Unsupported, format!("register the container: {why}"))
                .from(context.spec.origins.of("register"))
                .remedy(
                    "It is $XDG_RUNTIME_DIR, which a login sets (/run/user/UID, of mode 0700), or /run for root.",
                ));
        }
        report.unsupported(ITEM, why);
        return Ok(None);
    };
    let directory = registry.base.join(DIRECTORY);
    let path = directory.join(context.machine.as_str());
    report.applied(ITEM, path.display().to_string());
    Ok(Some(Registration {
        base: c_path(&registry.base)?,
        directory: c_path(&directory)?,
        path: c_path(&path)?,
        name: c_text(context.machine.as_str().as_bytes())?,
        uid: context.facts.uid,
        record: Record {
            version: Record::VERSION,
            name: context.machine.clone(),
            registrar: context.facts.registrar.clone(),
            kill_signal: context.spec.kill_signal,
            root: context.spec.root.path.to_string_lossy().into_owned(),
            stub: context.spec.init == Init::Stub,
            running: None,
        },
    }))
}

/// What the watcher does if this process dies, before it ends the container:
/// so the name is never given back late, when it may be another's.
pub(super) fn entrust(registration: Option<&Registration>, plan: &mut Builder) {
    if let Some(registration) = registration {
        let (dir, file) = (role::WATCHED_REGISTRY, role::WATCHED_ENTRY);
        plan.watch(Op::UnlinkSame { dir, name: &registration.name, file });
    }
}

/// What it proves by that the entry is still this container's.
pub(super) fn attend(context: &Context<'_>, registration: Option<&Registration>, plan: &mut Builder) {
    if registration.is_none() {
        return;
    }
    plan.step(Phase::Attend, "entrust the watcher with the entry", context.origin("register"));
    for (file, place) in [(role::REGISTRY, role::WATCHED_REGISTRY), (role::ENTRY, role::WATCHED_ENTRY)] {
        plan.op(Op::EntrustFile { watcher: role::WATCHER, id: 0, place, file });
    }
}

/// Opens a directory of `uid`'s, found through no link, that nobody else can write, or
/// where it is private enter.
pub(super) fn open_own(path: &CStr, (uid, private): (u32, bool), into: Slot, plan: &mut Builder) {
    plan.op(Op::OpenAt2 {
        dir: At::Cwd,
        path,
        flags: OpenFlags::DIRECTORY,
        mode: 0,
        resolve: Resolve::NO_SYMLINKS.with(Resolve::NO_MAGICLINKS),
        into,
    })
    .op(Op::Prove { file: into, proof: Proof::OwnDirectory { uid, private } });
}

pub(super) fn prepare(context: &Context<'_>, registration: Option<&Registration>, plan: &mut Builder) {
    let Some(Registration { base, directory, name, uid, record, .. }) = registration else { return };
    let origin = || context.origin("register");
    plan.step(Phase::Prepare, format!("open and prove the registry {}", directory.to_string_lossy()), origin())
        .remedy("It must be a directory of mode 0700 that belongs to you: remove what is there.");
    open_own(base, (*uid, false), role::REGISTRY, plan);
    if let Ok(name) = c_text(DIRECTORY.as_bytes()) {
        plan.op(Op::Mkdir { dir: At::Slot(role::REGISTRY), name: &name, mode: 0o700, exist_ok: true });
    }
    plan.op(Op::Close { file: role::REGISTRY });
    open_own(directory, (*uid, true), role::REGISTRY, plan);
    let content = record.to_bytes();
    plan.step(Phase::Prepare, format!("register the name {}", record.name), origin())
        .op(Op::Create { dir: At::Slot(role::REGISTRY), name, mode: 0o600, content: Blob(&content), exist_ok: false })
        .undo(Op::UnlinkSame { dir: role::REGISTRY, name, file: role::ENTRY })
        .op(Op::OpenAt2 {
            dir: At::Slot(role::REGISTRY),
            path: name,
            flags: OpenFlags::PATH.with(OpenFlags::NO_FOLLOW),
            mode: 0,
            resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS),
            into: role::ENTRY,
        });
}
