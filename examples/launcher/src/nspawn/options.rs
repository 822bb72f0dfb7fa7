//! What becomes of each option of `systemd-nspawn`: the one table of which help,
//! the manual page, the guide's page and the tests speak.

use skep::dialect::nspawn::value;

use super::environment;
use skep::sys::abi::{CAPABILITY_NAMES, Resource};

/// What becomes of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// It does what it does there.
    Works,
    /// It does, but for this.
    But(&'static str),
    /// It is accepted, and nothing comes of it, for this reason.
    Nothing(&'static str),
    /// It is refused: `why; what to do`.
    Refused(&'static str),
}

/// One option, by its long name, or by its letter where it has no other.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) letter: Option<char>,
    pub(crate) status: Status,
}

const fn known(name: &'static str, letter: Option<char>, status: Status) -> Known {
    Known { name, letter, status }
}

use Status::{But, Nothing, Refused, Works};

const IMAGE: &str = "of an image the root partition alone is taken; mount it, and name the directory with --directory=";
const LIMITED: &str = "systemd-journal-remote knows it since 253";
const VERITY: &str = "dm-verity is not set up here; set it up with veritysetup(8), and mount the device";

/// All options of `systemd-nspawn` 262, by name; its two letters without a name last.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[Known] = &[
    known("ambient-capability", None, Works),
    known("as-pid2", Some('a'), Works),
    known("background", None, Nothing("the terminal keeps its own colours")),
    known("bind", None, But("an empty source is a directory in memory; none on /")),
    known("bind-ro", None, But("an empty source is a directory in memory; none on /")),
    known("bind-user", None, But("the host's own files are read; no service is asked for users")),
    known("bind-user-group", None, Works),
    known("bind-user-shell", None, Works),
    known("boot", Some('b'), Works),
    known("capability", None, Works),
    known("chdir", None, Works),
    known("cleanup", None, But("what all killed programs of this user left is removed, as by `skep gc`")),
    known("console", None, But("there is a mode more: `relay`")),
    known("cpu-affinity", None, Works),
    known("directory", Some('D'), Works),
    known("drop-capability", None, Works),
    known("ephemeral", Some('x'), But("changes are kept in memory: nothing is copied")),
    known("forward-journal", None, But("systemd-journal-remote runs in a container of its own")),
    known("forward-journal-keep-free", None, But(LIMITED)),
    known("forward-journal-max-file-size", None, But(LIMITED)),
    known("forward-journal-max-files", None, But(LIMITED)),
    known("forward-journal-max-use", None, But(LIMITED)),
    known("help", Some('h'), Works),
    known("hostname", None, Works),
    known("image", Some('i'), But("of one file system, or a GPT with a root partition; other partitions are not mounted")),
    known("image-policy", None, Refused(IMAGE)),
    known("inaccessible", None, Works),
    known("introspect-cli", None, Refused("it shows systemd's own parser to its tests; see --help")),
    known("keep-unit", None, But("no unit is ever left; what becomes of a reboot is as there")),
    known("kill-signal", None, Works),
    known("link-journal", None, But("a directory that is made on the host is closed to others than its group")),
    known("load-credential", None, Works),
    known("machine", Some('M'), Works),
    known("mstack", None, But("a disk image is taken where it is all of the root; beside `root`, set-user-id of /usr is not honoured; binds alone are no root")),
    known("network-bridge", None, Works),
    known("network-interface", None, Works),
    known("network-ipvlan", None, Works),
    known("network-macvlan", None, Works),
    known("network-namespace-path", None, Works),
    known("network-veth", Some('n'), Works),
    known("network-veth-extra", None, Works),
    known("network-zone", None, Works),
    known("no-ask-password", None, Nothing("nobody is asked")),
    known("no-new-privileges", None, Works),
    known("no-pager", None, Nothing("help is not paged")),
    known("notify-ready", None, Works),
    known("oci-bundle", None, Refused("bundles come with the OCI runtime, which is not there yet; write what its config.json asks for as options, or as a spec for skep run -f")),
    known("oom-score-adjust", None, Works),
    known("overlay", None, But("none on /: the root is named by --directory= and --volatile=")),
    known("overlay-ro", None, But("none on /")),
    known("personality", None, Works),
    known("pipe", Some('P'), Works),
    known("pivot-root", None, But("no link may lead to the new root")),
    known("port", Some('p'), Works),
    known("private-network", None, Works),
    known("private-users", None, But("no service is asked for `managed`: root gets a range that is picked, others their own of /etc/subuid")),
    known("private-users-chown", None, Works),
    known("private-users-delegate", None, But("0 alone: further ranges are handed out inside by systemd-nsresourced, of which nothing inside is given a socket; give one large range")),
    known("private-users-ownership", None, But("a tree of any range can be mapped, not that of ids from 0 on alone")),
    known("property", None, But("limits are honoured, without a unit; other properties come to nothing")),
    known("quiet", Some('q'), Works),
    known("read-only", None, Works),
    known("register", None, But("in Skep's own registry as well, where `no` takes the name of root's machines all the same: no two have one; in the unit of the caller, no scope is made")),
    known("resolv-conf", None, But(
        "what is copied lies over the tree: at most an empty mount point is made in it; `delete` removes the tree's",
    )),
    known("restrict-address-families", None, Works),
    known("rlimit", None, Works),
    known("root-hash", None, Refused(VERITY)),
    known("root-hash-sig", None, Refused(VERITY)),
    known("selinux-apifs-context", Some('L'), Refused("file systems get no SELinux label here; leave it out where SELinux is off")),
    known("selinux-context", Some('Z'), Refused("processes get no SELinux label here; leave it out where SELinux is off")),
    known("set-credential", None, Works),
    known("setenv", Some('E'), Works),
    known("settings", None, Works),
    known("share-system", None, Refused("it is a leftover; share namespaces one by one with --namespace=")),
    known("slice", Some('S'), Nothing("there is no unit of its own")),
    known("suppress-sync", None, Works),
    known("system", None, Nothing("the scope is that of the caller: of the system for root")),
    known("system-call-filter", None, Works),
    known("template", None, But("a copy shares its data where the file system can (reflink); no snapshot is made")),
    known("timezone", None, But(
        "the file lies over the tree: at most an empty mount point is made in it; `delete` removes the tree's",
    )),
    known("tmpfs", None, But("bounded even if nothing is said, never on /; set-user-id and devices are never honoured, quotas and what is unbounded are refused")),
    known("uid", Some('u'), But("the tree's /etc/passwd and /etc/group are read; no getent(1) runs")),
    known("user", None, But("as --uid=; there is no scope of a user")),
    known("uuid", None, Works),
    known("verity-data", None, Refused(VERITY)),
    known("version", None, Works),
    known("volatile", None, Works),
    known("U", None, Works),
    known("j", None, Works),
];

