//! The real kernel.
//!
//! This file is compiled twice: into the library, and into stage B, where
//! nothing may allocate, lock, unwind or touch a thread-local. It holds to
//! that in both.

use core::ffi::CStr;
use core::marker::PhantomData;

use crate::abi::{self, CapData, CapHeader, CapabilitySet, MountAttr, OpenHow, SecureBits, TreeFlags};
use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Report, Slots, WaitStatus};
use crate::message::{receive, report, send};
use crate::op::{At, Op, Proof, Slot};
use crate::raw::{nr, syscall};
use crate::terminal;
use crate::wire::{Numbers, Secret, Strings};

/// One argument word of a system call: a number, or the address of memory
/// that is borrowed for as long as the word lives.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a>(pub(crate) usize, PhantomData<&'a ()>);

impl<'a> Word<'a> {
    pub(crate) const NULL: Self = Self(0, PhantomData);
    pub(crate) const CWD: Self = Self(-100_isize as usize, PhantomData);

    pub(crate) const fn number(value: u64) -> Self {
        Self(value as usize, PhantomData)
    }
    pub(crate) const fn descriptor(value: i32) -> Self {
        Self(value as isize as usize, PhantomData)
    }
    pub(crate) fn text(value: &'a CStr) -> Self {
        Self(value.as_ptr().expose_provenance(), PhantomData)
    }
    pub(crate) fn bytes(value: &'a [u8]) -> Self {
        Self(value.as_ptr().expose_provenance(), PhantomData)
    }
    fn size<T>() -> Self {
        Self(size_of::<T>(), PhantomData)
    }
    pub(crate) fn of<T>(value: &'a T) -> Self {
        Self(core::ptr::from_ref(value).expose_provenance(), PhantomData)
    }
    /// For what the kernel writes to. `T` must be valid for any bit pattern.
    pub(crate) fn of_mut<T: Plain>(value: &'a mut T) -> Self {
        Self(core::ptr::from_mut(value).expose_provenance(), PhantomData)
    }
}

/// Types that the kernel may fill with any bytes.
pub(crate) trait Plain {}
impl Plain for i32 {}
impl Plain for u32 {}
impl<T: Plain, const N: usize> Plain for [T; N] {}
impl Plain for u8 {}
impl Plain for u64 {}
impl Plain for CapData {}

/// Makes a system call whose words are typed. Inlined: the stub init keeps no
/// code but its own.
#[inline(always)]
pub(crate) fn ask<const N: usize>(number: usize, words: [Word<'_>; N]) -> Result<usize, Errno> {
    let mut args = [0_usize; 6];
    for (arg, word) in args.iter_mut().zip(words) {
        *arg = word.0;
    }
    // SAFETY: a word is a number or the address of borrowed memory: C strings
    // end in NUL, what the kernel writes to is a `Plain` behind a unique
    // reference, lengths are passed beside what they measure. Each use in this
    // crate gives the call the words that its man page asks for; descriptors
    // come from slots, whose table owns them.
    #[allow(unsafe_code)]
    unsafe {
        syscall(number, args)
    }
}

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
    /// Addresses and lengths of the plan's two mappings, which the stub init
    /// lets go of.
    #[cfg(skep_stage)]
    plan: [[usize; 2]; 2],
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
            plan: [[0; 2]; 2],
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
    pub(crate) const fn with(scratch: &'s mut [usize], plan: [[usize; 2]; 2]) -> Self {
        Self { scratch, plan, default_signals: false }
    }
}

const O_CLOEXEC: u64 = 0o2_000_000;
const O_NOCTTY: u64 = 0o400;
const SOCK_CLOEXEC: u64 = 0o2_000_000;

