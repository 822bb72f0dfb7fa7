//! What a container is to a process that joins it: read off the ops of the plan
//! that started it, so that an exec is confined by the very ops that confined
//! the payload.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use skep_sys::abi::{CapabilitySet, Namespaces};
use skep_sys::{At, Op, OpKind};

use crate::compile::network::KINDS;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Phase, Plan, role};
use crate::report::Outcome;

/// A cgroup of the container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) path: CString,
    /// v2: a process is born in it; into one of v1 it is moved.
    pub(crate) unified: bool,
}

/// How the payload was confined. It holds no secret but what the caller has put
/// into one of the documented variables.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Confinement {
    pub(crate) machine: crate::spec::MachineName,
    /// The kinds that the container does not share with its starter.
    pub(crate) namespaces: Namespaces,
    pub(crate) groups: Vec<Group>,
    /// From the root switch to the exec, in order, in flat form.
    pub(crate) ops: Vec<u8>,
    /// What the embedder has done to the process before it went on, likewise.
    pub(crate) attended: Vec<u8>,
    /// What the report says of how the payload is scheduled, item by item.
    pub(crate) scheduled: Vec<(&'static str, String)>,
    /// The payload's documented variables.
    pub(crate) variables: BTreeMap<String, OsString>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) bounding: CapabilitySet,
    pub(crate) ambient: CapabilitySet,
    /// Whether supplementary groups can be set inside.
    pub(crate) has_groups: bool,
}

/// Those that every payload has, whatever its Spec says.
const DOCUMENTED: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "container", "CREDENTIALS_DIRECTORY"];

/// Done again for every process that joins.
const CONFINES: [OpKind; 20] = [
    OpKind::DenyWriteExecute,
    // After the root switch, for a Landlock rule only.
    OpKind::OpenAt2,
    OpKind::LandlockRuleset,
    OpKind::LandlockPath,
    OpKind::LandlockPort,
    OpKind::LandlockRestrict,
    OpKind::SessionKeyring,
    OpKind::Personality,
    OpKind::Umask,
    OpKind::SetLimit,
    OpKind::DropBounding,
    OpKind::SetSecureBits,
    OpKind::SetGroups,
    OpKind::SetResGid,
    OpKind::SetResUid,
    OpKind::CapSet,
    OpKind::AmbientSet,
    OpKind::NoNewPrivs,
    OpKind::ProveCredentials,
    OpKind::Seccomp,
];

/// The container's, not the process's, or said anew for each process.
const ONCE: [OpKind; 29] = [
    OpKind::PivotRoot,
    // After the switch, how mounts spread.
    OpKind::MountSetAttr,
    OpKind::UmountOld,
    OpKind::ProveRoot,
    OpKind::Chdir,
    OpKind::HostName,
    OpKind::DomainName,
    OpKind::Socket,
    OpKind::LinkUp,
    OpKind::NetlinkSocket,
    OpKind::LinkAltName,
    OpKind::AddressAdd,
    OpKind::RouteAdd,
    OpKind::Mkdir,
    OpKind::Bind,
    OpKind::Close,
    OpKind::SetSid,
    OpKind::ResetSignals,
    OpKind::BlockSignals,
    OpKind::Dumpable,
    OpKind::Dup,
    OpKind::ControllingTerminal,
    OpKind::SocketPair,
    OpKind::Fork,
    OpKind::Vacate,
    OpKind::Arrive,
    OpKind::Await,
    OpKind::Announce,
    OpKind::Exec,
];

/// The container's, of what the embedder does while its first process waits.
const ATTENDS_ONCE: [OpKind; 10] = [
    OpKind::OpenProcess,
    OpKind::OpenAt2,
    OpKind::Close,
    OpKind::IdMapHelper,
    OpKind::MapNamespace,
    OpKind::MountSetAttr,
    OpKind::WritePid,
    OpKind::EntrustFile,
    OpKind::Release,
    OpKind::NetlinkSocket,
];

/// Whether `op` sets what is the container's: a process that joins finds it as
/// it is. A file that is not known may be the process's own.
fn is_once(op: &Op<'_>) -> bool {
    match *op {
        Op::Write { path, .. } => {
            let path = path.to_bytes();
            // Of the user namespace, or read-write below a procfs of the
            // container's: by namespaces.
            [&b"setgroups"[..], b"gid_map", b"uid_map", b"1/timens_offsets"].contains(&path)
                || path.starts_with(b"sys/")
        }
        // An exec's terminal is its own.
        Op::SendFile { place, .. } => place == role::TERMINAL,
        _ => ONCE.contains(&op.kind()),
    }
}

