//! Cross-origin requests: the pages that may call this server from a browser, and the headers that they may read.

use std::time::Duration;

use actix_cors::Cors;
use actix_web::http::{Uri, uri::Authority};

/// How long a browser may cache the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Response headers that scripts of other origins may read.
const EXPOSED_HEADERS: [&str; 5] = ["ETag", "Link", "Retry-After", "X-Request-Id", "X-Total-Count"];

/// Returns true if `text` is an origin as browsers send it, like `https://ml.example.org` or `null`, or `*` for all.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    let parts = text.parse::<Uri>().map(Uri::into_parts);
    ["*", "null"].contains(&text)
        || parts.is_ok_and(|parts| {
            let bare = parts.path_and_query.is_none_or(|path| path == "/");
            let plain = |authority: &Authority| {
                let host = authority.host();
                let port = authority.as_str().strip_prefix(host);
                let has_port = port.is_some_and(|port| port.is_empty() || authority.port_u16().is_some());
                has_port && !host.contains('*')
            };
            let whole = parts.scheme.is_some() && bare && !text.ends_with('/');
            whole && parts.authority.as_ref().is_some_and(plain)
        })
}

/// Returns the CORS middleware for these origins.
pub(super) fn middleware(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PATCH", "DELETE"])
        .allow_any_header()
        .expose_headers(EXPOSED_HEADERS)
        .max_age(MAX_AGE.as_secs() as usize);
    if origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin().send_wildcard();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for (text, is) in [
            ("https://ml.example.org", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("*", true),
            ("null", true),
            ("chrome-extension://abcdef", true),
            ("http://*", false),
            ("https://*.example.org", false),
            ("http://user@host", false),
            ("http://host:99999", false),
            ("localhost:3000", false),
            ("ml.example.org", false),
            ("https://ml.example.org/app", false),
            ("http://a b", false),
            ("http://[::1", false),
            ("not an origin", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!(is_origin(text), is, "{text}");
        }
    }
}
