//! The kernel's part, in a test: whether it takes a program, and what that answers.
//!
//! So embedders can test their own filters without a kernel, a process, or root.
//! Follows `seccomp_check_filter` and `bpf_check_classic` of Linux 6.18, and
//! `Documentation/userspace-api/seccomp_filter.rst`.

use super::policy::Action;
use super::program::{CompileError, Instruction, MAX_INSTRUCTIONS, Program, SeccompData};

/// `sizeof(struct seccomp_data)`.
const DATA_LENGTH: u32 = 64;
/// Scratch words (`BPF_MEMWORDS`).
const SCRATCH: u32 = 16;

impl Program {
    /// The answer of this filter for one call.
    ///
    /// A program that the kernel would not have taken answers [`Action::KillProcess`].
    pub fn decide(&self, call: &SeccompData) -> Action {
        Action::decode(self.run(call).0)
    }

    /// The returned value and the number of instructions it took.
    pub(super) fn run(&self, call: &SeccompData) -> (u32, usize) {
        let mut machine = Machine { data: call.words(), a: 0, x: 0, scratch: [0; SCRATCH as usize] };
        let mut at = 0;
        // Jumps only go forward, so a program takes at most as many steps as it is long.
        for steps in 1..=self.instructions.len() {
            let Some(instruction) = self.instructions.get(at) else {
                break;
            };
            match machine.step(instruction) {
                Some(Step::Skip(count)) => at += 1 + count as usize,
                Some(Step::Return(value)) => return (value, steps),
                None => break,
            }
        }
        (Action::KillProcess.encode(), self.instructions.len())
    }
}

enum Step {
    Skip(u32),
    Return(u32),
}

struct Machine {
    data: [u32; 16],
    a: u32,
    x: u32,
    scratch: [u32; SCRATCH as usize],
}

impl Machine {
    /// `None`: not an instruction of seccomp filters.
    #[rustfmt::skip]
    fn step(&mut self, instruction: &Instruction) -> Option<Step> {
        let Instruction { code, jt, jf, k } = *instruction;
        let operand = if code & 0x08 == 0 { k } else { self.x };
        let branch = |holds: bool| Some(Step::Skip(u32::from(if holds { jt } else { jf })));
        match code {
            0x00 => self.a = k,                                // ld #k
            0x01 => self.x = k,                                // ldx #k
            0x20 => self.a = *self.data.get(k as usize / 4)?,  // ld [k]
            0x80 => self.a = DATA_LENGTH,                      // ld #len
            0x81 => self.x = DATA_LENGTH,                      // ldx #len
            0x60 => self.a = *self.scratch.get(k as usize)?,   // ld M[k]
            0x61 => self.x = *self.scratch.get(k as usize)?,   // ldx M[k]
            0x02 => *self.scratch.get_mut(k as usize)? = self.a, // st M[k]
            0x03 => *self.scratch.get_mut(k as usize)? = self.x, // stx M[k]
            0x07 => self.x = self.a,                           // tax
            0x87 => self.a = self.x,                           // txa
            0x04 | 0x0c => self.a = self.a.wrapping_add(operand),
            0x14 | 0x1c => self.a = self.a.wrapping_sub(operand),
            0x24 | 0x2c => self.a = self.a.wrapping_mul(operand),
            0x34 | 0x3c => match self.a.checked_div(operand) {
                Some(quotient) => self.a = quotient,
                None => return Some(Step::Return(0)), // the kernel ends the program so
            },
            0x44 | 0x4c => self.a |= operand,
            0x54 | 0x5c => self.a &= operand,
            0x64 | 0x6c => self.a = self.a.wrapping_shl(operand),
            0x74 | 0x7c => self.a = self.a.wrapping_shr(operand),
            0xa4 | 0xac => self.a ^= operand,
            0x84 => self.a = self.a.wrapping_neg(),
            0x05 => return Some(Step::Skip(k)),
            0x15 | 0x1d => return branch(self.a == operand),
            0x25 | 0x2d => return branch(self.a > operand),
            0x35 | 0x3d => return branch(self.a >= operand),
            0x45 | 0x4d => return branch(self.a & operand != 0),
            0x06 => return Some(Step::Return(k)),
            0x16 => return Some(Step::Return(self.a)),
            _ => return None,
        }
        Some(Step::Skip(0))
    }
}

