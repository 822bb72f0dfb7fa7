//! Stage A: from a thread of the embedder to stage B, without a copy of the
//! embedder's memory.
//!
//! The child of `clone3(CLONE_VM|CLONE_VFORK)` runs in the embedder's memory
//! while the spawning thread stands still. What it does there is not Rust: it
//! is `skep_stage_a`, a loop of some twenty instructions that makes the
//! system calls of a table prepared beforehand, the last of which is the exec
//! of stage B. So by construction it allocates nothing, takes no lock, touches
//! no thread-local (libc's `errno` is one), runs no destructor and cannot
//! unwind. `tests/real/stages.rs` disassembles it.
//!
//! * Nothing in the table can block, since the spawning thread cannot be
//!   interrupted meanwhile.
//! * Nothing in it changes ids: in shared memory that would make the embedder
//!   non-dumpable for good.
//! * `CLONE_VFORK` also keeps the kernel from choosing the embedder when a
//!   memory limit of the container's cgroup is hit before the exec.
//! * `CLONE_CLEAR_SIGHAND`: no handler of the embedder runs in the child.
#![allow(unsafe_code)]

use core::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::abi::{self, CapData, CapHeader, CloneArgs, Namespaces, TreeFlags, clone};
use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Slots};
use crate::linux::{Word, ask, bury, cloneable, close, decimal};
use crate::message::send;
use crate::op::{At, Op, Slot};
use crate::program::{self, Section, header, watched};
use crate::raw::{nr, outcome};
use crate::wire::{Blob, Numbers};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    // isize skep_stage_a(clone_args, size, table, count, verdict)
    ".pushsection .text.skep_stage_a,\"ax\",@progbits",
    ".hidden skep_stage_a",
    ".globl skep_stage_a",
    ".type skep_stage_a,@function",
    "skep_stage_a:",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "mov r12, rdx",
    "mov r13, rcx",
    "mov r14, r8",
    "mov eax, {clone3}",
    "syscall",
    "test rax, rax",
    "jz 2f",
    // The parent, after the child's exec or end.
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "ret",
    // The child, in the embedder's memory. Its stack pointer is its own, and
    // it uses no stack.
    "2:",
    "xor ebx, ebx",
    "3:",
    "cmp rbx, r13",
    "jae 4f",
    "mov rax, [r12]",
    "mov rdi, [r12 + 8]",
    "mov rsi, [r12 + 16]",
    "mov rdx, [r12 + 24]",
    "mov r10, [r12 + 32]",
    "mov r8, [r12 + 40]",
    "mov r9, [r12 + 48]",
    "syscall",
    "cmp rax, -4096",
    "ja 4f",
    "cmp qword ptr [r12], {clone3}",
    "jne 5f",
    "test rax, rax",
    "jnz 6f",
    "5:",
    "add r12, 56",
    "inc rbx",
    "jmp 3b",
    "4:",
    "mov [r14], rbx",
    "mov [r14 + 8], rax",
    "mov edi, 127",
    "jmp 7f",
    // The process in between: its child has executed, or ended.
    "6:",
    "mov [r14 + 16], rax",
    "xor edi, edi",
    "7:",
    "mov eax, {exit_group}",
    "syscall",
    "ud2",
    ".size skep_stage_a, . - skep_stage_a",
    ".popsection",
    clone3 = const nr::CLONE3,
    exit_group = const nr::EXIT_GROUP,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .text.skep_stage_a,\"ax\",@progbits",
    ".hidden skep_stage_a",
    ".globl skep_stage_a",
    ".type skep_stage_a,%function",
    "skep_stage_a:",
    "mov x9, x2",
    "mov x10, x3",
    "mov x11, x4",
    "mov x8, #{clone3}",
    "svc 0",
    "cbz x0, 2f",
    "ret",
    "2:",
    "mov x12, #0",
    "3:",
    "cmp x12, x10",
    "b.hs 4f",
    "ldr x8, [x9]",
    "ldp x0, x1, [x9, #8]",
    "ldp x2, x3, [x9, #24]",
    "ldp x4, x5, [x9, #40]",
    "svc 0",
    "cmn x0, #4095",
    "b.hs 4f",
    "cmp x8, #{clone3}",
    "b.ne 5f",
    "cbnz x0, 6f",
    "5:",
    "add x9, x9, #56",
    "add x12, x12, #1",
    "b 3b",
    "4:",
    "stp x12, x0, [x11]",
    "mov x0, #127",
    "b 7f",
    "6:",
    "str x0, [x11, #16]",
    "mov x0, #0",
    "7:",
    "mov x8, #{exit_group}",
    "svc 0",
    "brk #1",
    ".size skep_stage_a, . - skep_stage_a",
    ".popsection",
    clone3 = const nr::CLONE3,
    exit_group = const nr::EXIT_GROUP,
);

