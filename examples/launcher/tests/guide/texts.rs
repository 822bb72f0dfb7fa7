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

/// After a change of the table: `SKEP_UPDATE=1 cargo test -p skep-launcher --test guide`.
#[test]
fn the_reference_of_options_is_the_table_of_options() {
    let Some(text) = page("systemd-nspawn.md") else { return };
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_skep")).args(["help", "options"]).output().unwrap();
    let wanted = format!("\n{}\n", String::from_utf8_lossy(&output.stdout));
    let (head, rest) = text.split_once("<!-- options -->\n").unwrap();
    let (found, tail) = rest.split_once("<!-- /options -->").unwrap();
    if std::env::var_os("SKEP_UPDATE").is_some() {
        let text = format!("{head}<!-- options -->\n{wanted}<!-- /options -->{tail}");
        std::fs::write(source().join("systemd-nspawn.md"), text).unwrap();
        return;
    }
    assert_eq!(found, wanted, "SKEP_UPDATE=1 cargo test -p skep-launcher --test guide");
}

/// What stands between backticks in a text, outside fenced blocks.
fn spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// An option that the guide names is one: of some verb of `skep`, unless it is
/// one of another program.
#[test]
fn every_option_of_the_guide_exists() {
    const OTHERS: &[&str] = &["--dest-dir"];
    let skep = |words: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_skep")).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let overview = skep(&["--help"]);
    let verbs = overview.lines().filter_map(|line| line.split_once(" skep ")?.1.split(' ').next());
    let help: String = verbs.filter(|verb| !verb.starts_with("--")).map(|verb| skep(&["help", verb])).collect();
    let known: Vec<&str> = help.split(|one: char| !one.is_ascii_alphanumeric() && one != '-').collect();
    for page in pages() {
        for span in spans(&page.text).into_iter().filter(|span| span.starts_with("--")) {
            let name = span.split(['=', ' ', '[']).next().unwrap_or_default();
            assert!(known.contains(&name) || OTHERS.contains(&name), "{}: {span}", page.name);
        }
    }
}

/// In the columns "in a program" stand methods, alone or called one after the
/// other; all of them exist.
#[test]
fn every_method_of_the_tables_exists() {
    let mut code = Vec::new();
    if pages().is_empty() {
        return;
    }
    sources(&repository().join("runtime/src"), &mut code);
    let code = code.concat();
    let mut seen = 0;
    for page in pages() {
        let mut column = None;
        for line in page.text.lines() {
            if !line.starts_with('|') {
                column = None;
                continue;
            }
            let mut cells: Vec<&str> = line.split('|').map(str::trim).collect();
            column = column.or_else(|| cells.iter().position(|cell| *cell == "in a program"));
            let Some(cell) = column.and_then(|at| (at < cells.len()).then(|| cells.swap_remove(at))) else { continue };
            for name in cell.split('`').skip(1).step_by(2).flat_map(|span| span.split('.')) {
                let name = name.split(['(', ' ']).next().unwrap_or_default();
                let is_method = name.starts_with(|first: char| first.is_ascii_lowercase())
                    && name.chars().all(|one| one.is_ascii_lowercase() || one == '_');
                if is_method {
                    let exists = [format!("pub fn {name}("), format!("pub fn {name}<"), format!("pub {name}: ")];
                    assert!(exists.iter().any(|text| code.contains(text)), "{}: {name}", page.name);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 30, "{seen} methods");
}
