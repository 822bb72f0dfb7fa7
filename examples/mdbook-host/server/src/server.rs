//! The listener, the workers, and the limits in time and number.
//!
//! One thread accepts; [`WORKERS`] threads answer, each one connection at a
//! time. No client can make more threads, hold more than a bounded amount of
//! memory, or keep a worker for longer than [`CONNECTION_LIMIT`].

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::http::{self, Request, ResponseHead, Status};
use crate::site::{Found, Page, Site};

/// Threads that answer requests.
pub const WORKERS: usize = 8;

/// Accepted connections that wait for a worker; the next one is answered 503.
pub const QUEUE: usize = 64;

/// How long a whole connection may last.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(60);

/// How long an open connection may stay silent. Short, because a browser keeps
/// half a dozen of them open, and each occupies a worker.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// How long a request's head may take from its first byte to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long one write may wait for the client to take bytes.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";

/// A listening socket and the site to serve on it.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    site: Arc<Site>,
}

impl Server {
    /// Listens: from here on clients can connect, and wait for [`Server::run`].
    pub fn bind(address: SocketAddr, site: Site) -> io::Result<Server> {
        Ok(Server { listener: TcpListener::bind(address)?, site: Arc::new(site) })
    }

    /// The address with the real port, if port 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends; returns only if a worker cannot start.
    pub fn run(self) -> io::Result<Infallible> {
        let (sender, receiver) = sync_channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..WORKERS {
            let receiver = Arc::clone(&receiver);
            let site = Arc::clone(&self.site);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || work(&receiver, &site))?;
        }
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => match sender.try_send(stream) {
                    Ok(()) => {}
                    Err(TrySendError::Full(stream) | TrySendError::Disconnected(stream)) => {
                        turn_away(stream);
                    }
                },
                // The client's own doing; the next one may be waiting already.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                // Most likely out of descriptors: some become free in a moment.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

fn work(receiver: &Mutex<Receiver<TcpStream>>, site: &Site) {
    loop {
        // The lock ends with the statement: only the waiting is done in turns.
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // A connection that broke concerns its client only.
            Ok(stream) => drop(Connection::new(stream).converse(site)),
            Err(_) => return,
        }
    }
}

/// Answers 503 without waiting for anything: this is the accepting thread.
fn turn_away(mut stream: TcpStream) {
    let (head, body) = plain(Status::UNAVAILABLE);
    let bytes = [&head.to_bytes(SystemTime::now())[..], body.as_bytes()].concat();
    if stream.set_nonblocking(true).is_ok() {
        // Unread bytes at the closing would turn the answer into a reset.
        let _ = stream.read(&mut [0; http::MAX_HEAD]);
        let _ = stream.write_all(&bytes);
    }
}

/// The answer that consists of the status alone.
fn plain(status: Status) -> (ResponseHead, String) {
    let body = format!("{} {}\n", status.0, status.1);
    (ResponseHead::new(status, TEXT, body.len() as u64), body)
}

/// What came where a request was expected.
enum Incoming {
    Head(Vec<u8>),
    Refused(Status),
    Closed,
}

enum Body {
    File(Page),
    Text(String),
}

struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not yet used: the beginning of a request.
    buffer: Vec<u8>,
    until: Instant,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection { stream, buffer: Vec::new(), until: Instant::now() + CONNECTION_LIMIT }
    }

    /// Answers one request after the other until either side wants no more.
    fn converse(mut self, site: &Site) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            let request = match self.read_head()? {
                Incoming::Head(head) => Request::parse(&head),
                Incoming::Refused(status) => Err(status),
                Incoming::Closed => return Ok(()),
            };
            let keep_alive = match request {
                Ok(request) => {
                    let (mut head, body) = answer(site, &request);
                    head.keep_alive = request.keep_alive;
                    self.respond(&head, (!request.head_only).then_some(body))?;
                    request.keep_alive
                }
                Err(status) => {
                    let (head, body) = plain(status);
                    self.respond(&head, Some(Body::Text(body)))?;
                    false
                }
            };
            if !keep_alive {
                return self.close();
            }
        }
    }

    /// Reads up to the end of a request's head, which may be in the buffer
    /// already if the client did not wait for the answer before.
    fn read_head(&mut self) -> io::Result<Incoming> {
        let mut searched: usize = 0;
        let mut limit = Instant::now() + IDLE_LIMIT;
        let mut started = false;
        loop {
            if let Some(end) = http::head_end(&self.buffer, searched.saturating_sub(3)) {
                if end > http::MAX_HEAD {
                    return Ok(Incoming::Refused(Status::HEAD_TOO_LARGE));
                }
                let rest = self.buffer.split_off(end);
                return Ok(Incoming::Head(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.buffer.len() >= http::MAX_HEAD {
                return Ok(Incoming::Refused(Status::HEAD_TOO_LARGE));
            }
            if !started && !self.buffer.is_empty() {
                started = true;
                limit = Instant::now() + HEAD_LIMIT;
            }
            searched = self.buffer.len();
            let mut chunk = [0; 2048];
            match self.read(&mut chunk, limit) {
                Ok(0) => return Ok(Incoming::Closed),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(e) if !is_timeout(&e) => return Err(e),
                Err(_) if started => return Ok(Incoming::Refused(Status::REQUEST_TIMEOUT)),
                Err(_) => return Ok(Incoming::Closed),
            }
        }
    }

    fn respond(&mut self, head: &ResponseHead, body: Option<Body>) -> io::Result<()> {
        let mut bytes = head.to_bytes(SystemTime::now());
        match body {
            None => self.write_all(&bytes),
            Some(Body::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                self.write_all(&bytes)
            }
            Some(Body::File(page)) => {
                self.write_all(&bytes)?;
                self.write_file(page)
            }
        }
    }

    /// Writes exactly as many bytes as the head announced, even if the file
    /// grows meanwhile; if it shrinks, only closing the connection can say so.
    fn write_file(&mut self, page: Page) -> io::Result<()> {
        let mut source = page.file.take(page.length);
        let mut left = page.length;
        let mut chunk = vec![0; 32 * 1024];
        while left > 0 {
            let length = match source.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.write_all(&chunk[..length])?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Ends the connection so that the last answer arrives: bytes of the client
    /// that nobody reads would make the kernel reset it.
    fn close(mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let limit = Instant::now() + Duration::from_secs(1);
        let mut chunk = [0; 4096];
        for _ in 0..64 {
            if self.read(&mut chunk, limit)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, chunk: &mut [u8], limit: Instant) -> io::Result<usize> {
        loop {
            let left = time_left(limit.min(self.until))?;
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(chunk) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = time_left(self.until)?.min(WRITE_LIMIT);
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn answer(site: &Site, request: &Request) -> (ResponseHead, Body) {
    let (status, page) = match site.find(&request.path) {
        Ok(Found::Page(page)) => (Status::OK, Some(page)),
        Ok(Found::Missing) => (Status::NOT_FOUND, site.not_found_page()),
        Ok(Found::NeedsSlash) => (Status::MOVED_PERMANENTLY, None),
        Err(e) => {
            let path = request.path.as_directory();
            let _ = writeln!(io::stderr(), "mdbook-server: {path}: {e}");
            (Status::INTERNAL_ERROR, None)
        }
    };
    match page {
        Some(page) => {
            let mut head = ResponseHead::new(status, page.content_type, page.length);
            head.modified = page.modified;
            (head, Body::File(page))
        }
        None => {
            let (mut head, body) = plain(status);
            if status == Status::MOVED_PERMANENTLY {
                head.location = Some(request.path.as_directory());
            }
            (head, Body::Text(body))
        }
    }
}

/// The time until `limit`; a socket takes no timeout of zero.
fn time_left(limit: Instant) -> io::Result<Duration> {
    let left = limit.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn is_timeout(error: &io::Error) -> bool {
    // A socket's own timeout comes as EAGAIN.
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
