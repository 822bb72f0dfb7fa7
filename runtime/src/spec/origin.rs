//! Where a value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;

/// The place where somebody asked for something.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// The key, such as `Bind=`.
        key: String,
    },
    /// An option of a command line, such as `--bind=`.
    Option(String),
    /// A call of the builder, such as `Command::bind`.
    Call(&'static str),
    /// A default of the profile.
    Profile(&'static str),
    /// A rule of the library that no Spec switches off.
    Always,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => write!(f, "{}:{line} {key}", path.display()),
            Self::Option(option) => f.write_str(option),
            Self::Call(call) => f.write_str(call),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Always => f.write_str("always"),
        }
    }
}

/// Origins by field of the Spec: `hostname`, `mounts./var/www`, ….
///
/// Two Specs that say the same are equal, wherever they got it from.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origins {
    /// Notes where `field` was set; a later note wins.
    pub fn note(&mut self, field: impl Into<String>, origin: Origin) {
        self.0.insert(field.into(), origin);
    }

    /// Where `field` was set, if anybody set it: itself, else what it is a part
    /// of (`limits` for `limits.CORE`), else a part of it.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<&Origin> {
        let whole = || self.0.get(field.split_once('.')?.0);
        let part = || {
            let of_field = |name: &String| name.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
            self.0
                .range::<str, _>((Bound::Included(field), Bound::Unbounded))
                .take_while(|(name, _)| name.starts_with(field))
                .find(|(name, _)| of_field(name))
                .map(|found| found.1)
        };
        self.0.get(field).or_else(whole).or_else(part)
    }

    /// Where exactly this was set.
    pub(crate) fn exactly(&self, field: &str) -> Option<&Origin> {
        self.0.get(field)
    }

    /// Every note.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.0.iter().map(|(field, origin)| (field.as_str(), origin))
    }
}
