//! Id-mapped mounts: which trees show their ids how, and the calls for that.

use std::path::Path;

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Numbers;
use skep_sys::{At, Op};

use super::{EMPTY, Sources};
use crate::compile::{Context, Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{BUSY, PathFact};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Bind, IdMap, Mount, Ownership, Profile, Want};

/// How the ids of a tree are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    /// As they are.
    Plain,
    /// Id n on disk is id n inside: by the container's own user namespace.
    Container,
    /// Some users and groups: the first on disk, on the host what the container's
    /// id is, how many. By a namespace with that map alone.
    Some { uid: [u32; 3], gid: [u32; 3] },
}

/// The first of the ids that belong to no user (`systemd-nspawn(1)`, "foreign").
const FOREIGN: u32 = 0x7ffe_0000;

/// The root's tree, as the container is to see its ids; and the first of the ids
/// that it has to be given to first.
pub(super) fn of_root(context: &Context<'_>, root: &PathFact, whole: bool) -> Result<(Ids, Option<u32>)> {
    let spec = context.spec;
    let refuse = |kind, what: &str, remedy: &str| {
        let what = format!("show {} as the container's own: {what}", spec.root.path.display());
        Err(Error::new(kind, what).from(spec.origins.of("root.ownership")).remedy(remedy))
    };
    let usual = match spec.profile {
        Profile::Strict => None,
        Profile::Nspawn => Some(Ownership::Off),
    };
    let (extents, choice) = match (&context.mapping, spec.root.ownership) {
        (Mapping::None, _) | (_, Ownership::Off) => return Ok((Ids::Plain, None)),
        (Mapping::Direct { extents, locked }, Ownership::Usual) => match usual {
            None => return Ok((if whole { Ids::Container } else { Ids::Plain }, None)),
            Some(_) if locked.is_some() => (extents, Ownership::Auto),
            Some(off) => (extents, off),
        },
        (Mapping::Direct { extents, .. }, choice) => (extents, choice),
        (Mapping::Own { .. } | Mapping::Helpers { .. }, Ownership::Usual | Ownership::Auto) => {
            return Ok((Ids::Plain, None));
        }
        (Mapping::Own { .. } | Mapping::Helpers { .. }, _) => {
            return refuse(
                ErrorKind::NotPermitted,
                "only root can map or change whose files are",
                "Unpack the tree as the ids that it is to have, or leave the ownership out.",
            );
        }
    };
    let Some([_, base, count]) = extents.first().copied().filter(|_| choice != Ownership::Off) else {
        return Ok((Ids::Plain, None));
    };
    let on_disk = root.base().filter(|base| *base != BUSY);
    match (choice, on_disk) {
        (Ownership::Chown | Ownership::Auto, Some(own)) if own == base => Ok((Ids::Plain, None)),
        (Ownership::Chown, _) | (Ownership::Auto, None) => {
            if !spec.root.is_changed() || spec.root.image || spec.root.path == Path::new("/") {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "a tree that is read-only, volatile or ephemeral, of several layers, of an image, or the host's own, is given to nobody",
                    "Let it be mapped (--private-users-ownership=map).",
                );
            }
            if base % 65_536 != 0 || count != 65_536 {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "files can be given to 65536 ids that begin at a multiple of that, and to no others",
                    "Choose such a range, or let the tree be mapped (--private-users-ownership=map).",
                );
            }
            Ok((Ids::Plain, Some(base)))
        }
        (Ownership::Foreign, own) if own != Some(FOREIGN) => refuse(
            ErrorKind::InvalidSpec,
            "its top does not belong to the foreign ids, those from 2147352576 on",
            "Say `map`: whoever it belongs to.",
        ),
        (_, None) => refuse(
            ErrorKind::InvalidSpec,
            "user and group of its top are of no one range of 65536 ids",
            "Give it to one first (--private-users-ownership=chown).",
        ),
        (_, Some(own)) if own == base => Ok((Ids::Plain, None)),
        (_, Some(0)) => Ok((Ids::Container, None)),
        (_, Some(own)) => {
            if count > 65_536 {
                return refuse(
                    ErrorKind::InvalidSpec,
                    "a tree that belongs to a range of ids has 65536 of them, and the container has more",
                    "Map 65536 ids (BASE).",
                );
            }
            let map = [own, base, count];
            Ok((Ids::Some { uid: map, gid: map }, None))
        }
    }
}

/// The id on the host of an id inside.
pub(super) fn host_id(mapping: &Mapping, inside: u32, group: bool) -> Option<u32> {
    let of = |extents: &[[u32; 3]]| {
        extents.iter().find_map(|[first, outside, count]| {
            let offset = inside.checked_sub(*first).filter(|offset| offset < count)?;
            outside.checked_add(offset)
        })
    };
    match mapping {
        Mapping::None => Some(inside),
        Mapping::Own { uid, gid } => of(&[if group { *gid } else { *uid }]),
        Mapping::Helpers { uid, gid } => of(if group { gid } else { uid }),
        Mapping::Direct { extents, .. } => of(extents),
    }
}

