//! Specs that nobody wrote.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use skep::dialect::{self, Format};
use skep::spec::{Limit, Links, MountKind, Namespace, Network, Profile, Stream};
use skep::sys::abi::Resource;
use skep::{Facts, Spec};
use skep_tests::{skip, turn_to_start};

use crate::state;
use crate::strategies::{Change, change, interfaces};
use crate::{Stand, Verdict, compare};

/// How many Specs, unless `SKEP_DIFFERENTIAL` says another number; in an emulated
/// machine a tenth. Others come with another `SKEP_DIFFERENTIAL_SEED`; what differs ends
/// the run, or is shown as it is and the run goes on (`SKEP_DIFFERENTIAL_ALL=1`).
const CASES: u32 = 300;

impl Stand {
    /// Those of the changes that leave a Spec which can be had on this host.
    fn changed(&self, profile: Profile, changes: &[Change]) -> Spec {
        let mut spec = Spec::of(profile);
        self.fit(&mut spec);
        for change in changes {
            let mut next = spec.clone();
            change.on(&mut next);
            self.fit(&mut next);
            if Facts::gather(&next).is_ok_and(|facts| skep::compile(&next, &facts).is_ok()) {
                spec = next;
            }
        }
        spec
    }

    /// What a Spec may not say here: a path or program that is not there, and a
    /// namespace that is not. Of what the caller would have to give there are
    /// stand-ins.
    fn fit(&self, spec: &mut Spec) {
        for stream in &mut spec.stdio {
            if *stream == Stream::Terminal && spec.terminal.is_none() {
                *stream = Stream::Null;
            }
        }
        // Somebody else's by its path, where this user may join it.
        let path = |kind: &str| self.others.as_ref().map(|others| others.namespace(kind));
        let namespaces = &mut spec.namespaces;
        for (kind, namespace) in [
            ("ipc", &mut namespaces.ipc),
            ("uts", &mut namespaces.uts),
            ("cgroup", &mut namespaces.cgroup),
            ("pid", &mut namespaces.pid),
            ("time", &mut namespaces.time),
        ] {
            if let Namespace::Path(_) = namespace {
                *namespace = path(kind).map_or(Namespace::Given, Namespace::Path);
            }
        }
        match spec.network {
            Network::Path(_) => spec.network = path("net").map_or(Network::Given, Network::Path),
            Network::Own(_) => spec.network = path("net").map_or(Network::Given, Network::Own),
            _ => {}
        }
        if spec.root.path != Spec::default().root.path {
            spec.root.path = self.tree.clone();
        }
        for path in spec.root.lower.iter_mut().chain(&mut spec.root.upper).chain(&mut spec.root.work) {
            if let Ok(rest) = path.strip_prefix("/srv") {
                *path = self.sources.join(rest);
            }
        }
        for mount in &mut spec.mounts {
            let sources = match &mut mount.kind {
                MountKind::Bind(bind) => vec![&mut bind.source],
                MountKind::Overlay(overlay) => {
                    overlay.lower.iter_mut().chain(&mut overlay.upper).chain(&mut overlay.work).collect()
                }
                _ => Vec::new(),
            };
            for source in sources {
                if let Ok(rest) = source.strip_prefix("/srv") {
                    *source = self.sources.join(rest);
                }
            }
        }
        // Where an exec succeeds that the kernel cannot load for want of memory, the
        // payload dies at once: it is not there to be looked at.
        for resource in [Resource::STACK, Resource::AS, Resource::DATA] {
            if let Some(Limit { soft, hard }) = spec.limits.get(resource) {
                let enough = |limit: Option<u64>| limit.map(|limit| limit.max(1 << 20));
                spec.limits.set(resource, Limit { soft: enough(soft), hard: enough(hard) });
            }
        }
        // It is hidden in a network namespace of an ordinary user's, before some kernel.
        spec.sysctls.remove("net/core/somaxconn");
        // Which values a sysctl takes its own code knows.
        for value in spec.sysctls.values_mut() {
            *value = "10".into();
        }
        match &self.cards {
            Some(cards) if !cards.ipvlan => spec.links.ipvlan.clear(),
            Some(_) => {}
            // They would be the machine's own.
            None => spec.links = Links::default(),
        }
        self.run_here(spec);
    }
}

/// As JSON, or in full where that cannot say it.
fn shown(spec: &Spec) -> String {
    dialect::write(Format::Json, spec).unwrap_or_else(|_| format!("{spec:#?}"))
}

#[test]
fn generated_specs() {
    let Some(_turn) = turn_to_start() else { return };
    let stand = Stand::new();
    run(&stand, vec(change(), 1..16));
    assert!(state::TOLD.load(Ordering::Relaxed) > 0, "no payload told anything");
}

/// Each with interfaces, if it may have them.
#[test]
fn generated_networks() {
    let Some(_turn) = turn_to_start() else { return };
    skep_tests::apart(|| {
        let changes = (interfaces(), vec(change(), 0..6));
        run(&Stand::with_cards(), changes.prop_map(|(one, others)| std::iter::once(one).chain(others).collect()));
    });
}

fn run(stand: &Stand, changes: impl Strategy<Value = Vec<Change>>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let usual = if std::env::var_os("SKEP_VM").is_some() { CASES / 10 } else { CASES };
    let cases = number("SKEP_DIFFERENTIAL").map_or(usual, |cases| cases as u32);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("SKEP_DIFFERENTIAL_SEED").unwrap_or_default().to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let profile = prop::sample::select(vec![Profile::Strict, Profile::Strict, Profile::Nspawn]);
    let (started, refused, differ) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let reasons = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let run = runner.run(&(profile, changes), |(profile, changes)| {
        let spec = stand.changed(profile, &changes);
        // It may have been brought up by the one before, as the model knows none.
        if let (Network::Own(_) | Network::Path(_), Some(others)) = (&spec.network, &stand.others) {
            let net = format!("--net={}", others.namespace("net").display());
            let script = "ip link set lo down && ip addr flush dev lo";
            let _ = std::process::Command::new("nsenter").args([&net, "sh", "-c", script]).status();
        }
        match compare(stand, &spec) {
            Verdict::NoPlan(_) => {}
            Verdict::Same => started.set(started.get() + 1),
            Verdict::SameRefusal(why) => {
                refused.set(refused.get() + 1);
                *reasons.borrow_mut().entry(why).or_default() += 1;
            }
            Verdict::Differs(how) if std::env::var_os("SKEP_DIFFERENTIAL_ALL").is_some() => {
                differ.set(differ.get() + 1);
                eprintln!("DIFF {how}{}\nEND", shown(&spec));
            }
            Verdict::Differs(how) => return Err(TestCaseError::fail(format!("{how}{}", shown(&spec)))),
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    eprintln!("{} started alike, {} refused alike: {:#?}", started.get(), refused.get(), reasons.borrow());
    assert_eq!(differ.get(), 0, "as they are shown above");
    if started.get() * 2 < cases {
        skip("few of the generated Specs can be started here");
    }
}
