//! A filter in the form the kernel takes: classic BPF over `struct seccomp_data`.

use serde::{Deserialize, Serialize};

use super::policy::{Action, Condition};
use super::table::{ABIS, Arch};

/// The most instructions a filter may have (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What a filter sees of a call: `struct seccomp_data` of `linux/seccomp.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeccompData {
    /// The number as the caller gave it; compared unsigned.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the ABI the call came through.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// The argument registers.
    pub args: [u64; 6],
}

impl SeccompData {
    /// A call of `arch`.
    pub const fn new(arch: Arch, nr: u32, args: [u64; 6]) -> SeccompData {
        SeccompData { nr, arch: arch.audit(), instruction_pointer: 0, args }
    }

    /// The structure as little-endian words, as a filter loads them.
    pub(super) fn words(&self) -> [u32; 16] {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let mut words = [0; 16];
        words[0] = self.nr;
        words[1] = self.arch;
        words[2..4].copy_from_slice(&halves(self.instruction_pointer));
        for (pair, arg) in words[4..].chunks_exact_mut(2).zip(self.args) {
            pair.copy_from_slice(&halves(arg));
        }
        words
    }
}

/// One instruction: `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub jt: u8,
    /// How many instructions to skip if it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

impl Instruction {
    fn bytes(&self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

/// The operations that the emitter uses, in the words of `linux/bpf_common.h`.
pub(super) mod op {
    /// A = 32-bit word at offset k.
    pub(crate) const LD_ABS: u16 = 0x20;
    /// A &= k.
    pub(crate) const AND: u16 = 0x54;
    /// Skip k instructions.
    pub(crate) const JA: u16 = 0x05;
    /// A == k.
    pub(crate) const JEQ: u16 = 0x15;
    /// A > k, unsigned.
    pub(crate) const JGT: u16 = 0x25;
    /// A >= k, unsigned.
    pub(crate) const JGE: u16 = 0x35;
    /// Answer k.
    pub(crate) const RET: u16 = 0x06;
}

/// A finished filter for one architecture, checked as the kernel checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) ignored: Vec<String>,
}

/// Why there is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A rule that refuses names a call that Linux does not have: leaving it out would open what it closes.
    #[error("seccomp rule for {name:?}: no such system call, and the rule is not a plain permission; correct the name")]
    UnknownName {
        /// The name in the rule.
        name: String,
    },
    /// A condition that no call can satisfy: an argument above 5, a constant wider than what
    /// is compared, a value outside its mask, an empty range.
    #[error("seccomp rule for {name:?}: {condition:?} can never hold")]
    NeverHolds {
        /// The call of the rule.
        name: String,
        /// The condition.
        condition: Condition,
    },
    /// An error number above [`Action::MAX_ERRNO`].
    #[error("seccomp answer errno {0}: the kernel's highest is {max}", max = Action::MAX_ERRNO)]
    BadErrno(u16),
    /// More instructions than [`MAX_INSTRUCTIONS`].
    #[error("seccomp filter of {0} instructions: the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
    /// The kernel's checker would refuse this program.
    #[error("seccomp program: instruction {at} is one the kernel refuses")]
    Refused {
        /// Which one.
        at: usize,
    },
}

impl Program {
    /// A filter from elsewhere, checked by the kernel's rules (`bpf_check_classic` and
    /// `seccomp_check_filter`), for example to ask it with [`decide`](Program::decide).
    ///
    /// # Errors
    ///
    /// [`CompileError::Refused`] or [`CompileError::TooLong`], as the kernel would refuse it.
    pub fn from_instructions(instructions: Vec<Instruction>) -> Result<Program, CompileError> {
        super::simulate::check(&instructions)?;
        Ok(Program { instructions, ignored: Vec::new() })
    }

    /// The same from the array that seccomp(2) takes, as [`Program::bytes`] gives it.
    ///
    /// # Errors
    ///
    /// As [`Program::from_instructions`]; half an instruction at the end is refused too.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, CompileError> {
        let (whole, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(CompileError::Refused { at: whole.len() });
        }
        let instruction = |[c0, c1, jt, jf, k @ ..]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        };
        Program::from_instructions(whole.iter().map(instruction).collect())
    }

    /// The instructions in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Names in permissions that no table knows: a permission for nothing, left out.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Whether some instruction of a filter, in the kernel's form, answers "ask
    /// the listener".
    pub(crate) fn asks(bytes: &[u8]) -> bool {
        Self::has(bytes, Action::Notify)
    }

    /// Whether some instruction answers so.
    pub(crate) fn has(bytes: &[u8], action: Action) -> bool {
        let answer = Instruction { code: op::RET, jt: 0, jf: 0, k: action.encode() };
        bytes.chunks_exact(8).any(|instruction| instruction == answer.bytes())
    }

    /// The calls that it asks a listener about when all their arguments are 0, by
    /// any ABI: the native ones first.
    pub(crate) fn notified(&self) -> Vec<&'static str> {
        self.answered(Action::Notify)
    }

    /// The calls that it says are done when all their arguments are 0, and that do not
    /// run, likewise.
    pub(crate) fn pretended(&self) -> Vec<&'static str> {
        self.answered(Action::Errno(0))
    }

    fn answered(&self, answer: Action) -> Vec<&'static str> {
        let mut names = Vec::new();
        for arch in self.tables() {
            let asks = |(number, name): &(u32, &str)| {
                let asks = |part| self.decide(&SeccompData::new(arch, *number, [part, 0, 0, 0, 0, 0])) == answer;
                arch.selectors(name).any(asks)
            };
            names.extend(
                arch.calls()
                    .filter(asks)
                    .map(|(_, name)| name)
                    .filter(|name| !names.contains(name))
                    .collect::<Vec<_>>(),
            );
        }
        names
    }

    /// Those of the ABIs it lets through whose calls are known, the native one first.
    pub(crate) fn tables(&self) -> Vec<Arch> {
        let open = self.abis();
        let mut tables: Vec<Arch> =
            ABIS.iter().filter(|(name, ..)| open.contains(name)).filter_map(|(.., arch)| *arch).collect();
        tables.sort_by_key(|arch| *arch != Arch::NATIVE);
        tables
    }

    /// The array of `struct sock_filter` that seccomp(2) takes, in the byte order of this machine.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        bytes.extend(self.instructions.iter().flat_map(Instruction::bytes));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_eight_each() {
        let program =
            Program::from_instructions(vec![Instruction { code: op::RET, jt: 0, jf: 0, k: Action::Allow.encode() }])
                .expect("valid");
        assert_eq!(program.bytes().len(), 8);
        assert_eq!(program.bytes()[..2], op::RET.to_ne_bytes());
        assert_eq!(program.bytes()[4..], Action::Allow.encode().to_ne_bytes());
    }

    #[test]
    fn words_follow_the_structure() {
        let data = SeccompData {
            nr: 1,
            arch: 2,
            instruction_pointer: 0x4_0000_0003,
            args: [0x6_0000_0005, 0, 0, 0, 0, 0x8_0000_0007],
        };
        assert_eq!(data.words(), [1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
    }
}
