//! The variables that `systemd-nspawn` reads of its own environment.
//!
//! What is written there wrongly is an error, and each that has an effect is named as
//! the origin of what it sets.

use skep::Spec;
use skep::dialect::nspawn::value;
use skep::spec::{Init, KernelFiles, Namespace, Origin, Secret, Want};

use crate::message::{Failure, quoted};

/// What becomes of each.
#[rustfmt::skip]
pub(super) const VARIABLES: &[(&str, &str)] = &[
    ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "`network`: `/proc/sys/net` can be written whatever the network is; `1`: so can all of `/proc/sys` and `/sys`, and nothing is masked; neither in a user namespace, but `network` with a network of its own"),
    ("SYSTEMD_NSPAWN_CHECK_OS_RELEASE", "`0`: a tree without an `os-release` is booted all the same"),
    ("SYSTEMD_NSPAWN_CONTAINER_SERVICE", "the value of `$container`"),
    ("SYSTEMD_NSPAWN_LOCK", "`0`: the tree is not locked"),
    ("SYSTEMD_NSPAWN_NETWORK_MAC", "the hardware address of the inner end of the pair"),
    ("SYSTEMD_NSPAWN_SHARE_NS_IPC", "`1`: no IPC namespace of its own"),
    ("SYSTEMD_NSPAWN_SHARE_NS_PID", "`1`: no process-id namespace of its own; not with `--boot` or `--as-pid2`"),
    ("SYSTEMD_NSPAWN_SHARE_NS_UTS", "`1`: no UTS namespace of its own; not with `--boot` or `--as-pid2`"),
    ("SYSTEMD_NSPAWN_SHARE_SYSTEM", "`1`: none of the three"),
    ("SYSTEMD_NSPAWN_TMPFS_TMP", "`0`: `/tmp` is as the tree has it"),
    ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "nothing: cgroups are always of version 2 inside"),
    ("SYSTEMD_NSPAWN_USE_CGNS", "`0`: no cgroup namespace of its own, and no cgroups inside"),
    ("SYSTEMD_SECCOMP", "`0`: no system-call filter"),
    ("SYSTEMD_SUPPRESS_SYNC", "`1`: as `--suppress-sync=yes`, which wins over it"),
];

/// A variable that is set, as a boolean; an empty one is none.
pub(crate) fn boolean(name: &str) -> Result<Option<bool>, Failure> {
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = || Failure::new(format!("${name}: {} is not a boolean; write 1 or 0, or unset it", quoted(&text)));
    text.to_str().and_then(|text| value::boolean(text).ok()).map(Some).ok_or_else(wrong)
}

/// Applies what is set to the Spec that the command line asks for.
pub(crate) fn apply(spec: &mut Spec) -> Result<(), Failure> {
    let note = |spec: &mut Spec, field: &str, name: &str| {
        spec.origins.note(field, Origin::Option(format!("${name}")));
    };
    shared(spec)?;
    const CONTAINER: &str = "SYSTEMD_NSPAWN_CONTAINER_SERVICE";
    if let Some(service) = std::env::var_os(CONTAINER).filter(|service| !service.is_empty())
        && !spec.environment.contains_key("container")
    {
        spec.environment.insert("container".to_owned(), Secret::new(service));
        note(spec, "environment.container", CONTAINER);
    }
    const TMP: &str = "SYSTEMD_NSPAWN_TMPFS_TMP";
    if let Some(tmp) = boolean(TMP)? {
        spec.tmp = tmp;
        note(spec, "tmp", TMP);
    }
    const FILES: &str = "SYSTEMD_NSPAWN_API_VFS_WRITABLE";
    let files = match std::env::var_os(FILES) {
        Some(word) if word == "network" => Some(KernelFiles::Network),
        _ => match boolean(FILES) {
            Ok(on) => on.map(|on| if on { KernelFiles::Writable } else { KernelFiles::ReadOnly }),
            Err(_) => return Err(Failure::new(format!("${FILES}: write network, 1 or 0, or unset it"))),
        },
    };
    if let Some(files) = files {
        spec.kernel_files = files;
        note(spec, "kernel_files", FILES);
    }
    const GROUPS: &str = "SYSTEMD_NSPAWN_USE_CGNS";
    if boolean(GROUPS)? == Some(false) {
        spec.namespaces.cgroup = Namespace::Host;
        note(spec, "namespaces.cgroup", GROUPS);
    }
    const FILTER: &str = "SYSTEMD_SECCOMP";
    if boolean(FILTER)? == Some(false) {
        spec.seccomp = Want::Off;
        note(spec, "seccomp", FILTER);
    }
    const SYNC: &str = "SYSTEMD_SUPPRESS_SYNC";
    let said = spec.origins.of("system_calls.suppress_sync").is_some();
    if let Some(on) = boolean(SYNC)?.filter(|_| !said) {
        spec.system_calls.suppress_sync = on;
        note(spec, "system_calls.suppress_sync", SYNC);
    }
    Ok(())
}

/// Namespaces that are the caller's.
fn shared(spec: &mut Spec) -> Result<(), Failure> {
    const ALL: &str = "SYSTEMD_NSPAWN_SHARE_SYSTEM";
    let all = boolean(ALL)? == Some(true);
    let kinds = ["IPC", "PID", "UTS"];
    for kind in kinds {
        let own = format!("SYSTEMD_NSPAWN_SHARE_NS_{kind}");
        let name = match boolean(&own)? {
            Some(true) => own.as_str(),
            _ if all => ALL,
            _ => continue,
        };
        let (place, field) = match kind {
            "IPC" => (&mut spec.namespaces.ipc, "namespaces.ipc"),
            "PID" => (&mut spec.namespaces.pid, "namespaces.pid"),
            _ => (&mut spec.namespaces.uts, "namespaces.uts"),
        };
        if kind != "IPC" && spec.init != Init::Payload {
            let what = "an init, of the machine or a stub, cannot share it; leave --boot or --as-pid2 out, or unset it";
            return Err(Failure::new(format!("${name}: {what}")));
        }
        *place = Namespace::Host;
        spec.origins.note(field, Origin::Option(format!("${name}")));
        if kind != "IPC" {
            // Whoever asks for its machine would get the host's.
            spec.register = Want::Off;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_and_in_order() {
        let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted());
    }
}
