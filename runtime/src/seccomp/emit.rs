//! From a policy to a program: a balanced search tree over ranges of numbers.
//!
//! Neighbouring numbers with the same outcome form one range, so a call is decided after
//! some seven comparisons, and the program stays small: the kernel converts it, compiles it
//! and tries every number on it when it is installed. The program is written from its
//! end to its start, because every jump of classic BPF goes forward: the target is then
//! always there already. Conditional jumps reach 255 instructions; a target farther away
//! is reached through a `ja`, or, being an answer, is written once more.

use super::policy::{Action, Clause, Condition, ENOSYS, Policy, Rule, Test, Width, X32_BIT};
use super::program::{CompileError, Instruction, MAX_INSTRUCTIONS, Program, op};
use super::table::{Arch, exists_somewhere};

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Compiles a policy.
///
/// The program first compares the architecture, so that no number is ever read with the
/// meaning of another ABI (each ABI has a search of its own); then searches the number; then, where the rule of the call asks
/// for it, compares arguments. It answers as [`Policy::decide`] does.
///
/// # Errors
/// If a refusing rule names a call that does not exist, a condition can never hold, an error
/// number is out of range, or the program would be longer than the kernel takes.
pub fn compile(policy: &Policy) -> Result<Program, CompileError> {
    let mut ignored = Vec::new();
    let mut abis: Vec<(Arch, Vec<Range<'_>>)> = Vec::new();
    for policy in [policy].into_iter().chain(&policy.also) {
        judge(policy)?;
        let (ranges, used) = ranges(policy);
        // Only look for unknown names if there are any.
        if used != policy.rules.len() {
            ignored.extend(unknown(policy)?);
        }
        abis.push((policy.arch, ranges));
    }
    let abis = searches(abis);
    let mut emitter = Emitter::default();
    let mut next = None;
    // The native ABI is asked for first.
    for (audit, ranges) in abis.iter().rev() {
        let root = emitter.tree(ranges);
        emitter.follow(root);
        let number = emitter.push(op::LD_ABS, 0, 0, NR);
        let otherwise = next.unwrap_or_else(|| emitter.answer(policy.foreign_abi));
        next = Some(emitter.branch(op::JEQ, *audit, number, otherwise));
    }
    if let Some(first) = next {
        emitter.follow(first);
    }
    emitter.push(op::LD_ABS, 0, 0, ARCH);
    if emitter.reversed.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(emitter.reversed.len()));
    }
    emitter.reversed.reverse();
    Ok(Program { instructions: emitter.reversed, ignored })
}

/// Refuses what cannot be meant.
fn judge(policy: &Policy) -> Result<(), CompileError> {
    let errno = |action: Action| match action {
        Action::Errno(errno) if errno > Action::MAX_ERRNO => Err(CompileError::BadErrno(errno)),
        _ => Ok(()),
    };
    for action in [policy.unlisted, policy.unknown, policy.foreign_abi] {
        errno(action)?;
    }
    for (name, rule) in &policy.rules {
        errno(rule.otherwise)?;
        for clause in &rule.clauses {
            errno(clause.then)?;
            if let Some(&condition) = clause.when.iter().find(|condition| !can_hold(condition)) {
                return Err(CompileError::NeverHolds { name: name.clone(), condition });
            }
        }
    }
    Ok(())
}

/// The permissions for calls that no ABI has; a refusal of such a call is an error.
fn unknown(policy: &Policy) -> Result<Vec<String>, CompileError> {
    let mut ignored = Vec::new();
    for (name, rule) in policy.rules.iter().filter(|(name, _)| !exists_somewhere(name)) {
        if !rule.permits_all() {
            return Err(CompileError::UnknownName { name: name.clone() });
        }
        ignored.push(name.clone());
    }
    Ok(ignored)
}

fn can_hold(condition: &Condition) -> bool {
    let widest = match condition.width {
        Width::Low32 => u64::from(u32::MAX),
        Width::Full => u64::MAX,
    };
    condition.arg < 6
        && match condition.test {
            Test::Eq(value) | Test::Ne(value) => value <= widest,
            Test::MaskedEq { mask, value } => mask <= widest && value & !mask == 0,
            Test::Range { min, max } => min <= max && max <= widest,
        }
}

