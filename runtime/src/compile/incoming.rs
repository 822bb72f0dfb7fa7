//! The directory by which mounts of the host reach a machine that runs: `machinectl
//! bind`, and whoever mounts below `/run/systemd/nspawn/propagate/NAME`.
//!
//! It is a slave of the host's: what is mounted there comes in, and nothing goes back.
//! That is so where the host's `/run` is shared, as systemd has it.
//!
//! What is mounted there before the copy is attached may stay outside: the copy is of the
//! directory alone, as with systemd-nspawn, and before Linux 6.15 a mount that is attached
//! nowhere receives nothing. Nobody has reason to mount there by then: the machine is
//! not announced, by its entry in the registry or to systemd-machined, before the start is
//! over, and whoever holds a start there finds the copy attached.

use std::ffi::CString;

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, Slot};

use super::Context;
use super::named::{self, Way, c_way};
use super::registry::open_own;
use crate::error::Result;
use crate::plan::{Builder, Phase};
use crate::report::Report;

/// What the report calls it.
pub(crate) const ITEM: &str = "incoming mounts";

/// Where it is inside.
pub(crate) const INCOMING: &std::ffi::CStr = c"/run/host/incoming";

/// What the mount in between has; those that come keep their own.
pub(crate) const ATTRS: MountAttrs = named::ATTRS.with(MountAttrs::RDONLY);

/// The way to the one of a machine.
pub(crate) fn way(machine: &str) -> Way {
    Way::of(&[("systemd", 0o755), ("nspawn", 0o755), ("propagate", 0o600)], &[(machine, 0o600)])
}

/// That of a machine that gets one.
pub(super) struct Incoming {
    pub(super) way: Way,
    path: CString,
    slot: Slot,
}

/// Whether a machine has one.
pub(super) fn decide(
    context: &Context<'_>,
    why: Option<&str>,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<Option<Incoming>> {
    if let Some(why) = why {
        report.off(ITEM, why);
        return Ok(None);
    }
    let way = way(context.machine.as_str());
    report.applied(ITEM, format!("of {}", way.path()));
    report.applied(format!("mount {}", INCOMING.to_string_lossy()), format!("bind of {}: {ATTRS}", way.path()));
    Ok(Some(Incoming { path: c_way(&way)?, way, slot: plan.slot() }))
}

impl Incoming {
    /// Makes it, and its copy that only receives.
    pub(super) fn prepare(&self, context: &Context<'_>, plan: &mut Builder) -> Result<()> {
        let Self { way, path, slot } = self;
        way.make(context, plan)?;
        plan.step(Phase::Prepare, format!("let mounts come in by {}", way.path()), context.origin("profile"));
        open_own(path, (0, false), *slot, plan);
        named::copy(*slot, (ATTRS, MountAttrs::NONE), Propagation::SLAVE, plan);
        Ok(())
    }

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
