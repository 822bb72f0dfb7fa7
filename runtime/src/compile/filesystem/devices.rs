//! `/dev`: what every program may expect, and nodes that the caller names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, Propagation, TreeFlags};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof};

use super::source::require_path;
use super::target::open_target;
use super::{EMPTY, attach, make_directory, new_tmpfs};
use crate::compile::{Context, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{DeviceNumber, EntryKind, plain_components};
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Device, Mount};

/// What a node is mounted with: it is a device, and nothing else.
pub(super) const NODE: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NOEXEC);

/// A node of the host that the caller names.
pub(super) struct Node {
    pub(super) path: PathBuf,
    number: DeviceNumber,
}

/// The node behind a mount; `None` where it is optional and not there.
pub(super) fn of_mount(
    context: &Context<'_>,
    mount: &Mount,
    device: &Device,
    report: &mut Report,
) -> Result<Option<Node>> {
    let field = format!("mounts.{}", mount.target.display());
    let (path, origin) = (&device.source, context.spec.origins.of(&field));
    require_path(context, &field, "device", path)?;
    if !path.starts_with("/dev") || plain_components(path).len() < 2 {
        return Err(context
            .invalid(&field, format!("the device {} does not lie below /dev of the host", path.display()))
            .remedy("Name the node itself."));
    }
    let fact = context.facts.path(path);
    let number = match (fact.node, fact.kind) {
        (Some(number), _) => number,
        (None, EntryKind::Missing) if device.optional && fact.failed.is_none() => {
            report.off(format!("mount {}", mount.target.display()), format!("the host has no {}", path.display()));
            return Ok(None);
        }
        (None, EntryKind::Missing) => {
            let errno = fact.failed.unwrap_or(skep_sys::Errno::ENOENT);
            return Err(Error::system(format!("open the device {}", path.display()), errno)
                .from(origin)
                .remedy("Load its driver, correct the path, or make it optional."));
        }
        (None, _) => {
            return Err(Error::new(ErrorKind::InvalidSpec, format!("{} is no device node", path.display()))
                .from(origin)
                .remedy("Bind a file or directory instead."));
        }
    };
    report.applied(format!("device {}", mount.target.display()), format!("{number} {}", device.access));
    Ok(Some(Node { path: path.clone(), number }))
}

/// A clone of one node alone, proved by its number, in slot two.
fn clone(path: &Path, number: DeviceNumber, plan: &mut Builder) -> Result<()> {
    let path = c_path(path)?;
    let DeviceNumber { block, major, minor } = number;
    let proof = if block { Proof::BlockDevice { major, minor } } else { Proof::CharDevice { major, minor } };
    plan.op(Op::OpenTree { dir: At::Cwd, path: &path, flags: TreeFlags::CLONE, into: role::TWO })
        .op(Op::Prove { file: role::TWO, proof })
        .op(Op::MountSetAttr {
            dir: At::Slot(role::TWO),
            path: EMPTY,
            flags: TreeFlags::EMPTY_PATH,
            set: NODE,
            clear: MountAttrs::NONE,
            propagation: Propagation::PRIVATE,
            userns: None,
        });
    Ok(())
}

impl Node {
    /// As part of the step begun, in slot two.
    pub(super) fn clone(&self, plan: &mut Builder) -> Result<()> {
        clone(&self.path, self.number, plan)
    }
}

