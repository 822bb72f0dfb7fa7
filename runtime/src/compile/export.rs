//! The small file system by which sockets of a machine are reached from its host: bound
//! below `/run/host/unix-export` inside, connected to below
//! `/run/systemd/nspawn/NAME/unix-export`, where it is read-only.
//!
//! It is mounted on the host, and copied for the machine while it is attached there: before
//! Linux 6.15 nobody copies what is not.

use std::ffi::CString;

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve};
use skep_sys::{At, Op, Proof, Slot};

use super::filesystem::{begin_tmpfs, set_option};
use super::named::{self, Way, c_way};
use super::registry::open_own;
use super::{Context, c_text};
use crate::error::Result;
use crate::facts::Bearer;
use crate::plan::{Builder, Phase, role};
use crate::profile::{Scratch, Size};
use crate::report::Report;

/// What the report calls it.
pub(crate) const ITEM: &str = "exported sockets";

/// Where it is inside.
pub(crate) const EXPORT: &std::ffi::CStr = c"/run/host/unix-export";

/// The last part of its path on the host.
pub(crate) const NAME: &std::ffi::CStr = c"unix-export";

/// What it holds at most: sockets, and little else.
pub(crate) const HOLDS: Scratch =
    Scratch { path: "/run/host/unix-export", size: Size::Bytes(4 << 20), inodes: 64, mode: 0o755 };

/// What it has on either side: no link in it leads anybody anywhere.
pub(crate) const ATTRS: MountAttrs = named::ATTRS.with(MountAttrs::NOSYMFOLLOW);

/// The way to it. A machine's runtime directory is beside those of all machines.
pub(crate) fn way(machine: &str) -> Way {
    Way::of(&[("systemd", 0o755), ("nspawn", 0o755)], &[(machine, 0o755), ("unix-export", 0o755)])
}

/// Names in that place that are no machine's.
pub(crate) const OTHERS: [&str; 3] = ["propagate", "locks", "unix-export"];

/// How it is found: itself, and not what is mounted over it.
pub(crate) const FOUND: Resolve =
    Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS).with(Resolve::NO_XDEV);

/// That of a machine that gets one.
pub(super) struct Export {
    pub(super) way: Way,
    path: CString,
    /// Whose it is: the machine's root, as the host calls that.
    owner: (u32, u32),
    slot: Slot,
}

/// Whether a machine has one.
pub(super) fn decide(
    context: &Context<'_>,
    why: Option<&str>,
    plan: &mut Builder,
    report: &mut Report,
) -> Result<Option<Export>> {
    let machine = context.machine.as_str();
    let owner = context.mapping.root();
    let why = match why {
        None if OTHERS.contains(&machine) => Some("its name is that of a directory for all machines"),
        None if owner.is_none() => Some("there is no root inside"),
        why => why,
    };
    let (Some(owner), None) = (owner, why) else {
        report.off(ITEM, why.unwrap_or_default());
        return Ok(None);
    };
    let way = way(machine);
    report.applied(ITEM, format!("at {}, of {}:{}", way.path(), owner.0, owner.1));
    report.applied(format!("mount {}", HOLDS.path), format!("bind of {}: {ATTRS}", way.path()));
    Ok(Some(Export { path: c_way(&way)?, way, owner, slot: plan.slot() }))
}

impl Export {
    pub(super) fn unmount(&self) -> Op<'_> {
        Op::Unmount { dir: At::Cwd, path: &self.path }
    }

    /// Mounts it on the host, and copies it for the machine.
    pub(super) fn prepare(&self, context: &Context<'_>, plan: &mut Builder) -> Result<()> {
        let Self { way, owner, slot, .. } = self;
        let (fs, above, place) = (role::ONE, role::TWO, role::THREE);
        way.make(context, plan)?;
        if context.facts.bearer == Bearer::Gone {
            let what = "take away what a killed machine of this name has left mounted";
            plan.step(Phase::Prepare, what, context.origin("profile")).op(self.unmount());
        }
        let what = format!("mount what sockets are exported by on {}", way.path());
        plan.step(Phase::Prepare, what, context.origin("profile")).remedy(format!(
            "Something is mounted there (EXDEV): where no machine of that name runs, `skep nspawn --cleanup -M {}` \
             removes what one that was killed more than ten seconds ago has left; else umount(8).",
            context.machine
        ));
        let machine = way.own().pop().unwrap_or_default();
        open_own(&c_text(machine.as_bytes())?, (0, false), above, plan);
        plan.op(Op::OpenAt2 {
            dir: At::Slot(above),
            path: NAME,
            flags: OpenFlags::DIRECTORY,
            mode: 0,
            resolve: FOUND,
            into: place,
        })
        .op(Op::Prove { file: place, proof: Proof::OwnDirectory { uid: 0, private: false } });
        begin_tmpfs(("size", &HOLDS.size.to_string()), HOLDS.inodes, HOLDS.mode, plan)?;
        if *owner != (0, 0) {
            set_option("uid", Some(&owner.0.to_string()), plan)?;
            set_option("gid", Some(&owner.1.to_string()), plan)?;
        }
        plan.op(Op::FsCreate { fs })
            .op(Op::FsMount { fs, attrs: ATTRS.with(MountAttrs::RDONLY), into: *slot })
            .op(Op::MoveMount { from: *slot, dir: At::Slot(place), path: c"" })
            .undo(self.unmount());
        named::copy(*slot, (ATTRS, MountAttrs::RDONLY), Propagation::PRIVATE, plan);
        for file in [fs, above, place] {
            plan.op(Op::Close { file });
        }
        Ok(())
    }

    /// Where the copy is, until it is attached.
    pub(super) const fn slot(&self) -> Slot {
        self.slot
    }
}
