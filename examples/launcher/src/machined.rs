//! Registration with `systemd-machined`, so that `machinectl(1)` knows the container:
//! `org.freedesktop.machine1(5)`.
//!
//! A bus client of three calls: the D-Bus specification's authentication by
//! credentials, a message with strings, bytes and numbers, and its answer. More of
//! the protocol nothing here needs.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use skep::Container;
use skep::spec::Want;
use skep::sys::abi::{OpenFlags, Resolve};
use skep::sys::wire::Blob;
use skep::sys::{At, Kernel, Linux, Op, OwnedSlots, Slot};

use crate::message::{Failure, because};

const SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long the bus may take; machined may have to be started first.
const PATIENCE: Duration = Duration::from_secs(25);

/// No answer is longer.
const LARGEST: usize = 1 << 16;

/// A registered machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    name: String,
}

/// Before the start: has systemd put this process into a scope of its own, with
/// the groups below it for whoever is in it, and makes way for the container's
/// there. machined wants every machine in a unit, and of a group beside the
/// units nobody knows which that would be.
pub(crate) fn enter_scope(wanted: Want, name: &str) -> Result<(), Failure> {
    if wanted == Want::Off || !Path::new(GROUPS).join("cgroup.controllers").exists() {
        return Ok(());
    }
    match scope(name) {
        Err(error) if wanted == Want::Require => Err(Failure::new(format!(
            "--register=yes: a scope of systemd for {name}: {error}; see that systemd runs, or write --register=auto"
        ))),
        _ => Ok(()),
    }
}

const GROUPS: &str = "/sys/fs/cgroup";

fn scope(name: &str) -> Result<(), Refused> {
    let scope = format!("skep-{name}.scope");
    let body = Body::default().string(&scope).string("fail").properties(std::process::id()).array(|none| none);
    call(&SYSTEMD, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body)?;
    // The answer is that of a job which is only about to be done.
    let begin = Instant::now();
    let own = loop {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        match text.lines().find_map(|line| line.strip_prefix("0::/")).filter(|own| own.ends_with(&scope)) {
            Some(own) => break Path::new(GROUPS).join(own),
            None if begin.elapsed() > PATIENCE => return Err(Refused::Io(ErrorKind::TimedOut.into())),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    make_way(&own, &fs::read_to_string(own.join("cgroup.controllers"))?)
}

/// Moves this process into a group below its own, and gives the controllers to what is
/// there: a group with processes has no children with controllers (`cgroups(7)`).
fn make_way(own: &Path, controllers: &str) -> Result<(), Refused> {
    let path = CString::new(own.as_os_str().as_bytes()).map_err(|_| odd())?;
    let group = Slot(0);
    let mut slots = OwnedSlots::new(1);
    // By its descriptor: a file is written below one mount alone.
    let open = Op::OpenAt2 {
        dir: At::Cwd,
        path: &path,
        flags: OpenFlags::PATH.with(OpenFlags::DIRECTORY),
        mode: 0,
        resolve: Resolve::NO_MAGICLINKS,
        into: group,
    };
    let mut call = |op: &Op<'_>| {
        let ended = Linux::new().call(op, &mut slots.slots());
        ended.map_err(|errno| Refused::Io(io::Error::from_raw_os_error(i32::from(errno.raw()))))
    };
    call(&open)?;
    let dir = At::Slot(group);
    call(&Op::Mkdir { dir, name: c"supervisor", mode: 0o755, exist_ok: true })?;
    call(&Op::Write { dir, path: c"supervisor/cgroup.procs", content: Blob(b"0") })?;
    controllers.split_whitespace().try_for_each(|one| {
        let content = format!("+{one}");
        call(&Op::Write { dir, path: c"cgroup.subtree_control", content: Blob(content.as_bytes()) })
    })
}

/// Registers `container`, as its service `skep`, of this process's unit. `None`:
/// not asked for, or there is no machined where that is no matter.
pub(crate) fn register(wanted: Want, container: &Container, root: &str) -> Result<Option<Registered>, Failure> {
    if wanted == Want::Off {
        return Ok(None);
    }
    let name = container.machine().as_str();
    let body =
        Body::default().string(name).bytes(&[]).string("skep").string("container").number(container.id()).string(root);
    let body = body.numbers(container.interface().and_then(number_of).as_slice());
    match call(&MACHINED, "RegisterMachineWithNetwork", "sayssusai", &body) {
        Ok(()) => Ok(Some(Registered { name: name.to_owned() })),
        Err(_) if wanted == Want::IfSupported => Ok(None),
        Err(error) => Err(Failure::new(format!(
            "--register=yes: register {name} with systemd-machined: {error}; see that it runs, or write --register=auto"
        ))),
    }
}

/// The number of an interface of the host, by which machined asks for its addresses.
fn number_of(interface: &str) -> Option<u32> {
    fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?.trim_end().parse().ok()
}

impl Drop for Registered {
    /// machined sees a leader's end, but a unit that goes on keeps the name.
    fn drop(&mut self) {
        let _ = call(&MACHINED, "UnregisterMachine", "s", &Body::default().string(&self.name));
    }
}

/// What the bus has answered.
#[derive(Debug)]
enum Refused {
    Io(io::Error),
    /// An error's name, and its text.
    Answer(String, String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&because(error)),
            Self::Answer(name, text) => {
                write!(f, "{} ({})", skep::Escaped::new(text).short(), skep::Escaped::new(name).short())
            }
        }
    }
}

