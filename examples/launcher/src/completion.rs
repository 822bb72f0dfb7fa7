//! Completions for shells, made from the tables of verbs and flags.

use std::fmt::Write;

use skep::sys::abi::{CAPABILITY_NAMES, Resource};

use crate::flags::{self, FLAGS, Flag, Value};
use crate::verbs::{Operands, Verb};

/// The shells that there is a script for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    pub(crate) fn script(self) -> String {
        match self {
            Self::Bash => bash(),
            Self::Zsh => zsh(),
            Self::Fish => fish(),
        }
    }
}

/// What a value can be.
enum Values {
    /// Of no known set.
    Any,
    Files,
    Directories,
    Users,
    Words(String),
}

/// Signals that one would send to a container.
const SIGNALS: &str = "SIGHUP SIGINT SIGQUIT SIGKILL SIGUSR1 SIGUSR2 SIGTERM SIGRTMIN+3";

/// What the value of a flag can be, by the name that help has for it where
/// that tells. A word that ends in `=` or `:` has to go on.
fn values(long: &str, name: &str) -> Values {
    let words = |words: &str| Values::Words(words.to_owned());
    match (name, long) {
        ("FILE", _) | ("PATH", "network-namespace-path") => Values::Files,
        ("DIR", _) => Values::Directories,
        ("USER", _) => Values::Users,
        ("BOOL", _) => words("yes no"),
        ("CAP,…", "ambient-capability") => Values::Words(CAPABILITY_NAMES.join(" ")),
        ("CAP,…", _) => Values::Words(format!("all {}", CAPABILITY_NAMES.join(" "))),
        ("SIGNAL", _) => words(SIGNALS),
        ("NAME=SOFT[:HARD]", _) => {
            Values::Words(Resource::NAMES.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(" "))
        }
        (_, "private-users") => words("own subordinate pick identity no"),
        (_, "console") => words("interactive read-only passive relay pipe autopipe"),
        (_, "resolv-conf") => words("auto off copy-host replace-host bind-host delete"),
        (_, "timezone") => words("auto off copy bind symlink delete"),
        (_, "personality") => words("x86-64 x86 arm64 arm"),
        (_, "namespace") => words("ipc= uts= cgroup= pid= time="),
        (_, "time-offset") => words("monotonic= boottime="),
        (_, "scheduling-policy") => words("other batch idle fifo: rr:"),
        (_, "io-priority") => words("idle best-effort: real-time:"),
        _ if name.starts_with("SRC") => Values::Files,
        _ if !name.contains(|char: char| !(char.is_ascii_lowercase() || char == '|')) => {
            Values::Words(name.replace('|', " "))
        }
        _ => Values::Any,
    }
}

fn value_of(flag: &Flag) -> Option<(&'static str, bool)> {
    match flag.value {
        Value::None => None,
        Value::Optional(name) => Some((name, false)),
        Value::Required(name) => Some((name, true)),
    }
}

/// `*:--long|*:-l`, as a pattern of the verb and the word; a letter that other
/// verbs have for something else stands with its own.
fn pattern(flag: &Flag) -> String {
    let long = format!("*:--{}", flag.long);
    let Some(letter) = flag.short else { return long };
    let alone = FLAGS.iter().filter(|other| other.short == flag.short).count() == 1;
    let verbs = Verb::ALL.into_iter().filter(|verb| flag.is_for(*verb)).map(Verb::name);
    let short: Vec<String> = match alone {
        true => vec![format!("*:-{letter}")],
        false => verbs.map(|verb| format!("{verb}:-{letter}")).collect(),
    };
    format!("{long}|{}", short.join("|"))
}

/// The names of containers that run, for a shell.
const RUNNING: &str = r"$(skep list --no-legend 2>/dev/null | cut -d\  -f1)";

/// What follows a container's name, where that is no command.
fn after_name(verb: Verb) -> &'static str {
    if verb == Verb::Kill { SIGNALS } else { "" }
}

fn topics(verb: Verb) -> &'static [&'static str] {
    match verb.about().operands {
        Operands::Words(words) => words,
        _ => &[],
    }
}

