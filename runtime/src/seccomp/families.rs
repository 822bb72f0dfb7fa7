//! Names and numbers of socket families (`linux/socket.h`,
//! `address_families(7)`).

/// By number; those that share one stand beside it, the usual name first.
#[rustfmt::skip]
const FAMILIES: &[(u8, &str)] = &[
    (1, "AF_UNIX"), (1, "AF_LOCAL"), (2, "AF_INET"), (3, "AF_AX25"), (4, "AF_IPX"), (5, "AF_APPLETALK"),
    (6, "AF_NETROM"), (7, "AF_BRIDGE"), (8, "AF_ATMPVC"), (9, "AF_X25"), (10, "AF_INET6"), (11, "AF_ROSE"),
    (12, "AF_DECnet"), (13, "AF_NETBEUI"), (14, "AF_SECURITY"), (15, "AF_KEY"), (16, "AF_NETLINK"),
    (16, "AF_ROUTE"), (17, "AF_PACKET"), (18, "AF_ASH"), (19, "AF_ECONET"), (20, "AF_ATMSVC"), (21, "AF_RDS"),
    (22, "AF_SNA"), (23, "AF_IRDA"), (24, "AF_PPPOX"), (25, "AF_WANPIPE"), (26, "AF_LLC"), (27, "AF_IB"),
    (28, "AF_MPLS"), (29, "AF_CAN"), (30, "AF_TIPC"), (31, "AF_BLUETOOTH"), (32, "AF_IUCV"), (33, "AF_RXRPC"),
    (34, "AF_ISDN"), (35, "AF_PHONET"), (36, "AF_IEEE802154"), (37, "AF_CAIF"), (38, "AF_ALG"), (39, "AF_NFC"),
    (40, "AF_VSOCK"), (41, "AF_KCM"), (42, "AF_QIPCRTR"), (43, "AF_SMC"), (44, "AF_XDP"), (45, "AF_MCTP"),
];

/// The number of a family.
pub(crate) fn number(name: &str) -> Option<u8> {
    FAMILIES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// Its usual name.
pub(crate) fn name(number: u8) -> Option<&'static str> {
    FAMILIES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_libcs() {
        for (name, ours) in [
            ("AF_UNIX", nix::libc::AF_UNIX),
            ("AF_LOCAL", nix::libc::AF_LOCAL),
            ("AF_INET", nix::libc::AF_INET),
            ("AF_APPLETALK", nix::libc::AF_APPLETALK),
            ("AF_X25", nix::libc::AF_X25),
            ("AF_INET6", nix::libc::AF_INET6),
            ("AF_DECnet", nix::libc::AF_DECnet),
            ("AF_KEY", nix::libc::AF_KEY),
            ("AF_NETLINK", nix::libc::AF_NETLINK),
            ("AF_ROUTE", nix::libc::AF_ROUTE),
            ("AF_PACKET", nix::libc::AF_PACKET),
            ("AF_RDS", nix::libc::AF_RDS),
            ("AF_IRDA", nix::libc::AF_IRDA),
            ("AF_PPPOX", nix::libc::AF_PPPOX),
            ("AF_WANPIPE", nix::libc::AF_WANPIPE),
            ("AF_LLC", nix::libc::AF_LLC),
            ("AF_CAN", nix::libc::AF_CAN),
            ("AF_TIPC", nix::libc::AF_TIPC),
            ("AF_BLUETOOTH", nix::libc::AF_BLUETOOTH),
            ("AF_IUCV", nix::libc::AF_IUCV),
            ("AF_RXRPC", nix::libc::AF_RXRPC),
            ("AF_PHONET", nix::libc::AF_PHONET),
            ("AF_IEEE802154", nix::libc::AF_IEEE802154),
            ("AF_CAIF", nix::libc::AF_CAIF),
            ("AF_ALG", nix::libc::AF_ALG),
            ("AF_NFC", nix::libc::AF_NFC),
            ("AF_VSOCK", nix::libc::AF_VSOCK),
            ("AF_XDP", nix::libc::AF_XDP),
        ] {
            assert_eq!(number(name).map(i32::from), Some(ours), "{name}");
        }
        for (number, _) in FAMILIES {
            assert_eq!(name(*number).and_then(super::number), Some(*number));
        }
        assert!(number("AF_UNSPEC").is_none() && name(0).is_none() && name(200).is_none());
    }
}
