//! The server's own metrics, for Prometheus.

use actix_web::{
    FromRequest as _, HttpRequest, HttpResponse,
    http::header::{ACCEPT, CONTENT_TYPE},
    web::{Data, Payload},
};

use crate::registry::RegistryError;

use super::super::{answer::Answer, app::App, request::Call};

/// Get the server's metrics
///
/// Requests, queues and commits, for Prometheus. A server may be configured to answer this without a key.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_server_metrics",
    responses(
        (status = 200, description = "The metrics, in the format that `Accept` asks for.", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
    ),
)]
pub(super) async fn metrics(request: HttpRequest, payload: Payload, app: Data<App>) -> Answer {
    if !app.options.public_metrics {
        Call::from_request(&request, &mut payload.into_inner()).await?;
    }
    for queue in app.registry.queue_depths() {
        app.telemetry.queues.set(queue.queue, queue.depth, queue.capacity);
    }
    if let Ok(pending) = app.registry.pending_deliveries().await {
        app.telemetry.deliveries.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let page = app.telemetry.render(accept).map_err(|error| RegistryError::Failed(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, page.0)).body(page.1))
}
