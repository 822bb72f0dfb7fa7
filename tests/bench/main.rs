//! How long a start takes.
//!
//! Everything is a ratio from one run: the floor (`floor.c`) makes the same
//! container with the fewest system calls, and is started in turns with what it
//! is compared to. Numbers of different runs or machines say little.

mod floor;
mod launcher;
mod machine;
mod measure;
mod nspawn;
mod peers;
mod picture;
mod resident;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use floor::{Floor, Server, TRUE};
use launcher::{Libc, launcher};
use measure::{Entry, Group, Pace, Row, Subject, in_turns, microseconds};
use peers::Whole;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

const HELP: &str = "\
cargo bench -p skep-bench -- [OPTION...]

  --quick          few samples, for CI
  --samples NUMBER samples of each row of `start`; the others take a share
  --alone          wait before each sample until nothing else runs here; where
                   that never is, run all of this under `chrt -r 1`
  --only NAME      one group: start, alive, memory, threads, process, own,
                   nspawn, boot, resident, compile
  --json           the result as JSON
  --svg FILE       the picture; target/skep-bench.svg otherwise
  --help           this

The launcher is $SKEP, or is built from this workspace: for musl, as the guide has it
installed, where rustc has that target, and for glibc beside it. What the design wants
held is printed as met or missed; a miss is no failure, for machines are busy.
";

#[derive(Default)]
struct Options {
    json: bool,
    alone: bool,
    only: Option<String>,
    svg: Option<PathBuf>,
    samples: Option<usize>,
    /// This process is a helper that holds so many MiB.
    hold: Option<u64>,
    help: bool,
}

fn options() -> Result<Options> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    // `cargo test --all-targets` runs this as well, without `--bench`: then a
    // few samples show that it works.
    let mut benched = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("bench") => benched = true,
            Long("quick") => options.samples = Some(30),
            Long("samples") => options.samples = Some(parser.value()?.parse()?),
            Long("only") => options.only = Some(parser.value()?.string()?),
            Long("hold") => options.hold = Some(parser.value()?.parse()?),
            Long("alone") => options.alone = true,
            Long("svg") => options.svg = Some(parser.value()?.into()),
            Long("json") => options.json = true,
            Long("help") => options.help = true,
            _ => return Err(argument.unexpected().into()),
        }
    }
    if !benched && options.samples.is_none() {
        options.samples = Some(5);
    }
    Ok(options)
}

