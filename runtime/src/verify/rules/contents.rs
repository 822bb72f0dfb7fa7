//! What is mounted where, as the report says it; and files of the plan's own.

use skep_sys::abi::{MountAttrs, Resolve, TreeFlags};
use skep_sys::{Op, OpKind};

use super::Findings;
use super::mounts::is_name;
use super::reported::applied;
use crate::compile::filesystem::etc::REMOVED;
use crate::plan::Phase;
use crate::report::Outcome;
use crate::spec::Profile;
use crate::verify::view::{Id, View, What};

/// The path inside of a place in the tree being built.
pub(super) fn place_of(view: &View<'_>, id: Id) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut at = id;
    // Things are made of earlier ones.
    loop {
        match view.thing(at).what {
            What::Inside { below, path } if below == view.building && path == c"root" => break,
            What::Inside { below, path } if below < at => {
                parts.push(path.to_bytes());
                at = below;
            }
            What::Mount(kind) if kind == c"tmpfs" && view.thing(at).attached == view.rooted => break,
            _ => return None,
        }
    }
    parts.push(b"");
    parts.reverse();
    Some(parts.join(&b'/'))
}

pub(super) fn mounts_as_reported(view: &View<'_>, found: &mut Findings) {
    let items = view.plan.report().items().iter().filter_map(|item| match &item.outcome {
        Outcome::Applied(detail) => Some((item.name.strip_prefix("mount /")?, detail.rsplit_once(": ")?.1)),
        _ => None,
    });
    let reported: Vec<(String, &str)> = items.map(|(place, attrs)| (format!("/{place}"), attrs)).collect();
    if reported.is_empty() {
        return;
    }
    // What is attached last at a place counts, but for masks and covers.
    let mut mounted = std::collections::BTreeMap::new();
    for seen in view.of(OpKind::MoveMount) {
        let covers = matches!(view.thing(seen.on).what, What::Blank | What::TreeClone { .. });
        if !covers
            && matches!(seen.op, Op::MoveMount { path, .. } if path.is_empty())
            && let Some(place) = place_of(view, seen.onto)
        {
            mounted.insert(String::from_utf8_lossy(&place).into_owned(), seen);
        }
    }
    for (place, attrs) in reported {
        let Some(seen) = mounted.get(&place) else {
            found.plan(format!("the report speaks of a mount on {place} that is not made"));
            continue;
        };
        let thing = match view.thing(seen.on).what {
            What::MadeCopy { of } => view.thing(of),
            _ => view.thing(seen.on),
        };
        for (bit, name) in MountAttrs::NAMES {
            if attrs.split(',').any(|word| word == *name) && !thing.attrs.has(*bit) {
                found.at(seen, format!("lacks {name}, which the report says of {place}"));
            }
        }
        let cloned = view.of(OpKind::OpenTree).find(|tree| tree.made == seen.on);
        let opened = cloned.and_then(|tree| view.of(OpKind::OpenAt2).find(|open| open.made == tree.on));
        let through =
            opened.map(|open| matches!(open.op, Op::OpenAt2 { resolve, .. } if !resolve.has(Resolve::NO_SYMLINKS)));
        if view.plan.report().of(&format!("source of {place}")).is_some() && through != Some(false) {
            found.at(seen, format!("its source may be found through links, which the report denies of {place}"));
        }
    }
}

/// Files are made where they stay in memory, and copied when they are whole.
pub(super) fn files_in_own_ramfs(view: &View<'_>, found: &mut Findings) {
    let of_ramfs = |id: Id| match view.thing(id).what {
        What::Inside { below, path } if is_name(path) => view.thing(below).is_mount(c"ramfs"),
        _ => view.thing(id).is_mount(c"ramfs"),
    };
    for seen in view.of(OpKind::CreateSecret) {
        if !of_ramfs(seen.on) {
            found.at(seen, "makes a secret where it may reach a disk");
        }
        let first = view.of(OpKind::OpenTree).find(|copy| matches!(view.thing(copy.made).what, What::MadeCopy { .. }));
        if first.is_none_or(|copy| copy.at < seen.at) {
            found.at(seen, "makes a file after copies were taken");
        }
    }
    for seen in view.of(OpKind::OpenTree) {
        let What::MadeCopy { of } = view.thing(seen.made).what else { continue };
        let closed = view.of_in(OpKind::MountSetAttr, Phase::Enter).any(|set| {
            set.on == of
                && set.at < seen.at
                && matches!(set.op, Op::MountSetAttr { set, path, .. } if path.is_empty() && set.has(MountAttrs::RDONLY))
        });
        let plain = matches!(seen.op, Op::OpenTree { path, flags: TreeFlags::CLONE, .. } if is_name(path));
        if !closed || !plain {
            found.at(seen, "copies a file that can still be written");
        }
    }
    for seen in view.of_in(OpKind::Chown, Phase::Enter) {
        let own = match view.thing(seen.on).what {
            What::Inside { below, .. } => of_ramfs(below),
            // Rule 65 looks whose it becomes.
            What::Terminal => true,
            _ => false,
        };
        if !own {
            found.at(seen, "gives away what is not a file of the plan");
        }
    }
    for seen in view.of(OpKind::FsMount) {
        let nothing = MountAttrs::NOSUID.with(MountAttrs::NODEV).with(MountAttrs::NOEXEC);
        if let (Op::FsMount { attrs, .. }, true) = (seen.op, view.thing(seen.made).is_mount(c"ramfs"))
            && !attrs.has(nothing)
        {
            found.at(seen, "lets files of the plan be executed");
        }
    }
}

/// Files that may be removed, and the item of the report that says so.
const REMOVABLE: [(&str, &str); 2] = [("/etc/resolv.conf", "resolv.conf"), ("/etc/localtime", "timezone")];

pub(super) fn removed_as_reported(view: &View<'_>, found: &mut Findings) {
    let machine = view.profile() == Profile::Nspawn;
    let said = |item: &str| machine && applied(view, item) == Some(REMOVED);
    let mut removed = Vec::new();
    for seen in view.of(OpKind::Unlink).filter(|seen| !matches!(seen.phase, Phase::Prepare | Phase::Attend)) {
        let Op::Unlink { path, directory, .. } = seen.op else { continue };
        let above = place_of(view, seen.on).filter(|_| is_name(path) && !directory);
        let place = above.map(|above| [above.as_slice(), path.to_bytes()].join(&b'/'));
        let known = REMOVABLE.iter().find(|(target, item)| place.as_deref() == Some(target.as_bytes()) && said(item));
        match known {
            Some(known) => removed.push(known),
            None => found.at(seen, "removes what the report does not name"),
        }
    }
    let all = REMOVABLE.iter().filter(|(_, item)| said(item));
    for known in all.filter(|known| !removed.contains(known)) {
        found.plan(format!("{} is said to be removed, and is not", known.0));
    }
}
