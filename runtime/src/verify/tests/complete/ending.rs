//! How a start ends, in lines, and which of two ends is weaker.

use std::collections::{BTreeMap, BTreeSet};

use skep_sys::{Actor, Model};

use super::Staged;
use crate::error::{Error, Result};
use crate::plan::Plan;

/// Everything that can be seen while a container runs, and of the host once it
/// has ended: by who and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ending(BTreeMap<(&'static str, String), String>);

impl Ending {
    /// Runs `plan` instead of the golden one.
    pub(super) fn of(golden: &Staged, plan: &Plan) -> Result<Self> {
        // What a mutant no longer makes, nobody gives instead.
        if crate::run::given(plan) != crate::run::given(&golden.plan) {
            return Err(Error::system("find a descriptor that is given", skep_sys::Errno::EBADF));
        }
        let mut model = golden.model.clone();
        model.settle();
        let mut slots = Vec::new();
        match &golden.container {
            None => slots = crate::run::rehearsed(&mut model, plan)?,
            Some(container) => crate::exec::rehearsed(&mut model, container, plan)?,
        }
        let mut ending = Self(BTreeMap::new());
        for (who, actor) in [("child", Actor::Child), ("payload", Actor::Payload)] {
            if let Some(process) = model.process(actor) {
                ending.say(who, "ended".to_owned(), format!("{:?}", process.ended()));
                if process.ended().is_none() {
                    ending.process(who, process.lines());
                }
            }
        }
        if let Some(host) = model.process(Actor::Host) {
            ending.process(
                "embedder",
                host.lines().into_iter().filter(|(name, _)| name.starts_with("descriptor ")).collect(),
            );
        }
        ending.host("host", &model);
        // Its owner is killed; or it ends by itself.
        let mut killed = model.clone();
        killed.kill_embedder();
        ending.host("host after the embedder", &killed);
        if golden.container.is_none() {
            crate::run::end_of_life(&mut model, plan, &mut slots);
            ending.host("host afterwards", &model);
        }
        Ok(ending)
    }

    fn say(&mut self, who: &'static str, name: String, value: String) {
        self.0.insert((who, name), value);
    }

    /// What is closed by an exec has a number that means nothing.
    fn process(&mut self, who: &'static str, lines: BTreeMap<String, String>) {
        let mut kept = Vec::new();
        for (name, value) in lines {
            if name.starts_with("descriptor ") && (who == "embedder" || value.ends_with("close-on-exec")) {
                kept.push(value);
            } else {
                self.say(who, name, value);
            }
        }
        kept.sort_unstable();
        let mut count = BTreeMap::new();
        for value in kept {
            *count.entry(value).or_insert(0) += 1;
        }
        count.into_iter().for_each(|(value, count)| self.say(who, format!("holds {value}"), format!("{count}")));
    }

    fn host(&mut self, who: &'static str, model: &Model) {
        for change in model.host_changes() {
            let (name, value) = change.split_once(": ").map_or((change.as_str(), ""), |parts| parts);
            self.say(who, name.to_owned(), value.to_owned());
        }
    }

    /// In what `other` is weaker, or not what this one is.
    pub(super) fn weaker(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let (old, new) = (self.0.get(name).map(String::as_str), other.0.get(name).map(String::as_str));
            if old != new && !is_no_weaker(name.0, &name.1, old, new) {
                let shown =
                    |value: Option<&str>| value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:.150}"));
                found.push(format!("{} {}: {} -> {}", name.0, name.1, shown(old), shown(new)));
            }
        }
        found
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split([' ', ',', '[', ']']).filter(|word| !word.is_empty() && *word != "none" && *word != "-").collect()
}

