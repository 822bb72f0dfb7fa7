//! The checker: nothing unverified ever runs.
//!
//! [`verify`] looks at a plan as an attacker on the compiler would: it knows
//! nothing of the [`crate::Spec`], decodes every op, follows every slot in the
//! table of the process that uses it, and holds the result against [`rules`].
//! A rule is one small function over that view; a test breaks each of them.
//!
//! What it guarantees, for every plan that [`Verified`] holds:
//!
//! | rule | name | guarantee |
//! |---|---|---|
//! | 1 | `adopt-first` | The child's first op closes every descriptor that the plan did not give it. |
//! | 2 | `await-before-work` | The child changes nothing before the other side has mapped its ids, limited it and let it go. |
//! | 3 | `private-first` | The first call about mounts makes the whole tree private, so that none spreads to the host. |
//! | 4 | `dumpable-before-ids` | Directly after the wait, and before any id changes, the child hides its memory; nothing shows it again. |
//! | 5 | `setgroups-before-maps` | A user namespace gets one group map and one user map, setgroups is denied before them where one id is mapped, groups before users. |
//! | 6 | `release-last` | The child is let go exactly once, after everything that the embedder does for it. |
//! | 7 | `pivot-then-detach` | The root is switched by one pivot_root from the finished root, and the old root, with what was built on below it, is detached and proved gone at once. |
//! | 8 | `no-mount-after-switch` | Nothing is mounted, cloned or moved once the root is switched. |
//! | 9 | `mask-after-caller-mounts` | After the first mask only masks and read-only covers are attached, so that nothing lies over a mask. |
//! | 10 | `attach-to-descriptors` | A detached tree is attached once, to a descriptor or to a name that the plan made in a tmpfs of its own, a mask also to a name in a procfs or sysfs of its own; only the building tmpfs goes onto a path. |
//! | 11 | `one-component-creation` | Before the switch entries are made below descriptors, one component at a time. |
//! | 12 | `paths-confined` | No path follows a magic link, and a path below a descriptor cannot leave it. |
//! | 13 | `source-proved` | A file found by a path of the host is proved by the very next op. |
//! | 14 | `clones-confined` | A copy of a host tree is made of a proved inode and is private (but for that of rule 91) and, but for the root of a machine (profile `nspawn`), nosuid, with all below it, before anybody can reach it. |
//! | 15 | `tmpfs-bounded` | Every tmpfs has a limit of bytes and of files, and a mode of the plan's. |
//! | 16 | `mounts-nosuid` | No file system of ours honours set-user-id but the root of a machine (profile `nspawn`); proc, sysfs and mqueue nothing at all, and sysfs is read-only. |
//! | 17 | `ids-order` | Groups change before the group id, and that before the user id. |
//! | 18 | `caps-order` | Bounding set, securebits, ids, capability sets, ambient set, no_new_privs, proof: each once, in this order. |
//! | 19 | `credentials-proved` | What was set is read back from the kernel, value by value, and nothing changes it before the exec. |
//! | 20 | `no-op-after-filter-but-exec` | The filter is whole and the last thing before the exec, but for the handing over of its listener; without no_new_privs only what gives up privileges follows. |
//! | 21 | `filter-before-admin-goes` | Without no_new_privs the filter is installed while CAP_SYS_ADMIN is there. |
//! | 22 | `exec-last` | The payload's phase ends in one exec, announced directly before; nothing else executes. |
//! | 23 | `inheritable-is-ambient` | The inheritable set is the ambient one, within the permitted one, within the bounding set. |
//! | 24 | `attributes-reset` | Session, signals, umask, personality and all 16 limits are set before the exec. |
//! | 25 | `spawn-last` | The one clone is the last op before the child exists. |
//! | 26 | `stub-init-confined` | A stub init is process 1, holds two descriptors, no more rights than the payload, its own filter, and hidden memory. |
//! | 27 | `slots-filled` | Every slot that an op reads was filled before, by the same process, with what the op needs. |
//! | 28 | `phases-own-ops` | No op that would change the embedding process runs in it, and none of the embedder's runs in the child. |
//! | 29 | `no-stand-in` | No op stands in for another, in the phases, the undo or the watcher's ops. |
//! | 30 | `kernel-fs-proved` | A new procfs or sysfs is proved to be one and goes onto a real directory directly below the root; of sysfs a machine sees a few directories, on a read-only /sys. |
//! | 31 | `writes-through-proved-handles` | Files of the kernel are written below a handle proved to be cgroup, the child's own /proc directory, or our own procfs. |
//! | 32 | `undo-of-everything-made` | Whatever the embedder makes has an undo, in the order that works, and the watcher knows of it before it is made; no process outlives the container. |
//! | 33 | `nested-userns-forbidden` | In a user namespace of its own the container can make no further one, but for a machine (profile `nspawn`). |
//! | 34 | `namespaces-complete` | The mount namespace is always new, and every kind that the clone leaves out is entered by one unshare. |
//! | 35 | `own-namespace-only` | Hostname, interfaces, sysfs and mqueue are touched only in a namespace of the container's own; lo and sysfs also in a network that it enters, and parts of sysfs where a machine may set the caller's network, as the report says. |
//! | 36 | `plan-is-readable` | Every byte of the plan, its undo and its watcher's ops is part of an op, as many as it says. |
//! | 37 | `descriptors-passed` | The payload gets descriptors 0, 1 and 2, each once, from the slots of its streams or its terminal, and no other. |
//! | 38 | `keep-is-the-childs` | The child is given streams, its ends of sockets and confined clones: no open directory of the host, no end of the embedder's. |
//! | 39 | `nothing-of-the-tree-after-switch` | After the switch no tree descriptor is used and no file of the tree is opened or made but the notification socket. |
//! | 40 | `attributes-only-added` | Mount attributes are only added, and propagation is private or left alone, but for the spread within the container that the report names, after the switch, and what rule 91 lets in. |
//! | 41 | `options-known` | Only known file systems with known options are made, one mount of each; an overlay lies over a read-only clone, its paths are words of ours. |
//! | 42 | `devpts-own` | A devpts is a new instance, whose terminals are their user's, and the group's that the report names. |
//! | 43 | `devices-listed` | A device node is cloned alone, read-only, and proved to be one of the list. |
//! | 44 | `masks-are-ours` | What masks is an empty file or directory without permissions that the plan made, read-only before the first use. |
//! | 45 | `born-limited` | Every cgroup that is made is of use and holds the child before it may go on. |
//! | 46 | `one-conversation` | Wait, release, announcement and descriptors use the two ends of one socket pair, which the runner listens to; the lifeline is another. |
//! | 47 | `maps-valid` | Id maps have extents of at least one id that neither overflow nor overlap. |
//! | 48 | `groups-dropped` | The caller's supplementary groups are replaced, or setgroups is denied for good. |
//! | 49 | `no-grant-locked` | Without a capability in the bounding set all securebits are locked; with one, keep-caps does not outlive the exec. |
//! | 50 | `helpers-proved` | newuidmap and newgidmap are opened files of root that nobody else may write. |
//! | 51 | `report-is-true` | What the report says is applied is in the plan, and the report says what is not. |
//! | 52 | `proc-sys-read-only` | /proc/sys is covered by itself, read-only, with all below it. |
//! | 53 | `nodev-everywhere` | No device node can be opened on any mount but the listed nodes, our own devpts, and the root of a machine (profile `nspawn`). |
//! | 54 | `working-directory-as-payload` | The working directory is entered by one absolute path, with the payload's ids. |
//! | 55 | `one-tree-per-place` | A place takes one tree; for the next one a place is opened anew. |
//! | 56 | `everything-attached` | Every mount and every clone that is made is attached. |
//! | 57 | `made-then-opened` | A directory or file that is made in a tree is opened by the next op, for it may have been there as something else. |
//! | 58 | `clones-before-building` | Trees of the host are cloned before anything is attached, so that no clone shows what is built, or hides what it should show. |
//! | 59 | `notify-in-own-tmpfs` | The notification socket is never made in a tree of the host, and says of each message who sent it. |
//! | 60 | `files-in-own-ramfs` | Secrets and files of the plan are made in a ramfs of its own, without programs, and copied only once nothing can write it. |
//! | 61 | `mounts-as-reported` | Every mount that the report names is made at that place, with the attributes that the report gives it, of a source that is found as the report says. |
//! | 62 | `devices-closed` | A device policy denies everything but the usual devices and those that the report names, for the child's own cgroup. |
//! | 63 | `descriptors-sent` | The child sends the embedder no descriptor but those that it expects, each once, of the kind that it expects. |
//! | 64 | `floor-as-reported` | Every call of the filter's floor that the payload's filter lets through is named in the report. |
//! | 65 | `terminal-own` | A terminal is of the container's own devpts and never found by a path; it is the payload's user's, its session's and its console, and only the embedder holds the other end. |
//! | 66 | `delegated-as-said` | Nothing of a cgroup is handed over but its three files of delegation, to the ids that the report names. |
//! | 67 | `held-when-made` | A child that is held waits once all is made, says so, and does nothing more in common afterwards. |
//! | 68 | `joined-proved` | A namespace of somebody else is proved to be of its kind before it is joined, and is none that the container makes. |
//! | 69 | `enters-whole` | A plan that enters a container joins every namespace of its process 1 and makes none, first of all, and proves the root that it gets. |
//! | 70 | `born-confined` | A process is brought into a container with hidden memory and no more rights than the payload's, waits until the embedder holds it, and whoever brought it ends. |
//! | 71 | `entered-as-reported` | What the report of an exec says of filter, privileges, keyring and groups is in the plan, in a session of its own. |
//! | 72 | `listener-handed-over` | A listener is the payload's filter's, is sent and let go of at once, is never asked about what still comes before the exec, and the report says what it is asked about. |
//! | 73 | `landlock-in-force` | Landlock rules are for paths inside, restrict the process after no_new_privs and before its filter, and the report says how far. |
//! | 74 | `scheduled-as-reported` | Processors, policy and priorities are set for the child and nobody else, each once, as the report says. |
//! | 75 | `sysctls-own` | A sysctl is set only where a namespace of the container's own has it, as the report says. |
//! | 76 | `registered-and-removed` | The one file that the embedder makes is the container's name in a directory of the user's alone; undo and watcher remove it, the watcher before it ends the container. |
//! | 77 | `architectures-as-reported` | A filter lets calls through of the machine's own ABI only, the payload's also of those that the report names. |
//! | 78 | `init-confined-first` | Under a stub init the payload's process does nothing before the stub init has said that it is confined, and after that word the stub init only lets go and reaps. |
//! | 79 | `covers-in-place` | Every kernel file of the profile is masked, covered read-only or named as absent, and what else is masked or covered is what the report names. |
//! | 80 | `trees-as-reported` | A tree of the host is attached where the report or the profile names it, and can be written, or shows mapped ids, only where the report says so; a root of layers has those that it names, and is changed where it says. |
//! | 81 | `no-programs-in-dev` | Nothing that the plan itself mounts on /dev or below lets programs be executed. |
//! | 82 | `modes-tight` | Nothing that the plan makes can be written by others but a sticky directory, and secrets and their directory are the payload's, which no other can read; records of the host's users stay root's. |
//! | 83 | `limits-as-reported` | Resource limits, the limits of a cgroup and the sizes of a tmpfs are those that the report or the profile says. |
//! | 84 | `nothing-left-open` | What the embedder opens for a moment of the start is closed by the plan. |
//! | 85 | `given-as-reported` | The one tree that is given to other ids before the start is the root's own, for the range that the container maps, and the report says so. |
//! | 86 | `links-as-reported` | Interfaces are made, moved and addressed as the report says: inside in the container's own network alone, outside those that the plan makes or the report names and no other. |
//! | 87 | `links-taken-back` | Every interface that is made outside says whose it is, and undo and watcher take it back; one that is moved in comes back by its number. |
//! | 88 | `ports-as-reported` | What is published are the ports of the report, to the container's addresses; the rules are those of its own tables, which go with their socket. |
//! | 89 | `host-interface-closed` | /run/host of a machine is a mount of its own, read-only once all of it is there; what is made in it are files of ours, nodes that nobody can use, and a FIFO over the kernel's log that the embedder holds. |
//! | 90 | `success-as-reported` | A filter says of no call that it is done which does not run, but of those that write data out and that the report names. |
//! | 91 | `incoming-one-way` | Mounts of the host come into a machine by the one directory that bears its name, read-only inside, and none goes back. |
//! | 92 | `removed-as-reported` | Nothing is removed from a tree but /etc/resolv.conf and /etc/localtime of a machine, where the report says so. |
//! | 93 | `named-and-removed` | What bears a machine's name on the host are the directories that the report says, of root alone; undo and watcher take them away, the watcher before it gives the name back. |
//! | 94 | `export-as-reported` | All that is mounted on the host is one tmpfs by which a machine's sockets are reached: on its own directory, read-only there, of the size and of the root that the report says, and it goes with the machine. |
//!
//! A plan that brings a process into a container ([`crate::compile_exec`]) keeps
//! those of them that are about processes; it has no op to do anything else.
//!
//! What it does not: it cannot see what the caller asked for. A plan that binds
//! another directory than the Spec names, or drops fewer capabilities than it
//! says, verifies as long as it is consistent in itself. Golden plans and
//! [`crate::rehearse`] hold that half.

