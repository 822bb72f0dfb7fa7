//! The lock on a tree: no two containers write to one at the same time, whether
//! Skep runs them or systemd-nspawn, which looks at the same files.
//!
//! There are two: `.#NAME.lck` beside the tree, which also counts where the
//! directory is shared between hosts, and one named by device and inode, which
//! counts whatever path leads to the tree. Who lets go of the last lock removes
//! the file.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::geteuid;
use skep::Spec;
use skep::spec::Volatile;

use crate::message::{Failure, because, quoted};

/// Locks on a tree, until it is dropped.
#[derive(Debug)]
pub(crate) struct TreeLock {
    held: Vec<(PathBuf, File)>,
    /// What is said of a tree that is busy: layers cannot be ephemeral.
    instead: &'static str,
}

/// How a tree is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Reads,
    Writes,
}

/// Of the whole file, and of whoever holds it open: as systemd takes its own.
fn lock(file: &File, how: Use) -> Result<(), Errno> {
    let kind = if how == Use::Reads { libc::F_RDLCK } else { libc::F_WRLCK };
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    fcntl(file, FcntlArg::F_OFD_SETLK(&libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 })).map(drop)
}

/// Opens and locks. `None`: somebody else has it.
fn take(path: &Path, how: Use) -> io::Result<Option<File>> {
    loop {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = file.custom_flags(flags.bits()).open(path)?;
        match lock(&file, how) {
            Ok(()) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // Who let go of it meanwhile has removed the file.
        if file.metadata()?.nlink() > 0 {
            return Ok(Some(file));
        }
    }
}

impl TreeLock {
    /// For the root of `spec`, where that is a tree of its own: shared where the
    /// container only reads it, none where its changes are thrown away.
    pub(crate) fn of(spec: &Spec) -> Result<Option<Self>, Failure> {
        let root = &spec.root;
        let disabled = crate::nspawn::environment::boolean("SYSTEMD_NSPAWN_LOCK")? == Some(false);
        if disabled || root.ephemeral || root.path == Path::new("/") {
            return Ok(None);
        }
        // Nothing of layers is changed; what is, is where changes go.
        let layered = root.upper.is_some() || !root.lower.is_empty();
        let reads = root.read_only || root.volatile != Volatile::No || layered;
        let how = if reads { Use::Reads } else { Use::Writes };
        let instead = if layered { "" } else { ", or start with --ephemeral" };
        let mut own = Self { held: Vec::new(), instead };
        for tree in root.lower.iter().chain([&root.path]) {
            // What is wrong with the root the start says.
            let Ok(tree) = tree.canonicalize() else { return Ok(None) };
            own.lock(&tree, how)?;
        }
        if let Some((parent, name)) = root.upper.as_ref().and_then(|upper| Some((upper.parent()?, upper.file_name()?)))
            && let Ok(parent) = parent.canonicalize()
        {
            // It need not be there yet.
            own.lock(&parent.join(name), Use::Writes)?;
        }
        Ok(Some(own))
    }

    fn lock(&mut self, tree: &Path, how: Use) -> Result<(), Failure> {
        let (Some(parent), Some(name)) = (tree.parent(), tree.file_name()) else { return Ok(()) };
        let mut beside = OsString::from(".#");
        beside.push(name);
        beside.push(".lck");
        self.add(tree, parent.join(beside), how, |error| match error.kind() {
            ErrorKind::ReadOnlyFilesystem => how == Use::Reads,
            // Another user's directory. The other lock keeps this user's containers apart.
            ErrorKind::PermissionDenied => !geteuid().is_root(),
            _ => false,
        })?;
        let (Some(base), Ok(data)) = (runtime_directory(), tree.metadata()) else { return Ok(()) };
        let directory = base.join("systemd/nspawn/locks");
        let mut builder = DirBuilder::new();
        if let Err(error) = builder.recursive(true).mode(0o700).create(&directory) {
            return Err(failed(&directory, &error));
        }
        self.add(tree, directory.join(format!("inode-{}:{}", data.dev(), data.ino())), how, |_| false)
    }

    fn add(
        &mut self,
        tree: &Path,
        path: PathBuf,
        how: Use,
        ignored: impl Fn(&io::Error) -> bool,
    ) -> Result<(), Failure> {
        match take(&path, how) {
            Ok(Some(file)) => self.held.push((path, file)),
            Ok(None) => {
                let what = format!("{}: the tree is busy: another container that runs may write to it", quoted(tree));
                let remedy = if how == Use::Writes { "one that writes wants it alone" } else { "it wants it alone" };
                return Err(Failure::new(format!("{what}, or {remedy}; end that one{}", self.instead)));
            }
            Err(error) if ignored(&error) => {}
            Err(error) => return Err(failed(&path, &error)),
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let what = format!("lock the tree: {}: {}", quoted(path), because(error));
    Failure::new(format!("{what}; start with --read-only or --ephemeral, or without locks: SYSTEMD_NSPAWN_LOCK=0"))
}

/// `/run` for root, else the user's own.
fn runtime_directory() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(PathBuf::from("/run"));
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir())
}

impl Drop for TreeLock {
    fn drop(&mut self) {
        // The last who has it may remove it: whoever waits there looks again.
        for (path, file) in self.held.drain(..).rev() {
            if lock(&file, Use::Writes).is_ok() {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(tree: &Path) -> Spec {
        let mut spec = Spec::default();
        (spec.root.path, spec.root.volatile) = (tree.to_owned(), Volatile::No);
        spec
    }

    #[test]
    fn one_writes_or_many_read() {
        let top = std::env::temp_dir().join(format!("skep-lock-{}", std::process::id()));
        fs::create_dir_all(top.join("tree")).unwrap();
        let writes = spec(&top.join("tree"));
        let mut reads = writes.clone();
        reads.root.read_only = true;
        let mut thrown_away = writes.clone();
        thrown_away.root.ephemeral = true;

        let one = TreeLock::of(&writes).unwrap().expect("a lock");
        let beside = top.join(".#tree.lck");
        assert!(beside.exists() && one.held.iter().all(|(path, _)| path.exists()));
        for other in [&writes, &reads] {
            let refused = TreeLock::of(other).unwrap_err().to_string();
            assert!(refused.contains("the tree is busy") && refused.contains("--ephemeral"), "{refused}");
        }
        assert!(TreeLock::of(&thrown_away).unwrap().is_none());
        // By another path to the same tree, the one beside is another.
        std::os::unix::fs::symlink("tree", top.join("link")).unwrap();
        assert!(TreeLock::of(&spec(&top.join("link"))).is_err());
        let paths: Vec<PathBuf> = one.held.iter().map(|(path, _)| path.clone()).collect();
        drop(one);
        assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");

        let readers = [TreeLock::of(&reads).unwrap(), TreeLock::of(&reads).unwrap()];
        assert!(TreeLock::of(&writes).is_err());
        let [first, second] = readers;
        drop(first);
        assert!(beside.exists(), "another still has it");
        assert!(TreeLock::of(&writes).is_err());
        drop(second);
        assert!(!beside.exists() && TreeLock::of(&writes).is_ok());
        fs::remove_dir_all(&top).unwrap();
    }
}
