//! Memory: of containers that live, of their owner, and of starting one.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::floor::Floor;
use crate::launcher::{Libc, launcher};
use crate::measure::{Bound, Entry, Group, Pace, Row, in_turns};
use crate::{Result, machine, peers, skep};

/// A line of a process's `status`, in KiB or as a count.
fn status(process: &str, name: &str) -> Option<u64> {
    number(&format!("/proc/{process}/status"), name)
}

fn number(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
}

/// Containers that do nothing, held by this process.
struct Alive(Vec<::skep::Container>);

impl Alive {
    fn fill(&mut self, count: usize) -> Result<()> {
        while self.0.len() < count {
            self.0.push(::skep::Command::new("/usr/bin/sleep").arg("infinity").spawn()?);
        }
        Ok(())
    }
}

/// A start beside none, some and many that live; what each of those costs.
pub(crate) fn alive(floor: &Floor, _: &Path, pace: Pace) -> Result<Group> {
    // Some three descriptors each.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let levels: [usize; 3] = if pace.is_quick() { [0, 10, 50] } else { [0, 100, 1000] };
    let mut held = Alive(Vec::new());
    let mut group = Group::new("alive", "a start from this process beside its containers that live", Vec::new());
    let sample = |name: &str, group: &mut Group| -> Result<()> {
        let entries =
            vec![Entry::of(format!("floor, {name}"), floor.server()), Entry::new(format!("skep, {name}"), skep)];
        group.rows.extend(in_turns(entries, pace.share(2))?);
        Ok(())
    };
    for (step, level) in levels.into_iter().enumerate() {
        let name = format!("{level} alive");
        // What the first ones make once is not counted.
        let before = (status("self", "VmRSS"), status("self", "Threads"), machine::free_memory_mib(), held.0.len());
        if let Err(error) = held.fill(level) {
            group.rows.push(Row::skip(format!("skep, {name}"), error));
            break;
        }
        let after = (status("self", "VmRSS"), status("self", "Threads"), machine::free_memory_mib());
        if step == 2
            && let (Some(resident), Some(then), Some(threads), Some(had)) = (after.0, before.0, after.1, before.1)
        {
            let each = |total: u64| total as f64 / (level - before.3) as f64;
            group.bounds.push(Bound::new(
                "memory of the embedder for each container",
                each(resident.saturating_sub(then)),
                16.0,
                " KiB",
            ));
            group.bounds.push(Bound::new(
                "threads of the embedder for its containers",
                threads.saturating_sub(had) as f64,
                0.0,
                " threads",
            ));
            let host = each(before.2.saturating_sub(after.2) * 1024);
            group
                .remarks
                .push(format!("the host has {host:.0} KiB less for each: its namespaces, mounts and two processes"));
        }
        sample(&name, &mut group)?;
    }
    let of_init = |file: &str, name: &str| -> Option<u64> {
        held.0.iter().filter_map(|container| number(&format!("/proc/{}/{file}", container.id()), name)).max()
    };
    if let Some(resident) = of_init("status", "VmRSS") {
        group.bounds.push(Bound::new("stub init, resident", resident as f64, 32.0, " KiB"));
    }
    if let Some(share) = of_init("smaps_rollup", "Pss") {
        group.remarks.push(format!("stub init, proportional share (PSS): at most {share} KiB"));
    }
    let most = format!("{} alive", held.0.len());
    drop(held);
    sample("0 alive again", &mut group)?;
    let ratio = |who: &str| -> Option<f64> {
        let first = group.median(&format!("{who}, 0 alive"))?;
        let again = group.median(&format!("{who}, 0 alive again"))?;
        Some(group.median(&format!("{who}, {most}"))? / ((first + again) / 2.0))
    };
    if let (Some(own), Some(of_floor)) = (ratio("skep"), ratio("floor")) {
        group.remarks.push(format!(
            "the floor beside {most} costs {of_floor:.2} of what it costs beside none: the kernel looks through all \
             processes (pivot_root) and all file systems of a kind (sysfs)"
        ));
        group.bounds.push(Bound::new(format!("a start beside {most}, to one beside none"), own, 1.3, ""));
    }
    // What is ours of it: the kernel's own share is in both.
    group.bound(format!("  and to the floor beside {most}"), &format!("skep, {most}"), &format!("floor, {most}"), 1.5);
    Ok(group)
}

const SLEEP: [&str; 2] = ["/usr/bin/sleep", "0.3"];

/// The most that every process of a launcher ever had resident, but its payload.
fn peak(whole: &mut peers::Whole) -> Result<u64> {
    let mut child =
        (whole.make)().stdin(peers::nothing()?).stdout(peers::nothing()?).stderr(peers::nothing()?).spawn()?;
    let (mut most, mut processes) = (0, 0);
    while child.try_wait()?.is_none() {
        let tree = family(child.id());
        // Not yet in its last shape: nothing sleeps.
        if tree.iter().any(|process| name(*process) == "sleep") {
            let rest: Vec<u64> = tree
                .iter()
                .filter(|process| name(**process) != "sleep")
                .filter_map(|process| status(&process.to_string(), "VmHWM"))
                .collect();
            (most, processes) = (most.max(rest.iter().sum()), processes.max(rest.len()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if processes == 0 { Err("its payload was never seen".into()) } else { Ok(most) }
}

fn name(process: u32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// A process and its descendants.
fn family(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// What launchers keep in memory while their payload runs, and had at most.
pub(crate) fn launchers(floor: &Floor, directory: &Path, _: Pace) -> Result<Group> {
    let mut wholes = vec![("floor", Ok(floor.whole(&SLEEP))), ("skep run", launcher(Libc::Best, &[], &SLEEP))];
    wholes.extend(peers::alike(floor, directory, &SLEEP).into_iter().map(|peer| (peer.name, peer.whole)));
    let rows = wholes.into_iter().map(|(name, whole)| match whole.and_then(|mut whole| peak(&mut whole)) {
        Ok(peak) => Row::new(name.to_owned(), vec![peak as f64]),
        Err(error) => Row::skip(name, error),
    });
    let title = "most memory resident in the launcher and its helpers that stay, without the payload";
    let mut group = Group { unit: "KiB", ratios: false, ..Group::new("resident", title, rows.collect()) };
    group.remarks.push("helpers that ended before the payload began (runc has one) are not in it".into());
    Ok(group)
}
