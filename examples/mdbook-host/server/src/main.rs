//! `mdbook-server [--listen ADDR:PORT] DIRECTORY`

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use mdbook_server::notify;
use mdbook_server::server::Server;
use mdbook_server::site::Site;

const USAGE: &str = "\
Usage: mdbook-server [--listen ADDR:PORT] DIRECTORY

Serves the files below DIRECTORY over HTTP, and nothing else.

  --listen ADDR:PORT  where to listen (127.0.0.1:8085); port 0 takes any free one
  --help              this text
";

const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8085);

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Serve { listen: SocketAddr, directory: PathBuf },
}

fn main() -> ExitCode {
    let outcome = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => io::stdout().write_all(USAGE.as_bytes()).map_err(|e| e.to_string()),
        Ok(Command::Serve { listen, directory }) => serve(listen, directory),
        Err(problem) => Err(format!("{problem}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments;
    let mut listen = DEFAULT;
    let mut directory = None;
    let mut options = true;
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().filter(|_| options).unwrap_or("");
        if text == "--help" || text == "-h" {
            return Ok(Command::Help);
        } else if text == "--" {
            options = false;
        } else if text == "--listen" {
            let value = arguments.next().ok_or("--listen: ADDR:PORT must follow, such as 127.0.0.1:8085")?;
            listen = parse_listen(&value.to_string_lossy())?;
        } else if let Some(value) = text.strip_prefix("--listen=") {
            listen = parse_listen(value)?;
        } else if text.starts_with('-') {
            return Err(format!("{text}: no such option"));
        } else if directory.replace(PathBuf::from(&argument)).is_some() {
            return Err(format!("{}: only one directory can be served", argument.to_string_lossy()));
        }
    }
    let directory = directory.ok_or("DIRECTORY is missing")?;
    Ok(Command::Serve { listen, directory })
}

fn parse_listen(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| format!("--listen {value}: not ADDR:PORT; write it as 127.0.0.1:8085 or [::1]:8085"))
}

fn serve(listen: SocketAddr, directory: PathBuf) -> Result<(), String> {
    let site = Site::open(&directory).map_err(|e| {
        format!("cannot serve {}: {e}. Name the directory that holds the book's index.html.", directory.display())
    })?;
    let server = Server::bind(listen, site).map_err(|e| cannot_listen(listen, &e))?;
    let address = server.address().map_err(|e| cannot_listen(listen, &e))?;

    // The line is for people: a closed stdout must not end the service.
    let line = format!("Serving {} at http://{address}/\n", directory.display());
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);

    if let Err(e) = notify::ready() {
        complain(&format!("NOTIFY_SOCKET: cannot send READY=1: {e}"));
    }
    match server.run() {
        Ok(never) => match never {},
        Err(e) => Err(format!("cannot start the workers: {e}")),
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let way_out = match error.kind() {
        ErrorKind::AddrInUse => {
            "Another program has this port: choose another one with --listen ADDR:PORT \
             (port 0 takes any free one)."
        }
        ErrorKind::PermissionDenied => "Ports below 1024 are reserved: choose another one with --listen ADDR:PORT.",
        ErrorKind::AddrNotAvailable => {
            "No network interface here has this address: choose another one with \
             --listen ADDR:PORT (127.0.0.1 is always there)."
        }
        _ => "Choose another address or port with --listen ADDR:PORT.",
    };
    format!("cannot listen on {address}: {error}. {way_out}")
}

fn complain(problem: &str) {
    // Nobody is left to tell if stderr is gone too.
    let _ = writeln!(io::stderr(), "mdbook-server: {}", problem.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from))
    }

    fn serving(listen: &str, directory: &str) -> Result<Command, String> {
        Ok(Command::Serve { listen: listen.parse().unwrap(), directory: directory.into() })
    }

    #[test]
    fn arguments() {
        assert_eq!(parsed(&["b"]), serving("127.0.0.1:8085", "b"));
        assert_eq!(parsed(&["--listen", "[::1]:0", "b"]), serving("[::1]:0", "b"));
        assert_eq!(parsed(&["b", "--listen=10.0.0.1:80"]), serving("10.0.0.1:80", "b"));
        assert_eq!(parsed(&["--", "-b"]), serving("127.0.0.1:8085", "-b"));
        assert_eq!(parsed(&["-h"]), Ok(Command::Help));
        for wrong in [
            &[][..],
            &["a", "b"],
            &["--listen"],
            &["--listen", "8085", "b"],
            &["--listen=localhost", "b"],
            &["--port=1", "b"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let text = cannot_listen(DEFAULT, &ErrorKind::AddrInUse.into());
        assert!(text.contains("127.0.0.1:8085"), "{text}");
        assert!(text.contains("--listen"), "{text}");
    }
}