/// What shall happen on a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome<'p> {
    Answer(Action),
    Ask(&'p Rule),
}

/// Numbers from `first` up to the next range.
struct Range<'p> {
    first: u32,
    outcome: Outcome<'p>,
}

/// All numbers from the first of the ABI to `u32::MAX`, neighbours with the same outcome in
/// one range, and how many rules that took.
fn ranges<'p>(policy: &'p Policy) -> (Vec<Range<'p>>, usize) {
    let mut used = 0;
    let mut ranges: Vec<Range<'p>> = Vec::new();
    for nr in policy.arch.numbers() {
        let rule = policy.arch.name(nr).map(|name| policy.rules.get(name));
        used += usize::from(matches!(rule, Some(Some(_))));
        let outcome = match rule {
            None => Outcome::Answer(policy.unknown),
            Some(None) => Outcome::Answer(policy.unlisted),
            Some(Some(rule)) => simplest(rule),
        };
        ranges.push(Range { first: nr, outcome });
    }
    ranges.push(Range { first: policy.arch.highest() + 1, outcome: Outcome::Answer(policy.unknown) });
    (joined(ranges), used)
}

fn joined(mut ranges: Vec<Range<'_>>) -> Vec<Range<'_>> {
    ranges.dedup_by(|next, last| next.outcome == last.outcome);
    ranges
}

/// What is searched for each architecture: x86-64 and x32 share one, halved by a bit of the number.
fn searches<'p>(mut abis: Vec<(Arch, Vec<Range<'p>>)>) -> Vec<(u32, Vec<Range<'p>>)> {
    let mut searches: Vec<(u32, Vec<Range<'p>>)> = Vec::new();
    while !abis.is_empty() {
        let (arch, ranges) = abis.remove(0);
        let ranges = match arch {
            Arch::X86_64 | Arch::X32 => {
                let sought = if arch == Arch::X32 { Arch::X86_64 } else { Arch::X32 };
                let first = if arch == Arch::X32 { 0 } else { X32_BIT };
                let other = abis.iter().position(|(other, _)| *other == sought).map(|at| abis.remove(at).1);
                let none = || vec![Range { first, outcome: Outcome::Answer(Action::Errno(ENOSYS)) }];
                let mut both = ranges;
                both.extend(other.unwrap_or_else(none));
                both.sort_by_key(|range| range.first);
                joined(both)
            }
            Arch::Aarch64 | Arch::X86 => ranges,
        };
        // The first policy for an ABI is the one that counts.
        if !searches.iter().any(|(audit, _)| *audit == arch.audit()) {
            searches.push((arch.audit(), ranges));
        }
    }
    searches
}

/// A rule that does not depend on arguments is its answer.
fn simplest(rule: &Rule) -> Outcome<'_> {
    rule.regardless().map_or(Outcome::Ask(rule), Outcome::Answer)
}

/// An instruction already written: its index in the reversed program.
type Label = usize;

/// The program from its end to its start.
#[derive(Default)]
struct Emitter<'p> {
    reversed: Vec<Instruction>,
    answers: Vec<(Action, Label)>,
    asked: Vec<(&'p Rule, Label)>,
}

