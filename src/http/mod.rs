//! The HTTP API: connections, paths, keys, bodies and statuses.
//!
//! A handler extracts, converts, calls the registry and answers. This module must not know SQL or contain a rule of the registry.

mod access;
mod answer;
mod api;
mod app;
mod auth;
mod blob;
mod body;
mod connection;
mod cors;
mod docs;
mod endpoint;
mod entity_tags;
mod error;
mod fault;
mod fields;
mod file_list;
mod hosts;
mod hub;
mod json;
mod keys;
mod lenient;
mod mlflow;
mod native;
mod observe;
mod oci;
mod openapi;
mod parsing;
mod peer;
mod range;
mod request;
mod request_id;
mod rows;
mod stream;
mod throttle;
mod v1;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, error::DispatchError};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::{
    App as ActixApp, Error,
    body::MessageBody,
    dev::{AppConfig, Extensions, Server, ServiceFactory, ServiceRequest, ServiceResponse, fn_service},
    http::Method,
    middleware::{Condition, from_fn},
    rt::net::TcpStream,
    web::{self, Data},
};
use tokio::sync::Semaphore;

use crate::{
    registry::{REFRESH_INTERVAL, Registry, RegistryError},
    telemetry::{Requests, Telemetry},
};

pub use access::RouteAccess;
use app::App;
pub use app::HttpOptions;
use auth::Authenticator;
use connection::{Admission, Connection};
pub use connection::{Deadlines, Tls, TlsError, descriptors_besides_connections, max_connections_within};
pub use cors::is_origin;
use error::ApiError;
pub use hosts::Hosts;
pub use keys::{KeyFileError, Keys, MIN_KEY_CHARS};
pub use peer::{Proxies, parse_networks};

/// Private functions that fuzzers call.
#[cfg(fuzzing)]
pub mod probe {
    pub use super::native::probe::{draft, evaluation, patch};
}

/// How long a shutdown waits for requests in flight: well within the ten seconds that container engines give.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a connection is still read from after an answer that ends it, so that a client which is sending sees the answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The route under which requests are counted if no path matches them.
const UNMATCHED: &str = "unmatched";

/// Serves the registry on a listener until the handle of the returned server stops it. Must be called inside an
/// actix system. The caller handles signals.
///
/// # Errors
/// If the listener can't be used.
pub fn serve(
    listener: TcpListener,
    registry: Registry,
    options: HttpOptions,
    telemetry: Arc<Telemetry>,
) -> io::Result<Server> {
    // Accepted sockets inherit it.
    socket2::SockRef::from(&listener).set_send_buffer_size(stream::SOCKET_BYTES)?;
    let (requests, origins) = (telemetry.requests.clone(), options.cors_origins.clone());
    let connections = telemetry.connections.clone();
    let admission =
        Admission::new(options.max_connections, options.tls.clone(), options.deadlines, connections);
    let workers = options.workers.max(1);
    let authenticator = Authenticator::new(options.keys.clone(), options.trust_actor_header);
    let feed = registry.feed(v1::write_event);
    // The others are for requests.
    let followers = Arc::new(Semaphore::new((options.max_connections / 2).clamp(1, Semaphore::MAX_PERMITS)));
    let app = Data::new(App {
        feed: feed.clone(),
        followers,
        registry,
        authenticator,
        options,
        telemetry,
        mlflow_pages: mlflow::Pages::default(),
    });
    actix_web::rt::spawn(keep_keys_current(app.registry.clone()));
    let builder = Server::build()
        .workers(workers)
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        // Admission answers clients beyond the limit, so all are accepted.
        .max_concurrent_connections(usize::MAX)
        .disable_signals();
    let shutdown = builder.graceful_shutdown_signal();
    let ending = shutdown.clone();
    actix_web::rt::spawn(async move {
        ending.notified().await;
        feed.close();
    });
    // `actix_web::HttpServer` would do all of this, but does not accept a stream of ours.
    let builder = builder.listen("registry", listener, move || {
        let (admission, shutdown) = (admission.clone(), shutdown.clone());
        let app = application(app.clone(), &origins, &requests);
        let app = app.into_factory().map_err(|error: Error| error.error_response());
        let http = HttpService::build()
            // `connection` keeps the deadlines between requests and of heads.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            // A client may close its side after its last request. `connection` finds out which clients have disconnected.
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

/// Returns all routes of all APIs, and who may call them. HEAD is as GET.
#[must_use]
pub fn routes() -> Vec<RouteAccess> {
    let described = native::endpoints().into_iter().chain(v1::endpoints()).chain(docs::endpoints());
    let endpoints = described.chain(mlflow::endpoints()).chain(hub::endpoints());
    let endpoints =
        endpoints.map(|endpoint| RouteAccess::of(&endpoint.method, &endpoint.path, endpoint.access));
    let others = oci::accesses().into_iter().chain([(Method::GET, hub::FILE, hub::FILE_ACCESS)]);
    endpoints.chain(others.map(|(method, path, access)| RouteAccess::of(&method, path, access))).collect()
}

/// Learns of keys that other servers have changed, and stores when keys were used, until the system ends.
async fn keep_keys_current(registry: Registry) {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        match registry.refresh_keys().await {
            Ok(()) | Err(RegistryError::ShuttingDown) => {}
            Err(error) => tracing::debug!(%error, "the API keys can't be read; this is tried again"),
        }
    }
}

/// Returns the routes and the middleware around them.
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
        .wrap(Condition::new(!origins.is_empty(), cors::middleware(origins)))
        .wrap(from_fn(observe::observe))
        .configure(|paths| native::configure(paths, requests))
        .configure(|paths| docs::configure(paths, requests))
        .configure(|paths| v1::configure(paths, requests))
        .configure(|paths| oci::configure(paths, requests))
        .configure(|paths| mlflow::configure(paths, requests))
        .configure(|paths| hub::configure(paths, requests))
        .default_service(web::to(|| async { Err::<&str, _>(ApiError::UnknownPath) }))
}
