//! `/run/host` of a machine: what it learns of its host.

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, TreeFlags};
use skep_sys::{At, Op, OpKind};

use super::Findings;
use super::contents::place_of;
use super::reported::{applied, place};
use super::switch::opens;
use crate::compile::filesystem::interface::{
    BOOT_FILE, BOOT_ITEM, CLOSED, HOST, ITEM, LOG_FILE, LOG_ITEM, LOG_MODE, NODES,
};
use crate::compile::kernel_files::OPEN_ALL;
use crate::plan::{Phase, role};
use crate::profile::{BOOT_ID, KERNEL_LOG};
use crate::report::Outcome;
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
    let log = to == KERNEL_LOG && from == [HOST.as_bytes(), LOG_FILE.to_bytes()].join(&b'/');
    itself || (boot || log) && thing.attrs.has(CLOSED)
}

/// Whether the op makes the FIFO that is a machine's log.
fn makes_log(view: &View<'_>, seen: &Seen<'_>) -> bool {
    matches!(seen.op, Op::Mknod { name, mode: LOG_MODE, .. } if name == LOG_FILE)
        && place_of(view, seen.on).is_some_and(|place| place == HOST.as_bytes())
}

/// Whether the op opens that one as soon as it is made, for the embedder alone.
pub(super) fn opens_log(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let Op::OpenAt2 { path, flags: OpenFlags::READ_WRITE, into, .. } = seen.op else { return false };
    let made = view.before(seen).is_some_and(|made| made.on == seen.on && makes_log(view, made));
    let sent = view
        .after(seen)
        .filter(|next| matches!(next.op, Op::SendFile { file, place: role::LOG, .. } if file == into))
        .and_then(|sent| view.after(sent));
    path == LOG_FILE && made && sent.is_some_and(|next| matches!(next.op, Op::Close { file } if file == into))
}

/// The kernel's log is a FIFO that the embedder holds, unless the host has none or all is open.
fn log_covered(view: &View<'_>, covers: usize, found: &mut Findings) {
    let own = usize::from(applied(view, LOG_ITEM).is_some());
    let absent = matches!(view.plan.report().of(LOG_ITEM), Some(Outcome::Unsupported(_)));
    let machine = view.profile() == Profile::Nspawn && !view.enters();
    found.unless(!machine || own == 1 || absent || opens(view, OPEN_ALL), "the kernel's log is open to a machine");
    let made = view.of(OpKind::Mknod).filter(|seen| makes_log(view, seen)).count();
    let held = view.of_in(OpKind::OpenAt2, Phase::Enter).filter(|seen| opens_log(view, seen)).count();
    found.unless([covers, made, held] == [own; 3], "the kernel's log is not the one FIFO that the report says");
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
    log_covered(view, copies(KERNEL_LOG), found);
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
        let node = below && NODES.contains(&(name, mode)) || makes_log(view, seen);
        if !node || (major, minor) != (0, 0) {
            found.at(seen, "makes a node that somebody may use");
        }
    }
}
