//! The client's address: the connection's, or what a trusted proxy reports.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Parses addresses and networks, like `10.0.0.7` or `10.0.0.0/8`. Blank texts are left out.
///
/// # Errors
/// The first text that is neither.
pub fn parse_networks<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Vec<IpNet>, String> {
    let parse = |text: &'t str| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| text.to_owned())
    };
    texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).map(parse).collect()
}

/// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    /// Parses addresses and networks, like `10.0.0.7` or `10.0.0.0/8`.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        Ok(Self(parse_networks(texts)?.into()))
    }

    fn are_trusted(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns true if a trusted proxy says that the client's connection is encrypted.
    pub(super) fn is_encrypted(&self, connected: Option<SocketAddr>, head: &HeaderMap) -> bool {
        let is_https =
            head.get(FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"));
        is_https && connected.is_some_and(|peer| self.are_trusted(peer.ip().to_canonical()))
    }

    /// Returns the client of a request: the last address in the chain that is not a trusted proxy. The addresses before
    /// it may be forged.
    pub(super) fn client(&self, connected: Option<SocketAddr>, head: &HeaderMap) -> Option<IpAddr> {
        let mut client = connected?.ip().to_canonical();
        if self.0.is_empty() || !self.are_trusted(client) {
            return Some(client);
        }
        let chain: Vec<_> = head
            .get_all(FORWARDED_FOR)
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .collect();
        for hop in chain.into_iter().rev() {
            // Nothing before an invalid entry can be trusted.
            let Some(address) = address_of(hop) else { break };
            client = address;
            if !self.are_trusted(client) {
                break;
            }
        }
        Some(client)
    }
}

/// Returns an address as proxies write it: alone, with a port, or in brackets.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address = text.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    let address = address.or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_chain_is_trusted_as_far_as_trusted_proxies_wrote_it() {
        let proxies = Proxies::parse(["10.0.0.0/8", "::1", " 192.168.1.1 ", ""]).unwrap();
        for (connected, chain, client) in [
            ("203.0.113.9:1", &["198.51.100.7"][..], "203.0.113.9"),
            ("10.0.0.1:1", &[], "10.0.0.1"),
            ("10.0.0.1:1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:1", &["6.6.6.6", "198.51.100.7 , 10.2.3.4"], "198.51.100.7"),
            ("10.0.0.1:1", &["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            ("10.0.0.1:1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1:1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1:1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1:1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1:1", &["198.51.100.7, unknown, 10.2.3.4"], "10.2.3.4"),
            ("10.0.0.1:1", &[""], "10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("[::1]:1", &["198.51.100.7"], "198.51.100.7"),
            ("192.168.1.2:1", &["198.51.100.7"], "192.168.1.2"),
        ] {
            let mut head = HeaderMap::new();
            for value in chain {
                head.append(HeaderName::from_static(FORWARDED_FOR), HeaderValue::from_static(value));
            }
            let found = proxies.client(Some(connected.parse().unwrap()), &head);
            assert_eq!(found, Some(client.parse().unwrap()), "{connected} {chain:?}");
            let none = Proxies::default().client(Some(connected.parse().unwrap()), &head);
            assert_eq!(none, Some(connected.parse::<SocketAddr>().unwrap().ip().to_canonical()));
        }
        assert_eq!(Proxies::parse(["10.0.0.1", "10.0.0.0/33"]).unwrap_err(), "10.0.0.0/33");
    }
}
