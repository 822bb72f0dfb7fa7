//! Interfaces, addresses and routes, by rtnetlink(7).
//!
//! Compiled into stage B as well, for the child and the watcher: no allocation, no
//! panic. Sources: netlink(7), rtnetlink(7), netdevice(7), kernel
//! `include/uapi/linux/if_link.h` and `net/core/rtnetlink.c`.

use core::ffi::CStr;

use crate::errno::Errno;
use crate::linux::{Word, ask, close};
use crate::raw::nr;

/// Messages of rtnetlink.
mod rtm {
    pub(super) const NEWLINK: u16 = 16;
    pub(super) const DELLINK: u16 = 17;
    pub(super) const GETLINK: u16 = 18;
    pub(super) const SETLINK: u16 = 19;
    pub(super) const NEWADDR: u16 = 20;
    pub(super) const NEWROUTE: u16 = 24;
    #[cfg(not(skep_stage))]
    pub(super) const DELADDR: u16 = 21;
    #[cfg(not(skep_stage))]
    pub(super) const GETADDR: u16 = 22;
    #[cfg(not(skep_stage))]
    pub(super) const GETROUTE: u16 = 26;
    #[cfg(not(skep_stage))]
    pub(super) const NEWNSID: u16 = 88;
    #[cfg(not(skep_stage))]
    pub(super) const GETNSID: u16 = 90;
    pub(super) const NEWLINKPROP: u16 = 108;
}

/// Attributes of a link.
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18 | NESTED;
    pub(super) const IFALIAS: u16 = 20;
    #[cfg(not(skep_stage))]
    pub(super) const AF_SPEC: u16 = 26 | NESTED;
    pub(super) const NET_NS_FD: u16 = 28;
    pub(super) const EXT_MASK: u16 = 29;
    #[cfg(not(skep_stage))]
    pub(super) const LINK_NETNSID: u16 = 37;
    pub(super) const NEW_IFINDEX: u16 = 49;
    pub(super) const PROP_LIST: u16 = 52 | NESTED;
    pub(super) const ALT_IFNAME: u16 = 53;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2 | NESTED;
    /// NLA_F_NESTED
    pub(super) const NESTED: u16 = 0x8000;
}

const ACK: u16 = 0x1 | 0x4;
const CREATE: u16 = ACK | 0x400;
const EXCLUSIVE: u16 = CREATE | 0x200;
const DUMP: u16 = 0x1 | 0x300;
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// One message in the making. What does not fit makes it one that is not sent.
pub(crate) struct Message {
    bytes: [u8; Self::SIZE],
    length: usize,
    whole: bool,
}

impl Message {
    const SIZE: usize = 768;

    fn of(kind: u16, flags: u16) -> Self {
        let mut message = Self { bytes: [0; Self::SIZE], length: 0, whole: true };
        message.put(&[0; 4]);
        message.put(&kind.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        // The sequence number; the port is the kernel's to fill in.
        message.put(&1_u32.to_ne_bytes());
        message.put(&[0; 4]);
        message
    }

    /// A message about a link: `struct ifinfomsg`.
    fn link(kind: u16, flags: u16, index: u32) -> Self {
        let mut message = Self::of(kind, flags);
        message.info(index);
        message
    }

    fn info(&mut self, index: u32) {
        self.put(&[0; 4]);
        self.put(&index.to_ne_bytes());
        self.put(&[0; 8]);
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.length..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.length = self.length.wrapping_add(bytes.len());
            }
            None => self.whole = false,
        }
    }

    /// Attributes begin at multiples of four.
    fn pad(&mut self) {
        while !self.length.is_multiple_of(4) && self.whole {
            self.put(&[0]);
        }
    }

    fn attribute(&mut self, kind: u16, content: &[u8]) {
        let at = self.open(kind);
        self.put(content);
        self.close(at);
    }

    fn name(&mut self, kind: u16, name: &CStr) {
        self.attribute(kind, name.to_bytes_with_nul());
    }

    fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_ne_bytes());
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.length;
        self.put(&[0; 2]);
        self.put(&kind.to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        let length = self.length.wrapping_sub(at) as u16;
        if let Some(place) = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..2)) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.pad();
    }

    /// The bytes, with their length in front.
    fn finish(&mut self) -> Result<&[u8], Errno> {
        let length = (self.length as u32).to_ne_bytes();
        match self.bytes.get_mut(..4) {
            Some(place) if self.whole => place.copy_from_slice(&length),
            _ => return Err(Errno::EMSGSIZE),
        }
        self.bytes.get(..self.length).ok_or(Errno::EMSGSIZE)
    }
}

