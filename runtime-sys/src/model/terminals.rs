//! Terminals: pts(4), tty_ioctl(4), ioctl_tty(2).

use crate::abi::{Resolve, fs_magic};
use crate::errno::Errno;
use crate::kernel::{Cell, Slots};
use crate::op::Slot;

use super::Model;
use super::descriptors::{Access, Handle, Object};
use super::files::{InodeId, Node, Place};

/// Major number of the other ends (kernel `admin-guide/devices.txt`).
const PTS: u32 = 136;

impl Model {
    pub(super) fn open_terminal(
        &mut self,
        slots: &mut Slots<'_>,
        devpts: Slot,
        size: [u16; 2],
        [master, peer]: [Slot; 2],
    ) -> Result<(), Errno> {
        let top = self.handle(slots, devpts)?.place;
        let place = self.walk(top, b"ptmx", Resolve::BENEATH.with(Resolve::NO_SYMLINKS), false)?;
        if self.magic_of(place.inode) != fs_magic::DEVPTS {
            return Err(Errno::ESTALE);
        }
        self.may_open_device(place)?;
        self.permit(place, 6)?;
        let Node::Directory(entries) = &self[top.inode].node else { return Err(Errno::ENOTDIR) };
        let free = (0_u32..).find(|number| !entries.contains_key(number.to_string().as_bytes())).unwrap_or(0);
        let name = free.to_string();
        // "mode=620 … uid and gid: … of the process that opened ptmx" (kernel
        // filesystems/devpts.rst).
        let owner = [self.cred().uid.fs, self.cred().gid.fs, 0o620];
        let device = Node::Device { block: false, major: PTS, minor: free };
        let inode = self.add(top.inode, name.as_bytes(), device, owner);
        self.terminals.insert(inode, size);
        let place = Place { mount: top.mount, inode };
        let other = Object::Path(Handle { place, access: Access::Write, tree: false });
        self.fill_pair(slots, [master, peer], [Object::Terminal(inode), other])
    }

    /// "ENOTTY: fd does not refer to a terminal".
    fn terminal(&self, slots: &Slots<'_>, slot: Slot) -> Result<InodeId, Errno> {
        let inode = match self.object(slots, slot)? {
            Object::Terminal(inode) => *inode,
            Object::Path(Handle { access: Access::Path, .. }) => return Err(Errno::EBADF),
            Object::Path(handle) => handle.place.inode,
            _ => return Err(Errno::ENOTTY),
        };
        if self.terminals.contains_key(&inode) { Ok(inode) } else { Err(Errno::ENOTTY) }
    }

    /// TIOCSCTTY: "The calling process must be a session leader and not have a
    /// controlling terminal already", and nobody else's session may have it.
    pub(super) fn take_terminal(&mut self, slots: &Slots<'_>, slot: Slot) -> Result<(), Errno> {
        let terminal = self.terminal(slots, slot)?;
        let current = self.current;
        let taken = self.tasks.iter().any(|task| !task.ended() && task.terminal == Some(terminal));
        if self[current].session != current || self[current].terminal.is_some() || taken {
            return Err(Errno::EPERM);
        }
        self[current].terminal = Some(terminal);
        Ok(())
    }

    pub(super) fn resize_terminal(&mut self, slots: &Slots<'_>, slot: Slot, size: [u16; 2]) -> Result<(), Errno> {
        let terminal = self.terminal(slots, slot)?;
        self.terminals.insert(terminal, size);
        Ok(())
    }

    pub(super) fn terminal_size(&self, slots: &mut Slots<'_>, slot: Slot, into: Slot) -> Result<(), Errno> {
        let terminal = self.terminal(slots, slot)?;
        let [rows, columns] = self.terminals.get(&terminal).copied().unwrap_or_default();
        slots.put(into, Cell::Value(u64::from(rows) << 16 | u64::from(columns))).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::Stand;
    use super::*;
    use crate::op::Op;
    use crate::program::Actor;

    const DEVPTS: Slot = Slot(10);
    const MASTER: Slot = Slot(11);
    const PEER: Slot = Slot(12);
    const OPEN: Op<'static> = Op::OpenTerminal { devpts: DEVPTS, rows: 24, columns: 80, master: MASTER, peer: PEER };

    #[test]
    fn a_terminal_is_opened_in_a_devpts_only() {
        let mut stand = Stand::root();
        stand.open(c"/usr", DEVPTS);
        stand.no(OPEN, Errno::ENOENT);
        stand.fresh(c"devpts", DEVPTS).unwrap();
        stand.ok(OPEN);
        let files = stand.model.process(Actor::Host).unwrap().descriptors();
        assert!(files.iter().any(|file| file.kind == "terminal"));
        assert!(files.iter().any(|file| file.path.as_deref() == Some("/0")));
        stand.ok(Op::TerminalSize { terminal: PEER, into: Slot(13) });
        assert_eq!(stand.cells[13], Cell::Value(24 << 16 | 80));
        stand.ok(Op::ResizeTerminal { terminal: MASTER, rows: 1, columns: 2 });
        stand.ok(Op::TerminalSize { terminal: PEER, into: Slot(13) });
        assert_eq!(stand.cells[13], Cell::Value(1 << 16 | 2));
        stand.no(Op::TerminalSize { terminal: DEVPTS, into: Slot(13) }, Errno::EBADF);
    }

    #[test]
    fn a_session_leader_takes_one_terminal() {
        let mut stand = Stand::user().contained();
        stand.fresh(c"devpts", DEVPTS).unwrap();
        stand.ok(OPEN);
        let take = Op::ControllingTerminal { terminal: PEER };
        stand.no(take, Errno::EPERM);
        stand.ok(Op::SetSid {});
        stand.ok(take);
        assert_eq!(stand.model.process(Actor::Child).unwrap().controlling_terminal().as_deref(), Some("/0"));
        stand.no(take, Errno::EPERM);
        stand.no(Op::ControllingTerminal { terminal: DEVPTS }, Errno::EBADF);
    }
}
