//! `/run/host`: what a machine learns of its host (systemd's container interface).
//!
//! A mount of its own, so that it can be closed once all that lies in it is there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Slot};

use super::source::Source;
use super::target::open_target;
use super::{CONFINED, Content, EMPTY, Placed, attach};
use crate::compile::kernel_files::open_covered;
use crate::compile::named::Named;
use crate::compile::{Context, c_text};
use crate::compile::{export, incoming};
use crate::error::Result;
use crate::facts::{EntryKind, OS_RELEASE};
use crate::plan::{Builder, Phase, role};
use crate::profile::{BOOT_ID, KERNEL_LOG};
use crate::report::Report;
use crate::spec::KernelFiles;

/// Where it is.
pub(crate) const HOST: &str = "/run/host";

/// The file in it that lies over the kernel's id of the boot.
pub(crate) const BOOT_FILE: &str = "proc-sys-kernel-random-boot-id";

/// The FIFO in it that lies over the kernel's log: whoever reads it waits, for nothing is
/// written there. The embedder holds it open, so that to open it is not to wait.
pub(crate) const LOG_FILE: &std::ffi::CStr = c"proc-kmsg";
pub(crate) const LOG_MODE: u32 = 0o010_600;

/// What the report calls it, the id of the boot, and the log.
pub(crate) const ITEM: &str = "host interface";
pub(crate) const BOOT_ITEM: &str = "boot id";
pub(crate) const LOG_ITEM: &str = "kernel log";

/// What a mount of it is made with, and what it is closed by.
const ATTRS: MountAttrs = CONFINED.with(MountAttrs::NOEXEC);
pub(crate) const CLOSED: MountAttrs = ATTRS.with(MountAttrs::RDONLY);

/// What is bound over what nobody may use. A block device is missing: to make one takes
/// CAP_MKNOD of the host, which a user namespace has not, and a device policy that lets it;
/// a machine's own is closed, and of one above nobody can tell. A character device 0:0 takes
/// neither. Who wants a block device takes another node.
pub(crate) const NODES: [(&std::ffi::CStr, u32); 3] = [(c"fifo", 0o010_000), (c"sock", 0o140_000), (c"chr", 0o020_000)];

/// Makes it on the tmpfs of `/run`, and puts an id of the boot and a log over the kernel's.
pub(super) fn make(context: &Context<'_>, named: &Named, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let origin = || context.origin("profile");
    plan.step(Phase::Enter, "make /run/host", origin());
    open_target(context, Path::new(HOST), EntryKind::Directory, true, role::THREE, plan)?;
    open_covered(Path::new(HOST), plan)?;
    copy(role::THREE, ATTRS, plan);
    attach(role::TWO, role::THREE, plan);
    let line = |id: Option<&str>| format!("{}\n", id.map_or_else(String::new, crate::compile::process::dashed));
    open_covered(Path::new(HOST), plan)?;
    file(c"container-manager", 0o444, b"systemd-nspawn\n", plan);
    file(c"container-uuid", 0o444, line(context.machine_id.as_deref()).as_bytes(), plan);
    file(&c_text(BOOT_FILE.as_bytes())?, 0o444, line(Some(&context.facts.fresh_boot)).as_bytes(), plan);
    let log = own_log(context, report);
    if log {
        hold_log(plan);
    }
    plan.op(Op::Mkdir { dir: At::Slot(role::THREE), name: c"inaccessible", mode: 0o755, exist_ok: false }).op(
        Op::OpenAt2 {
            dir: At::Slot(role::THREE),
            path: c"inaccessible",
            flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
            mode: 0,
            resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
            into: role::THREE,
        },
    );
    file(c"reg", 0, b"", plan);
    let dir = At::Slot(role::THREE);
    plan.op(Op::Mkdir { dir, name: c"dir", mode: 0, exist_ok: false });
    for (name, mode) in NODES {
        plan.op(Op::Mknod { dir, name, mode, major: 0, minor: 0 });
    }
    report.applied(ITEM, format!("{HOST}, read-only"));
    let comes = named.incoming.as_ref().map(|incoming| ("what comes in", incoming::INCOMING, incoming.slot()));
    let goes = named.export.as_ref().map(|export| ("what sockets are exported by", export::EXPORT, export.slot()));
    for (what, place, copy) in comes.into_iter().chain(goes) {
        let place = OsStr::from_bytes(place.to_bytes());
        plan.step(Phase::Enter, format!("put {what} on {}", place.display()), origin());
        open_target(context, Path::new(place), EntryKind::Directory, true, role::THREE, plan)?;
        attach(copy, role::THREE, plan);
    }
    if log {
        plan.step(Phase::Enter, "put a FIFO over the kernel's log", origin());
        put_over(&Path::new(HOST).join(OsStr::from_bytes(LOG_FILE.to_bytes())), KERNEL_LOG, plan)?;
    }
    if !context.facts.kernel_paths.contains(BOOT_ID) {
        report.unsupported(BOOT_ITEM, format!("this host has no {BOOT_ID}"));
        return Ok(());
    }
    plan.step(Phase::Enter, "put an id of its own over that of the host's boot", origin());
    put_over(&Path::new(HOST).join(BOOT_FILE), BOOT_ID, plan)?;
    report.applied(BOOT_ITEM, "a new one");
    Ok(())
}

