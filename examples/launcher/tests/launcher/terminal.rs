//! `skep` on a terminal.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::containers::Running;
use crate::pty::Terminal;
use crate::stand::{Scratch, containers, send, skep, unique};

/// Leaves the test where no container or terminal can be had.
macro_rules! terminal {
    ($test:literal, $($word:expr),+) => {{
        let Some(terminal) = Terminal::start($test, &[$($word),+], &[]) else { return };
        terminal
    }};
}

#[test]
fn the_payload_has_a_terminal_of_its_own_with_all_that_belongs_to_it() {
    let Some(_guard) = containers("the_payload_has_a_terminal") else { return };
    let mut terminal = terminal!("the_payload_has_a_terminal", "run", "-q", "--", "sh");
    terminal.converse(&[
        ("# ", "tty; stty size; echo $TERM; echo as''ked\n"),
        ("/dev/pts/0\r\n30 100\r\nscreen-256color\r\nasked", "sh -c 'echo on\"\"e; exec sleep 1000'\n"),
        ("one\r\n", "\x03"),
        ("# ", "echo code=$?\n"),
        ("code=130\r\n# ", "sh -c 'echo tw\"\"o; exec sleep 1001'\n"),
        ("two\r\n", "\x1a"),
        ("Stopped", "kill -9 %1; sleep 0.1; jobs; echo wai''ting\n"),
        ("waiting", ""),
    ]);
    assert!(!terminal.edits_lines(), "the payload's does");
    terminal.resize(41, 87);
    terminal.converse(&[("# ", "stty size\n"), ("41 87\r\n", "exit 7\n")]);
    while terminal.child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(terminal.edits_lines(), "given back as it was");
    assert_eq!(terminal.end().0, Some(7));
}

