//! The public endpoints.

use actix_web::HttpResponse;
use serde_json::json;

pub(super) async fn service() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "service": "model-registry", "status": "ok" }))
}

pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "healthy" }))
}
