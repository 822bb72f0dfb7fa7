//! The story that the guide tells: a Debian machine with Apache serves a book.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use skep_tests::{HostState, Scratch};

use crate::boot::Machine;
use crate::stand::{SKEP, apache, rules, skip, turn, until};

/// What the host answers on this port.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn skep(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(SKEP).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).trim().to_owned())
}

/// Each file below, with its length and when it was changed.
fn files(directory: &Path, found: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let data = entry.metadata().unwrap();
        if data.is_dir() {
            files(&entry.path(), found);
        }
        found.insert(entry.path(), (data.len(), data.modified().unwrap()));
    }
}

#[test]
fn a_machine_with_apache_serves_the_book_and_leaves_nothing() {
    let _turn = turn();
    let tree = match apache() {
        Ok(tree) => tree,
        Err(why) => return skip(&why),
    };
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../mdbook-host/book");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scratch = Scratch::new();
    let ports = scratch.file("ports.conf", &format!("Listen 127.0.0.1:{port}\n"));
    let site = format!("<VirtualHost 127.0.0.1:{port}>\n    DocumentRoot /var/www/mdbook\n</VirtualHost>\n");
    let site = scratch.file("mdbook.conf", &site);
    let (host, filter, mut before) = (HostState::look(), rules(), BTreeMap::new());
    files(&tree, &mut before);

    let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
    let mut machine = Machine::boot(
        &tree,
        &[
            "--ephemeral",
            &bind(Path::new(book), "/var/www/mdbook"),
            &bind(&ports, "/etc/apache2/ports.conf"),
            &bind(&site, "/etc/apache2/sites-enabled/000-default.conf"),
        ],
    );
    machine.until_heard("READY=1");
    let name = machine.name.clone();
    assert!(until(60, || get(port, "/").is_some()), "{}", machine.exec(&["systemctl", "status", "apache2"]));
    let answer = get(port, "/index.html").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Server: Apache"), "{head}");
    assert_eq!(body, std::fs::read_to_string(format!("{book}/index.html")).unwrap());

    let (code, status) = skep(&["exec", &name, "--", "systemctl", "status", "--no-pager", "apache2"]);
    assert!(code == Some(0) && status.contains("Active: active (running)"), "{code:?}: {status}");
    let (code, list) = skep(&["list"]);
    let line = list.lines().find(|line| line.starts_with(&name)).unwrap_or_default();
    assert!(code == Some(0) && line.contains("running"), "{list}");
    // Nothing inside writes into the book, whoever it is.
    let (code, said) = skep(&["exec", &name, "--", "touch", "/var/www/mdbook/index.html"]);
    assert!(code == Some(1) && said.contains("Read-only file system"), "{code:?}: {said}");

    let space = std::fs::read_link(format!("/proc/{}/ns/pid", machine.leader())).unwrap();
    assert_eq!(skep(&["stop", &name]), (Some(0), String::new()));
    assert_eq!(machine.end(), Some(0));
    drop(machine);
    host.assert_unchanged();
    assert_eq!(rules(), filter);
    assert!(!skep(&["list"]).1.contains(&name));
    assert!(get(port, "/").is_none(), "somebody still answers");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = all.filter(|entry| std::fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link == space));
    assert_eq!(inside.count(), 0, "processes of the machine go on");
    let mut after = BTreeMap::new();
    files(&tree, &mut after);
    assert!(before == after, "the tree was written to");
}
