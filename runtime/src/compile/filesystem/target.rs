//! Places inside: where something may be mounted, and how it is opened.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{OpenFlags, Resolve};
use skep_sys::wire::Blob;
use skep_sys::{At, Op, Slot};

use super::make_directory;
use crate::compile::{Context, absolute, c_path, c_text};
use crate::error::Result;
use crate::facts::{EntryKind, plain_components};
use crate::plan::{Builder, role};
use crate::spec::{Mount, MountKind, Tmpfs};

/// Places where something has been mounted.
#[derive(Default)]
pub(super) struct Covered(BTreeSet<PathBuf>);

impl Covered {
    pub(super) fn add(&mut self, place: impl Into<PathBuf>) {
        self.0.insert(place.into());
    }

    /// Whether something has been mounted on the way to `target`, so that what
    /// is known of the tree below says nothing.
    pub(super) fn on_the_way(&self, target: &Path) -> bool {
        target.ancestors().any(|above| self.0.contains(above))
    }
}

/// Places where a caller's mount would hide what the kernel says of itself.
fn is_kernel_place(target: &Path) -> bool {
    matches!(plain_components(target).first(), Some(first) if *first == "proc" || *first == "sys")
}

/// Mounts by target, parents first, whatever order they were given in.
pub(super) fn sorted(context: &Context<'_>) -> Result<Vec<Mount>> {
    let mut mounts = context.spec.mounts.clone();
    for mount in &mut mounts {
        let field = format!("mounts.{}", mount.target.display());
        absolute(context.spec, &field, &mount.target)?;
        mount.target = Path::new("/").join(plain_components(&mount.target).iter().collect::<PathBuf>());
        let shown = mount.target.display();
        if mount.target == Path::new("/") {
            return Err(context.invalid(&field, "a mount on / itself").remedy("Name another root directory instead."));
        }
        // A machine may be given more of the host's.
        let below_sys = context.nspawn() && mount.target != Path::new("/sys") && mount.target.starts_with("/sys");
        if is_kernel_place(&mount.target) && !below_sys {
            let remedy = if context.nspawn() {
                "Mount it elsewhere: nothing may be put on /sys, and on or below /proc."
            } else {
                "Mount it elsewhere: nothing may be put on or below /proc and /sys."
            };
            return Err(context
                .invalid(&field, format!("a mount on {shown} would hide what the kernel says of the container"))
                .remedy(remedy));
        }
        if let MountKind::Tmpfs(Tmpfs { size: 0, .. } | Tmpfs { inodes: 0, .. } | Tmpfs { blocks: Some(0), .. }) =
            mount.kind
        {
            return Err(context
                .invalid(&field, format!("the tmpfs on {shown} has no bound: the kernel takes 0 for unlimited"))
                .remedy("Give a size and a number of inodes from 1 on."));
        }
        // `shmem_parse_one`: what they take must fit a word.
        if let MountKind::Tmpfs(Tmpfs { inodes, .. }) = mount.kind
            && inodes > u64::MAX / 1024
        {
            return Err(context
                .invalid(&field, format!("no kernel keeps the {inodes} inodes of the tmpfs on {shown}"))
                .remedy("Give a number of inodes up to 2^54 - 1."));
        }
        if let Some(hidden) = hidden_by(context, &mount.target) {
            return Err(context
                .invalid(&field, format!("a mount on {shown} would hide {hidden}, which the container needs"))
                .remedy("Mount it elsewhere, or below that directory."));
        }
    }
    mounts.sort_by(|one, other| plain_components(&one.target).cmp(&plain_components(&other.target)));
    if let Some(pair) = mounts.windows(2).find(|pair| pair[0].target == pair[1].target) {
        let field = format!("mounts.{}", pair[0].target.display());
        return Err(context
            .invalid(&field, format!("two mounts on {}", pair[0].target.display()))
            .remedy("Keep one; the second would hide the first."));
    }
    Ok(mounts)
}

