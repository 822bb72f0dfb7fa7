//! A build that knows no `systemd-machined`: without the feature `machined`.

use skep::Container;
use skep::spec::Want;

use crate::message::Failure;

/// Nobody is.
pub(crate) struct Registered;

pub(crate) fn enter_scope(_: Want, _: &str) -> Result<(), Failure> {
    Ok(())
}

pub(crate) fn register(wanted: Want, _: &Container, _: &str) -> Result<Option<Registered>, Failure> {
    match wanted {
        Want::Require => Err(Failure::new(
            "--register=yes: this build knows no systemd-machined; build it with the feature machined, or write --register=auto",
        )),
        _ => Ok(None),
    }
}
