//! The table of SECURITY.md: every row has a test that is there, or a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rows of the catalogue.
const ROWS: u16 = 148;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The tests of the workspace: names of functions, by the stem of their file or
/// its directory.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = ["runtime", "runtime-sys", "tests", "examples"].map(|part| root().join(part)).into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names =
                text.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
            found.extend(names.filter_map(|line| line.split(['(', '<']).next()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let (_, section) = text.split_once("## The attack catalogue, row by row").expect("no table in SECURITY.md");
    let rules: BTreeSet<&str> = skep::verify::rules().iter().map(|rule| rule.name).collect();
    let tests = tests();
    let mut rows: BTreeMap<u16, String> = BTreeMap::new();
    for line in
        section.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, _, named_rules, held] = cells.as_slice() else { panic!("four columns: {line}") };
        let number: u16 = row.parse().unwrap();
        for rule in named_rules.split(", ").filter(|rule| *rule != "–") {
            assert!(rules.contains(rule), "row {number}: no rule {rule}");
            let of = skep::verify::rules().iter().find(|known| known.name == rule).unwrap();
            assert!(of.rows.contains(&number), "row {number}: rule {rule} does not name it");
        }
        let mut named = 0;
        for test in held.split('`').skip(1).step_by(2) {
            assert!(tests.contains(test), "row {number}: no test {test}");
            named += usize::from(test.starts_with("row_") && test.contains(&format!("{number:03}")));
        }
        let reason = held.starts_with("not here: ") && held.len() > 40;
        assert!(named > 0 || reason, "row {number}: no test of its number, and no reason: {held}");
        assert!(rows.insert(number, (*held).to_owned()).is_none(), "row {number} twice");
    }
    let missing: Vec<u16> = (1..=ROWS).filter(|row| !rows.contains_key(row)).collect();
    assert!(missing.is_empty(), "no line for {missing:?}");
    // What a rule answers, its line names.
    for rule in skep::verify::rules() {
        for row in rule.rows {
            let line = section.lines().find(|line| line.starts_with(&format!("| {row} |"))).unwrap();
            assert!(line.contains(rule.name), "row {row} does not name {}", rule.name);
        }
    }
}