unsafe extern "C" {
    fn skep_stage_a(
        args: *const CloneArgs,
        size: usize,
        table: *const Call,
        count: usize,
        verdict: *mut Verdict,
    ) -> isize;
}

/// One prepared system call: number and six words.
#[repr(C)]
#[derive(Clone, Copy)]
struct Call([usize; 7]);

impl Call {
    fn new<const N: usize>(number: usize, words: [Word<'_>; N]) -> Self {
        let mut call = [0; 7];
        call[0] = number;
        call[1..].iter_mut().zip(words).for_each(|(place, word)| *place = word.0);
        Self(call)
    }
}

/// What the child leaves when a call of the table failed.
#[repr(C)]
struct Verdict {
    index: usize,
    result: usize,
    /// The child of a process in between.
    child: usize,
}

/// What a start wants of stage A.
pub(crate) struct Request<'a> {
    pub(crate) namespaces: Namespaces,
    pub(crate) joins: Numbers<'a>,
    pub(crate) cgroup: Option<Slot>,
    pub(crate) image: Slot,
    pub(crate) plan: Slot,
    pub(crate) keep: Numbers<'a>,
    pub(crate) ambient: abi::CapabilitySet,
}

/// A child that has executed stage B.
pub(crate) struct Child {
    pub(crate) pidfd: i32,
    pub(crate) pid: u64,
}

/// Stage B, as the build script linked it: what a start puts into a sealed
/// memfd for [`crate::Op::Spawn`].
pub static STAGE_B: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stage-b"));

pub(crate) fn spawn(request: &Request<'_>, slots: &Slots<'_>) -> Result<Child, Errno> {
    let plan = slots.descriptor(request.plan)?;
    let kept: Vec<Slot> = request.keep.iter().filter_map(|slot| u16::try_from(slot).ok().map(Slot)).collect();
    hand_over(plan, &kept, slots)?;

    // Everything below lives until this function returns, which is after the
    // child's exec (CLONE_VFORK).
    let mut digits = [0_u8; 20];
    let mut number = [0_u8; 21];
    let text = decimal(plan as u64, &mut digits);
    number.iter_mut().zip(text).for_each(|(place, digit)| *place = *digit);
    let number = CStr::from_bytes_until_nul(&number).map_err(|_| Errno::EINVAL)?;
    let arguments = [c"skep-init".as_ptr(), number.as_ptr(), core::ptr::null()];
    let environment = [core::ptr::null::<core::ffi::c_char>()];
    let header = CapHeader { version: abi::CAP_VERSION, pid: 0 };
    let raised = abi::CapabilitySet(request.ambient.0 & abi::CapabilitySet::up_to(last_capability()).0);
    let (low, high) = (raised.0 as u32, (raised.0 >> 32) as u32);
    let capabilities = CapData {
        effective_low: low,
        permitted_low: low,
        inheritable_low: low,
        effective_high: high,
        permitted_high: high,
        inheritable_high: high,
    };

    let mut table = Vec::with_capacity(kept.len() + 70);
    let mut files = kept.iter().map(|slot| slots.descriptor(*slot)).collect::<Result<Vec<_>, _>>()?;
    files.extend([plan, slots.descriptor(request.image)?]);
    table.extend(own_table(files));
    for file in kept.iter().map(|slot| slots.descriptor(*slot)).chain([Ok(plan)]) {
        // F_SETFD 0, in the child's own descriptor table.
        table.push(Call::new(nr::FCNTL, [Word::descriptor(file?), Word::number(2), Word::NULL]));
    }
    if raised != abi::CapabilitySet::EMPTY {
        table.push(Call::new(nr::CAPSET, [Word::of(&header), Word::of(&capabilities)]));
        for capability in (0..64).filter(|number| raised.has(*number)) {
            // PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE
            let words =
                [Word::number(47), Word::number(2), Word::number(u64::from(capability)), Word::NULL, Word::NULL];
            table.push(Call::new(nr::PRCTL, words));
        }
    }
    table.push(Call::new(
        nr::EXECVEAT,
        [
            Word::descriptor(slots.descriptor(request.image)?),
            Word::text(c""),
            Word::of(&arguments),
            Word::of(&environment),
            Word::number(u64::from(TreeFlags::EMPTY_PATH.0)),
        ],
    ));
    let cgroup = request.cgroup.map(|slot| slots.descriptor(slot)).transpose()?;
    let namespaces = cloneable(request.namespaces).0 | clone::FILES;
    let numbers: Vec<u32> = request.joins.iter().collect();
    match numbers.as_chunks::<2>() {
        ([], []) => clone_and_run(namespaces, cgroup, &table),
        (joins, []) => join_and_run(joins, namespaces, cgroup, &table, slots),
        _ => Err(Errno::EINVAL),
    }
}

