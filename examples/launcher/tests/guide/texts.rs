//! Error texts of the guide exist, and its tables are those of the code.

use std::path::Path;

use skep::dialect::nspawn::{KEYS, Key, Trust};

use crate::blocks::{pages, repository, source};

/// A page's text, where it can be read.
fn page(name: &str) -> Option<String> {
    pages().into_iter().find(|page| page.name == name).map(|page| page.text)
}

/// The cells of the rows of every table of a text.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| line.starts_with("| ")).map(|line| {
        let line = line.trim_start_matches("| ").trim_end_matches(" |");
        line.split(" | ").collect()
    })
}

/// The sources that can say something to a user, each without its own tests.
fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            // A literal may be wrapped: `\` and the blanks of the next line are none of it.
            let joined: Vec<&str> = code.split("\\\n").map(str::trim_start).collect();
            found.push(joined.concat());
        }
    }
}

#[test]
fn every_error_text_of_the_guide_is_in_the_code() {
    let Some(text) = page("troubleshooting.md") else { return };
    let mut code = Vec::new();
    for directory in ["runtime/src", "runtime-sys/src", "examples/launcher/src"] {
        sources(&repository().join(directory), &mut code);
    }
    let mut seen = 0;
    for cells in rows(&text) {
        let Some(shown) = cells[0].strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        seen += 1;
        // What lies between the variable parts stands in one file, in this order.
        let said = |code: &String| {
            let mut rest = code.as_str();
            shown.split('…').all(|part| match rest.find(part.trim()) {
                Some(at) => {
                    rest = &rest[at + part.trim().len()..];
                    true
                }
                None => false,
            })
        };
        assert!(code.iter().any(said), "no code says: {shown}");
        assert!(cells.len() >= 3 && cells.iter().all(|cell| !cell.is_empty()), "why, and what to do: {cells:?}");
    }
    assert!(seen >= 25, "{seen} texts");
}

/// The first cells of a key's row.
fn row_of(key: &Key) -> String {
    let honoured = if key.is_supported() { "yes" } else { "not yet" };
    let trust = match key.trust {
        Trust::Trusted => "no",
        Trust::RestrictionsFromUntrusted => "to restrict",
        _ => "yes",
    };
    format!("| `{}=` | {honoured} | {trust} | ", key.name)
}

/// After a change of the table: `SKEP_UPDATE=1 cargo test -p skep-launcher --test guide`.
#[test]
fn the_reference_of_keys_is_the_table_of_keys() {
    let Some(text) = page("nspawn.md") else { return };
    let mut wanted = String::new();
    let mut section = None;
    for key in KEYS {
        if section != Some(key.section) {
            section = Some(key.section);
            wanted.push_str(&format!("\n### \\[{}\\]\n\n", key.section.name()));
            wanted.push_str("| key | honoured | from an untrusted file | |\n|---|---|---|---|\n");
        }
        // What it means is written by hand, and kept.
        let name = format!("| `{}=` | ", key.name);
        let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_default();
        let meaning = line.trim_end_matches(" |").split(" | ").nth(3).unwrap_or("…");
        wanted.push_str(&format!("{}{meaning} |\n", row_of(key)));
    }
    let (head, rest) = text.split_once("<!-- keys -->\n").unwrap();
    let (found, tail) = rest.split_once("\n<!-- /keys -->").unwrap();
    if std::env::var_os("SKEP_UPDATE").is_some() {
        let text = format!("{head}<!-- keys -->\n{wanted}\n<!-- /keys -->{tail}");
        std::fs::write(source().join("nspawn.md"), text).unwrap();
        return;
    }
    assert_eq!(found, wanted, "SKEP_UPDATE=1 cargo test -p skep-launcher --test guide");
    assert!(!wanted.contains("| … |"), "a key of which nothing is said");
}
