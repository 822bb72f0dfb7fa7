//! What a filter shall answer: plain data, made by hand, by a profile, or read from a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::groups::group;
use super::program::SeccompData;
use super::table::Arch;

/// `EPERM`: the answer for a call that exists and is refused.
pub const EPERM: u16 = 1;
/// `ENOSYS`: the answer for a number that stands for nothing, so that fall-backs work.
pub const ENOSYS: u16 = 38;
/// `EPROTONOSUPPORT`: a protocol refused inside an allowed socket family.
pub const EPROTONOSUPPORT: u16 = 93;
/// `EAFNOSUPPORT`: a socket family refused.
pub const EAFNOSUPPORT: u16 = 97;

/// Bit 30 of a number marks an x32 call on x86-64.
pub const X32_BIT: u32 = 0x4000_0000;

/// One answer of a filter: `SECCOMP_RET_*` of seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The call runs.
    Allow,
    /// The call runs and is written to the audit log.
    Log,
    /// The call does not run and fails with this number; 0 pretends success.
    Errno(u16),
    /// The call waits for the supervisor that holds the filter's descriptor
    /// (seccomp_unotify(2)); never a decision on memory that a pointer argument names.
    Notify,
    /// A tracer is told, with this message; without one the call fails with `ENOSYS`.
    Trace(u16),
    /// The thread gets `SIGSYS` with the details.
    Trap,
    /// The thread dies of `SIGSYS`; the rest of the process goes on.
    KillThread,
    /// The whole process dies of `SIGSYS`.
    KillProcess,
}

impl Action {
    /// The largest number that [`Action::Errno`] can carry (`MAX_ERRNO` of the kernel).
    pub const MAX_ERRNO: u16 = 4095;

    /// Whether the call runs.
    pub const fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }

    /// Whether the call runs, or may: a listener can let it go on.
    pub const fn may_permit(self) -> bool {
        self.permits() || matches!(self, Action::Notify)
    }

    /// The value a filter returns for this answer.
    pub const fn encode(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Trace(message) => 0x7ff0_0000 | message as u32,
            Action::Notify => 0x7fc0_0000,
            Action::Errno(errno) => 0x0005_0000 | errno as u32,
            Action::Trap => 0x0003_0000,
            Action::KillThread => 0x0000_0000,
            Action::KillProcess => 0x8000_0000,
        }
    }

    /// What the kernel does on a returned value; a value it does not know kills the process.
    pub const fn decode(value: u32) -> Action {
        let data = (value & 0xffff) as u16;
        match value & 0xffff_0000 {
            0x7fff_0000 => Action::Allow,
            0x7ffc_0000 => Action::Log,
            0x7ff0_0000 => Action::Trace(data),
            0x7fc0_0000 => Action::Notify,
            0x0005_0000 if data > Action::MAX_ERRNO => Action::Errno(Action::MAX_ERRNO),
            0x0005_0000 => Action::Errno(data),
            0x0003_0000 => Action::Trap,
            0x0000_0000 => Action::KillThread,
            _ => Action::KillProcess,
        }
    }
}

/// How much of an argument's register a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Width {
    /// The low 32 bits: right for every argument that the kernel declares as `int` or
    /// `unsigned int` (an ioctl command, a socket family, a mode), because it drops the
    /// upper half. Comparing all 64 bits there lets a caller pass by setting one of them
    /// (`attacks.md` row 84; CVE-2019-10063 of flatpak).
    Low32,
    /// All 64 bits: for `long` and `size_t` arguments.
    Full,
}

/// What a condition asks of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Test {
    /// It is this.
    Eq(u64),
    /// It is anything else.
    Ne(u64),
    /// Its bits under the mask are these.
    MaskedEq {
        /// The bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// It lies between the two, both included, as an unsigned number.
    Range {
        /// The lowest value.
        min: u64,
        /// The highest value.
        max: u64,
    },
}

/// One comparison of one argument. What a pointer points to is out of a filter's reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub arg: u8,
    /// How much of it.
    pub width: Width,
    /// The comparison.
    pub test: Test,
}

impl Condition {
    /// A comparison of the low 32 bits; the usual one.
    pub const fn low32(arg: u8, test: Test) -> Condition {
        Condition { arg, width: Width::Low32, test }
    }

    /// A comparison of all 64 bits.
    pub const fn full(arg: u8, test: Test) -> Condition {
        Condition { arg, width: Width::Full, test }
    }

    /// Whether the arguments satisfy it; an argument that does not exist never does.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        let Some(&register) = args.get(usize::from(self.arg)) else {
            return false;
        };
        let given = match self.width {
            Width::Low32 => register & u64::from(u32::MAX),
            Width::Full => register,
        };
        match self.test {
            Test::Eq(value) => given == value,
            Test::Ne(value) => given != value,
            Test::MaskedEq { mask, value } => given & mask == value,
            Test::Range { min, max } => (min..=max).contains(&given),
        }
    }
}

