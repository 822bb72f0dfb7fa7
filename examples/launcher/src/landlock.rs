//! `--landlock=`: what a word of it means.

use std::ffi::OsStr;

use skep::Spec;
use skep::dialect::nspawn::value;
use skep::spec::{FileAccess, Landlock, Origin, PathRule, Want};

use crate::values::{Parsed, bad};

/// One `--landlock=`.
#[derive(Clone, Debug)]
pub(crate) enum LandlockWord {
    Path(PathRule),
    Bind(u16),
    Connect(u16),
    Tcp,
    Sockets,
    Signals,
    IfSupported,
    No,
}

const REMEDY: &str =
    "write RIGHTS:PATH such as read,execute:/usr, bind:PORT, connect:PORT, tcp, sockets, signals, if-supported or no";

pub(crate) fn word(text: &str) -> Parsed<LandlockWord> {
    let wrong = || bad(OsStr::new(text), "is no rule of Landlock", REMEDY);
    let port = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    let word = match (text, text.split_once(':')) {
        ("tcp", _) => LandlockWord::Tcp,
        ("sockets", _) => LandlockWord::Sockets,
        ("signals", _) => LandlockWord::Signals,
        ("if-supported", _) => LandlockWord::IfSupported,
        ("no", _) => LandlockWord::No,
        (_, Some(("bind", number))) => return port(number).map_or_else(wrong, |port| Ok(LandlockWord::Bind(port))),
        (_, Some(("connect", number))) => {
            return port(number).map_or_else(wrong, |port| Ok(LandlockWord::Connect(port)));
        }
        (_, Some((rights, path))) => {
            let rights: Option<Vec<_>> = rights.split(',').map(FileAccess::by_name).collect();
            match rights {
                Some(rights) => LandlockWord::Path(PathRule::new(value::inside(path)?, rights)),
                None => return wrong(),
            }
        }
        _ => return wrong(),
    };
    Ok(word)
}

/// Lays the words over what a file says: a layer that is named is required,
/// unless a word says that it need not be.
pub(crate) fn apply(words: Vec<LandlockWord>, spec: &mut Spec) {
    let option = || Origin::Option("--landlock=".to_owned());
    if words.is_empty() {
        return;
    }
    spec.origins.note("landlock", option());
    let rules = &mut spec.landlock;
    let want = match words.iter().any(|word| matches!(word, LandlockWord::IfSupported)) {
        true => Want::IfSupported,
        false => Want::Require,
    };
    if words.iter().any(|word| matches!(word, LandlockWord::No)) {
        *rules = Landlock::default();
        rules.abstract_sockets = Some(Want::Off);
    }
    for word in words {
        match word {
            LandlockWord::Path(rule) => {
                spec.origins.note(format!("landlock.paths.{}", rule.path.display()), option());
                rules.files = want;
                rules.paths.push(rule);
            }
            LandlockWord::Bind(port) => {
                rules.tcp = want;
                rules.bind.insert(port);
            }
            LandlockWord::Connect(port) => {
                rules.tcp = want;
                rules.connect.insert(port);
            }
            LandlockWord::Tcp => rules.tcp = want,
            LandlockWord::Sockets => rules.abstract_sockets = Some(want),
            LandlockWord::Signals => rules.signals = want,
            LandlockWord::IfSupported | LandlockWord::No => {}
        }
    }
}
