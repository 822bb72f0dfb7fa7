//! Facts about cgroups: v1, v2, hybrid or none (`cgroups(7)`, kernel
//! `admin-guide/cgroup-v2.rst`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use std::sync::OnceLock;

use nix::unistd::{AccessFlags, access};

use super::host::text;
use crate::spec::NumberList;

/// How the cgroup file systems are mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum CgroupLayout {
    /// No cgroup file system is mounted.
    #[default]
    None,
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies for the controllers, and v2 without. Told from `Legacy`
    /// only for a Spec that may need a group of v1.
    Hybrid,
    /// v2 only.
    Unified,
}

/// The cgroups of the caller.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Cgroups {
    /// How they are mounted.
    pub layout: CgroupLayout,
    /// v1: the caller's own directory by controller, where it may make
    /// groups below it.
    pub legacy: BTreeMap<String, PathBuf>,
    /// v1: whether the kernel accounts for swap.
    pub legacy_swap: bool,
    /// v2: the caller's group and its ancestors, nearest first.
    pub unified: Vec<UnifiedGroup>,
    /// Processors and memory nodes that a group of the caller's may have.
    /// Looked at only where the Spec says something of them.
    pub cpuset: Option<[NumberList; 2]>,
}

/// What a Spec makes worth looking at.
#[derive(Clone, Copy, Default)]
pub(super) struct Needs {
    /// A group to show to a machine, with controllers or without.
    pub(super) machine: bool,
    /// Where v1 groups may be made: a look at each controller's directory.
    pub(super) legacy: bool,
    /// Processors and memory nodes.
    pub(super) cpuset: bool,
}

/// A v2 group that a container's group could be put under.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct UnifiedGroup {
    /// Its directory.
    pub path: PathBuf,
    /// Controllers that its children have (`cgroup.subtree_control`).
    pub enabled: BTreeSet<String>,
    /// Whether the caller may make a child and put processes into it.
    pub writable: bool,
}

impl Cgroups {
    /// Looks at this host.
    pub(super) fn look(needs: Needs) -> Self {
        static BOUND: OnceLock<bool> = OnceLock::new();
        if !needs.legacy && !needs.cpuset && !needs.machine && *BOUND.get_or_init(bound_to_legacy) {
            return Self { layout: CgroupLayout::Legacy, ..Self::default() };
        }
        // Cgroup file systems are mounted at boot and stay.
        static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
        let mounts = MOUNTS.get_or_init(|| Mount::all(&text("/proc/self/mountinfo")));
        // On a hybrid host v2 often has no controller that a limit is made
        // with: then no group of it is of use.
        static CONTROLLERS: OnceLock<bool> = OnceLock::new();
        let unified = *CONTROLLERS.get_or_init(|| {
            mounts.iter().filter(|mount| mount.kind == "cgroup2").any(|mount| {
                let controllers = text(Path::new(&mount.point).join("cgroup.controllers"));
                controllers.split_whitespace().any(|name| ["cpu", "cpuset", "io", "memory", "pids"].contains(&name))
            })
        });
        let membership =
            if unified || needs.legacy || needs.machine { text("/proc/self/cgroup") } else { String::new() };
        Self::of(mounts, &membership, needs)
    }

