//! HTTP/1.1 (RFC 9110, 9112), as much as a reader of static files needs.
//!
//! Strict where leniency has led to trouble: lines end in CRLF, no folded
//! header lines, no white space before a colon. No function here panics,
//! whatever the bytes.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Longest request head that is read, in bytes, with the empty line at its end.
pub const MAX_HEAD: usize = 8 * 1024;

/// A status code with its phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16, pub &'static str);

#[allow(missing_docs, reason = "the names are the protocol's")]
impl Status {
    pub const OK: Status = Status(200, "OK");
    pub const MOVED_PERMANENTLY: Status = Status(301, "Moved Permanently");
    pub const BAD_REQUEST: Status = Status(400, "Bad Request");
    pub const NOT_FOUND: Status = Status(404, "Not Found");
    pub const METHOD_NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
    pub const REQUEST_TIMEOUT: Status = Status(408, "Request Timeout");
    pub const HEAD_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    pub const INTERNAL_ERROR: Status = Status(500, "Internal Server Error");
    pub const UNAVAILABLE: Status = Status(503, "Service Unavailable");
    pub const VERSION_NOT_SUPPORTED: Status = Status(505, "HTTP Version Not Supported");
}

/// What to look up and how to answer: all that is kept of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `HEAD`: the same answer as to `GET`, without its body.
    pub head_only: bool,
    /// The decoded path.
    pub path: UrlPath,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
}

/// A path that can only point downwards: no segment is empty, `.` or `..`, and
/// none holds a slash or a NUL.
#[derive(Debug, PartialEq, Eq)]
pub struct UrlPath {
    /// The names, percent-decoded; not necessarily UTF-8.
    pub segments: Vec<Vec<u8>>,
    /// Whether a slash ends the path, that is, whether a directory is meant.
    pub slash: bool,
}

/// Where the request head that begins `bytes` ends, if all of it is there.
/// Nothing before `from` is looked at again.
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(from + at + 4)
}

impl Request {
    /// Parses a request head, from the request line to the empty line.
    ///
    /// An error is the status to answer; the connection is to be closed then.
    pub fn parse(head: &[u8]) -> Result<Request, Status> {
        let text = head
            .strip_suffix(b"\r\n\r\n")
            .and_then(|head| std::str::from_utf8(head).ok())
            .ok_or(Status::BAD_REQUEST)?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or("").split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Status::BAD_REQUEST);
        };
        if !is_token(method) {
            return Err(Status::BAD_REQUEST);
        }
        let mut keep_alive = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ if version.starts_with("HTTP/") => return Err(Status::VERSION_NOT_SUPPORTED),
            _ => return Err(Status::BAD_REQUEST),
        };
        let mut hosts = 0;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Status::BAD_REQUEST)?;
            let value = value.trim_matches([' ', '\t']);
            if !is_token(name) || value.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return Err(Status::BAD_REQUEST);
            }
            if name.eq_ignore_ascii_case("host") {
                hosts += 1;
            } else if name.eq_ignore_ascii_case("connection") {
                keep_alive &= !value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
            } else if name.eq_ignore_ascii_case("transfer-encoding")
                || (name.eq_ignore_ascii_case("content-length") && value != "0")
            {
                // The body is not read, so it must not pass for the next request.
                keep_alive = false;
            }
        }
        if hosts > 1 || (hosts == 0 && version == "HTTP/1.1") {
            return Err(Status::BAD_REQUEST);
        }
        let head_only = match method {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Status::METHOD_NOT_ALLOWED),
        };
        Ok(Request { head_only, path: UrlPath::parse(target).ok_or(Status::BAD_REQUEST)?, keep_alive })
    }
}

