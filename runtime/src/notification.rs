//! What a payload says to `$NOTIFY_SOCKET`.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};
use skep_sys::Errno;

use crate::error::{Error, Result};

/// What a payload says to `$NOTIFY_SOCKET` (`sd_notify(3)`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Notification {
    /// It said `READY=1`.
    pub ready: bool,
    /// It said `STOPPING=1`.
    pub stopping: bool,
    /// Its `STATUS=`. Text of the container: escape it before printing.
    pub status: Option<String>,
}

impl Notification {
    /// Parses one datagram; unknown lines are skipped, as the protocol wants.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        let mut found = Self::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => found.ready = true,
                b"STOPPING=1" => found.stopping = true,
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        found.status = Some(String::from_utf8_lossy(text).chars().take(1024).collect());
                    }
                }
            }
        }
        found
    }
}

/// The socket, and the one process whose word counts.
#[derive(Debug)]
pub(crate) struct Notifications {
    socket: OwnedFd,
    /// The payload; `None` where it has ended already, so that what it said may be
    /// anybody's, or procfs hides the container's processes from this one.
    payload: Option<u32>,
}

/// What was in the socket.
pub(crate) enum Heard {
    Said(Notification),
    /// Somebody else's words.
    Anothers,
    Nothing,
}

impl Notifications {
    /// Of a container by its first process, of which the payload is the first child
    /// where it is a stub init.
    pub(crate) fn new(socket: OwnedFd, first: u32, stub: bool) -> Self {
        let payload = if stub { first_child(first) } else { Some(first) };
        Self { socket, payload }
    }

    /// Takes the next datagram, without waiting.
    pub(crate) fn hear(&self) -> Result<Heard> {
        let mut datagram = [0_u8; 4096];
        // Descriptors are nothing for this side, but who sends some is to be heard.
        let mut control = nix::cmsg_space!(UnixCredentials, [i32; 253]);
        let mut parts = [IoSliceMut::new(&mut datagram)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, sender) = match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(received) => {
                let mut sender = None;
                for message in received.cmsgs().into_iter().flatten() {
                    match message {
                        ControlMessageOwned::ScmCredentials(credentials) => {
                            sender = u32::try_from(credentials.pid()).ok().filter(|pid| *pid > 0);
                        }
                        ControlMessageOwned::ScmRights(files) => {
                            files.into_iter().for_each(|file| _ = nix::unistd::close(file));
                        }
                        _ => {}
                    }
                }
                (received.bytes, sender)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(Heard::Nothing),
            Err(errno) => return Err(Error::system("receive a notification", Errno::from_raw(errno as u16))),
        };
        let own = sender.is_some() && self.payload.is_none_or(|payload| sender == Some(payload));
        let said = datagram.get(..length).filter(|_| own).map(Notification::parse);
        Ok(said.map_or(Heard::Anothers, Heard::Said))
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The eldest child of a process; one that was left by its parent is younger
/// (`proc(5)`: `children` is in the order in which they came).
fn first_child(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
    use std::io::IoSlice;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn lines_of_a_datagram() {
        let parsed = Notification::parse(b"READY=1\nX_OTHER=2\nSTATUS=Ready.");
        assert!(parsed.ready && !parsed.stopping);
        assert_eq!(parsed.status.as_deref(), Some("Ready."));
        assert_eq!(Notification::parse(b"READY=0\n\xff\n=\nSTATUS"), Notification::default());
    }

    #[test]
    fn the_payloads_word_counts_and_no_other() {
        let own = std::process::id();
        for (payload, named, counts) in [(own, true, true), (1, true, false), (own, false, false)] {
            let (end, ours) = UnixDatagram::pair().unwrap();
            setsockopt(&ours, sockopt::PassCred, &named).unwrap();
            let heard = Notifications::new(OwnedFd::from(ours), payload, false);
            end.send(b"READY=1").unwrap();
            // One that brings descriptors is heard as well, and they are closed.
            let file = std::fs::File::open("/dev/null").unwrap();
            let files = [file.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&files)];
            sendmsg::<()>(end.as_raw_fd(), &[IoSlice::new(b"READY=1")], &rights, MsgFlags::empty(), None).unwrap();
            for _ in 0..2 {
                match heard.hear().unwrap() {
                    Heard::Said(said) => assert!(counts && said.ready),
                    Heard::Anothers => assert!(!counts),
                    Heard::Nothing => panic!("there is one more"),
                }
            }
            assert!(matches!(heard.hear().unwrap(), Heard::Nothing));
        }
    }

    #[test]
    fn who_was_there_first() {
        use std::io::{BufRead as _, BufReader};
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 100 & echo $!; sleep 100 & read -r _; kill %1 %2"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(first_child(shell.id()), line.trim().parse().ok());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(first_child(shell.id()), None);
    }
}
