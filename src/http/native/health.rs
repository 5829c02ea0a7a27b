//! The public endpoints.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use serde_json::json;

use super::{super::App, Answer};

pub(super) async fn service() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "service": "model-registry", "status": "ok" }))
}

pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "healthy" }))
}

/// Whether a write would be kept now. That the server runs is what `/health` says.
pub(super) async fn ready(app: Data<App>) -> Answer {
    app.registry.ready().await?;
    let status = json!({ "status": "ready" });
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store"))).json(status))
}