fn main() -> ExitCode {
    let done = options().and_then(|options| match options {
        Options { help: true, .. } => Ok(std::io::stdout().write_all(HELP.as_bytes())?),
        Options { hold: Some(size), .. } => serve(size),
        options => bench(&options),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let machine = machine::Machine::look();
    let directory = Directory(scratch());
    std::fs::create_dir_all(&directory.0)?;
    let floor = Floor::build(&directory.0)?;
    let pace = Pace { rounds: options.samples.unwrap_or(400).max(1), alone: options.alone };
    type Make = fn(&Floor, &Path, Pace) -> Result<Group>;
    let groups: [(&str, Make); 10] = [
        ("start", start),
        ("alive", resident::alive),
        ("memory", memory),
        ("threads", threads),
        ("process", process),
        ("own", own),
        ("nspawn", nspawn::start),
        ("boot", nspawn::boot),
        ("resident", resident::launchers),
        ("compile", compile),
    ];
    if let Some(only) = &options.only
        && !groups.iter().any(|(name, _)| name == only)
    {
        return Err(format!("there is no group {only:?}; see --help").into());
    }
    let mut done = Vec::new();
    for (name, make) in groups {
        if options.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let group = make(&floor, &directory.0, pace)?;
        if !options.json {
            println!("{}", group.table());
        }
        done.push(group);
    }
    let picture = options.svg.clone().unwrap_or_else(|| {
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or_else(|| Path::new("")).join("skep-bench.svg")
    });
    std::fs::write(&picture, picture::draw(&done, &machine, &floor.differences))
        .map_err(|error| format!("{}: {error}", picture.display()))?;
    if options.json {
        let json: Vec<_> = done.iter().map(Group::json).collect();
        println!(
            "{:#}",
            serde_json::json!({
                "machine": machine.json(),
                "floor": { "differences": floor.differences },
                "groups": json,
                "picture": picture,
            })
        );
    } else {
        println!("{}", machine.line());
        match floor.differences.as_slice() {
            [] => println!("the floor's container is the same: mounts, limits, credentials, namespaces compared"),
            lines => println!("the floor's container differs:\n  {}", lines.join("\n  ")),
        }
        for bound in done.iter().flat_map(|group| &group.bounds) {
            println!("{}", bound.line());
        }
        println!("picture: {}", picture.display());
    }
    Ok(())
}

/// Removed in the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One start by this process.
fn skep() -> Result<Duration> {
    let before = Instant::now();
    let status = skep::Command::new(TRUE).status()?;
    let taken = before.elapsed();
    if status.success() { Ok(taken) } else { Err(format!("{TRUE} in a container: {status}").into()) }
}

fn start(floor: &Floor, _: &Path, pace: Pace) -> Result<Group> {
    let rows = in_turns(
        vec![
            Entry::of("floor", floor.server()),
            Entry::new("skep", skep),
            Entry::new("std::process::Command, no container", Whole::new(TRUE, &[])),
        ],
        pace,
    )?;
    let title = format!("{TRUE} in a strict container, from this process, call to reaped end");
    let mut group = Group::new("start", title, rows);
    group.bound("a start in this process, to the floor", "skep", "floor", 1.5);
    group.bound("  and wanted", "skep", "floor", 1.25);
    Ok(group)
}

/// The helper: holds `size` MiB, and makes a start for each byte.
fn serve(size: u64) -> Result<()> {
    // As an embedder of any age has it: in small pages.
    nix::sys::prctl::set_thp_disable(true)?;
    let mut held = vec![0_u8; usize::try_from(size)? << 20];
    held.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let mut byte = [0];
    while std::io::stdin().read(&mut byte)? == 1 {
        println!("0 {}", skep()?.as_nanos());
    }
    std::hint::black_box(&held);
    Ok(())
}

fn memory(floor: &Floor, _: &Path, pace: Pace) -> Result<Group> {
    let mut entries = vec![Entry::of("floor", floor.server())];
    for size in [10, 1 << 10, 8 << 10] {
        // They all live at the same time.
        let free = machine::free_memory_mib();
        let name = format!("skep in a process of {size} MiB");
        if size > free / 2 {
            entries.push(Entry::of(name, Err::<Server, _>(format!("more than half of the {free} MiB free").into())));
            continue;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--hold").arg(size.to_string());
        let mut server = Server::new(command)?;
        // Until it holds its memory.
        entries.push(Entry::of(name, server.sample().map(|_| server)));
    }
    let rows = in_turns(entries, pace.share(2))?;
    let mut group = Group::new("memory", "the parent's memory, touched in 4-KiB pages", rows);
    let name = |size: u64| format!("skep in a process of {size} MiB");
    group.bound("a start by a parent of 8 GiB, to one of 10 MiB", &name(8 << 10), &name(10), 1.05);
    Ok(group)
}

const THREADS: usize = 8;

/// Every subject makes `each` starts on a thread of its own, all at once.
fn at_once<S: Subject + Send>(subjects: &mut [S], each: usize) -> Result<(Vec<f64>, f64)> {
    let before = Instant::now();
    let samples = std::thread::scope(|scope| {
        let threads: Vec<_> = subjects
            .iter_mut()
            .map(|subject| scope.spawn(move || (0..each).map(|_| subject.sample()).collect::<Result<Vec<_>>>()))
            .collect();
        let mut samples = Vec::new();
        for thread in threads {
            let taken = thread.join().map_err(|_| Failure::from("a thread panicked"))??;
            samples.extend(taken.into_iter().map(microseconds));
        }
        Ok::<_, Failure>(samples)
    })?;
    let rate = samples.len() as f64 / before.elapsed().as_secs_f64();
    Ok((samples, rate))
}

fn threads(floor: &Floor, _: &Path, pace: Pace) -> Result<Group> {
    let mut floors = (0..THREADS).map(|_| floor.server()).collect::<Result<Vec<_>>>()?;
    let mut skeps = [skep as fn() -> Result<Duration>; THREADS];
    let (rounds, each) = (pace.share(40).rounds, 5);
    let (mut floor_row, mut skep_row) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    at_once(&mut floors, 1)?;
    at_once(&mut skeps, 1)?;
    for _ in 0..rounds {
        pace.wait();
        let (taken, rate) = at_once(&mut floors, each)?;
        floor_row.0.extend(taken);
        floor_row.1.push(rate);
        pace.wait();
        let (taken, rate) = at_once(&mut skeps, each)?;
        skep_row.0.extend(taken);
        skep_row.1.push(rate);
    }
    let row = |name: String, (samples, rates): (Vec<f64>, Vec<f64>)| {
        let rate = Row::new(String::new(), rates).median().unwrap_or_default();
        Row { note: format!("{rate:.0} starts/s"), ..Row::new(name, samples) }
    };
    let rows = vec![
        row(format!("floor, {THREADS} processes"), floor_row),
        row(format!("skep, {THREADS} threads of one process"), skep_row),
    ];
    Ok(Group::new("threads", format!("{THREADS} at once"), rows))
}

/// What is removed in the end.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skep-bench-{}", std::process::id()))
}

/// What is measured as whole processes beside the floor and the launcher.
fn beside(floor: &Floor, peers: Vec<peers::Peer>, pace: Pace) -> Result<Vec<Row>> {
    let ours = |name: &str, libc| Entry::of(name, launcher(libc, &[], &[TRUE]));
    let mut entries = vec![Entry::new("floor", floor.whole(&[TRUE])), ours("skep run", Libc::Best)];
    if launcher::has_choice() {
        entries.push(ours(GLIBC, Libc::Glibc));
    }
    entries.extend(peers.into_iter().map(peers::Peer::entry));
    in_turns(entries, pace)
}

const NEAR: &str = "skep run (no filter, own id)";
const GLIBC: &str = "skep run (glibc)";

fn process(floor: &Floor, directory: &Path, pace: Pace) -> Result<Group> {
    // Nearer to bubblewrap's: its settings are made, but its masks and limits stay.
    let near = directory.join("near.json");
    let spec = serde_json::json!({ "seccomp": "off", "user_namespace": "own", "register": "off" });
    std::fs::write(&near, spec.to_string())?;
    let options = ["-f", near.to_str().unwrap_or_default()];
    let mut peers = peers::alike(floor, directory, &[TRUE]);
    peers.insert(0, peers::Peer { name: NEAR, whole: launcher(Libc::Best, &options, &[TRUE]) });
    let rows = beside(floor, peers, pace.share(4))?;
    let title = format!("{TRUE} by a launcher, as a whole process; every peer makes the same seven namespaces");
    let mut group = Group::new("process", title, rows);
    group.bound("the launcher as a process, to the floor", "skep run", "floor", 1.6);
    group.bound("  built for glibc", GLIBC, "floor", 1.6);
    for peer in peers::COMPARABLE {
        group.bound(format!("the launcher, to {peer}"), "skep run", peer, 1.0);
    }
    group.bound(format!("  built for glibc, to {}", peers::COMPARABLE[0]), GLIBC, peers::COMPARABLE[0], 1.0);
    group.bound(format!("  {NEAR}, to {}", peers::COMPARABLE[0]), NEAR, peers::COMPARABLE[0], 1.0);
    Ok(group)
}

fn own(floor: &Floor, directory: &Path, pace: Pace) -> Result<Group> {
    let rows = beside(floor, peers::own(directory, &[TRUE]), pace.share(10))?;
    let title = "the same, every peer at its own settings: it makes less, or more, than Skep";
    Ok(Group::new("own", title, rows))
}

fn compile(_: &Floor, _: &Path, pace: Pace) -> Result<Group> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mdbook-host/mdbook-host.nspawn"));
    let bytes = std::fs::read(file)?;
    let read = || -> Result<skep::Spec> {
        let mut spec = skep::Spec::default();
        skep::dialect::nspawn::parse(file, &bytes)?.apply(&mut spec)?;
        // The example's server need not have been built.
        spec.mounts.retain(|mount| !mount.target.ends_with("mdbook-server"));
        Ok(spec)
    };
    let spec = read()?;
    let facts = skep::Facts::gather(&spec)?;
    let (plain, unified) = unified_root()?;
    let timed = |work: &dyn Fn() -> Result<()>| {
        let before = Instant::now();
        work()?;
        Ok(before.elapsed())
    };
    let rows = in_turns(
        vec![
            Entry::new("parse + compile + verify", || {
                timed(&|| {
                    let spec = read()?;
                    let _ = std::hint::black_box(skep::verify::verify(skep::compile(&spec, &facts)?)?);
                    Ok(())
                })
            }),
            Entry::new("  parse", || timed(&|| read().map(|spec| drop(std::hint::black_box(spec))))),
            Entry::new("  compile + verify", || {
                timed(&|| {
                    let _ = std::hint::black_box(skep::verify::verify(skep::compile(&spec, &facts)?)?);
                    Ok(())
                })
            }),
            Entry::new(UNIFIED, || {
                timed(&|| {
                    let _ = std::hint::black_box(skep::verify::verify(skep::compile(&plain, &unified)?)?);
                    Ok(())
                })
            }),
            Entry::new("gather: looking at the host", || {
                timed(&|| {
                    let _ = std::hint::black_box(skep::Facts::gather(&spec)?);
                    Ok(())
                })
            }),
        ],
        pace,
    )?;
    let mut group = Group { ratios: false, ..Group::new("compile", "mdbook-host.nspawn, no container started", rows) };
    for name in ["parse + compile + verify", UNIFIED] {
        if let Some(median) = group.median(name) {
            group.bounds.push(measure::Bound::new(name, median, 100.0, " µs"));
        }
    }
    Ok(group)
}

const UNIFIED: &str = "  compile + verify, root with cgroup v2";

/// A container with a device program, whatever this host has: what that costs
/// is a matter of the verifier.
fn unified_root() -> Result<(skep::Spec, skep::Facts)> {
    let spec = skep::Command::new(TRUE).spec();
    let mut facts = skep::Facts::example(&spec);
    (facts.uid, facts.gid) = (0, 0);
    facts.capabilities = facts.bounding;
    for group in &mut facts.cgroups.unified {
        group.writable = true;
        group.enabled = ["cpu", "memory", "pids"].map(str::to_owned).into();
    }
    match skep::compile(&spec, &facts)?.report().of("device policy") {
        Some(skep::Outcome::Applied(_)) => Ok((spec, facts)),
        other => Err(format!("a plan without a device program: {other:?}").into()),
    }
}
