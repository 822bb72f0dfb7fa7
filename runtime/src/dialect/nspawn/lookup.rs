//! Where the settings of a machine are found, and which of those places are
//! trusted.
//!
//! [`candidates`] is the list, [`find`] reads the first file that exists. This is
//! the one place of the dialects that opens a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::merge::SettingsMode;
use super::{MAX_FILE, Settings, UntrustedSettings, parse, parse_untrusted};
use crate::Escaped;
use crate::dialect::Problems;
use crate::spec::MachineName;

/// Whose settings are looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub enum Scope {
    /// The machine's, below `/etc` and `/run`.
    #[default]
    System,
    /// A user's.
    User {
        /// `$XDG_CONFIG_HOME`, or `~/.config`.
        config: PathBuf,
        /// `$XDG_RUNTIME_DIR`, if there is one.
        runtime: Option<PathBuf>,
    },
}

/// A file that may hold the settings.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Whether whoever can write there may grant what the caller may. Beside an
    /// image it is whoever made the image.
    pub trusted: bool,
}

/// Where the settings of `machine` may be, the first existing one being used
/// alone: nothing is merged, and there are no drop-in directories.
///
/// `machine` is the name before any suffix of an ephemeral copy; `image` is the
/// root tree or the image file, absolute, whose parent directory is the last
/// place. It is trusted in the mode [`SettingsMode::Trusted`] only; in the mode
/// [`SettingsMode::No`] there is no place.
#[must_use]
pub fn candidates(machine: &MachineName, image: Option<&Path>, scope: &Scope, mode: SettingsMode) -> Vec<Candidate> {
    if mode == SettingsMode::No {
        return Vec::new();
    }
    let name = format!("{machine}.nspawn");
    let (config, runtime) = match scope {
        Scope::System => (Path::new("/etc"), Some(Path::new("/run"))),
        Scope::User { config, runtime } => (config.as_path(), runtime.as_deref()),
    };
    let own = std::iter::once(config).chain(runtime).map(|top| (top.join("systemd/nspawn"), true));
    let beside = image.and_then(Path::parent).map(|parent| (parent.to_owned(), mode == SettingsMode::Trusted));
    own.chain(beside).map(|(directory, trusted)| Candidate { path: directory.join(&name), trusted }).collect()
}

/// Settings from a place, with what that place may say.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "one a start, taken apart at once")]
pub enum Loaded {
    /// From a trusted place: everything.
    Trusted(Settings),
    /// From another: what grants nothing.
    Untrusted(UntrustedSettings),
}

/// Why a settings file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// It exists, but cannot be read. Going on to the next place would let
    /// somebody choose another file by spoiling this one.
    #[error("{}: {why}; make it a file that can be read, or pass --settings=no", Escaped::new(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Everything that is wrong with what it says.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads the first candidate that exists, and its path with it; `None` if there
/// is none.
///
/// Of a place that is not trusted, a symbolic link is refused: the problems of a
/// file show parts of it, and the link may point to what only the caller can read.
///
/// # Errors
///
/// What exists cannot be read, is no regular file, or has problems.
pub fn find(candidates: &[Candidate]) -> Result<Option<(PathBuf, Loaded)>, LookupError> {
    for candidate in candidates {
        let path = &candidate.path;
        let bytes = match bytes(candidate) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(why) => return Err(LookupError::Unreadable { path: path.clone(), why }),
        };
        let loaded = if candidate.trusted {
            Loaded::Trusted(parse(path, &bytes)?)
        } else {
            Loaded::Untrusted(parse_untrusted(path, &bytes)?)
        };
        return Ok(Some((path.clone(), loaded)));
    }
    Ok(None)
}

/// The bytes of a candidate: one more than may be, so that the parser sees that
/// there are too many.
fn bytes(candidate: &Candidate) -> io::Result<Vec<u8>> {
    // O_NONBLOCK: a FIFO without a writer would keep us for ever.
    let mut flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if !candidate.trusted {
        flags |= OFlag::O_NOFOLLOW;
    }
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&candidate.path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    read_most(&file)
}

