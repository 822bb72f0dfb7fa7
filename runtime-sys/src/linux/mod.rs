//! The real kernel.
//!
//! This module is compiled twice: into the library, and into stage B, where
//! nothing may allocate, lock, unwind or touch a thread-local. It holds to
//! that in both.

mod confinement;
mod conversation;
mod credentials;
mod descriptors;
mod exec;
mod files;
mod mounts;
mod processes;
mod proof;
mod sockets;
mod words;

use crate::abi::{self, CapabilitySet, MountAttr, OpenHow, TreeFlags};
use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Report, Slots};
use crate::message::{report, send};
use crate::netlink;
use crate::op::{At, Op, Slot};
use crate::raw::nr;
use crate::terminal;

use self::credentials::{
    Credentials, PR_GET_DUMPABLE, PR_MDWE_REFUSE_EXEC_GAIN, PR_SET_DUMPABLE, PR_SET_MDWE, PR_SET_NO_NEW_PRIVS,
    PR_SET_SECUREBITS, drop_bounding, prctl, set_ambient, set_capabilities,
};
use self::descriptors::{adopt, vacate};
#[cfg(not(skep_stage))]
use self::files::open_process;
use self::files::{
    O_CLOEXEC, O_NOCTTY, PROVED, add_seals, change_directory, may_write, memfd, reopen, unlink, unlink_same, write_all,
};
#[cfg(not(skep_stage))]
use self::processes::{HANG_UP, READABLE, end_group, remembered, wait_for_either};
use self::processes::{mask_signals, reset_signals, signal_fd, wait};
use self::proof::{in_force, is_named, makedev};
use self::words::{done, held, tolerate};

pub(crate) use self::descriptors::close;
#[cfg(not(skep_stage))]
pub(crate) use self::descriptors::raise;
pub(crate) use self::files::{decimal, open_device, open_to_write, openat2, write_and_close};
#[cfg(not(skep_stage))]
pub(crate) use self::processes::bury;
pub(crate) use self::processes::exit;
pub(crate) use self::processes::{WRITABLE, signal, wait_for};
pub(crate) use self::proof::prove;
#[cfg(not(skep_stage))]
pub(crate) use self::proof::{Statx, statx, statx_at};
#[cfg(not(skep_stage))]
pub(crate) use self::sockets::link_up;
pub(crate) use self::words::{Word, ask};

/// The real kernel (see [`Kernel`]).
///
/// ```
/// use skep_sys::{At, Cell, Kernel, Linux, Op, Slot, Slots, abi::{OpenFlags, Resolve}};
///
/// let mut cells = [Cell::Empty; 1];
/// let mut slots = Slots::new(&mut cells);
/// let open = Op::OpenAt2 {
///     dir: At::Cwd,
///     path: c"/proc",
///     flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
///     mode: 0,
///     resolve: Resolve::NO_MAGICLINKS,
///     into: Slot(0),
/// };
/// let mut kernel = Linux::new();
/// kernel.call(&open, &mut slots)?;
/// kernel.call(&Op::Close { file: Slot(0) }, &mut slots)?;
/// # Ok::<(), skep_sys::Errno>(())
/// ```
#[derive(Debug)]
pub struct Linux<'s> {
    /// Room for the two lists of pointers that `execve` wants.
    scratch: &'s mut [usize],
    /// What stage B's two processes share up to the payload's exec.
    #[cfg(skep_stage)]
    shared: crate::init::Shared,
    /// What the payload's process does, where it shares the stub init's memory.
    #[cfg(skep_stage)]
    payload: Option<crate::split::Payload<'s>>,
    /// Whether every signal is at its default here: a fork inherits that, and
    /// no other op changes it.
    #[cfg(skep_stage)]
    default_signals: bool,
}

impl Linux<'static> {
    /// The kernel of the embedding process. It performs everything but
    /// `execve`, `fork` and what only stage B does (ENOSYS).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            scratch: &mut [],
            #[cfg(skep_stage)]
            shared: crate::init::Shared { gate: -1, alive: 0, mapped: [[0; 2]; 3] },
            #[cfg(skep_stage)]
            payload: None,
            #[cfg(skep_stage)]
            default_signals: false,
        }
    }
}

impl Default for Linux<'static> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(skep_stage)]
impl<'s> Linux<'s> {
    pub(crate) const fn with(
        scratch: &'s mut [usize],
        plan: [[usize; 2]; 2],
        payload: Option<crate::split::Payload<'s>>,
    ) -> Self {
        let [whole, first] = plan;
        let shared = crate::init::Shared { gate: -1, alive: 0, mapped: [whole, first, [0; 2]] };
        Self { scratch, shared, payload, default_signals: false }
    }

    /// For the payload's process, which shares this one's memory.
    pub(crate) const fn split(scratch: &'s mut [usize], default_signals: bool) -> Self {
        Self { scratch, default_signals, ..Linux::new() }
    }
}