/// Resolution for writes through a proved handle: nothing but plain
/// components of the same mount.
const PROVED: u64 = 0x01 | 0x02 | 0x04 | 0x08;

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

            Op::OpenTree { dir, path, flags, into } => {
                let flags = u64::from(flags.0) | O_CLOEXEC;
                let tree = ask(nr::OPEN_TREE, [at(dir, slots)?, Word::text(path), Word::number(flags)])?;
                fill(slots, into, tree as i32)
            }
            Op::FsOpen { kind, into } => {
                let context = ask(nr::FSOPEN, [Word::text(kind), Word::number(1)])?;
                fill(slots, into, context as i32)
            }
            Op::FsString { fs, key, value } => fsconfig(slot(fs, slots)?, 1, Word::text(key), Word::text(value)),
            Op::FsFlag { fs, key } => fsconfig(slot(fs, slots)?, 0, Word::text(key), Word::NULL),
            Op::FsCreate { fs } => fsconfig(slot(fs, slots)?, 6, Word::NULL, Word::NULL),
            Op::FsMount { fs, attrs, into } => {
                let mount = ask(nr::FSMOUNT, [slot(fs, slots)?, Word::number(1), Word::number(attrs.0)])?;
                fill(slots, into, mount as i32)
            }
            Op::MoveMount { from, dir, path } => {
                // MOVE_MOUNT_F_EMPTY_PATH, and T_EMPTY_PATH when onto the descriptor itself.
                let flags = 0x4 | if path.is_empty() { 0x40 } else { 0 };
                done(ask(
                    nr::MOVE_MOUNT,
                    [slot(from, slots)?, Word::text(c""), at(dir, slots)?, Word::text(path), Word::number(flags)],
                ))
            }
            Op::MountSetAttr { dir, path, flags, set, clear, propagation, userns } => {
                let userns = match userns {
                    Some(place) => slots.descriptor(place)? as u64,
                    None => 0,
                };
                let attr = MountAttr { set: set.0, clear: clear.0, propagation: propagation.0, userns };
                done(ask(
                    nr::MOUNT_SETATTR,
                    [
                        at(dir, slots)?,
                        Word::text(path),
                        Word::number(u64::from(flags.0)),
                        Word::of(&attr),
                        Word::size::<MountAttr>(),
                    ],
                ))
            }
            Op::PivotRoot {} => done(ask(nr::PIVOT_ROOT, [Word::text(c"."), Word::text(c".")])),
            // MNT_DETACH
            Op::UmountOld {} => done(ask(nr::UMOUNT2, [Word::text(c"."), Word::number(2)])),
            Op::ProveRoot {} => {
                // STATX_MNT_ID, since Linux 5.8; stx_mnt_id follows the devices.
                let mount = |path| {
                    let mut stat = Statx { words: [0; 64] };
                    let words =
                        [Word::CWD, Word::text(path), Word::NULL, Word::number(0x1000), Word::of_mut(&mut stat)];
                    ask(nr::STATX, words).map(|_| [stat.words[36], stat.words[37], stat.words[0] & 0x1000])
                };
                let (root, parent) = (mount(c"/")?, mount(c"/..")?);
                if root == parent && root[2] != 0 { Ok(()) } else { Err(Errno::ESTALE) }
            }
            Op::Chdir { path } => {
                ask(nr::CHDIR, [Word::text(path)])?;
                let mut name = [0_u8; 16];
                let answer = ask(nr::GETCWD, [Word::of_mut(&mut name), Word::number(16)]);
                // A long name starts with '/' as well, but does not fit: ERANGE.
                // "(unreachable)" does fit up to "(unreachable)/", and a longer
                // one is told apart by walking to "/" below.
                match answer {
                    Ok(_) if name.first() == Some(&b'/') => Ok(()),
                    Ok(_) => Err(Errno::ELOOP),
                    Err(Errno::ERANGE) => reachable(),
                    Err(errno) => Err(errno),
                }
            }
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
            | Op::IdMapHelper { .. }
            | Op::MapNamespace { .. }
            | Op::BpfDevice { .. }
            | Op::BpfAttach { .. }
            | Op::LockIds { .. }
            | Op::ReleaseIds { .. }
            | Op::PidfdOpen { .. }
            | Op::Freeze { .. } => Err(Errno::ENOSYS),
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
                let checked = prove(dir, Proof::FileSystem { magic: abi::fs_magic::PROC })
                    .and_then(|()| signal(slots.descriptor(pidfd)?, 0));
                checked.inspect_err(|_| close(dir))?;
                fill(slots, into, dir)
            }
            #[cfg(not(skep_stage))]
            Op::PidfdOpen { pid, into } => {
                let file = ask(nr::PIDFD_OPEN, [Word::number(slots.value(pid)?), Word::NULL])?;
                fill(slots, into, file as i32)
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
                done(ask(nr::SETGROUPS, [Word::number(groups.len() as u64), Word::bytes(groups.bytes())]))
            }
            Op::SetResGid { gid } => done(ask(nr::SETRESGID, [Word::number(u64::from(gid)); 3])),
            Op::SetResUid { uid } => done(ask(nr::SETRESUID, [Word::number(u64::from(uid)); 3])),
            Op::DropBounding { keep } => drop_bounding(keep),
            Op::CapSet { effective, permitted, inheritable } => {
                let header = CapHeader { version: abi::CAP_VERSION, pid: 0 };
                let data = CapData {
                    effective_low: effective.0 as u32,
                    permitted_low: permitted.0 as u32,
                    inheritable_low: inheritable.0 as u32,
                    effective_high: (effective.0 >> 32) as u32,
                    permitted_high: (permitted.0 >> 32) as u32,
                    inheritable_high: (inheritable.0 >> 32) as u32,
                };
                done(ask(nr::CAPSET, [Word::of(&header), Word::of(&data)]))
            }
            Op::AmbientSet { capabilities } => {
                prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_CLEAR_ALL, 0])?;
                (0..64_u8)
                    .filter(|number| capabilities.has(*number))
                    .try_for_each(|number| prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_RAISE, u64::from(number)]).map(drop))
            }
            Op::SetSecureBits { bits } => prctl(PR_SET_SECUREBITS, [u64::from(bits.0), 0]).map(drop),
            Op::NoNewPrivs {} => prctl(PR_SET_NO_NEW_PRIVS, [1, 0]).map(drop),
            Op::DenyWriteExecute {} => prctl(PR_SET_MDWE, [PR_MDWE_REFUSE_EXEC_GAIN, 0]).map(drop),
            Op::Dumpable { on } => prctl(PR_SET_DUMPABLE, [u64::from(on), 0]).map(drop),
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
                #[repr(C)]
                struct Program<'p> {
                    length: u16,
                    filter: *const u8,
                    borrow: PhantomData<&'p [u8]>,
                }
                let length = u16::try_from(program.0.len() / 8).map_err(|_| Errno::EINVAL)?;
                let filter = Program { length, filter: program.0.as_ptr(), borrow: PhantomData };
                let result = ask(nr::SECCOMP, [Word::number(1), Word::number(u64::from(flags.0)), Word::of(&filter)])?;
                match listener {
                    Some(into) => fill(slots, into, result as i32),
                    // With TSYNC a thread id would come back; without, 0.
                    None if result == 0 => Ok(()),
                    None => Err(Errno::EINVAL),
                }
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
                let attr = [file_access, net_access, scoped];
                // Older kernels take a shorter structure, if the rest is 0.
                let size = if scoped != 0 {
                    24
                } else if net_access != 0 {
                    16
                } else {
                    8
                };
                let ruleset = ask(nr::LANDLOCK_CREATE_RULESET, [Word::of(&attr), Word::number(size), Word::NULL])?;
                fill(slots, into, ruleset as i32)
            }
            Op::LandlockPath { ruleset, parent, access } => {
                #[repr(C, packed)]
                struct PathBeneath {
                    access: u64,
                    parent: i32,
                }
                let (ruleset, parent) = (slot(ruleset, slots)?, slots.descriptor(parent)?);
                let add = |access| {
                    let rule = PathBeneath { access, parent };
                    done(ask(nr::LANDLOCK_ADD_RULE, [ruleset, Word::number(1), Word::of(&rule), Word::NULL]))
                };
                let of_files = access & crate::abi::landlock::ON_FILES;
                match add(access) {
                    Err(Errno::EINVAL) if of_files != access && of_files != 0 => add(of_files),
                    result => result,
                }
            }
            Op::LandlockPort { ruleset, port, access } => {
                let rule = [access, u64::from(port)];
                done(ask(nr::LANDLOCK_ADD_RULE, [slot(ruleset, slots)?, Word::number(2), Word::of(&rule), Word::NULL]))
            }
            Op::LandlockRestrict { ruleset } => {
                done(ask(nr::LANDLOCK_RESTRICT_SELF, [slot(ruleset, slots)?, Word::NULL]))
            }

            Op::SetLimit { resource, soft, hard } => {
                let limit = [soft, hard];
                done(ask(
                    nr::PRLIMIT64,
                    [Word::NULL, Word::number(u64::from(resource.0)), Word::of(&limit), Word::NULL],
                ))
            }
            Op::HostName { name } => {
                done(ask(nr::SETHOSTNAME, [Word::text(name), Word::number(name.count_bytes() as u64)]))
            }
            Op::DomainName { name } => {
                done(ask(nr::SETDOMAINNAME, [Word::text(name), Word::number(name.count_bytes() as u64)]))
            }
            // KEYCTL_JOIN_SESSION_KEYRING, anonymous
            Op::SessionKeyring {} => {
                done(ask(nr::KEYCTL, [Word::number(1), Word::NULL, Word::NULL, Word::NULL, Word::NULL]))
            }
            Op::Umask { mode } => done(ask(nr::UMASK, [Word::number(u64::from(mode))])),
            Op::SetSid {} => done(ask(nr::SETSID, [])),
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
            Op::SocketPair { one, other } => {
                let mut pair = [0_i32; 2];
                // AF_UNIX, SOCK_SEQPACKET
                ask(
                    nr::SOCKETPAIR,
                    [Word::number(1), Word::number(5 | SOCK_CLOEXEC), Word::NULL, Word::of_mut(&mut pair)],
                )?;
                fill_pair(slots, [one, other], pair)
            }
            Op::Pipe { read, write } => {
                let mut pair = [0_i32; 2];
                ask(nr::PIPE2, [Word::of_mut(&mut pair), Word::number(O_CLOEXEC)])?;
                fill_pair(slots, [read, write], pair)
            }
            Op::Socket { family, kind, into } => {
                let kind = u64::from(kind) | SOCK_CLOEXEC;
                let socket = ask(nr::SOCKET, [Word::number(u64::from(family)), Word::number(kind), Word::NULL])?;
                fill(slots, into, socket as i32)
            }
            Op::SocketOption { socket, level, name, value } => done(ask(
                nr::SETSOCKOPT,
                [
                    slot(socket, slots)?,
                    Word::number(u64::from(level)),
                    Word::number(u64::from(name)),
                    Word::of(&value),
                    Word::number(4),
                ],
            )),
            Op::Bind { socket, path } => {
                let mut address = [0_u8; 110];
                let text = path.to_bytes();
                // sun_family, then the path with its NUL.
                address[..2].copy_from_slice(&1_u16.to_ne_bytes());
                let room = address.get_mut(2..).unwrap_or_default();
                let target = room.get_mut(..text.len()).filter(|_| text.len() < 108).ok_or(Errno::ENAMETOOLONG)?;
                target.copy_from_slice(text);
                done(ask(nr::BIND, [slot(socket, slots)?, Word::of(&address), Word::number(3 + text.len() as u64)]))
            }
            Op::LinkUp { socket, name } => {
                let mut request = [0_u8; 40];
                let text = name.to_bytes();
                let target = request.get_mut(..text.len()).filter(|_| text.len() < 16).ok_or(Errno::ENAMETOOLONG)?;
                target.copy_from_slice(text);
                // SIOCGIFFLAGS, IFF_UP, SIOCSIFFLAGS
                let socket = slot(socket, slots)?;
                ask(nr::IOCTL, [socket, Word::number(0x8913), Word::of_mut(&mut request)])?;
                request[16] |= 1;
                done(ask(nr::IOCTL, [socket, Word::number(0x8914), Word::of_mut(&mut request)]))
            }
            Op::SignalFd { into } => {
                let every = u64::MAX;
                let file = ask(
                    nr::SIGNALFD4,
                    [Word::descriptor(-1), Word::of(&every), Word::number(8), Word::number(O_CLOEXEC)],
                )?;
                fill(slots, into, file as i32)
            }

            Op::Release { to } => match send(slots.descriptor(to)?, b"g", None) {
                Err(Errno::EPIPE | Errno::ECONNRESET) => Err(Errno::ECANCELED),
                other => other,
            },
            Op::Arrive { to } => report(slots.descriptor(to)?, Report::Waiting),
            Op::Announce { to } => report(slots.descriptor(to)?, Report::Marker),
            Op::Await { from } => {
                let mut byte = [0_u8; 1];
                match receive(slots.descriptor(from)?, &mut byte) {
                    Ok((1, None)) if byte == *b"g" => Ok(()),
                    Ok((_, file)) => {
                        file.into_iter().for_each(close);
                        Err(Errno::ECANCELED)
                    }
                    Err(Errno::ECONNRESET) => Err(Errno::ECANCELED),
                    Err(errno) => Err(errno),
                }
            }
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
            Op::Reap { payload, signals, lifeline } => crate::init::reap(
                slots.value(payload)?,
                slots.descriptor(signals)?,
                slots.descriptor(lifeline)?,
                self.plan,
            ),
            #[cfg(skep_stage)]
            Op::Watch { socket } => crate::watch::watch(slots.descriptor(socket)?),
            #[cfg(skep_stage)]
            Op::Exit { status } => exit(status),
            // These would replace or end the embedder.
            #[cfg(not(skep_stage))]
            Op::Exec { .. } | Op::ExecAt { .. } | Op::Reap { .. } | Op::Watch { .. } | Op::Exit { .. } => {
                Err(Errno::ENOSYS)
            }
            Op::Fail { errno } => Err(errno),
        }
    }
}

