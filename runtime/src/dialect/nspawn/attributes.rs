//! Values that say how the payload's process is run.

use super::value::{Parsed, ValueError, decimal};
use crate::dialect::problem::quoted;
use crate::spec::Personality;

/// Every architecture that `systemd` names (`systemd.unit(5)`,
/// `ConditionArchitecture=`), beside those of [`Personality::NAMES`].
const ELSEWHERE: &[&str] = &[
    "ppc64",
    "ppc64-le",
    "ppc",
    "ppc-le",
    "s390x",
    "s390",
    "riscv64",
    "riscv32",
    "loongarch64",
    "mips64",
    "mips64-le",
    "mips",
    "mips-le",
    "alpha",
    "parisc",
    "parisc64",
    "sparc",
    "sparc64",
    "ia64",
];

/// An architecture by the name that `systemd` gives it.
///
/// # Errors
///
/// Anything else, and one of a machine that this library does not run on. Whether
/// this machine can be it, is not looked at here.
pub fn personality(text: &str) -> Parsed<Personality> {
    let names = || Personality::NAMES.map(|(name, _)| name).join(", ");
    match Personality::NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, personality)) => Ok(*personality),
        None if ELSEWHERE.contains(&text) => {
            Err(ValueError::new(format!("no machine that this runs on can be {}", quoted(text)))
                .with_remedy(format!("write one of {}", names())))
        }
        None => Err(ValueError::new(format!("{} is not an architecture", quoted(text)))
            .with_remedy(format!("write one of {}", names()))),
    }
}

/// A score of the out-of-memory killer, from -1000 to 1000 (`proc(5)`).
///
/// # Errors
///
/// Anything else.
pub fn oom_score_adjust(text: &str) -> Parsed<i16> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let score = decimal(digits).filter(|score| *score <= 1000).and_then(|score| i16::try_from(score).ok());
    score.map(|score| if negative { -score } else { score }).ok_or_else(|| {
        ValueError::new(format!("{} is not a score", quoted(text)))
            .with_remedy("write a number from -1000 (killed last) to 1000 (killed first)")
    })
}
