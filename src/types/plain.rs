//! An IPv4 address has a second spelling in IPv6, `::ffff:192.0.2.1` (RFC 4291,
//! 2.5.5.2), and is the same host in both. Whatever comes in, from the file,
//! a resolver, a socket or a PROXY header, is made plain by these functions and
//! no others. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// Bits before the IPv4 address in its IPv6 spelling.
const MAPPED_PREFIX: u8 = 96;

/// The address in its first spelling.
pub const fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The same of an address with a port.
pub fn plain_socket(address: SocketAddr) -> SocketAddr {
    match (plain(address.ip()), address) {
        (ip @ IpAddr::V4(_), SocketAddr::V6(_)) => SocketAddr::new(ip, address.port()),
        // It may have a scope, too.
        (_, address) => address,
    }
}

/// The same of a network.
pub fn plain_network(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(it) => it
            .prefix_len()
            .checked_sub(MAPPED_PREFIX)
            .zip(it.addr().to_ipv4_mapped()),
        IpNet::V4(_) => None,
    };
    let short = mapped.and_then(|(length, ip)| Ipv4Net::new(ip, length).ok());
    short.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_an_ipv4_address_are_one() {
        for (given, plain) in [
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            // Neither is an IPv4 address in IPv6 form.
            ("::192.0.2.1", "::192.0.2.1"),
            ("64:ff9b::c000:201", "64:ff9b::c000:201"),
        ] {
            assert_eq!(super::plain(given.parse().unwrap()).to_string(), {
                let plain: IpAddr = plain.parse().unwrap();
                plain.to_string()
            });
        }
        for (given, plain) in [
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ] {
            assert_eq!(plain_socket(given.parse().unwrap()).to_string(), plain);
        }
        for (given, plain) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1/128", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(plain_network(given.parse().unwrap()).to_string(), plain);
        }
    }
}
