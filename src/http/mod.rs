//! The HTTP API: connections, paths, keys, bodies and statuses.
//!
//! A handler extracts, converts, calls the registry and answers. This module must not know SQL or contain a rule of the registry.

mod auth;
mod body;
mod connection;
mod docs;
mod endpoint;
mod error;
mod fault;
mod hosts;
mod keys;
mod lenient;
mod native;
mod observe;
mod openapi;
mod peer;
mod request;
mod stream;
mod throttle;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_cors::Cors;
use actix_http::{HttpService, KeepAlive, error::DispatchError};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::{
    App as ActixApp, Error,
    body::MessageBody,
    dev::{AppConfig, Extensions, Server, ServiceFactory, ServiceRequest, ServiceResponse, fn_service},
    http::{Uri, uri::Authority},
    middleware::{Condition, from_fn},
    rt::net::TcpStream,
    web::{self, Data},
};

use crate::{
    registry::Registry,
    telemetry::{Requests, Telemetry},
};

use auth::Authenticator;
use connection::{Admission, Connection};
pub use connection::{Deadlines, Tls, TlsError, descriptors_besides_connections, max_connections_within};
use error::ApiError;
pub use hosts::Hosts;
pub use keys::{KeyFileError, Keys, MIN_KEY_CHARS};
pub use peer::Proxies;

/// Private functions that fuzzers call.
#[cfg(fuzzing)]
pub mod probe {
    pub use super::native::probe::{draft, evaluation, patch};
}

/// How long a shutdown waits for requests in flight: well within the ten seconds that container engines give.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a connection is still read from after it is closed, so that a client which is sending sees the answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a browser may cache the answer to a preflight request.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Response headers that scripts of other origins may read.
const EXPOSED_HEADERS: [&str; 5] = ["ETag", "Link", "Retry-After", "X-Request-Id", "X-Total-Count"];
/// The route under which requests are counted if no path matches them.
const UNMATCHED: &str = "unmatched";

/// The options of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The keys that callers may use.
    pub keys: Keys,
    /// Take the actor of the audit trail from a header.
    pub trust_actor_header: bool,
    /// Threads that serve HTTP; at least one.
    pub workers: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// The certificate, if connections are encrypted.
    pub tls: Option<Tls>,
    /// The names that clients may use for this server.
    pub hosts: Hosts,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: Proxies,
    /// Origins whose scripts may read answers.
    pub cors_origins: Vec<String>,
    /// The largest body of a POST or PATCH of a model, in bytes.
    pub max_write_body_bytes: usize,
    /// The largest body of a POST of metrics, in bytes.
    pub max_metrics_body_bytes: usize,
    /// Show paths on the server's disk in answers.
    pub expose_local_paths: bool,
    /// Serve `/metrics` without a key.
    pub public_metrics: bool,
}

/// What every handler shares.
struct App {
    registry: Registry,
    authenticator: Authenticator,
    hosts: Hosts,
    proxies: Proxies,
    is_encrypted: bool,
    body_deadline: Duration,
    max_write_body_bytes: usize,
    max_metrics_body_bytes: usize,
    expose_local_paths: bool,
    public_metrics: bool,
    telemetry: Arc<Telemetry>,
}

/// Serves the registry on a listener until the handle of the returned server stops it. Must be called inside an
/// actix system. The caller handles signals.
///
/// # Errors
/// If the listener can't be used.
pub fn serve(
    listener: TcpListener,
    registry: Registry,
    options: &HttpOptions,
    telemetry: Arc<Telemetry>,
) -> io::Result<Server> {
    // Accepted sockets inherit it.
    socket2::SockRef::from(&listener).set_send_buffer_size(stream::SOCKET_BYTES)?;
    let (requests, connections) = (telemetry.requests.clone(), telemetry.connections.clone());
    let (origins, deadlines) = (options.cors_origins.clone(), options.deadlines);
    let admission = Admission::new(options.max_connections, options.tls.clone(), deadlines, connections);
    let app = Data::new(App {
        registry,
        authenticator: Authenticator::new(options.keys.clone(), options.trust_actor_header),
        hosts: options.hosts.clone(),
        proxies: options.proxies.clone(),
        is_encrypted: options.tls.is_some(),
        body_deadline: deadlines.body,
        max_write_body_bytes: options.max_write_body_bytes,
        max_metrics_body_bytes: options.max_metrics_body_bytes,
        expose_local_paths: options.expose_local_paths,
        public_metrics: options.public_metrics,
        telemetry,
    });
    let builder = Server::build()
        .workers(options.workers.max(1))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        // Admission answers clients beyond the limit, so all are accepted.
        .max_concurrent_connections(usize::MAX)
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    // `actix_web::HttpServer` would do all of this, but takes no stream of ours.
    let builder = builder.listen("registry", listener, move || {
        let (admission, shutdown) = (admission.clone(), shutdown.clone());
        let app = application(app.clone(), &origins, &requests);
        let app = app.into_factory().map_err(|error: Error| error.error_response());
        let http = HttpService::build()
            // `connection` keeps the deadlines between requests and of heads.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            // A client may close its side after its last request. `connection` finds those that are gone.
            .h1_allow_half_closed(true)
            .graceful_shutdown_signal(move || {
                let shutdown = shutdown.clone();
                async move { shutdown.notified().await }
            })
            .on_connect_ext(|connection: &Connection, extensions: &mut Extensions| {
                extensions.insert(connection.state());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let admit = move |socket: TcpStream| {
            let admission = admission.clone();
            async move {
                let address = socket.peer_addr().ok();
                let connection = admission.admit(socket).await.map_err(DispatchError::Io)?;
                Ok::<_, DispatchError>((connection, address))
            }
        };
        fn_service(admit).and_then(http)
    })?;
    Ok(builder.run())
}

/// The routes and the middleware around them.
fn application(
    app: Data<App>,
    origins: &[String],
    requests: &Requests,
) -> ActixApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    ActixApp::new()
        .app_data(app)
        .app_data(requests.route(UNMATCHED))
        .wrap(Condition::new(!origins.is_empty(), cors(origins)))
        .wrap(from_fn(observe::observe))
        .configure(|paths| native::configure(paths, requests))
        .configure(|paths| docs::configure(paths, requests))
        .default_service(web::to(|| async { Err::<&str, _>(ApiError::UnknownPath) }))
}

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
