//! From words to [`Typed`], by the table of flags. Touches nothing.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use crate::flags::{self, Flag, Value};
use crate::message::Failure;
use crate::nspawn::options;
use crate::typed::Typed;
use crate::verbs::Verb;

/// Reads the words after the verb. What follows a command may have options of
/// its own, so options end at its first word, or at `--`; elsewhere they may
/// stand behind what they are about: `skep status web --json`.
pub(crate) fn parse(verb: Verb, words: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    let mut typed = Typed { nspawn: verb == Verb::Nspawn, ..Typed::default() };
    let mut parser = lexopt::Parser::from_args(words);
    loop {
        let Some(argument) = parser.next().map_err(|error| odd(verb, &error))? else { return Ok(typed) };
        let (flag, spelled) = match argument {
            Arg::Value(word) => {
                typed.words.push(word);
                if verb.about().operands.has_command() && !typed.diff {
                    typed.words.extend(parser.raw_args().map_err(|error| odd(verb, &error))?);
                    return Ok(typed);
                }
                continue;
            }
            Arg::Long(name) => match flags::long(name) {
                Some(flag) => (flag, true),
                None => return Err(unknown_long(verb, name)),
            },
            Arg::Short(letter) => match flags::short(letter, verb) {
                Some(flag) => (flag, false),
                None => {
                    abbreviated(verb, letter, &mut typed)?;
                    continue;
                }
            },
        };
        if !flag.is_for(verb) {
            return Err(elsewhere(verb, flag));
        }
        let value = match flag.value {
            Value::None => None,
            // Letters are joined: in `-xa` the `a` is no value.
            Value::Optional(_) => {
                if spelled {
                    parser.optional_value()
                } else {
                    None
                }
            }
            Value::Required(name) => {
                let missing = |_| Failure::new(format!("--{} needs a value; write --{}={name}", flag.long, flag.long));
                Some(parser.value().map_err(missing)?)
            }
        };
        if let Some(words) =
            value.as_deref().filter(|word| typed.nspawn && *word == "help").and_then(|_| options::words(flag.long))
        {
            typed.listed = Some(words);
            return Ok(typed);
        }
        (flag.update)(&mut typed, value.as_deref())
            .map_err(|bad| Failure::new(format!("--{}: {bad}", shown(flag, value.as_deref()))))?;
    }
}

/// A flag with its value, for a message. Values of variables are secrets.
fn shown(flag: &Flag, value: Option<&OsStr>) -> String {
    match (flag.value, value) {
        (Value::None, _) | (_, None) => flag.long.to_owned(),
        _ => format!("{}=", flag.long),
    }
}

fn odd(verb: Verb, error: &lexopt::Error) -> Failure {
    let what = match error {
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value here"),
        other => skep::Escaped::new(&other.to_string()).to_string(),
    };
    Failure::new(format!("{what}; see skep {} --help", verb.name()))
}

