//! What Skep may ask of the kernel: one vocabulary ([`Op`]), one trait
//! ([`Kernel`]), and the kernels behind it.
//!
//! * [`Linux`] makes the calls, raw, without libc's `errno`.
//! * [`Recorder`] writes down what was asked, by whom, in total order.
//! * [`Faulty`] lets call *k* fail with errno *e*.
//! * [`Model`] is a small kernel in memory that refuses what Linux refuses.
//!
//! ```
//! use skep_sys::{Cell, Errno, Kernel, Model, Op, Slot, Slots};
//!
//! // A kernel in memory: descriptors are counted, rights are checked.
//! let mut kernel = Model::as_user(1000);
//! let mut cells = [Cell::Empty; 4];
//! let mut slots = Slots::new(&mut cells);
//! let pair = Op::SocketPair { one: Slot(0), other: Slot(1) };
//! kernel.call(&pair, &mut slots).unwrap();
//! assert_eq!(kernel.call(&Op::Close { file: Slot(0) }, &mut slots), Ok(()));
//! assert_eq!(kernel.call(&Op::Close { file: Slot(0) }, &mut slots), Err(Errno::EBADF));
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`abi`] | numbers and flags of the kernel's, as types |
//! | [`kernel`] | the trait, the slots that ops work on, what a child reports |
//! | [`wire`] | the flat form of ops, which a child decodes without allocating |
//! | [`program`] | sections of ops, and how they are run or rehearsed |
//! | [`spawn`] | the two-stage start |
//! | [`filter`] | what a seccomp filter answers |
//!
//! Everything that makes or changes kernel state goes through [`Kernel::call`].
//! All unsafe code of the project lives in this crate; the crate `skep` builds
//! plans out of [`Op`]s and never needs more.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod abi;
mod bases;
mod block;
mod copy;
mod errno;
mod faulty;
pub mod filter;
mod groups;
mod heap;
mod ids;
pub mod kernel;
mod leave;
mod linux;
mod listener;
mod message;
mod model;
mod netlink;
mod op;
mod owned;
mod populate;
pub mod program;
mod raw;
mod recorder;
mod schedule;
pub mod spawn;
mod tables;
mod terminal;
pub mod wire;
mod xattr;

pub use bases::BASE_LOCKS;
pub use errno::{ERRNOS, Errno};
pub use faulty::{Faulty, plausible};
pub use heap::Heap;
pub use ids::range_is_free;
pub use kernel::{Cell, Kernel, Report, Slots, WaitStatus};
pub use leave::leave;
pub use linux::Linux;
pub use model::{Credentials, Descriptor, Executed, Ids, Model, Process};
pub use netlink::{
    InterfaceAddress, addresses, interface_name, interface_number, interface_to, network_of_peer, number_of_network,
};
pub use op::{At, Op, OpKind, Proof, Slot};
pub use owned::OwnedSlots;
pub use populate::populate_stack;
pub use program::{Actor, Child, Failure, Section, Stage};
pub use raw::secure_execution;
pub use recorder::{Record, Recorder, Yes};
pub use spawn::socket_in;
pub use tables::{Claim, claims};
pub use xattr::{xattr, xattr_names};
