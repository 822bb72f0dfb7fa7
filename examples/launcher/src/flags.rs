//! The one table of flags. The parser, `--help`, the manual pages, completions
//! and the suggestions for an unknown flag all read it, so none of them can say
//! anything else.

use std::ffi::OsStr;

use skep::dialect::nspawn::value;
use skep::spec::{Init, Network, Readiness, Secret, UserNamespace, Volatile, Want};
use skep::sys::abi::CapabilitySet;

use crate::console::{Console, Mode};
use crate::credentials;
use crate::landlock;
use crate::limits;
use crate::nearest;
use crate::typed::Typed;
use crate::values::{self, Parsed, text};
use crate::verbs::Verb;

/// One flag.
pub(crate) struct Flag {
    pub(crate) section: Section,
    /// Without the dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) value: Value,
    /// The verbs that take it, as [`Verb::bit`]s.
    pub(crate) verbs: u16,
    pub(crate) doc: &'static str,
    /// Notes the flag, with its value if it has one.
    pub(crate) update: fn(&mut Typed, Option<&OsStr>) -> Parsed<()>,
}

/// Whether a flag takes a value, and what help calls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// `--long`
    None,
    /// `--long[=NAME]`; never as the next word.
    Optional(&'static str),
    /// `--long=NAME` or `--long NAME`
    Required(&'static str),
}

/// A heading of `--help`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Section {
    General,
    Root,
    Mounts,
    Execution,
    Isolation,
    Limits,
    Streams,
}

impl Section {
    pub(crate) const ALL: [Self; 7] =
        [Self::General, Self::Root, Self::Mounts, Self::Execution, Self::Isolation, Self::Limits, Self::Streams];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Root => "Root file system",
            Self::Mounts => "Mounts",
            Self::Execution => "Execution",
            Self::Isolation => "Isolation and privileges",
            Self::Limits => "Limits",
            Self::Streams => "Streams and messages",
        }
    }
}

impl Flag {
    /// Whether `verb` takes it.
    pub(crate) const fn is_for(&self, verb: Verb) -> bool {
        self.verbs & verb.bit() != 0
    }
}

/// The flags that `verb` takes, in the order of `--help`.
pub(crate) fn of(verb: Verb) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| flag.is_for(verb))
}

/// The flag of a long name.
pub(crate) fn long(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.long == name)
}

/// The flag of a letter.
pub(crate) fn short(letter: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.short == Some(letter))
}

const fn flag(
    section: Section,
    long: &'static str,
    short: Option<char>,
    value: Value,
    verbs: u16,
    doc: &'static str,
    update: fn(&mut Typed, Option<&OsStr>) -> Parsed<()>,
) -> Flag {
    Flag { section, long, short, value, verbs, doc, update }
}

/// The value of a flag that requires one.
fn given(value: Option<&OsStr>) -> &OsStr {
    value.unwrap_or_default()
}

/// A switch: alone it means yes.
fn switch(value: Option<&OsStr>) -> Parsed<bool> {
    value.map_or(Ok(true), |word| text(word, value::boolean))
}

fn on(place: &mut bool) -> Parsed<()> {
    *place = true;
    Ok(())
}

pub(crate) fn put<T>(place: &mut Option<T>, value: Parsed<T>) -> Parsed<()> {
    *place = Some(value?);
    Ok(())
}

fn add(place: &mut CapabilitySet, value: Parsed<CapabilitySet>) -> Parsed<()> {
    place.0 |= value?.0;
    Ok(())
}

/// What makes a Spec: the same words mean the same to all three.
const RUN: u16 = Verb::Run.bit() | SHOW;
const SHOW: u16 = PLAN | AUDIT;
const FILE: u16 = RUN | Verb::Check.bit();
const SPEAK: u16 = FILE | Verb::Doctor.bit();
const TELL: u16 = Verb::List.bit() | Verb::Status.bit();
const EXEC: u16 = Verb::Exec.bit();
const ALL: u16 = SPEAK | TELL | EXEC | Verb::Stop.bit() | Verb::Kill.bit() | Verb::Completion.bit() | Verb::Man.bit();
const PLAN: u16 = Verb::Plan.bit();
const AUDIT: u16 = Verb::Audit.bit();

