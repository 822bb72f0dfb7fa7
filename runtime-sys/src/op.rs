//! The vocabulary: everything that Skep may ask of a kernel.

use core::ffi::CStr;
use core::fmt;

use crate::abi::{
    CapabilitySet, MountAttrs, Namespaces, OpenFlags, Propagation, Resolve, Resource, Seals, SeccompFlags, SecureBits,
    TreeFlags,
};
use crate::errno::Errno;
use crate::wire::{Argument, Blob, Numbers, Reader, Secret, SecretBlob, Strings, Writer};

/// The number of a place that holds a descriptor or a result.
///
/// A plan names descriptors by slot, never by number, so that it means the
/// same in every process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Slot(pub u16);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a path starts from: the first argument of the `*at` calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    /// The working directory (`AT_FDCWD`), or nothing for an absolute path.
    Cwd,
    /// The directory in a slot.
    Slot(Slot),
}

/// What a descriptor must be, or the plan ends with `ESTALE`: it is asked of the
/// descriptor, never of a path, so nothing can change in between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Proof {
    /// It lies on a file system with this magic number (`fstatfs(2)`), and is
    /// the file that was asked for, not one mounted over it.
    FileSystem {
        /// One of [`crate::abi::fs_magic`].
        magic: u64,
    },
    /// It is the inode that was seen when the plan was made.
    Inode {
        /// `st_dev`, as the kernel's new encoding.
        device: u64,
        /// `st_ino`.
        inode: u64,
    },
    /// It is a character device with this number.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// It is a block device with this number.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// It is a regular file owned by uid 0 that nobody else may write.
    OwnedByRoot,
    /// It is a directory of this user that nobody else may write, nor look
    /// into when `private`.
    OwnDirectory {
        /// Whose, as the caller's user namespace has it.
        uid: u32,
        /// Whether others may not even read it.
        private: bool,
    },
    /// It is no directory and was not opened with `O_PATH`: nothing can be
    /// reached from it by `..`.
    Passable,
    /// It is a namespace of this kind (`ioctl_ns(2)`, `NS_GET_NSTYPE`).
    Namespace {
        /// One kind.
        kind: Namespaces,
    },
}

macro_rules! vocabulary {
    ($($(#[$meta:meta])* $name:ident = $text:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        /// One thing asked of a kernel: about one system call, with typed
        /// arguments. Plain data; borrows its strings from the plan.
        ///
        /// Every variant is documented; its fields are named as in the man
        /// page of the call.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "fields are named as in the man pages")]
        #[non_exhaustive]
        pub enum Op<'a> {
            $($(#[$meta])* $name { $($(#[$field_meta])* $field: $type),* },)*
        }

        /// The kind of an [`Op`], without its arguments.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs, reason = "the docs are on the variants of Op")]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum OpKind { $($name),* }

        impl OpKind {
            /// Every kind of op.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$name),*];

            /// The name, as plans print it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(OpKind::$name => $text),* }
            }
        }

        impl<'a> Op<'a> {
            /// The kind.
            #[must_use]
            pub const fn kind(&self) -> OpKind {
                match self { $(Op::$name { .. } => OpKind::$name),* }
            }

            /// Appends the flat form.
            #[allow(unused_variables, reason = "ops without arguments")]
            pub fn write(&self, to: &mut dyn Writer) {
                to.byte(self.kind() as u8);
                match self { $(Op::$name { $($field),* } => { $($field.write(to);)* })* }
            }

            /// Reads one op; `None` when the bytes are not one.
            #[allow(unused_variables, reason = "ops without arguments")]
            #[inline(never)]
            pub fn read(from: &mut Reader<'a>) -> Option<Self> {
                let [kind] = *from.take(1)? else { return None };
                $(if kind == OpKind::$name as u8 {
                    return Some(Op::$name { $($field: Argument::read(from)?),* });
                })*
                None
            }

            /// Calls `visit` with the name and the printed form of every
            /// argument, in order.
            #[allow(unused_variables, reason = "ops without arguments")]
            pub fn arguments(&self, visit: &mut dyn FnMut(&'static str, &dyn fmt::Display)) {
                match self {
                    $(Op::$name { $($field),* } => { $(visit(stringify!($field), &Shown($field));)* })*
                }
            }
        }
    };
}

struct Shown<'b, T>(&'b T);

impl<'a, T: Argument<'a>> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

/// An op prints as its call: `move_mount(from=$4 dir=$2 path=proc)`.
impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.kind().name())?;
        let (mut separator, mut result) = ("", Ok(()));
        self.arguments(&mut |name, value| {
            result = result.and_then(|()| write!(f, "{separator}{name}={value}"));
            separator = " ";
        });
        result?;
        f.write_str(")")
    }
}

