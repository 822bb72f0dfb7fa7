//! Options of new file systems, those of overlays above all.

use std::ffi::CStr;

use skep_sys::abi::MountAttrs;
use skep_sys::{Op, OpKind, Proof};

use super::Findings;
use super::reported::{MAPPED, applied};
use crate::plan::Phase;
use crate::report::Outcome;
use crate::verify::view::{Id, Seen, View, What};

/// The options that a plan may give to a file system, and its flags.
fn known(kind: &CStr) -> Option<(&'static [&'static CStr], &'static [&'static CStr])> {
    Some(match kind.to_bytes() {
        b"tmpfs" => (
            &[c"size", c"nr_blocks", c"nr_inodes", c"mode", c"uid", c"gid", c"huge", c"mpol"],
            &[c"inode32", c"inode64", c"noswap"],
        ),
        b"devpts" => (&[c"ptmxmode", c"mode", c"gid"], &[c"newinstance"]),
        b"ramfs" => (&[c"mode"], &[]),
        b"overlay" => (&[c"lowerdir", c"upperdir", c"workdir"], &[c"userxattr"]),
        b"proc" | b"sysfs" | b"mqueue" | b"cgroup2" => (&[], &[]),
        _ => return None,
    })
}

pub(super) fn options_known(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::FsOpen) {
        let Op::FsOpen { kind, .. } = seen.op else { continue };
        if known(kind).is_none() {
            found.at(seen, "is a file system that no plan needs");
        }
        // Its paths are relative, so that no path of the caller is an option.
        let below = view.before(seen).is_some_and(|before| {
            before.kind() == OpKind::Fchdir && before.on == view.building && before.on != Id::NONE
        });
        if kind == c"overlay" && !below {
            found.at(seen, "takes its paths from another directory than the building tmpfs");
        }
    }
    for seen in view.of(OpKind::FsString).chain(view.of(OpKind::FsFlag)) {
        let What::Context(kind) = view.thing(seen.on).what else {
            found.at(seen, "configures what is no new file system");
            continue;
        };
        let (keys, flags) = known(kind).unwrap_or_default();
        let fits = match seen.op {
            Op::FsString { key, value, .. } if kind == c"overlay" => overlay_words(view, seen, key, value),
            Op::FsString { key, .. } => keys.contains(&key),
            Op::FsFlag { key, .. } => flags.contains(&key),
            _ => false,
        };
        if !fits {
            found.at(seen, format!("is an option that no plan gives to {}", kind.to_string_lossy()));
        }
    }
    let mut mounted = view.table(false);
    for seen in view.of(OpKind::FsMount) {
        let created = view.before(seen).is_some_and(|before| before.kind() == OpKind::FsCreate && before.on == seen.on);
        if !created || mounted[seen.on.place()] {
            found.at(seen, "mounts what was not made by the op before");
        }
        mounted[seen.on.place()] = true;
    }
}

/// Whether an overlay's directories are words of ours: each lower one a name in
/// the building tmpfs where a read-only clone is attached; the upper and the
/// work directory a name made there that holds nothing yet, or a link made
/// there that leads below a clone which can be written.
fn overlay_words(view: &View<'_>, seen: &Seen<'_>, key: &CStr, value: &CStr) -> bool {
    let attached = |word: &[u8]| {
        view.of(OpKind::MoveMount).find_map(|moved| match moved.op {
            Op::MoveMount { path, .. }
                if moved.onto == view.building && moved.at < seen.at && path.to_bytes() == word =>
            {
                Some(view.thing(moved.on))
            }
            _ => None,
        })
    };
    let clone = |word: &[u8], read_only: bool| {
        attached(word).is_some_and(|thing| {
            matches!(thing.what, What::HostClone { .. }) && thing.attrs.has(MountAttrs::RDONLY) == read_only
        })
    };
    let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
    if key == c"lowerdir" {
        return value.to_bytes().split(|byte| *byte == b':').all(|word| is_word(word) && clone(word, true));
    }
    let made = |made: &&Seen<'_>| made.on == view.building && made.at < seen.at;
    let is_link = |link: &&Seen<'_>| made(link) && matches!(link.op, Op::Symlink { name, .. } if name == value);
    let link = view.of_in(OpKind::Symlink, Phase::Enter).find(is_link).and_then(|link| match link.op {
        Op::Symlink { target, .. } => Some(target.to_bytes()),
        _ => None,
    });
    let fits = match link {
        Some(target) => {
            let mut parts = target.split(|byte| *byte == b'/');
            parts.next().is_some_and(|word| is_word(word) && clone(word, false))
                && parts.all(|part| !part.is_empty() && part != b"." && part != b"..")
                && is_reached(view, seen, target)
        }
        None => {
            attached(value.to_bytes()).is_none()
                && view
                    .of_in(OpKind::Mkdir, Phase::Enter)
                    .any(|dir| made(&dir) && matches!(dir.op, Op::Mkdir { name, .. } if name == value))
        }
    };
    is_word(value.to_bytes()) && [c"upperdir", c"workdir"].contains(&key) && fits
}

