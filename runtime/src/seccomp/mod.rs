//! System-call filters: what a policy is, which ones are built in, and the program made of it.
//!
//! A [`Policy`] is plain data: an answer for each call, with conditions on its arguments. [`compile`]
//! makes the [`Program`] that seccomp(2) takes, and [`Program::decide`] asks that program in
//! a test. Nothing here does I/O; the program is installed by the child, as its last step
//! before the exec.
//!
//! What a filter guarantees: the kernel refuses a call by its number and the values in its
//! argument registers, for the process and all its descendants, for good, whatever they
//! execute. What it doesn't: it cannot see memory that an argument points to, so `clone3`
//! (flags in memory) is refused whole, and it cannot stop a kernel bug inside an allowed call.
//!
//! ```
//! use skep::seccomp::{self, Action, Arch, SeccompData};
//!
//! let native = Arch::NATIVE;
//! let keyctl = SeccompData::new(native, native.number("keyctl").unwrap(), [0; 6]);
//! let mut policy = seccomp::strict_default(native);
//! assert!(!seccomp::compile(&policy)?.decide(&keyctl).permits());
//!
//! policy.set("@keyring", Action::Allow);
//! assert_eq!(seccomp::compile(&policy)?.decide(&keyctl), Action::Allow);
//! # Ok::<(), seccomp::CompileError>(())
//! ```
//!
//! Sources: seccomp(2), seccomp_unotify(2), the kernel's
//! `Documentation/userspace-api/seccomp_filter.rst` and `include/uapi/linux/seccomp.h`.

mod adjust;
pub(crate) mod built;
mod emit;
pub(crate) mod families;
pub(crate) mod floor;
mod groups;
mod policy;
mod profiles;
mod program;
mod simulate;
mod spellings;
mod table;
#[cfg(test)]
mod tests;

pub use adjust::AdjustError;
pub(crate) use adjust::{SYNC, family_names};
pub use emit::compile;
pub use groups::{GROUPS, Group, group};
pub use policy::{
    Action, Clause, Condition, EAFNOSUPPORT, ENOSYS, EPERM, EPROTONOSUPPORT, Policy, Rule, Test, Width, X32_BIT,
};
pub(crate) use profiles::{NSPAWN_USUAL, nspawn_abis, nspawn_asks};
pub use profiles::{nspawn_default, strict_default, stub_init};
pub use program::{CompileError, Instruction, MAX_INSTRUCTIONS, Program, SeccompData};
pub(crate) use table::{ABIS, Abi};
pub use table::{Arch, exists_somewhere};
