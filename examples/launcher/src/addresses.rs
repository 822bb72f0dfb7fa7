//! The addresses of another network namespace, which `/proc/PID/net` tells without
//! entering it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Those of the namespace that a process is in, but for loopback; none where it is
/// this program's own.
pub(crate) fn of(pid: u32) -> Vec<String> {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let theirs = namespace(&pid.to_string());
    if theirs.is_none() || theirs == namespace("self") {
        return Vec::new();
    }
    let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let four = fourth(&text("fib_trie")).into_iter().map(|address| address.to_string());
    let six = sixth(&text("if_inet6")).into_iter().map(|address| address.to_string());
    four.chain(six).collect()
}

/// The local addresses of `fib_trie`: a leaf, and below it what it is. The trie is
/// printed once for each table.
fn fourth(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf = None;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim_start) {
        match line.strip_prefix("|-- ") {
            Some(address) => leaf = address.parse().ok(),
            None if line == "/32 host LOCAL" => found.extend(leaf.filter(|address: &Ipv4Addr| !address.is_loopback())),
            None => {}
        }
    }
    found
}

/// The addresses of `if_inet6`, 32 digits each.
fn sixth(text: &str) -> BTreeSet<Ipv6Addr> {
    let address = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok().map(Ipv6Addr::from);
    text.lines().filter_map(address).filter(|address| !address.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_prints_them() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.1.0.0/24 2 0 2\n\
                    \x20       |-- 10.1.0.0\n           /24 link UNICAST\n        |-- 10.1.0.2\n           /32 host LOCAL\n\
                    \x20       |-- 10.1.0.255\n           /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(fourth(&format!("{trie}{trie}")), [Ipv4Addr::new(10, 1, 0, 2)].into());
        let six = "00000000000000000000000000000001 01 80 10 80       lo\n\
                   fe800000000000000000000000000002 02 40 20 80     eth0\nodd\n";
        assert_eq!(sixth(six).into_iter().map(|address| address.to_string()).collect::<Vec<_>>(), ["fe80::2"]);
    }
}