/// How a bind shows its ids, or why it cannot.
pub(super) fn of_bind(context: &Context<'_>, mount: &Mount, bind: &Bind, report: &mut Report) -> Result<Ids> {
    if bind.id_map == IdMap::NoIdMap || bind.id_map_want == Want::Off {
        return Ok(Ids::Plain);
    }
    let found = if !context.mapping.is_new() {
        Err((
            ErrorKind::InvalidSpec,
            "the container has no user namespace that could map ids",
            "Leave the map out: ids are the host's already.",
        ))
    } else if !context.host_clones {
        Err((
            ErrorKind::NotPermitted,
            "only root can map the ids of a file system of the host",
            "As an ordinary user, leave the map out: your own files are the container's root's.",
        ))
    } else {
        decide(context, mount, bind)
    };
    match found {
        Ok(ids) => Ok(ids),
        Err((_, why, _)) if bind.id_map_want == Want::IfSupported => {
            report.unsupported(format!("id map of {}", mount.target.display()), why);
            Ok(Ids::Plain)
        }
        Err((kind, why, remedy)) => {
            let field = format!("mounts.{}", mount.target.display());
            let what = format!("map the ids of {} on {}: {why}", bind.source.display(), mount.target.display());
            Err(Error::new(kind, what).from(context.spec.origins.of(&field)).remedy(remedy))
        }
    }
}

type Refusal = (ErrorKind, &'static str, &'static str);

fn decide(context: &Context<'_>, mount: &Mount, bind: &Bind) -> std::result::Result<Ids, Refusal> {
    let known = context.facts.targets.get(&mount.target).copied().unwrap_or_default();
    let (inside_uid, inside_gid) = match bind.id_map {
        IdMap::NoIdMap => return Ok(Ids::Plain),
        IdMap::IdMap => return Ok(Ids::Container),
        IdMap::RootIdMap => (0, 0),
        // What is made for the mount is root's.
        IdMap::OwnerIdMap if super::is_fresh(context, &mount.target) => (0, 0),
        IdMap::OwnerIdMap => (known.uid, known.gid),
    };
    let PathFact { uid, gid, .. } = context.facts.path(&bind.of_host(&context.spec.root));
    let hosts = (host_id(&context.mapping, inside_uid, false), host_id(&context.mapping, inside_gid, true));
    match hosts {
        (Some(host_uid), Some(host_gid)) => Ok(Ids::Some { uid: [uid, host_uid, 1], gid: [gid, host_gid, 1] }),
        _ => Err((
            ErrorKind::InvalidSpec,
            "the container does not map the id that shall own it",
            "Map a range that holds it, or say `idmap`.",
        )),
    }
}

const REMEDY: &str = "The file system must support id-mapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3), and so must what is mounted below it; else map no range, or bind without an id map.";

/// How the step begins in which the root's ids are mapped: where that cannot be,
/// the tree may be given to the container's ids instead.
pub(crate) const ROOT_IDS: &str = "map the ids of the root ";

/// Id-maps the clones, now that the child's maps are written.
pub(in crate::compile) fn attend(context: &Context<'_>, sources: &Sources, plan: &mut Builder) {
    let mut opened = false;
    for source in sources.all().filter(|source| source.ids != Ids::Plain) {
        let root = std::ptr::eq(source, sources.root());
        let origin = if root { context.origin("user_namespace") } else { source.origin.clone() };
        let what = if root { ROOT_IDS } else { "map the ids of " };
        plan.step(Phase::Attend, format!("{what}{}", source.path.display()), origin).remedy(REMEDY);
        match source.ids {
            Ids::Plain => {}
            Ids::Container if opened => {}
            Ids::Container => {
                opened = true;
                plan.op(Op::OpenAt2 {
                    dir: At::Slot(role::PROCESS),
                    path: c"ns/user",
                    flags: OpenFlags::NONE,
                    mode: 0,
                    // A magic link, of a directory proved to be procfs.
                    resolve: Resolve::NONE,
                    into: role::USERNS,
                });
            }
            Ids::Some { uid, gid } => {
                let (uid, gid) = (uid.map(u32::to_le_bytes).concat(), gid.map(u32::to_le_bytes).concat());
                if let (Some(uid), Some(gid)) = (Numbers::new(&uid), Numbers::new(&gid)) {
                    plan.op(Op::MapNamespace { image: role::IMAGE, uid, gid, into: role::ONE });
                }
            }
        }
        let userns = if source.ids == Ids::Container { role::USERNS } else { role::ONE };
        let flags = TreeFlags::EMPTY_PATH;
        plan.op(Op::MountSetAttr {
            dir: At::Slot(source.slot),
            path: EMPTY,
            // What is mounted below the root's tree keeps its ids.
            flags: if source.recursive && !root { flags.with(TreeFlags::RECURSIVE) } else { flags },
            set: MountAttrs::IDMAP,
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: Some(userns),
        });
        if userns == role::ONE {
            plan.op(Op::Close { file: userns });
        }
    }
}
