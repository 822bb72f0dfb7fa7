//! Versions in names: which is the newer one (`systemd-analyze(1)`, `compare-versions`), and
//! which of a directory of them is taken (`systemd.v(7)`).

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// This machine's architecture, as such names have it.
const ARCHITECTURE: &[u8] = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => b"x86-64",
    b"aarch64" => b"arm64",
    other => other,
};

/// Other names of architectures that systemd has, of which none is taken here.
const OTHERS: [&[u8]; 8] = [b"x86-64", b"arm64", b"x86", b"arm", b"riscv64", b"ppc64-le", b"s390x", b"loongarch64"];

/// The beginning of `text` whose bytes all are so, and the rest.
fn split(text: &[u8], is: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is(byte)).unwrap_or(text.len()))
}

/// A number without the zeros in front.
fn digits(text: &[u8]) -> &[u8] {
    split(text, |byte| *byte == b'0').1
}

/// Whether the one is older than the other.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let separates = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"~-^.".contains(byte);
        (one, other) = (split(one, separates).1, split(other, separates).1);
        let begin = |text: &[u8], sign: u8| text.first() == Some(&sign);
        // What follows a tilde comes before, also before the end.
        match (begin(one, b'~'), begin(other, b'~')) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        for sign in *b"-^." {
            match (begin(one, sign), begin(other, sign)) {
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                _ => {}
            }
        }
        if b"~-^.".iter().any(|sign| begin(one, *sign)) {
            (one, other) = (&one[1..], &other[1..]);
            continue;
        }
        let numbers = one[0].is_ascii_digit() || other[0].is_ascii_digit();
        let is = |byte: &u8| if numbers { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
        let ((own, rest), (others, after)) = (split(one, is), split(other, is));
        let order = if numbers {
            // A number is newer than none.
            let value = |text: &[u8]| (!text.is_empty(), digits(text).len());
            value(own).cmp(&value(others)).then_with(|| digits(own).cmp(digits(others)))
        } else {
            own.cmp(others)
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, after);
    }
}

/// The newest entry `BASE_VERSION[_ARCHITECTURE]` of a directory, with the ending of `base`
/// behind; `None` where there is no such entry.
pub(super) fn pick(directory: &Path, base: &[u8]) -> io::Result<Option<PathBuf>> {
    let (stem, ending) = match base.strip_suffix(b".raw") {
        Some(stem) => (stem, &b".raw"[..]),
        None => (base, &b""[..]),
    };
    let mut best: Option<(Vec<u8>, bool, PathBuf)> = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_bytes();
        let Some(rest) = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(b"_")) else { continue };
        let Some(rest) = rest.strip_suffix(ending) else { continue };
        let (version, native) = match rest.iter().rposition(|byte| *byte == b'_') {
            Some(at) if rest[at + 1..] == *ARCHITECTURE => (&rest[..at], true),
            Some(at) if OTHERS.contains(&&rest[at + 1..]) => continue,
            // What is no architecture says nothing.
            Some(at) => (&rest[..at], false),
            None => (rest, false),
        };
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.~^+".contains(byte);
        if version.is_empty() || !version.iter().all(valid) {
            continue;
        }
        let newer = best.as_ref().is_none_or(|(known, own, known_path)| {
            let order = compare(version, known).then(native.cmp(own));
            order.then_with(|| path.cmp(known_path)) == Ordering::Greater
        });
        if newer {
            best = Some((version.to_vec(), native, path.clone()));
        }
    }
    Ok(best.map(|(_, _, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_their_order() {
        // Each is older than the next; those of the specification are among them.
        let rising = [
            "~1", "", "a", "b", "0", "1~rc1", "1", "1-1", "1^post", "1.0", "1.2", "1.10", "1a", "2", "10", "11", "123",
            "0124",
        ];
        let check = |one: usize, other: usize| {
            let (a, b) = (rising[one], rising[other]);
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), one.cmp(&other), "{a:?} {b:?}");
        };
        for one in 0..rising.len() {
            for other in 0..rising.len() {
                check(one, other);
            }
        }
        for (one, other) in [("1_2", "1/2"), ("01", "1"), ("a__b", "a b"), ("", "_")] {
            assert_eq!(compare(one.as_bytes(), other.as_bytes()), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn the_newest_that_fits_is_taken() {
        let top = std::env::temp_dir().join(format!("skep-version-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        let own = String::from_utf8_lossy(ARCHITECTURE).into_owned();
        let foreign = if own == "s390x" { "arm64" } else { "s390x" };
        let picked = |names: &[&str], base: &str| {
            fs::create_dir_all(&top).unwrap();
            for name in names {
                fs::create_dir(top.join(name)).unwrap();
            }
            let found = pick(&top, base.as_bytes()).unwrap();
            fs::remove_dir_all(&top).unwrap();
            found.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let named = [format!("l_2_{own}"), format!("l_9_{foreign}")];
        let names = ["l_1", "l_2", "l_1.10", "x_7", "l", "l_", "l_3 4", named[0].as_str(), named[1].as_str()];
        assert_eq!(picked(&names, "l").as_deref(), Some(named[0].as_str()));
        assert_eq!(picked(&["l_1.raw", "l_2.raw", "l_3"], "l.raw").as_deref(), Some("l_2.raw"));
        assert_eq!(picked(&["l", "m_1"], "l"), None);
    }
}