#[cfg_attr(not(skep_stage), allow(dead_code, reason = "only stage B executes"))]
impl Linux<'_> {
    /// `execve` of the first program that exists. As `execvp(3)`: a program
    /// that may not be executed is passed over, and named if none follows.
    fn exec(&mut self, programs: Strings<'_>, arguments: Strings<'_>, environment: Secret<'_>) -> Result<(), Errno> {
        let (arguments, environment) = self.pointers(arguments, environment)?;
        let mut verdict = Errno::ENOENT;
        for program in programs.iter() {
            match ask(nr::EXECVE, [Word::text(program), arguments, environment]) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => verdict = Errno::EACCES,
                Err(errno) => return Err(errno),
            }
        }
        Err(verdict)
    }

    /// The two null-ended lists of pointers, in the scratch.
    fn pointers(&mut self, arguments: Strings<'_>, environment: Secret<'_>) -> Result<(Word<'_>, Word<'_>), Errno> {
        let environment = environment.0;
        let needed = arguments.len() + environment.len() + 2;
        let room = self.scratch.get_mut(..needed).ok_or(Errno::E2BIG)?;
        let strings = arguments.iter().map(|text| text.as_ptr().expose_provenance());
        let words = strings
            .chain(core::iter::once(0))
            .chain(environment.iter().map(|text| text.as_ptr().expose_provenance()))
            .chain(core::iter::once(0));
        for (place, word) in room.iter_mut().zip(words) {
            *place = word;
        }
        let (first, second) = room.split_at_checked(arguments.len() + 1).ok_or(Errno::E2BIG)?;
        let list = |words: &[usize]| Word(words.as_ptr().expose_provenance(), PhantomData);
        Ok((list(first), list(second)))
    }
}

