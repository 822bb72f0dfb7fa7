//! A kernel in which one chosen call fails.

use crate::errno::Errno;
use crate::kernel::{Kernel, Slots};
use crate::op::{Op, OpKind};
use crate::program::{Actor, Stage};

/// Lets call `k`, counted from 0 over all processes, fail with an errno; the
/// kernel behind it never hears of that call. All others are passed on.
///
/// Together with [`plausible`] a double loop tries every single fault of a
/// plan.
///
/// ```
/// use skep_sys::{Cell, Errno, Faulty, Kernel, Model, Op, Slots};
///
/// let mut kernel = Faulty::new(Model::new(), 1, Errno::ENOMEM);
/// let mut slots = Slots::new(&mut []);
/// assert_eq!(kernel.call(&Op::NoNewPrivs {}, &mut slots), Ok(()));
/// assert_eq!(kernel.call(&Op::SetSid {}, &mut slots), Err(Errno::ENOMEM));
/// assert_eq!(kernel.call(&Op::Umask { mode: 0 }, &mut slots), Ok(()));
/// assert!(kernel.fired());
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<K> {
    inner: K,
    fault: usize,
    errno: Errno,
    calls: usize,
}

impl<K> Faulty<K> {
    /// Call `k` of `kernel` fails with `errno`.
    pub const fn new(kernel: K, k: usize, errno: Errno) -> Self {
        Self { inner: kernel, fault: k, errno, calls: 0 }
    }

    /// Whether the call that fails has been made.
    #[must_use]
    pub const fn fired(&self) -> bool {
        self.calls > self.fault
    }

    /// How many calls have been made, the failed one included.
    #[must_use]
    pub const fn calls(&self) -> usize {
        self.calls
    }

    /// The kernel behind.
    pub const fn inner(&self) -> &K {
        &self.inner
    }

    /// The kernel behind; what is asked of it directly is not counted.
    pub const fn inner_mut(&mut self) -> &mut K {
        &mut self.inner
    }

    /// The kernel behind, without the fault.
    pub fn into_inner(self) -> K {
        self.inner
    }
}

impl<K: Kernel> Kernel for Faulty<K> {
    fn call(&mut self, op: &Op<'_>, slots: &mut Slots<'_>) -> Result<(), Errno> {
        let at = self.calls;
        self.calls += 1;
        if at == self.fault { Err(self.errno) } else { self.inner.call(op, slots) }
    }
}

impl<K: Stage> Stage for Faulty<K> {
    fn act_as(&mut self, actor: Actor) {
        self.inner.act_as(actor);
    }
}

