//! The pages of the guide and the blocks in them.

use std::io::Write as _;
use std::path::PathBuf;

/// The repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Says that something did not run, and why.
pub(crate) fn skip(what: &str, reason: &str) {
    // Not through `eprintln`, which the harness swallows when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIP {what}: {reason}");
}

/// Where the pages are.
pub(crate) fn source() -> PathBuf {
    repository().join("guide/src")
}

/// One page.
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Every page but the summary, by name; none, and the reason printed, where the
/// source cannot be read by this user.
pub(crate) fn pages() -> Vec<Page> {
    let entries = match std::fs::read_dir(source()) {
        Ok(entries) => entries,
        Err(error) => {
            skip("guide", &format!("its source cannot be read by this user: {error}"));
            return Vec::new();
        }
    };
    let mut pages: Vec<Page> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .filter(|path| path.file_name().is_some_and(|name| name != "SUMMARY.md"))
        .map(|path| Page {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read_to_string(&path).unwrap(),
        })
        .collect();
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(pages.len() > 10, "only {} pages", pages.len());
    pages
}

/// A fenced block.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    /// Where it starts, from 1.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) file: Option<String>,
    pub(crate) needs: Vec<String>,
    pub(crate) skip: Option<String>,
}

/// The blocks of a page, with what the comments directly before them say.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let (mut file, mut needs, mut skip) = (None, Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        if let Some(block) = &mut open {
            if line == "```" {
                blocks.extend(open.take());
            } else {
                block.text.push_str(line);
                block.text.push('\n');
            }
            continue;
        }
        if let Some(language) = line.strip_prefix("```") {
            open = Some(Block {
                line: at + 1,
                language: language.to_owned(),
                text: String::new(),
                file: file.take(),
                needs: std::mem::take(&mut needs),
                skip: skip.take(),
            });
        } else if let Some(said) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            match said.split_once(": ") {
                Some(("file", name)) => file = Some(name.to_owned()),
                Some(("needs", words)) => needs.extend(words.split(' ').map(str::to_owned)),
                Some(("skip", reason)) => skip = Some(reason.to_owned()),
                _ => {}
            }
        } else if file.is_some() || !needs.is_empty() || skip.is_some() {
            panic!("line {}: the comment before it belongs to no block", at + 1);
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

#[test]
fn blocks_have_a_language_that_is_tested() {
    for Page { name, text } in pages() {
        for block in blocks(&text) {
            let language = block.language.split(',').next().unwrap_or_default();
            if block.language == "rust,ignore" {
                let path = block.text.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}\n"));
                let there = path.is_some_and(|path| path.contains("/examples/") && source().join(path).is_file());
                assert!(there, "{name}:{}: nobody compiles this", block.line);
            }
            let known = ["rust", "console", "sh", "ini", "json", "toml", "text"].contains(&language);
            assert!(known, "{name}:{}: a block of {:?} is tested by nobody", block.line, block.language);
            if ["ini", "json"].contains(&language) {
                assert!(block.file.is_some(), "{name}:{}: the file has no name, so nobody reads it", block.line);
            }
        }
    }
}

#[test]
fn a_block_is_what_its_comments_say() {
    let text = "x\n<!-- needs: start cc -->\n<!-- file: a -->\n```sh\na\n\nb\n```\n```text\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].line, found[0].text.as_str(), found[0].file.as_deref()), (4, "a\n\nb\n", Some("a")));
    assert_eq!(found[0].needs, ["start", "cc"]);
    assert_eq!((found[1].line, found[1].text.as_str(), found[1].needs.len()), (9, "", 0));
}
