//! Help, manual pages, completions, `plan`, `audit`, `check`, `doctor`.

use crate::stand::{Scratch, containers, skep};

const VERBS: [&str; 14] = [
    "run",
    "plan",
    "audit",
    "check",
    "convert",
    "doctor",
    "list",
    "status",
    "exec",
    "cp",
    "stop",
    "kill",
    "completion",
    "man",
];

#[test]
fn help_and_version() {
    let ran = skep(["--help"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("Usage: skep run") && ran.stderr.is_empty(), "{ran:?}");
    for verb in VERBS {
        let long = skep([verb, "--help"]);
        assert!(long.code == Some(0) && long.stdout.contains(&format!("Usage: skep {verb}")), "{long:?}");
        assert_eq!(long.stdout, skep([verb, "-h"]).stdout);
        assert_eq!(long.stdout, skep(["help", verb]).stdout);
    }
    assert!(skep(["run", "--help"]).stdout.contains("--private-users[=MODE]"));
    let overview = skep(["--help"]).stdout;
    let columns: Vec<usize> = overview
        .lines()
        .skip_while(|line| !line.starts_with("Usage:"))
        .take(VERBS.len())
        .filter_map(|line| Some(line[..line.rfind("  ")?].chars().count()))
        .collect();
    assert!(columns.len() == VERBS.len() && columns.iter().all(|column| *column == columns[0]), "{overview}");
    assert!(skep(["help", "exit-codes"]).stdout.contains("133 becomes 1"));
    assert!(skep(["help", "events"]).stdout.contains("started"));
    assert_eq!(skep(["--version"]).stdout, format!("skep {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_copy_needs_one_path_of_a_container() {
    for (words, word) in [
        (&["a"][..], "two paths are needed"),
        (&["a", "b"], "neither path is of a container"),
        (&["a:/x", "b:/y"], "both paths are of containers"),
        (&["a:/x", "b", "c"], "one word too many"),
        (&["nobody:/x", "y"], "no registered container nobody runs"),
        (&["./x:y", "nobody:/"], "no registered container nobody runs"),
    ] {
        let ran = skep(["cp"].iter().chain(words));
        assert!(ran.code == Some(1) && ran.stderr.contains(word) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
    }
}

#[test]
fn help_into_a_closed_pipe_is_success() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = crate::stand::command(["run", "--help"]).stdout(writer).spawn().unwrap();
    let ran = crate::stand::ended(ended);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_plan_explains_itself() {
    let Some(_containers) = containers("plan") else { return };
    let words = ["-M", "web", "-E", "TOKEN=hunter2", "--tmpfs=/t", "true"];
    let run = |first: &[&str]| {
        let ran = skep(["plan"].iter().chain(first).chain(&words));
        assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran:?}");
        assert!(!ran.stdout.contains("hunter2"), "a secret is shown");
        ran.stdout
    };
    let (short, long) = (run(&[]), run(&["-v"]));
    assert!(short.starts_with("plan of web\n") && short.contains("execute true"), "{short}");
    assert!(short.lines().any(|line| line.contains("mount tmpfs on /t") && line.ends_with("--tmpfs=")), "{short}");
    if nix::unistd::geteuid().is_root() {
        let registers = |line: &str| line.contains("register the name web") && line.ends_with("--machine=");
        assert!(short.lines().any(registers), "what run does: {short}");
        assert!(skep(["audit", "-M", "web"]).stdout.contains("/run/skep/web"));
    }
    assert!(short.lines().count() <= 100, "two screens: {} lines", short.lines().count());
    assert!(long.lines().count() > 2 * short.lines().count());
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json["machine"], "web");
    assert!(json["steps"].as_array().is_some_and(|steps| steps.len() > 20));
}

/// Origins stand in one column, whatever the paths; the file is named once.
#[test]
fn a_plan_of_a_file_keeps_its_columns() {
    let Some(_containers) = containers("plan of a file") else { return };
    let directory = Scratch::new("a-directory-with-a-name-that-is-as-long-as-those-of-other-people-are");
    let deep = directory.path().join("some/where/below/it");
    std::fs::create_dir_all(&deep).unwrap();
    let text = format!("[Exec]\nParameters=true\n[Files]\nBindReadOnly={}:/srv/data\nVolatile=yes\n", deep.display());
    let file = directory.file("web.nspawn", &text);
    let plan = skep(["plan", "-f", &file]).stdout;
    let mut lines = plan.lines();
    assert_eq!(lines.next(), Some("plan of web"));
    assert_eq!(lines.next(), Some(format!("settings of {file}").as_str()));
    let mut origins = 0;
    for line in lines.filter(|line| line.starts_with("  ")) {
        // A step has its number there, what goes on below has none.
        if line[..5].trim().is_empty() {
            assert!(line.chars().count() <= 73, "{line}");
            continue;
        }
        let origin: String = line.chars().skip(74).collect();
        let known = [
            "always",
            "profile strict",
            "web.nspawn:2 Parameters=",
            "web.nspawn:4 BindReadOnly=",
            "web.nspawn:5 Volatile=",
            // Who has a file for it will look for it again.
            "--settings-file=",
        ];
        assert!(known.contains(&origin.as_str()), "{origin:?} in {line}");
        origins += usize::from(origin.starts_with("web.nspawn:4"));
    }
    assert!(origins == 2 && plan.contains("name-that-is-as-long"), "{plan}");
    assert!(!plan.lines().any(|line| line.contains("tmpfs") && line.contains(":4 ")), "{plan}");
    let decided = |words: &[&str], step: &str| -> String {
        let plan = skep(["plan"].iter().chain(words).chain(&["true"])).stdout;
        let line = plan.lines().find(|line| line.contains(step)).map(str::to_owned);
        line.ok_or(plan).unwrap().split_whitespace().next_back().unwrap().to_owned()
    };
    let both = directory.file("both.nspawn", "[Exec]\nEphemeral=yes\n[Files]\nVolatile=yes\n");
    assert_eq!(decided(&["-f", &both], "make the root a tmpfs"), "Volatile=");
    assert_eq!(decided(&["-x"], "make the root a tmpfs"), "strict", "of the profile");
    assert_eq!(decided(&["-D", "/", "--volatile"], "make the root a tmpfs"), "--volatile=");
    let long = skep(["plan", "-v", "-f", &file]).stdout;
    assert!(long.contains("[web.nspawn:4 BindReadOnly=]"), "{long}");
}

#[test]
fn check_names_every_problem_with_its_place() {
    let directory = Scratch::new("check");
    let file = directory.file("a.nspawn", "[Exec]\nHostnam=x\n[Files]\nBind=relative\nVolatile=perhaps\n");
    let ran = skep(["check", &file]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    for (line, place) in lines.iter().zip([":2:1: Hostnam: ", ":4:6: Bind: ", ":5:10: Volatile: "]) {
        assert!(line.starts_with(&format!("{file}{place}")), "{line}");
    }
    let ran = skep(["check", "--json", &file]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &json["ok"], &json["files"][0]["problems"][1]["line"]), (Some(1), &false.into(), &4.into()));
}

/// Whoever types a word that there is not is told the one that was meant.
#[test]
fn the_nearest_word_is_named() {
    for (words, near) in [
        (&["rnu"][..], "did you mean skep run?"),
        (&["convrt", "a.json"], "did you mean skep convert?"),
        (&["help", "convrt"], "did you mean skep help convert?"),
        (&["man", "staus"], "did you mean status?"),
        (&["completion", "bahs"], "did you mean bash?"),
        (&["convert", "--too=toml", "a.json"], "did you mean --to?"),
        (&["stop", "web", "--hlep"], "did you mean --help?"),
    ] {
        let ran = skep(words);
        assert!(ran.code == Some(1) && ran.stderr.contains(near), "{words:?} {ran:?}");
    }
}

#[test]
fn convert_writes_what_can_be_said() {
    let directory = Scratch::new("convert");
    let file = directory.file("a.nspawn", "[Exec]\nParameters=id -u\nEnvironment=A=b\n");
    let json = skep(["convert", &file]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    let spec: skep::Spec = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(spec.command, ["id", "-u"]);
    let toml = skep(["convert", "--to=toml", &file]);
    assert!(toml.stdout.contains("command = [\n    \"id\",") && toml.code == Some(0), "{toml:?}");
    let file = directory.file("b.json", "{\n\"umask\": 0, \"groups\": [1]}");
    let ran = skep(["convert", "--to=nspawn", &file]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("b.json:2 umask: a .nspawn file cannot say this"), "{ran:?}");
    assert!(ran.stderr.contains("b.json:2 groups: ") && ran.stderr.contains("nothing is written"), "{ran:?}");
}

#[test]
fn check_of_json() {
    let directory = Scratch::new("check-json");
    let bad = directory.file("bad.json", "{\n  \"command\": [\"true\"],\n  \"umask_\": 1\n}\n");
    let ran = skep(["check", &bad]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with(&format!("{bad}:3:")) && ran.stdout.contains("umask_"), "{ran:?}");
    let wrong = directory.file("wrong.json", "{ \"command\": [\"true\"], \"umask\": 4096 }");
    assert!(skep(["check", &wrong]).stdout.starts_with(&format!("{wrong}:1: umask: ")));
    let wrong = directory.file("wrong.toml", "command = [\"true\"]\nrot.path = \"/\"\n");
    assert!(
        skep(["check", &wrong]).stdout.starts_with(&format!("{wrong}:2:1: rot: unknown field; did you mean `root`?"))
    );

    let Some(_containers) = containers("check of a good file") else { return };
    let good = directory.file("good.json", "{ \"command\": [\"true\"] }");
    let ran = skep(["check", &good]);
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{good}: ok\n")));
    let good = directory.file("good.nspawn", "[Exec]\nHostname=x\n[Files]\nVolatile=yes\n");
    assert_eq!(skep(["check", &good]).stdout, format!("{good}: ok\n"));
    let missing = directory.file("missing.nspawn", "[Files]\nBind=/missing/file\n");
    let ran = skep(["check", &missing]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with(&format!("{missing}:2: Bind=: ")), "{ran:?}");
}

#[test]
fn doctor_tells_whether_a_container_starts() {
    let able = containers("doctor on a host that can").is_some();
    let ran = skep(["doctor", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, json["strict"].as_bool()), (Some(if able { 0 } else { 1 }), Some(able)));
    let checks = json["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().filter_map(|check| check["check"].as_str()).collect();
    for name in [
        "strict container",
        "kernel",
        "user namespaces",
        "executable memfds",
        "range of ids",
        "cgroups",
        "limit --memory=",
        "seccomp",
        "landlock",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    for check in checks {
        assert_eq!(check["state"] == "ok", check["remedy"].is_null(), "{check}");
    }
    let text = skep(["doctor"]).stdout;
    assert!(text.contains("strict container can be started here."), "{text}");
}

#[test]
fn check_takes_many_files_and_tells_all_of_all() {
    let directory = Scratch::new("check-many");
    let bad = directory.file("bad.nspawn", "[Exec]\nHostnam=x\nBoot=maybe\n");
    let worse = directory.file("worse.json", "{ \"umask\": }");
    let missing = directory.path().join("missing.nspawn").display().to_string();
    let ran = skep(["check", &bad, &missing, &worse]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.lines().count() >= 3 && ran.stdout.contains(&format!("{worse}:1:")), "{ran:?}");
    assert!(ran.stderr.starts_with("skep: ") && ran.stderr.contains("missing.nspawn"), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&skep(["check", "--json", &bad, &worse]).stdout).unwrap();
    assert_eq!((&json["ok"], json["files"].as_array().map(Vec::len)), (&false.into(), Some(2)));
}

#[test]
fn a_container_as_json_is_a_settings_file_too() {
    let directory = Scratch::new("json-file");
    let file = directory.file("web.json", r#"{ "command": ["sleep", "9"], "hostname": "inside", "umask": 63 }"#);
    let ran = skep(["plan", "-f", &file, "--umask=022"]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("plan of web\n"), "{ran:?}");
    assert!(ran.stdout.contains("set the hostname to inside") && ran.stdout.contains("execute sleep"), "{ran:?}");
    let both = skep(["plan", "--profile=nspawn", "-f", &file]);
    assert!(both.code == Some(1) && both.stderr.contains("--profile=") && both.stderr.contains("leave"), "{both:?}");
}

#[test]
fn two_plans_are_compared_as_by_diff() {
    let directory = Scratch::new("diff");
    let one = directory.file("one.nspawn", "[Exec]\nHostname=x\n[Files]\nBind=/usr/share:/data\n");
    let same = directory.file("same.nspawn", "[Files]\nBind=/usr/share:/data\n\n[Exec]\nHostname=x\n");
    let other = directory.file("other.nspawn", "[Exec]\nHostname=x\n[Files]\nBindReadOnly=/usr/share:/data\n");
    for verb in ["plan", "audit"] {
        let ran = skep([verb, "--diff", &one, &same]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""), "{verb}");
        let ran = skep([verb, "--diff", &one, &other]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{verb}");
        assert!(
            ran.stdout.starts_with(&format!("--- {one}")) && ran.stdout.contains(&format!("+++ {other}")),
            "{ran:?}"
        );
        let changed = |sign: char| ran.stdout.lines().any(|line| line.starts_with(sign) && line.contains("/data"));
        assert!(changed('-') && changed('+'), "{}", ran.stdout);
        let json: serde_json::Value =
            serde_json::from_str(&skep([verb, "--json", "--diff", &one, &other]).stdout).unwrap();
        assert_eq!(json["same"], false);
        for trouble in
            [&["--diff", &one][..], &["--diff", &one, "/missing.nspawn"], &["--diff", "--frob", &one, &other]]
        {
            let ran = skep([verb].iter().chain(trouble));
            assert!(ran.code == Some(2) && ran.stderr.starts_with("skep: "), "{verb} {trouble:?} {ran:?}");
        }
    }
    // Other options apply to both.
    assert_eq!(skep(["plan", "--diff", "--bind-ro=/usr/share:/data", &one, &other]).code, Some(0));
}

#[test]
fn an_audit_has_reasons_and_a_threshold() {
    let ran = skep(["audit", "--bind=/etc", "--network=host", "-M", "web"]);
    assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran:?}");
    assert!(ran.stdout.starts_with("audit of web\nidentity\n") && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    for item in ["namespace network", "bind /etc", "limit memory", "calls that mount", "root"] {
        assert!(ran.stdout.contains(item), "{item}: {}", ran.stdout);
    }
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("Exposure of web: ") && last.contains(" of 10, "), "{last}");
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&skep(["audit", "--json"].iter().chain(words)).stdout).unwrap()
    };
    let (closed, open) = (json(&[]), json(&["--network=host"]));
    assert!(closed["exposure"].as_f64() < open["exposure"].as_f64());
    assert!(open["rows"].as_array().unwrap().iter().all(|row| row["why"].is_string() && row["holds"].is_string()));
    assert_eq!(skep(["audit", "--threshold=10.0", "--network=host"]).code, Some(0));
    assert_eq!(skep(["audit", "--threshold=2", "--network=host"]).code, Some(1));
}

#[test]
fn manual_pages_are_well_formed() {
    for verb in [""].into_iter().chain(VERBS) {
        let page = skep(["man"].into_iter().chain((!verb.is_empty()).then_some(verb)));
        assert!(page.code == Some(0) && page.stdout.starts_with(".TH SKEP"), "{page:?}");
        let formatted = std::process::Command::new("groff")
            .args(["-man", "-Tascii", "-ww", "-z"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let Ok(mut groff) = formatted else {
            eprintln!("SKIP: manual pages by groff: it is not installed");
            continue;
        };
        std::io::Write::write_all(&mut groff.stdin.take().unwrap(), page.stdout.as_bytes()).unwrap();
        let output = groff.wait_with_output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Whether a program is here; says so where not.
fn has(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIP: completions for {program}: it is not installed");
    }
    found
}

#[test]
fn bash_completes() {
    if !has("bash") {
        return;
    }
    let directory = Scratch::new("bash");
    directory.file("skep.bash", &skep(["completion", "bash"]).stdout);
    directory.file("web.nspawn", "");
    let complete = |words: &[&str]| -> Vec<String> {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "compopt() {{ :; }}; source ./skep.bash; COMP_WORDS=({}); COMP_CWORD={}; _skep; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            quoted.join(" "),
            words.len() - 1
        );
        let ran = std::process::Command::new("bash")
            .args(["--norc", "-u", "-c", &script])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(ran.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    for (words, expected) in [
        (&["skep", "d"][..], &["doctor"][..]),
        (&["skep", "run", "--bind-r"], &["--bind-ro="]),
        (&["skep", "run", "--network", "=", "h"], &["host"]),
        (&["skep", "run", "--network", "="], &["none", "host"]),
        (&["skep", "run", "--network", "h"], &["host"]),
        (&["skep", "run", "--volatile", "=", "st"], &["state"]),
        (&["skep", "run", "-f", "we"], &["web.nspawn"]),
        (&["skep", "run", "--capability", "=", "CAP_SYS_M"], &["CAP_SYS_MODULE"]),
        (&["skep", "check", "--verb"], &[]),
        (&["skep", "check", "we"], &["web.nspawn"]),
        (&["skep", "plan", "--verb"], &["--verbose"]),
        (&["skep", "run", "-M", "web", "-q", "--bind", "=", "/a", "ls", "we"], &["web.nspawn"]),
        (&["skep", "run", "ls", "--qui"], &[]),
        (&["skep", "run", "--console", "=", "re"], &["read-only", "relay"]),
        (&["skep", "run", "--timezone", "s"], &["symlink"]),
        (&["skep", "convert", "--t"], &["--to="]),
        (&["skep", "convert", "--to", "=", ""], &["nspawn", "json", "toml"]),
        (&["skep", "convert", "we"], &["web.nspawn"]),
        (&["skep", "logs", "-f", "--li"], &["--lines="]),
        (&["skep", "kill", "web", "SIGT"], &["SIGTERM"]),
        (&["skep", "stop", "web", "SIGT"], &[]),
        (&["skep", "exec", "web", "skep.b"], &[]),
        (&["skep", "exec", "web", "cat", "we"], &["web.nspawn"]),
        (&["skep", "exec", "web", "--", "complet"], &["complete"]),
        (&["skep", "completion", "f"], &["fish"]),
        (&["skep", "help", "exi"], &["exit-codes"]),
    ] {
        assert_eq!(complete(words), expected, "{words:?}");
    }
}

/// Read by the shell itself, which then knows what it completes.
#[test]
fn zsh_and_fish_read_their_scripts() {
    let run = |shell: &str, words: &[&str]| {
        let ran = std::process::Command::new(shell).args(words).env("HOME", "/proc/nowhere").output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let directory = Scratch::new("completions");
    if has("zsh") {
        let script = directory.file("_skep", &skep(["completion", "zsh"]).stdout);
        run("zsh", &["-n", &script]);
        let place = script.trim_end_matches("/_skep");
        let words = format!(
            "fpath=({place} $fpath); autoload -U compinit; compinit -u -D; print $_comps[skep]; autoload +X _skep"
        );
        assert_eq!(run("zsh", &["-fc", &words]), "_skep\n");
    }
    if has("fish") {
        let script = directory.file("skep.fish", &skep(["completion", "fish"]).stdout);
        let completed = |line: &str| {
            let words = format!("source {script}; complete -C{line:?}");
            run("fish", &["--no-config", "-c", &words])
        };
        assert!(completed("skep ru").starts_with("run\t"));
        assert!(completed("skep run --profile=").contains("--profile=strict\t"));
    }
}

/// Row 131 of the attack catalogue: a word after `--` is a program, whatever it
/// looks like, and so is every further one an argument.
#[test]
fn row_131_no_word_of_a_command_is_an_option() {
    for word in ["--help", "--bind=/", "-h", "--"] {
        let ran = skep(["plan", "--json", "--", word, "--private-users=no", "--bind=/"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!("[{word} --private-users=no --bind=/]")), "{word}: {}", ran.stdout);
        assert!(!ran.stdout.contains("no user namespace") && !ran.stdout.contains("bind / "), "{word}: {}", ran.stdout);
    }
}
