//! What wins where a settings file and a command line both say something.
//!
//! `systemd-nspawn` does not merge key by key but by [`Category`]: a category that
//! one side touches is that side's alone. One `--bind=` drops every `Bind=`,
//! `Overlay=`, `TemporaryFileSystem=` and `Inaccessible=` of the file.
//!
//! ```
//! use std::path::Path;
//! use skep::dialect::nspawn::{self, Category, SettingsMode};
//!
//! let file = Path::new("/etc/systemd/nspawn/web.nspawn");
//! let settings = nspawn::parse(file, b"[Exec]\nHostname=file\n[Files]\nBind=/a\nInaccessible=/b\n")?;
//! // The command line has `--bind=/c`.
//! let typed = [Category::Mounts].into();
//! assert_eq!(settings.clone().without(&typed).to_string(), "[Exec]\nHostname=file\n");
//! // With `--settings=override`, the file has its way, and the option has not:
//! assert!(SettingsMode::Override.file_wins() && settings.categories().contains(&Category::Mounts));
//! # Ok::<(), skep::dialect::Problems>(())
//! ```

use std::collections::BTreeSet;

use skep_sys::abi::Resource;

use super::settings::{Settings, UntrustedSettings};
use super::value::{Parsed, ValueError, as_boolean};
use crate::dialect::problem::quoted;

/// Keys and options that mask each other, as those of `systemd-nspawn` do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Category {
    /// What is executed: `--boot`, `--as-pid2`, and any word of a command.
    StartMode,
    /// Environment variables.
    Environment,
    /// The payload's user.
    User,
    /// The bounding set, what is taken from it, the ambient set.
    Capabilities,
    /// One resource limit.
    Limit(Resource),
    /// The signal of an orderly stop.
    KillSignal,
    /// The execution domain.
    Personality,
    /// The container's UUID.
    MachineId,
    /// Everything of the network but forwarded ports.
    Network,
    /// Forwarded ports.
    Ports,
    /// Binds, overlays, tmpfs, inaccessible paths: all of them.
    Mounts,
    /// The working directory.
    WorkingDirectory,
    /// The user namespace, its delegated ranges, and who owns the files.
    UserNamespace,
    /// When the container counts as ready.
    Readiness,
    /// Which directory of the tree becomes `/`.
    PivotRoot,
    /// The system-call filter.
    SystemCallFilter,
    /// Which families of sockets there are.
    AddressFamilies,
    /// The hostname.
    Hostname,
    /// `no_new_privs`.
    NoNewPrivileges,
    /// The score of the out-of-memory killer.
    OomScoreAdjust,
    /// On which processors it runs.
    CpuAffinity,
    /// `/etc/resolv.conf`.
    ResolvConf,
    /// The link to the host's journal.
    LinkJournal,
    /// `/etc/localtime`.
    Timezone,
    /// Whether the tree is a throw-away copy.
    Ephemeral,
    /// Users of the host that exist inside.
    BindUser,
    /// Their shell.
    BindUserShell,
    /// Whether `fsync(2)` and its like do nothing.
    SuppressSync,
    /// Whether the root is read-only.
    ReadOnly,
    /// How much of the root is forgotten.
    Volatile,
}

/// Whether a settings file is read, whom it yields to, and what one beside the
/// image may set: the option `--settings=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum SettingsMode {
    /// No file is read.
    No,
    /// The command line wins; a file beside the image is not trusted.
    #[default]
    Yes,
    /// The file wins; one beside the image is still not trusted.
    Override,
    /// The command line wins; a file beside the image is trusted.
    Trusted,
}

impl SettingsMode {
    /// Reads a boolean, `override` or `trusted`.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn parse(text: &str) -> Parsed<Self> {
        match (as_boolean(text), text) {
            (Some(true), _) => Ok(Self::Yes),
            (Some(false), _) => Ok(Self::No),
            (None, "override") => Ok(Self::Override),
            (None, "trusted") => Ok(Self::Trusted),
            _ => Err(ValueError::new(format!("{} is not a way to use settings files", quoted(text)))
                .with_remedy("write `yes`, `no`, `override` or `trusted`")),
        }
    }

    /// Whether options give way to the file ([`Settings::categories`]), and not
    /// the file to options ([`Settings::without`]).
    #[must_use]
    pub const fn file_wins(self) -> bool {
        matches!(self, Self::Override)
    }
}