impl Confinement {
    /// Of the container that `plan` starts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the payload is confined by something
    /// that cannot be done again for another process, or has no process-id
    /// namespace: then nothing would end the process with the container.
    pub(crate) fn of(plan: &Plan) -> Result<Self> {
        let mut found = Self {
            machine: plan.machine().clone(),
            namespaces: Namespaces::NONE,
            groups: groups(plan),
            ops: Vec::new(),
            attended: Vec::new(),
            scheduled: scheduled(plan),
            variables: BTreeMap::new(),
            uid: 0,
            gid: 0,
            bounding: CapabilitySet::EMPTY,
            ambient: CapabilitySet::EMPTY,
            has_groups: false,
        };
        let (mut switched, mut own) = (false, Namespaces::NONE);
        for (_, phase, op) in plan.ops() {
            match op {
                Op::Spawn { namespaces, joins, .. } => {
                    own = namespaces;
                    // Pairs of a slot and a kind.
                    let kinds = joins.iter().skip(1).step_by(2).map(|kind| Namespaces(u64::from(kind)));
                    found.namespaces = kinds.fold(found.namespaces.with(namespaces), Namespaces::with);
                }
                Op::SetNs { kind, .. } => found.namespaces = found.namespaces.with(kind),
                _ => {}
            }
            switched |= op.kind() == OpKind::PivotRoot;
            if phase == Phase::Attend {
                found.attend(&op)?;
            }
            if phase == Phase::Payload || (phase == Phase::Enter && switched) {
                found.follow(&op)?;
            }
        }
        if !own.has(Namespaces::PID) {
            return Err(unsupported(
                "it has no process-id namespace of its own, so nothing would end the process with it",
            )
            .remedy("Give the container one (`namespaces.pid`)."));
        }
        found.ops.shrink_to_fit();
        found.attended.shrink_to_fit();
        Ok(found)
    }

    fn follow(&mut self, op: &Op<'_>) -> Result<()> {
        match *op {
            Op::DropBounding { keep } => self.bounding = keep,
            Op::AmbientSet { capabilities } => self.ambient = capabilities,
            Op::SetResUid { uid } => self.uid = uid,
            Op::SetResGid { gid } => self.gid = gid,
            Op::SetGroups { .. } => self.has_groups = true,
            Op::Exec { environment, .. } => {
                let entries = environment.0.iter().map(|entry| entry.to_bytes());
                for (name, value) in entries.filter_map(|entry| {
                    let (name, value) = entry.split_at_checked(entry.iter().position(|byte| *byte == b'=')?)?;
                    Some((DOCUMENTED.iter().find(|known| known.as_bytes() == name)?, value.get(1..)?))
                }) {
                    self.variables.insert((*name).to_owned(), OsString::from_vec(value.to_vec()));
                }
            }
            _ => {}
        }
        match *op {
            Op::Seccomp { listener: Some(_), .. } => Err(unsupported("its filter asks a listener, which is the payload's")
                .remedy("Deny or allow these system calls instead of asking (`system_calls.notify`), or start a second container.")),
            _ if CONFINES.contains(&op.kind()) => {
                op.write(&mut self.ops);
                Ok(())
            }
            _ if is_once(op) => Ok(()),
            _ => Err(unknown(op)),
        }
    }

    fn attend(&mut self, op: &Op<'_>) -> Result<()> {
        match *op {
            Op::Write { dir: At::Slot(role::PROCESS), path, .. } if path == c"oom_score_adj" => {
                op.write(&mut self.attended);
                Ok(())
            }
            Op::Affinity { .. } | Op::Schedule { .. } | Op::IoPriority { .. } => {
                op.write(&mut self.attended);
                Ok(())
            }
            _ if ATTENDS_ONCE.contains(&op.kind()) || KINDS.contains(&op.kind()) || is_once(op) => Ok(()),
            _ => Err(unknown(op)),
        }
    }

    #[cfg(test)]
    pub(crate) fn kinds(&self) -> Vec<OpKind> {
        let mut reader = skep_sys::wire::Reader::new(&self.ops);
        std::iter::from_fn(|| Op::read(&mut reader)).map(|op| op.kind()).collect()
    }

    /// The same, for who joins by process 1: in the v2 group where that is now, which
    /// is the container's or one below it. A machine that gives controllers to the
    /// groups of its services leaves no process in its own (`cgroups(7)`: "no internal
    /// processes"), and there none can be born. The container's limits hold below it.
    pub(crate) fn beside(&self, first: u32) -> Self {
        let said = std::fs::read(format!("/proc/{first}/cgroup")).unwrap_or_default();
        let own = said.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
        let mut found = self.clone();
        for group in found.groups.iter_mut().filter(|group| group.unified) {
            group.path = own.and_then(|own| below(&group.path, own)).unwrap_or_else(|| group.path.clone());
        }
        found
    }

    /// The first group whose processes are stopped. One that joined would stop
    /// as well, with whoever waits for it.
    pub(crate) fn paused(&self) -> bool {
        self.groups.iter().any(|group| {
            let path = std::path::Path::new(OsStr::from_bytes(group.path.to_bytes()));
            let says = |file: &str, word: &str| {
                std::fs::read_to_string(path.join(file)).is_ok_and(|text| text.lines().any(|line| line == word))
            };
            says("cgroup.events", "frozen 1")
                || says("cgroup.freeze", "1")
                || says("freezer.state", "FROZEN")
                || says("freezer.state", "FREEZING")
        })
    }
}

