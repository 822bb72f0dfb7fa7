//! Files of the host that the payload reaches.

use std::collections::BTreeSet;
use std::path::Path;

use super::holdings::Holdings;
use super::{Area, Rows};
use crate::Escaped;
use crate::spec::{IdMap, MountKind, Spec, Volatile};

/// Directories whose writer rules the host, or sees what it should not.
const SYSTEM: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// Those of them that hold secrets or a view of the host, also read-only.
const TELLING: &[&str] = &["/", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/var"];

/// Parts of names of sockets behind which somebody acts with more rights.
const SOCKETS: &[&str] = &[
    "docker.sock",
    "podman.sock",
    "containerd.sock",
    "crio.sock",
    "system_bus_socket",
    "systemd/private",
    "varlink",
    "nix/daemon-socket",
];

pub(super) fn judge(holdings: &Holdings, spec: &Spec, rows: &mut Rows) {
    root(holdings, spec, rows);
    // One that is named twice is there once.
    for name in spec.bind_user.names.iter().collect::<BTreeSet<_>>() {
        let why = "its own files there run as that user on the host, a ~/.profile for instance; root can read the hash";
        let name = Escaped::new(name).short().to_string();
        rows.add(Area::Files, format!("host user {name}"), "its home, writable, and the hash of its password", 20, why);
    }
    for mount in &spec.mounts {
        let target = Escaped::new(&mount.target).to_string();
        match &mount.kind {
            MountKind::Bind(bind) => {
                let (tenths, why) = bound(&bind.source, bind.read_only, holdings);
                let mode = if bind.read_only { "read-only" } else { "writable" };
                let holds = format!("{} of the host, {mode}", Escaped::new(&bind.source));
                rows.add(Area::Files, format!("bind {target}"), holds, tenths, why);
                if bind.id_map != IdMap::NoIdMap && !bind.read_only {
                    let why = "what its root writes belongs to the mapped id on the host, set-user-id files too";
                    rows.add(Area::Files, format!("id-mapped {target}"), "ids of the host", 10, why);
                }
            }
            MountKind::Overlay(overlay) => {
                let layers = overlay.lower.iter().map(|path| (path, true));
                let layers = layers.chain(overlay.upper.iter().map(|path| (path, overlay.read_only)));
                let worst = layers.map(|(path, read_only)| bound(path, read_only, holdings)).max();
                let (tenths, why) = worst.unwrap_or((0, "nothing of the host"));
                let kept = if overlay.upper.is_some() { "changes kept on the host" } else { "changes thrown away" };
                let holds = format!("{} directories of the host, {kept}", overlay.lower.len());
                rows.add(Area::Files, format!("overlay {target}"), holds, tenths, why);
            }
            // Judged by what the plan lets through: see `rows.rs`.
            MountKind::Device(_) => {}
            MountKind::File(_) | MountKind::Secret(_) => {
                rows.add(Area::Files, format!("file {target}"), "content of the caller", 0, "read-only, in memory");
            }
            MountKind::Tmpfs(_) => {
                rows.add(
                    Area::Files,
                    format!("tmpfs {target}"),
                    "a file system in memory",
                    0,
                    "its own; of limited size",
                );
            }
        }
    }
}

fn root(holdings: &Holdings, spec: &Spec, rows: &mut Rows) {
    let root = &spec.root;
    let path = Escaped::new(&root.path).to_string();
    let kept = root.volatile == Volatile::No && !root.ephemeral;
    let layers = root.lower.len().saturating_add(1);
    let writes = "what it writes stays, for whoever uses the tree next";
    let (holds, tenths, why) = match root.volatile {
        Volatile::Yes => {
            (format!("memory, with {} read-only", Escaped::new(&root.path.join("usr"))), 0, "programs, no data")
        }
        _ if root.is_closed() && layers > 1 => (format!("{layers} layers, read-only"), 0, "it cannot change the tree"),
        _ if root.is_overlay() && root.upper.is_some() => (format!("{path}, changes kept elsewhere"), 5, writes),
        _ if root.is_changed() => {
            let tenths = if root.path == Path::new("/") { 90 } else { 5 };
            (format!("{path}, writable"), tenths, writes)
        }
        _ if root.path == Path::new("/") => {
            let tenths = if holdings.maps_root() { 40 } else { 20 };
            (format!("{path}, changes thrown away"), tenths, "it reads whatever of the host its ids may read")
        }
        _ if kept => (format!("{path}, read-only"), 0, "it cannot change the tree"),
        _ => (format!("{path}, changes thrown away"), 0, "it cannot change the tree"),
    };
    rows.add(Area::Files, "root", holds, tenths, why);
}

/// What a path of the host is worth.
fn bound(source: &Path, read_only: bool, holdings: &Holdings) -> (u8, &'static str) {
    let text = source.to_string_lossy();
    if SOCKETS.iter().any(|name| text.contains(name)) {
        return (90, "a socket gives the powers of the service behind it, read-only or not");
    }
    let whole = source == Path::new("/");
    let system = SYSTEM.iter().any(|directory| source == Path::new(directory));
    let telling = TELLING.iter().any(|directory| source == Path::new(directory));
    let root = holdings.maps_root();
    match (read_only, whole || system) {
        (false, true) if root => {
            (95, "root on the host's own directory: what runs or is trusted there can be replaced")
        }
        (false, true) => (40, "the host's own directory, as far as its ids may write there"),
        (false, false) if root => (20, "as the host's root: also set-user-id files, which work outside"),
        (false, false) => (5, "what it writes there, the host may read and trust"),
        (true, _) if telling && root => (30, "keys, passwords and devices of the host can be read there as root"),
        (true, _) if telling => (15, "what the host keeps there can be read, as far as its ids may"),
        (true, _) => (1, "it can read what is there"),
    }
}
