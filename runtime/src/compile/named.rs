//! Directories of the host that bear the name of a machine: where it meets the host while
//! it runs ([`incoming`], [`export`]).
//!
//! Whoever has the name in the registry has them. A container whose name is not its own
//! gets none: another could bear it too.

use std::ffi::{CStr, CString};
use std::path::Path;

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, Slot};

use super::export::{self, Export};
use super::incoming::{self, Incoming};
use super::registry::open_own;
use super::{Context, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Bearer;
use crate::plan::{Builder, Phase, role};
use crate::report::Report;

/// Where all of them are: a directory that every host has.
pub(crate) const TOP: &str = "/run";

/// What a mount between host and machine has at least.
pub(crate) const ATTRS: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);

/// The way to one: directories one below the other, each with its mode. Those of the host
/// stay; the last ones are the machine's own.
pub(crate) struct Way {
    pub(crate) steps: Vec<(String, u32)>,
    pub(crate) own: usize,
}

/// One of the directories on a way.
pub(crate) struct Step {
    pub(crate) above: String,
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) own: bool,
}

impl Step {
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.above, self.name)
    }
}

impl Way {
    pub(crate) fn of(shared: &[(&str, u32)], own: &[(&str, u32)]) -> Self {
        let steps = shared.iter().chain(own).map(|(name, mode)| ((*name).to_owned(), *mode)).collect();
        Self { steps, own: own.len() }
    }

    /// From the top down.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut above = TOP.to_owned();
        let shared = self.steps.len() - self.own;
        let step = |(place, (name, mode)): (usize, &(String, u32))| {
            let step = Step { above: above.clone(), name: name.clone(), mode: *mode, own: place >= shared };
            above = step.path();
            step
        };
        self.steps.iter().enumerate().map(step).collect()
    }

    pub(crate) fn path(&self) -> String {
        self.steps().last().map_or_else(|| TOP.to_owned(), Step::path)
    }

    /// The directory of all machines in which each has its own.
    pub(crate) fn shared(&self) -> String {
        self.steps().into_iter().find(|step| step.own).map_or_else(|| TOP.to_owned(), |step| step.above)
    }

    /// What is the machine's own, the deepest first.
    pub(crate) fn own(&self) -> Vec<String> {
        self.steps().iter().rev().filter(|step| step.own).map(Step::path).collect()
    }

    /// Makes what is not there yet; all of it is root's, and nobody else may write it.
    pub(super) fn make(&self, context: &Context<'_>, plan: &mut Builder) -> Result<()> {
        let (dir, file) = (At::Slot(role::ONE), role::ONE);
        plan.step(Phase::Prepare, format!("make {}", self.path()), context.origin("profile")).remedy(
            "It and all above it must be directories of root that nobody else may write: remove what is there.",
        );
        for step in self.steps() {
            open_own(&c_text(step.above.as_bytes())?, (0, false), file, plan);
            plan.op(Op::Mkdir { dir, name: &c_text(step.name.as_bytes())?, mode: step.mode, exist_ok: true });
            if step.own {
                plan.undo(remove(&c_path(Path::new(&step.path()))?));
            }
            plan.op(Op::Close { file });
        }
        Ok(())
    }

    /// What the watcher does first, while the name is still the machine's own.
    fn entrust(&self, plan: &mut Builder) -> Result<()> {
        for path in self.own() {
            plan.watch(remove(&c_path(Path::new(&path))?));
        }
        Ok(())
    }
}

fn remove(path: &CStr) -> Op<'_> {
    Op::Unlink { dir: At::Cwd, path, directory: true }
}

/// Those that a machine has.
pub(super) struct Named {
    pub(super) incoming: Option<Incoming>,
    pub(super) export: Option<Export>,
}

/// Why a machine has none of them, beside what each says itself.
fn none(context: &Context<'_>, registered: bool, inside: &str) -> Option<&'static str> {
    let inside = Path::new(inside);
    if !context.host_clones || context.facts.uid != 0 {
        Some("an ordinary user's machine gets none")
    } else if context.spec.user_namespace == crate::spec::UserNamespace::Managed {
        Some("a machine with ids that are managed gets none")
    } else if !registered {
        Some("the name is not registered, so that another machine may have it")
    } else if context.spec.mounts.iter().any(|mount| inside.starts_with(&mount.target)) {
        Some("the Spec mounts something there, or above it")
    } else {
        None
    }
}

/// Which a machine has.
pub(super) fn decide(
    context: &Context<'_>,
    registered: bool,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<Named> {
    if !context.nspawn() {
        return Ok(Named { incoming: None, export: None });
    }
    if let (true, Bearer::Lives(process)) = (registered, context.facts.bearer) {
        let machine = &context.machine;
        let what = format!("a machine {machine} of another program runs: process {process} is one of its own");
        return Err(Error::new(ErrorKind::NameTaken, what)
            .from(context.spec.origins.of("machine"))
            .remedy("Choose another name, or stop that machine first."));
    }
    let why = |inside: &CStr| none(context, registered, &inside.to_string_lossy());
    let incoming = incoming::decide(context, why(incoming::INCOMING), plan, report)?;
    let export = export::decide(context, why(export::EXPORT), plan, report)?;
    Ok(Named { incoming, export })
}

impl Named {
    pub(super) fn entrust(&self, plan: &mut Builder) -> Result<()> {
        if let Some(export) = &self.export {
            plan.watch(export.unmount());
            export.way.entrust(plan)?;
        }
        self.incoming.as_ref().map_or(Ok(()), |incoming| incoming.way.entrust(plan))
    }

    pub(super) fn prepare(&self, context: &Context<'_>, plan: &mut Builder) -> Result<()> {
        self.incoming.as_ref().map_or(Ok(()), |incoming| incoming.prepare(context, plan))?;
        self.export.as_ref().map_or(Ok(()), |export| export.prepare(context, plan))
    }
}

/// A copy for the machine of what is mounted at a slot's place, in its stead; with
/// attributes set, and cleared.
pub(super) fn copy(slot: Slot, (set, clear): (MountAttrs, MountAttrs), propagation: Propagation, plan: &mut Builder) {
    let (dir, path) = (At::Slot(slot), c"");
    plan.op(Op::OpenTree { dir, path, flags: TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH), into: slot })
        .op(Op::MountSetAttr { dir, path, flags: TreeFlags::EMPTY_PATH, set, clear, propagation, userns: None })
        .keep(slot);
}

/// A path of ours, for an op.
pub(super) fn c_way(way: &Way) -> Result<CString> {
    c_path(Path::new(&way.path()))
}
