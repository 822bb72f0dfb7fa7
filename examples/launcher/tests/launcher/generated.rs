//! Bad inputs made from the tables themselves: every option, every key of a
//! `.nspawn` file and every field of a Spec meets every sort of garbage. And what
//! contradicts itself, written by hand.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skep::dialect::native::SCHEMA;
use skep::dialect::nspawn::KEYS;

use crate::bad_inputs::leftovers;
use crate::stand::{CONTAINERS, Ran, SKEP, Scratch, containers, ended, skep};

/// Address space in KiB: an allocation beyond it ends the program by a signal. A
/// start has more, for the watcher reserves some that it does not use.
const MEMORY: [(&str, u32); 2] = [("run", 1 << 20), ("", 128 << 10)];

/// How long one of them may take, also on a busy machine.
const TIME: Duration = Duration::from_secs(10);

/// Runs the launcher within bounds.
fn bounded<W: AsRef<OsStr>>(verb: &str, words: impl IntoIterator<Item = W>) -> Ran {
    // What garbage names, and is made, is gone before the next.
    let place = Scratch::new(&format!("bounded-{:?}", std::thread::current().id()));
    let start = Instant::now();
    let memory = MEMORY.into_iter().find(|(of, _)| of.is_empty() || *of == verb).map_or(0, |(_, memory)| memory);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {memory}; exec \"$0\" \"$@\""), SKEP, verb])
        .args(words)
        .current_dir(place.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = ended(child);
    assert!(start.elapsed() < TIME, "it took {:?}: {ran:?}", start.elapsed());
    ran
}

/// What is wrong with how it failed, if anything: a panic, a signal, a message
/// without its place or without advice, one that is long or not plain.
fn complaint(ran: &Ran, place: &str) -> Option<&'static str> {
    match ran.code {
        Some(0) => return (!ran.stderr.is_empty() && ran.stderr.contains("panicked")).then_some("it panicked"),
        Some(1) => {}
        _ => return Some("the exit code is neither 0 nor 1"),
    }
    let last = ran.stderr.lines().last().unwrap_or_default();
    [
        (!last.starts_with("skep: "), "it is no message"),
        (!last.contains(place), "the place is missing"),
        // `what; remedy`, or `what. Remedy.`
        (!last.contains("; ") && !last.contains(". "), "the remedy is missing"),
        (last.chars().count() > 1200, "it is long"),
        (last.chars().any(|char| char.is_control() || char == '\u{202e}'), "it is not plain"),
        (ran.stderr.lines().count() > 3, "it is more than a message"),
    ]
    .into_iter()
    .find_map(|(wrong, what)| wrong.then_some(what))
}

