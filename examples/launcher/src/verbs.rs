//! The one table of verbs. Dispatch, help, man pages and completions read it.

/// What `skep` can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Run,
    Nspawn,
    Plan,
    Audit,
    Check,
    Convert,
    Doctor,
    List,
    Status,
    Exec,
    Shell,
    Cp,
    Stop,
    Kill,
    Poweroff,
    Reboot,
    Logs,
    Gc,
    Completion,
    Man,
}

/// What follows a verb's options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operands {
    /// Nothing.
    None,
    /// A command and its arguments, which may look like options.
    Command,
    /// Settings files or specs.
    Files,
    /// The name of a container that runs, and a command if so.
    Container { command: bool },
    /// Two paths, of which one is a container's: `NAME:PATH`.
    Copied,
    /// One of these.
    Words(&'static [&'static str]),
}

impl Operands {
    /// Whether what follows has options of its own.
    pub(crate) const fn has_command(self) -> bool {
        matches!(self, Self::Command | Self::Container { command: true })
    }
}

/// A verb's entry.
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// The operands, as usage lines show them.
    pub(crate) usage: &'static str,
    pub(crate) operands: Operands,
    /// In a few words.
    pub(crate) short: &'static str,
    /// Paragraphs.
    pub(crate) long: &'static [&'static str],
    /// Exit codes, by when; those of `run` are a page of their own.
    pub(crate) codes: &'static [(&'static str, &'static str)],
}

const SHELLS: &[&str] = &["bash", "zsh", "fish"];
const TOPICS: &[&str] = &[
    "run",
    "nspawn",
    "plan",
    "audit",
    "check",
    "convert",
    "doctor",
    "list",
    "status",
    "exec",
    "shell",
    "cp",
    "stop",
    "kill",
    "poweroff",
    "reboot",
    "logs",
    "gc",
    "completion",
    "man",
];
const COMPARED: &[(&str, &str)] = &[
    ("shown", "0"),
    ("a bad option, or there is no plan", "1"),
    ("--diff: no difference", "0"),
    ("--diff: they differ", "1"),
    ("--diff: a bad option, or one of the two has no plan", "2"),
];

impl Verb {
    pub(crate) const ALL: [Self; 20] = [
        Self::Run,
        Self::Nspawn,
        Self::Plan,
        Self::Audit,
        Self::Check,
        Self::Convert,
        Self::Doctor,
        Self::List,
        Self::Status,
        Self::Exec,
        Self::Shell,
        Self::Cp,
        Self::Stop,
        Self::Kill,
        Self::Poweroff,
        Self::Reboot,
        Self::Logs,
        Self::Gc,
        Self::Completion,
        Self::Man,
    ];

