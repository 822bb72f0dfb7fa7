//! The filters that no Spec changes, as programs: compiling them costs a
//! launcher, which starts one container, more than all the rest of its plan.
//!
//! Each word is a `struct sock_filter` as a little-endian machine has it. What
//! stands here is what [`super::compile`] makes of the policies: a test holds
//! the two against each other, and writes the files anew with
//! `SKEP_WRITE_FILTERS=1 cargo test -p skep built`.

use super::table::Arch;

/// A program, and what the rules would find if they walked it.
pub(crate) struct Built {
    words: &'static [u64],
    /// The ABIs whose calls it lets through, the machine's own first
    /// ([`super::Program::abis`]).
    pub(crate) abis: &'static [&'static str],
    /// What it opens of the floor ([`super::floor::summary`]).
    pub(crate) open: Option<&'static str>,
}

/// Of one architecture. None of them asks a listener, or says that a call was done which
/// does not run.
struct Filters {
    /// The program of [`super::strict_default`].
    strict: Built,
    /// Of [`super::stub_init`].
    stub: Built,
    /// Of [`super::nspawn_default`] for [`super::NSPAWN_USUAL`], with
    /// [`super::nspawn_abis`].
    nspawn: Built,
}

/// What of the floor systemd-nspawn lets through, with or without the call that arm64 lacks.
macro_rules! opened {
    ($mknod:literal) => {
        concat!(
            "io_uring_setup io_uring_enter io_uring_register process_vm_readv process_vm_writev setns clone3 ",
            "userfaultfd clone unshare ioctl ",
            $mknod,
            "mknodat personality socket",
        )
    };
}

const X86_64: Filters = Filters {
    strict: Built { words: &include!("built/strict-x86_64.in"), abis: &["x86-64"], open: None },
    stub: Built { words: &include!("built/stub-x86_64.in"), abis: &["x86-64"], open: None },
    nspawn: Built {
        words: &include!("built/nspawn-x86_64.in"),
        abis: &["x86-64", "x86"],
        open: Some(concat!(opened!("mknod "), "; x86: ", opened!("mknod "))),
    },
};
const AARCH64: Filters = Filters {
    strict: Built { words: &include!("built/strict-aarch64.in"), abis: &["arm64"], open: None },
    stub: Built { words: &include!("built/stub-aarch64.in"), abis: &["arm64"], open: None },
    nspawn: Built { words: &include!("built/nspawn-aarch64.in"), abis: &["arm64"], open: Some(opened!("")) },
};

static OWN: Filters = match Arch::NATIVE {
    Arch::Aarch64 => AARCH64,
    _ => X86_64,
};

/// The filter of profile `strict`, as [`super::Program::bytes`] gives it.
pub(crate) fn strict() -> Vec<u8> {
    bytes(OWN.strict.words)
}

/// The stub init's.
pub(crate) fn stub() -> Vec<u8> {
    bytes(OWN.stub.words)
}

/// That of profile `nspawn` for the capabilities of [`super::NSPAWN_USUAL`], and what it
/// opens of the floor.
pub(crate) fn nspawn() -> (Vec<u8>, Option<&'static str>) {
    (bytes(OWN.nspawn.words), OWN.nspawn.open)
}

/// The one of these for this machine that a filter is, to the byte. Such a one is what
/// the tests below find it to be. Any other has to be walked.
pub(crate) fn known(program: &[u8]) -> Option<&'static Built> {
    let (whole, rest) = program.as_chunks::<8>();
    let is = |built: &&Built| {
        whole.len() == built.words.len()
            && whole.iter().zip(built.words).all(|(bytes, word)| *bytes == word.to_le_bytes())
    };
    [&OWN.strict, &OWN.stub, &OWN.nspawn].into_iter().filter(|_| rest.is_empty()).find(is)
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{
        Action, NSPAWN_USUAL, Policy, Program, compile, floor, nspawn_abis, nspawn_default, strict_default, stub_init,
    };
    use super::*;

    const EVERY: [(Arch, Filters, &str); 2] = [(Arch::X86_64, X86_64, "x86_64"), (Arch::Aarch64, AARCH64, "aarch64")];

    fn nspawn_usual(arch: Arch) -> Policy {
        let mut policy = nspawn_default(arch, NSPAWN_USUAL);
        policy.also.extend(nspawn_abis(arch).iter().map(|other| nspawn_default(*other, NSPAWN_USUAL)));
        policy
    }

    /// What the rules do not walk again is what a walk finds, for every machine.
    #[test]
    fn built_filters_are_what_the_rules_take_them_for() {
        for (arch, Filters { strict, stub, nspawn }, _) in EVERY {
            for (closed, built) in [(true, strict), (true, stub), (false, nspawn)] {
                let program = Program::from_bytes(&bytes(built.words)).unwrap();
                assert_eq!(program.abis(), built.abis);
                assert_eq!(built.abis.first(), Some(&arch.label()));
                assert_eq!(floor::summary_for(&program, arch).as_deref(), built.open);
                assert_eq!(built.open.is_none(), closed);
                assert!(program.notified().is_empty() && !Program::asks(&program.bytes()));
                assert!(!Program::has(&program.bytes(), Action::Errno(0)));
            }
        }
    }

    /// Nothing less than equality: any bit, any length.
    #[test]
    fn only_a_built_filter_is_known() {
        for built in [&OWN.strict, &OWN.stub, &OWN.nspawn] {
            let own = bytes(built.words);
            assert!(known(&own).is_some_and(|found| std::ptr::eq(found, built)));
            for bit in 0..own.len() * 8 {
                let mut other = own.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(known(&other).is_none(), "bit {bit}");
            }
            let longer = [&own[..], &[0; 8]].concat();
            for other in
                [&own[..own.len() - 1], &own[..own.len() - 8], &own[8..], &longer, &longer[..own.len() + 1], &[]]
            {
                assert!(known(other).is_none(), "{} bytes", other.len());
            }
        }
    }

    #[test]
    fn built_filters_are_what_the_compiler_makes() {
        type Of = fn(Arch) -> Policy;
        for (arch, Filters { strict, stub, nspawn }, suffix) in EVERY {
            for (name, built, policy) in [
                ("strict", strict, strict_default as Of),
                ("stub", stub, stub_init as Of),
                ("nspawn", nspawn, nspawn_usual as Of),
            ] {
                let program = compile(&policy(arch)).unwrap().bytes();
                let file = format!("src/seccomp/built/{name}-{suffix}.in");
                if std::env::var_os("SKEP_WRITE_FILTERS").is_some() {
                    let words = program.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                    let words: Vec<String> = words.map(|word| format!("{word:#018x},")).collect();
                    let lines: Vec<String> = words.chunks(6).map(|row| format!("    {}\n", row.join(" "))).collect();
                    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
                    std::fs::write(path, format!("[\n{}]\n", lines.concat())).unwrap();
                } else {
                    assert!(program == bytes(built.words), "{file} is old: see the head of seccomp/built.rs");
                }
            }
        }
    }
}