/// Whether seccomp(2) would take the program.
pub(super) fn check(program: &[Instruction]) -> Result<(), CompileError> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(program.len()));
    }
    for (at, instruction) in program.iter().enumerate() {
        let after = program.len() - at - 1;
        let inside = |skip: u32| (skip as usize) < after;
        let k = instruction.k;
        let good = match instruction.code {
            0x20 => k < DATA_LENGTH && k % 4 == 0,
            0x60 | 0x61 | 0x02 | 0x03 => k < SCRATCH,
            0x34 => k != 0,
            0x64 | 0x74 => k < 32,
            0x05 => inside(k),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                inside(instruction.jt.into()) && inside(instruction.jf.into())
            }
            0x00 | 0x01 | 0x80 | 0x81 | 0x07 | 0x87 | 0x84 | 0x06 | 0x16 => true,
            0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0x6c | 0x7c | 0xa4 | 0xac => {
                true
            }
            _ => false,
        };
        if !good {
            return Err(CompileError::Refused { at });
        }
    }
    match program.last() {
        Some(last) if matches!(last.code, 0x06 | 0x16) => Ok(()),
        _ => Err(CompileError::Refused { at: program.len().saturating_sub(1) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Arch;

    fn asm(lines: &[(u16, u8, u8, u32)]) -> Vec<Instruction> {
        lines.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect()
    }

    const CALL: SeccompData = SeccompData::new(Arch::X86_64, 7, [0x1_0000_0002, 0, 0, 0, 0, 0]);

    #[test]
    fn arithmetic_as_the_kernel_does_it() {
        for (program, answer) in [
            (asm(&[(0x20, 0, 0, 20), (0x64, 0, 0, 16), (0x44, 0, 0, 0x7ffe_0000), (0x16, 0, 0, 0)]), Action::Allow),
            (asm(&[(0x00, 0, 0, 9), (0x01, 0, 0, 0), (0x3c, 0, 0, 0), (0x06, 0, 0, 0x7fff_0000)]), Action::KillThread),
            (
                asm(&[
                    (0x80, 0, 0, 0),
                    (0x02, 0, 0, 3),
                    (0x61, 0, 0, 3),
                    (0x1d, 0, 1, 0),
                    (0x06, 0, 0, 0x30000),
                    (0x06, 0, 0, 0),
                ]),
                Action::Trap,
            ),
            (asm(&[(0x20, 0, 0, 0), (0x45, 0, 1, 4), (0x06, 0, 0, 0x0005_0001), (0x06, 0, 0, 0)]), Action::Errno(1)),
        ] {
            assert_eq!(Program::from_instructions(program).expect("valid").decide(&CALL), answer);
        }
    }

    #[test]
    fn what_the_kernel_refuses() {
        for (program, at) in [
            (asm(&[]), 0),
            (asm(&[(0x20, 0, 0, 0)]), 0),
            (asm(&[(0x20, 0, 0, 64), (0x06, 0, 0, 0)]), 0),
            (asm(&[(0x20, 0, 0, 2), (0x06, 0, 0, 0)]), 0),
            (asm(&[(0x15, 0, 1, 0), (0x06, 0, 0, 0)]), 0),
            (asm(&[(0x06, 0, 0, 0), (0x05, 0, 0, 0)]), 1),
            (asm(&[(0x28, 0, 0, 0), (0x06, 0, 0, 0)]), 0),
            (asm(&[(0x94, 0, 0, 3), (0x06, 0, 0, 0)]), 0),
        ] {
            assert_eq!(Program::from_instructions(program), Err(CompileError::Refused { at }));
        }
        let long = vec![Instruction { code: 0x06, jt: 0, jf: 0, k: 0 }; MAX_INSTRUCTIONS + 1];
        assert_eq!(Program::from_instructions(long), Err(CompileError::TooLong(4097)));
    }

    /// A stored program may have been damaged; asking it must still end.
    #[test]
    fn a_bad_program_kills() {
        for lines in [&[][..], &[(0x05, 0, 0, u32::MAX)], &[(0x20, 0, 0, 900)], &[(0xff, 0, 0, 0)], &[(0x61, 0, 0, 99)]]
        {
            let program = Program { instructions: asm(lines), ignored: Vec::new() };
            assert_eq!(program.decide(&CALL), Action::KillProcess);
        }
    }
}
