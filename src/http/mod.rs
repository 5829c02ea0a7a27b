//! What the network sees: paths, keys, bodies, statuses.
//!
//! A handler extracts, converts, calls the registry and answers. This room knows HTTP; it must not know
//! SQL, and no rule of the registry lives here.

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
use actix_http::{HttpService, error::DispatchError};
use actix_server::Server;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App as ActixApp, Error,
    body::MessageBody,
    dev::{AppConfig, Extensions, ServiceFactory, ServiceRequest, ServiceResponse},
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
pub use connection::{Capacity, Deadlines, Tls, TlsError};
use error::ApiError;
pub use hosts::Hosts;
pub use keys::{KeyFileError, Keys};
pub use peer::Proxies;

/// What fuzzers drive that is private otherwise.
#[cfg(fuzzing)]
pub mod probe {
    pub use super::{
        connection::probe::framing,
        native::probe::{draft, evaluation, patch},
    };
}

/// How long a shutdown waits for what is running: well within the ten seconds that container engines give.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a connection that is closed may still be read from: what a client sends on before it sees the answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a browser may remember what it was allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Headers of answers that scripts of other origins may read.
const EXPOSED_HEADERS: [&str; 5] = ["ETag", "Link", "Retry-After", "X-Request-Id", "X-Total-Count"];

/// How the registry is served.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Who may call.
    pub keys: Keys,
    /// Whether the actor of the audit trail may come from a header.
    pub trust_actor_header: bool,
    /// Threads that speak HTTP; at least one.
    pub workers: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// The certificate, where connections are encrypted.
    pub tls: Option<Tls>,
    /// By which names the server may be called.
    pub hosts: Hosts,
    /// Whose word on the client's address is believed.
    pub proxies: Proxies,
    /// Origins whose scripts may read answers.
    pub cors_origins: Vec<String>,
    /// The largest body of a POST or PATCH of a model, in bytes.
    pub max_write_body_bytes: usize,
    /// The largest body of a POST of metrics, in bytes.
    pub max_metrics_body_bytes: usize,
    /// Whether answers name paths on the server's disk.
    pub expose_local_paths: bool,
    /// Whether `/metrics` is shown to who has no key.
    pub public_metrics: bool,
}

/// What every handler has at hand.
struct App {
    registry: Registry,
    authenticator: Authenticator,
    hosts: Hosts,
    proxies: Proxies,
    is_encrypted: bool,
    max_write_body_bytes: usize,
    max_metrics_body_bytes: usize,
    expose_local_paths: bool,
    public_metrics: bool,
    telemetry: Arc<Telemetry>,
}

/// How requests that no path matches are counted.
const UNMATCHED: &str = "unmatched";

/// Serves the registry on a listener, until the server's handle stops it. Must be called inside an
/// actix system; signals are the caller's.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve(
    listener: TcpListener,
    registry: Registry,
    options: &HttpOptions,
    telemetry: Arc<Telemetry>,
) -> io::Result<Server> {
    let (requests, connections) = (telemetry.requests.clone(), telemetry.connections.clone());
    let app = Data::new(App {
        registry,
        authenticator: Authenticator::new(options.keys.clone(), options.trust_actor_header),
        hosts: options.hosts.clone(),
        proxies: options.proxies.clone(),
        is_encrypted: options.tls.is_some(),
        max_write_body_bytes: options.max_write_body_bytes,
        max_metrics_body_bytes: options.max_metrics_body_bytes,
        expose_local_paths: options.expose_local_paths,
        public_metrics: options.public_metrics,
        telemetry,
    });
    let (origins, deadlines) = (options.cors_origins.clone(), options.deadlines);
    let admission = Admission::new(options.max_connections, options.tls.clone(), deadlines, connections);
    let builder = Server::build()
        .workers(options.workers.max(1))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        // Whoever comes beyond what is possible is to be told so, not left waiting to be accepted.
        .max_concurrent_connections(usize::MAX)
        .disable_signals();
    let ending = builder.graceful_shutdown_signal();
    let builder = builder.listen("registry", listener, move || {
        let (admission, ending) = (admission.clone(), ending.clone());
        let app = application(app.clone(), &origins, &requests);
        let app = app.into_factory().map_err(|error: Error| error.error_response());
        let http = HttpService::build()
            .keep_alive(deadlines.keep_alive)
            // `connection` has deadlines for each request.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            // A client that closes its end has gone: what it asked for, a long digest say, is given up.
            .h1_allow_half_closed(false)
            // As actix-web's own server does it: what is idle is closed at once when the server ends.
            .graceful_shutdown_signal(move || {
                let ending = ending.clone();
                async move { ending.notified().await }
            })
            .on_connect_ext(|connection: &Connection, extensions: &mut Extensions| {
                extensions.insert(connection.exchange());
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

/// The paths and what surrounds them.
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
        // Each thread has counts of its own.
        .app_data(requests.route(UNMATCHED))
        .wrap(Condition::new(!origins.is_empty(), cors(origins)))
        .wrap(from_fn(observe::observe))
        .configure(|paths| native::configure(paths, requests))
        .configure(|paths| docs::configure(paths, requests))
        .default_service(web::to(|| async { Err::<&str, _>(ApiError::UnknownPath) }))
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
