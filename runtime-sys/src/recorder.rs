//! A kernel that writes down what was asked of it.

use core::fmt;
use std::collections::BTreeMap;

use crate::errno::Errno;
use crate::kernel::{Cell, Kernel, Report, Slots, WaitStatus};
use crate::op::{Op, OpKind, Slot};
use crate::program::{Actor, Stage};
use crate::wire::Reader;

/// One call: who asked what, and what the answer was.
///
/// It prints as a line of `strace`, and never shows a [`crate::wire::Secret`].
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Who asked.
    pub actor: Actor,
    /// The kind of op.
    pub kind: OpKind,
    /// The op, printed.
    pub op: String,
    /// The op in flat form, secrets included.
    pub bytes: Vec<u8>,
    /// The answer.
    pub result: Result<(), Errno>,
}

impl Record {
    /// The op, read back from its flat form.
    #[must_use]
    pub fn read(&self) -> Option<Op<'_>> {
        Op::read(&mut Reader::new(&self.bytes))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = match self.actor {
            Actor::Host => "host",
            Actor::Child => "child",
            Actor::Payload => "payload",
        };
        write!(f, "{actor:<7} {} = ", self.op)?;
        match self.result {
            Ok(()) => f.write_str("0"),
            Err(errno) => write!(f, "-1 {errno}"),
        }
    }
}

/// As it prints, because the flat form may hold secrets.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes down every call, in total order over all kinds of op and all
/// processes, and passes it on to another kernel.
///
/// ```
/// use skep_sys::{Cell, Kernel, Op, Recorder, Slots};
///
/// let mut recorder = Recorder::new();
/// let mut cells = [Cell::Empty; 4];
/// let mut slots = Slots::new(&mut cells);
/// recorder.call(&Op::Umask { mode: 0o22 }, &mut slots)?;
/// recorder.call(&Op::NoNewPrivs {}, &mut slots)?;
/// assert_eq!(recorder.to_string(), "host    umask(mode=18) = 0\nhost    no_new_privs() = 0\n");
/// assert_eq!(recorder.ops().next(), Some(Op::Umask { mode: 0o22 }));
/// # Ok::<(), skep_sys::Errno>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recorder<K = Yes> {
    inner: K,
    actor: Actor,
    records: Vec<Record>,
}

impl Recorder<Yes> {
    /// Records what is asked of a kernel that agrees to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::around(Yes::new())
    }
}

impl Default for Recorder<Yes> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Recorder<K> {
    /// Records what is asked of `kernel`, and its answers.
    pub const fn around(kernel: K) -> Self {
        Self { inner: kernel, actor: Actor::Host, records: Vec::new() }
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Every op so far, in order, whoever asked and whatever came of it.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        self.records.iter().filter_map(Record::read)
    }

    /// The kernel behind the recording.
    pub const fn inner(&self) -> &K {
        &self.inner
    }

    /// The kernel behind the recording.
    pub const fn inner_mut(&mut self) -> &mut K {
        &mut self.inner
    }

    /// Ends the recording.
    pub fn into_parts(self) -> (K, Vec<Record>) {
        (self.inner, self.records)
    }
}

impl<K> fmt::Display for Recorder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.records.iter().try_for_each(|record| writeln!(f, "{record}"))
    }
}

impl<K: Kernel> Kernel for Recorder<K> {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        let result = self.inner.call(op, slots);
        let mut bytes = Vec::new();
        op.write(&mut bytes);
        self.records.push(Record { actor: self.actor, kind: op.kind(), op: op.to_string(), bytes, result });
        result
    }
}

impl<K: Stage> Stage for Recorder<K> {
    fn act_as(&mut self, actor: Actor) {
        self.actor = actor;
        self.inner.act_as(actor);
    }
}

