//! Messages over a socket, each with at most one descriptor (`unix(7)`,
//! SCM_RIGHTS): between the two sides of a start, and to the watcher.
//!
//! Compiled into the library and into stage B.

use crate::errno::Errno;
use crate::kernel::Report;
use crate::linux::{WRITABLE, Word, ask, close, wait_for};
use crate::raw::nr;

/// SOL_SOCKET, SCM_RIGHTS: the second word of a `struct cmsghdr`.
const RIGHTS: u64 = 1 | 1 << 32;
/// The first: a header of 16 bytes and one descriptor.
const LENGTH: u64 = 20;
const MSG_CTRUNC: u64 = 0x8;
const MSG_DONTWAIT: u64 = 0x40;
const MSG_NOSIGNAL: u64 = 0x4000;
const MSG_CMSG_CLOEXEC: u64 = 0x4000_0000;

/// `struct msghdr`, word by word; lengths of 32 bits have their padding.
fn header(vector: &[u64; 2], control: &[u64]) -> [u64; 7] {
    let length = size_of_val(control) as u64;
    let control = if control.is_empty() { 0 } else { control.as_ptr().expose_provenance() as u64 };
    [0, 0, Word::of(vector).0 as u64, 1, control, length, 0]
}

/// Sends `content` as one message, with `file` if there is one.
pub(crate) fn send(socket: i32, content: &[u8], file: Option<i32>) -> Result<(), Errno> {
    let vector = [Word::bytes(content).0 as u64, content.len() as u64];
    let rights = [LENGTH, RIGHTS, file.map_or(0, |file| u64::from(file as u32))];
    let header = header(&vector, if file.is_some() { &rights } else { &[] });
    // MSG_NOSIGNAL: the embedder's SIGPIPE is its own.
    let words = [Word::descriptor(socket), Word::of(&header), Word::number(MSG_NOSIGNAL | MSG_DONTWAIT)];
    loop {
        match ask(nr::SENDMSG, words) {
            Err(Errno::EINTR) => {}
            // There is no room. Not for ever: who should read may be stopped.
            Err(Errno::EAGAIN) => wait_for(socket, WRITABLE, 5000)?,
            other => return other.map(drop),
        }
    }
}

