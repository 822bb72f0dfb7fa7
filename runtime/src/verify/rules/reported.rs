//! What is covered, bound, made and limited, as the report says it or as every
//! container has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

use skep_sys::abi::MountAttrs;
use skep_sys::wire::Numbers;
use skep_sys::{Op, OpKind, Proof};

use super::Findings;
use super::contents::place_of;
use super::groups::limit_files;
use super::interface::is_copy;
use super::options::layers_as_reported;
use super::report::numbers;
use super::switch::opens;
use crate::compile::filesystem::etc::REMOVED;
use crate::compile::kernel_files::{NETWORK_SETTINGS, OF_HOST, OPEN_ALL, OPEN_NETWORK};
use crate::compile::process::shown_limits;
use crate::plan::Phase;
use crate::profile::{BUILDING, Cover, ETC, covers, nodes, scratches};
use crate::report::Outcome;
use crate::spec::Profile;
use crate::verify::view::{Id, Seen, View, What};

/// The value of an item that is applied.
pub(super) fn applied<'v>(view: &View<'v>, item: &str) -> Option<&'v str> {
    match view.plan.report().of(item) {
        Some(Outcome::Applied(detail)) => Some(detail),
        _ => None,
    }
}

/// Where inside something is attached, without `.` and doubled slashes.
pub(super) fn place<'v>(view: &'v View<'_>, seen: &Seen<'_>) -> Option<&'v str> {
    // Several rules ask for each of them.
    let all = view.inside.get_or_init(|| {
        view.of(OpKind::MoveMount).filter_map(|seen| Some((seen.at, plain(&raw_place(view, seen)?)))).collect()
    });
    let at = all.binary_search_by_key(&seen.at, |(at, _)| *at).ok()?;
    Some(&all.get(at)?.1)
}

fn plain(path: &[u8]) -> String {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"." | b".."));
    let mut place = Vec::with_capacity(path.len() + 1);
    for name in names {
        place.push(b'/');
        place.extend_from_slice(name);
    }
    if place.is_empty() {
        place.push(b'/');
    }
    String::from_utf8(place).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn raw_place(view: &View<'_>, seen: &Seen<'_>) -> Option<Vec<u8>> {
    let Op::MoveMount { path, .. } = seen.op else { return None };
    let onto = view.thing(seen.onto);
    let below = match (onto.what, onto.attached) {
        // Onto the top of a mount of ours, which lies where it was attached before.
        (What::Mount(_), Some(at)) if Some(at) != view.rooted && at < seen.at => raw_place(view, view.ops().get(at)?)?,
        _ => place_of(view, seen.onto)?,
    };
    Some([below.as_slice(), path.to_bytes()].join(&b'/'))
}

