//! What the network sees: paths, keys, bodies, statuses.
//!
//! A handler extracts, converts, calls the registry and answers. This room knows HTTP; it must not know
//! SQL, and no rule of the registry lives here.

mod auth;
mod body;
mod docs;
mod endpoint;
mod error;
mod fault;
mod lenient;
mod native;
mod observe;
mod openapi;
mod request;

use std::{io, net::TcpListener, time::Duration};

use actix_cors::Cors;
use actix_web::{
    App as ActixApp, HttpServer,
    dev::Server,
    http::{Uri, uri::Authority},
    middleware::{Condition, from_fn},
    web::{self, Data},
};

use crate::registry::Registry;

pub use auth::Keys;
use error::ApiError;

/// How long a shutdown waits for what is running: well within the ten seconds that container engines give.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a browser may remember what it was allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Headers of answers that scripts of other origins may read.
const EXPOSED_HEADERS: [&str; 5] = ["ETag", "Link", "Retry-After", "X-Request-Id", "X-Total-Count"];

/// How the registry is served.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Who may call.
    pub keys: Keys,
    /// Threads that speak HTTP; at least one.
    pub workers: usize,
    /// Origins whose scripts may read answers.
    pub cors_origins: Vec<String>,
    /// The largest body of a POST or PATCH of a model, in bytes.
    pub max_write_body_bytes: usize,
    /// The largest body of a POST of metrics, in bytes.
    pub max_metrics_body_bytes: usize,
    /// Whether answers name paths on the server's disk.
    pub expose_local_paths: bool,
}

/// What every handler has at hand.
struct App {
    registry: Registry,
    keys: Keys,
    max_write_body_bytes: usize,
    max_metrics_body_bytes: usize,
    expose_local_paths: bool,
}

/// Serves the registry on a listener, until the server's handle stops it. Must be called inside an
/// actix system; signals are the caller's.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve(listener: TcpListener, registry: Registry, options: &HttpOptions) -> io::Result<Server> {
    let app = Data::new(App {
        registry,
        keys: options.keys.clone(),
        max_write_body_bytes: options.max_write_body_bytes,
        max_metrics_body_bytes: options.max_metrics_body_bytes,
        expose_local_paths: options.expose_local_paths,
    });
    let origins = options.cors_origins.clone();
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(app.clone())
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .wrap(from_fn(observe::observe))
            .configure(native::configure)
            .configure(docs::configure)
            .default_service(web::to(|| async { Err::<&str, _>(ApiError::UnknownPath) }))
    })
    .workers(options.workers.max(1))
    .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
    // A client that closes its end has gone: what it asked for, a long digest say, is given up.
    .h1_allow_half_closed(false)
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

/// Whether `text` is an origin as browsers send it, like `https://ml.example.org` or `null`, or `*` for all.
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

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PATCH", "DELETE"])
        .allow_any_header()
        .expose_headers(EXPOSED_HEADERS)
        .max_age(CORS_MAX_AGE.as_secs() as usize);
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
