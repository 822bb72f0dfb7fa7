//! Id-mapped mounts: which trees show their ids how, and the calls for that.

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::Numbers;
use skep_sys::{At, Op};

use super::{EMPTY, Sources};
use crate::compile::{Context, Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::PathFact;
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Bind, IdMap, Mount, Want};

/// How the ids of a tree are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    /// As they are.
    Plain,
    /// Id n on disk is id n inside: by the container's own user namespace.
    Container,
    /// One user and one group: on disk, and on the host what the container's
    /// id is. By a namespace with that map alone.
    One { uid: [u32; 2], gid: [u32; 2] },
}

/// The id on the host of an id inside.
fn host_id(mapping: &Mapping, inside: u32, group: bool) -> Option<u32> {
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
    let PathFact { uid, gid, .. } = context.facts.path(&bind.source);
    let hosts = (host_id(&context.mapping, inside_uid, false), host_id(&context.mapping, inside_gid, true));
    match hosts {
        (Some(host_uid), Some(host_gid)) => Ok(Ids::One { uid: [uid, host_uid], gid: [gid, host_gid] }),
        _ => Err((
            ErrorKind::InvalidSpec,
            "the container does not map the id that shall own it",
            "Map a range that holds it, or say `idmap`.",
        )),
    }
}

const REMEDY: &str = "The file system must support id-mapped mounts (ext4, xfs, btrfs; tmpfs from Linux 6.3), and so must what is mounted below it; else map no range, or bind without an id map.";

/// Id-maps the clones, now that the child's maps are written.
pub(in crate::compile) fn attend(context: &Context<'_>, sources: &Sources, plan: &mut Builder) {
    let mut opened = false;
    for source in sources.all().filter(|source| source.ids != Ids::Plain) {
        let root = std::ptr::eq(source, sources.root());
        let origin = if root { context.origin("user_namespace") } else { source.origin.clone() };
        plan.step(Phase::Attend, format!("map the ids of {}", source.path.display()), origin).remedy(REMEDY);
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
            Ids::One { uid, gid } => {
                let one = |[disk, host]: [u32; 2]| [disk, host, 1].map(u32::to_le_bytes).concat();
                let (uid, gid) = (one(uid), one(gid));
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
    }
}