/// A kernel that agrees to everything and does nothing.
///
/// Slots get descriptors that count up from 3. A process that is waited for
/// has ended well; a report that is waited for is first the marker, then the
/// end of the connection.
///
/// ```
/// use skep_sys::{Cell, Kernel, Op, Slot, Slots, Yes};
///
/// let mut cells = [Cell::Empty; 1];
/// let mut slots = Slots::new(&mut cells);
/// Yes::new().call(&Op::FsOpen { kind: c"tmpfs", into: Slot(0) }, &mut slots)?;
/// assert_eq!(slots.get(Slot(0)), Cell::Descriptor(3));
/// # Ok::<(), skep_sys::Errno>(())
/// ```
#[derive(Clone, Debug)]
pub struct Yes {
    descriptor: i32,
    pid: u64,
    actor: Actor,
    forked: Option<Slot>,
    reports: BTreeMap<Slot, Report>,
}

impl Default for Yes {
    fn default() -> Self {
        Self::new()
    }
}

impl Yes {
    /// A new one, with no descriptor handed out yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { descriptor: 3, pid: 1000, actor: Actor::Host, forked: None, reports: BTreeMap::new() }
    }

    fn hand_out(&mut self, into: Slot, slots: &mut Slots<'_>) -> Result<(), Errno> {
        slots.put(into, Cell::Descriptor(self.descriptor))?;
        self.descriptor += 1;
        Ok(())
    }
}

impl Kernel for Yes {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        if self.actor == Actor::Payload
            && let Some(pid) = self.forked.take()
        {
            // The payload's side of the fork sees 0.
            slots.put(pid, Cell::Value(0))?;
        }
        match *op {
            Op::OpenAt2 { into, .. }
            | Op::MemFd { into, .. }
            | Op::OpenTree { into, .. }
            | Op::FsOpen { into, .. }
            | Op::FsMount { into, .. }
            | Op::OpenProcess { into, .. }
            | Op::LandlockRuleset { into, .. }
            | Op::Socket { into, .. }
            | Op::MapNamespace { into, .. }
            | Op::BpfDevice { into, .. }
            | Op::Inherit { into, .. }
            | Op::LoopDevice { into, .. }
            | Op::NetlinkSocket { into, .. }
            | Op::SignalFd { into } => self.hand_out(into, slots),
            Op::Seccomp { listener, .. } => listener.map_or(Ok(()), |into| self.hand_out(into, slots)),
            Op::SocketPair { one: first, other: second } | Op::Pipe { read: first, write: second } => {
                self.hand_out(first, slots)?;
                self.hand_out(second, slots)
            }
            Op::OpenTerminal { master, peer, .. } => {
                self.hand_out(master, slots)?;
                self.hand_out(peer, slots)
            }
            Op::LandlockVersion { into } => slots.put(into, Cell::Value(7)).map(drop),
            Op::KeyCapabilities { into } => slots.put(into, Cell::Value(2)).map(drop),
            Op::TerminalSize { into, .. } => slots.put(into, Cell::Value(24 << 16 | 80)).map(drop),
            Op::ReceiveCall { into, .. } => {
                (into.0..).take(10).try_for_each(|place| slots.put(Slot(place), Cell::Value(0)).map(drop))
            }
            Op::Close { file } => slots.put(file, Cell::Empty).map(drop),
            Op::Spawn { pidfd, pid, .. } => {
                self.hand_out(pidfd, slots)?;
                self.pid += 1;
                slots.put(pid, Cell::Value(self.pid)).map(drop)
            }
            Op::Fork { pid } => {
                self.forked = Some(pid);
                slots.put(pid, Cell::Value(2)).map(drop)
            }
            Op::Sibling { pid, pidfd } => {
                self.forked = Some(pid);
                self.hand_out(pidfd, slots)?;
                slots.put(pid, Cell::Value(2)).map(drop)
            }
            Op::PidfdWait { into, .. } => slots.put(into, Cell::Value(WaitStatus::Exited(0).to_value())).map(drop),
            Op::Receive { from, into, .. } => {
                let report = self.reports.insert(from, Report::Closed).unwrap_or(Report::Marker);
                slots.put(into, Cell::Value(report.to_value())).map(drop)
            }
            // An op under test that stands for a failure is still one.
            Op::Fail { errno } => Err(errno),
            _ => Ok(()),
        }
    }
}