fn unknown_long(verb: Verb, name: &str) -> Failure {
    let shown: String = name.chars().take(60).collect();
    let shown = skep::Escaped::new(&shown);
    if let Some(why) = options::refusal(name) {
        return Failure::new(format!("--{shown}: this option of systemd-nspawn is not supported: {why}"));
    }
    let near: Vec<String> = flags::nearest(name, verb).into_iter().map(|long| format!("--{long}")).collect();
    let remedy = match near.as_slice() {
        [] => format!("see skep {} --help", verb.name()),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    Failure::new(format!("--{shown}: unknown option; {remedy}"))
}

/// A letter for long options with their values.
fn abbreviated(verb: Verb, letter: char, typed: &mut Typed) -> Result<(), Failure> {
    let shown = letter.to_string();
    let shown = skep::Escaped::new(&shown);
    let long = flags::ABBREVIATIONS.iter().find(|(known, _)| *known == letter).map(|(_, long)| *long);
    let Some(long) = long.filter(|_| flags::of(verb).any(|flag| flag.long == "private-users")) else {
        return Err(match options::refusal(&letter.to_string()) {
            Some(why) => Failure::new(format!("-{shown}: this option of systemd-nspawn is not supported: {why}")),
            None => Failure::new(format!("-{shown}: unknown option; see skep {} --help", verb.name())),
        });
    };
    for (name, value) in long {
        let Some(flag) = flags::long(name) else { continue };
        (flag.update)(typed, Some(OsStr::new(value))).map_err(|bad| Failure::new(format!("-{shown}: {bad}")))?;
    }
    Ok(())
}

fn elsewhere(verb: Verb, flag: &Flag) -> Failure {
    let takers: Vec<String> = Verb::ALL
        .into_iter()
        .filter(|other| flag.is_for(*other))
        .map(|other| format!("skep {}", other.name()))
        .collect();
    Failure::new(format!("--{}: not an option of skep {}; it belongs to {}", flag.long, verb.name(), takers.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FLAGS;

    fn typed(words: &[&str]) -> Result<Typed, String> {
        let words = words.iter().map(OsString::from);
        parse(Verb::Plan, words).map_err(|failure| failure.to_string())
    }

    /// For each flag a value that it takes and one that it refuses; `None` is
    /// no value at all.
    const SAMPLES: &[(&str, Option<&str>, Option<&str>)] = &[
        ("help", None, Some("x")),
        ("settings-file", Some("a.nspawn"), Some("")),
        ("settings", Some("override"), Some("maybe")),
        ("register", Some("no"), Some("perhaps")),
        ("slice", Some("machine.slice"), Some("a b")),
        ("no-ask-password", None, Some("x")),
        ("system", None, Some("x")),
        ("cleanup", None, Some("x")),
        ("version", None, Some("x")),
        ("user", Some("joe"), Some("-1")),
        ("background", Some("44"), Some("blue")),
        ("keep-unit", None, Some("x")),
        ("no-pager", None, Some("x")),
        ("link-journal", Some("try-guest"), Some("guests")),
        ("private-users-ownership", Some("map"), Some("mine")),
        ("forward-journal", Some("web.journal"), Some("")),
        ("forward-journal-max-use", Some("1G"), Some("1.5")),
        ("forward-journal-keep-free", Some("512M"), Some("-1")),
        ("forward-journal-max-file-size", Some("64M"), Some("x")),
        ("forward-journal-max-files", Some("7"), Some("0")),
        ("private-users-chown", None, Some("x")),
        ("suppress-sync", Some("yes"), Some("maybe")),
        ("private-users-delegate", Some("0"), Some("1")),
        ("profile", Some("nspawn"), Some("lax")),
        ("machine", Some("web"), Some("a_b")),
        ("json", None, Some("x")),
        ("diff", None, Some("x")),
        ("from", Some("nspawn"), Some("yaml")),
        ("to", Some("toml"), Some("")),
        ("threshold", Some("2.5"), Some("10.1")),
        ("verbose", None, Some("x")),
        ("directory", Some("tree"), Some("")),
        ("image", Some("tree.raw"), Some("")),
        ("mstack", Some("web.mstack"), Some("")),
        ("template", Some("tree"), Some("")),
        ("pivot-root", Some("/new:/old"), Some("new")),
        ("ephemeral", None, Some("maybe")),
        ("read-only", Some("no"), Some("")),
        ("volatile", Some("state"), Some("most")),
        ("bind", Some("/a:/b:norbind"), Some("/a:b")),
        ("bind-ro", Some("a:/b"), Some("a")),
        ("bind-user", Some("joe"), Some("1000")),
        ("bind-user-shell", Some("/bin/zsh"), Some("zsh")),
        ("bind-user-group", Some("wheel"), Some("a b")),
        ("tmpfs", Some("/t:size=1M,mode=0700"), Some("/t:size=0")),
        ("overlay", Some("/a::/b"), Some("/a")),
        ("overlay-ro", Some("/a::/c"), Some("/a::/b:/c")),
        ("resolv-conf", Some("replace-stub"), Some("copy")),
        ("timezone", Some("symlink"), Some("UTC")),
        ("load-credential", Some("token:/etc/token"), Some("token:")),
        ("set-credential", Some("token:a\\n"), Some("token:a\\q")),
        ("inaccessible", Some("/etc/shadow"), Some("etc")),
        ("as-pid2", Some("no"), Some("2")),
        ("boot", Some("yes"), Some("2")),
        ("uid", Some("7:8"), Some("-1")),
        ("chdir", Some("/srv"), Some("/proc/1/cwd")),
        ("setenv", Some("A=b"), Some("9=x")),
        ("uuid", Some("0123456789abcdef0123456789abcdef"), Some("00000000000000000000000000000000")),
        ("umask", Some("0077"), Some("8")),
        ("hostname", Some(""), Some("a\nb")),
        ("personality", Some("x86-64"), Some("s390x")),
        ("kill-signal", Some("SIGRTMIN+3"), Some("65")),
        ("notify-ready", Some("yes"), Some("soon")),
        ("start-timeout", Some("0.5"), Some("0")),
        ("timeout", Some("30"), Some("-1")),
        ("private-network", Some("no"), Some("veth")),
        ("network", Some("host"), Some("bridge")),
        ("network-namespace-path", Some("/run/netns/web"), Some("web")),
        ("network-veth", None, Some("eth0")),
        ("network-veth-extra", Some("one:eth1"), Some("one:")),
        ("network-bridge", Some("br0"), Some("a/b")),
        ("network-zone", Some("lan"), Some("thirteen-byte")),
        ("network-macvlan", Some("eth0"), Some("1")),
        ("network-ipvlan", Some("eth0:lan"), Some("")),
        ("network-interface", Some("eth0:lan"), Some(":lan")),
        ("network-mac", Some("02:00:00:00:00:01,02:00:00:00:00:02"), Some("02:00")),
        ("network-address", Some("10.0.0.2/24,10.0.0.1"), Some("10.0.0.2")),
        ("port", Some("tcp:127.0.0.1:80:8080"), Some("icmp:80")),
        ("namespace", Some("ipc=/proc/7/ns/ipc"), Some("user=host")),
        ("sysctl", Some("net.ipv4.ip_forward=1"), Some("net.ipv4.ip_forward")),
        ("time-offset", Some("boottime=-5"), Some("boottime=+5")),
        ("private-users", Some("100000:65536"), Some("1:0")),
        ("capability", Some("CAP_CHOWN,net_raw"), Some("CAP_X")),
        ("drop-capability", Some("all"), Some("")),
        ("ambient-capability", Some("CAP_CHOWN"), Some("all")),
        ("securebits", Some("noroot,noroot-locked"), Some("noroots")),
        ("no-new-privileges", Some("on"), Some("")),
        ("memory-deny-write-execute", Some("yes"), Some("some")),
        ("system-call-architectures", Some("native x86"), Some("i386")),
        ("system-call-filter", Some("~bpf:ENOSYS @clock"), Some("@clokc")),
        ("restrict-address-families", Some("none"), Some("AF_FOO")),
        ("danger-allow-socket", Some("AF_NETLINK/9"), Some("AF_INET/tcp")),
        ("landlock", Some("read,execute:/usr"), Some("reads:/usr")),
        ("require", Some("limit pids"), Some("")),
        ("memory", Some("512M"), Some("1.5G")),
        ("memory-swap", Some("1G"), Some("-1")),
        ("memory-high", Some("1G"), Some("x")),
        ("memory-low", Some("0"), Some("")),
        ("memory-min", Some("1G"), Some("1.5")),
        ("cpu-weight", Some("10000"), Some("0")),
        ("cpuset-cpus", Some("0-3,7"), Some("3-0")),
        ("cpuset-mems", Some("0"), Some("a")),
        ("io-max", Some("/dev/vda:rbps=1M,wiops=5"), Some("vda:rbps=1M")),
        ("io-weight", Some("1"), Some("10001")),
        ("property", Some("MemoryMax=1G"), Some("ExecStart=x")),
        ("cpus", Some("1.5"), Some("nan")),
        ("cpu-affinity", Some("0-3,7"), Some("3-0")),
        ("nice", Some("-20"), Some("20")),
        ("scheduling-policy", Some("rr:7"), Some("fifo")),
        ("io-priority", Some("best-effort:7"), Some("best-effort:8")),
        ("oom-score-adjust", Some("-1000"), Some("1001")),
        ("pids", Some("10"), Some("0")),
        ("rlimit", Some("LimitNOFILE=1:2"), Some("NOFILE=2:1")),
        ("console", Some("read-only"), Some("loud")),
        ("pipe", None, Some("x")),
        ("quiet", None, Some("x")),
        ("report", None, Some("x")),
        ("fd", Some("0:5"), Some("0")),
        ("merge", Some("additive"), Some("all")),
        ("device", Some("-/dev/fuse:/dev/x:rwm"), Some("fuse")),
        ("no-legend", None, Some("x")),
        ("signal", Some("TERM"), Some("SIGNOT")),
        ("whom", Some("all"), Some("none")),
        ("detach", None, Some("x")),
        ("follow", None, Some("x")),
        ("lines", Some("7"), Some("x")),
        ("status-fd", Some("3"), Some("-1")),
    ];

    #[test]
    fn every_flag_takes_a_good_value_and_refuses_a_bad_one() {
        assert_eq!(SAMPLES.len(), FLAGS.len());
        for flag in FLAGS {
            let (_, good, bad) = SAMPLES.iter().find(|(long, _, _)| *long == flag.long).expect(flag.long);
            let verb = Verb::ALL.into_iter().find(|verb| flag.is_for(*verb)).expect("a verb");
            let run = |value: &Option<&str>| {
                let word = value.map_or(format!("--{}", flag.long), |value| format!("--{}={value}", flag.long));
                parse(verb, [OsString::from(word)])
            };
            assert!(run(good).is_ok(), "{}: {:?}", flag.long, run(good).err());
            let error = run(bad).err().unwrap_or_else(|| panic!("--{}={bad:?} is taken", flag.long)).to_string();
            assert!(error.contains(flag.long) && error.contains("; "), "place and remedy: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    /// No value of any flag is taken for something else, printed raw, or a
    /// reason to panic: either it means something, or one short line says what
    /// is wrong with it.
    #[test]
    fn every_flag_meets_every_sort_of_garbage() {
        use std::os::unix::ffi::OsStringExt;
        let long = "x".repeat(100_000);
        let digits = "9".repeat(100_000);
        let text = [
            "",
            " ",
            "-",
            "--",
            "-1",
            "+1",
            "0x10",
            "1e9",
            "nan",
            "inf",
            "18446744073709551616",
            "4294967296",
            "99999999999999999999999",
            ":",
            "::::",
            "a:b:c:d",
            "/",
            "//",
            "/..",
            "/proc/self/root",
            ",",
            ",,,",
            "=",
            "a=",
            "=a",
            "\u{1b}[2J",
            "a\nb",
            "\u{202e}",
            "ü",
            "\\",
            "\"",
            "'",
            "$HOME",
            "%n%s",
            long.as_str(),
            digits.as_str(),
        ];
        let values = text
            .iter()
            .map(OsString::from)
            .chain([OsString::from_vec(vec![0xff, 0xfe]), OsString::from_vec(vec![b'/', 0x80])]);
        let mut refused = 0;
        for value in values {
            for flag in FLAGS {
                let verb = Verb::ALL.into_iter().find(|verb| flag.is_for(*verb)).expect("a verb");
                let mut word = OsString::from(format!("--{}=", flag.long));
                word.push(&value);
                let Err(failure) = parse(verb, [word]) else { continue };
                let error = failure.to_string();
                refused += 1;
                assert!(error.contains(flag.long) && error.contains("; "), "place and remedy: {error}");
                assert!(error.chars().count() < 400 && !error.contains(char::is_control), "short and plain: {error}");
                assert!(!error.contains('\u{202e}'), "{error}");
            }
        }
        assert!(refused > 900, "{refused}");
    }

    #[test]
    fn the_table_is_sound() {
        for (index, flag) in FLAGS.iter().enumerate() {
            assert!(flag.doc.ends_with('.') && !flag.doc.contains('\n'), "{}", flag.long);
            assert!(flag.verbs != 0, "{}", flag.long);
            for other in &FLAGS[..index] {
                assert!(
                    other.long != flag.long
                        && (other.verbs & flag.verbs == 0 || other.short.is_none() || other.short != flag.short),
                    "{}",
                    flag.long
                );
                assert!(other.section <= flag.section, "{} is out of its section", flag.long);
            }
        }
    }

    #[test]
    fn options_end_at_the_first_other_word() {
        let found = typed(&["-x", "cat", "-x", "--", "--bad"]).expect("parses");
        assert_eq!(found.words, ["cat", "-x", "--", "--bad"]);
        assert_eq!(typed(&["--", "-x"]).expect("parses").words, ["-x"]);
        assert_eq!(typed(&["--", "--", "a"]).expect("parses").words, ["--", "a"]);
        assert!(typed(&["-xa", "true"]).expect("parses").init.is_some());
    }

    #[test]
    fn options_may_follow_what_is_no_command() {
        let of = |verb, words: &[&str]| parse(verb, words.iter().map(OsString::from)).expect("parses");
        let found = of(Verb::Status, &["web", "--json"]);
        assert!(found.json && found.words == ["web"]);
        let found = of(Verb::Plan, &["--diff", "a", "b", "--json", "-v"]);
        assert!(found.json && found.verbose && found.words == ["a", "b"]);
        let found = of(Verb::Check, &["a", "--json", "--", "--json"]);
        assert!(found.json && found.words == ["a", "--json"]);
        let found = of(Verb::Exec, &["web", "ls", "--chdir=/"]);
        assert!(found.working_directory.is_none() && found.words == ["web", "ls", "--chdir=/"]);
    }

    #[test]
    fn the_last_scalar_wins_and_lists_add_up() {
        let found = typed(&[
            "--umask=1",
            "--umask=2",
            "--bind=/a",
            "--bind-ro",
            "/b",
            "--capability=chown",
            "--capability=kill",
        ])
        .expect("parses");
        assert_eq!(found.umask, Some(2));
        assert_eq!(found.mounts.len(), 2);
        assert!(found.capability.has(0) && found.capability.has(5));
    }

    #[test]
    fn unknown_flags_are_met_with_the_nearest_ones() {
        for (unknown, near) in [
            ("--bind-or=/a", "--bind-ro"),
            ("--ephemera", "--ephemeral"),
            ("--capabilities=x", "--capability"),
            ("--private-user", "--private-users"),
            ("--readonly", "--read-only"),
        ] {
            let error = typed(&[unknown]).expect_err(unknown);
            assert!(error.contains("did you mean") && error.contains(near), "{error}");
        }
        assert_eq!(typed(&["--zzzz"]).expect_err("unknown"), "--zzzz: unknown option; see skep plan --help");
        for word in ["--image-policy=x", "-Z", "--root-hash=x"] {
            let refused = typed(&[word]).expect_err("refused");
            assert!(refused.contains("is not supported: ") && refused.contains("; "), "{refused}");
        }
        let elsewhere = parse(Verb::Run, [OsString::from("-v")]).expect_err("of plan").to_string();
        assert!(elsewhere.contains("belongs to skep plan"), "{elsewhere}");
        assert!(typed(&["--x\u{1b}[2J"]).expect_err("unknown").is_ascii());
    }

    #[test]
    fn a_secret_is_in_no_message() {
        let error = typed(&["--setenv=9A=hunter2"]).expect_err("bad name");
        assert!(!error.contains("hunter2"), "{error}");
        let found = typed(&["-E", "A=hunter2"]).expect("parses");
        assert!(!format!("{found:?}").contains("hunter2"));
        let error = typed(&["--set-credential=a:hunter2\\"]).expect_err("an escape");
        assert!(!error.contains("hunter2"), "{error}");
        let found = typed(&["--set-credential=a:hunter2"]).expect("parses");
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