pub(super) fn covers_in_place(view: &View<'_>, found: &mut Findings) {
    let mut covered: BTreeMap<(&str, &str), &Seen<'_>> = BTreeMap::new();
    for seen in view.of(OpKind::MoveMount) {
        let how = match view.thing(seen.on).what {
            What::Blank => "masked",
            What::TreeClone { .. } if is_copy(view, seen) => continue,
            What::TreeClone { of, recursive } => {
                // What is attached to itself before anything covers it, to stay as it is.
                let writable = view.profile() == Profile::Nspawn
                    && !recursive
                    && place_of(view, of).is_some_and(|place| place == NETWORK_SETTINGS.as_bytes())
                    && place(view, seen).is_some_and(|place| place == NETWORK_SETTINGS)
                    && applied(view, "network settings") == Some(NETWORK_SETTINGS)
                    && (applied(view, "network").is_some() || opens(view, OPEN_NETWORK));
                if writable {
                    continue;
                }
                "read-only"
            }
            _ => continue,
        };
        match place(view, seen) {
            Some(place) => _ = covered.insert((place, how), seen),
            None => found.at(seen, "covers something that is no place inside"),
        }
    }
    let absent = match view.plan.report().of("absent kernel files") {
        Some(Outcome::Unsupported(why)) => why.split(' ').collect(),
        _ => BTreeSet::new(),
    };
    let sysfs = view.things().any(|(_, thing)| thing.is_mount(c"sysfs") && thing.attached.is_some());
    let how = |cover: Cover| if cover == Cover::ReadOnly { "read-only" } else { "masked" };
    for (path, cover) in covers(view.profile()) {
        let needed = !absent.contains(path) && !opens(view, OPEN_ALL) && (sysfs || !path.starts_with("/sys/"));
        if needed && !covered.contains_key(&(*path, how(*cover))) {
            found.plan(format!("{path} is neither covered nor said to be absent"));
        }
    }
    // The caller's own, which may be the same.
    let items = || {
        view.plan.report().items().iter().filter_map(|item| match &item.outcome {
            Outcome::Applied(how) => Some((item.name.strip_prefix("cover ")?, how.as_str())),
            _ => None,
        })
    };
    let usual = |place: &str, as_is: &str| {
        covers(view.profile()).iter().any(|(path, cover)| (*path, how(*cover)) == (place, as_is))
    };
    for ((place, as_is), seen) in &covered {
        if !usual(place, as_is) && !items().any(|item| item == (*place, *as_is)) {
            found.at(seen, "covers what the report does not name");
        }
    }
    for (place, how) in items() {
        found.unless(covered.contains_key(&(place, how)), "a cover is reported and not made");
    }
}

/// How the report ends that says of the root what its ids are.
pub(super) const MAPPED: &str = ", ids mapped";

/// What the report says of a mount: its attributes.
fn reported_attrs<'v>(view: &View<'v>, place: &str) -> Option<&'v str> {
    applied(view, &format!("mount {place}")).map(|detail| detail.rsplit_once(": ").map_or("", |parts| parts.1))
}

fn has(attrs: &str, word: &str) -> bool {
    attrs.split(',').any(|attr| attr == word)
}