fn bash() -> String {
    let mut script = String::from(
        "# bash completion for skep; made by `skep completion bash`.\n\
         _skep() {\n    local cur=${COMP_WORDS[COMP_CWORD]} flag='' eq='' at word operand=''\n    COMPREPLY=()\n    \
         if (( COMP_CWORD == 1 )); then\n",
    );
    let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.name()).collect();
    let _ =
        writeln!(script, "        COMPREPLY=($(compgen -W '{} help --help --version' -- \"$cur\"))", verbs.join(" "));
    script.push_str("        return\n    fi\n");
    // bash breaks words at `=`.
    script.push_str(
        "    if [[ $cur == '=' ]]; then\n        flag=${COMP_WORDS[COMP_CWORD-1]} cur='' eq=1\n    \
         elif [[ ${COMP_WORDS[COMP_CWORD-1]} == '=' ]]; then\n        flag=${COMP_WORDS[COMP_CWORD-2]} eq=1\n    \
         else\n        flag=${COMP_WORDS[COMP_CWORD-1]}\n    fi\n",
    );
    // Where options have ended: at the first word that is none.
    let takers: Vec<String> =
        FLAGS.iter().filter(|flag| matches!(flag.value, Value::Required(_))).map(pattern).collect();
    let _ = write!(
        script,
        "    for (( at = 2; at < COMP_CWORD; at++ )); do\n        word=${{COMP_WORDS[at]}}\n        case ${{COMP_WORDS[1]}}:$word in\n            \
         *:--) operand=$((at + 1)); break ;;\n            {}) (( at++ )); [[ ${{COMP_WORDS[at]-}} == '=' ]] && (( at++ )) ;;\n            \
         *:-*) [[ ${{COMP_WORDS[at+1]}} == '=' ]] && (( at += 2 )) ;;\n            *) operand=$at; break ;;\n        esac\n    done\n",
        takers.join("|")
    );
    script.push_str("    if [[ -z $operand ]]; then\n        case $eq${COMP_WORDS[1]}:$flag in\n");
    for flag in FLAGS {
        let Some((name, required)) = value_of(flag) else { continue };
        let action = match values(flag.long, name) {
            Values::Any => String::new(),
            Values::Files => "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
            Values::Directories => "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$cur\"))".to_owned(),
            Values::Users => "COMPREPLY=($(compgen -u -- \"$cur\"))".to_owned(),
            Values::Words(words) => format!("COMPREPLY=($(compgen -W '{words}' -- \"$cur\"))"),
        };
        let apart = if required { format!("|{}", pattern(flag)) } else { String::new() };
        let _ = writeln!(script, "            1*:--{}{apart}) {action}; return ;;", flag.long);
    }
    let script_end = script.replace(") ; return", ") return");
    let mut script = script_end;
    script.push_str("        esac\n        if [[ $cur == -* ]]; then\n            case ${COMP_WORDS[1]} in\n");
    for verb in Verb::ALL {
        // A value follows at once.
        let words: Vec<String> = flags::of(verb)
            .map(|flag| format!("--{}{}", flag.long, if matches!(flag.value, Value::Required(_)) { "=" } else { "" }))
            .collect();
        let _ = writeln!(
            script,
            "                {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")) ;;",
            verb.name(),
            words.join(" ")
        );
    }
    script.push_str(
        "            esac\n            [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n            return\n        fi\n    fi\n    \
         case ${COMP_WORDS[1]} in\n",
    );
    for verb in Verb::ALL {
        let action = match verb.about().operands {
            Operands::None => "".to_owned(),
            Operands::Command => {
                "if [[ -z $operand || $operand == \"$COMP_CWORD\" ]] && [[ \" ${COMP_WORDS[*]} \" != *' --diff '* ]]; then\n            \
                 COMPREPLY=($(compgen -c -- \"$cur\"))\n        else\n            compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))\n        fi"
                    .to_owned()
            }
            Operands::Files => "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
            Operands::Copied => format!(
                "compopt -o filenames -o nospace; COMPREPLY=($(compgen -S : -W \"{RUNNING}\" -- \"$cur\") $(compgen -f -- \"$cur\"))"
            ),
            Operands::Container { command } => {
                let then = if command { "-c".to_owned() } else { format!("-W '{}'", after_name(verb)) };
                format!(
                    "if [[ -z $operand || $operand == \"$COMP_CWORD\" ]]; then\n            \
                     COMPREPLY=($(compgen -W \"{RUNNING}\" -- \"$cur\"))\n        \
                     elif (( COMP_CWORD == operand + 1 )) || [[ ${{COMP_WORDS[COMP_CWORD-1]}} == -- ]]; then\n            \
                     COMPREPLY=($(compgen {then} -- \"$cur\"))\n        \
                     else\n            compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))\n        fi"
                )
            }
            Operands::Words(words) => format!("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", words.join(" ")),
        };
        let _ = writeln!(script, "        {}) {action} ;;", verb.name());
    }
    let _ = write!(
        script,
        "        help) COMPREPLY=($(compgen -W '{} exit-codes events options' -- \"$cur\")) ;;\n    esac\n}}\ncomplete -F _skep skep\n",
        topics(Verb::Man).join(" ")
    );
    script
}

