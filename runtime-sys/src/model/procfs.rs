//! The files that act: `/proc/PID` and sysctls.
//!
//! Sources: proc(5), user_namespaces(7), namespaces(7), cgroups(7), ptrace(2),
//! `kernel/ucount.c`, `net/sysctl_net.c`, `Documentation/admin-guide/cgroup-v2.rst`.

use crate::abi::{Namespaces, cap, fs_magic};
use crate::errno::Errno;

use super::descriptors::{Access, Handle, Object};
use super::file_systems::FsId;
use super::files::{Inode, InodeId, Node, Place};
use super::namespaces::{CAP_DAC_OVERRIDE, Extent, MapFile, from_kernel, to_kernel};
use super::processes::TaskId;
use super::walk::{Found, Step};
use super::{Model, UserId};

const CAP_SYS_PTRACE: u8 = 19;

/// The files of `/proc/PID` that the model knows.
const PROCESS_FILES: &[&str] = &[
    "uid_map",
    "gid_map",
    "setgroups",
    "oom_score_adj",
    "timens_offsets",
    "loginuid",
    "coredump_filter",
    "status",
    "mountinfo",
];
const PROCESS_LINKS: &[&str] = &["cwd", "root"];
const PROCESS_DIRECTORIES: &[&str] = &["fd", "ns"];
const NAMESPACE_LINKS: &[(&str, Namespaces)] = &[
    ("mnt", Namespaces::MOUNT),
    ("uts", Namespaces::UTS),
    ("ipc", Namespaces::IPC),
    ("net", Namespaces::NETWORK),
    ("cgroup", Namespaces::CGROUP),
    ("pid", Namespaces::PID),
    ("time", Namespaces::TIME),
    ("user", Namespaces::USER),
];

