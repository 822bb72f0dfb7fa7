//! File systems in memory.

use serde::{Deserialize, Serialize};

use super::NumberList;

/// When files of a tmpfs are given huge pages (`tmpfs(5)`, `huge=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HugePages {
    /// Never.
    Never,
    /// Whenever a new page is needed.
    Always,
    /// Where the whole of it lies within the file.
    WithinSize,
    /// Where the program asks for it (`fadvise(2)`, `madvise(2)`).
    Advise,
}

impl HugePages {
    pub(crate) const ALL: [Self; 4] = [Self::Never, Self::Always, Self::WithinSize, Self::Advise];

    /// As the kernel calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::WithinSize => "within_size",
            Self::Advise => "advise",
        }
    }
}

/// Whether times of access are kept (`mount(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AccessTimes {
    /// As the profile has them: `strictatime` in a machine (profile `nspawn`), else `relatime`.
    #[default]
    Profile,
    /// Where a file was changed since, or a day has gone by (`relatime`).
    Relative,
    /// Always (`strictatime`).
    Strict,
    /// Never (`noatime`).
    Off,
}

/// From which NUMA nodes a tmpfs has its memory (`tmpfs(5)`, `mpol=`): `default`,
/// `local`, `prefer:NODE`, `bind:NODES` or `interleave[:NODES]`, with `=static` or
/// `=relative` before the colon.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct NumaPolicy(String);

impl NumaPolicy {
    /// Parses a policy.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (policy, nodes) = text.split_once(':').map_or((text, None), |(policy, nodes)| (policy, Some(nodes)));
        let (mode, flag) = policy.split_once('=').map_or((policy, None), |(mode, flag)| (mode, Some(flag)));
        let nodes = nodes.map(NumberList::parse).transpose()?;
        let flagged = matches!(flag, Some("static" | "relative")) && nodes.is_some();
        // `mpol_parse_str`
        let fits = match mode {
            "default" | "local" => nodes.is_none(),
            "prefer" => nodes.as_ref().is_none_or(|nodes| !nodes.as_str().contains(['-', ','])),
            "bind" => nodes.is_some(),
            "interleave" => true,
            _ => false,
        };
        if !fits || (flag.is_some() && !flagged) {
            return Err("it is no policy of memory".to_owned());
        }
        let flag = flag.map_or_else(String::new, |flag| format!("={flag}"));
        let nodes = nodes.map_or_else(String::new, |nodes| format!(":{}", nodes.as_str()));
        match mode.len() + flag.len() + nodes.len() {
            // `fsconfig(2)` takes no longer word.
            0..=255 => Ok(Self(format!("{mode}{flag}{nodes}"))),
            _ => Err("it has more than 255 bytes".to_owned()),
        }
    }

    /// The policy, as the kernel takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NumaPolicy {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<NumaPolicy> for String {
    fn from(policy: NumaPolicy) -> Self {
        policy.0
    }
}

/// A tmpfs (`tmpfs(5)`), empty and bounded. Set-user-id bits and device nodes in
/// it do not work. What lies in it counts as memory of whoever wrote it, and may
/// be swapped out.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Tmpfs {
    /// Bytes at most.
    pub size: u64,
    /// The same in percent of this machine's memory, 1 to 100; then `size` says nothing.
    pub percent: Option<u8>,
    /// The same in pages of memory, 4 KiB or more each; then `size` says nothing. Not
    /// with `percent`.
    pub blocks: Option<u64>,
    /// Files and directories at most.
    pub inodes: u64,
    /// Mode of its root.
    pub mode: u32,
    /// To whom its root belongs, by the container's ids.
    pub uid: u32,
    /// To which group.
    pub gid: u32,
    /// Read-only: an empty directory.
    pub read_only: bool,
    /// Programs in it cannot be executed.
    pub noexec: bool,
    /// Symbolic links in it are not followed.
    pub nosymfollow: bool,
    /// Whether times of access are kept.
    pub access_times: AccessTimes,
    /// None are kept of directories.
    pub nodiratime: bool,
    /// When its files are given huge pages; the kernel's choice is never.
    pub huge: Option<HugePages>,
    /// From which NUMA nodes its memory is.
    pub numa: Option<NumaPolicy>,
    /// What lies in it is never swapped out. Linux 6.4, and not with a user namespace of
    /// the container's own.
    pub noswap: bool,
    /// Whether numbers of inodes may need 64 bits; without, as the kernel was built.
    pub inode64: Option<bool>,
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self {
            size: 256 << 20,
            percent: None,
            blocks: None,
            inodes: 100_000,
            mode: 0o755,
            uid: 0,
            gid: 0,
            read_only: false,
            noexec: false,
            nosymfollow: false,
            access_times: AccessTimes::Profile,
            nodiratime: false,
            huge: None,
            numa: None,
            noswap: false,
            inode64: None,
        }
    }
}

impl Tmpfs {
    /// How large it becomes: the kernel's option, its value, and in words.
    pub(crate) fn bound(&self) -> (&'static str, String, String) {
        match (self.percent, self.blocks) {
            (Some(percent), _) => ("size", format!("{percent}%"), format!("{percent}% of memory")),
            (None, Some(blocks)) => ("nr_blocks", blocks.to_string(), format!("{blocks} pages")),
            (None, None) => ("size", self.size.to_string(), format!("{} bytes", self.size)),
        }
    }

    /// Options of the kernel beside those that bound it, without a value where they
    /// have none.
    pub(crate) fn options(&self) -> Vec<(&'static str, Option<String>)> {
        let huge = self.huge.map(|huge| ("huge", Some(huge.name().to_owned())));
        let numa = self.numa.as_ref().map(|policy| ("mpol", Some(policy.as_str().to_owned())));
        let inodes = self.inode64.map(|wide| (if wide { "inode64" } else { "inode32" }, None));
        let noswap = self.noswap.then_some(("noswap", None));
        [huge, numa, inodes, noswap].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_memory() {
        for (text, kept) in [
            ("default", "default"),
            ("local", "local"),
            ("prefer", "prefer"),
            ("prefer:1", "prefer:1"),
            ("bind:3,0-1", "bind:0-1,3"),
            ("interleave", "interleave"),
            ("interleave=static:0-3", "interleave=static:0-3"),
            ("bind=relative:0", "bind=relative:0"),
        ] {
            assert_eq!(NumaPolicy::parse(text).expect(text).as_str(), kept);
        }
        for bad in [
            "",
            "bind",
            "local:0",
            "default:0",
            "prefer:0-1",
            "prefer:0,1",
            "bind:",
            "bind:x",
            "bind=static",
            "bind=odd:0",
            "all:0",
            "bind:0:1",
            "bind:1-0",
            "=static:0",
        ] {
            assert!(NumaPolicy::parse(bad).is_err(), "{bad}");
        }
        let long = (0..200).map(|node| (node * 2).to_string()).collect::<Vec<_>>().join(",");
        assert!(NumaPolicy::parse(&format!("bind:{long}")).is_err());
    }
}
