//! Other programs that start containers, each told to make the namespaces that
//! Skep makes by itself: user, mount, pid, UTS, IPC, network, cgroup.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::Result;
use crate::floor::{BASE, Floor};
use crate::measure::{Entry, Subject};

/// Makes the command of the next run.
pub(crate) type Make = Box<dyn FnMut() -> Command>;

/// A program that is run to its end, as a whole process.
pub(crate) struct Whole {
    pub(crate) make: Make,
    /// Its standard input, where that is not empty.
    input: Option<PathBuf>,
}

impl Whole {
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let program = program.into();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::of(Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&arguments);
            command
        }))
    }

    fn of(make: Make) -> Self {
        Self { make, input: None }
    }

    fn input(&self) -> Result<Stdio> {
        Ok(match &self.input {
            Some(path) => File::open(path)?.into(),
            None => nothing()?,
        })
    }

    /// Why it failed: once more, with ears.
    fn reason(&mut self, status: std::process::ExitStatus) -> String {
        let output = self.input().and_then(|input| Ok((self.make)().stdin(input).output()?));
        let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("{status}: {}", line.chars().take(160).collect::<String>())
    }
}

impl Subject for Whole {
    fn sample(&mut self) -> Result<Duration> {
        let mut command = (self.make)();
        command.stdin(self.input()?).stdout(nothing()?).stderr(nothing()?);
        let before = Instant::now();
        let status = command.status()?;
        let taken = before.elapsed();
        if status.success() { Ok(taken) } else { Err(self.reason(status).into()) }
    }
}

/// A stream without content. Not `/dev/null`: some peers give their streams to the
/// container's root, and this one is everybody's.
pub(crate) fn nothing() -> Result<Stdio> {
    static FILE: OnceLock<File> = OnceLock::new();
    if FILE.get().is_none() {
        let path = std::env::temp_dir().join(format!("skep-bench-{}-nothing", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let _ = FILE.set(file);
    }
    Ok(FILE.get().ok_or("no file")?.try_clone()?.into())
}

/// The first program of that name in `PATH` or where root's programs are.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| "not installed".into())
}

/// A peer by name, or why it cannot be asked.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) whole: Result<Whole>,
}

impl Peer {
    fn of(name: &'static str, program: &str, arguments: &[&str], payload: &[&str]) -> Self {
        Self { name, whole: find(program).map(|program| Whole::new(program, &[arguments, payload].concat())) }
    }

    pub(crate) fn entry(self) -> Entry<'static> {
        Entry::of(self.name, self.whole)
    }
}

/// Whose container has what Skep's has, as far as the peer can make it. The
/// launcher is to be ahead of each.
pub(crate) const COMPARABLE: [&str; 7] = [
    "bubblewrap (no filter, no masks)",
    "nsjail (no filter, no masks)",
    "crun",
    "runc",
    "systemd-nspawn",
    "minijail0",
    "bubblewrap (Skep's filter and masks)",
];

/// The masks and covers of the floor's options, as bubblewrap's, and its filter
/// on standard input. (It makes no sysfs: the host's is shown read-only.)
fn whole_bubblewrap(basic: &[&str], floor: &Floor, payload: &[&str]) -> Peer {
    let mut words: Vec<&str> = basic.to_vec();
    words.extend(["--ro-bind", "/sys", "/sys", "--seccomp", "0"]);
    for option in floor.options() {
        match option.split_once('=') {
            Some(("mask-file", path)) => words.extend(["--ro-bind", "/dev/null", path]),
            Some(("mask-dir", path)) => words.extend(["--tmpfs", path, "--remount-ro", path]),
            Some(("read-only" | "bind-dir" | "bind-file", path)) => words.extend(["--ro-bind", path, path]),
            _ => {}
        }
    }
    let peer = Peer::of(COMPARABLE[6], "bwrap", &words, payload);
    let filter = floor.options().iter().find_map(|option| option.strip_prefix("filter=")).map(PathBuf::from);
    Peer { whole: peer.whole.map(|whole| Whole { input: filter, ..whole }), ..peer }
}

/// Every peer with the seven namespaces of Skep; bubblewrap also with all that
/// the floor says of its mounts and its filter.
#[rustfmt::skip]
pub(crate) fn alike(floor: &Floor, directory: &Path, payload: &[&str]) -> Vec<Peer> {
    let usr = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
        "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/sbin", "/sbin"];
    let bubblewrap = [
        &["--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net", "--unshare-cgroup",
            "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"],
        &usr[..],
        &["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp"],
    ].concat();
    let unshare = ["-U", "--map-root-user", "-m", "-p", "-f", "-u", "-i", "-n", "-C", "--mount-proc"];
    let minijail = ["-U", "-M", "-m0 0 1", "-p", "-v", "-l", "-e", "-N", "--uts", "-n", "-c", "0", "-r", "--"];
    let nsjail = ["-Mo", "-Q", "--chroot", "", "--user", "0", "--group", "0", "-R", "/usr", "-s", "usr/bin:/bin",
        "-s", "usr/lib:/lib", "-s", "usr/lib64:/lib64", "-T", "/tmp", "-T", "/run", "--"];
    let nspawn = ["-q", "--register=no", "--keep-unit", "--volatile=yes", "-D", "/", "--private-network",
        "--private-users=pick", "--private-users-ownership=off", "--as-pid2", "--pipe"];
    vec![
        Peer::of("unshare (no mounts but proc)", "unshare", &unshare, payload),
        Peer::of(COMPARABLE[0], "bwrap", &bubblewrap, payload),
        whole_bubblewrap(&bubblewrap, floor, payload),
        Peer::of(COMPARABLE[1], "nsjail", &nsjail, payload),
        Peer::of(COMPARABLE[5], "minijail0", &minijail, payload),
        oci("crun", &["--cgroup-manager=disabled"], directory, payload, false),
        oci("runc", &[], directory, payload, false),
        as_root(Peer::of("systemd-nspawn", "systemd-nspawn", &nspawn, payload)),
    ]
}

