//! Where containers of this user are registered, and by whom.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::registry::entry;

/// A process that starts containers: entries and cgroups say whose they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Registrar {
    /// Its process id.
    pub pid: u32,
    /// When it started, in ticks since boot (`proc(5)`).
    pub start_time: u64,
    /// The kernel's random id of this boot.
    pub boot: String,
    /// The process-id namespace that its numbers are of.
    pub pid_namespace: u64,
}

impl Registrar {
    /// This process. Looked at once: only a fork is another.
    pub(crate) fn look() -> Self {
        static KNOWN: OnceLock<Registrar> = OnceLock::new();
        let known = KNOWN.get_or_init(Self::anew);
        if known.pid == std::process::id() { known.clone() } else { Self::anew() }
    }

    fn anew() -> Self {
        let pid = std::process::id();
        let boot = fs::read_to_string(crate::profile::BOOT_ID).unwrap_or_default();
        Self {
            pid,
            start_time: entry::start_time(pid).unwrap_or(0),
            boot: boot.trim().to_owned(),
            pid_namespace: entry::namespace(Path::new("/proc/self/ns/pid")).unwrap_or(0),
        }
    }
}

/// The user's runtime directory, in which the registry's is or can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Registry {
    /// `/run`, or `$XDG_RUNTIME_DIR`.
    pub base: PathBuf,
}

/// `/run` for root, `$XDG_RUNTIME_DIR` for others.
pub(crate) fn base(uid: u32) -> Option<PathBuf> {
    if uid == 0 {
        return Some(PathBuf::from("/run"));
    }
    let base = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    (base.is_absolute() && base.as_os_str().len() < 1024).then_some(base)
}

/// Where this user's containers can be registered; the start proves it again.
pub(super) fn look(uid: u32) -> Option<Registry> {
    let base = base(uid)?;
    // A link on the way is refused by the start.
    if fs::canonicalize(&base).ok()? != base {
        return None;
    }
    let good = |path: &Path, others: u32| {
        fs::symlink_metadata(path).map(|data| data.is_dir() && data.uid() == uid && data.mode() & others == 0)
    };
    let own = match good(&base.join(crate::registry::DIRECTORY), 0o077) {
        Ok(own) => own,
        Err(error) => {
            error.kind() == std::io::ErrorKind::NotFound
                && nix::unistd::access(&base, nix::unistd::AccessFlags::W_OK).is_ok()
        }
    };
    (own && good(&base, 0o022).unwrap_or(false)).then_some(Registry { base })
}