/// The payload's terminal, of the devpts in slot two: opened by descriptors,
/// bound on `/dev/console`, its other end sent to the embedder.
fn terminal(context: &Context<'_>, plan: &mut Builder, report: &mut Report) {
    let Some(size) = context.spec.terminal else {
        return report.off("terminal", "none");
    };
    let (rows, columns, peer) = (size.rows, size.columns, role::TERMINAL_PEER);
    plan.step(Phase::Enter, "open a terminal of its own and send the other end", context.origin("terminal"))
        .remedy("EIO, ENOSPC: there are too many terminals; see sysctl kernel.pty.max.")
        .op(Op::OpenTerminal { devpts: role::TWO, rows, columns, master: role::ONE, peer })
        .op(Op::SendFile { to: role::CONTROL, file: role::ONE, place: role::TERMINAL })
        .op(Op::Close { file: role::ONE })
        .op(Op::Chown { file: peer, uid: context.uid, gid: context.gid });
    plan.step(Phase::Enter, "bind the terminal on /dev/console", context.origin("terminal"))
        .op(Op::OpenTree {
            dir: At::Slot(peer),
            path: EMPTY,
            flags: TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH),
            into: role::TWO,
        })
        .op(Op::Create { dir: At::Slot(role::DEV), name: c"console", mode: 0o600, content: Blob(b""), exist_ok: false })
        .op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"console" });
    report.applied("terminal", format!("its own, {rows} rows of {columns}, also /dev/console"));
}

/// A `/dev` with nothing but what every program may expect.
pub(super) fn devices(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let origin = || context.origin("profile");
    let attrs = NODE;
    plan.step(Phase::Enter, "mount tmpfs on /dev", origin());
    // The nodes are mounts of their own, so what is made here need not work.
    new_tmpfs(&(4_u64 << 20).to_string(), 1024, 0o755, attrs.with(MountAttrs::NODEV), role::DEV, plan)?;
    open_target(context, Path::new("/dev"), EntryKind::Directory, true, role::THREE, plan)?;
    attach(role::DEV, role::THREE, plan);
    let names: Vec<&str> = profile::NODES.iter().map(|node| node.name).collect();
    plan.step(Phase::Enter, format!("bind the devices {}", names.join(" ")), origin());
    for node in profile::NODES {
        let name = c_text(node.name.as_bytes())?;
        clone(Path::new(&format!("/dev/{}", node.name)), DeviceNumber::character(node.major, node.minor), plan)?;
        // Below our own fresh tmpfs there is no link to follow.
        plan.op(Op::Create { dir: At::Slot(role::DEV), name: &name, mode: 0o666, content: Blob(b""), exist_ok: false })
            .op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: &name });
    }
    plan.step(Phase::Enter, "make the links of /dev", origin());
    for (name, target) in profile::DEVICE_LINKS {
        let (name, target) = (c_text(name.as_bytes())?, c_text(target.as_bytes())?);
        plan.op(Op::Symlink { target: &target, dir: At::Slot(role::DEV), name: &name });
    }
    plan.step(Phase::Enter, "mount devpts on /dev/pts", origin())
        .op(Op::FsOpen { kind: c"devpts", into: role::ONE })
        .op(Op::FsFlag { fs: role::ONE, key: c"newinstance" })
        .op(Op::FsString { fs: role::ONE, key: c"ptmxmode", value: c"0666" })
        .op(Op::FsString { fs: role::ONE, key: c"mode", value: c"0620" })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs, into: role::TWO });
    make_directory(role::DEV, OsStr::new("pts"), 0o755, plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"pts" });
    terminal(context, plan, report);
    plan.step(Phase::Enter, "mount tmpfs on /dev/shm", origin());
    new_tmpfs(&(64_u64 << 20).to_string(), 10_000, 0o1777, attrs.with(MountAttrs::NODEV), role::TWO, plan)?;
    make_directory(role::DEV, OsStr::new("shm"), 0o755, plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"shm" });
    if context.spec.namespaces.ipc == crate::spec::Namespace::New {
        plan.step(Phase::Enter, "mount mqueue on /dev/mqueue", origin())
            .op(Op::FsOpen { kind: c"mqueue", into: role::ONE })
            .op(Op::FsCreate { fs: role::ONE })
            .op(Op::FsMount { fs: role::ONE, attrs: attrs.with(MountAttrs::NODEV), into: role::TWO });
        make_directory(role::DEV, OsStr::new("mqueue"), 0o755, plan)?;
        plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"mqueue" });
    }
    report.applied("devices", names.join(" "));
    Ok(())
}