/// An answer bound to conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// All of these; none at all means always.
    pub when: Vec<Condition>,
    /// The answer then.
    pub then: Action,
}

/// The answers of one call: the first clause that holds, else the fall-back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// In order.
    #[serde(default)]
    pub clauses: Vec<Clause>,
    /// If no clause holds.
    pub otherwise: Action,
}

impl Rule {
    /// One answer whatever the arguments are.
    pub const fn always(action: Action) -> Rule {
        Rule { clauses: Vec::new(), otherwise: action }
    }

    /// The rule with one more clause after those it has.
    #[must_use]
    pub fn when(mut self, conditions: impl Into<Vec<Condition>>, then: Action) -> Rule {
        self.clauses.push(Clause { when: conditions.into(), then });
        self
    }

    /// Whether the call runs whatever its arguments are.
    pub fn permits_all(&self) -> bool {
        self.otherwise.permits() && self.clauses.iter().all(|clause| clause.then.permits())
    }

    /// The answer, if it is the same whatever the arguments are.
    pub(super) fn regardless(&self) -> Option<Action> {
        match self.clauses.first() {
            Some(clause) if clause.when.is_empty() => Some(clause.then),
            _ if self.clauses.iter().all(|clause| clause.then == self.otherwise) => Some(self.otherwise),
            _ => None,
        }
    }

    /// The answer for these arguments.
    pub fn decide(&self, args: &[u64; 6]) -> Action {
        let fits = |clause: &&Clause| clause.when.iter().all(|condition| condition.holds(args));
        self.clauses.iter().find(fits).map_or(self.otherwise, |clause| clause.then)
    }
}

impl From<Action> for Rule {
    fn from(action: Action) -> Rule {
        Rule::always(action)
    }
}

/// A whole filter as data.
///
/// A number is looked up in the table of `arch`: with a rule, the rule answers; with a name
/// but no rule, [`unlisted`](Policy::unlisted); without a name, [`unknown`](Policy::unknown).
/// x32 numbers on x86-64 get `ENOSYS`, as from a kernel built without them, unless a policy of
/// [`also`](Policy::also) is for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// The architecture whose numbers are meant.
    pub arch: Arch,
    /// The answer for calls that the table knows and no rule names.
    pub unlisted: Action,
    /// The answer for numbers that the table does not know.
    pub unknown: Action,
    /// The answer for calls made through another ABI (32-bit programs), whose numbers mean other things.
    pub foreign_abi: Action,
    /// Policies for other ABIs of the same machine, such as [`Arch::X86`]: where none of them is of the
    /// call's, `foreign_abi` answers. What they have here themselves counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Policy>,
    /// The rules, by name of the call.
    pub rules: BTreeMap<String, Rule>,
}

impl Policy {
    /// A policy without rules; another ABI kills the process.
    pub const fn new(arch: Arch, unlisted: Action, unknown: Action) -> Policy {
        Policy { arch, unlisted, unknown, foreign_abi: Action::KillProcess, also: Vec::new(), rules: BTreeMap::new() }
    }

    /// Gives a call, or each call of an `@group` that `arch` has, this rule instead of any it had.
    ///
    /// On an ABI that has the call under other names too (`mmap2` for `mmap`), those get it as well. So
    /// does its part of a multiplexer such as `socketcall`; but there the arguments lie in memory, so a
    /// rule that depends on them becomes `ENOSYS`, unless it permits whatever they are.
    ///
    /// A name that no table knows stays in the policy, and [`compile`](super::compile) judges
    /// it: reported where it would have permitted, an error where it would have refused.
    pub fn set(&mut self, item: &str, rule: impl Into<Rule>) -> &mut Policy {
        let rule = rule.into();
        match group(item) {
            Some(group) => group.calls(self.arch).into_iter().for_each(|call| self.put(call, &rule)),
            None => self.put(item, &rule),
        }
        self
    }

    fn put(&mut self, call: &str, rule: &Rule) {
        if self.arch.number(call).is_some() || !self.arch.has(call) {
            self.rules.insert(call.to_owned(), rule.clone());
        }
        for spelling in self.arch.spellings(call) {
            self.rules.insert((*spelling).to_owned(), rule.clone());
        }
        let unseen = match rule.regardless() {
            Some(answer) => answer,
            None if rule.permits_all() => Action::Allow,
            None => Action::Errno(ENOSYS),
        };
        self.put_part(call, unseen);
    }

