//! The rules, split by idea.

mod attributes;
mod contents;
mod credentials;
mod devices;
mod entering;
mod export;
mod files;
mod filter;
mod frame;
mod groups;
mod host;
mod ids;
mod incoming;
mod interface;
mod landlock;
mod links;
mod mounts;
mod named;
mod options;
mod process;
mod registry;
mod report;
mod reported;
mod switch;
mod terminal;

use skep_sys::OpKind;

use super::Rule;
use super::view::{Line, Seen, View};
use crate::plan::Phase;

/// What a rule has found.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<(Option<u32>, String)>);

impl Findings {
    /// An op breaks the rule.
    fn at(&mut self, seen: &Seen<'_>, why: impl Into<String>) {
        self.0.push((Some(seen.index), why.into()));
    }

    /// The plan lacks something.
    fn plan(&mut self, why: impl Into<String>) {
        self.0.push((None, why.into()));
    }

    /// The plan breaks the rule unless `holds`.
    fn unless(&mut self, holds: bool, why: &str) {
        if !holds {
            self.plan(why);
        }
    }
}

/// Asks for the op of a kind that a phase has exactly once.
fn the_one<'v, 'a>(view: &'v View<'a>, kind: OpKind, phase: Phase, found: &mut Findings) -> Option<&'v Seen<'a>> {
    exactly_one(view.of_in(kind, phase), kind, phase, found)
}

/// Asks for the op of a kind that a process of the container performs exactly
/// once from the root switch on.
fn once<'v, 'a>(line: Line<'v, 'a>, kind: OpKind, found: &mut Findings) -> Option<&'v Seen<'a>> {
    exactly_one(line.of(kind), kind, line.process, found)
}

fn exactly_one<'v, 'a: 'v>(
    mut all: impl Iterator<Item = &'v Seen<'a>>,
    kind: OpKind,
    who: Phase,
    found: &mut Findings,
) -> Option<&'v Seen<'a>> {
    let one = all.next();
    if one.is_none() {
        found.plan(format!("{} has no {}", who.name(), kind.name()));
    }
    for more in all {
        found.at(more, format!("{} has a second {}", who.name(), kind.name()));
    }
    one
}

