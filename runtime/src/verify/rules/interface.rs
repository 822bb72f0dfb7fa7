//! `/run/host` of a machine: what it learns of its host.

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind};

use super::Findings;
use super::contents::place_of;
use super::reported::{applied, place};
use crate::compile::filesystem::interface::{BOOT_FILE, BOOT_ITEM, CLOSED, HOST, ITEM, NODES};
use crate::plan::Phase;
use crate::profile::BOOT_ID;
use crate::spec::Profile;
use crate::verify::view::{Seen, View, What};

/// Whether the op makes `/run/host` read-only, inside.
pub(super) fn is_close(view: &View<'_>, seen: &Seen<'_>) -> bool {
    view.profile() == Profile::Nspawn
        && view.switch() < seen.at
        && matches!(
            seen.op,
            Op::MountSetAttr { dir: At::Cwd, path, flags: TreeFlags::NONE, set: CLOSED, clear, propagation: Propagation::NONE, userns: None }
                if path.to_bytes() == HOST.as_bytes() && clear.is_empty()
        )
}

/// Whether the op attaches a copy of a part of the tree that is no cover of what lies
/// below: `/run/host` to itself, or the id of the boot over the kernel's.
pub(super) fn is_copy(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let thing = view.thing(seen.on);
    let What::TreeClone { of, recursive: false } = thing.what else { return false };
    if view.profile() != Profile::Nspawn || !thing.attrs.has(CLOSED.without(MountAttrs::RDONLY)) {
        return false;
    }
    let (Some(from), Some(to)) = (place_of(view, of), place(view, seen)) else { return false };
    let itself = of == seen.onto && to == HOST;
    let boot = to == BOOT_ID && from == format!("{HOST}/{BOOT_FILE}").as_bytes();
    itself || boot && thing.attrs.has(CLOSED)
}

pub(super) fn interface_closed(view: &View<'_>, found: &mut Findings) {
    let copies = |wanted: &str| {
        view.of(OpKind::MoveMount).filter(|seen| is_copy(view, seen) && place(view, seen) == Some(wanted)).count()
    };
    let own = usize::from(applied(view, ITEM).is_some());
    found.unless(
        view.enters() || (own == 1) == (view.profile() == Profile::Nspawn),
        "the report does not say what a machine learns of its host",
    );
    found.unless(copies(HOST) == own, "/run/host is not the one mount of its own that the report says");
    let boot = usize::from(applied(view, BOOT_ITEM).is_some());
    found.unless(copies(BOOT_ID) == boot, "the id of the boot is not the one that the report says");
    let closes: Vec<&Seen<'_>> =
        view.of_in(OpKind::MountSetAttr, Phase::Enter).filter(|seen| is_close(view, seen)).collect();
    found.unless(closes.len() == own, "/run/host is not made read-only once");
    for close in closes {
        if view.of_in(OpKind::Bind, Phase::Enter).any(|bind| bind.at > close.at) {
            found.at(close, "closes /run/host before all of it is there");
        }
    }
    for seen in view.of(OpKind::Mknod) {
        let Op::Mknod { name, mode, major, minor, .. } = seen.op else { continue };
        let below = place_of(view, seen.on).is_some_and(|place| place == format!("{HOST}/inaccessible").as_bytes());
        if !below || !NODES.contains(&(name, mode)) || (major, minor) != (0, 0) {
            found.at(seen, "makes a node that somebody may use");
        }
    }
}