impl Known {
    /// As it is typed: `--bind`, `-U`.
    pub(crate) fn spelled(&self) -> String {
        match self.name.len() {
            1 => format!("-{}", self.name),
            _ => format!("--{}", self.name),
        }
    }
}

/// Why the option with this name or letter is refused, and what to do.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    let letter = |known: &Known| known.letter.is_some_and(|letter| name == letter.to_string());
    OPTIONS.iter().find(|known| known.name == name || letter(known)).and_then(|known| match known.status {
        Refused(why) => Some(why),
        _ => None,
    })
}

/// Those that are refused, and why.
pub(crate) fn refused() -> impl Iterator<Item = (String, &'static str)> {
    OPTIONS.iter().filter_map(|known| match known.status {
        Refused(why) => Some((known.spelled(), why)),
        _ => None,
    })
}

/// The table, as `skep help options` prints it and the guide has it.
pub(crate) fn table() -> String {
    let row = |known: &Known| {
        let letter = known.letter.map_or_else(String::new, |letter| format!("`-{letter}`, "));
        let (status, note) = match known.status {
            Works => ("works", ""),
            But(what) => ("works, but", what),
            Nothing(why) => ("accepted", why),
            Refused(why) => ("refused", why),
        };
        format!("| {letter}`{}` | {status} | {note} |\n", known.spelled())
    };
    let options: String = OPTIONS.iter().map(row).collect();
    let variables: String =
        environment::VARIABLES.iter().map(|(name, what)| format!("| `{name}` | {what} |\n")).collect();
    format!("| option | | |\n|---|---|---|\n{options}\n| variable | |\n|---|---|\n{variables}")
}

