//! The rules are complete: whatever is done to a golden plan that makes the
//! container weaker is refused. What is weaker is judged on the kernel in memory,
//! by everything that can be seen of payload, stub init and host at the end.

mod ending;
mod mutants;
mod weaker;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::goldens::{Staged, staged};
use super::verify;
use ending::Ending;
use mutants::Mutant;

/// What became of the mutants.
#[derive(Default)]
struct Counts {
    mutants: usize,
    refused: usize,
    /// Of the refused, those that a run has shown to be weaker.
    killed: usize,
    failed: usize,
    no_weaker: usize,
    holes: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.mutants += other.mutants;
        self.refused += other.refused;
        self.killed += other.killed;
        self.failed += other.failed;
        self.no_weaker += other.no_weaker;
        self.holes.extend(other.holes);
    }

    fn judge(&mut self, golden: &Staged, end: &Ending, mutant: &Mutant, all: bool) {
        self.mutants += 1;
        let refused = verify(mutant.plan.clone()).is_err();
        self.refused += usize::from(refused);
        if refused && !all {
            return;
        }
        let weaker = Ending::of(golden, &mutant.plan).map(|other| end.weaker(&other));
        match (refused, weaker) {
            (true, Ok(weaker)) => self.killed += usize::from(!weaker.is_empty()),
            (true, Err(_)) => {}
            (false, Err(_)) => self.failed += 1,
            (false, Ok(weaker)) if weaker.is_empty() => self.no_weaker += 1,
            (false, Ok(weaker)) => {
                let Staged { name, caller, .. } = golden;
                self.holes.push(format!("{name} ({caller:?}): {}\n    {}", mutant.what, weaker.join("\n    ")));
            }
        }
    }
}

/// Which mutants are tried.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    /// Most plans have most ops in common: those of the same ops once.
    Distinct,
    /// Those of every plan.
    Every,
    /// And run also where a rule refuses them, which tells how many are weaker.
    EveryRefused,
}

#[test]
fn no_mutant_weakens_a_container() {
    try_all(Which::Distinct);
}

#[test]
#[ignore = "in a release build some minutes"]
fn no_mutant_of_any_plan_weakens_a_container() {
    try_all(Which::Every);
}

#[test]
#[ignore = "in a release build an hour of one processor"]
fn refused_mutants_of_every_plan_are_weaker_or_not() {
    try_all(Which::EveryRefused);
}

fn try_all(which: Which) {
    let goldens = staged();
    // Which plan tries a mutant does not depend on which thread is the faster.
    let first = RefCell::new(HashMap::new());
    for (place, golden) in goldens.iter().enumerate() {
        let note = |key| {
            first.borrow_mut().entry(key).or_insert(place);
            false
        };
        mutants::each(&golden.plan, note, |_| ());
    }
    let (next, first) = (AtomicUsize::new(0), first.into_inner());
    let work = || {
        let mut counts = Counts::default();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(golden) = goldens.get(place) else { return counts };
            let Ok(end) = Ending::of(golden, &golden.plan) else { continue };
            let seen = RefCell::new(HashSet::new());
            let wanted =
                |key| which != Which::Distinct || first.get(&key) == Some(&place) && seen.borrow_mut().insert(key);
            mutants::each(&golden.plan, wanted, |mutant| {
                counts.judge(golden, &end, &mutant, which == Which::EveryRefused);
            });
        }
    };
    let mut counts = Counts::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().for_each(|one| counts.add(one.join().unwrap()));
    });
    let Counts { mutants, refused, killed, failed, no_weaker, holes } = &counts;
    println!("{mutants} mutants of {} plans: {refused} refused by a rule, {failed} by the kernel, ", goldens.len());
    println!("{no_weaker} end no weaker, {} weaker; {killed} of those refused were seen to be weaker", holes.len());
    assert!(*mutants > 20_000, "{mutants}");
    assert!(
        holes.is_empty(),
        "{} mutants weaken the container, and no rule refuses them:\n{}",
        holes.len(),
        holes.join("\n")
    );
}