pub(super) fn trees_as_reported(view: &View<'_>, found: &mut Findings) {
    layers_as_reported(view, found);
    // A file of the host's /etc, if the report says which.
    let of_host = |place: &str| {
        let item = match place {
            "/etc/resolv.conf" => "resolv.conf",
            "/etc/localtime" => "timezone",
            "/etc/hosts" => "hosts file",
            "/etc/hostname" => "hostname file",
            "/etc/timezone" => "timezone",
            _ => return false,
        };
        applied(view, item).is_some_and(|said| said != REMOVED)
    };
    one_id(view, found);
    let root_is_mapped = applied(view, "root").is_some_and(|said| said.ends_with(MAPPED));
    // A mount of the Spec may lie over a tree of the profile: the report is about
    // what comes last.
    let mut last = BTreeMap::new();
    for seen in view.of(OpKind::MoveMount) {
        let covers = matches!(view.thing(seen.on).what, What::Blank | What::TreeClone { .. });
        if let Some(place) = place(view, seen).filter(|_| !covers) {
            last.insert(place, seen.at);
        }
    }
    for seen in view.of(OpKind::MoveMount) {
        let thing = view.thing(seen.on);
        if let What::MadeCopy { .. } = thing.what {
            let place = place(view, seen).unwrap_or_default();
            let credentials = place == "/run/host/credentials" && applied(view, "credentials").is_some();
            if !of_host(place) && !credentials && reported_attrs(view, place).is_none() {
                found.at(seen, format!("puts a file on {place}, of which the report says nothing"));
            }
        }
        if !matches!(thing.what, What::HostClone { .. }) {
            continue;
        }
        let writable = !thing.attrs.has(MountAttrs::RDONLY);
        let mapped = thing.attrs.has(MountAttrs::IDMAP);
        if Some(seen.at) == view.rooted {
            let said = applied(view, "root").unwrap_or("");
            // A path, and then two words of ours.
            let (tree, shows) = said.strip_suffix(MAPPED).map_or((said, false), |tree| (tree, true));
            let how = if writable { ", writable" } else { ", read-only" };
            let fits = tree.ends_with(how) && shows == mapped;
            if !fits {
                found.at(seen, "is not the root that the report says");
            }
            continue;
        }
        // A layer of an overlay lies beside the root (rule 41).
        if seen.onto == view.building {
            // The root's are as the root; of others all show what the container has,
            // where this process maps a range.
            let Op::MoveMount { path: name, .. } = seen.op else { continue };
            let of_root = name.to_bytes().first() == Some(&b'0');
            let of_tree = applied(view, &format!("layer {}", name.to_string_lossy()));
            let shows = if let Some(said) = of_tree {
                said.ends_with(MAPPED)
            } else if of_root {
                root_is_mapped
            } else {
                applied(view, "id map").is_some_and(|said| said.ends_with(" on"))
            };
            if mapped != shows {
                found.at(seen, "is a layer that shows other ids than the report says");
            }
            continue;
        }
        let Some(place) = place(view, seen) else {
            found.at(seen, "puts a tree of the host nowhere");
            continue;
        };
        let node = place.strip_prefix("/dev/").is_some_and(|name| nodes(view.profile()).any(|node| node.name == name));
        let usual = place == "/usr"
            || (place == "/proc" && applied(view, "process view").is_none())
            || (place == "/sys" && (applied(view, "sysfs") == Some(OF_HOST) || opens(view, OPEN_ALL)))
            || ETC.iter().any(|name| place.strip_prefix('/') == Some(name))
            || of_host(place);
        match reported_attrs(view, place).filter(|_| last.get(place) == Some(&seen.at)) {
            Some(attrs) => {
                let device = applied(view, &format!("device {place}")).is_some();
                if (writable && !device && has(attrs, "ro")) || mapped != has(attrs, "idmap") {
                    found.at(seen, format!("is not the mount on {place} that the report says"));
                }
            }
            None if node => {}
            None if usual => {
                if writable && !(place == "/sys" && opens(view, OPEN_ALL)) {
                    found.at(seen, "is a tree of the host that can be written, of which the report says nothing");
                }
                if mapped != (place == "/usr" && root_is_mapped) {
                    found.at(seen, "is a tree of the host that shows other ids than the report says");
                }
            }
            None => found.at(seen, format!("puts a tree of the host on {place}, of which the report says nothing")),
        }
    }
}

/// A map of a mount's own shows one id, or a range of the disk that holds none of
/// the host's users, as the range that the container has; all of them are the
/// container's own map.
fn one_id(view: &View<'_>, found: &mut Findings) {
    let range = applied(view, "id map").map(numbers).unwrap_or_default();
    for seen in view.of(OpKind::MapNamespace) {
        let Op::MapNamespace { uid, gid, .. } = seen.op else { continue };
        let one = |map: Numbers<'_>| map.len() == 3 && map.iter().nth(2) == Some(1);
        let whole = |map: Numbers<'_>| {
            let numbers: Vec<u64> = map.iter().map(u64::from).collect();
            let [disk, host, count] = numbers[..] else { return false };
            disk >= 65_536 && disk % 65_536 == 0 && range == [count, host] && count <= 65_536
        };
        let same = whole(uid) && uid.iter().eq(gid.iter());
        let single = one(uid) && one(gid);
        if !same && !single {
            found.at(seen, "shows other ids of a tree of the host than one, or than a range that is no user's");
        }
    }
}

