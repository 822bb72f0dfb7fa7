//! Paths, binds and tmpfs.

use std::path::{Path, PathBuf};

use super::value::{Fault, Parsed};
use crate::dialect::problem::quoted;
use crate::spec::{Bind, Mount, MountKind, Tmpfs, parse_bytes};

/// A path of the container: absolute, without `..`, as short as it can be said.
pub(super) fn inside(text: &str) -> Parsed<PathBuf> {
    if !text.starts_with('/') {
        return Err(
            Fault::new(format!("{} is not an absolute path", quoted(text)))
                .remedy("write the path from `/` on, as the container sees it"),
        );
    }
    if text.split('/').any(|part| part == "..") {
        return Err(Fault::new(format!("{} holds `..`", quoted(text)))
            .remedy("write the path without `..`"));
    }
    simplified(text)
}

/// The path without `//`, `/./` and a `/` at its end, if the kernel takes it.
fn simplified(text: &str) -> Parsed<PathBuf> {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let path = format!("/{}", parts.join("/"));
    if path.len() >= 4096 || parts.iter().any(|part| part.len() > 255) {
        return Err(Fault::new(format!("{} is too long", quoted(text)))
            .remedy("a path has at most 4095 bytes, each part of it 255"));
    }
    Ok(PathBuf::from(path))
}

/// `SRC[:DST[:OPTIONS]]`.
pub(super) fn bind(text: &str, read_only: bool, file: &Path) -> Parsed<Mount> {
    let (from, after) = field(text, 0)?;
    if from.is_empty() {
        return Err(
            Fault::not_yet("a bind without a source (a fresh directory)")
                .remedy("use TemporaryFileSystem="),
        );
    }
    if text.starts_with('+') {
        return Err(Fault::not_yet("a source below the container's root (`+`)")
            .remedy("write the path on the host, or `./+…` if the name really starts with `+`"));
    }
    let relative = !from.starts_with('/');
    let source = if relative {
        below(&from, file)?
    } else {
        simplified(&from)?
    };
    let Some(at) = after else {
        if relative {
            return Err(
                Fault::new("a relative source needs a target").remedy("write SOURCE:TARGET")
            );
        }
        return Ok(Mount {
            target: inside(&from)?,
            kind: MountKind::Bind(Bind {
                source,
                read_only,
                recursive: true,
            }),
        });
    };
    let (to, options) = field(text, at)?;
    if to.is_empty() {
        return Err(Fault::new("the target is empty")
            .remedy("write SOURCE:TARGET, or SOURCE alone for the same path inside")
            .at(at));
    }
    let target = inside(&to).map_err(|fault| fault.at(at))?;
    let mut recursive = None;
    for (at, option) in self::options(text, options) {
        match option {
            "rbind" | "norbind" if recursive.is_none() => recursive = Some(option == "rbind"),
            "rbind" | "norbind" => {
                return Err(Fault::new("`rbind` and `norbind`: one of them, once").at(at));
            }
            "noidmap" => {}
            "idmap" | "rootidmap" | "owneridmap" => {
                return Err(Fault::not_yet(&format!("the bind option `{option}`")).at(at));
            }
            _ => {
                return Err(
                    Fault::new(format!("{} is not a bind option", quoted(option)))
                        .remedy("options are rbind, norbind and noidmap; write `\\:` for a colon of a path")
                        .at(at),
                );
            }
        }
    }
    let recursive = recursive.unwrap_or(true);
    Ok(Mount {
        target,
        kind: MountKind::Bind(Bind {
            source,
            read_only,
            recursive,
        }),
    })
}

/// A relative source, taken from the directory of the file that names it.
fn below(from: &str, file: &Path) -> Parsed<PathBuf> {
    let fault = |message: &str| Fault::new(message).remedy("write the absolute path of the source");
    let directory = file
        .parent()
        .filter(|_| file.is_absolute())
        .ok_or_else(|| {
            fault("the source is relative to the directory of this file, whose own path is not absolute")
        })?;
    // What cannot stand in a file of this format cannot be printed as one.
    let directory = directory
        .to_str()
        .filter(|text| !text.contains(['\n', '\r', '\0']))
        .ok_or_else(|| {
            fault("the source is relative to the directory of this file, whose name is not plain text")
        })?;
    simplified(&format!("{directory}/{from}"))
}

