//! Names: one constructor each, so that what was checked stays checked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} {name:?} {why}")]
pub struct NameError {
    what: &'static str,
    name: String,
    why: &'static str,
}

fn labels(what: &'static str, name: &str) -> Result<(), NameError> {
    let refuse = |why| Err(NameError { what, name: name.chars().take(80).collect(), why });
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > 64 {
        return refuse("is longer than 64 bytes");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return refuse("may hold only ASCII letters, digits, '-' and '.'");
    }
    if name.split('.').any(str::is_empty) {
        return refuse("has an empty label: no leading, trailing or double '.'");
    }
    if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return refuse("has a label that starts or ends with '-'");
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            ///
            /// [`NameError`]: empty, longer than 64 bytes, other characters
            /// than ASCII letters, digits, `-` and `.`, or a label that is
            /// empty or starts or ends with `-`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                labels($what, &name).map(|()| Self(name))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a container: a valid hostname of at most 64 bytes
    /// (`machinectl(1)`), so it can also be a component of a path.
    MachineName, "machine name";
    /// A hostname (`hostname(7)`, the kernel's limit of 64 bytes).
    HostName, "hostname";
}

impl From<MachineName> for HostName {
    fn from(name: MachineName) -> Self {
        Self(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_126_135_names_that_are_refused() {
        let long = "a".repeat(65);
        for bad in [
            "", ".", "..", "a..b", ".a", "a.", "-a", "a-", "a.-b", "a/b", "../x", "a b", "a\n", "a\0", "ü", "a_b",
            &long,
        ] {
            assert!(MachineName::new(bad).is_err(), "{bad:?}");
            assert!(HostName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_are_accepted() {
        let longest = "a".repeat(64);
        for good in ["a", "mdbook-host", "web.example", "0", "A-1.b", &longest] {
            assert_eq!(MachineName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_name_from_serde_is_checked() {
        assert!(serde_json::from_str::<MachineName>("\"../x\"").is_err());
        assert!(serde_json::from_str::<MachineName>("\"x\"").is_ok());
    }
}