#[test]
fn ctrl_c_is_the_payloads_and_a_stop_in_order() {
    let Some(_guard) = containers("ctrl_c_is_the_payloads") else { return };
    let mut terminal = terminal!("ctrl_c_is_the_payloads", "run", "--", "sleep", "1000");
    terminal.converse(&[("Ready.", "\x03"), ("stopped.", "")]);
    assert_eq!(terminal.end().0, Some(0));
    // Who goes on after it and ends by himself was not stopped.
    let mut terminal = terminal!("ctrl_c_is_the_payloads", "run", "--", "sh");
    terminal.converse(&[("# ", "\x03"), ("# ", "exit 0\n"), ("exited successfully.", "")]);
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn three_escapes_kill_what_hears_nothing() {
    let Some(_guard) = containers("three_escapes_kill") else { return };
    let script = "trap '' INT TERM; echo armed; while :; do sleep 1; done";
    let mut terminal = terminal!("three_escapes_kill", "run", "--", "sh", "-c", script);
    terminal.converse(&[("armed", "\x03\x1d\x1d\x1d"), ("failed: signal 9", "")]);
    assert_eq!(terminal.end().0, Some(1));
}

#[test]
fn keys_ask_an_init_and_nobody_else() {
    let Some(_guard) = containers("keys_ask_an_init") else { return };
    for (key, code) in [("p", 38), ("r", 39)] {
        let script = format!("trap 'exit {code}' {code}; echo armed; while :; do sleep 0.05; done");
        let mut terminal = terminal!("keys_ask_an_init", "run", "--as-pid2=no", "--", "sh", "-c", script.as_str());
        terminal.converse(&[("^]^]p and ^]^]r to ask", ""), ("armed", &format!("\x1d\x1d{key}"))]);
        assert_eq!(terminal.end().0, Some(code));
    }
    let mut terminal = terminal!("keys_ask_an_init", "run", "-q", "--", "sh");
    terminal.converse(&[("# ", "\x1d\x1dp"), ("is no init; ^]^]^] kills it\r\n", "\x15exit 3\n")]);
    assert_eq!(terminal.end().0, Some(3));
}

#[test]
fn the_launcher_is_put_into_the_background_and_comes_back() {
    let Some(_guard) = containers("the_background") else { return };
    let mut terminal = terminal!("the_background", "run", "-q", "--", "sh");
    terminal.converse(&[("# ", "\x1d\x1dz")]);
    let stopped = |terminal: &Terminal| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", terminal.child.id())).unwrap();
        stat.rsplit(") ").next().unwrap_or_default().starts_with('T')
    };
    let begin = Instant::now();
    while !stopped(&terminal) {
        assert!(begin.elapsed() < Duration::from_secs(60), "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(terminal.edits_lines(), "the terminal is the shell's again");
    terminal.resize(33, 77);
    send(&terminal.child, Signal::SIGCONT);
    while terminal.edits_lines() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the terminal is not taken again");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The `z` was for the launcher: no command of that name is looked for.
    terminal.converse(&[("", "\x15echo ba''ck; stty size; exit 3\n"), ("back\r\n33 77", "")]);
    let (code, shown) = terminal.end();
    assert!(code == Some(3) && !shown.contains("zecho"), "{code:?} {shown}");
}

#[test]
fn a_terminal_that_is_lost_ends_the_container() {
    let Some(_guard) = containers("a_terminal_that_is_lost") else { return };
    let name = unique("lost");
    let Some(registry) = Running::registry("a_terminal_that_is_lost") else { return };
    let variables = registry.variables();
    let words = ["run", "-q", "-M", &name, "--", "sh", "-c", "trap '' HUP; echo up; while :; do sleep 1; done"];
    let Some(mut terminal) = Terminal::start("a_terminal_that_is_lost", &words, &variables) else { return };
    terminal.until("up");
    let mut child = terminal.hang_up();
    assert!(child.wait().unwrap().code().is_some());
    assert_eq!(registry.skep(&["status", &name]).code, Some(1));
}

/// It is asked once, however the loss is noticed, and what it says meanwhile is nobody's.
#[test]
fn a_terminal_that_is_lost_is_a_stop_in_order() {
    let Some(_guard) = containers("a_terminal_that_is_lost_is_a_stop") else { return };
    let script =
        "trap '' HUP; trap 'sleep 0.3; i=0; while [ $i -lt 20000 ]; do echo bye $i; i=$((i+1)); done; exit 0' TERM
        echo up; while :; do sleep 0.05; done";
    let words = ["run", "-q", "--kill-signal=TERM", "--", "sh", "-c", script];
    let Some(mut terminal) = Terminal::start("a_terminal_that_is_lost_is_a_stop", &words, &[]) else { return };
    terminal.until("up");
    let begin = Instant::now();
    assert_eq!(terminal.hang_up().wait().unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(8), "it was not heard out, or waited for");
}

/// As a service manager does with its console.
#[test]
fn a_terminal_that_nobody_has_open_for_a_while_comes_back() {
    let Some(_guard) = containers("a_terminal_that_nobody_has_open") else { return };
    let script = "echo closing; exec </dev/null >/dev/null 2>&1; sleep 0.6; echo ba''ck >/dev/console
        sleep 0.6; exec </dev/console >/dev/console 2>&1; echo as''k
        while read -r line; do [ \"$line\" = this ] && echo got it && exit 0; done";
    // No stub init, which might have it open.
    let words = ["run", "-q", "--as-pid2=no", "--", "sh", "-c", script];
    let Some(mut terminal) = Terminal::start("a_terminal_that_nobody_has_open", &words, &[]) else { return };
    terminal.until("closing");
    std::thread::sleep(Duration::from_millis(300));
    // For nobody, and no reason to end.
    terminal.converse(&[("", "lost\n"), ("back\r\n", ""), ("ask\r\n", "this\n"), ("got it\r\n", "")]);
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn who_writes_much_on_a_passive_terminal_is_not_kept_waiting() {
    let Some(_guard) = containers("who_writes_much") else { return };
    let script = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; echo end";
    let ran = skep(["run", "-q", "--console=passive", "--", "sh", "-c", script]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("line 0\r\nline 1\r\n"), "{:?}", ran.code);
    assert!(ran.stdout.ends_with("line 39999\r\nend\r\n"), "{}", ran.stdout.len());
}

/// The other modes, of a container that is like one of systemd-nspawn.
#[test]
fn each_mode_of_the_console_is_what_it_is_called() {
    let Some(_guard) = containers("each_mode_of_the_console") else { return };
    let probe =
        "tty; [ -e /dev/console ] && echo console || echo none; [ -t 0 ] && echo in; [ -t 1 ] && echo out; true";
    // Not on a terminal: those with one of their own have it, the others have the caller's streams.
    for (mode, shown) in [
        ("read-only", "/dev/pts/0\r\nconsole\r\nin\r\nout\r\n"),
        ("passive", "/dev/pts/0\r\nconsole\r\nin\r\nout\r\n"),
        ("pipe", "not a tty\nnone\n"),
        ("autopipe", "not a tty\nnone\n"),
    ] {
        let ran = skep(["run", "-q", &format!("--console={mode}"), "--", "sh", "-c", probe]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), shown), "{mode}: {ran:?}");
    }
    // On one, `autopipe` is a terminal of its own, and `read-only` gets nothing that is typed.
    let script = "tty; read -t 1 -r line || echo nothing; echo en''d";
    for (mode, dialogue) in [
        ("--console=autopipe", &[("/dev/pts/0\r\n", "typed\n"), ("end\r\n", "")]),
        ("--console=read-only", &[("/dev/pts/0\r\r\n", "typed\n"), ("nothing\r\r\n", "")]),
    ] {
        let mut terminal = terminal!("each_mode_of_the_console", "run", "-q", mode, "--", "bash", "-c", script);
        terminal.converse(dialogue);
        assert_eq!(terminal.end().0, Some(0), "{mode}");
    }
}

#[test]
fn without_a_terminal_nobody_gets_one() {
    let Some(_guard) = containers("without_a_terminal") else { return };
    let ran = skep(["run", "-q", "--", "sh", "-c", "tty; ls -l /dev/console 2>&1 | wc -l"]);
    assert!(ran.stdout.starts_with("not a tty"), "{ran:?}");
    let ran = skep(["run", "-q", "--console=passive", "--", "sh", "-c", "tty; sleep 0.2; echo end"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "/dev/pts/0\r\nend\r\n"), "{ran:?}");
    let ran = skep(["run", "--console=loud", "--", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not a console mode"), "{ran:?}");
}

/// A shell in a container that another process runs.
#[test]
fn a_further_command_has_a_terminal_too() {
    let Some(_guard) = containers("a_further_command_has_a_terminal") else { return };
    let Some(running) = Running::start("a_further_command_has_a_terminal", "exec-tty", &["sleep", "1000"]) else {
        return;
    };
    let words = ["exec", &running.name, "--", "sh"];
    let variables = running.registry.variables();
    let Some(mut terminal) = Terminal::start("a_further_command_has_a_terminal", &words, &variables) else { return };
    terminal.converse(&[
        ("# ", "tty; stty size; echo $TERM; echo as''ked\n"),
        ("/dev/pts/0\r\n30 100\r\nscreen-256color\r\nasked", "sh -c 'echo on\"\"e; exec sleep 1000'\n"),
        ("one\r\n", "\x03"),
        ("# ", "echo code=$?\n"),
        ("code=130\r\n# ", ""),
    ]);
    assert!(!terminal.edits_lines());
    terminal.resize(44, 55);
    terminal.converse(&[("", "stty size\n"), ("44 55\r\n", "exit 42\n")]);
    assert_eq!(terminal.end().0, Some(42));
    // Ctrl-C is the command's, and its end is the code that a shell has for it.
    let words = ["exec", &running.name, "sh", "-c", "echo up; exec sleep 1000"];
    let Some(mut terminal) = Terminal::start("a_further_command_has_a_terminal", &words, &variables) else { return };
    terminal.converse(&[("up", "\x03")]);
    assert_eq!(terminal.end().0, Some(130));
    // The container ends, and says so to who has a shell in it.
    let words = ["exec", &running.name, "sh"];
    let Some(mut terminal) = Terminal::start("a_further_command_has_a_terminal", &words, &variables) else { return };
    terminal.until("# ");
    assert_eq!(running.skep(&["kill", &running.name]).code, Some(0));
    terminal.until("has ended, and with it this command");
    assert_eq!(terminal.end().0, Some(137));
}

#[test]
fn a_login_shell_has_a_terminal() {
    let Some(_guard) = containers("a_login_shell_has_a_terminal") else { return };
    let Some(running) = Running::start("a_login_shell_has_a_terminal", "shell-tty", &["sleep", "1000"]) else { return };
    let words = ["shell", &running.name];
    let variables = running.registry.variables();
    let Some(mut terminal) = Terminal::start("a_login_shell_has_a_terminal", &words, &variables) else { return };
    terminal.converse(&[
        ("# ", "tty; stty size; case $- in *i*) echo interact''ive;; esac; echo as''ked\n"),
        ("/dev/pts/0\r\n30 100\r\ninteractive\r\nasked", "exit 12\n"),
    ]);
    assert_eq!(terminal.end().0, Some(12));
}

/// Colours for people, none for whoever asks for none.
#[test]
fn colours_are_for_terminals_that_want_them() {
    let directory = Scratch::new("colours");
    let bad = directory.file("bad.nspawn", "[Exec]\nHostnam=x\n");
    for (variables, coloured) in
        [(&[][..], true), (&[("NO_COLOR", "")], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let Some(terminal) = Terminal::start("colours", &["rnu"], variables) else { return };
        let (code, shown) = terminal.end();
        assert_eq!((code, shown.contains("\u{1b}[31mskep\u{1b}[0m: ")), (Some(1), coloured), "{variables:?} {shown}");
        let Some(terminal) = Terminal::start("colours", &["audit", "--diff", &bad, &bad], variables) else { return };
        let (code, shown) = terminal.end();
        assert_eq!((code, shown.contains('\u{1b}')), (Some(2), coloured), "{variables:?} {shown}");
    }
    assert!(!skep(["rnu"]).stderr.contains('\u{1b}'));
}
