//! The builder, in the manner of [`std::process::Command`].

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use skep_sys::Slot;

use crate::cancel::Cancel;
use crate::created::Created;
use crate::spec::{Origin, Spec, Stream};

pub use self::stdio::Stdio;
pub(crate) use self::stdio::{copy, given_streams};

/// A builder of containers.
///
/// The defaults are those of profile `strict` (see [`Spec`]). The order of the
/// calls does not matter, except that of arguments.
///
/// ```no_run
/// let output = skep::Command::new("id").output()?;
/// assert!(output.status.success());
/// # Ok::<(), skep::Error>(())
/// ```
#[derive(Debug)]
pub struct Command {
    spec: Spec,
    stdio: [Stdio; 3],
    /// By the number inside.
    descriptors: BTreeMap<u32, OwnedFd>,
    /// Namespaces that are given, by their slots.
    joins: Vec<(Slot, OwnedFd)>,
    deadline: Option<Duration>,
    cancel: Option<Cancel>,
    before_start: BeforeStart,
}

/// What the embedder does with a container that is made.
#[derive(Default)]
struct BeforeStart(Option<Box<Prepare>>);

type Prepare = dyn FnMut(&Created) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> + Send;

impl std::fmt::Debug for BeforeStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "BeforeStart(..)" } else { "BeforeStart" })
    }
}

impl From<Spec> for Command {
    fn from(spec: Spec) -> Self {
        let stdio = spec.stdio.map(|stream| match stream {
            Stream::Null => Stdio::null(),
            Stream::Piped => Stdio::piped(),
            Stream::Given => Stdio::inherit(),
            Stream::Terminal => Stdio::terminal(),
        });
        Self {
            spec,
            stdio,
            descriptors: BTreeMap::new(),
            joins: Vec::new(),
            deadline: Some(DEADLINE),
            cancel: None,
            before_start: BeforeStart::default(),
        }
    }
}

/// A start that takes longer than this has hung.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

impl Command {
    fn set(&mut self, field: impl Into<String>, call: &'static str) -> &mut Spec {
        self.spec.origins.note(field, Origin::Call(call));
        &mut self.spec
    }
}

// Here, in this order and apart: documentation lists methods in the order of modules.
mod program;

mod files;

mod isolation;

mod limits;

mod stdio;

mod start;