impl UrlPath {
    /// Takes the path out of a request target, decoded. A `..`, a slash or a
    /// NUL hidden by percent-encoding, and a broken encoding are all refused.
    pub fn parse(target: &str) -> Option<UrlPath> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let path = match strip_scheme(target) {
            // `http://host/path`, the form that proxies are sent.
            Some(rest) => rest.find(['/', '?', '#']).map_or("/", |at| &rest[at..]),
            None => target.starts_with('/').then_some(target)?,
        };
        let path = path.split(['?', '#']).next().unwrap_or("");
        let mut segments = Vec::new();
        let mut slash = true;
        for raw in path.split('/') {
            let segment = percent_decode(raw)?;
            slash = matches!(&segment[..], b"" | b".");
            if segment == b".." || segment.iter().any(|byte| matches!(byte, b'/' | 0)) {
                return None;
            }
            if !slash {
                segments.push(segment);
            }
        }
        Some(UrlPath { segments, slash })
    }

    /// The path as a directory's, encoded again. It starts with exactly one
    /// slash, so a redirection to it stays on this server.
    pub fn as_directory(&self) -> String {
        let mut out = String::from("/");
        for segment in &self.segments {
            for &byte in segment {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    let _ = write!(out, "%{byte:02X}"); // a String cannot fail
                }
            }
            out.push('/');
        }
        out
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| &target[SCHEME.len()..])
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            _ => byte,
        });
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn is_token(text: &str) -> bool {
    let symbol = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || symbol(b))
}

