//! The journal of a machine: a directory of the host that is bound into it, or one of
//! its tree to which the host has a link.

use std::path::Path;

use skep_sys::abi::MountAttrs;

use super::idmap::Ids;
use super::source::{Source, require_source};
use super::{Content, Placed};
use crate::compile::{Context, machine_id};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::{Facts, JournalPlace, journal_of};
use crate::plan::Builder;
use crate::report::Report;
use crate::spec::{LinkJournal, Spec};
use crate::trees::Wanted;

/// What becomes of a machine's journal.
#[derive(PartialEq, Eq, Debug)]
enum Decision {
    /// Nobody asked.
    Off,
    /// Nothing, and why.
    Nothing(String),
    /// The host's directory is bound.
    Bind,
    /// The host has its link; the tree needs its directory.
    Guest,
    /// The start has to make this on the host first.
    Make(Wanted),
}

fn decide(spec: &Spec, facts: &Facts, id: Option<&str>) -> Result<Decision> {
    let mode = spec.link_journal;
    if mode == LinkJournal::No {
        return Ok(Decision::Off);
    }
    let problem = |what: &str, remedy: &str| {
        if mode.is_tried() {
            return Ok(Decision::Nothing(what.to_owned()));
        }
        let error = Error::new(ErrorKind::InvalidSpec, format!("link the machine's journal: {what}"));
        Err(error.from(spec.origins.of("link_journal")).remedy(remedy))
    };
    let (Some(id), Some(journal)) = (id, &facts.journal) else {
        return problem("it has no machine id of 32 hexadecimal digits", "Use the profile `nspawn`, and --uuid=.");
    };
    if let Some(failed) = &journal.failed {
        return Ok(Decision::Nothing(failed.clone()));
    }
    if spec.root.ephemeral {
        let remedy = "Leave --ephemeral out, or say `try-host` or `no`.";
        return problem("the machine is ephemeral, and what it is called by nobody looks for", remedy);
    }
    if journal.host.as_deref() == Some(id) {
        return problem(
            &format!("the host has the same id, {id}"),
            "Give the machine its own: empty the tree's etc/machine-id, and say --uuid= if you like.",
        );
    }
    if !facts.privileged() {
        return problem("an ordinary user has no part in /var/log/journal", "Run as root, or leave it out.");
    }
    let path = journal_of(id);
    let tree = spec.root.top().join(path.strip_prefix("/").unwrap_or(&path));
    let keeps = spec.root.is_changed() && !spec.root.image;
    let shown = path.display();
    match (mode, &journal.place) {
        (LinkJournal::Auto | LinkJournal::Host | LinkJournal::TryHost, JournalPlace::Directory) => Ok(Decision::Bind),
        (LinkJournal::Auto, JournalPlace::Link(to)) if *to == tree && keeps => Ok(Decision::Guest),
        (LinkJournal::Auto, _) => Ok(Decision::Nothing(format!("the host has no directory {shown}"))),
        (_, JournalPlace::MountPoint) => {
            problem(&format!("something is mounted on {shown} of the host"), "Unmount it, or say `no`.")
        }
        (_, JournalPlace::Other) => problem(
            &format!("{shown} of the host is neither a directory nor a link, or cannot be looked at"),
            "Move it away, or say `no`.",
        ),
        (LinkJournal::Host | LinkJournal::TryHost, _) => Ok(Decision::Make(Wanted::Directory)),
        _ if !keeps => problem(
            "the tree keeps none: it is read-only, volatile, or a disk image",
            "Say `host`: the directory is the host's then.",
        ),
        (_, JournalPlace::Link(to)) if *to == tree => Ok(Decision::Guest),
        _ => Ok(Decision::Make(Wanted::Link(tree))),
    }
}

/// What the start has to make on the host, for which machine.
pub(crate) fn to_make(spec: &Spec, facts: &Facts) -> Result<Option<(String, Wanted)>> {
    let Some(id) = machine_id(spec, facts) else { return Ok(None) };
    match decide(spec, facts, Some(&id))? {
        Decision::Make(wanted) => Ok(Some((id, wanted))),
        _ => Ok(None),
    }
}