/// Text in single quotes, in a description between brackets.
fn zsh_text(text: &str) -> String {
    let mut quoted = String::new();
    for char in text.chars() {
        match char {
            '\'' => quoted.push_str("'\\''"),
            '[' | ']' | ':' | '\\' => {
                quoted.push('\\');
                quoted.push(char);
            }
            '`' => {}
            _ => quoted.push(char),
        }
    }
    quoted
}

fn zsh() -> String {
    let mut script = String::from(
        "#compdef skep\n# zsh completion for skep; made by `skep completion zsh`.\n_skep() {\n  local -a verbs\n  verbs=(\n",
    );
    for verb in Verb::ALL {
        let _ = writeln!(script, "    '{}:{}'", verb.name(), zsh_text(verb.about().short));
    }
    script.push_str(
        "    'help:explain'\n  )\n  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n",
    );
    script.push_str("  local verb=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $verb in\n");
    for verb in Verb::ALL {
        let _ = writeln!(script, "    {})\n      _arguments -s -S -A '-*' \\", verb.name());
        for flag in flags::of(verb) {
            let doc = zsh_text(flag.doc);
            let action = value_of(flag).map(|(name, required)| {
                let action = match values(flag.long, name) {
                    Values::Any => " ".to_owned(),
                    Values::Files => "_files".to_owned(),
                    Values::Directories => "_directories".to_owned(),
                    Values::Users => "_users".to_owned(),
                    Values::Words(words) => format!("({words})"),
                };
                (format!("{}{}:{action}", if required { ":" } else { "::" }, zsh_text(name)), required)
            });
            let (long, short, value) = match &action {
                None => ("", "", ""),
                Some((value, true)) => ("=", "+", value.as_str()),
                Some((value, false)) => ("=-", "", value.as_str()),
            };
            let _ = writeln!(script, "        '*--{}{long}[{doc}]{value}' \\", flag.long);
            if let Some(letter) = flag.short {
                let value = if short.is_empty() { "" } else { value };
                let _ = writeln!(script, "        '*-{letter}{short}[{doc}]{value}' \\");
            }
        }
        let operands = match verb.about().operands {
            Operands::None => "&& return".to_owned(),
            Operands::Command => "'*:::command:_normal'".to_owned(),
            Operands::Files => "'*:file:_files'".to_owned(),
            Operands::Copied => "'*:path:_files'".to_owned(),
            Operands::Container { command: false } => format!("'1:container:({RUNNING})' '2: :({})'", after_name(verb)),
            Operands::Container { command: true } => format!("'1:container:({RUNNING})' '*:::command:_normal'"),
            Operands::Words(words) => format!("'1:word:({})'", words.join(" ")),
        };
        let _ = writeln!(script, "        {operands}\n      ;;");
    }
    let _ = write!(
        script,
        "    help)\n      _arguments '1:topic:({} exit-codes events options)'\n      ;;\n  esac\n}}\n_skep \"$@\"\n",
        topics(Verb::Man).join(" ")
    );
    script
}

