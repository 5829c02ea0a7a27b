//! URLs of registries.

use ureq::http::Uri;
use url::{Host, Url};

use crate::error::ClientError;

/// Parses the URL of a registry. Error texts contain no password.
///
/// # Errors
/// [`ClientError::BadUrl`] if `text` is not a plain http or https URL.
pub fn parse_base_url(text: &str) -> Result<Url, ClientError> {
    // The text may contain a password.
    let shown = if text.contains('@') { "" } else { text };
    let bad = |why: &str| ClientError::BadUrl(format!("{shown:?} {why}"));
    let url = Url::parse(text.trim()).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("does not begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::BadUrl("contains a user or a password, which is not allowed".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("contains ? or #, which is not allowed"));
    }
    if url.as_str().parse::<Uri>().is_err() {
        return Err(bad("contains characters that must be percent-encoded"));
    }
    Ok(url)
}

/// Returns true if the URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_recognised() {
        for (url, expected) in [
            ("http://localhost:8001", true),
            ("http://registry.localhost", true),
            ("http://127.0.0.2", true),
            ("http://[::1]:8001", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
