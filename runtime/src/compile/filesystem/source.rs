//! Trees of the host that a container shows: looked at, opened once, proved,
//! cloned and confined.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::{At, Op, Proof, Slot};

use super::idmap::Ids;
use super::{CONFINED, EMPTY};
use crate::compile::{Context, c_path};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{EntryKind, PathFact, plain_components};
use crate::plan::{Builder, Phase};
use crate::spec::{Origin, Volatile};

/// A tree of the host, cloned where the caller's rights allow it: by the
/// embedder before the child exists, when it is root; else by the child, before
/// anything is mounted over the old root, which the clone would show.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) fact: PathFact,
    pub(super) recursive: bool,
    /// Whether its path may lead through links (`RESOLVE_NO_SYMLINKS`).
    pub(super) no_links: bool,
    /// Whether programs that raise rights do, and device nodes work: the root of the
    /// profile `nspawn`, as that of a machine.
    pub(super) honours: bool,
    /// What is set beside nosuid and nodev.
    pub(super) attrs: MountAttrs,
    /// Where its detached, confined clone is.
    pub(super) slot: Slot,
    /// It is there already: a file system of the embedder's, mounted nowhere.
    pub(super) given: bool,
    /// How its ids are shown.
    pub(super) ids: Ids,
    pub(super) origin: Origin,
}

impl Source {
    /// The tree at `path`, read-only and without what is mounted below.
    pub(super) fn read_only(context: &Context<'_>, path: &Path, origin: Origin, plan: &mut Builder) -> Self {
        Self {
            path: path.to_path_buf(),
            fact: context.facts.path(path),
            recursive: false,
            honours: false,
            no_links: false,
            attrs: MountAttrs::RDONLY,
            slot: plan.slot(),
            given: false,
            ids: Ids::Plain,
            origin,
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.attrs.has(MountAttrs::RDONLY)
    }

    /// Every attribute that the clone gets.
    pub(super) fn all_attrs(&self) -> MountAttrs {
        let attrs = if self.honours { self.attrs } else { CONFINED.with(self.attrs) };
        if self.ids == Ids::Plain { attrs } else { attrs.with(MountAttrs::IDMAP) }
    }
}

/// Magic links lead wherever the process behind them is.
fn is_magic(path: &Path) -> bool {
    let parts = plain_components(path);
    let is = |index: usize, words: &[&str]| parts.get(index).is_some_and(|part| words.iter().any(|word| part == word));
    (is(0, &["proc"]) && is(2, &["root", "cwd", "exe", "fd", "ns", "map_files"]))
        || (is(0, &["proc"]) && is(2, &["task"]))
        || (is(0, &["dev"]) && is(1, &["fd", "stdin", "stdout", "stderr"]))
}

pub(super) fn require_directory(context: &Context<'_>, root: &Source) -> Result<()> {
    let top = context.spec.root.top();
    let shown = top.display();
    let origin = context.spec.origins.of("root");
    // A link in the tree is nothing: it could lead out.
    if let Some(errno) = root.fact.failed.filter(|errno| *errno != skep_sys::Errno::ELOOP) {
        return Err(cannot_look(format!("open the root directory {shown}"), errno).from(origin));
    }
    match root.fact.kind {
        EntryKind::Directory => Ok(()),
        EntryKind::Missing
            if context.spec.root.volatile == Volatile::Yes && context.facts.path(&top).kind == EntryKind::Directory =>
        {
            Err(Error::new(ErrorKind::NotFound, format!("the root directory {shown} has no usr/"))
                .from(origin)
                .remedy("A volatile root needs a tree whose programs are below usr/."))
        }
        EntryKind::Missing => {
            Err(Error::system(format!("open the root directory {shown}"), skep_sys::Errno::ENOENT).from(origin).remedy(
                "Name a directory that holds a root file system (-D), or leave it out for the host's /usr on a tmpfs.",
            ))
        }
        EntryKind::File | EntryKind::Special => {
            Err(Error::system(format!("open the root directory {shown}"), skep_sys::Errno::ENOTDIR)
                .from(origin)
                .remedy("Say --image= for a disk image (`image`), or name a directory."))
        }
    }
}

/// Looking at a path failed, and not because nothing is there.
fn cannot_look(what: String, errno: skep_sys::Errno) -> Error {
    let error = Error::system(what, errno);
    match errno {
        skep_sys::Errno::EACCES => error.remedy("Every directory above it must let this user pass (mode x)."),
        skep_sys::Errno::ELOOP => error.remedy("Its links lead in a circle: name the real path."),
        _ => error.remedy("See what `stat` says of it."),
    }
}

/// A path of the host that can be a source at all; `what` names its part.
pub(super) fn require_path(context: &Context<'_>, field: &str, what: &str, path: &Path) -> Result<()> {
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) || path.as_os_str().len() > 4095 {
        let shown: String = path.to_string_lossy().chars().take(200).collect();
        return Err(context
            .invalid(field, format!("the {what} {shown:?} is not an absolute path of at most 4095 bytes"))
            .remedy("Write it from `/` on, without a NUL byte."));
    }
    if is_magic(path) {
        return Err(context
            .invalid(field, format!("the {what} {} is a magic link of procfs", path.display()))
            .remedy("Name the real path."));
    }
    Ok(())
}

