//! System calls and socket families, as lists with `~` before what is denied.

use std::collections::BTreeSet;

use super::lines::BLANK;
use super::value::{Parsed, Separator, ValueError};
use crate::dialect::nearest;
use crate::dialect::problem::quoted;
use crate::seccomp::{Arch, GROUPS, exists_somewhere, floor, group};
use crate::spec::{Denial, Family, Sockets, SystemCalls};

/// The value of a `SystemCallFilter=`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SystemCallList {
    /// Allowed beside those of the profile.
    Allow(Vec<String>),
    /// Refused.
    Deny(Vec<(String, Denial)>),
}

impl SystemCallList {
    /// Adds the list to what was there. An item is in one list only, the one
    /// that named it last. What is dangerous is opened only if it is named
    /// itself, not by a group.
    pub fn apply(&self, calls: &mut SystemCalls) {
        match self {
            Self::Allow(items) => {
                for item in items {
                    calls.deny.remove(item);
                    let list = if floor::is_dangerous(item) { &mut calls.danger_allow } else { &mut calls.allow };
                    list.insert(item.clone());
                }
            }
            Self::Deny(items) => {
                for (item, denial) in items {
                    calls.allow.remove(item);
                    calls.danger_allow.remove(item);
                    // A later answer wins, but none softer than the end of the process.
                    let answer = calls.deny.entry(item.clone()).or_insert(*denial);
                    if *answer != Denial::Kill {
                        *answer = *denial;
                    }
                }
            }
        }
    }

    /// The items by name.
    #[must_use]
    pub fn items(&self) -> Vec<&str> {
        match self {
            Self::Allow(items) => items.iter().map(String::as_str).collect(),
            Self::Deny(items) => items.iter().map(|(item, _)| item.as_str()).collect(),
        }
    }
}

/// Whether a word names a call or a group.
pub(super) fn is_item(text: &str) -> bool {
    group(text).is_some() || exists_somewhere(text)
}

/// `[~]NAME|@GROUP …`: allowed, or refused with `EPERM`. With `answers`, an item
/// that is refused may have its own: `~NAME:ENOSYS`.
///
/// # Errors
///
/// No item, or one that is neither a call of any Linux nor a group.
pub fn system_calls(text: &str, answers: bool) -> Parsed<SystemCallList> {
    let (names, denied) = after_tilde(text);
    if names.trim_matches(BLANK).is_empty() {
        return Err(ValueError::new("no system call is named").with_remedy("name calls, or groups such as @clock"));
    }
    let start = text.len() - names.len();
    let item = |(at, word): (usize, &str)| {
        let (name, answer) = match word.split_once(':') {
            Some((name, answer)) if answers && denied => (name, Some(answer)),
            _ => (word, None),
        };
        if !is_item(name) {
            let otherwise = "names are those of syscalls(2); groups are those of systemd.exec(5), such as @clock";
            let known = GROUPS.iter().map(|group| group.name).chain(Arch::X86_64.calls().map(|(_, name)| name));
            return Err(ValueError::new(format!("{} is not a system call", quoted(name)))
                .with_remedy(nearest::remedy(name, known, otherwise))
                .at(start + at));
        }
        let denial = answer.map_or(Ok(Denial::EPERM), |answer| {
            answer.parse().map_err(|_| {
                ValueError::new(format!("{} is not an answer", quoted(answer)))
                    .with_remedy("write the name of an error such as ENOSYS, its number, or kill")
                    .at(start + at + name.len() + 1)
            })
        })?;
        Ok((name.to_owned(), denial))
    };
    let items: Vec<(String, Denial)> = Separator::Blanks.words(names).map(item).collect::<Parsed<_>>()?;
    Ok(match denied {
        true => SystemCallList::Deny(items),
        false => SystemCallList::Allow(items.into_iter().map(|(name, _)| name).collect()),
    })
}

/// The value of a `RestrictAddressFamilies=`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FamilyList {
    /// These, and no others but those of further lists; none at all if empty.
    Only(BTreeSet<Family>),
    /// Not these.
    Deny(BTreeSet<Family>),
}

impl FamilyList {
    /// Adds lists to what was there: together they say which families there
    /// are, and none opens what an earlier `sockets` closes.
    pub fn apply<'l>(lists: impl IntoIterator<Item = &'l Self>, sockets: &mut Sockets) {
        let mut only: Option<BTreeSet<Family>> = None;
        for list in lists {
            match list {
                Self::Only(families) => only.get_or_insert_default().extend(families),
                Self::Deny(families) => sockets.deny.extend(families),
            }
        }
        sockets.only = match (only, sockets.only.take()) {
            (Some(new), Some(old)) => Some(&new & &old),
            (new, old) => new.or(old),
        };
    }

    /// The families by name, as a value.
    pub(super) fn text(&self) -> String {
        let (tilde, families) = match self {
            Self::Only(families) if families.is_empty() => return "none".to_owned(),
            Self::Only(families) => ("", families),
            Self::Deny(families) => ("~", families),
        };
        let names: Vec<String> = families.iter().map(Family::to_string).collect();
        format!("{tilde}{}", names.join(" "))
    }
}

/// `[~]AF_… …`, or `none`.
///
/// # Errors
///
/// No family, or a name that is none.
pub fn address_families(text: &str) -> Parsed<FamilyList> {
    if text == "none" {
        return Ok(FamilyList::Only(BTreeSet::new()));
    }
    let (names, denied) = after_tilde(text);
    let start = text.len() - names.len();
    if names.trim_matches(BLANK).is_empty() {
        return Err(ValueError::new("no address family is named").with_remedy("name families such as AF_INET"));
    }
    let families = Separator::Blanks.words(names).map(|(at, word)| {
        word.parse::<Family>().map_err(|_| {
            ValueError::new(format!("{} is not an address family", quoted(word)))
                .with_remedy("families are those of address_families(7), such as AF_UNIX and AF_INET6")
                .at(start + at)
        })
    });
    let families = families.collect::<Parsed<_>>()?;
    Ok(if denied { FamilyList::Deny(families) } else { FamilyList::Only(families) })
}

fn after_tilde(text: &str) -> (&str, bool) {
    match text.strip_prefix('~') {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}