pub(super) fn given_as_reported(view: &View<'_>, found: &mut Findings) {
    let said = applied(view, "ownership").map(numbers);
    let Some(give) = &view.plan.give else {
        return found.unless(said.is_none(), "a tree is reported as given to other ids, and is not");
    };
    let base = u64::from(give.base);
    found.unless(said.is_some_and(|said| said == [base]), "a tree is given to other ids than the report says");
    let mapped = applied(view, "id map").map(numbers);
    found.unless(mapped.is_some_and(|range| range == [65_536, base]), "a tree is given to ids that are not mapped");
    let root = view.of(OpKind::MoveMount).find(|seen| Some(seen.at) == view.rooted);
    let own = root.is_some_and(|seen| {
        let inode = view.maker(seen.on).and_then(|clone| view.thing(clone.on).proof);
        let proof = Proof::Inode { device: give.device, inode: give.inode };
        inode.is_some_and(|(_, proved)| proved == proof) && !view.thing(seen.on).attrs.has(MountAttrs::IDMAP)
    });
    found.unless(own, "another tree than the root's, or one whose ids are mapped, is given to other ids");
}

fn is_in_dev(place: &str) -> bool {
    place.strip_prefix("/dev").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn no_programs_in_dev(view: &View<'_>, found: &mut Findings) {
    for seen in view.of(OpKind::MoveMount) {
        let Some(place) = place(view, seen).filter(|place| is_in_dev(place)) else { continue };
        let thing = view.thing(seen.on);
        let made = matches!(thing.what, What::Mount(_) | What::HostClone { .. });
        if made && reported_attrs(view, place).is_none() && !thing.attrs.has(MountAttrs::NOEXEC) {
            found.at(seen, "lets programs be executed on /dev");
        }
    }
}

/// Whether others can write: what is sticky is a directory for all.
const fn is_open(mode: u32) -> bool {
    mode & 0o022 != 0 && mode & 0o1000 == 0
}

pub(super) fn modes_tight(view: &View<'_>, found: &mut Findings) {
    let secret = |seen: &Seen<'_>, name: &CStr| {
        let below = match view.thing(seen.on).what {
            // In a directory of the ramfs: credentials.
            What::Inside { .. } => return true,
            _ => seen.on,
        };
        view.of(OpKind::MoveMount).any(|attach| {
            let copy = view.maker(attach.on);
            copy.is_some_and(|copy| copy.on == below && matches!(copy.op, Op::OpenTree { path, .. } if path == name))
                && place(view, attach)
                    .and_then(|place| applied(view, &format!("mount {place}")))
                    .is_some_and(|detail| detail.starts_with("secret"))
        })
    };
    // The caller's umask would close what the payload needs.
    let plain = view.first(OpKind::Umask, Phase::Enter).filter(|seen| seen.op == Op::Umask { mode: 0 });
    let makes = [OpKind::Mkdir, OpKind::Create, OpKind::CreateSecret, OpKind::FsMount];
    for first in makes.into_iter().filter_map(|kind| view.first(kind, Phase::Enter)) {
        if !view.enters() && plain.is_none_or(|plain| plain.at > first.at) {
            found.at(first, "makes what has the caller's umask");
        }
    }
    // Of the payload's user and group alone.
    let payload = view.line(Phase::Payload);
    let own = |seen: &Seen<'_>| {
        let Op::Chown { uid, gid, .. } = seen.op else { return false };
        payload.of(OpKind::SetResUid).any(|ids| ids.op == Op::SetResUid { uid })
            && payload.of(OpKind::SetResGid).any(|ids| ids.op == Op::SetResGid { gid })
    };
    for seen in view.of_in(OpKind::Chown, Phase::Enter).filter(|seen| !own(seen)) {
        found.at(seen, "gives a file to somebody else than the payload");
    }
    let given: BTreeSet<(Id, &CStr)> = view
        .of_in(OpKind::Chown, Phase::Enter)
        .filter_map(|seen| match view.thing(seen.on).what {
            What::Inside { below, path } => Some((below, path)),
            _ => None,
        })
        .collect();
    let directory = |seen: &Seen<'_>| match view.thing(seen.on).what {
        What::Inside { below, path } => given.contains(&(below, path)),
        _ => true,
    };
    // Records of the host's users stay root's: hashes of passwords are among them.
    let record = |seen: &Seen<'_>| matches!(view.thing(seen.on).what, What::Inside { path, .. } if path == c"userdb");
    for seen in view.of(OpKind::CreateSecret) {
        if let Op::CreateSecret { name, .. } = seen.op
            && record(seen)
            && (given.contains(&(seen.on, name)) || directory(seen))
        {
            found.at(seen, "makes a record of a user that is not root's");
        }
        if let Op::CreateSecret { name, .. } = seen.op
            && secret(seen, name)
            && !record(seen)
            && !(given.contains(&(seen.on, name)) && directory(seen))
        {
            found.at(seen, "makes a secret that is not the payload's");
        }
    }
    for kind in [OpKind::Mkdir, OpKind::Create, OpKind::CreateSecret] {
        for seen in view.of(kind) {
            let mode = match seen.op {
                Op::Mkdir { mode, .. } | Op::Create { mode, .. } | Op::CreateSecret { mode, .. } => mode,
                _ => continue,
            };
            if is_open(mode) {
                found.at(seen, "makes what others can write");
            }
            if matches!(seen.op, Op::CreateSecret { name, .. } if mode & 0o077 != 0 && secret(seen, name)) {
                found.at(seen, "makes a secret that others can read");
            }
            if matches!(seen.op, Op::Mkdir { name, .. } if mode & 0o077 != 0 && given.contains(&(seen.on, name))) {
                found.at(seen, "makes a directory of secrets that others can enter");
            }
        }
    }
}

