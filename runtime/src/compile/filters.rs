//! The built-in filters, compiled once for a process: they depend on nothing
//! that a Spec says but, for nspawn's, the capabilities.

use std::sync::OnceLock;

use skep_sys::abi::CapabilitySet;

use crate::error::{Error, ErrorKind, Result};
use crate::seccomp::{Arch, Policy, compile, nspawn_default, strict_default, stub_init};
use crate::spec::Profile;

fn bytes(policy: &Policy) -> Result<Vec<u8>> {
    compile(policy)
        .map(|program| program.bytes())
        .map_err(|error| Error::new(ErrorKind::Unverified, format!("compile the system-call filter: {error}")))
}

fn cached(cell: &'static OnceLock<Result<Vec<u8>>>, policy: fn(Arch) -> Policy) -> Result<&'static [u8]> {
    cell.get_or_init(|| bytes(&policy(Arch::NATIVE))).as_deref().map_err(Clone::clone)
}

/// The payload's filter.
pub(super) fn payload(profile: Profile, retained: CapabilitySet) -> Result<Vec<u8>> {
    static STRICT: OnceLock<Result<Vec<u8>>> = OnceLock::new();
    match profile {
        Profile::Strict => cached(&STRICT, strict_default).map(<[u8]>::to_vec),
        Profile::Nspawn => bytes(&nspawn_default(Arch::NATIVE, retained.0)),
    }
}

/// The stub init's.
pub(super) fn stub() -> Result<&'static [u8]> {
    static STUB: OnceLock<Result<Vec<u8>>> = OnceLock::new();
    cached(&STUB, stub_init)
}