/// The bus itself.
const BUS: Target =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

const SYSTEMD: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

const MACHINED: Target = Target {
    destination: "org.freedesktop.machine1",
    path: "/org/freedesktop/machine1",
    interface: "org.freedesktop.machine1.Manager",
};

/// One call, by a connection of its own.
fn call(to: &Target, member: &str, signature: &str, body: &Body) -> Result<(), Refused> {
    let bus = UnixStream::connect(SOCKET)?;
    call_on(bus, to, member, signature, body)
}

fn call_on(mut bus: UnixStream, to: &Target, member: &str, signature: &str, body: &Body) -> Result<(), Refused> {
    bus.set_read_timeout(Some(PATIENCE))?;
    bus.set_write_timeout(Some(PATIENCE))?;
    authenticate(&mut bus)?;
    bus.write_all(&message(1, &BUS, "Hello", "", &Body::default()))?;
    answer(&mut bus, 1)?;
    bus.write_all(&message(2, to, member, signature, body))?;
    answer(&mut bus, 2)
}

/// By the credentials of the socket: the user's id, as hexadecimal digits of its
/// decimal ones.
fn authenticate(bus: &mut UnixStream) -> io::Result<()> {
    let uid = nix::unistd::geteuid().to_string();
    let digits: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
    bus.write_all(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        bus.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > 512 {
            return Err(odd());
        }
    }
    if !line.starts_with(b"OK ") {
        return Err(ErrorKind::PermissionDenied.into());
    }
    bus.write_all(b"BEGIN\r\n")
}

fn odd() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the bus answered something that is no message")
}

/// Whom a call is for.
struct Target {
    destination: &'static str,
    path: &'static str,
    interface: &'static str,
}

/// Values one after another, each aligned to its size, little-endian.
#[derive(Clone, Default)]
struct Body(Vec<u8>);

impl Body {
    fn align(mut self, to: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }

    fn number(self, value: u32) -> Self {
        let mut own = self.align(4);
        own.0.extend(value.to_le_bytes());
        own
    }

    /// An array of bytes.
    fn bytes(self, bytes: &[u8]) -> Self {
        let mut own = self.number(u32::try_from(bytes.len()).unwrap_or(0));
        own.0.extend(bytes);
        own
    }

    /// An array of numbers.
    fn numbers(self, numbers: &[u32]) -> Self {
        let own = self.number(u32::try_from(numbers.len() * 4).unwrap_or(0));
        numbers.iter().fold(own, |own, number| own.number(*number))
    }

