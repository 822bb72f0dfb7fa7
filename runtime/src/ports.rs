//! Published ports lead to the addresses that a container has by now.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use skep_sys::wire::Blob;
use skep_sys::{Errno, Kernel as _, Linux, Op, OwnedSlots, Slot, addresses, interface_number, interface_to};

use crate::compile::c_text;
use crate::compile::network::tables::Published;
use crate::compile::network::{ROUTE, words};
use crate::error::{Error, ErrorKind, Result};
use crate::forward::Forward;

/// What tells that a container's addresses have changed ([`crate::Container::ports`]).
///
/// Pollable by [`AsFd`]. It is no thread and no process: where nobody calls
/// [`crate::Container::follow`], ports lead where they led.
#[derive(Debug)]
pub struct Ports {
    /// In the container's network.
    socket: OwnedFd,
    published: Published,
    /// Whether tables of the kernel lead there, or [`Forward`]s alone.
    tables: bool,
    /// Whether `127.0.0.1` leads to the interface.
    routed: bool,
}

impl AsFd for Ports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// RT_SCOPE_LINK: from here on an address is no use beyond the container.
const LINK: u8 = 253;

impl Ports {
    /// In the network of process `pid`, which the caller knows to be the container's.
    pub(crate) fn of(pid: u32, published: &Published, tables: bool) -> Result<Self> {
        let failed = |errno| Error::system("listen to addresses of the container", errno);
        let network = File::open(format!("/proc/{pid}/ns/net")).map_err(|error| match error.kind() {
            // Who ends has no namespaces before it can be waited for.
            io::ErrorKind::NotFound => Error::new(ErrorKind::Ended, "the container has ended"),
            _ => failed(crate::watcher::errno_of(&error)),
        })?;
        let (network_slot, socket) = (Slot(0), Slot(1));
        let mut slots = OwnedSlots::new(2);
        slots.give(network_slot, network.into());
        // SOL_NETLINK, NETLINK_ADD_MEMBERSHIP: RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
        let member = |value| Op::SocketOption { socket, level: 270, name: 1, value };
        let open = Op::NetlinkSocket { protocol: ROUTE, namespace: Some(network_slot), into: socket };
        for op in [open, member(5), member(9)] {
            Linux::new().call(&op, &mut slots.slots()).map_err(failed)?;
        }
        let socket = slots.take(socket).ok_or_else(|| failed(Errno::EBADF))?;
        Ok(Self { socket, published: published.clone(), tables, routed: published.routes_localhost() })
    }

    /// Looks at the addresses, and has ports lead to them; whether that is a change.
    /// `net` and `tables` are the sockets that the start has left.
    pub(crate) fn follow(&mut self, net: OwnedFd, tables: Option<OwnedFd>, forwards: &[Forward]) -> Result<bool> {
        let found = addresses(self.socket.as_fd())
            .map_err(|errno| Error::system("look at the addresses of the container", errno))?;
        let found: Vec<IpAddr> = found
            .into_iter()
            .filter(|one| one.usable && one.scope < LINK)
            .map(|one| one.address)
            .filter(|address| !address.is_loopback() && !address.is_unspecified() && !address.is_multicast())
            .collect();
        let behind = match &self.published.interface {
            None => None,
            Some(interface) => match interface_number(net.as_fd(), &c_text(interface.as_bytes())?) {
                // It is gone, and with it the container, or is about to be.
                Err(Errno::ENODEV) => return Ok(false),
                other => Some(other.map_err(|errno| Error::system(format!("look at {interface}"), errno))?),
            },
        };
        // What it has it keeps, as long as it is there. Another has to be one that the
        // host reaches there: else a container could lead what is sent to its port to
        // whom it likes. From within its network it is asked as it could ask itself.
        let choose = |v4: bool| {
            let now = self.published.addresses.iter().copied().find(|address| address.is_ipv4() == v4);
            let reached = |address: &IpAddr| behind.is_none_or(|at| interface_to(net.as_fd(), *address) == Ok(at));
            now.filter(|address| found.contains(address))
                .or_else(|| found.iter().copied().find(|address| address.is_ipv4() == v4 && reached(address)))
        };
        let addresses: Vec<IpAddr> = [choose(true), choose(false)].into_iter().flatten().collect();
        let before = &self.published.addresses;
        if addresses.len() == before.len() && addresses.iter().all(|address| before.contains(address)) {
            return Ok(false);
        }
        let published = Published { addresses, ..self.published.clone() };
        if let Some(interface) = &published.interface
            && let Some(tables) = tables.filter(|_| self.tables)
        {
            let mut slots = OwnedSlots::new(2);
            slots.give(Slot(0), net);
            slots.give(Slot(1), tables);
            let mut call = |op: &Op<'_>| {
                let done = Linux::new().call(op, &mut slots.slots());
                done.map_err(|errno| Error::system("have ports lead to other addresses of the container", errno))
            };
            if published.routes_localhost() && !self.routed {
                let name = c_text(interface.as_bytes())?;
                call(&Op::LinkOption { socket: Slot(0), name: &name, option: words::ROUTE_LOCALNET, value: 1 })?;
                self.routed = true;
            }
            call(&Op::NfTables { socket: Slot(1), batch: Blob(&published.replacement()) })?;
        }
        for new in published.forwards(self.tables) {
            let same = |old: &&Forward| (old.protocol, old.from) == (new.protocol, new.from);
            forwards.iter().filter(same).for_each(|old| old.lead_to(new.to));
        }
        self.published = published;
        Ok(true)
    }
}