    /// What `/proc/self/cgroup` says, in the mounts; looks at the directories
    /// that both name.
    fn of(mounts: &[Mount], membership: &str, needs: Needs) -> Self {
        let own: Vec<(&str, &str)> = membership
            .lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                Some((controllers, path))
            })
            .collect();
        let mut found = Self::default();
        for mount in mounts {
            if mount.kind == "cgroup2" {
                if let Some((_, path)) = own.iter().find(|(controllers, _)| controllers.is_empty()) {
                    found.unified = ancestors(mount, path);
                }
            } else if needs.legacy {
                for (controllers, path) in &own {
                    // The line of /proc/self/cgroup that has the mount's controllers.
                    let names: Vec<&str> = controllers.split(',').collect();
                    let has = |name: &&str| mount.options.iter().any(|option| option == name);
                    if names.iter().all(has) && !controllers.is_empty() {
                        let directory = mount.directory(path);
                        if writable(&directory) {
                            found.legacy.extend(names.iter().map(|name| ((*name).to_owned(), directory.clone())));
                        }
                    }
                }
            }
        }
        let memory = found.legacy.get("memory");
        found.legacy_swap = memory.is_some_and(|group| group.join("memory.memsw.limit_in_bytes").exists());
        if needs.cpuset {
            found.cpuset = found.look_at_cpuset();
        }
        let mounted = |kind: &str| mounts.iter().any(|mount| mount.kind == kind);
        found.layout = match (mounted("cgroup"), mounted("cgroup2")) {
            (false, false) => CgroupLayout::None,
            (true, false) => CgroupLayout::Legacy,
            (true, true) => CgroupLayout::Hybrid,
            (false, true) => CgroupLayout::Unified,
        };
        found
    }
}

/// Whether every controller that a limit is made with belongs to v1: then no
/// group of v2 is of use. The table of mounts says so too, but a kernel needs ten
/// times as long to write it. Not asked where v2 is mounted in its usual place.
fn bound_to_legacy() -> bool {
    let unified = nix::sys::statfs::statfs("/sys/fs/cgroup")
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC);
    !unified && all_legacy(&text("/proc/cgroups"))
}

/// The same of `/proc/cgroups` (`cgroups(7)`): its second column is 0 for who is
/// on v2, or nowhere.
fn all_legacy(table: &str) -> bool {
    let hierarchy = |wanted: &str| {
        table.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            (fields.next() == Some(wanted)).then(|| fields.next())?
        })
    };
    ["cpu", "cpuset", "blkio", "memory", "pids"].iter().all(|name| hierarchy(name).is_some_and(|number| number != "0"))
}

impl Cgroups {
    /// Whether a start could make a group here.
    pub(super) fn can_be_made(&self) -> bool {
        !self.unified.is_empty() || !self.legacy.is_empty()
    }

    /// What is in effect where a group would be made: on v2 if it can be, else
    /// on v1.
    fn look_at_cpuset(&self) -> Option<[NumberList; 2]> {
        let unified = self.unified.iter().find(|group| group.writable && group.enabled.contains("cpuset"));
        let (directory, files) = match (unified, self.legacy.get("cpuset")) {
            (Some(group), _) => (&group.path, ["cpuset.cpus.effective", "cpuset.mems.effective"]),
            (None, Some(directory)) => (directory, ["cpuset.effective_cpus", "cpuset.effective_mems"]),
            (None, None) => return None,
        };
        let [cpus, mems] = files.map(|file| NumberList::parse(text(directory.join(file)).trim()).ok());
        Some([cpus?, mems?])
    }
}

fn ancestors(mount: &Mount, own: &str) -> Vec<UnifiedGroup> {
    let top = Path::new(&mount.point);
    mount
        .directory(own)
        .ancestors()
        .take_while(|directory| directory.starts_with(top))
        .map(|directory| UnifiedGroup {
            path: directory.to_path_buf(),
            enabled: text(directory.join("cgroup.subtree_control")).split_whitespace().map(str::to_owned).collect(),
            // Moving a process needs to write the common ancestor's
            // cgroup.procs, which is this group's, for it holds the caller.
            writable: writable(directory) && writable(&directory.join("cgroup.procs")),
        })
        .collect()
}

fn writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

/// A mounted cgroup file system.
struct Mount {
    root: String,
    point: String,
    kind: String,
    options: Vec<String>,
}

impl Mount {
    fn all(mountinfo: &str) -> Vec<Self> {
        mountinfo.lines().filter_map(Self::parse).collect()
    }

