//! The floor: built here, told what the container of this host looks like, and
//! compared with it before anything is measured.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use skep::seccomp::{self, Arch};

use crate::Result;
use crate::measure::Subject;
use crate::peers::Whole;

/// Host ids of the floor's range, when it runs as root.
pub(crate) const BASE: u32 = 1_900_544_000;

/// The payload of every start.
pub(crate) const TRUE: &str = "/usr/bin/true";

/// The program and its options.
pub(crate) struct Floor {
    program: PathBuf,
    options: Vec<String>,
    /// How its container differs from Skep's; empty when it does not.
    pub(crate) differences: Vec<String>,
}

impl Floor {
    pub(crate) fn build(directory: &Path) -> Result<Self> {
        let program = directory.join("floor");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(&compiler)
            .args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-builtin", "-o"])
            .arg(&program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/floor.c"))
            .output()
            .map_err(|error| format!("no C compiler ({}): {error}", compiler.to_string_lossy()))?;
        if !built.status.success() {
            return Err(format!("floor.c did not build: {}", String::from_utf8_lossy(&built.stderr)).into());
        }
        let filters = [("filter", seccomp::strict_default(Arch::NATIVE)), ("stub", seccomp::stub_init(Arch::NATIVE))];
        let mut options = Vec::new();
        for (key, policy) in filters {
            let file = directory.join(key);
            std::fs::write(&file, seccomp::compile(&policy)?.bytes())?;
            options.push(format!("{key}={}", file.display()));
        }
        if nix::unistd::geteuid().is_root() {
            options.push(format!("base={BASE}"));
        }
        let skep = State::of_skep()?;
        options.extend(skep.limits());
        options.extend(skep.covers());
        let mut floor = Self { program, options, differences: Vec::new() };
        floor.differences = skep.differences(&State::of_floor(&floor)?);
        Ok(floor)
    }

    /// What its container has, as `floor.c` takes it.
    pub(crate) fn options(&self) -> &[String] {
        &self.options
    }

    fn command(&self, mode: &str, payload: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(mode).args(&self.options).args(payload);
        command
    }

    /// One start as a process of its own.
    pub(crate) fn whole(&self, payload: &[&str]) -> Whole {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        Whole::new(&self.program, &[&["once"][..], &options, payload].concat())
    }

    /// A process that makes a start whenever it is asked.
    pub(crate) fn server(&self) -> Result<Server> {
        Server::new(self.command("serve", &[TRUE]))
    }
}

/// A process that answers every byte with one start and how long it took.
pub(crate) struct Server {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn new(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the pipes of a server are missing".into());
        };
        Ok(Self { child, ask: Some(ask), answers: BufReader::new(answers) })
    }
}

