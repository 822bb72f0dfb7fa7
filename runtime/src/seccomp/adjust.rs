//! A profile's policy with what a caller changes of it.

use std::collections::BTreeSet;

use super::families;
use super::floor::is_floor;
use super::groups::group;
use super::policy::{Action, Clause, Condition, EAFNOSUPPORT, Policy, Rule, Test};
use super::table::exists_somewhere;
use crate::spec::{Socket, Sockets, SystemCalls};

/// What writes data out, and whether its first argument is a descriptor.
pub(crate) const SYNC: &[(&str, bool)] = &[
    ("fdatasync", true),
    ("fsync", true),
    ("msync", false),
    ("sync", false),
    ("sync_file_range", true),
    ("sync_file_range2", true),
    ("syncfs", true),
];

/// `O_DSYNC`, and the bit that `O_SYNC` has beside it: the same everywhere.
const WRITE_THROUGH: [u64; 2] = [0o10_000, 0o4_000_000];

/// `EINVAL`: what a file system says that does not know a flag.
const EINVAL: u16 = 22;

/// What is wrong with a change, and the item that it is about.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdjustError {
    /// No Linux has such a call, and no list such a group.
    #[error("\"{}\" is neither a system call nor a group of them", crate::Escaped::new(.0).short())]
    Unknown(String),
    /// A call that is opened by name only.
    #[error("{0} is not opened in passing: it has led out of containers, or is allowed but for some arguments")]
    Floor(String),
    /// A group where a single call must stand.
    #[error("{0} is a group: what is dangerous is named call by call")]
    Group(String),
    /// A group of which everything is of the floor.
    #[error("{0} holds nothing but calls that are named one by one")]
    Empty(String),
    /// A call that two lists name.
    #[error("{0} is to be answered by a listener, and another list names it too")]
    Twice(String),
    /// A call that must be made before there is anybody to answer.
    #[error("{0} is made by the start itself after the filter: nobody could answer it in time")]
    Start(String),
    /// A call that the start itself makes after the filter, and the item that denies it.
    #[error("{0} cannot be denied: the start itself calls {1} after the filter")]
    Needed(String, String),
}

impl AdjustError {
    /// The item.
    #[must_use]
    pub fn item(&self) -> &str {
        match self {
            Self::Unknown(item)
            | Self::Floor(item)
            | Self::Group(item)
            | Self::Empty(item)
            | Self::Twice(item)
            | Self::Start(item)
            | Self::Needed(item, _) => item,
        }
    }
}

