//! What surrounds every request: its id, its line in the log, and the form of errors that nobody else gave one.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    Error,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};

use crate::telemetry::RouteCounts;

use super::{App, connection::Exchange, error::plain_detail};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Gives the request an id, counts it, logs one line of it, and completes its answer.
pub(super) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<BoxBody, BoxBody>>, Error> {
    let started = Instant::now();
    let id = request_id(request.headers());
    let app = request.app_data::<Data<App>>().cloned();
    let meant = app.as_ref().map_or(Ok(()), |app| {
        app.hosts.check(request.headers().get(header::HOST).map(HeaderValue::as_bytes))
    });
    let mut response = match meant {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error).map_into_boxed_body(),
    };
    if let Some(exchange) = response.request().conn_data::<Rc<Exchange>>() {
        exchange.answer();
    }
    let time = started.elapsed();
    count(&response, time);
    log(&response, &id, time, app.as_ref());
    guard(response.headers_mut(), app.is_some_and(|app| app.is_encrypted));
    response.headers_mut().insert(REQUEST_ID, id.clone());
    let status = response.status();
    let has_form = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if has_form || !(status.is_client_error() || status.is_server_error()) {
        return Ok(response.map_into_left_body());
    }
    // The router and the CORS check answer errors in plain text.
    let error = response.response().error().map(ToString::to_string);
    let detail = plain_detail(status, error, id.to_str().unwrap_or_default());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response.map_body(|_, _| EitherBody::right(BoxBody::new(detail))))
}

/// What tells browsers to be careful with an answer: it is what it says it is, runs nothing, stands in no other page, and is
/// kept for nobody else. Where a page says otherwise for itself, that counts.
fn guard(head: &mut HeaderMap, is_encrypted: bool) {
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

/// The client's own id, where it can stand in a log and a header as it is; else a new one.
fn request_id(head: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    head.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        // Hex digits can stand in a header.
        HeaderValue::from_str(&new_request_id()).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// An id that no other request has.
pub(super) fn new_request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Counts it where its path counts: the innermost route that knows, else the app's own for what no path matches.
fn count(response: &ServiceResponse<BoxBody>, time: Duration) {
    let request = response.request();
    if let Some(route) = request.app_data::<Arc<RouteCounts>>() {
        route.count(request.method().as_str(), response.status().as_u16(), time);
    }
}

fn log(response: &ServiceResponse<BoxBody>, id: &HeaderValue, time: Duration, app: Option<&Data<App>>) {
    let request = response.request();
    let status = response.status();
    // What follows would be put together for nobody.
    if !tracing::enabled!(tracing::Level::INFO) && !status.is_server_error() {
        return;
    }
    let error = response.response().error().filter(|_| status.is_server_error()).map(ToString::to_string);
    let (method, path) = (request.method().as_str(), request.uri().path());
    let id = id.to_str().unwrap_or_default();
    let peer = app.and_then(|app| app.proxies.client(request.peer_addr(), request.headers()));
    let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let milliseconds = time.as_micros() as f64 / 1000.0;
    match error {
        Some(error) if status == StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(method, path, status = status.as_u16(), milliseconds, id, peer, error, "request")
        }
        // It has more to do than it can, or can't write: that is no fault of its own.
        Some(error) => {
            tracing::warn!(method, path, status = status.as_u16(), milliseconds, id, peer, error, "request")
        }
        None => tracing::info!(method, path, status = status.as_u16(), milliseconds, id, peer, "request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_taken_over_and_any_other_replaced() {
        for (sent, kept) in [
            (&b"abc-123_x.y:z/1+2="[..], true),
            (b"a", true),
            (&[b'a'; 128], true),
            (&[b'a'; 129], false),
            (b"", false),
            (b"two words", false),
            (b"caf\xe9", false),
            (b"\"quoted\"", false),
        ] {
            let mut head = HeaderMap::new();
            head.insert(REQUEST_ID, HeaderValue::from_bytes(sent).unwrap());
            assert_eq!(request_id(&head).as_bytes() == sent, kept, "{sent:?}");
        }
        let made = request_id(&HeaderMap::new());
        assert_eq!(made.len(), 32);
        assert_ne!(made, request_id(&HeaderMap::new()));
    }
}