    pub(crate) const fn about(self) -> &'static About {
        match self {
            Self::Run => &About {
                name: "run",
                usage: "[--] [COMMAND ARGS…]",
                operands: Operands::Command,
                short: "run a command",
                long: &[
                    "Runs a command in a container, hardened unless options say otherwise.",
                    "Options are spelled as systemd-nspawn spells them. They end at the first word that is none. \
                     A scalar given twice: the last one wins. Lists add up.",
                ],
                codes: &[("see skep help exit-codes", "0 to 255")],
            },
            Self::Nspawn => &About {
                name: "nspawn",
                usage: "[--] [COMMAND ARGS…]",
                operands: Operands::Command,
                short: "as systemd-nspawn",
                long: &[
                    "Takes the options, settings files and trees of systemd-nspawn(1), with its defaults, and needs no \
                     systemd. A link of the name systemd-nspawn or nspawn to skep does the same.",
                    "Options end at the first word that is none. A scalar given twice: the last one wins. Lists add up. \
                     Where a value is one of a few words, `help` lists them. Without --directory= or --machine= the \
                     current directory is the tree; without a command a shell is run.",
                ],
                codes: &[
                    ("the command exits with 0 to 255", "the same code; 133 becomes 1"),
                    ("a signal kills the command", "1, or 255 with --as-pid2"),
                    ("the container asks for a reboot", "133 with --keep-unit; else it is started anew"),
                    ("the container powers itself off or halts", "0"),
                    (
                        "SIGTERM or SIGINT to skep: the command ends by the kill signal",
                        "0, or the code that it exits with",
                    ),
                    ("  without a kill signal, or a second one: it is killed", "1"),
                    ("a bad option, or the start failed", "1"),
                ],
            },
            Self::Plan => &About {
                name: "plan",
                usage: "[--] [COMMAND ARGS…]",
                operands: Operands::Command,
                short: "show what `run` would do",
                long: &[
                    "Shows what `skep run` with the same options would do, step by step, and who asked for it. \
                     Needs no privileges and starts nothing.",
                    "With --diff: the steps that differ between two files, `-` for the first and `+` for the second. \
                     Other options apply to both.",
                ],
                codes: COMPARED,
            },
            Self::Audit => &About {
                name: "audit",
                usage: "[--] [COMMAND ARGS…]",
                operands: Operands::Command,
                short: "show what it would hold and reach",
                long: &[
                    "Shows what a container with the same options would hold and reach, item by item, each with a \
                     score and the reason for it. Needs no privileges and starts nothing.",
                    "A score says how much the item alone gives to a hostile command: 0.0 is nothing, 10.0 is the \
                     host. The whole is not a mean: rows combine as independent ways out would. With --diff: the \
                     items in which two files differ. Other options apply to both.",
                ],
                codes: &[
                    ("shown", "0"),
                    ("a bad option, or there is no plan", "1"),
                    ("the whole is above --threshold=", "1"),
                    ("--diff: no difference", "0"),
                    ("--diff: they differ", "1"),
                    ("--diff: a bad option, or one of the two has no plan", "2"),
                ],
            },
            Self::Check => &About {
                name: "check",
                usage: "FILE…",
                operands: Operands::Files,
                short: "check .nspawn, JSON and TOML files",
                long: &[
                    "Checks .nspawn files, or containers as JSON or TOML, against this host: parses, compiles and verifies \
                     each, and tells all problems of all files. Needs no privileges and starts nothing.",
                ],
                codes: &[("no problem", "0"), ("a problem in any file, or a bad option", "1")],
            },
            Self::Convert => &About {
                name: "convert",
                usage: "FILE [OUTPUT]",
                operands: Operands::Files,
                short: "convert .nspawn, JSON and TOML",
                long: &[
                    "Converts a container from one format to another: .nspawn, JSON and TOML. What the other format \
                     cannot say is an error, and nothing is written.",
                    "The formats are those of the files' endings. Without OUTPUT, the text goes to standard output, as \
                     JSON unless --to= says otherwise. OUTPUT must not exist; it is written with mode 0600, for it \
                     holds the values of environment variables.",
                ],
                codes: &[("converted", "0"), ("a problem in the file, or what cannot be said or written", "1")],
            },
            Self::Doctor => &About {
                name: "doctor",
                usage: "",
                operands: Operands::None,
                short: "tell what this host allows",
                long: &["Tells what this host allows to this user, what will not work, and the remedy. Starts a few \
                     containers that end at once."],
                codes: &[("a strict container can be started", "0"), ("none can, or a bad option", "1")],
            },
            Self::List => &About {
                name: "list",
                usage: "",
                operands: Operands::None,
                short: "list containers that run",
                long: &[
                    "Lists the containers of this user that run: name, state, process id of the first process, since \
                     when (UTC), the system as its os-release(5) names it, and the root on the host. \
                     Those of `skep run` that have a name, by --machine= or their settings file, are registered \
                     where the user has a runtime directory: /run for root, $XDG_RUNTIME_DIR for others.",
                ],
                codes: &[("listed, also where there are none", "0"), ("the registry cannot be read", "1")],
            },
            Self::Status => &About {
                name: "status",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "show a container that runs",
                long: &[
                    "Shows a container of this user that runs: since when, its root, the system in it, its addresses \
                     where it has a network of its own, what it uses as far as its cgroups count that, the tree of \
                     its processes, and the end of its log if it was started with --detach.",
                ],
                codes: &[("it runs", "0"), ("no such container runs", "1")],
            },
            Self::Exec => &About {
                name: "exec",
                usage: "NAME [--] COMMAND [ARGS…]",
                operands: Operands::Container { command: true },
                short: "run a command in a container that runs",
                long: &[
                    "Runs a further command in a container of this user, confined as its first command is. It has a \
                     terminal of the container's where skep has one. Of the variables that were given to the first \
                     command it has none.",
                    "Refused are a container that is paused, one that shares the host's process ids, and one whose \
                     system calls a listener answers.",
                ],
                codes: &[
                    ("the command exits", "its code"),
                    ("a signal kills it", "128 and the signal's number"),
                    ("no such container runs, or the start failed", "1"),
                ],
            },
            Self::Shell => &About {
                name: "shell",
                usage: "[USER@]NAME [COMMAND…]",
                operands: Operands::Container { command: true },
                short: "log into a container that runs",
                long: &[
                    "Runs the login shell of a user, as the container's /etc/passwd has it, or another command, in the \
                     user's home directory and groups, on a terminal of the container's where skep has one. Without a \
                     user: that of the container's command. It is confined as skep exec is, and ends with the container.",
                ],
                codes: &[
                    ("the shell exits", "its code"),
                    ("a signal kills it", "128 and the signal's number"),
                    ("no such container runs, or the start failed", "1"),
                ],
            },
            Self::Cp => &About {
                name: "cp",
                usage: "NAME:PATH HOST | HOST NAME:PATH",
                operands: Operands::Copied,
                short: "copy files in or out",
                long: &[
                    "Copies a file, or a directory with all below it, out of a container of this user that runs, or \
                     into it. The copy gets the name that the second word ends in; after a slash at its end, and in a \
                     directory of the host that is there, the name that the first one ends in. A file takes the \
                     place of a file; a directory of that name must not be there yet. A copy that fails leaves nothing.",
                    "Inside, all that is copied in belongs to root; on the host, what is copied out belongs to the \
                     caller, and others cannot write to it. No set-id bit is kept. Links are copied as they are and never \
                     followed; one that leads out of a directory that is copied out is refused, as are FIFOs, sockets, \
                     devices and mounts below it, more than 64 directories in each other, a million entries, or 64 GiB.",
                    "A path of the host with a colon before its first slash is written with ./ in front.",
                ],
                codes: &[("copied", "0"), ("no such container runs, or nothing was copied", "1")],
            },
            Self::Stop => &About {
                name: "stop",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "stop a container in order",
                long: &[
                    "Sends the container its kill signal, and SIGKILL if it runs on for ten seconds, or as --timeout= \
                     says. Returns when it has ended. A shell on a terminal ignores SIGTERM: skep kill NAME HUP.",
                    "With --json: how it ended, as far as the kernel remembers that (Linux 6.15) and its owner has \
                     taken note; else code and signal are null.",
                ],
                codes: &[("it has ended", "0"), ("no such container runs", "1")],
            },
            Self::Kill => &About {
                name: "kill",
                usage: "NAME [SIGNAL]",
                operands: Operands::Container { command: false },
                short: "send a container a signal",
                long: &[
                    "Sends a signal to the container's command, or with --whom=all to each process of the container; \
                     SIGKILL, which is for the whole container, if none is named.",
                ],
                codes: &[("sent", "0"), ("no such container runs, or no such signal", "1")],
            },
            Self::Poweroff => &About {
                name: "poweroff",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "ask a container to power itself off",
                long: &[
                    "Asks an init that is the container's process 1 to power off, by SIGRTMIN+4, as machinectl(1) does; \
                     what runs below a stub init gets its kill signal. Does not wait, and kills nothing: see skep stop.",
                ],
                codes: &[("it was asked", "0"), ("no such container runs", "1")],
            },
            Self::Reboot => &About {
                name: "reboot",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "ask a container to reboot",
                long: &["Asks an init that is the container's process 1 to reboot, by SIGINT, which is to it what \
                     Ctrl-Alt-Del is elsewhere, as machinectl(1) does. Does not wait. A command below a stub init knows no \
                     reboot, and is left alone."],
                codes: &[("it was asked", "0"), ("no such container runs, or its command is no init", "1")],
            },
            Self::Logs => &About {
                name: "logs",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "show what a detached container said",
                long: &[
                    "Shows the log of a container that was started with --detach: what its command and its supervisor \
                     have said, the last one to two megabytes. It is there from the start on, also when the container \
                     has ended, until the next start of that name or skep gc.",
                    "The log is in .logs/NAME.log below the directory of the containers' entries: /run/skep for root, \
                     $XDG_RUNTIME_DIR/skep for others. With a terminal of the container's in it, as with \
                     --console=read-only, it holds what that was sent, control characters too.",
                ],
                codes: &[("shown; with --follow: the container has ended", "0"), ("there is no log of that name", "1")],
            },
            Self::Gc => &About {
                name: "gc",
                usage: "",
                operands: Operands::None,
                short: "remove what killed programs left",
                long: &[
                    "Removes what programs of this user have left that started containers and were killed, together \
                     with the process that clears up after them: entries of containers that are gone, cgroups \
                     without processes whose maker has ended, and, as root, the file of the locks on ranges of ids \
                     where none is held. Logs of detached containers that have ended go as well, and directories in which the socket of a \
                     journal was to be. Says what it removed, a line for each.",
                    "Nothing that lives is touched, and nothing of others. It may run at any time.",
                ],
                codes: &[
                    ("all is removed, also where nothing was left", "0"),
                    ("something could not be removed, or the registry cannot be read", "1"),
                ],
            },
            Self::Completion => &About {
                name: "completion",
                usage: "bash|zsh|fish",
                operands: Operands::Words(SHELLS),
                short: "print completions for a shell",
                long: &["Prints a script that completes the words of skep. For bash: source <(skep completion bash). \
                     For zsh: into a file _skep on $fpath. For fish: into ~/.config/fish/completions/skep.fish."],
                codes: &[("printed", "0"), ("no such shell", "1")],
            },
            Self::Man => &About {
                name: "man",
                usage: "[VERB]",
                operands: Operands::Words(TOPICS),
                short: "print a manual page",
                long: &[
                    "Prints the manual page of skep or of one verb, in the form that man(1) reads. To look at it: \
                     skep man run | man -l -. To install it: into man1/skep-run.1.",
                ],
                codes: &[("printed", "0"), ("no such verb", "1")],
            },
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.about().name
    }

    /// The verb of that name.
    pub(crate) fn named(name: impl AsRef<std::ffi::OsStr>) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| name.as_ref() == verb.name())
    }

    /// As a set of one, for the table of flags.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_the_verbs() {
        assert!(Verb::ALL.iter().map(|verb| verb.name()).eq(TOPICS.iter().copied()));
        for verb in Verb::ALL {
            assert_eq!(Verb::named(verb.name()), Some(verb));
            assert!(verb.about().long.iter().all(|text| text.ends_with('.')));
        }
    }
}
