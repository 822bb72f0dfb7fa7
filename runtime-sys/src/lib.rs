//! What Skep may ask of the kernel: one vocabulary ([`Op`]), one trait
//! ([`Kernel`]), and the kernels behind it.
//!
//! * [`Linux`] makes the calls, raw, without libc's `errno`.
//! * [`Recorder`] writes down what was asked, by whom, in total order.
//! * [`Faulty`] lets call *k* fail with errno *e*.
//! * [`Model`] is a small kernel in memory that refuses what Linux refuses.
//!
//! Everything that makes or changes kernel state goes through [`Kernel::call`].
//! All unsafe code of the project lives in this crate; the crate `skep` builds
//! plans out of [`Op`]s and never needs more.

pub mod abi;
mod errno;
mod faulty;
mod groups;
pub mod kernel;
mod linux;
mod message;
mod model;
mod op;
mod owned;
pub mod program;
mod raw;
mod recorder;
pub mod spawn;
mod terminal;
pub mod wire;

pub use errno::{ERRNOS, Errno};
pub use faulty::{Faulty, plausible};
pub use kernel::{Cell, Kernel, Report, Slots, WaitStatus};
pub use linux::Linux;
pub use model::{Credentials, Descriptor, Executed, Ids, Model, Process};
pub use op::{At, Op, OpKind, Proof, Slot};
pub use owned::OwnedSlots;
pub use program::{Actor, Child, Failure, Section, Stage};
pub use recorder::{Record, Recorder, Yes};
