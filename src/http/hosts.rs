//! The host names that clients may use for this server.
//!
//! With DNS rebinding, a page in a browser on this machine can reach a server on 127.0.0.1 under the page's own name. The `Host`
//! header reveals this: the browser writes that name there.

use std::net::IpAddr;

use super::error::ApiError;

/// The names that the `Host` of a request may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Any name.
    Any,
    /// The names of loopback, and these, in lower case and without ports.
    Loopback(Vec<String>),
}

impl Hosts {
    /// Returns the names of a server that listens at `bound`, and those in `allowed`. On an address other than
    /// loopback, any name is allowed unless some are given; `*` allows any.
    #[must_use]
    pub fn of(bound: &str, allowed: &[String]) -> Self {
        let bare = bound.trim_start_matches('[').trim_end_matches(']');
        let listed = allowed.iter().map(|host| name_of(host).to_ascii_lowercase());
        let mut listed: Vec<_> = listed.filter(|host| !host.is_empty()).collect();
        if listed.iter().any(|host| host == "*") || (listed.is_empty() && !is_loopback(bare)) {
            return Self::Any;
        }
        listed.push(bound.to_ascii_lowercase());
        Self::Loopback(listed)
    }

    /// Checks that a request with this `Host` is meant for this server.
    ///
    /// # Errors
    /// [`ApiError::WrongHost`] if it is not.
    pub(super) fn check(&self, host: Option<&[u8]>) -> Result<(), ApiError> {
        let (Self::Loopback(names), Some(host)) = (self, host) else { return Ok(()) };
        let host = String::from_utf8_lossy(host);
        let name = name_of(host.trim());
        if is_loopback(name) || names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return Ok(());
        }
        Err(ApiError::WrongHost { host: name.chars().take(253).collect() })
    }
}

/// Returns a host without its port, and without the brackets of an IPv6 address.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => match host.rsplit_once(':') {
            // An IPv6 address without brackets has several.
            Some((name, _)) if !name.contains(':') => name,
            _ => host,
        },
    }
}

/// Returns true for `localhost` and its subdomains, which never leave a machine (RFC 6761).
fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let below = name.len().checked_sub("localhost".len()).and_then(|cut| name.split_at_checked(cut));
    let is_localhost = below.is_some_and(|(below, localhost)| {
        localhost.eq_ignore_ascii_case("localhost") && (below.is_empty() || below.ends_with('.'))
    });
    is_localhost || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_a_page_of_another_name_is_refused() {
        let hosts = Hosts::of("127.0.0.1", &[]);
        for (host, right) in [
            ("localhost", true),
            ("LOCALHOST:8001", true),
            ("localhost.:8001", true),
            ("registry.localhost:8001", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8001", true),
            ("127.1.2.3:8001", true),
            ("[::1]:8001", true),
            ("::1", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.example", false),
            ("evil.example:8001", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("", false),
            ("caf\u{e9}", false),
        ] {
            assert_eq!(hosts.check(Some(host.as_bytes())).is_ok(), right, "{host}");
        }
        // A browser always names a host.
        assert!(hosts.check(None).is_ok());
        assert!(hosts.check(Some(b"\xff")).is_err());
    }

    #[test]
    fn allowed_names_are_added_and_other_addresses_allow_any() {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Hosts::of("0.0.0.0", &[]), Hosts::Any);
        assert_eq!(Hosts::of("::", &[]), Hosts::Any);
        assert_eq!(Hosts::of("127.0.0.1", &own(&["*"])), Hosts::Any);
        for (bound, allowed, host, right) in [
            ("127.0.0.1", &["ML.example.org"][..], "ml.example.org:443", true),
            ("::1", &["ml.example.org:8001"], "ml.example.org", true),
            ("localhost", &[], "evil.example", false),
            ("10.0.0.5", &["ml.example.org"], "ml.example.org", true),
            ("10.0.0.5", &["ml.example.org"], "10.0.0.5:8001", true),
            ("10.0.0.5", &["ml.example.org"], "evil.example", false),
        ] {
            let hosts = Hosts::of(bound, &own(allowed));
            assert_eq!(hosts.check(Some(host.as_bytes())).is_ok(), right, "{bound} {allowed:?} {host}");
        }
    }
}
