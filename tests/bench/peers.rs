//! Other programs that start containers, each told to make the namespaces that
//! Skep makes by itself: user, mount, pid, UTS, IPC, network, cgroup.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::floor::{BASE, TRUE};
use crate::measure::{Entry, Subject};

/// A program that is run to its end, as a whole process.
pub(crate) struct Whole(pub(crate) Command);

impl Subject for Whole {
    fn sample(&mut self) -> Result<Duration> {
        self.0.stdin(Stdio::null()).stdout(Stdio::null());
        let before = Instant::now();
        let status = self.0.stderr(Stdio::null()).status()?;
        let taken = before.elapsed();
        if status.success() { Ok(taken) } else { Err(self.reason(status).into()) }
    }
}

impl Whole {
    /// Why it failed: once more, with ears.
    fn reason(&mut self, status: std::process::ExitStatus) -> String {
        let output = self.0.stderr(Stdio::piped()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("{status}: {}", line.chars().take(160).collect::<String>())
    }
}

/// The first program of that name in `PATH` or where root's programs are.
fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| "not installed".into())
}

fn command(name: &str, arguments: &[&str]) -> Result<Whole> {
    let mut command = Command::new(find(name)?);
    command.args(arguments).arg(TRUE);
    Ok(Whole(command))
}

pub(crate) fn entries(directory: &Path) -> Vec<Entry<'static>> {
    let root = nix::unistd::geteuid().is_root();
    let unshare = ["-U", "--map-root-user", "-m", "-p", "-f", "-u", "-i", "-n", "-C", "--mount-proc"];
    #[rustfmt::skip]
    let bubblewrap = [
        "--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net", "--unshare-cgroup",
        "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv",
        "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
        "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/sbin", "/sbin",
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp",
    ];
    let nspawn = [
        "-q",
        "--register=no",
        "--keep-unit",
        "--volatile=yes",
        "-D",
        "/",
        "--private-network",
        "--private-users=pick",
        "--private-users-ownership=off",
        "--as-pid2",
        "--pipe",
    ];
    vec![
        Entry::of("unshare (no mounts but proc)", command("unshare", &unshare)),
        Entry::of("bubblewrap (no filter, no masks)", command("bwrap", &bubblewrap)),
        Entry::of("crun", oci("crun", &["--cgroup-manager=disabled"], directory, root)),
        Entry::of("runc", oci("runc", &[], directory, root)),
        Entry::of("systemd-nspawn", if root { command("systemd-nspawn", &nspawn) } else { Err("needs root".into()) }),
    ]
}

/// An OCI runtime with a bundle of its own.
fn oci(name: &str, options: &'static [&str], directory: &Path, root: bool) -> Result<impl Subject + use<>> {
    let program = find(name)?;
    let bundle = directory.join(name);
    let rootfs = bundle.join("rootfs");
    for place in ["usr", "proc", "sys", "dev", "run", "tmp", "etc"] {
        std::fs::create_dir_all(rootfs.join(place))?;
    }
    for link in ["bin", "lib", "lib64", "sbin"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{link}"), rootfs.join(link));
    }
    std::fs::write(bundle.join("config.json"), config(root).to_string())?;
    let state = bundle.join("state");
    let mut count = 0_u32;
    Ok(move || {
        count += 1;
        let mut command = Command::new(&program);
        command
            .args(options)
            .arg("--root")
            .arg(&state)
            .args(["run", "-b"])
            .arg(&bundle)
            .arg(format!("skep-bench-{}-{count}", std::process::id()));
        Whole(command).sample()
    })
}

/// What runc and crun are told to make: as near to Skep's container as the
/// runtime specification's own example is.
fn config(root: bool) -> serde_json::Value {
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
            "args": [TRUE],
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
            { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid", "nodev"] },
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
