//! What a process executes: execve(2), execveat(2), capabilities(7).

use core::fmt;

use crate::abi::{CapabilitySet, MountAttrs};
use crate::errno::Errno;
use crate::kernel::Slots;
use crate::op::Slot;
use crate::wire::{Secret, Strings};

use super::descriptors::Object;
use super::files::{Node, Place};
use super::namespaces::{from_kernel, to_kernel};
use super::{Model, UserId};

/// What a process executed last.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executed {
    /// The path that was found, or `memfd`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<String>,
}

/// The environment may hold secrets: names only.
impl fmt::Debug for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|entry| entry.split('=').next().unwrap_or("")).collect();
        f.debug_struct("Executed")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &names)
            .finish()
    }
}

/// Capabilities of a file (capabilities(7), "File capabilities").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct FileCapabilities {
    pub(super) permitted: CapabilitySet,
    pub(super) inheritable: CapabilitySet,
    pub(super) effective: bool,
}

/// What a program gives whoever executes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Gains {
    /// Its owner, if it is set-user-id.
    pub(super) owner: Option<u32>,
    pub(super) file: Option<FileCapabilities>,
}

impl Model {
    /// Whether an object can be executed, and what that gives.
    pub(super) fn may_execute(&self, object: &Object) -> Result<Gains, Errno> {
        match object {
            // memfd_create(2), MFD_NOEXEC_SEAL.
            Object::MemFd { executable, content, .. } => match (executable, content.is_empty()) {
                (false, _) => Err(Errno::EACCES),
                (true, true) => Err(Errno::ENOEXEC),
                (true, false) => Ok(Gains::default()),
            },
            Object::Path(handle) => self.may_execute_file(handle.place),
            _ => Err(Errno::EACCES),
        }
    }

    /// execve(2), EACCES: not a regular file, no permission, or on a mount
    /// that is noexec.
    fn may_execute_file(&self, place: Place) -> Result<Gains, Errno> {
        let (inode, mount) = (&self[place.inode], &self[place.mount]);
        if !matches!(inode.node, Node::File(_)) || mount.attrs.has(MountAttrs::NOEXEC) {
            return Err(Errno::EACCES);
        }
        self.permit(place, 1)?;
        // Landlock's documentation: a file that is executed is read as well.
        self.landlocked(place, 1 | 1 << 2)?;
        // "The set-user-ID bit is ignored" on nosuid, and where the owner is
        // not mapped (user_namespaces(7)).
        // Nor on a file system of a user namespace below one's own (`mnt_may_suid`).
        let user = self.cred().user;
        let trusted = !mount.attrs.has(MountAttrs::NOSUID) && self.is_above(self[inode.fs].user, user);
        let set = inode.mode & 0o4000 != 0 && from_kernel(&self[user].uids, inode.uid).is_some();
        Ok(Gains {
            owner: (trusted && set).then_some(inode.uid),
            file: self.file_capabilities.get(&place.inode).copied().filter(|_| trusted),
        })
    }

    /// Whether `user` is `above`, or lies below it (`in_userns`).
    fn is_above(&self, above: UserId, user: UserId) -> bool {
        let mut at = Some(user);
        while let Some(user) = at {
            if user == above {
                return true;
            }
            at = self[user].parent;
        }
        false
    }

    /// What exec does to a process (execve(2), "Effect on process attributes").
    pub(super) fn execute(&mut self, gains: Gains) -> Result<(), Errno> {
        let current = self.current;
        let root = to_kernel(&self[self.cred().user].uids, 0);
        let mut new = self.cred().clone();
        new.execute(gains, root)?;
        let old = self.cred();
        let plain = old.uid.real == old.uid.effective && old.gid.real == old.gid.effective;
        self[current].dumpable = plain;
        self.commit(new);
        let kernel = self.kernel;
        let task = &mut self[current];
        task.table.retain(|_, entry| !entry.close_on_exec);
        task.signals.caught = 0;
        // 2b5f9dad32ed: a new memory may go with the other clocks. Debian's 6.1 does not.
        if kernel >= (6, 2) {
            task.spaces.time = task.spaces.time_for_children;
        }
        self.dirty = true;
        Ok(())
    }

    fn executed(&mut self, program: String, arguments: Strings<'_>, environment: Secret<'_>) {
        let texts = |strings: Strings<'_>| strings.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        let current = self.current;
        self[current].exec = Some(Executed { program, arguments: texts(arguments), environment: texts(environment.0) });
    }

