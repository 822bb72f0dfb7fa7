//! Users of the host that the container has too.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which shell users of the host have inside (`systemd-nspawn(1)`,
/// `--bind-user-shell=`). Whether it is there nobody looks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UserShell {
    /// The container's usual one.
    #[default]
    Usual,
    /// That of the host's `/etc/passwd`.
    Host,
    /// This one.
    Path(PathBuf),
}

/// Users of the host that the container has too (`systemd-nspawn(1)`,
/// `--bind-user=`): their homes in `/run/host/home`, with files that are theirs
/// inside, and records of them in `/run/host/userdb`, which `nss-systemd(8)` of the
/// tree reads (<https://systemd.io/USER_RECORD>). Root only, and only with a user
/// namespace.
///
/// Inside they have ids from 60514 on. **Careful:** root of the container can read
/// the hashes of their passwords, and change what is in their homes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BindUsers {
    /// Names of the host's `/etc/passwd`; at most 64.
    pub names: Vec<String>,
    /// The shell that they have.
    pub shell: UserShell,
    /// Groups of the container that they are members of beside their own, by name.
    /// Whether they are there nobody looks.
    pub groups: Vec<String>,
}

impl BindUsers {
    /// Whether `name` can be a user or a group: as `useradd(8)` would make it.
    pub(crate) fn is_name(name: &str) -> bool {
        let start = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
        let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        start && rest && name.len() <= 32
    }
}
