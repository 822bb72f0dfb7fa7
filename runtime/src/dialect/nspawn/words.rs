//! Values that are one word of a few, each with its table.

use std::ffi::OsStr;

use super::value::{Parsed, ValueError, as_boolean};
use crate::dialect::problem::quoted;
use crate::spec::{IdMap, LinkJournal, ResolvConf, Timezone};

/// The kinds of id map of a bind, by their options.
const ID_MAPS: &[(&str, IdMap)] = &[
    ("noidmap", IdMap::NoIdMap),
    ("idmap", IdMap::IdMap),
    ("rootidmap", IdMap::RootIdMap),
    ("owneridmap", IdMap::OwnerIdMap),
];

/// The id map that an option of a bind stands for.
pub(super) fn id_map(option: &OsStr) -> Option<IdMap> {
    ID_MAPS.iter().find(|(name, _)| option == *name).map(|(_, mode)| *mode)
}

pub(super) fn id_map_name(mode: IdMap) -> &'static str {
    name_of(&mode, ID_MAPS)
}

/// Ways to treat `/etc/resolv.conf`; `yes` and `no` are the first two.
const RESOLV_CONF: &[(&str, ResolvConf)] = &[
    ("auto", ResolvConf::Auto),
    ("off", ResolvConf::Off),
    ("copy-host", ResolvConf::CopyHost),
    ("copy-static", ResolvConf::CopyStatic),
    ("copy-uplink", ResolvConf::CopyUplink),
    ("copy-stub", ResolvConf::CopyStub),
    ("replace-host", ResolvConf::ReplaceHost),
    ("replace-static", ResolvConf::ReplaceStatic),
    ("replace-uplink", ResolvConf::ReplaceUplink),
    ("replace-stub", ResolvConf::ReplaceStub),
    ("bind-host", ResolvConf::BindHost),
    ("bind-static", ResolvConf::BindStatic),
    ("bind-uplink", ResolvConf::BindUplink),
    ("bind-stub", ResolvConf::BindStub),
    ("delete", ResolvConf::Delete),
];

/// Ways to treat `/etc/localtime`; `yes` and `no` are the first two.
const TIMEZONE: &[(&str, Timezone)] = &[
    ("auto", Timezone::Auto),
    ("off", Timezone::Off),
    ("copy", Timezone::Copy),
    ("bind", Timezone::Bind),
    ("symlink", Timezone::Symlink),
    ("delete", Timezone::Delete),
];

/// Where the journal is; `yes` and `no` are the first two.
const LINK_JOURNAL: &[(&str, LinkJournal)] = &[
    ("auto", LinkJournal::Auto),
    ("no", LinkJournal::No),
    ("host", LinkJournal::Host),
    ("try-host", LinkJournal::TryHost),
    ("guest", LinkJournal::Guest),
    ("try-guest", LinkJournal::TryGuest),
];

/// Whether the host sees the machine's journal.
///
/// # Errors
///
/// Anything but a boolean and the words of `systemd-nspawn(1)`.
pub fn link_journal(text: &str) -> Parsed<LinkJournal> {
    match as_boolean(text) {
        Some(true) => Ok(LinkJournal::Auto),
        Some(false) => Ok(LinkJournal::No),
        None => named(text, LINK_JOURNAL, "the journal"),
    }
}

pub(super) fn link_journal_name(mode: LinkJournal) -> &'static str {
    name_of(&mode, LINK_JOURNAL)
}

/// One of a table's words, or a boolean for its first two.
fn named<T: Copy>(text: &str, table: &[(&str, T)], what: &str) -> Parsed<T> {
    let name = match as_boolean(text) {
        Some(true) => "auto",
        Some(false) => "off",
        None => text,
    };
    table.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        ValueError::new(format!("{} is not a way to treat {what}", quoted(text)))
            .with_remedy(format!("write one of {}", names.join(", ")))
    })
}

/// The name of a value of such a table.
fn name_of<T: PartialEq>(value: &T, table: &[(&'static str, T)]) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("", |(name, _)| *name)
}

/// What becomes of `/etc/resolv.conf`.
///
/// # Errors
///
/// Anything but a boolean and the words of `systemd-nspawn(1)`.
pub fn resolv_conf(text: &str) -> Parsed<ResolvConf> {
    named(text, RESOLV_CONF, "resolv.conf")
}

/// The words that [`resolv_conf`] reads beside booleans.
pub fn resolv_conf_words() -> impl Iterator<Item = &'static str> {
    RESOLV_CONF.iter().map(|(name, _)| *name)
}

pub(super) fn resolv_conf_name(mode: ResolvConf) -> &'static str {
    name_of(&mode, RESOLV_CONF)
}

/// What becomes of `/etc/localtime`.
///
/// # Errors
///
/// Anything but a boolean and the words of `systemd-nspawn(1)`.
pub fn timezone(text: &str) -> Parsed<Timezone> {
    named(text, TIMEZONE, "localtime")
}

/// The words that [`timezone`] reads beside booleans.
pub fn timezone_words() -> impl Iterator<Item = &'static str> {
    TIMEZONE.iter().map(|(name, _)| *name)
}

pub(super) fn timezone_name(mode: Timezone) -> &'static str {
    name_of(&mode, TIMEZONE)
}