/// Whether something else is certainly no weakening.
fn is_no_weaker(who: &str, name: &str, old: Option<&str>, new: Option<&str>) -> bool {
    if who.starts_with("host") {
        // Of what the container needs there may be less.
        // Programs for devices only forbid; rule 62 counts what v1 allows.
        if (old.is_none() && name.contains("device program")) || name.ends_with("/devices.allow") {
            return true;
        }
        return new.is_none() || old.zip(new).is_some_and(|(old, new)| old.starts_with("running") && new != "running");
    }
    let kind = name.split(' ').next().unwrap_or(name);
    match (kind, old, new) {
        // Of its own affairs.
        ("hostname" | "domainname" | "working" | "executed", ..) => true,
        ("effective" | "permitted" | "inheritable" | "bounding" | "ambient" | "groups", Some(old), Some(new)) => {
            words(old).is_superset(&words(new))
        }
        ("securebits" | "links", Some(old), Some(new)) => words(new).is_superset(&words(old)),
        ("limit", Some(old), Some(new)) => {
            let numbers = |text: &str| text.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
            numbers(old).iter().zip(numbers(new)).all(|(old, new)| new <= *old)
        }
        ("descriptor", _, None) => true,
        ("descriptor", Some(old), Some(new)) => {
            new.replace("Read", "Write") == old || new.starts_with("file /null for ")
        }
        // Open for reading instead, a stream or a helper.
        ("holds", ..) if name.contains("file /null for Read") || name.contains("file /usr/bin/new") => true,
        ("holds", old, new) => {
            let count = |value: Option<&str>| value.and_then(|value| value.parse().ok()).unwrap_or(0);
            count(new) <= count(old)
        }
        ("file", None, _) | ("file", _, None) => true,
        ("file", Some(old), Some(new)) => {
            let parts = |text: &str| {
                let mut words = text.splitn(3, ' ').map(str::to_owned);
                let owner = words.next();
                let mode = words.next().and_then(|mode| u32::from_str_radix(&mode, 8).ok()).unwrap_or(u32::MAX);
                (owner, mode, words.next().map(|kind| kind.split(' ').next().map(str::to_owned)))
            };
            let (old, new) = (parts(old), parts(new));
            // The bit of the sticky directory is the other way round.
            let bits =
                if old.2.as_ref().is_some_and(|kind| kind.as_deref() == Some("device")) { 0o6666 } else { 0o6777 };
            let more = new.1 & !old.1 & bits != 0 || (old.1 & !new.1 & 0o1000 != 0 && new.1 & 0o022 != 0);
            (&old.0, &old.2) == (&new.0, &new.2) && !more
        }
        // What is not there shows nothing; but what it covered.
        // Files of the plan, elsewhere.
        ("mount", None, Some(new)) => new.contains(" on ramfs "),
        ("mount", Some(old), None) => !words(old).contains("ro") || old.contains(" on ramfs "),
        ("mount", Some(old), Some(new)) => {
            let parts = |text: &str| {
                let (flags, rest) = text.split_once("of ").unwrap_or((text, ""));
                let (rest, options) = rest.split_once("options").unwrap_or((rest, ""));
                let flags = words(flags).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
                let options: BTreeMap<_, _> = options.split(' ').filter_map(|option| option.split_once('=')).collect();
                (flags, rest.to_owned(), options.into_iter().map(own).collect::<BTreeMap<_, _>>())
            };
            let (old, new) = (parts(old), parts(new));
            let wrong = ["shared", "slave"].iter().any(|word| new.0.contains(*word));
            let mut options = new.2.iter().filter(|(key, value)| old.2.get(*key) != Some(value));
            new.0.is_superset(&old.0)
                && old.1 == new.1
                && !wrong
                && options.all(|(key, value)| is_less(key, value, &old.2))
                && old
                    .2
                    .keys()
                    .all(|key| new.2.contains_key(key) || ["mode", "ptmxmode", "userxattr"].contains(&key.as_str()))
        }
        ("landlock", Some(old), Some(new)) => {
            let bits =
                |text: &str| text.split(' ').map(|word| u64::from_str_radix(word, 16).unwrap_or(0)).collect::<Vec<_>>();
            let rule = name.contains(" path ") || name.contains(" port ");
            let fewer =
                |one: &str, other: &str| bits(one).iter().zip(bits(other)).all(|(one, other)| other & !one == 0);
            if rule { fewer(old, new) } else { fewer(new, old) }
        }
        ("landlock", Some(_), None) => name.contains(" path ") || name.contains(" port "),
        ("landlock", None, _) => !name.contains(" path ") && !name.contains(" port "),
        _ => false,
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Whether an option of a file system is no more than it was: what its files' modes
/// are, they say themselves.
fn is_less(key: &str, value: &str, old: &BTreeMap<String, String>) -> bool {
    let bytes = |text: &str| text.replace('m', "000000").parse::<u64>().ok();
    match key {
        "mode" | "ptmxmode" => true,
        "size" | "nr_inodes" => {
            let was = old.get(key).and_then(|was| bytes(was)).unwrap_or(0);
            bytes(value).is_some_and(|now| now != 0 && now <= was)
        }
        _ => false,
    }
}
