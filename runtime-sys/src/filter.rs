//! What a filter of `seccomp(2)` answers: classic BPF over `struct seccomp_data`
//! (`Documentation/userspace-api/seccomp_filter.rst`, `kernel/bpf` of Linux 6.18).
//!
//! Compiled into stage B as well: no allocation, no panic.

/// `sizeof(struct seccomp_data)`.
const DATA_LENGTH: u32 = 64;
/// Scratch words (`BPF_MEMWORDS`).
const SCRATCH: usize = 16;

/// One instruction: operation, the two jumps, the constant (`struct sock_filter`).
pub type Instruction = (u16, u8, u8, u32);

/// SECCOMP_RET_KILL_PROCESS, the answer of a program that the kernel would not take.
pub const KILL: u32 = 0x8000_0000;

/// What a program of `length` instructions answers to a call, which is given as the
/// words of `struct seccomp_data`, and how many instructions that took.
///
/// ```
/// use skep_sys::filter;
///
/// let allow = |at: usize| (at == 0).then_some((0x06, 0, 0, 0x7fff_0000));
/// assert_eq!(filter::run(1, allow, [0; 16]), (0x7fff_0000, 1));
/// ```
#[must_use]
pub fn run(length: usize, program: impl Fn(usize) -> Option<Instruction>, data: [u32; 16]) -> (u32, usize) {
    let mut machine = Machine { data, a: 0, x: 0, scratch: [0; SCRATCH] };
    let mut at = 0_usize;
    // Jumps only go forward, so a program takes at most as many steps as it is long.
    for steps in 1..=length {
        match program(at).and_then(|instruction| machine.step(instruction)) {
            Some(Step::Skip(count)) => at = at.saturating_add(1).saturating_add(count as usize),
            Some(Step::Return(value)) => return (value, steps),
            None => break,
        }
    }
    (KILL, length)
}

/// The same of a program as `seccomp(2)` takes it, for a call of this machine's
/// own ABI.
pub(crate) fn answer(program: &[u8], number: usize, arguments: [u64; 6]) -> u32 {
    // AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
    const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    let [a, b, c, d, e, f] = arguments.map(|word| [word as u32, (word >> 32) as u32]);
    let [number, arch] = [number as u32, ARCH];
    let data = [number, arch, 0, 0, a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], e[0], e[1], f[0], f[1]];
    let (whole, _) = program.as_chunks::<8>();
    let instruction = |at: usize| {
        let [c0, c1, jt, jf, k @ ..] = *whole.get(at)?;
        Some((u16::from_ne_bytes([c0, c1]), jt, jf, u32::from_ne_bytes(k)))
    };
    run(whole.len(), instruction, data).0
}

enum Step {
    Skip(u32),
    Return(u32),
}

struct Machine {
    data: [u32; 16],
    a: u32,
    x: u32,
    scratch: [u32; SCRATCH],
}

impl Machine {
    /// `None`: not an instruction of seccomp filters.
    #[rustfmt::skip]
    fn step(&mut self, (code, jt, jf, k): Instruction) -> Option<Step> {
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
