//! Files that the plan makes: contents of the caller, credentials, and those
//! of `/etc`.
//!
//! All lie in one ramfs, which is never swapped out and which nothing can
//! write once it is filled; what is mounted inside are copies of its parts.

use std::ffi::CString;
use std::path::PathBuf;

use skep_sys::abi::{MountAttrs, OpenFlags, Propagation, Resolve, TreeFlags};
use skep_sys::wire::{Blob, SecretBlob};
use skep_sys::{At, Op, Slot};

use super::{CONFINED, Content, EMPTY, Placed};
use crate::compile::{Context, c_text};
use crate::error::{Error, Result};
use crate::facts::EntryKind;
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Origin, Secret, Spec};

/// Where credentials are, inside (`systemd.exec(5)`, "Credentials").
pub(crate) const CREDENTIALS: &str = "/run/host/credentials";

/// As systemd bounds one credential; and what all files of a plan hold.
const FILE: usize = 1 << 20;
const ALL: usize = 4 << 20;

/// The attributes of every such file.
pub(super) const ATTRS: MountAttrs = CONFINED.with(MountAttrs::NOEXEC).with(MountAttrs::RDONLY);

/// One file to make.
pub(super) struct Made {
    content: Secret,
    /// Not shown in printed plans, and readable for the payload alone.
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of the library's own making: its content may be shown.
    Plain,
    /// The caller's: root's file, with these permission bits.
    Caller(u32),
    /// The payload's.
    Secret,
}

/// A part of the ramfs.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A file, by number.
    File(usize),
    /// The directory of the credentials.
    Credentials,
    /// That of the records of the host's users.
    Records,
}

impl Part {
    pub(super) const fn kind(self) -> EntryKind {
        match self {
            Self::File(_) => EntryKind::File,
            Self::Credentials | Self::Records => EntryKind::Directory,
        }
    }

    fn name(self) -> Result<CString> {
        match self {
            Self::File(number) => c_text(number.to_string().as_bytes()),
            Self::Credentials => Ok(c"credentials".to_owned()),
            Self::Records => Ok(c"userdb".to_owned()),
        }
    }
}

/// The files to make, by number, and where the ramfs is.
pub(super) struct Files {
    made: Vec<Made>,
    slot: Slot,
}

impl Files {
    pub(super) fn new(plan: &mut Builder) -> Self {
        Self { made: Vec::new(), slot: plan.slot() }
    }

    fn add(&mut self, content: Secret, kind: Kind) -> Part {
        self.made.push(Made { content, kind });
        Part::File(self.made.len() - 1)
    }

    /// A file with content of the caller's.
    pub(super) fn of_caller(&mut self, content: &Secret, mode: u32) -> Part {
        self.add(content.clone(), Kind::Caller(mode & 0o555))
    }

    /// A secret of the caller's.
    pub(super) fn secret(&mut self, content: &Secret) -> Part {
        self.add(content.clone(), Kind::Secret)
    }

    pub(super) fn plain(&mut self, content: &[u8]) -> Part {
        use std::os::unix::ffi::OsStringExt;
        self.add(Secret::new(std::ffi::OsString::from_vec(content.to_vec())), Kind::Plain)
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }
}