    fn string(self, text: &str) -> Self {
        let mut own = self.bytes(text.as_bytes());
        own.0.push(0);
        own
    }

    /// An array of what is aligned to eight bytes. Its length is that of the
    /// elements, without what aligns the first.
    fn array(self, elements: impl FnOnce(Self) -> Self) -> Self {
        let own = self.number(0);
        let at = own.0.len() - 4;
        let own = own.align(8);
        let begin = own.0.len();
        let mut own = elements(own);
        let length = u32::try_from(own.0.len() - begin).unwrap_or(0);
        own.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
        own
    }

    /// Those of a scope for this process: `org.freedesktop.systemd1(5)`.
    fn properties(self, pid: u32) -> Self {
        self.array(|own| {
            let own = own.string("Description").signature("s").string("Container of skep").align(8);
            let own = own.string("Slice").signature("s").string("machine.slice").align(8);
            let own = own.string("Delegate").signature("b").number(1).align(8);
            let own = own.string("CollectMode").signature("s").string("inactive-or-failed").align(8);
            own.string("PIDs").signature("au").number(4).number(pid)
        })
    }

    fn signature(mut self, text: &str) -> Self {
        self.0.push(u8::try_from(text.len()).unwrap_or(0));
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    /// A field of a header: its number, and a variant.
    fn field(self, number: u8, kind: &str, text: &str) -> Self {
        let mut own = self.align(8);
        own.0.push(number);
        let own = own.signature(kind);
        if kind == "g" { own.signature(text) } else { own.string(text) }
    }
}

/// A method call.
fn message(serial: u32, to: &Target, member: &str, signature: &str, body: &Body) -> Vec<u8> {
    const CALL: u8 = 1;
    let mut fields = Body::default().field(1, "o", to.path).field(2, "s", to.interface).field(3, "s", member).field(
        6,
        "s",
        to.destination,
    );
    if !signature.is_empty() {
        fields = fields.field(8, "g", signature);
    }
    let length = u32::try_from(body.0.len()).unwrap_or(0);
    let mut whole = Body(vec![b'l', CALL, 0, 1]).number(length).number(serial).bytes(&fields.0).align(8).0;
    whole.extend(&body.0);
    whole
}

/// Reads messages until the answer to this one.
fn answer(bus: &mut UnixStream, serial: u32) -> Result<(), Refused> {
    const RETURN: u8 = 2;
    const ERROR: u8 = 3;
    loop {
        let mut head = [0_u8; 16];
        bus.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let size = |at: usize| usize::try_from(number(at)).ok().filter(|size| *size <= LARGEST).ok_or_else(odd);
        if head[0] != b'l' {
            return Err(odd().into());
        }
        let (body, fields) = (size(4)?, size(12)?);
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        bus.read_exact(&mut rest)?;
        let (fields, body) = (&rest[..fields], &rest[fields.next_multiple_of(8)..]);
        let (to, name) = Fields(fields, 0).answered().ok_or_else(odd)?;
        match head[1] {
            RETURN if to == Some(serial) => return Ok(()),
            ERROR if to == Some(serial) => {
                let text = Fields(body, 0).string().unwrap_or_default();
                return Err(Refused::Answer(name.unwrap_or_default(), text));
            }
            // A signal, such as that this client has a name now.
            _ => {}
        }
    }
}

/// The header's fields, and where they are read.
struct Fields<'a>(&'a [u8], usize);

