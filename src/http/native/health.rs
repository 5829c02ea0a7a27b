//! The public endpoints.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};

use super::{
    super::{answer::Answer, app::App, openapi::Failure},
    schema::{Health, Service},
};

/// Get the name of the service
#[utoipa::path(
    get,
    path = "/",
    operation_id = "get_service",
    responses((status = 200, description = "The name of the service.", body = Service)),
)]
pub(super) async fn service() -> HttpResponse {
    HttpResponse::Ok().json(Service { service: "model-registry", status: "ok" })
}

/// Check that the server runs
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "get_health",
    responses((status = 200, description = "The server runs.", body = Health)),
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "healthy" })
}

/// Check that the server can write
///
/// `/health` only checks that the server runs.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "get_ready",
    responses(
        (status = 200, description = "A write would be kept.", body = Health),
        (status = 503, description = "A write would fail; `detail` says why.", body = Failure),
    ),
)]
pub(super) async fn ready(app: Data<App>) -> Answer {
    app.registry.ready().await?;
    let no_store = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(HttpResponse::Ok().insert_header(no_store).json(Health { status: "ready" }))
}