const PR_SET_DUMPABLE: u64 = 4;
const PR_CAPBSET_READ: u64 = 23;
const PR_CAPBSET_DROP: u64 = 24;
const PR_GET_SECUREBITS: u64 = 27;
const PR_SET_SECUREBITS: u64 = 28;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const PR_GET_NO_NEW_PRIVS: u64 = 39;
const PR_CAP_AMBIENT: u64 = 47;
const PR_SET_MDWE: u64 = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: u64 = 1;
const PR_CAP_AMBIENT_IS_SET: u64 = 1;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;

fn prctl(option: u64, [one, two]: [u64; 2]) -> Result<usize, Errno> {
    ask(nr::PRCTL, [Word::number(option), Word::number(one), Word::number(two), Word::NULL, Word::NULL])
}

fn done(result: Result<usize, Errno>) -> Result<(), Errno> {
    result.map(drop)
}

fn tolerate(result: Result<usize, Errno>, tolerated: &[Errno]) -> Result<(), Errno> {
    match result {
        Err(errno) if tolerated.contains(&errno) => Ok(()),
        other => done(other),
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

/// Whatever `close(2)` answers, the descriptor is gone.
pub(crate) fn close(file: i32) {
    let _ = ask(nr::CLOSE, [Word::descriptor(file)]);
}

pub(crate) fn openat2(dir: Word<'_>, path: &CStr, how: &OpenHow) -> Result<i32, Errno> {
    let mut tries = 0;
    loop {
        let result = ask(nr::OPENAT2, [dir, Word::text(path), Word::of(how), Word::size::<OpenHow>()]);
        match result {
            // EAGAIN: a rename elsewhere made a scoped walk uncertain (openat2(2)).
            Err(Errno::EAGAIN | Errno::EINTR) if tries < 64 => tries += 1,
            other => return other.map(|file| file as i32),
        }
    }
}

/// A device by its name in a directory of devices.
pub(crate) fn open_device(dir: i32, name: &CStr) -> Result<i32, Errno> {
    // O_RDWR
    openat2(Word::descriptor(dir), name, &OpenHow { flags: 0o2 | O_CLOEXEC | O_NOCTTY, mode: 0, resolve: PROVED })
}

pub(crate) fn open_to_write(dir: Word<'_>, path: &CStr) -> Result<i32, Errno> {
    // O_WRONLY|O_NOFOLLOW
    let no_follow = u64::from(abi::OpenFlags::NO_FOLLOW.0);
    openat2(dir, path, &OpenHow { flags: 0o1 | no_follow | O_CLOEXEC | O_NOCTTY, mode: 0, resolve: PROVED })
}

fn open_process(pid: u64) -> Result<i32, Errno> {
    let mut path = [0_u8; 32];
    let (mut digits, prefix) = ([0_u8; 20], b"/proc/");
    let digits = decimal(pid, &mut digits);
    let bytes = prefix.iter().chain(digits);
    path.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EINVAL)?;
    // O_PATH|O_DIRECTORY; no link, or somebody else's /proc.
    let flags = u64::from(abi::OpenFlags::PATH.with(abi::OpenFlags::DIRECTORY).0);
    openat2(Word::CWD, path, &OpenHow { flags: flags | O_CLOEXEC, mode: 0, resolve: 0x2 | 0x4 })
}

/// Writes the whole of `content` with one call: files of the kernel take
/// their value in one piece.
pub(crate) fn write_and_close(file: i32, content: &[u8]) -> Result<(), Errno> {
    let words = [Word::descriptor(file), Word::bytes(content), Word::number(content.len() as u64)];
    let written = loop {
        match if content.is_empty() { Ok(0) } else { ask(nr::WRITE, words) } {
            // Some files of cgroup v1 give up when the embedder gets a signal.
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    close(file);
    match written {
        Ok(count) if count == content.len() => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(errno) => Err(errno),
    }
}

fn write_all(file: i32, mut content: &[u8]) -> Result<(), Errno> {
    while !content.is_empty() {
        let length = Word::number(content.len() as u64);
        match ask(nr::WRITE, [Word::descriptor(file), Word::bytes(content), length]) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => content = content.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
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

fn memfd(name: &CStr, flags: u64) -> Result<i32, Errno> {
    ask(nr::MEMFD_CREATE, [Word::text(name), Word::number(flags)]).map(|file| file as i32)
}

/// EFBIG where a file of `length` bytes is above the caller's limit: it counts
/// for memfds, and the write itself would bring SIGXFSZ upon the embedder.
fn may_write(length: usize) -> Result<(), Errno> {
    let mut limit = [u64::MAX; 2];
    // RLIMIT_FSIZE
    let words = [Word::NULL, Word::number(1), Word::NULL, Word::of_mut(&mut limit)];
    ask(nr::PRLIMIT64, words)?;
    if length as u64 > limit[0] { Err(Errno::EFBIG) } else { Ok(()) }
}

fn add_seals(file: i32, seals: u32) -> Result<(), Errno> {
    if seals == 0 {
        return Ok(());
    }
    // F_ADD_SEALS
    done(ask(nr::FCNTL, [Word::descriptor(file), Word::number(1033), Word::number(u64::from(seals))]))
}

fn fsconfig(fs: Word<'_>, command: u64, key: Word<'_>, value: Word<'_>) -> Result<(), Errno> {
    done(ask(nr::FSCONFIG, [fs, Word::number(command), key, value, Word::NULL]))
}

fn unlink(dir: Word<'_>, path: &CStr, directory: bool) -> Result<(), Errno> {
    // AT_REMOVEDIR
    let flags = if directory { 0x200 } else { 0 };
    let mut tries = 0;
    loop {
        match ask(nr::UNLINKAT, [dir, Word::text(path), Word::number(flags)]) {
            Ok(_) | Err(Errno::ENOENT) => return Ok(()),
            // A cgroup is busy until its last process is fully gone.
            Err(Errno::EBUSY) if directory && tries < 1000 => {
                let pause = [0_u64, 1_000_000];
                let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
                tries += 1;
            }
            Err(errno) => return Err(errno),
        }
    }
}

const fn makedev(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | ((major & 0xfff) << 8)) as u64 | ((minor & !0xff) as u64) << 12
}

/// Decimal digits of `value`, at the end of `buffer`.
pub(crate) fn decimal(value: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let (mut rest, mut start) = (value, buffer.len());
    for place in buffer.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        start -= 1;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// After `chdir`: whether the working directory lies beneath the root. A name
/// of up to 4096 bytes that starts with "(" does not.
fn reachable() -> Result<(), Errno> {
    let mut name = [0_u8; 4096];
    ask(nr::GETCWD, [Word::of_mut(&mut name), Word::number(4096)])?;
    if name.first() == Some(&b'/') { Ok(()) } else { Err(Errno::ELOOP) }
}

/// `struct statx` up to the device numbers.
#[repr(C)]
pub(crate) struct Statx {
    words: [u32; 64],
}
impl Plain for Statx {}

pub(crate) fn prove(file: i32, proof: Proof) -> Result<(), Errno> {
    let holds = match proof {
        Proof::FileSystem { magic } => {
            let mut answer = [0_u64; 16];
            ask(nr::FSTATFS, [Word::descriptor(file), Word::of_mut(&mut answer)])?;
            answer[0] == magic
        }
        Proof::Inode { device, inode } => {
            let stat = statx(file)?;
            stat.device() == device && stat.inode() == inode
        }
        Proof::CharDevice { major, minor } => {
            let stat = statx(file)?;
            stat.kind() == 0o020_000 && stat.words[32] == major && stat.words[33] == minor
        }
        Proof::BlockDevice { major, minor } => {
            let stat = statx(file)?;
            stat.kind() == 0o060_000 && stat.words[32] == major && stat.words[33] == minor
        }
        Proof::Passable => {
            // F_GETFL, O_PATH
            let flags = ask(nr::FCNTL, [Word::descriptor(file), Word::number(3), Word::NULL])?;
            flags & abi::OpenFlags::PATH.0 as usize == 0 && statx(file)?.kind() != 0o040_000
        }
        Proof::Namespace { kind } => {
            let mut answer = [0_u64; 16];
            ask(nr::FSTATFS, [Word::descriptor(file), Word::of_mut(&mut answer)])?;
            // NSFS_MAGIC first: on other files the number may mean something else.
            answer[0] == 0x6e73_6673 && ask(nr::IOCTL, [Word::descriptor(file), Word::number(0xb703)])? as u64 == kind.0
        }
        Proof::OwnDirectory { uid, private } => {
            let (stat, others) = (statx(file)?, if private { 0o077 } else { 0o022 });
            stat.kind() == 0o040_000 && stat.uid() == uid && stat.mode() & others == 0
        }
        Proof::OwnedByRoot => {
            let stat = statx(file)?;
            stat.kind() == 0o100_000 && stat.uid() == 0 && stat.mode() & 0o022 == 0
        }
    };
    if holds { Ok(()) } else { Err(Errno::ESTALE) }
}

impl Statx {
    #[cfg(not(skep_stage))]
    pub(crate) const fn links(&self) -> u32 {
        self.words[4]
    }
    pub(crate) const fn uid(&self) -> u32 {
        self.words[5]
    }
    /// `stx_mode` is the low half of the word after `stx_gid`.
    pub(crate) const fn mode(&self) -> u32 {
        self.words[7] & 0xffff
    }
    pub(crate) const fn kind(&self) -> u32 {
        self.mode() & 0o170_000
    }
    pub(crate) const fn inode(&self) -> u64 {
        self.words[8] as u64 | (self.words[9] as u64) << 32
    }
    pub(crate) const fn device(&self) -> u64 {
        makedev(self.words[34], self.words[35])
    }
}

pub(crate) fn statx(file: i32) -> Result<Statx, Errno> {
    let mut stat = Statx { words: [0; 64] };
    // AT_EMPTY_PATH, STATX_BASIC_STATS
    ask(
        nr::STATX,
        [Word::descriptor(file), Word::text(c""), Word::number(0x1000), Word::number(0x7ff), Word::of_mut(&mut stat)],
    )?;
    Ok(stat)
}

fn drop_bounding(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..64_u8 {
        if keep.has(number) {
            continue;
        }
        match prctl(PR_CAPBSET_DROP, [u64::from(number), 0]) {
            Ok(_) => {}
            // Beyond the last capability of this kernel. Below any that was
            // kept it would be a lie, and the proof of credentials finds it.
            Err(Errno::EINVAL) if number > 0 => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
struct Credentials {
    ids: [u32; 6],
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    bounding: CapabilitySet,
    ambient: CapabilitySet,
    securebits: SecureBits,
    no_new_privs: bool,
}

impl Credentials {
    fn read() -> Result<Self, Errno> {
        let (mut uids, mut gids) = ([[0_u32; 1]; 3], [[0_u32; 1]; 3]);
        let [real, effective, saved] = &mut uids;
        ask(nr::GETRESUID, [Word::of_mut(real), Word::of_mut(effective), Word::of_mut(saved)])?;
        let [real, effective, saved] = &mut gids;
        ask(nr::GETRESGID, [Word::of_mut(real), Word::of_mut(effective), Word::of_mut(saved)])?;
        let header = CapHeader { version: abi::CAP_VERSION, pid: 0 };
        let mut data = CapData::default();
        ask(nr::CAPGET, [Word::of(&header), Word::of_mut(&mut data)])?;
        let whole = |low: u32, high: u32| CapabilitySet(u64::from(low) | u64::from(high) << 32);
        let (mut bounding, mut ambient) = (CapabilitySet::EMPTY, CapabilitySet::EMPTY);
        for number in 0..64_u8 {
            match prctl(PR_CAPBSET_READ, [u64::from(number), 0]) {
                Ok(0) => {}
                Ok(_) => bounding = bounding.with(number),
                Err(Errno::EINVAL) => break,
                Err(errno) => return Err(errno),
            }
            if prctl(PR_CAP_AMBIENT, [PR_CAP_AMBIENT_IS_SET, u64::from(number)])? != 0 {
                ambient = ambient.with(number);
            }
        }
        Ok(Self {
            ids: [uids[0][0], uids[1][0], uids[2][0], gids[0][0], gids[1][0], gids[2][0]],
            effective: whole(data.effective_low, data.effective_high),
            permitted: whole(data.permitted_low, data.permitted_high),
            inheritable: whole(data.inheritable_low, data.inheritable_high),
            bounding,
            ambient,
            securebits: SecureBits(prctl(PR_GET_SECUREBITS, [0, 0])? as u32),
            no_new_privs: prctl(PR_GET_NO_NEW_PRIVS, [0, 0])? == 1,
        })
    }
}

fn reset_signals() -> Result<(), Errno> {
    // struct sigaction with SIG_DFL: all zero.
    let default = [0_u64; 4];
    for number in 1..=64_u64 {
        // SIGKILL and SIGSTOP cannot be set.
        if number != 9 && number != 19 {
            ask(nr::RT_SIGACTION, [Word::number(number), Word::of(&default), Word::NULL, Word::number(8)])?;
        }
    }
    mask_signals(0)
}

fn mask_signals(set: u64) -> Result<(), Errno> {
    // SIG_SETMASK
    done(ask(nr::RT_SIGPROCMASK, [Word::number(2), Word::of(&set), Word::NULL, Word::number(8)]))
}

fn adopt(slots: &mut Slots<'_>) -> Result<(), Errno> {
    for cell in slots.cells_mut() {
        let Cell::Descriptor(number) = *cell else { continue };
        if number > 2 {
            // F_SETFD, FD_CLOEXEC
            ask(nr::FCNTL, [Word::descriptor(number), Word::number(2), Word::number(1)])?;
        } else {
            // F_DUPFD_CLOEXEC from 3 on; the old number is closed below.
            let moved = ask(nr::FCNTL, [Word::descriptor(number), Word::number(1030), Word::number(3)])?;
            *cell = Cell::Descriptor(moved as i32);
        }
    }
    // Close every gap between the descriptors that stay.
    let mut first = 0_u32;
    loop {
        let next = slots
            .cells()
            .iter()
            .filter_map(|cell| match cell {
                Cell::Descriptor(number) => u32::try_from(*number).ok(),
                _ => None,
            })
            .filter(|number| *number >= first)
            .min();
        let last = next.map_or(u32::MAX, |number| number.wrapping_sub(1));
        if next != Some(first) {
            ask(nr::CLOSE_RANGE, [Word::number(u64::from(first)), Word::number(u64::from(last)), Word::NULL])?;
        }
        match next {
            Some(number) => first = number.wrapping_add(1),
            None => return Ok(()),
        }
    }
}

fn vacate(slots: &mut Slots<'_>, numbers: Numbers<'_>) -> Result<(), Errno> {
    let wanted = |number: i32| numbers.iter().any(|other| other as i32 == number);
    for cell in slots.cells_mut() {
        let Cell::Descriptor(old) = *cell else { continue };
        let mut moved = old;
        while wanted(moved) {
            // F_DUPFD_CLOEXEC from the next one on: what is wanted and free is
            // not taken, and so is passed over by the next try.
            let from = Word::number(u64::from(moved as u32).wrapping_add(1));
            let next = ask(nr::FCNTL, [Word::descriptor(old), Word::number(1030), from])? as i32;
            if moved != old {
                close(moved);
            }
            moved = next;
        }
        if moved != old {
            close(old);
            *cell = Cell::Descriptor(moved);
        }
    }
    Ok(())
}

pub(crate) fn signal(pidfd: i32, number: u8) -> Result<(), Errno> {
    done(ask(nr::PIDFD_SEND_SIGNAL, [Word::descriptor(pidfd), Word::number(u64::from(number)), Word::NULL, Word::NULL]))
}

/// The monotonic clock, in nanoseconds.
fn now() -> Result<u64, Errno> {
    let mut time = [0_u64; 2];
    // CLOCK_MONOTONIC
    ask(nr::CLOCK_GETTIME, [Word::number(1), Word::of_mut(&mut time)])?;
    Ok(time[0].saturating_mul(1_000_000_000).saturating_add(time[1]))
}

const READABLE: u32 = 1;
pub(crate) const WRITABLE: u32 = 4;
/// POLLHUP need not be asked for (`poll(2)`).
const HANG_UP: u32 = 0;

/// Waits for one of `events` or the other end's close; ETIMEDOUT after
/// `timeout_ms` (for ever when that is `u32::MAX`), however many signals the
/// embedder gets meanwhile.
pub(crate) fn wait_for(file: i32, events: u32, timeout_ms: u32) -> Result<(), Errno> {
    wait_for_either(file, events, -1, timeout_ms)
}

/// As [`wait_for`]; ECANCELED as soon as `cancel` can be read, if it is not -1.
fn wait_for_either(file: i32, events: u32, cancel: i32, timeout_ms: u32) -> Result<(), Errno> {
    let mut left = u64::from(timeout_ms).saturating_mul(1_000_000);
    let end = now()?.saturating_add(left);
    loop {
        let mut poll = [file as u32, events, cancel as u32, READABLE];
        let limit = [left / 1_000_000_000, left % 1_000_000_000];
        let limit = if timeout_ms == u32::MAX { Word::NULL } else { Word::of(&limit) };
        match ask(nr::PPOLL, [Word::of_mut(&mut poll), Word::number(2), limit, Word::NULL, Word::NULL]) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            // revents, in the upper half.
            Ok(_) if poll[3] >> 16 != 0 => return Err(Errno::ECANCELED),
            Err(Errno::EINTR) => left = end.saturating_sub(now()?),
            other => return done(other),
        }
    }
}

/// Waits for the process behind a pidfd, and only for that one.
fn wait(pidfd: i32, timeout_ms: u32) -> Result<WaitStatus, Errno> {
    wait_for(pidfd, READABLE, timeout_ms)?;
    // siginfo_t: si_signo, si_errno, si_code, pad, si_pid, si_uid, si_status
    let mut info = [0_u32; 32];
    // P_PIDFD, WEXITED|WNOHANG
    let words = [Word::number(3), Word::descriptor(pidfd), Word::of_mut(&mut info), Word::number(4 | 1), Word::NULL];
    match ask(nr::WAITID, words) {
        // si_pid 0: not waitable yet, which the poll above excluded.
        Ok(_) if info[4] == 0 => Err(Errno::EAGAIN),
        // CLD_EXITED
        Ok(_) if info[2] == 1 => Ok(WaitStatus::Exited(info[6] as u8)),
        Ok(_) => Ok(WaitStatus::Signaled(info[6] as u8)),
        Err(Errno::ECHILD) => Ok(exit_record(pidfd)),
        Err(errno) => Err(errno),
    }
}

/// Waits for a child that is ending, and takes its status away.
#[cfg(not(skep_stage))]
pub(crate) fn bury(pidfd: i32) {
    // P_PIDFD, WEXITED
    let words = [Word::number(3), Word::descriptor(pidfd), Word::NULL, Word::number(4), Word::NULL];
    while ask(nr::WAITID, words) == Err(Errno::EINTR) {}
}

#[cfg(not(skep_stage))]
fn end_group(pidfd: i32, pid: u64) -> Result<(), Errno> {
    // A child that was not waited for keeps its number; and never all (kill(2)).
    let Some(group) = i32::try_from(pid).ok().filter(|group| *group > 1) else { return Err(Errno::EINVAL) };
    if signal(pidfd, 0).is_err() {
        return Ok(());
    }
    let kill = Word::number(u64::from(abi::signal::KILL));
    tolerate(ask(nr::KILL, [Word::descriptor(-group), kill]), &[Errno::ESRCH])?;
    for _ in 0..2000 {
        let mut info = [0_u32; 32];
        // P_PGID, WEXITED|WNOHANG: who is stopped by a v1 freezer does not end.
        let words =
            [Word::number(2), Word::descriptor(group), Word::of_mut(&mut info), Word::number(4 | 1), Word::NULL];
        match ask(nr::WAITID, words) {
            Ok(_) if info[4] == 0 => {
                let pause = [0_u64, 1_000_000];
                let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // No more.
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ETIMEDOUT)
}

/// What the kernel remembers of a process that somebody else reaped
/// (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15).
fn exit_record(pidfd: i32) -> WaitStatus {
    const EXIT: u64 = 1 << 3;
    let mut gone = false;
    for _ in 0..10_000 {
        // struct pidfd_info, version 0: mask, cgroupid, ten ids, exit_code.
        let mut info = [EXIT, 0, 0, 0, 0, 0, 0, 0];
        let words = [Word::descriptor(pidfd), Word::number(0xc040_ff0b), Word::of_mut(&mut info)];
        match ask(nr::IOCTL, words) {
            // It looks for the record before it looks for the process: between
            // the two the one may come and the other go.
            Err(Errno::ESRCH) if !gone => {
                gone = true;
                continue;
            }
            Err(_) => break,
            Ok(_) => {}
        }
        if info[0] & EXIT != 0 {
            let status = (info[7] >> 32) as u32;
            return match status & 0x7f {
                0 => WaitStatus::Exited((status >> 8) as u8),
                signal => WaitStatus::Signaled(signal as u8),
            };
        }
        // Whoever reaps takes it from us a moment before the kernel has made
        // the record (`wait_task_zombie`, `release_task`).
        let pause = [0_u64, 50_000];
        let _ = ask(nr::NANOSLEEP, [Word::of(&pause), Word::NULL]);
    }
    WaitStatus::Lost
}

#[cfg(skep_stage)]
#[inline(always)]
pub(crate) fn exit(status: u8) -> ! {
    loop {
        let _ = ask(nr::EXIT_GROUP, [Word::number(u64::from(status))]);
    }
}

/// Whether `kinds` may go to `clone3` for a start: the cgroup namespace waits
/// for the cgroup, the time namespace for its offsets.
#[cfg(not(skep_stage))]
pub(crate) const fn cloneable(kinds: abi::Namespaces) -> abi::Namespaces {
    kinds.without(abi::Namespaces::CGROUP).without(abi::Namespaces::TIME)
}
