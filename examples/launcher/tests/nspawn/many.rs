//! Many machines at once: what the host has afterwards is what it had before.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use skep_tests::{HostState, Scratch};

use crate::boot::Machine;
use crate::stand::{debian, has, is_root, rules, skip, turn};

/// An init of a few lines: it says that it is ready, and ends when it is asked to halt.
const INIT: &str = r#"#!/usr/bin/perl
use Socket;
$SIG{NUM37} = sub { exit 0 };
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
send($s, "READY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!";
sleep 1000 while 1;
"#;

/// Boots and stops `count` of them at once, each with what leaves most on a host: ids,
/// a pair of interfaces, and a published port or a zone.
fn boot_and_stop(count: u16, tree: &Path, more: &[&str]) {
    let (host, filter, begin) = (HostState::look(), rules(), Instant::now());
    let mut all: Vec<Machine> = (0..count)
        .map(|nth| {
            let port = format!("--port={}:80", 21000 + nth);
            let zone = format!("--network-zone=many{}", nth % 4);
            let network = if nth % 2 == 0 { ["--network-veth", &port] } else { ["--network-veth", &zone] };
            Machine::boot(tree, &[&["-x", "--private-users=pick"], &network[..], more].concat())
        })
        .collect();
    for machine in &mut all {
        machine.until_heard("READY=1");
    }
    let ready = begin.elapsed();
    let names: std::collections::BTreeSet<u32> = all.iter().map(Machine::leader).collect();
    assert_eq!(names.len(), usize::from(count));
    all.iter().for_each(Machine::ask_to_stop);
    for machine in &mut all {
        assert_eq!(machine.end(), Some(0), "{}", machine.name);
    }
    println!("{count} of {}: ready after {ready:?}, all gone after {:?}", tree.display(), begin.elapsed());
    drop(all);
    host.assert_unchanged();
    assert_eq!(rules(), filter);
}

#[test]
fn fifty_machines_at_once_leave_nothing() {
    let _turn = turn();
    if !is_root() {
        return skip("the profile nspawn is root's");
    }
    if !has("perl") {
        return skip("perl is not installed");
    }
    let scratch = Scratch::new();
    let tree = scratch.tree();
    std::fs::write(tree.join("etc/os-release"), "ID=test\n").unwrap();
    let init = scratch.file("init", INIT);
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)).unwrap();
    // What comes with the host's /usr would be taken before the tree's own.
    let systemd = ["/usr/lib/systemd/systemd", "/usr/sbin/init"].into_iter().find(|path| Path::new(path).exists());
    let bind = match systemd {
        Some(path) => format!("--bind-ro={}:{path}", init.display()),
        None => {
            std::fs::remove_file(tree.join("sbin")).unwrap();
            std::fs::create_dir(tree.join("sbin")).unwrap();
            format!("--bind-ro={}:/sbin/init", init.display())
        }
    };
    boot_and_stop(50, &tree, &["--bind-ro=/usr", &bind]);
}

/// So many as `$SKEP_MANY` says; few where nobody has asked for more.
#[test]
fn debian_machines_at_once_leave_nothing() {
    let _turn = turn();
    let tree = match debian() {
        Ok(tree) => tree,
        Err(why) => return skip(&why),
    };
    let count: u16 = std::env::var("SKEP_MANY").map_or(3, |text| text.parse().expect("$SKEP_MANY is a number"));
    // Each systemd and what it starts take some; the kernel counts those of one user.
    let file = "/proc/sys/fs/inotify/max_user_instances";
    let most: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    if u32::from(count) * 6 + 32 > most {
        return skip(&format!("fs.inotify.max_user_instances is {most}, too few for {count} machines"));
    }
    boot_and_stop(count, &tree, &[]);
}