/// Whether what a link of ours leads to was opened below the clone, without
/// following anything, and proved to be what was seen, or just made.
fn is_reached(view: &View<'_>, before: &Seen<'_>, target: &[u8]) -> bool {
    view.of_in(OpKind::OpenAt2, Phase::Enter).filter(|seen| seen.at < before.at).any(|seen| {
        let What::Inside { below, path } = view.thing(seen.made).what else { return false };
        let What::Inside { below: top, path: word } = view.thing(below).what else { return false };
        let same = top == view.building && [word.to_bytes(), path.to_bytes()].join(&b'/') == target;
        let proved = matches!(view.thing(seen.made).proved(before.at), Some(Proof::Inode { .. }));
        let made = |made: &Seen<'_>| made.on == below && matches!(made.op, Op::Mkdir { name, .. } if name == path);
        same && (proved || view.before(seen).is_some_and(made))
    })
}

/// Whether the root's overlay has the layers that the report names, in that order, and is
/// changed where it says.
pub(super) fn layers_as_reported(view: &View<'_>, found: &mut Findings) {
    let Some(rooted) = view.rooted.and_then(|at| view.ops().get(at)) else { return };
    let Some(mount) = view.of(OpKind::FsMount).find(|seen| seen.made == rooted.on) else { return };
    if !view.thing(rooted.on).is_mount(c"overlay") {
        return;
    }
    let value = |wanted: &CStr| {
        view.of(OpKind::FsString).filter(|seen| seen.on == mount.on).find_map(|seen| match seen.op {
            Op::FsString { key, value, .. } if key == wanted => Some(value),
            _ => None,
        })
    };
    let said = applied(view, "root").unwrap_or("");
    let said = said.strip_suffix(MAPPED).unwrap_or(said);
    let is_link = |upper: &CStr| {
        view.of_in(OpKind::Symlink, Phase::Enter)
            .any(|seen| seen.on == view.building && matches!(seen.op, Op::Symlink { name, .. } if name == upper))
    };
    let changed = match value(c"upperdir") {
        None => said.ends_with(", no changes") && view.thing(rooted.on).attrs.has(MountAttrs::RDONLY),
        Some(upper) if is_link(upper) => said.contains(", changes kept in "),
        Some(_) => said.ends_with(", changes thrown away"),
    };
    if !changed {
        found.at(rooted, "is changed elsewhere than the report says");
    }
    let listed = value(c"lowerdir").map_or(&[][..], CStr::to_bytes);
    let listed: Vec<&[u8]> = listed.split(|byte| *byte == b':').rev().collect();
    let named = (0..).map_while(|index| applied(view, &format!("layer 0l{index}"))).count().max(1);
    let names = (0..named).map(|index| format!("0l{index}"));
    if !names.eq(listed.iter().map(|word| String::from_utf8_lossy(word))) {
        found.at(mount, "has other layers than the report says");
    }
    for seen in view.of(OpKind::MoveMount).filter(|seen| seen.onto == view.building) {
        let Op::MoveMount { path: name, .. } = seen.op else { continue };
        let Some(said) = applied(view, &format!("layer {}", name.to_string_lossy())) else { continue };
        let cloned = view.of(OpKind::OpenTree).find(|tree| tree.made == seen.on);
        let source = cloned.map(|tree| view.thing(tree.on).what);
        let is = matches!(source, Some(What::Host(path)) if path.to_string_lossy() == said.strip_suffix(MAPPED).unwrap_or(said));
        if name.to_bytes().starts_with(b"0") && !is {
            found.at(seen, "is another layer than the report says");
        }
    }
}

pub(super) fn devpts_own(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::FsCreate) {
        if !matches!(view.thing(seen.on).what, What::Context(kind) if kind == c"devpts") {
            continue;
        }
        let new = |flag: &&Seen<'_>| {
            flag.on == seen.on
                && flag.at < seen.at
                && matches!(flag.op, Op::FsFlag { key, .. } if key == c"newinstance")
        };
        if !view.of(OpKind::FsFlag).any(|flag| new(&flag)) {
            found.at(seen, "shares the host's instance");
        }
        let value = |wanted: &CStr| {
            let set = view
                .of(OpKind::FsString)
                .rfind(|set| set.on == seen.on && matches!(set.op, Op::FsString { key, .. } if key == wanted));
            set.map(|set| match set.op {
                Op::FsString { value, .. } => value,
                _ => c"",
            })
        };
        let group = match view.plan.report().of("terminal group") {
            Some(Outcome::Applied(_)) => Some(c"5"),
            _ => None,
        };
        if value(c"mode") != Some(c"0620") || value(c"gid") != group {
            found.at(seen, "makes terminals that others than their user and the group of terminals may write");
        }
    }
}
