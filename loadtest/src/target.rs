//! The server: its URL, addresses and TLS, and the head of every request.

use std::{
    fmt::Display,
    io::Write as _,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use url::{Position, Url};

use crate::Error;

const USER_AGENT: &str = concat!("registry-loadtest/", env!("CARGO_PKG_VERSION"));

/// TLS for one server.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// One server, and the API key.
#[derive(Clone)]
pub struct Target {
    url: Url,
    /// The prefix of the registry's paths, without a slash at its end; often empty.
    base_path: String,
    /// The fields that all requests have.
    fields: String,
    pub(crate) addresses: Arc<[SocketAddr]>,
    pub(crate) tls: Option<Tls>,
}

impl Target {
    /// Looks up the host. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the host is unknown, [`Error::BadTarget`] if the URL has no host or TLS can't be set up.
    pub fn resolve(url: &Url, key: &str) -> Result<Self, Error> {
        let bad = |part: &str| Error::BadTarget(format!("the URL has no {part}"));
        let host = url.host_str().ok_or_else(|| bad("host"))?;
        let port = url.port_or_known_default().ok_or_else(|| bad("port"))?;
        // An IPv6 address is resolved without its brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (bare, port).to_socket_addrs();
        let addresses =
            addresses.map_err(|error| Error::Unreachable { reason: error.to_string(), refused: false })?;
        let tls = if url.scheme() == "https" { Some(Tls::new(bare)?) } else { None };
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        Ok(Self {
            url: url.clone(),
            base_path: url.path().trim_end_matches('/').to_owned(),
            fields: format!("Host: {authority}\r\nUser-Agent: {USER_AGENT}\r\nX-API-Key: {key}\r\n"),
            addresses: addresses.collect(),
            tls,
        })
    }

    /// Returns the URL without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Writes a request, replacing the content of `request`. `path` begins with a slash.
    pub(crate) fn write(&self, request: &mut Vec<u8>, method: &str, path: impl Display, body: Option<&[u8]>) {
        request.clear();
        let Self { base_path, fields, .. } = self;
        // Writing to a vector can't fail.
        let _ = write!(request, "{method} {base_path}{path} HTTP/1.1\r\n{fields}");
        if let Some(body) = body {
            let length = body.len();
            let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {length}\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body.unwrap_or_default());
    }

    /// Returns the path of a link of the server, without the base path, as [`Target::write`] takes it.
    pub(crate) fn own_path(&self, link: &str) -> Option<String> {
        let url = self.url.join(link).ok()?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        Some(path.strip_prefix(self.base_path.as_str()).unwrap_or(path).to_owned())
    }
}

impl Tls {
    fn new(host: &str) -> Result<Self, Error> {
        let bad = |error: &dyn Display| Error::BadTarget(format!("TLS can't be set up: {error}"));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_platform_verifier())
            .map_err(|error| bad(&error))?
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|error| bad(&error))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::resolve(&url.parse().unwrap(), "hush").unwrap()
    }

    #[test]
    fn a_request_names_host_key_and_length() {
        let written = |url: &str, method: &str, body: Option<&[u8]>| {
            let mut request = b"an old one".to_vec();
            target(url).write(&mut request, method, "/models", body);
            String::from_utf8(request).unwrap()
        };
        let request = written("http://127.0.0.1:8001/", "GET", None);
        assert!(request.starts_with("GET /models HTTP/1.1\r\nHost: 127.0.0.1:8001\r\n"), "{request}");
        assert!(request.contains("\r\nX-API-Key: hush\r\n") && request.ends_with("\r\n\r\n"), "{request}");
        let request = written("http://127.0.0.1/r", "POST", Some(b"{ }"));
        assert!(request.starts_with("POST /r/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"), "{request}");
        assert!(request.ends_with("\r\nContent-Length: 3\r\n\r\n{ }"), "{request}");
    }

    #[test]
    fn the_path_of_a_link_is_found_in_any_form() {
        let target = target("http://127.0.0.1:8001/r");
        for (link, path) in [
            ("/r/models?cursor=a", Some("/models?cursor=a")),
            ("http://elsewhere/r/models", Some("/models")),
            ("/models", Some("/models")),
            ("http://[", None),
        ] {
            assert_eq!(target.own_path(link).as_deref(), path, "{link}");
        }
    }
}
