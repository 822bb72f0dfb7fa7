//! Descriptors that this process was started with.

use std::os::fd::OwnedFd;

use skep_sys::{Errno, Kernel as _, Linux, Op, OwnedSlots, Slot};

use crate::error::{Error, Result};

/// A copy of the descriptor that this process was given under `number`, for
/// [`Command::fd`](crate::Command::fd) or [`listen_fds`](crate::Command::listen_fds):
/// a shell passes one by `5<FILE`, a service manager sockets from 3 on
/// (`sd_listen_fds(3)`). The copy is close-on-exec; the original is left alone.
///
/// What is close-on-exec is taken to be this process's own, and no such descriptor.
///
/// # Errors
///
/// No descriptor was given under that number, or there are too many.
pub fn inherited(number: u32) -> Result<OwnedFd> {
    let mut slots = OwnedSlots::new(1);
    Linux::new()
        .call(&Op::Inherit { number, into: Slot(0) }, &mut slots.slots())
        .and_then(|()| slots.take(Slot(0)).ok_or(Errno::EBADF))
        .map_err(|errno| {
            Error::system(format!("copy descriptor {number}: fcntl"), errno)
                .remedy("EBADF: none was given; a shell passes one by NUMBER<FILE. EMFILE: raise the limit of open files (ulimit -n).")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_copy_is_the_same_file() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = u32::try_from(writer.as_raw_fd()).unwrap();
        assert!(inherited(number).is_err(), "it is this process's own");
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let copy = inherited(number).unwrap();
        assert_ne!(copy.as_raw_fd(), writer.as_raw_fd());
        drop(writer);
        std::fs::File::from(copy).write_all(b"x").unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
    }

    #[test]
    fn what_is_not_open_is_an_error_with_a_remedy() {
        for number in [9999, u32::MAX] {
            let error = inherited(number).unwrap_err();
            assert!(error.to_string().contains(&format!("descriptor {number}")) && error.advice().is_some(), "{error}");
        }
    }
}