vocabulary! {
    // Files.

    /// `openat2(2)`. `O_CLOEXEC` and `O_NOCTTY` are always added.
    OpenAt2 = "openat2" { dir: At, path: &'a CStr, flags: OpenFlags, mode: u32, resolve: Resolve, into: Slot }
    /// `mkdirat(2)` of one component; an existing entry is kept when
    /// `exist_ok`. The caller opens it without following a link afterwards.
    Mkdir = "mkdirat" { dir: At, name: &'a CStr, mode: u32, exist_ok: bool }
    /// `symlinkat(2)` of one component.
    Symlink = "symlinkat" { target: &'a CStr, dir: At, name: &'a CStr }
    /// Makes a file of one component that did not exist, with `content`
    /// (`O_CREAT|O_EXCL|O_NOFOLLOW`). An existing one is an error, or kept
    /// untouched when `exist_ok`.
    Create = "create" { dir: At, name: &'a CStr, mode: u32, content: Blob<'a>, exist_ok: bool }
    /// `mknodat(2)` of one component; `mode` holds the type.
    Mknod = "mknodat" { dir: At, name: &'a CStr, mode: u32, major: u32, minor: u32 }
    /// `unlinkat(2)`; something that is already gone is not an error. A
    /// directory that is busy (a cgroup whose last process is just dying) is
    /// tried again for up to a second.
    Unlink = "unlinkat" { dir: At, path: &'a CStr, directory: bool }
    /// Opens an existing file beneath a directory without following links or
    /// crossing mounts, writes once, closes: id maps, sysctls, cgroup files.
    Write = "write" { dir: At, path: &'a CStr, content: Blob<'a> }
    /// As `Write`, with the decimal process id that a slot holds.
    WritePid = "write_pid" { dir: At, path: &'a CStr, pid: Slot }
    /// `fchownat(2)` on the descriptor itself.
    Chown = "fchown" { file: Slot, uid: u32, gid: u32 }
    /// Looks at a descriptor; ESTALE when it is not what it must be.
    Prove = "prove" { file: Slot, proof: Proof }
    /// `close(2)`.
    Close = "close" { file: Slot }
    /// `memfd_create(2)`, filled and sealed. `executable` asks for `MFD_EXEC`,
    /// otherwise it is sealed against that, where the kernel knows either (6.3).
    MemFd = "memfd_create" { name: &'a CStr, content: Blob<'a>, seals: Seals, executable: bool, into: Slot }
    /// `pread64(2)` of one word, for a plan's progress.
    Peek = "pread64" { file: Slot, offset: u64, into: Slot }
    /// Opens a file of root's that nobody else may open (ESTALE where it is
    /// another), made if it is not there, and locks one byte of it for each id
    /// (`F_OFD_SETLK`, without waiting); EAGAIN when one is taken. They are held
    /// until `ReleaseIds` or the end of this process, by one open file for all of
    /// its containers; what the slot gets is that file as a path only. So are the
    /// lock files that `systemd-nspawn` has for ranges which it picks.
    LockIds = "lock_ids" { path: &'a CStr, first: u32, count: u32, into: Slot }

    // Mounts.

    /// `open_tree(2)`.
    OpenTree = "open_tree" { dir: At, path: &'a CStr, flags: TreeFlags, into: Slot }
    /// `fsopen(2)`.
    FsOpen = "fsopen" { kind: &'a CStr, into: Slot }
    /// `fsconfig(2)`, `FSCONFIG_SET_STRING`. One value, byte for byte.
    FsString = "fsconfig" { fs: Slot, key: &'a CStr, value: &'a CStr }
    /// `fsconfig(2)`, `FSCONFIG_SET_FLAG`.
    FsFlag = "fsconfig_flag" { fs: Slot, key: &'a CStr }
    /// `fsconfig(2)`, `FSCONFIG_CMD_CREATE`.
    FsCreate = "fsconfig_create" { fs: Slot }
    /// `fsmount(2)`.
    FsMount = "fsmount" { fs: Slot, attrs: MountAttrs, into: Slot }
    /// `move_mount(2)` of a descriptor onto a descriptor or a path.
    MoveMount = "move_mount" { from: Slot, dir: At, path: &'a CStr }
    /// `mount_setattr(2)`; `userns` is the namespace that maps the ids when
    /// `set` has `idmap`.
    MountSetAttr = "mount_setattr" { dir: At, path: &'a CStr, flags: TreeFlags, set: MountAttrs, clear: MountAttrs, propagation: Propagation, userns: Option<Slot> }
    /// `pivot_root(".", ".")` after the caller's `Fchdir`: the new root is the
    /// working directory, the old one lies over it until `UmountOld`.
    PivotRoot = "pivot_root" {}
    /// `umount2(".", MNT_DETACH)` of the topmost mount over the working
    /// directory: right after `PivotRoot` the old root with all below it, unless
    /// something is mounted over that.
    UmountOld = "umount2" {}
    /// Proves that nothing lies over the root: `/` and `/..` are on the same
    /// mount. ESTALE where an old root is still there.
    ProveRoot = "prove_root" {}
    /// `chdir(2)`, by a descriptor unless to `/`; ELOOP for a magic link on the way
    /// and when the result lies outside the root.
    Chdir = "chdir" { path: &'a CStr }
    /// `fchdir(2)`.
    Fchdir = "fchdir" { dir: Slot }

    // Processes and namespaces.

    /// `clone3(2)` into namespaces, with a pidfd and into a cgroup, then
    /// `execveat(2)` of `image` with the plan in `plan`: the two-stage start.
    /// The descriptors in the slots that `keep` lists stay open in the child.
    /// What is in `ambient` is raised, of what the kernel knows, so that it survives
    /// that exec.
    /// `joins` is pairs of a slot that holds a namespace and its kind: with
    /// any, a process in between enters them (`setns(2)`) and makes the child,
    /// whose parent is the caller all the same (`CLONE_PARENT`).
    Spawn = "clone3" { namespaces: Namespaces, joins: Numbers<'a>, cgroup: Option<Slot>, image: Slot, plan: Slot, keep: Numbers<'a>, ambient: CapabilitySet, pidfd: Slot, pid: Slot }
    /// `fork(2)`: the child goes on with section *payload*, the parent with
    /// section *init*. The slot holds 0 in the child, else the pid. Where *init* ends
    /// in [`Op::Reap`], the two share their memory up to the child's exec (`CLONE_VM`
    /// of `clone(2)`), but for what their slots hold.
    Fork = "fork" { pid: Slot }
    /// `setns(2)`; EINVAL when the namespace is of another kind.
    SetNs = "setns" { namespace: Slot, kind: Namespaces }
    /// `unshare(2)`.
    Unshare = "unshare" { namespaces: Namespaces }
    /// Opens `/proc/PID` on a proved procfs and then proves by the pidfd that
    /// the process is still the one that was meant.
    OpenProcess = "open_process" { pid: Slot, pidfd: Slot, into: Slot }
    /// Runs `newuidmap(1)` or `newgidmap(1)` from an opened and proved file,
    /// with an empty environment: `map` is triples of inside, outside, count.
    IdMapHelper = "idmap_helper" { program: Slot, pid: Slot, map: Numbers<'a> }
    /// `pidfd_send_signal(2)`; a process that is already gone is no error.
    PidfdSignal = "pidfd_send_signal" { process: Slot, signal: u8 }
    /// `waitid(P_PIDFD, WEXITED)`, at most `timeout_ms` milliseconds
    /// (ETIMEDOUT); the slot then holds a [`crate::kernel::WaitStatus`].
    PidfdWait = "waitid" { process: Slot, timeout_ms: u32, into: Slot }

    // Identity.

    /// `setgroups(2)`.
    SetGroups = "setgroups" { groups: Numbers<'a> }
    /// `setresgid(2)`, all three.
    SetResGid = "setresgid" { gid: u32 }
    /// `setresuid(2)`, all three.
    SetResUid = "setresuid" { uid: u32 }
    /// `PR_CAPBSET_DROP` of every capability that is not in `keep`, by number,
    /// up to the last one that the running kernel has.
    DropBounding = "capbset_drop" { keep: CapabilitySet }
    /// `capset(2)`: effective, permitted and inheritable in one call.
    CapSet = "capset" { effective: CapabilitySet, permitted: CapabilitySet, inheritable: CapabilitySet }
    /// `PR_CAP_AMBIENT_CLEAR_ALL`, then one `PR_CAP_AMBIENT_RAISE` for each.
    AmbientSet = "cap_ambient" { capabilities: CapabilitySet }
    /// `PR_SET_SECUREBITS`.
    SetSecureBits = "securebits" { bits: SecureBits }
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs = "no_new_privs" {}
    /// `PR_SET_DUMPABLE`.
    Dumpable = "dumpable" { on: bool }
    /// Reads ids, all five capability sets, securebits and no_new_privs back
    /// from the kernel; EPERM when one differs from what was asked.
    ProveCredentials = "prove_credentials" { uid: u32, gid: u32, effective: CapabilitySet, permitted: CapabilitySet, bounding: CapabilitySet, ambient: CapabilitySet, securebits: SecureBits, no_new_privs: bool }
    /// `seccomp(SECCOMP_SET_MODE_FILTER)` with a classic BPF program.
    Seccomp = "seccomp" { program: Blob<'a>, flags: SeccompFlags, listener: Option<Slot> }
    /// `landlock_create_ruleset(2)` with `LANDLOCK_CREATE_RULESET_VERSION`:
    /// the version of the kernel's Landlock.
    LandlockVersion = "landlock_version" { into: Slot }
    /// `landlock_create_ruleset(2)`.
    LandlockRuleset = "landlock_create_ruleset" { file_access: u64, net_access: u64, scoped: u64, into: Slot }
    /// `landlock_add_rule(2)` for a directory, or for a file: then without the
    /// rights that only directories have, which the kernel refuses there.
    LandlockPath = "landlock_add_path" { ruleset: Slot, parent: Slot, access: u64 }
    /// `landlock_add_rule(2)` for a TCP port.
    LandlockPort = "landlock_add_port" { ruleset: Slot, port: u16, access: u64 }
    /// `landlock_restrict_self(2)`.
    LandlockRestrict = "landlock_restrict_self" { ruleset: Slot }


    // Inherited attributes.

    /// `prlimit(2)` of the process itself.
    SetLimit = "setrlimit" { resource: Resource, soft: u64, hard: u64 }
    /// `sethostname(2)`.
    HostName = "sethostname" { name: &'a CStr }
    /// `setdomainname(2)`.
    DomainName = "setdomainname" { name: &'a CStr }
    /// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)`: a new anonymous one.
    SessionKeyring = "join_session_keyring" {}
    /// `umask(2)`.
    Umask = "umask" { mode: u32 }
    /// `setsid(2)`.
    SetSid = "setsid" {}
    /// Every signal to its default disposition, none blocked.
    ResetSignals = "reset_signals" {}
    /// Every signal blocked.
    BlockSignals = "block_signals" {}
    /// `personality(2)`.
    Personality = "personality" { persona: u32 }

    // Descriptors.

    /// Keeps the descriptors that are in slots, marks each close-on-exec, puts
    /// it above 2, and closes all others.
    Adopt = "adopt_descriptors" {}
    /// `dup3(2)` onto a number that the payload sees.
    Dup = "dup3" { file: Slot, number: u32 }
    /// `close_range(2)` from `first` on.
    CloseFrom = "close_range" { first: u32 }
    /// `socketpair(AF_UNIX, SOCK_SEQPACKET)`.
    SocketPair = "socketpair" { one: Slot, other: Slot }
    /// `pipe2(2)`.
    Pipe = "pipe2" { read: Slot, write: Slot }
    /// `socket(2)`.
    Socket = "socket" { family: u32, kind: u32, into: Slot }
    /// `setsockopt(2)` of an `int`.
    SocketOption = "setsockopt" { socket: Slot, level: u32, name: u32, value: u32 }
    /// `bind(2)` to a path.
    Bind = "bind" { socket: Slot, path: &'a CStr }
    /// `SIOCSIFFLAGS`: brings an interface up.
    LinkUp = "link_up" { socket: Slot, name: &'a CStr }
    /// `signalfd4(2)` for every signal.
    SignalFd = "signalfd4" { into: Slot }

    // The conversation between the two sides.

    /// Sends one byte: "go on".
    Release = "release" { to: Slot }
    /// Reports "the next call is the exec" (see [`crate::kernel::Report`]).
    Announce = "announce" { to: Slot }
    /// Waits for that byte; ECANCELED when the other side has gone.
    Await = "await" { from: Slot }
    /// Waits until nobody holds the other end, at most `timeout_ms`, and takes
    /// the next report of those that were left: see [`crate::kernel::Report`]. A
    /// descriptor that came with it goes into `file`. `early` does not wait for
    /// the other end to close. ECANCELED as soon as `cancel` can be read.
    Receive = "receive" { from: Slot, timeout_ms: u32, early: bool, cancel: Option<Slot>, file: Slot, into: Slot }
    /// Hands the watcher the ops that clear up after this process: E2BIG for more
    /// than it can keep, ETIMEDOUT where it does not read for five seconds.
    Entrust = "entrust" { watcher: Slot, id: u64, ops: Blob<'a> }
    /// Hands the watcher a descriptor for `place`, a slot of those ops.
    EntrustFile = "entrust_file" { watcher: Slot, id: u64, place: Slot, file: Slot }
    /// Takes it back.
    Dismiss = "dismiss" { watcher: Slot, id: u64 }

    // Ends.

    /// `execve(2)` of the first of `programs` that exists.
    Exec = "execve" { programs: Strings<'a>, arguments: Strings<'a>, environment: Secret<'a> }
    /// `execveat(2)` of a descriptor.
    ExecAt = "execveat" { program: Slot, arguments: Strings<'a>, environment: Secret<'a> }
    /// The stub init: lets go of `control`, by which it took part in the start, and
    /// of `gate` once the other side has, by its exec or its end; reaps, forwards
    /// signals to `payload`, ends when it ends or when the other side of `lifeline`
    /// does.
    Reap = "reap" { payload: Slot, signals: Slot, lifeline: Slot, control: Slot, gate: Slot }
    /// The watcher: keeps what it is entrusted with until `socket` closes,
    /// then runs it.
    Watch = "watch" { socket: Slot }
    /// `exit_group(2)`.
    Exit = "exit" { status: u8 }
    /// Fails with `errno`: stands in for an op under test.
    Fail = "fail" { errno: Errno }

    // Later than the first: the numbers of ops are part of the plan's form.

    /// As `Create` of a file that did not exist, with content that is never
    /// printed.
    CreateSecret = "create_secret" { dir: At, name: &'a CStr, mode: u32, content: SecretBlob<'a> }
    /// A user namespace that maps what `uid` and `gid` say (triples of inside,
    /// outside, count) and that no process stays in: for id-mapped mounts. A
    /// process of its own, with `image` for a program, makes it and ends.
    MapNamespace = "map_namespace" { image: Slot, uid: Numbers<'a>, gid: Numbers<'a>, into: Slot }
    /// `bpf(2)`, `BPF_PROG_LOAD` of a `BPF_PROG_TYPE_CGROUP_DEVICE`: `program`
    /// is its instructions, of 8 bytes each.
    BpfDevice = "bpf_prog_load" { program: Blob<'a>, into: Slot }
    /// `bpf(2)`, `BPF_PROG_ATTACH` to a v2 cgroup with `BPF_F_ALLOW_MULTI`: what
    /// the programs of the groups above forbid stays forbidden.
    BpfAttach = "bpf_prog_attach" { cgroup: Slot, program: Slot }
    /// `sendmsg(2)` with SCM_RIGHTS: reports a descriptor, which belongs into
    /// slot `place` of the other side.
    SendFile = "send_file" { to: Slot, file: Slot, place: Slot }
    /// Opens `ptmx` in the devpts whose top is in a slot, unlocks it, sets the
    /// size, and opens the other end by TIOCGPTPEER (`pts(4)`). ESTALE where
    /// `ptmx` is not the device that it must be.
    OpenTerminal = "open_terminal" { devpts: Slot, rows: u16, columns: u16, master: Slot, peer: Slot }
    /// TIOCSCTTY: the terminal becomes the controlling one of the session that
    /// the calling process leads (`tty_ioctl(4)`).
    ControllingTerminal = "set_controlling_terminal" { terminal: Slot }
    /// TIOCSWINSZ.
    ResizeTerminal = "resize_terminal" { terminal: Slot, rows: u16, columns: u16 }
    /// Reports "all is made, and I wait" (see [`crate::kernel::Report`]).
    Arrive = "arrive" { to: Slot }
    /// Moves the descriptors that are in slots away from these numbers, each to
    /// the lowest that is free and not one of them, close-on-exec.
    Vacate = "vacate_descriptors" { numbers: Numbers<'a> }
    /// TIOCGWINSZ: the slot then holds rows << 16 | columns.
    TerminalSize = "terminal_size" { terminal: Slot, into: Slot }
    /// Removes a cgroup with all below it (`rmdir(2)`), proved to be one, no
    /// link followed; gone is no error. A busy one (its last process is just
    /// dying) is tried again for up to a second.
    RemoveGroup = "remove_cgroup" { dir: At, path: &'a CStr }
    /// Kills every process of a cgroup and of those below it: by `cgroup.kill`
    /// of v2, or frozen first by the v1 freezer, and thawed. Gone is no error.
    KillGroup = "kill_cgroup" { dir: At, path: &'a CStr }
    /// Freezes or thaws a cgroup (v2, or the v1 freezer) and waits until that
    /// is so. Not in time: ETIMEDOUT, and what was frozen is thawed again.
    Freeze = "freeze_cgroup" { group: Slot, on: bool, timeout_ms: u32 }
    /// Gives the ids back and closes the file; who holds the last of it removes
    /// it.
    ReleaseIds = "release_ids" { file: Slot, path: &'a CStr, first: u32, count: u32 }
    /// `clone(2)` with CLONE_PARENT and CLONE_PIDFD: the child goes on with
    /// section *payload*, as a child of the caller's own parent, and in the
    /// process-id namespace that the caller has joined; the caller goes on with
    /// section *init*. `pid` holds 0 in the child, else the pid; `pidfd` is the
    /// caller's alone.
    Sibling = "clone" { pid: Slot, pidfd: Slot }
    /// Ends and reaps what a child has left in the process group that it leads:
    /// SIGKILL for all, then `waitid(P_PGID)`. Nothing where the child has been
    /// waited for already, for then the number may be somebody else's.
    EndGroup = "end_group" { pidfd: Slot, pid: Slot }
    /// SECCOMP_IOCTL_NOTIF_RECV (`seccomp_unotify(2)`): waits for the next call
    /// that a filter asks its listener about. The ten slots from `into` on then
    /// hold the words of a `struct seccomp_notif`. ENOENT when the caller has
    /// gone meanwhile.
    ReceiveCall = "seccomp_notif_recv" { listener: Slot, into: Slot }
    /// SECCOMP_IOCTL_NOTIF_SEND: the call `id` gives `value`, or fails with
    /// `error` where that is not 0, or goes on in the kernel as if there were no
    /// filter. ENOENT when it waits no more.
    AnswerCall = "seccomp_notif_send" { listener: Slot, id: u64, value: u64, error: u16, go_on: bool }
    /// SECCOMP_IOCTL_NOTIF_ID_VALID: ENOENT when the call `id` waits no more.
    CallWaits = "seccomp_notif_id_valid" { listener: Slot, id: u64 }
    /// `sched_setaffinity(2)` of the process that `pid` and `pidfd` both mean (ESRCH
    /// where they do not); EINVAL where the kernel keeps fewer processors.
    Affinity = "sched_setaffinity" { pid: Slot, pidfd: Slot, cpus: Numbers<'a> }
    /// `sched_setattr(2)`, likewise. `nice` is counted as `RLIMIT_NICE` does: 20
    /// less the nice value.
    Schedule = "sched_setattr" { pid: Slot, pidfd: Slot, policy: u32, nice: u32, priority: u32 }
    /// `ioprio_set(2)`, likewise.
    IoPriority = "ioprio_set" { pid: Slot, pidfd: Slot, class: u8, level: u8 }
    /// `PR_SET_MDWE` with `PR_MDWE_REFUSE_EXEC_GAIN` (`prctl(2)`, Linux 6.3): no
    /// memory that can be written and executed, over every fork and exec.
    DenyWriteExecute = "deny_write_execute" {}
    /// `pidfd_open(2)` of the process with the number in a slot; whose that is,
    /// is for the caller to prove.
    PidfdOpen = "pidfd_open" { pid: Slot, into: Slot }
    /// `keyctl(KEYCTL_CAPABILITIES)` (Linux 5.4), which looks at no keyring: how many
    /// bytes of capabilities the kernel's keys have.
    KeyCapabilities = "keyctl_capabilities" { into: Slot }
    /// Opens anew, by its link in `/proc/self/fd`, what an `O_PATH` descriptor
    /// stands for: the very file that was looked at, whatever has its name.
    Reopen = "reopen" { file: Slot, flags: OpenFlags, into: Slot }
    /// `fchmod(2)`; not of an `O_PATH` descriptor.
    Chmod = "fchmod" { file: Slot, mode: u32 }
    /// `renameat2(2)` of one component within a directory: what has the name is
    /// replaced, a link not followed; or, without `replace`, EEXIST.
    Rename = "renameat2" { dir: At, from: &'a CStr, to: &'a CStr, replace: bool }
    /// Copies the rest of a file to the end of another (`copy_file_range(2)`, or
    /// read and written where that cannot be); the slot then holds how many
    /// bytes. EFBIG where there are more than `limit`, or than RLIMIT_FSIZE.
    CopyRest = "copy_rest" { from: Slot, to: Slot, limit: u64, into: Slot }
    /// Has the process at the other end of `server` perform the op that `request`
    /// is, with `file` in slot 0, within ten seconds (ETIMEDOUT): what it put into
    /// slot 1 comes into `into`. ECANCELED where nobody is there.
    Ask = "ask" { server: Slot, file: Option<Slot>, request: Blob<'a>, into: Slot }
    /// What the kernel remembers of how a process ended that somebody else has
    /// reaped (`PIDFD_GET_INFO`, Linux 6.15): a [`crate::kernel::WaitStatus`], lost
    /// where it remembers nothing. ETIMEDOUT where nobody has after `timeout_ms`.
    /// Reaps nothing itself.
    PidfdStatus = "pidfd_get_info" { process: Slot, timeout_ms: u32, into: Slot }
    /// `unlinkat(2)` of one component, if that is still the file in `file`, or
    /// without a look where that slot is empty: under a lock on the directory
    /// (`flock(2)`), which is waited for up to a second. Gone, or another's by
    /// now, is no error.
    UnlinkSame = "unlink_same" { dir: Slot, name: &'a CStr, file: Slot }
    /// The other side of `Ask`: performs what comes, with this process's rights,
    /// until the other end closes.
    Serve = "serve" { socket: Slot }
    /// `fcntl(2)`, `F_DUPFD_CLOEXEC`, of a descriptor that this process was started
    /// with: EBADF for one that is close-on-exec itself. The copy is 3 or above.
    Inherit = "inherit_descriptor" { number: u32, into: Slot }
    /// `setxattr(2)` of the file itself, which may be an `O_PATH` descriptor; not of
    /// a symbolic link.
    SetXattr = "setxattr" { file: Slot, name: &'a CStr, value: Blob<'a> }
    /// `removexattr(2)`, likewise; one that is not there is no error.
    RemoveXattr = "removexattr" { file: Slot, name: &'a CStr }
    /// A loop device (`loop(4)`, LOOP_CONFIGURE) for `size` bytes of a file or block
    /// device from `offset` on, to its end where `size` is 0. It goes with its last
    /// user (LO_FLAGS_AUTOCLEAR): a mount, or this descriptor.
    LoopDevice = "loop_configure" { image: Slot, offset: u64, size: u64, read_only: bool, into: Slot }
    /// `fsconfig(2)`, the source of a file system on a block device: the path of the
    /// very device in `device`; ESTALE where that path is another by now.
    FsDevice = "fsconfig_device" { fs: Slot, device: Slot }
    /// `socket(2)` of AF_NETLINK (netlink(7)), in the caller's network namespace or, by
    /// a process of its own that enters it, in another: no thread of the caller does.
    NetlinkSocket = "netlink_socket" { protocol: u8, namespace: Option<Slot>, into: Slot }
    /// RTM_NEWLINK (rtnetlink(7)), exclusively. A `veth` has a `peer`, which is made
    /// in `namespace`; a `macvlan` (bridge mode) or `ipvlan` (L2) is itself made there,
    /// over `lower`. Addresses are of 6 bytes, or the kernel's choice. `alias`
    /// (IFLA_IFALIAS) says whose it is; what has one is of this namespace, and takes no
    /// router advertisements (`accept_ra`).
    LinkAdd = "newlink" { socket: Slot, kind: &'a CStr, name: &'a CStr, address: Blob<'a>, lower: &'a CStr, peer: &'a CStr, peer_address: Blob<'a>, namespace: Option<Slot>, alias: &'a CStr }
    /// RTM_NEWLINKPROP, IFLA_ALT_IFNAME: a further name, of up to 127 bytes.
    LinkAltName = "newlinkprop" { socket: Slot, name: &'a CStr, alternative: &'a CStr }
    /// RTM_SETLINK, IFLA_MASTER: puts an interface under a bridge.
    LinkMaster = "link_master" { socket: Slot, name: &'a CStr, master: &'a CStr }
    /// RTM_SETLINK, IFLA_NET_NS_FD: moves an interface, found by its number `index` or,
    /// where that is 0, by its name, into another namespace, where it is called
    /// `new_name` and numbered `new_index` (0: as the kernel likes).
    LinkMove = "link_move" { socket: Slot, name: &'a CStr, index: u32, namespace: Slot, new_name: &'a CStr, new_index: u32 }
    /// RTM_DELLINK of an interface whose alias is `alias`; gone, or another's by now,
    /// is no error.
    LinkRemove = "dellink" { socket: Slot, name: &'a CStr, alias: &'a CStr }
    /// Puts an interface under the bridge of a zone, which is made, up and called by
    /// `alias`, if it is not there: under a lock (`flock(2)`) on the file `lock`, which
    /// is waited for up to five seconds (ETIMEDOUT).
    ZoneJoin = "zone_join" { socket: Slot, bridge: &'a CStr, port: &'a CStr, lock: &'a CStr, alias: &'a CStr }
    /// As `LinkRemove` of `port`, if one is named; then removes the bridge, unless it has
    /// others: under the same lock.
    ZoneLeave = "zone_leave" { socket: Slot, bridge: &'a CStr, port: &'a CStr, lock: &'a CStr, alias: &'a CStr }
    /// RTM_SETLINK, IFLA_INET_CONF: one of the `net.ipv4.conf` options of an interface,
    /// by its number (`IPV4_DEVCONF_*` of `linux/ip.h`).
    LinkOption = "link_option" { socket: Slot, name: &'a CStr, option: u8, value: u32 }
    /// RTM_NEWADDR: an address of 4 or 16 bytes, used at once. `shared`: with a route to
    /// its prefix, and kept where it is there; else without, and EEXIST.
    AddressAdd = "newaddr" { socket: Slot, name: &'a CStr, address: Blob<'a>, prefix: u8, shared: bool }
    /// RTM_NEWROUTE over an interface: EEXIST where there is one to that network.
    RouteAdd = "newroute" { socket: Slot, name: &'a CStr, to: Blob<'a>, prefix: u8, gateway: Blob<'a> }
    /// One batch for nf_tables: all of it is done, or nothing. A chain without a hook that is
    /// called as a [`crate::Claim`] keeps a port: EADDRINUSE where a chain of another table
    /// has it.
    NfTables = "nf_tables" { socket: Slot, batch: Blob<'a> }
    /// All of a file into an empty one: by reference where the file system can
    /// (FICLONE, `ioctl_ficlone(2)`), else piece by piece; holes stay holes.
    CopyWhole = "copy_whole" { from: Slot, to: Slot }
    /// `linkat(2)` of the file itself, which may be an `O_PATH` descriptor, to one
    /// component that did not exist.
    Link = "linkat" { file: Slot, dir: At, name: &'a CStr }
    /// `chmod(2)`, unless the mode is all ones, and `utimensat(2)` in seconds and
    /// nanoseconds, of the file itself, which may be an `O_PATH` descriptor.
    Stamp = "utimensat" { file: Slot, mode: u32, access: u64, access_ns: u64, modified: u64, modified_ns: u64 }
    /// The watcher keeps what it has of `id` when this process ends, and runs it when the
    /// process in its slot 0 has.
    Keep = "keep" { watcher: Slot, id: u64 }
    /// `umount2(2)`, MNT_DETACH, of what is mounted at an absolute path, no link followed;
    /// or, by an empty path, of the very mount whose top a slot holds. What is mounted
    /// there, or anywhere, no more is no error.
    Unmount = "unmount" { dir: At, path: &'a CStr }
}
