//! Which tree is meant, and what its machine is called.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use skep::spec::MachineName;

use crate::meaning::{cleaned, random};
use crate::message::{Failure, because, quoted};
use crate::typed::Typed;

/// Where trees are found by name, in this order.
const PLACES: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// Where a tree is made that is called by its machine's name alone.
const NEW: &str = "/var/lib/machines";

/// What a root is made of.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// A directory of layers.
    pub(crate) is_stack: bool,
}

/// The tree: that of `--directory=`, or the image of `--image=`, or the layers of
/// `--mstack=`, else any of these of the machine's name, else the current directory; without
/// links.
pub(crate) fn find(typed: &Typed) -> Result<Found, Failure> {
    let tree = |path| Ok(Found { path, is_stack: false });
    let of = |path: &Path, option: &str| {
        path.canonicalize().map_err(|error| {
            Failure::new(format!("{option}: {}: {}; name a directory that holds a tree", quoted(path), because(&error)))
        })
    };
    if let Some(image) = &typed.image {
        return of(image, "--image=").and_then(tree);
    }
    if let Some(stack) = &typed.mstack {
        return Ok(Found { path: of(stack, "--mstack=")?, is_stack: true });
    }
    if let (Some(directory), true) = (&typed.directory, typed.template.is_some())
        && let (Some(parent), Some(name)) = (directory.parent(), directory.file_name())
        && directory.symlink_metadata().is_err()
    {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        return tree(of(parent, "--directory=")?.join(name));
    }
    let found = match (&typed.directory, &typed.machine) {
        (Some(directory), _) => of(directory, "--directory="),
        (None, Some(Some(name))) => {
            let (image, stack) = (format!("{name}.raw"), format!("{name}.{}", super::mstack::ENDING));
            let found = PLACES.iter().map(Path::new).find_map(|place| {
                let [tree, image, stack] = [name.as_str(), &image, &stack].map(|name| place.join(name));
                match (tree.is_dir(), image.is_file()) {
                    (true, _) => Some((tree, false)),
                    (_, true) => Some((image, false)),
                    _ => stack.is_dir().then_some((stack, true)),
                }
            });
            match found {
                Some((path, true)) => return Ok(Found { path: of(&path, "--machine=")?, is_stack: true }),
                Some((path, false)) => of(&path, "--machine="),
                None if typed.template.is_some() => return tree(Path::new(NEW).join(name.as_str())),
                None => Err(Failure::new(format!(
                    "--machine=: there is no tree {} in {}; put it there, or name it with --directory=",
                    quoted(name.as_str()),
                    PLACES.join(", ")
                ))),
            }
        }
        _ => of(Path::new("."), "the current directory"),
    }?;
    if found.is_file() && typed.directory.is_none() {
        return tree(found);
    }
    // Before mount points are made in it. Whether its `usr` is a link out of it is
    // not for here.
    match new_root(typed, &found).join("usr").symlink_metadata() {
        Ok(_) => tree(found),
        Err(_) => Err(Failure::new(format!(
            "{}: it has no usr, and holds no root file system; name a directory that does with --directory=",
            quoted(&found)
        ))),
    }
}

/// Where in the tree the root is.
pub(crate) fn new_root(typed: &Typed, tree: &Path) -> PathBuf {
    let new = typed.pivot_root.as_ref().map(|(new, _)| new.strip_prefix("/").unwrap_or(new));
    tree.join(new.unwrap_or_else(|| Path::new("")))
}

/// Refuses to boot what has no `os-release(5)` that can be read, as `systemd-nspawn`
/// does, unless `SYSTEMD_NSPAWN_CHECK_OS_RELEASE=` says no.
pub(crate) fn holds_a_system(root: &Path) -> Result<(), Failure> {
    if super::environment::boolean("SYSTEMD_NSPAWN_CHECK_OS_RELEASE")? == Some(false) {
        return Ok(());
    }
    let found = File::open(root).and_then(|tree| {
        // A link of the tree leads to where it does inside.
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let of = |path: &str| openat2(&tree, path, how).map_err(std::io::Error::from);
        of("etc/os-release").or_else(|_| of("usr/lib/os-release"))
    });
    match found {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format!(
            "--boot: {} holds no system that could be booted: etc/os-release and usr/lib/os-release: {}; name a tree that has one, or set SYSTEMD_NSPAWN_CHECK_OS_RELEASE=0",
            quoted(root),
            because(&error)
        ))),
    }
}

/// The machine's name: that of `--machine=`, else what of the tree's can be one.
pub(crate) fn name(typed: &Typed, tree: &Path) -> Result<MachineName, Failure> {
    if let Some(Some(name)) = &typed.machine {
        return Ok(name.clone());
    }
    // The host's own root is called as the host.
    let host = || {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        std::ffi::OsString::from(name.trim_end())
    };
    // As systemd-nspawn: of an image or a stack the name is without its ending.
    let ends = |option: &Option<PathBuf>, ending: &str| {
        option.is_some() && tree.extension().is_some_and(|known| known == ending)
    };
    let own = if ends(&typed.image, "raw") || ends(&typed.mstack, super::mstack::ENDING) {
        tree.file_stem()
    } else {
        tree.file_name()
    };
    let base = own.map_or_else(host, std::ffi::OsStr::to_owned);
    MachineName::new(cleaned(&base, 64))
        .map_err(|_| Failure::new(format!("{}: no machine can be called so; name it with --machine=", quoted(tree))))
}

/// The name of a container that may run beside others of the same tree.
pub(crate) fn unique(name: &MachineName) -> Result<MachineName, Failure> {
    let short: String = name.as_str().chars().take(47).collect();
    MachineName::new(format!("{}-{:016x}", short.trim_end_matches(['.', '-']), random()))
        .map_err(|error| Failure::new(error.to_string()))
}