impl Model {
    /// One component of a path.
    pub(super) fn step(&mut self, at: Place, name: &[u8]) -> Result<Step, Errno> {
        let fs = self[at.inode].fs;
        let text = core::str::from_utf8(name).unwrap_or_default();
        match &self[at.inode].node {
            Node::Directory(entries) => {
                if let Some(inode) = entries.get(name) {
                    return Ok(Step::Inode(*inode));
                }
                if self.magic_of(at.inode) == fs_magic::PROC && self[fs].root == at.inode {
                    return self.process_entry(fs, text);
                }
                Err(Errno::ENOENT)
            }
            Node::Process(task) => self.process_step(fs, *task, text),
            Node::ProcessLinks(task, kind) => {
                let (task, kind) = (*task, *kind);
                self.may_trace(task)?;
                if kind == "fd" {
                    let number: i32 = text.parse().map_err(|_| Errno::ENOENT)?;
                    let entry = self[task].table.get(&number).ok_or(Errno::ENOENT)?;
                    return Ok(Step::Magic(match &self[entry.file].object {
                        Object::Path(handle) => Found::Place(handle.place),
                        other => Found::Object(other.clone()),
                    }));
                }
                if text == "time_for_children" {
                    return Ok(Step::Magic(Found::Object(Object::Space(self[task].spaces.time_for_children))));
                }
                let kind = NAMESPACE_LINKS.iter().find(|row| row.0 == text).ok_or(Errno::ENOENT)?.1;
                let object = self[task].spaces.of(kind).map_or(Object::User(self[task].cred.user), Object::Space);
                Ok(Step::Magic(Found::Object(object)))
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// `/proc/self` and `/proc/PID`: processes of the instance's pid namespace.
    fn process_entry(&mut self, fs: FsId, name: &str) -> Result<Step, Errno> {
        let space = self[fs].space.ok_or(Errno::ENOENT)?;
        if name == "self" || name == "thread-self" {
            let pid = self[self.current].number_in(space).ok_or(Errno::ENOENT)?;
            let link = Node::Symlink(pid.to_string().into_bytes());
            return Ok(Step::Inode(self.synthetic(fs, None, name, link)));
        }
        let pid: u32 = name.parse().map_err(|_| Errno::ENOENT)?;
        let task = self.by_number(space, pid).ok_or(Errno::ENOENT)?;
        Ok(Step::Inode(self.synthetic(fs, None, name, Node::Process(task))))
    }

    fn process_step(&mut self, fs: FsId, task: TaskId, name: &str) -> Result<Step, Errno> {
        if self[task].ended() {
            return Err(Errno::ESRCH);
        }
        let known = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        if let Some(file) = known(PROCESS_FILES) {
            return Ok(Step::Inode(self.synthetic(fs, Some(task), file, Node::ProcessFile(task, file))));
        }
        if let Some(kind) = known(PROCESS_DIRECTORIES) {
            return Ok(Step::Inode(self.synthetic(fs, Some(task), kind, Node::ProcessLinks(task, kind))));
        }
        let link = known(PROCESS_LINKS).ok_or(Errno::ENOENT)?;
        self.may_trace(task)?;
        let place = if link == "cwd" { self[task].cwd } else { self[task].root };
        Ok(Step::Magic(Found::Place(place)))
    }

    /// An inode of a procfs instance, the same one every time.
    fn synthetic(&mut self, fs: FsId, task: Option<TaskId>, name: &str, node: Node) -> InodeId {
        let key = (fs, task, name.to_owned());
        if let Some(inode) = self.synthetic.get(&key).copied() {
            self[inode].node = node;
            return inode;
        }
        let parent = match task {
            Some(task) => self.synthetic.values().copied().find(|inode| {
                self[*inode].fs == fs && matches!(self[*inode].node, Node::Process(other) if other == task)
            }),
            None => Some(self[fs].root),
        };
        let mode = if matches!(node, Node::ProcessFile(..)) { 0o644 } else { 0o555 };
        let name = name.as_bytes().to_vec();
        let inode = self.new_inode(Inode { fs, parent, name, node, uid: 0, gid: 0, mode, removed: false });
        self.synthetic.insert(key, inode);
        inode
    }

    /// ptrace(2), "Ptrace access mode checking": the same ids and dumpable, or
    /// CAP_SYS_PTRACE in the target's user namespace.
    fn may_trace(&self, target: TaskId) -> Result<(), Errno> {
        if target == self.current {
            return Ok(());
        }
        let (cred, other) = (self.cred(), &self[target].cred);
        let ids = [other.uid.real, other.uid.effective, other.uid.saved];
        let groups = [other.gid.real, other.gid.effective, other.gid.saved];
        let same = ids.iter().all(|id| *id == cred.uid.fs) && groups.iter().all(|id| *id == cred.gid.fs);
        // commoncap: and no capability that the caller lacks.
        let covered = cred.user == other.user && cred.permitted.contains(other.permitted);
        let owns = self[other.user].parent == Some(cred.user) && self[other.user].owner == cred.uid.effective;
        let privileged = self.capable(cred, other.user, CAP_SYS_PTRACE);
        if privileged || (same && self[target].dumpable && (covered || owns)) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// proc(5): the files of a process belong to its effective ids, or, when it is not
    /// dumpable, to root of the user namespace that it executed in
    /// (`task_dump_owner`).
    fn may_write_process(&self, target: TaskId) -> Result<(), Errno> {
        let (cred, of) = (self.cred(), &self[target].cred);
        let root = |map: &[Extent]| to_kernel(map, 0).unwrap_or(0);
        let user = &self[of.user];
        let (uid, gid) = if self[target].dumpable {
            (of.uid.effective, of.gid.effective)
        } else {
            (root(&user.uids), root(&user.gids))
        };
        let own = &self[cred.user];
        let mapped = from_kernel(&own.uids, uid).is_some() && from_kernel(&own.gids, gid).is_some();
        let owns = uid == cred.uid.fs || (mapped && self.capable(cred, cred.user, CAP_DAC_OVERRIDE));
        if owns { Ok(()) } else { Err(Errno::EACCES) }
    }

    pub(super) fn write_process_file(
        &mut self,
        target: TaskId,
        name: &'static str,
        content: &[u8],
    ) -> Result<(), Errno> {
        self.may_write_process(target)?;
        let (user, writer) = (self[target].cred.user, self.cred().clone());
        match name {
            "uid_map" => self.write_map(user, MapFile::Uid, content, &writer)?,
            "gid_map" => self.write_map(user, MapFile::Gid, content, &writer)?,
            "setgroups" => self.write_setgroups(user, content, &writer)?,
            "oom_score_adj" => {
                let wanted: i32 =
                    number(content).filter(|value| (-1000..=1000).contains(value)).ok_or(Errno::EINVAL)?;
                // proc(5): lowering it needs CAP_SYS_RESOURCE (EACCES).
                let old = self[target].notes.get(name).and_then(|old| number(old)).unwrap_or(0_i32);
                if wanted < old && !self.capable(&writer, UserId::INITIAL, cap::SYS_RESOURCE) {
                    return Err(Errno::EACCES);
                }
            }
            "timens_offsets" => {
                // time_namespaces(7): CAP_SYS_TIME in the owner; before the
                // first process is in it (EACCES after).
                const CAP_SYS_TIME: u8 = 25;
                let space = self[target].spaces.time_for_children;
                self.need(self[space].owner, CAP_SYS_TIME)?;
                offsets(content)?;
                if self.tasks.iter().any(|task| !task.ended() && task.spaces.time == space) {
                    return Err(Errno::EACCES);
                }
            }
            "status" | "mountinfo" => return Err(Errno::EACCES),
            _ => {}
        }
        self[target].notes.insert(name, content.to_vec());
        Ok(())
    }

    /// Sysctls: who may write which (namespaces(7), "/proc/sys/user";
    /// `net_ctl_permissions`, `set_permissions`, `test_perm`).
    pub(super) fn write_sysctl(&mut self, place: Place, content: &[u8]) -> Result<(), Errno> {
        let path = self.path_in_fs(place.inode);
        let cred = self.cred();
        let spaces = self[self.current].spaces;
        let ipc = ["msg", "sem", "shm"].iter().any(|prefix| path.starts_with(&format!("/sys/kernel/{prefix}")));
        let (space, owner) = match path.strip_prefix("/sys/") {
            // Not a sysctl: an ordinary file of root.
            None => {
                self.permit(place, 2)?;
                return self.writable(place);
            }
            Some(name) if name.starts_with("net/") => (spaces.network.0, self[spaces.network].owner),
            Some(_) if ipc => (spaces.ipc.0, self[spaces.ipc].owner),
            Some(name) if name.starts_with("fs/mqueue/") => (spaces.ipc.0, self[spaces.ipc].owner),
            Some(name) if name.starts_with("user/") => {
                if !self.capable(cred, cred.user, cap::SYS_RESOURCE) {
                    return Err(Errno::EACCES);
                }
                self.writable(place)?;
                let limit = number(content).ok_or(Errno::EINVAL)?;
                let user = cred.user;
                if name == "user/max_user_namespaces" {
                    self[user].limit = limit;
                }
                return self.set_sysctl(path, user == UserId::INITIAL, user.0, content);
            }
            Some(_) => (0, UserId::INITIAL),
        };
        // Owned by the root of the namespace's owner; capabilities do not help.
        let root = super::namespaces::to_kernel(&self[owner].uids, 0);
        let net = path.starts_with("/sys/net/") && self.capable(cred, owner, cap::NET_ADMIN);
        if root != Some(cred.uid.effective) && !net {
            return Err(Errno::EACCES);
        }
        self.writable(place)?;
        self.set_sysctl(path, owner == UserId::INITIAL, space, content)
    }

    fn set_sysctl(&mut self, path: String, hosts: bool, space: usize, content: &[u8]) -> Result<(), Errno> {
        self.sysctls.insert((hosts, path, space), content.trim_ascii_end().to_vec());
        Ok(())
    }

    /// bpf(2), BPF_PROG_LOAD: a program for cgroups needs CAP_BPF, and one of
    /// this type CAP_NET_ADMIN or CAP_SYS_ADMIN, in the initial user namespace.
    pub(super) fn bpf_device(&self, program: &[u8]) -> Result<Object, Errno> {
        // "E2BIG: … insn_cnt is greater than BPF_MAXINSNS", and none.
        if program.is_empty() || program.len() / 8 > 4096 {
            return Err(Errno::E2BIG);
        }
        self.need(super::UserId::INITIAL, cap::SYS_ADMIN)?;
        // The verifier: it ends in BPF_EXIT.
        let last = program.as_chunks::<8>().0.last().map(|instruction| instruction[0]);
        if !program.len().is_multiple_of(8) || last != Some(0x95) {
            Err(Errno::EINVAL)
        } else {
            Ok(Object::DeviceProgram(program.into()))
        }
    }

    /// bpf(2), BPF_PROG_ATTACH: to a directory of cgroup v2.
    pub(super) fn bpf_attach(&mut self, group: Handle, program: &Object) -> Result<(), Errno> {
        self.need(super::UserId::INITIAL, cap::SYS_ADMIN)?;
        let directory = self.is_directory(group.place.inode) && group.access != Access::Path;
        match program {
            Object::DeviceProgram(program) if directory && self.magic_of(group.place.inode) == fs_magic::CGROUP2 => {
                self.device_programs.push((group.place.inode, program.clone()));
                Ok(())
            }
            Object::DeviceProgram(_) => Err(Errno::EBADF),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// `proc_timens_set_offset`: a clock that would be negative, or past a half of what
/// the kernel can count, is ERANGE. This host has been up for a week.
fn offsets(content: &[u8]) -> Result<(), Errno> {
    const UP: i64 = 7 * 24 * 3600;
    const KTIME_SEC_MAX: i64 = i64::MAX / 1_000_000_000;
    let text = core::str::from_utf8(content).map_err(|_| Errno::EINVAL)?;
    for line in text.lines() {
        let seconds: i64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).ok_or(Errno::EINVAL)?;
        let fits = (-KTIME_SEC_MAX..=KTIME_SEC_MAX).contains(&seconds);
        if !fits || !(0..=KTIME_SEC_MAX / 2).contains(&(UP + seconds)) {
            return Err(Errno::ERANGE);
        }
    }
    Ok(())
}

pub(super) fn number<T: core::str::FromStr>(content: &[u8]) -> Option<T> {
    core::str::from_utf8(content).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::stand::{ALL, DIR, PID, PIDFD, PROCESS, Stand, write};
    use super::*;
    use crate::abi::{OpenFlags, Resolve};
    use crate::op::{At, Op, Slot};
    use crate::program::Actor;
    use crate::wire::Blob;

    const GROUP: Slot = Slot(30);

    #[test]
    fn sysctls_of_the_host_are_for_its_root() {
        for (path, as_root, as_user, contained) in [
            (c"sys/kernel/core_pattern", Ok(()), Err(Errno::EACCES), Err(Errno::EACCES)),
            (c"sys/net/ipv4/ip_forward", Ok(()), Err(Errno::EACCES), Ok(())),
            (c"sys/kernel/shmmax", Ok(()), Err(Errno::EACCES), Ok(())),
            (c"sys/user/max_net_namespaces", Ok(()), Err(Errno::EACCES), Ok(())),
        ] {
            for (stand, result) in
                [(Stand::root(), as_root), (Stand::user(), as_user), (Stand::user().contained(), contained)]
            {
                let mut stand = stand;
                stand.open(c"/proc", DIR);
                assert_eq!(stand.ask(write(path, b"7")), result, "{path:?}");
            }
        }
        let mut stand = Stand::root();
        stand.open(c"/proc", DIR);
        stand.ok(write(c"sys/kernel/core_pattern", b"7\n"));
        assert_eq!(stand.model.host_changes(), ["+ sysctl /proc/sys/kernel/core_pattern: 7"]);
    }

    #[test]
    fn a_process_is_found_by_number_and_proved_by_pidfd() {
        let mut stand = Stand::root();
        stand.spawn(ALL, true, None).unwrap();
        let first = (stand.cells[usize::from(PID.0)], stand.cells[usize::from(PIDFD.0)]);
        stand.spawn(ALL, true, None).unwrap();
        stand.cells[usize::from(PID.0)] = first.0;
        let open = Op::OpenProcess { pid: PID, pidfd: PIDFD, into: PROCESS };
        stand.no(open, Errno::ESRCH);
        stand.ok(Op::PidfdSignal { process: PIDFD, signal: 9 });
        stand.no(open, Errno::ESRCH);
        stand.ok(Op::PidfdSignal { process: PIDFD, signal: 9 });
    }

    #[test]
    fn the_links_of_a_process_are_for_who_may_trace_it() {
        let open = |path| Op::OpenAt2 {
            dir: At::Slot(PROCESS),
            path,
            flags: OpenFlags::PATH,
            mode: 0,
            resolve: Resolve::NONE,
            into: DIR,
        };
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        stand.ok(open(c"root"));
        stand.ok(open(c"fd/5"));
        stand.play(Actor::Child);
        stand.ok(Op::Dumpable { on: false });
        stand.play(Actor::Host);
        // The owner of the namespace has every capability in it.
        stand.ok(open(c"root"));
        stand.ok(Op::OpenAt2 {
            dir: At::Cwd,
            path: c"/proc/1000",
            flags: OpenFlags::PATH,
            mode: 0,
            resolve: Resolve::NONE,
            into: Slot(31),
        });
        stand.no(open(c"nothing"), Errno::ENOENT);
    }

    #[test]
    fn a_payload_of_the_same_uid_cannot_look_into_an_undumpable_init() {
        for (dumpable, result) in [(true, Ok(())), (false, Err(Errno::EACCES))] {
            let mut stand = Stand::user().contained();
            let none = crate::abi::CapabilitySet::EMPTY;
            stand.ok(Op::CapSet { effective: none, permitted: none, inheritable: none });
            stand.ok(Op::Dumpable { on: dumpable });
            stand.ok(Op::Fork { pid: Slot(12) });
            stand.play(Actor::Payload);
            // The host's procfs shows the host's numbers.
            let path = c"/proc/1001/root";
            let open =
                Op::OpenAt2 { dir: At::Cwd, path, flags: OpenFlags::PATH, mode: 0, resolve: Resolve::NONE, into: DIR };
            assert_eq!(stand.ask(open), result, "dumpable: {dumpable}");
        }
    }

    #[test]
    fn oom_score_adj_goes_up_and_time_offsets_come_first() {
        let mut stand = Stand::user();
        stand.spawn(ALL, true, None).unwrap();
        let write = |path, content| Op::Write { dir: At::Slot(PROCESS), path, content: Blob(content) };
        stand.ok(write(c"oom_score_adj", b"100"));
        stand.no(write(c"oom_score_adj", b"99"), Errno::EACCES);
        stand.no(write(c"oom_score_adj", b"1001"), Errno::EINVAL);
        stand.no(write(c"timens_offsets", b"boottime 1 0"), Errno::EPERM);
        let mut stand = Stand::root();
        stand.ok(Op::Unshare { namespaces: Namespaces::TIME });
        stand.open(c"/proc/self", DIR);
        let offsets = Op::Write { dir: At::Slot(DIR), path: c"timens_offsets", content: Blob(b"boottime 1 0") };
        stand.ok(offsets);
        stand.spawn(Namespaces::PID, false, None).unwrap();
        stand.no(offsets, Errno::EACCES);
    }

    #[test]
    fn programs_for_devices_are_roots_and_go_onto_groups() {
        const PROGRAM: Slot = Slot(20);
        let nothing = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let load = |bytes: &'static [u8]| Op::BpfDevice { program: Blob(bytes), into: PROGRAM };
        let program = Op::BpfDevice { program: Blob(&nothing), into: PROGRAM };
        let mut stand = Stand::root();
        stand.no(load(&[]), Errno::E2BIG);
        stand.no(load(&[0xb7, 0, 0, 0, 0, 0, 0, 0]), Errno::EINVAL);
        stand.ok(program);
        for (path, result) in [(c"/sys/fs/cgroup", Ok(())), (c"/usr", Err(Errno::EBADF))] {
            let flags = crate::abi::OpenFlags::DIRECTORY;
            let resolve = crate::abi::Resolve::NONE;
            stand.ok(Op::OpenAt2 { dir: At::Cwd, path, flags, mode: 0, resolve, into: GROUP });
            assert_eq!(stand.ask(Op::BpfAttach { cgroup: GROUP, program: PROGRAM }), result, "{path:?}");
            assert_eq!(stand.ask(Op::BpfAttach { cgroup: GROUP, program: GROUP }), Err(Errno::EINVAL));
        }
        Stand::user().no(program, Errno::EPERM);
    }
}