use Section::{Execution, General, Isolation, Limits, Mounts, Root, Streams};
use Value::{None as Alone, Optional, Required};

/// Every flag, in the order of `--help`.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = &[
    flag(General, "help", Some('h'), Alone, ALL, "Show this help.", |t, _| on(&mut t.help)),
    flag(General, "settings-file", Some('f'), Required("FILE"), RUN,
        "Take settings from a .nspawn file, or a container as JSON. Options win over it; lists add up. The file names the machine.",
        |t, v| put(&mut t.file, values::host_path(given(v)))),
    flag(General, "profile", None, Required("strict|nspawn"), FILE,
        "Where defaults come from. `nspawn` has those of systemd-nspawn.",
        |t, v| put(&mut t.profile, values::profile(given(v)))),
    flag(General, "machine", Some('M'), Required("NAME"), RUN,
        "The container's name; made up otherwise.",
        |t, v| put(&mut t.machine, text(given(v), values::name))),
    flag(General, "json", None, Alone, SPEAK | TELL,
        "Speak JSON: on standard output; for `run` events, one object a line, on standard error.",
        |t, _| on(&mut t.json)),
    flag(General, "diff", None, Alone, SHOW,
        "Compare two files, .nspawn or JSON, that follow instead of a command.",
        |t, _| on(&mut t.diff)),
    flag(General, "threshold", None, Required("EXPOSURE"), AUDIT,
        "Exit with 1 where the whole is above this, such as 2.5.",
        |t, v| put(&mut t.threshold, text(given(v), values::exposure))),
    flag(General, "verbose", Some('v'), Alone, PLAN, "Show every op.", |t, _| on(&mut t.verbose)),

    flag(Root, "directory", Some('D'), Required("DIR"), RUN,
        "The root directory. Without it: the host's /usr, read-only, over an empty root in memory.",
        |t, v| put(&mut t.directory, values::host_path(given(v)))),
    flag(Root, "ephemeral", Some('x'), Optional("BOOL"), RUN,
        "Throw changes to the root away (overlay in memory).",
        |t, v| put(&mut t.ephemeral, switch(v))),
    flag(Root, "read-only", None, Optional("BOOL"), RUN,
        "Mount the root read-only.",
        |t, v| put(&mut t.read_only, switch(v))),
    flag(Root, "volatile", None, Optional("no|yes|state|overlay"), RUN,
        "Keep nothing: only /usr of the tree (`yes`), all but /var read-only (`state`), or changes in memory (`overlay`).",
        |t, v| put(&mut t.volatile, v.map_or(Ok(Volatile::Yes), |v| text(v, value::volatile)))),

    flag(Mounts, "bind", None, Required("SRC[:DST[:OPTS]]"), RUN,
        "Bind a file or directory of the host, writable. OPTS: rbind, norbind.",
        |t, v| { t.mounts.push((value::bind(given(v), false)?, "--bind=")); Ok(()) }),
    flag(Mounts, "bind-ro", None, Required("SRC[:DST[:OPTS]]"), RUN,
        "The same, read-only.",
        |t, v| { t.mounts.push((value::bind(given(v), true)?, "--bind-ro=")); Ok(()) }),
    flag(Mounts, "tmpfs", None, Required("DST[:OPTS]"), RUN,
        "Mount an empty file system in memory. OPTS: mode=, size=, nr_inodes=, ro.",
        |t, v| { t.mounts.push((value::tmpfs(given(v))?, "--tmpfs=")); Ok(()) }),
    flag(Mounts, "overlay", None, Required("LOWER:…:UPPER:DST"), RUN,
        "Lay directories of the host over one another, the bottom first; an empty UPPER is thrown away.",
        |t, v| { t.mounts.push((value::overlay(given(v), false)?, "--overlay=")); Ok(()) }),
    flag(Mounts, "overlay-ro", None, Required("LOWER:…:DST"), RUN,
        "The same, read-only.",
        |t, v| { t.mounts.push((value::overlay(given(v), true)?, "--overlay-ro=")); Ok(()) }),
    flag(Mounts, "resolv-conf", None, Required("MODE"), RUN,
        "What /etc/resolv.conf is: off, auto, copy-host, replace-host, bind-host, delete, and others of systemd-nspawn.",
        |t, v| put(&mut t.resolv_conf, text(given(v), value::resolv_conf))),
    flag(Mounts, "timezone", None, Required("MODE"), RUN,
        "What /etc/localtime is: off, auto, copy, bind, symlink or delete.",
        |t, v| put(&mut t.timezone, text(given(v), value::timezone))),
    flag(Mounts, "load-credential", None, Required("NAME:FILE"), RUN,
        "Give a file's content as a credential, below $CREDENTIALS_DIRECTORY.",
        |t, v| { t.credentials.push(credentials::load(given(v))?); Ok(()) }),
    flag(Mounts, "set-credential", None, Required("NAME:VALUE"), RUN,
        "The same, as it stands here: others can see it in the list of processes.",
        |t, v| { t.credentials.push(credentials::set(given(v))?); Ok(()) }),
    flag(Mounts, "inaccessible", None, Required("PATH"), RUN,
        "Cover a file or directory, so that it cannot be read.",
        |t, v| { t.masked.push(value::inside(given(v))?); Ok(()) }),

    flag(Execution, "as-pid2", Some('a'), Optional("BOOL"), RUN,
        "Run the command under a stub init that reaps (the default of `strict`). `no`: the command is process 1.",
        |t, v| put(&mut t.init, switch(v).map(|stub| if stub { Init::Stub } else { Init::Payload }))),
    flag(Execution, "uid", Some('u'), Required("USER"), RUN,
        "Run as this user: a name of the container's /etc/passwd, UID, or UID:GID.",
        |t, v| put(&mut t.user, text(given(v), values::user))),
    flag(Execution, "chdir", None, Required("DIR"), RUN | EXEC,
        "The working directory, inside.",
        |t, v| put(&mut t.working_directory, value::working_directory(given(v)))),
    flag(Execution, "setenv", Some('E'), Required("NAME[=VALUE]"), RUN | EXEC,
        "Set a variable; without VALUE, to the caller's.",
        |t, v| { t.environment.push(value::variable(given(v))?); Ok(()) }),
    flag(Execution, "uuid", None, Required("UUID"), RUN,
        "The machine's id, as $container_uuid; the tree's /etc/machine-id is not written.",
        |t, v| { t.environment.push(("container_uuid".to_owned(), Some(Secret::new(text(given(v), value::machine_id)?)))); Ok(()) }),
    flag(Execution, "umask", None, Required("OCTAL"), RUN,
        "The file mode creation mask, in octal.",
        |t, v| put(&mut t.umask, text(given(v), |mode| value::mode(mode, 0o777)))),
    flag(Execution, "hostname", None, Required("NAME"), RUN,
        "The hostname; otherwise the container's name.",
        |t, v| put(&mut t.hostname, text(given(v), values::name))),
    flag(Execution, "personality", None, Required("ARCH"), RUN,
        "What `uname` says that the machine is: x86-64, x86, arm64 or arm, where this machine can be it.",
        |t, v| put(&mut t.personality, text(given(v), value::personality))),
    flag(Execution, "kill-signal", None, Required("SIGNAL"), RUN,
        "What stops the command in order; SIGTERM otherwise.",
        |t, v| put(&mut t.kill_signal, text(given(v), value::signal))),
    flag(Execution, "notify-ready", None, Required("BOOL"), RUN,
        "Ready is when the command says READY=1 to $NOTIFY_SOCKET.",
        |t, v| put(&mut t.readiness, text(given(v), value::boolean).map(|on| if on { Readiness::Notify } else { Readiness::Exec }))),
    flag(Execution, "start-timeout", None, Required("SECONDS"), RUN,
        "How long the start may take; 60 otherwise.",
        |t, v| put(&mut t.start_timeout, values::seconds(given(v)))),

    flag(Isolation, "private-network", None, Optional("BOOL"), RUN,
        "A network of its own with nothing but lo (the default of `strict`). `no`: the host's.",
        |t, v| put(&mut t.network, switch(v).map(|own| (if own { Network::None } else { Network::Host }, "--private-network")))),
    flag(Isolation, "network", None, Required("none|host"), RUN,
        "The same, by name.",
        |t, v| put(&mut t.network, match given(v).to_str() {
            Some("none") => Ok((Network::None, "--network=")),
            Some("host") => Ok((Network::Host, "--network=")),
            _ => values::bad(given(v), "is not a network", "write `none` or `host`"),
        })),
    flag(Isolation, "network-namespace-path", None, Required("PATH"), RUN,
        "Enter this network namespace, such as /run/netns/NAME.",
        |t, v| put(&mut t.network_path, text(given(v), |path| value::inside(path)))),
    flag(Isolation, "namespace", None, Required("KIND=new|host|PATH"), RUN,
        "Make, share or enter a namespace: ipc, uts, cgroup, pid or time.",
        |t, v| { t.namespaces.push(text(given(v), values::namespace)?); Ok(()) }),
    flag(Isolation, "sysctl", None, Required("NAME=VALUE"), RUN,
        "Set a sysctl of the container's own network or ipc namespace, such as net.ipv4.ip_forward=1.",
        |t, v| { t.sysctls.push(text(given(v), values::sysctl)?); Ok(()) }),
    flag(Isolation, "time-offset", None, Required("CLOCK=SECONDS"), RUN,
        "A time namespace whose clock `monotonic` or `boottime` is ahead by this.",
        |t, v| { t.time_offsets.push(text(given(v), values::time_offset)?); Ok(()) }),
    flag(Isolation, "private-users", None, Optional("MODE"), RUN,
        "The user namespace: `own` (your id), `subordinate` (/etc/subuid), `pick`, `identity`, `no`, or BASE[:COUNT]. Alone: what suits the caller.",
        |t, v| put(&mut t.user_namespace, v.map_or(Ok(UserNamespace::Auto), |v| text(v, values::private_users)))),
    flag(Isolation, "capability", None, Required("CAP,…"), RUN,
        "Keep these capabilities, or `all`.",
        |t, v| add(&mut t.capability, text(given(v), values::capabilities))),
    flag(Isolation, "drop-capability", None, Required("CAP,…"), RUN,
        "Drop these; applied after --capability=.",
        |t, v| add(&mut t.drop_capability, text(given(v), values::capabilities))),
    flag(Isolation, "ambient-capability", None, Required("CAP,…"), RUN,
        "Let a command that is not root hold these.",
        |t, v| add(&mut t.ambient_capability, text(given(v), values::ambient))),
    flag(Isolation, "no-new-privileges", None, Required("BOOL"), RUN,
        "Whether no program can raise privileges; `strict` says yes.",
        |t, v| put(&mut t.no_new_privileges, text(given(v), value::boolean))),
    flag(Isolation, "memory-deny-write-execute", None, Required("BOOL"), RUN,
        "Whether memory that was written can never be executed (Linux 6.3); not for programs that make code as they run.",
        |t, v| put(&mut t.deny_write_execute, text(given(v), value::boolean).map(|on| if on { Want::Require } else { Want::Off }))),
    flag(Isolation, "system-call-filter", None, Required("[~]CALL|@GROUP…"), RUN,
        "Allow these system calls beside the profile's, or with `~` refuse them; ~CALL:ERROR, ~CALL:kill say how.",
        |t, v| { t.system_calls.push(text(given(v), |list| value::system_calls(list, true))?); Ok(()) }),
    flag(Isolation, "restrict-address-families", None, Required("[~]FAMILY…|none"), RUN,
        "Leave only these families of sockets, such as AF_UNIX, or with `~` all but these.",
        |t, v| { t.address_families.push(text(given(v), value::address_families)?); Ok(()) }),
    flag(Isolation, "danger-allow-socket", None, Required("FAMILY[/PROTOCOL]"), RUN,
        "Allow sockets that the profile refuses, such as AF_VSOCK or AF_NETLINK/9.",
        |t, v| { t.sockets.push(text(given(v), values::socket)?); Ok(()) }),
    flag(Isolation, "landlock", None, Required("RULE"), RUN,
        "Restrict by Landlock: RIGHT[,RIGHT…]:PATH (rights are read, write, execute and those of landlock(7)), bind:PORT, connect:PORT, tcp, sockets, signals; `if-supported` for older kernels, `no` for nothing at all.",
        |t, v| { t.landlock.push(text(given(v), landlock::word)?); Ok(()) }),

    flag(Limits, "memory", None, Required("BYTES"), RUN,
        "Limit memory, such as 512M.",
        |t, v| put(&mut t.memory, text(given(v), values::bytes))),
    flag(Limits, "memory-swap", None, Required("BYTES"), RUN,
        "Let it use this much swap beside the memory; with --memory= and without this, none.",
        |t, v| t.resources.put("swap", "--memory-swap=", |all| put(&mut all.swap, text(given(v), values::bytes)))),
    flag(Limits, "memory-high", None, Required("BYTES"), RUN,
        "Slow it down above this much memory (cgroup v2).",
        |t, v| t.resources.put("memory_high", "--memory-high=", |all| put(&mut all.memory_high, text(given(v), values::bytes)))),
    flag(Limits, "memory-low", None, Required("BYTES"), RUN,
        "Leave it this much memory where there is some elsewhere.",
        |t, v| t.resources.put("memory_low", "--memory-low=", |all| put(&mut all.memory_low, text(given(v), values::bytes)))),
    flag(Limits, "memory-min", None, Required("BYTES"), RUN,
        "Leave it this much memory in any case (cgroup v2).",
        |t, v| t.resources.put("memory_min", "--memory-min=", |all| put(&mut all.memory_min, text(given(v), values::bytes)))),
    flag(Limits, "cpus", None, Required("NUMBER"), RUN,
        "Limit processor time, such as 1.5.",
        |t, v| put(&mut t.cpus, values::cpus(given(v)))),
    flag(Limits, "cpu-weight", None, Required("NUMBER"), RUN,
        "Share of processor time where others want some too, 1 to 10000; 100 otherwise.",
        |t, v| t.resources.put("cpu_weight", "--cpu-weight=", |all| put(&mut all.cpu_weight, text(given(v), limits::weight)))),
    flag(Limits, "cpuset-cpus", None, Required("LIST"), RUN,
        "Use these processors only, such as 0-3,7.",
        |t, v| t.resources.put("cpuset_cpus", "--cpuset-cpus=", |all| put(&mut all.cpuset_cpus, text(given(v), limits::list)))),
    flag(Limits, "cpuset-mems", None, Required("LIST"), RUN,
        "Use these memory nodes only.",
        |t, v| t.resources.put("cpuset_mems", "--cpuset-mems=", |all| put(&mut all.cpuset_mems, text(given(v), limits::list)))),
    flag(Limits, "io-max", None, Required("DEVICE:LIMITS"), RUN,
        "Limit a block device for each second: /dev/vda:rbps=10M,wiops=500. Keys: rbps, wbps, riops, wiops.",
        |t, v| t.resources.put("io", "--io-max=", |all| limits::io_max(given(v), all))),
    flag(Limits, "io-weight", None, Required("NUMBER"), RUN,
        "Share of block devices where others want some too, 1 to 10000; 100 otherwise.",
        |t, v| t.resources.put("io_weight", "--io-weight=", |all| put(&mut all.io_weight, text(given(v), limits::weight)))),
    flag(Limits, "property", None, Required("NAME=VALUE"), RUN,
        "A limit as systemd names it, such as MemoryMax=1G or TasksMax=100.",
        |t, v| limits::property(given(v), &mut t.resources)),
    flag(Limits, "cpu-affinity", None, Required("LIST"), RUN,
        "Run on these processors, such as 0-3,7; the command may choose others.",
        |t, v| put(&mut t.cpu_affinity, text(given(v), value::cpu_affinity))),
    flag(Limits, "nice", None, Required("NUMBER"), RUN,
        "The nice value, from -20 (most time) to 19.",
        |t, v| put(&mut t.nice, text(given(v), values::nice))),
    flag(Limits, "scheduling-policy", None, Required("POLICY"), RUN,
        "`other`, `batch`, `idle`, `fifo:PRIORITY` or `rr:PRIORITY`.",
        |t, v| put(&mut t.scheduling_policy, text(given(v), values::scheduling_policy))),
    flag(Limits, "io-priority", None, Required("PRIORITY"), RUN,
        "Of requests to disks: `idle`, `best-effort:LEVEL` or `real-time:LEVEL`, levels from 0 to 7.",
        |t, v| put(&mut t.io_priority, text(given(v), values::io_priority))),
    flag(Limits, "oom-score-adjust", None, Required("SCORE"), RUN,
        "When memory runs out: from -1000 (never killed) to 1000 (killed first).",
        |t, v| put(&mut t.oom_score_adjust, text(given(v), value::oom_score_adjust))),
    flag(Limits, "pids", None, Required("NUMBER"), RUN,
        "Limit processes and threads.",
        |t, v| put(&mut t.pids, values::count(given(v)))),
    flag(Limits, "rlimit", None, Required("NAME=SOFT[:HARD]"), RUN,
        "Set a resource limit of setrlimit(2), such as NOFILE=1024:4096.",
        |t, v| { t.limits.push(text(given(v), values::rlimit)?); Ok(()) }),

    flag(Streams, "console", None, Required("MODE"), RUN | EXEC,
        "What the command's streams are: `interactive` (a terminal of its own, the default on a terminal), `read-only` (the same without input), `passive` (its output comes at the end), `relay` (three pipes, the default elsewhere), `pipe` (the caller's own streams), `autopipe` (`interactive` on a terminal, else `pipe`).",
        |t, v| put(&mut t.console, text(given(v), values::console))),
    flag(Streams, "pipe", Some('P'), Alone, RUN | EXEC,
        "As `--console=pipe`. Quiet.",
        |t, _| { t.console = Some(Console::Mode(Mode::Pipe)); Ok(()) }),
    flag(Streams, "quiet", Some('q'), Alone, RUN,
        "No status lines.",
        |t, _| on(&mut t.quiet)),
    flag(Streams, "report", None, Alone, RUN,
        "Print what is applied, unsupported, or switched off.",
        |t, _| on(&mut t.report)),
    flag(Streams, "status-fd", None, Required("FD"), RUN,
        "Write events to this open descriptor, one JSON object a line: starting, started with the pid, ready, ended with the status.",
        |t, v| put(&mut t.status_fd, text(given(v), values::descriptor))),
];

