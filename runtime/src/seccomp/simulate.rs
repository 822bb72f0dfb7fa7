//! The kernel's part, in a test: whether it takes a program, and what that answers.
//!
//! So embedders can test their own filters without a kernel, a process, or root.
//! Follows `seccomp_check_filter` and `bpf_check_classic` of Linux 6.18, and
//! `Documentation/userspace-api/seccomp_filter.rst`.

use std::ops::RangeInclusive;

use super::policy::Action;
use super::program::{CompileError, Instruction, MAX_INSTRUCTIONS, Program, SeccompData};
use super::table::ABIS;

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

    /// The ABIs of which any call can run, or can be let run by a listener, as
    /// `systemd` names them.
    pub(crate) fn abis(&self) -> Vec<&'static str> {
        let open = |(_, audit, numbers, _): &&_| self.lets_through(*audit, numbers);
        ABIS.iter().filter(open).map(|(name, ..)| *name).collect()
    }

    /// Whether some call of these can run, whatever its arguments: every way that
    /// one of them can take through the program is followed.
    fn lets_through(&self, audit: u32, numbers: &RangeInclusive<u32>) -> bool {
        // What is known of A: nothing, or that it is the architecture or the number.
        const ANY: u8 = 1;
        const ARCH: u8 = 2;
        const NUMBER: u8 = 4;
        let mut reached = vec![0_u8; self.instructions.len()];
        if let Some(first) = reached.first_mut() {
            *first = ANY;
        }
        for (at, Instruction { code, jt, jf, k }) in self.instructions.iter().enumerate() {
            let states = reached.get(at).copied().unwrap_or(0);
            for state in [ANY, ARCH, NUMBER].into_iter().filter(|state| states & state != 0) {
                let mut go = |skip: u32, state: u8| {
                    reached.get_mut(at + 1 + skip as usize).into_iter().for_each(|states| *states |= state);
                };
                let (low, high) = match state {
                    ARCH => (audit, audit),
                    NUMBER => (*numbers.start(), *numbers.end()),
                    _ => (0, u32::MAX),
                };
                let (yes, no) = match code {
                    0x06 if Action::decode(*k).may_permit() => return true,
                    0x06 => continue,
                    // It answers what nobody knows here.
                    0x16 => return true,
                    0x05 => {
                        go(*k, state);
                        continue;
                    }
                    0x15 => ((low..=high).contains(k), (low, high) != (*k, *k)),
                    0x25 => (high > *k, low <= *k),
                    0x35 => (high >= *k, low < *k),
                    0x1d | 0x2d | 0x3d | 0x45 | 0x4d => (true, true),
                    _ => {
                        go(
                            0,
                            match (code, k) {
                                (0x20, 0) => NUMBER,
                                (0x20, 4) => ARCH,
                                _ => ANY,
                            },
                        );
                        continue;
                    }
                };
                for skip in [yes.then_some(jt), no.then_some(jf)].into_iter().flatten() {
                    go((*skip).into(), state);
                }
            }
        }
        false
    }

    /// The returned value and the number of instructions it took.
    pub(super) fn run(&self, call: &SeccompData) -> (u32, usize) {
        let instruction = |at: usize| {
            let Instruction { code, jt, jf, k } = *self.instructions.get(at)?;
            Some((code, jt, jf, k))
        };
        skep_sys::filter::run(self.instructions.len(), instruction, call.words())
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

    /// Which ABIs a program lets through, also where it hides that.
    #[test]
    fn abis_are_found() {
        const LOAD: (u16, u8, u8, u32) = (0x20, 0, 0, 4);
        const YES: (u16, u8, u8, u32) = (0x06, 0, 0, 0x7fff_0000);
        const NO: (u16, u8, u8, u32) = (0x06, 0, 0, 0x8000_0000);
        let number = (0x20, 0, 0, 0);
        for (lines, abis) in [
            (&[YES][..], "x86-64 x86 x32 arm64 arm"),
            (&[NO], ""),
            (&[(0x06, 0, 0, 0x7fc0_0000)], "x86-64 x86 x32 arm64 arm"),
            (&[LOAD, (0x15, 0, 1, 0xc000_00b7), YES, NO], "arm64"),
            (&[LOAD, (0x15, 1, 0, 0x4000_0003), NO, YES], "x86"),
            // One call of x32, and one of x86-64 for one argument.
            (&[LOAD, (0x15, 0, 3, 0xc000_003e), number, (0x15, 0, 1, 0x4000_0007), YES, NO], "x32"),
            (
                &[LOAD, (0x15, 0, 5, 0xc000_003e), number, (0x35, 3, 0, 8), (0x20, 0, 0, 16), (0x45, 0, 1, 1), YES, NO],
                "x86-64",
            ),
            // What is computed can be anything.
            (&[LOAD, (0x15, 0, 1, 0xc000_003e), (0x16, 0, 0, 0), NO], "x86-64 x32"),
            (&[LOAD, (0x54, 0, 0, 0xff), (0x15, 0, 1, 3), YES, NO], "x86-64 x86 x32 arm64 arm"),
        ] {
            let program = Program::from_instructions(asm(lines)).expect("valid");
            assert_eq!(program.abis().join(" "), abis, "{lines:x?}");
        }
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
