//! One error: what was tried, on what, why it failed, where it was asked for,
//! and what to do.

use std::fmt;
use std::sync::Arc;

use skep_sys::Errno;

use crate::Escaped;
use crate::spec::Origin;

/// What sort of failure it is: what a program decides by. The text of an error
/// is for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The Spec contradicts itself or asks for what cannot be.
    InvalidSpec,
    /// Something that the Spec names does not exist.
    NotFound,
    /// The host does not allow it to this caller.
    NotPermitted,
    /// The host, its kernel or its layout cannot do it.
    Unsupported,
    /// A path or process is not what it was a moment ago.
    SafetyViolation,
    /// A deadline passed.
    TimedOut,
    /// The embedder ended the start.
    Cancelled,
    /// An id range is taken by another container.
    RangeTaken,
    /// A route of the host leads to the network of a pair of interfaces already.
    NetworkTaken,
    /// The file system of the root has no id-mapped mounts (`mount_setattr(2)`).
    NoIdMap,
    /// A port that is to be published is somebody's already.
    PortTaken,
    /// A container of this name lives, and names are registered.
    NameTaken,
    /// The process was reaped by somebody else, and the kernel keeps no record.
    StatusLost,
    /// The container has ended.
    Ended,
    /// The container is paused, and what was asked for would wait for it.
    Paused,
    /// More than a limit that the caller has set, or the default one: of depth,
    /// entries or bytes of a copy ([`crate::CopyOptions`]).
    TooMuch,
    /// A plan breaks a rule: a defect of the library.
    Unverified,
    /// Any other answer of the kernel.
    System,
}

/// A failed operation. It prints on one line, escaped for a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    what: String,
    errno: Option<Errno>,
    origin: Option<Origin>,
    remedy: Option<String>,
    cause: Option<Cause>,
    left: Vec<Error>,
}

/// What the embedder's own code failed with. Equal to its copies.
#[derive(Clone)]
struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`: `what` was tried or is wrong.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        let inner =
            Inner { kind, what: what.into(), errno: None, origin: None, remedy: None, cause: None, left: Vec::new() };
        Self(Box::new(inner))
    }

    /// A kernel's answer; the kind follows from it.
    #[must_use]
    pub fn system(what: impl Into<String>, errno: Errno) -> Self {
        let kind = match errno {
            Errno::ENOENT => ErrorKind::NotFound,
            Errno::EPERM | Errno::EACCES => ErrorKind::NotPermitted,
            Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENODEV => ErrorKind::Unsupported,
            Errno::ESTALE => ErrorKind::SafetyViolation,
            Errno::ETIMEDOUT => ErrorKind::TimedOut,
            _ => ErrorKind::System,
        };
        let mut error = Self::new(kind, what);
        error.0.errno = Some(errno);
        error
    }

    /// With the error that it comes of, as its source.
    pub(crate) fn caused_by(mut self, cause: Box<dyn std::error::Error + Send + Sync>) -> Self {
        self.0.cause = Some(Cause(cause.into()));
        self
    }

    /// With another kind than the one that the errno suggests.
    #[must_use]
    pub fn kind_is(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// With the place where it was asked for.
    #[must_use]
    pub fn from(mut self, origin: Option<&Origin>) -> Self {
        if let Some(origin) = origin {
            self.0.origin = Some(origin.clone());
        }
        self
    }

    /// With what it has left on the host.
    #[must_use]
    pub(crate) fn leaving(mut self, left: Vec<Self>) -> Self {
        self.0.left.extend(left);
        self
    }

    /// What a start that failed could not take back, each with the kernel's
    /// answer; nearly always nothing.
    #[must_use]
    pub fn left_behind(&self) -> &[Self] {
        &self.0.left
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the kernel answered, where it was asked.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// Where the user asked for what failed.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, errno, origin, remedy, .. } = &*self.0;
        if let Some(Origin::File { path, line, key }) = origin {
            write!(f, "{}:{line}: {}: ", Escaped::new(path), Escaped::new(key))?;
        }
        write!(f, "{}", Escaped::new(what))?;
        match origin {
            None | Some(Origin::File { .. } | Origin::Always) => {}
            Some(other) => write!(f, " (from {})", Escaped::new(&other.to_string()))?,
        }
        if let Some(errno) = errno {
            write!(f, ": {errno}")?;
        }
        if let Some(remedy) = remedy {
            write!(f, ". {}", Escaped::new(remedy))?;
        }
        for (index, left) in self.0.left.iter().enumerate() {
            let words = if index == 0 { ". And this could not be taken back: " } else { "; " };
            write!(f, "{words}{left}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| &*cause.0 as _)
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => std::io::ErrorKind::NotFound,
            ErrorKind::NotPermitted => std::io::ErrorKind::PermissionDenied,
            ErrorKind::TimedOut => std::io::ErrorKind::TimedOut,
            ErrorKind::Cancelled => std::io::ErrorKind::Interrupted,
            ErrorKind::InvalidSpec => std::io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => std::io::ErrorKind::Unsupported,
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let origin = Origin::File { path: "web.nspawn".into(), line: 14, key: "Bind=".into() };
        let error = Error::system("mount /srv/data on /data: move_mount", Errno::EACCES)
            .from(Some(&origin))
            .remedy("List the parent first.");
        assert_eq!(
            error.to_string(),
            "web.nspawn:14: Bind=: mount /srv/data on /data: move_mount: EACCES (permission denied). List the parent first."
        );
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
    }

    #[test]
    fn what_was_left_behind_is_said() {
        let left = ["one", "two"].map(|group| Error::system(format!("remove the cgroup {group}"), Errno::EBUSY));
        let error = Error::system("map the range of ids: write", Errno::EPERM).leaving(left.into());
        assert_eq!(
            error.to_string(),
            "map the range of ids: write: EPERM (operation not permitted). And this could not be taken back: \
             remove the cgroup one: EBUSY (device or resource busy); remove the cgroup two: EBUSY (device or resource busy)"
        );
        assert_eq!(error.left_behind().len(), 2);
    }

    #[test]
    fn an_error_cannot_act_on_a_terminal() {
        let text = Error::new(ErrorKind::InvalidSpec, "bad \u{1b}[2J name\n").to_string();
        assert!(!text.contains(['\u{1b}', '\n']), "{text:?}");
    }
}