/// What can be said about files without looking at the host.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    const NAME: &str = "It is a file name: printable, without `/` and `:`, at most 255 bytes.";
    const BIND: &str = "Put it into a file of the host, and bind that.";
    let invalid = |field: &str, what: String, remedy: &str| {
        Err(Error::new(crate::error::ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    let mut all = 0;
    for (name, content) in &spec.credentials {
        let field = format!("credentials.{name}");
        // systemd's credential_name_valid: a file name, printable, no colon.
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'/' && byte != b':';
        if name.is_empty() || name.len() > 255 || name == "." || name == ".." || !name.bytes().all(plain) {
            let shown: String = name.chars().take(64).collect();
            return invalid(&field, format!("{shown:?} is not a name of a credential"), NAME);
        }
        let length = content.reveal().len();
        if length > FILE {
            return invalid(&field, format!("the credential {name} of {length} bytes is longer than 1 MiB"), BIND);
        }
        all += length;
    }
    for mount in &spec.mounts {
        let (content, mode) = match &mount.kind {
            crate::spec::MountKind::File(file) => (&file.content, file.mode),
            crate::spec::MountKind::Secret(file) => (&file.content, 0o400),
            _ => continue,
        };
        let field = format!("mounts.{}", mount.target.display());
        let length = content.reveal().len();
        if length > FILE {
            return invalid(&field, format!("the content of {} bytes is longer than 1 MiB", length), BIND);
        }
        if mode & !0o777 != 0 {
            return invalid(
                &field,
                format!("{mode:#o} are not permission bits"),
                "A mode is at most 0777 (in decimal, 511).",
            );
        }
        all += length;
    }
    if all > ALL {
        return invalid("mounts", format!("files and credentials of {all} bytes are more than 4 MiB together"), BIND);
    }
    Ok(())
}

/// Makes all files, on the tmpfs that the tree grows on.
pub(super) fn make(context: &Context<'_>, files: &Files, plan: &mut Builder) -> Result<()> {
    let credentials = &context.spec.credentials;
    if files.made.is_empty() && credentials.is_empty() && context.users.is_empty() {
        return Ok(());
    }
    let slot = files.slot;
    plan.step(Phase::Enter, "make a ramfs for files", Origin::Always)
        .op(Op::FsOpen { kind: c"ramfs", into: role::ONE })
        .op(Op::FsString { fs: role::ONE, key: c"mode", value: c"755" })
        .op(Op::FsCreate { fs: role::ONE })
        .op(Op::FsMount { fs: role::ONE, attrs: ATTRS.without(MountAttrs::RDONLY), into: slot });
    super::attach_name(slot, role::SCRATCH, c"files", plan);
    for (number, file) in files.made.iter().enumerate() {
        let name = Part::File(number).name()?;
        create(context, slot, &name, file, plan);
    }
    if !credentials.is_empty() {
        plan.step(Phase::Enter, "make the files of the credentials", context.origin("credentials"));
        plan.op(Op::Mkdir { dir: At::Slot(slot), name: c"credentials", mode: 0o500, exist_ok: false });
        open(slot, c"credentials", role::TWO, plan);
        for (name, content) in credentials {
            let name = c_text(name.as_bytes())?;
            create(context, role::TWO, &name, &Made { content: content.clone(), kind: Kind::Secret }, plan);
        }
        plan.op(Op::Chown { file: role::TWO, uid: context.uid, gid: context.gid });
    }
    if !context.users.is_empty() {
        plan.step(Phase::Enter, "make records of the host's users", context.origin("bind_user"));
        plan.op(Op::Mkdir { dir: At::Slot(slot), name: c"userdb", mode: 0o555, exist_ok: false });
        open(slot, c"userdb", role::TWO, plan);
        super::users::records(context, role::TWO, plan)?;
    }
    plan.step(Phase::Enter, "let nobody write the files", Origin::Always).op(Op::MountSetAttr {
        dir: At::Slot(slot),
        path: EMPTY,
        flags: TreeFlags::EMPTY_PATH,
        set: MountAttrs::RDONLY,
        clear: MountAttrs::NONE,
        propagation: Propagation::NONE,
        userns: None,
    });
    Ok(())
}

fn open(dir: Slot, name: &std::ffi::CStr, into: Slot, plan: &mut Builder) {
    plan.op(Op::OpenAt2 {
        dir: At::Slot(dir),
        path: name,
        flags: OpenFlags::PATH,
        mode: 0,
        resolve: Resolve::BENEATH.with(Resolve::NO_SYMLINKS),
        into,
    });
}

fn create(context: &Context<'_>, dir: Slot, name: &std::ffi::CStr, file: &Made, plan: &mut Builder) {
    let bytes = file.content.reveal().as_encoded_bytes();
    let into = At::Slot(dir);
    match file.kind {
        Kind::Plain => {
            plan.op(Op::Create { dir: into, name, mode: 0o444, content: Blob(bytes), exist_ok: false });
        }
        Kind::Caller(mode) => {
            plan.op(Op::CreateSecret { dir: into, name, mode, content: SecretBlob(bytes) });
        }
        Kind::Secret => {
            plan.op(Op::CreateSecret { dir: into, name, mode: 0o400, content: SecretBlob(bytes) });
            open(dir, name, role::ONE, plan);
            plan.op(Op::Chown { file: role::ONE, uid: context.uid, gid: context.gid });
        }
    }
}

/// A copy of a part, in slot two.
pub(super) fn copy(files: &Files, part: Part, plan: &mut Builder) -> Result<()> {
    let name = part.name()?;
    plan.op(Op::OpenTree { dir: At::Slot(files.slot()), path: &name, flags: TreeFlags::CLONE, into: role::TWO });
    Ok(())
}

/// The credentials and the files of `/etc`, in the order of mounting, beside
/// the mounts of the caller.
pub(super) fn of_host(
    context: &Context<'_>,
    files: &mut Files,
    report: &mut Report,
    plan: &mut Builder,
) -> Result<Vec<Placed>> {
    let spec = context.spec;
    let mut placed = Vec::new();
    if !spec.credentials.is_empty() {
        let names: Vec<&str> = spec.credentials.keys().map(String::as_str).collect();
        report.applied("credentials", names.join(" "));
        placed.push(Placed {
            target: PathBuf::from(CREDENTIALS),
            content: Content::Made(Part::Credentials),
            origin: context.origin("credentials"),
            over_link: false,
        });
    }
    placed.extend(super::users::of_host(context, report, plan)?);
    placed.extend(super::journal::of_host(context, report, plan)?);
    if context.nspawn() {
        placed.extend(super::interface::of_host(context, report, plan));
    }
    placed.extend(super::etc::of_host(context, files, report, plan)?);
    Ok(placed)
}
