//! Settings of the kernel that belong to the container's own namespaces.
//!
//! Only names that one of its namespaces owns: every other is the host's, also
//! where the kernel would let root write it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use skep_sys::wire::Blob;
use skep_sys::{At, Op};

use super::{Context, c_text};
use crate::Escaped;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::Namespace;

/// Of `kernel.*`, those of an ipc namespace (`ipc_namespaces(7)`).
const IPC: &[&str] = &[
    "kernel/msg_next_id",
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/sem_next_id",
    "kernel/shm_next_id",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// The kind of namespace that owns a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Network,
    Ipc,
}

/// Who owns the file below `/proc/sys`, if a namespace does that can be the
/// container's.
pub(crate) fn owner(path: &str) -> Option<Owner> {
    match path {
        _ if path.starts_with("net/") => Some(Owner::Network),
        _ if path.starts_with("fs/mqueue/") || IPC.contains(&path) => Some(Owner::Ipc),
        _ => None,
    }
}

/// The path below `/proc/sys`, as `sysctl(8)` reads a name: the first `.` or `/`
/// says which of them separates; the other is then a part of a name.
pub(crate) fn path(name: &str) -> Option<String> {
    let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'.'));
    let path: String = name
        .chars()
        .map(|character| match character {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte))
    };
    (path.len() <= 255 && path.contains('/') && path.split('/').all(plain)).then_some(path)
}

/// A value that one write takes: one line.
fn is_value(value: &str) -> bool {
    (1..=1000).contains(&value.len()) && !value.contains(char::is_control)
}

pub(super) fn set(context: &Context<'_>, plan: &mut Builder, report: &mut Report) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (name, value) in &context.spec.sysctls {
        let shown = Escaped::new(name).short();
        let field = format!("sysctls.{name}");
        let refuse = |kind, what: String, remedy: &str| {
            Err(Error::new(kind, what).from(context.spec.origins.of(&field)).remedy(remedy))
        };
        let invalid = |what: String, remedy: &str| refuse(ErrorKind::InvalidSpec, what, remedy);
        let Some(path) = path(name) else {
            return invalid(
                format!("\"{shown}\" is not the name of a sysctl"),
                "Write it as sysctl(8) does: net.ipv4.ip_forward.",
            );
        };
        if matches!(path.as_str(), "kernel/hostname" | "kernel/domainname") {
            return invalid(format!("the sysctl {shown} is set otherwise"), "Set the hostname of the container.");
        }
        let Some(owner) = owner(&path) else {
            return refuse(
                ErrorKind::NotPermitted,
                format!("the sysctl {shown} belongs to the host, not to a namespace of the container"),
                "Leave it out, or set it for the whole host. A container has net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*.",
            );
        };
        let (own, kind) = match owner {
            Owner::Network => (context.new_network(), "network"),
            Owner::Ipc => (context.spec.namespaces.ipc == Namespace::New, "ipc"),
        };
        if !own {
            return invalid(
                format!("the sysctl {shown} belongs to a {kind} namespace that is not the container's own"),
                "Let that namespace be new, or leave the sysctl out.",
            );
        }
        if !is_value(value) {
            return invalid(
                format!("the value of the sysctl {shown} is not one line of up to 1000 characters"),
                "Write the value as a read of the file gives it, with blanks between its parts.",
            );
        }
        if let Some(other) = seen.insert(path.clone(), name) {
            let other = Escaped::new(other).short();
            return invalid(format!("the sysctls {other} and {shown} are one"), "Leave one of them out.");
        }
        let mut line = value.clone();
        let _ = writeln!(line);
        let file = c_text(format!("sys/{path}").as_bytes())?;
        plan.step(Phase::Enter, format!("set the sysctl {path} to {value}"), context.origin(&field))
            .remedy("ENOENT: this kernel, or a network of one's own, does not have it. EINVAL: it does not take the value. EACCES: it is the host's, or the user namespace has no root.")
            .op(Op::Write { dir: At::Slot(role::PROC), path: &file, content: Blob(line.as_bytes()) });
        report.applied(format!("sysctl {path}"), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sysctl_reads_them() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/ip_forward", Some("net/ipv4/ip_forward")),
            ("net.ipv4.conf.eth0/1.mtu", Some("net/ipv4/conf/eth0.1/mtu")),
            ("net/ipv4/conf/eth0.1/mtu", Some("net/ipv4/conf/eth0.1/mtu")),
            ("kernel", None),
            ("", None),
            ("net..a", None),
            (".net", None),
            ("/net/a", None),
            ("net/../kernel/sem", None),
            ("net/./a", None),
            ("net.ipv4.a b", None),
            ("net.\0", None),
            ("net.ü", None),
        ] {
            assert_eq!(path(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(path(&format!("net.{}", "a".repeat(300))), None);
    }

    #[test]
    fn row_077_only_what_a_namespace_owns() {
        for (path, expected) in [
            ("net/core/somaxconn", Some(Owner::Network)),
            ("kernel/sem", Some(Owner::Ipc)),
            ("fs/mqueue/msg_max", Some(Owner::Ipc)),
            ("kernel/semantics", None),
            ("kernel/core_pattern", None),
            ("network/a", None),
            ("fs/mqueue", None),
            ("user/max_user_namespaces", None),
            ("vm/overcommit_memory", None),
        ] {
            assert_eq!(owner(path), expected, "{path}");
        }
    }
}
