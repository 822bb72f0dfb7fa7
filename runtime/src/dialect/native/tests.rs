//! Tables of bad files, and what is read of good ones.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::dialect::{Format, Problems, read};
use crate::spec::{Origin, Profile, Spec, User, Volatile};

fn bad_json(text: impl AsRef<[u8]>) -> String {
    match read_json(Path::new("s"), text.as_ref()) {
        Err(problems) => problems.to_string(),
        Ok(spec) => panic!("{} is accepted as {spec:?}", text.as_ref().escape_ascii()),
    }
}

#[rustfmt::skip]
const BAD: &[(&str, &[&str])] = &[
    ("", &["s:1:1: the end of the file where a value is expected"]),
    ("[]", &["s:1:1: a list where an object is expected"]),
    ("\"a\"", &["s:1:1: a text where an object is expected"]),
    ("{\"umask\": 1,\n}", &["s:2:1: `}` where the name of a field in double quotes is expected"]),
    ("{\"umask\": 1, \"umask\": 2}", &["s:1:14: umask: the field is given twice; keep one of them"]),
    ("{\"version\": 2, \"other\": 1}", &["s:1:2: version: version 2 of the format is not known here; write version 1"]),
    ("{\"version\": \"1\"}", &["s:1:2: version: a text where a number from 0 to 4294967295 is expected"]),
    ("{\"comand\": []}", &["s:1:2: comand: unknown field; did you mean `command`?"]),
    ("{\"zzzz\": []}", &["s:1:2: zzzz: unknown field; fields are `version`, `profile`, "]),
    ("{\"root\": {\"path\": 5, \"volatile\": \"stat\"}}", &[
        "s:1:11: root.path: 5 where a path is expected",
        "s:1:22: root.volatile: \"stat\" is not known here; did you mean `state`?"]),
    ("{\"mounts\": [{\"target\": \"/a\", \"kind\": {\"bind\": {\"sourse\": \"/b\"}}},\n {\"kind\": {\"tmpfs\": {}}},\n {\"target\": \"/c\", \"kind\": \"bind\"}, 7]}", &[
        "s:1:48: mounts[0].kind.bind.sourse: unknown field; did you mean `source`?",
        "s:2:2: mounts[1]: the field `target` is missing",
        "s:3:19: mounts[2].kind: a word alone where an object of one field is expected",
        "s:3:36: mounts[3]: 7 where an object is expected"]),
    ("{\"mounts\": [{\"target\": 1, \"kind\": {\"bind\": 2}}]}", &[
        "s:1:14: mounts[0].target: 1 where a path is expected",
        "s:1:36: mounts[0].kind.bind: 2 where an object is expected"]),
    ("{\"mounts\": [{\"target\": \"/a\", \"kind\": {\"bind\": {}, \"tmpfs\": {}}}]}", &[
        "s:1:51: mounts[0].kind.tmpfs: one field is expected, which says what it is"]),
    ("{\"mounts\": [{\"target\": \"/a\", \"kind\": {}}]}", &[
        "s:1:30: mounts[0].kind: an object without a field; one is expected"]),
    ("{\"user\": 3, \"groups\": [1, -1], \"stdio\": [\"null\"]}", &[
        "s:1:2: user: 3 where a word, or an object of one field is expected",
        "s:1:27: groups[1]: -1 where a number from 0 to 4294967295 is expected",
        "s:1:32: stdio: a list of 1 where a list of length 3 is expected"]),
    ("{\"user_namespace\": {\"pick\": 1}}", &["s:1:21: user_namespace.pick: this has no value; write the word alone"]),
    ("{\"stdio\": [\"null\", \"null\", \"null\", \"null\"]}", &["s:1:36: stdio[3]: an item too much"]),
    ("{\"capabilities\": {\"bounding\": [\"CAP_FOO\"]}}", &["s:1:19: capabilities.bounding: \"CAP_FOO\" is not a capability"]),
    ("{\"limits\": {\"NOFILE\": {\"soft\": 2, \"hard\": 1}}}", &["s:1:2: limits: the soft limit of NOFILE is above its hard limit"]),
    ("{\"machine\": \"a/b\"}", &["s:1:2: machine: machine name \"a/b\" may hold only"]),
    ("{\"command\": [\"a\", 1.5, null]}", &[
        "s:1:19: command[1]: neither a text nor a list of bytes",
        "s:1:24: command[2]: neither a text nor a list of bytes"]),
    ("{\"environment\": {\"A\": {\"hunter2\": \"hunter2\"}, \"B\": [\"hunter2\"]}}", &[
        "s:1:18: environment.A: neither a text nor a list of bytes",
        "s:1:47: environment.B: neither a text nor a list of bytes"]),
    ("{\"environment\": \"hunter2\"}", &["s:1:2: environment: a text where an object is expected"]),
    ("{\"no_new_privileges\": \"yes\", \"umask\": 1e3, \"kill_signal\": 256}", &[
        "s:1:2: no_new_privileges: a text where a boolean is expected",
        "s:1:30: umask: 1000 where a number from 0 to 4294967295 is expected",
        "s:1:44: kill_signal: 256 where a number from 0 to 255 is expected"]),
    ("{\"user\": {\"ids\": {\"uid\": 1, \"gid\": 1, \"gids\": []}}}", &["s:1:39: user.ids.gids: unknown field; did you mean `gid`?"]),
    ("{\"origins\": {}}", &["s:1:2: origins: unknown field"]),
    ("{\"ä\u{1b}\": 1, \"\u{1f}\": 1}", &["s:1:4: control character"]),
];

