//! Hosts that are not this one.

use arbitrary::{Result, Unstructured};
use skep::facts::{Bearer, CgroupLayout, EntryKind};
use skep::spec::{IdRange, NumberList};
use skep::{Facts, Spec};
use skep_sys::abi::{CapabilitySet, Resource};

/// The made-up host of [`Facts::example`], for its ordinary user and for root.
pub fn hosts(spec: &Spec) -> [Facts; 2] {
    let example = Facts::example(spec);
    [root(example.clone()), example]
}

/// The same host, as root sees it.
pub fn root(mut facts: Facts) -> Facts {
    (facts.uid, facts.gid, facts.capabilities) = (0, 0, CapabilitySet::up_to(facts.last_capability));
    for group in &mut facts.cgroups.unified {
        group.writable = true;
        group.enabled = ["cpu", "memory", "pids"].map(str::to_owned).into();
    }
    facts
}

/// A host of which anything may be otherwise than usual.
pub(crate) fn facts(source: &mut Unstructured<'_>, spec: &Spec) -> Result<Facts> {
    let mut facts = Facts::example(spec);
    if source.arbitrary()? {
        facts = root(facts);
    }
    if source.ratio(1, 2)? {
        return Ok(facts);
    }
    let odd = |source: &mut Unstructured<'_>| source.ratio(1, 8);
    if odd(source)? {
        facts.capabilities = CapabilitySet(source.arbitrary()?);
    }
    if odd(source)? {
        facts.ids = vec![IdRange { base: 0, count: source.int_in_range(1..=200_000)? }];
        facts.foreign_mounts = source.arbitrary()?;
    }
    if odd(source)? {
        facts.bounding = CapabilitySet(source.arbitrary()?);
    }
    if odd(source)? {
        facts.last_capability = source.int_in_range(0..=70)?;
    }
    if odd(source)? {
        facts.max_user_namespaces = source.int_in_range(0..=1)?;
    }
    if odd(source)? {
        facts.restricted_by = Some("kernel.apparmor_restrict_unprivileged_userns");
    }
    if odd(source)? {
        facts.keyrings = false;
    }
    if odd(source)? {
        facts.hard_limits.insert(Resource(source.int_in_range(0..=20)?), source.arbitrary()?);
    }
    if odd(source)? {
        facts.kernel_paths.retain(|path| *path == "/proc/sys");
    }
    if odd(source)? {
        facts.cgroups.layout =
            *source.choose(&[CgroupLayout::None, CgroupLayout::Legacy, CgroupLayout::Hybrid, CgroupLayout::Unified])?;
        facts.cgroups.legacy_swap = source.arbitrary()?;
        facts.cgroups.cpuset = [NumberList::parse("0-1").ok(), NumberList::parse("0").ok()]
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|lists| lists.try_into().ok());
        facts.cgroups.legacy = ["memory", "cpu", "cpuset", "blkio", "pids", "freezer"]
            .map(|name| (name.to_owned(), format!("/sys/fs/cgroup/{name}").into()))
            .into();
    }
    if odd(source)? {
        facts.cgroups.unified.clear();
    }
    if odd(source)? {
        let mut range = || Ok(Some(IdRange { base: source.arbitrary()?, count: source.arbitrary()? }));
        (facts.subuid, facts.subgid) = (range()?, range()?);
    }
    if odd(source)? {
        facts.subgid = None;
    }
    if odd(source)? {
        (facts.id_map_helpers, facts.range_lock) = (None, false);
    }
    if odd(source)? {
        facts.free_range = None;
    }
    if odd(source)? {
        facts.named_user = None;
    }
    const KINDS: [EntryKind; 4] = [EntryKind::Missing, EntryKind::Directory, EntryKind::File, EntryKind::Special];
    if odd(source)? {
        for fact in facts.paths.values_mut() {
            fact.kind = *source.choose(&KINDS)?;
            let failed = fact.kind == EntryKind::Missing && source.arbitrary()?;
            fact.failed = failed.then_some(skep::sys::Errno::EACCES);
        }
    }
    if odd(source)? {
        for fact in facts.targets.values_mut() {
            fact.kind = *source.choose(&KINDS)?;
            fact.through_link = source.ratio(1, 4)?;
            fact.is_link = fact.through_link && source.arbitrary()?;
            fact.existing = fact.existing.min(source.int_in_range(0..=3)?);
        }
    }
    if odd(source)? {
        facts.usr_links.clear();
    }
    if odd(source)? {
        facts.device_programs = false;
    }
    if odd(source)? {
        (facts.time_zone, facts.contents) = (None, Default::default());
    }
    if odd(source)? {
        for fact in facts.paths.values_mut() {
            (fact.node, fact.uid, fact.gid) = (None, source.arbitrary()?, source.arbitrary()?);
        }
    }
    // Turned round: where the bytes end, nothing is odd that older inputs do not say.
    let odd = |source: &mut Unstructured<'_>| Ok(!source.ratio(7, 8)?);
    if odd(source)? {
        let absent: u64 = source.arbitrary()?;
        let mut nth = 0..64;
        facts.kernel_paths.retain(|_| nth.next().is_some_and(|nth| absent >> nth & 1 == 0));
    }
    if odd(source)? {
        (facts.foreign_mounts, facts.landlock) = (source.arbitrary()?, source.int_in_range(0..=9)?);
    }
    if odd(source)? {
        facts.registry = None;
    }
    if odd(source)? {
        facts.bearer = if odd(source)? { Bearer::Gone } else { Bearer::Lives(source.arbitrary()?) };
    }
    if odd(source)? {
        (facts.nice, facts.oom_score_adjust) = (source.arbitrary()?, source.arbitrary()?);
    }
    if odd(source)? {
        facts.secure_execution = source.arbitrary()?;
    }
    if odd(source)? {
        for group in &mut facts.cgroups.unified {
            group.writable = source.arbitrary()?;
            group.enabled = ["cpu", "cpuset", "io", "memory", "pids"][source.int_in_range(0..=5)?..]
                .iter()
                .map(|name| (*name).to_owned())
                .collect();
        }
    }
    Ok(facts)
}