impl<'p> Emitter<'p> {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        self.reversed.len() - 1
    }

    /// How many instructions a jump written now would skip to get there.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target - 1
    }

    /// A label for the same effect, directly behind what is written next.
    fn step_stone(&mut self, target: Label) -> Label {
        match self.reversed[target] {
            Instruction { code: op::RET, k, .. } => {
                let nearer = self.push(op::RET, 0, 0, k);
                for (_, label) in self.answers.iter_mut().filter(|(_, label)| *label == target) {
                    *label = nearer;
                }
                nearer
            }
            _ => {
                let distance = self.distance(target) as u32; // at most the program's length
                self.push(op::JA, 0, 0, distance)
            }
        }
    }

    /// Makes what is written next fall through to `target`.
    fn follow(&mut self, target: Label) {
        if self.distance(target) != 0 {
            self.step_stone(target);
        }
    }

    /// A conditional jump, whatever the distances.
    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        const REACH: usize = u8::MAX as usize;
        // One less: the second target may put a stepping stone in between.
        let yes = if self.distance(yes) >= REACH { self.step_stone(yes) } else { yes };
        let no = if self.distance(no) > REACH { self.step_stone(no) } else { no };
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8); // both within REACH
        self.push(code, jt, jf, k)
    }

    /// Loads a word of the call, then goes on at `next`, which must have been written last.
    fn load(&mut self, offset: u32, next: Label) -> Label {
        self.follow(next);
        self.push(op::LD_ABS, 0, 0, offset)
    }

    fn answer(&mut self, action: Action) -> Label {
        if let Some((_, label)) = self.answers.iter().find(|(known, _)| *known == action) {
            return *label;
        }
        let label = self.push(op::RET, 0, 0, action.encode());
        self.answers.push((action, label));
        label
    }

    fn outcome(&mut self, outcome: Outcome<'p>) -> Label {
        match outcome {
            Outcome::Answer(action) => self.answer(action),
            Outcome::Ask(rule) => {
                if let Some((_, label)) = self.asked.iter().find(|(known, _)| *known == rule) {
                    return *label;
                }
                let label = self.rule(rule);
                self.asked.push((rule, label));
                label
            }
        }
    }

    /// The search: the number is in A.
    fn tree(&mut self, ranges: &[Range<'p>]) -> Label {
        match ranges {
            [] => self.answer(Action::KillProcess), // there is always one range
            [only] => self.outcome(only.outcome),
            // One number that differs from both its neighbours.
            [before, single, after] if after.first - single.first == 1 && before.outcome == after.outcome => {
                let yes = self.outcome(single.outcome);
                let no = self.outcome(before.outcome);
                self.branch(op::JEQ, single.first, yes, no)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let yes = self.tree(high);
                let no = self.tree(low);
                self.branch(op::JGE, high[0].first, yes, no)
            }
        }
    }

    /// The clauses of a rule in order, each failing into the next.
    fn rule(&mut self, rule: &Rule) -> Label {
        let mut next = self.answer(rule.otherwise);
        for Clause { when, then } in rule.clauses.iter().rev() {
            let mut holds = self.answer(*then);
            for condition in when.iter().rev() {
                holds = self.condition(condition, holds, next);
            }
            next = holds;
        }
        next
    }

    fn condition(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let low = ARGS + 8 * u32::from(condition.arg);
        let high = match condition.width {
            Width::Low32 => None,
            Width::Full => Some(low + 4),
        };
        let word = |value: u64| (value as u32, (value >> 32) as u32);
        match condition.test {
            Test::Eq(value) => self.equal(low, high, u64::MAX, value, yes, no),
            Test::Ne(value) => self.equal(low, high, u64::MAX, value, no, yes),
            Test::MaskedEq { mask, value } => self.equal(low, high, mask, value, yes, no),
            Test::Range { min, max } => {
                let (min_low, min_high) = word(min);
                let (max_low, max_high) = word(max);
                // Above the maximum: no. Then at least the minimum: yes.
                let at_least = self.ordered(op::JGE, low, high, (min_low, min_high), yes, no);
                self.ordered(op::JGT, low, high, (max_low, max_high), no, at_least)
            }
        }
    }

    /// `argument & mask == value`, the upper word first; words that the mask leaves out are not loaded.
    fn equal(&mut self, low: u32, high: Option<u32>, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let mut next = yes;
        for (offset, shift) in [(Some(low), 0), (high, 32)] {
            let (Some(offset), mask, value) = (offset, (mask >> shift) as u32, (value >> shift) as u32) else {
                continue;
            };
            if mask == 0 {
                continue;
            }
            next = self.branch(op::JEQ, value, next, no);
            if mask != u32::MAX {
                next = self.push(op::AND, 0, 0, mask);
            }
            next = self.load(offset, next);
        }
        next
    }

    /// `argument > value` or `argument >= value`, as `code` says for the lower word.
    fn ordered(&mut self, code: u16, low: u32, high: Option<u32>, value: (u32, u32), yes: Label, no: Label) -> Label {
        let next = self.branch(code, value.0, yes, no);
        let next = self.load(low, next);
        let Some(high) = high else { return next };
        let same = self.branch(op::JEQ, value.1, next, no);
        let above = self.branch(op::JGT, value.1, yes, same);
        self.load(high, above)
    }
}
