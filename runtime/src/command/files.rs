//! What is in the root, and what is laid over it.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::Command;
use crate::spec::{
    Bind, Device, File, Hosts, IdMap, KernelFiles, LinkJournal, Mount, MountKind, Overlay, Ownership, ResolvConf,
    Secret, SecretFile, Timezone, Tmpfs, UserShell, Volatile, Want,
};

/// # Files, mounts and devices
impl Command {
    /// Takes a directory for the root, writable. Combine with
    /// [`Command::read_only`] or [`Command::ephemeral`].
    pub fn root(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let spec = self.set("root", "Command::root");
        spec.root.path = path.into();
        if spec.root.volatile == Volatile::Yes {
            spec.root.volatile = Volatile::No;
        }
        self
    }

    /// Mounts the root read-only, with everything below. Mount points must exist
    /// then; `/tmp`, `/run` and your own mounts are as writable as ever.
    pub fn read_only(&mut self, on: bool) -> &mut Self {
        self.set("root.read_only", "Command::read_only").root.read_only = on;
        self
    }

    /// Throws changes to the root away: they go to memory, over the tree
    /// (overlayfs). As an ordinary user not over the host's own root.
    pub fn ephemeral(&mut self, on: bool) -> &mut Self {
        self.set("root.ephemeral", "Command::ephemeral").root.ephemeral = on;
        self
    }

    /// Lays the root over directories of the host, the bottom first, as one tree of which
    /// nothing is changed (overlayfs). Read-only, unless changes go somewhere:
    /// [`Command::keep_changes`], [`Command::ephemeral`]. [`Root::lower`] says more.
    ///
    /// ```no_run
    /// let mut command = skep::Command::new("/usr/bin/app");
    /// command.root("/srv/layers/app").lower(["/srv/layers/base"]).keep_changes("/srv/app/changes");
    /// command.status()?;
    /// # Ok::<(), skep::Error>(())
    /// ```
    ///
    /// [`Root::lower`]: crate::spec::Root::lower
    pub fn lower<P: Into<PathBuf>>(&mut self, lower: impl IntoIterator<Item = P>) -> &mut Self {
        self.set("root.lower", "Command::lower").root.lower = lower.into_iter().map(Into::into).collect();
        self
    }

    /// Takes the file system of a disk image for the root: a plain one, or that of
    /// a GPT with a root partition. Root only.
    pub fn image(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.root(path).set("root.image", "Command::image").root.image = true;
        self
    }

    /// Where the root does not exist, it is made as a copy of this directory.
    pub fn template(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.set("root.template", "Command::template").root.template = Some(path.into());
        self
    }

    /// A directory in the tree that becomes the root instead of the tree's top; and
    /// where inside the whole tree is mounted, if anywhere.
    pub fn pivot_root(&mut self, new: impl Into<PathBuf>, old: Option<PathBuf>) -> &mut Self {
        let root = &mut self.set("root.pivot", "Command::pivot_root").root;
        (root.pivot, root.pivot_old) = (Some(new.into()), old);
        self
    }

    /// To whom the files of the root belong, where root maps a range of ids.
    pub fn ownership(&mut self, ownership: Ownership) -> &mut Self {
        self.set("root.ownership", "Command::ownership").root.ownership = ownership;
        self
    }