/// A watcher notices the end of its launcher, and then ends.
fn nothing_left(before: &BTreeSet<String>) {
    let mut after = leftovers();
    for _ in 0..250 {
        if after == *before {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        after = leftovers();
    }
    let left: Vec<&String> = after.symmetric_difference(before).collect();
    assert!(left.is_empty(), "left behind, or taken away: {left:#?}");
}

/// What nobody means.
fn garbage() -> Vec<OsString> {
    let text = [
        String::new(),
        "x".repeat(100_000),
        "9".repeat(60),
        "-1".to_owned(),
        ":".repeat(50),
        // Where nobody can make anything.
        "/../proc/..\u{1b}[31m\u{202e}".to_owned(),
        "a\nb".to_owned(),
        "~@=,;%\u{7f}".to_owned(),
    ];
    // Bytes that are no text, and no NUL.
    let binary: Vec<u8> = (1..=255).collect();
    text.into_iter().map(OsString::from).chain([OsString::from_vec(binary)]).collect()
}

/// The long options of a verb, and whether each has a value, from its own help.
fn options(verb: &str) -> Vec<(String, bool)> {
    let help = skep([verb, "--help"]).stdout;
    let of_line = |line: &str| {
        let long = line.split_once("--").filter(|(before, _)| before.trim().len() <= 3)?.1;
        let name: String = long
            .chars()
            .take_while(|char| char.is_ascii_lowercase() || *char == '-' || char.is_ascii_digit())
            .collect();
        let after = &long[name.len()..];
        Some((name, after.starts_with('=') || after.starts_with("[=")))
    };
    help.lines().filter(|line| line.starts_with("  ")).filter_map(of_line).collect()
}

#[test]
fn every_option_with_garbage_too_long_twice() {
    if containers("options with garbage").is_none() {
        return;
    }
    let _alone = CONTAINERS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    skep_tests::own_mounts();
    let before = leftovers();
    let (mut wrong, mut refused, mut count) = (Vec::new(), 0, 0);
    for verb in ["run", "plan", "audit", "check", "convert", "doctor", "list", "status", "exec", "stop", "kill"] {
        let all = options(verb);
        assert!(!all.is_empty(), "{verb}");
        for (name, valued) in &all {
            // The start of a container is for `run`; the others read the same table.
            for value in garbage().into_iter().take(if verb == "run" { 99 } else { 4 }) {
                let mut word = OsString::from(format!("--{name}="));
                word.push(&value);
                let mut tries = vec![vec![word.clone()]];
                if *valued && value.len() < 100 && verb == "run" {
                    tries.push(vec![word.clone(), word]);
                }
                for words in tries {
                    count += 1;
                    let command: &[&str] = if verb == "run" { &["--start-timeout=9", "--", "true"] } else { &[] };
                    let words: Vec<OsString> = words.into_iter().chain(command.iter().map(Into::into)).collect();
                    let ran = bounded(verb, &words);
                    refused += usize::from(ran.code == Some(1));
                    // What has been read is wrong in another way, or nothing is.
                    // Of a file that was named, the file is the place.
                    let place = match (verb, name.as_str()) {
                        ("run", "settings-file") if !ran.stderr.contains("--settings-file") => "\"/".to_owned(),
                        ("run", _) => format!("--{name}"),
                        _ => String::new(),
                    };
                    if let Some(what) = complaint(&ran, &place).filter(|_| !accepted_later(name, &ran)) {
                        wrong.push(format!(
                            "{:.200}: {what}\n{:.600}",
                            format!("{verb} {words:?}"),
                            format!("{ran:?}")
                        ));
                    }
                }
            }
        }
    }
    println!("{count} runs, {refused} refused");
    assert!(refused > 900, "{refused} of {count}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n\n"));
    nothing_left(&before);
}

/// What garbage may mean to an option, so that something else is in its way.
fn accepted_later(name: &str, ran: &Ran) -> bool {
    // `--diff` exits as diff(1) does.
    (name == "diff" && ran.code == Some(2)) || (name == "setenv" && ran.code == Some(1) && ran.stderr.contains("PATH"))
}

/// What `skep check` says of files: all of it is `FILE: ok`, or a problem with its place.
fn checked(files: &[String], wrong: &mut Vec<String>) -> usize {
    let ran = bounded("check", files);
    let mut refused = 0;
    if !matches!(ran.code, Some(0 | 1)) || ran.stderr.contains("panicked") {
        wrong.push(format!("{files:?}: {:.900}", format!("{ran:?}")));
    }
    for file in files {
        let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with(file.as_str())).collect();
        if lines.is_empty() && !ran.stderr.contains(file.as_str()) {
            wrong.push(format!(
                "{file}: nothing is said of it: {:.300}",
                std::fs::read_to_string(file).unwrap_or_default()
            ));
        }
        for line in lines.iter().filter(|line| **line != format!("{file}: ok")) {
            refused += 1;
            let place = line.strip_prefix(file.as_str()).unwrap_or_default();
            let numbered =
                place.strip_prefix(':').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()));
            let plain = !line.chars().any(|char| char.is_control() || char == '\u{202e}');
            let advice = line.contains("; ") || line.contains(". ");
            if !numbered || !plain || !advice || line.chars().count() > 1200 {
                let content = std::fs::read(file).unwrap_or_default();
                wrong.push(format!("{line:.900}\n  of {:.200}", String::from_utf8_lossy(&content)));
            }
        }
    }
    refused
}

