//! The filters that no Spec changes, as programs: compiling them costs a
//! launcher, which starts one container, more than all the rest of its plan.
//!
//! Each word is a `struct sock_filter` as a little-endian machine has it. What
//! stands here is what [`super::compile`] makes of the policies: a test holds
//! the two against each other, and writes the files anew with
//! `SKEP_WRITE_FILTERS=1 cargo test -p skep built`.

use super::table::Arch;

/// The program of [`super::strict_default`], by architecture.
const STRICT: [&[u64]; 2] = [&include!("built/strict-x86_64.in"), &include!("built/strict-aarch64.in")];
/// The program of [`super::stub_init`].
const STUB: [&[u64]; 2] = [&include!("built/stub-x86_64.in"), &include!("built/stub-aarch64.in")];

/// The filter of profile `strict`, as [`super::Program::bytes`] gives it.
pub(crate) fn strict() -> Vec<u8> {
    bytes(STRICT[Arch::NATIVE as usize])
}

/// The stub init's.
pub(crate) fn stub() -> Vec<u8> {
    bytes(STUB[Arch::NATIVE as usize])
}

/// Whether a filter is, to the byte, one of these two for this machine. Such a one is
/// what the test below finds it to be: it lets calls through of the machine's own ABI
/// only, nothing of the floor, and asks no listener. Any other has to be walked.
pub(crate) fn is_built(program: &[u8]) -> bool {
    let (whole, rest) = program.as_chunks::<8>();
    let is = |words: &[u64]| {
        whole.len() == words.len() && whole.iter().zip(words).all(|(bytes, word)| *bytes == word.to_le_bytes())
    };
    rest.is_empty() && [&STRICT, &STUB].iter().any(|filters| is(filters[Arch::NATIVE as usize]))
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Program, compile, floor, strict_default, stub_init};
    use super::*;

    /// What the rules do not walk again is what a walk finds, for every machine.
    #[test]
    fn built_filters_are_what_the_rules_take_them_for() {
        for filters in [STRICT, STUB] {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                let program = Program::from_bytes(&bytes(filters[arch as usize])).unwrap();
                assert_eq!(program.abis(), [arch.label()]);
                assert_eq!(floor::opened(&program, arch), [""; 0]);
                assert!(program.notified().is_empty() && !Program::asks(&program.bytes()));
            }
            let own = bytes(filters[Arch::NATIVE as usize]);
            assert!(is_built(&own));
            // Nothing less than equality: any bit, any length.
            for bit in 0..own.len() * 8 {
                let mut other = own.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_built(&other), "bit {bit}");
            }
            let longer = [&own[..], &[0; 8]].concat();
            for other in
                [&own[..own.len() - 1], &own[..own.len() - 8], &own[8..], &longer, &longer[..own.len() + 1], &[]]
            {
                assert!(!is_built(other), "{} bytes", other.len());
            }
        }
    }

    #[test]
    fn built_filters_are_what_the_compiler_makes() {
        type Of = fn(Arch) -> Policy;
        for (name, built, policy) in [("strict", STRICT, strict_default as Of), ("stub", STUB, stub_init as Of)] {
            for (arch, suffix) in [(Arch::X86_64, "x86_64"), (Arch::Aarch64, "aarch64")] {
                let program = compile(&policy(arch)).unwrap().bytes();
                let file = format!("src/seccomp/built/{name}-{suffix}.in");
                if std::env::var_os("SKEP_WRITE_FILTERS").is_some() {
                    let words = program.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                    let words: Vec<String> = words.map(|word| format!("{word:#018x},")).collect();
                    let lines: Vec<String> = words.chunks(6).map(|row| format!("    {}\n", row.join(" "))).collect();
                    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
                    std::fs::write(path, format!("[\n{}]\n", lines.concat())).unwrap();
                } else {
                    assert!(program == bytes(built[arch as usize]), "{file} is old: see the head of seccomp/built.rs");
                }
            }
        }
    }
}
