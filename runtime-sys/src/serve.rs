//! A process that performs single ops for the embedder, with rights that the
//! embedder itself must not take on: it has joined a user namespace.
//!
//! Part of stage B only. It keeps nothing from one request to the next: what
//! came along is in slot 0, what is in slot 1 afterwards goes back.

use crate::errno::Errno;
use crate::kernel::{Cell, Report, Slots};
use crate::linux::{Linux, close, exit};
use crate::message::{receive, report, send};
use crate::op::Slot;
use crate::program::{Section, run};

/// Two paths of the longest, and more.
const LONGEST: usize = 12 * 1024;

pub(crate) fn serve(socket: i32) -> Result<(), Errno> {
    let mut message = [0_u8; LONGEST];
    loop {
        let (length, came) = receive(socket, &mut message)?;
        let ops = message.get(..length).unwrap_or_default();
        if ops.is_empty() {
            exit(0)
        }
        let mut cells = [came.map_or(Cell::Empty, Cell::Descriptor), Cell::Empty];
        let mut kernel = Linux::new();
        let done = run(&mut kernel, Section { first: 0, ops }, &mut Slots::new(&mut cells), &mut |_| {});
        let answered = match (done, cells[1]) {
            (Err(failure), _) => report(socket, Report::Failed { op: failure.op, errno: failure.errno }),
            (Ok(()), Cell::Descriptor(file)) => {
                let record = Report::File { place: Slot(1) }.to_value().to_le_bytes();
                send(socket, &record, Some(file))
            }
            (Ok(()), _) => report(socket, Report::Marker),
        };
        for cell in cells {
            if let Cell::Descriptor(file) = cell {
                close(file);
            }
        }
        answered?;
    }
}