#[test]
fn every_key_of_a_settings_file_with_garbage_too_long_twice() {
    // Nobody may count processes meanwhile.
    let _others = CONTAINERS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tree = Scratch::new("keys");
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for key in KEYS {
        let mut files = Vec::new();
        for (nth, value) in garbage().into_iter().enumerate() {
            let line = [format!("{}=", key.name).into_bytes(), value.into_vec(), b"\n".to_vec()].concat();
            for (times, repeat) in [("once", 1), ("twice", 2)] {
                let path = tree.path().join(format!("{}-{}-{nth}-{times}.nspawn", key.section.name(), key.name));
                let header = format!("[Exec]\nParameters=true\n[{}]\n", key.section.name()).into_bytes();
                std::fs::write(&path, [header, line.repeat(repeat)].concat()).unwrap();
                files.push(path.display().to_string());
            }
        }
        refused += checked(&files, &mut wrong);
    }
    println!("{refused} problems");
    assert!(refused > 1000, "{refused}");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// A Spec with a value in one place.
type Around<'a> = &'a dyn Fn(Value) -> Value;

/// Each place of the schema: what is around it.
fn places(schema: &Value, at: &Value, depth: usize, make: &mut dyn FnMut(Around<'_>)) {
    let at = match at.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            &schema[reference.trim_start_matches("#/").replace('/', "\u{0}").split('\u{0}').next().unwrap()]
                [reference.rsplit('/').next().unwrap()]
        }
        None => at,
    };
    make(&|value| value);
    if depth == 0 {
        return;
    }
    for (name, field) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        places(schema, field, depth - 1, &mut |inner| {
            make(&|value| {
                let mut object = serde_json::Map::new();
                // Beside it, what the schema requires.
                for needed in at.get("required").and_then(Value::as_array).into_iter().flatten() {
                    object.insert(needed.as_str().unwrap_or_default().to_owned(), json!("/x"));
                }
                object.insert(name.clone(), inner(value));
                Value::Object(object)
            });
        });
    }
    if let Some(items) = at.get("items").filter(|items| items.is_object()) {
        places(schema, items, depth - 1, &mut |inner| make(&|value| json!([inner(value)])));
    }
    if let Some(values) = at.get("additionalProperties").filter(|values| values.is_object()) {
        places(schema, values, depth - 1, &mut |inner| make(&|value| json!({ "x": inner(value) })));
    }
    for kind in ["anyOf", "oneOf"] {
        for one in at.get(kind).and_then(Value::as_array).into_iter().flatten() {
            places(schema, one, depth - 1, make);
        }
    }
}

#[test]
fn every_field_of_a_spec_with_a_value_of_another_type() {
    let _others = CONTAINERS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tree = Scratch::new("fields");
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("x\u{1b}\u{202e}\n"),
        json!("x".repeat(100_000)),
        json!([]),
        json!([[[1]]]),
        json!({}),
        json!({ "\u{7}": 1 }),
    ];
    let mut specs = BTreeSet::new();
    places(&schema, &schema, 5, &mut |make| {
        for value in &values {
            let mut spec = make(value.clone());
            if let Some(fields) = spec.as_object_mut() {
                fields.entry("command").or_insert_with(|| json!(["true"]));
            }
            specs.insert(spec.to_string());
        }
    });
    let mut files = Vec::new();
    for (nth, text) in specs.iter().enumerate() {
        files.push(tree.file(&format!("{nth}.json"), text));
    }
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for some in files.chunks(100) {
        refused += checked(some, &mut wrong);
    }
    println!("{} Specs, {refused} problems", files.len());
    assert!(files.len() > 1500 && refused > 1200, "{} {refused}", files.len());
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n\n"));
}