/// A kernel's answer, message by message.
pub(crate) struct Answer<'b> {
    pub(crate) rest: &'b [u8],
}

impl<'b> Iterator for Answer<'b> {
    type Item = (u16, &'b [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(*self.rest.first_chunk::<4>()?) as usize;
        let kind = u16::from_ne_bytes(*self.rest.get(4..)?.first_chunk::<2>()?);
        if length < HEADER {
            return None;
        }
        // A long one may have been cut off: its first attributes are there.
        let end = length.min(self.rest.len());
        let content = self.rest.get(HEADER..end)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    }
}

/// The first attribute of a kind.
pub(crate) fn find(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk::<2>()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk::<2>()?);
        let content = rest.get(4..length)?;
        if kind & !ifla::NESTED == wanted & !ifla::NESTED {
            return Some(content);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// MSG_DONTWAIT
const AT_ONCE: u64 = 0x40;

pub(crate) fn receive(socket: i32, buffer: &mut [u8], flags: u64) -> Result<usize, Errno> {
    let (address, length) = (buffer.as_mut_ptr().expose_provenance() as u64, buffer.len() as u64);
    let words = [
        Word::descriptor(socket),
        Word::number(address),
        Word::number(length),
        Word::number(flags),
        Word::NULL,
        Word::NULL,
    ];
    loop {
        match ask(nr::RECVFROM, words) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Sends `content`. An answer that nobody waited for (its asker was killed) is
/// thrown away before.
pub(crate) fn send(socket: i32, content: &[u8]) -> Result<(), Errno> {
    let mut old = [0_u8; 32];
    while receive(socket, &mut old, AT_ONCE).is_ok() {}
    crate::message::send(socket, content, None)
}

/// Waits for `count` acknowledgements: the first error is the answer.
pub(crate) fn acknowledged(socket: i32, count: usize) -> Result<(), Errno> {
    let mut buffer = [0_u8; 1024];
    let mut left = count;
    while left > 0 {
        let length = receive(socket, &mut buffer, 0)?;
        for (_, content) in
            (Answer { rest: buffer.get(..length).unwrap_or_default() }).filter(|(kind, _)| *kind == NLMSG_ERROR)
        {
            match content.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)) {
                Some(0) => left = left.wrapping_sub(1),
                Some(errno) => return Err(Errno::from_raw(errno.unsigned_abs() as u16)),
                None => return Err(Errno::EBADMSG),
            }
        }
    }
    Ok(())
}

fn ask_for(socket: i32, mut message: Message) -> Result<(), Errno> {
    send(socket, message.finish()?)?;
    acknowledged(socket, 1)
}

/// The number of an interface. An alternative name is as good, but for the longer
/// ones.
fn index(socket: i32, name: &CStr) -> Result<u32, Errno> {
    let mut request = [0_u8; 40];
    let text = name.to_bytes();
    let Some(place) = request.get_mut(..text.len()).filter(|_| text.len() < 16) else {
        return Found::by_name(socket, name).map(|found| found.index);
    };
    place.copy_from_slice(text);
    // SIOCGIFINDEX
    ask(nr::IOCTL, [Word::descriptor(socket), Word::number(0x8933), Word::of_mut(&mut request)])?;
    let number = request.get(16..).and_then(|rest| rest.first_chunk::<4>());
    number.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::EBADMSG)
}