impl Kernel for Linux<'_> {
    // One copy in stage B, which is written into a memfd at every start.
    #[inline(never)]
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        match *op {
            Op::OpenAt2 { dir, path, flags, mode, resolve, into } => {
                // openat2 refuses O_NOCTTY beside O_PATH, which opens nothing.
                let terminal = if flags.has(abi::OpenFlags::PATH) { 0 } else { O_NOCTTY };
                let how = OpenHow {
                    flags: u64::from(flags.0) | O_CLOEXEC | terminal,
                    mode: u64::from(mode),
                    resolve: resolve.0,
                };
                let file = openat2(at(dir, slots)?, path, &how)?;
                fill(slots, into, file)
            }
            Op::Mkdir { dir, name, mode, exist_ok } => {
                let made = ask(nr::MKDIRAT, [at(dir, slots)?, Word::text(name), Word::number(u64::from(mode))]);
                tolerate(made, if exist_ok { &[Errno::EEXIST] } else { &[] })
            }
            Op::Symlink { target, dir, name } => {
                done(ask(nr::SYMLINKAT, [Word::text(target), at(dir, slots)?, Word::text(name)]))
            }
            Op::Create { dir, name, mode, content, exist_ok } => {
                // O_WRONLY|O_CREAT|O_EXCL; O_EXCL follows no link.
                let how = OpenHow { flags: 0o301 | O_CLOEXEC | O_NOCTTY, mode: u64::from(mode), resolve: PROVED };
                match openat2(at(dir, slots)?, name, &how) {
                    Ok(file) => write_and_close(file, content.0),
                    Err(Errno::EEXIST) if exist_ok => Ok(()),
                    Err(errno) => Err(errno),
                }
            }
            Op::CreateSecret { dir, name, mode, content } => {
                let how = OpenHow { flags: 0o301 | O_CLOEXEC | O_NOCTTY, mode: u64::from(mode), resolve: PROVED };
                write_and_close(openat2(at(dir, slots)?, name, &how)?, content.0)
            }
            Op::Mknod { dir, name, mode, major, minor } => {
                let device = makedev(major, minor);
                done(ask(
                    nr::MKNODAT,
                    [at(dir, slots)?, Word::text(name), Word::number(u64::from(mode)), Word::number(device)],
                ))
            }
            Op::Unlink { dir, path, directory } => unlink(at(dir, slots)?, path, directory),
            Op::UnlinkSame { dir, name, file } => {
                let file = match slots.get(file) {
                    Cell::Descriptor(file) => Some(file),
                    _ => None,
                };
                unlink_same(slots.descriptor(dir)?, name, file)
            }
            Op::Write { dir, path, content } => {
                let file = open_to_write(at(dir, slots)?, path)?;
                write_and_close(file, content.0)
            }
            Op::WritePid { dir, path, pid } => {
                let pid = slots.value(pid)?;
                let file = open_to_write(at(dir, slots)?, path)?;
                let mut digits = [0_u8; 20];
                write_and_close(file, decimal(pid, &mut digits))
            }
            Op::Chown { file, uid, gid } => done(ask(
                nr::FCHOWNAT,
                [
                    slot(file, slots)?,
                    Word::text(c""),
                    Word::number(u64::from(uid)),
                    Word::number(u64::from(gid)),
                    Word::number(u64::from(TreeFlags::EMPTY_PATH.0)),
                ],
            )),
            Op::Chmod { file, mode } => done(ask(nr::FCHMOD, [slot(file, slots)?, Word::number(u64::from(mode))])),
            Op::Rename { dir, from, to, replace } => {
                let dir = at(dir, slots)?;
                // RENAME_NOREPLACE
                let flags = Word::number(u64::from(!replace));
                done(ask(nr::RENAMEAT2, [dir, Word::text(from), dir, Word::text(to), flags]))
            }
            Op::Reopen { file, flags, into } => {
                let file = reopen(slots.descriptor(file)?, flags)?;
                fill(slots, into, file)
            }
            #[cfg(not(skep_stage))]
            Op::CopyRest { from, to, limit, into } => {
                let count = crate::copy::copy(slots.descriptor(from)?, slots.descriptor(to)?, limit)?;
                slots.put(into, Cell::Value(count)).map(drop)
            }
            Op::Prove { file, proof } => prove(slots.descriptor(file)?, proof),
            Op::Close { file } => match slots.put(file, Cell::Empty)? {
                Cell::Descriptor(number) => {
                    close(number);
                    Ok(())
                }
                _ => Err(Errno::EBADF),
            },
            Op::MemFd { name, content, seals, executable, into } => {
                may_write(content.0.len())?;
                // MFD_CLOEXEC|MFD_ALLOW_SEALING, and MFD_EXEC or MFD_NOEXEC_SEAL.
                let kind = if executable { 0x10 } else { 0x8 };
                let file = memfd(name, 0x1 | 0x2 | kind).or_else(|errno| match errno {
                    Errno::EINVAL => memfd(name, 0x1 | 0x2),
                    other => Err(other),
                })?;
                write_all(file, content.0).and_then(|()| add_seals(file, seals.0)).inspect_err(|_| close(file))?;
                fill(slots, into, file)
            }
            Op::Peek { file, offset, into } => {
                let mut word = [0_u64; 1];
                let words = [slot(file, slots)?, Word::of_mut(&mut word), Word::number(8), Word::number(offset)];
                match ask(nr::PREAD64, words)? {
                    8 => slots.put(into, Cell::Value(word[0])).map(drop),
                    _ => Err(Errno::EIO),
                }
            }
            #[cfg(not(skep_stage))]
            Op::LockIds { path, first, count, into } => {
                fill(slots, into, crate::ids::lock(path, [u64::from(first), u64::from(count)])?)
            }
            #[cfg(not(skep_stage))]
            Op::ReleaseIds { file, path, first, count } => match slots.put(file, Cell::Empty)? {
                Cell::Descriptor(number) => crate::ids::release(number, path, [u64::from(first), u64::from(count)]),
                _ => Err(Errno::EBADF),
            },

            #[cfg(not(skep_stage))]
            Op::SetXattr { file, name, value } => crate::xattr::set(slots.descriptor(file)?, name, value.0),
            #[cfg(not(skep_stage))]
            Op::RemoveXattr { file, name } => crate::xattr::remove(slots.descriptor(file)?, name),
            #[cfg(not(skep_stage))]
            Op::CopyWhole { from, to } => crate::copy::whole(slots.descriptor(from)?, slots.descriptor(to)?),
            #[cfg(not(skep_stage))]
            Op::Link { file, dir, name } => {
                let link = crate::xattr::link(slots.descriptor(file)?)?;
                // AT_SYMLINK_FOLLOW: that of /proc.
                done(ask(
                    nr::LINKAT,
                    [Word::CWD, Word::text(&link), at(dir, slots)?, Word::text(name), Word::number(0x400)],
                ))
            }
            #[cfg(not(skep_stage))]
            Op::Stamp { file, mode, access, access_ns, modified, modified_ns } => {
                let link = crate::xattr::link(slots.descriptor(file)?)?;
                let times = [access, access_ns, modified, modified_ns];
                if mode != u32::MAX {
                    ask(nr::FCHMODAT, [Word::CWD, Word::text(&link), Word::number(u64::from(mode))])?;
                }
                done(ask(nr::UTIMENSAT, [Word::CWD, Word::text(&link), Word::of(&times), Word::NULL]))
            }
            #[cfg(not(skep_stage))]
            Op::LoopDevice { image, offset, size, read_only, into } => {
                fill(slots, into, crate::block::attach(slots.descriptor(image)?, [offset, size], read_only)?)
            }
            #[cfg(not(skep_stage))]
            Op::FsDevice { fs, device } => {
                let path = crate::block::path(slots.descriptor(device)?)?;
                mounts::configure(slot(fs, slots)?, 1, Word::text(c"source"), Word::text(&path))
            }

            Op::OpenTree { dir, path, flags, into } => {
                let tree = mounts::open_tree(at(dir, slots)?, path, flags)?;
                fill(slots, into, tree)
            }
            Op::FsOpen { kind, into } => {
                let context = ask(nr::FSOPEN, [Word::text(kind), Word::number(1)])?;
                fill(slots, into, context as i32)
            }
            Op::FsString { fs, key, value } => {
                mounts::configure(slot(fs, slots)?, 1, Word::text(key), Word::text(value))
            }
            Op::FsFlag { fs, key } => mounts::configure(slot(fs, slots)?, 0, Word::text(key), Word::NULL),
            Op::FsCreate { fs } => mounts::configure(slot(fs, slots)?, 6, Word::NULL, Word::NULL),
            Op::FsMount { fs, attrs, into } => {
                let mount = ask(nr::FSMOUNT, [slot(fs, slots)?, Word::number(1), Word::number(attrs.0)])?;
                fill(slots, into, mount as i32)
            }
            Op::MoveMount { from, dir, path } => mounts::attach(slot(from, slots)?, at(dir, slots)?, path),
            Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns } => {
                let userns = userns.map_or(Ok(0), |place| slots.descriptor(place).map(|file| file as u64))?;
                let attr = MountAttr { set: set.0, clear: clear.0, propagation: propagation.0, userns };
                mounts::set(at(dir, slots)?, path, flags, &attr)
            }
            Op::PivotRoot {} => mounts::pivot_root(),
            Op::Unmount { dir, path } => mounts::unmount(dir, path, slots),
            // MNT_DETACH
            Op::UmountOld {} => done(ask(nr::UMOUNT2, [Word::text(c"."), Word::number(2)])),
            Op::ProveRoot {} => mounts::prove_root(),
            Op::Chdir { path } => change_directory(path),
            Op::Fchdir { dir } => done(ask(nr::FCHDIR, [slot(dir, slots)?])),

            #[cfg(not(skep_stage))]
            Op::Spawn { namespaces, joins, cgroup, image, plan, keep, ambient, pidfd, pid } => {
                let request = crate::spawn::Request { namespaces, joins, cgroup, image, plan, keep, ambient };
                let child = crate::spawn::spawn(&request, slots)?;
                fill(slots, pidfd, child.pidfd)?;
                slots.put(pid, Cell::Value(child.pid)).map(drop)
            }
            #[cfg(not(skep_stage))]
            Op::IdMapHelper { program, pid, map } => {
                crate::spawn::idmap_helper(slots.descriptor(program)?, slots.value(pid)?, map)
            }
            #[cfg(not(skep_stage))]
            Op::MapNamespace { image, uid, gid, into } => {
                let namespace = crate::spawn::map_namespace(slots.descriptor(image)?, uid, gid)?;
                fill(slots, into, namespace)
            }
            #[cfg(not(skep_stage))]
            Op::BpfDevice { program, into } => {
                let file = bpf_device(program.0)?;
                fill(slots, into, file)
            }
            #[cfg(not(skep_stage))]
            Op::BpfAttach { cgroup, program } => {
                // BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI
                let attr = [slots.descriptor(cgroup)? as u32, slots.descriptor(program)? as u32, 6, 2, 0, 0];
                done(ask(nr::BPF, [Word::number(8), Word::of(&attr), Word::number(size_of_val(&attr) as u64)]))
            }
            Op::RemoveGroup { dir, path } => crate::groups::remove(at(dir, slots)?, path),
            Op::KillGroup { dir, path } => crate::groups::kill(at(dir, slots)?, path),
            #[cfg(not(skep_stage))]
            Op::Freeze { group, on, timeout_ms } => crate::groups::freeze(slots.descriptor(group)?, on, timeout_ms),
            // The embedder's alone.
            #[cfg(not(skep_stage))]
            Op::Affinity { pid, pidfd, cpus } => {
                crate::schedule::affinity(slots.value(pid)?, slots.descriptor(pidfd)?, cpus)
            }
            #[cfg(not(skep_stage))]
            Op::Schedule { pid, pidfd, policy, nice, priority } => {
                crate::schedule::schedule(slots.value(pid)?, slots.descriptor(pidfd)?, policy, nice, priority)
            }
            #[cfg(not(skep_stage))]
            Op::IoPriority { pid, pidfd, class, level } => {
                crate::schedule::io_priority(slots.value(pid)?, slots.descriptor(pidfd)?, class, level)
            }
            #[cfg(skep_stage)]
            Op::Spawn { .. }
            | Op::Affinity { .. }
            | Op::Schedule { .. }
            | Op::IoPriority { .. }
            | Op::OpenProcess { .. }
            | Op::Receive { .. }
            | Op::ResizeTerminal { .. }
            | Op::TerminalSize { .. }
            | Op::Entrust { .. }
            | Op::EntrustFile { .. }
            | Op::Dismiss { .. }
            | Op::Keep { .. }
            | Op::IdMapHelper { .. }
            | Op::MapNamespace { .. }
            | Op::BpfDevice { .. }
            | Op::BpfAttach { .. }
            | Op::LockIds { .. }
            | Op::ReleaseIds { .. }
            | Op::PidfdOpen { .. }
            | Op::KeyCapabilities { .. }
            | Op::CopyRest { .. }
            | Op::PidfdStatus { .. }
            | Op::Ask { .. }
            | Op::Inherit { .. }
            | Op::SetXattr { .. }
            | Op::RemoveXattr { .. }
            | Op::LoopDevice { .. }
            | Op::FsDevice { .. }
            | Op::CopyWhole { .. }
            | Op::Link { .. }
            | Op::Stamp { .. }
            | Op::Freeze { .. } => Err(Errno::ENOSYS),
            #[cfg(skep_stage)]
            Op::Fork { pid } if let Some(payload) = self.payload.take() => {
                let room = core::mem::take(&mut self.scratch);
                let split = crate::split::split(payload, pid, room, slots, self.default_signals)?;
                let [_, _, stack] = &mut self.shared.mapped;
                (*stack, self.shared.alive) = (split.mapped, split.alive);
                slots.put(pid, Cell::Value(split.pid)).map(drop)
            }
            #[cfg(skep_stage)]
            Op::Fork { pid } => {
                // A copy of a few pages; one thread, so nothing is left half-way.
                let child = ask(
                    nr::CLONE,
                    [Word::number(u64::from(abi::signal::CHLD)), Word::NULL, Word::NULL, Word::NULL, Word::NULL],
                )?;
                slots.put(pid, Cell::Value(child as u64)).map(drop)
            }
            #[cfg(skep_stage)]
            Op::Sibling { pid, pidfd } => {
                // With clone(2): the filters around this process may know no clone3.
                let mut file = -1_i32;
                let flags = Word::number(abi::clone::PARENT | abi::clone::PIDFD);
                match ask(nr::CLONE, [flags, Word::NULL, Word::of_mut(&mut file), Word::NULL, Word::NULL])? {
                    0 => slots.put(pid, Cell::Value(0)).map(drop),
                    child => {
                        fill(slots, pidfd, file)?;
                        slots.put(pid, Cell::Value(child as u64)).map(drop)
                    }
                }
            }
            // Never in the embedder: it may have other threads.
            #[cfg(not(skep_stage))]
            Op::Fork { .. } | Op::Sibling { .. } => Err(Errno::ENOSYS),
            Op::SetNs { namespace, kind } => done(ask(nr::SETNS, [slot(namespace, slots)?, Word::number(kind.0)])),
            // Changes the calling thread, so only where that is the process.
            #[cfg(skep_stage)]
            Op::Unshare { namespaces } => done(ask(nr::UNSHARE, [Word::number(namespaces.0)])),
            #[cfg(not(skep_stage))]
            Op::Unshare { .. } => Err(Errno::ENOSYS),
            #[cfg(not(skep_stage))]
            Op::OpenProcess { pid, pidfd, into } => {
                let dir = open_process(slots.value(pid)?)?;
                // Signal 0 proves that the process has not been reaped, so the
                // number still was its own when the directory was opened.
                let checked = prove(dir, crate::op::Proof::FileSystem { magic: abi::fs_magic::PROC })
                    .and_then(|()| signal(slots.descriptor(pidfd)?, 0));
                checked.inspect_err(|_| close(dir))?;
                fill(slots, into, dir)
            }
            #[cfg(not(skep_stage))]
            Op::PidfdOpen { pid, into } => {
                let file = ask(nr::PIDFD_OPEN, [Word::number(slots.value(pid)?), Word::NULL])?;
                fill(slots, into, file as i32)
            }
            #[cfg(not(skep_stage))]
            Op::PidfdStatus { process, timeout_ms, into } => {
                let status = remembered(slots.descriptor(process)?, timeout_ms)?;
                slots.put(into, Cell::Value(status.to_value())).map(drop)
            }
            Op::PidfdSignal { process, signal: number } => match signal(slots.descriptor(process)?, number) {
                Err(Errno::ESRCH) => Ok(()),
                other => other,
            },
            Op::PidfdWait { process, timeout_ms, into } => {
                let status = wait(slots.descriptor(process)?, timeout_ms)?;
                slots.put(into, Cell::Value(status.to_value())).map(drop)
            }

            Op::SetGroups { groups } => {
                ask(nr::SETGROUPS, [Word::number(groups.len() as u64), Word::bytes(groups.bytes())])?;
                held(ask(nr::GETGROUPS, [Word::NULL, Word::NULL])? == groups.len())
            }
            Op::SetResGid { gid } => done(ask(nr::SETRESGID, [Word::number(u64::from(gid)); 3])),
            Op::SetResUid { uid } => done(ask(nr::SETRESUID, [Word::number(u64::from(uid)); 3])),
            Op::DropBounding { keep } => drop_bounding(keep),
            Op::CapSet { effective, permitted, inheritable } => set_capabilities(effective, permitted, inheritable),
            Op::AmbientSet { capabilities } => set_ambient(capabilities),
            Op::SetSecureBits { bits } => prctl(PR_SET_SECUREBITS, [u64::from(bits.0), 0]).map(drop),
            Op::NoNewPrivs {} => prctl(PR_SET_NO_NEW_PRIVS, [1, 0]).map(drop),
            Op::DenyWriteExecute {} => prctl(PR_SET_MDWE, [PR_MDWE_REFUSE_EXEC_GAIN, 0]).map(drop),
            Op::Dumpable { on } => {
                prctl(PR_SET_DUMPABLE, [u64::from(on), 0])?;
                held(prctl(PR_GET_DUMPABLE, [0, 0])? == usize::from(on))
            }
            Op::ProveCredentials { uid, gid, effective, permitted, bounding, ambient, securebits, no_new_privs } => {
                let real = Credentials::read()?;
                let asked = Credentials {
                    ids: [uid, uid, uid, gid, gid, gid],
                    effective,
                    permitted,
                    inheritable: CapabilitySet(ambient.0),
                    bounding,
                    ambient,
                    securebits,
                    no_new_privs,
                };
                if real == asked { Ok(()) } else { Err(Errno::EPERM) }
            }
            Op::Seccomp { program, flags, listener } => {
                let result = confinement::install_filter(program.0, flags)?;
                match listener {
                    Some(into) => fill(slots, into, result as i32),
                    // With TSYNC a thread id would come back; without, 0.
                    None => held(result == 0),
                }?;
                in_force(program.0)
            }
            // Of whoever supervises a container, who is not in it.
            #[cfg(not(skep_stage))]
            Op::ReceiveCall { listener, into } => {
                let call = crate::listener::receive(slots.descriptor(listener)?)?;
                for (place, word) in (into.0..).zip(call) {
                    slots.put(Slot(place), Cell::Value(word))?;
                }
                Ok(())
            }
            #[cfg(not(skep_stage))]
            Op::AnswerCall { listener, id, value, error, go_on } => {
                crate::listener::answer(slots.descriptor(listener)?, id, value, error, go_on)
            }
            #[cfg(not(skep_stage))]
            Op::CallWaits { listener, id } => crate::listener::waits(slots.descriptor(listener)?, id),
            #[cfg(skep_stage)]
            Op::ReceiveCall { .. } | Op::AnswerCall { .. } | Op::CallWaits { .. } => Err(Errno::ENOSYS),
            Op::LandlockVersion { into } => {
                let version = ask(nr::LANDLOCK_CREATE_RULESET, [Word::NULL, Word::NULL, Word::number(1)])?;
                slots.put(into, Cell::Value(version as u64)).map(drop)
            }
            Op::LandlockRuleset { file_access, net_access, scoped, into } => {
                let ruleset = confinement::ruleset([file_access, net_access, scoped])?;
                fill(slots, into, ruleset)
            }
            Op::LandlockPath { ruleset, parent, access } => {
                confinement::rule_of_path(slot(ruleset, slots)?, slots.descriptor(parent)?, access)
            }
            Op::LandlockPort { ruleset, port, access } => {
                let rule = [access, u64::from(port)];
                done(ask(nr::LANDLOCK_ADD_RULE, [slot(ruleset, slots)?, Word::number(2), Word::of(&rule), Word::NULL]))
            }
            Op::LandlockRestrict { ruleset } => {
                done(ask(nr::LANDLOCK_RESTRICT_SELF, [slot(ruleset, slots)?, Word::NULL]))
            }

            Op::SetLimit { resource, soft, hard } => {
                let (number, limit, mut now) = (u64::from(resource.0), [soft, hard], [0; 2]);
                ask(nr::PRLIMIT64, [Word::NULL, Word::number(number), Word::of(&limit), Word::NULL])?;
                ask(nr::PRLIMIT64, [Word::NULL, Word::number(number), Word::NULL, Word::of_mut(&mut now)])?;
                held(now == limit)
            }
            Op::HostName { name } => {
                ask(nr::SETHOSTNAME, [Word::text(name), Word::number(name.count_bytes() as u64)])?;
                held(is_named(1, name)?)
            }
            Op::DomainName { name } => {
                ask(nr::SETDOMAINNAME, [Word::text(name), Word::number(name.count_bytes() as u64)])?;
                held(is_named(5, name)?)
            }
            // KEYCTL_JOIN_SESSION_KEYRING, anonymous
            Op::SessionKeyring {} => {
                done(ask(nr::KEYCTL, [Word::number(1), Word::NULL, Word::NULL, Word::NULL, Word::NULL]))
            }
            #[cfg(not(skep_stage))]
            Op::Inherit { number, into } => {
                let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
                // F_GETFD: what is FD_CLOEXEC was opened here.
                if ask(nr::FCNTL, [Word::descriptor(number), Word::number(1), Word::NULL])? & 1 != 0 {
                    return Err(Errno::EBADF);
                }
                // F_DUPFD_CLOEXEC from 3 on
                let copy = ask(nr::FCNTL, [Word::descriptor(number), Word::number(1030), Word::number(3)])?;
                fill(slots, into, copy as i32)
            }
            #[cfg(not(skep_stage))]
            Op::KeyCapabilities { into } => {
                // KEYCTL_CAPABILITIES
                let size = ask(nr::KEYCTL, [Word::number(31), Word::NULL, Word::NULL, Word::NULL, Word::NULL])?;
                slots.put(into, Cell::Value(size as u64)).map(drop)
            }
            Op::Umask { mode } => {
                // It answers with what was there before.
                let set = || ask(nr::UMASK, [Word::number(u64::from(mode))]);
                set()?;
                held(set()? == mode as usize)
            }
            // It answers with the session's number.
            Op::SetSid {} => held(ask(nr::SETSID, [])? != 0),
            #[cfg(skep_stage)]
            Op::ResetSignals {} if self.default_signals => mask_signals(0),
            Op::ResetSignals {} => {
                reset_signals()?;
                #[cfg(skep_stage)]
                {
                    self.default_signals = true;
                }
                Ok(())
            }
            Op::BlockSignals {} => mask_signals(u64::MAX),
            Op::Personality { persona } => done(ask(nr::PERSONALITY, [Word::number(u64::from(persona))])),

            Op::Adopt {} => adopt(slots),
            Op::Vacate { numbers } => vacate(slots, numbers),
            Op::Dup { file, number } => {
                let from = slots.descriptor(file)?;
                if from == number as i32 {
                    // dup3 refuses this; what is wanted is a descriptor that survives the exec.
                    return done(ask(nr::FCNTL, [Word::descriptor(from), Word::number(2), Word::NULL]));
                }
                done(ask(nr::DUP3, [Word::descriptor(from), Word::number(u64::from(number)), Word::NULL]))
            }
            Op::CloseFrom { first } => done(ask(
                nr::CLOSE_RANGE,
                [Word::number(u64::from(first)), Word::number(u64::from(u32::MAX)), Word::NULL],
            )),
            Op::SocketPair { one, other } => fill_pair(slots, [one, other], sockets::pair()?),
            Op::Pipe { read, write } => {
                let mut pair = [0_i32; 2];
                ask(nr::PIPE2, [Word::of_mut(&mut pair), Word::number(O_CLOEXEC)])?;
                fill_pair(slots, [read, write], pair)
            }
            Op::Socket { family, kind, into } => {
                let socket = sockets::open(family, kind)?;
                fill(slots, into, socket)
            }
            Op::SocketOption { socket, level, name, value } => {
                sockets::set_option(slot(socket, slots)?, level, name, value)
            }
            Op::Bind { socket, path } => sockets::bind(slot(socket, slots)?, path),
            Op::LinkUp { socket, name } => sockets::link_up(slot(socket, slots)?, name),
            Op::NetlinkSocket { protocol, namespace, into } => {
                let socket = match namespace {
                    None => ask(nr::SOCKET, netlink::socket(protocol))? as i32,
                    #[cfg(not(skep_stage))]
                    Some(namespace) => crate::spawn::made_in(slots.descriptor(namespace)?, netlink::socket(protocol))?,
                    #[cfg(skep_stage)]
                    Some(_) => return Err(Errno::ENOSYS),
                };
                fill(slots, into, socket)
            }
            #[cfg(not(skep_stage))]
            Op::LinkAdd { socket, kind, name, address, lower, peer, peer_address, namespace, alias } => {
                let (address, peer_address) = (address.0, peer_address.0);
                let namespace = namespace.map(|place| slots.descriptor(place)).transpose()?;
                netlink::Link { kind, name, address, lower, peer, peer_address, namespace, alias }
                    .add(slots.descriptor(socket)?)
            }
            Op::LinkAltName { socket, name, alternative } => {
                netlink::alternative(slots.descriptor(socket)?, name, alternative)
            }
            #[cfg(not(skep_stage))]
            Op::LinkMaster { socket, name, master } => netlink::master(slots.descriptor(socket)?, name, master),
            #[cfg(not(skep_stage))]
            Op::LinkOption { socket, name, option, value } => {
                netlink::option(slots.descriptor(socket)?, name, option, value)
            }
            #[cfg(not(skep_stage))]
            Op::ZoneJoin { socket, bridge, port, lock, alias } => {
                netlink::join_zone(slots.descriptor(socket)?, bridge, port, lock, alias)
            }
            #[cfg(not(skep_stage))]
            Op::NfTables { socket, batch } => crate::tables::commit(slots.descriptor(socket)?, batch.0),
            #[cfg(skep_stage)]
            Op::LinkAdd { .. }
            | Op::LinkMaster { .. }
            | Op::LinkOption { .. }
            | Op::ZoneJoin { .. }
            | Op::NfTables { .. } => Err(Errno::ENOSYS),
            Op::LinkMove { socket, name, index, namespace, new_name, new_index } => {
                let to =
                    netlink::Destination { namespace: slots.descriptor(namespace)?, name: new_name, index: new_index };
                netlink::move_to(slots.descriptor(socket)?, name, index, &to)
            }
            Op::LinkRemove { socket, name, alias } => netlink::remove(slots.descriptor(socket)?, name, alias),
            Op::ZoneLeave { socket, bridge, port, lock, alias } => {
                netlink::leave_zone(slots.descriptor(socket)?, bridge, port, lock, alias)
            }
            Op::AddressAdd { socket, name, address, prefix, shared } => {
                netlink::address(slots.descriptor(socket)?, name, address.0, prefix, shared)
            }
            Op::RouteAdd { socket, name, to, prefix, gateway } => {
                netlink::route(slots.descriptor(socket)?, name, to.0, prefix, gateway.0)
            }
            Op::SignalFd { into } => {
                let file = signal_fd()?;
                fill(slots, into, file)
            }

            // By the stub init, whose filter is for write(2) alone.
            #[cfg(skep_stage)]
            Op::Release { to } => {
                ask(nr::WRITE, [Word::descriptor(slots.descriptor(to)?), Word::bytes(b"g"), Word::number(1)]).map(drop)
            }
            #[cfg(not(skep_stage))]
            Op::Release { to } => conversation::release(slots.descriptor(to)?),
            Op::Arrive { to } => report(slots.descriptor(to)?, Report::Waiting),
            Op::Announce { to } => report(slots.descriptor(to)?, Report::Marker),
            Op::Await { from } => conversation::released(slots.descriptor(from)?),
            Op::SendFile { to, file, place } => {
                let record = Report::File { place }.to_value().to_le_bytes();
                send(slots.descriptor(to)?, &record, Some(slots.descriptor(file)?))
            }
            Op::OpenTerminal { devpts, rows, columns, master, peer } => {
                let ends = terminal::open(slots.descriptor(devpts)?, [rows, columns])?;
                fill_pair(slots, [master, peer], ends)
            }
            // Of the calling process, so only where that is the container's.
            #[cfg(skep_stage)]
            Op::ControllingTerminal { terminal } => terminal::take(slots.descriptor(terminal)?),
            #[cfg(not(skep_stage))]
            Op::ControllingTerminal { .. } => Err(Errno::ENOSYS),
            #[cfg(not(skep_stage))]
            Op::ResizeTerminal { terminal, rows, columns } => {
                terminal::resize(slots.descriptor(terminal)?, [rows, columns])
            }
            #[cfg(not(skep_stage))]
            Op::TerminalSize { terminal, into } => {
                let size = terminal::size(slots.descriptor(terminal)?)?;
                slots.put(into, Cell::Value(size)).map(drop)
            }
            #[cfg(not(skep_stage))]
            Op::Receive { from, timeout_ms, early, cancel, file, into } => {
                let from = slots.descriptor(from)?;
                // Not for the first word: the end follows it at once, and waking
                // up twice costs the child its processor.
                let events = if early { READABLE } else { HANG_UP };
                let cancel = cancel.map_or(Ok(-1), |slot| slots.descriptor(slot))?;
                wait_for_either(from, events, cancel, timeout_ms)?;
                let (report, came) = crate::message::hear(from)?;
                came.map_or(Ok(()), |came| fill(slots, file, came))?;
                slots.put(into, Cell::Value(report.to_value())).map(drop)
            }
            #[cfg(not(skep_stage))]
            Op::EndGroup { pidfd, pid } => end_group(slots.descriptor(pidfd)?, slots.value(pid)?),
            #[cfg(skep_stage)]
            Op::EndGroup { .. } => Err(Errno::ENOSYS),
            #[cfg(not(skep_stage))]
            Op::Entrust { watcher, id, ops } => crate::spawn::entrust(slots.descriptor(watcher)?, id, ops.0),
            #[cfg(not(skep_stage))]
            Op::EntrustFile { watcher, id, place, file } => {
                let (watcher, file) = (slots.descriptor(watcher)?, slots.descriptor(file)?);
                crate::spawn::entrust_file(watcher, id, place, file)
            }
            #[cfg(not(skep_stage))]
            Op::Dismiss { watcher, id } => crate::spawn::dismiss(slots.descriptor(watcher)?, id),
            #[cfg(not(skep_stage))]
            Op::Keep { watcher, id } => crate::spawn::keep(slots.descriptor(watcher)?, id),
            #[cfg(not(skep_stage))]
            Op::Ask { server, file, request, into } => {
                let (server, file) = (slots.descriptor(server)?, file.map(|file| slots.descriptor(file)).transpose()?);
                match conversation::consult(server, request.0, file)? {
                    Some(came) => fill(slots, into, came),
                    None => Ok(()),
                }
            }

            #[cfg(skep_stage)]
            Op::Exec { programs, arguments, environment } => self.exec(programs, arguments, environment),
            #[cfg(skep_stage)]
            Op::ExecAt { program, arguments, environment } => {
                let file = slot(program, slots)?;
                let (arguments, environment) = self.pointers(arguments, environment)?;
                done(ask(
                    nr::EXECVEAT,
                    [file, Word::text(c""), arguments, environment, Word::number(u64::from(TreeFlags::EMPTY_PATH.0))],
                ))
            }
            #[cfg(skep_stage)]
            Op::Reap { payload, signals, lifeline, control, gate } => {
                let (payload, signals, lifeline) =
                    (slots.value(payload)?, slots.descriptor(signals)?, slots.descriptor(lifeline)?);
                close(slots.descriptor(control)?);
                self.shared.gate = slots.descriptor(gate)?;
                crate::init::reap(payload, signals, lifeline, self.shared)
            }
            #[cfg(skep_stage)]
            Op::Watch { socket } => crate::watch::watch(slots.descriptor(socket)?),
            #[cfg(skep_stage)]
            Op::Serve { socket } => crate::serve::serve(slots.descriptor(socket)?),
            #[cfg(skep_stage)]
            Op::Exit { status } => exit(status),
            // These would replace or end the embedder.
            #[cfg(not(skep_stage))]
            Op::Exec { .. }
            | Op::ExecAt { .. }
            | Op::Reap { .. }
            | Op::Watch { .. }
            | Op::Serve { .. }
            | Op::Exit { .. } => Err(Errno::ENOSYS),
            Op::Fail { errno } => Err(errno),
        }
    }
}

