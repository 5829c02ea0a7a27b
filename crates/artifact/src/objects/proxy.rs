//! The proxies that the environment names for requests to object stores.
//!
//! `ureq` would use one proxy for all requests and knows no networks in `NO_PROXY`, so this module decides for each
//! request, as curl does.

use std::net::IpAddr;

use ipnet::IpNet;
use ureq::{
    Proxy,
    http::{Uri, uri::Scheme},
};

/// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower or upper case.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// Hosts, domains, addresses and networks that are reached directly.
    direct: Vec<String>,
}

impl Proxies {
    /// Reads the variables. A proxy that is not a URL is ignored.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| {
            let values = [variable(&name.to_ascii_lowercase()), variable(name)];
            values.into_iter().flatten().find(|text| !text.trim().is_empty())
        };
        let proxy = |name| Proxy::new(set(name).or_else(|| set("ALL_PROXY"))?.trim()).ok();
        let direct = set("NO_PROXY").unwrap_or_default();
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            direct: direct
                .split(',')
                .map(|entry| entry.trim().trim_start_matches('.').to_lowercase())
                .collect(),
        }
    }

    /// Returns the proxy for a request. Loopback and link-local addresses, such as a cloud's metadata server, have none.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<&Proxy> {
        let proxy = if uri.scheme() == Some(&Scheme::HTTPS) { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !uri.host().is_some_and(|host| self.is_direct(host)))
    }

    fn is_direct(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).to_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let is_local = match address {
            Some(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
            Some(IpAddr::V6(address)) => address.is_loopback(),
            None => host == "localhost",
        };
        let covers = |entry: &str| {
            let in_network = |net: IpNet| address.is_some_and(|address| net.contains(&address));
            let in_domain = |domain: &str| domain.is_empty() || domain.ends_with('.');
            entry == "*"
                || entry.parse().is_ok_and(in_network)
                || (!entry.is_empty() && host.strip_suffix(entry).is_some_and(in_domain))
        };
        is_local || self.direct.iter().any(|entry| covers(entry.trim_start_matches("*.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_the_proxy_of_its_scheme_unless_its_host_is_direct() {
        let proxies = Proxies::read(|name| {
            let value = match name {
                "HTTP_PROXY" => "http://plain:3128",
                "https_proxy" => "tls:3128",
                "NO_PROXY" => "direct.example, .inner.example,*.star.example,10.1.0.0/16,192.0.2.7",
                _ => return None,
            };
            Some(value.to_owned())
        });
        for (uri, expected) in [
            ("http://s3.example/b", Some("plain")),
            ("https://s3.example/b", Some("tls")),
            ("https://direct.example/b", None),
            ("https://s3.direct.example/b", None),
            ("https://indirect.example/b", Some("tls")),
            ("https://s3.inner.example/b", None),
            ("https://s3.star.example/b", None),
            ("http://10.1.2.3:9000/b", None),
            ("http://10.2.2.3:9000/b", Some("plain")),
            ("http://192.0.2.7/b", None),
            ("http://127.0.0.1:9000/b", None),
            ("http://localhost:9000/b", None),
            ("http://[::1]:9000/b", None),
            ("http://169.254.169.254/latest", None),
        ] {
            let proxy = proxies.proxy_for(&uri.parse().unwrap());
            assert_eq!(proxy.map(Proxy::host), expected, "{uri}");
        }
        let all = Proxies::read(|name| {
            let value = match name {
                "ALL_PROXY" => "http://all:1",
                "NO_PROXY" => "",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert_eq!(all.proxy_for(&"https://h/".parse().unwrap()).map(Proxy::host), Some("all"));
    }
}