/// The one message of a kind that answers a request.
fn answer(socket: i32, mut message: Message, wanted: u16, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    send(socket, message.finish()?)?;
    let length = receive(socket, buffer, 0)?;
    match (Answer { rest: buffer.get(..length).unwrap_or_default() }).next() {
        Some((kind, content)) if kind == wanted => Ok(content),
        Some((NLMSG_ERROR, content)) => Err(error_of(content)),
        _ => Err(Errno::EBADMSG),
    }
}

/// What NLMSG_ERROR says, where it is no acknowledgement that was asked for.
pub(crate) fn error_of(content: &[u8]) -> Errno {
    let errno = content.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes).unsigned_abs());
    if errno == 0 { Errno::EBADMSG } else { Errno::from_raw(errno as u16) }
}

/// What RTM_GETLINK says of one.
struct Found {
    index: u32,
    name: [u8; 16],
    alias: [u8; 256],
    alias_length: usize,
}

impl Found {
    fn by_name(socket: i32, name: &CStr) -> Result<Self, Errno> {
        let mut message = Message::link(rtm::GETLINK, ACK, 0);
        let long = name.count_bytes() > 15;
        message.name(if long { ifla::ALT_IFNAME } else { ifla::IFNAME }, name);
        Self::ask(socket, message)
    }

    fn by_index(socket: i32, index: u32) -> Result<Self, Errno> {
        Self::ask(socket, Message::link(rtm::GETLINK, ACK, index))
    }

    #[inline(never)]
    fn ask(socket: i32, mut message: Message) -> Result<Self, Errno> {
        // RTEXT_FILTER_SKIP_STATS
        message.number(ifla::EXT_MASK, 8);
        let mut buffer = [0_u8; 4096];
        Self::read(answer(socket, message, rtm::NEWLINK, &mut buffer)?).ok_or(Errno::EBADMSG)
    }

    fn read(content: &[u8]) -> Option<Self> {
        let index = u32::from_ne_bytes(*content.get(4..)?.first_chunk::<4>()?);
        let attributes = content.get(16..)?;
        let mut found = Self { index, name: [0; 16], alias: [0; 256], alias_length: 0 };
        let name = find(attributes, ifla::IFNAME)?;
        found.name.get_mut(..name.len())?.copy_from_slice(name);
        if let Some(alias) = find(attributes, ifla::IFALIAS) {
            let alias = alias.strip_suffix(b"\0").unwrap_or(alias);
            found.alias.get_mut(..alias.len())?.copy_from_slice(alias);
            found.alias_length = alias.len();
        }
        Some(found)
    }

    /// Its first name, without the alternative ones.
    fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn alias(&self) -> &[u8] {
        self.alias.get(..self.alias_length).unwrap_or_default()
    }
}

/// An interface to be made.
#[cfg(not(skep_stage))]
pub(crate) struct Link<'a> {
    pub(crate) kind: &'a CStr,
    pub(crate) name: &'a CStr,
    pub(crate) address: &'a [u8],
    pub(crate) lower: &'a CStr,
    pub(crate) peer: &'a CStr,
    pub(crate) peer_address: &'a [u8],
    pub(crate) namespace: Option<i32>,
    pub(crate) alias: &'a CStr,
}

