//! The middleware around every request: its id, its counts and log line, and one form for all errors.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    Error,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    middleware::Next,
    web::{Bytes, Data},
};

use crate::telemetry::RouteCounts;

use super::{
    api::Api,
    app::App,
    connection::{ConnectionState, RequestGuard},
    error::{ApiError, plain_body},
    hub, mlflow, oci, request_id,
};

/// Gives the request an id, counts and logs it, and completes its answer.
pub(super) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<ObservedBody>, Error> {
    let started = Instant::now();
    let connection = request.conn_data::<Rc<ConnectionState>>().cloned();
    let guard = connection.as_ref().map(|connection| connection.begin(has_body(&request)));
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let id = request_id::of(request.headers());
    let app = request.app_data::<Data<App>>().cloned();
    let mut response = match check(&request, app.as_ref()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error).map_into_boxed_body(),
    };
    if is_chunked && connection.is_some_and(|connection| connection.has_unread_body()) {
        // actix reads to the end of the body, and a proxy may see that end elsewhere. So the connection must serve no other request.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let api = Api::of(response.request().match_info());
    let is_failure = response.status().is_client_error() || response.status().is_server_error();
    if api == Api::Hub && is_failure {
        let detail = detail(&response, &id);
        response = hub::fail(response, &detail);
    }
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let failure = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let form = match (api, failure) {
        (Api::V1, Some(error)) if is_json => Some((response.status(), error.v1_body())),
        (Api::Mlflow, Some(error)) => Some(mlflow::failure(error, &id)),
        (Api::Oci, Some(error)) => Some((
            response.status(),
            oci::error_body(response.status(), Some(error), &detail(&response, &id)),
        )),
        _ => None,
    };
    if let Some((status, _)) = &form {
        *response.response_mut().status_mut() = *status;
    }
    let time = started.elapsed();
    count(&response, time);
    log(&response, &id, time, app.as_ref());
    add_security_headers(response.headers_mut(), app.is_some_and(|app| app.options.tls.is_some()));
    response.headers_mut().insert(request_id::HEADER, id.clone());
    let status = response.status();
    if let Some((_, body)) = form {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response = response.map_body(|_, _| BoxBody::new(body));
    } else if !is_json && is_failure {
        // The router and the CORS check answer errors in plain text.
        let error = response.response().error().map(ToString::to_string);
        let detail = plain_body(status, error, id.to_str().unwrap_or_default(), api);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response = response.map_body(|_, _| BoxBody::new(detail));
    }
    Ok(response.map_body(|_, body| ObservedBody { body, _guard: guard }))
}

/// Returns what the client of a failed request may know.
fn detail(response: &ServiceResponse<BoxBody>, id: &HeaderValue) -> String {
    let (status, error) = (response.status(), response.response().error());
    let failed = || {
        format!("the server failed; its log has the details of request {}", id.to_str().unwrap_or_default())
    };
    match error.and_then(|error| error.as_error::<ApiError>()) {
        Some(known) => known.known_detail().unwrap_or_else(failed),
        None if status.is_server_error() => failed(),
        None => error.map_or_else(|| status.to_string(), ToString::to_string),
    }
}

/// Refuses a request that is not for this server, or after which actix would read everything that follows as a body.
fn check(request: &ServiceRequest, app: Option<&Data<App>>) -> Result<(), ApiError> {
    if request.method() == Method::CONNECT {
        return Err(ApiError::Malformed("this server is not a proxy; send no CONNECT"));
    }
    let upgrade = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    if upgrade.is_some_and(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        return Err(ApiError::Malformed("this server has no WebSocket; send no Upgrade"));
    }
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    app.map_or(Ok(()), |app| app.options.hosts.check(host))
}

/// Returns true if a body follows the head of this request.
fn has_body(request: &ServiceRequest) -> bool {
    let head = request.headers();
    let length = head.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    head.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

/// The body of an answer. Its request is in flight until actix drops this, having sent all of it.
pub(super) struct ObservedBody {
    body: BoxBody,
    _guard: Option<RequestGuard>,
}

impl MessageBody for ObservedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Adds security headers: no sniffing, no scripts, no framing, no shared caching. A page that sets
/// a header itself keeps its own.
fn add_security_headers(head: &mut HeaderMap, is_encrypted: bool) {
    const NO_SCRIPTS: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !head.contains_key(header::CONTENT_SECURITY_POLICY) {
        head.insert(header::CONTENT_SECURITY_POLICY, NO_SCRIPTS);
    }
    if !head.contains_key(header::CACHE_CONTROL) {
        head.insert(header::CACHE_CONTROL, PRIVATE);
    }
    if is_encrypted {
        head.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// Counts the request under its route, or under `unmatched`.
fn count(response: &ServiceResponse<BoxBody>, time: Duration) {
    let request = response.request();
    if let Some(route) = request.app_data::<Arc<RouteCounts>>() {
        route.count(request.method().as_str(), response.status().as_u16(), time);
    }
}

fn log(response: &ServiceResponse<BoxBody>, id: &HeaderValue, time: Duration, app: Option<&Data<App>>) {
    let request = response.request();
    let status = response.status();
    // The line need not be composed if nothing reads it.
    if !tracing::enabled!(tracing::Level::INFO) && !status.is_server_error() {
        return;
    }
    let error = response.response().error().filter(|_| status.is_server_error()).map(ToString::to_string);
    let (method, path) = (request.method().as_str(), request.uri().path());
    let id = id.to_str().unwrap_or_default();
    let peer = app.and_then(|app| app.options.proxies.client(request.peer_addr(), request.headers()));
    let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let milliseconds = time.as_micros() as f64 / 1000.0;
    match error {
        Some(error) if status == StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(method, path, status = status.as_u16(), milliseconds, id, peer, error, "request")
        }
        // Overload or a disk that can't be written is not a bug of the server.
        Some(error) => {
            tracing::warn!(method, path, status = status.as_u16(), milliseconds, id, peer, error, "request")
        }
        None => tracing::info!(method, path, status = status.as_u16(), milliseconds, id, peer, "request"),
    }
}
