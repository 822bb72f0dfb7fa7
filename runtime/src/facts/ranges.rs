//! Ranges of ids: those that the caller has, and one that nobody has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Facts;
use super::host::text;
use super::users::user_name;
use crate::plan::RANGE_LOCK;
use crate::spec::IdRange;

/// The caller's ranges in `/etc/subuid` and `/etc/subgid` (`subuid(5)`): the
/// first line of each that is the caller's, by name or number.
pub(super) fn subordinate(uid: u32) -> (Option<IdRange>, Option<IdRange>) {
    let name = user_name(&text("/etc/passwd"), uid);
    let of = |path: &str| range_of(&text(path), uid, name.as_deref());
    (of("/etc/subuid"), of("/etc/subgid"))
}

fn range_of(file: &str, uid: u32, name: Option<&str>) -> Option<IdRange> {
    file.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, base, count) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let ours = Some(owner) == name || owner.parse() == Ok(uid);
        let range = IdRange { base, count };
        (ours && count > 0 && base > 0 && base.checked_add(count).is_some()).then_some(range)
    })
}

pub(super) const EVERY_ID: IdRange = IdRange { base: 0, count: u32::MAX };

/// The first and the third column of an id map (`user_namespaces(7)`). A map
/// that cannot be read hides nothing: the kernel will answer.
pub(super) fn own_ids(map: &str) -> Vec<IdRange> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        Some(IdRange { base: numbers.next()??, count: numbers.nth(1)?? })
    };
    let ids: Vec<IdRange> = map.lines().filter_map(line).collect();
    if ids.is_empty() { vec![EVERY_ID] } else { ids }
}

const COUNT: u32 = 65_536;
/// `systemd-nspawn(1)`, `--private-users=pick`: the same bounds.
const BASES: std::ops::Range<u32> = 0x0008_0000..0x6fff_0000;

/// A range of 65536 that neither a lock nor a user of this host claims: the one
/// that systemd-nspawn takes for that name, so that the same files on disk fit,
/// else any. The first guess nearly always fits; where all but one are taken,
/// that one is found.
pub(super) fn free_range(owner: Option<u32>, name: Option<&str>, facts: &Facts) -> Option<IdRange> {
    // As nspawn does: that a base, or the last ids but one, is somebody's.
    let claimed: BTreeSet<u32> =
        ["/etc/passwd", "/etc/group"].iter().flat_map(|file| third_numbers(&text(file))).collect();
    // Opened where this process holds none. None is held where there is no file;
    // what else is wrong with it, the lock itself will say.
    let lock = std::cell::LazyCell::new(|| open_lock(Path::new(OsStr::from_bytes(RANGE_LOCK.to_bytes()))));
    let is_held = |base: u32| match skep_sys::range_is_free(RANGE_LOCK, base, COUNT) {
        Some(free) => !free,
        None => lock.as_ref().is_some_and(|lock| is_locked(lock, base, COUNT)),
    };
    let is_free = |base: &u32| {
        let range = IdRange { base: *base, count: COUNT };
        facts.has_ids(range)
            && !claimed.contains(base)
            && !claimed.contains(&(base + COUNT - 2))
            && !is_held(*base)
            && !nspawn_holds(*base)
    };
    let owner = owner.filter(|base| BASES.contains(base));
    owner
        .into_iter()
        .chain(candidates(name, &facts.fresh_name))
        .find(is_free)
        .map(|base| IdRange { base, count: COUNT })
}

/// The third column of `passwd(5)` and `group(5)`.
fn third_numbers(file: &str) -> Vec<u32> {
    // By bytes: a search for each colon costs more than the few before it.
    let third = |line: &str| {
        let number = line.as_bytes().split(|byte| *byte == b':').nth(2)?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    file.lines().filter_map(third).collect()
}

/// Every base once at least. All but the first follow a name that is nobody
/// else's: two that start at the same time do not go the same way.
fn candidates(name: Option<&str>, fresh: &str) -> impl Iterator<Item = u32> {
    let of = |text: &[u8]| {
        let hash = u64::from(nspawn_hash(text) as u32);
        ((hash % u64::from(BASES.end - BASES.start)) as u32 + BASES.start) & !(COUNT - 1)
    };
    let guesses = (0..100_u32).map(move |round| of(format!("{fresh}\0{round}").as_bytes()));
    let all = (BASES.end - BASES.start) / COUNT;
    let first = (of(fresh.as_bytes()) - BASES.start) / COUNT;
    let rest = (0..all).map(move |step| BASES.start + (first + step) % all * COUNT);
    name.map(|name| of(name.as_bytes())).into_iter().chain(guesses).chain(rest)
}

/// SipHash-2-4 with systemd-nspawn's key, so that both pick the same range for
/// the same name, and so the same files on disk fit.
#[allow(deprecated, reason = "std's only SipHash-2-4, and std will keep it")]
fn nspawn_hash(bytes: &[u8]) -> u64 {
    use std::hash::{Hasher, SipHasher};
    const KEY: u128 = 0x72ff_9433_41cf_4196_af41_f04a_f0e0_56e1;
    let mut hasher = SipHasher::new_with_keys(KEY as u64, (KEY >> 64) as u64);
    hasher.write(bytes);
    hasher.finish()
}

fn open_lock(path: &Path) -> Option<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()
}