#[test]
fn every_problem_is_told_with_its_place() {
    let mut wrong = Vec::new();
    for (text, expected) in BAD {
        let found = bad_json(text);
        assert!(!found.contains(|char: char| char.is_control() && char != '\n'), "{found:?}");
        assert!(!found.contains("hunter2"), "{found}");
        let lines: Vec<&str> = found.lines().collect();
        if lines.len() != expected.len() || !lines.iter().zip(*expected).all(|(line, start)| line.starts_with(start)) {
            wrong.push(format!("{text}\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(bad_json(b"{\n \"\xff\"").starts_with("s:2:3: the file is not UTF-8; save it as UTF-8"));
}

#[test]
fn what_is_absent_has_its_default_and_what_is_there_has_an_origin() {
    let text = "\u{feff}{\n \"$schema\": \"x\",\n \"root\": {\"path\": \"/srv\",\n\"volatile\": \"no\"},\n \"mounts\": [\n\
                {\"target\": \"/a.b\", \"kind\": {\"tmpfs\": {}}}],\n \"masked\": [\"/c\"],\n\"command\": [\"a\", [98, 255]],\n\
                \"user\": {\"name\": \"web\"}, \"limits\": {\"CORE\": {\"soft\": 0}}}";
    let spec = read_json(Path::new("/s.json"), text.as_bytes()).unwrap();
    assert_eq!(spec.user, User::Name("web".to_owned()));
    assert_eq!(spec.root.volatile, Volatile::No);
    assert_eq!(spec.umask, Spec::default().umask);
    assert_eq!(spec.command.len(), 2);
    for (field, line, key) in [
        ("root.path", 3, "root.path"),
        ("root.volatile", 4, "root.volatile"),
        ("mounts./a.b", 6, "mounts[0]"),
        ("masked./c", 7, "masked[0]"),
        ("command", 8, "command"),
        ("user", 9, "user.name"),
        ("limits.CORE", 9, "limits.CORE"),
    ] {
        let expected = Origin::File { path: "/s.json".into(), line, key: key.to_owned() };
        assert_eq!(spec.origins.of(field), Some(&expected), "{field}");
    }
    assert_eq!(spec.origins.of("umask"), None);
    assert!(bad_json("{\"$schema\": 1}").contains("$schema: unknown field"));
}

#[test]
fn only_what_differs_is_written() {
    assert_eq!(to_json(&Spec::default()).unwrap(), "{\n  \"version\": 1\n}\n");
    let mut spec = Spec::default();
    spec.root.read_only = true;
    spec.user = User::Ids { uid: 5, gid: 0 };
    let text = to_json(&spec).unwrap().split_whitespace().collect::<String>();
    // A part of an enum is never left out, even if it is as in the default.
    assert_eq!(text, r#"{"version":1,"root":{"read_only":true},"user":{"ids":{"uid":5,"gid":0}}}"#);
    for profile in [Profile::Strict, Profile::Nspawn] {
        let spec = Spec::of(profile);
        assert_eq!(read_json(Path::new("s"), to_json(&spec).unwrap().as_bytes()), Ok(spec));
    }
    let odd = Spec {
        masked: vec![std::os::unix::ffi::OsStringExt::from_vec(vec![b'/', 255])]
            .into_iter()
            .map(|path: std::ffi::OsString| path.into())
            .collect(),
        ..Spec::default()
    };
    assert_eq!(to_json(&odd).unwrap_err().to_string(), "the spec: path contains invalid UTF-8 characters");
}

#[test]
fn noise_and_floods_are_refused_quickly() {
    let within = |bytes: &[u8]| {
        for format in [Format::Json, Format::Toml] {
            let start = Instant::now();
            let Problems(problems) = read(format, Path::new("s"), bytes, Profile::Strict).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
            assert!(!problems.is_empty() && problems.len() <= 202, "{}", problems.len());
        }
    };
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(3_000_000)
    .collect();
    within(&noise);
    let ascii: Vec<u8> = noise.iter().map(|byte| byte & 0x7f).collect();
    within(&ascii);
    within(&vec![b' '; MAX_FILE + 1]);
    for unit in ["[", "{\"a\":", "\"", "\\", "a = ", "a.", "[a]\n", "[[a]]\n", "a=\"", "\n", "{", "9", "[a.b.c]\nd=[\n"]
    {
        let text = unit.repeat(1_000_000 / unit.len());
        within(format!("{text}x").as_bytes());
    }
    // More binds than any program means, and each of them wrong.
    let bind = |nth| format!("{{\"target\":\"/{nth}\",\"kind\":{{\"bind\":{{\"source\":\"/\",\"read\":1}}}}}}");
    let binds = |count: usize| {
        let all: Vec<String> = (0..count).map(bind).collect();
        format!("{{\"mounts\":[{}]}}", all.join(","))
    };
    assert!(bad_json(binds(100_000)).contains("there are more than 100000 values"));
    let start = Instant::now();
    let found = bad_json(binds(10_000));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(found.lines().count() > 30 && found.contains("there may be more problems, which are not listed"));
}

#[cfg(feature = "toml")]
mod as_toml {
    use super::*;
    use crate::dialect::write;

    #[test]
    fn toml_reads_as_json_does() {
        let toml = "version = 1\ncommand = [\"id\", \"-u\"]\numask = 0o22\n\n[root]\npath = \"/srv\"\nvolatile = \"state\"\n\n\
                    [[mounts]]\ntarget = \"/a\"\nkind.bind = { source = \"/b\", read_only = false }\n\n\
                    [environment]\nA = \"x\"\n";
        let json = r#"{"command": ["id", "-u"], "umask": 18, "root": {"path": "/srv", "volatile": "state"},
            "mounts": [{"target": "/a", "kind": {"bind": {"source": "/b", "read_only": false}}}],
            "environment": {"A": "x"}}"#;
        let spec = read_toml(Path::new("/s"), toml.as_bytes()).unwrap();
        assert_eq!(Ok(&spec), read_json(Path::new("/s"), json.as_bytes()).as_ref());
        assert_eq!(spec.origins.of("mounts./a").map(ToString::to_string).as_deref(), Some("/s:9 mounts[0]"));
        let again = to_toml(&spec).unwrap();
        assert_eq!(read_toml(Path::new("/s"), again.as_bytes()), Ok(spec), "{again}");
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        for (text, expected) in [
            (
                "umask = -1\n[rot]\n",
                &["s:1:1: umask: -1 where a number", "s:2:2: rot: unknown field; did you mean `root`?"][..],
            ),
            ("umask = 1\numask = 2\n", &["s:2:1: duplicate key"]),
            ("umask 1\nfoo = \n", &["s:1:7: key with no value"]),
            ("umask = 2020-01-01\nkill_signal = inf", &["s:1:9: a date has no meaning here", "s:2:15: no number that"]),
            (
                "[[mounts]]\ntarget = \"/a\"\n[[mounts]]\nkind = \"tmpfs\"",
                &["s:1:1: mounts[0]: the field `kind` is missing", "s:4:1: mounts[1].kind: a word alone"],
            ),
            ("version = 7", &["s:1:1: version: version 7 of the format"]),
        ] {
            let found = read_toml(Path::new("s"), text.as_bytes()).unwrap_err().to_string();
            assert!(found.lines().count() >= expected.len(), "{text}:\n{found}");
            for expected in expected {
                assert!(found.lines().any(|line| line.starts_with(expected)), "{text}:\n{found}\nnot\n{expected}");
            }
        }
    }

    #[test]
    fn what_toml_cannot_say() {
        let mut spec = Spec::default();
        spec.resources.memory = Some(u64::MAX);
        spec.limits.set(skep_sys::abi::Resource::CORE, crate::spec::Limit { soft: None, hard: None });
        let found = to_toml(&spec).unwrap_err().to_string();
        assert_eq!(found, "resources.memory: 18446744073709551615 is more than a number of TOML can be");
        spec.resources.memory = None;
        let text = write(Format::Toml, &spec).unwrap();
        assert_eq!(read_toml(Path::new("s"), text.as_bytes()), Ok(spec), "{text}");
    }
}