fn slot<'a>(place: Slot, slots: &Slots<'_>) -> Result<Word<'a>, Errno> {
    slots.descriptor(place).map(Word::descriptor)
}

fn at<'a>(dir: At, slots: &Slots<'_>) -> Result<Word<'a>, Errno> {
    match dir {
        At::Cwd => Ok(Word::CWD),
        At::Slot(place) => slot(place, slots),
    }
}

/// Puts a new descriptor into a slot, which lets go of what it held.
fn fill(slots: &mut Slots<'_>, into: Slot, file: i32) -> Result<(), Errno> {
    match slots.put(into, Cell::Descriptor(file)) {
        Ok(Cell::Descriptor(old)) => {
            close(old);
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(errno) => {
            close(file);
            Err(errno)
        }
    }
}

fn fill_pair(slots: &mut Slots<'_>, into: [Slot; 2], files: [i32; 2]) -> Result<(), Errno> {
    let first = fill(slots, into[0], files[0]);
    fill(slots, into[1], files[1]).and(first)
}

/// BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE
#[cfg(not(skep_stage))]
fn bpf_device(program: &[u8]) -> Result<i32, Errno> {
    let count = u32::try_from(program.len() / 8).map_err(|_| Errno::E2BIG)?;
    // union bpf_attr: prog_type, insn_cnt, insns, license, log_level,
    // log_size, log_buf, kern_version, prog_flags.
    let attr = [15 | u64::from(count) << 32, Word::bytes(program).0 as u64, Word::text(c"MIT").0 as u64, 0, 0, 0];
    // The descriptor is close-on-exec from its birth.
    let file = ask(nr::BPF, [Word::number(5), Word::of(&attr), Word::number(size_of_val(&attr) as u64)])?;
    Ok(file as i32)
}

/// Whether `kinds` may go to `clone3` for a start: the cgroup namespace waits
/// for the cgroup, the time namespace for its offsets.
#[cfg(not(skep_stage))]
pub(crate) const fn cloneable(kinds: abi::Namespaces) -> abi::Namespaces {
    kinds.without(abi::Namespaces::CGROUP).without(abi::Namespaces::TIME)
}