/// Every peer as its own manual starts: fewer namespaces, and what it mounts
/// unasked.
#[rustfmt::skip]
pub(crate) fn own(directory: &Path, payload: &[&str]) -> Vec<Peer> {
    let bubblewrap = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
        "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--new-session"];
    let nspawn = ["-q", "--register=no", "--keep-unit", "--volatile=yes", "-D", "/", "--as-pid2", "--pipe"];
    vec![
        Peer::of("unshare --user --mount --pid", "unshare", &["-r", "-m", "-p", "-f", "--mount-proc"], payload),
        Peer::of("bwrap --unshare-pid", "bwrap", &bubblewrap, payload),
        Peer::of("nsjail -Mo --chroot /", "nsjail", &["-Mo", "-Q", "--chroot", "/", "--"], payload),
        Peer::of("minijail0 -p -v", "minijail0", &["-p", "-v", "--"], payload),
        oci("crun", &[], directory, payload, true),
        oci("runc", &[], directory, payload, true),
        as_root(Peer::of("systemd-nspawn", "systemd-nspawn", &nspawn, payload)),
    ]
}

fn as_root(peer: Peer) -> Peer {
    if nix::unistd::geteuid().is_root() { peer } else { Peer { whole: Err("needs root".into()), ..peer } }
}

/// An OCI runtime with a bundle of its own; `own`: as its `spec` makes one.
fn oci(name: &'static str, options: &'static [&str], directory: &Path, payload: &[&str], own: bool) -> Peer {
    let label = match (name, own) {
        ("crun", true) => "crun spec",
        (_, true) => "runc spec",
        _ => name,
    };
    Peer { name: label, whole: find(name).and_then(|program| bundle(&program, name, options, directory, payload, own)) }
}

fn bundle(
    program: &Path,
    name: &str,
    options: &'static [&str],
    directory: &Path,
    payload: &[&str],
    own: bool,
) -> Result<Whole> {
    let root = nix::unistd::geteuid().is_root();
    let bundle = directory.join(format!("{name}-{}-{own}", payload.len()));
    let rootfs = bundle.join("rootfs");
    for place in ["usr", "proc", "sys", "dev", "run", "tmp", "etc"] {
        std::fs::create_dir_all(rootfs.join(place))?;
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{link}"), rootfs.join(link));
    }
    let file = bundle.join("config.json");
    let config = if own {
        let rootless: &[&str] = if root { &[] } else { &["--rootless"] };
        let made = Command::new(program).arg("spec").args(rootless).current_dir(&bundle).output()?;
        if !made.status.success() {
            return Err(format!("spec: {}", String::from_utf8_lossy(&made.stderr).trim()).into());
        }
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = payload.into();
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(usr());
        }
        config
    } else {
        config(root, payload)
    };
    std::fs::write(file, config.to_string())?;
    let (program, state) = (program.to_owned(), bundle.join("state"));
    let mut count = 0_u32;
    Ok(Whole::of(Box::new(move || {
        count += 1;
        let mut command = Command::new(&program);
        command.args(options).arg("--root").arg(&state).args(["run", "-b"]).arg(&bundle);
        command.arg(format!("skep-bench-{}-{own}-{count}", std::process::id()));
        command
    })))
}

fn usr() -> serde_json::Value {
    serde_json::json!({ "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid", "nodev"] })
}

/// What runc and crun are told to make: as near to Skep's container as the
/// runtime specification's own example is.
fn config(root: bool, payload: &[&str]) -> serde_json::Value {
    let mount = |target: &str, kind: &str, options: &[&str]| serde_json::json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let map = |own: u32| {
        let (host, size) = if root { (BASE, 65_536) } else { (own, 1) };
        serde_json::json!([{ "containerID": 0, "hostID": host, "size": size }])
    };
    let kinds = ["user", "mount", "pid", "uts", "ipc", "network", "cgroup"];
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": payload,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": { "bounding": [], "effective": [], "permitted": [] },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "skep-bench",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=4m"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=64m"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
            mount("/sys", "sysfs", &["nosuid", "nodev", "noexec", "ro"]),
            mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755", "size=64m"]),
            mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777", "size=64m"]),
            usr(),
        ],
        "linux": {
            "namespaces": kinds.map(|kind| serde_json::json!({ "type": kind })),
            "uidMappings": map(uid),
            "gidMappings": map(gid),
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mount", "unshare", "keyctl", "bpf", "ptrace"], "action": "SCMP_ACT_ERRNO" }],
            },
        },
    })
}