/// What a tmpfs holds at most, and its mode: as the report or the profile has them.
fn sizes(view: &View<'_>, found: &mut Findings) {
    for mount in view.of(OpKind::FsMount).filter(|seen| view.thing(seen.made).is_mount(c"tmpfs")) {
        let value = |wanted: &CStr| {
            let set = view
                .of(OpKind::FsString)
                .rfind(|seen| seen.on == mount.on && matches!(seen.op, Op::FsString { key, .. } if key == wanted));
            set.map_or(String::new(), |seen| match seen.op {
                Op::FsString { value, .. } => value.to_string_lossy().into_owned(),
                _ => String::new(),
            })
        };
        let is = [c"size", c"nr_inodes", c"mode"].map(value);
        let further: String = view
            .phase(Phase::Enter)
            .iter()
            .filter(|seen| seen.on == mount.on)
            .filter_map(|seen| match seen.op {
                Op::FsString { key, value, .. } if key == c"huge" || key == c"mpol" => {
                    Some(format!(", {}={}", key.to_string_lossy(), value.to_string_lossy()))
                }
                Op::FsFlag { key, .. } => Some(format!(", {}", key.to_string_lossy())),
                _ => None,
            })
            .collect();
        let blocks = value(c"nr_blocks");
        let usual = further.is_empty() && blocks.is_empty();
        if mount.made == view.building {
            if !usual || !BUILDING.iter().any(|own| own.options() == is) {
                found.at(mount, "is larger than what a tree is built on");
            }
            continue;
        }
        let attach = view.thing(mount.made).attached;
        let place = match attach {
            Some(at) if attach == view.rooted => view.ops().get(at).map(|_| "/"),
            Some(at) => view.ops().get(at).and_then(|seen| place(view, seen)),
            None => None,
        };
        let Some(place) = place else { continue };
        let said = applied(view, &format!("mount {place}"));
        let [size, inodes, mode] = &is;
        // A machine's has times of access.
        let timed = view.profile() == Profile::Strict
            || place == "/sys"
            || view.thing(mount.made).attrs.has(MountAttrs::STRICTATIME);
        // Of two bounds the later counts for the kernel, and there is never more than one.
        let size = match (size.as_str(), blocks.as_str()) {
            (size, "") if size.ends_with('%') => format!("{size} of memory"),
            (size, "") => format!("{size} bytes"),
            ("", blocks) => format!("{blocks} pages"),
            _ => String::new(),
        };
        let owner = match [c"uid", c"gid"].map(value) {
            [uid, gid] if uid.is_empty() && gid.is_empty() => String::new(),
            [uid, gid] => format!(", of {uid}:{gid}"),
        };
        let asked = format!("tmpfs of {size} and {inodes} files, mode {mode}{owner}{further}: ");
        let fits = said.is_some_and(|said| said.starts_with(&asked))
            || scratches(view.profile())
                .iter()
                .any(|own| own.path == place && own.options() == is && timed && owner.is_empty() && usual);
        if !fits {
            found.at(mount, format!("is not the tmpfs on {place} that the report or the profile says"));
        }
    }
}

