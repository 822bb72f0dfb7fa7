//! The directory by which mounts of the host reach a machine that runs: `machinectl
//! bind`, and whoever mounts below `/run/systemd/nspawn/propagate/NAME`.
//!
//! It is a slave of the host's: what is mounted there comes in, and nothing goes back.
//! That is so where the host's `/run` is shared, as systemd has it. As with systemd-nspawn
//! two machines of one name would have one directory: whoever wants to know registers them.

use std::path::Path;

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, Slot};

use super::registry::open_own;
use super::{Context, c_path, c_text};
use crate::error::Result;
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::UserNamespace;

/// What the report calls it.
pub(crate) const ITEM: &str = "incoming mounts";

/// Where it is inside.
pub(crate) const INCOMING: &std::ffi::CStr = c"/run/host/incoming";

/// Where all of them are on the host: a directory that every host has, and those below
/// it that are made, each with its mode.
pub(crate) const TOP: &str = "/run";
pub(crate) const BELOW: [(&str, u32); 3] = [("systemd", 0o755), ("nspawn", 0o755), ("propagate", 0o600)];
pub(crate) const MODE: u32 = 0o600;

/// What the mount in between has; those that come keep their own.
pub(crate) const ATTRS: MountAttrs =
    MountAttrs::RDONLY.with(MountAttrs::NOSUID).with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);

/// The one of a machine.
pub(crate) fn directory_of(machine: &str) -> String {
    let mut path = TOP.to_owned();
    for name in BELOW.map(|(name, _)| name).into_iter().chain([machine]) {
        path.push('/');
        path.push_str(name);
    }
    path
}

/// That of a machine that gets one.
pub(super) struct Incoming {
    path: std::ffi::CString,
    slot: Slot,
}

/// Whether a machine has one.
pub(super) fn decide(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<Option<Incoming>> {
    if !context.nspawn() {
        return Ok(None);
    }
    let inside = Path::new("/run/host/incoming");
    let why = if !context.host_clones || context.facts.uid != 0 {
        "an ordinary user's machine gets none"
    } else if context.spec.user_namespace == UserNamespace::Managed {
        "a machine with ids that are managed gets none"
    } else if context.spec.mounts.iter().any(|mount| inside.starts_with(&mount.target)) {
        "the Spec mounts something there, or above it"
    } else {
        let path = directory_of(context.machine.as_str());
        report.applied(ITEM, format!("of {path}"));
        report.applied(format!("mount {}", inside.display()), format!("bind of {path}: {ATTRS}"));
        return Ok(Some(Incoming { path: c_path(Path::new(&path))?, slot: plan.slot() }));
    };
    report.off(ITEM, why);
    Ok(None)
}

const fn remove(path: &std::ffi::CStr) -> Op<'_> {
    Op::Unlink { dir: At::Cwd, path, directory: true }
}

/// What the watcher does first, while the name is still the machine's own.
pub(super) fn entrust(incoming: Option<&Incoming>, plan: &mut Builder) {
    if let Some(incoming) = incoming {
        plan.watch(remove(&incoming.path));
    }
}

/// Makes it, and its copy that only receives.
pub(super) fn prepare(context: &Context<'_>, incoming: Option<&Incoming>, plan: &mut Builder) -> Result<()> {
    let Some(Incoming { path, slot }) = incoming else { return Ok(()) };
    let (dir, file) = (At::Slot(role::ONE), role::ONE);
    plan.step(Phase::Prepare, format!("make {}", path.to_string_lossy()), context.origin("profile"))
        .remedy("It and all above it must be directories of root that nobody else may write: remove what is there.");
    let mut above = TOP.to_owned();
    for (name, mode) in BELOW.into_iter().chain([(context.machine.as_str(), MODE)]) {
        let (text, name_text) = (c_text(above.as_bytes())?, c_text(name.as_bytes())?);
        open_own(&text, (0, false), file, plan);
        plan.op(Op::Mkdir { dir, name: &name_text, mode, exist_ok: true });
        above = format!("{above}/{name}");
        if above.as_bytes() == path.to_bytes() {
            plan.undo(remove(path));
        }
        plan.op(Op::Close { file });
    }
    plan.step(Phase::Prepare, format!("let mounts come in by {above}"), context.origin("profile"));
    open_own(path, (0, false), *slot, plan);
    plan.op(Op::OpenTree {
        dir: At::Slot(*slot),
        path: c"",
        flags: TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH),
        into: *slot,
    })
    .op(Op::MountSetAttr {
        dir: At::Slot(*slot),
        path: c"",
        flags: TreeFlags::EMPTY_PATH,
        set: ATTRS,
        clear: MountAttrs::NONE,
        propagation: Propagation::SLAVE,
        userns: None,
    })
    .keep(*slot);
    Ok(())
}

impl Incoming {
    /// Where its copy is, until it is attached.
    pub(super) const fn slot(&self) -> Slot {
        self.slot
    }
}

/// Once all mounts spread within the machine: what comes in is not told on.
pub(super) fn receive_only(context: &Context<'_>, incoming: Option<&Incoming>, plan: &mut Builder) {
    if incoming.is_some() {
        plan.step(Phase::Enter, "let what comes in by /run/host/incoming stay there", context.origin("profile")).op(
            Op::MountSetAttr {
                dir: At::Cwd,
                path: INCOMING,
                flags: TreeFlags::NONE,
                set: MountAttrs::NONE,
                clear: MountAttrs::NONE,
                propagation: Propagation::SLAVE,
                userns: None,
            },
        );
    }
}
