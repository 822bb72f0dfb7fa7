//! Links lead somewhere, and the summary names every page.

use std::collections::BTreeSet;

use crate::blocks::{Page, pages, repository, source};

/// The targets of the links in a text, outside fenced blocks.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let mut rest = if fenced { "" } else { line };
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push(rest[..end].to_owned());
        }
    }
    found
}

/// What mdBook makes of a heading: its fragment.
fn fragments(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim();
            let kept = text.chars().filter(|one| one.is_alphanumeric() || [' ', '-', '_'].contains(one));
            kept.map(|one| if one == ' ' { '-' } else { one.to_ascii_lowercase() }).collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut dead = Vec::new();
    for Page { name, text } in &pages {
        for target in targets(text) {
            if target.starts_with("https://") {
                continue;
            }
            let (page, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let page = if page.is_empty() { name } else { page };
            let there = match pages.iter().find(|other| other.name == page) {
                Some(other) => fragment.is_empty() || fragments(&other.text).contains(fragment),
                None => fragment.is_empty() && page != "SUMMARY.md" && source().join(page).is_file(),
            };
            if !there {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_summary_names_every_page_once() {
    let pages = pages();
    if pages.is_empty() {
        return;
    }
    let summary = std::fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let mut named = targets(&summary);
    named.sort();
    let names: Vec<_> = pages.iter().map(|page| page.name.clone()).collect();
    assert_eq!(named, names);
}

#[test]
fn every_page_with_rust_in_it_is_a_documentation_test() {
    let Ok(tests) = std::fs::read_to_string(repository().join("tests/src/lib.rs")) else { return };
    for Page { name, text } in pages() {
        let listed = tests.contains(&format!("guide/src/{name}\""));
        assert_eq!(text.contains("\n```rust\n"), listed, "{name}: the list in tests/src/lib.rs");
    }
}
