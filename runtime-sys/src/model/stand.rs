//! What the tests of the model stand on: a model with a table of slots.

use crate::abi::{CapabilitySet, Namespaces, OpenFlags, Resolve, Seals};
use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Slots};
use crate::op::{At, Op, Slot};
use crate::program::{Actor, Stage};
use crate::wire::{Blob, Numbers};

use super::processes::actor_index;
use super::{Credentials, Model};

pub(super) const IMAGE: Slot = Slot(0);
pub(super) const PLAN: Slot = Slot(1);
pub(super) const PIDFD: Slot = Slot(2);
pub(super) const PID: Slot = Slot(3);
pub(super) const HOST_END: Slot = Slot(4);
pub(super) const CHILD_END: Slot = Slot(5);
pub(super) const PROCESS: Slot = Slot(6);
/// Where a test opens the directory that it works in.
pub(super) const DIR: Slot = Slot(10);

/// Everything but time, which no clone makes.
pub(super) const ALL: Namespaces = Namespaces(Namespaces::ALL.0 & !Namespaces::TIME.0 & !Namespaces::CGROUP.0);

/// Writes to a file in that directory.
pub(super) fn write<'a>(path: &'a core::ffi::CStr, content: &'a [u8]) -> Op<'a> {
    Op::Write { dir: At::Slot(DIR), path, content: Blob(content) }
}

pub(super) struct Stand {
    pub(super) model: Model,
    pub(super) cells: Vec<Cell>,
    actor: Actor,
    /// The tables of the others.
    kept: [Option<Vec<Cell>>; 3],
}

impl Stand {
    pub(super) fn on(model: Model) -> Self {
        Self { model, cells: vec![Cell::Empty; 40], actor: Actor::Host, kept: [None, None, None] }
    }

    pub(super) fn root() -> Self {
        Self::on(Model::new())
    }

    pub(super) fn user() -> Self {
        Self::on(Model::as_user(1000).subids(100_000, 65_536))
    }

    pub(super) fn ask(&mut self, op: Op<'_>) -> Result<(), Errno> {
        self.model.call(&op, &mut Slots::new(&mut self.cells))
    }

    #[track_caller]
    pub(super) fn ok(&mut self, op: Op<'_>) {
        assert_eq!(self.ask(op), Ok(()), "{op}");
    }

    #[track_caller]
    pub(super) fn no(&mut self, op: Op<'_>, errno: Errno) {
        assert_eq!(self.ask(op), Err(errno), "{op}");
    }

    /// Whoever has not played yet starts with a copy of the table of whoever
    /// played last, as in a rehearsal.
    pub(super) fn play(&mut self, actor: Actor) {
        self.kept[actor_index(self.actor)] = Some(self.cells.clone());
        if let Some(cells) = &self.kept[actor_index(actor)] {
            self.cells = cells.clone();
        }
        self.actor = actor;
        self.model.act_as(actor);
    }

    #[track_caller]
    pub(super) fn credentials(&self, actor: Actor) -> Credentials {
        self.model.process(actor).unwrap().credentials()
    }

    pub(super) fn spawn(&mut self, namespaces: Namespaces, ambient: bool, cgroup: Option<Slot>) -> Result<(), Errno> {
        let seals = Seals::WRITE;
        self.ok(Op::MemFd { name: c"stage", content: Blob(b"B"), seals, executable: true, into: IMAGE });
        self.ok(Op::MemFd {
            name: c"plan",
            content: Blob(&[0; 64]),
            seals: Seals::NONE,
            executable: false,
            into: PLAN,
        });
        self.ok(Op::SocketPair { one: HOST_END, other: CHILD_END });
        let keep = [u32::from(CHILD_END.0), 30].map(u32::to_le_bytes).concat();
        let open = self.cells[30] != Cell::Empty;
        let keep = Numbers::new(&keep[..if open { 8 } else { 4 }]).unwrap();
        self.ask(Op::Spawn {
            namespaces,
            joins: crate::wire::Numbers::NONE,
            cgroup,
            image: IMAGE,
            plan: PLAN,
            keep,
            ambient: if ambient { CapabilitySet::up_to(40) } else { CapabilitySet::EMPTY },
            pidfd: PIDFD,
            pid: PID,
        })?;
        self.ok(Op::OpenProcess { pid: PID, pidfd: PIDFD, into: PROCESS });
        Ok(())
    }

    #[track_caller]
    pub(super) fn write_maps(&mut self, uid: &[u8], gid: &[u8]) {
        for (path, content) in [(c"setgroups", b"deny".as_slice()), (c"uid_map", uid), (c"gid_map", gid)] {
            self.ok(Op::Write { dir: At::Slot(PROCESS), path, content: Blob(content) });
        }
    }

    /// A child that is root of its own user namespace, with its own slots.
    #[track_caller]
    pub(super) fn contained(mut self) -> Self {
        assert_eq!(self.spawn(ALL, true, None), Ok(()));
        let own = self.model.process(Actor::Host).unwrap().credentials().uid.real;
        self.write_maps(format!("0 {own} 1").as_bytes(), format!("0 {own} 1").as_bytes());
        self.play(Actor::Child);
        self.ok(Op::SetResGid { gid: 0 });
        self.ok(Op::SetResUid { uid: 0 });
        self
    }

    #[track_caller]
    pub(super) fn open(&mut self, path: &core::ffi::CStr, into: Slot) {
        self.ok(Op::OpenAt2 { dir: At::Cwd, path, flags: OpenFlags::PATH, mode: 0, resolve: Resolve::NONE, into });
    }

    /// A new detached mount of a kind.
    pub(super) fn fresh(&mut self, kind: &core::ffi::CStr, into: Slot) -> Result<(), Errno> {
        let fs = Slot(39);
        self.ask(Op::FsOpen { kind, into: fs })?;
        self.ask(Op::FsCreate { fs })?;
        self.ask(Op::FsMount { fs, attrs: Default::default(), into })
    }
}