pub(super) fn limits_as_reported(view: &View<'_>, found: &mut Findings) {
    let set = view.of_in(OpKind::SetLimit, Phase::Enter).filter_map(|seen| match seen.op {
        Op::SetLimit { resource, soft, hard } => Some((resource, soft, hard)),
        _ => None,
    });
    let shown = shown_limits(set);
    let said = applied(view, "resource limits").and_then(|said| said.split_once(": "));
    found.unless(said.is_some_and(|said| said.1 == shown), "the report says other resource limits");
    sizes(view, found);
    let first = |item: &str| applied(view, item).and_then(|said| numbers(said).first().copied());
    for seen in view.of_in(OpKind::Write, Phase::Prepare) {
        let Op::Write { path, content, .. } = seen.op else { continue };
        let text = String::from_utf8_lossy(content.0);
        let items: Vec<&str> = view
            .plan
            .report()
            .items()
            .iter()
            .filter_map(|item| item.name.strip_prefix("limit "))
            .filter(|limit| limit_files(limit).iter().any(|files| files.contains(&path)))
            .collect();
        let fits = match path.to_bytes() {
            b"memory.oom.group" => match applied(view, "limit oom group") {
                Some("one process (cgroup v2)") => text == "0",
                _ => text == "1",
            },
            // Swap is off where nobody asks for it; v1 counts it with the memory.
            b"memory.swap.max" => text == first("limit swap").unwrap_or(0).to_string(),
            b"memory.memsw.limit_in_bytes" => {
                let both =
                    first("limit memory").and_then(|memory| memory.checked_add(first("limit swap").unwrap_or(0)));
                both.is_some_and(|both| text == both.to_string())
            }
            b"memory.limit_in_bytes" => first("limit memory").is_some_and(|memory| text == memory.to_string()),
            _ if items.is_empty() => true,
            _ => items.iter().any(|limit| is_said(view, limit, path, &text)),
        };
        if !fits {
            found.at(seen, "is not the limit that the report says");
        }
    }
}

/// Whether the value of a cgroup's file is the one that the report has.
fn is_said(view: &View<'_>, limit: &str, path: &CStr, text: &str) -> bool {
    let Some(said) = applied(view, &format!("limit {limit}")).and_then(|said| said.rsplit_once(" (cgroup ")) else {
        return false;
    };
    let known = numbers(said.0);
    let nth = |at: usize| known.get(at).map(u64::to_string).unwrap_or_default();
    match path.to_bytes() {
        b"cpu.max" => text == format!("{} {}", nth(0), nth(1)),
        b"cpu.cfs_period_us" => text == nth(1),
        b"cpu.shares" => text == nth(known.len().saturating_sub(1)),
        b"cpuset.cpus" | b"cpuset.mems" => text == said.0,
        b"io.weight" => text == format!("default {}", nth(0)),
        // The device's number comes first.
        b"io.max" => {
            let limits = text.split(' ').skip(1).map(|limit| limit.split_once('='));
            let mut values = limits.map(|limit| limit.and_then(|limit| limit.1.parse().ok()));
            values.clone().count() == known.len()
                && values.all(|value| value.is_some_and(|value| known.contains(&value)))
        }
        path if path.starts_with(b"blkio.throttle.") => {
            let value = text.split_once(' ').and_then(|line| line.1.parse().ok());
            value.is_some_and(|value: u64| known.contains(&value))
        }
        _ => text == nth(0),
    }
}