/// Text in single quotes.
fn fish_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'").replace('`', "")
}

fn fish() -> String {
    let mut script = String::from("# fish completion for skep; made by `skep completion fish`.\ncomplete -c skep -f\n");
    for verb in Verb::ALL {
        let _ = writeln!(
            script,
            "complete -c skep -n __fish_use_subcommand -a {} -d '{}'",
            verb.name(),
            fish_text(verb.about().short)
        );
    }
    script.push_str("complete -c skep -n __fish_use_subcommand -a help -d 'explain'\n");
    for flag in FLAGS {
        let verbs: Vec<&str> = Verb::ALL.into_iter().filter(|verb| flag.is_for(*verb)).map(Verb::name).collect();
        let short = flag.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
        // An optional value only ever follows `=`, which fish completes by itself.
        let value = match value_of(flag) {
            Some((name, true)) => match values(flag.long, name) {
                Values::Any => " -x".to_owned(),
                Values::Files => " -r -F".to_owned(),
                Values::Directories => " -x -a '(__fish_complete_directories)'".to_owned(),
                Values::Users => " -x -a '(__fish_complete_users)'".to_owned(),
                Values::Words(words) => format!(" -x -a '{words}'"),
            },
            _ => String::new(),
        };
        let _ = writeln!(
            script,
            "complete -c skep -n '__fish_seen_subcommand_from {}' -l {}{short}{value} -d '{}'",
            verbs.join(" "),
            flag.long,
            fish_text(flag.doc)
        );
    }
    for verb in Verb::ALL {
        let operands = match verb.about().operands {
            Operands::None => continue,
            Operands::Command => "-a '(__fish_complete_subcommand)'".to_owned(),
            Operands::Files => "-F".to_owned(),
            Operands::Copied => "-F -a '(skep list --no-legend 2>/dev/null | string split -f1 \" \"):'".to_owned(),
            Operands::Container { .. } => {
                let words =
                    format!("(skep list --no-legend 2>/dev/null | string split -f1 \" \") {}", after_name(verb));
                format!("-a '{}'", words.trim_end())
            }
            Operands::Words(words) => format!("-a '{}'", words.join(" ")),
        };
        let _ = writeln!(script, "complete -c skep -n '__fish_seen_subcommand_from {}' {operands}", verb.name());
    }
    let _ = writeln!(
        script,
        "complete -c skep -n '__fish_seen_subcommand_from help' -a '{} exit-codes events options'",
        topics(Verb::Man).join(" ")
    );
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_every_flag_and_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = shell.script();
            for flag in FLAGS {
                let named = match shell {
                    Shell::Fish => script.contains(&format!(" -l {}", flag.long)),
                    _ => script.contains(&format!("--{}", flag.long)),
                };
                assert!(named, "{} for {shell:?}", flag.long);
            }
            for verb in Verb::ALL {
                assert!(script.contains(verb.name()), "{verb:?} for {shell:?}");
            }
        }
    }

    #[test]
    fn sets_of_values() {
        assert!(matches!(values("network", "none|host"), Values::Words(words) if words == "none host"));
        assert!(matches!(values("bind", "SRC[:DST[:OPTS]]"), Values::Files));
        assert!(matches!(values("memory", "BYTES"), Values::Any));
        assert!(matches!(values("umask", "OCTAL"), Values::Any));
    }

    #[test]
    fn a_word_that_is_proposed_is_taken() {
        for flag in FLAGS {
            let Some((name, _)) = value_of(flag) else { continue };
            let Values::Words(words) = values(flag.long, name) else { continue };
            let verb = Verb::ALL.into_iter().find(|verb| flag.is_for(*verb)).expect("a verb");
            for word in words.split(' ').filter(|word| !word.ends_with(['=', ':'])) {
                let typed = format!("--{}={word}", flag.long);
                let parsed = crate::parse::parse(verb, [typed.clone().into()]);
                assert!(parsed.is_ok(), "{typed}: {:?}", parsed.err());
            }
        }
    }
}
