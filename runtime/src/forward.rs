//! Published ports in user space: what the kernel's tables do not lead into a container.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::spec::Protocol;

/// A published port that whoever supervises a container passes on himself
/// ([`crate::Container::forwards`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Forward {
    /// Of TCP or UDP.
    pub protocol: Protocol,
    /// On the host.
    pub from: SocketAddr,
    /// Inside, at the start.
    pub to: SocketAddr,
    /// Inside by now ([`crate::Ports`]).
    now: Arc<Mutex<SocketAddr>>,
}

impl PartialEq for Forward {
    fn eq(&self, other: &Self) -> bool {
        (self.protocol, self.from, self.to) == (other.protocol, other.from, other.to)
    }
}

impl Eq for Forward {}

impl Forward {
    pub(crate) fn new(protocol: Protocol, from: IpAddr, host: u16, to: SocketAddr) -> Self {
        Self { protocol, from: SocketAddr::new(from, host), to, now: Arc::new(Mutex::new(to)) }
    }

    /// Has whoever asks from now on come to another address.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Begins to pass on, in threads of this process that end with it: one, two for each
    /// connection, one for each peer of UDP that was heard within a minute. Who asks
    /// inside sees an address of the host.
    ///
    /// # Errors
    ///
    /// Where the address cannot be listened on: it is taken (EADDRINUSE), or not the
    /// host's (EADDRNOTAVAIL).
    pub fn start(&self) -> io::Result<()> {
        let now = Arc::clone(&self.now);
        let to = move || *now.lock().unwrap_or_else(PoisonError::into_inner);
        match self.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(self.from)?;
                spawn(move || {
                    listener.incoming().flatten().for_each(|stream| {
                        let to = to();
                        let _ = spawn(move || connected(stream, to));
                    });
                })
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(self.from)?;
                spawn(move || datagrams(&Arc::new(socket), &to))
            }
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("skep-forward".to_owned()).stack_size(128 << 10).spawn(work).map(drop)
}

/// Both directions of one connection; the end of one is passed on too.
fn connected(outside: TcpStream, to: SocketAddr) {
    let Ok(inside) = TcpStream::connect_timeout(&to, Duration::from_secs(30)) else { return };
    let (Ok(from), Ok(back)) = (outside.try_clone(), inside.try_clone()) else { return };
    if spawn(move || pass(from, back)).is_ok() {
        pass(inside, outside);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 32 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// How long a peer is answered that says nothing.
const QUIET: Duration = Duration::from_secs(60);
/// How many peers at once.
const PEERS: usize = 1024;

type Peers = Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>;

fn datagrams(outside: &Arc<UdpSocket>, to: &dyn Fn() -> SocketAddr) {
    let peers = Arc::new(Peers::default());
    let mut buffer = vec![0; 64 << 10];
    loop {
        // An answer that could not be delivered is an error of the next call (ICMP).
        let Ok((length, peer)) = outside.recv_from(&mut buffer) else { continue };
        if let Some(inside) = peer_socket(&peers, outside, peer, to()) {
            let _ = inside.send(&buffer[..length]);
        }
    }
}

/// The socket by which one peer's datagrams go in, and their answers come.
fn peer_socket(
    peers: &Arc<Peers>,
    outside: &Arc<UdpSocket>,
    peer: SocketAddr,
    to: SocketAddr,
) -> Option<Arc<UdpSocket>> {
    let mut all = peers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(&peer).filter(|known| known.peer_addr().is_ok_and(|address| address == to)) {
        return Some(Arc::clone(known));
    }
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let inside = Arc::new(UdpSocket::bind((any, 0)).ok().filter(|_| all.len() < PEERS)?);
    inside.connect(to).and_then(|()| inside.set_read_timeout(Some(QUIET))).ok()?;
    let (outside, peers, socket) = (Arc::clone(outside), Arc::clone(peers), Arc::clone(&inside));
    let answers = move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = socket.recv(&mut buffer) {
            let _ = outside.send_to(&buffer[..length], peer);
        }
        let mut all = peers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&peer).is_some_and(|known| Arc::ptr_eq(known, &socket)) {
            all.remove(&peer);
        }
    };
    spawn(answers).ok()?;
    all.insert(peer, Arc::clone(&inside));
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_both_ways_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let forward = Forward::new(Protocol::Tcp, free.ip(), free.port(), listener.local_addr().unwrap());
        forward.start().unwrap();
        assert_eq!(forward.start().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        for word in ["one", "two"] {
            let mut client = TcpStream::connect(free).unwrap();
            client.write_all(word.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let mut said = String::new();
            server.read_to_string(&mut said).unwrap();
            assert_eq!(said, word);
            server.write_all(b"and back").unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "and back");
        }
    }

    #[test]
    fn datagrams_are_answered_to_whom_they_came_from() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let forward = Forward::new(Protocol::Udp, free.ip(), free.port(), server.local_addr().unwrap());
        forward.start().unwrap();
        let clients = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for (client, word) in clients.iter().zip([b"a", b"b"]) {
            client.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
            client.send_to(word, free).unwrap();
            let mut buffer = [0; 9];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&[buffer[0], b'!'], from).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], [word[0], b'!']);
        }
    }
}