    /// Binds a path of the host, read-only with everything below it.
    pub fn bind_ro(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), ..Bind::default() }))
    }

    /// Binds a path of the host, writable where its own permissions allow it.
    pub fn bind(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), read_only: false, ..Bind::default() }))
    }

    /// Mounts an empty file system in memory.
    pub fn tmpfs(&mut self, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Tmpfs(Tmpfs::default()))
    }

    /// As [`Command::bind_ro`], left out where the source does not exist; the
    /// report then says so.
    pub fn bind_ro_try(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.mount(target, MountKind::Bind(Bind { source: source.into(), optional: true, ..Bind::default() }))
    }

    /// Binds a path of the host so that id *n* on disk is id *n* inside, and
    /// the container's root may write what host root may: see [`IdMap`] for
    /// what that means. Root only.
    pub fn bind_idmapped(&mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        let bind = Bind { source: source.into(), read_only: false, id_map: IdMap::IdMap, ..Bind::default() };
        self.mount(target, MountKind::Bind(bind))
    }

    /// Mounts directories of the host as one, the bottom first. What is written
    /// is thrown away; [`Overlay`] says more.
    pub fn overlay<P: Into<PathBuf>>(
        &mut self,
        lower: impl IntoIterator<Item = P>,
        target: impl Into<PathBuf>,
    ) -> &mut Self {
        let lower = lower.into_iter().map(Into::into).collect();
        self.mount(target, MountKind::Overlay(Overlay { lower, ..Overlay::default() }))
    }

    /// Keeps what is written to the root in a directory of the host, in the form of
    /// overlayfs: nothing of its tree is changed.
    pub fn keep_changes(&mut self, upper: impl Into<PathBuf>) -> &mut Self {
        self.set("root.upper", "Command::keep_changes").root.upper = Some(upper.into());
        self
    }

    /// Gives a device node of the host, to be read and written, at the same
    /// path inside.
    pub fn device(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let path = path.into();
        self.mount(path.clone(), MountKind::Device(Device::new(path)))
    }

    /// Puts a file with this content at a path, read-only.
    pub fn file(&mut self, target: impl Into<PathBuf>, content: impl AsRef<OsStr>) -> &mut Self {
        self.mount(target, MountKind::File(File::new(content.as_ref())))
    }

    /// Puts a file that only the payload's user can read at a path: see
    /// [`SecretFile`].
    pub fn secret_file(&mut self, target: impl Into<PathBuf>, content: impl AsRef<OsStr>) -> &mut Self {
        self.mount(target, MountKind::Secret(SecretFile::new(content.as_ref())))
    }

    /// Passes a credential: a file of the directory that
    /// `$CREDENTIALS_DIRECTORY` names, readable for the payload's user alone.
    pub fn credential(&mut self, name: impl Into<String>, content: impl AsRef<OsStr>) -> &mut Self {
        let name = name.into();
        let content = Secret::new(content.as_ref());
        self.set(format!("credentials.{name}"), "Command::credential").credentials.insert(name, content);
        self
    }

    /// Has a user of the host inside too: its home at `/run/host/home/NAME`, and a
    /// record by which `nss-systemd(8)` knows it. Root only; see [`BindUsers`].
    ///
    /// [`BindUsers`]: crate::spec::BindUsers
    pub fn bind_user(&mut self, name: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.set(format!("bind_user.names.{name}"), "Command::bind_user").bind_user.names.push(name);
        self
    }

    /// Sets the shell of such users; that which is usual inside otherwise.
    pub fn bind_user_shell(&mut self, shell: UserShell) -> &mut Self {
        self.set("bind_user.shell", "Command::bind_user_shell").bind_user.shell = shell;
        self
    }

    /// Makes such users members of a group of the container.
    pub fn bind_user_group(&mut self, group: impl Into<String>) -> &mut Self {
        let group = group.into();
        self.set(format!("bind_user.groups.{group}"), "Command::bind_user_group").bind_user.groups.push(group);
        self
    }

    /// Sets whether the host sees the journal of a machine of the profile `nspawn`.
    pub fn link_journal(&mut self, mode: LinkJournal) -> &mut Self {
        self.set("link_journal", "Command::link_journal").link_journal = mode;
        self
    }

    /// Sets what `/etc/resolv.conf` is inside; [`ResolvConf::Auto`] otherwise.
    /// Nothing is written into the tree.
    pub fn resolv_conf(&mut self, mode: ResolvConf) -> &mut Self {
        self.set("resolv_conf", "Command::resolv_conf").resolv_conf = mode;
        self
    }

    /// Sets what `/etc/localtime` is inside; the tree's otherwise. Nothing is
    /// written into the tree.
    pub fn timezone(&mut self, mode: Timezone) -> &mut Self {
        self.set("timezone", "Command::timezone").timezone = mode;
        self
    }

    /// Whether `/tmp` is a file system of its own; it is, unless somebody says otherwise.
    pub fn tmp(&mut self, own: bool) -> &mut Self {
        self.set("tmp", "Command::tmp").tmp = own;
        self
    }

    /// Lets a machine (profile `nspawn`) write files of the kernel that are the host's.
    pub fn danger_kernel_files(&mut self, files: KernelFiles) -> &mut Self {
        self.set("kernel_files", "Command::danger_kernel_files").kernel_files = files;
        self
    }

    /// Sets what `/etc/hosts` is inside; the tree's otherwise. Nothing is written
    /// into the tree.
    pub fn hosts(&mut self, mode: Hosts) -> &mut Self {
        self.set("hosts", "Command::hosts").hosts = mode;
        self
    }

    /// Whether a file with the hostname lies over `/etc/hostname`.
    pub fn hostname_file(&mut self, on: bool) -> &mut Self {
        self.set("hostname_file", "Command::hostname_file").hostname_file = on;
        self
    }

    /// Sets how much a closed list of devices is wanted of the container's
    /// cgroup.
    pub fn device_policy(&mut self, want: Want) -> &mut Self {
        self.set("device_policy", "Command::device_policy").device_policy = want;
        self
    }

    /// Mounts anything that a Spec can say.
    pub fn mount(&mut self, target: impl Into<PathBuf>, kind: MountKind) -> &mut Self {
        let target = target.into();
        let field = format!("mounts.{}", target.display());
        self.set(field, "Command::mount").mounts.push(Mount { target, kind });
        self
    }

    /// Masks a path: it reads as empty inside.
    pub fn mask(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let path = path.into();
        self.set(format!("masked.{}", path.display()), "Command::mask").masked.push(path);
        self
    }
}
