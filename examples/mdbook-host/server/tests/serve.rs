//! The whole server over real sockets, in this process, on ports of its own.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mdbook_server::http::MAX_HEAD;
use mdbook_server::server::{QUEUE, Server, WORKERS};
use mdbook_server::site::Site;

/// A directory with these files, made afresh.
fn directory(name: &str, files: &[(&str, &str)]) -> io::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::create_dir_all(directory.join("hives"))?;
    for (file, text) in files {
        fs::write(directory.join(file), text)?;
    }
    Ok(directory)
}

/// Starts a server that lasts as long as the test process.
fn serve(directory: &Path) -> io::Result<SocketAddr> {
    let site = Site::open(directory)?;
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), site)?;
    let address = server.address()?;
    thread::spawn(move || server.run());
    Ok(address)
}

struct Client(BufReader<TcpStream>);

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client(BufReader::new(stream)))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    fn receive(&mut self, with_body: bool) -> io::Result<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let mut response = Response {
            status: head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0),
            head,
            body: Vec::new(),
        };
        let length = response.field("Content-Length").parse().unwrap_or(0);
        if with_body {
            response.body.resize(length, 0);
            self.0.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    fn ask(&mut self, method: &str, path: &str) -> io::Result<Response> {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: skep\r\n\r\n"))?;
        self.receive(method != "HEAD")
    }

    /// Whether the server has ended the connection and nothing is left on it.
    fn is_at_end(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

impl Response {
    fn field(&self, name: &str) -> &str {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }
}

#[test]
fn pages_are_served_and_an_edit_shows_at_once() {
    let files =
        [("index.html", "<p>start"), ("404.html", "<p>lost"), ("book.css", "p {}"), ("hives/index.html", "<p>hives")];
    let book = directory("pages", &files).unwrap();
    let address = serve(&book).unwrap();

    // All on one connection.
    let mut client = Client::connect(address).unwrap();
    for (path, status, body, content_type) in [
        ("/", 200, "<p>start", "text/html; charset=utf-8"),
        ("/book.css?v=1", 200, "p {}", "text/css; charset=utf-8"),
        ("/hives/", 200, "<p>hives", "text/html; charset=utf-8"),
        ("/nothing", 404, "<p>lost", "text/html; charset=utf-8"),
    ] {
        let response = client.ask("GET", path).unwrap();
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.body, body.as_bytes(), "{path}");
        assert_eq!(response.field("Content-Type"), content_type, "{path}");
        assert_eq!(response.field("Cache-Control"), "no-cache", "{path}");
        assert!(response.field("Last-Modified").ends_with(" GMT"), "{path}");
    }
    let response = client.ask("GET", "/hives").unwrap();
    assert_eq!((response.status, response.field("Location")), (301, "/hives/"));
    let response = client.ask("HEAD", "/").unwrap();
    assert_eq!((response.status, response.field("Content-Length")), (200, "8"));

    // Edits: in place and by renaming, shorter and longer, within one second.
    for text in ["<p>edited", "<p>", "<p>edited a second time"] {
        fs::write(book.join("index.html"), text).unwrap();
        assert_eq!(client.ask("GET", "/").unwrap().body, text.as_bytes());
    }
    fs::write(book.join("new"), "<p>renamed").unwrap();
    fs::rename(book.join("new"), book.join("index.html")).unwrap();
    assert_eq!(client.ask("GET", "/").unwrap().body, b"<p>renamed");
}

#[test]
fn requests_may_follow_each_other_without_waiting() {
    let address = serve(&directory("pipeline", &[("a", "A"), ("b", "B")]).unwrap()).unwrap();
    let mut client = Client::connect(address).unwrap();
    let both = "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (first, second) = both.split_at(50); // in the middle of the second head
    client.send(first).unwrap();
    assert_eq!(client.receive(true).unwrap().body, b"A");
    client.send(second).unwrap();
    let response = client.receive(true).unwrap();
    assert_eq!(response.body, b"B");
    assert_eq!(response.field("Connection"), "close");
    assert!(client.is_at_end());
}

#[test]
fn a_refusal_is_answered_and_ends_the_connection() {
    let address = serve(&directory("refusals", &[("index.html", "")]).unwrap()).unwrap();
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * MAX_HEAD));
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("\0\u{1}\u{7f}\r\n\r\n", 400),
        (long.as_str(), 431),
    ] {
        let mut client = Client::connect(address).unwrap();
        client.send(request).unwrap();
        let response = client.receive(true).unwrap();
        assert_eq!(response.status, status, "{request:?}");
        assert_eq!(response.field("Connection"), "close", "{request:?}");
        if status == 405 {
            assert_eq!(response.field("Allow"), "GET, HEAD");
        }
        assert!(client.is_at_end(), "{request:?}");
    }
}

#[test]
fn a_body_is_never_taken_for_a_request() {
    let address = serve(&directory("body", &[("a", "A"), ("b", "B")]).unwrap()).unwrap();
    let mut client = Client::connect(address).unwrap();
    client.send("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.receive(true).unwrap().body, b"A");
    assert!(client.is_at_end());
}

#[test]
fn too_many_at_once_are_turned_away_and_the_rest_served_later() {
    let address = serve(&directory("crowd", &[("index.html", "in")]).unwrap()).unwrap();
    // Whoever was answered once and may ask again occupies a worker ...
    let mut served: Vec<Client> = Vec::new();
    for _ in 0..WORKERS {
        let mut client = Client::connect(address).unwrap();
        assert_eq!(client.ask("GET", "/").unwrap().status, 200);
        served.push(client);
    }
    // ... so these fill the queue, and there is no place for the next one. More
    // than one is tried: on a slow machine the first workers may be free again.
    let queued: Vec<Client> = (0..QUEUE).map(|_| Client::connect(address).unwrap()).collect();
    let mut late: Vec<Client> = (0..2 * WORKERS).map(|_| Client::connect(address).unwrap()).collect();
    let mut answers = late.iter_mut().map(|client| client.receive(true));
    assert!(answers.any(|answer| answer.is_ok_and(|r| r.status == 503)));
    drop((served, queued, late));
    // With the crowd gone there is room again.
    let mut tries = (0..1000).map(|_| Client::connect(address)?.ask("GET", "/"));
    assert!(tries.any(|answer| answer.is_ok_and(|r| r.status == 200)));
}
