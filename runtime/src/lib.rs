//! Containers as a library: what `systemd-nspawn` does, natively, inside your
//! program.
//!
//! ```no_run
//! fn main() -> skep::Result<()> {
//!     let mut server = skep::Command::new("/srv/server")
//!         .bind_ro("/opt/server", "/srv")
//!         .memory(256 << 20)
//!         .spawn()?;
//!     println!("{}", server.report());
//!     server.stop(std::time::Duration::from_secs(10))?;
//!     Ok(())
//! }
//! ```
//!
//! # Where to find what
//!
//! | you want to | look at |
//! |---|---|
//! | start a container | [`Command`] |
//! | do something between made and started, give up a start | [`Created`], [`Cancel`] |
//! | talk to it on a terminal | [`Terminal`] |
//! | wait for it, stop it, pause it, see what it uses | [`Container`], [`ExitStatus`], [`Stats`], [`Events`] |
//! | copy files in and out | [`Container::copy_in`], [`Container::copy_out`], [`CopyOptions`] |
//! | run another process inside | [`Container::exec`], [`Exec`], [`Process`] |
//! | find it again from another process | [`find`], [`list`], [`Found`] |
//! | know what is in force | [`Report`], [`Outcome`] |
//! | say everything that can be said | [`Spec`] and [`spec`] |
//! | read it from a file | [`dialect`] |
//! | know what went wrong | [`Error`], [`ErrorKind`] |
//! | see what would be done | [`Command::plan`], or [`compile`] with [`Facts`] |
//! | check that | [`verify()`], and the rules in [`mod@verify`] |
//! | judge what a payload would hold and reach | [`audit`] |
//! | test a container without root | [`rehearse`] on [`sys::Model`] |
//! | look into system-call filters | [`seccomp`] |
//!
//! A [`Spec`] says what; [`compile`] makes a [`Plan`] of it, a program for the
//! kernel; [`verify()`] checks the plan; [`Command::spawn`] runs it.
//!
//! # What it guarantees
//!
//! What is asked for is had, or the start fails; what is wanted only where it
//! can be had is told by the [`Report`]. A start that fails executes nothing and leaves
//! nothing. A start is safe from any thread, runs nothing of the embedder in
//! the child, and changes nothing process-wide. A container ends with its
//! handle and with its embedder. No function panics, whatever it is given.
//!
//! # What it does not
//!
//! `SECURITY.md` has the whole list: no protection from bugs of the kernel in
//! calls that the filter allows, none for what you bind into the container, and
//! the default network `None` is the only one that hides the host's abstract
//! sockets.
//!
//! # Features
//!
//! Both are off by default.
//!
//! - `toml`: Specs as TOML, beside JSON.
//! - `tokio`: starts, waits and streams as futures (module `tokio`).
#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod aside;
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
mod excess;
mod exec;
pub mod facts;
mod forward;
mod groups;
mod inherited;
mod inside;
mod listener;
mod notification;
mod plan;
mod ports;
mod processes;
mod profile;
mod registry;
mod report;
mod run;
pub mod seccomp;
pub mod spec;
mod stat;
mod stats;
mod status;
mod terminal;
#[cfg(feature = "tokio")]
pub mod tokio;
mod trees;
pub mod verify;
mod waiting;
mod watcher;

pub use cancel::Cancel;
pub use command::{Command, Stdio};
pub use compile::compile;
pub use container::Container;
pub use created::Created;
pub use error::{Error, ErrorKind, Result};
pub use escaped::Escaped;
pub use events::{Event, Events};
pub use excess::excess;
pub use exec::{Exec, Process, compile_exec, rehearse_exec};
pub use facts::Facts;
pub use forward::{Forward, Forwarding};
pub use inherited::inherited;
pub use inside::{Copied, CopyOptions};
pub use listener::{Listener, NotifiedCall};
pub use notification::Notification;
pub use plan::{Phase, Plan, Step};
pub use ports::Ports;
pub use processes::Member;
pub use registry::{Collected, Entry, Found, Leftover, find, gc, list, registry_directory};
pub use report::{Item, Outcome, Report};
pub use run::{rehearse, rehearse_life, start_with_fault};
pub use spec::Spec;
pub use stats::{CpuStats, IoStats, MemoryStats, Stats};
pub use status::ExitStatus;
pub use terminal::Terminal;
pub use verify::{Verified, verify};
pub use waiting::Output;

pub use skep_sys as sys;
