//! What `--json` prints, verb by verb: the fields that the guide documents.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::containers::Running;
use crate::stand::{Ran, Scratch, containers, skep};

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran:?}")).unwrap()
}

/// The names of an object's fields.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_runs() {
    let Some(_guard) = containers("json of what runs") else { return };
    let Some(running) = Running::start("json", "json", &["sleep", "1000"]) else { return };
    let status = parsed(&running.skep(&["status", &running.name, "--json"]));
    let names = "addresses cpu_seconds log machine memory memory_peak os paused pid processes root since tree";
    assert_eq!(fields(&status).join(" "), names);
    assert_eq!(fields(&status["tree"][0]), ["command", "parent", "pid"]);
    assert_eq!((&status["machine"], &status["paused"]), (&running.name.as_str().into(), &false.into()));
    let list = parsed(&running.skep(&["list", "--json"]));
    let own = list.as_array().unwrap().iter().find(|one| one["machine"] == status["machine"]).unwrap();
    assert_eq!(fields(own), ["machine", "os", "pid", "root", "since", "state"]);
    assert_eq!((&own["pid"], &own["state"]), (&status["pid"], &"running".into()));
}

#[test]
fn what_would_be() {
    let Some(_guard) = containers("json of what would be") else { return };
    let plan = parsed(&skep(["plan", "--json", "true"]));
    assert_eq!(fields(&plan), ["machine", "report", "steps", "version"]);
    let step = &plan["steps"][0];
    assert_eq!(fields(step), ["ops", "origin", "phase", "what"]);
    assert_eq!(fields(&step["ops"][0]), ["arguments", "index", "op"]);
    let audit = parsed(&skep(["audit", "--json", "true"]));
    assert!(audit["exposure"].is_number() && audit["machine"].is_string());
    assert_eq!(fields(&audit["rows"][0]), ["area", "exposure", "holds", "item", "why"]);
    let doctor = parsed(&skep(["doctor", "--json"]));
    assert_eq!(fields(&doctor), ["cannot", "checks", "strict"]);
    assert_eq!(fields(&doctor["checks"][0]), ["check", "detail", "remedy", "state"]);
}

#[test]
fn what_is_wrong_or_differs() {
    let directory = Scratch::new("json");
    let bad = directory.file("bad.nspawn", "[Exec]\nHostnam=x\n");
    let check = parsed(&skep(["check", "--json", &bad]));
    assert_eq!(fields(&check), ["files", "ok"]);
    assert_eq!(fields(&check["files"][0]), ["file", "ok", "problems"]);
    assert_eq!(fields(&check["files"][0]["problems"][0]), ["column", "key", "line", "message", "remedy"]);

    let Some(_guard) = containers("json of a difference") else { return };
    let one = directory.file("one.nspawn", "[Exec]\nHostname=a\n");
    let other = directory.file("other.nspawn", "[Exec]\nHostname=b\n[Network]\nPrivate=no\n");
    let plan = parsed(&skep(["plan", "--json", "--diff", &one, &other]));
    assert_eq!(fields(&plan), ["report", "same", "steps"]);
    assert_eq!(fields(&plan["steps"][0]), ["change", "ops", "origin", "phase", "what"]);
    assert_eq!(fields(&plan["report"][0]), ["after", "before", "item"]);
    let audit = parsed(&skep(["audit", "--json", "--diff", &one, &other]));
    assert_eq!(fields(&audit), ["exposure", "rows", "same"]);
    assert_eq!(fields(&audit["rows"][0]), ["after", "before", "item"]);
}

/// Each event of `skep help events` has the fields that stand there.
#[test]
fn events() {
    let Some(_guard) = containers("json of events") else { return };
    let help = skep(["help", "events"]).stdout;
    let known: BTreeSet<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    let ran = skep(["run", "--json", "--report", "--", "sh", "-c", "exit 3"]);
    for line in ran.stderr.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(known.contains(event["event"].as_str().unwrap()) && event["machine"].is_string(), "{line}");
        if event["event"] == "ended" {
            let names = ["code", "event", "exit", "machine", "out_of_memory", "signal", "stopped"];
            assert_eq!(fields(&event), names);
        }
    }
    // A failure is an object on standard error, whatever the verb.
    for words in [&["status", "no-such-container", "--json"][..], &["run", "--json", "no-such-command"]] {
        let ran = skep(words);
        let last: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((ran.code, &last["event"]), (Some(1), &"error".into()));
        assert!(last["message"].is_string() && last["remedy"].is_string(), "{last}");
    }
}