/// The head of a response; the body follows it on the wire.
#[derive(Debug)]
pub struct ResponseHead {
    /// The answer.
    pub status: Status,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Length`: also of the body that an answer to `HEAD` leaves out.
    pub length: u64,
    /// `Last-Modified`.
    pub modified: Option<SystemTime>,
    /// `Location`, of a redirection.
    pub location: Option<String>,
    /// Whether the connection stays open.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// The head for a body of `length` bytes, with nothing optional in it.
    pub fn new(status: Status, content_type: &'static str, length: u64) -> ResponseHead {
        ResponseHead { status, content_type, length, modified: None, location: None, keep_alive: false }
    }

    /// The head's bytes, with the empty line at its end. `now` is the `Date`.
    pub fn to_bytes(&self, now: SystemTime) -> Vec<u8> {
        let Status(code, phrase) = self.status;
        let mut lines = vec![
            format!("HTTP/1.1 {code} {phrase}"),
            format!("Date: {}", http_date(now)),
            format!("Content-Type: {}", self.content_type),
            format!("Content-Length: {}", self.length),
            // An edit is to show at once, so every view asks again. The answer
            // is always whole, never 304: a date has only whole seconds and
            // would hide the second edit within one.
            "Cache-Control: no-cache".to_string(),
            "X-Content-Type-Options: nosniff".to_string(),
        ];
        lines.extend(self.modified.map(|at| format!("Last-Modified: {}", http_date(at))));
        lines.extend(self.location.as_ref().map(|to| format!("Location: {to}")));
        if self.status == Status::METHOD_NOT_ALLOWED {
            lines.push("Allow: GET, HEAD".to_string());
        }
        if self.status == Status::UNAVAILABLE {
            lines.push("Retry-After: 1".to_string());
        }
        if !self.keep_alive {
            lines.push("Connection: close".to_string());
        }
        let mut head = lines.join("\r\n");
        head.push_str("\r\n\r\n");
        head.into_bytes()
    }
}

/// A time as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. Times before
/// 1970 become 1970; times after 9999, which the format cannot hold, 9999.
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let seconds =
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs().min(LAST_SECOND_OF_9999);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years counted from 1 March 0000, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(march_month >= 10);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, Status> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn requests() {
        const BAD: Result<(bool, &str, bool), Status> = Err(Status::BAD_REQUEST);
        // request head → (head_only, path, keep_alive) or the refusal
        #[rustfmt::skip]
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok((false, "/", true))),
            ("HEAD /a HTTP/1.1\r\nhost:a\r\n\r\n", Ok((true, "/a", true))),
            ("GET /a HTTP/1.0\r\n\r\n", Ok((false, "/a", false))),
            ("GET /a?q=/../ HTTP/1.0\r\n\r\n", Ok((false, "/a", false))),
            ("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", Ok((false, "/b", true))),
            ("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n", Ok((false, "/", true))),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", Ok((false, "/", false))),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Ok((false, "/", true))),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Ok((false, "/", false))),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Ok((false, "/", false))),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", Ok((false, "/", true))),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Status::METHOD_NOT_ALLOWED)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Err(Status::METHOD_NOT_ALLOWED)),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Err(Status::METHOD_NOT_ALLOWED)),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(Status::VERSION_NOT_SUPPORTED)),
            ("GET / HTTP/1.1\r\n\r\n", BAD), // no Host
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", BAD),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET / \r\n\r\n", BAD),
            ("GET /\r\n\r\n", BAD),
            ("GET a HTTP/1.0\r\n\r\n", BAD),
            ("GET /\u{e9} HTTP/1.0\r\n\r\n", BAD),
            ("GET /.. HTTP/1.0\r\n\r\n", BAD),
            ("GET / HTTP/1.0\r\n", BAD),
            ("\r\n\r\n", BAD),
            ("", BAD),
        ];
        for (head, expected) in table {
            let expected = expected.map(|(head_only, path, keep_alive)| Request {
                head_only,
                path: UrlPath::parse(path).unwrap(),
                keep_alive,
            });
            assert_eq!(parse(head), expected, "{head:?}");
        }
    }

    #[test]
    fn paths() {
        // request target → the decoded names, with a slash at the end if it has one
        for (target, expected) in [
            ("/", Some("/")),
            ("/a", Some("a")),
            ("/a/", Some("a/")),
            ("/a/.", Some("a/")),
            ("//a//./b", Some("a/b")),
            ("/a%20b", Some("a b")),
            ("/%C3%a9", Some("é")),
            ("/%252e%252e", Some("%2e%2e")),
            ("/...", Some("...")),
            ("/a#b", Some("a")),
            ("/?/..", Some("/")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/b", None),
            ("/.%2E", None),
            ("/a%2fb", None),
            ("/a%00", None),
            ("/%", None),
            ("/%4", None),
            ("/%g0", None),
            ("/%+1", None),
            ("", None),
        ] {
            let parsed = UrlPath::parse(target).map(|path| {
                let mut text = path.segments.join(&b'/');
                text.extend(path.slash.then_some(b'/'));
                String::from_utf8(text).unwrap()
            });
            assert_eq!(parsed.as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn a_redirection_stays_here_and_is_one_line() {
        for (target, directory) in
            [("//example.org", "/example.org/"), ("/a%0d%0aX:y", "/a%0D%0AX%3Ay/"), ("/\\b", "/%5Cb/")]
        {
            assert_eq!(UrlPath::parse(target).unwrap().as_directory(), directory);
        }
    }

    #[test]
    fn ends_of_heads() {
        assert_eq!(head_end(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(head_end(b"a\r\n\r\nb", 1), Some(5));
        assert_eq!(head_end(b"a\r\n\r\nb", 2), None);
        assert_eq!(head_end(b"\n\n", 0), None);
        assert_eq!(head_end(b"", 7), None);
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (900_000_000_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(http_date(time), text);
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(http_date(before), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn a_refused_method_names_the_allowed_ones() {
        let head = ResponseHead::new(Status::METHOD_NOT_ALLOWED, "text/plain", 0);
        let text = String::from_utf8(head.to_bytes(SystemTime::UNIX_EPOCH)).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"));
    }

    /// Every prefix, and many one- and two-byte changes, of a real request.
    #[test]
    fn no_bytes_make_the_parser_panic() {
        let seed = b"GET http://h/a%2e/b?c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64; // xorshift, always the same run
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for end in 0..=seed.len() {
            let _ = Request::parse(&seed[..end]);
            let _ = Request::parse(&[&seed[..end], b"\r\n\r\n"].concat());
        }
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..2 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            if let Ok(request) = Request::parse(&bytes) {
                for segment in &request.path.segments {
                    assert!(!segment.is_empty() && segment != b"." && segment != b"..");
                    assert!(!segment.contains(&b'/') && !segment.contains(&0));
                }
            }
        }
    }
}