mod rules;
#[cfg(test)]
mod tests;
mod view;
mod walk;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use rules::Findings;
use view::View;

/// A property that every plan has, by number and name.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Its number, which never changes its meaning.
    pub number: u16,
    /// Its name, as errors give it.
    pub name: &'static str,
    /// The rows of the attack catalogue that it answers.
    pub rows: &'static [u16],
    /// What it guarantees, in one sentence.
    pub says: &'static str,
    check: fn(&View<'_>, &mut Findings),
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.name)
    }
}

/// Every rule, by number.
#[must_use]
pub const fn rules() -> &'static [Rule] {
    rules::RULES
}

/// One place where a plan breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// Number of the rule.
    pub rule: u16,
    /// Its name.
    pub name: &'static str,
    /// Index of the op that breaks it; `None` where the plan lacks something.
    pub op: Option<u32>,
    /// How.
    pub why: String,
}

/// Prints as `7 pivot-then-detach: op 253 …`.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.rule, self.name)?;
        if let Some(op) = self.op {
            write!(f, "op {op} ")?;
        }
        f.write_str(&self.why)
    }
}

/// Everything that `plan` breaks, by rule.
///
/// Never panics and reads nothing but the plan: it may be a plan that somebody
/// made up, or took from a file.
#[must_use]
pub fn violations(plan: &Plan) -> Vec<Violation> {
    let view = View::of_plan(plan);
    let mut all = Vec::new();
    let entering = view.enters();
    for rule in rules().iter().filter(|rule| !entering || rules::ENTERING.contains(&rule.number)) {
        let mut found = Findings::default();
        (rule.check)(&view, &mut found);
        let of_rule = found.0.into_iter().map(|(op, why)| Violation { rule: rule.number, name: rule.name, op, why });
        all.extend(of_rule);
    }
    all
}

/// A plan that breaks no rule. There is no other way to run one.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub struct Verified(Plan);

impl Verified {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0
    }

    pub(crate) fn into_plan(self) -> Plan {
        self.0
    }

    /// The same plan, with one op that fails: it can only do less.
    pub(crate) fn with_fault(&self, index: u32, errno: skep_sys::Errno) -> Self {
        Self(self.0.with_fault(index, errno))
    }
}

/// Checks a plan against every rule.
///
/// # Errors
///
/// [`ErrorKind::Unverified`], which names every rule that is broken and the
/// first place where.
pub fn verify(plan: Plan) -> Result<Verified> {
    let broken = violations(&plan);
    if broken.is_empty() {
        return Ok(Verified(plan));
    }
    // One place a rule is enough to find the defect.
    let mut last = None;
    let first = broken.iter().filter(|violation| last.replace(violation.rule) != Some(violation.rule));
    let text: Vec<String> = first.map(Violation::to_string).collect();
    Err(Error::new(ErrorKind::Unverified, format!("the plan breaks {}", text.join("; ")))
        .remedy("This is a defect of the library: please report it with the plan."))
}