const fn rule(
    number: u16,
    name: &'static str,
    rows: &'static [u16],
    says: &'static str,
    check: fn(&View<'_>, &mut Findings),
) -> Rule {
    Rule { number, name, rows, says, check }
}

/// The numbers of those that hold for a plan that enters a container.
pub(super) use entering::HOLDS as ENTERING;

/// Every rule, by number.
pub(super) const RULES: &[Rule] = &[
    rule(
        1,
        "adopt-first",
        &[24, 25],
        "The child's first op closes every descriptor that the plan did not give it.",
        frame::adopt_first,
    ),
    rule(
        2,
        "await-before-work",
        &[43, 68],
        "The child changes nothing before the other side has mapped its ids, limited it and let it go.",
        frame::await_before_work,
    ),
    rule(
        3,
        "private-first",
        &[56],
        "The first call about mounts makes the whole tree private, so that none spreads to the host.",
        mounts::private_first,
    ),
    rule(
        4,
        "dumpable-before-ids",
        &[50],
        "Directly after the wait, and before any id changes, the child hides its memory; nothing shows it again.",
        ids::dumpable_before_ids,
    ),
    rule(
        5,
        "setgroups-before-maps",
        &[41],
        "A user namespace gets one group map and one user map, setgroups is denied before them where one id is mapped, groups before users.",
        ids::setgroups_before_maps,
    ),
    rule(
        6,
        "release-last",
        &[43, 68],
        "The child is let go exactly once, after everything that the embedder does for it.",
        frame::release_last,
    ),
    rule(
        7,
        "pivot-then-detach",
        &[15],
        "The root is switched by one pivot_root from the finished root, and the old root, with what was built on below it, is detached and proved gone at once.",
        switch::pivot_then_detach,
    ),
    rule(
        8,
        "no-mount-after-switch",
        &[15, 17],
        "Nothing is mounted, cloned or moved once the root is switched.",
        switch::no_mount_after_switch,
    ),
    rule(
        9,
        "mask-after-caller-mounts",
        &[60],
        "After the first mask only masks and read-only covers are attached, so that nothing lies over a mask.",
        switch::mask_after_caller_mounts,
    ),
    rule(
        10,
        "attach-to-descriptors",
        &[1, 59],
        "A detached tree is attached once, to a descriptor or to a name that the plan made in a tmpfs of its own, a mask also to a name in a procfs or sysfs of its own; only the building tmpfs goes onto a path.",
        mounts::attach_to_descriptors,
    ),
    rule(
        11,
        "one-component-creation",
        &[2, 12],
        "Before the switch entries are made below descriptors, one component at a time.",
        files::one_component_creation,
    ),
    rule(
        12,
        "paths-confined",
        &[1, 9, 11],
        "No path follows a magic link, and a path below a descriptor cannot leave it.",
        files::paths_confined,
    ),
    rule(
        13,
        "source-proved",
        &[10, 13],
        "A file found by a path of the host is proved by the very next op.",
        files::source_proved,
    ),
    rule(
        14,
        "clones-confined",
        &[52, 57, 59],
        "A copy of a host tree is made of a proved inode and is private (but for that of rule 91) and, but for the root of a machine (profile `nspawn`), nosuid, with all below it, before anybody can reach it.",
        mounts::clones_confined,
    ),
    rule(
        15,
        "tmpfs-bounded",
        &[72],
        "Every tmpfs has a limit of bytes and of files, and a mode of the plan's.",
        mounts::tmpfs_bounded,
    ),
    rule(
        16,
        "mounts-nosuid",
        &[52, 65],
        "No file system of ours honours set-user-id but the root of a machine (profile `nspawn`); proc, sysfs and mqueue nothing at all, and sysfs is read-only.",
        mounts::mounts_nosuid,
    ),
    rule(
        17,
        "ids-order",
        &[47, 48],
        "Groups change before the group id, and that before the user id.",
        credentials::ids_order,
    ),
    rule(
        18,
        "caps-order",
        &[36, 48],
        "Bounding set, securebits, ids, capability sets, ambient set, no_new_privs, proof: each once, in this order.",
        credentials::caps_order,
    ),
    rule(
        19,
        "credentials-proved",
        &[38, 39, 47],
        "What was set is read back from the kernel, value by value, and nothing changes it before the exec.",
        credentials::credentials_proved,
    ),
    rule(
        20,
        "no-op-after-filter-but-exec",
        &[99, 103],
        "The filter is whole and the last thing before the exec, but for the handing over of its listener; without no_new_privs only what gives up privileges follows.",
        credentials::no_op_after_filter,
    ),
    rule(
        21,
        "filter-before-admin-goes",
        &[99],
        "Without no_new_privs the filter is installed while CAP_SYS_ADMIN is there.",
        credentials::filter_before_admin_goes,
    ),
    rule(
        22,
        "exec-last",
        &[31, 99],
        "The payload's phase ends in one exec, announced directly before; nothing else executes.",
        frame::exec_last,
    ),
    rule(
        23,
        "inheritable-is-ambient",
        &[33, 34, 35],
        "The inheritable set is the ambient one, within the permitted one, within the bounding set.",
        credentials::inheritable_is_ambient,
    ),
    rule(
        24,
        "attributes-reset",
        &[84, 117, 138],
        "Session, signals, umask, personality and all 16 limits are set before the exec.",
        process::attributes_reset,
    ),
    rule(25, "spawn-last", &[145], "The one clone is the last op before the child exists.", frame::spawn_last),
    rule(
        26,
        "stub-init-confined",
        &[25, 100, 119],
        "A stub init is process 1, holds two descriptors, no more rights than the payload, its own filter, and hidden memory.",
        process::stub_init_confined,
    ),
    rule(
        27,
        "slots-filled",
        &[30],
        "Every slot that an op reads was filled before, by the same process, with what the op needs.",
        host::slots_filled,
    ),
    rule(
        28,
        "phases-own-ops",
        &[138, 139],
        "No op that would change the embedding process runs in it, and none of the embedder's runs in the child.",
        host::phases_own_ops,
    ),
    rule(
        29,
        "no-stand-in",
        &[147],
        "No op stands in for another, in the phases, the undo or the watcher's ops.",
        host::no_stand_in,
    ),
    rule(
        30,
        "kernel-fs-proved",
        &[3, 7, 86],
        "A new procfs or sysfs is proved to be one and goes onto a real directory directly below the root; of sysfs a machine sees a few directories, on a read-only /sys.",
        switch::kernel_fs_proved,
    ),
    rule(
        31,
        "writes-through-proved-handles",
        &[7, 43, 77],
        "Files of the kernel are written below a handle proved to be cgroup, the child's own /proc directory, or our own procfs.",
        files::writes_through_proved_handles,
    ),
    rule(
        32,
        "undo-of-everything-made",
        &[118, 121],
        "Whatever the embedder makes has an undo, in the order that works, and the watcher knows of it before it is made; no process outlives the container.",
        groups::undo_of_everything_made,
    ),
    rule(
        33,
        "nested-userns-forbidden",
        &[78],
        "In a user namespace of its own the container can make no further one, but for a machine (profile `nspawn`).",
        switch::nested_userns_forbidden,
    ),
    rule(
        34,
        "namespaces-complete",
        &[56, 88],
        "The mount namespace is always new, and every kind that the clone leaves out is entered by one unshare.",
        frame::namespaces_complete,
    ),
    rule(
        35,
        "own-namespace-only",
        &[65, 87, 138],
        "Hostname, interfaces, sysfs and mqueue are touched only in a namespace of the container's own; lo and sysfs also in a network that it enters, and parts of sysfs where a machine may set the caller's network, as the report says.",
        frame::own_namespace_only,
    ),
    rule(
        36,
        "plan-is-readable",
        &[145],
        "Every byte of the plan, its undo and its watcher's ops is part of an op, as many as it says.",
        host::plan_is_readable,
    ),
    rule(
        37,
        "descriptors-passed",
        &[24, 29],
        "The payload gets descriptors 0, 1 and 2, each once, from the slots of its streams or its terminal, and no other.",
        frame::descriptors_passed,
    ),
    rule(
        38,
        "keep-is-the-childs",
        &[26, 29, 31],
        "The child is given streams, its ends of sockets and confined clones: no open directory of the host, no end of the embedder's.",
        frame::keep_is_the_childs,
    ),
    rule(
        39,
        "nothing-of-the-tree-after-switch",
        &[17, 26],
        "After the switch no tree descriptor is used and no file of the tree is opened or made but the notification socket.",
        switch::nothing_of_the_tree_after_switch,
    ),
    rule(
        40,
        "attributes-only-added",
        &[56, 58],
        "Mount attributes are only added, and propagation is private or left alone, but for the spread within the container that the report names, after the switch, and what rule 91 lets in.",
        mounts::attributes_only_added,
    ),
    rule(
        41,
        "options-known",
        &[19, 71],
        "Only known file systems with known options are made, one mount of each; an overlay lies over a read-only clone, its paths are words of ours.",
        options::options_known,
    ),
    rule(
        42,
        "devpts-own",
        &[6, 71],
        "A devpts is a new instance, whose terminals are their user's, and the group's that the report names.",
        options::devpts_own,
    ),
    rule(
        43,
        "devices-listed",
        &[69],
        "A device node is cloned alone, read-only, and proved to be one of the list.",
        mounts::devices_listed,
    ),
    rule(
        44,
        "masks-are-ours",
        &[4, 5],
        "What masks is an empty file or directory without permissions that the plan made, read-only before the first use.",
        switch::masks_are_ours,
    ),
    rule(
        45,
        "born-limited",
        &[68, 113],
        "Every cgroup that is made is of use and holds the child before it may go on.",
        groups::born_limited,
    ),
    rule(
        46,
        "one-conversation",
        &[31, 122],
        "Wait, release, announcement and descriptors use the two ends of one socket pair, which the runner listens to; the lifeline is another.",
        frame::one_conversation,
    ),
    rule(
        47,
        "maps-valid",
        &[44],
        "Id maps have extents of at least one id that neither overflow nor overlap.",
        ids::maps_valid,
    ),
    rule(
        48,
        "groups-dropped",
        &[41, 48],
        "The caller's supplementary groups are replaced, or setgroups is denied for good.",
        ids::groups_dropped,
    ),
    rule(
        49,
        "no-grant-locked",
        &[40],
        "Without a capability in the bounding set all securebits are locked; with one, keep-caps does not outlive the exec.",
        credentials::no_grant_locked,
    ),
    rule(
        50,
        "helpers-proved",
        &[46],
        "newuidmap and newgidmap are opened files of root that nobody else may write.",
        ids::helpers_proved,
    ),
    rule(
        51,
        "report-is-true",
        &[102, 146],
        "What the report says is applied is in the plan, and the report says what is not.",
        report::report_is_true,
    ),
    rule(
        52,
        "proc-sys-read-only",
        &[42, 63, 64],
        "/proc/sys is covered by itself, read-only, with all below it.",
        switch::proc_sys_read_only,
    ),
    rule(
        53,
        "nodev-everywhere",
        &[70],
        "No device node can be opened on any mount but the listed nodes, our own devpts, and the root of a machine (profile `nspawn`).",
        mounts::nodev_everywhere,
    ),
    rule(
        54,
        "working-directory-as-payload",
        &[9, 17],
        "The working directory is entered by one absolute path, with the payload's ids.",
        process::working_directory,
    ),
    rule(
        55,
        "one-tree-per-place",
        &[5, 60],
        "A place takes one tree; for the next one a place is opened anew.",
        mounts::one_tree_per_place,
    ),
    rule(
        56,
        "everything-attached",
        &[5, 145],
        "Every mount and every clone that is made is attached.",
        mounts::everything_attached,
    ),
    rule(
        57,
        "made-then-opened",
        &[2],
        "A directory or file that is made in a tree is opened by the next op, for it may have been there as something else.",
        files::made_then_opened,
    ),
    rule(
        58,
        "clones-before-building",
        &[13, 15],
        "Trees of the host are cloned before anything is attached, so that no clone shows what is built, or hides what it should show.",
        mounts::clones_before_building,
    ),
    rule(
        59,
        "notify-in-own-tmpfs",
        &[12, 53],
        "The notification socket is never made in a tree of the host, and says of each message who sent it.",
        switch::notify_in_own_tmpfs,
    ),
    rule(
        60,
        "files-in-own-ramfs",
        &[128, 136],
        "Secrets and files of the plan are made in a ramfs of its own, without programs, and copied only once nothing can write it.",
        contents::files_in_own_ramfs,
    ),
    rule(
        61,
        "mounts-as-reported",
        &[10, 52, 59, 146],
        "Every mount that the report names is made at that place, with the attributes that the report gives it, of a source that is found as the report says.",
        contents::mounts_as_reported,
    ),
    rule(
        62,
        "devices-closed",
        &[69],
        "A device policy denies everything but the usual devices and those that the report names, for the child's own cgroup.",
        devices::devices_closed,
    ),
    rule(
        63,
        "descriptors-sent",
        &[26, 31],
        "The child sends the embedder no descriptor but those that it expects, each once, of the kind that it expects.",
        frame::descriptors_sent,
    ),
    rule(
        64,
        "floor-as-reported",
        &[91, 94, 96, 109],
        "Every call of the filter's floor that the payload's filter lets through is named in the report.",
        filter::floor_as_reported,
    ),
    rule(
        65,
        "terminal-own",
        &[6, 85, 145],
        "A terminal is of the container's own devpts and never found by a path; it is the payload's user's, its session's and its console, and only the embedder holds the other end.",
        terminal::terminal_own,
    ),
    rule(
        66,
        "delegated-as-said",
        &[68],
        "Nothing of a cgroup is handed over but its three files of delegation, to the ids that the report names.",
        groups::delegated_as_said,
    ),
    rule(
        67,
        "held-when-made",
        &[43, 68],
        "A child that is held waits once all is made, says so, and does nothing more in common afterwards.",
        frame::held_when_made,
    ),
    rule(
        68,
        "joined-proved",
        &[17, 88],
        "A namespace of somebody else is proved to be of its kind before it is joined, and is none that the container makes.",
        frame::joined_proved,
    ),
    rule(
        69,
        "enters-whole",
        &[32, 50, 88],
        "A plan that enters a container joins every namespace of its process 1 and makes none, first of all, and proves the root that it gets.",
        entering::enters_whole,
    ),
    rule(
        70,
        "born-confined",
        &[33, 50, 51, 118],
        "A process is brought into a container with hidden memory and no more rights than the payload's, waits until the embedder holds it, and whoever brought it ends.",
        entering::born_confined,
    ),
    rule(
        71,
        "entered-as-reported",
        &[102, 146],
        "What the report of an exec says of filter, privileges, keyring and groups is in the plan, in a session of its own.",
        entering::entered_as_reported,
    ),
    rule(
        72,
        "listener-handed-over",
        &[99, 104],
        "A listener is the payload's filter's, is sent and let go of at once, is never asked about what still comes before the exec, and the report says what it is asked about.",
        filter::listener_handed_over,
    ),
    rule(
        73,
        "landlock-in-force",
        &[73, 107, 108],
        "Landlock rules are for paths inside, restrict the process after no_new_privs and before its filter, and the report says how far.",
        landlock::landlock_in_force,
    ),
    rule(
        74,
        "scheduled-as-reported",
        &[138],
        "Processors, policy and priorities are set for the child and nobody else, each once, as the report says.",
        attributes::scheduled_as_reported,
    ),
    rule(
        75,
        "sysctls-own",
        &[42, 63, 64],
        "A sysctl is set only where a namespace of the container's own has it, as the report says.",
        attributes::sysctls_own,
    ),
    rule(
        76,
        "registered-and-removed",
        &[68],
        "The one file that the embedder makes is the container's name in a directory of the user's alone; undo and watcher remove it, the watcher before it ends the container.",
        registry::registered_and_removed,
    ),
    rule(
        77,
        "architectures-as-reported",
        &[91, 97, 105],
        "A filter lets calls through of the machine's own ABI only, the payload's also of those that the report names.",
        filter::architectures_as_reported,
    ),
    rule(
        78,
        "init-confined-first",
        &[23, 50],
        "Under a stub init the payload's process does nothing before the stub init has said that it is confined, and after that word the stub init only lets go and reaps.",
        frame::init_confined_first,
    ),
    rule(
        79,
        "covers-in-place",
        &[4, 5, 60],
        "Every kernel file of the profile is masked, covered read-only or named as absent, and what else is masked or covered is what the report names.",
        reported::covers_in_place,
    ),
    rule(
        80,
        "trees-as-reported",
        &[51, 58],
        "A tree of the host is attached where the report or the profile names it, and can be written, or shows mapped ids, only where the report says so; a root of layers has those that it names, and is changed where it says.",
        reported::trees_as_reported,
    ),
    rule(
        81,
        "no-programs-in-dev",
        &[70],
        "Nothing that the plan itself mounts on /dev or below lets programs be executed.",
        reported::no_programs_in_dev,
    ),
    rule(
        82,
        "modes-tight",
        &[12, 53],
        "Nothing that the plan makes can be written by others but a sticky directory, and secrets and their directory are the payload's, which no other can read; records of the host's users stay root's.",
        reported::modes_tight,
    ),
    rule(
        83,
        "limits-as-reported",
        &[68, 113],
        "Resource limits, the limits of a cgroup and the sizes of a tmpfs are those that the report or the profile says.",
        reported::limits_as_reported,
    ),
    rule(
        84,
        "nothing-left-open",
        &[24, 138],
        "What the embedder opens for a moment of the start is closed by the plan.",
        frame::nothing_left_open,
    ),
    rule(
        85,
        "given-as-reported",
        &[42],
        "The one tree that is given to other ids before the start is the root's own, for the range that the container maps, and the report says so.",
        reported::given_as_reported,
    ),
    rule(
        86,
        "links-as-reported",
        &[74, 76, 146],
        "Interfaces are made, moved and addressed as the report says: inside in the container's own network alone, outside those that the plan makes or the report names and no other.",
        links::links_as_reported,
    ),
    rule(
        87,
        "links-taken-back",
        &[138],
        "Every interface that is made outside says whose it is, and undo and watcher take it back; one that is moved in comes back by its number.",
        links::links_taken_back,
    ),
    rule(
        88,
        "ports-as-reported",
        &[74, 146],
        "What is published are the ports of the report, to the container's addresses; the rules are those of its own tables, which go with their socket.",
        links::ports_as_reported,
    ),
    rule(
        89,
        "host-interface-closed",
        &[62, 69],
        "/run/host of a machine is a mount of its own, read-only once all of it is there; what is made in it are files of ours, nodes that nobody can use, and a FIFO over the kernel's log that the embedder holds.",
        interface::interface_closed,
    ),
    rule(
        90,
        "success-as-reported",
        &[91],
        "A filter says of no call that it is done which does not run, but of those that write data out and that the report names.",
        filter::success_as_reported,
    ),
    rule(
        91,
        "incoming-one-way",
        &[56],
        "Mounts of the host come into a machine by the one directory that bears its name, read-only inside, and none goes back.",
        incoming::incoming_one_way,
    ),
    rule(
        92,
        "removed-as-reported",
        &[12],
        "Nothing is removed from a tree but /etc/resolv.conf and /etc/localtime of a machine, where the report says so.",
        contents::removed_as_reported,
    ),
    rule(
        93,
        "named-and-removed",
        &[56, 121],
        "What bears a machine's name on the host are the directories that the report says, of root alone; undo and watcher take them away, the watcher before it gives the name back.",
        named::named_and_removed,
    ),
    rule(
        94,
        "export-as-reported",
        &[56],
        "All that is mounted on the host is one tmpfs by which a machine's sockets are reached: on its own directory, read-only there, of the size and of the root that the report says, and it goes with the machine.",
        export::export_as_reported,
    ),
];