impl Subject for Server {
    fn sample(&mut self) -> Result<Duration> {
        if let Some(ask) = &mut self.ask {
            ask.write_all(b"s")?;
        }
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim().split_once(' ') {
            Some(("0", nanoseconds)) => Ok(Duration::from_nanos(nanoseconds.parse()?)),
            _ => Err(format!("a start ended with {:?}", line.trim()).into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends when its input does.
        self.ask = None;
        let _ = self.child.wait();
    }
}

const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// What a process sees of its container.
struct State {
    mounts: String,
    limits: String,
    status: String,
    namespaces: String,
}

impl State {
    fn of_skep() -> Result<Self> {
        Self::of(|payload| {
            let mut command = skep::Command::new(payload.first().copied().unwrap_or_default());
            let output = command.args(payload.get(1..).unwrap_or_default()).output()?;
            Ok((output.status.success(), output.stdout, output.stderr))
        })
    }

    fn of_floor(floor: &Floor) -> Result<Self> {
        Self::of(|payload| {
            let output = floor.command("once", payload).output()?;
            Ok((output.status.success(), output.stdout, output.stderr))
        })
    }

    fn of(mut run: impl FnMut(&[&str]) -> Result<(bool, Vec<u8>, Vec<u8>)>) -> Result<Self> {
        let mut text = |payload: &[&str]| match run(payload)? {
            (true, stdout, _) => Ok(String::from_utf8_lossy(&stdout).into_owned()),
            (false, _, stderr) => {
                Err(crate::Failure::from(format!("{payload:?} failed: {}", String::from_utf8_lossy(&stderr).trim())))
            }
        };
        let links: Vec<String> = KINDS.iter().map(|kind| format!("/proc/self/ns/{kind}")).collect();
        let mut readlink = vec!["/usr/bin/readlink"];
        readlink.extend(links.iter().map(String::as_str));
        Ok(Self {
            mounts: text(&["/usr/bin/cat", "/proc/self/mountinfo"])?,
            limits: text(&["/usr/bin/cat", "/proc/self/limits"])?,
            status: text(&["/usr/bin/cat", "/proc/self/status"])?,
            namespaces: text(&readlink)?,
        })
    }

    /// Soft and hard of every resource: the file has them in order.
    fn limits(&self) -> impl Iterator<Item = String> {
        self.limits.lines().skip(1).map(|line| {
            let mut values = line.get(26..).unwrap_or_default().split_whitespace();
            let mut next = || values.next().and_then(|value| value.parse().ok()).unwrap_or(u64::MAX);
            let (soft, hard) = (next(), next());
            format!("limit={soft}:{hard}")
        })
    }

    /// What is mounted over files of procfs and sysfs (another file system is
    /// a mask, the same one is read-only), and what of the host is in `/etc`.
    fn covers(&self) -> impl Iterator<Item = String> {
        self.mounts.lines().filter_map(|line| {
            let point = line.split(' ').nth(4)?;
            let kernel = point.starts_with("/proc/") || point.starts_with("/sys/");
            if !kernel && !point.starts_with("/etc/") {
                return None;
            }
            let masked = line.split_once(" - ")?.1.starts_with("tmpfs");
            let key = match (kernel, masked, Path::new(point).is_dir()) {
                (false, _, true) => "bind-dir",
                (false, _, false) => "bind-file",
                (true, true, true) => "mask-dir",
                (true, true, false) => "mask-file",
                (true, false, _) => "read-only",
            };
            Some(format!("{key}={point}"))
        })
    }

    fn facts(&self) -> BTreeSet<String> {
        let mounts = self.mounts.lines().filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let head: Vec<&str> = head.split(' ').skip(4).take(2).collect();
            let mut tail = tail.split(' ');
            let (kind, _, options) = (tail.next()?, tail.next()?, tail.next()?);
            // `ro` of the file system itself says no more than that of the
            // mount; ids are those of the range.
            let told = |option: &&str| {
                !matches!(*option, "ro" | "rw") && !option.starts_with("uid=") && !option.starts_with("gid=")
            };
            let options: Vec<&str> = options.split(',').filter(told).collect();
            Some(format!("mount {} {kind} {}", head.join(" "), options.join(",")))
        });
        const LINES: [&str; 12] = [
            "Uid:",
            "Gid:",
            "Groups:",
            "CapInh:",
            "CapPrm:",
            "CapEff:",
            "CapBnd:",
            "CapAmb:",
            "NoNewPrivs:",
            "Seccomp:",
            "Seccomp_filters:",
            "Umask:",
        ];
        let status = self.status.lines().filter(|line| LINES.iter().any(|name| line.starts_with(name)));
        let own = self.namespaces.lines().zip(KINDS).filter_map(|(link, kind)| {
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
            (host != Path::new(link)).then(|| format!("namespace {kind}"))
        });
        mounts.chain(status.map(str::to_owned)).chain(self.limits.lines().map(str::to_owned)).chain(own).collect()
    }

    fn differences(&self, floor: &Self) -> Vec<String> {
        let (skep, floor) = (self.facts(), floor.facts());
        let only = |who: &str, fact: &String| format!("only {who}: {fact}");
        let mut lines: Vec<String> = skep.difference(&floor).map(|fact| only("skep", fact)).collect();
        lines.extend(floor.difference(&skep).map(|fact| only("the floor", fact)));
        lines
    }
}
