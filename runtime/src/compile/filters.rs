//! The built-in filters. They depend on nothing that a Spec says but, for
//! nspawn's, the capabilities.

use std::borrow::Cow;
use std::sync::OnceLock;

use skep_sys::abi::CapabilitySet;

use crate::error::{Error, ErrorKind, Result};
use crate::seccomp::{Arch, built, compile, nspawn_default};
use crate::spec::Profile;

/// The payload's filter.
pub(super) fn payload(profile: Profile, retained: CapabilitySet) -> Result<Cow<'static, [u8]>> {
    static STRICT: OnceLock<Vec<u8>> = OnceLock::new();
    match profile {
        Profile::Strict => Ok(STRICT.get_or_init(built::strict).into()),
        Profile::Nspawn => nspawn(retained),
    }
}

/// systemd-nspawn's, compiled once for the capabilities that this process asks
/// for first: most programs ask for no others.
fn nspawn(retained: CapabilitySet) -> Result<Cow<'static, [u8]>> {
    static FIRST: OnceLock<(CapabilitySet, Vec<u8>)> = OnceLock::new();
    if let Some((_, program)) = FIRST.get().filter(|(capabilities, _)| *capabilities == retained) {
        return Ok(program.into());
    }
    let program = compile(&nspawn_default(Arch::NATIVE, retained.0))
        .map_err(|error| Error::new(ErrorKind::Unverified, format!("compile the system-call filter: {error}")))?
        .bytes();
    let _ = FIRST.set((retained, program.clone()));
    Ok(program.into())
}

/// The stub init's.
pub(super) fn stub() -> &'static [u8] {
    static STUB: OnceLock<Vec<u8>> = OnceLock::new();
    STUB.get_or_init(built::stub)
}
