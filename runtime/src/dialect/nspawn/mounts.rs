//! Paths, binds and tmpfs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::value::{self, Parsed, ValueError};
use super::words;
use crate::dialect::problem::{excerpt, quoted};
use crate::spec::{AccessTimes, Bind, HugePages, Mount, MountKind, NumaPolicy, Overlay, Tmpfs, parse_bytes};

/// Bytes of a path as a message shows them.
fn shown(text: &OsStr) -> String {
    quoted(&text.to_string_lossy())
}

/// A path of the container: absolute, without `..`, as short as it can be said.
///
/// # Errors
///
/// Any other path, and one that is longer than the kernel takes.
pub fn inside(text: impl AsRef<OsStr>) -> Parsed<PathBuf> {
    let text = text.as_ref();
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(ValueError::new(format!("{} is not an absolute path", shown(text)))
            .with_remedy("write the path from `/` on, as the container sees it"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(ValueError::new(format!("{} holds `..`", shown(text))).with_remedy("write the path without `..`"));
    }
    simplified(path)
}

/// The path without `//`, `/./` and a `/` at its end, if the kernel takes it.
fn simplified(path: &Path) -> Parsed<PathBuf> {
    let simple: PathBuf = path.components().collect();
    if simple.as_os_str().len() >= 4096 || simple.iter().any(|part| part.len() > 255) {
        return Err(ValueError::new(format!("{} is too long", shown(path.as_os_str())))
            .with_remedy("a path has at most 4095 bytes, each part of it 255"));
    }
    Ok(simple)
}

/// `SOURCE[:TARGET[:OPTIONS]]`. A relative source stays as it is: from which
/// directory it is taken is for the caller to say. One that begins with `+` lies in
/// the container's own tree; an empty one is an empty directory in memory.
///
/// # Errors
///
/// A path that cannot be, a relative source without a target, an unknown option.
pub fn bind(text: impl AsRef<OsStr>, read_only: bool) -> Parsed<Mount> {
    let text = text.as_ref();
    let (from, after) = field(text, 0)?;
    let fresh = from.is_empty();
    let mut bind = Bind { read_only, ..Bind::default() };
    bind.source = match from.as_bytes().strip_prefix(b"+") {
        Some(below) => {
            bind.inside = true;
            inside(OsStr::from_bytes(below)).map_err(|fault| {
                fault.at(1).with_remedy("write `+` and an absolute path, or `./+…` if the name really starts with `+`")
            })?
        }
        None => {
            let from = PathBuf::from(from);
            let short = simplified(&from)?;
            if from.is_absolute() { short } else { from }
        }
    };
    let Some(at) = after else {
        if fresh {
            return Err(ValueError::new("a fresh directory needs a target").with_remedy("write :TARGET"));
        }
        if bind.source.is_relative() {
            return Err(ValueError::new("a relative source needs a target").with_remedy("write SOURCE:TARGET"));
        }
        return Ok(Mount { target: inside(&bind.source)?, kind: MountKind::Bind(bind) });
    };
    let (to, options) = field(text, at)?;
    if to.is_empty() {
        return Err(ValueError::new("the target is empty")
            .with_remedy("write SOURCE:TARGET, or SOURCE alone for the same path inside")
            .at(at));
    }
    let target = inside(&to).map_err(|fault| fault.at(at))?;
    let (mut recursive, mut id_map) = (None, None);
    for (at, option) in self::options(text, options) {
        match option.as_bytes() {
            b"rbind" | b"norbind" if recursive.is_none() => recursive = Some(option == "rbind"),
            b"rbind" | b"norbind" => {
                return Err(ValueError::new("`rbind` and `norbind`: one of them, once")
                    .with_remedy("keep the one that you mean")
                    .at(at));
            }
            _ => match words::id_map(option) {
                Some(mode) if id_map.is_none() => id_map = Some(mode),
                Some(_) => {
                    return Err(ValueError::new("more than one kind of id map")
                        .with_remedy("keep the one that you mean")
                        .at(at));
                }
                None => {
                    return Err(ValueError::new(format!("{} is not a bind option", shown(option)))
                        .with_remedy(
                            "options are rbind, norbind, noidmap, idmap, rootidmap and owneridmap; write `\\:` for a \
                             colon of a path",
                        )
                        .at(at));
                }
            },
        }
    }
    if fresh {
        // What is there for the container's life alone.
        let tmpfs = Tmpfs { read_only, ..Tmpfs::default() };
        return Ok(Mount { target, kind: MountKind::Tmpfs(tmpfs) });
    }
    bind.recursive = recursive.unwrap_or(true);
    bind.id_map = id_map.unwrap_or_default();
    Ok(Mount { target, kind: MountKind::Bind(bind) })
}

/// The same in a file: a relative source is taken from its directory.
pub(super) fn bind_of(text: &str, read_only: bool, file: &Path) -> Parsed<Mount> {
    let mut mount = bind(text, read_only)?;
    if let MountKind::Bind(bind) = &mut mount.kind
        && bind.source.is_relative()
        && !bind.inside
    {
        bind.source = below(&bind.source, file)?;
    }
    Ok(mount)
}

/// A relative source, taken from the directory of the file that names it.
fn below(from: &Path, file: &Path) -> Parsed<PathBuf> {
    let fault = |message: &str| ValueError::new(message).with_remedy("write the absolute path of the source");
    let directory = file
        .parent()
        .filter(|_| file.is_absolute())
        .ok_or_else(|| fault("the source is relative to the directory of this file, whose own path is not absolute"))?;
    // What cannot stand in a file of this format cannot be printed as one.
    directory
        .to_str()
        .filter(|text| !text.contains(['\n', '\r', '\0']))
        .ok_or_else(|| fault("the source is relative to the directory of this file, whose name is not plain text"))?;
    simplified(&directory.join(from))
}

/// `PATH[:OPTIONS]`.
///
/// # Errors
///
/// A path that cannot be, an unknown option or one given twice.
pub fn tmpfs(text: impl AsRef<OsStr>) -> Parsed<Mount> {
    let text = text.as_ref();
    let (path, options) = field(text, 0)?;
    let target = inside(&path)?;
    let mut tmpfs = Tmpfs::default();
    if options.is_some() {
        // With options, `systemd-nspawn` leaves the mode to the kernel.
        tmpfs.mode = 0o1777;
    }
    let mut seen = Vec::new();
    for (at, option) in tmpfs_options(text, options) {
        let option = &*option.to_string_lossy();
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let word = match name {
            "ro" => "rw",
            "noexec" => "exec",
            "size" | "nr_blocks" => "size",
            "inode32" | "inode64" => "inode64",
            "noatime" | "relatime" | "strictatime" | "norelatime" | "nostrictatime" => "atime",
            "nodiratime" => "diratime",
            _ => name,
        };
        if seen.iter().any(|earlier| earlier == word) {
            return Err(ValueError::new(format!("{} is given twice", quoted(name)))
                .with_remedy("keep the one that you mean")
                .at(at));
        }
        seen.push(word.to_owned());
        tmpfs_option(&mut tmpfs, name, value).map_err(|fault| fault.at(at))?;
    }
    Ok(Mount { target, kind: MountKind::Tmpfs(tmpfs) })
}

fn tmpfs_option(tmpfs: &mut Tmpfs, name: &str, value: Option<&str>) -> Parsed<()> {
    match (name, value) {
        ("mode", Some(value)) => tmpfs.mode = value::mode(value, 0o7777)?,
        ("size", Some(value)) => match value.strip_suffix('%') {
            Some(percent) => {
                let fits = |percent: &u8| (1..=100).contains(percent) && !value.starts_with(['0', '+']);
                tmpfs.percent = Some(percent.parse().ok().filter(fits).ok_or_else(|| {
                    ValueError::new(format!("{} is no part of the memory", quoted(value)))
                        .with_remedy("write 1% to 100%, or a size such as 512M")
                })?);
            }
            None => tmpfs.size = count(name, value)?,
        },
        ("uid", Some(value)) => tmpfs.uid = owner(value)?,
        ("gid", Some(value)) => tmpfs.gid = owner(value)?,
        // So it is anyhow, or changes nothing of what is in memory.
        ("nosuid" | "nodev" | "sync" | "async" | "dirsync" | "lazytime" | "nolazytime", None) => {}
        ("suid" | "dev", None) => {
            return Err(ValueError::new(format!(
                "a tmpfs honours no {}",
                if name == "dev" { "devices" } else { "set-user-id" }
            ))
            .with_remedy("leave the option out, or bind a device with --device="));
        }
        ("nr_inodes", Some(value)) => tmpfs.inodes = count(name, value)?,
        ("nr_blocks", Some(value)) => tmpfs.blocks = Some(count(name, value)?),
        ("noexec", None) => tmpfs.noexec = true,
        ("exec", None) => tmpfs.noexec = false,
        ("ro", None) => tmpfs.read_only = true,
        ("rw", None) => tmpfs.read_only = false,
        ("nosymfollow", None) => tmpfs.nosymfollow = true,
        // mount(8): what `atime` and the negations leave is the kernel's default.
        ("relatime" | "atime" | "norelatime" | "nostrictatime", None) => tmpfs.access_times = AccessTimes::Relative,
        ("strictatime", None) => tmpfs.access_times = AccessTimes::Strict,
        ("noatime", None) => tmpfs.access_times = AccessTimes::Off,
        ("diratime", None) => tmpfs.nodiratime = false,
        ("nodiratime", None) => tmpfs.nodiratime = true,
        ("huge", Some(value)) => {
            let named = HugePages::ALL.into_iter().find(|huge| huge.name() == value);
            tmpfs.huge = Some(named.ok_or_else(|| {
                ValueError::new(format!("{} says not when there are huge pages", quoted(value)))
                    .with_remedy("write never, always, within_size or advise")
            })?);
        }
        ("mpol", Some(value)) => {
            tmpfs.numa = Some(NumaPolicy::parse(value).map_err(|why| {
                ValueError::new(format!("mpol={}: {why}", excerpt(value))).with_remedy(
                    "write default, local, prefer:NODE, bind:NODES or interleave:NODES, such as interleave:0-3",
                )
            })?);
        }
        ("noswap", None) => tmpfs.noswap = true,
        ("inode32", None) => tmpfs.inode64 = Some(false),
        ("inode64", None) => tmpfs.inode64 = Some(true),
        ("usrquota" | "grpquota", None)
        | (
            "usrquota_block_hardlimit"
            | "usrquota_inode_hardlimit"
            | "grpquota_block_hardlimit"
            | "grpquota_inode_hardlimit",
            Some(_),
        ) => {
            return Err(ValueError::new(format!(
                "{} is not passed on: the container's ids are no users of the host",
                quoted(name)
            ))
            .with_remedy("bound it with size= and nr_inodes="));
        }
        _ => {
            return Err(ValueError::new(format!("{} is not a tmpfs option", quoted(name))).with_remedy(
                "options are mode=, uid=, gid=, size=, nr_blocks=, nr_inodes=, huge=, mpol=, noswap, inode32, inode64, ro, rw, \
                 exec, noexec, nosymfollow, relatime, noatime, strictatime and nodiratime; write `\\:` for a colon of the path",
            ));
        }
    }
    Ok(())
}

/// As the kernel separates them: a comma before a digit is one of a list of nodes.
fn tmpfs_options(text: &OsStr, at: Option<usize>) -> Vec<(usize, OsString)> {
    let mut all: Vec<(usize, OsString)> = Vec::new();
    for (at, option) in options(text, at) {
        match all.last_mut() {
            Some((_, before))
                if before.as_bytes().starts_with(b"mpol=")
                    && option.as_bytes().first().is_some_and(u8::is_ascii_digit) =>
            {
                before.push(",");
                before.push(option);
            }
            _ => all.push((at, option.to_owned())),
        }
    }
    all
}

/// A user or group id, as the container has it.
fn owner(text: &str) -> Parsed<u32> {
    value::decimal(text).filter(|id| *id != u32::MAX).ok_or_else(|| {
        ValueError::new(format!("{} is not an id", quoted(text))).with_remedy("write a number below 4294967295")
    })
}

/// `LOWER:TARGET`, whose target on the host is the upper layer, or
/// `LOWER…:UPPER:TARGET`; the bottom layer comes first. An empty upper layer is
/// thrown away. Read-only, the upper layer is one more that is not changed. With `+` in
/// front a layer lies in the container's own tree: also `LOWER:+TARGET`. Other relative
/// layers stay as they are, as of [`bind`].
///
/// # Errors
///
/// Less than two paths, a target that is not absolute, an empty layer that is not the upper.
pub fn overlay(text: impl AsRef<OsStr>, read_only: bool) -> Parsed<Mount> {
    let text = text.as_ref();
    let mut fields = Vec::new();
    let mut next = Some(0);
    while let Some(at) = next {
        let (field, after) = field(text, at)?;
        fields.push((at, field));
        next = after;
    }
    let Some((target_at, target)) = fields.pop().filter(|_| !fields.is_empty()) else {
        return Err(ValueError::new("an overlay has at least two paths")
            .with_remedy("write LOWER:TARGET or LOWER:UPPER:TARGET"));
    };
    let both = fields.len() == 1;
    let of_tree = if both { target.as_bytes().strip_prefix(b"+").map(OsStr::from_bytes) } else { None };
    let target = inside(of_tree.unwrap_or(&target)).map_err(|fault| fault.at(target_at))?;
    if both {
        let mut upper = OsString::from(if of_tree.is_some() { "+" } else { "" });
        upper.push(&target);
        fields.push((target_at, upper));
    }
    // Read-only, nothing is ever in it.
    let empty = fields.pop_if(|(_, upper)| upper.is_empty()).is_some();
    let mut layers = Vec::new();
    for (at, layer) in fields {
        layers.push(match layer.as_bytes().strip_prefix(b"+") {
            Some(of_tree) => {
                let of_tree = inside(OsStr::from_bytes(of_tree)).map_err(|fault| fault.at(at))?;
                let mut layer = OsString::from("+");
                layer.push(of_tree);
                PathBuf::from(layer)
            }
            None if layer.is_empty() => {
                return Err(ValueError::new("a layer is empty")
                    .with_remedy("name a directory; only the last before the target, where changes go, may be empty")
                    .at(at));
            }
            None if Path::new(&layer).is_absolute() => inside(&layer).map_err(|fault| fault.at(at))?,
            None => PathBuf::from(layer),
        });
    }
    let upper = if read_only || empty { None } else { layers.pop() };
    let overlay = Overlay { lower: layers, upper, read_only, ..Overlay::default() };
    Ok(Mount { target, kind: MountKind::Overlay(overlay) })
}

/// The same in a file: relative layers are taken from its directory.
pub(super) fn overlay_of(text: &str, read_only: bool, file: &Path) -> Parsed<Mount> {
    let mut mount = overlay(text, read_only)?;
    if let MountKind::Overlay(overlay) = &mut mount.kind {
        for layer in overlay.lower.iter_mut().chain(&mut overlay.upper) {
            if layer.is_relative() && !layer.as_os_str().as_bytes().starts_with(b"+") {
                *layer = below(layer, file)?;
            }
        }
    }
    Ok(mount)
}

/// A size. The kernel takes 0 for "no limit", and `010` for 8.
fn count(name: &str, text: &str) -> Parsed<u64> {
    let fault = |message: String| ValueError::new(message).with_remedy("write a number such as 4096 or 512M");
    if text.starts_with('0') {
        return Err(fault(format!(
            "{} starts with 0 in `{name}={}`, which the kernel takes for no limit or an octal number",
            quoted(text),
            excerpt(text)
        )));
    }
    parse_bytes(&text.to_ascii_uppercase()).map_err(|_| fault(format!("{} is not a size, or too large", quoted(text))))
}

/// `NEW[:OLD]`: which directory of the tree becomes the root, and where in it the
/// whole tree is mounted.
///
/// # Errors
///
/// A path that is not absolute, more than two, and twice the same.
pub fn pivot_root(text: impl AsRef<OsStr>) -> Parsed<(PathBuf, Option<PathBuf>)> {
    let text = text.as_ref();
    let (new, after) = field(text, 0)?;
    let new = inside(new)?;
    let Some(at) = after else {
        return Ok((new, None));
    };
    let (old, rest) = field(text, at)?;
    let old = inside(old).map_err(|error| error.at(at))?;
    if let Some(at) = rest {
        return Err(ValueError::new("two paths are the most").with_remedy("write NEW or NEW:OLD").at(at));
    }
    if old == new {
        return Err(ValueError::new("the old root cannot be put where the new one is")
            .with_remedy("name another directory")
            .at(at));
    }
    Ok((new, Some(old)))
}

/// The comma-separated options from the byte `at` on, each with its place.
fn options(text: &OsStr, at: Option<usize>) -> impl Iterator<Item = (usize, &OsStr)> {
    let mut next = at.unwrap_or_default();
    at.and_then(|at| text.as_bytes().get(at..)).into_iter().flat_map(|bytes| bytes.split(|byte| *byte == b',')).map(
        move |option| {
            let start = next;
            next += option.len() + 1;
            (start, OsStr::from_bytes(option))
        },
    )
}

/// The field that begins at the byte `from`, and where the next one begins.
/// `\:` is a colon, `\\` a backslash.
pub(super) fn field(text: &OsStr, from: usize) -> Parsed<(OsString, Option<usize>)> {
    let mut field = Vec::new();
    let mut bytes = text.as_bytes().iter().enumerate().skip(from);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b':' => return Ok((OsString::from_vec(field), Some(at + 1))),
            b'\\' => match bytes.next() {
                Some((_, escaped @ (b':' | b'\\'))) => field.push(*escaped),
                _ => {
                    return Err(ValueError::new("a backslash stands before neither `:` nor `\\`")
                        .with_remedy("write `\\\\` for a backslash, and anything else as it is")
                        .at(at));
                }
            },
            _ => field.push(*byte),
        }
    }
    Ok((OsString::from_vec(field), None))
}

/// A path as [`field`] reads it.
pub(super) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:")
}