/// The child's first calls: a descriptor table of its own, with few but those
/// that it keeps. A plain clone copies the embedder's whole table and the exec
/// closes it again, one by one. So nothing above the last kept one is copied
/// (close_range(2), CLOSE_RANGE_UNSHARE), where the handles of containers that
/// live have theirs ([`crate::OwnedSlots::keep`]); and what was copied is closed
/// where the most is: in the widest gap between kept ones.
/// Until the first call the table is shared, and only read.
fn own_table(mut files: Vec<i32>) -> impl Iterator<Item = Call> {
    files.sort_unstable();
    let close = |from: i64, to: i64, flags: u64| {
        Call::new(nr::CLOSE_RANGE, [Word::number(from as u64), Word::number(to as u64), Word::number(flags)])
    };
    let above = files.last().map_or(0, |file| i64::from(*file) + 1);
    let below = [-1].into_iter().chain(files.iter().map(|file| i64::from(*file)));
    let between = below.zip(&files).map(|(low, high)| (low + 1, i64::from(*high) - 1));
    let widest = between.filter(|(from, to)| from <= to).max_by_key(|(from, to)| to - from);
    [close(above, i64::from(u32::MAX), 2)].into_iter().chain(widest.map(|(from, to)| close(from, to, 0)))
}

/// What a clone with shared memory is asked for.
fn clone_args(flags: u64, cgroup: Option<i32>, pidfd: &mut i32, stack: &[u128; 64]) -> CloneArgs {
    let mut args = CloneArgs {
        flags: flags | clone::VM | clone::VFORK | clone::PIDFD | clone::CLEAR_SIGHAND,
        pidfd: core::ptr::from_mut(pidfd).expose_provenance() as u64,
        exit_signal: u64::from(abi::signal::CHLD),
        stack: stack.as_ptr().expose_provenance() as u64,
        stack_size: size_of_val(stack) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= clone::INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    args
}

/// As [`clone_and_run`], by way of a process that enters namespaces first. It
/// runs the first part of the table, whose last call makes the child; that goes
/// on with the rest. Both are children of this process.
///
/// A process in a pid namespace cannot leave it, and one that has made a user
/// namespace has no rights over others: so somebody has to be where the child
/// shall be born, and it cannot be a thread of the embedder.
fn join_and_run(
    joins: &[[u32; 2]],
    namespaces: u64,
    cgroup: Option<i32>,
    table: &[Call],
    slots: &Slots<'_>,
) -> Result<Child, Errno> {
    let stack = [0_u128; 64];
    let mut pidfd = -1_i32;
    // From another cgroup namespace a group outside of it is out of reach (v2,
    // `nsdelegate`): then the process in between is born in it, and the child
    // has it from there.
    let away = joins.iter().any(|[_, kind]| u64::from(*kind) == Namespaces::CGROUP.0);
    let [between, own] = if away { [cgroup, None] } else { [None, cgroup] };
    let mut args = clone_args(namespaces | clone::PARENT, own, &mut pidfd, &stack);
    // The kernel takes that of the process in between.
    args.exit_signal = 0;
    let mut whole = Vec::with_capacity(joins.len() + 1 + table.len());
    for [slot, kind] in joins {
        let slot = u16::try_from(*slot).map_err(|_| Errno::EBADF)?;
        let file = slots.descriptor(Slot(slot))?;
        whole.push(Call::new(nr::SETNS, [Word::descriptor(file), Word::number(u64::from(*kind))]));
    }
    whole.push(Call::new(nr::CLONE3, [Word::of(&args), Word::number(size_of::<CloneArgs>() as u64)]));
    whole.extend(table);
    let mut verdict = Verdict { index: 0, result: 0, child: 0 };
    let mut outer_pidfd = -1_i32;
    // CLONE_FILES: the child's pidfd is to be this process's.
    let outer = clone_args(clone::FILES, between, &mut outer_pidfd, &stack);
    // SAFETY: as in `clone_and_run`, of both children: the inner one suspends
    // the outer until its exec, and the outer one this thread until its end.
    let result = unsafe {
        skep_stage_a(&raw const outer, size_of::<CloneArgs>(), whole.as_ptr(), whole.len(), &raw mut verdict)
    };
    outcome(result as usize)?;
    bury(outer_pidfd);
    close(outer_pidfd);
    let failed = outcome(verdict.result).err();
    match (verdict.child as u64, failed) {
        (0, failed) => Err(failed.unwrap_or(Errno::ECANCELED)),
        (pid, None) => Ok(Child { pidfd, pid }),
        (_, Some(errno)) => {
            bury(pidfd);
            close(pidfd);
            Err(errno)
        }
    }
}

/// Clones with shared memory and runs the table in the child.
fn clone_and_run(namespaces: u64, cgroup: Option<i32>, table: &[Call]) -> Result<Child, Errno> {
    // Never touched by the child; the kernel wants a valid one.
    let stack = [0_u128; 64];
    let mut pidfd = -1_i32;
    let args = clone_args(namespaces, cgroup, &mut pidfd, &stack);
    let mut verdict = Verdict { index: 0, result: 0, child: 0 };
    // SAFETY: the three structures, the table and all that it points to
    // outlive the call, and the call returns only when the child no longer
    // uses this memory (CLONE_VFORK). The child touches nothing but the table
    // (reading) and the verdict (writing).
    let result =
        unsafe { skep_stage_a(&raw const args, size_of::<CloneArgs>(), table.as_ptr(), table.len(), &raw mut verdict) };
    let pid = outcome(result as usize)? as u64;
    match outcome(verdict.result) {
        // The exec took place, and the verdict was never written.
        Ok(_) if verdict.index == 0 => Ok(Child { pidfd, pid }),
        failed => {
            // It has ended before its exec.
            bury(pidfd);
            close(pidfd);
            failed.and(Err(Errno::ECANCELED))
        }
    }
}

/// Writes the kept cells into the plan, at the place where stage B works.
fn hand_over(plan: i32, kept: &[Slot], slots: &Slots<'_>) -> Result<(), Errno> {
    let mut bytes = Vec::with_capacity(slots.cells().len() * Cell::SIZE);
    for (index, cell) in slots.cells().iter().enumerate() {
        let wanted = kept.iter().any(|slot| usize::from(slot.0) == index);
        bytes.extend(if wanted { *cell } else { Cell::Empty }.to_bytes());
    }
    let length = Word::number(bytes.len() as u64);
    let offset = Word::number(header::BYTES as u64);
    match ask(nr::PWRITE64, [Word::descriptor(plan), Word::bytes(&bytes), length, offset])? {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}

/// The last capability that the running kernel knows. Asked once: it cannot
/// change.
fn last_capability() -> u8 {
    use core::sync::atomic::{AtomicU8, Ordering};
    static LAST: AtomicU8 = AtomicU8::new(0);
    match LAST.load(Ordering::Relaxed) {
        0 => {
            // PR_CAPBSET_READ: EINVAL beyond the last.
            let known = |number: u8| {
                let words = [Word::number(23), Word::number(u64::from(number)), Word::NULL, Word::NULL, Word::NULL];
                ask(nr::PRCTL, words).is_ok()
            };
            // All up to the last are known, so halving finds it in six calls.
            let (mut last, mut beyond) = (0, 64);
            while beyond - last > 1 {
                let middle = (last + beyond) / 2;
                if known(middle) {
                    last = middle;
                } else {
                    beyond = middle;
                }
            }
            LAST.store(last, Ordering::Relaxed);
            last
        }
        last => last,
    }
}

/// Runs `newuidmap` or `newgidmap` to its end: absolute file, empty
/// environment, `/` for a working directory, no descriptor of the embedder.
pub(crate) fn idmap_helper(program: i32, pid: u64, map: Numbers<'_>) -> Result<(), Errno> {
    let numbers = core::iter::once(pid).chain(map.iter().map(u64::from));
    let texts: Vec<std::ffi::CString> =
        numbers.filter_map(|number| std::ffi::CString::new(number.to_string()).ok()).collect();
    let mut arguments = vec![c"idmap".as_ptr()];
    arguments.extend(texts.iter().map(|text| text.as_ptr()));
    arguments.push(core::ptr::null());
    let arguments: &[_] = &arguments;
    let environment = [core::ptr::null::<core::ffi::c_char>()];
    let below = program.checked_sub(1).filter(|last| *last >= 0);
    let mut table = vec![Call::new(nr::CHDIR, [Word::text(c"/")])];
    table.extend(below.map(|last| Call::new(nr::CLOSE_RANGE, [Word::NULL, Word::descriptor(last), Word::NULL])));
    table.push(Call::new(
        nr::CLOSE_RANGE,
        [Word::number(program as u64 + 1), Word::number(u64::from(u32::MAX)), Word::NULL],
    ));
    let list = arguments.as_ptr().expose_provenance() as u64;
    table.push(Call::new(
        nr::EXECVEAT,
        [
            Word::descriptor(program),
            Word::text(c""),
            Word::number(list),
            Word::of(&environment),
            Word::number(u64::from(TreeFlags::EMPTY_PATH.0)),
        ],
    ));
    let child = clone_and_run(0, None, &table)?;
    let mut cells = [Cell::Descriptor(child.pidfd), Cell::Empty];
    let mut slots = Slots::new(&mut cells);
    let wait = crate::op::Op::PidfdWait { process: Slot(0), timeout_ms: 10_000, into: Slot(1) };
    let waited = crate::kernel::Kernel::call(&mut crate::linux::Linux::new(), &wait, &mut slots);
    if waited.is_err() && crate::linux::signal(child.pidfd, abi::signal::KILL).is_ok() {
        bury(child.pidfd);
    }
    close(child.pidfd);
    waited?;
    match slots.value(Slot(1)).map(crate::kernel::WaitStatus::from_value)? {
        crate::kernel::WaitStatus::Exited(0) => Ok(()),
        _ => Err(Errno::EPERM),
    }
}

/// Makes a user namespace with these maps, by a process that executes stage B
/// in it, waits there until the maps are written, and is killed.
pub(crate) fn map_namespace(image: i32, uid: Numbers<'_>, gid: Numbers<'_>) -> Result<i32, Errno> {
    const IMAGE: Slot = Slot(0);
    const PLAN: Slot = Slot(1);
    const HOST: Slot = Slot(2);
    const SOCKET: Slot = Slot(3);
    const COUNT: usize = 4;
    let mut ops = Vec::new();
    for op in [Op::Adopt {}, Op::Await { from: SOCKET }] {
        op.write(&mut ops);
    }
    let none = Section { first: 0, ops: &[] };
    let waits = program::Child { enter: Section { first: 0, ops: &ops }, payload: none, init: none };
    let plan = program::image(&waits, COUNT, SOCKET);
    let mut kernel = crate::linux::Linux::new();
    let mut slots = crate::owned::OwnedSlots::new(COUNT);
    slots.give(IMAGE, duplicate(image)?);
    let make = [
        Op::MemFd { name: c"skep-plan", content: Blob(&plan), seals: abi::Seals::NONE, executable: false, into: PLAN },
        Op::SocketPair { one: HOST, other: SOCKET },
    ];
    make.iter().try_for_each(|op| kernel.call(op, &mut slots.slots()))?;
    let keep = u32::from(SOCKET.0).to_le_bytes();
    let request = Request {
        namespaces: Namespaces::USER,
        joins: Numbers::NONE,
        cgroup: None,
        image: IMAGE,
        plan: PLAN,
        keep: Numbers::new(&keep).ok_or(Errno::EINVAL)?,
        ambient: abi::CapabilitySet::EMPTY,
    };
    let child = spawn(&request, &slots.slots())?;
    let namespace = mapped(&child, uid, gid);
    let _ = crate::linux::signal(child.pidfd, abi::signal::KILL);
    bury(child.pidfd);
    close(child.pidfd);
    namespace
}

/// Writes the maps of a process that waits, and opens its user namespace.
fn mapped(child: &Child, uid: Numbers<'_>, gid: Numbers<'_>) -> Result<i32, Errno> {
    const PIDFD: Slot = Slot(0);
    const PID: Slot = Slot(1);
    const PROCESS: Slot = Slot(2);
    const NAMESPACE: Slot = Slot(3);
    let text = |map: Numbers<'_>| {
        let numbers: Vec<u32> = map.iter().collect();
        let (extents, _) = numbers.as_chunks::<3>();
        extents.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}\n")).collect::<String>()
    };
    let (uid, gid) = (text(uid), text(gid));
    let mut cells = [Cell::Descriptor(child.pidfd), Cell::Value(child.pid), Cell::Empty, Cell::Empty];
    let mut slots = Slots::new(&mut cells);
    let dir = At::Slot(PROCESS);
    let mut kernel = crate::linux::Linux::new();
    let ended = [
        Op::OpenProcess { pid: PID, pidfd: PIDFD, into: PROCESS },
        Op::Write { dir, path: c"gid_map", content: Blob(gid.as_bytes()) },
        Op::Write { dir, path: c"uid_map", content: Blob(uid.as_bytes()) },
        Op::OpenAt2 {
            dir,
            path: c"ns/user",
            flags: abi::OpenFlags::NONE,
            mode: 0,
            resolve: abi::Resolve::NONE,
            into: NAMESPACE,
        },
    ]
    .iter()
    .try_for_each(|op| kernel.call(op, &mut slots));
    if let Ok(process) = slots.descriptor(PROCESS) {
        close(process);
    }
    ended.and_then(|()| slots.descriptor(NAMESPACE))
}

