//! Published ports in user space: what the kernel's tables do not lead into a container.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, shutdown, socket,
    sockopt,
};
use nix::sys::stat::{FileStat, fstat, stat};

use skep_sys::{Claim, Errno};

use crate::compile::network::tables::TAKEN;
use crate::error::{Error, ErrorKind, Result};
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
    /// Inside, at the start; `None` where the container had no address then.
    pub to: Option<SocketAddr>,
    /// Whether no table of the kernel leads any of the port into the container.
    pub whole: bool,
    /// Inside by now ([`crate::Ports`]). Who asks while that is `None` is not answered.
    now: Arc<Mutex<Option<SocketAddr>>>,
    /// From where it is reached, if not from the host.
    network: Option<Arc<OwnedFd>>,
}

impl PartialEq for Forward {
    fn eq(&self, other: &Self) -> bool {
        (self.protocol, self.from, self.to) == (other.protocol, other.from, other.to)
    }
}

impl Eq for Forward {}

impl Forward {
    pub(crate) fn new(protocol: Protocol, from: SocketAddr, to: Option<SocketAddr>, whole: bool) -> Self {
        Self { protocol, from, to, whole, now: Arc::new(Mutex::new(to)), network: None }
    }

    /// Has it reach the container from within its network, to which no interface of the
    /// host leads.
    pub(crate) fn within(&mut self, network: &Arc<OwnedFd>) {
        self.network = Some(Arc::clone(network));
    }

    /// Has whoever asks from now on come to another address.
    pub(crate) fn lead_to(&self, to: Option<SocketAddr>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Begins to pass on, in threads of this process: one, two for each
    /// connection, one for each peer of UDP that was heard within a minute. Who is asked
    /// inside sees an address of the host, or, where no pair of interfaces leads to
    /// the container, its own. It ends, and the port is free again, when what this
    /// returns is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PortTaken`] where somebody listens there, with who does; else what the
    /// kernel answered: the address may not be the host's (EADDRNOTAVAIL). EINVAL where the
    /// container's network is this one.
    pub fn start(&self) -> Result<Forwarding> {
        self.begin().map_err(|error| {
            let errno = crate::watcher::errno_of(&error);
            let what = format!("pass on {}", self.from);
            if errno != Errno::EADDRINUSE {
                return Error::system(what, errno);
            }
            let udp = self.protocol == Protocol::Udp;
            let claim = Claim { udp, address: Some(self.from.ip()), port: self.from.port() };
            let listens = crate::facts::taken(&[claim]).into_iter().next();
            let whose = listens.as_ref().map_or_else(String::new, |listens| format!(": {listens}"));
            let error = Error::system(format!("{what}: the port {claim} is taken{whose}"), errno);
            error.kind_is(ErrorKind::PortTaken).remedy(listens.map_or(TAKEN, |listens| listens.remedy()))
        })
    }

    fn begin(&self) -> io::Result<Forwarding> {
        let id = |file: nix::Result<FileStat>| file.map(|stat| (stat.st_dev, stat.st_ino));
        if let Some(network) = &self.network
            && id(fstat(network))? == id(stat("/proc/thread-self/ns/net"))?
        {
            // It would pass on to itself.
            return Err(nix::Error::EINVAL.into());
        }
        let to = To { now: Arc::clone(&self.now), network: self.network.clone() };
        let (stop, stopped) = UnixStream::pair()?;
        let live = Arc::new(Live::default());
        let of_thread = Arc::clone(&live);
        let thread = match self.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from(bound(self.from, SockType::Stream)?);
                listener.set_nonblocking(true)?;
                spawn(move || connections(&listener, &stopped, &of_thread, &to))?
            }
            Protocol::Udp => {
                let socket = UdpSocket::from(bound(self.from, SockType::Datagram)?);
                socket.set_nonblocking(true)?;
                spawn(move || datagrams(&Arc::new(socket), &stopped, &to))?
            }
        };
        Ok(Forwarding { stop: Some(stop), thread: Some(thread), live })
    }
}

/// Where it leads.
#[derive(Clone)]
struct To {
    now: Arc<Mutex<Option<SocketAddr>>>,
    network: Option<Arc<OwnedFd>>,
}

impl To {
    fn now(&self) -> Option<SocketAddr> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of the network from which it is reached.
    fn socket(&self, to: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
        let family = family(to);
        Ok(match &self.network {
            Some(network) => skep_sys::socket_in(network.as_fd(), family as u16, kind as u8)
                .map_err(|errno| io::Error::from_raw_os_error(errno.raw().into()))?,
            None => socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?,
        })
    }

    /// A connection, as [`TcpStream::connect_timeout`].
    fn connection(&self) -> io::Result<TcpStream> {
        let to = self.now().ok_or(io::ErrorKind::HostUnreachable)?;
        let stream = TcpStream::from(self.socket(to, SockType::Stream)?);
        stream.set_nonblocking(true)?;
        match connect(stream.as_raw_fd(), &SockaddrStorage::from(to)) {
            Err(nix::Error::EINPROGRESS) => {
                let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                let ready = loop {
                    match poll(&mut polled, PollTimeout::from(30_000_u16)) {
                        Err(nix::Error::EINTR) => {}
                        ready => break ready?,
                    }
                };
                if ready == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                stream.take_error()?.map_or(Ok(()), Err)?;
            }
            other => other?,
        }
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// A port that is passed on, until this is dropped: connections end with it.
#[derive(Debug)]
#[must_use = "dropped, it passes nothing on"]
pub struct Forwarding {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    live: Arc<Live>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It has closed its socket by then.
        self.thread.take().map(JoinHandle::join);
        self.live.end();
    }
}

/// Connections that are passed on; none is, once the port is not.
#[derive(Debug)]
struct Live {
    next: AtomicU64,
    streams: Mutex<Option<HashMap<u64, [TcpStream; 2]>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), streams: Mutex::new(Some(HashMap::new())) }
    }
}