/// Places whose covering would take away a guarantee.
fn hidden_by(context: &Context<'_>, target: &Path) -> Option<&'static str> {
    let notified = context.listens();
    let credentials = !context.spec.credentials.is_empty();
    let users = !context.users.is_empty();
    [
        ("/dev", true),
        ("/dev/pts", true),
        ("/run", notified || credentials || users),
        ("/run/host", notified || credentials || users),
        (super::files::CREDENTIALS, credentials),
        (super::users::RECORDS, users),
    ]
    .into_iter()
    .find_map(|(place, needed)| (needed && target == Path::new(place)).then_some(place))
}

/// Opens the place where something is mounted, and makes what is missing of
/// it, one component at a time. `covered`: something has been mounted on the
/// way, so what is known of the tree below says nothing.
pub(super) fn open_target(
    context: &Context<'_>,
    target: &Path,
    kind: EntryKind,
    covered: bool,
    into: Slot,
    plan: &mut Builder,
) -> Result<()> {
    let known = context.facts.targets.get(target).copied().unwrap_or_default();
    let fresh = super::is_fresh(context, target);
    let beneath = Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS);
    if known.through_link && !fresh && !covered {
        // The kernel takes the new root for `/`, so no link leads out of it.
        let relative = c_text(target.strip_prefix("/").unwrap_or(target).as_os_str().as_bytes())?;
        plan.op(Op::OpenAt2 {
            dir: At::Slot(role::ROOT),
            path: &relative,
            flags: OpenFlags::PATH,
            mode: 0,
            resolve: Resolve::IN_ROOT.with(Resolve::NO_MAGICLINKS),
            into,
        });
        return Ok(());
    }
    let components = plain_components(target);
    let existing = if fresh || covered { 0 } else { known.existing.min(components.len().saturating_sub(1)) };
    let mut dir = role::ROOT;
    let (head, tail) = components.split_at(existing);
    let open = |path: &Path, dir: Slot, flags: OpenFlags, plan: &mut Builder| -> Result<()> {
        let path = c_path(path)?;
        plan.op(Op::OpenAt2 { dir: At::Slot(dir), path: &path, flags, mode: 0, resolve: beneath, into });
        Ok(())
    };
    if !head.is_empty() {
        open(&head.iter().collect::<PathBuf>(), dir, OpenFlags::PATH.with(OpenFlags::DIRECTORY), plan)?;
        dir = into;
    }
    for (index, name) in tail.iter().enumerate() {
        let last = index + 1 == tail.len();
        if last && kind != EntryKind::Directory {
            let name = c_text(name.as_bytes())?;
            plan.op(Op::Create { dir: At::Slot(dir), name: &name, mode: 0o644, content: Blob(b""), exist_ok: true });
            open(Path::new(OsStr::from_bytes(name.as_bytes())), dir, OpenFlags::PATH, plan)?;
        } else {
            make_directory(dir, name, 0o755, plan)?;
            open(Path::new(name), dir, OpenFlags::PATH.with(OpenFlags::DIRECTORY), plan)?;
        }
        dir = into;
    }
    Ok(())
}

/// Opens a symbolic link itself, to lie over it.
pub(super) fn open_link(target: &Path, into: Slot, plan: &mut Builder) -> Result<()> {
    let relative = c_path(target.strip_prefix("/").unwrap_or(target))?;
    plan.op(Op::OpenAt2 {
        dir: At::Slot(role::ROOT),
        path: &relative,
        flags: OpenFlags::PATH.with(OpenFlags::NO_FOLLOW),
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS).with(Resolve::NO_MAGICLINKS),
        into,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_kernel() {
        for place in ["/proc", "//proc/./", "/proc/self", "/sys/fs/cgroup", "/sys"] {
            assert!(is_kernel_place(Path::new(place)), "{place}");
        }
        for place in ["/process", "/srv/proc", "/system"] {
            assert!(!is_kernel_place(Path::new(place)), "{place}");
        }
    }

    #[test]
    fn what_lies_on_the_way() {
        let mut covered = Covered::default();
        covered.add("/a/b");
        for below in ["/a/b", "/a/b/c/d"] {
            assert!(covered.on_the_way(Path::new(below)), "{below}");
        }
        for beside in ["/a", "/a/bc", "/"] {
            assert!(!covered.on_the_way(Path::new(beside)), "{beside}");
        }
    }
}
