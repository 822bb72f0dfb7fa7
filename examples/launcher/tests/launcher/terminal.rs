//! `skep run` on a terminal: `script(1)` gives it one.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::stand::{Ran, SKEP, containers, ended, until};

/// What happens on the terminal: wait for the first, type the second.
type Dialogue<'a> = [(&'a str, &'a str)];

/// Runs `skep run` with these words on a terminal of 30 lines of 100.
fn on_a_terminal(test: &str, words: &str, dialogue: &Dialogue<'_>) -> Option<Ran> {
    let line = format!("stty rows 30 cols 100; exec {SKEP} run {words}");
    // So that a word that never comes ends the test.
    let mut child = match Command::new("timeout")
        .args(["--foreground", "60", "script", "-qec", &line, "/dev/null"])
        .env("TERM", "screen-256color")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            eprintln!("SKIP {test}: timeout(1) and script(1) cannot be started: {error}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    for (shown, typed) in dialogue {
        until(&mut child, shown);
        stdin.write_all(typed.as_bytes()).unwrap();
    }
    // `script` takes the end of its input for an end of file on the terminal.
    let ran = ended(child);
    drop(stdin);
    Some(ran)
}

#[test]
fn the_payload_has_a_terminal_of_its_own_with_all_that_belongs_to_it() {
    let Some(_guard) = containers("the_payload_has_a_terminal") else { return };
    let dialogue = [
        ("# ", "tty; stty size; echo $TERM; echo as''ked\n"),
        ("/dev/pts/0\r\n30 100\r\nscreen-256color\r\nasked", "sh -c 'echo on\"\"e; exec sleep 1000'\n"),
        ("one\r\n", "\x03"),
        ("# ", "echo code=$?\n"),
        ("code=130\r\n# ", "sh -c 'echo tw\"\"o; exec sleep 1001'\n"),
        ("two\r\n", "\x1a"),
        ("Stopped", "kill -9 %1; sleep 0.1; jobs; exit 7\n"),
    ];
    let Some(ran) = on_a_terminal("the_payload_has_a_terminal", "-q -- sh", &dialogue) else { return };
    assert_eq!(ran.code, Some(7), "{ran:?}");
}

#[test]
fn ctrl_c_is_the_payloads_and_a_stop_in_order() {
    let Some(_guard) = containers("ctrl_c_is_the_payloads") else { return };
    let typed = [("Ready.", "\x03")];
    let Some(ran) = on_a_terminal("ctrl_c_is_the_payloads", "-- sleep 1000", &typed) else { return };
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("stopped."), "{ran:?}");
}

#[test]
fn three_escapes_kill_what_hears_nothing() {
    let Some(_guard) = containers("three_escapes_kill") else { return };
    let typed = [("armed", "\x03"), ("", "\x1d\x1d\x1d")];
    let words = "-- sh -c 'trap \"\" INT TERM; echo armed; while :; do sleep 1; done'";
    let Some(ran) = on_a_terminal("three_escapes_kill", words, &typed) else { return };
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("failed: signal 9"), "{ran:?}");
}

#[test]
fn without_a_terminal_nobody_gets_one() {
    let Some(_guard) = containers("without_a_terminal") else { return };
    let ran = crate::stand::skep(["run", "-q", "--", "sh", "-c", "tty; ls -l /dev/console 2>&1 | wc -l"]);
    assert!(ran.stdout.starts_with("not a tty"), "{ran:?}");
    let ran = crate::stand::skep(["run", "-q", "--console=passive", "--", "sh", "-c", "tty; sleep 0.2; echo end"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "/dev/pts/0\r\nend\r\n"), "{ran:?}");
    let ran = crate::stand::skep(["run", "--console=loud", "--", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not a console mode"), "{ran:?}");
}
