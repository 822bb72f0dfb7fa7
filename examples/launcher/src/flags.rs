//! The one table of flags. The parser, `--help`, the manual pages, completions
//! and the suggestions for an unknown flag all read it, so none of them can say
//! anything else.

use std::ffi::OsStr;

use skep::dialect::nspawn::{SettingsMode, value};
use skep::spec::{Init, Network, Ownership, Readiness, Secret, UserNamespace, Volatile, Want};
use skep::sys::abi::CapabilitySet;

use crate::console::{Console, Mode};
use crate::credentials;
use crate::landlock;
use crate::limits;
use crate::nearest;
use crate::typed::{Typed, Whom};
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
    pub(crate) verbs: u32,
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

/// The flag of a letter: `verb`'s own, else whosever it is.
pub(crate) fn short(letter: char, verb: Verb) -> Option<&'static Flag> {
    let mut all = FLAGS.iter().filter(|flag| flag.short == Some(letter));
    all.clone().find(|flag| flag.is_for(verb)).or_else(|| all.next())
}

const fn flag(
    section: Section,
    long: &'static str,
    short: Option<char>,
    value: Value,
    verbs: u32,
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
const RUN: u32 = Verb::Run.bit() | NSPAWN | SHOW;
/// What starts it.
const START: u32 = Verb::Run.bit() | NSPAWN;
const NSPAWN: u32 = Verb::Nspawn.bit();
const SHOW: u32 = PLAN | AUDIT;
const CONVERT: u32 = Verb::Convert.bit();
const FILE: u32 = RUN | Verb::Check.bit();
const SPEAK: u32 = FILE | Verb::Doctor.bit();
const TELL: u32 = Verb::List.bit() | Verb::Status.bit() | Verb::Gc.bit();
const EXEC: u32 = Verb::Exec.bit();
const SHELL: u32 = Verb::Shell.bit();
const KILL: u32 = Verb::Kill.bit();
const LIST: u32 = Verb::List.bit();
const ASK: u32 = Verb::Poweroff.bit() | Verb::Reboot.bit();
const LOGS: u32 = Verb::Logs.bit();
const STOP: u32 = Verb::Stop.bit();
const ALL: u32 = SPEAK
    | CONVERT
    | TELL
    | EXEC
    | STOP
    | LOGS
    | Verb::Cp.bit()
    | KILL
    | SHELL
    | ASK
    | Verb::Completion.bit()
    | Verb::Man.bit();
const PLAN: u32 = Verb::Plan.bit();
const AUDIT: u32 = Verb::Audit.bit();

use Section::{Execution, General, Isolation, Limits, Mounts, Root, Streams};
use Value::{None as Alone, Optional, Required};

/// Every flag, in the order of `--help`.
#[rustfmt::skip]
pub(crate) const FLAGS: &[Flag] = &[
    flag(General, "help", Some('h'), Alone, ALL, "Show this help.", |t, _| on(&mut t.help)),
    flag(General, "settings-file", Some('f'), Required("FILE"), RUN,
        "Take settings from a .nspawn file, or a container as JSON or TOML. Options win over it; lists add up. The file names the machine.",
        |t, v| put(&mut t.file, values::host_path(given(v)))),
    flag(General, "settings", None, Required("MODE"), RUN,
        "Look for NAME.nspawn where systemd-nspawn does: `yes` (options win, category by category), `override` (the file wins), `trusted` (also beside the tree), `no`. `strict` says no.",
        |t, v| put(&mut t.settings, text(given(v), SettingsMode::parse))),
    flag(General, "merge", None, Required("category|additive"), RUN,
        "How settings that are looked for and options go together: an option takes the place of all that the file says of its category, as with systemd-nspawn, or lists (mounts, variables, capabilities, calls, families, ports) add up.",
        |t, v| match given(v).to_str() {
            Some(word @ ("category" | "additive")) => { t.additive = word == "additive"; Ok(()) }
            _ => values::bad(given(v), "is not a way to merge", "write `category` or `additive`"),
        }),
    flag(General, "profile", None, Required("strict|nspawn"), (FILE & !NSPAWN) | CONVERT,
        "Where defaults come from. `nspawn` has those of systemd-nspawn.",
        |t, v| put(&mut t.profile, values::profile(given(v)))),
    flag(General, "machine", Some('M'), Required("NAME"), RUN,
        "The container's name, by which other verbs find it; made up otherwise.",
        |t, v| put(&mut t.machine, text(given(v), values::name))),
    flag(General, "register", None, Required("BOOL|auto"), RUN,
        "Register it with systemd-machined, for machinectl(1): `yes`, or `auto` where there is one (the default of `nspawn`). `no`: nor do other processes find it by name, but for machines of root's (`nspawn`), whose names are taken all the same.",
        |t, v| {
            let wanted = text(given(v), values::register)?;
            t.register = Some(if wanted == Want::Off { Want::Off } else { Want::IfSupported });
            t.announce = Some(wanted);
            Ok(())
        }),
    flag(General, "keep-unit", None, Alone, RUN,
        "Stay in the caller's unit, which is what happens anyhow; `nspawn` leaves a reboot to that unit.",
        |t, _| on(&mut t.keep_unit)),
    flag(General, "slice", Some('S'), Required("SLICE"), NSPAWN,
        "Of the unit that systemd-nspawn makes; none is made here.",
        |t, v| text(given(v), |slice| values::slice(slice).map(|()| t.of_unit.push("--slice=")))),
    flag(General, "no-ask-password", None, Alone, NSPAWN,
        "Nobody is asked, anyhow.",
        |_, _| Ok(())),
    flag(General, "system", None, Alone, NSPAWN,
        "In the scope of the system, which is what root has anyhow.",
        |t, _| on(&mut t.system)),
    flag(General, "cleanup", None, Alone, NSPAWN,
        "Remove what killed programs left, as `skep gc`, and exit.",
        |t, _| on(&mut t.cleanup)),
    flag(General, "version", None, Alone, NSPAWN,
        "Tell the version.",
        |t, _| on(&mut t.version)),
    flag(General, "no-pager", None, Alone, RUN,
        "Help is not paged, anyhow.",
        |_, _| Ok(())),
    flag(General, "json", None, Alone, SPEAK | TELL | STOP,
        "Print JSON in place of text; `run` prints events, one object a line, to standard error.",
        |t, _| on(&mut t.json)),
    flag(General, "no-legend", None, Alone, LIST,
        "No line with the names of the columns.",
        |t, _| on(&mut t.no_legend)),
    flag(General, "diff", None, Alone, SHOW,
        "Compare two files, .nspawn, JSON or TOML, that follow instead of a command.",
        |t, _| on(&mut t.diff)),
    flag(General, "from", None, Required("nspawn|json|toml"), CONVERT,
        "What FILE is, whatever its ending.",
        |t, v| put(&mut t.from, values::format(given(v)))),
    flag(General, "to", None, Required("nspawn|json|toml"), CONVERT,
        "What is written, whatever the ending of OUTPUT.",
        |t, v| put(&mut t.to, values::format(given(v)))),
    flag(General, "threshold", None, Required("EXPOSURE"), AUDIT,
        "Exit with 1 where the whole is above this, such as 2.5.",
        |t, v| put(&mut t.threshold, text(given(v), values::exposure))),
    flag(General, "verbose", Some('v'), Alone, PLAN, "Show every op.", |t, _| on(&mut t.verbose)),

    flag(Root, "directory", Some('D'), Required("DIR"), RUN,
        "The root directory. Without it: the host's /usr, read-only, over an empty root in memory.",
        |t, v| put(&mut t.directory, values::host_path(given(v)))),
    flag(Root, "image", Some('i'), Required("PATH"), RUN,
        "A disk image or block device for the root: one file system (ext4, xfs, btrfs, squashfs, erofs), or a GPT with a root partition.",
        |t, v| put(&mut t.image, values::host_path(given(v)))),
    flag(Root, "mstack", None, Required("DIR"), NSPAWN,
        "A directory whose entries make up the root (systemd.mstack(7)): layer@ID, rw, root, bind@PLACE, robind@PLACE.",
        |t, v| put(&mut t.mstack, values::host_path(given(v)))),
    flag(Root, "template", None, Required("DIR"), RUN,
        "Where the root directory does not exist, make it as a copy of this one (reflink where the file system can).",
        |t, v| put(&mut t.template, values::host_path(given(v)))),
    flag(Root, "pivot-root", None, Required("NEW[:OLD]"), RUN,
        "A directory of the tree that becomes the root, and where in it the whole tree is mounted.",
        |t, v| put(&mut t.pivot_root, value::pivot_root(given(v)))),
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
    flag(Mounts, "bind-user", None, Required("NAME"), RUN,
        "Have a user of the host inside: its home at /run/host/home/NAME, as its own, and a record that nss-systemd(8) reads (root, with a user namespace).",
        |t, v| { t.bind_users.push(text(given(v), value::bind_user)?); Ok(()) }),
    flag(Mounts, "bind-user-shell", None, Required("BOOL|PATH"), RUN,
        "The shell of such users: that of the host (`yes`), this one, or what is usual inside (`no`).",
        |t, v| put(&mut t.bind_user_shell, text(given(v), value::bind_user_shell))),
    flag(Mounts, "bind-user-group", None, Required("GROUP"), RUN,
        "Make such users members of this group of the container.",
        |t, v| { t.bind_user_groups.push(text(given(v), value::bind_user_group)?); Ok(()) }),
    flag(Mounts, "device", None, Required("[-]SRC[:DST][:rwm]"), RUN,
        "Give a device node of the host, and let the container's cgroup use it so: read, write, make nodes of it; `rw` otherwise. With `-` in front only if it is there.",
        |t, v| { t.mounts.push((text(given(v), values::device)?, "--device=")); Ok(()) }),
    flag(Mounts, "tmpfs", None, Required("DST[:OPTS]"), RUN,
        "Mount an empty file system in memory. OPTS are those of tmpfs(5): mode=, uid=, gid=, size= (50% of memory), nr_inodes=, huge=, mpol=, noswap, and ro, noexec, noatime.",
        |t, v| { t.mounts.push((value::tmpfs(given(v))?, "--tmpfs=")); Ok(()) }),
    flag(Mounts, "overlay", None, Required("LOWER:…:UPPER:DST"), RUN,
        "Lay directories of the host over one another, the bottom first; an empty UPPER is thrown away, and one with `+` in front is of the container's tree.",
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
    flag(Mounts, "link-journal", None, Required("MODE"), RUN,
        "Whether the host sees the machine's journal in /var/log/journal: `host` (the directory is the host's), `guest` (the tree's, with a link on the host), `try-host`, `try-guest` (-j), `auto` (where the host has the directory), `no`.",
        |t, v| put(&mut t.link_journal, text(given(v), value::link_journal))),
    flag(Mounts, "forward-journal", None, Required("FILE|DIR"), START,
        "Have the machine's systemd-journald (256 or newer) send its journal to this file (its name ends in .journal) or into this directory of the host, written by systemd-journal-remote(8).",
        |t, v| put(&mut t.journal.path, values::host_path(given(v)))),
    flag(Mounts, "forward-journal-max-use", None, Required("BYTES"), START,
        "How much that journal takes at most, as `MaxUse=` of journal-remote.conf(5).",
        |t, v| { t.journal.limit("MaxUse", "--forward-journal-max-use=", text(given(v), values::bytes)?); Ok(()) }),
    flag(Mounts, "forward-journal-keep-free", None, Required("BYTES"), START,
        "How much it leaves to others on that file system.",
        |t, v| { t.journal.limit("KeepFree", "--forward-journal-keep-free=", text(given(v), values::bytes)?); Ok(()) }),
    flag(Mounts, "forward-journal-max-file-size", None, Required("BYTES"), START,
        "How large one of its files becomes before the next is begun.",
        |t, v| { t.journal.limit("MaxFileSize", "--forward-journal-max-file-size=", text(given(v), values::bytes)?); Ok(()) }),
    flag(Mounts, "forward-journal-max-files", None, Required("NUMBER"), START,
        "How many of its files are kept.",
        |t, v| { t.journal.limit("MaxFiles", "--forward-journal-max-files=", values::number_of(given(v), "files")?); Ok(()) }),
    flag(Mounts, "private-users-ownership", None, Required("MODE"), RUN,
        "To whom the tree's files belong: `map` (unchanged on disk, shown as the container's), `chown` (given to its ids for good), `foreign` (as `map`, of a tree of the foreign ids), `auto` (`map`, or else `chown`), `off` (they are the container's already).",
        |t, v| put(&mut t.ownership, text(given(v), value::ownership))),
    flag(Mounts, "private-users-chown", None, Alone, RUN,
        "As `--private-users-ownership=chown`.",
        |t, _| put(&mut t.ownership, Ok(Ownership::Chown))),
    flag(Mounts, "private-users-delegate", None, Required("0"), NSPAWN,
        "No further ranges of ids are delegated: 0 is all that can be asked for.",
        |_, v| text(given(v), |number| value::happens_anyhow("PrivateUsersDelegate", number))),
    flag(Mounts, "suppress-sync", None, Required("BOOL"), RUN,
        "Whether fsync(2) and its like only say that they are done: for what can be made again.",
        |t, v| put(&mut t.suppress_sync, text(given(v), value::boolean))),
    flag(Mounts, "load-credential", None, Required("NAME:PATH"), RUN,
        "Give as a credential, below $CREDENTIALS_DIRECTORY, what a file holds or a stream socket says; a PATH without `/` is one that this program was given itself.",
        |t, v| { t.credentials.push(credentials::load(given(v))?); Ok(()) }),
    flag(Mounts, "set-credential", None, Required("NAME:VALUE"), RUN,
        "The same, as it stands here, with escapes of C: others can see it in the list of processes.",
        |t, v| { t.credentials.push(credentials::set(given(v))?); Ok(()) }),
    flag(Mounts, "inaccessible", None, Required("PATH"), RUN,
        "Cover a file or directory, so that it cannot be read.",
        |t, v| { t.masked.push(value::inside(given(v))?); Ok(()) }),

    flag(Execution, "as-pid2", Some('a'), Optional("BOOL"), RUN,
        "Run the command under a stub init that reaps (the default of `strict`). `no`: the command is process 1.",
        |t, v| put(&mut t.init, switch(v).map(|stub| if stub { Init::Stub } else { Init::Payload }))),
    flag(Execution, "boot", Some('b'), Optional("BOOL"), RUN,
        "Boot the tree's init as process 1, by the profile `nspawn`; the command is its arguments.",
        |t, v| put(&mut t.boot, switch(v))),
    flag(Execution, "uid", Some('u'), Required("USER"), RUN | EXEC | SHELL,
        "Run as this user: a name of the container's /etc/passwd, UID, or UID:GID.",
        |t, v| put(&mut t.user, text(given(v), values::user))),
    flag(Execution, "user", None, Required("USER"), NSPAWN,
        "As --uid=, by its name of systemd 261.",
        |t, v| put(&mut t.user, text(given(v), values::user))),
    flag(Execution, "chdir", None, Required("DIR"), RUN | EXEC | SHELL,
        "The working directory, inside.",
        |t, v| put(&mut t.working_directory, value::working_directory(given(v)))),
    flag(Execution, "setenv", Some('E'), Required("NAME[=VALUE]"), RUN | EXEC | SHELL,
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
    flag(Execution, "signal", Some('s'), Required("SIGNAL"), KILL,
        "The signal, by name or number; SIGKILL otherwise.",
        |t, v| put(&mut t.signal, text(given(v), value::signal))),
    flag(Execution, "whom", None, Required("leader|all"), KILL,
        "Who gets it: the container's command, or each of its processes.",
        |t, v| put(&mut t.whom, match given(v).to_str() {
            Some("leader") => Ok(Whom::Leader),
            Some("all") => Ok(Whom::All),
            _ => values::bad(given(v), "is nobody", "write `leader` or `all`"),
        })),
    flag(Execution, "timeout", None, Required("SECONDS"), STOP,
        "How long the kill signal may take; 10 otherwise.",
        |t, v| put(&mut t.grace, values::seconds(given(v)))),

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
        "Enter this network namespace, such as /run/netns/NAME; with --private-network, as its own.",
        |t, v| put(&mut t.network_path, text(given(v), |path| value::inside(path)))),
    flag(Isolation, "network-veth", Some('n'), Optional("BOOL"), RUN,
        "A pair of interfaces: `host0` inside, ve-NAME on the host (root).",
        |t, v| { t.links.asked("veth", "--network-veth"); t.links.all.veth = switch(v)?; Ok(()) }),
    flag(Isolation, "network-veth-extra", None, Required("HOST[:CONTAINER]"), RUN,
        "A further pair, with these names.",
        |t, v| { t.links.asked("extra", "--network-veth-extra="); t.links.all.extra.push(text(given(v), value::interface_pair)?); Ok(()) }),
    flag(Isolation, "network-bridge", None, Required("BRIDGE"), RUN,
        "The pair, with its outer end, vb-NAME, below this bridge.",
        |t, v| { t.links.asked("bridge", "--network-bridge="); put(&mut t.links.all.bridge, text(given(v), value::interface)) }),
    flag(Isolation, "network-zone", None, Required("ZONE"), RUN,
        "The same with a bridge vz-ZONE that is there while a container is in the zone.",
        |t, v| { t.links.asked("zone", "--network-zone="); put(&mut t.links.all.zone, text(given(v), value::zone)) }),
    flag(Isolation, "network-macvlan", None, Required("HOST[:CONTAINER]"), RUN,
        "An interface mv-HOST over one of the host's, with a hardware address of its own.",
        |t, v| { t.links.asked("macvlan", "--network-macvlan="); t.links.all.macvlan.push(text(given(v), value::interface_pair)?); Ok(()) }),
    flag(Isolation, "network-ipvlan", None, Required("HOST[:CONTAINER]"), RUN,
        "An interface iv-HOST over one of the host's, with the same hardware address.",
        |t, v| { t.links.asked("ipvlan", "--network-ipvlan="); t.links.all.ipvlan.push(text(given(v), value::interface_pair)?); Ok(()) }),
    flag(Isolation, "network-interface", None, Required("HOST[:CONTAINER]"), RUN,
        "Move an interface of the host in; it comes back at the end.",
        |t, v| { t.links.asked("moved", "--network-interface="); t.links.all.moved.push(text(given(v), value::interface_pair)?); Ok(()) }),
    flag(Isolation, "network-address", None, Required("auto|ADDRESS/PREFIX[,OUTSIDE]"), RUN,
        "Give both ends of the pair their addresses, and the container a default route; `auto`: a network of two that is free.",
        |t, v| { t.links.asked("addresses", "--network-address="); t.links.all.addresses.push(text(given(v), value::link_address)?); Ok(()) }),
    flag(Isolation, "network-mac", None, Required("INSIDE[,OUTSIDE]"), RUN,
        "Hardware addresses of the pair, such as 02:00:00:00:00:01; without, they are made of the machine's id and the name.",
        |t, v| { t.links.asked("hardware", "--network-mac="); put(&mut t.links.all.hardware, text(given(v), value::link_hardware)) }),
    flag(Isolation, "port", Some('p'), Required("[tcp:|udp:][ADDRESS:]HOST[:CONTAINER]"), RUN,
        "Let a port of the host lead into the container; with 127.0.0.1 for ADDRESS, from the host alone.",
        |t, v| { t.ports.push(text(given(v), value::port)?); Ok(()) }),
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
        "The user namespace: `own` (your id), `subordinate` (/etc/subuid), `pick`, `managed` (root: as `pick`, others: as `subordinate`), `yes` (the ids of the tree's owner), `identity`, `no`, or BASE[:COUNT]. Alone: what suits the caller; with `nspawn` as `yes`, or as `managed` where the caller is not root.",
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
    flag(Isolation, "securebits", None, Required("BIT,…"), RUN,
        "Securebits of the command: noroot, no-setuid-fixup, keep-caps-locked, no-cap-ambient-raise and others of capabilities(7); `none`.",
        |t, v| put(&mut t.securebits, text(given(v), values::securebits))),
    flag(Isolation, "no-new-privileges", None, Required("BOOL"), RUN,
        "Whether no program can raise privileges; `strict` says yes.",
        |t, v| put(&mut t.no_new_privileges, text(given(v), value::boolean))),
    flag(Isolation, "memory-deny-write-execute", None, Required("BOOL"), RUN,
        "Whether memory that was written can never be executed (Linux 6.3); not for programs that make code as they run.",
        |t, v| put(&mut t.deny_write_execute, text(given(v), value::boolean).map(|on| if on { Want::Require } else { Want::Off }))),
    flag(Isolation, "system-call-filter", None, Required("[~]CALL|@GROUP…"), RUN,
        "Allow these system calls beside the profile's, or with `~` refuse them; ~CALL:ERROR, ~CALL:kill say how.",
        |t, v| { t.system_calls.push(text(given(v), |list| value::system_calls(list, true))?); Ok(()) }),
    flag(Isolation, "system-call-architectures", None, Required("ARCH…"), RUN,
        "Let calls of these ABIs through beside the machine's own, such as x86 for 32-bit programs; `native` is no other.",
        |t, v| { t.architectures.get_or_insert_default().extend(text(given(v), values::architectures)?); Ok(()) }),
    flag(Isolation, "restrict-address-families", None, Required("[~]FAMILY…|none"), RUN,
        "Leave only these families of sockets, such as AF_UNIX, or with `~` all but these.",
        |t, v| { t.address_families.push(text(given(v), value::address_families)?); Ok(()) }),
    flag(Isolation, "danger-allow-socket", None, Required("FAMILY[/PROTOCOL]"), RUN,
        "Allow sockets that the profile refuses, such as AF_VSOCK or AF_NETLINK/9.",
        |t, v| { t.sockets.push(text(given(v), values::socket)?); Ok(()) }),
    flag(Isolation, "landlock", None, Required("RULE"), RUN,
        "Restrict by Landlock: RIGHT[,RIGHT…]:PATH (rights are read, write, execute and those of landlock(7)), bind:PORT, connect:PORT, tcp, sockets, signals; `if-supported` for older kernels, `no` for nothing at all.",
        |t, v| { t.landlock.push(text(given(v), landlock::word)?); Ok(()) }),
    flag(Isolation, "require", None, Required("ITEM"), RUN,
        "Start nothing unless this item of --report is in force, such as `masks` or `limit pids`.",
        |t, v| { t.required.push(text(given(v), values::item)?); Ok(()) }),

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
        |t, v| match limits::of_unit(given(v)) {
            true if t.nspawn => { t.of_unit.push("--property="); Ok(()) }
            _ => limits::property(given(v), &mut t.resources),
        }),
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
        |t, v| put(&mut t.oom_score_adjust, text(given(v), values::oom_score_adjust))),
    flag(Limits, "pids", None, Required("NUMBER"), RUN,
        "Limit processes and threads.",
        |t, v| put(&mut t.pids, values::number_of(given(v), "processes"))),
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
    flag(Streams, "background", None, Required("COLOR"), NSPAWN,
        "The terminal keeps its own colours.",
        |_, v| text(given(v), values::color)),
    flag(Streams, "report", None, Alone, RUN,
        "Print what is applied, unsupported, or switched off.",
        |t, _| on(&mut t.report)),
    flag(Streams, "fd", None, Required("N[:M]"), RUN | EXEC,
        "Pass the descriptor N of this program, under the number M inside; a directory is refused. Sockets of $LISTEN_FDS are passed anyhow.",
        |t, v| { t.descriptors.push(text(given(v), values::passed)?); Ok(()) }),
    flag(Streams, "detach", None, Alone, RUN,
        "Return once the container runs, or is ready, and print its name. A process in a session of its own goes on; what is said goes to a log: skep logs NAME.",
        |t, _| on(&mut t.detach)),
    flag(Streams, "follow", Some('f'), Alone, LOGS,
        "Show what comes until the container ends.",
        |t, _| on(&mut t.follow)),
    flag(Streams, "lines", Some('n'), Required("NUMBER"), LOGS,
        "Show so many lines of the end; all otherwise.",
        |t, v| put(&mut t.lines, text(given(v), values::lines))),
    flag(Streams, "status-fd", None, Required("FD"), RUN,
        "Write events to this open descriptor, one JSON object a line: starting, started with the pid, ready, ended with the status.",
        |t, v| put(&mut t.status_fd, text(given(v), values::descriptor))),
];

/// Letters that stand for long options with a value, as `systemd-nspawn` has them.
pub(crate) const ABBREVIATIONS: &[(char, &[(&str, &str)])] = &[
    ('U', &[("private-users", "pick"), ("private-users-ownership", "auto")]),
    ('j', &[("link-journal", "try-guest")]),
];

/// The long names nearest to an unknown one, nearest first, that `verb` takes.
pub(crate) fn nearest(unknown: &str, verb: Verb) -> Vec<&'static str> {
    nearest::nearest(unknown, of(verb).map(|flag| flag.long))
}