impl Settings {
    /// What the file touches: options of these categories have no effect where
    /// the file wins.
    #[must_use]
    pub fn categories(&self) -> BTreeSet<Category> {
        let mut all = self.harmless.categories();
        all.append(&mut self.privileged.categories());
        all
    }

    /// The settings without those of the categories that options touch.
    #[must_use]
    pub fn without(mut self, touched: &BTreeSet<Category>) -> Self {
        self.harmless.retain(&|key| !touched.contains(&key.category));
        self.privileged.retain(&|key| !touched.contains(&key.category));
        self
    }
}

impl UntrustedSettings {
    /// As [`Settings::categories`]; what was ignored touches nothing.
    #[must_use]
    pub fn categories(&self) -> BTreeSet<Category> {
        self.harmless.categories()
    }

    /// As [`Settings::without`].
    #[must_use]
    pub fn without(mut self, touched: &BTreeSet<Category>) -> Self {
        self.harmless.retain(&|key| !touched.contains(&key.category));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KEYS, parse, parse_untrusted};
    use super::*;
    use std::path::Path;

    const FILE: &str = "/run/systemd/nspawn/web.nspawn";

    #[test]
    fn one_option_drops_all_of_its_category() {
        let text = "[Exec]\nBoot=no\nParameters=a\nEnvironment=A=1\nCapability=CAP_KILL\nDropCapability=CAP_CHOWN\n\
                    LimitCORE=2\nLimitNOFILE=1\n[Files]\nBind=/a:/a:rbind\nInaccessible=/b\n\
                    [Network]\nPrivate=yes\nVirtualEthernet=no\n";
        let settings = parse(Path::new(FILE), text.as_bytes()).unwrap();
        assert_eq!(settings.to_string(), text);
        for (touched, gone) in [
            (&[][..], &[][..]),
            (&[Category::Ports, Category::User], &[]),
            (&[Category::StartMode], &["Parameters=a\n", "Boot=no\n"]),
            (&[Category::Capabilities], &["Capability=CAP_KILL\nDropCapability=CAP_CHOWN\n"]),
            (&[Category::Mounts], &["[Files]\nBind=/a:/a:rbind\nInaccessible=/b\n"]),
            (&[Category::Limit(Resource::NOFILE)], &["LimitNOFILE=1\n"]),
            (
                &[Category::Network, Category::Environment],
                &["[Network]\nPrivate=yes\nVirtualEthernet=no\n", "Environment=A=1\n"],
            ),
        ] {
            let touched: BTreeSet<Category> = touched.iter().copied().collect();
            let rest = settings.clone().without(&touched);
            let expected = gone.iter().fold(text.to_owned(), |text, gone| text.replace(gone, ""));
            assert_eq!(rest.to_string(), expected, "{touched:?}");
            assert_eq!(rest.categories(), settings.categories().difference(&touched).copied().collect());
        }
    }

    #[test]
    fn an_untrusted_file_touches_only_what_it_sets() {
        let text = b"[Exec]\nHostname=a\nCapability=CAP_KILL\n[Files]\nBind=/a\n";
        let settings = parse_untrusted(Path::new(FILE), text).unwrap();
        assert_eq!(settings.categories(), [Category::Hostname].into());
        assert!(settings.without(&[Category::Hostname].into()).categories().is_empty());
    }

    #[test]
    fn modes_and_their_spellings() {
        for (text, mode) in [
            ("yes", SettingsMode::Yes),
            ("0", SettingsMode::No),
            ("override", SettingsMode::Override),
            ("trusted", SettingsMode::Trusted),
        ] {
            assert_eq!(SettingsMode::parse(text), Ok(mode));
            assert_eq!(mode.file_wins(), text == "override");
        }
        for bad in ["", "Override", "maybe", "trusted "] {
            assert!(SettingsMode::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_limit_is_a_category_of_its_own() {
        for key in KEYS.iter().filter(|key| key.name.starts_with("Limit")) {
            assert_eq!(Some(key.category), Resource::by_name(key.name).map(Category::Limit), "{}", key.name);
        }
    }
}
