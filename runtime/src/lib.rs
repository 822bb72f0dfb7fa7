//! Containers as a library: what `systemd-nspawn` does, natively, inside your
//! program.
//!
//! ```no_run
//! let mut container = skep::Command::new("/usr/bin/sleep").arg("10").spawn()?;
//! println!("{}", container.report());
//! container.stop(std::time::Duration::from_secs(1))?;
//! # Ok::<(), skep::Error>(())
//! ```
//!
//! A [`Spec`] says what; [`compile`] makes a [`Plan`] of it, a program for the
//! kernel; [`verify()`] checks the plan; [`Command::spawn`] runs it. A plan can be
//! printed, and [`rehearse`]d without root on [`skep_sys::Model`].
//!
//! What it does not promise is in `SECURITY.md`: no protection from bugs of the
//! kernel in calls that the filter allows, none for what you bind into the
//! container, and the default network `None` is the only one that hides the
//! host's abstract sockets.
#![forbid(unsafe_code)]

pub mod audit;
mod cancel;
mod command;
mod compile;
mod container;
mod created;
pub mod dialect;
mod error;
mod escaped;
mod events;
pub mod facts;
mod groups;
mod plan;
mod profile;
mod report;
mod run;
pub mod seccomp;
pub mod spec;
mod stats;
mod status;
mod terminal;
pub mod verify;
mod watcher;

pub use cancel::Cancel;
pub use command::{Command, Stdio};
pub use compile::compile;
pub use container::{Container, Notification, Output};
pub use created::Created;
pub use error::{Error, ErrorKind, Result};
pub use escaped::Escaped;
pub use events::{Event, Events};
pub use facts::Facts;
pub use plan::{Phase, Plan, Step};
pub use report::{Item, Outcome, Report};
pub use run::{rehearse, start_with_fault};
pub use spec::Spec;
pub use stats::{CpuStats, IoStats, MemoryStats, Stats};
pub use status::ExitStatus;
pub use terminal::Terminal;
pub use verify::{Verified, verify};

pub use skep_sys as sys;
