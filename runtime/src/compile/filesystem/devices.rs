//! `/dev`: what every program may expect, and nodes that the caller names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Proof};

use super::source::require_path;
use super::target::open_target;
use super::{EMPTY, attach, make_directory, own_tmpfs};
use crate::compile::{Context, c_path, c_text};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{DeviceNumber, EntryKind, plain_components};
use crate::plan::{Builder, Phase, role};
use crate::profile;
use crate::report::Report;
use crate::spec::{Device, Mount};

/// What a node is mounted with: it is a device, and nothing else.
/// What is read-only is the inode: nobody inside can change mode or owner of what is
/// the host's.
pub(super) const NODE: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NOEXEC).with(MountAttrs::RDONLY);

/// Of the mounts that the nodes and terminals lie in.
const OURS: MountAttrs = MountAttrs::NOSUID.with(MountAttrs::NOEXEC);

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

/// The group of terminals, which every distribution has.
const TTY: u32 = 5;

/// `/dev/char/MAJOR:MINOR`, a link to each node.
fn by_number(nodes: &[&profile::Node], plan: &mut Builder) -> Result<()> {
    make_directory(role::DEV, OsStr::new("char"), 0o755, plan)?;
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::DEV),
        path: c"char",
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into: role::THREE,
    });
    for node in nodes {
        let name = c_text(format!("{}:{}", node.major, node.minor).as_bytes())?;
        let target = c_text(format!("../{}", node.name).as_bytes())?;
        plan.op(Op::Symlink { target: &target, dir: At::Slot(role::THREE), name: &name });
    }
    Ok(())
}

/// A `/dev` with nothing but what every program may expect.
pub(super) fn devices(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let origin = || context.origin("profile");
    let attrs = OURS;
    let [of_dev, of_shm] = ["/dev", "/dev/shm"].map(|path| profile::scratch_on(context.spec.profile, path));
    plan.step(Phase::Enter, "mount tmpfs on /dev", origin());
    // The nodes are mounts of their own, so what is made here need not work.
    let of_tmpfs = context.timed(attrs.with(MountAttrs::NODEV));
    own_tmpfs(of_dev, of_tmpfs, role::DEV, plan)?;
    open_target(context, Path::new("/dev"), EntryKind::Directory, true, role::THREE, plan)?;
    attach(role::DEV, role::THREE, plan);
    let there = |node: &&&profile::Node| {
        let place = Path::new("/dev").join(node.name);
        // What the caller puts there himself is put there once.
        let named = || context.spec.mounts.iter().any(|mount| mount.target == place);
        let number = Some(DeviceNumber::character(node.major, node.minor));
        profile::NODES.iter().any(|usual| usual.name == node.name)
            || (context.facts.path(&place).node == number && !named())
    };
    let nodes: Vec<&profile::Node> = profile::nodes(context.spec.profile).filter(|node| there(&node)).collect();
    let names: Vec<&str> = nodes.iter().map(|node| node.name).collect();
    plan.step(Phase::Enter, format!("bind the devices {}", names.join(" ")), origin());
    for node in &nodes {
        let name = c_text(node.name.as_bytes())?;
        clone(Path::new(&format!("/dev/{}", node.name)), DeviceNumber::character(node.major, node.minor), plan)?;
        if node.name.contains('/') {
            let place = Path::new("/dev").join(node.name);
            open_target(context, &place, EntryKind::Special, true, role::THREE, plan)?;
            attach(role::TWO, role::THREE, plan);
            continue;
        }
        // Below our own fresh tmpfs there is no link to follow.
        plan.op(Op::Create { dir: At::Slot(role::DEV), name: &name, mode: 0o444, content: Blob(b""), exist_ok: false })
            .op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: &name });
    }
    plan.step(Phase::Enter, "make the links of /dev", origin());
    let (_, kcore) = profile::CORE_LINK;
    let core = context.nspawn() && context.facts.kernel_paths.contains(kcore);
    for (name, target) in profile::DEVICE_LINKS.iter().chain(core.then_some(&profile::CORE_LINK)) {
        let (name, target) = (c_text(name.as_bytes())?, c_text(target.as_bytes())?);
        plan.op(Op::Symlink { target: &target, dir: At::Slot(role::DEV), name: &name });
    }
    if context.nspawn() {
        by_number(&nodes, plan)?;
    }
    plan.step(Phase::Enter, "mount devpts on /dev/pts", origin())
        .op(Op::FsOpen { kind: c"devpts", into: role::ONE })
        .op(Op::FsFlag { fs: role::ONE, key: c"newinstance" })
        .op(Op::FsString { fs: role::ONE, key: c"ptmxmode", value: c"0666" })
        .op(Op::FsString { fs: role::ONE, key: c"mode", value: c"0620" });
    if context.nspawn() && context.mapping.maps(TTY, true) {
        plan.op(Op::FsString { fs: role::ONE, key: c"gid", value: c"5" });
        report.applied("terminal group", TTY);
    }
    plan.op(Op::FsCreate { fs: role::ONE }).op(Op::FsMount { fs: role::ONE, attrs, into: role::TWO });
    make_directory(role::DEV, OsStr::new("pts"), 0o755, plan)?;
    plan.op(Op::MoveMount { from: role::TWO, dir: At::Slot(role::DEV), path: c"pts" });
    terminal(context, plan, report);
    plan.step(Phase::Enter, "mount tmpfs on /dev/shm", origin());
    own_tmpfs(of_shm, of_tmpfs, role::TWO, plan)?;
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