/// Where a group is that `/proc/PID/cgroup` calls `own`, if that is `top` or below it.
/// By the name of `top`, of which there is one: the reader's own namespace may have
/// another root than the mount.
fn below(top: &std::ffi::CStr, own: &[u8]) -> Option<CString> {
    let name = top.to_bytes().rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())?;
    let mut parts = own.split(|byte| *byte == b'/');
    parts.find(|part| *part == name)?;
    let path = parts.fold(top.to_bytes().to_vec(), |mut path, part| {
        path.push(b'/');
        path.extend(part);
        path
    });
    CString::new(path).ok()
}

/// What is new to a plan stops every exec until it is known here.
fn unknown(op: &Op<'_>) -> Error {
    let what = match op {
        Op::Write { path, .. } => {
            format!("a write to {}", crate::Escaped::new(OsStr::from_bytes(path.to_bytes())).short())
        }
        _ => format!("`{}`", op.kind().name()),
    };
    unsupported(&format!("{what} may confine its payload, and is not known to be done for a second process"))
}

pub(crate) fn unsupported(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("cannot run another process in this container: {why}"))
}

/// Items of the report that say how a payload is scheduled.
pub(crate) const SCHEDULED: [&str; 3] = ["processors", "scheduling", "io priority"];

fn scheduled(plan: &Plan) -> Vec<(&'static str, String)> {
    let applied = |item| match plan.report().of(item) {
        Some(Outcome::Applied(how)) => Some((item, how.clone())),
        _ => None,
    };
    SCHEDULED.into_iter().filter_map(applied).collect()
}

/// The groups that the child is put into.
fn groups(plan: &Plan) -> Vec<Group> {
    let mut opened = BTreeMap::new();
    let mut groups = Vec::new();
    for (_, _, op) in plan.ops() {
        match op {
            Op::OpenAt2 { dir: At::Cwd, path, into, .. } => _ = opened.insert(into, path.to_owned()),
            Op::Spawn { cgroup: Some(slot), .. } => {
                groups.extend(opened.get(&slot).map(|path| Group { path: path.clone(), unified: true }));
            }
            Op::WritePid { dir: At::Slot(slot), path, .. } if path == c"cgroup.procs" => {
                groups.extend(opened.get(&slot).map(|path| Group { path: path.clone(), unified: false }));
            }
            _ => {}
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use skep_sys::Slot;
    use skep_sys::abi::SeccompFlags;
    use skep_sys::wire::Blob;

    use super::*;
    use crate::facts::Facts;
    use crate::spec::Spec;

    fn of_default() -> Confinement {
        let spec = Spec { command: vec!["true".into()], ..Spec::default() };
        Confinement::of(&crate::compile(&spec, &Facts::example(&spec)).unwrap()).unwrap()
    }

    fn refusal(result: Result<()>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        error.to_string()
    }

    #[test]
    fn what_is_not_known_stops_an_exec() {
        let mut container = of_default();
        let dir = At::Slot(role::PROC);
        let write = |path| Op::Write { dir, path, content: Blob(b"1") };
        for path in [c"1/timens_offsets", c"sys/user/max_user_namespaces", c"sys/net/ipv4/ip_forward"] {
            container.follow(&write(path)).unwrap();
        }
        for path in [c"1/coredump_filter", c"self/timerslack_ns", c"1/attr/exec", c"1/oom_score_adj", c"sysrq-trigger"]
        {
            assert!(refusal(container.follow(&write(path))).contains(path.to_str().unwrap()));
        }
        let kept = container.clone();
        refusal(container.attend(&write(c"oom_score_adj")));
        refusal(container.attend(&Op::SetLimit { resource: skep_sys::abi::Resource(0), soft: 0, hard: 0 }));
        let sent = |place| Op::SendFile { to: role::CONTROL, file: role::ONE, place };
        container.follow(&sent(role::TERMINAL)).unwrap();
        refusal(container.follow(&sent(Slot(99))));
        assert_eq!(container, kept, "what is skipped or refused is not kept");
    }

    #[test]
    fn who_joins_is_where_process_one_is() {
        let top = c"/sys/fs/cgroup/a/skep-web@1-2-3-4";
        for (own, path) in [
            ("/a/skep-web@1-2-3-4", Some("/sys/fs/cgroup/a/skep-web@1-2-3-4")),
            ("/a/skep-web@1-2-3-4/init.scope", Some("/sys/fs/cgroup/a/skep-web@1-2-3-4/init.scope")),
            ("/../skep-web@1-2-3-4/b/skep-web@1-2-3-4", Some("/sys/fs/cgroup/a/skep-web@1-2-3-4/b/skep-web@1-2-3-4")),
            ("/a/skep-web@1-2-3-45/init.scope", None),
            ("/", None),
        ] {
            assert_eq!(below(top, own.as_bytes()).as_deref().map(|path| path.to_str().unwrap()), path, "{own}");
        }
    }

    #[test]
    fn a_filter_with_a_listener_stops_an_exec() {
        let filter = Op::Seccomp { program: Blob(&[]), flags: SeccompFlags::NEW_LISTENER, listener: Some(role::ONE) };
        let refused = refusal(of_default().follow(&filter));
        assert!(refused.contains("listener") && refused.contains("second container"), "{refused}");
    }
}
