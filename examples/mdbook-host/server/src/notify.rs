//! The readiness message of `sd_notify(3)`: one datagram.

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const READY: &[u8] = b"READY=1\nSTATUS=Ready.";

/// Sends `READY=1` to `$NOTIFY_SOCKET`; without that variable nobody waits and
/// nothing is sent.
pub fn ready() -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(name) => send_ready(&name),
        None => Ok(()),
    }
}

fn send_ready(name: &OsStr) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "neither an absolute path nor an abstract name (@...)",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read must not keep us from serving.
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to_addr(READY, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn path_socket() {
        let path = env::temp_dir().join(format!("mdbook-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let sent = send_ready(path.as_os_str());
        std::fs::remove_file(&path).unwrap();
        sent.unwrap();
        assert_eq!(received(&socket), READY);
    }

    #[test]
    fn abstract_socket() {
        let name = format!("mdbook-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send_ready(OsStr::new(&format!("@{name}"))).unwrap();
        assert_eq!(received(&socket), READY);
    }

    #[test]
    fn bad_names_are_errors() {
        let long = format!("/{}", "x".repeat(300));
        for name in ["", "relative", "/nonexistent/socket", long.as_str()] {
            assert!(send_ready(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
