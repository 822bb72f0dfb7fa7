//! Help, `plan`, `check`, `doctor`.

use crate::stand::{Scratch, containers, skep};

#[test]
fn help_and_version() {
    let ran = skep(["--help"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("Usage: skep run") && ran.stderr.is_empty(), "{ran:?}");
    for verb in ["run", "plan", "check", "doctor"] {
        let long = skep([verb, "--help"]);
        assert!(long.code == Some(0) && long.stdout.contains(&format!("Usage: skep {verb}")), "{long:?}");
        assert_eq!(long.stdout, skep([verb, "-h"]).stdout);
        assert_eq!(long.stdout, skep(["help", verb]).stdout);
    }
    assert!(skep(["run", "--help"]).stdout.contains("--private-users[=MODE]"));
    assert!(skep(["help", "exit-codes"]).stdout.contains("133 becomes 1"));
    assert_eq!(skep(["--version"]).stdout, format!("skep {}\n", env!("CARGO_PKG_VERSION")));
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
    assert!(short.lines().count() <= 100, "two screens: {} lines", short.lines().count());
    assert!(long.lines().count() > 2 * short.lines().count());
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    assert_eq!(json["machine"], "web");
    assert!(json["steps"].as_array().is_some_and(|steps| steps.len() > 20));
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
    assert_eq!((ran.code, &json["ok"], &json["problems"][1]["line"]), (Some(1), &false.into(), &4.into()));
}

#[test]
fn check_of_json() {
    let directory = Scratch::new("check-json");
    let bad = directory.file("bad.json", "{\n  \"command\": [\"true\"],\n  \"umask_\": 1\n}\n");
    let ran = skep(["check", &bad]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with(&format!("{bad}:3:")) && ran.stdout.contains("umask_"), "{ran:?}");
    let wrong = directory.file("wrong.json", "{ \"command\": [\"true\"], \"umask\": 4096 }");
    assert!(skep(["check", &wrong]).stdout.starts_with(&format!("{wrong}: ")));
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