/// The words that the value of an option can be, where it lists them for `help`.
pub(crate) fn words(long: &str) -> Option<Vec<String>> {
    let of = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    match long {
        "capability" | "drop-capability" | "ambient-capability" => of(CAPABILITY_NAMES),
        "console" => of(&["interactive", "read-only", "passive", "pipe", "autopipe", "relay"]),
        "kill-signal" => Some((1..=64).filter(|number| !matches!(number, 32 | 33)).map(value::signal_name).collect()),
        "resolv-conf" => Some(value::resolv_conf_words().map(str::to_owned).collect()),
        "timezone" => Some(value::timezone_words().map(str::to_owned).collect()),
        "private-users-ownership" => of(&["off", "chown", "map", "foreign", "auto"]),
        "rlimit" => of(Resource::NAMES),
        "volatile" => of(&["no", "yes", "state", "overlay"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{self, ABBREVIATIONS};
    use crate::verbs::Verb;

    /// The options of `systemd-nspawn` 262, as its manual page and its `--help` have them.
    const CONTRACT: &str = "\
        help version no-pager quiet settings cleanup no-ask-password directory template ephemeral image image-policy \
        mstack oci-bundle read-only volatile root-hash root-hash-sig verity-data pivot-root as-pid2 boot chdir setenv uid \
        kill-signal notify-ready suppress-sync machine hostname uuid slice property register keep-unit private-users \
        private-users-ownership private-users-chown private-users-delegate U private-network network-interface \
        network-macvlan network-ipvlan network-veth network-veth-extra network-bridge network-zone \
        network-namespace-path port capability drop-capability ambient-capability no-new-privileges system-call-filter \
        restrict-address-families selinux-context selinux-apifs-context rlimit oom-score-adjust cpu-affinity personality \
        resolv-conf timezone link-journal j forward-journal forward-journal-max-use forward-journal-keep-free \
        forward-journal-max-file-size forward-journal-max-files bind bind-ro tmpfs inaccessible overlay overlay-ro \
        bind-user bind-user-shell bind-user-group console pipe background set-credential load-credential user system \
        share-system introspect-cli";

    #[test]
    fn the_table_is_the_contract() {
        let mut contract: Vec<&str> = CONTRACT.split_whitespace().collect();
        let mut table: Vec<&str> = OPTIONS.iter().map(|known| known.name).collect();
        assert_eq!(contract.len(), 89);
        assert!(table[..87].is_sorted());
        contract.sort_unstable();
        table.sort_unstable();
        assert_eq!(table, contract);
    }

    /// What the table says of an option is what the parser does.
    #[test]
    fn the_table_is_the_parser() {
        for known in OPTIONS {
            let flag = flags::of(Verb::Nspawn).find(|flag| flag.long == known.name);
            let letters = ABBREVIATIONS.iter().any(|(letter, _)| known.name == letter.to_string());
            let refused = matches!(known.status, Refused(_));
            assert_eq!(flag.is_some() || letters, !refused, "{}", known.name);
            if let Some(flag) = flag {
                assert_eq!(flag.short, known.letter, "{}", known.name);
            }
            if let Refused(why) = known.status {
                assert!(why.contains("; ") && !why.ends_with('.'), "why, and what to do: {why}");
            }
        }
    }
}