/// What is bound, or made in the tree.
pub(super) fn of_host(context: &Context<'_>, report: &mut Report, plan: &mut Builder) -> Result<Option<Placed>> {
    const ITEM: &str = "journal";
    let id = context.machine_id.as_deref();
    let target = journal_of(id.unwrap_or_default());
    let place =
        |content| Placed { target: target.clone(), content, origin: context.origin("link_journal"), over_link: false };
    match decide(context.spec, context.facts, id)? {
        Decision::Off => {}
        Decision::Nothing(why) => report.off(ITEM, format!("the host does not see it: {why}")),
        Decision::Make(_) => report.off(ITEM, "what it needs on the host a start makes"),
        Decision::Guest => {
            report.applied(ITEM, "the tree's, to which the host has a link");
            return Ok(Some(place(Content::Directory)));
        }
        Decision::Bind => {
            let source = Source::read_only(context, Path::new(&target), context.origin("link_journal"), plan);
            // Its files are root's and those of the journal's group, on both sides.
            let ids = if context.mapping.is_new() { Ids::Container } else { Ids::Plain };
            let source = Source { attrs: MountAttrs::NOEXEC, ids, ..source };
            require_source(context, "link_journal", "directory of the journal", &source)?;
            report.applied(ITEM, "the host's directory");
            report.applied(
                format!("mount {}", target.display()),
                format!("bind of {}: {}", source.path.display(), source.all_attrs()),
            );
            return Ok(Some(place(Content::Bind(source))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::JournalFacts;
    use crate::spec::{Profile, Root, Volatile};
    use skep_sys::abi::CapabilitySet;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn decided(mode: LinkJournal, place: JournalPlace, change: impl Fn(&mut Spec, &mut Facts)) -> Result<Decision> {
        let root = Root { path: "/tree".into(), volatile: Volatile::No, ..Root::default() };
        let mut spec = Spec { root, link_journal: mode, ..Spec::of(Profile::Nspawn) };
        let mut facts = Facts::example(&spec);
        (facts.uid, facts.capabilities) = (0, CapabilitySet::up_to(40));
        facts.journal = Some(JournalFacts { host: Some("f".repeat(32)), place, failed: None });
        change(&mut spec, &mut facts);
        decide(&spec, &facts, Some(ID))
    }

    #[test]
    fn what_is_there_decides() {
        use JournalPlace::{Directory, Link, Missing, MountPoint, Other};
        use LinkJournal::{Auto, Guest, Host, No, TryGuest, TryHost};
        let tree = || Path::new("/tree/var/log/journal").join(ID);
        let (ours, other) = (|| Link(tree()), || Link("/else".into()));
        let as_is = |_: &mut Spec, _: &mut Facts| ();
        let make = || Decision::Make(Wanted::Link(tree()));
        for (mode, place, decision) in [
            (No, Directory, Decision::Off),
            (Auto, Directory, Decision::Bind),
            (Auto, ours(), Decision::Guest),
            (Host, Directory, Decision::Bind),
            (Host, Missing, Decision::Make(Wanted::Directory)),
            (TryHost, ours(), Decision::Make(Wanted::Directory)),
            (Guest, Missing, make()),
            (Guest, Directory, make()),
            (TryGuest, other(), make()),
            (TryGuest, ours(), Decision::Guest),
        ] {
            assert_eq!(decided(mode, place.clone(), as_is).unwrap(), decision, "{mode:?} {place:?}");
        }
        for place in [Missing, other(), MountPoint, Other] {
            assert!(matches!(decided(Auto, place, as_is).unwrap(), Decision::Nothing(_)));
        }
        for place in [MountPoint, Other] {
            for (mode, tried) in [(Host, TryHost), (Guest, TryGuest)] {
                assert!(decided(mode, place.clone(), as_is).is_err(), "{mode:?} {place:?}");
                assert!(matches!(decided(tried, place.clone(), as_is).unwrap(), Decision::Nothing(_)));
            }
        }
    }

    #[test]
    fn what_stands_in_its_way() {
        use LinkJournal::{Guest, Host, TryGuest, TryHost};
        type Change = fn(&mut Spec, &mut Facts);
        let both: &[(Change, &str)] = &[
            (|spec, _| spec.root.ephemeral = true, "ephemeral"),
            (|_, facts| facts.journal.as_mut().unwrap().host = Some(ID.into()), "the same id"),
            (|_, facts| facts.capabilities = CapabilitySet::EMPTY, "ordinary user"),
            (|_, facts| facts.journal = None, "no machine id"),
        ];
        let of_guest: &[(Change, &str)] = &[
            (|spec, _| spec.root.read_only = true, "keeps none"),
            (|spec, _| spec.root.volatile = Volatile::State, "keeps none"),
            (|spec, _| spec.root.image = true, "keeps none"),
        ];
        for (mode, tried, changes) in [(Host, TryHost, both), (Guest, TryGuest, both), (Guest, TryGuest, of_guest)] {
            for (change, why) in changes {
                let error = decided(mode, JournalPlace::Missing, change).unwrap_err().to_string();
                assert!(error.contains(why), "{mode:?}: {error}");
                let nothing = decided(tried, JournalPlace::Missing, change).unwrap();
                assert!(matches!(&nothing, Decision::Nothing(text) if text.contains(why)), "{tried:?}: {nothing:?}");
            }
        }
    }
}
