//! The payload's terminal.

use skep_sys::abi::fs_magic;
use skep_sys::{Op, OpKind, Proof};

use super::{Findings, the_one};
use crate::plan::{Phase, role};
use crate::verify::view::{View, What};

pub(super) fn terminal_own(view: &View<'_>, found: &mut Findings) {
    let mut made = view.of(OpKind::OpenTerminal);
    let Some(open) = made.next() else {
        return;
    };
    for more in made {
        found.at(more, "opens a second terminal");
    }
    let Op::OpenTerminal { master, peer, .. } = open.op else { return };
    let devpts = view.thing(open.on);
    let own = match devpts.what {
        What::Host(path) if view.enters() => {
            path == c"/dev/pts" && devpts.proved(open.at) == Some(Proof::FileSystem { magic: fs_magic::DEVPTS })
        }
        _ => devpts.is_mount(c"devpts") && devpts.attached.is_some_and(|at| at < open.at),
    };
    if !own {
        found.at(open, "is not of the container's own devpts");
    }
    if peer != role::TERMINAL_PEER {
        found.at(open, "puts the payload's end where nobody looks for it");
    }
    // No process of the container keeps the embedder's end.
    let sent = view.after(open).filter(|next| matches!(next.op, Op::SendFile { file, .. } if file == master));
    let closed = sent.and_then(|sent| view.after(sent));
    if !closed.is_some_and(|next| matches!(next.op, Op::Close { file } if file == master)) {
        found.at(open, "does not send the embedder its end and let go of it");
    }
    let left = closed.and_then(|closed| view.after(closed));
    if view.enters() && !left.is_some_and(|next| next.kind() == OpKind::Close && next.on == open.on) {
        found.at(open, "keeps a directory of the container open");
    }
    let payload = view.line(Phase::Payload);
    let own =
        |uid| payload.of(OpKind::SetResUid).any(|seen| matches!(seen.op, Op::SetResUid { uid: own } if own == uid));
    let group =
        |gid| payload.of(OpKind::SetResGid).any(|seen| matches!(seen.op, Op::SetResGid { gid: own } if own == gid));
    let given = view
        .of(OpKind::Chown)
        .any(|seen| seen.on == open.made && matches!(seen.op, Op::Chown { uid, gid, .. } if own(uid) && group(gid)));
    // Who enters opens it as that user.
    let opened = view.enters() && payload.of(OpKind::SetResUid).all(|ids| ids.at < open.at);
    found.unless(given || opened, "the terminal is not the payload's user's");
    let console = view.of(OpKind::MoveMount).any(|seen| {
        matches!(view.thing(seen.on).what, What::Console { of } if of == open.made)
            && matches!(seen.op, Op::MoveMount { path, .. } if path == c"console")
    });
    found.unless(console || view.enters(), "the terminal is not the console");
    let session = if view.has(OpKind::Fork, Phase::Enter) || view.enters() { Phase::Payload } else { Phase::Enter };
    let Some(take) = the_one(view, OpKind::ControllingTerminal, Phase::Payload, found) else { return };
    if take.on != open.made || view.first(OpKind::SetSid, session).is_none_or(|leads| leads.at > take.at) {
        found.at(take, "does not take the terminal for the payload's own session");
    }
}
