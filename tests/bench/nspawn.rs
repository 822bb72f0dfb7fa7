//! `skep nspawn` beside `systemd-nspawn`, with the same arguments on the same trees.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;
use crate::floor::{Floor, TRUE};
use crate::launcher::{Libc, installed};
use crate::measure::{Bound, Entry, Group, Pace, Subject, in_turns};
use crate::peers::{self, Whole, nothing};

const OURS: &str = "skep nspawn";
const THEIRS: &str = "systemd-nspawn";

/// One of the two, and what comes before its options.
struct Program {
    path: PathBuf,
    first: &'static [&'static str],
}

/// Each of the two, or why it is not to be had; both need root.
fn programs() -> [(&'static str, Result<Program>); 2] {
    let root = || if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("needs root".into()) };
    let ours = root().and_then(|()| Ok(Program { path: installed(Libc::Best)?, first: &["nspawn"] }));
    let theirs = root().and_then(|()| Ok(Program { path: peers::find(THEIRS)?, first: &[] }));
    [(OURS, ours), (THEIRS, theirs)]
}

const ALWAYS: [&str; 3] = ["-q", "--register=no", "--keep-unit"];

/// How many times as long the original takes: at least `least`.
fn times(group: &mut Group, what: &str, least: f64) {
    if let (Some(ours), Some(theirs)) =
        (group.median(&format!("{OURS}{what}")), group.median(&format!("{THEIRS}{what}")))
    {
        group.remarks.push(format!("{THEIRS}{what} takes {:.1} times as long", theirs / ours));
        // Of a bound the value is what is small.
        let bound = format!("{OURS}{what}, to a {least}th of {THEIRS}'s time");
        group.bounds.push(Bound::new(bound, ours * least / theirs, 1.0, ""));
    }
}

/// A tree with nothing in it but what both ask for.
fn tree(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("nspawn-tree");
    for place in ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "root", "var"] {
        std::fs::create_dir_all(tree.join(place))?;
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{link}"), tree.join(link));
    }
    std::fs::write(tree.join("etc/os-release"), "ID=skep-bench\n")?;
    Ok(tree)
}

const PRIVATE: [&str; 2] = ["--private-users=pick", "--private-network"];

pub(crate) fn start(_: &Floor, directory: &Path, pace: Pace) -> Result<Group> {
    let tree = tree(directory)?.display().to_string();
    let mut entries = Vec::new();
    for (note, more) in [("", &[][..]), (" -U --private-network", &PRIVATE[..])] {
        for (name, program) in programs() {
            let whole = program.map(|program| {
                let mut words = program.first.to_vec();
                words.extend(ALWAYS);
                words.extend(["-a", "--pipe", "--bind-ro=/usr", "-D", &tree]);
                words.extend(more);
                words.push(TRUE);
                Whole::new(program.path, &words)
            });
            entries.push(Entry::of(format!("{name}{note}"), whole));
        }
    }
    let rows = in_turns(entries, pace.share(10))?;
    let mut group = Group::new("nspawn", format!("{TRUE} by a launcher, `-a --pipe`, as a whole process"), rows);
    times(&mut group, "", 30.0);
    times(&mut group, " -U --private-network", 30.0);
    Ok(group)
}

/// A machine that boots until it says that it is ready, and is killed then.
struct Boot {
    program: PathBuf,
    words: Vec<String>,
    socket: PathBuf,
}

impl Boot {
    fn ready(&self, child: &mut Child, heard: &UnixDatagram) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        let mut bytes = [0; 4096];
        while Instant::now() < end {
            if let Ok(length) = heard.recv(&mut bytes)
                && String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == "READY=1")
            {
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("it ended: {status}").into());
            }
        }
        Err("it was not ready within a minute".into())
    }
}

impl Subject for Boot {
    fn sample(&mut self) -> Result<Duration> {
        let _ = std::fs::remove_file(&self.socket);
        let heard = UnixDatagram::bind(&self.socket)?;
        heard.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut command = Command::new(&self.program);
        command.args(&self.words).env("NOTIFY_SOCKET", &self.socket);
        let before = Instant::now();
        let mut child = command.stdin(nothing()?).stdout(nothing()?).stderr(nothing()?).spawn()?;
        let ready = self.ready(&mut child, &heard);
        let taken = before.elapsed();
        // The second one kills it, with either.
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        for _ in 0..2 {
            let _ = kill(pid, Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(100));
        }
        child.wait()?;
        let _ = std::fs::remove_file(&self.socket);
        ready.map(|()| taken)
    }
}

/// The tree that the boot tests make, or the one that is named.
fn debian() -> Result<String> {
    let made = "/var/tmp/skep-tests/debian-bookworm";
    let tree = std::env::var("SKEP_BOOT_TREE").unwrap_or_else(|_| made.to_owned());
    match Path::new(&tree).join("usr/lib/systemd/systemd").exists() {
        true => Ok(tree),
        false => {
            Err(format!("{tree} is no tree with systemd; name one in $SKEP_BOOT_TREE, or run the boot tests").into())
        }
    }
}

pub(crate) fn boot(_: &Floor, directory: &Path, pace: Pace) -> Result<Group> {
    let mut entries = Vec::new();
    for (name, program) in programs() {
        let boot = program.and_then(|Program { path, first }| {
            let words = ["-b", "--notify-ready=yes", "--volatile=overlay", "-M", "skep-bench", "-D"];
            let words = [first, &ALWAYS, &words, &[&debian()?]].concat().into_iter().map(str::to_owned).collect();
            Ok(Boot { program: path, words, socket: directory.join(format!("{name}.notify")) })
        });
        entries.push(Entry::of(name, boot));
    }
    let rows = in_turns(entries, pace.share(50))?;
    let title = "a Debian tree with systemd, `-b --volatile=overlay`, until READY=1";
    let mut group = Group::new("boot", title, rows);
    group.bound("boot until ready, to the original's", OURS, THEIRS, 1.0);
    Ok(group)
}
