//! Sections of ops, the one interpreter, and the image that crosses to stage B.

use core::fmt;

use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Slots};
use crate::op::{Op, Slot};
use crate::wire::Reader;

/// A run of ops, numbered from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Section<'a> {
    /// Index of the first op in the whole plan.
    pub first: u32,
    /// The ops in flat form.
    pub ops: &'a [u8],
}

impl<'a> Section<'a> {
    /// The ops with their index. Ends early with `None` where the bytes are
    /// not an op; [`run`] makes that an error.
    pub fn iter(self) -> impl Iterator<Item = (u32, Option<Op<'a>>)> {
        let mut reader = Reader::new(self.ops);
        let mut index = self.first;
        core::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let op = Op::read(&mut reader);
            if op.is_none() {
                reader = Reader::new(&[]);
            }
            let at = index;
            index = index.wrapping_add(1);
            Some((at, op))
        })
    }
}

/// Op by op: in the bytes a secret would stand as it is.
impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// An op failed: what a child reports in two numbers, and what the embedder
/// makes an error of, with the plan at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its index in the plan.
    pub op: u32,
    /// Why.
    pub errno: Errno,
}

/// Runs the ops of `section` in order on `kernel`: the only interpreter.
///
/// `progress` hears the index of every op before it is performed.
///
/// # Errors
///
/// The first op that fails; nothing after it is performed. EBADMSG where the
/// bytes are not an op.
pub fn run<K: Kernel>(
    kernel: &mut K,
    section: Section<'_>,
    slots: &mut Slots<'_>,
    progress: &mut impl FnMut(u32),
) -> Result<(), Failure> {
    each(kernel, section.iter(), slots, progress)
}

fn each<'a, K: Kernel>(
    kernel: &mut K,
    ops: impl Iterator<Item = (u32, Option<Op<'a>>)>,
    slots: &mut Slots<'_>,
    progress: &mut impl FnMut(u32),
) -> Result<(), Failure> {
    for (index, op) in ops {
        progress(index);
        let result = match op {
            Some(op) => kernel.call(&op, slots),
            None => Err(Errno::EBADMSG),
        };
        if let Err(errno) = result {
            return Err(Failure { op: index, errno });
        }
    }
    Ok(())
}

/// What stage B runs: the child's three sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child<'a> {
    /// From the first instruction in the namespaces to the root switch and on.
    pub enter: Section<'a>,
    /// The last steps and the exec, by the payload's process: B itself, or
    /// its child when `enter` ends in [`Op::Fork`].
    pub payload: Section<'a>,
    /// What B does after the fork: becomes the stub init.
    pub init: Section<'a>,
}

/// The child's half of a start, on any kernel. Returns only when an op failed
/// or the last section has no exec at its end.
///
/// # Errors
///
/// As [`run`].
pub fn run_child<K: Kernel>(
    kernel: &mut K,
    child: &Child<'_>,
    slots: &mut Slots<'_>,
    progress: &mut impl FnMut(u32),
) -> Result<(), Failure> {
    run(kernel, child.enter, slots, progress)?;
    match fork_slot(child) {
        Some(pid) if slots.get(pid) != Cell::Value(0) => run(kernel, child.init, slots, progress),
        _ => run(kernel, child.payload, slots, progress),
    }
}

/// The slot that tells the two sides of the fork apart, if there is a fork.
#[must_use]
pub fn fork_slot(child: &Child<'_>) -> Option<Slot> {
    match child.enter.iter().last() {
        Some((_, Some(Op::Fork { pid } | Op::Sibling { pid, .. }))) => Some(pid),
        _ => None,
    }
}

/// The header of the image: words at fixed places.
pub(crate) mod header {
    pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"skep-B1\0");
    pub(crate) const WORDS: usize = 16;
    pub(crate) const BYTES: usize = WORDS * 8;
    pub(crate) const PROGRESS: usize = 2;
    pub(crate) const CELLS: usize = 3;
    pub(crate) const REPORT: usize = 4;
    pub(crate) const SCRATCH: usize = 5;
    /// first, offset, length of each section.
    pub(crate) const SECTIONS: usize = 6;
}

/// How much a watcher keeps.
pub mod watched {
    use crate::kernel::Cell;

    /// Containers.
    pub const ENTRIES: usize = 16 * 1024;
    /// Bytes of each, in the watcher's table.
    pub(crate) const ENTRY: usize = 16 * 1024;
    /// Slots that the ops of one container may use.
    pub const PLACES: usize = 8;
    /// Bytes of the ops of one container.
    pub const OPS: usize = ENTRY - 24 - PLACES * Cell::SIZE;
}

/// Where stage B writes its progress into its plan: the index of the op that
/// it is at, plus one.
#[cfg(not(skep_stage))]
pub const PROGRESS_OFFSET: u64 = (header::PROGRESS * 8) as u64;