/// `PATH[:OPTIONS]`.
pub(super) fn tmpfs(text: &str) -> Parsed<Mount> {
    let (path, options) = field(text, 0)?;
    let target = inside(&path)?;
    let mut tmpfs = Tmpfs::default();
    if options.is_some() {
        // With options, `systemd-nspawn` leaves the mode to the kernel.
        tmpfs.mode = 0o1777;
    }
    let mut seen = Vec::new();
    for (at, option) in self::options(text, options) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let word = if name == "ro" { "rw" } else { name };
        if seen.contains(&word) {
            return Err(Fault::new(format!("{} is given twice", quoted(name))).at(at));
        }
        seen.push(word);
        tmpfs_option(&mut tmpfs, name, value).map_err(|fault| fault.at(at))?;
    }
    Ok(Mount {
        target,
        kind: MountKind::Tmpfs(tmpfs),
    })
}

fn tmpfs_option(tmpfs: &mut Tmpfs, name: &str, value: Option<&str>) -> Parsed<()> {
    match (name, value) {
        ("mode", Some(value)) => {
            let octal = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            tmpfs.mode = Some(value)
                .filter(|_| octal)
                .and_then(|value| u32::from_str_radix(value, 8).ok())
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| {
                    Fault::new(format!("{} is not a mode", quoted(value)))
                        .remedy("a mode is octal, such as 0755, and at most 7777")
                })?;
        }
        ("size", Some(value)) if value.ends_with('%') => {
            return Err(Fault::not_yet("a size in percent").remedy("write a size such as 512M"));
        }
        ("size", Some(value)) => tmpfs.size = count(value)?,
        ("nr_inodes", Some(value)) => tmpfs.inodes = count(value)?,
        ("ro", None) => tmpfs.read_only = true,
        ("rw", None) => tmpfs.read_only = false,
        (
            "uid" | "gid" | "nr_blocks" | "huge" | "mpol" | "suid" | "nosuid" | "dev" | "nodev"
            | "exec" | "noexec" | "atime" | "noatime" | "diratime" | "nodiratime" | "relatime"
            | "norelatime" | "strictatime" | "nostrictatime" | "lazytime" | "nolazytime" | "sync"
            | "dirsync" | "inode32" | "inode64" | "noswap",
            _,
        ) => return Err(Fault::not_yet(&format!("the tmpfs option `{name}`"))),
        _ => {
            return Err(
                Fault::new(format!("{} is not a tmpfs option", quoted(name)))
                    .remedy("options are mode=, size=, nr_inodes=, ro and rw; write `\\:` for a colon of the path"),
            );
        }
    }
    Ok(())
}

/// A size. The kernel takes 0 for "no limit", and `010` for 8.
fn count(text: &str) -> Parsed<u64> {
    let fault = |message: String| Fault::new(message).remedy("write a number such as 4096 or 512M");
    if text.starts_with('0') {
        return Err(fault(format!(
            "{} starts with 0, which the kernel takes for no limit or an octal number",
            quoted(text)
        )));
    }
    parse_bytes(&text.to_ascii_uppercase())
        .map_err(|_| fault(format!("{} is not a size, or too large", quoted(text))))
}

/// The comma-separated options from the byte `at` on, each with its place.
fn options(text: &str, at: Option<usize>) -> impl Iterator<Item = (usize, &str)> {
    let mut next = at.unwrap_or_default();
    at.and_then(|at| text.get(at..))
        .into_iter()
        .flat_map(|text| text.split(','))
        .map(move |option| {
            let start = next;
            next += option.len() + 1;
            (start, option)
        })
}

/// The field that begins at the byte `from`, and where the next one begins.
/// `\:` is a colon, `\\` a backslash.
fn field(text: &str, from: usize) -> Parsed<(String, Option<usize>)> {
    let mut field = String::new();
    let mut chars = text.get(from..).unwrap_or_default().char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ':' => return Ok((field, Some(from + at + 1))),
            '\\' => match chars.next() {
                Some((_, escaped @ (':' | '\\'))) => field.push(escaped),
                _ => {
                    return Err(Fault::new("a backslash stands before neither `:` nor `\\`")
                        .remedy("write `\\\\` for a backslash, and anything else as it is")
                        .at(from + at));
                }
            },
            _ => field.push(char),
        }
    }
    Ok((field, None))
}

/// A path as [`field`] reads it.
pub(super) fn escaped(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
}
