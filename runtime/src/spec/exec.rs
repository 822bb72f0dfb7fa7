//! A process to run in a container that runs already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::{Descriptor, Secret, Stream, TerminalSize};

/// What [`crate::Container::exec`] runs: the few things that may differ from
/// the payload. All else is the container's.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Variables beside the documented ones. The Spec's own variables may be
    /// secrets and are not kept, so an exec does not see them.
    pub environment: BTreeMap<String, Secret>,
    /// User and group, inside; the payload's otherwise.
    pub user: Option<(u32, u32)>,
    /// Supplementary groups, inside; the payload's otherwise.
    pub groups: Option<Vec<u32>>,
    /// The working directory, inside.
    pub working_directory: PathBuf,
    /// What the standard streams are.
    pub stdio: [Stream; 3],
    /// Descriptors that it has beside the streams. `listen` is refused: what
    /// number the process has inside is not known beforehand.
    pub descriptors: Vec<Descriptor>,
    /// A terminal of its own, of this size.
    pub terminal: Option<TerminalSize>,
}

impl Default for ExecSpec {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            environment: BTreeMap::new(),
            user: None,
            groups: None,
            working_directory: "/".into(),
            stdio: [Stream::Null; 3],
            descriptors: Vec::new(),
            terminal: None,
        }
    }
}