/// Options of `systemd-nspawn` that this version does not have: known, so that
/// the message can say so instead of guessing at a typing error.
pub(crate) const NOT_YET: &[&str] = &[
    "background",
    "bind-user",
    "bind-user-group",
    "bind-user-shell",
    "boot",
    "cleanup",
    "forward-journal",
    "image",
    "image-policy",
    "keep-unit",
    "link-journal",
    "mstack",
    "network-bridge",
    "network-interface",
    "network-ipvlan",
    "network-macvlan",
    "network-veth",
    "network-veth-extra",
    "network-zone",
    "no-ask-password",
    "no-pager",
    "oci-bundle",
    "pivot-root",
    "port",
    "private-users-chown",
    "private-users-delegate",
    "private-users-ownership",
    "register",
    "root-hash",
    "root-hash-sig",
    "selinux-apifs-context",
    "selinux-context",
    "settings",
    "slice",
    "suppress-sync",
    "system",
    "template",
    "verity-data",
];

/// The same, by letter.
pub(crate) const LETTERS_NOT_YET: &str = "bijLnpSUZ";

/// The long names nearest to an unknown one, nearest first, that `verb` takes.
pub(crate) fn nearest(unknown: &str, verb: Verb) -> Vec<&'static str> {
    nearest::nearest(unknown, of(verb).map(|flag| flag.long))
}