/// Whether there is a log to hide.
fn own_log(context: &Context<'_>, report: &mut Report) -> bool {
    if context.spec.kernel_files == KernelFiles::Writable {
        report.off(LOG_ITEM, "the host's: all files of the kernel are open");
    } else if !context.facts.kernel_paths.contains(KERNEL_LOG) {
        report.unsupported(LOG_ITEM, format!("this host has no {KERNEL_LOG}"));
    } else {
        report.applied(LOG_ITEM, "a FIFO");
        return true;
    }
    false
}

/// Makes the FIFO, and has the embedder hold it.
fn hold_log(plan: &mut Builder) {
    let (dir, file) = (At::Slot(role::THREE), role::ONE);
    plan.op(Op::Mknod { dir, name: LOG_FILE, mode: LOG_MODE, major: 0, minor: 0 })
        .op(Op::OpenAt2 {
            dir,
            path: LOG_FILE,
            flags: OpenFlags::READ_WRITE,
            mode: 0,
            resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
            into: file,
        })
        .op(Op::SendFile { to: role::CONTROL, file, place: role::LOG })
        .op(Op::Close { file });
}

/// A closed copy of a file of ours, over one of the kernel.
fn put_over(own: &Path, kernel: &str, plan: &mut Builder) -> Result<()> {
    open_covered(own, plan)?;
    copy(role::THREE, CLOSED, plan);
    open_covered(Path::new(kernel), plan)?;
    attach(role::TWO, role::THREE, plan);
    Ok(())
}

fn file(name: &std::ffi::CStr, mode: u32, text: &[u8], plan: &mut Builder) {
    plan.op(Op::Create { dir: At::Slot(role::THREE), name, mode, content: Blob(text), exist_ok: false });
}

/// A copy of what `from` holds, in slot two.
fn copy(from: Slot, set: MountAttrs, plan: &mut Builder) {
    plan.op(Op::OpenTree {
        dir: At::Slot(from),
        path: EMPTY,
        flags: TreeFlags::EMPTY_PATH.with(TreeFlags::CLONE),
        into: role::TWO,
    })
    .op(Op::MountSetAttr {
        dir: At::Slot(role::TWO),
        path: EMPTY,
        flags: TreeFlags::EMPTY_PATH,
        set,
        clear: MountAttrs::NONE,
        propagation: Propagation::NONE,
        userns: None,
    });
}

/// Closes it, inside, after the last file in it is made.
pub(in crate::compile) fn close(context: &Context<'_>, plan: &mut Builder) {
    plan.step(Phase::Enter, "make /run/host read-only", context.origin("profile")).op(Op::MountSetAttr {
        dir: At::Cwd,
        path: c"/run/host",
        flags: TreeFlags::NONE,
        set: CLOSED,
        clear: MountAttrs::NONE,
        propagation: Propagation::NONE,
        userns: None,
    });
}

/// What of the host's own is shown there.
pub(super) fn of_host(context: &Context<'_>, report: &mut Report, plan: &mut Builder) -> Option<Placed> {
    let mut source = Source::read_only(context, Path::new(OS_RELEASE), context.origin("profile"), plan);
    source.attrs = source.attrs.with(MountAttrs::NOEXEC);
    let target = PathBuf::from("/run/host/os-release");
    // A mount of the Spec there is what somebody has asked for.
    let covered = context.spec.mounts.iter().any(|mount| target.starts_with(&mount.target));
    if covered || source.fact.kind != EntryKind::File {
        return None;
    }
    let what = format!("bind of {}: {}", source.path.display(), source.all_attrs());
    report.applied(format!("mount {}", target.display()), what);
    Some(Placed { target, content: Content::Bind(source), origin: context.origin("profile"), over_link: false })
}