/// One message and the descriptor that came along, close-on-exec. EMFILE where
/// one came and this process can hold no more.
pub(crate) fn receive(socket: i32, buffer: &mut [u8]) -> Result<(usize, Option<i32>), Errno> {
    let mut control = [0_u64; 3];
    let vector = [buffer.as_mut_ptr().expose_provenance() as u64, buffer.len() as u64];
    let mut header = header(&vector, &[]);
    header[4] = Word::of_mut(&mut control).0 as u64;
    header[5] = size_of_val(&control) as u64;
    let length = loop {
        let words = [Word::descriptor(socket), Word::of_mut(&mut header), Word::number(MSG_CMSG_CLOEXEC)];
        match ask(nr::RECVMSG, words) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let file = (control[0] == LENGTH && control[1] == RIGHTS).then_some(control[2] as i32);
    if header[6] & MSG_CTRUNC != 0 {
        file.into_iter().for_each(close);
        return Err(Errno::EMFILE);
    }
    Ok((length, file))
}

/// Tells the starting process one thing. With write(2), which every filter
/// that lets a program run allows.
pub(crate) fn report(socket: i32, report: Report) -> Result<(), Errno> {
    let record = report.to_value().to_le_bytes();
    ask(nr::WRITE, [Word::descriptor(socket), Word::bytes(&record), Word::number(Report::SIZE as u64)]).map(drop)
}

/// Hears one report. Only a report of a descriptor brings one.
pub(crate) fn hear(socket: i32) -> Result<(Report, Option<i32>), Errno> {
    let mut record = [0_u8; Report::SIZE];
    // Where the other side left something unread, the kernel says so once,
    // before it gives what that side wrote.
    let heard = match receive(socket, &mut record) {
        Err(Errno::ECONNRESET) => receive(socket, &mut record),
        other => other,
    };
    let (report, file) = match heard {
        Ok((Report::SIZE, file)) => (Report::from_value(u64::from_le_bytes(record)), file),
        Ok((0, None)) | Err(Errno::ECONNRESET) => (Report::Closed, None),
        Ok((_, file)) => {
            file.into_iter().for_each(close);
            return Err(Errno::EBADMSG);
        }
        Err(errno) => return Err(errno),
    };
    if matches!(report, Report::File { .. }) != file.is_some() {
        file.into_iter().for_each(close);
        return Err(Errno::EBADMSG);
    }
    Ok((report, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Seals;
    use crate::kernel::{Cell, Kernel};
    use crate::linux::Linux;
    use crate::op::{Op, Slot};
    use crate::owned::OwnedSlots;
    use crate::wire::Blob;

    const HOST: Slot = Slot(0);
    const CHILD: Slot = Slot(1);
    const FILE: Slot = Slot(2);
    const CAME: Slot = Slot(3);
    const RESULT: Slot = Slot(4);
    const OTHER: Slot = Slot(5);
    const RECEIVE: Op<'static> =
        Op::Receive { from: HOST, timeout_ms: 100, early: false, cancel: None, file: CAME, into: RESULT };

    fn ask(slots: &mut OwnedSlots, op: Op<'_>) -> Result<u64, Errno> {
        Linux::new().call(&op, &mut slots.slots())?;
        Ok(slots.slots().value(RESULT).unwrap_or(0))
    }

    fn pair() -> OwnedSlots {
        let mut slots = OwnedSlots::new(6);
        ask(&mut slots, Op::SocketPair { one: HOST, other: CHILD }).unwrap();
        slots
    }

    #[test]
    fn descriptors_and_reports_come_in_their_order() {
        let mut slots = pair();
        let content = u64::to_le_bytes(7);
        let file = Op::MemFd { name: c"x", content: Blob(&content), seals: Seals::NONE, executable: false, into: FILE };
        for op in [
            file,
            Op::SendFile { to: CHILD, file: FILE, place: Slot(9) },
            Op::Announce { to: CHILD },
            Op::Close { file: FILE },
            Op::Close { file: CHILD },
        ] {
            ask(&mut slots, op).unwrap();
        }
        let place = Report::File { place: Slot(9) };
        assert_eq!(ask(&mut slots, RECEIVE).map(Report::from_value), Ok(place));
        assert_eq!(ask(&mut slots, Op::Peek { file: CAME, offset: 0, into: RESULT }), Ok(7));
        // F_GETFD, FD_CLOEXEC
        let number = slots.slots().descriptor(CAME).unwrap();
        assert_eq!(crate::linux::ask(nr::FCNTL, [Word::descriptor(number), Word::number(1), Word::NULL]), Ok(1));
        for report in [Report::Marker, Report::Closed] {
            assert_eq!(ask(&mut slots, RECEIVE).map(Report::from_value), Ok(report));
        }
        assert_eq!(slots.slots().get(CAME), Cell::Descriptor(number), "no other came");
    }

    #[test]
    fn what_is_no_report_is_refused_and_its_descriptor_closed() {
        let marker = Report::Marker.to_value().to_le_bytes();
        let empty = Report::File { place: Slot(1) }.to_value().to_le_bytes();
        for (content, with) in [(marker.as_slice(), true), (&empty, false), (b"go", true), (b"go", false)] {
            let mut slots = pair();
            ask(&mut slots, Op::SocketPair { one: OTHER, other: FILE }).unwrap();
            let [child, file] = [CHILD, FILE].map(|slot| slots.slots().descriptor(slot).unwrap());
            send(child, content, with.then_some(file)).unwrap();
            ask(&mut slots, Op::Close { file: CHILD }).unwrap();
            ask(&mut slots, Op::Close { file: FILE }).unwrap();
            assert_eq!(ask(&mut slots, RECEIVE), Err(Errno::EBADMSG), "{content:?} {with}");
            assert_eq!(slots.slots().get(CAME), Cell::Empty);
            let receive =
                Op::Receive { from: OTHER, timeout_ms: 100, early: false, cancel: None, file: CAME, into: RESULT };
            assert_eq!(ask(&mut slots, receive).map(Report::from_value), Ok(Report::Closed), "nobody holds its end");
        }
    }
}