/// Whether somebody holds a part of it; not who only holds the whole file, to
/// remove it.
fn is_locked(file: &fs::File, base: u32, count: u32) -> bool {
    lock_on(file, base, count).is_none_or(|(kind, whole)| kind != nix::libc::F_UNLCK && !whole)
}

fn lock_on(file: &fs::File, base: u32, count: u32) -> Option<(i32, bool)> {
    let mut lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: i64::from(base),
        l_len: i64::from(count),
        l_pid: 0,
    };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    Some((i32::from(lock.l_type), (lock.l_start, lock.l_len) == (0, 0)))
}

/// systemd-nspawn locks one file for each base, from its beginning to its end,
/// with a lock of the open file as well.
fn nspawn_holds(base: u32) -> bool {
    let file = open_lock(&Path::new(OsStr::from_bytes(skep_sys::BASE_LOCKS.to_bytes())).join(base.to_string()));
    file.is_some_and(|file| lock_on(&file, 0, 0).is_none_or(|(kind, _)| kind != nix::libc::F_UNLCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn the_first_candidate_is_the_originals() {
        // Vectors observed with systemd-nspawn 252.
        for (name, base) in [("bb", 406_061_056), ("nspawn-root", 1_261_305_856), ("foo", 1_614_544_896)] {
            assert_eq!(candidates(Some(name), "").next(), Some(base), "{name}");
        }
    }

    #[test]
    fn ids_of_users_and_groups() {
        let file = "root:x:0:0::/root:/bin/sh\n\nnübody:x:65534:1:\nx:y\n+::::\nbig:x:4294967296:0\nlast:x:7:";
        assert_eq!(third_numbers(file), [0, 65_534, 7]);
    }

    #[test]
    fn subordinate_ranges() {
        let file = "# x\nalice:100000:65536\n1001:200000:10\nbob:0:5\ncarl:4294967295:9\n";
        let range = |uid, name| range_of(file, uid, name);
        assert_eq!(range(1000, Some("alice")), Some(IdRange { base: 100_000, count: 65_536 }));
        assert_eq!(range(1001, None), Some(IdRange { base: 200_000, count: 10 }));
        assert_eq!(range(1002, Some("bob")), None, "host root is nobody's subordinate");
        assert_eq!(range(1003, Some("carl")), None, "the range overflows");
        assert_eq!(range(1004, Some("dora")), None);
    }

    #[test]
    fn a_range_is_found_where_only_one_is_free() {
        let all: BTreeSet<u32> = candidates(None, "fresh").collect();
        assert_eq!(all.len(), ((BASES.end - BASES.start) / COUNT) as usize);
        assert!(all.iter().all(|base| BASES.contains(base) && base % COUNT == 0));
        let one_by_one = |fresh| candidates(Some("web"), fresh).take(4).collect::<Vec<_>>();
        assert_eq!(one_by_one("a")[0], one_by_one("b")[0]);
        assert_ne!(one_by_one("a")[1..], one_by_one("b")[1..], "who loses a race goes a way of his own");
        let mut facts = Facts::example(&Spec::default());
        for base in [BASES.start, 0x1234_0000, BASES.end - COUNT] {
            let only = IdRange { base, count: COUNT };
            facts.ids = vec![IdRange { base: 0, count: 1000 }, only];
            let free = free_range(None, None, &facts);
            // Somebody else on this host may hold that very one.
            assert!(free.is_none_or(|free| free == only), "{free:?}");
        }
        facts.ids = vec![IdRange { base: BASES.start + 1, count: COUNT }];
        assert_eq!(free_range(None, None, &facts), None);
        // What the tree belongs to comes first, if systemd-nspawn could have picked it.
        facts.ids = vec![EVERY_ID];
        let of_tree = IdRange { base: 0x2345_0000, count: COUNT };
        let free = free_range(Some(of_tree.base), Some("foo"), &facts);
        assert!(free == Some(of_tree) || nspawn_holds(of_tree.base), "{free:?}");
        for other in [0, 0x7ffe_0000, super::super::BUSY] {
            let free = free_range(Some(other), Some("foo"), &facts);
            assert!(free.is_some_and(|free| free.base != other), "{free:?}");
        }
    }

    #[test]
    fn ids_of_a_user_namespace() {
        let range = |base, count| IdRange { base, count };
        assert_eq!(own_ids("         0          0 4294967295\n"), [EVERY_ID]);
        assert_eq!(own_ids("0 1000 1\n1 100000 65536\n"), [range(0, 1), range(1, 65_536)]);
        assert_eq!(own_ids(""), [EVERY_ID]);
    }
}
