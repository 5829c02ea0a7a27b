//! The public endpoints.

use actix_web::HttpResponse;
use serde_json::json;

use super::schema::{Health, Service};

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