impl Fields<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let from = self.1;
        self.1 = from.checked_add(count)?;
        self.0.get(from..self.1)
    }

    fn number(&mut self) -> Option<u32> {
        self.1 = self.1.next_multiple_of(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1).map(|_| text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1).map(|_| text)
    }

    /// Which message this answers, and an error's name.
    fn answered(mut self) -> Option<(Option<u32>, Option<String>)> {
        let (mut to, mut name) = (None, None);
        while self.1 < self.0.len() {
            self.1 = self.1.next_multiple_of(8);
            let field = *self.take(1)?.first()?;
            match (self.signature()?.as_str(), field) {
                ("u", 5) => to = Some(self.number()?),
                ("u", _) => _ = self.number()?,
                ("s", 4) => name = Some(self.string()?),
                ("s" | "o", _) => _ = self.string()?,
                ("g", _) => _ = self.signature()?,
                _ => return None,
            }
        }
        Some((to, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first message of any client, as the specification has it byte by byte.
    #[test]
    fn hello() {
        let expected = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        let said = message(1, &BUS, "Hello", "", &Body::default());
        assert_eq!(said, &expected[..], "{}", said.escape_ascii());
    }

    /// A bus that answers as it is told.
    fn with_bus(answers: Vec<Vec<u8>>) -> Result<(), Refused> {
        let (own, mut bus) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            let count = bus.read(&mut bytes).unwrap();
            assert!(bytes[..count].starts_with(b"\0AUTH EXTERNAL 3"), "a digit is 30 to 39");
            bus.write_all(b"OK 0123\r\n").unwrap();
            for answer in answers {
                if bus.write_all(&answer).is_err() {
                    return;
                }
            }
            let _ = bus.shutdown(std::net::Shutdown::Write);
            let _ = bus.read_to_end(&mut Vec::new());
        });
        let body = Body::default().string("web").bytes(&[]).string("skep").string("container").number(7).string("/");
        let ended = call_on(own, &MACHINED, "RegisterMachine", "sayssus", &body);
        server.join().unwrap();
        ended
    }

    fn answer_to(kind: u8, serial: u32, name: &str, text: &str) -> Vec<u8> {
        let mut fields = Body::default().align(8);
        fields.0.push(5);
        fields = fields.signature("u").number(serial);
        if !name.is_empty() {
            fields = fields.field(4, "s", name).field(8, "g", "s");
        }
        let body = if text.is_empty() { Body::default() } else { Body::default().string(text) };
        let length = u32::try_from(body.0.len()).unwrap();
        let mut whole = Body(vec![b'l', kind, 1, 1]).number(length).number(9).bytes(&fields.0).align(8).0;
        whole.extend(&body.0);
        whole
    }

    #[test]
    fn arrays_are_as_long_as_their_elements() {
        let body = Body::default().string("x").array(|none| none);
        assert_eq!(body.0, b"\x01\0\0\0x\0\0\0\0\0\0\0\0\0\0\0");
        let body = Body::default().string("x").numbers(&[7, 8]);
        assert_eq!(body.0, b"\x01\0\0\0x\0\0\0\x08\0\0\0\x07\0\0\0\x08\0\0\0");
        assert_eq!(Body::default().numbers(&[]).0, [0; 4]);
        let body = Body::default().number(7).array(|own| own.string("ab").signature("b").number(1));
        assert_eq!(body.0, b"\x07\0\0\0\x10\0\0\0\x02\0\0\0ab\0\x01b\0\0\0\x01\0\0\0");
    }

    #[test]
    fn what_the_bus_may_answer() {
        let (hello, signal) = (answer_to(2, 1, "", ""), answer_to(4, 0, "", "x"));
        assert!(with_bus(vec![hello.clone(), signal, answer_to(2, 2, "", "")]).is_ok());
        let refused = with_bus(vec![hello.clone(), answer_to(3, 2, "org.x.Exists", "Machine exists")]).unwrap_err();
        assert_eq!(refused.to_string(), "Machine exists (org.x.Exists)");
        for odd in [vec![], vec![hello.clone()], vec![hello.clone(), vec![b'B'; 16]], vec![vec![0xff; 64]]] {
            assert!(matches!(with_bus(odd), Err(Refused::Io(_))));
        }
        // Whatever is cut off or says that it is long.
        let whole = answer_to(3, 2, "org.x.Exists", "Machine exists");
        for end in 0..whole.len() {
            assert!(with_bus(vec![hello.clone(), whole[..end].to_vec()]).is_err());
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] = 0xff;
            let _ = with_bus(vec![hello.clone(), bent]);
        }
    }
}
