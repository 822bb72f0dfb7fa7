//! Mutants for the rules in `rules/named.rs` and `rules/export.rs`.

use std::ffi::CString;

use skep_sys::abi::{MountAttrs, Propagation, Resolve, TreeFlags};
use skep_sys::{At, Op, OpKind, Proof, Slot};

use super::registry::{flat, watched};
use super::{Mutant, cut, each, insert, mutant, place, places, put};
use crate::compile::export::NAME;
use crate::plan::Phase::{Enter, Prepare};
use crate::plan::{Plan, role};

const OF: &str = "nspawn, registered/root";
const MAPPED: &str = "nspawn, registered in a user namespace/root";
const LEFT: &str = "nspawn, left mounted/root";

fn exported(plan: &Plan) -> CString {
    CString::new(crate::compile::export::way(plan.machine.as_str()).path()).unwrap()
}

/// The undo with other ops of a kind, or without them.
fn undone(plan: &Plan, kind: OpKind, change: impl Fn(usize) -> Option<Vec<u8>>) -> Plan {
    let (mut changed, mut count) = (plan.clone(), 0);
    changed.undo.retain_mut(|undo| {
        if undo.op[0] != kind as u8 {
            return true;
        }
        count += 1;
        match change(count - 1) {
            Some(new) => (undo.op = new, true).1,
            None => false,
        }
    });
    changed
}

