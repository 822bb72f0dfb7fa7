//! Commands of the guide, run, and compared with what the guide shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::blocks::{Block, Page, blocks, pages, repository, skip};

/// The launcher's binary.
const SKEP: &str = env!("CARGO_BIN_EXE_skep");

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(page: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-guide-{}-{page}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a script as a reader of the guide would: with `skep` on the path, in a
/// directory of its own; gives the exit code and all that was printed, in order.
fn shell(directory: &Path, script: &str) -> (Option<i32>, String) {
    let programs = Path::new(SKEP).parent().unwrap().display().to_string();
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(directory)
        .env_clear()
        .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"))
        .env("HOME", directory)
        .env("LC_ALL", "C.UTF-8")
        .env("REPOSITORY", repository())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a block needs and this host does not have.
fn missing(block: &Block) -> Option<String> {
    let here = std::env::temp_dir();
    if let Some(reason) = &block.skip {
        return Some(reason.clone());
    }
    block.needs.iter().find_map(|need| match need.as_str() {
        "start" => skep_tests::able().err().map(|reason| format!("no container can be started here: {reason}")),
        "root" => (!nix::unistd::geteuid().is_root()).then(|| "only for root".to_owned()),
        "user" => nix::unistd::geteuid().is_root().then(|| "only for an ordinary user".to_owned()),
        program => {
            let found = shell(&here, &format!("command -v {program}")).0 == Some(0);
            (!found).then(|| format!("{program} is not here"))
        }
    })
}

/// Whether `shown` is what was printed: `…` stands for anything in a line, and
/// alone in a line for any lines.
fn matches(shown: &[&str], printed: &[&str]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([any, rest @ ..], _) if any.trim() == "…" => {
            matches(rest, printed) || matches!(printed, [_, fewer @ ..] if matches(shown, fewer))
        }
        ([line, shown @ ..], [other, printed @ ..]) => line_matches(line, other) && matches(shown, printed),
        _ => false,
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The commands of a transcript, each with the lines that follow it. A line that
/// ends with a backslash goes on in the next.
fn commands(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((command, shown))) if shown.is_empty() && command.ends_with('\\') => {
                command.push('\n');
                command.push_str(line.strip_prefix("> ").unwrap_or(line));
            }
            (None, Some((_, shown))) => shown.push(line),
            (None, None) => panic!("a transcript starts with `$ `: {line}"),
        }
    }
    commands
}

fn check(page: &str, block: &Block, directory: &Path) -> Vec<String> {
    let place = format!("{page}:{}", block.line);
    if let Some(name) = &block.file {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &block.text).unwrap();
        return Vec::new();
    }
    if !["console", "sh"].contains(&&*block.language) {
        return Vec::new();
    }
    if let Some(reason) = missing(block) {
        skip(&format!("guide {place}"), &reason);
        return Vec::new();
    }
    if block.language == "sh" {
        let (code, printed) = shell(directory, &format!("set -euo pipefail\n{}", block.text));
        return if code == Some(0) { Vec::new() } else { vec![format!("{place}: ended with {code:?}:\n{printed}")] };
    }
    let differs = |(command, shown): (String, Vec<&str>)| {
        let (_, printed) = shell(directory, &command);
        // Whose directory it is, the guide cannot know.
        let printed = printed.replace(&format!("{}/", directory.display()), "");
        let lines: Vec<&str> = printed.lines().collect();
        (!matches(&shown, &lines))
            .then(|| format!("{place}: $ {command}\n--- shown\n{}\n--- printed\n{printed}", shown.join("\n")))
    };
    commands(&block.text).into_iter().filter_map(differs).collect()
}

#[test]
fn commands_print_what_the_guide_shows() {
    let mut wrong = Vec::new();
    for Page { name, text } in pages() {
        let scratch = Scratch::new(&name);
        for block in blocks(&text) {
            wrong.extend(check(&name, &block, &scratch.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (shown, printed, expected) in [
        ("a\nb", "a\nb", true),
        ("a", "a\nb", false),
        ("a\n…", "a\nb\nc", true),
        ("…\nc", "a\nb\nc", true),
        ("a\n…\na", "a\na", true),
        ("a … c", "a b c", true),
        ("a … c", "a b", false),
        ("a…b…c", "axbyc", true),
        ("…", "", true),
    ] {
        let (shown, printed): (Vec<_>, Vec<_>) = (shown.lines().collect(), printed.lines().collect());
        assert_eq!(matches(&shown, &printed), expected, "{shown:?} {printed:?}");
    }
    let found = commands("$ a \\\n> b\nx\n$ c\n");
    assert_eq!(found, [("a \\\nb".to_owned(), vec!["x"]), ("c".to_owned(), vec![])]);
}