#[cfg(not(skep_stage))]
impl Link<'_> {
    fn address(message: &mut Message, address: &[u8]) {
        if !address.is_empty() {
            message.attribute(ifla::ADDRESS, address);
        }
    }

    fn message(&self, lower: Option<u32>) -> Message {
        /// VETH_INFO_PEER, IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE
        const FIRST: u16 = 1;
        let namespace = |message: &mut Message| {
            if let Some(file) = self.namespace {
                message.number(ifla::NET_NS_FD, file as u32);
            }
        };
        let veth = self.kind == c"veth";
        let mut message = Message::link(rtm::NEWLINK, EXCLUSIVE, 0);
        message.name(ifla::IFNAME, self.name);
        Self::address(&mut message, self.address);
        if let Some(index) = lower {
            message.number(ifla::LINK, index);
        }
        if !veth {
            namespace(&mut message);
        }
        let info = message.open(ifla::LINKINFO);
        message.name(ifla::INFO_KIND, self.kind);
        let data = message.open(ifla::INFO_DATA);
        match self.kind.to_bytes() {
            b"veth" => {
                let peer = message.open(FIRST | ifla::NESTED);
                message.info(0);
                message.name(ifla::IFNAME, self.peer);
                Self::address(&mut message, self.peer_address);
                namespace(&mut message);
                message.close(peer);
            }
            // MACVLAN_MODE_BRIDGE
            b"macvlan" => message.number(FIRST, 4),
            // IPVLAN_MODE_L2
            b"ipvlan" => message.attribute(FIRST, &0_u16.to_ne_bytes()),
            _ => {}
        }
        message.close(data);
        message.close(info);
        message
    }

    /// Makes it, and lets it say whose it is. Not in one write: where there is one of
    /// this name already, the kernel would go on to the second message.
    pub(crate) fn add(&self, socket: i32) -> Result<(), Errno> {
        let lower = if self.lower.is_empty() { None } else { Some(index(socket, self.lower)?) };
        ask_for(socket, self.message(lower))?;
        if self.alias.is_empty() {
            return Ok(());
        }
        let named = index(socket, self.name).and_then(|index| {
            let mut alias = Message::link(rtm::SETLINK, ACK, index);
            alias.attribute(ifla::IFALIAS, self.alias.to_bytes());
            ask_for(socket, alias)
        });
        named.and_then(|()| no_advertisements(self.name)).inspect_err(|_| _ = remove(socket, self.name, c""))
    }
}

/// Whoever is in a container is no router of the host's: `accept_ra` of an interface of
/// this network namespace. Nothing where there is no IPv6.
#[cfg(not(skep_stage))]
fn no_advertisements(name: &CStr) -> Result<(), Errno> {
    let name = name.to_str().map_err(|_| Errno::EINVAL)?;
    let path =
        std::ffi::CString::new(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra")).map_err(|_| Errno::EINVAL)?;
    // O_WRONLY|O_CLOEXEC; RESOLVE_NO_SYMLINKS
    let how = crate::abi::OpenHow { flags: 0o1 | 0o2_000_000, mode: 0, resolve: 0x4 };
    let file = match crate::linux::openat2(Word::CWD, &path, &how) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let proof = crate::op::Proof::FileSystem { magic: crate::abi::fs_magic::PROC };
    crate::linux::prove(file, proof).inspect_err(|_| close(file))?;
    crate::linux::write_and_close(file, b"0")
}

/// Removes an interface that says of itself what `alias` is, or any where that is
/// empty. Gone, or another's by now, is no error.
pub(crate) fn remove(socket: i32, name: &CStr, alias: &CStr) -> Result<(), Errno> {
    let found = match Found::by_name(socket, name) {
        Err(Errno::ENODEV) => return Ok(()),
        other => other?,
    };
    if !alias.is_empty() && found.alias() != alias.to_bytes() {
        return Ok(());
    }
    match ask_for(socket, Message::link(rtm::DELLINK, ACK, found.index)) {
        Err(Errno::ENODEV) => Ok(()),
        other => other,
    }
}

/// IFLA_ALT_IFNAME: one name more.
pub(crate) fn alternative(socket: i32, name: &CStr, alternative: &CStr) -> Result<(), Errno> {
    let mut message = Message::link(rtm::NEWLINKPROP, EXCLUSIVE | 0x800, index(socket, name)?);
    let list = message.open(ifla::PROP_LIST);
    message.name(ifla::ALT_IFNAME, alternative);
    message.close(list);
    ask_for(socket, message)
}

/// Puts an interface under a bridge.
#[cfg(not(skep_stage))]
pub(crate) fn master(socket: i32, name: &CStr, master: &CStr) -> Result<(), Errno> {
    let mut message = Message::link(rtm::SETLINK, ACK, index(socket, name)?);
    message.number(ifla::MASTER, index(socket, master)?);
    ask_for(socket, message)
}

/// IFLA_INET_CONF: an option that `net.ipv4.conf.NAME` has.
#[cfg(not(skep_stage))]
pub(crate) fn option(socket: i32, name: &CStr, option: u8, value: u32) -> Result<(), Errno> {
    /// IFLA_INET_CONF
    const CONF: u16 = 1 | ifla::NESTED;
    let mut message = Message::link(rtm::SETLINK, ACK, index(socket, name)?);
    let all = message.open(ifla::AF_SPEC);
    let family = message.open(u16::from(AF_INET) | ifla::NESTED);
    let conf = message.open(CONF);
    message.number(u16::from(option), value);
    message.close(conf);
    message.close(family);
    message.close(all);
    ask_for(socket, message)
}

/// Where an interface goes, and what it is called and numbered there.
pub(crate) struct Destination<'a> {
    pub(crate) namespace: i32,
    pub(crate) name: &'a CStr,
    /// 0: its own number, if that is free there.
    pub(crate) index: u32,
}