/// The op that opens the copy to the machine.
fn opened(plan: &Plan, change: impl Fn(Op<'_>) -> Op<'_>) -> Plan {
    let at = places(plan, Prepare, |op| matches!(op, Op::MountSetAttr { clear, .. } if !clear.is_empty()))[0];
    let op = plan.section(Prepare).iter().nth(at).unwrap().1.unwrap();
    put(plan, Prepare, at, change(op))
}

/// The option of the file system, another.
fn option(plan: &Plan, wanted: &'static std::ffi::CStr, other: &'static std::ffi::CStr) -> Plan {
    each(plan, Prepare, OpKind::FsString, |op| match op {
        Op::FsString { fs, key, .. } if key == wanted => Op::FsString { fs, key, value: other },
        op => op,
    })
}

pub(super) const ALL: &[Mutant] = &[
    mutant(93, OF, "everybody may mount there", |plan| {
        each(plan, Prepare, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, name, mode: 0o600, exist_ok } => Op::Mkdir { dir, name, mode: 0o777, exist_ok },
            other => other,
        })
    }),
    mutant(31, OF, "another directory of the host", |plan| {
        each(plan, Prepare, OpKind::Mkdir, |op| match op {
            Op::Mkdir { dir, mode, exist_ok, name } if name == c"propagate" => {
                Op::Mkdir { dir, name: c"other", mode, exist_ok }
            }
            other => other,
        })
    }),
    mutant(93, OF, "the directories stay", |plan| undone(plan, OpKind::Unlink, |_| None)),
    mutant(93, OF, "one of them stays", |plan| {
        let own = exported(plan);
        let all: Vec<Vec<u8>> = plan.undo.iter().map(|undo| undo.op.clone()).collect();
        let kept: Vec<Vec<u8>> = all.into_iter().filter(|op| op[0] == OpKind::Unlink as u8).collect();
        let one = flat(&Op::Unlink { dir: At::Cwd, path: &own, directory: true });
        undone(plan, OpKind::Unlink, |at| (kept[at] != one).then(|| kept[at].clone()))
    }),
    mutant(93, OF, "another directory is removed", |plan| {
        undone(plan, OpKind::Unlink, |_| {
            Some(flat(&Op::Unlink { dir: At::Cwd, path: c"/run/systemd", directory: true }))
        })
    }),
    mutant(93, OF, "the undo begins with what holds the rest", |plan| {
        let mut changed = plan.clone();
        let of: Vec<usize> = (0..plan.undo.len()).filter(|at| plan.undo[*at].op[0] == OpKind::Unlink as u8).collect();
        changed.undo.swap(of[1], of[2]);
        changed
    }),
    mutant(93, OF, "the watcher leaves the directories", |plan| {
        watched(plan, |all| all.retain(|op| op[0] != OpKind::Unlink as u8))
    }),
    mutant(93, OF, "the watcher leaves what is mounted", |plan| {
        watched(plan, |all| all.retain(|op| op[0] != OpKind::Unmount as u8))
    }),
    mutant(93, OF, "the watcher removes them when the name may be another's", |plan| {
        watched(plan, |all| all.swap(3, 4))
    }),
    mutant(93, OF, "the watcher unmounts something else too", |plan| {
        watched(plan, |all| all.push(flat(&Op::Unmount { dir: At::Cwd, path: c"/srv" })))
    }),
    mutant(76, OF, "the watcher removes the entry last", |plan| watched(plan, |all| all[4..].rotate_left(1))),
    mutant(32, OF, "the watcher does not know of the directories", |plan| {
        let at = places(plan, Prepare, |op| matches!(op, Op::Entrust { .. }))[0];
        let op = plan.section(Prepare).iter().nth(at).unwrap().1.unwrap();
        let last = plan.section(Prepare).iter().count() - 1;
        cut(&insert(plan, Prepare, last, op), Prepare, at)
    }),
    mutant(93, "root/root", "a directory of the host is removed", |plan| {
        let mut changed = plan.clone();
        let op = flat(&Op::Unlink { dir: At::Slot(Slot(role::ONE.0)), path: c"srv", directory: true });
        changed.undo.push(crate::plan::Undo { of: 0, op });
        changed
    }),
    mutant(94, OF, "the host can write there", |plan| {
        each(plan, Prepare, OpKind::FsMount, |op| match op {
            Op::FsMount { fs, attrs, into } => Op::FsMount { fs, attrs: attrs.without(MountAttrs::RDONLY), into },
            other => other,
        })
    }),
    mutant(94, OF, "links lead the host elsewhere", |plan| {
        each(plan, Prepare, OpKind::FsMount, |op| match op {
            Op::FsMount { fs, attrs, into } => Op::FsMount { fs, attrs: attrs.without(MountAttrs::NOSYMFOLLOW), into },
            other => other,
        })
    }),
    mutant(94, OF, "links lead the machine elsewhere", |plan| {
        opened(plan, |op| match op {
            Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns } => {
                let set = set.without(MountAttrs::NOSYMFOLLOW);
                Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns }
            }
            other => other,
        })
    }),
    mutant(94, OF, "what the machine mounts there goes to the host", |plan| {
        opened(plan, |op| match op {
            Op::MountSetAttr { dir, path, flags, set, clear, userns, .. } => {
                Op::MountSetAttr { dir, path, flags, set, clear, propagation: Propagation::SHARED, userns }
            }
            other => other,
        })
    }),
    mutant(40, OF, "something else is opened", |plan| {
        opened(plan, |op| match op {
            Op::MountSetAttr { dir, path, flags, set, propagation, userns, .. } => {
                let clear = MountAttrs::RDONLY.with(MountAttrs::NODEV);
                Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns }
            }
            other => other,
        })
    }),
    mutant(94, OF, "over what is mounted there", |plan| {
        each(plan, Prepare, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, into, .. } if path == NAME => {
                let resolve = Resolve::BENEATH.with(Resolve::NO_SYMLINKS);
                Op::OpenAt2 { dir, path, flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(94, OF, "on whatever is there", |plan| {
        let of = |op: &Op<'_>| matches!(op, Op::OpenAt2 { path, .. } if *path == NAME);
        let at = places(plan, Prepare, of)[0] + 1;
        assert!(matches!(
            plan.section(Prepare).iter().nth(at).unwrap().1,
            Some(Op::Prove { proof: Proof::OwnDirectory { .. }, .. })
        ));
        cut(plan, Prepare, at)
    }),
    mutant(94, OF, "a larger one", |plan| option(plan, c"size", c"8388608")),
    mutant(94, OF, "one that all may write", |plan| option(plan, c"mode", c"777")),
    mutant(94, MAPPED, "another's", |plan| option(plan, c"uid", c"0")),
    mutant(94, MAPPED, "of another group", |plan| option(plan, c"gid", c"5")),
    mutant(94, OF, "inside it is elsewhere", |plan| {
        each(plan, Enter, OpKind::OpenAt2, |op| match op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } if path == NAME => {
                Op::OpenAt2 { dir, path: c"other", flags, mode, resolve, into }
            }
            other => other,
        })
    }),
    mutant(94, OF, "it stays on the host", |plan| undone(plan, OpKind::Unmount, |_| None)),
    mutant(94, OF, "something else is unmounted", |plan| {
        undone(plan, OpKind::Unmount, |_| Some(flat(&Op::Unmount { dir: At::Cwd, path: c"/run" })))
    }),
    mutant(94, OF, "a second mount of the host", |plan| {
        let at = place(plan, Prepare, OpKind::MoveMount);
        let op = plan.section(Prepare).iter().nth(at).unwrap().1.unwrap();
        insert(plan, Prepare, at, op)
    }),
    mutant(94, "root/root", "a mount on the host", |plan| {
        let last = plan.section(Prepare).iter().count() - 1;
        let flags = TreeFlags::CLONE;
        let clone = Op::OpenTree { dir: At::Cwd, path: c"/srv", flags, into: role::ONE };
        let moved = Op::MoveMount { from: role::ONE, dir: At::Cwd, path: c"/mnt" };
        insert(&insert(plan, Prepare, last, clone), Prepare, last + 1, moved)
    }),
    mutant(94, LEFT, "what another has mounted is taken away", |plan| {
        each(plan, Prepare, OpKind::Unmount, |op| match op {
            Op::Unmount { dir, .. } => Op::Unmount { dir, path: c"/run/systemd/nspawn/other/unix-export" },
            other => other,
        })
    }),
    mutant(94, LEFT, "what is left is taken away before the name is the machine's", |plan| {
        let at = place(plan, Prepare, OpKind::Unmount);
        let op = plan.section(Prepare).iter().nth(at).unwrap().1.unwrap();
        insert(&cut(plan, Prepare, at), Prepare, place(plan, Prepare, OpKind::Create), op)
    }),
];
