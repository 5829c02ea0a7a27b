//! The public endpoints.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use serde_json::json;

use super::{
    super::{App, openapi::Failure},
    Answer,
    schema::{Health, Service},
};

/// What this is
#[utoipa::path(
    get,
    path = "/",
    operation_id = "get_service",
    security(()),
    responses((status = 200, description = "The name of the service.", body = Service)),
)]
pub(super) async fn service() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "service": "model-registry", "status": "ok" }))
}

/// Whether it runs
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "get_health",
    security(()),
    responses((status = 200, description = "It runs.", body = Health)),
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "healthy" }))
}

/// Whether a write would be kept now
///
/// That the server runs is what `/health` says.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "get_ready",
    security(()),
    responses(
        (status = 200, description = "It would.", body = Health),
        (status = 503, description = "It would not: `detail` says why.", body = Failure),
    ),
)]
pub(super) async fn ready(app: Data<App>) -> Answer {
    app.registry.ready().await?;
    let status = json!({ "status": "ready" });
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store"))).json(status))
}