    /// A cgroup line of mountinfo (`proc_pid_mountinfo(5)`).
    fn parse(line: &str) -> Option<Self> {
        // Few lines are, and this is the quicker question.
        if !line.contains(" cgroup") {
            return None;
        }
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Behind any number of optional ones.
        fields.find(|field| *field == "-")?;
        let kind = fields.next()?;
        if kind != "cgroup" && kind != "cgroup2" {
            return None;
        }
        let options = fields.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Self { root: unescape(root), point: unescape(point), kind: kind.to_owned(), options })
    }

    /// The directory of a group, whose path counts from the hierarchy's root,
    /// while the mount may show only a part of it.
    fn directory(&self, group: &str) -> PathBuf {
        let below = Path::new(group).strip_prefix(&self.root).unwrap_or_else(|_| Path::new(""));
        let below: PathBuf = super::files::plain_components(below).iter().collect();
        Path::new(&self.point).join(below)
    }
}

/// `\040` and the like.
fn unescape(field: &str) -> String {
    let mut plain = String::new();
    let mut rest = field;
    while let Some((head, tail)) = rest.split_once('\\') {
        plain.push_str(head);
        let code = tail.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = tail;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "38 31 0:35 / /nowhere/memory rw,relatime - cgroup cgroup rw,memory\n\
                      39 31 0:36 / /nowhere/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";
    const V2: &str = "41 31 0:38 / /nowhere/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn row_115_four_layouts_are_told_apart() {
        let membership = "4:memory:/a\n3:cpu,cpuacct:/\n0::/u\n";
        let layout = |mountinfo: &str| {
            Cgroups::of(&Mount::all(mountinfo), membership, Needs { machine: false, legacy: true, cpuset: true }).layout
        };
        assert_eq!(layout(""), CgroupLayout::None);
        assert_eq!(layout(V1), CgroupLayout::Legacy);
        assert_eq!(layout(V2), CgroupLayout::Unified);
        assert_eq!(layout(&format!("{V1}{V2}")), CgroupLayout::Hybrid);
    }

    #[test]
    fn a_mount_that_shows_a_part_of_the_hierarchy() {
        let line = r"1 2 0:3 /docker/x /sys/fs/c\040g rw - cgroup2 cgroup2 rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.directory("/docker/x/y"), Path::new("/sys/fs/c g/y"));
        assert_eq!(mount.directory("/../../etc"), Path::new("/sys/fs/c g"));
    }

    /// One that is missing may be on v2 (Linux lists only what can be on v1).
    #[test]
    fn controllers_of_v1_are_told_without_a_look_at_the_mounts() {
        let table = |number: [u8; 5]| {
            let [cpu, cpuset, blkio, memory, pids] = number;
            format!(
                "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t{cpuset}\t1\t1\ncpu\t{cpu}\t1\t1\nblkio\t{blkio}\t1\t1\nmemory\t{memory}\t30\t1\nnet_cls\t0\t3\t1\npids\t{pids}\t1\t1\n"
            )
        };
        assert!(all_legacy(&table([1, 3, 7, 4, 8])));
        for one in 0..5 {
            let mut numbers = [1, 3, 7, 4, 8];
            numbers[one] = 0;
            assert!(!all_legacy(&table(numbers)), "{numbers:?}");
        }
        assert!(!all_legacy(&table([1, 3, 7, 4, 8]).replace("pids", "pods")));
        assert!(!all_legacy("") && !all_legacy("cpu\ncpuset\nblkio\nmemory\npids\n"));
        // The long way says the same of this host.
        if bound_to_legacy() {
            let found = Cgroups::look(Needs { machine: false, legacy: true, cpuset: false });
            assert!(matches!(found.layout, CgroupLayout::Legacy | CgroupLayout::Hybrid), "{:?}", found.layout);
            let limits = ["cpu", "cpuset", "io", "memory", "pids"];
            assert!(!found.unified.iter().any(|group| limits.iter().any(|name| group.enabled.contains(*name))));
        }
    }

    #[test]
    fn noise_is_no_cgroup() {
        for noise in ["", " - ", "a b c d e - cgroup2", "\u{0} - cgroup \\777 x"] {
            assert_eq!(
                Cgroups::of(&Mount::all(noise), noise, Needs { machine: false, legacy: true, cpuset: true }).layout,
                CgroupLayout::None,
                "{noise:?}"
            );
        }
    }
}