/// Moves an interface into another namespace: that with the number `from`, or with
/// the name where that is 0.
pub(crate) fn move_to(socket: i32, name: &CStr, from: u32, to: &Destination<'_>) -> Result<(), Errno> {
    let found = if from == 0 { Found::by_name(socket, name)? } else { Found::by_index(socket, from)? };
    let mut message = Message::link(rtm::SETLINK, ACK, found.index);
    message.number(ifla::NET_NS_FD, to.namespace as u32);
    if to.index != 0 {
        message.number(ifla::NEW_IFINDEX, to.index);
    }
    if !to.name.is_empty() && to.name.to_bytes() != found.name() {
        message.name(ifla::IFNAME, to.name);
    }
    ask_for(socket, message)
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn family(address: &[u8]) -> Result<u8, Errno> {
    match address.len() {
        4 => Ok(AF_INET),
        16 => Ok(AF_INET6),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Gives an interface an address; `shared` with its prefix's route, and kept where
/// it is there already.
pub(crate) fn address(socket: i32, name: &CStr, address: &[u8], prefix: u8, shared: bool) -> Result<(), Errno> {
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    const FLAGS: u16 = 8;
    // IFA_F_NODAD: it is used at once. IFA_F_NOPREFIXROUTE
    let flags = 0x2 | if shared { 0 } else { 0x200 };
    let mut message = Message::of(rtm::NEWADDR, EXCLUSIVE);
    message.put(&[family(address)?, prefix, 0, 0]);
    message.put(&index(socket, name)?.to_ne_bytes());
    message.attribute(LOCAL, address);
    message.attribute(ADDRESS, address);
    message.number(FLAGS, flags);
    match ask_for(socket, message) {
        Err(Errno::EEXIST) if shared => Ok(()),
        other => other,
    }
}

/// A route to a network over an interface, exclusively: EEXIST where there is one
/// to it already.
pub(crate) fn route(socket: i32, name: &CStr, to: &[u8], prefix: u8, gateway: &[u8]) -> Result<(), Errno> {
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const GATEWAY: u16 = 5;
    const MAIN: u8 = 254;
    /// RTPROT_STATIC
    const STATIC: u8 = 4;
    /// RT_SCOPE_LINK, which a route without a gateway has.
    const LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let scope = if gateway.is_empty() { LINK } else { 0 };
    let mut message = Message::of(rtm::NEWROUTE, EXCLUSIVE);
    message.put(&[family(to)?, prefix, 0, 0, MAIN, STATIC, scope, UNICAST, 0, 0, 0, 0]);
    if prefix != 0 {
        message.attribute(DESTINATION, to);
    }
    message.number(INTERFACE, index(socket, name)?);
    if !gateway.is_empty() {
        message.attribute(GATEWAY, gateway);
    }
    ask_for(socket, message)
}

/// A lock file, held until it is dropped.
struct Locked(i32);

impl Drop for Locked {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// How often a lock that somebody holds is asked for again, a millisecond apart.
const TRIES: u32 = 5000;

/// The lock under which bridges of zones come and go (flock(2)). The file stays, as
/// with systemd-nspawn, whose it is too.
fn lock(path: &CStr) -> Result<Locked, Errno> {
    // O_RDWR|O_CREAT|O_NOFOLLOW|O_NOCTTY|O_CLOEXEC
    let flags = 0o2 | 0o100 | 0o400_000 | 0o400 | 0o2_000_000;
    let how = crate::abi::OpenHow { flags, mode: 0o600, resolve: 0x2 };
    let file = Locked(crate::linux::openat2(Word::CWD, path, &how)?);
    for _ in 0..TRIES {
        // LOCK_EX|LOCK_NB
        match ask(nr::FLOCK, [Word::descriptor(file.0), Word::number(2 | 4)]) {
            Err(Errno::EAGAIN) => crate::groups::pause(),
            Err(Errno::EINTR) => {}
            other => return other.map(|_| file),
        }
    }
    Err(Errno::ETIMEDOUT)
}

/// Puts an interface under the bridge of a zone, which is made if it is not there.
#[cfg(not(skep_stage))]
pub(crate) fn join_zone(socket: i32, bridge: &CStr, port: &CStr, lock_file: &CStr, alias: &CStr) -> Result<(), Errno> {
    let _held = lock(lock_file)?;
    let none: &[u8] = &[];
    let link = Link {
        kind: c"bridge",
        name: bridge,
        address: none,
        lower: c"",
        peer: c"",
        peer_address: none,
        namespace: None,
        alias,
    };
    let made = match link.add(socket) {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    };
    made.and_then(|()| crate::linux::link_up(Word::descriptor(socket), bridge))
        .and_then(|()| master(socket, port, bridge))
        .inspect_err(|_| {
            let _ = leave(socket, bridge);
        })
}

/// Removes an interface from the bridge of a zone, and the bridge with its last.
pub(crate) fn leave_zone(socket: i32, bridge: &CStr, port: &CStr, lock_file: &CStr, alias: &CStr) -> Result<(), Errno> {
    let _held = lock(lock_file)?;
    if !port.is_empty() {
        remove(socket, port, alias)?;
    }
    leave(socket, bridge)
}

fn leave(socket: i32, bridge: &CStr) -> Result<(), Errno> {
    let index = match index(socket, bridge) {
        Err(Errno::ENODEV) => return Ok(()),
        other => other?,
    };
    if has_ports(socket, index)? {
        return Ok(());
    }
    ask_for(socket, Message::link(rtm::DELLINK, ACK, index))
}

/// Whether a link has this one for its master.
#[inline(never)]
fn has_ports(socket: i32, bridge: u32) -> Result<bool, Errno> {
    let mut message = Message::link(rtm::GETLINK, DUMP, 0);
    message.number(ifla::MASTER, bridge);
    message.number(ifla::EXT_MASK, 8);
    send(socket, message.finish()?)?;
    let mut buffer = [0_u8; 4096];
    let mut found = false;
    loop {
        let length = receive(socket, &mut buffer, 0)?;
        for (kind, content) in (Answer { rest: buffer.get(..length).unwrap_or_default() }) {
            match kind {
                rtm::NEWLINK => {
                    // An old kernel does not filter.
                    let attributes = content.get(16..).unwrap_or_default();
                    let of = find(attributes, ifla::MASTER).and_then(|bytes| bytes.first_chunk::<4>());
                    found |= of.is_some_and(|bytes| u32::from_ne_bytes(*bytes) == bridge);
                }
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(Errno::EIO),
                _ => {}
            }
        }
    }
}

/// `socket(2)`, AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC.
pub(crate) fn socket(protocol: u8) -> [Word<'static>; 3] {
    [Word::number(16), Word::number(3 | 0o2_000_000), Word::number(u64::from(protocol))]
}

/// An address of an interface.
#[cfg(not(skep_stage))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct InterfaceAddress {
    /// The address.
    pub address: std::net::IpAddr,
    /// `RT_SCOPE_*` of rtnetlink(7).
    pub scope: u8,
    /// Whether it can be used: duplicates of it were looked for, and not found.
    pub usable: bool,
}

/// How often is asked again for what changes meanwhile.
#[cfg(not(skep_stage))]
const AGAIN: u32 = 8;

/// The addresses of all interfaces of the network that a socket of rtnetlink is in.
/// What it was told of by then, by a group that it is in, is thrown away.
///
/// # Errors
///
/// What the kernel answered.
#[cfg(not(skep_stage))]
pub fn addresses(socket: std::os::fd::BorrowedFd<'_>) -> Result<Vec<InterfaceAddress>, Errno> {
    let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let mut buffer = vec![0_u8; 32 << 10];
    let mut found = Vec::new();
    for _ in 0..AGAIN {
        let mut message = Message::of(rtm::GETADDR, DUMP);
        // struct ifaddrmsg, of any family
        message.put(&[0; 8]);
        send(socket, message.finish()?)?;
        found.clear();
        if dump(socket, &mut buffer, &mut found)? {
            break;
        }
    }
    Ok(found)
}

/// Reads addresses to the end; whether none has changed meanwhile.
#[cfg(not(skep_stage))]
fn dump(socket: i32, buffer: &mut [u8], found: &mut Vec<InterfaceAddress>) -> Result<bool, Errno> {
    /// NLM_F_MULTI, without which it is no part of an answer; NLM_F_DUMP_INTR
    const MULTI: u16 = 0x2;
    const INTERRUPTED: u16 = 0x10;
    let mut same = true;
    loop {
        let length = match receive(socket, buffer, 0) {
            // It was told of more than it holds.
            Err(Errno::ENOBUFS) => {
                same = false;
                continue;
            }
            other => other?,
        };
        let mut answer = Answer { rest: buffer.get(..length).unwrap_or_default() };
        loop {
            let flags = answer.rest.get(6..).and_then(|rest| rest.first_chunk::<2>());
            let flags = flags.map_or(0, |bytes| u16::from_ne_bytes(*bytes));
            let Some((kind, content)) = answer.next() else { break };
            same &= flags & INTERRUPTED == 0;
            match kind {
                NLMSG_DONE => return Ok(same),
                NLMSG_ERROR => return Err(error_of(content)),
                rtm::NEWADDR if flags & MULTI != 0 => found.extend(interface_address(content)),
                rtm::NEWADDR | rtm::DELADDR => same = false,
                _ => {}
            }
        }
    }
}

#[cfg(not(skep_stage))]
fn interface_address(content: &[u8]) -> Option<InterfaceAddress> {
    /// IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const FLAGS: u16 = 8;
    /// IFA_F_DADFAILED, IFA_F_TENTATIVE
    const NOT_YET: u32 = 0x8 | 0x40;
    let (header, attributes) = (content.get(..8)?, content.get(8..)?);
    let bytes = find(attributes, LOCAL).or_else(|| find(attributes, ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(std::net::IpAddr::from);
    let address = v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(std::net::IpAddr::from))?;
    let flags = find(attributes, FLAGS).and_then(|bytes| bytes.first_chunk::<4>());
    let flags = flags.map_or(u32::from(header[2]), |bytes| u32::from_ne_bytes(*bytes));
    Some(InterfaceAddress { address, scope: header[3], usable: flags & NOT_YET == 0 })
}

/// The number of the interface over which is sent to an address.
///
/// # Errors
///
/// What the kernel answered: ENETUNREACH where there is no route.
#[cfg(not(skep_stage))]
pub fn interface_to(socket: std::os::fd::BorrowedFd<'_>, address: std::net::IpAddr) -> Result<u32, Errno> {
    /// RTA_DST, RTA_OIF
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const NEWROUTE: u16 = rtm::NEWROUTE;
    let (family, bytes) = match address {
        std::net::IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        std::net::IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut message = Message::of(rtm::GETROUTE, 1);
    // struct rtmsg
    message.put(&[family, (bytes.len() as u8).wrapping_mul(8), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.attribute(DESTINATION, &bytes);
    let mut buffer = [0_u8; 4096];
    let content = answer(std::os::fd::AsRawFd::as_raw_fd(&socket), message, NEWROUTE, &mut buffer)?;
    let found = content.get(12..).and_then(|attributes| find(attributes, INTERFACE)?.first_chunk::<4>());
    found.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Errno::ENETUNREACH)
}

/// The number of an interface.
///
/// # Errors
///
/// What the kernel answered: ENODEV where there is none of that name.
#[cfg(not(skep_stage))]
pub fn interface_number(socket: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<u32, Errno> {
    index(std::os::fd::AsRawFd::as_raw_fd(&socket), name)
}

/// The first name of an interface that may be named by a further one.
///
/// # Errors
///
/// What the kernel answered: ENODEV where there is none of that name.
#[cfg(not(skep_stage))]
pub fn interface_name(socket: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    // Of a short name the number is asked for first: IFLA_IFNAME finds no further names
    // on older kernels.
    let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
    Ok(Found::by_index(socket, index(socket, name)?)?.name().to_vec())
}

/// What this network calls the one that the other end of an interface is in; `None`
/// where that is this one, or there is no other end.
///
/// # Errors
///
/// What the kernel answered: ENODEV where there is none of that name.
#[cfg(not(skep_stage))]
pub fn network_of_peer(socket: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<Option<i32>, Errno> {
    let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let mut message = Message::link(rtm::GETLINK, ACK, index(socket, name)?);
    // RTEXT_FILTER_SKIP_STATS
    message.number(ifla::EXT_MASK, 8);
    let mut buffer = [0_u8; 4096];
    let content = answer(socket, message, rtm::NEWLINK, &mut buffer)?;
    let found = content.get(16..).and_then(|attributes| find(attributes, ifla::LINK_NETNSID)?.first_chunk::<4>());
    Ok(found.map(|bytes| i32::from_ne_bytes(*bytes)).filter(|number| *number >= 0))
}

/// What this network calls another; `None` where it has no name for it.
///
/// # Errors
///
/// What the kernel answered.
#[cfg(not(skep_stage))]
pub fn number_of_network(
    socket: std::os::fd::BorrowedFd<'_>,
    network: std::os::fd::BorrowedFd<'_>,
) -> Result<Option<i32>, Errno> {
    /// NETNSA_NSID, NETNSA_FD
    const NUMBER: u16 = 1;
    const FILE: u16 = 3;
    let mut message = Message::of(rtm::GETNSID, 1);
    // struct rtgenmsg
    message.put(&[0; 4]);
    message.number(FILE, std::os::fd::AsRawFd::as_raw_fd(&network) as u32);
    let mut buffer = [0_u8; 256];
    let content = answer(std::os::fd::AsRawFd::as_raw_fd(&socket), message, rtm::NEWNSID, &mut buffer)?;
    let found = content.get(4..).and_then(|attributes| find(attributes, NUMBER)?.first_chunk::<4>());
    Ok(found.map(|bytes| i32::from_ne_bytes(*bytes)).filter(|number| *number >= 0))
}