/// Something that is there.
pub(super) fn require_source(context: &Context<'_>, field: &str, what: &str, source: &Source) -> Result<()> {
    require_path(context, field, what, &source.path)?;
    let shown = source.path.display();
    match (source.fact.kind, source.fact.failed) {
        (EntryKind::Missing, Some(errno)) => {
            Err(cannot_look(format!("open the {what} {shown}"), errno).from(Some(&source.origin)))
        }
        (EntryKind::Missing, None) => Err(Error::system(format!("open the {what} {shown}"), skep_sys::Errno::ENOENT)
            .from(Some(&source.origin))
            .remedy("Create it, or correct the path.")),
        _ => Ok(()),
    }
}

fn clone_flags(recursive: bool) -> TreeFlags {
    let flags = TreeFlags::CLONE.with(TreeFlags::EMPTY_PATH);
    if recursive { flags.with(TreeFlags::RECURSIVE) } else { flags }
}

/// Opens a source once, proves that it is the inode that was looked at, clones
/// it, and confines the clone before anybody can reach it.
pub(super) fn clone(source: &Source, phase: Phase, plan: &mut Builder) -> Result<()> {
    let (path, slot) = (c_path(&source.path)?, source.slot);
    let flags = TreeFlags::EMPTY_PATH;
    let inode = Proof::Inode { device: source.fact.device, inode: source.fact.inode };
    if source.given {
        plan.step(phase, format!("take the file system of {}", source.path.display()), source.origin.clone())
            .op(Op::Prove { file: slot, proof: inode })
            .op(Op::MountSetAttr {
                dir: At::Slot(slot),
                path: EMPTY,
                flags,
                set: CONFINED.with(source.attrs),
                clear: MountAttrs::NONE,
                propagation: Propagation::PRIVATE,
                userns: None,
            });
        return Ok(());
    }
    plan.step(phase, format!("clone {}", source.path.display()), source.origin.clone());
    if source.no_links {
        plan.remedy("A component of the source is a symbolic link: name the real path, or allow links (no_links).");
    } else if phase == Phase::Enter && !source.recursive {
        plan.remedy("An ordinary user can bind a directory that has mounts below it only with them: rbind.");
    }
    plan.op(Op::OpenAt2 {
        dir: At::Cwd,
        path: &path,
        flags: OpenFlags::PATH,
        mode: 0,
        resolve: if source.no_links {
            Resolve::NO_MAGICLINKS.with(Resolve::NO_SYMLINKS)
        } else {
            Resolve::NO_MAGICLINKS
        },
        into: slot,
    })
    .op(Op::Prove { file: slot, proof: inode })
    .op(Op::OpenTree { dir: At::Slot(slot), path: EMPTY, flags: clone_flags(source.recursive), into: slot })
    .op(Op::MountSetAttr {
        dir: At::Slot(slot),
        path: EMPTY,
        flags: if source.recursive { flags.with(TreeFlags::RECURSIVE) } else { flags },
        set: if source.honours { source.attrs } else { CONFINED.with(source.attrs) },
        clear: MountAttrs::NONE,
        propagation: Propagation::PRIVATE,
        userns: None,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_links_are_no_sources() {
        for magic in [
            "/proc/1/root",
            "/proc/self/fd/3",
            "/proc/self/cwd",
            "/proc/thread-self/exe",
            "/proc/7/ns/net",
            "/dev/fd/3",
            "/dev/stdin",
            "//proc/./self/fd/9",
            "/proc/self/task/1/root",
            "/proc/1/root/etc",
        ] {
            assert!(is_magic(Path::new(magic)), "{magic}");
        }
        for plain in ["/proc/uptime", "/srv/proc/1/root", "/dev/null", "/dev/fdx"] {
            assert!(!is_magic(Path::new(plain)), "{plain}");
        }
    }
}
