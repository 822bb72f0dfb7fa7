//! Values that say how the payload's process is run.

use super::value::{Parsed, Separator, ValueError, decimal};
use crate::dialect::problem::quoted;
use crate::spec::{NumberList, Personality};

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

/// Processors and ranges of them, between blanks or commas, such as `0-3 5,7`.
///
/// # Errors
///
/// Anything else, no processor at all, and one beyond the last that a kernel can
/// have, 8191. Whether this machine has them, is not looked at.
pub fn cpu_affinity(text: &str) -> Parsed<NumberList> {
    const MOST: u32 = 8191;
    let number = |text: &str| decimal(text).filter(|number| *number <= MOST);
    let mut parts = Vec::new();
    for (at, word) in Separator::Blanks.words(text) {
        for part in word.split(',').filter(|part| !part.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            if !matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to) {
                return Err(ValueError::new(format!("{} is not a processor", quoted(part)))
                    .with_remedy(format!("write numbers up to {MOST} and ranges, such as 0-3 5"))
                    .at(at));
            }
            parts.push(part);
        }
    }
    NumberList::parse(&parts.join(","))
        .map_err(|_| ValueError::new("no processor is named").with_remedy("write numbers and ranges, such as 0-3 5"))
}

/// A UUID, plain or with dashes, but not the null one; as `$container_uuid` has it,
/// in small letters and with dashes.
///
/// # Errors
///
/// Anything else.
pub fn machine_id(text: &str) -> Parsed<String> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let bad = |remedy| Err(ValueError::new(format!("{} is not a machine id", quoted(text))).with_remedy(remedy));
    let dashed = text.len() == 36 && DASHES.iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let digits: String = text
        .char_indices()
        .filter(|(at, _)| !dashed || !DASHES.contains(at))
        .map(|(_, digit)| digit.to_ascii_lowercase())
        .collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return bad("write 32 hexadecimal digits, or a UUID with its dashes");
    }
    if digits.bytes().all(|byte| byte == b'0') {
        return bad("the id of nothing but zeros means `none`; write another");
    }
    let mut id = digits;
    DASHES.iter().for_each(|at| id.insert(*at, '-'));
    Ok(id)
}