/// Options, settings and Specs that contradict themselves or one another: what is
/// run (`@` is a directory), and the place and the remedy that the message holds.
const CONTRADICTIONS: &[(&str, &[&str])] = &[
    ("--bind=/etc:/x --tmpfs=/x", &["--tmpfs=: --bind=", "leave one"]),
    ("--bind-ro=/etc:/x --bind=/usr:/x", &["--bind=: --bind-ro=", "leave one"]),
    ("--overlay=/etc::/x --bind=/etc:/x", &["--bind=: --overlay=", "leave one"]),
    ("--securebits=keep-caps --capability=CAP_KILL", &["--securebits=", "keep-caps", "every exec clears it"]),
    ("--securebits=none", &["--securebits=", "left out: noroot"]),
    ("--securebits=noroot", &["--securebits=", "left out"]),
    (
        "--securebits=no-cap-ambient-raise --capability=CAP_KILL --ambient-capability=CAP_KILL -u7:7",
        &["--securebits=", "contradicts the ambient set", "Leave one"],
    ),
    (
        "--securebits=keep-caps-locked --capability=CAP_KILL --ambient-capability=CAP_KILL -u7:7",
        &["--securebits=", "cannot keep the ambient set", "no-setuid-fixup"],
    ),
    ("--require=mask", &["--require=", "no item of this start", "masks"]),
    ("--require=terminal --pipe", &["--require=", "not in force"]),
    ("--require=nothing", &["--require=", "a name from the report"]),
    ("--settings=yes -f @/good.nspawn", &["--settings=", "leave one of them out"]),
    ("--settings=override", &["--settings=", "--machine=NAME"]),
    ("--register=perhaps", &["--register=", "yes, no or auto"]),
    ("--link-journal=host", &["--link-journal=", "no machine id", "--uuid="]),
    ("--private-users-ownership=chown", &["--private-users-ownership=", "as the container's own"]),
    ("--keep-unit=no", &["--keep-unit", "takes no value"]),
    ("--fd=99", &["--fd=", "descriptor 99"]),
    ("--fd=0:3 --fd=1:3", &["--fd=", "leave one"]),
    ("--fd=0:2", &["--fd=", "3 or more"]),
    ("--ambient-capability=CAP_KILL --drop-capability=all", &["CAP_KILL", "Add it to both"]),
    ("--nice=5 --scheduling-policy=idle", &["--nice=", "idle", "Leave one"]),
    ("--nice=5 --scheduling-policy=fifo:9", &["--nice=", "Leave one"]),
    ("--cpu-affinity=9000", &["--cpu-affinity="]),
    ("--time-offset=boottime=5 --namespace=time=host", &["--time-offset=: --namespace=", "leave one of them out"]),
    ("--namespace=pid=host --as-pid2=yes", &["--namespace=", "stub init"]),
    ("--namespace=uts=host --hostname=x", &["--hostname=", "Leave the hostname out"]),
    ("--network=host --network-namespace-path=/proc/self/ns/net", &["--network", "leave one"]),
    ("--namespace=ipc=/etc/hostname", &["--namespace="]),
    ("--sysctl=kernel.sem=1 --namespace=ipc=host", &["--sysctl=", "not the container's own"]),
    ("--sysctl=net.ipv4.ip_forward=1 --network=host", &["--sysctl=", "not the container's own"]),
    ("--sysctl=net.ipv4.ip_forward=1 --sysctl=net/ipv4/ip_forward=0", &["--sysctl=", "are one"]),
    ("--sysctl=kernel.hostname=x", &["--sysctl=", "kernel.hostname"]),
    ("--private-users=own -u7:8 --private-users=7:1", &["(from --", "map"]),
    ("--private-users=4294967290:100", &["--private-users="]),
    ("--landlock=read:/nowhere/at/all", &["/nowhere/at/all", "--landlock="]),
    ("--landlock=connect:80 --no-new-privileges=no", &["--landlock=", "Keep `no_new_privileges`"]),
    ("--volatile=yes --ephemeral -D @", &["--directory=", "no usr/"]),
    ("-D / --read-only=no", &["host's own root", "--directory="]),
    ("-D @/file", &["--directory=", "name a directory"]),
    ("--memory=1M --memory-high=2M --memory-low=9E", &["--memory-low="]),
    ("--memory-swap=1G", &["--memory-swap="]),
    ("--memory-min=2G --memory=1G", &["--memory"]),
    ("--pids=1 --property=TasksMax=0", &["--property=", "from 1 on"]),
    ("--io-max=/etc/hostname:rbps=1", &["/etc/hostname", "--io-max=", "whole disk"]),
    ("--io-max=/dev/null:rbps=1", &["/dev/null", "--io-max="]),
    ("--rlimit=NOFILE=9:8", &["--rlimit=", "soft limit"]),
    ("--rlimit=NOFILE=4294967296", &["--rlimit=", "Lower it"]),
    ("--oom-score-adjust=-1001", &["--oom-score-adjust="]),
    ("--uuid=x", &["--uuid="]),
    ("--load-credential=a:/missing --set-credential=a:b", &["credential"]),
    ("--set-credential=../a:b", &["--set-credential="]),
    ("--console=passive --status-fd=77", &["--status-fd=", "not open"]),
    ("-f @/twice.nspawn", &["@/twice.nspawn:4:1", "twice", "line 3"]),
    ("-f @/ambient.nspawn", &["@/ambient.nspawn:", "CAP_KILL"]),
    ("-f @/overlap.nspawn", &["/x"]),
    ("-f @/binds.nspawn", &["@/binds.nspawn:10002:1", "more than 10000 values"]),
    ("-f @/binds.json", &["@/binds.json:1", "leave out"]),
    ("-f @/binds.toml", &["@/binds.toml:"]),
    ("-f @/noise.nspawn", &["@/noise.nspawn:1:1", "are the most"]),
    ("-f @/noise.json", &["@/noise.json:1:", "save it as UTF-8"]),
    ("-f @/noise.toml", &["@/noise.toml:1:", "save it as UTF-8"]),
    ("-f @/own.json", &["@/own.json:1", "stub init"]),
    ("-f @/same.json", &["@/same.json:1", "passed twice"]),
    ("-f @/listen.json", &["@/listen.json:1", "from 3"]),
    ("-f @/filter.json", &["@/filter.json:1", "Keep the filter"]),
];

