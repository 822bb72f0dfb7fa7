//! What the processes of a start say to each other.

use super::descriptors::close;
use crate::errno::Errno;
use crate::message::receive;
#[cfg(not(skep_stage))]
use crate::{
    kernel::Report,
    linux::processes::{READABLE, wait_for},
    message::{hear, send},
};

/// The word that lets the other side go on.
#[cfg(not(skep_stage))]
pub(super) fn release(to: i32) -> Result<(), Errno> {
    match send(to, b"g", None) {
        Err(Errno::EPIPE | Errno::ECONNRESET) => Err(Errno::ECANCELED),
        other => other,
    }
}

/// Waits for that word.
pub(super) fn released(from: i32) -> Result<(), Errno> {
    let mut byte = [0_u8; 1];
    match receive(from, &mut byte) {
        Ok((1, None)) if byte == *b"g" => Ok(()),
        Ok((_, file)) => {
            file.into_iter().for_each(close);
            Err(Errno::ECANCELED)
        }
        Err(Errno::ECONNRESET) => Err(Errno::ECANCELED),
        Err(errno) => Err(errno),
    }
}

/// Asks a server for one thing: what it answers, and a descriptor if there is one.
#[cfg(not(skep_stage))]
pub(super) fn consult(server: i32, request: &[u8], file: Option<i32>) -> Result<Option<i32>, Errno> {
    match send(server, request, file).and_then(|()| wait_for(server, READABLE, 10_000)) {
        Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Errno::ECANCELED),
        other => other?,
    }
    match hear(server)? {
        (Report::File { .. }, Some(came)) => Ok(Some(came)),
        (Report::Marker, None) => Ok(None),
        (Report::Failed { errno, .. }, None) => Err(errno),
        (_, came) => {
            came.into_iter().for_each(close);
            Err(Errno::ECANCELED)
        }
    }
}