/// Writes the image that stage B maps.
///
/// Layout: header, cells, scratch for pointer lists, ops. `report` is the slot
/// of the socket on which B reports.
#[cfg(not(skep_stage))]
#[must_use]
pub fn image(child: &Child<'_>, cells: usize, report: Slot) -> Vec<u8> {
    let scratch = pointer_words(child);
    let sections = [child.enter, child.payload, child.init];
    let mut offset = header::BYTES + cells * Cell::SIZE + scratch * 8;
    let mut words = [0_u64; header::WORDS];
    words[0] = header::MAGIC;
    words[header::CELLS] = cells as u64;
    words[header::REPORT] = u64::from(report.0);
    words[header::SCRATCH] = scratch as u64;
    for (place, section) in words[header::SECTIONS..].chunks_exact_mut(3).zip(sections) {
        place[0] = u64::from(section.first);
        place[1] = offset as u64;
        place[2] = section.ops.len() as u64;
        offset += section.ops.len();
    }
    words[1] = offset as u64;
    let mut bytes: Vec<u8> = Vec::with_capacity(offset);
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.resize(header::BYTES + cells * Cell::SIZE + scratch * 8, 0);
    for section in sections {
        bytes.extend_from_slice(section.ops);
    }
    bytes
}

/// Words that the largest `execve` of the plan needs for its two lists of
/// pointers, each ending in null. `enter` has none: it ends in the payload's
/// section, or in a fork. (One that were there would fail with E2BIG.)
#[cfg(not(skep_stage))]
fn pointer_words(child: &Child<'_>) -> usize {
    [child.payload, child.init]
        .into_iter()
        .flat_map(Section::iter)
        .filter_map(|(_, op)| match op? {
            Op::Exec { arguments, environment, .. } | Op::ExecAt { arguments, environment, .. } => {
                Some(arguments.len() + environment.0.len() + 2)
            }
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

/// Who performs an op, in a rehearsal: on Linux three processes, here three
/// names for them.
#[cfg(not(skep_stage))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Actor {
    /// The embedding process.
    Host,
    /// Stage B, later the stub init if there is one.
    Child,
    /// The payload's own process under a stub init.
    Payload,
}

/// A kernel that can play every process of a start.
#[cfg(not(skep_stage))]
pub trait Stage: Kernel {
    /// The next ops are performed by `actor`.
    fn act_as(&mut self, actor: Actor);
}

/// The whole of a start, in one thread and in total order, on a kernel that
/// plays all processes: what a start on Linux does, spread over processes.
///
/// # Errors
///
/// The first op that fails, whoever performs it.
#[cfg(not(skep_stage))]
pub fn rehearse<K: Stage>(
    kernel: &mut K,
    prepare: Section<'_>,
    attend: Section<'_>,
    child: &Child<'_>,
    slots: &mut Slots<'_>,
) -> Result<(), Failure> {
    let quiet = &mut |_| {};
    kernel.act_as(Actor::Host);
    run(kernel, prepare, slots, quiet)?;
    let mut inherited = slots.cells().to_vec();
    run(kernel, attend, slots, quiet)?;
    // A child that waits once more is let go once more.
    let waits = child.enter.iter().filter(|(_, op)| matches!(op, Some(Op::Await { .. }))).count();
    if let Some((at, Some(release @ Op::Release { .. }))) = attend.iter().last() {
        for _ in 1..waits {
            kernel.call(&release, slots).map_err(|errno| Failure { op: at, errno })?;
        }
    }
    kernel.act_as(Actor::Child);
    let slots = &mut Slots::new(&mut inherited);
    run(kernel, child.enter, slots, quiet)?;
    if fork_slot(child).is_some() {
        let mut copied = slots.cells().to_vec();
        let copied = &mut Slots::new(&mut copied);
        // Where the payload waits for a word of the stub init, that comes first.
        let word = child.init.iter().position(|(_, op)| matches!(op, Some(Op::Release { .. })));
        let before = word.map_or(0, |word| word + 1);
        let wait = child.payload.iter().position(|(_, op)| matches!(op, Some(Op::Await { .. })));
        let alone = wait.unwrap_or(0);
        kernel.act_as(Actor::Payload);
        each(kernel, child.payload.iter().take(alone), copied, quiet)?;
        kernel.act_as(Actor::Child);
        each(kernel, child.init.iter().take(before), slots, quiet)?;
        kernel.act_as(Actor::Payload);
        each(kernel, child.payload.iter().skip(alone), copied, quiet)?;
        kernel.act_as(Actor::Child);
        each(kernel, child.init.iter().skip(before), slots, quiet)
    } else {
        run(kernel, child.payload, slots, quiet)
    }
}
