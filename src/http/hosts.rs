//! By which names this server may be called.
//!
//! A page in a browser on this machine can reach a server that listens here only, under a name of its own that it lets lead to
//! 127.0.0.1 (DNS rebinding). The `Host` header tells it apart: there the browser writes the page's name.

use std::net::IpAddr;

use super::error::ApiError;

/// The names that a request's `Host` may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Whatever it is.
    Any,
    /// Those of this machine's loopback, and these, in lower case and without ports.
    Loopback(Vec<String>),
}

impl Hosts {
    /// Where the server listens at `bound`, and may be called by `allowed` too. On other addresses than loopback's any name
    /// is right unless some are given; `*` allows any.
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

    /// Whether a request with this `Host` is meant for this server.
    ///
    /// # Errors
    /// [`ApiError::WrongHost`] where not.
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

/// A host without its port, and without the brackets of an IPv6 address.
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

/// `localhost` and what lies below it never leave a machine, by RFC 6761.
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
    fn names_that_are_allowed_come_on_top_and_elsewhere_any_is_right() {
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