/// A socket of a family and a kind (socket(2)) in another network namespace, which no
/// thread of the caller enters. It takes CAP_SYS_ADMIN.
///
/// # Errors
///
/// What the kernel answered.
pub fn socket_in(network: BorrowedFd<'_>, family: u16, kind: u8) -> Result<OwnedFd, Errno> {
    // SOCK_CLOEXEC
    let words = [Word::number(family.into()), Word::number(u64::from(kind) | 0o2_000_000), Word::number(0)];
    let socket = made_in(network.as_raw_fd(), words)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// A socket in another network namespace: a process in shared memory, with the shared
/// descriptor table, enters it, makes the socket and ends. The number is the result of
/// the table's last call.
pub(crate) fn made_in(namespace: i32, socket: [Word<'_>; 3]) -> Result<i32, Errno> {
    let table = [
        Call::new(nr::SETNS, [Word::descriptor(namespace), Word::number(Namespaces::NETWORK.0)]),
        Call::new(nr::SOCKET, socket),
    ];
    let stack = [0_u128; 64];
    let mut pidfd = -1_i32;
    let mut verdict = Verdict { index: 0, result: 0, child: 0 };
    let args = clone_args(clone::FILES, None, &mut pidfd, &stack);
    // SAFETY: as in `clone_and_run`; the child executes nothing and ends when the table does.
    let result =
        unsafe { skep_stage_a(&raw const args, size_of::<CloneArgs>(), table.as_ptr(), table.len(), &raw mut verdict) };
    outcome(result as usize)?;
    bury(pidfd);
    close(pidfd);
    outcome(verdict.result).map(|number| number as i32)
}

fn duplicate(file: i32) -> Result<OwnedFd, Errno> {
    // F_DUPFD_CLOEXEC from 3 on
    let copy = ask(nr::FCNTL, [Word::descriptor(file), Word::number(1030), Word::number(3)])?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as i32) })
}