/// The errnos that are worth trying for an op: those that its man page lists
/// and that a start can meet.
///
/// Errnos that an op tolerates by contract (ENOENT of
/// [`Op::Unlink`]) are not in the table: they are no failure.
///
/// ```
/// use skep_sys::{Errno, OpKind, plausible};
///
/// assert!(plausible(OpKind::Seccomp).contains(&Errno::EACCES));
/// ```
#[must_use]
pub fn plausible(kind: OpKind) -> &'static [Errno] {
    use Errno as E;
    match kind {
        // openat2(2), open(2)
        OpKind::OpenAt2 => &[
            E::EACCES,
            E::ELOOP,
            E::EMFILE,
            E::ENFILE,
            E::ENOENT,
            E::ENOMEM,
            E::ENOTDIR,
            E::EINVAL,
            E::EXDEV,
            E::EPERM,
        ],
        // mkdir(2)
        OpKind::Mkdir => &[
            E::EACCES,
            E::EDQUOT,
            E::EEXIST,
            E::EINVAL,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::EPERM,
            E::EROFS,
            E::EOVERFLOW,
        ],
        // symlink(2)
        OpKind::Symlink => &[
            E::EACCES,
            E::EDQUOT,
            E::EEXIST,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::EPERM,
            E::EROFS,
            E::EOVERFLOW,
        ],
        // open(2), write(2)
        OpKind::Create => &[
            E::EACCES,
            E::EDQUOT,
            E::EEXIST,
            E::EMFILE,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::EPERM,
            E::EROFS,
            E::EIO,
            E::EOVERFLOW,
        ],
        // open(2), write(2)
        OpKind::CreateSecret => &[
            E::EACCES,
            E::EEXIST,
            E::EMFILE,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::EPERM,
            E::EROFS,
            E::EIO,
            E::EOVERFLOW,
        ],
        // mknod(2)
        OpKind::Mknod => {
            &[E::EACCES, E::EEXIST, E::EINVAL, E::ENOENT, E::ENOMEM, E::ENOSPC, E::ENOTDIR, E::EPERM, E::EROFS]
        }
        // unlink(2), rmdir(2)
        OpKind::Unlink | OpKind::UnlinkSame => {
            &[E::EACCES, E::EBUSY, E::EIO, E::EISDIR, E::ENOMEM, E::ENOTDIR, E::ENOTEMPTY, E::EPERM, E::EROFS]
        }
        // open(2), write(2); user_namespaces(7) and cgroups(7) for the files written
        OpKind::Write | OpKind::WritePid => &[
            E::EACCES,
            E::EBUSY,
            E::EINVAL,
            E::EIO,
            E::ELOOP,
            E::EMFILE,
            E::ENODEV,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::EPERM,
            E::EROFS,
            E::ESRCH,
            E::EOPNOTSUPP,
            E::EXDEV,
        ],
        // chown(2)
        OpKind::Chown => &[E::EBADF, E::EINVAL, E::EIO, E::ENOMEM, E::EPERM, E::EROFS],
        // statx(2), fstatfs(2)
        OpKind::Prove => &[E::EBADF, E::EACCES, E::ENOMEM, E::EIO, E::EPERM, E::EINVAL, E::ESTALE],
        // close(2)
        OpKind::Close => &[E::EBADF],
        // chmod(2)
        OpKind::Chmod => &[E::EBADF, E::EIO, E::ENOMEM, E::EPERM, E::EROFS],
        // rename(2)
        OpKind::Rename => &[
            E::EACCES,
            E::EBUSY,
            E::EDQUOT,
            E::EEXIST,
            E::EINVAL,
            E::EISDIR,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::ENOTEMPTY,
            E::EPERM,
            E::EROFS,
        ],
        // open(2)
        OpKind::Reopen => &[
            E::EACCES,
            E::EBADF,
            E::EISDIR,
            E::EMFILE,
            E::ENFILE,
            E::ENOENT,
            E::ENOMEM,
            E::ENOTDIR,
            E::ENXIO,
            E::EPERM,
            E::EROFS,
        ],
        // copy_file_range(2), read(2), write(2)
        OpKind::CopyRest => &[E::EAGAIN, E::EBADF, E::EDQUOT, E::EFBIG, E::EIO, E::EISDIR, E::ENOMEM, E::ENOSPC],
        // memfd_create(2), fcntl(2)
        OpKind::MemFd => &[E::EINVAL, E::EFBIG, E::EMFILE, E::ENFILE, E::ENOMEM, E::EPERM, E::EACCES, E::ENOSPC],
        // pread(2)
        OpKind::Peek => &[E::EBADF, E::EINVAL, E::EIO, E::ENOMEM],
        // open(2), fcntl(2)
        OpKind::LockIds => &[
            E::EAGAIN,
            E::EACCES,
            E::ELOOP,
            E::EMFILE,
            E::ENFILE,
            E::ENOENT,
            E::ENOLCK,
            E::ENOMEM,
            E::ENOSPC,
            E::EROFS,
            E::ESTALE,
        ],
        // fcntl(2), unlink(2)
        OpKind::ReleaseIds => &[E::EBADF, E::EACCES, E::EIO, E::ENOLCK, E::ENOMEM, E::EPERM, E::EROFS],
        // open_tree(2)
        OpKind::OpenTree => &[
            E::EACCES,
            E::EINVAL,
            E::ELOOP,
            E::EMFILE,
            E::ENFILE,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTDIR,
            E::EPERM,
        ],
        // fsopen(2)
        OpKind::FsOpen => &[E::EINVAL, E::EMFILE, E::ENFILE, E::ENODEV, E::ENOMEM, E::EPERM],
        // fsconfig(2)
        OpKind::FsString | OpKind::FsFlag => &[E::EACCES, E::EBUSY, E::EINVAL, E::ENOENT, E::ENOMEM, E::EPERM],
        OpKind::FsCreate => {
            &[E::EACCES, E::EBUSY, E::EINVAL, E::ENOENT, E::ENOMEM, E::ENOSPC, E::EPERM, E::ESTALE, E::ELOOP]
        }
        // fsmount(2)
        OpKind::FsMount => &[E::EBUSY, E::EINVAL, E::EMFILE, E::ENFILE, E::ENOMEM, E::EPERM],
        // move_mount(2)
        OpKind::MoveMount => {
            &[E::EACCES, E::EBUSY, E::EINVAL, E::ELOOP, E::ENOENT, E::ENOMEM, E::ENOSPC, E::ENOTDIR, E::EPERM]
        }
        // mount_setattr(2)
        OpKind::MountSetAttr => &[E::EBADF, E::EBUSY, E::EINVAL, E::ENOENT, E::ENOMEM, E::ENOSPC, E::EPERM],
        // pivot_root(2)
        OpKind::PivotRoot => &[E::EBUSY, E::EINVAL, E::ENOTDIR, E::EPERM],
        // umount(2)
        OpKind::UmountOld | OpKind::Unmount => &[E::EBUSY, E::EINVAL, E::EPERM, E::ENOMEM],
        // statx(2)
        OpKind::ProveRoot => &[E::ESTALE, E::EACCES, E::EINVAL, E::ENOMEM, E::EPERM],
        // chdir(2)
        OpKind::Chdir => &[E::EACCES, E::EIO, E::ELOOP, E::EMFILE, E::ENFILE, E::ENOENT, E::ENOMEM, E::ENOTDIR],
        OpKind::Fchdir => &[E::EACCES, E::EBADF, E::ENOTDIR],
        // clone(2), execve(2)
        OpKind::Spawn => &[
            E::EACCES,
            E::EAGAIN,
            E::EBUSY,
            E::EINVAL,
            E::ENOMEM,
            E::ENOSPC,
            E::EPERM,
            E::EUSERS,
            E::ENOSYS,
            E::ENOENT,
            E::EBADF,
        ],
        // fork(2)
        OpKind::Fork => &[E::EAGAIN, E::ENOMEM, E::ENOSYS],
        OpKind::Sibling => &[E::EAGAIN, E::EINVAL, E::EMFILE, E::ENOMEM, E::ENOSYS],
        // kill(2), waitid(2)
        // No page yet; fs/pidfs.c
        OpKind::PidfdStatus => &[E::EBADF, E::EFAULT, E::ENOMEM, E::ETIMEDOUT],
        OpKind::PidfdOpen => &[E::EINVAL, E::EMFILE, E::ENFILE, E::ENODEV, E::ENOMEM, E::ESRCH],
        OpKind::EndGroup => &[E::EBADF, E::EINVAL, E::EPERM],
        // setns(2)
        OpKind::SetNs => &[E::EBADF, E::EINVAL, E::ENOMEM, E::EPERM, E::ESRCH, E::EUSERS],
        // unshare(2)
        OpKind::Unshare => &[E::EINVAL, E::ENOMEM, E::ENOSPC, E::EPERM, E::EUSERS],
        // openat2(2), pidfd_send_signal(2)
        OpKind::OpenProcess => &[E::EACCES, E::EMFILE, E::ENOENT, E::ENOMEM, E::ESRCH, E::EPERM, E::ELOOP, E::ESTALE],
        // fork(2), execve(2), newuidmap(1)
        OpKind::IdMapHelper => &[E::EACCES, E::EAGAIN, E::ENOENT, E::ENOMEM, E::EPERM, E::ETIMEDOUT],
        // clone(2), user_namespaces(7)
        OpKind::MapNamespace => &[E::EAGAIN, E::EINVAL, E::EMFILE, E::ENOMEM, E::ENOSPC, E::EPERM, E::EUSERS],
        // bpf(2)
        OpKind::BpfDevice => &[E::E2BIG, E::EACCES, E::EINVAL, E::EMFILE, E::ENOMEM, E::ENOSYS, E::EPERM],
        OpKind::BpfAttach => &[E::EBADF, E::EINVAL, E::ENOMEM, E::ENOSYS, E::EPERM],
        // openat2(2), rmdir(2)
        OpKind::RemoveGroup => &[E::EACCES, E::EBUSY, E::EMFILE, E::ENOMEM, E::EPERM, E::EROFS, E::ESTALE],
        // openat2(2), write(2), kill(2)
        OpKind::KillGroup => &[E::EACCES, E::EBUSY, E::EMFILE, E::ENOMEM, E::EOPNOTSUPP, E::EPERM, E::ESTALE],
        OpKind::Freeze => &[E::EACCES, E::EMFILE, E::ENODEV, E::ENOENT, E::EPERM, E::ESTALE, E::ETIMEDOUT],
        // pidfd_send_signal(2)
        OpKind::PidfdSignal => &[E::EBADF, E::EINVAL, E::EPERM],
        // waitid(2), poll(2)
        OpKind::PidfdWait => &[E::EBADF, E::ECHILD, E::EINVAL, E::ENOMEM, E::ETIMEDOUT],
        // sched_setaffinity(2), sched_setattr(2), ioprio_set(2)
        OpKind::Affinity | OpKind::Schedule | OpKind::IoPriority => &[E::EINVAL, E::ENOMEM, E::EPERM, E::ESRCH],
        // setgroups(2)
        OpKind::SetGroups => &[E::EINVAL, E::ENOMEM, E::EPERM],
        // setresuid(2)
        OpKind::SetResGid | OpKind::SetResUid => &[E::EAGAIN, E::EINVAL, E::ENOMEM, E::EPERM],
        // prctl(2)
        OpKind::DropBounding | OpKind::AmbientSet | OpKind::SetSecureBits => &[E::EINVAL, E::EPERM, E::ENOMEM],
        // capset(2)
        OpKind::CapSet => &[E::EINVAL, E::EPERM, E::ENOMEM],
        // prctl(2): only a filter can refuse these
        OpKind::NoNewPrivs | OpKind::Dumpable | OpKind::DenyWriteExecute => &[E::EINVAL, E::EPERM, E::ENOSYS],
        OpKind::ProveCredentials => &[E::EPERM, E::EINVAL],
        // seccomp(2)
        OpKind::Seccomp => &[E::EACCES, E::EBUSY, E::EINVAL, E::ENOMEM, E::EPERM, E::ENOSYS],
        // landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2)
        OpKind::LandlockVersion => &[E::EOPNOTSUPP, E::ENOSYS],
        OpKind::LandlockRuleset => &[E::E2BIG, E::EINVAL, E::EMFILE, E::ENOMEM, E::ENOMSG, E::EOPNOTSUPP, E::ENOSYS],
        OpKind::LandlockPath | OpKind::LandlockPort => {
            &[E::EBADF, E::EBADFD, E::EINVAL, E::ENOMEM, E::ENOMSG, E::EPERM, E::E2BIG]
        }
        OpKind::LandlockRestrict => &[E::E2BIG, E::EBADF, E::EINVAL, E::ENOMEM, E::EPERM],
        // getrlimit(2)
        OpKind::SetLimit => &[E::EINVAL, E::EPERM],
        // sethostname(2), setdomainname(2)
        OpKind::HostName | OpKind::DomainName => &[E::EINVAL, E::EPERM],
        // keyctl(2)
        OpKind::SessionKeyring => &[E::EACCES, E::EDQUOT, E::ENOMEM, E::ENOSYS, E::EPERM],
        OpKind::KeyCapabilities => &[E::ENOSYS, E::EOPNOTSUPP, E::EPERM],
        // umask(2): "always succeeds", but a filter may refuse it
        OpKind::Umask => &[E::EPERM, E::ENOSYS],
        // setsid(2)
        OpKind::SetSid => &[E::EPERM],
        // sigaction(2), sigprocmask(2)
        OpKind::ResetSignals | OpKind::BlockSignals => &[E::EINVAL, E::EPERM],
        // personality(2)
        OpKind::Personality => &[E::EINVAL, E::EPERM],
        // fcntl(2), close_range(2)
        OpKind::Adopt => &[E::EBADF, E::EMFILE, E::EINVAL, E::ENOMEM],
        // fcntl(2)
        OpKind::Vacate => &[E::EBADF, E::EINVAL, E::EMFILE],
        // dup(2)
        OpKind::Inherit => &[E::EBADF, E::EINVAL, E::EMFILE],
        // setxattr(2), removexattr(2)
        OpKind::SetXattr | OpKind::RemoveXattr => {
            &[E::EBADF, E::EDQUOT, E::ENODATA, E::ENOSPC, E::EOPNOTSUPP, E::EPERM, E::ERANGE, E::EROFS]
        }
        // loop(4), open(2)
        OpKind::LoopDevice => {
            &[E::EACCES, E::EBADF, E::EBUSY, E::EINVAL, E::EMFILE, E::ENOENT, E::ENOMEM, E::EPERM, E::EROFS]
        }
        // ioctl_ficlone(2), copy_file_range(2), lseek(2)
        OpKind::CopyWhole => &[E::EBADF, E::EDQUOT, E::EFBIG, E::EIO, E::EISDIR, E::ENOMEM, E::ENOSPC],
        // link(2)
        OpKind::Link => {
            &[E::EACCES, E::EBADF, E::EDQUOT, E::EEXIST, E::EMLINK, E::ENOSPC, E::EPERM, E::EROFS, E::EXDEV]
        }
        // chmod(2), utimensat(2)
        OpKind::Stamp => &[E::EBADF, E::EIO, E::EPERM, E::EROFS],
        // fsconfig(2), readlink(2)
        OpKind::FsDevice => &[E::EBADF, E::EINVAL, E::ENOMEM, E::ESTALE],
        OpKind::Dup => &[E::EBADF, E::EBUSY, E::EINVAL, E::EMFILE],
        // close_range(2)
        OpKind::CloseFrom => &[E::EINVAL, E::EMFILE, E::ENOMEM, E::ENOSYS],
        // socketpair(2), pipe(2)
        OpKind::SocketPair => &[E::EAFNOSUPPORT, E::EMFILE, E::ENFILE, E::ENOBUFS, E::ENOMEM, E::EPERM],
        OpKind::Pipe => &[E::EMFILE, E::ENFILE, E::ENOMEM],
        // socket(2)
        OpKind::Socket => &[
            E::EACCES,
            E::EAFNOSUPPORT,
            E::EINVAL,
            E::EMFILE,
            E::ENFILE,
            E::ENOBUFS,
            E::ENOMEM,
            E::EPROTONOSUPPORT,
            E::EPERM,
        ],
        // setsockopt(2)
        OpKind::SocketOption => &[E::EBADF, E::EINVAL, E::ENOPROTOOPT, E::EPERM, E::ENOMEM],
        // bind(2), unix(7)
        OpKind::Bind => &[
            E::EACCES,
            E::EADDRINUSE,
            E::EINVAL,
            E::ELOOP,
            E::ENAMETOOLONG,
            E::ENOENT,
            E::ENOMEM,
            E::ENOTDIR,
            E::EROFS,
        ],
        // netdevice(7)
        OpKind::LinkUp => &[E::EPERM, E::ENODEV, E::EINVAL, E::ENOMEM],
        // socket(2), setns(2), clone(2)
        OpKind::NetlinkSocket => {
            &[E::EACCES, E::EAGAIN, E::EBADF, E::EINVAL, E::EMFILE, E::ENFILE, E::ENOMEM, E::EPERM, E::EPROTONOSUPPORT]
        }
        // netlink(7), rtnetlink(7); kernel net/core/rtnetlink.c, drivers/net
        OpKind::LinkAdd => &[
            E::EADDRNOTAVAIL,
            E::EBUSY,
            E::EEXIST,
            E::EINVAL,
            E::ENOBUFS,
            E::ENODEV,
            E::ENOMEM,
            E::EOPNOTSUPP,
            E::EPERM,
        ],
        OpKind::LinkAltName => &[E::EEXIST, E::EINVAL, E::ENODEV, E::ENOMEM, E::EOPNOTSUPP, E::EPERM],
        OpKind::LinkMaster => &[E::EBUSY, E::EINVAL, E::ELOOP, E::ENODEV, E::ENOMEM, E::EOPNOTSUPP, E::EPERM],
        OpKind::LinkMove => &[E::EBUSY, E::EEXIST, E::EINVAL, E::ENODEV, E::ENOMEM, E::EPERM],
        OpKind::LinkRemove => &[E::EBUSY, E::ENOBUFS, E::ENOMEM, E::EOPNOTSUPP, E::EPERM],
        OpKind::LinkOption => &[E::EAFNOSUPPORT, E::EINVAL, E::ENODEV, E::ENOMEM, E::EPERM],
        // and flock(2), open(2)
        OpKind::ZoneJoin => &[
            E::EACCES,
            E::EBUSY,
            E::EINVAL,
            E::ELOOP,
            E::EMFILE,
            E::ENODEV,
            E::ENOENT,
            E::ENOLCK,
            E::ENOMEM,
            E::EOPNOTSUPP,
            E::EPERM,
            E::ETIMEDOUT,
        ],
        OpKind::ZoneLeave => &[E::EACCES, E::EBUSY, E::EMFILE, E::ENOLCK, E::ENOMEM, E::EPERM, E::ETIMEDOUT],
        OpKind::AddressAdd => &[E::EADDRNOTAVAIL, E::EEXIST, E::EINVAL, E::ENOBUFS, E::ENODEV, E::EACCES, E::EPERM],
        OpKind::RouteAdd => {
            &[E::EEXIST, E::EINVAL, E::EHOSTUNREACH, E::ENETDOWN, E::ENETUNREACH, E::ENODEV, E::ENOMEM, E::EPERM]
        }
        // kernel net/netfilter/nf_tables_api.c
        OpKind::NfTables => &[
            E::EADDRINUSE,
            E::EAFNOSUPPORT,
            E::EAGAIN,
            E::EEXIST,
            E::EINVAL,
            E::ENOENT,
            E::ENOMEM,
            E::EOPNOTSUPP,
            E::EPERM,
            E::EPROTONOSUPPORT,
        ],
        // signalfd(2)
        OpKind::SignalFd => &[E::EINVAL, E::EMFILE, E::ENFILE, E::ENODEV, E::ENOMEM],
        // send(2), recv(2), write(2)
        OpKind::Release | OpKind::Await => &[E::ECANCELED, E::EBADF, E::ENOMEM, E::EINVAL],
        OpKind::Announce | OpKind::Arrive => &[E::EBADF, E::EPIPE, E::EPERM, E::ENOMEM],
        OpKind::Receive => &[E::ETIMEDOUT, E::ECANCELED, E::EBADMSG, E::EBADF, E::EMFILE, E::ENOMEM],
        OpKind::Entrust | OpKind::EntrustFile | OpKind::Dismiss | OpKind::Keep | OpKind::SendFile => {
            &[E::EPIPE, E::E2BIG, E::ENOBUFS, E::ENOMEM, E::ETIMEDOUT, E::ETOOMANYREFS, E::EBADF]
        }
        // openat2(2), pts(4): EIO when the limit of terminals is reached
        OpKind::OpenTerminal => &[
            E::EACCES,
            E::EIO,
            E::EMFILE,
            E::ENFILE,
            E::ENODEV,
            E::ENOENT,
            E::ENOMEM,
            E::ENOSPC,
            E::ENOTTY,
            E::EPERM,
            E::ESTALE,
        ],
        // tty_ioctl(4)
        OpKind::ControllingTerminal => &[E::EBADF, E::EIO, E::ENOTTY, E::EPERM],
        OpKind::ResizeTerminal | OpKind::TerminalSize => &[E::EBADF, E::EIO, E::ENOTTY],
        // seccomp_unotify(2)
        OpKind::ReceiveCall => &[E::E2BIG, E::EBADF, E::EINTR, E::EINVAL, E::ENOENT, E::ENOTTY],
        OpKind::AnswerCall => &[E::E2BIG, E::EBADF, E::EINPROGRESS, E::EINVAL, E::ENOENT, E::ENOTTY],
        OpKind::CallWaits => &[E::EBADF, E::EINVAL, E::ENOENT, E::ENOTTY],
        // execve(2)
        OpKind::Exec | OpKind::ExecAt => &[
            E::E2BIG,
            E::EACCES,
            E::EAGAIN,
            E::EIO,
            E::ELOOP,
            E::ENOENT,
            E::ENOEXEC,
            E::ENOMEM,
            E::ENOTDIR,
            E::EPERM,
            E::ETXTBSY,
            E::EINVAL,
        ],
        OpKind::Reap => &[E::EBADF, E::EINVAL],
        // mmap(2)
        OpKind::Watch => &[E::EBADF, E::ENOMEM],
        // sendmsg(2), recvmsg(2); what is asked for can fail in its own ways.
        OpKind::Ask => &[E::EBADF, E::ECANCELED, E::EMFILE, E::EMSGSIZE, E::ENOMEM, E::ETIMEDOUT],
        OpKind::Serve => &[E::EBADF, E::EMFILE, E::ENOMEM],
        // Cannot fail on a real kernel.
        OpKind::Exit => &[],
        OpKind::Fail => &[E::EPERM],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    #[test]
    fn every_kind_of_op_has_its_errnos() {
        for kind in OpKind::ALL {
            let errnos = plausible(*kind);
            assert!(!errnos.is_empty() || *kind == OpKind::Exit, "{kind:?}");
            for (index, errno) in errnos.iter().enumerate() {
                assert!(errno.name().is_some(), "{kind:?}: {errno:?}");
                assert!(!errnos[..index].contains(errno), "{kind:?}: {errno:?} twice");
            }
        }
    }

    #[test]
    fn the_chosen_call_fails_once_and_does_not_arrive() {
        let ops = [Op::SetSid {}, Op::NoNewPrivs {}, Op::Umask { mode: 0 }];
        for fault in 0..4 {
            let mut kernel = Faulty::new(Recorder::new(), fault, Errno::EIO);
            kernel.act_as(Actor::Child);
            for (index, op) in ops.iter().enumerate() {
                let expected = if index == fault { Err(Errno::EIO) } else { Ok(()) };
                assert_eq!(kernel.call(op, &mut Slots::new(&mut [])), expected);
                assert_eq!(kernel.fired(), index >= fault);
            }
            assert_eq!(kernel.calls(), 3);
            let arrived = kernel.inner().records().len();
            assert_eq!(arrived, if fault < 3 { 2 } else { 3 });
            assert!(kernel.inner().records().iter().all(|record| record.actor == Actor::Child));
        }
    }
}
