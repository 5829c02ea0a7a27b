//! Which addresses may be called. A webhook must not reach what only this server's network can reach.
//!
//! The address that is connected to is judged, so a name that resolves otherwise later, or any spelling of an address, gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks whose addresses are not public, by RFC 6890 and its successors.
const RESERVED_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// Parts of 2000::/3, the rest of which is public: among them Teredo and 6to4, which embed IPv4 addresses.
const RESERVED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Returns true if an address may be called: it is public, or in one of the networks that are allowed.
#[must_use]
pub fn is_allowed(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = effective(address);
    is_public(address) || allowed.iter().any(|network| network.contains(&address))
}

/// Returns the IPv4 address that an IPv6 address leads to, if it embeds one.
fn effective(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [.., a, b, c, d] = v6.octets();
    if v6.to_ipv4_mapped().is_some() || is_in(NAT64.into(), 96, address) {
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => {
            !RESERVED_V4.iter().any(|(network, prefix)| is_in((*network).into(), *prefix, address))
        }
        IpAddr::V6(_) => {
            is_in(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into(), 3, address)
                && !RESERVED_V6.iter().any(|(network, prefix)| is_in((*network).into(), *prefix, address))
        }
    }
}

fn is_in(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    IpNet::new(network, prefix).is_ok_and(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_and_allowed_networks_may_be_called() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("8.8.8.8", true),
            ("223.255.255.255", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.1.2.3", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::1.1.1.1", true),
            ("64:ff9b:1::1.1.1.1", false),
            ("2002:7f00:1::", false),
            ("2002:101:101::", false),
            ("2001:0:101:101::", false),
            ("2001:db8::1", false),
            ("2606:4700:4700::1111", true),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("100::1", false),
            ("4000::1", false),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(is_allowed(parsed, &[]), public, "{address}");
        }
    }

    #[test]
    fn an_allowed_network_contains_the_address_in_any_form() {
        let allowed: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()];
        for (address, is_in) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("64:ff9b::10.1.2.3", true),
            ("::1", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_allowed(address.parse().unwrap(), &allowed), is_in, "{address}");
        }
    }
}