impl Live {
    fn add(&self, streams: [TcpStream; 2]) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.insert(number, streams);
        Some(number)
    }

    fn remove(&self, number: u64) {
        let mut all = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_mut().and_then(|all| all.remove(&number));
    }

    fn end(&self) {
        let all = self.streams.lock().unwrap_or_else(PoisonError::into_inner).take();
        all.iter().flat_map(HashMap::values).flatten().for_each(|stream| _ = stream.shutdown(Shutdown::Both));
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("skep-forward".to_owned()).stack_size(128 << 10).spawn(work)
}

/// A socket at this address. One of IPv6 is of that alone: IPv4 has its own.
fn bound(at: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let socket = socket(family(at), kind, SockFlag::SOCK_CLOEXEC, None)?;
    if at.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // Connections of a moment ago do not hold it.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::new(128)?)?;
    }
    Ok(socket)
}

/// Waits for a socket; whether to go on.
fn wait(socket: BorrowedFd<'_>, stopped: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    // An interrupted wait is one that is over.
    let _ = poll(&mut polled, PollTimeout::NONE);
    polled[1].any() != Some(true)
}

fn connections(listener: &TcpListener, stopped: &UnixStream, live: &Arc<Live>, to: &To) {
    while wait(listener.as_fd(), stopped) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (to, live) = (to.clone(), Arc::clone(live));
                let _ = spawn(move || connected(stream, &to, &live));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Too many files are open, for now.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Both directions of one connection; the end of one is passed on too.
fn connected(outside: TcpStream, to: &To, live: &Live) {
    let Ok(inside) = to.connection() else { return };
    let copies = [outside.try_clone(), inside.try_clone(), outside.try_clone(), inside.try_clone()];
    let [Ok(from), Ok(back), Ok(one), Ok(other)] = copies else { return };
    if outside.set_nonblocking(false).is_err() {
        return;
    }
    let Some(number) = live.add([one, other]) else { return };
    if let Ok(thread) = spawn(move || pass(from, back)) {
        pass(inside, outside);
        let _ = thread.join();
    }
    live.remove(number);
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

fn datagrams(outside: &Arc<UdpSocket>, stopped: &UnixStream, to: &To) {
    let peers = Arc::new(Peers::default());
    let mut buffer = vec![0; 64 << 10];
    while wait(outside.as_fd(), stopped) {
        // An answer that could not be delivered is an error of the next call (ICMP).
        let Ok((length, peer)) = outside.recv_from(&mut buffer) else { continue };
        if let Some(inside) = peer_socket(&peers, outside, peer, to) {
            let _ = inside.send(&buffer[..length]);
        }
    }
    let all = peers.lock().unwrap_or_else(PoisonError::into_inner);
    all.values().for_each(|socket| _ = shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both));
}

/// The socket by which one peer's datagrams go in, and their answers come.
fn peer_socket(peers: &Arc<Peers>, outside: &Arc<UdpSocket>, peer: SocketAddr, to: &To) -> Option<Arc<UdpSocket>> {
    let now = to.now()?;
    let mut all = peers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(&peer).filter(|known| known.peer_addr().is_ok_and(|address| address == now)) {
        return Some(Arc::clone(known));
    }
    let socket = Some(()).filter(|()| all.len() < PEERS).and_then(|()| to.socket(now, SockType::Datagram).ok())?;
    let inside = Arc::new(UdpSocket::from(socket));
    inside.connect(now).and_then(|()| inside.set_read_timeout(Some(QUIET))).ok()?;
    // The port is not held by who answers.
    let (outside, peers, socket) = (Arc::downgrade(outside), Arc::clone(peers), Arc::clone(&inside));
    let answers = move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = socket.recv(&mut buffer) {
            let Some(outside) = outside.upgrade() else { break };
            let _ = outside.send_to(&buffer[..length], peer);
        }
        let mut all = peers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&peer).is_some_and(|known| Arc::ptr_eq(known, &socket)) {
            all.remove(&peer);
        }
    };
    drop(spawn(answers).ok()?);
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
        let forward = Forward::new(Protocol::Tcp, free, listener.local_addr().ok(), true);
        let passes = forward.start().unwrap();
        let taken = forward.start().unwrap_err();
        let this = format!("process {} (", std::process::id());
        assert!(taken.kind() == ErrorKind::PortTaken && taken.to_string().contains(&this), "{taken}");
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
        // What is under way ends with it, and the port is free.
        let mut client = TcpStream::connect(free).unwrap();
        let (_server, _) = listener.accept().unwrap();
        drop(passes);
        client.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
        drop(client);
        drop(TcpListener::bind(free).unwrap());
        // Where it leads by now.
        let other = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        forward.lead_to(other.local_addr().ok());
        let _passes = forward.start().unwrap();
        let _client = TcpStream::connect(free).unwrap();
        assert!(other.accept().is_ok());
    }

    #[test]
    fn datagrams_are_answered_to_whom_they_came_from() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let forward = Forward::new(Protocol::Udp, free, server.local_addr().ok(), true);
        let passes = forward.start().unwrap();
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
        drop(passes);
        // Answers of a moment ago may still be on their way.
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while UdpSocket::bind(free).is_err() && std::time::Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(UdpSocket::bind(free).is_ok());
    }
}
