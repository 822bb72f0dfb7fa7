//! The one table of verbs. Dispatch, help, man pages and completions read it.

/// What `skep` can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Run,
    Plan,
    Audit,
    Check,
    Doctor,
    List,
    Status,
    Exec,
    Stop,
    Kill,
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
    /// One of these.
    Words(&'static [&'static str]),
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
const TOPICS: &[&str] =
    &["run", "plan", "audit", "check", "doctor", "list", "status", "exec", "stop", "kill", "completion", "man"];
const COMPARED: &[(&str, &str)] = &[
    ("shown", "0"),
    ("a bad option, or there is no plan", "1"),
    ("--diff: no difference", "0"),
    ("--diff: they differ", "1"),
    ("--diff: a bad option, or one of the two has no plan", "2"),
];

impl Verb {
    pub(crate) const ALL: [Self; 12] = [
        Self::Run,
        Self::Plan,
        Self::Audit,
        Self::Check,
        Self::Doctor,
        Self::List,
        Self::Status,
        Self::Exec,
        Self::Stop,
        Self::Kill,
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
                short: "check .nspawn or JSON files",
                long: &[
                    "Checks .nspawn files, or containers as JSON, against this host: parses, compiles and verifies \
                     each, and tells all problems of all files. Needs no privileges and starts nothing.",
                ],
                codes: &[("no problem", "0"), ("a problem in any file, or a bad option", "1")],
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
                    "Lists the containers of this user that run, with the process id of the first process of each. \
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
                long: &["Shows a container of this user that runs, and what it uses as far as its cgroups count that."],
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
                ],
                codes: &[
                    ("the command exits", "its code"),
                    ("a signal kills it", "128 and the signal's number"),
                    ("no such container runs, or the start failed", "1"),
                ],
            },
            Self::Stop => &About {
                name: "stop",
                usage: "NAME",
                operands: Operands::Container { command: false },
                short: "stop a container in order",
                long: &[
                    "Sends the container its kill signal, and SIGKILL if it runs on for ten seconds. Returns when it has ended.",
                ],
                codes: &[("it has ended", "0"), ("no such container runs", "1")],
            },
            Self::Kill => &About {
                name: "kill",
                usage: "NAME [SIGNAL]",
                operands: Operands::Container { command: false },
                short: "send a container a signal",
                long: &[
                    "Sends a signal to the container's command; SIGKILL, which is for the whole container, if none is named.",
                ],
                codes: &[("sent", "0"), ("no such container runs, or no such signal", "1")],
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
    pub(crate) const fn bit(self) -> u16 {
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
