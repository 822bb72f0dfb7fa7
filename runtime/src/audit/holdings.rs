//! What the ops of a plan make of the payload.

use std::ffi::CStr;

use skep_sys::Op;
use skep_sys::abi::{CapabilitySet, Namespaces, SecureBits, cap};
use skep_sys::wire::Numbers;

use crate::plan::{Phase, Plan};
use crate::seccomp::Program;

/// A line of an id map: first id inside, first id outside, how many.
pub(super) type Extent = [u32; 3];

/// The payload at its exec.
pub(super) struct Holdings {
    /// Made for the container.
    pub(super) own: Namespaces,
    /// Entered, but made by somebody else.
    pub(super) joined: Namespaces,
    pub(super) uid: u32,
    /// The user id map; empty without a user namespace.
    pub(super) map: Vec<Extent>,
    /// What any process of the container can hold.
    pub(super) bounding: CapabilitySet,
    /// What it holds without being root.
    pub(super) ambient: CapabilitySet,
    /// What the exec leaves of them.
    pub(super) securebits: SecureBits,
    pub(super) no_new_privs: bool,
    /// The filters; a call runs that all of them let through.
    pub(super) filters: Vec<Program>,
    /// Whether user namespaces inside are counted out.
    pub(super) no_nested: bool,
    /// Whether no memory that was written is executed, for good.
    pub(super) deny_write_execute: bool,
    /// What Landlock keeps it from outside its domain.
    pub(super) scoped: u64,
}

impl Holdings {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut found = Self {
            own: Namespaces::NONE,
            joined: Namespaces::NONE,
            uid: 0,
            map: Vec::new(),
            // Until a plan says otherwise, the worst.
            bounding: CapabilitySet(u64::MAX),
            ambient: CapabilitySet::EMPTY,
            securebits: SecureBits::NONE,
            no_new_privs: false,
            filters: Vec::new(),
            no_nested: false,
            deny_write_execute: false,
            scoped: 0,
        };
        for (_, phase, op) in plan.ops() {
            // What the child does before it parts from the stub init counts for both.
            let on_the_way = matches!(phase, Phase::Enter | Phase::Payload);
            match op {
                Op::Spawn { namespaces, joins, .. } => {
                    found.own = found.own.with(namespaces);
                    let numbers: Vec<u32> = joins.iter().collect();
                    for kind in numbers.chunks(2).filter_map(|pair| pair.get(1)) {
                        found.joined = found.joined.with(Namespaces(u64::from(*kind)));
                    }
                }
                Op::Unshare { namespaces } if phase != Phase::Init => found.own = found.own.with(namespaces),
                Op::SetNs { kind, .. } if phase != Phase::Init => found.joined = found.joined.with(kind),
                Op::Write { path, content, .. } if ends_with(path, "uid_map") => found.map = lines(content.0),
                Op::IdMapHelper { map, .. } if found.map.is_empty() => found.map = triples(&map),
                Op::Write { path, content, .. } if ends_with(path, "max_user_namespaces") => {
                    found.no_nested = content.0.trim_ascii() == b"0";
                }
                Op::ProveCredentials { uid, bounding, ambient, securebits, no_new_privs, .. } if on_the_way => {
                    (found.uid, found.bounding, found.ambient) = (uid, bounding, ambient);
                    found.securebits = securebits.without(SecureBits::KEEP_CAPS);
                    found.no_new_privs = no_new_privs;
                }
                Op::DenyWriteExecute {} if on_the_way => found.deny_write_execute = true,
                Op::LandlockRuleset { scoped, .. } if on_the_way => found.scoped = scoped,
                // One that the kernel would not take is none.
                Op::Seccomp { program, .. } if on_the_way => found.filters.extend(Program::from_bytes(program.0).ok()),
                _ => {}
            }
        }
        found
    }

    /// Whether it has a user namespace of its own.
    pub(super) fn own_user(&self) -> bool {
        self.own.has(Namespaces::USER)
    }

    /// A kind of namespace that is not the caller's.
    pub(super) fn has(&self, kind: Namespaces) -> bool {
        self.own.has(kind) || self.joined.has(kind)
    }

    /// What a process of the payload can come to hold: with uid 0, or by an
    /// exec that raises privileges, all that is in the bounding set.
    pub(super) fn held(&self) -> CapabilitySet {
        let root = self.uid == 0 && !self.rootless();
        if root || !self.no_new_privs { self.bounding } else { self.ambient }
    }

    /// Whether uid 0 gains nothing by an exec, and it cannot change that itself.
    pub(super) fn rootless(&self) -> bool {
        self.securebits.has(SecureBits::NOROOT)
            && (self.securebits.has(SecureBits::NOROOT_LOCKED) || !self.ambient.has(cap::SETPCAP))
    }

    /// The id that the host sees for `inside`.
    pub(super) fn outside(&self, inside: u32) -> Option<u32> {
        if !self.own_user() {
            return Some(inside);
        }
        self.map.iter().find_map(|[first, outside, count]| {
            let offset = inside.checked_sub(*first).filter(|offset| offset < count)?;
            outside.checked_add(offset)
        })
    }

    /// Whether any id inside is the host's root.
    pub(super) fn maps_root(&self) -> bool {
        !self.own_user() || self.map.iter().any(|[_, outside, count]| *outside == 0 && *count > 0)
    }
}

fn ends_with(path: &CStr, name: &str) -> bool {
    path.to_bytes().rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
}

/// `INSIDE OUTSIDE COUNT`, one a line (`user_namespaces(7)`).
fn lines(text: &[u8]) -> Vec<Extent> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
        })
        .collect()
}

fn triples(map: &Numbers<'_>) -> Vec<Extent> {
    let mut numbers = map.bytes().chunks_exact(4).map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]));
    std::iter::from_fn(|| Some([numbers.next()?, numbers.next()?, numbers.next()?])).collect()
}