/// Files for that.
fn contradictory() -> Scratch {
    let tree = Scratch::new("contradictions");
    tree.file("file", "");
    tree.file("good.nspawn", "[Exec]\nParameters=true\n");
    tree.file("twice.nspawn", "[Exec]\nParameters=true\nHostname=a\nHostname=b\n");
    tree.file("ambient.nspawn", "[Exec]\nAmbientCapability=CAP_KILL\nDropCapability=CAP_KILL\n");
    tree.file("overlap.nspawn", "[Files]\nBind=/etc:/x\nTemporaryFileSystem=/x\n");
    tree.file("own.json", r#"{ "namespaces": { "pid": "host" }, "command": ["true"] }"#);
    tree.file("same.json", r#"{ "descriptors": [{ "number": 5 }, { "number": 5 }], "command": ["true"] }"#);
    tree.file("listen.json", r#"{ "descriptors": [{ "number": 9, "listen": true }], "command": ["true"] }"#);
    tree.file(
        "filter.json",
        r#"{ "seccomp": "off", "system_calls": { "deny": { "bpf": "kill" } }, "command": ["true"] }"#,
    );
    // 100 000 binds, in each format.
    let lines: String = (0..100_000).map(|nth| format!("Bind=/:/{nth}\n")).collect();
    tree.file("binds.nspawn", &format!("[Files]\n{}", &lines[..1_000_000]));
    let json: Vec<String> =
        (0..100_000).map(|nth| format!(r#"{{"target":"/t/{nth}","kind":{{"bind":{{"source":"/usr"}}}}}}"#)).collect();
    tree.file("binds.json", &format!(r#"{{ "command": ["true"], "mounts": [{}] }}"#, json.join(",")));
    let toml: String =
        (0..100_000).map(|nth| format!("[[mounts]]\ntarget = \"/{nth}\"\nkind.bind.source = \"/\"\n")).collect();
    tree.file("binds.toml", &toml);
    // 3 MB that mean nothing.
    let noise: Vec<u8> = (0..3_000_000_u32).map(|nth| (nth.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    for name in ["noise.nspawn", "noise.json", "noise.toml"] {
        std::fs::write(tree.path().join(name), &noise).unwrap();
    }
    tree
}

#[test]
fn what_contradicts_itself_is_told_with_place_and_remedy() {
    assert!(CONTRADICTIONS.len() >= 60);
    if containers("contradictions").is_none() {
        return;
    }
    let _alone = CONTAINERS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    skep_tests::own_mounts();
    let before = leftovers();
    let tree = contradictory();
    let at = tree.path().display().to_string();
    let mut wrong = Vec::new();
    for (words, expected) in CONTRADICTIONS {
        let words = words.replace('@', &at);
        let words: Vec<&str> = words.split(' ').collect();
        let command: &[&str] = if words.iter().any(|word| word.ends_with(".json")) { &[] } else { &["--", "true"] };
        let ran = bounded("run", words.iter().chain(command));
        let unplain = complaint(&ran, "");
        let met = ran.code == Some(1) && expected.iter().all(|part| ran.stderr.contains(&part.replace('@', &at)));
        if !met || unplain.is_some() {
            wrong.push(format!("{words:?}: {unplain:?}, expected {expected:?}\n{:.700}", format!("{ran:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n\n"));
    nothing_left(&before);
}