impl Policy {
    /// Changes the policy, for every ABI, as `calls` says. With `floor`, groups open nothing of
    /// the floor and no call that has a rule on its arguments. Gives the calls
    /// that groups name and that stay closed.
    ///
    /// # Errors
    ///
    /// An item that names nothing, or something that must be named otherwise.
    pub fn adjust(&mut self, calls: &SystemCalls, floor: bool) -> Result<Vec<&'static str>, AdjustError> {
        let mut left = self.adjust_own(calls, floor)?;
        for policy in &mut self.also {
            left.extend(policy.adjust_own(calls, floor)?);
        }
        left.sort_unstable();
        left.dedup();
        Ok(left)
    }

    fn adjust_own(&mut self, calls: &SystemCalls, floor: bool) -> Result<Vec<&'static str>, AdjustError> {
        let mut left = Vec::new();
        for item in &calls.allow {
            match group(item) {
                Some(group) => {
                    let members = group.calls(self.arch);
                    let before = left.len();
                    for call in &members {
                        // What runs anyhow is no news.
                        if self.rules.get(*call).is_some_and(Rule::permits_all) {
                            continue;
                        }
                        if floor && (is_floor(call) || self.is_guarded_by_arguments(call)) {
                            left.push(*call);
                        } else {
                            self.open(call, floor);
                        }
                    }
                    if !members.is_empty() && left.len() - before == members.len() {
                        return Err(AdjustError::Empty(item.clone()));
                    }
                }
                None if !exists_somewhere(item) => return Err(AdjustError::Unknown(item.clone())),
                None if !self.arch.has(item) => {}
                None if is_floor(item) || (floor && self.is_guarded_by_arguments(item)) => {
                    return Err(AdjustError::Floor(item.clone()));
                }
                None => self.open(item, floor),
            }
        }
        for item in &calls.danger_allow {
            if group(item).is_some() {
                return Err(AdjustError::Group(item.clone()));
            }
            if !exists_somewhere(item) {
                return Err(AdjustError::Unknown(item.clone()));
            }
            if self.arch.has(item) {
                self.open(item, floor);
            }
        }
        self.restrict_sockets(&calls.sockets);
        for (item, denial) in &calls.deny {
            if group(item).is_none() && !exists_somewhere(item) {
                return Err(AdjustError::Unknown(item.clone()));
            }
            self.set(item, denial.action());
        }
        if calls.suppress_sync {
            self.suppress_sync();
        }
        Ok(left)
    }

    /// Whether what is denied leaves the calls `own` alone.
    ///
    /// # Errors
    ///
    /// An item that denies one of them.
    pub(crate) fn spares(&self, calls: &SystemCalls, own: &[&str]) -> Result<(), AdjustError> {
        for item in calls.deny.keys() {
            let denies = |call: &&&str| match group(item) {
                Some(group) => group.calls(self.arch).contains(call),
                None => item == *call,
            };
            if let Some(call) = own.iter().find(denies) {
                return Err(AdjustError::Needed(item.clone(), (*call).to_owned()));
            }
        }
        Ok(())
    }

    /// Has a listener asked about what [`SystemCalls::notify`] says, but never
    /// about the calls `own`. Gives those of them that groups name.
    ///
    /// # Errors
    ///
    /// An item that names nothing, one of `own`, or what another list names.
    pub(crate) fn notify(
        &mut self,
        calls: &SystemCalls,
        own: &[&'static str],
    ) -> Result<Vec<&'static str>, AdjustError> {
        let mut left = self.notify_own(calls, own)?;
        for policy in &mut self.also {
            left.extend(policy.notify_own(calls, own)?);
        }
        left.sort_unstable();
        left.dedup();
        Ok(left)
    }

    fn notify_own(&mut self, calls: &SystemCalls, own: &[&'static str]) -> Result<Vec<&'static str>, AdjustError> {
        let listed: BTreeSet<&str> = [&calls.allow, &calls.danger_allow]
            .into_iter()
            .flatten()
            .chain(calls.deny.keys())
            .flat_map(|item| group(item).map_or_else(|| vec![item.as_str()], |group| group.calls(self.arch)))
            .chain((calls.sockets != Sockets::default()).then_some("socket"))
            .collect();
        let mut left = Vec::new();
        for item in &calls.notify {
            let members = match group(item) {
                Some(group) => {
                    let (kept, asked) = group.calls(self.arch).into_iter().partition(|call| own.contains(call));
                    left.extend::<Vec<_>>(kept);
                    asked
                }
                None if !exists_somewhere(item) => return Err(AdjustError::Unknown(item.clone())),
                None if own.contains(&item.as_str()) => return Err(AdjustError::Start(item.clone())),
                None if !self.arch.has(item) => Vec::new(),
                None => vec![item.as_str()],
            };
            for call in members {
                // By whatever name: what is refused there stays refused.
                let doors =
                    self.arch.spellings(call).iter().copied().chain(self.arch.parts(call).map(|(name, _)| name));
                if [call].into_iter().chain(doors).any(|name| listed.contains(name)) {
                    return Err(AdjustError::Twice(call.to_owned()));
                }
                self.set(call, Action::Notify);
            }
        }
        Ok(left)
    }

    /// Has what is allowed of [`SYNC`] do nothing and say that it is done, but for a
    /// descriptor that there cannot be; and what opens files refuse to write them through.
    fn suppress_sync(&mut self) {
        for (call, descriptor) in SYNC {
            let when =
                if *descriptor { vec![Condition::low32(0, Test::Range { min: 0, max: 0x7fff_ffff })] } else { vec![] };
            self.before(call, [Clause { when, then: Action::Errno(0) }]);
        }
        for (call, flags) in [("open", 1), ("openat", 2)] {
            let refused = |mask| Clause {
                when: vec![Condition::low32(flags, Test::MaskedEq { mask, value: mask })],
                then: Action::Errno(EINVAL),
            };
            self.before(call, WRITE_THROUGH.map(refused));
        }
    }

    /// Puts clauses before those of a call that runs.
    fn before(&mut self, call: &str, clauses: impl IntoIterator<Item = Clause>) {
        if let Some(rule) = self.rules.get(call).filter(|rule| rule.permits_all()) {
            let mut rule = rule.clone();
            rule.clauses.splice(0..0, clauses);
            self.set(call, rule);
        }
    }

    /// Allows a call. One that only some arguments refuse is allowed already
    /// in a profile without a floor, whose refusals are layers of their own.
    fn open(&mut self, call: &str, floor: bool) {
        let allowed = |rule: &Rule| !rule.clauses.is_empty() && rule.otherwise.permits();
        if floor || !self.rules.get(call).is_some_and(allowed) {
            self.set(call, Action::Allow);
        }
    }

    fn is_guarded_by_arguments(&self, call: &str) -> bool {
        self.rules.get(call).is_some_and(|rule| !rule.clauses.is_empty())
    }

    /// Refusals first, then what is opened, then the profile's own rule.
    fn restrict_sockets(&mut self, sockets: &Sockets) {
        if *sockets == Sockets::default() {
            return;
        }
        let family = |test| Condition::low32(0, test);
        let refused = Action::Errno(EAFNOSUPPORT);
        let mut clauses: Vec<Clause> = sockets
            .deny
            .iter()
            .map(|denied| Clause { when: vec![family(Test::Eq(denied.number().into()))], then: refused })
            .collect();
        if let Some(only) = &sockets.only {
            // The numbers between those that are allowed.
            let mut next = 0;
            for number in only.iter().map(|family| u64::from(family.number())) {
                if next < number {
                    clauses
                        .push(Clause { when: vec![family(Test::Range { min: next, max: number - 1 })], then: refused });
                }
                next = number + 1;
            }
            let max = u64::from(u32::MAX);
            clauses.push(Clause { when: vec![family(Test::Range { min: next, max })], then: refused });
        }
        for Socket { family: opened, protocol } in &sockets.danger_allow {
            let mut when = vec![family(Test::Eq(opened.number().into()))];
            when.extend(protocol.map(|number| Condition::low32(2, Test::Eq(number.into()))));
            clauses.push(Clause { when, then: Action::Allow });
        }
        let mut rule = self.rules.get("socket").cloned().unwrap_or_else(|| Rule::always(self.unlisted));
        clauses.append(&mut rule.clauses);
        rule.clauses = clauses;
        self.set("socket", rule);
    }
}

/// The families that a filter lets through, by name: for reports.
pub(crate) fn family_names(sockets: &Sockets) -> Option<String> {
    let only = sockets.only.as_ref()?;
    let names: Vec<&str> = only.iter().filter_map(|family| families::name(family.number())).collect();
    Some(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::super::policy::{ENOSYS, EPERM};
    use super::super::{Arch, Program, SeccompData, compile, floor, nspawn_default, strict_default};
    use super::*;
    use crate::spec::{Denial, Family};

    const ALLOW: Action = Action::Allow;
    const NO: Action = Action::Errno(EPERM);
    const NO_ANSWER: Denial = Denial::EPERM;
    const NO_FAMILY: Action = Action::Errno(EAFNOSUPPORT);

    fn set(items: &[&str]) -> std::collections::BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn calls(allow: &[&str], danger_allow: &[&str], deny: &[(&str, Denial)]) -> SystemCalls {
        let mut calls = SystemCalls::default();
        (calls.allow, calls.danger_allow) = (set(allow), set(danger_allow));
        calls.deny = deny.iter().map(|(item, denial)| ((*item).to_owned(), *denial)).collect();
        calls
    }

    /// Adjusted, and the same by the program and by the plain reading.
    fn strict(calls: &SystemCalls) -> Result<(Policy, Vec<&'static str>), AdjustError> {
        let mut policy = strict_default(Arch::X86_64);
        let left = policy.adjust(calls, true)?;
        Ok((policy, left))
    }

    fn ask(policy: &Policy, call: &str, args: [u64; 6]) -> Action {
        let program = compile(policy).unwrap();
        let data = SeccompData::new(policy.arch, policy.arch.number(call).unwrap(), args);
        assert_eq!(program.decide(&data), policy.decide(&data));
        program.decide(&data)
    }

    fn answer(calls: &SystemCalls, call: &str, args: [u64; 6]) -> Action {
        ask(&strict(calls).unwrap().0, call, args)
    }

    #[test]
    fn suppressed_sync_is_done_at_once_and_files_are_not_written_through() {
        const DONE: Action = Action::Errno(0);
        const INVALID: Action = Action::Errno(EINVAL);
        let mut changes = calls(&[], &[], &[("syncfs", Denial::EPERM)]);
        changes.suppress_sync = true;
        let read = SystemCalls { suppress_sync: true, ..SystemCalls::default() };
        for (call, args, expected) in [
            ("fsync", [3, 0, 0, 0, 0, 0], DONE),
            ("fdatasync", [0; 6], DONE),
            // The kernel says what is wrong with such a number.
            ("fsync", [u64::MAX, 0, 0, 0, 0, 0], ALLOW),
            ("fsync", [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
            ("msync", [u64::MAX, 1, 4, 0, 0, 0], DONE),
            ("sync", [0; 6], DONE),
            ("syncfs", [3, 0, 0, 0, 0, 0], NO),
            ("open", [1, 0o4_010_000, 0, 0, 0, 0], INVALID),
            ("open", [1, 0o10_000, 0, 0, 0, 0], INVALID),
            ("openat", [1, 1, 0o4_010_002, 0, 0, 0], INVALID),
            ("openat", [1, 1, 0o2, 0, 0, 0], ALLOW),
            ("openat2", [1, 1, 1, 1, 0, 0], ALLOW),
            ("write", [1, 1, 1, 1, 0, 0], ALLOW),
        ] {
            assert_eq!(answer(&changes, call, args), expected, "{call} {args:?}");
        }
        assert_eq!(answer(&read, "syncfs", [3, 0, 0, 0, 0, 0]), DONE);
        let pretended = compile(&strict(&read).unwrap().0).unwrap().pretended();
        let mut names: Vec<&str> =
            SYNC.iter().map(|(call, _)| *call).filter(|call| *call != "sync_file_range2").collect();
        names.sort_unstable();
        assert_eq!(
            pretended.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
            names
        );
    }

    #[test]
    fn what_is_allowed_denied_and_answered() {
        let changes = calls(&["@mount", "kcmp"], &["bpf"], &[("umount2", Denial::Kill), ("uname", Denial::EPERM)]);
        for (call, expected) in [
            ("mount", ALLOW),
            ("move_mount", ALLOW),
            ("umount2", Action::KillProcess),
            ("kcmp", ALLOW),
            ("bpf", ALLOW),
            ("uname", NO),
            ("perf_event_open", NO),
            ("read", ALLOW),
        ] {
            assert_eq!(answer(&changes, call, [0; 6]), expected, "{call}");
        }
        let denied = calls(&["@clock"], &[], &[("@clock", Denial::Errno(skep_sys::Errno::ENOSYS))]);
        assert_eq!(answer(&denied, "adjtimex", [0; 6]), Action::Errno(ENOSYS), "what is denied stays denied");
    }

    #[test]
    fn groups_keep_the_floor_and_rules_on_arguments() {
        let (policy, left) = strict(&calls(&["@process", "@ipc", "@network-io", "@aio", "@debug"], &[], &[])).unwrap();
        let expected = "clone clone3 io_uring_enter io_uring_register io_uring_setup perf_event_open pidfd_getfd \
             process_vm_readv process_vm_writev setns socket socketpair unshare";
        assert_eq!(left.join(" "), expected);
        assert_eq!(ask(&policy, "ptrace", [0; 6]), ALLOW);
        assert_eq!(ask(&policy, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), NO);
        assert_eq!(ask(&policy, "socket", [40, 1, 0, 0, 0, 0]), NO_FAMILY);
        assert!(floor::opened(&compile(&policy).unwrap(), Arch::X86_64).is_empty());
    }

    #[test]
    fn what_must_be_said_otherwise() {
        for (changes, error) in [
            (calls(&["moutn"], &[], &[]), AdjustError::Unknown("moutn".into())),
            (calls(&["@moutn"], &[], &[]), AdjustError::Unknown("@moutn".into())),
            (calls(&[], &["bfp"], &[]), AdjustError::Unknown("bfp".into())),
            (calls(&[], &[], &[("raed", Denial::EPERM)]), AdjustError::Unknown("raed".into())),
            (calls(&["bpf"], &[], &[]), AdjustError::Floor("bpf".into())),
            (calls(&["clone"], &[], &[]), AdjustError::Floor("clone".into())),
            (calls(&[], &["@mount"], &[]), AdjustError::Group("@mount".into())),
            (calls(&["@module"], &[], &[]), AdjustError::Empty("@module".into())),
        ] {
            assert_eq!(strict(&changes), Err(error));
        }
        // Of another processor: nothing to open, nothing to close.
        let (policy, _) = strict(&calls(&["chown32"], &["s390_sthyi"], &[("mmap2", Denial::EPERM)])).unwrap();
        compile(&policy).unwrap();
    }

    #[test]
    fn dangers_are_opened_whole_and_named() {
        let (policy, _) = strict(&calls(&[], &["clone", "io_uring_setup", "ioctl"], &[])).unwrap();
        assert_eq!(ask(&policy, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), ALLOW);
        let opened = floor::opened(&compile(&policy).unwrap(), Arch::X86_64);
        assert_eq!(opened, ["io_uring_setup", "clone", "ioctl"]);
    }

    #[test]
    fn nspawns_groups_open_all_and_its_layers_stay() {
        let mut policy = nspawn_default(Arch::X86_64, 0);
        let left = policy.adjust(&calls(&["@debug", "@module"], &["socket", "bpf"], &[]), false).unwrap();
        assert!(left.is_empty());
        for call in ["perf_event_open", "init_module", "bpf"] {
            assert_eq!(ask(&policy, call, [0; 6]), ALLOW, "{call}");
        }
        assert_eq!(ask(&policy, "socket", [16, 3, 9, 0, 0, 0]), NO_FAMILY, "the audit netlink");
    }

    #[test]
    fn socket_families() {
        let socket = |sockets: Sockets, family, protocol| {
            let changes = SystemCalls { sockets, ..SystemCalls::default() };
            answer(&changes, "socket", [family, 1, protocol, 0, 0, 0])
        };
        let only =
            |families: &[Family]| Sockets { only: Some(families.iter().copied().collect()), ..Sockets::default() };
        for family in 0..70 {
            let expected = if family == 1 || family == 10 { ALLOW } else { NO_FAMILY };
            assert_eq!(socket(only(&[Family::INET6, Family::UNIX]), family, 0), expected, "{family}");
            assert_eq!(socket(only(&[]), family, 0), NO_FAMILY, "{family}");
        }
        assert_eq!(socket(only(&[Family::UNIX]), 1 << 32 | 2, 0), NO_FAMILY, "the upper half does not count");
        assert_eq!(socket(only(&[Family::VSOCK]), 40, 0), NO_FAMILY, "a list of what stays opens nothing");
        let deny = Sockets { deny: [Family::UNIX].into(), danger_allow: [Family::UNIX.into()].into(), only: None };
        assert_eq!(socket(deny.clone(), 1, 0), NO_FAMILY);
        assert_eq!(socket(deny, 2, 0), ALLOW);
        let opened = Sockets {
            danger_allow: [Family::VSOCK.into(), Socket::new(Family::NETLINK, 9)].into(),
            ..Sockets::default()
        };
        assert_eq!(socket(opened.clone(), 40, 7), ALLOW);
        assert_eq!(socket(opened.clone(), 16, 9), ALLOW);
        assert_eq!(socket(opened.clone(), 16, 12), NO_FAMILY);
        assert_eq!(socket(opened, 2, 132), Action::Errno(super::super::EPROTONOSUPPORT));
    }

    #[test]
    fn a_listener_is_asked_about_what_no_other_list_names() {
        const OWN: &[&str] = &["write", "execve"];
        let notified = |notify: &[&str], mut calls: SystemCalls| {
            let mut policy = strict_default(Arch::X86_64);
            calls.notify = set(notify);
            policy.adjust(&calls, true).unwrap();
            policy.notify(&calls, OWN).map(|left| (policy, left))
        };
        let none = SystemCalls::default;
        let (policy, left) = notified(&["@basic-io", "mount", "clone", "chown32"], none()).unwrap();
        assert_eq!(left, ["write"]);
        for (call, expected) in
            [("read", Action::Notify), ("mount", Action::Notify), ("write", ALLOW), ("execve", ALLOW), ("bpf", NO)]
        {
            assert_eq!(ask(&policy, call, [0; 6]), expected, "{call}");
        }
        assert_eq!(ask(&policy, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), Action::Notify);
        assert_eq!(floor::opened(&compile(&policy).unwrap(), Arch::X86_64), ["clone"], "its answer may let it run");
        let sockets = SystemCalls { sockets: Sockets { only: Some([].into()), ..Sockets::default() }, ..none() };
        for (notify, calls, error) in [
            ("moutn", none(), AdjustError::Unknown("moutn".into())),
            ("@moutn", none(), AdjustError::Unknown("@moutn".into())),
            ("execve", none(), AdjustError::Start("execve".into())),
            ("mount", calls(&["@mount"], &[], &[]), AdjustError::Twice("mount".into())),
            ("@mount", calls(&[], &[], &[("umount2", NO_ANSWER)]), AdjustError::Twice("umount2".into())),
            ("bpf", calls(&[], &["bpf"], &[]), AdjustError::Twice("bpf".into())),
            ("socket", sockets, AdjustError::Twice("socket".into())),
        ] {
            assert_eq!(notified(&[notify], calls).err(), Some(error));
        }
    }

    #[test]
    fn what_the_start_calls_after_the_filter_is_not_denied() {
        let policy = strict_default(Arch::X86_64);
        for (item, own, call) in [
            ("execve", "execve", Some("execve")),
            ("@process", "prctl", Some("prctl")),
            ("@process", "write", None),
            ("mount", "write", None),
        ] {
            let expected = call.map_or(Ok(()), |call| Err(AdjustError::Needed(item.to_owned(), call.to_owned())));
            assert_eq!(policy.spares(&calls(&[], &[], &[(item, NO_ANSWER)]), &["close", own]), expected, "{item}");
        }
    }

    #[test]
    fn the_kernel_takes_what_is_made() {
        let (policy, _) = strict(&calls(&["@mount", "@debug"], &["bpf"], &[("@clock", Denial::Kill)])).unwrap();
        let program = compile(&policy).unwrap();
        assert_eq!(Program::from_bytes(&program.bytes()).map(|program| program.bytes()), Ok(program.bytes()));
        assert!(Program::from_bytes(&[0; 7]).is_err() && Program::from_bytes(&[]).is_err());
    }
}