fn read_most(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn name(name: &str) -> MachineName {
        MachineName::new(name).unwrap()
    }

    #[test]
    fn the_order_and_trust_of_the_contract() {
        let list = |image: Option<&str>, scope: &Scope, mode| {
            candidates(&name("web"), image.map(Path::new), scope, mode)
                .into_iter()
                .map(|it| (it.path.display().to_string(), it.trusted))
                .collect::<Vec<_>>()
        };
        let own = [("/etc/systemd/nspawn/web.nspawn", true), ("/run/systemd/nspawn/web.nspawn", true)];
        let with = |last: Option<(&str, bool)>| {
            own.into_iter().chain(last).map(|(path, trusted)| (path.to_owned(), trusted)).collect::<Vec<_>>()
        };
        let tree = Some("/var/lib/machines/tree");
        let beside = "/var/lib/machines/web.nspawn";
        for (image, mode, expected) in [
            (tree, SettingsMode::Yes, with(Some((beside, false)))),
            (Some("/var/lib/machines/web.raw"), SettingsMode::Override, with(Some((beside, false)))),
            (tree, SettingsMode::Trusted, with(Some((beside, true)))),
            (tree, SettingsMode::No, Vec::new()),
            (None, SettingsMode::Yes, with(None)),
            (Some("/"), SettingsMode::Yes, with(None)),
        ] {
            assert_eq!(list(image, &Scope::System, mode), expected);
        }
        let user = Scope::User { config: "/home/a/.config".into(), runtime: Some("/run/user/1".into()) };
        assert_eq!(
            list(tree, &user, SettingsMode::Yes),
            [
                ("/home/a/.config/systemd/nspawn/web.nspawn".to_owned(), true),
                ("/run/user/1/systemd/nspawn/web.nspawn".to_owned(), true),
                (beside.to_owned(), false)
            ]
        );
    }

    /// A directory of this test's own, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("skep-lookup-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn candidate(&self, name: &str, trusted: bool) -> Candidate {
            Candidate { path: self.0.join(name), trusted }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_first_that_exists_is_used_alone() {
        let scratch = Scratch::new("first");
        let [none, first, second] = ["none", "first", "second"].map(|name| scratch.candidate(name, true));
        assert!(find(std::slice::from_ref(&none)).unwrap().is_none());
        fs::write(&first.path, "[Exec]\nHostname=first\n").unwrap();
        fs::write(&second.path, "[Exec]\nHostname=second\nUser=a\n").unwrap();
        let below = Candidate { path: first.path.join("web.nspawn"), trusted: true };
        let Some((path, Loaded::Trusted(settings))) = find(&[none, below, first.clone(), second]).unwrap() else {
            panic!("nothing is found");
        };
        assert_eq!(path, first.path);
        assert_eq!(settings.to_string(), "[Exec]\nHostname=first\n");
    }

    #[test]
    fn a_place_says_what_it_may() {
        let scratch = Scratch::new("trust");
        let text = "[Exec]\nHostname=a\nCapability=CAP_SYS_ADMIN\n[Files]\nBind=/\n";
        fs::write(scratch.0.join("a"), text).unwrap();
        let Some((_, Loaded::Untrusted(settings))) = find(&[scratch.candidate("a", false)]).unwrap() else {
            panic!("it is not found, or trusted");
        };
        assert_eq!(settings.ignored.len(), 2);
        let Some((_, Loaded::Trusted(settings))) = find(&[scratch.candidate("a", true)]).unwrap() else {
            panic!("it is not found, or not trusted");
        };
        assert!(settings.to_string().contains("Bind=/:/:rbind"));
    }

    #[test]
    fn what_exists_but_is_no_file_to_read_is_an_error() {
        let scratch = Scratch::new("odd");
        fs::create_dir(scratch.0.join("directory")).unwrap();
        nix::unistd::mkfifo(&scratch.0.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(scratch.0.join("file"), "secret text").unwrap();
        std::os::unix::fs::symlink("file", scratch.0.join("link\n")).unwrap();
        for (name, trusted, expected) in [
            ("directory", true, "directory: it is not a regular file"),
            ("fifo", false, "fifo: it is not a regular file"),
            ("link\n", false, "link\\n: Too many levels"),
            ("link\n", true, "link\\n:1:1: the line has no `=`"),
        ] {
            let error = find(&[scratch.candidate(name, trusted)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn too_much_is_an_error_and_not_read_whole() {
        let scratch = Scratch::new("long");
        File::create(scratch.0.join("a")).unwrap().set_len(1 << 40).unwrap();
        let error = find(&[scratch.candidate("a", true)]).unwrap_err().to_string();
        assert!(error.contains("1048576 are the most"), "{error}");
    }
}