    /// Answers for what a call is within multiplexers.
    pub(super) fn put_part(&mut self, call: &str, answer: Action) {
        for (multiplexer, number) in self.arch.parts(call) {
            let rule = self.rules.entry(multiplexer.to_owned()).or_insert_with(|| Rule::always(self.unlisted));
            let answer_of = |part| if part == number { answer } else { rule.decide(&[part, 0, 0, 0, 0, 0]) };
            let mut clauses: Vec<Clause> = Vec::new();
            // Neighbours with the same answer are one range.
            for part in self.arch.selectors(multiplexer) {
                let then = answer_of(part);
                match clauses.last_mut() {
                    Some(Clause { when, then: before }) if *before == then => {
                        if let Some(Condition { test: Test::Range { max, .. }, .. }) = when.first_mut() {
                            *max = part;
                        }
                    }
                    _ => {
                        let when = vec![Condition::low32(0, Test::Range { min: part, max: part })];
                        clauses.push(Clause { when, then });
                    }
                }
            }
            clauses.retain(|clause| clause.then != rule.otherwise);
            rule.clauses = clauses;
        }
    }

    /// Takes away the rule of a call or of each call of an `@group`: they are unlisted again.
    pub fn unset(&mut self, item: &str) -> &mut Policy {
        match group(item) {
            Some(group) => group.calls(self.arch).into_iter().for_each(|call| self.take(call)),
            None => self.take(item),
        }
        self
    }

    fn take(&mut self, call: &str) {
        for spelling in self.arch.spellings(call) {
            self.rules.remove(*spelling);
        }
        self.put_part(call, self.unlisted);
        self.rules.remove(call);
    }

    /// The answer for one call, read straight from the data: what the compiled program must equal.
    pub fn decide(&self, call: &SeccompData) -> Action {
        let policy = [self].into_iter().chain(&self.also).find(|policy| policy.arch.is_of(call));
        let Some(policy) = policy else {
            // One of the two that have the same architecture, without a policy.
            let half = [self].into_iter().chain(&self.also).any(|policy| policy.arch.audit() == call.arch);
            return if half { Action::Errno(ENOSYS) } else { self.foreign_abi };
        };
        match policy.arch.name(call.nr) {
            None => policy.unknown,
            Some(name) => policy.rules.get(name).map_or(policy.unlisted, |rule| rule.decide(&call.args)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_survive_the_kernel_encoding() {
        for action in [
            Action::Allow,
            Action::Log,
            Action::Errno(0),
            Action::Errno(Action::MAX_ERRNO),
            Action::Notify,
            Action::Trace(7),
            Action::Trap,
            Action::KillThread,
            Action::KillProcess,
        ] {
            assert_eq!(Action::decode(action.encode()), action);
        }
        assert_eq!(Action::decode(0x0005_ffff), Action::Errno(4095), "as the kernel does");
        assert_eq!(Action::decode(0x1234_0000), Action::KillProcess);
    }

    #[test]
    fn low_half_ignores_the_upper() {
        let tiocsti = Test::Eq(0x5412);
        let args = [0, 0xffff_0000_0000_5412, 0, 0, 0, 0];
        assert!(Condition::low32(1, tiocsti).holds(&args));
        assert!(!Condition::full(1, tiocsti).holds(&args));
        assert!(!Condition::low32(6, tiocsti).holds(&args));
    }

    #[test]
    fn the_first_clause_that_holds_answers() {
        let rule = Rule::always(Action::Errno(EPERM))
            .when([Condition::low32(0, Test::Range { min: 1, max: 9 })], Action::Allow)
            .when([Condition::low32(0, Test::Eq(5))], Action::Trap)
            .when([], Action::Log);
        assert_eq!(rule.decide(&[5, 0, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(rule.decide(&[10, 0, 0, 0, 0, 0]), Action::Log);
        assert!(!rule.permits_all());
    }

    #[test]
    fn groups_are_resolved_when_set() {
        let mut policy = Policy::new(Arch::X86_64, Action::Errno(EPERM), Action::Errno(ENOSYS));
        policy.set("@swap", Action::Allow).set("read", Action::Allow).set("@typo", Action::Allow);
        assert!(policy.rules.keys().eq(["@typo", "read", "swapoff", "swapon"]));
        policy.unset("@swap");
        assert_eq!(policy.rules.len(), 2);
    }

    #[test]
    fn a_policy_survives_json() {
        let mut policy = Policy::new(Arch::Aarch64, Action::Errno(EPERM), Action::Errno(ENOSYS));
        policy.set(
            "ioctl",
            Rule::always(Action::Allow)
                .when([Condition::low32(1, Test::MaskedEq { mask: 7, value: 2 })], Action::Notify),
        );
        let text = serde_json::to_string(&policy).expect("serialises");
        assert_eq!(serde_json::from_str::<Policy>(&text).expect("parses"), policy);
    }
}