/// Messages to the watcher: one byte of kind, the id, then the content.
pub(crate) fn entrust(watcher: i32, id: u64, ops: &[u8]) -> Result<(), Errno> {
    // It has nobody to complain to.
    if ops.len() > watched::OPS {
        return Err(Errno::E2BIG);
    }
    send(watcher, &message(b'e', id, ops), None)
}

pub(crate) fn dismiss(watcher: i32, id: u64) -> Result<(), Errno> {
    send(watcher, &message(b'd', id, &[]), None)
}

pub(crate) fn keep(watcher: i32, id: u64) -> Result<(), Errno> {
    send(watcher, &message(b'k', id, &[]), None)
}

fn message(kind: u8, id: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(id.to_le_bytes());
    bytes.extend(content);
    bytes
}

pub(crate) fn entrust_file(watcher: i32, id: u64, place: Slot, file: i32) -> Result<(), Errno> {
    if usize::from(place.0) >= watched::PLACES {
        return Err(Errno::EBADF);
    }
    send(watcher, &message(b'f', id, &place.0.to_le_bytes()), Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_child_copies_nothing_above_what_it_keeps() {
        let calls = |files: &[i32]| own_table(files.to_vec()).map(|call| call.0).collect::<Vec<_>>();
        let close = |from, to, flags| [nr::CLOSE_RANGE, from, to, flags, 0, 0, 0];
        let rest = u32::MAX as usize;
        assert_eq!(calls(&[2, 0, 1]), [close(3, rest, 2)]);
        assert_eq!(calls(&[9, 3, 4]), [close(10, rest, 2), close(5, 8, 0)]);
        assert_eq!(calls(&[3001, 1]), [close(3002, rest, 2), close(2, 3000, 0)]);
    }

    #[test]
    fn what_the_watcher_could_not_keep_is_refused() {
        let (one, _other) = UnixStream::pair().unwrap();
        let socket = one.as_raw_fd();
        assert_eq!(entrust(socket, 1, &[0; watched::OPS]), Ok(()));
        assert_eq!(entrust(socket, 1, &[0; watched::OPS + 1]), Err(Errno::E2BIG));
        assert_eq!(entrust_file(socket, 1, Slot(watched::PLACES as u16 - 1), socket), Ok(()));
        assert_eq!(entrust_file(socket, 1, Slot(watched::PLACES as u16), socket), Err(Errno::EBADF));
    }

    #[test]
    fn a_watcher_that_does_not_read_holds_nobody_up_for_ever() {
        let (one, _other) = UnixStream::pair().unwrap();
        let full = (0..10_000).find_map(|id| entrust(one.as_raw_fd(), id, &[0; watched::OPS]).err());
        assert_eq!(full, Some(Errno::ETIMEDOUT));
    }
}