impl Stage for Yes {
    fn act_as(&mut self, actor: Actor) {
        self.actor = actor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::At;
    use crate::program::{Child, Section, rehearse};
    use crate::wire::{Secret, Strings};

    fn flat(ops: &[Op<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.write(&mut bytes));
        bytes
    }

    #[test]
    fn a_rehearsal_is_recorded_in_total_order_with_its_actors() {
        let enter = flat(&[Op::SetSid {}, Op::Fork { pid: Slot(2) }]);
        let payload = flat(&[Op::NoNewPrivs {}]);
        let init = flat(&[Op::Umask { mode: 0 }]);
        let prepare = flat(&[Op::SocketPair { one: Slot(0), other: Slot(1) }]);
        let attend = flat(&[Op::Release { to: Slot(0) }]);
        let section = |ops| Section { first: 0, ops };
        let child = Child { enter: section(&enter), payload: section(&payload), init: section(&init) };
        let mut recorder = Recorder::new();
        let mut cells = [Cell::Empty; 4];
        rehearse(&mut recorder, section(&prepare), section(&attend), &child, &mut Slots::new(&mut cells)).unwrap();
        let told: Vec<_> = recorder.records().iter().map(|record| (record.actor, record.kind)).collect();
        assert_eq!(
            told,
            [
                (Actor::Host, OpKind::SocketPair),
                (Actor::Host, OpKind::Release),
                (Actor::Child, OpKind::SetSid),
                (Actor::Child, OpKind::Fork),
                (Actor::Payload, OpKind::NoNewPrivs),
                (Actor::Child, OpKind::Umask),
            ]
        );
        assert_eq!(cells[..2], [Cell::Descriptor(3), Cell::Descriptor(4)]);
    }

    #[test]
    fn what_was_recorded_reads_back_and_secrets_do_not_print() {
        let (programs, environment) = (Strings::new(b"/x\0").unwrap(), Strings::new(b"KEY=hunter2\0").unwrap());
        let exec = Op::Exec { programs, arguments: programs, environment: Secret(environment) };
        let mut recorder = Recorder::new();
        recorder.call(&exec, &mut Slots::new(&mut [])).unwrap();
        assert_eq!(recorder.ops().collect::<Vec<_>>(), [exec]);
        assert!(!format!("{recorder} {recorder:?}").contains("hunter2"));
        assert!(recorder.to_string().contains("KEY"));
    }

    #[test]
    fn failures_of_the_kernel_behind_are_recorded_too() {
        let mut recorder = Recorder::new();
        let fail = Op::Fail { errno: Errno::ENOSPC };
        assert_eq!(recorder.call(&fail, &mut Slots::new(&mut [])), Err(Errno::ENOSPC));
        let open = Op::OpenTree { dir: At::Cwd, path: c"/", flags: Default::default(), into: Slot(3) };
        assert_eq!(recorder.call(&open, &mut Slots::new(&mut [])), Err(Errno::EMFILE));
        assert_eq!(recorder.records()[1].result, Err(Errno::EMFILE));
        assert!(recorder.to_string().starts_with("host    fail(errno=ENOSPC (no space left on device)) = -1 ENOSPC"));
    }

    #[test]
    fn reports_and_statuses_are_plausible() {
        let mut cells = [Cell::Empty; 3];
        let mut slots = Slots::new(&mut cells);
        let mut kernel = Yes::new();
        for expected in [Report::Marker, Report::Closed, Report::Closed] {
            kernel
                .call(
                    &Op::Receive {
                        from: Slot(0),
                        timeout_ms: 1,
                        early: false,
                        cancel: None,
                        file: Slot(2),
                        into: Slot(1),
                    },
                    &mut slots,
                )
                .unwrap();
            assert_eq!(slots.value(Slot(1)).map(Report::from_value), Ok(expected));
        }
        kernel.call(&Op::PidfdWait { process: Slot(0), timeout_ms: 1, into: Slot(2) }, &mut slots).unwrap();
        assert_eq!(slots.value(Slot(2)).map(WaitStatus::from_value), Ok(WaitStatus::Exited(0)));
    }
}