    /// execve(2) of the first that exists; one that may not be executed is
    /// passed over.
    pub(super) fn exec(
        &mut self,
        programs: Strings<'_>,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(), Errno> {
        let mut verdict = Errno::ENOENT;
        for program in programs.iter() {
            let cwd = self[self.current].cwd;
            let found = self.walk(cwd, program.to_bytes(), crate::abi::Resolve::NONE, true);
            match found.and_then(|place| self.may_execute_file(place)) {
                Ok(gains) => {
                    self.execute(gains)?;
                    self.executed(program.to_string_lossy().into_owned(), arguments, environment);
                    return Ok(());
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => verdict = Errno::EACCES,
                Err(errno) => return Err(errno),
            }
        }
        Err(verdict)
    }

    /// execveat(2)
    pub(super) fn exec_at(
        &mut self,
        slots: &Slots<'_>,
        program: Slot,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(), Errno> {
        let object = self.object(slots, program)?.clone();
        let gains = self.may_execute(&object)?;
        let name = match object {
            Object::Path(handle) => self.path_in_fs(handle.place.inode),
            _ => "memfd".to_owned(),
        };
        self.execute(gains)?;
        self.executed(name, arguments, environment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::Stand;
    use super::*;
    use crate::abi::{Propagation, SecureBits, TreeFlags, cap};
    use crate::op::{At, Op};
    use crate::program::Actor;

    const ONE: CapabilitySet = CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE);
    const NONE: CapabilitySet = CapabilitySet::EMPTY;

    fn exec(stand: &mut Stand) -> Result<(), Errno> {
        let programs = Strings::new(b"/usr/bin/ping\0").unwrap();
        stand.ask(Op::Exec { programs, arguments: programs, environment: Secret(Strings::new(b"").unwrap()) })
    }

    fn with_capabilities(model: Model, effective: bool) -> Stand {
        let model = model.file("/usr/bin/ping", "x").owned("/usr/bin/ping", 0, 0, 0o755);
        Stand::on(model.file_capabilities("/usr/bin/ping", ONE, NONE, effective))
    }

    #[test]
    fn capabilities_of_a_file_are_gained_within_the_bounding_set() {
        for (effective, permitted) in [(true, ONE), (false, ONE)] {
            let mut stand = with_capabilities(Model::as_user(1000), effective);
            assert_eq!(exec(&mut stand), Ok(()));
            let seen = stand.credentials(Actor::Host);
            assert_eq!((seen.permitted, seen.effective), (permitted, if effective { ONE } else { NONE }));
        }
        // Of a set that lacks them a program that counts on them is not executed.
        for (effective, result) in [(true, Err(Errno::EPERM)), (false, Ok(()))] {
            let mut stand = with_capabilities(Model::new(), effective);
            stand.ok(Op::DropBounding { keep: NONE.with(cap::SETUID) });
            stand.ok(Op::SetResUid { uid: 1000 });
            assert_eq!(exec(&mut stand), result);
            assert_eq!(stand.credentials(Actor::Host).permitted, NONE);
        }
    }

    #[test]
    fn no_new_privileges_and_nosuid_keep_them_away() {
        let mut stand = with_capabilities(Model::as_user(1000), true);
        stand.ok(Op::NoNewPrivs {});
        assert_eq!(exec(&mut stand), Ok(()));
        assert_eq!(stand.credentials(Actor::Host).permitted, NONE);

        let mut stand = with_capabilities(Model::new(), true);
        stand.ok(Op::MountSetAttr {
            dir: At::Cwd,
            path: c"/",
            flags: TreeFlags::NONE,
            set: MountAttrs::NOSUID,
            clear: MountAttrs::NONE,
            propagation: Propagation::NONE,
            userns: None,
        });
        stand.ok(Op::SetResUid { uid: 1000 });
        assert_eq!(exec(&mut stand), Ok(()));
        assert_eq!(stand.credentials(Actor::Host).permitted, NONE);
    }

    /// Root of securebit noroot is nobody special to a program, and ambient
    /// capabilities end with a program that has its own.
    #[test]
    fn noroot_leaves_root_what_the_file_gives() {
        let mut stand = with_capabilities(Model::new(), true);
        let every = CapabilitySet::up_to(40);
        stand.ok(Op::CapSet { effective: every, permitted: every, inheritable: NONE.with(cap::SETUID) });
        stand.ok(Op::AmbientSet { capabilities: NONE.with(cap::SETUID) });
        stand.ok(Op::SetSecureBits { bits: SecureBits::NOROOT });
        assert_eq!(exec(&mut stand), Ok(()));
        let seen = stand.credentials(Actor::Host);
        assert_eq!((seen.permitted, seen.ambient), (ONE, NONE));
    }
}
